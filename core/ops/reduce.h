/* reduce.h: reductions over axes. */
#ifndef GY_OPS_REDUCE_H
#define GY_OPS_REDUCE_H

#include "../graph.h"

/* The axes of a reduction: GY_AXES(1, 2); GY_AXES(-1) is the last one; GY_ALL, the empty list, means all axes. */
typedef struct gy_axes {
    int64_t n;
    int64_t axis[GY_MAX_RANK];
} gy_axes;
#define GY_AXES(...)                                                                                                   \
    ((gy_axes){.n = (int64_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .axis = {__VA_ARGS__}})
#define GY_ALL ((gy_axes){0})

typedef struct gy_reduce_attr {
    gy_axes axes; /* normalised: sorted, non-negative */
    int64_t keep; /* keep reduced axes with size 1 */
} gy_reduce_attr;

gy_t gy_reduce_(gy_site at, int op, gy_t x, gy_axes axes, bool keep);
/* Sums run in blocks of fixed bounds, combined in order. An empty sum is 0, an empty product 1; an empty
 * max, min or mean is refused. */
#define gy_sum(x, axes)         gy_reduce_(GY_HERE, GY_OP_sum, x, axes, false)
#define gy_sum_keep(x, axes)    gy_reduce_(GY_HERE, GY_OP_sum, x, axes, true)
#define gy_sum_squares(x, axes) gy_reduce_(GY_HERE, GY_OP_sum_squares, x, axes, false)
#define gy_prod(x, axes)        gy_reduce_(GY_HERE, GY_OP_prod, x, axes, false)
/* Ties share the gradient equally. */
#define gy_max(x, axes)      gy_reduce_(GY_HERE, GY_OP_max, x, axes, false)
#define gy_max_keep(x, axes) gy_reduce_(GY_HERE, GY_OP_max, x, axes, true)
#define gy_min(x, axes)      gy_reduce_(GY_HERE, GY_OP_min, x, axes, false)

gy_t gy_mean_(gy_site at, gy_t x, gy_axes axes, bool keep);
#define gy_mean(x, axes)      gy_mean_(GY_HERE, x, axes, false)
#define gy_mean_keep(x, axes) gy_mean_(GY_HERE, x, axes, true)
/* Biased variance (divides by n); `ddof` 1 divides by n-1. */
gy_t gy_var_(gy_site at, gy_t x, gy_axes axes, bool keep, int64_t ddof);
#define gy_var(x, axes, ddof) gy_var_(GY_HERE, x, axes, false, ddof)
/* log sum e^x, shifted by the maximum. */
gy_t gy_logsumexp_(gy_site at, gy_t x, gy_axes axes, bool keep);
#define gy_logsumexp(x, axes)      gy_logsumexp_(GY_HERE, x, axes, false)
#define gy_logsumexp_keep(x, axes) gy_logsumexp_(GY_HERE, x, axes, true)

/* Running sum along one axis. */
gy_t gy_cumsum_(gy_site at, gy_t x, int64_t axis, bool reverse);
#define gy_cumsum(x, axis)         gy_cumsum_(GY_HERE, x, axis, false)
#define gy_cumsum_reverse(x, axis) gy_cumsum_(GY_HERE, x, axis, true)

/* Index (i64) of the first largest or smallest element along one axis; not differentiable. */
gy_t gy_arg_(gy_site at, int op, gy_t x, int64_t axis);
#define gy_argmax(x, axis) gy_arg_(GY_HERE, GY_OP_argmax, x, axis)
#define gy_argmin(x, axis) gy_arg_(GY_HERE, GY_OP_argmin, x, axis)

#endif
