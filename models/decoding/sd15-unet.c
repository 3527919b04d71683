/* The denoiser of Stable Diffusion: what fourteen decoders steer.
 *
 * Rombach, Blattmann, Lorenz, Esser, Ommer: "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022,
 * arXiv:2112.10752. A U-Net looks at noised latents x_t of an autoencoder (sd-vae), the time t and the tokens of a text
 * encoder, and says which noise was added. Public checkpoints of Stable Diffusion 1.x and 2.x (diffusers' key names,
 * unet/diffusion_pytorch_model.safetensors) load by name:
 *
 *     gyrus run sd15-unet --config sd15 --weights F.safetensors --input latents=x.npy --input timestep=t.npy \
 *         --input context=c.npy --output noise=y.npy
 *
 * With --set dual=1, or --config versatile, every transformer exists twice (Xu et al. 2022, arXiv:2211.08332; keys
 * attentions.j.transformers.0 for the picture's context, .1 for the text's): inputs context_image and mix, the weight
 * of the text in each row, beside the others.
 *
 * Features come last here: latents and noise are [B, H, W, 4] where PyTorch has [B, 4, H, W]. In NumPy,
 * x.transpose(0, 2, 3, 1) converts on the way in and y.transpose(0, 3, 1, 2) on the way out. Weights keep the files'
 * layout.
 *
 * The miniature learns a world in which the right answer is known. There are `classes` latents mu_k; a sample is
 * mu_k + s n, and its context spells k. Then the best any network can do is the exact posterior mean
 *     eps*(x, t, k) = sigma (x - alpha mu_k) / (alpha^2 s^2 + sigma^2),
 * with mean squared error alpha^2 s^2 / (alpha^2 s^2 + sigma^2): `eval` reports how near the trained net comes. */
#include "../../core/gyrus.h"
#include "../blocks/options.h"
#include "../blocks/sampler.h"
#include "../blocks/unet.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- configurations ---- */

typedef struct config {
    int64_t height, width, channels; /* of the latents */
    int64_t tokens, context;         /* of the text */
    int64_t dual, image_tokens;      /* a second context, as wide */
    char widths[64], heads[64];      /* a level: channels, attention heads (0: none) */
    int64_t mid_heads, resnets, groups, linear, control, adapter;
    int64_t classes, batch, steps;
    double spread, lr;
} config;

static const gy_option options[] = {
    INT(height, 1, 1 << 14, "height of the latents"),
    INT(width, 1, 1 << 20, "width of the latents"),
    INT(channels, 1, 4096, "channels of the latents"),
    INT(tokens, 1, 1 << 16, "tokens of the context"),
    INT(context, 1, 1 << 16, "width of a token"),
    INT(dual, 0, 1, "1: two contexts and transformers, inputs context_image and mix (Versatile Diffusion)"),
    INT(image_tokens, 1, 1 << 16, "tokens of context_image"),
    TEXT(widths, "channels of each level"),
    TEXT(heads, "attention heads of each level; 0: no attention there"),
    INT(mid_heads, 0, 1024, "attention heads in the middle; 0: none"),
    INT(resnets, 1, 8, "residual blocks a level on the way down; one more on the way up"),
    INT(groups, 1, 1024, "groups of the norms"),
    INT(linear, 0, 1, "1: projections around the transformers are linear layers in the file (SD 2)"),
    INT(control, 0, 1, "1: inputs down_0 ... and mid are added to the skips and the middle (sd15-controlnet)"),
    INT(adapter, 0, 1, "1: inputs level_0 ... are added to the last feature of each level (sd15-adapter)"),
    INT(classes, 1, 64, "generated training set: how many mean latents"),
    INT(batch, 1, 4096, "latents a step"),
    INT(steps, 1, 1e9, "training steps"),
    REAL(spread, 0.01, 10, "generated training set: standard deviation about the means"),
    REAL(lr, 0, 1, "largest learning rate"),
    {NULL}};

#define TRAINING .batch = 16, .steps = 300, .spread = 0.2, .lr = 2e-3
static const config tiny = {.height = 8,
                            .width = 8,
                            .channels = 4,
                            .tokens = 4,
                            .context = 16,
                            .widths = "16,32",
                            .heads = "2,2",
                            .mid_heads = 2,
                            .resnets = 1,
                            .groups = 4,
                            .classes = 4,
                            TRAINING,
                            .image_tokens = 3};
static const config sd15 = {.height = 64,
                            .width = 64,
                            .channels = 4,
                            .tokens = 77,
                            .context = 768,
                            .widths = "320,640,1280,1280",
                            .heads = "8,8,8,0",
                            .mid_heads = 8,
                            .resnets = 2,
                            .groups = 32,
                            .classes = 4,
                            TRAINING,
                            .image_tokens = 257};
