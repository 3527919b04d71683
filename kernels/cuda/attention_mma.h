/* attention_mma.h: attention's tiles on tensor cores, for attention_bf16.cu and attention_grad_bf16.cu: 64 rows of 4
 * warps, 16 each, by 64 columns. Operands are rounded first and laid out [B, T, H, padded features], so that 16 bytes
 * hold 8 features of one row and go to shared memory by cp.async. Rows of tiles have NC times 64 features.
 *
 * What a lane owns of a warp's 16 x 8 results, by mma.h: rows group and group + 8, columns 2 place and 2 place + 1. */
#ifndef GY_CUDA_ATTENTION_MMA_H
#define GY_CUDA_ATTENTION_MMA_H

#include "attention_tile.h"
#include "mma_tile.h"

enum { MMA_THREADS = 128 };

typedef struct {
    att_view x;
    uint16_t *to;
    int64_t rows, times, heads; /* rows = B T H */
    int d, padded;
} att_pack_args;

/* A thread 8 features. */
GY_KERNEL(attention_pack, att_pack_args, 256) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    int units = a->padded / 8;
    if (e >= a->rows * units) return;
    int64_t row = e / units, h = row % a->heads, t = row / a->heads % a->times, b = row / a->heads / a->times;
    int col = (int)(e % units) * 8;
    const float *x = a->x.data + b * a->x.b + t * a->x.t + h * a->x.h + col * a->x.d;
    float v[8];
    if (a->x.vec && col + 8 <= a->d) {
        gy_f32x4 lo = gy_load_f32x4(x), hi = gy_load_f32x4(x + 4);
        GY_UNROLL
        for (int i = 0; i < 8; i++) v[i] = i < 4 ? lo.v[i % 4] : hi.v[i % 4];
    } else {
        GY_UNROLL
        for (int i = 0; i < 8; i++) v[i] = col + i < a->d ? x[i * a->x.d] : 0;
    }
    gy_bf16x8 r;
    GY_UNROLL
    for (int i = 0; i < 4; i++) r.v[i] = gy_bf16x2(v[2 * i], v[2 * i + 1]);
    *(gy_bf16x8 *)(void *)(a->to + e * 8) = r;
}

/* Queries [row0, row0 + 64), or keys [key0, key0 + 64), of `padded` features; rows that are not there are zeros. */
GY_DEVICE void bring(const att_args *a, uint16_t *tile, const uint16_t *from, const att_place *p, bool queries,
                     int padded, const int NC) {
    int units = padded / 8;
    for (int e = (int)threadIdx.x; e < SIDE * 8 * NC; e += MMA_THREADS) {
        int row = e / (8 * NC), unit = e % (8 * NC);
        if (unit >= units) continue;
        int64_t t = (queries ? p->row0 : p->key0) + row, h = queries ? p->head : p->kv;
        bool there = t < (queries ? p->rows : a->tk);
        if (queries && t >= a->tq) {
            h += t / a->tq;
            t %= a->tq;
        }
        int64_t times = queries ? a->tq : a->tk, heads = queries ? a->heads : a->kv_heads;
        gy_cp_async16(tile + gy_unit(row, unit, 8 * NC), from + ((p->b * times + t) * heads + h) * padded + unit * 8,
                      there);
    }
}

/* s = x y^T: this warp's 16 rows of x, 64 of y, over `padded` features. */
GY_DEVICE void mma_pairs(float s[8][4], const uint16_t *x, const uint16_t *y, int padded, const int NC) {
    int row = (int)threadIdx.x / 32 * 16;
    GY_UNROLL
    for (int j = 0; j < 8; j++) {
        GY_UNROLL
        for (int e = 0; e < 4; e++) s[j][e] = 0;
    }
    GY_UNROLL
    for (int d = 0; d < 4 * NC; d++) {
        if (16 * d >= padded) continue;
        uint32_t u[4];
        gy_fragment_a(u, x, row, 2 * d, 8 * NC);
        GY_UNROLL
        for (int j = 0; j < 4; j++) {
            uint32_t v[4];
            gy_fragment_b(v, y, 16 * j, 2 * d, 8 * NC);
            gy_mma_16816_bf16(s[2 * j], u, v);
            gy_mma_16816_bf16(s[2 * j + 1], u, v + 2);
        }
    }
}

