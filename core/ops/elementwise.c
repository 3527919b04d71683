/* Elementwise operators: shape rule shared, one gradient rule each, written with the operators themselves. */
#include "../op.h"

#include <math.h>
#include <string.h>

bool gy_broadcast_shape(gy_shape a, gy_shape b, gy_shape *out) {
    gy_shape s = {.rank = a.rank > b.rank ? a.rank : b.rank};
    for (int64_t i = 0; i < s.rank; i++) {
        int64_t ia = i - (s.rank - a.rank), ib = i - (s.rank - b.rank);
        int64_t da = ia >= 0 ? a.dim[ia] : 1, db = ib >= 0 ? b.dim[ib] : 1;
        if (da != db && da != 1 && db != 1) return false;
        s.dim[i] = da == 1 ? db : da;
    }
    *out = s;
    return true;
}

/* ---- shape rules ---- */

static bool broadcast_all(gy_infer *c, int from) {
    gy_shape s = c->in_shape[from];
    for (int i = 0; i < c->n_in; i++) {
        char a[GY_SHAPE_TEXT], b[GY_SHAPE_TEXT];
        if (!gy_broadcast_shape(s, c->in_shape[i], &s))
            return gy_infer_fail(c, "shapes do not broadcast: %s and %s", gy_shape_text(s, a),
                                 gy_shape_text(c->in_shape[i], b));
    }
    c->shape[0] = s;
    return true;
}

static bool binary_infer(gy_infer *c) {
    if (c->in_dtype[0] != c->in_dtype[1])
        return gy_infer_fail(c, "dtypes differ: %s and %s", gy_dtype_name(c->in_dtype[0]),
                             gy_dtype_name(c->in_dtype[1]));
    c->dtype[0] = c->in_dtype[0];
    return broadcast_all(c, 0);
}

static bool compare_infer(gy_infer *c) {
    if (!binary_infer(c)) return false;
    c->dtype[0] = GY_U8;
    return true;
}

static bool where_infer(gy_infer *c) {
    if (c->in_dtype[0] != GY_U8) return gy_infer_fail(c, "the mask is %s, expected u8", gy_dtype_name(c->in_dtype[0]));
    if (c->in_dtype[1] != c->in_dtype[2])
        return gy_infer_fail(c, "dtypes differ: %s and %s", gy_dtype_name(c->in_dtype[1]),
                             gy_dtype_name(c->in_dtype[2]));
    c->dtype[0] = c->in_dtype[1];
    return broadcast_all(c, 0);
}

static bool unary_infer(gy_infer *c) {
    if (!gy_dtype_is_float(c->in_dtype[0]))
        return gy_infer_fail(c, "expected a float value, found %s", gy_dtype_name(c->in_dtype[0]));
    c->shape[0] = c->in_shape[0];
    c->dtype[0] = c->in_dtype[0];
    return true;
}

/* ---- constructors ---- */

gy_t gy_binary_(gy_site at, int op, gy_t a, gy_t b) {
    gy_graph *g = gy_is_none(a) ? b.g : a.g;
    if (gy_is_none(a) || gy_is_none(b))
        return g ? gy_poison(g, at, "%s: an input is missing", gy_ops[op].name) : GY_NONE;
    return gy_node_make(at, g, (gy_op_id)op, NULL, 2, (gy_t[]){a, b});
}

gy_t gy_unary_(gy_site at, int op, gy_t x) {
    if (gy_is_none(x)) return x;
    return gy_node_make(at, x.g, (gy_op_id)op, NULL, 1, &x);
}

gy_t gy_where_(gy_site at, gy_t mask, gy_t a, gy_t b) {
    return gy_node_make(at, mask.g, GY_OP_where, NULL, 3, (gy_t[]){mask, a, b});
}

gy_t gy_leaky_relu_(gy_site at, gy_t x, double slope) {
    return gy_node_make(at, x.g, GY_OP_leaky_relu, &(gy_pair_attr){slope, 0}, 1, &x);
}

