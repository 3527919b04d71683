/* 3 x 3 x 3 convolution of stride 1 by Winograd's F(4 x 4, 3 x 3) along the last two axes (conv_winograd.h), in bf16
 * F(4 x 2, 3 x 3), and plain sums along the first: a tile of 16 outputs of one channel pair takes 3 x 36
 * multiplications instead of 432. With F(2 x 2 x 2, 3 x 3 x 3) it would be a few less, but 8 elements an output have to
 * be transformed and moved instead of 36 / 16, and with 16 to 64 channels that costs more: it reached 1.66, 2.09
 * and 2.48 where this one reaches the figures below.
 *
 * Networks of volumes have few channels and many positions, the opposite of what conv_winograd.c is made for. So all
 * weights are transformed first, U [panel of two vectors of output channels][36][tap][channel][panel]. Then a tile of
 * threads takes a run, up to 28 tiles of up to 8 neighbouring planes: V [36][tile][plane][channel] of these planes and
 * the one before and behind, in which the three taps of an output are adjacent; for each panel 36 products M
 * [36][plane][tile][panel], up to 28 rows at a time, and the outputs from M. V takes at most 384 KiB; U of 32 channels
 * 442, M 126.
 *
 * Errors: against double, with factors of size at most 1, below 96 x 2^-24 sqrt(27 Cin)
 * (tests/kernels/test_x86_conv.c). In bf16 3.0 to 3.4 times the errors of the direct convolution in bf16 there, as
 * derived in conv_winograd.h. A plan leaves this kernel out with GY_PASS_WINOGRAD or GYRUS_WINOGRAD=0.
 *
 * Measured, one thread of Zen 4, AVX-512, FLOPs of the direct convolution against the f32 peak of 118 GFLOP/s (gyrus
 * bench conv --threads 1), f32 and bf16: 16 to 16 channels at 96^3 2.4, 2.8; 32 to 32 at 64^3 3.0, 4.2; 64 to 64 at
 * 32^3 3.2, 4.8; data gradients the same. */
#include "conv_product.h"

enum {
    CHUNK = 32,        /* input channels whose weights are transformed at once */
    ROWS = 28,         /* tiles that go through the products together */
    BUDGET = 96 << 10, /* floats of V */
    DEPTH = 8,         /* outputs along the first axis of a run, at most */
    SPREAD = 16        /* runs that threads should find, at least */
};

typedef struct {
    gy_conv_direct q;
    int64_t tiles_x, tiles;         /* of a plane */
    int64_t run, runs;              /* tiles of a plane that go together ... */
    int64_t depth, depths;          /* ... and outputs along the first axis */
    int64_t chunk, chunks, panels;  /* of the weights */
    int64_t per_item, panel_groups; /* panels that a run does */
    int32_t *row[2];
    float *u;
    char *room; /* a worker's: packed weights, or V and M */
    size_t u_bytes, row_bytes, v_bytes, room_bytes;
} winograd;

bool GY_ISAFN(gy_conv_winograd3_fits)(const gy_conv_direct *q) {
    const gy_conv_dims *d = &q->d;
    for (int i = 0; i < 3; i++)
        if (d->kernel[i] != 3 || q->stride[i] != 1 || q->dilation[i] != 1 || q->step[i] != 1 || q->first[i] != 0)
            return false;
    int64_t filled = d->out[1] * d->out[2], padded = gy_tiles(d->out[1], OUT_Y) * gy_tiles(d->out[2], 4) * 16;
    return d->groups == 1 && 2 * filled > padded && d->cin >= 16 && d->cin <= 128 && d->cout >= 16 && d->batch > 0;
}

/* Floats of a panel of U, and between two planes of V and of M. */
static int64_t u_panel(const winograd *j) {
    return ELEMENTS * 3 * units(j->q.d.cin) * 2 * VL;
}
static int64_t v_plane(const winograd *j) {
    return (j->depth + 2) * j->run * units(j->q.d.cin) + PAD;
}
enum { M_PLANE = ROWS * 2 * VL + PAD };

