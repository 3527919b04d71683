/* The weights' gradient of 3 x 3 and 3 x 3 x 3 convolutions of stride 1 by Winograd's F(4 x 4, 3 x 3), in bf16 F(4 x 2,
 * 3 x 3), along the last two axes (conv_winograd.h): the transpose, with respect to the weights, of what
 * conv_winograd.c and conv_winograd3.c compute.
 *
 *     dg = G^T [ sum_tiles (A dy A^T) . (B^T d B) ] G,    for each tap of the first axis
 *
 * Products run over tiles: W [tap][36][channel in][channel out] = V [36][tile][channel in]^T E [36][tile][channel out].
 *
 * Many channels: all of V and E is written first, 36 / 16 times x and dy (24 / 16 in bf16). Then each tile of threads
 * takes 64 channels in (32 of volumes) and two vectors of channels out through all elements; its part of W (up to 442
 * KiB) stays in the second-level cache, is transformed and goes to dw. So V and E are read from the third level or
 * memory, for (1/64 + 1/32) numbers a multiply-add.
 *
 * Where V and E are larger than W and 10 MiB, which is where maps are large and channels few, each of up to 16 parts of
 * the map has a W of its own. A thread takes a part block by block, of 384 KiB of V and E or of W's size, and in the
 * end the parts' W are added in order. (Threads that share a block's V and E read them from each other's caches: two
 * took longer than one.)
 *
 * Errors: against double, with factors of size at most 1, below 96 x 2^-24 sqrt(positions); in bf16 3.0 to 3.4 times
 * the errors of the direct convolution in bf16 (tests/kernels/test_x86_conv.c).
 *
 * Measured, one thread of Zen 4, AVX-512, FLOPs of the direct convolution against the f32 peak of 118 GFLOP/s (gyrus
 * bench conv --threads 1), f32 and bf16: 64 channels on 56 x 56 3.1, 4.1; 320 on 64 x 64 2.5, 4.0; 640 on 32 x 32 3.1,
 * 4.4; 1280 on 16 x 16 2.5, 3.2; 1280 on 8 x 8 1.2, 1.5 (59 MB of gradient are written); 32 to 32 at 64^3 2.7, 3.9; 64
 * to 64 at 32^3 2.7, 3.9. */
#include "conv_winograd.h"

enum {
    PARTS = 16,       /* at most, ... */
    WHOLES = 8 << 20, /* ... in about so many floats */
    GROUP = 2,        /* tiles of outputs that are transformed together: a pair */
    DEPTH = 8,        /* planes of a block, at most */
    BLOCK = 96 << 10, /* floats of V and E in a block, at least */
    ROOM = 2560 << 10 /* floats that V and E of a whole map may take beyond W's */
};

typedef struct {
    gy_conv_dims d;
    int64_t before[3];
    const float *x, *dy;
    float *dw;
    int64_t taps;                  /* along the first axis: 1 or 3 */
    int64_t samples, planes;       /* the planes of a sample; one tap: those of all */
    int64_t tiles_x, tiles;        /* of a plane */
    int64_t run, runs;             /* a block is some tiles ... */
    int64_t depth, depths, blocks; /* ... of some planes */
    int64_t parts;
    int64_t span, spans;   /* channels in ... */
    int64_t width, panels; /* ... and out of a tile of threads */
    float *shared;         /* one block: V and E; else each part's W */
    char *room;            /* a worker's: its part of W, and of dw before its axes are put in order; or V and E */
    size_t w_bytes, v_bytes, e_bytes, room_bytes;
} gradient;
/* Planes z .. z + depth of a sample, tiles lo .. lo + count of each; their V and E. */
typedef struct {
    const gradient *j;
    int64_t sample, z, depth, lo, count;
    float *v, *e;
} block;