static const config sd21 = {.height = 64,
                            .width = 64,
                            .channels = 4,
                            .tokens = 77,
                            .context = 1024,
                            .widths = "320,640,1280,1280",
                            .heads = "5,10,20,0",
                            .mid_heads = 20,
                            .resnets = 2,
                            .groups = 32,
                            .linear = 1,
                            .classes = 4,
                            TRAINING,
                            .image_tokens = 257};
static const config versatile = {.height = 64,
                                 .width = 64,
                                 .channels = 4,
                                 .tokens = 77,
                                 .context = 768,
                                 .dual = 1,
                                 .widths = "320,640,1280,1280",
                                 .heads = "8,8,8,0",
                                 .mid_heads = 8,
                                 .resnets = 2,
                                 .groups = 32,
                                 .classes = 4,
                                 TRAINING,
                                 .image_tokens = 257};
static const gy_config configs[] = {
    {"tiny", "8 x 8 latents, two levels; trains in seconds", &tiny},
    {"sd15", "Stable Diffusion 1.x: 859,520,964 parameters, 64 x 64 latents, 77 tokens of 768", &sd15},
    {"sd21", "Stable Diffusion 2.1-base: 865,910,724 parameters, 77 tokens of 1024", &sd21},
    {"versatile", "Versatile Diffusion: 1,126,760,324 parameters, 77 tokens of text and 257 of a picture", &versatile},
    {NULL}};

/* "16,32" -> values; the count, or -1. */
static int64_t numbers(const char *text, int64_t value[GY_UNET_LEVELS]) {
    char *end;
    for (int64_t n = 0; n < GY_UNET_LEVELS; text = end + 1) {
        if (*text < '0' || *text > '9') return -1;
        value[n++] = strtoll(text, &end, 10);
        if (!*end) return n;
        if (*end != ',') return -1;
    }
    return -1;
}

static gy_unet_spec spec_of(const config *c) {
    gy_unet_spec s = {.axes = 2,
                      .in = c->channels,
                      .out = c->channels,
                      .resnets = c->resnets,
                      .mid_heads = c->mid_heads,
                      .linear_projection = c->linear,
                      .dual = c->dual,
                      .style = {.groups = c->groups}};
    s.levels = numbers(c->widths, s.channels);
    numbers(c->heads, s.heads);
    return s;
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    int64_t widths[GY_UNET_LEVELS], heads[GY_UNET_LEVELS];
    int64_t n = numbers(c->widths, widths);
    if (n < 1 || numbers(c->heads, heads) != n)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "sd15-unet: widths='%s' and heads='%s': expected two lists of the same length, 1 to %d numbers "
                       "such as '320,640'",
                       c->widths, c->heads, GY_UNET_LEVELS);
    for (int64_t i = 0; i < n; i++)
        if (widths[i] < 1 || widths[i] % c->groups || (heads[i] && widths[i] % heads[i]))
            return gy_fail(ctx, GY_ERR_USAGE,
                           "sd15-unet: level %d: %d channels are no multiple of %d groups or %d heads", (int)i,
                           (int)widths[i], (int)c->groups, (int)heads[i]);
    if (c->mid_heads && widths[n - 1] % c->mid_heads)
        return gy_fail(ctx, GY_ERR_USAGE, "sd15-unet: %d heads do not divide the middle's %d channels",
                       (int)c->mid_heads, (int)widths[n - 1]);
    return GY_OK;
}

/* ---- the model ---- */

static gy_shape latents_shape(const config *c, int64_t batch) {
    return GY_S(batch, c->height, c->width, c->channels);
}

static void context_inputs(gy_build *b, gy_unet_args *net) {
    const config *c = b->cfg;
    net->context = gy_input(b->m->g, "context", GY_F32, GY_S(b->batch, c->tokens, c->context)); /* [B, T, D] */
    if (!c->dual) return;
    net->context_image = gy_input(b->m->g, "context_image", GY_F32, GY_S(b->batch, c->image_tokens, c->context));
    net->mix = gy_input(b->m->g, "mix", GY_F32, GY_S(b->batch)); /* [B]: weight of context, 0 to 1 */
}

