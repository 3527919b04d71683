/* sort.h: top-k, sort, argmax. */
#ifndef GY_OPS_SORT_H
#define GY_OPS_SORT_H

#include "../graph.h"

#endif
