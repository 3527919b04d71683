/* Convolution and its adjoint in x in plans of precision bf16, on tensor cores (mma.m16n8k16): factors are rounded to
 * bf16, sums are f32. The product of conv.h with x gathered on its way to shared memory, as in conv.cu; but x and w are
 * first rounded and laid out for it (conv_pack.h), w as [group, column, tap, channel]. So everything is copied 16 bytes
 * at a time by cp.async, four stages ahead, and depth is (tap, channels in eights).
 *
 * A block computes 128 x 128 of y with 8 warps of 64 x 32 (few tiles: 64 x 64 with 4 of 32 x 32), 32 depths a step: 16
 * KiB for 128 x 128 x 32 multiply-adds, 64 flops a byte from L2, bound by the tensor cores or by L2. 64 KiB of shared
 * memory and 167 registers a thread (sm_80): one block an SM. Few tiles: the depth is split, as in conv.cu. */
#include "conv.h"
#include "conv_pack.h"

enum { DEPTH = 32, UNITS = 4, STAGES = 4, LOADS = 2 /* units of each operand a thread */ };

typedef struct {
    const float *w;
    uint16_t *to;
    int64_t cols, deep, padded, taps, groups, w_deep, w_col, w_group;
    int along_cols;
} weight_args;

/* A thread 8 channels of a tap; neighbours take neighbouring taps, then what lies next in w. */
GY_KERNEL(conv_pack_weights, weight_args, 256) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, units = a->padded / 8;
    if (e >= a->groups * a->cols * a->taps * units) return;
    int64_t tap = e % a->taps, rest = e / a->taps;
    int64_t inner = a->along_cols ? rest % a->cols : rest % units, outer = rest / (a->along_cols ? a->cols : units);
    int64_t col = a->along_cols ? inner : outer % a->cols, unit = a->along_cols ? outer % units : inner;
    int64_t group = a->along_cols ? outer / units : outer / a->cols;
    const float *w = a->w + group * a->w_group + col * a->w_col + unit * 8 * a->w_deep + tap;
    int left = (int)(a->deep - unit * 8);
    float v[8];
    GY_UNROLL
    for (int i = 0; i < 8; i++) v[i] = i < left ? w[i * a->w_deep] : 0;
    gy_bf16x8 r;
    GY_UNROLL
    for (int i = 0; i < 4; i++) r.v[i] = gy_bf16x2(v[2 * i], v[2 * i + 1]);
    *(gy_bf16x8 *)(void *)(a->to + (((group * a->cols + col) * a->taps + tap) * units + unit) * 8) = r;
}

/* Where 8 depths lie. */
typedef struct {
    int64_t x, w;     /* elements to add to a row's base and to a column's */
    int32_t shift[3]; /* of the tap */
    int32_t there;
} unit_entry;

/* One of the 4 threads' place in the depth, moved on by 4 units a step. */
typedef struct {
    int64_t tap, unit;
} unit_walk;
GY_DEVICE unit_entry next_unit(const conv_args *a, const conv_class *c, unit_walk *d) {
    unit_entry e;
    int64_t u[3], s[3], tap = 0;
    e.there = d->tap < c->n_taps;
    e.x = e.w = 0;
    e.shift[0] = e.shift[1] = e.shift[2] = 0;
    if (e.there) {
        u[2] = d->tap % c->taps[2];
        u[1] = d->tap / c->taps[2] % c->taps[1];
        u[0] = d->tap / c->taps[2] / c->taps[1];
        GY_UNROLL
        for (int k = 0; k < 3; k++) {
            s[k] = shift_of(a, c, k, u[k]);
            e.shift[k] = (int32_t)s[k];
            tap = tap * a->kernel[k] + c->tap0[k] + u[k] * c->period[k];
        }
        e.x = ((s[0] * a->src[1] + s[1]) * a->src[2] + s[2]) * a->groups * a->padded + d->unit * 8;
        e.w = tap * a->padded + d->unit * 8;
    }
    d->unit += UNITS;
    while (d->unit >= a->padded / 8) {
        d->unit -= a->padded / 8;
        d->tap++;
    }
    return e;
}

