/* ArtifactGen, fourth part: what is measured, claimed and shown. */
#include "artifactgen.h"

#include "../../io/report/html.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const source_names[SOURCES] = {"diffusion", "diffusion, published sampler", "GAN", "noise"};

/* Draws c->samples windows, classes in turn, and judges them. */
static gy_status appraise(gy_job *j, source by, double w, verdict *out) {
    const config *c = j->cfg;
    const lab *d = j->data;
    int64_t length = by == BY_GENERATOR ? c->gan_length : c->length;
    float *x = gy_calloc(j->ctx, (size_t)c->samples, (size_t)(length * c->channels) * sizeof *x);
    int64_t *label = gy_calloc(j->ctx, (size_t)c->samples, sizeof *label);
    gy_status s = x && label ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < c->samples; i++) label[i] = i % d->classes;
    if (s == GY_OK) s = gy_artifactgen_draw(j, by, w, c->samples, label, j->seed, x);
    if (s == GY_OK) s = gy_artifactgen_judge(j, by == BY_GENERATOR, c->samples, x, label, out);
    gy_free(j->ctx, x);
    gy_free(j->ctx, label);
    return s;
}

/* The way windows are drawn from the U-Net: the ablation `sampler` takes the published one. */
static source diffusion_of(const gy_job *j) {
    return gy_ablates(j->ablate, "sampler") ? BY_RELEASED_SAMPLER : BY_DIFFUSION;
}

static void add(gy_metrics *out, const char *who, const char *what, double value, double chance) {
    char name[48];
    snprintf(name, sizeof name, "%s.%s", who, what);
    gy_metric_add(out, name, value, chance, "");
}

gy_status gy_artifactgen_evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    lab *d = j->data;
    static const source shown[] = {BY_DIFFUSION, BY_GENERATOR, BY_NOISE};
    static const char *const who[] = {"diffusion", "gan", "noise"};
    gy_status s = gy_artifactgen_ceiling(j, &d->ceiling);
    if (s == GY_OK) gy_metric_add(out, "real.recovery", d->ceiling, 1.0 / (double)d->classes, "accuracy");
    for (int i = 0; s == GY_OK && i < 3; i++) {
        verdict *v = &d->found[shown[i]];
        s = appraise(j, i ? shown[i] : diffusion_of(j), c->guidance, v);
        if (s != GY_OK) break;
        add(out, who[i], "recovery", v->recovery, 1.0 / (double)d->classes);
        add(out, who[i], "band_error", v->band, NAN);
        add(out, who[i], "gamma_error", v->bands[BANDS - 1], NAN);
        add(out, who[i], "mmd2", v->mmd, NAN);
        add(out, who[i], "covariance_error", v->covariance, NAN);
        add(out, who[i], "diversity", v->diversity, NAN);
    }
    return s;
}

/* ---- the claim ---- */

/* Calibration, seeds 0 and 2, 150 windows a source:
 *                        diffusion        GAN              noise            published sampler
 *     recovery           0.94  0.95       0.80  0.78       0.37  0.39       0.21  0.20
 *     band error         0.63  0.69       1.13  1.03       4.34  4.33       3.51  3.47
 *     gamma error        0.64  0.64       2.34  1.67       13.1  13.4       9.98  9.87
 *     MMD^2              0.003 0.008      0.031 0.019      0.108 0.108
 * Guidance 0 and 3: recovery 0.22 to 0.99 and 0.25 to 0.97, diversity 1.82 to 1.15 and 2.23 to 1.10. Band errors are
 * gated half-way to the published sampler's and to noise's; the GAN's MMD^2 between its own and noise's. */
gy_status gy_artifactgen_claim(gy_job *j, gy_claim *out) {
    verdict none, strong, faulty;
    lab *d;
    gy_metrics *m = &out->details;
    gy_status s = gy_job_open(j);
    if (s == GY_OK) s = gy_job_train(j);
    if (s == GY_OK) s = gy_artifactgen_evaluate(j, m);
    if (s == GY_OK) s = appraise(j, BY_DIFFUSION, 0, &none);
    if (s == GY_OK) s = appraise(j, BY_DIFFUSION, 3, &strong);
    if (s == GY_OK) s = appraise(j, BY_RELEASED_SAMPLER, 1, &faulty);
    if (s != GY_OK) return s;
    d = j->data;
    const verdict *diffusion = &d->found[BY_DIFFUSION], *gan = &d->found[BY_GENERATOR], *noise = &d->found[BY_NOISE];
    double gamma = diffusion->bands[BANDS - 1];
    add(m, "w=0", "recovery", none.recovery, NAN);
    add(m, "w=0", "diversity", none.diversity, NAN);
    add(m, "w=3", "recovery", strong.recovery, NAN);
    add(m, "w=3", "diversity", strong.diversity, NAN);
    add(m, "published sampler", "recovery", faulty.recovery, NAN);
    add(m, "published sampler", "band_error", faulty.band, NAN);
    add(m, "published sampler", "gamma_error", faulty.bands[BANDS - 1], NAN);
    out->metric = "share of diffusion's windows that a network trained on real ones takes for the class asked for";
    out->value = diffusion->recovery;
    out->baseline = noise->recovery;
    out->threshold = 0.85;
    out->chance = 1.0 / (double)d->classes;
    out->pass = d->ceiling >= 0.97 && diffusion->recovery >= 0.85 && gan->recovery >= 0.60 && diffusion->band <= 2 &&
                gan->band <= 2.5 && noise->band >= 3 && diffusion->mmd <= 0.25 * noise->mmd &&
                gan->mmd <= 0.6 * noise->mmd && strong.recovery > none.recovery && strong.diversity < none.diversity &&
                faulty.bands[BANDS - 1] >= 5 * gamma;
    return GY_OK;
}

