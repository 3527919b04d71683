/* How the next token is chosen from logits: greedily, by chance, or by a search that keeps several beginnings. */
#include "generate.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct candidate {
    double value;
    int64_t id;
} candidate;

/* Largest first, equal ones by id. */
static int by_value(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->value != y->value) return x->value < y->value ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

int64_t gy_sample_token(const float *logits, int64_t v, const gy_sampling *s, const int64_t *seen, int64_t n,
                        gy_rng *rng, double *scratch) {
    candidate *c = (candidate *)(void *)scratch; /* 16 bytes each */
    for (int64_t i = 0; i < v; i++) c[i] = (candidate){logits[i], i};
    for (int64_t i = 0; i < n; i++) {
        double *x = &c[seen[i]].value;
        *x -= s->frequency;
        bool first = true; /* the repetition penalty counts a token once */
        for (int64_t k = 0; s->repetition > 0 && k < i && first; k++) first = seen[k] != seen[i];
        if (s->repetition > 0 && first) *x = *x > 0 ? *x / s->repetition : *x * s->repetition;
    }
    if (s->temperature <= 0) {
        int64_t best = 0;
        for (int64_t i = 1; i < v; i++)
            if (c[i].value > c[best].value) best = i;
        return best;
    }
    int64_t kept = v;
    if (s->top_k > 0 || s->top_p > 0) qsort(c, (size_t)v, sizeof *c, by_value);
    if (s->top_k > 0 && s->top_k < v) kept = s->top_k;
    double top = c[0].value, sum = 0;
    for (int64_t i = 1; i < kept; i++) top = c[i].value > top ? c[i].value : top;
    for (int64_t i = 0; i < kept; i++) sum += c[i].value = exp((c[i].value - top) / s->temperature);
    if (s->top_p > 0 && s->top_p < 1) {
        double reached = 0;
        int64_t i = 0;
        while (i < kept && reached < s->top_p * sum) reached += c[i++].value;
        kept = i;
        sum = reached;
    }
    double u = gy_rng_uniform(rng) * sum;
    for (int64_t i = 0; i < kept; i++)
        if ((u -= c[i].value) < 0) return c[i].id;
    return c[kept - 1].id;
}

/* ---- beam search ---- */

/* A finished sequence: `n` new tokens, the end token included. */
typedef struct hypothesis {
    double score;
    int64_t n;
    int64_t *token;
} hypothesis;

typedef struct beams {
    int64_t width, v, most; /* beams; vocabulary; new tokens at most */
    double power;
    hypothesis *done; /* [width], best kept */
    int64_t n_done;
    int64_t *token, *spare; /* [width, most] the running beams */
    double *score;          /* [width] */
    candidate *pick;        /* [2 width] the best continuations, id = beam V + token */
    int64_t *from, *next;   /* [width] */
} beams;

static void finish(beams *s, const int64_t *token, int64_t n, double score) {
    hypothesis *worst = &s->done[0];
    score /= pow((double)n, s->power);
    if (s->n_done < s->width) {
        worst = &s->done[s->n_done++];
    } else {
        for (int64_t i = 1; i < s->width; i++)
            if (s->done[i].score < worst->score) worst = &s->done[i];
        if (score <= worst->score) return;
    }
    worst->score = score;
    worst->n = n;
    memcpy(worst->token, token, (size_t)n * sizeof *token);
}

/* The 2 width best of width x V continuations, in order: an insertion into a short sorted list. */
static void best_continuations(beams *s, const float *logits) {
    int64_t n = 0, most = 2 * s->width;
    for (int64_t b = 0; b < s->width; b++) {
        const float *x = logits + b * s->v;
        double top = x[0], sum = 0;
        for (int64_t i = 1; i < s->v; i++) top = x[i] > top ? x[i] : top;
        for (int64_t i = 0; i < s->v; i++) sum += exp(x[i] - top);
        double shift = s->score[b] - top - log(sum);
        for (int64_t i = 0; i < s->v; i++) {
            candidate c = {x[i] + shift, b * s->v + i};
            if (n == most && by_value(&c, &s->pick[n - 1]) >= 0) continue;
            int64_t k = n < most ? n++ : most - 1;
            for (; k > 0 && by_value(&c, &s->pick[k - 1]) < 0; k--) s->pick[k] = s->pick[k - 1];
            s->pick[k] = c;
        }
    }
}

