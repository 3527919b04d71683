/* BrainMAE, second part: what it trains on, and when. Generated scans: four networks of regions take turns; in one
 * class they go round forwards, in the other backwards, so that only the order of events differs. The model is in
 * brainmae.c. */
#include "brainmae.h"
#include "../../core/linalg/signal.h"
#include "../../data/cohort.h"
#include "../../data/eeg.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- data ---- */

static void scans_free(gy_ctx *ctx, scans *s) {
    gy_free(ctx, s->x);
    gy_free(ctx, s->label);
    *s = (scans){0};
}

void gy_brainmae_close(gy_job *j) {
    lab *d = j->data;
    if (!d) return;
    scans_free(j->ctx, &d->pool);
    scans_free(j->ctx, &d->train);
    scans_free(j->ctx, &d->test);
    gy_free(j->ctx, d->network);
    gy_free(j->ctx, d->names);
    gy_free(j->ctx, d->found.cosine);
    gy_free(j->ctx, d);
    j->data = NULL;
}

/* One scan: each network is active for two segments, from a random phase on; class 1 runs backwards. Activity =
 * strength [active] + 0.5 AR(1), a region = activity U(0.8, 1.2) + noise, standardised. x [samples, rois] in double. */
static void one_scan(const config *c, const lab *d, gy_rng *r, int64_t label, double *gain, double *x) {
    double slow[NETWORKS];
    int64_t phase = gy_rng_below(r, 2 * NETWORKS);
    for (int64_t n = 0; n < NETWORKS; n++) slow[n] = gy_rng_normal(r);
    for (int64_t i = 0; i < d->rois; i++) gain[i] = 0.8 + 0.4 * gy_rng_uniform(r);
    for (int64_t t = 0; t < c->samples; t++) {
        int64_t turn = (t / c->segment + phase) / 2 % NETWORKS, active = label ? NETWORKS - 1 - turn : turn;
        for (int64_t n = 0; n < NETWORKS; n++) slow[n] = 0.6 * slow[n] + 0.8 * gy_rng_normal(r); /* variance 1 */
        for (int64_t i = 0; i < d->rois; i++) {
            int64_t n = d->network[i];
            double activity = (n == active ? c->strength : 0) + 0.5 * slow[n];
            x[t * d->rois + i] = activity * gain[i] + c->noise * gy_rng_normal(r);
        }
    }
    gy_standardise(x, c->samples, d->rois, 0, c->samples, 0);
}

static gy_status generate(const gy_job *j, const lab *d, const char *name, int64_t n, scans *out) {
    const config *c = j->cfg;
    int64_t each = c->samples * d->rois;
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    out->n = n;
    out->x = gy_calloc(j->ctx, (size_t)n, (size_t)each * sizeof *out->x);
    out->label = gy_calloc(j->ctx, (size_t)n, sizeof *out->label);
    double *x = gy_malloc(j->ctx, (size_t)(each + d->rois) * sizeof *x);
    gy_status s = out->x && out->label && x ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        out->label[i] = i % 2;
        one_scan(c, d, &r, i % 2, x + each, x);
        for (int64_t k = 0; k < each; k++) out->x[i * each + k] = (float)x[k];
    }
    gy_free(j->ctx, x);
    return s;
}

static gy_status generated(gy_job *j, lab *d) {
    const config *c = j->cfg;
    gy_rng r;
    if (c->classes != 2) return gy_fail(j->ctx, GY_ERR_USAGE, "brainmae: generated scans have 2 classes");
    d->rois = c->rois;
    d->classes = 2;
    d->network = gy_malloc(j->ctx, (size_t)c->rois * sizeof *d->network);
    d->names = gy_calloc(j->ctx, 2, sizeof *d->names);
    if (!d->network || !d->names) return GY_ERR_NOMEM;
    snprintf(d->names[0], sizeof *d->names, "forwards");
    snprintf(d->names[1], sizeof *d->names, "backwards");
    for (int64_t i = 0; i < c->rois; i++) d->network[i] = i % NETWORKS;
    gy_rng_init(&r, j->seed, "brainmae.networks");
    gy_rng_shuffle(&r, d->network, c->rois);
    gy_status s = generate(j, d, "brainmae.pool", c->scans, &d->pool);
    if (s == GY_OK) s = generate(j, d, "brainmae.train", c->train, &d->train);
    if (s == GY_OK) s = generate(j, d, "brainmae.test", c->tests, &d->test);
    snprintf(j->data_label, sizeof j->data_label, "generated (%d networks)", NETWORKS);
    return s;
}

/* Takes over the windows of a recording: a channel is a region. Each window is standardised by itself, as scans are. */
static gy_status adopt(const gy_job *j, const gy_eeg *e, gy_eeg_windows *from, scans *to) {
    int64_t each = e->samples * e->channels;
    double *x = gy_malloc(j->ctx, (size_t)each * sizeof *x);
    if (!x) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < from->n; i++) {
        for (int64_t k = 0; k < each; k++) x[k] = (double)from->x[i * each + k];
        gy_standardise(x, e->samples, e->channels, 0, e->samples, 0);
        for (int64_t k = 0; k < each; k++) from->x[i * each + k] = (float)x[k];
    }
    gy_free(j->ctx, x);
    *to = (scans){from->n, from->x, from->label};
    from->x = NULL;
    from->label = NULL;
    return GY_OK;
}

