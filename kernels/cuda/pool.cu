/* Pooling, features last: a thread makes one element of the result, neighbours in a warp are neighbouring channels, and
 * windows that overlap meet in L1 and L2. Every element of the larger tensor comes from DRAM once, so memory bounds all
 * of it. The gradient of an average gathers what the windows over an element hold. max_unpool adds at any places: a sum
 * along scattered indices (index.cu), whose order is that of the outputs. */
#include "spatial.h"

enum { THREADS = 256 };

typedef struct {
    gy_grids g;
    int64_t window[3], stride[3], before[3], dilation[3];
    int adaptive, skip_zeros;
    const float *from;
    float *to;
    const int64_t *given_place;
    int64_t *place;
} pool_args;

/* The window of output o: taps start + k dilation, k < taps. */
GY_DEVICE void window_of(const pool_args *a, int axis, int64_t o, int64_t *start, int64_t *taps) {
    if (a->adaptive) {
        int64_t in = a->g.x[axis], n = a->g.y[axis];
        *start = gy_quotient(o * in, n);
        *taps = gy_quotient((o + 1) * in + n - 1, n) - *start;
    } else {
        *start = o * a->stride[axis] - a->before[axis];
        *taps = a->window[axis];
    }
}

/* The first of the largest, or the last NaN. */
GY_KERNEL(pool_max, pool_args, THREADS) {
    const gy_grids *g = &a->g;
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, start[3], taps[3], where = 0;
    if (e >= g->batch * g->n_y * g->channels) return;
    gy_spatial_place p = gy_spatial_of(e, g->y, g->channels);
    const float *x = a->from + p.b * g->n_x * g->channels + p.c;
    float best = 0;
    bool first = true;
    for (int k = 0; k < 3; k++) window_of(a, k, p.i[k], &start[k], &taps[k]);
    for (int64_t k0 = 0; k0 < taps[0]; k0++) {
        int64_t i0 = start[0] + k0 * a->dilation[0];
        if (i0 < 0 || i0 >= g->x[0]) continue;
        for (int64_t k1 = 0; k1 < taps[1]; k1++) {
            int64_t i1 = start[1] + k1 * a->dilation[1];
            if (i1 < 0 || i1 >= g->x[1]) continue;
            for (int64_t k2 = 0; k2 < taps[2]; k2++) {
                int64_t i2 = start[2] + k2 * a->dilation[2];
                if (i2 < 0 || i2 >= g->x[2]) continue;
                int64_t at = (i0 * g->x[1] + i1) * g->x[2] + i2;
                float v = x[at * g->channels];
                if (first || v > best || v != v) {
                    best = v;
                    where = at;
                }
                first = false;
            }
        }
    }
    a->to[e] = best;
    a->place[e] = where;
}

GY_KERNEL(pool_max_at, pool_args, THREADS) {
    const gy_grids *g = &a->g;
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= g->batch * g->n_y * g->channels) return;
    int64_t q = gy_quotient(e, g->channels), c = e - q * g->channels, at = a->given_place[e];
    bool there = at >= 0 && at < g->n_x;
    a->to[e] = there ? a->from[(gy_quotient(q, g->n_y) * g->n_x + at) * g->channels + c] : 0;
}

/* The elements of x that output o averages on one axis, and what each counts for. */
GY_DEVICE float averaged(const pool_args *a, int axis, int64_t o, int64_t *lo, int64_t *hi) {
    int64_t start, taps, in = a->g.x[axis];
    window_of(a, axis, o, &start, &taps);
    *lo = start < 0 ? 0 : start;
    *hi = start + taps < in ? start + taps : in;
    if (*hi < *lo) *hi = *lo;
    return 1.0f / (float)(a->skip_zeros ? *hi - *lo : taps);
}

GY_KERNEL(pool_average, pool_args, THREADS) {
    const gy_grids *g = &a->g;
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, lo[3], hi[3];
    if (e >= g->batch * g->n_y * g->channels) return;
    gy_spatial_place p = gy_spatial_of(e, g->y, g->channels);
    const float *x = a->from + p.b * g->n_x * g->channels + p.c;
    float weight = 1, sum = 0;
    for (int k = 0; k < 3; k++) weight *= averaged(a, k, p.i[k], &lo[k], &hi[k]);
    for (int64_t i0 = lo[0]; i0 < hi[0]; i0++)
        for (int64_t i1 = lo[1]; i1 < hi[1]; i1++)
            for (int64_t i2 = lo[2]; i2 < hi[2]; i2++) sum += x[((i0 * g->x[1] + i1) * g->x[2] + i2) * g->channels];
    a->to[e] = sum * weight;
}

