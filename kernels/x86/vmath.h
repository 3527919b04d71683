/* vmath.h: transcendental functions on vectors of floats.
 *
 * Each is a range reduction and a polynomial (coefficients by a Remez exchange in 40 digits, then rounded to float).
 * Infinities, NaN, denormals and signed zeros behave as in C. The largest errors, AVX2 / AVX-512, in units in the last
 * place of a float (ulp); those of the first lines are over all floats of the range that tests/kernels/test_x86_math.c
 * names, which holds bounds over samples, the others over samples:
 *
 *   exp .99 / 1.01   sigmoid 2.9 / 2.6   silu 3.7 / 3.5   gelu 6.5 / 4.5   tanh 2.5 / 2.3   erf 1.1 / .82
 *   slopes of silu, gelu, gelu_tanh, in 2^-24: 3.2, 3.7, 3.7 / 3.8, 1.9, 4.0
 *   expm1_neg 1.5   log 1.0   log1p 1.2   sin, cos 1.6   pow 0.51
 *
 * On Zen 4 vectors of 512 bits go out one a cycle to the multipliers (products, quotients' guesses, comparisons), one
 * to the adders (sums, minima, rounding, shifts), one to the ports that permute, which overlap both: hence tables that
 * a permutation reads instead of longer polynomials, and integers that make powers. Cycles a vector of 16 in the first
 * cache, before and after that: exp of weights 9.0 and 6.5, sigmoid 14.9 and 13.0, gelu 29.8 and 22.6, tanh 20.0 and
 * 13.6, erf 37 and 15.9. */
#ifndef GY_X86_VMATH_H
#define GY_X86_VMATH_H

#include "vec.h"
#include "vtables.h"

#include <math.h>
#include <string.h>

/* Horner's rule from the highest coefficient c[0]. */
GY_INLINE vf v_poly(const float *c, int n, vf x) {
    vf y = v_set(c[0]);
    for (int i = 1; i < n; i++) y = v_fma(y, x, v_set(c[i]));
    return y;
}

/* e^r - 1 for |r| <= ln(2)/2. */
GY_INLINE vf v_expm1_reduced(vf r) {
    static const float c[] = {1.990784005e-4f, 1.393382261e-3f, 8.333285642e-3f,
                              4.166646336e-2f, 1.666666676e-1f, 0.5f};
    return v_fma(v_mul(r, r), v_poly(c, 6, r), r);
}
/* x = n ln 2 + r, |r| <= ln(2)/2: ln 2 in two parts, the first short enough that n times it is exact. */
GY_INLINE vf v_exp_reduce(vf x, vf *r) {
    vf n = v_round(v_mul(x, v_set(1.44269504f)));
    *r = v_fnma(n, v_set(-2.12194440e-4f), v_fnma(n, v_set(0.693359375f), x));
    return n;
}

/* a 2^n for whole |n| <= 252. */
GY_INLINE vf v_scale(vf a, vf n) {
#if defined(GY_TIER_avx2)
    vi k = v_to_int(n), half = vi_sra(k, 1);
    return v_mul(v_mul(a, v_pow2(half)), v_pow2(vi_sub(k, half))); /* two steps: 2^n may be denormal or infinite */
#else
    return _mm512_scalef_ps(a, n);
#endif
}

#if defined(GY_TIER_avx2)
/* e^x for x <= 88 (or NaN). */
GY_INLINE vf v_exp_low(vf x) {
    vf r, n = v_exp_reduce(v_max(v_set(-104.0f), x), &r);
    return v_scale(v_add(v_set(1.0f), v_expm1_reduced(r)), n);
}
#else
/* 16 floats by the low four bits of the lanes of i. */
GY_INLINE vf v_lookup(const float table[16], vi i) {
    return _mm512_permutexvar_ps(i, v_load(table));
}
/* x / ln 2 = n + f, n a multiple of 1/16 and |f| <= 1/32: e^x = 2^floor(n) 2^(n mod 1) (1 + q), q = 2^f - 1 by a cubic.
 * Adding 1.5 2^19 rounds to sixteenths and leaves 16 n in the low bits, where the table of 2^(k/16) finds its index;
 * scaling rounds down n. Eight operations on the multipliers' ports, against eleven of the other tier's way. */
