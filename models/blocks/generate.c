#include "generate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* One compiled graph for t tokens a row, with or without a past. */
typedef struct stage {
    gy_graph *graph;
    gy_plan *plan;
    int64_t tokens;
    bool past;
} stage;

struct gy_generator {
    gy_ctx *ctx;
    gy_lm lm;
    gy_generator_args args;
    gy_store *cache;
    stage step, other; /* one token; any other count */
    int64_t *start;
    int64_t length;
    float *logits;
    const stage *last;
};

static void stage_free(stage *s) {
    gy_plan_free(s->plan);
    gy_graph_free(s->graph);
    *s = (stage){0};
}

void gy_generator_free(gy_generator *g) {
    if (!g) return;
    stage_free(&g->step);
    stage_free(&g->other);
    gy_store_free(g->cache);
    gy_free(g->ctx, g->start);
    gy_free(g->ctx, g->logits);
    gy_free(g->ctx, g);
}

gy_status gy_generator_new(gy_ctx *ctx, gy_generator_args a, gy_generator **out) {
    *out = NULL;
    if (a.rows < 1 || a.capacity < 1)
        return gy_fail(ctx, GY_ERR_USAGE, "generate: %" PRId64 " rows of %" PRId64 " tokens", a.rows, a.capacity);
    if (a.lm->positions && a.capacity > a.lm->positions)
        return gy_fail(ctx, GY_ERR_USAGE, "generate: %" PRId64 " tokens, but the model has %" PRId64 " positions",
                       a.capacity, a.lm->positions);
    gy_generator *g = gy_calloc(ctx, 1, sizeof *g);
    if (!g) return GY_ERR_NOMEM;
    *g = (gy_generator){.ctx = ctx, .lm = *a.lm, .args = a};
    g->args.lm = &g->lm;
    g->cache = gy_store_new(ctx);
    g->start = gy_calloc(ctx, (size_t)a.rows, sizeof *g->start);
    g->logits = gy_calloc(ctx, (size_t)a.rows, (size_t)a.lm->vocabulary * sizeof *g->logits);
    if (!g->cache || !g->start || !g->logits) {
        gy_generator_free(g);
        return GY_ERR_NOMEM;
    }
    if (a.start) memcpy(g->start, a.start, (size_t)a.rows * sizeof *g->start);
    g->args.start = g->start;
    *out = g;
    return GY_OK;
}

int64_t gy_generator_length(const gy_generator *g) {
    return g->length;
}

const float *gy_generator_logits(const gy_generator *g) {
    return g->last ? g->logits : NULL;
}

const gy_plan *gy_generator_plan(const gy_generator *g) {
    return g->last ? g->last->plan : NULL;
}

void gy_generator_rewind(gy_generator *g, int64_t n) {
    if (n >= 0 && n < g->length) g->length = n;
}

/* Logits of each row's last token. The masks exist only where a row may be padded or a past may be short. */
static gy_status compile(gy_generator *g, int64_t t, bool past, stage *s) {
    int64_t b = g->args.rows;
    s->graph = gy_graph_new(g->ctx);
    if (!s->graph) return GY_ERR_NOMEM;
    s->tokens = t;
    s->past = past;
    gy_mod m = gy_mod_make(s->graph, g->args.store, 0, false);
    m.hooks = g->args.hooks;
    m.n_hooks = g->args.n_hooks;
    gy_kv kv = {.store = g->cache, .capacity = g->args.capacity, .slots = gy_input(s->graph, "slots", GY_I64, GY_S(t))};
    if (past) kv.seen = gy_input(s->graph, "seen", GY_U8, GY_S(b, 1, 1, g->args.capacity));
    gy_lm_in in = {.ids = gy_input(s->graph, "ids", GY_I64, GY_S(b, t)),
                   .positions = gy_input(s->graph, "positions", GY_I64, GY_S(b, t)),
                   .kv = &kv};
    if (t > 1) in.mask = gy_input(s->graph, "mask", GY_U8, GY_S(b, 1, 1, t));
    gy_t h = g->lm.states(&m, g->lm.cfg, &in);                                               /* [B, T, d] */
    gy_output(g->lm.logits(&m, g->lm.cfg, gy_squeeze(gy_slice(h, 1, t - 1, t), 1)), "next"); /* [B, V] */
    s->plan = gy_compile(s->graph, (gy_plan_args){0});
    return s->plan ? GY_OK : gy_error_status(g->ctx);
}

