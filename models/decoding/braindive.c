/* BrainDiVE: what does a piece of visual cortex like to see? Pictures drawn by diffusion, steered by the gradient of a
 * predicted brain response.
 *
 * Luo, Henderson, Wehbe, Tarr: "Brain Diffusion for Visual Exploration: Cortical Discovery using Large Scale Generative
 * Models", NeurIPS 2023, arXiv:2306.03089. Guidance by energies: Dhariwal & Nichol 2021, arXiv:2105.05233.
 * Self-attention guidance: Hong et al. 2023, arXiv:2210.00939.
 *
 * An encoder predicts every voxel from a picture: frozen image features of unit length and one linear layer, fitted to
 * measured responses. A frozen diffusion model draws without any text; at each step the gradient of the mean predicted
 * response of a region, through encoder, decoder and U-Net to the noisy picture, is taken off the predicted noise. The
 * claim: pictures come to hold what the region prefers, without hand-made stimuli, and predicted responses rise; with
 * the sign turned the concept vanishes; and they remain pictures.
 *
 * The miniature: tinySD (data/tinysd.safetensors) draws; three convolutions, trained to tell what a scene means, stand
 * in for CLIP; three regions of generated voxels prefer blue, crosses and red rings (data/synthbrain.h). Self-attention
 * guidance is off there. Inferred: the miniature's encoder (its sizes, SiLU). The official code takes the gradient
 * through a second evaluation of the U-Net; here it is the same one. */
#include "braindive.h"

#include "../blocks/clip.h"
#include "../blocks/options.h"
#include "../blocks/vae.h"

#include <math.h>
#include <string.h>

/* ---- configurations ---- */

static const gy_option options[] = {
    TEXT(part, "inference graph: encoder, guidance; empty: both"),
    TEXT(generator, "weights of the frozen generator; empty: none are loaded"),
    INT(full, 0, 1, "1: Stable Diffusion 2.1 and CLIP B/16; 0: tinySD and three convolutions"),
    INT(image, 16, 224, "pixels a side that the encoder sees, a multiple of 16"),
    INT(features, 1, 1 << 16, "length of the image features"),
    INT(voxels, ROIS, MAX_VOXELS, "voxels, in three equal regions"),
    INT(batch, 2, 4096, "pictures a step"),
    INT(steps, 0, 1e9, "steps that train the features; 0: they are given"),
    INT(head_steps, 1, 1e9, "steps that fit the voxels"),
    INT(images, 10, 1e6, "pictures shown in the scanner"),
    INT(tests, 10, 1e6, "held-out pictures"),
    INT(shift, 0, 15, "largest random shift of a picture, in its pixels"),
    REAL(lr, 0, 1, "largest learning rate of the features"),
    REAL(head_lr, 0, 1, "learning rate of the voxels; falls to half, step by step"),
    REAL(weight_decay, 0, 1, "of the voxels' weights"),
    REAL(pixel_noise, 0, 1, "deviation of noise added to training pictures, of the range 0 to 1"),
    REAL(gamma, -1e6, 1e6, "weight of the region's response"),
    REAL(sag, 0, 10, "weight of self-attention guidance"),
    INT(sampling, 1, 1000, "denoising steps"),
    INT(samples, 1, 4096, "pictures that eval draws for each region"),
    {NULL}};

static const config tiny = {.generator = "data/tinysd.safetensors",
                            .image = GY_SHAPES16,
                            .features = GY_WORLD_SEMANTIC,
                            .voxels = 60,
                            .batch = 64,
                            .steps = 800,
                            .head_steps = 400,
                            .images = 1500,
                            .tests = 500,
                            .lr = 3e-3,
                            .head_lr = 3e-2,
                            .weight_decay = 2e-2,
                            .pixel_noise = 0.1,
                            .gamma = 20,
                            .sampling = 20,
                            .samples = 32};
static const config paper = {.full = 1,
                             .image = 224,
                             .features = 512,
                             .voxels = 15000,
                             .batch = 64,
                             .head_steps = 100 * 139,
                             .images = 8859,
                             .tests = 982,
                             .shift = 4,
                             .lr = 3e-4,
                             .head_lr = 3e-4,
                             .weight_decay = 2e-2,
                             .pixel_noise = 0.05,
                             .gamma = 130,
                             .sag = 0.75,
                             .sampling = 50,
                             .samples = 500};
