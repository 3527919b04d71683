#include "vq.h"

static gy_t codebook(gy_site at, gy_mod *m, int64_t codes, int64_t width, bool ema) {
    gy_init init = {GY_INIT_NORMAL, 1.0};
    return ema ? gy_buffer_(at, m, "weight", GY_S(codes, width), init)
               : gy_param_(at, m, "weight", GY_S(codes, width), init);
}

gy_t gy_vq_lookup(gy_mod *m, const char *name, gy_t index, int64_t codes, int64_t width, bool ema) {
    gy_push(m, "%s", name);
    gy_t y = gy_embedding(codebook(GY_HERE, m, codes, width, ema), index);
    gy_pop(m);
    return y;
}

/* Eq. (6)-(8): N' = decay N + (1 - decay) n; M' = decay M + (1 - decay) sum z; e = M' / N', where N' is smoothed so
 * that a code nobody chooses keeps a finite value: (N' + s) / (sum N' + K s) sum N'. */
static void follow(gy_vq_args *a, gy_t z, gy_t onehot) {
    gy_mod *m = a->m;
    int64_t width = gy_dim(z, -1);
    gy_t size = gy_buffer(m, "cluster_size", GY_S(a->codes), GY_INIT_ONES);
    gy_t sum = gy_buffer(m, "embed_avg", GY_S(a->codes, width), GY_INIT_NORMAL, 1.0);
    size = gy_ema(size, gy_sum(onehot, GY_AXES(0)), a->decay);
    sum = gy_ema(sum, gy_matmul(.a = onehot, .b = z, .trans_a = true), a->decay); /* [K, D] */
    gy_t total = gy_sum(size, GY_ALL);
    gy_t smooth = gy_div(gy_add_scalar(size, 1e-5), gy_add_scalar(total, 1e-5 * (double)a->codes));
    gy_t mean = gy_div(sum, gy_unsqueeze(gy_mul(smooth, total), 1));
    if (a->unit_length) mean = gy_l2_normalize(mean);
    gy_assign(gy_mod_state(m, "cluster_size"), size);
    gy_assign(gy_mod_state(m, "embed_avg"), sum);
    gy_assign(gy_mod_state(m, "weight"), mean);
}

/* Steps of the codes e [K, D] toward the mean direction of the vectors that chose them. */
static void turn(gy_vq_args *a, gy_t e, gy_t z, gy_t onehot) {
    gy_t toward = gy_l2_normalize(gy_matmul(.a = onehot, .b = z, .trans_a = true)); /* [K, D] */
    gy_t moved = gy_l2_normalize(gy_ema(e, toward, a->decay));
    gy_t count = gy_unsqueeze(gy_sum(onehot, GY_AXES(0)), 1); /* [K, 1] */
    gy_t chosen = gy_broadcast_to(gy_gt(count, gy_scalar(count, 0)), gy_shape_of(e));
    gy_assign(gy_mod_state(a->m, "weight"), gy_where(chosen, moved, e));
}

gy_vq gy_vq_(gy_vq_args a) {
    gy_mod *m = a.m;
    gy_shape shape = gy_shape_of(a.z);
    bool ema = a.decay > 0;
    if (a.directions && !(ema && a.unit_length)) {
        gy_t bad = gy_poison(m->g, a.at, "vector quantiser: directions need unit_length and a decay");
        return (gy_vq){bad, bad, bad, bad};
    }
    gy_push(m, "%s", a.name);
    gy_t z = a.unit_length ? gy_l2_normalize(a.z) : a.z, e = codebook(a.at, m, a.codes, gy_dim(z, -1), ema);
    if (a.unit_length) e = gy_l2_normalize(e);
    gy_t flat = gy_reshape(z, -1, gy_dim(z, -1)); /* [N, D] */
    /* argmin of |z - e|^2 = |e|^2 - 2 z e + const */
    gy_t far = gy_sub(gy_sum(gy_square(e), GY_AXES(1)), gy_scale(gy_matmul(.a = flat, .b = e, .trans_b = true), 2));
    gy_t index = gy_argmin(gy_stop(far), 1); /* [N] */
    gy_t onehot = gy_one_hot(index, a.codes, gy_dtype_of(z));
    gy_t chosen = gy_reshape_to(gy_embedding(e, index), shape);
    gy_vq out = {.q = gy_straight_through(z, chosen)};
    shape.rank--;
    out.index = gy_reshape_to(index, shape);
    out.loss = gy_scale(gy_mse(z, gy_stop(chosen), GY_LOSS_MEAN), a.commit > 0 ? a.commit : 0.25);
    if (!ema) out.loss = gy_add(out.loss, gy_mse(gy_stop(z), chosen, GY_LOSS_MEAN));
    gy_t share = gy_mean(onehot, GY_AXES(0)); /* [K] */
    out.perplexity = gy_exp(gy_neg(gy_sum(gy_mul(share, gy_log(gy_add_scalar(share, 1e-10))), GY_ALL)));
    if (ema && m->train) {
        if (a.directions)
            turn(&a, e, gy_stop(flat), onehot);
        else
            follow(&a, gy_stop(flat), onehot);
    }
    gy_pop(m);
    return out;
}
