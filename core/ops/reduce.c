/* Reductions. mean, var and logsumexp are compositions; sum, prod, max, min, argmax, argmin and cumsum are operators.
 */
#include "../op.h"

static bool reduce_infer(gy_infer *c) {
    const gy_reduce_attr *a = c->attr;
    gy_shape in = c->in_shape[0], s = {0};
    bool gone[GY_MAX_RANK] = {false};
    int64_t reduced = 1;
    for (int64_t i = 0; i < a->axes.n; i++) {
        gone[a->axes.axis[i]] = true;
        reduced *= in.dim[a->axes.axis[i]];
    }
    for (int64_t i = 0; i < in.rank; i++)
        if (!gone[i])
            s.dim[s.rank++] = in.dim[i];
        else if (a->keep)
            s.dim[s.rank++] = 1;
    if (!gy_dtype_is_float(c->in_dtype[0]))
        return gy_infer_fail(c, "expected a float value, found %s", gy_dtype_name(c->in_dtype[0]));
    if (reduced == 0 && (c->op->id == GY_OP_max || c->op->id == GY_OP_min)) {
        char text[GY_SHAPE_TEXT];
        return gy_infer_fail(c, "nothing to choose from: %s has an empty reduced axis", gy_shape_text(in, text));
    }
    c->shape[0] = s;
    c->dtype[0] = c->in_dtype[0];
    return true;
}

/* Sorted, non-negative, all axes when the list is empty. */
static bool normalise(gy_site at, gy_t x, const char *op, gy_axes in, gy_axes *out) {
    int64_t rank = gy_rank(x);
    bool used[GY_MAX_RANK] = {false};
    for (int64_t i = 0; i < in.n; i++) {
        int64_t axis;
        if (!gy_axis_norm(rank, in.axis[i], &axis) || used[axis]) {
            gy_poison(x.g, at, "%s: axis %d is %s for a value of rank %d", op, (int)in.axis[i],
                      gy_axis_norm(rank, in.axis[i], &axis) ? "given twice" : "out of range", (int)rank);
            return false;
        }
        used[axis] = true;
    }
    *out = (gy_axes){0};
    for (int64_t i = 0; i < rank; i++)
        if (in.n == 0 || used[i]) out->axis[out->n++] = i;
    return true;
}

gy_t gy_reduce_(gy_site at, int op, gy_t x, gy_axes axes, bool keep) {
    gy_reduce_attr a = {.keep = keep};
    if (gy_is_none(x) || x.id == 0) return x;
    if (!normalise(at, x, gy_ops[op].name, axes, &a.axes)) return (gy_t){x.g, 0, 0};
    if (a.axes.n == 0) /* a scalar, nothing to reduce */
        return op == GY_OP_sum_squares ? gy_unary_(at, GY_OP_square, x) : x;
    return gy_node_make(at, x.g, (gy_op_id)op, &a, 1, &x);
}

static double reduced_count(gy_t x, gy_axes axes) {
    int64_t n = 1, rank = gy_rank(x);
    for (int64_t i = 0; i < rank; i++) {
        bool in = axes.n == 0;
        for (int64_t k = 0; k < axes.n; k++) in = in || axes.axis[k] == i || axes.axis[k] + rank == i;
        if (in) n *= gy_dim(x, i);
    }
    return (double)n;
}

gy_t gy_mean_(gy_site at, gy_t x, gy_axes axes, bool keep) {
    double n = reduced_count(x, axes);
    if (n == 0) return gy_poison(x.g, at, "mean: of nothing");
    return gy_scale_(at, gy_reduce_(at, GY_OP_sum, x, axes, keep), 1.0 / n);
}

