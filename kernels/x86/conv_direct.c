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
 * The tiling: a chunk is such that a register tile does about 288 multiply-adds between two visits to C (32 channels of
 * 3 x 3 taps: loading and storing C is 56 of 8000 cycles); windows are at most a quarter of the second-level cache; a
 * panel of weights (36 KiB there) passes through all of the block while it stays in that cache. Taps of the outer axes
 * that fall outside the input are left out. All of it follows from shapes alone.
 *
 * The data gradient is the same with the taps backwards; with strides, once a phase, whose rows go straight to their
 * places in x.
 */
#include "conv.h"

enum {
    STEPS = 1152,     /* multiply-adds a register tile does between two visits to C, about */
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
    bool joined;                           /* the taps of neighbouring channels are adjacent in memory */
    int32_t *row[2];                       /* see fill_rows: of a chunk, of a shorter last one */
    float *packed;
    char *room; /* a worker's: window, panel, pieces */
    size_t window_bytes, panel_bytes, room_bytes;
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
    j.chunks = gy_tiles(j.in_group, up(most(STEPS / most(j.taps, 1), 1), 16));
    j.chunk = j.chunks > 1 ? up(gy_tiles(j.in_group, j.chunks), 16) : j.in_group;
    j.chunks = gy_tiles(j.in_group, j.chunk);
    j.joined = j.q.w_channel == j.q.w_taps;
    j.padded = up(j.out_group, VL);
    j.panels = gy_tiles(j.out_group, 2 * VL);
    /* the block */
    j.width_blocks = gy_tiles(d->out[2], 512);
    j.width = gy_tiles(d->out[2], j.width_blocks);
    j.window_width = most((j.width - 1) * s[2] + most(k[2] - 1, 0) * dil[2] + 1, 1);
    int64_t planes = d->batch * d->out[0], line_floats = most(k[0], 1) * j.window_width * j.chunk;
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
    j.in_place = j.taps == 1 && one_line && s[2] == 1 && j.q.before[2] == 0 && d->cin % 512 != 0;
    j.window_bytes =
        j.in_place ? 0
                   : line_bytes(j.planes * most(k[0], 1) * j.window_lines * j.window_width * j.chunk, sizeof(float));
    j.panel_bytes = j.fly ? line_bytes(2 * VL * j.taps * j.chunk, sizeof(float)) : 0;
    j.room_bytes = j.window_bytes + j.panel_bytes + line_bytes(j.pieces, sizeof(piece));
    return j;
}

static size_t packed_bytes(const direct *j) {
    return j->fly ? 0 : line_bytes(j->q.d.groups * j->taps * j->in_group * j->padded, sizeof(float));
}

static size_t row_bytes(const direct *j) {
    return line_bytes(2 * j->q.w_taps * (j->joined ? j->chunk : 1), sizeof(int32_t));
}

size_t GY_ISAFN(gy_conv_direct_scratch)(const gy_conv_direct *q, int threads) {
    direct j = direct_of(q);
    return row_bytes(&j) + packed_bytes(&j) + (size_t)threads * j.room_bytes;
}

/* ---- weights ---- */

/* The packed row of element e of a run, or -1: no tap of this convolution. A run is what lies adjacent in memory: the
 * taps of one channel, or of all the cc channels of a chunk. */
static void fill_rows(const direct *j, int64_t cc, int32_t *row) {
    const gy_conv_direct *q = &j->q;
    const int64_t *k = q->d.kernel;
    int64_t channels = j->joined ? cc : 1;
    for (int64_t i = 0; i < channels * q->w_taps; i++) row[i] = -1;
    int64_t n = 0;
    for (int64_t k0 = 0; k0 < k[0]; k0++)
        for (int64_t k1 = 0; k1 < k[1]; k1++)
            for (int64_t k2 = 0; k2 < k[2]; k2++, n += cc) {
                int64_t tap = q->tap + k0 * q->tap_step[0] + k1 * q->tap_step[1] + k2 * q->tap_step[2];
                for (int64_t c = 0; c < channels; c++) row[c * q->w_taps + tap] = (int32_t)(n + c);
            }
}

