/* demovae.h: what the files of the paper share; of no use outside them. demovae.c is the paper, demovae_data.c the
 * subjects, demovae_claim.c what is measured and claimed. */
#ifndef GY_IMAGING_DEMOVAE_H
#define GY_IMAGING_DEMOVAE_H

#include "../../core/gyrus.h"

enum { MAX_COLUMNS = 24, MAX_FIELDS = 24 }; /* of demographics in the model; of what is predicted from latents */

typedef struct config {
    int64_t features, latent, hidden;
    char columns[64];
    int64_t batch, steps, generated, running, train, tests;
    double lr, covariance, mean, rebuild, decorrelate, guide, alpha, cost;
} config;

/* A column of the demographics: a continuous one, or one category of several. */
typedef struct column {
    char name[64];
    int64_t first, of; /* the first column of the group; its categories, 0: continuous */
} column;

/* The columns that "age,sex:2" names; -1: the text is no such list. `label` NULL: categories are named sex.0, sex.1. */
int64_t gy_demovae_columns(const char *text, column out[MAX_COLUMNS]);

typedef struct lab {
    int64_t n, tests, d, q; /* training subjects, held-out ones behind them, features, columns */
    float *x, *demo;        /* [n + tests, d], [n + tests, q]: continuous columns standardised by the training ones */
    column col[MAX_COLUMNS];
    int64_t fields; /* what evaluation predicts: each demographic column but first categories, then phenotypes */
    char field_name[MAX_FIELDS][48];
    float *field;         /* [fields, n + tests] */
    float *weight, *bias; /* [d, q], [q]: the linear guides */
    float *difference;    /* [d]: the true mean difference of the last group column's categories; NULL: unknown */
    /* what evaluation found, for the report */
    bool measured;
    double raw[MAX_FIELDS], latent[MAX_FIELDS];
    double *made, *real; /* [d]: group difference generated and in the data */
} lab;

/* Eq. (6) for given subjects; running: earlier categories of a group count again, as in the official code. */
gy_t gy_demovae_guide(const column *col, bool running, gy_t x, gy_t wanted, gy_t weight, gy_t bias);
/* Fits the guides of the lab's training subjects into weight and bias. */
gy_status gy_demovae_guides(gy_job *j, lab *d) GY_MUST_CHECK;

gy_status gy_demovae_open(gy_job *j) GY_MUST_CHECK; /* job->data: a lab */
void gy_demovae_close(gy_job *j);
gy_status gy_demovae_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;

gy_status gy_demovae_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_demovae_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;
gy_status gy_demovae_panels(gy_job *j, void *report) GY_MUST_CHECK;
/* n subjects from z ~ N(0, I) with the demographics demo [n, q]: x [n, d]. */
gy_status gy_demovae_generate(gy_job *j, int64_t n, const float *demo, const char *stream, float *x) GY_MUST_CHECK;
gy_status gy_demovae_sample(gy_job *j, int64_t n, gy_tensor *out) GY_MUST_CHECK;

#endif
