/* Du-IN, third part: what is measured and claimed. The model is in du-in.c. */
#include "du-in.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- inference over windows ---- */

/* A stage's inference graph over all windows of w, `per` rows at a time; take is called with the run's plan, the first
 * row and how many count. */
typedef void (*take_fn)(void *user, gy_plan *p, int64_t first, int64_t n);
static gy_status infer(gy_job *j, const char *stage, const windows *w, take_fn take, void *user) {
    const lab *d = j->data;
    config c = *(const config *)j->cfg;
    gy_job view = *j;
    gy_compiled run;
    int64_t per = w->n < 256 ? w->n : 256, each = c.samples * d->channels;
    snprintf(c.stage, sizeof c.stage, "%s", stage);
    view.cfg = &c;
    gy_status s = gy_job_compile(&view, per, NULL, 0, &run);
    if (s != GY_OK) return s;
    float *x = gy_plan_input(run.plan, "signal"), *subject = gy_plan_input(run.plan, "subject");
    float *mask = gy_plan_input(run.plan, "mask");
    gy_rng r;
    gy_rng_init(&r, j->seed, "du-in.evaluation");
    for (int64_t first = 0; s == GY_OK && first < w->n; first += per) {
        int64_t n = w->n - first < per ? w->n - first : per, tokens = gy_duin_tokens(&c);
        memcpy(x, w->x + first * each, (size_t)(n * each) * sizeof *x);
        for (int64_t i = 0; i < n * d->subjects; i++)
            subject[i] = i % d->subjects == w->subject[first + i / d->subjects];
        for (int64_t i = 0; mask && i < n; i++) { /* every second token of a random order */
            int64_t order[4096];
            int64_t m = tokens < 4096 ? tokens : 4096;
            for (int64_t t = 0; t < m; t++) order[t] = t;
            gy_rng_shuffle(&r, order, m);
            for (int64_t t = 0; t < tokens; t++)
                mask[i * tokens + (t < m ? order[t] : t)] = t >= (int64_t)((double)m * (1 - c.mask));
        }
        s = gy_plan_run(run.plan);
        if (s == GY_OK) take(user, run.plan, first, n);
    }
    gy_compiled_free(&run);
    return s;
}

static int64_t largest(const float *z, int64_t n) {
    int64_t best = 0;
    for (int64_t k = 1; k < n; k++)
        if (z[k] > z[best]) best = k;
    return best;
}

typedef struct code_pass {
    const config *c;
    const windows *w;
    int64_t channels, tokens;
    int64_t *code;
    double error;
} code_pass;
static void take_codes(void *user, gy_plan *p, int64_t first, int64_t n) {
    code_pass *u = user;
    const int64_t *code = gy_plan_output(p, "codes").data;
    const float *drawn = gy_plan_output(p, "redrawn").data, *x = gy_plan_input(p, "signal");
    int64_t each = u->c->samples * u->channels;
    memcpy(u->code + first * u->tokens, code, (size_t)(n * u->tokens) * sizeof *code);
    for (int64_t i = 0; i < n * each; i++)
        u->error += ((double)x[i] - drawn[i]) * ((double)x[i] - drawn[i]) / (double)(u->w->n * each);
}

typedef struct mask_pass {
    const int64_t *code;
    int64_t tokens, codes, hits;
} mask_pass;
static void take_mask(void *user, gy_plan *p, int64_t first, int64_t n) {
    mask_pass *u = user;
    const float *z = gy_plan_output(p, "code_logits").data;
    for (int64_t i = 0; i < n * u->tokens; i++)
        u->hits += largest(z + i * u->codes, u->codes) == u->code[first * u->tokens + i];
}

typedef struct word_pass {
    const windows *w;
    int64_t words, hits;
    double *confusion;
} word_pass;
static void take_words(void *user, gy_plan *p, int64_t first, int64_t n) {
    word_pass *u = user;
    const float *z = gy_plan_output(p, "logits").data;
    for (int64_t i = 0; i < n; i++) {
        int64_t said = largest(z + i * u->words, u->words), truth = u->w->label[first + i];
        u->hits += said == truth;
        u->confusion[truth * u->words + said]++;
    }
}

/* ---- measures ---- */

