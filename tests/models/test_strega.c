/* strega: its sizes, its values against PyTorch, thresholds, components and tissues on cases with known answers,
 * resuming, real volumes, bad input. */
#include "../harness/golden_job.h"
#include "../harness/jobs.h"

#include "io/files.h"
#include "io/formats/nifti.h"
#include "models/blocks/morphology.h"
#include "models/blocks/tissue.h"
#include "models/imaging/strega.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- sizes ---- */

/* Two full-map kernels of 16 x 16: 1024 -> 2048 and 1024 -> 1024 hold nearly all; the card's 0.81 G. */
static void paper_configuration_has_the_papers_parameters(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    int64_t enc = 9 * (16 + 16 * 64 + 64 * 256 + 256 * 1024), dec = 16 * (1024 * 256 + 256 * 64 + 64 * 16 + 16);
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("strega"), "paper", NULL, 0));
    gy_store_free(j.store);
    j.store = gy_store_new_dry(ctx);
    j.batch = 1;
    assert_ok(ctx, gy_job_compile_phase(&j, 0, true, &c));
    assert_int_equal(gy_store_parameters(j.store), 256 * 1024 * (2048 + 1024) + enc + dec + 8);
    gy_compiled_free(&c);
    gy_job_free(&j);
}

/* ---- against PyTorch ---- */

static gy_t constant(gy_ctx *ctx, const gy_safetensors *file, gy_graph *g, const char *key) {
    gy_tensor t;
    assert_ok(ctx, gy_safetensors_get(file, key, &t));
    gy_t y = gy_const(g, &t);
    gy_tensor_free(ctx, &t);
    return y;
}

static void values_and_gradients_match_pytorch(void **state) {
    static const char *const settings[] = {"size=16", "maps=2,4", "latent=3", NULL};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled run;
    gy_safetensors file;
    make_job(ctx, &j, "strega", 1, settings);
    golden_file(ctx, "strega", &file);
    assert_ok(ctx, gy_job_compile(&j, 3, NULL, 0, &run));
    golden_load(ctx, &file, j.store);
    golden_feed(ctx, &file, run.plan);
    assert_ok(ctx, gy_plan_run(run.plan));
    gy_tensor z = gy_plan_output(run.plan, "latents"), y = gy_plan_output(run.plan, "reconstruction");
    golden_same(ctx, &file, "out.latents", &z, 1e-5);
    golden_same(ctx, &file, "out.reconstruction", &y, 1e-5);
    gy_compiled_free(&run);

    gy_graph *g = gy_graph_new(ctx);
    gy_mod m = gy_mod_make(g, j.store, 1, true);
    gy_t x = constant(ctx, &file, g, "in.image"), blotted = constant(ctx, &file, g, "in.blotted"), kl;
    gy_t rebuilt = gy_strega_redraw(&m, j.cfg, x, x, NULL, &kl);
    gy_t filled = gy_strega_redraw(&m, j.cfg, blotted, x, NULL, NULL);
    gy_t loss = gy_scale(gy_add(gy_add(gy_scale(kl, 0.01), rebuilt), filled), 0.5);
    gy_output(kl, "kl");
    gy_output(loss, "loss");
    gy_optim_adam(g, j.store, loss, 0);
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_non_null(p);
    *(double *)gy_plan_input(p, "lr") = 0;
    assert_ok(ctx, gy_plan_run(p));
    y = gy_plan_output(p, "kl");
    golden_same(ctx, &file, "out.kl", &y, 1e-5);
    y = gy_plan_output(p, "loss");
    golden_same(ctx, &file, "out.loss", &y, 1e-5);
    golden_adam_gradients(ctx, &file, j.store, 0.9, 1e-3);
    gy_plan_free(p);
    gy_graph_free(g);
    gy_safetensors_close(&file);
    gy_job_free(&j);
}

/* ---- post-processing ---- */

static void otsu_splits_two_levels_and_small_spots_vanish(void **state) {
    gy_ctx *ctx = *state;
    float x[100];
    for (int i = 0; i < 100; i++) x[i] = i % 10 < 3 ? 0.8f + 0.001f * (float)i : 0.1f + 0.001f * (float)i;
    double at = gy_otsu(x, 100);
    assert_true(at > 0.199 && at <= 0.8);
    assert_true(gy_otsu((float[]){2, 2, 2}, 3) == 2);
    /* a spot of 3, one of 5 that touches it only by a corner, and one of 1 */
    uint8_t mask[5 * 6] = {1, 1, 0, 0, 0, 1, //
                           1, 0, 0, 0, 0, 0, //
                           0, 1, 1, 1, 0, 0, //
                           0, 1, 0, 1, 0, 0, //
                           0, 0, 0, 0, 0, 0};
    int32_t label[30];
    int64_t count, dim[3] = {1, 5, 6};
    assert_ok(ctx, gy_components(ctx, mask, dim, label, &count));
    assert_int_equal(count, 3);
    assert_true(label[0] == 1 && label[5] == 2 && label[13] == 3 && label[6] == 1 && label[21] == 3);
    assert_ok(ctx, gy_area_opening(ctx, mask, dim, 4));
    int left = 0;
    for (int i = 0; i < 30; i++) left += mask[i];
    assert_int_equal(left, 5);
    assert_true(mask[13] && !mask[0] && !mask[5]);
}

