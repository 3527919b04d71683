/* Convolution: y[b, o, co] = bias[co] + sum_k sum_ci x[b, o s - p + k d, ci] w[co, ci, k], and its two adjoints.
 *
 * With <.,.> the sum of products, conv_dx and conv_dw are defined by
 *     <conv(x, w), y> = <x, conv_dx(y, w)> = <w, conv_dw(x, y)>
 * so each is bilinear, and the derivative of each with respect to either operand is one of the other two. */
#include "../op.h"

#include <stddef.h>

/* ---- sizes ---- */

gy_conv_dims gy_conv_dims_of(const gy_conv_attr *a, gy_shape x, gy_shape w, gy_shape y) {
    gy_conv_dims d = {.batch = x.dim[0], .cin = x.dim[x.rank - 1], .cout = y.dim[y.rank - 1], .groups = a->groups};
    d.n_in = d.n_out = d.taps = 1;
    for (int64_t i = 0, missing = 5 - x.rank; i < 3; i++) {
        d.in[i] = i < missing ? 1 : x.dim[i - missing + 1];
        d.out[i] = i < missing ? 1 : y.dim[i - missing + 1];
        d.kernel[i] = i < missing ? 1 : w.dim[i - missing + 2];
        d.n_in *= d.in[i];
        d.n_out *= d.out[i];
        d.taps *= d.kernel[i];
    }
    return d;
}

void gy_same_pad(int64_t n, int64_t kernel, int64_t stride, int64_t dilation, int64_t *before, int64_t *after) {
    int64_t out = (n + stride - 1) / stride;
    int64_t total = (out - 1) * stride + dilation * (kernel - 1) + 1 - n;
    if (total < 0) total = 0;
    *before = total / 2;
    *after = total - *before;
}

bool gy_axis_option(gy_shape option, int64_t n, int64_t i, int64_t fallback, int64_t *value) {
    if (option.rank != 0 && option.rank != 1 && option.rank != n) return false;
    *value = option.rank == 0 ? fallback : option.dim[option.rank == 1 ? 0 : i];
    return true;
}

/* ---- shape rules ---- */

static bool same_dtypes(gy_infer *c, int n) {
    if (!gy_dtype_is_float(c->in_dtype[0]))
        return gy_infer_fail(c, "expected float values, found %s", gy_dtype_name(c->in_dtype[0]));
    for (int i = 1; i < n; i++)
        if (c->in_dtype[i] != c->in_dtype[0] && c->in_dtype[i] != GY_DTYPE_DEFAULT)
            return gy_infer_fail(c, "dtypes differ: %s and %s", gy_dtype_name(c->in_dtype[0]),
                                 gy_dtype_name(c->in_dtype[i]));
    c->dtype[0] = c->in_dtype[0];
    return true;
}

static bool options_are_legal(gy_infer *c, gy_shape x) {
    const gy_conv_attr *a = c->attr;
    char t[GY_SHAPE_TEXT];
    if (x.rank < 3 || x.rank > 5)
        return gy_infer_fail(c, "expected [batch, 1 to 3 spatial axes, channels], found %s", gy_shape_text(x, t));
    for (int i = 0; i < 3; i++) {
        if (a->stride[i] < 1 || a->dilation[i] < 1)
            return gy_infer_fail(c, "stride and dilation must be at least 1, found %lld and %lld",
                                 (long long)a->stride[i], (long long)a->dilation[i]);
        if (a->stride[i] > INT32_MAX || a->dilation[i] > INT32_MAX || a->before[i] > INT32_MAX ||
            a->before[i] < -INT32_MAX || a->after[i] > INT32_MAX || a->after[i] < -INT32_MAX)
            return gy_infer_fail(c, "stride %lld, dilation %lld or padding %lld, %lld is beyond 2^31",
                                 (long long)a->stride[i], (long long)a->dilation[i], (long long)a->before[i],
                                 (long long)a->after[i]);
    }
    if (a->groups < 1 || a->groups > INT32_MAX)
        return gy_infer_fail(c, "groups must be at least 1 and below 2^31, found %lld", (long long)a->groups);
    return true;
}

