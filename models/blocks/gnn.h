/* gnn.h: layers on sparse graphs. Names and initial values are those of torch_geometric's layers of the same name.
 *
 * A graph comes as three values: indptr i64 [N+1], indices i64 [E] (node i's neighbours are indices[indptr[i] ..
 * indptr[i+1]-1]), the adjacency being symmetric and without loops; what the layers need beside (degrees, normalised
 * weights, targets of messages) is computed once a graph by gy_gnn_graph. An isolated node receives zeros. */
#ifndef GY_BLOCKS_GNN_H
#define GY_BLOCKS_GNN_H

#include "../../core/gyrus.h"

typedef struct gy_gnn_graph {
    int64_t nodes, edges; /* directed */
    gy_t indptr, indices;
    gy_t degree; /* [N, 1] */
    gy_t ones;   /* [E] */
    gy_t row;    /* i64 [E] the node that receives over each edge */
} gy_gnn_graph;
/* dtype: of features and weights. */
gy_gnn_graph gy_gnn_on(gy_t indptr, gy_t indices, gy_dtype dtype);

/* Means over neighbours: D^-1 A x [N, F]. */
gy_t gy_gnn_mean(const gy_gnn_graph *g, gy_t x);
/* D^-1/2 A D^-1/2 x; with loops, (D+1)^-1/2 (A + 1) (D+1)^-1/2 x (Kipf & Welling 2017, arXiv 1609.02907 eq. 2). */
gy_t gy_gnn_symmetric(const gy_gnn_graph *g, gy_t x, bool loops);

/* name.lin_l.{weight, bias}, name.lin_r.weight: W_l mean_j x_j + b + W_r x_i (Hamilton et al. 2017, arXiv 1706.02216).
 */
gy_t gy_gnn_sage(gy_mod *m, const char *name, const gy_gnn_graph *g, gy_t x, int64_t out);
/* name.lin.weight, name.bias: the symmetric operator with loops on W x, plus b. */
gy_t gy_gnn_gcn(gy_mod *m, const char *name, const gy_gnn_graph *g, gy_t x, int64_t out);
/* name.lin.weight, name.att_src, name.att_dst [1, 1, out], name.bias: one head, loops added (Velickovic et al. 2018,
 * arXiv 1710.10903 eq. 1-4): alpha_ij = softmax_j leaky(a_src . W x_j + a_dst . W x_i), slope 0.2. */
gy_t gy_gnn_gat(gy_mod *m, const char *name, const gy_gnn_graph *g, gy_t x, int64_t out);
/* name.lins.0.weight, name.lins.1.weight, name.bias: Chebyshev filter of K = 2 terms with largest eigenvalue 2
 * (Defferrard et al. 2016, arXiv 1606.09375): W_0 x - W_1 D^-1/2 A D^-1/2 x + b. */
gy_t gy_gnn_cheb(gy_mod *m, const char *name, const gy_gnn_graph *g, gy_t x, int64_t out);
/* name.{Wq, Wk, Wv}.{weight, bias}: attention of all nodes to all, linear in N (Wu et al. 2023, arXiv 2306.10759
 * eq. 2-3): q, k divided by their Frobenius norms; (N v + q (k^T v)) / (N + q (k^T 1)). */
gy_t gy_gnn_linear_attention(gy_mod *m, const char *name, gy_t x, int64_t out);

#endif
