/* Graphs in compressed rows: making, cutting, searching. */
#include "graph.h"

#include "../../core/threads.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static gy_status make_room(gy_ctx *ctx, int64_t n, int64_t nnz, bool weighted, gy_csr *g) {
    *g = (gy_csr){.ctx = ctx, .n = n, .nnz = nnz};
    g->indptr = gy_calloc(ctx, (size_t)n + 1, sizeof *g->indptr);
    g->indices = gy_calloc(ctx, (size_t)nnz, sizeof *g->indices);
    g->weight = weighted ? gy_calloc(ctx, (size_t)nnz, sizeof *g->weight) : NULL;
    if (g->indptr && g->indices && (g->weight || !weighted)) return GY_OK;
    gy_csr_free(g);
    return GY_ERR_NOMEM;
}

void gy_csr_free(gy_csr *g) {
    if (!g->ctx) return;
    gy_free(g->ctx, g->indptr);
    gy_free(g->ctx, g->indices);
    gy_free(g->ctx, g->weight);
    *g = (gy_csr){0};
}

typedef struct arc {
    int64_t to;
    double weight;
} arc;

static int by_target(const void *pa, const void *pb) {
    const arc *a = pa, *b = pb;
    if (a->to != b->to) return a->to < b->to ? -1 : 1;
    return (a->weight > b->weight) - (a->weight < b->weight);
}

static gy_status check_edges(gy_ctx *ctx, int64_t n, int64_t edges, const int64_t *source, const int64_t *target,
                             const double *weight) {
    for (int64_t i = 0; i < edges; i++) {
        int64_t bad = source[i] < 0 || source[i] >= n ? source[i] : target[i];
        if (bad < 0 || bad >= n)
            return gy_fail(ctx, GY_ERR_FORMAT, "edge %" PRId64 ": no node %" PRId64 "; there are 0 to %" PRId64, i, bad,
                           n - 1);
        if (weight && !(weight[i] >= 0))
            return gy_fail(ctx, GY_ERR_FORMAT, "edge %" PRId64 ": its length is %g, expected 0 or more", i, weight[i]);
    }
    return GY_OK;
}

gy_status gy_csr_from_edges(gy_ctx *ctx, int64_t n, int64_t edges, const int64_t *source, const int64_t *target,
                            const double *weight, bool undirected, gy_csr *out) {
    *out = (gy_csr){0};
    gy_status s = check_edges(ctx, n, edges, source, target, weight);
    if (s != GY_OK) return s;
    int64_t all = undirected ? 2 * edges : edges, *start = gy_calloc(ctx, (size_t)n + 2, sizeof *start);
    arc *a = gy_calloc(ctx, (size_t)all, sizeof *a);
    s = start && a ? make_room(ctx, n, all, weight != NULL, out) : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < all; i++) start[(i < edges ? source[i] : target[i - edges]) + 2]++;
    for (int64_t v = 0; s == GY_OK && v < n; v++) start[v + 2] += start[v + 1];
    for (int64_t i = 0; s == GY_OK && i < all; i++) { /* start[v + 1] runs through v's room */
        int64_t k = i < edges ? i : i - edges, from = i < edges ? source[k] : target[k];
        a[start[from + 1]++] = (arc){i < edges ? target[k] : source[k], weight ? weight[k] : 0};
    }
    int64_t kept = 0;
    for (int64_t v = 0; s == GY_OK && v < n; v++) {
        qsort(a + start[v], (size_t)(start[v + 1] - start[v]), sizeof *a, by_target);
        for (int64_t i = start[v]; i < start[v + 1]; i++) {
            if (i > start[v] && a[i].to == a[i - 1].to) continue;
            out->indices[kept] = a[i].to;
            if (weight) out->weight[kept] = a[i].weight;
            kept++;
        }
        out->indptr[v + 1] = kept;
    }
    out->nnz = kept;
    gy_free(ctx, start);
    gy_free(ctx, a);
    return s;
}

bool gy_csr_symmetric(const gy_csr *g) {
    for (int64_t v = 0; v < g->n; v++)
        for (int64_t e = g->indptr[v]; e < g->indptr[v + 1]; e++) {
            int64_t u = g->indices[e], lo = g->indptr[u], hi = g->indptr[u + 1];
            while (lo < hi) {
                int64_t mid = (lo + hi) / 2;
                if (g->indices[mid] < v)
                    lo = mid + 1;
                else
                    hi = mid;
            }
            if (lo == g->indptr[u + 1] || g->indices[lo] != v) return false;
            if (g->weight && g->weight[lo] != g->weight[e]) return false;
        }
    return true;
}

