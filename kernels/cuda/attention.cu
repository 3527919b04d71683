/* Attention and its gradient in f32. No matrix of scores exists: a block owns 64 queries of one head (or of the heads
 * that share a key head: grouped queries fill tiles even where each head has few), walks over the keys 64 at a time,
 * and keeps maximum, sum and weighted sum of v as it goes (Milakov, Gimelshein 2018, arXiv 1805.02867; Dao et al. 2022,
 * arXiv 2205.14135). Features come in chunks of 64, so that any head size is served by the same 80 KiB of shared
 * memory: two stages of two tiles, one brought by cp.async while the other is multiplied, and a tile of weights. 178 to
 * 255 registers a thread (sm_80) leave room for one block an SM.
 *
 * Backward, with weights computed again from lse: delta = <ct, y> a query; then one walk over the keys for dq (own
 * queries), one over the queries for dk and dv (own keys), so that every sum has one owner and no atomics are needed:
 * seven products instead of five. dbias, if wanted, is a third walk, over the samples and heads that share the bias.
 *
 * Work: 2 (D + Dv) flops a pair forward. A pair of tiles is 2 x 16 KiB for 64^3 multiply-adds, so the bound is the f32
 * units', not memory. */
#include "attention_tile.h"

enum { FORWARD, TO_QUERIES, TO_KEYS, TO_BIAS };

typedef struct {
    int kind, pairs_qk, pairs_ctv, first_out, outs; /* phases of one tile, in this order; chunks of the output */
} att_plan;

GY_DEVICE float *slot_a(int step) {
    return GY_SHARED(float) + (step & 1) * 2 * TILE;
}
GY_DEVICE float *slot_b(int step) {
    return slot_a(step) + TILE;
}
GY_DEVICE float *weights_tile(void) {
    return GY_SHARED(float) + 4 * TILE;
}

/* Brings what `phase` of the tiles at p multiplies: two chunks, of the block's own rows and of the others', or for an
 * output chunk, which the weights multiply, the others' alone. */
GY_DEVICE void fetch_phase(const att_args *a, const att_plan *w, const att_place *p, int phase, int step) {
    bool own_keys = w->kind == TO_KEYS;
    float *queries = own_keys ? slot_b(step) : slot_a(step), *keys = own_keys ? slot_a(step) : slot_b(step);
    if (phase < w->pairs_qk) {
        fetch(a, queries, &a->q, p, true, phase * SIDE, a->d);
        fetch(a, keys, &a->k, p, false, phase * SIDE, a->d);
    } else if (phase < w->pairs_qk + w->pairs_ctv) {
        int c = (phase - w->pairs_qk) * SIDE;
        fetch(a, queries, &a->ct, p, true, c, a->dim_v);
        fetch(a, keys, &a->v, p, false, c, a->dim_v);
    } else {
        int c = w->first_out + phase - w->pairs_qk - w->pairs_ctv;
        if (w->kind == FORWARD) fetch(a, slot_b(step), &a->v, p, false, c * SIDE, a->dim_v);
        if (w->kind == TO_QUERIES) fetch(a, slot_b(step), &a->k, p, false, c * SIDE, a->d);
        if (w->kind == TO_KEYS && c < w->pairs_ctv) fetch(a, slot_b(step), &a->ct, p, true, c * SIDE, a->dim_v);
        if (w->kind == TO_KEYS && c >= w->pairs_ctv)
            fetch(a, slot_b(step), &a->q, p, true, (c - w->pairs_ctv) * SIDE, a->d);
    }
    gy_cp_async_commit();
}

/* Waits for step `step`, and begins to bring the next: phase + 1 at p, or phase 0 at `next`. */
GY_DEVICE void turn(const att_args *a, const att_plan *w, const att_place *p, const att_place *next, bool last,
                    int phase, int step) {
    bool more = phase + 1 < w->pairs_qk + w->pairs_ctv + w->outs;
    gy_cp_async_wait(0);
    __syncthreads();
    if (more || !last) fetch_phase(a, w, more ? p : next, more ? phase + 1 : 0, step + 1);
}

