/* BrainDiVE, second part: a generated piece of cortex and what it is shown. Voxels weigh the meaning of a scene
 * (data/synthbrain.h); those of one region prefer one concept: w = normalise(normalise(E u) + 0.2 N/8), u the concept's
 * factors, N normal. Responses have variance 1 over the training pictures; what is measured is sqrt(0.4) r + sqrt(0.6)
 * n.
 */
#include "braindive.h"

#include "../../io/files.h"
#include "../../io/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const double RHO = 0.4; /* share of a measured response that is no noise */

int64_t gy_braindive_roi_of(const config *c, int64_t voxel) {
    return voxel / (c->voxels / ROIS);
}

bool gy_braindive_holds(int roi, const int label[4]) {
    for (int q = 0; q < 4; q++) {
        if (label[q] < 0) continue;
        int shape = label[q] / 4, colour = label[q] % 4;
        if (roi == 0 && colour == GY_BLUE) return true;
        if (roi == 1 && shape == GY_CROSS) return true;
        if (roi == 2 && shape == GY_RING && colour == GY_RED) return true;
    }
    return false;
}

/* The factors of gy_world_semantic: shapes, colours, objects 4 shape + colour. */
static void concept(int64_t roi, float u[GY_WORLD_FACTORS]) {
    memset(u, 0, GY_WORLD_FACTORS * sizeof *u);
    if (roi == 0) u[3 + GY_BLUE] = 1;
    if (roi == 1) u[GY_CROSS] = 1;
    if (roi == 2) u[GY_RING] = u[3 + GY_RED] = u[7 + 4 * GY_RING + GY_RED] = 1;
}

static void unit(float *v, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)v[i] * v[i];
    for (int64_t i = 0; i < n; i++) v[i] = (float)(v[i] / sqrt(sum));
}

static double weighed(const lab *d, int64_t voxel, const float *e) {
    double sum = 0;
    for (int64_t i = 0; i < GY_WORLD_SEMANTIC; i++) sum += (double)d->weight[voxel * GY_WORLD_SEMANTIC + i] * e[i];
    return sum;
}

double gy_braindive_response(const lab *d, int64_t voxel, const float *e) {
    return (weighed(d, voxel, e) - d->mean[voxel]) / d->deviation[voxel];
}

static void make_voxel(const config *c, lab *d, gy_rng *r, int64_t v) {
    float u[GY_WORLD_FACTORS], *w = d->weight + v * GY_WORLD_SEMANTIC;
    double sum = 0, square = 0;
    concept(gy_braindive_roi_of(c, v), u);
    for (int64_t i = 0; i < GY_WORLD_SEMANTIC; i++) {
        w[i] = 0;
        for (int64_t k = 0; k < GY_WORLD_FACTORS; k++) w[i] += d->world.embedding[i * GY_WORLD_FACTORS + k] * u[k];
    }
    unit(w, GY_WORLD_SEMANTIC);
    for (int64_t i = 0; i < GY_WORLD_SEMANTIC; i++) w[i] += (float)(0.2 / 8 * gy_rng_normal(r));
    unit(w, GY_WORLD_SEMANTIC);
    for (int64_t i = 0; i < c->images; i++) {
        double x = weighed(d, v, d->train.semantic + i * GY_WORLD_SEMANTIC);
        sum += x;
        square += x * x;
    }
    d->mean[v] = (float)(sum / (double)c->images);
    d->deviation[v] = (float)sqrt(square / (double)c->images - sum / (double)c->images * sum / (double)c->images);
}

/* The frozen generator's weights, unless a checkpoint brings them. */
static gy_status load_generator(gy_job *j) {
    static const char *const ours[] = {"features.*", "head.*", "vae.*", NULL};
    static const gy_weight_rule rules[] = {{"generator.*", "*", 0, 0, false}, {0}};
    config c = *(const config *)j->cfg;
    gy_job view = *j;
    gy_compiled run;
    if (!*c.generator || j->from_run || gy_state_find(j->store, "generator.conv_in.weight")) return GY_OK;
    if (!gy_path_exists(c.generator))
        return gy_fail(j->ctx, GY_ERR_IO,
                       "%s: the frozen generator's weights are not there (run from Gyrus' folder, or train some: gyrus "
                       "train tinysd --out D, then --set generator=D/checkpoint.safetensors)",
                       c.generator);
    snprintf(c.part, sizeof c.part, "guidance");
    view.cfg = &c;
    gy_status s = gy_job_compile(&view, 1, NULL, 0, &run); /* makes the states */
    if (s == GY_OK) s = gy_weights_load_as(j->ctx, c.generator, NULL, j->store, ours, rules);
    if (s == GY_OK) gy_store_freeze(j->store, "generator.", true);
    gy_compiled_free(&run);
    return s;
}

