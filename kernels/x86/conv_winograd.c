/* 3 x 3 convolution of stride 1 with many channels by Winograd's minimal filtering F(4 x 4, 3 x 3) (conv_winograd.h): a
 * tile of 4 x 4 outputs of one channel pair takes 36 multiplications instead of 144. In bf16 F(4 x 2, 3 x 3), 24
 * instead of 72, and pairs of channels.
 *
 * The elements of the transformed tiles make 36 (24) matrix products over input channels, which is where the time goes:
 *
 * 1. All tiles of a block (at most 56; 112 in bf16) are transformed: V [chunk of channels][36][tile][channel].
 * 2. A tile of threads takes a panel of two vectors of output channels. Chunk by chunk it packs and transforms the
 *    weights, U [36][channel][panel], adds the 36 products to M [36][tile][panel], and in the end transforms M. U and M
 *    stay in the second-level cache (24 channels of U take 110 KiB, M 252, the part of V that passes through 189; 48
 *    channels in bf16 74, M 344, V 258), so weights are read once a block, in their own layout, and nothing is kept of
 *    them between calls.
 *
 * Errors: against double, with factors of size at most 1, below 48 x 2^-24 sqrt(9 Cin) (tests/kernels/test_x86_conv.c;
 * the largest seen there is 35), where a plain sum of 9 Cin such products stays below about 1. In bf16 3.0 to 3.4 times
 * the errors of the direct convolution in bf16 there, as derived in conv_winograd.h. A plan leaves this kernel out with
 * GY_PASS_WINOGRAD or GYRUS_WINOGRAD=0.
 *
 * FLOPs of the products 2 x 36 / 144 of the direct ones, in bf16 24 / 72. Measured, one thread of Zen 4, AVX-512, FLOPs
 * of the direct convolution against the f32 peak of 118 GFLOP/s (gyrus bench conv --threads 1), f32 and bf16: 320 to
 * 320 channels on 64 x 64: 2.9, 4.1; 640 on 32 x 32: 2.9, 4.2; 1280 on 16 x 16: 2.8, 3.7; 64 on 56 x 56: 2.8, 3.4. On
 * few tiles packing and transforming the weights is most of the time. Two threads: 1.9 to 2.0 times as fast. */
#include "conv_product.h"

enum {
    TILES = GY_CONV_PAIR == 2 ? 112 : 56,
    CHUNK = GY_CONV_PAIR == 2 ? 48 : 24,
    GROUP = 4 /* tiles that one thread transforms: neighbours share cache lines of V, two of 24 floats fill three */
};

typedef struct {
    gy_conv_direct q;
    int64_t tiles_y, tiles_x, tiles, block, blocks; /* tiles of outputs, of all samples, in blocks */
    int64_t chunk, chunks, panels;
    int64_t first, count; /* tiles of the block at work */
    int32_t *row[2];
    float *v;
    char *room; /* a worker's: packed weights, U, M */
    size_t packed_bytes, u_bytes, m_bytes, room_bytes;
} winograd;

bool GY_ISAFN(gy_conv_winograd_fits)(const gy_conv_direct *q) {
    const gy_conv_dims *d = &q->d;
    if (d->groups != 1 || d->kernel[0] != 1 || d->kernel[1] != 3 || d->kernel[2] != 3 || d->in[0] != 1 ||
        d->out[0] != 1 || q->before[0] != 0)
        return false;
    for (int i = 1; i < 3; i++)
        if (q->stride[i] != 1 || q->dilation[i] != 1 || q->step[i] != 1 || q->first[i] != 0 || d->out[i] < 8)
            return false;
    return d->cin >= 48 && d->cout >= 32 && d->batch > 0;
}

static winograd winograd_of(const gy_conv_direct *q) {
    winograd j = {.q = *q};
    const gy_conv_dims *d = &q->d;
    j.tiles_y = gy_tiles(d->out[1], OUT_Y);
    j.tiles_x = gy_tiles(d->out[2], OUT_X);
    j.tiles = d->batch * j.tiles_y * j.tiles_x;
    j.blocks = gy_tiles(j.tiles, TILES);
    j.block = gy_tiles(j.tiles, j.blocks);
    j.chunk = least(CHUNK, d->cin);
    j.chunks = gy_tiles(d->cin, j.chunk);
    j.panels = gy_tiles(d->cout, 2 * VL);
    j.packed_bytes = line_bytes(9 * j.chunk * 2 * VL);
    j.u_bytes = line_bytes(ELEMENTS * (units(j.chunk) * 2 * VL + PAD));
    j.m_bytes = line_bytes(ELEMENTS * (j.block * 2 * VL + PAD));
    j.room_bytes = j.packed_bytes + j.u_bytes + j.m_bytes;
    return j;
}
/* Floats between two of the planes of V. */
static int64_t v_plane(const winograd *j) {
    return j->block * units(j->chunk) + PAD;
}
static size_t v_bytes(const winograd *j) {
    return line_bytes(j->chunks * ELEMENTS * v_plane(j));
}
static size_t row_bytes(const winograd *j) {
    return line_bytes(2 * GY_ISAFN(gy_conv_weights_run)(&j->q.w, j->chunk));
}

