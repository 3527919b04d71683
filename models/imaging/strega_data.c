/* StRegA, second part: the brains. Without --data, slices of generated ones: an ellipse with folded boundaries of CSF,
 * grey and white matter, two ventricles, a smooth bias and noise; lesions are blobs in the white matter that look like
 * CSF. Tests come in the training's contrast and in another, T2-like one. With --data, slices of volumes with a label
 * wherever there is brain (data/labelled.h); lesions of the same kind are painted into the white matter of the held-out
 * slices. */
#include "strega.h"
#include "../../data/cohort.h"
#include "../../data/labelled.h"
#include "../blocks/tissue.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CSF = 1, GREY, WHITE };

static bool on_tissue(const gy_job *j) {
    return strcmp(((const config *)j->cfg)->input, "tissue") == 0 && !gy_ablates(j->ablate, "tissue");
}

/* ---- lesions ---- */

/* An elliptical blob of radius 4..7 (of 64 pixels) inside `inside`, as lesion; at least 40 of 64 x 64 pixels. False: no
 * place was found in 1000 tries. */
static bool blob(gy_rng *r, int64_t side, const uint8_t *inside, uint8_t *lesion) {
    double unit = (double)side / 64;
    for (int attempt = 0; attempt < 1000; attempt++) {
        int64_t centre = gy_rng_below(r, side * side), count = 0;
        double a = (4 + 3 * gy_rng_uniform(r)) * unit, b = (4 + 3 * gy_rng_uniform(r)) * unit;
        double turn = 3.14159265358979323846 * gy_rng_uniform(r), co = cos(turn), si = sin(turn);
        if (!inside[centre]) continue;
        for (int64_t i = 0; i < side * side; i++) {
            double y = (double)(i / side - centre / side), x = (double)(i % side - centre % side);
            double u = (co * x + si * y) / a, v = (co * y - si * x) / b;
            lesion[i] = inside[i] && u * u + v * v <= 1;
            count += lesion[i];
        }
        if ((double)count >= 40 * unit * unit) return true;
    }
    memset(lesion, 0, (size_t)(side * side));
    return false;
}

/* ---- generated brains ---- */

/* Classes of one brain [side, side]; 0 outside. */
static void anatomy(gy_rng *r, int64_t side, uint8_t *tissue) {
    double unit = (double)side / 64, middle = 0.5 * (double)(side - 1), two_pi = 6.28318530717958647692;
    double a = (26 + 2 * gy_rng_uniform(r) - 1) * unit, b = (22 + 2 * gy_rng_uniform(r) - 1) * unit;
    double p1 = two_pi * gy_rng_uniform(r), p2 = two_pi * gy_rng_uniform(r);
    for (int64_t i = 0; i < side * side; i++) {
        double y = (double)(i / side) - middle, x = (double)(i % side) - middle;
        double radius = hypot(y / a, x / b), phi = atan2(y / a, x / b);
        double fold = 0.05 * sin(7 * phi + p1) + 0.03 * sin(11 * phi + p2);
        tissue[i] = radius >= 1 ? 0 : radius >= 0.93 + 0.3 * fold ? CSF : radius >= 0.72 + fold ? GREY : WHITE;
        double side_x = (fabs(x) - 4.5 * unit) / (3 * unit), side_y = y / (8 * unit); /* the ventricles */
        if (tissue[i] && side_x * side_x + side_y * side_y < 1) tissue[i] = CSF;
    }
}

/* The scan of a brain: `mean` of each class, moved a little for each subject, under a smooth bias and noise. */
static void scan(gy_rng *r, int64_t side, const uint8_t *tissue, const double mean[3], float *image) {
    double level[3], corner[4];
    for (int k = 0; k < 3; k++) level[k] = mean[k] + 0.1 * gy_rng_uniform(r) - 0.05;
    for (int k = 0; k < 4; k++) corner[k] = 0.15 * (2 * gy_rng_uniform(r) - 1);
    for (int64_t i = 0; i < side * side; i++) {
        double v = (double)(i / side) / (double)(side - 1), u = (double)(i % side) / (double)(side - 1);
        double bias = (1 - v) * ((1 - u) * corner[0] + u * corner[1]) + v * ((1 - u) * corner[2] + u * corner[3]);
        double noise = 0.03 * gy_rng_normal(r);
        image[i] = tissue[i] ? (float)(level[tissue[i] - 1] * exp(bias) + noise) : 0;
    }
}

