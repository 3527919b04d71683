/* MindBridge, third part: what is measured and claimed. Identification of the seen picture among 50, responses of one
 * brain made from another's (eq. (9)), one model against one model each, and a newcomer reset-tuned against a newcomer
 * alone; then the charts of the report. The model is in mindbridge.c. */
#include "mindbridge.h"
#include "../blocks/measures.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { POOL_50 = 50, DRAWS = 20 };

/* ---- metrics ---- */

/* Runs the inference graph over n rows and copies its output or inner value `name`. x: responses [n, voxels of
 * `subject`], or, with `pooled`, pooled responses [n, P] that take the place of what the graph pools itself. */
static gy_status infer(gy_job *j, int64_t subject, int64_t synthesise, bool pooled, int64_t n, const float *x,
                       const char *name, float *out) {
    config c = *(const config *)j->cfg;
    gy_job view = *j;
    gy_compiled run;
    gy_hook hooks[] = {{name, GY_HOOK_READ, 0}, {"pooled", GY_HOOK_REPLACE, 0}};
    snprintf(c.subject, sizeof c.subject, "%" PRId64, gy_mindbridge_cohort(j)->member[subject].id);
    c.synthesise[0] = 0;
    if (synthesise >= 0)
        snprintf(c.synthesise, sizeof c.synthesise, "%" PRId64, gy_mindbridge_cohort(j)->member[synthesise].id);
    view.cfg = &c;
    gy_status s = gy_job_compile(&view, n, hooks, pooled ? 2 : 1, &run);
    if (s != GY_OK) return s;
    int64_t width = pooled ? c.pooled : gy_mindbridge_cohort(j)->member[subject].voxels;
    memcpy(gy_plan_input(run.plan, pooled ? "hook:pooled" : "voxels"), x, (size_t)(n * width) * sizeof *x);
    s = gy_plan_run(run.plan);
    gy_tensor y = gy_plan_output(run.plan, name);
    if (s == GY_OK) memcpy(out, y.data, gy_tensor_bytes(&y));
    gy_compiled_free(&run);
    return s;
}

/* What `subject` answers to the test stimuli, pooled trial by trial and then averaged over the repeats: x [tests, P].
 * (Averaging first would make the largest of a window smaller than in training.) */
static gy_status pooled_tests(gy_job *j, int64_t subject, float *x) {
    const config *c = j->cfg;
    int64_t each = REPEATS * c->pooled;
    float *trial = gy_calloc(j->ctx, (size_t)c->tests, (size_t)each * sizeof *trial);
    if (!trial) return GY_ERR_NOMEM;
    gy_status s = infer(j, subject, -1, false, c->tests * REPEATS, gy_mindbridge_cohort(j)->member[subject].seen,
                        "pooled", trial);
    for (int64_t i = 0; s == GY_OK && i < c->tests * c->pooled; i++) {
        const float *first = trial + i / c->pooled * each + i % c->pooled;
        double sum = 0;
        for (int64_t r = 0; r < REPEATS; r++) sum += first[r * c->pooled];
        x[i] = (float)(sum / REPEATS);
    }
    gy_free(j->ctx, trial);
    return s;
}

/* Top-1 of 50 by the image embedding of pooled responses x [tests, P], read as `subject`'s. */
static gy_status identify(gy_job *j, int64_t subject, const float *x, double *top1) {
    const config *c = j->cfg;
    float *predicted = gy_calloc(j->ctx, (size_t)(2 * c->tests), (size_t)c->image * sizeof *predicted);
    if (!predicted) return GY_ERR_NOMEM;
    float *target = predicted + c->tests * c->image;
    for (int64_t i = 0; i < c->tests; i++)
        gy_mindbridge_repeat(target + i * c->image, gy_mindbridge_cohort(j)->test.clip_image + i * GY_WORLD_SEMANTIC,
                             c->image);
    gy_status s = infer(j, subject, -1, true, c->tests, x, "image_embedding", predicted);
    if (s == GY_OK)
        *top1 = gy_retrieval_top1(j->ctx, predicted, target, c->tests, c->image, POOL_50, DRAWS, (uint64_t)c->world);
    gy_free(j->ctx, predicted);
    return s;
}

