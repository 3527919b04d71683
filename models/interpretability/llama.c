/* Llama, the open language model family.
 *
 * Touvron et al.: "LLaMA: Open and Efficient Foundation Language Models", arXiv 2302.13971 (2023); Llama 2: arXiv
 * 2307.09288; Llama 3: arXiv 2407.21783.
 *
 * GPT-2's plan with four changes: the norm divides by the root mean square alone, positions turn queries and keys
 * instead of being added, the MLP is gated, and there are no biases. Later members share keys and values among groups
 * of query heads. All public sizes are configurations and take the public weights by name; the miniature learns
 * the grammar of data/grammar.h on bytes. */
#include "../blocks/llama.h"
#include "../blocks/lm_train.h"

#include <inttypes.h>

typedef struct config {
    gy_lm_train train;
    gy_llama_config model;
} config;

#define SIZE(n, lo, hi, help)                                                                                          \
    { #n, help, GY_OPT_INT, offsetof(config, model.n), lo, hi }
static const gy_option options[] = {
    GY_LM_TRAIN_OPTIONS(config),
    SIZE(layers, 1, 1024, "blocks"),
    SIZE(heads, 1, 1024, "query heads of a block"),
    SIZE(kv_heads, 1, 1024, "key and value heads, each shared by heads / kv_heads query heads"),
    SIZE(width, 1, 1 << 20, "of the residual stream"),
    SIZE(head_width, 0, 1 << 16, "of a head; 0: width / heads"),
    SIZE(inner, 1, 1 << 22, "neurons of an MLP"),
    SIZE(vocabulary, 1, 1 << 24, "tokens that there are; 256: bytes"),
    SIZE(positions, 1, 1 << 24, "most tokens of a text"),
    {"theta", "base of the rotary wavelengths", GY_OPT_REAL, offsetof(config, model.rope.theta), 1, 1e12},
    SIZE(tied, 0, 1, "the output matrix is the token embedding"),
    {NULL},
};

static const config tiny = {.train = {128, 16, 800, 3e-3, 0.05, 0.1, 1024},
                            .model = {.layers = 3,
                                      .heads = 4,
                                      .kv_heads = 2,
                                      .width = 64,
                                      .inner = 172,
                                      .vocabulary = 256,
                                      .positions = 512,
                                      .eps = 1e-5,
                                      .rope = {1e4}}};
/* A public size as it is; training follows the usual recipe. */
#define FULL(...)                                                                                                      \
    {                                                                                                                  \
        .train = {1024, 1, 100000, 3e-4, 0.02, 0.1, 1024}, .model = { __VA_ARGS__ }                                    \
    }
static const config tinyllama = FULL(GY_TINYLLAMA_1B), llama2 = FULL(GY_LLAMA2_7B), llama31 = FULL(GY_LLAMA31_8B),
                    llama32 = FULL(GY_LLAMA32_1B);
static const gy_config configs[] = {{"tiny", "3 blocks of width 64 on bytes: trains in a minute", &tiny},
                                    {"llama-3.2-1b", "1,235,814,400 parameters", &llama32},
                                    {"tinyllama-1.1b", "1,100,048,384 parameters", &tinyllama},
                                    {"llama-2-7b", "6,738,415,616 parameters", &llama2},
                                    {"llama-3.1-8b", "8,030,261,248 parameters", &llama31},
                                    {NULL}};

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    const gy_llama_config *m = &c->model;
    if (m->heads % m->kv_heads || (!m->head_width && m->width % m->heads))
        return gy_fail(ctx, GY_ERR_USAGE,
                       "llama: heads=%" PRId64 ": expected a multiple of kv_heads=%" PRId64
                       " that divides width=%" PRId64,
                       m->heads, m->kv_heads, m->width);
    if ((m->head_width ? m->head_width : m->width / m->heads) % 2)
        return gy_fail(ctx, GY_ERR_USAGE, "llama: heads of odd width cannot be turned in pairs");
    if (c->train.tokens > m->positions)
        return gy_fail(ctx, GY_ERR_USAGE, "llama: tokens=%" PRId64 " is more than positions=%" PRId64, c->train.tokens,
                       m->positions);
    return GY_OK;
}

static gy_lm lm(const void *cfg) {
    return gy_llama_lm(&((const config *)cfg)->model);
}
static void build(gy_build *b) {
    gy_lm l = lm(b->cfg);
    gy_lm_build(b, &l);
}
static void objective(gy_build *b) {
    gy_lm l = lm(b->cfg);
    gy_lm_objective(b, &l);
}
static gy_status open_text(gy_job *j) {
    gy_lm l = lm(j->cfg);
    return gy_lm_open(j, &l);
}
static gy_status evaluate(gy_job *j, gy_metrics *out) {
    gy_lm l = lm(j->cfg);
    return gy_lm_evaluate(j, &l, out);
}
static gy_status artefacts(gy_job *j, const char *dir) {
    gy_lm l = lm(j->cfg);
    return gy_lm_artefacts(j, &l, dir);
}

static const char *const equations[] = {"x_0 = E[token]",
                                        "h = x / sqrt(mean x^2 + eps) * g",
                                        "x += W_o attention(turn(W_q h), turn(W_k h), W_v h)",
                                        "x += W_down (silu(W_gate h) * W_up h)",
                                        "logits = U h",
                                        "L = -mean log softmax(logits)_{next token}",
                                        NULL};

const gy_model_def gy_model_llama = {.slug = "llama",
                                     .family = "interpretability",
                                     .title = "Llama: open and efficient foundation language models",
                                     .cite = "Touvron et al. arXiv 2302.13971, 2023; Llama 3: arXiv 2407.21783, 2024",
                                     .job = "token ids in; the probabilities of each next token out",
                                     .year = 2023,
                                     .equations = equations,
                                     .config_size = sizeof(config),
                                     .options = options,
                                     .configs = configs,
                                     .ignorable = gy_llama_ignorable,
                                     .check = check,
                                     .build = build,
                                     .objective = objective,
                                     .open = open_text,
                                     .close = gy_lm_close,
                                     .batch = gy_lm_batch_feed,
                                     .lr = gy_lm_lr,
                                     .evaluate = evaluate,
                                     .artefacts = artefacts};
