/* Ridge, logistic regression, L-BFGS, PCA, k-means, assignment, correlations, permutation tests. */
#include "linalg_check.h"

/* ---- ridge ---- */

struct data {
    int64_t n, p, t;
    double *x, *y;
};

static struct data linear_data(int64_t n, int64_t p, int64_t t, double noise) {
    struct data d = {n, p, t, random_mat(n, p, 1), NULL};
    double *w = random_mat(p, t, 2), *e = random_mat(n, t, 3);
    d.y = product(false, false, n, t, p, d.x, w);
    for (int64_t i = 0; i < n * t; i++) d.y[i] = d.y[i] / sqrt((double)p) + noise * e[i] + 5;
    for (int64_t i = 0; i < n * p; i++) d.x[i] += 3; /* means that centring has to remove */
    free(w), free(e);
    return d;
}

static void data_free(struct data d) {
    free(d.x), free(d.y);
}

static gy_ridge_args ridge_args(const struct data *d, const double *alpha, int64_t n_alphas) {
    return (gy_ridge_args){d->n, d->p, d->t, d->x, d->p, d->y, d->t, alpha, n_alphas, false};
}

/* The gradient of the ridge objective, worked out from the definition, must vanish. */
static void check_ridge(gy_ctx *ctx, struct data d, const double *alpha, int64_t n_alphas, bool no_intercept) {
    double *w = mat(n_alphas * d.p, d.t), *b = mat(n_alphas, d.t);
    gy_ridge_args a = ridge_args(&d, alpha, n_alphas);
    a.no_intercept = no_intercept;
    assert_ok(ctx, gy_la_ridge_fit(ctx, &a, w, b));
    for (int64_t q = 0; q < n_alphas; q++) {
        double *wq = w + q * d.p * d.t, *r = product(false, false, d.n, d.t, d.p, d.x, wq);
        for (int64_t i = 0; i < d.n * d.t; i++) r[i] += b[q * d.t + i % d.t] - d.y[i];
        double *g = product(true, false, d.p, d.t, d.n, d.x, r);
        for (int64_t i = 0; i < d.p * d.t; i++) assert_close(g[i] + alpha[q] * wq[i], 0, 1e-9);
        for (int64_t c = 0; c < d.t; c++) {
            double sum = 0;
            for (int64_t i = 0; i < d.n; i++) sum += r[i * d.t + c];
            if (no_intercept)
                assert_true(b[q * d.t + c] == 0);
            else
                assert_close(sum, 0, 1e-9);
        }
        free(r), free(g);
    }
    free(w), free(b);
}

static void ridge_zeroes_the_gradient_in_primal_and_dual_form(void **state) {
    gy_ctx *ctx = *state;
    const double alphas[] = {0.01, 1, 100}, one[] = {2.5};
    const int64_t shapes[][3] = {{40, 7, 3}, {12, 70, 5}, {9, 9, 1}, {130, 129, 2}, {2, 1, 1}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int no_intercept = 0; no_intercept < 2; no_intercept++) {
            struct data d = linear_data(shapes[i][0], shapes[i][1], shapes[i][2], 0.1);
            check_ridge(*state, d, alphas, 3, no_intercept);
            check_ridge(ctx, d, one, 1, no_intercept); /* the Cholesky path */
            data_free(d);
        }
}

static void alpha_zero_is_least_squares_of_minimum_norm(void **state) {
    gy_ctx *ctx = *state;
    struct data d = linear_data(8, 20, 2, 0.1);
    const double zero[] = {0};
    double *w = mat(20, 2), *want = mat(20, 2), b[2];
    gy_ridge_args a = ridge_args(&d, zero, 1);
    a.no_intercept = true;
    assert_ok(ctx, gy_la_ridge_fit(ctx, &a, w, b));
    assert_ok(ctx, gy_la_lstsq(ctx, 8, 20, 2, d.x, 20, d.y, 2, -1, want, 2, NULL));
    assert_below(max_diff(40, w, want), 1e-10);
    free(w), free(want);
    data_free(d);
}

