/* guided-attention-seg: its sizes, its values and gradients against PyTorch, what its attention does, resuming, real
 * volumes, bad input; and the metrics and readers that came with it. */
#include "../harness/golden_job.h"
#include "../harness/jobs.h"

#include "io/formats/nifti.h"
#include "io/files.h"
#include "models/blocks/metrics.h"
#include "models/imaging/guided-attention-seg.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const SLUG = "guided-attention-seg";

static const char *const small[] = {"size=32",  "channels=4", "stages=2", "batch=2",
                                    "train=12", "tests=4",    "steps=6",  NULL};

/* ---- sizes ---- */

/* ResNeXt-101 32x8d without its classifier has 86.74 million parameters, 6,272 fewer with one input channel; the
 * rest is 16.82 million. */
static void paper_configuration_has_the_papers_parameters(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find(SLUG), "paper", NULL, 0));
    gy_store_free(j.store);
    j.store = gy_store_new_dry(ctx);
    j.batch = 8;
    assert_ok(ctx, gy_job_compile_phase(&j, 0, true, &c));
    int64_t backbone = 0;
    for (int64_t i = 0; i < gy_store_count(j.store); i++) {
        const gy_state *s = gy_store_at(j.store, i);
        if (s->kind == GY_PARAM && strncmp(s->name, "resnext.", 8) == 0) backbone += gy_shape_count(s->value.shape);
    }
    assert_int_equal(backbone, 86742336 - 6272);
    assert_int_equal(gy_store_parameters(j.store), 103556063);
    gy_compiled_free(&c);
    gy_job_free(&j);
}

/* ---- against PyTorch ---- */

static void values_and_gradients_match_pytorch(void **state) {
    static const char *const settings[] = {"size=32", "channels=2", "query=1", "stages=2", "batch=2", NULL};
    static const char *const moved[] = {"semanticModule_1_1.enc1.encode.1.running_mean",
                                        "semanticModule_1_1.enc1.encode.1.running_var", "down1.1.running_mean",
                                        "down1.1.running_var"};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled run, step;
    gy_safetensors file;
    char key[96];
    make_job(ctx, &j, "guided-attention-seg", 1, settings);
    j.batch = 2;
    golden_file(ctx, "guided", &file);
    assert_ok(ctx, gy_job_compile_phase(&j, 0, false, &step));
    assert_ok(ctx, gy_job_compile(&j, 2, NULL, 0, &run));
    golden_load(ctx, &file, j.store);
    golden_feed(ctx, &file, run.plan);
    assert_ok(ctx, gy_plan_run(run.plan));
    gy_tensor logits = gy_plan_output(run.plan, "logits");
    golden_same(ctx, &file, "out.logits", &logits, 1e-5);
    golden_feed(ctx, &file, step.plan);
    assert_ok(ctx, gy_plan_run(step.plan));
    gy_tensor loss = gy_plan_output(step.plan, "loss");
    golden_same(ctx, &file, "out.loss", &loss, 1e-5);
    golden_adam_gradients(ctx, &file, j.store, 0.9, 1e-3);
    for (size_t i = 0; i < sizeof moved / sizeof *moved; i++) {
        snprintf(key, sizeof key, "out.%s", moved[i]);
        golden_same(ctx, &file, key, &gy_state_find(j.store, moved[i])->value, 1e-5);
    }
    gy_compiled_free(&run);
    gy_compiled_free(&step);
    gy_safetensors_close(&file);
    gy_job_free(&j);
}

/* ---- what attention does ---- */

/* Logits of one random picture with every gain of position ("pam") or channel attention set to `gamma`. */
static void logits_with(gy_ctx *ctx, const char *which, float gamma, float *out) {
    gy_job j;
    gy_compiled run;
    gy_rng r;
    make_job(ctx, &j, "guided-attention-seg", 7, small);
    assert_ok(ctx, gy_job_compile(&j, 1, NULL, 0, &run));
    for (int64_t i = 0; i < gy_store_count(j.store); i++) {
        gy_state *s = gy_store_at(j.store, i);
        if (strncmp(s->name, which, 3) == 0 && strstr(s->name, ".gamma")) *(float *)s->value.data = gamma;
    }
    gy_rng_init(&r, 3, "picture");
    float *x = gy_plan_input(run.plan, "image");
    for (int i = 0; i < 32 * 32; i++) x[i] = (float)gy_rng_normal(&r);
    assert_ok(ctx, gy_plan_run(run.plan));
    gy_tensor y = gy_plan_output(run.plan, "logits");
    memcpy(out, y.data, gy_tensor_bytes(&y));
    gy_compiled_free(&run);
    gy_job_free(&j);
}

