/* attention_tile.h: what the kernels of attention.cu are built of: 64 x 64 tiles of f32 in shared memory, brought there
 * asynchronously, their two products, and the score of a pair.
 *
 * 256 threads are 16 x 16; thread (ty, tx) owns rows 4 ty + i, i < 4, of what is computed, so that a warp owns 8 whole
 * rows and 16 lanes a row. Of the scores it owns columns tx + 16 j, of outputs columns 4 tx + e. Tiles are read 16
 * bytes at a time, 8 rows at once: place() spreads the rows' pieces over the banks. */
#ifndef GY_CUDA_ATTENTION_TILE_H
#define GY_CUDA_ATTENTION_TILE_H

#include "vec.h"

enum { SIDE = 64, TILE = SIDE * SIDE, THREADS = 256 };
#define LOG2E 1.44269504088896340736f
#define LN2   0.69314718055994530942f

typedef struct {
    const float *data;
    int64_t b, t, h, d; /* strides */
    int vec;            /* rows lie on 16 bytes, features beside one another */
} att_view;

typedef struct {
    att_view q, k, v, ct;
    const uint8_t *mask;
    const float *bias;
    int64_t mask_stride[4], bias_stride[4]; /* over [B, H, Tq, Tk], 0 where it broadcasts */
    const float *given_y, *given_lse;       /* of the gradient, [B, H, Tq] */
    float *y, *lse, *dq, *dk, *dv, *delta, *partial, *dbias;
    int64_t batch, tq, tk, tiles; /* tiles: of a block's rows */
    int heads, kv_heads, group, d, dim_v, causal;
    float scale;
    int64_t splits, split;              /* see the kernels that have them */
    const uint16_t *pq, *pk, *pv, *pct; /* rounded to bf16: [B, T, H, d padded]; see attention_bf16.cu */
    int pd, pdv;                        /* d and dim_v padded to multiples of 16 */
    int rounded;                        /* factors of products are rounded to bf16 */
    int64_t bias_dim[4];                /* of the bias's own shape, 1 where it broadcasts */
} att_args;

/* Which heads and times two tiles are of. Queries are numbered through the heads that share a key head: query r is time
 * r % tq of head `head` + r / tq, r < rows. */
typedef struct {
    int64_t b, row0, rows, key0;
    int head, kv;
} att_place;

/* ---- tiles ---- */

GY_DEVICE int place(int row, int piece) {
    return row * SIDE + 4 * (piece ^ (row & 7));
}

/* Rows [row0, row0 + 64) below `rows` and columns [col0, col0 + 64) below `cols`; rows that are not there are zeros. */
GY_DEVICE void fetch(const att_args *a, float *tile, const att_view *v, const att_place *p, bool queries, int col0,
                     int cols) {
    int piece = (int)threadIdx.x % 16, col = col0 + 4 * piece;
    if (col >= cols) return;
    GY_UNROLL
    for (int i = 0; i < 4; i++) {
        int row = (int)threadIdx.x / 16 + 16 * i;
        int64_t t = (queries ? p->row0 : p->key0) + row, h = queries ? p->head : p->kv;
        bool there = t < (queries ? p->rows : a->tk);
        if (queries && t >= a->tq) {
            h += t / a->tq;
            t %= a->tq;
        }
        const float *from = v->data + p->b * v->b + h * v->h + t * v->t + col * v->d;
        if (v->vec) {
            gy_cp_async16(tile + place(row, piece), from, there);
        } else {
            for (int e = 0; e < 4; e++)
                gy_cp_async4(tile + place(row, piece) + e, from + e * v->d, there && col + e < cols);
        }
    }
}

GY_DEVICE void clear(float s[4][4]) {
    GY_UNROLL
    for (int i = 0; i < 4; i++) {
        GY_UNROLL
        for (int j = 0; j < 4; j++) s[i][j] = 0;
    }
}

