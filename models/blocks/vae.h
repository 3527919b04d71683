/* vae.h: the KL autoencoder that latent diffusion works in (Kingma & Welling 2014, arXiv:1312.6114; Rombach et al.
 * 2022, arXiv:2112.10752 section 3.1), in one, two or three dimensions, with the keys of diffusers' AutoencoderKL.
 *
 *     encode  conv_in; level i: `resnets` residual blocks, then halving except at the last; middle with one attention
 *             head over all positions; norm, silu, conv_out to 2 L channels; quant_conv 1x1 -> mean, log variance
 *     decode  post_quant_conv 1x1; conv_in; the same middle; levels from the last: `resnets` + 1 blocks, then doubling;
 *             norm, silu, conv_out
 * Halving pads one zero after each axis and none before it (unlike the U-Net's). */
#ifndef GY_BLOCKS_VAE_H
#define GY_BLOCKS_VAE_H

#include "../../core/model.h"
#include "diffusion.h"

enum { GY_VAE_LEVELS = 8 };
typedef struct gy_vae_spec {
    int64_t in, latent; /* channels of the image and of the latents */
    int64_t levels, channels[GY_VAE_LEVELS];
    int64_t resnets;          /* 0: 2 */
    gy_diffusion_style style; /* groups 0: 32; both eps 0: 1e-6 */
} gy_vae_spec;

/* Stable Diffusion's: 83,653,863 parameters; latents = 0.18215 z. */
gy_vae_spec gy_vae_sd(void);
/* The attention's names in checkpoints of before 2023: query, key, value, proj_attn. */
extern const gy_weight_rule gy_vae_rules[];

typedef struct gy_vae_latent {
    gy_t mean, logvar; /* [B, spatial / 2^(levels-1)..., L]; logvar clamped to [-30, 20] */
} gy_vae_latent;
/* x [B, spatial..., in], in [-1, 1]; scope: the caller's. */
gy_vae_latent gy_vae_encode(gy_mod *m, const gy_vae_spec *s, gy_t x);
/* mean + exp(logvar / 2) n, n drawn as "z". */
gy_t gy_vae_sample(gy_mod *m, gy_vae_latent q);
/* z [B, spatial..., L] -> [B, 2^(levels-1) spatial..., in] */
gy_t gy_vae_decode(gy_mod *m, const gy_vae_spec *s, gy_t z);

#endif
