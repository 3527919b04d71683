/* unet.h: the diffusion U-Net in one, two or three dimensions, from one definition; ControlNet and T2I-Adapter, which
 * steer it.
 *
 * Ho et al. 2020, arXiv:2006.11239; Rombach et al. 2022, arXiv:2112.10752 (Stable Diffusion); Xu et al. 2022,
 * arXiv:2211.08332 (two contexts: Versatile Diffusion). With the keys of diffusers' UNet2DConditionModel, the weights
 * of public Stable Diffusion checkpoints load by name.
 *
 *     in    conv_in
 *     down  level i: `resnets` residual blocks, each followed by a transformer where heads[i] > 0; then halving,
 *           except at the last level. Each output (conv_in, every block, every halving) is kept on a stack.
 *     mid   residual block, transformer, residual block
 *     up    level i from the last: `resnets` + 1 residual blocks on [h, popped skip], transformers as in down; then
 *           doubling, except at level 0
 *     out   conv_out(silu(norm h)); without the norm and silu in a net without norms (style.film)
 * Times enter as temb = W2 silu(W1 features(t)), added inside every residual block. A class adds its row of
 * class_embedding.weight to temb; with style.film, to features(t). */
#ifndef GY_BLOCKS_UNET_H
#define GY_BLOCKS_UNET_H

#include "diffusion.h"

enum { GY_UNET_LEVELS = 8, GY_UNET_SKIPS = 64 };

typedef enum gy_unet_attention {
    GY_UNET_TRANSFORMER = 0, /* spatial transformers, with cross-attention where there is a context */
    GY_UNET_PLAIN            /* one attention layer over positions (gy_diffusion_attention) */
} gy_unet_attention;

typedef struct gy_unet_spec {
    int64_t axes;    /* spatial axes of x, 1 to 3 */
    int64_t in, out; /* channels of x and of the result */
    int64_t levels, channels[GY_UNET_LEVELS];
    int64_t resnets;               /* residual blocks a level on the way down; one more on the way up */
    int64_t heads[GY_UNET_LEVELS]; /* heads of the level's attention; 0: none there */
    int64_t mid_heads;             /* heads in the middle; 0: none */
    gy_unet_attention attention;
    int64_t depth;                     /* blocks of each spatial transformer; 0: 1 */
    bool linear_projection;            /* proj_in, proj_out are linear layers (SD 2) */
    int64_t time_features, time_width; /* 0: channels[0] and 4 channels[0] */
    int64_t classes;          /* rows of class_embedding.weight, as wide as temb or as features(t); 0: no classes */
    bool dual;                /* two contexts, two transformers everywhere */
    gy_diffusion_style style; /* eps 0: 1e-5; norm_eps 0: 1e-6; groups 0: 32 */
} gy_unet_spec;

/* What others add to the U-Net: one value a kept output, in the order of the stack, and one after the middle. */
typedef struct gy_control {
    int64_t n; /* 0: nothing is added to the skips */
    gy_t skip[GY_UNET_SKIPS], mid;
} gy_control;

typedef struct gy_unet_args {
    gy_mod *m;
    const gy_unet_spec *spec;
    gy_t x;                       /* [B, spatial..., in] */
    gy_t t;                       /* [B] float: the timestep, 0 .. 999 */
    gy_t context;                 /* [B, tokens, D]; GY_NONE: no cross-attention */
    gy_t context_image;           /* dual: [B, image tokens, D] */
    gy_t mix;                     /* dual: weight of `context`, scalar or [B]; 1 - mix goes to `context_image` */
    gy_t labels;                  /* classes > 0: [B] i64 */
    gy_control control;           /* ControlNet's */
    gy_t adapter[GY_UNET_LEVELS]; /* T2I-Adapter's, added to the last feature of each level; GY_NONE: nothing */
    bool recompute;               /* keep block inputs only, compute the inside again in the backward pass */
} gy_unet_args;

/* -> [B, spatial..., out]. Scope: the caller's. Poisons the graph if `spec` makes no sense. Values that hooks reach:
 * every block's output ("down_blocks.0.resnets.1", "mid_block.attentions.0") and every attention's
 * "...attn2.probabilities" [B, heads, queries, keys]. */
gy_t gy_unet_(gy_unet_args a);
#define gy_unet(m, spec, ...) gy_unet_((gy_unet_args){m, spec, __VA_ARGS__})

/* Kept outputs of the way down for this spec (12 in Stable Diffusion). */
int64_t gy_unet_skips(const gy_unet_spec *s);

/* Stable Diffusion 1.x (859,520,964 parameters) and 2.x (865,910,724); context 768 and 1024 wide. */
gy_unet_spec gy_unet_sd15(void);
gy_unet_spec gy_unet_sd21(void);

/* ---- ControlNet (Zhang et al. 2023, arXiv:2302.05543): a copy of the way down and the middle, which also sees a hint
 * picture; its outputs pass through convolutions that start at zero. ---- */

typedef struct gy_controlnet_args {
    gy_mod *m;
    const gy_unet_spec *spec;
    gy_t x, t, context;
    gy_t hint;      /* [B, 2^k H, 2^k W, C]: a picture; k the halvings of the hint net */
    double scale;   /* of everything it gives; 0 is 0 */
    int64_t n_hint; /* 0: Stable Diffusion's channels 16, 32, 96, 256 */
    int64_t hint_channels[GY_UNET_LEVELS];
} gy_controlnet_args;
/* Keys as the U-Net's, and controlnet_cond_embedding.{conv_in, blocks.i, conv_out}, controlnet_down_blocks.i,
 * controlnet_mid_block. While those are zero, the steered U-Net equals the bare one bit for bit. The hint net has a
 * stride-2 convolution between any two of its channel counts. */
gy_control gy_controlnet_(gy_controlnet_args a);
#define gy_controlnet(m, spec, ...) gy_controlnet_((gy_controlnet_args){m, spec, __VA_ARGS__})
/* Several ControlNets: the sum. */
gy_control gy_control_sum(gy_control a, gy_control b);
/* Local control: every value times a mask [B, H, W, 1], resized to its resolution by nearest neighbour. */
gy_control gy_control_masked(gy_control c, gy_t mask);

/* ---- T2I-Adapter (Mou et al. 2023, arXiv:2302.08453): one pass over the hint, not one a step. Keys of diffusers'
 * T2IAdapter: adapter.{conv_in, body.i.{in_conv, resnets.j.{block1, block2}}}. ---- */

typedef struct gy_adapter_spec {
    int64_t levels, channels[GY_UNET_LEVELS];
    int64_t resnets; /* 2 */
    int64_t factor;  /* of the pixel unshuffle: 8 */
} gy_adapter_spec;
/* hint [B, H, W, C] -> out[level] [B, H / (factor 2^level), ..., channels[level]]. */
void gy_t2i_adapter(gy_mod *m, const gy_adapter_spec *s, gy_t hint, gy_t out[GY_UNET_LEVELS]);

#endif
