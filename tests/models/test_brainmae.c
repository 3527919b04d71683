/* brainmae: its sizes, its values against PyTorch, masks, the generator's fairness, resuming, refusals. */
#include "../harness/golden_job.h"
#include "../harness/jobs.h"

#include "models/electrophysiology/brainmae.h"

#include <math.h>
#include <stdio.h>

static const char *const small[] = {"rois=8",  "samples=32", "segment=4", "width=8",          "roi_width=8",
                                    "heads=2", "batch=4",    "scans=20",  "pretrain_steps=3", "tune_steps=3",
                                    "train=8", "tests=6",    NULL};

/* ---- sizes ---- */

/* Counted by hand: d = d_e = 512. Three graph blocks of 4 (512 512 + 512) + 2 norms of 1024 + two matrices 512 x 1024
 * with biases; four and two transformer layers of 4 (512 512 + 512) + 2 norms + two matrices 512 x 2048, and a last
 * norm each; embeddings 100 x 512, positions twice 20 x 512, mask token; segment embedding 15 -> 512; pooling 512 512 +
 * 512; head 512 x 1024 twice, 1024 x 15; classifier 512 x 2. */
static void paper_configuration_has_its_parameters(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    int64_t d = 512, lin = d * d + d, graph = 4 * lin + 4 * d + (2 * d * d + 2 * d) + (2 * d * d + d);
    int64_t layer = 4 * lin + 4 * d + (4 * d * d + 4 * d) + (4 * d * d + d);
    int64_t want = 3 * graph + 6 * layer + 2 * 2 * d + 100 * d + 2 * 20 * d + d + (15 * d + d) + (d * d + d) +
                   (2 * d * d + 2 * d) + 2 * d * d + (2 * d * 15 + 15) + (2 * d + 2);
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("brainmae"), "paper", NULL, 0));
    gy_store_free(j.store);
    j.store = gy_store_new_dry(ctx);
    for (int64_t phase = 0; phase < 2; phase++) {
        assert_ok(ctx, gy_job_compile_phase(&j, phase, true, &c));
        gy_compiled_free(&c);
    }
    assert_int_equal(gy_store_parameters(j.store), want);
    gy_job_free(&j);
}

/* ---- against PyTorch ---- */

static gy_tensor fetch(gy_ctx *ctx, const gy_safetensors *file, const char *kind, const char *name) {
    char full[128];
    gy_tensor t;
    snprintf(full, sizeof full, "%s.%s", kind, name);
    assert_ok(ctx, gy_safetensors_get(file, full, &t));
    return t;
}

static void same(gy_ctx *ctx, const gy_safetensors *file, const char *kind, const char *name, const gy_tensor *have,
                 double tol) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", kind, name);
    golden_close_to(ctx, file, key, have, tol);
}

static void feed(gy_ctx *ctx, gy_plan *p, const gy_safetensors *file, const char *kind, const char *input) {
    char key[128];
    snprintf(key, sizeof key, "%s.in.%s", kind, input);
    golden_feed_one(ctx, file, key, p, input);
}

