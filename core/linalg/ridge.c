/* Ridge regression for many targets and many alphas.
 *
 * With X and Y centred, let X^T X = V L V^T (primal) or X X^T = U L U^T (dual). Either way the solution is
 *     W(alpha) = M diag(1 / (L + alpha)) P,
 * primal: M = V, P = V^T X^T Y;  dual: M = X^T U, P = U^T Y. Only the diagonal depends on alpha; predictions for rows
 * Z = X_new M are Z diag(.) P. */
#include "classical.h"
#include "inner.h"

struct basis {
    int64_t n, p, t, k; /* k = min(n, p): columns of M */
    double *xc, *yc;    /* centred copies [n, p], [n, t] */
    double *mean_x, *mean_y;
    double *l, *vec;  /* eigenvalues [k], eigenvectors [k, k] */
    double *m, *proj; /* M [p, k], P [k, t] */
};

static void basis_free(gy_ctx *ctx, struct basis *b) {
    double *all[] = {b->xc, b->yc, b->mean_x, b->mean_y, b->l, b->vec, b->m, b->proj};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) gy_free(ctx, all[i]);
    memset(b, 0, sizeof *b);
}

/* Copies the rows with keep[i] == wanted (all rows when keep is NULL), minus their mean. */
static void centred(int64_t n, int64_t c, const double *a, int64_t lda, const bool *keep, bool centre, double *out,
                    double *mean) {
    int64_t rows = 0;
    for (int64_t i = 0; i < n; i++)
        if (!keep || keep[i]) memcpy(out + rows++ * c, a + i * lda, (size_t)c * sizeof *out);
    if (!centre) return;
    for (int64_t i = 0; i < rows; i++) gy_la_axpy(c, 1, out + i * c, mean);
    for (int64_t j = 0; j < c; j++) mean[j] /= (double)rows;
    for (int64_t i = 0; i < rows; i++) gy_la_axpy(c, -1, mean, out + i * c);
}

/* Centres the kept rows of X and Y and forms their inner products: vec = X^T X or X X^T. */
static gy_status basis_gram(gy_ctx *ctx, const gy_ridge_args *a, const bool *keep, struct basis *b) {
    memset(b, 0, sizeof *b);
    for (int64_t i = 0; i < a->n; i++) b->n += !keep || keep[i];
    b->p = a->p, b->t = a->t, b->k = b->n < b->p ? b->n : b->p;
    if (!(b->xc = gy_la_new(ctx, b->n, b->p)) || !(b->yc = gy_la_new(ctx, b->n, b->t)) ||
        !(b->mean_x = gy_la_new(ctx, b->p, 1)) || !(b->mean_y = gy_la_new(ctx, b->t, 1)) ||
        !(b->vec = gy_la_new(ctx, b->k, b->k)))
        return GY_ERR_NOMEM;
    centred(a->n, a->p, a->x, a->ldx, keep, !a->no_intercept, b->xc, b->mean_x);
    centred(a->n, a->t, a->y, a->ldy, keep, !a->no_intercept, b->yc, b->mean_y);
    bool primal = b->p <= b->n;
    gy_la_syrk(gy_ctx_pool(ctx), primal, b->k, primal ? b->n : b->p, 1, b->xc, b->p, 0, b->vec, b->k);
    return GY_OK;
}

static bool is_primal(const struct basis *b) {
    return b->p <= b->n;
}

/* From the inner products to L, M and P. */
static gy_status basis_decompose(gy_ctx *ctx, struct basis *b) {
    gy_pool *pool = gy_ctx_pool(ctx);
    int64_t n = b->n, p = b->p, t = b->t, k = b->k;
    double *gram = b->vec, *vec = NULL;
    if (!(b->l = gy_la_new(ctx, k, 1)) || !(b->m = gy_la_new(ctx, p, k)) || !(b->proj = gy_la_new(ctx, k, t)) ||
        !(vec = gy_la_new(ctx, k, k)))
        return GY_ERR_NOMEM;
    gy_status s = gy_la_eigh(ctx, k, gram, k, b->l, vec, k);
    if (s) {
        gy_free(ctx, vec);
        return s;
    }
    b->vec = vec;
    gy_free(ctx, gram);
    for (int64_t i = 0; i < k; i++) b->l[i] = fmax(b->l[i], 0); /* rounding below zero */
    if (!is_primal(b)) {
        gy_la_gemm(pool, true, false, p, k, n, 1, b->xc, p, vec, k, 0, b->m, k);
        gy_la_gemm(pool, true, false, k, t, n, 1, vec, k, b->yc, t, 0, b->proj, t);
        return GY_OK;
    }
    double *xy = gy_la_new(ctx, p, t);
    if (!xy) return GY_ERR_NOMEM;
    gy_la_copy(p, k, vec, k, b->m, k);
    gy_la_gemm(pool, true, false, p, t, n, 1, b->xc, p, b->yc, t, 0, xy, t);
    gy_la_gemm(pool, true, false, k, t, p, 1, vec, k, xy, t, 0, b->proj, t);
    gy_free(ctx, xy);
    return GY_OK;
}

