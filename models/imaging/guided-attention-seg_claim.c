/* Guided attention, third part: what is measured and claimed, and the pictures of the report. */
#include "guided-attention-seg.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- metrics ---- */

enum { CHUNK = 10 }; /* slices in one run */

/* Masks of all test slices, into the lab. */
static gy_status predict(gy_job *j) {
    const config *c = j->cfg;
    lab *d = j->data;
    gy_compiled run;
    int64_t pixels = c->size * c->size;
    gy_status s = gy_job_compile(j, CHUNK, NULL, 0, &run);
    if (s != GY_OK) return s;
    float *x = gy_plan_input(run.plan, "image");
    for (int64_t first = 0; s == GY_OK && first < d->tests; first += CHUNK) {
        int64_t n = d->tests - first < CHUNK ? d->tests - first : CHUNK;
        memcpy(x, d->image + (d->n + first) * pixels, (size_t)(n * pixels) * sizeof *x);
        s = gy_plan_run(run.plan);
        const int64_t *mask = gy_plan_output(run.plan, "mask").data;
        for (int64_t i = 0; s == GY_OK && i < n * pixels; i++) d->predicted[first * pixels + i] = (uint8_t)mask[i];
    }
    gy_compiled_free(&run);
    return s;
}

/* Mean distance between true and found surfaces of a class over the stacks that have both; mm (pixels where generated).
 */
static gy_status surfaces(gy_job *j, uint8_t class_id, double *mean) {
    const config *c = j->cfg;
    const lab *d = j->data;
    int64_t pixels = c->size * c->size, n = 0;
    double sum = 0;
    for (int64_t i = 0; i < d->stacks; i++) {
        const stack *t = &d->stack[i];
        gy_surface found;
        int64_t dim[3] = {t->count, c->size, c->size};
        gy_status s = gy_surface_distance(j->ctx, d->predicted + t->first * pixels,
                                          d->label + (d->n + t->first) * pixels, class_id, dim, t->spacing, &found);
        if (s != GY_OK) return s;
        if (isnan(found.mean)) continue;
        sum += found.mean;
        n++;
    }
    *mean = n ? sum / (double)n : NAN;
    return GY_OK;
}

gy_status gy_guided_evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    lab *d = j->data;
    int64_t pixels = c->size * c->size;
    char name[48];
    gy_status s = predict(j);
    double mean = 0;
    for (int64_t k = 1; s == GY_OK && k < c->classes; k++) {
        gy_overlap o = {0};
        double distance = NAN;
        gy_overlap_add(&o, d->predicted, d->label + d->n * pixels, d->tests * pixels, (uint8_t)k);
        d->dice[k] = gy_dice(&o);
        mean += d->dice[k] / (double)(c->classes - 1);
        snprintf(name, sizeof name, "dice.%" PRId64, k);
        gy_metric_add(out, name, d->dice[k], NAN, "");
        snprintf(name, sizeof name, "volume_similarity.%" PRId64, k);
        if (c->classes < 8) gy_metric_add(out, name, gy_volume_similarity(&o), NAN, "");
        if (c->classes < 8) s = surfaces(j, (uint8_t)k, &distance);
        snprintf(name, sizeof name, "surface_distance.%" PRId64, k);
        if (s == GY_OK && isfinite(distance)) gy_metric_add(out, name, distance, NAN, j->data_path ? "mm" : "pixels");
    }
    if (s != GY_OK) return s;
    gy_metric_add(out, "dice.mean", mean, NAN, "");
    d->measured = true;
    return GY_OK;
}

/* ---- the claim ---- */

/* Trains with the given far-seeing paths and gives the mean Dice of classes 1 and 2. */
static gy_status condition(const gy_job *j, const char *paths, const char *ablate, double *dice) {
    gy_job k;
    gy_metrics m = {0};
    gy_status s = gy_job_init(&k, j->ctx, j->def, j->config_name, NULL, 0);
    if (s != GY_OK) return s;
    config *c = k.cfg;
    *c = *(const config *)j->cfg;
    snprintf(c->paths, sizeof c->paths, "%s", paths);
    k.seed = j->seed;
    k.ablate = ablate;
    s = gy_job_open(&k);
    if (s == GY_OK) s = gy_job_train(&k);
    if (s == GY_OK) s = gy_guided_evaluate(&k, &m);
    *dice = gy_metric_get(&m, "dice.mean");
    gy_job_free(&k);
    return s;
}

/* Seeds 0 to 2: full 0.963, 0.966, 0.951; local (which the ablation `global` equals) 0.307, 0.394, 0.353. The
 * thresholds lie between. */
static const double FULL = 0.80, LOCAL = 0.60, MARGIN = 0.25;

