/* Reference spans of the elementwise operators: one line of arithmetic each, evaluated in double and
 * rounded once. */
#include "../kernel.h"

#include <math.h>

/* ---- the arithmetic ---- */

#define BIN(op, expr)                                                                                                  \
    static inline double op##_of(double a, double b) {                                                                 \
        return expr;                                                                                                   \
    }
#define CMP(op, expr)                                                                                                  \
    static inline bool op##_of(double a, double b) {                                                                   \
        return expr;                                                                                                   \
    }
#define UN(op, expr)                                                                                                   \
    static inline double op##_of(double x, const double *p) {                                                          \
        (void)p;                                                                                                       \
        return expr;                                                                                                   \
    }
static inline double logistic(double x) {
    return 1.0 / (1.0 + exp(-x));
}
/* x s(u), u = a x + b x^3: s(u) + x u' s(u) s(-u) */
static inline double tanh_slope(double x) {
    double a = 2 * 0.79788456080286535588, b = a * 0.044715, s = logistic(x * (a + b * x * x));
    double o = logistic(-x * (a + b * x * x));
    return s * o == 0 ? s : s + x * (a + 3 * b * x * x) * s * o;
}
BIN(add, a + b)
BIN(sub, a - b)
BIN(mul, a *b)
BIN(div, a / b)
BIN(pow, pow(a, b))
BIN(maximum, a >= b || a != a ? a : b)
BIN(minimum, a <= b || a != a ? a : b)
CMP(eq, a == b)
CMP(ne, a != b)
CMP(lt, a < b)
CMP(le, a <= b)
UN(neg, -x)
UN(abs, fabs(x))
UN(sign, (double)((x > 0) - (x < 0)))
UN(floor, floor(x))
UN(exp, exp(x))
UN(log, log(x))
UN(log1p, log1p(x))
UN(sqrt, sqrt(x))
UN(rsqrt, 1.0 / sqrt(x))
UN(square, x *x)
UN(sin, sin(x))
UN(cos, cos(x))
UN(tanh, tanh(x))
UN(sigmoid, logistic(x))
UN(erf, erf(x))
UN(relu, x < 0 ? 0.0 : x)
UN(silu, x *logistic(x))
UN(gelu, 0.5 * x * erfc(-x * 0.70710678118654752440))
UN(gelu_tanh, 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x))))
UN(silu_slope, logistic(x) * (1 + x * logistic(-x)))
UN(gelu_slope, 0.5 * erfc(-x * 0.70710678118654752440) + x * 0.39894228040143267794 * exp(-0.5 * x * x))
UN(gelu_tanh_slope, tanh_slope(x))
UN(quick_gelu, x *logistic(1.702 * x))
UN(softplus, x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)))
UN(leaky_relu, x > 0 ? x : p[0] * x)
UN(elu, x > 0 ? x : p[0] * expm1(x))
UN(clamp, x<p[0] ? p[0] : x> p[1] ? p[1] : x)

/* ---- spans: the loops, for each type ---- */

static inline void unary_f32(const gy_span *s, double (*f)(double, const double *)) {
    const float *x = s->in[0];
    float *y = s->out;
    for (int64_t i = 0; i < s->n; i++) y[i] = (float)f((double)x[i * s->step[0]], s->attr);
}
static inline void binary_f32(const gy_span *s, double (*f)(double, double)) {
    const float *a = s->in[0], *b = s->in[1];
    float *y = s->out;
    for (int64_t i = 0; i < s->n; i++) y[i] = (float)f((double)a[i * s->step[0]], (double)b[i * s->step[1]]);
}
static inline void compare_f32(const gy_span *s, bool (*f)(double, double)) {
    const float *a = s->in[0], *b = s->in[1];
    uint8_t *y = s->out;
    for (int64_t i = 0; i < s->n; i++) y[i] = f((double)a[i * s->step[0]], (double)b[i * s->step[1]]);
}
void ref_where_f32(const gy_span *s);
void ref_where_f32(const gy_span *s) {
    const uint8_t *m = s->in[0];
    const float *a = s->in[1], *b = s->in[2];
    float *y = s->out;
    for (int64_t i = 0; i < s->n; i++) y[i] = m[i * s->step[0]] ? a[i * s->step[1]] : b[i * s->step[2]];
}

