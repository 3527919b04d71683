/* Fourier transforms, a closed family under transposition. Over the reals (complex numbers as pairs):
 *
 *   fft:    y_k = s sum_j x_j e^{-2 pi i jk/n}                adjoint: the same with e^{+...}
 *   rfft:   y_k = s w_k sum_j x_j e^{-2 pi i jk/n}, k <= n/2  adjoint: irfft with the same s and w
 *   irfft:  y_j = s sum_{k <= n/2} w_k Re(x_k e^{2 pi i jk/n})
 *
 * The inverse of a real transform sums over all n bins, of which bins k and n-k are conjugates: w_k = 2 for
 * 0 < k < n/2. The weight stays with the half spectrum, so the pair is closed. */
#include "../op.h"

#include <math.h>

static bool float_axis(gy_infer *c, bool complex) {
    const gy_fft_attr *a = c->attr;
    gy_shape s = c->in_shape[0];
    char t[GY_SHAPE_TEXT];
    if (!gy_dtype_is_float(c->in_dtype[0]))
        return gy_infer_fail(c, "expected float values, found %s", gy_dtype_name(c->in_dtype[0]));
    if (complex && (s.rank < 1 || s.dim[s.rank - 1] != 2))
        return gy_infer_fail(c, "expected a complex value [..., 2], found %s", gy_shape_text(s, t));
    if (a->axis < 0 || a->axis >= s.rank - complex)
        return gy_infer_fail(c, "axis %d of a %s value %s", (int)a->axis, complex ? "complex" : "real",
                             gy_shape_text(s, t));
    if (a->n < 1) return gy_infer_fail(c, "a transform of length %lld, expected 1 or more", (long long)a->n);
    c->shape[0] = s;
    c->dtype[0] = c->in_dtype[0];
    return true;
}

static bool fft_infer(gy_infer *c) {
    return float_axis(c, true);
}

static bool rfft_infer(gy_infer *c) {
    const gy_fft_attr *a = c->attr;
    if (!float_axis(c, false)) return false;
    gy_shape *s = &c->shape[0];
    if (s->rank == GY_MAX_RANK) return gy_infer_fail(c, "rank %d leaves no room for the complex axis", GY_MAX_RANK);
    s->dim[a->axis] = a->n / 2 + 1;
    s->dim[s->rank++] = 2;
    return true;
}

static bool irfft_infer(gy_infer *c) {
    const gy_fft_attr *a = c->attr;
    if (!float_axis(c, true)) return false;
    gy_shape *s = &c->shape[0];
    if (s->dim[a->axis] != a->n / 2 + 1)
        return gy_infer_fail(c, "%lld bins for length %lld, expected %lld", (long long)s->dim[a->axis], (long long)a->n,
                             (long long)(a->n / 2 + 1));
    s->dim[a->axis] = a->n;
    s->dim[--s->rank] = 0;
    return true;
}

static gy_t make(gy_site at, gy_op_id op, gy_t x, gy_fft_attr a) {
    return gy_node_make(at, x.g, op, &a, 1, &x);
}

static int64_t complex_axis(gy_t x, int64_t axis) {
    return axis < 0 ? axis + gy_rank(x) - 1 : axis;
}

gy_t gy_fft_(gy_site at, gy_t x, int64_t axis, bool inverse) {
    axis = complex_axis(x, axis);
    int64_t n = gy_dim(x, axis);
    return make(at, GY_OP_fft, x, (gy_fft_attr){axis, n, inverse, 0, inverse ? 1.0 / (double)n : 1.0});
}

gy_t gy_rfft_(gy_site at, gy_t x, int64_t axis) {
    if (axis < 0) axis += gy_rank(x);
    return make(at, GY_OP_rfft, x, (gy_fft_attr){axis, gy_dim(x, axis), 0, 0, 1.0});
}

gy_t gy_irfft_(gy_site at, gy_t x, int64_t axis, int64_t n) {
    return make(at, GY_OP_irfft, x, (gy_fft_attr){complex_axis(x, axis), n, 0, 1, 1.0 / (double)n});
}

static void fft_vjp(const gy_vjp *v) {
    gy_fft_attr a = *(const gy_fft_attr *)v->attr;
    a.inverse = !a.inverse;
    v->gx[0] = make(GY_VJP_SITE, GY_OP_fft, v->ct[0], a);
}
static void rfft_vjp(const gy_vjp *v) {
    v->gx[0] = make(GY_VJP_SITE, GY_OP_irfft, v->ct[0], *(const gy_fft_attr *)v->attr);
}
static void irfft_vjp(const gy_vjp *v) {
    v->gx[0] = make(GY_VJP_SITE, GY_OP_rfft, v->ct[0], *(const gy_fft_attr *)v->attr);
}

