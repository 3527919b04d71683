/* Complex LU with partial pivoting. Products are written out in real and imaginary parts: C's complex multiply
 * also repairs infinities, which finite input does not need and which costs a call an element. */
#include "inner.h"

typedef double complex cplx;

static inline cplx make(double re, double im) {
    cplx z;
    ((double *)&z)[0] = re;
    ((double *)&z)[1] = im;
    return z;
}

/* y -= a x */
static void subtract(int64_t n, cplx a, const cplx *x, cplx *y) {
    double ar = creal(a), ai = cimag(a);
    const double *xs = (const double *)x;
    double *ys = (double *)y;
    for (int64_t j = 0; j < n; j++) {
        ys[2 * j] -= ar * xs[2 * j] - ai * xs[2 * j + 1];
        ys[2 * j + 1] -= ar * xs[2 * j + 1] + ai * xs[2 * j];
    }
}

static void swap_rows(int64_t n, cplx *x, cplx *y) {
    for (int64_t j = 0; j < n; j++) {
        cplx t = x[j];
        x[j] = y[j];
        y[j] = t;
    }
}

static gy_status check(gy_ctx *ctx, const char *what, int64_t m, int64_t n, const cplx *a, int64_t lda) {
    if (m < 0 || n < 0 || lda < n)
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: illegal sizes [%lld, %lld] with leading dimension %lld", what,
                       (long long)m, (long long)n, (long long)lda);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double re = creal(a[i * lda + j]), im = cimag(a[i * lda + j]);
            if (!isfinite(re) || !isfinite(im))
                return gy_fail(ctx, GY_ERR_NUMERIC, "%s: element (%lld, %lld) is %g%+gi; finite values expected", what,
                               (long long)i, (long long)j, re, im);
        }
    return GY_OK;
}

struct eliminate {
    int64_t rows, width, lda;
    cplx *a; /* the pivot */
};

enum { ROWS = 16 };

static void eliminate_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const struct eliminate *e = arg;
    int64_t lo, hi;
    gy_tile_range(e->rows, ROWS, t, &lo, &hi);
    for (int64_t i = lo + 1; i <= hi; i++) {
        cplx *row = e->a + i * e->lda;
        row[0] /= e->a[0];
        subtract(e->width, row[0], e->a + 1, row + 1);
    }
}

static int64_t factor(gy_pool *pool, int64_t n, cplx *a, int64_t lda, int64_t *pivot) {
    int64_t zero = -1;
    for (int64_t j = 0; j < n; j++) {
        int64_t p = j;
        double best = cabs(a[j * lda + j]);
        for (int64_t i = j + 1; i < n; i++) {
            double x = cabs(a[i * lda + j]);
            if (x > best) best = x, p = i;
        }
        pivot[j] = p;
        if (p != j) swap_rows(n, a + j * lda, a + p * lda);
        if (best == 0) {
            if (zero < 0) zero = j;
            continue;
        }
        struct eliminate e = {n - j - 1, n - j - 1, lda, a + j * lda + j};
        gy_par(e.rows * e.width < 8192 ? NULL : pool, gy_tiles(e.rows, ROWS), eliminate_tile, &e);
    }
    return zero;
}

static gy_status singular(gy_ctx *ctx, int64_t column, int64_t n) {
    return gy_fail(ctx, GY_ERR_NUMERIC, "complex lu: singular: the pivot of column %lld of %lld is exactly 0",
                   (long long)column, (long long)n);
}

gy_status gy_la_clu(gy_ctx *ctx, int64_t n, cplx *a, int64_t lda, int64_t *pivot) {
    gy_status s = check(ctx, "complex lu", n, n, a, lda);
    if (s) return s;
    int64_t zero = factor(gy_ctx_pool(ctx), n, a, lda, pivot);
    return zero < 0 ? GY_OK : singular(ctx, zero, n);
}

