/* GPT-2, the language model that the interpretability papers look into.
 *
 * Radford, Wu, Child, Luan, Amodei, Sutskever: "Language Models are Unsupervised Multitask Learners", OpenAI 2019.
 *
 * A stack of transformer blocks that read a text from left to right and predict each next token. Normalisation comes
 * before each half of a block, so that the residual stream from embedding to output is a plain sum: what every head
 * and every MLP adds can be read, silenced or replaced (models/blocks/attend.h lists the points). `small` takes the
 * public weights by name. The miniature works on bytes and learns its grammar in a minute.
 *
 * Inferred, not stated by the report: initial values and dropout follow the released code and its successors. */
#include "../blocks/gpt2.h"
#include "../blocks/lm_train.h"

#include <inttypes.h>

typedef struct config {
    gy_lm_train train;
    gy_gpt2_config model;
} config;

#define SIZE(n, lo, hi, help)                                                                                          \
    { #n, help, GY_OPT_INT, offsetof(config, model.n), lo, hi }
static const gy_option options[] = {
    GY_LM_TRAIN_OPTIONS(config),
    SIZE(layers, 1, 1024, "blocks"),
    SIZE(heads, 1, 1024, "attention heads of a block"),
    SIZE(width, 1, 1 << 20, "of the residual stream"),
    SIZE(inner, 0, 1 << 22, "neurons of an MLP; 0: four times the width"),
    SIZE(positions, 1, 1 << 20, "most tokens of a text"),
    SIZE(vocabulary, 1, 1 << 24, "tokens that there are; 256: bytes"),
    {"dropout", "while training", GY_OPT_REAL, offsetof(config, model.dropout), 0, 0.9},
    {NULL},
};

static gy_lm family(const void *cfg) {
    return gy_gpt2_lm(&((const config *)cfg)->model);
}

static const config tiny = {.train = {128, 16, 800, 3e-3, 0.05, 0.1, 1024, family},
                            .model = {3, 4, 64, 0, 512, 256, 1e-5, 0}};
/* A public size as it is; training follows the usual recipe. */
#define FULL(...)                                                                                                      \
    {                                                                                                                  \
        .train = {1024, 1, 600000, 6e-4, 0.003, 0.1, 1024, family}, .model = { __VA_ARGS__ }                           \
    }
static const config small = FULL(GY_GPT2_SMALL), medium = FULL(GY_GPT2_MEDIUM), large = FULL(GY_GPT2_LARGE),
                    xl = FULL(GY_GPT2_XL);
static const gy_config configs[] = {{"tiny", "3 blocks of width 64 on bytes: trains in a minute", &tiny},
                                    {"small", "124,439,808 parameters; the public weights 'gpt2'", &small},
                                    {"medium", "354,823,168 parameters", &medium},
                                    {"large", "774,030,080 parameters", &large},
                                    {"xl", "1,557,611,200 parameters", &xl},
                                    {NULL}};

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (c->model.width % c->model.heads)
        return gy_fail(ctx, GY_ERR_USAGE, "gpt2: width=%" PRId64 " is no multiple of heads=%" PRId64, c->model.width,
                       c->model.heads);
    if (c->train.tokens > c->model.positions)
        return gy_fail(ctx, GY_ERR_USAGE, "gpt2: tokens=%" PRId64 " is more than positions=%" PRId64, c->train.tokens,
                       c->model.positions);
    return GY_OK;
}

static const char *const equations[] = {
    "x_0 = wte[token] + wpe[position]",           "x += W_o attention(LN_1(x)) + b_o",
    "x += W_2 gelu(W_1 LN_2(x) + b_1) + b_2",     "logits = LN_f(x) wte^T",
    "L = -mean log softmax(logits)_{next token}", NULL};

const gy_model_def gy_model_gpt2 = {.slug = "gpt2",
                                    .title = "GPT-2: language models are unsupervised multitask learners",
                                    .cite = "Radford, Wu, Child, Luan, Amodei, Sutskever. OpenAI, 2019",
                                    .year = 2019,
                                    .equations = equations,
                                    .config_size = sizeof(config),
                                    .options = options,
                                    .configs = configs,
                                    .weights = gy_gpt2_rules,
                                    .ignorable = gy_gpt2_ignorable,
                                    .check = check,
                                    GY_LM_MODEL};
