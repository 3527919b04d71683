/* City-Networks, third part: what is measured and claimed. Accuracy of test nodes, total influence by distance, the
 * receptive field; depth on a town against depth among communities; the charts of the report. The networks are in
 * city-networks.c. */
#include "city-networks.h"
#include "../blocks/influence.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- metrics ---- */

/* The class of every node: out [n]; accuracy of the test and of the validation nodes. */
static gy_status classify(gy_job *j, int64_t *out, double *test, double *valid) {
    const city *d = &((lab *)j->data)->data;
    gy_compiled run;
    double right[4] = {0}, count[4] = {0};
    gy_status s = gy_job_compile(j, j->batch, NULL, 0, &run);
    if (s != GY_OK) return s;
    int64_t *indptr = gy_plan_input(run.plan, "indptr"), *indices = gy_plan_input(run.plan, "indices");
    memcpy(gy_plan_input(run.plan, "features"), d->x, (size_t)(d->graph.n * d->features) * sizeof(float));
    if (indptr) memcpy(indptr, d->graph.indptr, (size_t)(d->graph.n + 1) * sizeof *indptr);
    if (indices) memcpy(indices, d->graph.indices, (size_t)d->graph.nnz * sizeof *indices);
    s = gy_plan_run(run.plan);
    const int64_t *class_ = s == GY_OK ? gy_plan_output(run.plan, "class").data : NULL;
    for (int64_t v = 0; class_ && v < d->graph.n; v++) {
        out[v] = class_[v];
        right[d->part[v]] += class_[v] == d->label[v];
        count[d->part[v]]++;
    }
    *test = right[TEST] / count[TEST];
    *valid = count[VALID] > 0 ? right[VALID] / count[VALID] : NAN;
    gy_compiled_free(&run);
    return s;
}

/* Eq. (3)-(5) at `influence_nodes` random nodes: curve [hops + 1], field. */
static gy_status influence(gy_job *j, double *curve, double *field) {
    const config *c = j->cfg;
    const city *d = &((lab *)j->data)->data;
    int64_t n = d->graph.n, count = c->influence_nodes < n ? c->influence_nodes : n;
    int64_t *node = gy_malloc(j->ctx, (size_t)n * sizeof *node);
    double *total = gy_calloc(j->ctx, (size_t)count, (size_t)(c->influence_hops + 1) * sizeof *total);
    gy_status s = node && total ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK) {
        gy_rng r;
        for (int64_t i = 0; i < n; i++) node[i] = i;
        gy_rng_init(&r, j->seed, "city-networks.influence");
        gy_rng_shuffle(&r, node, n);
        enum { AT_ONCE = 64 }; /* nodes whose subgraphs share a graph */
        for (int64_t i = 0; s == GY_OK && i < count; i += AT_ONCE) {
            gy_influence_args a = {.store = j->store,
                                   .model = gy_city_network,
                                   .user = j,
                                   .graph = &d->graph,
                                   .x = d->x,
                                   .features = d->features,
                                   .count = count - i < AT_ONCE ? count - i : AT_ONCE,
                                   .node = node + i,
                                   .hops = c->influence_hops};
            s = gy_total_influence(j->ctx, &a, total + i * (c->influence_hops + 1));
        }
    }
    if (s == GY_OK) gy_influence_summary(count, c->influence_hops, total, curve, field);
    gy_free(j->ctx, node);
    gy_free(j->ctx, total);
    return s;
}

gy_status gy_city_evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    lab *d = j->data;
    findings *f = &d->found;
    double test, valid;
    if (!f->predicted) f->predicted = gy_calloc(j->ctx, (size_t)d->data.graph.n, sizeof *f->predicted);
    gy_status s = f->predicted ? classify(j, f->predicted, &test, &valid) : GY_ERR_NOMEM;
    if (s == GY_OK) s = influence(j, f->curve, &f->field);
    if (s != GY_OK) return s;
    f->done = true;
    f->hops = c->influence_hops;
    gy_metric_add(out, "accuracy", test, 1.0 / (double)d->data.classes, "accuracy");
    if (isfinite(valid)) gy_metric_add(out, "accuracy.valid", valid, 1.0 / (double)d->data.classes, "accuracy");
    gy_metric_add(out, "receptive_field", f->field, NAN, "hops");
    for (int64_t h = 1; h <= f->hops; h *= 2) {
        char name[48];
        snprintf(name, sizeof name, "influence.hop%" PRId64, h);
        gy_metric_add(out, name, f->curve[h], NAN, "T_h/T_0");
    }
    return s;
}

/* ---- the claim ---- */