static void only_what_is_brighter_and_large_is_found(void **state) {
    gy_ctx *ctx = *state;
    config c = {.size = 16, .saturate = 0.2, .opening = 6};
    float excess[256] = {0};
    uint8_t brain[256], found[256];
    memset(brain, 1, sizeof brain);
    for (int y = 2; y < 6; y++)
        for (int x = 2; x < 6; x++) excess[y * 16 + x] = 0.3f; /* brighter, 16 pixels */
    for (int y = 9; y < 13; y++)
        for (int x = 9; x < 13; x++) excess[y * 16 + x] = -0.9f; /* darker */
    excess[14 * 16 + 1] = 0.9f;                                  /* brighter, 1 pixel */
    brain[2 * 16 + 2] = 0;
    assert_ok(ctx, gy_strega_threshold(ctx, &c, excess, brain, true, found));
    int n = 0;
    for (int i = 0; i < 256; i++) n += found[i];
    assert_int_equal(n, 15);
    assert_true(!found[2 * 16 + 2] && found[3 * 16 + 3]);
    assert_ok(ctx, gy_strega_threshold(ctx, &c, excess, brain, false, found));
    assert_true(found[14 * 16 + 1]); /* Otsu alone keeps the spot */
}

/* ---- the tissue step ---- */

static void tissues_are_found_under_a_bias_field_in_either_contrast(void **state) {
    enum { SIDE = 40, N = SIDE * SIDE };
    static float image[N];
    static uint8_t truth[N], brain[N], found[N];
    gy_ctx *ctx = *state;
    gy_rng r;
    gy_rng_init(&r, 1, "tissue");
    for (int inverted = 0; inverted < 2; inverted++) {
        int right = 0;
        for (int i = 0; i < N; i++) {
            double y = (double)(i / SIDE) / SIDE, x = (double)(i % SIDE) / SIDE;
            truth[i] = (uint8_t)(1 + (i / SIDE / 5 + i % SIDE / 5) % 3);
            brain[i] = i % SIDE > 1;
            double level = inverted ? 1.0 - 0.25 * truth[i] : 0.25 * truth[i];
            image[i] =
                (float)(level * exp(0.3 * (x - 0.5) + 0.2 * (y - 0.5) * (y - 0.5)) * (1 + 0.03 * gy_rng_normal(&r)));
        }
        double level[3];
        gy_tissue_args a = {.dim = {1, SIDE, SIDE},
                            .image = image,
                            .brain = brain,
                            .classes = 3,
                            .iterations = 20,
                            .inverted = inverted};
        assert_ok(ctx, gy_tissue_segment(ctx, &a, found, level));
        for (int i = 0; i < N; i++) right += found[i] == (brain[i] ? truth[i] : 0);
        if (right < N * 99 / 100) fail_msg("%d of %d pixels are right", right, N);
        assert_true((level[0] < level[2]) == !inverted);
    }
    memset(brain, 0, sizeof brain);
    gy_tissue_args none = {.dim = {1, SIDE, SIDE}, .image = image, .brain = brain, .classes = 3, .iterations = 2};
    assert_message(ctx, gy_tissue_segment(ctx, &none, found, NULL), "3 classes for 0 voxels of brain");
    gy_error_clear(ctx);
}

/* ---- training ---- */

static const char *const small[] = {"size=32", "maps=4,8", "latent=8",  "batch=4", "train=16",
                                    "tests=3", "steps=60", "opening=5", NULL};

static void resumed_run_is_bit_identical(void **state) {
    static const int64_t stops[] = {2, 6};
    assert_resume_is_bit_identical(*state, "strega", small, 2, stops);
}

static double last_loss;
static bool keep_loss(void *user, const gy_job *j, const gy_metrics *logged) {
    (void)user;
    (void)j;
    last_loss = gy_metric_get(logged, "loss");
    return true;
}

