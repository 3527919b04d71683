/* Sorting a lane at a time: a bottom-up merge sort of positions, which is stable and has no recursion. */
#define GY_REF_FILE "kernels/ref/sort.c"
#include "ref.h"

#ifndef GY_REF_SORT_SHARED
#define GY_REF_SORT_SHARED
size_t ref_sort_scratch(const gy_kargs *k, int threads);
size_t ref_sort_scratch(const gy_kargs *k, int threads) { /* positions, and room to merge them, a worker */
    const gy_sort_attr *a = k->attr;
    return 2 * sizeof(int64_t) * (size_t)k->in[0].shape.dim[a->axis] * (size_t)threads;
}
#endif

#ifdef T

/* Whether b must come before a, which stands before it. */
static bool NAME(before)(T b, T a, bool descending) {
    if (isnan(a) || isnan(b)) return isnan(a) && !isnan(b);
    return descending ? b > a : b < a;
}

/* Positions 0..n-1 of x (elements `step` apart) in order; the answer is in one of the two buffers. */
static const int64_t *NAME(order)(const T *x, int64_t step, int64_t n, bool descending, int64_t *from, int64_t *to) {
    for (int64_t i = 0; i < n; i++) from[i] = i;
    for (int64_t run = 1; run < n; run *= 2) {
        for (int64_t lo = 0; lo < n; lo += 2 * run) {
            int64_t mid = lo + run < n ? lo + run : n, hi = lo + 2 * run < n ? lo + 2 * run : n;
            for (int64_t a = lo, b = mid, i = lo; i < hi; i++) {
                bool right = a == mid || (b < hi && NAME(before)(x[from[b] * step], x[from[a] * step], descending));
                to[i] = right ? from[b++] : from[a++];
            }
        }
        int64_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

static void NAME(sort_lane)(void *arg, int64_t lane, int worker) {
    const gy_kargs *k = arg;
    const gy_sort_attr *a = k->attr;
    const gy_view *x = &k->in[0];
    int64_t n = x->shape.dim[a->axis], inner = 1, offset = 0;
    for (int64_t i = a->axis + 1; i < x->shape.rank; i++) inner *= x->shape.dim[i];
    for (int64_t i = x->shape.rank - 1, rest = lane; i >= 0; i--) {
        if (i == a->axis) continue;
        offset += rest % x->shape.dim[i] * x->stride[i];
        rest /= x->shape.dim[i];
    }
    const T *lane_x = (const T *)x->data + offset;
    int64_t *buf = (int64_t *)k->scratch + 2 * n * worker;
    const int64_t *pos = NAME(order)(lane_x, x->stride[a->axis], n, a->descending, buf, buf + n);
    int64_t to = lane / inner * a->k * inner + lane % inner;
    for (int64_t i = 0; i < a->k; i++) {
        ((T *)k->out[0].data)[to + i * inner] = lane_x[pos[i] * x->stride[a->axis]];
        ((int64_t *)k->out[1].data)[to + i * inner] = pos[i];
    }
}

void NAME(sort)(const gy_kargs *k);
void NAME(sort)(const gy_kargs *k) {
    const gy_sort_attr *a = k->attr;
    if (gy_shape_count(k->out[0].shape) == 0) return;
    gy_par(k->pool, gy_shape_count(k->out[0].shape) / a->k, NAME(sort_lane), (void *)k);
}

#endif