GY_INLINE vf v_exp_low(vf x) {
    static const float power[16] = {1.0f,        1.04427373f, 1.09050775f, 1.13878858f, 1.18920708f, 1.24185777f,
                                    1.29683959f, 1.35425556f, 1.41421354f, 1.47682619f, 1.54221082f, 1.61049032f,
                                    1.68179286f, 1.75625217f, 1.8340081f,  1.91520655f};
    vf y = v_max(v_set(-104.0f), x), shifted = v_fma(y, v_set(1.44269502f), v_set(786432.0f));
    vf n = v_sub(shifted, v_set(786432.0f));
    vf f = v_fma(y, v_set(1.92596303e-8f), v_fms(y, v_set(1.44269502f), n));
    vf q = v_mul(f, v_fma(v_fma(v_set(5.55041087e-2f), f, v_set(2.40233571e-1f)), f, v_set(6.93147182e-1f)));
    vf t = v_lookup(power, v_bits(shifted));
    return v_scale(v_fma(t, q, t), n);
}
#endif
GY_INLINE vf v_exp(vf x) {
    return v_exp_low(v_min(v_set(89.0f), x));
}

#if !defined(GY_TIER_avx2)
/* 32 floats, or their bits, by the low five bits of the lanes of i. One instruction, and not on the multipliers' ports.
 */
GY_INLINE vf v_lookup32(const void *table, vi i) {
    const float *t = table;
    return _mm512_permutex2var_ps(v_load(t), i, v_load(t + 16));
}
/* The eighth of an octave that a + 1 lies in, for 0 <= a < 15, and a less its middle (vtables.h). */
GY_INLINE vi v_eighth(vf a, vf *d) {
    vf v = v_add(a, v_set(1.0f));
    vi middle = _mm512_ternarylogic_epi32(v_bits(v), vi_set((int32_t)0xfff00000u), vi_set(0x00080000), 0xea);
    *d = v_sub(a, v_sub(v_float(middle), v_set(1.0f)));
    return vi_srl(v_bits(v), 20);
}
GY_INLINE vf v_piece(const float (*c)[32], int n, vi i, vf d) {
    vf y = v_lookup32(c[0], i);
    for (int k = 1; k < n; k++) y = v_fma(y, d, v_lookup32(c[k], i));
    return y;
}
/* V_UNIT 2^n, given 1.5 2^18 + n, the sum that rounds n to a multiple of 1/32: its low bits are 32 n. */
GY_INLINE vf v_power(vf shifted) {
    vi low = v_bits(v_lookup32(v_power_table, v_bits(shifted)));
    return v_float(vi_add(low, vi_sll(v_bits(shifted), 18)));
}
enum { V_ROUND32 = 393216 /* 1.5 2^18 */ };
/* V_UNIT e^x for -110 <= x <= 59 (or NaN): x = n ln 2 + r, |r| <= ln(2) / 64, e^r - 1 by a cubic. With the factor no
 * power is denormal, so that integers can make them. Seven operations on the multipliers. */
GY_INLINE vf v_exp_unit(vf x) {
    vf s = v_fma(x, v_set(1.44269502f), v_set(V_ROUND32)), n = v_sub(s, v_set(V_ROUND32)), t = v_power(s);
    vf r = v_fma(n, v_set(1.90465421e-9f), v_fnma(n, v_set(0.693147182f), x));
    vf p = v_fma(v_fma(r, v_set(0.166666672f), v_set(0.5f)), r, v_set(1.0f));
    return v_fma(v_mul(t, r), p, t);
}
/* e^(-a^2 / 2) f, given f / V_UNIT, for 0 <= a <= 14.8: the square is not rounded before ln 2 is taken off it, in two
 * parts of which n times the first is exact. r is -2 (a^2 / 2 + n ln 2). */
