/* gpt2.h: GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners"): a stack of pre-norm
 * blocks over learned positions,
 *
 *     x_0 = wte[token] + wpe[position]
 *     x  += W_o attention(LN_1(x)) + b_o
 *     x  += W_2 gelu(W_1 LN_2(x) + b_1) + b_2        gelu in its tanh form
 *     logits = LN_f(x) wte^T
 *
 * Parameters carry the keys of the public checkpoints (transformers' GPT2Model): wte.weight [V, d], wpe.weight [P, d],
 * h.<l>.ln_1, ln_2 (weight, bias), h.<l>.attn.c_attn [d, 3 d] (queries, keys, values side by side), attn.c_proj
 * [d, d], mlp.c_fc [d, f], mlp.c_proj [f, d], ln_f. Unlike everywhere else these matrices are [in, out]. */
#ifndef GY_BLOCKS_GPT2_H
#define GY_BLOCKS_GPT2_H

#include "lm.h"

typedef struct gy_gpt2_config {
    int64_t layers, heads, width;
    int64_t inner; /* 0: 4 width */
    int64_t positions, vocabulary;
    double eps;     /* 0: 1e-5 */
    double dropout; /* on embeddings and on what each half of a block adds, while training */
} gy_gpt2_config;

/* Public sizes, as initialisers: 124,439,808, 354,823,168, 774,030,080 and 1,557,611,200 parameters. */
#define GY_GPT2_SMALL  12, 12, 768, 0, 1024, 50257, 1e-5, 0.1
#define GY_GPT2_MEDIUM 24, 16, 1024, 0, 1024, 50257, 1e-5, 0.1
#define GY_GPT2_LARGE  36, 20, 1280, 0, 1024, 50257, 1e-5, 0.1
#define GY_GPT2_XL     48, 25, 1600, 0, 1024, 50257, 1e-5, 0.1

/* tokens [B, T] -> [B, T, d] */
gy_t gy_gpt2_embed(gy_mod *m, const gy_gpt2_config *c, gy_t ids);
/* -> states [B, T, d] after the final norm. Poisons the graph for more tokens than positions. */
gy_t gy_gpt2(gy_mod *m, const gy_gpt2_config *c, const gy_lm_in *in);
/* states [..., d] -> [..., V] by the tied token matrix; point "logits". */
gy_t gy_gpt2_logits(gy_mod *m, const gy_gpt2_config *c, gy_t states);
gy_lm gy_gpt2_lm(const gy_gpt2_config *c); /* c must outlive it */

/* Names in files saved with a head on top ("transformer." before each), and what those files hold besides. */
extern const gy_weight_rule gy_gpt2_rules[];
extern const char *const gy_gpt2_ignorable[];

#endif