/* 1 / (l_j + alpha); 0 where that is a division by rounding error (alpha = 0, deficient rank). */
static double shrink(const struct basis *b, int64_t j, double alpha) {
    double x = b->l[j] + alpha, floor = (double)(b->n > b->p ? b->n : b->p) * DBL_EPSILON * b->l[b->k - 1];
    return x > floor ? 1 / x : 0;
}

static void scaled_projection(const struct basis *b, double alpha, double *out) {
    for (int64_t j = 0; j < b->k; j++) {
        double d = shrink(b, j, alpha);
        for (int64_t c = 0; c < b->t; c++) out[j * b->t + c] = d * b->proj[j * b->t + c];
    }
}

static gy_status check(gy_ctx *ctx, const gy_ridge_args *a) {
    if (a->n < 1 || a->p < 1 || a->t < 1 || a->n_alphas < 1)
        return gy_fail(ctx, GY_ERR_SHAPE,
                       "ridge: samples, features, targets and alphas must be >= 1; found %lld, %lld, %lld, %lld",
                       (long long)a->n, (long long)a->p, (long long)a->t, (long long)a->n_alphas);
    for (int64_t i = 0; i < a->n_alphas; i++)
        if (!(a->alpha[i] >= 0) || !isfinite(a->alpha[i]))
            return gy_fail(ctx, GY_ERR_USAGE, "ridge: alpha %lld is %g; a finite value >= 0 expected", (long long)i,
                           a->alpha[i]);
    gy_status s = gy_la_check(ctx, "ridge: x", a->n, a->p, a->x, a->ldx);
    return s ? s : gy_la_check(ctx, "ridge: y", a->n, a->t, a->y, a->ldy);
}

/* One alpha by Cholesky of the inner products plus alpha. Refused (GY_ERR_NUMERIC) when alpha drowns in rounding. */
static gy_status by_cholesky(gy_ctx *ctx, struct basis *b, double alpha, double *coef) {
    gy_pool *pool = gy_ctx_pool(ctx);
    int64_t n = b->n, p = b->p, t = b->t, k = b->k;
    bool primal = is_primal(b);
    double *g = gy_la_new(ctx, k, k), *w = primal ? coef : b->yc;
    if (!g) return GY_ERR_NOMEM;
    gy_la_copy(k, k, b->vec, k, g, k);
    for (int64_t i = 0; i < k; i++) g[i * k + i] += alpha;
    gy_status s = gy_la_cholesky(ctx, k, g, k);
    if (!s && primal) gy_la_gemm(pool, true, false, p, t, n, 1, b->xc, p, b->yc, t, 0, coef, t);
    if (!s) s = gy_la_cholesky_solve(ctx, k, t, g, k, w, t);
    if (!s && !primal) gy_la_gemm(pool, true, false, p, t, n, 1, b->xc, p, b->yc, t, 0, coef, t);
    gy_free(ctx, g);
    return s;
}

gy_status gy_la_ridge_fit(gy_ctx *ctx, const gy_ridge_args *a, double *coef, double *intercept) {
    gy_status s = check(ctx, a);
    if (s) return s;
    gy_pool *pool = gy_ctx_pool(ctx);
    struct basis b;
    double *scaled = NULL;
    s = basis_gram(ctx, a, NULL, &b);
    bool done = false;
    if (!s && a->n_alphas == 1 && a->alpha[0] > 0) {
        s = by_cholesky(ctx, &b, a->alpha[0], coef);
        done = s == GY_OK;
        if (s == GY_ERR_NUMERIC) {
            gy_error_clear(ctx);
            s = GY_OK;
        }
    }
    if (!s && !done) {
        s = basis_decompose(ctx, &b);
        if (!s && !(scaled = gy_la_new(ctx, b.k, b.t))) s = GY_ERR_NOMEM;
        for (int64_t q = 0; q < a->n_alphas && !s; q++) {
            scaled_projection(&b, a->alpha[q], scaled);
            gy_la_gemm(pool, false, false, b.p, b.t, b.k, 1, b.m, b.k, scaled, b.t, 0, coef + q * b.p * b.t, b.t);
        }
    }
    for (int64_t q = 0; q < a->n_alphas && !s; q++) {
        double *c = intercept + q * b.t;
        memcpy(c, b.mean_y, (size_t)b.t * sizeof *c);
        for (int64_t j = 0; j < b.p; j++) gy_la_axpy(b.t, -b.mean_x[j], coef + (q * b.p + j) * b.t, c);
    }
    gy_free(ctx, scaled);
    basis_free(ctx, &b);
    return s;
}