GY_INLINE vf v_bell_times(vf a, vf f) {
    vf s = v_fma(v_mul(a, v_set(-0.721347511f)), a, v_set(V_ROUND32)), n = v_sub(s, v_set(V_ROUND32));
    vf r = v_fma(n, v_set(4.2438888e-4f), v_fnma(a, a, v_mul(n, v_set(-1.38671875f))));
    vf p = v_fma(v_fma(r, v_set(0.0208333340f), v_set(0.125f)), r, v_set(0.5f)), g = v_mul(v_power(s), f);
    return v_fma(v_mul(g, r), p, g);
}
#endif

/* e^x for x <= 0 times V_WEIGHT, for sums of weights that are scaled to one in the end. Error: at most
 * 2.4 ulp for x >= -16, 6.3 down to -100, where weights vanish beside the largest. */
#if defined(GY_TIER_avx2)
#define V_WEIGHT 1.0
GY_INLINE vf v_exp_weight(vf x) {
    return v_exp_low(x);
}
#else
#define V_WEIGHT ((double)V_UNIT)
/* As v_exp_unit, without the small part of ln 2, and e^r - 1 by a square: five operations on the multipliers. */
GY_INLINE vf v_exp_weight(vf x) {
    x = v_max(v_set(-104.0f), x);
    vf s = v_fma(x, v_set(1.44269502f), v_set(V_ROUND32)), n = v_sub(s, v_set(V_ROUND32)), t = v_power(s);
    vf r = v_fnma(n, v_set(0.693147182f), x), p = v_fma(r, v_set(0.500004888f), v_set(1.00001466f));
    return v_fma(v_mul(t, r), p, t);
}
#endif

/* a / d by a guess and one step of Newton's: a third of the time of a division. d is no denormal nor near one. */
GY_INLINE vf v_ratio(vf a, vf d) {
#if defined(GY_TIER_avx2)
    return v_div(a, d);
#else
    vf r = _mm512_rcp14_ps(d), q = v_mul(a, r);
    return v_fma(r, v_fnma(d, q, a), q);
#endif
}

/* e^x - 1 for x <= 0. */
GY_INLINE vf v_expm1_neg(vf x) {
    vf r, n = v_exp_reduce(v_max(v_set(-25.0f), x), &r);
    vf s = v_pow2(v_to_int(n));
    return v_fma(s, v_expm1_reduced(r), v_sub(s, v_set(1.0f)));
}

/* For u = 2^e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2): ln u + c, where c is a small correction. */
GY_INLINE vf v_log_core(vf u, vi e_bias, vf c) {
    static const float p[] = {6.915539719e-2f,  -1.178984817e-1f, 1.18729164e-1f,   -1.238433723e-1f, 1.421866552e-1f,
                              -1.666925177e-1f, 2.000222623e-1f,  -2.499998658e-1f, 3.333331045e-1f};
    vi bits = v_bits(u), e = vi_sra(vi_sub(bits, vi_set(0x3f3504f3)), 23);
    vf f = v_sub(v_float(vi_sub(bits, vi_sll(e, 23))), v_set(1.0f));
    vf k = v_from_int(vi_add(e, e_bias)), f2 = v_mul(f, f);
    vf y = v_fma(v_mul(f2, f), v_poly(p, 9, f), v_fma(k, v_set(-2.12194440e-4f), c));
    y = v_fnma(v_set(0.5f), f2, y);
    return v_fma(k, v_set(0.693359375f), v_add(f, y));
}
/* ln of 0 is -inf, of negative numbers NaN, of +inf +inf; u is the argument that decides. */
GY_INLINE vf v_log_special(vf y, vf u) {
    y = v_sel(v_eq(u, v_zero()), v_set(-INFINITY), y);
    y = v_sel(v_eq(u, v_set(INFINITY)), u, y);
    y = v_sel(v_lt(u, v_zero()), v_set(NAN), y);
    return v_sel(v_ne(u, u), u, y);
}
GY_INLINE vf v_log(vf x) {
    vm tiny = v_lt(x, v_set(1.17549435e-38f));
    vf u = v_sel(tiny, v_mul(x, v_set(8388608.0f)), x);
    vi bias = v_bits(v_sel(tiny, v_float(vi_set(-23)), v_zero()));
    return v_log_special(v_log_core(u, bias, v_zero()), x);
}
/* 1 + x rounds; what is lost, c, comes back as c / u (d ln u = du / u). */
GY_INLINE vf v_log1p(vf x) {
    vf one = v_set(1.0f), u = v_add(one, x);
    vf lost = v_sel(v_lt(x, one), v_sub(x, v_sub(u, one)), v_sub(one, v_sub(u, x)));
    vf y = v_log_special(v_log_core(u, vi_set(0), v_div(lost, u)), u);
    return v_sel(v_lt(v_abs(x), v_set(1e-8f)), x, y); /* keeps -0 */
}

