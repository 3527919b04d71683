/* attend.h: attention as transformers use it, with hook points and a key/value cache.
 *
 * Hook points (gy_tap), the same in every transformer here, named from the scope in which the model was built; l is the
 * layer:
 *
 *     embed                                [B, T, d]     token (and learned position) embedding
 *     resid_pre.l  resid_mid.l  resid_post.l [B, T, d]   the residual stream before, inside and after a block
 *     ln1.l  ln2.l                         [B, T, d]     the normalised inputs of attention and MLP
 *     q.l [B, T, H, D]  k.l  v.l [B, T, G, D]            after biases and rotation, as attention uses them
 *     scores.l  pattern.l                  [B, H, T, K]  scaled products before the mask; weights after softmax
 *     z.l                                  [B, T, H, D]  each head's mixture of values, before the output matrix
 *     head_out.l                           [B, T, H, d]  each head's own addition to the stream
 *     attn_out.l  mlp_out.l                [B, T, d]     what attention and MLP add
 *     mlp_pre.l  mlp_act.l                 [B, T, f]     before and after the non-linearity: the neurons
 *     final_norm [B, T, d]   logits [B, T, V]
 *
 * scores, pattern and head_out are formed only when a hook asks for them. */
#ifndef GY_BLOCKS_ATTEND_H
#define GY_BLOCKS_ATTEND_H

#include "../../core/gyrus.h"

/* Keys and values of the tokens seen so far, in states "k.l" and "v.l" [B, capacity, G, D] of a store of their own.
 * Keys are kept after rotation. A graph attends to them and then puts its own tokens' keys and values in, layer by
 * layer; of the cache a plan writes these rows alone. */
typedef struct gy_kv {
    gy_store *store;
    int64_t capacity;
    gy_t slots; /* i64 [T]: where in the cache the tokens go */
    gy_t seen;  /* u8 [B, 1, 1, capacity]: cached tokens that may be attended to; GY_NONE: there are none */
} gy_kv;

/* A hook point of layer l: gy_tap of "name.l" in m's scope. */
gy_t gy_point(gy_mod *m, const char *name, int64_t l, gy_t x);

/* Attention of layer l with points q, k, v, scores, pattern and z. q [B, T, H, D], k, v [B, T, G, D] -> [B, T, H, D];
 * scale 1 / sqrt(D). A cache goes with `causal`. */
typedef struct gy_attend_args {
    gy_t q, k, v;
    bool causal;
    gy_t mask;       /* u8 [B, 1, 1, T], 0 at padding; GY_NONE: none */
    const gy_kv *kv; /* NULL: no cache */
} gy_attend_args;
gy_t gy_attend_(gy_mod *m, int64_t l, gy_attend_args a);
#define gy_attend(m, l, ...) gy_attend_(m, l, (gy_attend_args){__VA_ARGS__})
/* The output matrix after it, w [H D, d] (in, out) or with `transposed` [d, H D], b [d] or none, with points head_out
 * and attn_out: z [B, T, H, D] -> [B, T, d]. */
gy_t gy_attend_out(gy_mod *m, int64_t l, gy_t z, gy_t w, bool transposed, gy_t b);

#endif
