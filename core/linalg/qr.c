/* Householder QR in panels of 32 columns. A panel is factored reflector by reflector; the product of its reflectors,
 * I - V T V^T, is applied to the columns on the right as two matrix products. */
#include "inner.h"

enum { BLOCK = 32 };

double gy_la_reflector(int64_t n, double *x, int64_t stride) {
    if (n <= 1) return 0;
    double tail = gy_la_norm2(n - 1, x + stride, stride), alpha = x[0], up = 1;
    if (tail == 0) return 0;
    if (hypot(alpha, tail) < 1e-290) { /* subnormal numbers have too few bits to divide by */
        up = 0x1p500;
        for (int64_t i = 1; i < n; i++) x[i * stride] *= up;
        alpha *= up;
        tail = gy_la_norm2(n - 1, x + stride, stride);
    }
    double beta = -copysign(hypot(alpha, tail), alpha);
    double head = alpha - beta; /* same signs: no cancellation */
    for (int64_t i = 1; i < n; i++) x[i * stride] /= head;
    x[0] = beta / up;
    return head / -beta; /* (beta - alpha) / beta */
}

/* T [k, k] upper with H_0 ... H_{k-1} = I - V T V^T. Schreiber & Van Loan (1989). */
void gy_la_wy_t(gy_pool *pool, int64_t m, int64_t k, const double *v, int64_t ldv, const double *tau, double *t,
                int64_t ldt) {
    gy_la_gemm(pool, true, false, k, k, m, 1, v, ldv, v, ldv, 0, t, ldt); /* V^T V */
    for (int64_t j = 0; j < k; j++) {
        double z[BLOCK];
        for (int64_t i = 0; i < j; i++) z[i] = -tau[j] * t[i * ldt + j];
        for (int64_t i = 0; i < j; i++) {
            double s = 0;
            for (int64_t p = i; p < j; p++) s += t[i * ldt + p] * z[p];
            t[i * ldt + j] = s;
        }
        t[j * ldt + j] = tau[j];
        for (int64_t i = 0; i < j; i++) t[j * ldt + i] = 0;
    }
}

void gy_la_wy_apply(gy_pool *pool, bool trans, int64_t m, int64_t k, const double *v, int64_t ldv, const double *t,
                    int64_t ldt, int64_t r, double *b, int64_t ldb, double *w) {
    double *w2 = w + k * r;
    gy_la_gemm(pool, true, false, k, r, m, 1, v, ldv, b, ldb, 0, w, r);
    gy_la_gemm(pool, trans, false, k, r, k, 1, t, ldt, w, r, 0, w2, r);
    gy_la_gemm(pool, false, false, m, r, k, -1, v, ldv, w2, r, 1, b, ldb);
}

/* The reflectors stored below the diagonal of a [m, k], with their ones and zeros written out. */
static void explicit_v(int64_t m, int64_t k, const double *a, int64_t lda, double *v) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < k; j++) v[i * k + j] = i < j ? 0 : i == j ? 1 : a[i * lda + j];
}

static void factor_panel(int64_t m, int64_t n, double *a, int64_t lda, double *tau) {
    for (int64_t j = 0; j < n && j < m; j++) {
        double *x = a + j * lda + j, w[BLOCK];
        tau[j] = gy_la_reflector(m - j, x, lda);
        int64_t right = n - j - 1;
        if (tau[j] == 0 || right == 0) continue;
        memcpy(w, x + 1, (size_t)right * sizeof *w); /* w = v^T A */
        for (int64_t i = 1; i < m - j; i++) gy_la_axpy(right, x[i * lda], x + i * lda + 1, w);
        gy_la_axpy(right, -tau[j], w, x + 1);
        for (int64_t i = 1; i < m - j; i++) gy_la_axpy(right, -tau[j] * x[i * lda], w, x + i * lda + 1);
    }
}

