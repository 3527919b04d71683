#include "synthbrain.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { HALF = GY_SHAPES16 / 2, CELL = GY_SHAPES16 / 4, N_SHAPES = 3, N_COLOURS = 4 };

static const double colours[N_COLOURS][3] = {{.9, .1, .1}, {.1, .8, .1}, {.15, .25, .95}, {.9, .85, .1}};

/* ---- pictures ---- */

/* Is pixel (i, j) of a quadrant part of the shape? The centre lies between the pixels 3 and 4. */
static bool inside(int shape, int i, int j) {
    double y = i - 3.5, x = j - 3.5, d = x * x + y * y;
    switch (shape) {
    case GY_SQUARE: return fabs(x) < 3 && fabs(y) < 3;
    case GY_RING: return d > 2.0 && d < 9.5;
    default: return (fabs(x) < 1.1 || fabs(y) < 1.1) && fabs(x) < 3 && fabs(y) < 3;
    }
}

gy_scene gy_scene_draw(gy_rng *r, double two) {
    gy_scene s = {.n = 1};
    s.background = 0.3 + 0.2 * gy_rng_uniform(r);
    gy_object *a = &s.object[0], *b = &s.object[1];
    a->shape = (int)gy_rng_below(r, N_SHAPES);
    a->colour = (int)gy_rng_below(r, N_COLOURS);
    a->quadrant = (int)gy_rng_below(r, 4);
    if (gy_rng_uniform(r) >= two) return s;
    s.n = 2;
    b->colour = (a->colour + 1 + (int)gy_rng_below(r, 3)) % N_COLOURS;
    b->quadrant = (a->quadrant + 1 + (int)gy_rng_below(r, 3)) % 4;
    b->shape = (int)gy_rng_below(r, N_SHAPES);
    return s;
}

void gy_scene_image(const gy_scene *s, gy_rng *r, float image[GY_SHAPES16_SIZE]) {
    for (int i = 0; i < GY_SHAPES16; i++)
        for (int j = 0; j < GY_SHAPES16; j++)
            for (int c = 0; c < 3; c++) {
                double v = s->background;
                for (int k = 0; k < s->n; k++) {
                    const gy_object *o = &s->object[k];
                    bool here = o->quadrant == 2 * (i / HALF) + j / HALF;
                    if (here && inside(o->shape, i % HALF, j % HALF)) v = colours[o->colour][c];
                }
                if (r) v += 0.02 * gy_rng_normal(r);
                image[(i * GY_SHAPES16 + j) * 3 + c] = (float)(2 * v - 1);
            }
}

/* Squared distance of a quadrant to an object (label -1: none) on a background. */
static double misfit(const float *image, int quadrant, int label, double background) {
    double sum = 0;
    for (int i = 0; i < HALF; i++)
        for (int j = 0; j < HALF; j++) {
            const float *pixel = image + ((quadrant / 2 * HALF + i) * GY_SHAPES16 + quadrant % 2 * HALF + j) * 3;
            bool object = label >= 0 && inside(label / N_COLOURS, i, j);
            for (int c = 0; c < 3; c++) {
                double v = object ? colours[label % N_COLOURS][c] : background, d = pixel[c] - (2 * v - 1);
                sum += d * d;
            }
        }
    return sum;
}

void gy_scene_oracle(const float image[GY_SHAPES16_SIZE], int label[4]) {
    for (int q = 0; q < 4; q++) {
        double least = INFINITY;
        for (int l = -1; l < N_SHAPES * N_COLOURS; l++)
            for (int b = 0; b < 5; b++) {
                double d = misfit(image, q, l, 0.3 + 0.05 * b);
                if (d < least) {
                    least = d;
                    label[q] = l;
                }
            }
    }
}

void gy_scene_layout(const float image[GY_SHAPES16_SIZE], float layout[GY_WORLD_LAYOUT]) {
    for (int p = 0; p < GY_WORLD_LAYOUT; p++) {
        int row = p / 12 * CELL, column = p / 3 % 4 * CELL, c = p % 3;
        double sum = 0;
        for (int i = 0; i < CELL; i++)
            for (int j = 0; j < CELL; j++) sum += image[((row + i) * GY_SHAPES16 + column + j) * 3 + c];
        layout[p] = (float)(sum / (CELL * CELL));
    }
}