/* What the model takes of one slice, or of a stack: tissue classes over 3, or intensities over the slice's largest. */
static gy_status prepared(gy_job *j, const int64_t dim[3], const float *image, const uint8_t *brain, bool inverted,
                          uint8_t *tissue, float *x) {
    const config *c = j->cfg;
    int64_t pixels = dim[1] * dim[2];
    gy_tissue_args a = {.dim = {dim[0], dim[1], dim[2]},
                        .image = image,
                        .brain = brain,
                        .classes = 3,
                        .iterations = c->rounds,
                        .inverted = inverted};
    gy_status s = gy_tissue_segment(j->ctx, &a, tissue, NULL);
    for (int64_t k = 0; s == GY_OK && k < dim[0]; k++) {
        float top = 0;
        for (int64_t i = k * pixels; i < (k + 1) * pixels; i++) top = fmaxf(top, image[i]);
        for (int64_t i = k * pixels; i < (k + 1) * pixels; i++)
            x[i] = on_tissue(j) ? (float)tissue[i] / 3.0f : top > 0 ? fmaxf(image[i], 0) / top : 0;
    }
    return s;
}

static gy_status reserve_tests(gy_job *j, test_set *t, int64_t n, bool truth) {
    const config *c = j->cfg;
    int64_t size = n * c->size * c->size;
    t->n = n;
    t->tissue = NAN;
    t->image = gy_calloc(j->ctx, (size_t)size, sizeof *t->image);
    t->x = gy_calloc(j->ctx, (size_t)size, sizeof *t->x);
    t->excess = gy_calloc(j->ctx, (size_t)size, sizeof *t->excess);
    t->brain = gy_calloc(j->ctx, (size_t)size, 1);
    t->lesion = gy_calloc(j->ctx, (size_t)size, 1);
    t->found = gy_calloc(j->ctx, (size_t)size, 1);
    if (truth) t->truth = gy_calloc(j->ctx, (size_t)size, 1);
    return t->image && t->x && t->excess && t->brain && t->lesion && t->found && (t->truth || !truth) ? GY_OK
                                                                                                      : GY_ERR_NOMEM;
}

/* One generated test slice i of a domain: 0 the training's contrast, 1 the other. */
static gy_status generate_test(gy_job *j, gy_rng *r, int domain, int64_t i, uint8_t *work) {
    static const double mean[DOMAINS][3] = {{0.25, 0.55, 0.85}, {0.95, 0.60, 0.35}};
    const config *c = j->cfg;
    test_set *t = &((lab *)j->data)->test[domain];
    int64_t pixels = c->size * c->size, dim[3] = {1, c->size, c->size}, right = 0, all = 0;
    uint8_t *truth = t->truth + i * pixels, *lesion = t->lesion + i * pixels, *brain = t->brain + i * pixels;
    do {
        anatomy(r, c->size, truth);
        for (int64_t k = 0; k < pixels; k++) work[k] = truth[k] == WHITE;
    } while (!blob(r, c->size, work, lesion));
    for (int64_t k = 0; k < pixels; k++) {
        brain[k] = truth[k] != 0;
        if (lesion[k]) truth[k] = CSF;
    }
    scan(r, c->size, truth, mean[domain], t->image + i * pixels);
    gy_status s = prepared(j, dim, t->image + i * pixels, brain, domain == 1, work, t->x + i * pixels);
    for (int64_t k = 0; k < pixels; k++) {
        all += brain[k];
        right += brain[k] && work[k] == truth[k];
    }
    t->tissue = (i ? t->tissue * (double)i : 0) + (double)right / (double)all;
    t->tissue /= (double)(i + 1);
    return s;
}

static gy_status generate(gy_job *j, lab *d) {
    static const double mean[3] = {0.25, 0.55, 0.85};
    const config *c = j->cfg;
    int64_t pixels = c->size * c->size, dim[3] = {1, c->size, c->size};
    uint8_t *work = gy_malloc(j->ctx, (size_t)(3 * pixels));
    float *image = gy_malloc(j->ctx, (size_t)pixels * sizeof *image);
    gy_rng r;
    gy_rng_init(&r, j->seed, "brains");
    d->n = c->train;
    d->x = gy_malloc(j->ctx, (size_t)(d->n * pixels) * sizeof *d->x);
    gy_status s = work && image && d->x ? GY_OK : GY_ERR_NOMEM;
    for (int k = 0; s == GY_OK && k < DOMAINS; k++) s = reserve_tests(j, &d->test[k], c->tests, true);
    for (int64_t i = 0; s == GY_OK && i < d->n; i++) {
        anatomy(&r, c->size, work);
        scan(&r, c->size, work, mean, image);
        for (int64_t k = 0; k < pixels; k++) work[pixels + k] = work[k] != 0;
        s = prepared(j, dim, image, work + pixels, false, work + 2 * pixels, d->x + i * pixels);
    }
    for (int k = 0; s == GY_OK && k < DOMAINS; k++)
        for (int64_t i = 0; s == GY_OK && i < c->tests; i++) s = generate_test(j, &r, k, i, work);
    gy_free(j->ctx, work);
    gy_free(j->ctx, image);
    return s;
}

