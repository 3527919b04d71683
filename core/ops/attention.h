/* attention.h: scaled dot-product attention. */
#ifndef GY_OPS_ATTENTION_H
#define GY_OPS_ATTENTION_H

#include "../graph.h"

#endif
