/* Indexing. Two closed families: gather and scatter_add (the same for the _along pair) are each other's
 * adjoints; spmm, its transpose and sddmm are each other's gradients. With y = A(v) b:
 *     dv = sddmm(ct, b)    db = A^T ct
 * and with s = sddmm(a, b):  da = A(ct) b,  db = A(ct)^T a. */
#include "../op.h"

#include <math.h>

static bool is_index(gy_infer *c, int i, const char *what) {
    if (c->in_dtype[i] == GY_I64) return true;
    return gy_infer_fail(c, "the %s are %s, expected i64", what, gy_dtype_name(c->in_dtype[i]));
}
static bool is_float(gy_infer *c, int i) {
    if (gy_dtype_is_float(c->in_dtype[i])) return true;
    return gy_infer_fail(c, "expected float values, found %s", gy_dtype_name(c->in_dtype[i]));
}
static bool axis_in(gy_infer *c, int64_t axis, gy_shape s) {
    char t[GY_SHAPE_TEXT];
    if (axis >= 0 && axis < s.rank) return true;
    return gy_infer_fail(c, "axis %d of a value %s", (int)axis, gy_shape_text(s, t));
}
static bool size_ok(gy_infer *c, int64_t n) {
    if (n >= 0) return true;
    return gy_infer_fail(c, "size %lld, expected 0 or more", (long long)n);
}

/* Negative axes count from the end of a value of `rank`; a wrong one is left for the shape rule to name. */
static int64_t from_end(int64_t axis, int64_t rank) {
    return axis < 0 ? axis + rank : axis;
}

/* s with the axes [axis, axis + count) replaced by those of `put`. */
static bool replace_axes(gy_infer *c, gy_shape s, int64_t axis, int64_t count, gy_shape put) {
    gy_shape r = {.rank = s.rank - count + put.rank};
    if (r.rank > GY_MAX_RANK)
        return gy_infer_fail(c, "the result has rank %d, the largest is %d", (int)r.rank, GY_MAX_RANK);
    for (int64_t i = 0; i < r.rank; i++) {
        if (i < axis) {
            r.dim[i] = s.dim[i];
        } else if (i < axis + put.rank) {
            r.dim[i] = put.dim[i - axis];
        } else {
            r.dim[i] = s.dim[i - put.rank + count];
        }
    }
    c->shape[0] = r;
    c->dtype[0] = c->in_dtype[0];
    return true;
}

/* ---- gather, scatter_add ---- */

static bool gather_infer(gy_infer *c) {
    const gy_index_attr *a = c->attr;
    return is_index(c, 1, "indices") && axis_in(c, a->axis, c->in_shape[0]) &&
           replace_axes(c, c->in_shape[0], a->axis, 1, c->in_shape[1]);
}

gy_t gy_gather_(gy_site at, gy_t x, gy_t index, int64_t axis) {
    gy_index_attr a = {from_end(axis, gy_rank(x)), 0};
    return gy_node_make(at, x.g, GY_OP_gather, &a, 2, (gy_t[]){x, index});
}

static gy_cost gather_cost(const gy_node *n) { /* only the rows that are read, not the whole table */
    double y = (double)gy_shape_count(n->shape[0]) * (double)gy_dtype_size(n->dtype[0]);
    return (gy_cost){0, 2 * y + 8 * (double)gy_count(n->in[1])};
}

static void gather_vjp(const gy_vjp *v) {
    const gy_index_attr *a = v->attr;
    v->gx[0] = gy_scatter_add(v->ct[0], v->in[1], a->axis, gy_dim(v->in[0], a->axis));
}

