/* attention_tile_avx512bf16.h: packing and register tiles of attention by vdpbf16ps, whose elements are pairs along the
 * summed axis (gemm_avx512bf16.c). */
#ifndef GY_X86_ATTENTION_TILE_AVX512BF16_H
#define GY_X86_ATTENTION_TILE_AVX512BF16_H

#include "attention.h"

static inline int64_t pairs(int64_t depths) {
    return (depths + 1) / 2;
}

/* dst[p * width + r]: pair p of line r of n, zeros for n <= r < width and behind an odd d. Lines are `stride` floats
 * apart and d long; width <= Q. */
static inline void pack_lines(const float *src, int64_t stride, int64_t n, int64_t d, int64_t width, uint32_t *dst) {
    for (int64_t r = 0; r < width; r += VL)
        for (int64_t c = 0; c < d; c += 2 * VL) {
            vf b[VL];
            int64_t low = least(d - c, VL), high = least(d - c - low, VL), count = least(pairs(d - c), VL);
            for (int64_t i = 0; i < VL; i++) { /* behind the last line: it again, and zeros when it is stored */
                const float *x = src + least(r + i, n - 1) * stride + c;
                __builtin_prefetch(x + Q * stride); /* short lines far apart: none is fetched unasked */
                __builtin_prefetch(x + Q * stride + VL);
                b[i] = v_float((vi)_mm512_cvtne2ps_pbh(v_loadn(x + VL, high), v_loadn(x, low)));
            }
            v_transpose(b);
            vm there = v_tail(n < r ? 0 : least(n - r, VL)), live = v_tail(least(width - r, VL));
            for (int64_t p = 0; p < count; p++)
                _mm512_mask_storeu_epi32(dst + (c / 2 + p) * width + r, live,
                                         _mm512_maskz_mov_epi32(there, v_bits(b[p])));
        }
}
/* The same of a matrix whose lines are adjacent and whose depths are `stride` floats apart. */
static inline void pack_across(const float *src, int64_t stride, int64_t n, int64_t d, int64_t width, uint32_t *dst) {
    gy_pairs m = {src, 1, stride, d};
    gy_pack_pairs_f32_avx512bf16(&m, 0, n, 0, pairs(d), width, dst);
}

/* Panels of at most GY_MR lines, as panel_end cuts them. */
static inline void pair_line_panels(const float *src, int64_t stride, int64_t lines, int64_t d, uint32_t *dst) {
    for (int64_t panel = 0, r = 0, end; r < lines; panel++, r = end) {
        end = panel_end(lines, panel);
        pack_lines(src + r * stride, stride, end - r, d, end - r, dst + r * pairs(d));
    }
}
static inline void pair_across_panels(const float *src, int64_t stride, int64_t lines, int64_t d, uint32_t *dst) {
    for (int64_t panel = 0, r = 0, end; r < lines; panel++, r = end) {
        end = panel_end(lines, panel);
        pack_across(src + r, stride, end - r, d, end - r, dst + r * pairs(d));
    }
}

/* c [mr x nv vectors] = or += a b: pair p of line i of a is at a[i * line + p * step], row p of b at b + p * ldb. */
GY_INLINE void pair_tile(const int mr, const int nv, const bool first, int64_t depth, const uint32_t *a, int64_t line,
                         int64_t step, const uint32_t *b, int64_t ldb, float *c, int64_t ldc) {
    vf acc[GY_MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = v_zero();
    for (int64_t p = 0; p < depth; p++, a += step, b += ldb) {
        __m512bh b0 = (__m512bh)_mm512_loadu_si512(b), b1 = nv > 1 ? (__m512bh)_mm512_loadu_si512(b + VL) : b0;
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            __m512bh ai = (__m512bh)vi_set((int32_t)a[i * line]);
            acc[i][0] = _mm512_dpbf16_ps(acc[i][0], ai, b0);
            if (nv > 1) acc[i][1] = _mm512_dpbf16_ps(acc[i][1], ai, b1);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++, c += ldc)
        for (int v = 0; v < nv; v++) v_store(c + v * VL, first ? acc[i][v] : v_add(v_load(c + v * VL), acc[i][v]));
}
/* The same of at most half a vector of columns, which is written whole. */
GY_INLINE void half_tile(const int mr, int64_t depth, const uint32_t *a, int64_t line, const uint32_t *b, int64_t ldb,
                         float *c, int64_t ldc) {
    __m256 acc[GY_MR];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i] = _mm256_setzero_ps();
    for (int64_t p = 0; p < depth; p++, a++, b += ldb) {
        __m256bh x = (__m256bh)_mm256_loadu_si256((const __m256i *)(const void *)b);
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++)
            acc[i] = _mm256_dpbf16_ps(acc[i], (__m256bh)_mm256_set1_epi32((int32_t)a[i * line]), x);
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++, c += ldc) _mm256_storeu_ps(c, _mm256_add_ps(_mm256_loadu_ps(c), acc[i]));
}
typedef void (*pair_tile_fn)(int64_t depth, const uint32_t *a, const uint32_t *b, int64_t ldb, float *c, int64_t ldc);
#define PAIR_ARGS int64_t depth, const uint32_t *a, const uint32_t *b, int64_t ldb, float *c, int64_t ldc
/* set, add: a is a panel, mr lines wide. rows: a has its lines Q / 2 pairs apart, as they lie; adds. */
#define PAIR_TILE(mr, nv)                                                                                              \
    static void set_##mr##x##nv(PAIR_ARGS) {                                                                           \
        pair_tile(mr, nv, true, depth, a, 1, mr, b, ldb, c, ldc);                                                      \
    }                                                                                                                  \
    static void add_##mr##x##nv(PAIR_ARGS) {                                                                           \
        pair_tile(mr, nv, false, depth, a, 1, mr, b, ldb, c, ldc);                                                     \
    }                                                                                                                  \
    static void rows_##mr##x##nv(PAIR_ARGS) {                                                                          \
        pair_tile(mr, nv, false, depth, a, Q / 2, 1, b, ldb, c, ldc);                                                  \
    }
