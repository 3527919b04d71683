/* C = alpha op(A) op(B) + beta C, packed and register-blocked.
 *
 * C is cut into 64 x 64 tiles, one thread a tile. For each slice of 128 of the inner dimension a tile packs its part
 * of A into strips of 4 rows and its part of B into strips of 4 columns (64 KiB each, on the stack: this cannot
 * fail), then a 4 x 4 micro-kernel runs over them with 16 sums in registers. The order of the sums depends on k
 * alone. Two-element vectors are what every 64-bit machine has. */
#include "inner.h"

enum { TILE = 64, SLICE = 128, REG = 4 };

typedef double v2 __attribute__((vector_size(16)));

struct gemm {
    bool ta, tb, lower;
    int64_t m, n, k;
    double alpha, beta;
    const double *a, *b;
    double *c;
    int64_t lda, ldb, ldc, tiles_n;
};

/* dst: strips of REG along the first index of x [n, k]; element (i, p) of x is src[i * si + p * sp]. Padding with
 * zeros lets the micro-kernel ignore edges. */
static void pack(double *dst, const double *src, int64_t si, int64_t sp, int64_t n, int64_t k) {
    for (int64_t i0 = 0; i0 < n; i0 += REG) {
        int64_t rows = n - i0 < REG ? n - i0 : REG;
        const double *s = src + i0 * si;
        if (rows == REG && si == 1) {
            for (int64_t p = 0; p < k; p++) memcpy(dst + p * REG, s + p * sp, REG * sizeof *dst);
        } else if (rows == REG) {
            for (int64_t p = 0; p < k; p++)
                for (int64_t i = 0; i < REG; i++) dst[p * REG + i] = s[i * si + p * sp];
        } else {
            for (int64_t p = 0; p < k; p++)
                for (int64_t i = 0; i < REG; i++) dst[p * REG + i] = i < rows ? s[i * si + p * sp] : 0;
        }
        dst += k * REG;
    }
}

static void micro(int64_t k, const double *restrict a, const double *restrict b, double *restrict out) {
    v2 c[REG][2];
    memset(c, 0, sizeof c);
    v2 c00 = c[0][0], c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
    for (int64_t p = 0; p < k; p++) {
        v2 b0, b1;
        memcpy(&b0, b + p * REG, sizeof b0);
        memcpy(&b1, b + p * REG + 2, sizeof b1);
        const double *x = a + p * REG;
        v2 x0 = {x[0], x[0]}, x1 = {x[1], x[1]}, x2 = {x[2], x[2]}, x3 = {x[3], x[3]};
        c00 += x0 * b0, c01 += x0 * b1;
        c10 += x1 * b0, c11 += x1 * b1;
        c20 += x2 * b0, c21 += x2 * b1;
        c30 += x3 * b0, c31 += x3 * b1;
    }
    c[0][0] = c00, c[0][1] = c01, c[1][0] = c10, c[1][1] = c11;
    c[2][0] = c20, c[2][1] = c21, c[3][0] = c30, c[3][1] = c31;
    memcpy(out, c, sizeof c);
}

static void scale_tile(const struct gemm *g, int64_t i0, int64_t m, int64_t j0, int64_t n) {
    if (g->beta == 1) return;
    for (int64_t i = 0; i < m; i++) {
        double *row = g->c + (i0 + i) * g->ldc + j0;
        for (int64_t j = 0; j < n; j++) row[j] = g->beta == 0 ? 0 : g->beta * row[j];
    }
}

static void tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const struct gemm *g = arg;
    double pa[TILE * SLICE], pb[TILE * SLICE], out[REG * REG];
    int64_t i0, i1, j0, j1;
    gy_tile_range(g->m, TILE, t / g->tiles_n, &i0, &i1);
    gy_tile_range(g->n, TILE, t % g->tiles_n, &j0, &j1);
    if (g->lower && j0 > i0) return;
    int64_t m = i1 - i0, n = j1 - j0;
    int64_t ai = g->ta ? 1 : g->lda, ap = g->ta ? g->lda : 1;
    int64_t bj = g->tb ? g->ldb : 1, bp = g->tb ? 1 : g->ldb;
    scale_tile(g, i0, m, j0, n);
    for (int64_t p0 = 0; p0 < g->k; p0 += SLICE) {
        int64_t k = g->k - p0 < SLICE ? g->k - p0 : SLICE;
        pack(pa, g->a + i0 * ai + p0 * ap, ai, ap, m, k);
        pack(pb, g->b + j0 * bj + p0 * bp, bj, bp, n, k);
        for (int64_t j = 0; j < n; j += REG)
            for (int64_t i = 0; i < m; i += REG) {
                micro(k, pa + i * k, pb + j * k, out);
                int64_t rows = m - i < REG ? m - i : REG, cols = n - j < REG ? n - j : REG;
                for (int64_t r = 0; r < rows; r++) {
                    double *c = g->c + (i0 + i + r) * g->ldc + j0 + j;
                    for (int64_t s = 0; s < cols; s++) c[s] += g->alpha * out[r * REG + s];
                }
            }
    }
}

static void run(gy_pool *pool, struct gemm g) {
    if (g.m <= 0 || g.n <= 0) return;
    g.tiles_n = gy_tiles(g.n, TILE);
    gy_par(pool, gy_tiles(g.m, TILE) * g.tiles_n, tile, &g);
}

void gy_la_gemm(gy_pool *pool, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc) {
    run(pool, (struct gemm){ta, tb, false, m, n, k, alpha, beta, a, b, c, lda, ldb, ldc, 0});
}

void gy_la_gemm_lower(gy_pool *pool, bool ta, bool tb, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                      const double *b, int64_t ldb, double beta, double *c, int64_t ldc) {
    run(pool, (struct gemm){ta, tb, true, n, n, k, alpha, beta, a, b, c, lda, ldb, ldc, 0});
}

void gy_la_syrk(gy_pool *pool, bool trans, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                double beta, double *c, int64_t ldc) {
    gy_la_gemm_lower(pool, trans, !trans, n, k, alpha, a, lda, a, lda, beta, c, ldc);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) c[j * ldc + i] = c[i * ldc + j];
}
