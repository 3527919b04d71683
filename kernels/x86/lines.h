/* lines.h: sums and maxima of adjacent floats, for kernels that work row by row. Float sums have at most 64 terms a
 * lane before they go to a double. */
#ifndef GY_X86_LINES_H
#define GY_X86_LINES_H

#include "vmath.h"

/* VL elements, or the n < VL that are left and zeros. */
GY_INLINE vf line_load(const float *p, int64_t n) {
    return n >= VL ? v_load(p) : v_loadn(p, n);
}
GY_INLINE void line_store(float *p, vf x, int64_t n) {
    if (n >= VL)
        v_store(p, x);
    else
        v_storen(p, x, n);
}
/* x in the first n lanes, `fill` in the others. */
GY_INLINE vf line_keep(vf x, int64_t n, float fill) {
    float lane[VL];
    if (n >= VL) return x;
    v_store(lane, v_set(fill));
    v_storen(lane, x, n);
    return v_load(lane);
}

/* s += sum over i of `term`, an expression in the offset i and the number `left` of elements from there on (n - i);
 * terms of lanes past the end must be zero. */
#define LINE_SUM(s, n, term)                                                                                           \
    for (int64_t block_ = 0; block_ < (n); block_ += 64 * VL) {                                                        \
        vf acc_ = v_zero();                                                                                            \
        for (int64_t i = block_; i < (n) && i < block_ + 64 * VL; i += VL) {                                           \
            int64_t left = (n)-i;                                                                                      \
            (void)left;                                                                                                \
            acc_ = v_add(acc_, term);                                                                                  \
        }                                                                                                              \
        s += (double)v_sum(acc_);                                                                                      \
    }

/* The largest element; a NaN may or may not come out. n >= 1. */
GY_INLINE float line_max(const float *x, int64_t n) {
    vf m = v_set(-INFINITY), m1 = m, m2 = m, m3 = m; /* four chains: v_max has a latency */
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL) {
        m = v_max(m, v_load(x + i));
        m1 = v_max(m1, v_load(x + i + VL));
        m2 = v_max(m2, v_load(x + i + 2 * VL));
        m3 = v_max(m3, v_load(x + i + 3 * VL));
    }
    m = v_max(v_max(m, m1), v_max(m2, m3));
    for (; i < n; i += VL) m = v_max(m, line_keep(line_load(x + i, n - i), n - i, -INFINITY));
    return v_hmax(m);
}
/* sum of e^(x - max); y not NULL: the terms are stored there. */
GY_INLINE double line_exp_sum(const float *x, int64_t n, float max, float *y) {
    double sum = 0;
    for (int64_t block = 0; block < n; block += 64 * VL) {
        vf acc = v_zero();
        for (int64_t i = block; i < n && i < block + 64 * VL; i += VL) {
            vf e = line_keep(v_exp(v_sub(line_load(x + i, n - i), v_set(max))), n - i, 0);
            if (y) line_store(y + i, e, n - i);
            acc = v_add(acc, e);
        }
        sum += (double)v_sum(acc);
    }
    return sum;
}

#endif
