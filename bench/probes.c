/* Probes: the loops behind the peaks.
 *
 * Arithmetic. A multiply-add has a latency of 4 to 6 cycles and two ports, so 12 independent accumulators keep every
 * unit full, and with two constants they fit the 16 registers of AVX2. Values stay finite: x -> 0.999 x + 0.001
 * converges to 1; the integer sums wrap.
 *   f32, f64  vfmadd: lanes x 2 operations
 *   bf16      vdpbf16ps: 2 products a 32-bit lane, added in f32
 *   int8      vpdpbusd: 4 products a 32-bit lane; without VNNI vpmaddubsw, vpmaddwd, vpaddd do the same in three
 * Streams. Reading ors 8 registers together (more ports than adding); copying moves 8 registers a turn.
 *
 * Each function carries its instruction set as an attribute, so that one file holds the whole table; which row runs is
 * decided by the context's mask and by cpuid for the two extensions that are no tier of their own. */
#include "probes.h"

#include <string.h>

enum { N = 12 }; /* accumulators */

static float f32_plain(int64_t rounds) {
    float x[N], sum = 0;
    for (int i = 0; i < N; i++) x[i] = (float)i;
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < N; i++) x[i] = x[i] * 0.999f + 0.001f;
    for (int i = 0; i < N; i++) sum += x[i];
    return sum;
}
static float f64_plain(int64_t rounds) {
    double x[N], sum = 0;
    for (int i = 0; i < N; i++) x[i] = i;
    for (int64_t r = 0; r < rounds; r++)
        for (int i = 0; i < N; i++) x[i] = x[i] * 0.999 + 0.001;
    for (int i = 0; i < N; i++) sum += x[i];
    return (float)sum;
}
static uint64_t read_plain(const void *src, int64_t bytes) {
    const uint64_t *p = src;
    uint64_t x[8] = {0};
    for (int64_t i = 0; i < bytes / 8; i += 8)
        for (int k = 0; k < 8; k++) x[k] |= p[i + k];
    return x[0] | x[1] | x[2] | x[3] | x[4] | x[5] | x[6] | x[7];
}
static void copy_plain(void *dst, const void *src, int64_t bytes) {
    memcpy(dst, src, (size_t)bytes);
}

#ifdef GY_X86
#include <immintrin.h>
#define AVX2   __attribute__((target("avx2,fma")))
#define AVX512 __attribute__((target("avx512f,avx512bw")))

AVX2 static float f32_avx2(int64_t rounds) {
    __m256 x[N], a = _mm256_set1_ps(0.999f), b = _mm256_set1_ps(0.001f);
    for (int i = 0; i < N; i++) x[i] = _mm256_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < N; i++) x[i] = _mm256_fmadd_ps(x[i], a, b);
    }
    for (int i = 1; i < N; i++) x[0] = _mm256_add_ps(x[0], x[i]);
    return _mm256_cvtss_f32(x[0]);
}
AVX2 static float f64_avx2(int64_t rounds) {
    __m256d x[N], a = _mm256_set1_pd(0.999), b = _mm256_set1_pd(0.001);
    for (int i = 0; i < N; i++) x[i] = _mm256_set1_pd((double)i);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < N; i++) x[i] = _mm256_fmadd_pd(x[i], a, b);
    }
    for (int i = 1; i < N; i++) x[0] = _mm256_add_pd(x[0], x[i]);
    return (float)_mm256_cvtsd_f64(x[0]);
}
AVX2 static float int8_avx2(int64_t rounds) {
    __m256i x[N], a = _mm256_set1_epi8(3), ones = _mm256_set1_epi16(1);
    for (int i = 0; i < N; i++) x[i] = _mm256_set1_epi32(i);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < N; i++)
            x[i] = _mm256_add_epi32(x[i], _mm256_madd_epi16(_mm256_maddubs_epi16(x[i], a), ones));
    }
    for (int i = 1; i < N; i++) x[0] = _mm256_add_epi32(x[0], x[i]);
    return (float)_mm256_cvtsi256_si32(x[0]);
}
AVX2 static uint64_t read_avx2(const void *src, int64_t bytes) {
    const __m256i *p = src;
    __m256i x[8];
    for (int k = 0; k < 8; k++) x[k] = _mm256_setzero_si256();
    for (int64_t i = 0; i < bytes / 32; i += 8) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) x[k] = _mm256_or_si256(x[k], _mm256_load_si256(p + i + k));
    }
    for (int k = 1; k < 8; k++) x[0] = _mm256_or_si256(x[0], x[k]);
    return (uint64_t)_mm256_extract_epi64(x[0], 0);
}
AVX2 static void copy_avx2(void *dst, const void *src, int64_t bytes) {
    const __m256i *p = src;
    __m256i *q = dst;
    for (int64_t i = 0; i < bytes / 32; i += 8) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) _mm256_store_si256(q + i + k, _mm256_load_si256(p + i + k));
    }
}
AVX2 static void copy_past_avx2(void *dst, const void *src, int64_t bytes) {
    const __m256i *p = src;
    __m256i *q = dst;
    for (int64_t i = 0; i < bytes / 32; i += 8) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) _mm256_stream_si256(q + i + k, _mm256_load_si256(p + i + k));
    }
    _mm_sfence();
}

