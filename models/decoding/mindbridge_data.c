/* MindBridge, second part: what it trains on, and when. The generated world stands in for NSD; each person saw pictures
 * of their own. Joint training (phase 0) takes a batch of every subject a step; then, with a newcomer, reset-tuning
 * takes one of the newcomer's and one of a subject who accompanies it. The model is in mindbridge.c. */
#include "mindbridge.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- data: a generated world ---- */

void gy_mindbridge_close(gy_job *j) {
    lab *d = j->data;
    gy_cohort_free(d->cohort);
    gy_free(j->ctx, d->found.r);
    gy_free(j->ctx, d);
    j->data = NULL;
}

gy_status gy_mindbridge_open(gy_job *j) {
    const config *c = j->cfg;
    roster r = gy_mindbridge_who(c);
    int64_t trials[MAX_SUBJECTS];
    if (j->data_path)
        return gy_fail(j->ctx, GY_ERR_UNSUPPORTED,
                       "%s: mindbridge trains on its generated world only; leave --data out", j->data_path);
    lab *d = j->data = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    for (int64_t k = 0; k < r.all; k++) trials[k] = k < r.n ? c->trials : c->adapt_trials;
    gy_cohort_args args = {.world = (uint64_t)c->world,
                           .seed = j->seed,
                           .n = r.all,
                           .id = r.id,
                           .voxels = r.size,
                           .trials = trials,
                           .tests = c->tests,
                           .repeats = REPEATS,
                           .two = 0.5};
    gy_status s = gy_cohort_new(j->ctx, &args, &d->cohort);
    if (s != GY_OK) return s;
    j->data_hash = d->cohort->hash;
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps + (r.all > r.n ? c->adapt_steps : 0);
    snprintf(j->data_label, sizeof j->data_label, "generated (synthbrain, world %" PRId64 ")", c->world);
    return s;
}

const gy_cohort *gy_mindbridge_cohort(const gy_job *j) {
    return ((const lab *)j->data)->cohort;
}

/* ---- batches: functions of (seed, step) ---- */

void gy_mindbridge_repeat(float *out, const float *e, int64_t n) {
    for (int64_t i = 0; i < n; i += GY_WORLD_SEMANTIC) memcpy(out + i, e, GY_WORLD_SEMANTIC * sizeof *e);
}

/* Trials of one subject at the batch's `place`. Each pass over the stimuli takes the next of their repeats. */
static void fill(const gy_job *j, gy_plan *p, int64_t place, const gy_cohort_member *who, int64_t step,
                 const int64_t *row) {
    const config *c = j->cfg;
    char name[32];
    snprintf(name, sizeof name, "voxels.%d", (int)who->id);
    int64_t v = who->voxels;
    float *x = gy_plan_input(p, name), *image = gy_plan_input(p, "image"), *text = gy_plan_input(p, "text");
    for (int64_t i = 0; i < j->batch; i++) {
        int64_t at = place * j->batch + i, from = row[i] * GY_WORLD_SEMANTIC;
        int64_t repeat_index = (step * j->batch + i) / who->trials % REPEATS;
        memcpy(x + i * v, who->y + (row[i] * REPEATS + repeat_index) * v, (size_t)v * sizeof *x);
        gy_mindbridge_repeat(image + at * c->image, who->train.clip_image + from, c->image);
        gy_mindbridge_repeat(text + at * c->text, who->train.clip_text + from, c->text);
    }
}

static int64_t draw(const gy_job *j, const char *what, int64_t step, int64_t n) {
    char name[64];
    gy_rng r;
    snprintf(name, sizeof name, "%s.%" PRId64, what, step);
    gy_rng_init(&r, j->seed, name);
    return gy_rng_below(&r, n);
}

gy_status gy_mindbridge_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    int64_t n = gy_mindbridge_who(c).n, *row = gy_malloc(j->ctx, (size_t)(j->batch + c->trials) * sizeof *row);
    if (!row) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < (phase ? 2 : n); i++) {
        const gy_cohort_member *m = &gy_mindbridge_cohort(j)->member[!phase ? i : i ? n : phase - 1];
        char name[64];
        snprintf(name, sizeof name, "order.%" PRId64, m->id);
        gy_epoch_rows(j->seed, name, m->trials, step, j->batch, row + j->batch, row);
        fill(j, p, i, m, step, row);
    }
    gy_free(j->ctx, row);
    float *from = gy_plan_input(p, "cycle_from"), *to = gy_plan_input(p, "cycle_to");
    if (from && to) {
        int64_t a = draw(j, "cycle from", step, n), b = (a + 1 + draw(j, "cycle to", step, n - 1)) % n;
        for (int64_t i = 0; i < n; i++) {
            from[i] = i == a;
            to[i] = i == b;
        }
    }
    return GY_OK;
}

int64_t gy_mindbridge_phases(const gy_job *j) {
    const config *c = j->cfg;
    roster r = gy_mindbridge_who(c);
    return 1 + (r.all > r.n && c->adapt_steps > 0 ? r.n : 0);
}

/* Joint training first; then one subject a step accompanies the newcomer. */
int64_t gy_mindbridge_phase_of(const gy_job *j, int64_t step) {
    const config *c = j->cfg;
    int64_t n = gy_mindbridge_phases(j);
    return step < c->steps || n == 1 ? 0 : 1 + draw(j, "companion", step, n - 1);
}

double gy_mindbridge_rate(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {.kind = GY_SCHEDULE_ONE_CYCLE,
                     .lr = phase ? c->adapt_lr : c->lr,
                     .total = phase ? c->adapt_steps : c->steps,
                     .pct_start = c->warmup,
                     .final_div = 100};
    return gy_schedule_lr(&s, phase ? step - c->steps : step);
}
