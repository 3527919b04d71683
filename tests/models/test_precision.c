/* Precision bf16 for whole models: training follows f32, and decoding with packed weights says what decoding without
 * them says. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "core/ops/fused.h"
#include "core/rng.h"
#include "models/blocks/generate.h"
#include "models/blocks/gpt2.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- training ---- */

static bool keep_loss(void *user, const gy_job *j, const gy_metrics *logged) {
    double *mean = user; /* of the last five steps */
    if (j->step > j->steps - 5) *mean += logged->m[0].value / 5;
    return true;
}

static double trained(gy_ctx *ctx, const char *slug, const char *const *set, int64_t n, int64_t steps, gy_dtype t) {
    gy_job j;
    double loss = 0;
    gy_ctx_set_precision(ctx, t);
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find(slug), NULL, set, n));
    j.seed = 5;
    j.steps = steps;
    j.sink = (gy_job_sink){.step = keep_loss, .user = &loss};
    assert_ok(ctx, gy_job_open(&j));
    assert_ok(ctx, gy_job_train(&j));
    gy_job_free(&j);
    gy_ctx_set_precision(ctx, GY_F32);
    return loss;
}

static void training_in_bf16_follows_f32(void **state) {
    static const char *const gpt2[] = {"tokens=32", "batch=8", "layers=2", "width=32"}, *const unet[] = {"batch=4"};
    double a = trained(*state, "gpt2", gpt2, 4, 60, GY_F32), b = trained(*state, "gpt2", gpt2, 4, 60, GY_BF16);
    assert_true(a != b); /* it was rounded */
    assert_close(b / a, 1, 0.02);
    a = trained(*state, "sd15-unet", unet, 1, 30, GY_F32);
    b = trained(*state, "sd15-unet", unet, 1, 30, GY_BF16);
    assert_true(a != b);
    assert_close(b / a, 1, 0.02);
}

/* ---- packed weights ---- */

typedef struct shape {
    int64_t m, n, k;
    bool turned, bias, residual;
    int64_t act; /* 0, GY_OP_gelu ... */
} shape;

static void fill(gy_rng *r, double scale, gy_tensor *t) {
    for (int64_t i = 0; i < gy_shape_count(t->shape); i++) gy_tensor_set(t, i, scale * (2 * gy_rng_uniform(r) - 1));
}

/* act(x w + b) + residual with the tiers of the mask. Returns the bytes of packed weights. */
static int64_t product(gy_ctx *ctx, const shape *s, uint64_t mask, gy_tensor *out) {
    gy_store *store = gy_store_new(ctx);
    gy_rng r;
    gy_rng_init(&r, 3, "packed");
    gy_shape ws = s->turned ? GY_S(s->k, s->n) : GY_S(s->n, s->k);
    gy_state *w = gy_state_get(store, "w", GY_PARAM, GY_F32, ws, (gy_init){0}, 0);
    fill(&r, 1 / sqrt((double)s->k), &w->value);
    gy_graph *g = gy_graph_new(ctx);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(s->m, s->k)), b = gy_input(g, "b", GY_F32, GY_S(s->n));
    gy_t res = gy_input(g, "res", GY_F32, GY_S(s->m, s->n)), y = gy_matmul(x, gy_read(g, w), .trans_b = !s->turned);
    if (s->bias) y = gy_add(y, b);
    if (s->act) y = gy_unary_(GY_HERE, (int)s->act, y);
    if (s->residual) y = gy_add(y, res);
    gy_output(y, "y");
    gy_plan *p = gy_compile(g, (gy_plan_args){.precision = GY_BF16, .isa_mask = mask});
    assert_non_null(p);
    static const char *const names[] = {"x", "b", "res"};
    for (int i = 0; i < 3; i++) {
        gy_tensor t = {.dtype = GY_F32, .data = gy_plan_input(p, names[i])};
        t.shape = i == 0 ? GY_S(s->m, s->k) : i == 1 ? GY_S(s->n) : GY_S(s->m, s->n);
        if (t.data) fill(&r, 1, &t);
    }
    assert_ok(ctx, gy_plan_run(p));
    gy_tensor t = gy_plan_output(p, "y");
    assert_ok(ctx, gy_tensor_new(ctx, out, GY_F32, t.shape));
    memcpy(out->data, t.data, gy_tensor_bytes(&t));
    int64_t packed = gy_plan_report(p).packed_bytes;
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
    return packed;
}

