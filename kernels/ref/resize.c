/* Reference resizing: the rule of resize.h as a separable map. */
#ifndef T
#include "axis_map.h"

static int64_t row(const void *attr, int axis, int64_t in, int64_t o, int64_t *first, double *w) {
    double pair[2];
    int n = gy_resize_source(attr, axis, o, first, pair);
    (void)in;
    for (int i = 0; w && i < n; i++) w[i] = pair[i];
    return n;
}

axis_map_job ref_resize_map(const gy_kargs *k, bool adjoint) {
    const gy_resize_attr *a = k->attr;
    axis_map_job j = {.row = row, .attr = a, .adjoint = adjoint};
    for (int i = 0; i < 3; i++) {
        j.in[i] = a->in[i];
        j.out[i] = a->out[i];
    }
    return j;
}

size_t ref_resize_scratch(const gy_kargs *k, int threads);
size_t ref_resize_scratch(const gy_kargs *k, int threads) {
    axis_map_job j = ref_resize_map(k, false);
    return ref_axis_map_scratch(&j, k, threads);
}
size_t ref_resize_dx_scratch(const gy_kargs *k, int threads);
size_t ref_resize_dx_scratch(const gy_kargs *k, int threads) {
    axis_map_job j = ref_resize_map(k, true);
    return ref_axis_map_scratch(&j, k, threads);
}

#endif
#define GY_REF_FILE "kernels/ref/resize.c"
#include "ref.h"

#ifdef T

void NAME(resize)(const gy_kargs *k);
void NAME(resize)(const gy_kargs *k) {
    axis_map_job j = ref_resize_map(k, false);
    NAME(axis_map)(&j, k);
}
void NAME(resize_dx)(const gy_kargs *k);
void NAME(resize_dx)(const gy_kargs *k) {
    axis_map_job j = ref_resize_map(k, true);
    NAME(axis_map)(&j, k);
}

#endif
