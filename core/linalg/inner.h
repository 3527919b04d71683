/* inner.h: what the files of core/linalg share among themselves. */
#ifndef GY_LINALG_INNER_H
#define GY_LINALG_INNER_H

#include "linalg.h"
#include "core/threads.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* rows * cols doubles, zeroed; NULL with GY_ERR_NOMEM recorded. */
static inline double *gy_la_new(gy_ctx *ctx, int64_t rows, int64_t cols) {
    uint64_t n;
    if (!gy_mul_u64((uint64_t)rows, (uint64_t)cols, &n)) n = UINT64_MAX / 2; /* refused by calloc */
    return gy_calloc(ctx, n, sizeof(double));
}

static inline void gy_la_copy(int64_t m, int64_t n, const double *a, int64_t lda, double *b, int64_t ldb) {
    for (int64_t i = 0; i < m; i++)
        if (n > 0) memcpy(b + i * ldb, a + i * lda, (size_t)n * sizeof *b);
}

void gy_la_transpose(int64_t m, int64_t n, const double *a, int64_t lda, double *b, int64_t ldb); /* b [n, m] */

/* Dot product with four running sums: a fixed order that vectorises. */
double gy_la_dot(int64_t n, const double *x, const double *y);
void gy_la_axpy(int64_t n, double a, const double *x, double *y); /* y += a x */
double gy_la_norm2(int64_t n, const double *x, int64_t stride);   /* no overflow or underflow */
double gy_la_max_abs(int64_t m, int64_t n, const double *a, int64_t lda);

/* y [m] = A x, and y [n] = A^T x; A [m, n]. Each element is summed in one fixed order. */
void gy_la_gemv(gy_pool *pool, int64_t m, int64_t n, const double *a, int64_t lda, const double *x, double *y);
void gy_la_gemv_t(gy_pool *pool, int64_t m, int64_t n, const double *a, int64_t lda, const double *x, double *y);

/* As gy_la_gemm, but only tiles of C that touch the lower triangle are computed. */
void gy_la_gemm_lower(gy_pool *pool, bool ta, bool tb, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                      const double *b, int64_t ldb, double beta, double *c, int64_t ldc);

/* The reflector H = I - tau v v^T with H x = (beta, 0, ...), v[0] = 1: x [n] (stride) becomes (beta, v[1:]).
 * Returns tau; 0 when x[1:] is already zero. GVL 5.1.3. */
double gy_la_reflector(int64_t n, double *x, int64_t stride);

/* Compact WY, k <= 32: the product of k reflectors is I - V T V^T; V [m, k] has its ones and zeros written out, T
 * [k, k] is upper triangular. wy_apply: B [m, r] becomes (I - V T V^T) B, or the transpose of that times B; w is
 * scratch of 2 k r. */
void gy_la_wy_t(gy_pool *pool, int64_t m, int64_t k, const double *v, int64_t ldv, const double *tau, double *t,
                int64_t ldt);
void gy_la_wy_apply(gy_pool *pool, bool trans, int64_t m, int64_t k, const double *v, int64_t ldv, const double *t,
                    int64_t ldt, int64_t r, double *b, int64_t ldb, double *w);

/* A recorded plane rotation of rows i and i + 1: (x, y) becomes (c x + s y, c y - s x). */
typedef struct gy_la_rot {
    double c, s;
    int64_t i;
} gy_la_rot;
/* Applies n rotations in order to the rows of B [*, r], column slabs in parallel. */
void gy_la_rotate_rows(gy_pool *pool, int64_t n, const gy_la_rot *rot, int64_t r, double *b, int64_t ldb);

/* c, s, and r with c f + s g = r, c g - s f = 0. GVL 5.1.8. */
static inline void gy_la_givens(double f, double g, double *c, double *s, double *r) {
    if (g == 0) {
        *c = 1, *s = 0, *r = f;
    } else if (f == 0) {
        *c = 0, *s = 1, *r = g;
    } else {
        double h = hypot(f, g);
        *c = f / h, *s = g / h, *r = h;
    }
}

/* A power of two near the largest entry of A (1 for a zero matrix): dividing by it is exact and keeps squares from
 * overflowing. */
double gy_la_scale(double max_abs);

/* order[0..n) sorts w: rising, or falling. Equal values keep their order. `order` has room for 2 n. */
void gy_la_order(int64_t n, const double *w, bool falling, int64_t *order);

/* Multiplies v [n] (stride) by -1 if its largest entry, the first of equal ones, is negative; true if it did. */
bool gy_la_fix_sign(int64_t n, double *v, int64_t stride);

#endif