static const gy_config configs[] = {
    {"tiny", "tinySD draws for 60 generated voxels in three regions", &tiny},
    {"paper", "Stable Diffusion 2.1-base, its decoder, CLIP B/16, 15,000 voxels", &paper},
    {NULL}};

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (*c->part && strcmp(c->part, "encoder") != 0 && strcmp(c->part, "guidance") != 0)
        return gy_fail(ctx, GY_ERR_USAGE, "braindive: part='%s': expected encoder, guidance or nothing", c->part);
    if (c->image % GY_SHAPES16 || (c->full ? c->image != 224 || c->features != 512 : c->image != GY_SHAPES16))
        return gy_fail(ctx, GY_ERR_USAGE, "braindive: image=%d, features=%d: expected %s", (int)c->image,
                       (int)c->features, c->full ? "224 and 512 with full=1" : "image=16 with full=0");
    if (!c->full && c->features != GY_WORLD_SEMANTIC)
        return gy_fail(ctx, GY_ERR_USAGE, "braindive: features=%d: the miniature's meanings have %d numbers",
                       (int)c->features, GY_WORLD_SEMANTIC);
    if (c->voxels % ROIS)
        return gy_fail(ctx, GY_ERR_USAGE, "braindive: voxels=%d: expected a multiple of %d", (int)c->voxels, ROIS);
    return GY_OK;
}

const char *const gy_braindive_rois[ROIS] = {"blue", "cross", "red ring"};

/* ---- the encoder ---- */

/* CLIP's colours: [-1, 1] -> its training set's mean 0 and deviation 1 */
static gy_t clip_colours(gy_t image) {
    static const double mean[3] = {0.48145466, 0.4578275, 0.40821073}, sd[3] = {0.26862954, 0.26130258, 0.27577711};
    gy_t channel[3];
    gy_split(image, -1, 3, channel);
    for (int i = 0; i < 3; i++) channel[i] = gy_add_scalar(gy_scale(channel[i], 0.5 / sd[i]), (0.5 - mean[i]) / sd[i]);
    return gy_concat(-1, 3, channel);
}

gy_t gy_braindive_features(gy_mod *m, const config *c, gy_t x) {
    gy_push(m, "features");
    if (c->full) {
        gy_clip_vision_config clip = {GY_CLIP_VISION_B_16};
        clip.quick = 0;                                       /* OpenCLIP's activation (laion2b) */
        x = gy_clip_vision(m, &clip, clip_colours(x)).embeds; /* [B, 512] */
    } else {
        x = gy_relu(gy_nn_conv(m, "conv1", x, 16, GY_S(3), GY_S(2), GY_S(1))); /* [B, 8, 8, 16] */
        x = gy_relu(gy_nn_conv(m, "conv2", x, 32, GY_S(3), GY_S(2), GY_S(1))); /* [B, 4, 4, 32] */
        x = gy_relu(gy_nn_conv(m, "conv3", x, 64, GY_S(3), GY_S(2), GY_S(1))); /* [B, 2, 2, 64] */
        x = gy_nn_linear(m, "out", gy_global_avg_pool(x), c->features);        /* [B, 64] */
    }
    gy_pop(m);
    return gy_l2_normalize(x);
}

/* Eq. (1): y = W f(x) / |f(x)| + b: [B, F] -> [B, V]; W starts at half PyTorch's size */
static gy_t voxels(gy_mod *m, const config *c, gy_t feature) {
    return gy_nn_linear(m, "head", feature, c->voxels, .init = {GY_INIT_UNIFORM, 0.5 / sqrt((double)c->features)});
}

/* ---- the generator ---- */

/* Where self-attention guidance looks: the middle's attention, mean over heads, summed over queries. */
typedef struct gaze {
    gy_t mass; /* [B, positions] */
} gaze;
static gy_t watch(void *user, gy_mod *m, const char *name, gy_t p) {
    gaze *g = user;
    (void)m;
    if (strstr(name, "mid_block") && strstr(name, "attn1")) g->mass = gy_sum(gy_mean(p, GY_AXES(1)), GY_AXES(1));
    return p;
}

/* eps(x, t) without a text: x [B, H, W, C] -> the same. look: NULL, or where to keep what the middle attends to. */
static gy_t predicted_noise(gy_mod *m, const config *c, gy_t x, gy_t t, gaze *look) {
    gy_unet_spec spec = c->full ? gy_unet_sd21() : gy_tinysd_unet();
    int64_t b = gy_dim(x, 0);
    if (look) {
        spec.style.attend = watch;
        spec.style.user = look;
    }
    gy_push(m, "generator");
    /* tinySD's own words, all blank; the empty prompt's 77 states come from outside, since no text tower is needed */
    gy_t text = c->full ? gy_input(m->g, "empty_prompt", GY_F32, GY_S(b, 77, 1024))
                        : gy_tinysd_text(m, gy_full(m->g, GY_I64, GY_S(b, GY_TINYSD_TOKENS), 0));
    gy_t e = gy_unet(m, &spec, x, t, text);
    gy_pop(m);
    return e;
}