/* What was measured (seeds 0 to 4; thresholds are the card's):
 *
 *     seed                                        0     1     2     3     4
 *     town accuracy, 1 layer                  0.480 0.476 0.477 0.535 0.466
 *                    2 layers                 0.501 0.484 0.520 0.572 0.500
 *                    4 layers                 0.570 0.574 0.590 0.642 0.541
 *                    8 layers                 0.631 0.636 0.663 0.670 0.567
 *     town R, 1 layer                          0.68  0.64  0.68  0.62  0.61
 *             8 layers                         2.54  2.60  2.97  2.77  2.63
 *     communities accuracy, 2 layers          0.819 0.792 0.863 0.814 0.786
 *                           8 layers          0.651 0.541 0.585 0.507 0.606
 *     communities R, 8 layers                  1.50  1.21  1.36  1.29  1.04
 *     rewire: town accuracy, 1 layer          0.376 0.393 0.384 0.385 0.381
 *                            8 layers         0.390 0.350 0.382 0.392 0.379
 *     mlp:    town accuracy, 1 layer          0.403 0.409 0.414 0.417 0.399
 *                            8 layers         0.409 0.401 0.410 0.413 0.427
 *
 * Without messages R is 0, and what a crossing's own features tell is 0.41; over rewired streets depth tells nothing.
 */

/* A network of `depth` on the generated graph `kind`, trained from scratch. */
static gy_status try_depth(const gy_job *j, const char *kind, int64_t depth, double *accuracy, double *curve,
                           double *field) {
    gy_job one;
    double valid;
    gy_status s = gy_job_init(&one, j->ctx, j->def, strcmp(kind, "blocks") == 0 ? "blocks" : "tiny", NULL, 0);
    if (s != GY_OK) return s;
    config *c = one.cfg;
    c->depth = depth;
    one.seed = j->seed;
    one.ablate = j->ablate;
    if (gy_ablates(j->ablate, "mlp")) snprintf(c->arch, sizeof c->arch, "mlp");
    s = gy_job_open(&one);
    if (s == GY_OK) s = gy_job_train(&one);
    int64_t *class_ = s == GY_OK ? gy_calloc(j->ctx, (size_t)one.batch, sizeof *class_) : NULL;
    if (s == GY_OK) s = class_ ? classify(&one, class_, accuracy, &valid) : GY_ERR_NOMEM;
    if (s == GY_OK && curve) s = influence(&one, curve, field);
    gy_free(j->ctx, class_);
    gy_job_free(&one);
    return s;
}

gy_status gy_city_claim(gy_job *j, gy_claim *out) {
    enum { DEPTHS = 4 };
    static const int64_t depth[DEPTHS] = {1, 2, 4, 8};
    double town[DEPTHS], curve[DEPTHS][MAX_HOPS + 1], field[DEPTHS], few, many, small_curve[MAX_HOPS + 1], small_field;
    const config *c = j->cfg;
    gy_status s = GY_OK;
    bool rising = true, exact = true;
    for (int i = 0; s == GY_OK && i < DEPTHS; i++) s = try_depth(j, "town", depth[i], &town[i], curve[i], &field[i]);
    if (s == GY_OK) s = try_depth(j, "blocks", 2, &few, NULL, NULL);
    if (s == GY_OK) s = try_depth(j, "blocks", 8, &many, small_curve, &small_field);
    if (s != GY_OK) return s;
    for (int i = 0; i < DEPTHS; i++) {
        char name[48];
        if (i && town[i] < town[i - 1] - 0.02) rising = false;
        for (int64_t h = depth[i] + 1; h <= c->influence_hops; h++) exact = exact && curve[i][h] == 0;
        snprintf(name, sizeof name, "town accuracy, %d layers", (int)depth[i]);
        gy_metric_add(&out->details, name, town[i], 0.2, "");
        snprintf(name, sizeof name, "town receptive field, %d layers", (int)depth[i]);
        gy_metric_add(&out->details, name, field[i], NAN, "hops");
    }
    gy_metric_add(&out->details, "communities accuracy, 2 layers", few, 1.0 / 7, "");
    gy_metric_add(&out->details, "communities accuracy, 8 layers", many, 1.0 / 7, "");
    gy_metric_add(&out->details, "communities receptive field, 8 layers", small_field, NAN, "hops");
    gy_metric_add(&out->details, "town T_4 / T_0, 8 layers", curve[3][4], NAN, "");
    gy_metric_add(&out->details, "communities T_4 / T_0, 8 layers", small_curve[4], NAN, "");
    gy_metric_add(&out->details, "no influence beyond the depth", exact, NAN, "");
    out->metric = "accuracy of 8 layers on the town";
    out->value = town[3];
    out->baseline = town[0];
    out->threshold = town[0] + 0.08;
    out->chance = 0.2;
    out->pass = rising && exact && town[3] >= town[0] + 0.08 && many <= few - 0.08 && field[3] >= 1.3 * small_field;
    return GY_OK;
}

/* ---- the report ---- */