GY_DEVICE int chunk_columns(int chunk, int d) {
    return d - chunk * SIDE < SIDE ? d - chunk * SIDE : SIDE;
}

/* s += the products of all chunks of q and k (or of ct and v, behind them). */
GY_DEVICE int multiply_pairs(const att_args *a, const att_plan *w, const att_place *p, const att_place *next, bool last,
                             bool ctv, int step, float s[4][4]) {
    int n = ctv ? w->pairs_ctv : w->pairs_qk;
    clear(s);
    for (int c = 0; c < n; c++, step++) {
        turn(a, w, p, next, last, ctv ? w->pairs_qk + c : c, step);
        int n_columns = chunk_columns(c, ctv ? a->dim_v : a->d);
        if (w->kind == TO_BIAS && a->rounded)
            product_t(s, slot_a(step), slot_b(step), n_columns, true);
        else
            product_t(s, slot_a(step), slot_b(step), n_columns, false);
    }
    return step;
}

GY_DEVICE int chunks(int d) {
    return (d + SIDE - 1) / SIDE;
}
GY_DEVICE att_place place_of_block(const att_args *a) {
    att_place p;
    int64_t head = blockIdx.x / a->tiles;
    p.b = head / a->kv_heads;
    p.kv = (int)(head % a->kv_heads);
    p.head = p.kv * a->group;
    p.rows = a->tq * a->group;
    p.row0 = p.key0 = 0;
    return p;
}
GY_DEVICE int outputs_here(int first, int all, int most) {
    return all - first < most ? all - first : most;
}

/* Columns 4 tx + e of chunk `c` of a [B, T, H, d] tensor at time t of head h. */
GY_DEVICE void put_output(float *to, int64_t b, int64_t t, int64_t times, int h, int heads, int c, int d,
                          const float v[4], float scale) {
    for (int e = 0; e < 4; e++) {
        int col = c * SIDE + 4 * (int)(threadIdx.x % 16) + e;
        if (col < d) to[((b * times + t) * heads + h) * d + col] = v[e] * scale;
    }
}

/* blockIdx.x: sample, key head, 64 queries; blockIdx.y: OUTS chunks of v's features. */
GY_DEVICE void attend(const att_args *a, const int OUTS) {
    att_place p = place_of_block(a), next;
    att_plan w;
    int ty = (int)threadIdx.x / 16, step = 0;
    float m[4], sum[4], s[4][4], acc[4][4][4];
    att_query q[4];
    p.row0 = blockIdx.x % a->tiles * SIDE;
    w.kind = FORWARD;
    w.pairs_qk = chunks(a->d);
    w.pairs_ctv = 0;
    w.first_out = (int)blockIdx.y * OUTS;
    w.outs = outputs_here(w.first_out, chunks(a->dim_v), OUTS);
    GY_UNROLL
    for (int i = 0; i < 4; i++) {
        q[i] = query_of(a, &p, p.row0 + 4 * ty + i);
        m[i] = -INFINITY;
        sum[i] = 0;
    }
    GY_UNROLL
    for (int o = 0; o < OUTS; o++) clear(acc[o]);
    int64_t seen = keys_seen(a, &p), end = seen < a->tk ? seen : a->tk;
    next = p;
    if (end > 0) fetch_phase(a, &w, &p, 0, 0);
    for (; p.key0 < end; p = next) {
        next.key0 = p.key0 + SIDE;
        bool last = next.key0 >= end;
        step = multiply_pairs(a, &w, &p, &next, last, false, step, s);
        GY_UNROLL
        for (int i = 0; i < 4; i++) {
            float top = -INFINITY, part = 0;
            GY_UNROLL
            for (int j = 0; j < 4; j++) {
                s[i][j] = score_of(a, &q[i], p.key0 + (int)threadIdx.x % 16 + 16 * j, s[i][j]);
                top = fmaxf(top, s[i][j]);
            }
            top = fmaxf(m[i], row_max(top));
            GY_UNROLL
            for (int j = 0; j < 4; j++) {
                s[i][j] = weight_of(s[i][j], top);
                part += s[i][j];
            }
            float shrink = weight_of(m[i], top);
            m[i] = top;
            sum[i] = fmaf(sum[i], shrink, row_sum(part));
            GY_UNROLL
            for (int o = 0; o < OUTS; o++) {
                GY_UNROLL
                for (int e = 0; e < 4; e++) acc[o][i][e] *= shrink;
            }
        }
        put_scores(weights_tile(), s);
        int n = a->tk - p.key0 < SIDE ? (int)(a->tk - p.key0) : SIDE;
        GY_UNROLL
        for (int o = 0; o < OUTS; o++) {
            if (o >= w.outs) continue;
            turn(a, &w, &p, &next, last, w.pairs_qk + o, step);
            if (a->mask)
                product(acc[o], weights_tile(), slot_b(step), n, true);
            else
                product(acc[o], weights_tile(), slot_b(step), n, false);
            step++;
        }
    }
    GY_UNROLL
    for (int i = 0; i < 4; i++) {
        if (!q[i].there) continue;
        bool blind = m[i] == -INFINITY && sum[i] == 0;
        if (blockIdx.y == 0 && threadIdx.x % 16 == 0) a->lse[q[i].statistics] = blind ? -INFINITY : m[i] + logf(sum[i]);
        GY_UNROLL
        for (int o = 0; o < OUTS; o++)
            if (o < w.outs)
                put_output(a->y, p.b, q[i].time, a->tq, q[i].head, a->heads, w.first_out + o, a->dim_v, acc[o][i],
                           blind ? 0 : 1 / sum[i]);
    }
}
GY_KERNEL(attention_64, att_args, THREADS) {
    attend(a, 1);
}
GY_KERNEL(attention_128, att_args, THREADS) {
    attend(a, 2);
}
GY_KERNEL(attention_256, att_args, THREADS) {
    attend(a, 4);
}

