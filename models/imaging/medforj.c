/* medforj: whole heads from noise, in three dimensions and without an autoencoder.
 *
 * "Diffusion-Driven Generation of Minimally Preprocessed Brain MRI", arXiv:2510.26834 (2025). DDPM: Ho et al. 2020,
 * arXiv:2006.11239; DDIM: Song et al. 2021, arXiv:2010.02502; velocity: Salimans & Ho 2022, arXiv:2202.00512.
 *
 * A 3-D U-Net denoises T1-weighted volumes of 192 x 224 x 192 voxels, skull on, as the scanner left them. Four targets
 * are compared on one variance preserving path: the noise (epsilon), the picture (sample), and two mixtures (velocity,
 * flow). The paper: velocity and flow give the pictures nearest to real ones, epsilon does not converge. The claim of
 * the miniature: trained on phantoms of two ellipsoids, flow reproduces the distribution of the inner volume, and
 * velocity that of the head. The order of the targets is not claimed at this size.
 *
 * "Flow" here is not rectified flow: the target eps - x0 is read on the variance preserving path, so recovering x0 and
 * eps divides by sqrt(abar) + sqrt(1 - abar); the ablation `division` leaves that out for eps. Sampling begins at t =
 * 945 of 999, as in the official code, and clamps x0 but keeps eps. The names of parameters are MONAI's, so that the
 * public checkpoints (torch files, key "model") load by name once unpacked. Not taken over: the official moving average
 * is computed from stored checkpoints afterwards (momentum 0.1 an epoch); here it runs along. */
#include "medforj.h"
#include "../blocks/options.h"

#include <inttypes.h>
#include <string.h>

/* ---- configurations ---- */

static const gy_option options[] = {
    {"prediction", "what the network predicts: epsilon, sample, velocity, flow", GY_OPT_TEXT,
     offsetof(config, prediction), 0, 0},
    INT(depth, 4, 1024, "voxels along the slowest axis"),
    INT(height, 4, 1024, "voxels along the middle axis"),
    INT(width, 4, 1024, "voxels along the fastest axis"),
    INT(base, 1, 1024, "channels of the first level, doubled at each next"),
    INT(levels, 1, GY_UNET_LEVELS, "levels; attention at the last and in the middle"),
    INT(blocks, 1, 8, "residual blocks a level"),
    INT(groups, 1, 64, "of group normalisation"),
    INT(head_width, 1, 1024, "channels of an attention head"),
    INT(batch, 1, 4096, "volumes a step"),
    INT(steps, 1, 1e9, "training steps"),
    INT(volumes, 1, 1e9, "training volumes: phantoms, or crops of the volumes given"),
    INT(stride, 1, 64, "of the volumes given, every stride-th voxel of an axis is taken"),
    REAL(lr, 0, 1, "largest learning rate; falls along a cosine"),
    REAL(ema, 0, 1, "decay of the moving average"),
    REAL(flip, 0, 1, "share of training volumes that are mirrored left to right"),
    REAL(affine, 0, 1, "share that are turned and shifted"),
    REAL(degrees, 0, 90, "largest turn about each axis"),
    REAL(shift, 0, 512, "largest shift along each axis, in voxels"),
    INT(sampling, 1, 1000, "steps of DDIM"),
    INT(samples, 0, 4096, "volumes that eval draws; 0: none, and none for the report"),
    {NULL}};

static const config tiny = {.prediction = "flow",
                            .depth = 12,
                            .height = 12,
                            .width = 12,
                            .base = 8,
                            .levels = 3,
                            .blocks = 1,
                            .groups = 4,
                            .head_width = 8,
                            .batch = 4,
                            .steps = 600,
                            .volumes = 512,
                            .stride = 1,
                            .lr = 4e-3,
                            .ema = 0.97,
                            .sampling = 32,
                            .samples = 48};
static const config paper = {.prediction = "flow",
                             .depth = 192,
                             .height = 224,
                             .width = 192,
                             .base = 16,
                             .levels = 5,
                             .blocks = 2,
                             .groups = 8,
                             .head_width = 8,
                             .batch = 2,
                             .steps = 1000000,
                             .volumes = 80675,
                             .stride = 1,
                             .lr = 1e-4,
                             .ema = 0.999,
                             .flip = 0.5,
                             .affine = 0.5,
                             .degrees = 5,
                             .shift = 5,
                             .sampling = 64,
                             .samples = 0}; /* each takes 64 passes; gyrus sample draws when asked */
static const gy_config configs[] = {{"tiny", "phantoms of 12 x 12 x 12 voxels", &tiny},
                                    {"paper", "whole heads, 192 x 224 x 192 voxels, 41.25 million parameters", &paper},
                                    {NULL}};

static const char *const predictions[] = {"epsilon", "sample", "velocity", "flow"};

