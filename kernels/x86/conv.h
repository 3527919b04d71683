/* conv.h: what conv.c takes from depthwise.c and conv_few.c. */
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

/* The positions of x that are first + t step on each axis, as seen by conv_dx: `a` and `d` describe a convolution
 * without strides that maps these positions to y; tap (j0, j1, j2) of it is tap `tap` + sum j tap_step of w. */
typedef struct gy_conv_phase {
    gy_conv_attr a;
    gy_conv_dims d;
    int64_t first[3], step[3];
    int64_t tap, tap_step[3];
} gy_conv_phase;

/* weight(n, c, k) of group g is w[g group + n line + c channel + tap + sum k tap_step]; `taps` taps are adjacent in
 * memory, of which the convolution with this kernel reads some; `count` numbers in all (conv_weights.c). */
typedef struct gy_conv_weights {
    const float *w;
    int64_t count, group, line, channel, taps, tap, tap_step[3], kernel[3];
} gy_conv_weights;
/* Packs columns j0 .. j0+n (at most two vectors) of channels c0 .. c0+cc as dst [tap][cc][whole vectors of columns].
 * `row` is a table of gy_conv_weights_run numbers that gy_conv_weights_rows filled for cc. */
int64_t GY_ISAFN(gy_conv_weights_run)(const gy_conv_weights *q, int64_t cc);
void GY_ISAFN(gy_conv_weights_rows)(const gy_conv_weights *q, int64_t cc, int32_t *row);
void GY_ISAFN(gy_conv_weights_pack)(const gy_conv_weights *q, const int32_t *row, int64_t group, int64_t j0, int64_t n,
                                    int64_t c0, int64_t cc, float *dst);
/* Columns [0, n) of sum [tap][channels][width] to rows of w, [channels][taps], `w_line` apart. */
void GY_ISAFN(gy_conv_weights_unpack)(const float *sum, int64_t taps, int64_t channels, int64_t width, int64_t n,
                                      float *w, int64_t w_line);
/* Asks the memory for the part'th of `parts` pieces of what such a call will read. */
void GY_ISAFN(gy_conv_weights_fetch)(const gy_conv_weights *q, int64_t group, int64_t j0, int64_t n, int64_t c0,
                                     int64_t cc, int64_t part, int64_t parts);

/* The convolution out[b, first + o step, n] = sum_(k, c) in[b, o stride - before + k dilation, c] weight(n, c, k), once
 * a group (conv_direct.c). `d` describes it: d.in and d.cin are those of `in`, d.out the positions o, d.cout the
 * channels of `out`, whose spatial size is out_size. */
typedef struct gy_conv_direct {
    gy_conv_dims d;
    int64_t stride[3], before[3], dilation[3];
    const float *in;
    gy_conv_weights w;
    float *out;
    int64_t out_size[3], first[3], step[3];
    const gy_gemm_f32 *finish; /* NULL, or the epilogue: then `out` is dense and rows of C are its positions */
} gy_conv_direct;
bool GY_ISAFN(gy_conv_direct_fits)(const gy_conv_direct *q); /* false: lines too short for it */
size_t GY_ISAFN(gy_conv_direct_scratch)(const gy_conv_direct *q, int threads);
void GY_ISAFN(gy_conv_direct)(const gy_conv_direct *q, void *scratch, gy_pool *pool);

/* The same by Winograd's F(4 x 4, 3 x 3), in bf16 F(4 x 2, 3 x 3) (conv_winograd.c): fewer multiplications, larger
 * rounding errors. */
bool GY_ISAFN(gy_conv_winograd_fits)(const gy_conv_direct *q); /* 3 x 3, stride 1, channels and maps that it pays for */
size_t GY_ISAFN(gy_conv_winograd_scratch)(const gy_conv_direct *q, int threads);
void GY_ISAFN(gy_conv_winograd)(const gy_conv_direct *q, void *scratch, gy_pool *pool);
/* 3 x 3 x 3: the same along the last two axes (conv_winograd3.c). */
bool GY_ISAFN(gy_conv_winograd3_fits)(const gy_conv_direct *q);
size_t GY_ISAFN(gy_conv_winograd3_scratch)(const gy_conv_direct *q, int threads);
void GY_ISAFN(gy_conv_winograd3)(const gy_conv_direct *q, void *scratch, gy_pool *pool);
/* The weights' gradient of both (conv_winograd_dw.c). */
bool GY_ISAFN(gy_conv_winograd_dw_fits)(const gy_conv_attr *a, const gy_conv_dims *d);
size_t GY_ISAFN(gy_conv_winograd_dw_scratch)(const gy_conv_attr *a, const gy_conv_dims *d, int threads);
void GY_ISAFN(gy_conv_winograd_dw)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *dy,
                                   float *dw, void *scratch, gy_pool *pool);

/* w's gradient the same way (conv_direct_dw.c). */
bool GY_ISAFN(gy_conv_direct_dw_fits)(const gy_conv_attr *a, const gy_conv_dims *d);
size_t GY_ISAFN(gy_conv_direct_dw_scratch)(const gy_conv_attr *a, const gy_conv_dims *d, int threads);
void GY_ISAFN(gy_conv_direct_dw)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *y, float *w,
                                 void *scratch, gy_pool *pool);

/* Convolutions with at most GY_CONV_FEW channels on one side, one group (conv_few.c).
 *
 * few_in: Cin is small. y and its epilogue as `out` says (c, ldc = Cout, m positions); few_in_dw: w's gradient.
 * `mirrored`: w is [Cin, Cout, taps] with the taps in backward order.
 * few_out: Cout is small; few_out_dx: Cin is small, the positions of one phase. */
enum { GY_CONV_FEW = 4 };
size_t GY_ISAFN(gy_conv_few_in_scratch)(const gy_conv_attr *a, const gy_conv_dims *d);
void GY_ISAFN(gy_conv_few_in)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *w,
                              const gy_gemm_f32 *out, bool mirrored, void *scratch, gy_pool *pool);
size_t GY_ISAFN(gy_conv_few_in_dw_scratch)(const gy_conv_attr *a, const gy_conv_dims *d);
void GY_ISAFN(gy_conv_few_in_dw)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *y, float *w,
                                 bool mirrored, void *scratch, gy_pool *pool);
size_t GY_ISAFN(gy_conv_few_out_scratch)(int64_t taps, int64_t many, int64_t few);
void GY_ISAFN(gy_conv_few_out)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *w,
                               const gy_gemm_f32 *out, void *scratch, gy_pool *pool);
void GY_ISAFN(gy_conv_few_out_dx)(const gy_conv_phase *phase, const gy_conv_dims *whole, const float *y, const float *w,
                                  float *x, void *scratch, gy_pool *pool);

#endif