bool GY_ISAFN(gy_conv_winograd_dw_fits)(const gy_conv_attr *a, const gy_conv_dims *d) {
    for (int i = 0; i < 3; i++)
        if ((d->kernel[i] != 3 && (i > 0 || d->kernel[0] != 1)) || a->stride[i] != 1 || a->dilation[i] != 1)
            return false;
    if (d->kernel[0] == 1 && a->before[0] + a->after[0] != 0) return false;
    int64_t filled = d->out[1] * d->out[2], padded = gy_tiles(d->out[1], OUT_Y) * gy_tiles(d->out[2], 4) * 16;
    return d->groups == 1 && 2 * filled > padded && d->cin >= 16 && d->cout >= 16 && d->batch > 0 && d->out[0] > 0;
}

/* Rows of V and E in a plane of a block: tiles, or pairs of them. */
static int64_t plane_rows(const gradient *j) {
    return units(j->run);
}
static int64_t v_plane(const gradient *j) {
    return j->spans * (j->depth + j->taps - 1) * plane_rows(j) * j->span + PAD;
}
static int64_t e_plane(const gradient *j) {
    return j->panels * j->depth * plane_rows(j) * j->width + PAD;
}
static int64_t w_plane(const gradient *j) {
    return j->span * j->width + PAD;
}

static gradient gradient_of(const gy_conv_attr *a, const gy_conv_dims *d) {
    gradient j = {.d = *d, .taps = d->kernel[0]};
    for (int i = 0; i < 3; i++) j.before[i] = a->before[i];
    j.samples = j.taps == 1 ? 1 : d->batch;
    j.planes = j.taps == 1 ? d->batch * d->out[0] : d->out[0];
    j.tiles_x = gy_tiles(d->out[2], OUT_X);
    j.tiles = gy_tiles(d->out[1], OUT_Y) * j.tiles_x;
    j.span = least(j.taps == 1 ? 64 : 32, d->cin);
    j.spans = gy_tiles(d->cin, j.span);
    j.width = d->cout > VL ? 2 * VL : VL;
    j.panels = gy_tiles(d->cout, j.width);
    j.w_bytes = line_bytes(j.taps * ELEMENTS * w_plane(&j));
    j.run = j.tiles;
    j.depth = j.planes;
    int64_t all = ELEMENTS * (v_plane(&j) + e_plane(&j)), whole = (int64_t)(j.w_bytes / sizeof(float));
    whole *= j.spans * j.panels;
    if (j.samples > 1 || all > whole + ROOM) {
        j.depth = gy_tiles(j.planes, gy_tiles(j.planes, DEPTH));
        int64_t tile = ELEMENTS * (j.spans * (j.depth + j.taps - 1) * j.span + j.panels * j.depth * j.width);
        j.runs = gy_tiles(j.tiles, most(GROUP, least(j.tiles, most(BLOCK, whole) * GY_CONV_PAIR / tile)));
        j.run = gy_tiles(gy_tiles(j.tiles, j.runs), GROUP) * GROUP;
    }
    j.runs = gy_tiles(j.tiles, j.run);
    j.depths = gy_tiles(j.planes, j.depth);
    j.blocks = j.samples * j.depths * j.runs;
    j.parts = least(j.blocks, most(2, least(PARTS, WHOLES / whole)));
    j.v_bytes = line_bytes(ELEMENTS * v_plane(&j));
    j.e_bytes = line_bytes(ELEMENTS * e_plane(&j));
    j.room_bytes = line_bytes(9 * j.taps * j.span * j.width) + j.w_bytes;
    if (j.blocks > 1 && j.room_bytes < j.v_bytes + j.e_bytes) j.room_bytes = j.v_bytes + j.e_bytes;
    return j;
}
static size_t shared_bytes(const gradient *j) {
    return j->blocks == 1 ? j->v_bytes + j->e_bytes : (size_t)(j->parts * j->spans * j->panels) * j->w_bytes;
}
size_t GY_ISAFN(gy_conv_winograd_dw_scratch)(const gy_conv_attr *a, const gy_conv_dims *d, int threads) {
    gradient j = gradient_of(a, d);
    return shared_bytes(&j) + (size_t)threads * j.room_bytes;
}
static block block_of(const gradient *j, int64_t i, void *room) {
    block b = {.j = j, .sample = i / j->runs / j->depths, .v = room, .e = (float *)(void *)((char *)room + j->v_bytes)};
    int64_t hi;
    gy_tile_range(j->tiles, j->run, i % j->runs, &b.lo, &hi);
    b.count = hi - b.lo;
    gy_tile_range(j->planes, j->depth, i / j->runs % j->depths, &b.z, &hi);
    b.depth = hi - b.z;
    return b;
}

