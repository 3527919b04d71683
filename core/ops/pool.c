/* Pooling over windows of the spatial axes; y[b, o, c] is
 *     max_pool     max_k x[b, o s - p + k d, c], and the place of that maximum
 *     max_pool_at  x[b, place[b, o, c], c];   max_unpool its adjoint
 *     avg_pool     1/n sum_k x[b, o s - p + k, c];   avg_pool_dx its adjoint */
#include "../op.h"

/* ---- shape rules ---- */

static int64_t axis_of(gy_shape x, int e) { /* the spatial axis of x behind entry e of the attributes; 0: none */
    int64_t i = e + x.rank - 4;
    return i < 1 ? 0 : i;
}

static bool spatial(gy_infer *c, gy_shape x) {
    char t[GY_SHAPE_TEXT];
    if (!gy_dtype_is_float(c->in_dtype[0]))
        return gy_infer_fail(c, "expected a float value, found %s", gy_dtype_name(c->in_dtype[0]));
    if (x.rank < 3 || x.rank > 5)
        return gy_infer_fail(c, "expected [batch, 1 to 3 spatial axes, channels], found %s", gy_shape_text(x, t));
    return true;
}

/* Every window of one axis holds an element of x. */
static bool windows_hold_data(const gy_pool_attr *a, int e, int64_t in, int64_t out, int64_t *bad) {
    for (int64_t o = 0; o < out; o++) {
        int64_t start, taps, step = a->dilation[e];
        gy_pool_window(a, e, in, o, &start, &taps);
        int64_t skip = start < 0 ? (-start + step - 1) / step : 0; /* taps before x */
        if (skip >= taps || start + skip * step >= in) {
            *bad = o;
            return false;
        }
    }
    return true;
}

/* y's shape from x; `strict`: no window may be padding alone. */
static bool pooled_shape(gy_infer *c, gy_shape x, bool strict, gy_shape *y) {
    const gy_pool_attr *a = c->attr;
    char t[GY_SHAPE_TEXT];
    *y = x;
    for (int e = 0; e < 3; e++) {
        int64_t axis = axis_of(x, e), in = axis ? x.dim[axis] : 1, out = a->out[e], bad = 0;
        if (!axis) continue;
        if (a->adaptive) {
            if (out < 1 || in < 1 || out > INT32_MAX || in > INT32_MAX)
                return gy_infer_fail(c, "cannot pool %lld elements of axis %lld into %lld", (long long)in,
                                     (long long)axis, (long long)out);
        } else {
            if (a->window[e] < 1 || a->stride[e] < 1 || a->dilation[e] < 1)
                return gy_infer_fail(c, "window, stride and dilation must be at least 1, found %lld, %lld, %lld",
                                     (long long)a->window[e], (long long)a->stride[e], (long long)a->dilation[e]);
            if (a->before[e] < 0 || a->after[e] < 0)
                return gy_infer_fail(c, "negative padding %lld, %lld", (long long)a->before[e], (long long)a->after[e]);
            if (a->window[e] > INT32_MAX || a->stride[e] > INT32_MAX || a->dilation[e] > INT32_MAX ||
                a->before[e] > INT32_MAX || a->after[e] > INT32_MAX)
                return gy_infer_fail(c, "window, stride, dilation and padding must be below 2^31");
            int64_t padded = in + a->before[e] + a->after[e], reach = a->dilation[e] * (a->window[e] - 1) + 1;
            if (padded < reach)
                return gy_infer_fail(c,
                                     "a window reaching over %lld elements is larger than axis %lld of the padded "
                                     "input %s: %lld elements",
                                     (long long)reach, (long long)axis, gy_shape_text(x, t), (long long)padded);
            out = (padded - reach) / a->stride[e] + 1;
        }
        if (strict && !a->adaptive && !windows_hold_data(a, e, in, out, &bad))
            return gy_infer_fail(c, "window %lld of axis %lld of %s covers padding alone", (long long)bad,
                                 (long long)axis, gy_shape_text(x, t));
        y->dim[axis] = out;
    }
    return true;
}