/* The stage for t more tokens, compiled if it is not there. */
static gy_status stage_for(gy_generator *g, int64_t t, stage **out) {
    stage *s = t == 1 ? &g->step : &g->other;
    /* a single token reads the past even when there is none: then it sees nothing there */
    bool past = t == 1 || g->length > 0;
    *out = s;
    if (t == 1) stage_free(&g->other); /* its memory was for the prompt */
    if (s->plan && s->tokens == t && s->past == past) return GY_OK;
    stage_free(s);
    gy_status st = compile(g, t, past, s);
    if (st != GY_OK) stage_free(s);
    return st;
}

gy_status gy_generator_feed(gy_generator *g, const int64_t *ids, int64_t t) {
    int64_t b = g->args.rows, cap = g->args.capacity;
    stage *s;
    if (t < 1 || g->length + t > cap)
        return gy_fail(g->ctx, GY_ERR_USAGE, "generate: %" PRId64 " tokens after %" PRId64 ", room for %" PRId64, t,
                       g->length, cap);
    for (int64_t i = 0; i < b * t; i++)
        if (ids[i] < 0 || ids[i] >= g->lm.vocabulary)
            return gy_fail(g->ctx, GY_ERR_USAGE,
                           "generate: token %" PRId64 " of row %" PRId64 " is %" PRId64 ", the vocabulary has %" PRId64,
                           i % t, i / t, ids[i], g->lm.vocabulary);
    gy_status st = stage_for(g, t, &s);
    if (st != GY_OK) return st;
    int64_t *in_ids = gy_plan_input(s->plan, "ids"), *position = gy_plan_input(s->plan, "positions");
    uint8_t *seen = gy_plan_input(s->plan, "seen"), *mask = gy_plan_input(s->plan, "mask");
    int64_t *slot = gy_plan_input(s->plan, "slots");
    memcpy(in_ids, ids, (size_t)(b * t) * sizeof *ids);
    for (int64_t i = 0; i < t; i++) slot[i] = g->length + i;
    for (int64_t r = 0; r < b; r++) {
        for (int64_t i = 0; i < t; i++) {
            int64_t at = g->length + i - g->start[r];
            if (position) position[r * t + i] = at > 0 ? at : 0;
            if (mask) mask[r * t + i] = at >= 0;
        }
        for (int64_t i = 0; seen && i < cap; i++) seen[r * cap + i] = i >= g->start[r] && i < g->length;
    }
    st = gy_plan_run(s->plan);
    if (st != GY_OK) return st;
    gy_tensor next = gy_plan_output(s->plan, "next");
    memcpy(g->logits, next.data, gy_tensor_bytes(&next));
    g->length += t;
    g->last = s;
    return GY_OK;
}

gy_status gy_generator_reorder(gy_generator *g, const int64_t *from) {
    int64_t b = g->args.rows;
    size_t most = 0;
    for (int64_t i = 0; i < gy_store_count(g->cache); i++) {
        size_t n = gy_tensor_bytes(&gy_store_at(g->cache, i)->value);
        most = n > most ? n : most;
    }
    char *copy = gy_malloc(g->ctx, most);
    if (!copy) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < gy_store_count(g->cache); i++) {
        gy_tensor *t = &gy_store_at(g->cache, i)->value;
        size_t row = gy_tensor_bytes(t) / (size_t)b, used = row / (size_t)g->args.capacity * (size_t)g->length;
        for (int64_t r = 0; r < b; r++) memcpy(copy + (size_t)r * row, (char *)t->data + (size_t)from[r] * row, used);
        for (int64_t r = 0; r < b; r++) memcpy((char *)t->data + (size_t)r * row, copy + (size_t)r * row, used);
    }
    gy_free(g->ctx, copy);
    return GY_OK;
}

