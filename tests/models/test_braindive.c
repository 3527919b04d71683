/* braindive: sizes, the gradient that steers against differences, what an ablation leaves out, what each region
 * prefers, guided steps against PyTorch, fitting, bad input. */
#include "../harness/golden_job.h"
#include "../harness/jobs.h"

#include "core/gyrus.h"
#include "io/weights.h"
#include "models/decoding/braindive.h"

#include <math.h>
#include <stdio.h>

static const char *const small[] = {"voxels=6",   "batch=8",   "steps=30", "head_steps=30", "images=60", "tests=20",
                                    "sampling=3", "samples=4", NULL};

static void start(gy_ctx *ctx, gy_job *j, const char *ablate, const char *const *settings) {
    make_job(ctx, j, "braindive", 2, settings);
    j->ablate = ablate;
    assert_ok(ctx, gy_job_open(j));
}

static void paper_configuration_has_the_public_nets_sizes(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("braindive"), "paper", NULL, 0));
    gy_graph *g = gy_graph_new(ctx);
    gy_store *store = gy_store_new_dry(ctx);
    gy_mod m = gy_mod_make(g, store, 1, false);
    gy_build b = {.m = &m, .cfg = j.cfg, .batch = 1};
    j.def->build(&b);
    assert_ok(ctx, gy_graph_status(g));
    assert_int_equal(parameters_of(store, "generator."), 865910724); /* Stable Diffusion 2.1's U-Net */
    assert_int_equal(parameters_of(store, "features."), 86192640);   /* CLIP B/16 with projection */
    assert_int_equal(parameters_of(store, "head."), 512 * 15000 + 15000);
    assert_int_equal(parameters_of(store, "vae."), 49490199); /* decoder and post_quant_conv */
    gy_graph_free(g);
    gy_store_free(store);
    gy_job_free(&j);
}

/* ---- one guided step ---- */

typedef struct step {
    gy_compiled net;
    int64_t n;
} step;

static void open_step(gy_ctx *ctx, gy_job *j, step *s) {
    assert_ok(ctx, gy_config_set(ctx, j->def, j->cfg, "part=guidance"));
    assert_ok(ctx, gy_job_compile(j, 2, NULL, 0, &s->net));
    s->n = 2 * GY_SHAPES16_SIZE;
    gy_rng r;
    gy_rng_init(&r, 4, "x");
    float *x = gy_plan_input(s->net.plan, "x"), *t = gy_plan_input(s->net.plan, "timestep");
    for (int64_t i = 0; i < s->n; i++) x[i] = (float)(0.7 * gy_rng_normal(&r));
    t[0] = t[1] = 400;
    *(float *)gy_plan_input(s->net.plan, "alpha") = 0.6f;
    *(float *)gy_plan_input(s->net.plan, "sigma") = 0.8f;
    ((float *)gy_plan_input(s->net.plan, "roi"))[1] = 1;
}

static void run(gy_ctx *ctx, step *s, double gamma, float *noise, double *activation) {
    *(float *)gy_plan_input(s->net.plan, "gamma") = (float)gamma;
    assert_ok(ctx, gy_plan_run(s->net.plan));
    if (noise) memcpy(noise, gy_plan_output(s->net.plan, "noise").data, (size_t)s->n * sizeof *noise);
    gy_tensor a = gy_plan_output(s->net.plan, "activation");
    *activation = gy_tensor_get(&a, 0) + gy_tensor_get(&a, 1);
}

