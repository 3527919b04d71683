/* Convolutions with one to four channels on one side: first layers (images, volumes, EEG traces) and last ones. As
 * products they would fill a vector with one to four numbers, or spend their time packing. One group.
 *
 * - few_in (forward, Cin small): K = taps Cin products an output. x is copied once with its border of zeros, after
 *   which element (tap, ci) of any position's patch is a fixed number of floats away from the patch's first: the
 *   register tile (MR positions of a line by two vectors of Cout) broadcasts x from where it is. Nothing is packed but
 *   the weights.
 * - few_in_dw (weight gradient, Cin small): the same tile turned round, MR elements (tap, ci) by two vectors of Cout,
 *   summed over positions. Registers take LINE positions, sums of a part are doubles, parts are added in order.
 * - Both serve the small Cout too, without strides: conv_dx is a forward convolution of y with the weights mirrored,
 * and conv_dw is the same for x and y exchanged.
 * - few_out (forward with Cout small, data gradient with Cin small): the vectors run over the many channels, that is
 *   along the sum. A tile of Q positions by 1 to 4 channels keeps Q x channels vectors of partial sums through all
 *   taps, which are added up at the end, VL sums at once by a transposition. Positions with neighbours outside the
 *   line read a copy with zeros.
 *
 * FLOPs 2 positions taps Cin Cout. Measured, one thread of Zen 4, AVX-512, of 117 GFLOP/s: 7 x 7 of 3 channels to 64,
 * stride 2: forward 96 %, weights 84 %, data 57 %; 3 x 3, 3 to 320: 90, 81, 68 %; 3 x 3 x 3, 1 to 32: 88, 77, 30 %; 1 x
 * 25, 1 to 40: 72, 71, 38 %; 3 x 3, 320 to 4: 83, 78, 91 %. What holds the data gradient of one channel back: a tap has
 * one or two vectors to add for each position, which cost as many pointers to set up. */
#include "conv.h"

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}
static int64_t grain_of(double work) { /* items of `work` multiply-adds a tile */
    double n = 5e5 / (work + 1);
    return n < 1 ? 1 : n > 1e6 ? 1000000 : (int64_t)n;
}

/* ---- x with its border ---- */

typedef struct {
    const gy_conv_attr *a;
    gy_conv_dims d;
    const float *x;
    float *room;     /* [batch, size..., Cin] */
    int64_t size[3]; /* positions between the first that a patch covers and the last */
    int64_t sample;  /* elements */
} border;

static border border_of(const gy_conv_attr *a, const gy_conv_dims *d) {
    border b = {.a = a, .d = *d, .sample = d->cin};
    for (int i = 0; i < 3; i++) {
        b.size[i] = (d->out[i] - 1) * a->stride[i] + (d->kernel[i] - 1) * a->dilation[i] + 1;
        b.sample *= b.size[i];
    }
    return b;
}
static void border_tile(void *arg, int64_t t, int worker) { /* a line */
    (void)worker;
    const border *b = arg;
    const int64_t *in = b->d.in, c = b->d.cin;
    int64_t i1 = t % b->size[1] - b->a->before[1], i0 = t / b->size[1] % b->size[0] - b->a->before[0];
    int64_t sample = t / b->size[1] / b->size[0], n = b->size[2], before = b->a->before[2];
    float *to = b->room + t * n * c;
    int64_t lo = before < 0 ? 0 : least(before, n), hi = least(before + in[2], n);
    if (i0 < 0 || i0 >= in[0] || i1 < 0 || i1 >= in[1] || hi <= lo) {
        memset(to, 0, (size_t)(n * c) * sizeof(float));
        return;
    }
    const float *from = b->x + (((sample * in[0] + i0) * in[1] + i1) * in[2] + lo - before) * c;
    memset(to, 0, (size_t)(lo * c) * sizeof(float));
    memcpy(to + lo * c, from, (size_t)((hi - lo) * c) * sizeof(float));
    memset(to + hi * c, 0, (size_t)((n - hi) * c) * sizeof(float));
}
/* Distance of element (tap, ci), p = tap Cin + ci, from a patch's first. */
static void fill_offsets(const border *b, int64_t *offset) {
    const gy_conv_dims *d = &b->d;
    for (int64_t tap = 0; tap < d->taps; tap++) {
        int64_t k2 = tap % d->kernel[2], k1 = tap / d->kernel[2] % d->kernel[1], k0 = tap / d->kernel[2] / d->kernel[1];
        int64_t at =
            (k0 * b->a->dilation[0] * b->size[1] + k1 * b->a->dilation[1]) * b->size[2] + k2 * b->a->dilation[2];
        for (int64_t c = 0; c < d->cin; c++) *offset++ = at * d->cin + c;
    }
}
/* The patch of output position 0 of an output line. */
static const float *line_patch(const border *b, int64_t line) {
    const gy_conv_dims *d = &b->d;
    int64_t o1 = line % d->out[1], o0 = line / d->out[1] % d->out[0], sample = line / d->out[1] / d->out[0];
    return b->room + sample * b->sample +
           (o0 * b->a->stride[0] * b->size[1] + o1 * b->a->stride[1]) * b->size[2] * d->cin;
}

