/* vec.h: one vocabulary for both vector tiers, so that a kernel is written once and compiled once a tier.
 *
 *   vf  VL floats      vi  VL 32-bit integers      vd  VLD = VL/2 doubles      vm  one truth value a float lane
 *
 * The lanes of tails are masked: v_loadn(p, n) reads n < VL elements and leaves zeros in the rest, v_storen writes
 * n elements; neither touches memory past p + n. v_max(a, b) and v_min(a, b) return b when either is NaN (the
 * instructions' rule). Horizontal sums add in one fixed order: halves, quarters, ...
 *
 * This header holds macros and static inline functions only: code with external linkage in a header would be
 * compiled with one tier's flags and might be linked into another's. */
#ifndef GY_X86_VEC_H
#define GY_X86_VEC_H

#include "../kernel.h"

#include <immintrin.h>
#include <string.h>

#define GY_JOIN3_(a, b) a##_##b
#define GY_JOIN3(a, b)  GY_JOIN3_(a, b)
#define GY_ISAFN(name)  GY_JOIN3(name, GY_ISA_NAME)

#define GY_INLINE static inline __attribute__((always_inline))

#if defined(GY_TIER_avx512) || defined(GY_TIER_avx512bf16)

typedef __m512 vf;
typedef __m512i vi;
typedef __m512d vd;
typedef __mmask16 vm;
enum { VL = 16, VLD = 8 };