#if defined(GY_TIER_avx2)
/* For y = -|x|: e^y and 1 / (1 + e^y). */
GY_INLINE vf v_logistic_parts(vf x, vf *e) {
    *e = v_exp_low(v_or(v_signbit(), x));
    return v_div(v_set(1.0f), v_add(v_set(1.0f), *e));
}
GY_INLINE vf v_sigmoid(vf x) {
    vf e, d = v_logistic_parts(x, &e);
    return v_sel(v_lt(x, v_zero()), v_mul(e, d), d);
}
/* tanh |x| = -m / (2 + m), m = e^(-2|x|) - 1: no cancellation at either end. */
GY_INLINE vf v_tanh(vf x) {
    vf m = v_expm1_neg(v_mul(v_set(-2.0f), v_abs(x)));
    return v_copysign(v_abs(v_div(m, v_add(v_set(2.0f), m))), x);
}
#else
/* V_UNIT e^x, with e^x so small or large at the ends that a sigmoid rounds to 0 or 1. */
GY_INLINE vf v_exp_ends(vf x) {
    return v_exp_unit(v_max(v_set(-110.0f), v_min(v_set(59.0f), x)));
}
GY_INLINE vf v_sigmoid(vf x) {
    vf e = v_exp_ends(x);
    return v_ratio(e, v_add(e, v_set(V_UNIT)));
}
/* min(|x|, 1) (1 + y), y of small pieces: nothing is lost near 0, and rounding y weighs little. */
GY_INLINE vf v_tanh(vf x) {
    vf d, a = v_min(v_set(14.0f), v_abs(x)), m = v_min(v_set(1.0f), a);
    vi i = v_eighth(a, &d);
    return v_copysign(v_fma(m, v_piece(v_tanh_table, 5, i, d), m), x);
}
#endif

GY_INLINE vf v_softplus(vf x) {
    return v_add(v_max(v_zero(), x), v_log1p(v_exp_low(v_neg(v_abs(x)))));
}

