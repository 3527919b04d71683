#include "vae.h"

#include <stdio.h>

gy_vae_spec gy_vae_sd(void) {
    return (gy_vae_spec){.in = 3, .latent = 4, .levels = 4, .channels = {128, 256, 512, 512}};
}

const gy_weight_rule gy_vae_rules[] = {{"*.to_q.weight", "*.query.weight"},
                                       {"*.to_q.bias", "*.query.bias"},
                                       {"*.to_k.weight", "*.key.weight"},
                                       {"*.to_k.bias", "*.key.bias"},
                                       {"*.to_v.weight", "*.value.weight"},
                                       {"*.to_v.bias", "*.value.bias"},
                                       {"*.to_out.0.weight", "*.proj_attn.weight"},
                                       {"*.to_out.0.bias", "*.proj_attn.bias"},
                                       {0}};

static gy_diffusion_style style_of(const gy_vae_spec *s) {
    gy_diffusion_style t = s->style;
    if (!t.groups) t.groups = 32;
    if (t.eps == 0) t.eps = 1e-6;
    if (t.norm_eps == 0) t.norm_eps = 1e-6;
    return t;
}

static int64_t resnets(const gy_vae_spec *s) {
    return s->resnets ? s->resnets : 2;
}

static bool refused(gy_mod *m, const gy_vae_spec *s, gy_t x, int64_t channels) {
    if (s->levels < 1 || s->levels > GY_VAE_LEVELS || gy_rank(x) < 3 || gy_dim(x, -1) != channels)
        gy_poison(m->g, GY_HERE,
                  "vae: %d levels, input of rank %d with %d channels; expected 1 to %d levels, rank 3 to 5 "
                  "and %d channels",
                  (int)s->levels, (int)gy_rank(x), (int)gy_dim(x, -1), GY_VAE_LEVELS, (int)channels);
    return gy_graph_status(m->g) != GY_OK;
}

static gy_t block(gy_mod *m, const gy_diffusion_style *t, int64_t j, gy_t x, int64_t out) {
    char name[32];
    snprintf(name, sizeof name, "resnets.%d", (int)j);
    return gy_diffusion_resnet(m, t, name, x, GY_NONE, out);
}

static gy_t middle(gy_mod *m, const gy_diffusion_style *t, gy_t h) {
    gy_push(m, "mid_block");
    h = block(m, t, 0, h, gy_dim(h, -1));
    h = gy_diffusion_attention(m, t, "attentions.0", h, 1);
    h = block(m, t, 1, h, gy_dim(h, -1));
    gy_pop(m);
    return h;
}

/* Zeros after each axis only, then stride 2. */
static gy_t halved(gy_mod *m, gy_t h) {
    for (int64_t i = 1; i + 1 < gy_rank(h); i++) h = gy_pad(h, i, 0, 1);
    return gy_nn_conv(m, "downsamplers.0.conv", h, gy_dim(h, -1), GY_S(3), GY_S(2));
}

gy_vae_latent gy_vae_encode(gy_mod *m, const gy_vae_spec *s, gy_t x) {
    gy_vae_latent q = {{m->g, 0, 0}, {m->g, 0, 0}};
    gy_diffusion_style t = style_of(s);
    if (refused(m, s, x, s->in)) return q;
    gy_push(m, "encoder");
    gy_t h = gy_diffusion_conv(m, &t, "conv_in", x, s->channels[0], 3, false);
    for (int64_t i = 0; i < s->levels; i++) {
        gy_push(m, "down_blocks.%d", (int)i);
        for (int64_t j = 0; j < resnets(s); j++) h = block(m, &t, j, h, s->channels[i]);
        if (i + 1 < s->levels) h = halved(m, h);
        gy_pop(m);
    }
    h = middle(m, &t, h);
    h = gy_nn_groupnorm(m, "conv_norm_out", h, t.eps, t.groups, .act = GY_ACT_SILU);
    h = gy_diffusion_conv(m, &t, "conv_out", h, 2 * s->latent, 3, false);
    gy_pop(m);
    h = gy_diffusion_conv(m, &t, "quant_conv", h, 2 * s->latent, 1, false);
    q.mean = gy_slice(h, -1, 0, s->latent);
    q.logvar = gy_clamp(gy_slice(h, -1, s->latent, 2 * s->latent), -30, 20);
    return q;
}

gy_t gy_vae_sample(gy_mod *m, gy_vae_latent q) {
    gy_t n = gy_random_normal(m->g, "z", gy_dtype_of(q.mean), gy_shape_of(q.mean));
    return gy_add(q.mean, gy_mul(gy_exp(gy_scale(q.logvar, 0.5)), n));
}

gy_t gy_vae_decode(gy_mod *m, const gy_vae_spec *s, gy_t z) {
    gy_diffusion_style t = style_of(s);
    if (refused(m, s, z, s->latent)) return (gy_t){m->g, 0, 0};
    gy_t h = gy_diffusion_conv(m, &t, "post_quant_conv", z, s->latent, 1, false);
    gy_push(m, "decoder");
    h = gy_diffusion_conv(m, &t, "conv_in", h, s->channels[s->levels - 1], 3, false);
    h = middle(m, &t, h);
    for (int64_t i = s->levels - 1; i >= 0; i--) {
        gy_push(m, "up_blocks.%d", (int)(s->levels - 1 - i));
        for (int64_t j = 0; j <= resnets(s); j++) h = block(m, &t, j, h, s->channels[i]);
        if (i > 0) {
            gy_shape size = gy_spatial_shape(h);
            for (int64_t k = 0; k < size.rank; k++) size.dim[k] *= 2;
            h = gy_diffusion_up(m, &t, h, size);
        }
        gy_pop(m);
    }
    h = gy_nn_groupnorm(m, "conv_norm_out", h, t.eps, t.groups, .act = GY_ACT_SILU);
    h = gy_diffusion_conv(m, &t, "conv_out", h, s->in, 3, false);
    gy_pop(m);
    return h;
}