gy_status gy_la_clu_solve(gy_ctx *ctx, int64_t n, int64_t r, const cplx *lu, int64_t ldlu, const int64_t *pivot,
                          cplx *b, int64_t ldb) {
    gy_status s = check(ctx, "complex solve: right-hand side", n, r, b, ldb);
    if (s) return s;
    for (int64_t i = 0; i < n; i++)
        if (lu[i * ldlu + i] == 0) return singular(ctx, i, n);
    for (int64_t i = 0; i < n; i++)
        if (pivot[i] != i) swap_rows(r, b + i * ldb, b + pivot[i] * ldb);
    for (int64_t i = 1; i < n; i++)
        for (int64_t j = 0; j < i; j++) subtract(r, lu[i * ldlu + j], b + j * ldb, b + i * ldb);
    for (int64_t i = n - 1; i >= 0; i--) {
        for (int64_t j = i + 1; j < n; j++) subtract(r, lu[i * ldlu + j], b + j * ldb, b + i * ldb);
        for (int64_t c = 0; c < r; c++) b[i * ldb + c] /= lu[i * ldlu + i];
    }
    return GY_OK;
}

static gy_status factored_copy(gy_ctx *ctx, const char *what, int64_t n, const cplx *a, int64_t lda, cplx **lu,
                               int64_t **pivot, int64_t *zero) {
    *lu = NULL, *pivot = NULL;
    gy_status s = check(ctx, what, n, n, a, lda);
    if (s) return s;
    *lu = (cplx *)gy_la_new(ctx, n, 2 * n);
    *pivot = *lu ? gy_calloc(ctx, (size_t)n, sizeof **pivot) : NULL;
    if (!*pivot) return GY_ERR_NOMEM;
    gy_la_copy(n, 2 * n, (const double *)a, 2 * lda, (double *)*lu, 2 * n);
    *zero = factor(gy_ctx_pool(ctx), n, *lu, n, *pivot);
    return GY_OK;
}

gy_status gy_la_csolve(gy_ctx *ctx, int64_t n, int64_t r, const cplx *a, int64_t lda, cplx *b, int64_t ldb) {
    cplx *lu;
    int64_t *pivot, zero;
    gy_status s = factored_copy(ctx, "complex solve", n, a, lda, &lu, &pivot, &zero);
    if (!s && zero >= 0) s = singular(ctx, zero, n);
    if (!s) s = gy_la_clu_solve(ctx, n, r, lu, n, pivot, b, ldb);
    gy_free(ctx, pivot);
    gy_free(ctx, lu);
    return s;
}

gy_status gy_la_cinverse(gy_ctx *ctx, int64_t n, const cplx *a, int64_t lda, cplx *inv, int64_t ldinv) {
    if (n >= 0 && ldinv < n)
        return gy_fail(ctx, GY_ERR_SHAPE, "complex inverse: leading dimension %lld is below %lld", (long long)ldinv,
                       (long long)n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) inv[i * ldinv + j] = make(i == j, 0);
    return gy_la_csolve(ctx, n, n, a, lda, inv, ldinv);
}

gy_status gy_la_cdet(gy_ctx *ctx, int64_t n, const cplx *a, int64_t lda, cplx *phase, double *log_abs) {
    cplx *lu;
    int64_t *pivot, zero;
    gy_status s = factored_copy(ctx, "complex determinant", n, a, lda, &lu, &pivot, &zero);
    if (!s && zero >= 0) {
        *phase = 0, *log_abs = -INFINITY;
    } else if (!s) {
        *phase = 1, *log_abs = 0;
        for (int64_t i = 0; i < n; i++) {
            double r = cabs(lu[i * n + i]);
            *phase *= lu[i * n + i] / r;
            if (pivot[i] != i) *phase = -*phase;
            *log_abs += log(r);
        }
        if (n > 0) *phase /= cabs(*phase); /* n roundings of the modulus */
    }
    gy_free(ctx, pivot);
    gy_free(ctx, lu);
    return s;
}
