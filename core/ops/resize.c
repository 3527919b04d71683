/* Resizing: y[b, o, c] = sum_i w_1(o_1, i_1) w_2(o_2, i_2) w_3(o_3, i_3) x[b, i, c], and its adjoint; pixel shuffle by
 * reshaping alone. */
#include "../op.h"

/* ---- shape rules ---- */

static int64_t axis_of(gy_shape x, int e) { /* the spatial axis of x behind entry e of the attributes; 0: none */
    int64_t i = e + x.rank - 4;
    return i < 1 ? 0 : i;
}

/* From x's spatial sizes `from` to `to`. */
static bool resized(gy_infer *c, const int64_t from[3], const int64_t to[3]) {
    gy_shape x = c->in_shape[0];
    char t[GY_SHAPE_TEXT];
    if (!gy_dtype_is_float(c->in_dtype[0]))
        return gy_infer_fail(c, "expected a float value, found %s", gy_dtype_name(c->in_dtype[0]));
    if (x.rank < 3 || x.rank > 5)
        return gy_infer_fail(c, "expected [batch, 1 to 3 spatial axes, channels], found %s", gy_shape_text(x, t));
    c->shape[0] = x;
    c->dtype[0] = c->in_dtype[0];
    for (int e = 0; e < 3; e++) {
        int64_t i = axis_of(x, e);
        if (!i) continue;
        if (x.dim[i] != from[e])
            return gy_infer_fail(c, "expected %lld elements on axis %lld, found %s", (long long)from[e], (long long)i,
                                 gy_shape_text(x, t));
        if (from[e] < 1 || to[e] < 1)
            return gy_infer_fail(c, "cannot resize axis %lld of %s from %lld to %lld elements", (long long)i,
                                 gy_shape_text(x, t), (long long)from[e], (long long)to[e]);
        c->shape[0].dim[i] = to[e];
    }
    return true;
}

static bool resize_infer(gy_infer *c) {
    const gy_resize_attr *a = c->attr;
    return resized(c, a->in, a->out);
}
static bool resize_dx_infer(gy_infer *c) {
    const gy_resize_attr *a = c->attr;
    return resized(c, a->out, a->in);
}

/* ---- constructors ---- */

gy_t gy_resize_(gy_resize_args p) {
    if (gy_is_none(p.x)) return p.x;
    gy_graph *g = p.x.g;
    gy_shape x = gy_shape_of(p.x);
    char t[GY_SHAPE_TEXT];
    int64_t n = x.rank - 2;
    if (n < 1 || n > 3) n = 1; /* the shape rule complains */
    gy_resize_attr a = {.mode = p.mode, .align_corners = p.align_corners, .in = {1, 1, 1}, .out = {1, 1, 1}};
    if (p.mode != GY_RESIZE_NEAREST && p.mode != GY_RESIZE_LINEAR)
        return gy_poison(g, p.at, "resize: unknown mode %d", (int)p.mode);
    if (p.align_corners && p.mode != GY_RESIZE_LINEAR)
        return gy_poison(g, p.at, "resize: .align_corners is for linear resizing only");
    if ((p.size.rank != 0) == (p.scale != 0.0)) return gy_poison(g, p.at, "resize: give either .size or .scale");
    if (!(p.scale >= 0.0 && p.scale <= 1e6)) return gy_poison(g, p.at, "resize: scale %g is not in (0, 1e6]", p.scale);
    for (int64_t i = 0; i < n; i++) {
        int64_t e = i + 3 - n;
        a.in[e] = gy_dim(p.x, i + 1);
        a.out[e] = (int64_t)((double)a.in[e] * p.scale);
        if (p.scale > 0.0 && !p.align_corners) a.step[e] = 1.0 / p.scale;
        if (!gy_axis_option(p.size, n, i, a.out[e], &a.out[e]))
            return gy_poison(g, p.at, "resize: .size needs one value, or one a spatial axis of x %s",
                             gy_shape_text(x, t));
    }
    return gy_node_make(p.at, g, GY_OP_resize, &a, 1, &p.x);
}

/* [B, s_1, ..., s_n, C r^n] <-> [B, s_1, r, ..., s_n, r, C]: in the middle, one axis of size r more a spatial axis. */
gy_t gy_pixel_shuffle_(gy_site at, gy_t x, int64_t r) {
    if (gy_is_none(x)) return x;
    gy_shape s = gy_shape_of(x), apart = s, order = {.rank = s.rank}, out = s;
    char t[GY_SHAPE_TEXT];
    int64_t n = s.rank - 2, block = 1;
    for (int64_t i = 0; i < n && n <= 3 && r > 0 && r < 65536; i++) block *= r;
    if (n < 1 || n > 3 || r < 1 || r >= 65536 || s.dim[s.rank - 1] % block != 0)
        return gy_poison(x.g, at,
                         "pixel_shuffle: factor %lld does not fit %s: expected [B, 1 to 3 spatial axes, C r^n]",
                         (long long)r, gy_shape_text(s, t));
    apart.rank = order.rank = 2 + 2 * n;
    apart.dim[n + 1] = out.dim[n + 1] = s.dim[n + 1] / block;
    order.dim[0] = 0;
    for (int64_t i = 0; i < n; i++) {
        apart.dim[n + 2 + i] = r;
        order.dim[1 + 2 * i] = 1 + i;
        order.dim[2 + 2 * i] = n + 2 + i;
        out.dim[1 + i] = s.dim[1 + i] * r;
    }
    order.dim[2 * n + 1] = n + 1;
    return gy_reshape_(at, gy_permute_(at, gy_reshape_(at, x, apart), order), out);
}

