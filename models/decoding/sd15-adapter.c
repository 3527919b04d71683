/* T2I-Adapter: a picture's structure steers Stable Diffusion through a net of its own, run once a picture.
 *
 * Mou, Wang, Xie, Wu, Zhang, Qi, Shan, Qie: "T2I-Adapter: Learning Adapters to Dig out More Controllable Ability for
 * Text-to-Image Diffusion Models", AAAI 2024, arXiv:2302.08453. Where ControlNet copies the U-Net's way down and runs
 * at every step, four small stages of convolutions give one value a level, which is added to the last feature of that
 * level. Public weights (diffusers' T2IAdapter, full_adapter, 77,369,280 parameters) load by name. Two runs steer:
 *
 *     gyrus run sd15-adapter --config sd15 --weights A.safetensors --input hint=h.npy --output level_0=l0.npy ...
 *     gyrus run sd15-unet --config sd15 --set adapter=1 --weights U.safetensors --input latents=x.npy ... \
 *         --input level_0=l0.npy ... --output noise=y.npy
 *
 * In one graph: gy_t2i_adapter and gy_unet(.adapter = ...) of models/blocks/unet.h. The hint is [B, 8H, 8W, channels]
 * in [0, 1], features last: three channels for depth and colour, one for edges and sketches. */
#include "../../core/gyrus.h"
#include "../blocks/options.h"
#include "../blocks/unet.h"

#include <stdio.h>

typedef struct config {
    int64_t height, width, channels, small;
} config;

static const gy_option options[] = {INT(height, 1, 1 << 14, "height of the latents"),
                                    INT(width, 1, 1 << 14, "width of the latents"),
                                    INT(channels, 1, 64, "channels of the hint"),
                                    INT(small, 0, 1, "1: the network that fits sd15-unet's tiny one"),
                                    {NULL}};
static const config tiny = {.height = 8, .width = 8, .channels = 3, .small = 1};
static const config sd15 = {.height = 64, .width = 64, .channels = 3};
static const gy_config configs[] = {{"tiny", "fits sd15-unet's tiny configuration; hints of 16 x 16", &tiny},
                                    {"sd15", "Stable Diffusion 1.x: 77,369,280 parameters, hints of 512 x 512", &sd15},
                                    {NULL}};

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_adapter_spec spec = {.levels = 4, .channels = {320, 640, 1280, 1280}, .resnets = 2, .factor = 8};
    if (c->small) spec = (gy_adapter_spec){.levels = 2, .channels = {16, 32}, .resnets = 1, .factor = 2};
    gy_t level[GY_UNET_LEVELS], hint;
    char name[32];
    hint =
        gy_input(b->m->g, "hint", GY_F32, GY_S(b->batch, spec.factor * c->height, spec.factor * c->width, c->channels));
    gy_t2i_adapter(b->m, &spec, hint, level);
    for (int64_t i = 0; i < spec.levels && gy_graph_status(b->m->g) == GY_OK; i++) {
        snprintf(name, sizeof name, "level_%d", (int)i);
        gy_output(level[i], name); /* [B, H / 2^i, W / 2^i, channels of level i] */
    }
}

static const char *const equations[] = {
    "eq. (1): f_0 = conv(unshuffle(hint)), f_i = resnets(conv(half(f_{i-1}))), resnet(x) = x + W2 relu(W1 * x)",
    "eq. (2): the last feature of the U-Net's level i += f_i", NULL};

const gy_model_def gy_model_sd15_adapter = {
    .slug = "sd15-adapter",
    .family = "decoding",
    .title = "T2I-Adapter for Stable Diffusion",
    .cite =
        "Mou et al., T2I-Adapter: Learning Adapters to Dig out More Controllable Ability for Text-to-Image Diffusion "
        "Models, AAAI 2024, arXiv:2302.08453",
    .job = "a picture of structure in, what to add to the levels of the U-Net out",
    .year = 2024,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .build = build,
};