gy_t gy_elu_(gy_site at, gy_t x, double alpha) {
    return gy_node_make(at, x.g, GY_OP_elu, &(gy_pair_attr){alpha, 0}, 1, &x);
}

gy_t gy_clamp_(gy_site at, gy_t x, double lo, double hi) {
    if (!(lo <= hi)) return gy_poison(x.g, at, "clamp: lo %g above hi %g", lo, hi);
    return gy_node_make(at, x.g, GY_OP_clamp, &(gy_pair_attr){lo, hi}, 1, &x);
}

gy_t gy_scale_(gy_site at, gy_t x, double a) {
    if (a == 1.0) return x;
    return gy_binary_(at, GY_OP_mul, x, gy_scalar_(at, x, a));
}

gy_t gy_add_scalar_(gy_site at, gy_t x, double a) {
    if (a == 0.0) return x;
    return gy_binary_(at, GY_OP_add, x, gy_scalar_(at, x, a));
}

gy_t gy_straight_through_(gy_site at, gy_t x, gy_t q) {
    return gy_binary_(at, GY_OP_add, x, gy_stop_(at, gy_binary_(at, GY_OP_sub, q, x)));
}

/* ---- gradient rules: gx = ct dy/dx ---- */

static void add_vjp(const gy_vjp *v) {
    v->gx[0] = v->gx[1] = v->ct[0];
}
static void sub_vjp(const gy_vjp *v) {
    v->gx[0] = v->ct[0];
    v->gx[1] = gy_neg(v->ct[0]);
}
static void mul_vjp(const gy_vjp *v) {
    v->gx[0] = gy_mul(v->ct[0], v->in[1]);
    v->gx[1] = gy_mul(v->ct[0], v->in[0]);
}
static void div_vjp(const gy_vjp *v) {
    gy_t g = gy_div(v->ct[0], v->in[1]);
    v->gx[0] = g;
    v->gx[1] = gy_neg(gy_mul(g, v->y[0]));
}
static void pow_vjp(const gy_vjp *v) {
    gy_t a = v->in[0], b = v->in[1];
    v->gx[0] = gy_mul(v->ct[0], gy_mul(b, gy_pow(a, gy_add_scalar(b, -1))));
    v->gx[1] = gy_mul(v->ct[0], gy_mul(v->y[0], gy_log(a)));
}
static gy_t masked(gy_t ct, gy_t mask) { /* ct where mask, else 0 */
    return gy_where(mask, ct, gy_scalar(ct, 0));
}
static gy_t unmasked(gy_t ct, gy_t mask) {
    return gy_where(mask, gy_scalar(ct, 0), ct);
}
static void maximum_vjp(const gy_vjp *v) {
    gy_t first = gy_ge(v->in[0], v->in[1]);
    v->gx[0] = masked(v->ct[0], first);
    v->gx[1] = unmasked(v->ct[0], first);
}
static void minimum_vjp(const gy_vjp *v) {
    gy_t first = gy_le(v->in[0], v->in[1]);
    v->gx[0] = masked(v->ct[0], first);
    v->gx[1] = unmasked(v->ct[0], first);
}
static void where_vjp(const gy_vjp *v) {
    v->gx[1] = masked(v->ct[0], v->in[0]);
    v->gx[2] = unmasked(v->ct[0], v->in[0]);
}
static void neg_vjp(const gy_vjp *v) {
    v->gx[0] = gy_neg(v->ct[0]);
}
static void abs_vjp(const gy_vjp *v) {
    v->gx[0] = gy_mul(v->ct[0], gy_sign(v->in[0]));
}
static void zero_vjp(const gy_vjp *v) { /* piecewise constant */
    (void)v;
}
static void exp_vjp(const gy_vjp *v) {
    v->gx[0] = gy_mul(v->ct[0], v->y[0]);
}
static void log_vjp(const gy_vjp *v) {
    v->gx[0] = gy_div(v->ct[0], v->in[0]);
}
static void log1p_vjp(const gy_vjp *v) {
    v->gx[0] = gy_div(v->ct[0], gy_add_scalar(v->in[0], 1));
}
static void sqrt_vjp(const gy_vjp *v) {
    v->gx[0] = gy_div(gy_scale(v->ct[0], 0.5), v->y[0]);
}
static void rsqrt_vjp(const gy_vjp *v) { /* -y^3 / 2 */
    v->gx[0] = gy_mul(v->ct[0], gy_scale(gy_mul(v->y[0], gy_square(v->y[0])), -0.5));
}
static void square_vjp(const gy_vjp *v) {
    v->gx[0] = gy_mul(v->ct[0], gy_scale(v->in[0], 2));
}
static void sin_vjp(const gy_vjp *v) {
    v->gx[0] = gy_mul(v->ct[0], gy_cos(v->in[0]));
}
static void cos_vjp(const gy_vjp *v) {
    v->gx[0] = gy_neg(gy_mul(v->ct[0], gy_sin(v->in[0])));
}
static gy_t one_minus(gy_t x) {
    return gy_sub(gy_scalar(x, 1), x);
}
static void tanh_vjp(const gy_vjp *v) { /* 1 - y^2 */
    v->gx[0] = gy_mul(v->ct[0], one_minus(gy_square(v->y[0])));
}
static void sigmoid_vjp(const gy_vjp *v) { /* y (1 - y) */
    v->gx[0] = gy_mul(v->ct[0], gy_mul(v->y[0], one_minus(v->y[0])));
}
static gy_t gauss(gy_t x, double scale, double factor) { /* factor e^(-scale x^2) */
    return gy_scale(gy_exp(gy_scale(gy_square(x), -scale)), factor);
}
static void erf_vjp(const gy_vjp *v) {
    v->gx[0] = gy_mul(v->ct[0], gauss(v->in[0], 1.0, 1.1283791670955125739));
}
static void relu_vjp(const gy_vjp *v) {
    v->gx[0] = masked(v->ct[0], gy_gt(v->in[0], gy_scalar(v->in[0], 0)));
}
static void silu_vjp(const gy_vjp *v) {
    v->gx[0] = gy_mul(v->ct[0], gy_silu_slope(v->in[0]));
}
static void gelu_vjp(const gy_vjp *v) {
    v->gx[0] = gy_mul(v->ct[0], gy_gelu_slope(v->in[0]));
}
static void gelu_tanh_vjp(const gy_vjp *v) {
    v->gx[0] = gy_mul(v->ct[0], gy_gelu_tanh_slope(v->in[0]));
}
static void silu_slope_vjp(const gy_vjp *v) { /* s (1 - s) (2 + x (1 - 2 s)) */
    gy_t x = v->in[0], s = gy_sigmoid(x);
    gy_t bend = gy_add_scalar(gy_mul(x, one_minus(gy_scale(s, 2))), 2);
    v->gx[0] = gy_mul(v->ct[0], gy_mul(gy_mul(s, one_minus(s)), bend));
}
static void gelu_slope_vjp(const gy_vjp *v) { /* phi(x) (2 - x^2) */
    gy_t x = v->in[0], bend = gy_sub(gy_scalar(x, 2), gy_square(x));
    v->gx[0] = gy_mul(v->ct[0], gy_mul(gauss(x, 0.5, 0.39894228040143267794), bend));
}
/* gelu_tanh = x s(u), u = a x + b x^3; its second derivative is s (1 - s) (2 u' + x u'' + x u'^2 (1 - 2 s)). */
static void gelu_tanh_slope_vjp(const gy_vjp *v) {
    const double a = 2 * 0.79788456080286535588, b = a * 0.044715;
    gy_t x = v->in[0], x2 = gy_square(x);
    gy_t s = gy_sigmoid(gy_mul(x, gy_add_scalar(gy_scale(x2, b), a)));
    gy_t du = gy_add_scalar(gy_scale(x2, 3 * b), a), bend = gy_add(gy_scale(du, 2), gy_scale(x2, 6 * b));
    bend = gy_add(bend, gy_mul(gy_mul(x, gy_square(du)), one_minus(gy_scale(s, 2))));
    v->gx[0] = gy_mul(v->ct[0], gy_mul(gy_mul(s, one_minus(s)), bend));
}
static void quick_gelu_vjp(const gy_vjp *v) { /* s (1 + 1.702 x (1 - s)) */
    gy_t x = v->in[0], s = gy_sigmoid(gy_scale(x, 1.702));
    v->gx[0] = gy_mul(v->ct[0], gy_mul(s, gy_add_scalar(gy_scale(gy_mul(x, one_minus(s)), 1.702), 1)));
}
static void softplus_vjp(const gy_vjp *v) {
    v->gx[0] = gy_mul(v->ct[0], gy_sigmoid(v->in[0]));
}
static void leaky_relu_vjp(const gy_vjp *v) {
    const gy_pair_attr *a = v->attr;
    gy_t zero = gy_scalar(v->in[0], 0);
    v->gx[0] = gy_where(gy_gt(v->in[0], zero), v->ct[0], gy_scale(v->ct[0], a->a));
}
static void elu_vjp(const gy_vjp *v) { /* x > 0 ? 1 : y + alpha */
    const gy_pair_attr *a = v->attr;
    gy_t zero = gy_scalar(v->in[0], 0);
    v->gx[0] = gy_where(gy_gt(v->in[0], zero), v->ct[0], gy_mul(v->ct[0], gy_add_scalar(v->y[0], a->a)));
}
static void clamp_vjp(const gy_vjp *v) {
    const gy_pair_attr *a = v->attr;
    gy_t x = v->in[0];
    v->gx[0] = masked(masked(v->ct[0], gy_ge(x, gy_scalar(x, a->a))), gy_le(x, gy_scalar(x, a->b)));
}