/* ---- gradient ---- */

/* delta = <ct, y>: a warp a (sample, head, query). */
GY_KERNEL(attention_delta, att_args, THREADS) {
    int64_t r = (int64_t)blockIdx.x * (blockDim.x / GY_WARP) + threadIdx.x / GY_WARP;
    if (r >= a->batch * a->heads * a->tq) return;
    int64_t b = r / a->tq / a->heads, h = r / a->tq % a->heads, t = r % a->tq;
    const float *ct = a->ct.data + ((b * a->tq + t) * a->heads + h) * a->dim_v;
    const float *y = a->given_y + ((b * a->tq + t) * a->heads + h) * a->dim_v;
    float sum = 0;
    for (int c = gy_lane(); c < a->dim_v; c += GY_WARP)
        sum = fmaf(a->rounded ? gy_bf16_rounded(ct[c]) : ct[c], y[c], sum);
    sum = gy_warp_sum_f32(sum);
    if (gy_lane() == 0) a->delta[r] = sum;
}

/* s: scores' dots to weights; ds: <ct, v> to the scores' cotangents. */
GY_DEVICE void weight_and_slope(const att_args *a, const att_query *q, int64_t key, float lse, float delta, float *s,
                                float *ds) {
    float score = score_of(a, q, key, *s);
    *s = weight_of(score, lse);
    *ds = *s == 0 ? 0 : *s * (*ds - delta);
}

