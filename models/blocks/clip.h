/* clip.h: the two towers of CLIP (Radford et al. 2021, arXiv 2103.00020): a causal transformer over text, a transformer
 * over picture patches, both ending in a shared space.
 *
 * Keys are transformers': text_model.embeddings.{token_embedding, position_embedding}.weight,
 * text_model.encoder.layers.<l>.{layer_norm1, self_attn.{q,k,v,out}_proj, layer_norm2, mlp.fc1, mlp.fc2},
 * text_model.final_layer_norm, text_projection.weight; vision_model.embeddings.{class_embedding,
 * patch_embedding.weight, position_embedding.weight}, vision_model.pre_layrnorm (so spelled), .encoder.layers.<l>.*,
 * .post_layernorm, visual_projection.weight. The rules below find the same tensors in OpenCLIP's files. */
#ifndef GY_BLOCKS_CLIP_H
#define GY_BLOCKS_CLIP_H

#include "vit.h"

extern const gy_vit_names gy_clip_names;

typedef struct gy_clip_text_config {
    int64_t vocabulary, positions, width, layers, heads, inner;
    int64_t projection; /* width of the shared space; 0: the tower alone */
    int64_t quick;      /* activation: 1 x sigmoid(1.702 x) (OpenAI), 0 exact gelu (OpenCLIP) */
} gy_clip_text_config;
/* With projection: 63,428,096 (B/32, B/16), 123,650,304 (L/14), 354,032,640 (H/14), 694,659,840 (bigG/14); L/14 without
 * (Stable Diffusion 1's conditioning): 123,060,480. */
#define GY_CLIP_TEXT_B_32     49408, 77, 512, 12, 8, 2048, 512, 1
#define GY_CLIP_TEXT_L_14     49408, 77, 768, 12, 12, 3072, 768, 1
#define GY_CLIP_TEXT_SD15     49408, 77, 768, 12, 12, 3072, 0, 1
#define GY_CLIP_TEXT_H_14     49408, 77, 1024, 24, 16, 4096, 1024, 0
#define GY_CLIP_TEXT_BIG_G_14 49408, 77, 1280, 32, 20, 5120, 1280, 0

typedef struct gy_clip_vision_config {
    int64_t image, patch, width, layers, heads, inner, projection, quick;
} gy_clip_vision_config;
/* With projection: 87,849,216; 86,192,640; 303,966,208; 632,076,800; 1,844,907,264. */
#define GY_CLIP_VISION_B_32     224, 32, 768, 12, 12, 3072, 512, 1
#define GY_CLIP_VISION_B_16     224, 16, 768, 12, 12, 3072, 512, 1
#define GY_CLIP_VISION_L_14     224, 14, 1024, 24, 16, 4096, 768, 1
#define GY_CLIP_VISION_H_14     224, 14, 1280, 32, 16, 5120, 1024, 0
#define GY_CLIP_VISION_BIG_G_14 224, 14, 1664, 48, 16, 8192, 1280, 0

typedef struct gy_clip_out {
    gy_t states;      /* [B, T, d]: text after the final norm; vision as the last layer leaves them */
    gy_t penultimate; /* [B, T, d] of the layer before the last: text after the final norm (Stable Diffusion 2), vision
                         without (unCLIP) */
    gy_t pooled;      /* [B, d]: text at its end token, vision at its class token after post_layernorm */
    gy_t embeds;      /* [B, projection]; GY_NONE without projection */
    gy_t tokens;      /* [B, T, projection]: every token projected, divided by the norm of the pooled one's projection
                         (Versatile Diffusion, arXiv 2211.08332); GY_NONE without projection */
} gy_clip_out;
/* ids i64 [B, T], T <= positions; the end token is the one of the largest id, the first of them. */
gy_clip_out gy_clip_text(gy_mod *m, const gy_clip_text_config *c, gy_t ids);
/* pixels [B, image, image, 3], of the mean and deviation that the towers were trained with: */
gy_clip_out gy_clip_vision(gy_mod *m, const gy_clip_vision_config *c, gy_t pixels);
#define GY_CLIP_MEAN      0.48145466, 0.4578275, 0.40821073
#define GY_CLIP_DEVIATION 0.26862954, 0.26130258, 0.27577711

/* Both towers, as transformers' CLIPModel has them, and the parameter logit_scale, the logarithm of 1 / temperature. */
typedef struct gy_clip_pair {
    gy_t text, image;         /* [texts, projection], [pictures, projection]: embeddings before they are normed */
    gy_t scale;               /* exp(logit_scale) */
    gy_t per_image, per_text; /* scale times cosines: [pictures, texts], [texts, pictures] */
} gy_clip_pair;
/* ids i64 [texts, T], pixels [pictures, image, image, 3]; projections of one width. */
gy_clip_pair gy_clip_both(gy_mod *m, const gy_clip_text_config *t, const gy_clip_vision_config *v, gy_t ids,
                          gy_t pixels);
/* Sec. 2.3, fig. 3: the mean of the cross-entropies of rows and columns of the logits; picture i belongs to text i and
 * to no other text of the batch. */
gy_t gy_clip_loss(gy_clip_pair p);
/* Sec. 2.5: after the optimizer's step (which must come first), logit_scale is brought back to at most ln 100. */
void gy_clip_bound_scale(gy_mod *m);

/* OpenCLIP's names, Stable Diffusion's prefix, and what a file of both towers holds besides. */
extern const gy_weight_rule gy_clip_text_rules[], gy_clip_vision_rules[], gy_clip_rules[];
extern const char *const gy_clip_text_ignorable[], *const gy_clip_vision_ignorable[], *const gy_clip_ignorable[];

#endif
