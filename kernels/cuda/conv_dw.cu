/* The adjoint of convolution in its weights, in f32: w[co, ci, tap] = sum_{b, o} y[b, o, co] x[b, o s - p + tap d, ci].
 *
 * A product whose depth is the positions, with rows co and columns (tap, ci) of one group; x is gathered while it is
 * brought to shared memory. Tiles of 128 x 128 (256 threads) and 64 x 64 (64 threads) by 16 positions, three stages of
 * cp.async; 32 flops a byte from L2 as in conv.cu, bound by the f32 units. 16 threads work out, two steps ahead, where
 * positions lie. The depth is long and the tiles are few, so the positions are split into parts by the shape alone; a
 * second kernel adds the parts in order and writes the layout of w. Groups of few channels: a thread a channel and a
 * few weights, over a run of positions; also bound by memory. */
#include "conv_dw.h"

enum { DEPTH = 16, STAGES = 3, LANES = DW_LANES, FEW = DW_FEW, DIRECT_THREADS = 256 };

/* WM x WN warps of 4 x 8 threads of 8 x 8 results, rows and columns in fours. blockIdx.x: column tile, row tile; y:
 * group; z: part. */
GY_DEVICE void dw_tile(const dw_args *a, const int WM, const int WN) {
    const int THREADS = 32 * WM * WN, BM = WM * 32, BN = WN * 64, ROOM_A = BM + 4, ROOM_B = BN + 4,
              STAGE = DEPTH * (ROOM_A + ROOM_B);
    const int ROWS_A = DEPTH * BM / 4 / THREADS, ROWS_B = DEPTH * BN / 4 / THREADS;
    float *shared = GY_SHARED(float), acc[8][8];
    dw_entry *table = (dw_entry *)(void *)(shared + STAGES * STAGE); /* two steps' */
    int t = (int)threadIdx.x, warp = t / 32, lane = t % 32;
    int64_t n_all = a->taps * a->in_group, col_tiles = (n_all + BN - 1) / BN, group = blockIdx.y;
    int64_t m0 = blockIdx.x / col_tiles * BM, n0 = blockIdx.x % col_tiles * BN;

    /* this thread brings channels ma + e of y and columns nb + e, of positions t / (BM / 4) + ... and t / (BN / 4) ...
     */
    int ma = t % (BM / 4) * 4, nb = t % (BN / 4) * 4, row_a = t / (BM / 4), row_b = t / (BN / 4);
    const float *y = a->y + group * a->out_group + m0 + ma, *x = a->x + group * a->in_group;
    int64_t y_left = a->out_group - m0 - ma;
    dw_column col[4];
    GY_UNROLL
    for (int e = 0; e < 4; e++) col[e] = dw_column_of(a, n0 + nb + e);

    int64_t all = a->batch * a->n_out, p0 = (int64_t)blockIdx.z * a->split;
    int64_t end = p0 + a->split < all ? p0 + a->split : all, mine = p0 + t % DEPTH;
    int64_t steps = (end - p0 + DEPTH - 1) / DEPTH;
    dw_walk walk = dw_from(a, mine);

    GY_UNROLL
    for (int i = 0; i < 8; i++) {
        GY_UNROLL
        for (int j = 0; j < 8; j++) acc[i][j] = 0;
    }
    for (int64_t s = -STAGES; s < steps; s++) { /* as in conv.cu */
        int64_t bring = s + STAGES - 1;
        gy_cp_async_wait(STAGES - 2);
        __syncthreads();
        if (bring >= 0 && bring < steps) {
            const dw_entry *d = table + (bring & 1) * DEPTH;
            float *ta = shared + (int)(bring % STAGES) * STAGE, *tb = ta + DEPTH * ROOM_A;
            GY_UNROLL
            for (int i = 0; i < ROWS_A; i++) {
                int k = row_a + i * (THREADS * 4 / BM);
                const float *from = y + d[k].y * a->cout;
                if (a->vec_y) {
                    gy_cp_async16(ta + k * ROOM_A + ma, from, d[k].y >= 0 && y_left > 0);
                } else {
                    for (int e = 0; e < 4; e++)
                        gy_cp_async4(ta + k * ROOM_A + ma + e, from + e, d[k].y >= 0 && e < y_left);
                }
            }
            GY_UNROLL
            for (int i = 0; i < ROWS_B; i++) {
                int k = row_b + i * (THREADS * 4 / BN);
                const float *from = x + d[k].x * a->cin;
                if (a->vec_x) {
                    gy_cp_async16(tb + k * ROOM_B + nb, from + col[0].offset, dw_inside(a, d + k, &col[0]));
                } else {
                    GY_UNROLL
                    for (int e = 0; e < 4; e++)
                        gy_cp_async4(tb + k * ROOM_B + nb + e, from + col[e].offset, dw_inside(a, d + k, &col[e]));
                }
            }
        }
        gy_cp_async_commit();
        if (t < DEPTH && bring + 1 < steps) {
            table[((bring + 1) & 1) * DEPTH + t] = dw_place(a, &walk, mine < end);
            dw_move(a, &walk, DEPTH);
            mine += DEPTH;
        }
        if (s < 0) continue;
        const float *ta = shared + (int)(s % STAGES) * STAGE + warp % WM * 32 + lane / 8 * 4;
        const float *tb = shared + (int)(s % STAGES) * STAGE + DEPTH * ROOM_A + warp / WM * 64 + lane % 8 * 4;
        GY_UNROLL
        for (int d = 0; d < DEPTH; d++) {
            gy_f32x4 u[2], v[2];
            GY_UNROLL
            for (int i = 0; i < 2; i++) {
                u[i] = gy_load_f32x4(ta + d * ROOM_A + 16 * i);
                v[i] = gy_load_f32x4(tb + d * ROOM_B + 32 * i);
            }
            GY_UNROLL
            for (int i = 0; i < 8; i++) {
                GY_UNROLL
                for (int j = 0; j < 8; j++) acc[i][j] = fmaf(u[i / 4].v[i % 4], v[j / 4].v[j % 4], acc[i][j]);
            }
        }
    }
    GY_UNROLL
    for (int i = 0; i < 8; i++) {
        int64_t m = m0 + warp % WM * 32 + lane / 8 * 4 + i / 4 * 16 + i % 4;
        GY_UNROLL
        for (int j = 0; j < 8; j++) {
            int64_t n = n0 + warp / WM * 64 + lane % 8 * 4 + j / 4 * 32 + j % 4;
            if (m < a->out_group && n < n_all) dw_put(a, blockIdx.z, group * a->out_group + m, n, acc[i][j]);
        }
    }
}
GY_KERNEL(conv_dw_128x128, dw_args, 256) {
    dw_tile(a, 4, 2);
}
GY_KERNEL(conv_dw_64x64, dw_args, 64) {
    dw_tile(a, 2, 1);
}

