/* figure.h: the one figure module. A chart is described by a plain struct and becomes SVG text that
 * stands alone: no script, no font, no reference outside itself; it follows the reader's light or dark
 * setting and prints in light.
 *
 * What a reader needs to judge a picture is required, not optional: the units, how many observations
 * (n) of what, the level that guessing would reach, and for pictures of a brain which hemisphere and
 * which side is left. A missing member is GY_ERR_USAGE with a message that names it. Where there is
 * truly nothing to say, it is said: GY_NO_UNIT, gy_no_chance(), GY_SIDE_NONE. The title, a caption, a
 * text for readers who cannot see the picture, and the command that makes it again are required too.
 *
 * The same description gives the same bytes. Values that are NaN or infinite leave a gap. Arrays are
 * borrowed for the length of the call. */
#ifndef GY_REPORT_FIGURE_H
#define GY_REPORT_FIGURE_H

#include "colormap.h"
#include "raster.h"

#define GY_NO_UNIT "no unit" /* a plain number, said on purpose */

typedef enum gy_side {
    GY_SIDE_MISSING = 0,
    GY_SIDE_LEFT,
    GY_SIDE_RIGHT,
    GY_SIDE_BOTH,
    GY_SIDE_NONE /* the picture is not about a place in the brain */
} gy_side;

typedef struct gy_chance {
    enum { GY_CHANCE_MISSING = 0, GY_CHANCE_LEVEL, GY_CHANCE_NONE } kind;
    double level; /* in the unit of the value axis */
} gy_chance;
gy_chance gy_chance_at(double level);
gy_chance gy_no_chance(void); /* guessing reaches no level of this quantity (a loss, a time) */

/* What every figure says about itself; every member is required. */
typedef struct gy_figure_head {
    const char *title;   /* one line */
    const char *caption; /* what is seen and how to read it */
    const char *alt;     /* the picture in words, for readers who cannot see it */
    const char *command; /* the command line that makes this picture again */
    int64_t n;           /* observations behind it, above 0 */
    const char *n_of;    /* what they are: "held-out volumes", "permutations" */
    gy_chance chance;
    gy_side side;
} gy_figure_head;

typedef struct gy_axis {
    const char *label; /* the quantity; required */
    const char *unit;  /* required: "s", "mm", "%", GY_NO_UNIT */
    double lo, hi;     /* the range shown; equal: taken from the data */
    bool log;          /* base 10; values <= 0 are left out */
} gy_axis;

/* A finished figure: SVG and the words that stand below it. Free with gy_figure_free. */
typedef struct gy_figure {
    char *svg, *title, *caption, *command;
    uint64_t svg_size;
} gy_figure;
void gy_figure_free(gy_ctx *ctx, gy_figure *f);
/* Writes the SVG alone through files.h; caption and command are in its <desc>. */
gy_status gy_figure_write(gy_ctx *ctx, const char *path, const gy_figure *f) GY_MUST_CHECK;

/* ---- charts ---------------------------------------------------------------------------------- */

typedef struct gy_series {
    const char *name;
    int64_t n;
    const double *x, *y;   /* x NULL: 1, 2, ..., n */
    const double *lo, *hi; /* error band around y (absolute values), both or none */
} gy_series;

/* Learning curves and the like: x should rise. More than 800 points a series are drawn as the minimum and
 * maximum of each of 400 groups, so no spike is lost. */
typedef struct gy_line_chart {
    gy_figure_head head;
    gy_axis x, y; /* the chance level is a line across y */
    const gy_series *series;
    int64_t n_series;
    const char *error_is; /* what the band is ("95 % interval over 12 runs"); required with a band */
} gy_line_chart;
gy_status gy_figure_line(gy_ctx *ctx, const gy_line_chart *c, gy_figure *out) GY_MUST_CHECK;

typedef struct gy_bar {
    const char *name;
    double value, lo, hi; /* error bar from lo to hi (absolute values); equal: none */
} gy_bar;
typedef struct gy_bar_chart {
    gy_figure_head head;
    const char *label; /* what the bars are: "region" */
    gy_axis y;         /* always shows zero; log is refused, a bar has no length there */
    const gy_bar *bars;
    int64_t n_bars;
    const char *error_is; /* required with an error bar */
} gy_bar_chart;
gy_status gy_figure_bars(gy_ctx *ctx, const gy_bar_chart *c, gy_figure *out) GY_MUST_CHECK;

