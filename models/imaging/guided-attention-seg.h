/* guided-attention-seg.h: what the three files of the paper share; of no use outside them. guided-attention-seg.c is
 * the paper, _data.c what it trains on, _claim.c what is measured and claimed. */
#ifndef GY_IMAGING_GUIDED_ATTENTION_SEG_H
#define GY_IMAGING_GUIDED_ATTENTION_SEG_H

#include "../../core/gyrus.h"
#include "../blocks/metrics.h"

enum { MAX_CLASSES = 16 };

typedef struct config {
    int64_t size, classes, channels, query, stages, fuse;
    char backbone[64], paths[64];
    int64_t batch, steps, halve, augment, train, tests, axis;
    double lr, guide, rebuild;
} config;

/* Test slices of one subject, in order: metrics are taken on their stack. */
typedef struct stack {
    int64_t first, count;
    double spacing[3]; /* mm from slice to slice, and of a pixel */
} stack;

typedef struct lab {
    int64_t n, tests, stacks; /* training slices; test slices behind them */
    float *image;             /* [n + tests, size, size] */
    uint8_t *label;
    stack *stack;
    uint8_t *predicted; /* [tests, size, size], of the last evaluation */
    double dice[MAX_CLASSES];
    bool measured;
} lab;

gy_status gy_guided_open(gy_job *j) GY_MUST_CHECK; /* job->data: a lab */
void gy_guided_close(gy_job *j);
gy_status gy_guided_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;

gy_status gy_guided_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_guided_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;
gy_status gy_guided_panels(gy_job *j, void *report) GY_MUST_CHECK; /* report: gy_report */

/* The position attention of step 1 at the finest scale, as hooks name it: [B, 1, pixels, pixels]. */
#define GY_GUIDED_MAP "pam_attention_1_1.attn.3.map"

#endif
