/* Multinomial logistic regression. Parameters lie together as [W (p x k), b (k)]. */
#include "classical.h"
#include "inner.h"

struct problem {
    const gy_logistic_args *a;
    gy_pool *pool;
    double *prob;    /* [n, k] */
    double *partial; /* loss by tile */
};

enum { ROWS = 64 };

/* Turns scores into probabilities in place; with labels also returns -log prob[label]. The largest score is
 * subtracted first so that exp cannot overflow. */
static double softmax_row(int64_t k, double *row, int64_t label) {
    double top = row[0], sum = 0;
    for (int64_t j = 1; j < k; j++) top = fmax(top, row[j]);
    double at = label >= 0 ? row[label] : 0;
    for (int64_t j = 0; j < k; j++) sum += row[j] = exp(row[j] - top);
    for (int64_t j = 0; j < k; j++) row[j] /= sum;
    return log(sum) + top - at;
}

static void loss_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    struct problem *q = arg;
    int64_t lo, hi, k = q->a->k;
    gy_tile_range(q->a->n, ROWS, t, &lo, &hi);
    double sum = 0;
    for (int64_t i = lo; i < hi; i++) {
        sum += softmax_row(k, q->prob + i * k, q->a->labels[i]);
        q->prob[i * k + q->a->labels[i]] -= 1; /* the gradient by the scores */
    }
    q->partial[t] = sum;
}

static void scores(gy_pool *pool, int64_t n, int64_t p, int64_t k, const double *x, int64_t ldx, const double *w,
                   const double *b, double *out) {
    for (int64_t i = 0; i < n; i++) memcpy(out + i * k, b, (size_t)k * sizeof *out);
    gy_la_gemm(pool, false, false, n, k, p, 1, x, ldx, w, k, 1, out, k);
}

static gy_status objective(void *user, const double *theta, double *value, double *grad) {
    struct problem *q = user;
    const gy_logistic_args *a = q->a;
    int64_t n = a->n, p = a->p, k = a->k;
    double inv_n = 1 / (double)n, loss = 0, *gb = grad + p * k;
    scores(q->pool, n, p, k, a->x, a->ldx, theta, theta + p * k, q->prob);
    gy_par(q->pool, gy_tiles(n, ROWS), loss_tile, q);
    for (int64_t t = 0; t < gy_tiles(n, ROWS); t++) loss += q->partial[t];
    *value = loss * inv_n + 0.5 * a->l2 * gy_la_dot(p * k, theta, theta);
    memcpy(grad, theta, (size_t)(p * k) * sizeof *grad);
    gy_la_gemm(q->pool, true, false, p, k, n, inv_n, a->x, a->ldx, q->prob, k, a->l2, grad, k);
    for (int64_t j = 0; j < k; j++) gb[j] = 0;
    for (int64_t i = 0; i < n && !a->no_intercept; i++) gy_la_axpy(k, inv_n, q->prob + i * k, gb);
    return GY_OK;
}

gy_status gy_la_logistic_fit(gy_ctx *ctx, const gy_logistic_args *a, double *coef, double *intercept,
                             gy_lbfgs_result *result) {
    if (a->n < 1 || a->p < 1 || a->k < 2)
        return gy_fail(ctx, GY_ERR_SHAPE,
                       "logistic: samples and features must be >= 1, classes >= 2; found %lld, %lld, %lld",
                       (long long)a->n, (long long)a->p, (long long)a->k);
    if (!(a->l2 >= 0) || !isfinite(a->l2))
        return gy_fail(ctx, GY_ERR_USAGE, "logistic: l2 is %g; a finite value >= 0 expected", a->l2);
    gy_status s = gy_la_check(ctx, "logistic: x", a->n, a->p, a->x, a->ldx);
    if (s) return s;
    for (int64_t i = 0; i < a->n; i++)
        if (a->labels[i] < 0 || a->labels[i] >= a->k)
            return gy_fail(ctx, GY_ERR_USAGE, "logistic: label %lld of sample %lld is outside 0..%lld",
                           (long long)a->labels[i], (long long)i, (long long)a->k - 1);
    struct problem q = {.a = a, .pool = gy_ctx_pool(ctx)};
    double *theta = gy_la_new(ctx, a->p + 1, a->k);
    if (!theta || !(q.prob = gy_la_new(ctx, a->n, a->k)) || !(q.partial = gy_la_new(ctx, gy_tiles(a->n, ROWS), 1)))
        s = GY_ERR_NOMEM;
    if (!s) s = gy_lbfgs(ctx, (a->p + 1) * a->k, theta, objective, &q, a->lbfgs, result);
    if (!s) {
        memcpy(coef, theta, (size_t)(a->p * a->k) * sizeof *coef);
        memcpy(intercept, theta + a->p * a->k, (size_t)a->k * sizeof *coef);
    }
    gy_free(ctx, q.partial);
    gy_free(ctx, q.prob);
    gy_free(ctx, theta);
    return s;
}

gy_status gy_la_logistic_predict(gy_ctx *ctx, int64_t n, int64_t p, int64_t k, const double *x, int64_t ldx,
                                 const double *coef, const double *intercept, double *prob) {
    gy_status s = gy_la_check(ctx, "logistic: x", n, p, x, ldx);
    if (s) return s;
    scores(gy_ctx_pool(ctx), n, p, k, x, ldx, coef, intercept, prob);
    for (int64_t i = 0; i < n; i++) softmax_row(k, prob + i * k, -1);
    return GY_OK;
}