static winograd winograd_of(const gy_conv_direct *q) {
    winograd j = {.q = *q};
    const gy_conv_dims *d = &q->d;
    j.tiles_x = gy_tiles(d->out[2], OUT_X);
    j.tiles = gy_tiles(d->out[1], OUT_Y) * j.tiles_x;
    j.depth = gy_tiles(d->out[0], gy_tiles(d->out[0], DEPTH));
    j.depths = gy_tiles(d->out[0], j.depth);
    j.run = most(1, least(j.tiles, least(ROWS, BUDGET / (ELEMENTS * units(d->cin) * (j.depth + 2)))));
    if (j.run > GY_MR) j.run -= j.run % GY_MR;
    j.run = gy_tiles(j.tiles, gy_tiles(j.tiles, j.run));
    j.runs = gy_tiles(j.tiles, j.run);
    j.chunk = least(CHUNK, d->cin);
    j.chunks = gy_tiles(d->cin, j.chunk);
    j.panels = gy_tiles(d->cout, 2 * VL);
    j.panel_groups = least(j.panels, gy_tiles(SPREAD, d->batch * j.depths * j.runs));
    j.per_item = gy_tiles(j.panels, j.panel_groups);
    j.panel_groups = gy_tiles(j.panels, j.per_item);
    j.u_bytes = line_bytes(j.panels * u_panel(&j));
    j.row_bytes = line_bytes(2 * GY_ISAFN(gy_conv_weights_run)(&q->w, j.chunk));
    j.v_bytes = line_bytes(ELEMENTS * v_plane(&j));
    j.room_bytes = j.v_bytes + line_bytes(ELEMENTS * M_PLANE);
    size_t packed = line_bytes(27 * j.chunk * 2 * VL);
    if (j.room_bytes < packed) j.room_bytes = packed;
    return j;
}

size_t GY_ISAFN(gy_conv_winograd3_scratch)(const gy_conv_direct *q, int threads) {
    winograd j = winograd_of(q);
    return j.row_bytes + j.u_bytes + (size_t)threads * j.room_bytes;
}

/* One panel and one chunk of channels of U. */
static void weights_tile(void *arg, int64_t t, int worker) {
    const winograd *j = arg;
    const gy_conv_dims *d = &j->q.d;
    float *packed = (float *)(void *)(j->room + (size_t)worker * j->room_bytes);
    int64_t panel = t / j->chunks, c0 = t % j->chunks * j->chunk, cc = least(d->cin - c0, j->chunk);
    int64_t j0 = panel * 2 * VL, n = least(d->cout - j0, 2 * VL), width = gy_tiles(n, VL) * VL;
    int64_t tap = units(d->cin) * width;
    float *u = j->u + panel * u_panel(j) + units(c0) * width;
    GY_ISAFN(gy_conv_weights_pack)(&j->q.w, j->row[cc != j->chunk], 0, j0, n, c0, cc, packed);
    for (int64_t k = 0; k < 3; k++) transform_weights(packed + 9 * k * cc * width, cc, width, u + k * tap, 3 * tap);
}

/* A run: tiles `lo` .. `lo + count` of planes `z` .. `z + depth` of a sample. */
typedef struct {
    int64_t sample, z, depth, lo, count;
} run;

/* V [element][tile][plane][channel], planes from the first one that an output reads: what an output's taps read of an
 * element is adjacent. */
static void inputs(const winograd *j, const run *r, float *v) {
    const gy_conv_dims *d = &j->q.d;
    int64_t cu = units(d->cin), plane = v_plane(j), pitch = (r->depth + 2) * cu;
    for (int64_t k = 0; k < r->depth + 2; k++) {
        int64_t z = r->z + k - j->q.before[0];
        float *to = v + k * cu;
        if (z < 0 || z >= d->in[0]) {
            for (int64_t e = 0; e < ELEMENTS; e++)
                for (int64_t t = 0; t < r->count; t++)
                    memset(to + e * plane + t * pitch, 0, (size_t)cu * sizeof(float));
            continue;
        }
        const float *map = j->q.in + (r->sample * d->in[0] + z) * d->in[1] * d->in[2] * d->cin;
        for (int64_t t = r->lo; t < r->lo + r->count; t++, to += pitch) {
            window w = window_of(map, d->in[1], d->in[2], d->cin, t / j->tiles_x * OUT_Y - j->q.before[1],
                                 t % j->tiles_x * OUT_X - j->q.before[2]);
            for (int64_t c = 0; c < d->cin; c += VL)
                transform_input(&w, GY_CONV_PAIR == 2, c, least(d->cin - c, VL), to + c / GY_CONV_PAIR, plane);
        }
    }
}

