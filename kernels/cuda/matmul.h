/* matmul.h: what the kernels of the operator matmul share: the problem as they are given it. */
#ifndef GY_CUDA_MATMUL_H
#define GY_CUDA_MATMUL_H

#include "cuda.h"

enum { MATMUL_BATCH_AXES = GY_MAX_RANK - 2 };

/* y = act(alpha a b + bias) + residual, a [m, k], b [k, n], for each index of the batch. Strides in elements. */
typedef struct {
    const void *a, *b, *bias, *residual; /* bias, residual: NULL: none */
    void *y;
    int64_t m, n, k, batch;
    int64_t a_row, a_depth, b_depth, b_col, y_row, y_col, r_row, r_col, bias_row, bias_col;
    int64_t y_batch;
    int64_t dim[MATMUL_BATCH_AXES], a_batch[MATMUL_BATCH_AXES], b_batch[MATMUL_BATCH_AXES], r_batch[MATMUL_BATCH_AXES];
    int batch_rank;
    int64_t k_split, y_split; /* block row s of the grid sums depths from s k_split, and writes s y_split further on */
    double alpha;
    int act;
    bool whole; /* 16 bytes of a row of y, and of the residual, are aligned */
} matmul_args;

/* Offsets of the operands of product i of the batch. */
GY_DEVICE void matmul_batch(const matmul_args *a, int64_t i, int64_t *oa, int64_t *ob, int64_t *residual) {
    *oa = *ob = *residual = 0;
    for (int d = a->batch_rank - 1; d >= 0; d--) {
        int64_t at = d ? i % a->dim[d] : i;
        i = d ? i / a->dim[d] : 0;
        *oa += at * a->a_batch[d];
        *ob += at * a->b_batch[d];
        *residual += at * a->r_batch[d];
    }
}

/* Where a block works: tiles of 8 rows of tiles are taken column by column, so that blocks that run together read the
 * same parts of a and b. */
typedef struct {
    int64_t batch, row, col;
} matmul_place;
GY_DEVICE matmul_place matmul_tile(const matmul_args *a, int64_t block, int rows, int cols) {
    const int64_t GROUP = 8;
    int64_t down = (a->m + rows - 1) / rows, across = (a->n + cols - 1) / cols;
    matmul_place p;
    p.batch = block / (down * across);
    block -= p.batch * down * across;
    int64_t group = block / (GROUP * across), high = down - group * GROUP < GROUP ? down - group * GROUP : GROUP;
    block -= group * GROUP * across;
    p.row = (group * GROUP + block % high) * rows;
    p.col = block / high * cols;
    return p;
}

/* The depths that a block sums; none if k1 < k0. */
GY_DEVICE void matmul_depths(const matmul_args *a, int64_t *k0, int64_t *k1) {
    *k0 = (int64_t)blockIdx.y * a->k_split;
    *k1 = a->k - *k0 > a->k_split ? *k0 + a->k_split : a->k;
}

#ifdef GY_HOST
/* The operator's operands as a problem without splits. */
matmul_args matmul_problem(const gy_kargs *k);

/* The same with rows and columns exchanged: y^T = b^T a^T. */
matmul_args matmul_transposed(matmul_args p);

/* How a product is cut: square tiles, and the depth in parts whose sums are then added. By shapes alone. */
typedef struct {
    int64_t tiles;
    int parts, side;
} matmul_cut;
/* In tiles of side `large` where there are many, else `small`. */
matmul_cut matmul_cut_of(const matmul_args *p, int large, int small);
/* Into how many parts the depth k is cut when the rest makes so many tiles. */
int matmul_parts(int64_t tiles, int64_t k);
size_t matmul_cut_scratch(const matmul_args *p, matmul_cut c, size_t element);
/* The problem of a kernel that computes the parts, in multiples of `depth`: plain sums to scratch if there are several.
 */
matmul_args matmul_part(matmul_args p, matmul_cut c, void *scratch, int depth);
/* Adds the parts in k->scratch and finishes problem p. */
void matmul_finish(const gy_kargs *k, const matmul_args *p, int parts);

/* matmul_few.cu: f32, at most 4 rows or columns. */
bool matmul_few_takes(const matmul_args *p);
size_t matmul_few_scratch(const matmul_args *p);
void matmul_few_run(const gy_kargs *k, const matmul_args *p);

/* matmul_tf32.cu: f32 with factors rounded to tf32, where the environment's GYRUS_TF32=1 asks for it, from when the
 * plan is made until it last runs. */
bool matmul_tf32_takes(const matmul_args *p);
size_t matmul_tf32_scratch(const matmul_args *p);
void matmul_tf32_run(const gy_kargs *k, const matmul_args *p);

/* matmul_sm90.cu: whether it takes the problem; what scratch it needs; runs it. */
bool matmul_sm90_takes(const gy_kargs *k, const matmul_args *p);
size_t matmul_sm90_scratch(const matmul_args *p);
void matmul_sm90_run(const gy_kargs *k, const matmul_args *p);
#endif
#endif
