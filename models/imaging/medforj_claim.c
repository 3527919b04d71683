/* medforj, third part: sampling, what is measured and claimed, the report, and a volume as NIfTI. */
#include "medforj.h"

#include "../../io/formats/nifti.h"
#include "../../io/report/html.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sampling ---- */

typedef struct drawer {
    gy_denoise_plan net;
    bool undivided; /* the ablation `division` */
} drawer;

/* The ablation hands the sampler the output from which its own formula makes the undivided noise x + alpha o: each step
 * then multiplies the noise by alpha + sigma, up to 1.4. */
static gy_status denoise(void *user, const gy_denoise_at *at, const double *x, double *out) {
    drawer *d = user;
    gy_status s = gy_denoise_by_plan(&d->net, at, x, out);
    if (s != GY_OK || !d->undivided) return s;
    for (int64_t i = 0; i < d->net.n; i++) {
        double eps = x[i] + at->alpha * out[i];
        out[i] = ((at->alpha + at->sigma) * eps - x[i]) / at->alpha;
    }
    return GY_OK;
}

/* Volumes drawn side by side: small ones many, whole heads one. */
enum { CHUNK = 16, SMALL = 1 << 16 };

gy_status gy_medforj_draw(gy_job *j, int64_t n, uint64_t seed, float *out) {
    const config *c = j->cfg;
    int64_t each = gy_medforj_voxels(c), most = each > SMALL ? 1 : CHUNK, rows = n < most ? n : most;
    gy_job view = *j;
    gy_compiled run = {0};
    gy_noise noise;
    gy_medforj_noise(&noise);
    view.store = gy_store_averaged(j->store);
    double *x = gy_calloc(j->ctx, (size_t)rows, (size_t)each * sizeof *x);
    gy_status s = view.store && x ? gy_job_compile(&view, rows, NULL, 0, &run) : GY_ERR_NOMEM;
    drawer d = {{run.plan, "volume", "timestep", "prediction", rows * each, 1},
                gy_ablates(j->ablate, "division") && gy_medforj_prediction(c) == GY_PREDICT_FLOW};
    for (int64_t done = 0; s == GY_OK && done < n; done += rows) {
        gy_sampler sampler = {.ctx = j->ctx,
                              .noise = &noise,
                              .kind = GY_SAMPLER_DDIM,
                              .prediction = gy_medforj_prediction(c),
                              .steps = c->sampling,
                              .spacing = GY_SPACING_LEADING,
                              .clip = 1,
                              .seed = seed + (uint64_t)done,
                              .denoise = denoise,
                              .user = &d,
                              .n = rows * each};
        s = gy_sampler_start(&sampler, NULL, x);
        if (s == GY_OK) s = gy_sampler_run(&sampler, x);
        for (int64_t i = 0; s == GY_OK && i < rows * each && done * each + i < n * each; i++)
            out[done * each + i] = (float)x[i];
    }
    gy_compiled_free(&run);
    gy_store_free(view.store);
    gy_free(j->ctx, x);
    return s;
}

/* ---- metrics ---- */

static const double above[TISSUES] = {0.5, -0.5};
static const char *const tissue_names[TISSUES] = {"inner", "head"};

static void measure(const config *c, const float *v, int64_t i, sizes *s) {
    for (int k = 0; k < TISSUES; k++) {
        s->of[k][i] = 0;
        for (int64_t p = 0; p < gy_medforj_voxels(c); p++) s->of[k][i] += v[p] > above[k];
    }
}