/* ---- cast, stop, scale_grad ---- */

static bool cast_infer(gy_infer *c) {
    const gy_cast_attr *a = c->attr;
    c->shape[0] = c->in_shape[0];
    c->dtype[0] = (gy_dtype)a->dtype;
    return true;
}

gy_t gy_cast_(gy_site at, gy_t x, gy_dtype dtype) {
    if (gy_dtype_of(x) == dtype) return x;
    return gy_node_make(at, x.g, GY_OP_cast, &(gy_cast_attr){dtype}, 1, &x);
}

static void cast_vjp(const gy_vjp *v) {
    if (gy_dtype_is_float(gy_dtype_of(v->in[0]))) v->gx[0] = gy_cast(v->ct[0], gy_dtype_of(v->in[0]));
}

static bool same_infer(gy_infer *c) {
    c->shape[0] = c->in_shape[0];
    c->dtype[0] = c->in_dtype[0];
    return true;
}

gy_t gy_stop_(gy_site at, gy_t x) {
    return gy_node_make(at, x.g, GY_OP_stop, NULL, 1, &x);
}

gy_t gy_scale_grad_(gy_site at, gy_t x, double s) {
    return gy_node_make(at, x.g, GY_OP_scale_grad, &(gy_pair_attr){s, 0}, 1, &x);
}

