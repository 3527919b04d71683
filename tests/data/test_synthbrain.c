/* The generated world: pictures, meanings, subjects, cohorts. */
#include "../harness/harness.h"

#include "data/cohort.h"
#include "models/blocks/measures.h"

#include <math.h>

enum { LOW = 100, HIGH = 200, NOISE = 90, V = LOW + HIGH + NOISE };

static void oracle_reads_every_scene(void **state) {
    (void)state;
    gy_rng r;
    gy_rng_init(&r, 1, "test");
    int two = 0;
    for (int i = 0; i < 500; i++) {
        gy_scene s = gy_scene_draw(&r, 0.5);
        float image[GY_SHAPES16_SIZE];
        int want[4] = {-1, -1, -1, -1}, have[4];
        for (int k = 0; k < s.n; k++) want[s.object[k].quadrant] = 4 * s.object[k].shape + s.object[k].colour;
        gy_scene_image(&s, i % 2 ? &r : NULL, image);
        gy_scene_oracle(image, have);
        assert_memory_equal(have, want, sizeof want);
        for (int p = 0; p < GY_SHAPES16_SIZE; p++) assert_true(fabsf(image[p]) < 1.2f);
        two += s.n == 2;
        if (s.n == 2) {
            assert_true(s.object[0].colour != s.object[1].colour);
            assert_true(s.object[0].quadrant != s.object[1].quadrant);
        }
    }
    assert_true(two > 200 && two < 300);
}

static void oracle_sees_a_changed_object(void **state) {
    (void)state;
    gy_scene s = {.n = 1, .object = {{GY_RING, GY_BLUE, GY_TOP_RIGHT}}, .background = 0.4};
    float image[GY_SHAPES16_SIZE];
    int label[4];
    gy_scene_image(&s, NULL, image);
    gy_scene_oracle(image, label);
    assert_int_equal(label[GY_TOP_RIGHT], 4 * GY_RING + GY_BLUE);
    assert_int_equal(label[GY_TOP_LEFT], -1);
    s.object[0].shape = GY_CROSS;
    gy_scene_image(&s, NULL, image);
    gy_scene_oracle(image, label);
    assert_int_equal(label[GY_TOP_RIGHT], 4 * GY_CROSS + GY_BLUE);
}

static void layout_is_the_mean_of_each_cell(void **state) {
    (void)state;
    float image[GY_SHAPES16_SIZE] = {0}, layout[GY_WORLD_LAYOUT];
    for (int i = 4; i < 8; i++)
        for (int j = 12; j < 16; j++) image[(i * 16 + j) * 3 + 1] = 1; /* cell (1, 3), green */
    gy_scene_layout(image, layout);
    for (int p = 0; p < GY_WORLD_LAYOUT; p++) assert_close(layout[p], p == (1 * 4 + 3) * 3 + 1, 1e-12);
}

static double norm(const float *v) {
    double s = 0;
    for (int i = 0; i < GY_WORLD_SEMANTIC; i++) s += (double)v[i] * v[i];
    return sqrt(s);
}

static double dot(const float *a, const float *b) {
    double s = 0;
    for (int i = 0; i < GY_WORLD_SEMANTIC; i++) s += (double)a[i] * b[i];
    return s;
}

static void embeddings_are_unit_vectors_with_a_modality_gap(void **state) {
    gy_ctx *ctx = *state;
    gy_world w;
    gy_stimuli s;
    gy_world_init(&w, 0);
    assert_close(norm(w.gap), 0.5, 1e-6);
    assert_ok(ctx, gy_stimuli_new(ctx, &w, 400, 1, "a", 0.5, NULL, &s));
    double same = 0, cross = 0, layout = 0;
    for (int64_t i = 0; i < s.n; i++) {
        const float *e = s.semantic + i * 64, *image = s.clip_image + i * 64, *text = s.clip_text + i * 64;
        assert_close(norm(e), 1, 1e-6);
        assert_close(norm(image), 1, 1e-6);
        assert_close(norm(text), 1, 1e-6);
        same += dot(e, image) / 400;
        cross += dot(image, text) / 400;
        for (int p = 0; p < GY_WORLD_LAYOUT; p++) layout += s.layout[i * GY_WORLD_LAYOUT + p];
    }
    /* |0.05 N|^2 = 0.16 in 64 dimensions: cosine 1/sqrt(1.16) */
    assert_close(same, 1 / sqrt(1.16), 0.02);
    assert_true(cross < same && cross > 0.5);
    assert_close(layout / 400, 0, 1e-3);
    gy_stimuli_free(&s);
}

