/* resize.h: nearest and linear resizing, pixel shuffle. */
#ifndef GY_OPS_RESIZE_H
#define GY_OPS_RESIZE_H

#include "../graph.h"

#endif
