/* conv.h: what the kernels of convolution and of its adjoint in x share: classes of positions, taps, places, shapes. */
#ifndef GY_CUDA_CONV_H
#define GY_CUDA_CONV_H

#include "vec.h"

#define T       float
#define TNAME   f32
#define M(name) name##f
#include "act.h"
#undef T
#undef TNAME
#undef M

typedef struct {
    const float *x, *w, *bias, *residual; /* x: what is gathered */
    float *y, *partial;
    int64_t batch;
    int64_t size[3], src[3]; /* the grids of y and x */
    int64_t step[3], before[3], dilation[3], kernel[3];
    int64_t src_channels, channels; /* of x and y, all groups */
    int64_t deep, cols, groups;     /* channels a group of x and y */
    int64_t run;                    /* channels after which the next tap comes */
    int64_t w_deep, w_col, w_group; /* strides of the weights */
    int64_t splits, split;          /* parts of the depth; steps each */
    const uint16_t *px, *pw;        /* x and w as bf16, channels of a group padded to `padded`; see conv_bf16.cu */
    int64_t padded;
    int rounded;                       /* factors are rounded to bf16 */
    int adjoint, act, vec, along_cols; /* vec: x lies on 16 bytes; along_cols: neighbours in w are columns */
} conv_args;

/* ---- which positions and taps a block has ---- */

/* A class of positions: first + q step on each axis, and its taps t0 + u period. Forward there is one class. */
typedef struct {
    int64_t first[3], size[3], tap0[3], period[3], taps[3], n, n_taps; /* n: positions a sample */
} conv_class;

GY_DEVICE int64_t common_divisor(int64_t a, int64_t b) {
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}
GY_DEVICE conv_class class_of(const conv_args *a, int64_t index) {
    conv_class c;
    c.n = c.n_taps = 1;
    GY_UNROLL
    for (int i = 2; i >= 0; i--) {
        int64_t s = a->adjoint ? a->step[i] : 1;
        c.first[i] = index % s;
        index /= s;
        c.size[i] = (a->size[i] - c.first[i] + s - 1) / s;
        if (c.size[i] < 0) c.size[i] = 0;
        c.tap0[i] = 0;
        c.period[i] = 1;
        if (s > 1) { /* tap d = first + p (mod s) */
            c.period[i] = s / common_divisor(s, a->dilation[i]);
            while (c.tap0[i] < c.period[i] && (c.first[i] + a->before[i] - c.tap0[i] * a->dilation[i]) % s != 0)
                c.tap0[i]++;
            if (c.tap0[i] == c.period[i]) c.tap0[i] = a->kernel[i]; /* none */
        }
        c.taps[i] = c.tap0[i] < a->kernel[i] ? (a->kernel[i] - c.tap0[i] + c.period[i] - 1) / c.period[i] : 0;
        c.n *= c.size[i];
        c.n_taps *= c.taps[i];
    }
    return c;
}
/* The block's class, kept in shared memory: it would fill a thread's registers. */
GY_DEVICE const conv_class *class_of_block(const conv_args *a, conv_class *room) {
    if (threadIdx.x == 0) *room = class_of(a, blockIdx.y / a->groups);
    __syncthreads();
    return room;
}
/* What tap u of the class adds to a position's place in x. */
GY_DEVICE int64_t shift_of(const conv_args *a, const conv_class *c, int axis, int64_t u) {
    int64_t t = c->tap0[axis] + u * c->period[axis];
    if (!a->adjoint) return t * a->dilation[axis];
    return (c->first[axis] + a->before[axis] - t * a->dilation[axis]) / a->step[axis];
}

/* Row m of the class: where it gathers (tap shifts left out) and where its result goes. */
typedef struct {
    int64_t at[3], base, out;
    bool there;
} conv_row;
GY_DEVICE conv_row row_of(const conv_args *a, const conv_class *c, int64_t m) {
    conv_row r;
    int64_t b = m / c->n, rest = m % c->n, i[3];
    i[2] = rest % c->size[2];
    rest /= c->size[2];
    i[1] = rest % c->size[1];
    i[0] = rest / c->size[1];
    GY_UNROLL
    for (int k = 0; k < 3; k++) {
        r.at[k] = a->adjoint ? i[k] : i[k] * a->step[k] - a->before[k];
        i[k] = a->adjoint ? c->first[k] + i[k] * a->step[k] : i[k];
    }
    r.base = ((b * a->src[0] + r.at[0]) * a->src[1] + r.at[1]) * a->src[2] + r.at[2];
    r.out = ((b * a->size[0] + i[0]) * a->size[1] + i[1]) * a->size[2] + i[2];
    r.there = b < a->batch;
    return r;
}

