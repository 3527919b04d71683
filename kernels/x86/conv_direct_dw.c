/* The weight gradient w[co, ci, tap] = sum_p y[p, co] x[source(p, tap), ci] without a matrix of patches.
 *
 * The register tile is up to MR input channels by two vectors of output channels of one tap, summed over positions: it
 * broadcasts neighbouring channels of x and loads neighbouring channels of y, so both are read as they lie. A tile of
 * threads does one panel (two vectors of output channels) by up to 64 input channels by all taps: block by block of
 * about 256 positions, it copies what the block reads of x (which serves all taps) and the panel of y, and adds to a
 * gradient [tap][ci][panel] that stays in the second-level cache. In the end blocks of this are transposed to w's
 * layout. Taps see the positions inside the input only: nothing is multiplied with a border of zeros, which saves 16 %
 * of a 3 x 3 kernel on 8 x 8 maps.
 *
 * On AVX512-BF16 the summed positions go in pairs, which differ from tap to tap along the line: each such tap has a
 * window of its own.
 *
 * FLOPs 2 positions taps Cin Cout. Measured, one thread of Zen 4, AVX-512, of 118 GFLOP/s (gyrus bench conv --threads
 * 1): 3 x 3, 320 channels on 64 x 64 91 %, 640 on 32 x 32 96, 1280 on 16 x 16 96, 1280 on 8 x 8 88, stride 2 89; 1 x 1,
 * 640 on 32 x 32 90; 3 x 3 x 3, 32 at 64^3 93, 64 at 32^3 98; 1 x 25, 22 to 40 78. bf16, of 236: 3 x 3 86, 88, 85, 66.
 *
 * Pointwise kernels read x in place. When there are too few panels for the threads, the positions are cut into parts
 * whose sums are added in order. All bounds follow from shapes alone.
 */
#include "conv_tile.h"

enum {
    CHANNELS = 64,   /* input channels of a tile */
    POSITIONS = 256, /* of a block */
    SPREAD = 24,     /* tiles that threads should find, at least */
    LEAST = 1 << 21  /* multiply-adds worth a tile */
};

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}
static int64_t up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}
static size_t line_bytes(int64_t n, size_t size) { /* in whole cache lines */
    return ((size_t)n * size + 63) & ~(size_t)63;
}

typedef struct {
    const gy_conv_attr *a;
    gy_conv_dims d;
    const float *x, *y;
    float *w;
    int64_t in_group, out_group;
    int64_t span, spans;           /* input channels of a tile */
    int64_t together, panel_tiles; /* panels of a tile: they share its window */
    int64_t panels, padded;        /* of output channels, two vectors; a panel's floats a row */
    int64_t planes, lines, width;  /* a block: planes (sample, outermost axis), or lines of one plane, or a part */
    int64_t plane_blocks, line_blocks, width_blocks, blocks, parts;
    int64_t window_lines, window_width; /* of a plane; bf16: pairs of outputs */
    bool in_place;                      /* pointwise: x is its own window */
    float *part;                        /* [part][group, panel][in_group x taps x padded]; NULL: one part */
    int64_t part_floats;
    char *room; /* a worker's: gradient, window, panel of y */
    size_t sum_bytes, window_bytes, panel_bytes, room_bytes;
} gradient;

/* A pointwise convolution has one long line. */
static void flatten(const gy_conv_attr *a, gy_conv_dims *d) {
    for (int i = 0; i < 3; i++)
        if (d->kernel[i] != 1 || a->stride[i] != 1 || a->before[i] != 0 || d->in[i] != d->out[i]) return;
    int64_t n = d->batch * d->n_out;
    d->batch = 1;
    for (int i = 0; i < 3; i++) d->in[i] = d->out[i] = i == 2 ? n : 1;
    d->n_in = d->n_out = n;
}

bool GY_ISAFN(gy_conv_direct_dw_fits)(const gy_conv_attr *a, const gy_conv_dims *given) {
    gy_conv_dims d = *given;
    flatten(a, &d);
    return d.out[2] >= 4 && d.cin > 0;
}

