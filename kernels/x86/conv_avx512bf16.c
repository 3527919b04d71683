/* conv, conv_dx and conv_dw in plans of precision bf16 by vdpbf16ps: the direct convolutions, whose windows and panels
 * are rounded to pairs while they are filled (conv_tile.h). Few channels, depthwise convolutions and short lines are
 * left to the tier below, which rounds and computes in f32. The instruction takes denormals for zeros.
 *
 * Measured on Zen 4, two threads (`gyrus bench conv --dtype bf16 --threads 2`), of 470 GFLOP/s: 1 x 1 with 320 channels
 * on 64 x 64 .81, 640 on 32 x 32 .67; 3 x 3 with stride 2 .88, its data gradient .77, weights .80; 64 channels over
 * time, k 7, .79. */
#include "conv_shape.h"

static bool plain(const shape *s) {
    return !depthwise(s) && !few(s, s->d.cin) && !few(s, s->d.cout);
}

bool GY_ISAFN(x86_conv_bf16_fits)(const gy_kargs *k) {
    shape s = shape_of(k, k->in[0].shape, k->in[1].shape, k->out[0].shape);
    gy_conv_direct q = direct_forward(&s);
    return plain(&s) && GY_ISAFN(gy_conv_direct_fits)(&q);
}
size_t GY_ISAFN(x86_conv_bf16_scratch)(const gy_kargs *k, int threads) {
    gy_conv_direct q = forward_of(k);
    return GY_ISAFN(gy_conv_direct_scratch)(&q, threads);
}
void GY_ISAFN(x86_conv_bf16)(const gy_kargs *k) {
    shape s = shape_of(k, k->in[0].shape, k->in[1].shape, k->out[0].shape);
    gy_conv_direct q = direct_forward(&s);
    gy_gemm_f32 g = epilogue(&s, k);
    q.in = k->in[0].data;
    q.w.w = k->in[1].data;
    q.out = k->out[0].data;
    q.finish = &g;
    GY_ISAFN(gy_conv_direct)(&q, k->scratch, k->pool);
}

bool GY_ISAFN(x86_conv_dx_bf16_fits)(const gy_kargs *k) {
    shape s = shape_of(k, k->out[0].shape, k->in[1].shape, k->in[0].shape);
    bool fits = plain(&s);
    for (int64_t i = 0; fits && i < phase_count(&s); i++) {
        gy_conv_phase p = phase_of(&s, i);
        gy_conv_direct q = direct_phase(&s, &p);
        fits = GY_ISAFN(gy_conv_direct_fits)(&q);
    }
    return fits;
}
size_t GY_ISAFN(x86_conv_dx_bf16_scratch)(const gy_kargs *k, int threads) {
    shape s = shape_of(k, k->out[0].shape, k->in[1].shape, k->in[0].shape);
    size_t most = 0;
    for (int64_t i = 0; i < phase_count(&s); i++) {
        gy_conv_phase p = phase_of(&s, i);
        gy_conv_direct q = direct_phase(&s, &p);
        most = larger(most, GY_ISAFN(gy_conv_direct_scratch)(&q, threads));
    }
    return most;
}
void GY_ISAFN(x86_conv_dx_bf16)(const gy_kargs *k) {
    shape s = shape_of(k, k->out[0].shape, k->in[1].shape, k->in[0].shape);
    for (int64_t i = 0; i < phase_count(&s); i++) {
        gy_conv_phase p = phase_of(&s, i);
        gy_conv_direct q = direct_phase(&s, &p);
        q.in = k->in[0].data;
        q.w.w = k->in[1].data;
        q.out = k->out[0].data;
        GY_ISAFN(gy_conv_direct)(&q, k->scratch, k->pool);
    }
}

bool GY_ISAFN(x86_conv_dw_bf16_fits)(const gy_kargs *k) {
    shape s = shape_of(k, k->in[0].shape, k->out[0].shape, k->in[1].shape);
    return plain(&s) && GY_ISAFN(gy_conv_direct_dw_fits)(s.a, &s.d);
}
size_t GY_ISAFN(x86_conv_dw_bf16_scratch)(const gy_kargs *k, int threads) {
    shape s = shape_of(k, k->in[0].shape, k->out[0].shape, k->in[1].shape);
    return GY_ISAFN(gy_conv_direct_dw_scratch)(s.a, &s.d, threads);
}
void GY_ISAFN(x86_conv_dw_bf16)(const gy_kargs *k) {
    shape s = shape_of(k, k->in[0].shape, k->out[0].shape, k->in[1].shape);
    GY_ISAFN(gy_conv_direct_dw)(s.a, &s.d, k->in[0].data, k->in[1].data, k->out[0].data, k->scratch, k->pool);
}
