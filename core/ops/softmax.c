/* softmax       y_i = e^{x_i} / sum_j e^{x_j}          dx = y (ct - sum_j ct_j y_j)
 * log_softmax   y_i = x_i - log sum_j e^{x_j}          dx = ct - e^y sum_j ct_j
 * The operators work along the last axis; other axes are exchanged with it by a view. Both gradients are functions
 * of (ct, y) alone, so x need not be kept. */
#include "../op.h"

static bool infer(gy_infer *c) {
    char s[GY_SHAPE_TEXT];
    gy_shape x = c->in_shape[0];
    if (!gy_dtype_is_float(c->in_dtype[0]))
        return gy_infer_fail(c, "expected a float value, found %s", gy_dtype_name(c->in_dtype[0]));
    if (x.rank < 1 || x.dim[x.rank - 1] == 0)
        return gy_infer_fail(c, "expected a last axis with elements, found %s", gy_shape_text(x, s));
    c->shape[0] = x;
    c->dtype[0] = c->in_dtype[0];
    return true;
}

static bool grad_infer(gy_infer *c) {
    char a[GY_SHAPE_TEXT], b[GY_SHAPE_TEXT];
    if (!gy_shape_equal(c->in_shape[0], c->in_shape[1]))
        return gy_infer_fail(c, "cotangent %s for a value %s", gy_shape_text(c->in_shape[0], a),
                             gy_shape_text(c->in_shape[1], b));
    return infer(c);
}

static gy_t along(gy_site at, gy_op_id op, gy_t x, int64_t axis) {
    char s[GY_SHAPE_TEXT];
    int64_t a;
    if (gy_is_none(x) || x.id == 0) return x;
    if (!gy_axis_norm(gy_rank(x), axis, &a))
        return gy_poison(x.g, at, "%s: axis %d of a value %s", gy_ops[op].name, (int)axis,
                         gy_shape_text(gy_shape_of(x), s));
    bool last = a == gy_rank(x) - 1;
    if (!last) x = gy_swap_(at, x, a, -1);
    gy_t y = gy_node_make(at, x.g, op, NULL, 1, &x);
    return last ? y : gy_swap_(at, y, a, -1);
}

gy_t gy_softmax_(gy_site at, gy_t x, int64_t axis) {
    return along(at, GY_OP_softmax, x, axis);
}
gy_t gy_log_softmax_(gy_site at, gy_t x, int64_t axis) {
    return along(at, GY_OP_log_softmax, x, axis);
}

static void softmax_vjp(const gy_vjp *v) {
    v->gx[0] = gy_node_make(GY_VJP_SITE, v->in[0].g, GY_OP_softmax_grad, NULL, 2, (gy_t[]){v->ct[0], v->y[0]});
}

static void log_softmax_vjp(const gy_vjp *v) {
    v->gx[0] = gy_node_make(GY_VJP_SITE, v->in[0].g, GY_OP_log_softmax_grad, NULL, 2, (gy_t[]){v->ct[0], v->y[0]});
}

static gy_t shifted(gy_t x) { /* x - max x; the shift cancels, so it carries no gradient */
    return gy_sub(x, gy_stop(gy_max_keep(x, GY_AXES(-1))));
}

static void softmax_expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {
    (void)attr, (void)n_in, (void)n_out;
    gy_t e = gy_exp(shifted(in[0]));
    out[0] = gy_div(e, gy_sum_keep(e, GY_AXES(-1)));
}

static void log_softmax_expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {
    (void)attr, (void)n_in, (void)n_out;
    gy_t z = shifted(in[0]);
    out[0] = gy_sub(z, gy_log(gy_sum_keep(gy_exp(z), GY_AXES(-1))));
}

static void softmax_grad_expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {
    (void)attr, (void)n_in, (void)n_out;
    gy_t ct = in[0], y = in[1];
    out[0] = gy_mul(y, gy_sub(ct, gy_sum_keep(gy_mul(ct, y), GY_AXES(-1))));
}

