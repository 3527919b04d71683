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

/* The body for i = 0, VL, 2 VL ... with `left` elements from there on: the constant VL as long as vectors are whole. */
#define LINE_EACH(n, ...)                                                                                              \
    do {                                                                                                               \
        int64_t i = 0;                                                                                                 \
        for (; i + VL <= (n); i += VL) {                                                                               \
            enum { left = VL };                                                                                        \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
        if (i < (n)) {                                                                                                 \
            const int64_t left = (n)-i;                                                                                \
            (void)left;                                                                                                \
            __VA_ARGS__                                                                                                \
        }                                                                                                              \
    } while (0)

/* s += sum over i of `term`, an expression in the offset i and the number `left` of elements from there on (at most VL
 * matter); terms of lanes past the end must be zero. Four chains: an addition has a latency. */
#define LINE_SUM(s, n, term)                                                                                           \
    for (int64_t block_ = 0; block_ < (n); block_ += 64 * VL) {                                                        \
        vf acc_[4] = {v_zero(), v_zero(), v_zero(), v_zero()};                                                         \
        int64_t end_ = (n) < block_ + 64 * VL ? (n) : block_ + 64 * VL, at_ = block_;                                  \
        for (; at_ + 4 * VL <= end_; at_ += 4 * VL)                                                                    \
            for (int u_ = 0; u_ < 4; u_++) {                                                                           \
                enum { left = VL };                                                                                    \
                int64_t i = at_ + u_ * VL;                                                                             \
                acc_[u_] = v_add(acc_[u_], term);                                                                      \
            }                                                                                                          \
        for (; at_ < end_; at_ += VL) {                                                                                \
            const int64_t i = at_, left = end_ - i;                                                                    \
            (void)left;                                                                                                \
            acc_[0] = v_add(acc_[0], term);                                                                            \
        }                                                                                                              \
        s += (double)v_sum(v_add(v_add(acc_[0], acc_[1]), v_add(acc_[2], acc_[3])));                                   \
    }

/* Whether results should go past the caches: operands of `bytes` in all, of which the caches would keep little, and
 * lines of n floats from y on that are whole vectors at their natural alignment. */
enum { LINE_PAST = 32 << 20 };
GY_INLINE bool line_past(const float *y, int64_t n, int64_t bytes) {
    return bytes > LINE_PAST && n % VL == 0 && (uintptr_t)y % sizeof(vf) == 0;
}
/* Calls a cache line of a later row to the caches; any address will do. */
GY_INLINE void line_call(const float *p) {
    _mm_prefetch((const char *)p, _MM_HINT_T1);
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
#endif
