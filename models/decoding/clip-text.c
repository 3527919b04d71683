/* CLIP's text tower: what a sentence means, in the space that it shares with pictures.
 *
 * Radford, Kim, Hallacy, Ramesh, Goh, Agarwal, Sastry, Askell, Mishkin, Clark, Krueger, Sutskever: "Learning
 * Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv:2103.00020.
 *
 * A causal transformer reads 77 tokens; the state at the end token, projected, is the sentence's embedding. Diffusion
 * models are conditioned on all states (Stable Diffusion 1: `sd15`, after the final norm; 2: those of the layer before
 * the last, again normed) and Versatile Diffusion on all of them projected. Public weights of transformers, OpenCLIP
 * and Stable Diffusion files load by name (models/blocks/clip.h), and so does what `gyrus train clip` leaves:
 *
 *     gyrus train clip --out runs/clip
 *     gyrus run clip-text --weights runs/clip --input ids=i.npy --output text_embeds=t.npy */
#include "../blocks/clip.h"

#include <inttypes.h>

typedef struct config {
    int64_t tokens;
    gy_clip_text_config model;
} config;

#define SIZE(n, lo, hi, help)                                                                                          \
    { #n, help, GY_OPT_INT, offsetof(config, model.n), lo, hi }
static const gy_option options[] = {
    {"tokens", "of a sentence, begin, end and padding included", GY_OPT_INT, offsetof(config, tokens), 1, 1 << 16},
    SIZE(vocabulary, 1, 1 << 24, "tokens that there are"),
    SIZE(positions, 1, 1 << 16, "most tokens of a sentence"),
    SIZE(width, 1, 1 << 16, "of the states"),
    SIZE(layers, 1, 1024, "blocks"),
    SIZE(heads, 1, 1024, "attention heads of a block"),
    SIZE(inner, 1, 1 << 20, "neurons of an MLP"),
    SIZE(projection, 0, 1 << 16, "width of the shared space; 0: the tower alone"),
    SIZE(quick, 0, 1, "1: x sigmoid(1.702 x) (OpenAI); 0: exact gelu (OpenCLIP)"),
    {NULL},
};

static const config tiny = {16, {64, 16, 32, 2, 2, 64, 24, 1}};
static const config b32 = {77, {GY_CLIP_TEXT_B_32}}, l14 = {77, {GY_CLIP_TEXT_L_14}}, sd15 = {77, {GY_CLIP_TEXT_SD15}},
                    h14 = {77, {GY_CLIP_TEXT_H_14}}, big = {77, {GY_CLIP_TEXT_BIG_G_14}};
static const gy_config configs[] = {{"tiny", "2 blocks of width 32", &tiny},
                                    {"vit-b-32", "OpenAI's, also of B/16: 63,428,096 parameters", &b32},
                                    {"vit-l-14", "OpenAI's: 123,650,304 parameters", &l14},
                                    {"sd15", "Stable Diffusion 1: L/14 without projection, 123,060,480", &sd15},
                                    {"vit-h-14", "OpenCLIP's, Stable Diffusion 2: 354,032,640 parameters", &h14},
                                    {"vit-bigg-14", "OpenCLIP's: 694,659,840 parameters", &big},
                                    {NULL}};

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (c->model.width % c->model.heads || c->tokens > c->model.positions)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "clip-text: width=%" PRId64 ": expected a multiple of heads=%" PRId64 "; tokens=%" PRId64
                       ": at most positions=%" PRId64,
                       c->model.width, c->model.heads, c->tokens, c->model.positions);
    return GY_OK;
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_clip_out o = gy_clip_text(b->m, &c->model, gy_input(b->m->g, "ids", GY_I64, GY_S(b->batch, c->tokens)));
    gy_output(o.states, "last_hidden_state"); /* [B, T, d] */
    gy_output(o.penultimate, "penultimate");  /* [B, T, d] */
    gy_output(o.pooled, "pooled");            /* [B, d] */
    if (!c->model.projection) return;
    gy_output(o.embeds, "text_embeds"); /* [B, projection] */
    gy_output(o.tokens, "tokens");      /* [B, T, projection] */
}

static const char *const equations[] = {"x_0 = E[token] + P[position]", "x += W_o attention(LN_1(x)) + b_o, causal",
                                        "x += W_2 act(W_1 LN_2(x) + b_1) + b_2",
                                        "text_embeds = W_t LN_f(x)[first end token]", NULL};

const gy_model_def gy_model_clip_text = {.slug = "clip-text",
                                         .family = "decoding",
                                         .title = "CLIP, the text tower",
                                         .cite = "Radford et al. ICML 2021, arXiv 2103.00020",
                                         .job = "token ids of a sentence in; its states and its embedding in the space "
                                                "shared with pictures out",
                                         .year = 2021,
                                         .equations = equations,
                                         .config_size = sizeof(config),
                                         .options = options,
                                         .configs = configs,
                                         .weights = gy_clip_text_rules,
                                         .ignorable = gy_clip_text_ignorable,
                                         .trained_as = "clip",
                                         .check = check,
                                         .build = build};
