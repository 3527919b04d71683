/* mindbridge.h: what the four files of MindBridge share; of no use outside them. mindbridge.c is the paper,
 * mindbridge_data.c what it trains on and when, mindbridge_claim.c what is measured and claimed, mindbridge_pictures.c
 * the pictures of the report. */
#ifndef GY_DECODING_MINDBRIDGE_H
#define GY_DECODING_MINDBRIDGE_H

#include "../../core/gyrus.h"
#include "../../data/cohort.h"

enum { MAX_SUBJECTS = 9, REPEATS = 3 }; /* newcomer included; responses to each stimulus */

typedef struct config {
    char subjects[64], voxels[64];   /* "0,1,2" and their voxel counts */
    int64_t newcomer, newcomer_size; /* number and voxel count of the person to adapt to; size 0: nobody */
    char subject[64], synthesise[64];
    int64_t pooled, hidden, rank, blocks, image, text;
    double drop_embedder, drop_translator, tau, mse_weight;
    int64_t batch, steps, adapt_steps, trials, adapt_trials, tests, world;
    double lr, adapt_lr, warmup, weight_decay;
    char generator[64]; /* tinySD's weights, for the report's pictures; empty: none */
} config;

/* Who takes part: the subjects, then the newcomer if there is one. */
typedef struct roster {
    int64_t n, all; /* subjects; with the newcomer */
    int64_t id[MAX_SUBJECTS], size[MAX_SUBJECTS];
} roster;
roster gy_mindbridge_who(const config *c);

/* What evaluation found, for the report. */
typedef struct findings {
    bool tuned; /* the newcomer has been adapted to */
    double top1[MAX_SUBJECTS], scratch;
    int64_t n_r;
    float *r; /* [n_r] of the synthesis, a voxel each */
} findings;

typedef struct lab {
    gy_cohort *cohort;
    findings found;
} lab;

/* ---- mindbridge_data.c ---- */

gy_status gy_mindbridge_open(gy_job *j) GY_MUST_CHECK; /* job->data: a lab */
void gy_mindbridge_close(gy_job *j);
const gy_cohort *gy_mindbridge_cohort(const gy_job *j);
/* The world's 64 numbers, repeated to an embedding's length n (the paper's are 257 or 77 tokens of 768). */
void gy_mindbridge_repeat(float *out, const float *e, int64_t n);
gy_status gy_mindbridge_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;
/* Joint training is phase 0; with a newcomer, phase 1 + k follows: reset-tuning beside subject k. */
int64_t gy_mindbridge_phases(const gy_job *j);
int64_t gy_mindbridge_phase_of(const gy_job *j, int64_t step);
double gy_mindbridge_rate(const gy_job *j, int64_t phase, int64_t step);

/* ---- mindbridge_claim.c ---- */

gy_status gy_mindbridge_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_mindbridge_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;
/* What `subject`'s responses to the test stimuli say: e [tests, 64], the image embedding (its repeats averaged). */
gy_status gy_mindbridge_seen(gy_job *j, int64_t subject, float *e) GY_MUST_CHECK;
gy_status gy_mindbridge_panels(gy_job *j, void *report) GY_MUST_CHECK; /* report: gy_report */

/* ---- mindbridge_pictures.c ---- */

/* The report's panel "pictures": what was seen beside what is drawn from the brain's responses. */
gy_status gy_mindbridge_pictures(gy_job *j, void *report) GY_MUST_CHECK;

#endif
