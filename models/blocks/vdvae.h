/* vdvae.h: the very deep hierarchical autoencoder (Child 2021, "Very Deep VAEs Generalize Autoregressive Models and Can
 * Outperform Them on Images", arXiv:2011.10650), with the keys of its public checkpoints; two-dimensional, square.
 *
 *     block    c4(gelu(c3(gelu(c2(gelu(c1(gelu x))))))): 1x1 to the bottleneck, two 3x3 (1x1 at sizes up to 2), 1x1
 *     encoder  in_conv 3x3; blocks x + block(x), some followed by averaging windows; the last value at each size is
 * kept decoder  a state at each size, at first a learned bias; each of its blocks, at size r, x  = state_r (+ the state
 * of a smaller size, each element repeated) q  = N(mu_q, e^s_q),  (mu_q, s_q) = enc([x, encoder's value at r])
 * posterior p  = N(mu_p, e^s_p),  (mu_p, s_p, h) = prior(x) x += h;  z ~ q, or ~ p, or given;  x += z_proj(z);  state_r
 * = x + resnet(x) out      gain x + bias at the largest size; a 1x1 convolution to mixtures of discretised logistics
 *     KL(q || p) = -1/2 + s_p - s_q + 1/2 (e^(2 s_q) + (mu_q - mu_p)^2) e^(-2 s_p), summed over elements
 *
 * The two strings of a configuration, as in the paper's code: blocks in their order, separated by commas; "16x9": nine
 * blocks at 16 x 16; encoder "16d2": a block at 16 x 16, then means over 2 x 2; decoder "16m8": a block at 16 x 16 that
 * takes in the state of 8 x 8.
 *
 * Values are [B, r, r, C] where files and PyTorch have [B, C, r, r]. */
#ifndef GY_BLOCKS_VDVAE_H
#define GY_BLOCKS_VDVAE_H

#include "../../core/module.h"

enum { GY_VDVAE_BLOCKS = 128, GY_VDVAE_SIZES = 12 };

typedef struct gy_vdvae_block {
    int64_t size, other; /* encoder: the window of the means after it; decoder: the size taken in; 0: none */
} gy_vdvae_block;

typedef struct gy_vdvae_spec {
    int64_t width, bottleneck; /* channels; of the convolutions inside a block */
    int64_t zdim;              /* channels of a latent */
    int64_t mixtures;
    int64_t n_encoder, n_decoder;
    gy_vdvae_block encoder[GY_VDVAE_BLOCKS], decoder[GY_VDVAE_BLOCKS];
} gy_vdvae_spec;

/* Fills the blocks from the two strings and checks that they fit each other: sizes follow one another in the encoder,
 * each size of the decoder is one of the encoder's, what is taken in was there before and divides the size, and the
 * last block has the picture's size. GY_ERR_USAGE with a message that shows the part at fault. */
gy_status gy_vdvae_parse(gy_ctx *ctx, const char *encoder, const char *decoder, gy_vdvae_spec *s) GY_MUST_CHECK;
/* Elements of the latents of the decoder's first n blocks, zdim size^2 each. */
int64_t gy_vdvae_latents(const gy_vdvae_spec *s, int64_t n);

/* A value at each of several sizes. */
typedef struct gy_vdvae_state {
    int64_t n, size[GY_VDVAE_SIZES];
    gy_t x[GY_VDVAE_SIZES]; /* [B, size, size, width] */
} gy_vdvae_state;

/* x [B, S, S, 3], standardised. Keys encoder.in_conv, encoder.enc_blocks.i.{c1, c2, c3, c4}. */
gy_vdvae_state gy_vdvae_encode(gy_mod *m, const gy_vdvae_spec *s, gy_t x);

typedef struct gy_vdvae_args {
    gy_mod *m;
    const gy_vdvae_spec *spec;
    int64_t batch;
    const gy_vdvae_state *seen; /* gy_vdvae_encode's: z ~ q; NULL: z ~ p and no divergences */
    int64_t n_given;            /* the first blocks' latents are these: */
    const gy_t *given;          /* [n_given] of [B, r, r, zdim] */
    double temperature;         /* of the latents drawn: z = mu + temperature e^s n; 0: means */
    const gy_t *noise;          /* [n_decoder] of [B, r, r, zdim]: n; NULL: drawn from N(0, 1) as "z.i" */
} gy_vdvae_args;

typedef struct gy_vdvae_decoded {
    gy_t x;                   /* [B, S, S, width], after gain and bias */
    gy_t z[GY_VDVAE_BLOCKS];  /* [B, r, r, zdim] of each block */
    gy_t kl[GY_VDVAE_BLOCKS]; /* [B] of each block, in nats; GY_NONE without `seen` */
} gy_vdvae_decoded;

/* Keys decoder.dec_blocks.i.{enc, prior, resnet}.{c1 .. c4}, decoder.dec_blocks.i.z_proj, decoder.bias_xs.j [1, width,
 * r, r] (j-th size in rising order), decoder.gain, decoder.bias [1, width, 1, 1]. Hooks: decoder.dec_blocks.i.z.
 * Without `seen` the posterior's parameters are not made. */
gy_vdvae_decoded gy_vdvae_decode_(gy_vdvae_args a);
#define gy_vdvae_decode(m, spec, batch, ...) gy_vdvae_decode_((gy_vdvae_args){m, spec, batch, __VA_ARGS__})

/* x [B, S, S, width] -> [B, S, S, 10 mixtures], what the two functions below read. Key decoder.out_net.out_conv. */
gy_t gy_vdvae_out(gy_mod *m, const gy_vdvae_spec *s, gy_t x);

/* Latents of the first n blocks as rows, in block order and each [zdim, r, r] as published latents have it:
 * [B, gy_vdvae_latents(s, n)]; and back. */
gy_t gy_vdvae_flat(const gy_vdvae_spec *s, int64_t n, const gy_t z[]);
void gy_vdvae_unflat(const gy_vdvae_spec *s, int64_t n, gy_t flat, gy_t z[]);

/* ---- mixtures of discretised logistics (Salimans et al. 2017, PixelCNN++, arXiv:1701.05517 sec. 2.1, 2.2) ----
 * l [B, H, W, 10 K]: K logits of the mixture, then for each of red, green, blue: K means, K log scales (at least -7), K
 * numbers whose tanh says how the mean follows the channels before (red on green; red on blue; green on blue). */

/* -log P(x), x [B, H, W, 3] in [-1, 1], a mean over the 3 H W elements: [B], in nats. A value is the interval +-1/255
 * about it; the lowest reaches to -infinity, the highest to infinity. Where an interval holds less than 1e-5, the
 * density at its middle times its width stands for it, as in the paper's code, so that any x has a finite loss and
 * gradient. */
gy_t gy_logistic_mixture_loss(gy_t l, gy_t x, int64_t mixtures);
/* A picture [B, H, W, 3] in [-1, 1]. `choice` [B, H, W, K] is standard Gumbel noise and `noise` [B, H, W, 3] standard
 * logistic noise; without them (GY_NONE) the likeliest component at its mean. */
gy_t gy_logistic_mixture_sample(gy_t l, int64_t mixtures, gy_t choice, gy_t noise);

#endif