static void short_training_lowers_the_loss(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    make_job(ctx, &j, "strega", 3, small);
    assert_ok(ctx, gy_job_open(&j));
    j.sink.step = keep_loss;
    j.steps = 1;
    assert_ok(ctx, gy_job_train(&j));
    double first = last_loss;
    j.steps = 60;
    assert_ok(ctx, gy_job_train(&j));
    if (!(last_loss < 0.6 * first)) fail_msg("loss %g after %g", last_loss, first);
    gy_job_free(&j);
}

/* ---- real volumes and bad input ---- */

static void write_brain(gy_ctx *ctx, const char *dir, int64_t slices) {
    char path[256];
    gy_tensor x, y;
    gy_rng r;
    gy_rng_init(&r, 2, "brain");
    assert_ok(ctx, gy_tensor_new(ctx, &x, GY_F32, GY_S(slices, 32, 32)));
    assert_ok(ctx, gy_tensor_new(ctx, &y, GY_F32, GY_S(slices, 32, 32)));
    for (int64_t i = 0; i < slices * 1024; i++) {
        double d = hypot((double)(i / 32 % 32) - 15.5, (double)(i % 32) - 15.5);
        int tissue = d < 10 ? 3 : d < 12.5 ? 2 : d < 15 ? 1 : 0;
        gy_tensor_set(&y, i, tissue ? 1 : 0);
        gy_tensor_set(&x, i, 300 * tissue + 10 * gy_rng_normal(&r) + (tissue ? 0 : 50));
    }
    snprintf(path, sizeof path, "%s/a.nii", dir);
    assert_ok(ctx, gy_nifti_write(ctx, path, &x, (gy_nifti_write_args){0}));
    snprintf(path, sizeof path, "%s/a_mask.nii", dir);
    assert_ok(ctx, gy_nifti_write(ctx, path, &y, (gy_nifti_write_args){0}));
    gy_tensor_free(ctx, &x);
    gy_tensor_free(ctx, &y);
}

static void lesions_are_painted_into_held_out_slices(void **state) {
    char dir[] = "/tmp/gyrus-strega-XXXXXX", path[256];
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    assert_non_null(mkdtemp(dir));
    write_brain(ctx, dir, 20);
    make_job(ctx, &j, "strega", 1, small);
    j.data_path = dir;
    assert_ok(ctx, gy_job_open(&j));
    const lab *d = j.data;
    assert_int_equal(d->n, 20 - 4 - 8);
    assert_int_equal(d->test[0].n, 4);
    assert_int_equal(d->test[1].n, 0);
    for (int64_t i = 0; i < 4 * 1024; i++)
        if (d->test[0].lesion[i]) assert_true(d->test[0].x[i] < 0.5); /* was white, 1; is fluid, 1/3 */
    j.steps = 20;
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->evaluate(&j, &m));
    assert_true(gy_metric_get(&m, "auc") > 0.5);
    assert_true(isnan(gy_metric_get(&m, "dice.shifted")));
    gy_job_free(&j);
    write_brain(ctx, dir, 3); /* too few slices for tests */
    make_job(ctx, &j, "strega", 1, small);
    j.data_path = dir;
    assert_message(ctx, gy_job_open(&j), "expected some of both");
    gy_error_clear(ctx);
    gy_job_free(&j);
    snprintf(path, sizeof path, "%s/a_mask.nii", dir);
    unlink(path);
    make_job(ctx, &j, "strega", 1, small);
    j.data_path = dir;
    assert_message(ctx, gy_job_open(&j), "no image NAME.nii or NAME.nii.gz with labels");
    gy_error_clear(ctx);
    gy_job_free(&j);
    snprintf(path, sizeof path, "%s/a.nii", dir);
    unlink(path);
    rmdir(dir);
}

static void bad_options_are_named(void **state) {
    gy_ctx *ctx = *state;
    static const char *const wrong[][2] = {{"maps=8,", "maps='8,': expected 1 to 6 numbers"},
                                           {"maps=0", "expected 1 to 6 numbers"},
                                           {"size=20", "size=20: expected a multiple of 8"},
                                           {"input=t1", "input='t1': expected tissue or raw"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        gy_job j;
        assert_message(ctx, gy_job_init(&j, ctx, gy_model_find("strega"), NULL, wrong[i], 1), wrong[i][1]);
        gy_error_clear(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(paper_configuration_has_the_papers_parameters),
        TEST(values_and_gradients_match_pytorch),
        TEST(otsu_splits_two_levels_and_small_spots_vanish),
        TEST(only_what_is_brighter_and_large_is_found),
        TEST(tissues_are_found_under_a_bias_field_in_either_contrast),
        TEST(resumed_run_is_bit_identical),
        TEST(short_training_lowers_the_loss),
        TEST(lesions_are_painted_into_held_out_slices),
        TEST(bad_options_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