static void scale_grad_vjp(const gy_vjp *v) {
    v->gx[0] = gy_scale(v->ct[0], ((const gy_pair_attr *)v->attr)->a);
}

/* ---- cases ---- */

static bool shapes(int i, gy_shape *a, gy_shape *b) {
    static const gy_shape table[][2] = {{{1, {1}}, {1, {1}}},       {{2, {3, 5}}, {2, {3, 5}}},
                                        {{2, {7, 13}}, {1, {13}}},  {{3, {2, 1, 5}}, {2, {3, 1}}},
                                        {{0, {0}}, {2, {2, 3}}},    {{1, {37}}, {0, {0}}},
                                        {{2, {0, 4}}, {2, {1, 4}}}, {{3, {2, 17, 33}}, {3, {2, 17, 33}}},
                                        {{2, {5, 1}}, {2, {1, 67}}}};
    if (i >= (int)(sizeof table / sizeof *table)) return false;
    *a = table[i][0];
    *b = table[i][1];
    return true;
}

static bool binary_cases(gy_case *c, int i, int op, double lo, double hi, bool distinct) {
    gy_shape a, b;
    if (!shapes(i, &a, &b)) return false;
    gy_t x = distinct ? gy_case_distinct(c, a, lo, hi) : gy_case_in(c, a, lo, hi);
    gy_t y = distinct ? gy_case_distinct(c, b, lo + 1e-3, hi + 1e-3) : gy_case_in(c, b, lo, hi);
    c->y = gy_binary_(GY_HERE, op, x, y);
    return true;
}
static bool unary_cases(gy_case *c, int i, int op, double lo, double hi) {
    gy_shape a, b;
    if (i == 9) { /* strided: a transposed view */
        c->y = gy_unary_(GY_HERE, op, gy_transpose(gy_case_in(c, GY_S(9, 19), lo, hi)));
        return true;
    }
    if (!shapes(i, &a, &b)) return false;
    c->y = gy_unary_(GY_HERE, op, gy_case_in(c, a, lo, hi));
    return true;
}