GY_INLINE __mmask16 v_tail(int64_t n) {
    return (__mmask16)((1u << n) - 1u);
}
GY_INLINE vf v_set(float x) {
    return _mm512_set1_ps(x);
}
GY_INLINE vf v_zero(void) {
    return _mm512_setzero_ps();
}
GY_INLINE vf v_load(const float *p) {
    return _mm512_loadu_ps(p);
}
GY_INLINE void v_store(float *p, vf x) {
    _mm512_storeu_ps(p, x);
}
GY_INLINE void v_stream(float *p, vf x) { /* past the caches; p at a multiple of the vector's size */
    _mm512_stream_ps(p, x);
}
GY_INLINE vf v_loadn(const float *p, int64_t n) {
    return _mm512_maskz_loadu_ps(v_tail(n), p);
}
GY_INLINE void v_storen(float *p, vf x, int64_t n) {
    _mm512_mask_storeu_ps(p, v_tail(n), x);
}
GY_INLINE vf v_add(vf a, vf b) {
    return _mm512_add_ps(a, b);
}
GY_INLINE vf v_sub(vf a, vf b) {
    return _mm512_sub_ps(a, b);
}
GY_INLINE vf v_mul(vf a, vf b) {
    return _mm512_mul_ps(a, b);
}
GY_INLINE vf v_div(vf a, vf b) {
    return _mm512_div_ps(a, b);
}
GY_INLINE vf v_fma(vf a, vf b, vf c) { /* a b + c */
    return _mm512_fmadd_ps(a, b, c);
}
GY_INLINE vf v_fms(vf a, vf b, vf c) { /* a b - c */
    return _mm512_fmsub_ps(a, b, c);
}
GY_INLINE vf v_fnma(vf a, vf b, vf c) { /* c - a b */
    return _mm512_fnmadd_ps(a, b, c);
}
GY_INLINE vf v_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
GY_INLINE vf v_min(vf a, vf b) {
    return _mm512_min_ps(a, b);
}
GY_INLINE vf v_sqrt(vf a) {
    return _mm512_sqrt_ps(a);
}
GY_INLINE vf v_floor(vf a) {
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
GY_INLINE vf v_round(vf a) { /* to nearest, ties to even */
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
GY_INLINE vf v_and(vf a, vf b) {
    return _mm512_and_ps(a, b);
}
GY_INLINE vf v_or(vf a, vf b) {
    return _mm512_or_ps(a, b);
}
GY_INLINE vf v_xor(vf a, vf b) {
    return _mm512_xor_ps(a, b);
}
GY_INLINE vf v_andnot(vf a, vf b) { /* ~a & b */
    return _mm512_andnot_ps(a, b);
}
GY_INLINE vm v_lt(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
GY_INLINE vm v_le(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}
GY_INLINE vm v_eq(vf a, vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
GY_INLINE vm v_ne(vf a, vf b) { /* true for NaN */
    return _mm512_cmp_ps_mask(a, b, _CMP_NEQ_UQ);
}
GY_INLINE vf v_sel(vm m, vf a, vf b) { /* m ? a : b */
    return _mm512_mask_blend_ps(m, b, a);
}
GY_INLINE unsigned v_bitmask(vm m) { /* bit i: lane i */
    return m;
}
GY_INLINE vi v_bits(vf a) {
    return _mm512_castps_si512(a);
}
GY_INLINE vf v_float(vi a) { /* same bits */
    return _mm512_castsi512_ps(a);
}
GY_INLINE vi v_to_int(vf a) { /* rounds to nearest */
    return _mm512_cvtps_epi32(a);
}
GY_INLINE vf v_from_int(vi a) {
    return _mm512_cvtepi32_ps(a);
}
GY_INLINE vi vi_set(int32_t x) {
    return _mm512_set1_epi32(x);
}
GY_INLINE vi vi_load(const int32_t *p) {
    return _mm512_loadu_si512(p);
}
GY_INLINE vi vi_add(vi a, vi b) {
    return _mm512_add_epi32(a, b);
}
GY_INLINE vi vi_sub(vi a, vi b) {
    return _mm512_sub_epi32(a, b);
}
GY_INLINE vi vi_and(vi a, vi b) {
    return _mm512_and_si512(a, b);
}
GY_INLINE vi vi_or(vi a, vi b) {
    return _mm512_or_si512(a, b);
}
GY_INLINE vi vi_xor(vi a, vi b) {
    return _mm512_xor_si512(a, b);
}
#define vi_sll(a, n) _mm512_slli_epi32(a, n)
#define vi_sra(a, n) _mm512_srai_epi32(a, n)
#define vi_srl(a, n) _mm512_srli_epi32(a, n)
GY_INLINE vm vi_eq(vi a, vi b) {
    return _mm512_cmpeq_epi32_mask(a, b);
}
GY_INLINE __m256 v_low(vf a) {
    return _mm512_castps512_ps256(a);
}
GY_INLINE __m256 v_high(vf a) {
    return _mm512_extractf32x8_ps(a, 1);
}
/* 16-bit and 8-bit storage: VL elements to and from float lanes. */
GY_INLINE vi v_load_u16(const uint16_t *p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)p));
}
GY_INLINE void v_store_u16(uint16_t *p, vi a) { /* the low halves */
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtepi32_epi16(a));
}
GY_INLINE vf v_load_f16(const uint16_t *p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
}
GY_INLINE void v_store_f16(uint16_t *p, vf a) {
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
GY_INLINE vm v_load_mask(const uint8_t *p) { /* bytes 0 or not 0 */
    __m128i b = _mm_loadu_si128((const __m128i *)p);
    return _mm_test_epi8_mask(b, b);
}
GY_INLINE void v_store_mask(uint8_t *p, vm m) { /* bytes 0 or 1 */
    _mm_storeu_si128((__m128i *)p, _mm_maskz_mov_epi8(m, _mm_set1_epi8(1)));
}

GY_INLINE vd w_set(double x) {
    return _mm512_set1_pd(x);
}
GY_INLINE vd w_zero(void) {
    return _mm512_setzero_pd();
}
GY_INLINE vd w_load(const double *p) {
    return _mm512_loadu_pd(p);
}
GY_INLINE void w_store(double *p, vd x) {
    _mm512_storeu_pd(p, x);
}
GY_INLINE vd w_loadn(const double *p, int64_t n) {
    return _mm512_maskz_loadu_pd((__mmask8)v_tail(n), p);
}
GY_INLINE void w_storen(double *p, vd x, int64_t n) {
    _mm512_mask_storeu_pd(p, (__mmask8)v_tail(n), x);
}
GY_INLINE vd w_add(vd a, vd b) {
    return _mm512_add_pd(a, b);
}
GY_INLINE vd w_mul(vd a, vd b) {
    return _mm512_mul_pd(a, b);
}
GY_INLINE vd w_fma(vd a, vd b, vd c) {
    return _mm512_fmadd_pd(a, b, c);
}
GY_INLINE vd w_low(vf a) { /* lanes 0..VLD-1 widened */
    return _mm512_cvtps_pd(v_low(a));
}
GY_INLINE vd w_widen(const float *p) { /* VLD floats */
    return _mm512_cvtps_pd(_mm256_loadu_ps(p));
}
GY_INLINE vd w_high(vf a) {
    return _mm512_cvtps_pd(v_high(a));
}
GY_INLINE __m256d w_half_add(vd a) {
    return _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd(a, 1));
}
GY_INLINE vf w_narrow(vd low, vd high) { /* rounded to float */
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1);
}
GY_INLINE void vi_store(void *p, vi a) {
    _mm512_storeu_si512(p, a);
}

#elif defined(GY_TIER_avx2)

