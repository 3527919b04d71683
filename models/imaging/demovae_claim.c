/* DemoVAE, third part: what is measured and claimed, the samples and the report. */
#include "demovae.h"
#include "../blocks/measures.h"
#include "../blocks/panels.h"
#include "../../core/linalg/classical.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- latents and generated subjects ---- */

/* Latents [n + tests, latent] of all subjects, and the reconstruction's rmse on the held-out ones. */
static gy_status latents(gy_job *j, float *z, double *error) {
    const lab *d = j->data;
    gy_compiled run;
    int64_t all = d->n + d->tests;
    gy_status s = gy_job_compile(j, all, NULL, 0, &run);
    if (s != GY_OK) return s;
    memcpy(gy_plan_input(run.plan, "x"), d->x, (size_t)(all * d->d) * sizeof *d->x);
    memcpy(gy_plan_input(run.plan, "demographics"), d->demo, (size_t)(all * d->q) * sizeof *d->demo);
    s = gy_plan_run(run.plan);
    if (s == GY_OK) {
        gy_tensor t = gy_plan_output(run.plan, "latents"), y = gy_plan_output(run.plan, "reconstruction");
        const float *made = y.data;
        memcpy(z, t.data, gy_tensor_bytes(&t));
        double sum = 0;
        for (int64_t i = d->n * d->d; i < all * d->d; i++) sum += pow((double)made[i] - d->x[i], 2);
        *error = sqrt(sum / (double)(d->tests * d->d));
    }
    gy_compiled_free(&run);
    return s;
}

gy_status gy_demovae_generate(gy_job *j, int64_t n, const float *demo, const char *stream, float *x) {
    const config *c = j->cfg;
    column col[MAX_COLUMNS];
    int64_t q = gy_demovae_columns(c->columns, col);
    gy_compiled run;
    gy_hook hook = {"z", GY_HOOK_REPLACE, 0};
    gy_rng r;
    gy_status s = gy_job_compile(j, n, &hook, 1, &run);
    if (s != GY_OK) return s;
    gy_rng_init(&r, j->seed, stream);
    float *z = gy_plan_input(run.plan, "hook:z");
    for (int64_t i = 0; i < n * c->latent; i++) z[i] = (float)gy_rng_normal(&r);
    float *told = gy_plan_input(run.plan, "demographics");
    if (told) memcpy(told, demo, (size_t)(n * q) * sizeof *demo);
    s = gy_plan_run(run.plan);
    gy_tensor y = gy_plan_output(run.plan, "reconstruction");
    if (s == GY_OK) memcpy(x, y.data, gy_tensor_bytes(&y));
    gy_compiled_free(&run);
    return s;
}

/* The first row of a subject of category k among the columns; -1: there is no group. */
static int64_t first_group(const lab *d) {
    for (int64_t k = 0; k < d->q; k++)
        if (d->col[k].of) return k;
    return -1;
}

/* ---- metrics ---- */

/* Held-out correlation of field f with its ridge prediction from v [n + tests, p], fitted on training subjects. */
static gy_status predicted(gy_job *j, const float *v, int64_t p, int64_t f, double *r) {
    const lab *d = j->data;
    int64_t n = d->n, all = n + d->tests;
    const float *y = d->field + f * all;
    double alpha = 1, b, *x = gy_malloc(j->ctx, (size_t)(n * p + n + p) * sizeof *x);
    float *guess = gy_calloc(j->ctx, (size_t)d->tests, sizeof *guess);
    gy_status s = x && guess ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK) {
        double *target = x + n * p, *w = target + n;
        for (int64_t i = 0; i < n * p; i++) x[i] = v[i];
        for (int64_t i = 0; i < n; i++) target[i] = y[i];
        gy_ridge_args a = {
            .n = n, .p = p, .t = 1, .x = x, .ldx = p, .y = target, .ldy = 1, .alpha = &alpha, .n_alphas = 1};
        s = gy_la_ridge_fit(j->ctx, &a, w, &b);
        for (int64_t i = 0; s == GY_OK && i < d->tests; i++) {
            double sum = b;
            for (int64_t k = 0; k < p; k++) sum += w[k] * v[(n + i) * p + k];
            guess[i] = (float)sum;
        }
        if (s == GY_OK) *r = gy_pearson(guess, y + n, d->tests, 1);
    }
    gy_free(j->ctx, x);
    gy_free(j->ctx, guess);
    return s;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median over features of the variance of a [n, d] over that of b [m, d]. */
