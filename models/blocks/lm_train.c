#include "lm_train.h"

#include "../../data/grammar.h"
#include "../../io/files.h"
#include "../../io/formats/npy.h"
#include "generate.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { GENERATED = 400000, MOST_WINDOWS = 64, PROMPT = 32 };

/* j->data */
typedef struct corpus {
    int32_t *token;
    uint8_t *mark;      /* gy_grammar_mark of each token; NULL: not the grammar */
    int64_t n, held_at; /* tokens held_at .. n-1 are held out */
    bool bytes;
} corpus;

/* ---- graphs ---- */

void gy_lm_build(gy_build *b, const gy_lm *lm) {
    const gy_lm_train *c = b->cfg;
    gy_lm_in in = {.ids = gy_input(b->m->g, "ids", GY_I64, GY_S(b->batch, c->tokens))};
    gy_t h = lm->states(b->m, lm->cfg, &in); /* [B, T, d] */
    gy_output(h, "states");
    gy_output(lm->logits(b->m, lm->cfg, h), "logits"); /* [B, T, V] */
}

void gy_lm_objective(gy_build *b, const gy_lm *lm) {
    const gy_lm_train *c = b->cfg;
    gy_mod *m = b->m;
    gy_lm_in in = {.ids = gy_input(m->g, "ids", GY_I64, GY_S(b->batch, c->tokens))};
    gy_t target = gy_input(m->g, "target", GY_I64, GY_S(b->batch, c->tokens));
    gy_t loss = gy_lm_loss(m, lm, lm->states(m, lm->cfg, &in), target, c->chunk);
    gy_output(loss, "loss");
    gy_optim_adamw(m->g, m->store, loss, .beta2 = 0.95, .weight_decay = c->weight_decay, .decays = gy_decays_matrices,
                   .clip_norm = 1.0);
}

double gy_lm_lr(const gy_job *j, int64_t phase, int64_t step) {
    const gy_lm_train *c = j->cfg;
    (void)phase;
    gy_schedule s = {.kind = GY_SCHEDULE_COSINE,
                     .lr = c->lr,
                     .warmup = (int64_t)(c->warmup * (double)j->steps),
                     .total = j->steps,
                     .min = c->lr / 10};
    return gy_schedule_lr(&s, step);
}

/* ---- data ---- */

void gy_lm_close(gy_job *j) {
    corpus *d = j->data;
    if (!d) return;
    gy_free(j->ctx, d->token);
    gy_free(j->ctx, d->mark);
    gy_free(j->ctx, d);
    j->data = NULL;
}

static gy_status generated(gy_job *j, corpus *d) {
    uint8_t *text = gy_malloc(j->ctx, GENERATED);
    d->n = GENERATED;
    d->bytes = true;
    d->mark = gy_malloc(j->ctx, GENERATED);
    d->token = gy_malloc(j->ctx, GENERATED * sizeof *d->token);
    if (text && d->mark && d->token) {
        gy_grammar_text(j->seed, "grammar", text, d->mark, d->n);
        for (int64_t i = 0; i < d->n; i++) d->token[i] = text[i];
        snprintf(j->data_label, sizeof j->data_label, "generated");
    }
    gy_free(j->ctx, text);
    return d->mark && d->token ? GY_OK : GY_ERR_NOMEM;
}

static gy_status from_npy(gy_job *j, corpus *d) {
    gy_tensor t;
    char text[GY_SHAPE_TEXT];
    gy_status s = gy_npy_read(j->ctx, j->data_path, &t);
    if (s != GY_OK) return s;
    if (t.shape.rank != 1 || gy_dtype_is_float(t.dtype))
        s = gy_fail(j->ctx, GY_ERR_SHAPE, "%s: expected one axis of integer token ids, found %s %s", j->data_path,
                    gy_dtype_name(t.dtype), gy_shape_text(t.shape, text));
    d->n = s == GY_OK ? t.shape.dim[0] : 0;
    d->token = gy_malloc(j->ctx, (size_t)d->n * sizeof *d->token);
    if (s == GY_OK && !d->token) s = GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < d->n; i++) {
        double v = gy_tensor_get(&t, i);
        d->token[i] = v >= 0 && v <= INT32_MAX ? (int32_t)v : -1;
    }
    gy_tensor_free(j->ctx, &t);
    return s;
}