static inline void unary_f64(const gy_span *s, double (*f)(double, const double *)) {
    const double *x = s->in[0];
    double *y = s->out;
    for (int64_t i = 0; i < s->n; i++) y[i] = (double)f((double)x[i * s->step[0]], s->attr);
}
static inline void binary_f64(const gy_span *s, double (*f)(double, double)) {
    const double *a = s->in[0], *b = s->in[1];
    double *y = s->out;
    for (int64_t i = 0; i < s->n; i++) y[i] = (double)f((double)a[i * s->step[0]], (double)b[i * s->step[1]]);
}
static inline void compare_f64(const gy_span *s, bool (*f)(double, double)) {
    const double *a = s->in[0], *b = s->in[1];
    uint8_t *y = s->out;
    for (int64_t i = 0; i < s->n; i++) y[i] = f((double)a[i * s->step[0]], (double)b[i * s->step[1]]);
}
void ref_where_f64(const gy_span *s);
void ref_where_f64(const gy_span *s) {
    const uint8_t *m = s->in[0];
    const double *a = s->in[1], *b = s->in[2];
    double *y = s->out;
    for (int64_t i = 0; i < s->n; i++) y[i] = m[i * s->step[0]] ? a[i * s->step[1]] : b[i * s->step[2]];
}

/* Exports op_span for both types; `kind` names the loop. */
#define SPAN(kind, op)                                                                                                 \
    void ref_##op##_f32(const gy_span *s);                                                                             \
    void ref_##op##_f32(const gy_span *s) {                                                                            \
        kind##_f32(s, op##_of);                                                                                        \
    }                                                                                                                  \
    void ref_##op##_f64(const gy_span *s);                                                                             \
    void ref_##op##_f64(const gy_span *s) {                                                                            \
        kind##_f64(s, op##_of);                                                                                        \
    }
SPAN(binary, add)
SPAN(binary, sub)
SPAN(binary, mul)
SPAN(binary, div)
SPAN(binary, pow)
SPAN(binary, maximum)
SPAN(binary, minimum)
SPAN(compare, eq)
SPAN(compare, ne)
SPAN(compare, lt)
SPAN(compare, le)
SPAN(unary, neg)
SPAN(unary, abs)
SPAN(unary, sign)
SPAN(unary, floor)
SPAN(unary, exp)
SPAN(unary, log)
SPAN(unary, log1p)
SPAN(unary, sqrt)
SPAN(unary, rsqrt)
SPAN(unary, square)
SPAN(unary, sin)
SPAN(unary, cos)
SPAN(unary, tanh)
SPAN(unary, sigmoid)
SPAN(unary, erf)
SPAN(unary, relu)
SPAN(unary, silu)
SPAN(unary, gelu)
SPAN(unary, gelu_tanh)
SPAN(unary, silu_slope)
SPAN(unary, gelu_slope)
SPAN(unary, gelu_tanh_slope)
SPAN(unary, quick_gelu)
SPAN(unary, softplus)
SPAN(unary, leaky_relu)
SPAN(unary, elu)
SPAN(unary, clamp)

/* ---- integers and masks: the few that indices and masks need ---- */

#define I64(op, type, expr)                                                                                            \
    void ref_##op##_i64(const gy_span *s);                                                                             \
    void ref_##op##_i64(const gy_span *s) {                                                                            \
        const int64_t *pa = s->in[0], *pb = s->in[1];                                                                  \
        type *y = s->out;                                                                                              \
        for (int64_t i = 0; i < s->n; i++) {                                                                           \
            int64_t a = pa[i * s->step[0]], b = pb[i * s->step[1]];                                                    \
            y[i] = expr;                                                                                               \
        }                                                                                                              \
    }
I64(add, int64_t, (int64_t)((uint64_t)a + (uint64_t)b))
I64(sub, int64_t, (int64_t)((uint64_t)a - (uint64_t)b))
I64(mul, int64_t, (int64_t)((uint64_t)a *(uint64_t)b))
I64(maximum, int64_t, a > b ? a : b)
I64(minimum, int64_t, a < b ? a : b)
I64(eq, uint8_t, a == b)
I64(ne, uint8_t, a != b)
I64(lt, uint8_t, a < b)
I64(le, uint8_t, a <= b)

void ref_and_u8(const gy_span *s);
void ref_and_u8(const gy_span *s) {
    const uint8_t *a = s->in[0], *b = s->in[1];
    uint8_t *y = s->out;
    for (int64_t i = 0; i < s->n; i++) y[i] = a[i * s->step[0]] && b[i * s->step[1]];
}
void ref_or_u8(const gy_span *s);
void ref_or_u8(const gy_span *s) {
    const uint8_t *a = s->in[0], *b = s->in[1];
    uint8_t *y = s->out;
    for (int64_t i = 0; i < s->n; i++) y[i] = a[i * s->step[0]] || b[i * s->step[1]];
}

/* Any dtype to any other, through double; between 64-bit integers and floats to integers toward zero. */
void ref_cast(const gy_span *s);
void ref_cast(const gy_span *s) {
    gy_tensor in = {.dtype = s->in_dtype[0], .data = (void *)(uintptr_t)s->in[0]};
    gy_tensor out = {.dtype = s->out_dtype, .data = s->out};
    bool to_int = !gy_dtype_is_float(s->out_dtype);
    for (int64_t i = 0; i < s->n; i++) {
        double x = gy_tensor_get(&in, i * s->step[0]);
        gy_tensor_set(&out, i, to_int ? trunc(x) : x);
    }
}
