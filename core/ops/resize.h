/* resize.h: nearest and linear resizing of the spatial axes, pixel shuffle; features last.
 *
 * Resizing is linear in x and separable: on each axis, output o is a weighted mean of one or two elements,
 *     nearest  x[floor(o s)],  s = n_in / n_out
 *     linear   (1 - l) x[i] + l x[i + 1], i + l = max((o + 1/2) s - 1/2, 0);  align_corners: o (n_in - 1) / (n_out - 1)
 * the rules of PyTorch's interpolate (nearest, linear, bilinear, trilinear). resize_dx is the adjoint. */
#ifndef GY_OPS_RESIZE_H
#define GY_OPS_RESIZE_H

#include "../graph.h"

#include <math.h>

typedef enum gy_resize_mode { GY_RESIZE_NEAREST = 0, GY_RESIZE_LINEAR } gy_resize_mode;

/* Attributes of resize and resize_dx. Arrays hold three axes whatever the rank: the last spatial axis is entry 2;
 * leading axes that x lacks have size 1. */
typedef struct gy_resize_attr {
    int64_t mode; /* gy_resize_mode */
    int64_t align_corners;
    int64_t in[3], out[3]; /* the spatial sizes of x and of y */
    double step[3];        /* s above where a scale factor was given (1 / factor); 0: from the sizes */
} gy_resize_attr;

/* Where output o reads on one axis: weight w[0] on element *i, and w[1] on element *i + 1 if 2 is returned. */
static inline int gy_resize_source(const gy_resize_attr *a, int axis, int64_t o, int64_t *i, double w[2]) {
    int64_t in = a->in[axis], out = a->out[axis];
    w[0] = 1.0;
    w[1] = 0.0;
    if (a->mode == GY_RESIZE_NEAREST) {
        /* single precision on purpose: PyTorch's index, on which public weights were trained */
        float s = a->step[axis] > 0.0 ? (float)a->step[axis] : (float)in / (float)out;
        int64_t at = (int64_t)floorf((float)o * s);
        *i = at < in ? at : in - 1;
        return 1;
    }
    if (in == out) { /* PyTorch: even where a scale factor would move the samples */
        *i = o;
        return 1;
    }
    double s = a->step[axis] > 0.0 ? a->step[axis] : (double)in / (double)out;
    double at = ((double)o + 0.5) * s - 0.5;
    if (a->align_corners) at = out > 1 ? (double)o * ((double)(in - 1) / (double)(out - 1)) : 0.0;
    if (at < 0.0) at = 0.0;
    int64_t lower = (int64_t)at;
    if (lower >= in - 1) { /* at the last element, or past it */
        *i = in - 1;
        return 1;
    }
    *i = lower;
    w[1] = at - (double)lower;
    w[0] = 1.0 - w[1];
    return 2;
}

/* x [B, spatial..., C] -> [B, size..., C], one to three spatial axes, a float type. Either
 *   size   one value a spatial axis, or one for all; or
 *   scale  a factor for all spatial axes: size = floor(n scale)
 * mode GY_RESIZE_NEAREST (default) or GY_RESIZE_LINEAR (bilinear, trilinear); align_corners for linear only. */
typedef struct gy_resize_args {
    gy_site at;
    gy_t x;
    gy_shape size;
    double scale;
    gy_resize_mode mode;
    bool align_corners;
} gy_resize_args;
gy_t gy_resize_(gy_resize_args args);
#define gy_resize(...) gy_resize_((gy_resize_args){GY_HERE, __VA_ARGS__})

/* x [B, spatial..., C r^n] -> [B, r spatial..., C] for n spatial axes (Shi et al. 2016, arXiv:1609.05158). Channel
 * order as PyTorch's: in two dimensions, output channel c at (r h + i, r w + j) is input channel c r^2 + i r + j at (h,
 * w). */
gy_t gy_pixel_shuffle_(gy_site at, gy_t x, int64_t r);
#define gy_pixel_shuffle(x, r) gy_pixel_shuffle_(GY_HERE, x, r)
/* The inverse: [B, r spatial..., C] -> [B, spatial..., C r^n]. */
gy_t gy_pixel_unshuffle_(gy_site at, gy_t x, int64_t r);
#define gy_pixel_unshuffle(x, r) gy_pixel_unshuffle_(GY_HERE, x, r)

#endif