static gy_status sizes_new(gy_ctx *ctx, int64_t n, sizes *s) {
    s->n = n;
    for (int k = 0; k < TISSUES; k++) {
        gy_free(ctx, s->of[k]);
        if (!(s->of[k] = gy_calloc(ctx, (size_t)n, sizeof *s->of[k]))) return GY_ERR_NOMEM;
    }
    return GY_OK;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double gy_medforj_ks(double *a, int64_t n, double *b, int64_t m) {
    double most = 0;
    qsort(a, (size_t)n, sizeof *a, rising);
    qsort(b, (size_t)m, sizeof *b, rising);
    for (int64_t i = 0, k = 0; i < n || k < m;) { /* past each value, ties of both sides together */
        double at = k == m || (i < n && a[i] <= b[k]) ? a[i] : b[k];
        while (i < n && a[i] <= at) i++;
        while (k < m && b[k] <= at) k++;
        most = fmax(most, fabs((double)i / (double)n - (double)k / (double)m));
    }
    return most;
}

static double mean_of(const double *v, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += v[i];
    return sum / (double)n;
}

enum { HELD_OUT = 512 };

gy_status gy_medforj_evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    lab *d = j->data;
    int64_t each = gy_medforj_voxels(c), n = each > SMALL ? 8 : HELD_OUT;
    if (c->samples == 0) return GY_OK;
    float *v = gy_calloc(j->ctx, (size_t)c->samples, (size_t)each * sizeof *v);
    gy_status s = v ? sizes_new(j->ctx, n, &d->held_out) : GY_ERR_NOMEM;
    if (s == GY_OK) s = sizes_new(j->ctx, c->samples, &d->made);
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        gy_medforj_volume(j, true, i, v);
        measure(c, v, i, &d->held_out);
    }
    if (s == GY_OK) s = gy_medforj_draw(j, c->samples, j->seed, v);
    for (int64_t i = 0; s == GY_OK && i < c->samples; i++) measure(c, v + i * each, i, &d->made);
    gy_free(j->ctx, v);
    for (int k = 0; s == GY_OK && k < TISSUES; k++) {
        double real = mean_of(d->held_out.of[k], n), made = mean_of(d->made.of[k], c->samples);
        char name[48];
        d->error[k] = real > 0 ? fabs(made - real) / real : 0;
        d->ks[k] = gy_medforj_ks(d->held_out.of[k], n, d->made.of[k], c->samples);
        snprintf(name, sizeof name, "%s.volume", tissue_names[k]);
        gy_metric_add(out, name, made, NAN, "voxels");
        snprintf(name, sizeof name, "%s.real_volume", tissue_names[k]);
        gy_metric_add(out, name, real, NAN, "voxels");
        snprintf(name, sizeof name, "%s.volume_error", tissue_names[k]);
        gy_metric_add(out, name, d->error[k], NAN, "");
        snprintf(name, sizeof name, "%s.ks", tissue_names[k]);
        gy_metric_add(out, name, d->ks[k], NAN, "");
    }
    return s;
}

/* ---- the claim ---- */

/* A fresh job with another target, trained and judged; with no steps, an untrained network's. */
static gy_status trained(const gy_job *j, const char *target, int64_t steps, double error[TISSUES],
                         double ks[TISSUES]) {
    gy_job one;
    gy_metrics ignored = {0};
    gy_status s = gy_job_init(&one, j->ctx, j->def, j->config_name, NULL, 0);
    if (s != GY_OK) return s;
    config *c = one.cfg;
    *c = *(const config *)j->cfg;
    snprintf(c->prediction, sizeof c->prediction, "%s", target);
    if (!steps) c->samples = c->sampling = 8; /* clipped noise needs no more */
    one.seed = j->seed;
    one.ablate = j->ablate;
    s = gy_job_open(&one);
    if (s == GY_OK && steps) s = gy_job_train(&one);
    if (s == GY_OK) s = gy_medforj_evaluate(&one, &ignored);
    if (s == GY_OK) {
        memcpy(error, ((lab *)one.data)->error, sizeof(double[TISSUES]));
        memcpy(ks, ((lab *)one.data)->ks, sizeof(double[TISSUES]));
    }
    gy_job_free(&one);
    return s;
}

/* Calibration on one seed only (0): error of the mean volume and KS distance
 *     flow       inner 0.20, 0.32    head 0.02, 0.36
 *     velocity   inner 0.63, 0.75    head 0.00, 0.32
 *     untrained  inner 14.8, 1.00    head 2.84, 1.00
 * KS gates lie half-way to the untrained network. After 600 steps velocity still makes the inner part too large, so
 * that of velocity only the head counts; its inner part is reported. */
gy_status gy_medforj_claim(gy_job *j, gy_claim *out) {
    static const char *const targets[] = {"flow", "velocity", "flow"};
    static const char *const names[] = {"flow", "velocity", "untrained"};
    const config *c = j->cfg;
    double error[3][TISSUES], ks[3][TISSUES];
    if (c->samples == 0) return gy_fail(j->ctx, GY_ERR_USAGE, "medforj: samples=0: the claim needs volumes drawn");
    for (int i = 0; i < 3; i++) {
        gy_status s = trained(j, targets[i], i < 2 ? c->steps : 0, error[i], ks[i]);
        if (s != GY_OK) return s;
        for (int k = 0; k < TISSUES; k++) {
            char name[48];
            snprintf(name, sizeof name, "%s.%s error", names[i], tissue_names[k]);
            gy_metric_add(&out->details, name, error[i][k], NAN, "");
            snprintf(name, sizeof name, "%s.%s KS", names[i], tissue_names[k]);
            gy_metric_add(&out->details, name, ks[i][k], NAN, "");
        }
    }
    out->metric = "KS distance of inner volumes of flow's samples from held-out ones (less is better)";
    out->value = ks[0][0];
    out->baseline = ks[2][0];
    out->threshold = 0.65;
    out->chance = NAN;
    out->pass = error[0][0] <= 0.45 && ks[0][0] <= 0.65 && error[1][1] <= 0.2 && ks[1][1] <= 0.65 && ks[2][0] >= 0.9;
    return GY_OK;
}