/* Where the weight of (many, few, tap) is: w [many][few][taps], or mirrored: [few][many][taps], taps backwards. */
static int64_t weight_at(const gy_conv_dims *d, bool mirrored, int64_t many, int64_t few, int64_t tap) {
    return mirrored ? (few * d->cout + many + 1) * d->taps - 1 - tap : (many * d->cin + few) * d->taps + tap;
}

/* ---- forward, few channels in ---- */

typedef struct {
    border b;
    const gy_gemm_f32 *out;
    const int64_t *offset;
    const float *w; /* panels of two vectors of Cout: [panel][K][2 VL] */
    int64_t depth, grain;
} few_in;

/* c[i, 0..n) = sum_p x[offset[p] + i step] w[p, :] for i < mr. */
GY_INLINE void in_tile(const int mr, const int nv, const few_in *j, const float *x, int64_t step, const float *w,
                       float *c, int64_t n) {
    vf acc[GY_MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = v_zero();
    for (int64_t p = 0; p < j->depth; p++, w += 2 * VL) {
        const float *xp = x + j->offset[p];
        vf b0 = v_load(w), b1 = nv > 1 ? v_load(w + VL) : v_zero();
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            vf xi = v_set(xp[i * step]);
            acc[i][0] = v_fma(xi, b0, acc[i][0]);
            if (nv > 1) acc[i][1] = v_fma(xi, b1, acc[i][1]);
        }
    }
    int64_t ldc = j->out->ldc, tail = n - (nv - 1) * VL;
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) {
        if (nv > 1) v_store(c + i * ldc, acc[i][0]);
        v_storen(c + i * ldc + (nv - 1) * VL, acc[i][nv - 1], tail);
    }
}
typedef void (*in_fn)(const few_in *j, const float *x, int64_t step, const float *w, float *c, int64_t n);

/* ---- weight gradient, few channels in ---- */

enum { LINE = 256, PARTS = 64 /* at most */ };

typedef struct {
    border b;
    const int64_t *offset;
    const float *y;
    float *w;
    double *part; /* [parts][K][Cout] */
    int64_t depth, blocks, panels, lines, parts;
} few_in_dw;

