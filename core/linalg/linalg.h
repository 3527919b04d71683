/* linalg.h: dense linear algebra in double precision, for the classical models.
 *
 * Conventions that hold for every function here:
 *  - matrices are row-major with a leading dimension: element (i, j) of `a` is a[i * lda + j], lda >= columns;
 *  - sizes may be 0 unless a function says otherwise: nothing is read or written, the result is the empty one;
 *  - inputs and outputs do not overlap unless "in place" is said;
 *  - NaN or Inf in an input is refused (GY_ERR_NUMERIC) with the index of the first one, negative sizes and a
 *    leading dimension below the row length with GY_ERR_SHAPE, a failed allocation with GY_ERR_NOMEM. After an
 *    error the contents of outputs are unspecified;
 *  - results have the same bits for any number of threads.
 *
 * Sources: GVL = Golub & Van Loan, Matrix Computations, 4th edition (2013). */
#ifndef GY_LINALG_H
#define GY_LINALG_H

#include <complex.h>

#include "../base.h"

/* ---- products ------------------------------------------------------------------------------- */

/* C [m, n] = alpha op(A) op(B) + beta C with op(A) [m, k], op(B) [k, n]; `ta` means A is stored [k, m], `tb` that B
 * is stored [n, k]. beta == 0 does not read C. Cannot fail and does not look for NaN: it is the inner tool of the
 * others. `pool` may be NULL. Packed panels as in Goto & van de Geijn, ACM TOMS 34 (2008). */
void gy_la_gemm(gy_pool *pool, bool ta, bool tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a,
                int64_t lda, const double *b, int64_t ldb, double beta, double *c, int64_t ldc);

/* C [n, n] = alpha A A^T + beta C with A [n, k] (`trans`: alpha A^T A with A [k, n]). C is taken to be symmetric on
 * entry when beta != 0; both triangles are written and are exactly symmetric. */
void gy_la_syrk(gy_pool *pool, bool trans, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                double beta, double *c, int64_t ldc);

/* Refuses NaN and Inf: "what: element (i, j) is nan". Also refuses negative sizes and lda < n. */
gy_status gy_la_check(gy_ctx *ctx, const char *what, int64_t m, int64_t n, const double *a, int64_t lda) GY_MUST_CHECK;

/* Solves op(T) X = B in place: B [n, r] becomes X. T [n, n] is triangular; the other triangle is not read. A zero on
 * the diagonal is GY_ERR_NUMERIC (named). GVL 3.1. */
typedef enum gy_la_tri {
    GY_LOWER = 0,
    GY_UPPER = 1,
    GY_TRANS = 2, /* op(T) = T^T */
    GY_UNIT = 4   /* the diagonal is taken as 1 and not read */
} gy_la_tri;
gy_status gy_la_trsm(gy_ctx *ctx, unsigned tri, int64_t n, int64_t r, const double *t, int64_t ldt, double *b,
                     int64_t ldb) GY_MUST_CHECK;

/* ---- Cholesky: GVL 4.2 ---------------------------------------------------------------------- */

/* A = L L^T in place: reads the lower triangle of A [n, n], writes L there and zeroes above the diagonal. A matrix
 * that is not positive definite is GY_ERR_NUMERIC; the message names the pivot and its value. */
gy_status gy_la_cholesky(gy_ctx *ctx, int64_t n, double *a, int64_t lda) GY_MUST_CHECK;
/* B [n, r] becomes A^-1 B, given L of gy_la_cholesky. */
gy_status gy_la_cholesky_solve(gy_ctx *ctx, int64_t n, int64_t r, const double *l, int64_t ldl, double *b,
                               int64_t ldb) GY_MUST_CHECK;

/* ---- LU with partial pivoting: GVL 3.4 ------------------------------------------------------- */

/* P A = L U in place: unit lower L below the diagonal, U on and above. pivot [n]: at step i rows i and pivot[i] >= i
 * were exchanged. An exactly zero pivot is GY_ERR_NUMERIC "singular", naming the column. */
gy_status gy_la_lu(gy_ctx *ctx, int64_t n, double *a, int64_t lda, int64_t *pivot) GY_MUST_CHECK;
/* B [n, r] becomes A^-1 B, given gy_la_lu's output. */
gy_status gy_la_lu_solve(gy_ctx *ctx, int64_t n, int64_t r, const double *lu, int64_t ldlu, const int64_t *pivot,
                         double *b, int64_t ldb) GY_MUST_CHECK;
/* B [n, r] becomes A^-1 B; A [n, n] is not changed. */
gy_status gy_la_solve(gy_ctx *ctx, int64_t n, int64_t r, const double *a, int64_t lda, double *b,
                      int64_t ldb) GY_MUST_CHECK;
/* inv [n, n] = A^-1. */
gy_status gy_la_inverse(gy_ctx *ctx, int64_t n, const double *a, int64_t lda, double *inv, int64_t ldinv) GY_MUST_CHECK;
/* det A = sign * exp(log_abs). A singular matrix is no error: sign 0, log_abs -Inf. n = 0: sign 1, log_abs 0. */
gy_status gy_la_det(gy_ctx *ctx, int64_t n, const double *a, int64_t lda, double *sign, double *log_abs) GY_MUST_CHECK;

/* The same for complex matrices; *phase has modulus 1 (0 if singular). */
gy_status gy_la_clu(gy_ctx *ctx, int64_t n, double complex *a, int64_t lda, int64_t *pivot) GY_MUST_CHECK;
gy_status gy_la_clu_solve(gy_ctx *ctx, int64_t n, int64_t r, const double complex *lu, int64_t ldlu,
                          const int64_t *pivot, double complex *b, int64_t ldb) GY_MUST_CHECK;
