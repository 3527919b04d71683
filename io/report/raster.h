/* raster.h: numbers to pixels. Arrays become colour-mapped pictures, pictures become grids, and a
 * picture becomes a data: URL for a page that needs no other file. */
#ifndef GY_REPORT_RASTER_H
#define GY_REPORT_RASTER_H

#include "../formats/png.h"
#include "colormap.h"
#include "text.h"

/* Colours a [height, width] f32 array, row-major, first row on top, as 8-bit RGBA. lo maps to the first
 * colour, hi to the last, values outside are clamped; lo < hi, both finite (else GY_ERR_USAGE). NaN is
 * transparent. Free with gy_image_free. */
gy_status gy_raster_map(gy_ctx *ctx, const float *values, int64_t height, int64_t width, gy_colormap map, double lo,
                        double hi, gy_image *out) GY_MUST_CHECK;

/* Puts `over` (RGBA of the same size) onto `base` where |v| >= threshold, v being the array that `over` shows;
 * NaN and values below stay as they are. Both 8-bit RGBA. */
gy_status gy_raster_overlay(gy_ctx *ctx, gy_image *base, const gy_image *over, const float *v,
                            double threshold) GY_MUST_CHECK;

/* A [height, width, channels] f32 array in [0, 1] (1, 3 or 4 channels; features last) as an 8-bit picture;
 * values are clamped and rounded to nearest, NaN is 0. */
gy_status gy_raster_image(gy_ctx *ctx, const float *values, int64_t height, int64_t width, int64_t channels,
                          gy_image *out) GY_MUST_CHECK;

/* Enlarges by an integer factor, each pixel to a square of equal pixels. */
gy_status gy_raster_upscale(gy_ctx *ctx, const gy_image *img, int64_t factor, gy_image *out) GY_MUST_CHECK;

/* Lays n 8-bit pictures of equal size out in rows of `columns`, row by row, each enlarged by `scale`, with
 * `gap` transparent pixels between them. 8-bit RGBA. Fails with GY_ERR_SHAPE if sizes differ. */
gy_status gy_raster_grid(gy_ctx *ctx, const gy_image *images, int64_t n, int64_t columns, int64_t scale, int64_t gap,
                         gy_image *out) GY_MUST_CHECK;

/* Appends "data:image/png;base64,..." */
gy_status gy_raster_data_url(gy_text *t, const gy_image *img) GY_MUST_CHECK;

#endif
