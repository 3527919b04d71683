/* conv_product.h: the products of Winograd's algorithms, one for each element of the transformed tiles. */
#ifndef GY_X86_CONV_PRODUCT_H
#define GY_X86_CONV_PRODUCT_H

#include "conv_winograd.h"

/* c[i] += (first: =) sum_e a[i row + e] b[e], c and b [..][nv VL]. */
GY_INLINE void product_tile(const int mr, const int nv, const float *a, int64_t row, int64_t len, const float *b,
                            float *c, bool first) {
    vf acc[GY_MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = v_zero();
    gy_conv_rows(mr, nv, acc, a, row, len, b);
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++) {
            float *to = c + (i * nv + v) * VL;
            v_store(to, first ? acc[i][v] : v_add(v_load(to), acc[i][v]));
        }
}
typedef void (*product_fn)(const float *a, int64_t row, int64_t len, const float *b, float *c, bool first);
#define TILE(mr, nv)                                                                                                   \
    static void product_##mr##x##nv(const float *a, int64_t row, int64_t len, const float *b, float *c, bool first) {  \
        product_tile(mr, nv, a, row, len, b, c, first);                                                                \
    }
GY_CONV_TILES(TILE)
#undef TILE
#define ROW(mr)                                                                                                        \
    { product_##mr##x1, product_##mr##x2 }
static const product_fn product_table[GY_MR][2] = {GY_CONV_TABLE(ROW)};
#undef ROW

#endif