gy_t gy_var_(gy_site at, gy_t x, gy_axes axes, bool keep, int64_t ddof) {
    double n = reduced_count(x, axes);
    if (n - (double)ddof <= 0) return gy_poison(x.g, at, "var: %g elements are too few", n);
    gy_t d = gy_binary_(at, GY_OP_sub, x, gy_mean_(at, x, axes, true));
    return gy_scale_(at, gy_reduce_(at, GY_OP_sum, gy_unary_(at, GY_OP_square, d), axes, keep),
                     1.0 / (n - (double)ddof));
}

gy_t gy_logsumexp_(gy_site at, gy_t x, gy_axes axes, bool keep) {
    gy_t m = gy_stop_(at, gy_reduce_(at, GY_OP_max, x, axes, true));
    gy_t s = gy_reduce_(at, GY_OP_sum, gy_unary_(at, GY_OP_exp, gy_binary_(at, GY_OP_sub, x, m)), axes, true);
    gy_t y = gy_binary_(at, GY_OP_add, gy_unary_(at, GY_OP_log, s), m);
    return keep ? y : gy_reduce_(at, GY_OP_sum, y, axes, false); /* over axes of size 1: drops them */
}

/* A reduced value back to x's rank: axes of size 1 where they were summed away. */
static gy_t keep_axes(const gy_reduce_attr *a, gy_t reduced, gy_t x) {
    gy_shape s = gy_shape_of(x);
    for (int64_t i = 0; i < a->axes.n; i++) s.dim[a->axes.axis[i]] = 1;
    return gy_reshape_to(reduced, s);
}

static void sum_vjp(const gy_vjp *v) {
    v->gx[0] = gy_broadcast_to(keep_axes(v->attr, v->ct[0], v->in[0]), gy_shape_of(v->in[0]));
}

static void sum_squares_vjp(const gy_vjp *v) {
    gy_t x = v->in[0];
    v->gx[0] = gy_mul(gy_scale(x, 2), keep_axes(v->attr, v->ct[0], x));
}

/* d prod / d x_i = prod of the others; exact at zeros: the products before and after i. */
static void prod_vjp(const gy_vjp *v) {
    const gy_reduce_attr *a = v->attr;
    gy_t x = v->in[0], ct = keep_axes(a, v->ct[0], x);
    if (a->axes.n != 1) { /* flatten the reduced axes into a last one */
        gy_shape order = {.rank = gy_rank(x)};
        int64_t k = 0, first = order.rank - a->axes.n;
        bool gone[GY_MAX_RANK] = {false};
        for (int64_t i = 0; i < a->axes.n; i++) gone[a->axes.axis[i]] = true;
        for (int64_t i = 0; i < order.rank; i++)
            if (!gone[i]) order.dim[k++] = i;
        for (int64_t i = 0; i < a->axes.n; i++) order.dim[k++] = a->axes.axis[i];
        gy_t xp = gy_permute_(GY_HERE, x, order), flat = gy_flatten(xp, first, -1);
        gy_t p = gy_prod(flat, GY_AXES(-1)), g;
        gy_vjp w = {.attr = gy_node_of(p)->attr, .n_in = 1, .n_out = 1, .in = &flat, .y = &p, .gx = &g};
        gy_t c = gy_reshape_to(gy_permute_(GY_HERE, ct, order), gy_shape_of(p));
        w.ct = &c;
        prod_vjp(&w);
        gy_shape back = {.rank = order.rank};
        for (int64_t i = 0; i < order.rank; i++) back.dim[order.dim[i]] = i;
        v->gx[0] = gy_permute_(GY_HERE, gy_reshape_to(g, gy_shape_of(xp)), back);
        return;
    }
    int64_t axis = a->axes.axis[0], n = gy_dim(x, axis);
    gy_t left = gy_full(x.g, gy_dtype_of(x), gy_shape_of(ct), 1.0), total = left;
    gy_t *g = gy_arena_alloc(&x.g->arena, sizeof *g * (size_t)(n > 0 ? n : 1));
    if (!g) return;
    for (int64_t i = 0; i < n; i++) { /* g[i] = prod_{j<i} x_j */
        g[i] = left;
        left = gy_mul(left, gy_slice(x, axis, i, i + 1));
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        g[i] = gy_mul(g[i], total);
        total = gy_mul(total, gy_slice(x, axis, i, i + 1));
    }
    if (n) v->gx[0] = gy_mul(ct, gy_concat(axis, n, g));
}

