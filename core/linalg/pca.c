#include "classical.h"
#include "inner.h"

/* The k leading right singular vectors of xc [n, p] as rows, and the singular values. */
static gy_status by_svd(gy_ctx *ctx, int64_t n, int64_t p, const double *xc, int64_t k, double *rows, double *s) {
    int64_t r = n < p ? n : p;
    gy_status status = GY_ERR_NOMEM;
    double *vt = NULL, *all = NULL;
    double *u = gy_la_new(ctx, n, r);
    if (u && (vt = gy_la_new(ctx, r, p)) && (all = gy_la_new(ctx, r, 1)))
        status = gy_la_svd(ctx, n, p, xc, p, u, r, all, vt, p);
    if (!status) {
        gy_la_copy(k, p, vt, p, rows, p);
        memcpy(s, all, (size_t)k * sizeof *s);
    }
    gy_free(ctx, all);
    gy_free(ctx, vt);
    gy_free(ctx, u);
    return status;
}

/* The same through xc xc^T = U S^2 U^T, rows = S^-1 U^T xc: for n < p much less work. *good is false when s_k is so
 * small that squaring lost it. */
static gy_status by_inner_products(gy_ctx *ctx, int64_t n, int64_t p, const double *xc, int64_t k, double *rows,
                                   double *s, bool *good) {
    gy_pool *pool = gy_ctx_pool(ctx);
    gy_status status = GY_ERR_NOMEM;
    double *u = NULL, *w = NULL;
    double *g = gy_la_new(ctx, n, n);
    if (!g || !(u = gy_la_new(ctx, n, n)) || !(w = gy_la_new(ctx, n, 1))) goto out;
    gy_la_syrk(pool, false, n, p, 1, xc, p, 0, g, n);
    if ((status = gy_la_eigh(ctx, n, g, n, w, u, n))) goto out;
    for (int64_t j = 0; j < k; j++) s[j] = sqrt(fmax(w[n - 1 - j], 0));
    *good = s[k - 1] > 1e-5 * s[0]; /* a relative error of eps s_0^2 / s_k^2 = 2e-6 at worst; orthogonality likewise */
    if (!*good) goto out;
    for (int64_t j = 0; j < k; j++)
        for (int64_t i = 0; i < n; i++) g[j * n + i] = u[i * n + n - 1 - j] / s[j];
    gy_la_gemm(pool, false, false, k, p, n, 1, g, n, xc, p, 0, rows, p);
out:
    gy_free(ctx, w);
    gy_free(ctx, u);
    gy_free(ctx, g);
    return status;
}

gy_status gy_la_pca(gy_ctx *ctx, int64_t n, int64_t p, const double *x, int64_t ldx, int64_t k, double *mean,
                    double *components, double *variance, double *ratio, double *scores) {
    gy_status status = gy_la_check(ctx, "pca", n, p, x, ldx);
    if (status) return status;
    if (n < 2 || k < 1 || k > (n < p ? n : p))
        return gy_fail(ctx, GY_ERR_SHAPE, "pca: %lld components of [%lld, %lld]; n >= 2 and 1..min(n, p) expected",
                       (long long)k, (long long)n, (long long)p);
    double *s = NULL, *xc = gy_la_new(ctx, n, p);
    if (!xc || !(s = gy_la_new(ctx, k, 1))) {
        status = GY_ERR_NOMEM;
        goto out;
    }
    memset(mean, 0, (size_t)p * sizeof *mean);
    for (int64_t i = 0; i < n; i++) gy_la_axpy(p, 1 / (double)n, x + i * ldx, mean);
    double total = 0;
    for (int64_t i = 0; i < n; i++) {
        for (int64_t j = 0; j < p; j++) xc[i * p + j] = x[i * ldx + j] - mean[j];
        total += gy_la_dot(p, xc + i * p, xc + i * p);
    }
    bool good = false;
    if (n < p) status = by_inner_products(ctx, n, p, xc, k, components, s, &good);
    if (!status && !good) status = by_svd(ctx, n, p, xc, k, components, s);
    if (status) goto out;
    for (int64_t j = 0; j < k; j++) {
        gy_la_fix_sign(p, components + j * p, 1);
        if (variance) variance[j] = s[j] * s[j] / (double)(n - 1);
        if (ratio) ratio[j] = total > 0 ? s[j] * s[j] / total : 0;
    }
    if (scores) gy_la_gemm(gy_ctx_pool(ctx), false, true, n, k, p, 1, xc, p, components, p, 0, scores, k);
out:
    gy_free(ctx, s);
    gy_free(ctx, xc);
    return status;
}
