/* shape.h: the same elements under other shapes and orders. */
#ifndef GY_OPS_SHAPE_H
#define GY_OPS_SHAPE_H

#include "../graph.h"

/* Attributes, for kernels and the planner. */
typedef struct gy_shape_attr { /* reshape, broadcast: the new shape; permute: the order */
    gy_shape shape;
} gy_shape_attr;
typedef struct gy_axis_attr { /* slice, unslice (n: size of the axis), flip, pad, concat */
    int64_t axis, start, step, n;
    int64_t before, after;
    double value;
} gy_axis_attr;

/* One dimension may be -1: what is left. */
gy_t gy_reshape_(gy_site at, gy_t x, gy_shape shape);
#define gy_reshape(x, ...)      gy_reshape_(GY_HERE, x, GY_S(__VA_ARGS__))
#define gy_reshape_to(x, shape) gy_reshape_(GY_HERE, x, shape)
/* Axes [first, last] become one. */
gy_t gy_flatten_(gy_site at, gy_t x, int64_t first, int64_t last);
#define gy_flatten(x, first, last) gy_flatten_(GY_HERE, x, first, last)
/* [B, spatial..., C] -> [B, C * spatial]: channels first inside, as PyTorch's flatten of NCHW does; for
 * weights that were trained on that order. */
gy_t gy_flatten_chw_(gy_site at, gy_t x);
#define gy_flatten_chw(x) gy_flatten_chw_(GY_HERE, x)

/* A permutation of all axes: gy_permute(x, 0, 2, 1, 3). */
gy_t gy_permute_(gy_site at, gy_t x, gy_shape order);
#define gy_permute(x, ...) gy_permute_(GY_HERE, x, GY_S(__VA_ARGS__))
gy_t gy_swap_(gy_site at, gy_t x, int64_t a, int64_t b); /* two axes exchanged */
#define gy_transpose(x)  gy_swap_(GY_HERE, x, -1, -2)
#define gy_swap(x, a, b) gy_swap_(GY_HERE, x, a, b)
gy_t gy_unsqueeze_(gy_site at, gy_t x, int64_t axis); /* a new axis of size 1 at `axis` */
#define gy_unsqueeze(x, axis) gy_unsqueeze_(GY_HERE, x, axis)
gy_t gy_squeeze_(gy_site at, gy_t x, int64_t axis); /* removes an axis of size 1 */
#define gy_squeeze(x, axis) gy_squeeze_(GY_HERE, x, axis)

gy_t gy_broadcast_to_(gy_site at, gy_t x, gy_shape shape); /* NumPy's rules */
#define gy_broadcast_to(x, shape) gy_broadcast_to_(GY_HERE, x, shape)
gy_t gy_tile_(gy_site at, gy_t x, gy_shape repeats); /* repeats each axis, as numpy.tile */
#define gy_tile(x, ...) gy_tile_(GY_HERE, x, GY_S(__VA_ARGS__))

/* Elements start, start+step, ... of one axis; stop is exclusive; negative start and stop count from
 * the end; stop 0 with step > 0 means "to the end". step > 0. */
gy_t gy_slice_(gy_site at, gy_t x, int64_t axis, int64_t start, int64_t stop, int64_t step);
#define gy_slice(x, axis, start, stop)            gy_slice_(GY_HERE, x, axis, start, stop, 1)
#define gy_slice_step(x, axis, start, stop, step) gy_slice_(GY_HERE, x, axis, start, stop, step)
gy_t gy_flip_(gy_site at, gy_t x, int64_t axis);
#define gy_flip(x, axis) gy_flip_(GY_HERE, x, axis)
/* Element i moves to i + shift (modulo the size), as numpy.roll. */
gy_t gy_roll_(gy_site at, gy_t x, int64_t axis, int64_t shift);
#define gy_roll(x, axis, shift) gy_roll_(GY_HERE, x, axis, shift)

/* Constant padding of one axis. */
gy_t gy_pad_(gy_site at, gy_t x, int64_t axis, int64_t before, int64_t after, double value);
#define gy_pad(x, axis, before, after)              gy_pad_(GY_HERE, x, axis, before, after, 0.0)
#define gy_pad_value(x, axis, before, after, value) gy_pad_(GY_HERE, x, axis, before, after, value)
/* One axis continued as in a mirror at its end elements, which are not repeated: c b [a b c d] c b (PyTorch's
 * "reflect"). before, after < its size. */
gy_t gy_reflect_pad_(gy_site at, gy_t x, int64_t axis, int64_t before, int64_t after);
#define gy_reflect_pad(x, axis, before, after) gy_reflect_pad_(GY_HERE, x, axis, before, after)

/* Joins n values along an axis; all other dimensions equal. */
gy_t gy_concat_(gy_site at, int64_t axis, int64_t n, const gy_t x[]);
#define gy_concat(axis, n, x)  gy_concat_(GY_HERE, axis, n, x)
#define gy_concat2(axis, a, b) gy_concat_(GY_HERE, axis, 2, (gy_t[]){a, b})
/* Cuts an axis into n equal parts. */
void gy_split_(gy_site at, gy_t x, int64_t axis, int64_t n, gy_t out[]);
#define gy_split(x, axis, n, out) gy_split_(GY_HERE, x, axis, n, out)
/* Joins along a new axis. */
gy_t gy_stack_(gy_site at, int64_t axis, int64_t n, const gy_t x[]);
#define gy_stack(axis, n, x) gy_stack_(GY_HERE, axis, n, x)

/* 0, 1, ..., n-1 as i64 or a float type. */
gy_t gy_iota_(gy_site at, gy_graph *g, gy_dtype dtype, int64_t n);
#define gy_iota(g, dtype, n) gy_iota_(GY_HERE, g, dtype, n)

#endif
