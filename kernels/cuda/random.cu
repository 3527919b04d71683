/* Random values: a thread draws one Philox block, that is four elements, each a function of its block's words as in
 * kernels/ref/random.c, in double. Uniform and Bernoulli values have the CPU's bits on every device. So have normal and
 * Gumbel values on the emulator, whose logarithm, sine and cosine are the CPU's; those of a GPU differ in the last bits
 * of a double, which shows in an f32 value where a rounding boundary lies between: its last bit then differs, for about
 * one value in 2^26 (an estimate: bounds of 2 ulp against 2^29 doubles an f32). 16 bytes written, about 100 integer
 * and, for normal values, 100 double operations a thread. */
#include "../../core/ops/random.h"
#include "walk.h"

enum { THREADS = 256 };

typedef struct {
    const int64_t *rng; /* seed, step */
    void *y;
    int64_t n, key, kind;
    double a, b, below; /* below: the largest value of y's type under b, if a is below b */
    int wide;
} random_args;

typedef struct {
    uint32_t w[4];
} philox_block;

/* core/rng.c's gy_philox */
GY_DEVICE philox_block philox(uint64_t key, uint64_t lo, uint64_t hi) {
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    philox_block c;
    c.w[0] = (uint32_t)lo;
    c.w[1] = (uint32_t)(lo >> 32);
    c.w[2] = (uint32_t)hi;
    c.w[3] = (uint32_t)(hi >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c.w[0], p1 = (uint64_t)0xCD9E8D57u * c.w[2];
        c.w[0] = (uint32_t)(p1 >> 32) ^ c.w[1] ^ k0;
        c.w[1] = (uint32_t)p1;
        c.w[2] = (uint32_t)(p0 >> 32) ^ c.w[3] ^ k1;
        c.w[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c;
}

GY_DEVICE double uniform01(uint32_t w) {
    return ((double)w + 0.5) * (1.0 / 4294967296.0);
}

GY_KERNEL(random_values, random_args, THREADS) {
    uint64_t *key = GY_SHARED(uint64_t);
    if (threadIdx.x == 0) {
        philox_block k = philox((uint64_t)a->rng[0], (uint64_t)a->key, (uint64_t)a->rng[1]);
        *key = (uint64_t)k.w[1] << 32 | k.w[0];
    }
    __syncthreads();
    int64_t block = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (4 * block >= a->n) return;
    philox_block w = philox(*key, (uint64_t)block, 0);
    double y[4];
    for (int i = 0; i < 4; i++) {
        double u = uniform01(w.w[i]);
        if (a->kind == GY_RANDOM_UNIFORM) {
            y[i] = a->a + (a->b - a->a) * u;
            if (!a->wide) y[i] = (double)(float)y[i];
            if (y[i] > a->below) y[i] = a->below; /* rounding must not reach the open end of [a, b) */
        } else if (a->kind == GY_RANDOM_GUMBEL) {
            y[i] = a->a - a->b * log(-log(u));
        } else if (a->kind == GY_RANDOM_BERNOULLI) {
            y[i] = u < a->a ? a->b : 0; /* equal once in 2^32; mutant: same */
        } else if (i % 2 == 0) {        /* Box-Muller */
            double r = sqrt(-2 * log(u)), angle = 6.283185307179586476925286766559 * uniform01(w.w[i + 1]);
            y[i] = a->a + a->b * r * cos(angle);
            y[i + 1] = a->a + a->b * r * sin(angle);
        }
    }
    if (!a->wide && 4 * block + 4 <= a->n) { /* one store of 16 bytes */
        union {
            float f[4];
            gy_bytes16 all;
        } v;
        for (int i = 0; i < 4; i++) v.f[i] = (float)y[i];
        ((gy_bytes16 *)a->y)[block] = v.all;
        return;
    }
    for (int i = 0; i < 4; i++)
        if (4 * block + i < a->n) gy_put_number(a->y, a->wide, 4 * block + i, y[i]);
}

#ifdef GY_HOST
void cuda_random(const gy_kargs *k);

void cuda_random(const gy_kargs *k) {
    const gy_random_attr *attr = k->attr;
    bool wide = k->out[0].dtype == GY_F64;
    random_args a = {.rng = k->in[0].data,
                     .y = k->out[0].data,
                     .n = gy_shape_count(k->out[0].shape),
                     .key = attr->key,
                     .kind = attr->kind,
                     .a = attr->a,
                     .b = attr->b,

                     .wide = wide};
    a.below = wide ? nextafter(attr->b, -INFINITY) : (double)nextafterf((float)attr->b, -INFINITY);
    if (attr->a >= attr->b) a.below = INFINITY;
    int64_t blocks = gy_blocks(a.n, 4);
    int threads = gy_power_of_two(blocks, GY_WARP, THREADS);
    gy_cuda_launch(k, &random_values, (gy_grid){gy_blocks(blocks, threads), 1, 1}, threads, 8, &a, sizeof a);
}
#endif
