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
enum { GY_KC = 512 };

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

/* Where an operand lies in memory, strides in bytes; data NULL: unknown, or not as simple as that. `per` depths there
 * are one of a panel (2 for pairs). So that memory is read in long pieces, and fetched before it is packed. */
typedef struct gy_raw {
    const char *data;
    int64_t line, depth, per;
} gy_raw;

#define GY_GEMM_TYPES(T, P, t)                                                                                         \
    typedef void (*gy_pack_##t)(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,   \
                                P *dst);                                                                               \
    typedef struct gy_gemm_##t gy_gemm_##t;                                                                            \
    struct gy_gemm_##t {                                                                                               \
        int64_t m, n, k;                                                                                               \
        gy_pack_##t pack_a, pack_b;                                                                                    \
        const void *a, *b;                                                                                             \
        gy_raw a_raw, b_raw;                                                                                           \
        const P *a_rows; /* not NULL: A is plain, its rows contiguous and a_ld apart */                                \
        int64_t a_ld;                                                                                                  \
        const P *b_rows; /* not NULL: B is plain, its rows (one depth) contiguous and b_ld apart */                    \
        int64_t b_ld;                                                                                                  \
        const P *b_packed; /* not NULL: all of B as gy_gemm_prepack writes it; b and b_rows are not looked at */       \
        T *c;              /* rows contiguous, ldc apart */                                                            \
        int64_t ldc;                                                                                                   \
        T alpha;                                                                                                       \
        int64_t act;   /* gy_act */                                                                                    \
        const T *bias; /* NULL: none; one a column, bias_step apart */                                                 \
        int64_t bias_step;                                                                                             \
        const T *residual; /* NULL: none */                                                                            \
        int64_t residual_row, residual_col;                                                                            \
        /* not NULL: called for each finished part of C, rows [i0, i1) by columns [j0, j1) */                          \
        void (*done)(const gy_gemm_##t *g, int64_t i0, int64_t i1, int64_t j0, int64_t j1);                            \
        const void *user; /* its own */                                                                                \
    };
GY_GEMM_TYPES(float, float, f32)
GY_GEMM_TYPES(double, double, f64)
/* Factors in bf16, sums and everything else in f32. An element of a panel is a pair of depths (the lower half of the
 * word is the earlier), so k, p0 and depth count pairs; packers put zeros after an odd last depth. AVX512-BF16 only. */
GY_GEMM_TYPES(float, uint32_t, bf16)

/* The packer of gy_strided. */
void GY_ISAFN(gy_pack_strided_f32)(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                                   float *dst);
void GY_ISAFN(gy_pack_strided_f64)(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                                   double *dst);

/* The same with elements rounded to bf16, to nearest even. */
void GY_ISAFN(gy_pack_rounded_f32)(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t depth, int64_t width,
                                   float *dst);

/* A product of at most GY_ROUNDED_ROWS rows with factors rounded to bf16, a and b gy_strided (rounded_rows.c). packed:
 * NULL, or B as gy_rounded_rows_prepack writes it, gy_rounded_rows_packed bytes; the bits are the same. */
enum { GY_ROUNDED_ROWS = 4 };
size_t GY_ISAFN(gy_rounded_rows_scratch)(int64_t m, int64_t n, int64_t k, bool packed, int threads);
void GY_ISAFN(gy_rounded_rows)(const gy_gemm_f32 *g, const uint16_t *packed, void *scratch, gy_pool *pool);
size_t GY_ISAFN(gy_rounded_rows_packed)(int64_t n, int64_t k);
void GY_ISAFN(gy_rounded_rows_prepack)(const gy_gemm_f32 *g, uint16_t *dst, gy_pool *pool);

/* A matrix for gy_gemm_bf16: of f32 elements, rounded to nearest even, or of bf16. */
typedef struct gy_pairs {
    const void *data;
    int64_t line, depth; /* strides in elements */
    int64_t depths;      /* how many there are: behind an odd last one stands a zero */
} gy_pairs;
void gy_pack_pairs_f32_avx512bf16(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t pairs, int64_t width,
                                  uint32_t *dst);
