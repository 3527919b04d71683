/* The register kernels of the matrix product.
 *
 * A tile of C, up to MR rows by two vectors, lives in registers while the depth runs: each step loads two vectors of B,
 * broadcasts one element of A a row and does 2 MR fused multiply-adds. MR = 14 on AVX-512: 28 accumulators + 2 + 1 of
 * 32 registers; MR = 6 on AVX2: 12 + 2 + 1 of 16. A step of the full f32 tile is 14 x 32 x 2 = 896 FLOPs for 16 loads
 * (AVX2: 192 for 8), so the multiply-add units are the limit: 28 cycles a step on Zen 4 (one 512-bit FMA a cycle).
 * Lower tiles exist for every height, so that ragged row counts are cut evenly instead of padded.
 *
 * With operands packed: 1024^3 .95 of that limit on one thread, packing included (`gyrus bench matmul --threads 1`). */
#define GY_TYPED_FILE "gemm_ukr.c"
#include "gemm.h"
#include "types.h"

#ifndef GY_UKR_ONCE
#define GY_UKR_ONCE
enum { AHEAD = 16, FAR = 64 }; /* depths: about the way to main memory; with at most 4 rows, which take less time */
#endif

#ifdef T

/* One step of depth. */
GY_INLINE void NAME(ukr_step)(const int mr, const int nv, const bool rows, const T **a, int64_t lda, const T **base,
                              const T **b, int64_t ldb, V acc[GY_MR][2]) {
    V b0 = OP(load)(*b), b1 = nv > 1 ? OP(load)(*b + LANES) : OP(zero)();
    __builtin_prefetch(*b + (mr > 4 ? AHEAD : FAR) * ldb); /* the hardware's own fetching stops at each page */
    if (nv > 1) __builtin_prefetch(*b + (mr > 4 ? AHEAD : FAR) * ldb + LANES);
    if (!rows) __builtin_prefetch(*a + AHEAD * mr);
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) {
        V ai = OP(set)(rows ? base[i / 3][i % 3 * lda] : (*a)[i]);
        acc[i][0] = OP(fma)(ai, b0, acc[i][0]);
        if (nv > 1) acc[i][1] = OP(fma)(ai, b1, acc[i][1]);
    }
    if (rows)
        for (int i = 0; i < mr; i += 3) base[i / 3]++;
    else
        *a += mr;
    *b += ldb;
}

/* rows: A is not a panel but plain rows, lda apart. Pointers to every third serve all: base, + lda, + 2 lda. */
GY_INLINE void NAME(ukr)(const int mr, const int nv, const bool rows, int64_t depth, const T *a, int64_t lda,
                         const T *b, int64_t ldb, T *c, int64_t ldc, int64_t n, bool first, const gy_fetch *fetch) {
    V acc[GY_MR][2];
    const T *base[(GY_MR + 2) / 3];
    if (rows)
        for (int i = 0; i < mr; i += 3) base[i / 3] = a + i * lda;
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = OP(zero)();
    int64_t p = 0;
    for (; p < depth && p < mr; p++) { /* C, a row a step: all at once would hold up what the steps load */
        __builtin_prefetch(c + p * ldc, 1);
        __builtin_prefetch(c + p * ldc + nv * LANES - 1, 1);
        NAME(ukr_step)(mr, nv, rows, &a, lda, base, &b, ldb, acc);
    }
    for (; fetch->count; fetch++) {
        const char *at = fetch->at;
        for (int64_t end = depth - p < fetch->count ? depth : p + fetch->count; p < end; p++, at += fetch->step) {
            __builtin_prefetch(at, 0, 2);
            __builtin_prefetch(at + fetch->last, 0, 2);
            NAME(ukr_step)(mr, nv, rows, &a, lda, base, &b, ldb, acc);
        }
    }
    for (; p < depth; p++) NAME(ukr_step)(mr, nv, rows, &a, lda, base, &b, ldb, acc);
    /* Four plain loops: one that decides at each store costs as much as ten steps of depth. */
    if (n == nv * LANES && first) {
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++, c += ldc)
            for (int v = 0; v < nv; v++) OP(store)(c + v * LANES, acc[i][v]);
    } else if (n == nv * LANES) {
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++, c += ldc)
            for (int v = 0; v < nv; v++) OP(store)(c + v * LANES, OP(add)(OP(load)(c + v * LANES), acc[i][v]));
    } else if (first) {
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++, c += ldc) {
            if (nv > 1) OP(store)(c, acc[i][0]);
            OP(storen)(c + (nv - 1) * LANES, acc[i][nv - 1], n - (nv - 1) * LANES);
        }
    } else {
        int64_t tail = n - (nv - 1) * LANES;
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++, c += ldc) {
            T *end = c + (nv - 1) * LANES;
            if (nv > 1) OP(store)(c, OP(add)(OP(load)(c), acc[i][0]));
            OP(storen)(end, OP(add)(OP(loadn)(end, tail), acc[i][nv - 1]), tail);
        }
    }
}

