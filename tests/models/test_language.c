/* GPT-2, Llama and Qwen2 against transformers (tests/golden/make_lm.py), generation with a cache against the whole
 * sequence at once, hook points, and what a language model must refuse. */
#include "../harness/golden_model.h"

#include "io/run.h"
#include "models/blocks/generate.h"
#include "models/blocks/gpt2.h"
#include "models/blocks/llama.h"

#include <math.h>
#include <stdio.h>

static const gy_gpt2_config gpt2 = {.layers = 2, .heads = 3, .width = 18, .positions = 24, .vocabulary = 29};
static const gy_llama_config llama = {.layers = 2,
                                      .heads = 6,
                                      .kv_heads = 2,
                                      .width = 24,
                                      .head_width = 8,
                                      .inner = 20,
                                      .vocabulary = 29,
                                      .positions = 64,
                                      .eps = 1e-5,
                                      .rope = {500, 4, 1, 4, 16}};
static const gy_llama_config qwen2 = {.layers = 2,
                                      .heads = 6,
                                      .kv_heads = 2,
                                      .width = 24,
                                      .inner = 20,
                                      .vocabulary = 29,
                                      .positions = 64,
                                      .eps = 1e-6,
                                      .rope = {1e6},
                                      .tied = 1,
                                      .qkv_bias = 1};

typedef struct family {
    const char *name;
    gy_lm lm;
    const gy_weight_rule *rules;
    const char *const *ignorable;
} family;

enum { FAMILIES = 3 };
static void families(family f[FAMILIES]) {
    /* files that transformers saves with a head on top name what is below it "transformer." */
    f[0] = (family){"gpt2", gy_gpt2_lm(&gpt2), gy_gpt2_rules, gy_gpt2_ignorable};
    f[1] = (family){"llama", gy_llama_lm(&llama), NULL, gy_llama_ignorable};
    f[2] = (family){"qwen2", gy_llama_lm(&qwen2), NULL, gy_llama_tied_ignorable};
}

/* The model's whole-sequence logits; `t` holds graph and weights. */
static void open_family(golden_model *t, gy_ctx *ctx, const family *f) {
    golden_open(t, ctx, f->name);
    gy_lm_in in = {.ids = golden_input(t, "ids")};
    gy_output(f->lm.logits(&t->m, f->lm.cfg, f->lm.states(&t->m, f->lm.cfg, &in)), "logits");
    golden_run(t, f->name, f->rules, f->ignorable);
}

/* GPT-2's gradients carry the file's prefix. */
static void outputs_losses_and_gradients_match_transformers(void **state) {
    family f[FAMILIES];
    families(f);
    for (int i = 0; i < FAMILIES; i++) {
        golden_model t;
        golden_open(&t, *state, f[i].name);
        gy_lm_in in = {.ids = golden_input(&t, "ids")};
        if (i == 0) gy_push(&t.m, "transformer");
        gy_t h = f[i].lm.states(&t.m, f[i].lm.cfg, &in);
        gy_output(f[i].lm.logits(&t.m, f[i].lm.cfg, h), "logits");
        /* chunks of 5 of 18 rows, the last one short: recomputed in the backward pass */
        gy_t loss = gy_lm_loss(&t.m, &f[i].lm, h, golden_input(&t, "target"), 5);
        gy_output(loss, "loss");
        golden_gradients(&t, loss, 0, NULL, NULL);
        golden_run(&t, f[i].name, f[i].rules, f[i].ignorable);
        golden_compare(&t, "logits", 1e-5);
        golden_compare(&t, "loss", 1e-5);
        golden_compare_gradients(&t, 1e-4);
        golden_close(&t);
    }
}

