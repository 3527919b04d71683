/* Attention backward: the products and the order of work are told in attention.c. A tile is (sample, key head) with all
 * its queries; it owns its dk, dv and dq, so that no sum is shared between tiles.
 *
 * Measured on Zen 4, one thread (`gyrus bench attention --match attention_grad`), of the peak of 118 GFLOP/s: 197
 * tokens of 12 heads of 64 .72, 1024 causal .78, 4096 of 8 heads of 40 .82, the same over 77 keys .65. */
#include "attention.h"

static size_t backward_floats(const attention_job *w) {
    int64_t q = kept_queries(w), wide = w->d > w->dv ? w->d : w->dv;
    return (size_t)(q * (2 * w->d + w->dv + 2) + KEYS * (3 * up(w->d, 16) + 2 * up(w->dv, 16) + 4 * Q) +
                    Q * up(wide, 16) + Q * Q);
}

/* p (from scores s and lse) and dS (from dp and delta), in place, for products or for sums. */
static void weigh(bool round, float *s, float *dp, int64_t nk, const float *lse, const float *delta) {
    for (int64_t lane = 0; lane < Q; lane += VL) {
        vf base = v_load(lse + lane), d = v_load(delta + lane);
        vm blind = v_eq(base, v_set(-INFINITY));
        for (int64_t j = 0; j < nk; j++) {
            float *at = s + j * Q + lane, *dat = dp + j * Q + lane;
            vf score = v_load(at), p = v_exp(v_sub(score, base));
            p = v_sel(blind, v_zero(), v_sel(v_eq(score, v_set(-INFINITY)), v_zero(), p));
            vf ds = v_mul(p, v_sub(v_load(dat), d));
            v_store(at, round ? v_through_bf16(p) : p);
            v_store(dat, round ? v_through_bf16(ds) : ds);
        }
    }
}

/* What a block of queries brings: q times the scale and ct as B operands, lse, and delta = <ct, y>. */
static void pack_block(const attention_job *w, int64_t b, int64_t h, int64_t i, float *queries, float *cts, float *lse,
                       float *delta) {
    int64_t nq = least(w->tq - i, Q);
    pack_queries(&w->q, b, h, i, nq, w->d, (float)w->attr->scale, queries);
    pack_queries(&w->ct, b, h, i, nq, w->dv, 1, cts);
    const float *y = w->y_in + ((b * w->tq + i) * w->h + h) * w->dv;
    for (int64_t e = 0; e < Q; e++) {
        lse[e] = e < nq ? w->lse_in[(b * w->h + h) * w->tq + i + e] : -INFINITY;
        delta[e] = e < nq ? ct_times_y(w, row(&w->ct, b, i + e, h), y + e * w->h * w->dv, w->dv) : 0;
    }
}

static void backward_tile(void *arg, int64_t t, int worker) {
    const attention_job *w = arg;
    int64_t b = t / w->hkv, hkv = t % w->hkv, group = w->h / w->hkv, kept = kept_queries(w), d16 = up(w->d, 16),
            v16 = up(w->dv, 16);
    float *queries = (float *)(void *)(w->scratch + (size_t)worker * w->room), *cts = queries + kept * w->d;
    float *dq = cts + kept * w->dv, *lse = dq + kept * w->d, *delta = lse + kept;
    float *keys = delta + kept, *keys_t = keys + KEYS * d16, *values = keys_t + KEYS * d16, *dk = values + KEYS * v16;
    float *dv = dk + KEYS * d16, *s = dv + KEYS * v16, *dp = s + KEYS * Q, *flipped = dp + KEYS * Q,
          *extra = flipped + KEYS * Q, *edge = extra + KEYS * Q;
    float scale = (float)w->attr->scale;
    for (int64_t j = 0; j == 0 || j < w->tk; j += KEYS) { /* once without keys too: dq is 0 */
        int64_t nk = least(w->tk - j, KEYS);
        line_panels(row(&w->k, b, j, hkv), w->k.stride[1], nk, w->d, keys);
        across_panels(row(&w->k, b, j, hkv), w->k.stride[1], w->d, nk, keys_t);
        line_panels(row(&w->v, b, j, hkv), w->v.stride[1], nk, w->dv, values);
        for (int64_t n = 0; n < nk * w->d; n++) dk[n] = 0;
        for (int64_t n = 0; n < nk * w->dv; n++) dv[n] = 0;
        for (int64_t g = 0; g < group; g++)
            for (int64_t i = 0; i < w->tq; i += Q) {
                int64_t h = hkv * group + g, nq = least(w->tq - i, Q), at = kept_at(w, g, i);
                float *dq_at = dq + at * w->d;
                if (j == 0) {
                    pack_block(w, b, h, i, queries + at * w->d, cts + at * w->dv, lse + at, delta + at);
                    memset(dq_at, 0, (size_t)(w->d * Q) * sizeof *dq_at);
                }
                int64_t n = scores(w, b, h, i, nq, j, nk, keys, queries + at * w->d, s, extra);
                if (n) {
                    part_product(values, nk, w->dv, n, w->dv, cts + at * w->dv, Q, dp, Q, Q, true);
                    weigh(w->rounded, s, dp, n, lse + at, delta + at);
                    part_product(keys_t, w->d, nk, w->d, n, dp, Q, dq_at, Q, Q, false);
                    line_panels(s, Q, n, nq, flipped);
                    wide_product(flipped, n, nq, row(&w->ct, b, i, h), w->ct.stride[1], dv, w->dv, w->dv, edge);
                    line_panels(dp, Q, n, nq, flipped);
                    wide_product(flipped, n, nq, row(&w->q, b, i, h), w->q.stride[1], dk, w->d, w->d, edge);
                }
                if (j + KEYS >= w->tk) write_dq(w, b, h, i, dq_at);
            }
        for (int64_t n = 0; n < nk; n++) {
            int64_t to = (b * w->tk + j + n) * w->hkv + hkv;
            for (int64_t c = 0; c < w->d; c++) w->dk[to * w->d + c] = scale * dk[n * w->d + c];
            for (int64_t c = 0; c < w->dv; c++) w->dv_out[to * w->dv + c] = dv[n * w->dv + c];
        }
    }
}

