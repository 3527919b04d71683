/* du-in: its sizes, its values against PyTorch, how one stage begins from another, resuming, bad options and files. */
#include "../harness/golden_job.h"
#include "../harness/jobs.h"

#include <math.h>
#include <stdio.h>

/* Small and quick: two steps of each stage. */
static const char *const small[] = {
    "channels=4",   "segment=8",    "samples=80",   "kernel=5",     "stride=4", "filters=6", "features=4", "layers=1",
    "heads=2",      "head_dim=4",   "codes=6",      "code_width=4", "hidden=6", "words=3",   "vq_steps=2", "vq_batch=4",
    "mask_steps=2", "mask_batch=4", "word_steps=2", "word_batch=4", "pool=20",  "train=3",   "tests=2",    NULL};

/* ---- sizes ---- */

/* Counted by hand from the official code's modules: subject layer 176, tokeniser 95,024, encoder 8 x 433,152; with
 * quantiser 46,592, decoder 4 x 433,152 and the way back 461,770; or mask embedding and code head; or word head. */
static void paper_configuration_has_the_papers_parameters(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("du-in"), "paper", NULL, 0));
    gy_store_free(j.store);
    j.store = gy_store_new_dry(ctx);
    for (int64_t phase = 0; phase < 3; phase++) {
        assert_ok(ctx, gy_job_compile_phase(&j, phase, true, &c));
        gy_compiled_free(&c);
    }
    int64_t layer = 0, all[3] = {0};
    for (int64_t i = 0; i < gy_store_count(j.store); i++) {
        const gy_state *p = gy_store_at(j.store, i);
        int64_t n = gy_shape_count(p->value.shape);
        if (p->kind != GY_PARAM) continue;
        int stage = strncmp(p->name, "vqvae.", 6) == 0 ? 0 : strncmp(p->name, "mae.", 4) == 0 ? 1 : 2;
        all[stage] += n;
        if (strncmp(p->name, "encoder.1.xfmr_blocks.3.", 24) == 0) layer += n;
    }
    assert_int_equal(layer, 433152);
    assert_int_equal(all[0], 5801386);
    assert_int_equal(all[1], 3890304);
    assert_int_equal(all[2], 4182813);
    gy_job_free(&j);
}

/* ---- against PyTorch ---- */

static void run_stage(gy_ctx *ctx, gy_job *j, const gy_safetensors *file, const char *stage, const char *const *out) {
    char set[32];
    gy_compiled run;
    snprintf(set, sizeof set, "stage=%s", stage);
    assert_ok(ctx, gy_config_set(ctx, j->def, j->cfg, set));
    assert_ok(ctx, gy_job_compile(j, 4, NULL, 0, &run));
    golden_feed_one(ctx, file, "in.signal", run.plan, "signal");
    golden_feed_one(ctx, file, "in.subject", run.plan, "subject");
    golden_feed_one(ctx, file, "in.mask", run.plan, "mask");
    assert_ok(ctx, gy_plan_run(run.plan));
    for (; *out; out++) {
        char name[64];
        snprintf(name, sizeof name, "out.%s", *out);
        gy_tensor t = gy_plan_output(run.plan, *out);
        golden_close_to(ctx, file, name, &t, 1e-5);
    }
    gy_compiled_free(&run);
}

