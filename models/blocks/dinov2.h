/* dinov2.h: the DINOv2 vision transformer (Oquab et al. 2023, arXiv 2304.07193) as a source of features. */
#ifndef GY_BLOCKS_DINOV2_H
#define GY_BLOCKS_DINOV2_H

#include "vit.h"

typedef struct gy_dinov2 {
    int64_t width, layers, heads, patch, grid; /* grid: positions on a side of the table */
} gy_dinov2;
enum { GY_DINOV2_WIDTH = 768, GY_DINOV2_PATCH = 14 }; /* of ViT-B/14 */
extern const gy_dinov2 gy_dinov2_base;                /* 12 layers, 12 heads, 37 x 37 positions */

/* The query vectors of the last block (heads side by side, class token dropped): image [B, H, W, 3], values 0..1, H and
 * W multiples of the patch -> [B, H/patch W/patch, width]. Colours are normalised as in ImageNet, positions are resized
 * bicubically. Keys are those of transformers' Dinov2Model below "backbone."; of the last block only what queries need.
 */
gy_t gy_dinov2_queries(gy_mod *m, const gy_dinov2 *c, gy_t image);
/* Names in transformers' files, old and new (without "backbone."), and in the authors' own. */
extern const gy_weight_rule gy_dinov2_rules[];
/* What such files hold beside it. */
#define GY_DINOV2_IGNORABLE                                                                                            \
    "layernorm.*", "norm.*", "mask_token", "embeddings.mask_token", "encoder.layer.11.attention.attention.key.*",      \
        "encoder.layer.11.attention.attention.value.*", "encoder.layer.11.attention.output.*",                         \
        "encoder.layer.11.attention.k_proj.*", "encoder.layer.11.attention.v_proj.*",                                  \
        "encoder.layer.11.attention.o_proj.*", "encoder.layer.11.layer_scale*", "encoder.layer.11.norm2.*",            \
        "encoder.layer.11.mlp.*", "blocks.11.attn.proj.*", "blocks.11.ls*", "blocks.11.norm2.*", "blocks.11.mlp.*"

/* Rows of weights that resize n values to `out` by cubic convolution (Keys 1981, a = -0.75), half-pixel centres,
 * borders repeated, as PyTorch's interpolate(mode="bicubic") does along one axis: w [out, n]. */
void gy_cubic_weights(int64_t n, int64_t out, float *w);

#endif
