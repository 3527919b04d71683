/* Shapes and orders. reshape, permute, broadcast, slice and flip move no data: they are views, which the
 * planner turns into strides. Closed families: slice and unslice, pad and slice, broadcast and sum. */
#include "../op.h"

#include <inttypes.h>

static gy_t bad(gy_t x) {
    return (gy_t){x.g, 0, 0};
}
static bool skip(gy_t x) {
    return gy_is_none(x) || x.id == 0;
}
static bool axis_of(gy_site at, gy_t x, const char *op, int64_t axis, int64_t *out) {
    if (gy_axis_norm(gy_rank(x), axis, out)) return true;
    gy_poison(x.g, at, "%s: axis %" PRId64 " is out of range for a value of rank %" PRId64, op, axis, gy_rank(x));
    return false;
}

/* ---- reshape ---- */

static bool reshape_infer(gy_infer *c) {
    const gy_shape_attr *a = c->attr;
    char from[GY_SHAPE_TEXT], to[GY_SHAPE_TEXT];
    if (gy_shape_count(a->shape) != gy_shape_count(c->in_shape[0]))
        return gy_infer_fail(c, "%s has %" PRId64 " elements, %s has %" PRId64, gy_shape_text(c->in_shape[0], from),
                             gy_shape_count(c->in_shape[0]), gy_shape_text(a->shape, to), gy_shape_count(a->shape));
    c->shape[0] = a->shape;
    c->dtype[0] = c->in_dtype[0];
    return true;
}

gy_t gy_reshape_(gy_site at, gy_t x, gy_shape shape) {
    if (skip(x)) return x;
    char from[GY_SHAPE_TEXT], to[GY_SHAPE_TEXT];
    int64_t known = 1, free_axis = -1;
    for (int64_t i = 0; i < shape.rank; i++) {
        if (shape.dim[i] >= 0)
            known *= shape.dim[i];
        else if (free_axis < 0 && shape.dim[i] == -1)
            free_axis = i;
        else
            return gy_poison(x.g, at, "reshape: %s is no shape", gy_shape_text(shape, to));
    }
    if (free_axis >= 0) {
        if (known == 0 || gy_count(x) % known)
            return gy_poison(x.g, at, "reshape: %s does not fit %s", gy_shape_text(gy_shape_of(x), from),
                             gy_shape_text(shape, to));
        shape.dim[free_axis] = gy_count(x) / known;
    }
    if (gy_shape_equal(shape, gy_shape_of(x))) return x;
    const gy_node *n = gy_node_of(x);
    if (n->op->id == GY_OP_reshape && !n->tap) x = n->in[0]; /* a reshape of a reshape is one reshape */
    if (gy_shape_equal(shape, gy_shape_of(x))) return x;
    gy_shape_attr a = {.shape = {.rank = shape.rank}};
    for (int64_t i = 0; i < shape.rank; i++) a.shape.dim[i] = shape.dim[i];
    return gy_node_make(at, x.g, GY_OP_reshape, &a, 1, &x);
}

static void reshape_vjp(const gy_vjp *v) {
    v->gx[0] = gy_reshape_to(v->ct[0], gy_shape_of(v->in[0]));
}

gy_t gy_flatten_(gy_site at, gy_t x, int64_t first, int64_t last) {
    if (skip(x) || !axis_of(at, x, "flatten", first, &first) || !axis_of(at, x, "flatten", last, &last)) return bad(x);
    gy_shape in = gy_shape_of(x), s = {0};
    for (int64_t i = 0; i < in.rank; i++)
        if (i > first && i <= last)
            s.dim[s.rank - 1] *= in.dim[i];
        else
            s.dim[s.rank++] = in.dim[i];
    return gy_reshape_(at, x, s);
}

gy_t gy_flatten_chw_(gy_site at, gy_t x) {
    int64_t rank = gy_rank(x);
    if (skip(x) || rank < 2) return gy_poison(x.g, at, "flatten_chw: expected [batch, ..., channels]");
    gy_shape order = {.rank = rank};
    order.dim[1] = rank - 1;
    for (int64_t i = 2; i < rank; i++) order.dim[i] = i - 1;
    return gy_flatten_(at, gy_permute_(at, x, order), 1, -1);
}