/* 32 neighbouring output channels of a run of positions; FEW columns each. blockIdx.x: part; y: channels; z: columns.
 */
GY_KERNEL(conv_dw_direct, dw_args, DIRECT_THREADS) {
    float *room = GY_SHARED(float), sum[FEW];
    int lane = (int)threadIdx.x % LANES, line = (int)threadIdx.x / LANES, lines = (int)blockDim.x / LANES;
    int64_t co = (int64_t)blockIdx.y * LANES + lane, n0 = (int64_t)blockIdx.z * FEW, n_all = a->taps * a->in_group;
    int64_t all = a->batch * a->n_out, p0 = (int64_t)blockIdx.x * a->split;
    int64_t end = co >= a->cout ? 0 : p0 + a->split < all ? p0 + a->split : all;
    dw_column col[FEW];
    GY_UNROLL
    for (int i = 0; i < FEW; i++) {
        sum[i] = 0;
        col[i] = dw_column_of(a, n0 + i);
    }
    if (p0 + line < end) {
        const float *x = a->x + co / a->out_group * a->in_group;
        dw_walk walk = dw_from(a, p0 + line);
        for (int64_t p = p0 + line; p < end; p += lines) {
            dw_entry e = dw_place(a, &walk, true);
            float y = a->y[e.y * a->cout + co];
            if (a->rounded) y = gy_bf16_rounded(y);
            GY_UNROLL
            for (int i = 0; i < FEW; i++)
                if (dw_inside(a, &e, &col[i])) {
                    float v = x[e.x * a->cin + col[i].offset];
                    sum[i] = fmaf(y, a->rounded ? gy_bf16_rounded(v) : v, sum[i]);
                }
            dw_move(a, &walk, lines);
        }
    }
    GY_UNROLL
    for (int i = 0; i < FEW; i++) room[(line * FEW + i) * LANES + lane] = sum[i];
    __syncthreads();
    for (int i = line; i < FEW; i += lines) {
        float v = 0;
        for (int l = 0; l < lines; l++) v += room[(l * FEW + i) * LANES + lane];
        if (co < a->cout && n0 + i < n_all) dw_put(a, blockIdx.x, co, n0 + i, v);
    }
}

