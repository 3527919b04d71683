/* 3 x 3 x 3 convolution of stride 1 by Winograd's minimal filtering F(2 x 2 x 2, 3 x 3 x 3) (Lavin & Gray 2016,
 * arXiv:1509.09308, in three axes): a tile of 8 outputs of one channel pair takes 64 multiplications instead of 216.
 *
 *     Y = A^T [ sum_ci (G g) . (B^T d) ],    each matrix along all three axes; d: 4^3 inputs, g: 3^3 weights
 *
 *     B^T rows: [1 0 -1 0], [0 1 1 0], [0 -1 1 0], [0 1 0 -1]      A^T rows: [1 1 1 0], [0 1 -1 -1]
 *     G rows:   [1 0 0], 1/2 [1 1 1], 1/2 [1 -1 1], [0 0 1]
 *
 * Networks of volumes have few channels and many positions, the opposite of what conv_winograd.c is made for. So all
 * weights are transformed first, U [panel of two vectors of output channels][64][channel][panel]; then a tile of
 * threads takes a run of tiles (28, or 14 where there are many channels) through all steps: V [64][tile][channel], for
 * each panel 64 products M [64][tile][panel], and the outputs from M. For 32 channels V and M take 230 KiB each and U
 * 256, which the second-level cache holds.
 *
 * Errors: against double, with factors of size at most 1, below BOUND x 2^-24 sqrt(27 Cin)
 * (tests/kernels/test_x86_conv.c). A plan leaves this kernel out with GY_PASS_WINOGRAD or GYRUS_WINOGRAD=0.
 */
#include "conv_winograd3.h"

enum { CHUNK = 32 };

typedef struct {
    gy_conv_direct q;
    cubes c;
    int64_t block; /* tiles of a run */
    int64_t chunk, chunks, panels;
    int32_t *row[2];
    float *u;
    char *room; /* a worker's: packed weights, or V and M */
    size_t u_bytes, row_bytes, v_bytes, room_bytes;
} winograd;

bool GY_ISAFN(gy_conv_winograd3_fits)(const gy_conv_direct *q) {
    const gy_conv_dims *d = &q->d;
    for (int i = 0; i < 3; i++)
        if (d->kernel[i] != 3 || q->stride[i] != 1 || q->dilation[i] != 1 || q->step[i] != 1 || q->first[i] != 0 ||
            d->out[i] < 4)
            return false;
    return d->groups == 1 && d->cin >= 16 && d->cin <= 128 && d->cout >= 16 && d->batch > 0;
}

/* Floats between two of the 64 planes of V and of M. */
static int64_t v_plane(const winograd *j) {
    return j->block * j->q.d.cin + PAD;
}
static int64_t m_plane(const winograd *j) {
    return j->block * 2 * VL + PAD;
}

static winograd winograd_of(const gy_conv_direct *q) {
    winograd j = {.q = *q, .c = cubes_of(&q->d, q->before, q->in)};
    const gy_conv_dims *d = &q->d;
    j.block = gy_tiles(j.c.count, gy_tiles(j.c.count, d->cin > 32 ? GY_MR : 2 * GY_MR));
    j.chunk = least(CHUNK, d->cin);
    j.chunks = gy_tiles(d->cin, j.chunk);
    j.panels = gy_tiles(d->cout, 2 * VL);
    j.u_bytes = line_bytes(j.panels * ELEMENTS * d->cin * 2 * VL);
    j.row_bytes = line_bytes(2 * GY_ISAFN(gy_conv_weights_run)(&q->w, j.chunk));
    j.v_bytes = line_bytes(ELEMENTS * v_plane(&j));
    size_t packed = line_bytes(27 * j.chunk * 2 * VL), both = j.v_bytes + line_bytes(ELEMENTS * m_plane(&j));
    j.room_bytes = packed > both ? packed : both;
    return j;
}

