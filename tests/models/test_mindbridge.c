/* mindbridge: its sizes, its values against PyTorch, what reset-tuning leaves alone, resuming, bad options. */
#include "../harness/golden_job.h"
#include "../harness/jobs.h"

#include "io/run.h"
#include "models/blocks/measures.h"

#include <math.h>
#include <stdio.h>

/* Small and quick: two subjects, a newcomer, three steps of each stage. */
static const char *const small[] = {"subjects=0,1",  "voxels=40,44", "newcomer=2",     "newcomer_size=42", "pooled=16",
                                    "hidden=8",      "rank=2",       "blocks=1",       "batch=6",          "steps=3",
                                    "adapt_steps=3", "trials=20",    "adapt_trials=8", "tests=50",         NULL};

/* ---- sizes ---- */

static void paper_configuration_has_the_papers_parameters(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("mindbridge"), "paper", NULL, 0));
    gy_store_free(j.store);
    j.store = gy_store_new_dry(ctx);
    j.batch = 50;
    assert_ok(ctx, gy_job_compile_phase(&j, 0, true, &c));
    assert_int_equal(parameters_of(j.store, "embedder.1."), 18888832);
    assert_int_equal(parameters_of(j.store, "embedder.7."), 18888832);
    assert_int_equal(parameters_of(j.store, "builder.5."), 18907264);
    assert_int_equal(parameters_of(j.store, "translator."), 16801792);
    assert_int_equal(parameters_of(j.store, "head_image."), 404423424);
    assert_int_equal(parameters_of(j.store, "head_text."), 121169664);
    assert_int_equal(gy_store_parameters(j.store), 4 * (18888832 + 18907264) + 542394880);
    gy_compiled_free(&c);
    gy_job_free(&j);
}

/* ---- against PyTorch ---- */

static void values_and_a_step_match_pytorch(void **state) {
    static const char *const settings[] = {"subjects=0,1", "voxels=11,13",    "newcomer_size=0",   "pooled=8",
                                           "hidden=6",     "rank=2",          "batch=4",           "subject=1",
                                           "synthesise=0", "drop_embedder=0", "drop_translator=0", NULL};
    static const char *const stepped[] = {
        "embedder.0.0.up_proj.weight", "embedder.1.1.weight",     "builder.0.0.weight", "builder.1.3.down_proj.weight",
        "translator.mlp.1.0.weight",   "translator.mlp.0.1.bias", "head_image.weight",  "head_text.bias"};
    const char *path = "tests/golden/mindbridge.safetensors";
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled step, run;
    gy_safetensors file;
    start_job(ctx, &j, "mindbridge", 1, settings);
    assert_ok(ctx, gy_safetensors_open(ctx, path, NULL, &file));
    assert_ok(ctx, gy_job_compile_phase(&j, 0, false, &step));
    assert_ok(ctx, gy_job_compile(&j, 4, NULL, 0, &run));
    for (int64_t i = 0; i < gy_store_count(j.store); i++) {
        gy_state *s = gy_store_at(j.store, i);
        gy_tensor t;
        if (s->kind != GY_PARAM) continue;
        assert_ok(ctx, gy_safetensors_get(&file, s->name, &t));
        assert_true(gy_shape_equal(t.shape, s->value.shape));
        memcpy(s->value.data, t.data, gy_tensor_bytes(&t));
        gy_state_touch(s);
        gy_tensor_free(ctx, &t);
    }
    golden_feed_one(ctx, &file, "in.voxels.1", run.plan, "voxels");
    assert_ok(ctx, gy_plan_run(run.plan));
    gy_tensor image = gy_plan_output(run.plan, "image_embedding"), text = gy_plan_output(run.plan, "text_embedding"),
              made = gy_plan_output(run.plan, "synthesised_voxels");
    golden_close_to(ctx, &file, "out.image_embedding", &image, 2e-6);
    golden_close_to(ctx, &file, "out.text_embedding", &text, 2e-6);
    golden_close_to(ctx, &file, "out.synthesised", &made, 2e-6);

    golden_feed_one(ctx, &file, "in.voxels.0", step.plan, "voxels.0");
    golden_feed_one(ctx, &file, "in.voxels.1", step.plan, "voxels.1");
    golden_feed_one(ctx, &file, "in.image", step.plan, "image");
    golden_feed_one(ctx, &file, "in.text", step.plan, "text");
    float *from = gy_plan_input(step.plan, "cycle_from"), *to = gy_plan_input(step.plan, "cycle_to");
    from[0] = 0, from[1] = 1, to[0] = 1, to[1] = 0;
    *(double *)gy_plan_input(step.plan, "lr") = 1e-2;
    assert_ok(ctx, gy_plan_run(step.plan));
    gy_tensor loss = gy_plan_output(step.plan, "loss");
    golden_close_to(ctx, &file, "out.loss", &loss, 2e-6);
    for (size_t i = 0; i < sizeof stepped / sizeof *stepped; i++) {
        char name[96];
        snprintf(name, sizeof name, "out.%s", stepped[i]);
        golden_close_to(ctx, &file, name, state_value(&j, stepped[i]), 2e-5);
    }
    gy_compiled_free(&run);
    gy_compiled_free(&step);
    gy_safetensors_close(&file);
    gy_job_free(&j);
}

/* ---- training ---- */

/* A hash of each parameter's bytes whose name does (or does not) belong to the newcomer, combined. */
static uint64_t bytes_of(const gy_job *j, bool newcomers) {
    uint64_t h = 0;
    for (int64_t i = 0; i < gy_store_count(j->store); i++) {
        const gy_state *p = gy_store_at(j->store, i);
        bool own = strncmp(p->name, "embedder.2.", 11) == 0 || strncmp(p->name, "builder.2.", 10) == 0;
        if (p->kind == GY_PARAM && own == newcomers)
            h += gy_hash(p->value.data, gy_tensor_bytes(&p->value), (uint64_t)i);
    }
    return h;
}

