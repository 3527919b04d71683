/* runcv.c: leave-one-run-out linear decoding. */
#include "runcv.h"

#include "../../core/linalg/linalg.h"
#include "../../core/rng.h"

#include <math.h>
#include <string.h>

static double *doubles(gy_ctx *ctx, int64_t n) {
    return gy_calloc(ctx, (size_t)n + 1, sizeof(double));
}

/* Rows of d->x as doubles. */
static double *rows(gy_ctx *ctx, const gy_runcv_data *d) {
    double *x = doubles(ctx, d->n * d->p);
    for (int64_t i = 0; x && i < d->n * d->p; i++) x[i] = (double)d->x[i];
    return x;
}

/* ---- ridge ------------------------------------------------------------------------------------- */

void gy_runcv_ridge_free(gy_runcv_ridge *r) {
    for (int64_t i = 0; i < r->runs; i++) {
        if (r->hat) gy_free(r->ctx, r->hat[i]);
        if (r->order) gy_free(r->ctx, r->order[i]);
    }
    if (r->ctx) {
        gy_free(r->ctx, r->hat);
        gy_free(r->ctx, r->order);
        gy_free(r->ctx, r->n_test);
    }
    *r = (gy_runcv_ridge){0};
}

/* H of one fold from gram = X X^T: centred on the training rows, solved by Cholesky. */
static gy_status fit_fold(gy_ctx *ctx, int64_t n, const double *gram, const int64_t *order, int64_t n_test,
                          double penalty, double *hat) {
    int64_t n_train = n - n_test;
    const int64_t *train = order + n_test;
    double *k = doubles(ctx, n_train * n_train), *b = doubles(ctx, n_train * n_test), *mean = doubles(ctx, n), all = 0;
    gy_status s = k && b && mean ? GY_OK : GY_ERR_NOMEM;
    /* (x_i - m).(x_j - m) = K_ij - mean_t K_it - mean_t K_jt + mean_tu K_tu, the means over training rows t, u */
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        for (int64_t t = 0; t < n_train; t++) mean[i] += gram[order[i] * n + train[t]];
        mean[i] /= (double)n_train;
        if (i >= n_test) all += mean[i] / (double)n_train;
    }
    for (int64_t i = 0; s == GY_OK && i < n_train; i++) {
        for (int64_t j = 0; j < n_train; j++)
            k[i * n_train + j] = gram[train[i] * n + train[j]] - mean[n_test + i] - mean[n_test + j] + all;
        k[i * n_train + i] += penalty;
        for (int64_t t = 0; t < n_test; t++)
            b[i * n_test + t] = gram[train[i] * n + order[t]] - mean[n_test + i] - mean[t] + all;
    }
    if (s == GY_OK) s = gy_la_cholesky(ctx, n_train, k, n_train);
    if (s == GY_OK) s = gy_la_cholesky_solve(ctx, n_train, n_test, k, n_train, b, n_test);
    for (int64_t t = 0; s == GY_OK && t < n_test; t++)
        for (int64_t i = 0; i < n_train; i++) hat[t * n_train + i] = b[i * n_test + t];
    gy_free(ctx, k);
    gy_free(ctx, b);
    gy_free(ctx, mean);
    return s;
}