/* At most half a vector of columns: vectors of half the length, of which twice as many go through a cycle. */
#if defined(GY_TIER_avx2)
#define UKR_HALF(mr)
#else
#ifdef T_IS_F32
#define HALF     __m256
#define HOP(f)   _mm256_##f##_ps
#define HTAIL(n) (__mmask8) v_tail(n)
#define HSET(x)  _mm256_set1_ps(x)
#else
#define HALF     __m256d
#define HOP(f)   _mm256_##f##_pd
#define HTAIL(n) (__mmask8) v_tail(n)
#define HSET(x)  _mm256_set1_pd(x)
#endif
GY_INLINE void NAME(ukr_half)(const int mr, const bool rows, int64_t depth, const T *a, int64_t lda, const T *b,
                              int64_t ldb, T *c, int64_t ldc, int64_t n, bool first, const gy_fetch *fetch) {
    (void)fetch;
    HALF acc[GY_MR];
    const T *base[(GY_MR + 2) / 3];
    if (rows)
        for (int i = 0; i < mr; i += 3) base[i / 3] = a + i * lda;
    __mmask8 live = HTAIL(n);
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i] = HOP(setzero)();
    for (int64_t p = 0; p < depth; p++, a += mr, b += ldb) {
        HALF x = HOP(loadu)(b);
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) acc[i] = HOP(fmadd)(HSET(rows ? base[i / 3][i % 3 * lda] : a[i]), x, acc[i]);
        if (rows)
            for (int i = 0; i < mr; i += 3) base[i / 3]++;
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++, c += ldc)
        HOP(mask_storeu)(c, live, first ? acc[i] : HOP(add)(HOP(maskz_loadu)(live, c), acc[i]));
}
#define UKR_HALF(mr)                                                                                                   \
    static void NAME(ukr_##mr##xhalf)(int64_t depth, const T *a, const T *b, int64_t ldb, T *c, int64_t ldc,           \
                                      int64_t n, bool first, const gy_fetch *fetch) {                                  \
        NAME(ukr_half)(mr, false, depth, a, 0, b, ldb, c, ldc, n, first, fetch);                                       \
    }                                                                                                                  \
    static void NAME(rows_##mr##xhalf)(int64_t depth, const T *a, int64_t lda, const T *b, int64_t ldb, T *c,          \
                                       int64_t ldc, int64_t n, bool first, const gy_fetch *fetch) {                    \
        NAME(ukr_half)(mr, true, depth, a, lda, b, ldb, c, ldc, n, first, fetch);                                      \
    }
#endif

#define UKR(mr, nv)                                                                                                    \
    static void NAME(ukr_##mr##x##nv)(int64_t depth, const T *a, const T *b, int64_t ldb, T *c, int64_t ldc,           \
                                      int64_t n, bool first, const gy_fetch *fetch) {                                  \
        NAME(ukr)(mr, nv, false, depth, a, 0, b, ldb, c, ldc, n, first, fetch);                                        \
    }                                                                                                                  \
    static void NAME(rows_##mr##x##nv)(int64_t depth, const T *a, int64_t lda, const T *b, int64_t ldb, T *c,          \
                                       int64_t ldc, int64_t n, bool first, const gy_fetch *fetch) {                    \
        NAME(ukr)(mr, nv, true, depth, a, lda, b, ldb, c, ldc, n, first, fetch);                                       \
    }
#define UKRS(mr) UKR(mr, 1) UKR(mr, 2) UKR_HALF(mr)
UKRS(1)
UKRS(2)
UKRS(3)
UKRS(4)
UKRS(5)
UKRS(6)
#if !defined(GY_TIER_avx2)
UKRS(7)
UKRS(8)
UKRS(9)
UKRS(10)
UKRS(11)
UKRS(12)
UKRS(13)
UKRS(14)
#endif
#undef UKR
#undef UKRS

#if defined(GY_TIER_avx2)
#define ROW(f, mr)                                                                                                     \
    { NAME(f##_##mr##x1), NAME(f##_##mr##x2), NAME(f##_##mr##x1) }
#define ROWS(f) ROW(f, 1), ROW(f, 2), ROW(f, 3), ROW(f, 4), ROW(f, 5), ROW(f, 6)
#else
#define ROW(f, mr)                                                                                                     \
    { NAME(f##_##mr##x1), NAME(f##_##mr##x2), NAME(f##_##mr##xhalf) }
#define ROWS(f)                                                                                                        \
    ROW(f, 1), ROW(f, 2), ROW(f, 3), ROW(f, 4), ROW(f, 5), ROW(f, 6), ROW(f, 7), ROW(f, 8), ROW(f, 9), ROW(f, 10),     \
        ROW(f, 11), ROW(f, 12), ROW(f, 13), ROW(f, 14)
#endif
const TYPE(gy_ukr) NAME(gy_ukr_table)[GY_MR][3] = {ROWS(ukr)};
const TYPE(gy_ukr_rows) NAME(gy_ukr_rows_table)[GY_MR][3] = {ROWS(rows)};
#undef ROWS
#undef ROW
#undef UKR_HALF
#undef HALF
#undef HOP
#undef HTAIL
#undef HSET
#endif
