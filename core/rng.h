/* rng.h: Philox4x32-10 (Salmon et al., SC 2011), counter-based: block i of a stream is a pure
 * function of (key, i), so any element can be drawn by any thread, and CPU and GPU agree. */
#ifndef GY_RNG_H
#define GY_RNG_H

#include "base.h"

/* Four 32-bit words for counter (lo, hi) under `key`. */
void gy_philox(uint64_t key, uint64_t counter_lo, uint64_t counter_hi, uint32_t out[4]);

/* The key of a stream: seed, name ("block3.drop") and step mixed to 64 bits. */
uint64_t gy_rng_key(uint64_t seed, uint64_t name_hash, uint64_t step);

/* u in (0,1): (w + 0.5) / 2^32 rounded to the type; never 0 or 1 in double. */
static inline double gy_uniform01(uint32_t w) {
    return ((double)w + 0.5) * (1.0 / 4294967296.0);
}

/* A sequential generator for data sets, shuffles and initial values. */
typedef struct gy_rng {
    uint64_t key, counter;
    uint32_t buf[4];
    int left;        /* words of buf still unused */
    bool has_normal; /* Box-Muller's second value waits */
    double normal;
} gy_rng;
void gy_rng_init(gy_rng *r, uint64_t seed, const char *name); /* independent streams by name */
uint32_t gy_rng_u32(gy_rng *r);
double gy_rng_uniform(gy_rng *r);                      /* (0,1) */
double gy_rng_normal(gy_rng *r);                       /* mean 0, variance 1 (Box-Muller) */
int64_t gy_rng_below(gy_rng *r, int64_t n);            /* 0..n-1, unbiased; n >= 1 */
void gy_rng_shuffle(gy_rng *r, int64_t *v, int64_t n); /* Fisher-Yates */

#endif
