/* General real eigenproblem.
 *
 * 1. Balancing by powers of two (exact) evens out row and column norms. GVL 7.5.7.
 * 2. A = Q H Q^T with H upper Hessenberg, by reflectors. GVL 7.4.3.
 * 3. H = Z T Z^T with T quasi-triangular (1 x 1 and 2 x 2 blocks on the diagonal), by Francis' implicit double
 *    shift, which keeps conjugate pairs in real arithmetic. GVL 7.5.5, 7.5.6.
 * 4. Each eigenvector of T by back substitution in complex arithmetic, one code for real and complex ones; then
 *    v = D Q Z x. GVL 7.6.4. */
#include "inner.h"

enum { MAX_SWEEPS = 60 };

/* Scales A to D^-1 A D in place; d [n] receives D. Norms are Euclidean and count the diagonal: with the older rule,
 * sums of the other entries, balancing can make a Hessenberg matrix much worse (James, Langou & Lowery 2014). */
static void balance(int64_t n, double *a, double *d) {
    for (int64_t i = 0; i < n; i++) d[i] = 1;
    for (bool again = true; again;) {
        again = false;
        for (int64_t i = 0; i < n; i++) {
            double row = gy_la_norm2(n, a + i * n, 1), col = gy_la_norm2(n, a + i, n), f = 1;
            if (row == 0 || col == 0) continue;
            double before = row + col;
            while (col < row / 2) f *= 2, col *= 4;
            while (col >= row * 2) f /= 2, col /= 4;
            if (f == 1 || (col + row) / f >= 0.95 * before) continue; /* not worth another round */
            if (d[i] * f > 1e140 || d[i] * f < 1e-140) continue;      /* D and D^-1 must stay finite */
            again = true;
            d[i] *= f;
            for (int64_t j = 0; j < n; j++) a[i * n + j] /= f;
            for (int64_t j = 0; j < n; j++) a[j * n + i] *= f;
        }
    }
}

static void hessenberg(gy_pool *pool, int64_t n, double *a, double *tau, double *scratch) {
    double *v = scratch, *w = v + n;
    for (int64_t k = 0; k + 2 < n; k++) {
        int64_t m = n - k - 1;
        double *x = a + (k + 1) * n + k;
        tau[k] = gy_la_reflector(m, x, n);
        if (tau[k] == 0) continue;
        v[0] = 1;
        for (int64_t i = 1; i < m; i++) v[i] = x[i * n];
        gy_la_gemv_t(pool, m, m, x + 1, n, v, w); /* from the left, rows k + 1.. */
        for (int64_t i = 0; i < m; i++) gy_la_axpy(m, -tau[k] * v[i], w, x + i * n + 1);
        gy_la_gemv(pool, n, m, a + k + 1, n, v, w); /* from the right, columns k + 1.. */
        for (int64_t i = 0; i < n; i++) gy_la_axpy(m, -tau[k] * w[i], v, a + i * n + k + 1);
    }
}

/* H = I - tau v v^T for a vector of 2 or 3 elements, v[0] = 1; x[0] becomes beta. */
static double small_reflector(int64_t n, double *x, double v[3]) {
    double tau = gy_la_reflector(n, x, 1);
    v[0] = 1, v[1] = x[1], v[2] = n == 3 ? x[2] : 0;
    return tau;
}

/* Applies the reflector to `k` rows from row i of a, columns [lo, hi). */
static void reflect_rows(int64_t k, double tau, const double v[3], double *a, int64_t ld, int64_t i, int64_t lo,
                         int64_t hi) {
    double *r0 = a + i * ld, *r1 = r0 + ld, *r2 = k == 3 ? r1 + ld : r1;
    for (int64_t j = lo; j < hi; j++) {
        double s = r0[j] + v[1] * r1[j] + (k == 3 ? v[2] * r2[j] : 0);
        s *= tau;
        r0[j] -= s;
        r1[j] -= s * v[1];
        if (k == 3) r2[j] -= s * v[2];
    }
}