/* The change of eps for gamma = 1 is -sigma times a gradient; its slope along itself is what differences say. */
static void steering_follows_the_gradient_through_the_unet(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    step s;
    static float plain[2 * GY_SHAPES16_SIZE], guided[2 * GY_SHAPES16_SIZE], g[2 * GY_SHAPES16_SIZE];
    double a, up, down, norm = 0, h = 1e-2;
    start(ctx, &j, NULL, small);
    open_step(ctx, &j, &s);
    run(ctx, &s, 0, plain, &a);
    run(ctx, &s, 1, guided, &a);
    for (int64_t i = 0; i < s.n; i++) {
        g[i] = (plain[i] - guided[i]) / 0.8f;
        norm += (double)g[i] * g[i];
    }
    norm = sqrt(norm);
    assert_true(norm > 1e-3);
    float *x = gy_plan_input(s.net.plan, "x");
    for (int64_t i = 0; i < s.n; i++) x[i] += (float)(h * g[i] / norm);
    run(ctx, &s, 0, NULL, &up);
    for (int64_t i = 0; i < s.n; i++) x[i] -= (float)(2 * h * g[i] / norm);
    run(ctx, &s, 0, NULL, &down);
    assert_close((up - down) / (2 * h) / norm, 1, 0.02);
    gy_compiled_free(&s.net);
    gy_job_free(&j);
}

static void ablations_take_away_what_they_say(void **state) {
    gy_ctx *ctx = *state;
    static float noise[3][2 * GY_SHAPES16_SIZE];
    static const char *const names[3] = {NULL, "energy", "jacobian"};
    double a, ratio[3];
    for (int k = 0; k < 3; k++) {
        gy_job j;
        step s;
        start(ctx, &j, names[k], small);
        open_step(ctx, &j, &s);
        run(ctx, &s, 5, noise[k], &a);
        ratio[k] = gy_plan_scalar(s.net.plan, "ratio");
        if (k == 1) { /* gamma has no say */
            run(ctx, &s, 0, noise[0], &a);
            assert_memory_equal(noise[0], noise[1], sizeof noise[0]);
        }
        gy_compiled_free(&s.net);
        gy_job_free(&j);
    }
    assert_true(fabs(ratio[2] - ratio[0]) > 0.05 * ratio[0]); /* another gradient without the U-Net */
}

/* With s = 0 self-attention guidance is not there; with s > 0 it changes the noise, by a finite amount. */
static void self_attention_guidance_changes_the_noise(void **state) {
    gy_ctx *ctx = *state;
    static float noise[2][2 * GY_SHAPES16_SIZE];
    double a, change = 0;
    for (int k = 0; k < 2; k++) {
        gy_job j;
        step s;
        start(ctx, &j, NULL, small);
        assert_ok(ctx, gy_config_set(ctx, j.def, j.cfg, k ? "sag=0.75" : "sag=0"));
        open_step(ctx, &j, &s);
        run(ctx, &s, 0, noise[k], &a);
        gy_compiled_free(&s.net);
        gy_job_free(&j);
    }
    for (int64_t i = 0; i < 2 * GY_SHAPES16_SIZE; i++) change += fabs((double)noise[1][i] - noise[0][i]);
    assert_true(isfinite(change) && change > 1e-2);
}

/* ---- against diffusers and the official code's formulas (tests/golden/make_braindive.py) ---- */

/* The encoder's weights are the file's, the generator's those of tinySD. */
static void start_golden(gy_ctx *ctx, gy_job *j, gy_safetensors *file, const char *const *settings) {
    static const char *const others[] = {"generator.*", "in.*", "out.*", "gradient", "sag.*", "path.*", NULL};
    gy_compiled net;
    start(ctx, j, NULL, settings);
    assert_ok(ctx, gy_job_compile(j, 2, NULL, 0, &net)); /* the weights stand in the store */
    gy_compiled_free(&net);
    assert_ok(ctx, gy_weights_load(ctx, "tests/golden/braindive.safetensors", NULL, j->store, others));
    golden_file(ctx, "braindive", file);
}