static void ridge_by_hand(void **state) {
    gy_ctx *ctx = *state;
    /* x - 2 = (-1, 0, 1), x.y = 3.5 - 1 = 2.5, x.x = 2: w = 2.5 / (2 + 1), b = 13/6 - 2 w. */
    double x[3] = {1, 2, 3}, y[3] = {1, 2, 3.5}, alpha[2] = {1, 0.5}, w[2], b[2];
    gy_ridge_args a = {3, 1, 1, x, 1, y, 1, alpha, 2, false};
    assert_ok(ctx, gy_la_ridge_fit(ctx, &a, w, b));
    assert_close(w[0], 2.5 / 3, 1e-15);
    assert_close(b[0], 13.0 / 6 - 5.0 / 3, 1e-14);
    assert_close(w[1], 1, 1e-15);
}

/* Held-out predictions by really leaving the fold out, scored by the definitions. */
static double slow_score(gy_ctx *ctx, struct data d, double alpha, const int64_t *fold, int64_t folds, int64_t target,
                         gy_score kind) {
    double *f = mat(d.n, 1), *w = mat(d.p, d.t), *b = mat(d.t, 1), *y = mat(d.n, 1);
    for (int64_t k = 0; k < folds; k++) {
        struct data part = {0, d.p, d.t, mat(d.n, d.p), mat(d.n, d.t)};
        for (int64_t i = 0; i < d.n; i++)
            if (fold[i] != k) {
                memcpy(part.x + part.n * d.p, d.x + i * d.p, sizeof(double) * (size_t)d.p);
                memcpy(part.y + part.n++ * d.t, d.y + i * d.t, sizeof(double) * (size_t)d.t);
            }
        gy_ridge_args a = ridge_args(&part, &alpha, 1);
        assert_ok(ctx, gy_la_ridge_fit(ctx, &a, w, b));
        for (int64_t i = 0; i < d.n; i++)
            if (fold[i] == k) {
                f[i] = b[target];
                for (int64_t j = 0; j < d.p; j++) f[i] += d.x[i * d.p + j] * w[j * d.t + target];
            }
        data_free(part);
    }
    double mean = 0, sse = 0, sst = 0;
    for (int64_t i = 0; i < d.n; i++) mean += (y[i] = d.y[i * d.t + target]) / (double)d.n;
    for (int64_t i = 0; i < d.n; i++) sse += (y[i] - f[i]) * (y[i] - f[i]), sst += (y[i] - mean) * (y[i] - mean);
    double r = kind == GY_SCORE_R2        ? 1 - sse / sst
               : kind == GY_SCORE_NEG_MSE ? -sse / (double)d.n
                                          : gy_la_pearson(d.n, y, f);
    free(f), free(w), free(b), free(y);
    return r;
}

static void fast_cross_validation_equals_refitting(void **state) {
    gy_ctx *ctx = *state;
    const double alphas[] = {0.5, 20};
    const int64_t shapes[][3] = {{24, 5, 2}, {15, 40, 2}};
    for (int q = 0; q < 2; q++) {
        struct data d = linear_data(shapes[q][0], shapes[q][1], 2, 0.3);
        int64_t each[24], four[24], spread[24];
        for (int64_t i = 0; i < d.n; i++) each[i] = i, four[i] = i * 7 % 4, spread[i] = 10 * four[i] + 3;
        for (int kind = GY_SCORE_R2; kind <= GY_SCORE_PEARSON; kind++) {
            double score[2], per[4];
            gy_ridge_args a = ridge_args(&d, alphas, 2);
            assert_ok(ctx, gy_la_ridge_loo(ctx, &a, (gy_score)kind, score, per));
            for (int i = 0; i < 4; i++)
                assert_close(per[i], slow_score(ctx, d, alphas[i / 2], each, d.n, i % 2, (gy_score)kind), 1e-9);
            assert_close(score[1], (per[2] + per[3]) / 2, 1e-14);
            assert_ok(ctx, gy_la_ridge_kfold(ctx, &a, spread, (gy_score)kind, score, per)); /* labels with gaps */
            for (int i = 0; i < 4; i++)
                assert_close(per[i], slow_score(ctx, d, alphas[i / 2], four, 4, i % 2, (gy_score)kind), 1e-9);
        }
        data_free(d);
    }
}

