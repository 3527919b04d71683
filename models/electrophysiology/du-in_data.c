/* Du-IN, second part: what it trains on, and when. The generated speech has eight units: each is a pattern over
 * channels times 100 ms of one frequency. A word is a fixed sequence of four units, each held for two segments. The
 * model is in du-in.c. */
#include "du-in.h"
#include "../../core/linalg/classical.h"
#include "../../data/cohort.h"
#include "../../data/eeg.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { UNITS = 8, UNITS_OF_WORD = 4, HELD = 2 }; /* HELD: segments a unit lasts */
static const double PI = 3.14159265358979323846;

/* ---- data ---- */

static void windows_free(gy_ctx *ctx, windows *w) {
    gy_free(ctx, w->x);
    gy_free(ctx, w->label);
    gy_free(ctx, w->subject);
    gy_free(ctx, w->unit);
    *w = (windows){0};
}

static gy_status windows_new(gy_ctx *ctx, windows *w, int64_t n, int64_t each, int64_t tokens) {
    *w = (windows){.n = n};
    w->x = gy_calloc(ctx, (size_t)n, (size_t)each * sizeof *w->x);
    w->label = gy_calloc(ctx, (size_t)n, sizeof *w->label);
    w->subject = gy_calloc(ctx, (size_t)n, sizeof *w->subject);
    if (tokens) w->unit = gy_calloc(ctx, (size_t)n, (size_t)tokens * sizeof *w->unit);
    return w->x && w->label && w->subject && (w->unit || !tokens) ? GY_OK : GY_ERR_NOMEM;
}

void gy_duin_close(gy_job *j) {
    lab *d = j->data;
    if (!d) return;
    windows_free(j->ctx, &d->pool);
    windows_free(j->ctx, &d->train);
    windows_free(j->ctx, &d->test);
    gy_free(j->ctx, d->names);
    gy_free(j->ctx, d->found.confusion);
    gy_free(j->ctx, d->found.table);
    gy_free(j->ctx, d);
    j->data = NULL;
}

/* What all generated windows share. */
typedef struct language {
    float *unit;   /* [UNITS, segment, channels] */
    int64_t *word; /* [words, UNITS_OF_WORD] */
} language;

/* Unit u goes through u + 1 turns a segment: 10 to 80 Hz for segments of 100 ms. */
static gy_status language_new(const gy_job *j, language *w) {
    const config *c = j->cfg;
    gy_rng r;
    gy_rng_init(&r, j->seed, "du-in.language");
    w->unit = gy_calloc(j->ctx, (size_t)(UNITS * c->segment), (size_t)c->channels * sizeof *w->unit);
    w->word = gy_calloc(j->ctx, (size_t)c->words, UNITS_OF_WORD * sizeof *w->word);
    if (!w->unit || !w->word) return GY_ERR_NOMEM;
    for (int64_t u = 0; u < UNITS; u++)
        for (int64_t ch = 0; ch < c->channels; ch++) {
            double weight = gy_rng_normal(&r);
            for (int64_t t = 0; t < c->segment; t++) {
                double phase = 2 * PI * ((double)t + 0.5) / (double)c->segment;
                double hann = 0.5 - 0.5 * cos(phase);
                w->unit[(u * c->segment + t) * c->channels + ch] =
                    (float)(c->amplitude * weight * hann * sin((double)(u + 1) * phase));
            }
        }
    for (int64_t i = 0; i < c->words * UNITS_OF_WORD; i++) w->word[i] = gy_rng_below(&r, UNITS);
    return GY_OK;
}

/* Window i of w: `word` at a random place between silent segments, in noise. */
static void speak(const config *c, const language *l, gy_rng *r, int64_t word, windows *w, int64_t i) {
    int64_t tokens = gy_duin_tokens(c), each = c->samples * c->channels, piece = c->segment * c->channels;
    int64_t first = 1 + gy_rng_below(r, tokens - 1 - UNITS_OF_WORD * HELD);
    float *x = w->x + i * each;
    w->label[i] = word;
    for (int64_t s = 0; s < tokens; s++) {
        int64_t k = (s - first) / HELD;
        bool silent = s < first || k >= UNITS_OF_WORD;
        int64_t unit = silent ? UNITS : l->word[word * UNITS_OF_WORD + k];
        w->unit[i * tokens + s] = unit;
        for (int64_t p = 0; p < piece; p++)
            x[s * piece + p] = (float)((silent ? 0 : l->unit[unit * piece + p]) + c->noise * gy_rng_normal(r));
    }
}