/* ---- real volumes ---- */

/* All slices of volume v that hold brain, as a stack of size x size: image, brain, what each is for. Returns how many;
 * arrays NULL: counts alone. */
static int64_t stack_of(const config *c, const gy_labelled *l, int64_t v, float *image, uint8_t *brain, uint8_t *role) {
    int64_t lo, hi, pixels = c->size * c->size;
    gy_volume_extent(&l->volume[v], (int)c->axis, &lo, &hi);
    for (int64_t i = lo; image && i < hi; i++) {
        int64_t at = i - lo;
        gy_volume_slice(&l->volume[v], (int)c->axis, i, c->size, image + at * pixels, brain + at * pixels);
        role[at] = (uint8_t)gy_slice_role(v, l->n, at, hi - lo);
        for (int64_t k = at * pixels; k < (at + 1) * pixels; k++) {
            brain[k] = brain[k] != 0;
            if (!brain[k]) image[k] = 0;
        }
    }
    return hi > lo ? hi - lo : 0;
}

/* Healthy slices join the training set; lesions are painted into test slices with room for them, which the tissue step
 * then sees once more. */
static gy_status add_stack(gy_job *j, lab *d, int64_t n, float *image, const uint8_t *brain, const uint8_t *role,
                           gy_rng *r) {
    const config *c = j->cfg;
    test_set *t = &d->test[0];
    int64_t pixels = c->size * c->size, dim[3] = {n, c->size, c->size};
    uint8_t *tissue = gy_malloc(j->ctx, (size_t)(2 * n * pixels + pixels)), *lesion = tissue + n * pixels;
    float *x = gy_malloc(j->ctx, (size_t)(n * pixels) * sizeof *x);
    double level[3];
    gy_tissue_args a = {
        .dim = {n, c->size, c->size}, .image = image, .brain = brain, .classes = 3, .iterations = c->rounds};
    gy_status s = tissue && x ? gy_tissue_segment(j->ctx, &a, tissue, level) : GY_ERR_NOMEM;
    if (s == GY_OK) s = prepared(j, dim, image, brain, false, tissue, x);
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        if (role[i] == 1) memcpy(d->x + d->n++ * pixels, x + i * pixels, (size_t)pixels * sizeof *x);
        memset(lesion + i * pixels, 0, (size_t)pixels);
        if (role[i] != 2) continue;
        uint8_t *white = lesion + n * pixels;
        for (int64_t k = 0; k < pixels; k++) white[k] = tissue[i * pixels + k] == WHITE;
        blob(r, c->size, white, lesion + i * pixels);
        for (int64_t k = i * pixels; k < (i + 1) * pixels; k++)
            if (lesion[k]) image[k] *= (float)(level[CSF - 1] / level[WHITE - 1]); /* keeps texture and bias */
    }
    if (s == GY_OK) s = prepared(j, dim, image, brain, false, tissue, x);
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        bool has = false;
        for (int64_t k = i * pixels; k < (i + 1) * pixels; k++) has = has || lesion[k];
        if (role[i] != 2 || !has) continue;
        int64_t to = t->n++ * pixels, from = i * pixels;
        memcpy(t->image + to, image + from, (size_t)pixels * sizeof *image);
        memcpy(t->x + to, x + from, (size_t)pixels * sizeof *x);
        memcpy(t->brain + to, brain + from, (size_t)pixels);
        memcpy(t->lesion + to, lesion + from, (size_t)pixels);
    }
    gy_free(j->ctx, tissue);
    gy_free(j->ctx, x);
    return s;
}

