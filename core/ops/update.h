/* update.h: optimizer updates. */
#ifndef GY_OPS_UPDATE_H
#define GY_OPS_UPDATE_H

#include "../graph.h"

#endif
