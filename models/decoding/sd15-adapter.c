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
 * in [0, 1], features last: three channels for depth and colour, one for edges and sketches.
 *
 * The miniature steers tinySD by a map of segments (models/blocks/steer.h): the U-Net is held still, the adapter learns
 * by the loss of the noise alone. `eval` reports the error of the predicted noise with the hint, without, and with
 * another picture's. Times are drawn uniformly, not by the paper's cubic rule. */
#include "../../core/gyrus.h"
#include "../blocks/options.h"
#include "../blocks/steer.h"

#include <stdio.h>

typedef struct config {
    gy_steer_config steer;
} config;

static const gy_option options[] = {GY_STEER_OPTIONS, {NULL}};
static const config tiny = {GY_STEER_CONFIG_TINY}, small = {GY_STEER_CONFIG_SMALL}, sd15 = {GY_STEER_CONFIG_SD15};
static const gy_config configs[] = {{"tiny", "steers tinysd; pictures and hints of 16 x 16", &tiny},
                                    {"small", "fits sd15-unet's tiny configuration; hints of 16 x 16", &small},
                                    {"sd15", "Stable Diffusion 1.x: 77,369,280 parameters, hints of 512 x 512", &sd15},
                                    {NULL}};

/* ---- the model ---- */

static gy_adapter_spec spec_of(const config *c) {
    if (c->steer.net == GY_STEER_SD15)
        return (gy_adapter_spec){.levels = 4, .channels = {320, 640, 1280, 1280}, .resnets = 2, .factor = 8};
    return (gy_adapter_spec){.levels = 2, .channels = {16, 32}, .resnets = 1, .factor = gy_steer_factor(&c->steer)};
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_adapter_spec spec = spec_of(c);
    gy_t level[GY_UNET_LEVELS];
    char name[32];
    gy_t2i_adapter(b->m, &spec, gy_steer_hint(b->m, &c->steer, b->batch), level);
    for (int64_t i = 0; i < spec.levels && gy_graph_status(b->m->g) == GY_OK; i++) {
        snprintf(name, sizeof name, "level_%d", (int)i);
        gy_output(level[i], name); /* [B, H / 2^i, W / 2^i, channels of level i] */
    }
}

/* Eq. (2) */
static void steer(gy_mod *m, const void *cfg, gy_t hint, gy_unet_args *a) {
    gy_adapter_spec spec = spec_of(cfg);
    gy_t2i_adapter(m, &spec, hint, a->adapter);
}

/* Eq. (3), over the adapter's parameters */
static void objective(gy_build *b) {
    gy_steer_objective(b, steer);
}

static gy_status open_data(gy_job *j) {
    static const char *const fresh[] = {"adapter.*", "*.adam_m", "*.adam_v", "*.step", NULL};
    return gy_steer_open(j, fresh);
}

static gy_status evaluate(gy_job *j, gy_metrics *out) {
    return gy_steer_evaluate(j, steer, out);
}

static const char *const equations[] = {
    "eq. (1): f_0 = conv(unshuffle(hint)), f_i = resnets(conv(half(f_{i-1}))), resnet(x) = x + W2 relu(W1 * x)",
    "eq. (2): the last feature of the U-Net's level i += f_i",
    "eq. (3): L = E |eps - eps_theta(x_t, t, context, f(hint))|^2 over the adapter's parameters", NULL};

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
    .ignorable = gy_steer_ignorable,
    .build = build,
    .objective = objective,
    .open = open_data,
    .close = gy_steer_close,
    .batch = gy_steer_batch,
    .lr = gy_steer_lr,
    .evaluate = evaluate,
};