gy_t gy_unsqueeze_(gy_site at, gy_t x, int64_t axis) {
    if (skip(x)) return x;
    gy_shape s = gy_shape_of(x);
    if (s.rank == GY_MAX_RANK || !gy_axis_norm(s.rank + 1, axis, &axis))
        return gy_poison(x.g, at, "unsqueeze: axis %" PRId64 " for a value of rank %" PRId64, axis, s.rank);
    for (int64_t i = s.rank; i > axis; i--) s.dim[i] = s.dim[i - 1];
    s.dim[axis] = 1;
    s.rank++;
    return gy_reshape_(at, x, s);
}

gy_t gy_squeeze_(gy_site at, gy_t x, int64_t axis) {
    if (skip(x) || !axis_of(at, x, "squeeze", axis, &axis)) return bad(x);
    gy_shape s = gy_shape_of(x);
    if (s.dim[axis] != 1) return gy_poison(x.g, at, "squeeze: axis %" PRId64 " has size %" PRId64, axis, s.dim[axis]);
    for (int64_t i = axis; i + 1 < s.rank; i++) s.dim[i] = s.dim[i + 1];
    s.rank--;
    return gy_reshape_(at, x, s);
}

/* ---- permute ---- */

static bool permute_infer(gy_infer *c) {
    const gy_shape_attr *a = c->attr;
    char text[GY_SHAPE_TEXT], from[GY_SHAPE_TEXT];
    gy_shape in = c->in_shape[0];
    bool seen[GY_MAX_RANK] = {false};
    bool ok = a->shape.rank == in.rank;
    for (int64_t i = 0; ok && i < in.rank; i++) {
        int64_t k = a->shape.dim[i];
        ok = k >= 0 && k < in.rank && !seen[k];
        if (ok) seen[k] = true;
    }
    if (!ok)
        return gy_infer_fail(c, "%s is no order of the axes of %s", gy_shape_text(a->shape, text),
                             gy_shape_text(in, from));
    c->shape[0].rank = in.rank;
    for (int64_t i = 0; i < in.rank; i++) c->shape[0].dim[i] = in.dim[a->shape.dim[i]];
    c->dtype[0] = c->in_dtype[0];
    return true;
}

gy_t gy_permute_(gy_site at, gy_t x, gy_shape order) {
    if (skip(x)) return x;
    gy_shape_attr a = {.shape = {.rank = order.rank}};
    bool same = true;
    for (int64_t i = 0; i < order.rank; i++) {
        a.shape.dim[i] = order.dim[i] < 0 ? order.dim[i] + order.rank : order.dim[i];
        same = same && a.shape.dim[i] == i;
    }
    if (same && order.rank == gy_rank(x)) return x;
    return gy_node_make(at, x.g, GY_OP_permute, &a, 1, &x);
}

gy_t gy_swap_(gy_site at, gy_t x, int64_t p, int64_t q) {
    if (skip(x) || !axis_of(at, x, "transpose", p, &p) || !axis_of(at, x, "transpose", q, &q)) return bad(x);
    gy_shape order = {.rank = gy_rank(x)};
    for (int64_t i = 0; i < order.rank; i++) order.dim[i] = i == p ? q : i == q ? p : i;
    return gy_permute_(at, x, order);
}

static void permute_vjp(const gy_vjp *v) {
    const gy_shape_attr *a = v->attr;
    gy_shape back = {.rank = a->shape.rank};
    for (int64_t i = 0; i < back.rank; i++) back.dim[a->shape.dim[i]] = i;
    v->gx[0] = gy_permute_(GY_HERE, v->ct[0], back);
}

/* ---- broadcast ---- */

static bool broadcast_infer(gy_infer *c) {
    const gy_shape_attr *a = c->attr;
    gy_shape s;
    char from[GY_SHAPE_TEXT], to[GY_SHAPE_TEXT];
    if (!gy_broadcast_shape(c->in_shape[0], a->shape, &s) || !gy_shape_equal(s, a->shape))
        return gy_infer_fail(c, "%s does not broadcast to %s", gy_shape_text(c->in_shape[0], from),
                             gy_shape_text(a->shape, to));
    c->shape[0] = s;
    c->dtype[0] = c->in_dtype[0];
    return true;
}

