/* rows.h: prototypes of the kernels that kernels.def lists for x86. */
#ifndef GY_X86_ROWS_H
#define GY_X86_ROWS_H

#include "../kernel.h"

#define GY_SPAN(op, tier, dtype, f)
#define GY_KERNEL(op, tier, dtype, flags, f, supports, scratch)
#define GY_REF_SPAN(op)
#define GY_REF(op, flags, supports, scratch)
#define GY_X86_SPAN(op, tier, dtype, f)                             void f(const gy_span *s);
#define GY_X86_KERNEL(op, tier, dtype, flags, f, supports, scratch) void f(const gy_kargs *k);
#define GY_X86_PACKING(op, tier, dtype, flags, f, supports, scratch, packs)                                            \
    void f(const gy_kargs *k);                                                                                         \
    extern const gy_prepack packs;
#define GY_SUPPORTS(f) bool f(const gy_kargs *k);
#define GY_SCRATCH(f)  size_t f(const gy_kargs *k, int threads);
#include "../kernels.def"
#undef GY_SPAN
#undef GY_KERNEL
#undef GY_REF_SPAN
#undef GY_REF
#undef GY_X86_SPAN
#undef GY_X86_KERNEL
#undef GY_X86_PACKING
#undef GY_SUPPORTS
#undef GY_SCRATCH

/* Reference kernels that take over what no vector code is worth. */
void ref_cast(const gy_span *s);
void ref_sum_f32(const gy_kargs *k);
void ref_sum_squares_f32(const gy_kargs *k);
void ref_prod_f32(const gy_kargs *k);
void ref_max_f32(const gy_kargs *k);
void ref_min_f32(const gy_kargs *k);
void ref_copy(const gy_kargs *k);

#endif