static void weights_load_under_the_bare_and_the_prefixed_names(void **state) {
    family f[FAMILIES];
    families(f);
    golden_model t;
    open_family(&t, *state, &f[0]);
    golden_compare(&t, "logits", 1e-5);
    /* a square [in, out] matrix taken for [out, in] has the same shape and another answer */
    gy_state *w = gy_state_find(t.store, "h.1.attn.c_proj.weight");
    assert_non_null(w);
    for (int64_t i = 0; i < 18; i++)
        for (int64_t j = 0; j < i; j++) {
            double a = gy_tensor_get(&w->value, i * 18 + j);
            gy_tensor_set(&w->value, i * 18 + j, gy_tensor_get(&w->value, j * 18 + i));
            gy_tensor_set(&w->value, j * 18 + i, a);
        }
    gy_state_touch(w);
    assert_ok(*state, gy_plan_run(t.plan));
    gy_tensor want = golden_tensor(&t, "logits"), have = gy_plan_output(t.plan, "logits");
    double worst = 0;
    for (int64_t i = 0; i < gy_shape_count(want.shape); i++)
        worst = fmax(worst, fabs(gy_tensor_get(&want, i) - gy_tensor_get(&have, i)));
    assert_true(worst > 0.1);
    gy_tensor_free(*state, &want);
    golden_close(&t);
}

/* ---- generation ---- */

static void cached_logits_equal_the_whole_sequence_for_every_split(void **state) {
    gy_ctx *ctx = *state;
    family f[FAMILIES];
    families(f);
    for (int i = 0; i < FAMILIES; i++) {
        golden_model t;
        open_family(&t, ctx, &f[i]);
        gy_tensor ids = golden_tensor(&t, "ids"), want = golden_tensor(&t, "logits");
        const int64_t *id = ids.data;
        for (int64_t split = 1; split <= 9; split++) {
            gy_generator *g;
            assert_ok(ctx, gy_generator_new(ctx, (gy_generator_args){&f[i].lm, t.store, 2, 12}, &g));
            int64_t part[18];
            for (int64_t r = 0; r < 2; r++)
                for (int64_t k = 0; k < split; k++) part[r * split + k] = id[r * 9 + k];
            assert_ok(ctx, gy_generator_feed(g, part, split));
            /* the rest: one by one for even splits, in one piece for odd ones */
            for (int64_t at = split; at < 9;) {
                int64_t n = split % 2 ? 9 - at : 1;
                for (int64_t r = 0; r < 2; r++)
                    for (int64_t k = 0; k < n; k++) part[r * n + k] = id[r * 9 + at + k];
                assert_ok(ctx, gy_generator_feed(g, part, n));
                at += n;
                const float *x = gy_generator_logits(g);
                for (int64_t r = 0; r < 2; r++)
                    for (int64_t v = 0; v < 29; v++)
                        assert_close(x[r * 29 + v], gy_tensor_get(&want, (r * 9 + at - 1) * 29 + v), 1e-5);
            }
            const float *x = gy_generator_logits(g);
            for (int64_t v = 0; v < 29; v++) assert_close(x[29 + v], gy_tensor_get(&want, (9 + 8) * 29 + v), 1e-5);
            gy_generator_free(g);
        }
        gy_tensor_free(ctx, &ids);
        gy_tensor_free(ctx, &want);
        golden_close(&t);
    }
}

static void expect_tokens(golden_model *t, const char *name, const int64_t *out, int64_t n, int64_t fill) {
    gy_tensor want = golden_tensor(t, name);
    int64_t have = gy_shape_count(want.shape);
    for (int64_t i = 0; i < n; i++) {
        int64_t w = 5 + i < have ? ((const int64_t *)want.data)[5 + i] : fill;
        if (out[i] != w) fail_msg("%s[%d] is %d, expected %d", name, (int)i, (int)out[i], (int)w);
    }
    gy_tensor_free(t->ctx, &want);
}

static void greedy_and_beam_search_find_what_transformers_finds(void **state) {
    gy_ctx *ctx = *state;
    family f[FAMILIES];
    families(f);
    for (int i = 0; i < FAMILIES; i++) {
        golden_model t;
        int64_t out[8];
        open_family(&t, ctx, &f[i]);
        gy_tensor ids = golden_tensor(&t, "ids"), end = golden_tensor(&t, "end");
        gy_sampling s = {.end = -1};
        assert_ok(ctx, gy_generate(ctx, &f[i].lm, t.store, &s, ids.data, NULL, 1, 5, 8, out));
        expect_tokens(&t, "greedy", out, 8, 0);
        s.beams = 3;
        assert_ok(ctx, gy_generate(ctx, &f[i].lm, t.store, &s, ids.data, NULL, 1, 5, 8, out));
        expect_tokens(&t, "beam", out, 8, 0);
        s.end = *(const int64_t *)end.data;
        assert_ok(ctx, gy_generate(ctx, &f[i].lm, t.store, &s, ids.data, NULL, 1, 5, 8, out));
        expect_tokens(&t, "ended", out, 8, s.end);
        gy_tensor_free(ctx, &ids);
        gy_tensor_free(ctx, &end);
        golden_close(&t);
    }
}

