/* tissue.h: segmentation of a brain image into tissues by a Gaussian mixture with a smooth bias field, in the manner of
 * FSL's FAST (Zhang, Brady & Smith 2001, IEEE TMI 20:45), without its Markov random field. */
#ifndef GY_BLOCKS_TISSUE_H
#define GY_BLOCKS_TISSUE_H

#include "../../core/base.h"

enum { GY_TISSUES = 8 }; /* most classes */

typedef struct gy_tissue_args {
    int64_t dim[3];       /* [dim[0], dim[1], dim[2]], last axis fastest; an axis of size 1 has no bias along it */
    const float *image;   /* intensities; values of 1e-3 and less count as 1e-3 */
    const uint8_t *brain; /* voxels that count: != 0 */
    int64_t classes;      /* 2..GY_TISSUES */
    int64_t iterations;   /* of expectation maximisation */
    bool inverted;        /* T2-like contrast: the brightest class comes first instead of last */
} gy_tissue_args;

/* Model of the log intensities: y_i = mu_k + b(place_i) + N(0, var_k), b a polynomial of second order without constant,
 * class k with probability pi_k. E: posteriors p_ik. M: mu, var, pi by weighted moments of y - b; b by least squares on
 * y_i - (sum_k p_ik mu_k / var_k) / (sum_k p_ik / var_k), weighted by that denominator. Starts with means equally
 * spaced over the range of the middle 98 % of y, and no bias.
 * label [n]: 0 outside the brain, else 1..classes from dark to bright (bright to dark if inverted). intensity [classes]
 * (may be NULL): exp(mu) of label 1, 2, ... GY_ERR_NUMERIC if fewer than 10 voxels a class are in the brain. */
gy_status gy_tissue_segment(gy_ctx *ctx, const gy_tissue_args *args, uint8_t *label, double *intensity) GY_MUST_CHECK;

#endif