static void extremum_vjp(const gy_vjp *v) {
    const gy_reduce_attr *a = v->attr;
    gy_t x = v->in[0], hit = gy_cast(gy_eq(x, keep_axes(a, v->y[0], x)), gy_dtype_of(x));
    gy_t count = gy_sum_keep(hit, a->axes);
    v->gx[0] = gy_mul(hit, gy_div(keep_axes(a, v->ct[0], x), count));
}

/* ---- along one axis ---- */

gy_t gy_cumsum_(gy_site at, gy_t x, int64_t axis, bool reverse) {
    gy_reduce_attr a = {.keep = reverse};
    if (gy_is_none(x) || x.id == 0) return x;
    if (!normalise(at, x, "cumsum", (gy_axes){1, {axis}}, &a.axes)) return (gy_t){x.g, 0, 0};
    return gy_node_make(at, x.g, GY_OP_cumsum, &a, 1, &x);
}

static bool cumsum_infer(gy_infer *c) {
    c->shape[0] = c->in_shape[0];
    c->dtype[0] = c->in_dtype[0];
    if (!gy_dtype_is_float(c->in_dtype[0]))
        return gy_infer_fail(c, "expected a float value, found %s", gy_dtype_name(c->in_dtype[0]));
    return true;
}

static void cumsum_vjp(const gy_vjp *v) {
    const gy_reduce_attr *a = v->attr;
    v->gx[0] = gy_cumsum_(GY_HERE, v->ct[0], a->axes.axis[0], !a->keep);
}

gy_t gy_arg_(gy_site at, int op, gy_t x, int64_t axis) {
    gy_reduce_attr a = {.keep = 0};
    if (gy_is_none(x) || x.id == 0) return x;
    if (!normalise(at, x, gy_ops[op].name, (gy_axes){1, {axis}}, &a.axes)) return (gy_t){x.g, 0, 0};
    return gy_node_make(at, x.g, (gy_op_id)op, &a, 1, &x);
}

static bool arg_infer(gy_infer *c) {
    const gy_reduce_attr *a = c->attr;
    char text[GY_SHAPE_TEXT];
    if (c->in_shape[0].dim[a->axes.axis[0]] == 0)
        return gy_infer_fail(c, "nothing to choose from: axis %d of %s is empty", (int)a->axes.axis[0],
                             gy_shape_text(c->in_shape[0], text));
    if (!reduce_infer(c)) return false;
    c->dtype[0] = GY_I64;
    return true;
}

/* ---- cases ---- */