gy_t gy_broadcast_to_(gy_site at, gy_t x, gy_shape shape) {
    if (skip(x) || gy_shape_equal(shape, gy_shape_of(x))) return x;
    gy_shape_attr a = {.shape = {.rank = shape.rank}};
    for (int64_t i = 0; i < shape.rank; i++) a.shape.dim[i] = shape.dim[i];
    return gy_node_make(at, x.g, GY_OP_broadcast, &a, 1, &x);
}

static void broadcast_vjp(const gy_vjp *v) {
    v->gx[0] = v->ct[0]; /* the engine sums to the input's shape */
}

gy_t gy_tile_(gy_site at, gy_t x, gy_shape repeats) {
    gy_shape s = gy_shape_of(x), wide = {0}, wide_to = {0}, out = {0};
    if (skip(x)) return x;
    if (repeats.rank > GY_MAX_RANK / 2 || s.rank > repeats.rank)
        return gy_poison(x.g, at, "tile: %" PRId64 " repeats for a value of rank %" PRId64 " (at most %d)",
                         repeats.rank, s.rank, GY_MAX_RANK / 2);
    for (int64_t i = 0; i < repeats.rank; i++) {
        int64_t k = i - (repeats.rank - s.rank), d = k >= 0 ? s.dim[k] : 1;
        wide.dim[wide.rank++] = 1;
        wide.dim[wide.rank++] = d;
        wide_to.dim[wide_to.rank++] = repeats.dim[i];
        wide_to.dim[wide_to.rank++] = d;
        out.dim[out.rank++] = d * repeats.dim[i];
    }
    return gy_reshape_(at, gy_broadcast_to_(at, gy_reshape_(at, x, wide), wide_to), out);
}

/* ---- slice and its adjoint ---- */

static bool slice_infer(gy_infer *c) {
    const gy_axis_attr *a = c->attr;
    c->shape[0] = c->in_shape[0];
    c->shape[0].dim[a->axis] = a->n;
    c->dtype[0] = c->in_dtype[0];
    return true;
}

gy_t gy_slice_(gy_site at, gy_t x, int64_t axis, int64_t start, int64_t stop, int64_t step) {
    if (skip(x) || !axis_of(at, x, "slice", axis, &axis)) return bad(x);
    int64_t n = gy_dim(x, axis), from = start < 0 ? start + n : start, to = stop < 0 ? stop + n : stop;
    if (stop == 0 && from > 0) to = n;
    if (stop == 0 && from == 0 && start == 0) to = n;
    if (from < 0 || from > n || to < from || to > n || step <= 0)
        return gy_poison(x.g, at, "slice: %" PRId64 ":%" PRId64 ":%" PRId64 " of an axis of size %" PRId64, start, stop,
                         step, n);
    if (from == 0 && to == n && step == 1) return x;
    gy_axis_attr a = {.axis = axis, .start = from, .step = step, .n = (to - from + step - 1) / step};
    return gy_node_make(at, x.g, GY_OP_slice, &a, 1, &x);
}

/* The adjoint of slice: x's elements at start, start + step, ... of an axis of size `after`, zeros elsewhere. */
static gy_t unslice(gy_t x, const gy_axis_attr *s, int64_t size) {
    gy_axis_attr a = {.axis = s->axis, .start = s->start, .step = s->step, .n = size};
    return gy_node_make(GY_HERE, x.g, GY_OP_unslice, &a, 1, &x);
}

static void slice_vjp(const gy_vjp *v) {
    const gy_axis_attr *a = v->attr;
    v->gx[0] = unslice(v->ct[0], a, gy_dim(v->in[0], a->axis));
}

static void unslice_vjp(const gy_vjp *v) {
    const gy_axis_attr *a = v->attr;
    gy_axis_attr s = {.axis = a->axis, .start = a->start, .step = a->step, .n = gy_dim(v->in[0], a->axis)};
    v->gx[0] = gy_node_make(GY_HERE, v->ct[0].g, GY_OP_slice, &s, 1, &v->ct[0]);
}

gy_t gy_flip_(gy_site at, gy_t x, int64_t axis) {
    if (skip(x) || !axis_of(at, x, "flip", axis, &axis)) return bad(x);
    gy_axis_attr a = {.axis = axis, .n = gy_dim(x, axis)};
    return gy_node_make(at, x.g, GY_OP_flip, &a, 1, &x);
}

