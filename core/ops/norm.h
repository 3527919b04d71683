/* norm.h: layer, RMS, group, instance and batch normalisation.
 *
 * One formula: y = act(gamma (x - mean) rstd + beta), rstd = 1 / sqrt(var + eps), var biased; they differ in the
 * elements that share a mean. x is float; gamma and beta are optional vectors of x's dtype over the last axis. `eps` 0
 * means the default. Statistics come out as f64 for f64 input, else f32. */
#ifndef GY_OPS_NORM_H
#define GY_OPS_NORM_H

#include "matmul.h" /* gy_act */

/* Attributes, for kernels. A norm sees x as [outer, inner, groups, channels]: elements with equal (outer, group) share
 * statistics; gamma and beta are indexed by (group, channel).
 *   layernorm, rmsnorm: [rows, 1, 1, C]    groupnorm: [B, spatial, groups, C/groups]    batchnorm: [1, rows, C, 1] */
typedef struct gy_norm_attr {
    double eps;
    int64_t groups; /* groupnorm only */
    int64_t act;    /* groupnorm only: GY_ACT_NONE or GY_ACT_SILU */
} gy_norm_attr;
typedef struct gy_norm_dims {
    int64_t outer, inner, groups, channels;
} gy_norm_dims;

/* op layernorm (x, gamma, beta) -> y, mean [...], rstd [...] (x's shape without the last axis).
 * op layernorm_grad (ct, x, gamma, beta, mean, rstd) -> dx, dgamma if gamma is there, dbeta if beta is there. */
typedef struct gy_norm_args {
    gy_site at;
    gy_t x, gamma, beta;
    double eps;     /* 0: 1e-5; rmsnorm 1e-6 */
    int64_t groups; /* groupnorm: required */
    gy_act act;     /* groupnorm: GY_ACT_SILU is applied on the way out */
} gy_norm_args;

/* Over the last axis (Ba, Kiros, Hinton 2016, arXiv 1607.06450 eq. 3-4): gy_layernorm(x, gamma, beta, .eps = 1e-6).
 * gy_out(y, 1) is the mean, gy_out(y, 2) the reciprocal standard deviation. */
gy_t gy_layernorm_(gy_norm_args args);
#define gy_layernorm(...) gy_layernorm_((gy_norm_args){GY_HERE, __VA_ARGS__})

/* y = gamma x / sqrt(mean(x^2) + eps) over the last axis (Zhang, Sennrich 2019, arXiv 1910.07467 eq. 4); no beta.
 * gy_out(y, 1) is the reciprocal root mean square.
 * op rmsnorm (x, gamma) -> y, rstd [...]; op rmsnorm_grad (ct, x, gamma, rstd) -> dx, dgamma if gamma is there. */
gy_t gy_rmsnorm_(gy_norm_args args);
#define gy_rmsnorm(...) gy_rmsnorm_((gy_norm_args){GY_HERE, __VA_ARGS__})

/* x [B, spatial..., C]; channels in `groups` equal runs, statistics over a sample's space and a group's channels (Wu,
 * He 2018, arXiv 1803.08494 eq. 2-6): gy_groupnorm(x, gamma, beta, .groups = 32, .act = GY_ACT_SILU). op groupnorm (x,
 * gamma, beta) -> y, mean [B, groups], rstd [B, groups]. op groupnorm_grad: as layernorm_grad; the activation's slope
 * is recomputed from x. */
gy_t gy_groupnorm_(gy_norm_args args);
#define gy_groupnorm(...) gy_groupnorm_((gy_norm_args){GY_HERE, __VA_ARGS__})

/* Group normalisation with one channel a group (Ulyanov et al. 2016, arXiv 1607.08022). */
gy_t gy_instancenorm_(gy_norm_args args);
#define gy_instancenorm(...) gy_instancenorm_((gy_norm_args){GY_HERE, __VA_ARGS__})

/* Training form: statistics over all axes but the last (Ioffe, Szegedy 2015, arXiv 1502.03167 alg. 1).
 * gy_out(y, 1) is the mean [C], gy_out(y, 2) the biased variance [C]; PyTorch's running variance wants var * n / (n -
 * 1). op batchnorm (x, gamma, beta) -> y, mean [C], var [C]; op batchnorm_grad (ct, x, gamma, beta, mean, var) -> as
 * above. */
gy_t gy_batchnorm_(gy_norm_args args);
#define gy_batchnorm(...) gy_batchnorm_((gy_norm_args){GY_HERE, __VA_ARGS__})

/* Evaluation form: y = gamma (x - mean) / sqrt(var + eps) + beta with given mean, var [C]; a composition. */
typedef struct gy_batchnorm_eval_args {
    gy_site at;
    gy_t x, mean, var, gamma, beta;
    double eps; /* 0: 1e-5 */
} gy_batchnorm_eval_args;
gy_t gy_batchnorm_eval_(gy_batchnorm_eval_args args);
#define gy_batchnorm_eval(...) gy_batchnorm_eval_((gy_batchnorm_eval_args){GY_HERE, __VA_ARGS__})

/* How operator `op` (a norm or its gradient) sees x. */
gy_norm_dims gy_norm_view(int op, const gy_norm_attr *attr, gy_shape x);

#endif