/* s += x y^T over `n` columns: rows 4 ty + i of x, tx + 16 j of y; rounded: of bf16 values. */
GY_DEVICE void product_t(float s[4][4], const float *x, const float *y, int n, const bool rounded) {
    int tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16;
    for (int d = 0; 4 * d < n; d++) {
        gy_f32x4 u[4], v[4];
        GY_UNROLL
        for (int i = 0; i < 4; i++) u[i] = gy_load_f32x4(x + place(4 * ty + i, d));
        GY_UNROLL
        for (int j = 0; j < 4; j++) v[j] = gy_load_f32x4(y + place(tx + 16 * j, d));
        if (rounded) {
            GY_UNROLL
            for (int i = 0; i < 16; i++) {
                u[i / 4].v[i % 4] = gy_bf16_rounded(u[i / 4].v[i % 4]);
                v[i / 4].v[i % 4] = gy_bf16_rounded(v[i / 4].v[i % 4]);
            }
        }
        GY_UNROLL
        for (int e = 0; e < 4; e++) {
            GY_UNROLL
            for (int i = 0; i < 4; i++) {
                GY_UNROLL
                for (int j = 0; j < 4; j++) s[i][j] = fmaf(u[i].v[e], v[j].v[e], s[i][j]);
            }
        }
    }
}

/* s += p y over the first n columns of p: rows 4 ty + i, columns 4 tx + e. `hidden`: y does not matter where p is 0, it
 * may even be NaN. */
GY_DEVICE void product(float s[4][4], const float *p, const float *y, int n, const bool hidden) {
    int tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16;
    for (int k = 0; 4 * k < n; k++) {
        gy_f32x4 u[4];
        GY_UNROLL
        for (int i = 0; i < 4; i++) u[i] = gy_load_f32x4(p + place(4 * ty + i, k));
        GY_UNROLL
        for (int e = 0; e < 4; e++) {
            gy_f32x4 v = gy_load_f32x4(y + place(4 * k + e, tx));
            GY_UNROLL
            for (int i = 0; i < 4; i++) {
                if (hidden && u[i].v[e] == 0) continue;
                GY_UNROLL
                for (int j = 0; j < 4; j++) s[i][j] = fmaf(u[i].v[e], v.v[j], s[i][j]);
            }
        }
    }
}

/* A thread's scores into a tile, to be read by its warp. */
GY_DEVICE void put_scores(float *tile, float s[4][4]) {
    int tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16;
    GY_UNROLL
    for (int i = 0; i < 4; i++) {
        GY_UNROLL
        for (int j = 0; j < 4; j++) {
            int col = tx + 16 * j;
            tile[place(4 * ty + i, col / 4) + col % 4] = s[i][j];
        }
    }
    gy_syncwarp();
}

/* Over the 16 lanes of a row. */
GY_DEVICE float row_max(float v) {
    for (int m = 8; m > 0; m /= 2) v = fmaxf(v, gy_shfl_xor_f32(v, m));
    return v;
}
GY_DEVICE float row_sum(float v) {
    for (int m = 8; m > 0; m /= 2) v += gy_shfl_xor_f32(v, m);
    return v;
}

/* ---- scores ---- */

typedef struct {
    int64_t mask, bias, last_key, statistics; /* offsets of its rows; of lse and delta */
    int64_t time;
    int head;
    bool there;
} att_query;

GY_DEVICE att_query query_of(const att_args *a, const att_place *p, int64_t r) {
    att_query q;
    int64_t skipped = r < a->tq ? 0 : r / a->tq;
    q.there = r < p->rows;
    q.time = r - skipped * a->tq;
    q.head = p->head + (int)skipped;
    q.mask = p->b * a->mask_stride[0] + q.head * a->mask_stride[1] + q.time * a->mask_stride[2];
    q.bias = p->b * a->bias_stride[0] + q.head * a->bias_stride[1] + q.time * a->bias_stride[2];
    q.last_key = a->causal ? q.time + a->tk - a->tq : a->tk - 1;
    q.statistics = (p->b * a->heads + q.head) * a->tq + q.time;
    return q;
}