static gradient gradient_of(const gy_conv_attr *a, const gy_conv_dims *given) {
    gradient j = {.a = a, .d = *given};
    flatten(a, &j.d);
    const gy_conv_dims *d = &j.d;
    j.in_group = d->cin / d->groups;
    j.out_group = d->cout / d->groups;
    j.in_place = GY_CONV_PAIR == 1 && d->taps == 1 && d->in[2] == d->batch * d->n_in && d->out[2] == d->in[2];
    j.spans = gy_tiles(j.in_group, CHANNELS);
    j.span = j.spans > 1 ? least(up(gy_tiles(j.in_group, j.spans), 16), CHANNELS) : j.in_group;
    j.spans = gy_tiles(j.in_group, j.span);
    j.panels = gy_tiles(j.out_group, 2 * VL);
    j.padded = j.out_group > VL ? 2 * VL : VL;
    j.width_blocks = gy_tiles(d->out[2], 2 * POSITIONS);
    j.width = gy_tiles(d->out[2], j.width_blocks);
    j.window_width = (j.width - 1) * a->stride[2] + (d->kernel[2] - 1) * a->dilation[2] + 1;
    j.lines = most(1, least(POSITIONS / j.width, d->out[1]));
    j.line_blocks = gy_tiles(d->out[1], j.lines);
    j.lines = gy_tiles(d->out[1], j.line_blocks);
    if (GY_CONV_PAIR == 2) j.window_width = gy_tiles(j.width, 2);
    j.window_lines = (j.lines - 1) * a->stride[1] + (d->kernel[1] - 1) * a->dilation[1] + 1;
    int64_t planes = d->batch * d->out[0];
    j.planes = 1;
    if (j.line_blocks == 1 && j.width_blocks == 1) j.planes = most(1, least(POSITIONS / (j.lines * j.width), planes));
    j.plane_blocks = gy_tiles(planes, j.planes);
    j.planes = gy_tiles(planes, j.plane_blocks);
    j.blocks = j.plane_blocks * j.line_blocks * j.width_blocks;
    j.together = least(j.panels, d->taps == 1 ? 4 : GY_CONV_PAIR);
    j.panel_tiles = gy_tiles(j.panels, j.together);
    j.together = gy_tiles(j.panels, j.panel_tiles);
    int64_t tiles = d->groups * j.panel_tiles * j.spans;
    double work = (double)d->batch * (double)d->n_out * (double)(d->taps * j.span) * (double)j.padded;
    j.parts = 1;
    if (tiles < SPREAD) j.parts = least(gy_tiles(SPREAD, most(tiles, 1)), least(j.blocks, 1 + (int64_t)(work / LEAST)));
    if (j.parts < 1) j.parts = 1;
    j.part_floats = j.parts > 1 ? d->groups * j.panels * j.in_group * d->taps * j.padded : 0;
    j.sum_bytes = line_bytes(d->taps * j.span * j.padded, sizeof(float));
    j.window_bytes = j.in_place ? 0
                                : line_bytes((GY_CONV_PAIR == 2 ? d->kernel[2] : 1) * j.planes * d->kernel[0] *
                                                 j.window_lines * j.window_width * j.span,
                                             sizeof(float));
    j.panel_bytes = line_bytes(j.planes * j.lines * gy_tiles(j.width, GY_CONV_PAIR) * j.padded, sizeof(float));
    j.room_bytes = (size_t)j.together * j.sum_bytes + j.window_bytes + j.panel_bytes;
    return j;
}

size_t GY_ISAFN(gy_conv_direct_dw_scratch)(const gy_conv_attr *a, const gy_conv_dims *d, int threads) {
    gradient j = gradient_of(a, d);
    return line_bytes(j.parts * j.part_floats, sizeof(float)) + (size_t)threads * j.room_bytes;
}

typedef struct {
    int64_t plane0, plane1, line0, line1, o0, o1; /* planes, lines, positions along a line */
} block;

#if defined(GY_TIER_avx512bf16)

/* The pairs of outputs o, o+1 of n positions: what they read of `run` channels, zeros outside. Position i of the line
 * is `from` + i stride, 0 <= i < size; the outputs read first, first + step, ... */
