/* Attention backward in plans of precision bf16 by vdpbf16ps: the order of attention_grad.c, with factors in pairs.
 *
 *     S again, p = 2^((S scale - lse) / ln 2);  dP = V ct^T;  dS = p (dP - <ct, y>)
 *     dQ^T += K^T dS;   dV += p ct;   dK += dS Q
 *
 * p and dS are rounded once and stored as they lie: 32 queries of a key are 16 pairs along the queries, which dV and dK
 * sum over, so that their rows are broadcast without being packed; dS is stored a second time in pairs of keys for dQ.
 * A bias that wants a gradient is left to attention_rounded.c. Measured, one thread of Zen 4 with a peak of 236 GFLOP/s
 * (gyrus bench attention --dtype bf16 --threads 1), in GFLOP/s: 12 heads of D = 64, 1024 tokens, causal 175; batch 4 of
 * 197 tokens 150; 4096 tokens, D = 40, 190, on 77 keys 136; 1024 tokens, D = 80, 195. */
#include "attention_tile_avx512bf16.h"

/* A worker's room, in words of 32 bits. */
typedef struct {
    /* of all queries that share a key head, in blocks of Q: */
    uint32_t *queries, *cts;          /* [D / 2][Q], [Dv / 2][Q]: pairs of features */
    uint32_t *query_rows, *ct_rows;   /* [Q / 2][D], [Q / 2][Dv], in whole vectors: pairs of queries */
    float *dq, *lse, *delta;          /* [D][Q], [Q], [Q]; lse / ln 2 */
    uint32_t *keys, *keys_t, *values; /* of a block of keys: panels */
    float *dk, *dv, *s, *dp;
    uint32_t *p, *ds;  /* [KEYS][Q / 2]: pairs of queries */
    uint32_t *ds_keys; /* [KEYS / 2][Q]: pairs of keys */
} room;

static size_t room_words(const attention_job *w, room *r, char *base) {
    int64_t span = kept_queries(w), d16 = up(w->d, VL), v16 = up(w->dv, VL);
    struct {
        void *to;
        int64_t words;
    } part[] = {{&r->queries, span * pairs(w->d)},
                {&r->cts, span * pairs(w->dv)},
                {&r->query_rows, span / 2 * d16},
                {&r->ct_rows, span / 2 * v16},
                {&r->dq, span * w->d},
                {&r->lse, span},
                {&r->delta, span},
                {&r->keys, KEYS * pairs(w->d)},
                {&r->keys_t, KEYS / 2 * w->d},
                {&r->values, KEYS * pairs(w->dv)},
                {&r->dk, KEYS * d16},
                {&r->dv, KEYS * v16},
                {&r->s, KEYS * Q},
                {&r->dp, KEYS * Q},
                {&r->p, KEYS * Q / 2},
                {&r->ds, KEYS * Q / 2},
                {&r->ds_keys, KEYS / 2 * Q}};
    size_t at = 0;
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        char *here = base + at;
        if (base) memcpy(part[i].to, &here, sizeof here);
        at += room_of((size_t)part[i].words);
    }
    return at;
}

static void pack_block(const attention_job *w, const room *r, int64_t b, int64_t h, int64_t i, int64_t at) {
    int64_t nq = least(w->tq - i, Q), d16 = up(w->d, VL), v16 = up(w->dv, VL);
    const float *q = row(&w->q, b, i, h), *ct = row(&w->ct, b, i, h),
                *y = w->y_in + ((b * w->tq + i) * w->h + h) * w->dv;
    const float *lse = w->lse_in + (b * w->h + h) * w->tq + i;
    uint32_t *query_rows = r->query_rows + at / 2 * d16, *ct_rows = r->ct_rows + at / 2 * v16;
    pack_lines(q, w->q.stride[1], nq, w->d, Q, r->queries + at * pairs(w->d));
    pack_lines(ct, w->ct.stride[1], nq, w->dv, Q, r->cts + at * pairs(w->dv));
    pack_across(q, w->q.stride[1], w->d, nq, d16, query_rows);
    pack_across(ct, w->ct.stride[1], w->dv, nq, v16, ct_rows);
    memset(query_rows + pairs(nq) * d16, 0, (size_t)((Q / 2 - pairs(nq)) * d16) * sizeof *query_rows);
    memset(ct_rows + pairs(nq) * v16, 0, (size_t)((Q / 2 - pairs(nq)) * v16) * sizeof *ct_rows);
    memset(r->dq + at * w->d, 0, (size_t)(w->d * Q) * sizeof *r->dq);
    for (int64_t e = 0; e < Q; e++) {
        r->lse[at + e] = e < nq ? 1.44269504f * lse[e] : -INFINITY;
        r->delta[at + e] = e < nq ? ct_times_y(w, ct + e * w->ct.stride[1], y + e * w->h * w->dv, w->dv) : 0;
    }
}

