/* The register kernels of the matrix product.
 *
 * A tile of C, up to MR rows by two vectors, lives in registers while the depth runs: each step loads two vectors of B,
 * broadcasts one element of A a row and does 2 MR fused multiply-adds. MR = 14 on AVX-512: 28 accumulators + 2 + 1 of
 * 32 registers; MR = 6 on AVX2: 12 + 2 + 1 of 16. A step of the full f32 tile is 14 x 32 x 2 = 896 FLOPs for 16 loads
 * (AVX2: 192 for 8), so the multiply-add units are the limit: 28 cycles a step on Zen 4 (one 512-bit FMA a cycle).
 * Lower tiles exist for every height, so that ragged row counts are cut evenly instead of padded. */
#define GY_TYPED_FILE "gemm_ukr.c"
#include "gemm.h"
#include "types.h"

#ifdef T

GY_INLINE void NAME(ukr)(const int mr, const int nv, int64_t depth, const T *a, const T *b, int64_t ldb, T *c,
                         int64_t ldc, int64_t n, bool first) {
    V acc[GY_MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = OP(zero)();
    for (int64_t p = 0; p < depth; p++) {
        V b0 = OP(load)(b), b1 = nv > 1 ? OP(load)(b + LANES) : OP(zero)();
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            V ai = OP(set)(a[i]);
            acc[i][0] = OP(fma)(ai, b0, acc[i][0]);
            if (nv > 1) acc[i][1] = OP(fma)(ai, b1, acc[i][1]);
        }
        a += mr;
        b += ldb;
    }
    if (n == nv * LANES) {
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++)
            for (int v = 0; v < nv; v++) {
                T *p = c + i * ldc + v * LANES;
                OP(store)(p, first ? acc[i][v] : OP(add)(OP(load)(p), acc[i][v]));
            }
        return;
    }
    int64_t tail = n - (nv - 1) * LANES;
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) {
        T *p = c + i * ldc;
        if (nv > 1) {
            OP(store)(p, first ? acc[i][0] : OP(add)(OP(load)(p), acc[i][0]));
            p += LANES;
        }
        V last = acc[i][nv - 1];
        OP(storen)(p, first ? last : OP(add)(OP(loadn)(p, tail), last), tail);
    }
}

#define UKR(mr, nv)                                                                                                    \
    static void NAME(ukr_##mr##x##nv)(int64_t depth, const T *a, const T *b, int64_t ldb, T *c, int64_t ldc,           \
                                      int64_t n, bool first) {                                                         \
        NAME(ukr)(mr, nv, depth, a, b, ldb, c, ldc, n, first);                                                         \
    }
#define UKRS(mr) UKR(mr, 1) UKR(mr, 2)
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

#define ROW(mr)                                                                                                        \
    { NAME(ukr_##mr##x1), NAME(ukr_##mr##x2) }
const TYPE(gy_ukr) NAME(gy_ukr_table)[GY_MR][2] = {
    ROW(1), ROW(2), ROW(3), ROW(4),  ROW(5),  ROW(6),
#if !defined(GY_TIER_avx2)
    ROW(7), ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14),
#endif
};
#undef ROW
#endif