AVX512 static float f32_avx512(int64_t rounds) {
    __m512 x[N], a = _mm512_set1_ps(0.999f), b = _mm512_set1_ps(0.001f);
    for (int i = 0; i < N; i++) x[i] = _mm512_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < N; i++) x[i] = _mm512_fmadd_ps(x[i], a, b);
    }
    for (int i = 1; i < N; i++) x[0] = _mm512_add_ps(x[0], x[i]);
    return _mm512_cvtss_f32(x[0]);
}
AVX512 static float f64_avx512(int64_t rounds) {
    __m512d x[N], a = _mm512_set1_pd(0.999), b = _mm512_set1_pd(0.001);
    for (int i = 0; i < N; i++) x[i] = _mm512_set1_pd((double)i);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < N; i++) x[i] = _mm512_fmadd_pd(x[i], a, b);
    }
    for (int i = 1; i < N; i++) x[0] = _mm512_add_pd(x[0], x[i]);
    return (float)_mm512_cvtsd_f64(x[0]);
}
AVX512 static float int8_avx512(int64_t rounds) {
    __m512i x[N], a = _mm512_set1_epi8(3), ones = _mm512_set1_epi16(1);
    for (int i = 0; i < N; i++) x[i] = _mm512_set1_epi32(i);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < N; i++)
            x[i] = _mm512_add_epi32(x[i], _mm512_madd_epi16(_mm512_maddubs_epi16(x[i], a), ones));
    }
    for (int i = 1; i < N; i++) x[0] = _mm512_add_epi32(x[0], x[i]);
    return (float)_mm_cvtsi128_si32(_mm512_castsi512_si128(x[0]));
}
__attribute__((target("avx512f,avx512vnni"))) static float int8_vnni(int64_t rounds) {
    __m512i x[N], a = _mm512_set1_epi32(0x01010101), b = _mm512_set1_epi32(0x03030303);
    for (int i = 0; i < N; i++) x[i] = _mm512_set1_epi32(i);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < N; i++) x[i] = _mm512_dpbusd_epi32(x[i], a, b);
        __asm__ volatile("" : "+v"(a)); /* or the sums of constants would be folded */
    }
    for (int i = 1; i < N; i++) x[0] = _mm512_add_epi32(x[0], x[i]);
    return (float)_mm_cvtsi128_si32(_mm512_castsi512_si128(x[0]));
}
__attribute__((target("avx512f,avx512bf16"))) static float bf16_avx512(int64_t rounds) {
    __m512 x[N];
    __m512bh a = _mm512_cvtne2ps_pbh(_mm512_set1_ps(0.001f), _mm512_set1_ps(0.002f));
    for (int i = 0; i < N; i++) x[i] = _mm512_set1_ps((float)i);
    for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
        for (int i = 0; i < N; i++) x[i] = _mm512_dpbf16_ps(x[i], a, a);
    }
    for (int i = 1; i < N; i++) x[0] = _mm512_add_ps(x[0], x[i]);
    return _mm512_cvtss_f32(x[0]);
}
AVX512 static uint64_t read_avx512(const void *src, int64_t bytes) {
    const __m512i *p = src;
    __m512i x[8];
    for (int k = 0; k < 8; k++) x[k] = _mm512_setzero_si512();
    for (int64_t i = 0; i < bytes / 64; i += 8) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) x[k] = _mm512_or_si512(x[k], _mm512_load_si512(p + i + k));
    }
    for (int k = 1; k < 8; k++) x[0] = _mm512_or_si512(x[0], x[k]);
    return (uint64_t)_mm_cvtsi128_si64(_mm512_castsi512_si128(x[0]));
}
AVX512 static void copy_avx512(void *dst, const void *src, int64_t bytes) {
    const __m512i *p = src;
    __m512i *q = dst;
    for (int64_t i = 0; i < bytes / 64; i += 8) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) _mm512_store_si512(q + i + k, _mm512_load_si512(p + i + k));
    }
}
AVX512 static void copy_past_avx512(void *dst, const void *src, int64_t bytes) {
    const __m512i *p = src;
    __m512i *q = dst;
    for (int64_t i = 0; i < bytes / 64; i += 8) {
#pragma GCC unroll 8
        for (int k = 0; k < 8; k++) _mm512_stream_si512(q + i + k, _mm512_load_si512(p + i + k));
    }
    _mm_sfence();
}
#endif