gy_status gy_braindive_open(gy_job *j) {
    const config *c = j->cfg;
    if (j->data_path)
        return gy_fail(j->ctx, GY_ERR_UNSUPPORTED,
                       "%s: braindive is fitted to its generated brain only; leave --data out", j->data_path);
    lab *d = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    j->data = d;
    gy_world_init(&d->world, j->seed);
    gy_status s = gy_stimuli_new(j->ctx, &d->world, c->images, j->seed, "train", 0.5, NULL, &d->train);
    if (s == GY_OK) s = gy_stimuli_new(j->ctx, &d->world, c->tests, j->seed, "test", 0.5, &d->train, &d->test);
    d->weight = gy_calloc(j->ctx, (size_t)c->voxels, GY_WORLD_SEMANTIC * sizeof *d->weight);
    d->mean = gy_calloc(j->ctx, (size_t)c->voxels, 2 * sizeof *d->mean);
    d->response = gy_calloc(j->ctx, (size_t)c->images, (size_t)c->voxels * sizeof *d->response);
    if (!d->weight || !d->mean || !d->response) s = GY_ERR_NOMEM;
    if (s != GY_OK) return s;
    d->deviation = d->mean + c->voxels;
    gy_rng r;
    gy_rng_init(&r, j->seed, "voxels");
    for (int64_t v = 0; v < c->voxels; v++) make_voxel(c, d, &r, v);
    for (int64_t i = 0; i < c->images * c->voxels; i++) {
        const float *e = d->train.semantic + i / c->voxels * GY_WORLD_SEMANTIC;
        d->response[i] =
            (float)(sqrt(RHO) * gy_braindive_response(d, i % c->voxels, e) + sqrt(1 - RHO) * gy_rng_normal(&r));
    }
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps + c->head_steps;
    snprintf(j->data_label, sizeof j->data_label, "generated");
    j->data_hash = gy_hash(d->response, (size_t)(c->images * c->voxels) * sizeof *d->response, 0);
    return load_generator(j);
}

void gy_braindive_close(gy_job *j) {
    lab *d = j->data;
    gy_stimuli_free(&d->train);
    gy_stimuli_free(&d->test);
    gy_free(j->ctx, d->weight);
    gy_free(j->ctx, d->mean);
    gy_free(j->ctx, d->response);
    gy_free(j->ctx, d);
    j->data = NULL;
}

/* A 16 x 16 picture as the encoder gets it while it learns: enlarged, shifted with its border repeated, noisy. */
static void augmented(const config *c, gy_rng *r, const float *image, float *out) {
    int64_t side = c->image, zoom = side / GY_SHAPES16;
    int64_t dy = c->shift ? gy_rng_below(r, 2 * c->shift + 1) - c->shift : 0;
    int64_t dx = c->shift ? gy_rng_below(r, 2 * c->shift + 1) - c->shift : 0;
    for (int64_t y = 0; y < side; y++)
        for (int64_t x = 0; x < side; x++) {
            int64_t sy = y + dy < 0 ? 0 : y + dy >= side ? side - 1 : y + dy;
            int64_t sx = x + dx < 0 ? 0 : x + dx >= side ? side - 1 : x + dx;
            for (int64_t k = 0; k < 3; k++) {
                float v = image[(sy / zoom * GY_SHAPES16 + sx / zoom) * 3 + k];
                if (c->pixel_noise > 0) v += (float)(2 * c->pixel_noise * gy_rng_normal(r));
                out[(y * side + x) * 3 + k] = v;
            }
        }
}

/* Fresh scenes and their meanings for the features; pictures seen in the scanner and responses for the voxels. */
gy_status gy_braindive_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    const lab *d = j->data;
    float *image = gy_plan_input(p, "image"), *meaning = gy_plan_input(p, "meaning");
    float *response = gy_plan_input(p, "response");
    int64_t each = c->image * c->image * 3;
    char name[48];
    (void)phase;
    snprintf(name, sizeof name, "batch.%" PRId64, step);
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    for (int64_t i = 0; i < j->batch; i++) {
        if (meaning) {
            float fresh[GY_SHAPES16_SIZE];
            gy_scene s = gy_scene_draw(&r, 0.5);
            gy_scene_image(&s, &r, fresh);
            augmented(c, &r, fresh, image + i * each);
            gy_world_semantic(&d->world, &s, meaning + i * c->features);
        } else {
            int64_t row = gy_rng_below(&r, c->images);
            augmented(c, &r, d->train.image + row * GY_SHAPES16_SIZE, image + i * each);
            memcpy(response + i * c->voxels, d->response + row * c->voxels, (size_t)c->voxels * sizeof *response);
        }
    }
    return GY_OK;
}