/* y's shape from x and w, all checks made. */
static bool output_shape(gy_infer *c, gy_shape x, gy_shape w, gy_shape *y) {
    const gy_conv_attr *a = c->attr;
    char t[GY_SHAPE_TEXT], u[GY_SHAPE_TEXT];
    if (!options_are_legal(c, x)) return false;
    if (w.rank != x.rank)
        return gy_infer_fail(c, "x %s needs weights [out, in/groups, one kernel size a spatial axis], found %s",
                             gy_shape_text(x, t), gy_shape_text(w, u));
    int64_t cin = x.dim[x.rank - 1];
    if (cin % a->groups != 0 || w.dim[0] % a->groups != 0)
        return gy_infer_fail(c, "%lld groups do not divide %lld input and %lld output channels", (long long)a->groups,
                             (long long)cin, (long long)w.dim[0]);
    if (w.dim[1] != cin / a->groups)
        return gy_infer_fail(c, "x %s in %lld groups needs weights of %lld input channels a group, found %s",
                             gy_shape_text(x, t), (long long)a->groups, (long long)(cin / a->groups),
                             gy_shape_text(w, u));
    *y = x;
    y->dim[x.rank - 1] = w.dim[0];
    for (int64_t i = 1; i < x.rank - 1; i++) {
        int64_t e = i + 4 - x.rank; /* the entry of this axis in the attributes */
        int64_t padded = x.dim[i] + a->before[e] + a->after[e], reach = a->dilation[e] * (w.dim[i + 1] - 1) + 1;
        if (w.dim[i + 1] < 1) return gy_infer_fail(c, "the kernel is empty: %s", gy_shape_text(w, u));
        if (padded < reach)
            return gy_infer_fail(c,
                                 "kernel %s (reach %lld with dilation) is larger than the padded input %s on axis "
                                 "%lld: %lld elements",
                                 gy_shape_text(w, u), (long long)reach, gy_shape_text(x, t), (long long)i,
                                 (long long)padded);
        y->dim[i] = (padded - reach) / a->stride[e] + 1;
    }
    return true;
}

static bool conv_infer(gy_infer *c) {
    char t[GY_SHAPE_TEXT], u[GY_SHAPE_TEXT];
    if (c->n_in < 2 || c->n_in > 4) return gy_infer_fail(c, "expected 2 to 4 inputs, found %d", c->n_in);
    if (!same_dtypes(c, c->n_in) || !output_shape(c, c->in_shape[0], c->in_shape[1], &c->shape[0])) return false;
    gy_shape y = c->shape[0], bias = GY_S(y.dim[y.rank - 1]);
    if (c->n_in > 2 && c->in_dtype[2] != GY_DTYPE_DEFAULT && !gy_shape_equal(c->in_shape[2], bias))
        return gy_infer_fail(c, "expected a bias %s, found %s", gy_shape_text(bias, t),
                             gy_shape_text(c->in_shape[2], u));
    if (c->n_in > 3 && c->in_dtype[3] != GY_DTYPE_DEFAULT && !gy_shape_equal(c->in_shape[3], y))
        return gy_infer_fail(c, "expected a residual %s, found %s", gy_shape_text(y, t),
                             gy_shape_text(c->in_shape[3], u));
    return true;
}

/* `y` must be what x and w give. */
static bool agrees(gy_infer *c, gy_shape x, gy_shape w, gy_shape y) {
    char t[GY_SHAPE_TEXT], u[GY_SHAPE_TEXT];
    gy_shape want;
    if (!output_shape(c, x, w, &want)) return false;
    if (gy_shape_equal(want, y)) return true;
    return gy_infer_fail(c, "expected a cotangent %s, found %s", gy_shape_text(want, t), gy_shape_text(y, u));
}

static bool conv_dx_infer(gy_infer *c) {
    const gy_conv_attr *a = c->attr;
    gy_shape y = c->in_shape[0], w = c->in_shape[1], x = y;
    char t[GY_SHAPE_TEXT], u[GY_SHAPE_TEXT];
    if (!same_dtypes(c, 2) || !options_are_legal(c, y)) return false;
    if (w.rank != y.rank || w.dim[0] != y.dim[y.rank - 1])
        return gy_infer_fail(c, "%s does not fit weights %s: expected as many channels as the weights' axis 0",
                             gy_shape_text(y, t), gy_shape_text(w, u));
    x.dim[x.rank - 1] = w.dim[1] * a->groups;
    for (int64_t i = 1; i < x.rank - 1; i++) x.dim[i] = a->size[i + 4 - x.rank];
    c->shape[0] = x;
    return agrees(c, x, w, y);
}