/* 2 x WN warps of 16 MT x 32; sides of 128 or 64. blockIdx as in conv.cu. */
GY_DEVICE void bf16_tile(const conv_args *a, const int WN, const int MT) {
    const int THREADS = 64 * WN, SIDE = 32 * WN, TILE = SIDE * DEPTH;
    uint16_t *shared = GY_SHARED(uint16_t);
    unit_entry *table = (unit_entry *)(void *)(shared + STAGES * 2 * TILE); /* two steps' */
    int t = (int)threadIdx.x, warp = t / 32, lane = t % 32, line = t / UNITS, unit = t % UNITS;
    int row0 = warp % 2 * 16 * MT, col0 = warp / 2 * 32;
    int64_t group = blockIdx.y % a->groups, col_tiles = (a->cols + SIDE - 1) / SIDE;
    const conv_class *c = class_of_block(a, (conv_class *)(void *)(table + 2 * UNITS));
    int64_t m0 = blockIdx.x / col_tiles * SIDE, n0 = blockIdx.x % col_tiles * SIDE;
    if (m0 >= a->batch * c->n) return;
    float acc[4][4][4];

    const uint16_t *x[LOADS], *w[LOADS];
    int32_t at[LOADS][3];
    bool row_there[LOADS];
    GY_UNROLL
    for (int i = 0; i < LOADS; i++) {
        conv_row r = row_of(a, c, m0 + line + THREADS / UNITS * i);
        x[i] = a->px + (r.base * a->groups + group) * a->padded;
        w[i] = a->pw + (group * a->cols + n0 + line + THREADS / UNITS * i) * a->kernel[0] * a->kernel[1] *
                           a->kernel[2] * a->padded;
        GY_UNROLL
        for (int k = 0; k < 3; k++) at[i][k] = (int32_t)r.at[k];
        row_there[i] = r.there;
    }
    int64_t all_units = c->n_taps * (a->padded / 8), all_steps = (all_units + UNITS - 1) / UNITS;
    int64_t s0 = (int64_t)blockIdx.z * a->split;
    int64_t steps = s0 + a->split < all_steps ? a->split : all_steps > s0 ? all_steps - s0 : 0;
    unit_walk walk;
    walk.tap = (s0 * UNITS + unit) / (a->padded / 8);
    walk.unit = (s0 * UNITS + unit) % (a->padded / 8);

    GY_UNROLL
    for (int i = 0; i < MT; i++) {
        GY_UNROLL
        for (int j = 0; j < 16; j++) acc[i][j / 4][j % 4] = 0;
    }
    for (int64_t s = -STAGES; s < steps; s++) { /* as in conv.cu */
        int64_t bring = s + STAGES - 1;
        gy_cp_async_wait(STAGES - 2);
        __syncthreads();
        if (bring >= 0 && bring < steps) {
            unit_entry d = table[(bring & 1) * UNITS + unit];
            uint16_t *ta = shared + (int)(bring % STAGES) * 2 * TILE, *tb = ta + TILE;
            GY_UNROLL
            for (int i = 0; i < LOADS; i++) {
                int l = line + THREADS / UNITS * i;
                gy_cp_async16(ta + gy_unit(l, unit, UNITS), x[i] + d.x,
                              d.there && row_there[i] && inside(a, at[i], d.shift));
                gy_cp_async16(tb + gy_unit(l, unit, UNITS), w[i] + d.w, d.there && n0 + l < a->cols);
            }
        }
        gy_cp_async_commit();
        if (t < UNITS && bring + 1 < steps) table[((bring + 1) & 1) * UNITS + t] = next_unit(a, c, &walk);
        if (s < 0) continue;
        const uint16_t *ta = shared + (int)(s % STAGES) * 2 * TILE, *tb = ta + TILE;
        GY_UNROLL
        for (int d = 0; d < DEPTH / 16; d++) {
            uint32_t ma[4][4], mb[2][4];
            GY_UNROLL
            for (int i = 0; i < MT; i++) gy_fragment_a(ma[i], ta, row0 + 16 * i, 2 * d, UNITS);
            GY_UNROLL
            for (int j = 0; j < 2; j++) gy_fragment_b(mb[j], tb, col0 + 16 * j, 2 * d, UNITS);
            GY_UNROLL
            for (int i = 0; i < MT; i++) {
                GY_UNROLL
                for (int j = 0; j < 4; j++) gy_mma_16816_bf16(acc[i][j], ma[i], mb[j / 2] + j % 2 * 2);
            }
        }
    }

    GY_UNROLL
    for (int i = 0; i < 2 * MT; i++) {
        conv_row r = row_of(a, c, m0 + row0 + 8 * i + lane / 4);
        if (!r.there) continue;
        float *to = a->y;
        if (a->partial) to = a->partial + blockIdx.z * a->batch * a->size[0] * a->size[1] * a->size[2] * a->channels;
        to += r.out * a->channels + group * a->cols;
        GY_UNROLL
        for (int j = 0; j < 8; j++) {
            int64_t col = n0 + col0 + j / 2 * 8 + lane % 4 * 2 + j % 2;
            float v = acc[i / 2][j / 2][i % 2 * 2 + j % 2];
            if (col < a->cols) to[col] = a->partial ? v : conv_finished(a, v, r.out, group * a->cols + col);
        }
    }
}
GY_KERNEL(conv_bf16_128, conv_args, 256) {
    bf16_tile(a, 4, 4);
}
GY_KERNEL(conv_bf16_64, conv_args, 128) {
    bf16_tile(a, 2, 2);
}