gy_status gy_csr_induced(const gy_csr *g, int64_t count, const int64_t *node, gy_csr *out) {
    int64_t nnz = 0, *place = gy_malloc(g->ctx, (size_t)(g->n + 1) * sizeof *place);
    *out = (gy_csr){0};
    if (!place) return GY_ERR_NOMEM;
    for (int64_t v = 0; v < g->n; v++) place[v] = -1;
    for (int64_t i = 0; i < count; i++) {
        place[node[i]] = i;
        nnz += gy_csr_degree(g, node[i]);
    }
    gy_status s = make_room(g->ctx, count, nnz, g->weight != NULL, out);
    for (int64_t i = 0, kept = 0; s == GY_OK && i < count; i++) {
        int64_t first = kept;
        for (int64_t e = g->indptr[node[i]]; e < g->indptr[node[i] + 1]; e++) {
            int64_t to = place[g->indices[e]], k = kept;
            if (to < 0) continue;
            for (; k > first && out->indices[k - 1] > to; k--) { /* rows are short: keep them sorted as they grow */
                out->indices[k] = out->indices[k - 1];
                if (g->weight) out->weight[k] = out->weight[k - 1];
            }
            out->indices[k] = to;
            if (g->weight) out->weight[k] = g->weight[e];
            kept++;
        }
        out->indptr[i + 1] = out->nnz = kept;
    }
    gy_free(g->ctx, place);
    return s;
}

gy_status gy_csr_largest_component(const gy_csr *g, int64_t *node, int64_t *count) {
    gy_csr_search s;
    int64_t best = -1;
    *count = 0;
    bool *seen = gy_calloc(g->ctx, (size_t)g->n + 1, sizeof *seen);
    if (!seen) return GY_ERR_NOMEM;
    gy_status e = gy_csr_search_new(g, &s);
    for (int64_t v = 0; e == GY_OK && v < g->n; v++) {
        if (seen[v]) continue;
        gy_csr_neighbourhood(&s, v, g->n);
        for (int64_t i = 0; i < s.count; i++) seen[s.node[i]] = true;
        if (s.count > *count) *count = s.count, best = v;
    }
    if (e == GY_OK && best >= 0) {
        gy_csr_neighbourhood(&s, best, g->n);
        for (int64_t v = 0, k = 0; v < g->n; v++)
            if (s.place[v] >= 0) node[k++] = v;
    }
    if (e == GY_OK) gy_csr_search_free(&s);
    gy_free(g->ctx, seen);
    return e;
}

/* ---- searches ---- */

gy_status gy_csr_search_new(const gy_csr *g, gy_csr_search *s) {
    size_t n = (size_t)g->n + 1;
    *s = (gy_csr_search){.g = g,
                         .node = gy_calloc(g->ctx, n, sizeof(int64_t)),
                         .hop = gy_calloc(g->ctx, n, sizeof(int64_t)),
                         .place = gy_malloc(g->ctx, n * sizeof(int64_t)),
                         .length = gy_calloc(g->ctx, n, sizeof(double)),
                         .heap = gy_calloc(g->ctx, 2 * n, sizeof(int64_t))};
    if (!s->node || !s->hop || !s->place || !s->length || !s->heap) {
        gy_csr_search_free(s);
        return GY_ERR_NOMEM;
    }
    for (int64_t v = 0; v < g->n; v++) s->place[v] = -1;
    return GY_OK;
}

void gy_csr_search_free(gy_csr_search *s) {
    gy_ctx *ctx = s->g->ctx;
    gy_free(ctx, s->node);
    gy_free(ctx, s->hop);
    gy_free(ctx, s->place);
    gy_free(ctx, s->length);
    gy_free(ctx, s->heap);
    s->node = s->hop = s->place = s->heap = NULL;
    s->length = NULL;
}

void gy_csr_neighbourhood(gy_csr_search *s, int64_t v, int64_t hops) {
    for (int64_t i = 0; i < s->count; i++) s->place[s->node[i]] = -1;
    s->node[0] = v;
    s->hop[0] = 0;
    s->place[v] = 0;
    s->count = 1;
    for (int64_t i = 0; i < s->count && s->hop[i] < hops; i++)
        for (int64_t e = s->g->indptr[s->node[i]]; e < s->g->indptr[s->node[i] + 1]; e++) {
            int64_t u = s->g->indices[e];
            if (s->place[u] >= 0) continue;
            s->place[u] = s->count;
            s->hop[s->count] = s->hop[i] + 1;
            s->node[s->count++] = u;
        }
}

/* A binary heap of places, the nearest on top; where[p] is p's index in it, -1 before it enters, -2 after it left. */
static bool nearer(const gy_csr_search *s, int64_t a, int64_t b) {
    return s->length[a] < s->length[b] || (s->length[a] == s->length[b] && a < b);
}

static void sift_up(gy_csr_search *s, int64_t *where, int64_t i) {
    int64_t p = s->heap[i];
    for (; i > 0 && nearer(s, p, s->heap[(i - 1) / 2]); i = (i - 1) / 2) {
        s->heap[i] = s->heap[(i - 1) / 2];
        where[s->heap[i]] = i;
    }
    s->heap[i] = p;
    where[p] = i;
}