static bool scatter_add_infer(gy_infer *c) {
    const gy_index_attr *a = c->attr;
    gy_shape u = c->in_shape[0], index = c->in_shape[1];
    char tu[GY_SHAPE_TEXT], ti[GY_SHAPE_TEXT];
    if (!is_float(c, 0) || !is_index(c, 1, "indices") || !size_ok(c, a->n)) return false;
    bool fits = a->axis >= 0 && a->axis + index.rank <= u.rank;
    for (int64_t i = 0; i < index.rank && fits; i++) fits = u.dim[a->axis + i] == index.dim[i];
    if (!fits)
        return gy_infer_fail(c, "values %s do not have the indices' shape %s at axis %d", gy_shape_text(u, tu),
                             gy_shape_text(index, ti), (int)a->axis);
    return replace_axes(c, u, a->axis, index.rank, GY_S(a->n));
}

gy_t gy_scatter_add_(gy_site at, gy_t u, gy_t index, int64_t axis, int64_t n) {
    /* a negative axis counts from the end of the result */
    gy_index_attr a = {from_end(axis, gy_rank(u) - gy_rank(index) + 1), n};
    return gy_node_make(at, u.g, GY_OP_scatter_add, &a, 2, (gy_t[]){u, index});
}

static void scatter_add_vjp(const gy_vjp *v) {
    v->gx[0] = gy_gather(v->ct[0], v->in[1], ((const gy_index_attr *)v->attr)->axis);
}

/* ---- scatter_onto ---- */

static bool scatter_onto_infer(gy_infer *c) {
    const gy_onto_attr *a = c->attr;
    gy_shape x = c->in_shape[0], u = c->in_shape[1], index = c->in_shape[2];
    char tx[GY_SHAPE_TEXT], tu[GY_SHAPE_TEXT], ti[GY_SHAPE_TEXT];
    if (!is_float(c, 0) || !is_index(c, 2, "indices") || !axis_in(c, a->axis, x)) return false;
    if (c->in_dtype[1] != c->in_dtype[0])
        return gy_infer_fail(c, "rows of %s for a value of %s", gy_dtype_name(c->in_dtype[1]),
                             gy_dtype_name(c->in_dtype[0]));
    if (!replace_axes(c, x, a->axis, 1, index)) return false;
    if (!gy_shape_equal(c->shape[0], u))
        return gy_infer_fail(c, "rows %s for indices %s at axis %d of %s", gy_shape_text(u, tu),
                             gy_shape_text(index, ti), (int)a->axis, gy_shape_text(x, tx));
    c->shape[0] = x;
    return true;
}

gy_t gy_scatter_onto_(gy_site at, gy_t x, gy_t u, gy_t index, int64_t axis, bool set) {
    gy_onto_attr a = {from_end(axis, gy_rank(x)), set};
    return gy_node_make(at, x.g, GY_OP_scatter_onto, &a, 3, (gy_t[]){x, u, index});
}

static gy_cost scatter_onto_cost(const gy_node *n) { /* where x lies already: the rows read and written, and u */
    double u = (double)gy_count(n->in[1]) * (double)gy_dtype_size(n->dtype[0]);
    return (gy_cost){(double)gy_count(n->in[1]), 3 * u + 8 * (double)gy_count(n->in[2])};
}

/* ---- gather_along, scatter_along_add ---- */

/* Equal ranks, and equal dimensions everywhere but at `axis`. */
static bool along(gy_infer *c, int64_t axis, bool same) {
    gy_shape x = c->in_shape[0], index = c->in_shape[1];
    char tx[GY_SHAPE_TEXT], ti[GY_SHAPE_TEXT];
    if (!is_index(c, 1, "indices") || !axis_in(c, axis, x)) return false;
    bool fits = x.rank == index.rank;
    for (int64_t i = 0; i < x.rank && fits; i++) fits = x.dim[i] == index.dim[i] || (i == axis && !same);
    if (fits) return true;
    return gy_infer_fail(c, "values %s and indices %s differ%s", gy_shape_text(x, tx), gy_shape_text(index, ti),
                         same ? "" : " outside the indexed axis");
}

static bool gather_along_infer(gy_infer *c) {
    if (!along(c, ((const gy_index_attr *)c->attr)->axis, false)) return false;
    c->shape[0] = c->in_shape[1];
    c->dtype[0] = c->in_dtype[0];
    return true;
}