GY_DEVICE bool inside(const conv_args *a, const int32_t at[3], const int32_t shift[3]) {
    int64_t i = (int64_t)at[0] + shift[0], j = (int64_t)at[1] + shift[1], k = (int64_t)at[2] + shift[2];
    return i >= 0 && i < a->src[0] && j >= 0 && j < a->src[1] && k >= 0 && k < a->src[2];
}

GY_DEVICE float conv_finished(const conv_args *a, float v, int64_t row, int64_t channel) {
    if (a->bias) v += a->bias[channel];
    v = gy_activate_f32(v, a->act);
    return a->residual ? v + a->residual[row * a->channels + channel] : v;
}

#ifdef GY_HOST
enum { CONV_RUN = 16 /* channels between taps, in f32 */ };

/* Convolutions of groups with few channels; the sum of a split depth's parts. In conv.cu. */
void conv_direct_run(const gy_kargs *k, const conv_args *a);
void conv_finish_run(const gy_kargs *k, const conv_args *a);

/* Of conv or conv_dx. */
static inline conv_args conv_shape(const gy_kargs *k) {
    const gy_conv_attr *attr = k->attr;
    bool adjoint = k->op == GY_OP_conv_dx;
    gy_shape x = adjoint ? k->out[0].shape : k->in[0].shape, y = adjoint ? k->in[0].shape : k->out[0].shape;
    gy_conv_dims d = gy_conv_dims_of(attr, x, k->in[1].shape, y);
    int64_t in_group = d.cin / d.groups, out_group = d.cout / d.groups;
    conv_args a = {.batch = d.batch,
                   .src_channels = adjoint ? d.cout : d.cin,
                   .channels = adjoint ? d.cin : d.cout,
                   .deep = adjoint ? out_group : in_group,
                   .cols = adjoint ? in_group : out_group,
                   .groups = d.groups,
                   .w_deep = adjoint ? in_group * d.taps : d.taps,
                   .w_col = adjoint ? d.taps : in_group * d.taps,
                   .w_group = out_group * in_group * d.taps,
                   .adjoint = adjoint,
                   .act = adjoint ? GY_ACT_NONE : (int)attr->act,
                   .rounded = k->precision == GY_BF16,
                   .x = k->in[0].data,
                   .w = k->in[1].data,
                   .bias = !adjoint && k->n_in > 2 ? k->in[2].data : NULL,
                   .residual = !adjoint && k->n_in > 3 ? k->in[3].data : NULL,
                   .y = k->out[0].data};
    for (int i = 0; i < 3; i++) {
        a.size[i] = adjoint ? d.in[i] : d.out[i];
        a.src[i] = adjoint ? d.out[i] : d.in[i];
        a.step[i] = attr->stride[i];
        a.before[i] = attr->before[i];
        a.dilation[i] = attr->dilation[i];
        a.kernel[i] = d.kernel[i];
    }
    a.run = a.deep <= 24 ? a.deep : CONV_RUN;
    a.vec = a.deep % 4 == 0;
    a.along_cols = adjoint;
    return a;
}

/* Groups of few channels, or of none, have no use for tiles. */
static inline bool conv_is_direct(const conv_args *a) {
    return a->deep == 0 || (a->groups > 1 && (a->deep < 8 || a->cols < 16));
}
static inline int64_t conv_classes(const conv_args *a) {
    return a->adjoint ? a->step[0] * a->step[1] * a->step[2] : 1;
}
/* The largest class's positions of all samples. */
static inline int64_t conv_rows(const conv_args *a) {
    int64_t n = a->batch;
    for (int i = 0; i < 3; i++) n *= a->adjoint ? gy_blocks(a->size[i], a->step[i]) : a->size[i];
    return n;
}

#endif

#endif