void gy_pack_pairs_bf16_avx512bf16(const void *source, int64_t r0, int64_t n, int64_t p0, int64_t pairs, int64_t width,
                                   uint32_t *dst);

/* What a register kernel fetches while it runs, for those that come after it: `count` times the lines of the caches at
 * `at` and at + last, `step` bytes further each time. One of count 0 ends a list. */
typedef struct gy_fetch {
    const char *at;
    int64_t step, count, last;
} gy_fetch;
static const gy_fetch gy_fetch_nothing[1] = {{0}};

/* C += A B (or C = A B if `first`) on mr x n, n <= 2 vectors: `a` is a panel mr wide, row p of B is at b + p * ldb and
 * whole vectors of it are read. Index: [mr - 1][number of vectors - 1], or [mr - 1][2] for n <= half a vector (of which
 * half a vector is read). */
typedef void (*gy_ukr_f32)(int64_t depth, const float *a, const float *b, int64_t ldb, float *c, int64_t ldc, int64_t n,
                           bool first, const gy_fetch *fetch);
typedef void (*gy_ukr_f64)(int64_t depth, const double *a, const double *b, int64_t ldb, double *c, int64_t ldc,
                           int64_t n, bool first, const gy_fetch *fetch);
extern const gy_ukr_f32 GY_ISAFN(gy_ukr_table_f32)[GY_MR][3];
extern const gy_ukr_f64 GY_ISAFN(gy_ukr_table_f64)[GY_MR][3];
/* The same with plain rows of A, lda apart. */
typedef void (*gy_ukr_rows_f32)(int64_t depth, const float *a, int64_t lda, const float *b, int64_t ldb, float *c,
                                int64_t ldc, int64_t n, bool first, const gy_fetch *fetch);
typedef void (*gy_ukr_rows_f64)(int64_t depth, const double *a, int64_t lda, const double *b, int64_t ldb, double *c,
                                int64_t ldc, int64_t n, bool first, const gy_fetch *fetch);
extern const gy_ukr_rows_f32 GY_ISAFN(gy_ukr_rows_table_f32)[GY_MR][3];
extern const gy_ukr_rows_f64 GY_ISAFN(gy_ukr_rows_table_f64)[GY_MR][3];

/* One product on all threads; scratch of gy_gemm_scratch bytes (64-byte aligned). b_rows, b_packed: whether they are
 * set. The bits are the same with B plain, packed before, or neither. */
#define GY_GEMM_FUNCTIONS(P, t)                                                                                        \
    size_t GY_ISAFN(gy_gemm_scratch_##t)(int64_t m, int64_t n, int64_t k, bool b_rows, bool b_packed, int threads);    \
    void GY_ISAFN(gy_gemm_##t)(const gy_gemm_##t *g, void *scratch, gy_pool *pool);                                    \
    /* One product on the calling thread (inside a tile): for batches of small products. */                            \
    size_t GY_ISAFN(gy_gemm_serial_scratch_##t)(int64_t m, int64_t n, int64_t k);                                      \
    void GY_ISAFN(gy_gemm_serial_##t)(const gy_gemm_##t *g, void *scratch);                                            \
    /* All of B (g's n, k, pack_b, b) as panels, gy_gemm_packed bytes. */                                              \
    size_t GY_ISAFN(gy_gemm_packed_##t)(int64_t n, int64_t k);                                                         \
    void GY_ISAFN(gy_gemm_prepack_##t)(const gy_gemm_##t *g, P *dst, gy_pool *pool);                                   \
    /* The epilogue alone, on rows [i0, i1) and columns [j0, j1) of C. */                                              \
    void GY_ISAFN(gy_gemm_finish_##t)(const gy_gemm_##t *g, int64_t i0, int64_t i1, int64_t j0, int64_t j1);
GY_GEMM_FUNCTIONS(float, f32)
GY_GEMM_FUNCTIONS(double, f64)
GY_GEMM_FUNCTIONS(uint32_t, bf16)

#endif