gy_t gy_gather_along_(gy_site at, gy_t x, gy_t index, int64_t axis) {
    gy_index_attr a = {from_end(axis, gy_rank(x)), 0};
    return gy_node_make(at, x.g, GY_OP_gather_along, &a, 2, (gy_t[]){x, index});
}

static void gather_along_vjp(const gy_vjp *v) {
    const gy_index_attr *a = v->attr;
    v->gx[0] = gy_scatter_along_add(v->ct[0], v->in[1], a->axis, gy_dim(v->in[0], a->axis));
}

static bool scatter_along_add_infer(gy_infer *c) {
    const gy_index_attr *a = c->attr;
    return is_float(c, 0) && size_ok(c, a->n) && along(c, a->axis, true) &&
           replace_axes(c, c->in_shape[0], a->axis, 1, GY_S(a->n));
}

gy_t gy_scatter_along_add_(gy_site at, gy_t u, gy_t index, int64_t axis, int64_t n) {
    gy_index_attr a = {from_end(axis, gy_rank(u)), n};
    return gy_node_make(at, u.g, GY_OP_scatter_along_add, &a, 2, (gy_t[]){u, index});
}

static void scatter_along_add_vjp(const gy_vjp *v) {
    v->gx[0] = gy_gather_along(v->ct[0], v->in[1], ((const gy_index_attr *)v->attr)->axis);
}

/* ---- one_hot ---- */

gy_t gy_one_hot_(gy_site at, gy_t index, int64_t depth, gy_dtype dtype) {
    if (gy_dtype_of(index) != GY_I64 && index.id)
        return gy_poison(index.g, at, "one_hot: the indices are %s, expected i64", gy_dtype_name(gy_dtype_of(index)));
    gy_t hit = gy_binary_(at, GY_OP_eq, gy_unsqueeze_(at, index, -1), gy_iota_(at, index.g, GY_I64, depth));
    return gy_cast_(at, hit, dtype);
}

/* ---- segments ---- */

/* s [n] or [E] beside values [., B...]: as [., 1...]. */
static gy_t beside(gy_site at, gy_t s, gy_t x) {
    gy_shape shape = {.rank = gy_rank(x), .dim = {gy_dim(s, 0)}};
    for (int64_t i = 1; i < shape.rank; i++) shape.dim[i] = 1;
    return gy_reshape_(at, s, shape);
}

gy_t gy_segment_mean_(gy_site at, gy_t x, gy_t segment, int64_t n) {
    gy_t sum = gy_scatter_add_(at, x, segment, 0, n);
    gy_t one = gy_full_(at, x.g, gy_dtype_of(x), gy_shape_of(segment), 1);
    gy_t count = gy_binary_(at, GY_OP_maximum, gy_scatter_add_(at, one, segment, 0, n), gy_scalar_(at, one, 1));
    return gy_binary_(at, GY_OP_div, sum, beside(at, count, sum));
}

static bool segment_max_infer(gy_infer *c) {
    const gy_index_attr *a = c->attr;
    gy_shape x = c->in_shape[0], s = c->in_shape[1];
    char tx[GY_SHAPE_TEXT], ts[GY_SHAPE_TEXT];
    if (!is_float(c, 0) || !is_index(c, 1, "segments") || !size_ok(c, a->n)) return false;
    if (x.rank < 1 || s.rank != 1 || s.dim[0] != x.dim[0])
        return gy_infer_fail(c, "values %s with segments %s, expected [E, ...] and [E]", gy_shape_text(x, tx),
                             gy_shape_text(s, ts));
    c->shape[1] = x;
    c->shape[1].dim[0] = a->n;
    c->dtype[1] = GY_I64;
    return replace_axes(c, x, 0, 1, GY_S(a->n));
}

