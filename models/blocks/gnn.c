/* Layers on sparse graphs. Every message passing step is one sparse-dense product. */
#include "gnn.h"

#include <math.h>

gy_gnn_graph gy_gnn_on(gy_t indptr, gy_t indices, gy_dtype dtype) {
    gy_gnn_graph g = {
        .indptr = indptr, .indices = indices, .nodes = gy_dim(indptr, 0) - 1, .edges = gy_dim(indices, 0)};
    gy_t from = gy_slice(indptr, 0, 0, g.nodes), to = gy_slice(indptr, 0, 1, g.nodes + 1);
    g.degree = gy_unsqueeze(gy_cast(gy_sub(to, from), dtype), 1);
    g.ones = gy_full(indptr.g, dtype, GY_S(g.edges), 1);
    /* row = number of rows that ended at or before the edge; f64 counts exactly */
    gy_t ends = gy_scatter_add(gy_full(indptr.g, GY_F64, GY_S(g.nodes), 1), to, 0, g.edges + 1);
    g.row = gy_cast(gy_slice(gy_cumsum(ends, 0), 0, 0, g.edges), GY_I64);
    return g;
}

gy_t gy_gnn_mean(const gy_gnn_graph *g, gy_t x) {
    gy_t one = gy_scalar(x, 1), sum = gy_spmm(g->indptr, g->indices, g->ones, x);
    return gy_div(sum, gy_maximum(g->degree, one));
}

gy_t gy_gnn_symmetric(const gy_gnn_graph *g, gy_t x, bool loops) {
    gy_t degree = loops ? gy_add_scalar(g->degree, 1) : gy_maximum(g->degree, gy_scalar(x, 1));
    gy_t root = gy_rsqrt(degree), scaled = gy_mul(x, root); /* [N, F] */
    gy_t sum = gy_spmm(g->indptr, g->indices, g->ones, scaled);
    return gy_mul(loops ? gy_add(sum, scaled) : sum, root);
}

/* torch_geometric's "glorot": U(+-sqrt(6 / (in + out))) */
#define GLOROT .init = {GY_INIT_XAVIER_UNIFORM, 1}

gy_t gy_gnn_sage(gy_mod *m, const char *name, const gy_gnn_graph *g, gy_t x, int64_t out) {
    gy_push(m, "%s", name);
    gy_t y =
        gy_add(gy_nn_linear(m, "lin_l", gy_gnn_mean(g, x), out), gy_nn_linear(m, "lin_r", x, out, .no_bias = true));
    gy_pop(m);
    return y;
}

gy_t gy_gnn_gcn(gy_mod *m, const char *name, const gy_gnn_graph *g, gy_t x, int64_t out) {
    gy_push(m, "%s", name);
    gy_t y = gy_nn_linear(m, "lin", x, out, .no_bias = true, GLOROT);
    y = gy_add(gy_gnn_symmetric(g, y, true), gy_param(m, "bias", GY_S(out), GY_INIT_ZEROS));
    gy_pop(m);
    return y;
}

gy_t gy_gnn_gat(gy_mod *m, const char *name, const gy_gnn_graph *g, gy_t x, int64_t out) {
    gy_push(m, "%s", name);
    gy_t h = gy_nn_linear(m, "lin", x, out, .no_bias = true, GLOROT); /* [N, C] */
    double bound = sqrt(6.0 / (1.0 + (double)out));
    gy_t from = gy_reshape(gy_param(m, "att_src", GY_S(1, 1, out), GY_INIT_UNIFORM, bound), out, 1);
    gy_t to = gy_reshape(gy_param(m, "att_dst", GY_S(1, 1, out), GY_INIT_UNIFORM, bound), out, 1);
    gy_t a = gy_squeeze(gy_matmul(h, from), 1), b = gy_squeeze(gy_matmul(h, to), 1); /* [N] */
    /* loops: N edges more, from each node to itself, after the graph's own */
    gy_t self = gy_iota(x.g, GY_I64, g->nodes), row = gy_concat2(0, g->row, self);
    gy_t source = gy_concat2(0, g->indices, self);
    gy_t score = gy_leaky_relu(gy_add(gy_gather(a, source, 0), gy_gather(b, row, 0)), 0.2); /* [E + N] */
    gy_t alpha = gy_segment_softmax(score, row, g->nodes);
    gy_t around = gy_spmm(g->indptr, g->indices, gy_slice(alpha, 0, 0, g->edges), h);
    gy_t own = gy_mul(h, gy_unsqueeze(gy_slice(alpha, 0, g->edges, g->edges + g->nodes), 1));
    gy_t y = gy_add(gy_add(around, own), gy_param(m, "bias", GY_S(out), GY_INIT_ZEROS));
    gy_pop(m);
    return y;
}

gy_t gy_gnn_cheb(gy_mod *m, const char *name, const gy_gnn_graph *g, gy_t x, int64_t out) {
    gy_push(m, "%s", name);
    gy_t zero = gy_nn_linear(m, "lins.0", x, out, .no_bias = true, GLOROT);
    gy_t one = gy_nn_linear(m, "lins.1", gy_neg(gy_gnn_symmetric(g, x, false)), out, .no_bias = true, GLOROT);
    gy_t y = gy_add(gy_add(zero, one), gy_param(m, "bias", GY_S(out), GY_INIT_ZEROS));
    gy_pop(m);
    return y;
}

gy_t gy_gnn_linear_attention(gy_mod *m, const char *name, gy_t x, int64_t out) {
    double n = (double)gy_dim(x, 0);
    gy_push(m, "%s", name);
    gy_t q = gy_nn_linear(m, "Wq", x, out), k = gy_nn_linear(m, "Wk", x, out), v = gy_nn_linear(m, "Wv", x, out);
    gy_pop(m);
    q = gy_div(q, gy_sqrt(gy_sum(gy_square(q), GY_ALL)));
    k = gy_div(k, gy_sqrt(gy_sum(gy_square(k), GY_ALL)));
    gy_t kv = gy_matmul(k, v, .trans_a = true);                        /* [D, D] */
    gy_t above = gy_add(gy_matmul(q, kv), gy_scale(v, n));             /* [N, D] */
    gy_t below = gy_matmul(q, gy_unsqueeze(gy_sum(k, GY_AXES(0)), 1)); /* [N, 1] */
    return gy_div(above, gy_add_scalar(below, n));
}
