/* conv_winograd.h: Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin & Gray 2016, arXiv:1509.09308; Winograd 1980),
 * in bf16 F(4 x 2, 3 x 3): the transforms that conv_winograd*.c share.
 *
 *     Y = A^T [ (G g G^T) . (B^T d B) ] A,    d: inputs, g: 3 x 3 weights, . elementwise
 *
 * A line of 4 outputs is the Toom-Cook scheme for six points. Here they are 0, +-1/sqrt 2, +-sqrt 2, infinity:
 * reciprocal pairs keep the powers in A, B and G near 1, so that less is lost than with 0, +-1, +-2 (Barabasz et al.
 * 2020, arXiv:1803.10986, on the choice of points). With a = 1/sqrt 2, b = sqrt 2:
 *
 *     B^T rows: [1 0 -5/2 0 1 0], [0 -+a b^2 -b^2 +-a 1 0], [0 -+b a^2 -a^2 +-b 1 0], [0 1 0 -5/2 0 1]
 *     G rows:   [1 0 0], -2/3 [1 +-a a^2], 1/6 [1 +-b b^2], [0 0 1]
 *     A^T rows: [1 1 1 1 1 0], [0 a -a b -b 0], [0 a^2 a^2 b^2 b^2 0], [0 a^3 -a^3 b^3 -b^3 1]
 *
 * and a line of 2 outputs that for 0, +-1, infinity:
 *
 *     B^T rows: [1 0 -1 0], [0 1 1 0], [0 -1 1 0], [0 1 0 -1]      A^T rows: [1 1 1 0], [0 1 -1 -1]
 *     G rows:   [1 0 0], 1/2 [1 1 1], 1/2 [1 -1 1], [0 0 1]
 *
 * In bf16 only the two factors of the products are rounded, after their transforms, which are done in f32. For
 * independent inputs and weights, an element e of a line then brings an error whose variance is that of a direct
 * product times |B_e|^2 |G_e|^2 A_ie^2 / 3 on output i: summed over e, and averaged over i, 5.02 for a line of 4 and
 * 1.67 for a line of 2. So the errors of F(4 x 2) are sqrt(5.02 x 1.67) = 2.9 times those of the direct convolution in
 * bf16 (F(4 x 4): 5.0, which is why it is left to f32). The gradient of the weights by the transposed matrices has the
 * same figures. */
#ifndef GY_X86_CONV_WINOGRAD_H
#define GY_X86_CONV_WINOGRAD_H

#include "conv_tile.h"

enum {
    OUT_Y = 4,
    OUT_X = GY_CONV_PAIR == 2 ? 2 : 4, /* a tile of outputs */
    IN_Y = OUT_Y + 2,
    IN_X = OUT_X + 2,
    ELEMENTS = IN_Y * IN_X,
    PAD = 16 /* floats: keeps the planes of elements out of one cache set */
};

static inline int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static inline int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static inline size_t line_bytes(int64_t n) { /* of n floats, in whole cache lines */
    return ((size_t)n * sizeof(float) + 63) & ~(size_t)63;
}
static inline int64_t units(int64_t n) { /* floats that hold n factors */
    return (n + GY_CONV_PAIR - 1) / GY_CONV_PAIR;
}

#define A1 0.70710678118654752440f /* a, a^3, b, b^3 */
#define A3 0.35355339059327376220f
#define B1 1.41421356237309504880f
#define B3 2.82842712474619009760f