/* ---- pictures and files ---- */

/* The middle slice along the slowest axis, from [-1, 1] to [0, 1]. */
static void slice(const config *c, const float *v, float *out) {
    const float *from = v + c->depth / 2 * c->height * c->width;
    for (int64_t i = 0; i < c->height * c->width; i++) out[i] = fminf(fmaxf(0.5f * from[i] + 0.5f, 0), 1);
}

gy_status gy_medforj_sample(gy_job *j, int64_t n, gy_tensor *out) {
    const config *c = j->cfg;
    gy_status s = gy_tensor_new(j->ctx, out, GY_F32, GY_S(n, c->height, c->width, 1));
    if (s != GY_OK) return s;
    float *v = gy_calloc(j->ctx, (size_t)n, (size_t)gy_medforj_voxels(c) * sizeof *v);
    s = v ? gy_medforj_draw(j, n, j->seed, v) : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n; i++)
        slice(c, v + i * gy_medforj_voxels(c), (float *)out->data + i * c->height * c->width);
    gy_free(j->ctx, v);
    if (s != GY_OK) gy_tensor_free(j->ctx, out);
    return s;
}

/* sample.nii.gz: one volume, 16 bits from its least to its largest value, as the official demo writes it. */
gy_status gy_medforj_artefacts(gy_job *j, const char *dir) {
    const config *c = j->cfg;
    int64_t n = gy_medforj_voxels(c);
    gy_tensor t;
    if (c->samples == 0) return GY_OK;
    gy_status s = gy_tensor_new(j->ctx, &t, GY_I16, GY_S(c->depth, c->height, c->width));
    if (s != GY_OK) return s;
    float *v = gy_calloc(j->ctx, (size_t)n, sizeof *v), lo = 0, hi = 0;
    char *path = gy_format(j->ctx, "%s/sample.nii.gz", dir);
    s = v && path ? gy_medforj_draw(j, 1, j->seed, v) : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        lo = i ? fminf(lo, v[i]) : v[i];
        hi = i ? fmaxf(hi, v[i]) : v[i];
    }
    double step = hi > lo ? (double)(hi - lo) / 65535 : 1;
    for (int64_t i = 0; s == GY_OK && i < n; i++)
        ((int16_t *)t.data)[i] = (int16_t)((int64_t)floor((double)(v[i] - lo) / step + 0.5) - 32768);
    if (s == GY_OK)
        s = gy_nifti_write(j->ctx, path, &t, (gy_nifti_write_args){.slope = step, .inter = lo + 32768 * step});
    gy_free(j->ctx, v);
    gy_free(j->ctx, path);
    gy_tensor_free(j->ctx, &t);
    return s;
}

/* ---- the report ---- */

enum { SHOWN = 6 };

