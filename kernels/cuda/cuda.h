/* cuda.h: the language that kernels for GPUs are written in: the part of CUDA that is also C. nvcc compiles a .cu file
 * to code for the device; the C compiler compiles the same file to kernels for the emulator (emu/) and to the functions
 * of kernels.def that launch them. So a kernel can be tested, and stepped through in a debugger, where there is no GPU.
 *
 *     typedef struct { const float *x; float *y; int64_t n; } twice_args;
 *     GY_KERNEL(twice, twice_args, 256) {                     a: the arguments; 256: most threads a block
 *         int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
 *         if (i < a->n) a->y[i] = 2 * a->x[i];
 *     }
 *     #ifdef GY_HOST
 *     void cuda_twice(const gy_kargs *k) { ... gy_cuda_launch(k, &twice, (gy_grid){blocks, 1, 1}, 256, 0, &args, sizeof
 * args); } #endif
 *
 * No templates, references, overloads or lambdas. Blocks are one-dimensional and whole warps. Shared memory is the
 * launch's (GY_SHARED), none is declared. Every thread of a warp takes part in a warp's operations. No atomics on
 * floats: sums are combined in an order that depends on shapes alone. nvcc runs with --fmad=false, as the C compiler
 * runs without contraction: where a fused multiply-add is wanted, fmaf says so. Operands that are not contiguous may
 * begin anywhere (4-byte alignment of f32), contiguous ones begin on 16 bytes. */
#ifndef GY_CUDA_H
#define GY_CUDA_H

#include "../../core/base.h"

enum { GY_WARP = 32 };

/* The operators, for kernels that serve several. */
enum {
    GY_OPCODE_NONE = 0,
#define GY_OP(name, n_in, n_out, flags, formula) GY_OPCODE_##name,
#include "../../core/ops/ops.def"
#undef GY_OP
    GY_OPCODE_COUNT
};

#ifdef __CUDACC__

#define GY_DEVICE static __device__ __forceinline__
#define GY_UNROLL _Pragma("unroll") /* the loop that follows, whose bounds are constant */
extern __shared__ __align__(1024) unsigned char gy_shared_memory[];
#define GY_SHARED(type) ((type *)gy_shared_memory)
#define GY_KERNEL(name, args_t, most_threads)                                                                          \
    static __device__ __forceinline__ void name##_thread(const args_t *a);                                             \
    extern "C" __global__ void __launch_bounds__(most_threads) name(const __grid_constant__ args_t given) {            \
        name##_thread(&given);                                                                                         \
    }                                                                                                                  \
    static __device__ __forceinline__ void name##_thread(const args_t *a)

GY_DEVICE float gy_shfl_f32(float v, int lane) {
    return __shfl_sync(0xffffffffu, v, lane);
}
GY_DEVICE double gy_shfl_f64(double v, int lane) {
    return __shfl_sync(0xffffffffu, v, lane);
}
GY_DEVICE int gy_shfl_i32(int v, int lane) {
    return __shfl_sync(0xffffffffu, v, lane);
}
GY_DEVICE int64_t gy_shfl_i64(int64_t v, int lane) {
    return __shfl_sync(0xffffffffu, v, lane);
}
GY_DEVICE uint32_t gy_ballot(bool v) {
    return __ballot_sync(0xffffffffu, v);
}
GY_DEVICE void gy_syncwarp(void) {
    __syncwarp();
}
GY_DEVICE int gy_atomic_add_i32(int *p, int v) {
    return atomicAdd(p, v);
}
GY_DEVICE int64_t gy_atomic_add_i64(int64_t *p, int64_t v) {
    return (int64_t)atomicAdd((unsigned long long *)p, (unsigned long long)v);
}
/* 16 bytes from global to shared memory, or zeros where !valid (then the source is not read). The bytes have arrived
 * after gy_cp_async_wait(n) by the same thread: all but its latest n commits. */
GY_DEVICE void gy_cp_async16(void *shared, const void *global, bool valid) {
    uint32_t to = (uint32_t)__cvta_generic_to_shared(shared), bytes = valid ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
}
GY_DEVICE void gy_cp_async4(void *shared, const void *global, bool valid) {
    uint32_t to = (uint32_t)__cvta_generic_to_shared(shared), bytes = valid ? 4 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
}
GY_DEVICE void gy_cp_async8(void *shared, const void *global, bool valid) {
    uint32_t to = (uint32_t)__cvta_generic_to_shared(shared), bytes = valid ? 8 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(to), "l"(global), "r"(bytes) : "memory");
}
GY_DEVICE void gy_cp_async_commit(void) {
    asm volatile("cp.async.commit_group;" ::: "memory");
}
#define gy_cp_async_wait(n) asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory")