static void ridge_refuses_what_it_cannot_do(void **state) {
    gy_ctx *ctx = *state;
    struct data d = linear_data(6, 20, 1, 0.1);
    double w[20], b[1], score[1], bad[] = {-1}, zero[] = {0}, one[] = {1};
    gy_ridge_args a = ridge_args(&d, bad, 1);
    assert_message(ctx, gy_la_ridge_fit(ctx, &a, w, b), "alpha 0 is -1");
    a.alpha = zero; /* 20 features fit 6 samples exactly */
    assert_message(ctx, gy_la_ridge_loo(ctx, &a, GY_SCORE_R2, score, NULL), "leverage 1");
    a.alpha = one;
    int64_t same[6] = {2, 2, 2, 2, 2, 2}, negative[6] = {0, 1, -1, 0, 0, 0};
    assert_message(ctx, gy_la_ridge_kfold(ctx, &a, same, GY_SCORE_R2, score, NULL), "two different fold labels");
    assert_message(ctx, gy_la_ridge_kfold(ctx, &a, negative, GY_SCORE_R2, score, NULL), "-1 of sample 2");
    d.x[21] = NAN;
    assert_message(ctx, gy_la_ridge_fit(ctx, &a, w, b), "ridge: x: element (1, 1)");
    data_free(d);
}

/* ---- L-BFGS, logistic ---- */

/* Rosenbrock's valley in 10 dimensions: minimum 0 at (1, ..., 1). */
static gy_status rosenbrock(void *user, const double *x, double *value, double *grad) {
    int n = 10;
    (void)user;
    *value = 0;
    memset(grad, 0, sizeof(double) * (size_t)n);
    for (int i = 0; i + 1 < n; i++) {
        double a = 1 - x[i], b = x[i + 1] - x[i] * x[i];
        *value += a * a + 100 * b * b;
        grad[i] += -2 * a - 400 * b * x[i];
        grad[i + 1] += 200 * b;
    }
    return GY_OK;
}

/* sum x - log x: infinite or undefined for x <= 0, minimum at 1. */
static gy_status barrier(void *user, const double *x, double *value, double *grad) {
    (void)user;
    *value = 0;
    for (int i = 0; i < 3; i++) {
        *value += x[i] - log(x[i]);
        grad[i] = 1 - 1 / x[i];
    }
    return GY_OK;
}

static gy_status refuses(void *user, const double *x, double *value, double *grad) {
    (void)x, (void)grad;
    *value = 0;
    return *(gy_status *)user;
}

static void lbfgs_finds_the_bottom_of_rosenbrocks_valley(void **state) {
    gy_ctx *ctx = *state;
    double x[10] = {-1.2, 1, -1.2, 1, -1.2, 1, -1.2, 1, -1.2, 1};
    gy_lbfgs_result r;
    assert_ok(ctx, gy_lbfgs(ctx, 10, x, rosenbrock, NULL, (gy_lbfgs_args){.value_tol = 1e-300}, &r));
    assert_int_equal(r.stop, GY_LBFGS_GRADIENT);
    for (int i = 0; i < 10; i++) assert_close(x[i], 1, 1e-7);
    assert_true(r.iterations < 120 && r.evaluations < 200);
    double y[10] = {-1.2, 1};
    assert_ok(ctx, gy_lbfgs(ctx, 10, y, rosenbrock, NULL, (gy_lbfgs_args){.max_iter = 3}, &r));
    assert_int_equal(r.stop, GY_LBFGS_MAX_ITER);
    assert_int_equal(r.iterations, 3);
    assert_string_equal(gy_lbfgs_stop_name(r.stop), "iterations");
}

static void lbfgs_backs_out_of_undefined_regions(void **state) {
    gy_ctx *ctx = *state;
    double x[3] = {50, 0.001, 2};
    gy_lbfgs_result r;
    assert_ok(ctx, gy_lbfgs(ctx, 3, x, barrier, NULL, (gy_lbfgs_args){0}, &r));
    for (int i = 0; i < 3; i++) assert_close(x[i], 1, 1e-6);
    double outside[3] = {-1, 1, 1};
    assert_message(ctx, gy_lbfgs(ctx, 3, outside, barrier, NULL, (gy_lbfgs_args){0}, &r), "at the start");
    gy_status stop = GY_ERR_INTERRUPTED;
    assert_int_equal(gy_lbfgs(ctx, 3, x, refuses, &stop, (gy_lbfgs_args){0}, &r), GY_ERR_INTERRUPTED);
}

