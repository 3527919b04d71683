/* The adjoint of convolution in its weights in plans of precision bf16, on tensor cores (mma.m16n8k16): factors are
 * rounded to bf16, sums are f32. The product of conv_dw.cu; x and y are first rounded, a group's channels padded
 * (conv_pack.h), so that 16 bytes hold 8 rows or 8 columns (of one tap) of a position. Tiles lie in shared memory as x
 * and y do, positions by channels, and ldmatrix turns them.
 *
 * 128 x 128 of w with 8 warps of 64 x 32 (or 64 x 64 with 4 of 32 x 32), 32 positions a step, four stages of cp.async:
 * 64 flops a byte from L2. The positions are split as in conv_dw.cu. */
#include "conv_dw.h"
#include "conv_pack.h"

enum { DEPTH = 32, STAGES = 4, LOADS = 2 };

/* 2 x WN warps of 16 MT x 32. blockIdx as in conv_dw.cu. */
GY_DEVICE void dw_bf16_tile(const dw_args *a, const int WN, const int MT) {
    const int SIDE = 32 * WN, TILE = SIDE * DEPTH, UNITS = SIDE / 8;
    uint16_t *shared = GY_SHARED(uint16_t);
    dw_entry *table = (dw_entry *)(void *)(shared + STAGES * 2 * TILE);                         /* two steps' */
    int t = (int)threadIdx.x, warp = t / 32, lane = t % 32, unit = t % UNITS, line = t / UNITS; /* and line + 16 */
    int row0 = warp % 2 * 16 * MT, col0 = warp / 2 * 32;
    int64_t n_all = a->taps * a->padded_in, col_tiles = (n_all + SIDE - 1) / SIDE, group = blockIdx.y;
    int64_t m0 = blockIdx.x / col_tiles * SIDE, n0 = blockIdx.x % col_tiles * SIDE, n = n0 + unit * 8;
    float acc[4][4][4];

    /* this thread brings 8 rows of y and 8 columns, of positions line and line + 16 of each step */
    const uint16_t *y = a->py + group * a->padded_out + m0 + unit * 8, *x = a->px + group * a->padded_in;
    bool y_there = m0 + unit * 8 < a->padded_out;
    dw_column col;
    int64_t tap = n / a->padded_in, shift[3];
    shift[2] = tap % a->kernel[2] * a->dilation[2];
    shift[1] = tap / a->kernel[2] % a->kernel[1] * a->dilation[1];
    shift[0] = tap / a->kernel[2] / a->kernel[1] * a->dilation[0];
    x += ((shift[0] * a->in[1] + shift[1]) * a->in[2] + shift[2]) * a->groups * a->padded_in + n % a->padded_in;
    GY_UNROLL
    for (int k = 0; k < 3; k++) col.shift[k] = n < n_all ? (int32_t)shift[k] : INT32_MIN / 2;
    col.offset = 0;

    int64_t all = a->batch * a->n_out, p0 = (int64_t)blockIdx.z * a->split;
    int64_t end = p0 + a->split < all ? p0 + a->split : all, mine = p0 + t % DEPTH;
    int64_t steps = (end - p0 + DEPTH - 1) / DEPTH;
    dw_walk walk = dw_from(a, mine);

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
            uint16_t *ta = shared + (int)(bring % STAGES) * 2 * TILE, *tb = ta + TILE;
            GY_UNROLL
            for (int i = 0; i < LOADS; i++) {
                const dw_entry *d = table + (bring & 1) * DEPTH + line + 16 * i;
                gy_cp_async16(ta + gy_unit(line + 16 * i, unit, UNITS), y + d->y * a->groups * a->padded_out,
                              d->y >= 0 && y_there);
                gy_cp_async16(tb + gy_unit(line + 16 * i, unit, UNITS), x + d->x * a->groups * a->padded_in,
                              dw_inside(a, d, &col));
            }
        }
        gy_cp_async_commit();
        if (t < DEPTH && bring + 1 < steps) {
            table[((bring + 1) & 1) * DEPTH + t] = dw_place(a, &walk, mine < end);
            dw_move(a, &walk, DEPTH);
            mine += DEPTH;
        }
        if (s < 0) continue;
        const uint16_t *ta = shared + (int)(s % STAGES) * 2 * TILE, *tb = ta + TILE;
        GY_UNROLL
        for (int d = 0; d < DEPTH / 16; d++) {
            uint32_t ma[4][4], mb[2][4];
            GY_UNROLL
            for (int i = 0; i < MT; i++) gy_fragment_a_turned(ma[i], ta, 16 * d, (row0 + 16 * i) / 8, UNITS);
            GY_UNROLL
            for (int j = 0; j < 2; j++) gy_fragment_b_turned(mb[j], tb, 16 * d, (col0 + 16 * j) / 8, UNITS);
            GY_UNROLL
            for (int i = 0; i < MT; i++) {
                GY_UNROLL
                for (int j = 0; j < 4; j++) gy_mma_16816_bf16(acc[i][j], ma[i], mb[j / 2] + j % 2 * 2);
            }
        }
    }
    GY_UNROLL
    for (int i = 0; i < 2 * MT; i++) {
        int64_t m = m0 + row0 + 8 * i + lane / 4;
        GY_UNROLL
        for (int j = 0; j < 8; j++) {
            int64_t q = n0 + col0 + j / 2 * 8 + lane % 4 * 2 + j % 2, channel = q % a->padded_in;
            if (m < a->out_group && q < n_all && channel < a->in_group)
                dw_put(a, blockIdx.z, group * a->out_group + m, q / a->padded_in * a->in_group + channel,
                       acc[i / 2][j / 2][i % 2 * 2 + j % 2]);
        }
    }
}
GY_KERNEL(conv_dw_bf16_128, dw_args, 256) {
    dw_bf16_tile(a, 4, 4);
}
GY_KERNEL(conv_dw_bf16_64, dw_args, 128) {
    dw_bf16_tile(a, 2, 2);
}