/* 2 I(a; b) / (H(a) + H(b)) of counts [rows, cols]; 0 where both entropies are. */
static double mutual(const double *table, int64_t rows, int64_t cols) {
    double total = 0, ha = 0, hb = 0, hab = 0;
    for (int64_t i = 0; i < rows * cols; i++) total += table[i];
    for (int64_t i = 0; i < rows * cols; i++)
        if (table[i] > 0) hab -= table[i] / total * log(table[i] / total);
    for (int64_t i = 0; i < rows; i++) {
        double p = 0;
        for (int64_t k = 0; k < cols; k++) p += table[i * cols + k] / total;
        if (p > 0) ha -= p * log(p);
    }
    for (int64_t k = 0; k < cols; k++) {
        double p = 0;
        for (int64_t i = 0; i < rows; i++) p += table[i * cols + k] / total;
        if (p > 0) hb -= p * log(p);
    }
    return ha + hb > 0 ? 2 * (ha + hb - hab) / (ha + hb) : 0;
}

/* Codes of the held-out windows against the units in them; and how well they are foreseen. */
static gy_status measure_codes(gy_job *j, findings *f, bool predicts) {
    const config *c = j->cfg;
    lab *d = j->data;
    const windows *w = &d->test;
    int64_t tokens = gy_duin_tokens(c), n = w->n * tokens, k = c->codes, u = d->units ? d->units : 1;
    int64_t *code = gy_calloc(j->ctx, (size_t)n, 2 * sizeof *code), *dealt = code + n;
    double *count = gy_calloc(j->ctx, (size_t)k, (size_t)(u + 1) * sizeof *count), *other = count + k;
    if (!f->table) f->table = gy_calloc(j->ctx, (size_t)u, (size_t)k * sizeof *f->table);
    gy_status s = code && count && f->table ? GY_OK : GY_ERR_NOMEM;
    code_pass pass = {c, w, d->channels, tokens, code, 0};
    if (s == GY_OK) s = infer(j, "codes", w, take_codes, &pass);
    f->error = pass.error;
    f->units = d->units;
    f->codes = k;
    if (s == GY_OK) {
        memset(f->table, 0, (size_t)(u * k) * sizeof *f->table);
        double entropy = 0;
        f->frequent = 0;
        for (int64_t i = 0; i < n; i++) count[code[i]]++;
        for (int64_t i = 0; i < k; i++) {
            double p = count[i] / (double)n;
            if (p > 0) entropy -= p * log(p);
            f->frequent = fmax(f->frequent, p);
        }
        f->perplexity = exp(entropy);
    }
    if (s == GY_OK && w->unit) {
        gy_rng r;
        gy_rng_init(&r, j->seed, "du-in.deal");
        memcpy(dealt, w->unit, (size_t)n * sizeof *dealt);
        gy_rng_shuffle(&r, dealt, n);
        for (int64_t i = 0; i < n; i++) {
            f->table[w->unit[i] * k + code[i]]++;
            other[dealt[i] * k + code[i]]++;
        }
        f->nmi = mutual(f->table, u, k);
        f->shuffled_nmi = mutual(other, u, k);
    }
    mask_pass guess = {code, tokens, k, 0};
    if (s == GY_OK && predicts) s = infer(j, "mask", w, take_mask, &guess);
    f->masked = (double)guess.hits / (double)n;
    gy_free(j->ctx, code);
    gy_free(j->ctx, count);
    return s;
}

static gy_status measure_words(gy_job *j, findings *f) {
    lab *d = j->data;
    if (!f->confusion) f->confusion = gy_calloc(j->ctx, (size_t)d->words, (size_t)d->words * sizeof *f->confusion);
    if (!f->confusion) return GY_ERR_NOMEM;
    memset(f->confusion, 0, (size_t)(d->words * d->words) * sizeof *f->confusion);
    word_pass pass = {&d->test, d->words, 0, f->confusion};
    gy_status s = infer(j, "words", &d->test, take_words, &pass);
    f->words = (double)pass.hits / (double)d->test.n;
    return s;
}

gy_status gy_duin_evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    const lab *d = j->data;
    findings *f = &((lab *)j->data)->found;
    bool predicts = j->step > c->vq_steps, reads = j->step > c->vq_steps + c->mask_steps;
    gy_status s = GY_OK;
    if (reads) {
        s = measure_words(j, f);
        gy_metric_add(out, "word_accuracy", f->words, 1.0 / (double)d->words, "accuracy");
    }
    if (s == GY_OK && c->vq_steps > 0) {
        s = measure_codes(j, f, predicts);
        if (d->units) {
            gy_metric_add(out, "codes_units_nmi", f->nmi, 0, "");
            gy_metric_add(out, "codes_units_nmi.shuffled", f->shuffled_nmi, 0, "");
        }
        gy_metric_add(out, "code_perplexity", f->perplexity, 1, "codes");
        gy_metric_add(out, "redrawn_error", f->error, NAN, "");
        if (predicts && c->mask_steps > 0)
            gy_metric_add(out, "masked_code_accuracy", f->masked, f->frequent, "accuracy");
    }
    return s;
}

