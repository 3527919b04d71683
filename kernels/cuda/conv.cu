/* Convolution and its adjoint in x (which is also the transposed convolution), in f32, as products whose left factor is
 * gathered while it is brought to shared memory: no buffer of patches exists.
 *
 *     conv      y[b, o, co] = sum_{tap, ci} x[b, o s - p + tap d, ci] w[co, ci, tap]
 *     conv_dx   x[b, i, ci] = sum_{tap, co} y[b, (i + p - tap d) / s, co] w[co, ci, tap]   where s divides
 *
 * Rows are positions, columns are output channels of one group, the depth is (tap, channel). The positions of conv_dx
 * fall into classes by (i + p) mod s: within one class the same taps divide, and the gathered position is q + a
 * constant of the tap, as it is o s - p + tap d forward; so one kernel serves both and no product with a zero is made.
 *
 * Depth runs through 16 channels (or all, if they are few), then taps, then the next 16 channels: the taps of one run
 * read the same rows of x and the same sectors of w, which L1 and L2 then hold. Where a depth lies is worked out by 16
 * threads, two steps ahead, into a small table.
 *
 * Tiles of 128 x 128 (256 threads of 8 x 8 results), 128 x 64 and 64 x 32 by 16 of depth, three stages of cp.async: 54
 * KiB of shared memory; 174 registers a thread (sm_80) leave room for one block an SM. A step is 16 KiB for 128 x 128 x
 * 16 multiply-adds: 32 flops a byte from L2, so the f32 units bound it. Where the tiles are too few to fill a GPU the
 * depth is split, and a second kernel adds the parts in order. Groups of few channels (depthwise) have no use for
 * tiles: a thread an output, bound by memory. */
#include "conv.h"

enum { DEPTH = 16, STAGES = 3, ROOM_A = DEPTH + 4, DIRECT_THREADS = 256 };

/* ---- the table of depths ---- */

typedef struct {
    int64_t x, w;     /* elements to add to a row's base and to the weights */
    int32_t shift[3]; /* of the tap; out of reach where there is no such depth */
    int32_t channels; /* of this depth's run that are left, itself counted */
} depth_entry;

/* One of the 16 threads' place in the depth, moved on by DEPTH a step. */
typedef struct {
    int64_t first, channel, tap; /* first: of the run of channels */
} depth_walk;
GY_DEVICE depth_walk walk_from(const conv_args *a, const conv_class *c, int64_t k) {
    depth_walk w;
    int64_t each = a->run * c->n_taps;
    if (each == 0) each = 1;
    w.first = k / each * a->run;
    w.tap = k % each / a->run;
    w.channel = k % each % a->run;
    return w;
}
GY_DEVICE void write_depth(const conv_args *a, const conv_class *c, depth_walk *d, depth_entry *to) {
    depth_entry e;
    int64_t u[3], channel = d->first + d->channel;
    bool there = channel < a->deep && c->n_taps > 0;
    e.shift[0] = e.shift[1] = e.shift[2] = INT32_MIN / 2; /* in no grid */
    e.x = e.w = 0;
    e.channels = 0;
    if (there) {
        u[2] = d->tap % c->taps[2];
        u[1] = d->tap / c->taps[2] % c->taps[1];
        u[0] = d->tap / c->taps[2] / c->taps[1];
        int64_t tap = 0, s[3];
        GY_UNROLL
        for (int k = 0; k < 3; k++) {
            s[k] = shift_of(a, c, k, u[k]);
            e.shift[k] = (int32_t)s[k];
            tap = tap * a->kernel[k] + c->tap0[k] + u[k] * c->period[k];
        }
        e.x = ((s[0] * a->src[1] + s[1]) * a->src[2] + s[2]) * a->src_channels + channel;
        e.w = channel * a->w_deep + tap;
        e.channels = (int32_t)(a->deep - channel < a->run - d->channel ? a->deep - channel : a->run - d->channel);
    }
    *to = e;
    d->channel += DEPTH;
    while (d->channel >= a->run) {
        d->channel -= a->run;
        if (++d->tap >= c->n_taps) {
            d->tap = 0;
            d->first += a->run;
        }
        if (d->first >= a->deep) break;
    }
}

/* ---- tiles ---- */

/* WM x WN warps of 4 x 8 threads of TM x TN results: rows 4 i + lane / 8 of the warp's, columns in fours. blockIdx.x:
 * column tile, row tile; y: group and class; z: part of the depth. */