/* down_0, down_1, ... in the order of the U-Net's kept outputs, and mid */
static gy_control control_inputs(gy_build *b, const gy_unet_spec *spec) {
    const config *c = b->cfg;
    gy_control k = {0};
    gy_shape s = latents_shape(c, b->batch);
    char name[32];
    if (!c->control) return k;
    for (int64_t i = 0; i < spec->levels; i++) {
        int64_t kept = spec->resnets + 1; /* conv_in, or the halving that led here, and the blocks */
        for (int64_t n = 0; n < kept; n++) {
            snprintf(name, sizeof name, "down_%d", (int)k.n);
            s.dim[s.rank - 1] = n == 0 && i > 0 ? spec->channels[i - 1] : spec->channels[i];
            k.skip[k.n++] = gy_input(b->m->g, name, GY_F32, s);
        }
        for (int64_t a = 1; a + 1 < s.rank && i + 1 < spec->levels; a++) s.dim[a] = (s.dim[a] + 1) / 2;
    }
    k.mid = gy_input(b->m->g, "mid", GY_F32, s);
    return k;
}

/* level_0, level_1, ...: one a level, as wide as it */
static void adapter_inputs(gy_build *b, const gy_unet_spec *spec, gy_t level[GY_UNET_LEVELS]) {
    const config *c = b->cfg;
    gy_shape s = latents_shape(c, b->batch);
    char name[32];
    for (int64_t i = 0; c->adapter && i < spec->levels; i++) {
        snprintf(name, sizeof name, "level_%d", (int)i);
        s.dim[s.rank - 1] = spec->channels[i];
        level[i] = gy_input(b->m->g, name, GY_F32, s);
        for (int64_t a = 1; a + 1 < s.rank; a++) s.dim[a] = (s.dim[a] + 1) / 2;
    }
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_unet_spec spec = spec_of(c);
    gy_t x = gy_input(b->m->g, "latents", GY_F32, latents_shape(c, b->batch)); /* [B, H, W, 4] */
    gy_t t = gy_input(b->m->g, "timestep", GY_F32, GY_S(b->batch));            /* [B], 0 .. 999 */
    gy_unet_args net = {.m = b->m, .spec = &spec, .x = x, .t = t, .control = control_inputs(b, &spec)};
    context_inputs(b, &net);
    adapter_inputs(b, &spec, net.adapter);
    gy_t y = gy_unet_(net);
    gy_output(y, "noise"); /* [B, H, W, 4] */
}

/* Eq. (2): L = E |eps - eps_theta(alpha x0 + sigma eps, t, context)|^2 */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_unet_spec spec = spec_of(c);
    gy_noise noise;
    gy_noise_init(&noise, GY_NOISE_SCALED_LINEAR, 1000, 0, 0);
    gy_t x0 = gy_input(m->g, "latents", GY_F32, latents_shape(c, b->batch));
    gy_noised n = gy_noise_batch(m, &noise, x0, GY_PREDICT_EPS);
    gy_unet_args net = {.m = m, .spec = &spec, .x = n.x, .t = n.t, .recompute = spec.levels > 2};
    context_inputs(b, &net);
    gy_t loss = gy_mse(gy_unet_(net), n.target, GY_LOSS_MEAN);
    gy_output(loss, "loss");
    gy_optim_adamw(m->g, m->store, loss, .weight_decay = 1e-4, .decays = gy_decays_matrices, .clip_norm = 1);
}

/* ---- the generated world ---- */

typedef struct data {
    int64_t width;  /* elements of a latent */
    float *mean;    /* [classes, width], N(0, 1) */
    float *context; /* [classes, tokens, context], N(0, 1) */
} data;

static gy_status open_data(gy_job *j) {
    const config *c = j->cfg;
    data *d = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    j->data = d;
    d->width = gy_shape_count(latents_shape(c, 1));
    int64_t words = c->tokens * c->context;
    d->mean = gy_calloc(j->ctx, (size_t)(c->classes * d->width), sizeof *d->mean);
    d->context = gy_calloc(j->ctx, (size_t)(c->classes * words), sizeof *d->context);
    if (!d->mean || !d->context) return GY_ERR_NOMEM;
    gy_rng r;
    gy_rng_init(&r, j->seed, "world");
    for (int64_t i = 0; i < c->classes * d->width; i++) d->mean[i] = (float)gy_rng_normal(&r);
    for (int64_t i = 0; i < c->classes * words; i++) d->context[i] = (float)gy_rng_normal(&r);
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps;
    snprintf(j->data_label, sizeof j->data_label, "generated");
    j->data_hash = gy_hash_str("sd15-unet", j->seed);
    return GY_OK;
}

static void close_data(gy_job *j) {
    data *d = j->data;
    gy_free(j->ctx, d->mean);
    gy_free(j->ctx, d->context);
    gy_free(j->ctx, d);
    j->data = NULL;
}