static void copy_pairs(const float *from, int64_t stride, int64_t size, int64_t first, int64_t step, int64_t run,
                       int64_t n, int64_t width, float *to) {
    for (int64_t o = 0; o < n; o += 2, to += width) {
        int64_t i0 = first + o * step, i1 = i0 + step;
        const float *x0 = from + i0 * stride, *x1 = from + i1 * stride;
        bool in0 = i0 >= 0 && i0 < size, in1 = i1 >= 0 && i1 < size && o + 1 < n;
        for (int64_t e = 0; e < run; e += VL) {
            int64_t live = least(run - e, VL), room = least(width - e, VL);
            vf a = in0 ? v_loadn(x0 + e, live) : v_zero(), b = in1 ? v_loadn(x1 + e, live) : v_zero();
            v_storen(to + e, gy_conv_pair(a, b), room);
        }
    }
}

/* What the block reads of channels c0 .. c0+n, for each tap along the line. */
static void fill_window(const gradient *j, const block *b, int64_t c0, int64_t n, float *to) {
    const gy_conv_attr *a = j->a;
    const gy_conv_dims *d = &j->d;
    int64_t lines = (b->line1 - b->line0 - 1) * a->stride[1] + (d->kernel[1] - 1) * a->dilation[1] + 1;
    for (int64_t k2 = 0; k2 < d->kernel[2]; k2++)
        for (int64_t plane = b->plane0; plane < b->plane0 + j->planes; plane++)
            for (int64_t k0 = 0; k0 < d->kernel[0]; k0++, to += j->window_lines * j->window_width * n) {
                int64_t i0 = gy_conv_source(a, 0, plane % d->out[0], k0);
                if (plane >= b->plane1 || i0 < 0 || i0 >= d->in[0]) continue;
                const float *x = j->x + (plane / d->out[0] * d->in[0] + i0) * d->in[1] * d->in[2] * d->cin + c0;
                for (int64_t l = 0; l < lines; l++) {
                    int64_t i1 = b->line0 * a->stride[1] - a->before[1] + l;
                    if (i1 < 0 || i1 >= d->in[1]) continue;
                    copy_pairs(x + i1 * d->in[2] * d->cin, d->cin, d->in[2], gy_conv_source(a, 2, b->o0, k2),
                               a->stride[2], n, b->o1 - b->o0, n, to + l * j->window_width * n);
                }
            }
}

static void fill_panel(const gradient *j, const block *b, int64_t channel, int64_t n, int64_t width, float *to) {
    const gy_conv_dims *d = &j->d;
    int64_t count = b->o1 - b->o0;
    for (int64_t plane = b->plane0; plane < b->plane1; plane++)
        for (int64_t line = b->line0; line < b->line1; line++, to += gy_tiles(count, 2) * width)
            copy_pairs(j->y + ((plane * d->out[1] + line) * d->out[2] + b->o0) * d->cout + channel, d->cout, count, 0,
                       1, n, count, width, to);
}

#else

/* `run` of the `stride` floats of each of n positions, `width` apart; zeros behind. */
static void copy_positions(const float *from, int64_t stride, int64_t run, int64_t n, int64_t width, float *to) {
    for (int64_t i = 0; i < n; i++, from += stride, to += width) {
        int64_t e = 0;
        for (; e + VL <= run; e += VL) v_store(to + e, v_load(from + e));
        if (e < run) {
            vf x = v_loadn(from + e, run - e);
            if (e + VL <= width)
                v_store(to + e, x);
            else
                v_storen(to + e, x, run - e);
        }
    }
}

