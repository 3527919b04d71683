/* fmri.h: volumes of a functional MRI experiment as rows of a matrix, with the category shown during each.
 *
 * Two layouts of a folder are recognised by what is in it:
 *   (a) attributes.txt beside one 4-D image: a line a volume, "label run" (PyMVPA's layout);
 *       attributes_literal.txt, if there, names the labels;
 *   (b) one or several 4-D images, each with a BIDS events.tsv (onset, duration, trial_type, seconds from the first
 *       volume of that image). An image is a run; when there is one image, a column `run` of its events divides it.
 * Both need a mask: a .nii or .nii.gz with "mask" in its name, non-zero inside; several masks are intersected.
 *
 * What is made of it (gy_fmri_prepare), per run and voxel: a straight line is subtracted and the rest divided by its
 * standard deviation; then volumes of rest are dropped. Line and deviation come from that run's own volumes: a
 * scanner's drift and gain differ from run to run, and nothing of another run enters, so a classifier trained
 * on some runs and tested on another learns nothing about the latter from the scaling. No label is used either. */
#ifndef GY_DATA_FMRI_H
#define GY_DATA_FMRI_H

#include "../io/formats/nifti.h"

/* Most runs (each is held out once) and categories. */
enum { GY_FMRI_RUNS = 256, GY_FMRI_CLASSES = 64 };

typedef struct gy_fmri {
    gy_ctx *ctx;
    int64_t volumes, voxels, runs, classes;
    float *x;          /* [volumes, voxels] */
    int64_t *label;    /* [volumes]: class; before gy_fmri_prepare -1 is rest */
    int64_t *run;      /* [volumes], rising */
    int64_t *block;    /* [volumes]: consecutive volumes of one class in one run are a block; from 0, rising */
    int64_t *scan;     /* [volumes]: index of the volume in its image, before rest was dropped */
    int64_t blocks;    /* in all */
    int64_t *voxel;    /* [voxels]: place in the grid, i + nx (j + ny k) */
    char **class_name; /* [classes] */
    char **run_name;   /* [runs] */
    float *mean;       /* [nz, ny, nx]: mean image of all volumes; not finite values count as 0 */
    gy_nifti grid;     /* header of the mask: sizes and place of the voxels; no file behind it */
    double tr;         /* seconds between volumes; 0: unknown */
    uint64_t hash;     /* of the values in the mask, labels and runs as read */
    char name[64];     /* "generated", or the image's name */
    uint8_t *truth;    /* [voxels]: generated data only: 1 where the category matters; NULL otherwise */
} gy_fmri;

typedef struct gy_fmri_args {
    double delay;        /* seconds from an event to its response; < 0: 4 for events.tsv, 0 for attributes.txt */
    const char *classes; /* categories to keep, "face,house"; NULL or "": all */
} gy_fmri_args;

/* Reads a folder and prepares it. Refused, by name: no image, no mask, no labels; a mask on another grid or an empty
 * one; as many labels as there are not volumes; NaN or Inf inside the mask; fewer than two runs; fewer than two
 * categories; more than GY_FMRI_RUNS and GY_FMRI_CLASSES; a category that some run lacks. Warned: voxels that do not
 * vary (left out), overlapping events. */
gy_status gy_fmri_open(gy_ctx *ctx, const char *dir, gy_fmri_args args, gy_fmri *out) GY_MUST_CHECK;
void gy_fmri_free(gy_fmri *f); /* all-zero is fine */

/* From raw series and labels (x, label with -1 for rest, run, scan, voxel, class_name, run_name filled in) to what a
 * classifier takes. `classes` as above. */
gy_status gy_fmri_prepare(gy_fmri *f, const char *classes) GY_MUST_CHECK;

/* Allocates the arrays by f->ctx and the counts given; class and run names are left NULL. */
gy_status gy_fmri_reserve(gy_fmri *f, int64_t volumes, int64_t voxels, int64_t runs, int64_t classes) GY_MUST_CHECK;

/* Subtracts the least-squares line from n values that are `stride` apart and scales them to standard deviation 1
 * (divisor n). False if what is left does not vary beyond rounding: the values are then zeros. */
bool gy_detrend_scale(float *v, int64_t n, int64_t stride);

/* Values, one a voxel, as a volume of f's grid (0 outside the mask), written as NIfTI. values [maps, voxels]. */
gy_status gy_fmri_write_map(const gy_fmri *f, const char *path, const double *values, int64_t maps) GY_MUST_CHECK;

/* ---- fmri_design.c ---- */

/* *out [voxels, 6]: the voxels that share a face with each (x-, x+, y-, y+, z-, z+), -1 where there is none in the
 * data. Owned by the caller. */
gy_status gy_fmri_neighbours(const gy_fmri *f, int64_t **out) GY_MUST_CHECK;
/* Deals the labels of each run anew to its blocks: labels no longer say what was shown. */
void gy_fmri_deal_labels(gy_fmri *f, uint64_t seed);
/* Replaces every voxel of a volume by the mean of the volume: the level of the response stays, its pattern goes. */
void gy_fmri_level_only(gy_fmri *f);

/* ---- generated data with known truth (synthfmri.c) ---- */

typedef struct gy_synthfmri_args {
    int64_t runs, classes, blocks, block_volumes; /* 0: 12, 8, one block a class and run, 9 volumes a block */
    double signal; /* response of an informative voxel in standard deviations of the noise */
    double offset; /* size of a constant that differs by run and voxel (scanner gain); removed by scaling */
} gy_synthfmri_args;
/* A slice of 40 x 20 voxels, an oval mask, rest between blocks, noise with memory from volume to volume and
 * smooth in space. Each category drives a patch of its own; the truth is in out->truth. Same seed, same bits. */
gy_status gy_synthfmri(gy_ctx *ctx, uint64_t seed, gy_synthfmri_args args, gy_fmri *out) GY_MUST_CHECK;
#endif
