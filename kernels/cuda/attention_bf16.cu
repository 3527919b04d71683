/* Attention in plans of precision bf16, on tensor cores (mma.m16n8k16): q, k, v and the weights are rounded to bf16
 * before they are multiplied; scores, softmax and sums are f32. The walk over the keys is that of attention.cu, the
 * layout of work Dao 2023's (arXiv 2307.08691): a warp owns 16 queries; their scores of 64 keys, in registers, become
 * the left factor of the product with v without leaving them. Tiles of k and v arrive by cp.async, one ahead.
 *
 * Weights are powers of two over 2^M, M whole, so that a running M changes them by powers of two alone: they round as
 * the reference's do (kernels/ref/attention.c).
 *
 * Shared memory: q and two stages of k and v, 40 KiB for heads of 64 and 128 registers a thread (sm_80). 2 (D + Dv)
 * flops a pair; 32 KiB from L2 for 64 x 64 pairs of 64 features: 64 flops a byte. q, k and v are rounded once, 6 bytes
 * an element. */
#include "attention_mma.h"

/* The weighted mean of one feature again, key by key, leaving out what is hidden: there v may be NaN. */
GY_DEVICE float seen_alone(const att_args *a, const att_place *p, const att_query *q, int col, float top) {
    const uint16_t *query = a->pq + ((p->b * a->tq + q->time) * a->heads + q->head) * a->pd;
    float sum = 0;
    for (int64_t j = 0; j < a->tk; j++) {
        const uint16_t *key = a->pk + ((p->b * a->tk + j) * a->kv_heads + p->kv) * a->pd;
        float dot = 0;
        for (int c = 0; c < a->d; c++) dot = fmaf(gy_bf16_value(query[c]), gy_bf16_value(key[c]), dot);
        float s = score_of(a, q, j, dot), w = s == -INFINITY ? 0 : exp2f(s * LOG2E - top);
        if (w != 0)
            sum = fmaf(gy_bf16_rounded(w),
                       gy_bf16_value(a->pv[((p->b * a->tk + j) * a->kv_heads + p->kv) * a->pdv + col]), sum);
    }
    return sum;
}

/* blockIdx.x: sample, key head, 64 queries. */
GY_DEVICE void attend_bf16(const att_args *a, const int NC) {
    const int TILE_U = SIDE * 64 * NC; /* elements of a tile */
    uint16_t *tile_q = GY_SHARED(uint16_t), *tile_k = tile_q + TILE_U, *tile_v = tile_k + 2 * TILE_U;
    att_row *rows = (att_row *)(void *)(tile_v + 2 * TILE_U);
    att_place p = mma_place(a);
    int warp = (int)threadIdx.x / 32, group = gy_lane() / 4, spot = gy_lane() % 4;
    float m[2], sum[2], s[8][4], acc[32][4];
    p.row0 = blockIdx.x % a->tiles * SIDE;
    put_rows(a, rows, &p);
    rows += warp * 16 + group;
    GY_UNROLL
    for (int i = 0; i < 2; i++) {
        m[i] = -INFINITY;
        sum[i] = 0;
    }
    GY_UNROLL
    for (int j = 0; j < 8 * NC; j++) {
        GY_UNROLL
        for (int e = 0; e < 4; e++) acc[j][e] = 0;
    }
    int64_t seen = keys_seen(a, &p), end = seen < a->tk ? seen : a->tk;
    bring(a, tile_q, a->pq, &p, true, a->pd, NC);
    bring(a, tile_k, a->pk, &p, false, a->pd, NC);
    gy_cp_async_commit();
    bring(a, tile_v, a->pv, &p, false, a->pdv, NC);
    gy_cp_async_commit();
    for (int stage = 0; p.key0 < end; stage ^= 1) {
        int64_t key0 = p.key0;
        bool plain = all_seen(a, &p, key0);
        gy_cp_async_wait(1);
        __syncthreads(); /* k is there; all are done with the other stage */
        p.key0 += SIDE;
        if (p.key0 < end) bring(a, tile_k + (stage ^ 1) * TILE_U, a->pk, &p, false, a->pd, NC);
        gy_cp_async_commit();
        mma_pairs(s, tile_q, tile_k + stage * TILE_U, a->pd, NC);
        GY_UNROLL
        for (int i = 0; i < 2; i++) {
            float top = -INFINITY, part = 0;
            GY_UNROLL
            for (int j = 0; j < 16; j++) {
                float *v = &s[j / 2][2 * i + j % 2];
                if (plain)
                    *v *= a->scale * LOG2E;
                else
                    *v = score_of(a, &rows[8 * i].q, key0 + j / 2 * 8 + spot * 2 + j % 2, *v) * LOG2E;
                top = fmaxf(top, *v);
            }
            top = fmaxf(m[i], ceilf(quad_max(top)));
            GY_UNROLL
            for (int j = 0; j < 16; j++) {
                float *v = &s[j / 2][2 * i + j % 2];
                *v = *v == -INFINITY ? 0 : exp2f(*v - top);
                part += *v;
            }
            float shrink = m[i] == -INFINITY ? 0 : exp2f(m[i] - top);
            m[i] = top;
            sum[i] = fmaf(sum[i], shrink, quad_sum(part));
            GY_UNROLL
            for (int j = 0; j < 8 * NC; j++) {
                acc[j][2 * i] *= shrink;
                acc[j][2 * i + 1] *= shrink;
            }
        }
        gy_cp_async_wait(1);
        __syncthreads(); /* v is there */
        if (p.key0 < end) bring(a, tile_v + (stage ^ 1) * TILE_U, a->pv, &p, false, a->pdv, NC);
        gy_cp_async_commit();
        mma_weighted(acc, s, tile_v + stage * TILE_U, a->pdv, NC);
    }
    GY_UNROLL
    for (int i = 0; i < 2; i++) {
        const att_query *q = &rows[8 * i].q;
        if (!q->there) continue;
        bool blind = m[i] == -INFINITY && sum[i] == 0;
        if (spot == 0) a->lse[q->statistics] = blind ? -INFINITY : (m[i] + log2f(sum[i])) * LN2;
        if (a->mask || a->bias || a->causal) {
            GY_UNROLL
            for (int j = 0; j < 16 * NC; j++) {
                int col = j / 2 * 8 + spot * 2 + j % 2;
                float *v = &acc[j / 2][2 * i + j % 2];
                if (col < a->dim_v && *v != *v) *v = seen_alone(a, &p, q, col, m[i]);
            }
        }
        mma_put(a->y + ((p.b * a->tq + q->time) * a->heads + q->head) * a->dim_v, acc, i, a->dim_v,
                blind ? 0 : 1 / sum[i], NC);
    }
}
GY_KERNEL(attention_bf16_64, att_args, MMA_THREADS) {
    attend_bf16(a, 1);
}
GY_KERNEL(attention_bf16_128, att_args, MMA_THREADS) {
    attend_bf16(a, 2);
}
GY_KERNEL(attention_bf16_192, att_args, MMA_THREADS) {
    attend_bf16(a, 3);
}
GY_KERNEL(attention_bf16_256, att_args, MMA_THREADS) {
    attend_bf16(a, 4);
}