/* `each` windows of every word, or with `each` 0 n windows of random words. */
static gy_status generate(const gy_job *j, const language *l, const char *name, int64_t each, int64_t n, windows *w) {
    const config *c = j->cfg;
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    if (each) n = each * c->words;
    gy_status s = windows_new(j->ctx, w, n, c->samples * c->channels, gy_duin_tokens(c));
    for (int64_t i = 0; s == GY_OK && i < n; i++)
        speak(c, l, &r, each ? i % c->words : gy_rng_below(&r, c->words), w, i);
    return s;
}

static gy_status generated(gy_job *j, lab *d) {
    const config *c = j->cfg;
    language w = {0};
    if (gy_duin_tokens(c) < UNITS_OF_WORD * HELD + 2)
        return gy_fail(j->ctx, GY_ERR_USAGE,
                       "du-in: generated words need %d segments, silence around them included; samples=%" PRId64
                       ", segment=%" PRId64,
                       UNITS_OF_WORD * HELD + 2, c->samples, c->segment);
    d->channels = c->channels;
    d->words = c->words;
    d->subjects = c->subjects;
    d->units = UNITS + 1;
    d->names = gy_calloc(j->ctx, (size_t)c->words, sizeof *d->names);
    gy_status s = d->names ? language_new(j, &w) : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < c->words; i++)
        snprintf(d->names[i], sizeof *d->names, "%d%d%d%d", (int)w.word[4 * i], (int)w.word[4 * i + 1],
                 (int)w.word[4 * i + 2], (int)w.word[4 * i + 3]);
    if (s == GY_OK) s = generate(j, &w, "du-in.pool", 0, c->pool, &d->pool);
    if (s == GY_OK) s = generate(j, &w, "du-in.train", c->train, 0, &d->train);
    if (s == GY_OK) s = generate(j, &w, "du-in.test", c->tests, 0, &d->test);
    gy_free(j->ctx, w.unit);
    gy_free(j->ctx, w.word);
    snprintf(j->data_label, sizeof j->data_label, "generated (8 units, %" PRId64 " words)", c->words);
    return s;
}

/* Takes over the windows of a recording or folder; its classes are the words. */
static void adopt(gy_eeg_windows *from, windows *to) {
    *to = (windows){from->n, from->x, from->label, from->group, NULL};
    for (int64_t i = 0; i < to->n; i++) to->subject[i] = 0; /* held-out people have no layer of their own */
    *from = (gy_eeg_windows){0};
}

static gy_status recorded(gy_job *j, lab *d) {
    const config *c = j->cfg;
    gy_eeg e;
    gy_eeg_args args = {.rate = c->rate,
                        .low = 0.5,
                        .high = fmin(70, 0.45 * c->rate),
                        .from = c->from,
                        .samples = c->samples,
                        .seed = j->seed};
    gy_status s = gy_eeg_open(j->ctx, j->data_path, &args, &e);
    if (s != GY_OK) return s;
    d->channels = e.channels;
    d->words = e.classes;
    d->subjects = 1;
    if (e.classes < 2 || e.train.n < 2 || e.test.n < 1 || e.pool.n < 2)
        s = gy_fail(j->ctx, GY_ERR_FORMAT,
                    "%s: %" PRId64 " kinds of marks with windows of %" PRId64 " samples at %g Hz: %" PRId64
                    " to train on, %" PRId64 " held out: expected two kinds and some of each",
                    j->data_path, e.classes, c->samples, e.rate, e.train.n, e.test.n);
    if (s == GY_OK) {
        d->names = e.name;
        e.name = NULL;
        adopt(&e.pool, &d->pool);
        adopt(&e.train, &d->train);
        adopt(&e.test, &d->test);
        snprintf(j->data_label, sizeof j->data_label, "%s", e.label);
    }
    gy_eeg_close(&e);
    return s;
}

