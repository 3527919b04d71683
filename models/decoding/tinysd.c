/* tinySD: Stable Diffusion in miniature, trained from nothing in minutes.
 *
 * Rombach et al.: "High-Resolution Image Synthesis with Latent Diffusion Models", CVPR 2022, arXiv:2112.10752, with
 * classifier-free guidance (Ho, Salimans 2022, arXiv:2207.12598). A U-Net in the grammar of Stable Diffusion 1.x
 * (models/ blocks/unet.h), a hundred thousandth of its work, makes 16 x 16 pictures of coloured shapes from captions of
 * eight tokens. Decoders of brain activity steer it where their papers steer the large one.
 *
 * The claim: the picture shows what the caption says. An oracle that is never wrong on clean pictures
 * (data/synthbrain.h) reads generated ones: the colour asked for in at least 90 of 100, the shape in 85, as many
 * objects as asked for, and of two objects both in 30. Where they are is left to chance, on purpose: captions do not
 * say. Ablation `text` blanks every caption, and the colours fall to chance. */
#include "../../core/gyrus.h"
#include "../../io/report/html.h"
#include "../blocks/options.h"
#include "../blocks/tinysd.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- configuration ---- */

typedef struct config {
    int64_t batch, steps, warmup, prompts;
    double lr, weight_decay, two, drop, guidance;
} config;

static const gy_option options[] = {
    INT(batch, 1, 4096, "pictures a step"),
    INT(steps, 1, 1e9, "training steps"),
    INT(warmup, 0, 1e6, "steps in which the learning rate rises"),
    INT(prompts, 4, 4096, "pictures that eval generates of one object, and as many of two"),
    REAL(lr, 0, 1, "largest learning rate; falls to 1e-5 along a cosine"),
    REAL(weight_decay, 0, 1, "of matrices"),
    REAL(two, 0, 1, "share of training pictures with two objects"),
    REAL(drop, 0, 1, "share of captions that are blanked, for guidance"),
    REAL(guidance, 0, 100, "weight w of guidance: e_u + w (e_c - e_u)"),
    {NULL}};

static const config tiny = {.batch = 64,
                            .steps = 1200,
                            .warmup = 100,
                            .prompts = 128,
                            .lr = 2e-3,
                            .weight_decay = 1e-4,
                            .two = 0.5,
                            .drop = 0.1,
                            .guidance = 2};
static const gy_config configs[] = {{"tiny", "0.23 million parameters, 16 x 16 pictures", &tiny}, {NULL}};
static const char *const ablations[] = {"text - every caption is blank: the model cannot know what to draw", NULL};

/* ---- the model ---- */

/* eps_theta(x, t, caption) [B, 16, 16, 3] */
static gy_t network(gy_build *b, gy_t x, gy_t t, gy_t tokens) {
    gy_unet_spec spec = gy_tinysd_unet();
    if (b->ablate) tokens = gy_mul(tokens, gy_full(b->m->g, GY_I64, GY_S0, 0));
    return gy_unet(b->m, &spec, x, t, gy_tinysd_text(b->m, tokens));
}

static void build(gy_build *b) {
    gy_graph *g = b->m->g;
    gy_t x = gy_input(g, "image", GY_F32, GY_S(b->batch, GY_SHAPES16, GY_SHAPES16, 3)); /* [B, 16, 16, 3], noised */
    gy_t t = gy_input(g, "timestep", GY_F32, GY_S(b->batch));                           /* [B], 0 .. 999 */
    gy_t tokens = gy_input(g, "tokens", GY_I64, GY_S(b->batch, GY_TINYSD_TOKENS));      /* [B, 8] */
    gy_output(network(b, x, t, tokens), "noise");                                       /* [B, 16, 16, 3] */
}

/* Eq. (2): L = E |eps - eps_theta(x_t, t, caption)|^2 */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_noise noise;
    gy_tinysd_noise(&noise);
    gy_t x0 = gy_input(m->g, "image", GY_F32, GY_S(b->batch, GY_SHAPES16, GY_SHAPES16, 3));
    gy_t tokens = gy_input(m->g, "tokens", GY_I64, GY_S(b->batch, GY_TINYSD_TOKENS));
    gy_noised n = gy_noise_batch(m, &noise, x0, GY_PREDICT_EPS);
    gy_t loss = gy_mse(network(b, n.x, n.t, tokens), n.target, GY_LOSS_MEAN);
    gy_output(loss, "loss");
    gy_optim_adamw(m->g, m->store, loss, .weight_decay = c->weight_decay, .decays = gy_decays_matrices, .clip_norm = 1);
}