/* In each voxel the trials correlate with the noiseless response by sqrt(rho), which is in [0.1, 0.5]. */
static void trials_reach_their_noise_ceiling(void **state) {
    enum { N = 2000 };
    gy_ctx *ctx = *state;
    gy_world w;
    gy_stimuli s;
    gy_synthbrain b;
    gy_world_init(&w, 0);
    assert_ok(ctx, gy_stimuli_new(ctx, &w, N, 1, "a", 0.5, NULL, &s));
    assert_ok(ctx, gy_synthbrain_new(ctx, &w, 2, (gy_voxels){LOW, HIGH, NOISE}, &s, &b));
    static float y[N * V], r[N * V], mean[N * V];
    gy_rng noise;
    gy_rng_init(&noise, 5, "noise");
    for (int64_t i = 0; i < N; i++) {
        gy_synthbrain_signal(&b, &s, i, r + i * V);
        gy_synthbrain_trial(&b, &s, i, 1, &noise, y + i * V);
        gy_synthbrain_trial(&b, &s, i, 3, &noise, mean + i * V);
    }
    int kinds[128] = {0};
    for (int v = 0; v < V; v++) {
        double sum = 0, squares = 0, rho = b.rho[v], ceiling = sqrt(rho);
        kinds[(int)b.kind[v]]++;
        for (int i = 0; i < N; i++) {
            sum += y[i * V + v];
            squares += (double)y[i * V + v] * y[i * V + v];
        }
        assert_true(fabs(sum / N) < 0.12);
        assert_true(fabs(squares / N - 1) < 0.2);
        if (b.kind[v] == 'n') {
            assert_true(rho == 0 && r[v] == 0);
            continue;
        }
        assert_true(rho >= 0.1 && rho <= 0.5);
        assert_true(fabs(gy_pearson(y + v, r + v, N, V) - ceiling) < 0.09);
        assert_true(fabs(gy_pearson(mean + v, r + v, N, V) - sqrt(rho / (rho + (1 - rho) / 3))) < 0.09);
    }
    assert_int_equal(kinds['l'], LOW);
    assert_int_equal(kinds['h'], HIGH);
    assert_int_equal(kinds['n'], NOISE);
    gy_synthbrain_free(&b);
    gy_stimuli_free(&s);
}

static void same_seeds_give_the_same_bytes(void **state) {
    gy_ctx *ctx = *state;
    int64_t id[] = {0, 3}, voxels[] = {40, 44}, trials[] = {30, 30};
    gy_cohort_args args = {
        .seed = 1, .n = 2, .id = id, .voxels = voxels, .trials = trials, .tests = 10, .repeats = 3, .two = 0.5};
    gy_cohort *a, *b, *c, *d;
    assert_ok(ctx, gy_cohort_new(ctx, &args, &a));
    assert_ok(ctx, gy_cohort_new(ctx, &args, &b));
    assert_true(a->hash == b->hash);
    args.seed = 2;
    assert_ok(ctx, gy_cohort_new(ctx, &args, &c));
    assert_true(a->hash != c->hash);
    assert_memory_equal(a->member[0].brain.weight, c->member[0].brain.weight, 40 * GY_WORLD_FEATURES * sizeof(float));
    assert_memory_equal(a->member[1].seen, c->member[1].seen, 10 * 3 * 44 * sizeof(float));
    args.seed = 1;
    args.world = 1;
    assert_ok(ctx, gy_cohort_new(ctx, &args, &d));
    assert_memory_not_equal(a->member[0].brain.weight, d->member[0].brain.weight,
                            40 * GY_WORLD_FEATURES * sizeof(float));
    assert_memory_not_equal(a->member[0].train.scene, a->member[1].train.scene, 30 * sizeof(gy_scene));
    gy_cohort_free(a);
    gy_cohort_free(b);
    gy_cohort_free(c);
    gy_cohort_free(d);
}

static void fewer_trials_are_the_beginning_of_more(void **state) {
    gy_ctx *ctx = *state;
    int64_t id[] = {3}, voxels[] = {44}, trials[] = {30}; /* shown once each */
    gy_cohort_args args = {
        .seed = 1, .n = 1, .id = id, .voxels = voxels, .trials = trials, .tests = 10, .repeats = 1, .two = 0.5};
    gy_cohort *a, *b;
    assert_ok(ctx, gy_cohort_new(ctx, &args, &a));
    trials[0] = 12;
    assert_ok(ctx, gy_cohort_new(ctx, &args, &b));
    assert_memory_equal(a->member[0].y, b->member[0].y, 12 * 44 * sizeof(float));
    assert_memory_equal(a->member[0].train.clip_image, b->member[0].train.clip_image, 12 * 64 * sizeof(float));
    gy_cohort_free(a);
    gy_cohort_free(b);
}

/* Each pass takes every row once; a step does not depend on the steps before it. */
static void epochs_take_every_row_once(void **state) {
    (void)state;
    int64_t work[10], row[4], count[10] = {0}, again[4];
    for (int64_t step = 0; step < 5; step++) { /* 20 places: two passes */
        gy_epoch_rows(7, "rows", 10, step, 4, work, row);
        for (int i = 0; i < 4; i++) count[row[i]]++;
    }
    for (int i = 0; i < 10; i++) assert_int_equal(count[i], 2);
    gy_epoch_rows(7, "rows", 10, 4, 4, work, again);
    assert_memory_equal(row, again, sizeof row);
    gy_epoch_rows(8, "rows", 10, 4, 4, work, again);
    assert_memory_not_equal(row, again, sizeof row);
}

static void bad_counts_are_named(void **state) {
    gy_ctx *ctx = *state;
    gy_world w;
    gy_stimuli s;
    gy_synthbrain b;
    gy_world_init(&w, 0);
    assert_message(ctx, gy_stimuli_new(ctx, &w, 0, 1, "empty", 0.5, NULL, &s), "stimuli 'empty': expected at least 1");
    assert_ok(ctx, gy_stimuli_new(ctx, &w, 5, 1, "a", 0.5, NULL, &s));
    assert_message(ctx, gy_synthbrain_new(ctx, &w, 4, (gy_voxels){0, 0, 0}, &s, &b),
                   "subject 4: 0 low, 0 high, 0 noise voxels");
    gy_stimuli_free(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(oracle_reads_every_scene),
        TEST(oracle_sees_a_changed_object),
        TEST(layout_is_the_mean_of_each_cell),
        TEST(embeddings_are_unit_vectors_with_a_modality_gap),
        TEST(trials_reach_their_noise_ceiling),
        TEST(same_seeds_give_the_same_bytes),
        TEST(fewer_trials_are_the_beginning_of_more),
        TEST(epochs_take_every_row_once),
        TEST(bad_counts_are_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