/* Fills one row of a plan's inputs: a class, its context, a sample about its mean. */
static void draw(const gy_job *j, gy_plan *p, gy_rng *r, int64_t row) {
    const config *c = j->cfg;
    const data *d = j->data;
    float *latent = (float *)gy_plan_input(p, "latents") + row * d->width, *context = gy_plan_input(p, "context");
    int64_t k = gy_rng_below(r, c->classes), words = c->tokens * c->context;
    for (int64_t i = 0; i < d->width; i++)
        latent[i] = d->mean[k * d->width + i] + (float)(c->spread * gy_rng_normal(r));
    if (context) memcpy(context + row * words, d->context + k * words, (size_t)words * sizeof *context);
    float *image = gy_plan_input(p, "context_image"), *mix = gy_plan_input(p, "mix");
    if (mix) mix[row] = 0.5f;
    for (int64_t i = 0; image && i < c->image_tokens; i++) /* the text's tokens over and over */
        memcpy(image + (row * c->image_tokens + i) * c->context, d->context + k * words + i % c->tokens * c->context,
               (size_t)c->context * sizeof *image);
}

static gy_status batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    char name[48];
    (void)phase;
    snprintf(name, sizeof name, "batch.%lld", (long long)step);
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    for (int64_t i = 0; i < j->batch; i++) draw(j, p, &r, i);
    return GY_OK;
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {GY_SCHEDULE_COSINE, .lr = c->lr, .warmup = 20, .total = j->steps, .min = c->lr / 100};
    (void)phase;
    return gy_schedule_lr(&s, step);
}

/* ---- metrics: the error of eps at t = 50, 150, ... beside the least possible ---- */

typedef struct score {
    double error, least, count;
} score;

/* One batch at time t. */
static gy_status measure(gy_job *j, gy_plan *p, const gy_noise *noise, int64_t t, gy_rng *r, float *eps, score *out) {
    const config *c = j->cfg;
    const data *d = j->data;
    float *x = gy_plan_input(p, "latents"), *time = gy_plan_input(p, "timestep");
    double a = gy_noise_alpha(noise, (double)t), s = gy_noise_sigma(noise, (double)t);
    for (int64_t i = 0; i < c->batch; i++) {
        float *row = x + i * d->width;
        draw(j, p, r, i);
        time[i] = (float)t;
        for (int64_t e = 0; e < d->width; e++) {
            eps[i * d->width + e] = (float)gy_rng_normal(r);
            row[e] = (float)(a * (double)row[e] + s * (double)eps[i * d->width + e]);
        }
    }
    gy_status status = gy_plan_run(p);
    if (status != GY_OK) return status;
    const float *y = gy_plan_output(p, "noise").data;
    double signal = a * a * c->spread * c->spread, count = (double)(c->batch * d->width);
    for (int64_t i = 0; i < c->batch * d->width; i++) out->error += (double)(y[i] - eps[i]) * (double)(y[i] - eps[i]);
    out->least += count * signal / (signal + s * s);
    out->count += count;
    return GY_OK;
}

static gy_status evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    const data *d = j->data;
    gy_compiled net;
    gy_status s = gy_job_compile(j, c->batch, NULL, 0, &net);
    if (s != GY_OK) return s;
    float *eps = gy_calloc(j->ctx, (size_t)(c->batch * d->width), sizeof *eps);
    gy_noise noise;
    gy_noise_init(&noise, GY_NOISE_SCALED_LINEAR, 1000, 0, 0);
    gy_rng r;
    gy_rng_init(&r, j->seed, "evaluate");
    score all = {0};
    if (!eps) s = GY_ERR_NOMEM;
    for (int64_t t = 50; s == GY_OK && t < 1000; t += 100) s = measure(j, net.plan, &noise, t, &r, eps, &all);
    gy_free(j->ctx, eps);
    gy_compiled_free(&net);
    if (s != GY_OK) return s;
    gy_metric_add(out, "eps_mse", all.error / all.count, 1.0, "");
    gy_metric_add(out, "least_possible", all.least / all.count, NAN, "");
    return GY_OK;
}

static const char *const equations[] = {
    "eq. (1): x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps", "eq. (2): L = E |eps - eps_theta(x_t, t, context)|^2",
    "eq. (3): Attention(Q, K, V) = softmax(Q K^T / sqrt d) V, K and V from the context", NULL};

const gy_model_def gy_model_sd15_unet = {
    .slug = "sd15-unet",
    .family = "decoding",
    .title = "Stable Diffusion's U-Net",
    .cite = "Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, CVPR 2022, arXiv:2112.10752",
    .job = "noised latents, the time and a text's tokens in, the noise that was added out",
    .year = 2022,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .check = check,
    .build = build,
    .objective = objective,
    .open = open_data,
    .close = close_data,
    .batch = batch,
    .lr = lr,
    .evaluate = evaluate,
};
