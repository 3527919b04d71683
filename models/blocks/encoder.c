#include "encoder.h"

#include <inttypes.h>
#include <math.h>

const gy_encoder_names gy_encoder_names_plain = {"q",   "k",     "v",   "norm_q", "norm_k",
                                                 "out", "norm1", "fc1", "fc2",    "norm2"};

/* A matrix of layer l with the encoder's initial values. */
static gy_t linear(gy_mod *m, const gy_encoder *e, int64_t l, const char *name, gy_t x, int64_t out) {
    if (!(e->init_std > 0)) return gy_nn_linear(m, name, x, out);
    return gy_nn_linear(m, name, x, out, .init = {GY_INIT_TRUNC_NORMAL, e->init_std / sqrt(2.0 * (double)(l + 1))},
                        .bias_init = {GY_INIT_ZEROS});
}

/* Attention over x [B, T, d] -> [B, T, d]. Weights are formed in the open only where dropout or a hook needs them. */
static gy_t attention(gy_mod *m, gy_mod *root, const gy_encoder *e, const gy_encoder_names *n, int64_t l, gy_t x,
                      gy_t mask) {
    int64_t b = gy_dim(x, 0), t = gy_dim(x, 1), d = gy_dim(x, 2), h = e->heads;
    int64_t w = e->head_dim ? e->head_dim : d / h;
    gy_t q = gy_reshape(linear(m, e, l, n->q, x, h * w), b, t, h, w); /* [B, T, H, w] */
    gy_t k = gy_reshape(linear(m, e, l, n->k, x, h * w), b, t, h, w);
    gy_t v = gy_reshape(linear(m, e, l, n->v, x, h * w), b, t, h, w);
    if (e->qk_norm) {
        q = gy_nn_layernorm(m, n->norm_q, q);
        k = gy_nn_layernorm(m, n->norm_k, k);
    }
    gy_t z;
    if (m->train && e->drop_weights > 0) {
        gy_t p = gy_attention_weights(q, k, v, .mask = mask); /* [B, H, T, T] */
        p = gy_nn_dropout(m, "drop_weights", p, e->drop_weights);
        z = gy_permute(gy_matmul(p, gy_permute(v, 0, 2, 1, 3)), 0, 2, 1, 3); /* [B, T, H, w] */
    } else {
        z = gy_attend(root, l, q, k, v, .mask = mask);
    }
    gy_t y = linear(m, e, l, n->out, gy_reshape(z, b, t, h * w), d);
    return gy_point(root, "attn_out", l, gy_nn_dropout(m, "drop_attention", y, e->drop_out));
}

static gy_t activate(gy_act act, gy_t x) {
    switch (act) {
    case GY_ACT_RELU: return gy_relu(x);
    case GY_ACT_SILU: return gy_silu(x);
    case GY_ACT_GELU_TANH: return gy_gelu_tanh(x);
    default: return gy_gelu(x);
    }
}

static gy_t feed_forward(gy_mod *m, gy_mod *root, const gy_encoder *e, const gy_encoder_names *n, int64_t l, gy_t x) {
    int64_t d = gy_dim(x, 2);
    gy_t y = activate(e->act, linear(m, e, l, n->fc1, x, e->inner ? e->inner : 4 * d)); /* [B, T, f] */
    y = gy_nn_dropout(m, "drop_inner", gy_point(root, "mlp_act", l, y), e->drop_inner);
    y = gy_nn_dropout(m, "drop_out", linear(m, e, l, n->fc2, y, d), e->drop_out);
    return gy_point(root, "mlp_out", l, y);
}

gy_t gy_encoder_layer(gy_mod *m, gy_mod *root, const gy_encoder *e, int64_t l, gy_t x, gy_t mask) {
    const gy_encoder_names *n = e->names ? e->names : &gy_encoder_names_plain;
    if (gy_is_none(x) || x.id == 0) return x;
    if (e->heads < 1 || (!e->head_dim && gy_dim(x, 2) % e->heads))
        return gy_poison(m->g, GY_HERE, "encoder layer: width %" PRId64 " in %" PRId64 " heads", gy_dim(x, 2),
                         e->heads);
    x = gy_point(root, "resid_pre", l, x);
    if (e->pre_norm) {
        x = gy_add(x, attention(m, root, e, n, l, gy_nn_layernorm(m, n->norm1, x), mask));
        x = gy_add(x, feed_forward(m, root, e, n, l, gy_nn_layernorm(m, n->norm2, x)));
    } else {
        x = gy_nn_layernorm(m, n->norm1, gy_add(x, attention(m, root, e, n, l, x, mask)));
        x = gy_nn_layernorm(m, n->norm2, gy_add(x, feed_forward(m, root, e, n, l, x)));
    }
    return gy_point(root, "resid_post", l, x);
}

gy_t gy_sine_table(gy_mod *m, int64_t n, int64_t width) {
    gy_ctx *ctx = gy_graph_ctx(m->g);
    gy_tensor table;
    if (width % 2) return gy_poison(m->g, GY_HERE, "sine table: width %" PRId64 " is odd", width);
    if (gy_tensor_new(ctx, &table, m->dtype ? m->dtype : GY_F32, GY_S(n, width)) != GY_OK)
        return gy_poison(m->g, GY_HERE, "%s", gy_error(ctx));
    for (int64_t t = 0; t < n; t++)
        for (int64_t i = 0; i < width; i++) {
            double angle = (double)t * pow(10000.0, -(double)(i - i % 2) / (double)width);
            gy_tensor_set(&table, t * width + i, i % 2 ? cos(angle) : sin(angle));
        }
    gy_t x = gy_const(m->g, &table);
    gy_tensor_free(ctx, &table);
    return x;
}
