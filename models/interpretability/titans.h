/* titans.h: what the two files of Titans share; of no use outside them. titans.c is the paper, titans_recall.c the task
 * that its claim rests on. */
#ifndef GY_INTERPRETABILITY_TITANS_H
#define GY_INTERPRETABILITY_TITANS_H

#include "../blocks/lm_train.h"

typedef struct config {
    gy_lm_train train;
    int64_t layers, heads, width, inner, vocabulary;
    int64_t window, persistent; /* tokens that attention sees; learned tokens before them (section 3.3) */
    int64_t depth, expand;      /* of the memory network; its hidden width in head widths */
    int64_t chunk, conv;        /* tokens that share their starting weights; width of the short convolution */
    int64_t rope;
    double rate; /* theta is at most this */
    int64_t pairs, keys, gap, long_gap;
    char join[64];
} config;

typedef struct scene { /* what a block is given besides its input */
    const config *c;
    const char *ablate;
    gy_rope rope;
} scene;

/* The model as loss and evaluation see it; `s` must outlive it. */
gy_lm gy_titans_lm(const scene *s);

/* ---- titans_recall.c ---- */

gy_status gy_titans_open(gy_job *j) GY_MUST_CHECK; /* text, or the recall task: see the configuration's `pairs` */
gy_status gy_titans_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;
gy_status gy_titans_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_titans_panels(gy_job *j, void *report) GY_MUST_CHECK; /* report: gy_report */
gy_status gy_titans_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;

#endif