/* Columns j0 .. j0+n of channels c0 .. c0+cc of a group as [tap][channel][width]. */
static void pack_panel(const direct *j, int64_t group, int64_t j0, int64_t n, int64_t c0, int64_t cc, float *dst) {
    const gy_conv_direct *q = &j->q;
    int64_t width = up(n, VL), line = q->w_line, step = j->joined ? cc : 1, run = step * q->w_taps;
    const float *w = q->w + group * q->w_group + j0 * line + c0 * q->w_channel;
    const int32_t *row = j->row[cc != j->chunk];
    if (j->taps == 0) return; /* a phase that no tap reaches */
    for (int64_t r = 0; r < width; r += VL, w += VL * line) {
        int64_t lines = least(n - r, VL);
        for (int64_t c = 0; c < cc; c += step) {
            const float *from = w + c * q->w_channel;
            float *to = dst + c * width + r;
            if (line == 1) { /* columns are adjacent; one tap */
                v_store(to, lines == VL ? v_load(from) : v_loadn(from, lines));
                continue;
            }
            int64_t p = 0;
            for (; p + VL <= run && lines == VL; p += VL) {
                vf b[VL];
#pragma GCC unroll 16
                for (int i = 0; i < VL; i++) b[i] = v_load(from + i * line + p);
                v_transpose(b);
#pragma GCC unroll 16
                for (int i = 0; i < VL; i++)
                    if (row[p + i] >= 0) v_store(to + row[p + i] * width, b[i]);
            }
            for (; p < run; p += VL) {
                int64_t np = least(run - p, VL);
                vf b[VL];
                for (int i = 0; i < VL; i++) b[i] = i < lines ? v_loadn(from + i * line + p, np) : v_zero();
                v_transpose(b);
                for (int i = 0; i < np; i++)
                    if (row[p + i] >= 0) v_store(to + row[p + i] * width, b[i]);
            }
        }
    }
}

/* Asks for the part'th of `parts` pieces of what pack_panel will read. */
static void fetch_panel(const direct *j, int64_t group, int64_t j0, int64_t n, int64_t c0, int64_t cc, int64_t part,
                        int64_t parts) {
    const gy_conv_direct *q = &j->q;
    bool joined = j->joined;
    const float *w = q->w + group * q->w_group + j0 * q->w_line + c0 * q->w_channel;
    int64_t rows = joined ? n : cc, step = joined ? q->w_line : q->w_channel, run = (joined ? cc : n) * q->w_taps;
    for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++)
        for (int64_t e = 0; e < run; e += 16) __builtin_prefetch(w + r * step + e, 0, 2);
}

static void pack_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const direct *j = arg;
    int64_t chunk = t % j->chunks, j0 = t / j->chunks % j->panels * 2 * VL, group = t / j->chunks / j->panels;
    int64_t c0 = chunk * j->chunk, cc = least(j->in_group - c0, j->chunk), n = least(j->out_group - j0, 2 * VL);
    float *dst = j->packed + j->taps * ((group * j->in_group + c0) * j->padded + j0 * cc);
    pack_panel(j, group, j0, n, c0, cc, dst);
}

/* ---- the window ---- */

/* Floats of n positions, `run` of the `stride` floats of each. */
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

typedef struct {
    int64_t plane0, plane1, line0, line1, o0, o1; /* planes, lines, positions along a line */
} block;

