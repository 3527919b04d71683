/* encoder.h: transformer encoder layers (Vaswani et al. 2017, arXiv:1706.03762) with the options that models of brain
 * signals differ in: the place of the norms, norms on queries and keys, dropout on attention weights.
 *
 * Hook points are attend.h's: resid_pre, q, k, v, pattern, z, attn_out, mlp_act, mlp_out, resid_post. */
#ifndef GY_BLOCKS_ENCODER_H
#define GY_BLOCKS_ENCODER_H

#include "attend.h"

/* How a family of checkpoints calls the parts of a layer. */
typedef struct gy_encoder_names {
    const char *q, *k, *v, *norm_q, *norm_k, *out, *norm1, *fc1, *fc2, *norm2;
} gy_encoder_names;
extern const gy_encoder_names gy_encoder_names_plain; /* q, k, v, norm_q, norm_k, out, norm1, fc1, fc2, norm2 */

typedef struct gy_encoder {
    const gy_encoder_names *names; /* NULL: gy_encoder_names_plain */
    int64_t heads, head_dim;       /* head_dim 0: width / heads */
    int64_t inner;                 /* width of the feed-forward part; 0: 4 width */
    gy_act act;                    /* of it; GY_ACT_NONE: GELU */
    bool pre_norm;                 /* x + f(norm x); else norm(x + f(x)) */
    bool qk_norm;                  /* queries and keys of each head are layer-normalised */
    double drop_weights;           /* dropout of attention weights */
    double drop_inner, drop_out;   /* dropout inside the feed-forward part; of both parts' results */
    double init_std;               /* matrices ~ N(0, init_std^2 / (2 (l + 1))) cut at two deviations, biases 0 (BEiT,
                                      arXiv:2106.08254);               0: PyTorch's defaults */
} gy_encoder;

/* Layer l in m's scope; root: the scope that hook points are named from. x [B, T, d] -> [B, T, d]; mask u8 [B, 1, 1,
 * T], 0 at tokens that nobody attends to, or GY_NONE. */
gy_t gy_encoder_layer(gy_mod *m, gy_mod *root, const gy_encoder *e, int64_t l, gy_t x, gy_t mask);

/* Sines of positions 0 .. n-1: even features sin(t w_i), odd ones cos(t w_i), w_i = 10000^(-2i/width) (eq. of
 * section 3.5 there). A constant [n, width] of m's graph; width is even. */
gy_t gy_sine_table(gy_mod *m, int64_t n, int64_t width);

#endif