/* What the block reads of channels c0 .. c0+n, where it exists. */
static void fill_window(const gradient *j, const block *b, int64_t c0, int64_t n, float *to) {
    const gy_conv_attr *a = j->a;
    const gy_conv_dims *d = &j->d;
    int64_t first = b->o0 * a->stride[2] - a->before[2];
    int64_t width = (b->o1 - b->o0 - 1) * a->stride[2] + (d->kernel[2] - 1) * a->dilation[2] + 1;
    int64_t lines = (b->line1 - b->line0 - 1) * a->stride[1] + (d->kernel[1] - 1) * a->dilation[1] + 1;
    int64_t lo = most(-first, 0), hi = least(d->in[2] - first, width);
    for (int64_t plane = b->plane0; plane < b->plane1; plane++)
        for (int64_t k0 = 0; k0 < d->kernel[0]; k0++, to += j->window_lines * j->window_width * n) {
            int64_t i0 = gy_conv_source(a, 0, plane % d->out[0], k0);
            if (i0 < 0 || i0 >= d->in[0]) continue;
            const float *x = j->x + (plane / d->out[0] * d->in[0] + i0) * d->in[1] * d->in[2] * d->cin + c0;
            for (int64_t l = 0; l < lines; l++) {
                int64_t i1 = b->line0 * a->stride[1] - a->before[1] + l;
                if (i1 < 0 || i1 >= d->in[1]) continue;
                copy_positions(x + (i1 * d->in[2] + first + lo) * d->cin, d->cin, n, hi - lo, n,
                               to + (l * j->window_width + lo) * n);
            }
        }
}

static void fill_panel(const gradient *j, const block *b, int64_t channel, int64_t n, int64_t width, float *to) {
    const gy_conv_dims *d = &j->d;
    for (int64_t plane = b->plane0; plane < b->plane1; plane++)
        for (int64_t line = b->line0; line < b->line1; line++, to += (b->o1 - b->o0) * width)
            copy_positions(j->y + ((plane * d->out[1] + line) * d->out[2] + b->o0) * d->cout + channel, d->cout, n,
                           b->o1 - b->o0, width, to);
}

#endif

/* The outputs in [from, to) whose tap k lies inside the input. */
static void outputs_inside(const gradient *j, int axis, int64_t k, int64_t from, int64_t to, int64_t *lo, int64_t *hi) {
    int64_t s = j->a->stride[axis], first = k * j->a->dilation[axis] - j->a->before[axis];
    *lo = first < 0 ? most((-first + s - 1) / s, from) : from;
    *hi = first < j->d.in[axis] ? least((j->d.in[axis] - first + s - 1) / s, to) : from;
    if (*hi < *lo) *hi = *lo;
}

/* One tap's positions: lines of `count` positions. x and y of line l of plane p are at p plane + l line. */
typedef struct {
    const float *x, *y;
    int64_t x_plane, x_line, x_step, y_plane, y_line;
    int64_t plane0, plane1, line0, line1, count;
    uint64_t planes; /* bit p: plane p is inside */
} positions;

