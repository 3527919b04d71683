/* elementwise.h: one value in, one value out, with NumPy's broadcasting. */
#ifndef GY_OPS_ELEMENTWISE_H
#define GY_OPS_ELEMENTWISE_H

#include "../graph.h"

/* Attributes, for kernels: leaky_relu a = slope; elu a = alpha; clamp a = lo, b = hi; scale_grad a = s. */
typedef struct gy_pair_attr {
    double a, b;
} gy_pair_attr;
typedef struct gy_cast_attr {
    int64_t dtype;
} gy_cast_attr;

/* Inputs of one float dtype (integers too for add, sub, mul, minimum, maximum); shapes broadcast. */
gy_t gy_binary_(gy_site at, int op, gy_t a, gy_t b);
#define gy_add(a, b) gy_binary_(GY_HERE, GY_OP_add, a, b)
#define gy_sub(a, b) gy_binary_(GY_HERE, GY_OP_sub, a, b)
#define gy_mul(a, b) gy_binary_(GY_HERE, GY_OP_mul, a, b)
#define gy_div(a, b) gy_binary_(GY_HERE, GY_OP_div, a, b)
/* a^b for a > 0 (a = 0 and negative a follow C's pow). */
#define gy_pow(a, b) gy_binary_(GY_HERE, GY_OP_pow, a, b)
/* Ties give the gradient to a. */
#define gy_maximum(a, b) gy_binary_(GY_HERE, GY_OP_maximum, a, b)
#define gy_minimum(a, b) gy_binary_(GY_HERE, GY_OP_minimum, a, b)

/* Comparisons give u8 masks (0 or 1); not differentiable. */
#define gy_eq(a, b) gy_binary_(GY_HERE, GY_OP_eq, a, b)
#define gy_ne(a, b) gy_binary_(GY_HERE, GY_OP_ne, a, b)
#define gy_lt(a, b) gy_binary_(GY_HERE, GY_OP_lt, a, b)
#define gy_le(a, b) gy_binary_(GY_HERE, GY_OP_le, a, b)
#define gy_gt(a, b) gy_binary_(GY_HERE, GY_OP_lt, b, a)
#define gy_ge(a, b) gy_binary_(GY_HERE, GY_OP_le, b, a)

/* mask ? a : b; mask u8. */
gy_t gy_where_(gy_site at, gy_t mask, gy_t a, gy_t b);
#define gy_where(mask, a, b) gy_where_(GY_HERE, mask, a, b)

gy_t gy_unary_(gy_site at, int op, gy_t x);
#define gy_neg(x)        gy_unary_(GY_HERE, GY_OP_neg, x)
#define gy_abs(x)        gy_unary_(GY_HERE, GY_OP_abs, x)
#define gy_sign(x)       gy_unary_(GY_HERE, GY_OP_sign, x)
#define gy_floor(x)      gy_unary_(GY_HERE, GY_OP_floor, x)
#define gy_exp(x)        gy_unary_(GY_HERE, GY_OP_exp, x)
#define gy_log(x)        gy_unary_(GY_HERE, GY_OP_log, x)
#define gy_log1p(x)      gy_unary_(GY_HERE, GY_OP_log1p, x)
#define gy_sqrt(x)       gy_unary_(GY_HERE, GY_OP_sqrt, x)
#define gy_rsqrt(x)      gy_unary_(GY_HERE, GY_OP_rsqrt, x)
#define gy_square(x)     gy_unary_(GY_HERE, GY_OP_square, x)
#define gy_sin(x)        gy_unary_(GY_HERE, GY_OP_sin, x)
#define gy_cos(x)        gy_unary_(GY_HERE, GY_OP_cos, x)
#define gy_tanh(x)       gy_unary_(GY_HERE, GY_OP_tanh, x)
#define gy_sigmoid(x)    gy_unary_(GY_HERE, GY_OP_sigmoid, x)
#define gy_erf(x)        gy_unary_(GY_HERE, GY_OP_erf, x)
#define gy_relu(x)       gy_unary_(GY_HERE, GY_OP_relu, x)
#define gy_silu(x)       gy_unary_(GY_HERE, GY_OP_silu, x)       /* x sigmoid(x) */
#define gy_gelu(x)       gy_unary_(GY_HERE, GY_OP_gelu, x)       /* x Phi(x), exact */
#define gy_gelu_tanh(x)  gy_unary_(GY_HERE, GY_OP_gelu_tanh, x)  /* GPT-2's approximation */
#define gy_quick_gelu(x) gy_unary_(GY_HERE, GY_OP_quick_gelu, x) /* x sigmoid(1.702 x), CLIP */
/* Their derivatives, which gradients use. */
#define gy_silu_slope(x)      gy_unary_(GY_HERE, GY_OP_silu_slope, x)
#define gy_gelu_slope(x)      gy_unary_(GY_HERE, GY_OP_gelu_slope, x)
#define gy_gelu_tanh_slope(x) gy_unary_(GY_HERE, GY_OP_gelu_tanh_slope, x)
#define gy_softplus(x)        gy_unary_(GY_HERE, GY_OP_softplus, x) /* log(1 + e^x) */

/* x > 0 ? x : slope x */
gy_t gy_leaky_relu_(gy_site at, gy_t x, double slope);
#define gy_leaky_relu(x, slope) gy_leaky_relu_(GY_HERE, x, slope)
/* x > 0 ? x : alpha (e^x - 1) */
gy_t gy_elu_(gy_site at, gy_t x, double alpha);
#define gy_elu(x, alpha) gy_elu_(GY_HERE, x, alpha)
/* min(max(x, lo), hi); gradient 1 inside [lo, hi] */
gy_t gy_clamp_(gy_site at, gy_t x, double lo, double hi);
#define gy_clamp(x, lo, hi) gy_clamp_(GY_HERE, x, lo, hi)

/* a x, x + a */
gy_t gy_scale_(gy_site at, gy_t x, double a);
#define gy_scale(x, a) gy_scale_(GY_HERE, x, a)
gy_t gy_add_scalar_(gy_site at, gy_t x, double a);
#define gy_add_scalar(x, a) gy_add_scalar_(GY_HERE, x, a)

/* Another dtype; floats to integers truncate toward zero. Gradient: cast back (floats only). */
gy_t gy_cast_(gy_site at, gy_t x, gy_dtype dtype);
#define gy_cast(x, dtype) gy_cast_(GY_HERE, x, dtype)

/* x forward, zero backward. */
gy_t gy_stop_(gy_site at, gy_t x);
#define gy_stop(x) gy_stop_(GY_HERE, x)
/* x forward, s times the cotangent backward (s = -1: gradient reversal, Ganin & Lempitsky 2015). */
gy_t gy_scale_grad_(gy_site at, gy_t x, double s);
#define gy_scale_grad(x, s) gy_scale_grad_(GY_HERE, x, s)
/* q forward, the identity's gradient to x backward: x + stop(q - x). */
gy_t gy_straight_through_(gy_site at, gy_t x, gy_t q);
#define gy_straight_through(x, q) gy_straight_through_(GY_HERE, x, q)

#endif