static void values_and_a_step_match_pytorch(void **state) {
    static const char *const settings[] = {
        "channels=3", "samples=24",       "segment=8", "subjects=2",   "neural=5",   "filters=6",  "features=4",
        "kernel=5",   "stride=4",         "layers=1",  "heads=2",      "codes=5",    "words=3",    "head_dim=4",
        "hidden=6",   "decoder_layers=1", "drop=0",    "code_width=4", "commit=0.5", "vq_batch=4", NULL};
    static const char *const stepped[] = {"subj_block.subj_layer.W.weight",
                                          "tokenizer.conv_blocks.0.0.1.weight",
                                          "tokenizer.conv_blocks.2.1.1.bias",
                                          "tokenizer.conv_blocks.1.1.1.running_var",
                                          "encoder.1.xfmr_blocks.0.mha.norm_k.weight",
                                          "encoder.1.xfmr_blocks.0.ffn.fc1.0.weight",
                                          "vq_block.pre_proj.2.weight",
                                          "vq_block.codex.weight",
                                          "rgs_block.rgs_head.2.0.1.weight",
                                          "desubj_block.subj_layer.B.weight"};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled step;
    gy_safetensors file;
    int64_t n = 0;
    while (settings[n]) n++;
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("du-in"), "tiny", settings, n));
    assert_ok(ctx, gy_safetensors_open(ctx, "tests/golden/duin.safetensors", NULL, &file));
    for (int64_t phase = 0; phase < 3; phase++) { /* makes all states */
        gy_compiled c;
        assert_ok(ctx, gy_job_compile_phase(&j, phase, false, &c));
        gy_compiled_free(&c);
    }
    for (int64_t i = 0; i < gy_store_count(j.store); i++) {
        gy_state *s = gy_store_at(j.store, i);
        gy_tensor t;
        if (s->kind == GY_SLOT) continue;
        assert_ok(ctx, gy_safetensors_get(&file, s->name, &t));
        assert_true(gy_shape_equal(t.shape, s->value.shape));
        memcpy(s->value.data, t.data, gy_tensor_bytes(&t));
        gy_tensor_free(ctx, &t);
    }
    run_stage(ctx, &j, &file, "codes", (const char *const[]){"codes", "redrawn", NULL});
    run_stage(ctx, &j, &file, "mask", (const char *const[]){"code_logits", NULL});
    run_stage(ctx, &j, &file, "words", (const char *const[]){"logits", NULL});

    assert_ok(ctx, gy_job_compile_phase(&j, 0, false, &step));
    golden_feed_one(ctx, &file, "in.signal", step.plan, "signal");
    golden_feed_one(ctx, &file, "in.subject", step.plan, "subject");
    float *there = gy_plan_input(step.plan, "channel_mask");
    for (int i = 0; i < 12; i++) there[i] = 1;
    *(double *)gy_plan_input(step.plan, "lr") = 1e-2;
    assert_ok(ctx, gy_plan_run(step.plan));
    gy_tensor loss = gy_plan_output(step.plan, "loss"), perplexity = gy_plan_output(step.plan, "perplexity");
    golden_close_to(ctx, &file, "out.loss", &loss, 1e-5);
    golden_close_to(ctx, &file, "out.perplexity", &perplexity, 1e-5);
    for (size_t i = 0; i < sizeof stepped / sizeof *stepped; i++) {
        char name[96];
        snprintf(name, sizeof name, "out.vqvae.%s", stepped[i]);
        gy_state *s = gy_state_find(j.store, name + 4);
        assert_non_null(s);
        golden_close_to(ctx, &file, name, &s->value, 5e-5);
    }
    gy_compiled_free(&step);
    gy_safetensors_close(&file);
    gy_job_free(&j);
}

/* ---- stages ---- */

static uint64_t bytes_of(const gy_job *j, const char *prefix, gy_state_kind kind) {
    uint64_t h = 0;
    for (int64_t i = 0; i < gy_store_count(j->store); i++) {
        const gy_state *p = gy_store_at(j->store, i);
        if (p->kind == kind && strncmp(p->name, prefix, strlen(prefix)) == 0)
            h += gy_hash(p->value.data, gy_tensor_bytes(&p->value), gy_hash_str(p->name + strlen(prefix), 0));
    }
    return h;
}

static void masked_prediction_leaves_the_autoencoder_alone(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    start_job(ctx, &j, "du-in", 3, small);
    assert_int_equal(j.steps, 6);
    j.steps = 2;
    assert_ok(ctx, gy_job_train(&j));
    uint64_t p = bytes_of(&j, "vqvae.", GY_PARAM), b = bytes_of(&j, "vqvae.", GY_BUFFER);
    uint64_t mae = bytes_of(&j, "mae.", GY_PARAM);
    j.steps = 4;
    assert_ok(ctx, gy_job_train(&j));
    assert_true(bytes_of(&j, "vqvae.", GY_PARAM) == p);
    assert_true(bytes_of(&j, "vqvae.", GY_BUFFER) == b);
    assert_true(bytes_of(&j, "mae.", GY_PARAM) != mae);
    gy_job_free(&j);
}

