/* conv_dw.h: what the kernels of the convolution's adjoint in its weights share: positions, columns, shapes. */
#ifndef GY_CUDA_CONV_DW_H
#define GY_CUDA_CONV_DW_H

#include "vec.h"

enum { DW_LANES = 32, DW_FEW = 8 }; /* channels a block and weights a thread, where groups have few channels */

typedef struct {
    const float *x, *y;
    float *w, *partial; /* partial[part, co, (tap, ci)] */
    int64_t batch, in[3], out[3], step[3], before[3], dilation[3], kernel[3];
    int64_t cin, cout, in_group, out_group, groups, taps, n_out;
    int64_t splits, split;   /* parts of the positions; positions each */
    const uint16_t *px, *py; /* x and y as bf16, channels of a group padded; see conv_dw_bf16.cu */
    int64_t padded_in, padded_out;
    int rounded;      /* factors are rounded to bf16 */
    int vec_x, vec_y; /* channels of a group lie on 16 bytes */
} dw_args;

/* Where an output position reads, taps left out. */
typedef struct {
    int64_t x, y; /* places in the grids, all samples; y < 0: no such position */
    int32_t at[3], pad;
} dw_entry;

/* A thread's position, moved on step by step. */
typedef struct {
    int64_t b, o[3];
} dw_walk;
GY_DEVICE dw_walk dw_from(const dw_args *a, int64_t p) {
    dw_walk w;
    w.b = p / a->n_out;
    p %= a->n_out;
    w.o[2] = p % a->out[2];
    w.o[1] = p / a->out[2] % a->out[1];
    w.o[0] = p / a->out[2] / a->out[1];
    return w;
}
GY_DEVICE dw_entry dw_place(const dw_args *a, const dw_walk *w, bool there) {
    dw_entry e;
    int64_t i[3];
    GY_UNROLL
    for (int k = 0; k < 3; k++) {
        i[k] = w->o[k] * a->step[k] - a->before[k];
        e.at[k] = (int32_t)i[k];
    }
    e.x = ((w->b * a->in[0] + i[0]) * a->in[1] + i[1]) * a->in[2] + i[2];
    e.y = there ? ((w->b * a->out[0] + w->o[0]) * a->out[1] + w->o[1]) * a->out[2] + w->o[2] : -1;
    e.pad = 0;
    return e;
}
GY_DEVICE void dw_move(const dw_args *a, dw_walk *w, int64_t by) {
    w->o[2] += by;
    while (w->o[2] >= a->out[2]) {
        w->o[2] -= a->out[2];
        if (++w->o[1] < a->out[1]) continue;
        w->o[1] = 0;
        if (++w->o[0] < a->out[0]) continue;
        w->o[0] = 0;
        w->b++;
    }
}

/* A column: tap and channel of a group's weights. */
typedef struct {
    int64_t offset;   /* elements of x, to be added to a position's */
    int32_t shift[3]; /* out of reach: no such column */
} dw_column;
GY_DEVICE dw_column dw_column_of(const dw_args *a, int64_t n) {
    dw_column c;
    int64_t tap = n / a->in_group, channel = n % a->in_group, t[3];
    t[2] = tap % a->kernel[2] * a->dilation[2];
    t[1] = tap / a->kernel[2] % a->kernel[1] * a->dilation[1];
    t[0] = tap / a->kernel[2] / a->kernel[1] * a->dilation[0];
    c.offset = ((t[0] * a->in[1] + t[1]) * a->in[2] + t[2]) * a->cin + channel;
    GY_UNROLL
    for (int k = 0; k < 3; k++) c.shift[k] = n < a->taps * a->in_group ? (int32_t)t[k] : INT32_MIN / 2;
    return c;
}
GY_DEVICE bool dw_inside(const dw_args *a, const dw_entry *e, const dw_column *c) {
    int64_t i = (int64_t)e->at[0] + c->shift[0], j = (int64_t)e->at[1] + c->shift[1],
            k = (int64_t)e->at[2] + c->shift[2];
    return e->y >= 0 && i >= 0 && i < a->in[0] && j >= 0 && j < a->in[1] && k >= 0 && k < a->in[2];
}

/* Result (co, n) of this part. */
GY_DEVICE void dw_put(const dw_args *a, int64_t part, int64_t co, int64_t n, float v) {
    if (a->partial)
        a->partial[(part * a->cout + co) * a->taps * a->in_group + n] = v;
    else
        a->w[(co * a->in_group + n % a->in_group) * a->taps + n / a->in_group] = v;
}

#ifdef GY_HOST
/* Groups of few channels; the sum of the parts. In conv_dw.cu. */
void conv_dw_direct_run(const gy_kargs *k, const dw_args *a);
void conv_dw_sum_run(const gy_kargs *k, const dw_args *a);

static inline bool dw_is_direct(const dw_args *a) {
    return a->groups > 1 && (a->in_group < 8 || a->out_group < 16);
}

/* Everything but the operands' places. Parts: until there are 512 blocks, but none of fewer than 256 positions. */
static inline dw_args dw_shape(const gy_kargs *k, int *side) {
    const gy_conv_attr *attr = k->attr;
    gy_conv_dims d = gy_conv_dims_of(attr, k->in[0].shape, k->out[0].shape, k->in[1].shape);
    dw_args a = {.batch = d.batch,
                 .cin = d.cin,
                 .cout = d.cout,
                 .in_group = d.cin / d.groups,
                 .out_group = d.cout / d.groups,
                 .groups = d.groups,
                 .taps = d.taps,
                 .n_out = d.n_out,
                 .x = k->in[0].data,
                 .y = k->in[1].data,
                 .w = k->out[0].data,
                 .rounded = k->precision == GY_BF16};
    for (int i = 0; i < 3; i++) {
        a.in[i] = d.in[i];
        a.out[i] = d.out[i];
        a.step[i] = attr->stride[i];
        a.before[i] = attr->before[i];
        a.dilation[i] = attr->dilation[i];
        a.kernel[i] = d.kernel[i];
    }
    a.vec_x = a.in_group % 4 == 0;
    a.vec_y = a.out_group % 4 == 0;
    int64_t n = a.taps * a.in_group, blocks;
    *side = a.out_group > 64 && n > 64 ? 128 : 64;
    if (dw_is_direct(&a))
        blocks = gy_blocks(a.cout, DW_LANES) * gy_blocks(n, DW_FEW);
    else
        blocks = gy_blocks(a.out_group, *side) * gy_blocks(n, *side) * a.groups;
    int64_t all = a.batch * a.n_out, splits = blocks ? 512 / blocks : 1;
    if (splits > all / 256) splits = all / 256;
    if (splits < 1) splits = 1;
    a.split = gy_blocks(gy_blocks(all, splits), 32) * 32;
    a.splits = a.split ? gy_blocks(all, a.split) : 0;
    return a;
}

#endif

#endif