#if defined(GY_TIER_avx2)
/* erfc(t) for t >= 0, given t^2 = s + lo exactly: e^(-t^2) / (1 + 2t) times a polynomial in (t-4)/(t+4). */
GY_INLINE vf v_erfc_core(vf t, vf s, vf lo) {
    static const float c[] = {8.278703178e-4f,  6.843684522e-3f,  -1.607898334e-2f, 3.638382659e-2f,
                              -6.658819859e-2f, 9.384226067e-2f,  -1.009932416e-1f, 6.809116487e-2f,
                              1.537732699e-2f,  -1.396210115e-1f, 1.232995136f};
    vf q = v_div(v_sub(t, v_set(4.0f)), v_add(t, v_set(4.0f)));
    vf e = v_exp_low(v_neg(s));
    e = v_fnma(e, lo, e);
    return v_mul(e, v_div(v_poly(c, 11, q), v_fma(v_set(2.0f), t, v_set(1.0f))));
}
GY_INLINE vf v_erf(vf x) {
    static const float c[] = {7.853860632e-5f, -8.010193659e-4f, 5.188327729e-3f, -2.685381199e-2f,
                              1.128358515e-1f, -3.761262582e-1f, 1.283791657e-1f};
    vf a = v_abs(x), t = v_min(v_set(10.5f), a), s = v_mul(t, t);
    vf far = v_copysign(v_sub(v_set(1.0f), v_erfc_core(t, s, v_fms(t, t, s))), x);
    vf near = v_fma(x, v_poly(c, 7, s), x);
    return v_sel(v_lt(a, v_set(1.0f)), near, far);
}
/* P(Z > |x|) of a standard normal Z: erfc(|x| / sqrt 2) / 2. *bell: e^(-x^2 / 2). */
GY_INLINE vf v_gauss_tail(vf x, vf *bell) {
    vf a = v_min(v_set(14.8f), v_abs(x)), h = v_mul(v_set(0.5f), a), s = v_mul(h, a);
    *bell = v_exp_low(v_neg(s));
    return v_mul(v_set(0.5f), v_erfc_core(v_mul(a, v_set(0.707106781f)), s, v_fms(h, a, s)));
}
GY_INLINE vf v_gelu(vf x) {
    vf bell, tail = v_gauss_tail(x, &bell);
    return v_mul(x, v_sel(v_lt(x, v_zero()), tail, v_sub(v_set(1.0f), tail)));
}
/* d/dx x Phi(x) = Phi(x) + x phi(x). */
GY_INLINE vf v_gelu_slope(vf x) {
    vf bell, tail = v_gauss_tail(x, &bell), phi = v_mul(v_set(0.39894228f), bell);
    return v_fma(x, phi, v_sel(v_lt(x, v_zero()), tail, v_sub(v_set(1.0f), tail)));
}
GY_INLINE vf v_silu_slope(vf x) { /* s + x s (1 - s) = s + x s(x) s(-x) */
    vf e, d = v_logistic_parts(x, &e), o = v_mul(e, d);
    return v_fma(v_mul(x, d), o, v_sel(v_lt(x, v_zero()), o, d));
}
/* x s(u), u = a x + b x^3: s(u) + x u' s(u) s(-u). */
GY_INLINE vf v_gelu_tanh_slope(vf x) {
    vf z = v_mul(x, x), u = v_mul(x, v_fma(z, v_set(0.0713548163f), v_set(1.59576912f)));
    vf du = v_fma(z, v_set(0.2140644489f), v_set(1.59576912f));
    vf e, d = v_logistic_parts(u, &e), o = v_mul(e, d);
    vf bend = v_sel(v_eq(o, v_zero()), v_zero(), v_mul(v_mul(x, du), v_mul(d, o))); /* u' may be infinite */
    return v_add(bend, v_sel(v_lt(x, v_zero()), o, d));
}
#else
GY_INLINE vf v_erf(vf x) { /* as tanh */
    vf d, a = v_min(v_set(14.0f), v_abs(x)), m = v_min(v_set(1.0f), a);
    vi i = v_eighth(a, &d);
    return v_copysign(v_fma(m, v_piece(v_erf_table, 6, i, d), m), x);
}
/* With t = P(Z > |x|) of a standard normal Z, x Phi(x) is max(x, 0) - |x| t. */
GY_INLINE vf v_gelu(vf x) {
    vf d, a = v_min(v_set(14.8f), v_abs(x));
    vi i = v_eighth(a, &d);
    return v_fnma(a, v_bell_times(a, v_piece(v_mills_table, 5, i, d)), v_max(v_zero(), x));
}
/* d/dx x Phi(x) = Phi(x) + x phi(x): t - |x| phi, and 1 less that for x > 0. */
GY_INLINE vf v_gelu_slope(vf x) {
    vf d, a = v_min(v_set(14.8f), v_abs(x));
    vi i = v_eighth(a, &d);
    vf y = v_bell_times(a, v_fnma(a, v_set(0.39894228f / V_UNIT), v_piece(v_mills_table, 5, i, d)));
    return v_sel(v_lt(v_zero(), x), v_sub(v_set(1.0f), y), y);
}
/* For s = s(u), o = 1 - s: s + x u' s o, x and u' finite. */
GY_INLINE vf v_logistic_slope(vf xdu, vf u) {
    vf e = v_exp_ends(u), d = v_add(e, v_set(V_UNIT)), r = _mm512_rcp14_ps(d);
    r = v_fma(r, v_fnma(d, r, v_set(1.0f)), r);
    vf s = v_mul(e, r), o = v_mul(r, v_set(V_UNIT));
    return v_fma(v_mul(xdu, s), o, s);
}
GY_INLINE vf v_silu_slope(vf x) {
    return v_logistic_slope(v_max(v_set(-110.0f), v_min(v_set(59.0f), x)), x);
}
/* x s(u), u = a x + b x^3. */
GY_INLINE vf v_gelu_tanh_slope(vf x) {
    x = v_max(v_set(-13.0f), v_min(v_set(13.0f), x)); /* beyond, s is 0 or 1 */
    vf z = v_mul(x, x), u = v_mul(x, v_fma(z, v_set(0.0713548163f), v_set(1.59576912f)));
    return v_logistic_slope(v_mul(x, v_fma(z, v_set(0.2140644489f), v_set(1.59576912f))), u);
}
#endif
GY_INLINE vf v_gelu_tanh(vf x) { /* (1 + tanh u) / 2 = sigmoid(2u) */
    vf u = v_mul(x, v_fma(v_mul(x, x), v_set(0.0713548163f), v_set(1.59576912f)));
    return v_mul(x, v_sigmoid(u));
}
GY_INLINE vf v_silu(vf x) {
    return v_mul(x, v_sigmoid(x));
}
GY_INLINE vf v_quick_gelu(vf x) {
    return v_mul(x, v_sigmoid(v_mul(v_set(1.702f), x)));
}