/* ---- the claim ---- */

/* Two labelled windows a word instead of the card's six: with six the same network from scratch already reads 0.94 of
 * this speech (seed 0). Calibration, seeds 0 to 4:
 *
 *                                  0      1      2      3      4     broken arms
 *   NMI of codes and units       0.587  0.587  0.623  0.594  0.605
 *     channel-mean               0.263  0.127  0.436  0.302  0.330   codes, scratch: as above
 *   code perplexity              20.7   15.9   24.1   18.3   23.8
 *     channel-mean               13.9    8.4   20.5   14.6   17.5    codes, scratch: as above
 *   masked code / most frequent   5.25   4.58   5.20   3.72   4.39
 *     channel-mean                1.36   1.10   3.05   1.76   2.51   scratch: as above
 *     codes                       1.40   1.29   1.83   1.34   1.49
 *   words, pretrained            0.821  0.817  0.783  0.883  0.833
 *     channel-mean               0.379  0.208  0.496  0.546  0.488
 *     codes                      0.371  0.325  0.442  0.296  0.363
 *     scratch                    0.308  0.267  0.367  0.208  0.346
 *   words, from scratch          0.296  0.233  0.371  0.225  0.321
 *     channel-mean               0.196  0.104  0.213  0.225  0.208   codes, scratch: as above
 *
 * Shuffled units leave an NMI of at most 0.016. Seed 2 of `channel-mean` passes the gates of the codes: ten channels in
 * one still hold eight frequencies, and what is lost shows in the words.
 *
 * The autoencoder takes 800 steps. After 400 its codes are still spreading (seeds 0 to 9: perplexity 9.9 to 16.0, error
 * of the redrawn signal 1.03 to 1.07 where the noise alone leaves 1; after 800, 10.9 to 25.1 and 1.00 to 1.02), and
 * seed 12 of the report then failed: one code held 0.19 of the segments, and hidden codes were told only 2.1 times as
 * often as that. Perplexity and the factor of the most frequent code are gated as on the card. */
static const double NMI = 0.40, PERPLEXITY = 6, FORESEEN = 2.5, WORDS = 0.60, GAIN = 0.08;

static gy_status arm(const gy_job *j, const config *c, const char *ablate, gy_job *out) {
    gy_status s = gy_job_init(out, j->ctx, j->def, j->config_name, NULL, 0);
    if (s != GY_OK) return s;
    memcpy(out->cfg, c, sizeof *c);
    out->seed = j->seed;
    out->ablate = ablate;
    s = gy_job_open(out);
    if (s == GY_OK) s = gy_job_train(out);
    return s;
}

gy_status gy_duin_claim(gy_job *j, gy_claim *out) {
    config c = *(const config *)j->cfg, fresh;
    gy_job trained, scratch;
    findings f = {0}, g = {0};
    if (c.vq_steps < 1 || c.mask_steps < 1 || c.word_steps < 1)
        return gy_fail(j->ctx, GY_ERR_USAGE, "du-in: the claim needs steps of all three stages");
    gy_status s = arm(j, &c, j->ablate, &trained);
    if (s == GY_OK) s = measure_codes(&trained, &f, true);
    if (s == GY_OK) s = measure_words(&trained, &f);
    gy_free(j->ctx, f.table);
    gy_free(j->ctx, f.confusion);
    gy_job_free(&trained);
    fresh = c;
    fresh.vq_steps = fresh.mask_steps = 0;
    if (s != GY_OK) return s;
    s = arm(j, &fresh, j->ablate, &scratch);
    if (s == GY_OK) s = measure_words(&scratch, &g);
    gy_free(j->ctx, g.confusion);
    gy_job_free(&scratch);
    if (s != GY_OK) return s;
    gy_metric_add(&out->details, "i codes and units, NMI", f.nmi, 0, "");
    gy_metric_add(&out->details, "i the same, units shuffled", f.shuffled_nmi, 0, "");
    gy_metric_add(&out->details, "i code perplexity", f.perplexity, 1, "");
    gy_metric_add(&out->details, "ii masked-code accuracy", f.masked, f.frequent, "");
    gy_metric_add(&out->details, "ii most frequent code", f.frequent, NAN, "");
    gy_metric_add(&out->details, "iii words, pretrained", f.words, 1.0 / (double)c.words, "");
    gy_metric_add(&out->details, "iii words, from scratch", g.words, 1.0 / (double)c.words, "");
    out->metric = "accuracy of reading 12 words after masked pretraining";
    out->value = f.words;
    out->baseline = g.words;
    out->threshold = fmax(WORDS, g.words + GAIN);
    out->chance = 1.0 / (double)c.words;
    out->pass = f.nmi >= NMI && f.shuffled_nmi <= 0.15 && f.perplexity >= PERPLEXITY &&
                f.masked >= FORESEEN * f.frequent && f.words >= WORDS && f.words >= g.words + GAIN;
    return GY_OK;
}

