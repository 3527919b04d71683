/* tinysd.h: a text-to-image model small enough to train in minutes, in the exact grammar of Stable Diffusion: the
 * frozen generator that the decoding miniatures steer. Pixel space, 16 x 16 pictures of shapes16 (data/synthbrain.h),
 * captions of eight tokens that say what is there and never where: neither attention nor shallow convolutions carry
 * absolute position, so that places must come from an init image or a control path.
 *
 * models/decoding/tinysd.c trains it; data/tinysd.safetensors holds trained weights. */
#ifndef GY_BLOCKS_TINYSD_H
#define GY_BLOCKS_TINYSD_H

#include "../../data/synthbrain.h"
#include "sampler.h"
#include "unet.h"

enum {
    GY_TINYSD_TOKENS = 8,  /* of a caption */
    GY_TINYSD_WORDS = 16,  /* the vocabulary */
    GY_TINYSD_CONTEXT = 32 /* width of a token */
};
enum {
    GY_WORD_NULL = 0,
    GY_WORD_BEGIN = 1,
    GY_WORD_SHAPE = 2,
    GY_WORD_COLOUR = 5,
    GY_WORD_QUADRANT = 9,
    GY_WORD_AND = 13
};

/* [begin, colour, shape, 0, and, colour, shape, 0]; the second half is null for one object. */
void gy_tinysd_caption(const gy_scene *s, int64_t token[GY_TINYSD_TOKENS]);
/* tokens i64 [B, 8] -> context [B, 8, 32]: token_embedding + position_embedding. */
gy_t gy_tinysd_text(gy_mod *m, gy_t tokens);
/* Channels 16 and 32, one residual block a level, transformers of two heads at 8 x 8 and in the middle. */
gy_unet_spec gy_tinysd_unet(void);
/* The schedule: scaled linear, 1000 timesteps. */
void gy_tinysd_noise(gy_noise *out);
/* The sampler of the card: DDIM, 20 steps, x0 clamped to [-1.2, 1.2]; n images. `denoise` and `user` are the caller's.
 */
gy_sampler gy_tinysd_sampler(gy_ctx *ctx, const gy_noise *noise, int64_t n, uint64_t seed);

/* What the oracle sees in a picture, against what the caption's scene asked for. */
typedef struct gy_tinysd_verdict {
    int objects;        /* drawn */
    bool colour, shape; /* an object of the first one's colour; of its shape */
    bool present[2];    /* each object asked for is somewhere */
    bool placed;        /* the first object is in its own quadrant */
} gy_tinysd_verdict;
gy_tinysd_verdict gy_tinysd_judge(const gy_scene *s, const float image[GY_SHAPES16_SIZE]);

/* ---- for reports ---- */

/* "red ring and blue cross", at most n bytes. */
void gy_tinysd_words(const gy_scene *s, char *text, size_t n);
/* A picture in [-1, 1] as bytes [16 k, 16 k, 3], each pixel k times as wide and high. */
void gy_tinysd_enlarge(const float image[GY_SHAPES16_SIZE], int k, uint8_t *out);

#endif