/* Middle slices of held-out volumes above those of made ones. */
static gy_status show_slices(gy_job *j, gy_report *report) {
    const config *c = j->cfg;
    int64_t each = gy_medforj_voxels(c), area = c->height * c->width, zoom = c->width < 48 ? 6 : 1;
    char command[96];
    const char *names[2 * SHOWN];
    gy_image image[2 * SHOWN];
    float *v = gy_calloc(j->ctx, SHOWN, (size_t)each * sizeof *v),
          *flat = gy_calloc(j->ctx, (size_t)area, sizeof *flat);
    uint8_t *pixels = gy_calloc(j->ctx, 2 * SHOWN, (size_t)(area * zoom * zoom));
    gy_status s = v && flat && pixels ? GY_OK : GY_ERR_NOMEM;
    for (int row = 0; s == GY_OK && row < 2; row++) {
        for (int i = 0; row == 0 && i < SHOWN; i++) gy_medforj_volume(j, true, i, v + i * each);
        if (row) s = gy_medforj_draw(j, SHOWN, j->seed, v);
        for (int i = 0; s == GY_OK && i < SHOWN; i++) {
            int at = row * SHOWN + i;
            uint8_t *to = pixels + at * area * zoom * zoom;
            slice(c, v + i * each, flat);
            for (int64_t k = 0; k < area * zoom * zoom; k++)
                to[k] = (uint8_t)(255 * flat[k / (c->width * zoom) / zoom * c->width + k % (c->width * zoom) / zoom] +
                                  0.5f);
            image[at] = (gy_image){c->width * zoom, c->height * zoom, 1, 8, to};
            names[at] = row ? "made" : "real";
        }
    }
    snprintf(command, sizeof command, "gyrus train medforj --seed %" PRIu64, j->seed);
    gy_pictures figure = {.head = {.title = "Middle slices: held out above, made below",
                                   .caption = "Each lower picture is the middle of a whole volume made from noise.",
                                   .alt = "two rows of small grey pictures of nested ellipses or heads",
                                   .command = command,
                                   .n = 2 * SHOWN,
                                   .n_of = "volumes",
                                   .chance = gy_no_chance(),
                                   .side = GY_SIDE_NONE},
                          .value = {.label = "intensity", .unit = GY_NO_UNIT},
                          .images = image,
                          .names = names,
                          .n_images = 2 * SHOWN,
                          .columns = SHOWN};
    gy_figure f;
    if (s == GY_OK) s = gy_figure_pictures(j->ctx, &figure, &f);
    if (s == GY_OK) {
        s = gy_report_figure(report, "slices", &f);
        gy_figure_free(j->ctx, &f);
    }
    gy_free(j->ctx, v);
    gy_free(j->ctx, flat);
    gy_free(j->ctx, pixels);
    return s;
}

/* The share of volumes no larger than x, made and real: the KS statistic is the largest gap between the curves. */
static gy_status show_volumes(gy_job *j, gy_report *report) {
    lab *d = j->data;
    sizes *both[2] = {&d->held_out, &d->made};
    double *share[2] = {0};
    char command[96];
    gy_series series[2];
    gy_status s = GY_OK;
    for (int k = 0; s == GY_OK && k < 2; k++) {
        share[k] = gy_calloc(j->ctx, (size_t)both[k]->n, sizeof **share);
        if (!share[k]) s = GY_ERR_NOMEM;
        for (int64_t i = 0; s == GY_OK && i < both[k]->n; i++) share[k][i] = (double)(i + 1) / (double)both[k]->n;
        series[k] = (gy_series){.name = k ? "made" : "held out", .n = both[k]->n, .x = both[k]->of[0], .y = share[k]};
    }
    snprintf(command, sizeof command, "gyrus train medforj --seed %" PRIu64, j->seed);
    gy_line_chart chart = {.head = {.title = "How large the inner part is",
                                    .caption = "Share of volumes whose inner part (voxels above 0.5) is no larger than "
                                               "the value on the axis. The largest gap between the curves is the "
                                               "Kolmogorov-Smirnov distance.",
                                    .alt = "two rising curves, real and made volumes",
                                    .command = command,
                                    .n = d->made.n,
                                    .n_of = "made volumes",
                                    .chance = gy_no_chance(),
                                    .side = GY_SIDE_NONE},
                           .x = {.label = "inner volume", .unit = "voxels"},
                           .y = {.label = "share", .unit = GY_NO_UNIT, .lo = 0, .hi = 1},
                           .series = series,
                           .n_series = 2};
    gy_figure f;
    if (s == GY_OK) s = gy_figure_line(j->ctx, &chart, &f);
    if (s == GY_OK) {
        s = gy_report_figure(report, "volumes", &f);
        gy_figure_free(j->ctx, &f);
    }
    gy_free(j->ctx, share[0]);
    gy_free(j->ctx, share[1]);
    return s;
}

gy_status gy_medforj_panels(gy_job *j, void *report) {
    static const char none[] = "no volumes were drawn: the option samples is 0, or the run was not evaluated";
    bool drawn = ((const lab *)j->data)->made.n > 0;
    gy_report_plan(report, "slices", "held-out and made volumes");
    gy_report_plan(report, "volumes", "whether the made volumes vary as real ones do");
    gy_report_section(report, "Volumes from noise");
    gy_status s = drawn ? show_slices(j, report) : gy_report_explain(report, "slices", none);
    if (s == GY_OK) s = drawn ? show_volumes(j, report) : gy_report_explain(report, "volumes", none);
    gy_report_term(report, "flow",
                   "the network predicts noise minus picture; both follow from it and the noisy volume");
    return s;
}
