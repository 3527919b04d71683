/* Guided attention, second part: what it trains on. Without --data, a miniature in which only what is far away decides:
 * three bright discs at the right, one marker at the left; all discs are of class 1 if the marker is bright, of class 2
 * if it is dark. With --data, slices of labelled volumes (data/labelled.h). */
#include "guided-attention-seg.h"
#include "../../data/cohort.h"
#include "../../data/labelled.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the generator ---- */

enum { DISCS = 3, MARKER = 6 };

/* One 64ths picture: positions and sizes are given for 64 pixels and grow with the side. */
static void draw(gy_rng *r, int64_t side, float *image, uint8_t *label) {
    double unit = (double)side / 64, cx[DISCS], cy[DISCS], radius[DISCS], light[DISCS];
    for (int64_t i = 0; i < side * side; i++) {
        image[i] = (float)(0.2 + 0.05 * gy_rng_normal(r));
        label[i] = 0;
    }
    for (int d = 0; d < DISCS; d++) {
        bool apart;
        light[d] = 0.7 + 0.05 * gy_rng_normal(r);
        do { /* until it overlaps none of the discs before */
            radius[d] = 5 + gy_rng_uniform(r);
            cx[d] = 46 + 10 * gy_rng_uniform(r);
            cy[d] = 8 + 47 * gy_rng_uniform(r);
            apart = true;
            for (int e = 0; e < d; e++)
                apart = apart && hypot(cx[d] - cx[e], cy[d] - cy[e]) > radius[d] + radius[e] + 1;
        } while (!apart);
    }
    int64_t mx = 2 + gy_rng_below(r, 7), my = 2 + gy_rng_below(r, 54);
    bool bright = gy_rng_below(r, 2) == 0;
    for (int64_t y = 0; y < side; y++)
        for (int64_t x = 0; x < side; x++) {
            double px = ((double)x + 0.5) / unit - 0.5, py = ((double)y + 0.5) / unit - 0.5;
            for (int d = 0; d < DISCS; d++)
                if (hypot(px - cx[d], py - cy[d]) <= radius[d]) {
                    image[y * side + x] += (float)(light[d] - 0.2);
                    label[y * side + x] = bright ? 1 : 2;
                }
            if (px > (double)mx - 0.5 && px < (double)(mx + MARKER) - 0.5 && py > (double)my - 0.5 &&
                py < (double)(my + MARKER) - 0.5)
                image[y * side + x] = bright ? 1.0f : -0.4f;
        }
}

/* ---- real volumes ---- */

static bool empty(const uint8_t *label, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (label[i]) return false;
    return true;
}

static gy_status reserve(gy_job *j, lab *d, int64_t n, int64_t tests, int64_t stacks) {
    const config *c = j->cfg;
    int64_t pixels = c->size * c->size;
    d->n = n;
    d->tests = tests;
    d->image = gy_malloc(j->ctx, (size_t)((n + tests) * pixels) * sizeof *d->image);
    d->label = gy_malloc(j->ctx, (size_t)((n + tests) * pixels));
    d->predicted = gy_calloc(j->ctx, (size_t)(tests * pixels), 1);
    d->stack = gy_calloc(j->ctx, (size_t)stacks, sizeof *d->stack);
    return d->image && d->label && d->predicted && d->stack ? GY_OK : GY_ERR_NOMEM;
}

/* Pass 0 counts slices, pass 1 fills them in. */
static void cut(const config *c, lab *d, const gy_labelled *l, bool fill, int64_t count[3]) {
    int64_t pixels = c->size * c->size;
    int axis = (int)c->axis;
    memset(count, 0, 3 * sizeof *count); /* training slices, test slices, stacks */
    for (int64_t v = 0; v < l->n; v++) {
        int64_t lo, hi;
        gy_volume_extent(&l->volume[v], axis, &lo, &hi);
        bool open = false;
        for (int64_t i = lo; i < hi; i++) {
            int what = gy_slice_role(v, l->n, i - lo, hi - lo);
            if (what == 2 && !open) count[2]++;
            open = what == 2;
            if (!what) continue;
            int64_t at = what == 1 ? count[0] : (fill ? d->n : 0) + count[1];
            if (fill) {
                double mm =
                    gy_volume_slice(&l->volume[v], axis, i, c->size, d->image + at * pixels, d->label + at * pixels);
                if (what == 2) {
                    stack *s = &d->stack[count[2] - 1];
                    if (!s->count) *s = (stack){count[1], 0, {l->volume[v].spacing[axis], mm, mm}};
                    s->count++;
                }
            }
            count[what - 1]++;
        }
    }
}

