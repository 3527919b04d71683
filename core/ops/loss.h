/* loss.h: losses. Cross-entropy is a fused operator; the others are compositions of primitive ones. */
#ifndef GY_OPS_LOSS_H
#define GY_OPS_LOSS_H

#include "../graph.h"

/* How the losses of single elements or rows become the result: their mean, their sum, or themselves. */
typedef enum gy_reduction { GY_LOSS_MEAN = 0, GY_LOSS_SUM, GY_LOSS_NONE } gy_reduction;

/* ---- classification ---- */

/* Attributes, for kernels. op cross_entropy (logits, target, weight) -> loss [N...], lse [N...] = log sum_c e^{x_c},
 * and the row's weight [N...] (w_t; 0 if ignored); f64 for f64 logits, else f32. op cross_entropy_grad (ct [N...],
 * logits, target, weight, lse) -> dlogits. */
typedef struct gy_cross_entropy_attr {
    double smoothing;
    int64_t ignore;
} gy_cross_entropy_attr;

/* logits [N..., C] float, target [N...] i64 in [0, C) -> scalar, or [N...] with GY_LOSS_NONE.
 *   y = -(1 - e) w_t log p_t - e/C sum_c w_c log p_c, e the smoothing in [0, 1], w the class weights [C] (constants: no
 *   gradient flows into them). Rows whose target is `ignore_index` (with .ignore; otherwise -100) count nothing. The
 * mean divides by the sum of w_t over the rows that count, as PyTorch's does; it is NaN if none counts. A target
 * outside [0, C) that is not ignored gives NaN, forward and backward. */
typedef struct gy_cross_entropy_args {
    gy_site at;
    gy_t logits, target, weight;
    double smoothing;
    bool ignore;
    int64_t ignore_index;
    gy_reduction reduction;
} gy_cross_entropy_args;
gy_t gy_cross_entropy_(gy_cross_entropy_args args);
#define gy_cross_entropy(...) gy_cross_entropy_((gy_cross_entropy_args){GY_HERE, __VA_ARGS__})

/* -sum_c t_c log softmax(x)_c for rows x, t [N..., C]. */
gy_t gy_soft_cross_entropy_(gy_site at, gy_t logits, gy_t target, gy_reduction reduction);
#define gy_soft_cross_entropy(logits, target, reduction) gy_soft_cross_entropy_(GY_HERE, logits, target, reduction)

/* -(w y log s(x) + (1 - y) log(1 - s(x))), s the sigmoid, elementwise without overflow; target in [0, 1], x's shape;
 * pos_weight w broadcasts to x or is GY_NONE. */
gy_t gy_bce_with_logits_(gy_site at, gy_t x, gy_t target, gy_t pos_weight, gy_reduction reduction);
#define gy_bce_with_logits(x, target, pos_weight, reduction)                                                           \
    gy_bce_with_logits_(GY_HERE, x, target, pos_weight, reduction)

/* max(0, 1 - y x), y = +1 or -1, elementwise. */
gy_t gy_hinge_(gy_site at, gy_t x, gy_t target, gy_reduction reduction);
#define gy_hinge(x, target, reduction) gy_hinge_(GY_HERE, x, target, reduction)

/* 1/C sum_{c != t} max(0, margin - x_t + x_c) for rows x [N..., C], target [N...] i64; margin 0 means 1. */
gy_t gy_multi_margin_(gy_site at, gy_t x, gy_t target, double margin, gy_reduction reduction);
#define gy_multi_margin(x, target, margin, reduction) gy_multi_margin_(GY_HERE, x, target, margin, reduction)

/* GAN hinge losses (Lim, Ye 2017, arXiv 1705.02894 eq. 2): discriminator mean max(0, 1 - real) + mean max(0, 1 + fake);
 * generator -mean fake. real, fake: the discriminator's raw outputs, any shapes. */
gy_t gy_gan_hinge_d_(gy_site at, gy_t real, gy_t fake);
#define gy_gan_hinge_d(real, fake) gy_gan_hinge_d_(GY_HERE, real, fake)
gy_t gy_gan_hinge_g_(gy_site at, gy_t fake);
#define gy_gan_hinge_g(fake) gy_gan_hinge_g_(GY_HERE, fake)

/* ---- regression: a, b of one shape, elementwise, then reduced ---- */

