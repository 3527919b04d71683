/* VDVAE: a picture as latents at every size, from the whole to the pixels.
 *
 * Child: "Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images", ICLR 2021,
 * arXiv:2011.10650. Brain-Diffuser (arXiv:2303.05334) predicts the first 31 of the 75 groups of latents from a brain
 * and leaves the others to the prior: a first guess of the scene's layout. The public weights for 64 x 64 pictures
 * (imagenet64-iter-1600000-model-ema.th) load by name:
 *
 *     gyrus run vdvae --config imagenet64 --weights W.th --input image=x.npy --output latents=z.npy
 *     gyrus run vdvae --config imagenet64 --set given=31 --weights W.th --input given=z31.npy --output decoded=y.npy
 *
 * Pictures are [B, S, S, 3] in [-1, 1]. Latents are rows, group after group, each [16, r, r]: the numbers and the order
 * of published files. With temperature=0 every latent is its mean and a picture is the likeliest component at its mean;
 * else both are draws.
 *
 * The miniature learns shapes16 (data/synthbrain.h): `eval` reports the bound on the bits a pixel's colour takes, how
 * well a picture is rebuilt from all its latents, and how well from all but the last two groups. */
#include "../../core/gyrus.h"
#include "../../data/synthbrain.h"
#include "../blocks/measures.h"
#include "../blocks/options.h"
#include "../blocks/vdvae.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- configurations ---- */

typedef struct config {
    char encoder[64], decoder[64];
    int64_t width, bottleneck, zdim, mixtures, given;
    double shift, scale, temperature;
    int64_t batch, steps;
    double lr;
} config;

static const gy_option options[] = {
    TEXT(encoder, "blocks of the encoder: size, xN: N of them, dN: means over N x N after it"),
    TEXT(decoder, "blocks of the decoder: size, xN: N of them, mN: takes in the state of size N"),
    INT(width, 1, 1 << 14, "channels"),
    INT(bottleneck, 1, 1 << 14, "channels inside a block"),
    INT(zdim, 1, 1024, "channels of a latent"),
    INT(mixtures, 1, 256, "components of the pixels' distribution"),
    INT(given, 0, GY_VDVAE_BLOCKS, "groups of latents that `decoded` is given; the others come from the prior"),
    REAL(shift, -1e3, 1e3, "the net sees scale (value + shift), values 0 to 255"),
    REAL(scale, 1e-9, 1e3, "see shift"),
    REAL(temperature, 0, 10, "factor of the standard deviations in `run`; 0: means"),
    INT(batch, 1, 4096, "pictures a step"),
    INT(steps, 1, 1e9, "training steps"),
    REAL(lr, 0, 1, "largest learning rate"),
    {NULL}};

static const config tiny = {.encoder = "16x2,16d2,8x2,8d2,4x2,4d4,1x1",
                            .decoder = "1x1,4m1,4x1,8m4,8x1,16m8,16x1",
                            .width = 32,
                            .bottleneck = 8,
                            .zdim = 4,
                            .mixtures = 3,
                            .given = 5,
                            .shift = -127.5,
                            .scale = 1 / 127.5,
                            .temperature = 1,
                            .batch = 32,
                            .steps = 1000,
                            .lr = 1e-3};
static const config imagenet64 = {.encoder = "64x11,64d2,32x20,32d2,16x9,16d2,8x8,8d2,4x7,4d4,1x5",
                                  .decoder = "1x2,4m1,4x3,8m4,8x7,16m8,16x15,32m16,32x31,64m32,64x12",
                                  .width = 512,
                                  .bottleneck = 128,
                                  .zdim = 16,
                                  .mixtures = 10,
                                  .given = 31,
                                  .shift = -115.92961967,
                                  .scale = 1 / 69.37404,
                                  .temperature = 1,
                                  .batch = 4,
                                  .steps = 1600000,
                                  .lr = 1.5e-4};
static const gy_config configs[] = {
    {"tiny", "16 x 16 pictures, 7 groups of latents", &tiny},
    {"imagenet64", "125,005,860 parameters, 64 x 64, 75 groups of latents", &imagenet64},
    {NULL}};

static gy_status spec_of(gy_ctx *ctx, const config *c, gy_vdvae_spec *s) {
    *s = (gy_vdvae_spec){.width = c->width, .bottleneck = c->bottleneck, .zdim = c->zdim, .mixtures = c->mixtures};
    return gy_vdvae_parse(ctx, c->encoder, c->decoder, s);
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    gy_vdvae_spec s;
    gy_status status = spec_of(ctx, c, &s);
    if (status == GY_OK && c->given > s.n_decoder)
        return gy_fail(ctx, GY_ERR_USAGE, "vdvae: given=%" PRId64 ": the decoder has %" PRId64 " groups of latents",
                       c->given, s.n_decoder);
    return status;
}

/* ---- the model ---- */

