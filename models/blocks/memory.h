/* memory.h: a memory that learns while it reads (Behrouz, Zhong, Mirrokni 2024, "Titans: Learning to Memorize at Test
 * Time", arXiv 2501.00663, section 3). The memory is a small network M, one a sequence and head, whose weights are the
 * state. Each token is a training step of it:
 *
 *     l(M; x_t) = |M(k_t) - v_t|^2                        eq. (12): the loss; its gradient is the "surprise"
 *     S_t = eta_t S_{t-1} - theta_t grad l(M; x_t)        eq. (10), (14): surprise with momentum
 *     M_t = (1 - alpha_t) M_{t-1} + S_t                   eq. (13): and forgetting
 *     y_t = M_t(q_t)                                      eq. (15): reading changes nothing
 *
 * A chunk of tokens takes all its gradients at the weights M_0, S_0 that the chunk begins with (section 3.2; chunks of
 * one token are the recurrence itself). Then both recurrences are linear, and with
 *
 *     A_ts = prod_{s<j<=t} (1 - alpha_j),   E_si = prod_{i<j<=s} eta_j,   C_ti = sum_s A_ts E_si theta_i
 *     M_t = c_t M_0 + e_t S_0 - sum_{i<=t} C_ti grad l_i,    c_t = A_t0,  e_t = sum_s A_ts E_s0
 *
 * The gradient of a layer's matrix is an outer product of what went in, a_i, and what comes back, delta_i, so that no
 * matrix but the chunk's first and last is ever formed: a layer of M_t applied to z_t is
 *
 *     W_t z_t = c_t W_0 z_t + e_t S_0 z_t - sum_{i<=t} C_ti (a_i . z_t) delta_i
 *
 * which is causal linear attention with keys a and values delta, for a memory of any depth. Training the model around
 * it differentiates through all of this: delta is itself made by gy_grad, of the same operators. */
#ifndef GY_BLOCKS_MEMORY_H
#define GY_BLOCKS_MEMORY_H

#include "../../core/gyrus.h"

enum { GY_MEMORY_DEPTH = 4 };

/* M(z) = W_n silu(... W_2 silu(W_1 z)); depth 1: a matrix. */
typedef struct gy_memory {
    int64_t depth;                  /* 1 .. GY_MEMORY_DEPTH */
    gy_t weight[GY_MEMORY_DEPTH];   /* [B, H, out, in], or [H, out, in] at the start: the same for all sequences */
    gy_t momentum[GY_MEMORY_DEPTH]; /* the same shapes; GY_NONE: zero */
} gy_memory;

/* What a token does to the memory: logits [B, H, T] of theta, eta and alpha. */
typedef struct gy_memory_gates {
    gy_t theta, eta, alpha;
    double rate; /* theta = rate sigmoid(logit); 0: 1 */
} gy_memory_gates;

/* z [B, H, T, D] -> M(z) [B, H, T, D] with the weights as they are. */
gy_t gy_memory_read(const gy_memory *m, gy_t z);
/* Reads tokens q, k, v [B, H, T, D] in chunks of `chunk` >= 1 tokens (the last may be shorter), and leaves the weights
 * and momenta after the last token in *m. Returns y [B, H, T, D]. */
gy_t gy_memorize(gy_memory *m, gy_t q, gy_t k, gy_t v, const gy_memory_gates *gates, int64_t chunk);

#endif
