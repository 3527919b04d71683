/* Cholesky, right-looking in blocks of 64: factor the diagonal block, solve the panel below it, subtract the panel's
 * outer product from what is left. */
#include "inner.h"

enum { BLOCK = 64, ROWS = 32 };

struct panel {
    int64_t n, lda, rows;
    const double *l; /* the factored diagonal block */
    double *below;
};

/* Each row x of the panel solves x L^T = a. */
static void panel_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const struct panel *p = arg;
    int64_t lo, hi;
    gy_tile_range(p->rows, ROWS, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        double *x = p->below + i * p->lda;
        for (int64_t j = 0; j < p->n; j++) x[j] = (x[j] - gy_la_dot(j, x, p->l + j * p->lda)) / p->l[j * p->lda + j];
    }
}

gy_status gy_la_cholesky(gy_ctx *ctx, int64_t n, double *a, int64_t lda) {
    if (n < 0 || lda < n)
        return gy_fail(ctx, GY_ERR_SHAPE, "cholesky: illegal size %lld with leading dimension %lld", (long long)n,
                       (long long)lda);
    for (int64_t i = 0; i < n; i++) /* the upper triangle is not read */
        for (int64_t j = 0; j <= i; j++)
            if (!isfinite(a[i * lda + j]))
                return gy_fail(ctx, GY_ERR_NUMERIC, "cholesky: element (%lld, %lld) is %g; finite values expected",
                               (long long)i, (long long)j, a[i * lda + j]);
    gy_pool *pool = gy_ctx_pool(ctx);
    for (int64_t k = 0; k < n; k += BLOCK) {
        int64_t nb = n - k < BLOCK ? n - k : BLOCK, rest = n - k - nb;
        double *d = a + k * lda + k;
        for (int64_t j = 0; j < nb; j++) {
            for (int64_t i = 0; i < j; i++)
                d[j * lda + i] = (d[j * lda + i] - gy_la_dot(i, d + j * lda, d + i * lda)) / d[i * lda + i];
            double pivot = d[j * lda + j] - gy_la_dot(j, d + j * lda, d + j * lda);
            if (!(pivot > 0))
                return gy_fail(ctx, GY_ERR_NUMERIC,
                               "cholesky: not positive definite: pivot %lld of %lld is %g; a positive value expected",
                               (long long)(k + j), (long long)n, pivot);
            d[j * lda + j] = sqrt(pivot);
        }
        if (rest == 0) break;
        struct panel p = {nb, lda, rest, d, d + nb * lda};
        gy_par(pool, gy_tiles(rest, ROWS), panel_tile, &p);
        gy_la_gemm_lower(pool, false, true, rest, nb, -1, p.below, lda, p.below, lda, 1, d + nb * lda + nb, lda);
    }
    for (int64_t i = 0; i < n; i++) /* tiles on the diagonal spilled above it */
        for (int64_t j = i + 1; j < n; j++) a[i * lda + j] = 0;
    return GY_OK;
}

gy_status gy_la_cholesky_solve(gy_ctx *ctx, int64_t n, int64_t r, const double *l, int64_t ldl, double *b,
                               int64_t ldb) {
    gy_status s = gy_la_trsm(ctx, GY_LOWER, n, r, l, ldl, b, ldb);
    return s ? s : gy_la_trsm(ctx, GY_LOWER | GY_TRANS, n, r, l, ldl, b, ldb);
}
