#include "lm.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

int64_t gy_lm_batch(const gy_lm_in *in) {
    return gy_dim(gy_is_none(in->embedded) ? in->ids : in->embedded, 0);
}

int64_t gy_lm_tokens(const gy_lm_in *in) {
    return gy_dim(gy_is_none(in->embedded) ? in->ids : in->embedded, 1);
}

/* ---- rotary positions ---- */

static double frequency(const gy_rope_args *a, int64_t j, int64_t width) {
    double inv = pow(a->theta, -2.0 * (double)j / (double)width);
    if (a->factor <= 0) return inv;
    double wavelength = 6.283185307179586477 / inv, c = (double)a->original;
    if (wavelength < c / a->high) return inv;
    if (wavelength > c / a->low) return inv / a->factor;
    double s = (c / wavelength - a->low) / (a->high - a->low);
    return (1 - s) * inv / a->factor + s * inv;
}

gy_rope gy_rope_tables(gy_mod *m, const gy_rope_args *a, const gy_lm_in *in, int64_t width) {
    gy_ctx *ctx = gy_graph_ctx(m->g);
    int64_t t = gy_lm_tokens(in), half = width / 2, n = t;
    if (in->kv && !gy_is_none(in->kv->seen)) n += in->kv->capacity;
    gy_tensor table[2] = {{0}};
    gy_rope none = {GY_NONE, GY_NONE};
    if (gy_graph_status(m->g) != GY_OK) return none;
    for (int i = 0; i < 2; i++)
        if (gy_tensor_new(ctx, &table[i], m->dtype, GY_S(n, width)) != GY_OK) {
            gy_tensor_free(ctx, &table[0]);
            none.cos = none.sin = gy_poison(m->g, GY_HERE, "%s", gy_error(ctx));
            return none;
        }
    for (int64_t j = 0; j < half; j++) {
        double f = frequency(a, j, width);
        for (int64_t p = 0; p < n; p++)
            for (int64_t side = 0; side < 2; side++) {
                gy_tensor_set(&table[0], p * width + side * half + j, cos((double)p * f));
                gy_tensor_set(&table[1], p * width + side * half + j, sin((double)p * f));
            }
    }
    gy_t out[2];
    for (int i = 0; i < 2; i++) {
        out[i] = gy_const(m->g, &table[i]);
        gy_tensor_free(ctx, &table[i]);
        out[i] = gy_is_none(in->positions) ? gy_reshape(out[i], t, 1, width)
                                           : gy_unsqueeze(gy_gather(out[i], in->positions, 0), 2);
    }
    return (gy_rope){out[0], out[1]};
}

gy_t gy_rope_turn(gy_rope r, gy_t x) {
    gy_t half[2];
    gy_split(x, 3, 2, half);
    return gy_add(gy_mul(x, r.cos), gy_mul(gy_concat2(3, gy_neg(half[1]), half[0]), r.sin));
}

/* ---- loss ---- */

gy_t gy_lm_loss(gy_mod *m, const gy_lm *lm, gy_t states, gy_t target, int64_t chunk) {
    if (gy_is_none(states) || states.id == 0) return states;
    int64_t d = gy_dim(states, -1), n = gy_count(states) / d;
    gy_t rows = gy_reshape(states, n, d), labels = gy_reshape(target, n), sum = GY_NONE;
    if (chunk <= 0) chunk = 1024;
    bool pieces = chunk < n;
    for (int64_t at = 0; at < n; at += chunk) {
        int64_t end = at + chunk < n ? at + chunk : n;
        gy_t x = gy_slice(rows, 0, at, end), t = gy_slice(labels, 0, at, end);
        if (pieces) gy_recompute_begin(m->g);
        gy_t part = gy_cross_entropy(lm->logits(m, lm->cfg, x), t, .reduction = GY_LOSS_SUM);
        if (pieces) gy_recompute_end(m->g);
        sum = at ? gy_add(sum, part) : part;
    }
    gy_t counted = gy_sum(gy_cast(gy_ne(labels, gy_scalar(labels, -100)), gy_dtype_of(sum)), GY_ALL);
    return gy_div(sum, counted);
}
