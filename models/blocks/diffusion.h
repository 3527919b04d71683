/* diffusion.h: the pieces that diffusion U-Nets and their autoencoders are made of, in one, two or three spatial
 * dimensions, features last: residual block with time embedding, attention over positions, spatial transformer with
 * GEGLU, resampling, sinusoidal time features.
 *
 * Parameters carry the names of diffusers' checkpoints (GY_KEYS_DIFFUSERS) or of MONAI's DiffusionModelUNet
 * (GY_KEYS_MONAI), relative to the scope they are called in; every layout is the file's own. A value [B, spatial..., C]
 * here is [B, C, spatial...] there: permute at the border, once.
 *
 * Source: Ho, Jain, Abbeel 2020, arXiv:2006.11239 appendix B; Rombach et al. 2022, arXiv:2112.10752 appendix E.2. */
#ifndef GY_BLOCKS_DIFFUSION_H
#define GY_BLOCKS_DIFFUSION_H

#include "../../core/module.h"

typedef enum gy_diffusion_keys { GY_KEYS_DIFFUSERS = 0, GY_KEYS_MONAI } gy_diffusion_keys;

/* What the layers of one network have in common. */
typedef struct gy_diffusion_style {
    gy_diffusion_keys keys;
    int64_t groups;   /* of group normalisation */
    double eps;       /* of the residual blocks' norms */
    double norm_eps;  /* of the norm before attention */
    bool zero_out;    /* the last convolution of a residual block starts at zero (medforj) */
    bool film;        /* residual blocks without norms, whose features the time scales and shifts (artifactgen) */
    double dropout;   /* film: before the second modulation */
    int64_t dilation; /* film: of the first convolution; 0: 1 */
    /* Called with the attention probabilities p [B, heads, queries, keys] of each attention layer and its full scope
     * ("...attn2"); what it returns meets the values. It may store p (a map to take gradients of), change it, or hand
     * it back. NULL: the fused operator, which never forms p. */
    gy_t (*attend)(void *user, gy_mod *m, const char *name, gy_t p);
    void *user;
} gy_diffusion_style;

/* [cos(t f), sin(t f)], f_i = 10000^(-i/half), i < half = width/2: t [B] float -> [B, width]. width even. */
gy_t gy_time_features(gy_mod *m, gy_t t, int64_t width);

/* convolution `name`, the same size out: kernel 1 or 3 an axis. */
gy_t gy_diffusion_conv(gy_mod *m, const gy_diffusion_style *s, const char *name, gy_t x, int64_t out, int64_t kernel,
                       bool zero);

/* x [B, spatial..., Cin], temb [B, E] or GY_NONE -> [B, spatial..., out]:
 *     h = conv1(silu(norm1 x)) + time_emb_proj(silu(temb));  y = shortcut(x) + conv2(silu(norm2 h))
 * Keys norm1, conv1, time_emb_proj, norm2, conv2, conv_shortcut (MONAI: skip_connection), the last one only when the
 * number of channels changes.
 *
 * With `film` (Perez et al. 2018, arXiv:1709.07871; the 1-D net of arXiv:2509.08188):
 *     h = film1(silu(conv1 x)); y = shortcut(x) + film2(dropout(silu(conv2 h))), film(h) = h (1 + a) + b,
 * [a, b] = W temb. Keys conv1, film1, conv2, film2, conv_shortcut. */
gy_t gy_diffusion_resnet(gy_mod *m, const gy_diffusion_style *s, const char *name, gy_t x, gy_t temb, int64_t out);

/* x + out(attention(norm x)) over all positions: x [B, spatial..., C]. Keys group_norm, to_q, to_k, to_v, to_out.0
 * (MONAI: norm, attn.to_q, attn.to_k, attn.to_v, attn.out_proj), all with bias. C a multiple of heads. */
gy_t gy_diffusion_attention(gy_mod *m, const gy_diffusion_style *s, const char *name, gy_t x, int64_t heads);

/* Transformer over positions: x + proj_out(blocks(proj_in(norm x))), x [B, spatial..., C], context [B, tokens, D] or
 * GY_NONE (no cross-attention). Each of `depth` blocks: h += attn1(norm1 h); h += attn2(norm2 h, context);
 * h += ff(norm3 h), ff = W2 (a gelu(g)), [a, g] = W1 h of width 8 C. `linear`: proj_in and proj_out are linear layers
 * in the file (SD 2), else 1x1 convolutions. */
gy_t gy_diffusion_transformer(gy_mod *m, const gy_diffusion_style *s, const char *name, gy_t x, gy_t context,
                              int64_t heads, int64_t depth, bool linear);

/* Halves each spatial axis: 3-kernel (film: 4), stride 2, padding 1; x [B, spatial..., C] -> [B, ceil(spatial/2)...,
 * C]. The scope of the block is the caller's: keys downsamplers.0.conv (MONAI: downsampler.op.conv). */
gy_t gy_diffusion_down(gy_mod *m, const gy_diffusion_style *s, gy_t x);
/* Nearest neighbour to `size` (one value a spatial axis), then a 3-kernel convolution. Keys upsamplers.0.conv (MONAI:
 * upsampler.postconv.conv). With film: a transposed convolution of kernel 4, stride 2, padding 1, which doubles; key
 * upsamplers.0.conv. */
gy_t gy_diffusion_up(gy_mod *m, const gy_diffusion_style *s, gy_t x, gy_shape size);

/* The spatial axes of x [B, spatial..., C]. */
gy_shape gy_spatial_shape(gy_t x);

#endif
