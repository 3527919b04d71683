/* conv.h: convolution in one, two and three dimensions, features last. */
#ifndef GY_OPS_CONV_H
#define GY_OPS_CONV_H

#include "../graph.h"

#endif