/* ---- transforms ---- */

/* out = A y of a line with n numbers; elements of out `step` apart. */
GY_INLINE void spread_line(const int n, const vf *y, vf *out, const int step) {
    out[0] = y[0];
    if (n == 2) {
        out[step] = v_add(y[0], y[1]);
        out[2 * step] = v_sub(y[0], y[1]);
        out[3 * step] = v_sub(v_zero(), y[1]);
        return;
    }
    vf even = v_fma(v_set(0.5f), y[2], y[0]), odd = v_fma(v_set(A3), y[3], v_mul(v_set(A1), y[1]));
    out[step] = v_add(even, odd);
    out[2 * step] = v_sub(even, odd);
    even = v_fma(v_set(2.0f), y[2], y[0]);
    odd = v_fma(v_set(B3), y[3], v_mul(v_set(B1), y[1]));
    out[3 * step] = v_add(even, odd);
    out[4 * step] = v_sub(even, odd);
    out[5 * step] = y[3];
}
/* out = G^T w, elements of out `step` apart. */
GY_INLINE void gather_line(const int n, const vf *w, vf *out, const int step) {
    vf s1 = v_add(w[1], w[2]), d1 = v_sub(w[1], w[2]), s2, d2;
    if (n == 2) {
        out[0] = v_fma(v_set(0.5f), s1, w[0]);
        out[step] = v_mul(v_set(0.5f), d1);
        out[2 * step] = v_fma(v_set(0.5f), s1, w[3]);
        return;
    }
    s2 = v_add(w[3], w[4]);
    d2 = v_sub(w[3], w[4]);
    out[0] = v_fma(v_set(1.0f / 6), s2, v_fma(v_set(-2.0f / 3), s1, w[0]));
    out[step] = v_fma(v_set(B1 / 6), d2, v_mul(v_set(-2.0f / 3 * A1), d1));
    out[2 * step] = v_fma(v_set(1.0f / 3), s2, v_fma(v_set(-1.0f / 3), s1, w[5]));
}

/* E of n channels of a tile, of which rows x cols positions exist: element e to `to` + e plane. */
GY_INLINE void gradient_vector(const bool all, const float *dy, int64_t line, int64_t position, int64_t rows,
                               int64_t cols, int64_t n, float *to, int64_t plane) {
    vf half[IN_Y * OUT_X], y[OUT_Y], out[IN_X];
#pragma GCC unroll 4
    for (int k = 0; k < OUT_X; k++) {
#pragma GCC unroll 4
        for (int i = 0; i < OUT_Y; i++) {
            const float *p = dy + i * line + k * position;
            if (all)
                y[i] = v_load(p);
            else
                y[i] = i < rows && k < cols ? v_loadn(p, n) : v_zero();
        }
        spread_line(OUT_Y, y, half + k, OUT_X);
    }
#pragma GCC unroll 6
    for (int i = 0; i < IN_Y; i++) {
        spread_line(OUT_X, half + OUT_X * i, out, 1);
#pragma GCC unroll 6
        for (int k = 0; k < IN_X; k++, to += plane) {
            __asm__("" : "+r"(to)); /* else each plane gets a pointer, more than there are registers */
            v_store(to, out[k]);
        }
    }
}

/* Where channel c of row `row` of a plane of V (width: span) or E of `rows` rows lies. */
static int64_t place(int64_t c, int64_t width, int64_t rows, int64_t row) {
    return (c / width * rows + row) * width + c % width;
}

