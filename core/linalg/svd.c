/* Singular value decomposition of a tall matrix (a wide one is transposed).
 *
 * 1. A = Q R when m > n, so that what follows is square.
 * 2. R = P B W^T with B upper bidiagonal, by Householder reflectors from both sides (GVL 5.4.8). A step reads the
 *    trailing matrix twice: once for v^T R by columns, once row by row for both updates together.
 * 3. B = X diag(s) Y^T by implicit QR; rotations are recorded and applied to P^T and W^T in batches. */
#include "inner.h"

enum { MAX_SWEEPS = 60, ROWS = 32 };

struct bidiag {
    int64_t m, n, ld;
    double *f;                      /* trailing rows, from the column right of the current one */
    const double *left, *w, *right; /* left vector by row, v^T F by column, right vector by column */
    double tau_left, tau_right;
};

/* Row i: F_i -= tau v_i w, then F_i -= tau' (F_i . v') v'. */
static void bidiag_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const struct bidiag *b = arg;
    int64_t lo, hi;
    gy_tile_range(b->m, ROWS, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        double *row = b->f + i * b->ld;
        gy_la_axpy(b->n, -b->tau_left * b->left[i], b->w, row);
        gy_la_axpy(b->n, -b->tau_right * gy_la_dot(b->n, row, b->right), b->right, row);
    }
}

/* f [n, n]: left vectors end below the diagonal, right vectors right of the superdiagonal. scratch: 3 n. */
static void bidiagonalise(gy_pool *pool, int64_t n, double *f, double *d, double *e, double *tau_left,
                          double *tau_right, double *scratch) {
    double *v = scratch, *w = v + n, *x = w + n;
    for (int64_t k = 0; k < n; k++) {
        int64_t rows = n - k, cols = n - k - 1;
        double *a = f + k * n + k;
        tau_left[k] = gy_la_reflector(rows, a, n);
        d[k] = a[0];
        if (cols == 0) break;
        v[0] = 1;
        for (int64_t i = 1; i < rows; i++) v[i] = a[i * n];
        gy_la_gemv_t(pool, rows, cols, a + 1, n, v, w);
        gy_la_axpy(cols, -tau_left[k], w, a + 1);
        tau_right[k] = gy_la_reflector(cols, a + 1, 1);
        e[k] = a[1];
        memcpy(x, a + 1, (size_t)cols * sizeof *x);
        x[0] = 1;
        struct bidiag b = {rows - 1, cols, n, a + n + 1, v + 1, w, x, tau_left[k], tau_right[k]};
        gy_par(b.m * b.n < 8192 ? NULL : pool, gy_tiles(b.m, ROWS), bidiag_tile, &b);
    }
}

/* The smaller singular value of [f g; 0 h] without overflow or cancellation, from the identities
 * s_min s_max = |f h| and (s_max +- s_min)^2 = (|f| +- |h|)^2 + g^2. */
static double smallest_2x2(double f, double g, double h) {
    double sum = hypot(fabs(f) + fabs(h), g), dif = hypot(fabs(f) - fabs(h), g);
    double top = (sum + dif) / 2;
    return top == 0 ? 0 : fabs(f) * (fabs(h) / top);
}

/* One sweep down the block p..q of the bidiagonal (d, e); q - p rotations for each side. */
static void shifted_sweep(int64_t p, int64_t q, double shift, double *d, double *e, gy_la_rot *left, gy_la_rot *right) {
    double f = (fabs(d[p]) - shift) * (copysign(1, d[p]) + shift / d[p]), g = e[p], c, s, r;
    for (int64_t k = p; k < q; k++) {
        gy_la_givens(f, g, &c, &s, &r);
        right[k - p] = (gy_la_rot){c, s, k};
        if (k > p) e[k - 1] = r;
        f = c * d[k] + s * e[k];
        e[k] = c * e[k] - s * d[k];
        g = s * d[k + 1];
        d[k + 1] *= c;
        gy_la_givens(f, g, &c, &s, &r);
        left[k - p] = (gy_la_rot){c, s, k};
        d[k] = r;
        f = c * e[k] + s * d[k + 1];
        d[k + 1] = c * d[k + 1] - s * e[k];
        if (k < q - 1) {
            g = s * e[k + 1];
            e[k + 1] *= c;
        }
    }
    e[q - 1] = f;
}

