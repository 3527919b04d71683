/* p = softmax(x); with target t, smoothing e, class weights w (1 if none), C classes:
 *     y = -(1 - e) w_t log p_t - e/C sum_c w_c log p_c       (Szegedy et al. 2016, arXiv 1512.00567, section 7)
 *    dx = ct ( ((1 - e) w_t + e/C sum_c w_c) p - (1 - e) w_t [c = t] - e/C w_c ).
 * lse = log sum e^x is kept for the gradient, so p is never stored. */
#include "fused.h"

enum { X, TARGET, WEIGHT, N_IN };

static bool check(gy_infer *c, int first) {
    char a[GY_SHAPE_TEXT], b[GY_SHAPE_TEXT];
    const gy_shape *s = c->in_shape + first;
    const gy_dtype *t = c->in_dtype + first;
    const gy_cross_entropy_attr *attr = c->attr;
    gy_shape x = s[X];
    if (!gy_dtype_is_float(t[X]))
        return gy_infer_fail(c, "logits: expected a float value, found %s", gy_dtype_name(t[X]));
    if (x.rank < 1 || x.dim[x.rank - 1] < 1)
        return gy_infer_fail(c, "logits: expected [..., classes], found %s", gy_shape_text(x, a));
    gy_shape rows = x;
    rows.dim[--rows.rank] = 0;
    if (t[TARGET] != GY_I64 || !gy_shape_equal(s[TARGET], rows))
        return gy_infer_fail(c, "target: expected i64 %s, found %s %s", gy_shape_text(rows, a),
                             gy_dtype_name(t[TARGET]), gy_shape_text(s[TARGET], b));
    if (t[WEIGHT] != GY_DTYPE_DEFAULT &&
        (t[WEIGHT] != t[X] || s[WEIGHT].rank != 1 || s[WEIGHT].dim[0] != x.dim[x.rank - 1]))
        return gy_infer_fail(c, "weight: expected %s [%d], found %s %s", gy_dtype_name(t[X]), (int)x.dim[x.rank - 1],
                             gy_dtype_name(t[WEIGHT]), gy_shape_text(s[WEIGHT], a));
    if (!(attr->smoothing >= 0 && attr->smoothing <= 1))
        return gy_infer_fail(c, "smoothing: expected 0 to 1, found %g", attr->smoothing);
    return true;
}

static bool infer(gy_infer *c) {
    if (!check(c, 0)) return false;
    for (int i = 0; i < 3; i++) {
        c->shape[i] = c->in_shape[TARGET];
        c->dtype[i] = c->in_dtype[X] == GY_F64 ? GY_F64 : GY_F32;
    }
    return true;
}

static bool grad_infer(gy_infer *c) { /* (ct, logits, target, weight, lse) */
    if (!check(c, 1)) return false;
    c->shape[0] = c->in_shape[1];
    c->dtype[0] = c->in_dtype[1];
    return true;
}

gy_t gy_cross_entropy_(gy_cross_entropy_args a) {
    if (gy_is_none(a.logits)) return a.logits;
    gy_cross_entropy_attr attr = {.smoothing = a.smoothing, .ignore = a.ignore ? a.ignore_index : -100};
    gy_t weight = gy_is_none(a.weight) ? a.weight : gy_stop_(a.at, a.weight);
    gy_t loss = gy_node_make(a.at, a.logits.g, GY_OP_cross_entropy, &attr, N_IN, (gy_t[]){a.logits, a.target, weight});
    if (a.reduction == GY_LOSS_NONE || loss.id == 0) return loss;
    gy_t sum = gy_reduce_(a.at, GY_OP_sum, loss, GY_ALL, false);
    if (a.reduction == GY_LOSS_SUM) return sum;
    return gy_binary_(a.at, GY_OP_div, sum, gy_reduce_(a.at, GY_OP_sum, gy_out(loss, 2), GY_ALL, false));
}

static void vjp(const gy_vjp *v) {
    if (!gy_is_none(v->ct[0]))
        v->gx[X] = gy_node_make(GY_VJP_SITE, v->in[X].g, GY_OP_cross_entropy_grad, v->attr, 5,
                                (gy_t[]){v->ct[0], v->in[X], v->in[TARGET], v->in[WEIGHT], v->y[1]});
    if (!gy_is_none(v->ct[1])) gy_fused_grad(GY_OP_cross_entropy, v->attr, N_IN, v->in, 3, 1, v->ct[1], v->gx);
    v->gx[WEIGHT] = GY_NONE; /* constants, by contract; so is output 2, which is made of them */
}