#else

#define GY_HOST 1
#include "../kernel.h"
#include "emu/emu.h"

#include <math.h>
#include <string.h>

#define GY_DEVICE static inline
#define GY_UNROLL
typedef struct gy_cuda_kernel {
    const char *name;
    void (*emulate)(const void *args);
    int most_threads;
} gy_cuda_kernel;
#define GY_KERNEL(name, args_t, most_threads)                                                                          \
    static void name##_thread(const args_t *a);                                                                        \
    static void name##_emulate(const void *given) {                                                                    \
        name##_thread((const args_t *)given);                                                                          \
    }                                                                                                                  \
    static const gy_cuda_kernel name = {#name, name##_emulate, most_threads};                                          \
    static void name##_thread(const args_t *a)

typedef struct gy_grid {
    int64_t x, y, z;
} gy_grid;
/* Queues kernel `f` on k's device; nothing when the grid is empty. x < 2^31; y, z < 65536. */
void gy_cuda_launch(const gy_kargs *k, const gy_cuda_kernel *f, gy_grid grid, int threads, size_t shared,
                    const void *args, size_t args_bytes);
/* ceil(n / d) */
static inline int64_t gy_blocks(int64_t n, int64_t d) {
    return (n + d - 1) / d;
}

#endif

/* ---- what is built on the above, for both ---- */

GY_DEVICE int gy_lane(void) {
    return (int)(threadIdx.x % GY_WARP);
}
GY_DEVICE float gy_shfl_xor_f32(float v, int mask) {
    return gy_shfl_f32(v, gy_lane() ^ mask);
}
GY_DEVICE double gy_shfl_xor_f64(double v, int mask) {
    return gy_shfl_f64(v, gy_lane() ^ mask);
}

/* Of a warp's 32 values, in every lane: the same tree of additions always. */
GY_DEVICE float gy_warp_sum_f32(float v) {
    for (int m = GY_WARP / 2; m > 0; m /= 2) v += gy_shfl_xor_f32(v, m);
    return v;
}
GY_DEVICE double gy_warp_sum_f64(double v) {
    for (int m = GY_WARP / 2; m > 0; m /= 2) v += gy_shfl_xor_f64(v, m);
    return v;
}
GY_DEVICE float gy_warp_max_f32(float v) {
    for (int m = GY_WARP / 2; m > 0; m /= 2) v = fmaxf(v, gy_shfl_xor_f32(v, m));
    return v;
}

/* Of a block's values, in every thread. `room`: 32 elements of shared memory; free again after the next barrier. */
GY_DEVICE float gy_block_sum_f32(float v, float *room) {
    int warp = (int)(threadIdx.x / GY_WARP), warps = (int)(blockDim.x / GY_WARP);
    v = gy_warp_sum_f32(v);
    if (gy_lane() == 0) room[warp] = v;
    __syncthreads();
    return gy_warp_sum_f32(gy_lane() < warps ? room[gy_lane()] : 0.0f);
}
GY_DEVICE double gy_block_sum_f64(double v, double *room) {
    int warp = (int)(threadIdx.x / GY_WARP), warps = (int)(blockDim.x / GY_WARP);
    v = gy_warp_sum_f64(v);
    if (gy_lane() == 0) room[warp] = v;
    __syncthreads();
    return gy_warp_sum_f64(gy_lane() < warps ? room[gy_lane()] : 0.0);
}
GY_DEVICE float gy_block_max_f32(float v, float *room) {
    int warp = (int)(threadIdx.x / GY_WARP), warps = (int)(blockDim.x / GY_WARP);
    v = gy_warp_max_f32(v);
    if (gy_lane() == 0) room[warp] = v;
    __syncthreads();
    return gy_warp_max_f32(gy_lane() < warps ? room[gy_lane()] : -INFINITY);
}

/* bf16 is handled as its 16 bits. */
GY_DEVICE float gy_bf16_value(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } b;
    b.u = (uint32_t)h << 16;
    return b.f;
}
/* To nearest, ties to even; NaN stays NaN. */
GY_DEVICE uint16_t gy_bf16_bits(float x) {
    union {
        float f;
        uint32_t u;
    } b;
    b.f = x;
    if (x != x) return (uint16_t)(b.u >> 16 | 0x40);
    return (uint16_t)((b.u + 0x7fffu + (b.u >> 16 & 1)) >> 16);
}
GY_DEVICE float gy_bf16_rounded(float x) {
    return gy_bf16_value(gy_bf16_bits(x));
}

#endif