/* The same with shift 0, in Demmel & Kahan's form, which loses nothing of a tiny singular value and deflates in one
 * sweep when some d is 0. */
static void zero_sweep(int64_t p, int64_t q, double *d, double *e, gy_la_rot *left, gy_la_rot *right) {
    double c = 1, s = 0, old_c = 1, old_s = 0, r;
    for (int64_t k = p; k < q; k++) {
        gy_la_givens(d[k] * c, e[k], &c, &s, &r);
        right[k - p] = (gy_la_rot){c, s, k};
        if (k > p) e[k - 1] = old_s * r;
        gy_la_givens(old_c * r, d[k + 1] * s, &old_c, &old_s, &d[k]);
        left[k - p] = (gy_la_rot){old_c, old_s, k};
    }
    double h = d[q] * c;
    e[q - 1] = h * old_s;
    d[q] = h * old_c;
}

static bool diagonalise(gy_pool *pool, int64_t n, double *d, double *e, double *ut, double *vt, gy_la_rot *left,
                        gy_la_rot *right, int64_t cap) {
    double norm = 0;
    for (int64_t i = 0; i < n; i++) norm = fmax(norm, fmax(fabs(d[i]), i < n - 1 ? fabs(e[i]) : 0));
    double tol = DBL_EPSILON * norm / 8; /* the bidiagonal itself is known to about eps * norm */
    int64_t pending = 0, steps = 0;
    for (int64_t q = n - 1; q > 0;) {
        int64_t p = q;
        double smallest = fabs(d[q]), largest = fabs(d[q]);
        for (; p > 0; p--) {
            if (fabs(e[p - 1]) <= fmax(tol, 0.5 * DBL_EPSILON * (fabs(d[p - 1]) + fabs(d[p])))) {
                e[p - 1] = 0;
                break;
            }
            smallest = fmin(smallest, fabs(d[p - 1]));
            largest = fmax(largest, fmax(fabs(d[p - 1]), fabs(e[p - 1])));
        }
        if (p == q) {
            q--, steps = 0;
            continue;
        }
        if (++steps > MAX_SWEEPS) return false;
        if (pending + q - p > cap) {
            if (ut) gy_la_rotate_rows(pool, pending, left, n, ut, n);
            if (vt) gy_la_rotate_rows(pool, pending, right, n, vt, n);
            pending = 0;
        }
        double shift = smallest_2x2(d[q - 1], e[q - 1], d[q]), ratio = shift / largest;
        if (smallest <= tol || ratio * ratio < DBL_EPSILON)
            zero_sweep(p, q, d, e, left + pending, right + pending);
        else
            shifted_sweep(p, q, shift, d, e, left + pending, right + pending);
        pending += q - p;
    }
    if (ut) gy_la_rotate_rows(pool, pending, left, n, ut, n);
    if (vt) gy_la_rotate_rows(pool, pending, right, n, vt, n);
    return true;
}

/* SVD of f [n, n], which is destroyed: s [n] falling; ut, vt [n, n] hold singular vectors as rows, or are NULL. */
static gy_status square_svd(gy_ctx *ctx, int64_t n, double *f, double *s, double *ut, double *vt) {
    gy_pool *pool = gy_ctx_pool(ctx);
    int64_t cap = 16 * n;
    gy_status status = GY_ERR_NOMEM;
    double *tmp = NULL;
    gy_la_rot *rot = NULL;
    int64_t *order = NULL;
    double *vecs = gy_la_new(ctx, n, 7);
    if (!vecs || !(rot = gy_calloc(ctx, (size_t)cap, 2 * sizeof *rot)) ||
        !(order = gy_calloc(ctx, (size_t)n, 2 * sizeof *order)) || (ut && !(tmp = gy_la_new(ctx, n, n))))
        goto out;
    double *d = vecs, *e = d + n, *tau_left = e + n, *tau_right = tau_left + n;
    bidiagonalise(pool, n, f, d, e, tau_left, tau_right, tau_right + n);
    if (ut) {
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) tmp[i * n + j] = i == j;
        if ((status = gy_la_qr_apply(ctx, false, n, n, f, n, tau_left, n, tmp, n))) goto out;
        gy_la_transpose(n, n, tmp, n, ut, n);
        gy_la_transpose(n, n, f, n, vt, n); /* vt carries the right vectors as columns for a moment */
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) tmp[i * n + j] = i == j;
        if (n > 1 && (status = gy_la_qr_apply(ctx, false, n - 1, n - 1, vt + n, n, tau_right, n - 1, tmp + n + 1, n)))
            goto out;
        gy_la_transpose(n, n, tmp, n, vt, n);
    }
    if (!diagonalise(pool, n, d, e, ut, vt, rot, rot + cap, cap)) {
        status = gy_fail(ctx, GY_ERR_NUMERIC, "svd: no convergence after %d sweeps for one singular value", MAX_SWEEPS);
        goto out;
    }
    for (int64_t i = 0; i < n; i++) {
        e[i] = fabs(d[i]);
        for (int64_t j = 0; vt && signbit(d[i]) && j < n; j++) vt[i * n + j] = -vt[i * n + j];
    }
    gy_la_order(n, e, true, order);
    for (int64_t i = 0; i < n; i++) s[i] = e[order[i]];
    for (int side = 0; ut && side < 2; side++) {
        double *x = side ? vt : ut;
        for (int64_t i = 0; i < n; i++) memcpy(tmp + i * n, x + order[i] * n, (size_t)n * sizeof *x);
        memcpy(x, tmp, (size_t)(n * n) * sizeof *x);
    }
    status = GY_OK;