/* sin(x + turn pi/2). x = n pi/2 + r with pi/2 in three parts; beyond 30000 (and for inf and NaN) the C library
 * computes the lanes that need it. */
GY_INLINE vf v_sin_turned(vf x, int turn) {
    static const float s[] = {2.718313251e-6f, -1.983933592e-4f, 8.333329394e-3f, -1.666666664e-1f};
    static const float c[] = {-2.721004769e-7f, 2.479951806e-5f, -1.388888375e-3f, 4.166666662e-2f};
    vf n = v_round(v_mul(x, v_set(0.636619772f)));
    vf r = v_fnma(n, v_set(1.57079637f), x);
    r = v_fnma(n, v_set(-4.37113883e-8f), r);
    r = v_fnma(n, v_set(-1.71512451e-15f), r);
    vf z = v_mul(r, r);
    vf sine = v_fma(v_mul(z, r), v_poly(s, 4, z), r);
    vf cosine = v_fma(v_mul(z, z), v_poly(c, 4, z), v_fnma(v_set(0.5f), z, v_set(1.0f)));
    vi q = vi_add(v_to_int(n), vi_set(turn));
    vm odd = vi_eq(vi_and(q, vi_set(1)), vi_set(1));
    vf y = v_xor(v_sel(odd, cosine, sine), v_float(vi_sll(vi_and(q, vi_set(2)), 30)));
    unsigned far = ~v_bitmask(v_lt(v_abs(x), v_set(30000.0f))) & (unsigned)((UINT64_C(1) << VL) - 1);
    if (__builtin_expect(far != 0, 0)) {
        float in[VL], out[VL];
        v_store(in, x);
        v_store(out, y);
        for (int i = 0; i < VL; i++)
            if (far >> i & 1) out[i] = (float)(turn ? cos((double)in[i]) : sin((double)in[i]));
        y = v_load(out);
    }
    return y;
}
GY_INLINE vf v_sin(vf x) {
    return v_sel(v_eq(x, v_zero()), x, v_sin_turned(x, 0)); /* keeps -0 */
}
GY_INLINE vf v_cos(vf x) {
    return v_sin_turned(x, 1);
}