/* dq of 64 queries; blockIdx.y: OUTS chunks of its features. */
GY_DEVICE void to_queries(const att_args *a, const int OUTS) {
    att_place p = place_of_block(a), next;
    att_plan w;
    int ty = (int)threadIdx.x / 16, step = 0;
    float s[4][4], ds[4][4], acc[4][4][4], lse[4], delta[4];
    att_query q[4];
    p.row0 = blockIdx.x % a->tiles * SIDE;
    w.kind = TO_QUERIES;
    w.pairs_qk = chunks(a->d);
    w.pairs_ctv = chunks(a->dim_v);
    w.first_out = (int)blockIdx.y * OUTS;
    w.outs = outputs_here(w.first_out, chunks(a->d), OUTS);
    GY_UNROLL
    for (int i = 0; i < 4; i++) {
        q[i] = query_of(a, &p, p.row0 + 4 * ty + i);
        lse[i] = q[i].there ? a->given_lse[q[i].statistics] : 0;
        delta[i] = q[i].there ? a->delta[q[i].statistics] : 0;
    }
    GY_UNROLL
    for (int o = 0; o < OUTS; o++) clear(acc[o]);
    int64_t seen = keys_seen(a, &p), end = seen < a->tk ? seen : a->tk;
    next = p;
    if (end > 0) fetch_phase(a, &w, &p, 0, 0);
    for (; p.key0 < end; p = next) {
        next.key0 = p.key0 + SIDE;
        bool last = next.key0 >= end;
        step = multiply_pairs(a, &w, &p, &next, last, false, step, s);
        step = multiply_pairs(a, &w, &p, &next, last, true, step, ds);
        GY_UNROLL
        for (int i = 0; i < 4; i++) {
            GY_UNROLL
            for (int j = 0; j < 4; j++)
                weight_and_slope(a, &q[i], p.key0 + (int)threadIdx.x % 16 + 16 * j, lse[i], delta[i], &s[i][j],
                                 &ds[i][j]);
        }
        put_scores(weights_tile(), ds);
        int n = a->tk - p.key0 < SIDE ? (int)(a->tk - p.key0) : SIDE;
        GY_UNROLL
        for (int o = 0; o < OUTS; o++) {
            if (o >= w.outs) continue;
            turn(a, &w, &p, &next, last, w.pairs_qk + w.pairs_ctv + o, step);
            product(acc[o], weights_tile(), slot_b(step), n, false);
            step++;
        }
    }
    GY_UNROLL
    for (int i = 0; i < 4; i++) {
        if (!q[i].there) continue;
        GY_UNROLL
        for (int o = 0; o < OUTS; o++)
            if (o < w.outs)
                put_output(a->dq, p.b, q[i].time, a->tq, q[i].head, a->heads, w.first_out + o, a->d, acc[o][i],
                           a->scale);
    }
}
GY_KERNEL(attention_dq_64, att_args, THREADS) {
    to_queries(a, 1);
}
GY_KERNEL(attention_dq_128, att_args, THREADS) {
    to_queries(a, 2);
}
GY_KERNEL(attention_dq_256, att_args, THREADS) {
    to_queries(a, 4);
}

/* dk and dv of 64 keys: their chunks are numbered dv's first; blockIdx.y: OUTS of them. */
GY_DEVICE void to_keys(const att_args *a, const int OUTS) {
    att_place p = place_of_block(a), next;
    att_plan w;
    int tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16, step = 0;
    float s[4][4], ds[4][4], acc[4][4][4];
    p.key0 = blockIdx.x % a->tiles * SIDE;
    w.kind = TO_KEYS;
    w.pairs_qk = chunks(a->d);
    w.pairs_ctv = chunks(a->dim_v);
    w.first_out = (int)blockIdx.y * OUTS;
    w.outs = outputs_here(w.first_out, w.pairs_qk + w.pairs_ctv, OUTS);
    GY_UNROLL
    for (int o = 0; o < OUTS; o++) clear(acc[o]);
    p.row0 = next_seeing(a, p);
    next = p;
    if (p.row0 < p.rows) fetch_phase(a, &w, &p, 0, 0);
    for (; p.row0 < p.rows; p = next) {
        next.row0 += SIDE;
        next.row0 = next_seeing(a, next);
        bool last = next.row0 >= next.rows;
        step = multiply_pairs(a, &w, &p, &next, last, false, step, s);
        step = multiply_pairs(a, &w, &p, &next, last, true, step, ds);
        GY_UNROLL
        for (int j = 0; j < 4; j++) {
            att_query q = query_of(a, &p, p.row0 + tx + 16 * j);
            float lse = q.there ? a->given_lse[q.statistics] : 0, delta = q.there ? a->delta[q.statistics] : 0;
            GY_UNROLL
            for (int i = 0; i < 4; i++) weight_and_slope(a, &q, p.key0 + 4 * ty + i, lse, delta, &s[i][j], &ds[i][j]);
        }
        int n = p.rows - p.row0 < SIDE ? (int)(p.rows - p.row0) : SIDE;
        if (w.first_out < w.pairs_ctv) put_scores(weights_tile(), s);
        GY_UNROLL
        for (int o = 0; o < OUTS; o++) {
            if (o >= w.outs) continue;
            turn(a, &w, &p, &next, last, w.pairs_qk + w.pairs_ctv + o, step);
            if (w.first_out + o == w.pairs_ctv || (o == 0 && w.first_out > w.pairs_ctv))
                put_scores(weights_tile(), ds); /* the weights have been read: a barrier ago */
            product(acc[o], weights_tile(), slot_b(step), n, false);
            step++;
        }
    }
    GY_UNROLL
    for (int i = 0; i < 4; i++) {
        int64_t key = p.key0 + 4 * ty + i;
        if (key >= a->tk) continue;
        GY_UNROLL
        for (int o = 0; o < OUTS; o++) {
            int c = w.first_out + o, c_dk = c - w.pairs_ctv;
            if (o >= w.outs) continue;
            if (c_dk < 0)
                put_output(a->dv, p.b, key, a->tk, p.kv, a->kv_heads, c, a->dim_v, acc[o][i], 1);
            else
                put_output(a->dk, p.b, key, a->tk, p.kv, a->kv_heads, c_dk, a->d, acc[o][i], a->scale);
        }
    }
}
GY_KERNEL(attention_dkdv_64, att_args, THREADS) {
    to_keys(a, 2);
}
GY_KERNEL(attention_dkdv_128, att_args, THREADS) {
    to_keys(a, 4);
}

