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
 * The miniature steers tinySD (data/tinysd.safetensors), whose captions say what is drawn and never where: the hint is
 * the objects on black, a map of segments. U-Net and copy both start from the file, only the copy learns; states of the
 * frozen net are called unet.*. `eval` reports the error of the predicted noise with and without the hint. */
#include "../../core/gyrus.h"
#include "../../io/files.h"
#include "../../io/weights.h"
#include "../blocks/options.h"
#include "../blocks/tinysd.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- configurations ---- */

enum { SD15 = 0, SMALL, TINYSD };

typedef struct config {
    int64_t net, height, width, tokens, context;
    double scale;
    char base[64];
    int64_t batch, steps;
    double lr, drop;
} config;

static const gy_option options[] = {
    INT(net, SD15, TINYSD, "the U-Net that is steered; 0: Stable Diffusion's, 1: sd15-unet's tiny one, 2: tinysd"),
    INT(height, 1, 1 << 14, "height of the latents"),
    INT(width, 1, 1 << 14, "width of the latents"),
    INT(tokens, 1, 1 << 16, "tokens of the context"),
    INT(context, 1, 1 << 16, "width of a token"),
    REAL(scale, -100, 100, "strength of the control"),
    TEXT(base, "weights of the U-Net, where training starts"),
    INT(batch, 1, 4096, "pictures a step"),
    INT(steps, 1, 1e9, "training steps"),
    REAL(lr, 0, 1, "largest learning rate"),
    REAL(drop, 0, 1, "share of captions that are blank, so that the hint is listened to (sec. 3.4)"),
    {NULL}};
#define TRAINING .scale = 1, .batch = 32, .steps = 500, .lr = 3e-3, .drop = 0.5
static const config tiny = {.net = TINYSD,
                            .height = GY_SHAPES16,
                            .width = GY_SHAPES16,
                            .tokens = GY_TINYSD_TOKENS,
                            .context = GY_TINYSD_CONTEXT,
                            .base = "data/tinysd.safetensors",
                            TRAINING};
static const config small = {.net = SMALL, .height = 8, .width = 8, .tokens = 4, .context = 16, TRAINING};
static const config sd15 = {.net = SD15, .height = 64, .width = 64, .tokens = 77, .context = 768, TRAINING};
static const gy_config configs[] = {{"tiny", "steers tinysd; pictures and hints of 16 x 16", &tiny},
                                    {"small", "fits sd15-unet's tiny configuration; hints of 16 x 16", &small},
                                    {"sd15", "Stable Diffusion 1.x: 361,279,120 parameters, hints of 512 x 512", &sd15},
                                    {NULL}};

/* ---- the model ---- */

static gy_unet_spec spec_of(const config *c) {
    if (c->net == SD15) return gy_unet_sd15();
    if (c->net == TINYSD) return gy_tinysd_unet();
    return (gy_unet_spec){.axes = 2,
                          .in = 4,
                          .out = 4,
                          .levels = 2,
                          .channels = {16, 32},
                          .resnets = 1,
                          .heads = {2, 2},
                          .mid_heads = 2,
                          .style = {.groups = 4}};
}

static gy_t latents_input(gy_mod *m, const config *c, int64_t batch) {
    return gy_input(m->g, "latents", GY_F32, GY_S(batch, c->height, c->width, spec_of(c).in));
}

/* [B, f H, f W, 3], f the size of a latent in the picture */
static gy_t hint_input(gy_mod *m, const config *c, int64_t batch) {
    int64_t f = c->net == SD15 ? 8 : c->net == SMALL ? 2 : 1;
    return gy_input(m->g, "hint", GY_F32, GY_S(batch, f * c->height, f * c->width, 3));
}

static gy_t context_input(gy_mod *m, const config *c, int64_t batch) {
    return gy_input(m->g, "context", GY_F32, GY_S(batch, c->tokens, c->context));
}

