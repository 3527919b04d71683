/* conv.h: convolution in one, two and three dimensions, features last.
 *
 * What networks call convolution is a correlation: the kernel is not flipped.
 *
 *     y[b, o, co] = bias[co] + sum_k sum_ci x[b, o s - p + k d, ci] w[co, ci, k]
 *
 * with one stride s, padding p and dilation d an axis; x is 0 outside its bounds. An axis of n elements gives
 * floor((n + p_before + p_after - d (k - 1) - 1) / s) + 1 outputs. (Goodfellow, Bengio & Courville 2016, §9.1, 9.5;
 * Dumoulin & Visin 2016, arXiv:1603.07285, for the arithmetic of sizes and the transposed form.)
 *
 * Three operators are closed under differentiation: conv is linear in x and in w, conv_dx is its adjoint in x,
 * conv_dw its adjoint in w, and the derivatives of each are again these three. */
#ifndef GY_OPS_CONV_H
#define GY_OPS_CONV_H

#include "../graph.h"

/* Operands in the order of the inputs:
 *     conv     x, w, bias or none, residual or none -> y    y = act(conv(x, w) + bias) + residual
 *     conv_dx  y, w -> x    the x-shaped cotangent, which is also the transposed convolution of y
 *     conv_dw  x, y -> w    the w-shaped cotangent
 * x [B, spatial..., Cin], w [Cout, Cin/groups, k...], y [B, spatial..., Cout]; bias [Cout]; residual as y.
 *
 * Arrays hold three axes whatever the rank: the last spatial axis is entry 2, and the leading ones that a 1-D or
 * 2-D convolution lacks are 1 (stride, dilation, kernel, size) or 0 (padding). Padding may be negative: then the
 * border is cropped. */
typedef struct gy_conv_attr {
    int64_t stride[3], before[3], after[3], dilation[3];
    int64_t groups;
    int64_t size[3]; /* conv_dx: the spatial size of x; conv_dw: of the kernel; conv: 0 */
    int64_t act;     /* conv only: gy_act, see matmul.h; made by the planner */
} gy_conv_attr;

/* The operands' sizes on three spatial axes; what kernels loop over. */
typedef struct gy_conv_dims {
    int64_t batch, cin, cout, groups;
    int64_t in[3], out[3], kernel[3];
    int64_t n_in, n_out, taps; /* products of the three */
} gy_conv_dims;
gy_conv_dims gy_conv_dims_of(const gy_conv_attr *a, gy_shape x, gy_shape w, gy_shape y);

/* The position in x of tap k for output o on one axis; outside [0, in) it is padding. */
static inline int64_t gy_conv_source(const gy_conv_attr *a, int axis, int64_t o, int64_t k) {
    return o * a->stride[axis] - a->before[axis] + k * a->dilation[axis];
}

/* x [B, spatial..., Cin] with 1 to 3 spatial axes; w [Cout, Cin/groups, k...]; b [Cout] or none; one float dtype.
 * -> [B, spatial..., Cout].
 * Options, one value an axis, or one value for all axes, e.g. `.stride = GY_S(2, 2)` or GY_S(2):
 *   stride, dilation  default 1
 *   pad               zeros before and after each axis, default 0
 *   pad_end           zeros after, where they differ from those before
 *   same              padding such that the output has ceil(n / stride) elements (gy_same_pad); excludes pad
 *   groups            default 1; groups = Cin is the depthwise convolution
 * Errors: groups that do not divide Cin or Cout, kernels larger than the padded input. */
typedef struct gy_conv_args {
    gy_site at;
    gy_t x, w, b;
    gy_shape stride, pad, pad_end, dilation;
    int64_t groups;
    bool same;
} gy_conv_args;
gy_t gy_conv_(gy_conv_args args);
#define gy_conv(...) gy_conv_((gy_conv_args){GY_HERE, __VA_ARGS__})

/* The transposed convolution, i.e. the gradient of gy_conv with respect to its input:
 * x [B, spatial..., Cin], w [Cin, Cout/groups, k...], b [Cout] or none -> [B, spatial..., Cout]. An axis of n elements
 * gives (n - 1) stride - pad - pad_end + dilation (k - 1) + output_padding + 1. output_padding (default 0), smaller
 * than the stride or the dilation, picks among the sizes that a strided convolution maps to n. */
typedef struct gy_conv_transpose_args {
    gy_site at;
    gy_t x, w, b;
    gy_shape stride, pad, pad_end, dilation, output_padding;
    int64_t groups;
} gy_conv_transpose_args;
gy_t gy_conv_transpose_(gy_conv_transpose_args args);
#define gy_conv_transpose(...) gy_conv_transpose_((gy_conv_transpose_args){GY_HERE, __VA_ARGS__})

/* The padding for which n elements give ceil(n / stride) outputs; the odd zero goes after (PyTorch, TensorFlow). */
void gy_same_pad(int64_t n, int64_t kernel, int64_t stride, int64_t dilation, int64_t *before, int64_t *after);

/* An option's value for spatial axis i of n: rank 0 is `fallback`, rank 1 serves all axes. False: another rank than
 * 0, 1 or n. Shared with pools. */
bool gy_axis_option(gy_shape option, int64_t n, int64_t i, int64_t fallback, int64_t *value);

#endif