/* sum[i, 0..2 VL) += sum_o x[offset[i] + o step] y[o, 0..n), i < mr, o < count. */
GY_INLINE void dw_tile(const int mr, const int nv, const float *x, int64_t step, const int64_t *offset, const float *y,
                       int64_t ldy, int64_t count, int64_t n, double *sum) {
    vf acc[GY_MR][2];
    int64_t tail = n - (nv - 1) * VL;
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = v_zero();
    for (int64_t o = 0; o < count; o++, x += step, y += ldy) {
        vf y0 = nv > 1 ? v_load(y) : v_loadn(y, tail), y1 = nv > 1 ? v_loadn(y + VL, tail) : v_zero();
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            vf xi = v_set(x[offset[i]]);
            acc[i][0] = v_fma(xi, y0, acc[i][0]);
            if (nv > 1) acc[i][1] = v_fma(xi, y1, acc[i][1]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++) {
            double *s = sum + (i * 2 + v) * VL;
            w_store(s, w_add(w_load(s), w_low(acc[i][v])));
            w_store(s + VLD, w_add(w_load(s + VLD), w_high(acc[i][v])));
        }
}
typedef void (*dw_fn)(const float *x, int64_t step, const int64_t *offset, const float *y, int64_t ldy, int64_t count,
                      int64_t n, double *sum);

#define TILE(mr, nv)                                                                                                   \
    static void in_##mr##x##nv(const few_in *j, const float *x, int64_t step, const float *w, float *c, int64_t n) {   \
        in_tile(mr, nv, j, x, step, w, c, n);                                                                          \
    }                                                                                                                  \
    static void dw_##mr##x##nv(const float *x, int64_t step, const int64_t *offset, const float *y, int64_t ldy,       \
                               int64_t count, int64_t n, double *sum) {                                                \
        dw_tile(mr, nv, x, step, offset, y, ldy, count, n, sum);                                                       \
    }
#define TILES(mr) TILE(mr, 1) TILE(mr, 2)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
#if !defined(GY_TIER_avx2)
TILES(7)
TILES(8)
TILES(9)
TILES(10)
TILES(11)
TILES(12)
TILES(13)
TILES(14)
#endif
#undef TILE
#undef TILES
#define ROW(f, mr)                                                                                                     \
    { f##_##mr##x1, f##_##mr##x2 }
#if defined(GY_TIER_avx2)
#define ROWS(f) ROW(f, 1), ROW(f, 2), ROW(f, 3), ROW(f, 4), ROW(f, 5), ROW(f, 6)
#else
#define ROWS(f)                                                                                                        \
    ROW(f, 1), ROW(f, 2), ROW(f, 3), ROW(f, 4), ROW(f, 5), ROW(f, 6), ROW(f, 7), ROW(f, 8), ROW(f, 9), ROW(f, 10),     \
        ROW(f, 11), ROW(f, 12), ROW(f, 13), ROW(f, 14)
#endif
static const in_fn in_table[GY_MR][2] = {ROWS(in)};
static const dw_fn dw_table[GY_MR][2] = {ROWS(dw)};
#undef ROW
#undef ROWS

/* n in blocks of at most GY_MR, cut evenly: where block i ends. */
static int64_t block_end(int64_t n, int64_t i) {
    return n * (i + 1) / gy_tiles(n, GY_MR);
}

static void in_lines(void *arg, int64_t t, int worker) {
    (void)worker;
    const few_in *j = arg;
    const gy_conv_dims *d = &j->b.d;
    int64_t lo, hi, step = j->b.a->stride[2] * d->cin;
    gy_tile_range(d->batch * d->out[0] * d->out[1], j->grain, t, &lo, &hi);
    for (int64_t co = 0; co < d->cout; co += 2 * VL) {
        int64_t n = least(d->cout - co, 2 * VL);
        for (int64_t line = lo; line < hi; line++) {
            const float *x = line_patch(&j->b, line);
            float *c = j->out->c + line * d->out[2] * j->out->ldc + co;
            for (int64_t i = 0, o = 0; o < d->out[2]; i++) {
                int64_t end = block_end(d->out[2], i), row = line * d->out[2];
                in_table[end - o - 1][n > VL](j, x + o * step, step, j->w + co * j->depth, c + o * j->out->ldc, n);
                GY_ISAFN(gy_gemm_finish_f32)(j->out, row + o, row + end, co, co + n);
                o = end;
            }
        }
    }
}

static size_t units(int64_t n, size_t size) { /* bytes in whole cache lines */
    return ((size_t)n * size + 63) & ~(size_t)63;
}
size_t GY_ISAFN(gy_conv_few_in_scratch)(const gy_conv_attr *a, const gy_conv_dims *d) {
    border b = border_of(a, d);
    int64_t depth = d->taps * d->cin;
    return units(depth, sizeof(int64_t)) + units(up(d->cout, 2 * VL) * depth, sizeof(float)) +
           units(d->batch * b.sample, sizeof(float));
}
void GY_ISAFN(gy_conv_few_in)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *w,
                              const gy_gemm_f32 *out, bool mirrored, void *scratch, gy_pool *pool) {
    few_in j = {.b = border_of(a, d), .out = out, .depth = d->taps * d->cin};
    int64_t *offset = scratch, lines = d->batch * d->out[0] * d->out[1];
    if (lines * d->out[2] == 0) return;
    float *panels = (float *)((char *)scratch + units(j.depth, sizeof *offset)), *to = panels;
    j.b.x = x;
    j.b.room = panels + units(up(d->cout, 2 * VL) * j.depth, sizeof(float)) / sizeof(float);
    j.offset = offset;
    j.w = panels;
    fill_offsets(&j.b, offset);
    for (int64_t co = 0; co < d->cout; co += 2 * VL)
        for (int64_t tap = 0; tap < d->taps; tap++)
            for (int64_t ci = 0; ci < d->cin; ci++)
                for (int64_t e = co; e < co + 2 * VL; e++)
                    *to++ = e < d->cout ? w[weight_at(d, mirrored, e, ci, tap)] : 0;
    j.grain = grain_of((double)j.depth * (double)d->cout * (double)d->out[2]);
    gy_par(pool, d->batch * j.b.size[0] * j.b.size[1], border_tile, &j.b);
    gy_par(pool, gy_tiles(lines, j.grain), in_lines, &j);
}

