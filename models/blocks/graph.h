/* graph.h: graphs on the host: compressed rows from edge lists, neighbourhoods, shortest paths, sampling, generators.
 *
 * A graph has n nodes; its edges are kept by source in compressed sparse rows (CSR), targets of a node in rising order.
 * An undirected edge is kept in both rows. Layers that run on such graphs are in gnn.h, measures of what travels how
 * far in influence.h. */
#ifndef GY_BLOCKS_GRAPH_H
#define GY_BLOCKS_GRAPH_H

#include "../../core/base.h"
#include "../../core/rng.h"

typedef struct gy_csr {
    gy_ctx *ctx;
    int64_t n, nnz;
    int64_t *indptr;  /* [n + 1] */
    int64_t *indices; /* [nnz] targets */
    double *weight;   /* [nnz] lengths of the edges; NULL: none */
} gy_csr;

/* From `edges` pairs source[i] -> target[i], weight NULL or [edges]; `undirected` adds the opposite of each. Equal
 * pairs become one (the smallest weight stays); loops are kept. A node outside 0..n-1, a weight that is NaN or negative
 * is GY_ERR_FORMAT, naming the edge. */
gy_status gy_csr_from_edges(gy_ctx *ctx, int64_t n, int64_t edges, const int64_t *source, const int64_t *target,
                            const double *weight, bool undirected, gy_csr *out) GY_MUST_CHECK;
void gy_csr_free(gy_csr *g); /* all-zero is fine */
static inline int64_t gy_csr_degree(const gy_csr *g, int64_t v) {
    return g->indptr[v + 1] - g->indptr[v];
}
bool gy_csr_symmetric(const gy_csr *g); /* every edge has its opposite, of the same weight */

/* The graph that `count` different nodes and the edges among them make; node i of the result is node[i]. */
gy_status gy_csr_induced(const gy_csr *g, int64_t count, const int64_t *node, gy_csr *out) GY_MUST_CHECK;
/* The nodes of the largest connected component (edges taken both ways must be there), rising: node [n], *count. The
 * component of the lowest node among equals. */
gy_status gy_csr_largest_component(const gy_csr *g, int64_t *node, int64_t *count) GY_MUST_CHECK;

/* Scratch of the searches below, so that many of them cost no memory each; place [n] is -1 outside the last result. */
typedef struct gy_csr_search {
    const gy_csr *g;
    int64_t count;
    int64_t *node;  /* [count] nodes found, nearest first, equals in the order of discovery; node[0] is the start */
    int64_t *hop;   /* [count] edges from the start */
    int64_t *place; /* [n] index in node, or -1 */
    double *length; /* [count] by gy_csr_lengths */
    int64_t *heap;  /* of gy_csr_lengths */
} gy_csr_search;
gy_status gy_csr_search_new(const gy_csr *g, gy_csr_search *out) GY_MUST_CHECK;
void gy_csr_search_free(gy_csr_search *s);
/* All nodes within `hops` edges of v: fills count, node, hop, place. */
void gy_csr_neighbourhood(gy_csr_search *s, int64_t v, int64_t hops);
/* Dijkstra from v inside the last neighbourhood of v: fills length. Edges without weights are 1 long. */
void gy_csr_lengths(gy_csr_search *s);
/* The longest of the shortest ways from each node to the nodes within `hops` edges of it, inside the subgraph that
 * these induce: out [n]. Threads share the work; the result does not depend on their number. */
gy_status gy_csr_eccentricity(const gy_csr *g, int64_t hops, double *out) GY_MUST_CHECK;

/* Up to `fanout` different neighbours of each of `count` nodes, uniformly without replacement (Hamilton et al. 2017,
 * arXiv 1706.02216 alg. 1): out [count, fanout], -1 beyond a node's degree. A function of (seed, step, node). */
gy_status gy_csr_sample(const gy_csr *g, int64_t count, const int64_t *node, int64_t fanout, uint64_t seed,
                        int64_t step, int64_t *out) GY_MUST_CHECK;

/* Classes 0 .. classes-1 of (nearly) equal size by rising value; equal values by rising index: class_of [n]. */
gy_status gy_quantile_classes(gy_ctx *ctx, int64_t n, const double *value, int64_t classes,
                              int64_t *class_of) GY_MUST_CHECK;

/* ---- generators (graph_make.c) ---- */

/* A town: side x side crossings, each moved by U(+-jitter) from its place on a grid; `drop` of the streets are closed;
 * the largest component. position [nodes, 2], owned by the caller, weights are Euclidean lengths. */
gy_status gy_graph_town(gy_ctx *ctx, gy_rng *r, int64_t side, double jitter, double drop, gy_csr *out,
                        double **position) GY_MUST_CHECK;
/* Stochastic block model: n nodes, node i in block i mod blocks, an edge with probability inside or outside by whether
 * two nodes share a block. The whole graph, isolated nodes included. */
gy_status gy_graph_blocks(gy_ctx *ctx, gy_rng *r, int64_t n, int64_t blocks, double inside, double outside,
                          gy_csr *out) GY_MUST_CHECK;
/* The same nodes and degrees, other neighbours: pairs of undirected edges exchange ends (Maslov & Sneppen 2002),
 * `swaps` attempts an edge. A length stays with the end that does not move. */
gy_status gy_graph_rewire(gy_rng *r, const gy_csr *g, int64_t swaps, gy_csr *out) GY_MUST_CHECK;

#endif