gy_status gy_runcv_ridge_fit(gy_ctx *ctx, const gy_runcv_data *d, double penalty, gy_runcv_ridge *out) {
    *out = (gy_runcv_ridge){.ctx = ctx, .n = d->n, .runs = d->runs};
    if (!(penalty > 0)) return gy_fail(ctx, GY_ERR_USAGE, "ridge: the penalty must be above 0, found %g", penalty);
    out->hat = gy_calloc(ctx, (size_t)d->runs, sizeof *out->hat);
    out->order = gy_calloc(ctx, (size_t)d->runs, sizeof *out->order);
    out->n_test = gy_calloc(ctx, (size_t)d->runs, sizeof *out->n_test);
    double *x = rows(ctx, d), *gram = doubles(ctx, d->n * d->n);
    gy_status s = out->hat && out->order && out->n_test && x && gram ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK) gy_la_syrk(gy_ctx_pool(ctx), false, d->n, d->p, 1, x, d->p, 0, gram, d->n);
    gy_free(ctx, x);
    for (int64_t r = 0; r < d->runs && s == GY_OK; r++) {
        int64_t *order = out->order[r] = gy_malloc(ctx, (size_t)d->n * sizeof *order), at = 0;
        for (int pass = 0; order && pass < 2; pass++) {
            for (int64_t i = 0; i < d->n; i++)
                if ((d->run[i] == r) == (pass == 0)) order[at++] = i;
            if (pass == 0) out->n_test[r] = at;
        }
        if (order) out->hat[r] = doubles(ctx, out->n_test[r] * (d->n - out->n_test[r]));
        s = order && out->hat[r] ? fit_fold(ctx, d->n, gram, order, out->n_test[r], penalty, out->hat[r])
                                 : GY_ERR_NOMEM;
    }
    gy_free(ctx, gram);
    if (s != GY_OK) gy_runcv_ridge_free(out);
    return s;
}

void gy_runcv_ridge_predict(const gy_runcv_ridge *r, int64_t classes, const int64_t *label, double *score) {
    for (int64_t f = 0; f < r->runs; f++) {
        int64_t n_test = r->n_test[f], n_train = r->n - n_test;
        const int64_t *train = r->order[f] + n_test;
        for (int64_t t = 0; t < n_test; t++) {
            double *out = score + r->order[f][t] * classes;
            const double *h = r->hat[f] + t * n_train;
            memset(out, 0, (size_t)classes * sizeof *out);
            /* rows of the one-hot Y select columns of H; centred H sums to 0, so only the mean of Y is missing */
            for (int64_t i = 0; i < n_train; i++) out[label[train[i]]] += h[i] + 1.0 / (double)n_train;
        }
    }
}

/* ---- logistic ---------------------------------------------------------------------------------- */

gy_status gy_runcv_logistic(gy_ctx *ctx, const gy_runcv_data *d, double l2, double *score) {
    int64_t k = d->classes, p = d->p;
    double *x = doubles(ctx, d->n * p), *prob = doubles(ctx, d->n * k), *coef = doubles(ctx, p * k),
           *intercept = doubles(ctx, k);
    int64_t *label = gy_calloc(ctx, (size_t)d->n, sizeof *label), *place = gy_calloc(ctx, (size_t)d->n, sizeof *place);
    gy_status s = x && prob && coef && intercept && label && place ? GY_OK : GY_ERR_NOMEM;
    for (int64_t r = 0; r < d->runs && s == GY_OK; r++) {
        int64_t n_train = 0, n = 0;
        for (int pass = 0; pass < 2; pass++) { /* training rows, then test rows */
            for (int64_t i = 0; i < d->n; i++) {
                if ((d->run[i] == r) != (pass == 1)) continue;
                for (int64_t v = 0; v < p; v++) x[n * p + v] = (double)d->x[i * p + v];
                label[n] = d->label[i];
                place[n++] = i;
            }
            if (pass == 0) n_train = n;
        }
        gy_logistic_args a = {.n = n_train,
                              .p = p,
                              .k = k,
                              .x = x,
                              .ldx = p,
                              .labels = label,
                              .l2 = l2,
                              .lbfgs = {.max_iter = 60, .value_tol = 1e-6}};
        s = gy_la_logistic_fit(ctx, &a, coef, intercept, NULL);
        if (s == GY_OK) s = gy_la_logistic_predict(ctx, n - n_train, p, k, x + n_train * p, p, coef, intercept, prob);
        for (int64_t i = n_train; s == GY_OK && i < n; i++)
            for (int64_t c = 0; c < k; c++) score[place[i] * k + c] = log(fmax(prob[(i - n_train) * k + c], 1e-300));
    }
    void *const owned[] = {x, prob, coef, intercept, label, place};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) gy_free(ctx, owned[i]);
    return s;
}

/* ---- what scores say ----------------------------------------------------------------------------- */

int64_t gy_runcv_argmax(const double *score, int64_t classes) {
    int64_t best = 0;
    for (int64_t c = 1; c < classes; c++)
        if (score[c] > score[best]) best = c;
    return best;
}

