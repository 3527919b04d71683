/* types.h: a file x.c that should exist for f32 and f64 starts with
 *
 *     #define GY_TYPED_FILE "x.c"
 *     #include "types.h"
 *     #ifdef T
 *
 * and is re-included with T the element type, V its vector, LANES, OP(add) the vector operation, and
 * NAME(f) = f_f32_<tier> or f_f64_<tier>. Everything outside `#ifdef T` must stand guarded or before the include. */
#ifndef GY_X86_TYPES_H
#define GY_X86_TYPES_H
#include "vec.h"
#define GY_JOIN2_(a, b) a##_##b
#define GY_JOIN2(a, b)  GY_JOIN2_(a, b)
#define NAME(f)         GY_JOIN3(GY_JOIN2(f, TNAME), GY_ISA_NAME)
#define TYPE(t)         GY_JOIN2(t, TNAME)
#endif

#if defined(GY_TYPED_FILE) && !defined(T)
#define T     float
#define TNAME f32
#define T_IS_F32
#define V     vf
#define LANES VL
#define OP(f) v_##f
#include GY_TYPED_FILE
#undef T
#undef TNAME
#undef T_IS_F32
#undef V
#undef LANES
#undef OP
#define T     double
#define TNAME f64
#define V     vd
#define LANES VLD
#define OP(f) w_##f
#include GY_TYPED_FILE
#undef T
#undef TNAME
#undef V
#undef LANES
#undef OP
#endif