gy_status gy_la_qr(gy_ctx *ctx, int64_t m, int64_t n, double *a, int64_t lda, double *tau) {
    gy_status s = gy_la_check(ctx, "qr", m, n, a, lda);
    if (s) return s;
    int64_t k = m < n ? m : n;
    double *v = gy_la_new(ctx, m, BLOCK), *w = v ? gy_la_new(ctx, 2 * n, BLOCK) : NULL;
    if (!w) s = GY_ERR_NOMEM;
    double t[BLOCK * BLOCK];
    gy_pool *pool = gy_ctx_pool(ctx);
    for (int64_t j = 0; j < k && !s; j += BLOCK) {
        int64_t nb = k - j < BLOCK ? k - j : BLOCK, right = n - j - nb, rows = m - j;
        double *d = a + j * lda + j;
        factor_panel(rows, nb, d, lda, tau + j);
        if (right == 0) continue;
        explicit_v(rows, nb, d, lda, v);
        gy_la_wy_t(pool, rows, nb, v, nb, tau + j, t, nb);
        gy_la_wy_apply(pool, true, rows, nb, v, nb, t, nb, right, d + nb, lda, w);
    }
    gy_free(ctx, w);
    gy_free(ctx, v);
    return s;
}

gy_status gy_la_qr_apply(gy_ctx *ctx, bool trans, int64_t m, int64_t k, const double *qr, int64_t ldqr,
                         const double *tau, int64_t r, double *b, int64_t ldb) {
    if (k < 0 || k > m || ldqr < k)
        return gy_fail(ctx, GY_ERR_SHAPE, "qr apply: %lld reflectors of length %lld with leading dimension %lld",
                       (long long)k, (long long)m, (long long)ldqr);
    gy_status s = gy_la_check(ctx, "qr apply: right-hand side", m, r, b, ldb);
    if (s) return s;
    double *v = gy_la_new(ctx, m, BLOCK), *w = v ? gy_la_new(ctx, 2 * r, BLOCK) : NULL;
    if (!w) s = GY_ERR_NOMEM;
    double t[BLOCK * BLOCK];
    gy_pool *pool = gy_ctx_pool(ctx);
    int64_t blocks = gy_tiles(k, BLOCK);
    for (int64_t q = 0; q < blocks && !s; q++) {
        int64_t j = (trans ? q : blocks - 1 - q) * BLOCK, nb = k - j < BLOCK ? k - j : BLOCK, rows = m - j;
        explicit_v(rows, nb, qr + j * ldqr + j, ldqr, v);
        gy_la_wy_t(pool, rows, nb, v, nb, tau + j, t, nb);
        gy_la_wy_apply(pool, trans, rows, nb, v, nb, t, nb, r, b + j * ldb, ldb, w);
    }
    gy_free(ctx, w);
    gy_free(ctx, v);
    return s;
}

gy_status gy_la_qr_thin(gy_ctx *ctx, int64_t m, int64_t n, const double *a, int64_t lda, double *q, int64_t ldq,
                        double *r, int64_t ldr) {
    gy_status s = gy_la_check(ctx, "qr", m, n, a, lda);
    if (s) return s;
    int64_t k = m < n ? m : n;
    if (ldq < k || ldr < n)
        return gy_fail(ctx, GY_ERR_SHAPE, "qr: leading dimensions %lld of q and %lld of r; at least %lld and %lld",
                       (long long)ldq, (long long)ldr, (long long)k, (long long)n);
    double *f = gy_la_new(ctx, m, n), *tau = f ? gy_la_new(ctx, k, 1) : NULL;
    if (!tau) s = GY_ERR_NOMEM;
    if (!s) {
        gy_la_copy(m, n, a, lda, f, n);
        s = gy_la_qr(ctx, m, n, f, n, tau);
    }
    if (!s) {
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < k; j++) q[i * ldq + j] = i == j;
        s = gy_la_qr_apply(ctx, false, m, k, f, n, tau, k, q, ldq);
    }
    for (int64_t i = 0; i < k && !s; i++) {
        bool flip = f[i * n + i] < 0;
        for (int64_t j = 0; j < n; j++) r[i * ldr + j] = j < i ? 0 : flip ? -f[i * n + j] : f[i * n + j];
        for (int64_t j = 0; j < m && flip; j++) q[j * ldq + i] = -q[j * ldq + i];
    }
    gy_free(ctx, tau);
    gy_free(ctx, f);
    return s;
}
