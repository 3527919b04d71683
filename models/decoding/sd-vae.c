/* The autoencoder of Stable Diffusion: pictures to latents an eighth of their height and width, and back.
 *
 * Rombach, Blattmann, Lorenz, Esser, Ommer: "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022,
 * arXiv:2112.10752, section 3.1; Kingma, Welling: "Auto-Encoding Variational Bayes", ICLR 2014, arXiv:1312.6114. Public
 * weights (diffusers' AutoencoderKL, vae/diffusion_pytorch_model.safetensors) load by name:
 *
 *     gyrus run sd-vae --config sd --weights F.safetensors --input image=x.npy --output latents=z.npy
 *     gyrus run sd-vae --config sd --weights F.safetensors --input z=z.npy --output decoded=x.npy
 *
 * Pictures are [B, H, W, 3] in [-1, 1] and latents [B, H/8, W/8, 4], features last: in NumPy x.transpose(0, 2, 3, 1) of
 * PyTorch's. `latents` is scale times the mean, what the U-Net works on; `z` is expected at the same scale. Checkpoints
 * of before 2023, which name the attention's layers query, key, value, proj_attn, load too.
 *
 * The miniature learns pictures of one soft disc each (place, size, two colours: 9 numbers in 768), so that a narrow
 * latent suffices; a reconstruction is judged against the mean picture. */
#include "../../core/gyrus.h"
#include "../blocks/options.h"
#include "../blocks/vae.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- configurations ---- */

typedef struct config {
    int64_t height, width, channels, latent; /* of the picture; channels of the latents */
    char widths[64];
    int64_t resnets, groups;
    double scale; /* latents = scale z */
    double kl;    /* weight of the divergence */
    int64_t batch, steps;
    double lr;
} config;

static const gy_option options[] = {
    INT(height, 1, 1 << 14, "height of the picture"),
    INT(width, 1, 1 << 14, "width of the picture"),
    INT(channels, 1, 64, "channels of the picture"),
    INT(latent, 1, 64, "channels of the latents"),
    TEXT(widths, "channels of each level"),
    INT(resnets, 1, 8, "residual blocks a level of the encoder; one more in the decoder"),
    INT(groups, 1, 1024, "groups of the norms"),
    REAL(scale, 1e-6, 1e6, "latents = scale times z"),
    REAL(kl, 0, 1e3, "weight of the divergence from the normal distribution, a latent element"),
    INT(batch, 1, 4096, "pictures a step"),
    INT(steps, 1, 1e9, "training steps"),
    REAL(lr, 0, 1, "largest learning rate"),
    {NULL}};

static const config tiny = {.height = 16,
                            .width = 16,
                            .channels = 3,
                            .latent = 4,
                            .widths = "16,32",
                            .resnets = 1,
                            .groups = 4,
                            .scale = 1,
                            .kl = 1e-4,
                            .batch = 16,
                            .steps = 300,
                            .lr = 3e-3};
static const config sd = {.height = 512,
                          .width = 512,
                          .channels = 3,
                          .latent = 4,
                          .widths = "128,256,512,512",
                          .resnets = 2,
                          .groups = 32,
                          .scale = 0.18215,
                          .kl = 1e-6,
                          .batch = 1,
                          .steps = 1000,
                          .lr = 4.5e-6};
static const gy_config configs[] = {{"tiny", "16 x 16 pictures to 8 x 8 latents; trains in seconds", &tiny},
                                    {"sd", "Stable Diffusion 1.x and 2.x: 83,653,863 parameters, 512 x 512", &sd},
                                    {NULL}};

/* "16,32" -> values; the count, or -1. */
static int64_t numbers(const char *text, int64_t value[GY_VAE_LEVELS]) {
    char *end;
    for (int64_t n = 0; n < GY_VAE_LEVELS; text = end + 1) {
        if (*text < '0' || *text > '9') return -1;
        value[n++] = strtoll(text, &end, 10);
        if (!*end) return n;
        if (*end != ',') return -1;
    }
    return -1;
}

static gy_vae_spec spec_of(const config *c) {
    gy_vae_spec s = {.in = c->channels, .latent = c->latent, .resnets = c->resnets, .style = {.groups = c->groups}};
    s.levels = numbers(c->widths, s.channels);
    return s;
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    int64_t w[GY_VAE_LEVELS], n = numbers(c->widths, w);
    if (n < 1)
        return gy_fail(ctx, GY_ERR_USAGE, "sd-vae: widths='%s': expected 1 to %d numbers such as '128,256'", c->widths,
                       GY_VAE_LEVELS);
    for (int64_t i = 0; i < n; i++)
        if (w[i] < 1 || w[i] % c->groups)
            return gy_fail(ctx, GY_ERR_USAGE, "sd-vae: level %d: %d channels are no multiple of %d groups", (int)i,
                           (int)w[i], (int)c->groups);
    int64_t down = (int64_t)1 << (n - 1);
    if (c->height % down || c->width % down)
        return gy_fail(ctx, GY_ERR_USAGE, "sd-vae: %d x %d: expected multiples of %d, which %d levels divide by",
                       (int)c->height, (int)c->width, (int)down, (int)n);
    return GY_OK;
}

