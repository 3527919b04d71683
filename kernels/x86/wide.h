/* wide.h: vectors of VLD 64-bit lanes, as doubles (vd) or as integers (vi), with the logarithm, sine and cosine of
 * doubles. For random.c: a 32-bit word lies in the low half of its lane. */
#ifndef GY_X86_WIDE_H
#define GY_X86_WIDE_H

#include "vec.h"

#if defined(GY_TIER_avx2)
GY_INLINE vi wi_set(uint64_t x) {
    return _mm256_set1_epi64x((int64_t)x);
}
GY_INLINE vi wi_add(vi a, vi b) {
    return _mm256_add_epi64(a, b);
}
GY_INLINE vi wi_mul_low(vi a, vi b) { /* 64 bits, of the low halves, unsigned */
    return _mm256_mul_epu32(a, b);
}
#define wi_srl(a, n) _mm256_srli_epi64(a, n)
#define wi_sll(a, n) _mm256_slli_epi64(a, n)
GY_INLINE vi wi_below(vi a, vi b, vi x) { /* a < b ? x : 0, signed */
    return _mm256_and_si256(_mm256_cmpgt_epi64(b, a), x);
}
GY_INLINE bool wi_same(vi a, vi b) {
    return _mm256_movemask_epi8(_mm256_cmpeq_epi64(a, b)) == -1;
}
GY_INLINE vi w_bits(vd a) {
    return _mm256_castpd_si256(a);
}
GY_INLINE vd w_double(vi a) { /* same bits */
    return _mm256_castsi256_pd(a);
}
GY_INLINE vi w_to_f32(vd a) { /* rounded to float, in the low half */
    return _mm256_cvtepu32_epi64(_mm_castps_si128(_mm256_cvtpd_ps(a)));
}
GY_INLINE vd w_sub(vd a, vd b) {
    return _mm256_sub_pd(a, b);
}
GY_INLINE vd w_div(vd a, vd b) {
    return _mm256_div_pd(a, b);
}
GY_INLINE vd w_sqrt(vd a) {
    return _mm256_sqrt_pd(a);
}
GY_INLINE vd w_by_sign(vd s, vd x, vd y) { /* the sign bit of s set ? x : y */
    return _mm256_blendv_pd(y, x, s);
}
/* a0 b0 a1 b1 ... */
GY_INLINE void wi_interleave(vi a, vi b, vi *first, vi *second) {
    vi even = _mm256_unpacklo_epi64(a, b), odd = _mm256_unpackhi_epi64(a, b);
    *first = _mm256_permute2x128_si256(even, odd, 0x20);
    *second = _mm256_permute2x128_si256(even, odd, 0x31);
}
GY_INLINE vi wi_counting(uint64_t from) {
    return wi_add(wi_set(from), _mm256_set_epi64x(3, 2, 1, 0));
}
#else
GY_INLINE vi wi_set(uint64_t x) {
    return _mm512_set1_epi64((int64_t)x);
}
GY_INLINE vi wi_add(vi a, vi b) {
    return _mm512_add_epi64(a, b);
}
GY_INLINE vi wi_mul_low(vi a, vi b) {
    return _mm512_mul_epu32(a, b);
}
#define wi_srl(a, n) _mm512_srli_epi64(a, n)
#define wi_sll(a, n) _mm512_slli_epi64(a, n)
GY_INLINE vi wi_below(vi a, vi b, vi x) {
    return _mm512_maskz_mov_epi64(_mm512_cmplt_epi64_mask(a, b), x);
}
GY_INLINE bool wi_same(vi a, vi b) {
    return _mm512_cmpneq_epi64_mask(a, b) == 0;
}
GY_INLINE vi w_bits(vd a) {
    return _mm512_castpd_si512(a);
}
GY_INLINE vd w_double(vi a) {
    return _mm512_castsi512_pd(a);
}
GY_INLINE vi w_to_f32(vd a) {
    return _mm512_cvtepu32_epi64(_mm256_castps_si256(_mm512_cvtpd_ps(a)));
}
GY_INLINE vd w_sub(vd a, vd b) {
    return _mm512_sub_pd(a, b);
}
GY_INLINE vd w_div(vd a, vd b) {
    return _mm512_div_pd(a, b);
}
GY_INLINE vd w_sqrt(vd a) {
    return _mm512_sqrt_pd(a);
}
GY_INLINE vd w_by_sign(vd s, vd x, vd y) {
    return _mm512_mask_blend_pd(_mm512_movepi64_mask(w_bits(s)), y, x);
}
GY_INLINE void wi_interleave(vi a, vi b, vi *first, vi *second) {
    *first = _mm512_permutex2var_epi64(a, _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0), b);
    *second = _mm512_permutex2var_epi64(a, _mm512_set_epi64(15, 7, 14, 6, 13, 5, 12, 4), b);
}
GY_INLINE vi wi_counting(uint64_t from) {
    return wi_add(wi_set(from), _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0));
}
#endif