bench_arithmetic bench_arithmetic_probe(bench_unit unit, uint64_t isa_mask) {
    bench_arithmetic best = {NULL, 0};
    if (unit == BENCH_F32) best = (bench_arithmetic){f32_plain, 2 * N};
    if (unit == BENCH_F64) best = (bench_arithmetic){f64_plain, 2 * N};
#ifdef GY_X86
    if (isa_mask >> GY_ISA_AVX2 & 1) {
        if (unit == BENCH_F32) best = (bench_arithmetic){f32_avx2, 2 * N * 8};
        if (unit == BENCH_F64) best = (bench_arithmetic){f64_avx2, 2 * N * 4};
        if (unit == BENCH_INT8) best = (bench_arithmetic){int8_avx2, 2 * N * 32};
    }
    if (isa_mask >> GY_ISA_AVX512 & 1) {
        bool vnni = __builtin_cpu_supports("avx512vnni");
        if (unit == BENCH_F32) best = (bench_arithmetic){f32_avx512, 2 * N * 16};
        if (unit == BENCH_F64) best = (bench_arithmetic){f64_avx512, 2 * N * 8};
        if (unit == BENCH_INT8) best = (bench_arithmetic){vnni ? int8_vnni : int8_avx512, 2 * N * 64};
    }
    if (isa_mask >> GY_ISA_AVX512BF16 & 1 && unit == BENCH_BF16) best = (bench_arithmetic){bf16_avx512, 2 * N * 32};
#else
    (void)isa_mask;
#endif
    return best;
}

bench_streams bench_stream_probe(uint64_t isa_mask) {
    bench_streams best = {read_plain, copy_plain, NULL};
#ifdef GY_X86
    if (isa_mask >> GY_ISA_AVX2 & 1) best = (bench_streams){read_avx2, copy_avx2, copy_past_avx2};
    if (isa_mask >> GY_ISA_AVX512 & 1) best = (bench_streams){read_avx512, copy_avx512, copy_past_avx512};
#else
    (void)isa_mask;
#endif
    return best;
}