static void attention_is_the_identity_until_its_gain_grows(void **state) {
    static const char *const without[] = {"size=32", "channels=4", "stages=2", "paths=semantic", NULL};
    static float zero[32 * 32 * 3], none[32 * 32 * 3], one[32 * 32 * 3];
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled run;
    gy_rng r;
    make_job(ctx, &j, "guided-attention-seg", 7, without); /* same seed and names: the same weights */
    assert_ok(ctx, gy_job_compile(&j, 1, NULL, 0, &run));
    gy_rng_init(&r, 3, "picture");
    float *x = gy_plan_input(run.plan, "image");
    for (int i = 0; i < 32 * 32; i++) x[i] = (float)gy_rng_normal(&r);
    assert_ok(ctx, gy_plan_run(run.plan));
    memcpy(none, gy_plan_output(run.plan, "logits").data, sizeof none);
    gy_compiled_free(&run);
    gy_job_free(&j);
    for (int which = 0; which < 2; which++) {
        const char *name = which ? "cam" : "pam";
        logits_with(ctx, name, 0, zero);
        logits_with(ctx, name, 1, one);
        double most = 0;
        for (int i = 0; i < 32 * 32 * 3; i++) {
            assert_close(zero[i], none[i], 1e-5);
            most = fmax(most, fabs((double)one[i] - none[i]));
        }
        if (!(most > 1e-4)) fail_msg("%s with gain 1 changes nothing", name);
    }
}

/* Rows of the position attention are weights over all pixels. */
static void position_map_is_a_distribution_over_all_pixels(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled run;
    gy_hook hook = {GY_GUIDED_MAP, GY_HOOK_READ, 0};
    make_job(ctx, &j, "guided-attention-seg", 7, small);
    assert_ok(ctx, gy_job_compile(&j, 1, &hook, 1, &run));
    float *x = gy_plan_input(run.plan, "image");
    for (int i = 0; i < 32 * 32; i++) x[i] = (float)(i % 7) / 7;
    assert_ok(ctx, gy_plan_run(run.plan));
    gy_tensor map = gy_plan_output(run.plan, GY_GUIDED_MAP);
    assert_int_equal(gy_shape_count(map.shape), 64 * 64);
    for (int q = 0; q < 64; q++) {
        double sum = 0;
        for (int k = 0; k < 64; k++) sum += gy_tensor_get(&map, q * 64 + k);
        assert_close(sum, 1, 1e-5);
    }
    gy_compiled_free(&run);
    gy_job_free(&j);
}

/* ---- training ---- */

static void resumed_run_is_bit_identical(void **state) {
    static const int64_t stops[] = {3, 6};
    assert_resume_is_bit_identical(*state, "guided-attention-seg", small, 2, stops);
}

static void short_training_finds_the_discs(void **state) {
    static const char *const settings[] = {"size=32",  "channels=4", "stages=2", "batch=8",
                                           "train=64", "tests=16",   "steps=40", NULL};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    make_job(ctx, &j, "guided-attention-seg", 3, settings);
    assert_ok(ctx, gy_job_open(&j));
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->evaluate(&j, &m));
    const lab *d = j.data;
    gy_overlap o = {0}; /* discs of either class; everything a disc would give 0.17 */
    for (int64_t i = 0; i < 16 * 32 * 32; i++) {
        uint8_t found = d->predicted[i] != 0, truth = d->label[64 * 32 * 32 + i] != 0;
        gy_overlap_add(&o, &found, &truth, 1, 1);
    }
    if (!(gy_dice(&o) > 0.4)) fail_msg("Dice of discs against background is %g", gy_dice(&o));
    gy_job_free(&j);
}

/* ---- real volumes ---- */

/* A brain-like volume of 24 slices of 20 x 16 with three labels 0, 63, 126, as NAME.nii and NAME_labels.nii. */
static void write_pair(gy_ctx *ctx, const char *dir, const char *name, double bad) {
    gy_tensor x, y;
    char path[256];
    assert_ok(ctx, gy_tensor_new(ctx, &x, GY_F32, GY_S(24, 20, 16)));
    assert_ok(ctx, gy_tensor_new(ctx, &y, GY_F32, GY_S(24, 20, 16)));
    for (int64_t i = 0; i < 24 * 20 * 16; i++) {
        double z = (double)(i / 320) - 11.5, v = (double)(i / 16 % 20) - 9.5, u = (double)(i % 16) - 7.5;
        double r = sqrt(z * z / 121 + v * v / 64 + u * u / 36);
        gy_tensor_set(&y, i, r < 0.5 ? 126 : r < 1 ? 63 : 0);
        gy_tensor_set(&x, i, (r < 0.5 ? 900 : r < 1 ? 500 : 20) + (double)(i % 5));
    }
    if (bad != 0) gy_tensor_set(&y, 7, bad);
    snprintf(path, sizeof path, "%s/%s.nii", dir, name);
    assert_ok(ctx, gy_nifti_write(ctx, path, &x, (gy_nifti_write_args){0}));
    snprintf(path, sizeof path, "%s/%s_labels.nii", dir, name);
    assert_ok(ctx, gy_nifti_write(ctx, path, &y, (gy_nifti_write_args){0}));
    gy_tensor_free(ctx, &x);
    gy_tensor_free(ctx, &y);
}