static void rows_padded_on_the_left_grow_as_they_would_alone(void **state) {
    gy_ctx *ctx = *state;
    family f[FAMILIES];
    families(f);
    for (int i = 0; i < FAMILIES; i++) {
        golden_model t;
        open_family(&t, ctx, &f[i]);
        static const int64_t padded[] = {3, 3, 3, 7, 11, 2, 5, 1, 19, 23}, start[] = {3, 0}, alone[] = {7, 11};
        int64_t both[2 * 6], one[6];
        gy_sampling s = {.end = -1};
        assert_ok(ctx, gy_generate(ctx, &f[i].lm, t.store, &s, padded, start, 2, 5, 6, both));
        assert_ok(ctx, gy_generate(ctx, &f[i].lm, t.store, &s, alone, NULL, 1, 2, 6, one));
        for (int k = 0; k < 6; k++) assert_int_equal(both[k], one[k]);
        assert_ok(ctx, gy_generate(ctx, &f[i].lm, t.store, &s, padded + 5, NULL, 1, 5, 6, one));
        for (int k = 0; k < 6; k++) assert_int_equal(both[6 + k], one[k]);
        golden_close(&t);
    }
}

static void sampling_draws_from_the_cut_distribution(void **state) {
    (void)state;
    /* probabilities .4 .3 .2 .1 */
    float logits[4] = {logf(0.1f), logf(0.4f), logf(0.3f), logf(0.2f)};
    static const struct {
        gy_sampling s;
        double p[4];
    } cases[] = {{{.temperature = 1}, {.1, .4, .3, .2}},
                 {{.temperature = 0.5}, {.01 / .3, .16 / .3, .09 / .3, .04 / .3}},
                 {{.temperature = 1, .top_k = 2}, {0, 4 / 7., 3 / 7., 0}},
                 {{.temperature = 1, .top_p = 0.75}, {0, 4 / 9., 3 / 9., 2 / 9.}},
                 {{.temperature = 1, .top_p = 0.65}, {0, 4 / 7., 3 / 7., 0}},
                 {{.temperature = 1, .top_p = 0.01}, {0, 1, 0, 0}},
                 {{.top_k = 3}, {0, 1, 0, 0}}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        int count[4] = {0}, draws = 20000;
        double scratch[8];
        gy_rng rng;
        gy_rng_init(&rng, 5, "test");
        for (int i = 0; i < draws; i++) count[gy_sample_token(logits, 4, &cases[c].s, NULL, 0, &rng, scratch)]++;
        for (int k = 0; k < 4; k++) /* five standard errors at most */
            assert_close(count[k] / (double)draws, cases[c].p[k], cases[c].p[k] > 0 && cases[c].p[k] < 1 ? 0.018 : 0);
    }
}

static void a_repeated_token_is_made_less_likely(void **state) {
    (void)state;
    float logits[3] = {2, 1.5f, -1};
    double scratch[6];
    gy_rng rng;
    gy_rng_init(&rng, 5, "test");
    static const int64_t seen[] = {0, 0};
    gy_sampling s = {.repetition = 1.2};
    assert_int_equal(gy_sample_token(logits, 3, &s, seen, 2, &rng, scratch), 0); /* 2 / 1.2 = 1.67, once only */
    s.repetition = 1.5;
    assert_int_equal(gy_sample_token(logits, 3, &s, seen, 2, &rng, scratch), 1);
    s = (gy_sampling){.frequency = 0.3};
    assert_int_equal(gy_sample_token(logits, 3, &s, seen, 1, &rng, scratch), 0); /* 1.7 */
    assert_int_equal(gy_sample_token(logits, 3, &s, seen, 2, &rng, scratch), 1); /* 1.4 */
}

