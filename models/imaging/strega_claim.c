/* StRegA, third part: post-processing, what is measured and claimed, and the report's pictures. */
#include "strega.h"
#include "../blocks/metrics.h"
#include "../blocks/morphology.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const domain_name[DOMAINS] = {"", ".shifted"};

/* ---- post-processing: eq. (6), (7) ---- */

gy_status gy_strega_threshold(gy_ctx *ctx, const config *c, const float *excess, const uint8_t *brain, bool whole,
                              uint8_t *found) {
    int64_t pixels = c->size * c->size, dim[3] = {1, c->size, c->size};
    float *d = gy_malloc(ctx, (size_t)pixels * sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < pixels; i++) {
        d[i] = fmaxf(excess[i], 0); /* only what came out brighter */
        if (whole && d[i] > (float)c->saturate) d[i] = 1;
    }
    double at = gy_otsu(d, pixels);
    for (int64_t i = 0; i < pixels; i++) found[i] = d[i] > at;
    gy_free(ctx, d);
    gy_status s = whole ? gy_area_opening(ctx, found, dim, c->opening) : GY_OK;
    for (int64_t i = 0; i < pixels; i++) found[i] = found[i] && brain[i];
    return s;
}

/* ---- metrics ---- */

enum { CHUNK = 20 };

/* Excess of all test slices of a domain: reconstruction from the mean latent, minus the input. */
static gy_status reconstruct(gy_job *j, test_set *t) {
    const config *c = j->cfg;
    int64_t pixels = c->size * c->size;
    gy_compiled run;
    gy_status s = gy_job_compile(j, CHUNK, NULL, 0, &run);
    if (s != GY_OK) return s;
    float *x = gy_plan_input(run.plan, "image");
    for (int64_t first = 0; s == GY_OK && first < t->n; first += CHUNK) {
        int64_t n = (t->n - first < CHUNK ? t->n - first : CHUNK) * pixels;
        memcpy(x, t->x + first * pixels, (size_t)n * sizeof *x);
        s = gy_plan_run(run.plan);
        const float *y = gy_plan_output(run.plan, "reconstruction").data;
        for (int64_t i = 0; s == GY_OK && i < n; i++) t->excess[first * pixels + i] = y[i] - t->x[first * pixels + i];
    }
    gy_compiled_free(&run);
    return s;
}

/* The mean over slices of the Dice of lesions found so. */
static gy_status mean_dice(gy_job *j, test_set *t, bool whole, double *dice) {
    const config *c = j->cfg;
    int64_t pixels = c->size * c->size;
    *dice = 0;
    for (int64_t i = 0; i < t->n; i++) {
        gy_overlap o = {0};
        uint8_t *found = t->found + i * pixels;
        gy_status s = gy_strega_threshold(j->ctx, c, t->excess + i * pixels, t->brain + i * pixels, whole, found);
        if (s != GY_OK) return s;
        gy_overlap_add(&o, found, t->lesion + i * pixels, pixels, 1);
        *dice += gy_dice(&o) / (double)t->n;
    }
    return GY_OK;
}

/* Area under the ROC curve of the excess over the brain's pixels of all slices. */
static gy_status area(gy_job *j, const test_set *t, double *auc) {
    const config *c = j->cfg;
    int64_t n = 0, all = t->n * c->size * c->size;
    float *score = gy_malloc(j->ctx, (size_t)all * sizeof *score);
    uint8_t *label = gy_malloc(j->ctx, (size_t)all);
    for (int64_t i = 0; score && label && i < all; i++)
        if (t->brain[i]) {
            score[n] = t->excess[i];
            label[n++] = t->lesion[i];
        }
    gy_status s = score && label ? gy_auc(j->ctx, score, label, n, auc) : GY_ERR_NOMEM;
    gy_free(j->ctx, score);
    gy_free(j->ctx, label);
    return s;
}

