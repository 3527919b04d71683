/* ops.h: what every operator must pass, case by case. Each function fails the running cmocka test. */
#ifndef GY_TEST_OPS_H
#define GY_TEST_OPS_H

#include "harness.h"

#include "core/gyrus.h"
#include "core/op.h"

/* Cases of an operator that exist. */
int ops_case_count(gy_ctx *ctx, gy_op_id op);
/* f64: gradients against central differences along random directions, and the gradient's gradient likewise;
 * values and gradients of the fused form against its expansion. */
void ops_check_gradients(gy_ctx *ctx, gy_op_id op);
/* Every tier up to the machine's best, in f32, against f64 ref on the same inputs. */
void ops_check_kernels(gy_ctx *ctx, gy_op_id op);
/* Equal bits for 1, 2, 3 and 8 threads, and for passes on and off (fusion within tolerance). */
void ops_check_threads(gy_op_id op);

#endif
