/* Random values, bit for bit those of kernels/ref/random.c: VLD Philox blocks at a time, a block a 64-bit lane.
 *
 * A round of Philox is two products of low halves; what they leave in the high halves disturbs nothing, so that a round
 * costs two multiplications, two shifts and four exclusive ors. GROUPS sets of blocks run side by side: a round has a
 * latency. Uniform and Bernoulli values are the reference's own operations, on doubles or, for Bernoulli, on words
 * against the word where u reaches p.
 *
 * The reference takes ln, sin and cos from the C library, whose last bits no other code repeats. But both are within
 * 2^-47 of the true value, and a result is a float: it is computed here in doubles, moved down and up by more than
 * that, and where both round to one float that is the reference's. Where they do not, about one vector in 10^5, the
 * values are taken from the C library.
 *
 * Bytes: 4 an element. Measured on one thread of Zen 4 (gyrus bench random --threads 1, a million elements): normal 2.1
 * ms, uniform .79, dropout .55 with its product. */
#include "rows.h"
#include "wide.h"

#include "core/ops/random.h"
#include "core/rng.h"

#include <math.h>

enum { GROUPS = 4, WORDS = 4 * VLD * GROUPS, GRAIN = 64 * WORDS };

typedef struct {
    const gy_random_attr *a;
    int64_t n;
    float *y;
    uint64_t key, k0[10], k1[10]; /* the rounds' */
    uint64_t reached;             /* Bernoulli: u < p for words below */
    bool sure;                    /* normal, Gumbel: a and b allow the vectors' way */
} job;

/* w[j] of a lane's block in c[group][j], above garbage in the high halves for j = 0, 2 only. */
GY_INLINE void philox(const job *j, uint64_t first, vi c[GROUPS][4]) {
    vi m0 = wi_set(0xD2511F53u), m1 = wi_set(0xCD9E8D57u);
    for (int g = 0; g < GROUPS; g++) {
        c[g][0] = wi_counting(first + (uint64_t)(g * VLD));
        c[g][1] = wi_srl(c[g][0], 32);
        c[g][2] = c[g][3] = wi_set(0);
    }
    for (int round = 0; round < 10; round++) {
        vi k0 = wi_set(j->k0[round]), k1 = wi_set(j->k1[round]);
#pragma GCC unroll 4
        for (int g = 0; g < GROUPS; g++) {
            vi p0 = wi_mul_low(c[g][0], m0), p1 = wi_mul_low(c[g][2], m1);
            c[g][0] = vi_xor(vi_xor(wi_srl(p1, 32), c[g][1]), k0);
            c[g][2] = vi_xor(vi_xor(wi_srl(p0, 32), c[g][3]), k1);
            c[g][1] = p1;
            c[g][3] = p0;
        }
    }
    for (int g = 0; g < GROUPS; g++)
        for (int i = 0; i < 4; i++) c[g][i] = wi_low_half(c[g][i]);
}

/* (w + 1/2) / 2^32; every step but the last is exact, and that only scales. */
GY_INLINE vd uniform01(vi w) {
    return w_mul(w_sub(w_above_2_52(w), w_set(4503599627370496.0 - 0.5)), w_set(1.0 / 4294967296.0));
}

/* y with an error below `off` as a float; *sure turns false where the error decides. */
GY_INLINE vi rounded(vd y, vd off, bool *sure) {
    vi low = w_to_f32(w_sub(y, off)), high = w_to_f32(w_add(y, off));
    *sure = *sure && wi_same(low, high);
    return low;
}
GY_INLINE void normal_pair(const gy_random_attr *a, vi c[2], bool *sure) {
    vd u = uniform01(c[0]), angle = w_mul(w_set(6.283185307179586476925286766559), uniform01(c[1]));
    vd r = w_mul(w_set(a->b), w_sqrt(w_mul(w_set(-2), w_ln(u)))), sine, cosine;
    w_sin_cos(angle, &sine, &cosine);
    cosine = w_mul(r, cosine);
    sine = w_mul(r, sine);
    vd mean = w_set(a->a), margin = w_set(fabs(a->a) * 0x1p-51);
    vi magnitude = wi_set(UINT64_C(0x7fffffffffffffff));
    vd c_off = w_fma(w_double(vi_and(w_bits(cosine), magnitude)), w_set(0x1p-46), margin);
    vd s_off = w_fma(w_double(vi_and(w_bits(sine), magnitude)), w_set(0x1p-46), margin);
    c[0] = rounded(w_add(mean, cosine), c_off, sure);
    c[1] = rounded(w_add(mean, sine), s_off, sure);
}
GY_INLINE vi gumbel(const gy_random_attr *a, vi c, bool *sure) {
    vd y = w_ln(w_mul(w_set(-1), w_ln(uniform01(c)))); /* up to 23: an error of 2^-47 is 2^-42 at most */
    vd off = w_set(fabs(a->b) * 0x1p-42 + fabs(a->a) * 0x1p-51);
    return rounded(w_sub(w_set(a->a), w_mul(w_set(a->b), y)), off, sure);
}