/* Applies the reflector to `k` columns from column j of a, rows [0, hi). */
static void reflect_cols(int64_t k, double tau, const double v[3], double *a, int64_t ld, int64_t j, int64_t hi) {
    for (int64_t i = 0; i < hi; i++) {
        double *x = a + i * ld + j, s = x[0] + v[1] * x[1] + (k == 3 ? v[2] * x[2] : 0);
        s *= tau;
        x[0] -= s;
        x[1] -= s * v[1];
        if (k == 3) x[2] -= s * v[2];
    }
}

/* One double-shift sweep over the unreduced block p..q (q - p >= 2), with shift sum s and product t. */
static void francis(int64_t n, double *h, double *z, int64_t p, int64_t q, double s, double t) {
    double *a = h + p * n + p, x[3], v[3];
    x[0] = a[0] * (a[0] - s) + t + a[1] * a[n];
    x[1] = a[n] * (a[0] + a[n + 1] - s);
    x[2] = a[n] * a[2 * n + 1];
    double top = fmax(fabs(x[0]), fmax(fabs(x[1]), fabs(x[2])));
    if (top > 0)
        for (int i = 0; i < 3; i++) x[i] /= top;
    for (int64_t k = p; k < q; k++) {
        int64_t len = q - k >= 2 ? 3 : 2;
        double tau = small_reflector(len, x, v);
        int64_t from = k > p ? k - 1 : k, last = k + 4 < q + 1 ? k + 4 : q + 1;
        reflect_rows(len, tau, v, h, n, k, from, n);
        reflect_cols(len, tau, v, h, n, k, last);
        if (z) reflect_cols(len, tau, v, z, n, k, n);
        if (k > p) {
            h[(k + 1) * n + k - 1] = 0;
            if (len == 3) h[(k + 2) * n + k - 1] = 0;
        }
        if (k + 1 < q) {
            x[0] = h[(k + 1) * n + k];
            x[1] = h[(k + 2) * n + k];
            x[2] = k + 3 <= q ? h[(k + 3) * n + k] : 0;
        }
    }
}

/* The 2 x 2 block at k: with real eigenvalues it is rotated to triangular form. Returns the discriminant. */
static double split_block(int64_t n, double *h, double *z, int64_t k) {
    double *b = h + k * n + k, p = (b[0] - b[n + 1]) / 2, disc = p * p + b[1] * b[n];
    if (disc < 0) return disc;
    double y = p + copysign(sqrt(disc), p), c, s, r; /* (y, b[n]) is the eigenvector of d + y */
    gy_la_givens(y, b[n], &c, &s, &r);
    for (int64_t j = k; j < n; j++) {
        double u = h[k * n + j], w = h[(k + 1) * n + j];
        h[k * n + j] = c * u + s * w;
        h[(k + 1) * n + j] = c * w - s * u;
    }
    for (int side = 0; side < 2; side++) {
        double *a = side ? z : h;
        for (int64_t i = 0; a && i < (side ? n : k + 2); i++) {
            double u = a[i * n + k], w = a[i * n + k + 1];
            a[i * n + k] = c * u + s * w;
            a[i * n + k + 1] = c * w - s * u;
        }
    }
    b[n] = 0;
    return disc;
}

/* Brings h to quasi-triangular form; w [n] eigenvalues in diagonal order. */
static bool schur(int64_t n, double *h, double *z, double complex *w) {
    double norm = gy_la_max_abs(n, n, h, n);
    int64_t steps = 0;
    for (int64_t q = n - 1; q >= 0;) {
        int64_t p = q;
        for (; p > 0; p--) {
            double sum = fabs(h[p * n + p]) + fabs(h[(p - 1) * n + p - 1]);
            if (fabs(h[p * n + p - 1]) <= DBL_EPSILON * (sum > 0 ? sum : norm)) {
                h[p * n + p - 1] = 0;
                break;
            }
        }
        if (p == q) {
            w[q] = h[q * n + q];
            q--, steps = 0;
        } else if (p == q - 1) {
            double disc = split_block(n, h, z, p);
            double im = disc < 0 ? sqrt(-disc) : 0;
            if (disc < 0) {
                double re = (h[p * n + p] + h[q * n + q]) / 2;
                w[p] = re + im * I;
                w[q] = re - im * I;
            } else {
                w[p] = h[p * n + p];
                w[q] = h[q * n + q];
            }
            q -= 2, steps = 0;
        } else {
            if (++steps > MAX_SWEEPS) return false;
            double a = h[(q - 1) * n + q - 1], b = h[(q - 1) * n + q], c = h[q * n + q - 1], d = h[q * n + q];
            double s = a + d, t = a * d - b * c;
            if (steps % 10 == 0) { /* a shift unrelated to the block breaks a cycle */
                double off = fabs(c) + fabs(h[(q - 1) * n + q - 2]);
                s = 1.5 * off + 2 * d;
                t = d * d + 1.5 * off * d + off * off;
            }
            francis(n, h, z, p, q, s, t);
        }
    }
    return true;
}

