/* runcv.h: linear decoding with one run left out at a time: the baseline and the test that any decoder of brain
 * volumes is held against. All in double precision; same bits for any number of threads. */
#ifndef GY_BLOCKS_RUNCV_H
#define GY_BLOCKS_RUNCV_H

#include "../../core/base.h"

/* Volumes as rows, each with a class and the run it was measured in. Borrowed. */
typedef struct gy_runcv_data {
    int64_t n, p, classes, runs, blocks;
    const float *x;       /* [n, p], scaled within runs */
    const int64_t *label; /* [n], 0..classes-1 */
    const int64_t *run;   /* [n], 0..runs-1 */
    const int64_t *block; /* [n], 0..blocks-1: volumes that are not independent; one class and run a block */
} gy_runcv_data;

/* Ridge regression on one-hot labels, its predictions written as score = H Y + mean of Y: H depends on the volumes
 * alone, so that it serves every permutation of the labels. With K = X X^T centred on the training rows,
 * H = K_test,train (K_train,train + penalty I)^-1 (the dual form; Saunders, Gammerman & Vovk 1998). */
typedef struct gy_runcv_ridge {
    gy_ctx *ctx;
    int64_t n, runs;
    double **hat;    /* [runs]: [n_test, n_train] */
    int64_t *n_test; /* [runs] */
    int64_t **order; /* [runs]: the test rows, then the training rows; n in all */
} gy_runcv_ridge;
gy_status gy_runcv_ridge_fit(gy_ctx *ctx, const gy_runcv_data *d, double penalty, gy_runcv_ridge *out) GY_MUST_CHECK;
void gy_runcv_ridge_free(gy_runcv_ridge *r);
/* score [n, classes] of each volume by the model that did not see its run. */
void gy_runcv_ridge_predict(const gy_runcv_ridge *r, int64_t classes, const int64_t *label, double *score);

/* Multinomial logistic regression (core/linalg), l2 the penalty on the mean loss; score = log-probabilities. */
gy_status gy_runcv_logistic(gy_ctx *ctx, const gy_runcv_data *d, double l2, double *score) GY_MUST_CHECK;

/* ---- what scores say ---- */

/* Class of the largest score, the first of equal ones. */
int64_t gy_runcv_argmax(const double *score, int64_t classes);
/* Share of volumes whose largest score is their class; `of_run` < 0: all. */
double gy_runcv_accuracy(const gy_runcv_data *d, const double *score, int64_t of_run);
/* The same for blocks: the scores of a block's volumes are averaged first. */
double gy_runcv_block_accuracy(const gy_runcv_data *d, const double *score);
/* Among volumes of classes a and b: the share whose own class has the larger of the two scores. */
double gy_runcv_pair_accuracy(const gy_runcv_data *d, const double *score, int64_t a, int64_t b);
/* counts [classes, classes]: rows true, columns predicted. */
void gy_runcv_confusion(const gy_runcv_data *d, const double *score, double *counts);

/* A ridge for classes a and b alone, trained and tested on their volumes: the share of held-out volumes that it
 * assigns rightly. penalty as above. */
gy_status gy_runcv_pair_ridge(gy_ctx *ctx, const gy_runcv_data *d, int64_t a, int64_t b, double penalty,
                              double *accuracy) GY_MUST_CHECK;
/* Haxby et al. 2001: the mean pattern of each class in the even runs is correlated with those in the odd runs, the mean
 * over classes taken off each half; a class is identified when it resembles itself more than any other.
 * *identified: how many of the classes. */
gy_status gy_runcv_split_half(gy_ctx *ctx, const gy_runcv_data *d, int64_t *identified) GY_MUST_CHECK;

/* Accuracies of the ridge under labels permuted within runs by whole blocks: volumes of one block stay together,
 * because neighbours in time resemble each other and single volumes are not exchangeable. null [count]. */
gy_status gy_runcv_permute(gy_ctx *ctx, const gy_runcv_data *d, const gy_runcv_ridge *r, uint64_t seed, int64_t count,
                           double *null) GY_MUST_CHECK;

/* How each class shows in the voxels, from a ridge fitted on all runs: pattern = cov(X) w / var(X w) (Haufe et al.,
 * NeuroImage 87 (2014), eq. 6): weights alone also serve to cancel noise and must not be read as activity.
 * contrast [classes] weighs the classes (face 1, house -1, others 0); pattern [p]. */
gy_status gy_runcv_pattern(gy_ctx *ctx, const gy_runcv_data *d, double penalty, const double *contrast,
                           double *pattern) GY_MUST_CHECK;

#endif
