#include "vit.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

const gy_vit_names gy_vit_names_hf = {.norm1 = "layernorm_before",
                                      .q = "attention.attention.query",
                                      .k = "attention.attention.key",
                                      .v = "attention.attention.value",
                                      .out = "attention.output.dense",
                                      .norm2 = "layernorm_after",
                                      .fc1 = "intermediate.dense",
                                      .fc2 = "output.dense"};

/* The layers `to` of the model under the names that newer transformers files (`new`) and timm (`old`) give them. */
#define LAYERS(to, new, old)                                                                                           \
    {to ".*.attention.attention.query.weight", new ".*.attention.q_proj.weight"},                                      \
        {to ".*.attention.attention.query.bias", new ".*.attention.q_proj.bias"},                                      \
        {to ".*.attention.attention.key.weight", new ".*.attention.k_proj.weight"},                                    \
        {to ".*.attention.attention.key.bias", new ".*.attention.k_proj.bias"},                                        \
        {to ".*.attention.attention.value.weight", new ".*.attention.v_proj.weight"},                                  \
        {to ".*.attention.attention.value.bias", new ".*.attention.v_proj.bias"},                                      \
        {to ".*.attention.output.dense.weight", new ".*.attention.o_proj.weight"},                                     \
        {to ".*.attention.output.dense.bias", new ".*.attention.o_proj.bias"},                                         \
        {to ".*.intermediate.dense.weight", new ".*.mlp.fc1.weight"},                                                  \
        {to ".*.intermediate.dense.bias", new ".*.mlp.fc1.bias"},                                                      \
        {to ".*.output.dense.weight", new ".*.mlp.fc2.weight"}, {to ".*.output.dense.bias", new ".*.mlp.fc2.bias"},    \
        {to ".*.layernorm_before.weight", new ".*.layernorm_before.weight"},                                           \
        {to ".*.layernorm_before.bias", new ".*.layernorm_before.bias"},                                               \
        {to ".*.layernorm_after.weight", new ".*.layernorm_after.weight"},                                             \
        {to ".*.layernorm_after.bias", new ".*.layernorm_after.bias"},                                                 \
        {to ".*.attention.attention.query.weight", old ".*.attn.qkv.weight", 0, 3},                                    \
        {to ".*.attention.attention.query.bias", old ".*.attn.qkv.bias", 0, 3},                                        \
        {to ".*.attention.attention.key.weight", old ".*.attn.qkv.weight", 1, 3},                                      \
        {to ".*.attention.attention.key.bias", old ".*.attn.qkv.bias", 1, 3},                                          \
        {to ".*.attention.attention.value.weight", old ".*.attn.qkv.weight", 2, 3},                                    \
        {to ".*.attention.attention.value.bias", old ".*.attn.qkv.bias", 2, 3},                                        \
        {to ".*.attention.output.dense.weight", old ".*.attn.proj.weight"},                                            \
        {to ".*.attention.output.dense.bias", old ".*.attn.proj.bias"},                                                \
        {to ".*.intermediate.dense.weight", old ".*.mlp.fc1.weight"},                                                  \
        {to ".*.intermediate.dense.bias", old ".*.mlp.fc1.bias"},                                                      \
        {to ".*.output.dense.weight", old ".*.mlp.fc2.weight"}, {to ".*.output.dense.bias", old ".*.mlp.fc2.bias"},    \
        {to ".*.layernorm_before.weight", old ".*.norm1.weight"},                                                      \
        {to ".*.layernorm_before.bias", old ".*.norm1.bias"}, {to ".*.layernorm_after.weight", old ".*.norm2.weight"}, \
    {                                                                                                                  \
        to ".*.layernorm_after.bias", old ".*.norm2.bias"                                                              \
    }

const gy_weight_rule gy_mae_rules[] = {
    LAYERS("vit.encoder.layer", "vit.layers", "blocks"),
    LAYERS("decoder.decoder_layers", "decoder.decoder_layers", "decoder_blocks"),
    {"decoder.decoder_layers.*", "decoder.decoder_encoder.layer.*"}, /* as transformers 5 writes it */
    {"vit.embeddings.cls_token", "cls_token"},
    {"vit.embeddings.position_embeddings", "pos_embed"},
    {"vit.embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"},
    {"vit.layernorm.*", "norm.*"},
    {"decoder.*", "*"}, /* the authors' decoder_embed, mask_token, decoder_pos_embed, decoder_norm, decoder_pred */
    {0},
};