#ifdef GY_HOST
void cuda_attention_bf16(const gy_kargs *k);
bool cuda_attention_bf16_supports(const gy_kargs *k);
size_t cuda_attention_bf16_scratch(const gy_kargs *k, int threads);

static int64_t rows_in(const gy_kargs *k, int i) {
    return k->in[i].shape.dim[0] * k->in[i].shape.dim[1] * k->in[i].shape.dim[2];
}

/* Longer heads: in f32. */
bool cuda_attention_bf16_supports(const gy_kargs *k) {
    return k->in[0].shape.dim[3] <= 256 && k->in[2].shape.dim[3] <= 256;
}

size_t cuda_attention_bf16_scratch(const gy_kargs *k, int threads) {
    int64_t n = 0;
    (void)threads;
    for (int i = 0; i < 3; i++) n += att_packed(rows_in(k, i), k->in[i].shape.dim[3]);
    return (size_t)n * 2;
}

void cuda_attention_bf16(const gy_kargs *k) {
    static const gy_cuda_kernel *const kernel[] = {&attention_bf16_64, &attention_bf16_128, &attention_bf16_192,
                                                   &attention_bf16_256};
    att_args a = att_operands(k, 0);
    uint16_t *packed[3], *to = k->scratch;
    if (a.batch * a.heads * a.tq == 0) return;
    for (int i = 0; i < 3; i++) {
        packed[i] = to;
        att_pack_run(k, &k->in[i], to);
        to += att_packed(rows_in(k, i), k->in[i].shape.dim[3]);
    }
    a.pq = packed[0];
    a.pk = packed[1];
    a.pv = packed[2];
    a.pd = att_padded(a.d);
    a.pdv = att_padded(a.dim_v);
    a.y = k->out[0].data;
    a.lse = k->out[1].data;
    a.tiles = gy_blocks(a.tq * a.group, SIDE);
    int widest = a.pd > a.pdv ? a.pd : a.pdv, nc = widest <= 64 ? 1 : (widest + 63) / 64;
    gy_cuda_launch(k, kernel[nc - 1], (gy_grid){a.batch * a.kv_heads * a.tiles, 1, 1}, MMA_THREADS,
                   (size_t)(5 * SIDE * 64 * nc) * 2 + SIDE * sizeof(att_row), &a, sizeof a);
}
#endif
