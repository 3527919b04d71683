/* Symmetric eigenproblem.
 *
 * 1. A = Q T Q^T with T tridiagonal. Reflectors are made in panels of 32 columns: within a panel A stays as it was
 *    and the pending update V W^T + W V^T is taken into account where a column is needed; then it is subtracted in
 *    two matrix products. (Dongarra, Sorensen & Hammarling 1989; GVL 8.3.1.)
 * 2. T = G diag(w) G^T by implicit QR steps with Wilkinson's shift (GVL 8.3.5). The rotations are recorded and
 *    applied to Q^T in batches, column slabs in parallel: the chase itself is O(n^2), the vectors are O(n^3). */
#include "inner.h"

enum { PANEL = 32, MAX_SWEEPS = 60 };

/* f [n, n] full symmetric on entry; on return column j holds reflector j below row j + 1 (its leading 1 at row j + 1
 * is not stored). scratch: n * (2 PANEL + 2). */
static void tridiagonalise(gy_pool *pool, int64_t n, double *f, double *d, double *e, double *tau, double *scratch) {
    double *v = scratch, *w = v + n * PANEL, *x = w + n * PANEL, *y = x + n;
    for (int64_t k = 0; k < n; k += PANEL) {
        int64_t nb = n - k < PANEL ? n - k : PANEL;
        memset(v, 0, (size_t)(n * PANEL) * sizeof *v);
        memset(w, 0, (size_t)(n * PANEL) * sizeof *w);
        for (int64_t q = 0; q < nb; q++) {
            int64_t j = k + q, m = n - j - 1;
            for (int64_t i = j; i < n; i++)
                f[i * n + j] -= gy_la_dot(q, v + i * PANEL, w + j * PANEL) + gy_la_dot(q, w + i * PANEL, v + j * PANEL);
            d[j] = f[j * n + j];
            if (m == 0) break;
            double *col = f + (j + 1) * n + j, *vj = v + (j + 1) * PANEL, *wj = w + (j + 1) * PANEL;
            tau[j] = gy_la_reflector(m, col, n);
            e[j] = col[0];
            x[0] = 1;
            for (int64_t i = 1; i < m; i++) x[i] = col[i * n];
            /* y = tau (A - V W^T - W V^T) x, then made so that A - x y^T - y x^T = H A H. */
            gy_la_gemv(pool, m, m, f + (j + 1) * n + j + 1, n, x, y);
            double wx[PANEL] = {0}, vx[PANEL] = {0};
            for (int64_t i = 0; i < m; i++) {
                gy_la_axpy(q, x[i], wj + i * PANEL, wx);
                gy_la_axpy(q, x[i], vj + i * PANEL, vx);
            }
            for (int64_t i = 0; i < m; i++)
                y[i] = tau[j] * (y[i] - gy_la_dot(q, vj + i * PANEL, wx) - gy_la_dot(q, wj + i * PANEL, vx));
            double half = 0.5 * tau[j] * gy_la_dot(m, x, y);
            for (int64_t i = 0; i < m; i++) {
                vj[i * PANEL + q] = x[i];
                wj[i * PANEL + q] = y[i] - half * x[i];
            }
        }
        int64_t r = k + nb, m = n - r;
        if (m <= 0) break;
        double *a = f + r * n + r;
        gy_la_gemm(pool, false, true, m, m, nb, -1, v + r * PANEL, PANEL, w + r * PANEL, PANEL, 1, a, n);
        gy_la_gemm(pool, false, true, m, m, nb, -1, w + r * PANEL, PANEL, v + r * PANEL, PANEL, 1, a, n);
    }
}

/* One implicit QR step on the unreduced block p..q; writes q - p rotations. */
static void qr_step(int64_t p, int64_t q, double *d, double *e, gy_la_rot *rot) {
    double half = (d[q - 1] - d[q]) / 2, off = e[q - 1];
    double mu = d[q] - off * (off / (half + copysign(hypot(half, off), half)));
    double x = d[p] - mu, z = e[p];
    for (int64_t k = p; k < q; k++) {
        double c, s, r;
        gy_la_givens(x, z, &c, &s, &r);
        if (k > p) e[k - 1] = r;
        double a = d[k], b = e[k], g = d[k + 1];
        double t = s * (g - a) + 2 * c * b; /* a' = a + s t, g' = g - s t */
        d[k] = a + s * t;
        d[k + 1] = g - s * t;
        e[k] = c * t - b;
        if (k < q - 1) {
            z = s * e[k + 1];
            e[k + 1] *= c;
            x = e[k];
        }
        rot[k - p] = (gy_la_rot){c, s, k};
    }
}

