/* Masked autoencoder: learning to see by filling in what was hidden.
 *
 * He, Chen, Xie, Li, Dollar, Girshick: "Masked Autoencoders Are Scalable Vision Learners", CVPR 2022, arXiv:2111.06377.
 *
 * Three quarters of a picture's patches are dropped at random; a transformer encodes the others; a small second one
 * paints the missing patches from these codes and their places. Nothing is labelled, yet to fill in a shape the encoder
 * must know what shapes there are. The miniature sees pictures of coloured squares, rings and crosses, whose truth is
 * known: a judge says how often the painted picture holds the right objects. The public weights load by name.
 *
 * Inferred, not stated by the paper: the sizes of the miniature. */
#include "../../data/synthbrain.h"
#include "../../io/formats/npy.h"
#include "../blocks/vit.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct config {
    gy_mae_config model;
    int64_t batch, steps;
    double lr, warmup, weight_decay;
} config;

#define INT(member, name, lo, hi, help)                                                                                \
    { name, help, GY_OPT_INT, offsetof(config, member), lo, hi }
#define REAL(member, name, lo, hi, help)                                                                               \
    { name, help, GY_OPT_REAL, offsetof(config, member), lo, hi }
static const gy_option options[] = {
    INT(model.image, "image", 1, 1 << 14, "pixels a side"),
    INT(model.patch, "patch", 1, 1 << 12, "pixels a side of a patch"),
    INT(model.width, "width", 4, 1 << 16, "of the encoder"),
    INT(model.layers, "layers", 1, 1024, "blocks of the encoder"),
    INT(model.heads, "heads", 1, 1024, "attention heads of its blocks"),
    INT(model.inner, "inner", 1, 1 << 20, "neurons of its MLPs"),
    INT(model.decoder_width, "decoder_width", 4, 1 << 16, "of the decoder"),
    INT(model.decoder_layers, "decoder_layers", 1, 1024, "blocks of the decoder"),
    INT(model.decoder_heads, "decoder_heads", 1, 1024, "attention heads of its blocks"),
    INT(model.decoder_inner, "decoder_inner", 1, 1 << 20, "neurons of its MLPs"),
    REAL(model.mask_ratio, "mask_ratio", 0, 0.99, "share of the patches that is hidden"),
    INT(model.normalise, "normalise", 0, 1, "targets: patches brought to mean 0, variance 1"),
    INT(batch, "batch", 1, 1 << 16, "pictures of a step"),
    INT(steps, "steps", 1, 1e9, "training steps"),
    REAL(lr, "lr", 0, 10, "largest learning rate"),
    REAL(warmup, "warmup", 0, 1, "share of the steps in which it rises"),
    REAL(weight_decay, "weight_decay", 0, 10, "of matrices"),
    {NULL},
};

/* A shape is two patches wide: with half of them hidden there is mostly something of it to go by. */
static const config tiny = {{16, 4, 3, 48, 3, 4, 96, 32, 2, 4, 64, 0.5, 0, 1e-12}, 64, 1000, 2e-3, 0.05, 0.05};
/* Appendix A.1 at one picture a step; the paper's batch is 4096. */
#define FULL(...)                                                                                                      \
    { {__VA_ARGS__}, 1, 250000, 1.5e-4, 0.05, 0.05 }
static const config base = FULL(GY_MAE_BASE), large = FULL(GY_MAE_LARGE), huge = FULL(GY_MAE_HUGE);
static const gy_config configs[] = {
    {"tiny", "pictures of 16 x 16 pixels, 16 patches, half of them hidden: trains in a minute", &tiny},
    {"base", "ViT-B/16: 111,907,840 parameters", &base},
    {"large", "ViT-L/16: 329,541,888 parameters", &large},
    {"huge", "ViT-H/14: 657,074,508 parameters", &huge},
    {NULL}};

static int64_t patches(const config *c) {
    return c->model.image / c->model.patch * (c->model.image / c->model.patch);
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const gy_mae_config *c = &((const config *)cfg)->model;
    if (c->image % c->patch || c->width % 4 || c->decoder_width % 4 || c->width % c->heads ||
        c->decoder_width % c->decoder_heads)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "vit-mae: image=%" PRId64 ": expected a multiple of patch=%" PRId64 "; width=%" PRId64
                       ", decoder_width=%" PRId64 ": multiples of 4 and of heads=%" PRId64 ", decoder_heads=%" PRId64,
                       c->image, c->patch, c->width, c->decoder_width, c->heads, c->decoder_heads);
    if ((int64_t)((double)patches(cfg) * (1 - c->mask_ratio)) < 1)
        return gy_fail(ctx, GY_ERR_USAGE, "vit-mae: mask_ratio=%g hides all %" PRId64 " patches", c->mask_ratio,
                       patches(cfg));
    return GY_OK;
}