static void what_cannot_be_generated_is_refused(void **state) {
    gy_ctx *ctx = *state;
    family f[FAMILIES];
    families(f);
    golden_model t;
    open_family(&t, ctx, &f[0]);
    int64_t prompt[24] = {0}, out[8], start[] = {5};
    gy_sampling s = {.end = -1};
    assert_message(ctx, gy_generate(ctx, &f[0].lm, t.store, &s, prompt, NULL, 1, 20, 8, out), "24 positions");
    prompt[2] = 29;
    assert_message(ctx, gy_generate(ctx, &f[0].lm, t.store, &s, prompt, NULL, 1, 5, 8, out), "the vocabulary has 29");
    assert_message(ctx, gy_generate(ctx, &f[0].lm, t.store, &s, prompt, start, 1, 5, 8, out), "padding");
    golden_close(&t);
}

/* ---- hook points ---- */

static gy_plan *hooked(golden_model *t, const family *f, const gy_hook *hooks, int64_t n, gy_graph **g) {
    gy_tensor ids = golden_tensor(t, "ids");
    *g = gy_graph_new(t->ctx);
    gy_mod m = gy_mod_make(*g, t->store, 1, false);
    m.hooks = hooks;
    m.n_hooks = n;
    gy_lm_in in = {.ids = gy_input(*g, "ids", GY_I64, ids.shape)};
    gy_output(f->lm.logits(&m, f->lm.cfg, f->lm.states(&m, f->lm.cfg, &in)), "out");
    gy_plan *p = gy_compile(*g, (gy_plan_args){0});
    if (!p) fail_msg("%s", gy_error(t->ctx));
    assert_ok(t->ctx, gy_plan_feed(p, "ids", &ids));
    gy_tensor_free(t->ctx, &ids);
    return p;
}

static double largest_difference(gy_plan *p, const char *name, const gy_tensor *want) {
    gy_tensor x = gy_plan_output(p, name);
    double worst = 0;
    for (int64_t i = 0; i < gy_shape_count(want->shape); i++)
        worst = fmax(worst, fabs(gy_tensor_get(&x, i) - gy_tensor_get(want, i)));
    return worst;
}

static void every_point_can_be_read_and_reading_changes_nothing(void **state) {
    static const char *const points[] = {"embed",       "resid_pre.1",  "ln1.1",      "q.1",       "k.1",
                                         "v.1",         "scores.1",     "pattern.1",  "z.1",       "head_out.1",
                                         "attn_out.1",  "ln2.1",        "mlp_pre.1",  "mlp_act.1", "mlp_out.1",
                                         "resid_mid.1", "resid_post.1", "final_norm", "logits"};
    family f[FAMILIES];
    families(f);
    for (int i = 0; i < FAMILIES; i++) {
        golden_model t;
        open_family(&t, *state, &f[i]);
        gy_tensor want = golden_tensor(&t, "logits");
        for (size_t k = 0; k < sizeof points / sizeof *points; k++) {
            gy_hook h = {points[k], GY_HOOK_READ, 0};
            gy_graph *g;
            gy_plan *p = hooked(&t, &f[i], &h, 1, &g);
            assert_ok(*state, gy_plan_run(p));
            assert_true(largest_difference(p, "out", &want) < 2e-5);
            if (!gy_plan_output(p, points[k]).data) fail_msg("%s: nothing reads %s", f[i].name, points[k]);
            gy_plan_free(p);
            gy_graph_free(g);
        }
        gy_tensor_free(*state, &want);
        golden_close(&t);
    }
}

