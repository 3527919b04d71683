#include "diffusion.h"

#include <math.h>
#include <stdio.h>

gy_shape gy_spatial_shape(gy_t x) {
    gy_shape s = gy_shape_of(x), r = {.rank = s.rank - 2};
    for (int64_t i = 0; i < r.rank; i++) r.dim[i] = s.dim[i + 1];
    return r;
}

gy_t gy_time_features(gy_mod *m, gy_t t, int64_t width) {
    if (width < 2 || width % 2) return gy_poison(m->g, GY_HERE, "time features: width %d is not even", (int)width);
    gy_ctx *ctx = gy_graph_ctx(m->g);
    gy_tensor f;
    if (gy_tensor_new(ctx, &f, gy_dtype_of(t), GY_S(1, width / 2)) != GY_OK)
        return gy_poison(m->g, GY_HERE, "%s", gy_error(ctx));
    for (int64_t i = 0; i < width / 2; i++) gy_tensor_set(&f, i, exp(-log(10000.0) * (double)i / (double)(width / 2)));
    gy_t angle = gy_mul(gy_unsqueeze(t, 1), gy_const(m->g, &f)); /* [B, width/2] */
    gy_tensor_free(ctx, &f);
    return gy_concat2(1, gy_cos(angle), gy_sin(angle));
}

gy_t gy_diffusion_conv(gy_mod *m, const gy_diffusion_style *s, const char *name, gy_t x, int64_t out, int64_t kernel,
                       bool zero) {
    char key[128];
    snprintf(key, sizeof key, "%s%s", name, s->keys == GY_KEYS_MONAI ? ".conv" : "");
    return gy_nn_conv(m, key, x, out, GY_S(kernel), .pad = GY_S(kernel / 2),
                      .init = {zero ? GY_INIT_ZEROS : GY_INIT_DEFAULT},
                      .bias_init = {zero ? GY_INIT_ZEROS : GY_INIT_DEFAULT});
}

/* silu(norm(x)) */
static gy_t norm_silu(gy_mod *m, const gy_diffusion_style *s, const char *name, gy_t x) {
    return gy_nn_groupnorm(m, name, x, s->eps, s->groups, .act = GY_ACT_SILU);
}

/* v [B, C] to every position of x [B, spatial..., C] */
static gy_t per_channel(gy_t v, gy_t x) {
    gy_shape s = gy_shape_of(x);
    for (int64_t i = 1; i + 1 < s.rank; i++) s.dim[i] = 1;
    return gy_reshape_to(v, s);
}

/* h (1 + a) + b, [a, b] = W temb */
static gy_t modulated(gy_mod *m, const char *name, gy_t h, gy_t temb) {
    gy_t part[2];
    if (gy_is_none(temb)) return h;
    gy_split(gy_nn_linear(m, name, temb, 2 * gy_dim(h, -1)), -1, 2, part); /* [B, C] each */
    gy_t gain = gy_add_scalar(per_channel(part[0], h), 1);
    return gy_add(gy_mul(h, gain), per_channel(part[1], h));
}

static gy_t film_block(gy_mod *m, const gy_diffusion_style *s, gy_t x, gy_t temb, int64_t out) {
    int64_t d = s->dilation ? s->dilation : 1;
    gy_t h = gy_nn_conv(m, "conv1", x, out, GY_S(3), .pad = GY_S(d), .dilation = GY_S(d));
    h = modulated(m, "film1", gy_silu(h), temb);
    h = gy_silu(gy_nn_conv(m, "conv2", h, out, GY_S(3), .pad = GY_S(1)));
    h = modulated(m, "film2", gy_nn_dropout(m, "dropout", h, s->dropout), temb);
    if (gy_dim(x, -1) != out) x = gy_nn_conv(m, "conv_shortcut", x, out, GY_S(1));
    return gy_add(x, h);
}

static gy_t norm_block(gy_mod *m, const gy_diffusion_style *s, gy_t x, gy_t temb, int64_t out) {
    gy_t h = gy_diffusion_conv(m, s, "conv1", norm_silu(m, s, "norm1", x), out, 3, false); /* [B, spatial, out] */
    if (!gy_is_none(temb)) h = gy_add(h, per_channel(gy_nn_linear(m, "time_emb_proj", gy_silu(temb), out), h));
    h = gy_diffusion_conv(m, s, "conv2", norm_silu(m, s, "norm2", h), out, 3, s->zero_out);
    if (gy_dim(x, -1) != out)
        x = gy_diffusion_conv(m, s, s->keys == GY_KEYS_MONAI ? "skip_connection" : "conv_shortcut", x, out, 1, false);
    return gy_add(x, h);
}

