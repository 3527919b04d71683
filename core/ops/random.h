/* random.h: random values, dropout.
 *
 * A draw is keyed by (seed, step, scope, name, how often that name was drawn in that scope before), and by
 * nothing else: an edit elsewhere in a model changes no mask, and the same bits come for any number of
 * threads. Element i is a function of word i mod 4 of Philox block i/4 under that key (core/rng.h); normal
 * values use the pair of words that i belongs to. `name` may be NULL. No draw has a gradient to follow;
 * gradients pass through what is computed with it (reparameterisation). */
#ifndef GY_OPS_RANDOM_H
#define GY_OPS_RANDOM_H

#include "../graph.h"

typedef enum gy_random_kind {
    GY_RANDOM_UNIFORM = 1, /* [a, b): a + (b - a) u */
    GY_RANDOM_NORMAL,      /* mean a, standard deviation b; Box-Muller in double */
    GY_RANDOM_GUMBEL,      /* a - b ln(-ln u) */
    GY_RANDOM_BERNOULLI    /* b with probability a, else 0 */
} gy_random_kind;

/* op random */
typedef struct gy_random_attr {
    int64_t key; /* 64 bits, made from scope, name and use */
    int64_t kind, dtype;
    double a, b;
    gy_shape shape;
} gy_random_attr;

/* A float value of `shape`. */
gy_t gy_random_(gy_site at, gy_graph *g, gy_random_kind kind, const char *name, gy_dtype dtype, gy_shape shape,
                double a, double b);
#define gy_random_uniform(g, name, dtype, shape, lo, hi)                                                               \
    gy_random_(GY_HERE, g, GY_RANDOM_UNIFORM, name, dtype, shape, lo, hi)
#define gy_random_normal(g, name, dtype, shape) gy_random_(GY_HERE, g, GY_RANDOM_NORMAL, name, dtype, shape, 0, 1)
#define gy_random_gumbel(g, name, dtype, shape) gy_random_(GY_HERE, g, GY_RANDOM_GUMBEL, name, dtype, shape, 0, 1)
/* 1 with probability p, else 0. */
#define gy_random_bernoulli(g, name, dtype, shape, p)                                                                  \
    gy_random_(GY_HERE, g, GY_RANDOM_BERNOULLI, name, dtype, shape, p, 1)

/* 1 with the probability that p holds, element by element; of p's shape and dtype. */
gy_t gy_bernoulli_(gy_site at, gy_t p, const char *name);
#define gy_bernoulli(p, name) gy_bernoulli_(GY_HERE, p, name)
/* i64 of `shape`, uniform over 0..n-1 (up to n / 2^32), 1 <= n < 2^32. */
gy_t gy_random_below_(gy_site at, gy_graph *g, const char *name, gy_shape shape, int64_t n);
#define gy_random_below(g, name, shape, n) gy_random_below_(GY_HERE, g, name, shape, n)
/* logits [..., K] -> i64 [...]: class k with probability softmax(logits)_k (the largest of logits + Gumbel noise). */
gy_t gy_categorical_(gy_site at, gy_t logits, const char *name);
#define gy_categorical(logits, name) gy_categorical_(GY_HERE, logits, name)

/* softmax((logits + Gumbel noise) / tau) over the last axis (Jang et al. 2017); `hard`: one-hot of the largest
 * forward, the soft gradient backward. tau > 0. */
gy_t gy_gumbel_softmax_(gy_site at, gy_t logits, const char *name, double tau, bool hard);
#define gy_gumbel_softmax(logits, name, tau, hard) gy_gumbel_softmax_(GY_HERE, logits, name, tau, hard)

/* Training-time dropout: x times a mask that is 1/(1-p) with probability 1-p, else 0. The gradient reuses the
 * mask. 0 <= p <= 1; p = 0 is x. */
gy_t gy_dropout_(gy_site at, gy_t x, const char *name, double p);
#define gy_dropout(x, name, p) gy_dropout_(GY_HERE, x, name, p)
/* One mask element for each index of axis 0 .. n-1, shared by the rest: n = 1 drops samples (stochastic
 * depth, Huang et al. 2016); `last` keeps the last axis too: n = 1, last = 1 drops whole channels. */
gy_t gy_dropout_shared_(gy_site at, gy_t x, const char *name, double p, int64_t n, bool last);
#define gy_dropout_shared(x, name, p, n, last) gy_dropout_shared_(GY_HERE, x, name, p, n, last)

#endif