gy_status gy_strega_evaluate(gy_job *j, gy_metrics *out) {
    lab *d = j->data;
    bool whole = !gy_ablates(j->ablate, "post");
    for (int k = 0; k < DOMAINS; k++) {
        test_set *t = &d->test[k];
        char name[48];
        double auc;
        if (!t->n) continue;
        gy_status s = reconstruct(j, t);
        if (s == GY_OK) s = mean_dice(j, t, false, &d->otsu[k]);
        if (s == GY_OK) s = mean_dice(j, t, whole, &d->dice[k]); /* last: `found` is shown */
        if (s == GY_OK) s = area(j, t, &auc);
        if (s != GY_OK) return s;
        snprintf(name, sizeof name, "dice%s", domain_name[k]);
        gy_metric_add(out, name, d->dice[k], NAN, "");
        snprintf(name, sizeof name, "dice_otsu_only%s", domain_name[k]);
        gy_metric_add(out, name, d->otsu[k], NAN, "");
        snprintf(name, sizeof name, "auc%s", domain_name[k]);
        gy_metric_add(out, name, auc, 0.5, "");
        snprintf(name, sizeof name, "tissue_right%s", domain_name[k]);
        if (isfinite(t->tissue)) gy_metric_add(out, name, t->tissue, NAN, "share");
    }
    d->measured = true;
    return GY_OK;
}

/* ---- the claim ---- */

static gy_status condition(const gy_job *j, const char *input, const char *ablate, gy_metrics *m) {
    gy_job k;
    gy_status s = gy_job_init(&k, j->ctx, j->def, j->config_name, NULL, 0);
    if (s != GY_OK) return s;
    config *c = k.cfg;
    *c = *(const config *)j->cfg;
    snprintf(c->input, sizeof c->input, "%s", input);
    k.seed = j->seed;
    k.ablate = ablate;
    s = gy_job_open(&k);
    if (s == GY_OK) s = gy_job_train(&k);
    if (s == GY_OK) s = gy_strega_evaluate(&k, m);
    gy_job_free(&k);
    return s;
}

/* Seeds 0 to 4: in the other contrast 0.965, 0.983, 0.943, 0.979, 0.990; in the training's 0.932, 0.907, 0.899, 0.941,
 * 0.950; with Otsu alone 0.690, 0.795, 0.687, 0.759, 0.815; intensities in the other contrast 0 on seeds 0 to 2. */
static const double SHIFTED = 0.50, APART = 0.12, RAW = 0.20, POST = 0.06;

gy_status gy_strega_claim(gy_job *j, gy_claim *out) {
    gy_metrics m = {0}, raw = {0};
    gy_status s = condition(j, "tissue", j->ablate, &m);
    if (s == GY_OK) s = condition(j, "raw", NULL, &raw);
    if (s != GY_OK) return s;
    double here = gy_metric_get(&m, "dice"), there = gy_metric_get(&m, "dice.shifted");
    double raw_there = gy_metric_get(&raw, "dice.shifted"), otsu = gy_metric_get(&m, "dice_otsu_only");
    for (int64_t i = 0; i < m.n; i++) gy_metric_add(&out->details, m.m[i].name, m.m[i].value, m.m[i].chance, "");
    gy_metric_add(&out->details, "raw dice", gy_metric_get(&raw, "dice"), NAN, "");
    gy_metric_add(&out->details, "raw dice.shifted", raw_there, NAN, "");
    out->metric = "mean Dice of lesions in a contrast never trained on";
    out->value = there;
    out->baseline = raw_there;
    out->threshold = SHIFTED;
    out->chance = NAN;
    out->pass = there >= SHIFTED && fabs(here - there) <= APART && raw_there <= RAW && here - otsu >= POST;
    return GY_OK;
}

/* ---- the report ---- */

enum { SHOWN = 3, COLUMNS = 4 };

static gy_status picture(gy_ctx *ctx, const float *x, const uint8_t *mark, int64_t side, gy_image *out) {
    float *rgb = gy_malloc(ctx, (size_t)(side * side * 3) * sizeof *rgb), top = 1e-6f;
    gy_image small = {0};
    if (!rgb) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < side * side; i++) top = fmaxf(top, x[i]);
    for (int64_t i = 0; i < side * side; i++)
        for (int k = 0; k < 3; k++) {
            float g = fmaxf(x[i], 0) / top;
            rgb[3 * i + k] = mark && mark[i] ? 0.4f * g + (k == 0 ? 0.6f : k == 1 ? 0.3f : 0.0f) : g;
        }
    gy_status s = gy_raster_image(ctx, rgb, side, side, 3, &small);
    gy_free(ctx, rgb);
    if (s == GY_OK) s = gy_raster_upscale(ctx, &small, side < 100 ? 160 / side : 1, out);
    gy_image_free(ctx, &small);
    return s;
}

