/* Few rows times weights that were rounded to bf16 and laid out [N, K] once: what a language model does for each token.
 *
 * Every line of weights is read once, in order, as one stream; its elements become f32 by a shift and meet all rows of
 * x (rounded to bf16 once, kept as f32) in registers: two sums a row, so that an addition's latency is hidden. A tile
 * is a run of lines of about 64 KiB, and ends with the products' usual epilogue.
 *
 * Bytes: 2 a weight, half of f32; FLOPs: 2 a weight and row. Bound by memory. */
#include "gemm.h"
#include "rows.h"

enum { TILE = 32768 /* weights */, ROWS = 4, SUMS = 2 };

typedef struct {
    gy_gemm_f32 g;  /* for the epilogue */
    const float *x; /* [m, k], rounded */
    const uint16_t *w;
    int64_t lines; /* a tile */
} job;

static int64_t row_stride(int64_t k) {
    return (k + VL - 1) / VL * VL;
}

size_t GY_ISAFN(x86_packed_linear_scratch)(const gy_kargs *k, int threads) {
    (void)threads;
    return (size_t)(k->in[0].shape.dim[0] * row_stride(k->in[0].shape.dim[1])) * sizeof(float);
}

GY_INLINE void line(const int m, const job *j, const uint16_t *w, float *c) {
    int64_t k = j->g.k, p = 0, step = row_stride(k);
    vf acc[ROWS][SUMS];
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
    for (int i = 0; i < m; i++) c[i * j->g.ldc] = v_sum(v_add(acc[i][0], acc[i][1]));
}

static void tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->g.n, j->lines, t, &lo, &hi);
    for (int64_t row = 0; row < j->g.m; row += ROWS) {
        job part = *j;
        part.x += row * row_stride(j->g.k);
        int64_t m = j->g.m - row < ROWS ? j->g.m - row : ROWS;
        for (int64_t n = lo; n < hi; n++) {
            const uint16_t *w = j->w + n * j->g.k;
            float *c = j->g.c + row * j->g.ldc + n;
            switch (m) {
            case 1: line(1, &part, w, c); break;
            case 2: line(2, &part, w, c); break;
            case 3: line(3, &part, w, c); break;
            default: line(4, &part, w, c); break;
            }
        }
    }
    GY_ISAFN(gy_gemm_finish_f32)(&j->g, 0, j->g.m, lo, hi);
}

void GY_ISAFN(x86_packed_linear)(const gy_kargs *k) {
    const gy_matmul_attr *at = k->attr;
    const gy_view *bias = k->n_in > 2 && k->in[2].data ? &k->in[2] : NULL;
    const gy_view *residual = k->n_in > 3 && k->in[3].data ? &k->in[3] : NULL;
    int64_t m = k->in[0].shape.dim[0], depth = k->in[0].shape.dim[1], n = k->in[1].shape.dim[0];
    job j = {.g = {.m = m,
                   .n = n,
                   .k = depth,
                   .c = k->out[0].data,
                   .ldc = n,
                   .alpha = at->alpha == 0 ? 1 : (float)at->alpha,
                   .act = at->act},
             .x = k->scratch,
             .w = k->in[1].data,
             .lines = depth > 0 && TILE / depth > 1 ? TILE / depth : 1};
    if (m == 0 || n == 0) return;
    if (bias) {
        j.g.bias = bias->data;
        j.g.bias_step = 1;
    }
    if (residual) {
        j.g.residual = residual->data;
        j.g.residual_row = n;
        j.g.residual_col = 1;
    }
    int64_t step = row_stride(depth);
    float *x = k->scratch;
    for (int64_t i = 0; i < m; i++)
        for (int64_t p = 0; p < step; p++)
            x[i * step + p] =
                p < depth ? gy_bf16_to_f32(gy_f32_to_bf16(((const float *)k->in[0].data)[i * depth + p])) : 0;
    gy_par(k->pool, gy_tiles(n, j.lines), tile, &j);
}