/* ---- data: pictures and captions are functions of seed and step ---- */

static gy_status open_data(gy_job *j) {
    const config *c = j->cfg;
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

static gy_status batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    float *image = gy_plan_input(p, "image");
    int64_t *tokens = gy_plan_input(p, "tokens");
    char name[48];
    (void)phase;
    snprintf(name, sizeof name, "batch.%lld", (long long)step);
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    for (int64_t i = 0; i < j->batch; i++) {
        gy_scene s = gy_scene_draw(&r, c->two);
        gy_scene_image(&s, &r, image + i * GY_SHAPES16_SIZE);
        if (gy_rng_uniform(&r) < c->drop) s.n = 0;
        gy_tinysd_caption(&s, tokens + i * GY_TINYSD_TOKENS);
    }
    return GY_OK;
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {GY_SCHEDULE_COSINE, .lr = c->lr, .warmup = c->warmup, .total = j->steps, .min = 1e-5};
    (void)phase;
    return gy_schedule_lr(&s, step);
}

/* ---- generating ---- */

/* n pictures of n scenes' captions: images [n, 16, 16, 3] in about [-1, 1]. The plan holds 2 n rows: blank captions,
 * then these. */
static gy_status generate(gy_job *j, int64_t n, const gy_scene *scenes, uint64_t seed, float *images) {
    const config *c = j->cfg;
    gy_compiled net;
    gy_noise noise;
    gy_status s = gy_job_compile(j, 2 * n, NULL, 0, &net);
    if (s != GY_OK) return s;
    int64_t *tokens = gy_plan_input(net.plan, "tokens");
    if (tokens) {
        memset(tokens, 0, (size_t)(n * GY_TINYSD_TOKENS) * sizeof *tokens);
        for (int64_t i = 0; i < n; i++) gy_tinysd_caption(&scenes[i], tokens + (n + i) * GY_TINYSD_TOKENS);
    }
    gy_tinysd_noise(&noise);
    gy_denoise_plan d = {net.plan, "image", "timestep", "noise", n * GY_SHAPES16_SIZE, c->guidance};
    gy_sampler sampler = gy_tinysd_sampler(j->ctx, &noise, n, seed);
    sampler.denoise = gy_denoise_by_plan;
    sampler.user = &d;
    double *x = gy_calloc(j->ctx, (size_t)sampler.n, sizeof *x);
    s = x ? gy_sampler_start(&sampler, NULL, x) : GY_ERR_NOMEM;
    if (s == GY_OK) s = gy_sampler_run(&sampler, x);
    for (int64_t i = 0; s == GY_OK && i < sampler.n; i++) images[i] = (float)x[i];
    gy_free(j->ctx, x);
    gy_compiled_free(&net);
    return s;
}

enum { CHUNK = 64 };

/* The next n <= CHUNK scenes of `r` and their pictures. */
static gy_status draw_and_generate(gy_job *j, gy_rng *r, int64_t n, double two, gy_scene *scenes, float *images) {
    for (int64_t i = 0; i < n; i++) scenes[i] = gy_scene_draw(r, two);
    return generate(j, n, scenes, j->seed + gy_rng_u32(r), images);
}

static gy_status sample(gy_job *j, int64_t n, gy_tensor *out) {
    gy_scene scenes[CHUNK];
    gy_rng r;
    gy_rng_init(&r, j->seed, "sample");
    gy_status s = gy_tensor_new(j->ctx, out, GY_F32, GY_S(n, GY_SHAPES16, GY_SHAPES16, 3));
    float *image = out->data;
    for (int64_t done = 0; s == GY_OK && done < n; done += CHUNK)
        s = draw_and_generate(j, &r, n - done < CHUNK ? n - done : CHUNK, 0.5, scenes, image + done * GY_SHAPES16_SIZE);
    for (int64_t i = 0; s == GY_OK && i < n * GY_SHAPES16_SIZE; i++)
        image[i] = fminf(fmaxf(0.5f * image[i] + 0.5f, 0.0f), 1.0f);
    if (s != GY_OK) gy_tensor_free(j->ctx, out);
    return s;
}

/* ---- metrics ---- */

typedef struct tally {
    double n, colour, shape, objects, placed, first, both;
} tally;