GY_INLINE void store_row(uint32_t *to, vf low, vf high) { /* pairs of neighbours */
    _mm512_storeu_si512(to, (vi)_mm512_cvtne2ps_pbh(high, low));
}
/* p and dS of n keys, from scores and dP. */
static void weigh(const room *r, float factor, int64_t n, const float *lse, const float *delta) {
    vf c = v_set(factor), base[2], d[2];
    vm sees[2];
    for (int v = 0; v < 2; v++) {
        base[v] = v_load(lse + v * VL);
        d[v] = v_load(delta + v * VL);
        sees[v] = v_ne(base[v], v_set(-INFINITY));
    }
    for (int64_t j = 0; j < n; j += 2) {
        vf ds[2][2];
        for (int64_t e = 0; e < 2; e++) {
            vf p[2];
            const float *s = r->s + (j + e) * Q, *dp = r->dp + (j + e) * Q;
            for (int v = 0; v < 2; v++) {
                p[v] = exp2_where(sees[v], v_fms(c, v_load(s + v * VL), base[v]));
                ds[e][v] = v_mul(p[v], v_sub(v_load(dp + v * VL), d[v]));
            }
            if (j + e == n) ds[e][0] = ds[e][1] = v_zero();
            store_row(r->p + (j + e) * Q / 2, p[0], p[1]);
            store_row(r->ds + (j + e) * Q / 2, ds[e][0], ds[e][1]);
        }
        for (int v = 0; v < 2; v++) store_pairs(r->ds_keys + j / 2 * Q + v * VL, ds[0][v], ds[1][v]);
    }
}

/* One block of keys meets one of queries. */
static void meet(const attention_job *w, const room *r, int64_t b, int64_t h, int64_t i, int64_t at, int64_t j,
                 int64_t nk) {
    int64_t nq = least(w->tq - i, Q), d16 = up(w->d, VL), v16 = up(w->dv, VL);
    int64_t n = rounded_scores(w, b, h, i, nq, j, nk, r->keys, r->queries + at * pairs(w->d), r->s, r->dp);
    if (!n) return;
    panel_product(SET, r->values, nk, pairs(w->dv), n, pairs(w->dv), r->cts + at * pairs(w->dv), Q, r->dp, Q, Q);
    weigh(r, exponent_factor(w), n, r->lse + at, r->delta + at);
    panel_product(ADD, r->keys_t, w->d, pairs(nk), w->d, pairs(n), r->ds_keys, Q, r->dq + at * w->d, Q, Q);
    panel_product(ROWS, r->p, n, Q / 2, n, pairs(nq), r->ct_rows + at / 2 * v16, v16, r->dv, v16, w->dv);
    panel_product(ROWS, r->ds, n, Q / 2, n, pairs(nq), r->query_rows + at / 2 * d16, d16, r->dk, d16, w->d);
}

static void backward_tile(void *arg, int64_t t, int worker) {
    const attention_job *w = arg;
    int64_t b = t / w->hkv, hkv = t % w->hkv, group = w->h / w->hkv;
    int64_t d16 = up(w->d, VL), v16 = up(w->dv, VL);
    float scale = (float)w->attr->scale;
    room r;
    room_words(w, &r, w->scratch + (size_t)worker * w->room);
    for (int64_t j = 0; j == 0 || j < w->tk; j += KEYS) { /* once without keys too: dq is 0 */
        int64_t nk = least(w->tk - j, KEYS);
        pair_line_panels(row(&w->k, b, j, hkv), w->k.stride[1], nk, w->d, r.keys);
        pair_across_panels(row(&w->k, b, j, hkv), w->k.stride[1], w->d, nk, r.keys_t);
        pair_line_panels(row(&w->v, b, j, hkv), w->v.stride[1], nk, w->dv, r.values);
        memset(r.dk, 0, (size_t)(nk * d16) * sizeof(float));
        memset(r.dv, 0, (size_t)(nk * v16) * sizeof(float));
        for (int64_t g = 0; g < group; g++)
            for (int64_t i = 0; i < w->tq; i += Q) {
                int64_t h = hkv * group + g, at = kept_at(w, g, i);
                if (j == 0) pack_block(w, &r, b, h, i, at);
                meet(w, &r, b, h, i, at, j, nk);
                if (j + KEYS >= w->tk) write_dq(w, b, h, i, r.dq + at * w->d);
            }
        for (int64_t n = 0; n < nk; n++) {
            int64_t to = (b * w->tk + j + n) * w->hkv + hkv;
            for (int64_t c = 0; c < w->d; c++) w->dk[to * w->d + c] = scale * r.dk[n * d16 + c];
            for (int64_t c = 0; c < w->dv; c++) w->dv_out[to * w->dv + c] = r.dv[n * v16 + c];
        }
    }
}

/* ---- the operator ---- */

bool GY_ISAFN(x86_attention_grad_bf16_supports)(const gy_kargs *k) {
    return k->n_out == 3; /* a bias that wants a gradient: attention_rounded.c */
}
size_t GY_ISAFN(x86_attention_grad_bf16_scratch)(const gy_kargs *k, int threads) {
    attention_job w = attention_begin(k, 1);
    return room_words(&w, &(room){0}, NULL) * (size_t)threads;
}
/* in = (ct, q, k, v, mask, bias, y, lse). */
void GY_ISAFN(x86_attention_grad_bf16)(const gy_kargs *k) {
    attention_job w = attention_begin(k, 1);
    w.ct = k->in[0];
    w.y_in = k->in[6].data;
    w.lse_in = k->in[7].data;
    w.dq = k->out[0].data;
    w.dk = k->out[1].data;
    w.dv_out = k->out[2].data;
    w.room = room_words(&w, &(room){0}, NULL);
    gy_par(k->pool, w.b * w.hkv, backward_tile, &w);
}
