/* hmm.h: hidden Markov chains with given emissions: what is known about the states once everything has been seen.
 *
 * A chain of S states: log_initial [S], log_transition [S, S] (row: from), and the log-probability of what was seen at
 * each of T steps under each state, log_emission [T, S]. -inf is allowed everywhere and means "impossible". All in log
 * space: a state that is unlikely by e^-1000 at one step may be the only one left at the next. Rabiner, Proceedings of
 * the IEEE 77 (1989), sections III.A to III.C. */
#ifndef GY_HMM_H
#define GY_HMM_H

#include "../base.h"

typedef struct gy_hmm {
    int64_t states; /* >= 1 */
    const double *log_initial, *log_transition;
} gy_hmm;

/* Forward-backward. gamma [T, S]: p(state at t | all); pairs [S, S]: expected number of moves i -> j, summed over the
 * T - 1 steps; step [T]: log p(seen at t | seen before t), which sums to log_likelihood. Each output may be NULL.
 * T >= 1. A sequence of probability 0 is GY_ERR_NUMERIC, as is NaN. */
gy_status gy_la_hmm_posterior(gy_ctx *ctx, const gy_hmm *h, int64_t steps, const double *log_emission, double *gamma,
                              double *pairs, double *step, double *log_likelihood) GY_MUST_CHECK;

/* The most probable path [T] (the lower state among equals) and log p(path, seen), which may be NULL. */
gy_status gy_la_hmm_viterbi(gy_ctx *ctx, const gy_hmm *h, int64_t steps, const double *log_emission, int64_t *path,
                            double *log_probability) GY_MUST_CHECK;

#endif