static void guided_step_matches_pytorch(void **state) {
    gy_ctx *ctx = *state;
    for (int sag = 0; sag < 2; sag++) {
        static const char *const settings[2][4] = {{"voxels=6", "part=guidance"},
                                                   {"voxels=6", "part=guidance", "sag=0.75"}};
        gy_job j;
        gy_safetensors file;
        gy_compiled net;
        start_golden(ctx, &j, &file, settings[sag]);
        assert_ok(ctx, gy_job_compile(&j, 2, NULL, 0, &net));
        golden_feed(ctx, &file, net.plan);
        assert_ok(ctx, gy_plan_run(net.plan));
        gy_tensor noise = gy_plan_output(net.plan, "noise"), steered = {0};
        golden_same(ctx, &file, sag ? "sag.noise" : "out.noise", &noise, 1e-4);
        if (!sag) {
            gy_tensor a = gy_plan_output(net.plan, "activation"), r = gy_plan_output(net.plan, "ratio");
            golden_same(ctx, &file, "out.activation", &a, 1e-4);
            golden_same(ctx, &file, "out.ratio", &r, 1e-3);
            assert_ok(ctx, gy_tensor_cast(ctx, &noise, GY_F32, &steered)); /* what gamma changes is the gradient */
            float *gamma = gy_plan_input(net.plan, "gamma"), *g = steered.data;
            double change = *gamma * (double)*(float *)gy_plan_input(net.plan, "sigma");
            *gamma = 0;
            assert_ok(ctx, gy_plan_run(net.plan));
            noise = gy_plan_output(net.plan, "noise");
            for (int64_t i = 0; i < 2 * GY_SHAPES16_SIZE; i++)
                g[i] = (float)((gy_tensor_get(&noise, i) - g[i]) / change);
            golden_same(ctx, &file, "gradient", &steered, 1e-3);
            gy_tensor_free(ctx, &steered);
        }
        gy_compiled_free(&net);
        gy_safetensors_close(&file);
        gy_job_free(&j);
    }
}

static void guided_path_matches_pytorch(void **state) {
    gy_ctx *ctx = *state;
    static const char *const settings[] = {"voxels=6", "sag=0.75", "sampling=4", NULL};
    static double x[2 * GY_SHAPES16_SIZE];
    gy_job j;
    gy_safetensors file;
    gy_tensor t;
    start_golden(ctx, &j, &file, settings);
    assert_ok(ctx, gy_safetensors_get(&file, "path.start", &t));
    for (int64_t i = 0; i < 2 * GY_SHAPES16_SIZE; i++) x[i] = gy_tensor_get(&t, i);
    assert_ok(ctx, gy_braindive_guide(&j, 2, 1, 120, x, NULL));
    for (int64_t i = 0; i < 2 * GY_SHAPES16_SIZE; i++) gy_tensor_set(&t, i, x[i]);
    golden_same(ctx, &file, "path.end", &t, 1e-4);
    gy_tensor_free(ctx, &t);
    gy_safetensors_close(&file);
    gy_job_free(&j);
}

/* ---- the generated brain ---- */

static void regions_respond_to_what_they_prefer(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    start(ctx, &j, NULL, small);
    const lab *d = j.data;
    const config *c = j.cfg;
    static const gy_object best[ROIS] = {{GY_SQUARE, GY_BLUE, 0}, {GY_CROSS, GY_GREEN, 0}, {GY_RING, GY_RED, 0}};
    for (int roi = 0; roi < ROIS; roi++)
        for (int other = 0; other < ROIS; other++) {
            gy_scene s = {.n = 1, .object = {best[other]}};
            float e[GY_WORLD_SEMANTIC], image[GY_SHAPES16_SIZE];
            int label[4];
            s.background = 0.4;
            gy_world_semantic(&d->world, &s, e);
            double r = gy_braindive_response(d, roi * (c->voxels / ROIS), e);
            if (roi == other) assert_true(r > 0.5);
            if (roi != other) assert_true(r < 0.5);
            gy_scene_image(&s, NULL, image);
            gy_scene_oracle(image, label);
            assert_int_equal(gy_braindive_holds(roi, label), roi == other);
        }
    double square = 0, sum = 0; /* measured responses: variance 1 */
    for (int64_t i = 0; i < c->images * c->voxels; i++) {
        sum += d->response[i];
        square += d->response[i] * d->response[i];
    }
    assert_true(fabs(sum / 360) < 0.2 && fabs(square / 360 - 1) < 0.25);
    gy_job_free(&j);
}

