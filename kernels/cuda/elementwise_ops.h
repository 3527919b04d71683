/* elementwise_ops.h: the arithmetic of the elementwise operators for one float type: T, and M(f), the name of a
 * mathematical function for it. Included by elementwise.cu once a type. Formulas as in kernels/ref/elementwise.c. */
#define NAME_(name, type)  name##_##type
#define NAME__(name, type) NAME_(name, type)
#define NAME(name)         NAME__(name, TNAME)

GY_DEVICE T NAME(logistic)(T x) {
    return 1 / (1 + M(exp)(-x));
}
/* x s(u), u = a x + b x^3: s(u) + x u' s(u) s(-u) */
GY_DEVICE T NAME(tanh_slope)(T x) {
    const T a = (T)(2 * 0.79788456080286535588), b = (T)(2 * 0.79788456080286535588 * 0.044715);
    T u = x * (a + b * x * x), s = NAME(logistic)(u), o = NAME(logistic)(-u);
    return s * o == 0 ? s : s + x * (a + 3 * b * x * x) * s * o;
}
/* p, q: the operator's two numbers. */
GY_DEVICE T NAME(unary)(int op, T x, T p, T q) {
    const T half_sqrt = (T)0.70710678118654752440;
    switch (op) {
    case GY_OPCODE_neg: return -x;
    case GY_OPCODE_abs: return M(fabs)(x);
    case GY_OPCODE_sign: return (T)((x > 0) - (x < 0));
    case GY_OPCODE_floor: return M(floor)(x);
    case GY_OPCODE_exp: return M(exp)(x);
    case GY_OPCODE_log: return M(log)(x);
    case GY_OPCODE_log1p: return M(log1p)(x);
    case GY_OPCODE_sqrt: return M(sqrt)(x);
    case GY_OPCODE_rsqrt: return 1 / M(sqrt)(x);
    case GY_OPCODE_square: return x * x;
    case GY_OPCODE_sin: return M(sin)(x);
    case GY_OPCODE_cos: return M(cos)(x);
    case GY_OPCODE_tanh: return M(tanh)(x);
    case GY_OPCODE_sigmoid: return NAME(logistic)(x);
    case GY_OPCODE_erf: return M(erf)(x);
    case GY_OPCODE_relu: return x < 0 ? 0 : x;
    case GY_OPCODE_silu: return x * NAME(logistic)(x);
    case GY_OPCODE_gelu: return (T)0.5 * x * M(erfc)(-x * half_sqrt);
    case GY_OPCODE_gelu_tanh:
        return (T)0.5 * x * (1 + M(tanh)((T)0.79788456080286535588 * (x + (T)0.044715 * x * x * x)));
    case GY_OPCODE_quick_gelu: return x * NAME(logistic)((T)1.702 * x);
    case GY_OPCODE_silu_slope: return NAME(logistic)(x) * (1 + x * NAME(logistic)(-x));
    case GY_OPCODE_gelu_slope:
        return (T)0.5 * M(erfc)(-x * half_sqrt) + x * (T)0.39894228040143267794 * M(exp)((T)-0.5 * x * x);
    case GY_OPCODE_gelu_tanh_slope: return NAME(tanh_slope)(x);
    case GY_OPCODE_softplus: return x > 0 ? x + M(log1p)(M(exp)(-x)) : M(log1p)(M(exp)(x));
    case GY_OPCODE_leaky_relu: return x > 0 ? x : p * x;
    case GY_OPCODE_elu: return x > 0 ? x : p * M(expm1)(x);
    case GY_OPCODE_clamp: return x < p ? p : x > q ? q : x;
    default: return x;
    }
}
GY_DEVICE T NAME(binary)(int op, T a, T b) {
    switch (op) {
    case GY_OPCODE_add: return a + b;
    case GY_OPCODE_sub: return a - b;
    case GY_OPCODE_mul: return a * b;
    case GY_OPCODE_div: return a / b;
    case GY_OPCODE_pow: return M(pow)(a, b);
    case GY_OPCODE_maximum: return a >= b || a != a ? a : b;
    default: return a <= b || a != a ? a : b;
    }
}
GY_DEVICE bool NAME(compare)(int op, T a, T b) {
    switch (op) {
    case GY_OPCODE_eq: return a == b;
    case GY_OPCODE_ne: return a != b;
    case GY_OPCODE_lt: return a < b;
    default: return a <= b;
    }
}

#undef NAME
#undef NAME__
#undef NAME_
