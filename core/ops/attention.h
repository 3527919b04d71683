/* attention.h: scaled dot-product attention. */
#ifndef GY_OPS_ATTENTION_H
#define GY_OPS_ATTENTION_H

#include "../graph.h"

/* Attributes, for kernels. */
typedef struct gy_attention_attr {
    double scale; /* never 0 here */
    int64_t causal;
} gy_attention_attr;

/* y[b,i,h] = sum_j p_ij v[b,j,h'],  p_i = softmax_j(scale q[b,i,h] . k[b,j,h'] + bias[b,h,i,j])  over the keys j that
 * query i may see (Vaswani et al. 2017, arXiv 1706.03762 eq. 1).
 *   q [B, Tq, H, D], k [B, Tk, Hkv, D], v [B, Tk, Hkv, Dv], one float dtype; H a multiple of Hkv: query head h reads
 *     key head h' = h / (H / Hkv) (grouped queries, Ainslie et al. 2023, arXiv 2305.13245).
 *   mask  u8, broadcastable to [B, H, Tq, Tk]: 1 = attend. bias: q's dtype, broadcastable likewise; -inf is allowed.
 *   causal: query i sees key j when j <= i + Tk - Tq: the last query sees every key, as with a cache of past keys.
 *   scale 0 means 1 / sqrt(D).
 * A query that may see nothing gives zeros, with lse -inf and no gradient.
 * Returns y [B, Tq, H, Dv]; gy_out(y, 1) is lse [B, H, Tq], log sum_j e^{score} (f64 for f64 input, else f32).
 *
 * op attention (q, k, v, mask, bias) -> y, lse.
 * op attention_grad (ct, q, k, v, mask, bias, y, lse) -> dq, dk, dv, dbias if bias is there (bias's own shape). */
typedef struct gy_attention_args {
    gy_site at;
    gy_t q, k, v, mask, bias;
    bool causal;
    double scale;
} gy_attention_args;
gy_t gy_attention_(gy_attention_args args);
#define gy_attention(...) gy_attention_((gy_attention_args){GY_HERE, __VA_ARGS__})

/* The weights p [B, H, Tq, Tk] themselves, by primitive operators; v is not used. For maps of where a model looks, and
 * where the weights are changed before they meet v. */
gy_t gy_attention_weights_(gy_attention_args args);
#define gy_attention_weights(...) gy_attention_weights_((gy_attention_args){GY_HERE, __VA_ARGS__})

#endif
