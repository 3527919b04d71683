/* generate.h: text from a language model, token by token, with a key/value cache.
 *
 * A generator holds rows that grow together. Feeding tokens runs them on top of the cache: the prompt at once
 * (prefill), then one token a row (step); the step's graph is compiled once. Prompts of different lengths are padded
 * on the left: a row counts from its `start`. */
#ifndef GY_BLOCKS_GENERATE_H
#define GY_BLOCKS_GENERATE_H

#include "lm.h"

typedef struct gy_generator gy_generator;

typedef struct gy_generator_args {
    const gy_lm *lm;  /* copied; its configuration must outlive the generator */
    gy_store *store;  /* the weights; not to be changed while the generator lives: in precision bf16 the step for one
                         token keeps them rounded */
    int64_t rows;     /* sequences side by side */
    int64_t capacity; /* most tokens of a row, padding included */
    const int64_t *start; /* [rows] tokens of padding before each row; NULL: none */
    const gy_hook *hooks; /* act on every feed; must outlive the generator */
    int64_t n_hooks;
} gy_generator_args;
gy_status gy_generator_new(gy_ctx *ctx, gy_generator_args args, gy_generator **out) GY_MUST_CHECK;
void gy_generator_free(gy_generator *g); /* NULL is fine */

/* ids [rows, t]; 1 <= t, length + t <= capacity, 0 <= id < vocabulary (padding: any such id). */
gy_status gy_generator_feed(gy_generator *g, const int64_t *ids, int64_t t) GY_MUST_CHECK;
const float *gy_generator_logits(const gy_generator *g); /* [rows, V] after the last token fed; NULL before the first */
int64_t gy_generator_length(const gy_generator *g);
/* The plan that ran last, for reports of its work; NULL before the first feed. */
const gy_plan *gy_generator_plan(const gy_generator *g);
/* Forgets all but the first n tokens. */
void gy_generator_rewind(gy_generator *g, int64_t n);
/* Row r becomes a copy of what was row from[r] (beam search). */
gy_status gy_generator_reorder(gy_generator *g, const int64_t *from) GY_MUST_CHECK;

/* Chooses from logits [v]; `seen` [n]: the row's tokens so far. scratch: 2 v doubles. */
int64_t gy_sample_token(const float *logits, int64_t v, const gy_sampling *s, const int64_t *seen, int64_t n,
                        gy_rng *rng, double *scratch);

/* The n tokens that the best of o->beams running sequences adds to one prompt [t]: out [n], filled up with o->end. */
gy_status gy_beam_search(gy_ctx *ctx, const gy_lm *lm, gy_store *store, const gy_sampling *o, const int64_t *prompt,
                         int64_t t, int64_t n, int64_t *out) GY_MUST_CHECK;

/* prompt [rows, t] (left padded, start [rows] or NULL) -> out [rows, n] new tokens. Row r draws from a stream of its
 * own, keyed by (seed, r). */
gy_status gy_generate(gy_ctx *ctx, const gy_lm *lm, gy_store *store, const gy_sampling *s, const int64_t *prompt,
                      const int64_t *start, int64_t rows, int64_t t, int64_t n, int64_t *out) GY_MUST_CHECK;

#endif
