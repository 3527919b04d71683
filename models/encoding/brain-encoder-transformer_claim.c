/* Transformer brain encoders, third part: what is measured and claimed. Explained variance (or correlation) by area,
 * where the queries look, two baselines, and the double dissociation; then the charts of the report. The model is in
 * brain-encoder-transformer.c. */
#include "brain-encoder-transformer.h"
#include "../../core/linalg/linalg.h"
#include "../blocks/measures.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- predictions ---- */

/* Predicted responses of the samples of a part: out [n, vertices]; map, if not NULL: attention [n, areas, tokens]. */
static gy_status predict(gy_job *j, int part, float *out, float *map) {
    const set *d = &((const lab *)j->data)->data;
    bool pictures = gy_encoder_is(((const config *)j->cfg)->backbone, "dinov2");
    int64_t each = d->tokens * d->width, n = d->n[part], at_once = n < j->batch ? n : j->batch;
    gy_compiled run;
    gy_status s = gy_job_compile(j, at_once, NULL, 0, &run);
    if (s != GY_OK) return s;
    for (int64_t i = 0; s == GY_OK && i < n; i += at_once) {
        int64_t from = i + at_once > n ? n - at_once : i; /* the last batch overlaps the one before */
        memcpy(gy_plan_input(run.plan, pictures ? "image" : "tokens"), d->x + (d->first[part] + from) * each,
               (size_t)(at_once * each) * sizeof(float));
        s = gy_plan_run(run.plan);
        if (s != GY_OK) break;
        gy_tensor y = gy_plan_output(run.plan, "response"), a = gy_plan_output(run.plan, "attention");
        memcpy(out + from * d->vertices, y.data, gy_tensor_bytes(&y));
        if (map && a.data) memcpy(map + from * a.shape.dim[1] * a.shape.dim[2], a.data, gy_tensor_bytes(&a));
    }
    gy_compiled_free(&run);
    return s;
}

/* The mean over an area's vertices of the score of test predictions: explained variance of the noiseless responses of a
 * generated set (1 - squared error / variance), else Pearson's r with the responses. score [areas]. */
static void score_areas(const set *d, const float *out, double *score) {
    double vertices[MAX_AREAS] = {0}, n = (double)d->n[TEST];
    for (int64_t a = 0; a < d->areas; a++) score[a] = 0;
    for (int64_t v = 0; v < d->vertices; v++) {
        const float *y = (d->clean ? d->clean : d->y) + d->first[TEST] * d->vertices + v;
        double mean = 0, square = 0, error = 0;
        for (int64_t i = 0; i < d->n[TEST]; i++) mean += (double)y[i * d->vertices] / n;
        for (int64_t i = 0; i < d->n[TEST]; i++) {
            double t = (double)y[i * d->vertices], e = t - (double)out[i * d->vertices + v];
            square += (t - mean) * (t - mean);
            error += e * e;
        }
        vertices[d->area[v]]++;
        if (d->clean)
            score[d->area[v]] += square > 0 ? 1 - error / square : 0;
        else
            score[d->area[v]] += gy_pearson(out + v, y, d->n[TEST], d->vertices);
    }
    for (int64_t a = 0; a < d->areas; a++) score[a] = vertices[a] > 0 ? score[a] / vertices[a] : NAN;
}

/* Where an area's object is present: how often the query looks there most. map [n, areas, tokens] */
static double hit_rate(const set *d, const float *map) {
    double hits = 0, count = 0;
    for (int64_t i = 0; i < d->n[TEST]; i++)
        for (int64_t a = 0; a < d->areas; a++) {
            const float *w = map + (i * d->areas + a) * d->tokens;
            int64_t cell = d->cell[(d->first[TEST] + i) * d->areas + a], best = 0;
            if (cell < 0) continue;
            for (int64_t t = 1; t < d->tokens; t++)
                if (w[t] > w[best]) best = t;
            hits += best == cell;
            count++;
        }
    return hits / count;
}

/* Test scores of the trained job; hits (NaN where there is no truth, or no map), and the first sample's map, may be
 * NULL. */
