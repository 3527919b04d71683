/* influence.h: how far information travels in a trained model on a graph.
 *
 * Liang et al. 2025, arXiv 2503.09008 (and torch_geometric.utils.total_influence): the influence of node u on node v is
 * I(v, u) = sum_ij |d out_vi / d x_uj|; T_h(v) sums it over the nodes exactly h edges from v. */
#ifndef GY_BLOCKS_INFLUENCE_H
#define GY_BLOCKS_INFLUENCE_H

#include "gnn.h"
#include "graph.h"

/* A model of nodes: features x [N, F] on g -> outputs [N, C]; its parameters are in m's store. */
typedef gy_t (*gy_node_model)(void *user, gy_mod *m, const gy_gnn_graph *g, gy_t x);

typedef struct gy_influence_args {
    gy_store *store;
    gy_node_model model;
    void *user;
    const gy_csr *graph; /* symmetric */
    const float *x;      /* [graph->n, features] */
    int64_t features;
    int64_t count;       /* nodes to look at */
    const int64_t *node; /* [count] */
    int64_t hops;
} gy_influence_args;
/* total [count, hops + 1] = T_h(node). The Jacobian is that of the subgraph within `hops` of a node, exact for models
 * that pass means or sums at most `hops` times (what is weighted by degrees, as in GCN, sees the outermost nodes with
 * the degrees they have in the subgraph, here as in torch_geometric). The subgraphs of all nodes are one graph of
 * separate parts, so that one backward pass an output serves them all. */
gy_status gy_total_influence(gy_ctx *ctx, const gy_influence_args *a, double *total) GY_MUST_CHECK;

/* mean_h [hops + 1] over nodes, divided by that of hop 0, and the influence-weighted receptive field
 * mean_v [ sum_h h T_h(v) / sum_h T_h(v) ], over the nodes that anything influences. */
void gy_influence_summary(int64_t count, int64_t hops, const double *total, double *mean_h, double *receptive_field);

#endif
