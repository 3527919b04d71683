/* medforj: sizes, MONAI's answers, phantoms and their volumes, crops, augmentation, training, files, bad input. The
 * four parametrisations' common trajectory is in test_sampler.c. */
#include "../harness/jobs.h"

#include "core/gyrus.h"
#include "io/formats/nifti.h"
#include "models/imaging/medforj.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const small[] = {"depth=6", "height=6",  "width=8",    "levels=2",  "batch=4", "steps=12",
                                    "lr=0.01", "volumes=6", "sampling=2", "samples=4", NULL};

static void init(gy_ctx *ctx, gy_job *j, const char *const *settings) {
    make_job(ctx, j, "medforj", 4, settings);
}

static void start(gy_ctx *ctx, gy_job *j, const char *const *settings) {
    init(ctx, j, settings);
    assert_ok(ctx, gy_job_open(j));
}

static void paper_configuration_has_the_papers_parameters(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("medforj"), "paper", NULL, 0));
    gy_store_free(j.store);
    j.store = gy_store_new_dry(ctx);
    j.batch = 1;
    assert_ok(ctx, gy_job_compile_phase(&j, 0, true, &c));
    assert_int_equal(gy_store_parameters(j.store), 41245217); /* 41.25 million */
    assert_true(gy_state_find(j.store, "down_blocks.4.attentions.1.attn.to_q.weight") != NULL);
    assert_true(gy_state_find(j.store, "up_blocks.0.upsampler.postconv.conv.weight") != NULL);
    assert_true(gy_state_find(j.store, "middle_block.resnet_2.norm1.weight") != NULL);
    gy_compiled_free(&c);
    gy_job_free(&j);
}

/* Volumes of ellipsoids: 4/3 pi r^3 of the mean radii, to the sampling of 512 phantoms. */
static void phantoms_have_the_volumes_that_were_asked_for(void **state) {
    gy_job j;
    static const char *const whole[] = {"batch=2", NULL};
    start(*state, &j, whole);
    float v[1728], again[1728];
    double inner = 0, head = 0, square = 0;
    for (int64_t i = 0; i < 300; i++) {
        double n = 0;
        gy_medforj_volume(&j, true, i, v);
        for (int k = 0; k < 1728; k++) {
            assert_true(v[k] >= -1 && v[k] <= 1);
            n += v[k] > 0.5f;
            head += (v[k] > -0.5f) / 300.0;
        }
        inner += n / 300;
        square += n * n / 300;
    }
    assert_true(fabs(inner - 4.18879 * 8) < 1.5);
    assert_true(fabs(head - 4.18879 * 4.2 * 4.2 * 4.2) < 8);
    assert_true(sqrt(square - inner * inner) > 5); /* they differ */
    gy_medforj_volume(&j, true, 299, again);
    assert_memory_equal(v, again, sizeof v);
    gy_medforj_volume(&j, false, 299, again);
    assert_memory_not_equal(v, again, sizeof v);
    gy_job_free(&j);
}

static void ks_is_the_largest_gap(void **state) {
    (void)state;
    double a[] = {3, 1, 2, 4}, b[] = {12, 11}, c[] = {1, 2, 3, 4}, d[] = {2, 2, 9, 9};
    assert_close(gy_medforj_ks(a, 4, b, 2), 1, 1e-15);
    assert_close(gy_medforj_ks(a, 4, c, 4), 0, 1e-15);
    assert_close(gy_medforj_ks(c, 4, d, 4), 0.5, 1e-15); /* at 4: 1 against 1/2 */
}

/* A flip of 1 mirrors the width; turns by 0 degrees and shifts by 0 change nothing. */
static void augmentation_moves_what_it_should(void **state) {
    gy_ctx *ctx = *state;
    static const char *const plain[] = {"depth=6", "height=6", "width=8", "levels=2", "batch=2", "volumes=1", NULL};
    static const char *const flip[] = {"depth=6", "height=6",  "width=8", "levels=2",
                                       "batch=2", "volumes=1", "flip=1",  NULL};
    static const char *const still[] = {"depth=6",   "height=6", "width=8",   "levels=2", "batch=2",
                                        "volumes=1", "affine=1", "degrees=0", NULL};
    static const char *const turn[] = {"depth=6",   "height=6", "width=8",    "levels=2", "batch=2",
                                       "volumes=1", "affine=1", "degrees=20", NULL};
    const char *const *all[] = {plain, flip, still, turn};
    float v[4][288];
    for (int k = 0; k < 4; k++) {
        gy_job j;
        gy_compiled c;
        start(ctx, &j, all[k]);
        assert_ok(ctx, gy_job_compile_phase(&j, 0, false, &c));
        assert_ok(ctx, gy_medforj_batch(&j, c.plan, 0, 0));
        memcpy(v[k], gy_plan_input(c.plan, "volume"), sizeof v[k]);
        gy_compiled_free(&c);
        gy_job_free(&j);
    }
    double moved = 0;
    for (int i = 0; i < 288; i++) {
        assert_true(v[1][i] == v[0][i / 8 * 8 + 7 - i % 8]);
        assert_close(v[2][i], v[0][i], 1e-6);
        moved += fabs(v[3][i] - v[0][i]);
    }
    assert_true(moved > 1);
}

/* ---- training ---- */

static bool stop_at_six(void *user, const gy_job *j, const gy_metrics *logged) {
    double *loss = user;
    if (j->step == 1) loss[0] = gy_metric_get(logged, "loss");
    if (j->step == 12) loss[1] = gy_metric_get(logged, "loss");
    return j->step != 6;
}

