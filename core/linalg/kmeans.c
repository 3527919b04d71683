#include "classical.h"
#include "inner.h"

#include "core/rng.h"

struct run {
    const gy_kmeans_args *a;
    gy_pool *pool;
    double *centres; /* [k, p] */
    double *dist;    /* [n]: squared distance to the own centre */
    int64_t *labels, *old, *count;
    double inertia;
    int64_t iterations;
    int64_t newest; /* k-means++: the centre just chosen */
};

enum { ROWS = 128 };

static double squared_distance(int64_t p, const double *x, const double *y) {
    double s0 = 0, s1 = 0;
    int64_t j = 0;
    for (; j + 2 <= p; j += 2) {
        double a = x[j] - y[j], b = x[j + 1] - y[j + 1];
        s0 += a * a;
        s1 += b * b;
    }
    if (j < p) s0 += (x[j] - y[j]) * (x[j] - y[j]);
    return s0 + s1;
}

static void nearest_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    struct run *r = arg;
    const gy_kmeans_args *a = r->a;
    int64_t lo, hi;
    gy_tile_range(a->n, ROWS, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        int64_t best = 0;
        double least = INFINITY;
        for (int64_t c = 0; c < a->k; c++) {
            double d = squared_distance(a->p, a->x + i * a->ldx, r->centres + c * a->p);
            if (d < least) least = d, best = c;
        }
        r->labels[i] = best;
        r->dist[i] = least;
    }
}

static void newest_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    struct run *r = arg;
    const gy_kmeans_args *a = r->a;
    int64_t lo, hi;
    gy_tile_range(a->n, ROWS, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++)
        r->dist[i] = fmin(r->dist[i], squared_distance(a->p, a->x + i * a->ldx, r->centres + r->newest * a->p));
}

/* Each next centre is a point drawn with probability proportional to its squared distance from those chosen. */
static void plus_plus(struct run *r, gy_rng *rng) {
    const gy_kmeans_args *a = r->a;
    for (int64_t i = 0; i < a->n; i++) r->dist[i] = INFINITY;
    int64_t pick = gy_rng_below(rng, a->n);
    for (int64_t c = 0;; c++) {
        memcpy(r->centres + c * a->p, a->x + pick * a->ldx, (size_t)a->p * sizeof *r->centres);
        if (c + 1 == a->k) return;
        r->newest = c;
        gy_par(r->pool, gy_tiles(a->n, ROWS), newest_tile, r);
        double total = 0, sum = 0;
        for (int64_t i = 0; i < a->n; i++) total += r->dist[i];
        if (total > 0) {
            double u = gy_rng_uniform(rng) * total;
            pick = -1;
            for (int64_t i = 0; i < a->n; i++) {
                if (r->dist[i] > 0) pick = i; /* rounding may leave u above the last sum */
                if ((sum += r->dist[i]) > u) break;
            }
        } else {
            pick = gy_rng_below(rng, a->n); /* fewer distinct points than centres */
        }
    }
}

static void fill_empty_clusters(struct run *r) {
    const gy_kmeans_args *a = r->a;
    memset(r->count, 0, (size_t)a->k * sizeof *r->count);
    for (int64_t i = 0; i < a->n; i++) r->count[r->labels[i]]++;
    for (int64_t c = 0; c < a->k; c++) {
        if (r->count[c]) continue;
        int64_t far = -1;
        for (int64_t i = 0; i < a->n; i++)
            if (r->count[r->labels[i]] > 1 && (far < 0 || r->dist[i] > r->dist[far])) far = i;
        r->count[r->labels[far]]--; /* k <= n: some cluster has two points */
        r->labels[far] = c;
        r->count[c] = 1;
        r->dist[far] = 0;
    }
}

static void move_centres(struct run *r) {
    const gy_kmeans_args *a = r->a;
    memset(r->centres, 0, (size_t)(a->k * a->p) * sizeof *r->centres);
    for (int64_t i = 0; i < a->n; i++) gy_la_axpy(a->p, 1, a->x + i * a->ldx, r->centres + r->labels[i] * a->p);
    for (int64_t c = 0; c < a->k; c++)
        for (int64_t j = 0; j < a->p; j++) r->centres[c * a->p + j] /= (double)r->count[c];
}

static void lloyd(struct run *r, int64_t max_iter) {
    const gy_kmeans_args *a = r->a;
    for (int64_t i = 0; i < a->n; i++) r->old[i] = -1;
    for (r->iterations = 0; r->iterations < max_iter;) {
        gy_par(r->pool, gy_tiles(a->n, ROWS), nearest_tile, r);
        fill_empty_clusters(r);
        if (memcmp(r->old, r->labels, (size_t)a->n * sizeof *r->old) == 0) break;
        memcpy(r->old, r->labels, (size_t)a->n * sizeof *r->old);
        move_centres(r);
        r->iterations++;
    }
    r->inertia = 0;
    for (int64_t i = 0; i < a->n; i++)
        r->inertia += squared_distance(a->p, a->x + i * a->ldx, r->centres + r->labels[i] * a->p);
}

gy_status gy_la_kmeans(gy_ctx *ctx, const gy_kmeans_args *a, double *centres, int64_t *labels, double *inertia,
                       int64_t *iterations) {
    gy_status s = gy_la_check(ctx, "kmeans", a->n, a->p, a->x, a->ldx);
    if (s) return s;
    if (a->k < 1 || a->k > a->n || a->p < 1 || a->restarts < 0 || a->max_iter < 0)
        return gy_fail(ctx, GY_ERR_SHAPE, "kmeans: %lld clusters of [%lld, %lld]; 1..n clusters and p >= 1 expected",
                       (long long)a->k, (long long)a->n, (long long)a->p);
    struct run r = {.a = a, .pool = gy_ctx_pool(ctx)};
    if (!(r.centres = gy_la_new(ctx, a->k, a->p)) || !(r.dist = gy_la_new(ctx, a->n, 1)) ||
        !(r.labels = gy_calloc(ctx, (size_t)(2 * a->n + a->k), sizeof *r.labels))) {
        s = GY_ERR_NOMEM;
        goto out;
    }
    r.old = r.labels + a->n, r.count = r.old + a->n;
    double best = INFINITY;
    gy_rng rng; /* restarts draw on from one stream */
    gy_rng_init(&rng, a->seed, "kmeans");
    for (int64_t q = 0; q < (a->restarts ? a->restarts : 10); q++) {
        plus_plus(&r, &rng);
        lloyd(&r, a->max_iter ? a->max_iter : 300);
        if (q > 0 && !(r.inertia < best)) continue;
        best = r.inertia;
        memcpy(centres, r.centres, (size_t)(a->k * a->p) * sizeof *centres);
        memcpy(labels, r.labels, (size_t)a->n * sizeof *labels);
        if (iterations) *iterations = r.iterations;
    }
    if (inertia) *inertia = best;
out:
    gy_free(ctx, r.labels);
    gy_free(ctx, r.dist);
    gy_free(ctx, r.centres);
    return s;
}
