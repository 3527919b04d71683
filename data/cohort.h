/* cohort.h: several subjects of one generated world (synthbrain.h), each with training trials of their own stimuli, and
 * test stimuli that all of them see. */
#ifndef GY_DATA_COHORT_H
#define GY_DATA_COHORT_H

#include "synthbrain.h"

typedef struct gy_cohort_member {
    int64_t id, voxels, trials;
    gy_synthbrain brain;
    gy_stimuli train; /* [trials]: no other subject sees them */
    float *y;         /* [trials, repeats, voxels], noisy */
    float *seen;      /* [tests, repeats, voxels] */
} gy_cohort_member;

/* How to make one: n subjects of the given numbers, voxel counts (half of them see meaning, a quarter colours in
 * places, a quarter nothing) and trials. Brains, meanings and tests belong to the world, trials to the seed; a smaller
 * number of trials is the beginning of a larger one. */
typedef struct gy_cohort_args {
    uint64_t world, seed;
    int64_t n;
    const int64_t *id, *voxels, *trials;
    int64_t tests, repeats; /* held-out stimuli; how often each stimulus is shown */
    double two;             /* share of scenes with two objects */
} gy_cohort_args;

typedef struct gy_cohort {
    gy_ctx *ctx;
    int64_t n;
    gy_cohort_member *member;
    gy_stimuli test;
    uint64_t hash; /* of all training responses */
} gy_cohort;

gy_status gy_cohort_new(gy_ctx *ctx, const gy_cohort_args *args, gy_cohort **out) GY_MUST_CHECK;
void gy_cohort_free(gy_cohort *c); /* NULL is fine */

/* The rows of step `step` of a data loader, without a state: passes over n rows, each in a new order drawn from (seed,
 * name, pass), cut into batches of `count`. row [count]; work [n]. */
void gy_epoch_rows(uint64_t seed, const char *name, int64_t n, int64_t step, int64_t count, int64_t *work,
                   int64_t *row);

#endif
