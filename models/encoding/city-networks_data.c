/* City-Networks, second part: its graphs and labels. A generated town, a generated graph of communities, or a folder of
 * arrays as the official data set has them. The networks are in city-networks.c. */
#include "city-networks.h"
#include "../../io/files.h"
#include "../../io/formats/npy.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void gy_city_close(gy_job *j) {
    lab *d = j->data;
    gy_csr_free(&d->data.graph);
    void *owned[] = {d->data.x, d->data.label, d->data.part, d->data.position, d->found.predicted, d};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) gy_free(j->ctx, owned[i]);
    j->data = NULL;
}

static gy_status make_room(gy_ctx *ctx, city *d) {
    size_t n = (size_t)d->graph.n;
    d->x = gy_calloc(ctx, n, (size_t)d->features * sizeof *d->x);
    d->label = gy_calloc(ctx, n, sizeof *d->label);
    d->part = gy_calloc(ctx, n, sizeof *d->part);
    return d->x && d->label && d->part ? GY_OK : GY_ERR_NOMEM;
}

static gy_status split(gy_ctx *ctx, gy_rng *r, const config *c, city *d) {
    int64_t n = d->graph.n, *order = gy_malloc(ctx, (size_t)n * sizeof *order);
    if (!order) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) order[i] = i;
    gy_rng_shuffle(r, order, n);
    for (int64_t i = 0; i < n; i++) {
        double at = (double)i / (double)n;
        d->part[order[i]] = at < c->train_share ? TRAIN : at < c->train_share + c->valid_share ? VALID : TEST;
    }
    gy_free(ctx, order);
    return GY_OK;
}

/* ---- a town ---- */

enum { BUMPS = 12, OWN_FEATURES = 6 };

/* A smooth field of 12 bumps, brought to mean 0 and standard deviation 1: field [n]. */
static void draw_field(gy_rng *r, double side, int64_t n, const double *position, double *field) {
    double at[BUMPS][3], mean = 0, square = 0, width = 6;
    for (int b = 0; b < BUMPS; b++) {
        at[b][0] = side * gy_rng_uniform(r);
        at[b][1] = side * gy_rng_uniform(r);
        at[b][2] = gy_rng_normal(r);
    }
    for (int64_t i = 0; i < n; i++) {
        field[i] = 0;
        for (int b = 0; b < BUMPS; b++) {
            double dx = position[2 * i] - at[b][0], dy = position[2 * i + 1] - at[b][1];
            field[i] += at[b][2] * exp(-(dx * dx + dy * dy) / (2 * width * width));
        }
        mean += field[i] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) square += (field[i] - mean) * (field[i] - mean) / (double)n;
    for (int64_t i = 0; i < n; i++) field[i] = (field[i] - mean) / sqrt(square);
}

/* Streets take longer to drive where the field is high: times exp(0.5 f + 0.6 N(0, 1)), the same both ways. */
static void draw_lengths(gy_rng *r, gy_csr *g, const double *field) {
    for (int64_t v = 0; v < g->n; v++)
        for (int64_t e = g->indptr[v]; e < g->indptr[v + 1]; e++) {
            int64_t u = g->indices[e];
            if (u < v) continue;
            g->weight[e] *= exp(0.25 * (field[u] + field[v]) + 0.6 * gy_rng_normal(r));
            for (int64_t back = g->indptr[u]; back < g->indptr[u + 1]; back++)
                if (g->indices[back] == v) g->weight[back] = g->weight[e];
        }
}

/* One-hot degree (0 to 4) and mean length of a crossing's streets, centred; then noise, in place of land use. No
 * coordinates: an answer must come over the graph. */
