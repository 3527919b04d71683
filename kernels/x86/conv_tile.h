/* conv_tile.h: the register tile of the direct and the Winograd convolutions. */
#ifndef GY_X86_CONV_TILE_H
#define GY_X86_CONV_TILE_H

#include "conv.h"

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
            acc[i][0] = v_fma(ai, b0, acc[i][0]);
            if (nv > 1) acc[i][1] = v_fma(ai, b1, acc[i][1]);
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
#if defined(GY_TIER_avx2)
#define GY_CONV_TILES(TILE)                                                                                            \
    TILE(1, 1)                                                                                                         \
    TILE(1, 2)                                                                                                         \
    TILE(2, 1) TILE(2, 2) TILE(3, 1) TILE(3, 2) TILE(4, 1) TILE(4, 2) TILE(5, 1) TILE(5, 2) TILE(6, 1) TILE(6, 2)
#define GY_CONV_TABLE(ROW) ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6)
#else
#define GY_CONV_TILES(TILE)                                                                                            \
    TILE(1, 1)                                                                                                         \
    TILE(1, 2)                                                                                                         \
    TILE(2, 1)                                                                                                         \
    TILE(2, 2) TILE(3, 1) TILE(3, 2) TILE(4, 1) TILE(4, 2) TILE(5, 1) TILE(5, 2) TILE(6, 1) TILE(6, 2) TILE(7, 1)      \
        TILE(7, 2) TILE(8, 1) TILE(8, 2) TILE(9, 1) TILE(9, 2) TILE(10, 1) TILE(10, 2) TILE(11, 1) TILE(11, 2)         \
            TILE(12, 1) TILE(12, 2) TILE(13, 1) TILE(13, 2) TILE(14, 1) TILE(14, 2)
#define GY_CONV_TABLE(ROW)                                                                                             \
    ROW(1), ROW(2), ROW(3), ROW(4), ROW(5), ROW(6), ROW(7), ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14)
#endif

#endif