/* The reference's way: element i of 4 of the block w. */
static float scalar(const gy_random_attr *a, const uint32_t w[4], int i) {
    if (a->kind == GY_RANDOM_GUMBEL) return (float)(a->a - a->b * log(-log(gy_uniform01(w[i]))));
    double r = sqrt(-2 * log(gy_uniform01(w[i & 2])));
    double angle = 6.283185307179586476925286766559 * gy_uniform01(w[(i & 2) + 1]);
    return (float)(a->a + a->b * r * (i % 2 ? sin(angle) : cos(angle)));
}
static void scalars(const gy_random_attr *a, const vi c[4], float y[4 * VLD]) {
    uint64_t lane[4][VLD];
    for (int i = 0; i < 4; i++) vi_store(lane[i], c[i]);
    for (int b = 0; b < VLD; b++) {
        uint32_t w[4];
        for (int i = 0; i < 4; i++) w[i] = (uint32_t)lane[i][b];
        for (int i = 0; i < 4; i++) y[4 * b + i] = scalar(a, w, i);
    }
}

/* The lanes' results, floats in low halves, in the order of the elements. */
GY_INLINE void put(const vi r[4], vf *first, vf *second) {
    vi a, b;
    wi_interleave(vi_or(r[0], wi_sll(r[1], 32)), vi_or(r[2], wi_sll(r[3], 32)), &a, &b);
    *first = v_float(a);
    *second = v_float(b);
}

GY_INLINE void fill(const job *j, const int64_t kind, vi c[4], float y[4 * VLD]) {
    const gy_random_attr *a = j->a;
    vi r[4] = {c[0], c[1], c[2], c[3]};
    vf first, second;
    bool sure = j->sure;
    if (kind == GY_RANDOM_BERNOULLI) {
        float b = (float)a->b;
        uint32_t bits;
        memcpy(&bits, &b, sizeof bits);
        for (int i = 0; i < 4; i++) r[i] = wi_below(r[i], wi_set(j->reached), wi_set(bits));
    } else if (kind == GY_RANDOM_UNIFORM) {
        for (int i = 0; i < 4; i++) r[i] = w_to_f32(w_add(w_set(a->a), w_mul(w_set(a->b - a->a), uniform01(r[i]))));
    } else if (sure && kind == GY_RANDOM_NORMAL) {
        normal_pair(a, r, &sure);
        normal_pair(a, r + 2, &sure);
    } else if (sure) {
        for (int i = 0; i < 4; i++) r[i] = gumbel(a, r[i], &sure);
    }
    if (!sure) {
        scalars(a, c, y);
        return;
    }
    put(r, &first, &second);
    if (kind == GY_RANDOM_UNIFORM && a->a < a->b) { /* rounding must not reach the open end of [a, b) */
        vf end = v_set((float)a->b), below = v_set(nextafterf((float)a->b, -INFINITY));
        first = v_sel(v_le(end, first), below, first);
        second = v_sel(v_le(end, second), below, second);
    }
    v_store(y, first);
    v_store(y + VL, second);
}

GY_INLINE void fill_tile(const job *j, const int64_t kind, int64_t lo, int64_t hi) {
    for (int64_t i = lo; i < hi; i += WORDS) {
        float rest[WORDS], *y = hi - i < WORDS ? rest : j->y + i;
        vi c[GROUPS][4];
        philox(j, (uint64_t)i / 4, c);
        for (int g = 0; g < GROUPS; g++) fill(j, kind, c[g], y + g * 4 * VLD);
        if (y == rest) memcpy(j->y + i, rest, (size_t)(hi - i) * sizeof *rest);
    }
}
static void tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->n, GRAIN, t, &lo, &hi);
    switch (j->a->kind) {
    case GY_RANDOM_UNIFORM: fill_tile(j, GY_RANDOM_UNIFORM, lo, hi); break;
    case GY_RANDOM_NORMAL: fill_tile(j, GY_RANDOM_NORMAL, lo, hi); break;
    case GY_RANDOM_GUMBEL: fill_tile(j, GY_RANDOM_GUMBEL, lo, hi); break;
    default: fill_tile(j, GY_RANDOM_BERNOULLI, lo, hi);
    }
}

/* How many words w have (w + 1/2) / 2^32 < p: by halves. */
static uint64_t words_below(double p) {
    uint64_t lo = 0, hi = UINT64_C(1) << 32;
    while (lo < hi) {
        uint64_t middle = (lo + hi) / 2;
        if (gy_uniform01((uint32_t)middle) < p)
            lo = middle + 1;
        else
            hi = middle;
    }
    return lo;
}

void GY_ISAFN(x86_random)(const gy_kargs *k) {
    const gy_random_attr *a = k->attr;
    const int64_t *rng = k->in[0].data;
    job j = {.a = a,
             .n = gy_shape_count(k->out[0].shape),
             .y = k->out[0].data,
             .key = gy_rng_key((uint64_t)rng[0], (uint64_t)a->key, (uint64_t)rng[1]),
             .reached = a->kind == GY_RANDOM_BERNOULLI ? words_below(a->a) : 0,
             .sure = a->kind == GY_RANDOM_UNIFORM || a->kind == GY_RANDOM_BERNOULLI ||
                     (fabs(a->a) < 1e30 && fabs(a->b) < 1e30)};
    uint32_t k0 = (uint32_t)j.key, k1 = (uint32_t)(j.key >> 32);
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        j.k0[round] = k0;
        j.k1[round] = k1;
    }
    gy_par(k->pool, gy_tiles(j.n, GRAIN), tile, &j);
}
