/* gumbel.h: relaxed one-hot choices beside gy_gumbel_softmax (core/ops/random.h), which draws them. */
#ifndef GY_BLOCKS_GUMBEL_H
#define GY_BLOCKS_GUMBEL_H

#include "../../core/gyrus.h"

/* Log-density of the concrete distribution (Maddison et al. 2017, arXiv 1611.00712 eq. 2; Jang et al. 2017) over K
 * classes: log Gamma(K) + (K-1) log tau + sum_k (log pi_k - (tau+1) log a_k) - K log sum_k pi_k a_k^-tau.
 * log_pi, log_a [..., K], logs of points of the simplex, broadcast -> [...]; tau > 0. */
gy_t gy_concrete_log_density(gy_t log_pi, gy_t log_a, double tau);

#endif