gy_prediction gy_medforj_prediction(const config *c) {
    for (int i = 0; i < 4; i++)
        if (strcmp(c->prediction, predictions[i]) == 0) return (gy_prediction)(GY_PREDICT_EPS + i);
    return 0;
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (!gy_medforj_prediction(c))
        return gy_fail(ctx, GY_ERR_USAGE, "medforj: prediction='%s': expected epsilon, sample, velocity or flow",
                       c->prediction);
    if (c->base % c->groups || (c->base << (c->levels - 1)) % c->head_width)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "medforj: base=%" PRId64 ": expected a multiple of groups=%" PRId64
                       ", and the last level's %" PRId64 " channels one of head_width=%" PRId64,
                       c->base, c->groups, c->base << (c->levels - 1), c->head_width);
    return GY_OK;
}

/* ---- the model ---- */

void gy_medforj_noise(gy_noise *out) {
    gy_noise_init(out, GY_NOISE_LINEAR, 1000, 0, 0);
}

int64_t gy_medforj_voxels(const config *c) {
    return c->depth * c->height * c->width;
}

/* MONAI's DiffusionModelUNet: the last convolution of each block, and of the net, starts at zero. */
static gy_unet_spec spec_of(const config *c) {
    gy_unet_spec s = {.axes = 3,
                      .in = 1,
                      .out = 1,
                      .levels = c->levels,
                      .resnets = c->blocks,
                      .attention = GY_UNET_PLAIN,
                      .style = {.keys = GY_KEYS_MONAI, .groups = c->groups, .eps = 1e-6, .zero_out = true}};
    for (int64_t i = 0; i < c->levels; i++) s.channels[i] = c->base << i;
    s.mid_heads = s.heads[c->levels - 1] = s.channels[c->levels - 1] / c->head_width;
    return s;
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_unet_spec spec = spec_of(c);
    gy_t x = gy_input(b->m->g, "volume", GY_F32, GY_S(b->batch, c->depth, c->height, c->width, 1)); /* noised */
    gy_t t = gy_input(b->m->g, "timestep", GY_F32, GY_S(b->batch));                                 /* 0 .. 999 */
    gy_output(gy_unet(b->m, &spec, x, t), "prediction"); /* [B, D, H, W, 1] */
}

/* Eq. (2): mean squared error of the target chosen */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_unet_spec spec = spec_of(c);
    gy_noise noise;
    gy_medforj_noise(&noise);
    gy_t x0 = gy_input(m->g, "volume", GY_F32, GY_S(b->batch, c->depth, c->height, c->width, 1));
    gy_noised n = gy_noise_batch(m, &noise, x0, gy_medforj_prediction(c));
    gy_t y = gy_unet(m, &spec, n.x, n.t, .recompute = c->levels > 3); /* whole heads: keep block inputs only */
    gy_t loss = gy_mse(y, n.target, GY_LOSS_MEAN);
    gy_output(loss, "loss");
    gy_optim_adam(m->g, m->store, loss, .clip_norm = 1, .ema = c->ema);
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {GY_SCHEDULE_COSINE, .lr = c->lr, .warmup = 10, .total = j->steps, .min = c->lr / 50};
    (void)phase;
    return gy_schedule_lr(&s, step);
}

/* ---- the definition ---- */

static const char *const equations[] = {
    "eq. (1): x\u209c = \u221a\u0101 x\u2080 + \u221a(1-\u0101) \u03b5",
    "eq. (2): L = E |target - f\u03b8(x\u209c, t)|\u00b2; targets: \u03b5; x\u2080; \u221a\u0101 \u03b5 - "
    "\u221a(1-\u0101) x\u2080; \u03b5 - x\u2080",
    "eq. (3): velocity o: x\u2080 = \u221a\u0101 x - \u221a(1-\u0101) o, \u03b5 = \u221a\u0101 o + \u221a(1-\u0101) x",
    "eq. (4): flow o: x\u2080 = (x - \u221a(1-\u0101) o) / (\u221a\u0101 + \u221a(1-\u0101)), \u03b5 = (x + "
    "\u221a\u0101 o) / (\u221a\u0101 + \u221a(1-\u0101))",
    "eq. (5): x' = \u221a\u0101' clamp(x\u2080) + \u221a(1-\u0101') \u03b5, t = 945, 930, ..., 0",
    NULL};

static const char *const ablations[] = {"division - flow's eps is recovered without the division of eq. (4)", NULL};

const gy_model_def gy_model_medforj = {
    .slug = "medforj",
    .family = "imaging",
    .title = "3-D diffusion of whole-head T1 volumes with four targets",
    .cite = "Diffusion-Driven Generation of Minimally Preprocessed Brain MRI, arXiv:2510.26834",
    .job = "noise in, a T1-weighted volume of a whole head out",
    .year = 2025,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .check = check,
    .build = build,
    .objective = objective,
    .open = gy_medforj_open,
    .close = gy_medforj_close,
    .batch = gy_medforj_batch,
    .lr = lr,
    .evaluate = gy_medforj_evaluate,
    .panels = gy_medforj_panels,
    .artefacts = gy_medforj_artefacts,
    .sample = gy_medforj_sample,
    .claim = gy_medforj_claim,
};
