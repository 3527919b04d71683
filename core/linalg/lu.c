/* LU with partial pivoting, right-looking in blocks of 32 columns. */
#include "inner.h"

enum { BLOCK = 32 };

static void swap_rows(int64_t n, double *x, double *y) {
    for (int64_t j = 0; j < n; j++) {
        double t = x[j];
        x[j] = y[j];
        y[j] = t;
    }
}

struct eliminate {
    int64_t rows, width, lda;
    double *a; /* the pivot row's diagonal element */
};

enum { ROWS = 128 };

/* Subtracts multiples of the pivot row from the rows below, inside the panel. */
static void eliminate_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const struct eliminate *e = arg;
    int64_t lo, hi;
    gy_tile_range(e->rows, ROWS, t, &lo, &hi);
    for (int64_t i = lo + 1; i <= hi; i++) {
        double *row = e->a + i * e->lda;
        row[0] /= e->a[0];
        if (row[0] != 0) gy_la_axpy(e->width, -row[0], e->a + 1, row + 1);
    }
}

/* Returns the first column whose pivot is exactly zero, or -1. The factorisation goes on past it. */
static int64_t factor(gy_pool *pool, int64_t n, double *a, int64_t lda, int64_t *pivot) {
    int64_t zero = -1;
    for (int64_t k = 0; k < n; k += BLOCK) {
        int64_t nb = n - k < BLOCK ? n - k : BLOCK, rest = n - k - nb;
        for (int64_t j = k; j < k + nb; j++) {
            int64_t p = j;
            for (int64_t i = j + 1; i < n; i++)
                if (fabs(a[i * lda + j]) > fabs(a[p * lda + j])) p = i;
            pivot[j] = p;
            if (p != j) swap_rows(n, a + j * lda, a + p * lda);
            if (a[j * lda + j] == 0) {
                if (zero < 0) zero = j;
                continue;
            }
            struct eliminate e = {n - j - 1, k + nb - j - 1, lda, a + j * lda + j};
            gy_par(e.rows * e.width < 16384 ? NULL : pool, gy_tiles(e.rows, ROWS), eliminate_tile, &e);
        }
        if (rest == 0) break;
        double *right = a + k * lda + k + nb; /* U's block row: L11^-1 A12 */
        for (int64_t i = 1; i < nb; i++)
            for (int64_t j = 0; j < i; j++)
                gy_la_axpy(rest, -a[(k + i) * lda + k + j], right + j * lda, right + i * lda);
        gy_la_gemm(pool, false, false, rest, rest, nb, -1, a + (k + nb) * lda + k, lda, right, lda, 1, right + nb * lda,
                   lda);
    }
    return zero;
}

static gy_status singular(gy_ctx *ctx, int64_t column, int64_t n) {
    return gy_fail(ctx, GY_ERR_NUMERIC, "lu: singular: the pivot of column %lld of %lld is exactly 0",
                   (long long)column, (long long)n);
}

gy_status gy_la_lu(gy_ctx *ctx, int64_t n, double *a, int64_t lda, int64_t *pivot) {
    gy_status s = gy_la_check(ctx, "lu", n, n, a, lda);
    if (s) return s;
    int64_t zero = factor(gy_ctx_pool(ctx), n, a, lda, pivot);
    return zero < 0 ? GY_OK : singular(ctx, zero, n);
}

gy_status gy_la_lu_solve(gy_ctx *ctx, int64_t n, int64_t r, const double *lu, int64_t ldlu, const int64_t *pivot,
                         double *b, int64_t ldb) {
    gy_status s = gy_la_check(ctx, "solve: right-hand side", n, r, b, ldb);
    if (s) return s;
    for (int64_t i = 0; i < n; i++)
        if (pivot[i] != i) swap_rows(r, b + i * ldb, b + pivot[i] * ldb);
    s = gy_la_trsm(ctx, GY_LOWER | GY_UNIT, n, r, lu, ldlu, b, ldb);
    return s ? s : gy_la_trsm(ctx, GY_UPPER, n, r, lu, ldlu, b, ldb);
}

/* A private copy of A, factored; *zero is the first zero pivot's column or -1. */
static gy_status factored_copy(gy_ctx *ctx, const char *what, int64_t n, const double *a, int64_t lda, double **lu,
                               int64_t **pivot, int64_t *zero) {
    *lu = NULL, *pivot = NULL;
    gy_status s = gy_la_check(ctx, what, n, n, a, lda);
    if (s) return s;
    *lu = gy_la_new(ctx, n, n);
    *pivot = *lu ? gy_calloc(ctx, (size_t)n, sizeof **pivot) : NULL;
    if (!*pivot) return GY_ERR_NOMEM;
    gy_la_copy(n, n, a, lda, *lu, n);
    *zero = factor(gy_ctx_pool(ctx), n, *lu, n, *pivot);
    return GY_OK;
}

gy_status gy_la_solve(gy_ctx *ctx, int64_t n, int64_t r, const double *a, int64_t lda, double *b, int64_t ldb) {
    double *lu;
    int64_t *pivot, zero;
    gy_status s = factored_copy(ctx, "solve", n, a, lda, &lu, &pivot, &zero);
    if (!s && zero >= 0) s = singular(ctx, zero, n);
    if (!s) s = gy_la_lu_solve(ctx, n, r, lu, n, pivot, b, ldb);
    gy_free(ctx, pivot);
    gy_free(ctx, lu);
    return s;
}

gy_status gy_la_inverse(gy_ctx *ctx, int64_t n, const double *a, int64_t lda, double *inv, int64_t ldinv) {
    if (n >= 0 && ldinv < n)
        return gy_fail(ctx, GY_ERR_SHAPE, "inverse: leading dimension %lld is below %lld", (long long)ldinv,
                       (long long)n);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) inv[i * ldinv + j] = i == j;
    return gy_la_solve(ctx, n, n, a, lda, inv, ldinv);
}

gy_status gy_la_det(gy_ctx *ctx, int64_t n, const double *a, int64_t lda, double *sign, double *log_abs) {
    double *lu;
    int64_t *pivot, zero;
    gy_status s = factored_copy(ctx, "determinant", n, a, lda, &lu, &pivot, &zero);
    if (!s) {
        *sign = 1, *log_abs = 0;
        for (int64_t i = 0; i < n; i++) {
            if ((lu[i * n + i] < 0) != (pivot[i] != i)) *sign = -*sign;
            *log_abs += log(fabs(lu[i * n + i]));
        }
        if (zero >= 0) *sign = 0, *log_abs = -INFINITY;
    }
    gy_free(ctx, pivot);
    gy_free(ctx, lu);
    return s;
}
