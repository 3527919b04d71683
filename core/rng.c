#include "rng.h"

#include <math.h>

void gy_philox(uint64_t key, uint64_t counter_lo, uint64_t counter_hi, uint32_t out[4]) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c0 = (uint32_t)counter_lo, c1 = (uint32_t)(counter_lo >> 32);
    uint32_t c2 = (uint32_t)counter_hi, c3 = (uint32_t)(counter_hi >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint64_t gy_rng_key(uint64_t seed, uint64_t name_hash, uint64_t step) {
    uint32_t w[4];
    gy_philox(seed, name_hash, step, w);
    return (uint64_t)w[1] << 32 | w[0];
}

void gy_rng_init(gy_rng *r, uint64_t seed, const char *name) {
    *r = (gy_rng){.key = gy_rng_key(seed, gy_hash_str(name, 0), 0)};
}

uint32_t gy_rng_u32(gy_rng *r) {
    if (r->left == 0) {
        gy_philox(r->key, r->counter++, 0, r->buf);
        r->left = 4;
    }
    return r->buf[4 - r->left--];
}

double gy_rng_uniform(gy_rng *r) {
    return gy_uniform01(gy_rng_u32(r));
}

double gy_rng_normal(gy_rng *r) {
    if (r->has_normal) {
        r->has_normal = false;
        return r->normal;
    }
    const double two_pi = 6.283185307179586476925286766559;
    double u = gy_rng_uniform(r), v = gy_rng_uniform(r), s = sqrt(-2.0 * log(u));
    r->normal = s * sin(two_pi * v);
    r->has_normal = true;
    return s * cos(two_pi * v);
}

int64_t gy_rng_below(gy_rng *r, int64_t n) {
    if (n <= 1) return 0;
    uint64_t m = (uint64_t)n, reject = (UINT64_MAX - m + 1) % m; /* values above a multiple of n are drawn again */
    for (;;) {
        uint64_t hi = gy_rng_u32(r), x = hi << 32 | gy_rng_u32(r);
        if (x <= UINT64_MAX - reject) return (int64_t)(x % m);
    }
}

void gy_rng_shuffle(gy_rng *r, int64_t *v, int64_t n) {
    for (int64_t i = n - 1; i > 0; i--) {
        int64_t j = gy_rng_below(r, i + 1), t = v[i];
        v[i] = v[j];
        v[j] = t;
    }
}
