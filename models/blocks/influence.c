/* Total influence by backward passes over separate subgraphs. */
#include "influence.h"

#include <string.h>

/* The subgraphs around all nodes, one after another: their graph, each part's first node, and the nodes and hops. */
typedef struct parts {
    gy_csr all;
    int64_t n, cap;
    int64_t *node, *hop, *first; /* [n], [n], [count + 1] */
} parts;

static void parts_free(gy_ctx *ctx, parts *p) {
    gy_csr_free(&p->all);
    gy_free(ctx, p->node);
    gy_free(ctx, p->hop);
    gy_free(ctx, p->first);
}

static gy_status collect(gy_ctx *ctx, const gy_influence_args *a, parts *p) {
    gy_csr_search s;
    int64_t edges = 0, *source = NULL, *target = NULL;
    *p = (parts){.first = gy_calloc(ctx, (size_t)a->count + 1, sizeof *p->first)};
    if (!p->first) return GY_ERR_NOMEM;
    gy_status e = gy_csr_search_new(a->graph, &s);
    if (e != GY_OK) return e;
    for (int64_t i = 0; i < a->count; i++) {
        gy_csr_neighbourhood(&s, a->node[i], a->hops);
        p->first[i + 1] = p->n += s.count;
        for (int64_t k = 0; k < s.count; k++) edges += gy_csr_degree(a->graph, s.node[k]);
    }
    p->node = gy_calloc(ctx, (size_t)p->n, sizeof *p->node);
    p->hop = gy_calloc(ctx, (size_t)p->n, sizeof *p->hop);
    source = gy_calloc(ctx, (size_t)edges, sizeof *source);
    target = gy_calloc(ctx, (size_t)edges, sizeof *target);
    if (!p->node || !p->hop || !source || !target) e = GY_ERR_NOMEM;
    edges = 0;
    for (int64_t i = 0; e == GY_OK && i < a->count; i++) {
        gy_csr_neighbourhood(&s, a->node[i], a->hops);
        memcpy(p->node + p->first[i], s.node, (size_t)s.count * sizeof *s.node);
        memcpy(p->hop + p->first[i], s.hop, (size_t)s.count * sizeof *s.hop);
        for (int64_t k = 0; k < s.count; k++)
            for (int64_t j = a->graph->indptr[s.node[k]]; j < a->graph->indptr[s.node[k] + 1]; j++) {
                int64_t to = s.place[a->graph->indices[j]];
                if (to < 0) continue; /* beyond the last hop */
                source[edges] = p->first[i] + k;
                target[edges++] = p->first[i] + to;
            }
    }
    if (e == GY_OK) e = gy_csr_from_edges(ctx, p->n, edges, source, target, NULL, false, &p->all);
    gy_free(ctx, source);
    gy_free(ctx, target);
    gy_csr_search_free(&s);
    return e;
}

static gy_t constant(gy_graph *g, int64_t n, int64_t *data) {
    gy_tensor t = {.dtype = GY_I64, .shape = GY_S(n), .data = data, .borrowed = true};
    return gy_const(g, &t);
}

/* sum_ij |d out_vi / d x_uj| for each node u of the parts, v the first of its own part: an output "influence" [n]. */
static void differentiate(const gy_influence_args *a, gy_graph *g, const parts *p) {
    gy_mod m = gy_mod_make(g, a->store, 0, false);
    gy_gnn_graph on = gy_gnn_on(constant(g, p->n + 1, p->all.indptr), constant(g, p->all.nnz, p->all.indices), GY_F32);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(p->n, a->features)), sum = GY_NONE;
    gy_t out = gy_gather(a->model(a->user, &m, &on, x), constant(g, a->count, p->first), 0); /* [count, C] */
    for (int64_t i = 0; i < gy_dim(out, 1); i++) {
        gy_t gx, one = gy_sum(gy_slice(out, 1, i, i + 1), GY_ALL);
        gy_grad_zeros(one, GY_NONE, 1, &x, &gx);
        gy_t each = gy_sum(gy_abs(gx), GY_AXES(1)); /* [n] */
        sum = i ? gy_add(sum, each) : each;
    }
    gy_output(sum, "influence");
}

gy_status gy_total_influence(gy_ctx *ctx, const gy_influence_args *a, double *total) {
    parts p;
    gy_graph *g = gy_graph_new(ctx);
    gy_plan *plan = NULL;
    gy_status s = collect(ctx, a, &p);
    if (!g) s = GY_ERR_NOMEM;
    if (s == GY_OK) {
        differentiate(a, g, &p);
        plan = gy_compile(g, (gy_plan_args){.no_assign = true});
        s = plan ? GY_OK : gy_error_status(ctx);
    }
    float *x = plan ? gy_plan_input(plan, "x") : NULL;
    for (int64_t i = 0; x && i < p.n; i++)
        memcpy(x + i * a->features, a->x + p.node[i] * a->features, (size_t)a->features * sizeof *x);
    if (s == GY_OK) s = gy_plan_run(plan);
    const float *y = s == GY_OK ? gy_plan_output(plan, "influence").data : NULL;
    memset(total, 0, (size_t)(a->count * (a->hops + 1)) * sizeof *total);
    for (int64_t i = 0; y && i < a->count; i++)
        for (int64_t k = p.first[i]; k < p.first[i + 1]; k++) total[i * (a->hops + 1) + p.hop[k]] += (double)y[k];
    gy_plan_free(plan);
    gy_graph_free(g);
    parts_free(ctx, &p);
    return s;
}

void gy_influence_summary(int64_t count, int64_t hops, const double *total, double *mean_h, double *receptive_field) {
    double field = 0, nodes = 0;
    for (int64_t h = 0; h <= hops; h++) mean_h[h] = 0;
    for (int64_t i = 0; i < count; i++) {
        double sum = 0, moment = 0;
        for (int64_t h = 0; h <= hops; h++) {
            double t = total[i * (hops + 1) + h];
            mean_h[h] += t / (double)count;
            sum += t;
            moment += (double)h * t;
        }
        if (sum > 0) field += moment / sum, nodes++;
    }
    for (int64_t h = hops; h >= 0; h--) mean_h[h] /= mean_h[0];
    *receptive_field = nodes > 0 ? field / nodes : 0;
}