static void values_and_a_step_match_pytorch(void **state) {
    static const char *const settings[] = {"rois=5",  "samples=12", "segment=3", "width=8",          "roi_width=6",
                                           "heads=2", "blocks=2",   "layers=1",  "decoder_layers=1", "batch=3"};
    static const char *const kinds[] = {"static", "adaptive"};
    static const char *const inputs[] = {"scan", "seen", "place", "mask"};
    static const char *const stepped[] = {
        "roi_embedding",    "positions",         "mask_token",      "embed.weight",       "graph.1.q.weight",
        "graph.1.fc2.bias", "pool.score.weight", "head.roi.weight", "encoder.0.v.weight", "decoder.norm.weight"};
    gy_ctx *ctx = *state;
    gy_safetensors file;
    assert_ok(ctx, gy_safetensors_open(ctx, "tests/golden/brainmae.safetensors", NULL, &file));
    for (int k = 0; k < 2; k++) {
        gy_job j;
        gy_compiled step, c;
        assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("brainmae"), "tiny", settings, 10));
        assert_ok(ctx, gy_config_set(ctx, j.def, j.cfg, k ? "encoder=adaptive" : "encoder=static"));
        assert_ok(ctx, gy_job_compile_phase(&j, 0, false, &step));
        assert_ok(ctx, gy_job_compile_phase(&j, 1, false, &c)); /* makes the classifier */
        gy_compiled_free(&c);
        for (int64_t i = 0; i < gy_store_count(j.store); i++) {
            gy_state *s = gy_store_at(j.store, i);
            if (s->kind != GY_PARAM) continue;
            gy_tensor t = fetch(ctx, &file, kinds[k], s->name);
            assert_true(gy_shape_equal(t.shape, s->value.shape));
            memcpy(s->value.data, t.data, gy_tensor_bytes(&t));
            gy_tensor_free(ctx, &t);
        }
        for (int stage = 0; stage < 2; stage++) {
            assert_ok(ctx, gy_config_set(ctx, j.def, j.cfg, stage ? "stage=class" : "stage=rebuild"));
            assert_ok(ctx, gy_job_compile(&j, 3, NULL, 0, &c));
            for (int i = 0; i < 4; i++) feed(ctx, c.plan, &file, kinds[k], inputs[i]);
            assert_ok(ctx, gy_plan_run(c.plan));
            gy_tensor t = gy_plan_output(c.plan, stage ? "logits" : "rebuilt");
            same(ctx, &file, kinds[k], stage ? "out.logits" : "out.rebuilt", &t, 1e-5);
            t = gy_plan_output(c.plan, "states");
            if (stage) same(ctx, &file, kinds[k], "out.states", &t, 1e-5);
            gy_compiled_free(&c);
        }
        for (int i = 0; i < 4; i++) feed(ctx, step.plan, &file, kinds[k], inputs[i]);
        *(double *)gy_plan_input(step.plan, "lr") = 1e-2;
        assert_ok(ctx, gy_plan_run(step.plan));
        gy_tensor loss = gy_plan_output(step.plan, "loss");
        same(ctx, &file, kinds[k], "out.loss", &loss, 1e-5);
        for (size_t i = 0; i < sizeof stepped / sizeof *stepped; i++) {
            char name[64];
            snprintf(name, sizeof name, "out.%s", stepped[i]);
            same(ctx, &file, kinds[k], name, &gy_state_find(j.store, stepped[i])->value, 5e-5);
        }
        gy_compiled_free(&step);
        gy_job_free(&j);
    }
    gy_safetensors_close(&file);
}

/* ---- the data ---- */

static void masks_hide_the_share_and_places_point_back(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_rng r;
    start_job(ctx, &j, "brainmae", 1, small);
    const config *c = j.cfg;
    int64_t k = gy_brainmae_segments(c), n = gy_brainmae_seen(c, 0), seen[64 * 8], place[64 * 8], shown[8] = {0};
    float mask[64 * 8];
    assert_int_equal(k, 8);
    assert_int_equal(n, 2); /* 70 % of 8, rounded, are hidden */
    gy_rng_init(&r, 1, "test");
    gy_brainmae_hide(c, &r, 0, 64, mask, seen, place);
    for (int64_t i = 0; i < 64; i++) {
        int64_t count = 0;
        for (int64_t t = 0; t < k; t++) {
            assert_int_equal(mask[i * k + t] == 1, place[i * k + t] == n);
            if (mask[i * k + t] == 0) {
                assert_int_equal(seen[i * n + place[i * k + t]], t);
                shown[t]++;
                count++;
            }
        }
        assert_int_equal(count, n);
    }
    for (int64_t t = 0; t < k; t++) assert_true(shown[t] > 4); /* 16 expected */
    gy_job_free(&j);
}

/* Mean and variance of a region cannot tell the classes apart: they are 0 and 1 in every scan. */
static void scans_are_standardised_and_networks_have_equal_sizes(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    start_job(ctx, &j, "brainmae", 2, small);
    const lab *d = j.data;
    int64_t size[NETWORKS] = {0};
    for (int64_t i = 0; i < 8; i++) size[d->network[i]]++;
    for (int n = 0; n < NETWORKS; n++) assert_int_equal(size[n], 2);
    for (int64_t i = 0; i < d->train.n * 8; i++) {
        double sum = 0, square = 0;
        for (int64_t t = 0; t < 32; t++) {
            double v = d->train.x[(i / 8 * 32 + t) * 8 + i % 8];
            sum += v, square += v * v;
        }
        assert_close(sum, 0, 1e-4);
        assert_close(square / 32, 1, 1e-4);
    }
    gy_job_free(&j);
}

/* ---- training ---- */

static void resumed_run_is_bit_identical(void **state) {
    static const int64_t stops[] = {2, 3, 4, 6};
    assert_resume_is_bit_identical(*state, "brainmae", small, 4, stops);
}