static void flip_vjp(const gy_vjp *v) {
    v->gx[0] = gy_flip_(GY_HERE, v->ct[0], ((const gy_axis_attr *)v->attr)->axis);
}

gy_t gy_roll_(gy_site at, gy_t x, int64_t axis, int64_t shift) {
    if (skip(x) || !axis_of(at, x, "roll", axis, &axis)) return bad(x);
    int64_t n = gy_dim(x, axis);
    if (n == 0) return x;
    shift = (shift % n + n) % n;
    if (shift == 0) return x;
    gy_t parts[2] = {gy_slice_(at, x, axis, n - shift, n, 1), gy_slice_(at, x, axis, 0, n - shift, 1)};
    return gy_concat_(at, axis, 2, parts);
}

/* ---- pad ---- */

static bool pad_infer(gy_infer *c) {
    const gy_axis_attr *a = c->attr;
    c->shape[0] = c->in_shape[0];
    c->shape[0].dim[a->axis] += a->before + a->after;
    c->dtype[0] = c->in_dtype[0];
    return true;
}

gy_t gy_pad_(gy_site at, gy_t x, int64_t axis, int64_t before, int64_t after, double value) {
    if (skip(x) || !axis_of(at, x, "pad", axis, &axis)) return bad(x);
    if (before < 0 || after < 0)
        return gy_poison(x.g, at, "pad: negative padding %" PRId64 ", %" PRId64 " (use slice)", before, after);
    if (before == 0 && after == 0) return x;
    gy_axis_attr a = {.axis = axis, .before = before, .after = after, .value = value};
    return gy_node_make(at, x.g, GY_OP_pad, &a, 1, &x);
}

gy_t gy_reflect_pad_(gy_site at, gy_t x, int64_t axis, int64_t before, int64_t after) {
    if (skip(x) || !axis_of(at, x, "reflect_pad", axis, &axis)) return bad(x);
    int64_t n = gy_dim(x, axis), parts = 0;
    gy_t part[3];
    if (before < 0 || after < 0 || before >= n || after >= n)
        return gy_poison(x.g, at, "reflect_pad: %" PRId64 ", %" PRId64 " elements of an axis of %" PRId64, before,
                         after, n);
    if (before > 0) part[parts++] = gy_flip_(at, gy_slice_(at, x, axis, 1, before + 1, 1), axis);
    part[parts++] = x;
    if (after > 0) part[parts++] = gy_flip_(at, gy_slice_(at, x, axis, n - 1 - after, n - 1, 1), axis);
    return gy_concat_(at, axis, parts, part);
}

static void pad_vjp(const gy_vjp *v) {
    const gy_axis_attr *a = v->attr;
    gy_axis_attr s = {.axis = a->axis, .start = a->before, .step = 1, .n = gy_dim(v->in[0], a->axis)};
    v->gx[0] = gy_node_make(GY_HERE, v->ct[0].g, GY_OP_slice, &s, 1, &v->ct[0]);
}

/* ---- concat, split, stack ---- */

static bool concat_infer(gy_infer *c) {
    const gy_axis_attr *a = c->attr;
    gy_shape s = c->in_shape[0];
    char first[GY_SHAPE_TEXT], other[GY_SHAPE_TEXT];
    s.dim[a->axis] = 0;
    for (int i = 0; i < c->n_in; i++) {
        gy_shape x = c->in_shape[i];
        bool fits = x.rank == s.rank && c->in_dtype[i] == c->in_dtype[0];
        for (int64_t d = 0; fits && d < s.rank; d++) fits = d == a->axis || x.dim[d] == s.dim[d];
        if (!fits)
            return gy_infer_fail(c, "%s %s and %s %s cannot be joined along axis %" PRId64,
                                 gy_dtype_name(c->in_dtype[0]), gy_shape_text(c->in_shape[0], first),
                                 gy_dtype_name(c->in_dtype[i]), gy_shape_text(x, other), a->axis);
        s.dim[a->axis] += x.dim[a->axis];
    }
    c->shape[0] = s;
    c->dtype[0] = c->in_dtype[0];
    return true;
}

