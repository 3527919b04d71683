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
 * 1], features last like all else.
 *
 * The miniature steers tinySD by a map of segments (models/blocks/steer.h). U-Net and copy both start from the file,
 * only the copy learns. `eval` reports the error of the predicted noise with the hint, without, and with another
 * picture's. */
#include "../../core/gyrus.h"
#include "../blocks/options.h"
#include "../blocks/steer.h"

#include <stdio.h>

/* ---- configurations ---- */

typedef struct config {
    gy_steer_config steer;
    double scale;
} config;

static const gy_option options[] = {GY_STEER_OPTIONS, REAL(scale, -100, 100, "strength of the control"), {NULL}};
static const config tiny = {GY_STEER_CONFIG_TINY, 1}, small = {GY_STEER_CONFIG_SMALL, 1},
                    sd15 = {GY_STEER_CONFIG_SD15, 1};
static const gy_config configs[] = {{"tiny", "steers tinysd; pictures and hints of 16 x 16", &tiny},
                                    {"small", "fits sd15-unet's tiny configuration; hints of 16 x 16", &small},
                                    {"sd15", "Stable Diffusion 1.x: 361,279,120 parameters, hints of 512 x 512", &sd15},
                                    {NULL}};

/* ---- the model ---- */

/* Eq. (1), (2) */
static gy_control control(gy_mod *m, const config *c, gy_t x, gy_t t, gy_t context, gy_t hint) {
    gy_unet_spec spec = gy_steer_unet(&c->steer);
    int64_t n = c->steer.net == GY_STEER_SD15    ? 0
                : c->steer.net == GY_STEER_SMALL ? 2
                                                 : 1; /* halvings of the hint, and one */
    return gy_controlnet(m, &spec, x, t, context, hint, c->scale, .n_hint = n, .hint_channels = {8, 16});
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_t x = gy_steer_latents(b->m, &c->steer, b->batch);
    gy_t t = gy_input(b->m->g, "timestep", GY_F32, GY_S(b->batch));
    gy_t context = gy_steer_context(b->m, &c->steer, b->batch);
    gy_control k = control(b->m, c, x, t, context, gy_steer_hint(b->m, &c->steer, b->batch));
    char name[32];
    for (int64_t i = 0; i < k.n; i++) {
        snprintf(name, sizeof name, "down_%d", (int)i);
        gy_output(k.skip[i], name); /* [B, h, w, C], in the order of the U-Net's kept outputs */
    }
    gy_output(k.mid, "mid");
}

static void steer(gy_mod *m, const void *cfg, gy_t hint, gy_unet_args *a) {
    a->control = control(m, cfg, a->x, a->t, a->context, hint);
}

/* Eq. (3), over the copy's parameters */
static void objective(gy_build *b) {
    gy_steer_objective(b, steer);
}

/* The copy's names are the file's own; what it has besides starts as it was made. */
static gy_status open_data(gy_job *j) {
    static const char *const fresh[] = {"controlnet_*", "*.adam_m", "*.adam_v", "*.step", NULL};
    return gy_steer_open(j, fresh);
}

static gy_status evaluate(gy_job *j, gy_metrics *out) {
    return gy_steer_evaluate(j, steer, out);
}

static const char *const equations[] = {
    "eq. (1): skip_j += scale zero_j(h_j), h = encoder(conv_in(x) + hint_net(hint), t, context)",
    "eq. (2): mid += scale zero_mid(h_mid); zero: a 1x1 convolution that starts at zero",
    "eq. (3): L = E |eps - eps_theta(x_t, t, context, hint)|^2 over the copy's parameters", NULL};

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
    .ignorable = gy_steer_ignorable,
    .build = build,
    .objective = objective,
    .open = open_data,
    .close = gy_steer_close,
    .batch = gy_steer_batch,
    .lr = gy_steer_lr,
    .evaluate = evaluate,
};