gy_t gy_segment_max_(gy_site at, gy_t x, gy_t segment, int64_t n) {
    return gy_node_make(at, x.g, GY_OP_segment_max, &(gy_index_attr){0, n}, 2, (gy_t[]){x, segment});
}

static void segment_max_vjp(const gy_vjp *v) {
    if (!gy_is_none(v->ct[0])) v->gx[0] = gy_scatter_along_add(v->ct[0], v->y[1], 0, gy_dim(v->in[0], 0));
}

gy_t gy_segment_softmax_(gy_site at, gy_t x, gy_t segment, int64_t n) {
    /* `in` is 1 on edges of some segment; on the others x is replaced before the exponential, so that neither
     * values nor gradients can overflow there */
    gy_t ones = gy_full_(at, x.g, gy_dtype_of(x), GY_S(n), 1);
    gy_t in = beside(at, gy_gather_(at, ones, segment, 0), x);
    gy_t inside = gy_binary_(at, GY_OP_lt, gy_scalar_(at, in, 0), in);
    gy_t kept = gy_where_(at, inside, x, gy_scalar_(at, x, 0));
    gy_t top = gy_stop_(at, gy_segment_max_(at, x, segment, n));
    gy_t e = gy_unary_(at, GY_OP_exp, gy_binary_(at, GY_OP_sub, kept, gy_gather_(at, top, segment, 0)));
    gy_t sum = gy_gather_(at, gy_scatter_add_(at, e, segment, 0, n), segment, 0);
    gy_t outside = gy_binary_(at, GY_OP_sub, gy_scalar_(at, in, 1), in);
    gy_t share = gy_binary_(at, GY_OP_div, e, gy_binary_(at, GY_OP_add, sum, outside));
    return gy_binary_(at, GY_OP_mul, share, in);
}

/* ---- compressed sparse rows ---- */

static bool csr_infer(gy_infer *c) {
    gy_shape p = c->in_shape[0], i = c->in_shape[1];
    char tp[GY_SHAPE_TEXT], ti[GY_SHAPE_TEXT];
    if (!is_index(c, 0, "row bounds") || !is_index(c, 1, "column indices") || !is_float(c, 2)) return false;
    if (p.rank != 1 || p.dim[0] < 1 || i.rank != 1)
        return gy_infer_fail(c, "indptr %s and indices %s, expected [R+1] and [nnz]", gy_shape_text(p, tp),
                             gy_shape_text(i, ti));
    if (c->in_dtype[2] != c->in_dtype[3])
        return gy_infer_fail(c, "dtypes differ: %s and %s", gy_dtype_name(c->in_dtype[2]),
                             gy_dtype_name(c->in_dtype[3]));
    c->dtype[0] = c->in_dtype[2];
    return true;
}

static bool spmm_infer(gy_infer *c) {
    const gy_spmm_attr *a = c->attr;
    gy_shape v = c->in_shape[2], b = c->in_shape[3];
    char tv[GY_SHAPE_TEXT], ti[GY_SHAPE_TEXT];
    if (!csr_infer(c) || !size_ok(c, a->n)) return false;
    if (!gy_shape_equal(v, c->in_shape[1]))
        return gy_infer_fail(c, "values %s for indices %s", gy_shape_text(v, tv), gy_shape_text(c->in_shape[1], ti));
    int64_t rows = c->in_shape[0].dim[0] - 1;
    if (b.rank != 2 || (a->trans && b.dim[0] != rows))
        return gy_infer_fail(c, "the dense factor is %s, expected [%s, D]%s", gy_shape_text(b, tv),
                             a->trans ? "R" : "C", a->trans ? " with R rows as indptr has" : "");
    c->shape[0] = GY_S(a->n, b.dim[1]);
    return true;
}

static gy_t spmm(gy_site at, gy_t indptr, gy_t indices, gy_t values, gy_t dense, gy_spmm_attr a) {
    return gy_node_make(at, values.g, GY_OP_spmm, &a, 4, (gy_t[]){indptr, indices, values, dense});
}

