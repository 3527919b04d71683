/* softmax.h: softmax and log-softmax. */
#ifndef GY_OPS_SOFTMAX_H
#define GY_OPS_SOFTMAX_H

#include "../graph.h"

/* y_i = e^{x_i - m} / sum_j e^{x_j - m} along `axis` (m the maximum, so nothing overflows). x: float, any shape, the
 * axis not empty; y: x's shape and dtype. A row of -inf alone gives NaN, as 0/0 does; gy_attention and gy_where handle
 * masks. Along another axis than the last, the rows are gathered first (a transposed view). */
gy_t gy_softmax_(gy_site at, gy_t x, int64_t axis);
#define gy_softmax(x, axis) gy_softmax_(GY_HERE, x, axis)

/* y_i = x_i - log sum_j e^{x_j}, computed without forming the softmax. Same shapes. */
gy_t gy_log_softmax_(gy_site at, gy_t x, int64_t axis);
#define gy_log_softmax(x, axis) gy_log_softmax_(GY_HERE, x, axis)

#endif
