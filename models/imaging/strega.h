/* strega.h: what the files of the paper share; of no use outside them. strega.c is the paper, strega_data.c the brains,
 * strega_claim.c what is measured and claimed. */
#ifndef GY_IMAGING_STREGA_H
#define GY_IMAGING_STREGA_H

#include "../../core/gyrus.h"

enum { MAX_LEVELS = 6, DOMAINS = 2 };

typedef struct config {
    int64_t size, latent, batch, steps, train, tests, rounds, opening, axis;
    char maps[64], input[64];
    double lr, beta, theta, context, saturate;
} config;

/* The numbers of "16,64,256,1024"; the count, or -1 if the text is no list of 1 to MAX_LEVELS of them. */
int64_t gy_strega_maps(const char *text, int64_t out[MAX_LEVELS]);

/* Test slices, each [size, size]: with lesions, for the second domain in another contrast. */
typedef struct test_set {
    int64_t n;
    float *image, *x;                /* as scanned; as the model takes it */
    uint8_t *brain, *lesion, *truth; /* truth: tissue classes 1..3, NULL: unknown */
    uint8_t *found;                  /* of the last evaluation */
    float *excess;                   /* reconstruction minus x */
    double tissue;                   /* share of brain pixels whose class the tissue step found; NaN: unknown */
} test_set;

typedef struct lab {
    int64_t n;
    float *x; /* [n, size, size]: healthy slices as the model takes them */
    test_set test[DOMAINS];
    bool measured;
    double dice[DOMAINS], otsu[DOMAINS];
} lab;

/* Eq. (1)-(4): the mean absolute error of x redrawn from `seen`; see strega.c. */
gy_t gy_strega_redraw(gy_mod *m, const config *c, gy_t seen, gy_t x, const char *noise, gy_t *kl);

gy_status gy_strega_open(gy_job *j) GY_MUST_CHECK; /* job->data: a lab */
void gy_strega_close(gy_job *j);
gy_status gy_strega_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;

gy_status gy_strega_evaluate(gy_job *j, gy_metrics *out) GY_MUST_CHECK;
gy_status gy_strega_claim(gy_job *j, gy_claim *out) GY_MUST_CHECK;
gy_status gy_strega_panels(gy_job *j, void *report) GY_MUST_CHECK;
/* Post-processing of one slice's excess [size, size]: found is 1 where something is where it should not be. `whole`:
 * clipping and area opening too; else Otsu's threshold alone. */
gy_status gy_strega_threshold(gy_ctx *ctx, const config *c, const float *excess, const uint8_t *brain, bool whole,
                              uint8_t *found) GY_MUST_CHECK;

#endif
