/* Least squares: by QR for full column rank, by SVD for everything else. */
#include "inner.h"

gy_status gy_la_lstsq_qr(gy_ctx *ctx, int64_t m, int64_t n, int64_t r, const double *a, int64_t lda, const double *b,
                         int64_t ldb, double *x, int64_t ldx) {
    gy_status s = gy_la_check(ctx, "least squares: matrix", m, n, a, lda);
    if (!s) s = gy_la_check(ctx, "least squares: right-hand side", m, r, b, ldb);
    if (s) return s;
    if (m < n)
        return gy_fail(ctx, GY_ERR_SHAPE, "least squares by QR needs m >= n, found [%lld, %lld]", (long long)m,
                       (long long)n);
    if (ldx < r) return gy_fail(ctx, GY_ERR_SHAPE, "least squares: leading dimension of x below %lld", (long long)r);
    double *f = gy_la_new(ctx, m, n), *tau = NULL, *y = NULL;
    if (!f || !(tau = gy_la_new(ctx, n, 1)) || !(y = gy_la_new(ctx, m, r))) s = GY_ERR_NOMEM;
    if (!s) {
        gy_la_copy(m, n, a, lda, f, n);
        gy_la_copy(m, r, b, ldb, y, r);
        s = gy_la_qr(ctx, m, n, f, n, tau);
    }
    double top = 0;
    for (int64_t j = 0; j < n && !s; j++) top = fmax(top, fabs(f[j * n + j]));
    for (int64_t j = 0; j < n && !s; j++)
        if (fabs(f[j * n + j]) <= (double)m * DBL_EPSILON * top)
            s = gy_fail(ctx, GY_ERR_NUMERIC, "least squares: rank-deficient: column %lld depends on those before it",
                        (long long)j);
    if (!s) s = gy_la_qr_apply(ctx, true, m, n, f, n, tau, r, y, r);
    if (!s) s = gy_la_trsm(ctx, GY_UPPER, n, r, f, n, y, r);
    if (!s) gy_la_copy(n, r, y, r, x, ldx);
    gy_free(ctx, y);
    gy_free(ctx, tau);
    gy_free(ctx, f);
    return s;
}

/* x [n, r] = V diag(1/s) U^T B, with B the identity [m, m] when b is NULL. */
static gy_status by_svd(gy_ctx *ctx, int64_t m, int64_t n, int64_t r, const double *a, int64_t lda, const double *b,
                        int64_t ldb, double rcond, double *x, int64_t ldx, int64_t *rank) {
    int64_t k = m < n ? m : n, kept = 0;
    gy_status s = GY_ERR_NOMEM;
    double *vt = NULL, *sv = NULL, *y = NULL;
    double *u = gy_la_new(ctx, m, k);
    if (!u || !(vt = gy_la_new(ctx, k, n)) || !(sv = gy_la_new(ctx, k, 1)) || !(y = gy_la_new(ctx, k, r))) goto out;
    if ((s = gy_la_svd(ctx, m, n, a, lda, u, k, sv, vt, n))) goto out;
    if (rcond < 0) rcond = (double)(m > n ? m : n) * DBL_EPSILON;
    while (kept < k && sv[kept] > rcond * sv[0]) kept++;
    gy_pool *pool = gy_ctx_pool(ctx);
    if (b)
        gy_la_gemm(pool, true, false, kept, r, m, 1, u, k, b, ldb, 0, y, r);
    else
        gy_la_transpose(m, kept, u, k, y, r);
    for (int64_t i = 0; i < kept; i++)
        for (int64_t j = 0; j < r; j++) y[i * r + j] /= sv[i];
    gy_la_gemm(pool, true, false, n, r, kept, 1, vt, n, y, r, 0, x, ldx);
    if (rank) *rank = kept;
out:
    gy_free(ctx, y);
    gy_free(ctx, sv);
    gy_free(ctx, vt);
    gy_free(ctx, u);
    return s;
}

gy_status gy_la_lstsq(gy_ctx *ctx, int64_t m, int64_t n, int64_t r, const double *a, int64_t lda, const double *b,
                      int64_t ldb, double rcond, double *x, int64_t ldx, int64_t *rank) {
    gy_status s = gy_la_check(ctx, "least squares: matrix", m, n, a, lda);
    if (!s) s = gy_la_check(ctx, "least squares: right-hand side", m, r, b, ldb);
    if (s) return s;
    if (ldx < r) return gy_fail(ctx, GY_ERR_SHAPE, "least squares: leading dimension of x below %lld", (long long)r);
    return by_svd(ctx, m, n, r, a, lda, b, ldb, rcond, x, ldx, rank);
}

gy_status gy_la_pinv(gy_ctx *ctx, int64_t m, int64_t n, const double *a, int64_t lda, double rcond, double *pinv,
                     int64_t ldp) {
    gy_status s = gy_la_check(ctx, "pseudo-inverse", m, n, a, lda);
    if (s) return s;
    if (ldp < m) return gy_fail(ctx, GY_ERR_SHAPE, "pseudo-inverse: leading dimension below %lld", (long long)m);
    return by_svd(ctx, m, n, m, a, lda, NULL, 0, rcond, pinv, ldp, NULL);
}