static gy_status from_text(gy_job *j, const gy_lm *lm, corpus *d) {
    gy_bytes src;
    const uint8_t *p;
    void *owned = NULL;
    if (lm->vocabulary != 256)
        return gy_fail(j->ctx, GY_ERR_USAGE,
                       "%s: the bytes of a text are tokens of a vocabulary of 256; here it has %" PRId64
                       ": give tokens (gyrus convert %s F.npy --tokenizer tokenizer.json)",
                       j->data_path, lm->vocabulary, j->data_path);
    gy_status s = gy_bytes_open(j->ctx, j->data_path, NULL, &src);
    if (s != GY_OK) return s;
    s = gy_bytes_borrow(&src, 0, src.size, &p, &owned);
    const uint8_t *nul = s == GY_OK && src.size ? memchr(p, 0, (size_t)src.size) : NULL;
    if (nul) s = gy_bytes_fail(&src, (uint64_t)(nul - p), "a NUL byte: this is no text");
    if (s == GY_OK) {
        d->n = (int64_t)src.size;
        d->bytes = true;
        d->token = gy_malloc(j->ctx, (size_t)d->n * sizeof *d->token);
        if (!d->token) s = GY_ERR_NOMEM;
        for (int64_t i = 0; s == GY_OK && i < d->n; i++) d->token[i] = p[i];
    }
    gy_free(j->ctx, owned);
    gy_bytes_close(&src);
    return s;
}

gy_status gy_lm_open(gy_job *j, const gy_lm *lm) {
    const gy_lm_train *c = j->cfg;
    corpus *d = j->data = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    const char *path = j->data_path;
    gy_status s = !path ? generated(j, d) : gy_path_has_suffix(path, ".npy") ? from_npy(j, d) : from_text(j, lm, d);
    if (s != GY_OK) return s;
    if (path) {
        const char *slash = strrchr(path, '/');
        snprintf(j->data_label, sizeof j->data_label, "%s", slash ? slash + 1 : path);
    }
    for (int64_t i = 0; i < d->n; i++)
        if (d->token[i] < 0 || d->token[i] >= lm->vocabulary)
            return gy_fail(j->ctx, GY_ERR_FORMAT, "%s: token %" PRId64 " is %d, outside the vocabulary of %" PRId64,
                           path ? path : "generated text", i, (int)d->token[i], lm->vocabulary);
    d->held_at = d->n - d->n / 10;
    if (d->n - d->held_at < c->tokens + 1)
        return gy_fail(j->ctx, GY_ERR_FORMAT,
                       "%s: %" PRId64 " tokens; the held-out tenth must hold one window of %" PRId64,
                       path ? path : "generated text", d->n, c->tokens + 1);
    j->data_hash = gy_hash(d->token, (size_t)d->n * sizeof *d->token, 0);
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps;
    return GY_OK;
}

/* ids and their successors from place `at`. */
static void window(const corpus *d, int64_t at, int64_t t, int64_t *ids, int64_t *target) {
    for (int64_t i = 0; i < t; i++) {
        ids[i] = d->token[at + i];
        target[i] = d->token[at + i + 1];
    }
}

gy_status gy_lm_batch_feed(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const gy_lm_train *c = j->cfg;
    const corpus *d = j->data;
    int64_t *ids = gy_plan_input(p, "ids"), *target = gy_plan_input(p, "target");
    char name[48];
    gy_rng rng;
    (void)phase;
    snprintf(name, sizeof name, "batch.%" PRId64, step);
    gy_rng_init(&rng, j->seed, name);
    for (int64_t r = 0; r < j->batch; r++)
        window(d, gy_rng_below(&rng, d->held_at - c->tokens), c->tokens, ids + r * c->tokens, target + r * c->tokens);
    return GY_OK;
}

/* ---- metrics ---- */

/* Held-out windows scored together; logits are kept only where agreement is judged. */
typedef struct score {
    gy_graph *g;
    gy_plan *plan;
    int64_t rows;
} score;

