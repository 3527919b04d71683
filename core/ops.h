/* ops.h: all operators, by family. */
#ifndef GY_OPS_H
#define GY_OPS_H

#include "graph.h"

/* GY_OP_add, GY_OP_matmul, ...: one a row of ops/ops.def. */
typedef enum gy_op_id {
    GY_OP_NONE = 0,
#define GY_OP(name, n_in, n_out, flags, formula) GY_OP_##name,
#include "ops/ops.def"
#undef GY_OP
    GY_OP_COUNT
} gy_op_id;

#include "ops/elementwise.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "ops/matmul.h"
#include "ops/conv.h"
#include "ops/pool.h"
#include "ops/resize.h"
#include "ops/norm.h"
#include "ops/softmax.h"
#include "ops/attention.h"
#include "ops/index.h"
#include "ops/sort.h"
#include "ops/random.h"
#include "ops/loss.h"
#include "ops/fft.h"
#include "ops/update.h"
#include "ops/collective.h"

#endif
