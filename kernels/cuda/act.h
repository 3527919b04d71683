/* act.h: the activations that products and convolutions apply on their way out, for one float type: T, and M(f), the
 * name of a mathematical function for it. Included once a type. Formulas as in kernels/ref/act.h. */
#define NAME_(name, type)  name##_##type
#define NAME__(name, type) NAME_(name, type)
#define NAME(name)         NAME__(name, TNAME)

#ifndef GY_CUDA_ACT_H
#define GY_CUDA_ACT_H
enum { /* gy_act, core/ops/matmul.h; checked in matmul.cu */
       ACT_NONE,
       ACT_RELU,
       ACT_SILU,
       ACT_GELU,
       ACT_GELU_TANH,
       ACT_QUICK_GELU,
       ACT_TANH,
       ACT_SIGMOID
};
#endif

GY_DEVICE T NAME(gy_activate)(T x, int act) {
    switch (act) {
    case ACT_RELU: return x < 0 ? 0 : x;
    case ACT_SILU: return x / (1 + M(exp)(-x));
    case ACT_GELU: return (T)0.5 * x * M(erfc)(-x * (T)0.70710678118654752440);
    case ACT_GELU_TANH: return (T)0.5 * x * (1 + M(tanh)((T)0.79788456080286535588 * (x + (T)0.044715 * x * x * x)));
    case ACT_QUICK_GELU: return x / (1 + M(exp)((T)-1.702 * x));
    case ACT_TANH: return M(tanh)(x);
    case ACT_SIGMOID: return 1 / (1 + M(exp)(-x));
    default: return x;
    }
}

#undef NAME
#undef NAME__
#undef NAME_