static double complex away_from_zero(double complex x, double floor) {
    return cabs(x) < floor ? floor : x;
}

/* x [k + 1 or k + 2] solves (T - w I) x = 0, w being the eigenvalue at k of a block that ends at `end`. */
static void back_substitute(int64_t n, const double *t, double complex w, int64_t k, int64_t end, double small,
                            double complex *x) {
    for (int64_t i = 0; i < n; i++) x[i] = 0;
    x[k] = 1;
    if (end > k) {
        double b = t[k * n + k + 1], c = t[(k + 1) * n + k];
        if (fabs(b) >= fabs(c))
            x[k] = b, x[k + 1] = w - t[k * n + k];
        else
            x[k] = w - t[(k + 1) * n + k + 1], x[k + 1] = c;
        double len = hypot(cabs(x[k]), cabs(x[k + 1]));
        x[k] /= len, x[k + 1] /= len;
    }
    for (int64_t j = k - 1; j >= 0; j--) {
        bool pair = j > 0 && t[j * n + j - 1] != 0;
        double re[2] = {0, 0}, im[2] = {0, 0};
        for (int r = 0; r <= pair; r++)
            for (int64_t i = j + 1; i <= end; i++) {
                re[r] -= t[(j - r) * n + i] * creal(x[i]);
                im[r] -= t[(j - r) * n + i] * cimag(x[i]);
            }
        double complex low = re[0] + im[0] * I, d = t[j * n + j] - w;
        if (!pair) {
            x[j] = low / away_from_zero(d, small);
        } else {
            double complex up = re[1] + im[1] * I, a = t[(j - 1) * n + j - 1] - w;
            double b = t[(j - 1) * n + j], c = t[j * n + j - 1];
            double complex det = away_from_zero(a * d - b * c, small * (fabs(b) + fabs(c)));
            x[j - 1] = (up * d - b * low) / det;
            x[j] = (a * low - c * up) / det;
        }
        double size = fmax(cabs(x[j]), pair ? cabs(x[j - 1]) : 0);
        if (size > 1e100) /* nearly equal eigenvalues: the direction is what matters */
            for (int64_t i = 0; i <= end; i++) x[i] /= size;
        if (pair) j--;
    }
    double top = 0;
    for (int64_t i = 0; i <= end; i++) top = fmax(top, cabs(x[i]));
    for (int64_t i = 0; i <= end; i++) x[i] /= top;
}

/* Unit length, the largest entry (first of equal ones) real and positive. */
static void normalise(int64_t n, double complex *v, int64_t ld) {
    int64_t best = 0;
    double length = 0;
    for (int64_t i = 0; i < n; i++) {
        if (cabs(v[i * ld]) > cabs(v[best * ld])) best = i;
        length = hypot(length, cabs(v[i * ld]));
    }
    double complex turn = conj(v[best * ld]) / cabs(v[best * ld]) / length;
    for (int64_t i = 0; i < n; i++) v[i * ld] *= turn;
    v[best * ld] = cabs(v[best * ld]);
}

/* Conjugates compare equal, so a stable sort leaves a pair together, the positive imaginary part first. */
static bool comes_before(double complex a, double complex b) {
    if (cabs(a) != cabs(b)) return cabs(a) > cabs(b);
    return creal(a) > creal(b);
}

