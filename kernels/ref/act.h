/* act.h: the activations that matrix products and convolutions apply on their way out; values as in the elementwise
 * operators of the same names. */
#ifndef GY_REF_ACT_H
#define GY_REF_ACT_H

#include "../../core/ops.h"

#include <math.h>

static inline double ref_activate(double x, int64_t act) {
    switch ((gy_act)act) {
    case GY_ACT_NONE: break;
    case GY_ACT_RELU: return x < 0 ? 0 : x;
    case GY_ACT_SILU: return x / (1 + exp(-x));
    case GY_ACT_GELU: return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case GY_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case GY_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case GY_ACT_TANH: return tanh(x);
    case GY_ACT_SIGMOID: return 1 / (1 + exp(-x));
    }
    return x;
}

#endif