/* Running sums over held-out samples, for each alpha and target; y and predictions are taken relative to the overall
 * mean of y so that the sums of squares do not cancel. */
struct scores {
    const gy_ridge_args *a;
    double *mean;                 /* [t] */
    double *sse, *sf, *sff, *sfy; /* [n_alphas, t] */
};

static void scores_add(struct scores *s, int64_t q, int64_t i, const double *f) {
    int64_t t = s->a->t;
    for (int64_t c = 0; c < t; c++) {
        double y = s->a->y[i * s->a->ldy + c] - s->mean[c], g = f[c] - s->mean[c];
        s->sse[q * t + c] += (y - g) * (y - g);
        s->sf[q * t + c] += g;
        s->sff[q * t + c] += g * g;
        s->sfy[q * t + c] += g * y;
    }
}

static gy_status scores_new(gy_ctx *ctx, const gy_ridge_args *a, struct scores *s) {
    *s = (struct scores){.a = a};
    uint64_t cells;
    if (!gy_mul_u64((uint64_t)a->n_alphas, 4 * (uint64_t)a->t, &cells)) cells = UINT64_MAX / 16;
    s->mean = gy_la_new(ctx, a->t, 1);
    s->sse = s->mean ? gy_calloc(ctx, cells, sizeof(double)) : NULL;
    if (!s->sse) return GY_ERR_NOMEM;
    s->sf = s->sse + a->n_alphas * a->t, s->sff = s->sf + a->n_alphas * a->t, s->sfy = s->sff + a->n_alphas * a->t;
    for (int64_t i = 0; i < a->n; i++) gy_la_axpy(a->t, 1, a->y + i * a->ldy, s->mean);
    for (int64_t c = 0; c < a->t; c++) s->mean[c] /= (double)a->n;
    return GY_OK;
}

static void scores_finish(const struct scores *s, gy_score kind, double *score, double *per_target) {
    const gy_ridge_args *a = s->a;
    double n = (double)a->n;
    for (int64_t q = 0; q < a->n_alphas; q++) score[q] = 0;
    for (int64_t c = 0; c < a->t; c++) {
        double sst = 0, top = fabs(s->mean[c]);
        for (int64_t i = 0; i < a->n; i++) {
            double y = a->y[i * a->ldy + c] - s->mean[c];
            sst += y * y;
            top = fmax(top, fabs(a->y[i * a->ldy + c]));
        }
        bool constant = sst <= n * (DBL_EPSILON * top) * (DBL_EPSILON * top) * n;
        for (int64_t q = 0; q < a->n_alphas; q++) {
            int64_t at = q * a->t + c;
            double r, sff = s->sff[at] - s->sf[at] * s->sf[at] / n;
            if (kind == GY_SCORE_NEG_MSE)
                r = -s->sse[at] / n;
            else if (constant)
                r = 0;
            else if (kind == GY_SCORE_R2)
                r = 1 - s->sse[at] / sst;
            else
                r = sff > 1e-14 * s->sff[at] ? fmax(-1, fmin(1, s->sfy[at] / sqrt(sff * sst))) : 0;
            score[q] += r / (double)a->t;
            if (per_target) per_target[at] = r;
        }
    }
}

static void scores_free(gy_ctx *ctx, struct scores *s) {
    gy_free(ctx, s->sse);
    gy_free(ctx, s->mean);
}

gy_status gy_la_ridge_loo(gy_ctx *ctx, const gy_ridge_args *a, gy_score kind, double *score, double *per_target) {
    gy_status s = check(ctx, a);
    if (s) return s;
    if (a->n < 2) return gy_fail(ctx, GY_ERR_SHAPE, "ridge: leave-one-out needs at least 2 samples");
    gy_pool *pool = gy_ctx_pool(ctx);
    struct basis b;
    struct scores sc = {0};
    double *z = NULL, *fit = NULL, *scaled = NULL;
    if ((s = basis_gram(ctx, a, NULL, &b)) || (s = basis_decompose(ctx, &b)) || (s = scores_new(ctx, a, &sc))) goto out;
    if (!(z = gy_la_new(ctx, b.n, b.k)) || !(fit = gy_la_new(ctx, b.n, b.t)) || !(scaled = gy_la_new(ctx, b.k, b.t))) {
        s = GY_ERR_NOMEM;
        goto out;
    }
    gy_la_gemm(pool, false, false, b.n, b.k, b.p, 1, b.xc, b.p, b.m, b.k, 0, z, b.k);
    /* H = Z diag(.) Z^T in the primal; in the dual Z = U L and H = Z diag(.) U^T. */
    const double *other = is_primal(&b) ? z : b.vec;
    for (int64_t q = 0; q < a->n_alphas; q++) {
        scaled_projection(&b, a->alpha[q], scaled);
        gy_la_gemm(pool, false, false, b.n, b.t, b.k, 1, z, b.k, scaled, b.t, 0, fit, b.t);
        for (int64_t i = 0; i < b.n; i++) {
            double h = a->no_intercept ? 0 : 1 / (double)b.n, *f = fit + i * b.t;
            for (int64_t j = 0; j < b.k; j++) h += z[i * b.k + j] * other[i * b.k + j] * shrink(&b, j, a->alpha[q]);
            if (1 - h < 1e-10) {
                s = gy_fail(ctx, GY_ERR_NUMERIC,
                            "ridge: leave-one-out with alpha %g: sample %lld has leverage 1; a larger alpha is needed",
                            a->alpha[q], (long long)i);
                goto out;
            }
            for (int64_t c = 0; c < b.t; c++) {
                double y = a->y[i * a->ldy + c], e = b.yc[i * b.t + c] - f[c];
                f[c] = y - e / (1 - h);
            }
            scores_add(&sc, q, i, f);
        }
    }
    scores_finish(&sc, kind, score, per_target);
out:
    gy_free(ctx, scaled);
    gy_free(ctx, fit);
    gy_free(ctx, z);
    scores_free(ctx, &sc);
    basis_free(ctx, &b);
    return s;
}