static gy_status read_volumes(gy_job *j, lab *d) {
    const config *c = j->cfg;
    gy_labelled l;
    int64_t total = 0, pixels = c->size * c->size;
    gy_rng r;
    gy_status s = gy_labelled_open(j->ctx, j->data_path, true, &l);
    if (s != GY_OK) return s;
    gy_rng_init(&r, j->seed, "painted lesions");
    for (int64_t v = 0; v < l.n; v++) total += stack_of(c, &l, v, NULL, NULL, NULL);
    d->x = gy_malloc(j->ctx, (size_t)((total + 1) * pixels) * sizeof *d->x);
    s = d->x ? reserve_tests(j, &d->test[0], total + 1, false) : GY_ERR_NOMEM;
    d->test[0].n = 0;
    for (int64_t v = 0; s == GY_OK && v < l.n; v++) {
        int64_t n = stack_of(c, &l, v, NULL, NULL, NULL);
        float *image = gy_malloc(j->ctx, (size_t)(n * pixels + 1) * sizeof *image);
        uint8_t *brain = gy_malloc(j->ctx, (size_t)(n * pixels + n + 1));
        s = image && brain ? GY_OK : GY_ERR_NOMEM;
        if (s == GY_OK) {
            stack_of(c, &l, v, image, brain, brain + n * pixels);
            s = add_stack(j, d, n, image, brain, brain + n * pixels, &r);
        }
        gy_free(j->ctx, image);
        gy_free(j->ctx, brain);
    }
    if (s == GY_OK && (!d->n || !d->test[0].n))
        s = gy_fail(j->ctx, GY_ERR_FORMAT,
                    "%s: %" PRId64 " slices to train on and %" PRId64 " tests with room for a lesion in white matter; "
                    "expected some of both",
                    j->data_path, d->n, d->test[0].n);
    j->data_hash = l.hash;
    snprintf(j->data_label, sizeof j->data_label, "%s", l.n ? l.volume[0].name : "");
    gy_labelled_free(&l);
    return s;
}

/* ---- open, close, batch ---- */

void gy_strega_close(gy_job *j) {
    lab *d = j->data;
    if (!d) return;
    for (int k = 0; k < DOMAINS; k++) {
        test_set *t = &d->test[k];
        void *owned[] = {t->image, t->x, t->excess, t->brain, t->lesion, t->found, t->truth};
        for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) gy_free(j->ctx, owned[i]);
    }
    gy_free(j->ctx, d->x);
    gy_free(j->ctx, d);
    j->data = NULL;
}

gy_status gy_strega_open(gy_job *j) {
    const config *c = j->cfg;
    lab *d = j->data = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps;
    if (j->data_path) return read_volumes(j, d);
    gy_status s = generate(j, d);
    if (s != GY_OK) return s;
    j->data_hash = gy_hash(d->x, (size_t)(d->n * c->size * c->size) * sizeof *d->x, j->seed);
    snprintf(j->data_label, sizeof j->data_label, "generated (folded ellipses)");
    return GY_OK;
}

/* Context encoding: up to three squares of up to half a side, each of one value between the batch's extremes. */
gy_status gy_strega_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    const lab *d = j->data;
    int64_t side = c->size, pixels = side * side, *row = gy_malloc(j->ctx, (size_t)(j->batch + d->n) * sizeof *row);
    float *x = gy_plan_input(p, "image"), *blotted = gy_plan_input(p, "blotted"), lo = INFINITY, hi = -INFINITY;
    char name[48];
    gy_rng r;
    (void)phase;
    if (!row) return GY_ERR_NOMEM;
    gy_epoch_rows(j->seed, "order", d->n, step, j->batch, row + j->batch, row);
    for (int64_t i = 0; i < j->batch; i++) memcpy(x + i * pixels, d->x + row[i] * pixels, (size_t)pixels * sizeof *x);
    gy_free(j->ctx, row);
    for (int64_t i = 0; i < j->batch * pixels; i++) {
        lo = fminf(lo, x[i]);
        hi = fmaxf(hi, x[i]);
    }
    memcpy(blotted, x, (size_t)(j->batch * pixels) * sizeof *x);
    snprintf(name, sizeof name, "blots.%" PRId64, step);
    gy_rng_init(&r, j->seed, name);
    for (int64_t i = 0; i < j->batch; i++)
        for (int64_t k = gy_rng_below(&r, 4); k > 0; k--) {
            int64_t n = gy_rng_below(&r, side / 2 + 1);
            int64_t top = gy_rng_below(&r, side - n + 1), left = gy_rng_below(&r, side - n + 1);
            float value = (float)(lo + (hi - lo) * gy_rng_uniform(&r));
            for (int64_t y = top; y < top + n; y++)
                for (int64_t u = left; u < left + n; u++) blotted[i * pixels + y * side + u] = value;
        }
    return GY_OK;
}