static bool parsed(gy_build *b, gy_vdvae_spec *s) {
    gy_ctx *ctx = gy_store_ctx(b->m->store);
    if (spec_of(ctx, b->cfg, s) == GY_OK) return true;
    gy_poison(b->m->g, GY_HERE, "%s", gy_error(ctx));
    return false;
}

/* The encoder's values of a picture [B, S, S, 3] in [-1, 1]. */
static gy_vdvae_state seen_of(gy_mod *m, const config *c, const gy_vdvae_spec *s, gy_t image) {
    gy_t x = gy_add_scalar(gy_scale(image, 127.5 * c->scale), (127.5 + c->shift) * c->scale);
    return gy_vdvae_encode(m, s, x);
}

/* Eq. (1), (3): pixels and latents in nats a colour value, one number a picture: [B]. */
static gy_t distortion(gy_t mixture, gy_t image, const config *c) {
    return gy_logistic_mixture_loss(mixture, image, c->mixtures);
}
static gy_t rate(const gy_vdvae_spec *s, const gy_vdvae_decoded *d, gy_t image) {
    gy_t sum = d->kl[0];
    for (int64_t i = 1; i < s->n_decoder; i++) sum = gy_add(sum, d->kl[i]);
    return gy_scale(sum, (double)gy_dim(image, 0) / (double)gy_count(image));
}

static gy_t picture(gy_mod *m, const config *c, const gy_vdvae_spec *s, gy_t x) {
    gy_t l = gy_vdvae_out(m, s, x);
    gy_shape size = gy_shape_of(x), pick = size;
    if (c->temperature == 0 || gy_graph_status(m->g) != GY_OK)
        return gy_logistic_mixture_sample(l, c->mixtures, GY_NONE, GY_NONE);
    size.dim[3] = 3;
    pick.dim[3] = c->mixtures;
    gy_t u = gy_random_uniform(m->g, "pixels", GY_F32, size, 1e-5, 1 - 1e-5);
    gy_t noise = gy_sub(gy_log(u), gy_log1p(gy_neg(u)));
    return gy_logistic_mixture_sample(l, c->mixtures, gy_random_gumbel(m->g, "component", GY_F32, pick), noise);
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_vdvae_spec s;
    gy_t given[GY_VDVAE_BLOCKS];
    if (!parsed(b, &s)) return;
    gy_t image = gy_input(m->g, "image", GY_F32, GY_S(b->batch, s.encoder[0].size, s.encoder[0].size, 3));
    gy_vdvae_state seen = seen_of(m, c, &s, image);
    gy_vdvae_decoded d = gy_vdvae_decode(m, &s, b->batch, &seen, .temperature = c->temperature);
    if (gy_graph_status(m->g) != GY_OK) return;
    gy_output(gy_vdvae_flat(&s, s.n_decoder, d.z), "latents"); /* [B, D] */
    gy_output(picture(m, c, &s, d.x), "reconstruction");       /* [B, S, S, 3] */
    gy_t pixels = distortion(gy_vdvae_out(m, &s, d.x), image, c);
    gy_output(gy_scale(gy_add(pixels, rate(&s, &d, image)), 1 / log(2.0)), "bits"); /* [B], a colour value */
    if (c->given) {
        gy_t z = gy_input(m->g, "given", GY_F32, GY_S(b->batch, gy_vdvae_latents(&s, c->given)));
        gy_vdvae_unflat(&s, c->given, z, given);
    }
    d = gy_vdvae_decode(m, &s, b->batch, NULL, c->given, given, c->temperature);
    gy_output(picture(m, c, &s, d.x), "decoded"); /* [B, S, S, 3] */
}

/* L = E [-log p(x | z) + KL(q(z | x) || p(z))] / elements of x */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_vdvae_spec s;
    if (!parsed(b, &s)) return;
    gy_t image = gy_input(m->g, "image", GY_F32, GY_S(b->batch, s.encoder[0].size, s.encoder[0].size, 3));
    gy_vdvae_state seen = seen_of(m, c, &s, image);
    gy_vdvae_decoded d = gy_vdvae_decode(m, &s, b->batch, &seen, .temperature = 1);
    if (gy_graph_status(m->g) != GY_OK) return;
    gy_t pixels = gy_mean(distortion(gy_vdvae_out(m, &s, d.x), image, c), GY_ALL);
    gy_t latents = gy_mean(rate(&s, &d, image), GY_ALL);
    gy_t loss = gy_add(pixels, latents);
    gy_output(loss, "loss");
    gy_output(latents, "rate");
    gy_optim_adamw(m->g, m->store, loss, .weight_decay = 0.01, .decays = gy_decays_matrices, .clip_norm = 1);
}

/* ---- data: pictures are functions of seed and step ---- */