/* Fits without the samples of one fold and scores the predictions for them. */
static gy_status one_fold(gy_ctx *ctx, const gy_ridge_args *a, const bool *keep, struct scores *sc) {
    gy_pool *pool = gy_ctx_pool(ctx);
    struct basis b;
    double *test = NULL, *z = NULL, *f = NULL, *scaled = NULL;
    gy_status s = basis_gram(ctx, a, keep, &b);
    if (!s) s = basis_decompose(ctx, &b);
    if (s) goto out;
    int64_t held = a->n - b.n, row = 0;
    if (!(test = gy_la_new(ctx, held, b.p)) || !(z = gy_la_new(ctx, held, b.k)) || !(f = gy_la_new(ctx, held, b.t)) ||
        !(scaled = gy_la_new(ctx, b.k, b.t))) {
        s = GY_ERR_NOMEM;
        goto out;
    }
    for (int64_t i = 0; i < a->n; i++)
        if (!keep[i]) {
            memcpy(test + row * b.p, a->x + i * a->ldx, (size_t)b.p * sizeof *test);
            gy_la_axpy(b.p, -1, b.mean_x, test + row++ * b.p);
        }
    gy_la_gemm(pool, false, false, held, b.k, b.p, 1, test, b.p, b.m, b.k, 0, z, b.k);
    for (int64_t q = 0; q < a->n_alphas; q++) {
        scaled_projection(&b, a->alpha[q], scaled);
        gy_la_gemm(pool, false, false, held, b.t, b.k, 1, z, b.k, scaled, b.t, 0, f, b.t);
        row = 0;
        for (int64_t i = 0; i < a->n; i++)
            if (!keep[i]) {
                gy_la_axpy(b.t, 1, b.mean_y, f + row * b.t);
                scores_add(sc, q, i, f + row++ * b.t);
            }
    }
out:
    gy_free(ctx, scaled);
    gy_free(ctx, f);
    gy_free(ctx, z);
    gy_free(ctx, test);
    basis_free(ctx, &b);
    return s;
}

gy_status gy_la_ridge_kfold(gy_ctx *ctx, const gy_ridge_args *a, const int64_t *fold, gy_score kind, double *score,
                            double *per_target) {
    gy_status s = check(ctx, a);
    if (s) return s;
    bool several = false;
    for (int64_t i = 0; i < a->n; i++) {
        if (fold[i] < 0)
            return gy_fail(ctx, GY_ERR_USAGE, "ridge: fold label %lld of sample %lld is negative", (long long)fold[i],
                           (long long)i);
        several |= fold[i] != fold[0];
    }
    if (!several) return gy_fail(ctx, GY_ERR_USAGE, "ridge: at least two different fold labels expected, found one");
    struct scores sc = {0};
    bool *keep = gy_calloc(ctx, (size_t)a->n, sizeof *keep);
    s = keep ? scores_new(ctx, a, &sc) : GY_ERR_NOMEM;
    for (int64_t label = -1; !s;) { /* labels in rising order, gaps allowed */
        int64_t next = -1;
        for (int64_t i = 0; i < a->n; i++)
            if (fold[i] > label && (next < 0 || fold[i] < next)) next = fold[i];
        if (next < 0) break;
        label = next;
        for (int64_t i = 0; i < a->n; i++) keep[i] = fold[i] != label;
        s = one_fold(ctx, a, keep, &sc);
    }
    if (!s) scores_finish(&sc, kind, score, per_target);
    scores_free(ctx, &sc);
    gy_free(ctx, keep);
    return s;
}