gy_t gy_spmm_(gy_site at, gy_t indptr, gy_t indices, gy_t values, gy_t dense) {
    return spmm(at, indptr, indices, values, dense, (gy_spmm_attr){0, gy_dim(indptr, 0) - 1});
}

gy_t gy_spmm_t_(gy_site at, gy_t indptr, gy_t indices, gy_t values, gy_t dense, int64_t columns) {
    return spmm(at, indptr, indices, values, dense, (gy_spmm_attr){1, columns});
}

static void spmm_vjp(const gy_vjp *v) {
    const gy_spmm_attr *a = v->attr;
    gy_t ptr = v->in[0], idx = v->in[1], val = v->in[2], b = v->in[3], ct = v->ct[0];
    v->gx[2] = a->trans ? gy_sddmm(ptr, idx, b, ct) : gy_sddmm(ptr, idx, ct, b);
    v->gx[3] = a->trans ? gy_spmm(ptr, idx, val, ct) : gy_spmm_t(ptr, idx, val, ct, gy_dim(b, 0));
}

static bool sddmm_infer(gy_infer *c) {
    gy_shape a = c->in_shape[2], b = c->in_shape[3];
    char ta[GY_SHAPE_TEXT], tb[GY_SHAPE_TEXT];
    if (!csr_infer(c)) return false;
    int64_t rows = c->in_shape[0].dim[0] - 1;
    if (a.rank != 2 || b.rank != 2 || a.dim[1] != b.dim[1] || a.dim[0] != rows)
        return gy_infer_fail(c, "factors %s and %s, expected [%lld, D] and [C, D]", gy_shape_text(a, ta),
                             gy_shape_text(b, tb), (long long)rows);
    c->shape[0] = c->in_shape[1];
    return true;
}

gy_t gy_sddmm_(gy_site at, gy_t indptr, gy_t indices, gy_t a, gy_t b) {
    return gy_node_make(at, a.g, GY_OP_sddmm, NULL, 4, (gy_t[]){indptr, indices, a, b});
}

static void sddmm_vjp(const gy_vjp *v) {
    gy_t ptr = v->in[0], idx = v->in[1], a = v->in[2], b = v->in[3], ct = v->ct[0];
    v->gx[2] = gy_spmm(ptr, idx, ct, b);
    v->gx[3] = gy_spmm_t(ptr, idx, ct, a, gy_dim(b, 0));
}

static gy_cost csr_cost(const gy_node *n) { /* each stored entry meets one dense row */
    double nnz = (double)gy_count(n->in[1]), d = (double)gy_dim(n->in[3], -1);
    double size = (double)gy_dtype_size(n->dtype[0]);
    return (gy_cost){2 * nnz * d, nnz * (8 + size) + size * (nnz * d + (double)gy_shape_count(n->shape[0]))};
}

/* ---- cases: indices run one past both ends ---- */