#ifdef GY_HOST
void cuda_conv_dw_bf16(const gy_kargs *k);
size_t cuda_conv_dw_bf16_scratch(const gy_kargs *k, int threads);

static size_t packed_x(const dw_args *a) {
    return conv_packed_bytes(a->batch * a->in[0] * a->in[1] * a->in[2] * a->groups * conv_padded(a->in_group));
}
static size_t packed_y(const dw_args *a) {
    return conv_packed_bytes(a->batch * a->n_out * a->groups * conv_padded(a->out_group));
}

size_t cuda_conv_dw_bf16_scratch(const gy_kargs *k, int threads) {
    int side;
    dw_args a = dw_shape(k, &side);
    (void)threads;
    size_t partial = a.splits == 1 ? 0 : (size_t)(a.splits * gy_shape_count(k->out[0].shape)) * sizeof(float);
    return partial + (dw_is_direct(&a) ? 0 : packed_x(&a) + packed_y(&a));
}

void cuda_conv_dw_bf16(const gy_kargs *k) {
    int side;
    dw_args a = dw_shape(k, &side);
    char *scratch = k->scratch;
    if (a.cout * a.taps * a.in_group == 0) return;
    if (dw_is_direct(&a)) {
        if (a.splits != 1) a.partial = k->scratch;
        conv_dw_direct_run(k, &a);
    } else {
        uint16_t *px = (uint16_t *)(void *)scratch, *py = (uint16_t *)(void *)(scratch + packed_x(&a));
        if (a.splits != 1) a.partial = (float *)(void *)(scratch + packed_x(&a) + packed_y(&a));
        a.px = px;
        a.py = py;
        a.padded_in = conv_padded(a.in_group);
        a.padded_out = conv_padded(a.out_group);
        conv_pack_run(k, a.x, px, a.batch * a.in[0] * a.in[1] * a.in[2], a.groups, a.in_group);
        conv_pack_run(k, a.y, py, a.batch * a.n_out, a.groups, a.out_group);
        int64_t tiles = gy_blocks(a.out_group, side) * gy_blocks(a.taps * a.padded_in, side);
        gy_cuda_launch(k, side == 128 ? &conv_dw_bf16_128 : &conv_dw_bf16_64, (gy_grid){tiles, a.groups, a.splits},
                       side * 2, (size_t)(STAGES * 2 * side * DEPTH) * 2 + 2 * DEPTH * sizeof(dw_entry), &a, sizeof a);
    }
    if (a.splits != 1) conv_dw_sum_run(k, &a);
}
#endif
