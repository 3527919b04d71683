/* The weights' gradient of a 3 x 3 x 3 convolution of stride 1 by Winograd's F(2 x 2 x 2, 3 x 3 x 3): the transpose,
 * with respect to the weights, of what conv_winograd3.c computes (whose matrices these are).
 *
 *     dg = G^T [ sum_tiles (A dy) . (B^T d) ],    along all three axes
 *
 * Products run over tiles: W [64][channel in][channel out] += V [64][tile][channel in]^T E [64][tile][channel out]. A
 * tile of threads takes one of at most PARTS parts of all tiles, in runs short enough that V, E and W stay in the
 * second-level cache; W of the parts are added in order and transformed in the end.
 *
 * Errors: against double, with factors of size at most 1, below 16 x 2^-24 sqrt(positions)
 * (tests/kernels/test_x86_conv.c).
 * Measured as in conv_winograd3.c: 32 to 32 channels at 64^3: 1.68; 64 to 64 at 32^3: 1.86; the direct kernel .94 and
 * .98. */
#include "conv_winograd3.h"

enum { PARTS = 8, ROOM = 180 << 10 /* floats in V, E and W */ };

typedef struct {
    cubes c;
    const float *dy;
    float *dw;
    int64_t parts, part, block; /* tiles of a part and of a run */
    float *w;                   /* the parts' sums */
    char *room;                 /* a worker's V and E */
    size_t v_bytes, room_bytes, w_bytes;
} gradient;

bool GY_ISAFN(gy_conv_winograd3_dw_fits)(const gy_conv_attr *a, const gy_conv_dims *d) {
    for (int i = 0; i < 3; i++)
        if (d->kernel[i] != 3 || a->stride[i] != 1 || a->dilation[i] != 1 || d->out[i] < 4) return false;
    return d->groups == 1 && d->cin >= 16 && d->cout >= 16 && d->cin * d->cout <= 4096 && d->batch > 0;
}

/* Channels out in whole vectors: lines of E and W. */
static int64_t wide(const gradient *j) {
    return gy_tiles(j->c.d.cout, VL) * VL;
}
static int64_t v_plane(const gradient *j) {
    return j->block * j->c.d.cin + PAD;
}
static int64_t e_plane(const gradient *j) {
    return j->block * wide(j) + PAD;
}
static int64_t w_plane(const gradient *j) {
    return j->c.d.cin * wide(j) + PAD;
}

static gradient gradient_of(const gy_conv_attr *a, const gy_conv_dims *d, const float *x) {
    gradient j = {.c = cubes_of(d, a->before, x)};
    int64_t width = wide(&j), fit = (ROOM - ELEMENTS * d->cin * width) / (ELEMENTS * (d->cin + width));
    j.part = gy_tiles(j.c.count, least(PARTS, gy_tiles(j.c.count, 64)));
    j.parts = gy_tiles(j.c.count, j.part);
    j.block = least(j.part, fit < 16 ? 16 : fit > 64 ? 64 : fit);
    j.v_bytes = line_bytes(ELEMENTS * v_plane(&j));
    j.room_bytes = j.v_bytes + line_bytes(ELEMENTS * e_plane(&j));
    j.w_bytes = line_bytes(ELEMENTS * w_plane(&j));
    return j;
}
size_t GY_ISAFN(gy_conv_winograd3_dw_scratch)(const gy_conv_attr *a, const gy_conv_dims *d, int threads) {
    gradient j = gradient_of(a, d, NULL);
    return (size_t)j.parts * j.w_bytes + (size_t)threads * j.room_bytes;
}

/* out = A y, elements of out `step` apart. */
GY_INLINE void output_line(vf y0, vf y1, vf *out, const int step) {
    out[0] = y0;
    out[step] = v_add(y0, y1);
    out[2 * step] = v_sub(y0, y1);
    out[3 * step] = v_sub(v_zero(), y1);
}
/* Tile t: e[element][channel], zeros in the last vector's rest. */
static void output_tile(const gradient *j, int64_t t, float *e) {
    const gy_conv_dims *d = &j->c.d;
    int64_t sample, at[3], live[3], plane = e_plane(j);
    tile_at(&j->c, t, &sample, at);
    for (int i = 0; i < 3; i++) live[i] = least(d->out[i] - at[i], 2);
    const float *dy = j->dy + (sample * d->n_out + (at[0] * d->out[1] + at[1]) * d->out[2] + at[2]) * d->cout;
    for (int64_t c = 0; c < d->cout; c += VL) {
        vf y[8];
        float *to = e + c;
        for (int i = 0; i < 8; i++) {
            int64_t a = i / 4, b = i / 2 % 2, k = i % 2;
            const float *p = dy + ((a * d->out[1] + b) * d->out[2] + k) * d->cout + c;
            y[i] = a >= live[0] || b >= live[1] || k >= live[2] ? v_zero() : v_loadn(p, least(d->cout - c, VL));
        }
#pragma GCC unroll 4
        for (int a = 0; a < 4; a++) { /* one slab of the result at a time stays in registers */
            vf slab[4], rows[8], out[16];
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++)
                slab[i] = a == 0   ? y[i]
                          : a == 1 ? v_add(y[i], y[4 + i])
                          : a == 2 ? v_sub(y[i], y[4 + i])
                                   : v_sub(v_zero(), y[4 + i]);
#pragma GCC unroll 2
            for (int i = 0; i < 2; i++) output_line(slab[i], slab[2 + i], rows + i, 2);
#pragma GCC unroll 4
            for (int i = 0; i < 4; i++) output_line(rows[2 * i], rows[2 * i + 1], out + 4 * i, 1);
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++, to += plane) {
                __asm__("" : "+r"(to)); /* else each plane gets a pointer, more than there are registers */
                v_store(to, out[i]);
            }
        }
    }
}

