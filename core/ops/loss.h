/* loss.h: losses. */
#ifndef GY_OPS_LOSS_H
#define GY_OPS_LOSS_H

#include "../graph.h"

#endif