/* Block of (tap, ci), panel of Cout, part of the lines. */
static void dw_part(void *arg, int64_t t, int worker) {
    (void)worker;
    const few_in_dw *j = arg;
    const gy_conv_dims *d = &j->b.d;
    int64_t block = t % j->blocks, co = t / j->blocks % j->panels * 2 * VL, part = t / j->blocks / j->panels;
    int64_t p0 = block ? block_end(j->depth, block - 1) : 0, p1 = block_end(j->depth, block);
    int64_t n = least(d->cout - co, 2 * VL), step = j->b.a->stride[2] * d->cin;
    double sum[GY_MR * 2 * VL] = {0};
    for (int64_t line = j->lines * part / j->parts; line < j->lines * (part + 1) / j->parts; line++) {
        const float *x = line_patch(&j->b, line), *y = j->y + line * d->out[2] * d->cout + co;
        for (int64_t o = 0; o < d->out[2]; o += LINE)
            dw_table[p1 - p0 - 1][n > VL](x + o * step, step, j->offset + p0, y + o * d->cout, d->cout,
                                          least(d->out[2] - o, LINE), n, sum);
    }
    for (int64_t p = p0; p < p1; p++)
        memcpy(j->part + (part * j->depth + p) * d->cout + co, sum + (p - p0) * 2 * VL, (size_t)n * sizeof *sum);
}
static few_in_dw dw_of(const gy_conv_attr *a, const gy_conv_dims *d) {
    few_in_dw j = {.b = border_of(a, d), .depth = d->taps * d->cin, .lines = d->batch * d->out[0] * d->out[1]};
    j.blocks = gy_tiles(j.depth, GY_MR);
    j.panels = gy_tiles(d->cout, 2 * VL);
    j.parts = gy_tiles(j.lines, grain_of((double)d->out[2] * GY_MR * 2 * VL));
    int64_t room = (1 << 20) / (j.depth * d->cout + 1) + 1;
    j.parts = least(least(j.parts, PARTS), room);
    return j;
}
size_t GY_ISAFN(gy_conv_few_in_dw_scratch)(const gy_conv_attr *a, const gy_conv_dims *d) {
    few_in_dw j = dw_of(a, d);
    return units(j.depth, sizeof(int64_t)) + units(j.parts * j.depth * d->cout, sizeof(double)) +
           units(d->batch * j.b.sample, sizeof(float));
}
void GY_ISAFN(gy_conv_few_in_dw)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *y, float *w,
                                 bool mirrored, void *scratch, gy_pool *pool) {
    few_in_dw j = dw_of(a, d);
    int64_t *offset = scratch, lines = j.lines * d->out[2], plane = j.depth * d->cout;
    j.offset = offset;
    j.part = (double *)((char *)scratch + units(j.depth, sizeof *offset));
    j.b.room = (float *)((char *)j.part + units(j.parts * plane, sizeof(double)));
    j.b.x = x;
    j.y = y;
    if (lines == 0) {
        memset(w, 0, (size_t)plane * sizeof *w);
        return;
    }
    fill_offsets(&j.b, offset);
    gy_par(pool, d->batch * j.b.size[0] * j.b.size[1], border_tile, &j.b);
    gy_par(pool, j.blocks * j.panels * j.parts, dw_part, &j);
    for (int64_t co = 0; co < d->cout; co++)
        for (int64_t ci = 0; ci < d->cin; ci++)
            for (int64_t tap = 0; tap < d->taps; tap++) {
                const double *s = j.part + (tap * d->cin + ci) * d->cout + co;
                double sum = 0;
                for (int64_t part = 0; part < j.parts; part++) sum += s[part * plane];
                w[weight_at(d, mirrored, co, ci, tap)] = (float)sum;
            }
}

