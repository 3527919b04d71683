/* matmul.h: matrix products. */
#ifndef GY_OPS_MATMUL_H
#define GY_OPS_MATMUL_H

#include "../graph.h"

/* Activations that a product can apply on its way out (made by the planner's epilogue pass, or asked
 * for). Values are stable: kernels switch on them. */
typedef enum gy_act {
    GY_ACT_NONE = 0,
    GY_ACT_RELU,
    GY_ACT_SILU,
    GY_ACT_GELU,
    GY_ACT_GELU_TANH,
    GY_ACT_QUICK_GELU,
    GY_ACT_TANH,
    GY_ACT_SIGMOID
} gy_act;

/* op matmul: y = act(alpha op(a) op(b) + bias) + residual. Inputs: a, b, bias [N] or none, residual (y's
 * shape) or none. */
typedef struct gy_matmul_attr {
    int64_t trans_a, trans_b; /* the last two axes of a, b are exchanged */
    int64_t act;              /* gy_act */
    double alpha;             /* 0 means 1 */
} gy_matmul_attr;

/* [..., M, K] x [..., K, N] -> [..., M, N]; batch axes broadcast; both of one float dtype; rank >= 2. */
typedef struct gy_matmul_args {
    gy_site at;
    gy_t a, b;
    bool trans_a, trans_b;
} gy_matmul_args;
gy_t gy_matmul_(gy_matmul_args args);
#define gy_matmul(...) gy_matmul_((gy_matmul_args){GY_HERE, __VA_ARGS__})

/* x [..., in], w [out, in] (the layout of public checkpoints), b [out] or GY_NONE -> [..., out]. */
gy_t gy_linear_(gy_site at, gy_t x, gy_t w, gy_t b);
#define gy_linear(x, w, b) gy_linear_(GY_HERE, x, w, b)

/* Contraction by subscript, two operands: gy_einsum("bqhd,bkhd->bhqk", q, k). Letters in both inputs and
 * the output are batch axes, in both inputs only are summed; no repeated letter inside an operand. */
gy_t gy_einsum_(gy_site at, const char *subscripts, gy_t a, gy_t b);
#define gy_einsum(subscripts, a, b) gy_einsum_(GY_HERE, subscripts, a, b)

#endif
