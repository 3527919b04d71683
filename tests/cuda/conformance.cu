/* What each wrapper of kernels/cuda/cuda.h and mma.h does, as numbers: every probe runs one wrapper on known inputs and
 * writes what the threads got. The same source runs
 *
 * - emulated, in tests/cuda/test_conformance.c, which holds the numbers against tests/golden/cuda_conformance.json;
 * - on a GPU, by hand, from the repository's root:
 *       nvcc -std=c++17 --fmad=false -I. -arch=sm_90a -o build/conformance tests/cuda/conformance.cu
 *       build/conformance > dump.json && build/tests/cuda/test_conformance dump.json
 *   (sm_80 for other chips, which leave the probes of sm_90a out). The second command compares the dump with the
 * golden: equal numbers, but for the probe real_mma, whose sums a tensor core adds in an order of its own.
 *
 * Operands are small whole numbers, so that any order of adding gives the same sums. */
#include "kernels/cuda/mma.h"

enum { ROWS = 192, COLS = 72, TILE_ROWS = 64, TILE_COLS = 64 };

typedef struct {
    gy_tile_map map;        /* of the matrix, in tiles of 64 x 64 */
    const uint32_t *matrix; /* ROWS x COLS of bf16, number(0), number(1), ... */
    double *out;
} probe_args;

GY_DEVICE int number(int i) { /* -7 to 7 */
    return (i * 37 + i / 15 * 11) % 15 - 7;
}
GY_DEVICE uint32_t pair(int i) {
    return gy_bf16x2((float)number(i), (float)number(i + 1));
}
GY_DEVICE float float_of(uint32_t u) {
    union {
        uint32_t u;
        float f;
    } b;
    b.u = u;
    return b.f;
}
GY_DEVICE void store_halves(double *out, const uint32_t *r, int n) {
    for (int i = 0; i < n; i++) {
        out[2 * i] = (double)(r[i] & 0xffff);
        out[2 * i + 1] = (double)(r[i] >> 16);
    }
}

/* Shuffles from lanes in another order, and a vote. */
GY_KERNEL(probe_exchange, probe_args, 32) {
    int lane = gy_lane(), from = (lane * 5 + 3) % 32;
    double *out = a->out + 5 * lane;
    out[0] = (double)gy_shfl_f32((float)lane + 0.5f, from);
    out[1] = gy_shfl_f64(lane + 0.25, from);
    out[2] = gy_shfl_i32(-lane, from);
    out[3] = (double)gy_shfl_i64((int64_t)lane << 40, from);
    out[4] = (double)gy_ballot(number(lane) > 0);
}

/* Copies of 4, 8 and 16 bytes, every third left out. */
GY_KERNEL(probe_copies, probe_args, 32) {
    uint32_t *s = GY_SHARED(uint32_t);
    int lane = gy_lane();
    for (int i = 0; i < 8; i++) s[8 * lane + i] = 7;
    gy_cp_async16(s + 8 * lane, a->matrix + 8 * lane, lane % 3 != 0);
    gy_cp_async_commit();
    gy_cp_async8(s + 8 * lane + 4, a->matrix + 8 * lane + 4, lane % 3 != 1);
    gy_cp_async4(s + 8 * lane + 6, a->matrix + 8 * lane + 6, lane % 3 != 2);
    gy_cp_async_commit();
    gy_cp_async_wait(0);
    store_halves(a->out + 16 * lane, s + 8 * lane, 8);
}

/* To bf16 and to tf32, with ties and overflow. */
GY_KERNEL(probe_rounding, probe_args, 32) {
    const uint32_t last[4] = {0, 0x1000, 0x8000, 0x18000};
    int lane = gy_lane();
    uint32_t bits = (lane & 4 ? 0xbf800000u : 0x3f800000u) + last[lane & 3] + (uint32_t)(lane / 8) * 0x2001u;
    if (lane == 31) bits = 0x7f7fffffu;
    store_halves(a->out + 3 * lane, (uint32_t[]){gy_bf16x2(float_of(bits), -float_of(bits))}, 1);
    a->out[3 * lane + 2] = (double)(gy_tf32_bits(float_of(bits)) & ~0x1fffu);
}

GY_DEVICE void fill_halves(uint16_t *s) {
    for (int i = 0; i < 8; i++) s[8 * gy_lane() + i] = (uint16_t)(8 * gy_lane() + i);
    gy_syncwarp();
}
GY_KERNEL(probe_ldmatrix, probe_args, 32) {
    uint16_t *s = GY_SHARED(uint16_t);
    uint32_t r[4];
    fill_halves(s);
    gy_ldmatrix_x4(r, s + 8 * ((gy_lane() * 5 + 3) % 32));
    store_halves(a->out + 8 * gy_lane(), r, 4);
}
GY_KERNEL(probe_ldmatrix_transposed, probe_args, 32) {
    uint16_t *s = GY_SHARED(uint16_t);
    uint32_t r[4];
    fill_halves(s);
    gy_ldmatrix_x4_transposed(r, s + 8 * ((gy_lane() * 5 + 3) % 32));
    store_halves(a->out + 8 * gy_lane(), r, 4);
}