static bool reduce_cases(gy_case *c, int i, int op, double lo, double hi, bool distinct) {
    static const struct {
        gy_shape x;
        gy_axes axes;
        int64_t keep;
    } t[] = {{{1, {1}}, {0, {0}}, 0},           {{2, {3, 7}}, {1, {1}}, 0},      {{2, {5, 3}}, {1, {0}}, 1},
             {{3, {2, 5, 17}}, {2, {0, 2}}, 0}, {{3, {4, 3, 33}}, {1, {-1}}, 0}, {{3, {4, 3, 5}}, {1, {1}}, 0},
             {{4, {2, 1, 3, 2}}, {0, {0}}, 0},  {{2, {0, 3}}, {1, {1}}, 0},      {{1, {131}}, {0, {0}}, 1}};
    if (i == 9) { /* strided */
        gy_t x = distinct ? gy_case_distinct(c, GY_S(6, 11), lo, hi) : gy_case_in(c, GY_S(6, 11), lo, hi);
        c->y = gy_reduce_(GY_HERE, op, gy_transpose(x), GY_AXES(-1), false);
        return true;
    }
    if (i >= (int)(sizeof t / sizeof *t)) return false;
    gy_t x = distinct ? gy_case_distinct(c, t[i].x, lo, hi) : gy_case_in(c, t[i].x, lo, hi);
    c->y = gy_reduce_(GY_HERE, op, x, t[i].axes, t[i].keep != 0);
    return true;
}
static bool sum_cases(gy_case *c, int i) {
    return reduce_cases(c, i, GY_OP_sum, -1, 1, false);
}
static bool sum_squares_cases(gy_case *c, int i) {
    return reduce_cases(c, i, GY_OP_sum_squares, -1, 1, false);
}
static bool prod_cases(gy_case *c, int i) {
    c->tol = 64; /* a product of n factors has n roundings */
    return reduce_cases(c, i, GY_OP_prod, 0.9, 1.1, false);
}
static bool max_cases(gy_case *c, int i) {
    return reduce_cases(c, i, GY_OP_max, -1, 1, true);
}
static bool min_cases(gy_case *c, int i) {
    return reduce_cases(c, i, GY_OP_min, -1, 1, true);
}

static bool axis_cases(gy_case *c, int i, int op) {
    static const struct {
        gy_shape x;
        int64_t axis;
    } t[] = {{{1, {1}}, 0},    {{2, {3, 7}}, 1}, {{3, {2, 5, 3}}, 1}, {{2, {33, 2}}, 0},
             {{2, {0, 4}}, 1}, {{1, {129}}, 0},  {{1, {260}}, 0}};
    if (i >= (int)(sizeof t / sizeof *t)) return false;
    gy_t x = gy_case_distinct(c, t[i].x, -1, 1);
    if (i == 3) x = gy_transpose(x);
    int64_t axis = i == 3 ? 1 : t[i].axis;
    c->y = op == GY_OP_cumsum ? gy_cumsum_(GY_HERE, x, axis, i % 2) : gy_arg_(GY_HERE, op, x, axis);
    return true;
}
static bool cumsum_cases(gy_case *c, int i) {
    return axis_cases(c, i, GY_OP_cumsum);
}
static bool argmax_cases(gy_case *c, int i) {
    return axis_cases(c, i, GY_OP_argmax);
}
static bool argmin_cases(gy_case *c, int i) {
    return axis_cases(c, i, GY_OP_argmin);
}

enum { ATTR = sizeof(gy_reduce_attr) };
static const char *const index_reason = "an index is a step function";
const gy_op_impl gy_impl_sum = {.attr_size = ATTR, .infer = reduce_infer, .vjp = sum_vjp, .cases = sum_cases};
const gy_op_impl gy_impl_sum_squares = {
    .attr_size = ATTR, .infer = reduce_infer, .vjp = sum_squares_vjp, .cases = sum_squares_cases};
const gy_op_impl gy_impl_prod = {.attr_size = ATTR, .infer = reduce_infer, .vjp = prod_vjp, .cases = prod_cases};
const gy_op_impl gy_impl_max = {.attr_size = ATTR, .infer = reduce_infer, .vjp = extremum_vjp, .cases = max_cases};
const gy_op_impl gy_impl_min = {.attr_size = ATTR, .infer = reduce_infer, .vjp = extremum_vjp, .cases = min_cases};
const gy_op_impl gy_impl_cumsum = {.attr_size = ATTR, .infer = cumsum_infer, .vjp = cumsum_vjp, .cases = cumsum_cases};
const gy_op_impl gy_impl_argmax = {
    .attr_size = ATTR, .infer = arg_infer, .nodiff = index_reason, .cases = argmax_cases};
const gy_op_impl gy_impl_argmin = {
    .attr_size = ATTR, .infer = arg_infer, .nodiff = index_reason, .cases = argmin_cases};