static void training_learns_and_resumes_bit_for_bit(void **state) {
    gy_ctx *ctx = *state;
    gy_job whole, parts;
    double loss[2];
    start(ctx, &whole, small);
    start(ctx, &parts, small);
    assert_ok(ctx, gy_job_train(&whole));
    parts.sink = (gy_job_sink){.step = stop_at_six, .user = loss};
    assert_int_equal(gy_job_train(&parts), GY_ERR_INTERRUPTED);
    assert_ok(ctx, gy_job_train(&parts));
    assert_true(loss[1] < 0.9 * loss[0]);
    for (int64_t i = 0; i < gy_store_count(whole.store); i++) {
        const gy_state *a = gy_store_at(whole.store, i), *b = gy_state_find(parts.store, a->name);
        assert_non_null(b);
        assert_memory_equal(a->value.data, b->value.data, gy_tensor_bytes(&a->value));
    }
    gy_metrics m = {0};
    gy_tensor t;
    assert_ok(ctx, whole.def->evaluate(&whole, &m));
    assert_true(gy_metric_get(&m, "inner.ks") >= 0 && gy_metric_get(&m, "inner.ks") <= 1);
    assert_ok(ctx, whole.def->sample(&whole, 2, &t));
    assert_true(gy_shape_equal(t.shape, GY_S(2, 6, 8, 1)));
    gy_tensor_free(ctx, &t);
    gy_job_free(&whole);
    gy_job_free(&parts);
}

/* A zero network predicts flow 0: x0 = x / (alpha + sigma); without the division x0 = x, and the volumes differ. */
static void the_ablation_leaves_the_division_out(void **state) {
    gy_ctx *ctx = *state;
    float v[2][2 * 288];
    for (int k = 0; k < 2; k++) {
        gy_job j;
        init(ctx, &j, small);
        j.ablate = k ? "division" : NULL;
        assert_ok(ctx, gy_job_open(&j));
        assert_ok(ctx, gy_medforj_draw(&j, 2, 9, v[k]));
        gy_job_free(&j);
    }
    assert_memory_not_equal(v[0], v[1], sizeof v[0]);
}

/* ---- files ---- */

static void write_image(gy_ctx *ctx, const char *path, int64_t depth, float spoil) {
    gy_tensor t;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(depth, 9, 10)));
    for (int64_t i = 0; i < depth * 90; i++) ((float *)t.data)[i] = (float)(100 + i % 7) + 50 * (float)(i / 90);
    if (spoil != 0) ((float *)t.data)[3] = spoil;
    assert_ok(ctx, gy_nifti_write(ctx, path, &t, (gy_nifti_write_args){0}));
    gy_tensor_free(ctx, &t);
}

static void nifti_images_are_cropped_and_bad_ones_refused(void **state) {
    gy_ctx *ctx = *state;
    char dir[] = "/tmp/medforjXXXXXX", path[64], out[64];
    float v[288];
    gy_job j;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/head.nii.gz", dir);
    init(ctx, &j, small);
    j.data_path = dir;
    assert_message(ctx, gy_job_open(&j), "no .nii");
    gy_job_free(&j);
    write_image(ctx, path, 20, 0);
    start(ctx, &j, small);
    gy_job_free(&j);
    init(ctx, &j, small);
    j.data_path = path;
    assert_ok(ctx, gy_job_open(&j));
    float lo = 2, hi = -2; /* slices grow brighter: the last third is held out */
    for (int64_t i = 0; i < 40; i++) {
        gy_medforj_volume(&j, false, i, v);
        for (int k = 0; k < 288; k++) hi = fmaxf(hi, v[k]);
        gy_medforj_volume(&j, true, i, v);
        for (int k = 0; k < 288; k++) lo = fminf(lo, v[k]);
    }
    assert_true(lo > hi - 0.02f);
    j.steps = 1;
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->artefacts(&j, dir));
    gy_job_free(&j);
    snprintf(out, sizeof out, "%s/sample.nii.gz", dir);
    gy_nifti img;
    gy_tensor t;
    assert_ok(ctx, gy_nifti_open(ctx, out, NULL, &img));
    assert_ok(ctx, gy_nifti_read(&img, GY_F32, &t));
    assert_true(gy_shape_equal(t.shape, GY_S(6, 6, 8)));
    for (int k = 0; k < 288; k++) assert_true(fabs(gy_tensor_get(&t, k)) <= 1.001);
    gy_tensor_free(ctx, &t);
    gy_nifti_close(&img);
    unlink(out);
    static const struct {
        int64_t depth;
        float spoil;
        const char *says;
    } bad[] = {{4, 0, "cannot be cropped"}, {20, NAN, "not finite"}};
    for (int i = 0; i < 2; i++) {
        write_image(ctx, path, bad[i].depth, bad[i].spoil);
        init(ctx, &j, small);
        j.data_path = path;
        assert_message(ctx, gy_job_open(&j), bad[i].says);
        gy_job_free(&j);
    }
    unlink(path);
    rmdir(dir);
}

static void bad_options_are_refused(void **state) {
    static const char *const bad[][2] = {
        {"prediction=noise", "prediction"}, {"base=6", "groups"}, {"head_width=5", "head_width"}};
    for (int i = 0; i < 3; i++) {
        gy_job j;
        assert_message(*state, gy_job_init(&j, *state, gy_model_find("medforj"), NULL, &bad[i][0], 1), bad[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(paper_configuration_has_the_papers_parameters),
        TEST(phantoms_have_the_volumes_that_were_asked_for),
        TEST(ks_is_the_largest_gap),
        TEST(augmentation_moves_what_it_should),
        TEST(training_learns_and_resumes_bit_for_bit),
        TEST(the_ablation_leaves_the_division_out),
        TEST(nifti_images_are_cropped_and_bad_ones_refused),
        TEST(bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