/* ---- backward: the bias ----
 *
 * A bias may be shared by samples, heads, queries or keys. A tile owns the bias elements of one (sample, head, block of
 * keys), as far as the bias tells them apart, and adds the dS of all that share them in a fixed order. */

typedef struct {
    attention_job w;
    gy_view out;
    int64_t stride[4]; /* of out over [B, H, Tq, Tk] */
    int64_t tiles[3];  /* samples, heads, blocks of keys: 1 where shared */
} bias_job;

static bias_job bias_begin(const gy_kargs *k) {
    bias_job q = {.w = attention_begin(k, 1), .out = k->out[3]};
    spread(&q.out, q.stride);
    q.tiles[0] = q.stride[0] ? q.w.b : 1;
    q.tiles[1] = q.stride[1] ? q.w.h : 1;
    q.tiles[2] = q.stride[3] ? gy_tiles(q.w.tk, KEYS) : 1;
    return q;
}
static size_t bias_floats(const attention_job *w) {
    return (size_t)((KEYS + Q) * (up(w->d, 16) + up(w->dv, 16)) + 3 * KEYS * Q + 2 * Q);
}

static void bias_block(const bias_job *q, int64_t b, int64_t h, int64_t j, float *room) {
    const attention_job *w = &q->w;
    int64_t d16 = up(w->d, 16), v16 = up(w->dv, 16), hkv = h / (w->h / w->hkv), nk = least(w->tk - j, KEYS);
    float *keys = room, *values = keys + KEYS * d16, *queries = values + KEYS * v16, *cts = queries + Q * d16;
    float *s = cts + Q * v16, *dp = s + KEYS * Q, *extra = dp + KEYS * Q, *lse = extra + KEYS * Q, *delta = lse + Q;
    line_panels(row(&w->k, b, j, hkv), w->k.stride[1], nk, w->d, keys);
    line_panels(row(&w->v, b, j, hkv), w->v.stride[1], nk, w->dv, values);
    for (int64_t i = 0; i < w->tq; i += Q) {
        int64_t nq = least(w->tq - i, Q);
        pack_block(w, b, h, i, queries, cts, lse, delta);
        int64_t seen = scores(w, b, h, i, nq, j, nk, keys, queries, s, extra);
        if (!seen) continue;
        part_product(values, nk, w->dv, seen, w->dv, cts, Q, dp, Q, Q, true);
        weigh(false, s, dp, seen, lse, delta);
        float *to = (float *)q->out.data + b * q->stride[0] + h * q->stride[1] + i * q->stride[2] + j * q->stride[3];
        for (int64_t n = 0; n < seen; n++)
            for (int64_t e = 0; e < nq; e++) to[e * q->stride[2] + n * q->stride[3]] += dp[n * Q + e];
    }
}

static void bias_tile(void *arg, int64_t t, int worker) {
    const bias_job *q = arg;
    const attention_job *w = &q->w;
    float *room = (float *)(void *)(w->scratch + (size_t)worker * w->room);
    int64_t own[3] = {t / q->tiles[2] / q->tiles[1], t / q->tiles[2] % q->tiles[1], t % q->tiles[2] * KEYS};
    for (int64_t b = q->stride[0] ? own[0] : 0; b < (q->stride[0] ? own[0] + 1 : w->b); b++)
        for (int64_t h = q->stride[1] ? own[1] : 0; h < (q->stride[1] ? own[1] + 1 : w->h); h++)
            for (int64_t j = own[2]; j < (q->stride[3] ? least(own[2] + KEYS, w->tk) : w->tk); j += KEYS)
                bias_block(q, b, h, j, room);
}

/* ---- the operator ---- */

size_t GY_ISAFN(x86_attention_grad_scratch)(const gy_kargs *k, int threads) {
    attention_job w = attention_begin(k, 1);
    size_t main = room_of(backward_floats(&w)), bias = k->n_out > 3 ? room_of(bias_floats(&w)) : 0;
    return (main > bias ? main : bias) * (size_t)threads;
}

/* in = (ct, q, k, v, mask, bias, y, lse). */
void GY_ISAFN(x86_attention_grad)(const gy_kargs *k) {
    attention_job w = attention_begin(k, 1);
    w.ct = k->in[0];
    w.y_in = k->in[6].data;
    w.lse_in = k->in[7].data;
    w.dq = k->out[0].data;
    w.dk = k->out[1].data;
    w.dv_out = k->out[2].data;
    w.room = room_of(backward_floats(&w));
    gy_par(k->pool, w.b * w.hkv, backward_tile, &w);
    if (k->n_out < 4) return;
    bias_job q = bias_begin(k);
    w.room = room_of(bias_floats(&w));
    q.w = w;
    memset(q.out.data, 0, (size_t)gy_shape_count(q.out.shape) * sizeof(float));
    gy_par(k->pool, q.tiles[0] * q.tiles[1] * q.tiles[2], bias_tile, &q);
}
