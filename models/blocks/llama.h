/* llama.h: the Llama family (Touvron et al. 2023, arXiv 2302.13971; Llama 3: arXiv 2407.21783) and Qwen2 (Yang et al.
 * 2024, arXiv 2407.10671): RMS norm, rotary positions, grouped queries, a gated MLP,
 *
 *     x  += W_o attention(turn(W_q h), turn(W_k h), W_v h),   h = RMS_1(x)
 *     x  += W_down (silu(W_gate h) * W_up h),                 h = RMS_2(x)
 *     logits = U RMS_f(x)
 *
 * Qwen2 adds biases to q, k and v. Keys are transformers': model.embed_tokens.weight [V, d],
 * model.layers.<l>.{input_layernorm, post_attention_layernorm}.weight, .self_attn.{q,k,v,o}_proj, .mlp.{gate,up,down}
 * _proj (.weight [out, in]), model.norm.weight, lm_head.weight [V, d] (none when tied). */
#ifndef GY_BLOCKS_LLAMA_H
#define GY_BLOCKS_LLAMA_H

#include "lm.h"

typedef struct gy_llama_config {
    int64_t layers, heads, kv_heads, width;
    int64_t head_width; /* 0: width / heads */
    int64_t inner, vocabulary, positions;
    double eps;
    gy_rope_args rope;
    int64_t tied;     /* the output matrix is embed_tokens */
    int64_t qkv_bias; /* Qwen2 */
} gy_llama_config;

/* Public sizes, as initialisers: TinyLlama-1.1B 1,100,048,384 parameters; Llama-2-7B 6,738,415,616; Llama-3.1-8B
 * 8,030,261,248; Llama-3.2-1B 1,235,814,400; Qwen2-0.5B 494,032,768; 1.5B 1,543,714,304; 7B 7,615,616,512. */
#define GY_TINYLLAMA_1B                                                                                                \
    22, 32, 4, 2048, 0, 5632, 32000, 2048, 1e-5, {                                                                     \
        1e4                                                                                                            \
    }
#define GY_LLAMA2_7B                                                                                                   \
    32, 32, 32, 4096, 0, 11008, 32000, 4096, 1e-5, {                                                                   \
        1e4                                                                                                            \
    }
#define GY_LLAMA31_8B                                                                                                  \
    32, 32, 8, 4096, 0, 14336, 128256, 131072, 1e-5, {                                                                 \
        5e5, 8, 1, 4, 8192                                                                                             \
    }
#define GY_LLAMA32_1B 16, 32, 8, 2048, 64, 8192, 128256, 131072, 1e-5, {5e5, 32, 1, 4, 8192}, 1
#define GY_QWEN2_05B  24, 14, 2, 896, 64, 4864, 151936, 32768, 1e-6, {1e6}, 1, 1
#define GY_QWEN2_15B  28, 12, 2, 1536, 128, 8960, 151936, 32768, 1e-6, {1e6}, 1, 1
#define GY_QWEN2_7B   28, 28, 4, 3584, 128, 18944, 152064, 32768, 1e-6, {1e6}, 0, 1

/* -> states [B, T, d] after the final norm */
gy_t gy_llama(gy_mod *m, const gy_llama_config *c, const gy_lm_in *in);
gy_t gy_llama_logits(gy_mod *m, const gy_llama_config *c, gy_t states);
gy_lm gy_llama_lm(const gy_llama_config *c); /* c must outlive it */

/* What files hold that is not needed: rotary tables, and the tied output matrix. */
extern const char *const gy_llama_ignorable[], *const gy_llama_tied_ignorable[];

#endif