GY_DEVICE void conv_tile(const conv_args *a, const int WM, const int WN, const int TM, const int TN) {
    const int THREADS = 32 * WM * WN, BM = WM * 4 * TM, BN = WN * 8 * TN, ROOM_B = BN + 4,
              STAGE = BM * ROOM_A + DEPTH * ROOM_B;
    const int ROWS = BM * 4 / THREADS, LOADS = BN * DEPTH / THREADS;
    float *shared = GY_SHARED(float), acc[8][8];
    depth_entry *table = (depth_entry *)(void *)(shared + STAGES * STAGE); /* two steps' */
    int t = (int)threadIdx.x, warp = t / 32, lane = t % 32;
    int64_t group = blockIdx.y % a->groups, col_tiles = (a->cols + BN - 1) / BN;
    const conv_class *c = class_of_block(a, (conv_class *)(void *)(table + 2 * DEPTH));
    int64_t m0 = blockIdx.x / col_tiles * BM, n0 = blockIdx.x % col_tiles * BN;
    if (m0 >= a->batch * c->n) return; /* classes differ in size */

    /* this thread's part of bringing x: rows t / 4 + THREADS / 4 i, channels 4 (t % 4) + e of each 16 */
    const float *base[8];
    int32_t at[8][3];
    bool there[8];
    GY_UNROLL
    for (int i = 0; i < ROWS; i++) {
        conv_row r = row_of(a, c, m0 + t / 4 + THREADS / 4 * i);
        base[i] = a->x + r.base * a->src_channels + group * a->deep;
        GY_UNROLL
        for (int k = 0; k < 3; k++) at[i][k] = (int32_t)r.at[k];
        there[i] = r.there;
    }
    /* and w: neighbours in a warp take neighbours in memory */
    int w_line = a->along_cols ? t % BN : t / DEPTH, w_depth = a->along_cols ? t / BN : t % DEPTH;
    int w_line_step = a->along_cols ? 0 : THREADS / DEPTH, w_depth_step = a->along_cols ? THREADS / BN : 0;
    const float *w = a->w + group * a->w_group + (n0 + w_line) * a->w_col;
    int64_t w_left = a->cols - n0 - w_line;

    int64_t all = (a->deep + a->run - 1) / a->run * a->run * c->n_taps, all_steps = (all + DEPTH - 1) / DEPTH;
    int64_t s0 = (int64_t)blockIdx.z * a->split;
    int64_t steps = s0 + a->split < all_steps ? a->split : all_steps > s0 ? all_steps - s0 : 0;
    depth_walk walk = walk_from(a, c, s0 * DEPTH + t % DEPTH);

    GY_UNROLL
    for (int i = 0; i < TM; i++) {
        GY_UNROLL
        for (int j = 0; j < TN; j++) acc[i][j] = 0;
    }
    /* step s computes; s + 2 is brought, for which the table was written a step ago; the table of s + 3 is written */
    for (int64_t s = -STAGES; s < steps; s++) {
        int64_t bring = s + STAGES - 1;
        gy_cp_async_wait(STAGES - 2);
        __syncthreads();
        if (bring >= 0 && bring < steps) {
            const depth_entry *d = table + (bring & 1) * DEPTH;
            float *ta = shared + (int)(bring % STAGES) * STAGE, *tb = ta + BM * ROOM_A;
            const depth_entry *own = d + 4 * (t % 4);
            GY_UNROLL
            for (int i = 0; i < ROWS; i++) {
                float *to = ta + (t / 4 + THREADS / 4 * i) * ROOM_A + 4 * (t % 4);
                if (a->vec) {
                    gy_cp_async16(to, base[i] + own->x, there[i] && inside(a, at[i], own->shift));
                } else {
                    for (int e = 0; e < 4; e++)
                        gy_cp_async4(to + e, base[i] + own[e].x, there[i] && inside(a, at[i], own[e].shift));
                }
            }
            GY_UNROLL
            for (int i = 0; i < LOADS; i++) {
                int depth = w_depth + i * w_depth_step, line = w_line + i * w_line_step;
                gy_cp_async4(tb + depth * ROOM_B + line, w + i * w_line_step * a->w_col + d[depth].w,
                             i * w_line_step < w_left && d[depth].channels > 0);
            }
        }
        gy_cp_async_commit();
        if (t < DEPTH && bring + 1 < steps) write_depth(a, c, &walk, table + ((bring + 1) & 1) * DEPTH + t);
        if (s < 0) continue;
        const float *ta = shared + (int)(s % STAGES) * STAGE + (warp % WM * 4 * TM + lane / 8) * ROOM_A;
        const float *tb = shared + (int)(s % STAGES) * STAGE + BM * ROOM_A + warp / WM * 8 * TN + lane % 8 * 4;
        GY_UNROLL
        for (int d = 0; d < DEPTH; d += 4) {
            gy_f32x4 u[8];
            GY_UNROLL
            for (int i = 0; i < TM; i++) u[i] = gy_load_f32x4(ta + 4 * i * ROOM_A + d);
            GY_UNROLL
            for (int e = 0; e < 4; e++) {
                gy_f32x4 v[2];
                GY_UNROLL
                for (int j = 0; j < TN / 4; j++) v[j] = gy_load_f32x4(tb + (d + e) * ROOM_B + 32 * j);
                GY_UNROLL
                for (int i = 0; i < TM; i++) {
                    GY_UNROLL
                    for (int j = 0; j < TN; j++) acc[i][j] = fmaf(u[i].v[e], v[j / 4].v[j % 4], acc[i][j]);
                }
            }
        }
    }

    GY_UNROLL
    for (int i = 0; i < TM; i++) {
        conv_row r = row_of(a, c, m0 + warp % WM * 4 * TM + 4 * i + lane / 8);
        if (!r.there) continue;
        GY_UNROLL
        for (int j = 0; j < TN; j += 4) {
            int64_t col = n0 + warp / WM * 8 * TN + lane % 8 * 4 + 8 * j, channel = group * a->cols + col;
            float *to =
                (a->partial ? a->partial + blockIdx.z * a->batch * a->size[0] * a->size[1] * a->size[2] * a->channels
                            : a->y) +
                r.out * a->channels + channel;
            gy_f32x4 v;
            GY_UNROLL
            for (int e = 0; e < 4; e++)
                if (col + e < a->cols)
                    v.v[e] = a->partial ? acc[i][j + e] : conv_finished(a, acc[i][j + e], r.out, channel + e);
            if (a->cols % 4 == 0 && col < a->cols) {
                gy_store_f32x4(to, v);
            } else {
                GY_UNROLL
                for (int e = 0; e < 4; e++)
                    if (col + e < a->cols) to[e] = v.v[e];
            }
        }
    }
}
GY_KERNEL(conv_128x128, conv_args, 256) {
    conv_tile(a, 4, 2, 8, 8);
}
GY_KERNEL(conv_128x64, conv_args, 128) {
    conv_tile(a, 4, 1, 8, 8);
}
GY_KERNEL(conv_64x32, conv_args, 64) {
    conv_tile(a, 2, 1, 8, 4);
}

