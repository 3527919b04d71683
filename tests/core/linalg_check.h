/* linalg_check.h: matrices to try and residuals to look at. */
#ifndef LINALG_CHECK_H
#define LINALG_CHECK_H

#include "../harness/harness.h"

#include "core/linalg/linalg.h"
#include "core/rng.h"
#include "core/threads.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static const int64_t sizes[] = {1, 2, 3, 5, 17, 64, 129};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static inline double *mat(int64_t m, int64_t n) {
    return calloc((size_t)(m * n) + 1, sizeof(double));
}

static inline double *random_mat(int64_t m, int64_t n, uint64_t seed) {
    double *a = mat(m, n);
    gy_rng r;
    gy_rng_init(&r, seed, "matrix");
    for (int64_t i = 0; i < m * n; i++) a[i] = gy_rng_normal(&r);
    return a;
}

static inline double *random_symmetric(int64_t n, uint64_t seed) {
    double *a = random_mat(n, n, seed);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < i; j++) a[j * n + i] = a[i * n + j];
    return a;
}

static inline double *hilbert(int64_t n) {
    double *a = mat(n, n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) a[i * n + j] = 1.0 / (double)(i + j + 1);
    return a;
}

static inline double *identity(int64_t n) {
    double *a = mat(n, n);
    for (int64_t i = 0; i < n; i++) a[i * n + i] = 1;
    return a;
}

/* C = A B the plain way, in long double. op: stored transposed. */
static inline double *product(bool ta, bool tb, int64_t m, int64_t n, int64_t k, const double *a, const double *b) {
    double *c = mat(m, n);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            long double s = 0;
            for (int64_t p = 0; p < k; p++)
                s += (long double)(ta ? a[p * m + i] : a[i * k + p]) * (tb ? b[j * k + p] : b[p * n + j]);
            c[i * n + j] = (double)s;
        }
    return c;
}

static inline double max_diff(int64_t n, const double *a, const double *b) {
    double top = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs(a[i] - b[i]);
        if (!(d <= top)) top = d;
    }
    return top;
}

static inline double max_entry(int64_t n, const double *a) {
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(a[i]));
    return top;
}

/* max |Q^T Q - I| over the columns of Q [m, n]. */
static inline double orthogonality(int64_t m, int64_t n, const double *q) {
    double *g = product(true, false, n, n, m, q, q), *e = identity(n);
    double d = max_diff(n * n, g, e);
    free(g);
    free(e);
    return d;
}

#define assert_below(x, limit)                                                                                         \
    do {                                                                                                               \
        double x_ = (x), l_ = (limit);                                                                                 \
        if (!(x_ <= l_)) fail_msg("%s = %g is above %g (line %d)", #x, x_, l_, __LINE__);                              \
    } while (0)

/* Runs `body` with allocation 1, 2, ... failing until it succeeds; every failure must be GY_ERR_NOMEM and leak
 * nothing. */
static inline void survives_allocation_failures(gy_ctx *ctx, gy_status (*body)(gy_ctx *ctx)) {
    size_t live = gy_mem_live(ctx);
    for (int64_t at = 1;; at++) {
        assert_true(at < 2000);
        gy_mem_fail_at(ctx, at);
        gy_status s = body(ctx);
        gy_mem_fail_at(ctx, 0);
        assert_int_equal(gy_mem_live(ctx), live);
        if (s == GY_OK) {
            assert_true(at > 1);
            break;
        }
        assert_int_equal(s, GY_ERR_NOMEM);
        gy_error_clear(ctx);
    }
}

/* `body` fills n doubles; they must have the same bits for 1, 2, 3 and 8 threads. */
static inline void same_bits_for_any_threads(int64_t n, void (*body)(gy_ctx *ctx, double *out)) {
    double *first = mat(n, 1), *other = mat(n, 1);
    static const int threads[] = {1, 2, 3, 8};
    for (int t = 0; t < 4; t++) {
        gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = threads[t]});
        body(ctx, t ? other : first);
        gy_ctx_free(ctx);
        if (t) assert_memory_equal(first, other, (size_t)n * sizeof *first);
    }
    free(first);
    free(other);
}

#endif