static bool max_pool_infer(gy_infer *c) {
    if (!spatial(c, c->in_shape[0]) || !pooled_shape(c, c->in_shape[0], true, &c->shape[0])) return false;
    c->shape[1] = c->shape[0];
    c->dtype[0] = c->in_dtype[0];
    c->dtype[1] = GY_I64;
    return true;
}

static bool avg_pool_infer(gy_infer *c) {
    const gy_pool_attr *a = c->attr;
    c->dtype[0] = c->in_dtype[0];
    return spatial(c, c->in_shape[0]) && pooled_shape(c, c->in_shape[0], a->skip_zeros, &c->shape[0]);
}

/* y with the spatial sizes that the attributes name. */
static gy_shape sized(const gy_pool_attr *a, gy_shape y) {
    for (int e = 0; e < 3; e++)
        if (axis_of(y, e)) y.dim[axis_of(y, e)] = a->size[e];
    return y;
}

static bool avg_pool_dx_infer(gy_infer *c) {
    const gy_pool_attr *a = c->attr;
    char t[GY_SHAPE_TEXT], u[GY_SHAPE_TEXT];
    gy_shape y = c->in_shape[0], want;
    if (!spatial(c, y)) return false;
    c->shape[0] = sized(a, y);
    c->dtype[0] = c->in_dtype[0];
    if (!pooled_shape(c, c->shape[0], a->skip_zeros, &want)) return false;
    if (gy_shape_equal(y, want)) return true;
    return gy_infer_fail(c, "expected a cotangent %s, found %s", gy_shape_text(want, t), gy_shape_text(y, u));
}

static bool places(gy_infer *c) {
    if (c->in_dtype[1] == GY_I64) return true;
    return gy_infer_fail(c, "the places are %s, expected i64", gy_dtype_name(c->in_dtype[1]));
}

static bool max_unpool_infer(gy_infer *c) {
    const gy_pool_attr *a = c->attr;
    char t[GY_SHAPE_TEXT], u[GY_SHAPE_TEXT];
    if (!spatial(c, c->in_shape[0]) || !places(c)) return false;
    if (!gy_shape_equal(c->in_shape[0], c->in_shape[1]))
        return gy_infer_fail(c, "values %s and places %s differ", gy_shape_text(c->in_shape[0], t),
                             gy_shape_text(c->in_shape[1], u));
    for (int e = 0; e < 3; e++)
        if (a->size[e] < 0) return gy_infer_fail(c, "negative size %lld", (long long)a->size[e]);
    c->shape[0] = sized(a, c->in_shape[0]);
    c->dtype[0] = c->in_dtype[0];
    return true;
}

static bool max_pool_at_infer(gy_infer *c) {
    gy_shape x = c->in_shape[0], p = c->in_shape[1];
    char t[GY_SHAPE_TEXT], u[GY_SHAPE_TEXT];
    if (!spatial(c, x) || !places(c)) return false;
    if (x.rank != p.rank || x.dim[0] != p.dim[0] || x.dim[x.rank - 1] != p.dim[p.rank - 1])
        return gy_infer_fail(c, "x %s and places %s differ in rank, batch or channels", gy_shape_text(x, t),
                             gy_shape_text(p, u));
    c->shape[0] = p;
    c->dtype[0] = c->in_dtype[0];
    return true;
}

/* ---- constructors ---- */

static gy_pool_attr trivial(void) {
    return (gy_pool_attr){.window = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}};
}

static gy_t bad_option(gy_site at, gy_t x, const char *op, const char *option) {
    char t[GY_SHAPE_TEXT];
    return gy_poison(x.g, at, "%s: .%s needs one value, or one a spatial axis of x %s", op, option,
                     gy_shape_text(gy_shape_of(x), t));
}