GY_INLINE vi wi_low_half(vi a) {
    return vi_and(a, wi_set(0xffffffffu));
}
/* w + 2^52 as a double, for w < 2^32. */
GY_INLINE vd w_above_2_52(vi w) {
    return w_double(vi_or(w, wi_set(UINT64_C(0x4330000000000000))));
}

/* ln x of normal x > 0: x = 2^e m with m near 1, ln m = 2 artanh(f / (2 + f)). Some units in the last place. */
GY_INLINE vd w_ln(vd x) {
    static const double c[] = {2.0 / 19, 2.0 / 17, 2.0 / 15, 2.0 / 13, 2.0 / 11, 2.0 / 9, 2.0 / 7, 2.0 / 5, 2.0 / 3, 2};
    const uint64_t middle = UINT64_C(0x3fe6a09e667f3bcd);                     /* sqrt(1/2) */
    vi up = wi_add(w_bits(x), wi_set(UINT64_C(0x3ff0000000000000) - middle)); /* mantissas from sqrt 2 up carry */
    vd e = w_sub(w_above_2_52(wi_srl(up, 52)), w_set(4503599627370496.0 + 1023));
    vi m = wi_add(vi_and(up, wi_set(UINT64_C(0x000fffffffffffff))), wi_set(middle));
    vd f = w_sub(w_double(m), w_set(1)), s = w_div(f, w_add(w_set(2), f)), z = w_mul(s, s), y = w_set(c[0]);
    for (int i = 1; i < 10; i++) y = w_fma(y, z, w_set(c[i]));
    return w_fma(e, w_set(0.69314718055994530942), w_mul(s, y));
}

/* sin and cos of 0 <= x <= 7: x = q pi/2 + r; the difference with the first part of pi/2 is exact. */
GY_INLINE void w_sin_cos(vd x, vd *sine, vd *cosine) {
    static const double s[] = {1.0 / 355687428096000, -1.0 / 1307674368000, 1.0 / 6227020800, -1.0 / 39916800,
                               1.0 / 362880,          -1.0 / 5040,          1.0 / 120,        -1.0 / 6};
    static const double c[] = {1.0 / 20922789888000, -1.0 / 87178291200, 1.0 / 479001600, -1.0 / 3628800,
                               1.0 / 40320,          -1.0 / 720,         1.0 / 24,        -0.5};
    vd shifted = w_fma(x, w_set(0.63661977236758134308), w_set(6755399441055744.0)); /* 1.5 2^52: q in the low bits */
    vd q = w_sub(shifted, w_set(6755399441055744.0));
    vd r = w_fma(q, w_set(-6.12323399573676603587e-17), w_fma(q, w_set(-1.57079632679489655800), x));
    vd z = w_mul(r, r), u = w_set(s[0]), v = w_set(c[0]);
    for (int i = 1; i < 8; i++) {
        u = w_fma(u, z, w_set(s[i]));
        v = w_fma(v, z, w_set(c[i]));
    }
    u = w_fma(w_mul(u, z), r, r);
    v = w_fma(v, z, w_set(1));
    vi bits = w_bits(shifted), two = wi_set(2);
    vd odd = w_double(wi_sll(bits, 63));
    vi sine_sign = wi_sll(vi_and(bits, two), 62), cosine_sign = wi_sll(vi_and(wi_add(bits, wi_set(1)), two), 62);
    *sine = w_double(vi_xor(w_bits(w_by_sign(odd, v, u)), sine_sign));
    *cosine = w_double(vi_xor(w_bits(w_by_sign(odd, u, v)), cosine_sign));
}

#endif