gy_status gy_mindbridge_seen(gy_job *j, int64_t subject, float *e) {
    const config *c = j->cfg;
    int64_t parts = c->image / GY_WORLD_SEMANTIC;
    float *x = gy_calloc(j->ctx, (size_t)c->tests, (size_t)(c->pooled + c->image) * sizeof *x);
    if (!x) return GY_ERR_NOMEM;
    float *y = x + c->tests * c->pooled;
    gy_status s = pooled_tests(j, subject, x);
    if (s == GY_OK) s = infer(j, subject, -1, true, c->tests, x, "image_embedding", y);
    for (int64_t i = 0; s == GY_OK && i < c->tests * GY_WORLD_SEMANTIC; i++) {
        const float *row = y + i / GY_WORLD_SEMANTIC * c->image + i % GY_WORLD_SEMANTIC;
        double sum = 0;
        for (int64_t k = 0; k < parts; k++) sum += (double)row[k * GY_WORLD_SEMANTIC];
        e[i] = (float)(sum / (double)parts);
    }
    gy_free(j->ctx, x);
    return s;
}

static gy_status retrieval(gy_job *j, int64_t subject, double *top1) {
    const config *c = j->cfg;
    float *x = gy_calloc(j->ctx, (size_t)c->tests, (size_t)c->pooled * sizeof *x);
    if (!x) return GY_ERR_NOMEM;
    gy_status s = pooled_tests(j, subject, x);
    if (s == GY_OK) s = identify(j, subject, x, top1);
    gy_free(j->ctx, x);
    return s;
}

/* Eq. (9) on new stimuli: B_b(E_a(y_a)) against b's pooled response without noise: r [pooled], and its mean; and top-1
 * of 50 when b's own embedder reads what was synthesised. */
static gy_status synthesis(gy_job *j, int64_t a, int64_t b, float *r, double *mean, double *read) {
    const config *c = j->cfg;
    const gy_cohort *all = gy_mindbridge_cohort(j);
    int64_t v = all->member[b].voxels, size = c->tests * c->pooled;
    float *x = gy_calloc(j->ctx, (size_t)c->tests, (size_t)(3 * c->pooled + v) * sizeof *x);
    if (!x) return GY_ERR_NOMEM;
    float *made = x + size, *truth = made + size, *signal = truth + size;
    for (int64_t i = 0; i < c->tests; i++) gy_synthbrain_signal(&all->member[b].brain, &all->test, i, signal + i * v);
    gy_status s = pooled_tests(j, a, x);
    if (s == GY_OK) s = infer(j, a, b, true, c->tests, x, "synthesised_voxels", made);
    if (s == GY_OK) s = identify(j, b, made, read);
    if (s == GY_OK) s = infer(j, b, -1, false, c->tests, signal, "pooled", truth);
    *mean = 0;
    for (int64_t p = 0; s == GY_OK && p < c->pooled; p++) {
        r[p] = (float)gy_pearson(made + p, truth + p, c->tests, c->pooled);
        *mean += r[p] / (double)c->pooled;
    }
    gy_free(j->ctx, x);
    return s;
}

/* ---- jobs of their own: the claim's conditions ---- */

/* A fresh job with configuration `c`, opened; free with gy_job_free. */
static gy_status sub_job(const gy_job *j, const config *c, uint64_t seed, gy_job *out) {
    gy_status s = gy_job_init(out, j->ctx, j->def, j->config_name, NULL, 0);
    if (s != GY_OK) return s;
    memcpy(out->cfg, c, sizeof *c);
    out->seed = seed;
    out->ablate = j->ablate;
    return gy_job_open(out);
}