/* With nothing left out, a step's loss is the cross-entropy of the inference graph's answers; with half the segments
 * left out it is that of the encoder on the rest. */
static void fine_tuning_leaves_segments_out(void **state) {
    static const char *const share[] = {"tune_mask=0", "tune_mask=0.5"};
    gy_ctx *ctx = *state;
    double loss[2], want = 0;
    for (int k = 0; k < 2; k++) {
        gy_job j;
        gy_compiled step, whole;
        start_job(ctx, &j, "brainmae", 7, small);
        assert_ok(ctx, gy_config_set(ctx, j.def, j.cfg, share[k]));
        assert_ok(ctx, gy_job_compile_phase(&j, 1, false, &step));
        assert_ok(ctx, j.def->batch(&j, step.plan, 1, 3));
        const config *c = j.cfg;
        int64_t seen = gy_brainmae_seen(c, 1), n = c->batch;
        const int64_t *index = gy_plan_input(step.plan, "seen"), *label = gy_plan_input(step.plan, "label");
        assert_int_equal(seen, k ? 4 : 8);
        for (int64_t i = 0; i < n * seen; i++) {
            assert_in_range(index[i], 0, 7);
            if (i % seen) assert_true(index[i] > index[i - 1]);
        }
        if (k == 0) {
            assert_ok(ctx, gy_job_compile(&j, n, NULL, 0, &whole));
            memcpy(gy_plan_input(whole.plan, "scan"), gy_plan_input(step.plan, "scan"),
                   (size_t)(n * c->samples * c->rois) * sizeof(float));
            assert_ok(ctx, gy_plan_run(whole.plan));
            gy_tensor p = gy_plan_output(whole.plan, "probabilities");
            for (int64_t i = 0; i < n; i++) want -= log(gy_tensor_get(&p, i * 2 + label[i])) / (double)n;
            gy_compiled_free(&whole);
        }
        assert_ok(ctx, gy_plan_run(step.plan));
        gy_tensor t = gy_plan_output(step.plan, "loss");
        loss[k] = gy_tensor_get(&t, 0);
        gy_compiled_free(&step);
        gy_job_free(&j);
    }
    assert_close(loss[0], want, 1e-5);
    assert_true(fabs(loss[1] - want) > 1e-4);
}

static void pretraining_draws_better_and_scratch_skips_it(void **state) {
    static const char *const few[] = {"rois=8",   "samples=32",        "segment=4",    "width=16", "batch=8",
                                      "scans=64", "pretrain_steps=60", "tune_steps=0", "tests=20", NULL};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics before = {0}, after = {0};
    start_job(ctx, &j, "brainmae", 6, few);
    assert_ok(ctx, j.def->evaluate(&j, &before));
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, j.def->evaluate(&j, &after));
    double a = gy_metric_get(&before, "rebuilt_error"), b = gy_metric_get(&after, "rebuilt_error");
    if (!(b < 0.96 * a)) fail_msg("error %g before, %g after 60 steps", a, b);
    gy_job_free(&j);
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("brainmae"), "tiny", small, 12));
    j.ablate = "scratch";
    assert_ok(ctx, gy_job_open(&j));
    assert_int_equal(j.steps, 3);
    gy_job_free(&j);
}

static void impossible_options_are_refused(void **state) {
    static const char *const wrong[][2] = {{"stage=sleep", "stage"},
                                           {"encoder=round", "static or adaptive"},
                                           {"samples=161", "whole segments"},
                                           {"segment=160", "whole segments"},
                                           {"heads=5", "multiple"}};
    gy_ctx *ctx = *state;
    gy_job j;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        const char *set[] = {wrong[i][0]};
        assert_int_equal(gy_job_init(&j, ctx, gy_model_find("brainmae"), "tiny", set, 1), GY_ERR_USAGE);
        assert_non_null(strstr(gy_error(ctx), wrong[i][1]));
    }
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("brainmae"), "tiny", NULL, 0));
    j.data_path = "tests/golden/make_brainmae.py";
    assert_message(ctx, gy_job_open(&j), "no recording");
    gy_job_free(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(paper_configuration_has_its_parameters),
        TEST(values_and_a_step_match_pytorch),
        TEST(masks_hide_the_share_and_places_point_back),
        TEST(scans_are_standardised_and_networks_have_equal_sizes),
        TEST(resumed_run_is_bit_identical),
        TEST(fine_tuning_leaves_segments_out),
        TEST(pretraining_draws_better_and_scratch_skips_it),
        TEST(impossible_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