/* The (sample, head) pairs behind element (b, h) of the bias are numbered; a block takes a share of them and adds their
 * ds of 64 queries and 64 keys. blockIdx.x: share, b, h, query tile, key tile of the bias. Axes that the bias lacks
 * are summed within the tile. partial[share, b, h, i or tile, j or tile]. */
GY_KERNEL(attention_dbias, att_args, THREADS) {
    int64_t key_tiles = (a->tk + SIDE - 1) / SIDE, index = blockIdx.x, i_dim = a->bias_dim[2], j_dim = a->bias_dim[3];
    int64_t tile_j = index % key_tiles, tile_i = index / key_tiles % a->tiles;
    index = index / key_tiles / a->tiles;
    int64_t h0 = index % a->bias_dim[1], b0 = index / a->bias_dim[1] % a->bias_dim[0];
    int64_t share = index / a->bias_dim[1] / a->bias_dim[0];
    int64_t over_h = a->bias_dim[1] == 1 ? a->heads : 1, over = over_h * (a->bias_dim[0] == 1 ? a->batch : 1);
    int64_t from = share * a->split, to = from + a->split < over ? from + a->split : over;
    att_place p, next;
    att_plan w;
    int tx = (int)threadIdx.x % 16, ty = (int)threadIdx.x / 16, step = 0;
    float s[4][4], ds[4][4], acc[4][4];
    w.kind = TO_BIAS;
    w.pairs_qk = chunks(a->d);
    w.pairs_ctv = chunks(a->dim_v);
    w.first_out = w.outs = 0;
    clear(acc);
    next.row0 = tile_i * SIDE;
    next.key0 = tile_j * SIDE;
    next.rows = a->tq;
    next.b = b0 + from / over_h;
    next.head = (int)(h0 + from % over_h);
    next.kv = next.head / a->group;
    if (from < to) fetch_phase(a, &w, &next, 0, 0);
    for (int64_t n = from; n < to; n++) {
        p = next;
        next.b = b0 + (n + 1) / over_h;
        next.head = (int)(h0 + (n + 1) % over_h);
        next.kv = next.head / a->group;
        step = multiply_pairs(a, &w, &p, &next, n + 1 == to, false, step, s);
        step = multiply_pairs(a, &w, &p, &next, n + 1 == to, true, step, ds);
        GY_UNROLL
        for (int i = 0; i < 4; i++) {
            att_query q = query_of(a, &p, p.row0 + 4 * ty + i);
            float lse = q.there ? a->given_lse[q.statistics] : 0, delta = q.there ? a->delta[q.statistics] : 0;
            GY_UNROLL
            for (int j = 0; j < 4; j++) {
                weight_and_slope(a, &q, p.key0 + tx + 16 * j, lse, delta, &s[i][j], &ds[i][j]);
                acc[i][j] += ds[i][j];
            }
        }
    }
    p = next;
    float *part = a->partial + ((share * a->bias_dim[0] + b0) * a->bias_dim[1] + h0) * (i_dim == 1 ? a->tiles : i_dim) *
                                   (j_dim == 1 ? key_tiles : j_dim);
    int64_t line = j_dim == 1 ? key_tiles : j_dim;
    __syncthreads(); /* the last products are done with the tiles */
    put_scores(weights_tile(), acc);
    __syncthreads();
    /* sums down the tile's columns, along its rows, or both: one thread a result; in memory order */
    int rows = a->tq - p.row0 < SIDE ? (int)(a->tq - p.row0) : SIDE;
    int cols = a->tk - p.key0 < SIDE ? (int)(a->tk - p.key0) : SIDE;
    int out_rows = i_dim == 1 ? 1 : rows, out_cols = j_dim == 1 ? 1 : cols;
    for (int e = (int)threadIdx.x; e < out_rows * out_cols; e += THREADS) {
        int r = e / out_cols, c = e % out_cols;
        float sum = 0;
        for (int i = i_dim == 1 ? 0 : r; i < (i_dim == 1 ? rows : r + 1); i++)
            for (int j = j_dim == 1 ? 0 : c; j < (j_dim == 1 ? cols : c + 1); j++)
                sum += weights_tile()[place(i, j / 4) + j % 4];
        part[(i_dim == 1 ? tile_i : p.row0 + r) * line + (j_dim == 1 ? tile_j : p.key0 + c)] = sum;
    }
}