double gy_runcv_accuracy(const gy_runcv_data *d, const double *score, int64_t of_run) {
    int64_t right = 0, n = 0;
    for (int64_t i = 0; i < d->n; i++) {
        if (of_run >= 0 && d->run[i] != of_run) continue;
        n++;
        right += gy_runcv_argmax(score + i * d->classes, d->classes) == d->label[i];
    }
    return n ? (double)right / (double)n : NAN;
}

double gy_runcv_block_accuracy(const gy_runcv_data *d, const double *score) {
    int64_t right = 0, n = 0;
    for (int64_t i = 0; i < d->n;) {
        double sum[64] = {0}; /* data/fmri.h refuses more classes */
        int64_t first = i;
        for (; i < d->n && d->block[i] == d->block[first]; i++)
            for (int64_t c = 0; c < d->classes && c < 64; c++) sum[c] += score[i * d->classes + c];
        right += gy_runcv_argmax(sum, d->classes < 64 ? d->classes : 64) == d->label[first];
        n++;
    }
    return n ? (double)right / (double)n : NAN;
}

double gy_runcv_pair_accuracy(const gy_runcv_data *d, const double *score, int64_t a, int64_t b) {
    int64_t right = 0, n = 0;
    for (int64_t i = 0; i < d->n; i++) {
        const double *s = score + i * d->classes;
        if (d->label[i] != a && d->label[i] != b) continue;
        n++;
        right += d->label[i] == a ? s[a] > s[b] : s[b] > s[a];
    }
    return n ? (double)right / (double)n : NAN;
}

void gy_runcv_confusion(const gy_runcv_data *d, const double *score, double *counts) {
    memset(counts, 0, (size_t)(d->classes * d->classes) * sizeof *counts);
    for (int64_t i = 0; i < d->n; i++)
        counts[d->label[i] * d->classes + gy_runcv_argmax(score + i * d->classes, d->classes)] += 1;
}

/* ---- two classes, two halves -------------------------------------------------------------------- */

gy_status gy_runcv_pair_ridge(gy_ctx *ctx, const gy_runcv_data *d, int64_t a, int64_t b, double penalty,
                              double *accuracy) {
    int64_t n = 0;
    float *x = gy_malloc(ctx, (size_t)(d->n * d->p + 1) * sizeof *x);
    int64_t *label = gy_calloc(ctx, (size_t)d->n, sizeof *label), *run = gy_calloc(ctx, (size_t)d->n, sizeof *run);
    double *score = doubles(ctx, 2 * d->n);
    gy_status s = x && label && run && score ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < d->n; i++) {
        if (d->label[i] != a && d->label[i] != b) continue;
        memcpy(x + n * d->p, d->x + i * d->p, (size_t)d->p * sizeof *x);
        label[n] = d->label[i] == b;
        run[n++] = d->run[i];
    }
    gy_runcv_data two = {.n = n, .p = d->p, .classes = 2, .runs = d->runs, .x = x, .label = label, .run = run};
    gy_runcv_ridge r = {0};
    if (s == GY_OK) s = gy_runcv_ridge_fit(ctx, &two, penalty, &r);
    if (s == GY_OK) {
        gy_runcv_ridge_predict(&r, 2, label, score);
        *accuracy = gy_runcv_accuracy(&two, score, -1);
    }
    gy_runcv_ridge_free(&r);
    void *const owned[] = {x, label, run, score};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) gy_free(ctx, owned[i]);
    return s;
}