/* Rows lo .. hi of the run (plane, tile): columns j0 .. j0+n from M, and the epilogue. */
static void outputs(const winograd *j, const run *r, int64_t lo, int64_t hi, const float *m, int64_t j0, int64_t n) {
    const gy_conv_dims *d = &j->q.d;
    int64_t width = gy_tiles(n, VL) * VL;
    for (int64_t i = lo, end; i < hi; i = end) { /* tiles beside each other */
        int64_t t = r->lo + i % r->count, y = t / j->tiles_x * OUT_Y, x = t % j->tiles_x * OUT_X;
        end = least(hi, i + least(j->tiles_x - t % j->tiles_x, r->count - i % r->count));
        int64_t rows = least(d->out[1] - y, OUT_Y), cols = least(d->out[2] - x, (end - i) * OUT_X);
        int64_t at = ((r->sample * d->out[0] + r->z + i / r->count) * d->out[1] + y) * d->out[2] + x;
        float *c = j->q.out + at * d->cout + j0;
        for (int64_t k = i; k < end; k++, c += OUT_X * d->cout)
            store_outputs(m + (k - lo) * width, M_PLANE, n, c, d->out[2] * d->cout, d->cout, rows,
                          least(cols - (k - i) * OUT_X, OUT_X));
        if (j->q.finish)
            for (int64_t k = 0; k < rows; k++, at += d->out[2]) GY_CONV_FINISH(j->q.finish, at, at + cols, j0, j0 + n);
    }
}

static void run_tile(void *arg, int64_t t, int worker) {
    const winograd *j = arg;
    const gy_conv_dims *d = &j->q.d;
    char *room = j->room + (size_t)worker * j->room_bytes;
    float *v = (float *)(void *)room, *m = (float *)(void *)(room + j->v_bytes);
    int64_t group = t % j->panel_groups, hi;
    run r = {.sample = t / j->panel_groups / j->runs / j->depths};
    gy_tile_range(j->tiles, j->run, t / j->panel_groups % j->runs, &r.lo, &hi);
    r.count = hi - r.lo;
    gy_tile_range(d->out[0], j->depth, t / j->panel_groups / j->runs % j->depths, &r.z, &hi);
    r.depth = hi - r.z;
    inputs(j, &r, v);
    int64_t pitch = (r.depth + 2) * units(d->cin), depth = 3 * units(d->cin), heights = gy_tiles(r.count, GY_MR);
    int64_t together = most(1, ROWS / r.count); /* planes */
    for (int64_t panel = group * j->per_item; panel < least(j->panels, (group + 1) * j->per_item); panel++) {
        int64_t j0 = panel * 2 * VL, n = least(d->cout - j0, 2 * VL), nv = gy_tiles(n, VL), width = nv * VL;
        for (int64_t z = 0, end; z < r.depth; z = end) {
            end = least(r.depth, z + together);
            for (int64_t e = 0; e < ELEMENTS; e++) {
                const float *u = j->u + panel * u_panel(j) + e * depth * width;
                float *to = m + e * M_PLANE;
                for (int64_t k = z; k < end; k++)
                    for (int64_t i = 0, from = 0; i < heights; i++, from = hi) {
                        hi = r.count * (i + 1) / heights;
                        product_table[hi - from - 1][nv - 1](v + e * v_plane(j) + from * pitch + k * units(d->cin),
                                                             pitch, depth, u, to, true);
                        to += (hi - from) * width;
                    }
            }
            outputs(j, &r, z * r.count, end * r.count, m, j0, n);
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
    gy_par(pool, q->d.batch * j.depths * j.runs * j.panel_groups, run_tile, &j);
}