static bool conv_dw_infer(gy_infer *c) {
    const gy_conv_attr *a = c->attr;
    gy_shape x = c->in_shape[0], y = c->in_shape[1], w = {.rank = x.rank};
    char t[GY_SHAPE_TEXT], u[GY_SHAPE_TEXT];
    if (!same_dtypes(c, 2) || !options_are_legal(c, x)) return false;
    if (x.rank != y.rank) return gy_infer_fail(c, "ranks differ: %s and %s", gy_shape_text(x, t), gy_shape_text(y, u));
    w.dim[0] = y.dim[y.rank - 1];
    w.dim[1] = x.dim[x.rank - 1] / a->groups;
    for (int64_t i = 2; i < w.rank; i++) w.dim[i] = a->size[i + 3 - w.rank];
    c->shape[0] = w;
    return agrees(c, x, w, y);
}

/* ---- constructors ---- */

/* The options of n spatial axes, as attributes; false with the option's name in *bad. */
static bool options(int64_t n, gy_shape stride, gy_shape pad, gy_shape pad_end, gy_shape dilation, int64_t groups,
                    gy_conv_attr *a, const char **bad) {
    *a = (gy_conv_attr){.stride = {1, 1, 1}, .dilation = {1, 1, 1}, .groups = groups ? groups : 1};
    for (int64_t i = 0; i < n; i++) {
        int64_t e = i + 3 - n;
        *bad = "stride";
        if (!gy_axis_option(stride, n, i, 1, &a->stride[e])) return false;
        *bad = "pad";
        if (!gy_axis_option(pad, n, i, 0, &a->before[e])) return false;
        *bad = "pad_end";
        if (!gy_axis_option(pad_end, n, i, a->before[e], &a->after[e])) return false;
        *bad = "dilation";
        if (!gy_axis_option(dilation, n, i, 1, &a->dilation[e])) return false;
    }
    return true;
}

static gy_t bad_rank(gy_t x, gy_site at, const char *op, const char *option) {
    char t[GY_SHAPE_TEXT];
    return gy_poison(x.g, at, "%s: .%s needs one value, or one a spatial axis of x %s", op, option,
                     gy_shape_text(gy_shape_of(x), t));
}

gy_t gy_conv_(gy_conv_args args) {
    gy_t x = args.x, w = args.w;
    if (gy_is_none(x) || gy_is_none(w))
        return gy_is_none(x) ? x : gy_poison(x.g, args.at, "conv: the weights are missing");
    gy_conv_attr a;
    const char *bad;
    int64_t n = gy_rank(x) - 2;
    if (n < 1 || n > 3) n = 1; /* the shape rule complains */
    if (!options(n, args.stride, args.pad, args.pad_end, args.dilation, args.groups, &a, &bad))
        return bad_rank(x, args.at, "conv", bad);
    if (args.same && (args.pad.rank || args.pad_end.rank))
        return gy_poison(x.g, args.at, "conv: .same and .pad exclude each other");
    for (int64_t i = 0; args.same && i < n; i++) {
        int64_t e = i + 3 - n;
        if (a.stride[e] < 1) break;
        gy_same_pad(gy_dim(x, i + 1), gy_dim(w, i + 2), a.stride[e], a.dilation[e], &a.before[e], &a.after[e]);
    }
    return gy_node_make(args.at, x.g, GY_OP_conv, &a, gy_is_none(args.b) ? 2 : 3, (gy_t[]){x, w, args.b});
}