static gy_status measure(gy_job *j, double *score, double *hits, float *first_map) {
    const set *d = &((const lab *)j->data)->data;
    const config *c = j->cfg;
    bool routes = hits && gy_encoder_is(c->model, "attention") && gy_encoder_is(c->readout, "areas") &&
                  gy_encoder_is(c->backbone, "none");
    float *out = gy_calloc(j->ctx, (size_t)d->n[TEST], (size_t)d->vertices * sizeof *out);
    float *map = routes ? gy_calloc(j->ctx, (size_t)d->n[TEST], (size_t)(d->areas * d->tokens) * sizeof *map) : NULL;
    gy_status s = out && (map || !routes) ? predict(j, TEST, out, map) : GY_ERR_NOMEM;
    if (s == GY_OK) score_areas(d, out, score);
    if (hits) *hits = s == GY_OK && map && d->cell ? hit_rate(d, map) : NAN;
    if (s == GY_OK && map && first_map) memcpy(first_map, map, (size_t)(d->areas * d->tokens) * sizeof *map);
    gy_free(j->ctx, out);
    gy_free(j->ctx, map);
    return s;
}

/* ---- baselines ---- */

static void widen(const float *x, int64_t n, double *out) {
    for (int64_t i = 0; i < n; i++) out[i] = x[i];
}

/* Linear: ridge regression on all tokens side by side, the penalty chosen on the validation samples. */
static gy_status ridge(gy_job *j, double *score) {
    static const double alphas[] = {300, 3000, 30000};
    enum { ALPHAS = sizeof alphas / sizeof *alphas };
    const set *d = &((const lab *)j->data)->data;
    gy_ctx *ctx = j->ctx;
    int64_t p = d->tokens * d->width, t = d->vertices, n = d->n[TRAIN], best = 0;
    int part[2] = {VALID, TEST};
    double *x = gy_calloc(ctx, (size_t)n, (size_t)(p + t) * sizeof *x),
           *coef = gy_calloc(ctx, (size_t)(p + 1), (size_t)t * sizeof *coef);
    int64_t most = d->n[VALID] > d->n[TEST] ? d->n[VALID] : d->n[TEST];
    double *held = gy_calloc(ctx, (size_t)most, (size_t)(p + t) * sizeof *held), least = INFINITY;
    float *out = gy_calloc(ctx, (size_t)d->n[TEST], (size_t)t * sizeof *out);
    gy_status s = x && coef && held && out ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK) {
        widen(d->x, n * p, x);
        widen(d->y, n * t, x + n * p);
    }
    for (int k = 0; s == GY_OK && k <= ALPHAS; k++) { /* the last round predicts the test samples with the best */
        int64_t use = k < ALPHAS ? k : best, rows = d->n[part[k == ALPHAS]], first = d->first[part[k == ALPHAS]];
        double *intercept = coef + p * t, *f = held + rows * p, error = 0;
        gy_ridge_args args = {
            .n = n, .p = p, .t = t, .x = x, .ldx = p, .y = x + n * p, .ldy = t, .alpha = &alphas[use], .n_alphas = 1};
        s = gy_la_ridge_fit(ctx, &args, coef, intercept);
        if (s != GY_OK || !rows) continue;
        widen(d->x + first * p, rows * p, held);
        gy_la_gemm(gy_ctx_pool(ctx), false, false, rows, t, p, 1, held, p, coef, t, 0, f, t);
        for (int64_t i = 0; i < rows * t; i++) {
            f[i] += intercept[i % t];
            double e = f[i] - (double)d->y[first * t + i];
            error += e * e;
            if (k == ALPHAS) out[i] = (float)f[i];
        }
        if (k < ALPHAS && error < least) least = error, best = k;
    }
    if (s == GY_OK) score_areas(d, out, score);
    gy_free(ctx, x);
    gy_free(ctx, coef);
    gy_free(ctx, held);
    gy_free(ctx, out);
    return s;
}

/* Spatial-feature: a receptive field and channel weights a vertex. */
static gy_status spatial(const gy_job *j, double *score) {
    gy_job one;
    gy_status s = gy_job_init(&one, j->ctx, j->def, j->config_name, NULL, 0);
    if (s != GY_OK) return s;
    config *c = one.cfg;
    *c = *(const config *)j->cfg;
    snprintf(c->model, sizeof c->model, "spatial");
    snprintf(c->readout, sizeof c->readout, "vertices");
    c->lr = 1e-2;
    c->clip = 0;
    one.seed = j->seed;
    one.data_path = j->data_path;
    one.steps = j->steps * 5 / 6; /* 25 passes over the data for the 30 of attention */
    s = gy_job_open(&one);
    if (s == GY_OK) s = gy_job_train(&one);
    if (s == GY_OK) s = measure(&one, score, NULL, NULL);
    gy_job_free(&one);
    return s;
}