static gy_t fixed(gy_op_id op, const gy_pool_args *p) {
    gy_pool_attr a = trivial();
    gy_t x = p->x;
    const char *name = gy_ops[op].name;
    if (gy_is_none(x)) return x;
    int64_t n = gy_rank(x) - 2;
    if (n < 1 || n > 3) n = 1; /* the shape rule complains */
    if (p->window.rank == 0) return bad_option(p->at, x, name, "window");
    for (int64_t i = 0; i < n; i++) {
        int64_t e = i + 3 - n;
        if (!gy_axis_option(p->window, n, i, 1, &a.window[e])) return bad_option(p->at, x, name, "window");
        if (!gy_axis_option(p->stride, n, i, a.window[e], &a.stride[e])) return bad_option(p->at, x, name, "stride");
        if (!gy_axis_option(p->pad, n, i, 0, &a.before[e])) return bad_option(p->at, x, name, "pad");
        if (!gy_axis_option(p->pad_end, n, i, a.before[e], &a.after[e])) return bad_option(p->at, x, name, "pad_end");
        if (!gy_axis_option(p->dilation, n, i, 1, &a.dilation[e])) return bad_option(p->at, x, name, "dilation");
        if (op == GY_OP_avg_pool && a.dilation[e] != 1)
            return gy_poison(x.g, p->at, "avg_pool: .dilation is for max_pool only");
    }
    a.skip_zeros = op == GY_OP_avg_pool && p->exclude_pad;
    return gy_node_make(p->at, x.g, op, &a, 1, &x);
}

gy_t gy_max_pool_(gy_pool_args args) {
    return fixed(GY_OP_max_pool, &args);
}
gy_t gy_avg_pool_(gy_pool_args args) {
    return fixed(GY_OP_avg_pool, &args);
}

static gy_t adaptive(gy_op_id op, gy_site at, gy_t x, gy_shape out) {
    gy_pool_attr a = trivial();
    if (gy_is_none(x)) return x;
    int64_t n = gy_rank(x) - 2;
    if (n < 1 || n > 3) n = 1;
    a.adaptive = 1;
    for (int e = 0; e < 3; e++) {
        a.out[e] = 1;
        if (e >= 3 - n && !gy_axis_option(out, n, e - (3 - n), 1, &a.out[e]))
            return bad_option(at, x, gy_ops[op].name, "out");
    }
    return gy_node_make(at, x.g, op, &a, 1, &x);
}

gy_t gy_adaptive_avg_pool_(gy_site at, gy_t x, gy_shape out) {
    return adaptive(GY_OP_avg_pool, at, x, out);
}
gy_t gy_adaptive_max_pool_(gy_site at, gy_t x, gy_shape out) {
    return adaptive(GY_OP_max_pool, at, x, out);
}

gy_t gy_max_unpool_(gy_site at, gy_t y, gy_t place, gy_shape size) {
    gy_pool_attr a = trivial();
    if (gy_is_none(y)) return y;
    int64_t n = gy_rank(y) - 2;
    if (n < 1 || n > 3) n = 1;
    for (int e = 0; e < 3; e++) {
        a.size[e] = 1;
        if (e >= 3 - n && !gy_axis_option(size, n, e - (3 - n), 1, &a.size[e]))
            return bad_option(at, y, "max_unpool", "size");
    }
    return gy_node_make(at, y.g, GY_OP_max_unpool, &a, 2, (gy_t[]){y, place});
}

gy_t gy_max_pool_at_(gy_site at, gy_t x, gy_t place) {
    if (gy_is_none(x)) return x;
    return gy_node_make(at, x.g, GY_OP_max_pool_at, NULL, 2, (gy_t[]){x, place});
}

static bool spatial_axes(gy_site at, gy_t x, const char *op, gy_axes *axes) {
    char t[GY_SHAPE_TEXT];
    *axes = (gy_axes){.n = gy_rank(x) - 2};
    if (axes->n < 1) {
        gy_poison(x.g, at, "%s: expected [batch, spatial..., channels], found %s", op,
                  gy_shape_text(gy_shape_of(x), t));
        return false;
    }
    for (int64_t i = 0; i < axes->n; i++) axes->axis[i] = i + 1;
    return true;
}