/* What the encoder sees of a latent: [B, h, w, C] -> [B, image, image, 3] in [-1, 1]; no gradient outside. */
static gy_t picture(gy_mod *m, const config *c, gy_t latent) {
    if (!c->full) return gy_clamp(latent, -1, 1);
    gy_vae_spec vae = gy_vae_sd();
    gy_push(m, "vae");
    gy_t x = gy_clamp(gy_vae_decode(m, &vae, gy_scale(latent, 1 / 0.18215)), -1, 1); /* [B, 512, 512, 3] */
    gy_pop(m);
    return gy_resize(.x = x, .size = GY_S(c->image), .mode = GY_RESIZE_LINEAR);
}

/* x blurred by a Gaussian of deviation 1, 9 x 9, mirrored at its borders. */
static gy_t blurred(gy_mod *m, gy_t x) {
    gy_ctx *ctx = gy_graph_ctx(m->g);
    int64_t channels = gy_dim(x, -1);
    double g[9], sum = 0;
    gy_tensor w;
    for (int i = 0; i < 9; i++) sum += g[i] = exp(-0.5 * (i - 4) * (i - 4));
    if (gy_tensor_new(ctx, &w, GY_F32, GY_S(channels, 1, 9, 9)) != GY_OK)
        return gy_poison(m->g, GY_HERE, "%s", gy_error(ctx));
    for (int64_t i = 0; i < channels * 81; i++) gy_tensor_set(&w, i, g[i % 9] * g[i / 9 % 9] / (sum * sum));
    for (int64_t axis = 1; axis <= 2; axis++) x = gy_reflect_pad(x, axis, 4, 4);
    gy_t y = gy_conv(.x = x, .w = gy_const(m->g, &w), .groups = channels);
    gy_tensor_free(ctx, &w);
    return y;
}

/* Self-attention guidance: e + s (e - U(degraded)): x0 is blurred where the middle looks (mass above 1, the mean) and
 * noised again with the same e. */
static gy_t self_attention_guided(gy_mod *m, const config *c, gy_t x0, gy_t e, gy_t t, gy_t alpha, gy_t sigma,
                                  const gaze *look) {
    int64_t b = gy_dim(e, 0), h = gy_dim(e, 1), w = gy_dim(e, 2), n = gy_dim(look->mass, 1), side = 1;
    while (side * side < n) side++;
    gy_t mask = gy_cast(gy_gt(look->mass, gy_scalar(look->mass, 1)), GY_F32);
    mask = gy_resize(.x = gy_reshape(mask, b, side, side, 1), .size = GY_S(h, w));
    gy_t degraded = gy_add(x0, gy_mul(mask, gy_sub(blurred(m, x0), x0)));
    gy_t again = predicted_noise(m, c, gy_add(gy_mul(alpha, degraded), gy_mul(sigma, e)), t, NULL);
    return gy_add(e, gy_scale(gy_sub(e, again), c->sag));
}

/* One step of guided denoising: the noise to take off, steered. */
static void guidance(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_graph *g = m->g;
    gaze look = {GY_NONE};
    gy_shape s = c->full ? GY_S(b->batch, 64, 64, 4) : GY_S(b->batch, GY_SHAPES16, GY_SHAPES16, 3);
    gy_t x = gy_input(g, "x", GY_F32, s), t = gy_input(g, "timestep", GY_F32, GY_S(b->batch)), gx;
    gy_t alpha = gy_input(g, "alpha", GY_F32, GY_S0), sigma = gy_input(g, "sigma", GY_F32, GY_S0);
    gy_t roi = gy_input(g, "roi", GY_F32, GY_S(c->voxels)); /* 1 / size of the region inside it, 0 outside */
    gy_t gamma = gy_input(g, "gamma", GY_F32, GY_S0);

    gy_t e = predicted_noise(m, c, x, t, c->sag > 0 ? &look : NULL);       /* [B, H, W, C] */
    gy_t held = gy_ablates(b->ablate, "jacobian") ? gy_stop(e) : e;        /* as if the U-Net did not depend on x */
    gy_t x0 = gy_div(gy_sub(x, gy_mul(sigma, held)), alpha);               /* eq. (2) */
    gy_t blend = gy_add(x, gy_mul(sigma, gy_sub(x0, x)));                  /* eq. (3): sigma x0 + (1 - sigma) x */
    gy_t seen = gy_braindive_features(m, c, picture(m, c, blend));         /* [B, F] */
    gy_t activation = gy_sum(gy_mul(voxels(m, c, seen), roi), GY_AXES(1)); /* [B] */
    gy_grad(gy_sum(activation, GY_ALL), GY_NONE, 1, &x, &gx);
    gy_t change = gy_mul(gy_mul(gamma, sigma), gx); /* eq. (4): loss = -gamma activation */
    gy_t plain = c->sag > 0 ? self_attention_guided(m, c, x0, e, t, alpha, sigma, &look) : e;
    gy_output(gy_ablates(b->ablate, "energy") ? plain : gy_sub(plain, change), "noise");
    gy_output(activation, "activation");
    gy_t size = gy_sqrt(gy_div(gy_sum(gy_square(change), GY_ALL), gy_sum(gy_square(e), GY_ALL)));
    gy_output(size, "ratio");
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    if (strcmp(c->part, "guidance") != 0) {
        gy_t x = gy_input(m->g, "image", GY_F32, GY_S(b->batch, c->image, c->image, 3)); /* in [-1, 1] */
        gy_t feature = gy_braindive_features(m, c, x);                                   /* [B, F] */
        gy_output(feature, "feature");
        gy_output(voxels(m, c, feature), "response"); /* [B, V] */
    }
    if (strcmp(c->part, "encoder") != 0) guidance(b);
}

