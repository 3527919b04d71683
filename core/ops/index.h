/* index.h: embedding, gather, scatter-add, segments of edge lists, sparse-dense product.
 *
 * Indices are i64. A kernel cannot fail, so an index outside its axis (negative ones included) has a
 * defined meaning: reading there gives 0, adding there is ignored. That makes -1 a legal padding index for
 * static edge lists; loaders and the command line check indices that users supply. */
#ifndef GY_OPS_INDEX_H
#define GY_OPS_INDEX_H

#include "../graph.h"

/* ops gather, scatter_add, gather_along, scatter_along_add, segment_max: the indexed axis, and its size in
 * the output (scatters and segments; 0 for gathers). */
typedef struct gy_index_attr {
    int64_t axis, n;
} gy_index_attr;
/* op scatter_onto: the indexed axis of x; set: rows take the place of x's, instead of being added. */
typedef struct gy_onto_attr {
    int64_t axis, set;
} gy_onto_attr;
/* op spmm: y = A b (trans 0) or A^T b (trans 1) with A in CSR; n: rows of y. */
typedef struct gy_spmm_attr {
    int64_t trans, n;
} gy_spmm_attr;

/* x [A..., N, B...] any dtype, index [I...] -> [A..., I..., B...], y_i = x_{index_i} along `axis`
 * (numpy.take). Rank of the result at most GY_MAX_RANK. Gradient: gy_scatter_add. */
gy_t gy_gather_(gy_site at, gy_t x, gy_t index, int64_t axis);
#define gy_gather(x, index, axis) gy_gather_(GY_HERE, x, index, axis)
/* w [V, D], ids [I...] -> [I..., D]. */
#define gy_embedding(w, ids) gy_gather_(GY_HERE, w, ids, 0)

/* The adjoint of gather: u [A..., I..., B...] float, index [I...] -> [A..., n, B...], y_j = sum of u_i
 * over index_i = j, added in the order of i whatever the number of threads. Gradient: gy_gather. */
gy_t gy_scatter_add_(gy_site at, gy_t u, gy_t index, int64_t axis, int64_t n);
#define gy_scatter_add(u, index, axis, n) gy_scatter_add_(GY_HERE, u, index, axis, n)

/* x [A..., N, B...] float, u [A..., I..., B...], index [I...] -> x's shape: x with the rows u_i added to, or with `set`
 * in place of, rows index_i along `axis`; with `set` no index may stand twice. In memory that x leaves, a plan touches
 * these rows alone. Not differentiable: the planner makes it of sums with scatter_add, and caches are kept by it. */
gy_t gy_scatter_onto_(gy_site at, gy_t x, gy_t u, gy_t index, int64_t axis, bool set);
#define gy_scatter_onto(x, u, index, axis, set) gy_scatter_onto_(GY_HERE, x, u, index, axis, set)

/* x [A..., N, B...] any dtype, index [A..., I, B...] -> index's shape, y[a, i, b] = x[a, index[a, i, b], b]
 * (numpy.take_along_axis; other axes equal, no broadcasting). Gradient: gy_scatter_along_add. */
gy_t gy_gather_along_(gy_site at, gy_t x, gy_t index, int64_t axis);
#define gy_gather_along(x, index, axis) gy_gather_along_(GY_HERE, x, index, axis)
/* The adjoint: u and index [A..., I, B...] -> [A..., n, B...]. */
gy_t gy_scatter_along_add_(gy_site at, gy_t u, gy_t index, int64_t axis, int64_t n);
#define gy_scatter_along_add(u, index, axis, n) gy_scatter_along_add_(GY_HERE, u, index, axis, n)

/* index [I...] -> [I..., depth] of a float dtype: 1 at the index, else 0. Not differentiable. */
gy_t gy_one_hot_(gy_site at, gy_t index, int64_t depth, gy_dtype dtype);
#define gy_one_hot(index, depth, dtype) gy_one_hot_(GY_HERE, index, depth, dtype)

/* Segments of a list: x [E, B...], segment [E] (any order, -1 belongs to none), n segments -> [n, B...].
 * An empty segment has sum, mean and max 0. */
#define gy_segment_sum(x, segment, n) gy_scatter_add_(GY_HERE, x, segment, 0, n)
gy_t gy_segment_mean_(gy_site at, gy_t x, gy_t segment, int64_t n);
#define gy_segment_mean(x, segment, n) gy_segment_mean_(GY_HERE, x, segment, n)
/* Output 0: the largest element (NaN if one is there); output 1 (i64): its position e, the first among
 * equals, -1 in an empty segment. The gradient goes to that position. */
gy_t gy_segment_max_(gy_site at, gy_t x, gy_t segment, int64_t n);
#define gy_segment_max(x, segment, n) gy_segment_max_(GY_HERE, x, segment, n)
/* x [E, B...] -> [E, B...]: e^x_e / sum over the segment of e, shifted by its maximum; 0 where the edge
 * belongs to none. Attention on graphs (Velickovic et al. 2018, eq. 2). */
gy_t gy_segment_softmax_(gy_site at, gy_t x, gy_t segment, int64_t n);
#define gy_segment_softmax(x, segment, n) gy_segment_softmax_(GY_HERE, x, segment, n)

/* A [R, C] in compressed sparse rows: indptr i64 [R+1], indices i64 [nnz], values [nnz]; dense [C, D]:
 * y [R, D] = A dense. Row r holds entries indptr[r] .. indptr[r+1]-1; indptr does not
 * fall, and bounds are cut to 0..nnz.
 * Differentiable in values and dense. */
gy_t gy_spmm_(gy_site at, gy_t indptr, gy_t indices, gy_t values, gy_t dense);
#define gy_spmm(indptr, indices, values, dense) gy_spmm_(GY_HERE, indptr, indices, values, dense)
/* The same A, dense [R, D]: y [columns, D] = A^T dense. */
gy_t gy_spmm_t_(gy_site at, gy_t indptr, gy_t indices, gy_t values, gy_t dense, int64_t columns);
#define gy_spmm_t(indptr, indices, values, dense, columns) gy_spmm_t_(GY_HERE, indptr, indices, values, dense, columns)
/* Sampled product: a [R, D], b [C, D] -> [nnz], y_k = <a_{row(k)}, b_{indices[k]}>; entries of no row get 0. */
gy_t gy_sddmm_(gy_site at, gy_t indptr, gy_t indices, gy_t a, gy_t b);
#define gy_sddmm(indptr, indices, a, b) gy_sddmm_(GY_HERE, indptr, indices, a, b)

#endif