static bool gather_cases(gy_case *c, int i) {
    switch (i) {
    case 0: c->y = gy_gather(gy_case_in(c, GY_S(5, 7), -1, 1), gy_case_index(c, GY_S(3), -1, 6), 0); return true;
    case 1: c->y = gy_gather(gy_case_in(c, GY_S(2, 5, 3), -1, 1), gy_case_index(c, GY_S(2, 4), 0, 5), 1); return true;
    case 2: c->y = gy_gather(gy_case_in(c, GY_S(4, 6), -1, 1), gy_case_index(c, GY_S0, 0, 6), -1); return true;
    case 3: c->y = gy_gather(gy_case_in(c, GY_S(3, 0), -1, 1), gy_case_index(c, GY_S(2), 0, 3), 0); return true;
    case 4: c->y = gy_gather(gy_case_in(c, GY_S(0, 3), -1, 1), gy_case_index(c, GY_S(2), 0, 3), 0); return true;
    case 5: c->y = gy_gather(gy_case_in(c, GY_S(3, 2), -1, 1), gy_case_index(c, GY_S(0), 0, 3), 0); return true;
    case 6:
        c->y = gy_gather(gy_transpose(gy_case_in(c, GY_S(9, 19), -1, 1)), gy_case_index(c, GY_S(31), 0, 19), 0);
        return true;
    case 7: c->y = gy_embedding(gy_case_in(c, GY_S(11, 33), -1, 1), gy_case_index(c, GY_S(3, 17), 0, 11)); return true;
    default: return false;
    }
}
static bool scatter_add_cases(gy_case *c, int i) {
    switch (i) {
    case 0:
        c->y = gy_scatter_add(gy_case_in(c, GY_S(7, 5), -1, 1), gy_case_index(c, GY_S(7), -1, 4), 0, 3);
        return true;
    case 1:
        c->y = gy_scatter_add(gy_case_in(c, GY_S(2, 3, 4, 3), -1, 1), gy_case_index(c, GY_S(3, 4), 0, 5), 1, 5);
        return true;
    case 2:
        c->y = gy_scatter_add(gy_case_in(c, GY_S(4, 1), -1, 1), gy_case_index(c, GY_S(1), 0, 2), -1, 2);
        return true;
    case 3: c->y = gy_scatter_add(gy_case_in(c, GY_S(0, 3), -1, 1), gy_case_index(c, GY_S(0), 0, 2), 0, 2); return true;
    case 4: c->y = gy_scatter_add(gy_case_in(c, GY_S(3, 2), -1, 1), gy_case_index(c, GY_S(3), 0, 2), 0, 0); return true;
    case 5:
        c->y = gy_scatter_add(gy_transpose(gy_case_in(c, GY_S(37, 53), -1, 1)), gy_case_index(c, GY_S(53), 0, 4), 0, 4);
        return true;
    case 6: c->y = gy_scatter_add(gy_case_in(c, GY_S(5), -1, 1), gy_case_index(c, GY_S0, 0, 3), 0, 3); return true;
    default: return false;
    }
}
static bool gather_along_cases(gy_case *c, int i) {
    switch (i) {
    case 0:
        c->y = gy_gather_along(gy_case_in(c, GY_S(3, 5), -1, 1), gy_case_index(c, GY_S(3, 7), -1, 6), 1);
        return true;
    case 1:
        c->y = gy_gather_along(gy_case_in(c, GY_S(4, 3, 5), -1, 1), gy_case_index(c, GY_S(2, 3, 5), 0, 4), 0);
        return true;
    case 2: c->y = gy_gather_along(gy_case_in(c, GY_S(1), -1, 1), gy_case_index(c, GY_S(3), 0, 1), 0); return true;
    case 3:
        c->y = gy_gather_along(gy_case_in(c, GY_S(3, 2), -1, 1), gy_case_index(c, GY_S(3, 0), 0, 1), -1);
        return true;
    case 4:
        c->y = gy_gather_along(gy_transpose(gy_case_in(c, GY_S(9, 19), -1, 1)), gy_case_index(c, GY_S(19, 3), 0, 9), 1);
        return true;
    default: return false;
    }
}
static bool scatter_onto_cases(gy_case *c, int i) {
    switch (i) {
    case 0:
        c->y = gy_scatter_onto(gy_case_in(c, GY_S(3, 5), -1, 1), gy_case_in(c, GY_S(7, 5), -1, 1),
                               gy_case_index(c, GY_S(7), -1, 4), 0, false);
        return true;
    case 1:
        c->y = gy_scatter_onto(gy_case_in(c, GY_S(2, 5, 3), -1, 1), gy_case_in(c, GY_S(2, 3, 4, 3), -1, 1),
                               gy_case_index(c, GY_S(3, 4), 0, 5), 1, false);
        return true;
    case 2:
        c->y = gy_scatter_onto(gy_case_in(c, GY_S(2, 6, 4, 33), -1, 1), gy_case_in(c, GY_S(2, 1, 4, 33), -1, 1),
                               gy_case_index(c, GY_S(1), 0, 6), 1, true);
        return true;
    case 3:
        c->y = gy_scatter_onto(gy_case_in(c, GY_S(7, 3), -1, 1), gy_slice(gy_case_in(c, GY_S(5, 6), -1, 1), 1, 2, 5),
                               gy_add(gy_iota(c->g, GY_I64, 5), gy_case_index(c, GY_S(1), 0, 3)), 0, true);
        return true;
    case 4:
        c->y = gy_scatter_onto(gy_case_in(c, GY_S(3, 2), -1, 1), gy_case_in(c, GY_S(0, 2), -1, 1),
                               gy_case_index(c, GY_S(0), 0, 3), 0, true);
        return true;
    case 5:
        c->y = gy_scatter_onto(gy_case_in(c, GY_S(4, 0), -1, 1), gy_case_in(c, GY_S(2, 0), -1, 1),
                               gy_case_index(c, GY_S(2), 0, 4), 0, false);
        return true;
    default: return false;
    }
}
static bool scatter_along_add_cases(gy_case *c, int i) {
    switch (i) {
    case 0:
        c->y = gy_scatter_along_add(gy_case_in(c, GY_S(3, 7), -1, 1), gy_case_index(c, GY_S(3, 7), -1, 5), 1, 4);
        return true;
    case 1:
        c->y = gy_scatter_along_add(gy_case_in(c, GY_S(6, 3, 5), -1, 1), gy_case_index(c, GY_S(6, 3, 5), 0, 2), 0, 2);
        return true;
    case 2:
        c->y = gy_scatter_along_add(gy_case_in(c, GY_S(1), -1, 1), gy_case_index(c, GY_S(1), 0, 1), 0, 1);
        return true;
    case 3:
        c->y = gy_scatter_along_add(gy_case_in(c, GY_S(2, 0), -1, 1), gy_case_index(c, GY_S(2, 0), 0, 1), 1, 3);
        return true;
    case 4:
        c->y = gy_scatter_along_add(gy_transpose(gy_case_in(c, GY_S(9, 19), -1, 1)),
                                    gy_case_index(c, GY_S(19, 9), 0, 3), 1, 3);
        return true;
    default: return false;
    }
}
static bool segment_max_cases(gy_case *c, int i) {
    switch (i) {
    case 0:
        c->y = gy_segment_max(gy_case_distinct(c, GY_S(7, 3), -1, 1), gy_case_index(c, GY_S(7), -1, 5), 4);
        return true;
    case 1:
        c->y = gy_segment_max(gy_case_distinct(c, GY_S(13), -1, 1), gy_case_index(c, GY_S(13), 0, 3), 5);
        return true;
    case 2:
        c->y = gy_segment_max(gy_case_distinct(c, GY_S(0, 2), -1, 1), gy_case_index(c, GY_S(0), 0, 1), 3);
        return true;
    case 3: /* the composition built on it */
        c->y = gy_segment_softmax(gy_case_distinct(c, GY_S(9, 2), -2, 2), gy_case_index(c, GY_S(9), -1, 5), 4);
        return true;
    case 4: c->y = gy_segment_mean(gy_case_in(c, GY_S(9, 2), -2, 2), gy_case_index(c, GY_S(9), -1, 5), 4); return true;
    case 5: /* so many of a segment that kernels share them out */
        c->y = gy_segment_max(gy_case_distinct(c, GY_S(300, 1), -100, 100), gy_case_index(c, GY_S(300), 0, 2), 2);
        return true;
    default: return false;
    }
}