gy_t gy_global_avg_pool_(gy_site at, gy_t x) {
    gy_axes axes;
    if (gy_is_none(x)) return x;
    return spatial_axes(at, x, "global_avg_pool", &axes) ? gy_mean_(at, x, axes, false) : (gy_t){x.g, 0, 0};
}
gy_t gy_global_max_pool_(gy_site at, gy_t x) {
    gy_axes axes;
    if (gy_is_none(x)) return x;
    return spatial_axes(at, x, "global_max_pool", &axes) ? gy_reduce_(at, GY_OP_max, x, axes, false)
                                                         : (gy_t){x.g, 0, 0};
}

/* ---- gradients ---- */

static gy_shape spatial_size(gy_t x) {
    gy_shape s = gy_shape_of(x), size = {.rank = s.rank - 2};
    for (int64_t i = 0; i < size.rank; i++) size.dim[i] = s.dim[i + 1];
    return size;
}

static void max_pool_vjp(const gy_vjp *v) {
    if (!gy_is_none(v->ct[0])) v->gx[0] = gy_max_unpool_(GY_VJP_SITE, v->ct[0], v->y[1], spatial_size(v->in[0]));
}
static void max_unpool_vjp(const gy_vjp *v) {
    v->gx[0] = gy_max_pool_at(v->ct[0], v->in[1]);
}
static void max_pool_at_vjp(const gy_vjp *v) {
    v->gx[0] = gy_max_unpool_(GY_VJP_SITE, v->ct[0], v->in[1], spatial_size(v->in[0]));
}

static void avg_pool_vjp(const gy_vjp *v) {
    gy_pool_attr a = *(const gy_pool_attr *)v->attr;
    gy_shape x = gy_shape_of(v->in[0]);
    for (int e = 0; e < 3; e++) a.size[e] = axis_of(x, e) ? x.dim[axis_of(x, e)] : 1;
    v->gx[0] = gy_node_make(GY_VJP_SITE, v->ct[0].g, GY_OP_avg_pool_dx, &a, 1, &v->ct[0]);
}
static void avg_pool_dx_vjp(const gy_vjp *v) {
    gy_pool_attr a = *(const gy_pool_attr *)v->attr;
    a.size[0] = a.size[1] = a.size[2] = 0;
    v->gx[0] = gy_node_make(GY_VJP_SITE, v->ct[0].g, GY_OP_avg_pool, &a, 1, &v->ct[0]);
}

/* ---- cases ---- */

typedef struct {
    gy_shape x, window, stride, pad, pad_end, dilation, out; /* out: adaptive */
    bool exclude_pad;
} example;

static const example examples[] = {
    {.x = {3, {2, 11, 3}}, .window = {1, {3}}},
    {.x = {3, {1, 1, 1}}, .window = {1, {1}}},
    {.x = {3, {2, 10, 5}}, .window = {1, {4}}, .stride = {1, {3}}, .pad = {1, {2}}, .pad_end = {1, {1}}},
    {.x = {3, {1, 9, 2}}, .window = {1, {2}}, .stride = {1, {4}}, .exclude_pad = true}, /* holes between windows */
    {.x = {4, {2, 7, 6, 3}}, .window = {1, {3}}, .stride = {1, {2}}, .pad = {1, {1}}},
    {.x = {4, {2, 7, 6, 3}}, .window = {2, {3, 2}}, .stride = {1, {1}}, .pad = {2, {1, 0}}, .exclude_pad = true},
    {.x = {4, {0, 4, 4, 3}}, .window = {1, {2}}},
    {.x = {5, {1, 4, 5, 6, 17}}, .window = {3, {2, 3, 2}}, .stride = {1, {2}}, .pad = {3, {0, 1, 1}}},
    {.x = {3, {2, 17, 1}}, .out = {1, {5}}},
    {.x = {3, {1, 5, 3}}, .out = {1, {8}}}, /* more outputs than inputs */
    {.x = {4, {2, 7, 5, 3}}, .out = {2, {3, 1}}},
    {.x = {5, {1, 3, 7, 5, 2}}, .out = {3, {2, 7, 3}}},
    {.x = {4, {1, 7, 9, 2}},
     .window = {1, {3}},
     .stride = {1, {2}},
     .pad = {1, {1}},
     .dilation = {2, {2, 3}}}, /* max only */
};
enum { N_EXAMPLES = sizeof examples / sizeof *examples, N_AVG = N_EXAMPLES - 1 };

