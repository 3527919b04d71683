/* sort.h: sorting and the k largest.
 *
 * Order is stable: equal elements keep the order of their positions, so the lower index comes first in
 * either direction. NaN comes last in either direction. */
#ifndef GY_OPS_SORT_H
#define GY_OPS_SORT_H

#include "../graph.h"

/* op sort: the first k elements in order along `axis`. */
typedef struct gy_sort_attr {
    int64_t axis, descending, k;
} gy_sort_attr;

/* x [A..., N, B...] float -> output 0: values in order; output 1 (i64): the position in x of each. The
 * gradient of the values goes back to these positions. */
gy_t gy_sort_(gy_site at, gy_t x, int64_t axis, bool descending);
#define gy_sort(x, axis)            gy_sort_(GY_HERE, x, axis, false)
#define gy_sort_descending(x, axis) gy_sort_(GY_HERE, x, axis, true)
/* The positions alone. */
#define gy_argsort(x, axis) gy_out(gy_sort_(GY_HERE, x, axis, false), 1)

/* The k largest of the last axis, largest first: x [..., N] -> values [..., k]; output 1 (i64): positions.
 * 0 <= k <= N. */
gy_t gy_top_k_(gy_site at, gy_t x, int64_t k);
#define gy_top_k(x, k) gy_top_k_(GY_HERE, x, k)

#endif
