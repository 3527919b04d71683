/* conv_tile.h: the register tile of the direct and the Winograd convolutions. */
#ifndef GY_X86_CONV_TILE_H
#define GY_X86_CONV_TILE_H

#include "conv.h"

/* What a float of windows and packed weights holds: one number, or (AVX512-BF16) two neighbours along the summed axis,
 * rounded to bf16, which one instruction multiplies and adds in pairs. */
#if defined(GY_TIER_avx512bf16)
enum { GY_CONV_PAIR = 2 };
GY_INLINE vf gy_conv_fma(vf a, vf b, vf c) {
    return _mm512_dpbf16_ps(c, (__m512bh)a, (__m512bh)b);
}
/* Lane i: the pair (first[i], second[i]). */
GY_INLINE vf gy_conv_pair(vf first, vf second) {
    const __m512i order = _mm512_set_epi32(0x1f000f, 0x1e000e, 0x1d000d, 0x1c000c, 0x1b000b, 0x1a000a, 0x190009,
                                           0x180008, 0x170007, 0x160006, 0x150005, 0x140004, 0x130003, 0x120002,
                                           0x110001, 0x100000) /* words 0, 16, 1, 17, ... */;
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(second, first)));
}
/* The epilogue on f32 is the tier below's. */
void gy_gemm_finish_f32_avx512(const gy_gemm_f32 *g, int64_t i0, int64_t i1, int64_t j0, int64_t j1);
#define GY_CONV_FINISH gy_gemm_finish_f32_avx512
#else
enum { GY_CONV_PAIR = 1 };
GY_INLINE vf gy_conv_fma(vf a, vf b, vf c) {
    return v_fma(a, b, c);
}
#define GY_CONV_FINISH GY_ISAFN(gy_gemm_finish_f32)
#endif

/* acc[i] += sum_e a[i row + e] b[e][0 .. nv VL), i < mr, e < len; returns b behind what was read.
 *
 * The rows lie `row` floats apart where the input is: every third has a pointer of its own, which all are moved on
 * together, and the others are one and two rows away from it, which addressing does for free. */
GY_INLINE const float *gy_conv_rows(const int mr, const int nv, vf acc[GY_MR][2], const float *a, int64_t row,
                                    int64_t len, const float *b) {
    enum { BASES = (GY_MR + 2) / 3 };
    const float *x[BASES];
#pragma GCC unroll 5
    for (int i = 0; i < BASES; i++) x[i] = a + 3 * i * row;
    for (int64_t e = 0; e < len; e++, b += nv * VL) {
        vf b0 = v_load(b), b1 = nv > 1 ? v_load(b + VL) : v_zero();
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            vf ai = v_set(x[i / 3][i % 3 * row]);
            acc[i][0] = gy_conv_fma(ai, b0, acc[i][0]);
            if (nv > 1) acc[i][1] = gy_conv_fma(ai, b1, acc[i][1]);
        }
#pragma GCC unroll 5
        for (int i = 0; i < BASES; i++)
            if (3 * i < mr) {
                x[i]++;
                __asm__("" : "+r"(x[i])); /* else each row gets a pointer, more than there are registers */
            }
    }
    return b;
}

/* A function for each height and one or two vectors: TILE(mr, nv) defines name_<mr>x<nv>, and ROW(mr) is the table's
 * row of them. */
/* clang-format off */
#if defined(GY_TIER_avx2)
#define GY_CONV_TILES(TILE)                                                                                            \
    TILE(1, 1) TILE(1, 2) TILE(2, 1) TILE(2, 2)                                                                        \
    TILE(3, 1) TILE(3, 2) TILE(4, 1) TILE(4, 2)                                                                        \
    TILE(5, 1) TILE(5, 2) TILE(6, 1) TILE(6, 2)
#define GY_CONV_TABLE(ROW) ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6)
#else
#define GY_CONV_TILES(TILE)                                                                                            \
    TILE(1, 1) TILE(1, 2) TILE(2, 1) TILE(2, 2)                                                                        \
    TILE(3, 1) TILE(3, 2) TILE(4, 1) TILE(4, 2)                                                                        \
    TILE(5, 1) TILE(5, 2) TILE(6, 1) TILE(6, 2)                                                                        \
    TILE(7, 1) TILE(7, 2) TILE(8, 1) TILE(8, 2)                                                                        \
    TILE(9, 1) TILE(9, 2) TILE(10, 1) TILE(10, 2)                                                                      \
    TILE(11, 1) TILE(11, 2) TILE(12, 1) TILE(12, 2)                                                                    \
    TILE(13, 1) TILE(13, 2) TILE(14, 1) TILE(14, 2)
#define GY_CONV_TABLE(ROW)                                                                                             \
    ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14)
#endif
/* clang-format on */

#endif