/* The features' phase (if they are trained) and the voxels'. */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    bool head = b->phase == (c->steps > 0);
    gy_t x = gy_input(m->g, "image", GY_F32, GY_S(b->batch, c->image, c->image, 3));
    gy_t f = gy_braindive_features(m, c, x), loss; /* [B, F] */
    if (head) {
        gy_t y = gy_input(m->g, "response", GY_F32, GY_S(b->batch, c->voxels));
        loss = gy_mse(voxels(m, c, gy_stop(f)), y, GY_LOSS_MEAN); /* eq. (5) */
    } else {
        gy_t e = gy_input(m->g, "meaning", GY_F32, GY_S(b->batch, c->features));
        loss = gy_neg(gy_mean(gy_sum(gy_mul(f, e), GY_AXES(1)), GY_ALL)); /* minus the cosine */
    }
    gy_output(loss, "loss");
    if (head)
        gy_optim_adamw(m->g, m->store, loss, .prefix = "head.", .name = "head", .weight_decay = c->weight_decay,
                       .decays = gy_decays_matrices);
    else
        gy_optim_adam(m->g, m->store, loss, .prefix = "features.", .name = "features");
}

static int64_t phases(const gy_job *j) {
    return 1 + (((const config *)j->cfg)->steps > 0);
}

static int64_t phase_of(const gy_job *j, int64_t step) {
    const config *c = j->cfg;
    return c->steps > 0 && step >= c->steps;
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {GY_SCHEDULE_COSINE, .lr = c->lr, .warmup = 20, .total = c->steps, .min = c->lr / 50};
    if (phase == (c->steps > 0)) return c->head_lr * pow(0.5, (double)(step - c->steps) / (double)c->head_steps);
    return gy_schedule_lr(&s, step);
}

/* ---- the definition ---- */

static const char *const equations[] = {
    "eq. (1): y = W f(x)/\u2016f(x)\u2016 + b",
    "eq. (2): x\u2080 = (x - \u03c3 \u03b5\u03b8(x, t)) / \u03b1",
    "eq. (3): s = \u03c3 x\u2080 + (1 - \u03c3) x, decoded, clamped, seen by the encoder",
    "eq. (4): \u03b5 \u2190 \u03b5 - \u03c3 \u03b3 \u2207\u2093 mean of y over the region",
    "eq. (5): L = \u2016y - measured\u2016\u00b2 over all voxels",
    "eq. (6): self-attention guidance: \u03b5 + s (\u03b5 - \u03b5\u03b8(blurred where the middle attends)), s = 0.75",
    NULL};

static const char *const ablations[] = {
    "energy - no guidance: the region has no say",
    "jacobian - the gradient leaves the U-Net out: predicted noise is held constant", NULL};

const gy_model_def gy_model_braindive = {
    .slug = "braindive",
    .family = "decoding",
    .title = "Pictures that a brain region prefers, drawn by guided diffusion",
    .cite = "A. Luo, M. Henderson, L. Wehbe, M. Tarr, NeurIPS 2023, arXiv:2306.03089",
    .job = "a set of voxels in, pictures predicted to drive them out",
    .year = 2023,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .check = check,
    .build = build,
    .objective = objective,
    .phases = phases,
    .phase_of = phase_of,
    .open = gy_braindive_open,
    .close = gy_braindive_close,
    .batch = gy_braindive_batch,
    .lr = lr,
    .evaluate = gy_braindive_evaluate,
    .panels = gy_braindive_panels,
    .sample = gy_braindive_sample,
    .claim = gy_braindive_claim,
};