/* Adds the parts of a split depth and finishes: a thread an element. */
GY_KERNEL(conv_finish, conv_args, 256) {
    int64_t n = a->batch * a->size[0] * a->size[1] * a->size[2] * a->channels;
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= n) return;
    float sum = 0;
    for (int64_t s = 0; s < a->splits; s++) sum += a->partial[s * n + e];
    a->y[e] = conv_finished(a, sum, e / a->channels, e % a->channels);
}

/* ---- a thread an output ---- */

GY_KERNEL(conv_direct, conv_args, DIRECT_THREADS) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, m = e / a->channels, channel = e % a->channels;
    int64_t group = channel / a->cols;
    conv_class c = class_of(a, blockIdx.y);
    if (m >= a->batch * c.n) return;
    conv_row r = row_of(a, &c, m);
    const float *x = a->x + r.base * a->src_channels + group * a->deep;
    const float *w = a->w + group * a->w_group + channel % a->cols * a->w_col;
    float sum = 0;
    for (int64_t u0 = 0; u0 < c.taps[0]; u0++) {
        int64_t s0 = shift_of(a, &c, 0, u0);
        if (r.at[0] + s0 < 0 || r.at[0] + s0 >= a->src[0]) continue;
        for (int64_t u1 = 0; u1 < c.taps[1]; u1++) {
            int64_t s1 = shift_of(a, &c, 1, u1);
            if (r.at[1] + s1 < 0 || r.at[1] + s1 >= a->src[1]) continue;
            for (int64_t u2 = 0; u2 < c.taps[2]; u2++) {
                int64_t s2 = shift_of(a, &c, 2, u2);
                if (r.at[2] + s2 < 0 || r.at[2] + s2 >= a->src[2]) continue;
                const float *from = x + ((s0 * a->src[1] + s1) * a->src[2] + s2) * a->src_channels;
                int64_t tap =
                    ((c.tap0[0] + u0 * c.period[0]) * a->kernel[1] + c.tap0[1] + u1 * c.period[1]) * a->kernel[2] +
                    c.tap0[2] + u2 * c.period[2];
                for (int64_t d = 0; d < a->deep; d++) {
                    float u = from[d], v = w[d * a->w_deep + tap];
                    sum = a->rounded ? fmaf(gy_bf16_rounded(u), gy_bf16_rounded(v), sum) : fmaf(u, v, sum);
                }
            }
        }
    }
    a->y[r.out * a->channels + channel] = conv_finished(a, sum, r.out, channel);
}

