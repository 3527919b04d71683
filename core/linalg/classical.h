/* classical.h: regression, classification, components, clusters, matching and tests, in double precision.
 * The conventions of linalg.h hold. */
#ifndef GY_CLASSICAL_H
#define GY_CLASSICAL_H

#include "../base.h"
#include "lbfgs.h"

/* ---- ridge regression ------------------------------------------------------------------------ */

/* min_W,b  ||X W + 1 b^T - Y||_F^2 + alpha ||W||_F^2, the intercept b unpenalised (X and Y are centred). Hoerl &
 * Kennard, Technometrics 12 (1970). One eigendecomposition, of X^T X [p, p] when p <= n, else of X X^T [n, n], serves
 * every alpha and every target; a single alpha > 0 is fitted by Cholesky instead. alpha = 0 on deficient rank gives
 * the minimum-norm solution. */
typedef struct gy_ridge_args {
    int64_t n, p, t; /* samples, features, targets; each >= 1 */
    const double *x; /* [n, p] */
    int64_t ldx;
    const double *y; /* [n, t] */
    int64_t ldy;
    const double *alpha; /* [n_alphas], each >= 0 */
    int64_t n_alphas;
    bool no_intercept;
} gy_ridge_args;

/* coef [n_alphas, p, t], intercept [n_alphas, t] (zeros without intercept), both contiguous. */
gy_status gy_la_ridge_fit(gy_ctx *ctx, const gy_ridge_args *args, double *coef, double *intercept) GY_MUST_CHECK;

/* Higher is better for all of them. They compare held-out predictions, pooled over folds, with y. */
typedef enum gy_score {
    GY_SCORE_R2,      /* 1 - sum (y - f)^2 / sum (y - mean y)^2; 0 for a constant target */
    GY_SCORE_NEG_MSE, /* minus the mean squared error */
    GY_SCORE_PEARSON  /* correlation; 0 if either side is constant */
} gy_score;

/* Leave-one-out without refitting: the residual of sample i when left out is e_i / (1 - h_ii), h the leverage (Allen's
 * PRESS, Technometrics 16 (1974)). score [n_alphas] is the mean over targets; per_target [n_alphas, t] or NULL.
 * GY_ERR_NUMERIC when a leverage is 1 (a fit that interpolates: alpha too small). */
gy_status gy_la_ridge_loo(gy_ctx *ctx, const gy_ridge_args *args, gy_score kind, double *score,
                          double *per_target) GY_MUST_CHECK;

/* The same over folds: fold [n] holds labels >= 0; the samples of a label are predicted from all others. At least two
 * different labels. One eigendecomposition a fold. */
gy_status gy_la_ridge_kfold(gy_ctx *ctx, const gy_ridge_args *args, const int64_t *fold, gy_score kind, double *score,
                            double *per_target) GY_MUST_CHECK;

/* ---- multinomial logistic regression --------------------------------------------------------- */

/* min_W,b  (1/n) sum_i -log softmax(x_i W + b)[label_i] + (l2/2) ||W||_F^2, b unpenalised, by L-BFGS from zero.
 * Bishop, Pattern Recognition and Machine Learning (2006), 4.3.4. l2 = 1 / (C n) in the notation of a cost C on the
 * sum of losses. Features should have similar scales. */
typedef struct gy_logistic_args {
    int64_t n, p, k; /* samples, features, classes; n, p >= 1, k >= 2 */
    const double *x; /* [n, p] */
    int64_t ldx;
    const int64_t *labels; /* [n], 0..k-1 */
    double l2;             /* >= 0; 0 has no finite minimum when the classes are separable */
    bool no_intercept;
    gy_lbfgs_args lbfgs;
} gy_logistic_args;

/* coef [p, k], intercept [k]; result may be NULL. */
gy_status gy_la_logistic_fit(gy_ctx *ctx, const gy_logistic_args *args, double *coef, double *intercept,
                             gy_lbfgs_result *result) GY_MUST_CHECK;
/* prob [n, k]: rows sum to 1. */
gy_status gy_la_logistic_predict(gy_ctx *ctx, int64_t n, int64_t p, int64_t k, const double *x, int64_t ldx,
                                 const double *coef, const double *intercept, double *prob) GY_MUST_CHECK;

/* ---- principal components -------------------------------------------------------------------- */