typedef __m256 vf;
typedef __m256i vi;
typedef __m256d vd;
typedef __m256 vm; /* all bits of a lane set or clear */
enum { VL = 8, VLD = 4 };

static const int32_t v_tail_words[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
static const int64_t w_tail_words[8] = {-1, -1, -1, -1, 0, 0, 0, 0};

GY_INLINE __m256i v_tail(int64_t n) {
    return _mm256_loadu_si256((const __m256i *)(v_tail_words + 8 - n));
}
GY_INLINE __m256i w_tail(int64_t n) {
    return _mm256_loadu_si256((const __m256i *)(w_tail_words + 4 - n));
}
GY_INLINE vf v_set(float x) {
    return _mm256_set1_ps(x);
}
GY_INLINE vf v_zero(void) {
    return _mm256_setzero_ps();
}
GY_INLINE vf v_load(const float *p) {
    return _mm256_loadu_ps(p);
}
GY_INLINE void v_store(float *p, vf x) {
    _mm256_storeu_ps(p, x);
}
GY_INLINE void v_stream(float *p, vf x) {
    _mm256_stream_ps(p, x);
}
GY_INLINE vf v_loadn(const float *p, int64_t n) {
    return _mm256_maskload_ps(p, v_tail(n));
}
GY_INLINE void v_storen(float *p, vf x, int64_t n) {
    _mm256_maskstore_ps(p, v_tail(n), x);
}
GY_INLINE vf v_add(vf a, vf b) {
    return _mm256_add_ps(a, b);
}
GY_INLINE vf v_sub(vf a, vf b) {
    return _mm256_sub_ps(a, b);
}
GY_INLINE vf v_mul(vf a, vf b) {
    return _mm256_mul_ps(a, b);
}
GY_INLINE vf v_div(vf a, vf b) {
    return _mm256_div_ps(a, b);
}
GY_INLINE vf v_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
GY_INLINE vf v_fms(vf a, vf b, vf c) {
    return _mm256_fmsub_ps(a, b, c);
}
GY_INLINE vf v_fnma(vf a, vf b, vf c) {
    return _mm256_fnmadd_ps(a, b, c);
}
GY_INLINE vf v_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
GY_INLINE vf v_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}
GY_INLINE vf v_sqrt(vf a) {
    return _mm256_sqrt_ps(a);
}
GY_INLINE vf v_floor(vf a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
GY_INLINE vf v_round(vf a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
GY_INLINE vf v_and(vf a, vf b) {
    return _mm256_and_ps(a, b);
}
GY_INLINE vf v_or(vf a, vf b) {
    return _mm256_or_ps(a, b);
}
GY_INLINE vf v_xor(vf a, vf b) {
    return _mm256_xor_ps(a, b);
}
GY_INLINE vf v_andnot(vf a, vf b) {
    return _mm256_andnot_ps(a, b);
}
GY_INLINE vm v_lt(vf a, vf b) {
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
GY_INLINE vm v_le(vf a, vf b) {
    return _mm256_cmp_ps(a, b, _CMP_LE_OQ);
}
GY_INLINE vm v_eq(vf a, vf b) {
    return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}
GY_INLINE vm v_ne(vf a, vf b) {
    return _mm256_cmp_ps(a, b, _CMP_NEQ_UQ);
}
GY_INLINE vf v_sel(vm m, vf a, vf b) {
    return _mm256_blendv_ps(b, a, m);
}
GY_INLINE unsigned v_bitmask(vm m) {
    return (unsigned)_mm256_movemask_ps(m);
}
GY_INLINE vi v_bits(vf a) {
    return _mm256_castps_si256(a);
}
GY_INLINE vf v_float(vi a) {
    return _mm256_castsi256_ps(a);
}
GY_INLINE vi v_to_int(vf a) {
    return _mm256_cvtps_epi32(a);
}
GY_INLINE vf v_from_int(vi a) {
    return _mm256_cvtepi32_ps(a);
}
GY_INLINE vi vi_set(int32_t x) {
    return _mm256_set1_epi32(x);
}
GY_INLINE vi vi_load(const int32_t *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}
GY_INLINE vi vi_add(vi a, vi b) {
    return _mm256_add_epi32(a, b);
}
GY_INLINE vi vi_sub(vi a, vi b) {
    return _mm256_sub_epi32(a, b);
}
GY_INLINE vi vi_and(vi a, vi b) {
    return _mm256_and_si256(a, b);
}
GY_INLINE vi vi_or(vi a, vi b) {
    return _mm256_or_si256(a, b);
}
GY_INLINE vi vi_xor(vi a, vi b) {
    return _mm256_xor_si256(a, b);
}
#define vi_sll(a, n) _mm256_slli_epi32(a, n)
#define vi_sra(a, n) _mm256_srai_epi32(a, n)
#define vi_srl(a, n) _mm256_srli_epi32(a, n)
GY_INLINE vm vi_eq(vi a, vi b) {
    return _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b));
}
GY_INLINE __m128 v_low(vf a) {
    return _mm256_castps256_ps128(a);
}
GY_INLINE __m128 v_high(vf a) {
    return _mm256_extractf128_ps(a, 1);
}
GY_INLINE vi v_load_u16(const uint16_t *p) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)p));
}
GY_INLINE void v_store_u16(uint16_t *p, vi a) {
    __m256i low = _mm256_and_si256(a, _mm256_set1_epi32(0xffff));
    __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
    _mm_storeu_si128((__m128i *)p, _mm256_castsi256_si128(packed));
}
GY_INLINE vf v_load_f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
}
GY_INLINE void v_store_f16(uint16_t *p, vf a) {
    _mm_storeu_si128((__m128i *)p, _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
GY_INLINE vm v_load_mask(const uint8_t *p) {
    __m256i b = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));
    __m256i zero = _mm256_cmpeq_epi32(b, _mm256_setzero_si256());
    return _mm256_castsi256_ps(_mm256_xor_si256(zero, _mm256_set1_epi32(-1)));
}
GY_INLINE void v_store_mask(uint8_t *p, vm m) {
    __m256i w = _mm256_srli_epi32(_mm256_castps_si256(m), 31);
    __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(w), _mm256_extracti128_si256(w, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(h, h));
}

