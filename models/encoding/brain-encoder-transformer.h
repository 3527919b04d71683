/* brain-encoder-transformer.h: what the files of this paper share; of no use outside them. brain-encoder-transformer.c
 * is the paper, brain-encoder-transformer_data.c what it is trained on, brain-encoder-transformer_claim.c what is
 * measured and claimed. */
#ifndef GY_ENCODING_BRAIN_ENCODER_TRANSFORMER_H
#define GY_ENCODING_BRAIN_ENCODER_TRANSFORMER_H

#include "../../core/gyrus.h"
#include "../../core/model.h"

enum { MAX_AREAS = 64 };

typedef struct config {
    char model[64], readout[64]; /* attention or spatial; areas or vertices */
    char backbone[64];           /* none: tokens are given; dinov2: pictures are */
    int64_t grid, width, heads, inner, areas, hemispheres;
    int64_t left, right; /* vertices of each hemisphere; one hemisphere: left */
    int64_t batch, steps;
    int64_t train, valid, test;
    double lr, weight_decay, clip, dropout;
} config;

enum { TRAIN = 0, VALID, TEST, PARTS };

/* Tokens (or pictures) and responses, one after another: training, validation, test. */
typedef struct set {
    int64_t n[PARTS], first[PARTS + 1];
    int64_t tokens, width;   /* of a sample: [tokens, width]; of a picture [side side, 3] */
    int64_t vertices, areas; /* areas of both hemispheres together */
    float *x;                /* [n, tokens, width] */
    float *y;                /* [n, vertices] z-scored responses */
    float *clean;            /* [n, vertices] without noise, of a generated set; NULL */
    int64_t *area;           /* [vertices] the area, hence query, of each vertex */
    int64_t *cell;           /* [n, areas] where each area's object is, -1: absent; generated; NULL */
} set;

/* What evaluation found, for the report. */
typedef struct findings {
    bool done;
    double score[MAX_AREAS], spatial[MAX_AREAS], ridge[MAX_AREAS]; /* per area */
    double hits;
    float *map; /* [areas, tokens] attention of the first test sample */
} findings;

typedef struct lab {
    set data;
    findings found;
} lab;

bool gy_encoder_is(const char *a, const char *b);

/* ---- brain-encoder-transformer_data.c ---- */

gy_status gy_encoder_open(gy_job *j) GY_MUST_CHECK; /* job->data: a lab */
void gy_encoder_close(gy_job *j);
gy_status gy_encoder_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;

/* ---- brain-encoder-transformer_claim.c ---- */

gy_status gy_encoder_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_encoder_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;
gy_status gy_encoder_panels(gy_job *j, void *report) GY_MUST_CHECK; /* report: gy_report */

#endif