/* ---- meaning ---- */

/* The streams of world 0 have the seeds 1001, 1002, ...; other worlds are ten thousands away. */
static uint64_t seed_in(uint64_t world, uint64_t seed) {
    return seed + 10000 * world;
}

static void scale_to(float *v, int n, double length) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)v[i] * v[i];
    for (int i = 0; i < n && sum > 0; i++) v[i] = (float)(v[i] * length / sqrt(sum));
}

void gy_world_init(gy_world *w, uint64_t number) {
    gy_rng r;
    w->number = number;
    gy_rng_init(&r, seed_in(number, 1001), "synthbrain.embedding");
    for (int i = 0; i < GY_WORLD_SEMANTIC * GY_WORLD_FACTORS; i++)
        w->embedding[i] = (float)(gy_rng_normal(&r) / sqrt(GY_WORLD_FACTORS));
    gy_rng_init(&r, seed_in(number, 1002), "synthbrain.gap");
    for (int i = 0; i < GY_WORLD_SEMANTIC; i++) w->gap[i] = (float)gy_rng_normal(&r);
    scale_to(w->gap, GY_WORLD_SEMANTIC, 0.5);
    gy_rng_init(&r, seed_in(number, 1003), "synthbrain.prototype");
    for (int i = 0; i < GY_WORLD_PROTOTYPES * GY_WORLD_SEMANTIC; i++) w->prototype[i] = (float)gy_rng_normal(&r);
}

void gy_world_semantic(const gy_world *w, const gy_scene *s, float e[GY_WORLD_SEMANTIC]) {
    double u[GY_WORLD_FACTORS] = {0};
    for (int k = 0; k < s->n; k++) {
        const gy_object *o = &s->object[k];
        u[o->shape] += 1;
        u[3 + o->colour] += 1;
        u[7 + N_COLOURS * o->shape + o->colour] += 1;
        u[19 + o->quadrant] += 0.5;
    }
    for (int i = 0; i < GY_WORLD_SEMANTIC; i++) {
        double sum = 0;
        for (int f = 0; f < GY_WORLD_FACTORS; f++) sum += w->embedding[i * GY_WORLD_FACTORS + f] * u[f];
        e[i] = (float)sum;
    }
    scale_to(e, GY_WORLD_SEMANTIC, 1);
}

void gy_world_clip_image(const gy_world *w, const float *e, gy_rng *r, float out[GY_WORLD_SEMANTIC]) {
    (void)w;
    for (int i = 0; i < GY_WORLD_SEMANTIC; i++) out[i] = (float)(e[i] + 0.05 * gy_rng_normal(r));
    scale_to(out, GY_WORLD_SEMANTIC, 1);
}

void gy_world_clip_text(const gy_world *w, const float *e, gy_rng *r, float out[GY_WORLD_SEMANTIC]) {
    for (int i = 0; i < GY_WORLD_SEMANTIC; i++) out[i] = (float)(e[i] + w->gap[i] + 0.05 * gy_rng_normal(r));
    scale_to(out, GY_WORLD_SEMANTIC, 1);
}

/* ---- stimuli ---- */

static float *floats(gy_ctx *ctx, int64_t n, int64_t each) {
    return gy_calloc(ctx, (size_t)n, (size_t)each * sizeof(float));
}

static void centre_layout(gy_stimuli *s, const gy_stimuli *train) {
    for (int p = 0; p < GY_WORLD_LAYOUT; p++) {
        double sum = 0;
        for (int64_t i = 0; i < s->n; i++) sum += s->layout[i * GY_WORLD_LAYOUT + p];
        s->layout_mean[p] = train ? train->layout_mean[p] : (float)(sum / (double)s->n);
        for (int64_t i = 0; i < s->n; i++) s->layout[i * GY_WORLD_LAYOUT + p] -= s->layout_mean[p];
    }
}