/* Subject k of the roster alone, with n trials: what MindBridge is compared with. */
static gy_status alone(const gy_job *j, const config *base, int64_t k, int64_t trials, int64_t steps, double lr,
                       uint64_t seed, double *top1) {
    roster r = gy_mindbridge_who(base);
    config c = *base;
    gy_job one;
    snprintf(c.subjects, sizeof c.subjects, "%" PRId64, r.id[k]);
    snprintf(c.voxels, sizeof c.voxels, "%" PRId64, r.size[k]);
    c.newcomer_size = 0;
    c.trials = c.adapt_trials = trials;
    c.steps = steps;
    c.lr = lr;
    gy_status s = sub_job(j, &c, seed, &one);
    if (s == GY_OK) s = gy_job_train(&one);
    if (s == GY_OK) s = retrieval(&one, 0, top1);
    gy_job_free(&one);
    return s;
}

/* Reset-tuning of the newcomer on `trials` trials, from the parameters of `trained`. */
static gy_status adapted(const gy_job *j, const gy_job *trained, const config *base, int64_t trials, uint64_t seed,
                         const char *ablate, double *top1) {
    config c = *base;
    gy_job k;
    c.adapt_trials = trials;
    gy_status s = sub_job(j, &c, seed, &k);
    k.ablate = ablate;
    for (int64_t i = 0; s == GY_OK && i < gy_store_count(trained->store); i++) {
        const gy_state *from = gy_store_at(trained->store, i);
        if (from->kind != GY_PARAM) continue;
        gy_state *to =
            gy_state_get(k.store, from->name, GY_PARAM, from->value.dtype, from->value.shape, (gy_init){0}, 0);
        if (!to) s = gy_error_status(j->ctx);
        if (!to) continue;
        memcpy(to->value.data, from->value.data, gy_tensor_bytes(&from->value));
        gy_state_touch(to);
    }
    k.step = c.steps; /* joint training is done */
    if (s == GY_OK) s = gy_job_train(&k);
    if (s == GY_OK) s = retrieval(&k, gy_mindbridge_who(&c).n, top1);
    gy_job_free(&k);
    return s;
}

gy_status gy_mindbridge_evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    roster r = gy_mindbridge_who(c);
    findings *f = &((lab *)j->data)->found;
    gy_status s = GY_OK;
    char name[64];
    double mean = 0, read = 0;
    f->tuned = gy_mindbridge_phases(j) > 1 && j->step > c->steps;
    for (int64_t k = 0; s == GY_OK && k < (f->tuned ? r.all : r.n); k++) {
        s = retrieval(j, k, &f->top1[k]);
        snprintf(name, sizeof name, "top1_of_50.%s%" PRId64, k < r.n ? "subject" : "newcomer", r.id[k]);
        gy_metric_add(out, name, f->top1[k], 1.0 / POOL_50, "accuracy");
    }
    if (s == GY_OK && r.n > 1) {
        if (!f->r) f->r = gy_calloc(j->ctx, (size_t)c->pooled, sizeof *f->r);
        f->n_r = c->pooled;
        s = f->r ? synthesis(j, 0, 1, f->r, &mean, &read) : GY_ERR_NOMEM;
        gy_metric_add(out, "synthesis_r", mean, 0, "r");
        gy_metric_add(out, "top1_of_50.synthesised", read, 1.0 / POOL_50, "accuracy");
    }
    if (s == GY_OK && f->tuned) {
        s = alone(j, c, r.n, c->adapt_trials, c->adapt_steps, c->adapt_lr, j->seed, &f->scratch);
        snprintf(name, sizeof name, "top1_of_50.newcomer%" PRId64 ".from_scratch", c->newcomer);
        gy_metric_add(out, name, f->scratch, 1.0 / POOL_50, "accuracy");
    }
    return s;
}

/* ---- the claim ---- */

/* Synthesis must reach r 0.40: 0.56 to 0.59 on the calibration seeds, 0.26 to 0.30 without the reconstruction loss,
 * where the cycle loss alone shapes the builders. Gains: half of the smallest gain and loss on the calibration seeds 0
 * to 4 (0.046 and 0.20). Both arms train at the joint rate; at three times the rate both rise, and reset-tuning stays
 * ahead. */
