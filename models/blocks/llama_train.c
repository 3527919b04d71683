#include "llama_train.h"

#include <inttypes.h>

#define SIZE(n, lo, hi, help)                                                                                          \
    { #n, help, GY_OPT_INT, offsetof(gy_llama_model, model.n), lo, hi }
const gy_option gy_llama_options[] = {
    GY_LM_TRAIN_OPTIONS(gy_llama_model),
    SIZE(layers, 1, 1024, "blocks"),
    SIZE(heads, 1, 1024, "query heads of a block"),
    SIZE(kv_heads, 1, 1024, "key and value heads, each shared by heads / kv_heads query heads"),
    SIZE(width, 1, 1 << 20, "of the residual stream"),
    SIZE(head_width, 0, 1 << 16, "of a head; 0: width / heads"),
    SIZE(inner, 1, 1 << 22, "neurons of an MLP"),
    SIZE(vocabulary, 1, 1 << 24, "tokens that there are; 256: bytes"),
    SIZE(positions, 1, 1 << 24, "most tokens of a text"),
    {"theta", "base of the rotary wavelengths", GY_OPT_REAL, offsetof(gy_llama_model, model.rope.theta), 1, 1e12},
    SIZE(tied, 0, 1, "the output matrix is the token embedding"),
    {NULL},
};

gy_status gy_llama_check(gy_ctx *ctx, const void *cfg) {
    const gy_llama_model *c = cfg;
    const gy_llama_config *m = &c->model;
    if (m->heads % m->kv_heads || (!m->head_width && m->width % m->heads))
        return gy_fail(ctx, GY_ERR_USAGE,
                       "heads=%" PRId64 ": expected a multiple of kv_heads=%" PRId64 " that divides width=%" PRId64,
                       m->heads, m->kv_heads, m->width);
    if ((m->head_width ? m->head_width : m->width / m->heads) % 2)
        return gy_fail(ctx, GY_ERR_USAGE, "heads of odd width cannot be turned in pairs");
    if (c->train.tokens > m->positions)
        return gy_fail(ctx, GY_ERR_USAGE, "tokens=%" PRId64 " is more than positions=%" PRId64, c->train.tokens,
                       m->positions);
    return GY_OK;
}

gy_lm gy_llama_family(const void *cfg) {
    return gy_llama_lm(&((const gy_llama_model *)cfg)->model);
}