gy_t gy_concat_(gy_site at, int64_t axis, int64_t n, const gy_t x[]) {
    if (n < 1) return GY_NONE;
    if (skip(x[0]) || !axis_of(at, x[0], "concat", axis, &axis)) return bad(x[0]);
    if (n == 1) return x[0];
    return gy_node_make(at, x[0].g, GY_OP_concat, &(gy_axis_attr){.axis = axis}, (int)n, x);
}

static void concat_vjp(const gy_vjp *v) {
    const gy_axis_attr *a = v->attr;
    int64_t start = 0;
    for (int i = 0; i < v->n_in; i++) {
        gy_axis_attr s = {.axis = a->axis, .start = start, .step = 1, .n = gy_dim(v->in[i], a->axis)};
        v->gx[i] = gy_node_make(GY_HERE, v->ct[0].g, GY_OP_slice, &s, 1, &v->ct[0]);
        start += s.n;
    }
}

void gy_split_(gy_site at, gy_t x, int64_t axis, int64_t n, gy_t out[]) {
    for (int64_t i = 0; i < n; i++) out[i] = bad(x);
    if (skip(x) || !axis_of(at, x, "split", axis, &axis)) return;
    int64_t size = gy_dim(x, axis);
    if (n < 1 || size % n) {
        gy_poison(x.g, at, "split: an axis of size %" PRId64 " into %" PRId64 " equal parts", size, n);
        return;
    }
    int64_t part = size / n;
    for (int64_t i = 0; i < n; i++) {
        gy_axis_attr s = {.axis = axis, .start = i * part, .step = 1, .n = part};
        out[i] = n == 1 ? x : gy_node_make(at, x.g, GY_OP_slice, &s, 1, &x);
    }
}

gy_t gy_stack_(gy_site at, int64_t axis, int64_t n, const gy_t x[]) {
    if (n < 1) return GY_NONE;
    gy_t *wide = gy_arena_alloc(&x[0].g->arena, sizeof *wide * (size_t)n);
    if (!wide) return bad(x[0]);
    for (int64_t i = 0; i < n; i++) wide[i] = gy_unsqueeze_(at, x[i], axis);
    return gy_concat_(at, axis < 0 ? axis + gy_rank(x[0]) + 1 : axis, n, wide);
}

/* ---- iota, copy ---- */

static bool iota_infer(gy_infer *c) {
    const gy_axis_attr *a = c->attr;
    c->shape[0] = GY_S(a->n);
    c->dtype[0] = (gy_dtype)a->start;
    return true;
}

gy_t gy_iota_(gy_site at, gy_graph *g, gy_dtype dtype, int64_t n) {
    return gy_node_make(at, g, GY_OP_iota, &(gy_axis_attr){.start = dtype, .n = n}, 0, NULL);
}

static bool copy_infer(gy_infer *c) {
    c->shape[0] = c->in_shape[0];
    c->dtype[0] = c->in_dtype[0];
    return true;
}

static void copy_vjp(const gy_vjp *v) {
    v->gx[0] = v->ct[0];
}

/* ---- cases ---- */

static const gy_shape case_shapes[] = {{2, {1, 1}}, {2, {3, 5}}, {3, {2, 7, 3}}, {2, {0, 4}}, {4, {2, 3, 2, 9}}};
enum { N_CASES = sizeof case_shapes / sizeof *case_shapes };