gy_status gy_duin_open(gy_job *j) {
    const config *c = j->cfg;
    lab *d = j->data = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    gy_status s = j->data_path ? recorded(j, d) : generated(j, d);
    if (s != GY_OK) return s;
    j->data_hash = gy_hash(d->pool.x, (size_t)(d->pool.n * c->samples * d->channels) * sizeof(float), j->seed);
    j->batch = c->vq_batch;
    if (!j->steps) j->steps = c->vq_steps + c->mask_steps + c->word_steps;
    return GY_OK;
}

/* ---- when ---- */

int64_t gy_duin_phases(const gy_job *j) {
    (void)j;
    return 3;
}

int64_t gy_duin_phase_of(const gy_job *j, int64_t step) {
    const config *c = j->cfg;
    return step < c->vq_steps ? 0 : step < c->vq_steps + c->mask_steps ? 1 : 2;
}

static int64_t first_step(const config *c, int64_t phase) {
    return phase == 0 ? 0 : phase == 1 ? c->vq_steps : c->vq_steps + c->mask_steps;
}

double gy_duin_rate(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    double lr = phase == 0 ? c->vq_lr : phase == 1 ? c->mask_lr : c->word_lr;
    int64_t total = phase == 0 ? c->vq_steps : phase == 1 ? c->mask_steps : c->word_steps;
    gy_schedule s = {.kind = GY_SCHEDULE_COSINE,
                     .lr = lr,
                     .warmup = (int64_t)(c->warmup * (double)total),
                     .total = total,
                     .min = c->min_lr * lr};
    return gy_schedule_lr(&s, step - first_step(c, phase));
}

/* ---- from one stage to the next: once, at a stage's first step, within the store ---- */

/* The autoencoder's vectors of the batch in `from`, before quantisation: as training sees them, with the batch's own
 * statistics, but without changing a state. */
static gy_status first_vectors(gy_job *j, gy_plan *from, int64_t step, float *z) {
    const lab *d = j->data;
    config c = *(const config *)j->cfg;
    gy_graph *g = gy_graph_new(j->ctx);
    if (!g) return GY_ERR_NOMEM;
    gy_mod m = gy_mod_make(g, j->store, j->seed, true);
    gy_build b = {.m = &m, .cfg = &c, .batch = c.vq_batch, .ablate = j->ablate, .job = j};
    snprintf(c.stage, sizeof c.stage, "codes");
    j->def->build(&b);
    gy_plan *p = gy_compile(g, (gy_plan_args){.no_assign = true, .outputs = (const char *const[]){"before", NULL}});
    gy_status s = p ? GY_OK : gy_error_status(j->ctx);
    if (s == GY_OK) {
        memcpy(gy_plan_input(p, "signal"), gy_plan_input(from, "signal"),
               (size_t)(c.vq_batch * c.samples * d->channels) * sizeof(float));
        memcpy(gy_plan_input(p, "subject"), gy_plan_input(from, "subject"),
               (size_t)(c.vq_batch * d->subjects) * sizeof(float));
        gy_plan_set_rng(p, j->seed, (uint64_t)step);
        s = gy_plan_run(p);
    }
    gy_tensor t = s == GY_OK ? gy_plan_output(p, "before") : (gy_tensor){0};
    if (t.data) memcpy(z, t.data, gy_tensor_bytes(&t));
    gy_plan_free(p);
    gy_graph_free(g);
    return s;
}

/* x [n, w] to unit length; a row of zeros stays. */
static void to_unit(double *x, int64_t n, int64_t w) {
    for (int64_t i = 0; i < n; i++, x += w) {
        double norm = 0;
        for (int64_t f = 0; f < w; f++) norm += x[f] * x[f];
        for (int64_t f = 0; norm > 0 && f < w; f++) x[f] /= sqrt(norm);
    }
}

/* Codes start as the centres (k-means, 10 rounds) of the first batch's vectors; where these are fewer than the codes,
 * the rest keep their random directions. */