/* ---- a layer ---- */

static gy_t act(gy_act kind, gy_t x) {
    return kind == GY_ACT_QUICK_GELU ? gy_quick_gelu(x) : kind == GY_ACT_GELU_TANH ? gy_gelu_tanh(x) : gy_gelu(x);
}

static gy_t linear(gy_mod *m, const char *name, gy_t x, int64_t out) {
    return gy_nn_linear(m, name, x, out, .init = {GY_INIT_XAVIER_UNIFORM, 1}, .bias_init = {GY_INIT_ZEROS});
}

/* LayerScale (Touvron et al. 2021, arXiv 2103.17239 eq. 7): x times a learned factor a feature */
static gy_t scaled(gy_mod *m, const char *name, gy_t x) {
    return name ? gy_mul(x, gy_param(m, name, GY_S(gy_dim(x, -1)), GY_INIT_ONES)) : x;
}

gy_t gy_vit_layer_run(gy_mod *m, gy_mod *root, const gy_vit_layer *e, int64_t l, gy_t x) {
    if (gy_is_none(x) || x.id == 0) return x;
    const gy_vit_names *n = e->names;
    int64_t b = gy_dim(x, 0), t = gy_dim(x, 1), d = gy_dim(x, 2);
    if (d % e->heads)
        return gy_poison(m->g, GY_HERE, "transformer layer: %" PRId64 " heads do not divide width %" PRId64, e->heads,
                         d);
    x = gy_point(root, "resid_pre", l, x);                                             /* [B, T, d] */
    gy_t h = gy_point(root, "ln1", l, gy_nn_layernorm(m, n->norm1, x, .eps = e->eps)); /* [B, T, d] */
    gy_t q = gy_reshape(linear(m, n->q, h, d), b, t, e->heads, -1);                    /* [B, T, H, D] */
    gy_t k = gy_reshape(linear(m, n->k, h, d), b, t, e->heads, -1);
    gy_t v = gy_reshape(linear(m, n->v, h, d), b, t, e->heads, -1);
    gy_t z = gy_attend(root, l, q, k, v, e->causal); /* [B, T, H, D] */
    gy_push(m, "%s", n->out);
    gy_t w = gy_param(m, "weight", GY_S(d, d), GY_INIT_XAVIER_UNIFORM, 1);
    h = gy_attend_out(root, l, z, w, true, gy_param(m, "bias", GY_S(d), GY_INIT_ZEROS)); /* [B, T, d] */
    gy_pop(m);
    x = gy_point(root, "resid_mid", l, gy_add(x, scaled(m, n->scale1, h)));
    h = gy_point(root, "ln2", l, gy_nn_layernorm(m, n->norm2, x, .eps = e->eps)); /* [B, T, d] */
    h = gy_point(root, "mlp_pre", l, linear(m, n->fc1, h, e->inner));             /* [B, T, f] */
    h = gy_point(root, "mlp_act", l, act(e->act, h));
    h = gy_point(root, "mlp_out", l, linear(m, n->fc2, h, d)); /* [B, T, d] */
    return gy_point(root, "resid_post", l, gy_add(x, scaled(m, n->scale2, h)));
}

/* ---- patches and positions ---- */

gy_t gy_patchify(gy_t pixels, int64_t p) {
    if (gy_is_none(pixels) || pixels.id == 0) return pixels;
    int64_t b = gy_dim(pixels, 0), h = gy_dim(pixels, 1) / p, w = gy_dim(pixels, 2) / p, c = gy_dim(pixels, 3);
    gy_t x = gy_permute(gy_reshape(pixels, b, h, p, w, p, c), 0, 1, 3, 2, 4, 5); /* [B, h, w, p, p, C] */
    return gy_reshape(x, b, h * w, p * p * c);
}