static gy_status open_data(gy_job *j) {
    const config *c = j->cfg;
    gy_vdvae_spec s;
    gy_status status = spec_of(j->ctx, c, &s);
    if (status != GY_OK) return status;
    if (s.encoder[0].size != GY_SHAPES16)
        return gy_fail(j->ctx, GY_ERR_USAGE, "vdvae: generated pictures are %d x %d, the net's %" PRId64 " x %" PRId64,
                       GY_SHAPES16, GY_SHAPES16, s.encoder[0].size, s.encoder[0].size);
    j->data = gy_calloc(j->ctx, 1, 1);
    if (!j->data) return GY_ERR_NOMEM;
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps;
    snprintf(j->data_label, sizeof j->data_label, "generated");
    j->data_hash = gy_hash_str("shapes16", j->seed);
    return GY_OK;
}

static void close_data(gy_job *j) {
    gy_free(j->ctx, j->data);
    j->data = NULL;
}

/* n pictures of stream `name`, in 256 steps as pictures are. */
static void draw(const gy_job *j, const char *name, int64_t n, float *image) {
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    for (int64_t i = 0; i < n; i++) {
        gy_scene s = gy_scene_draw(&r, 0.5);
        gy_scene_image(&s, &r, image + i * GY_SHAPES16_SIZE);
    }
    for (int64_t i = 0; i < n * GY_SHAPES16_SIZE; i++) {
        float v = roundf((image[i] + 1.0f) * 127.5f);
        image[i] = fminf(fmaxf(v, 0.0f), 255.0f) / 127.5f - 1.0f;
    }
}

static gy_status batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    char name[48];
    (void)phase;
    snprintf(name, sizeof name, "batch.%lld", (long long)step);
    draw(j, name, j->batch, gy_plan_input(p, "image"));
    return GY_OK;
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {GY_SCHEDULE_COSINE, .lr = c->lr, .warmup = 20, .total = j->steps, .min = c->lr / 100};
    (void)phase;
    return gy_schedule_lr(&s, step);
}

/* ---- metrics ---- */

/* Pearson's r over the elements of each picture, a mean over n pictures. */
static double likeness(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += gy_pearson(a + i * GY_SHAPES16_SIZE, b + i * GY_SHAPES16_SIZE, GY_SHAPES16_SIZE, 1);
    return sum / (double)n;
}

static gy_status evaluate(gy_job *j, gy_metrics *out) {
    enum { N = 32 };
    gy_compiled net;
    gy_status s = gy_job_compile(j, N, NULL, 0, &net);
    if (s != GY_OK) return s;
    float *x = gy_plan_input(net.plan, "image"), *given = gy_plan_input(net.plan, "given");
    draw(j, "evaluate", N, x);
    gy_plan_set_rng(net.plan, j->seed, 0);
    s = gy_plan_run(net.plan);
    if (s == GY_OK && given) { /* once more: the pictures' own first groups, the rest from the prior */
        gy_tensor z = gy_plan_output(net.plan, "latents");
        int64_t all = z.shape.dim[1], first = 0;
        gy_vdvae_spec spec;
        const config *c = j->cfg;
        s = spec_of(j->ctx, c, &spec);
        if (s == GY_OK) first = gy_vdvae_latents(&spec, c->given);
        for (int64_t i = 0; s == GY_OK && i < N; i++)
            memcpy(given + i * first, (const float *)z.data + i * all, (size_t)first * sizeof *given);
        if (s == GY_OK) s = gy_plan_run(net.plan);
    }
    if (s == GY_OK) {
        const float *bits = gy_plan_output(net.plan, "bits").data;
        double sum = 0;
        for (int64_t i = 0; i < N; i++) sum += (double)bits[i];
        gy_metric_add(out, "bits", sum / N, 8.0, "bits a value");
        gy_metric_add(out, "pixcorr", likeness(x, gy_plan_output(net.plan, "reconstruction").data, N), 0.0, "r");
        if (given)
            gy_metric_add(out, "pixcorr_given", likeness(x, gy_plan_output(net.plan, "decoded").data, N), 0.0, "r");
    }
    gy_compiled_free(&net);
    return s;
}

/* The paper's code saves what wraps the net for several devices. */
static const gy_weight_rule rules[] = {{"*", "module.*"}, {0}};

static const char *const equations[] = {
    "eq. (1): q_i = N(mu, e^s)(x_i, encoder(picture)_r), p_i = N(mu, e^s)(x_i), x_i: the state of size r before group "
    "i",
    "eq. (2): x_{i+1} = resnet(x_i + h_i + W z_i), z_i ~ q_i, or ~ p_i, or given",
    "eq. (3): L = (-log p(picture | z) + sum_i KL(q_i || p_i)) / elements, p: a mixture of discretised logistics",
    NULL};

const gy_model_def gy_model_vdvae = {
    .slug = "vdvae",
    .family = "decoding",
    .title = "Very deep VAE",
    .cite = "Child, Very Deep VAEs Generalize Autoregressive Models and Can Outperform Them on Images, ICLR 2021, "
            "arXiv:2011.10650",
    .job = "a picture in, groups of latents from coarse to fine, and back",
    .year = 2021,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .check = check,
    .weights = rules,
    .build = build,
    .objective = objective,
    .open = open_data,
    .close = close_data,
    .batch = batch,
    .lr = lr,
    .evaluate = evaluate,
};