static bool add_cases(gy_case *c, int i) {
    return binary_cases(c, i, GY_OP_add, -2, 2, false);
}
static bool sub_cases(gy_case *c, int i) {
    return binary_cases(c, i, GY_OP_sub, -2, 2, false);
}
static bool mul_cases(gy_case *c, int i) {
    return binary_cases(c, i, GY_OP_mul, -2, 2, false);
}
static bool div_cases(gy_case *c, int i) {
    return binary_cases(c, i, GY_OP_div, 0.5, 2, false);
}
static bool pow_cases(gy_case *c, int i) {
    return binary_cases(c, i, GY_OP_pow, 0.5, 2, false);
}
static bool maximum_cases(gy_case *c, int i) {
    return binary_cases(c, i, GY_OP_maximum, -2, 2, true);
}
static bool minimum_cases(gy_case *c, int i) {
    return binary_cases(c, i, GY_OP_minimum, -2, 2, true);
}
static bool eq_cases(gy_case *c, int i) {
    return binary_cases(c, i, GY_OP_eq, 0, 1, false);
}
static bool ne_cases(gy_case *c, int i) {
    return binary_cases(c, i, GY_OP_ne, 0, 1, false);
}
static bool lt_cases(gy_case *c, int i) {
    return binary_cases(c, i, GY_OP_lt, -1, 1, false);
}
static bool le_cases(gy_case *c, int i) {
    return binary_cases(c, i, GY_OP_le, -1, 1, false);
}
static bool where_cases(gy_case *c, int i) {
    gy_shape a, b;
    if (!shapes(i, &a, &b)) return false;
    gy_t mask = gy_case_mask(c, b);
    c->y = gy_where(mask, gy_case_in(c, a, -1, 1), gy_case_in(c, b, -1, 1));
    return true;
}
static bool neg_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_neg, -2, 2);
}
static bool abs_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_abs, 0.1, 2);
}
static bool sign_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_sign, 0.1, 2);
}
static bool floor_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_floor, 0.1, 0.9);
}
static bool exp_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_exp, -3, 3);
}
static bool log_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_log, 0.2, 5);
}
static bool log1p_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_log1p, -0.7, 3);
}
static bool sqrt_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_sqrt, 0.2, 5);
}
static bool rsqrt_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_rsqrt, 0.2, 5);
}
static bool square_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_square, -2, 2);
}
static bool sin_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_sin, -4, 4);
}
static bool cos_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_cos, -4, 4);
}
static bool tanh_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_tanh, -3, 3);
}
static bool sigmoid_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_sigmoid, -5, 5);
}
static bool erf_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_erf, -2.5, 2.5);
}
static bool relu_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_relu, 0.1, 2);
}
static bool silu_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_silu, -4, 4);
}
static bool gelu_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_gelu, -3, 3);
}
static bool gelu_tanh_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_gelu_tanh, -3, 3);
}
static bool silu_slope_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_silu_slope, -4, 4);
}
static bool gelu_slope_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_gelu_slope, -3, 3);
}
static bool gelu_tanh_slope_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_gelu_tanh_slope, -3, 3);
}
static bool quick_gelu_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_quick_gelu, -3, 3);
}
static bool softplus_cases(gy_case *c, int i) {
    return unary_cases(c, i, GY_OP_softplus, -6, 6);
}