/* ---- the model ---- */

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_vae_spec spec = spec_of(c);
    int64_t down = (int64_t)1 << (spec.levels - 1);
    gy_t x = gy_input(b->m->g, "image", GY_F32, GY_S(b->batch, c->height, c->width, c->channels));
    gy_t z = gy_input(b->m->g, "z", GY_F32, GY_S(b->batch, c->height / down, c->width / down, c->latent));
    gy_vae_latent q = gy_vae_encode(b->m, &spec, x);
    gy_output(q.mean, "mean");                                                     /* [B, H/8, W/8, 4] */
    gy_output(q.logvar, "logvar");                                                 /* [B, H/8, W/8, 4] */
    gy_output(gy_scale(q.mean, c->scale), "latents");                              /* [B, H/8, W/8, 4] */
    gy_output(gy_vae_decode(b->m, &spec, gy_scale(z, 1.0 / c->scale)), "decoded"); /* [B, H, W, 3] */
    gy_output(gy_vae_decode(b->m, &spec, q.mean), "reconstruction");               /* [B, H, W, 3] */
}

/* Eq. (25) without its critic: L = |x - D(z)|^2 + beta KL(q(z|x) || N(0, 1)), z ~ q, both a mean over elements. */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_vae_spec spec = spec_of(c);
    gy_t x = gy_input(m->g, "image", GY_F32, GY_S(b->batch, c->height, c->width, c->channels));
    gy_vae_latent q = gy_vae_encode(m, &spec, x);
    gy_t error = gy_mse(gy_vae_decode(m, &spec, gy_vae_sample(m, q)), x, GY_LOSS_MEAN);
    gy_t kl = gy_scale(gy_gaussian_kl(q.mean, q.logvar, GY_LOSS_SUM), 1.0 / (double)gy_count(q.mean));
    gy_t loss = gy_add(error, gy_scale(kl, c->kl));
    gy_output(loss, "loss");
    gy_optim_adamw(m->g, m->store, loss, .clip_norm = 1);
}

/* ---- pictures of a disc ---- */

static void disc(const config *c, gy_rng *r, float *image) {
    double y0 = gy_rng_uniform(r), x0 = gy_rng_uniform(r), radius = 0.15 + 0.2 * gy_rng_uniform(r), in[64], out[64];
    for (int64_t k = 0; k < c->channels; k++) in[k] = 2.0 * gy_rng_uniform(r) - 1.0;
    for (int64_t k = 0; k < c->channels; k++) out[k] = gy_rng_uniform(r) - 1.0;
    for (int64_t y = 0; y < c->height; y++)
        for (int64_t x = 0; x < c->width; x++) {
            double dy = ((double)y + 0.5) / (double)c->height - y0, dx = ((double)x + 0.5) / (double)c->width - x0;
            double inside = 1.0 / (1.0 + exp((sqrt(dx * dx + dy * dy) - radius) * 40.0));
            for (int64_t k = 0; k < c->channels; k++) *image++ = (float)(inside * in[k] + (1.0 - inside) * out[k]);
        }
}

/* n pictures of stream `name` */
static void discs(const gy_job *j, const char *name, int64_t n, float *image) {
    const config *c = j->cfg;
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    for (int64_t i = 0; i < n; i++) disc(c, &r, image + i * c->height * c->width * c->channels);
}

static gy_status open_data(gy_job *j) {
    const config *c = j->cfg;
    j->data = gy_calloc(j->ctx, 1, 1); /* pictures are functions of the seed: nothing is kept */
    if (!j->data) return GY_ERR_NOMEM;
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps;
    snprintf(j->data_label, sizeof j->data_label, "generated");
    j->data_hash = gy_hash_str("sd-vae", j->seed);
    return GY_OK;
}

static void close_data(gy_job *j) {
    gy_free(j->ctx, j->data);
    j->data = NULL;
}

static gy_status batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    char name[48];
    (void)phase;
    snprintf(name, sizeof name, "batch.%lld", (long long)step);
    discs(j, name, j->batch, gy_plan_input(p, "image"));
    return GY_OK;
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {GY_SCHEDULE_COSINE, .lr = c->lr, .warmup = 20, .total = j->steps, .min = c->lr / 100};
    (void)phase;
    return gy_schedule_lr(&s, step);
}

/* ---- metrics: pictures never seen; what their mean explains is taken off ---- */

static gy_status evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    gy_compiled net;
    gy_status s = gy_job_compile(j, 64, NULL, 0, &net);
    if (s != GY_OK) return s;
    float *x = gy_plan_input(net.plan, "image");
    int64_t size = c->height * c->width * c->channels;
    discs(j, "evaluate", 64, x);
    s = gy_plan_run(net.plan);
    if (s == GY_OK) {
        const float *y = gy_plan_output(net.plan, "reconstruction").data;
        double error = 0, total = 0, n = 64;
        for (int64_t e = 0; e < size; e++) {
            double sum = 0, squares = 0;
            for (int64_t i = 0; i < 64; i++) {
                double v = x[i * size + e], d = (double)y[i * size + e] - v;
                sum += v;
                squares += v * v;
                error += d * d;
            }
            total += squares - sum * sum / n;
        }
        gy_metric_add(out, "explained_variance", 1.0 - error / total, 0.0, "");
        gy_metric_add(out, "mse", error / (n * (double)size), total / (n * (double)size), "");
    }
    gy_compiled_free(&net);
    return s;
}

static const char *const equations[] = {"eq. (1): q(z | x) = N(mean, exp(logvar)), (mean, logvar) = E(x)",
                                        "eq. (2): L = |x - D(z)|^2 + beta KL(q(z | x) || N(0, 1)), z ~ q(z | x)", NULL};

const gy_model_def gy_model_sd_vae = {
    .slug = "sd-vae",
    .family = "decoding",
    .title = "Stable Diffusion's autoencoder",
    .cite = "Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, CVPR 2022, arXiv:2112.10752",
    .job = "a picture in, its latents out, and back",
    .year = 2022,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .check = check,
    .weights = gy_vae_rules,
    .build = build,
    .objective = objective,
    .open = open_data,
    .close = close_data,
    .batch = batch,
    .lr = lr,
    .evaluate = evaluate,
};