/* c[i] += sum_t a[t line + i] b[t ldb], i < mr, nv vectors. */
GY_INLINE void sum_tile(const int mr, const int nv, int64_t depth, const float *a, int64_t line, const float *b,
                        int64_t ldb, float *c) {
    vf acc[GY_MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++) acc[i][v] = v_load(c + i * ldb + v * VL);
    for (int64_t t = 0; t < depth; t++, a += line, b += ldb) {
        vf b0 = v_load(b), b1 = nv > 1 ? v_load(b + VL) : b0;
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            vf x = v_set(a[i]);
            acc[i][0] = v_fma(x, b0, acc[i][0]);
            if (nv > 1) acc[i][1] = v_fma(x, b1, acc[i][1]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++) v_store(c + i * ldb + v * VL, acc[i][v]);
}
typedef void (*sum_fn)(int64_t depth, const float *a, int64_t line, const float *b, int64_t ldb, float *c);
#define TILE(mr, nv)                                                                                                   \
    static void sum_##mr##x##nv(int64_t depth, const float *a, int64_t line, const float *b, int64_t ldb, float *c) {  \
        sum_tile(mr, nv, depth, a, line, b, ldb, c);                                                                   \
    }
GY_CONV_TILES(TILE)
#undef TILE
#define ROW(mr)                                                                                                        \
    { sum_##mr##x1, sum_##mr##x2 }
static const sum_fn sum_table[GY_MR][2] = {GY_CONV_TABLE(ROW)};
#undef ROW

static void part_tile(void *arg, int64_t t, int worker) {
    const gradient *j = arg;
    const gy_conv_dims *d = &j->c.d;
    char *room = j->room + (size_t)worker * j->room_bytes;
    float *v = (float *)(void *)room, *e = (float *)(void *)(room + j->v_bytes);
    float *w = (float *)(void *)((char *)j->w + (size_t)t * j->w_bytes);
    int64_t lo, end, width = wide(j), heights = gy_tiles(d->cin, GY_MR);
    gy_tile_range(j->c.count, j->part, t, &lo, &end);
    memset(w, 0, j->w_bytes);
    for (int64_t hi; lo < end; lo = hi) {
        hi = least(end, lo + j->block);
        for (int64_t i = lo; i < hi; i++) {
            input_tile(&j->c, i, v + (i - lo) * d->cin, v_plane(j));
            output_tile(j, i, e + (i - lo) * width);
        }
        for (int64_t k = 0; k < ELEMENTS; k++)
            for (int64_t i = 0, r = 0, to; i < heights; i++, r = to) {
                to = d->cin * (i + 1) / heights;
                for (int64_t c = 0; c < width; c += 2 * VL)
                    sum_table[to - r - 1][width - c > VL](hi - lo, v + k * v_plane(j) + r, d->cin,
                                                          e + k * e_plane(j) + c, width,
                                                          w + k * w_plane(j) + r * width + c);
            }
    }
}

/* out = G^T w, elements of w `step` apart. */
GY_INLINE void weight_line(const vf *w, const int step, vf *out, const int out_step) {
    vf sum = v_add(w[step], w[2 * step]), difference = v_sub(w[step], w[2 * step]);
    out[0] = v_fma(v_set(0.5f), sum, w[0]);
    out[out_step] = v_mul(v_set(0.5f), difference);
    out[2 * out_step] = v_fma(v_set(0.5f), sum, w[3 * step]);
}
/* dw [out][in][27] of one channel in. */
static void weights_tile(void *arg, int64_t ci, int worker) {
    (void)worker;
    const gradient *j = arg;
    const gy_conv_dims *d = &j->c.d;
    int64_t width = wide(j), plane = w_plane(j);
    for (int64_t c = 0; c < d->cout; c += VL) {
        vf w[64], x[48], y[36], z[27];
        for (int i = 0; i < ELEMENTS; i++) {
            const float *from = j->w + i * plane + ci * width + c;
            w[i] = v_load(from);
            for (int64_t p = 1; p < j->parts; p++)
                w[i] = v_add(w[i], v_load(from + p * (int64_t)(j->w_bytes / sizeof(float))));
        }
        for (int i = 0; i < 16; i++) weight_line(w + i, 16, x + i, 16);
        for (int a = 0; a < 3; a++)
            for (int i = 0; i < 4; i++) weight_line(x + 16 * a + i, 4, y + 12 * a + i, 4);
        for (int i = 0; i < 9; i++) weight_line(y + 4 * i, 1, z + 3 * i, 1);
        for (int k = 0; k < 27; k++) {
            float lane[VL];
            v_store(lane, z[k]);
            for (int64_t i = 0; i < least(d->cout - c, VL); i++) j->dw[((c + i) * d->cin + ci) * 27 + k] = lane[i];
        }
    }
}

void GY_ISAFN(gy_conv_winograd3_dw)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *y,
                                    float *w, void *scratch, gy_pool *pool) {
    gradient j = gradient_of(a, d, x);
    j.dy = y;
    j.dw = w;
    j.w = scratch;
    j.room = (char *)scratch + (size_t)j.parts * j.w_bytes;
    gy_par(pool, j.parts, part_tile, &j);
    gy_par(pool, d->cin, weights_tile, &j);
}