static void the_pattern_is_causal_and_sums_to_one(void **state) {
    family f[FAMILIES];
    families(f);
    golden_model t;
    open_family(&t, *state, &f[2]);
    gy_hook h = {"pattern.0", GY_HOOK_READ, 0};
    gy_graph *g;
    gy_plan *p = hooked(&t, &f[2], &h, 1, &g);
    assert_ok(*state, gy_plan_run(p));
    gy_tensor x = gy_plan_output(p, "pattern.0"); /* [2, 6, 9, 9] */
    for (int64_t row = 0; row < 2 * 6 * 9; row++) {
        double sum = 0;
        for (int64_t k = 0; k < 9; k++) {
            sum += gy_tensor_get(&x, row * 9 + k);
            if (k > row % 9) assert_true(gy_tensor_get(&x, row * 9 + k) == 0);
        }
        assert_close(sum, 1, 1e-6);
    }
    gy_plan_free(p);
    gy_graph_free(g);
    golden_close(&t);
}

/* The stream is a sum: the logits of a model whose attention and MLPs are silenced are those of the bare embedding. */
static void silencing_all_blocks_leaves_the_embedding(void **state) {
    family f[FAMILIES];
    families(f);
    for (int i = 0; i < FAMILIES; i++) {
        golden_model t;
        open_family(&t, *state, &f[i]);
        static const gy_hook silent[] = {{"attn_out.*", GY_HOOK_SCALE, 0},
                                         {"mlp_out.*", GY_HOOK_SCALE, 0},
                                         {"embed", GY_HOOK_READ, 0},
                                         {"resid_post.1", GY_HOOK_READ, 0}};
        gy_graph *g;
        gy_plan *p = hooked(&t, &f[i], silent, 4, &g);
        assert_ok(*state, gy_plan_run(p));
        gy_tensor embed = gy_plan_output(p, "embed");
        assert_true(largest_difference(p, "resid_post.1", &embed) == 0);
        gy_plan_free(p);
        gy_graph_free(g);
        golden_close(&t);
    }
}

/* The stream carries everything: put the last block's output of one text into a run on another, and the logits are the
 * first text's, bit for bit. */
static void a_patched_stream_decides_the_logits(void **state) {
    gy_ctx *ctx = *state;
    family f[FAMILIES];
    families(f);
    static const gy_hook read = {"resid_post.1", GY_HOOK_READ, 0}, patch = {"resid_post.1", GY_HOOK_REPLACE, 0};
    for (int i = 0; i < FAMILIES; i++) {
        golden_model t;
        gy_graph *ga, *gb;
        open_family(&t, ctx, &f[i]);
        gy_plan *a = hooked(&t, &f[i], &read, 1, &ga), *b = hooked(&t, &f[i], &patch, 1, &gb);
        assert_ok(ctx, gy_plan_run(a));
        gy_tensor stream = gy_plan_output(a, "resid_post.1"), want = gy_plan_output(a, "out");
        assert_ok(ctx, gy_plan_feed(b, "hook:resid_post.1", &stream));
        int64_t *ids = gy_plan_input(b, "ids"); /* nothing may read it any more */
        for (int64_t k = 0; ids && k < 18; k++) ids[k] = k;
        assert_ok(ctx, gy_plan_run(b));
        assert_true(largest_difference(b, "out", &want) == 0);
        gy_plan_free(a);
        gy_plan_free(b);
        gy_graph_free(ga);
        gy_graph_free(gb);
        golden_close(&t);
    }
}

