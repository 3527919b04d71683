/* morphology.h: thresholds and connected components of pictures and volumes. */
#ifndef GY_BLOCKS_MORPHOLOGY_H
#define GY_BLOCKS_MORPHOLOGY_H

#include "../../core/base.h"

/* Otsu's threshold (1979): the upper end of the bin (of 256 between the smallest and the largest value) that splits the
 * values into two sets with the largest variance between their means; values above it are foreground. The first of
 * equal ones; the value itself if all are equal. n >= 1, all finite. */
double gy_otsu(const float *x, int64_t n);

/* Components of the voxels with mask != 0 in [dim[0], dim[1], dim[2]] (last axis fastest; an axis of size 1 makes it
 * 2-D), joined across faces: label [n] gets 1, 2, ... in the order of each component's first voxel, 0 elsewhere. */
gy_status gy_components(gy_ctx *ctx, const uint8_t *mask, const int64_t dim[3], int32_t *label,
                        int64_t *count) GY_MUST_CHECK;

/* Area opening of a binary mask, in place: components of fewer than `least` voxels vanish. */
gy_status gy_area_opening(gy_ctx *ctx, uint8_t *mask, const int64_t dim[3], int64_t least) GY_MUST_CHECK;

#endif
