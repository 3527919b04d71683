/* pool.h: max, average and adaptive pooling, features last. */
#ifndef GY_OPS_POOL_H
#define GY_OPS_POOL_H

#include "../graph.h"

#endif
