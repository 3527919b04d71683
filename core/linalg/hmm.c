/* Hidden Markov chains: forward-backward and Viterbi, in log space. T S^2 steps of each, one after another in t: the
 * chain leaves nothing to cut into pieces, so sequences are what a caller runs in parallel. */
#include "hmm.h"
#include "inner.h"

static gy_status check(gy_ctx *ctx, const gy_hmm *h, int64_t steps, const double *log_emission) {
    int64_t s = h->states;
    if (s < 1 || steps < 1)
        return gy_fail(ctx, GY_ERR_SHAPE, "hmm: at least 1 state and 1 step expected, found %lld and %lld",
                       (long long)s, (long long)steps);
    for (int64_t i = 0; i < s + s * s + steps * s; i++) {
        double v = i < s ? h->log_initial[i] : i < s + s * s ? h->log_transition[i - s] : log_emission[i - s - s * s];
        if (isnan(v) || v == INFINITY)
            return gy_fail(ctx, GY_ERR_NUMERIC, "hmm: %s element %lld is %g, expected a log-probability",
                           i < s           ? "log_initial"
                           : i < s + s * s ? "log_transition"
                                           : "log_emission",
                           (long long)(i < s           ? i
                                       : i < s + s * s ? i - s
                                                       : i - s - s * s),
                           v);
    }
    return GY_OK;
}

/* log sum_i e^{a[i] + b[i stride]}; b NULL: zeros. -inf if every term is. */
static double log_sum(int64_t n, const double *a, const double *b, int64_t stride) {
    double top = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, a[i] + (b ? b[i * stride] : 0));
    if (top == -INFINITY) return top;
    for (int64_t i = 0; i < n; i++) sum += exp(a[i] + (b ? b[i * stride] : 0) - top);
    return top + log(sum);
}

/* alpha_t(j) = log p(seen up to t, state j at t). */
static void forward(const gy_hmm *h, int64_t steps, const double *log_emission, double *alpha) {
    int64_t s = h->states;
    for (int64_t j = 0; j < s; j++) alpha[j] = h->log_initial[j] + log_emission[j];
    for (int64_t t = 1; t < steps; t++)
        for (int64_t j = 0; j < s; j++)
            alpha[t * s + j] = log_emission[t * s + j] + log_sum(s, alpha + (t - 1) * s, h->log_transition + j, s);
}

/* From alpha and the future at t + 1, after[j] = log_emission + beta at t + 1: adds to pairs, and makes beta at t. */
static void step_back(const gy_hmm *h, const double *alpha, const double *after, double total, double *beta,
                      double *pairs) {
    int64_t s = h->states;
    for (int64_t i = 0; i < s; i++) {
        beta[i] = log_sum(s, after, h->log_transition + i * s, 1);
        for (int64_t j = 0; pairs && j < s; j++)
            pairs[i * s + j] += exp(alpha[i] + h->log_transition[i * s + j] + after[j] - total);
    }
}

gy_status gy_la_hmm_posterior(gy_ctx *ctx, const gy_hmm *h, int64_t steps, const double *log_emission, double *gamma,
                              double *pairs, double *step, double *log_likelihood) {
    int64_t s = h->states;
    gy_status e = check(ctx, h, steps, log_emission);
    if (e) return e;
    double *alpha = gy_la_new(ctx, steps + 2, s);
    if (!alpha) return GY_ERR_NOMEM;
    double *after = alpha + steps * s, *beta = after + s;
    forward(h, steps, log_emission, alpha);
    double total = log_sum(s, alpha + (steps - 1) * s, NULL, 0), before = 0;
    if (total == -INFINITY) {
        gy_free(ctx, alpha);
        return gy_fail(ctx, GY_ERR_NUMERIC, "hmm: no path of states can have made the sequence of %lld steps",
                       (long long)steps);
    }
    for (int64_t t = 0; step && t < steps; t++) {
        double now = log_sum(s, alpha + t * s, NULL, 0);
        step[t] = now - before;
        before = now;
    }
    for (int64_t i = 0; pairs && i < s * s; i++) pairs[i] = 0;
    for (int64_t j = 0; j < s; j++) beta[j] = 0;
    for (int64_t t = steps - 1; (gamma || pairs) && t >= 0; t--) {
        double *a = alpha + t * s;
        for (int64_t j = 0; gamma && j < s; j++) gamma[t * s + j] = exp(a[j] + beta[j] - total);
        for (int64_t j = 0; j < s; j++) after[j] = log_emission[t * s + j] + beta[j];
        if (t > 0) step_back(h, a - s, after, total, beta, pairs);
    }
    if (log_likelihood) *log_likelihood = total;
    gy_free(ctx, alpha);
    return GY_OK;
}

gy_status gy_la_hmm_viterbi(gy_ctx *ctx, const gy_hmm *h, int64_t steps, const double *log_emission, int64_t *path,
                            double *log_probability) {
    int64_t s = h->states;
    gy_status e = check(ctx, h, steps, log_emission);
    if (e) return e;
    double *best = gy_la_new(ctx, 2, s);
    int64_t *from = gy_calloc(ctx, (size_t)steps, (size_t)s * sizeof *from);
    if (!best || !from) {
        gy_free(ctx, best);
        gy_free(ctx, from);
        return GY_ERR_NOMEM;
    }
    double *now = best, *next = best + s;
    for (int64_t j = 0; j < s; j++) now[j] = h->log_initial[j] + log_emission[j];
    for (int64_t t = 1; t < steps; t++) {
        for (int64_t j = 0; j < s; j++) {
            int64_t k = 0;
            for (int64_t i = 1; i < s; i++)
                if (now[i] + h->log_transition[i * s + j] > now[k] + h->log_transition[k * s + j]) k = i;
            from[t * s + j] = k;
            next[j] = now[k] + h->log_transition[k * s + j] + log_emission[t * s + j];
        }
        double *other = now;
        now = next, next = other;
    }
    int64_t at = 0;
    for (int64_t j = 1; j < s; j++)
        if (now[j] > now[at]) at = j;
    if (log_probability) *log_probability = now[at];
    if (now[at] == -INFINITY)
        e = gy_fail(ctx, GY_ERR_NUMERIC, "hmm: no path of states can have made the sequence of %lld steps",
                    (long long)steps);
    for (int64_t t = steps - 1; e == GY_OK && t >= 0; t--) {
        path[t] = at;
        at = from[t * s + at];
    }
    gy_free(ctx, best);
    gy_free(ctx, from);
    return e;
}