gy_status gy_encoder_evaluate(gy_job *j, gy_metrics *out) {
    lab *l = j->data;
    const set *d = &l->data;
    const config *c = j->cfg;
    findings *f = &l->found;
    bool small = gy_encoder_is(c->backbone, "none") && d->tokens * d->width <= 4096 && d->n[TRAIN] <= 4096;
    if (!f->map) f->map = gy_calloc(j->ctx, (size_t)(d->areas * d->tokens), sizeof *f->map);
    gy_status s = f->map ? measure(j, f->score, &f->hits, f->map) : GY_ERR_NOMEM;
    double mean = 0, base = 0;
    if (s == GY_OK && small) s = ridge(j, f->ridge);
    for (int64_t a = 0; s == GY_OK && a < d->areas && out->n < GY_MAX_METRICS - 4; a++) {
        char name[48];
        snprintf(name, sizeof name, "%s.area%" PRId64, d->clean ? "explained_variance" : "r", a);
        gy_metric_add(out, name, f->score[a], 0, d->clean ? "EV" : "r");
        if (small) {
            snprintf(name, sizeof name, "%s.area%" PRId64 ".ridge", d->clean ? "explained_variance" : "r", a);
            gy_metric_add(out, name, f->ridge[a], 0, d->clean ? "EV" : "r");
        }
    }
    for (int64_t a = 0; a < d->areas; a++) {
        mean += isnan(f->score[a]) ? 0 : f->score[a] / (double)d->areas;
        base += isnan(f->ridge[a]) ? 0 : f->ridge[a] / (double)d->areas;
    }
    if (s != GY_OK) return s;
    gy_metric_add(out, "mean", mean, 0, d->clean ? "EV" : "r");
    if (small) gy_metric_add(out, "mean.ridge", base, 0, d->clean ? "EV" : "r");
    if (isfinite(f->hits)) gy_metric_add(out, "attention_on_object", f->hits, 1.0 / (double)d->tokens, "accuracy");
    f->done = true;
    return s;
}

/* ---- the claim ---- */

/* What was measured, explained variance (thresholds are the card's):
 *
 *     seed                                        0       1       2       3       4
 *     category areas     attention            0.833   0.822   0.822   0.828   0.824
 *                        spatial-feature     -0.007  -0.009  -0.012  -0.009  -0.002
 *                        ridge               -0.016  -0.018  -0.024  -0.021  -0.020
 *                        content             -0.003  -0.005   0.001
 *                        mask                -0.456  -0.498  -0.595
 *     retinotopic area   attention           -0.012  -0.019  -0.014  -0.027  -0.017
 *                        spatial-feature      0.935   0.977   0.977   0.978   0.977
 *                        ridge                0.261   0.262   0.264   0.267   0.266
 *     attention on the object                 1.000   1.000   1.000   1.000   1.000
 *                        content              0.013   0.015   0.019
 *
 * Where a vertex's receptive field starts as a random map instead of a flat one, some never find their cell: 0.69 in
 * the retinotopic area, seed 0. */

gy_status gy_encoder_claim(gy_job *j, gy_claim *out) {
    const config *c = j->cfg;
    double xa[MAX_AREAS], sf[MAX_AREAS], linear[MAX_AREAS], hits, mean[3] = {0};
    if (!gy_encoder_is(c->model, "attention") || !gy_encoder_is(c->backbone, "none") || j->data_path ||
        c->hemispheres > 1)
        return gy_fail(j->ctx, GY_ERR_USAGE,
                       "brain-encoder-transformer: the claim is about generated tokens and model=attention");
    gy_status s = gy_job_open(j);
    if (s == GY_OK) s = gy_job_train(j);
    if (s == GY_OK) s = measure(j, xa, &hits, NULL);
    if (s == GY_OK) s = spatial(j, sf);
    if (s == GY_OK) s = ridge(j, linear);
    if (s != GY_OK) return s;
    int64_t last = c->areas - 1;
    double least = 1;
    for (int64_t a = 0; a < last; a++) {
        mean[0] += xa[a] / (double)last, mean[1] += sf[a] / (double)last, mean[2] += linear[a] / (double)last;
        least = fmin(least, xa[a]);
    }
    gy_metric_add(&out->details, "category areas, attention", mean[0], 0, "EV");
    gy_metric_add(&out->details, "category areas, attention, worst", least, 0, "EV");
    gy_metric_add(&out->details, "category areas, spatial-feature", mean[1], 0, "EV");
    gy_metric_add(&out->details, "category areas, ridge", mean[2], 0, "EV");
    gy_metric_add(&out->details, "retinotopic area, attention", xa[last], 0, "EV");
    gy_metric_add(&out->details, "retinotopic area, spatial-feature", sf[last], 0, "EV");
    gy_metric_add(&out->details, "retinotopic area, ridge", linear[last], 0, "EV");
    gy_metric_add(&out->details, "attention on the object", hits, 1.0 / (double)(c->grid * c->grid), "");
    out->metric = "explained variance in category areas";
    out->value = mean[0];
    out->baseline = mean[1];
    out->threshold = fmax(0.7, mean[1] + 0.5);
    out->chance = 0;
    out->pass = mean[0] >= 0.7 && mean[0] >= mean[1] + 0.5 && mean[0] >= mean[2] + 0.5 && sf[last] >= 0.9 &&
                xa[last] <= 0.2 && hits >= 0.9;
    return GY_OK;
}