static void expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {
    (void)n_in, (void)n_out;
    const gy_cross_entropy_attr *a = attr;
    gy_graph *g = in[X].g;
    gy_dtype dtype = gy_dtype_of(in[X]), wide = dtype == GY_F64 ? GY_F64 : GY_F32;
    gy_t x = gy_cast(in[X], wide);
    int64_t classes = gy_dim(x, -1);
    gy_t one_hot = gy_cast(gy_eq(gy_unsqueeze(in[TARGET], -1), gy_iota(g, GY_I64, classes)), wide);
    gy_t counts = gy_ne(in[TARGET], gy_full(g, GY_I64, GY_S0, (double)a->ignore));
    gy_t zero = gy_scalar(x, 0), lse = gy_logsumexp(x, GY_AXES(-1));
    gy_t log_p = gy_sub(x, gy_unsqueeze(lse, -1));
    gy_t weighted = log_p, chosen = one_hot;
    if (!gy_is_none(in[WEIGHT])) {
        gy_t w = gy_cast(in[WEIGHT], wide);
        weighted = gy_mul(log_p, w);
        chosen = gy_mul(one_hot, w);
    }
    gy_t loss = gy_scale(gy_sum(gy_mul(one_hot, weighted), GY_AXES(-1)), a->smoothing - 1);
    if (a->smoothing > 0) loss = gy_sub(loss, gy_scale(gy_sum(weighted, GY_AXES(-1)), a->smoothing / (double)classes));
    out[0] = gy_where(counts, loss, zero);
    out[1] = lse;
    out[2] = gy_where(counts, gy_sum(chosen, GY_AXES(-1)), zero);
}

static void grad_expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {
    (void)n_in, (void)n_out;
    gy_t gx[N_IN] = {{0}};
    gy_fused_grad(GY_OP_cross_entropy, attr, N_IN, in + 1, 3, 0, in[0], gx);
    out[0] = gy_or_zeros(gx[X], in[1 + X]);
}

static gy_cost cost(const gy_node *n) {
    double x = (double)gy_count(n->in[X]);
    return (gy_cost){.flops = 11 * x, .bytes = x * (double)gy_dtype_size(gy_dtype_of(n->in[X]))};
}
static gy_cost grad_cost(const gy_node *n) {
    double x = (double)gy_shape_count(n->shape[0]);
    return (gy_cost){.flops = 12 * x, .bytes = 2 * x * (double)gy_dtype_size(n->dtype[0])};
}

/* ---- cases ---- */

static bool case_args(gy_case *c, int i, gy_cross_entropy_args *a) {
    static const struct {
        gy_shape shape;
        double smoothing;
        int64_t lowest; /* of the targets; those below 0 are ignored, as -1 */
        bool weighted;
    } table[] = {{{2, {4, 7}}, 0, 0, false},    {{2, {1, 1}}, 0, 0, false},    {{2, {9, 5}}, 0.1, 0, false},
                 {{3, {2, 3, 17}}, 0, 0, true}, {{2, {11, 6}}, 0.2, -1, true}, {{2, {0, 3}}, 0, 0, false},
                 {{1, {13}}, 0.3, 0, true},     {{2, {5, 131}}, 0, -1, false}};
    enum { COUNT = sizeof table / sizeof *table };
    if (i > COUNT) return false;
    bool strided = i == COUNT;
    gy_shape s = strided ? GY_S(5, 6) : table[i].shape, rows = s;
    rows.dim[--rows.rank] = 0;
    *a = (gy_cross_entropy_args){.at = GY_HERE, .reduction = GY_LOSS_NONE, .ignore = true, .ignore_index = -1};
    a->logits = strided ? gy_transpose(gy_case_in(c, GY_S(6, 5), -3, 3)) : gy_case_in(c, s, -3, 3);
    a->target = gy_case_index(c, rows, strided ? 0 : table[i].lowest, s.dim[s.rank - 1]);
    if (strided) return true;
    a->smoothing = table[i].smoothing;
    if (table[i].weighted) /* 0.4, 0.7, 1.0, ... */
        a->weight = gy_add_scalar(gy_scale(gy_iota(c->g, c->dtype, s.dim[s.rank - 1]), 0.3), 0.4);
    return true;
}

static bool cases(gy_case *c, int i) {
    gy_cross_entropy_args a;
    if (!case_args(c, i, &a)) return false;
    c->y = gy_cross_entropy_(a);
    if (i == 2) c->y = gy_out(c->y, 1); /* lse has a gradient too */
    return true;
}

static bool grad_cases(gy_case *c, int i) {
    gy_cross_entropy_args a;
    if (!case_args(c, i, &a)) return false;
    gy_t y = gy_cross_entropy_(a), ct = gy_case_in(c, gy_shape_of(y), -1, 1);
    gy_t weight = gy_is_none(a.weight) ? a.weight : gy_stop(a.weight);
    c->y = gy_node_make(GY_HERE, c->g, GY_OP_cross_entropy_grad, gy_node_of(y)->attr, 5,
                        (gy_t[]){ct, a.logits, a.target, weight, gy_out(y, 1)});
    return true;
}

const gy_op_impl gy_impl_cross_entropy = {.attr_size = sizeof(gy_cross_entropy_attr),
                                          .infer = infer,
                                          .vjp = vjp,
                                          .expand = expand,
                                          .cost = cost,
                                          .cases = cases};
const gy_op_impl gy_impl_cross_entropy_grad = {.attr_size = sizeof(gy_cross_entropy_attr),
                                               .infer = grad_infer,
                                               .expand = grad_expand,
                                               .cost = grad_cost,
                                               .cases = grad_cases};