/* Two tiles' elements to pairs of them; without pairs one tile's were written where they belong. */
#if defined(GY_TIER_avx512bf16)
static void join(float two[2][ELEMENTS * VL], int64_t count, int64_t n, float *to, int64_t plane) {
    if (count < 2) memset(two[1], 0, sizeof two[1]);
    for (int e = 0; e < ELEMENTS; e++, to += plane)
        v_storen(to, gy_conv_pair(v_load(two[0] + e * VL), v_load(two[1] + e * VL)), n);
}
#endif

/* Tiles t .. t + count (at most a pair) of plane k of the block's inputs, or of its gradients. */
static void input_tiles(const block *b, int64_t k, int64_t t, int64_t count) {
    const gradient *j = b->j;
    const gy_conv_dims *d = &j->d;
    int64_t rows = (b->depth + j->taps - 1) * units(b->count), row = k * units(b->count) + t / GY_CONV_PAIR;
    int64_t z = b->z + k - (j->taps == 1 ? 0 : j->before[0]);
    if (j->taps == 3 && (z < 0 || z >= d->in[0])) {
        for (int64_t e = 0; e < ELEMENTS; e++)
            for (int64_t r = row; r < row + units(count); r++)
                for (int64_t c = 0; c < d->cin; c += j->span)
                    memset(b->v + e * v_plane(j) + place(c, j->span, rows, r), 0, (size_t)j->span * sizeof(float));
        return;
    }
    const float *map = j->x + (b->sample * d->in[0] + z) * d->in[1] * d->in[2] * d->cin;
    window w[GROUP];
    for (int64_t i = 0; i < count; i++) {
        int64_t at = b->lo + t + i;
        w[i] = window_of(map, d->in[1], d->in[2], d->cin, at / j->tiles_x * OUT_Y - j->before[1],
                         at % j->tiles_x * OUT_X - j->before[2]);
    }
    for (int64_t c = 0, n; c < d->cin; c += n) {
        n = least(least(d->cin - c, j->span - c % j->span), VL);
#if defined(GY_TIER_avx512bf16)
        float two[2][ELEMENTS * VL];
        for (int64_t i = 0; i < count; i++) transform_input(&w[i], false, c, n, two[i], VL);
        join(two, count, n, b->v + place(c, j->span, rows, row), v_plane(j));
#else
        for (int64_t i = 0; i < count; i++)
            transform_input(&w[i], false, c, n, b->v + place(c, j->span, rows, row + i), v_plane(j));
#endif
    }
}
static void gradient_tiles(const block *b, int64_t k, int64_t t, int64_t count) {
    const gradient *j = b->j;
    const gy_conv_dims *d = &j->d;
    int64_t rows = b->depth * units(b->count), row = k * units(b->count) + t / GY_CONV_PAIR;
    const float *map = j->dy + (b->sample * d->out[0] + b->z + k) * d->out[1] * d->out[2] * d->cout;
    for (int64_t c = 0; c < d->cout; c += VL) {
#if defined(GY_TIER_avx512bf16)
        float two[2][ELEMENTS * VL];
#endif
        for (int64_t i = 0; i < count; i++) {
            int64_t at = b->lo + t + i, y = at / j->tiles_x * OUT_Y, x = at % j->tiles_x * OUT_X;
#if defined(GY_TIER_avx512bf16)
            float *to = two[i];
            int64_t plane = VL;
#else
            float *to = b->e + place(c, j->width, rows, row + i);
            int64_t plane = e_plane(j);
#endif
            const float *from = map + (y * d->out[2] + x) * d->cout + c;
            int64_t line = d->out[2] * d->cout, rest_y = d->out[1] - y, rest_x = d->out[2] - x, n = d->cout - c;
            if (rest_y >= OUT_Y && rest_x >= OUT_X && n >= VL)
                gradient_vector(true, from, line, d->cout, OUT_Y, OUT_X, VL, to, plane);
            else
                gradient_vector(false, from, line, d->cout, rest_y, rest_x, least(n, VL), to, plane);
        }
#if defined(GY_TIER_avx512bf16)
        join(two, count, VL, b->e + place(c, j->width, rows, row), e_plane(j));
#endif
    }
}
static void transform_tile(void *arg, int64_t i, int worker) {
    (void)worker;
    const block *b = arg;
    int64_t groups = gy_tiles(b->count, GROUP), t = i % groups * GROUP, k = i / groups;
    int64_t inputs = b->depth + b->j->taps - 1;
    if (k < inputs)
        input_tiles(b, k, t, least(b->count - t, GROUP));
    else
        gradient_tiles(b, k - inputs, t, least(b->count - t, GROUP));
}
static int64_t transform_tiles(const block *b) {
    return (2 * b->depth + b->j->taps - 1) * gy_tiles(b->count, GROUP);
}

