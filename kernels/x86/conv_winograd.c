/* 3 x 3 convolution of stride 1 by Winograd's minimal filtering F(4 x 4, 3 x 3) (Lavin & Gray 2016, arXiv:1509.09308;
 * Winograd 1980): a tile of 4 x 4 outputs of one channel pair takes 36 multiplications instead of 144.
 *
 *     Y = A^T [ sum_ci (G g G^T) . (B^T d B) ] A,    d: 6 x 6 inputs, g: 3 x 3 weights, . elementwise
 *
 * is the Toom-Cook scheme for six points. Here they are 0, +-1/sqrt 2, +-sqrt 2, infinity: reciprocal pairs keep the
 * powers in A, B and G near 1, so that less is lost than with 0, +-1, +-2 (Barabasz et al. 2020, arXiv:1803.10986, on
 * the choice of points). With a = 1/sqrt 2, b = sqrt 2:
 *
 *     B^T rows: [1 0 -5/2 0 1 0], [0 -+a b^2 -b^2 +-a 1 0], [0 -+b a^2 -a^2 +-b 1 0], [0 1 0 -5/2 0 1]
 *     G rows:   [1 0 0], -2/3 [1 +-a a^2], 1/6 [1 +-b b^2], [0 0 1]
 *     A^T rows: [1 1 1 1 1 0], [0 a -a b -b 0], [0 a^2 a^2 b^2 b^2 0], [0 a^3 -a^3 b^3 -b^3 1]
 *
 * The 36 elements of the transformed tiles make 36 matrix products over input channels, which is where the time goes:
 *
 * 1. All tiles of a block (at most 56) are transformed: V [chunk of channels][36][tile][channel].
 * 2. A tile of threads takes a panel of two vectors of output channels. Chunk by chunk it packs and transforms the
 *    weights, U [36][channel][panel], adds the 36 products to M [36][tile][panel], and in the end transforms M. U and M
 *    stay in the second-level cache (24 channels of U take 110 KiB, M 252, the part of V that passes through 189), so
 * weights are read once a block, in their own layout, and nothing is kept of them between calls.
 *
 * Errors: against double, with factors of size at most 1, below 48 x 2^-24 sqrt(9 Cin) (tests/kernels/test_x86_conv.c;
 * the largest seen there is 35), where a plain sum of 9 Cin such products stays below about 1. A plan leaves this
 * kernel out with GY_PASS_WINOGRAD or GYRUS_WINOGRAD=0.
 *
 * FLOPs of the products 2 x 36 / 144 of the direct ones. Measured, one thread of Zen 4, AVX-512, FLOPs of the direct
 * convolution against its peak of 118 GFLOP/s (gyrus bench conv --threads 1): 320 to 320 channels on 64 x 64: 3.0; 640
 * on 32 x 32: 3.0; 1280 on 16 x 16: 2.6; 1280 on 8 x 8: 1.5 (four tiles; packing and transforming the weights is most
 * of the time); 64 on 56 x 56: 2.8. Two threads: 1.5 to 2.0 times as fast, differing between runs.
 */
#include "conv_product.h"

enum { TILES = 56, CHUNK = 24, ELEMENTS = 36, PAD = 16 /* floats: keeps the 36 planes out of one cache set */ };

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static size_t line_bytes(int64_t n, size_t size) { /* in whole cache lines */
    return ((size_t)n * size + 63) & ~(size_t)63;
}

typedef struct {
    gy_conv_direct q;
    int64_t tiles_y, tiles_x, tiles, block, blocks; /* tiles of 4 x 4 outputs, of all samples, in blocks */
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
    j.tiles_y = gy_tiles(d->out[1], 4);
    j.tiles_x = gy_tiles(d->out[2], 4);
    j.tiles = d->batch * j.tiles_y * j.tiles_x;
    j.blocks = gy_tiles(j.tiles, TILES);
    j.block = gy_tiles(j.tiles, j.blocks);
    j.chunk = least(CHUNK, d->cin);
    j.chunks = gy_tiles(d->cin, j.chunk);
    j.panels = gy_tiles(d->cout, 2 * VL);
    j.packed_bytes = line_bytes(9 * j.chunk * 2 * VL, sizeof(float));
    j.u_bytes = line_bytes(ELEMENTS * (j.chunk * 2 * VL + PAD), sizeof(float));
    j.m_bytes = line_bytes(ELEMENTS * (j.block * 2 * VL + PAD), sizeof(float));
    j.room_bytes = j.packed_bytes + j.u_bytes + j.m_bytes;
    return j;
}
/* Floats between two of the 36 planes of V. */
static int64_t v_plane(const winograd *j) {
    return j->block * j->chunk + PAD;
}
static size_t v_bytes(const winograd *j) {
    return line_bytes(j->chunks * ELEMENTS * v_plane(j), sizeof(float));
}
static size_t row_bytes(const winograd *j) {
    return line_bytes(2 * GY_ISAFN(gy_conv_weights_run)(&j->q.w, j->chunk), sizeof(int32_t));
}

