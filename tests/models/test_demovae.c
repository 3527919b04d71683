/* demovae: its sizes, its losses, gradients and guides against PyTorch and scikit-learn, generating, resuming, real
 * subjects, bad input. */
#include "../harness/golden_job.h"
#include "../harness/jobs.h"

#include "io/files.h"
#include "io/formats/npy.h"
#include "models/imaging/demovae.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- sizes ---- */

/* 34716 x 1000 twice, 1000 x 60, 65 x 1000, and biases. */
static void paper_configuration_has_the_papers_parameters(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("demovae"), "paper", NULL, 0));
    gy_store_free(j.store);
    j.store = gy_store_new_dry(ctx);
    j.batch = 1000;
    assert_ok(ctx, gy_job_compile_phase(&j, 0, true, &c));
    assert_int_equal(gy_store_parameters(j.store), 2 * 34716000 + 34716 + 1000 + 60060 + 65000 + 1000);
    gy_compiled_free(&c);
    gy_job_free(&j);
}

/* ---- against PyTorch and scikit-learn ---- */

static void values_and_gradients_match_pytorch(void **state) {
    static const char *const settings[] = {"features=30", "hidden=16", "latent=5", "guide=0", "generated=4", NULL};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled run, step;
    gy_safetensors file;
    make_job(ctx, &j, "demovae", 1, settings);
    j.batch = 40;
    golden_file(ctx, "demovae", &file);
    assert_ok(ctx, gy_job_compile_phase(&j, 0, false, &step));
    assert_ok(ctx, gy_job_compile(&j, 40, NULL, 0, &run));
    golden_load(ctx, &file, j.store);
    golden_feed(ctx, &file, run.plan);
    assert_ok(ctx, gy_plan_run(run.plan));
    gy_tensor z = gy_plan_output(run.plan, "latents"), y = gy_plan_output(run.plan, "reconstruction");
    golden_same(ctx, &file, "out.latents", &z, 1e-5);
    golden_same(ctx, &file, "out.reconstruction", &y, 1e-5);
    golden_feed(ctx, &file, step.plan);
    float *wanted = gy_plan_input(step.plan, "wanted"); /* any: the guide has weight 0 here, but no slope at error 0 */
    for (int i = 0; i < 4 * 3; i++) wanted[i] = 1;
    assert_ok(ctx, gy_plan_run(step.plan));
    gy_tensor loss = gy_plan_output(step.plan, "loss");
    golden_same(ctx, &file, "out.loss", &loss, 1e-5);
    golden_adam_gradients(ctx, &file, j.store, 0.9, 1e-3);
    gy_compiled_free(&run);
    gy_compiled_free(&step);
    gy_safetensors_close(&file);
    gy_job_free(&j);
}

static void guides_match_scikit_learn(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_safetensors file;
    gy_tensor x, demo;
    float weight[30 * 3], bias[3];
    make_job(ctx, &j, "demovae", 1, (const char *const[]){"features=30", NULL});
    golden_file(ctx, "demovae", &file);
    assert_ok(ctx, gy_safetensors_get(&file, "in.x", &x));
    assert_ok(ctx, gy_safetensors_get(&file, "in.demographics", &demo));
    lab d = {.n = 40, .d = 30, .q = 3, .x = x.data, .demo = demo.data, .weight = weight, .bias = bias};
    assert_int_equal(gy_demovae_columns("age,sex:2", d.col), 3);
    assert_ok(ctx, gy_demovae_guides(&j, &d));
    gy_tensor w = {.data = weight, .dtype = GY_F32, .shape = GY_S(30, 3)},
              b = {.data = bias, .dtype = GY_F32, .shape = GY_S(3)};
    golden_same(ctx, &file, "guide.weight", &w, 1e-4);
    golden_same(ctx, &file, "guide.bias", &b, 1e-4);
    gy_tensor_free(ctx, &x);
    gy_tensor_free(ctx, &demo);
    gy_safetensors_close(&file);
    gy_job_free(&j);
}

