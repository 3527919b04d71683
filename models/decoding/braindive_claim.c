/* BrainDiVE, third part: drawing under guidance, what is measured and claimed, and the report. */
#include "braindive.h"

#include "../../io/report/html.h"
#include "../blocks/measures.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- drawing ---- */

typedef struct pen {
    gy_plan *plan;
    int64_t n, steps;
    double ratio; /* summed over steps */
} pen;

/* x0 is clamped as tinySD's sampler does, but the noise follows: the sampler keeps eps, and where the clamp takes away
 * what guidance adds to x0, what it takes from eps would be left, and the step would go down the gradient instead of
 * up. */
static const double CLIP = 1.2;

static gy_status guided(void *user, const gy_denoise_at *at, const double *x, double *out) {
    pen *p = user;
    float *in = gy_plan_input(p->plan, "x"), *t = gy_plan_input(p->plan, "timestep");
    for (int64_t i = 0; i < p->n * GY_SHAPES16_SIZE; i++) in[i] = (float)x[i];
    for (int64_t i = 0; i < p->n; i++) t[i] = (float)at->t;
    *(float *)gy_plan_input(p->plan, "alpha") = (float)at->alpha;
    *(float *)gy_plan_input(p->plan, "sigma") = (float)at->sigma;
    gy_status s = gy_plan_run(p->plan);
    if (s != GY_OK) return s;
    const float *e = gy_plan_output(p->plan, "noise").data;
    for (int64_t i = 0; i < p->n * GY_SHAPES16_SIZE; i++) {
        double x0 = (x[i] - at->sigma * e[i]) / at->alpha;
        out[i] = (x[i] - at->alpha * fmin(fmax(x0, -CLIP), CLIP)) / at->sigma;
    }
    p->ratio += gy_plan_scalar(p->plan, "ratio");
    p->steps++;
    return GY_OK;
}

/* A view of the job with one part of the inference graph. */
static gy_status compile_part(gy_job *j, const char *part, int64_t rows, gy_compiled *out) {
    config c = *(const config *)j->cfg;
    gy_job view = *j;
    snprintf(c.part, sizeof c.part, "%s", part);
    view.cfg = &c;
    return gy_job_compile(&view, rows, NULL, 0, out);
}

/* What the oracle sees in n pictures, and what the encoder predicts for them. */
static gy_status look(gy_job *j, int64_t n, const float *images, drawn *out) {
    const config *c = j->cfg;
    gy_compiled net;
    gy_status s = compile_part(j, "encoder", n, &net);
    if (s != GY_OK) return s;
    float *in = gy_plan_input(net.plan, "image");
    for (int64_t i = 0; i < n * GY_SHAPES16_SIZE; i++) in[i] = fminf(fmaxf(images[i], -1), 1);
    s = gy_plan_run(net.plan);
    const float *y = gy_plan_output(net.plan, "response").data;
    for (int64_t i = 0; s == GY_OK && i < n * c->voxels; i++)
        out->activation[gy_braindive_roi_of(c, i % c->voxels)] += (double)y[i] / (double)(n * c->voxels / ROIS);
    for (int64_t i = 0; i < n; i++) {
        int label[4];
        gy_scene_oracle(images + i * GY_SHAPES16_SIZE, label);
        for (int q = 0; q < 4; q++) out->objects += (label[q] >= 0) / (double)n;
        for (int k = 0; k < ROIS; k++) out->concept[k] += gy_braindive_holds(k, label) / (double)n;
    }
    gy_compiled_free(&net);
    return s;
}

static gy_sampler sampler_of(const gy_job *j, const gy_noise *noise, int64_t n, uint64_t seed) {
    gy_sampler s = gy_tinysd_sampler(j->ctx, noise, n, seed);
    s.steps = ((const config *)j->cfg)->sampling;
    s.clip = 0; /* in `guided` */
    s.denoise = guided;
    return s;
}