gy_t gy_diffusion_resnet(gy_mod *m, const gy_diffusion_style *s, const char *name, gy_t x, gy_t temb, int64_t out) {
    gy_push(m, "%s", name);
    gy_t y = s->film ? film_block(m, s, x, temb, out) : norm_block(m, s, x, temb, out);
    gy_pop(m);
    return gy_tap(m, name, y);
}

/* [B, T, C] -> [B, T, heads, C / heads] */
static gy_t to_heads(gy_t x, int64_t heads) {
    return gy_reshape(x, gy_dim(x, 0), gy_dim(x, 1), heads, gy_dim(x, 2) / heads);
}

/* The projections of one attention layer. */
typedef struct projections {
    const char *q, *k, *v, *out;
    bool bias; /* of q, k, v */
} projections;
static const projections plain_keys[] = {
    [GY_KEYS_DIFFUSERS] = {"to_q", "to_k", "to_v", "to_out.0", true},
    [GY_KEYS_MONAI] = {"to_q", "to_k", "to_v", "out_proj", true},
};
static const projections transformer_keys = {"to_q", "to_k", "to_v", "to_out.0", false};

/* The scope with dots, as names show it. */
static void scope_name(const gy_mod *m, char *out, size_t n) {
    snprintf(out, n, "%s", m->scope);
    for (char *at = out; *at; at++)
        if (*at == '/') *at = '.';
}

/* softmax(q k^T / sqrt(d)) v of x [B, T, C] on context [B, S, D] -> [B, T, C] */
static gy_t attend(gy_mod *m, const gy_diffusion_style *s, gy_t x, gy_t context, int64_t heads, projections w) {
    int64_t c = gy_dim(x, -1);
    if (heads < 1 || c % heads)
        return gy_poison(m->g, GY_HERE, "%s: %d heads do not divide %d channels", m->scope, (int)heads, (int)c);
    gy_t q = to_heads(gy_nn_linear(m, w.q, x, c, .no_bias = !w.bias), heads);       /* [B, T, H, C/H] */
    gy_t k = to_heads(gy_nn_linear(m, w.k, context, c, .no_bias = !w.bias), heads); /* [B, S, H, C/H] */
    gy_t v = to_heads(gy_nn_linear(m, w.v, context, c, .no_bias = !w.bias), heads);
    gy_t y;
    if (s->attend || gy_tapped(m, "probabilities")) {
        gy_t p = gy_tap(m, "probabilities", gy_attention_weights(.q = q, .k = k)); /* [B, H, T, S] */
        char name[sizeof m->scope];
        scope_name(m, name, sizeof name);
        if (s->attend) p = s->attend(s->user, m, name, p);
        y = gy_einsum("bhts,bshd->bthd", p, v);
    } else {
        y = gy_attention(.q = q, .k = k, .v = v);
    }
    return gy_nn_linear(m, w.out, gy_reshape(y, gy_dim(x, 0), gy_dim(x, 1), c), c);
}

/* [B, spatial..., C] -> [B, positions, C] */
static gy_t positions(gy_t x) {
    return gy_flatten(x, 1, gy_rank(x) - 2);
}

gy_t gy_diffusion_attention(gy_mod *m, const gy_diffusion_style *s, const char *name, gy_t x, int64_t heads) {
    bool monai = s->keys == GY_KEYS_MONAI;
    gy_push(m, "%s", name);
    gy_t h = positions(gy_nn_groupnorm(m, monai ? "norm" : "group_norm", x, s->norm_eps, s->groups));
    if (monai) gy_push(m, "attn");
    h = attend(m, s, h, h, heads, plain_keys[s->keys]);
    if (monai) gy_pop(m);
    gy_t y = gy_add(x, gy_reshape_to(h, gy_shape_of(x)));
    gy_pop(m);
    return gy_tap(m, name, y);
}

