/* ControlNet: a picture's structure (edges, depth, pose) steers Stable Diffusion.
 *
 * Zhang, Rao, Agrawala: "Adding Conditional Control to Text-to-Image Diffusion Models", ICCV 2023, arXiv:2302.05543. A
 * copy of the U-Net's way down and middle also sees the hint; its outputs pass through convolutions that start at zero
 * and are added to the U-Net's skips and middle, so that training starts from the bare U-Net exactly. Public weights
 * (diffusers' ControlNetModel, 361,279,120 parameters) load by name. Two runs steer:
 *
 *     gyrus run sd15-controlnet --config sd15 --weights C.safetensors --input latents=x.npy --input timestep=t.npy \
 *         --input context=c.npy --input hint=h.npy --output down_0=d0.npy ... --output mid=m.npy
 *     gyrus run sd15-unet --config sd15 --set control=1 --weights U.safetensors --input latents=x.npy ... \
 *         --input down_0=d0.npy ... --input mid=m.npy --output noise=y.npy
 *
 * In one graph: gy_controlnet and gy_unet(.control = ...) of models/blocks/unet.h. The hint is [B, 8H, 8W, 3] in [0,
 * 1], features last like all else. */
#include "../../core/gyrus.h"
#include "../blocks/options.h"
#include "../blocks/unet.h"

#include <stdio.h>

typedef struct config {
    int64_t height, width, tokens, context, small;
    double scale;
} config;

static const gy_option options[] = {INT(height, 1, 1 << 14, "height of the latents"),
                                    INT(width, 1, 1 << 14, "width of the latents"),
                                    INT(tokens, 1, 1 << 16, "tokens of the context"),
                                    INT(context, 1, 1 << 16, "width of a token"),
                                    INT(small, 0, 1, "1: the network that fits sd15-unet's tiny one"),
                                    REAL(scale, -100, 100, "strength of the control"),
                                    {NULL}};
static const config tiny = {.height = 8, .width = 8, .tokens = 4, .context = 16, .small = 1, .scale = 1};
static const config sd15 = {.height = 64, .width = 64, .tokens = 77, .context = 768, .scale = 1};
static const gy_config configs[] = {{"tiny", "fits sd15-unet's tiny configuration; hints of 16 x 16", &tiny},
                                    {"sd15", "Stable Diffusion 1.x: 361,279,120 parameters, hints of 512 x 512", &sd15},
                                    {NULL}};

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_graph *g = b->m->g;
    gy_unet_spec spec = gy_unet_sd15();
    int64_t factor = 8; /* of the hint's size */
    if (c->small) {
        spec = (gy_unet_spec){.axes = 2,
                              .in = 4,
                              .out = 4,
                              .levels = 2,
                              .channels = {16, 32},
                              .resnets = 1,
                              .heads = {2, 2},
                              .mid_heads = 2,
                              .style = {.groups = 4}};
        factor = 2;
    }
    gy_t x = gy_input(g, "latents", GY_F32, GY_S(b->batch, c->height, c->width, 4));
    gy_t t = gy_input(g, "timestep", GY_F32, GY_S(b->batch));
    gy_t context = gy_input(g, "context", GY_F32, GY_S(b->batch, c->tokens, c->context));
    gy_t hint = gy_input(g, "hint", GY_F32, GY_S(b->batch, factor * c->height, factor * c->width, 3));
    gy_control k =
        gy_controlnet(b->m, &spec, x, t, context, hint, c->scale, .n_hint = c->small ? 2 : 0, .hint_channels = {8, 16});
    char name[32];
    for (int64_t i = 0; i < k.n; i++) {
        snprintf(name, sizeof name, "down_%d", (int)i);
        gy_output(k.skip[i], name); /* [B, h, w, C], in the order of the U-Net's kept outputs */
    }
    gy_output(k.mid, "mid");
}

static const char *const equations[] = {
    "eq. (1): skip_j += scale zero_j(h_j), h = encoder(conv_in(x) + hint_net(hint), t, context)",
    "eq. (2): mid += scale zero_mid(h_mid); zero: a 1x1 convolution that starts at zero", NULL};

const gy_model_def gy_model_sd15_controlnet = {
    .slug = "sd15-controlnet",
    .family = "decoding",
    .title = "ControlNet for Stable Diffusion",
    .cite = "Zhang et al., Adding Conditional Control to Text-to-Image Diffusion Models, ICCV 2023, arXiv:2302.05543",
    .job = "noised latents and a picture of structure in, what to add to the U-Net's features out",
    .year = 2023,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .build = build,
};