static const double GAIN = 0.02, LOSS = 0.10;
enum { SIZES = 2, SAMPLES = 3 };
static const int64_t sizes[SIZES] = {40, 100};

gy_status gy_mindbridge_claim(gy_job *j, gy_claim *out) {
    config c = *(const config *)j->cfg, joint;
    roster r = gy_mindbridge_who(&c);
    gy_job multi;
    double top1[MAX_SUBJECTS], single[MAX_SUBJECTS], mean_multi = 0, mean_single = 0, lowest = 1, made = 0, read = 0;
    double tuned[SIZES] = {0}, scratch[SIZES] = {0}, scrambled = 0;
    if (r.n < 2 || r.all == r.n || c.adapt_steps < 1 || c.trials < sizes[SIZES - 1])
        return gy_fail(j->ctx, GY_ERR_USAGE,
                       "mindbridge: the claim needs two subjects, a newcomer, adapt_steps >= 1 and trials >= %" PRId64,
                       sizes[SIZES - 1]);
    c.world = (int64_t)(j->seed % 1000000);
    joint = c;
    joint.newcomer_size = 0;
    gy_status s = sub_job(j, &joint, j->seed, &multi);
    if (s == GY_OK) s = gy_job_train(&multi);
    for (int64_t k = 0; s == GY_OK && k < r.n; k++) { /* (A) */
        s = retrieval(&multi, k, &top1[k]);
        if (s == GY_OK) s = alone(j, &c, k, c.trials, c.steps, c.lr, j->seed, &single[k]);
        mean_multi += top1[k] / (double)r.n;
        mean_single += single[k] / (double)r.n;
        lowest = fmin(lowest, top1[k]);
    }
    float *each = gy_calloc(j->ctx, (size_t)c.pooled, sizeof *each);
    if (s == GY_OK) s = each ? synthesis(&multi, 0, 1, each, &made, &read) : GY_ERR_NOMEM; /* (B) */
    gy_free(j->ctx, each);
    for (int64_t i = 0; s == GY_OK && i < SIZES * SAMPLES; i++) { /* (C) */
        uint64_t seed = j->seed + 1000 * (uint64_t)(1 + i % SAMPLES);
        double a, b;
        s = adapted(j, &multi, &c, sizes[i / SAMPLES], seed, j->ablate, &a);
        if (s == GY_OK) s = alone(j, &c, r.n, sizes[i / SAMPLES], c.adapt_steps, c.adapt_lr, seed, &b);
        if (s != GY_OK) break;
        tuned[i / SAMPLES] += a / SAMPLES;
        scratch[i / SAMPLES] += b / SAMPLES;
    }
    if (s == GY_OK) s = adapted(j, &multi, &c, sizes[SIZES - 1], j->seed + 1000, "translator", &scrambled); /* (D) */
    gy_job_free(&multi);
    if (s != GY_OK) return s;
    gy_metric_add(&out->details, "A multi lowest subject", lowest, 0.02, "");
    gy_metric_add(&out->details, "A multi mean", mean_multi, 0.02, "");
    gy_metric_add(&out->details, "A single mean", mean_single, 0.02, "");
    gy_metric_add(&out->details, "B synthesis r", made, 0, "");
    gy_metric_add(&out->details, "B top-1 of synthesised", read, 0.02, "");
    gy_metric_add(&out->details, "C tuned n=40", tuned[0], 0.02, "");
    gy_metric_add(&out->details, "C scratch n=40", scratch[0], 0.02, "");
    gy_metric_add(&out->details, "C tuned n=100", tuned[1], 0.02, "");
    gy_metric_add(&out->details, "C scratch n=100", scratch[1], 0.02, "");
    gy_metric_add(&out->details, "D scrambled translator n=100", scrambled, 0.02, "");
    out->metric = "top-1 of 50 of a newcomer with 40 trials after reset-tuning";
    out->value = tuned[0];
    out->baseline = scratch[0];
    out->threshold = scratch[0] + GAIN;
    out->chance = 1.0 / POOL_50;
    out->pass = lowest >= 0.45 && mean_multi >= mean_single - 0.06 && made >= 0.40 && tuned[0] >= scratch[0] + GAIN &&
                tuned[1] >= scratch[1] + GAIN && scrambled <= scratch[1] - LOSS;
    return GY_OK;
}