static gy_t constant(gy_ctx *ctx, const gy_safetensors *file, gy_graph *g, const char *key) {
    gy_tensor t;
    assert_ok(ctx, gy_safetensors_get(file, key, &t));
    gy_t y = gy_const(g, &t);
    gy_tensor_free(ctx, &t);
    return y;
}

static void guide_loss_matches_pytorch_with_its_running_sum(void **state) {
    gy_ctx *ctx = *state;
    gy_safetensors file;
    column col[MAX_COLUMNS];
    gy_graph *g = gy_graph_new(ctx);
    golden_file(ctx, "demovae", &file);
    gy_demovae_columns("age,sex:2", col);
    gy_t x = constant(ctx, &file, g, "guide.seen"), wanted = constant(ctx, &file, g, "guide.wanted");
    gy_t w = constant(ctx, &file, g, "guide.weight"), b = constant(ctx, &file, g, "guide.bias");
    gy_output(gy_demovae_guide(col, true, x, wanted, w, b), "running");
    gy_output(gy_demovae_guide(col, false, x, wanted, w, b), "once");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_non_null(p);
    assert_ok(ctx, gy_plan_run(p));
    gy_tensor loss = gy_plan_output(p, "running");
    golden_same(ctx, &file, "guide.loss", &loss, 1e-5);
    assert_true(gy_plan_scalar(p, "once") < gy_plan_scalar(p, "running"));
    gy_plan_free(p);
    gy_graph_free(g);
    gy_safetensors_close(&file);
}

/* ---- training and generating ---- */

static const char *const small[] = {"features=45", "hidden=24", "latent=4", "train=120", "tests=60", "steps=300", NULL};

static void resumed_run_is_bit_identical(void **state) {
    static const int64_t stops[] = {3, 8};
    assert_resume_is_bit_identical(*state, "demovae", small, 2, stops);
}

static void latents_lose_age_and_groups_are_generated(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    gy_tensor pictures;
    make_job(ctx, &j, "demovae", 2, small);
    assert_ok(ctx, gy_job_open(&j));
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->evaluate(&j, &m));
    assert_true(gy_metric_get(&m, "r.raw.age") > 0.95);
    assert_true(fabs(gy_metric_get(&m, "r.latent.age")) < 0.6);
    if (!(gy_metric_get(&m, "group_difference_r") > 0.6))
        fail_msg("group_difference_r is %g", gy_metric_get(&m, "group_difference_r"));
    assert_ok(ctx, j.def->sample(&j, 3, &pictures));
    assert_true(gy_shape_equal(pictures.shape, GY_S(3, 10, 10, 1)));
    for (int i = 0; i < 10; i++)
        for (int k = 0; k < 10; k++)
            assert_true(gy_tensor_get(&pictures, i * 10 + k) == gy_tensor_get(&pictures, k * 10 + i));
    assert_true(gy_tensor_get(&pictures, 0) == 1);
    gy_tensor_free(ctx, &pictures);
    gy_job_free(&j);
}

/* ---- real subjects ---- */

static void write_subjects(gy_ctx *ctx, const char *dir, int64_t rows, const char *odd) {
    char path[256], text[4096] = "id,age,sex,score\n";
    gy_tensor x;
    gy_rng r;
    gy_rng_init(&r, 4, "subjects");
    assert_ok(ctx, gy_tensor_new(ctx, &x, GY_F32, GY_S(rows, 6)));
    for (int64_t i = 0; i < rows; i++) {
        double age = 20 + 40 * gy_rng_uniform(&r), sex = (double)(i % 2);
        for (int k = 0; k < 6; k++)
            gy_tensor_set(&x, i * 6 + k, 0.01 * age * (k + 1) + sex * (k == 2) + 0.1 * gy_rng_normal(&r));
        snprintf(text + strlen(text), sizeof text - strlen(text), "s%d,%g,%s,%g\n", (int)i, age,
                 i == 3 && odd ? odd
                 : sex > 0     ? "F"
                               : "M",
                 2 * age);
    }
    snprintf(path, sizeof path, "%s/features.npy", dir);
    assert_ok(ctx, gy_npy_write(ctx, path, &x));
    snprintf(path, sizeof path, "%s/demographics.csv", dir);
    assert_ok(ctx, gy_write_file(ctx, path, text, strlen(text)));
    gy_tensor_free(ctx, &x);
}

