/* The gradient of attention in plans of precision bf16, on tensor cores: factors of the products, the weights and ds
 * among them, are rounded to bf16, everything else is f32. Three walks with the same body: dq by blocks of 64 queries
 * over the keys; dk, and dv, by blocks of 64 keys over the queries, each sum with one owner. Each computes the weights
 * again from lse: eight products instead of five, and 32 NC sums a thread, which fit in registers.
 *
 *     own      first (q, or k) and second (ct, or v): stay in shared memory
 *     others   first (k, or q) and second (v, or ct): two stages, by cp.async
 *     scores   own first x others' first; slopes own second x others' second
 *     result   slopes x others' first; of dv: weights x others' second
 *
 * 48 KiB of shared memory for heads of 64. The bias's gradient is attention.cu's. */
#include "attention_mma.h"

enum { TO_Q, TO_K, TO_V };

/* blockIdx.x: sample, key head, 64 rows; y of the keys' blocks: dk or dv. */
GY_DEVICE void gradient(const att_args *a, const bool QUERIES, const int NC) {
    const int TILE_U = SIDE * 64 * NC;
    uint16_t *own = GY_SHARED(uint16_t), *others = own + 2 * TILE_U;
    att_row *rows = (att_row *)(void *)(others + 4 * TILE_U); /* of two tiles */
    int kind = QUERIES ? TO_Q : blockIdx.y == 0 ? TO_K : TO_V;
    int warp = (int)threadIdx.x / 32, group = gy_lane() / 4, spot = gy_lane() % 4;
    const uint16_t *own1 = QUERIES ? a->pq : a->pk, *own2 = QUERIES ? a->pct : a->pv;
    const uint16_t *other1 = QUERIES ? a->pk : a->pq, *other2 = QUERIES ? a->pv : a->pct;
    float s[8][4], ds[8][4], acc[32][4];
    att_place p = mma_place(a), next;
    *(QUERIES ? &p.row0 : &p.key0) = blockIdx.x % a->tiles * SIDE;
    GY_UNROLL
    for (int j = 0; j < 8 * NC; j++) {
        GY_UNROLL
        for (int e = 0; e < 4; e++) acc[j][e] = 0;
    }
    int64_t end = p.rows;
    if (QUERIES) {
        int64_t seen = keys_seen(a, &p);
        end = seen < a->tk ? seen : a->tk;
    } else {
        p.row0 = next_seeing(a, p);
    }
    bring(a, own, own1, &p, QUERIES, a->pd, NC);
    if (kind != TO_V) bring(a, own + TILE_U, own2, &p, QUERIES, a->pdv, NC);
    bring(a, others, other1, &p, !QUERIES, a->pd, NC);
    bring(a, others + TILE_U, other2, &p, !QUERIES, a->pdv, NC);
    gy_cp_async_commit();
    put_rows(a, rows, &p);
    for (int stage = 0; (QUERIES ? p.key0 : p.row0) < end; stage ^= 1, p = next) {
        const uint16_t *first = others + stage * 2 * TILE_U, *second = first + TILE_U;
        const att_row *r = rows + (QUERIES ? 0 : stage * SIDE);
        gy_cp_async_wait(0);
        __syncthreads(); /* this stage is there; all are done with the other */
        next = p;
        if (QUERIES) {
            next.key0 += SIDE;
        } else {
            next.row0 += SIDE;
            next.row0 = next_seeing(a, next);
        }
        if ((QUERIES ? next.key0 : next.row0) < end) {
            uint16_t *to = others + (stage ^ 1) * 2 * TILE_U;
            bring(a, to, other1, &next, !QUERIES, a->pd, NC);
            bring(a, to + TILE_U, other2, &next, !QUERIES, a->pdv, NC);
            if (!QUERIES) put_rows(a, rows + (stage ^ 1) * SIDE, &next);
        }
        gy_cp_async_commit();
        mma_pairs(s, own, first, a->pd, NC);
        if (kind != TO_V) mma_pairs(ds, own + TILE_U, second, a->pdv, NC);
        bool plain = all_seen(a, &p, p.key0);
        GY_UNROLL
        for (int j = 0; j < 32; j++) {
            int line = warp * 16 + group + j % 4 / 2 * 8, col = j / 4 * 8 + spot * 2 + j % 2;
            const att_row *q = &r[QUERIES ? line : col];
            float *v = &s[j / 4][j % 4], *d = &ds[j / 4][j % 4];
            float score = plain ? *v * a->scale : score_of(a, &q->q, p.key0 + (QUERIES ? col : line), *v);
            *v = weight_of(score, q->lse);
            if (kind != TO_V) *d = *v == 0 ? 0 : *v * (*d - q->delta);
        }
        if (kind == TO_V)
            mma_weighted(acc, s, second, a->pdv, NC);
        else
            mma_weighted(acc, ds, first, a->pd, NC);
    }
    GY_UNROLL
    for (int i = 0; i < 2; i++) {
        int line = warp * 16 + group + 8 * i;
        if (QUERIES) {
            const att_query *q = &rows[line].q;
            if (p.row0 + line < p.rows)
                mma_put(a->dq + ((p.b * a->tq + q->time) * a->heads + q->head) * a->d, acc, i, a->d, a->scale, NC);
        } else if (p.key0 + line < a->tk) {
            int64_t to = (p.b * a->tk + p.key0 + line) * a->kv_heads + p.kv;
            if (kind == TO_K)
                mma_put(a->dk + to * a->d, acc, i, a->d, a->scale, NC);
            else
                mma_put(a->dv + to * a->dim_v, acc, i, a->dim_v, 1, NC);
        }
    }
}
GY_KERNEL(attention_bf16_dq_64, att_args, MMA_THREADS) {
    gradient(a, true, 1);
}
GY_KERNEL(attention_bf16_dq_128, att_args, MMA_THREADS) {
    gradient(a, true, 2);
}
GY_KERNEL(attention_bf16_dq_192, att_args, MMA_THREADS) {
    gradient(a, true, 3);
}
GY_KERNEL(attention_bf16_dkdv_64, att_args, MMA_THREADS) {
    gradient(a, false, 1);
}
GY_KERNEL(attention_bf16_dkdv_128, att_args, MMA_THREADS) {
    gradient(a, false, 2);
}
GY_KERNEL(attention_bf16_dkdv_192, att_args, MMA_THREADS) {
    gradient(a, false, 3);
}