static bool reshape_cases(gy_case *c, int i) {
    if (i >= N_CASES) return false;
    gy_t x = gy_case_in(c, case_shapes[i], -1, 1);
    if (i == 2) x = gy_swap(x, 0, 2); /* the input is a strided view: the planner must copy */
    c->y = gy_square(gy_reshape(x, gy_count(x)));
    return true;
}
static bool permute_cases(gy_case *c, int i) {
    if (i >= N_CASES) return false;
    c->y = gy_square(gy_swap(gy_case_in(c, case_shapes[i], -1, 1), 0, -1));
    return true;
}
static bool broadcast_cases(gy_case *c, int i) {
    if (i >= N_CASES) return false;
    gy_shape s = case_shapes[i], to = {.rank = s.rank + 1, .dim = {3}};
    for (int64_t k = 0; k < s.rank; k++) to.dim[k + 1] = s.dim[k];
    c->y = gy_square(gy_broadcast_to(gy_case_in(c, s, -1, 1), to));
    return true;
}
static bool slice_cases(gy_case *c, int i) {
    if (i >= N_CASES) return false;
    gy_t x = gy_case_in(c, case_shapes[i], -1, 1);
    c->y = gy_square(i % 2 ? gy_slice_step(x, -1, 1, gy_dim(x, -1), 2) : gy_slice(x, 0, 0, gy_dim(x, 0) > 1 ? -1 : 0));
    return true;
}
static bool flip_cases(gy_case *c, int i) {
    if (i >= N_CASES) return false;
    c->y = gy_square(gy_flip(gy_case_in(c, case_shapes[i], -1, 1), i % 2));
    return true;
}
static bool pad_cases(gy_case *c, int i) {
    if (i >= N_CASES) return false;
    gy_t x = gy_case_in(c, case_shapes[i], -1, 1);
    c->y = gy_pad_value(i == 2 ? gy_swap(x, 0, 1) : x, i % 2, i, 2, 0.5);
    return true;
}
static bool unslice_cases(gy_case *c, int i) {
    if (i >= N_CASES) return false;
    gy_t x = gy_case_in(c, case_shapes[i], -1, 1);
    gy_axis_attr a = {.axis = 1, .start = i, .step = 1 + i % 2, .n = 2 * gy_dim(x, 1) + i};
    c->y = gy_node_make(GY_HERE, x.g, GY_OP_unslice, &a, 1, &x);
    return true;
}
static bool concat_cases(gy_case *c, int i) {
    if (i >= N_CASES) return false;
    gy_t x = gy_case_in(c, case_shapes[i], -1, 1), y = gy_case_in(c, case_shapes[i], -1, 1);
    c->y = gy_concat(i % 2, 3, ((gy_t[]){x, gy_square(y), i == 1 ? gy_flip(x, 0) : y}));
    return true;
}
static bool iota_cases(gy_case *c, int i) {
    static const int64_t n[] = {0, 1, 17};
    if (i >= 3) return false;
    c->y = gy_iota(c->g, c->dtype, n[i]);
    return true;
}
static bool copy_cases(gy_case *c, int i) {
    if (i > N_CASES) return false; /* the last: more than a tile of a kernel that transposes */
    gy_t x = gy_swap(gy_case_in(c, i < N_CASES ? case_shapes[i] : GY_S(37, 66), -1, 1), 0, 1);
    c->y = gy_node_make(GY_HERE, x.g, GY_OP_copy, NULL, 1, &x);
    return true;
}

enum { SHAPE = sizeof(gy_shape_attr), AXIS = sizeof(gy_axis_attr) };
const gy_op_impl gy_impl_reshape = {
    .attr_size = SHAPE, .infer = reshape_infer, .vjp = reshape_vjp, .cases = reshape_cases};
const gy_op_impl gy_impl_permute = {
    .attr_size = SHAPE, .infer = permute_infer, .vjp = permute_vjp, .cases = permute_cases};
const gy_op_impl gy_impl_broadcast = {
    .attr_size = SHAPE, .infer = broadcast_infer, .vjp = broadcast_vjp, .cases = broadcast_cases};
const gy_op_impl gy_impl_slice = {.attr_size = AXIS, .infer = slice_infer, .vjp = slice_vjp, .cases = slice_cases};
const gy_op_impl gy_impl_unslice = {
    .attr_size = AXIS, .infer = slice_infer, .vjp = unslice_vjp, .cases = unslice_cases};
const gy_op_impl gy_impl_flip = {.attr_size = AXIS, .infer = copy_infer, .vjp = flip_vjp, .cases = flip_cases};
const gy_op_impl gy_impl_pad = {.attr_size = AXIS, .infer = pad_infer, .vjp = pad_vjp, .cases = pad_cases};
const gy_op_impl gy_impl_concat = {.attr_size = AXIS, .infer = concat_infer, .vjp = concat_vjp, .cases = concat_cases};
const gy_op_impl gy_impl_iota = {.attr_size = AXIS, .infer = iota_infer, .nodiff = "a constant", .cases = iota_cases};
const gy_op_impl gy_impl_copy = {.infer = copy_infer, .vjp = copy_vjp, .cases = copy_cases};
