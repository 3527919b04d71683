/* Random values: element i from Philox block i/4. Everything is computed in double and rounded once. */
#define GY_REF_FILE "kernels/ref/random.c"
#include "ref.h"

#ifndef GY_REF_RANDOM_SHARED
#define GY_REF_RANDOM_SHARED
#include "../../core/rng.h"

enum { GRAIN = 4096 }; /* a multiple of 4: no block is cut */

typedef struct {
    const gy_kargs *k;
    uint64_t key;
} draw_job;

/* Element i of the stream, of which w is the block. */
static double draw(const gy_random_attr *a, int64_t i, const uint32_t w[4]) {
    double u = gy_uniform01(w[i % 4]);
    switch (a->kind) {
    case GY_RANDOM_UNIFORM: return a->a + (a->b - a->a) * u;
    case GY_RANDOM_NORMAL: { /* Box-Muller: the even element of a pair is the cosine, the odd one the sine */
        int64_t pair = i % 4 & 2;
        double r = sqrt(-2 * log(gy_uniform01(w[pair])));
        double angle = 6.283185307179586476925286766559 * gy_uniform01(w[pair + 1]);
        return a->a + a->b * r * (i % 2 ? sin(angle) : cos(angle));
    }
    case GY_RANDOM_GUMBEL: return a->a - a->b * log(-log(u));
    default: return u < a->a ? a->b : 0;
    }
}
#endif

#ifdef T

static void NAME(random_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const draw_job *j = arg;
    const gy_random_attr *a = j->k->attr;
    T *y = j->k->out[0].data;
    uint32_t w[4];
    int64_t lo, hi;
    gy_tile_range(gy_shape_count(j->k->out[0].shape), GRAIN, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        if (i % 4 == 0) gy_philox(j->key, (uint64_t)i / 4, 0, w);
        y[i] = (T)draw(a, i, w);
        /* rounding must not reach the open end of [a, b) */
        if (a->kind == GY_RANDOM_UNIFORM && y[i] >= (T)a->b && a->a < a->b)
            y[i] = sizeof(T) == sizeof(float) ? (T)nextafterf((float)a->b, -INFINITY) : (T)nextafter(a->b, -INFINITY);
    }
}

void NAME(random)(const gy_kargs *k);
void NAME(random)(const gy_kargs *k) {
    const gy_random_attr *a = k->attr;
    const int64_t *rng = k->in[0].data;
    draw_job j = {k, gy_rng_key((uint64_t)rng[0], (uint64_t)a->key, (uint64_t)rng[1])};
    gy_par(k->pool, gy_tiles(gy_shape_count(k->out[0].shape), GRAIN), NAME(random_tile), &j);
}

#endif