#define PAIR_TILES(mr)                                                                                                 \
    PAIR_TILE(mr, 1)                                                                                                   \
    PAIR_TILE(mr, 2)                                                                                                   \
    static void rows_##mr##xhalf(PAIR_ARGS) {                                                                          \
        half_tile(mr, depth, a, Q / 2, b, ldb, c, ldc);                                                                \
    }
PAIR_TILES(1)
PAIR_TILES(2)
PAIR_TILES(3)
PAIR_TILES(4)
PAIR_TILES(5)
PAIR_TILES(6)
PAIR_TILES(7)
PAIR_TILES(8)
PAIR_TILES(9)
PAIR_TILES(10)
PAIR_TILES(11)
PAIR_TILES(12)
PAIR_TILES(13)
PAIR_TILES(14)
typedef enum { SET, ADD, ROWS } pair_kind;
#define PAIR_ROW(mr)                                                                                                   \
    {                                                                                                                  \
        {set_##mr##x1, set_##mr##x2, set_##mr##x1}, {add_##mr##x1, add_##mr##x2, add_##mr##x1},                        \
            {rows_##mr##x1, rows_##mr##x2, rows_##mr##xhalf},                                                          \
    }
static const pair_tile_fn pair_tiles[GY_MR][3][3] = {
    PAIR_ROW(1), PAIR_ROW(2), PAIR_ROW(3),  PAIR_ROW(4),  PAIR_ROW(5),  PAIR_ROW(6),  PAIR_ROW(7),
    PAIR_ROW(8), PAIR_ROW(9), PAIR_ROW(10), PAIR_ROW(11), PAIR_ROW(12), PAIR_ROW(13), PAIR_ROW(14),
};

/* c [lines x columns] = or += panels a of `packed` pairs a line, times rows of b; the first `need` lines and `deep`
 * pairs enter (c is written to the end of a panel). Of b and c whole vectors are read and written, where `rows` ends
 * with at most half a vector of columns half of one. */
static inline void panel_product(pair_kind kind, const uint32_t *a, int64_t lines, int64_t packed, int64_t need,
                                 int64_t deep, const uint32_t *b, int64_t ldb, float *c, int64_t ldc, int64_t columns) {
    for (int64_t panel = 0, r = 0, end; r < need; panel++, r = end) {
        end = panel_end(lines, panel);
        for (int64_t j = 0, w; j < columns; j += w) {
            int64_t rest = columns - j;
            w = rest > VL + VL / 2 ? Q : VL;
            int vectors = w == Q ? 1 : rest > VL / 2 ? 0 : 2; /* two, one, half a vector */
            pair_tiles[end - r - 1][kind][vectors](deep, a + r * packed, b + j, ldb, c + r * ldc + j, ldc);
        }
    }
}

/* 2^x in f32, 0 where `live` is not set: 2^(x - floor x) by a polynomial of degree 5 (off by 8e-8 of its value). */
GY_INLINE vf exp2_where(vm live, vf x) {
    vf f = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC); /* 0 of an infinity */
    vf y = v_fma(v_set(1.86713005e-3f), f, v_set(9.01703071e-3f));
    y = v_fma(y, f, v_set(5.57999127e-2f));
    y = v_fma(y, f, v_set(2.40164444e-1f));
    y = v_fma(y, f, v_set(6.93151295e-1f));
    return _mm512_maskz_scalef_ps(live, v_fma(y, f, v_set(1)), x);
}
GY_INLINE vf exp2_of(vf x) {
    return exp2_where(0xffff, x);
}
/* Lane i: the pair (first[i], second[i]), rounded. */
GY_INLINE void store_pairs(uint32_t *to, vf first, vf second) {
    const __m512i order = _mm512_set_epi32(0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009,
                                           0x180008, 0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002,
                                           0x110001, 0x100000) /* words 0, 16, 1, 17, ... */;
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(second, first)));
}

/* What multiplies scores before the power of two: scale / ln 2, unless they were scaled already. */
static inline bool scaled_early(const attention_job *w) {
    return w->bias || w->attr->scale < 0;
}
static inline float exponent_factor(const attention_job *w) {
    return (scaled_early(w) ? 1 : (float)w->attr->scale) * 1.44269504f;
}

/* As scores in attention.h, of rounded factors; `scale` is left out unless scaled_early. */
static inline int64_t rounded_scores(const attention_job *w, int64_t b, int64_t h, int64_t i0, int64_t nq, int64_t j0,
                                     int64_t nk, const uint32_t *keys, const uint32_t *queries, float *s,
                                     float *extra) {
    uint8_t bytes[KEYS * Q];
    const uint8_t *allow;
    int64_t n = in_sight(w, b, h, i0, nq, j0, nk, bytes, &allow), deep = pairs(w->d);
    float scale = (float)w->attr->scale;
    if (!n) return 0;
    panel_product(SET, keys, nk, deep, n, deep, queries, Q, s, Q, width(nq));
    if (w->bias)
        add_bias(w, b, h, i0, nq, j0, n, scale, s, extra);
    else if (scaled_early(w))
        for (int64_t e = 0; e < n * Q; e += VL) v_store(s + e, v_mul(v_set(scale), v_load(s + e)));
    forbid(w, i0, nq, j0, n, allow, s);
    return n;
}

#endif