/* out = B^T d of a line with `n` outputs; elements of out `step` apart. */
GY_INLINE void input_line(const int n, const vf *d, vf *out, const int step) {
    vf e, f;
    if (n == 2) {
        out[0] = v_sub(d[0], d[2]);
        out[step] = v_add(d[1], d[2]);
        out[2 * step] = v_sub(d[2], d[1]);
        out[3 * step] = v_sub(d[1], d[3]);
        return;
    }
    out[0] = v_fma(v_set(-2.5f), d[2], v_add(d[0], d[4]));
    e = v_fma(v_set(-2.0f), d[2], d[4]);
    f = v_mul(v_set(A1), v_fma(v_set(-2.0f), d[1], d[3]));
    out[step] = v_add(e, f);
    out[2 * step] = v_sub(e, f);
    e = v_fma(v_set(-0.5f), d[2], d[4]);
    f = v_mul(v_set(B1), v_fma(v_set(-0.5f), d[1], d[3]));
    out[3 * step] = v_add(e, f);
    out[4 * step] = v_sub(e, f);
    out[5 * step] = v_fma(v_set(-2.5f), d[3], v_add(d[1], d[5]));
}
/* out = G g */
GY_INLINE void weight_line(const int n, vf g0, vf g1, vf g2, vf *out, const int step) {
    vf e, f;
    out[0] = g0;
    if (n == 2) {
        e = v_mul(v_set(0.5f), v_add(g0, g2));
        f = v_mul(v_set(0.5f), g1);
        out[step] = v_add(e, f);
        out[2 * step] = v_sub(e, f);
        out[3 * step] = g2;
        return;
    }
    e = v_mul(v_set(-2.0f / 3), v_fma(v_set(0.5f), g2, g0));
    f = v_mul(v_set(-2.0f / 3 * A1), g1);
    out[step] = v_add(e, f);
    out[2 * step] = v_sub(e, f);
    e = v_mul(v_set(1.0f / 6), v_fma(v_set(2.0f), g2, g0));
    f = v_mul(v_set(B1 / 6), g1);
    out[3 * step] = v_add(e, f);
    out[4 * step] = v_sub(e, f);
    out[5 * step] = g2;
}
/* out = A^T m */
GY_INLINE void output_line(const int n, const vf *m, vf *out, const int step) {
    vf s1 = v_add(m[1], m[2]), d1 = v_sub(m[1], m[2]), s2, d2;
    if (n == 2) {
        out[0] = v_add(m[0], s1);
        out[step] = v_sub(d1, m[3]);
        return;
    }
    s2 = v_add(m[3], m[4]);
    d2 = v_sub(m[3], m[4]);
    out[0] = v_add(v_add(m[0], s1), s2);
    out[step] = v_fma(v_set(B1), d2, v_mul(v_set(A1), d1));
    out[2 * step] = v_fma(v_set(2.0f), s2, v_mul(v_set(0.5f), s1));
    out[3 * step] = v_fma(v_set(B3), d2, v_fma(v_set(A3), d1, m[5]));
}

/* ---- inputs ---- */

/* The inputs of a tile: position k of line i is at line[i] + at[k], where bits i and k say that there is one. */
typedef struct {
    const float *line[IN_Y];
    int64_t at[IN_X];
    unsigned lines, places;
    bool all;
} window;
/* The one whose first position is (y, x) of a map of height x width positions. */
static inline window window_of(const float *map, int64_t height, int64_t width, int64_t channels, int64_t y,
                               int64_t x) {
    window w = {.lines = (1u << IN_Y) - 1,
                .places = (1u << IN_X) - 1,
                .all = y >= 0 && x >= 0 && y + IN_Y <= height && x + IN_X <= width};
    for (int i = 0; i < IN_Y; i++) {
        bool inside = y + i >= 0 && y + i < height;
        w.line[i] = inside ? map + (y + i) * width * channels : map;
        if (!inside) w.lines ^= 1u << i;
    }
    for (int k = 0; k < IN_X; k++) {
        bool inside = x + k >= 0 && x + k < width;
        w.at[k] = inside ? (x + k) * channels : 0;
        if (!inside) w.places ^= 1u << k;
    }
    return w;
}

/* n channels from c on: element e to `to` + e plane, as floats or rounded to pairs of channels. */
GY_INLINE void input_vector(const window *w, const bool all, const bool pairs, int64_t c, int64_t n, float *to,
                            int64_t plane) {
    vf half[ELEMENTS], d[IN_Y], out[IN_X];
#pragma GCC unroll 6
    for (int k = 0; k < IN_X; k++) { /* column k */
#pragma GCC unroll 6
        for (int i = 0; i < IN_Y; i++) {
            const float *p = w->line[i] + w->at[k] + c;
            if (all)
                d[i] = v_load(p);
            else
                d[i] = w->lines >> i & w->places >> k & 1 ? v_loadn(p, n) : v_zero();
        }
        input_line(OUT_Y, d, half + k, IN_X);
    }
#pragma GCC unroll 6
    for (int i = 0; i < IN_Y; i++) {
        input_line(OUT_X, half + IN_X * i, out, 1);
#pragma GCC unroll 6
        for (int k = 0; k < IN_X; k++, to += plane) {
            __asm__("" : "+r"(to)); /* else each plane gets a pointer, more than there are registers */
#if defined(GY_TIER_avx512bf16)
            if (pairs) {
                __m256 x = (__m256)_mm512_cvtneps_pbh(out[k]);
                if (all)
                    _mm256_storeu_ps(to, x);
                else
                    _mm256_mask_storeu_ps(to, (__mmask8)v_tail(units(n)), x);
                continue;
            }
#endif
            (void)pairs;
            if (all)
                v_store(to, out[k]);
            else
                v_storen(to, out[k], n);
        }
    }
}
static inline void transform_input(const window *w, const bool pairs, int64_t c, int64_t n, float *to, int64_t plane) {
    if (w->all && n == VL)
        input_vector(w, true, pairs, c, n, to, plane);
    else
        input_vector(w, false, pairs, c, n, to, plane);
}

