/* conv_winograd3.h: tiles of Winograd's F(2 x 2 x 2, 3 x 3 x 3) and the transform of their inputs (conv_winograd3.c).
 */
#ifndef GY_X86_CONV_WINOGRAD3_H
#define GY_X86_CONV_WINOGRAD3_H

#include "conv_tile.h"

enum { ELEMENTS = 64, PAD = 16 /* floats: keeps the 64 planes out of one cache set */ };

static inline int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline size_t line_bytes(int64_t n) { /* of n floats, in whole cache lines */
    return ((size_t)n * sizeof(float) + 63) & ~(size_t)63;
}

/* A convolution's outputs as tiles of 2^3. */
typedef struct {
    gy_conv_dims d;
    int64_t before[3];
    const float *in;
    int64_t tiles[3], count; /* along the axes; of all samples */
} cubes;
static inline cubes cubes_of(const gy_conv_dims *d, const int64_t before[3], const float *in) {
    cubes c = {.d = *d, .in = in, .count = d->batch};
    for (int i = 0; i < 3; i++) {
        c.before[i] = before[i];
        c.count *= c.tiles[i] = gy_tiles(d->out[i], 2);
    }
    return c;
}

/* Where a tile of outputs begins. */
static inline void tile_at(const cubes *j, int64_t t, int64_t *sample, int64_t at[3]) {
    for (int i = 2; i >= 0; i--) {
        at[i] = t % j->tiles[i] * 2;
        t /= j->tiles[i];
    }
    *sample = t;
}

/* d = B^T d, elements `step` apart. */
GY_INLINE void input_line(vf *d, const int step) {
    vf d1 = d[step], d2 = d[2 * step];
    d[0] = v_sub(d[0], d2);
    d[3 * step] = v_sub(d1, d[3 * step]);
    d[step] = v_add(d1, d2);
    d[2 * step] = v_sub(d2, d1);
}
/* A vector of channels of a tile's 4^3 positions: position i of line l is at from[l] + at[i], where there is one. Each
 * slab of the result is made of two slabs of the input, which are loaded again instead of being kept: what leaves the
 * registers is written once. */
GY_INLINE void transform_input(const float *const from[16], const int64_t at[4], const bool all, unsigned lines,
                               unsigned there, int64_t n, float *to, int64_t plane) {
    static const int pair[4][2] = {{0, 2}, {1, 2}, {2, 1}, {1, 3}};
#pragma GCC unroll 4
    for (int a = 0; a < 4; a++) {
        vf d[16];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            vf x[2];
#pragma GCC unroll 2
            for (int e = 0; e < 2; e++) {
                int l = 4 * pair[a][e] + i / 4;
                const float *p = from[l] + at[i % 4];
                bool inside = all || (lines >> l & there >> i % 4 & 1);
                x[e] = !inside ? v_zero() : n == VL ? v_load(p) : v_loadn(p, n);
            }
            d[i] = a == 1 ? v_add(x[0], x[1]) : v_sub(x[0], x[1]);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) input_line(d + 4 * i, 1);
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) input_line(d + i, 4);
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++, to += plane) {
            __asm__("" : "+r"(to)); /* else each plane gets a pointer, more than there are registers */
            if (n == VL)
                v_store(to, d[i]);
            else
                v_storen(to, d[i], n);
        }
    }
}
/* Tile t: v[element][channel], planes of elements `plane` apart. */
static inline void input_tile(const cubes *j, int64_t t, float *v, int64_t plane) {
    const gy_conv_dims *d = &j->d;
    const float *from[16];
    int64_t sample, at[3], first[4];
    unsigned lines = 0, there = 0;
    tile_at(j, t, &sample, at);
    for (int i = 0; i < 3; i++) at[i] -= j->before[i];
    for (int i = 0; i < 16; i++) {
        int64_t i0 = at[0] + i / 4, i1 = at[1] + i % 4;
        bool inside = i0 >= 0 && i0 < d->in[0] && i1 >= 0 && i1 < d->in[1];
        from[i] = inside ? j->in + (sample * d->n_in + (i0 * d->in[1] + i1) * d->in[2]) * d->cin : j->in;
        lines |= (unsigned)inside << i;
    }
    for (int i = 0; i < 4; i++) {
        bool inside = at[2] + i >= 0 && at[2] + i < d->in[2];
        first[i] = inside ? (at[2] + i) * d->cin : 0;
        there |= (unsigned)inside << i;
    }
    bool all = lines == 0xffff && there == 0xf;
    for (int64_t c = 0; c < d->cin; c += VL) {
        int64_t n = least(d->cin - c, VL), here[4];
        for (int i = 0; i < 4; i++) here[i] = first[i] + c;
        if (all && n == VL)
            transform_input(from, here, true, lines, there, VL, v + c, plane);
        else
            transform_input(from, here, false, lines, there, n, v + c, plane);
    }
}

#endif
