/* Correlations, ranks, permutation tests. */
#include "classical.h"
#include "inner.h"

#include "core/rng.h"

/* Centres x (stride) into out and scales it to unit length; NaN for a constant. "Constant" allows for the rounding
 * of the mean. */
static void standardise(int64_t n, const double *x, int64_t stride, double *out, int64_t out_stride) {
    double mean = 0, top = 0;
    for (int64_t i = 0; i < n; i++) {
        mean += x[i * stride] / (double)n;
        top = fmax(top, fabs(x[i * stride]));
    }
    for (int64_t i = 0; i < n; i++) out[i * out_stride] = x[i * stride] - mean;
    double length = gy_la_norm2(n, out, out_stride);
    bool varies = n >= 2 && length > 4 * DBL_EPSILON * top * (double)n;
    for (int64_t i = 0; i < n; i++) out[i * out_stride] = varies ? out[i * out_stride] / length : NAN;
}

static double clamp(double r) {
    return r > 1 ? 1 : r < -1 ? -1 : r; /* NaN stays */
}

double gy_la_pearson(int64_t n, const double *x, const double *y) {
    double mx = 0, my = 0, tx = 0, ty = 0, xx = 0, yy = 0, xy = 0;
    for (int64_t i = 0; i < n; i++) {
        mx += x[i] / (double)n;
        my += y[i] / (double)n;
        tx = fmax(tx, fabs(x[i]));
        ty = fmax(ty, fabs(y[i]));
    }
    if (tx == 0 || ty == 0) return NAN;
    for (int64_t i = 0; i < n; i++) { /* relative to the largest entry: squares cannot overflow */
        double a = (x[i] - mx) / tx, b = (y[i] - my) / ty;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    double rounding = 4 * DBL_EPSILON * (double)n;
    if (n < 2 || !(sqrt(xx) > rounding) || !(sqrt(yy) > rounding)) return NAN;
    return clamp(xy / (sqrt(xx) * sqrt(yy)));
}

gy_status gy_la_correlations(gy_ctx *ctx, int64_t n, int64_t p, const double *x, int64_t ldx, int64_t q,
                             const double *y, int64_t ldy, double *r, int64_t ldr) {
    gy_status s = gy_la_check(ctx, "correlations: x", n, p, x, ldx);
    if (!s) s = gy_la_check(ctx, "correlations: y", n, q, y, ldy);
    if (s) return s;
    if (n < 2 || ldr < q)
        return gy_fail(ctx, GY_ERR_SHAPE, "correlations: at least 2 samples expected, found %lld; ldr %lld, q %lld",
                       (long long)n, (long long)ldr, (long long)q);
    double *zy = NULL, *zx = gy_la_new(ctx, n, p);
    if (!zx || !(zy = gy_la_new(ctx, n, q))) {
        s = GY_ERR_NOMEM;
    } else {
        for (int64_t j = 0; j < p; j++) standardise(n, x + j, ldx, zx + j, p);
        for (int64_t j = 0; j < q; j++) standardise(n, y + j, ldy, zy + j, q);
        gy_la_gemm(gy_ctx_pool(ctx), true, false, p, q, n, 1, zx, p, zy, q, 0, r, ldr);
        for (int64_t i = 0; i < p; i++)
            for (int64_t j = 0; j < q; j++) r[i * ldr + j] = clamp(r[i * ldr + j]);
    }
    gy_free(ctx, zy);
    gy_free(ctx, zx);
    return s;
}

gy_status gy_la_ranks(gy_ctx *ctx, int64_t n, const double *x, double *rank) {
    if (n < 0) return gy_fail(ctx, GY_ERR_SHAPE, "ranks: length %lld", (long long)n);
    for (int64_t i = 0; i < n; i++)
        if (isnan(x[i])) return gy_fail(ctx, GY_ERR_NUMERIC, "ranks: element %lld is nan", (long long)i);
    int64_t *order = gy_calloc(ctx, (size_t)n, 2 * sizeof *order);
    if (!order) return GY_ERR_NOMEM;
    gy_la_order(n, x, false, order);
    for (int64_t lo = 0, hi; lo < n; lo = hi) {
        for (hi = lo; hi < n && x[order[hi]] == x[order[lo]];) hi++;
        for (int64_t i = lo; i < hi; i++) rank[order[i]] = 0.5 * (double)(lo + 1 + hi);
    }
    gy_free(ctx, order);
    return GY_OK;
}

gy_status gy_la_spearman(gy_ctx *ctx, int64_t n, const double *x, const double *y, double *rho) {
    double *rx = gy_la_new(ctx, 2, n > 0 ? n : 0);
    if (!rx) return GY_ERR_NOMEM;
    gy_status s = gy_la_ranks(ctx, n, x, rx);
    if (!s) s = gy_la_ranks(ctx, n, y, rx + n);
    if (!s) *rho = gy_la_pearson(n, rx, rx + n);
    gy_free(ctx, rx);
    return s;
}

double gy_la_permutation_p(double observed, int64_t n, const double *null) {
    int64_t reached = 0;
    for (int64_t i = 0; i < n; i++) reached += !(null[i] < observed);
    return (double)(1 + reached) / (double)(1 + n);
}

gy_status gy_la_permutation_test(gy_ctx *ctx, int64_t n, int64_t permutations, uint64_t seed, gy_la_statistic_fn fn,
                                 void *user, double *observed, double *p, double *null) {
    if (n < 1 || permutations < 0)
        return gy_fail(ctx, GY_ERR_USAGE, "permutation test: n must be >= 1 and permutations >= 0; found %lld, %lld",
                       (long long)n, (long long)permutations);
    int64_t *perm = gy_calloc(ctx, (size_t)n, sizeof *perm);
    if (!perm) return GY_ERR_NOMEM;
    gy_rng rng;
    gy_rng_init(&rng, seed, "permutation");
    gy_status s = GY_OK;
    int64_t reached = 0;
    for (int64_t q = -1; q < permutations && !s; q++) {
        double value;
        for (int64_t i = 0; i < n; i++) perm[i] = i;
        if (q >= 0) gy_rng_shuffle(&rng, perm, n);
        if ((s = fn(user, perm, &value))) break;
        if (isnan(value))
            s = gy_fail(ctx, GY_ERR_NUMERIC, "permutation test: the statistic of permutation %lld is nan",
                        (long long)q);
        else if (q < 0)
            *observed = value;
        else
            reached += value >= *observed;
        if (q >= 0 && null) null[q] = value;
    }
    if (!s) *p = (double)(1 + reached) / (double)(1 + permutations);
    gy_free(ctx, perm);
    return s;
}