/* Vectors from the Schur form: v column order[j] for eigenvalue j. pos[k] is the place of eigenvalue k. */
static void vectors(gy_pool *pool, int64_t n, const double *t, const double *z, const double *d,
                    const double complex *w, const int64_t *pos, double *xr, double *buffer, double complex *v,
                    int64_t ldv) {
    double *xi = xr + n * n, *yr = xi + n * n, *yi = yr + n * n;
    double complex *x = (double complex *)buffer;
    double small = DBL_EPSILON * fmax(gy_la_max_abs(n, n, t, n), DBL_MIN);
    for (int64_t k = 0; k < n; k++) {
        bool pair = cimag(w[k]) > 0;
        back_substitute(n, t, w[k], k, pair ? k + 1 : k, small, x);
        for (int64_t i = 0; i < n; i++) xr[i * n + k] = creal(x[i]), xi[i * n + k] = cimag(x[i]);
        if (pair) k++; /* the conjugate follows */
    }
    gy_la_gemm(pool, false, false, n, n, n, 1, z, n, xr, n, 0, yr, n);
    gy_la_gemm(pool, false, false, n, n, n, 1, z, n, xi, n, 0, yi, n);
    for (int64_t k = 0; k < n; k++) {
        bool pair = cimag(w[k]) > 0;
        double complex *to = v + pos[k];
        for (int64_t i = 0; i < n; i++) to[i * ldv] = d[i] * yr[i * n + k] + d[i] * yi[i * n + k] * I;
        normalise(n, to, ldv);
        if (!pair) continue;
        k++;
        for (int64_t i = 0; i < n; i++) v[i * ldv + pos[k]] = conj(to[i * ldv]);
    }
}

gy_status gy_la_eig(gy_ctx *ctx, int64_t n, const double *a, int64_t lda, double complex *w, double complex *v,
                    int64_t ldv) {
    gy_status status = gy_la_check(ctx, "eig", n, n, a, lda);
    if (status) return status;
    if (v && ldv < n)
        return gy_fail(ctx, GY_ERR_SHAPE, "eig: leading dimension %lld of v is below %lld", (long long)ldv,
                       (long long)n);
    if (n == 0) return GY_OK;
    status = GY_ERR_NOMEM;
    double *vecs = NULL, *z = NULL, *work = NULL;
    double complex *found = NULL;
    int64_t *pos = NULL;
    double *h = gy_la_new(ctx, n, n);
    if (!h || !(vecs = gy_la_new(ctx, n, 6)) || !(found = gy_calloc(ctx, (size_t)n, sizeof *found)) ||
        !(pos = gy_calloc(ctx, (size_t)n, 2 * sizeof *pos)) || (v && !(z = gy_la_new(ctx, n, n))) ||
        (v && !(work = gy_la_new(ctx, 4 * n, n))))
        goto out;
    gy_pool *pool = gy_ctx_pool(ctx);
    double *d = vecs, *tau = d + n, scale = gy_la_scale(gy_la_max_abs(n, n, a, lda));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) h[i * n + j] = a[i * lda + j] / scale;
    balance(n, h, d);
    hessenberg(pool, n, h, tau, tau + n);
    if (v) {
        for (int64_t i = 0; i < n; i++) z[i * n + i] = 1;
        if (n > 1 && (status = gy_la_qr_apply(ctx, false, n - 1, n - 1, h + n, n, tau, n - 1, z + n + 1, n))) goto out;
    }
    for (int64_t i = 2; i < n; i++)
        for (int64_t j = 0; j + 1 < i; j++) h[i * n + j] = 0;
    if (!schur(n, h, z, found)) {
        status = gy_fail(ctx, GY_ERR_NUMERIC, "eig: no convergence after %d sweeps for one eigenvalue", MAX_SWEEPS);
        goto out;
    }
    int64_t *order = pos + n;
    for (int64_t i = 0; i < n; i++) { /* insertion: stable, and nearly sorted already */
        int64_t j = i;
        for (; j > 0 && comes_before(found[i], found[order[j - 1]]); j--) order[j] = order[j - 1];
        order[j] = i;
    }
    for (int64_t j = 0; j < n; j++) {
        w[j] = found[order[j]] * scale;
        pos[order[j]] = j;
    }
    if (v) vectors(pool, n, h, z, d, found, pos, work, vecs + 4 * n, v, ldv);
    status = GY_OK;
out:
    gy_free(ctx, pos);
    gy_free(ctx, found);
    gy_free(ctx, work);
    gy_free(ctx, z);
    gy_free(ctx, vecs);
    gy_free(ctx, h);
    return status;
}