static void reset_tuning_changes_the_newcomer_alone(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    start_job(ctx, &j, "mindbridge", 3, small);
    assert_int_equal(j.steps, 6);
    j.steps = 3;
    assert_ok(ctx, gy_job_train(&j));
    uint64_t shared = bytes_of(&j, false), own = bytes_of(&j, true);
    j.steps = 6;
    assert_ok(ctx, gy_job_train(&j));
    assert_true(bytes_of(&j, false) == shared);
    assert_true(bytes_of(&j, true) != own);
    gy_job_free(&j);
}

static void joint_training_leaves_the_newcomer_alone(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    start_job(ctx, &j, "mindbridge", 3, small);
    j.steps = 1;
    assert_ok(ctx, gy_job_train(&j));
    uint64_t shared = bytes_of(&j, false), own = bytes_of(&j, true);
    j.steps = 3;
    assert_ok(ctx, gy_job_train(&j));
    assert_true(bytes_of(&j, false) != shared);
    assert_true(bytes_of(&j, true) == own);
    gy_job_free(&j);
}

/* Stops after step 2 (in joint training) and 5 (in reset-tuning), goes on in a fresh job each time. */
static void resumed_run_is_bit_identical(void **state) {
    static const int64_t stops[] = {2, 5, 6};
    assert_resume_is_bit_identical(*state, "mindbridge", small, 3, stops);
}

/* The claim in short: the joint model beats chance by far on all subjects, and makes one brain's responses of
 * another's. */
static void short_training_decodes_every_subject(void **state) {
    static const char *const settings[] = {"steps=120", "newcomer_size=0", "trials=300", "tests=100", NULL};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    start_job(ctx, &j, "mindbridge", 100, settings);
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->evaluate(&j, &m));
    for (int k = 0; k < 3; k++) {
        char name[48];
        snprintf(name, sizeof name, "top1_of_50.subject%d", k);
        if (!(gy_metric_get(&m, name) > 0.15)) fail_msg("%s is %g, chance 0.02", name, gy_metric_get(&m, name));
    }
    if (!(gy_metric_get(&m, "synthesis_r") > 0.05)) fail_msg("synthesis_r is %g", gy_metric_get(&m, "synthesis_r"));
    gy_job_free(&j);
}

static void retrieval_is_perfect_on_the_targets_and_chance_on_noise(void **state) {
    enum { N = 400, D = 32 };
    gy_ctx *ctx = *state;
    static float target[N * D], noise[N * D];
    gy_rng r;
    gy_rng_init(&r, 1, "test");
    for (int i = 0; i < N * D; i++) target[i] = (float)gy_rng_normal(&r);
    for (int i = 0; i < N * D; i++) noise[i] = (float)gy_rng_normal(&r);
    assert_true(gy_retrieval_top1(ctx, target, target, N, D, 50, 20, 1) == 1.0);
    assert_close(gy_retrieval_top1(ctx, noise, target, N, D, 50, 100, 1), 0.02, 0.02);
    assert_true(isnan(gy_retrieval_top1(ctx, noise, target, 49, D, 50, 20, 1)));
    assert_close(gy_pearson(target, target, N, D), 1, 1e-12);
    assert_close(gy_pearson(noise, target, N, D), 0, 0.2);
}

/* ---- bad options ---- */

static void refused(gy_ctx *ctx, const char *setting, const char *message) {
    gy_job j;
    assert_message(ctx, gy_job_init(&j, ctx, gy_model_find("mindbridge"), NULL, &setting, 1), message);
    gy_error_clear(ctx);
}

static void bad_options_are_named(void **state) {
    gy_ctx *ctx = *state;
    refused(ctx, "subjects=0,1", "subjects='0,1' and voxels='380,390,400': expected two lists of the same length");
    refused(ctx, "subjects=0,one,2", "expected two lists");
    refused(ctx, "subjects=0,1,", "expected two lists");
    refused(ctx, "subjects=0,1,1", "subject 1 is there twice");
    refused(ctx, "newcomer=2", "subject 2 is there twice");
    refused(ctx, "voxels=380,1,400", "subject 1 with 1 voxels: expected 2 to 1000000 voxels");
    refused(ctx, "voxels=380,390,99999999999999999999", "expected 2 to 1000000 voxels");
    refused(ctx, "subject=7", "no subject '7'; there are 0,1,2 and the newcomer");
    refused(ctx, "image=100", "image=100, text=64: expected multiples of 64");
    refused(ctx, "adapt_trials=601", "adapt_trials=601 is more than trials=600");
    refused(ctx, "hiden=5", "did you mean 'hidden'?");
    gy_job j;
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("mindbridge"), NULL, NULL, 0));
    j.data_path = "somewhere";
    assert_message(ctx, gy_job_open(&j), "somewhere: mindbridge trains on its generated world only");
    gy_job_free(&j);
}

static void out_of_memory_while_opening_leaks_nothing(void **state) {
    assert_opening_survives_lack_of_memory(*state, "mindbridge", small, 39);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(paper_configuration_has_the_papers_parameters),
        TEST(values_and_a_step_match_pytorch),
        TEST(reset_tuning_changes_the_newcomer_alone),
        TEST(joint_training_leaves_the_newcomer_alone),
        TEST(resumed_run_is_bit_identical),
        TEST(short_training_decodes_every_subject),
        TEST(retrieval_is_perfect_on_the_targets_and_chance_on_noise),
        TEST(bad_options_are_named),
        TEST(out_of_memory_while_opening_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
