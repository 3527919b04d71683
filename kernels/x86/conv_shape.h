/* conv_shape.h: the operands of conv, conv_dx and conv_dw as the kernels of this room see them. */
#ifndef GY_X86_CONV_SHAPE_H
#define GY_X86_CONV_SHAPE_H

#include "conv.h"

typedef struct {
    const gy_conv_attr *a;
    gy_conv_dims d;
    int64_t in_group, out_group;
} shape;
static inline shape shape_of(const gy_kargs *k, gy_shape x, gy_shape w, gy_shape y) {
    shape s = {.a = k->attr, .d = gy_conv_dims_of(k->attr, x, w, y)};
    s.in_group = s.d.cin / s.d.groups;
    s.out_group = s.d.cout / s.d.groups;
    return s;
}
static inline bool depthwise(const shape *s) {
    return s->d.groups > 1 && s->in_group == 1 && s->out_group == 1;
}

static inline size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}
static inline bool few(const shape *s, int64_t channels) {
    return s->d.groups == 1 && channels <= GY_CONV_FEW;
}

/* Without strides and with few channels out, the convolution that maps y to x: tap k of it is tap K - 1 - k. */
static inline bool mirror(const shape *s, gy_conv_attr *a, gy_conv_dims *d) {
    *a = *s->a;
    *d = s->d;
    if (!few(s, s->d.cout)) return false;
    for (int i = 0; i < 3; i++) {
        if (a->stride[i] != 1) return false;
        a->before[i] = (d->kernel[i] - 1) * a->dilation[i] - a->before[i];
        d->in[i] = s->d.out[i];
        d->out[i] = s->d.in[i];
    }
    d->n_in = s->d.n_out;
    d->n_out = s->d.n_in;
    d->cin = s->d.cout;
    d->cout = s->d.cin;
    return true;
}

/* ---- the phases of conv_dx ---- */

static inline int64_t phase_count(const shape *s) {
    int64_t n = 1;
    for (int i = 0; i < 3; i++) n *= s->a->stride[i] < s->d.in[i] ? s->a->stride[i] : s->d.in[i];
    return n;
}
/* On an axis with stride s, position f + t s reads output o through tap k when f + t s + before - k dilation = o s.
 * The taps that have such an o are k = k0 + j step, step = s / gcd(s, dilation), and then
 * o = t + (f + before - k0 dilation) / s - j step dilation / s: no stride is left. */
static inline gy_conv_phase phase_of(const shape *s, int64_t index) {
    const gy_conv_attr *a = s->a;
    gy_conv_phase p = {.a = *a, .d = s->d};
    int64_t taps_after = 1;
    p.d.n_in = p.d.taps = 1;
    for (int i = 2; i >= 0; i--) {
        int64_t stride = a->stride[i], phases = stride < s->d.in[i] ? stride : s->d.in[i], f = index % phases;
        int64_t step = 1, k0 = 0;
        index /= phases;
        while (step * a->dilation[i] % stride != 0) step++;
        while (k0 < step && (f + a->before[i] - k0 * a->dilation[i]) % stride != 0) k0++;
        bool none = k0 == step || k0 >= s->d.kernel[i];
        p.first[i] = f;
        p.step[i] = stride;
        p.a.stride[i] = 1;
        p.a.before[i] = none ? 0 : (f + a->before[i] - k0 * a->dilation[i]) / stride;
        p.a.dilation[i] = step * a->dilation[i] / stride;
        p.d.in[i] = (s->d.in[i] - f + stride - 1) / stride;
        p.d.kernel[i] = none ? 0 : (s->d.kernel[i] - k0 + step - 1) / step;
        p.tap += k0 * taps_after;
        p.tap_step[i] = step * taps_after;
        taps_after *= s->d.kernel[i];
        p.d.n_in *= p.d.in[i];
        p.d.taps *= p.d.kernel[i];
    }
    return p;
}
/* Elements of a phase's result before its rows go to their places; 0: there is one phase. */
static inline size_t phase_room(const shape *s) {
    if (phase_count(s) <= 1) return 0;
    gy_conv_phase p = phase_of(s, 0);
    return (size_t)(s->d.batch * p.d.n_in * s->in_group + 15) & ~(size_t)15;
}

/* y from x; the phase p of x from y. */
static inline gy_conv_direct direct_forward(const shape *s) {
    const gy_conv_attr *a = s->a;
    const gy_conv_dims *d = &s->d;
    gy_conv_direct q = {.d = *d,
                        .w = {.count = d->cout * s->in_group * d->taps,
                              .group = s->out_group * s->in_group * d->taps,
                              .line = s->in_group * d->taps,
                              .channel = d->taps,
                              .taps = d->taps,
                              .tap_step = {d->kernel[1] * d->kernel[2], d->kernel[2], 1}}};
    for (int i = 0; i < 3; i++) {
        q.stride[i] = a->stride[i];
        q.before[i] = a->before[i];
        q.dilation[i] = a->dilation[i];
        q.w.kernel[i] = d->kernel[i];
        q.out_size[i] = d->out[i];
        q.step[i] = 1;
    }
    return q;
}
static inline gy_conv_direct direct_phase(const shape *s, const gy_conv_phase *p) {
    gy_conv_direct q = {.d = p->d,
                        .w = {.count = s->d.cout * s->in_group * s->d.taps,
                              .group = s->out_group * s->in_group * s->d.taps,
                              .line = s->d.taps,
                              .channel = s->in_group * s->d.taps,
                              .taps = s->d.taps,
                              .tap = p->tap}};
    q.d.cin = s->d.cout;
    q.d.cout = s->d.cin;
    q.d.n_in = s->d.n_out;
    q.d.n_out = p->d.n_in;
    for (int i = 0; i < 3; i++) { /* the taps backwards */
        int64_t last = p->d.kernel[i] > 0 ? p->d.kernel[i] - 1 : 0;
        q.d.in[i] = s->d.out[i];
        q.d.out[i] = p->d.in[i];
        q.stride[i] = 1;
        q.dilation[i] = p->a.dilation[i];
        q.before[i] = last * p->a.dilation[i] - p->a.before[i];
        q.w.tap += last * p->tap_step[i];
        q.w.tap_step[i] = -p->tap_step[i];
        q.w.kernel[i] = p->d.kernel[i];
        q.out_size[i] = s->d.in[i];
        q.first[i] = p->first[i];
        q.step[i] = p->step[i];
    }
    return q;
}

/* y as C: rows are positions. */
static inline gy_gemm_f32 epilogue(const shape *s, const gy_kargs *k) {
    return (gy_gemm_f32){.m = s->d.batch * s->d.n_out,
                         .n = s->d.cout,
                         .ldc = s->d.cout,
                         .alpha = 1,
                         .act = s->a->act,
                         .bias_step = 1,
                         .residual_row = s->d.cout,
                         .residual_col = 1,
                         .c = k->out[0].data,
                         .bias = k->n_in > 2 ? k->in[2].data : NULL,
                         .residual = k->n_in > 3 ? k->in[3].data : NULL};
}

static inline gy_conv_direct forward_of(const gy_kargs *k) {
    shape s = shape_of(k, k->in[0].shape, k->in[1].shape, k->out[0].shape);
    return direct_forward(&s);
}
static inline gy_conv_direct backward_of(const gy_kargs *k) {
    shape s = shape_of(k, k->out[0].shape, k->in[1].shape, k->in[0].shape);
    gy_conv_phase p = phase_of(&s, 0);
    return direct_phase(&s, &p); /* with strides, a phase: that does not fit */
}

#endif