/* Scaled score from q . k; -inf where the key is hidden. */
GY_DEVICE float score_of(const att_args *a, const att_query *q, int64_t key, float dot) {
    if (!q->there || key > q->last_key || key >= a->tk) return -INFINITY;
    if (a->mask && !a->mask[q->mask + key * a->mask_stride[3]]) return -INFINITY;
    float s = dot * a->scale;
    return a->bias ? s + a->bias[q->bias + key * a->bias_stride[3]] : s;
}

GY_DEVICE float weight_of(float score, float top) {
    return score == -INFINITY ? 0 : exp2f((score - top) * LOG2E);
}

/* How many keys the queries [row0, row0 + 64) may see at most. */
GY_DEVICE int64_t keys_seen(const att_args *a, const att_place *p) {
    if (!a->causal) return a->tk;
    int64_t last = (p->row0 + SIDE < p->rows ? p->row0 + SIDE : p->rows) - 1;
    if (p->row0 >= a->tq || last >= a->tq) { /* of the last head, or of two heads */
        bool one = p->row0 / a->tq == last / a->tq;
        last = one ? last % a->tq : a->tq - 1;
    }
    int64_t n = last + a->tk - a->tq + 1;
    return n < 0 ? 0 : n;
}

/* The first tile of queries, from row0 on, of which some may see key0. */
GY_DEVICE int64_t next_seeing(const att_args *a, att_place p) {
    while (p.row0 < p.rows && keys_seen(a, &p) <= p.key0) p.row0 += SIDE;
    return p.row0;
}

#ifdef GY_HOST
/* delta; dbias, where it is wanted, with scratch behind a->delta. In attention.cu. */
void att_delta_run(const gy_kargs *k, const att_args *a);
void att_dbias_run(const gy_kargs *k, att_args *a);

static inline att_view att_view_of(const gy_view *v) {
    att_view r = {v->data, v->stride[0], v->stride[1], v->stride[2], v->stride[3], 0};
    for (int i = 0; i < 4; i++)
        if (v->shape.dim[i] == 1) *(i == 0 ? &r.b : i == 1 ? &r.t : i == 2 ? &r.h : &r.d) = i == 3;
    r.vec = r.d == 1 && v->shape.dim[3] % 4 == 0 && r.b % 4 == 0 && r.t % 4 == 0 && r.h % 4 == 0 &&
            (uintptr_t)v->data % 16 == 0;
    return r;
}

/* Strides over [B, H, Tq, Tk], 0 where it broadcasts. */
static inline void att_spread(const gy_view *v, int64_t stride[4]) {
    int64_t shift = 4 - v->shape.rank;
    for (int64_t i = 0; i < 4; i++)
        stride[i] = !v->data || i < shift || v->shape.dim[i - shift] == 1 ? 0 : v->stride[i - shift];
}

/* q, k, v, mask, bias from input `first` on. */
static inline att_args att_operands(const gy_kargs *k, int first) {
    const gy_view *in = k->in + first;
    const gy_attention_attr *attr = k->attr;
    att_args a = {.q = att_view_of(&in[0]),
                  .k = att_view_of(&in[1]),
                  .v = att_view_of(&in[2]),
                  .mask = in[3].data,
                  .bias = in[4].data,
                  .batch = in[0].shape.dim[0],
                  .tq = in[0].shape.dim[1],
                  .tk = in[1].shape.dim[1],
                  .heads = (int)in[0].shape.dim[2],
                  .kv_heads = (int)in[1].shape.dim[2],
                  .d = (int)in[0].shape.dim[3],
                  .dim_v = (int)in[2].shape.dim[3],
                  .causal = attr->causal != 0,
                  .scale = (float)attr->scale,
                  .rounded = k->precision == GY_BF16};
    a.group = a.kv_heads ? a.heads / a.kv_heads : 1;
    att_spread(&in[3], a.mask_stride);
    att_spread(&in[4], a.bias_stride);
    return a;
}

#endif

#endif
