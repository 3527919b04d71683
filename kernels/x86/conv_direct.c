/* Convolution and its data gradient without a matrix of patches and without packing patches: the register kernel reads
 * a window of the input as it lies.
 *
 * A window is a copy of the part of the input that a block of output positions reads, for a chunk of channels, borders
 * of zeros included: [kernel axis 0][lines][positions][chunk]. In it, the inputs of neighbouring outputs of a line are
 * a fixed distance apart for every tap and channel. So the register tile (up to MR positions by two vectors of output
 * channels) broadcasts one number a row straight from the window, for tap after tap. Per multiply-add the copy is
 * smaller than packed panels would be by the number of taps that share a line, and it is a plain copy.
 *
 * Weights are packed as [chunk][panel of two vectors][tap][channel][columns], by transposing blocks in registers. When
 * all outputs are one block (maps of 8 x 8 to 32 x 32), each panel is packed by the tile that uses it, so that the
 * weights are read once from memory and their packed form never leaves the cache.
 *
 * The tiling: a chunk is such that a register tile does about 1152 steps of depth between two visits to C (128 channels
 * of 3 x 3 taps; with 288 the 3 x 3 rows were 3 to 4 % slower, with 144 5 to 8 %); windows are at most a quarter of the
 * second-level cache; a panel of weights (144 KiB there) passes through all of the block while it stays in that cache.
 * Taps of the outer axes that fall outside the input are left out. All of it follows from shapes alone.
 *
 * On AVX512-BF16 the floats of windows and panels are pairs of channels in bf16 (conv_tile.h).
 *
 * FLOPs 2 positions taps Cin Cout; bytes: each operand once, x once a block. Measured, one thread of Zen 4, AVX-512, of
 * 118 GFLOP/s (GYRUS_WINOGRAD=0 gyrus bench conv --threads 1): 3 x 3, 320 channels on 64 x 64: forward 96, data 95 %;
 * 640 on 32 x 32: 95, 93; 1280 on 16 x 16: 93, 90; 1280 on 8 x 8: 78 to 84, 72; 1 x 1, 320 on 64 x 64 88, 640 on 32 x
 * 32 93; 3 x 3 x 3, 32 at 64^3: 95, 96; 64 at 32^3 98; 1 x 25, 22 to 40: 78, 66. bf16, of 236: 3 x 3: 94, 92; 93, 88;
 * 84, 80; 62, 51. Two threads are 1.95 to 2.03 times as fast on 3 x 3 maps of 16 x 16 and more.
 *
 * The data gradient is the same with the taps backwards; with strides, once a phase, whose rows go straight to their
 * places in x.
 */
#include "conv_tile.h"