gy_t gy_pixel_unshuffle_(gy_site at, gy_t x, int64_t r) {
    if (gy_is_none(x)) return x;
    gy_shape s = gy_shape_of(x), apart = s, order = {.rank = s.rank}, out = s;
    char t[GY_SHAPE_TEXT];
    int64_t n = s.rank - 2;
    bool fits = n >= 1 && n <= 3 && r >= 1 && r < 65536;
    for (int64_t i = 0; fits && i < n; i++) fits = s.dim[1 + i] % r == 0;
    if (!fits)
        return gy_poison(x.g, at, "pixel_unshuffle: factor %lld does not divide the 1 to 3 spatial axes of %s",
                         (long long)r, gy_shape_text(s, t));
    apart.rank = order.rank = 2 + 2 * n;
    apart.dim[2 * n + 1] = s.dim[n + 1];
    order.dim[0] = 0;
    order.dim[n + 1] = 2 * n + 1;
    for (int64_t i = 0; i < n; i++) {
        apart.dim[1 + 2 * i] = s.dim[1 + i] / r;
        apart.dim[2 + 2 * i] = r;
        order.dim[1 + i] = 1 + 2 * i;
        order.dim[n + 2 + i] = 2 + 2 * i;
        out.dim[1 + i] = s.dim[1 + i] / r;
        out.dim[n + 1] *= r;
    }
    return gy_reshape_(at, gy_permute_(at, gy_reshape_(at, x, apart), order), out);
}

/* ---- gradients: each is the other's adjoint ---- */

static void resize_vjp(const gy_vjp *v) {
    v->gx[0] = gy_node_make(GY_VJP_SITE, v->ct[0].g, GY_OP_resize_dx, v->attr, 1, &v->ct[0]);
}
static void resize_dx_vjp(const gy_vjp *v) {
    v->gx[0] = gy_node_make(GY_VJP_SITE, v->ct[0].g, GY_OP_resize, v->attr, 1, &v->ct[0]);
}

/* ---- cases ---- */

typedef struct {
    gy_shape x, size;
    double scale;
    int64_t mode;
    bool align_corners;
} example;

static const example examples[] = {
    {.x = {3, {2, 5, 3}}, .size = {1, {11}}},
    {.x = {3, {1, 1, 1}}, .size = {1, {1}}, .mode = GY_RESIZE_LINEAR},
    {.x = {3, {2, 7, 2}}, .size = {1, {3}}, .mode = GY_RESIZE_LINEAR},
    {.x = {3, {1, 5, 17}}, .scale = 1.7, .mode = GY_RESIZE_LINEAR},
    {.x = {3, {1, 9, 1}}, .scale = 0.45},
    {.x = {4, {2, 3, 4, 3}}, .scale = 2},
    {.x = {4, {1, 4, 5, 2}}, .size = {2, {7, 3}}, .mode = GY_RESIZE_LINEAR},
    {.x = {4, {1, 4, 5, 2}}, .size = {2, {9, 1}}, .mode = GY_RESIZE_LINEAR, .align_corners = true},
    {.x = {4, {0, 4, 5, 2}}, .size = {2, {8, 10}}, .mode = GY_RESIZE_LINEAR},
    {.x = {5, {1, 3, 2, 4, 2}}, .size = {3, {5, 4, 4}}, .mode = GY_RESIZE_LINEAR},
    {.x = {5, {1, 3, 2, 4, 3}}, .size = {3, {2, 5, 7}}},
    {.x = {5, {2, 2, 3, 3, 1}}, .size = {1, {4}}, .mode = GY_RESIZE_LINEAR, .align_corners = true},
};
enum { N_EXAMPLES = sizeof examples / sizeof *examples };

static gy_t resize(const example *e, gy_t x) {
    return gy_resize(x, .size = e->size, .scale = e->scale, .mode = (gy_resize_mode)e->mode,
                     .align_corners = e->align_corners);
}
static bool resize_cases(gy_case *c, int i) {
    if (i >= N_EXAMPLES) return false;
    c->y = resize(&examples[i], gy_case_in(c, examples[i].x, -1, 1));
    return true;
}
static bool resize_dx_cases(gy_case *c, int i) {
    if (i >= N_EXAMPLES) return false;
    gy_t x = gy_full(c->g, c->dtype, examples[i].x, 0), y = resize(&examples[i], x), gx = GY_NONE;
    gy_grad(y, gy_case_in(c, gy_shape_of(y), -1, 1), 1, &x, &gx);
    c->y = gx;
    return true;
}

/* ---- rows ---- */

const gy_op_impl gy_impl_resize = {
    .attr_size = sizeof(gy_resize_attr), .infer = resize_infer, .vjp = resize_vjp, .cases = resize_cases};
const gy_op_impl gy_impl_resize_dx = {
    .attr_size = sizeof(gy_resize_attr), .infer = resize_dx_infer, .vjp = resize_dx_vjp, .cases = resize_dx_cases};