/* A fixed matrix: 4 rows (the second empty) over `columns` columns. */
static void case_csr(gy_case *c, gy_t *indptr, gy_t *indices) {
    static int64_t ptr[] = {0, 3, 3, 4, 7}, idx[] = {0, 2, 4, 1, 4, 4, 0};
    gy_tensor p = {GY_I64, GY_S(5), ptr, true}, i = {GY_I64, GY_S(7), idx, true};
    *indptr = gy_const(c->g, &p);
    *indices = gy_const(c->g, &i);
}
static bool spmm_cases(gy_case *c, int i) {
    gy_t ptr, idx;
    case_csr(c, &ptr, &idx);
    if (i < 0 || i > 5) return false;
    gy_t v = gy_case_in(c, GY_S(7), -1, 1);
    switch (i) {
    case 0: c->y = gy_spmm(ptr, idx, v, gy_case_in(c, GY_S(5, 3), -1, 1)); break;
    case 1: c->y = gy_spmm(ptr, idx, v, gy_case_in(c, GY_S(5, 17), -1, 1)); break;
    case 2: c->y = gy_spmm_t(ptr, idx, v, gy_case_in(c, GY_S(4, 3), -1, 1), 5); break;
    case 3: c->y = gy_spmm_t(ptr, idx, v, gy_case_in(c, GY_S(4, 1), -1, 1), 3); break; /* column 4 is outside */
    case 4: c->y = gy_spmm(ptr, idx, v, gy_transpose(gy_case_in(c, GY_S(3, 5), -1, 1))); break;
    default: c->y = gy_spmm(ptr, idx, v, gy_case_in(c, GY_S(5, 0), -1, 1)); break;
    }
    return true;
}
static bool sddmm_cases(gy_case *c, int i) {
    gy_t ptr, idx;
    static const int64_t width[] = {1, 3, 17, 0};
    if (i < 0 || i > 4) return false;
    case_csr(c, &ptr, &idx);
    if (i == 4) { /* column 4 is outside; eight entries, the last of no row */
        idx = gy_concat2(0, idx, gy_case_index(c, GY_S(1), 0, 4));
        c->y = gy_sddmm(ptr, idx, gy_case_in(c, GY_S(4, 4), -1, 1), gy_case_in(c, GY_S(4, 4), -1, 1));
        return true;
    }
    c->y = gy_sddmm(ptr, idx, gy_case_in(c, GY_S(4, width[i]), -1, 1), gy_case_in(c, GY_S(5, width[i]), -1, 1));
    return true;
}

