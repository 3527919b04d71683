/* Random values, bit for bit those of kernels/ref/random.c: VL Philox blocks at a time, a block a lane.
 *
 * Uniform and Bernoulli values are computed in vectors of doubles by the reference's own operations. Normal values
 * share the logarithm and the angle of a pair, but take log, sin and cos from the C library, whose results no other
 * code would repeat to the bit; Gumbel values likewise. Bytes: 4 an element; about 25 integer operations and 5 FLOPs.
 */
#include "rows.h"
#include "vec.h"

#include "core/ops/random.h"
#include "core/rng.h"

#include <math.h>

enum { WORDS = 4 * VL, GRAIN = 64 * WORDS };

typedef struct {
    const gy_random_attr *a;
    uint64_t key;
    int64_t n;
    float *y;
} job;

/* The words of blocks first .. first+VL-1, in the order of the elements. */
static void philox(uint64_t key, uint64_t first, uint32_t out[WORDS]) {
    int32_t lo[VL], hi[VL];
    for (uint64_t i = 0; i < VL; i++) {
        lo[i] = (int32_t)(uint32_t)(first + i);
        hi[i] = (int32_t)(uint32_t)((first + i) >> 32);
    }
    vi c[4] = {vi_load(lo), vi_load(hi), vi_set(0), vi_set(0)};
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    for (int round = 0; round < 10; round++) {
        vi h0, l0, h1, l1;
        vi_mul_wide(vi_set((int32_t)0xD2511F53u), c[0], &h0, &l0);
        vi_mul_wide(vi_set((int32_t)0xCD9E8D57u), c[2], &h1, &l1);
        c[0] = vi_xor(vi_xor(h1, c[1]), vi_set((int32_t)k0));
        c[1] = l1;
        c[2] = vi_xor(vi_xor(h0, c[3]), vi_set((int32_t)k1));
        c[3] = l0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    vi_transpose4(c); /* c[j] holds blocks j, 4 + j, 8 + j, ... */
    uint32_t block[4][VL];
    for (int j = 0; j < 4; j++) vi_store(block[j], c[j]);
    for (int q = 0; q < VL / 4; q++)
        for (int j = 0; j < 4; j++) memcpy(out + 16 * q + 4 * j, block[j] + 4 * q, 16);
}

/* (w + 1/2) / 2^32 of VLD words. */
GY_INLINE vd uniform01(vd signed_word) { /* of w - 2^31 */
    return w_mul(w_add(w_add(signed_word, w_set(2147483648.0)), w_set(0.5)), w_set(1.0 / 4294967296.0));
}

static void fill(const gy_random_attr *a, const uint32_t w[WORDS], float y[WORDS]) {
    const float below = nextafterf((float)a->b, -INFINITY); /* rounding must not reach the open end of [a, b) */
    switch (a->kind) {
    case GY_RANDOM_UNIFORM:
    case GY_RANDOM_BERNOULLI:
        for (int i = 0; i < WORDS; i += VL) {
            vi s = vi_xor(vi_load((const int32_t *)(w + i)), vi_set(INT32_MIN));
            vd u = uniform01(w_from_int_low(s)), v = uniform01(w_from_int_high(s));
            if (a->kind == GY_RANDOM_BERNOULLI) {
                v_store(y + i, w_narrow(w_below(u, w_set(a->a), w_set(a->b)), w_below(v, w_set(a->a), w_set(a->b))));
                continue;
            }
            vd lo = w_set(a->a), range = w_set(a->b - a->a);
            vf x = w_narrow(w_add(lo, w_mul(range, u)), w_add(lo, w_mul(range, v)));
            v_store(y + i, a->a < a->b ? v_sel(v_le(v_set((float)a->b), x), v_set(below), x) : x);
        }
        return;
    case GY_RANDOM_NORMAL:
        for (int i = 0; i < WORDS; i += 2) {
            double r = sqrt(-2 * log(gy_uniform01(w[i])));
            double angle = 6.283185307179586476925286766559 * gy_uniform01(w[i + 1]);
            y[i] = (float)(a->a + a->b * r * cos(angle));
            y[i + 1] = (float)(a->a + a->b * r * sin(angle));
        }
        return;
    default:
        for (int i = 0; i < WORDS; i++) y[i] = (float)(a->a - a->b * log(-log(gy_uniform01(w[i]))));
    }
}

static void tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->n, GRAIN, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i += WORDS) {
        uint32_t w[WORDS];
        float y[WORDS];
        philox(j->key, (uint64_t)i / 4, w);
        fill(j->a, w, y);
        memcpy(j->y + i, y, (size_t)(hi - i < WORDS ? hi - i : WORDS) * sizeof(float));
    }
}

void GY_ISAFN(x86_random)(const gy_kargs *k) {
    const gy_random_attr *a = k->attr;
    const int64_t *rng = k->in[0].data;
    job j = {a, gy_rng_key((uint64_t)rng[0], (uint64_t)a->key, (uint64_t)rng[1]), gy_shape_count(k->out[0].shape),
             k->out[0].data};
    gy_par(k->pool, gy_tiles(j.n, GRAIN), tile, &j);
}
