/* vit.h: transformer layers over patches (Dosovitskiy et al. 2021, arXiv 2010.11929) and the masked autoencoder on them
 * (He et al. 2022, arXiv 2111.06377). clip.h is built from the same layer. Hook points are attend.h's. */
#ifndef GY_BLOCKS_VIT_H
#define GY_BLOCKS_VIT_H

#include "attend.h"

/* How a family of checkpoints calls the parts of a layer. */
typedef struct gy_vit_names {
    const char *norm1, *q, *k, *v, *out, *norm2, *fc1, *fc2;
    const char *scale1, *scale2; /* factors of each feature on what attention and MLP add (LayerScale); NULL: none */
} gy_vit_names;
extern const gy_vit_names gy_vit_names_hf; /* transformers' ViT: layernorm_before, attention.attention.query, ... */

/* x += out(attention(norm1 x));  x += fc2(act(fc1(norm2 x))) */
typedef struct gy_vit_layer {
    const gy_vit_names *names;
    int64_t heads, inner;
    gy_act act; /* GY_ACT_GELU, GY_ACT_QUICK_GELU */
    double eps;
    bool causal;
} gy_vit_layer;
/* One layer, in m's scope; root: the scope that hook points of layer l are named from. [B, T, d] -> [B, T, d] */
gy_t gy_vit_layer_run(gy_mod *m, gy_mod *root, const gy_vit_layer *e, int64_t l, gy_t x);

/* Non-overlapping squares of side p as rows, features in the order (row, column, channel): [B, H, W, C] ->
 * [B, H/p W/p, p p C]. */
gy_t gy_patchify(gy_t pixels, int64_t p);
/* The sine table of masked autoencoders: row 0 (class token) zeros, then rows of a grid x grid lattice, row-major; the
 * first half of the features encodes the column, the second the row, sines before cosines. [1, grid^2 + 1, width] */
gy_status gy_sine_positions(gy_ctx *ctx, int64_t grid, int64_t width, gy_tensor *out) GY_MUST_CHECK;

/* ---- the masked autoencoder ---- */

/* Keys are those of the public checkpoints "vit-mae-*" (transformers' ViTMAEForPreTraining): vit.embeddings.{cls_token,
 * position_embeddings, patch_embeddings.projection}, vit.encoder.layer.<l>.*, vit.layernorm, decoder.{decoder_embed,
 * mask_token, decoder_pos_embed, decoder_layers.<l>.*, decoder_norm, decoder_pred}. */
typedef struct gy_mae_config {
    int64_t image, patch, channels; /* pixels a side */
    int64_t width, layers, heads, inner;
    int64_t decoder_width, decoder_layers, decoder_heads, decoder_inner;
    double mask_ratio;
    int64_t normalise; /* targets: each patch brought to mean 0, variance 1 */
    double eps;        /* 0: 1e-12 */
} gy_mae_config;
/* Public sizes, as initialisers: 111,907,840, 329,541,888 and 657,074,508 parameters (sine tables included). */
#define GY_MAE_BASE  224, 16, 3, 768, 12, 12, 3072, 512, 8, 16, 2048, 0.75, 0, 1e-12
#define GY_MAE_LARGE 224, 16, 3, 1024, 24, 16, 4096, 512, 8, 16, 2048, 0.75, 0, 1e-12
#define GY_MAE_HUGE  224, 14, 3, 1280, 32, 16, 5120, 512, 8, 16, 2048, 0.75, 0, 1e-12

typedef struct gy_mae {
    gy_t states; /* [B, 1 + kept, d] of the encoder, class token first, the kept patches in the order of their noise */
    gy_t mask;   /* [B, L] 1 where the patch is hidden */
    gy_t order;  /* i64 [B, L] place of each patch in the order of noise: below `kept`, it is seen */
} gy_mae;
/* pixels [B, H, W, C]; noise [B, L]: the patches with the smallest values are kept, floor(L (1 - ratio)) of them;
 * GY_NONE: all are kept, in their own order (features for downstream use). */
gy_mae gy_mae_encode(gy_mod *m, const gy_mae_config *c, gy_t pixels, gy_t noise);
/* -> predicted patches [B, L, p p C] */
gy_t gy_mae_decode(gy_mod *m, const gy_mae_config *c, gy_mae e);
/* Mean squared error of the hidden patches. */
gy_t gy_mae_loss(const gy_mae_config *c, gy_t pixels, gy_t predicted, gy_t mask);

/* Names of newer transformers files, and of the authors' own (timm: blocks.<l>.attn.qkv ...). */
extern const gy_weight_rule gy_mae_rules[];

#endif