/* With a rate of zero and no decay the classifier stays what it began as. */
static void classifier_begins_as_the_masked_predictor(void **state) {
    gy_ctx *ctx = *state;
    for (int pretrain = 0; pretrain < 2; pretrain++) {
        gy_job j;
        start_job(ctx, &j, "du-in", 3, small);
        assert_ok(ctx, gy_config_set(ctx, j.def, j.cfg, pretrain ? "pretrain=1" : "pretrain=0"));
        assert_ok(ctx, gy_config_set(ctx, j.def, j.cfg, "word_lr=0"));
        assert_ok(ctx, gy_job_train(&j));
        assert_int_equal(bytes_of(&j, "encoder.", GY_PARAM) == bytes_of(&j, "mae.encoder.", GY_PARAM), pretrain);
        assert_int_equal(bytes_of(&j, "tokenizer.", GY_PARAM) == bytes_of(&j, "mae.tokenizer.", GY_PARAM), pretrain);
        gy_job_free(&j);
    }
}

/* Codes are placed on the sphere where the first batch is, and stay on the sphere. */
static void codes_have_unit_length(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    start_job(ctx, &j, "du-in", 4, small);
    j.steps = 1;
    assert_ok(ctx, gy_job_train(&j));
    const gy_state *e = gy_state_find(j.store, "vqvae.vq_block.codex.weight");
    assert_non_null(e);
    for (int64_t k = 0; k < 6; k++) {
        double norm = 0;
        for (int64_t f = 0; f < 4; f++) norm += pow(gy_tensor_get(&e->value, k * 4 + f), 2);
        assert_float_equal(norm, 1, 1e-5);
    }
    gy_job_free(&j);
}

static void resumed_run_is_bit_identical(void **state) {
    static const int64_t stops[] = {1, 3, 4, 6};
    assert_resume_is_bit_identical(*state, "du-in", small, 4, stops);
}

static void training_draws_the_signal_better(void **state) {
    static const char *const few[] = {"vq_steps=40", "mask_steps=0", "word_steps=0", "pool=64", "noise=0.1",
                                      "train=1",     "tests=2",      "warmup=0",     NULL};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics before = {0}, after = {0};
    start_job(ctx, &j, "du-in", 6, few);
    assert_ok(ctx, j.def->evaluate(&j, &before));
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->evaluate(&j, &after));
    double a = gy_metric_get(&before, "redrawn_error"), b = gy_metric_get(&after, "redrawn_error");
    if (!(b < 0.9 * a)) fail_msg("error %g before, %g after 40 steps", a, b);
    gy_job_free(&j);
}

/* ---- refusals ---- */

static void impossible_options_are_refused(void **state) {
    static const char *const wrong[][2] = {{"stage=sleep", "stage"},
                                           {"samples=250", "multiple"},
                                           {"kernel=8", "odd"},
                                           {"stride=3", "multiple"},
                                           {"segment=240", "one segment"}};
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        gy_job j;
        const char *set[] = {wrong[i][0]};
        assert_int_equal(gy_job_init(&j, ctx, gy_model_find("du-in"), "tiny", set, 1), GY_ERR_USAGE);
        assert_non_null(strstr(gy_error(ctx), wrong[i][1]));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(paper_configuration_has_the_papers_parameters),
        TEST(values_and_a_step_match_pytorch),
        TEST(masked_prediction_leaves_the_autoencoder_alone),
        TEST(classifier_begins_as_the_masked_predictor),
        TEST(codes_have_unit_length),
        TEST(resumed_run_is_bit_identical),
        TEST(training_draws_the_signal_better),
        TEST(impossible_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
