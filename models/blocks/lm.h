/* lm.h: what decoder-only language models share: rotary positions, the loss over a large vocabulary, the view that
 * training (lm_train.h) and generation (generate.h) have of a family. gpt2.h and llama.h are the families. */
#ifndef GY_BLOCKS_LM_H
#define GY_BLOCKS_LM_H

#include "attend.h"

/* What a language model's graph is given. */
typedef struct gy_lm_in {
    gy_t ids;        /* i64 [B, T] */
    gy_t embedded;   /* [B, T, d] instead of ids (prefix tuning, CLIPCap), or GY_NONE */
    gy_t positions;  /* i64 [B, T]; GY_NONE: 0 .. T-1 */
    gy_t mask;       /* u8 [B, 1, 1, T], 0 at padding; GY_NONE: none */
    const gy_kv *kv; /* NULL: the whole sequence at once, nothing is kept */
} gy_lm_in;

/* A family with a configuration, as loss and generation see it. */
typedef struct gy_lm {
    const void *cfg;
    gy_t (*states)(gy_mod *m, const void *cfg, const gy_lm_in *in); /* -> [B, T, d] after the final norm */
    gy_t (*logits)(gy_mod *m, const void *cfg, gy_t states);        /* [..., d] -> [..., V] */
    int64_t layers, kv_heads, head_width, vocabulary;
    int64_t positions; /* most tokens of a sequence; 0: no bound of its own */
} gy_lm;

/* Batch and tokens of `in`. */
int64_t gy_lm_batch(const gy_lm_in *in);
int64_t gy_lm_tokens(const gy_lm_in *in);

/* Rotary positions in Hugging Face's layout ("rotate half"; Su et al. 2021, arXiv 2104.09864 eq. 34): features j and
 * j + D/2 are turned by position * theta^(-2j/D). */
typedef struct gy_rope_args {
    double theta;
    /* Llama 3.1: wavelengths beyond original / low are stretched by `factor`, those below original / high kept, those
     * between blended. factor 0: no scaling. */
    double factor, low, high;
    int64_t original;
} gy_rope_args;
typedef struct gy_rope {
    gy_t cos, sin; /* [T, 1, D] or [B, T, 1, D] */
} gy_rope;
/* Tables for the tokens of `in`, whose positions are below `count` (more with a cache). */
gy_rope gy_rope_tables(gy_mod *m, const gy_rope_args *a, const gy_lm_in *in, int64_t width);
gy_t gy_rope_turn(gy_rope r, gy_t x); /* [B, T, H, D] */

/* Mean cross-entropy of the next tokens: states [B, T, d], target i64 [B, T] with -100 where nothing is asked. Logits
 * are formed for `chunk` rows at a time and again in the backward pass, so that [B T, V] never exists; chunk 0: 1024.
 */
gy_t gy_lm_loss(gy_mod *m, const gy_lm *lm, gy_t states, gy_t target, int64_t chunk);

#endif
