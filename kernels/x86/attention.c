/* Attention forward and backward without the score matrix (Dao et al. 2022, arXiv 2205.14135, alg. 1 and 4).
 *
 * Scores are made transposed, S[j, i] = k_j . q_i, in blocks of KEYS keys by Q = two vectors of queries: a query is a
 * lane, so that maxima, sums and rescaling need no sums across lanes, and S itself is the B operand (rows over keys) of
 * the next product. All products run in the register kernels of gemm_ukr.c:
 *
 *   forward    S = K Q^T;  p = e^(S - m);  O^T = O^T e^(m_old - m) + V^T p
 *   backward   S again, p = e^(S - lse);  dP = V ct^T;  dS = p (dP - <ct, y>)
 *              dQ^T += K^T dS;  dV += p ct;  dK += dS Q
 *
 * Forward, a tile is (sample, head, up to 256 queries), which share the packing of a block of keys: packing is 4 % of
 * the work. Backward, a tile is (sample, key head) with all its queries; it owns its dk, dv, dq. Scores the mask
 * forbids are -inf; blocks it forbids whole and keys above the diagonal of a causal mask are skipped. Memory: O(T) a
 * worker. FLOPs: 2 (D + Dv) a visible pair forward, 2 (3 D + 2 Dv) backward. A handful of queries takes another way
 * (attention_few.c): it moves each key and value once, bytes are its limit. Measured, one thread of Zen 4 with a peak
 * of 118 GFLOP/s and 85 GB/s from L3 (gyrus bench attention --threads 1), AVX-512, in GFLOP/s: forward, 12 heads of
 * D = 64, 1024 tokens, causal 94; batch 4 of 197 tokens 84; 4096 tokens, D = 40, 96, on 77 keys 82; 1024 tokens, D =
 * 80, 100; 400 tokens with a mask 92; backward: causal 93, 197 tokens 84, D = 40 97, on 77 keys 79, D = 80 101. One
 * query on 1024 keys, 12 heads of 64: 66 GB/s; 32 heads of 128 on 8 heads of keys: 43 GB/s, where four queries a key
 * make 88 GFLOP/s of it. */
#include "attention.h"

/* ---- forward ---- */

static size_t forward_floats(const attention_job *w) {
    int64_t q = up(least(w->queries, w->tq), Q);
    return (size_t)(q * (w->d + w->dv + 2) + KEYS * (up(w->d, 16) + up(w->dv, 16) + 2 * Q));
}

/* One block of scores meets the running maximum m, sum l and output o^T [dv][Q]. */
static void absorb(const attention_job *w, float *s, int64_t nq, int64_t nk, float *m, float *l, float *o, int64_t dv) {
    for (int64_t lane = 0; lane < nq; lane += VL) {
        vf old = v_load(m + lane), top = old;
        for (int64_t j = 0; j < nk; j++) top = v_max(top, v_load(s + j * Q + lane));
        vf base = v_sel(v_eq(top, v_set(-INFINITY)), v_zero(), from_top(w, top)), sum = v_zero();
        for (int64_t j = 0; j < nk; j++) {
            vf e = v_exp(v_sub(v_load(s + j * Q + lane), base));
            v_store(s + j * Q + lane, as_factor(w, e));
            sum = v_add(sum, e);
        }
        vf keep = v_exp(v_sub(from_top(w, old), base));
        v_store(m + lane, top);
        v_store(l + lane, v_fma(v_load(l + lane), keep, sum));
        if (v_bitmask(v_ne(keep, v_set(1))))
            for (int64_t c = 0; c < dv; c++) v_store(o + c * Q + lane, v_mul(keep, v_load(o + c * Q + lane)));
    }
}

static void forward_tile(void *arg, int64_t t, int worker) {
    const attention_job *w = arg;
    int64_t tiles = gy_tiles(w->tq, w->queries), lo, hi, head = t / tiles, b = head / w->h, h = head % w->h;
    int64_t hkv = h / (w->h / w->hkv), blocks = up(least(w->queries, w->tq), Q) / Q;
    gy_tile_range(w->tq, w->queries, t % tiles, &lo, &hi);
    float *queries = (float *)(void *)(w->scratch + (size_t)worker * w->room), *o = queries + blocks * w->d * Q;
    float *m = o + blocks * w->dv * Q, *l = m + blocks * Q, *keys = l + blocks * Q;
    float *values = keys + KEYS * up(w->d, 16), *s = values + KEYS * up(w->dv, 16), *extra = s + KEYS * Q;
    for (int64_t n = 0; n < blocks * w->dv * Q; n++) o[n] = 0;
    for (int64_t n = 0; n < blocks * Q; n++) m[n] = -INFINITY, l[n] = 0;
    for (int64_t i = lo; i < hi; i += Q)
        pack_queries(&w->q, b, h, i, least(hi - i, Q), w->d, (float)w->attr->scale, queries + (i - lo) * w->d);
    int64_t seen = visible(w, lo, hi - lo);
    for (int64_t j = 0; j < seen; j += KEYS) {
        int64_t nk = least(seen - j, KEYS);
        line_panels(row(&w->k, b, j, hkv), w->k.stride[1], nk, w->d, keys);
        across_panels(row(&w->v, b, j, hkv), w->v.stride[1], w->dv, nk, values);
        for (int64_t i = lo; i < hi; i += Q) {
            int64_t nq = least(hi - i, Q);
            float *ob = o + (i - lo) * w->dv;
            int64_t n = scores(w, b, h, i, nq, j, nk, keys, queries + (i - lo) * w->d, s, extra);
            if (!n) continue;
            absorb(w, s, nq, n, m + (i - lo), l + (i - lo), ob, w->dv);
            part_product(values, w->dv, nk, w->dv, n, s, Q, ob, Q, width(nq), false);
        }
    }
    for (int64_t n = 0; n < blocks * Q; n += VL) v_store(m + n, from_top(w, v_load(m + n)));
    for (int64_t i = lo; i < hi; i += Q)
        finish(o + (i - lo) * w->dv, m + (i - lo), l + (i - lo), least(hi - i, Q), w->dv,
               w->y + ((b * w->tq + i) * w->h + h) * w->dv, w->h * w->dv, w->lse + head * w->tq + i);
}

bool GY_ISAFN(x86_attention_supports)(const gy_kargs *k) {
    return rows_adjacent(k, 0, 3);
}
size_t GY_ISAFN(x86_attention_scratch)(const gy_kargs *k, int threads) {
    attention_job w = attention_begin(k, 0);
    if (w.tq <= FEW) return GY_ISAFN(gy_attention_few_scratch)(&w, threads);
    return room_of(forward_floats(&w)) * (size_t)threads;
}
void GY_ISAFN(x86_attention)(const gy_kargs *k) {
    attention_job w = attention_begin(k, 0);
    w.y = k->out[0].data;
    w.lse = k->out[1].data;
    if (w.tq <= FEW) {
        GY_ISAFN(gy_attention_few)(&w, k->pool);
        return;
    }
    w.room = room_of(forward_floats(&w));
    gy_par(k->pool, w.b * w.h * gy_tiles(w.tq, w.queries), forward_tile, &w);
}