/* The outputs whose windows may hold element i of an axis. */
GY_DEVICE void readers(const pool_args *a, int axis, int64_t i, int64_t *lo, int64_t *hi) {
    int64_t in = a->g.x[axis], n = a->g.y[axis];
    if (a->adaptive) {
        *lo = gy_quotient(i * n, in);
        *hi = gy_quotient((i + 1) * n + in - 1, in);
    } else {
        int64_t last = i + a->before[axis], first = last - a->window[axis] + 1;
        *lo = first <= 0 ? 0 : gy_quotient(first + a->stride[axis] - 1, a->stride[axis]);
        *hi = gy_quotient(last, a->stride[axis]) + 1;
    }
    if (*hi > n) *hi = n;
}

GY_KERNEL(pool_average_dx, pool_args, THREADS) {
    const gy_grids *g = &a->g;
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, lo[3], hi[3], from, to;
    if (e >= g->batch * g->n_x * g->channels) return;
    gy_spatial_place p = gy_spatial_of(e, g->x, g->channels);
    const float *y = a->from + p.b * g->n_y * g->channels + p.c;
    float sum = 0;
    for (int k = 0; k < 3; k++) readers(a, k, p.i[k], &lo[k], &hi[k]);
    for (int64_t o0 = lo[0]; o0 < hi[0]; o0++) {
        float w0 = averaged(a, 0, o0, &from, &to);
        for (int64_t o1 = lo[1]; o1 < hi[1]; o1++) {
            float w1 = w0 * averaged(a, 1, o1, &from, &to);
            for (int64_t o2 = lo[2]; o2 < hi[2]; o2++)
                sum = fmaf(w1 * averaged(a, 2, o2, &from, &to), y[((o0 * g->y[1] + o1) * g->y[2] + o2) * g->channels],
                           sum);
        }
    }
    a->to[e] = sum;
}

#ifdef GY_HOST
void cuda_pool(const gy_kargs *k);
void cuda_max_unpool(const gy_kargs *k);
size_t cuda_max_unpool_scratch(const gy_kargs *k, int threads);
void cuda_scatter_along_add(const gy_kargs *k);
size_t cuda_scatter_along_add_scratch(const gy_kargs *k, int threads);

void cuda_pool(const gy_kargs *k) {
    bool adjoint = k->op == GY_OP_avg_pool_dx;
    pool_args a = {.g = adjoint ? gy_grids_of(k->out[0].shape, k->in[0].shape)
                                : gy_grids_of(k->in[0].shape, k->out[0].shape),
                   .from = k->in[0].data,
                   .to = k->out[0].data};
    if (k->op == GY_OP_max_pool_at) {
        a.given_place = k->in[1].data;
    } else {
        const gy_pool_attr *attr = k->attr;
        a.adaptive = attr->adaptive != 0;
        a.skip_zeros = attr->skip_zeros != 0;
        for (int i = 0; i < 3; i++) {
            a.window[i] = attr->window[i];
            a.stride[i] = attr->stride[i];
            a.before[i] = attr->before[i];
            a.dilation[i] = attr->dilation[i];
        }
    }
    if (k->op == GY_OP_max_pool) a.place = k->out[1].data;
    const gy_cuda_kernel *f = adjoint                      ? &pool_average_dx
                              : k->op == GY_OP_max_pool    ? &pool_max
                              : k->op == GY_OP_max_pool_at ? &pool_max_at
                                                           : &pool_average;
    gy_launch_elements(k, f, gy_shape_count(k->out[0].shape), &a, sizeof a);
}

/* As scatter_along_add of [B, positions, C] along axis 1. */
typedef struct {
    gy_kargs k;
    gy_view in[2], out;
    gy_index_attr attr;
} unpool_call;
static void as_scatter(const gy_kargs *k, unpool_call *u) {
    gy_grids g = gy_grids_of(k->out[0].shape, k->in[0].shape);
    *u = (unpool_call){.k = *k, .in = {k->in[0], k->in[1]}, .out = k->out[0], .attr = {.axis = 1, .n = g.n_x}};
    u->in[0].shape = u->in[1].shape = GY_S(g.batch, g.n_y, g.channels);
    u->out.shape = GY_S(g.batch, g.n_x, g.channels);
    u->k.in = u->in;
    u->k.out = &u->out;
    u->k.attr = &u->attr;
}
size_t cuda_max_unpool_scratch(const gy_kargs *k, int threads) {
    unpool_call u;
    as_scatter(k, &u);
    return cuda_scatter_along_add_scratch(&u.k, threads);
}
void cuda_max_unpool(const gy_kargs *k) {
    unpool_call u;
    as_scatter(k, &u);
    cuda_scatter_along_add(&u.k);
}
#endif