gy_status gy_la_csolve(gy_ctx *ctx, int64_t n, int64_t r, const double complex *a, int64_t lda, double complex *b,
                       int64_t ldb) GY_MUST_CHECK;
gy_status gy_la_cinverse(gy_ctx *ctx, int64_t n, const double complex *a, int64_t lda, double complex *inv,
                         int64_t ldinv) GY_MUST_CHECK;
gy_status gy_la_cdet(gy_ctx *ctx, int64_t n, const double complex *a, int64_t lda, double complex *phase,
                     double *log_abs) GY_MUST_CHECK;

/* ---- QR: GVL 5.2, blocked by the compact WY form of Schreiber & Van Loan (1989) -------------- */

/* In place, k = min(m, n): R on and above the diagonal of A [m, n]; below it the Householder vectors v_i (v_i[i] = 1
 * not stored); Q = H_0 ... H_{k-1}, H_i = I - tau[i] v_i v_i^T. tau [k]. */
gy_status gy_la_qr(gy_ctx *ctx, int64_t m, int64_t n, double *a, int64_t lda, double *tau) GY_MUST_CHECK;
/* B [m, r] becomes Q B, or Q^T B with `trans`; qr, tau are gy_la_qr's output with k reflectors. */
gy_status gy_la_qr_apply(gy_ctx *ctx, bool trans, int64_t m, int64_t k, const double *qr, int64_t ldqr,
                         const double *tau, int64_t r, double *b, int64_t ldb) GY_MUST_CHECK;
/* A [m, n] = Q R with Q [m, k], R [k, n], k = min(m, n). R's diagonal is >= 0, which makes the factors unique when A
 * has full rank. A is not changed. */
gy_status gy_la_qr_thin(gy_ctx *ctx, int64_t m, int64_t n, const double *a, int64_t lda, double *q, int64_t ldq,
                        double *r, int64_t ldr) GY_MUST_CHECK;

/* ---- eigenvalues ----------------------------------------------------------------------------- */

/* A [n, n] symmetric (the lower triangle is read): A z_j = w_j z_j. w [n] ascending; the columns of z [n, n] are
 * orthonormal, each with its largest entry (the first of equal ones) positive. z NULL: values only. A is not changed.
 * Blocked tridiagonalisation, then implicit QL with Wilkinson's shift: GVL 8.3. */
gy_status gy_la_eigh(gy_ctx *ctx, int64_t n, const double *a, int64_t lda, double *w, double *z,
                     int64_t ldz) GY_MUST_CHECK;

/* A [n, n] general real: A v_j = w_j v_j. w [n] sorted by falling modulus, then falling real part, of a conjugate
 * pair the one with positive imaginary part first; pairs are exactly conjugate. Columns of v [n, n] have unit 2-norm
 * and a real, positive largest entry. v NULL: values only. Eigenvectors of a defective matrix come out parallel.
 * Balancing, Hessenberg form, Francis' double-shift QR: GVL 7.4, 7.5. */
gy_status gy_la_eig(gy_ctx *ctx, int64_t n, const double *a, int64_t lda, double complex *w, double complex *v,
                    int64_t ldv) GY_MUST_CHECK;

/* ---- singular values, least squares ---------------------------------------------------------- */

/* A [m, n] = U diag(s) V^T with k = min(m, n): u [m, k], s [k] falling and >= 0, vt [k, n]. U and V are orthonormal
 * also where s is 0. u and vt may both be NULL: values only. A is not changed. QR first when m > n, Householder
 * bidiagonalisation, implicit QR (zero-shift sweeps while the shift is negligible: Demmel & Kahan 1990): GVL 8.6.
 * Backward stable: errors of s are a few eps times s[0]. */
gy_status gy_la_svd(gy_ctx *ctx, int64_t m, int64_t n, const double *a, int64_t lda, double *u, int64_t ldu, double *s,
                    double *vt, int64_t ldvt) GY_MUST_CHECK;

/* min ||A X - B||_F for A [m, n], m >= n, of full column rank; B [m, r], X [n, r]. Householder QR. Rank deficiency
 * (|R_jj| <= max(m, n) eps max|R_ii|) is GY_ERR_NUMERIC, naming column j. GVL 5.3. */
gy_status gy_la_lstsq_qr(gy_ctx *ctx, int64_t m, int64_t n, int64_t r, const double *a, int64_t lda, const double *b,
                         int64_t ldb, double *x, int64_t ldx) GY_MUST_CHECK;
/* The minimum-norm solution for any shape and rank, by SVD; singular values <= rcond s[0] count as 0; rcond < 0 means
 * max(m, n) eps. rank may be NULL. GVL 5.5. */
gy_status gy_la_lstsq(gy_ctx *ctx, int64_t m, int64_t n, int64_t r, const double *a, int64_t lda, const double *b,
                      int64_t ldb, double rcond, double *x, int64_t ldx, int64_t *rank) GY_MUST_CHECK;
/* pinv [n, m], the Moore-Penrose inverse of A [m, n]; rcond as above. */
gy_status gy_la_pinv(gy_ctx *ctx, int64_t m, int64_t n, const double *a, int64_t lda, double rcond, double *pinv,
                     int64_t ldp) GY_MUST_CHECK;

/* Ridge, logistic regression, PCA, k-means, assignment, correlations; L-BFGS; Fourier transforms; Markov chains. */
#include "classical.h"
#include "fft.h"
#include "hmm.h"
#include "lbfgs.h"

#endif
