/* metrics.h: what segmentation, restoration and diagnosis are judged by. Plain loops in double over host arrays. */
#ifndef GY_BLOCKS_METRICS_H
#define GY_BLOCKS_METRICS_H

#include "../../core/base.h"

/* ---- overlap of labels ----------------------------------------------------------------------- */

/* Counts of one class in a prediction and the truth, to be added up over slices or subjects (all zero: nothing yet). */
typedef struct gy_overlap {
    int64_t both, predicted, truth, all; /* elements of the class in both, in each, and elements in all */
} gy_overlap;
void gy_overlap_add(gy_overlap *o, const uint8_t *predicted, const uint8_t *truth, int64_t n, uint8_t class_id);
/* 2 |A n B| / (|A| + |B|) (Dice 1945); |A n B| / |A u B| (Jaccard); 1 - ||A| - |B|| / (|A| + |B|). Each is 1 when the
 * class is in neither. */
double gy_dice(const gy_overlap *o);
double gy_iou(const gy_overlap *o);
double gy_volume_similarity(const gy_overlap *o);

/* ---- distances between surfaces --------------------------------------------------------------- */

/* Voxels of the class with a neighbour across a face that is not of it (or lies outside the grid) are its surface. */
typedef struct gy_surface {
    double mean;         /* of the distances from each surface voxel of either to the other surface, both ways pooled */
    double hausdorff;    /* the largest of them */
    double hausdorff_95; /* their 95th percentile (nearest rank) */
} gy_surface;
/* Label maps [dim[0], dim[1], dim[2]], last axis fastest (an axis of size 1 has no neighbours: 2-D); spacing of each
 * axis in mm (or whatever the distances shall be in). NaN where either has no voxel of the class. By the exact distance
 * transform of Felzenszwalb & Huttenlocher 2012 (Theory of Computing 8:415). */
gy_status gy_surface_distance(gy_ctx *ctx, const uint8_t *predicted, const uint8_t *truth, uint8_t class_id,
                              const int64_t dim[3], const double spacing[3], gy_surface *out) GY_MUST_CHECK;
/* Squared Euclidean distance from each voxel to the nearest voxel with seed != 0; INFINITY without any. */
gy_status gy_distance_squared(gy_ctx *ctx, const uint8_t *seed, const int64_t dim[3], const double spacing[3],
                              double *out) GY_MUST_CHECK;

/* ---- pictures -------------------------------------------------------------------------------- */

/* 10 log10(range^2 / mean squared error) in dB; INFINITY for equal pictures. */
double gy_psnr(const float *a, const float *b, int64_t n, double range);
/* Mean structural similarity of two [h, w] pictures: Gaussian window of 11 x 11, sigma 1.5, where it fits entirely,
 * biased moments, C1 = (0.01 range)^2, C2 = (0.03 range)^2 (Wang et al. 2004, eq. 13). NaN if a side is below 11. */
double gy_ssim(const float *a, const float *b, int64_t h, int64_t w, double range);

/* ---- two-class scores and decisions ---------------------------------------------------------- */

/* Area under the ROC curve: the chance that a positive (label != 0) scores above a negative, ties half. NaN if a class
 * is missing; GY_ERR_NOMEM is the only failure. */
gy_status gy_auc(gy_ctx *ctx, const float *score, const uint8_t *label, int64_t n, double *auc) GY_MUST_CHECK;

typedef struct gy_confusion {
    int64_t tp, fp, fn, tn;
} gy_confusion;
void gy_confusion_add(gy_confusion *c, const uint8_t *predicted, const uint8_t *truth, int64_t n);
double gy_accuracy(const gy_confusion *c);
double gy_balanced_accuracy(const gy_confusion *c); /* mean of sensitivity and specificity; NaN if a class is missing */
double gy_f1(const gy_confusion *c);                /* 0 if there is nothing to find and nothing was found */
double gy_mcc(const gy_confusion *c);               /* Matthews' correlation; 0 where a margin is empty */

#endif
