/* lm_train.h: training a language model on text: what the registered models gpt2, llama and qwen2 have in common.
 *
 * Data: --data FILE, whose bytes are the tokens, or a .npy of token ids (one axis); without it, the grammar of
 * data/grammar.h. The last tenth is held out. A batch is `batch` windows of `tokens` + 1 tokens at places drawn from
 * (seed, step). */
#ifndef GY_BLOCKS_LM_TRAIN_H
#define GY_BLOCKS_LM_TRAIN_H

#include "lm.h"

/* The first member of such a model's configuration. */
typedef struct gy_lm_train {
    int64_t tokens; /* of a window, and of the inference graph */
    int64_t batch, steps;
    double lr, warmup, weight_decay;  /* cosine to a tenth; warm-up as a share of the steps */
    int64_t chunk;                    /* rows whose logits exist at a time */
    gy_lm (*family)(const void *cfg); /* the model of a whole configuration, which it may point into; no option */
} gy_lm_train;

/* Options for a configuration struct whose first member is `train`. */
#define GY_LM_TRAIN_OPTIONS(config)                                                                                    \
    {"tokens", "tokens of a window", GY_OPT_INT, offsetof(config, train.tokens), 1, 1 << 20},                          \
        {"batch", "windows of a step", GY_OPT_INT, offsetof(config, train.batch), 1, 1 << 16},                         \
        {"steps", "training steps", GY_OPT_INT, offsetof(config, train.steps), 1, 1e9},                                \
        {"lr", "largest learning rate", GY_OPT_REAL, offsetof(config, train.lr), 0, 10},                               \
        {"warmup", "share of the steps in which it rises", GY_OPT_REAL, offsetof(config, train.warmup), 0, 1},         \
        {"weight_decay", "of matrices", GY_OPT_REAL, offsetof(config, train.weight_decay), 0, 10}, {                   \
        "chunk", "rows whose logits exist at a time", GY_OPT_INT, offsetof(config, train.chunk), 1, 1 << 24            \
    }

/* Bodies of members of gy_model_def. */
void gy_lm_build(gy_build *b, const gy_lm *lm);     /* ids [B, T] -> states [B, T, d], logits [B, T, V] */
void gy_lm_objective(gy_build *b, const gy_lm *lm); /* ids, target -> loss; AdamW, gradients clipped to norm 1 */
gy_status gy_lm_open(gy_job *j, const gy_lm *lm) GY_MUST_CHECK;
void gy_lm_close(gy_job *j);
gy_status gy_lm_batch_feed(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;
double gy_lm_lr(const gy_job *j, int64_t phase, int64_t step);
/* loss (nats a token; chance: the entropy of single tokens), perplexity, bits; on the grammar also how far above its
 * entropy, and the share of verbs that agree with their subject, with and without a noun of other number between. */
gy_status gy_lm_evaluate(gy_job *j, const gy_lm *lm, gy_metrics *out) GY_MUST_CHECK;
/* Writes DIR/sample.txt (sample.ids.txt for ids): a held-out beginning and what the model makes of it. */
gy_status gy_lm_artefacts(gy_job *j, const gy_lm *lm, const char *dir) GY_MUST_CHECK;

/* The same as members, for configurations that name their family. */
void gy_lm_model_build(gy_build *b);
void gy_lm_model_objective(gy_build *b);
gy_status gy_lm_model_open(gy_job *j) GY_MUST_CHECK;
gy_status gy_lm_model_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_lm_model_artefacts(gy_job *j, const char *dir) GY_MUST_CHECK;
int64_t gy_lm_model_vocabulary(const void *cfg);
gy_status gy_lm_model_complete(gy_job *j, const gy_completion *c, int64_t *out) GY_MUST_CHECK;
/* What their gy_model_def have in common, as initialisers. */
#define GY_LM_MODEL                                                                                                    \
    .family = "interpretability", .job = "token ids in; the probabilities of each next token out",                     \
    .build = gy_lm_model_build, .objective = gy_lm_model_objective, .open = gy_lm_model_open, .close = gy_lm_close,    \
    .batch = gy_lm_batch_feed, .lr = gy_lm_lr, .evaluate = gy_lm_model_evaluate, .artefacts = gy_lm_model_artefacts,   \
    .vocabulary = gy_lm_model_vocabulary, .complete = gy_lm_model_complete

#endif