/* ---- the report ---- */

static gy_status map_panel(const gy_job *j, gy_report *report) {
    const lab *l = j->data;
    const set *d = &l->data;
    int64_t side = (int64_t)(sqrt((double)d->tokens) + 0.5);
    gy_image image[MAX_AREAS] = {{0}};
    const char *names[MAX_AREAS];
    char name[MAX_AREAS][32], command[160];
    gy_figure f = {0};
    gy_status s = GY_OK;
    for (int64_t a = 0; s == GY_OK && a < d->areas; a++) {
        const float *w = l->found.map + a * d->tokens;
        gy_image small = {0};
        float top = 0;
        for (int64_t t = 0; t < d->tokens; t++) top = fmaxf(top, w[t]);
        s = gy_raster_map(j->ctx, w, side, side, GY_MAP_SEQUENTIAL, 0, top > 0 ? (double)top : 1, &small);
        if (s == GY_OK) s = gy_raster_upscale(j->ctx, &small, side < 16 ? 16 : 4, &image[a]);
        gy_image_free(j->ctx, &small);
        snprintf(name[a], sizeof name[a], "area %" PRId64, a);
        names[a] = name[a];
    }
    snprintf(command, sizeof command, "gyrus train %s --config %s --seed %" PRIu64, j->def->slug, j->config_name,
             j->seed);
    gy_pictures p = {.head = {.title = "Where each area looks",
                              .caption =
                                  "Attention of each area's query over the map of the first held-out sample, averaged "
                                  "over heads, each picture scaled to its own largest weight. An area that selects a "
                                  "category looks at that object, if there is one; a retinotopic area has no place of "
                                  "its own and spreads.",
                              .alt = "Small maps, one for each area",
                              .command = command,
                              .n = 1,
                              .n_of = "sample",
                              .chance = gy_no_chance(),
                              .side = GY_SIDE_NONE},
                     .value = {.label = "attention", .unit = "of the largest"},
                     .images = image,
                     .names = names,
                     .n_images = d->areas};
    gy_report_plan(report, "routing", "the place on the map that each query finds");
    if (s == GY_OK) s = gy_figure_pictures(j->ctx, &p, &f);
    if (s == GY_OK) s = gy_report_figure(report, "routing", &f);
    gy_figure_free(j->ctx, &f);
    for (int64_t a = 0; a < d->areas; a++) gy_image_free(j->ctx, &image[a]);
    return s;
}

gy_status gy_encoder_panels(gy_job *j, void *report) {
    const lab *l = j->data;
    const set *d = &l->data;
    const findings *f = &l->found;
    char name[MAX_AREAS][32];
    const char *names[MAX_AREAS];
    if (!f->done) return GY_OK;
    for (int64_t a = 0; a < d->areas; a++) {
        snprintf(name[a], sizeof name[a], "area %" PRId64, a);
        names[a] = name[a];
    }
    gy_panel bars = {.panel = "areas",
                     .title = "How well each area is predicted",
                     .caption =
                         "Mean over the area's vertices, on held-out samples. 0 is what predicting the mean reaches.",
                     .alt = "A bar for each area",
                     .label = d->clean ? "explained variance" : "correlation",
                     .unit = d->clean ? "of noiseless responses" : "r",
                     .n = d->n[TEST],
                     .n_of = "held-out samples",
                     .chance = 0};
    gy_report_plan(report, "areas", "how well each area's responses are predicted");
    gy_report_text(report,
                   "Each area of the cortex has one learned query. It looks over the whole map of features and brings "
                   "back what it finds; the area's vertices read that and nothing else. In a generated world, the "
                   "last area is retinotopic: its vertices each see one fixed place, and one query cannot serve them.");
    gy_status s = gy_panel_bars(j, report, &bars, d->areas, names, f->score);
    if (s == GY_OK && isfinite(f->hits)) s = map_panel(j, report);
    gy_report_term(report, "vertex", "one place on the surface of the cortex");
    gy_report_term(report, "query",
                   "a learned vector that is compared with every place of the map; the best matches are read");
    return s;
}