#ifdef GY_HOST
void cuda_attention_grad_bf16(const gy_kargs *k);
bool cuda_attention_grad_bf16_supports(const gy_kargs *k);
size_t cuda_attention_grad_bf16_scratch(const gy_kargs *k, int threads);
size_t cuda_attention_grad_scratch(const gy_kargs *k, int threads);

/* Longer heads: in f32. */
bool cuda_attention_grad_bf16_supports(const gy_kargs *k) {
    return k->in[1].shape.dim[3] <= 192 && k->in[3].shape.dim[3] <= 192;
}

static int64_t packed_of(const gy_view *v) {
    return att_packed(v->shape.dim[0] * v->shape.dim[1] * v->shape.dim[2], v->shape.dim[3]);
}

/* ct, q, k, v as bf16, then what the f32 gradient needs. */
size_t cuda_attention_grad_bf16_scratch(const gy_kargs *k, int threads) {
    int64_t n = 0;
    for (int i = 0; i < 4; i++) n += packed_of(&k->in[i]);
    return (size_t)n * 2 + cuda_attention_grad_scratch(k, threads);
}

void cuda_attention_grad_bf16(const gy_kargs *k) {
    static const gy_cuda_kernel *const kernel[3][2] = {{&attention_bf16_dq_64, &attention_bf16_dkdv_64},
                                                       {&attention_bf16_dq_128, &attention_bf16_dkdv_128},
                                                       {&attention_bf16_dq_192, &attention_bf16_dkdv_192}};
    att_args a = att_operands(k, 1);
    uint16_t *packed[4], *to = k->scratch;
    for (int i = 0; i < 4; i++) {
        packed[i] = to;
        att_pack_run(k, &k->in[i], to);
        to += packed_of(&k->in[i]);
    }
    a.pct = packed[0];
    a.pq = packed[1];
    a.pk = packed[2];
    a.pv = packed[3];
    a.pd = att_padded(a.d);
    a.pdv = att_padded(a.dim_v);
    a.ct = att_view_of(&k->in[0]);
    a.given_y = k->in[6].data;
    a.given_lse = k->in[7].data;
    a.dq = k->out[0].data;
    a.dk = k->out[1].data;
    a.dv = k->out[2].data;
    a.delta = (float *)(void *)to;
    att_delta_run(k, &a);
    int widest = a.pd > a.pdv ? a.pd : a.pdv, nc = widest <= 64 ? 1 : (widest + 63) / 64;
    size_t shared = (size_t)(6 * SIDE * 64 * nc) * 2 + 2 * SIDE * sizeof(att_row);
    a.tiles = gy_blocks(a.tq * a.group, SIDE);
    gy_cuda_launch(k, kernel[nc - 1][0], (gy_grid){a.batch * a.kv_heads * a.tiles, 1, 1}, MMA_THREADS, shared, &a,
                   sizeof a);
    a.tiles = gy_blocks(a.tk, SIDE);
    gy_cuda_launch(k, kernel[nc - 1][1], (gy_grid){a.batch * a.kv_heads * a.tiles, 2, 1}, MMA_THREADS, shared, &a,
                   sizeof a);
    att_dbias_run(k, &a);
}
#endif