/* A dot for every node of a generated town where it stands, in the shade of a value: two pictures, truth and answer. */
static gy_status town_panel(const gy_job *j, gy_report *report) {
    enum { SIZE = 300 };
    const lab *l = j->data;
    const city *d = &l->data;
    double side = 1;
    uint8_t *pixels = gy_calloc(j->ctx, 2 * SIZE, SIZE);
    if (!pixels) return GY_ERR_NOMEM;
    for (int64_t v = 0; v < d->graph.n; v++) side = fmax(side, fmax(d->position[2 * v], d->position[2 * v + 1]) + 1);
    int dot = (int)fmax(1, 0.8 * SIZE / side);
    for (int k = 0; k < 2; k++)
        for (int64_t v = 0; v < d->graph.n; v++) {
            int64_t shade = 40 + 215 * ((k ? l->found.predicted[v] : d->label[v]) + 1) / d->classes;
            int64_t x0 = (int64_t)((d->position[2 * v] + 0.5) / side * SIZE),
                    y0 = (int64_t)((d->position[2 * v + 1] + 0.5) / side * SIZE);
            for (int64_t y = y0 < 0 ? 0 : y0; y < y0 + dot && y < SIZE; y++)
                for (int64_t x = x0 < 0 ? 0 : x0; x < x0 + dot && x < SIZE; x++)
                    pixels[(k * SIZE + y) * SIZE + x] = (uint8_t)(shade > 255 ? 255 : shade);
        }
    gy_image image[2];
    for (int k = 0; k < 2; k++)
        image[k] = (gy_image){
            .width = SIZE, .height = SIZE, .channels = 1, .bit_depth = 8, .pixels = pixels + k * SIZE * SIZE};
    char command[160];
    gy_figure f;
    snprintf(command, sizeof command, "gyrus train city-networks --config %s --seed %" PRIu64, j->config_name, j->seed);
    gy_pictures p = {.head = {.title = "The town",
                              .caption = "Every crossing where it stands; the lighter, the farther one must drive to "
                                         "leave its neighbourhood. Crossings of the training set are among them.",
                              .alt = "Two maps of a town: true classes and predicted ones",
                              .command = command,
                              .n = d->graph.n,
                              .n_of = "crossings",
                              .chance = gy_no_chance(),
                              .side = GY_SIDE_NONE},
                     .value = {.label = "class", .unit = GY_NO_UNIT},
                     .images = image,
                     .names = (const char *[]){"true class", "predicted class"},
                     .n_images = 2};
    gy_report_plan(report, "town", "where the network is right");
    gy_status s = gy_figure_pictures(j->ctx, &p, &f);
    if (s == GY_OK) s = gy_report_figure(report, "town", &f);
    if (s == GY_OK) gy_figure_free(j->ctx, &f);
    gy_free(j->ctx, pixels);
    return s;
}

gy_status gy_city_panels(gy_job *j, void *report) {
    const lab *l = j->data;
    const findings *f = &l->found;
    const config *c = j->cfg;
    if (!f->done) return GY_OK;
    char command[160], caption[320];
    double x[MAX_HOPS + 1];
    gy_figure fig;
    for (int64_t h = 0; h <= f->hops; h++) x[h] = (double)h;
    snprintf(command, sizeof command, "gyrus train %s --config %s --seed %" PRIu64, j->def->slug, j->config_name,
             j->seed);
    snprintf(caption, sizeof caption,
             "How much the features of all nodes exactly h hops away move a node's answer, against its own features. "
             "With %" PRId64 " layers nothing beyond hop %" PRId64 " can count. Weighted by it, a node looks %.2f hops "
             "far (R).",
             c->depth, c->depth, f->field);
    gy_series line = {.name = "T_h / T_0", .n = f->hops + 1, .x = x, .y = f->curve};
    gy_line_chart chart = {.head = {.title = "Influence by distance",
                                    .caption = caption,
                                    .alt = "Line: total influence against hops",
                                    .command = command,
                                    .n = c->influence_nodes < l->data.graph.n ? c->influence_nodes : l->data.graph.n,
                                    .n_of = "nodes",
                                    .chance = gy_no_chance(),
                                    .side = GY_SIDE_NONE},
                           .x = {.label = "distance", .unit = "hops"},
                           .y = {.label = "total influence", .unit = "of hop 0"},
                           .series = &line,
                           .n_series = 1};
    gy_report_plan(report, "influence", "how far the trained network looks");
    gy_report_text(report,
                   "Each node of the graph must say how accessible it is. A network of L layers sees L hops far "
                   "and no farther; whether it uses what it sees is what total influence measures: the sum of "
                   "the absolute derivatives of a node's outputs by the features of all nodes at a distance.");
    gy_status s = gy_figure_line(j->ctx, &chart, &fig);
    if (s == GY_OK) s = gy_report_figure(report, "influence", &fig);
    if (s == GY_OK) gy_figure_free(j->ctx, &fig);
    if (s == GY_OK && l->data.position) s = town_panel(j, report);
    gy_report_term(report, "hop", "one step along an edge; nodes h hops away are reached in h steps and not in fewer");
    gy_report_term(report, "receptive field R",
                   "the mean distance of what moves a node's answer, weighted by influence");
    return s;
}
