/* softmax.h: softmax and log-softmax. */
#ifndef GY_OPS_SOFTMAX_H
#define GY_OPS_SOFTMAX_H

#include "../graph.h"

#endif