/* ---- products ---- */

/* c[i] += (first: =) sum_t a[t line + i] b[t], i < mr, b and c [..][nv VL]. */
GY_INLINE void sum_tile(const int mr, const int nv, int64_t depth, const float *a, int64_t line, const float *b,
                        float *c, bool first) {
    vf acc[GY_MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++) acc[i][v] = first ? v_zero() : v_load(c + (i * nv + v) * VL);
    for (int64_t t = 0; t < depth; t++, a += line, b += nv * VL) {
        vf b0 = v_load(b), b1 = nv > 1 ? v_load(b + VL) : b0;
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            vf x = v_set(a[i]);
            acc[i][0] = gy_conv_fma(x, b0, acc[i][0]);
            if (nv > 1) acc[i][1] = gy_conv_fma(x, b1, acc[i][1]);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++) v_store(c + (i * nv + v) * VL, acc[i][v]);
}
typedef void (*sum_fn)(int64_t depth, const float *a, int64_t line, const float *b, float *c, bool first);
#define TILE(mr, nv)                                                                                                   \
    static void sum_##mr##x##nv(int64_t depth, const float *a, int64_t line, const float *b, float *c, bool first) {   \
        sum_tile(mr, nv, depth, a, line, b, c, first);                                                                 \
    }
GY_CONV_TILES(TILE)
#undef TILE
#define ROW(mr)                                                                                                        \
    { sum_##mr##x1, sum_##mr##x2 }
static const sum_fn sum_table[GY_MR][2] = {GY_CONV_TABLE(ROW)};
#undef ROW

/* Element e of tap k: w [channel in][channel out] of a span and a panel. */
static void multiply(const block *b, int64_t k, int64_t e, int64_t span, int64_t panel, bool first, float *w) {
    const gradient *j = b->j;
    int64_t c0 = span * j->span, channels = least(j->d.cin - c0, j->span), heights = gy_tiles(channels, GY_MR);
    int64_t plane = units(b->count), rows = b->depth * plane, v_rows = rows + (j->taps - 1) * plane;
    const float *v = b->v + e * v_plane(j) + place(c0, j->span, v_rows, k * plane);
    const float *from = b->e + e * e_plane(j) + place(panel * j->width, j->width, rows, 0);
    w += (k * ELEMENTS + e) * w_plane(j);
    for (int64_t i = 0, r = 0, to; i < heights; i++, r = to) {
        to = channels * (i + 1) / heights;
        sum_table[to - r - 1][j->width > VL](rows, v + r, j->span, from, w + r * j->width, first);
    }
}
/* dw of a span and a panel. */
static void finish(const gradient *j, int64_t span, int64_t panel, const float *w, float *sum) {
    const gy_conv_dims *d = &j->d;
    int64_t c0 = span * j->span, channels = least(d->cin - c0, j->span), plane = w_plane(j);
    int64_t j0 = panel * j->width, n = least(d->cout - j0, j->width), width = gy_tiles(n, VL) * VL;
    for (int64_t k = 0; k < j->taps; k++)
        for (int64_t c = 0; c < channels; c++)
            for (int64_t r = 0; r < width; r += VL) {
                const float *from = w + k * ELEMENTS * plane + c * j->width + r;
                float *to = sum + (9 * k * channels + c) * width + r;
                vf half[3 * IN_X], in[IN_Y], out[3];
#pragma GCC unroll 6
                for (int x = 0; x < IN_X; x++) {
#pragma GCC unroll 6
                    for (int y = 0; y < IN_Y; y++) in[y] = v_load(from + (IN_X * y + x) * plane);
                    gather_line(OUT_Y, in, half + x, IN_X);
                }
#pragma GCC unroll 3
                for (int y = 0; y < 3; y++) {
                    gather_line(OUT_X, half + IN_X * y, out, 1);
                    for (int x = 0; x < 3; x++) v_store(to + (3 * y + x) * channels * width, out[x]);
                }
            }
    GY_ISAFN(gy_conv_weights_unpack)
    (sum, 9 * j->taps, channels, width, n, j->dw + (j0 * d->cin + c0) * 9 * j->taps, d->cin * 9 * j->taps);
}

/* One block: a span and a panel from its products to dw. */
static void whole_tile(void *arg, int64_t i, int worker) {
    const block *b = arg;
    const gradient *j = b->j;
    float *w = (float *)(void *)(j->room + (size_t)worker * j->room_bytes), *sum = w + j->w_bytes / sizeof(float);
    for (int64_t k = 0; k < j->taps; k++)
        for (int64_t e = 0; e < ELEMENTS; e++) multiply(b, k, e, i % j->spans, i / j->spans, true, w);
    finish(j, i % j->spans, i / j->spans, w, sum);
}
/* Several: a part's W, and in the end all parts' of a span and a panel. */
static float *part_of(const gradient *j, int64_t part, int64_t i) {
    return j->shared + (part * j->spans * j->panels + i) * (int64_t)(j->w_bytes / sizeof(float));
}
static void part_tile(void *arg, int64_t part, int worker) {
    const gradient *j = arg;
    int64_t first = j->blocks * part / j->parts, end = j->blocks * (part + 1) / j->parts;
    for (int64_t i = first; i < end; i++) {
        block b = block_of(j, i, j->room + (size_t)worker * j->room_bytes);
        for (int64_t t = 0; t < transform_tiles(&b); t++) transform_tile(&b, t, worker);
        for (int64_t n = 0; n < j->spans * j->panels; n++)
            for (int64_t e = 0; e < ELEMENTS; e++)
                for (int64_t k = 0; k < j->taps; k++)
                    multiply(&b, k, e, n % j->spans, n / j->spans, i == first, part_of(j, part, n));
    }
}
static void finish_tile(void *arg, int64_t n, int worker) {
    const gradient *j = arg;
    float *sum = (float *)(void *)(j->room + (size_t)worker * j->room_bytes), *w = part_of(j, 0, n);
    for (int64_t part = 1; part < j->parts; part++) {
        const float *more = part_of(j, part, n);
        for (int64_t i = 0; i < (int64_t)(j->w_bytes / sizeof(float)); i += VL)
            v_store(w + i, v_add(v_load(w + i), v_load(more + i)));
    }
    finish(j, n % j->spans, n / j->spans, w, sum);
}

void GY_ISAFN(gy_conv_winograd_dw)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *dy,
                                   float *dw, void *scratch, gy_pool *pool) {
    gradient j = gradient_of(a, d);
    j.x = x;
    j.dy = dy;
    j.dw = dw;
    j.shared = scratch;
    j.room = (char *)scratch + shared_bytes(&j);
    if (j.blocks == 1) {
        block b = block_of(&j, 0, scratch);
        gy_par(pool, transform_tiles(&b), transform_tile, &b);
        gy_par(pool, j.spans * j.panels, whole_tile, &b);
        return;
    }
    gy_par(pool, j.parts, part_tile, &j);
    gy_par(pool, j.spans * j.panels, finish_tile, &j);
}