static bool signed_case(gy_case *c, int i, gy_t *x) { /* values on both sides of the kink, none on it */
    gy_shape a, b;
    if (!shapes(i, &a, &b)) return false;
    *x = gy_sub(gy_case_in(c, a, 0.1, 1), gy_scale(gy_cast(gy_case_mask(c, a), c->dtype), 1.2));
    return true;
}
static bool leaky_relu_cases(gy_case *c, int i) {
    gy_t x;
    if (!signed_case(c, i, &x)) return false;
    c->y = gy_leaky_relu(x, 0.2);
    return true;
}
static bool elu_cases(gy_case *c, int i) {
    gy_t x;
    if (!signed_case(c, i, &x)) return false;
    c->y = gy_elu(x, 1.3);
    return true;
}
static bool clamp_cases(gy_case *c, int i) {
    gy_t x;
    if (!signed_case(c, i, &x)) return false;
    c->y = gy_clamp(x, -1.05, 0.95);
    c->no_grad_check = i == 7; /* thousands of values: some lie within the difference step of a bound */
    return true;
}
static bool cast_cases(gy_case *c, int i) {
    gy_shape a, b;
    if (!shapes(i, &a, &b)) return false;
    c->y = gy_cast(gy_case_index(c, a, -50, 50), c->dtype);
    return true;
}
static bool stop_cases(gy_case *c, int i) {
    gy_shape a, b;
    if (!shapes(i, &a, &b)) return false;
    c->y = gy_stop(gy_case_in(c, a, -1, 1));
    c->no_grad_check = true; /* the gradient is meant to differ from the differences */
    return true;
}
static bool scale_grad_cases(gy_case *c, int i) {
    gy_shape a, b;
    if (!shapes(i, &a, &b)) return false;
    c->y = gy_scale_grad(gy_case_in(c, a, -1, 1), -1);
    c->no_grad_check = true;
    return true;
}

/* ---- rows ---- */

