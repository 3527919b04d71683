/* conv, conv_dx and conv_dw by Winograd's algorithms: which shapes go to conv_winograd.c, conv_winograd3.c and
 * conv_winograd_dw.c. On AVX512-BF16 the factors of their products are rounded; plans of precision f32 take the tier
 * below.
 *
 * What they reach stands in those files; on Zen 4, one thread, f32, 320 channels on 64 x 64: 3.00 of the peak that a
 * direct convolution can reach forward, 2.97 and 3.15 for the gradients (`gyrus bench conv --threads 1`). */
#include "conv_shape.h"

static bool winograd_fits(const gy_conv_direct *q) {
    return GY_ISAFN(gy_conv_winograd_fits)(q) || GY_ISAFN(gy_conv_winograd3_fits)(q);
}
static size_t winograd_scratch(const gy_conv_direct *q, int threads) {
    if (q->d.kernel[0] == 3) return GY_ISAFN(gy_conv_winograd3_scratch)(q, threads);
    return GY_ISAFN(gy_conv_winograd_scratch)(q, threads);
}
bool GY_ISAFN(x86_conv_winograd_fits)(const gy_kargs *k) {
    gy_conv_direct q = forward_of(k);
    return winograd_fits(&q);
}
bool GY_ISAFN(x86_conv_dx_winograd_fits)(const gy_kargs *k) {
    gy_conv_direct q = backward_of(k);
    return winograd_fits(&q);
}
size_t GY_ISAFN(x86_conv_winograd_scratch)(const gy_kargs *k, int threads) {
    gy_conv_direct q = forward_of(k);
    return winograd_scratch(&q, threads);
}
size_t GY_ISAFN(x86_conv_dx_winograd_scratch)(const gy_kargs *k, int threads) {
    gy_conv_direct q = backward_of(k);
    return winograd_scratch(&q, threads);
}
static void winograd(gy_conv_direct *q, const gy_kargs *k) {
    q->in = k->in[0].data;
    q->w.w = k->in[1].data;
    q->out = k->out[0].data;
    if (q->d.kernel[0] == 3)
        GY_ISAFN(gy_conv_winograd3)(q, k->scratch, k->pool);
    else
        GY_ISAFN(gy_conv_winograd)(q, k->scratch, k->pool);
}
void GY_ISAFN(x86_conv_winograd)(const gy_kargs *k) {
    shape s = shape_of(k, k->in[0].shape, k->in[1].shape, k->out[0].shape);
    gy_conv_direct q = direct_forward(&s);
    gy_gemm_f32 g = epilogue(&s, k);
    q.finish = &g;
    winograd(&q, k);
}
void GY_ISAFN(x86_conv_dx_winograd)(const gy_kargs *k) {
    gy_conv_direct q = backward_of(k);
    winograd(&q, k);
}

bool GY_ISAFN(x86_conv_dw_winograd_fits)(const gy_kargs *k) {
    shape s = shape_of(k, k->in[0].shape, k->out[0].shape, k->in[1].shape);
    return GY_ISAFN(gy_conv_winograd_dw_fits)(s.a, &s.d);
}
size_t GY_ISAFN(x86_conv_dw_winograd_scratch)(const gy_kargs *k, int threads) {
    shape s = shape_of(k, k->in[0].shape, k->out[0].shape, k->in[1].shape);
    return GY_ISAFN(gy_conv_winograd_dw_scratch)(s.a, &s.d, threads);
}
void GY_ISAFN(x86_conv_dw_winograd)(const gy_kargs *k) {
    shape s = shape_of(k, k->in[0].shape, k->out[0].shape, k->in[1].shape);
    GY_ISAFN(gy_conv_winograd_dw)(s.a, &s.d, k->in[0].data, k->in[1].data, k->out[0].data, k->scratch, k->pool);
}