/* Eq. (1), (2) */
static gy_control control(gy_mod *m, const config *c, gy_t x, gy_t t, gy_t context, gy_t hint) {
    gy_unet_spec spec = spec_of(c);
    int64_t n = c->net == SD15 ? 0 : c->net == SMALL ? 2 : 1; /* halvings of the hint, and one */
    return gy_controlnet(m, &spec, x, t, context, hint, c->scale, .n_hint = n, .hint_channels = {8, 16});
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_t x = latents_input(b->m, c, b->batch);
    gy_t t = gy_input(b->m->g, "timestep", GY_F32, GY_S(b->batch));
    gy_t context = context_input(b->m, c, b->batch);
    gy_control k = control(b->m, c, x, t, context, hint_input(b->m, c, b->batch));
    char name[32];
    for (int64_t i = 0; i < k.n; i++) {
        snprintf(name, sizeof name, "down_%d", (int)i);
        gy_output(k.skip[i], name); /* [B, h, w, C], in the order of the U-Net's kept outputs */
    }
    gy_output(k.mid, "mid");
}

/* The frozen U-Net's eps of x; steered by the copy if there is a hint. Its text, in the miniature, is tinysd's. */
static gy_t predicted(gy_mod *m, const config *c, gy_t x, gy_t t, gy_t text, gy_t hint) {
    gy_unet_spec spec = spec_of(c);
    gy_control k = {0};
    gy_push(m, "unet");
    if (c->net == TINYSD) text = gy_tinysd_text(m, text);
    gy_pop(m);
    if (!gy_is_none(hint)) k = control(m, c, x, t, text, hint);
    gy_push(m, "unet");
    gy_t y = gy_unet(m, &spec, x, t, text, .control = k, .recompute = c->net == SD15);
    gy_pop(m);
    gy_store_freeze(m->store, "unet.", true);
    return y;
}

static gy_t text_input(gy_mod *m, const config *c, int64_t batch) {
    return c->net == TINYSD ? gy_input(m->g, "tokens", GY_I64, GY_S(batch, GY_TINYSD_TOKENS))
                            : context_input(m, c, batch);
}

/* Eq. (3), over the copy's parameters */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_noise noise;
    gy_tinysd_noise(&noise); /* Stable Diffusion's */
    gy_noised n = gy_noise_batch(m, &noise, latents_input(m, c, b->batch), GY_PREDICT_EPS);
    gy_t y = predicted(m, c, n.x, n.t, text_input(m, c, b->batch), hint_input(m, c, b->batch));
    gy_t loss = gy_mse(y, n.target, GY_LOSS_MEAN);
    gy_output(loss, "loss");
    gy_optim_adamw(m->g, m->store, loss, .weight_decay = 1e-4, .decays = gy_decays_matrices, .clip_norm = 1);
}

/* ---- data ---- */

/* The U-Net's weights twice: in the frozen net under unet.*, and in the copy, whose names are the file's own. */
static gy_status load_base(gy_job *j) {
    static const char *const fresh[] = {"controlnet_*", "*.adam_m", "*.adam_v", "*.step", NULL};
    static const gy_weight_rule rules[] = {{"unet.*", "*"}, {0}};
    const config *c = j->cfg;
    gy_compiled run;
    if (!gy_path_exists(c->base))
        return gy_fail(j->ctx, GY_ERR_IO,
                       "sd15-controlnet: base='%s': the U-Net's weights are not there (run from Gyrus' folder, or "
                       "train some: gyrus train tinysd --out D, then --set base=D/model.safetensors)",
                       c->base);
    gy_status s = gy_job_compile_phase(j, 0, true, &run); /* makes the states */
    if (s == GY_OK) s = gy_weights_load_as(j->ctx, c->base, NULL, j->store, fresh, rules);
    gy_compiled_free(&run);
    return s;
}

static gy_status open_data(gy_job *j) {
    const config *c = j->cfg;
    if (c->net != TINYSD || c->height != GY_SHAPES16 || c->width != GY_SHAPES16)
        return gy_fail(j->ctx, GY_ERR_UNSUPPORTED,
                       "sd15-controlnet: the generated training set, %d x %d pictures with tinysd's captions, fits the "
                       "configuration tiny only",
                       GY_SHAPES16, GY_SHAPES16);
    j->batch = c->batch;
    gy_status s = load_base(j);
    if (s != GY_OK) return s;
    j->data = gy_calloc(j->ctx, 1, 1); /* pictures are functions of seed and step */
    if (!j->data) return GY_ERR_NOMEM;
    if (!j->steps) j->steps = c->steps;
    snprintf(j->data_label, sizeof j->data_label, "generated");
    j->data_hash = gy_hash_str("shapes16 segments", j->seed);
    return GY_OK;
}

