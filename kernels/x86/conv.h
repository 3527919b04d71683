/* conv.h: depthwise convolution, used by conv.c. */
#ifndef GY_X86_CONV_H
#define GY_X86_CONV_H

#include "gemm.h"
#include "rows.h"

#include "core/ops/conv.h"

/* groups = Cin = Cout. y = act(conv(x, w) + bias) + residual with the epilogue of `out` (c, ldc = Cout, m positions);
 * scratch: taps x Cin floats. */
void GY_ISAFN(gy_depthwise)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *w,
                            const gy_gemm_f32 *out, float *scratch, gy_pool *pool);
void GY_ISAFN(gy_depthwise_dx)(const gy_conv_attr *a, const gy_conv_dims *d, const float *y, const float *w, float *x,
                               float *scratch, gy_pool *pool);
void GY_ISAFN(gy_depthwise_dw)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *y, float *w,
                               gy_pool *pool);

#endif
