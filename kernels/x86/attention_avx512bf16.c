/* Attention forward in plans of precision bf16 by vdpbf16ps: the blocks of attention.c with factors in pairs.
 *
 *     S = K Q^T;   p = 2^(S scale / ln 2 - M);   O^T = O^T 2^(M_old - M) + V^T p
 *
 * Keys and values are rounded and packed once for all queries (4 (D + Dv) bytes a key and head). M, the largest score
 * in powers of two, is rounded up to a whole number, so that rescaling is exact and p rounds alike in every block. A
 * score costs 2 (D + Dv) FLOPs and some nine vector operations a vector beside: of 40 + 9 cycles a vector at D = 40,
 * 40 are products. Measured, one thread of Zen 4 with a peak of 236 GFLOP/s (gyrus bench attention --dtype bf16
 * --threads 1), in GFLOP/s: 12 heads of D = 64, 1024 tokens, causal 153; batch 4 of 197 tokens 133; 4096 tokens, D =
 * 40, 178, on 77 keys 149; 1024 tokens, D = 80, 188. */
#include "attention_tile_avx512bf16.h"

/* ---- keys and values, packed: of a (sample, key head), blocks of KEYS keys ---- */

static int64_t block_words(const attention_job *w) {
    return KEYS * pairs(w->d) + up(KEYS / 2 * w->dv, 16);
}
static size_t packed_bytes(const attention_job *w) {
    return (size_t)(w->b * w->hkv * gy_tiles(w->tk, KEYS) * block_words(w)) * sizeof(uint32_t);
}
static void pack_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const attention_job *w = arg;
    int64_t blocks = gy_tiles(w->tk, KEYS), head = t / blocks, b = head / w->hkv, hkv = head % w->hkv, j, end;
    uint32_t *keys = w->packed + t * block_words(w), *values = keys + KEYS * pairs(w->d);
    gy_tile_range(w->tk, KEYS, t % blocks, &j, &end);
    pair_line_panels(row(&w->k, b, j, hkv), w->k.stride[1], end - j, w->d, keys);
    pair_across_panels(row(&w->v, b, j, hkv), w->v.stride[1], w->dv, end - j, values);
}

/* ---- forward ---- */

static size_t forward_floats(const attention_job *w) {
    int64_t q = up(least(w->queries, w->tq), Q);
    return (size_t)(q * (pairs(w->d) + w->dv + 2) + KEYS / 2 * Q + 2 * KEYS * Q);
}