gy_t gy_conv_transpose_(gy_conv_transpose_args args) {
    gy_t x = args.x, w = args.w;
    if (gy_is_none(x) || gy_is_none(w))
        return gy_is_none(x) ? x : gy_poison(x.g, args.at, "conv_transpose: the weights are missing");
    gy_conv_attr a;
    const char *bad;
    int64_t n = gy_rank(x) - 2;
    if (n < 1 || n > 3) n = 1;
    if (!options(n, args.stride, args.pad, args.pad_end, args.dilation, args.groups, &a, &bad))
        return bad_rank(x, args.at, "conv_transpose", bad);
    a.size[0] = a.size[1] = a.size[2] = 1;
    for (int64_t i = 0; i < n; i++) {
        int64_t e = i + 3 - n, extra;
        if (!gy_axis_option(args.output_padding, n, i, 0, &extra))
            return bad_rank(x, args.at, "conv_transpose", "output_padding");
        if (extra < 0 || (extra >= a.stride[e] && extra >= a.dilation[e]))
            return gy_poison(x.g, args.at,
                             "conv_transpose: output_padding %lld is not below the stride %lld or the dilation %lld",
                             (long long)extra, (long long)a.stride[e], (long long)a.dilation[e]);
        /* Cropping the extra elements again makes the convolution from size to x exact, whatever the stride. */
        a.after[e] -= extra;
        a.size[e] = (gy_dim(x, i + 1) - 1) * a.stride[e] - a.before[e] - a.after[e] +
                    a.dilation[e] * (gy_dim(w, i + 2) - 1) + 1;
        if (a.size[e] < 1)
            return gy_poison(x.g, args.at, "conv_transpose: the padding leaves %lld elements of spatial axis %lld",
                             (long long)a.size[e], (long long)i);
    }
    gy_t y = gy_node_make(args.at, x.g, GY_OP_conv_dx, &a, 2, (gy_t[]){x, w});
    return gy_is_none(args.b) ? y : gy_binary_(args.at, GY_OP_add, y, args.b);
}

/* ---- gradients ---- */

static gy_t plain(const gy_conv_attr *attr, gy_t x, gy_t w, gy_t bias) {
    gy_conv_attr a = *attr;
    a.act = GY_ACT_NONE;
    a.size[0] = a.size[1] = a.size[2] = 0;
    return gy_node_make(GY_VJP_SITE, x.g, GY_OP_conv, &a, gy_is_none(bias) ? 2 : 3, (gy_t[]){x, w, bias});
}

/* like: the x, or w, whose spatial sizes the answer takes (from its axis `first`). */
static gy_t adjoint(gy_op_id op, const gy_conv_attr *attr, gy_t p, gy_t q, gy_t like, int64_t first) {
    gy_conv_attr a = *attr;
    int64_t n = gy_rank(like) - 2;
    a.act = GY_ACT_NONE;
    for (int64_t e = 0; e < 3; e++) a.size[e] = e < 3 - n ? 1 : gy_dim(like, e - (3 - n) + first);
    return gy_node_make(GY_VJP_SITE, p.g, op, &a, 2, (gy_t[]){p, q});
}
static gy_t to_x(const gy_conv_attr *attr, gy_t y, gy_t w, gy_t x) {
    return adjoint(GY_OP_conv_dx, attr, y, w, x, 1);
}
static gy_t to_w(const gy_conv_attr *attr, gy_t x, gy_t y, gy_t w) {
    return adjoint(GY_OP_conv_dw, attr, x, y, w, 2);
}

static gy_t activate(gy_t x, int64_t act) {
    static const gy_op_id op[] = {[GY_ACT_RELU] = GY_OP_relu,
                                  [GY_ACT_SILU] = GY_OP_silu,
                                  [GY_ACT_GELU] = GY_OP_gelu,
                                  [GY_ACT_GELU_TANH] = GY_OP_gelu_tanh,
                                  [GY_ACT_QUICK_GELU] = GY_OP_quick_gelu,
                                  [GY_ACT_TANH] = GY_OP_tanh,
                                  [GY_ACT_SIGMOID] = GY_OP_sigmoid};
    return act == GY_ACT_NONE ? x : gy_unary_(GY_VJP_SITE, op[act], x);
}

static gy_t input(int n_in, const gy_t in[], int i) {
    return i < n_in ? in[i] : GY_NONE;
}

static void conv_expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {
    (void)n_out;
    const gy_conv_attr *a = attr;
    gy_t residual = input(n_in, in, 3);
    out[0] = activate(plain(a, in[0], in[1], input(n_in, in, 2)), a->act);
    if (!gy_is_none(residual)) out[0] = gy_add(out[0], residual);
}

static void conv_vjp(const gy_vjp *v) {
    const gy_conv_attr *a = v->attr;
    gy_t x = v->in[0], w = v->in[1], bias = input(v->n_in, v->in, 2), ct = v->ct[0];
    if (!gy_is_none(input(v->n_in, v->in, 3))) v->gx[3] = ct;
    if (a->act != GY_ACT_NONE) { /* back through the activation */
        gy_t z = plain(a, x, w, bias);
        gy_grad(activate(z, a->act), ct, 1, &z, &ct);
    }
    v->gx[0] = to_x(a, ct, w, x);
    v->gx[1] = to_w(a, x, ct, w);
    if (!gy_is_none(bias)) v->gx[2] = ct; /* summed down to [Cout] by the engine */
}