/* ---- the model ---- */

static gy_t pixels_of(gy_build *b) {
    const config *c = b->cfg;
    return gy_input(b->m->g, "pixels", GY_F32, GY_S(b->batch, c->model.image, c->model.image, 3));
}

/* noise [B, L]: the patches with the smallest values are seen. Outputs as transformers names them. */
static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_t pixels = pixels_of(b), noise = gy_input(b->m->g, "noise", GY_F32, GY_S(b->batch, patches(c)));
    gy_mae e = gy_mae_encode(b->m, &c->model, pixels, noise);
    gy_t predicted = gy_mae_decode(b->m, &c->model, e);
    gy_output(e.states, "states");  /* [B, 1 + kept, d] */
    gy_output(e.mask, "mask");      /* [B, L], 1: hidden */
    gy_output(predicted, "logits"); /* [B, L, patch patch 3] */
    gy_output(gy_mae_loss(&c->model, pixels, predicted, e.mask), "loss");
}

static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_t pixels = pixels_of(b);
    gy_t noise = gy_random_uniform(b->m->g, "noise", GY_F32, GY_S(b->batch, patches(c)), 0, 1);
    gy_mae e = gy_mae_encode(b->m, &c->model, pixels, noise);
    gy_t loss = gy_mae_loss(&c->model, pixels, gy_mae_decode(b->m, &c->model, e), e.mask);
    gy_output(loss, "loss");
    gy_optim_adamw(b->m->g, b->m->store, loss, .beta2 = 0.95, .weight_decay = c->weight_decay,
                   .decays = gy_decays_matrices, .clip_norm = 1.0);
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    (void)phase;
    gy_schedule s = {
        .kind = GY_SCHEDULE_COSINE, .lr = c->lr, .warmup = (int64_t)(c->warmup * (double)j->steps), .total = j->steps};
    return gy_schedule_lr(&s, step);
}

/* ---- data: generated scenes, new ones at every step; or pictures from a file ---- */

enum { HELD_OUT = 256 };

typedef struct album {
    gy_tensor file;  /* [N, image, image, 3] f32; none: scenes are drawn */
    int64_t n, held; /* pictures of the file; the last `held` are held out */
} album;

static void close_album(gy_job *j) {
    album *d = j->data;
    if (d) gy_tensor_free(j->ctx, &d->file);
    gy_free(j->ctx, d);
    j->data = NULL;
}

static gy_status read_album(gy_job *j, album *d) {
    const config *c = j->cfg;
    gy_tensor t;
    char text[GY_SHAPE_TEXT];
    gy_status s = gy_npy_read(j->ctx, j->data_path, &t);
    if (s != GY_OK) return s;
    if (!gy_shape_equal(t.shape, GY_S(t.shape.dim[0], c->model.image, c->model.image, 3)) || t.shape.dim[0] < 2)
        s = gy_fail(j->ctx, GY_ERR_SHAPE,
                    "%s: expected two or more pictures [N, %" PRId64 ", %" PRId64 ", 3], found %s", j->data_path,
                    c->model.image, c->model.image, gy_shape_text(t.shape, text));
    if (s == GY_OK) s = gy_tensor_cast(j->ctx, &t, GY_F32, &d->file);
    d->n = t.shape.dim[0];
    d->held = d->n / 10 > 0 ? d->n / 10 : 1;
    if (s == GY_OK) j->data_hash = gy_hash(d->file.data, gy_tensor_bytes(&d->file), 0);
    gy_tensor_free(j->ctx, &t);
    return s;
}

static gy_status open_album(gy_job *j) {
    const config *c = j->cfg;
    album *d = j->data = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    d->held = HELD_OUT;
    snprintf(j->data_label, sizeof j->data_label, "generated");
    if (!j->data_path && c->model.image != GY_SHAPES16)
        return gy_fail(j->ctx, GY_ERR_USAGE,
                       "vit-mae: generated pictures are %d pixels a side, image=%" PRId64 "; give pictures with --data",
                       GY_SHAPES16, c->model.image);
    if (j->data_path) {
        const char *slash = strrchr(j->data_path, '/');
        snprintf(j->data_label, sizeof j->data_label, "%s", slash ? slash + 1 : j->data_path);
        gy_status s = read_album(j, d);
        if (s != GY_OK) return s;
    }
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps;
    return GY_OK;
}

