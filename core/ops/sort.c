/* Sorting: y_i = x_{p(i)} for a permutation p that is saved; the gradient is its transpose. */
#include "../op.h"

static bool sort_infer(gy_infer *c) {
    const gy_sort_attr *a = c->attr;
    gy_shape s = c->in_shape[0];
    char t[GY_SHAPE_TEXT];
    if (!gy_dtype_is_float(c->in_dtype[0]))
        return gy_infer_fail(c, "expected float values, found %s", gy_dtype_name(c->in_dtype[0]));
    if (a->axis < 0 || a->axis >= s.rank)
        return gy_infer_fail(c, "axis %d of a value %s", (int)a->axis, gy_shape_text(s, t));
    if (a->k < 0 || a->k > s.dim[a->axis])
        return gy_infer_fail(c, "the first %lld of an axis of %lld elements", (long long)a->k,
                             (long long)s.dim[a->axis]);
    s.dim[a->axis] = a->k;
    c->shape[0] = c->shape[1] = s;
    c->dtype[0] = c->in_dtype[0];
    c->dtype[1] = GY_I64;
    return true;
}

gy_t gy_sort_(gy_site at, gy_t x, int64_t axis, bool descending) {
    gy_sort_attr a = {axis < 0 ? axis + gy_rank(x) : axis, descending, gy_dim(x, axis)};
    return gy_node_make(at, x.g, GY_OP_sort, &a, 1, &x);
}

gy_t gy_top_k_(gy_site at, gy_t x, int64_t k) {
    return gy_node_make(at, x.g, GY_OP_sort, &(gy_sort_attr){gy_rank(x) - 1, 1, k}, 1, &x);
}

static void sort_vjp(const gy_vjp *v) {
    const gy_sort_attr *a = v->attr;
    if (gy_is_none(v->ct[0])) return;
    v->gx[0] = gy_scatter_along_add(v->ct[0], v->y[1], a->axis, gy_dim(v->in[0], a->axis));
}

static gy_cost sort_cost(const gy_node *n) { /* comparisons of a merge sort */
    double count = (double)gy_count(n->in[0]), levels = 0;
    for (int64_t w = 1; w < gy_dim(n->in[0], ((const gy_sort_attr *)n->attr)->axis); w *= 2) levels++;
    double size = (double)gy_dtype_size(n->dtype[0]);
    return (gy_cost){count * levels, count * size + (double)gy_shape_count(n->shape[0]) * (size + 8)};
}

static bool sort_cases(gy_case *c, int i) {
    switch (i) {
    case 0: c->y = gy_sort(gy_case_distinct(c, GY_S(3, 7), -1, 1), 1); return true;
    case 1: c->y = gy_sort_descending(gy_case_distinct(c, GY_S(13, 2, 3), -1, 1), 0); return true;
    case 2: c->y = gy_top_k(gy_case_distinct(c, GY_S(4, 17), -1, 1), 5); return true;
    case 3: c->y = gy_top_k(gy_case_distinct(c, GY_S(3, 2), -1, 1), 0); return true;
    case 4: c->y = gy_sort(gy_case_in(c, GY_S(0, 3), -1, 1), -1); return true;
    case 5: c->y = gy_sort(gy_transpose(gy_case_distinct(c, GY_S(5, 9), -1, 1)), 1); return true;
    case 6: c->y = gy_sort(gy_case_in(c, GY_S(1), -1, 1), 0); return true;
    case 7: /* longer than a run that a kernel sorts at once */
        c->y = gy_sort(gy_case_distinct(c, GY_S(2, 2100), -100, 100), 1);
        return true;
    default: return false;
    }
}

const gy_op_impl gy_impl_sort = {
    .attr_size = sizeof(gy_sort_attr), .infer = sort_infer, .vjp = sort_vjp, .cost = sort_cost, .cases = sort_cases};