gy_status gy_braindive_guide(gy_job *j, int64_t n, int roi, double gamma, double *x, double *ratio) {
    const config *c = j->cfg;
    gy_noise noise;
    gy_compiled net;
    if (c->full)
        return gy_fail(j->ctx, GY_ERR_UNSUPPORTED,
                       "braindive: pictures of the full size are drawn step by step with gyrus run and part=guidance");
    gy_status s = compile_part(j, "guidance", n, &net);
    if (s != GY_OK) return s;
    pen p = {.plan = net.plan, .n = n};
    float *weight = gy_plan_input(net.plan, "roi");
    for (int64_t v = 0; v < c->voxels; v++)
        weight[v] = gy_braindive_roi_of(c, v) == roi ? (float)(ROIS / (double)c->voxels) : 0;
    *(float *)gy_plan_input(net.plan, "gamma") = (float)gamma;
    gy_tinysd_noise(&noise);
    gy_sampler sampler = sampler_of(j, &noise, n, 0);
    sampler.user = &p;
    s = gy_sampler_run(&sampler, x);
    gy_compiled_free(&net);
    if (ratio && p.steps > 0) *ratio = p.ratio / (double)p.steps;
    return s;
}

gy_status gy_braindive_draw(gy_job *j, int64_t n, int roi, double gamma, uint64_t seed, float *images, drawn *found) {
    gy_noise noise;
    double ratio = 0;
    gy_tinysd_noise(&noise);
    gy_sampler sampler = sampler_of(j, &noise, n, seed);
    double *x = gy_calloc(j->ctx, (size_t)sampler.n, sizeof *x);
    gy_status s = x ? gy_sampler_start(&sampler, NULL, x) : GY_ERR_NOMEM;
    if (s == GY_OK) s = gy_braindive_guide(j, n, roi, gamma, x, &ratio);
    for (int64_t i = 0; s == GY_OK && i < sampler.n; i++) images[i] = (float)x[i];
    gy_free(j->ctx, x);
    if (s == GY_OK && found) {
        *found = (drawn){.ratio = ratio};
        s = look(j, n, images, found);
    }
    return s;
}

/* ---- metrics ---- */

/* Correlation of predicted with noiseless responses to held-out pictures, mean over each region's voxels. */
static gy_status fit(gy_job *j, double r[ROIS]) {
    const config *c = j->cfg;
    const lab *d = j->data;
    gy_compiled net;
    int64_t side = c->image, zoom = side / GY_SHAPES16, rows = c->batch, cells = c->tests * c->voxels;
    gy_status s = compile_part(j, "encoder", rows, &net);
    if (s != GY_OK) return s;
    float *truth = gy_calloc(j->ctx, (size_t)cells, 2 * sizeof *truth), *made = truth + cells;
    float *in = gy_plan_input(net.plan, "image");
    if (!truth) s = GY_ERR_NOMEM;
    for (int64_t done = 0; s == GY_OK && done < c->tests; done += rows) {
        int64_t here = c->tests - done < rows ? c->tests - done : rows;
        for (int64_t i = 0; i < here * side * side; i++) {
            int64_t y = i / side % side / zoom, x = i % side / zoom, k = done + i / (side * side);
            memcpy(in + 3 * i, d->test.image + k * GY_SHAPES16_SIZE + 3 * (y * GY_SHAPES16 + x), 3 * sizeof *in);
        }
        s = gy_plan_run(net.plan);
        if (s == GY_OK)
            memcpy(made + done * c->voxels, gy_plan_output(net.plan, "response").data,
                   (size_t)(here * c->voxels) * sizeof *made);
    }
    for (int64_t i = 0; s == GY_OK && i < cells; i++)
        truth[i] = (float)gy_braindive_response(d, i % c->voxels, d->test.semantic + i / c->voxels * GY_WORLD_SEMANTIC);
    for (int k = 0; k < ROIS; k++) r[k] = 0;
    for (int64_t v = 0; s == GY_OK && v < c->voxels; v++)
        r[gy_braindive_roi_of(c, v)] +=
            gy_pearson(made + v, truth + v, c->tests, c->voxels) / (double)(c->voxels / ROIS);
    gy_free(j->ctx, truth);
    gy_compiled_free(&net);
    return s;
}