static gy_status variance_ratio(gy_job *j, const float *a, int64_t n, const float *b, int64_t m, double *median) {
    const lab *d = j->data;
    double *ratio = gy_malloc(j->ctx, (size_t)d->d * sizeof *ratio);
    if (!ratio) return GY_ERR_NOMEM;
    for (int64_t e = 0; e < d->d; e++) {
        double v[2] = {0};
        for (int k = 0; k < 2; k++) {
            const float *x = k ? b : a;
            int64_t rows = k ? m : n;
            double mean = 0;
            for (int64_t i = 0; i < rows; i++) mean += x[i * d->d + e] / (double)rows;
            for (int64_t i = 0; i < rows; i++) v[k] += pow(x[i * d->d + e] - mean, 2) / (double)rows;
        }
        ratio[e] = v[1] > 0 ? v[0] / v[1] : NAN;
    }
    qsort(ratio, (size_t)d->d, sizeof *ratio, rising);
    *median = ratio[d->d / 2];
    gy_free(j->ctx, ratio);
    return GY_OK;
}

/* out [d]: mean of rows whose column k + 1 is set, minus that of rows whose column k is set. */
static void group_difference(const lab *d, const float *x, const float *demo, int64_t n, int64_t k, double *out) {
    double count[2] = {0};
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < 2; c++) count[c] += demo[i * d->q + k + c] > 0;
    memset(out, 0, (size_t)d->d * sizeof *out);
    for (int64_t i = 0; i < n; i++)
        for (int c = 0; c < 2; c++)
            if (demo[i * d->q + k + c] > 0)
                for (int64_t e = 0; e < d->d; e++) out[e] += (c ? 1 : -1) * (double)x[i * d->d + e] / count[c];
}

/* As many subjects as are held out, with their demographics but latents of N(0, I): do they vary, and do their groups
 * differ, as the real ones do? */
static gy_status generated(gy_job *j, gy_metrics *out) {
    lab *d = j->data;
    int64_t group = first_group(d), repeat = 4, n = repeat * d->tests;
    float *x = gy_malloc(j->ctx, (size_t)(n * (d->d + d->q)) * sizeof *x), *demo = x ? x + n * d->d : NULL;
    double ratio = NAN;
    if (!x) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++)
        memcpy(demo + i * d->q, d->demo + (d->n + i % d->tests) * d->q, (size_t)d->q * sizeof *demo);
    gy_status s = gy_demovae_generate(j, n, demo, "generated", x);
    if (s == GY_OK) s = variance_ratio(j, x, n, d->x + d->n * d->d, d->tests, &ratio);
    gy_metric_add(out, "variance_ratio", ratio, NAN, "");
    if (s == GY_OK && group >= 0) {
        group_difference(d, x, demo, n, group, d->made);
        group_difference(d, d->x, d->demo, d->n + d->tests, group, d->real);
        float *pair = x; /* the generated rows are done with: [2, d] */
        for (int64_t e = 0; e < d->d; e++) {
            pair[e] = (float)d->made[e];
            pair[d->d + e] = d->difference ? d->difference[e] : (float)d->real[e];
        }
        gy_metric_add(out, "group_difference_r", gy_pearson(pair, pair + d->d, d->d, 1), 0, "r");
    }
    gy_free(j->ctx, x);
    return s;
}

gy_status gy_demovae_evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    lab *d = j->data;
    int64_t all = d->n + d->tests;
    char name[64];
    float *z = gy_malloc(j->ctx, (size_t)(all * c->latent) * sizeof *z);
    double error = 0, most = 0;
    gy_status s = z ? latents(j, z, &error) : GY_ERR_NOMEM;
    gy_metric_add(out, "rmse", error, NAN, "");
    for (int64_t f = 0; s == GY_OK && f < d->fields; f++) {
        s = predicted(j, d->x, d->d, f, &d->raw[f]);
        if (s == GY_OK) s = predicted(j, z, c->latent, f, &d->latent[f]);
        if (out->n + 2 > GY_MAX_METRICS - 3) continue; /* all of them are in the report */
        snprintf(name, sizeof name, "r.raw.%s", d->field_name[f]);
        gy_metric_add(out, name, d->raw[f], 0, "r");
        snprintf(name, sizeof name, "r.latent.%s", d->field_name[f]);
        gy_metric_add(out, name, d->latent[f], 0, "r");
    }
    for (int64_t k = 0; s == GY_OK && k < c->latent; k++) /* |r| of any latent with any demographic column, held out */
        for (int64_t e = 0; e < d->q; e++) {
            float pair[2][4096];
            int64_t n = d->tests < 4096 ? d->tests : 4096;
            for (int64_t i = 0; i < n; i++) {
                pair[0][i] = z[(d->n + i) * c->latent + k];
                pair[1][i] = d->demo[(d->n + i) * d->q + e];
            }
            most = fmax(most, fabs(gy_pearson(pair[0], pair[1], n, 1)));
        }
    if (s == GY_OK) gy_metric_add(out, "largest_latent_r", most, 0, "r");
    gy_free(j->ctx, z);
    if (s == GY_OK) s = generated(j, out);
    d->measured = s == GY_OK;
    return s;
}