static int64_t take_top(gy_csr_search *s, int64_t *where, int64_t *size) {
    int64_t top = s->heap[0], p = s->heap[--*size], i = 0, n = *size;
    where[top] = -2;
    while (n > 0) {
        int64_t child = 2 * i + 1;
        if (child < n - 1 && nearer(s, s->heap[child + 1], s->heap[child])) child++;
        if (child >= n || !nearer(s, s->heap[child], p)) break;
        s->heap[i] = s->heap[child];
        where[s->heap[i]] = i;
        i = child;
    }
    if (n > 0) {
        s->heap[i] = p;
        where[p] = i;
    }
    return top;
}

void gy_csr_lengths(gy_csr_search *s) {
    const gy_csr *g = s->g;
    int64_t *where = s->heap + g->n + 1, size = 1;
    for (int64_t i = 0; i < s->count; i++) {
        s->length[i] = INFINITY;
        where[i] = -1;
    }
    s->length[0] = 0;
    s->heap[0] = 0;
    where[0] = 0;
    while (size > 0) {
        int64_t p = take_top(s, where, &size), v = s->node[p];
        for (int64_t e = g->indptr[v]; e < g->indptr[v + 1]; e++) {
            int64_t q = s->place[g->indices[e]];
            double d = s->length[p] + (g->weight ? g->weight[e] : 1);
            if (q < 0 || where[q] == -2 || d >= s->length[q]) continue;
            s->length[q] = d;
            if (where[q] < 0) {
                s->heap[size] = q;
                where[q] = size++;
            }
            sift_up(s, where, where[q]);
        }
    }
}

typedef struct job {
    const gy_csr *g;
    int64_t hops;
    double *out;
    gy_csr_search *search; /* one a thread */
} job;

enum { GRAIN = 64 };

static void eccentricity_tile(void *arg, int64_t tile, int worker) {
    job *j = arg;
    gy_csr_search *s = &j->search[worker];
    int64_t lo, hi;
    gy_tile_range(j->g->n, GRAIN, tile, &lo, &hi);
    for (int64_t v = lo; v < hi; v++) {
        gy_csr_neighbourhood(s, v, j->hops);
        gy_csr_lengths(s);
        j->out[v] = 0;
        for (int64_t i = 0; i < s->count; i++) j->out[v] = fmax(j->out[v], s->length[i]);
    }
}

gy_status gy_csr_eccentricity(const gy_csr *g, int64_t hops, double *out) {
    gy_pool *pool = gy_ctx_pool(g->ctx);
    int threads = gy_pool_threads(pool), made = 0;
    job j = {g, hops, out, gy_calloc(g->ctx, (size_t)threads, sizeof(gy_csr_search))};
    gy_status s = j.search ? GY_OK : GY_ERR_NOMEM;
    for (; s == GY_OK && made < threads; made++) s = gy_csr_search_new(g, &j.search[made]);
    if (s == GY_OK) gy_par(pool, gy_tiles(g->n, GRAIN), eccentricity_tile, &j);
    for (int i = 0; i < made; i++)
        if (j.search[i].node) gy_csr_search_free(&j.search[i]);
    gy_free(g->ctx, j.search);
    return s;
}

/* ---- sampling, classes ---- */

gy_status gy_csr_sample(const gy_csr *g, int64_t count, const int64_t *node, int64_t fanout, uint64_t seed,
                        int64_t step, int64_t *out) {
    int64_t most = 0;
    for (int64_t i = 0; i < count; i++)
        if (gy_csr_degree(g, node[i]) > most) most = gy_csr_degree(g, node[i]);
    int64_t *pick = gy_malloc(g->ctx, (size_t)(most + 1) * sizeof *pick);
    if (!pick) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < count; i++) {
        int64_t degree = gy_csr_degree(g, node[i]);
        gy_rng r;
        gy_rng_init(&r, gy_rng_key(seed, (uint64_t)node[i], (uint64_t)step), "graph.sample");
        for (int64_t k = 0; k < degree; k++) pick[k] = g->indices[g->indptr[node[i]] + k];
        for (int64_t k = 0; k < fanout; k++) {
            out[i * fanout + k] = -1;
            if (k >= degree) continue;
            int64_t at = k + gy_rng_below(&r, degree - k), other = pick[at]; /* the first steps of a shuffle */
            pick[at] = pick[k];
            pick[k] = out[i * fanout + k] = other;
        }
    }
    gy_free(g->ctx, pick);
    return GY_OK;
}

static int by_value(const void *pa, const void *pb) {
    const arc *a = pa, *b = pb;
    if (a->weight != b->weight) return a->weight < b->weight ? -1 : 1;
    return (a->to > b->to) - (a->to < b->to);
}

gy_status gy_quantile_classes(gy_ctx *ctx, int64_t n, const double *value, int64_t classes, int64_t *class_of) {
    arc *a = gy_calloc(ctx, (size_t)n, sizeof *a);
    if (!a) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) a[i] = (arc){i, value[i]};
    qsort(a, (size_t)n, sizeof *a, by_value);
    for (int64_t i = 0; i < n; i++) class_of[a[i].to] = i * classes / n;
    gy_free(ctx, a);
    return GY_OK;
}