out:
    gy_free(ctx, tmp);
    gy_free(ctx, order);
    gy_free(ctx, rot);
    gy_free(ctx, vecs);
    return status;
}

gy_status gy_la_svd(gy_ctx *ctx, int64_t m, int64_t n, const double *a, int64_t lda, double *u, int64_t ldu, double *s,
                    double *vt, int64_t ldvt) {
    gy_status status = gy_la_check(ctx, "svd", m, n, a, lda);
    if (status) return status;
    bool wide = m < n;
    int64_t tall = wide ? n : m, k = wide ? m : n;
    if (!u != !vt) return gy_fail(ctx, GY_ERR_USAGE, "svd: u and vt must both be given or both be NULL");
    if (u && (ldu < k || ldvt < n))
        return gy_fail(ctx, GY_ERR_SHAPE, "svd: leading dimensions %lld of u and %lld of vt; at least %lld and %lld",
                       (long long)ldu, (long long)ldvt, (long long)k, (long long)n);
    if (k == 0) return GY_OK;
    status = GY_ERR_NOMEM;
    double *r = NULL, *tau = NULL, *ut = NULL, *wt = NULL, *full = NULL;
    double *f = gy_la_new(ctx, tall, k);
    if (!f || !(r = gy_la_new(ctx, k, k)) || !(tau = gy_la_new(ctx, k, 1))) goto out;
    if (u && (!(ut = gy_la_new(ctx, k, k)) || !(wt = gy_la_new(ctx, k, k)) || !(full = gy_la_new(ctx, tall, k))))
        goto out;
    if (wide)
        gy_la_transpose(m, n, a, lda, f, k);
    else
        gy_la_copy(m, n, a, lda, f, k);
    double scale = gy_la_scale(gy_la_max_abs(tall, k, f, k));
    for (int64_t i = 0; i < tall * k; i++) f[i] /= scale;
    if (tall > k && (status = gy_la_qr(ctx, tall, k, f, k, tau))) goto out;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++) r[i * k + j] = tall > k && j < i ? 0 : f[i * k + j];
    if ((status = square_svd(ctx, k, r, s, ut, wt))) goto out;
    for (int64_t i = 0; i < k; i++) s[i] *= scale;
    if (u) {
        gy_la_transpose(k, k, ut, k, full, k);
        if (tall > k && (status = gy_la_qr_apply(ctx, false, tall, k, f, k, tau, k, full, k))) goto out;
        if (wide) {
            gy_la_transpose(k, k, wt, k, u, ldu);
            gy_la_transpose(tall, k, full, k, vt, ldvt);
        } else {
            gy_la_copy(tall, k, full, k, u, ldu);
            gy_la_copy(k, k, wt, k, vt, ldvt);
        }
    }
    status = GY_OK;
out:
    gy_free(ctx, full);
    gy_free(ctx, wt);
    gy_free(ctx, ut);
    gy_free(ctx, tau);
    gy_free(ctx, r);
    gy_free(ctx, f);
    return status;
}