static void add(gy_metrics *out, const char *what, int roi, double value) {
    char name[48];
    snprintf(name, sizeof name, "%s.%s", what, gy_braindive_rois[roi]);
    gy_metric_add(out, name, value, NAN, "");
}

gy_status gy_braindive_evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    lab *d = j->data;
    gy_status s = fit(j, d->r);
    for (int k = 0; s == GY_OK && k < ROIS; k++) add(out, "encoder_r", k, d->r[k]);
    if (s != GY_OK || c->full) return s;
    float *images = gy_calloc(j->ctx, (size_t)c->samples, GY_SHAPES16_SIZE * sizeof *images);
    if (!images) return GY_ERR_NOMEM;
    s = gy_braindive_draw(j, c->samples, 0, 0, j->seed, images, &d->free);
    for (int k = 0; s == GY_OK && k < ROIS; k++) {
        s = gy_braindive_draw(j, c->samples, k, c->gamma, j->seed, images, &d->guided[k]);
        if (s != GY_OK) break;
        add(out, "concept", k, d->guided[k].concept[k]);
        add(out, "concept_unguided", k, d->free.concept[k]);
        add(out, "activation", k, d->guided[k].activation[k]);
        add(out, "activation_unguided", k, d->free.activation[k]);
        add(out, "objects", k, d->guided[k].objects);
        add(out, "ratio", k, d->guided[k].ratio);
    }
    gy_free(j->ctx, images);
    return s;
}

/* ---- the claim ---- */

/* Calibration, 32 pictures an arm. Seeds 0 to 3, guided and (unguided) share of pictures with the concept; rise of the
 * region's predicted response, in its deviations; ratio of the change of eps to eps at four times gamma:
 *     blue      0.91 0.84 0.91 0.91   (0.41 0.38 0.34 0.44)   rise 1.16 1.07 1.47 1.34
 *     cross     0.72 0.75 0.75 0.78   (0.34 0.44 0.44 0.50)   rise 0.95 0.83 1.00 0.93
 *     red ring  0.91 0.81 0.81 0.88   (0.03 0.03 0.09 0.00)   rise 1.70 1.74 1.63 1.65
 *     ratio     1.02 1.05 1.39 1.15
 * A cross is more easily faked for the encoder than drawn, so of that region only the response counts. Features trained
 * on pictures without noise draw worse ones: seeds 12 and 13 then failed (blue in 0.56 and rings in 0.59 of the
 * pictures, 0.59 and 0.65 objects a picture, while responses rose by 0.9 and 1.7): what is drawn was made for the
 * encoder, not for the eye. Hence pixel_noise, as the paper has it. Ablations, seeds 0, 1, 2: `energy` leaves every
 * share and response exactly where it was without guidance (red ring 0.03, 0.03, 0.09); `jacobian` draws as many rings
 * (0.81, 0.84, 0.78), but its ratios are 6.7, 6.7, 11.4, which the gate of 3 refuses. */
