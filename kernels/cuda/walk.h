/* walk.h: elements of strided operands, and numbers of either float type, for kernels that are bound by memory: the
 * type is looked at when an element is loaded, and everything is computed in double, as the reference does. */
#ifndef GY_CUDA_WALK_H
#define GY_CUDA_WALK_H

#include "cuda.h"

/* Some axes of an operand, outermost first: where the i-th element of a row-major walk over them lies. */
typedef struct gy_walk {
    int64_t rank, dim[GY_MAX_RANK], stride[GY_MAX_RANK];
} gy_walk;

/* i / n for i >= 0, n > 0; divisions of 64 bits are slow, and rarely needed. */
GY_DEVICE int64_t gy_quotient(int64_t i, int64_t n) {
    return (i | n) >> 32 ? i / n : (int64_t)((uint32_t)i / (uint32_t)n);
}

GY_DEVICE int64_t gy_walk_at(const gy_walk *w, int64_t i) {
    int64_t offset = 0;
    for (int d = (int)w->rank - 1; d > 0; d--) {
        int64_t n = w->dim[d], q = gy_quotient(i, n);
        offset += (i - q * n) * w->stride[d];
        i = q;
    }
    return w->rank ? offset + i * w->stride[0] : 0;
}

/* wide: f64, else f32 */
GY_DEVICE double gy_number(const void *x, int wide, int64_t i) {
    return wide ? ((const double *)x)[i] : (double)((const float *)x)[i];
}
GY_DEVICE void gy_put_number(void *y, int wide, int64_t i, double v) {
    if (wide)
        ((double *)y)[i] = v;
    else
        ((float *)y)[i] = (float)v;
}

/* What moves 16 bytes at a time. */
typedef struct gy_bytes16 {
    uint64_t lo, hi;
} __attribute__((aligned(16))) gy_bytes16;

/* y[i] = x[j], elements of 1, 2, 4, 8 or 16 bytes; x NULL: zero. */
GY_DEVICE void gy_copy_element(void *y, int64_t i, const void *x, int64_t j, int bytes) {
    switch (bytes) {
    case 1: ((uint8_t *)y)[i] = x ? ((const uint8_t *)x)[j] : (uint8_t)0; break;
    case 2: ((uint16_t *)y)[i] = x ? ((const uint16_t *)x)[j] : (uint16_t)0; break;
    case 4: ((uint32_t *)y)[i] = x ? ((const uint32_t *)x)[j] : 0; break;
    case 8: ((uint64_t *)y)[i] = x ? ((const uint64_t *)x)[j] : 0; break;
    default: {
        gy_bytes16 v;
        v.lo = v.hi = 0;
        if (x) v = ((const gy_bytes16 *)x)[j];
        ((gy_bytes16 *)y)[i] = v;
    }
    }
}

GY_DEVICE int gy_ones(uint32_t mask) {
#ifdef __CUDACC__
    return __popc(mask);
#else
    return __builtin_popcount(mask);
#endif
}

#ifdef GY_HOST
/* Appends an axis; one of size 1 is left out, one that continues the last is merged with it. */
static inline void gy_walk_push(gy_walk *w, int64_t dim, int64_t stride) {
    if (dim == 1) return;
    int64_t last = w->rank - 1;
    if (w->rank && w->stride[last] == stride * dim) {
        w->dim[last] *= dim;
        w->stride[last] = stride;
    } else {
        w->dim[w->rank] = dim;
        w->stride[w->rank++] = stride;
    }
}
static inline gy_walk gy_walk_of(const gy_view *v) {
    gy_walk w = {0};
    for (int64_t i = 0; i < v->shape.rank; i++) gy_walk_push(&w, v->shape.dim[i], v->stride[i]);
    return w;
}
/* The smallest power of two that is not below n, within [lo, hi] (powers of two). */
static inline int gy_power_of_two(int64_t n, int lo, int hi) {
    while (lo < hi && lo < n) lo *= 2;
    return lo;
}
#endif

#endif