static void close_data(gy_job *j) {
    gy_free(j->ctx, j->data);
    j->data = NULL;
}

/* Row i of a plan's inputs: a picture, its caption or none, its objects on black. */
static void draw(gy_plan *p, gy_rng *r, double drop, int64_t i) {
    float *image = (float *)gy_plan_input(p, "latents") + i * GY_SHAPES16_SIZE, plain[GY_SHAPES16_SIZE];
    float *hint = (float *)gy_plan_input(p, "hint") + i * GY_SHAPES16_SIZE;
    gy_scene s = gy_scene_draw(r, 0.5);
    float grey = (float)(2 * s.background - 1);
    gy_scene_image(&s, r, image);
    gy_scene_image(&s, NULL, plain);
    for (int64_t e = 0; e < GY_SHAPES16_SIZE; e += 3) {
        bool inside = false;
        for (int64_t k = e; k < e + 3; k++) inside = inside || fabsf(plain[k] - grey) > 0.01f;
        for (int64_t k = e; k < e + 3; k++) hint[k] = inside ? 0.5f * plain[k] + 0.5f : 0.0f;
    }
    if (gy_rng_uniform(r) < drop) s.n = 0;
    gy_tinysd_caption(&s, (int64_t *)gy_plan_input(p, "tokens") + i * GY_TINYSD_TOKENS);
}

static gy_status batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    char name[48];
    (void)phase;
    snprintf(name, sizeof name, "batch.%lld", (long long)step);
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    for (int64_t i = 0; i < j->batch; i++) draw(p, &r, c->drop, i);
    return GY_OK;
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {GY_SCHEDULE_COSINE, .lr = c->lr, .warmup = 20, .total = j->steps, .min = c->lr / 100};
    (void)phase;
    return gy_schedule_lr(&s, step);
}

/* ---- metrics: the same noised pictures, with the hint and without ---- */

static gy_status evaluate(gy_job *j, gy_metrics *out) {
    enum { N = 256 };
    const config *c = j->cfg;
    gy_graph *g = gy_graph_new(j->ctx);
    if (!g) return GY_ERR_NOMEM;
    gy_mod m = gy_mod_make(g, j->store, j->seed, false);
    gy_noise noise;
    gy_tinysd_noise(&noise);
    gy_noised n = gy_noise_batch(&m, &noise, latents_input(&m, c, N), GY_PREDICT_EPS);
    gy_t text = text_input(&m, c, N), hint = hint_input(&m, c, N);
    gy_output(gy_mse(predicted(&m, c, n.x, n.t, text, hint), n.target, GY_LOSS_MEAN), "steered");
    gy_output(gy_mse(predicted(&m, c, n.x, n.t, text, GY_NONE), n.target, GY_LOSS_MEAN), "bare");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    gy_status s = p ? GY_OK : gy_error_status(j->ctx);
    if (p) {
        gy_rng r;
        gy_rng_init(&r, j->seed, "evaluate");
        for (int64_t i = 0; i < N; i++) draw(p, &r, c->drop, i);
        gy_plan_set_rng(p, j->seed, 0);
        s = gy_plan_run(p);
    }
    if (s == GY_OK) {
        gy_metric_add(out, "eps_mse", gy_plan_scalar(p, "steered"), 1.0, "");
        gy_metric_add(out, "eps_mse_without_hint", gy_plan_scalar(p, "bare"), 1.0, "");
    }
    gy_plan_free(p);
    gy_graph_free(g);
    return s;
}

static const char *const equations[] = {
    "eq. (1): skip_j += scale zero_j(h_j), h = encoder(conv_in(x) + hint_net(hint), t, context)",
    "eq. (2): mid += scale zero_mid(h_mid); zero: a 1x1 convolution that starts at zero",
    "eq. (3): L = E |eps - eps_theta(x_t, t, context, hint)|^2 over the copy's parameters", NULL};

/* A run of ours keeps the frozen U-Net beside the copy. */
static const char *const ignorable[] = {"unet.*", NULL};

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
    .ignorable = ignorable,
    .build = build,
    .objective = objective,
    .open = open_data,
    .close = close_data,
    .batch = batch,
    .lr = lr,
    .evaluate = evaluate,
};