gy_status gy_stimuli_new(gy_ctx *ctx, const gy_world *w, int64_t n, uint64_t seed, const char *name, double two,
                         const gy_stimuli *train, gy_stimuli *out) {
    *out = (gy_stimuli){.ctx = ctx, .n = n};
    if (n < 1) return gy_fail(ctx, GY_ERR_USAGE, "stimuli '%s': expected at least 1, found %" PRId64, name, n);
    out->scene = gy_calloc(ctx, (size_t)n, sizeof *out->scene);
    out->image = floats(ctx, n, GY_SHAPES16_SIZE);
    out->layout = floats(ctx, n, GY_WORLD_LAYOUT);
    out->semantic = floats(ctx, n, GY_WORLD_SEMANTIC);
    out->clip_image = floats(ctx, n, GY_WORLD_SEMANTIC);
    out->clip_text = floats(ctx, n, GY_WORLD_SEMANTIC);
    if (!out->scene || !out->image || !out->layout || !out->semantic || !out->clip_image || !out->clip_text) {
        gy_stimuli_free(out);
        return GY_ERR_NOMEM;
    }
    gy_rng r;
    gy_rng_init(&r, seed_in(w->number, seed), name);
    for (int64_t i = 0; i < n; i++) {
        float *image = out->image + i * GY_SHAPES16_SIZE, *e = out->semantic + i * GY_WORLD_SEMANTIC;
        out->scene[i] = gy_scene_draw(&r, two);
        gy_scene_image(&out->scene[i], &r, image);
        gy_scene_layout(image, out->layout + i * GY_WORLD_LAYOUT);
        gy_world_semantic(w, &out->scene[i], e);
        gy_world_clip_image(w, e, &r, out->clip_image + i * GY_WORLD_SEMANTIC);
        gy_world_clip_text(w, e, &r, out->clip_text + i * GY_WORLD_SEMANTIC);
    }
    centre_layout(out, train);
    return GY_OK;
}

void gy_stimuli_free(gy_stimuli *s) {
    if (!s->ctx) return;
    gy_free(s->ctx, s->scene);
    gy_free(s->ctx, s->image);
    gy_free(s->ctx, s->layout);
    gy_free(s->ctx, s->semantic);
    gy_free(s->ctx, s->clip_image);
    gy_free(s->ctx, s->clip_text);
    *s = (gy_stimuli){0};
}

/* ---- subjects ---- */

/* Receptive field times preferred colour, over the layout code. */
static void draw_low(gy_rng *r, float *weight) {
    double y = 4 * gy_rng_uniform(r), x = 4 * gy_rng_uniform(r), sigma = 0.5 + 0.5 * gy_rng_uniform(r), colour[3];
    for (int c = 0; c < 3; c++) colour[c] = gy_rng_normal(r);
    for (int p = 0; p < GY_WORLD_LAYOUT; p++) {
        double dy = p / 12 + 0.5 - y, dx = p / 3 % 4 + 0.5 - x; /* centres of the cells */
        weight[p] = (float)(colour[p % 3] * exp(-(dy * dy + dx * dx) / (2 * sigma * sigma)));
    }
}

static void draw_high(const gy_world *w, gy_rng *r, float *weight) {
    const float *prototype = w->prototype + gy_rng_below(r, GY_WORLD_PROTOTYPES) * GY_WORLD_SEMANTIC;
    for (int i = 0; i < GY_WORLD_SEMANTIC; i++)
        weight[GY_WORLD_LAYOUT + i] = (float)(prototype[i] + 0.3 * gy_rng_normal(r));
}

static double response(const float *weight, const gy_stimuli *s, int64_t i) {
    const float *layout = s->layout + i * GY_WORLD_LAYOUT, *e = s->semantic + i * GY_WORLD_SEMANTIC;
    double sum = 0;
    for (int f = 0; f < GY_WORLD_LAYOUT; f++) sum += (double)weight[f] * layout[f];
    for (int f = 0; f < GY_WORLD_SEMANTIC; f++) sum += (double)weight[GY_WORLD_LAYOUT + f] * e[f];
    return sum;
}

