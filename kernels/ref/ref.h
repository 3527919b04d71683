/* ref.h: reference kernels are written once for f32 and f64. A file x.c holds
 *
 *     #define GY_REF_FILE "kernels/ref/x.c"
 *     #include "ref.h"
 *     #ifdef T
 *     ... static code on the type T; exported kernels are named NAME(x), giving ref_x_f32, ref_x_f64 ...
 *     #endif
 *
 * and is compiled as itself, then re-includes itself once a type. Reference kernels are scalar, written to be read,
 * and define what is correct: they accumulate in double (ACC), so that f32 results are rounded once. */
#ifndef GY_REF_H
#define GY_REF_H

#include "../kernel.h"

#include <math.h>
#include <string.h>

typedef double acc_t;

#define GY_REF_JOIN_(name, type) ref_##name##_##type
#define GY_REF_JOIN(name, type)  GY_REF_JOIN_(name, type)
#define NAME(name)               GY_REF_JOIN(name, TNAME)

/* Element offset of multi-index `idx` in view v. */
static inline int64_t at(const gy_view *v, const int64_t idx[]) {
    int64_t o = 0;
    for (int64_t i = 0; i < v->shape.rank; i++) o += idx[i] * v->stride[i];
    return o;
}
/* Steps a multi-index in row-major order; false after the last. */
static inline bool next_index(gy_shape s, int64_t idx[]) {
    for (int64_t i = s.rank - 1; i >= 0; i--) {
        if (++idx[i] < s.dim[i]) return true;
        idx[i] = 0;
    }
    return false;
}

#endif

#if defined(GY_REF_FILE) && !defined(T)
#define T     float
#define TNAME f32
#include GY_REF_FILE
#undef T
#undef TNAME
#define T     double
#define TNAME f64
#include GY_REF_FILE
#undef T
#undef TNAME
#endif