/* ---- the report ---- */

gy_status gy_mindbridge_panels(gy_job *j, void *report) {
    const findings *f = &((const lab *)j->data)->found;
    const gy_cohort *all = gy_mindbridge_cohort(j);
    int64_t n = gy_mindbridge_who(j->cfg).n;
    char name[MAX_SUBJECTS][32];
    const char *names[MAX_SUBJECTS];
    gy_panel found = {.panel = "retrieval",
                      .title = "Finding the picture that was seen",
                      .caption = "Of 50 pictures, the model picks the one whose embedding is nearest to what it read "
                                 "from the brain. Guessing is right once in 50; scenes that look alike set a ceiling "
                                 "below 1.",
                      .alt = "Bars: share of right picks for each subject",
                      .label = "top-1 of 50",
                      .unit = "share right",
                      .hi = 1,
                      .n = all->test.n,
                      .n_of = "held-out stimuli",
                      .chance = 1.0 / POOL_50};
    gy_panel made = {.panel = "synthesis",
                     .title = "One brain's responses made from another's",
                     .caption = "Responses of the second subject, built from the first subject's trials, against its "
                                "true noiseless responses to the same new pictures; one correlation a pooled voxel. "
                                "Voxels near 0 include those that see nothing.",
                     .alt = "Histogram of correlations over voxels",
                     .label = "correlation with the true response",
                     .unit = "r",
                     .n = f->n_r,
                     .n_of = "pooled voxels"};
    gy_panel tuned = found;
    tuned.panel = "adaptation";
    tuned.title = "A newcomer with few trials";
    tuned.caption = "Reset-tuning trains a new embedder and builder before the frozen translator; from scratch, all is "
                    "trained on the newcomer's trials alone. Same trials, same number of steps.";
    tuned.alt = "Two bars: reset-tuned and from scratch";
    gy_report_plan(report, "retrieval", "how well each subject's responses point at the picture that was seen");
    gy_report_plan(report, "synthesis", "whether one brain's responses can be made from another's");
    gy_report_plan(report, "adaptation", "what the shared model gives a newcomer with few trials");
    gy_report_text(
        report, "One model reads several brains. Each brain has its own way in (the embedder) and out (the builder); "
                "what lies between is shared. The subjects never saw the same picture in training: only the cycle "
                "loss and the common targets tie their spaces together.\n\nThe brains are generated, so the "
                "truth is known: which voxels see colour in a place, which see meaning, which see nothing.");
    for (int64_t k = 0; k < n; k++) {
        snprintf(name[k], sizeof name[k], "subject %" PRId64, all->member[k].id);
        names[k] = name[k];
    }
    gy_status s = gy_panel_bars(j, report, &found, n, names, f->top1);
    if (s == GY_OK)
        s = f->r ? gy_panel_histogram(j, report, &made, f->n_r, f->r)
                 : gy_report_explain(report, "synthesis", "one subject alone has nobody to be synthesised from");
    if (s == GY_OK)
        s = f->tuned ? gy_panel_bars(j, report, &tuned, 2, (const char *[]){"reset-tuned", "from scratch"},
                                     (double[]){f->top1[n], f->scratch})
                     : gy_report_explain(report, "adaptation",
                                         "this run has no newcomer, or ended before reset-tuning began");
    if (s == GY_OK) s = gy_mindbridge_pictures(j, report);
    gy_report_term(report, "pooled voxel",
                   "the largest of a few neighbouring voxels; brains of any size become one length");
    gy_report_term(report, "top-1 of 50", "the share of trials whose own picture is the nearest of 50");
    return s;
}