size_t GY_ISAFN(gy_conv_winograd_scratch)(const gy_conv_direct *q, int threads) {
    winograd j = winograd_of(q);
    return row_bytes(&j) + v_bytes(&j) + (size_t)threads * j.room_bytes;
}

#define A1 0.70710678118654752440f /* a, a^3, b, b^3 */
#define A3 0.35355339059327376220f
#define B1 1.41421356237309504880f
#define B3 2.82842712474619009760f

/* out = B^T d, elements `step` apart. */
GY_INLINE void input_line(const vf d[6], vf *out, const int step) {
    vf e, f;
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
GY_INLINE void weight_line(vf g0, vf g1, vf g2, vf *out, const int step) {
    vf e = v_mul(v_set(-2.0f / 3), v_fma(v_set(0.5f), g2, g0)), f = v_mul(v_set(-2.0f / 3 * A1), g1);
    out[0] = g0;
    out[step] = v_add(e, f);
    out[2 * step] = v_sub(e, f);
    e = v_mul(v_set(1.0f / 6), v_fma(v_set(2.0f), g2, g0));
    f = v_mul(v_set(B1 / 6), g1);
    out[3 * step] = v_add(e, f);
    out[4 * step] = v_sub(e, f);
    out[5 * step] = g2;
}
/* out = A^T m */
GY_INLINE void output_line(const vf m[6], vf *out, const int step) {
    vf s1 = v_add(m[1], m[2]), d1 = v_sub(m[1], m[2]), s2 = v_add(m[3], m[4]), d2 = v_sub(m[3], m[4]);
    out[0] = v_add(v_add(m[0], s1), s2);
    out[step] = v_fma(v_set(B1), d2, v_mul(v_set(A1), d1));
    out[2 * step] = v_fma(v_set(2.0f), s2, v_mul(v_set(0.5f), s1));
    out[3 * step] = v_fma(v_set(B3), d2, v_fma(v_set(A3), d1, m[5]));
}

/* Where a tile of 4 x 4 outputs begins. */
static void tile_at(const winograd *j, int64_t t, int64_t *sample, int64_t *y, int64_t *x) {
    *x = t % j->tiles_x * 4;
    *y = t / j->tiles_x % j->tiles_y * 4;
    *sample = t / j->tiles_x / j->tiles_y;
}

static void input_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const winograd *j = arg;
    const gy_conv_dims *d = &j->q.d;
    static const float zeros[VL] = {0};
    const float *from[ELEMENTS];
    int64_t sample, y, x, step[ELEMENTS];
    tile_at(j, j->first + t, &sample, &y, &x);
    const float *in = j->q.in + sample * d->n_in * d->cin;
    for (int64_t i = 0; i < ELEMENTS; i++) {
        int64_t i1 = y - j->q.before[1] + i / 6, i2 = x - j->q.before[2] + i % 6;
        bool inside = i1 >= 0 && i1 < d->in[1] && i2 >= 0 && i2 < d->in[2];
        from[i] = inside ? in + (i1 * d->in[2] + i2) * d->cin : zeros;
        step[i] = inside;
    }
    int64_t plane = v_plane(j);
    for (int64_t c = 0, n; c < d->cin; c += n) {
        int64_t chunk = c / j->chunk, e = c % j->chunk, width = least(d->cin - c + e, j->chunk);
        float *to = j->v + chunk * ELEMENTS * plane + t * width + e;
        n = least(width - e, VL);
        vf rows[ELEMENTS], m[6], out[6];
#pragma GCC unroll 6
        for (int k = 0; k < 6; k++) { /* column k */
            for (int i = 0; i < 6; i++) {
                const float *p = from[i * 6 + k] + c * step[i * 6 + k];
                m[i] = n == VL ? v_load(p) : v_loadn(p, n);
            }
            input_line(m, rows + k, 6);
        }
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) {
            input_line(rows + 6 * i, out, 1);
            for (int k = 0; k < 6; k++, to += plane) {
                if (n == VL)
                    v_store(to, out[k]);
                else
                    v_storen(to, out[k], n);
            }
        }
    }
}