/* acc += p y: p [16, 64] in registers, rounded here; y's tile [64][features]. */
GY_DEVICE void mma_weighted(float (*acc)[4], float p[8][4], const uint16_t *y, int padded, const int NC) {
    GY_UNROLL
    for (int k = 0; k < 4; k++) {
        uint32_t u[4];
        u[0] = gy_bf16x2(p[2 * k][0], p[2 * k][1]);
        u[1] = gy_bf16x2(p[2 * k][2], p[2 * k][3]);
        u[2] = gy_bf16x2(p[2 * k + 1][0], p[2 * k + 1][1]);
        u[3] = gy_bf16x2(p[2 * k + 1][2], p[2 * k + 1][3]);
        GY_UNROLL
        for (int j = 0; j < 4 * NC; j++) {
            if (16 * j >= padded) continue;
            uint32_t v[4];
            gy_fragment_b_turned(v, y, 16 * k, 2 * j, 8 * NC);
            gy_mma_16816_bf16(acc[2 * j], u, v);
            gy_mma_16816_bf16(acc[2 * j + 1], u, v + 2);
        }
    }
}

/* Row i (0, 1) of a lane: columns 8 j + 2 place + e of a [B, T, H, d] tensor's row. */
GY_DEVICE void mma_put(float *to, float (*acc)[4], int i, int d, float scale, const int NC) {
    GY_UNROLL
    for (int j = 0; j < 8 * NC; j++) {
        GY_UNROLL
        for (int e = 0; e < 2; e++) {
            int col = 8 * j + gy_lane() % 4 * 2 + e;
            if (col < d) to[col] = acc[j][2 * i + e] * scale;
        }
    }
}

/* Queries of a tile, in shared memory: they would fill a thread's registers. */
typedef struct {
    att_query q;
    float lse, delta; /* of the gradient */
} att_row;
GY_DEVICE void put_rows(const att_args *a, att_row *room, const att_place *p) {
    if (threadIdx.x >= SIDE) return;
    att_row r;
    r.q = query_of(a, p, p->row0 + threadIdx.x);
    r.lse = r.delta = 0;
    if (a->given_lse && r.q.there) {
        r.lse = a->given_lse[r.q.statistics];
        r.delta = a->delta[r.q.statistics];
    }
    room[threadIdx.x] = r;
}

/* Whether every query of the tile sees every key of it, and nothing is added to scores. */
GY_DEVICE bool all_seen(const att_args *a, const att_place *p, int64_t key0) {
    if (a->mask || a->bias || p->row0 + SIDE > p->rows || key0 + SIDE > a->tk) return false;
    return !a->causal || (a->group == 1 && key0 + SIDE <= p->row0 + a->tk - a->tq + 1);
}

GY_DEVICE att_place mma_place(const att_args *a) {
    att_place p;
    int64_t head = blockIdx.x / a->tiles;
    p.b = head / a->kv_heads;
    p.kv = (int)(head % a->kv_heads);
    p.head = p.kv * a->group;
    p.rows = a->tq * a->group;
    p.row0 = p.key0 = 0;
    return p;
}

/* Over the 4 lanes of a row. */
GY_DEVICE float quad_max(float v) {
    v = fmaxf(v, gy_shfl_xor_f32(v, 1));
    return fmaxf(v, gy_shfl_xor_f32(v, 2));
}
GY_DEVICE float quad_sum(float v) {
    v += gy_shfl_xor_f32(v, 1);
    return v + gy_shfl_xor_f32(v, 2);
}

#ifdef GY_HOST
static inline int att_padded(int64_t d) {
    return (int)gy_blocks(d, 16) * 16;
}
/* Elements of a packed [B, T, H, .] tensor, a multiple of 128: what follows is aligned. */
static inline int64_t att_packed(int64_t rows, int64_t d) {
    return gy_blocks(rows * att_padded(d), 128) * 128;
}
static inline void att_pack_run(const gy_kargs *k, const gy_view *v, uint16_t *to) {
    gy_shape s = v->shape;
    att_pack_args a = {att_view_of(v),      to, s.dim[0] * s.dim[1] * s.dim[2], s.dim[1], s.dim[2], (int)s.dim[3],
                       att_padded(s.dim[3])};
    int64_t n = a.rows * a.padded / 8;
    int threads = n < 128 ? 32 : 256;
    gy_cuda_launch(k, &attention_pack, (gy_grid){gy_blocks(n, threads), 1, 1}, threads, 0, &a, sizeof a);
}
#endif

#endif