static void logistic_zeroes_the_gradient_of_its_objective(void **state) {
    gy_ctx *ctx = *state;
    enum { N = 150, P = 4, K = 3 };
    double *x = random_mat(N, P, 4), w[P * K], b[K], *prob = mat(N, K);
    int64_t labels[N];
    for (int i = 0; i < N; i++) labels[i] = x[i * P] > 0.5 ? 2 : x[i * P + 1] + 0.3 * x[i * P + 2] > 0;
    gy_lbfgs_result r;
    gy_logistic_args a = {N, P, K, x, P, labels, 0.01, false, {.grad_tol = 1e-10, .value_tol = 1e-300}};
    assert_ok(ctx, gy_la_logistic_fit(ctx, &a, w, b, &r));
    assert_ok(ctx, gy_la_logistic_predict(ctx, N, P, K, x, P, w, b, prob));
    double loss = 0;
    int right = 0;
    for (int j = 0; j < P * K; j++) loss += 0.005 * w[j] * w[j];
    for (int i = 0; i < N; i++) {
        double sum = 0;
        int best = 0;
        for (int k = 0; k < K; k++) {
            sum += prob[i * K + k];
            if (prob[i * K + k] > prob[i * K + best]) best = k;
        }
        assert_close(sum, 1, 1e-14);
        right += best == labels[i];
        loss -= log(prob[i * K + labels[i]]) / N;
        prob[i * K + labels[i]] -= 1;
    }
    assert_close(r.value, loss, 1e-13);
    assert_true(right > 130);
    double *g = product(true, false, P, K, N, x, prob);
    for (int j = 0; j < P * K; j++) assert_below(fabs(g[j] / N + 0.01 * w[j]), 1e-9);
    for (int k = 0; k < K; k++) {
        double sum = 0;
        for (int i = 0; i < N; i++) sum += prob[i * K + k] / N;
        assert_below(fabs(sum), 1e-9);
    }
    a.no_intercept = true;
    assert_ok(ctx, gy_la_logistic_fit(ctx, &a, w, b, &r));
    for (int k = 0; k < K; k++) assert_true(b[k] == 0);
    labels[7] = 3;
    assert_message(ctx, gy_la_logistic_fit(ctx, &a, w, b, &r), "label 3 of sample 7");
    free(x), free(prob), free(g);
}

/* ---- PCA ---- */

static void pca_agrees_on_both_paths_and_with_the_covariance(void **state) {
    gy_ctx *ctx = *state;
    const int64_t shapes[][2] = {{50, 6}, {9, 40}, {5, 5}};
    for (int q = 0; q < 3; q++) {
        int64_t n = shapes[q][0], p = shapes[q][1], k = n < p ? n - 2 : p - 1;
        double *x = random_mat(n, p, 5), *mean = mat(p, 1), *c = mat(k, p), *var = mat(k, 1), *ratio = mat(k, 1);
        double *scores = mat(n, k), *ct = mat(p, k);
        for (int64_t i = 0; i < n * p; i++) x[i] = 10 + x[i] * (double)(1 + i % p);
        assert_ok(ctx, gy_la_pca(ctx, n, p, x, p, k, mean, c, var, ratio, scores));
        for (int64_t i = 0; i < p; i++)
            for (int64_t j = 0; j < k; j++) ct[i * k + j] = c[j * p + i];
        assert_below(orthogonality(p, k, ct), 1e-12);
        for (int64_t i = 0; i < n * p; i++) x[i] -= mean[i % p];
        double *s = product(true, false, p, p, n, x, x), *sc = product(false, true, p, k, p, s, c), trace = 0;
        for (int64_t i = 0; i < p; i++) trace += s[i * p + i];
        for (int64_t j = 0; j < k; j++) {
            int64_t best = 0;
            for (int64_t i = 0; i < p; i++) {
                assert_close(sc[i * k + j] / (double)(n - 1), var[j] * c[j * p + i], 1e-9);
                if (fabs(c[j * p + i]) > fabs(c[j * p + best])) best = i;
            }
            assert_true(c[j * p + best] > 0);
            assert_close(ratio[j], var[j] * (double)(n - 1) / trace, 1e-12);
        }
        double *want = product(false, true, n, k, p, x, c);
        assert_below(max_diff(n * k, scores, want), 1e-11);
        free(x), free(mean), free(c), free(var), free(ratio), free(scores), free(ct), free(s), free(sc), free(want);
    }
    double flat[6] = {1, 2, 3, 1, 2, 3}, mean[3], c[3], v[1], ratio[1];
    assert_ok(ctx, gy_la_pca(ctx, 2, 3, flat, 3, 1, mean, c, v, ratio, NULL));
    assert_true(v[0] == 0 && ratio[0] == 0);
    assert_message(ctx, gy_la_pca(ctx, 2, 3, flat, 3, 3, mean, c, v, NULL, NULL), "3 components of [2, 3]");
}