/* Scan with the true lesion, what the model saw, the excess, scan with the lesion found. */
static gy_status pictures(gy_job *j, gy_report *report) {
    const config *c = j->cfg;
    const lab *d = j->data;
    gy_image image[SHOWN * DOMAINS * COLUMNS] = {0};
    const char *names[SHOWN * DOMAINS * COLUMNS];
    char command[160];
    int64_t pixels = c->size * c->size, n = 0;
    gy_status s = GY_OK;
    for (int k = 0; k < DOMAINS; k++)
        for (int64_t e = 0; s == GY_OK && e < SHOWN && e < d->test[k].n; e++) {
            const test_set *t = &d->test[k];
            int64_t i = (2 * e + 1) * t->n / (2 * SHOWN) * pixels;
            s = picture(j->ctx, t->image + i, t->lesion + i, c->size, &image[n]);
            names[n++] = k ? "other contrast, lesion" : "scan, lesion";
            if (s == GY_OK) s = picture(j->ctx, t->x + i, NULL, c->size, &image[n]);
            names[n++] = "what the model sees";
            if (s == GY_OK) s = picture(j->ctx, t->excess + i, NULL, c->size, &image[n]);
            names[n++] = "excess";
            if (s == GY_OK) s = picture(j->ctx, t->image + i, t->found + i, c->size, &image[n]);
            names[n++] = "found";
        }
    snprintf(command, sizeof command, "gyrus train strega --config %s --seed %" PRIu64, j->config_name, j->seed);
    gy_pictures p = {.head = {.title = "From scan to anomaly",
                              .caption = "Each row: a scan with its true lesion in orange; what the model takes of it; "
                                         "how much brighter the reconstruction is; the scan with what was found.",
                              .alt = "rows of a scan, its tissue map, the excess and the anomaly found",
                              .command = command,
                              .n = n / COLUMNS > 0 ? n / COLUMNS : 1,
                              .n_of = "test slices",
                              .chance = gy_no_chance(),
                              .side = GY_SIDE_NONE},
                     .value = {.label = "brightness", .unit = GY_NO_UNIT},
                     .images = image,
                     .names = names,
                     .n_images = n,
                     .columns = COLUMNS};
    gy_figure f;
    if (s == GY_OK) s = gy_figure_pictures(j->ctx, &p, &f);
    if (s == GY_OK) {
        s = gy_report_figure(report, "pictures", &f);
        gy_figure_free(j->ctx, &f);
    }
    for (int64_t i = 0; i < SHOWN * DOMAINS * COLUMNS; i++) gy_image_free(j->ctx, &image[i]);
    return s;
}

gy_status gy_strega_panels(gy_job *j, void *report) {
    const lab *d = j->data;
    static const char *const names[] = {"same contrast", "Otsu alone", "other contrast", "Otsu alone there"};
    double value[] = {d->dice[0], d->otsu[0], d->dice[1], d->otsu[1]};
    gy_panel dice = {.panel = "dice",
                     .title = "How well lesions are found",
                     .caption =
                         "Mean over test slices of Dice's coefficient between the lesion and what was found, with "
                         "the whole post-processing and with Otsu's threshold alone.",
                     .alt = "Bars: mean Dice in each contrast",
                     .label = "Dice",
                     .unit = GY_NO_UNIT,
                     .hi = 1,
                     .n = d->test[0].n,
                     .n_of = "test slices of each contrast",
                     .chance = NAN};
    gy_report_plan(report, "dice", "how well lesions are found, in the contrast trained on and in another");
    gy_report_plan(report, "pictures", "scans, what the model sees of them, and what it finds");
    if (!d->measured) return GY_OK;
    gy_status s = gy_panel_bars(j, report, &dice, d->test[1].n ? 4 : 2, names, value);
    if (s == GY_OK) s = pictures(j, report);
    gy_report_term(report, "tissue map", "each pixel's class: background, fluid, grey or white matter");
    gy_report_term(report, "area opening", "removing spots of fewer pixels than a limit");
    return s;
}