static void town_features(gy_rng *r, city *d) {
    const gy_csr *g = &d->graph;
    double mean = 0;
    for (int64_t v = 0; v < g->n; v++) {
        float *x = d->x + v * d->features;
        double sum = 0, degree = (double)gy_csr_degree(g, v);
        for (int64_t e = g->indptr[v]; e < g->indptr[v + 1]; e++) sum += g->weight[e];
        x[(int64_t)degree] = 1;
        x[OWN_FEATURES - 1] = (float)(degree > 0 ? sum / degree : 0);
        mean += (double)x[OWN_FEATURES - 1] / (double)g->n;
        for (int64_t k = OWN_FEATURES; k < d->features; k++) x[k] = (float)gy_rng_normal(r);
    }
    for (int64_t v = 0; v < g->n; v++) d->x[v * d->features + OWN_FEATURES - 1] -= (float)mean;
}

static gy_status make_town(gy_job *j, gy_rng *r, city *d) {
    const config *c = j->cfg;
    gy_status s = gy_graph_town(j->ctx, r, c->side, 0.3, 0.2, &d->graph, &d->position);
    if (s != GY_OK) return s;
    double *value = gy_calloc(j->ctx, (size_t)d->graph.n, sizeof *value);
    if (!value) return GY_ERR_NOMEM;
    d->features = c->features;
    d->classes = c->classes;
    draw_field(r, (double)c->side, d->graph.n, d->position, value);
    draw_lengths(r, &d->graph, value);
    s = make_room(j->ctx, d);
    if (s == GY_OK) town_features(r, d);
    if (s == GY_OK) s = gy_csr_eccentricity(&d->graph, c->label_hops, value); /* eq. (1) */
    if (s == GY_OK) s = gy_quantile_classes(j->ctx, d->graph.n, value, c->classes, d->label);
    gy_free(j->ctx, value);
    return s;
}

/* ---- communities ---- */

/* Where two nodes are friends of friends, everybody soon is: 1,000 nodes, features 0.7 (mean of the community) + noise.
 */
static gy_status make_blocks(gy_job *j, gy_rng *r, city *d) {
    enum { NODES = 1000 };
    const config *c = j->cfg;
    gy_status s = gy_graph_blocks(j->ctx, r, NODES, c->classes, 0.012, 0.0006, &d->graph);
    if (s != GY_OK) return s;
    d->features = c->features;
    d->classes = c->classes;
    s = make_room(j->ctx, d);
    float *mean = gy_calloc(j->ctx, (size_t)c->classes, (size_t)c->features * sizeof *mean);
    if (!mean) s = GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < c->classes * c->features; i++) mean[i] = (float)(0.7 * gy_rng_normal(r));
    for (int64_t v = 0; s == GY_OK && v < NODES; v++) {
        d->label[v] = v % c->classes;
        for (int64_t k = 0; k < c->features; k++)
            d->x[v * c->features + k] = mean[d->label[v] * c->features + k] + (float)gy_rng_normal(r);
    }
    gy_free(j->ctx, mean);
    return s;
}

/* ---- a folder of arrays ---- */

/* The first of the names that is there; `kind` 1: floats or integers as they are, read as doubles later. */
static gy_status read_array(gy_job *j, const char *name, int64_t rank, bool must, gy_tensor *out) {
    *out = (gy_tensor){0};
    char *path = gy_format(j->ctx, "%s/%s.npy", j->data_path, name);
    if (!path) return GY_ERR_NOMEM;
    gy_status s = must || gy_path_exists(path) ? gy_npy_read(j->ctx, path, out) : GY_OK;
    if (s == GY_OK && out->data && out->shape.rank != rank) {
        char text[GY_SHAPE_TEXT];
        s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s: expected %" PRId64 " axes, found shape %s", path, rank,
                    gy_shape_text(out->shape, text));
    }
    gy_free(j->ctx, path);
    return s;
}

/* Row i of an integer array, refused when it is no index below `limit`. */
static gy_status index_at(gy_job *j, const char *name, const gy_tensor *t, int64_t i, int64_t limit, int64_t *out) {
    double v = gy_tensor_get(t, i);
    if (!(v >= 0 && v < (double)limit && v == floor(v)))
        return gy_fail(j->ctx, GY_ERR_FORMAT,
                       "%s/%s.npy: element %" PRId64 " is %g, expected a whole number from 0 to %" PRId64, j->data_path,
                       name, i, v, limit - 1);
    *out = (int64_t)v;
    return GY_OK;
}