/* Diagonalises (d, e) and applies the rotations to the rows of zt [n, n] unless that is NULL. rot has room for `cap`
 * >= n rotations. False when an eigenvalue needs more than MAX_SWEEPS steps. */
static bool diagonalise(gy_pool *pool, int64_t n, double *d, double *e, double *zt, gy_la_rot *rot, int64_t cap) {
    int64_t pending = 0, steps = 0;
    for (int64_t q = n - 1; q > 0;) {
        int64_t p = q;
        for (; p > 0; p--)
            if (fabs(e[p - 1]) <= 0.5 * DBL_EPSILON * (fabs(d[p - 1]) + fabs(d[p])) + DBL_MIN) {
                e[p - 1] = 0;
                break;
            }
        if (p == q) {
            q--, steps = 0;
            continue;
        }
        if (++steps > MAX_SWEEPS) return false;
        if (pending + q - p > cap) {
            if (zt) gy_la_rotate_rows(pool, pending, rot, n, zt, n);
            pending = 0;
        }
        qr_step(p, q, d, e, rot + pending);
        pending += q - p;
    }
    if (zt) gy_la_rotate_rows(pool, pending, rot, n, zt, n);
    return true;
}

gy_status gy_la_eigh(gy_ctx *ctx, int64_t n, const double *a, int64_t lda, double *w, double *z, int64_t ldz) {
    if (n < 0 || lda < n || (z && ldz < n))
        return gy_fail(ctx, GY_ERR_SHAPE, "eigh: illegal size %lld with leading dimensions %lld and %lld", (long long)n,
                       (long long)lda, (long long)(z ? ldz : n));
    if (n == 0) return GY_OK;
    gy_pool *pool = gy_ctx_pool(ctx);
    int64_t cap = 16 * n;
    gy_status status = GY_ERR_NOMEM;
    double *zt = NULL, *tau = NULL, *scratch = NULL;
    gy_la_rot *rot = NULL;
    int64_t *order = NULL;
    double *f = gy_la_new(ctx, n, n);
    if (!f || !(tau = gy_la_new(ctx, n, 3)) || !(scratch = gy_la_new(ctx, n, 2 * PANEL + 2)) ||
        !(rot = gy_calloc(ctx, (size_t)cap, sizeof *rot)) || !(order = gy_calloc(ctx, (size_t)n, 2 * sizeof *order)) ||
        (z && !(zt = gy_la_new(ctx, n, n))))
        goto out;
    double *d = tau + n, *e = d + n, top = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) {
            double x = a[i * lda + j];
            if (!isfinite(x)) {
                status = gy_fail(ctx, GY_ERR_NUMERIC, "eigh: element (%lld, %lld) is %g; finite values expected",
                                 (long long)i, (long long)j, x);
                goto out;
            }
            top = fmax(top, fabs(x));
        }
    double scale = gy_la_scale(top);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j <= i; j++) f[i * n + j] = f[j * n + i] = a[i * lda + j] / scale;
    tridiagonalise(pool, n, f, d, e, tau, scratch);
    if (z) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) z[i * ldz + j] = i == j;
        if (n > 1 && (status = gy_la_qr_apply(ctx, false, n - 1, n - 1, f + n, n, tau, n - 1, z + ldz + 1, ldz)))
            goto out;
        gy_la_transpose(n, n, z, ldz, zt, n);
    }
    if (!diagonalise(pool, n, d, e, zt, rot, cap)) {
        status = gy_fail(ctx, GY_ERR_NUMERIC, "eigh: no convergence after %d sweeps for one eigenvalue", MAX_SWEEPS);
        goto out;
    }
    gy_la_order(n, d, false, order);
    for (int64_t j = 0; j < n; j++) {
        w[j] = d[order[j]] * scale;
        if (z) gy_la_fix_sign(n, zt + order[j] * n, 1);
    }
    for (int64_t j = 0; z && j < n; j++)
        for (int64_t i = 0; i < n; i++) z[i * ldz + j] = zt[order[j] * n + i];
    status = GY_OK;
out:
    gy_free(ctx, zt);
    gy_free(ctx, order);
    gy_free(ctx, rot);
    gy_free(ctx, scratch);
    gy_free(ctx, tau);
    gy_free(ctx, f);
    return status;
}
