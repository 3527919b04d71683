/* Generated graphs: towns, communities, and the same degrees with other neighbours. */
#include "graph.h"

#include <math.h>
#include <string.h>

typedef struct edge_list {
    int64_t n, cap, *source, *target;
    double *weight;
} edge_list;

static void list_free(gy_ctx *ctx, edge_list *l) {
    gy_free(ctx, l->source);
    gy_free(ctx, l->target);
    gy_free(ctx, l->weight);
}

static gy_status list_new(gy_ctx *ctx, int64_t cap, bool weighted, edge_list *l) {
    *l = (edge_list){.cap = cap,
                     .source = gy_calloc(ctx, (size_t)cap, sizeof(int64_t)),
                     .target = gy_calloc(ctx, (size_t)cap, sizeof(int64_t)),
                     .weight = weighted ? gy_calloc(ctx, (size_t)cap, sizeof(double)) : NULL};
    if (l->source && l->target && (l->weight || !weighted)) return GY_OK;
    list_free(ctx, l);
    return GY_ERR_NOMEM;
}

static gy_status grow(gy_ctx *ctx, edge_list *l) {
    int64_t *s = gy_realloc(ctx, l->source, (size_t)(2 * l->cap) * sizeof *s);
    if (!s) return GY_ERR_NOMEM;
    l->source = s;
    int64_t *t = gy_realloc(ctx, l->target, (size_t)(2 * l->cap) * sizeof *t);
    if (!t) return GY_ERR_NOMEM;
    l->target = t;
    l->cap *= 2;
    return GY_OK;
}

gy_status gy_graph_town(gy_ctx *ctx, gy_rng *r, int64_t side, double jitter, double drop, gy_csr *out,
                        double **position) {
    int64_t n = side * side, count = 0;
    edge_list l;
    gy_csr all = {0};
    *position = NULL;
    *out = (gy_csr){0};
    gy_status s = list_new(ctx, 2 * n, true, &l);
    if (s != GY_OK) return s;
    double *at = gy_calloc(ctx, (size_t)n, 2 * sizeof *at);
    int64_t *node = gy_calloc(ctx, (size_t)n, sizeof *node);
    if (!at || !node) s = GY_ERR_NOMEM;
    for (int64_t v = 0; s == GY_OK && v < n; v++) {
        at[2 * v] = (double)(v % side) + jitter * (2 * gy_rng_uniform(r) - 1);
        at[2 * v + 1] = (double)(v / side) + jitter * (2 * gy_rng_uniform(r) - 1);
    }
    for (int64_t v = 0; s == GY_OK && v < n; v++)
        for (int way = 0; way < 2; way++) { /* to the east, to the south */
            int64_t u = way ? v + side : v + 1;
            if (way ? u >= n : u % side == 0) continue;
            if (gy_rng_uniform(r) < drop) continue;
            l.source[l.n] = v;
            l.target[l.n] = u;
            l.weight[l.n++] = hypot(at[2 * u] - at[2 * v], at[2 * u + 1] - at[2 * v + 1]);
        }
    if (s == GY_OK) s = gy_csr_from_edges(ctx, n, l.n, l.source, l.target, l.weight, true, &all);
    if (s == GY_OK) s = gy_csr_largest_component(&all, node, &count);
    if (s == GY_OK) s = gy_csr_induced(&all, count, node, out);
    for (int64_t i = 0; s == GY_OK && i < count; i++) memmove(at + 2 * i, at + 2 * node[i], 2 * sizeof *at);
    if (s == GY_OK)
        *position = at;
    else
        gy_free(ctx, at);
    gy_free(ctx, node);
    list_free(ctx, &l);
    gy_csr_free(&all);
    return s;
}

gy_status gy_graph_blocks(gy_ctx *ctx, gy_rng *r, int64_t n, int64_t blocks, double inside, double outside,
                          gy_csr *out) {
    edge_list l;
    *out = (gy_csr){0};
    gy_status s = list_new(ctx, 8 * n + 8, false, &l);
    for (int64_t i = 0; s == GY_OK && i < n; i++)
        for (int64_t k = i + 1; s == GY_OK && k < n; k++) {
            if (gy_rng_uniform(r) >= (i % blocks == k % blocks ? inside : outside)) continue;
            if (l.n == l.cap) s = grow(ctx, &l);
            if (s != GY_OK) break;
            l.source[l.n] = i;
            l.target[l.n++] = k;
        }
    if (s == GY_OK) s = gy_csr_from_edges(ctx, n, l.n, l.source, l.target, NULL, true, out);
    list_free(ctx, &l);
    return s;
}

/* Whether target is among the neighbours in a list that is not sorted: degrees are small. */
static bool linked(const int64_t *indptr, const int64_t *indices, int64_t v, int64_t u) {
    for (int64_t e = indptr[v]; e < indptr[v + 1]; e++)
        if (indices[e] == u) return true;
    return false;
}

static void replace(const int64_t *indptr, int64_t *indices, int64_t v, int64_t old, int64_t new_) {
    for (int64_t e = indptr[v]; e < indptr[v + 1]; e++)
        if (indices[e] == old) {
            indices[e] = new_;
            return;
        }
}

gy_status gy_graph_rewire(gy_rng *r, const gy_csr *g, int64_t swaps, gy_csr *out) {
    gy_ctx *ctx = g->ctx;
    edge_list l;
    *out = (gy_csr){0};
    gy_status s = list_new(ctx, g->nnz + 1, g->weight != NULL, &l);
    if (s != GY_OK) return s;
    int64_t *now = gy_malloc(ctx, (size_t)(g->nnz + 1) * sizeof *now);
    if (!now) {
        list_free(ctx, &l);
        return GY_ERR_NOMEM;
    }
    memcpy(now, g->indices, (size_t)g->nnz * sizeof *now);
    for (int64_t v = 0; v < g->n; v++)
        for (int64_t e = g->indptr[v]; e < g->indptr[v + 1]; e++)
            if (g->indices[e] > v) {
                l.source[l.n] = v;
                l.target[l.n] = g->indices[e];
                if (g->weight) l.weight[l.n] = g->weight[e];
                l.n++;
            }
    for (int64_t k = 0; l.n > 1 && k < swaps * l.n; k++) { /* a-b, c-d become a-d, c-b */
        int64_t i = gy_rng_below(r, l.n), j = gy_rng_below(r, l.n);
        int64_t a = l.source[i], b = l.target[i], c = l.source[j], d = l.target[j];
        if (a == c || a == d || b == c || b == d) continue;
        if (linked(g->indptr, now, a, d) || linked(g->indptr, now, c, b)) continue;
        replace(g->indptr, now, a, b, d);
        replace(g->indptr, now, b, a, c);
        replace(g->indptr, now, c, d, b);
        replace(g->indptr, now, d, c, a);
        l.target[i] = d;
        l.target[j] = b;
    }
    s = gy_csr_from_edges(ctx, g->n, l.n, l.source, l.target, l.weight, true, out);
    gy_free(ctx, now);
    list_free(ctx, &l);
    return s;
}