/* More than 4,000 points a series: every k-th is drawn, and the figure says so. */
typedef struct gy_scatter {
    gy_figure_head head;
    gy_axis x, y;
    const gy_series *series; /* x required; lo, hi unused */
    int64_t n_series;
    bool identity; /* draws y = x */
} gy_scatter;
gy_status gy_figure_scatter(gy_ctx *ctx, const gy_scatter *c, gy_figure *out) GY_MUST_CHECK;

/* A distribution, for instance of accuracies under permuted labels, with the observed value marked and the
 * count of values at or above it. */
typedef struct gy_histogram {
    gy_figure_head head;
    gy_axis x; /* log is refused */
    const double *values;
    int64_t n_values;
    int64_t bins; /* 0: the square root of n_values, from 8 to 40 */
    bool has_observed;
    double observed;
    const char *observed_is; /* required with has_observed: "accuracy with the true labels" */
} gy_histogram;
gy_status gy_figure_histogram(gy_ctx *ctx, const gy_histogram *c, gy_figure *out) GY_MUST_CHECK;

/* A matrix [rows, cols], row-major: confusion matrix, similarity, attention. Up to 24 x 24 with numbers in the
 * cells if they fit; larger ones as pixels. */
typedef struct gy_heatmap {
    gy_figure_head head;
    const double *values;
    int64_t rows, cols;
    const char *const *row_names, *const *col_names; /* NULL: none shown */
    const char *row_label, *col_label;               /* "true class", "predicted class"; required */
    gy_axis value;                                   /* log is refused */
    bool row_normalised;                             /* divide each row by its sum first */
    int decimals;                                    /* of the numbers in the cells */
    gy_colormap map;                                 /* diverging: the range is made symmetric about 0 */
} gy_heatmap;
gy_status gy_figure_heatmap(gy_ctx *ctx, const gy_heatmap *c, gy_figure *out) GY_MUST_CHECK;

/* ---- pictures --------------------------------------------------------------------------------- */

typedef enum gy_plane { GY_PLANE_AXIAL = 0, GY_PLANE_CORONAL, GY_PLANE_SAGITTAL } gy_plane;

/* Slices through a volume in grey with a signed map over it. Voxel (i, j, k) is at i*stride[0] +
 * j*stride[1] + k*stride[2]. Neurological view: the subject's left is on the left, and the letters at
 * the edges say so; they come from the orientation given, never from a guess. */
typedef struct gy_mosaic {
    gy_figure_head head; /* side must not be GY_SIDE_NONE */
    const float *base;   /* mean or anatomical image */
    const char *base_is; /* required: "mean functional image" */
    const float *map;    /* on the same grid, NaN: nothing there; NULL: no overlay */
    int64_t dim[3];
    int64_t stride[3];       /* in elements; all 0: first index fastest, as in NIfTI */
    const char *orientation; /* required: where each index grows to, such as "RAS" or "LPI" */
    double affine[3][4];     /* voxel index -> mm in R, A, S; all 0: unknown, slices are named by index */
    gy_axis value;           /* of the map (of the base if there is none); lo, hi: colour range of a base alone; a
                                map's range is symmetric, -hi to hi (hi 0: its largest magnitude) */
    double threshold;        /* |map| below it is not drawn */
    gy_plane plane;
    const int64_t *slices;     /* indices along the plane's normal; NULL: n_slices evenly through what is not zero */
    int64_t n_slices, columns; /* columns 0: 6 */
    bool radiological;         /* the subject's left on the right */
} gy_mosaic;
gy_status gy_figure_mosaic(gy_ctx *ctx, const gy_mosaic *c, gy_figure *out) GY_MUST_CHECK;
/* The letters for an affine (dominant axes): "RAS", ... GY_ERR_NUMERIC if it is singular or not finite. */
gy_status gy_orientation_of(gy_ctx *ctx, const double affine[3][4], char out[4]) GY_MUST_CHECK;

/* Pictures side by side: stimuli and reconstructions, samples, activations. */
typedef struct gy_pictures {
    gy_figure_head head;
    gy_axis value;             /* what a pixel is: label and unit */
    const gy_image *images;    /* 8 bits; sizes may differ */
    const char *const *names;  /* n_images, or NULL */
    int64_t n_images, columns; /* columns 0: up to 6 */
} gy_pictures;
gy_status gy_figure_pictures(gy_ctx *ctx, const gy_pictures *c, gy_figure *out) GY_MUST_CHECK;

#endif