/* Adds shares and tiles: a thread an element of the bias. */
GY_KERNEL(attention_dbias_sum, att_args, THREADS) {
    int64_t n = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, key_tiles = (a->tk + SIDE - 1) / SIDE;
    int64_t j_dim = a->bias_dim[3], i_dim = a->bias_dim[2], heads = a->bias_dim[0] * a->bias_dim[1];
    if (n >= heads * i_dim * j_dim) return;
    int64_t j = n % j_dim, i = n / j_dim % i_dim, head = n / j_dim / i_dim;
    int64_t lines = i_dim == 1 ? a->tiles : i_dim, line = j_dim == 1 ? key_tiles : j_dim;
    float sum = 0;
    for (int64_t share = 0; share < a->splits; share++)
        for (int64_t r = i_dim == 1 ? 0 : i; r < (i_dim == 1 ? lines : i + 1); r++)
            for (int64_t c = j_dim == 1 ? 0 : j; c < (j_dim == 1 ? line : j + 1); c++)
                sum += a->partial[((share * heads + head) * lines + r) * line + c];
    a->dbias[n] = sum;
}

#ifdef GY_HOST
void cuda_attention(const gy_kargs *k);
void cuda_attention_grad(const gy_kargs *k);
size_t cuda_attention_grad_scratch(const gy_kargs *k, int threads);

enum { SHARED = 5 * TILE * (int)sizeof(float), SHARES = 16 };

static int64_t chunks_of(int64_t d) {
    return gy_blocks(d, SIDE);
}

void cuda_attention(const gy_kargs *k) {
    att_args a = att_operands(k, 0);
    a.rounded = 0;
    int64_t outs = chunks_of(a.dim_v), each = outs <= 1 ? 1 : outs <= 2 ? 2 : 4;
    a.y = k->out[0].data;
    a.lse = k->out[1].data;
    a.tiles = gy_blocks(a.tq * a.group, SIDE);
    if (a.batch * a.heads * a.tq == 0) return;
    gy_cuda_launch(k,
                   each == 1   ? &attention_64
                   : each == 2 ? &attention_128
                               : &attention_256,
                   (gy_grid){a.batch * a.kv_heads * a.tiles, outs ? gy_blocks(outs, each) : 1, 1}, THREADS, SHARED, &a,
                   sizeof a);
}