static gy_status judge(gy_job *j, double two, tally *t) {
    const config *c = j->cfg;
    gy_scene scenes[CHUNK];
    gy_rng r;
    gy_rng_init(&r, j->seed, two > 0 ? "prompts of two" : "prompts of one");
    float *images = gy_calloc(j->ctx, CHUNK * GY_SHAPES16_SIZE, sizeof *images);
    gy_status s = images ? GY_OK : GY_ERR_NOMEM;
    for (int64_t done = 0; s == GY_OK && done < c->prompts; done += CHUNK) {
        int64_t n = c->prompts - done < CHUNK ? c->prompts - done : CHUNK;
        s = draw_and_generate(j, &r, n, two, scenes, images);
        for (int64_t i = 0; s == GY_OK && i < n; i++) {
            gy_tinysd_verdict v = gy_tinysd_judge(&scenes[i], images + i * GY_SHAPES16_SIZE);
            t->n++;
            t->colour += v.colour;
            t->shape += v.shape;
            t->objects += v.objects;
            t->placed += v.placed;
            t->first += v.present[0];
            t->both += v.present[0] && v.present[1];
        }
    }
    gy_free(j->ctx, images);
    return s;
}

/* Mean squared error of eps over 512 fresh pictures, t uniform. */
static gy_status held_out(gy_job *j, double *mse) {
    gy_compiled net;
    gy_noise noise;
    gy_status s = gy_job_compile(j, CHUNK, NULL, 0, &net);
    if (s != GY_OK) return s;
    gy_tinysd_noise(&noise);
    gy_rng r;
    gy_rng_init(&r, j->seed, "held out");
    float *x = gy_plan_input(net.plan, "image"), *t = gy_plan_input(net.plan, "timestep");
    int64_t *tokens = gy_plan_input(net.plan, "tokens");
    float *eps = gy_calloc(j->ctx, CHUNK * GY_SHAPES16_SIZE, sizeof *eps);
    double sum = 0;
    if (!eps) s = GY_ERR_NOMEM;
    for (int64_t done = 0; s == GY_OK && done < 512; done += CHUNK) {
        for (int64_t i = 0; i < CHUNK; i++) {
            gy_scene scene = gy_scene_draw(&r, 0.5);
            float *row = x + i * GY_SHAPES16_SIZE, *e = eps + i * GY_SHAPES16_SIZE;
            gy_scene_image(&scene, &r, row);
            if (tokens) gy_tinysd_caption(&scene, tokens + i * GY_TINYSD_TOKENS);
            t[i] = (float)gy_rng_below(&r, 1000);
            double a = gy_noise_alpha(&noise, t[i]), b = gy_noise_sigma(&noise, t[i]);
            for (int64_t k = 0; k < GY_SHAPES16_SIZE; k++) {
                e[k] = (float)gy_rng_normal(&r);
                row[k] = (float)(a * row[k] + b * e[k]);
            }
        }
        if ((s = gy_plan_run(net.plan)) != GY_OK) break;
        const float *y = gy_plan_output(net.plan, "noise").data;
        for (int64_t i = 0; i < CHUNK * GY_SHAPES16_SIZE; i++) sum += (double)(y[i] - eps[i]) * (double)(y[i] - eps[i]);
    }
    *mse = sum / (512.0 * GY_SHAPES16_SIZE);
    gy_free(j->ctx, eps);
    gy_compiled_free(&net);
    return s;
}

static gy_status evaluate(gy_job *j, gy_metrics *out) {
    tally one = {0}, two = {0};
    double mse = 0;
    gy_status s = held_out(j, &mse);
    if (s == GY_OK) s = judge(j, 0, &one);
    if (s == GY_OK) s = judge(j, 1, &two);
    if (s != GY_OK) return s;
    gy_metric_add(out, "eps_mse", mse, 1.0, "");
    gy_metric_add(out, "colour", one.colour / one.n, 0.25, "share");
    gy_metric_add(out, "shape", one.shape / one.n, 1.0 / 3, "share");
    gy_metric_add(out, "objects", one.objects / one.n, NAN, "of 1");
    gy_metric_add(out, "placed", one.placed / one.n, 0.25, "share");
    gy_metric_add(out, "both_of_two", two.both / two.n, NAN, "share");
    gy_metric_add(out, "objects_of_two", two.objects / two.n, NAN, "of 2");
    return GY_OK;
}

/* ---- the report: what was asked for above what was drawn ---- */

enum { SHOWN = 12, ENLARGED = 6 };