/* ---- few channels out: forward and data gradient ---- */

#if defined(GY_TIER_avx2)
enum { Q1 = 8, Q2 = 4, Q3 = 4, Q4 = 2 }; /* positions a tile for 1, 2, 3, 4 channels: 12 accumulators of 16 registers */
#else
enum { Q1 = 8, Q2 = 8, Q3 = 8, Q4 = 6 }; /* up to 24 of 32; more positions would cost more pointers than registers */
#endif
enum { MOST = 24, ROOM = 256 };

/* Output t of an axis reads input t mul + add + tap tap_mul; it is element first + t step of `out`. */
typedef struct {
    const float *in, *w; /* w [tap][few][padded] */
    float *out;
    int64_t batch, grid[3], in_size[3], out_size[3], first[3], step[3];
    int64_t mul[3], add[3], tap_mul[3], kernel[3], taps;
    int64_t many, padded, few, grain;
    const gy_gemm_f32 *finish; /* NULL: none */
} few_out;

/* The position in `in` where the line begins that output line (g0, g1) reads through taps (k0, k1, :); -1: none. */
static int64_t line_of(const few_out *j, int64_t g0, int64_t g1, int64_t k0, int64_t k1) {
    int64_t i0 = g0 * j->mul[0] + j->add[0] + k0 * j->tap_mul[0];
    int64_t i1 = g1 * j->mul[1] + j->add[1] + k1 * j->tap_mul[1];
    if (i0 < 0 || i0 >= j->in_size[0] || i1 < 0 || i1 >= j->in_size[1]) return -1;
    return (i0 * j->in_size[1] + i1) * j->in_size[2];
}

