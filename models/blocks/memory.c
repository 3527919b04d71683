#include "memory.h"

#include <inttypes.h>

gy_t gy_memory_read(const gy_memory *m, gy_t z) {
    for (int64_t l = 0; l < m->depth; l++) {
        if (l) z = gy_silu(z);
        z = gy_matmul(z, m->weight[l], .trans_b = true); /* [B, H, T, out] */
    }
    return z;
}

/* ---- how much of each gradient is in the memory after each token ---- */

typedef struct mixture {
    gy_t c, e;     /* [B, H, T, 1] */
    gy_t c_ti;     /* [B, H, T, T], lower triangle */
    gy_t last_eta; /* [B, H, 1, 1]: what is left of S_0 in the last momentum */
    gy_t last_s;   /* [B, H, T, 1]: theta_i E_bi, gradients in the last momentum */
} mixture;

/* exp(x_t - x_s) for s <= t, else 0: products of factors between s and t, from sums of their logarithms x [B, H, T]. */
static gy_t products(gy_t x, gy_t lower) {
    gy_t d = gy_sub(gy_unsqueeze(x, 3), gy_unsqueeze(x, 2)); /* [B, H, T, T] */
    return gy_exp(gy_where(lower, d, gy_scalar(x, -1e30)));  /* masked first: above the diagonal exp may overflow */
}

static mixture mix(const gy_memory_gates *g, gy_t theta, gy_t eta, gy_t alpha) {
    mixture w;
    int64_t t = gy_dim(theta, 2);
    gy_t i = gy_iota(theta.g, GY_I64, t), lower = gy_le(gy_reshape(i, 1, t), gy_reshape(i, t, 1));
    theta = gy_scale(gy_sigmoid(theta), g->rate > 0 ? g->rate : 1);
    gy_t kept = gy_cumsum(gy_neg(gy_softplus(alpha)), 2);       /* log prod (1 - alpha_j) */
    gy_t left = gy_cumsum(gy_neg(gy_softplus(gy_neg(eta))), 2); /* log prod eta_j */
    gy_t a = products(kept, lower), e = products(left, lower);  /* A_ts, E_si */
    gy_t from_start = gy_exp(gy_unsqueeze(left, 3));            /* E_s0 [B, H, T, 1] */
    w.c = gy_exp(gy_unsqueeze(kept, 3));
    w.e = gy_matmul(a, from_start);
    w.c_ti = gy_mul(gy_matmul(a, e), gy_unsqueeze(theta, 2));
    w.last_eta = gy_slice(from_start, 2, t - 1, t);
    w.last_s = gy_transpose(gy_mul(gy_slice(e, 2, t - 1, t), gy_unsqueeze(theta, 2)));
    return w;
}

/* ---- one chunk ---- */

/* sum_i f_i delta_i a_i^T: [B, H, out, in] */
static gy_t outer(gy_t f, gy_t delta, gy_t a) {
    return gy_matmul(gy_mul(delta, f), a, .trans_a = true);
}

static gy_t chunk(gy_memory *m, gy_t q, gy_t k, gy_t v, const gy_memory_gates *g, gy_t theta, gy_t eta, gy_t alpha) {
    gy_t a[GY_MEMORY_DEPTH], h[GY_MEMORY_DEPTH], delta[GY_MEMORY_DEPTH], z = q;
    int64_t t = gy_dim(k, 2);
    for (int64_t l = 0; l < m->depth; l++) {
        a[l] = l ? gy_silu(h[l - 1]) : k;
        h[l] = gy_matmul(a[l], m->weight[l], .trans_b = true);
    }
    gy_t loss = gy_sum(gy_square(gy_sub(h[m->depth - 1], v)), GY_ALL); /* eq. (12) of all tokens at once */
    for (int64_t l = 0; l < m->depth; l++) gy_grad(loss, GY_NONE, 1, &h[l], &delta[l]); /* each through all above it */
    mixture w = mix(g, theta, eta, alpha);
    for (int64_t l = 0; l < m->depth; l++) { /* W_t z_t */
        if (l) z = gy_silu(z);
        gy_t y = gy_mul(w.c, gy_matmul(z, m->weight[l], .trans_b = true));
        if (!gy_is_none(m->momentum[l])) y = gy_add(y, gy_mul(w.e, gy_matmul(z, m->momentum[l], .trans_b = true)));
        z = gy_sub(y, gy_matmul(gy_mul(w.c_ti, gy_matmul(z, a[l], .trans_b = true)), delta[l]));
    }
    gy_t c = gy_slice(w.c, 2, t - 1, t), e = gy_slice(w.e, 2, t - 1, t); /* [B, H, 1, 1] */
    gy_t last = gy_transpose(gy_slice(w.c_ti, 2, t - 1, t));             /* [B, H, T, 1] */
    for (int64_t l = 0; l < m->depth; l++) {
        gy_t s = m->momentum[l], kept = gy_mul(c, m->weight[l]);
        m->weight[l] = gy_sub(gy_is_none(s) ? kept : gy_add(kept, gy_mul(e, s)), outer(last, delta[l], a[l]));
        s = gy_is_none(s) ? s : gy_mul(w.last_eta, s);
        gy_t fresh = outer(w.last_s, delta[l], a[l]);
        m->momentum[l] = gy_is_none(s) ? gy_neg(fresh) : gy_sub(s, fresh);
    }
    return z;
}

gy_t gy_memorize(gy_memory *m, gy_t q, gy_t k, gy_t v, const gy_memory_gates *g, int64_t size) {
    int64_t t = gy_dim(k, 2), n = 0;
    gy_t y = GY_NONE;
    if (m->depth < 1 || m->depth > GY_MEMORY_DEPTH || size < 1)
        return gy_poison(k.g, GY_HERE,
                         "memory: depth %" PRId64 " and chunks of %" PRId64 ": expected 1 to %d, and 1 or more",
                         m->depth, size, GY_MEMORY_DEPTH);
    gy_t *part = gy_malloc(gy_graph_ctx(k.g), (size_t)(t / size + 1) * sizeof *part);
    if (!part) return gy_poison(k.g, GY_HERE, "%s", gy_error(gy_graph_ctx(k.g)));
    for (int64_t at = 0; at < t; at += size) {
        int64_t end = at + size < t ? at + size : t;
        part[n++] = chunk(m, gy_slice(q, 2, at, end), gy_slice(k, 2, at, end), gy_slice(v, 2, at, end), g,
                          gy_slice(g->theta, 2, at, end), gy_slice(g->eta, 2, at, end), gy_slice(g->alpha, 2, at, end));
    }
    y = n == 1 ? part[0] : gy_concat(2, n, part);
    gy_free(gy_graph_ctx(k.g), part);
    return y;
}