#ifdef GY_HOST
void cuda_conv(const gy_kargs *k);
size_t cuda_conv_scratch(const gy_kargs *k, int threads);

typedef struct {
    const gy_cuda_kernel *kernel;
    int64_t rows, cols, tiles; /* of a tile; how many */
    int threads;
} tiling;
/* The tile by the shape, and how the depth is split: until there are 256 blocks, but no part below 8 steps. */
static tiling choose(conv_args *a) {
    int64_t rows = conv_rows(a), classes = conv_classes(a);
    tiling t = {&conv_128x128, 128, 128, 0, 256};
    if (a->cols <= 64 || rows * a->cols <= 128 * 64 * 64) t = (tiling){&conv_128x64, 128, 64, 0, 128};
    if (a->cols <= 32 || rows * a->cols <= 64 * 32 * 64) t = (tiling){&conv_64x32, 64, 32, 0, 64};
    t.tiles = gy_blocks(rows, t.rows) * gy_blocks(a->cols, t.cols);
    int64_t taps = a->kernel[0] * a->kernel[1] * a->kernel[2] / classes, steps;
    steps = gy_blocks(gy_blocks(a->deep, a->run ? a->run : 1) * a->run * (taps < 1 ? 1 : taps), DEPTH);
    int64_t blocks = t.tiles * a->groups * classes, splits = blocks ? 256 / blocks : 1;
    if (splits > steps / 8) splits = steps / 8;
    a->splits = splits < 1 ? 1 : splits > 64 ? 64 : splits;
    a->split = a->splits == 1 ? INT64_MAX / 4 : gy_blocks(steps, a->splits);
    /* a class may have more taps than another: the last part takes what is left */
    if (a->splits > 1 && a->adjoint && classes > 1) {
        a->splits = 1;
        a->split = INT64_MAX / 4;
    }
    return t;
}

size_t cuda_conv_scratch(const gy_kargs *k, int threads) {
    conv_args a = conv_shape(k);
    (void)threads;
    if (conv_is_direct(&a)) return 0;
    choose(&a);
    return a.splits == 1 ? 0 : (size_t)(a.splits * gy_shape_count(k->out[0].shape)) * sizeof(float);
}

void conv_direct_run(const gy_kargs *k, const conv_args *a) {
    int64_t n = conv_rows(a) * a->channels;
    int threads = n < DIRECT_THREADS ? 64 : DIRECT_THREADS;
    gy_cuda_launch(k, &conv_direct, (gy_grid){gy_blocks(n, threads), conv_classes(a), 1}, threads, 0, a, sizeof *a);
}
void conv_finish_run(const gy_kargs *k, const conv_args *a) {
    int64_t n = gy_shape_count(k->out[0].shape);
    gy_cuda_launch(k, &conv_finish, (gy_grid){gy_blocks(n, 256), 1, 1}, 256, 0, a, sizeof *a);
}

/* conv (x, w, bias, residual) and conv_dx (y, w). */
void cuda_conv(const gy_kargs *k) {
    conv_args a = conv_shape(k);
    if (gy_shape_count(k->out[0].shape) == 0) return;
    if (conv_is_direct(&a)) {
        conv_direct_run(k, &a);
        return;
    }
    tiling t = choose(&a);
    if (a.splits > 1) a.partial = k->scratch;
    size_t shared = (size_t)(STAGES * (t.rows * ROOM_A + DEPTH * (t.cols + 4))) * sizeof(float) +
                    2 * DEPTH * sizeof(depth_entry) + sizeof(conv_class);
    gy_cuda_launch(k, t.kernel, (gy_grid){t.tiles, a.groups * conv_classes(&a), a.splits}, t.threads, shared, &a,
                   sizeof a);
    if (a.splits > 1) conv_finish_run(k, &a);
}
#endif