enum {
    STEPS = 1152,     /* of depth that a register tile goes between two visits to C, about */
    WINDOW = 1 << 16, /* floats of a window: a quarter of the second-level cache */
    POSITIONS = 1024, /* of a block, about */
    SPREAD = 24,      /* tiles that threads should find, at least */
    LEAST = 1 << 20   /* multiply-adds worth a tile */
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

static int64_t units(int64_t channels) { /* floats that hold them */
    return (channels + GY_CONV_PAIR - 1) / GY_CONV_PAIR;
}

/* Up to GY_MR neighbouring outputs of a line. */
typedef struct {
    int64_t at;                 /* the window's position that tap 0 of the first reads */
    int64_t lo0, hi0, lo1, hi1; /* taps of the outer axes that lie inside the input */
    float *c;
    int64_t row; /* of the first, in the epilogue */
    int64_t mr;
} piece;

typedef struct {
    gy_conv_direct q;
    int64_t taps, in_group, out_group;
    int64_t chunk, chunks;                 /* channels a window holds */
    int64_t padded;                        /* columns in whole vectors */
    int64_t panels, panel_tiles, per_tile; /* panels of two vectors of columns, and how many a tile does */
    int64_t planes, plane_blocks;          /* a block is some planes (sample, outermost axis) ... */
    int64_t lines, line_blocks;            /* ... or some lines of one plane ... */
    int64_t width, width_blocks;           /* ... by a part of the lines */
    int64_t window_lines, window_width;    /* a plane's window: kernel[0] x these positions */
    int64_t pieces;                        /* of a block at most */
    bool in_place;                         /* pointwise: the input is its own window */
    bool fly;                              /* one block: each panel of weights is packed where it is needed, once */
    int32_t *row[2];                       /* see gy_conv_weights_rows: of a chunk, of a shorter last one */
    float *packed;
    char *room; /* a worker's: window, panel, panel before it is rounded to pairs, pieces */
    size_t window_bytes, panel_bytes, wide_bytes, room_bytes;
} direct;

/* A pointwise convolution has one long line. */
static void flatten(gy_conv_direct *q) {
    for (int i = 0; i < 3; i++)
        if (q->d.kernel[i] != 1 || q->stride[i] != 1 || q->before[i] != 0 || q->d.in[i] != q->d.out[i] ||
            q->out_size[i] != q->d.out[i])
            return;
    int64_t n = q->d.batch * q->d.n_out;
    q->d.batch = 1;
    for (int i = 0; i < 3; i++) q->d.in[i] = q->d.out[i] = q->out_size[i] = i == 2 ? n : 1;
    q->d.n_in = q->d.n_out = n;
}

bool GY_ISAFN(gy_conv_direct_fits)(const gy_conv_direct *given) {
    gy_conv_direct q = *given;
    flatten(&q);
    return q.d.out[2] >= 4 && q.d.cin > 0;
}

static direct direct_of(const gy_conv_direct *given) {
    direct j = {.q = *given};
    flatten(&j.q);
    const gy_conv_dims *d = &j.q.d;
    const int64_t *k = d->kernel, *s = j.q.stride, *dil = j.q.dilation;
    j.taps = k[0] * k[1] * k[2];
    j.in_group = d->cin / d->groups;
    j.out_group = d->cout / d->groups;
    j.chunks = gy_tiles(j.in_group, up(most(GY_CONV_PAIR * STEPS / most(j.taps, 1), 1), 16));
    j.chunk = j.chunks > 1 ? up(gy_tiles(j.in_group, j.chunks), 16) : j.in_group;
    if (j.chunks > 1 && given->w.channel != given->w.taps) j.chunk -= 8;
    j.chunks = gy_tiles(j.in_group, j.chunk);
    j.padded = up(j.out_group, VL);
    j.panels = gy_tiles(j.out_group, 2 * VL);
    /* the block */
    j.width_blocks = gy_tiles(d->out[2], 512);
    j.width = gy_tiles(d->out[2], j.width_blocks);
    j.window_width = most((j.width - 1) * s[2] + most(k[2] - 1, 0) * dil[2] + 1, 1);
    int64_t planes = d->batch * d->out[0], line_floats = most(k[0], 1) * j.window_width * units(j.chunk);
    int64_t fit = least(WINDOW / line_floats - most(k[1] - 1, 0) * dil[1] - 1, POSITIONS / j.width) / s[1] + 1;
    j.lines = most(1, least(fit, d->out[1]));
    j.line_blocks = gy_tiles(d->out[1], j.lines);
    j.lines = gy_tiles(d->out[1], j.line_blocks);
    j.window_lines = most((j.lines - 1) * s[1] + most(k[1] - 1, 0) * dil[1] + 1, 1);
    j.planes = 1;
    if (j.line_blocks == 1 && j.width_blocks == 1)
        j.planes =
            most(1, least(least(WINDOW / (j.window_lines * line_floats), POSITIONS / (j.lines * j.width)), planes));
    j.plane_blocks = gy_tiles(planes, j.planes);
    j.planes = gy_tiles(planes, j.plane_blocks);
    j.pieces = j.planes * j.lines * gy_tiles(j.width, GY_MR);
    int64_t blocks = j.plane_blocks * j.line_blocks * j.width_blocks;
    j.fly = blocks == 1;
    /* panels a tile */
    double work = (double)(j.planes * j.lines * j.width) * (double)(j.taps * j.in_group) * 2 * VL;
    int64_t worth = work >= LEAST ? 1 : (int64_t)(LEAST / (work + 1)) + 1;
    j.per_tile = least(j.panels, most(most(j.panels * blocks * d->groups / SPREAD, 1), worth));
    j.panel_tiles = gy_tiles(j.panels, j.per_tile);
    j.per_tile = gy_tiles(j.panels, j.panel_tiles);
    bool one_line = d->batch * d->n_in == d->in[2] && d->batch * d->n_out == d->in[2];
    j.in_place = j.taps == 1 && one_line && s[2] == 1 && j.q.before[2] == 0 && d->cin % 512 != 0 && GY_CONV_PAIR == 1;
    j.window_bytes =
        j.in_place
            ? 0
            : line_bytes(j.planes * most(k[0], 1) * j.window_lines * j.window_width * units(j.chunk), sizeof(float));
    j.panel_bytes = j.fly ? line_bytes(2 * VL * j.taps * units(j.chunk), sizeof(float)) : 0;
    j.wide_bytes = GY_CONV_PAIR == 2 ? line_bytes(2 * VL * j.taps * j.chunk, sizeof(float)) : 0;
    j.room_bytes = j.window_bytes + j.panel_bytes + j.wide_bytes + line_bytes(j.pieces, sizeof(piece));
    return j;
}

static size_t packed_bytes(const direct *j) {
    return j->fly ? 0 : line_bytes(j->q.d.groups * j->taps * units(j->in_group) * j->padded, sizeof(float));
}

static size_t row_bytes(const direct *j) {
    return line_bytes(2 * GY_ISAFN(gy_conv_weights_run)(&j->q.w, j->chunk), sizeof(int32_t));
}

size_t GY_ISAFN(gy_conv_direct_scratch)(const gy_conv_direct *q, int threads) {
    direct j = direct_of(q);
    return row_bytes(&j) + packed_bytes(&j) + (size_t)threads * j.room_bytes;
}

/* ---- weights ---- */

static void pack_panel(const direct *j, int64_t group, int64_t j0, int64_t n, int64_t c0, int64_t cc, float *wide,
                       float *dst) {
    float *to = GY_CONV_PAIR == 2 ? wide : dst;
    GY_ISAFN(gy_conv_weights_pack)(&j->q.w, j->row[cc != j->chunk], group, j0, n, c0, cc, to);
#if defined(GY_TIER_avx512bf16)
    int64_t width = up(n, VL);
    for (int64_t tap = 0; tap < j->taps; tap++, wide += cc * width)
        for (int64_t c = 0; c < cc; c += 2)
            for (int64_t r = 0; r < width; r += VL, dst += VL) {
                const float *first = wide + c * width + r;
                v_store(dst, gy_conv_pair(v_load(first), c + 1 < cc ? v_load(first + width) : v_zero()));
            }
#endif
}
/* Where the columns from j0 on of a chunk of cc channels lie. */
static float *packed_at(const direct *j, int64_t group, int64_t j0, int64_t c0, int64_t cc) {
    return j->packed + j->taps * ((group * units(j->in_group) + c0 / GY_CONV_PAIR) * j->padded + j0 * units(cc));
}
static void pack_tile(void *arg, int64_t t, int worker) {
    const direct *j = arg;
    int64_t chunk = t % j->chunks, j0 = t / j->chunks % j->panels * 2 * VL, group = t / j->chunks / j->panels;
    int64_t c0 = chunk * j->chunk, cc = least(j->in_group - c0, j->chunk), n = least(j->out_group - j0, 2 * VL);
    char *room = j->room + (size_t)worker * j->room_bytes;
    pack_panel(j, group, j0, n, c0, cc, (float *)(room + j->window_bytes + j->panel_bytes),
               packed_at(j, group, j0, c0, cc));
}

/* ---- the window ---- */

/* `run` of the `stride` floats of each of n positions. */
#if defined(GY_TIER_avx512bf16)
static void copy_positions(const float *from, int64_t stride, int64_t run, int64_t n, float *to) {
    for (int64_t i = 0; i < n; i++, from += stride, to += units(run)) {
        int64_t e = 0;
        for (; e + VL <= run; e += VL) _mm256_storeu_ps(to + e / 2, (__m256)_mm512_cvtneps_pbh(v_load(from + e)));
        if (e < run)
            _mm256_mask_storeu_ps(to + e / 2, (__mmask8)v_tail(units(run - e)),
                                  (__m256)_mm512_cvtneps_pbh(v_loadn(from + e, run - e)));
    }
}
#else
static void copy_positions(const float *from, int64_t stride, int64_t run, int64_t n, float *to) {
    if (run == stride) {
        memcpy(to, from, (size_t)(n * run) * sizeof(float));
        return;
    }
    for (int64_t i = 0; i < n; i++, from += stride, to += run) {
        int64_t e = 0;
        for (; e + VL <= run; e += VL) v_store(to + e, v_load(from + e));
        if (e < run) v_storen(to + e, v_loadn(from + e, run - e), run - e);
    }
}
#endif

typedef struct {
    int64_t plane0, plane1, line0, line1, o0, o1; /* planes, lines, positions along a line */
} block;

static void fill_window(const direct *j, const block *b, int64_t channel, int64_t cc, float *to) {
    const gy_conv_direct *q = &j->q;
    const gy_conv_dims *d = &q->d;
    int64_t u = units(cc), first = b->o0 * q->stride[2] - q->before[2], n = (b->o1 - b->o0 - 1) * q->stride[2] + 1;
    n += most(d->kernel[2] - 1, 0) * q->dilation[2];
    int64_t lo = least(most(-first, 0), n), hi = most(least(d->in[2] - first, n), lo);
    int64_t lines = (b->line1 - b->line0 - 1) * q->stride[1] + 1 + most(d->kernel[1] - 1, 0) * q->dilation[1];
    for (int64_t plane = b->plane0; plane < b->plane1; plane++)
        for (int64_t k0 = 0; k0 < d->kernel[0]; k0++, to += j->window_lines * j->window_width * u) {
            int64_t i0 = plane % d->out[0] * q->stride[0] - q->before[0] + k0 * q->dilation[0];
            if (i0 < 0 || i0 >= d->in[0]) continue;
            const float *in = q->in + (plane / d->out[0] * d->in[0] + i0) * d->in[1] * d->in[2] * d->cin + channel;
            for (int64_t l = 0; l < lines; l++) {
                int64_t i1 = b->line0 * q->stride[1] - q->before[1] + l;
                if (i1 < 0 || i1 >= d->in[1]) continue;
                float *line = to + l * j->window_width * u;
                memset(line, 0, (size_t)(lo * u) * sizeof(float));
                copy_positions(in + (i1 * d->in[2] + first + lo) * d->cin, d->cin, cc, hi - lo, line + lo * u);
                memset(line + hi * u, 0, (size_t)((n - hi) * u) * sizeof(float));
            }
        }
}

/* The taps [*lo, *hi) of an outer axis that output o reads inside the input. */
static void taps_inside(const gy_conv_direct *q, int axis, int64_t o, int64_t *lo, int64_t *hi) {
    int64_t first = o * q->stride[axis] - q->before[axis], step = q->dilation[axis];
    *lo = first < 0 ? (-first + step - 1) / step : 0;
    *hi = first < q->d.in[axis] ? least((q->d.in[axis] - first + step - 1) / step, q->d.kernel[axis]) : 0;
    if (*hi < *lo) *hi = *lo;
}

static int64_t list_pieces(const direct *j, const block *b, int64_t group, piece *to) {
    const gy_conv_direct *q = &j->q;
    const gy_conv_dims *d = &q->d;
    int64_t count = 0, width = b->o1 - b->o0, tiles = gy_tiles(width, GY_MR), base = 0;
    for (int64_t plane = b->plane0; plane < b->plane1; plane++) {
        piece p;
        int64_t z = plane % d->out[0], sample = plane / d->out[0];
        taps_inside(q, 0, z, &p.lo0, &p.hi0);
        for (int64_t line = b->line0; line < b->line1; line++) {
            taps_inside(q, 1, line, &p.lo1, &p.hi1);
            int64_t at0 = sample * q->out_size[0] + q->first[0] + z * q->step[0];
            int64_t at1 = at0 * q->out_size[1] + q->first[1] + line * q->step[1];
            float *c = q->out + (at1 * q->out_size[2] + q->first[2]) * d->cout + group * j->out_group;
            for (int64_t i = 0; i < tiles; i++) {
                int64_t lo = width * i / tiles, hi = width * (i + 1) / tiles;
                p.at = base + ((line - b->line0) * q->stride[1] * j->window_width + lo * q->stride[2]);
                p.c = c + (b->o0 + lo) * q->step[2] * d->cout;
                p.row = (plane * d->out[1] + line) * d->out[2] + b->o0 + lo;
                p.mr = hi - lo;
                to[count++] = p;
            }
        }
        base += d->kernel[0] * j->window_lines * j->window_width;
    }
    return count;
}

/* ---- the register tile ---- */

/* c[i, 0..n) += (first: =) the taps of p times w, w [tap][cc][nv VL]; positions are `pitch` floats apart. */
GY_INLINE void piece_tile(const int mr, const int nv, const direct *j, const piece *p, const float *window,
                          int64_t pitch, const float *w, int64_t cc, int64_t n, bool first) {
    const gy_conv_direct *q = &j->q;
    const int64_t *k = q->d.kernel;
    vf acc[GY_MR][2];
    int64_t row = q->stride[2] * pitch, runs = q->dilation[2] == 1 ? 1 : k[2], len = runs == 1 ? k[2] * cc : cc;
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) acc[i][0] = acc[i][1] = v_zero();
    for (int64_t k0 = p->lo0; k0 < p->hi0; k0++)
        for (int64_t k1 = p->lo1; k1 < p->hi1; k1++) {
            const float *b = w + (k0 * k[1] + k1) * k[2] * cc * nv * VL;
            const float *a = window + (p->at + (k0 * j->window_lines + k1 * q->dilation[1]) * j->window_width) * pitch;
            for (int64_t k2 = 0; k2 < runs; k2++, a += q->dilation[2] * cc)
                b = gy_conv_rows(mr, nv, acc, a, row, len, b);
        }
    int64_t ldc = q->step[2] * q->d.cout, tail = n - (nv - 1) * VL;
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++) {
        float *c = p->c + i * ldc;
        if (nv > 1) {
            v_store(c, first ? acc[i][0] : v_add(v_load(c), acc[i][0]));
            c += VL;
        }
        vf last = acc[i][nv - 1];
        if (tail == VL)
            v_store(c, first ? last : v_add(v_load(c), last));
        else
            v_storen(c, first ? last : v_add(v_loadn(c, tail), last), tail);
    }
}
typedef void (*piece_fn)(const direct *j, const piece *p, const float *window, int64_t pitch, const float *w,
                         int64_t cc, int64_t n, bool first);