gy_status gy_runcv_split_half(gy_ctx *ctx, const gy_runcv_data *d, int64_t *identified) {
    int64_t k = d->classes, p = d->p;
    double *mean = doubles(ctx, 2 * k * p); /* [half, class, voxel] */
    int64_t *count = gy_calloc(ctx, (size_t)(2 * k), sizeof *count);
    gy_status s = mean && count ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < d->n; i++) {
        int64_t row = d->run[i] % 2 * k + d->label[i];
        count[row]++;
        for (int64_t v = 0; v < p; v++) mean[row * p + v] += (double)d->x[i * p + v];
    }
    for (int64_t half = 0; s == GY_OK && half < 2; half++)
        for (int64_t v = 0; v < p; v++) {
            double all = 0;
            for (int64_t c = half * k; c < (half + 1) * k; c++) {
                mean[c * p + v] /= (double)count[c];
                all += mean[c * p + v] / (double)k;
            }
            for (int64_t c = half * k; c < (half + 1) * k; c++) mean[c * p + v] -= all;
        }
    *identified = 0;
    for (int64_t c = 0; s == GY_OK && c < k; c++) {
        int64_t best = 0;
        double most = -2;
        for (int64_t e = 0; e < k; e++) {
            double r = gy_la_pearson(p, mean + c * p, mean + (k + e) * p);
            if (r > most) {
                most = r;
                best = e;
            }
        }
        *identified += best == c;
    }
    gy_free(ctx, mean);
    gy_free(ctx, count);
    return s;
}

/* ---- permutations -------------------------------------------------------------------------------- */

gy_status gy_runcv_permute(gy_ctx *ctx, const gy_runcv_data *d, const gy_runcv_ridge *r, uint64_t seed, int64_t count,
                           double *null) {
    int64_t *label = gy_calloc(ctx, (size_t)d->n, sizeof *label),
            *of_block = gy_calloc(ctx, (size_t)d->blocks, sizeof(int64_t));
    double *score = doubles(ctx, d->n * d->classes);
    gy_status s = label && of_block && score ? GY_OK : GY_ERR_NOMEM;
    gy_rng rng;
    gy_rng_init(&rng, seed, "permutations");
    gy_runcv_data permuted = *d;
    permuted.label = label;
    for (int64_t k = 0; k < count && s == GY_OK; k++) {
        for (int64_t i = 0; i < d->n; i++) of_block[d->block[i]] = d->label[i];
        /* blocks are numbered run by run, hence those of a run are neighbours */
        for (int64_t i = 0; i < d->n;) {
            int64_t first = d->block[i], run = d->run[i];
            while (i < d->n && d->run[i] == run) i++;
            gy_rng_shuffle(&rng, of_block + first, d->block[i - 1] - first + 1);
        }
        for (int64_t i = 0; i < d->n; i++) label[i] = of_block[d->block[i]];
        gy_runcv_ridge_predict(r, d->classes, label, score);
        null[k] = gy_runcv_accuracy(&permuted, score, -1);
    }
    gy_free(ctx, label);
    gy_free(ctx, of_block);
    gy_free(ctx, score);
    return s;
}

/* ---- patterns ------------------------------------------------------------------------------------ */

gy_status gy_runcv_pattern(gy_ctx *ctx, const gy_runcv_data *d, double penalty, const double *contrast,
                           double *pattern) {
    double *x = rows(ctx, d), *y = doubles(ctx, d->n), *w = doubles(ctx, d->p), intercept, mean = 0, power = 0;
    gy_status s = x && y && w ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < d->n; i++) y[i] = contrast[d->label[i]];
    gy_ridge_args a = {
        .n = d->n, .p = d->p, .t = 1, .x = x, .ldx = d->p, .y = y, .ldy = 1, .alpha = &penalty, .n_alphas = 1};
    if (s == GY_OK) s = gy_la_ridge_fit(ctx, &a, w, &intercept);
    if (s == GY_OK) {
        gy_la_gemm(gy_ctx_pool(ctx), false, false, d->n, 1, d->p, 1, x, d->p, w, 1, 0, y, 1); /* y = X w */
        for (int64_t i = 0; i < d->n; i++) mean += y[i] / (double)d->n;
        for (int64_t i = 0; i < d->n; i++) {
            y[i] -= mean;
            power += y[i] * y[i];
        }
        /* cov(X, X w) / var(X w); the centring of X cancels against that of X w */
        gy_la_gemm(gy_ctx_pool(ctx), true, false, d->p, 1, d->n, power > 0 ? 1 / power : 0, x, d->p, y, 1, 0, pattern,
                   1);
    }
    gy_free(ctx, x);
    gy_free(ctx, y);
    gy_free(ctx, w);
    return s;
}
