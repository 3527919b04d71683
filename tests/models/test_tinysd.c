/* tinySD: captions, the judge, training that lowers the error, and the trained weights in data/: what is drawn is what
 * was asked for. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "io/weights.h"
#include "models/blocks/tinysd.h"

#include <math.h>
#include <stdio.h>

static void captions_say_what_and_never_where(void **state) {
    (void)state;
    gy_scene s = {.n = 2, .object = {{GY_RING, GY_BLUE, GY_TOP_LEFT}, {GY_CROSS, GY_RED, GY_BOTTOM_RIGHT}}};
    static const int64_t want[8] = {1, 7, 3, 0, 13, 5, 4, 0}, one[8] = {1, 7, 3}, none[8] = {0};
    int64_t have[8];
    gy_tinysd_caption(&s, have);
    assert_memory_equal(have, want, sizeof want);
    s.object[0].quadrant = GY_BOTTOM_LEFT;
    gy_tinysd_caption(&s, have);
    assert_memory_equal(have, want, sizeof want);
    s.n = 1;
    gy_tinysd_caption(&s, have);
    assert_memory_equal(have, one, sizeof one);
    s.n = 0;
    gy_tinysd_caption(&s, have);
    assert_memory_equal(have, none, sizeof none);
}

static void the_judge_knows_right_from_wrong(void **state) {
    (void)state;
    gy_rng r;
    gy_rng_init(&r, 3, "judge");
    float image[GY_SHAPES16_SIZE];
    for (int i = 0; i < 200; i++) {
        gy_scene s = gy_scene_draw(&r, 0.5), other = s;
        gy_scene_image(&s, &r, image);
        gy_tinysd_verdict v = gy_tinysd_judge(&s, image);
        assert_int_equal(v.objects, s.n);
        assert_true(v.colour && v.shape && v.placed && v.present[0] && (v.present[1] || s.n == 1));
        other.n = 1;
        other.object[0].shape = (s.object[0].shape + 1) % 3;
        gy_scene_image(&other, &r, image);
        v = gy_tinysd_judge(&s, image);
        assert_true(v.objects == 1 && v.colour && !v.shape && !v.present[0] && !v.placed);
    }
}

static void open_job(gy_ctx *ctx, gy_job *j, const char *const *settings, int64_t n) {
    assert_ok(ctx, gy_job_init(j, ctx, gy_model_find("tinysd"), NULL, settings, n));
    j->seed = 1;
    assert_ok(ctx, gy_job_open(j));
}

typedef struct losses {
    double first, last;
} losses;
static bool note(void *user, const gy_job *j, const gy_metrics *logged) {
    losses *l = user;
    double v = gy_metric_get(logged, "loss");
    if (j->step == 1) l->first = v;
    l->last = v;
    return true;
}

static void training_lowers_the_error_and_is_the_same_twice(void **state) {
    static const char *const quick[] = {"batch=8", "warmup=2", "steps=12", "lr=0.01"};
    losses l[2];
    for (int i = 0; i < 2; i++) {
        gy_job j;
        open_job(*state, &j, quick, 4);
        j.sink = (gy_job_sink){.step = note, .user = &l[i]};
        assert_ok(*state, gy_job_train(&j));
        gy_job_free(&j);
    }
    assert_true(l[0].last < 0.95 * l[0].first);
    assert_true(l[0].first == l[1].first && l[0].last == l[1].last);
}

static void trained(gy_ctx *ctx, gy_job *j, const char *ablate) {
    static const char *const few[] = {"prompts=16"};
    gy_compiled net;
    open_job(ctx, j, few, 1);
    j->ablate = ablate;
    assert_ok(ctx, gy_job_compile(j, 1, NULL, 0, &net)); /* makes the states */
    gy_compiled_free(&net);
    assert_ok(ctx, gy_weights_load(ctx, "data/tinysd.safetensors", NULL, j->store, NULL));
}

static void trained_weights_draw_what_was_asked_for(void **state) {
    gy_job j;
    gy_metrics m = {0};
    trained(*state, &j, NULL);
    assert_ok(*state, j.def->evaluate(&j, &m));
    assert_true(gy_metric_get(&m, "eps_mse") < 0.03);
    assert_true(gy_metric_get(&m, "colour") >= 0.85); /* 16 prompts; the full gates are the claim's */
    assert_true(gy_metric_get(&m, "shape") >= 0.75);
    assert_true(fabs(gy_metric_get(&m, "objects") - 1) <= 0.25);
    gy_job_free(&j);
}

static void blank_captions_leave_colours_to_chance(void **state) {
    gy_job j;
    gy_metrics m = {0};
    trained(*state, &j, "text");
    assert_ok(*state, j.def->evaluate(&j, &m));
    assert_true(gy_metric_get(&m, "colour") < 0.65);
    gy_job_free(&j);
}

static void samples_are_pictures(void **state) {
    gy_job j;
    gy_tensor t;
    trained(*state, &j, NULL);
    assert_ok(*state, j.def->sample(&j, 3, &t));
    assert_true(gy_shape_equal(t.shape, GY_S(3, 16, 16, 3)));
    double low = 1, high = 0;
    for (int64_t i = 0; i < 3 * GY_SHAPES16_SIZE; i++) {
        low = fmin(low, gy_tensor_get(&t, i));
        high = fmax(high, gy_tensor_get(&t, i));
    }
    assert_true(low >= 0 && high <= 1 && high - low > 0.4);
    gy_tensor_free(*state, &t);
    gy_job_free(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(captions_say_what_and_never_where),
        TEST(the_judge_knows_right_from_wrong),
        TEST(training_lowers_the_error_and_is_the_same_twice),
        TEST(trained_weights_draw_what_was_asked_for),
        TEST(blank_captions_leave_colours_to_chance),
        TEST(samples_are_pictures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