/* ---- the claim ---- */

static gy_status condition(const gy_job *j, const char *ablate, gy_metrics *m) {
    gy_job k;
    gy_status s = gy_job_init(&k, j->ctx, j->def, j->config_name, NULL, 0);
    if (s != GY_OK) return s;
    memcpy(k.cfg, j->cfg, sizeof(config));
    k.seed = j->seed;
    k.ablate = ablate;
    s = gy_job_open(&k);
    if (s == GY_OK) s = gy_job_train(&k);
    if (s == GY_OK) s = gy_demovae_evaluate(&k, m);
    gy_job_free(&k);
    return s;
}

/* Seeds 0 to 4, held out: |r| of age from latents 0.129, 0.063, 0.062, 0.042, 0.057; of the confounded phenotype 0.064,
 * 0.111, 0.020, 0.051, 0.041; r of the genuine one 0.798, 0.789, 0.745, 0.799, 0.797; group differences of seeds 0, 1,
 * 3 and 4 at r 0.974, 0.978, 0.984, 0.973, variance ratio 0.997, 0.934, 0.970, 0.964. Broken: `decorrelation` (which is
 * the plain autoencoder) on seeds 0 to 2: age 0.994, 0.995, 0.993, confounded 0.773, 0.835, 0.789; `moments` on seeds 0
 * to 2: group differences 0.735, 0.794, 0.759, variance ratio 5.07, 4.90, 4.51. */
static const double FREE = 0.20, KEPT = 0.65, FOLLOWS = 0.90, GROUPS = 0.90, LEAST = 0.85, MOST = 1.15;

gy_status gy_demovae_claim(gy_job *j, gy_claim *out) {
    static const char *const told[] = {"r.latent.age",     "r.latent.confounded", "r.latent.genuine",
                                       "largest_latent_r", "group_difference_r",  "variance_ratio"};
    gy_metrics m = {0}, plain = {0};
    gy_status s = condition(j, j->ablate, &m);
    if (s == GY_OK) s = condition(j, "decorrelation", &plain);
    if (s != GY_OK) return s;
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        gy_metric_add(&out->details, told[i], gy_metric_get(&m, told[i]), NAN, "");
    gy_metric_add(&out->details, "plain r.latent.age", gy_metric_get(&plain, "r.latent.age"), NAN, "");
    gy_metric_add(&out->details, "plain r.latent.genuine", gy_metric_get(&plain, "r.latent.genuine"), NAN, "");
    double age = fabs(gy_metric_get(&m, "r.latent.age")), confound = fabs(gy_metric_get(&m, "r.latent.confounded"));
    double ratio = gy_metric_get(&m, "variance_ratio");
    out->metric = "held-out |r| of a phenotype that only follows age, predicted from latents";
    out->value = confound;
    out->baseline = gy_metric_get(&plain, "r.latent.confounded");
    out->threshold = FREE;
    out->chance = 0;
    out->pass = age <= FREE && confound <= FREE && gy_metric_get(&m, "r.latent.genuine") >= KEPT &&
                gy_metric_get(&plain, "r.latent.age") >= FOLLOWS && gy_metric_get(&m, "group_difference_r") >= GROUPS &&
                ratio >= LEAST && ratio <= MOST;
    return GY_OK;
}

/* ---- samples: connectivity matrices ---- */

/* The number of regions R with R (R - 1) / 2 = d; 0: d is no such number. */
static int64_t regions_of(int64_t d) {
    int64_t r = (int64_t)(0.5 + sqrt(0.25 + 2 * (double)d) + 0.5);
    return r * (r - 1) / 2 == d ? r : 0;
}

/* Upper triangle -> symmetric matrix with ones on its diagonal */
static void matrix_of(const float *x, int64_t regions, double diagonal, double *out) {
    int64_t at = 0;
    for (int64_t i = 0; i < regions; i++) {
        out[i * regions + i] = diagonal;
        for (int64_t k = i + 1; k < regions; k++) out[i * regions + k] = out[k * regions + i] = x[at++];
    }
}