static gy_status place_codes(gy_job *j, gy_plan *from, int64_t step) {
    const config *c = j->cfg;
    gy_state *codex = gy_state_find(j->store, "vqvae.vq_block.codex.weight");
    int64_t n = c->vq_batch * gy_duin_tokens(c), w = c->code_width, k = n < c->codes ? n : c->codes;
    float *z = gy_malloc(j->ctx, (size_t)(n * w) * sizeof *z);
    double *x = gy_malloc(j->ctx, (size_t)((n + k) * w) * sizeof *x);
    int64_t *label = gy_malloc(j->ctx, (size_t)n * sizeof *label);
    gy_status s = z && x && label && codex ? first_vectors(j, from, step, z) : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n * w; i++) x[i] = (double)z[i];
    if (s == GY_OK) {
        double *centre = x + n * w;
        to_unit(x, n, w);
        gy_kmeans_args args = {
            .n = n, .p = w, .k = k, .x = x, .ldx = w, .restarts = 1, .max_iter = 10, .seed = j->seed};
        s = gy_la_kmeans(j->ctx, &args, centre, label, NULL, NULL);
        to_unit(centre, k, w);
        for (int64_t i = 0; s == GY_OK && i < k * w; i++) ((float *)codex->value.data)[i] = (float)centre[i];
        gy_state_touch(codex);
    }
    gy_free(j->ctx, z);
    gy_free(j->ctx, x);
    gy_free(j->ctx, label);
    return s;
}

/* The classifier's subject layer, tokeniser and encoder start as the masked predictor's. */
static void inherit(gy_store *store) {
    static const char *const parts[] = {"subj_block.", "tokenizer.", "encoder."};
    for (int64_t i = 0; i < gy_store_count(store); i++) {
        const gy_state *from = gy_store_at(store, i);
        if (from->kind == GY_SLOT || strncmp(from->name, "mae.", 4) != 0) continue;
        for (size_t k = 0; k < sizeof parts / sizeof *parts; k++) {
            gy_state *to = gy_state_find(store, from->name + 4);
            if (!to || strncmp(to->name, parts[k], strlen(parts[k])) != 0) continue;
            memcpy(to->value.data, from->value.data, gy_tensor_bytes(&from->value));
            gy_state_touch(to);
        }
    }
}

/* ---- batches: functions of (seed, step) ---- */

/* One window into a batch's row i, moved by `by` samples. */
static void put(const config *c, const lab *d, const windows *w, int64_t row, int64_t by, gy_plan *p, int64_t i) {
    float *x = (float *)gy_plan_input(p, "signal") + i * c->samples * d->channels;
    const float *from = w->x + row * c->samples * d->channels;
    for (int64_t t = 0; t < c->samples; t++) {
        int64_t at = t - by;
        if (at >= 0 && at < c->samples)
            memcpy(x + t * d->channels, from + at * d->channels, (size_t)d->channels * sizeof *x);
        else
            memset(x + t * d->channels, 0, (size_t)d->channels * sizeof *x);
    }
    float *subject = (float *)gy_plan_input(p, "subject") + i * d->subjects;
    for (int64_t k = 0; k < d->subjects; k++) subject[k] = k == w->subject[row];
}

gy_status gy_duin_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    const lab *d = j->data;
    int64_t n = phase == 0 ? c->vq_batch : phase == 1 ? c->mask_batch : c->word_batch, at = step - first_step(c, phase);
    const windows *w = phase == 2 ? &d->train : &d->pool;
    int64_t *label = gy_plan_input(p, "label");
    float *there = gy_plan_input(p, "channel_mask");
    static const char *const order[] = {"du-in.order.codes", "du-in.order.mask", "du-in.order.words"};
    int64_t *row = gy_malloc(j->ctx, (size_t)(n + w->n) * sizeof *row);
    if (!row) return GY_ERR_NOMEM;
    gy_rng r;
    gy_rng_init(&r, gy_rng_key(j->seed, (uint64_t)phase, (uint64_t)step), "du-in.shift");
    gy_epoch_rows(j->seed, order[phase], w->n, at, n, row + n, row);
    for (int64_t i = 0; i < n; i++) {
        int64_t by = phase == 2 && c->shift ? gy_rng_below(&r, 2 * c->shift + 1) - c->shift : 0;
        put(c, d, w, row[i], by, p, i);
        if (label) label[i] = w->label[row[i]];
    }
    gy_free(j->ctx, row);
    for (int64_t i = 0; there && i < n * d->channels; i++) there[i] = 1;
    if (at == 0 && phase == 0) return place_codes(j, p, step);
    if (at == 0 && phase == 2 && c->pretrain && c->mask_steps > 0 && !gy_ablates(j->ablate, "scratch"))
        inherit(j->store);
    return GY_OK;
}