/* ---- k-means ---- */

static void kmeans_recovers_separated_clusters(void **state) {
    gy_ctx *ctx = *state;
    enum { N = 300, K = 3 };
    double *x = random_mat(N, 2, 6), centres[K * 2], inertia, spread = 0;
    int64_t labels[N], iterations;
    for (int i = 0; i < N; i++) x[2 * i] = 0.3 * x[2 * i] + 10 * (i % K), x[2 * i + 1] *= 0.3;
    gy_kmeans_args a = {N, 2, K, x, 2, 0, 0, 3};
    assert_ok(ctx, gy_la_kmeans(ctx, &a, centres, labels, &inertia, &iterations));
    for (int i = 0; i < N; i++) {
        assert_int_equal(labels[i], labels[i % K]);
        for (int j = 0; j < 2; j++) spread += pow(x[2 * i + j] - centres[2 * labels[i] + j], 2);
    }
    assert_true(labels[0] != labels[1] && labels[1] != labels[2] && labels[0] != labels[2]);
    assert_close(inertia, spread, 1e-12);
    free(x);
}

static void kmeans_fills_empty_clusters_and_accepts_duplicates(void **state) {
    gy_ctx *ctx = *state;
    double x[8] = {1, 1, 1, 1, 1, 1, 5, 5}, centres[4], inertia; /* two distinct values, four clusters */
    int64_t labels[8], seen[4] = {0};
    gy_kmeans_args a = {8, 1, 4, x, 1, 0, 0, 1};
    assert_ok(ctx, gy_la_kmeans(ctx, &a, centres, labels, &inertia, NULL));
    assert_true(inertia == 0);
    for (int i = 0; i < 8; i++) {
        seen[labels[i]]++;
        assert_true(centres[labels[i]] == x[i]);
    }
    for (int c = 0; c < 4; c++) assert_true(seen[c] > 0);
    a.k = 9;
    assert_message(ctx, gy_la_kmeans(ctx, &a, centres, labels, NULL, NULL), "9 clusters of [8, 1]");
}

/* ---- assignment ---- */

static double best_by_trying(int64_t m, int64_t n, const double *cost, int64_t row, unsigned used, double sign) {
    if (row == m) return 0;
    double best = INFINITY;
    for (int64_t j = 0; j < n; j++)
        if (!(used >> j & 1))
            best = fmin(best, sign * cost[row * n + j] + best_by_trying(m, n, cost, row + 1, used | 1u << j, sign));
    return best;
}

static void assignment_is_optimal_for_every_small_shape(void **state) {
    gy_ctx *ctx = *state;
    for (int64_t m = 1; m <= 6; m++)
        for (int64_t n = m; n <= 7; n++)
            for (int round = 0; round < 6; round++) {
                double *c = random_mat(m, n, (uint64_t)(m * 100 + n * 10 + round)), *t = mat(n, m), total;
                if (round % 2)
                    for (int64_t i = 0; i < m * n; i++) c[i] = floor(c[i] * 2); /* many ties */
                for (int64_t i = 0; i < m; i++)
                    for (int64_t j = 0; j < n; j++) t[j * m + i] = c[i * n + j];
                double sign = round % 3 ? 1 : -1, want = sign * best_by_trying(m, n, c, 0, 0, sign), sum = 0;
                int64_t col[7], row[7], pairs = 0;
                unsigned used = 0;
                assert_ok(ctx, gy_la_assign(ctx, m, n, c, n, sign < 0, col, &total));
                for (int64_t i = 0; i < m; i++) {
                    assert_true(col[i] >= 0 && !(used >> col[i] & 1));
                    used |= 1u << col[i];
                    sum += c[i * n + col[i]];
                }
                assert_close(total, want, 1e-13);
                assert_close(sum, want, 1e-13);
                assert_ok(ctx, gy_la_assign(ctx, n, m, t, m, sign < 0, row, &total)); /* more rows than columns */
                for (int64_t j = 0; j < n; j++) pairs += row[j] >= 0;
                assert_int_equal(pairs, m);
                assert_close(total, want, 1e-13);
                free(c), free(t);
            }
    double bad[1] = {NAN};
    int64_t col[1];
    assert_message(ctx, gy_la_assign(ctx, 1, 1, bad, 1, false, col, NULL), "element (0, 0)");
}

