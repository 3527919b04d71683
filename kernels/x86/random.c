/* Uniform values and dropout masks, f32: bit for bit what kernels/ref/random.c draws. Philox is run on LANES
 * blocks side by side in plain C, which the compiler turns into 32 x 32 -> 64 bit vector products; about 25 integer
 * operations an element, 4 bytes written. Masks compare integers: u < p holds for the words below a threshold. */
#include "rows.h"
#include "vec.h"

#include "core/rng.h"

#include <math.h>

enum { LANES = 16, GRAIN = 16384 }; /* GRAIN: a multiple of 4 LANES */

bool GY_ISAFN(x86_random_supports)(const gy_kargs *k) {
    int64_t kind = ((const gy_random_attr *)k->attr)->kind;
    return kind == GY_RANDOM_UNIFORM || kind == GY_RANDOM_BERNOULLI;
}

/* Words of blocks first .. first + LANES-1; word q of block l in w[q][l]. */
static void philox_lanes(uint64_t key, uint64_t first, uint32_t w[4][LANES]) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (uint64_t l = 0; l < LANES; l++) {
        w[0][l] = (uint32_t)(first + l);
        w[1][l] = (uint32_t)((first + l) >> 32);
        w[2][l] = w[3][l] = 0;
    }
    for (int round = 0; round < 10; round++) {
        for (int l = 0; l < LANES; l++) {
            uint64_t p0 = (uint64_t)0xD2511F53u * w[0][l], p1 = (uint64_t)0xCD9E8D57u * w[2][l];
            w[0][l] = (uint32_t)(p1 >> 32) ^ w[1][l] ^ k0;
            w[2][l] = (uint32_t)(p0 >> 32) ^ w[3][l] ^ k1;
            w[1][l] = (uint32_t)p1;
            w[3][l] = (uint32_t)p0;
        }
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

typedef struct {
    const gy_kargs *k;
    uint64_t key;
    double below;      /* mask: how many of the 2^32 words give `value` */
    float value, last; /* uniform: the largest value below the open end */
} draw_job;

static void draw_block(const draw_job *j, const uint32_t w[4][LANES], float y[4 * LANES]) {
    const gy_random_attr *a = j->k->attr;
    if (a->kind == GY_RANDOM_BERNOULLI) {
        uint32_t top = (uint32_t)(j->below - 1); /* below >= 1 */
        for (int l = 0; l < LANES; l++)
            for (int q = 0; q < 4; q++) y[4 * l + q] = w[q][l] <= top ? j->value : 0;
        return;
    }
    double lo = a->a, span = a->b - a->a;
    for (int l = 0; l < LANES; l++)
        for (int q = 0; q < 4; q++) {
            float v = (float)(lo + span * gy_uniform01(w[q][l]));
            y[4 * l + q] = v > j->last ? j->last : v;
        }
}

static void random_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const draw_job *j = arg;
    float *y = j->k->out[0].data, some[4 * LANES];
    uint32_t w[4][LANES];
    int64_t lo, hi;
    gy_tile_range(gy_shape_count(j->k->out[0].shape), GRAIN, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i += 4 * LANES) {
        philox_lanes(j->key, (uint64_t)i / 4, w);
        bool whole = i + 4 * LANES <= hi;
        draw_block(j, (const uint32_t(*)[LANES])w, whole ? y + i : some);
        if (!whole) memcpy(y + i, some, sizeof(float) * (size_t)(hi - i));
    }
}

void GY_ISAFN(x86_random_f32)(const gy_kargs *k) {
    const gy_random_attr *a = k->attr;
    const int64_t *rng = k->in[0].data;
    int64_t n = gy_shape_count(k->out[0].shape);
    draw_job j = {.k = k, .key = gy_rng_key((uint64_t)rng[0], (uint64_t)a->key, (uint64_t)rng[1])};
    if (a->kind == GY_RANDOM_BERNOULLI) {
        j.below = ceil(a->a * 4294967296.0 - 0.5); /* words w with (w + 0.5) / 2^32 < p */
        j.value = (float)a->b;
        if (j.below < 1) {
            memset(k->out[0].data, 0, sizeof(float) * (size_t)n);
            return;
        }
    } else {
        j.last = a->a < a->b ? nextafterf((float)a->b, -INFINITY) : (float)a->b;
    }
    gy_par(k->pool, gy_tiles(n, GRAIN), random_tile, &j);
}