static void fill_window(const direct *j, const block *b, int64_t channel, int64_t cc, float *to) {
    const gy_conv_direct *q = &j->q;
    const gy_conv_dims *d = &q->d;
    int64_t first = b->o0 * q->stride[2] - q->before[2], n = (b->o1 - b->o0 - 1) * q->stride[2] + 1;
    n += most(d->kernel[2] - 1, 0) * q->dilation[2];
    int64_t lo = least(most(-first, 0), n), hi = most(least(d->in[2] - first, n), lo);
    int64_t lines = (b->line1 - b->line0 - 1) * q->stride[1] + 1 + most(d->kernel[1] - 1, 0) * q->dilation[1];
    for (int64_t plane = b->plane0; plane < b->plane1; plane++)
        for (int64_t k0 = 0; k0 < d->kernel[0]; k0++, to += j->window_lines * j->window_width * cc) {
            int64_t i0 = plane % d->out[0] * q->stride[0] - q->before[0] + k0 * q->dilation[0];
            if (i0 < 0 || i0 >= d->in[0]) continue;
            const float *in = q->in + (plane / d->out[0] * d->in[0] + i0) * d->in[1] * d->in[2] * d->cin + channel;
            for (int64_t l = 0; l < lines; l++) {
                int64_t i1 = b->line0 * q->stride[1] - q->before[1] + l;
                if (i1 < 0 || i1 >= d->in[1]) continue;
                float *line = to + l * j->window_width * cc;
                memset(line, 0, (size_t)(lo * cc) * sizeof(float));
                copy_positions(in + (i1 * d->in[2] + first + lo) * d->cin, d->cin, cc, hi - lo, line + lo * cc);
                memset(line + hi * cc, 0, (size_t)((n - hi) * cc) * sizeof(float));
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

enum { BASES = (GY_MR + 2) / 3 };

/* c[i, 0..n) += (first: =) the taps of p times w, w [tap][cc][nv VL]. Rows lie `row` floats apart in the window: every
 * third has a pointer of its own, which all are moved on together, and the others are one and two rows away from it,
 * which addressing does for free. */
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
            for (int64_t k2 = 0; k2 < runs; k2++, a += q->dilation[2] * cc) {
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
            }
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
#define ROW(mr)                                                                                                        \
    { piece_##mr##x1, piece_##mr##x2 }
static const piece_fn piece_table[GY_MR][2] = {
    ROW(1), ROW(2), ROW(3), ROW(4),  ROW(5),  ROW(6),
#if !defined(GY_TIER_avx2)
    ROW(7), ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14),
#endif
};
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
    piece *p = (piece *)(room + j->window_bytes + j->panel_bytes);
    int64_t pieces = b.o1 > b.o0 && b.line1 > b.line0 ? list_pieces(j, &b, group, p) : 0;
    if (!pieces) return;
    int64_t j0 = tile * j->per_tile * 2 * VL, j1 = least(j->out_group, j0 + j->per_tile * 2 * VL);
    for (int64_t chunk = 0; chunk < j->chunks; chunk++) {
        int64_t c0 = chunk * j->chunk, cc = least(j->in_group - c0, j->chunk);
        const float *in = window;
        int64_t pitch = cc, c = group * j->in_group + c0;
        if (j->in_place)
            in = j->q.in + b.o0 * (pitch = d->cin) + c;
        else
            fill_window(j, &b, c, cc, window);
        for (int64_t jj = j0; jj < j1; jj += 2 * VL) {
            int64_t n = least(j->out_group - jj, 2 * VL);
            const float *w = panel;
            if (j->fly)
                pack_panel(j, group, jj, n, c0, cc, panel);
            else
                w = j->packed + j->taps * ((group * j->in_group + c0) * j->padded + jj * cc);
            int64_t next = jj + 2 * VL < j1 ? jj + 2 * VL : j0, next_c0 = next > jj ? c0 : c0 + cc;
            int64_t next_n = least(j->out_group - next, 2 * VL), next_cc = least(j->in_group - next_c0, j->chunk);
            for (int64_t i = 0; i < pieces; i++) {
                piece at = p[i];
                at.c += jj;
                if (j->fly && next_cc > 0) fetch_panel(j, group, next, next_n, next_c0, next_cc, i, pieces);
                piece_table[at.mr - 1][n > VL](j, &at, in, pitch, w, cc, n, chunk == 0);
                if (j->q.finish && chunk + 1 == j->chunks) {
                    int64_t col = group * j->out_group + jj;
                    GY_ISAFN(gy_gemm_finish_f32)(j->q.finish, at.row, at.row + at.mr, col, col + n);
                }
            }
        }
    }
}

void GY_ISAFN(gy_conv_direct)(const gy_conv_direct *q, void *scratch, gy_pool *pool) {
    direct j = direct_of(q);
    if (j.q.d.batch * j.q.d.n_out == 0) return;
    j.row[0] = scratch;
    j.row[1] = j.row[0] + j.q.w_taps * (j.joined ? j.chunk : 1);
    fill_rows(&j, j.chunk, j.row[0]);
    if (j.in_group % j.chunk) fill_rows(&j, j.in_group % j.chunk, j.row[1]);
    j.packed = (float *)((char *)scratch + row_bytes(&j));
    j.room = (char *)j.packed + packed_bytes(&j);
    if (!j.fly) gy_par(pool, j.q.d.groups * j.panels * j.chunks, pack_tile, &j);
    gy_par(pool, j.q.d.groups * j.plane_blocks * j.line_blocks * j.width_blocks * j.panel_tiles, direct_tile, &j);
}