GY_INLINE vd w_set(double x) {
    return _mm256_set1_pd(x);
}
GY_INLINE vd w_zero(void) {
    return _mm256_setzero_pd();
}
GY_INLINE vd w_load(const double *p) {
    return _mm256_loadu_pd(p);
}
GY_INLINE void w_store(double *p, vd x) {
    _mm256_storeu_pd(p, x);
}
GY_INLINE vd w_loadn(const double *p, int64_t n) {
    return _mm256_maskload_pd(p, w_tail(n));
}
GY_INLINE void w_storen(double *p, vd x, int64_t n) {
    _mm256_maskstore_pd(p, w_tail(n), x);
}
GY_INLINE vd w_add(vd a, vd b) {
    return _mm256_add_pd(a, b);
}
GY_INLINE vd w_mul(vd a, vd b) {
    return _mm256_mul_pd(a, b);
}
GY_INLINE vd w_fma(vd a, vd b, vd c) {
    return _mm256_fmadd_pd(a, b, c);
}
GY_INLINE vd w_low(vf a) {
    return _mm256_cvtps_pd(v_low(a));
}
GY_INLINE vd w_widen(const float *p) {
    return _mm256_cvtps_pd(_mm_loadu_ps(p));
}
GY_INLINE vd w_high(vf a) {
    return _mm256_cvtps_pd(v_high(a));
}
GY_INLINE __m256d w_half_add(vd a) {
    return a;
}
GY_INLINE vf w_narrow(vd low, vd high) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1);
}
GY_INLINE void vi_store(void *p, vi a) {
    _mm256_storeu_si256(p, a);
}

#else
#error "vec.h needs a tier"
#endif

/* ---- on both tiers ---- */

GY_INLINE vf v_signbit(void) {
    return v_set(-0.0f);
}
GY_INLINE vf v_abs(vf a) {
    return v_andnot(v_signbit(), a);
}
GY_INLINE vf v_neg(vf a) {
    return v_xor(v_signbit(), a);
}
GY_INLINE vf v_copysign(vf magnitude, vf sign) { /* magnitude >= 0 */
    return v_or(magnitude, v_and(v_signbit(), sign));
}
/* 2^n for -126 <= n <= 127. */
GY_INLINE vf v_pow2(vi n) {
    return v_float(vi_sll(vi_add(n, vi_set(127)), 23));
}