/* e ln 2 + ln(1 + f) = e ln 2 + 2 artanh(f / (2 + f)); `guess` is 1 / (2 + f) to float precision. */
GY_INLINE vd w_log(vd e, vd f, vd guess) {
    static const double c[] = {2.0 / 17, 2.0 / 15, 2.0 / 13, 2.0 / 11, 2.0 / 9, 2.0 / 7, 2.0 / 5, 2.0 / 3, 2.0};
    vd d = w_add(w_set(2), f), minus = w_mul(w_set(-1), guess);
    vd s = w_mul(f, w_fma(guess, w_fma(minus, d, w_set(1)), guess)), z = w_mul(s, s), y = w_set(c[0]);
    for (int i = 1; i < 9; i++) y = w_fma(y, z, w_set(c[i]));
    return w_fma(e, w_set(0.69314718055994530942), w_mul(s, y));
}
/* e^(t - n ln 2), the argument small. */
GY_INLINE vd w_exp_reduced(vd t, vd n) {
    static const double c[] = {1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720, 1.0 / 120,
                               1.0 / 24,     1.0 / 6,     0.5,        1,         1};
    vd r = w_fma(n, w_set(-0.69314718055994530942), t), y = w_set(c[0]);
    for (int i = 1; i < 10; i++) y = w_fma(y, r, w_set(c[i]));
    return y;
}
/* x^y = e^(y ln |x|) in doubles, rounded once; the cases of C's pow (C11 F.10.4.4). */
GY_INLINE vf v_pow(vf x, vf y) {
    vf zero = v_zero(), one = v_set(1.0f), inf = v_set(INFINITY), a = v_abs(x);
    vm tiny = v_lt(a, v_set(1.17549435e-38f));
    vi bits = v_bits(v_sel(tiny, v_mul(a, v_set(8388608.0f)), a));
    vi k = vi_sra(vi_sub(bits, vi_set(0x3f3504f3)), 23);
    vf f = v_sub(v_float(vi_sub(bits, vi_sll(k, 23))), one), guess = v_div(one, v_add(v_set(2.0f), f));
    vf e = v_add(v_from_int(k), v_sel(tiny, v_set(-23.0f), zero));
    vd low = w_mul(w_low(y), w_log(w_low(e), w_low(f), w_low(guess)));
    vd high = w_mul(w_high(y), w_log(w_high(e), w_high(f), w_high(guess)));
    vf t = w_narrow(low, high), n = v_round(v_mul(v_min(v_set(90.0f), v_max(v_set(-105.0f), t)), v_set(1.44269504f)));
    vi whole = v_to_int(n), half = vi_sra(whole, 1);
    vf p0 = v_pow2(half), p1 = v_pow2(vi_sub(whole, half));
    low = w_mul(w_mul(w_exp_reduced(low, w_low(n)), w_low(p0)), w_low(p1));
    high = w_mul(w_mul(w_exp_reduced(high, w_high(n)), w_high(p0)), w_high(p1));
    vf r = v_sel(v_lt(v_set(89.5f), t), inf, v_sel(v_lt(t, v_set(-104.5f)), zero, w_narrow(low, high)));
    vm falls = v_lt(y, zero);
    r = v_sel(v_eq(a, zero), v_sel(falls, inf, zero), v_sel(v_eq(a, inf), v_sel(falls, zero, inf), r));
    r = v_sel(v_ne(y, y), y, v_sel(v_eq(a, one), one, r));
    vf twice = v_mul(v_set(2.0f), v_floor(v_mul(v_set(0.5f), y)));
    vf odd = v_sel(v_eq(v_floor(y), y), v_sel(v_ne(twice, y), v_signbit(), zero), zero);
    r = v_xor(r, v_and(x, odd));
    vf fraction = v_sel(v_ne(v_floor(y), y), v_set(NAN), r); /* a finite negative number to a fraction */
    r = v_sel(v_lt(x, zero), v_sel(v_eq(a, inf), r, fraction), r);
    r = v_sel(v_ne(x, x), x, r);
    return v_sel(v_eq(y, zero), one, v_sel(v_eq(x, one), one, r));
}

#endif