/* X [n, p], n >= 2, 1 <= k <= min(n, p): mean [p]; components [k, p], orthonormal rows, each with its largest entry
 * (the first of equal ones) positive; variance [k] along them (divisor n - 1, falling); ratio [k] to the total
 * variance (0 if that is 0); scores [n, k] = (X - mean) components^T. Every output but mean and components may be
 * NULL. Thin SVD; for n < p the eigenvectors of the n x n inner products, unless the k-th is too small to be had
 * from squares. Jolliffe, Principal Component Analysis (2002), 3.5. */
gy_status gy_la_pca(gy_ctx *ctx, int64_t n, int64_t p, const double *x, int64_t ldx, int64_t k, double *mean,
                    double *components, double *variance, double *ratio, double *scores) GY_MUST_CHECK;

/* ---- k-means --------------------------------------------------------------------------------- */

/* Lloyd's algorithm from k-means++ starts (Arthur & Vassilvitskii, SODA 2007); the best of `restarts` runs, the first
 * of equal ones. A point between equally near centres goes to the lower index. A centre that loses all its points
 * takes the point farthest from its own centre (lowest index first) out of a cluster that keeps others. */
typedef struct gy_kmeans_args {
    int64_t n, p, k; /* 1 <= k <= n, p >= 1 */
    const double *x; /* [n, p] */
    int64_t ldx;
    int64_t restarts; /* 0: 10 */
    int64_t max_iter; /* 0: 300 */
    uint64_t seed;
} gy_kmeans_args;

/* centres [k, p], labels [n]; inertia, the sum of squared distances, and iterations of the chosen run may be NULL. */
gy_status gy_la_kmeans(gy_ctx *ctx, const gy_kmeans_args *args, double *centres, int64_t *labels, double *inertia,
                       int64_t *iterations) GY_MUST_CHECK;

/* ---- assignment ------------------------------------------------------------------------------ */

/* Matches rows with columns of cost [m, n] one to one, min(m, n) pairs, with the smallest sum (`maximise`: largest).
 * column [m]: the column of each row, -1 for rows left over. total may be NULL. Shortest augmenting paths with
 * potentials, O(min(m,n)^2 max(m,n)): Kuhn (1955); Jonker & Volgenant, Computing 38 (1987). */
gy_status gy_la_assign(gy_ctx *ctx, int64_t m, int64_t n, const double *cost, int64_t ld, bool maximise,
                       int64_t *column, double *total) GY_MUST_CHECK;

/* ---- correlation and permutation tests -------------------------------------------------------- */

/* Pearson's r of x [n] and y [n], in [-1, 1]; NaN when either is constant or n < 2. */
double gy_la_pearson(int64_t n, const double *x, const double *y);
/* r [p, q] = correlation of column i of X [n, p] with column j of Y [n, q]; NaN where a column is constant. n >= 2. */
gy_status gy_la_correlations(gy_ctx *ctx, int64_t n, int64_t p, const double *x, int64_t ldx, int64_t q,
                             const double *y, int64_t ldy, double *r, int64_t ldr) GY_MUST_CHECK;
/* rank [n]: 1..n, equal values share their mean rank. NaN is refused. */
gy_status gy_la_ranks(gy_ctx *ctx, int64_t n, const double *x, double *rank) GY_MUST_CHECK;
/* Spearman's rho: Pearson's r of the ranks. NaN as for gy_la_pearson. */
gy_status gy_la_spearman(gy_ctx *ctx, int64_t n, const double *x, const double *y, double *rho) GY_MUST_CHECK;

/* (1 + #{null >= observed}) / (1 + n): one-sided, never 0. Phipson & Smyth (2010). NaN in null counts as >=. */
double gy_la_permutation_p(double observed, int64_t n, const double *null);

/* A statistic of the data under the reordering `perm` [n] (the identity gives the observed value). */
typedef gy_status (*gy_la_statistic_fn)(void *user, const int64_t *perm, double *value);
/* Calls fn with the identity, then with `permutations` uniform reorderings drawn from `seed`. null [permutations] may
 * be NULL. A statistic that is NaN is GY_ERR_NUMERIC. */
gy_status gy_la_permutation_test(gy_ctx *ctx, int64_t n, int64_t permutations, uint64_t seed, gy_la_statistic_fn fn,
                                 void *user, double *observed, double *p, double *null) GY_MUST_CHECK;

#endif
