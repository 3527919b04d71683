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
/* On the emulator (which is ctx's device): every case in f32, and in f64 where there is a CUDA row for it, against ref
 * in f64; equal bits for three schedules. Memory is guarded and its gaps hold NaN. Returns how many cases ran. */
int ops_check_cuda(gy_ctx *ctx, gy_op_id op);

#endif