/* Scales a voxel to mean 0 and variance 1 over the training stimuli. */
static void standardise(float *weight, float *offset, const gy_stimuli *train) {
    double sum = 0, squares = 0, n = (double)train->n;
    for (int64_t i = 0; i < train->n; i++) {
        double v = response(weight, train, i);
        sum += v;
        squares += v * v;
    }
    double mean = sum / n, variance = squares / n - mean * mean, scale = variance > 0 ? 1 / sqrt(variance) : 0;
    for (int f = 0; f < GY_WORLD_FEATURES; f++) weight[f] = (float)(weight[f] * scale);
    *offset = (float)(-mean * scale);
}

gy_status gy_synthbrain_new(gy_ctx *ctx, const gy_world *w, uint64_t k, gy_voxels count, const gy_stimuli *train,
                            gy_synthbrain *out) {
    int64_t n = count.low + count.high + count.noise;
    *out = (gy_synthbrain){.ctx = ctx, .n = n};
    if (count.low < 0 || count.high < 0 || count.noise < 0 || n < 1)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "synthbrain subject %" PRIu64 ": %" PRId64 " low, %" PRId64 " high, %" PRId64
                       " noise voxels; expected counts of 0 or more, one voxel at least",
                       k, count.low, count.high, count.noise);
    int64_t *place = gy_calloc(ctx, (size_t)n, sizeof *place);
    out->kind = gy_calloc(ctx, (size_t)n, 1);
    out->weight = floats(ctx, n, GY_WORLD_FEATURES);
    out->offset = floats(ctx, n, 1);
    out->rho = floats(ctx, n, 1);
    if (!place || !out->kind || !out->weight || !out->offset || !out->rho) {
        gy_free(ctx, place);
        gy_synthbrain_free(out);
        return GY_ERR_NOMEM;
    }
    gy_rng r;
    gy_rng_init(&r, seed_in(w->number, 2000 + k), "synthbrain.subject");
    for (int64_t v = 0; v < n; v++) place[v] = v;
    gy_rng_shuffle(&r, place, n);
    for (int64_t v = 0; v < n; v++) {
        int64_t at = place[v];
        float *weight = out->weight + at * GY_WORLD_FEATURES;
        out->kind[at] = v < count.low ? 'l' : v < count.low + count.high ? 'h' : 'n';
        if (out->kind[at] == 'n') continue;
        if (out->kind[at] == 'l')
            draw_low(&r, weight);
        else
            draw_high(w, &r, weight);
        out->rho[at] = (float)(0.1 + 0.4 * gy_rng_uniform(&r));
        standardise(weight, &out->offset[at], train);
    }
    gy_free(ctx, place);
    return GY_OK;
}

void gy_synthbrain_free(gy_synthbrain *s) {
    if (!s->ctx) return;
    gy_free(s->ctx, s->kind);
    gy_free(s->ctx, s->weight);
    gy_free(s->ctx, s->offset);
    gy_free(s->ctx, s->rho);
    *s = (gy_synthbrain){0};
}

void gy_synthbrain_signal(const gy_synthbrain *s, const gy_stimuli *stimuli, int64_t i, float *y) {
    for (int64_t v = 0; v < s->n; v++)
        y[v] = (float)(sqrt(s->rho[v]) * (response(s->weight + v * GY_WORLD_FEATURES, stimuli, i) + s->offset[v]));
}

void gy_synthbrain_trial(const gy_synthbrain *s, const gy_stimuli *stimuli, int64_t i, int64_t repeats, gy_rng *r,
                         float *y) {
    gy_synthbrain_signal(s, stimuli, i, y);
    for (int64_t v = 0; v < s->n; v++) {
        double noise = 0;
        for (int64_t k = 0; k < repeats; k++) noise += gy_rng_normal(r);
        y[v] += (float)(sqrt(1 - s->rho[v]) * noise / (double)repeats);
    }
}
