/* CLIP's vision tower: what a picture shows, in the space that it shares with sentences.
 *
 * Radford, Kim, Hallacy, Ramesh, Goh, Agarwal, Sastry, Askell, Mishkin, Clark, Krueger, Sutskever: "Learning
 * Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv:2103.00020.
 *
 * A transformer over square patches and one class token; the class token, normed and projected, is the picture's
 * embedding. Decoders of brain activity aim at it, or at all of the tokens: projected (Versatile Diffusion: `tokens`),
 * or as the layer before the last leaves them (unCLIP: `penultimate`, whose first row is the class token). Pictures
 * must have the mean and deviation of the training set (models/blocks/clip.h). A run of `gyrus train clip` holds this
 * tower's weights too: gyrus run clip-vision --weights runs/clip. */
#include "../blocks/clip.h"

#include <inttypes.h>

typedef gy_clip_vision_config config;

#define SIZE(n, lo, hi, help)                                                                                          \
    { #n, help, GY_OPT_INT, offsetof(config, n), lo, hi }
static const gy_option options[] = {
    SIZE(image, 1, 1 << 14, "pixels a side"),
    SIZE(patch, 1, 1 << 12, "pixels a side of a patch"),
    SIZE(width, 1, 1 << 16, "of the states"),
    SIZE(layers, 1, 1024, "blocks"),
    SIZE(heads, 1, 1024, "attention heads of a block"),
    SIZE(inner, 1, 1 << 20, "neurons of an MLP"),
    SIZE(projection, 0, 1 << 16, "width of the shared space; 0: the tower alone"),
    SIZE(quick, 0, 1, "1: x sigmoid(1.702 x) (OpenAI); 0: exact gelu (OpenCLIP)"),
    {NULL},
};

static const config tiny = {16, 4, 32, 2, 2, 64, 24, 1};
static const config b32 = {GY_CLIP_VISION_B_32}, b16 = {GY_CLIP_VISION_B_16}, l14 = {GY_CLIP_VISION_L_14},
                    h14 = {GY_CLIP_VISION_H_14}, big = {GY_CLIP_VISION_BIG_G_14};
static const gy_config configs[] = {{"tiny", "16 patches of 16 x 16 pixels, 2 blocks of width 32", &tiny},
                                    {"vit-b-32", "OpenAI's: 87,849,216 parameters", &b32},
                                    {"vit-b-16", "OpenAI's: 86,192,640 parameters", &b16},
                                    {"vit-l-14", "OpenAI's: 303,966,208 parameters", &l14},
                                    {"vit-h-14", "OpenCLIP's: 632,076,800 parameters", &h14},
                                    {"vit-bigg-14", "OpenCLIP's, unCLIP conditioning: 1,844,907,264 parameters", &big},
                                    {NULL}};

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (c->width % c->heads || c->image % c->patch)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "clip-vision: width=%" PRId64 ": expected a multiple of heads=%" PRId64 "; image=%" PRId64
                       ": of patch=%" PRId64,
                       c->width, c->heads, c->image, c->patch);
    return GY_OK;
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_t pixels = gy_input(b->m->g, "pixels", GY_F32, GY_S(b->batch, c->image, c->image, 3));
    gy_clip_out o = gy_clip_vision(b->m, c, pixels);
    gy_output(o.states, "last_hidden_state"); /* [B, 1 + L, d] */
    gy_output(o.penultimate, "penultimate");  /* [B, 1 + L, d] */
    gy_output(o.pooled, "pooled");            /* [B, d] */
    if (!c->projection) return;
    gy_output(o.embeds, "image_embeds"); /* [B, projection] */
    gy_output(o.tokens, "tokens");       /* [B, 1 + L, projection] */
}

static const char *const equations[] = {"x_0 = LN_pre([class; W_p patch] + P)", "x += W_o attention(LN_1(x)) + b_o",
                                        "x += W_2 act(W_1 LN_2(x) + b_1) + b_2", "image_embeds = W_v LN_post(x)[class]",
                                        NULL};

const gy_model_def gy_model_clip_vision = {.slug = "clip-vision",
                                           .family = "decoding",
                                           .title = "CLIP, the vision tower",
                                           .cite = "Radford et al. ICML 2021, arXiv 2103.00020",
                                           .job = "a picture in; its states and its embedding in the space shared with "
                                                  "sentences out",
                                           .year = 2021,
                                           .equations = equations,
                                           .config_size = sizeof(config),
                                           .options = options,
                                           .configs = configs,
                                           .weights = gy_clip_vision_rules,
                                           .ignorable = gy_clip_vision_ignorable,
                                           .trained_as = "clip",
                                           .check = check,
                                           .build = build};