gy_status gy_braindive_claim(gy_job *j, gy_claim *out) {
    const config *c = j->cfg;
    gy_metrics *m = &out->details;
    drawn against[ROIS], strong = {0};
    gy_status s = gy_job_open(j);
    if (s == GY_OK) s = gy_job_train(j);
    if (s == GY_OK) s = gy_braindive_evaluate(j, m);
    if (s != GY_OK) return s;
    const lab *d = j->data;
    float *images = gy_calloc(j->ctx, (size_t)c->samples, GY_SHAPES16_SIZE * sizeof *images);
    if (!images) return GY_ERR_NOMEM;
    for (int k = 0; s == GY_OK && k < ROIS; k++) {
        s = gy_braindive_draw(j, c->samples, k, -c->gamma, j->seed, images, &against[k]);
        if (s == GY_OK) add(m, "concept_repelled", k, against[k].concept[k]);
    }
    if (s == GY_OK) s = gy_braindive_draw(j, c->samples, 0, 4 * c->gamma, j->seed, images, &strong);
    gy_free(j->ctx, images);
    if (s != GY_OK) return s;
    gy_metric_add(m, "ratio at four times gamma", strong.ratio, NAN, "");
    bool vanishes = true;
    double rise[ROIS];
    for (int k = 0; k < ROIS; k++) {
        rise[k] = d->guided[k].activation[k] - d->free.activation[k];
        vanishes = vanishes && against[k].concept[k] <= 0.1;
    }
    double blue = d->guided[0].concept[0], ring = d->guided[2].concept[2];
    bool pictures = true; /* one object or so, as without guidance */
    for (int k = 0; k < ROIS; k += 2) pictures = pictures && d->guided[k].objects >= 0.7 && d->guided[k].objects <= 1.5;
    out->metric = "share of pictures that hold the red ring that a region prefers";
    out->value = ring;
    out->baseline = d->free.concept[2];
    out->threshold = 0.7;
    out->chance = NAN;
    out->pass = blue >= 0.75 && blue >= d->free.concept[0] + 0.25 && ring >= 0.7 && ring >= d->free.concept[2] + 0.4 &&
                rise[0] >= 0.8 && rise[1] >= 0.45 && rise[2] >= 0.8 && vanishes && pictures && strong.ratio <= 3;
    return GY_OK;
}

/* ---- pictures ---- */

gy_status gy_braindive_sample(gy_job *j, int64_t n, gy_tensor *out) {
    const config *c = j->cfg;
    gy_status s = gy_tensor_new(j->ctx, out, GY_F32, GY_S(n, GY_SHAPES16, GY_SHAPES16, 3));
    float *image = out->data;
    for (int64_t done = 0; s == GY_OK && done < n; done++) /* regions in turn */
        s = gy_braindive_draw(j, 1, (int)(done % ROIS), c->gamma, j->seed + (uint64_t)(done / ROIS),
                              image + done * GY_SHAPES16_SIZE, NULL);
    for (int64_t i = 0; s == GY_OK && i < n * GY_SHAPES16_SIZE; i++)
        image[i] = fminf(fmaxf(0.5f * image[i] + 0.5f, 0.0f), 1.0f);
    if (s != GY_OK) gy_tensor_free(j->ctx, out);
    return s;
}

enum { COLUMNS = 6, ROWS = 1 + ROIS, ENLARGED = 5, SIDE = GY_SHAPES16 * ENLARGED };

/* The same noise in every column: without guidance, then towards each region. */
static gy_status show_pictures(gy_job *j, gy_report *report) {
    const config *c = j->cfg;
    char text[ROWS * COLUMNS][32], command[96];
    const char *names[ROWS * COLUMNS];
    gy_image picture[ROWS * COLUMNS];
    float *images = gy_calloc(j->ctx, COLUMNS, GY_SHAPES16_SIZE * sizeof *images);
    uint8_t *pixels = gy_calloc(j->ctx, ROWS * COLUMNS, SIDE * SIDE * 3);
    gy_status s = images && pixels ? GY_OK : GY_ERR_NOMEM;
    for (int row = 0; s == GY_OK && row < ROWS; row++) {
        s = gy_braindive_draw(j, COLUMNS, row ? row - 1 : 0, row ? c->gamma : 0, j->seed, images, NULL);
        for (int i = 0; s == GY_OK && i < COLUMNS; i++) {
            int at = row * COLUMNS + i;
            uint8_t *to = pixels + (int64_t)at * SIDE * SIDE * 3;
            for (int64_t k = 0; k < SIDE * SIDE * 3; k++) {
                int64_t y = k / (3 * SIDE) / ENLARGED, x = k / 3 % SIDE / ENLARGED;
                float v = images[i * GY_SHAPES16_SIZE + (y * GY_SHAPES16 + x) * 3 + k % 3];
                to[k] = (uint8_t)(fminf(fmaxf(0.5f * v + 0.5f, 0), 1) * 255 + 0.5f);
            }
            picture[at] = (gy_image){SIDE, SIDE, 3, 8, to};
            snprintf(text[at], sizeof text[at], "%s", row ? gy_braindive_rois[row - 1] : "unguided");
            names[at] = text[at];
        }
    }
    snprintf(command, sizeof command, "gyrus train braindive --seed %" PRIu64, j->seed);
    gy_pictures figure = {.head = {.title = "What each region likes to see",
                                   .caption =
                                       "Pictures of one column begin with the same noise. The first row is drawn "
                                       "without guidance, the others along the gradient of one region's "
                                       "predicted response; the region's true preference stands below.",
                                   .alt = "four rows of small pictures of coloured shapes",
                                   .command = command,
                                   .n = ROWS * COLUMNS,
                                   .n_of = "pictures",
                                   .chance = gy_no_chance(),
                                   .side = GY_SIDE_NONE},
                          .value = {.label = "colour", .unit = GY_NO_UNIT},
                          .images = picture,
                          .names = names,
                          .n_images = ROWS * COLUMNS,
                          .columns = COLUMNS};
    gy_figure f;
    if (s == GY_OK) s = gy_figure_pictures(j->ctx, &figure, &f);
    if (s == GY_OK) {
        s = gy_report_figure(report, "pictures", &f);
        gy_figure_free(j->ctx, &f);
    }
    gy_free(j->ctx, images);
    gy_free(j->ctx, pixels);
    return s;
}