static gy_status compile(gy_job *j, const gy_lm *lm, bool logits, score *s) {
    const gy_lm_train *c = j->cfg;
    s->g = gy_graph_new(j->ctx);
    if (!s->g) return GY_ERR_NOMEM;
    gy_mod m = gy_mod_make(s->g, j->store, j->seed, false);
    gy_lm_in in = {.ids = gy_input(s->g, "ids", GY_I64, GY_S(s->rows, c->tokens))};
    gy_t target = gy_input(s->g, "target", GY_I64, GY_S(s->rows, c->tokens));
    gy_t h = lm->states(&m, lm->cfg, &in);
    gy_output(gy_lm_loss(&m, lm, h, target, c->chunk), "loss");
    if (logits) gy_output(lm->logits(&m, lm->cfg, h), "logits");
    s->plan = gy_compile(s->g, (gy_plan_args){0});
    return s->plan ? GY_OK : gy_error_status(j->ctx);
}

/* Entropy of single tokens of the training part: what a model that knows only frequencies reaches. */
static double token_entropy(gy_ctx *ctx, const corpus *d, int64_t v) {
    int64_t *count = gy_calloc(ctx, (size_t)v, sizeof *count);
    double h = 0, n = (double)d->held_at;
    if (!count) return NAN;
    for (int64_t i = 0; i < d->held_at; i++) count[d->token[i]]++;
    for (int64_t i = 0; i < v; i++)
        if (count[i]) h -= (double)count[i] / n * log((double)count[i] / n);
    gy_free(ctx, count);
    return h;
}

/* The logits of one window, whose tokens begin at `at`: at each marked byte, "s" against " ". */
static void judge(const corpus *d, int64_t at, int64_t t, int64_t v, const float *logits, int64_t right[3],
                  int64_t all[3]) {
    for (int64_t i = 0; i < t; i++) {
        uint8_t mark = d->mark[at + i + 1];
        const float *x = logits + i * v;
        int32_t is = d->token[at + i + 1], other = is == 's' ? ' ' : 's';
        if (mark == GY_GRAMMAR_OTHER || i < t / 2) continue; /* the subject must be inside the window */
        all[mark]++;
        right[mark] += x[is] > x[other];
    }
}

static gy_status score_all(gy_job *j, const gy_lm *lm, score *s, int64_t windows, double *loss, int64_t right[3],
                           int64_t all[3]) {
    const gy_lm_train *c = j->cfg;
    const corpus *d = j->data;
    int64_t *ids = gy_plan_input(s->plan, "ids"), *target = gy_plan_input(s->plan, "target"), n = c->tokens, done = 0;
    for (int64_t at = 0; at + s->rows <= windows; at += s->rows, done++) {
        for (int64_t r = 0; r < s->rows; r++) window(d, d->held_at + (at + r) * n, n, ids + r * n, target + r * n);
        gy_status st = gy_plan_run(s->plan);
        if (st != GY_OK) return st;
        *loss += gy_plan_scalar(s->plan, "loss");
        gy_tensor logits = gy_plan_output(s->plan, "logits");
        for (int64_t r = 0; d->mark && r < s->rows; r++)
            judge(d, d->held_at + (at + r) * n, n, lm->vocabulary, (const float *)logits.data + r * n * lm->vocabulary,
                  right, all);
    }
    *loss /= (double)done;
    return GY_OK;
}

gy_status gy_lm_evaluate(gy_job *j, const gy_lm *lm, gy_metrics *out) {
    const gy_lm_train *c = j->cfg;
    const corpus *d = j->data;
    int64_t windows = (d->n - d->held_at - 1) / c->tokens, right[3] = {0}, all[3] = {0};
    if (windows > MOST_WINDOWS) windows = MOST_WINDOWS;
    score s = {.rows = windows < c->batch ? windows : c->batch};
    double loss = 0;
    gy_status st = compile(j, lm, d->mark != NULL, &s);
    if (st == GY_OK) st = score_all(j, lm, &s, windows, &loss, right, all);
    gy_plan_free(s.plan);
    gy_graph_free(s.g);
    if (st != GY_OK) return st;
    double chance = token_entropy(j->ctx, d, lm->vocabulary);
    gy_metric_add(out, "loss", loss, chance, "nats");
    gy_metric_add(out, "perplexity", exp(loss), exp(chance), "");
    gy_metric_add(out, d->bytes ? "bits_per_byte" : "bits_per_token", loss / log(2), chance / log(2), "bits");
    if (!d->mark) return GY_OK;
    gy_metric_add(out, "above_entropy", loss - gy_grammar_entropy(), chance - gy_grammar_entropy(), "nats");
    gy_metric_add(out, "agreement", (double)right[1] / (double)all[1], 0.5, "accuracy");
    gy_metric_add(out, "agreement_attractor", (double)right[2] / (double)all[2], 0.5, "accuracy");
    return GY_OK;
}