/* sum[i][0 .. nv VL) += (first: =) sum over positions x[i] y[0 .. nv VL). */
GY_INLINE void sum_tile(const int mr, const int nv, const positions *p, float *sum, bool first) {
    vf acc[GY_MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = v_zero();
    for (int64_t plane = p->plane0; plane < p->plane1; plane++) {
        if (!(p->planes >> plane & 1)) continue;
        for (int64_t line = p->line0; line < p->line1; line++) {
            const float *x = p->x + plane * p->x_plane + line * p->x_line;
            const float *y = p->y + plane * p->y_plane + line * p->y_line;
            for (int64_t o = 0; o < p->count; o++, x += p->x_step, y += nv * VL) {
                vf y0 = v_load(y), y1 = nv > 1 ? v_load(y + VL) : v_zero();
#pragma GCC unroll 16
                for (int i = 0; i < mr; i++) {
                    vf xi = v_set(x[i]);
                    acc[i][0] = gy_conv_fma(xi, y0, acc[i][0]);
                    if (nv > 1) acc[i][1] = gy_conv_fma(xi, y1, acc[i][1]);
                }
            }
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++) {
            float *s = sum + (i * nv + v) * VL;
            v_store(s, first ? acc[i][v] : v_add(v_load(s), acc[i][v]));
        }
}
typedef void (*sum_fn)(const positions *p, float *sum, bool first);

#define TILE(mr, nv)                                                                                                   \
    static void sum_##mr##x##nv(const positions *p, float *sum, bool first) {                                          \
        sum_tile(mr, nv, p, sum, first);                                                                               \
    }
GY_CONV_TILES(TILE)
#undef TILE
#define ROW(mr)                                                                                                        \
    { sum_##mr##x1, sum_##mr##x2 }
static const sum_fn sum_table[GY_MR][2] = {GY_CONV_TABLE(ROW)};
#undef ROW

/* All taps of n input channels over one block. */
static void add_block(const gradient *j, const block *b, const float *window, int64_t pitch, const float *panel,
                      int64_t n, int64_t nv, float *sum, bool first) {
    const gy_conv_attr *a = j->a;
    const gy_conv_dims *d = &j->d;
    int64_t width = b->o1 - b->o0, lines = b->line1 - b->line0, blocks = gy_tiles(n, GY_MR);
    for (int64_t tap = 0; tap < d->taps; tap++) {
        int64_t k2 = tap % d->kernel[2], k1 = tap / d->kernel[2] % d->kernel[1], k0 = tap / d->kernel[2] / d->kernel[1];
        int64_t o0, o1, l0, l1;
        outputs_inside(j, 2, k2, b->o0, b->o1, &o0, &o1);
        int64_t rows = width, step = a->stride[2] * pitch, skip = (o0 - b->o0) * a->stride[2] + k2 * a->dilation[2];
        if (GY_CONV_PAIR == 2) { /* whole lines of pairs, a window for each k2 */
            rows = gy_tiles(width, 2);
            step = pitch;
            skip = k2 * j->planes * d->kernel[0] * j->window_lines * j->window_width;
        }
        outputs_inside(j, 1, k1, b->line0, b->line1, &l0, &l1);
        positions p = {.x_plane = d->kernel[0] * j->window_lines * j->window_width * pitch,
                       .x_line = a->stride[1] * j->window_width * pitch,
                       .x_step = step,
                       .y_plane = lines * rows * nv * VL,
                       .y_line = rows * nv * VL,
                       .plane1 = b->plane1 - b->plane0,
                       .line0 = l0 - b->line0,
                       .line1 = o1 > o0 ? l1 - b->line0 : 0,
                       .count = GY_CONV_PAIR == 2 ? rows : o1 - o0};
        for (int64_t plane = b->plane0; plane < b->plane1; plane++) {
            int64_t i0 = gy_conv_source(a, 0, plane % d->out[0], k0);
            if (i0 >= 0 && i0 < d->in[0]) p.planes |= (uint64_t)1 << (plane - b->plane0);
        }
        p.y = panel + (GY_CONV_PAIR == 2 ? 0 : o0 - b->o0) * nv * VL;
        const float *x = window;
        if (!j->in_place) x += ((k0 * j->window_lines + k1 * a->dilation[1]) * j->window_width + skip) * pitch;
        for (int64_t i = 0; i < blocks; i++) {
            int64_t lo = n * i / blocks, hi = n * (i + 1) / blocks;
            p.x = x + lo;
            sum_table[hi - lo - 1][nv - 1](&p, sum + (tap * n + lo) * nv * VL, first);
        }
    }
}

/* Where the part's sums of a tile lie. */
static float *part_of(const gradient *j, int64_t part, int64_t group, int64_t panel, int64_t c0) {
    int64_t plane = j->in_group * j->d.taps * j->padded;
    return j->part + part * j->part_floats + (group * j->panels + panel) * plane + c0 * j->d.taps * j->padded;
}

static void range(int64_t n, int64_t grain, int64_t i, int64_t *lo, int64_t *hi) {
    gy_tile_range(n, grain, i, lo, hi);
    if (*hi < *lo) *lo = *hi;
}

/* Panel `panel` of a group by input channels c0 .. c0+channels: what a tile has summed goes to w. */
static void finish(const gradient *j, int64_t group, int64_t panel, int64_t c0, int64_t channels, const float *sum) {
    int64_t j0 = panel * 2 * VL, n = least(j->out_group - j0, 2 * VL);
    float *w = j->w + ((group * j->out_group + j0) * j->in_group + c0) * j->d.taps;
    GY_ISAFN(gy_conv_weights_unpack)(sum, j->d.taps, channels, up(n, VL), n, w, j->in_group * j->d.taps);
}

static void sum_blocks(void *arg, int64_t t, int worker) {
    const gradient *j = arg;
    const gy_conv_dims *d = &j->d;
    int64_t c0 = t % j->spans * j->span, channels = least(j->in_group - c0, j->span), rest = t / j->spans;
    int64_t p0 = rest % j->panel_tiles * j->together, p1 = least(j->panels, p0 + j->together);
    int64_t group = rest / j->panel_tiles % d->groups, part = rest / j->panel_tiles / d->groups;
    char *room = j->room + (size_t)worker * j->room_bytes, *behind = room + (size_t)j->together * j->sum_bytes;
    float *window = (float *)behind, *panel = (float *)(behind + j->window_bytes);
    bool first = true;
    for (int64_t i = j->blocks * part / j->parts; i < j->blocks * (part + 1) / j->parts; i++) {
        block b;
        range(d->out[2], j->width, i % j->width_blocks, &b.o0, &b.o1);
        range(d->out[1], j->lines, i / j->width_blocks % j->line_blocks, &b.line0, &b.line1);
        range(d->batch * d->out[0], j->planes, i / j->width_blocks / j->line_blocks, &b.plane0, &b.plane1);
        if (b.o1 == b.o0 || b.line1 == b.line0 || b.plane1 == b.plane0) continue;
        const float *x = window;
        if (j->in_place)
            x = j->x + b.o0 * d->cin + group * j->in_group + c0;
        else
            fill_window(j, &b, group * j->in_group + c0, channels, window);
        for (int64_t p = p0; p < p1; p++) {
            int64_t n = least(j->out_group - p * 2 * VL, 2 * VL), nv = gy_tiles(n, VL);
            float *sum = (float *)(room + (size_t)(p - p0) * j->sum_bytes);
            fill_panel(j, &b, group * j->out_group + p * 2 * VL, n, nv * VL, panel);
            add_block(j, &b, x, j->in_place ? d->cin : channels, panel, channels, nv, sum, first);
        }
        first = false;
    }
    for (int64_t p = p0; p < p1; p++) {
        float *sum = (float *)(room + (size_t)(p - p0) * j->sum_bytes);
        size_t bytes = (size_t)(d->taps * channels * up(least(j->out_group - p * 2 * VL, 2 * VL), VL)) * sizeof *sum;
        if (first) memset(sum, 0, bytes);
        if (j->parts > 1)
            memcpy(part_of(j, part, group, p, c0), sum, bytes);
        else
            finish(j, group, p, c0, channels, sum);
    }
}

static void add_parts(void *arg, int64_t t, int worker) {
    (void)worker;
    const gradient *j = arg;
    int64_t c0 = t % j->spans * j->span, channels = least(j->in_group - c0, j->span), rest = t / j->spans;
    int64_t panel = rest % j->panels, group = rest / j->panels;
    int64_t width = up(least(j->out_group - panel * 2 * VL, 2 * VL), VL);
    float *sum = part_of(j, 0, group, panel, c0);
    for (int64_t part = 1; part < j->parts; part++) {
        const float *more = part_of(j, part, group, panel, c0);
        for (int64_t i = 0; i < j->d.taps * channels * width; i += VL)
            v_store(sum + i, v_add(v_load(sum + i), v_load(more + i)));
    }
    finish(j, group, panel, c0, channels, sum);
}

void GY_ISAFN(gy_conv_direct_dw)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *y, float *w,
                                 void *scratch, gy_pool *pool) {
    gradient j = gradient_of(a, d);
    j.x = x;
    j.y = y;
    j.w = w;
    if (j.parts > 1) j.part = scratch;
    j.room = (char *)scratch + line_bytes(j.parts * j.part_floats, sizeof(float));
    gy_par(pool, d->groups * j.panel_tiles * j.spans * j.parts, sum_blocks, &j);
    if (j.parts > 1) gy_par(pool, d->groups * j.panels * j.spans, add_parts, &j);
}