/* out[q, c] for q < live of the positions from t on, t in line (g0, g1). */
GY_INLINE void out_block(const int nq, const int nc, const few_out *j, const float *in, int64_t g0, int64_t g1,
                         int64_t t, int64_t live, float *out) {
    vf acc[MOST];
    float room[16][ROOM];
#pragma GCC unroll 24
    for (int i = 0; i < nq * nc; i++) acc[i] = v_zero();
    const float *tap_w = j->w;
    int64_t k0 = 0, k1 = 0, k2 = 0, line = line_of(j, g0, g1, 0, 0);
    for (int64_t tap = 0; tap < j->taps; tap++, tap_w += nc * j->padded) {
        int64_t i2 = t * j->mul[2] + j->add[2] + k2 * j->tap_mul[2], last = i2 + (nq - 1) * j->mul[2], in_line = line;
        if (++k2 == j->kernel[2]) {
            k2 = 0;
            if (++k1 == j->kernel[1]) k1 = 0, k0++;
            line = line_of(j, g0, g1, k0, k1);
        }
        if (in_line < 0 || last < 0 || i2 >= j->in_size[2]) continue;
        bool inside = i2 >= 0 && last < j->in_size[2];
        int64_t chunk = inside ? j->many : ROOM;
        for (int64_t c0 = 0; c0 < j->many; c0 += chunk) {
            int64_t n = least(j->many - c0, chunk), step = j->mul[2] * j->many, e = 0;
            const float *x = in + (in_line + i2) * j->many + c0, *w = tap_w + c0;
            if (!inside) {
                for (int q = 0; q < nq; q++) {
                    int64_t at = i2 + q * j->mul[2];
                    if (at >= 0 && at < j->in_size[2])
                        memcpy(room[q], in + (in_line + at) * j->many + c0, (size_t)n * sizeof(float));
                    else
                        memset(room[q], 0, (size_t)n * sizeof(float));
                }
                x = room[0];
                step = ROOM;
            }
            for (; e < n; e += VL) {
                vf wv[4];
#pragma GCC unroll 4
                for (int c = 0; c < nc; c++) wv[c] = v_load(w + c * j->padded + e);
                if (n - e >= VL) {
#pragma GCC unroll 16
                    for (int q = 0; q < nq; q++) {
                        vf xv = v_load(x + q * step + e);
#pragma GCC unroll 4
                        for (int c = 0; c < nc; c++) acc[q * nc + c] = v_fma(xv, wv[c], acc[q * nc + c]);
                    }
                } else {
#pragma GCC unroll 16
                    for (int q = 0; q < nq; q++) {
                        vf xv = v_loadn(x + q * step + e, n - e);
#pragma GCC unroll 4
                        for (int c = 0; c < nc; c++) acc[q * nc + c] = v_fma(xv, wv[c], acc[q * nc + c]);
                    }
                }
            }
        }
    }
    float sum[MOST + 2 * VL];
#pragma GCC unroll 3
    for (int g = 0; g < nq * nc; g += VL) {
        vf r[VL];
#pragma GCC unroll 16
        for (int i = 0; i < VL; i++) r[i] = g + i < nq * nc ? acc[g + i] : v_zero();
        v_transpose(r);
#pragma GCC unroll 4
        for (int half = VL / 2; half; half /= 2)
#pragma GCC unroll 8
            for (int i = 0; i < half; i++) r[i] = v_add(r[i], r[i + half]);
        v_store(sum + g, r[0]);
    }
    for (int64_t q = 0; q < live; q++)
        for (int c = 0; c < nc; c++) out[q * j->step[2] * nc + c] = sum[q * nc + c];
}
GY_INLINE void out_line(const int nq, const int nc, const few_out *j, const float *in, int64_t g0, int64_t g1,
                        float *out) {
    for (int64_t t = 0; t < j->grid[2];) {
        int64_t left = j->grid[2] - t;
        if (left > nq / 2) {
            out_block(nq, nc, j, in, g0, g1, t, least(left, nq), out + t * j->step[2] * nc);
            t += nq;
        } else {
            out_block(nq / 2, nc, j, in, g0, g1, t, left, out + t * j->step[2] * nc);
            t += nq / 2;
        }
    }
}
static void out_lines(void *arg, int64_t tile, int worker) {
    (void)worker;
    const few_out *j = arg;
    int64_t lo, hi, sample = j->in_size[0] * j->in_size[1] * j->in_size[2] * j->many;
    gy_tile_range(j->batch * j->grid[0] * j->grid[1], j->grain, tile, &lo, &hi);
    for (int64_t line = lo; line < hi; line++) {
        int64_t g1 = line % j->grid[1], g0 = line / j->grid[1] % j->grid[0], b = line / j->grid[1] / j->grid[0];
        const float *in = j->in + b * sample;
        int64_t o0 = b * j->out_size[0] + j->first[0] + g0 * j->step[0], o1 = j->first[1] + g1 * j->step[1];
        float *out = j->out + ((o0 * j->out_size[1] + o1) * j->out_size[2] + j->first[2]) * j->few;
        switch (j->few) {
        case 1: out_line(Q1, 1, j, in, g0, g1, out); break;
        case 2: out_line(Q2, 2, j, in, g0, g1, out); break;
        case 3: out_line(Q3, 3, j, in, g0, g1, out); break;
        default: out_line(Q4, 4, j, in, g0, g1, out); break;
        }
    }
    if (j->finish) GY_ISAFN(gy_gemm_finish_f32)(j->finish, lo * j->grid[2], hi * j->grid[2], 0, j->few);
}
static void out_run(few_out *j, gy_pool *pool) {
    j->taps = j->kernel[0] * j->kernel[1] * j->kernel[2];
    j->grain = grain_of((double)j->taps * (double)(j->many * j->few) * (double)j->grid[2]);
    gy_par(pool, gy_tiles(j->batch * j->grid[0] * j->grid[1], j->grain), out_lines, j);
}