#define TILE(mr, nv)                                                                                                   \
    static void piece_##mr##x##nv(const direct *j, const piece *p, const float *window, int64_t pitch, const float *w, \
                                  int64_t cc, int64_t n, bool first) {                                                 \
        piece_tile(mr, nv, j, p, window, pitch, w, cc, n, first);                                                      \
    }
GY_CONV_TILES(TILE)
#undef TILE
#define ROW(mr)                                                                                                        \
    { piece_##mr##x1, piece_##mr##x2 }
static const piece_fn piece_table[GY_MR][2] = {GY_CONV_TABLE(ROW)};
#undef ROW

/* ---- the tiles of threads ---- */

static void range(int64_t n, int64_t grain, int64_t i, int64_t *lo, int64_t *hi) {
    gy_tile_range(n, grain, i, lo, hi);
    if (*hi < *lo) *lo = *hi;
}

static void direct_tile(void *arg, int64_t t, int worker) {
    const direct *j = arg;
    const gy_conv_dims *d = &j->q.d;
    int64_t tile = t % j->panel_tiles, rest = t / j->panel_tiles;
    block b;
    range(d->out[2], j->width, rest % j->width_blocks, &b.o0, &b.o1);
    rest /= j->width_blocks;
    range(d->out[1], j->lines, rest % j->line_blocks, &b.line0, &b.line1);
    rest /= j->line_blocks;
    range(d->batch * d->out[0], j->planes, rest % j->plane_blocks, &b.plane0, &b.plane1);
    int64_t group = rest / j->plane_blocks;
    char *room = j->room + (size_t)worker * j->room_bytes;
    float *window = (float *)room, *panel = (float *)(room + j->window_bytes);
    float *wide = (float *)(room + j->window_bytes + j->panel_bytes);
    piece *p = (piece *)(room + j->window_bytes + j->panel_bytes + j->wide_bytes);
    int64_t pieces = b.o1 > b.o0 && b.line1 > b.line0 ? list_pieces(j, &b, group, p) : 0;
    if (!pieces) return;
    int64_t j0 = tile * j->per_tile * 2 * VL, j1 = least(j->out_group, j0 + j->per_tile * 2 * VL);
    for (int64_t chunk = 0; chunk < j->chunks; chunk++) {
        int64_t c0 = chunk * j->chunk, cc = least(j->in_group - c0, j->chunk);
        const float *in = window;
        int64_t pitch = units(cc), c = group * j->in_group + c0;
        if (j->in_place)
            in = j->q.in + b.o0 * (pitch = d->cin) + c;
        else
            fill_window(j, &b, c, cc, window);
        for (int64_t jj = j0; jj < j1; jj += 2 * VL) {
            int64_t n = least(j->out_group - jj, 2 * VL);
            const float *w = panel;
            if (j->fly)
                pack_panel(j, group, jj, n, c0, cc, wide, panel);
            else
                w = packed_at(j, group, jj, c0, cc);
            int64_t next = jj + 2 * VL < j1 ? jj + 2 * VL : j0, next_c0 = next > jj ? c0 : c0 + cc;
            int64_t next_n = least(j->out_group - next, 2 * VL), next_cc = least(j->in_group - next_c0, j->chunk);
            for (int64_t i = 0; i < pieces; i++) {
                piece at = p[i];
                at.c += jj;
                if (j->fly && next_cc > 0)
                    GY_ISAFN(gy_conv_weights_fetch)(&j->q.w, group, next, next_n, next_c0, next_cc, i, pieces);
                piece_table[at.mr - 1][n > VL](j, &at, in, pitch, w, units(cc), n, chunk == 0);
                if (j->q.finish && chunk + 1 == j->chunks) {
                    int64_t col = group * j->out_group + jj;
                    GY_CONV_FINISH(j->q.finish, at.row, at.row + at.mr, col, col + n);
                }
            }
        }
    }
}

void GY_ISAFN(gy_conv_direct)(const gy_conv_direct *q, void *scratch, gy_pool *pool) {
    direct j = direct_of(q);
    if (j.q.d.batch * j.q.d.n_out == 0) return;
    j.row[0] = scratch;
    j.row[1] = j.row[0] + GY_ISAFN(gy_conv_weights_run)(&j.q.w, j.chunk);
    GY_ISAFN(gy_conv_weights_rows)(&j.q.w, j.chunk, j.row[0]);
    if (j.in_group % j.chunk) GY_ISAFN(gy_conv_weights_rows)(&j.q.w, j.in_group % j.chunk, j.row[1]);
    j.packed = (float *)((char *)scratch + row_bytes(&j));
    j.room = (char *)j.packed + packed_bytes(&j);
    if (!j.fly) gy_par(pool, j.q.d.groups * j.panels * j.chunks, pack_tile, &j);
    gy_par(pool, j.q.d.groups * j.plane_blocks * j.line_blocks * j.width_blocks * j.panel_tiles, direct_tile, &j);
}
