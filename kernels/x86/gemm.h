/* gemm.h: the matrix product driver, for every kernel that is a product in disguise.
 *
 *     C[i, j] = act(alpha sum_p A[i, p] B[p, j] + bias[j]) + residual[i, j],   i < m, j < n, p < k
 *
 * A and B are whatever their packers say: a matrix with any strides, a convolution's patches, gathered rows. */
#ifndef GY_X86_GEMM_H
#define GY_X86_GEMM_H

#include "vec.h"

#include "core/ops/matmul.h"

/* Rows of C that a register tile covers at most, and its columns (two vectors). */
#if defined(GY_TIER_avx2)
enum { GY_MR = 6 };
#else
enum { GY_MR = 14 };
#endif

/* Packers are never asked for more depth than this at once. */
enum { GY_KC = 256 };

/* An operand seen as lines along the output (rows of A, columns of B) by depth (the summed axis). A packer writes
 * lines r0 .. r0+n-1 at depths p0 .. p0+depth-1 as a panel `width` lines wide:
 *
 *     dst[p * width + r] = operand(r0 + r, p0 + p),   0 for n <= r < width
 *
 * width >= n; the packer writes depth * width elements and may read only what it needs. */
typedef struct gy_strided {
    const void *data;
    int64_t line, depth; /* strides in elements */
} gy_strided;

#define GY_GEMM_TYPES(T, t)                                                                                            \
    typedef void (*gy_pack_##t)(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,   \
                                T *dst);                                                                               \
    typedef struct gy_gemm_##t {                                                                                       \
        int64_t m, n, k;                                                                                               \
        gy_pack_##t pack_a, pack_b;                                                                                    \
        const void *a, *b;                                                                                             \
        const T *b_rows; /* not NULL: B is plain, its rows (one depth) contiguous and b_ld apart */                    \
        int64_t b_ld;                                                                                                  \
        T *c; /* rows contiguous, ldc apart */                                                                         \
        int64_t ldc;                                                                                                   \
        T alpha;                                                                                                       \
        int64_t act;   /* gy_act */                                                                                    \
        const T *bias; /* NULL: none; one a column, bias_step apart */                                                 \
        int64_t bias_step;                                                                                             \
        const T *residual; /* NULL: none */                                                                            \
        int64_t residual_row, residual_col;                                                                            \
    } gy_gemm_##t;
GY_GEMM_TYPES(float, f32)
GY_GEMM_TYPES(double, f64)

/* The packer of gy_strided. */
void GY_ISAFN(gy_pack_strided_f32)(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                                   float *dst);
void GY_ISAFN(gy_pack_strided_f64)(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                                   double *dst);

/* The same with elements rounded to bf16, to nearest even. */
void GY_ISAFN(gy_pack_rounded_f32)(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                                   float *dst);

/* C += A B (or C = A B if `first`) on mr x n, n <= 2 vectors: `a` is a panel mr wide, row p of B is at b + p * ldb and
 * whole vectors of it are read. Index: [mr - 1][number of vectors - 1]. */
typedef void (*gy_ukr_f32)(int64_t depth, const float *a, const float *b, int64_t ldb, float *c, int64_t ldc, int64_t n,
                           bool first);
typedef void (*gy_ukr_f64)(int64_t depth, const double *a, const double *b, int64_t ldb, double *c, int64_t ldc,
                           int64_t n, bool first);
extern const gy_ukr_f32 GY_ISAFN(gy_ukr_table_f32)[GY_MR][2];
extern const gy_ukr_f64 GY_ISAFN(gy_ukr_table_f64)[GY_MR][2];

/* One product on all threads; scratch of gy_gemm_scratch bytes (64-byte aligned); b_rows: whether g->b_rows is set. */
size_t GY_ISAFN(gy_gemm_scratch_f32)(int64_t m, int64_t n, int64_t k, bool b_rows, int threads);
size_t GY_ISAFN(gy_gemm_scratch_f64)(int64_t m, int64_t n, int64_t k, bool b_rows, int threads);
void GY_ISAFN(gy_gemm_f32)(const gy_gemm_f32 *g, void *scratch, gy_pool *pool);
void GY_ISAFN(gy_gemm_f64)(const gy_gemm_f64 *g, void *scratch, gy_pool *pool);
/* One product on the calling thread (inside a tile): for batches of small products. */
size_t GY_ISAFN(gy_gemm_serial_scratch_f32)(int64_t m, int64_t n, int64_t k);
size_t GY_ISAFN(gy_gemm_serial_scratch_f64)(int64_t m, int64_t n, int64_t k);
void GY_ISAFN(gy_gemm_serial_f32)(const gy_gemm_f32 *g, void *scratch);
void GY_ISAFN(gy_gemm_serial_f64)(const gy_gemm_f64 *g, void *scratch);
/* The epilogue alone, on rows [i0, i1) and columns [j0, j1) of C. */
void GY_ISAFN(gy_gemm_finish_f32)(const gy_gemm_f32 *g, int64_t i0, int64_t i1, int64_t j0, int64_t j1);
void GY_ISAFN(gy_gemm_finish_f64)(const gy_gemm_f64 *g, int64_t i0, int64_t i1, int64_t j0, int64_t j1);

#endif