/* ---- a sample ---- */

static gy_status write_text(gy_job *j, const corpus *d, const char *path, const int64_t *prompt, int64_t t,
                            const int64_t *more, int64_t n) {
    gy_writer *w;
    gy_status s = gy_writer_open(j->ctx, path, &w);
    if (s != GY_OK) return s;
    for (int64_t i = 0; s == GY_OK && i < t + n; i++) {
        int64_t id = i < t ? prompt[i] : more[i - t];
        char byte = (char)id;
        s = d->bytes ? gy_writer_put(w, &byte, 1) : gy_writer_printf(w, "%" PRId64 "\n", id);
    }
    if (s == GY_OK) return gy_writer_commit(w);
    gy_writer_abort(w);
    return s;
}

gy_status gy_lm_artefacts(gy_job *j, const gy_lm *lm, const char *dir) {
    enum { NEW = 480 };
    const gy_lm_train *c = j->cfg;
    const corpus *d = j->data;
    int64_t prompt[PROMPT], more[NEW], t = d->n - d->held_at < PROMPT ? d->n - d->held_at : PROMPT, n = NEW;
    /* no further than it was trained: later positions have never been seen */
    if (t >= c->tokens) t = 1;
    if (t + n > c->tokens) n = c->tokens - t;
    for (int64_t i = 0; i < t; i++) prompt[i] = d->token[d->held_at + i];
    gy_sampling sampling = {.temperature = 0.8, .top_p = 0.95, .end = -1, .seed = j->seed};
    gy_status s = gy_generate(j->ctx, lm, j->store, &sampling, prompt, NULL, 1, t, n, more);
    if (s != GY_OK) return s;
    char *path = gy_path_join(j->ctx, dir, d->bytes ? "sample.txt" : "sample.ids.txt");
    s = path ? write_text(j, d, path, prompt, t, more, n) : GY_ERR_NOMEM;
    gy_free(j->ctx, path);
    return s;
}

/* ---- members ---- */

static gy_lm family(const void *cfg) {
    return ((const gy_lm_train *)cfg)->family(cfg);
}
void gy_lm_model_build(gy_build *b) {
    gy_lm lm = family(b->cfg);
    gy_lm_build(b, &lm);
}
void gy_lm_model_objective(gy_build *b) {
    gy_lm lm = family(b->cfg);
    gy_lm_objective(b, &lm);
}
gy_status gy_lm_model_open(gy_job *j) {
    gy_lm lm = family(j->cfg);
    return gy_lm_open(j, &lm);
}
gy_status gy_lm_model_evaluate(gy_job *j, gy_metrics *out) {
    gy_lm lm = family(j->cfg);
    return gy_lm_evaluate(j, &lm, out);
}
gy_status gy_lm_model_artefacts(gy_job *j, const char *dir) {
    gy_lm lm = family(j->cfg);
    return gy_lm_artefacts(j, &lm, dir);
}
int64_t gy_lm_model_vocabulary(const void *cfg) {
    return family(cfg).vocabulary;
}
/* One prompt for all rows. The graph of inference makes the states that weights are read into; without weights it has
 * not been built yet. */
gy_status gy_lm_model_complete(gy_job *j, const gy_completion *c, int64_t *out) {
    gy_lm lm = family(j->cfg);
    if (c->t < 1 || c->rows < 1)
        return gy_fail(j->ctx, GY_ERR_USAGE, "%s: a prompt of %" PRId64 " tokens, %" PRId64 " rows", j->def->slug, c->t,
                       c->rows);
    int64_t *prompt = gy_malloc(j->ctx, (size_t)(c->rows * c->t) * sizeof *prompt);
    if (!prompt) return GY_ERR_NOMEM;
    for (int64_t r = 0; r < c->rows; r++) memcpy(prompt + r * c->t, c->prompt, (size_t)c->t * sizeof *prompt);
    gy_status s = gy_generate(j->ctx, &lm, j->store, &c->sampling, prompt, NULL, c->rows, c->t, c->n, out);
    gy_free(j->ctx, prompt);
    return s;
}