static gy_status recorded(gy_job *j, lab *d) {
    const config *c = j->cfg;
    gy_eeg e;
    gy_eeg_args args = {.rate = c->rate, .low = 0.5, .from = c->from, .samples = c->samples, .seed = j->seed};
    gy_status s = gy_eeg_open(j->ctx, j->data_path, &args, &e);
    if (s != GY_OK) return s;
    d->rois = e.channels;
    d->classes = e.classes;
    if (e.classes < 2 || e.train.n < 2 || e.test.n < 1 || e.pool.n < 2)
        s = gy_fail(j->ctx, GY_ERR_FORMAT,
                    "%s: %" PRId64 " kinds of marks with windows of %" PRId64 " samples at %g Hz: %" PRId64
                    " to train on, %" PRId64 " held out: expected two kinds and some of each",
                    j->data_path, e.classes, c->samples, e.rate, e.train.n, e.test.n);
    if (s == GY_OK) {
        d->names = e.name;
        e.name = NULL;
        s = adopt(j, &e, &e.pool, &d->pool);
    }
    if (s == GY_OK) s = adopt(j, &e, &e.train, &d->train);
    if (s == GY_OK) s = adopt(j, &e, &e.test, &d->test);
    snprintf(j->data_label, sizeof j->data_label, "%s", e.label);
    gy_eeg_close(&e);
    return s;
}

gy_status gy_brainmae_open(gy_job *j) {
    config *c = j->cfg;
    if (gy_ablates(j->ablate, "scratch")) c->pretrain_steps = 0;
    lab *d = j->data = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    gy_status s = j->data_path ? recorded(j, d) : generated(j, d);
    if (s != GY_OK) return s;
    j->data_hash = gy_hash(d->pool.x, (size_t)(d->pool.n * c->samples * d->rois) * sizeof(float), j->seed);
    j->batch = c->batch;
    if (!j->steps) j->steps = c->pretrain_steps + c->tune_steps;
    return GY_OK;
}

/* ---- when ---- */

int64_t gy_brainmae_phases(const gy_job *j) {
    (void)j;
    return 2;
}

int64_t gy_brainmae_phase_of(const gy_job *j, int64_t step) {
    return step >= ((const config *)j->cfg)->pretrain_steps;
}

double gy_brainmae_rate(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {.kind = GY_SCHEDULE_ONE_CYCLE,
                     .lr = phase ? c->tune_lr : c->lr,
                     .total = phase ? c->tune_steps : c->pretrain_steps,
                     .pct_start = c->warmup};
    return gy_schedule_lr(&s, phase ? step - c->pretrain_steps : step);
}

/* ---- batches: functions of (seed, step) ---- */

void gy_brainmae_hide(const config *c, gy_rng *r, int64_t phase, int64_t n, float *mask, int64_t *seen,
                      int64_t *place) {
    int64_t k = gy_brainmae_segments(c), j = gy_brainmae_seen(c, phase);
    for (int64_t i = 0; i < n; i++) {
        int64_t left = j, next = 0;
        for (int64_t t = 0; t < k; t++) { /* each of the remaining k - t is seen with probability left / (k - t) */
            bool show = gy_rng_below(r, k - t) < left;
            if (mask) mask[i * k + t] = !show;
            if (place) place[i * k + t] = show ? next : j;
            if (show) {
                seen[i * j + next++] = t;
                left--;
            }
        }
    }
}

gy_status gy_brainmae_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    const lab *d = j->data;
    const scans *s = phase ? &d->train : &d->pool;
    int64_t each = c->samples * d->rois, *label = gy_plan_input(p, "label");
    float *x = gy_plan_input(p, "scan");
    int64_t *row = gy_malloc(j->ctx, (size_t)(c->batch + s->n) * sizeof *row);
    if (!row) return GY_ERR_NOMEM;
    gy_epoch_rows(j->seed, phase ? "brainmae.order.tune" : "brainmae.order", s->n,
                  phase ? step - c->pretrain_steps : step, c->batch, row + c->batch, row);
    for (int64_t i = 0; i < c->batch; i++) {
        memcpy(x + i * each, s->x + row[i] * each, (size_t)each * sizeof *x);
        if (label) label[i] = s->label[row[i]];
    }
    gy_free(j->ctx, row);
    gy_rng r;
    gy_rng_init(&r, gy_rng_key(j->seed, 1, (uint64_t)step), "brainmae.mask");
    gy_brainmae_hide(c, &r, phase, c->batch, gy_plan_input(p, "mask"), gy_plan_input(p, "seen"),
                     gy_plan_input(p, "place"));
    return GY_OK;
}