static void clear(const char *dir) {
    char path[256];
    snprintf(path, sizeof path, "%s/features.npy", dir);
    unlink(path);
    snprintf(path, sizeof path, "%s/demographics.csv", dir);
    unlink(path);
    rmdir(dir);
}

static void a_folder_of_subjects_is_read(void **state) {
    static const char *const settings[] = {"features=6", "latent=3", "hidden=8", "steps=20", NULL};
    char dir[] = "/tmp/gyrus-demovae-XXXXXX";
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    assert_non_null(mkdtemp(dir));
    write_subjects(ctx, dir, 60, NULL);
    make_job(ctx, &j, "demovae", 1, settings);
    j.data_path = dir;
    assert_ok(ctx, gy_job_open(&j));
    const lab *d = j.data;
    assert_int_equal(d->n, 48);
    assert_int_equal(d->tests, 12);
    double mean = 0;
    for (int i = 0; i < 48; i++) {
        mean += d->demo[3 * i] / 48;
        assert_true(d->demo[3 * i + 1] + d->demo[3 * i + 2] == 1);
    }
    assert_close(mean, 0, 1e-5);
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->evaluate(&j, &m));
    assert_true(gy_metric_get(&m, "r.raw.score") > 0.9); /* twice the age; `id` is no number and left out */
    gy_job_free(&j);
    clear(dir);
}

static void refuse(gy_ctx *ctx, const char *path, const char *setting, const char *message) {
    gy_job j;
    make_job(ctx, &j, "demovae", 2, (const char *const[]){setting, NULL});
    j.data_path = path;
    assert_message(ctx, gy_job_open(&j), message);
    gy_error_clear(ctx);
    gy_job_free(&j);
}

static void bad_subjects_and_options_are_named(void **state) {
    char dir[] = "/tmp/gyrus-demovae-XXXXXX";
    gy_ctx *ctx = *state;
    gy_job j;
    assert_non_null(mkdtemp(dir));
    refuse(ctx, dir, "features=6", "features.npy");
    write_subjects(ctx, dir, 60, NULL);
    refuse(ctx, dir, "features=7", "expected [subjects, 7] (see --set features=), found 6");
    write_subjects(ctx, dir, 60, "X");
    refuse(ctx, dir, "features=6", "'sex' has a value missing or more than 2 different ones");
    write_subjects(ctx, dir, 60, "n/a");
    refuse(ctx, dir, "features=6", "line 5: 'sex' has a value missing");
    write_subjects(ctx, dir, 8, NULL);
    refuse(ctx, dir, "features=6", "8 subjects and 8 rows of demographics; expected as many, at least 10");
    clear(dir);
    static const char *const wrong[] = {"columns=age,", "columns=sex:1", "columns=", "columns=sex:2x", "columns=a:99"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_message(ctx, gy_job_init(&j, ctx, gy_model_find("demovae"), NULL, &wrong[i], 1),
                       "expected names such as age,sex:2");
        gy_error_clear(ctx);
    }
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("demovae"), NULL, (const char *const[]){"columns=iq"}, 1));
    assert_message(ctx, gy_job_open(&j), "the generated subjects have age,sex:2");
    gy_job_free(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(paper_configuration_has_the_papers_parameters),
        TEST(values_and_gradients_match_pytorch),
        TEST(guides_match_scikit_learn),
        TEST(guide_loss_matches_pytorch_with_its_running_sum),
        TEST(resumed_run_is_bit_identical),
        TEST(latents_lose_age_and_groups_are_generated),
        TEST(a_folder_of_subjects_is_read),
        TEST(bad_subjects_and_options_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