static gy_status length_is(gy_job *j, const char *name, const gy_tensor *t, int64_t n) {
    if (t->shape.dim[0] == n) return GY_OK;
    return gy_fail(j->ctx, GY_ERR_FORMAT, "%s/%s.npy: %" PRId64 " values for %" PRId64 " nodes", j->data_path, name,
                   t->shape.dim[0], n);
}

static gy_status read_edges(gy_job *j, const gy_tensor *t, int64_t n, gy_csr *out) {
    int64_t edges = t->shape.dim[1], *ends = gy_calloc(j->ctx, (size_t)edges + 1, 2 * sizeof *ends);
    gy_status s = ends ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK && t->shape.dim[0] != 2)
        s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s/edge_indices.npy: expected 2 rows, found %" PRId64, j->data_path,
                    t->shape.dim[0]);
    for (int64_t i = 0; s == GY_OK && i < 2 * edges; i++) s = index_at(j, "edge_indices", t, i, n, &ends[i]);
    int64_t kept = 0;
    for (int64_t i = 0; s == GY_OK && i < edges; i++) { /* loops are the layers' own affair */
        if (ends[i] == ends[edges + i]) continue;
        ends[kept] = ends[i];
        ends[edges + kept++] = ends[edges + i];
    }
    if (s == GY_OK) s = gy_csr_from_edges(j->ctx, n, kept, ends, ends + edges, NULL, true, out);
    gy_free(j->ctx, ends);
    return s;
}

/* Features to mean 0 and standard deviation 1 over all nodes (no label is looked at); constant ones become 0. */
static void standardise(city *d) {
    for (int64_t k = 0; k < d->features; k++) {
        double mean = 0, square = 0, n = (double)d->graph.n;
        for (int64_t v = 0; v < d->graph.n; v++) mean += (double)d->x[v * d->features + k] / n;
        for (int64_t v = 0; v < d->graph.n; v++) {
            double a = (double)d->x[v * d->features + k] - mean;
            square += a * a / n;
        }
        double scale = square > 1e-12 * (1 + mean * mean) ? 1 / sqrt(square) : 0;
        for (int64_t v = 0; v < d->graph.n; v++)
            d->x[v * d->features + k] = (float)(((double)d->x[v * d->features + k] - mean) * scale);
    }
}

static gy_status fill_city(gy_job *j, gy_rng *r, city *d, const gy_tensor *x, const gy_tensor *y,
                           const gy_tensor *mask) {
    static const char *const masks[] = {"train_mask", "valid_mask", "test_mask"};
    int64_t n = x->shape.dim[0], top = 0;
    d->features = x->shape.dim[1];
    gy_status s = make_room(j->ctx, d);
    if (s == GY_OK) s = length_is(j, "node_labels", y, n);
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        s = index_at(j, "node_labels", y, i, 4096, &d->label[i]);
        if (d->label[i] > top) top = d->label[i];
    }
    for (int64_t i = 0; s == GY_OK && i < n * d->features; i++) {
        d->x[i] = (float)gy_tensor_get(x, i);
        if (!isfinite(d->x[i]))
            s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s/node_features.npy: node %" PRId64 ", feature %" PRId64 " is %g",
                        j->data_path, i / d->features, i % d->features, (double)d->x[i]);
    }
    d->classes = top + 1;
    if (s == GY_OK) standardise(d);
    if (s == GY_OK && !mask[0].data) return split(j->ctx, r, j->cfg, d);
    for (int k = 0; s == GY_OK && k < 3; k++) {
        s = length_is(j, masks[k], &mask[k], n);
        for (int64_t i = 0; s == GY_OK && i < n; i++)
            if (gy_tensor_get(&mask[k], i) != 0) d->part[i] = (uint8_t)(TRAIN + k);
    }
    return s;
}

/* node_features [N, F], edge_indices [2, E], node_labels [N] and, all or none, train_mask, valid_mask, test_mask [N]:
 * the tensors of the official archives, made .npy by `gyrus convert`. */