/* ---- statistics ---- */

static void correlations_match_hand_worked_values(void **state) {
    gy_ctx *ctx = *state;
    double x[5] = {1, 2, 3, 4, 5}, y[5] = {2, 1, 4, 3, 5}, flat[5] = {7, 7, 7, 7, 7}, rho;
    assert_close(gy_la_pearson(5, x, y), 0.8, 1e-15); /* sum dx dy = 8, both sums of squares 10 */
    assert_true(isnan(gy_la_pearson(5, x, flat)));
    assert_true(gy_la_pearson(5, x, x) <= 1 && gy_la_pearson(5, x, x) > 1 - 1e-15);
    double e[5] = {1, 10, 100, 1000, 10000};
    assert_ok(ctx, gy_la_spearman(ctx, 5, x, e, &rho));
    assert_close(rho, 1, 1e-15);
    double ties[6] = {3, 1, 3, 2, 3, 1}, rank[6], want[6] = {5, 1.5, 5, 3, 5, 1.5};
    assert_ok(ctx, gy_la_ranks(ctx, 6, ties, rank));
    assert_memory_equal(rank, want, sizeof want);
    ties[4] = NAN;
    assert_message(ctx, gy_la_ranks(ctx, 6, ties, rank), "element 4 is nan");
    double a[10], b[5], r[2];
    for (int i = 0; i < 5; i++) a[2 * i] = x[i], a[2 * i + 1] = flat[i], b[i] = y[i];
    assert_ok(ctx, gy_la_correlations(ctx, 5, 2, a, 2, 1, b, 1, r, 1));
    assert_close(r[0], 0.8, 1e-15);
    assert_true(isnan(r[1]));
}

static void the_permutation_p_value_counts_the_observed_one(void **state) {
    (void)state;
    double null[4] = {0, 1, 2, 3};
    assert_true(gy_la_permutation_p(2, 4, null) == 3.0 / 5);
    assert_true(gy_la_permutation_p(9, 4, null) == 1.0 / 5);
    assert_true(gy_la_permutation_p(9, 0, null) == 1);
}

struct two {
    const double *x, *y;
};
static gy_status reordered_correlation(void *user, const int64_t *perm, double *value) {
    const struct two *t = user;
    double z[20];
    for (int i = 0; i < 20; i++) z[i] = t->y[perm[i]];
    *value = gy_la_pearson(20, t->x, z);
    return GY_OK;
}

static void a_permutation_test_tells_signal_from_noise(void **state) {
    gy_ctx *ctx = *state;
    double *x = random_mat(20, 1, 7), *y = random_mat(20, 1, 8), p, observed, null[199], again[199], p2;
    struct two t = {x, y};
    assert_ok(ctx, gy_la_permutation_test(ctx, 20, 199, 1, reordered_correlation, &t, &observed, &p, null));
    assert_true(p > 0.05);
    assert_true(p == gy_la_permutation_p(observed, 199, null));
    assert_ok(ctx, gy_la_permutation_test(ctx, 20, 199, 1, reordered_correlation, &t, &observed, &p2, again));
    assert_memory_equal(null, again, sizeof null);
    for (int i = 0; i < 20; i++) y[i] = x[i] + 0.3 * y[i];
    assert_ok(ctx, gy_la_permutation_test(ctx, 20, 199, 1, reordered_correlation, &t, &observed, &p, NULL));
    assert_true(p == 1.0 / 200);
    free(x), free(y);
}

/* ---- memory and threads ---- */