gy_status gy_braindive_panels(gy_job *j, void *report) {
    const config *c = j->cfg;
    const lab *d = j->data;
    char text[2 * ROIS][64];
    const char *names[2 * ROIS];
    double share[2 * ROIS];
    gy_panel found = {.panel = "concepts",
                      .title = "Does the picture hold what the region prefers?",
                      .caption = "An oracle that is never wrong on clean pictures looks for the concept that the "
                                 "region was made to prefer, in pictures drawn without guidance and along its "
                                 "gradient. A shape is more easily faked for the encoder than a colour.",
                      .alt = "Bars: share of pictures with the preferred concept, without and with guidance",
                      .label = "pictures with the concept",
                      .unit = "share",
                      .hi = 1,
                      .n = c->samples,
                      .n_of = "pictures each",
                      .chance = NAN};
    gy_panel encoder = {.panel = "encoder",
                        .title = "How well the encoder knows each region",
                        .caption = "Correlation of predicted with noiseless responses to pictures never seen; the "
                                   "responses it learned from were six tenths noise.",
                        .alt = "Bars: correlation for each region",
                        .label = "correlation",
                        .unit = "r",
                        .hi = 1,
                        .n = c->tests,
                        .n_of = "held-out pictures",
                        .chance = 0};
    gy_report_plan(report, "pictures", "pictures drawn for each region");
    gy_report_plan(report, "concepts", "how often they hold what the region prefers");
    gy_report_plan(report, "encoder", "how well responses are predicted");
    gy_report_section(report, "From voxels to pictures");
    for (int k = 0; k < 2 * ROIS; k++) {
        snprintf(text[k], sizeof text[k], "%s, %s", gy_braindive_rois[k / 2], k % 2 ? "guided" : "unguided");
        names[k] = text[k];
        share[k] = k % 2 ? d->guided[k / 2].concept[k / 2] : d->free.concept[k / 2];
    }
    gy_status s = GY_OK;
    if (c->full) {
        gy_report_explain(report, "pictures", "full-size pictures are not drawn while training");
        gy_report_explain(report, "concepts", "full-size pictures are not drawn while training");
    } else {
        s = show_pictures(j, report);
        if (s == GY_OK) s = gy_panel_bars(j, report, &found, 2 * ROIS, names, share);
    }
    if (s == GY_OK) s = gy_panel_bars(j, report, &encoder, ROIS, gy_braindive_rois, d->r);
    gy_report_term(report, "energy guidance", "moving each denoising step against the gradient of something to lower");
    return s;
}