size_t GY_ISAFN(gy_conv_few_out_scratch)(int64_t taps, int64_t many, int64_t few) {
    return units(taps * few * up(many, VL), sizeof(float));
}
/* Weights of one tap, the many `many_step` apart, the few `few_step`. */
static void pack_tap(const few_out *j, const float *w, int64_t many_step, int64_t few_step, float *to) {
    for (int64_t c = 0; c < j->few; c++, to += j->padded)
        for (int64_t e = 0; e < j->padded; e++) to[e] = e < j->many ? w[e * many_step + c * few_step] : 0;
}
void GY_ISAFN(gy_conv_few_out)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *w,
                               const gy_gemm_f32 *out, void *scratch, gy_pool *pool) {
    few_out j = {
        .in = x, .w = scratch, .out = out->c, .batch = d->batch, .many = d->cin, .few = d->cout, .finish = out};
    j.padded = up(j.many, VL);
    for (int i = 0; i < 3; i++) {
        j.grid[i] = j.out_size[i] = d->out[i];
        j.in_size[i] = d->in[i];
        j.step[i] = 1;
        j.mul[i] = a->stride[i];
        j.add[i] = -a->before[i];
        j.tap_mul[i] = a->dilation[i];
        j.kernel[i] = d->kernel[i];
    }
    for (int64_t tap = 0; tap < d->taps; tap++)
        pack_tap(&j, w + tap, d->taps, d->cin * d->taps, (float *)scratch + tap * j.few * j.padded);
    out_run(&j, pool);
}
void GY_ISAFN(gy_conv_few_out_dx)(const gy_conv_phase *phase, const gy_conv_dims *whole, const float *y, const float *w,
                                  float *x, void *scratch, gy_pool *pool) {
    const gy_conv_dims *d = &phase->d;
    few_out j = {.in = y, .w = scratch, .out = x, .batch = d->batch, .many = d->cout, .few = d->cin};
    j.padded = up(j.many, VL);
    for (int i = 0; i < 3; i++) {
        j.grid[i] = d->in[i];
        j.in_size[i] = d->out[i];
        j.out_size[i] = whole->in[i];
        j.first[i] = phase->first[i];
        j.step[i] = phase->step[i];
        j.mul[i] = 1;
        j.add[i] = phase->a.before[i];
        j.tap_mul[i] = -phase->a.dilation[i];
        j.kernel[i] = d->kernel[i];
    }
    float *to = scratch;
    for (int64_t k0 = 0; k0 < d->kernel[0]; k0++)
        for (int64_t k1 = 0; k1 < d->kernel[1]; k1++)
            for (int64_t k2 = 0; k2 < d->kernel[2]; k2++, to += j.few * j.padded)
                pack_tap(&j,
                         w + phase->tap + k0 * phase->tap_step[0] + k1 * phase->tap_step[1] + k2 * phase->tap_step[2],
                         whole->cin * whole->taps, whole->taps, to);
    out_run(&j, pool);
}