size_t GY_ISAFN(gy_conv_winograd_scratch)(const gy_conv_direct *q, int threads) {
    winograd j = winograd_of(q);
    return row_bytes(&j) + v_bytes(&j) + (size_t)threads * j.room_bytes;
}

/* Where a tile begins. */
static void tile_at(const winograd *j, int64_t t, int64_t *sample, int64_t *y, int64_t *x) {
    *x = t % j->tiles_x * OUT_X;
    *y = t / j->tiles_x % j->tiles_y * OUT_Y;
    *sample = t / j->tiles_x / j->tiles_y;
}

static void input_tile(void *arg, int64_t group, int worker) {
    (void)worker;
    const winograd *j = arg;
    const gy_conv_dims *d = &j->q.d;
    for (int64_t t = group * GROUP; t < least(j->count, (group + 1) * GROUP); t++) {
        int64_t sample, y, x;
        tile_at(j, j->first + t, &sample, &y, &x);
        window w = window_of(j->q.in + sample * d->n_in * d->cin, d->in[1], d->in[2], d->cin, y - j->q.before[1],
                             x - j->q.before[2]);
        for (int64_t c = 0, n; c < d->cin; c += n) {
            int64_t chunk = c / j->chunk, e = c % j->chunk, width = least(d->cin - c + e, j->chunk);
            float *to = j->v + chunk * ELEMENTS * v_plane(j) + t * units(width) + e / GY_CONV_PAIR;
            n = least(width - e, VL);
            transform_input(&w, GY_CONV_PAIR == 2, c, n, to, v_plane(j));
        }
    }
}

/* The outputs of tile t of the block, columns j0 .. j0+n. */
static void output_tile(const winograd *j, int64_t t, const float *m, int64_t plane, int64_t j0, int64_t n) {
    const gy_conv_dims *d = &j->q.d;
    int64_t sample, y, x;
    tile_at(j, j->first + t, &sample, &y, &x);
    int64_t rows = least(d->out[1] - y, OUT_Y), cols = least(d->out[2] - x, OUT_X);
    int64_t at = (sample * d->out[1] + y) * d->out[2] + x;
    store_outputs(m, plane, n, j->q.out + at * d->cout + j0, d->out[2] * d->cout, d->cout, rows, cols);
    if (j->q.finish)
        for (int64_t i = 0; i < rows; i++, at += d->out[2]) GY_CONV_FINISH(j->q.finish, at, at + cols, j0, j0 + n);
}

static void panel_tile(void *arg, int64_t t, int worker) {
    const winograd *j = arg;
    const gy_conv_dims *d = &j->q.d;
    char *room = j->room + (size_t)worker * j->room_bytes;
    float *packed = (float *)room, *u = (float *)(room + j->packed_bytes);
    float *m = (float *)(room + j->packed_bytes + j->u_bytes);
    int64_t j0 = t * 2 * VL, n = least(d->cout - j0, 2 * VL), nv = gy_tiles(n, VL), width = nv * VL;
    int64_t m_plane = j->block * width + PAD, heights = gy_tiles(j->count, GY_MR);
    for (int64_t chunk = 0; chunk < j->chunks; chunk++) {
        int64_t c0 = chunk * j->chunk, cc = least(d->cin - c0, j->chunk), cu = units(cc), u_plane = cu * width + PAD;
        GY_ISAFN(gy_conv_weights_pack)(&j->q.w, j->row[cc != j->chunk], 0, j0, n, c0, cc, packed);
        transform_weights(packed, cc, width, u, u_plane);
        for (int64_t e = 0; e < ELEMENTS; e++) {
            const float *v = j->v + (chunk * ELEMENTS + e) * v_plane(j);
            int64_t next_c0 = c0 + cc, next_cc = least(d->cin - next_c0, j->chunk);
            if (next_cc > 0) GY_ISAFN(gy_conv_weights_fetch)(&j->q.w, 0, j0, n, next_c0, next_cc, e, ELEMENTS);
            for (int64_t i = 0, lo = 0; i < heights; i++) {
                int64_t hi = j->count * (i + 1) / heights;
                product_table[hi - lo - 1][nv - 1](v + lo * cu, cu, cu, u + e * u_plane, m + e * m_plane + lo * width,
                                                   chunk == 0);
                lo = hi;
            }
        }
    }
    for (int64_t i = 0; i < j->count; i++) output_tile(j, i, m + i * width, m_plane, j0, n);
}

void GY_ISAFN(gy_conv_winograd)(const gy_conv_direct *q, void *scratch, gy_pool *pool) {
    winograd j = winograd_of(q);
    j.row[0] = scratch;
    j.row[1] = j.row[0] + GY_ISAFN(gy_conv_weights_run)(&q->w, j.chunk);
    GY_ISAFN(gy_conv_weights_rows)(&q->w, j.chunk, j.row[0]);
    if (q->d.cin % j.chunk) GY_ISAFN(gy_conv_weights_rows)(&q->w, q->d.cin % j.chunk, j.row[1]);
    j.v = (float *)((char *)scratch + row_bytes(&j));
    j.room = (char *)j.v + v_bytes(&j);
    for (j.first = 0; j.first < j.tiles; j.first += j.block) {
        j.count = least(j.tiles - j.first, j.block);
        gy_par(pool, gy_tiles(j.count, GROUP), input_tile, &j);
        gy_par(pool, j.panels, panel_tile, &j);
    }
}