/* Continues the beams by one token (their n-th new one); false when no running beam can still win. */
static bool extend(beams *s, const float *logits, int64_t n, int64_t end) {
    best_continuations(s, logits);
    double best = s->pick[0].value;
    int64_t kept = 0;
    for (int64_t i = 0; i < 2 * s->width && kept < s->width; i++) {
        int64_t b = s->pick[i].id / s->v, id = s->pick[i].id % s->v;
        if (id == end) { /* counts only among the best `width` */
            s->token[b * s->most + n] = id;
            if (i < s->width) finish(s, s->token + b * s->most, n + 1, s->pick[i].value);
            continue;
        }
        memcpy(s->spare + kept * s->most, s->token + b * s->most, (size_t)n * sizeof *s->token);
        s->spare[kept * s->most + n] = id;
        s->next[kept] = id;
        s->from[kept] = b;
        s->score[kept++] = s->pick[i].value;
    }
    int64_t *t = s->token;
    s->token = s->spare;
    s->spare = t;
    if (s->n_done < s->width) return true;
    double worst = s->done[0].score;
    for (int64_t i = 1; i < s->width; i++) worst = s->done[i].score < worst ? s->done[i].score : worst;
    return worst < best / pow((double)(n + 1), s->power);
}

static gy_status search(gy_ctx *ctx, beams *s, gy_generator *g, const int64_t *prompt, int64_t t, int64_t n,
                        int64_t end, int64_t *out) {
    int64_t *repeated = gy_malloc(ctx, (size_t)(s->width * t) * sizeof *repeated);
    if (!repeated) return GY_ERR_NOMEM;
    for (int64_t b = 0; b < s->width; b++) {
        memcpy(repeated + b * t, prompt, (size_t)t * sizeof *prompt);
        s->score[b] = b ? -1e9 : 0; /* all beams begin alike: only one of them counts */
    }
    gy_status st = gy_generator_feed(g, repeated, t);
    gy_free(ctx, repeated);
    for (int64_t i = 0; st == GY_OK && i < n; i++) {
        bool more = extend(s, gy_generator_logits(g), i, end);
        for (int64_t b = 0; b < s->width && i == n - 1; b++) finish(s, s->token + b * s->most, n, s->score[b]);
        if (!more || i == n - 1) break;
        st = gy_generator_reorder(g, s->from);
        if (st == GY_OK) st = gy_generator_feed(g, s->next, 1);
    }
    const hypothesis *best = &s->done[0];
    for (int64_t i = 1; i < s->n_done; i++)
        if (s->done[i].score > best->score) best = &s->done[i];
    for (int64_t i = 0; st == GY_OK && i < n; i++) out[i] = i < best->n ? best->token[i] : end;
    return st;
}

gy_status gy_beam_search(gy_ctx *ctx, const gy_lm *lm, gy_store *store, const gy_sampling *o, const int64_t *prompt,
                         int64_t t, int64_t n, int64_t *out) {
    int64_t w = o->beams;
    gy_arena mem;
    gy_arena_init(&mem, ctx);
    beams s = {.width = w, .v = lm->vocabulary, .most = n, .power = o->length_power > 0 ? o->length_power : 1};
    s.done = gy_arena_alloc(&mem, (size_t)w * sizeof *s.done);
    s.token = gy_arena_alloc(&mem, (size_t)(w * n) * sizeof *s.token);
    s.spare = gy_arena_alloc(&mem, (size_t)(w * n) * sizeof *s.spare);
    s.score = gy_arena_alloc(&mem, (size_t)w * sizeof *s.score);
    s.pick = gy_arena_alloc(&mem, (size_t)(2 * w) * sizeof *s.pick);
    s.from = gy_arena_alloc(&mem, (size_t)w * sizeof *s.from);
    s.next = gy_arena_alloc(&mem, (size_t)w * sizeof *s.next);
    bool whole = s.done && s.token && s.spare && s.score && s.pick && s.from && s.next;
    for (int64_t i = 0; whole && i < w; i++)
        whole = (s.done[i].token = gy_arena_alloc(&mem, (size_t)n * sizeof(int64_t))) != NULL;
    gy_generator *g = NULL;
    gy_status st = whole ? gy_generator_new(ctx, (gy_generator_args){lm, store, w, t + n}, &g) : GY_ERR_NOMEM;
    if (st == GY_OK) st = search(ctx, &s, g, prompt, t, n, o->end, out);
    gy_generator_free(g);
    gy_arena_free(&mem);
    return st;
}