static void hooks_act_alike_with_and_without_a_cache(void **state) {
    gy_ctx *ctx = *state;
    family f[FAMILIES];
    families(f);
    static const gy_hook hooks[] = {
        {"z.0", GY_HOOK_SCALE, 0.5}, {"pattern.1", GY_HOOK_SCALE, 0.7}, {"head_out.1", GY_HOOK_SCALE, 1.3}};
    for (int i = 0; i < FAMILIES; i++) {
        golden_model t;
        gy_graph *g;
        open_family(&t, ctx, &f[i]);
        gy_plan *p = hooked(&t, &f[i], hooks, 3, &g);
        assert_ok(ctx, gy_plan_run(p));
        gy_tensor want = gy_plan_output(p, "out"), ids = golden_tensor(&t, "ids"), plain = golden_tensor(&t, "logits");
        assert_true(largest_difference(p, "out", &plain) > 0.01);
        gy_generator *gen;
        gy_generator_args a = {&f[i].lm, t.store, 2, 9, NULL, hooks, 3};
        assert_ok(ctx, gy_generator_new(ctx, a, &gen));
        int64_t part[10];
        for (int64_t r = 0; r < 2; r++)
            for (int64_t k = 0; k < 5; k++) part[r * 5 + k] = ((const int64_t *)ids.data)[r * 9 + k];
        assert_ok(ctx, gy_generator_feed(gen, part, 5));
        for (int64_t at = 5; at < 9; at++) {
            for (int64_t r = 0; r < 2; r++) part[r] = ((const int64_t *)ids.data)[r * 9 + at];
            assert_ok(ctx, gy_generator_feed(gen, part, 1));
            for (int64_t r = 0; r < 2; r++)
                for (int64_t v = 0; v < 29; v++)
                    assert_close(gy_generator_logits(gen)[r * 29 + v], gy_tensor_get(&want, (r * 9 + at) * 29 + v),
                                 2e-5);
        }
        gy_generator_free(gen);
        gy_tensor_free(ctx, &ids);
        gy_tensor_free(ctx, &plain);
        gy_plan_free(p);
        gy_graph_free(g);
        golden_close(&t);
    }
}

/* ---- sizes ---- */

static int64_t count(gy_ctx *ctx, gy_lm lm) {
    gy_store *store = gy_store_new_dry(ctx);
    gy_graph *g = gy_graph_new(ctx);
    gy_mod m = gy_mod_make(g, store, 0, false);
    gy_lm_in in = {.ids = gy_input(g, "ids", GY_I64, GY_S(1, 4))};
    lm.logits(&m, lm.cfg, lm.states(&m, lm.cfg, &in));
    if (gy_graph_status(g) != GY_OK) fail_msg("%s", gy_error(ctx));
    int64_t n = gy_store_parameters(store);
    gy_graph_free(g);
    gy_store_free(store);
    return n;
}

static void full_sizes_have_the_published_parameter_counts(void **state) {
    static const struct {
        gy_gpt2_config c;
        int64_t n;
    } gpts[] = {{{GY_GPT2_SMALL}, 124439808},
                {{GY_GPT2_MEDIUM}, 354823168},
                {{GY_GPT2_LARGE}, 774030080},
                {{GY_GPT2_XL}, 1557611200}};
    static const struct {
        gy_llama_config c;
        int64_t n;
    } llamas[] = {{{GY_TINYLLAMA_1B}, 1100048384}, {{GY_LLAMA2_7B}, 6738415616}, {{GY_LLAMA31_8B}, 8030261248},
                  {{GY_LLAMA32_1B}, 1235814400},   {{GY_QWEN2_05B}, 494032768},  {{GY_QWEN2_15B}, 1543714304},
                  {{GY_QWEN2_7B}, 7615616512}};
    for (size_t i = 0; i < sizeof gpts / sizeof *gpts; i++)
        assert_int_equal(count(*state, gy_gpt2_lm(&gpts[i].c)), gpts[i].n);
    for (size_t i = 0; i < sizeof llamas / sizeof *llamas; i++)
        assert_int_equal(count(*state, gy_llama_lm(&llamas[i].c)), llamas[i].n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(outputs_losses_and_gradients_match_transformers),
        TEST(weights_load_under_the_bare_and_the_prefixed_names),
        TEST(cached_logits_equal_the_whole_sequence_for_every_split),
        TEST(greedy_and_beam_search_find_what_transformers_finds),
        TEST(rows_padded_on_the_left_grow_as_they_would_alone),
        TEST(sampling_draws_from_the_cut_distribution),
        TEST(a_repeated_token_is_made_less_likely),
        TEST(what_cannot_be_generated_is_refused),
        TEST(every_point_can_be_read_and_reading_changes_nothing),
        TEST(the_pattern_is_causal_and_sums_to_one),
        TEST(silencing_all_blocks_leaves_the_embedding),
        TEST(a_patched_stream_decides_the_logits),
        TEST(hooks_act_alike_with_and_without_a_cache),
        TEST(full_sizes_have_the_published_parameter_counts),
    };
    return cmocka_run_group_tests_name("language", tests, NULL, NULL);
}