static gy_status read_volumes(gy_job *j, lab *d) {
    const config *c = j->cfg;
    gy_labelled l;
    int64_t count[3] = {0};
    gy_status s = gy_labelled_open(j->ctx, j->data_path, true, &l);
    if (s != GY_OK) return s;
    if (l.classes != c->classes)
        s = gy_fail(j->ctx, GY_ERR_FORMAT,
                    "%s: %" PRId64 " different labels, the model has %" PRId64 " classes; use --set classes=%" PRId64,
                    j->data_path, l.classes, c->classes, l.classes);
    if (s == GY_OK) cut(c, d, &l, false, count);
    if (s == GY_OK && (!count[0] || !count[1]))
        s = gy_fail(j->ctx, GY_ERR_FORMAT,
                    "%s: %" PRId64 " slices to train on and %" PRId64 " to test: expected some of both", j->data_path,
                    count[0], count[1]);
    if (s == GY_OK) s = reserve(j, d, count[0], count[1], count[2]);
    if (s == GY_OK) {
        d->stacks = count[2];
        cut(c, d, &l, true, count);
    }
    if (s == GY_OK && empty(d->label, d->n * c->size * c->size))
        s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s: at %" PRId64 " pixels no label is left", j->data_path, c->size);
    j->data_hash = l.hash;
    snprintf(j->data_label, sizeof j->data_label, "%s", l.volume[0].name);
    gy_labelled_free(&l);
    return s;
}

/* ---- open, close, batch ---- */

void gy_guided_close(gy_job *j) {
    lab *d = j->data;
    if (!d) return;
    gy_free(j->ctx, d->image);
    gy_free(j->ctx, d->label);
    gy_free(j->ctx, d->predicted);
    gy_free(j->ctx, d->stack);
    gy_free(j->ctx, d);
    j->data = NULL;
}

gy_status gy_guided_open(gy_job *j) {
    const config *c = j->cfg;
    int64_t pixels = c->size * c->size;
    lab *d = j->data = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps;
    if (j->data_path) return read_volumes(j, d);
    gy_status s = reserve(j, d, c->train, c->tests, c->tests);
    if (s != GY_OK) return s;
    gy_rng r;
    gy_rng_init(&r, j->seed, "discs");
    for (int64_t i = 0; i < d->n + d->tests; i++) draw(&r, c->size, d->image + i * pixels, d->label + i * pixels);
    d->stacks = d->tests;
    for (int64_t i = 0; i < d->tests; i++) d->stack[i] = (stack){i, 1, {1, 1, 1}};
    j->data_hash = gy_hash(d->label, (size_t)((d->n + d->tests) * pixels), j->seed);
    snprintf(j->data_label, sizeof j->data_label, "generated (discs and markers)");
    return GY_OK;
}

/* Section IV-B: flips and a rotation of up to 30 degrees, each one time in two; labels by the nearest pixel. */
static void turned(gy_rng *r, int64_t side, const float *x, const uint8_t *t, float *image, int64_t *target) {
    bool flip = gy_rng_below(r, 2), mirror = gy_rng_below(r, 2), turn = gy_rng_below(r, 2);
    double angle = turn ? (2 * gy_rng_uniform(r) - 1) * 3.14159265358979323846 / 6 : 0,
           middle = 0.5 * (double)(side - 1);
    double co = cos(angle), si = sin(angle);
    for (int64_t y = 0; y < side; y++)
        for (int64_t c = 0; c < side; c++) {
            double v = (double)(flip ? side - 1 - y : y) - middle, u = (double)(mirror ? side - 1 - c : c) - middle;
            double py = middle + co * v + si * u, px = middle - si * v + co * u;
            int64_t ny = (int64_t)floor(py + 0.5), nx = (int64_t)floor(px + 0.5), iy = (int64_t)floor(py),
                    ix = (int64_t)floor(px);
            bool inside = ny >= 0 && ny < side && nx >= 0 && nx < side;
            double sum = 0, fy = py - (double)iy, fx = px - (double)ix;
            for (int k = 0; k < 4; k++) { /* linear between the four pixels around it */
                int64_t qy = iy + k / 2, qx = ix + k % 2;
                double w = (k / 2 ? fy : 1 - fy) * (k % 2 ? fx : 1 - fx);
                if (w > 0 && qy >= 0 && qy < side && qx >= 0 && qx < side) sum += w * x[qy * side + qx];
            }
            image[y * side + c] = (float)sum;
            target[y * side + c] = inside ? t[ny * side + nx] : 0;
        }
}

gy_status gy_guided_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    const lab *d = j->data;
    int64_t pixels = c->size * c->size, *row = gy_malloc(j->ctx, (size_t)(j->batch + d->n) * sizeof *row);
    float *image = gy_plan_input(p, "image");
    int64_t *target = gy_plan_input(p, "target");
    char name[48];
    gy_rng r;
    (void)phase;
    if (!row) return GY_ERR_NOMEM;
    snprintf(name, sizeof name, "turn.%" PRId64, step);
    gy_rng_init(&r, j->seed, name);
    gy_epoch_rows(j->seed, "order", d->n, step, j->batch, row + j->batch, row);
    for (int64_t i = 0; i < j->batch; i++) {
        const float *x = d->image + row[i] * pixels;
        const uint8_t *t = d->label + row[i] * pixels;
        if (c->augment) {
            turned(&r, c->size, x, t, image + i * pixels, target + i * pixels);
            continue;
        }
        memcpy(image + i * pixels, x, (size_t)pixels * sizeof *x);
        for (int64_t k = 0; k < pixels; k++) target[i * pixels + k] = t[k];
    }
    gy_free(j->ctx, row);
    return GY_OK;
}