/* W2 (a gelu(g)), [a, g] = W1 h: Shazeer 2020, arXiv:2002.05202 eq. 6 */
static gy_t geglu(gy_mod *m, gy_t h) {
    int64_t c = gy_dim(h, -1);
    gy_t half[2];
    gy_split(gy_nn_linear(m, "net.0.proj", h, 8 * c), -1, 2, half); /* [B, T, 4C] each */
    return gy_nn_linear(m, "net.2", gy_mul(half[0], gy_gelu(half[1])), c);
}

static gy_t transformer_block(gy_mod *m, const gy_diffusion_style *s, gy_t h, gy_t context, int64_t heads) {
    gy_t n = gy_nn_layernorm(m, "norm1", h);
    gy_push(m, "attn1");
    h = gy_add(h, attend(m, s, n, n, heads, transformer_keys));
    gy_pop(m);
    if (!gy_is_none(context)) {
        n = gy_nn_layernorm(m, "norm2", h);
        gy_push(m, "attn2");
        h = gy_add(h, attend(m, s, n, context, heads, transformer_keys));
        gy_pop(m);
    }
    n = gy_nn_layernorm(m, "norm3", h);
    gy_push(m, "ff");
    h = gy_add(h, geglu(m, n));
    gy_pop(m);
    return h;
}

gy_t gy_diffusion_transformer(gy_mod *m, const gy_diffusion_style *s, const char *name, gy_t x, gy_t context,
                              int64_t heads, int64_t depth, bool linear) {
    int64_t c = gy_dim(x, -1);
    gy_push(m, "%s", name);
    gy_t h = gy_nn_groupnorm(m, "norm", x, s->norm_eps, s->groups);
    if (!linear) h = gy_diffusion_conv(m, s, "proj_in", h, c, 1, false);
    h = positions(h); /* [B, T, C] */
    if (linear) h = gy_nn_linear(m, "proj_in", h, c);
    for (int64_t i = 0; i < depth; i++) {
        gy_push(m, "transformer_blocks.%d", (int)i);
        h = transformer_block(m, s, h, context, heads);
        gy_pop(m);
    }
    if (linear) h = gy_nn_linear(m, "proj_out", h, c);
    h = gy_reshape_to(h, gy_shape_of(x));
    if (!linear) h = gy_diffusion_conv(m, s, "proj_out", h, c, 1, false);
    gy_t y = gy_add(x, h);
    gy_pop(m);
    return gy_tap(m, name, y);
}

gy_t gy_diffusion_down(gy_mod *m, const gy_diffusion_style *s, gy_t x) {
    const char *name = s->keys == GY_KEYS_MONAI ? "downsampler.op.conv" : "downsamplers.0.conv";
    return gy_nn_conv(m, name, x, gy_dim(x, -1), GY_S(s->film ? 4 : 3), GY_S(2), GY_S(1));
}

/* The transposed convolution of kernel 4, stride 2, padding 1; name.weight [C, C, 4...], name.bias [C]. */
static gy_t doubled(gy_mod *m, const char *name, gy_t x) {
    int64_t c = gy_dim(x, -1), axes = gy_rank(x) - 2;
    gy_shape w = {.rank = 2 + axes, .dim = {c, c}};
    double fan_in = (double)c;
    for (int64_t i = 0; i < axes; i++) {
        w.dim[2 + i] = 4;
        fan_in *= 4.0;
    }
    gy_push(m, "%s", name);
    gy_t weight = gy_param(m, "weight", w, GY_INIT_KAIMING_UNIFORM, sqrt(5.0));
    gy_t bias = gy_param(m, "bias", GY_S(c), GY_INIT_FAN_IN, fan_in);
    gy_pop(m);
    return gy_conv_transpose(.x = x, .w = weight, .b = bias, .stride = GY_S(2), .pad = GY_S(1));
}

gy_t gy_diffusion_up(gy_mod *m, const gy_diffusion_style *s, gy_t x, gy_shape size) {
    const char *name = s->keys == GY_KEYS_MONAI ? "upsampler.postconv.conv" : "upsamplers.0.conv";
    if (s->film) return doubled(m, name, x);
    return gy_nn_conv(m, name, gy_resize(.x = x, .size = size), gy_dim(x, -1), GY_S(3), .pad = GY_S(1));
}