/* ---- training ---- */

static bool stop_at_ten(void *user, const gy_job *j, const gy_metrics *logged) {
    double *first = user;
    if (j->step == 1) first[0] = gy_metric_get(logged, "loss");
    if (j->step == 30) first[1] = gy_metric_get(logged, "loss");
    if (j->step == 31) first[2] = gy_metric_get(logged, "loss1");
    if (j->step == 60) first[3] = gy_metric_get(logged, "loss1");
    return j->step != 40;
}

static void training_lowers_both_losses_and_resumes_bit_for_bit(void **state) {
    gy_ctx *ctx = *state;
    gy_job whole, parts;
    double loss[4], again[4];
    start(ctx, &whole, NULL, small);
    start(ctx, &parts, NULL, small);
    gy_tensor frozen = gy_state_find(whole.store, "generator.conv_in.weight")->value;
    double before = gy_tensor_get(&frozen, 5);
    assert_ok(ctx, gy_job_train(&whole));
    parts.sink = (gy_job_sink){.step = stop_at_ten, .user = loss};
    assert_int_equal(gy_job_train(&parts), GY_ERR_INTERRUPTED);
    parts.sink.user = again;
    assert_ok(ctx, gy_job_train(&parts));
    assert_true(loss[1] < loss[0] - 0.2);
    assert_true(again[3] < loss[2]);
    for (int64_t i = 0; i < gy_store_count(whole.store); i++) {
        const gy_state *a = gy_store_at(whole.store, i), *b = gy_state_find(parts.store, a->name);
        assert_non_null(b);
        assert_memory_equal(a->value.data, b->value.data, gy_tensor_bytes(&a->value));
    }
    assert_true(gy_tensor_get(&frozen, 5) == before); /* the generator is frozen */
    gy_metrics m = {0};
    gy_tensor t;
    assert_ok(ctx, whole.def->evaluate(&whole, &m));
    assert_true(gy_metric_get(&m, "ratio.blue") > 0);
    assert_ok(ctx, whole.def->sample(&whole, 2, &t));
    assert_true(gy_shape_equal(t.shape, GY_S(2, 16, 16, 3)));
    gy_tensor_free(ctx, &t);
    gy_job_free(&whole);
    gy_job_free(&parts);
}

static void bad_input_is_refused(void **state) {
    static const char *const bad[][2] = {{"part=both", "part"}, {"image=32", "image"}, {"voxels=61", "multiple"}};
    for (int i = 0; i < 3; i++) {
        gy_job j;
        assert_message(*state, gy_job_init(&j, *state, gy_model_find("braindive"), NULL, &bad[i][0], 1), bad[i][1]);
    }
    gy_job j;
    static const char *const lost[] = {"generator=no/such.safetensors"};
    assert_ok(*state, gy_job_init(&j, *state, gy_model_find("braindive"), NULL, lost, 1));
    assert_message(*state, gy_job_open(&j), "no/such.safetensors");
    gy_job_free(&j);
    assert_ok(*state, gy_job_init(&j, *state, gy_model_find("braindive"), NULL, lost, 1));
    j.from_run = true; /* a checkpoint brings the generator: the file it once came from may be gone */
    assert_ok(*state, gy_job_open(&j));
    gy_job_free(&j);
    assert_ok(*state, gy_job_init(&j, *state, gy_model_find("braindive"), NULL, NULL, 0));
    j.data_path = "somewhere";
    assert_message(*state, gy_job_open(&j), "generated brain");
    gy_job_free(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(paper_configuration_has_the_public_nets_sizes),
        TEST(steering_follows_the_gradient_through_the_unet),
        TEST(ablations_take_away_what_they_say),
        TEST(self_attention_guidance_changes_the_noise),
        TEST(guided_step_matches_pytorch),
        TEST(guided_path_matches_pytorch),
        TEST(regions_respond_to_what_they_prefer),
        TEST(training_lowers_both_losses_and_resumes_bit_for_bit),
        TEST(bad_input_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