gy_status gy_sine_positions(gy_ctx *ctx, int64_t grid, int64_t width, gy_tensor *out) {
    if (width % 4) return gy_fail(ctx, GY_ERR_USAGE, "sine positions: width %" PRId64 " is no multiple of 4", width);
    gy_status s = gy_tensor_new(ctx, out, GY_F32, GY_S(1, grid * grid + 1, width));
    int64_t half = width / 2, quarter = width / 4;
    for (int64_t i = 0; s == GY_OK && i < grid * grid; i++)
        for (int64_t f = 0; f < width; f++) {
            double place = (double)(f < half ? i % grid : i / grid);
            double angle = place / pow(10000.0, (double)(f % quarter) / (double)quarter);
            gy_tensor_set(out, (i + 1) * width + f, f % half < quarter ? sin(angle) : cos(angle));
        }
    return s;
}

/* The sine table as a frozen parameter, so that it is in the checkpoint and is not trained. */
static gy_t sine_table(gy_mod *m, const char *name, int64_t grid, int64_t width) {
    gy_ctx *ctx = gy_graph_ctx(m->g);
    bool there = gy_mod_state(m, name) != NULL;
    gy_t x = gy_param(m, name, GY_S(1, grid * grid + 1, width), GY_INIT_ZEROS);
    gy_state *s = gy_mod_state(m, name);
    if (!s) return x;
    s->frozen = true;
    if (there || !s->value.data) return x; /* loaded, or a dry store */
    gy_tensor table, cast;
    gy_status st = gy_sine_positions(ctx, grid, width, &table);
    if (st == GY_OK) {
        st = gy_tensor_cast(ctx, &table, s->value.dtype, &cast);
        gy_tensor_free(ctx, &table);
    }
    if (st != GY_OK) return gy_poison(m->g, GY_HERE, "%s", gy_error(ctx));
    memcpy(s->value.data, cast.data, gy_tensor_bytes(&cast));
    gy_state_touch(s);
    gy_tensor_free(ctx, &cast);
    return x;
}

/* rows of x [B, N, d] picked for each sample: index i64 [B, K] -> [B, K, d] */
static gy_t pick(gy_t x, gy_t index) {
    int64_t b = gy_dim(x, 0), n = gy_dim(x, 1), d = gy_dim(x, 2);
    gy_t first = gy_mul(gy_reshape(gy_iota(x.g, GY_I64, b), b, 1), gy_full(x.g, GY_I64, GY_S(1, 1), (double)n));
    return gy_gather(gy_reshape(x, b * n, d), gy_add(index, first), 0);
}

/* [1, 1, d] or [1, N, d] -> [B, ...] */
static gy_t repeat(gy_t x, int64_t b) {
    return gy_broadcast_to(x, GY_S(b, gy_dim(x, 1), gy_dim(x, 2)));
}

/* ---- the masked autoencoder ---- */

static double eps_of(const gy_mae_config *c) {
    return c->eps > 0 ? c->eps : 1e-12;
}

gy_mae gy_mae_encode(gy_mod *m, const gy_mae_config *c, gy_t pixels, gy_t noise) {
    gy_mod root = *m;
    gy_mae e = {GY_NONE, GY_NONE, GY_NONE};
    int64_t b = gy_dim(pixels, 0), grid = c->image / c->patch, n = grid * grid, d = c->width;
    int64_t kept = (int64_t)((double)n * (1 - c->mask_ratio));
    if (c->image % c->patch || gy_dim(pixels, 1) != c->image || gy_dim(pixels, 2) != c->image || kept < 1) {
        e.states = gy_poison(m->g, GY_HERE,
                             "masked autoencoder: pictures of %" PRId64 " pixels a side in patches of %" PRId64
                             ", %" PRId64 " of them kept",
                             gy_dim(pixels, 1), c->patch, kept);
        return e;
    }
    gy_push(m, "vit.embeddings");
    gy_t x = gy_nn_conv(m, "patch_embeddings.projection", pixels, d, GY_S(c->patch), .stride = GY_S(c->patch),
                        .init = {GY_INIT_XAVIER_UNIFORM, 1}, .bias_init = {GY_INIT_ZEROS});
    gy_t cls = gy_param(m, "cls_token", GY_S(1, 1, d), GY_INIT_NORMAL, 0.02);
    gy_t position = sine_table(m, "position_embeddings", grid, d);       /* [1, 1 + L, d] */
    x = gy_add(gy_reshape(x, b, n, d), gy_slice(position, 1, 1, n + 1)); /* [B, L, d] */
    gy_pop(m);
    if (!gy_is_none(noise)) {
        gy_t by_noise = gy_argsort(noise, 1);               /* i64 [B, L] */
        e.order = gy_argsort(gy_cast(by_noise, GY_F32), 1); /* its inverse */
        e.mask = gy_cast(gy_ge(e.order, gy_full(m->g, GY_I64, GY_S0, (double)kept)), m->dtype);
        x = pick(x, gy_slice(by_noise, 1, 0, kept)); /* [B, K, d] */
    }
    x = gy_concat2(1, repeat(gy_add(cls, gy_slice(position, 1, 0, 1)), b), x); /* [B, 1 + K, d] */
    x = gy_tap(&root, "embed", x);
    gy_vit_layer layer = {&gy_vit_names_hf, c->heads, c->inner, GY_ACT_GELU, eps_of(c), false};
    gy_push(m, "vit");
    for (int64_t l = 0; l < c->layers; l++) {
        gy_push(m, "encoder.layer.%d", (int)l);
        x = gy_vit_layer_run(m, &root, &layer, l, x);
        gy_pop(m);
    }
    e.states = gy_tap(&root, "final_norm", gy_nn_layernorm(m, "layernorm", x, .eps = eps_of(c)));
    gy_pop(m);
    return e;
}