static const char *const mask_reason = "a comparison is a mask";
const gy_op_impl gy_impl_add = {.infer = binary_infer, .vjp = add_vjp, .cases = add_cases};
const gy_op_impl gy_impl_sub = {.infer = binary_infer, .vjp = sub_vjp, .cases = sub_cases};
const gy_op_impl gy_impl_mul = {.infer = binary_infer, .vjp = mul_vjp, .cases = mul_cases};
const gy_op_impl gy_impl_div = {.infer = binary_infer, .vjp = div_vjp, .cases = div_cases};
const gy_op_impl gy_impl_pow = {.infer = binary_infer, .vjp = pow_vjp, .cases = pow_cases};
const gy_op_impl gy_impl_maximum = {.infer = binary_infer, .vjp = maximum_vjp, .cases = maximum_cases};
const gy_op_impl gy_impl_minimum = {.infer = binary_infer, .vjp = minimum_vjp, .cases = minimum_cases};
const gy_op_impl gy_impl_eq = {.infer = compare_infer, .nodiff = mask_reason, .cases = eq_cases};
const gy_op_impl gy_impl_ne = {.infer = compare_infer, .nodiff = mask_reason, .cases = ne_cases};
const gy_op_impl gy_impl_lt = {.infer = compare_infer, .nodiff = mask_reason, .cases = lt_cases};
const gy_op_impl gy_impl_le = {.infer = compare_infer, .nodiff = mask_reason, .cases = le_cases};
const gy_op_impl gy_impl_where = {.infer = where_infer, .vjp = where_vjp, .cases = where_cases};
const gy_op_impl gy_impl_neg = {.infer = unary_infer, .vjp = neg_vjp, .cases = neg_cases};
const gy_op_impl gy_impl_abs = {.infer = unary_infer, .vjp = abs_vjp, .cases = abs_cases};
const gy_op_impl gy_impl_sign = {.infer = unary_infer, .vjp = zero_vjp, .cases = sign_cases};
const gy_op_impl gy_impl_floor = {.infer = unary_infer, .vjp = zero_vjp, .cases = floor_cases};
const gy_op_impl gy_impl_exp = {.infer = unary_infer, .vjp = exp_vjp, .cases = exp_cases};
const gy_op_impl gy_impl_log = {.infer = unary_infer, .vjp = log_vjp, .cases = log_cases};
const gy_op_impl gy_impl_log1p = {.infer = unary_infer, .vjp = log1p_vjp, .cases = log1p_cases};
const gy_op_impl gy_impl_sqrt = {.infer = unary_infer, .vjp = sqrt_vjp, .cases = sqrt_cases};
const gy_op_impl gy_impl_rsqrt = {.infer = unary_infer, .vjp = rsqrt_vjp, .cases = rsqrt_cases};
const gy_op_impl gy_impl_square = {.infer = unary_infer, .vjp = square_vjp, .cases = square_cases};
const gy_op_impl gy_impl_sin = {.infer = unary_infer, .vjp = sin_vjp, .cases = sin_cases};
const gy_op_impl gy_impl_cos = {.infer = unary_infer, .vjp = cos_vjp, .cases = cos_cases};
const gy_op_impl gy_impl_tanh = {.infer = unary_infer, .vjp = tanh_vjp, .cases = tanh_cases};
const gy_op_impl gy_impl_sigmoid = {.infer = unary_infer, .vjp = sigmoid_vjp, .cases = sigmoid_cases};
const gy_op_impl gy_impl_erf = {.infer = unary_infer, .vjp = erf_vjp, .cases = erf_cases};
const gy_op_impl gy_impl_relu = {.infer = unary_infer, .vjp = relu_vjp, .cases = relu_cases};
const gy_op_impl gy_impl_silu = {.infer = unary_infer, .vjp = silu_vjp, .cases = silu_cases};
const gy_op_impl gy_impl_gelu = {.infer = unary_infer, .vjp = gelu_vjp, .cases = gelu_cases};
const gy_op_impl gy_impl_gelu_tanh = {.infer = unary_infer, .vjp = gelu_tanh_vjp, .cases = gelu_tanh_cases};
const gy_op_impl gy_impl_silu_slope = {.infer = unary_infer, .vjp = silu_slope_vjp, .cases = silu_slope_cases};
const gy_op_impl gy_impl_gelu_slope = {.infer = unary_infer, .vjp = gelu_slope_vjp, .cases = gelu_slope_cases};
const gy_op_impl gy_impl_gelu_tanh_slope = {
    .infer = unary_infer, .vjp = gelu_tanh_slope_vjp, .cases = gelu_tanh_slope_cases};
const gy_op_impl gy_impl_quick_gelu = {.infer = unary_infer, .vjp = quick_gelu_vjp, .cases = quick_gelu_cases};
const gy_op_impl gy_impl_softplus = {.infer = unary_infer, .vjp = softplus_vjp, .cases = softplus_cases};
const gy_op_impl gy_impl_leaky_relu = {
    .attr_size = sizeof(gy_pair_attr), .infer = unary_infer, .vjp = leaky_relu_vjp, .cases = leaky_relu_cases};
const gy_op_impl gy_impl_elu = {
    .attr_size = sizeof(gy_pair_attr), .infer = unary_infer, .vjp = elu_vjp, .cases = elu_cases};
const gy_op_impl gy_impl_clamp = {
    .attr_size = sizeof(gy_pair_attr), .infer = unary_infer, .vjp = clamp_vjp, .cases = clamp_cases};
const gy_op_impl gy_impl_cast = {
    .attr_size = sizeof(gy_cast_attr), .infer = cast_infer, .vjp = cast_vjp, .cases = cast_cases};
const gy_op_impl gy_impl_stop = {.infer = same_infer, .vjp = zero_vjp, .cases = stop_cases};
const gy_op_impl gy_impl_scale_grad = {
    .attr_size = sizeof(gy_pair_attr), .infer = same_infer, .vjp = scale_grad_vjp, .cases = scale_grad_cases};
