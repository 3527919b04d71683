/* Nearest and linear resizing and its adjoint (core/ops/resize.h), features last: a thread makes one element of the
 * result, neighbours in a warp are neighbouring channels; memory bounds it. The adjoint gathers: outputs read inputs in
 * order, so those that read a given one are neighbours, and the first is found by bisection. */
#include "spatial.h"

enum { THREADS = 256 };

typedef struct {
    gy_grids g; /* x: what is resized, y: the result */
    int linear, align_corners;
    float nearest[3]; /* elements of x an element of y */
    double step[3];
    const float *from;
    float *to;
} resize_args;

/* Output o reads elements *i and, with weight w1, *i + 1; the rule of gy_resize_source. */
GY_DEVICE float source_of(const resize_args *a, int axis, int64_t o, int64_t *i) {
    int64_t in = a->g.x[axis], out = a->g.y[axis];
    if (!a->linear) {
        int64_t at = (int64_t)floorf((float)o * a->nearest[axis]);
        *i = at < in ? at : in - 1;
        return 0;
    }
    if (in == out) {
        *i = o;
        return 0;
    }
    double at = a->align_corners ? (double)o * a->step[axis] : ((double)o + 0.5) * a->step[axis] - 0.5;
    if (at < 0) at = 0;
    *i = (int64_t)at;
    if (*i >= in - 1) {
        *i = in - 1;
        return 0;
    }
    return (float)(at - (double)*i);
}

GY_KERNEL(resize_gather, resize_args, THREADS) {
    const gy_grids *g = &a->g;
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, i[3];
    if (e >= g->batch * g->n_y * g->channels) return;
    gy_spatial_place p = gy_spatial_of(e, g->y, g->channels);
    const float *x = a->from + p.b * g->n_x * g->channels + p.c;
    float w[3], sum = 0;
    GY_UNROLL
    for (int k = 0; k < 3; k++) w[k] = source_of(a, k, p.i[k], &i[k]);
    GY_UNROLL
    for (int corner = 0; corner < 8; corner++) {
        int d0 = corner >> 2, d1 = corner >> 1 & 1, d2 = corner & 1;
        if ((d0 && w[0] == 0) || (d1 && w[1] == 0) || (d2 && w[2] == 0)) continue;
        float v = (d0 ? w[0] : 1 - w[0]) * (d1 ? w[1] : 1 - w[1]) * (d2 ? w[2] : 1 - w[2]);
        sum = fmaf(v, x[(((i[0] + d0) * g->x[1] + i[1] + d1) * g->x[2] + i[2] + d2) * g->channels], sum);
    }
    a->to[e] = sum;
}

/* Weight of output o on element i: 0 if it does not read it. *past: it and all later ones read later elements. */
GY_DEVICE float weight_on(const resize_args *a, int axis, int64_t o, int64_t i, bool *past) {
    int64_t at;
    float w = source_of(a, axis, o, &at);
    *past = at > i;
    return at == i ? 1 - w : at + 1 == i ? w : 0;
}
/* The first output that reads element i or a later one. */
GY_DEVICE int64_t first_reader(const resize_args *a, int axis, int64_t i) {
    int64_t lo = 0, hi = a->g.y[axis], at;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        float w = source_of(a, axis, mid, &at);
        if (at + (w > 0) < i)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

GY_KERNEL(resize_adjoint, resize_args, THREADS) {
    const gy_grids *g = &a->g;
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, first[3];
    if (e >= g->batch * g->n_x * g->channels) return;
    gy_spatial_place p = gy_spatial_of(e, g->x, g->channels);
    const float *y = a->from + p.b * g->n_y * g->channels + p.c;
    float sum = 0;
    bool past0, past1, past2;
    for (int k = 0; k < 3; k++) first[k] = first_reader(a, k, p.i[k]);
    for (int64_t o0 = first[0]; o0 < g->y[0]; o0++) {
        float w0 = weight_on(a, 0, o0, p.i[0], &past0);
        if (past0) break;
        for (int64_t o1 = first[1]; o1 < g->y[1]; o1++) {
            float w1 = w0 * weight_on(a, 1, o1, p.i[1], &past1);
            if (past1) break;
            for (int64_t o2 = first[2]; o2 < g->y[2]; o2++) {
                float w2 = w1 * weight_on(a, 2, o2, p.i[2], &past2);
                if (past2) break;
                sum = fmaf(w2, y[((o0 * g->y[1] + o1) * g->y[2] + o2) * g->channels], sum);
            }
        }
    }
    a->to[e] = sum;
}

#ifdef GY_HOST
void cuda_resize(const gy_kargs *k);

void cuda_resize(const gy_kargs *k) {
    const gy_resize_attr *attr = k->attr;
    bool adjoint = k->op == GY_OP_resize_dx;
    resize_args a = {.g = adjoint ? gy_grids_of(k->out[0].shape, k->in[0].shape)
                                  : gy_grids_of(k->in[0].shape, k->out[0].shape),
                     .linear = attr->mode == GY_RESIZE_LINEAR,
                     .align_corners = attr->align_corners != 0,
                     .from = k->in[0].data,
                     .to = k->out[0].data};
    for (int i = 0; i < 3; i++) {
        int64_t in = attr->in[i], out = attr->out[i];
        bool given = attr->step[i] > 0.0;
        a.nearest[i] = given ? (float)attr->step[i] : (float)in / (float)out;
        a.step[i] = given ? attr->step[i] : (double)in / (double)out;
        if (attr->align_corners) a.step[i] = out > 1 ? (double)(in - 1) / (double)(out - 1) : 0.0;
    }
    gy_launch_elements(k, adjoint ? &resize_adjoint : &resize_gather, gy_shape_count(k->out[0].shape), &a, sizeof a);
}
#endif
