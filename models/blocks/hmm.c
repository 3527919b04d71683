/* Hidden Markov chains by parallel prefix products. */
#include "hmm.h"

/* (a o b)(i, j) = log sum_k e^{a(i, k) + b(k, j)}, or the largest term: [B, T, S, S] x 2 -> [B, T, S, S] */
static gy_t product(gy_t a, gy_t b, bool largest) {
    gy_t sum = gy_add(gy_unsqueeze(gy_swap(a, 2, 3), 4), gy_unsqueeze(b, 3)); /* [B, T, k, i, j] */
    return largest ? gy_max(sum, GY_AXES(2)) : gy_logsumexp(sum, GY_AXES(2));
}

/* Prefix products of m [B, T, S, S] along axis 1 (`reverse`: suffix products). After the round with distance d, each
 * place holds the product of the 2d matrices that end (begin) there. */
static gy_t scan(gy_t m, bool reverse, bool largest) {
    int64_t t = gy_dim(m, 1);
    for (int64_t d = 1; d < t; d *= 2) {
        gy_t early = gy_slice(m, 1, 0, t - d), late = gy_slice(m, 1, d, t);
        gy_t joined = product(early, late, largest); /* [B, T - d, S, S] */
        gy_t rest = reverse ? gy_slice(m, 1, t - d, t) : gy_slice(m, 1, 0, d);
        m = reverse ? gy_concat2(1, joined, rest) : gy_concat2(1, rest, joined);
    }
    return m;
}

/* log p(all seen, state at t) [B, T, S]; with `largest`, of the best path through the state. */
static gy_t joint(gy_t e, gy_t initial, gy_t transition, bool largest) {
    int64_t t = gy_dim(e, 1), s = gy_dim(e, 2);
    gy_t first = gy_slice(e, 1, 0, 1);                    /* [B, 1, S] */
    gy_t start = gy_unsqueeze(gy_add(first, initial), 2); /* [B, 1, 1, S] */
    if (t == 1) return gy_squeeze(start, 2);
    gy_t m = gy_add(gy_unsqueeze(gy_slice(e, 1, 1, t), 2), transition);                  /* [B, T-1, S, S] */
    gy_t p = scan(m, false, largest), q = scan(m, true, largest);                        /* of 1..t; of t+1..T-1 */
    gy_t sum = gy_add(gy_unsqueeze(gy_reshape(start, -1, 1, s), 3), p);                  /* [B, T-1, i, j] */
    gy_t alpha = largest ? gy_max(sum, GY_AXES(2)) : gy_logsumexp(sum, GY_AXES(2));      /* t = 1 .. T-1 */
    gy_t beta = largest ? gy_max(q, GY_AXES(3)) : gy_logsumexp(q, GY_AXES(3));           /* t = 0 .. T-2 */
    gy_t end = gy_full(e.g, gy_dtype_of(e), GY_S(gy_dim(e, 0), 1, s), 0);                /* t = T-1 */
    return gy_add(gy_concat2(1, gy_squeeze(start, 2), alpha), gy_concat2(1, beta, end)); /* [B, T, S] */
}

gy_hmm_nodes gy_hmm_infer(gy_t log_emission, gy_t log_initial, gy_t log_transition) {
    gy_hmm_nodes out;
    gy_t all = joint(log_emission, log_initial, log_transition, false);
    gy_t total = gy_logsumexp(gy_slice(all, 1, 0, 1), GY_AXES(1, 2)); /* [B] */
    out.posterior = gy_softmax(all, -1);
    out.log_likelihood = total;
    out.path = gy_argmax(joint(log_emission, log_initial, log_transition, true), 2);
    return out;
}