static void packed_weights_give_the_product_of_rounded_factors(void **state) {
    static const shape shapes[] = {
        {1, 1, 1, false, false, false, 0},          {1, 37, 64, false, true, false, GY_OP_gelu_tanh},
        {1, 300, 65, true, true, true, GY_OP_gelu}, {2, 7, 31, true, false, true, 0},
        {3, 129, 33, false, true, false, 0},        {4, 64, 128, true, true, true, GY_OP_silu},
        {1, 2000, 96, true, false, false, 0},       {4, 5, 1000, false, false, true, 0},
        {5, 40, 40, false, true, true, 0},
    };
    uint64_t all = gy_ctx_isa_mask(*state);
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        gy_tensor want, got;
        assert_int_equal(product(*state, s, 1, &want), 0); /* the reference, unpacked */
        for (uint64_t top = 1; top <= all; top = 2 * top + 1) {
            int64_t packed = product(*state, s, all & top, &got);
            assert_int_equal(packed > 0, top > 1);
            if (s->m <= 4) assert_true(packed <= 2 * ((s->n + 15) / 16 * 16) * (s->k + 1)); /* two bytes a weight */
            for (int64_t e = 0; e < s->m * s->n; e++)
                assert_close(gy_tensor_get(&got, e), gy_tensor_get(&want, e), 2e-6 * sqrt((double)s->k) + 1e-6);
            gy_tensor_free(*state, &got);
        }
        gy_tensor_free(*state, &want);
    }
}

/* Logits after a prompt and two single tokens. Returns the bytes of packed weights. */
static int64_t decode(gy_ctx *ctx, gy_store *store, gy_dtype precision, float out[64]) {
    static const gy_gpt2_config c = {2, 2, 32, 0, 64, 64, 1e-5, 0};
    static const int64_t ids[] = {3, 1, 4, 1, 5, 9, 2};
    gy_lm lm = gy_gpt2_lm(&c);
    gy_generator *g;
    gy_ctx_set_precision(ctx, precision);
    assert_ok(ctx,
              gy_generator_new(ctx, (gy_generator_args){.lm = &lm, .store = store, .rows = 1, .capacity = 16}, &g));
    assert_ok(ctx, gy_generator_feed(g, ids, 5));
    assert_ok(ctx, gy_generator_feed(g, ids + 5, 1));
    assert_ok(ctx, gy_generator_feed(g, ids + 6, 1));
    memcpy(out, gy_generator_logits(g), 64 * sizeof *out);
    int64_t packed = gy_plan_report(gy_generator_plan(g)).packed_bytes;
    gy_generator_free(g);
    gy_ctx_set_precision(ctx, GY_F32);
    return packed;
}

static void decoding_in_bf16_stays_near_f32(void **state) {
    gy_store *store = gy_store_new(*state);
    float f32[64], bf16[64];
    double most = 0, scale = 0;
    decode(*state, store, GY_F32, f32);
    int64_t packed = decode(*state, store, GY_BF16, bf16);
    const int64_t weights = 2 * 12 * 32 * 32 + 64 * 32;
    assert_int_equal(packed, gy_ctx_isa_mask(*state) == 1 ? 0 : 2 * weights);
    for (int i = 0; i < 64; i++) {
        most = fmax(most, fabs((double)f32[i] - (double)bf16[i]));
        scale = fmax(scale, fabs((double)f32[i]));
    }
    assert_true(most > 0);
    assert_true(most < 0.02 * scale);
    gy_store_free(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(training_in_bf16_follows_f32),
        TEST(packed_weights_give_the_product_of_rounded_factors),
        TEST(decoding_in_bf16_stays_near_f32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
