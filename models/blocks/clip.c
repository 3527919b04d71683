#include "clip.h"

#include <inttypes.h>
#include <math.h>

const gy_vit_names gy_clip_names = {.norm1 = "layer_norm1",
                                    .q = "self_attn.q_proj",
                                    .k = "self_attn.k_proj",
                                    .v = "self_attn.v_proj",
                                    .out = "self_attn.out_proj",
                                    .norm2 = "layer_norm2",
                                    .fc1 = "mlp.fc1",
                                    .fc2 = "mlp.fc2"};

/* OpenCLIP keeps queries, keys and values in one matrix. */
#define LAYERS(to, from)                                                                                               \
    {to ".*.self_attn.q_proj.weight", from ".*.attn.in_proj_weight", 0, 3},                                            \
        {to ".*.self_attn.q_proj.bias", from ".*.attn.in_proj_bias", 0, 3},                                            \
        {to ".*.self_attn.k_proj.weight", from ".*.attn.in_proj_weight", 1, 3},                                        \
        {to ".*.self_attn.k_proj.bias", from ".*.attn.in_proj_bias", 1, 3},                                            \
        {to ".*.self_attn.v_proj.weight", from ".*.attn.in_proj_weight", 2, 3},                                        \
        {to ".*.self_attn.v_proj.bias", from ".*.attn.in_proj_bias", 2, 3},                                            \
        {to ".*.self_attn.out_proj.weight", from ".*.attn.out_proj.weight"},                                           \
        {to ".*.self_attn.out_proj.bias", from ".*.attn.out_proj.bias"},                                               \
        {to ".*.layer_norm1.weight", from ".*.ln_1.weight"}, {to ".*.layer_norm1.bias", from ".*.ln_1.bias"},          \
        {to ".*.layer_norm2.weight", from ".*.ln_2.weight"}, {to ".*.layer_norm2.bias", from ".*.ln_2.bias"},          \
        {to ".*.mlp.fc1.weight", from ".*.mlp.c_fc.weight"}, {to ".*.mlp.fc1.bias", from ".*.mlp.c_fc.bias"},          \
        {to ".*.mlp.fc2.weight", from ".*.mlp.c_proj.weight"}, {                                                       \
        to ".*.mlp.fc2.bias", from ".*.mlp.c_proj.bias"                                                                \
    }

#define TEXT_RULES                                                                                                     \
    LAYERS("text_model.encoder.layers", "transformer.resblocks"),                                                      \
        {"text_model.embeddings.token_embedding.weight", "token_embedding.weight"},                                    \
        {"text_model.embeddings.position_embedding.weight", "positional_embedding"},                                   \
        {"text_model.final_layer_norm.*", "ln_final.*"}, {                                                             \
        "text_projection.weight", "text_projection", .transpose = true                                                 \
    }

#define VISION_RULES                                                                                                   \
    LAYERS("vision_model.encoder.layers", "visual.transformer.resblocks"),                                             \
        {"vision_model.embeddings.class_embedding", "visual.class_embedding"},                                         \
        {"vision_model.embeddings.patch_embedding.weight", "visual.conv1.weight"},                                     \
        {"vision_model.embeddings.position_embedding.weight", "visual.positional_embedding"},                          \
        {"vision_model.pre_layrnorm.*", "visual.ln_pre.*"}, {"vision_model.post_layernorm.*", "visual.ln_post.*"}, {   \
        "visual_projection.weight", "visual.proj", .transpose = true                                                   \
    }

const gy_weight_rule gy_clip_text_rules[] = {TEXT_RULES, {"*", "cond_stage_model.transformer.*"}, {0}};
const gy_weight_rule gy_clip_vision_rules[] = {VISION_RULES, {0}};
const gy_weight_rule gy_clip_rules[] = {TEXT_RULES, VISION_RULES, {0}};

/* Buffers, the learned temperature, and the other tower. */
const char *const gy_clip_text_ignorable[] = {"*position_ids",  "attn_mask", "logit_scale",
                                              "vision_model.*", "visual*",   NULL};
