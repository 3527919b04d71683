/* What the machine can do at most: two probes.
 *
 * Arithmetic: independent fused multiply-adds on registers. A unit has a latency of 4 to 5 cycles and two ports, so
 * 12 accumulators keep it full; every value stays finite because x -> 0.999 x + 0.001 converges.
 * Bandwidth: a = b + s c (McCalpin's STREAM triad) over three arrays of 32 MiB, beyond most last-level caches;
 * the write-allocate traffic is not counted, as in STREAM. */
#include "bench.h"

#include <math.h>
#include <time.h>

enum { ACCUMULATORS = 12, ROUNDS = 400000, TRIAD = 8 << 20, TRIAD_GRAIN = 1 << 18 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Each probe does ROUNDS * ACCUMULATORS multiply-adds of `width` lanes and returns a sum, so that nothing is
 * optimised away. */
static float probe_plain(void) {
    float x[ACCUMULATORS], sum = 0;
    for (int i = 0; i < ACCUMULATORS; i++) x[i] = (float)i;
    for (int r = 0; r < ROUNDS; r++)
        for (int i = 0; i < ACCUMULATORS; i++) x[i] = x[i] * 0.999f + 0.001f;
    for (int i = 0; i < ACCUMULATORS; i++) sum += x[i];
    return sum;
}

#ifdef GY_X86
#include <immintrin.h>

__attribute__((target("avx2,fma"))) static float probe_avx2(void) {
    __m256 x[ACCUMULATORS], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    for (int i = 0; i < ACCUMULATORS; i++) x[i] = _mm256_set1_ps((float)i);
    for (int r = 0; r < ROUNDS; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < ACCUMULATORS; i++) x[i] = _mm256_fmadd_ps(x[i], a, b);
    }
    __m256 sum = x[0];
    for (int i = 1; i < ACCUMULATORS; i++) sum = _mm256_add_ps(sum, x[i]);
    return _mm256_cvtss_f32(sum);
}

__attribute__((target("avx512f"))) static float probe_avx512(void) {
    __m512 x[ACCUMULATORS], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
    for (int i = 0; i < ACCUMULATORS; i++) x[i] = _mm512_set1_ps((float)i);
    for (int r = 0; r < ROUNDS; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < ACCUMULATORS; i++) x[i] = _mm512_fmadd_ps(x[i], a, b);
    }
    __m512 sum = x[0];
    for (int i = 1; i < ACCUMULATORS; i++) sum = _mm512_add_ps(sum, x[i]);
    return _mm512_cvtss_f32(sum);
}
#endif

typedef struct arithmetic {
    float (*probe)(void);
    volatile float result[1024];
} arithmetic;

static void run_probe(void *arg, int64_t tile, int worker) {
    (void)worker;
    arithmetic *a = arg;
    a->result[tile] = a->probe();
}

static double measure_gflops(gy_ctx *ctx) {
    arithmetic a = {.probe = probe_plain};
    double lanes = 1, best = INFINITY;
#ifdef GY_X86
    uint64_t mask = gy_ctx_isa_mask(ctx);
    if (mask >> GY_ISA_AVX2 & 1) a.probe = probe_avx2, lanes = 8;
    if (mask >> GY_ISA_AVX512 & 1) a.probe = probe_avx512, lanes = 16;
#endif
    int threads = gy_pool_threads(gy_ctx_pool(ctx));
    for (int i = 0; i < 8; i++) {
        double t0 = now();
        gy_par(gy_ctx_pool(ctx), threads, run_probe, &a);
        best = fmin(best, now() - t0);
    }
    return 2.0 * lanes * ACCUMULATORS * ROUNDS * threads / best * 1e-9;
}

typedef struct triad {
    float *a, *b, *c;
    float s;
} triad;

static void run_triad(void *arg, int64_t tile, int worker) {
    (void)worker;
    const triad *t = arg;
    int64_t lo, hi;
    gy_tile_range(TRIAD, TRIAD_GRAIN, tile, &lo, &hi);
    float *restrict a = t->a;
    const float *restrict b = t->b, *restrict c = t->c;
    for (int64_t i = lo; i < hi; i++) a[i] = b[i] + t->s * c[i];
}

static gy_status measure_gbps(gy_ctx *ctx, double *gbps) {
    size_t bytes = (size_t)TRIAD * sizeof(float);
    triad t = {gy_malloc(ctx, bytes), gy_malloc(ctx, bytes), gy_malloc(ctx, bytes), 0.5f};
    gy_status s = t.a && t.b && t.c ? GY_OK : GY_ERR_NOMEM;
    double best = INFINITY;
    for (int64_t i = 0; s == GY_OK && i < TRIAD; i++) t.a[i] = t.b[i] = t.c[i] = 1;
    for (int i = 0; s == GY_OK && i < 8; i++) {
        double t0 = now();
        gy_par(gy_ctx_pool(ctx), gy_tiles(TRIAD, TRIAD_GRAIN), run_triad, &t);
        best = fmin(best, now() - t0);
    }
    *gbps = 3.0 * (double)bytes / best * 1e-9;
    gy_free(ctx, t.a);
    gy_free(ctx, t.b);
    gy_free(ctx, t.c);
    return s;
}

gy_status bench_measure_peaks(gy_ctx *ctx, bench_peaks *out) {
    out->gflops = measure_gflops(ctx);
    return measure_gbps(ctx, &out->gbps);
}