/* ---- pictures: one line a channel ---- */

enum { ROW = 20 }; /* pixels a channel */

/* x [length, channels] in deviations, to a picture [channels ROW, length] of black lines on white. */
static void trace(const config *c, int64_t length, const float *x, float *picture) {
    int64_t ch = c->channels;
    double scale = c->range > 0 ? c->range : 8;
    for (int64_t i = 0; i < ch * ROW * length; i++) picture[i] = 1;
    for (int64_t a = 0; a < ch; a++)
        for (int64_t i = 0, last = -1; i < length; i++) {
            double v = fmin(fmax(x[i * ch + a] / scale, -1), 1);
            int64_t y = (int64_t)((0.5 - 0.5 * v) * (ROW - 1) + 0.5), from = last < 0 ? y : last;
            for (int64_t k = from < y ? from : y; k <= (from > y ? from : y); k++)
                picture[(a * ROW + k) * length + i] = 0;
            last = y;
        }
}

gy_status gy_artifactgen_sample(gy_job *j, int64_t n, gy_tensor *out) {
    const config *c = j->cfg;
    int64_t each = c->length * c->channels;
    gy_status s = gy_tensor_new(j->ctx, out, GY_F32, GY_S(n, c->channels * ROW, c->length, 1));
    if (s != GY_OK) return s;
    float *x = gy_calloc(j->ctx, (size_t)n, (size_t)each * sizeof *x);
    int64_t *label = gy_calloc(j->ctx, (size_t)n, sizeof *label);
    if (!x || !label) s = GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n; i++) label[i] = i % c->classes;
    if (s == GY_OK) s = gy_artifactgen_draw(j, BY_DIFFUSION, c->guidance, n, label, j->seed, x);
    for (int64_t i = 0; s == GY_OK && i < n; i++)
        trace(c, c->length, x + i * each, (float *)out->data + i * each * ROW);
    gy_free(j->ctx, x);
    gy_free(j->ctx, label);
    if (s != GY_OK) gy_tensor_free(j->ctx, out);
    return s;
}

/* ---- the report ---- */

enum { MOST = 3 * MAX_CLASSES };

/* Real, diffused and adversarial windows of each class, side by side. */
static gy_status show_windows(gy_job *j, gy_report *report) {
    const config *c = j->cfg;
    const lab *d = j->data;
    int64_t each = c->length * c->channels, size = each * ROW, label[MAX_CLASSES];
    static const char *const kind[3] = {"real", "diffusion", "GAN"};
    char text[MOST][64], command[96];
    const char *names[MOST];
    gy_image image[MOST];
    gy_status s = GY_OK;
    float *x = gy_calloc(j->ctx, MAX_CLASSES, (size_t)each * sizeof *x);
    float *picture = gy_calloc(j->ctx, (size_t)size, sizeof *picture);
    uint8_t *pixels = gy_calloc(j->ctx, MOST, (size_t)size);
    if (!x || !picture || !pixels) s = GY_ERR_NOMEM;
    for (int64_t i = 0; i < d->classes; i++) label[i] = i;
    for (int64_t k = 0; s == GY_OK && k < 3; k++) {
        int64_t length = k == 2 ? c->gan_length : c->length;
        if (k)
            s = gy_artifactgen_draw(j, k == 1 ? BY_DIFFUSION : BY_GENERATOR, c->guidance, d->classes, label, j->seed,
                                    x);
        for (int64_t i = 0; s == GY_OK && i < d->classes; i++) {
            int64_t at = 3 * i + k, row = 0;
            while (row + 1 < d->test.n && d->test.label[row] != i) row++;
            trace(c, length, k ? x + i * length * c->channels : d->test.x + row * each, picture);
            image[at] = (gy_image){length, c->channels * ROW, 1, 8, pixels + at * size};
            for (int64_t p = 0; p < length * c->channels * ROW; p++) image[at].pixels[p] = picture[p] > 0.5f ? 255 : 0;
            snprintf(text[at], sizeof text[at], "%s: %s", d->name[i], kind[k]);
            names[at] = text[at];
        }
    }
    snprintf(command, sizeof command, "gyrus train artifactgen --seed %" PRIu64, j->seed);
    gy_pictures figure = {.head = {.title = "One window of each class: real, diffused, adversarial",
                                   .caption = "A line a channel, time to the right. The middle and right pictures "
                                              "are made from noise and a class alone.",
                                   .alt = "rows of three small pictures of EEG traces, one row a class",
                                   .command = command,
                                   .n = 3 * d->classes,
                                   .n_of = "windows",
                                   .chance = gy_no_chance(),
                                   .side = GY_SIDE_NONE},
                          .value = {.label = "trace", .unit = GY_NO_UNIT},
                          .images = image,
                          .names = names,
                          .n_images = 3 * d->classes,
                          .columns = 3};
    gy_figure f;
    if (s == GY_OK) s = gy_figure_pictures(j->ctx, &figure, &f);
    if (s == GY_OK) {
        s = gy_report_figure(report, "windows", &f);
        gy_figure_free(j->ctx, &f);
    }
    gy_free(j->ctx, x);
    gy_free(j->ctx, picture);
    gy_free(j->ctx, pixels);
    return s;
}

