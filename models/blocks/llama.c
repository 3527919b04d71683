#include "llama.h"

#include <inttypes.h>

const char *const gy_llama_ignorable[] = {"*.rotary_emb.inv_freq", NULL};
const char *const gy_llama_tied_ignorable[] = {"*.rotary_emb.inv_freq", "lm_head.weight", NULL};

static const gy_init normal = {GY_INIT_NORMAL, 0.02};

static gy_t projection(gy_mod *m, const char *name, gy_t x, int64_t out, bool bias) {
    return gy_nn_linear(m, name, x, out, .no_bias = !bias, .init = normal, .bias_init = {GY_INIT_ZEROS});
}

static gy_t attention(gy_mod *m, gy_mod *root, const gy_llama_config *c, const gy_lm_in *in, int64_t l, gy_rope rope,
                      gy_t h) {
    int64_t b = gy_lm_batch(in), t = gy_lm_tokens(in), hd = c->head_width ? c->head_width : c->width / c->heads;
    gy_push(m, "self_attn");
    gy_t q = gy_reshape(projection(m, "q_proj", h, c->heads * hd, c->qkv_bias), b, t, c->heads, hd);
    gy_t k = gy_reshape(projection(m, "k_proj", h, c->kv_heads * hd, c->qkv_bias), b, t, c->kv_heads, hd);
    gy_t v = gy_reshape(projection(m, "v_proj", h, c->kv_heads * hd, c->qkv_bias), b, t, c->kv_heads, hd);
    gy_t z =
        gy_attend(root, l, gy_rope_turn(rope, q), gy_rope_turn(rope, k), v, true, in->mask, in->kv); /* [B, T, H, D] */
    gy_push(m, "o_proj");
    gy_t w = gy_param_(GY_HERE, m, "weight", GY_S(c->width, c->heads * hd), normal);
    gy_pop(m);
    gy_pop(m);
    return gy_attend_out(root, l, z, w, true, GY_NONE); /* [B, T, d] */
}

static gy_t mlp(gy_mod *m, gy_mod *root, const gy_llama_config *c, int64_t l, gy_t h) {
    gy_push(m, "mlp");
    gy_t gate = gy_point(root, "mlp_pre", l, projection(m, "gate_proj", h, c->inner, false)); /* [B, T, f] */
    gy_t up = projection(m, "up_proj", h, c->inner, false);                                   /* [B, T, f] */
    gy_t y = gy_point(root, "mlp_act", l, gy_mul(gy_silu(gate), up));
    y = projection(m, "down_proj", y, c->width, false); /* [B, T, d] */
    gy_pop(m);
    return gy_point(root, "mlp_out", l, y);
}

gy_t gy_llama(gy_mod *m, const gy_llama_config *c, const gy_lm_in *in) {
    gy_mod root = *m;
    int64_t hd = c->head_width ? c->head_width : c->width / c->heads;
    if (hd % 2 || c->heads % c->kv_heads || gy_lm_tokens(in) > c->positions)
        return gy_poison(m->g, GY_HERE,
                         "llama: %" PRId64 " tokens (at most %" PRId64 "), %" PRId64 " query and %" PRId64
                         " key heads of width %" PRId64 ": expected an even width and a multiple of the key heads",
                         gy_lm_tokens(in), c->positions, c->heads, c->kv_heads, hd);
    gy_push(m, "model");
    gy_t x = in->embedded;
    if (gy_is_none(x)) x = gy_nn_embedding(m, "embed_tokens", in->ids, c->vocabulary, c->width, GY_INIT_NORMAL, 0.02);
    x = gy_tap(&root, "embed", x); /* [B, T, d] */
    gy_rope rope = gy_rope_tables(m, &c->rope, in, hd);
    for (int64_t l = 0; l < c->layers; l++) {
        gy_push(m, "layers.%d", (int)l);
        x = gy_point(&root, "resid_pre", l, x);
        gy_t h = gy_point(&root, "ln1", l, gy_nn_rmsnorm(m, "input_layernorm", x, .eps = c->eps));
        x = gy_point(&root, "resid_mid", l, gy_add(x, attention(m, &root, c, in, l, rope, h)));
        h = gy_point(&root, "ln2", l, gy_nn_rmsnorm(m, "post_attention_layernorm", x, .eps = c->eps));
        x = gy_point(&root, "resid_post", l, gy_add(x, mlp(m, &root, c, l, h)));
        gy_pop(m);
    }
    x = gy_tap(&root, "final_norm", gy_nn_rmsnorm(m, "norm", x, .eps = c->eps));
    gy_pop(m);
    return x;
}

gy_t gy_llama_logits(gy_mod *m, const gy_llama_config *c, gy_t states) {
    gy_push(m, c->tied ? "model.embed_tokens" : "lm_head");
    gy_t w = gy_param_(GY_HERE, m, "weight", GY_S(c->vocabulary, c->width), normal);
    gy_pop(m);
    return gy_tap(m, "logits", gy_linear(states, w, GY_NONE));
}

static gy_t states_of(gy_mod *m, const void *cfg, const gy_lm_in *in) {
    return gy_llama(m, cfg, in);
}
static gy_t logits_of(gy_mod *m, const void *cfg, gy_t states) {
    return gy_llama_logits(m, cfg, states);
}

gy_lm gy_llama_lm(const gy_llama_config *c) {
    int64_t hd = c->head_width ? c->head_width : c->width / c->heads;
    return (gy_lm){c, states_of, logits_of, c->layers, c->kv_heads, hd, c->vocabulary, c->positions};
}
