/* brainmae.h: what the three files of BrainMAE share; of no use outside them. brainmae.c is the paper, brainmae_data.c
 * what it trains on and when, brainmae_claim.c what is measured and claimed. */
#ifndef GY_ELECTROPHYSIOLOGY_BRAINMAE_H
#define GY_ELECTROPHYSIOLOGY_BRAINMAE_H

#include "../../core/gyrus.h"

enum { NETWORKS = 4 };

typedef struct config {
    char stage[64], encoder[64]; /* class or rebuild; static or adaptive */
    int64_t rois, samples, segment, width, roi_width, heads, blocks, layers, decoder_layers, classes;
    double mask, tune_mask, lambda, drop, weight_decay;
    int64_t pretrain_steps, tune_steps, batch;
    double lr, tune_lr, encoder_factor, warmup;
    int64_t scans, train, tests; /* generated: unlabelled, labelled, held out */
    double strength, noise, rate, from;
} config;

int64_t gy_brainmae_segments(const config *c);
int64_t gy_brainmae_seen(const config *c, int64_t phase); /* segments that are not hidden */

/* Scans [n, samples, rois], each region standardised within its scan. */
typedef struct scans {
    int64_t n;
    float *x;
    int64_t *label;
} scans;

/* What evaluation found, for the report. */
typedef struct findings {
    double loss, linear, auc, tuned, connectivity;
    int64_t rois;
    double *cosine; /* [rois, rois], sorted by planted network */
} findings;

typedef struct lab {
    int64_t rois, classes;
    int64_t *network; /* [rois] planted; NULL: unknown */
    char (*names)[32];
    scans pool, train, test;
    findings found;
} lab;

/* The sizes that data or weights decide. */
typedef struct sizes {
    int64_t rois, classes;
} sizes;
sizes gy_brainmae_sizes(const gy_build *b);

/* ---- brainmae_data.c ---- */

gy_status gy_brainmae_open(gy_job *j) GY_MUST_CHECK; /* job->data: a lab */
void gy_brainmae_close(gy_job *j);
/* Which segments of each of n scans are hidden in a phase: mask [n, K] 1 where hidden, seen [n, seen] ascending places
 * of the others, place [n, K] where a segment stands among the seen (hidden: `seen`). mask and place may be NULL. */
void gy_brainmae_hide(const config *c, gy_rng *r, int64_t phase, int64_t n, float *mask, int64_t *seen, int64_t *place);
gy_status gy_brainmae_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;
int64_t gy_brainmae_phases(const gy_job *j); /* 0 masked pretraining, 1 fine-tuning */
int64_t gy_brainmae_phase_of(const gy_job *j, int64_t step);
double gy_brainmae_rate(const gy_job *j, int64_t phase, int64_t step);

/* ---- brainmae_claim.c ---- */

gy_status gy_brainmae_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_brainmae_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;
gy_status gy_brainmae_panels(gy_job *j, void *report) GY_MUST_CHECK; /* report: gy_report */

#endif
