/* What the machine can do at most: two probes.
 *
 * Arithmetic: independent fused multiply-adds on registers. A unit has a latency of 4 to 5 cycles and two ports, so
 * 12 accumulators keep it full; every value stays finite because x -> 0.999 x + 0.001 converges.
 * Bandwidth: a = b + s c (McCalpin's STREAM triad) over three arrays of 32 MiB, beyond most last-level caches;
 * the write-allocate traffic is not counted, as in STREAM. Smaller arrays give the caches' bandwidth, with which work
 * on small operands is compared. */
#include "bench.h"

#include <math.h>
#include <time.h>

enum { ACCUMULATORS = 12, ROUNDS = 400000, TRIAD = 8 << 20 };

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
    volatile float result[1024]; /* one a thread */
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

/* ---- bandwidth ---- */

typedef void (*triad_fn)(float *a, const float *b, const float *c, int64_t n);

static void triad_plain(float *restrict a, const float *restrict b, const float *restrict c, int64_t n) {
    for (int64_t i = 0; i < n; i++) a[i] = b[i] + 0.5f * c[i];
}

#ifdef GY_X86
/* n is a multiple of 16 and the arrays are 64-byte aligned. */
__attribute__((target("avx2,fma"))) static void triad_avx2(float *a, const float *b, const float *c, int64_t n) {
    __m256 s = _mm256_set1_ps(0.5f);
    for (int64_t i = 0; i < n; i += 8)
        _mm256_store_ps(a + i, _mm256_fmadd_ps(s, _mm256_load_ps(c + i), _mm256_load_ps(b + i)));
}

__attribute__((target("avx512f"))) static void triad_avx512(float *a, const float *b, const float *c, int64_t n) {
    __m512 s = _mm512_set1_ps(0.5f);
    for (int64_t i = 0; i < n; i += 16)
        _mm512_store_ps(a + i, _mm512_fmadd_ps(s, _mm512_load_ps(c + i), _mm512_load_ps(b + i)));
}
#endif

/* Each thread owns a slice and goes over it `passes` times, so that its part stays in its own caches. */
typedef struct triad {
    float *a, *b, *c;
    int64_t slice, passes;
    triad_fn fn;
} triad;

static void run_triad(void *arg, int64_t tile, int worker) {
    (void)worker;
    const triad *t = arg;
    int64_t at = tile * t->slice;
    for (int64_t k = 0; k < t->passes; k++) t->fn(t->a + at, t->b + at, t->c + at, t->slice);
}

static gy_status measure_gbps(gy_ctx *ctx, bench_peaks *out) {
    int threads = gy_pool_threads(gy_ctx_pool(ctx));
    int64_t most = ((int64_t)TRIAD + threads * 16) & ~INT64_C(15);
    size_t bytes = (size_t)most * sizeof(float);
    triad t = {gy_malloc(ctx, bytes), gy_malloc(ctx, bytes), gy_malloc(ctx, bytes), 0, 0, triad_plain};
    gy_status s = t.a && t.b && t.c ? GY_OK : GY_ERR_NOMEM;
#ifdef GY_X86
    uint64_t mask = gy_ctx_isa_mask(ctx);
    if (mask >> GY_ISA_AVX2 & 1) t.fn = triad_avx2;
    if (mask >> GY_ISA_AVX512 & 1) t.fn = triad_avx512;
#endif
    for (int64_t i = 0; s == GY_OK && i < most; i++) t.a[i] = t.b[i] = t.c[i] = 1;
    for (int k = 0; s == GY_OK && k < BENCH_SETS; k++) {
        /* 3 x 32 KiB a thread (inner caches), 3 x 1 MiB a thread, 3 x 8 MiB and 3 x 32 MiB (memory) in all */
        int64_t each = k == 0 ? 8 << 10 : k == 1 ? 256 << 10 : (k == 2 ? TRIAD / 4 : TRIAD) / threads;
        if (each > TRIAD / threads) each = TRIAD / threads;
        t.slice = each & ~INT64_C(15);
        t.passes = TRIAD / (t.slice * threads);
        double best = INFINITY, moved = 3.0 * 4.0 * (double)(t.slice * threads);
        for (int i = 0; i < 6; i++) {
            double t0 = now();
            gy_par(gy_ctx_pool(ctx), threads, run_triad, &t);
            best = fmin(best, now() - t0);
        }
        out->set[k].bytes = moved;
        out->set[k].gbps = moved * (double)t.passes / best * 1e-9;
    }
    out->gbps = out->set[BENCH_SETS - 1].gbps;
    gy_free(ctx, t.a);
    gy_free(ctx, t.b);
    gy_free(ctx, t.c);
    return s;
}

double bench_bandwidth(const bench_peaks *p, double bytes) {
    int k = 0;
    while (k + 1 < BENCH_SETS && bytes > p->set[k].bytes) k++;
    return p->set[k].gbps;
}

gy_status bench_measure_peaks(gy_ctx *ctx, bench_peaks *out) {
    out->gflops = measure_gflops(ctx);
    return measure_gbps(ctx, out);
}