gy_status gy_guided_claim(gy_job *j, gy_claim *out) {
    double full, local;
    gy_status s = condition(j, ((const config *)j->cfg)->paths, j->ablate, &full);
    if (s == GY_OK) s = condition(j, "", NULL, &local);
    if (s != GY_OK) return s;
    gy_metric_add(&out->details, "dice full", full, NAN, "");
    gy_metric_add(&out->details, "dice local", local, NAN, "");
    out->metric = "mean Dice of two classes that a far-away marker tells apart";
    out->value = full;
    out->baseline = local;
    out->threshold = FULL;
    out->chance = 0.5; /* perfect outlines, guessed class */
    out->pass = full >= FULL && local <= LOCAL && full - local >= MARGIN;
    return GY_OK;
}

/* ---- the report ---- */

enum { SHOWN = 4, GAP = 2 };

static gy_figure_head head(const gy_job *j, char *command, size_t n, const char *title, const char *caption,
                           const char *alt) {
    snprintf(command, n, "gyrus train %s --config %s --seed %" PRIu64, j->def->slug, j->config_name, j->seed);
    return (gy_figure_head){.title = title,
                            .caption = caption,
                            .alt = alt,
                            .command = command,
                            .n = SHOWN,
                            .n_of = "test slices",
                            .chance = gy_no_chance(),
                            .side = GY_SIDE_NONE};
}

/* A grey picture with classes in colour over it, enlarged so that it is about 200 pixels wide. */
static gy_status picture(gy_ctx *ctx, const float *grey, const uint8_t *label, int64_t side, double top,
                         gy_image *out) {
    static const float tint[MAX_CLASSES][3] = {{0, 0, 0},       {1, .55f, .1f},  {.2f, .6f, 1},   {.3f, .8f, .3f},
                                               {.9f, .3f, .7f}, {.9f, .9f, .2f}, {.2f, .9f, .9f}, {.7f, .5f, 1},
                                               {1, .3f, .3f},   {.6f, .8f, .1f}, {.1f, .5f, .5f}, {.8f, .6f, .4f},
                                               {.5f, .5f, 1},   {1, .7f, .8f},   {.4f, .3f, .1f}, {.7f, .7f, .7f}};
    float *rgb = gy_malloc(ctx, (size_t)(side * side * 3) * sizeof *rgb);
    gy_image small = {0};
    if (!rgb) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < side * side; i++)
        for (int k = 0; k < 3; k++) {
            float g = (float)(fmax(grey[i], 0) / top);
            rgb[3 * i + k] = label && label[i] ? 0.5f * g + 0.5f * tint[label[i] % MAX_CLASSES][k] : g;
        }
    gy_status s = gy_raster_image(ctx, rgb, side, side, 3, &small);
    gy_free(ctx, rgb);
    if (s == GY_OK) s = gy_raster_upscale(ctx, &small, side < 100 ? 200 / side : 1, out);
    gy_image_free(ctx, &small);
    return s;
}

static gy_status show_pictures(gy_job *j, gy_report *r, const char *panel, gy_figure_head h, gy_image *image,
                               const char *const *names, int64_t n, int64_t columns) {
    gy_pictures p = {.head = h,
                     .value = {.label = "brightness", .unit = GY_NO_UNIT},
                     .images = image,
                     .names = names,
                     .n_images = n,
                     .columns = columns};
    gy_figure f;
    gy_status s = gy_figure_pictures(j->ctx, &p, &f);
    if (s != GY_OK) return s;
    s = gy_report_figure(r, panel, &f);
    gy_figure_free(j->ctx, &f);
    return s;
}

/* The i-th of the slices shown, evenly through the tests. */
static int64_t shown(const lab *d, int64_t i) {
    return (2 * i + 1) * d->tests / (2 * SHOWN);
}

static gy_status masks(gy_job *j, gy_report *r) {
    static const char *const names[3 * SHOWN] = {"picture", "truth", "found", "picture", "truth", "found",
                                                 "picture", "truth", "found", "picture", "truth", "found"};
    const config *c = j->cfg;
    const lab *d = j->data;
    gy_image image[3 * SHOWN] = {0};
    char command[160];
    int64_t pixels = c->size * c->size;
    gy_status s = GY_OK;
    for (int64_t i = 0; s == GY_OK && i < SHOWN; i++) {
        const float *x = d->image + (d->n + shown(d, i)) * pixels;
        s = picture(j->ctx, x, NULL, c->size, 1, &image[3 * i]);
        if (s == GY_OK) s = picture(j->ctx, x, d->label + (d->n + shown(d, i)) * pixels, c->size, 1, &image[3 * i + 1]);
        if (s == GY_OK) s = picture(j->ctx, x, d->predicted + shown(d, i) * pixels, c->size, 1, &image[3 * i + 2]);
    }
    if (s == GY_OK)
        s = show_pictures(j, r, "masks",
                          head(j, command, sizeof command, "Masks on slices never trained on",
                               "Each row: the picture, the true classes, the classes found. One colour a class.",
                               "four test slices with their true and found masks"),
                          image, names, 3 * SHOWN, 3);
    for (int i = 0; i < 3 * SHOWN; i++) gy_image_free(j->ctx, &image[i]);
    return s;
}

