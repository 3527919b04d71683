/* conv_pack.h: activations as bf16, [position, group, channel], a group's channels padded with zeros to a multiple of
 * 8: then 16 bytes hold 8 channels of one position, whatever the shape, and are copied to shared memory as they lie.
 * Costs 6 bytes an element once, and saves the products the rounding and half of what they read for every tap. */
#ifndef GY_CUDA_CONV_PACK_H
#define GY_CUDA_CONV_PACK_H

#include "mma_tile.h"
#include "vec.h"

typedef struct {
    const float *x;
    uint16_t *to;
    int64_t positions, groups, deep, padded; /* channels of a group */
} conv_pack_args;

/* A thread 8 channels. */
GY_KERNEL(conv_pack, conv_pack_args, 256) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, units = a->padded / 8;
    if (e >= a->positions * a->groups * units) return;
    int64_t row = e / units;
    int left = (int)(a->deep - e % units * 8);
    const float *x = a->x + row * a->deep + e % units * 8;
    float v[8];
    if (a->deep % 4 == 0 && left >= 8) {
        gy_f32x4 lo = gy_load_f32x4(x), hi = gy_load_f32x4(x + 4);
        GY_UNROLL
        for (int i = 0; i < 8; i++) v[i] = i < 4 ? lo.v[i % 4] : hi.v[i % 4];
    } else {
        GY_UNROLL
        for (int i = 0; i < 8; i++) v[i] = i < left ? x[i] : 0;
    }
    gy_bf16x8 r;
    GY_UNROLL
    for (int i = 0; i < 4; i++) r.v[i] = gy_bf16x2(v[2 * i], v[2 * i + 1]);
    *(gy_bf16x8 *)(void *)(a->to + e * 8) = r;
}

#ifdef GY_HOST
static inline int64_t conv_padded(int64_t deep) {
    return gy_blocks(deep, 8) * 8;
}
/* Bytes, rounded up so that what follows is aligned. */
static inline size_t conv_packed_bytes(int64_t elements) {
    return ((size_t)elements * 2 + 255) / 256 * 256;
}
static inline void conv_pack_run(const gy_kargs *k, const float *x, uint16_t *to, int64_t positions, int64_t groups,
                                 int64_t deep) {
    conv_pack_args a = {x, to, positions, groups, deep, conv_padded(deep)};
    int64_t n = positions * groups * a.padded / 8;
    int threads = n < 128 ? 32 : 256;
    gy_cuda_launch(k, &conv_pack, (gy_grid){gy_blocks(n, threads), 1, 1}, threads, 0, &a, sizeof a);
}
#endif

#endif
