/* mma_tile.h: tiles of bf16 in shared memory and the fragments of products that are read from them. Rows follow one
 * another; a row's units of 16 bytes are permuted so that neither copies to rows nor ldmatrix meet bank conflicts. */
#ifndef GY_CUDA_MMA_TILE_H
#define GY_CUDA_MMA_TILE_H

#include "mma.h"

/* Element at which unit `unit` of a row begins; UNITS a row: 4, or a multiple of 8. */
GY_DEVICE int gy_unit(int row, int unit, const int UNITS) {
    return row * UNITS * 8 + (unit ^ (UNITS == 4 ? row >> 1 & 3 : row & 7)) * 8;
}

/* 16 lines from `line` on and 16 depths from unit `unit` on, of a tile [line][depth]. For a: the four registers of one
 * product; for b: two registers each of two products, of 8 lines. */
GY_DEVICE void gy_fragment_a(uint32_t r[4], const uint16_t *tile, int line, int unit, const int UNITS) {
    int lane = gy_lane();
    gy_ldmatrix_x4(r, tile + gy_unit(line + lane % 16, unit + lane / 16, UNITS));
}
GY_DEVICE void gy_fragment_b(uint32_t r[4], const uint16_t *tile, int line, int unit, const int UNITS) {
    int lane = gy_lane();
    gy_ldmatrix_x4(r, tile + gy_unit(line + lane / 16 * 8 + lane % 8, unit + lane / 8 % 2, UNITS));
}
/* The same of a tile [depth][line]: 16 depths from `depth` on, 16 lines from unit `unit` on. */
GY_DEVICE void gy_fragment_a_turned(uint32_t r[4], const uint16_t *tile, int depth, int unit, const int UNITS) {
    int lane = gy_lane();
    gy_ldmatrix_x4_transposed(r, tile + gy_unit(depth + lane / 16 * 8 + lane % 8, unit + lane / 8 % 2, UNITS));
}
GY_DEVICE void gy_fragment_b_turned(uint32_t r[4], const uint16_t *tile, int depth, int unit, const int UNITS) {
    int lane = gy_lane();
    gy_ldmatrix_x4_transposed(r, tile + gy_unit(depth + lane % 16, unit + lane / 16, UNITS));
}

/* 8 values, rounded. */
typedef struct __attribute__((aligned(16))) {
    uint32_t v[4];
} gy_bf16x8;

#endif