GY_KERNEL(probe_mma_bf16, probe_args, 32) {
    int lane = gy_lane();
    float c[4];
    uint32_t x[4], y[2];
    for (int i = 0; i < 4; i++) c[i] = (float)(100 * i + lane);
    for (int i = 0; i < 4; i++) x[i] = pair(lane * 8 + 2 * i);
    for (int i = 0; i < 2; i++) y[i] = pair(lane * 4 + 2 * i + 1);
    gy_mma_16816_bf16(c, x, y);
    for (int i = 0; i < 4; i++) a->out[4 * lane + i] = (double)c[i];
}
GY_KERNEL(probe_mma_tf32, probe_args, 32) {
    int lane = gy_lane();
    float c[4];
    uint32_t x[4], y[2];
    for (int i = 0; i < 4; i++) c[i] = (float)(100 * i + lane);
    for (int i = 0; i < 4; i++) x[i] = gy_tf32_bits((float)number(lane * 4 + i));
    for (int i = 0; i < 2; i++) y[i] = gy_tf32_bits((float)number(lane * 2 + i + 5));
    gy_mma_1688_tf32(c, x, y);
    for (int i = 0; i < 4; i++) a->out[4 * lane + i] = (double)c[i];
}
GY_KERNEL(real_mma, probe_args, 32) {
    int lane = gy_lane();
    float c[4] = {0.1f, 0.2f, 0.3f, 0.4f};
    uint32_t x[4], y[2];
    for (int i = 0; i < 4; i++)
        x[i] = gy_bf16x2((float)number(lane * 8 + 2 * i) / 3, (float)number(lane * 8 + 2 * i + 1) / 7);
    for (int i = 0; i < 2; i++)
        y[i] = gy_bf16x2((float)number(lane * 4 + 2 * i) / 5, (float)number(lane * 4 + 2 * i + 1) / 11);
    gy_mma_16816_bf16(c, x, y);
    for (int i = 0; i < 4; i++) a->out[4 * lane + i] = (double)c[i];
}

/* ---- sm_90a ---- */

GY_DEVICE uint64_t *barrier_of(unsigned char *shared, int tiles) {
    uint64_t *b = (uint64_t *)(void *)(shared + tiles * 2 * TILE_ROWS * TILE_COLS);
    if (threadIdx.x == 0) {
        gy_mbarrier_init(b, 1);
        gy_mbarrier_fence();
    }
    __syncthreads();
    return b;
}

/* Two tiles, the second over the first's end of the matrix in both directions; of every 16 bytes a weighted sum. */
GY_KERNEL(sm90_tiles, probe_args, 128) {
    unsigned char *shared = GY_SHARED(unsigned char);
    uint64_t *b = barrier_of(shared, 2);
    for (int phase = 0; phase < 2; phase++) {
        unsigned char *tile = shared + phase * 2 * TILE_ROWS * TILE_COLS;
        if (threadIdx.x == 0) {
            gy_mbarrier_expect(b, 2 * TILE_ROWS * TILE_COLS);
            gy_tile_load(tile, &a->map, phase ? 150 : 3, phase ? 24 : 8, b);
        }
        gy_mbarrier_wait(b, phase);
        __syncthreads(); /* a waiting thread tells only two phases apart: none may begin before all have seen this one
                          */
        for (int unit = (int)threadIdx.x; unit < TILE_ROWS * TILE_COLS / 8; unit += 128) {
            double sum = 0;
            const uint16_t *h = (const uint16_t *)(const void *)(tile + 16 * unit);
            for (int e = 0; e < 8; e++) sum += (double)gy_bf16_value(h[e]) * (e + 1);
            a->out[phase * (TILE_ROWS * TILE_COLS / 8) + unit] = sum;
        }
    }
}

/* d = a b^T over depths 0 to 15, + depths 16 to 31; a: rows 0 to 63 of the matrix, b: the 128 that follow. Of each
 * thread's 64 a weighted sum of every 16. */
