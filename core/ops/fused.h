/* fused.h: what fused operators share: their exact derivatives through their expansion. Internal. */
#ifndef GY_OPS_FUSED_H
#define GY_OPS_FUSED_H

#include "../op.h"

/* x itself under a node of its own: gy_alias(x, 0) and gy_alias(x, 1) are different nodes, and no other node
 * is equal to either. Lets partial derivatives be taken with respect to two inputs that are the same value. */
gy_t gy_alias(gy_t x, int64_t index);

/* gx[i] += (d out_k / d in[i])^T ct for every float input, where out = expand(in) of operator `op`: the expansion of
 * a fused `<op>_grad`, and the gradient of a saved extra output (lse, mean, rstd) that somebody used. Absent inputs
 * and masks keep GY_NONE. n_in <= 8. */
void gy_fused_grad(gy_op_id op, const void *attr, int n_in, const gy_t in[], int n_out, int k, gy_t ct, gy_t gx[]);

/* a + b where GY_NONE is zero. */
gy_t gy_add_maybe(gy_t a, gy_t b);

/* gx of a fused_grad output that the expansion found to be unconnected: zeros of x's shape. */
gy_t gy_or_zeros(gy_t gx, gy_t x);

#endif
