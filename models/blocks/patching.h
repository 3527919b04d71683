/* patching.h: which attention heads carry what, and to where: path patching (Wang et al. 2022, arXiv 2211.00593;
 * Goldowsky-Dill et al. 2023, arXiv 2304.05969) and mean ablation of heads, on any transformer with the hook points of
 * attend.h.
 *
 * A clean prompt and a corrupt one of equal length differ in what the model should answer. m is the logit of the clean
 * answer minus that of the alternative, at the last token. The effect of sender s on receivers R:
 *
 *     1. clean and corrupt runs; every head's output z is kept
 *     2. clean run with every z held at its clean value, but z_s at its corrupt one: what R would read (queries, keys
 *        or values of some heads, or the logits) if s alone had changed, and only by paths without another head
 *     3. clean run with what R reads replaced by that
 *     effect = (m_3 - m_clean) / (m_corrupt - m_clean)
 *
 * MLPs are computed anew in step 2, so that paths through them count as direct. 1 means that the path alone flips the
 * answer; effects are signed and may exceed 1. */
#ifndef GY_BLOCKS_PATCHING_H
#define GY_BLOCKS_PATCHING_H

#include "../../core/model.h"

typedef struct gy_head {
    int64_t layer, head;
} gy_head;

/* What receivers read. */
typedef enum gy_receiver { GY_TO_LOGITS = 0, GY_TO_Q, GY_TO_K, GY_TO_V } gy_receiver;

typedef struct gy_prompts {
    int64_t rows, tokens;
    const int64_t *clean, *corrupt; /* ids [rows, tokens] */
    const int64_t *answer, *other;  /* [rows] */
} gy_prompts;

typedef struct gy_patching gy_patching;
/* The job's model must take "ids" [rows, tokens] and give "logits" [rows, tokens, V], with as many query as key heads.
 * Runs step 1. `position`: senders change at this token only; -1: at all. `unfrozen`: step 2 lets later heads see the
 * change, which is not path patching (what is then found are all paths): for comparison. */
gy_status gy_patching_new(gy_job *j, const gy_prompts *prompts, int64_t layers, int64_t heads, int64_t position,
                          bool unfrozen, gy_patching **out) GY_MUST_CHECK;
void gy_patching_free(gy_patching *p);             /* NULL is fine */
double gy_patching_clean(const gy_patching *p);    /* mean m of clean prompts */
double gy_patching_corrupt(const gy_patching *p);  /* of corrupt ones */
double gy_patching_accuracy(const gy_patching *p); /* clean prompts whose most probable token is the answer */

/* effect [layers, heads] of each head on what `to` is of the n receivers (n 0 for logits). Senders that no path leads
 * from have 0. */
gy_status gy_patching_map(gy_patching *p, gy_receiver to, int64_t n, const gy_head *receiver,
                          double *effect) GY_MUST_CHECK;
/* drop [layers, heads]: how much the log-probability of the answer falls when a head's output is replaced by its mean
 * over the prompts, token by token. */
gy_status gy_patching_ablate(gy_patching *p, double *drop) GY_MUST_CHECK;
/* Clean prompts again, with row `token` of the pattern of `head` replaced by weights [rows, tokens]: the accuracy, and,
 * if `watched` is given, the mean weight of its last row on `on` [rows] tokens in that run. */
gy_status gy_patching_repair(gy_patching *p, gy_head head, int64_t token, const float *weights, const gy_head *watched,
                             const int64_t *on, double *accuracy, double *watched_weight) GY_MUST_CHECK;

#endif