const char *const gy_clip_vision_ignorable[] = {
    "*position_ids",          "attn_mask",  "logit_scale",          "text_*", "transformer.*",
    "token_embedding.weight", "ln_final.*", "positional_embedding", NULL};
const char *const gy_clip_ignorable[] = {"*position_ids", "attn_mask", NULL};

static const gy_init small = {GY_INIT_NORMAL, 0.02};

/* The layers, in m's scope; the states before the last one come out too. */
static gy_t encoder(gy_mod *m, gy_mod *root, const gy_vit_layer *e, int64_t layers, gy_t x, gy_t *before_last) {
    for (int64_t l = 0; l < layers; l++) {
        if (l == layers - 1) *before_last = x;
        gy_push(m, "encoder.layers.%d", (int)l);
        x = gy_vit_layer_run(m, root, e, l, x);
        gy_pop(m);
    }
    return x;
}

/* The shared space: [..., d] -> [..., projection] */
static gy_t project(gy_mod *m, const char *name, gy_t x, int64_t width) {
    return gy_nn_linear(m, name, x, width, .no_bias = true, .init = small);
}

/* x [B, T, P] divided by the length of one [B, P] */
static gy_t relative_to(gy_t x, gy_t one) {
    gy_t length = gy_sqrt(gy_sum_keep(gy_square(one), GY_AXES(-1))); /* [B, 1] */
    return gy_div(x, gy_unsqueeze(length, 2));
}

gy_clip_out gy_clip_text(gy_mod *m, const gy_clip_text_config *c, gy_t ids) {
    gy_mod root = *m;
    gy_clip_out o = {GY_NONE, GY_NONE, GY_NONE, GY_NONE, GY_NONE};
    int64_t b = gy_dim(ids, 0), t = gy_dim(ids, 1), d = c->width;
    if (t > c->positions) {
        o.states = gy_poison(m->g, GY_HERE, "clip text: %" PRId64 " tokens, but the model has %" PRId64 " positions", t,
                             c->positions);
        return o;
    }
    gy_push(m, "text_model");
    gy_push(m, "embeddings");
    gy_t x = gy_nn_embedding(m, "token_embedding", ids, c->vocabulary, d, GY_INIT_NORMAL, 0.02);
    gy_push(m, "position_embedding");
    gy_t position = gy_param(m, "weight", GY_S(c->positions, d), GY_INIT_NORMAL, 0.01);
    gy_pop(m);
    gy_pop(m);
    x = gy_tap(&root, "embed", gy_add(x, gy_slice(position, 0, 0, t))); /* [B, T, d] */
    gy_vit_layer layer = {&gy_clip_names, c->heads, c->inner, c->quick ? GY_ACT_QUICK_GELU : GY_ACT_GELU, 1e-5, true};
    x = encoder(m, &root, &layer, c->layers, x, &o.penultimate);
    o.states = gy_tap(&root, "final_norm", gy_nn_layernorm(m, "final_layer_norm", x));
    o.penultimate = gy_nn_layernorm(m, "final_layer_norm", o.penultimate);
    gy_pop(m);
    /* row b T + end of the flattened states; argmax gives the first of equal ids */
    gy_t end = gy_argmax(gy_cast(ids, GY_F32), 1); /* i64 [B] */
    end = gy_add(end, gy_mul(gy_iota(m->g, GY_I64, b), gy_full(m->g, GY_I64, GY_S0, (double)t)));
    o.pooled = gy_gather(gy_reshape(o.states, b * t, d), end, 0); /* [B, d] */
    if (!c->projection) return o;
    o.embeds = project(m, "text_projection", o.pooled, c->projection);
    o.tokens = relative_to(project(m, "text_projection", o.states, c->projection), o.embeds);
    return o;
}

