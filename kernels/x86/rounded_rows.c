/* At most GY_ROUNDED_ROWS rows of A times B, with factors rounded to bf16: what a language model does for each token,
 * where there are no instructions for bf16.
 *
 * Columns of B stand as lines [N, K] of bf16, packed once (gy_prepack) or tile by tile. Every line is read once, in
 * order, as one stream; its elements become f32 by a shift and meet all rows of A (rounded to bf16, kept as f32) in
 * registers: two sums a row, so that an addition's latency is hidden. A tile is a run of lines of about 64 KiB, and
 * ends with the products' usual epilogue.
 *
 * Bytes: 2 an element of B if packed, half of f32; FLOPs: 2 an element and row. Bound by memory.
 *
 * Measured on Zen 4, one thread (`GYRUS_ISA=avx512 gyrus bench matmul --dtype bf16 --match "packed_nt 1 x 2048"`): 56
 * GB/s of the 83 that the third level gives. */
#include "gemm.h"

enum { TILE = 32768 /* elements of B */, SUMS = 2 };

typedef struct {
    const gy_gemm_f32 *g;
    const float *x;    /* [m, row_stride(k)]: A, rounded */
    const uint16_t *w; /* [n, k]: B, rounded; NULL: not packed */
    uint16_t *room;    /* w NULL: a tile's lines for each worker */
    int64_t lines;     /* a tile */
} job;

static int64_t row_stride(int64_t k) {
    return (k + VL - 1) / VL * VL;
}
static int64_t lines_of(int64_t n, int64_t k) {
    int64_t lines = k > 0 && TILE / k > 1 ? TILE / k : 1;
    return lines < n ? lines : n;
}
static int64_t room_of(int64_t n, int64_t k) { /* elements, whole cache lines */
    return (lines_of(n, k) * k + 31) / 32 * 32;
}

size_t GY_ISAFN(gy_rounded_rows_scratch)(int64_t m, int64_t n, int64_t k, bool packed, int threads) {
    size_t room = packed ? 0 : (size_t)room_of(n, k) * sizeof(uint16_t) * (size_t)threads;
    return (size_t)(m * row_stride(k)) * sizeof(float) + room;
}

/* Columns lo .. hi-1 of B to w [hi - lo, k]. Plain B in squares, so that both sides use whole cache lines. */
static void round_lines(const gy_strided *b, int64_t lo, int64_t hi, int64_t k, uint16_t *w) {
    enum { SIDE = 32 };
    const float *x = b->data;
    if (b->depth == 1) {
        for (int64_t i = lo; i < hi; i++, w += k) {
            int64_t p = 0;
            for (; p + VL <= k; p += VL) v_store_u16(w + p, v_to_bf16(v_load(x + i * b->line + p)));
            for (; p < k; p++) w[p] = gy_f32_to_bf16(x[i * b->line + p]);
        }
        return;
    }
    for (int64_t i0 = lo; i0 < hi; i0 += SIDE)
        for (int64_t p0 = 0; p0 < k; p0 += SIDE)
            for (int64_t i = i0; i < hi && i < i0 + SIDE; i++)
                for (int64_t p = p0; p < k && p < p0 + SIDE; p++)
                    w[(i - lo) * k + p] = gy_f32_to_bf16(x[i * b->line + p * b->depth]);
}

GY_INLINE void line(const int m, const job *j, const uint16_t *w, float *c) {
    int64_t k = j->g->k, p = 0, step = row_stride(k);
    vf acc[GY_ROUNDED_ROWS][SUMS];
    for (int i = 0; i < m; i++)
        for (int s = 0; s < SUMS; s++) acc[i][s] = v_zero();
    for (; p + SUMS * VL <= k; p += SUMS * VL)
        for (int s = 0; s < SUMS; s++) {
            vf b = v_load_bf16(w + p + s * VL);
            for (int i = 0; i < m; i++) acc[i][s] = v_fma(b, v_load(j->x + i * step + p + s * VL), acc[i][s]);
        }
    for (; p < k; p += VL) {
        uint16_t rest[VL] = {0};
        for (int64_t e = 0; e < VL && p + e < k; e++) rest[e] = w[p + e];
        vf b = v_load_bf16(rest);
        for (int i = 0; i < m; i++) acc[i][0] = v_fma(b, v_load(j->x + i * step + p), acc[i][0]);
    }
    for (int i = 0; i < m; i++) c[i * j->g->ldc] = v_sum(v_add(acc[i][0], acc[i][1]));
}

static void tile(void *arg, int64_t t, int worker) {
    const job *j = arg;
    int64_t lo, hi, k = j->g->k;
    gy_tile_range(j->g->n, j->lines, t, &lo, &hi);
    const uint16_t *w = j->w ? j->w + lo * k : NULL;
    if (!w) {
        uint16_t *own = j->room + worker * room_of(j->g->n, k);
        round_lines(j->g->b, lo, hi, k, own);
        w = own;
    }
    for (int64_t n = lo; n < hi; n++, w += k) {
        float *c = j->g->c + n;
        switch (j->g->m) {
        case 1: line(1, j, w, c); break;
        case 2: line(2, j, w, c); break;
        case 3: line(3, j, w, c); break;
        default: line(4, j, w, c); break;
        }
    }
    GY_ISAFN(gy_gemm_finish_f32)(j->g, 0, j->g->m, lo, hi);
}

void GY_ISAFN(gy_rounded_rows)(const gy_gemm_f32 *g, const uint16_t *packed, void *scratch, gy_pool *pool) {
    const gy_strided *a = g->a;
    int64_t step = row_stride(g->k);
    float *x = scratch;
    if (g->m == 0 || g->n == 0) return;
    for (int64_t i = 0; i < g->m; i++)
        for (int64_t p = 0; p < step; p++)
            x[i * step + p] =
                p < g->k ? gy_bf16_to_f32(gy_f32_to_bf16(((const float *)a->data)[i * a->line + p * a->depth])) : 0;
    job j = {g, x, packed, (uint16_t *)(void *)(x + g->m * step), lines_of(g->n, g->k)};
    gy_par(pool, gy_tiles(g->n, j.lines), tile, &j);
}

size_t GY_ISAFN(gy_rounded_rows_packed)(int64_t n, int64_t k) {
    return (size_t)(n * k) * sizeof(uint16_t);
}

typedef struct {
    const gy_gemm_f32 *g;
    uint16_t *dst;
} packing;

static void pack_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const packing *q = arg;
    int64_t lo, hi;
    gy_tile_range(q->g->n, lines_of(q->g->n, q->g->k), t, &lo, &hi);
    round_lines(q->g->b, lo, hi, q->g->k, q->dst + lo * q->g->k);
}

void GY_ISAFN(gy_rounded_rows_prepack)(const gy_gemm_f32 *g, uint16_t *dst, gy_pool *pool) {
    packing q = {g, dst};
    gy_par(pool, gy_tiles(g->n, lines_of(g->n, g->k)), pack_tile, &q);
}