static gy_t pool(gy_op_id op, const example *e, gy_t x) {
    if (e->out.rank) return adaptive(op, GY_HERE, x, e->out);
    return fixed(op,
                 &(gy_pool_args){GY_HERE, x, e->window, e->stride, e->pad, e->pad_end, e->dilation, e->exclude_pad});
}

static bool max_pool_cases(gy_case *c, int i) {
    if (i >= N_EXAMPLES) return false;
    c->y = pool(GY_OP_max_pool, &examples[i], gy_case_distinct(c, examples[i].x, -2, 2));
    return true;
}
static bool max_unpool_cases(gy_case *c, int i) { /* random places: some coincide, and one past the end */
    static const gy_shape y[] = {
        {3, {2, 5, 3}}, {4, {1, 4, 3, 2}}, {5, {2, 2, 1, 3, 1}}, {3, {0, 4, 2}}, {3, {1, 1, 1}}};
    static const gy_shape size[] = {{1, {7}}, {2, {3, 3}}, {3, {2, 3, 2}}, {1, {3}}, {1, {1}}};
    if (i >= 5) return false;
    gy_t place = gy_case_index(c, y[i], 0, gy_shape_count(size[i]) + 1);
    c->y = gy_max_unpool_(GY_HERE, gy_case_in(c, y[i], -1, 1), place, size[i]);
    return true;
}
static bool max_pool_at_cases(gy_case *c, int i) {
    static const gy_shape x[] = {
        {3, {2, 7, 3}}, {4, {1, 3, 3, 2}}, {5, {2, 2, 3, 2, 1}}, {3, {0, 3, 2}}, {3, {1, 1, 1}}};
    static const gy_shape y[] = {
        {3, {2, 5, 3}}, {4, {1, 4, 3, 2}}, {5, {2, 2, 1, 3, 1}}, {3, {0, 4, 2}}, {3, {1, 1, 1}}};
    if (i >= 5) return false;
    int64_t n = gy_shape_count(x[i]) / (x[i].dim[0] > 0 ? x[i].dim[0] : 1) / x[i].dim[x[i].rank - 1];
    c->y = gy_max_pool_at(gy_case_in(c, x[i], -1, 1), gy_case_index(c, y[i], 0, n + 1));
    return true;
}
static bool avg_pool_cases(gy_case *c, int i) {
    if (i >= N_AVG) return false;
    c->y = pool(GY_OP_avg_pool, &examples[i], gy_case_in(c, examples[i].x, -1, 1));
    return true;
}
static bool avg_pool_dx_cases(gy_case *c, int i) {
    if (i >= N_AVG) return false;
    gy_t x = gy_full(c->g, c->dtype, examples[i].x, 0), y = pool(GY_OP_avg_pool, &examples[i], x), gx = GY_NONE;
    gy_grad(y, gy_case_in(c, gy_shape_of(y), -1, 1), 1, &x, &gx);
    c->y = gx;
    return true;
}

/* ---- rows ---- */

const gy_op_impl gy_impl_max_pool = {
    .attr_size = sizeof(gy_pool_attr), .infer = max_pool_infer, .vjp = max_pool_vjp, .cases = max_pool_cases};
const gy_op_impl gy_impl_max_unpool = {
    .attr_size = sizeof(gy_pool_attr), .infer = max_unpool_infer, .vjp = max_unpool_vjp, .cases = max_unpool_cases};
const gy_op_impl gy_impl_max_pool_at = {.infer = max_pool_at_infer, .vjp = max_pool_at_vjp, .cases = max_pool_at_cases};
const gy_op_impl gy_impl_avg_pool = {
    .attr_size = sizeof(gy_pool_attr), .infer = avg_pool_infer, .vjp = avg_pool_vjp, .cases = avg_pool_cases};
const gy_op_impl gy_impl_avg_pool_dx = {
    .attr_size = sizeof(gy_pool_attr), .infer = avg_pool_dx_infer, .vjp = avg_pool_dx_vjp, .cases = avg_pool_dx_cases};