static void conv_dx_vjp(const gy_vjp *v) { /* y, w -> x */
    v->gx[0] = plain(v->attr, v->ct[0], v->in[1], GY_NONE);
    v->gx[1] = to_w(v->attr, v->ct[0], v->in[0], v->in[1]);
}

static void conv_dw_vjp(const gy_vjp *v) { /* x, y -> w */
    v->gx[0] = to_x(v->attr, v->in[1], v->ct[0], v->in[0]);
    v->gx[1] = plain(v->attr, v->in[0], v->ct[0], GY_NONE);
}

/* ---- cost: 2 flops a tap and pair of channels, padding counted as work ---- */

static gy_cost cost(const gy_node *n, gy_shape w, gy_shape y) {
    gy_cost c = {.flops = 2.0 * (double)gy_shape_count(w) * (double)gy_shape_count(y)};
    if (y.dim[y.rank - 1] > 0) c.flops /= (double)y.dim[y.rank - 1];
    for (int i = 0; i < n->n_in; i++)
        if (!gy_is_none(n->in[i])) c.bytes += (double)gy_count(n->in[i]) * (double)gy_dtype_size(gy_dtype_of(n->in[i]));
    c.bytes += (double)gy_shape_count(n->shape[0]) * (double)gy_dtype_size(n->dtype[0]);
    return c;
}
static gy_cost conv_cost(const gy_node *n) {
    return cost(n, gy_shape_of(n->in[1]), n->shape[0]);
}
static gy_cost conv_dx_cost(const gy_node *n) {
    return cost(n, gy_shape_of(n->in[1]), gy_shape_of(n->in[0]));
}
static gy_cost conv_dw_cost(const gy_node *n) {
    return cost(n, n->shape[0], gy_shape_of(n->in[1]));
}

/* ---- cases ---- */

typedef struct {
    gy_shape x, w, stride, pad, pad_end, dilation;
    int64_t groups, act;
    bool bias, residual, swapped; /* swapped: x is a transposed view */
} example;

static const example examples[] = {
    {.x = {3, {2, 11, 3}}, .w = {3, {5, 3, 3}}, .bias = true},
    {.x = {3, {1, 1, 1}}, .w = {3, {1, 1, 1}}},
    {.x = {3, {2, 16, 4}}, .w = {3, {6, 4, 4}}, .stride = {1, {3}}, .pad = {1, {1}}, .pad_end = {1, {2}}},
    {.x = {3, {1, 13, 2}}, .w = {3, {3, 2, 3}}, .dilation = {1, {4}}, .pad = {1, {3}}, .pad_end = {1, {0}}},
    {.x = {3, {2, 9, 2}}, .w = {3, {3, 2, 2}}, .stride = {1, {4}}}, /* stride above kernel: holes */
    {.x = {4, {2, 6, 7, 3}}, .w = {4, {17, 3, 3, 3}}, .pad = {1, {1}}, .bias = true},
    {.x = {4, {1, 7, 5, 4}}, .w = {4, {6, 2, 3, 2}}, .stride = {2, {2, 1}}, .pad = {2, {1, 0}}, .groups = 2},
    {.x = {4, {1, 6, 6, 5}}, .w = {4, {5, 1, 3, 3}}, .pad = {1, {1}}, .groups = 5, .bias = true}, /* depthwise */
    {.x = {4, {1, 5, 4, 3}}, .w = {4, {6, 1, 2, 2}}, .groups = 3},  /* depthwise, two outputs a channel */
    {.x = {4, {2, 3, 4, 7}}, .w = {4, {9, 7, 1, 1}}, .bias = true}, /* pointwise */
    {.x = {4, {0, 5, 5, 2}}, .w = {4, {3, 2, 3, 3}}, .bias = true}, /* empty batch */
    {.x = {4, {1, 4, 4, 2}}, .w = {4, {3, 2, 3, 3}}, .pad = {1, {-1}}, .pad_end = {1, {3}}}, /* cropped */
    {.x = {4, {1, 3, 5, 4}}, .w = {4, {3, 4, 2, 2}}, .swapped = true, .stride = {1, {2}}},
    {.x = {5, {1, 4, 3, 5, 2}},
     .w = {5, {3, 2, 3, 2, 3}},
     .stride = {3, {2, 1, 1}},
     .pad = {3, {1, 0, 2}},
     .bias = true},
    {.x = {5, {1, 3, 3, 4, 4}}, .w = {5, {4, 1, 2, 2, 2}}, .groups = 4, .dilation = {3, {1, 2, 1}}, .pad = {1, {1}}},
    {.x = {4, {1, 4, 5, 3}},
     .w = {4, {4, 3, 3, 3}},
     .pad = {1, {1}},
     .bias = true,
     .act = GY_ACT_SILU,
     .residual = true},
    {.x = {3, {2, 7, 3}}, .w = {3, {5, 3, 3}}, .residual = true},
    {.x = {3, {1, 8, 3}}, .w = {3, {5, 3, 3}}, .bias = true, .act = GY_ACT_GELU},
};
enum { N_EXAMPLES = sizeof examples / sizeof *examples };