size_t GY_ISAFN(gy_conv_winograd3_scratch)(const gy_conv_direct *q, int threads) {
    winograd j = winograd_of(q);
    return j.row_bytes + j.u_bytes + (size_t)threads * j.room_bytes;
}

/* ---- weights ---- */

/* out = G g, elements `step` apart. */
GY_INLINE void weight_line(vf g0, vf g1, vf g2, vf *out, const int step) {
    vf even = v_mul(v_set(0.5f), v_add(g0, g2)), odd = v_mul(v_set(0.5f), g1);
    out[0] = g0;
    out[step] = v_add(even, odd);
    out[2 * step] = v_sub(even, odd);
    out[3 * step] = g2;
}
/* One panel and one chunk of channels. */
static void weights_tile(void *arg, int64_t t, int worker) {
    const winograd *j = arg;
    const gy_conv_dims *d = &j->q.d;
    float *packed = (float *)(void *)(j->room + (size_t)worker * j->room_bytes);
    int64_t panel = t / j->chunks, c0 = t % j->chunks * j->chunk, cc = least(d->cin - c0, j->chunk);
    int64_t j0 = panel * 2 * VL, n = least(d->cout - j0, 2 * VL), width = gy_tiles(n, VL) * VL, plane = d->cin * width;
    float *u = j->u + panel * ELEMENTS * d->cin * 2 * VL + c0 * width;
    GY_ISAFN(gy_conv_weights_pack)(&j->q.w, j->row[cc != j->chunk], 0, j0, n, c0, cc, packed);
    for (int64_t e = 0; e < cc * width; e += VL) {
        vf x[36], y[48], z[4];
        for (int i = 0; i < 9; i++) {
            const float *w = packed + 3 * i * cc * width + e;
            weight_line(v_load(w), v_load(w + cc * width), v_load(w + 2 * cc * width), x + 4 * i, 1);
        }
        for (int a = 0; a < 3; a++)
            for (int i = 0; i < 4; i++)
                weight_line(x[12 * a + i], x[12 * a + 4 + i], x[12 * a + 8 + i], y + 16 * a + i, 4);
        for (int i = 0; i < 16; i++) {
            weight_line(y[i], y[16 + i], y[32 + i], z, 1);
            for (int a = 0; a < 4; a++) v_store(u + (16 * a + i) * plane + e, z[a]);
        }
    }
}

/* ---- outputs ---- */

/* out = A^T m, both with elements `step` apart. */
GY_INLINE void output_line(const vf *m, vf *out, const int step) {
    vf sum = v_add(m[step], m[2 * step]), difference = v_sub(m[step], m[2 * step]);
    out[0] = v_add(m[0], sum);
    out[step] = v_sub(difference, m[3 * step]);
}
/* The outputs of a tile, columns j0 .. j0+n. */
static void output_tile(const winograd *j, int64_t t, const float *m, int64_t j0, int64_t n) {
    const gy_conv_dims *d = &j->q.d;
    int64_t sample, at[3], plane = m_plane(j), live[3];
    tile_at(&j->c, t, &sample, at);
    for (int i = 0; i < 3; i++) live[i] = least(d->out[i] - at[i], 2);
    float *out = j->q.out + (sample * d->n_out + (at[0] * d->out[1] + at[1]) * d->out[2] + at[2]) * d->cout + j0;
    for (int64_t r = 0; r < n; r += VL) {
        for (int64_t a = 0; a < live[0]; a++) {
            vf deep[16], half[8], y[4];
            const float *from = m + 16 * a * plane + r; /* slabs 0 + 1 + 2, or 1 - 2 - 3 */
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++, from += plane) {
                __asm__("" : "+r"(from)); /* else each plane gets a pointer, more than there are registers */
                vf x0 = v_load(from), x1 = v_load(from + 16 * plane), x2 = v_load(from + 32 * plane);
                deep[i] = a == 0 ? v_add(v_add(x1, x2), x0) : v_sub(v_sub(x0, x1), x2);
            }
            for (int i = 0; i < 4; i++) output_line(deep + i, half + i, 4);
            for (int b = 0; b < 2; b++) output_line(half + 4 * b, y + 2 * b, 1);
            for (int64_t b = 0; b < live[1]; b++)
                for (int64_t c = 0; c < live[2]; c++) {
                    float *to = out + ((a * d->out[1] + b) * d->out[2] + c) * d->cout + r;
                    if (n - r >= VL)
                        v_store(to, y[2 * b + c]);
                    else
                        v_storen(to, y[2 * b + c], n - r);
                }
        }
    }
}
/* The epilogue of tiles t .. end, which lie on one line along the last axis. */
static void finish_line(const winograd *j, int64_t t, int64_t end, int64_t j0, int64_t n) {
    const gy_conv_dims *d = &j->q.d;
    int64_t sample, at[3];
    tile_at(&j->c, t, &sample, at);
    int64_t cols = least(d->out[2] - at[2], 2 * (end - t));
    for (int64_t a = at[0]; a < least(d->out[0], at[0] + 2); a++)
        for (int64_t b = at[1]; b < least(d->out[1], at[1] + 2); b++) {
            int64_t first = sample * d->n_out + (a * d->out[1] + b) * d->out[2] + at[2];
            GY_ISAFN(gy_gemm_finish_f32)(j->q.finish, first, first + cols, j0, j0 + n);
        }
}