static gy_cost fft_cost(const gy_node *n) { /* 5 n log2 n a complex transform, the usual count; half for a real one */
    const gy_fft_attr *a = n->attr;
    double bytes = (double)(gy_count(n->in[0]) + gy_shape_count(n->shape[0])) * (double)gy_dtype_size(n->dtype[0]);
    double bins = n->op->id == GY_OP_fft ? (double)a->n : (double)(a->n / 2 + 1);
    double values = n->op->id == GY_OP_irfft ? (double)gy_count(n->in[0]) : (double)gy_shape_count(n->shape[0]);
    double flops = 5 * (double)a->n * log2((double)a->n + 1) * (n->op->id == GY_OP_fft ? 1.0 : 0.5);
    return (gy_cost){values / (2 * bins) * flops, bytes};
}

static bool fft_cases(gy_case *c, int i) {
    switch (i) {
    case 0: c->y = gy_fft(gy_case_in(c, GY_S(3, 8, 2), -1, 1), -1); return true;
    case 1: c->y = gy_ifft(gy_case_in(c, GY_S(15, 2, 2), -1, 1), 0); return true;
    case 2: c->y = gy_fft(gy_case_in(c, GY_S(1, 2), -1, 1), 0); return true;
    case 3: c->y = gy_ifft(gy_case_in(c, GY_S(13, 2), -1, 1), 0); return true;
    case 4: c->y = gy_fft(gy_case_in(c, GY_S(0, 4, 2), -1, 1), 1); return true;
    case 5: c->y = gy_fft(gy_swap(gy_case_in(c, GY_S(3, 12, 2), -1, 1), 0, 1), 0); return true;
    case 6: c->y = gy_fft(gy_case_in(c, GY_S(5200, 2), -1, 1), 0); return true; /* longer than shared memory */
    default: return false;
    }
}
static bool rfft_cases(gy_case *c, int i) {
    switch (i) {
    case 0: c->y = gy_rfft(gy_case_in(c, GY_S(3, 8), -1, 1), -1); return true;
    case 1: c->y = gy_rfft(gy_case_in(c, GY_S(15, 2), -1, 1), 0); return true;
    case 2: c->y = gy_rfft(gy_case_in(c, GY_S(1), -1, 1), 0); return true;
    case 3: c->y = gy_rfft(gy_case_in(c, GY_S(2, 2), -1, 1), 1); return true;
    case 4: c->y = gy_rfft(gy_case_in(c, GY_S(0, 4), -1, 1), 1); return true;
    case 5: c->y = gy_rfft(gy_transpose(gy_case_in(c, GY_S(7, 3), -1, 1)), -1); return true;
    default: return false;
    }
}
static bool irfft_cases(gy_case *c, int i) {
    switch (i) {
    case 0: c->y = gy_irfft(gy_case_in(c, GY_S(3, 5, 2), -1, 1), -1, 8); return true;
    case 1: c->y = gy_irfft(gy_case_in(c, GY_S(8, 2, 2), -1, 1), 0, 15); return true;
    case 2: c->y = gy_irfft(gy_case_in(c, GY_S(1, 2), -1, 1), 0, 1); return true;
    case 3: c->y = gy_irfft(gy_case_in(c, GY_S(3, 2, 2), -1, 1), 1, 2); return true;
    case 4: c->y = gy_irfft(gy_case_in(c, GY_S(0, 3, 2), -1, 1), 1, 5); return true;
    case 5: c->y = gy_irfft(gy_swap(gy_case_in(c, GY_S(4, 3, 2), -1, 1), 0, 1), 1, 7); return true;
    default: return false;
    }
}

const gy_op_impl gy_impl_fft = {
    .attr_size = sizeof(gy_fft_attr), .infer = fft_infer, .vjp = fft_vjp, .cost = fft_cost, .cases = fft_cases};
const gy_op_impl gy_impl_rfft = {
    .attr_size = sizeof(gy_fft_attr), .infer = rfft_infer, .vjp = rfft_vjp, .cost = fft_cost, .cases = rfft_cases};
const gy_op_impl gy_impl_irfft = {
    .attr_size = sizeof(gy_fft_attr), .infer = irfft_infer, .vjp = irfft_vjp, .cost = fft_cost, .cases = irfft_cases};
