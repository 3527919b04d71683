/* collective.h: what processes that train together do with one another's values (core/group.h). */
#ifndef GY_OPS_COLLECTIVE_H
#define GY_OPS_COLLECTIVE_H

#include "../graph.h"

struct gy_group;

/* op all_reduce */
typedef struct gy_all_reduce_attr {
    struct gy_group *group; /* NULL: alone, y = x */
} gy_all_reduce_attr;

/* The sum of x (f32 or f64) over the ranks of the graph's context, the same bits on each. Every rank must make the same
 * calls. Steps of this operator are planned as soon as x is known, and on GPUs run beside what does not need y.
 * Not differentiable: it stands between gradients and their update. */
gy_t gy_all_reduce_(gy_site at, gy_t x);
#define gy_all_reduce(x) gy_all_reduce_(GY_HERE, x)

#endif