static gy_status show(gy_job *j, gy_report *report, const gy_scene *scenes, const float *images, uint8_t *pixels) {
    char text[SHOWN][64], command[96];
    const char *names[SHOWN];
    gy_image picture[SHOWN];
    int64_t side = GY_SHAPES16 * ENLARGED;
    for (int i = 0; i < SHOWN; i++) {
        picture[i] = (gy_image){side, side, 3, 8, pixels + i * side * side * 3};
        gy_tinysd_enlarge(images + i * GY_SHAPES16_SIZE, ENLARGED, picture[i].pixels);
        gy_tinysd_words(&scenes[i], text[i], sizeof text[i]);
        names[i] = text[i];
    }
    snprintf(command, sizeof command, "gyrus train tinysd --seed %" PRIu64, j->seed);
    gy_pictures figure = {
        .head = {.title = "Captions and what was drawn for them",
                 .caption =
                     "Each picture was made from noise by 20 steps of guided denoising; its caption stands with it. "
                     "Captions do not say where things are.",
                 .alt = "twelve small pictures of coloured shapes, each named by its caption",
                 .command = command,
                 .n = SHOWN,
                 .n_of = "captions",
                 .chance = gy_no_chance(),
                 .side = GY_SIDE_NONE},
        .value = {.label = "colour", .unit = GY_NO_UNIT},
        .images = picture,
        .names = names,
        .n_images = SHOWN};
    gy_figure f;
    gy_status s = gy_figure_pictures(j->ctx, &figure, &f);
    if (s != GY_OK) return s;
    s = gy_report_figure(report, "samples", &f);
    gy_figure_free(j->ctx, &f);
    return s;
}

static gy_status panels(gy_job *j, void *report) {
    gy_scene scenes[SHOWN];
    gy_rng r;
    gy_rng_init(&r, j->seed, "panel");
    gy_report_plan(report, "samples", "pictures drawn for captions");
    float *images = gy_calloc(j->ctx, SHOWN * GY_SHAPES16_SIZE, sizeof *images);
    uint8_t *pixels = gy_calloc(j->ctx, SHOWN * GY_SHAPES16_SIZE * ENLARGED * ENLARGED, 1);
    gy_status s = images && pixels ? draw_and_generate(j, &r, SHOWN, 0.5, scenes, images) : GY_ERR_NOMEM;
    if (s == GY_OK) s = gy_report_section(report, "Text to picture");
    if (s == GY_OK) s = show(j, report, scenes, images, pixels);
    gy_free(j->ctx, images);
    gy_free(j->ctx, pixels);
    return s;
}

/* ---- the claim ---- */

static gy_status claim(gy_job *j, gy_claim *out) {
    gy_status s = gy_job_open(j);
    if (s == GY_OK) s = gy_job_train(j);
    if (s == GY_OK) s = evaluate(j, &out->details);
    if (s != GY_OK) return s;
    const gy_metrics *m = &out->details;
    out->metric = "share of pictures with an object of the colour in the caption";
    out->value = gy_metric_get(m, "colour");
    out->baseline = out->chance = 0.25;
    out->threshold = 0.9;
    out->pass = out->value >= 0.9 && gy_metric_get(m, "shape") >= 0.85 &&
                fabs(gy_metric_get(m, "objects") - 1.0) <= 0.1 && gy_metric_get(m, "both_of_two") >= 0.3;
    return GY_OK;
}

static const char *const equations[] = {
    "eq. (1): x_t = sqrt(abar_t) x_0 + sqrt(1 - abar_t) eps",
    "eq. (2): L = E |eps - eps_theta(x_t, t, caption)|^2, one caption in ten blank",
    "eq. (3): eps = e_u + w (e_c - e_u), w = 2",
    "eq. (4): x' = sqrt(abar') x_0 + sqrt(1 - abar') eps, x_0 = (x - sqrt(1 - abar) eps) / sqrt(abar) in [-1.2, 1.2]",
    NULL};

const gy_model_def gy_model_tinysd = {
    .slug = "tinysd",
    .family = "decoding",
    .title = "Stable Diffusion in miniature",
    .cite = "Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, CVPR 2022, arXiv:2112.10752",
    .job = "a caption of coloured shapes in, a picture of them out",
    .year = 2022,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .build = build,
    .objective = objective,
    .open = open_data,
    .close = close_data,
    .batch = batch,
    .lr = lr,
    .evaluate = evaluate,
    .panels = panels,
    .sample = sample,
    .claim = claim,
};
