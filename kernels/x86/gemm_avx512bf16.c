/* The matrix product driver (gemm.c) for factors in bf16, on AVX512-BF16: register kernels and packers.
 *
 * vdpbf16ps multiplies pairs: c += a0 b0 + a1 b1 in each 32-bit lane, in f32. So an element of a panel is a pair of
 * depths, and depth counts pairs; an odd last depth is paired with zero. The register tile, 14 rows by two vectors, and
 * the blocks are those of f32: KC pairs of a panel of A (28 KiB) and of B (64 KiB). The instruction takes denormals for
 * zeros. FLOPs 4 m n k with k in pairs; the peak is twice that of f32.
 *
 * Measured on Zen 4, one thread (`gyrus bench matmul --match bf16`), of 236 GFLOP/s: 512^3, 1024^3, 2048^3 .93; 788 x
 * 3072 x 768 with B transposed .91. */
#include "gemm.h"

#define GY_TYPED_FILE "gemm.c"
#define T             float
#define P             uint32_t
#define TNAME         bf16
#define T_IS_F32
#define V     vf
#define LANES VL
#define OP(f) v_##f
#include "types.h"

/* ---- register kernels ---- */

enum { AHEAD = 16, FAR = 64 }; /* pairs fetched early, as in gemm_ukr.c */

/* One pair of depths. */
GY_INLINE void ukr_step(const int mr, const int nv, const uint32_t *a, const uint32_t *b, int64_t ldb,
                        vf acc[GY_MR][2]) {
    vi b0 = _mm512_loadu_si512(b), b1 = nv > 1 ? _mm512_loadu_si512(b + VL) : b0;
    __builtin_prefetch(b + (mr > 4 ? AHEAD : FAR) * ldb);
    if (nv > 1) __builtin_prefetch(b + (mr > 4 ? AHEAD : FAR) * ldb + VL);
    __builtin_prefetch(a + AHEAD * mr);
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) {
        __m512bh ai = (__m512bh)vi_set((int32_t)a[i]);
        acc[i][0] = _mm512_dpbf16_ps(acc[i][0], ai, (__m512bh)b0);
        if (nv > 1) acc[i][1] = _mm512_dpbf16_ps(acc[i][1], ai, (__m512bh)b1);
    }
}

GY_INLINE void ukr(const int mr, const int nv, int64_t pairs, const uint32_t *a, const uint32_t *b, int64_t ldb,
                   float *c, int64_t ldc, int64_t n, bool first, const gy_fetch *fetch) {
    vf acc[GY_MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = v_zero();
    int64_t p = 0;
    for (; p < pairs && p < mr; p++, a += mr, b += ldb) { /* what is fetched early, as in gemm_ukr.c */
        __builtin_prefetch(c + p * ldc, 1);
        __builtin_prefetch(c + p * ldc + nv * VL - 1, 1);
        ukr_step(mr, nv, a, b, ldb, acc);
    }
    for (; fetch->count; fetch++) {
        const char *at = fetch->at;
        int64_t end = pairs - p < fetch->count ? pairs : p + fetch->count;
        for (; p < end; p++, at += fetch->step, a += mr, b += ldb) {
            __builtin_prefetch(at, 0, 2);
            __builtin_prefetch(at + fetch->last, 0, 2);
            ukr_step(mr, nv, a, b, ldb, acc);
        }
    }
    for (; p < pairs; p++, a += mr, b += ldb) ukr_step(mr, nv, a, b, ldb, acc);
    int64_t tail = n - (nv - 1) * VL;
    if (tail == VL && first) {
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++, c += ldc)
            for (int v = 0; v < nv; v++) v_store(c + v * VL, acc[i][v]);
    } else if (tail == VL) {
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++, c += ldc)
            for (int v = 0; v < nv; v++) v_store(c + v * VL, v_add(v_load(c + v * VL), acc[i][v]));
    } else {
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++, c += ldc) {
            float *q = c + (nv - 1) * VL;
            if (nv > 1) v_store(c, first ? acc[i][0] : v_add(v_load(c), acc[i][0]));
            v_storen(q, first ? acc[i][nv - 1] : v_add(v_loadn(q, tail), acc[i][nv - 1]), tail);
        }
    }
}
/* At most half a vector of columns. */
GY_INLINE void ukr_half(const int mr, int64_t pairs, const uint32_t *a, const uint32_t *b, int64_t ldb, float *c,
                        int64_t ldc, int64_t n, bool first, const gy_fetch *fetch) {
    (void)fetch;
    __m256 acc[GY_MR];
    __mmask8 live = (__mmask8)v_tail(n);
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i] = _mm256_setzero_ps();
    for (int64_t p = 0; p < pairs; p++, a += mr, b += ldb) {
        __m256bh x = (__m256bh)_mm256_loadu_si256((const __m256i *)(const void *)b);
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) acc[i] = _mm256_dpbf16_ps(acc[i], (__m256bh)_mm256_set1_epi32((int32_t)a[i]), x);
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++, c += ldc)
        _mm256_mask_storeu_ps(c, live, first ? acc[i] : _mm256_add_ps(_mm256_maskz_loadu_ps(live, c), acc[i]));
}

typedef void (*gy_ukr_bf16)(int64_t pairs, const uint32_t *a, const uint32_t *b, int64_t ldb, float *c, int64_t ldc,
                            int64_t n, bool first, const gy_fetch *fetch);
#define ARGS                                                                                                           \
    int64_t pairs, const uint32_t *a, const uint32_t *b, int64_t ldb, float *c, int64_t ldc, int64_t n, bool first,    \
        const gy_fetch *fetch
