/* random.h: random values, dropout. */
#ifndef GY_OPS_RANDOM_H
#define GY_OPS_RANDOM_H

#include "../graph.h"

#endif
