#include "attend.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

gy_t gy_point(gy_mod *m, const char *name, int64_t l, gy_t x) {
    char full[64];
    snprintf(full, sizeof full, "%s.%" PRId64, name, l);
    return gy_tap(m, full, x);
}

static bool asked(const gy_mod *m, const char *name, int64_t l) {
    char full[64];
    snprintf(full, sizeof full, "%s.%" PRId64, name, l);
    return gy_tapped(m, full);
}

/* The cache of layer l's keys or values, [B, capacity, G, D]. NULL: the graph is poisoned. */
static gy_state *cache_of(gy_mod *m, const gy_kv *kv, const char *which, int64_t l, gy_t like) {
    char name[32];
    snprintf(name, sizeof name, "%s.%" PRId64, which, l);
    gy_shape s = GY_S(gy_dim(like, 0), kv->capacity, gy_dim(like, 2), gy_dim(like, 3));
    gy_state *st = gy_state_get(kv->store, name, GY_SLOT, gy_dtype_of(like), s, (gy_init){GY_INIT_ZEROS}, 0);
    if (!st) gy_poison(m->g, GY_HERE, "%s", gy_error(gy_graph_ctx(m->g)));
    return st;
}
/* Puts the rows of the tokens at hand in. */
static void keep(gy_mod *m, const gy_kv *kv, gy_state *cache, gy_t rows) {
    if (cache) gy_assign(cache, gy_scatter_onto(gy_read(m->g, cache), rows, kv->slots, 1, true));
}

/* u8 [T, T]: token i sees tokens 0..i. */
static gy_t causal(gy_graph *g, int64_t t) {
    return gy_le(gy_reshape(gy_iota(g, GY_I64, t), 1, t), gy_reshape(gy_iota(g, GY_I64, t), t, 1));
}

/* Attention with its weights in the open, for hooks: scores, mask, softmax, mixture. k, v and mask cover the cache,
 * then the tokens. */
static gy_t attend_open(gy_mod *m, int64_t l, gy_t q, gy_t k, gy_t v, gy_t mask) {
    int64_t b = gy_dim(q, 0), t = gy_dim(q, 1), h = gy_dim(q, 2), d = gy_dim(q, 3);
    int64_t g = gy_dim(k, 2), n = gy_dim(k, 1);
    gy_t rows = gy_reshape(gy_permute(q, 0, 2, 1, 3), b, g, h / g, t, d); /* [B, G, H/G, T, D] */
    gy_t keys = gy_unsqueeze(gy_permute(k, 0, 2, 1, 3), 2);               /* [B, G, 1, K, D] */
    gy_t values = gy_unsqueeze(gy_permute(v, 0, 2, 1, 3), 2);             /* [B, G, 1, K, D] */
    gy_t s = gy_scale(gy_matmul(rows, keys, .trans_b = true), 1 / sqrt((double)d));
    s = gy_point(m, "scores", l, gy_reshape(s, b, h, t, n)); /* [B, H, T, K] */
    /* finite, so that a padding row, which sees nothing, stays free of NaN */
    if (!gy_is_none(mask)) s = gy_where(gy_broadcast_to(mask, GY_S(b, h, t, n)), s, gy_scalar(s, -1e30));
    gy_t p = gy_point(m, "pattern", l, gy_softmax(s, -1));        /* [B, H, T, K] */
    gy_t z = gy_matmul(gy_reshape(p, b, g, h / g, t, n), values); /* [B, G, H/G, T, D] */
    return gy_permute(gy_reshape(z, b, h, t, d), 0, 2, 1, 3);     /* [B, T, H, D] */
}

/* Softmax over two sets of keys from the softmax over each: weights are shares of e^{lse}. y [B, T, H, D], lse
 * [B, H, T]; a row that sees no key in one set has lse -inf there and share 0. */
static gy_t merge(gy_t past, gy_t now) {
    gy_t share = gy_sigmoid(gy_sub(gy_out(past, 1), gy_out(now, 1))); /* [B, H, T] */
    share = gy_unsqueeze(gy_permute(share, 0, 2, 1), 3);              /* [B, T, H, 1] */
    return gy_add(now, gy_mul(share, gy_sub(past, now)));
}

gy_t gy_attend_(gy_mod *m, int64_t l, gy_attend_args a) {
    const gy_kv *kv = a.kv;
    gy_t q = gy_point(m, "q", l, a.q), k = gy_point(m, "k", l, a.k), v = gy_point(m, "v", l, a.v);
    gy_t past_k = GY_NONE, past_v = GY_NONE, new_k = k, new_v = v, z;
    gy_state *k_cache = kv ? cache_of(m, kv, "k", l, k) : NULL, *v_cache = kv ? cache_of(m, kv, "v", l, v) : NULL;
    bool past = k_cache && v_cache && !gy_is_none(kv->seen);
    if (past) {
        past_k = gy_read(m->g, k_cache);
        past_v = gy_read(m->g, v_cache);
    }
    if (asked(m, "scores", l) || asked(m, "pattern", l)) {
        int64_t b = gy_dim(q, 0), t = gy_dim(q, 1);
        gy_t mask = a.causal ? gy_reshape(causal(m->g, t), 1, 1, t, t) : GY_NONE;
        if (!gy_is_none(a.mask)) mask = gy_is_none(mask) ? a.mask : gy_mul(mask, a.mask);
        if (past) {
            mask = gy_concat2(3, gy_broadcast_to(kv->seen, GY_S(b, 1, t, kv->capacity)),
                              gy_broadcast_to(mask, GY_S(b, 1, t, t)));
            k = gy_concat2(1, past_k, k);
            v = gy_concat2(1, past_v, v);
        }
        z = attend_open(m, l, q, k, v, mask);
    } else {
        z = gy_attention(q, k, v, .mask = a.mask, .causal = a.causal);
        if (past) z = merge(gy_attention(q, past_k, past_v, .mask = kv->seen), z);
    }
    if (kv) {
        keep(m, kv, k_cache, new_k);
        keep(m, kv, v_cache, new_v);
    }
    return gy_point(m, "z", l, z);
}

gy_t gy_attend_out(gy_mod *m, int64_t l, gy_t z, gy_t w, bool transposed, gy_t b) {
    int64_t n = gy_dim(z, 0), t = gy_dim(z, 1), h = gy_dim(z, 2), d = gy_dim(z, 3);
    gy_t y;
    if (asked(m, "head_out", l)) {
        gy_t per_head = gy_reshape(transposed ? gy_transpose(w) : w, h, d, -1);                /* [H, D, d] */
        gy_t rows = gy_reshape(gy_permute(z, 2, 0, 1, 3), h, n * t, d);                        /* [H, B T, D] */
        gy_t out = gy_permute(gy_reshape(gy_matmul(rows, per_head), h, n, t, -1), 1, 2, 0, 3); /* [B, T, H, d] */
        y = gy_sum(gy_point(m, "head_out", l, out), GY_AXES(2));
    } else {
        y = gy_matmul(gy_reshape(z, n, t, h * d), w, .trans_b = transposed); /* [B, T, d] */
    }
    if (!gy_is_none(b)) y = gy_add(y, b);
    return gy_point(m, "attn_out", l, y);
}