/* w[co, ci, tap] = the sum of the parts; a thread an element. */
GY_KERNEL(conv_dw_sum, dw_args, 256) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, n_all = a->taps * a->in_group;
    if (e >= a->cout * n_all) return;
    int64_t co = e / n_all, n = e % n_all;
    float v = 0;
    for (int64_t s = 0; s < a->splits; s++) v += a->partial[s * a->cout * n_all + e];
    a->w[(co * a->in_group + n % a->in_group) * a->taps + n / a->in_group] = v;
}

#ifdef GY_HOST
void cuda_conv_dw(const gy_kargs *k);
size_t cuda_conv_dw_scratch(const gy_kargs *k, int threads);

size_t cuda_conv_dw_scratch(const gy_kargs *k, int threads) {
    int side;
    dw_args a = dw_shape(k, &side);
    (void)threads;
    return a.splits == 1 ? 0 : (size_t)(a.splits * gy_shape_count(k->out[0].shape)) * sizeof(float);
}

void conv_dw_direct_run(const gy_kargs *k, const dw_args *a) {
    int64_t lines = a->split < 8 ? 1 : 8;
    gy_cuda_launch(k, &conv_dw_direct,
                   (gy_grid){a->splits, gy_blocks(a->cout, LANES), gy_blocks(a->taps * a->in_group, FEW)},
                   (int)lines * LANES, (size_t)(lines * FEW * LANES) * sizeof(float), a, sizeof *a);
}
void conv_dw_sum_run(const gy_kargs *k, const dw_args *a) {
    gy_cuda_launch(k, &conv_dw_sum, (gy_grid){gy_blocks(a->cout * a->taps * a->in_group, 256), 1, 1}, 256, 0, a,
                   sizeof *a);
}

void cuda_conv_dw(const gy_kargs *k) {
    int side;
    dw_args a = dw_shape(k, &side);
    int64_t n = a.taps * a.in_group;
    if (a.cout * n == 0) return;
    if (a.splits != 1) a.partial = k->scratch; /* no positions: the sum of no parts is 0 */
    if (dw_is_direct(&a)) {
        conv_dw_direct_run(k, &a);
    } else {
        size_t shared = (size_t)(STAGES * DEPTH * 2 * (side + 4)) * sizeof(float) + 2 * DEPTH * sizeof(dw_entry);
        gy_cuda_launch(k, side == 128 ? &conv_dw_128x128 : &conv_dw_64x64,
                       (gy_grid){gy_blocks(a.out_group, side) * gy_blocks(n, side), a.groups, a.splits},
                       side == 128 ? 256 : 64, shared, &a, sizeof a);
    }
    if (a.splits != 1) conv_dw_sum_run(k, &a);
}
#endif