GY_INLINE float v4_sum(__m128 x) {
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
GY_INLINE float v4_max(__m128 x) {
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}
#if defined(GY_TIER_avx2)
GY_INLINE __m256 v_half_add(vf a) { /* eight partial sums */
    return a;
}
GY_INLINE float v_sum(vf a) {
    return v4_sum(_mm_add_ps(v_low(a), v_high(a)));
}
GY_INLINE float v_hmax(vf a) {
    return v4_max(_mm_max_ps(v_low(a), v_high(a)));
}
#else
GY_INLINE __m256 v_half_add(vf a) {
    return _mm256_add_ps(v_low(a), v_high(a));
}
GY_INLINE float v_sum(vf a) {
    __m256 h = v_half_add(a);
    return v4_sum(_mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1)));
}
GY_INLINE float v_hmax(vf a) {
    __m256 h = _mm256_max_ps(v_low(a), v_high(a));
    return v4_max(_mm_max_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1)));
}
#endif
GY_INLINE double w_sum(vd a) {
    __m256d h = w_half_add(a);
    __m128d q = _mm_add_pd(_mm256_castpd256_pd128(h), _mm256_extractf128_pd(h, 1));
    return _mm_cvtsd_f64(_mm_add_sd(q, _mm_unpackhi_pd(q, q)));
}

/* r[i] lane j <-> r[j] lane i: pairs, quads, then 128-bit blocks change places. */
#if defined(GY_TIER_avx2)
GY_INLINE void v_transpose(vf r[8]) {
    vf t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int h = 0; h < 2; h++) {
            r[i + 2 * h] = _mm256_shuffle_ps(t[i + h], t[i + h + 2], 0x44);
            r[i + 2 * h + 1] = _mm256_shuffle_ps(t[i + h], t[i + h + 2], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
    for (int i = 0; i < 8; i++) r[i] = t[i];
}
#else
GY_INLINE void v_transpose(vf r[16]) {
    vf t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int h = 0; h < 2; h++) {
            r[i + 2 * h] = _mm512_shuffle_ps(t[i + h], t[i + h + 2], 0x44);
            r[i + 2 * h + 1] = _mm512_shuffle_ps(t[i + h], t[i + h + 2], 0xee);
        }
    for (int i = 0; i < 4; i++)
        for (int h = 0; h < 2; h++) { /* rows 8h+i and 8h+4+i: blocks 0, 2 and blocks 1, 3 */
            t[8 * h + i] = _mm512_shuffle_f32x4(r[8 * h + i], r[8 * h + 4 + i], 0x88);
            t[8 * h + 4 + i] = _mm512_shuffle_f32x4(r[8 * h + i], r[8 * h + 4 + i], 0xdd);
        }
    for (int i = 0; i < 8; i++) {
        r[i] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_f32x4(t[i], t[i + 8], 0xdd);
    }
}
#endif

/* The same for doubles: pairs, then 128-bit blocks. */
#if defined(GY_TIER_avx2)
GY_INLINE void w_transpose(vd r[4]) {
    vd t[4];
    for (int i = 0; i < 4; i += 2) {
        t[i] = _mm256_unpacklo_pd(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_pd(r[i], r[i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        r[i] = _mm256_permute2f128_pd(t[i], t[i + 2], 0x20);
        r[i + 2] = _mm256_permute2f128_pd(t[i], t[i + 2], 0x31);
    }
}
#else
GY_INLINE void w_transpose(vd r[8]) {
    vd t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm512_unpacklo_pd(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_pd(r[i], r[i + 1]);
    }
    for (int i = 0; i < 2; i++) {
        vd a = _mm512_shuffle_f64x2(t[i], t[i + 2], 0x44), b = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0x44);
        vd c = _mm512_shuffle_f64x2(t[i], t[i + 2], 0xee), d = _mm512_shuffle_f64x2(t[i + 4], t[i + 6], 0xee);
        r[i] = _mm512_shuffle_f64x2(a, b, 0x88);
        r[i + 2] = _mm512_shuffle_f64x2(a, b, 0xdd);
        r[i + 4] = _mm512_shuffle_f64x2(c, d, 0x88);
        r[i + 6] = _mm512_shuffle_f64x2(c, d, 0xdd);
    }
}
#endif

/* The bf16 encodings: to float by a shift, from float rounding to nearest even; a NaN stays one. */
GY_INLINE vf v_load_bf16(const uint16_t *p) {
    return v_float(vi_sll(v_load_u16(p), 16));
}
GY_INLINE vi v_to_bf16(vf a) {
    vi bits = v_bits(a), odd = vi_and(vi_srl(bits, 16), vi_set(1));
    vi rounded = vi_srl(vi_add(bits, vi_add(odd, vi_set(0x7fff))), 16);
    vi quiet = vi_or(vi_srl(bits, 16), vi_set(0x40));
    return v_bits(v_sel(v_ne(a, a), v_float(quiet), v_float(rounded)));
}
GY_INLINE vf v_through_bf16(vf a) { /* the float that is left */
    return v_float(vi_sll(v_to_bf16(a), 16));
}

#endif