#define UKRS(mr)                                                                                                       \
    static void ukr_##mr##x1(ARGS) {                                                                                   \
        ukr(mr, 1, pairs, a, b, ldb, c, ldc, n, first, fetch);                                                         \
    }                                                                                                                  \
    static void ukr_##mr##x2(ARGS) {                                                                                   \
        ukr(mr, 2, pairs, a, b, ldb, c, ldc, n, first, fetch);                                                         \
    }                                                                                                                  \
    static void ukr_##mr##xhalf(ARGS) {                                                                                \
        ukr_half(mr, pairs, a, b, ldb, c, ldc, n, first, fetch);                                                       \
    }
UKRS(1)
UKRS(2)
UKRS(3)
UKRS(4)
UKRS(5)
UKRS(6)
UKRS(7)
UKRS(8)
UKRS(9)
UKRS(10)
UKRS(11)
UKRS(12)
UKRS(13)
UKRS(14)
#define ROW(mr)                                                                                                        \
    { ukr_##mr##x1, ukr_##mr##x2, ukr_##mr##xhalf }
static const gy_ukr_bf16 NAME(gy_ukr_table)[GY_MR][3] = {
    ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14),
};

/* ---- packing ---- */

enum { FETCH = 128 }; /* elements of a line that are fetched early */

GY_INLINE vi pair_up(vf even, vf odd) { /* rounded: even depths below, odd ones above */
    vi lo = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(even));
    vi hi = _mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh(odd));
    return vi_or(lo, vi_sll(hi, 16));
}
GY_INLINE void store_lines(uint32_t *dst, vi x, int64_t lines) {
    _mm512_mask_storeu_epi32(dst, lines >= VL ? 0xffff : v_tail(lines), x);
}
static uint32_t rounded_pair(const float *p, int64_t stride, bool both) {
    return (uint32_t)gy_f32_to_bf16(p[0]) | (both ? (uint32_t)gy_f32_to_bf16(p[stride]) << 16 : 0);
}

void gy_pack_pairs_f32_avx512bf16(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t pairs, int64_t width,
                                  uint32_t *dst) {
    const gy_pairs *s = source;
    const float *src = (const float *)s->data + r0 * s->line + 2 * p0 * s->depth;
    int64_t whole = s->depths - 2 * p0 >= 2 * pairs ? pairs : pairs - 1, p = 0; /* pairs with both depths */
    if (s->line == 1)
        for (; p < whole; p++)
            for (int64_t r = 0; r < width; r += VL) {
                const float *x = src + 2 * p * s->depth + r;
                int64_t live = n - r < 0 ? 0 : n - r;
                vf even = live >= VL ? v_load(x) : v_loadn(x, live);
                vf odd = live >= VL ? v_load(x + s->depth) : v_loadn(x + s->depth, live);
                store_lines(dst + p * width + r, pair_up(even, odd), width - r);
            }
    else if (s->depth == 1)
        for (; p + VL <= whole; p += VL) /* 16 pairs of 16 lines change places */
            for (int64_t r = 0; r < width; r += VL) {
                vf b[VL];
                for (int i = 0; i < VL; i++) {
                    const float *x = src + (r + i) * s->line + 2 * p;
                    b[i] = r + i < n ? v_float((vi)_mm512_cvtne2ps_pbh(v_load(x + VL), v_load(x))) : v_zero();
                    __builtin_prefetch(x + FETCH, 0, 2);
                    __builtin_prefetch(x + FETCH + VL, 0, 2);
                }
                v_transpose(b);
                for (int i = 0; i < VL; i++) store_lines(dst + (p + i) * width + r, v_bits(b[i]), width - r);
            }
    for (; p < pairs; p++)
        for (int64_t r = 0; r < width; r++)
            dst[p * width + r] = r < n ? rounded_pair(src + r * s->line + 2 * p * s->depth, s->depth, p < whole) : 0;
}

void gy_pack_pairs_bf16_avx512bf16(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t pairs, int64_t width,
                                   uint32_t *dst) {
    const gy_pairs *s = source;
    const uint16_t *src = (const uint16_t *)s->data + r0 * s->line + 2 * p0 * s->depth;
    int64_t whole = s->depths - 2 * p0 >= 2 * pairs ? pairs : pairs - 1, p = 0;
    if (s->line == 1)
        for (; p < whole; p++)
            for (int64_t r = 0; r < width; r += VL) {
                const uint16_t *x = src + 2 * p * s->depth + r;
                __mmask16 live = n - r >= VL ? 0xffff : v_tail(n - r < 0 ? 0 : n - r);
                vi even = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(live, x));
                vi odd = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(live, x + s->depth));
                store_lines(dst + p * width + r, vi_or(even, vi_sll(odd, 16)), width - r);
            }
    else if (s->depth == 1)
        for (; p + VL <= whole; p += VL)
            for (int64_t r = 0; r < width; r += VL) {
                vf b[VL];
                for (int i = 0; i < VL; i++) {
                    const uint16_t *x = src + (r + i) * s->line + 2 * p;
                    b[i] = r + i < n ? v_float(_mm512_loadu_si512(x)) : v_zero();
                    __builtin_prefetch(x + FETCH, 0, 2);
                }
                v_transpose(b);
                for (int i = 0; i < VL; i++) store_lines(dst + (p + i) * width + r, v_bits(b[i]), width - r);
            }
    for (; p < pairs; p++)
        for (int64_t r = 0; r < width; r++) {
            const uint16_t *x = src + r * s->line + 2 * p * s->depth;
            dst[p * width + r] = r < n ? (uint32_t)x[0] | (p < whole ? (uint32_t)x[s->depth] << 16 : 0) : 0;
        }
}

#include "gemm.c"
