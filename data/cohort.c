#include "cohort.h"

#include <inttypes.h>
#include <stdio.h>

static gy_status make(gy_cohort *c, gy_cohort_member *m, const gy_cohort_args *a, const gy_world *w,
                      const gy_stimuli *reference) {
    char name[64];
    gy_rng noise;
    snprintf(name, sizeof name, "stimuli.%" PRId64, m->id);
    gy_status s = gy_stimuli_new(c->ctx, w, m->trials, a->seed, name, a->two, reference, &m->train);
    gy_voxels count = {.low = m->voxels / 4, .high = m->voxels - 2 * (m->voxels / 4), .noise = m->voxels / 4};
    if (s == GY_OK) s = gy_synthbrain_new(c->ctx, w, (uint64_t)m->id, count, reference, &m->brain);
    if (s != GY_OK) return s;
    m->y = gy_calloc(c->ctx, (size_t)(m->trials * a->repeats), (size_t)m->voxels * sizeof *m->y);
    m->seen = gy_calloc(c->ctx, (size_t)(a->tests * a->repeats), (size_t)m->voxels * sizeof *m->seen);
    if (!m->y || !m->seen) return GY_ERR_NOMEM;
    snprintf(name, sizeof name, "noise.%" PRId64 ".%" PRIu64, m->id, w->number);
    gy_rng_init(&noise, a->seed, name);
    for (int64_t i = 0; i < m->trials * a->repeats; i++)
        gy_synthbrain_trial(&m->brain, &m->train, i / a->repeats, 1, &noise, m->y + i * m->voxels);
    snprintf(name, sizeof name, "test noise.%" PRId64, m->id);
    gy_rng_init(&noise, w->number, name);
    for (int64_t i = 0; i < a->tests * a->repeats; i++)
        gy_synthbrain_trial(&m->brain, &c->test, i / a->repeats, 1, &noise, m->seen + i * m->voxels);
    c->hash = gy_hash(m->y, (size_t)(m->trials * a->repeats * m->voxels) * sizeof *m->y, c->hash);
    return GY_OK;
}

gy_status gy_cohort_new(gy_ctx *ctx, const gy_cohort_args *a, gy_cohort **out) {
    gy_world w;
    gy_stimuli reference = {0}; /* what "mean 0, variance 1" refers to: a property of the brain, not of its trials */
    gy_cohort *c = *out = gy_calloc(ctx, 1, sizeof *c);
    if (!c) return GY_ERR_NOMEM;
    *c = (gy_cohort){.ctx = ctx, .n = a->n, .member = gy_calloc(ctx, (size_t)a->n, sizeof *c->member)};
    gy_world_init(&w, a->world);
    gy_status s = c->member ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK) s = gy_stimuli_new(ctx, &w, 1000, 1004, "reference", a->two, NULL, &reference);
    if (s == GY_OK) s = gy_stimuli_new(ctx, &w, a->tests, 1005, "test", a->two, &reference, &c->test);
    for (int64_t k = 0; s == GY_OK && k < a->n; k++) {
        c->member[k] = (gy_cohort_member){.id = a->id[k], .voxels = a->voxels[k], .trials = a->trials[k]};
        s = make(c, &c->member[k], a, &w, &reference);
    }
    gy_stimuli_free(&reference);
    if (s == GY_OK) return s;
    gy_cohort_free(c);
    *out = NULL;
    return s;
}

void gy_cohort_free(gy_cohort *c) {
    if (!c) return;
    for (int64_t k = 0; c->member && k < c->n; k++) {
        gy_cohort_member *m = &c->member[k];
        gy_stimuli_free(&m->train);
        gy_synthbrain_free(&m->brain);
        gy_free(c->ctx, m->y);
        gy_free(c->ctx, m->seen);
    }
    gy_stimuli_free(&c->test);
    gy_free(c->ctx, c->member);
    gy_free(c->ctx, c);
}

void gy_epoch_rows(uint64_t seed, const char *name, int64_t n, int64_t step, int64_t count, int64_t *work,
                   int64_t *row) {
    int64_t pass = -1;
    for (int64_t i = 0; i < count; i++) {
        int64_t at = step * count + i;
        if (at / n != pass) {
            char stream[96];
            gy_rng r;
            pass = at / n;
            snprintf(stream, sizeof stream, "%s.%" PRId64, name, pass);
            gy_rng_init(&r, seed, stream);
            for (int64_t t = 0; t < n; t++) work[t] = t;
            gy_rng_shuffle(&r, work, n);
        }
        row[i] = work[at % n];
    }
}