/* Picture i of the stream (seed, name), or of the file from `first` on; `scene` gets its truth (NULL: not wanted). */
static void picture(const gy_job *j, const char *name, gy_rng *r, int64_t i, gy_scene *scene, float *out) {
    const album *d = j->data;
    const config *c = j->cfg;
    size_t size = (size_t)(c->model.image * c->model.image * 3);
    if (d->n) {
        int64_t first = strcmp(name, "test") == 0 ? d->n - d->held : 0, many = first ? d->held : d->n - d->held;
        int64_t k = first ? i % many : gy_rng_below(r, many);
        memcpy(out, (const float *)d->file.data + (size_t)(first + k) * size, size * sizeof *out);
        return;
    }
    gy_scene s = gy_scene_draw(r, 0.5);
    gy_scene_image(&s, r, out);
    if (scene) *scene = s;
}

static gy_status batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    float *pixels = gy_plan_input(p, "pixels");
    char name[48];
    gy_rng r;
    (void)phase;
    snprintf(name, sizeof name, "batch.%" PRId64, step);
    gy_rng_init(&r, j->seed, name);
    for (int64_t i = 0; i < j->batch; i++)
        picture(j, name, &r, i, NULL, pixels + i * c->model.image * c->model.image * 3);
    return GY_OK;
}

/* ---- metrics ---- */

/* Held-out pictures with their painted versions: hidden patches as predicted, seen ones as they are. */
typedef struct gallery {
    int64_t n;
    float *truth, *seen, *painted; /* [n, image, image, 3]; seen: hidden patches are 0 */
    gy_scene *scene;
    double error, variance; /* of hidden pixels: mean square of the prediction, and of the visible pixels' mean */
} gallery;

static void gallery_free(gy_ctx *ctx, gallery *g) {
    gy_free(ctx, g->truth);
    gy_free(ctx, g->seen);
    gy_free(ctx, g->painted);
    gy_free(ctx, g->scene);
}

/* One picture of the gallery from the predicted patches and the mask. */
static void paint(const config *c, gallery *g, int64_t i, const float *patch, const float *mask) {
    int64_t s = c->model.image, p = c->model.patch, grid = s / p;
    float *truth = g->truth + i * s * s * 3, *seen = g->seen + i * s * s * 3, *painted = g->painted + i * s * s * 3;
    double sum[3] = {0}, error = 0, variance = 0;
    int64_t visible = 0, hidden = 0;
    for (int pass = 0; pass < 2; pass++) /* the mean of what is seen, then the errors of what is not */
        for (int64_t y = 0; y < s; y++)
            for (int64_t x = 0; x < s; x++) {
                int64_t l = y / p * grid + x / p, at = (y * s + x) * 3;
                bool hide = mask[l] > 0.5f;
                if (!pass) visible += !hide;
                if (pass) hidden += hide;
                for (int64_t k = 0; k < 3; k++) {
                    float t = truth[at + k], q = patch[((l * p + y % p) * p + x % p) * 3 + k];
                    if (!pass) {
                        if (!hide) sum[k] += t;
                        seen[at + k] = hide ? 0 : t;
                        painted[at + k] = hide ? q : t;
                    } else if (hide) {
                        double mean = sum[k] / (double)visible;
                        error += (t - q) * (t - q);
                        variance += (t - mean) * (t - mean);
                    }
                }
            }
    g->error += error / (double)(3 * hidden * g->n);
    g->variance += variance / (double)(3 * hidden * g->n);
}

