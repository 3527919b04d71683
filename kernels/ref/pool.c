/* Reference pooling. Averages are separable maps: the divisor of a window is the product of its axes' counts. */
#ifndef T
#include "axis_map.h"

enum { GRAIN = 64 }; /* output positions a tile */

/* The elements of x that window o averages on one axis. */
static int64_t row(const void *attr, int axis, int64_t in, int64_t o, int64_t *first, double *w) {
    const gy_pool_attr *a = attr;
    int64_t start, taps;
    gy_pool_window(a, axis, in, o, &start, &taps);
    int64_t lo = start < 0 ? 0 : start, hi = start + taps < in ? start + taps : in;
    if (hi < lo) hi = lo;
    int64_t divisor = a->skip_zeros ? hi - lo : taps;
    *first = lo;
    for (int64_t i = 0; w && i < hi - lo; i++) w[i] = 1.0 / (double)divisor;
    return hi - lo;
}

axis_map_job ref_avg_pool_map(const gy_kargs *k, bool adjoint) {
    axis_map_job j = {.row = row, .attr = k->attr, .adjoint = adjoint};
    ref_spatial_sizes(adjoint ? k->out[0].shape : k->in[0].shape, j.in);
    ref_spatial_sizes(adjoint ? k->in[0].shape : k->out[0].shape, j.out);
    return j;
}

size_t ref_avg_pool_scratch(const gy_kargs *k, int threads);
size_t ref_avg_pool_scratch(const gy_kargs *k, int threads) {
    axis_map_job j = ref_avg_pool_map(k, false);
    return ref_axis_map_scratch(&j, k, threads);
}
size_t ref_avg_pool_dx_scratch(const gy_kargs *k, int threads);
size_t ref_avg_pool_dx_scratch(const gy_kargs *k, int threads) {
    axis_map_job j = ref_avg_pool_map(k, true);
    return ref_axis_map_scratch(&j, k, threads);
}

typedef struct {
    const gy_kargs *k;
    int64_t channels, in[3], out[3], n_in, n_out; /* n: positions a sample */
} job;

/* x: larger grid, y: pooled grid. */
static job prepare(const gy_kargs *k, gy_shape x, gy_shape y) {
    job j = {.k = k, .channels = x.dim[x.rank - 1]};
    ref_spatial_sizes(x, j.in);
    ref_spatial_sizes(y, j.out);
    j.n_in = j.in[0] * j.in[1] * j.in[2];
    j.n_out = j.out[0] * j.out[1] * j.out[2];
    return j;
}

#endif
#define GY_REF_FILE "kernels/ref/pool.c"
#include "ref.h"

#ifdef T

void NAME(avg_pool)(const gy_kargs *k);
void NAME(avg_pool)(const gy_kargs *k) {
    axis_map_job j = ref_avg_pool_map(k, false);
    NAME(axis_map)(&j, k);
}
void NAME(avg_pool_dx)(const gy_kargs *k);
void NAME(avg_pool_dx)(const gy_kargs *k) {
    axis_map_job j = ref_avg_pool_map(k, true);
    NAME(axis_map)(&j, k);
}

/* All channels of one output: y and place start at the first element of the window, and each later one that is larger,
 * or NaN, takes over. */
static void NAME(max_of_window)(const job *j, const T *x, const int64_t o[3], T *y, int64_t *place) {
    const gy_pool_attr *a = j->k->attr;
    int64_t start[3], taps[3], i[3], k[3], n = j->channels;
    bool first = true;
    for (int axis = 0; axis < 3; axis++) gy_pool_window(a, axis, j->in[axis], o[axis], &start[axis], &taps[axis]);
    for (k[0] = 0; k[0] < taps[0]; k[0]++)
        for (k[1] = 0; k[1] < taps[1]; k[1]++)
            for (k[2] = 0; k[2] < taps[2]; k[2]++) {
                bool padding = false;
                for (int axis = 0; axis < 3; axis++) {
                    i[axis] = start[axis] + k[axis] * a->dilation[axis];
                    padding = padding || i[axis] < 0 || i[axis] >= j->in[axis];
                }
                if (padding) continue;
                int64_t at = (i[0] * j->in[1] + i[1]) * j->in[2] + i[2];
                const T *xs = x + at * n;
                for (int64_t c = 0; c < n; c++)
                    if (first || xs[c] > y[c] || isnan(xs[c])) {
                        y[c] = xs[c];
                        place[c] = at;
                    }
                first = false;
            }
}

static void NAME(max_pool_tile)(void *arg, int64_t tile, int worker) {
    const job *j = arg;
    int64_t lo, hi;
    (void)worker;
    gy_tile_range(j->k->in[0].shape.dim[0] * j->n_out, GRAIN, tile, &lo, &hi);
    for (int64_t p = lo; p < hi; p++) {
        int64_t q = p % j->n_out, o[3] = {q / j->out[2] / j->out[1], q / j->out[2] % j->out[1], q % j->out[2]};
        NAME(max_of_window)
        (j, (const T *)j->k->in[0].data + p / j->n_out * j->n_in * j->channels, o,
         (T *)j->k->out[0].data + p * j->channels, (int64_t *)j->k->out[1].data + p * j->channels);
    }
}

void NAME(max_pool)(const gy_kargs *k);
void NAME(max_pool)(const gy_kargs *k) {
    job j = prepare(k, k->in[0].shape, k->out[0].shape);
    gy_par(k->pool, gy_tiles(k->in[0].shape.dim[0] * j.n_out, GRAIN), NAME(max_pool_tile), &j);
}

/* One sample; sums in the order of the outputs. */
static void NAME(max_unpool_tile)(void *arg, int64_t b, int worker) {
    const job *j = arg;
    const T *y = (const T *)j->k->in[0].data + b * j->n_out * j->channels;
    const int64_t *place = (const int64_t *)j->k->in[1].data + b * j->n_out * j->channels;
    T *x = (T *)j->k->out[0].data + b * j->n_in * j->channels;
    (void)worker;
    for (int64_t i = 0; i < j->n_in * j->channels; i++) x[i] = 0;
    for (int64_t o = 0; o < j->n_out; o++)
        for (int64_t c = 0; c < j->channels; c++, y++, place++)
            if (*place >= 0 && *place < j->n_in) x[*place * j->channels + c] += *y;
}

void NAME(max_unpool)(const gy_kargs *k);
void NAME(max_unpool)(const gy_kargs *k) {
    job j = prepare(k, k->out[0].shape, k->in[0].shape);
    gy_par(k->pool, k->in[0].shape.dim[0], NAME(max_unpool_tile), &j);
}

static void NAME(max_pool_at_tile)(void *arg, int64_t b, int worker) {
    const job *j = arg;
    const T *x = (const T *)j->k->in[0].data + b * j->n_in * j->channels;
    const int64_t *place = (const int64_t *)j->k->in[1].data + b * j->n_out * j->channels;
    T *y = (T *)j->k->out[0].data + b * j->n_out * j->channels;
    (void)worker;
    for (int64_t o = 0; o < j->n_out; o++)
        for (int64_t c = 0; c < j->channels; c++, place++)
            *y++ = *place >= 0 && *place < j->n_in ? x[*place * j->channels + c] : 0;
}

void NAME(max_pool_at)(const gy_kargs *k);
void NAME(max_pool_at)(const gy_kargs *k) {
    job j = prepare(k, k->in[0].shape, k->out[0].shape);
    gy_par(k->pool, k->in[0].shape.dim[0], NAME(max_pool_at_tile), &j);
}

#endif