const gy_op_impl gy_impl_gather = {.attr_size = sizeof(gy_index_attr),
                                   .infer = gather_infer,
                                   .vjp = gather_vjp,
                                   .cost = gather_cost,
                                   .cases = gather_cases};
const gy_op_impl gy_impl_scatter_add = {
    .attr_size = sizeof(gy_index_attr), .infer = scatter_add_infer, .vjp = scatter_add_vjp, .cases = scatter_add_cases};
const gy_op_impl gy_impl_scatter_onto = {.attr_size = sizeof(gy_onto_attr),
                                         .infer = scatter_onto_infer,
                                         .cost = scatter_onto_cost,
                                         .cases = scatter_onto_cases,
                                         .nodiff = "sums are made of it after differentiation, and caches by it"};
const gy_op_impl gy_impl_gather_along = {.attr_size = sizeof(gy_index_attr),
                                         .infer = gather_along_infer,
                                         .vjp = gather_along_vjp,
                                         .cost = gather_cost,
                                         .cases = gather_along_cases};
const gy_op_impl gy_impl_scatter_along_add = {.attr_size = sizeof(gy_index_attr),
                                              .infer = scatter_along_add_infer,
                                              .vjp = scatter_along_add_vjp,
                                              .cases = scatter_along_add_cases};
const gy_op_impl gy_impl_segment_max = {
    .attr_size = sizeof(gy_index_attr), .infer = segment_max_infer, .vjp = segment_max_vjp, .cases = segment_max_cases};
const gy_op_impl gy_impl_spmm = {
    .attr_size = sizeof(gy_spmm_attr), .infer = spmm_infer, .vjp = spmm_vjp, .cost = csr_cost, .cases = spmm_cases};
const gy_op_impl gy_impl_sddmm = {.infer = sddmm_infer, .vjp = sddmm_vjp, .cost = csr_cost, .cases = sddmm_cases};