/* ---- whole texts ---- */

static gy_status sample_rows(gy_ctx *ctx, const gy_lm *lm, gy_generator *g, const gy_sampling *s, const int64_t *prompt,
                             const int64_t *start, int64_t rows, int64_t t, int64_t n, int64_t *out) {
    int64_t *text = gy_malloc(ctx, (size_t)(rows * (t + n)) * sizeof *text);
    int64_t *next = gy_malloc(ctx, (size_t)rows * sizeof *next);
    double *scratch = gy_malloc(ctx, (size_t)(2 * lm->vocabulary) * sizeof *scratch);
    gy_rng *rng = gy_calloc(ctx, (size_t)rows, sizeof *rng);
    gy_status st = text && next && scratch && rng ? gy_generator_feed(g, prompt, t) : GY_ERR_NOMEM;
    for (int64_t r = 0; st == GY_OK && r < rows; r++) {
        char name[48];
        snprintf(name, sizeof name, "generate.%" PRId64, r);
        gy_rng_init(&rng[r], s->seed, name);
        memcpy(text + r * (t + n), prompt + r * t, (size_t)t * sizeof *text);
    }
    for (int64_t i = 0; st == GY_OK && i < n; i++) {
        bool all_ended = s->end >= 0;
        for (int64_t r = 0; r < rows; r++) {
            int64_t pad = start ? start[r] : 0, *row = text + r * (t + n);
            bool ended = s->end >= 0 && i > 0 && row[t + i - 1] == s->end;
            next[r] = ended ? s->end
                            : gy_sample_token(gy_generator_logits(g) + r * lm->vocabulary, lm->vocabulary, s, row + pad,
                                              t + i - pad, &rng[r], scratch);
            out[r * n + i] = row[t + i] = next[r];
            all_ended = all_ended && next[r] == s->end;
        }
        bool stop = s->told && !s->told(s->user, next);
        if (all_ended || stop) {
            for (int64_t r = 0; r < rows; r++)
                for (int64_t k = i + 1; k < n; k++) out[r * n + k] = next[r] == s->end ? s->end : -1;
            break;
        }
        if (i + 1 < n) st = gy_generator_feed(g, next, 1);
    }
    gy_free(ctx, text);
    gy_free(ctx, next);
    gy_free(ctx, scratch);
    gy_free(ctx, rng);
    return st;
}

gy_status gy_generate(gy_ctx *ctx, const gy_lm *lm, gy_store *store, const gy_sampling *s, const int64_t *prompt,
                      const int64_t *start, int64_t rows, int64_t t, int64_t n, int64_t *out) {
    if (rows < 1 || t < 1 || n < 0)
        return gy_fail(ctx, GY_ERR_USAGE, "generate: %" PRId64 " new tokens for %" PRId64 " prompts of %" PRId64, n,
                       rows, t);
    for (int64_t r = 0; start && r < rows; r++)
        if (start[r] < 0 || start[r] >= t)
            return gy_fail(ctx, GY_ERR_USAGE, "generate: row %" PRId64 " has %" PRId64 " tokens of padding of %" PRId64,
                           r, start[r], t);
    if (n == 0) return GY_OK;
    gy_status st = GY_OK;
    if (s->beams > 1) {
        for (int64_t r = 0; st == GY_OK && r < rows; r++) {
            int64_t pad = start ? start[r] : 0;
            st = gy_beam_search(ctx, lm, store, s, prompt + r * t + pad, t - pad, n, out + r * n);
        }
        return st;
    }
    gy_generator *g = NULL;
    st = gy_generator_new(ctx, (gy_generator_args){lm, store, rows, t + n, start}, &g);
    if (st == GY_OK) st = sample_rows(ctx, lm, g, s, prompt, start, rows, t, n, out);
    gy_generator_free(g);
    return st;
}