/* ---- weights ---- */

/* U of the 9 taps, `tap` floats apart: element e at u + e plane. */
GY_INLINE void weight_vector(const float *w, int64_t tap, float *u, int64_t plane) {
    vf half[3 * IN_Y], out[IN_X];
#pragma GCC unroll 3
    for (int k = 0; k < 3; k++)
        weight_line(OUT_Y, v_load(w + k * tap), v_load(w + (3 + k) * tap), v_load(w + (6 + k) * tap), half + k, 3);
#pragma GCC unroll 6
    for (int i = 0; i < IN_Y; i++) {
        weight_line(OUT_X, half[3 * i], half[3 * i + 1], half[3 * i + 2], out, 1);
#pragma GCC unroll 6
        for (int k = 0; k < IN_X; k++) v_store(u + (IN_X * i + k) * plane, out[k]);
    }
}
/* U of cc channels from packed weights [9][cc][width]: element e at u + e plane, [units of cc][width]. */
static inline void transform_weights(const float *w, int64_t cc, int64_t width, float *u, int64_t plane) {
#if defined(GY_TIER_avx512bf16)
    for (int64_t c = 0; c < cc; c += 2)
        for (int64_t r = 0; r < width; r += VL, u += VL) {
            float two[2][ELEMENTS * VL], *to = u;
            weight_vector(w + c * width + r, cc * width, two[0], VL);
            if (c + 1 < cc)
                weight_vector(w + (c + 1) * width + r, cc * width, two[1], VL);
            else
                memset(two[1], 0, sizeof two[1]);
            for (int e = 0; e < ELEMENTS; e++, to += plane)
                v_store(to, gy_conv_pair(v_load(two[0] + e * VL), v_load(two[1] + e * VL)));
        }
#else
    for (int64_t e = 0; e < cc * width; e += VL) weight_vector(w + e, cc * width, u + e, plane);
#endif
}

/* ---- outputs ---- */

/* The outputs of a tile, n columns, `rows` x `cols` of them: element e of M at m + e plane. */
static inline void store_outputs(const float *m, int64_t plane, int64_t n, float *c, int64_t line, int64_t position,
                                 int64_t rows, int64_t cols) {
    for (int64_t r = 0; r < n; r += VL) {
        vf half[OUT_Y * IN_X], out[OUT_Y * OUT_X], in[IN_Y];
        const float *from = m + r;
#pragma GCC unroll 6
        for (int k = 0; k < IN_X; k++, from += plane) {
            __asm__("" : "+r"(from));
#pragma GCC unroll 6
            for (int i = 0; i < IN_Y; i++) in[i] = v_load(from + i * IN_X * plane);
            output_line(OUT_Y, in, half + k, IN_X);
        }
#pragma GCC unroll 4
        for (int i = 0; i < OUT_Y; i++) output_line(OUT_X, half + IN_X * i, out + OUT_X * i, 1);
        if (rows == OUT_Y && cols == OUT_X && n - r >= VL) {
#pragma GCC unroll 4
            for (int i = 0; i < OUT_Y; i++)
#pragma GCC unroll 4
                for (int k = 0; k < OUT_X; k++) v_store(c + i * line + k * position + r, out[OUT_X * i + k]);
            continue;
        }
        for (int64_t i = 0; i < rows; i++)
            for (int64_t k = 0; k < cols; k++) {
                float *to = c + i * line + k * position + r;
                if (n - r >= VL)
                    v_store(to, out[OUT_X * i + k]);
                else
                    v_storen(to, out[OUT_X * i + k], n - r);
            }
    }
}

#endif
