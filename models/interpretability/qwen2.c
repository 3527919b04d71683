/* Qwen2, an open language model family.
 *
 * Yang et al.: "Qwen2 Technical Report", arXiv 2407.10671 (2024). Qwen2.5 (arXiv 2412.15115) has the same layout.
 *
 * Llama's plan (llama.c) with biases on queries, keys and values, longer rotary wavelengths, and the output matrix tied
 * to the embedding in the small sizes. In the smallest, seven query heads share each
 * of two key heads. */
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
                                      .heads = 6,
                                      .kv_heads = 2,
                                      .width = 60,
                                      .inner = 160,
                                      .vocabulary = 256,
                                      .positions = 512,
                                      .eps = 1e-6,
                                      .rope = {1e6},
                                      .tied = 1,
                                      .qkv_bias = 1}};
/* A public size as it is; training follows the usual recipe. */
#define FULL(...)                                                                                                      \
    {                                                                                                                  \
        .train = {1024, 1, 100000, 3e-4, 0.02, 0.1, 1024}, .model = { __VA_ARGS__ }                                    \
    }
static const config half = FULL(GY_QWEN2_05B), one = FULL(GY_QWEN2_15B), seven = FULL(GY_QWEN2_7B);
static const gy_config configs[] = {{"tiny", "3 blocks of width 60 on bytes: trains in a minute", &tiny},
                                    {"qwen2-0.5b", "494,032,768 parameters", &half},
                                    {"qwen2-1.5b", "1,543,714,304 parameters", &one},
                                    {"qwen2-7b", "7,615,616,512 parameters", &seven},
                                    {NULL}};

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    const gy_llama_config *m = &c->model;
    if (m->heads % m->kv_heads || (!m->head_width && m->width % m->heads))
        return gy_fail(ctx, GY_ERR_USAGE,
                       "qwen2: heads=%" PRId64 ": expected a multiple of kv_heads=%" PRId64
                       " that divides width=%" PRId64,
                       m->heads, m->kv_heads, m->width);
    if ((m->head_width ? m->head_width : m->width / m->heads) % 2)
        return gy_fail(ctx, GY_ERR_USAGE, "qwen2: heads of odd width cannot be turned in pairs");
    if (c->train.tokens > m->positions)
        return gy_fail(ctx, GY_ERR_USAGE, "qwen2: tokens=%" PRId64 " is more than positions=%" PRId64, c->train.tokens,
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
                                        "x += W_o attention(turn(W_q h + b_q), turn(W_k h + b_k), W_v h + b_v)",
                                        "x += W_down (silu(W_gate h) * W_up h)",
                                        "logits = E h",
                                        "L = -mean log softmax(logits)_{next token}",
                                        NULL};

const gy_model_def gy_model_qwen2 = {.slug = "qwen2",
                                     .family = "interpretability",
                                     .title = "Qwen2 technical report",
                                     .cite = "Yang et al. arXiv 2407.10671, 2024",
                                     .job = "token ids in; the probabilities of each next token out",
                                     .year = 2024,
                                     .equations = equations,
                                     .config_size = sizeof(config),
                                     .options = options,
                                     .configs = configs,
                                     .ignorable = gy_llama_tied_ignorable,
                                     .check = check,
                                     .build = build,
                                     .objective = objective,
                                     .open = open_text,
                                     .close = gy_lm_close,
                                     .batch = gy_lm_batch_feed,
                                     .lr = gy_lm_lr,
                                     .evaluate = evaluate,
                                     .artefacts = artefacts};
