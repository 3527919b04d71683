/* ControlNet and T2I-Adapter (unet.h). */
#include "unet_internal.h"

#include <stdio.h>

/* ---- ControlNet ---- */

/* The hint at the latents' resolution: [B, 2^k H, 2^k W, C] -> [B, H, W, channels[0]] */
static gy_t hint_net(const gy_controlnet_args *a, const gy_diffusion_style *style) {
    static const int64_t sd[4] = {16, 32, 96, 256};
    const int64_t *c = a->n_hint ? a->hint_channels : sd;
    int64_t n = a->n_hint ? a->n_hint : 4;
    gy_mod *m = a->m;
    char name[32];
    gy_push(m, "controlnet_cond_embedding");
    gy_t h = gy_silu(gy_diffusion_conv(m, style, "conv_in", a->hint, c[0], 3, false));
    for (int64_t i = 0; i + 1 < n; i++)
        for (int64_t half = 0; half < 2; half++) { /* blocks.2i keeps the size, blocks.2i+1 halves it */
            snprintf(name, sizeof name, "blocks.%d", (int)(2 * i + half));
            h = gy_silu(gy_nn_conv(m, name, h, c[i + half], GY_S(3), GY_S(1 + half), GY_S(1)));
        }
    h = gy_diffusion_conv(m, style, "conv_out", h, a->spec->channels[0], 3, true);
    gy_pop(m);
    return h;
}

gy_control gy_controlnet_(gy_controlnet_args a) {
    gy_control c = {.mid = {a.m->g, 0, 0}};
    gy_unet_args net = {.m = a.m, .spec = a.spec, .x = a.x, .t = a.t, .context = a.context};
    gy_diffusion_style style = {0};
    char name[48];
    gy_unet_encoded e = gy_unet_encode(&net, hint_net(&a, &style));
    if (gy_graph_status(a.m->g) != GY_OK) return c;
    for (c.n = 0; c.n < e.n; c.n++) {
        snprintf(name, sizeof name, "controlnet_down_blocks.%d", (int)c.n);
        gy_t y = gy_diffusion_conv(a.m, &style, name, e.skip[c.n], gy_dim(e.skip[c.n], -1), 1, true);
        c.skip[c.n] = gy_scale(y, a.scale);
    }
    c.mid = gy_scale(gy_diffusion_conv(a.m, &style, "controlnet_mid_block", e.h, gy_dim(e.h, -1), 1, true), a.scale);
    return c;
}

gy_control gy_control_sum(gy_control a, gy_control b) {
    if (a.n != b.n) {
        a.mid = gy_poison(a.mid.g, GY_HERE, "control: %d and %d values", (int)a.n, (int)b.n);
        return a;
    }
    for (int64_t i = 0; i < a.n; i++) a.skip[i] = gy_add(a.skip[i], b.skip[i]);
    a.mid = gy_add(a.mid, b.mid);
    return a;
}

gy_control gy_control_masked(gy_control c, gy_t mask) {
    for (int64_t i = 0; i < c.n; i++)
        c.skip[i] = gy_mul(c.skip[i], gy_resize(.x = mask, .size = gy_spatial_shape(c.skip[i])));
    c.mid = gy_mul(c.mid, gy_resize(.x = mask, .size = gy_spatial_shape(c.mid)));
    return c;
}

/* ---- T2I-Adapter ---- */

/* Mean over 2 x 2; a last odd row or column is averaged alone (ceil mode). */
static gy_t halved(gy_t x) {
    return gy_avg_pool(.x = x, .window = GY_S(2), .pad_end = GY_S(gy_dim(x, 1) % 2, gy_dim(x, 2) % 2),
                       .exclude_pad = true);
}

void gy_t2i_adapter(gy_mod *m, const gy_adapter_spec *s, gy_t hint, gy_t out[GY_UNET_LEVELS]) {
    char name[32];
    gy_push(m, "adapter");
    gy_t h = gy_pixel_unshuffle(hint, s->factor); /* [B, H / 8, W / 8, 64 C] */
    h = gy_nn_conv(m, "conv_in", h, s->channels[0], GY_S(3), .pad = GY_S(1));
    for (int64_t i = 0; i < s->levels && i < GY_UNET_LEVELS; i++) {
        gy_push(m, "body.%d", (int)i);
        if (i > 0) h = halved(h);
        if (gy_dim(h, -1) != s->channels[i]) h = gy_nn_conv(m, "in_conv", h, s->channels[i], GY_S(1));
        for (int64_t j = 0; j < s->resnets; j++) {
            snprintf(name, sizeof name, "resnets.%d", (int)j);
            gy_push(m, "%s", name);
            gy_t r = gy_relu(gy_nn_conv(m, "block1", h, s->channels[i], GY_S(3), .pad = GY_S(1)));
            h = gy_add(gy_nn_conv(m, "block2", r, s->channels[i], GY_S(1)), h);
            gy_pop(m);
        }
        out[i] = h;
        gy_pop(m);
    }
    gy_pop(m);
}
