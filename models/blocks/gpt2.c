#include "gpt2.h"

#include <inttypes.h>
#include <math.h>

const gy_weight_rule gy_gpt2_rules[] = {{"*", "transformer.*"}, {0}};
/* the causal mask, stored by old versions; wte again */
const char *const gy_gpt2_ignorable[] = {"*.attn.bias", "*.attn.masked_bias", "lm_head.weight", NULL};

/* x [..., in] W + b with the [in, out] layout of these checkpoints. */
static gy_t conv1d(gy_mod *m, const char *name, gy_t x, int64_t out, double std) {
    gy_push(m, "%s", name);
    gy_t w = gy_param(m, "weight", GY_S(gy_dim(x, -1), out), GY_INIT_NORMAL, std);
    gy_t y = gy_add(gy_matmul(x, w), gy_param(m, "bias", GY_S(out), GY_INIT_ZEROS));
    gy_pop(m);
    return y;
}

gy_t gy_gpt2_embed(gy_mod *m, const gy_gpt2_config *c, gy_t ids) {
    return gy_nn_embedding(m, "wte", ids, c->vocabulary, c->width, GY_INIT_NORMAL, 0.02);
}

/* The rows of wpe for the tokens' positions: [T, d] or [B, T, d]. */
static gy_t positions(gy_mod *m, const gy_gpt2_config *c, const gy_lm_in *in) {
    int64_t t = gy_lm_tokens(in);
    gy_push(m, "wpe");
    gy_t w = gy_param(m, "weight", GY_S(c->positions, c->width), GY_INIT_NORMAL, 0.02);
    gy_pop(m);
    if (t > c->positions)
        return gy_poison(m->g, GY_HERE, "gpt2: %" PRId64 " tokens, but the model has %" PRId64 " positions", t,
                         c->positions);
    return gy_is_none(in->positions) ? gy_slice(w, 0, 0, t) : gy_embedding(w, in->positions);
}

/* root: the scope that hook points are named from. */
static gy_t block(gy_mod *m, gy_mod *root, const gy_gpt2_config *c, const gy_lm_in *in, int64_t l, gy_t x) {
    int64_t b = gy_lm_batch(in), t = gy_lm_tokens(in), d = c->width, inner = c->inner ? c->inner : 4 * d;
    double residual = 0.02 / sqrt(2.0 * (double)c->layers); /* so that the stream's variance does not grow with depth */
    gy_t part[3], z, h;
    gy_push(m, "h.%d", (int)l);
    x = gy_point(root, "resid_pre", l, x);                                            /* [B, T, d] */
    h = gy_point(root, "ln1", l, gy_nn_layernorm(m, "ln_1", x, .eps = c->eps));       /* [B, T, d] */
    h = gy_reshape(conv1d(m, "attn.c_attn", h, 3 * d, 0.02), b, t, 3 * c->heads, -1); /* [B, T, 3 H, D] */
    gy_split(h, 2, 3, part);                                                          /* [B, T, H, D] each */
    z = gy_attend(root, l, part[0], part[1], part[2], true, in->mask, in->kv);        /* [B, T, H, D] */
    gy_push(m, "attn.c_proj");
    gy_t w = gy_param(m, "weight", GY_S(d, d), GY_INIT_NORMAL, residual);
    h = gy_attend_out(root, l, z, w, false, gy_param(m, "bias", GY_S(d), GY_INIT_ZEROS)); /* [B, T, d] */
    gy_pop(m);
    x = gy_add(x, gy_nn_dropout(m, "attn_dropout", h, c->dropout));
    x = gy_point(root, "resid_mid", l, x);
    h = gy_point(root, "ln2", l, gy_nn_layernorm(m, "ln_2", x, .eps = c->eps)); /* [B, T, d] */
    h = gy_point(root, "mlp_pre", l, conv1d(m, "mlp.c_fc", h, inner, 0.02));    /* [B, T, f] */
    h = gy_point(root, "mlp_act", l, gy_gelu_tanh(h));                          /* [B, T, f] */
    h = gy_point(root, "mlp_out", l, conv1d(m, "mlp.c_proj", h, d, residual));  /* [B, T, d] */
    x = gy_add(x, gy_nn_dropout(m, "mlp_dropout", h, c->dropout));
    gy_pop(m);
    return gy_point(root, "resid_post", l, x);
}

gy_t gy_gpt2(gy_mod *m, const gy_gpt2_config *c, const gy_lm_in *in) {
    gy_mod root = *m;
    gy_t x = gy_is_none(in->embedded) ? gy_gpt2_embed(m, c, in->ids) : in->embedded;
    if (c->width % c->heads)
        return gy_poison(m->g, GY_HERE, "gpt2: %" PRId64 " heads do not divide width %" PRId64, c->heads, c->width);
    x = gy_tap(&root, "embed", gy_add(x, positions(m, c, in))); /* [B, T, d] */
    x = gy_nn_dropout(m, "dropout", x, c->dropout);
    for (int64_t l = 0; l < c->layers; l++) x = block(m, &root, c, in, l, x);
    return gy_tap(&root, "final_norm", gy_nn_layernorm(m, "ln_f", x, .eps = c->eps));
}

gy_t gy_gpt2_logits(gy_mod *m, const gy_gpt2_config *c, gy_t states) {
    gy_push(m, "wte");
    gy_t w = gy_param(m, "weight", GY_S(c->vocabulary, c->width), GY_INIT_NORMAL, 0.02);
    gy_pop(m);
    return gy_tap(m, "logits", gy_linear(states, w, GY_NONE));
}

static gy_t states_of(gy_mod *m, const void *cfg, const gy_lm_in *in) {
    return gy_gpt2(m, cfg, in);
}
static gy_t logits_of(gy_mod *m, const void *cfg, gy_t states) {
    return gy_gpt2_logits(m, cfg, states);
}

gy_lm gy_gpt2_lm(const gy_gpt2_config *c) {
    return (gy_lm){c, states_of, logits_of, c->layers, c->heads, c->width / c->heads, c->vocabulary, c->positions};
}