static void clear(gy_ctx *ctx, const char *dir) {
    char **names, path[512];
    int64_t n;
    assert_ok(ctx, gy_list_dir(ctx, dir, &names, &n));
    for (int64_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
        gy_free(ctx, names[i]);
    }
    gy_free(ctx, names);
    rmdir(dir);
}

static void labelled_volumes_are_trained_on_and_measured_in_mm(void **state) {
    static const char *const settings[] = {"size=32",   "channels=4", "stages=2", "batch=4",
                                           "augment=1", "steps=60",   NULL};
    char dir[] = "/tmp/gyrus-guided-XXXXXX";
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    assert_non_null(mkdtemp(dir));
    write_pair(ctx, dir, "a", 0);
    make_job(ctx, &j, "guided-attention-seg", 2, settings);
    j.data_path = dir;
    assert_ok(ctx, gy_job_open(&j));
    const lab *d = j.data;
    assert_int_equal(d->tests, 4); /* two runs of a tenth of 22 slices */
    assert_int_equal(d->stacks, 2);
    assert_int_equal(d->n, 22 - 4 - 8);
    assert_close(d->stack[0].spacing[1], 20.0 / 32, 1e-12); /* 20 mm across 32 pixels */
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->evaluate(&j, &m));
    if (!(gy_metric_get(&m, "dice.mean") > 0.6)) fail_msg("dice.mean is %g", gy_metric_get(&m, "dice.mean"));
    assert_true(gy_metric_get(&m, "surface_distance.1") < 3);
    gy_job_free(&j);
    clear(ctx, dir);
}

static void refuse(gy_ctx *ctx, const char *path, const char *message) {
    gy_job j;
    make_job(ctx, &j, "guided-attention-seg", 2, (const char *const[]){"size=32", NULL});
    j.data_path = path;
    assert_message(ctx, gy_job_open(&j), message);
    gy_error_clear(ctx);
    gy_job_free(&j);
}

static void bad_data_and_options_are_named(void **state) {
    char dir[] = "/tmp/gyrus-guided-XXXXXX", path[128];
    gy_ctx *ctx = *state;
    assert_non_null(mkdtemp(dir));
    refuse(ctx, dir, "no image NAME.nii or NAME.nii.gz with labels");
    refuse(ctx, "/tmp", "no image");
    refuse(ctx, "nowhere.nii", "expected a folder or 'image.nii.gz,labels.nii.gz'");
    refuse(ctx, "nowhere.nii,labels.nii", "nowhere.nii");
    write_pair(ctx, dir, "a", 0.5);
    refuse(ctx, dir, "labels are whole numbers");
    write_pair(ctx, dir, "a", 200);
    refuse(ctx, dir, "4 different labels, the model has 3 classes; use --set classes=4");
    snprintf(path, sizeof path, "%s/a_labels.nii", dir);
    gy_tensor t;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(24, 20, 15)));
    assert_ok(ctx, gy_nifti_write(ctx, path, &t, (gy_nifti_write_args){0}));
    gy_tensor_free(ctx, &t);
    refuse(ctx, dir, "a_labels.nii");
    clear(ctx, dir);
    const char *const wrong[][2] = {{"size=40", "size=40: expected a multiple of 16"},
                                    {"backbone=vgg", "backbone='vgg': expected resnext or plain"},
                                    {"backbone=resnext", "stages=3: resnext has 4"},
                                    {"fuse=2", "fuse=2: expected 1 or 3"}};
    for (int i = 0; i < 4; i++) {
        gy_job j;
        assert_message(ctx, gy_job_init(&j, ctx, gy_model_find(SLUG), NULL, wrong[i], 1), wrong[i][1]);
        gy_error_clear(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(paper_configuration_has_the_papers_parameters),
        TEST(values_and_gradients_match_pytorch),
        TEST(attention_is_the_identity_until_its_gain_grows),
        TEST(position_map_is_a_distribution_over_all_pixels),
        TEST(resumed_run_is_bit_identical),
        TEST(short_training_finds_the_discs),
        TEST(labelled_volumes_are_trained_on_and_measured_in_mm),
        TEST(bad_data_and_options_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