/* U of cc channels from packed weights [tap][cc][width]. */
static void transform_weights(const float *w, int64_t cc, int64_t width, float *u, int64_t plane) {
    for (int64_t e = 0; e < cc * width; e += VL) {
        vf cols[18], out[6];
#pragma GCC unroll 3
        for (int k = 0; k < 3; k++)
            weight_line(v_load(w + k * cc * width + e), v_load(w + (3 + k) * cc * width + e),
                        v_load(w + (6 + k) * cc * width + e), cols + k, 3);
#pragma GCC unroll 6
        for (int i = 0; i < 6; i++) {
            weight_line(cols[3 * i], cols[3 * i + 1], cols[3 * i + 2], out, 1);
            for (int k = 0; k < 6; k++) v_store(u + (6 * i + k) * plane + e, out[k]);
        }
    }
}

/* 4 x 4 outputs of tile t of the block, columns j0 .. j0+n. */
static void output_tile(const winograd *j, int64_t t, const float *m, int64_t plane, int64_t j0, int64_t n) {
    const gy_conv_dims *d = &j->q.d;
    int64_t sample, y, x;
    tile_at(j, j->first + t, &sample, &y, &x);
    int64_t rows = least(d->out[1] - y, 4), cols = least(d->out[2] - x, 4);
    int64_t at = (sample * d->out[1] + y) * d->out[2] + x;
    for (int64_t r = 0; r < n; r += VL) {
        vf half[24], out[16], in[6];
        float *c = j->q.out + at * d->cout + j0 + r;
#pragma GCC unroll 6
        for (int k = 0; k < 6; k++) {
            for (int i = 0; i < 6; i++) in[i] = v_load(m + (6 * i + k) * plane + r);
            output_line(in, half + k, 6);
        }
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) output_line(half + 6 * i, out + 4 * i, 1);
        for (int64_t i = 0; i < rows; i++)
            for (int64_t k = 0; k < cols; k++) {
                float *to = c + (i * d->out[2] + k) * d->cout;
                if (n - r >= VL)
                    v_store(to, out[4 * i + k]);
                else
                    v_storen(to, out[4 * i + k], n - r);
            }
    }
    if (j->q.finish)
        for (int64_t i = 0; i < rows; i++, at += d->out[2])
            GY_ISAFN(gy_gemm_finish_f32)(j->q.finish, at, at + cols, j0, j0 + n);
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
        int64_t c0 = chunk * j->chunk, cc = least(d->cin - c0, j->chunk), u_plane = cc * width + PAD;
        GY_ISAFN(gy_conv_weights_pack)(&j->q.w, j->row[cc != j->chunk], 0, j0, n, c0, cc, packed);
        transform_weights(packed, cc, width, u, u_plane);
        for (int64_t e = 0; e < ELEMENTS; e++) {
            const float *v = j->v + (chunk * ELEMENTS + e) * v_plane(j);
            int64_t next_c0 = c0 + cc, next_cc = least(d->cin - next_c0, j->chunk);
            if (next_cc > 0) GY_ISAFN(gy_conv_weights_fetch)(&j->q.w, 0, j0, n, next_c0, next_cc, e, ELEMENTS);
            for (int64_t i = 0, lo = 0; i < heights; i++) {
                int64_t hi = j->count * (i + 1) / heights;
                product_table[hi - lo - 1][nv - 1](v + lo * cc, cc, cc, u + e * u_plane, m + e * m_plane + lo * width,
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
        gy_par(pool, j.count, input_tile, &j);
        gy_par(pool, j.panels, panel_tile, &j);
    }
}
