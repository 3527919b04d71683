/* update.h: optimizer updates, one fused pass a parameter. core/optim.h builds training steps from them.
 *
 * p and its moments have one shape and float dtype; g is the gradient; lr is a float scalar (f32 or f64).
 * `scale` multiplies the gradient first (clipping); GY_NONE means 1. Outputs follow the inputs' order and may
 * take their memory. Not differentiable: an update is the end of a step. */
#ifndef GY_OPS_UPDATE_H
#define GY_OPS_UPDATE_H

#include "../graph.h"

/* ops sgd, adam, lion. lr_factor multiplies lr (parameter groups); 0 means 1. */
typedef struct gy_update_attr {
    double beta1, beta2, eps; /* sgd: beta1 is the momentum; lion has no eps */
    double weight_decay, lr_factor;
    int64_t nesterov;  /* sgd */
    int64_t decoupled; /* adam: decay p directly (AdamW), else through the gradient (Adam with L2) */
} gy_update_attr;

/* g += wd p; m' = mu m + g; p' = p - lr (nesterov ? g + mu m' : m'). m GY_NONE: p' = p - lr g, one output.
 * torch.optim.SGD with dampening 0. Output 0: p', 1: m'. */
gy_t gy_sgd_(gy_site at, gy_t p, gy_t m, gy_t g, gy_t lr, gy_t scale, gy_update_attr attr);
#define gy_sgd(p, m, g, lr, scale, attr) gy_sgd_(GY_HERE, p, m, g, lr, scale, attr)

/* AdamW (Loshchilov & Hutter 2019), as torch.optim.AdamW: p *= 1 - lr wd; m' = b1 m + (1-b1) g;
 * v' = b2 v + (1-b2) g^2; p' = p - lr/(1-b1^t) m' / (sqrt(v'/(1-b2^t)) + eps). `step` t: i64 or float scalar,
 * 1 at the first update. Outputs p', m', v'. */
gy_t gy_adam_(gy_site at, gy_t p, gy_t m, gy_t v, gy_t g, gy_t lr, gy_t step, gy_t scale, gy_update_attr attr);
#define gy_adam(p, m, v, g, lr, step, scale, attr) gy_adam_(GY_HERE, p, m, v, g, lr, step, scale, attr)

/* Lion (Chen et al. 2023, program 1): p' = p (1 - lr wd) - lr sign(b1 m + (1-b1) g); m' = b2 m + (1-b2) g.
 * Outputs p', m'. */
gy_t gy_lion_(gy_site at, gy_t p, gy_t m, gy_t g, gy_t lr, gy_t scale, gy_update_attr attr);
#define gy_lion(p, m, g, lr, scale, attr) gy_lion_(GY_HERE, p, m, g, lr, scale, attr)

/* Exponential moving average: decay avg + (1 - decay) x, as avg + (1 - decay) (x - avg). */
gy_t gy_ema_(gy_site at, gy_t avg, gy_t x, double decay);
#define gy_ema(avg, x, decay) gy_ema_(GY_HERE, avg, x, decay)

/* sqrt(sum of squares of all elements of n values), summed in the order given; one dtype. n >= 1. */
gy_t gy_global_norm_(gy_site at, int64_t n, const gy_t x[]);
#define gy_global_norm(n, x) gy_global_norm_(GY_HERE, n, x)
/* min(1, max_norm / (norm + 1e-6)), torch.nn.utils.clip_grad_norm_'s factor. */
gy_t gy_clip_factor_(gy_site at, gy_t norm, double max_norm);
#define gy_clip_factor(norm, max_norm) gy_clip_factor_(GY_HERE, norm, max_norm)

#endif
