/* index.h: embedding, gather, scatter-add, segments, sparse-dense product. */
#ifndef GY_OPS_INDEX_H
#define GY_OPS_INDEX_H

#include "../graph.h"

#endif