/* Where pixels of class 1 or 2 look: their mean row of the position attention, beside the picture. */
static gy_status attention(gy_job *j, gy_report *r) {
    static const char *const names[2 * SHOWN] = {"picture", "attention", "picture", "attention",
                                                 "picture", "attention", "picture", "attention"};
    const config *c = j->cfg;
    const lab *d = j->data;
    gy_compiled run;
    gy_hook hook = {GY_GUIDED_MAP, GY_HOOK_READ, 0};
    gy_image image[2 * SHOWN] = {0};
    char command[160];
    int64_t pixels = c->size * c->size, grid = c->size / 4, cells = grid * grid;
    gy_status s = gy_job_compile(j, SHOWN, &hook, 1, &run);
    if (s != GY_OK) return s;
    float *x = gy_plan_input(run.plan, "image"), *mean = gy_calloc(j->ctx, (size_t)cells, sizeof *mean);
    for (int64_t i = 0; i < SHOWN; i++)
        memcpy(x + i * pixels, d->image + (d->n + shown(d, i)) * pixels, (size_t)pixels * sizeof *x);
    s = mean ? gy_plan_run(run.plan) : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < SHOWN; i++) {
        const float *map = (const float *)gy_plan_output(run.plan, GY_GUIDED_MAP).data + i * cells * cells;
        const uint8_t *label = d->label + (d->n + shown(d, i)) * pixels;
        float top = 0;
        memset(mean, 0, (size_t)cells * sizeof *mean);
        for (int64_t q = 0; q < cells; q++) /* queries whose middle is labelled */
            if (label[(q / grid * 4 + 2) * c->size + q % grid * 4 + 2])
                for (int64_t k = 0; k < cells; k++) mean[k] += map[q * cells + k];
        for (int64_t k = 0; k < cells; k++) top = fmaxf(top, mean[k]);
        s = picture(j->ctx, d->image + (d->n + shown(d, i)) * pixels, label, c->size, 1, &image[2 * i]);
        if (s == GY_OK) s = picture(j->ctx, mean, NULL, grid, top > 0 ? top : 1, &image[2 * i + 1]);
    }
    if (s == GY_OK)
        s = show_pictures(j, r, "attention",
                          head(j, command, sizeof command, "Where labelled pixels look",
                               "Beside each picture, the position attention of its labelled pixels (first step, finest "
                               "scale), averaged: white is where they look most. In the generated pictures only the "
                               "marker at the left says which class the discs are.",
                               "four test slices and the attention of their labelled pixels"),
                          image, names, 2 * SHOWN, 2);
    for (int i = 0; i < 2 * SHOWN; i++) gy_image_free(j->ctx, &image[i]);
    gy_free(j->ctx, mean);
    gy_compiled_free(&run);
    return s;
}

gy_status gy_guided_panels(gy_job *j, void *report) {
    const config *c = j->cfg;
    const lab *d = j->data;
    char name[MAX_CLASSES][24];
    const char *names[MAX_CLASSES];
    gy_panel dice = {.panel = "dice",
                     .title = "Overlap of found and true masks",
                     .caption =
                         "Dice's coefficient over all test slices: twice the pixels in common over the pixels of "
                         "both; 1 is a perfect mask.",
                     .alt = "Bars: Dice of each class",
                     .label = "Dice",
                     .unit = GY_NO_UNIT,
                     .hi = 1,
                     .n = d->tests,
                     .n_of = "test slices",
                     .chance = NAN};
    gy_report_plan(report, "dice", "how well each class is found");
    gy_report_plan(report, "masks", "pictures, true masks and found masks");
    gy_report_plan(report, "attention", "where pixels look before they decide");
    if (!d->measured) return GY_OK;
    for (int64_t k = 1; k < c->classes; k++) {
        snprintf(name[k - 1], sizeof name[k - 1], "class %" PRId64, k);
        names[k - 1] = name[k - 1];
    }
    gy_status s = gy_panel_bars(j, report, &dice, c->classes - 1, names, d->dice + 1);
    if (s == GY_OK) s = masks(j, report);
    bool looks = strstr(c->paths, "pam") && !j->ablate && c->size <= 128;
    if (s == GY_OK)
        s = looks ? attention(j, report)
                  : gy_report_explain(report, "attention",
                                      "there is no position attention here, or its map has more "
                                      "than 1,024 x 1,024 entries a slice");
    gy_report_term(report, "position attention", "each pixel takes up a weighted mean of what all pixels hold");
    gy_report_term(report, "channel attention", "each feature takes up a weighted mean of the other features");
    return s;
}