#ifdef GY_HOST
void cuda_conv_bf16(const gy_kargs *k);
size_t cuda_conv_bf16_scratch(const gy_kargs *k, int threads);

/* Tiles of 128 where they make a wave of 128 blocks; until there are 256 blocks the depth is split, into parts of no
 * fewer than 8 steps. */
static int choose(conv_args *a) {
    int64_t rows = conv_rows(a), classes = conv_classes(a), each = a->groups * classes;
    int side = gy_blocks(rows, 128) * gy_blocks(a->cols, 128) * each >= 128 && a->cols > 64 ? 128 : 64;
    int64_t blocks = gy_blocks(rows, side) * gy_blocks(a->cols, side) * each, splits = blocks ? 256 / blocks : 1;
    a->padded = conv_padded(a->deep);
    int64_t steps = gy_blocks(a->kernel[0] * a->kernel[1] * a->kernel[2] * a->padded / 8, UNITS);
    if (splits > steps / 8) splits = steps / 8;
    if (splits < 1 || classes > 1) splits = 1; /* classes differ in depth */
    a->split = splits == 1 ? INT64_MAX / 64 : gy_blocks(steps, splits);
    a->splits = splits == 1 ? 1 : gy_blocks(steps, a->split);
    return side;
}
static int64_t positions_of(const conv_args *a) {
    return a->batch * a->src[0] * a->src[1] * a->src[2];
}
static int64_t weights_of(const conv_args *a) {
    return a->groups * a->cols * a->kernel[0] * a->kernel[1] * a->kernel[2] * a->padded;
}

size_t cuda_conv_bf16_scratch(const gy_kargs *k, int threads) {
    conv_args a = conv_shape(k);
    (void)threads;
    if (conv_is_direct(&a)) return 0;
    choose(&a);
    size_t partial = a.splits == 1 ? 0 : (size_t)(a.splits * gy_shape_count(k->out[0].shape)) * sizeof(float);
    return conv_packed_bytes(positions_of(&a) * a.groups * a.padded) + conv_packed_bytes(weights_of(&a)) + partial;
}

void cuda_conv_bf16(const gy_kargs *k) {
    conv_args a = conv_shape(k);
    if (gy_shape_count(k->out[0].shape) == 0) return;
    if (conv_is_direct(&a)) {
        conv_direct_run(k, &a);
        return;
    }
    int side = choose(&a);
    int64_t taps = a.kernel[0] * a.kernel[1] * a.kernel[2];
    char *scratch = k->scratch;
    uint16_t *px = (uint16_t *)(void *)scratch;
    scratch += conv_packed_bytes(positions_of(&a) * a.groups * a.padded);
    uint16_t *pw = (uint16_t *)(void *)scratch;
    scratch += conv_packed_bytes(weights_of(&a));
    if (a.splits > 1) a.partial = (float *)(void *)scratch;
    a.px = px;
    a.pw = pw;
    conv_pack_run(k, a.x, px, positions_of(&a), a.groups, a.deep);
    weight_args w = {a.w, pw, a.cols, a.deep, a.padded, taps, a.groups, a.w_deep, a.w_col, a.w_group, a.along_cols};
    int64_t n = weights_of(&a) / 8;
    if (a.deep) gy_cuda_launch(k, &conv_pack_weights, (gy_grid){gy_blocks(n, 256), 1, 1}, 256, 0, &w, sizeof w);
    gy_grid grid = {gy_blocks(conv_rows(&a), side) * gy_blocks(a.cols, side), a.groups * conv_classes(&a), a.splits};
    gy_cuda_launch(k, side == 128 ? &conv_bf16_128 : &conv_bf16_64, grid, side * 2,
                   (size_t)(STAGES * 2 * side * DEPTH) * 2 + 2 * UNITS * sizeof(unit_entry) + sizeof(conv_class), &a,
                   sizeof a);
    if (a.splits > 1) conv_finish_run(k, &a);
}
#endif