static void run_tile(void *arg, int64_t t, int worker) {
    const winograd *j = arg;
    const gy_conv_dims *d = &j->q.d;
    char *room = j->room + (size_t)worker * j->room_bytes;
    float *v = (float *)(void *)room, *m = (float *)(void *)(room + j->v_bytes);
    int64_t lo, hi;
    gy_tile_range(j->c.count, j->block, t, &lo, &hi);
    int64_t count = hi - lo, heights = gy_tiles(count, GY_MR);
    for (int64_t i = lo; i < hi; i++) input_tile(&j->c, i, v + (i - lo) * d->cin, v_plane(j));
    for (int64_t panel = 0; panel < j->panels; panel++) {
        int64_t j0 = panel * 2 * VL, n = least(d->cout - j0, 2 * VL), nv = gy_tiles(n, VL), width = nv * VL;
        const float *u = j->u + panel * ELEMENTS * d->cin * 2 * VL;
        for (int64_t e = 0; e < ELEMENTS; e++)
            for (int64_t i = 0, r = 0, end; i < heights; i++, r = end) {
                end = count * (i + 1) / heights;
                product_table[end - r - 1][nv - 1](v + e * v_plane(j) + r * d->cin, d->cin, d->cin,
                                                   u + e * d->cin * width, m + e * m_plane(j) + r * width, true);
            }
        for (int64_t i = lo; i < hi; i++) output_tile(j, i, m + (i - lo) * width, j0, n);
        for (int64_t i = lo, end; j->q.finish && i < hi; i = end) {
            end = least(hi, (i / j->c.tiles[2] + 1) * j->c.tiles[2]);
            finish_line(j, i, end, j0, n);
        }
    }
}

void GY_ISAFN(gy_conv_winograd3)(const gy_conv_direct *q, void *scratch, gy_pool *pool) {
    winograd j = winograd_of(q);
    j.row[0] = scratch;
    j.row[1] = j.row[0] + GY_ISAFN(gy_conv_weights_run)(&q->w, j.chunk);
    GY_ISAFN(gy_conv_weights_rows)(&q->w, j.chunk, j.row[0]);
    if (q->d.cin % j.chunk) GY_ISAFN(gy_conv_weights_rows)(&q->w, q->d.cin % j.chunk, j.row[1]);
    j.u = (float *)(void *)((char *)scratch + j.row_bytes);
    j.room = (char *)j.u + j.u_bytes;
    gy_par(pool, j.panels * j.chunks, weights_tile, &j);
    gy_par(pool, gy_tiles(j.c.count, j.block), run_tile, &j);
}