/* ---- the report ---- */

enum { UNIT_NAMES = 16 };

static gy_status panel_codes(gy_job *j, gy_report *r, const findings *f, int64_t segments) {
    static const char *const name[UNIT_NAMES] = {"10 Hz", "20 Hz", "30 Hz", "40 Hz",  "50 Hz",
                                                 "60 Hz", "70 Hz", "80 Hz", "silence"};
    if (!f->table) return gy_report_explain(r, "codes", "the autoencoder has not been trained");
    if (!f->units) return gy_report_explain(r, "codes", "a recording does not say which units are in it");
    gy_panel about = {.panel = "codes",
                      .title = "Which codes stand for which unit",
                      .caption = "Each row is a unit of the generated speech; the shares say which codes its segments "
                                 "were given. The autoencoder was never told the units. A unit with one bright cell "
                                 "has a code of its own.",
                      .alt = "Matrix of units by codes",
                      .label = "share of the unit's segments",
                      .unit = GY_NO_UNIT,
                      .lo = 0,
                      .hi = 1,
                      .n = segments,
                      .n_of = "held-out segments",
                      .chance = NAN};
    return gy_panel_matrix(j, r, &about,
                           &(gy_panel_matrix_args){.rows = f->units,
                                                   .cols = f->codes,
                                                   .values = f->table,
                                                   .row_names = f->units <= UNIT_NAMES ? name : NULL,
                                                   .row_label = "unit",
                                                   .col_label = "code",
                                                   .shares = true});
}

static gy_status panel_words(gy_job *j, gy_report *r, const lab *d, const findings *f) {
    if (!f->confusion) return gy_report_explain(r, "words", "training ended before the classifier's stage");
    const char **name = gy_calloc(j->ctx, (size_t)d->words, sizeof *name);
    if (!name) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < d->words; i++) name[i] = d->names[i];
    gy_panel about = {.panel = "words",
                      .title = "Words that were read",
                      .caption = "Rows: the word that was spoken; columns: the word that was read. A generated word is "
                                 "named by its units, so words that share units can be seen to be confused.",
                      .alt = "Confusion matrix",
                      .label = "share of the word's windows",
                      .unit = GY_NO_UNIT,
                      .lo = 0,
                      .hi = 1,
                      .n = d->test.n,
                      .n_of = "held-out windows",
                      .chance = NAN};
    gy_status s = gy_panel_matrix(j, r, &about,
                                  &(gy_panel_matrix_args){.rows = d->words,
                                                          .cols = d->words,
                                                          .values = f->confusion,
                                                          .row_names = name,
                                                          .col_names = name,
                                                          .row_label = "spoken",
                                                          .col_label = "read",
                                                          .shares = true});
    gy_free(j->ctx, name);
    return s;
}

gy_status gy_duin_panels(gy_job *j, void *report) {
    const lab *d = j->data;
    const findings *f = &d->found;
    gy_report_plan(report, "codes", "whether codes found without labels are the signal's units");
    gy_report_plan(report, "words", "which words are read, and which are mistaken for each other");
    gy_report_text(
        report, "Three stages. An autoencoder gives every segment of the signal one of a few codes and must draw the "
                "signal again from them; a second network must name the codes of hidden segments from the others; "
                "a classifier that starts from it reads words from few labelled windows.");
    gy_status s = panel_codes(j, report, f, d->test.n * gy_duin_tokens(j->cfg));
    if (s == GY_OK) s = panel_words(j, report, d, f);
    gy_report_term(report, "code",
                   "one of a fixed number of directions; a segment's vector is replaced by the nearest");
    gy_report_term(report, "region fusion", "one token is made of all channels of a segment, not one of each channel");
    return s;
}
