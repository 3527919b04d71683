/* steer.h: how a net that sees a hint learns to steer a frozen U-Net: the objective, the miniature's pictures and
 * hints, what is measured. ControlNet and T2I-Adapter differ in the net alone.
 *
 * The miniature steers tinySD (data/tinysd.safetensors), whose captions say what is drawn and never where: the hint is
 * the objects on black, a map of segments. The U-Net starts from the file and stays; its states are called unet.*. */
#ifndef GY_BLOCKS_STEER_H
#define GY_BLOCKS_STEER_H

#include "../../core/model.h"
#include "tinysd.h"

enum { GY_STEER_SD15 = 0, GY_STEER_SMALL, GY_STEER_TINYSD };

/* What a model's configuration begins with. */
typedef struct gy_steer_config {
    int64_t net, height, width, tokens, context, channels;
    char base[64];
    int64_t batch, steps;
    double lr, drop;
} gy_steer_config;

#define GY_STEER_ROW(n, type, lo, hi, help)                                                                            \
    { #n, help, type, offsetof(gy_steer_config, n), lo, hi }
#define GY_STEER_OPTIONS                                                                                               \
    GY_STEER_ROW(net, GY_OPT_INT, GY_STEER_SD15, GY_STEER_TINYSD,                                                      \
                 "the U-Net that is steered; 0: Stable Diffusion's, 1: sd15-unet's tiny one, 2: tinysd"),              \
        GY_STEER_ROW(height, GY_OPT_INT, 1, 1 << 14, "height of the latents"),                                         \
        GY_STEER_ROW(width, GY_OPT_INT, 1, 1 << 14, "width of the latents"),                                           \
        GY_STEER_ROW(tokens, GY_OPT_INT, 1, 1 << 16, "tokens of the context"),                                         \
        GY_STEER_ROW(context, GY_OPT_INT, 1, 1 << 16, "width of a token"),                                             \
        GY_STEER_ROW(channels, GY_OPT_INT, 1, 64, "channels of the hint"),                                             \
        GY_STEER_ROW(base, GY_OPT_TEXT, 0, 0, "weights of the U-Net, where training starts"),                          \
        GY_STEER_ROW(batch, GY_OPT_INT, 1, 4096, "pictures a step"),                                                   \
        GY_STEER_ROW(steps, GY_OPT_INT, 1, 1e9, "training steps"),                                                     \
        GY_STEER_ROW(lr, GY_OPT_REAL, 0, 1, "largest learning rate"),                                                  \
        GY_STEER_ROW(drop, GY_OPT_REAL, 0, 1, "share of captions that are blank, so that the hint is listened to")
/* tiny, small (fits sd15-unet's tiny) and sd15. */
#define GY_STEER_TRAINING .channels = 3, .batch = 32, .steps = 500, .lr = 3e-3, .drop = 0.5
#define GY_STEER_CONFIG_TINY                                                                                           \
    {                                                                                                                  \
        .net = GY_STEER_TINYSD, .height = GY_SHAPES16, .width = GY_SHAPES16, .tokens = GY_TINYSD_TOKENS,               \
        .context = GY_TINYSD_CONTEXT, .base = "data/tinysd.safetensors", GY_STEER_TRAINING                             \
    }
#define GY_STEER_CONFIG_SMALL                                                                                          \
    { .net = GY_STEER_SMALL, .height = 8, .width = 8, .tokens = 4, .context = 16, GY_STEER_TRAINING }
#define GY_STEER_CONFIG_SD15                                                                                           \
    { .net = GY_STEER_SD15, .height = 64, .width = 64, .tokens = 77, .context = 768, GY_STEER_TRAINING }

gy_unet_spec gy_steer_unet(const gy_steer_config *c);
/* Inputs "latents" [B, H, W, in], "context" [B, tokens, context], "hint" [B, f H, f W, channels] with f of: */
gy_t gy_steer_latents(gy_mod *m, const gy_steer_config *c, int64_t batch);
gy_t gy_steer_context(gy_mod *m, const gy_steer_config *c, int64_t batch);
gy_t gy_steer_hint(gy_mod *m, const gy_steer_config *c, int64_t batch);
int64_t gy_steer_factor(const gy_steer_config *c); /* pixels of a picture a latent, along an axis: 8, 2, 1 */

/* Sets a->control or a->adapter to what the hint says; a's x, t and context are set. */
typedef void (*gy_steer_net)(gy_mod *m, const void *cfg, gy_t hint, gy_unet_args *a);

/* L = E |eps - eps_theta(x_t, t, context, hint)|^2 over the net's parameters, times uniform. */
void gy_steer_objective(gy_build *b, gy_steer_net net);
/* Opens the generated set and loads the U-Net from `base`: as unet.*, and by its own names into what else the net has
 * of it. `fresh` (as in gy_model_def.ignorable) lists the net's own states. Refused: a configuration other than
 * tinysd's. */
gy_status gy_steer_open(gy_job *j, const char *const *fresh) GY_MUST_CHECK;
void gy_steer_close(gy_job *j);
gy_status gy_steer_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) GY_MUST_CHECK;
double gy_steer_lr(const gy_job *j, int64_t phase, int64_t step);
/* The error of the predicted noise of the same noised pictures with their hints, without any, and with each other's. */
gy_status gy_steer_evaluate(gy_job *j, gy_steer_net net, gy_metrics *out) GY_MUST_CHECK;

/* A run of ours keeps the frozen U-Net beside the net. */
extern const char *const gy_steer_ignorable[];

#endif