/* One block of scores meets the running M, sum l and output o^T [dv][Q], and becomes p. */
static void absorb(const float *s, uint32_t *p, float factor, int64_t nq, int64_t nk, float *m, float *l, float *o,
                   int64_t dv) {
    for (int64_t lane = 0; lane < nq; lane += VL) {
        const float *at = s + lane;
        vf old = v_load(m + lane), top = v_set(-INFINITY), c = v_set(factor);
        for (int64_t j = 0; j < nk; j++) top = v_max(top, v_load(at + j * Q));
        top = _mm512_roundscale_ps(v_mul(c, top), _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
        top = v_max(top, old);
        vf base = v_sel(v_eq(top, v_set(-INFINITY)), v_zero(), top), sum = v_zero(), more = v_zero();
        int64_t j = 0;
        for (; j + 2 <= nk; j += 2) {
            vf even = exp2_of(v_fms(c, v_load(at + j * Q), base)),
               odd = exp2_of(v_fms(c, v_load(at + (j + 1) * Q), base));
            sum = v_add(sum, even);
            more = v_add(more, odd);
            store_pairs(p + j / 2 * Q + lane, even, odd);
        }
        if (j < nk) {
            vf even = exp2_of(v_fms(c, v_load(at + j * Q), base));
            sum = v_add(sum, even);
            store_pairs(p + j / 2 * Q + lane, even, v_zero());
        }
        vf keep = exp2_of(v_sub(old, base));
        v_store(m + lane, top);
        v_store(l + lane, v_fma(v_load(l + lane), keep, v_add(sum, more)));
        if (v_bitmask(v_ne(keep, v_set(1))))
            for (int64_t r = 0; r < dv; r++) v_store(o + r * Q + lane, v_mul(keep, v_load(o + r * Q + lane)));
    }
}

static void forward_tile(void *arg, int64_t t, int worker) {
    const attention_job *w = arg;
    int64_t tiles = gy_tiles(w->tq, w->queries), lo, hi, head = t / tiles, b = head / w->h, h = head % w->h;
    int64_t hkv = h / (w->h / w->hkv), blocks = up(least(w->queries, w->tq), Q) / Q, dp = pairs(w->d);
    gy_tile_range(w->tq, w->queries, t % tiles, &lo, &hi);
    float *s = (float *)(void *)(w->scratch + (size_t)worker * w->room), *extra = s + KEYS * Q, *o = extra + KEYS * Q;
    float *m = o + blocks * w->dv * Q, *l = m + blocks * Q;
    uint32_t *queries = (uint32_t *)(void *)(l + blocks * Q), *p = queries + blocks * dp * Q;
    for (int64_t n = 0; n < blocks * w->dv * Q; n++) o[n] = 0;
    for (int64_t n = 0; n < blocks * Q; n++) m[n] = -INFINITY, l[n] = 0;
    for (int64_t i = lo; i < hi; i += Q)
        pack_lines(row(&w->q, b, i, h), w->q.stride[1], least(hi - i, Q), w->d, Q, queries + (i - lo) * dp);
    int64_t seen = visible(w, lo, hi - lo);
    const uint32_t *keys = w->packed + (b * w->hkv + hkv) * gy_tiles(w->tk, KEYS) * block_words(w);
    for (int64_t j = 0; j < seen; j += KEYS, keys += block_words(w)) {
        const uint32_t *values = keys + KEYS * dp;
        int64_t nk = least(w->tk - j, KEYS);
        for (int64_t i = lo; i < hi; i += Q) {
            int64_t nq = least(hi - i, Q);
            float *ob = o + (i - lo) * w->dv;
            int64_t n = rounded_scores(w, b, h, i, nq, j, nk, keys, queries + (i - lo) * dp, s, extra);
            if (!n) continue;
            absorb(s, p, exponent_factor(w), nq, n, m + (i - lo), l + (i - lo), ob, w->dv);
            panel_product(ADD, values, w->dv, pairs(nk), w->dv, pairs(n), p, Q, ob, Q, width(nq));
        }
    }
    for (int64_t n = 0; n < blocks * Q; n += VL) v_store(m + n, v_mul(v_set(0.693147181f), v_load(m + n)));
    for (int64_t i = lo; i < hi; i += Q)
        finish(o + (i - lo) * w->dv, m + (i - lo), l + (i - lo), least(hi - i, Q), w->dv,
               w->y + ((b * w->tq + i) * w->h + h) * w->dv, w->h * w->dv, w->lse + head * w->tq + i);
}

/* ---- the operator ---- */

bool GY_ISAFN(x86_attention_bf16_supports)(const gy_kargs *k) {
    return rows_adjacent(k, 0, 3);
}
size_t GY_ISAFN(x86_attention_bf16_scratch)(const gy_kargs *k, int threads) {
    attention_job w = attention_begin(k, 0);
    if (w.tq <= FEW) return GY_ISAFN(gy_attention_few_scratch)(&w, threads);
    return room_of(packed_bytes(&w) / sizeof(float)) + room_of(forward_floats(&w)) * (size_t)threads;
}
void GY_ISAFN(x86_attention_bf16)(const gy_kargs *k) {
    attention_job w = attention_begin(k, 0);
    w.y = k->out[0].data;
    w.lse = k->out[1].data;
    if (w.tq <= FEW) {
        GY_ISAFN(gy_attention_few)(&w, k->pool);
        return;
    }
    w.room = room_of(forward_floats(&w));
    w.packed = (uint32_t *)(void *)w.scratch;
    w.scratch += room_of(packed_bytes(&w) / sizeof(float));
    gy_par(k->pool, w.b * w.hkv * gy_tiles(w.tk, KEYS), pack_tile, &w);
    gy_par(k->pool, w.b * w.h * gy_tiles(w.tq, w.queries), forward_tile, &w);
}
