/* norm.h: layer, RMS, group, instance and batch normalisation. */
#ifndef GY_OPS_NORM_H
#define GY_OPS_NORM_H

#include "../graph.h"

#endif