gy_clip_out gy_clip_vision(gy_mod *m, const gy_clip_vision_config *c, gy_t pixels) {
    gy_mod root = *m;
    gy_clip_out o = {GY_NONE, GY_NONE, GY_NONE, GY_NONE, GY_NONE};
    int64_t b = gy_dim(pixels, 0), grid = c->image / c->patch, n = grid * grid, d = c->width;
    if (gy_dim(pixels, 1) != c->image || gy_dim(pixels, 2) != c->image || c->image % c->patch) {
        o.states = gy_poison(m->g, GY_HERE,
                             "clip vision: pictures of %" PRId64 " x %" PRId64 ", expected %" PRId64
                             " pixels a side in patches of %" PRId64,
                             gy_dim(pixels, 1), gy_dim(pixels, 2), c->image, c->patch);
        return o;
    }
    gy_push(m, "vision_model");
    gy_push(m, "embeddings");
    gy_t cls = gy_param(m, "class_embedding", GY_S(d), GY_INIT_NORMAL, 0.02);
    gy_t x = gy_nn_conv(m, "patch_embedding", pixels, d, GY_S(c->patch), .stride = GY_S(c->patch), .no_bias = true,
                        .init = small); /* [B, grid, grid, d] */
    gy_push(m, "position_embedding");
    gy_t position = gy_param(m, "weight", GY_S(n + 1, d), GY_INIT_NORMAL, 0.02);
    gy_pop(m);
    gy_pop(m);
    x = gy_concat2(1, gy_broadcast_to(cls, GY_S(b, 1, d)), gy_reshape(x, b, n, d)); /* [B, 1 + L, d] */
    x = gy_tap(&root, "embed", gy_nn_layernorm(m, "pre_layrnorm", gy_add(x, position)));
    gy_vit_layer layer = {&gy_clip_names, c->heads, c->inner, c->quick ? GY_ACT_QUICK_GELU : GY_ACT_GELU, 1e-5, false};
    o.states = encoder(m, &root, &layer, c->layers, x, &o.penultimate);
    gy_t normed = gy_tap(&root, "final_norm", gy_nn_layernorm(m, "post_layernorm", o.states)); /* [B, 1 + L, d] */
    o.pooled = gy_squeeze(gy_slice(normed, 1, 0, 1), 1);                                       /* [B, d] */
    gy_pop(m);
    if (!c->projection) return o;
    o.tokens = project(m, "visual_projection", normed, c->projection); /* [B, 1 + L, P] */
    o.embeds = gy_squeeze(gy_slice(o.tokens, 1, 0, 1), 1);             /* [B, P] */
    o.tokens = relative_to(o.tokens, o.embeds);
    return o;
}

gy_clip_pair gy_clip_both(gy_mod *m, const gy_clip_text_config *t, const gy_clip_vision_config *v, gy_t ids,
                          gy_t pixels) {
    gy_clip_pair p = {.text = gy_clip_text(m, t, ids).embeds, .image = gy_clip_vision(m, v, pixels).embeds};
    if (gy_is_none(p.text) || gy_is_none(p.image) || t->projection != v->projection) {
        p.per_image = p.per_text = gy_poison(m->g, GY_HERE,
                                             "clip: the towers project to widths of %" PRId64 " and %" PRId64
                                             ", expected one width of 1 or more",
                                             t->projection, v->projection);
        return p;
    }
    p.scale = gy_exp(gy_param(m, "logit_scale", GY_S0, GY_INIT_CONSTANT, -log(0.07)));
    gy_t cosine = gy_matmul(gy_l2_normalize(p.image), gy_l2_normalize(p.text), .trans_b = true);
    p.per_image = gy_mul(cosine, p.scale); /* [pictures, texts] */
    p.per_text = gy_transpose(p.per_image);
    return p;
}

gy_t gy_clip_loss(gy_clip_pair p) {
    return gy_info_nce(.a = p.image, .b = p.text, .scale = p.scale);
}

void gy_clip_bound_scale(gy_mod *m) {
    gy_state *s = gy_mod_state(m, "logit_scale");
    if (!s || gy_graph_status(m->g) != GY_OK) return;
    gy_t most = gy_full(m->g, s->value.dtype, GY_S0, log(100));
    gy_assign_next(s, gy_minimum(gy_next(m->g, s), most));
}
