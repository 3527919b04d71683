/* hmm.h: the posterior of a hidden Markov chain as a graph, so that a model's inference graph can end in states, and so
 * that gradients may pass through it. core/linalg/hmm.h does the same step by step in double, for training by EM.
 *
 * A chain of S states seen for T steps is a product of T matrices M_t(i, j) = A(i, j) e_t(j) in the semiring
 * (log-sum-exp,
 * +), and products are associative: log2(T) rounds of S x S products, each over all t at once, give every prefix and
 * every suffix (Hillis & Steele, CACM 29 (1986); Sarkka & Garcia-Fernandez, IEEE TAC 66 (2021)). With max in place
 * of log-sum-exp the same rounds give, at each step, the best path through each state: Viterbi's path. */
#ifndef GY_BLOCKS_HMM_H
#define GY_BLOCKS_HMM_H

#include "../../core/gyrus.h"

typedef struct gy_hmm_nodes {
    gy_t posterior;      /* [B, T, S] p(state at t | all) */
    gy_t log_likelihood; /* [B] */
    gy_t path;           /* i64 [B, T]: the most probable path, unless two paths are equally probable */
} gy_hmm_nodes;
/* log_emission [B, T, S], log_initial [S], log_transition [S, S] (row: from); T, S >= 1. Memory B T S^3. */
gy_hmm_nodes gy_hmm_infer(gy_t log_emission, gy_t log_initial, gy_t log_transition);

#endif