static gy_status visit(gy_job *j, int64_t n, gallery *g) {
    const config *c = j->cfg;
    size_t size = (size_t)(c->model.image * c->model.image * 3);
    gy_compiled k;
    gy_rng r, places;
    *g = (gallery){.n = n};
    g->truth = gy_malloc(j->ctx, (size_t)n * size * sizeof(float));
    g->seen = gy_malloc(j->ctx, (size_t)n * size * sizeof(float));
    g->painted = gy_malloc(j->ctx, (size_t)n * size * sizeof(float));
    g->scene = gy_calloc(j->ctx, (size_t)n, sizeof *g->scene);
    if (!g->truth || !g->seen || !g->painted || !g->scene) return GY_ERR_NOMEM;
    gy_status s = gy_job_compile(j, 1, NULL, 0, &k);
    if (s != GY_OK) return s;
    gy_rng_init(&r, j->seed, "test");
    gy_rng_init(&places, j->seed, "test.noise");
    float *pixels = gy_plan_input(k.plan, "pixels"), *noise = gy_plan_input(k.plan, "noise");
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        float *truth = g->truth + (size_t)i * size;
        picture(j, "test", &r, i, &g->scene[i], truth);
        memcpy(pixels, truth, size * sizeof(float));
        for (int64_t l = 0; l < patches(c); l++) noise[l] = (float)gy_rng_uniform(&places);
        s = gy_plan_run(k.plan);
        if (s == GY_OK) paint(c, g, i, gy_plan_output(k.plan, "logits").data, gy_plan_output(k.plan, "mask").data);
    }
    gy_compiled_free(&k);
    return s;
}

/* Share of the pictures' objects that the judge finds in their quadrants, by shape and colour. */
static double found(const gallery *g, const float *pictures) {
    int64_t right = 0, all = 0;
    for (int64_t i = 0; i < g->n; i++) {
        int label[4];
        gy_scene_oracle(pictures + i * GY_SHAPES16_SIZE, label);
        for (int k = 0; k < g->scene[i].n; k++, all++) {
            const gy_object *o = &g->scene[i].object[k];
            right += label[o->quadrant] == 4 * o->shape + o->colour;
        }
    }
    return (double)right / (double)all;
}

static gy_status evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    const album *d = j->data;
    gallery g;
    gy_status s = visit(j, d->held, &g);
    if (s == GY_OK && !c->model.normalise) {
        gy_metric_add(out, "hidden_mse", g.error, g.variance, "");
        gy_metric_add(out, "explained", 1 - g.error / g.variance, 0, "");
        /* chance: the judge sees the visible patches alone */
        if (!d->n) gy_metric_add(out, "objects_found", found(&g, g.painted), found(&g, g.seen), "accuracy");
    }
    gallery_free(j->ctx, &g);
    return s;
}

/* n rows of three pictures: the truth, what the encoder sees, what the decoder paints. */
static gy_status sample(gy_job *j, int64_t n, gy_tensor *out) {
    const config *c = j->cfg;
    int64_t s = c->model.image;
    gallery g = {0};
    gy_status st =
        j->data ? GY_OK : gy_job_open(j); /* it paints what is hidden of pictures, so there have to be some */
    if (st == GY_OK) st = visit(j, n, &g);
    if (st == GY_OK) st = gy_tensor_new(j->ctx, out, GY_F32, GY_S(n, s, 3 * s, 3));
    for (int64_t i = 0; st == GY_OK && i < n * s * 3 * s * 3; i++) {
        int64_t at = i / (9 * s), column = i / 3 % (3 * s), which = column / s, k = i % 3;
        const float *from = which == 0 ? g.truth : which == 1 ? g.seen : g.painted;
        float x = from[(at * s + column % s) * 3 + k] / 2 + 0.5f;
        ((float *)out->data)[i] = x < 0 ? 0 : x > 1 ? 1 : x;
    }
    gallery_free(j->ctx, &g);
    return st;
}

static const char *const equations[] = {"x = W_p patch + sine(place), for the patches with the smallest noise",
                                        "z = encoder([class; x])",
                                        "y = decoder([W_d z; mask token at hidden places] + sine(place))",
                                        "L = mean over hidden patches (y - pixels)^2", NULL};

const gy_model_def gy_model_vit_mae = {.slug = "vit-mae",
                                       .family = "decoding",
                                       .title = "Masked autoencoders are scalable vision learners",
                                       .cite = "He, Chen, Xie, Li, Dollar, Girshick. CVPR 2022, arXiv 2111.06377",
                                       .job = "a picture and noise that chooses the hidden patches in; codes of the "
                                              "visible and guesses of the hidden patches out",
                                       .year = 2022,
                                       .equations = equations,
                                       .config_size = sizeof(config),
                                       .options = options,
                                       .configs = configs,
                                       .weights = gy_mae_rules,
                                       .check = check,
                                       .build = build,
                                       .objective = objective,
                                       .open = open_album,
                                       .close = close_album,
                                       .batch = batch,
                                       .lr = lr,
                                       .evaluate = evaluate,
                                       .sample = sample};