static gy_t example_x(gy_case *c, const example *e) {
    if (!e->swapped) return gy_case_in(c, e->x, -1, 1);
    gy_shape s = e->x;
    int64_t r = s.rank;
    s.dim[r - 1] = e->x.dim[r - 2];
    s.dim[r - 2] = e->x.dim[r - 1];
    return gy_transpose(gy_case_in(c, s, -1, 1));
}

/* The attributes and y's shape of an example: from a convolution that is built and thrown away. */
static gy_t example_conv(gy_case *c, const example *e, gy_t x, gy_t w, gy_t b) {
    (void)c;
    return gy_conv(x, w, b, .stride = e->stride, .pad = e->pad, .pad_end = e->pad_end, .dilation = e->dilation,
                   .groups = e->groups);
}

static bool conv_cases(gy_case *c, int i) {
    if (i >= N_EXAMPLES) return false;
    const example *e = &examples[i];
    gy_t x = example_x(c, e), w = gy_case_in(c, e->w, -1, 1);
    gy_t b = e->bias ? gy_case_in(c, GY_S(e->w.dim[0]), -1, 1) : GY_NONE;
    c->y = example_conv(c, e, x, w, b);
    if (!e->act && !e->residual) return true;
    gy_conv_attr a = *(const gy_conv_attr *)gy_node_of(c->y)->attr;
    gy_t residual = e->residual ? gy_case_in(c, gy_shape_of(c->y), -1, 1) : GY_NONE;
    a.act = e->act;
    c->y = gy_node_make(GY_HERE, c->g, GY_OP_conv, &a, 4, (gy_t[]){x, w, b, residual});
    return true;
}

static bool conv_dx_cases(gy_case *c, int i) {
    if (i >= N_EXAMPLES) return false;
    const example *e = &examples[i];
    gy_t x = gy_full(c->g, c->dtype, e->x, 0), w = gy_case_in(c, e->w, -1, 1);
    gy_t y = example_conv(c, e, x, w, GY_NONE);
    if (y.id == 0) return true;
    c->y = to_x(gy_node_of(y)->attr, gy_case_in(c, gy_shape_of(y), -1, 1), w, x);
    return true;
}

static bool conv_dw_cases(gy_case *c, int i) {
    if (i >= N_EXAMPLES) return false;
    const example *e = &examples[i];
    gy_t x = example_x(c, e), w = gy_full(c->g, c->dtype, e->w, 0);
    gy_t y = example_conv(c, e, x, w, GY_NONE);
    if (y.id == 0) return true;
    c->y = to_w(gy_node_of(y)->attr, x, gy_case_in(c, gy_shape_of(y), -1, 1), w);
    return true;
}

/* ---- rows ---- */

const gy_op_impl gy_impl_conv = {.attr_size = sizeof(gy_conv_attr),
                                 .act_offset = offsetof(gy_conv_attr, act),
                                 .infer = conv_infer,
                                 .vjp = conv_vjp,
                                 .expand = conv_expand,
                                 .cost = conv_cost,
                                 .cases = conv_cases};
const gy_op_impl gy_impl_conv_dx = {.attr_size = sizeof(gy_conv_attr),
                                    .infer = conv_dx_infer,
                                    .vjp = conv_dx_vjp,
                                    .cost = conv_dx_cost,
                                    .cases = conv_dx_cases};
const gy_op_impl gy_impl_conv_dw = {.attr_size = sizeof(gy_conv_attr),
                                    .infer = conv_dw_infer,
                                    .vjp = conv_dw_vjp,
                                    .cost = conv_dw_cost,
                                    .cases = conv_dw_cases};