GY_KERNEL(sm90_wgmma, probe_args, 128) {
    unsigned char *shared = GY_SHARED(unsigned char);
    uint64_t *b = barrier_of(shared, 3);
    if (threadIdx.x == 0) {
        gy_mbarrier_expect(b, 3 * 2 * TILE_ROWS * TILE_COLS);
        for (int i = 0; i < 3; i++) gy_tile_load(shared + i * 2 * TILE_ROWS * TILE_COLS, &a->map, i * TILE_ROWS, 0, b);
    }
    gy_mbarrier_wait(b, 0);
    float d[64];
    for (int i = 0; i < 64; i++) d[i] = 1000; /* to be forgotten */
    gy_wgmma_begin();
    for (int i = 0; i < 2; i++)
        gy_wgmma_64x128x16(d, gy_wgmma_operand(shared + 32 * i),
                           gy_wgmma_operand(shared + 2 * TILE_ROWS * TILE_COLS + 32 * i), i);
    gy_wgmma_commit();
    gy_wgmma_wait(0);
    for (int q = 0; q < 4; q++) {
        double sum = 0;
        for (int i = 0; i < 16; i++) sum += (double)d[16 * q + i] * (i + 1);
        a->out[4 * threadIdx.x + q] = sum;
    }
}

/* ---- running them ---- */

#define PROBES(P)                                                                                                      \
    P(probe_exchange, 32, 160)                                                                                         \
    P(probe_copies, 32, 512)                                                                                           \
    P(probe_rounding, 32, 96)                                                                                          \
    P(probe_ldmatrix, 32, 256)                                                                                         \
    P(probe_ldmatrix_transposed, 32, 256)                                                                              \
    P(probe_mma_bf16, 32, 128)                                                                                         \
    P(probe_mma_tf32, 32, 128)                                                                                         \
    P(real_mma, 32, 128)                                                                                               \
    P(sm90_tiles, 128, 1024)                                                                                           \
    P(sm90_wgmma, 128, 512)
enum { MOST_OUT = 1024, PROBE_SHARED = 3 * 2 * TILE_ROWS * TILE_COLS + 1024 };

/* A line of JSON. */
#ifdef __CUDACC__
#include <cstdio>
#else
#include <stdio.h>
#endif
static void print_probe(FILE *to, const char *name, const double *out, int n, bool first) {
    fprintf(to, "%s\"%s\": [", first ? "{\n" : ",\n", name);
    for (int i = 0; i < n; i++) fprintf(to, "%s%.15g", i ? ", " : "", out[i]);
    fprintf(to, "]");
}
static void fill_matrix(uint32_t *matrix) { /* whole numbers of up to 3 bits: exact in bf16 */
    for (int i = 0; i < ROWS * COLS; i += 2) {
        uint32_t both = 0;
        for (int e = 0; e < 2; e++) {
            union {
                float f;
                uint32_t u;
            } b;
            b.f = (float)(((i + e) * 37 + (i + e) / 15 * 11) % 15 - 7);
            both |= b.u >> 16 << 16 * e;
        }
        matrix[i / 2] = both;
    }
}

#ifdef __CUDACC__
#include <dlfcn.h>
#include <cstdlib>
#include <cstring>

static void must(bool ok, const char *what) {
    if (ok) return;
    fprintf(stderr, "conformance: %s failed\n", what);
    exit(1);
}

int main() {
    cudaDeviceProp chip;
    must(cudaGetDeviceProperties(&chip, 0) == cudaSuccess, "finding a GPU");
    bool sm90 = chip.major == 9, first = true;
    fprintf(stderr, "%s, sm_%d%d\n", chip.name, chip.major, chip.minor);
    uint32_t *matrix;
    probe_args a;
    must(cudaMallocManaged(&matrix, 2 * ROWS * COLS) == cudaSuccess, "memory");
    must(cudaMallocManaged(&a.out, MOST_OUT * sizeof(double)) == cudaSuccess, "memory");
    fill_matrix(matrix);
    a.matrix = matrix;
    if (sm90) {
        typedef int (*encode)(void *, int, unsigned, void *, const uint64_t *, const uint64_t *, const unsigned *,
                              const unsigned *, int, int, int, int);
        encode f = (encode)dlsym(dlopen("libcuda.so.1", RTLD_NOW), "cuTensorMapEncodeTiled");
        const uint64_t size[] = {COLS, ROWS}, stride[] = {2 * COLS};
        const unsigned box[] = {TILE_COLS, TILE_ROWS}, step[] = {1, 1};
        must(f && f(&a.map, 9, 2, matrix, size, stride, box, step, 0, 3, 2, 0) == 0, "describing the matrix");
    }
#define RUN(name, threads, n)                                                                                          \
    if (sm90 || strncmp(#name, "sm90", 4) != 0) {                                                                      \
        cudaFuncSetAttribute(name, cudaFuncAttributeMaxDynamicSharedMemorySize, PROBE_SHARED);                         \
        name<<<1, threads, PROBE_SHARED>>>(a);                                                                         \
        must(cudaDeviceSynchronize() == cudaSuccess, #name);                                                           \
        print_probe(stdout, #name, a.out, n, first);                                                                   \
        first = false;                                                                                                 \
    }
    PROBES(RUN)
    printf("\n}\n");
    return 0;
}
#endif