static gy_status everything_classical(gy_ctx *ctx) {
    static const double x[18] = {1, 2, 0, 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9}, y[6] = {1, 4, 2, 3, 5, 0};
    static const int64_t labels[6] = {0, 1, 0, 1, 1, 0};
    static const double alphas[2] = {1, 10};
    double w[6], b[2], s[2], mean[3], c[3];
    int64_t got[6];
    gy_ridge_args r = {6, 3, 1, x, 3, y, 1, alphas, 2, false};
    gy_status st = gy_la_ridge_fit(ctx, &r, w, b);
    if (!st) st = gy_la_ridge_loo(ctx, &r, GY_SCORE_R2, s, NULL);
    if (!st) st = gy_la_ridge_kfold(ctx, &r, labels, GY_SCORE_R2, s, NULL);
    r.n_alphas = 1;
    if (!st) st = gy_la_ridge_fit(ctx, &r, w, b);
    gy_logistic_args l = {6, 3, 2, x, 3, labels, 0.1, false, {0}};
    if (!st) st = gy_la_logistic_fit(ctx, &l, w, b, NULL);
    if (!st) st = gy_la_pca(ctx, 6, 3, x, 3, 1, mean, c, NULL, NULL, NULL);
    if (!st) st = gy_la_pca(ctx, 2, 3, x, 3, 1, mean, c, NULL, NULL, NULL);
    gy_kmeans_args k = {6, 1, 2, y, 1, 2, 0, 1};
    if (!st) st = gy_la_kmeans(ctx, &k, c, got, NULL, NULL);
    if (!st) st = gy_la_assign(ctx, 6, 3, x, 3, false, got, NULL);
    if (!st) st = gy_la_correlations(ctx, 6, 3, x, 3, 1, y, 1, w, 1);
    if (!st) st = gy_la_spearman(ctx, 6, y, y, w);
    return st;
}
static void allocation_failures_are_reported_and_leak_nothing(void **state) {
    survives_allocation_failures(*state, everything_classical);
}

enum { N = 200, P = 70, T = 80 };
static void fit_everything(gy_ctx *ctx, double *out) {
    double *x = random_mat(N, P, 9), *y = random_mat(N, T, 10), alphas[2] = {1, 5};
    int64_t labels[N];
    for (int i = 0; i < N; i++) labels[i] = (i * i) % 3;
    gy_ridge_args r = {N, P, T, x, P, y, T, alphas, 2, false};
    assert_ok(ctx, gy_la_ridge_fit(ctx, &r, out, out + 2 * P * T));
    out += 2 * P * T + 2 * T;
    assert_ok(ctx, gy_la_ridge_kfold(ctx, &r, labels, GY_SCORE_PEARSON, out, NULL));
    out += 2;
    gy_logistic_args l = {N, P, 3, x, P, labels, 0.1, false, {0}};
    assert_ok(ctx, gy_la_logistic_fit(ctx, &l, out, out + P * 3, NULL));
    out += P * 3 + 3;
    gy_kmeans_args k = {N, P, 4, x, P, 2, 0, 1};
    assert_ok(ctx, gy_la_kmeans(ctx, &k, out, labels, NULL, NULL));
    out += 4 * P;
    assert_ok(ctx, gy_la_correlations(ctx, N, P, x, P, T, y, T, out, T));
    free(x), free(y);
}
static void fits_have_the_same_bits_for_any_number_of_threads(void **state) {
    (void)state;
    same_bits_for_any_threads(2 * P * T + 2 * T + 2 + P * 3 + 3 + 4 * P + P * T, fit_everything);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(ridge_zeroes_the_gradient_in_primal_and_dual_form),
        TEST(ridge_by_hand),
        TEST(alpha_zero_is_least_squares_of_minimum_norm),
        TEST(fast_cross_validation_equals_refitting),
        TEST(ridge_refuses_what_it_cannot_do),
        TEST(lbfgs_finds_the_bottom_of_rosenbrocks_valley),
        TEST(lbfgs_backs_out_of_undefined_regions),
        TEST(logistic_zeroes_the_gradient_of_its_objective),
        TEST(pca_agrees_on_both_paths_and_with_the_covariance),
        TEST(kmeans_recovers_separated_clusters),
        TEST(kmeans_fills_empty_clusters_and_accepts_duplicates),
        TEST(assignment_is_optimal_for_every_small_shape),
        TEST(correlations_match_hand_worked_values),
        TEST(the_permutation_p_value_counts_the_observed_one),
        TEST(a_permutation_test_tells_signal_from_noise),
        TEST(allocation_failures_are_reported_and_leak_nothing),
        TEST(fits_have_the_same_bits_for_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