static gy_status read_folder(gy_job *j, gy_rng *r, city *d) {
    static const char *const masks[] = {"train_mask", "valid_mask", "test_mask"};
    gy_tensor x = {0}, e = {0}, y = {0}, mask[3] = {{0}};
    if (!gy_path_is_dir(j->data_path))
        return gy_fail(j->ctx, GY_ERR_IO,
                       "%s: expected a folder with node_features.npy, edge_indices.npy and node_labels.npy",
                       j->data_path);
    gy_status s = read_array(j, "node_features", 2, true, &x);
    if (s == GY_OK) s = read_array(j, "edge_indices", 2, true, &e);
    if (s == GY_OK) s = read_array(j, "node_labels", 1, true, &y);
    for (int k = 0; s == GY_OK && k < 3; k++) s = read_array(j, masks[k], 1, mask[0].data != NULL, &mask[k]);
    if (s == GY_OK && (x.shape.dim[0] < 2 || x.shape.dim[1] < 1))
        s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s/node_features.npy: expected at least 2 nodes and 1 feature",
                    j->data_path);
    if (s == GY_OK) s = read_edges(j, &e, x.shape.dim[0], &d->graph);
    if (s == GY_OK) s = fill_city(j, r, d, &x, &y, mask);
    gy_tensor *all[] = {&x, &e, &y, &mask[0], &mask[1], &mask[2]};
    for (int i = 0; i < 6; i++) gy_tensor_free(j->ctx, all[i]);
    return s;
}

/* ---- opening ---- */

static gy_status check_parts(gy_job *j, const city *d) {
    int64_t count[4] = {0};
    for (int64_t v = 0; v < d->graph.n; v++) count[d->part[v]]++;
    if (count[TRAIN] && count[TEST] && d->graph.nnz) return GY_OK;
    return gy_fail(j->ctx, GY_ERR_FORMAT,
                   "%s: %" PRId64 " edges, %" PRId64 " nodes to train on and %" PRId64
                   " to test: expected at least one of each",
                   j->data_path ? j->data_path : "the generated graph", d->graph.nnz / 2, count[TRAIN], count[TEST]);
}

gy_status gy_city_open(gy_job *j) {
    const config *c = j->cfg;
    lab *l = j->data = gy_calloc(j->ctx, 1, sizeof *l);
    gy_rng r;
    if (!l) return GY_ERR_NOMEM;
    city *d = &l->data;
    bool town = strcmp(c->network, "town") == 0;
    gy_rng_init(&r, j->seed, "city-networks");
    gy_status s = j->data_path ? read_folder(j, &r, d) : town ? make_town(j, &r, d) : make_blocks(j, &r, d);
    if (s == GY_OK && !j->data_path) s = split(j->ctx, &r, c, d);
    if (s == GY_OK) s = check_parts(j, d);
    if (s == GY_OK && gy_ablates(j->ablate, "rewire")) {
        gy_csr other;
        s = gy_graph_rewire(&r, &d->graph, 20, &other);
        if (s == GY_OK) {
            gy_csr_free(&d->graph);
            d->graph = other;
        }
    }
    if (s != GY_OK) {
        gy_city_close(j);
        return s;
    }
    j->data_hash = gy_hash(d->graph.indices, (size_t)d->graph.nnz * sizeof(int64_t),
                           gy_hash(d->x, (size_t)(d->graph.n * d->features) * sizeof *d->x, 1));
    j->batch = d->graph.n;
    if (!j->steps) j->steps = c->steps;
    const char *slash = j->data_path ? strrchr(j->data_path, '/') : NULL;
    if (j->data_path)
        snprintf(j->data_label, sizeof j->data_label, "%s", slash && slash[1] ? slash + 1 : j->data_path);
    else
        snprintf(j->data_label, sizeof j->data_label, "generated (%s, %" PRId64 " nodes, %" PRId64 " edges)",
                 c->network, d->graph.n, d->graph.nnz / 2);
    return GY_OK;
}
