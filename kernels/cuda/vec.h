/* vec.h: four floats that lie on 16 bytes, moved by one instruction. */
#ifndef GY_CUDA_VEC_H
#define GY_CUDA_VEC_H

#include "cuda.h"

typedef struct __attribute__((aligned(16))) gy_f32x4 {
    float v[4];
} gy_f32x4;

GY_DEVICE gy_f32x4 gy_f32x4_of(float x) {
    gy_f32x4 r;
    for (int i = 0; i < 4; i++) r.v[i] = x;
    return r;
}
GY_DEVICE gy_f32x4 gy_load_f32x4(const float *p) {
    return *(const gy_f32x4 *)(const void *)p;
}
GY_DEVICE void gy_store_f32x4(float *p, gy_f32x4 x) {
    *(gy_f32x4 *)(void *)p = x;
}

#ifndef GY_UNROLL
#ifdef __CUDACC__
#define GY_UNROLL _Pragma("unroll") /* the loop that follows, whose bounds are constant */
#else
#define GY_UNROLL
#endif
#endif

#endif