/* (a - b)^2 */
gy_t gy_mse_(gy_site at, gy_t a, gy_t b, gy_reduction reduction);
#define gy_mse(a, b, reduction) gy_mse_(GY_HERE, a, b, reduction)
/* |a - b| */
gy_t gy_l1_(gy_site at, gy_t a, gy_t b, gy_reduction reduction);
#define gy_l1(a, b, reduction) gy_l1_(GY_HERE, a, b, reduction)
/* d = |a - b| < beta ? d^2 / (2 beta) : d - beta/2 (Girshick 2015, arXiv 1504.08083 eq. 3); beta 0 means 1. */
gy_t gy_smooth_l1_(gy_site at, gy_t a, gy_t b, double beta, gy_reduction reduction);
#define gy_smooth_l1(a, b, beta, reduction) gy_smooth_l1_(GY_HERE, a, b, beta, reduction)

/* ---- distributions ---- */

/* KL(P || Q) = sum_c e^{log_p} (log_p - log_q) over the last axis of log-probabilities [N..., C], reduced over rows
 * (the mean is over rows). log_p may hold -inf: p = 0 adds nothing. */
gy_t gy_kl_div_(gy_site at, gy_t log_p, gy_t log_q, gy_reduction reduction);
#define gy_kl_div(log_p, log_q, reduction) gy_kl_div_(GY_HERE, log_p, log_q, reduction)

/* KL(N(mu, e^log_var) || N(0, 1)) = -1/2 sum (1 + log_var - mu^2 - e^log_var) (Kingma, Welling 2013, arXiv 1312.6114
 * appendix B), summed over all axes but the first, reduced over the first. */
gy_t gy_gaussian_kl_(gy_site at, gy_t mu, gy_t log_var, gy_reduction reduction);
#define gy_gaussian_kl(mu, log_var, reduction) gy_gaussian_kl_(GY_HERE, mu, log_var, reduction)

/* ---- overlap ---- */

/* Soft Dice loss 1 - mean (2 sum p t + smooth) / (sum p + sum t + smooth) for probabilities p and targets t (one-hot or
 * soft) [B, spatial..., C]; sums over space, the mean over samples and classes; with `batch` the sums run over the
 * samples too. smooth 0 means 1e-5; `squared` puts p^2, t^2 below (Milletari et al. 2016, arXiv 1606.04797 eq. 3). */
typedef struct gy_dice_args {
    gy_site at;
    gy_t p, target;
    double smooth;
    bool batch, squared;
} gy_dice_args;
gy_t gy_dice_loss_(gy_dice_args args);
#define gy_dice_loss(...) gy_dice_loss_((gy_dice_args){GY_HERE, __VA_ARGS__})

/* ---- similarity and contrast ---- */

/* x / max(||x||, 1e-8) along the last axis. */
gy_t gy_l2_normalize_(gy_site at, gy_t x);
#define gy_l2_normalize(x) gy_l2_normalize_(GY_HERE, x)

/* a . b / (max(||a||, 1e-8) max(||b||, 1e-8)) along the last axis; the others broadcast. */
gy_t gy_cosine_similarity_(gy_site at, gy_t a, gy_t b);
#define gy_cosine_similarity(a, b) gy_cosine_similarity_(GY_HERE, a, b)

/* target +1: 1 - cos; -1: max(0, cos - margin). a, b [N..., D], target [N...] float. */
gy_t gy_cosine_embedding_(gy_site at, gy_t a, gy_t b, gy_t target, double margin, gy_reduction reduction);
#define gy_cosine_embedding(a, b, target, margin, reduction)                                                           \
    gy_cosine_embedding_(GY_HERE, a, b, target, margin, reduction)

/* Symmetric InfoNCE of pairs (Radford et al. 2021, arXiv 2103.00020 fig. 3): rows of a and b [N, D] are brought to unit
 * length, logits = a b^T / temperature, the loss is the mean of the cross-entropies of rows and columns with the
 * diagonal as target. temperature 0 means 0.07; or give `scale`, a scalar value (learned) that multiplies instead. */
typedef struct gy_info_nce_args {
    gy_site at;
    gy_t a, b, scale;
    double temperature;
} gy_info_nce_args;
gy_t gy_info_nce_(gy_info_nce_args args);
#define gy_info_nce(...) gy_info_nce_((gy_info_nce_args){GY_HERE, __VA_ARGS__})

/* SoftCLIP (Scotti et al. 2023, arXiv 2305.18274 eq. 4): rows of p, t [N, D] are brought to unit length;
 * T = softmax(t t^T / tau); L = -1/2 [mean_i sum_j T log softmax(p t^T / tau) + the same with (p t^T)^T].
 * tau > 0 is a constant. */
gy_t gy_soft_clip_(gy_site at, gy_t p, gy_t t, double tau);
#define gy_soft_clip(p, t, tau) gy_soft_clip_(GY_HERE, p, t, tau)

#endif