/* How the work of dbias is shared, and its partial sums' size. */
static int64_t share_bias(att_args *a, gy_shape s) {
    for (int64_t i = 0; i < 4; i++) a->bias_dim[i] = i < 4 - s.rank ? 1 : s.dim[i - (4 - s.rank)];
    int64_t over = (a->bias_dim[0] == 1 ? a->batch : 1) * (a->bias_dim[1] == 1 ? a->heads : 1);
    int64_t q_tiles = gy_blocks(a->tq, SIDE), k_tiles = gy_blocks(a->tk, SIDE);
    a->split = gy_blocks(over, SHARES);
    a->splits = a->split ? gy_blocks(over, a->split) : 0;
    return a->splits * a->bias_dim[0] * a->bias_dim[1] * (a->bias_dim[2] == 1 ? q_tiles : a->tq) *
           (a->bias_dim[3] == 1 ? k_tiles : a->tk);
}

size_t cuda_attention_grad_scratch(const gy_kargs *k, int threads) {
    att_args a = att_operands(k, 1);
    int64_t n = a.batch * a.heads * a.tq;
    (void)threads;
    if (k->n_out > 3) n += share_bias(&a, k->out[3].shape);
    return (size_t)n * sizeof(float);
}

void att_delta_run(const gy_kargs *k, const att_args *a) {
    int64_t rows = a->batch * a->heads * a->tq;
    int warps = rows < 4 ? 1 : 4;
    gy_cuda_launch(k, &attention_delta, (gy_grid){gy_blocks(rows, warps), 1, 1}, warps * GY_WARP, 0, a, sizeof *a);
}
void att_dbias_run(const gy_kargs *k, att_args *a) {
    if (k->n_out < 4) return;
    a->dbias = k->out[3].data;
    a->partial = a->delta + a->batch * a->heads * a->tq;
    share_bias(a, k->out[3].shape);
    a->tiles = gy_blocks(a->tq, SIDE);
    gy_cuda_launch(k, &attention_dbias,
                   (gy_grid){a->splits * a->bias_dim[0] * a->bias_dim[1] * a->tiles * gy_blocks(a->tk, SIDE), 1, 1},
                   THREADS, SHARED, a, sizeof *a);
    int64_t n = gy_shape_count(k->out[3].shape);
    gy_cuda_launch(k, &attention_dbias_sum, (gy_grid){gy_blocks(n, 128), 1, 1}, 128, 0, a, sizeof *a);
}

/* in = (ct, q, k, v, mask, bias, y, lse) -> dq, dk, dv, dbias if there is a bias. */
void cuda_attention_grad(const gy_kargs *k) {
    att_args a = att_operands(k, 1);
    a.rounded = 0;
    int64_t heads = a.batch * a.kv_heads;
    int64_t c = chunks_of(a.d), all = c + chunks_of(a.dim_v), each = c <= 1 ? 1 : c <= 2 ? 2 : 4;
    a.ct = att_view_of(&k->in[0]);
    a.given_y = k->in[6].data;
    a.given_lse = k->in[7].data;
    a.dq = k->out[0].data;
    a.dk = k->out[1].data;
    a.dv = k->out[2].data;
    a.delta = k->scratch;
    att_delta_run(k, &a);
    a.tiles = gy_blocks(a.tq * a.group, SIDE);
    gy_cuda_launch(k,
                   each == 1   ? &attention_dq_64
                   : each == 2 ? &attention_dq_128
                               : &attention_dq_256,
                   (gy_grid){heads * a.tiles, gy_blocks(c, each), 1}, THREADS, SHARED, &a, sizeof a);
    a.tiles = gy_blocks(a.tk, SIDE);
    each = all <= 2 ? 2 : 4;
    gy_cuda_launch(k, each == 2 ? &attention_dkdv_64 : &attention_dkdv_128,
                   (gy_grid){heads * a.tiles, gy_blocks(all, each), 1}, THREADS, SHARED, &a, sizeof a);
    att_dbias_run(k, &a);
}
#endif