/* New subjects of mean age, of each category in turn, as grey pictures of correlations from -1 (black) to 1. */
gy_status gy_demovae_sample(gy_job *j, int64_t n, gy_tensor *out) {
    const config *c = j->cfg;
    column col[MAX_COLUMNS];
    int64_t regions = regions_of(c->features), q = gy_demovae_columns(c->columns, col);
    if (!regions)
        return gy_fail(j->ctx, GY_ERR_USAGE,
                       "demovae: %" PRId64 " features are no upper triangle of a matrix, so there is nothing to draw",
                       c->features);
    float *x = gy_malloc(j->ctx, (size_t)(n * c->features) * sizeof *x), *demo = gy_calloc(j->ctx, (size_t)(n * q), 4);
    double *full = gy_malloc(j->ctx, (size_t)(regions * regions) * sizeof *full);
    gy_status s = x && demo && full ? gy_tensor_new(j->ctx, out, GY_F32, GY_S(n, regions, regions, 1)) : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n; i++)
        for (int64_t k = 0; k < q; k++)
            if (col[k].of) demo[i * q + k] = k - col[k].first == i % col[k].of;
    if (s == GY_OK) s = gy_demovae_generate(j, n, demo, "sample", x);
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        float *picture = (float *)out->data + i * regions * regions;
        matrix_of(x + i * c->features, regions, 1, full);
        for (int64_t k = 0; k < regions * regions; k++) picture[k] = (float)fmin(fmax(0.5 * full[k] + 0.5, 0), 1);
    }
    gy_free(j->ctx, x);
    gy_free(j->ctx, demo);
    gy_free(j->ctx, full);
    return s;
}

/* ---- the report ---- */

static gy_status table(gy_job *j, gy_report *report) {
    const lab *d = j->data;
    static const char *const columns[] = {"field", "from connectivity", "from latents"};
    char text[MAX_FIELDS][2][16], command[160];
    const char *cells[3 * MAX_FIELDS];
    for (int64_t f = 0; f < d->fields; f++) {
        snprintf(text[f][0], sizeof text[f][0], "%.3f", d->raw[f]);
        snprintf(text[f][1], sizeof text[f][1], "%.3f", d->latent[f]);
        cells[3 * f] = d->field_name[f];
        cells[3 * f + 1] = text[f][0];
        cells[3 * f + 2] = text[f][1];
    }
    snprintf(command, sizeof command, "gyrus train demovae --config %s --seed %" PRIu64, j->config_name, j->seed);
    gy_report_rows rows = {.caption = "Held-out correlation of each field with its ridge prediction (r; guessing: 0).",
                           .command = command,
                           .columns = columns,
                           .cells = cells,
                           .n_columns = 3,
                           .n_rows = d->fields};
    return gy_report_table(report, "fields", &rows);
}

static gy_status differences(gy_job *j, gy_report *report) {
    const lab *d = j->data;
    char command[160];
    gy_figure f;
    snprintf(command, sizeof command, "gyrus train demovae --config %s --seed %" PRIu64, j->config_name, j->seed);
    gy_series series = {.name = "connections", .n = d->d, .x = d->real, .y = d->made};
    gy_scatter chart = {.head = {.title = "How two groups differ, in the data and in generated subjects",
                                 .caption = "A point a connection: the difference between the means of the first "
                                            "group's two categories. On the line, generated subjects differ as real "
                                            "ones do.",
                                 .alt = "Scatter of generated against real group differences",
                                 .command = command,
                                 .n = d->d,
                                 .n_of = "connections",
                                 .chance = gy_no_chance(),
                                 .side = GY_SIDE_NONE},
                        .x = {.label = "difference in the data", .unit = "correlation"},
                        .y = {.label = "difference when generated", .unit = "correlation"},
                        .series = &series,
                        .n_series = 1,
                        .identity = true};
    gy_status s = gy_figure_scatter(j->ctx, &chart, &f);
    if (s != GY_OK) return s;
    s = gy_report_figure(report, "groups", &f);
    gy_figure_free(j->ctx, &f);
    return s;
}

gy_status gy_demovae_panels(gy_job *j, void *report) {
    const lab *d = j->data;
    gy_report_plan(report, "fields", "what can be predicted from connectivity, and from latents");
    gy_report_plan(report, "groups", "whether generated groups differ as real ones do");
    if (!d->measured) return GY_OK;
    gy_report_text(report, "Latents are trained to have no correlation with age, sex and the like; the decoder is told "
                           "these instead. What a latent still predicts is not explained by them.");
    gy_status s = table(j, report);
    if (s == GY_OK)
        s = first_group(d) >= 0 ? differences(j, report)
                                : gy_report_explain(report, "groups", "the demographics hold no groups");
    gy_report_term(report, "functional connectivity", "the correlations between the activities of pairs of regions");
    gy_report_term(report, "confound", "something that moves both what is predicted and what it is predicted from");
    return s;
}
