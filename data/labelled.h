/* labelled.h: brain images with a label at every voxel, and square slices of them.
 *
 * A path is a folder or a pair "image.nii.gz,labels.nii.gz". In a folder, an image NAME.nii[.gz] goes with the file
 * whose name begins with NAME and ends in labels, label, mask or seg before its suffix; images without one are taken
 * only if labels are not required.
 *
 * Intensities run from 0 (the smallest) to 1 (the 99.9th percentile; what is above is 1). The labels of all images
 * together are numbered 0, 1, ... in the order of their values, so that grey steps and atlas numbers both become
 * classes. */
#ifndef GY_DATA_LABELLED_H
#define GY_DATA_LABELLED_H

#include "../io/formats/nifti.h"

typedef struct gy_volume {
    int64_t dim[3];    /* the file's z, y, x: last axis fastest */
    double spacing[3]; /* mm along them */
    float *image;      /* [dim], in 0..1 */
    uint8_t *label;    /* [dim]: class; NULL: none */
    char name[64];
    gy_nifti grid; /* the image's header; no file behind it */
} gy_volume;

typedef struct gy_labelled {
    gy_ctx *ctx;
    int64_t n, classes; /* images, sorted by name; different labels (0: no labels) */
    gy_volume *volume;
    double value[256]; /* of each class in the files */
    uint64_t hash;     /* of all intensities and labels */
} gy_labelled;

/* Refused, by name: a folder without images or (with `labels`) without a pair; labels on another grid, with fractions
 * or NaN, or with more than 256 values; an image that is not 3-D, has NaN, or does not vary. */
gy_status gy_labelled_open(gy_ctx *ctx, const char *path, bool labels, gy_labelled *out) GY_MUST_CHECK;
void gy_labelled_free(gy_labelled *l); /* all-zero is fine */

/* Slice `index` across `axis` (0: the file's z), centred in a square of its longer side and brought to size x size
 * pixels: the image by means over each pixel's area (linear between voxels where it is enlarged), labels by the nearest
 * voxel; 0 outside. image or label may be NULL. Returns the mm of one pixel. */
double gy_volume_slice(const gy_volume *v, int axis, int64_t index, int64_t size, float *image, uint8_t *label);

/* First and last + 1 of the slices across `axis` that hold a label other than 0; *hi is 0 without any. */
void gy_volume_extent(const gy_volume *v, int axis, int64_t *lo, int64_t *hi);

/* Whether slice i of the n with labels, of volume v of `volumes`, is for training (1), for tests (2) or for neither
 * (0). With several subjects the last fifth of them are tests. With one, the fourth and the eighth tenth of its slices
 * are, and two slices beside each are left out, for neighbours look alike. */
int gy_slice_role(int64_t v, int64_t volumes, int64_t i, int64_t n);

#endif