static gy_status show_bands(gy_job *j, gy_report *report) {
    const lab *d = j->data;
    static const source rows[3] = {BY_DIFFUSION, BY_GENERATOR, BY_NOISE};
    enum { COLUMNS = BANDS + 4 };
    const char *columns[COLUMNS] = {"windows by"}, *cells[3 * COLUMNS];
    char text[3 * COLUMNS][32], command[96];
    for (int b = 0; b < BANDS; b++) columns[1 + b] = gy_artifactgen_bands[b];
    columns[BANDS + 1] = "MMD\u00b2";
    columns[BANDS + 2] = "covariance";
    columns[BANDS + 3] = "diversity";
    for (int i = 0; i < 3; i++) {
        const verdict *v = &d->found[rows[i]];
        double value[COLUMNS - 1];
        memcpy(value, v->bands, sizeof v->bands);
        value[BANDS] = v->mmd;
        value[BANDS + 1] = v->covariance;
        value[BANDS + 2] = v->diversity;
        for (int k = 0; k < COLUMNS; k++) {
            if (k)
                snprintf(text[i * COLUMNS + k], 32, "%.3f", value[k - 1]);
            else
                snprintf(text[i * COLUMNS], 32, "%s", source_names[rows[i]]);
            cells[i * COLUMNS + k] = text[i * COLUMNS + k];
        }
    }
    snprintf(command, sizeof command, "gyrus train artifactgen --seed %" PRIu64, j->seed);
    gy_report_rows table = {.caption = "Error of the power in each band, relative to real windows (0 is perfect, 1 is "
                                       "as wrong as silence), mean over classes; distance of the distributions; "
                                       "relative error of the channels' covariance; spread within a class, real "
                                       "windows' being 1.",
                            .command = command,
                            .columns = columns,
                            .cells = cells,
                            .n_columns = COLUMNS,
                            .n_rows = 3};
    return gy_report_table(report, "bands", &table);
}

gy_status gy_artifactgen_panels(gy_job *j, void *report) {
    const config *c = j->cfg;
    const lab *d = j->data;
    gy_panel found = {.panel = "recovery",
                      .title = "Is it the artifact that was asked for?",
                      .caption = "A network that learned the classes on real windows names the class of made ones. "
                                 "The first bar is what it reaches on real windows it has not seen; noise has the "
                                 "right channel variances and nothing else.",
                      .alt = "Bars: share of windows whose class is recognised",
                      .label = "class recovered",
                      .unit = "share",
                      .hi = 1,
                      .n = c->samples,
                      .n_of = "windows of each kind",
                      .chance = 1.0 / (double)d->classes};
    gy_report_plan(report, "windows", "real and made windows of each class");
    gy_report_plan(report, "recovery", "whether made windows show the artifact that was asked for");
    gy_report_plan(report, "bands", "how far spectra, distributions and covariances are from real ones");
    gy_report_section(report, "Two generators, one ruler");
    gy_status s = show_windows(j, report);
    if (s == GY_OK)
        s = gy_panel_bars(j, report, &found, 4, (const char *[]){"real", "diffusion", "GAN", "noise"},
                          (double[]){d->ceiling, d->found[BY_DIFFUSION].recovery, d->found[BY_GENERATOR].recovery,
                                     d->found[BY_NOISE].recovery});
    if (s == GY_OK) s = show_bands(j, report);
    gy_report_term(report, "gradient penalty",
                   "what keeps the GAN's critic from growing without bound: its slope is pulled towards one");
    gy_report_term(report, "guidance",
                   "pushing each denoising step from what fits any class towards what fits this one");
    return s;
}