gy_t gy_mae_decode(gy_mod *m, const gy_mae_config *c, gy_mae e) {
    if (gy_is_none(e.states) || e.states.id == 0) return e.states;
    int64_t b = gy_dim(e.states, 0), grid = c->image / c->patch, n = grid * grid, d = c->decoder_width;
    gy_push(m, "decoder");
    gy_mod root = *m;                                 /* hook points "decoder.resid_pre.0", ... */
    gy_t x = linear(m, "decoder_embed", e.states, d); /* [B, 1 + K, D] */
    gy_t hidden = gy_param(m, "mask_token", GY_S(1, 1, d), GY_INIT_NORMAL, 0.02);
    gy_t cls = gy_slice(x, 1, 0, 1), seen = gy_slice(x, 1, 1, gy_dim(x, 1));
    if (!gy_is_none(e.order)) { /* one row for all hidden patches: their places in the order point at it */
        int64_t kept = gy_dim(seen, 1);
        gy_t last = gy_full(m->g, GY_I64, GY_S0, (double)kept);
        seen = pick(gy_concat2(1, seen, repeat(hidden, b)), gy_minimum(e.order, last)); /* [B, L, D] */
    }
    x = gy_add(gy_concat2(1, cls, seen), sine_table(m, "decoder_pos_embed", grid, d)); /* [B, 1 + L, D] */
    gy_vit_layer layer = {&gy_vit_names_hf, c->decoder_heads, c->decoder_inner, GY_ACT_GELU, eps_of(c), false};
    for (int64_t l = 0; l < c->decoder_layers; l++) {
        gy_push(m, "decoder_layers.%d", (int)l);
        x = gy_vit_layer_run(m, &root, &layer, l, x);
        gy_pop(m);
    }
    x = gy_nn_layernorm(m, "decoder_norm", x, .eps = eps_of(c));
    x = linear(m, "decoder_pred", x, c->patch * c->patch * c->channels);
    gy_pop(m);
    return gy_slice(x, 1, 1, n + 1); /* [B, L, p p C] */
}

gy_t gy_mae_loss(const gy_mae_config *c, gy_t pixels, gy_t predicted, gy_t mask) {
    gy_t target = gy_patchify(pixels, c->patch); /* [B, L, p p C] */
    if (c->normalise) {
        gy_t centred = gy_sub(target, gy_mean_keep(target, GY_AXES(-1)));
        gy_t variance = gy_unsqueeze(gy_var(target, GY_AXES(-1), 1), 2);
        target = gy_div(centred, gy_sqrt(gy_add_scalar(variance, 1e-6)));
    }
    gy_t error = gy_mean(gy_square(gy_sub(predicted, target)), GY_AXES(-1)); /* [B, L] */
    return gy_div(gy_sum(gy_mul(error, mask), GY_ALL), gy_sum(mask, GY_ALL));
}