static void log_softmax_grad_expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {
    (void)attr, (void)n_in, (void)n_out;
    gy_t ct = in[0], y = in[1];
    out[0] = gy_sub(ct, gy_mul(gy_exp(y), gy_sum_keep(ct, GY_AXES(-1))));
}

/* ---- cost: an exponential counts as 8 operations ---- */

static gy_cost work(const gy_node *n, double flops_an_element) {
    double count = (double)gy_shape_count(n->shape[0]), size = (double)gy_dtype_size(n->dtype[0]);
    return (gy_cost){.flops = flops_an_element * count, .bytes = (n->n_in + 1) * count * size};
}
static gy_cost forward_cost(const gy_node *n) {
    return work(n, 12);
}
static gy_cost softmax_grad_cost(const gy_node *n) {
    return work(n, 4);
}
static gy_cost log_softmax_grad_cost(const gy_node *n) {
    return work(n, 11);
}

/* ---- cases ---- */

static bool input(gy_case *c, int i, gy_t *x) {
    static const gy_shape table[] = {{1, {1}},        {1, {5}},    {2, {3, 17}},       {2, {7, 67}},
                                     {3, {2, 3, 37}}, {2, {0, 4}}, {4, {2, 2, 3, 16}}, {2, {2, 1031}}};
    enum { SHAPES = sizeof table / sizeof *table };
    if (i < SHAPES)
        *x = gy_case_in(c, table[i], -4, 4);
    else if (i == SHAPES) /* strided: a transposed view */
        *x = gy_transpose(gy_case_in(c, GY_S(19, 5), -4, 4));
    else if (i == SHAPES + 1) /* large values: the shift by the maximum is what keeps them finite */
        *x = gy_case_in(c, GY_S(3, 9), 996, 1000);
    else
        return false;
    return true;
}

static bool softmax_cases(gy_case *c, int i) {
    gy_t x;
    if (!input(c, i, &x)) return false;
    c->y = gy_softmax(x, -1);
    return true;
}
static bool log_softmax_cases(gy_case *c, int i) {
    gy_t x;
    if (!input(c, i, &x)) return false;
    c->y = gy_log_softmax(x, -1);
    return true;
}
static bool grad_cases(gy_case *c, int i, gy_op_id op, bool log) {
    gy_t x;
    if (!input(c, i, &x)) return false;
    gy_t ct = gy_case_in(c, gy_shape_of(x), -1, 1);
    gy_t y = log ? gy_log_softmax(x, -1) : gy_softmax(x, -1);
    c->y = gy_node_make(GY_HERE, c->g, op, NULL, 2, (gy_t[]){ct, y});
    return true;
}
static bool softmax_grad_cases(gy_case *c, int i) {
    return grad_cases(c, i, GY_OP_softmax_grad, false);
}
static bool log_softmax_grad_cases(gy_case *c, int i) {
    return grad_cases(c, i, GY_OP_log_softmax_grad, true);
}

const gy_op_impl gy_impl_softmax = {
    .infer = infer, .vjp = softmax_vjp, .expand = softmax_expand, .cost = forward_cost, .cases = softmax_cases};
const gy_op_impl gy_impl_log_softmax = {.infer = infer,
                                        .vjp = log_softmax_vjp,
                                        .expand = log_softmax_expand,
                                        .cost = forward_cost,
                                        .cases = log_softmax_cases};
const gy_op_impl gy_impl_softmax_grad = {
    .infer = grad_infer, .expand = softmax_grad_expand, .cost = softmax_grad_cost, .cases = softmax_grad_cases};
const gy_op_impl gy_impl_log_softmax_grad = {.infer = grad_infer,
                                             .expand = log_softmax_grad_expand,
                                             .cost = log_softmax_grad_cost,
                                             .cases = log_softmax_grad_cases};
