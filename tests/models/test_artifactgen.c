/* artifactgen: sizes, values and second derivatives against PyTorch and against differences, training in two parts, a
 * folder of windows, bad input. */
#include "../harness/golden_model.h"
#include "../harness/jobs.h"

#include "core/gyrus.h"
#include "io/files.h"
#include "io/formats/npy.h"
#include "models/electrophysiology/artifactgen.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *const small[] = {"length=96",  "gan_length=96", "width=4",   "gan_width=8", "latent=6", "batch=4",
                                    "windows=40", "tests=20",      "samples=5", "sampling=2",  "steps=4",  NULL};

static void start(gy_ctx *ctx, gy_job *j, const char *const *settings) {
    make_job(ctx, j, "artifactgen", 3, settings);
}

/* ---- sizes ---- */

static void paper_configuration_has_the_papers_sizes(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("artifactgen"), "paper", NULL, 0));
    gy_store_free(j.store);
    j.store = gy_store_new_dry(ctx);
    j.batch = 2;
    for (int64_t phase = 0; phase < 2; phase++) {
        assert_ok(ctx, gy_job_compile_phase(&j, phase, true, &c));
        gy_compiled_free(&c);
    }
    assert_int_equal(parameters_of(j.store, "generator."), 1230536); /* the card's 1.2 million */
    assert_int_equal(parameters_of(j.store, "critic."), 209345);     /* 0.21 million */
    assert_int_equal(parameters_of(j.store, "unet."), 6367688);
    gy_job_free(&j);
}

/* ---- against PyTorch ---- */

static const config golden_config = {
    .channels = 3, .length = 16, .gan_length = 10, .classes = 2, .width = 4, .blocks = 1, .gan_width = 8, .latent = 5};

static void generator_critic_and_penalty_are_pytorchs(void **state) {
    golden_model t;
    const config *c = &golden_config;
    golden_open(&t, *state, "artifactgen");
    gy_t z = golden_input(&t, "z"), y = golden_input(&t, "label"), real = golden_input(&t, "candidate");
    gy_t mix = golden_input(&t, "mix"), fake = gy_artifactgen_generator(&t.m, c, z, y);
    gy_output(fake, "generated");
    fake = gy_stop(fake);
    gy_t score = gy_artifactgen_critic(&t.m, c, real, y), between = gy_add(fake, gy_mul(mix, gy_sub(real, fake)));
    gy_output(score, "score");
    gy_t penalty = gy_artifactgen_penalty(&t.m, c, between, y);
    gy_output(penalty, "penalty");
    gy_t gap = gy_sub(gy_mean(gy_artifactgen_critic(&t.m, c, fake, y), GY_ALL), gy_mean(score, GY_ALL));
    gy_t loss = gy_add(gap, gy_scale(penalty, 10));
    gy_output(loss, "critic_loss");
    golden_gradients(&t, loss, 0, NULL, NULL);
    golden_run(&t, "artifactgen", NULL, (const char *const[]){"unet.*", NULL});
    golden_compare(&t, "generated", 1e-4);
    golden_compare(&t, "score", 1e-4);
    golden_compare(&t, "penalty", 1e-4);
    golden_compare(&t, "critic_loss", 1e-4);
    static const char *const all[] = {"conv.0.weight", "conv.2.weight", "conv.4.weight",     "conv.0.bias",
                                      "conv.2.bias",   "fc.weight",     "proj.embed.weight", NULL};
    for (int i = 0; all[i]; i++) {
        char name[64];
        snprintf(name, sizeof name, "grad.critic.%s", all[i]);
        golden_compare(&t, name, 1e-3);
    }
    golden_close(&t);
}

static void the_unet_is_pytorchs(void **state) {
    golden_model t;
    golden_open(&t, *state, "artifactgen");
    gy_t x = golden_input(&t, "x"), at = golden_input(&t, "t"), y = golden_input(&t, "unet_label");
    gy_t noise = gy_artifactgen_unet(&t.m, &golden_config, x, at, y);
    gy_output(noise, "noise");
    golden_gradients(&t, gy_mse(noise, golden_const(&t, "eps"), GY_LOSS_MEAN), 0, NULL, NULL);
    golden_run(&t, "artifactgen", NULL, (const char *const[]){"critic.*", "generator.*", NULL});
    golden_compare(&t, "noise", 1e-4);
    golden_compare(&t, "grad.unet.conv_in.weight", 1e-3);
    golden_compare(&t, "grad.unet.class_embedding.weight", 1e-3);
    golden_compare(&t, "grad.unet.mid_block.resnets.1.film2.weight", 1e-3);
    golden_compare(&t, "grad.unet.up_blocks.1.upsamplers.0.conv.weight", 1e-3);
    golden_close(&t);
}

/* ---- the second derivative ---- */

/* The penalty's gradient for every critic weight, in f64, against central differences. */
static void penalty_gradient_is_that_of_differences(void **state) {
    gy_ctx *ctx = *state;
    config c = golden_config;
    gy_graph *g = gy_graph_new(ctx);
    gy_store *store = gy_store_new(ctx);
    gy_mod m = gy_mod_make(g, store, 5, true);
    m.dtype = GY_F64;
    gy_t x = gy_input(g, "x", GY_F64, GY_S(3, c.gan_length, c.channels)), y = gy_input(g, "y", GY_I64, GY_S(3));
    gy_t penalty = gy_artifactgen_penalty(&m, &c, x, y);
    gy_output(penalty, "penalty");
    gy_optim o = gy_optim_sgd(g, store, penalty, .prefix = "critic.");
    int64_t n = gy_store_count(store);
    assert_true(o.n > 0 && n <= 16);
    gy_plan *plan = gy_compile(g, (gy_plan_args){0}), *still = gy_compile(g, (gy_plan_args){.no_assign = true});
    assert_non_null(plan);
    assert_non_null(still);
    gy_rng r;
    gy_rng_init(&r, 8, "x");
    double *in = gy_plan_input(plan, "x"), *in2 = gy_plan_input(still, "x");
    for (int64_t i = 0; i < 3 * c.gan_length * c.channels; i++) in[i] = in2[i] = gy_rng_normal(&r);
    for (int64_t i = 0; i < 3; i++)
        ((int64_t *)gy_plan_input(plan, "y"))[i] = ((int64_t *)gy_plan_input(still, "y"))[i] = i % 2;
    double *before[16];
    for (int64_t i = 0; i < n; i++) {
        gy_tensor *v = &gy_store_at(store, i)->value;
        before[i] = malloc(gy_tensor_bytes(v));
        memcpy(before[i], v->data, gy_tensor_bytes(v));
    }
    *(double *)gy_plan_input(plan, "lr") = 1; /* one step of rate 1: the gradient is what changed */
    assert_ok(ctx, gy_plan_run(plan));
    double worst = 0, top = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < n; i++) {
            gy_tensor *v = &gy_store_at(store, i)->value;
            double *w = v->data;
            if (gy_store_at(store, i)->kind != GY_PARAM) continue;
            for (int64_t k = 0; k < gy_shape_count(v->shape); k++) {
                if (pass == 0) {
                    double gradient = before[i][k] - w[k];
                    w[k] = before[i][k];
                    before[i][k] = gradient;
                    top = fmax(top, fabs(gradient));
                    continue;
                }
                const double h = 1e-6;
                double keep = w[k], side[2];
                for (int s = 0; s < 2; s++) {
                    w[k] = keep + (s ? h : -h);
                    gy_state_touch(gy_store_at(store, i));
                    assert_ok(ctx, gy_plan_run(still));
                    side[s] = gy_plan_scalar(still, "penalty");
                }
                w[k] = keep;
                worst = fmax(worst, fabs((side[1] - side[0]) / (2 * h) - before[i][k]));
            }
        }
    assert_true(top > 1e-3);
    assert_true(worst < 1e-4 * top);
    for (int64_t i = 0; i < n; i++) free(before[i]);
    gy_plan_free(plan);
    gy_plan_free(still);
    gy_graph_free(g);
    gy_store_free(store);
}

/* D(x) = a.x: the penalty is (|a| - 1)^2, its gradient 2 (|a| - 1) a / |a|. */
static void penalty_of_a_linear_critic_is_known(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    gy_t a = gy_input(g, "a", GY_F64, GY_S(4)), x = gy_input(g, "x", GY_F64, GY_S(2, 4)), gx, ga;
    gy_t score = gy_sum(gy_mul(x, a), GY_ALL);
    gy_grad(score, GY_NONE, 1, &x, &gx);
    gy_t norm = gy_sqrt(gy_sum(gy_square(gx), GY_AXES(1)));
    gy_t penalty = gy_mean(gy_square(gy_add_scalar(norm, -1)), GY_ALL);
    gy_grad(penalty, GY_NONE, 1, &a, &ga);
    gy_output(penalty, "penalty");
    gy_output(ga, "ga");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_non_null(p);
    static const double v[4] = {2, -1, 0.5, 4};
    memcpy(gy_plan_input(p, "a"), v, sizeof v);
    assert_ok(ctx, gy_plan_run(p));
    double length = sqrt(4 + 1 + 0.25 + 16);
    assert_close(gy_plan_scalar(p, "penalty"), (length - 1) * (length - 1), 1e-12);
    const double *have = gy_plan_output(p, "ga").data;
    for (int i = 0; i < 4; i++) assert_close(have[i], 2 * (length - 1) * v[i] / length, 1e-12);
    gy_plan_free(p);
    gy_graph_free(g);
}

/* ---- training ---- */

static bool stop_at_two(void *user, const gy_job *j, const gy_metrics *logged) {
    (void)user, (void)logged;
    return j->step != 2;
}

static void training_in_two_parts_gives_the_same_bits(void **state) {
    gy_ctx *ctx = *state;
    gy_job whole, parts;
    start(ctx, &whole, small);
    start(ctx, &parts, small);
    assert_ok(ctx, gy_job_open(&whole));
    assert_ok(ctx, gy_job_open(&parts));
    assert_ok(ctx, gy_job_train(&whole));
    parts.sink.step = stop_at_two;
    assert_int_equal(gy_job_train(&parts), GY_ERR_INTERRUPTED);
    assert_int_equal(parts.step, 2);
    assert_ok(ctx, gy_job_train(&parts));
    assert_int_equal(gy_store_count(whole.store), gy_store_count(parts.store));
    for (int64_t i = 0; i < gy_store_count(whole.store); i++) {
        const gy_state *a = gy_store_at(whole.store, i), *b = gy_state_find(parts.store, a->name);
        assert_non_null(b);
        assert_memory_equal(a->value.data, b->value.data, gy_tensor_bytes(&a->value));
    }
    gy_job_free(&whole);
    gy_job_free(&parts);
}

static void evaluation_leaves_training_alone_and_samples_are_pictures(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    gy_tensor t;
    start(ctx, &j, small);
    assert_ok(ctx, gy_job_open(&j));
    j.steps = 1;
    assert_ok(ctx, gy_job_train(&j));
    int64_t states = gy_store_count(j.store);
    assert_ok(ctx, j.def->evaluate(&j, &m));
    assert_int_equal(gy_store_count(j.store), states);
    assert_true(isfinite(gy_metric_get(&m, "gan.band_error")) && isfinite(gy_metric_get(&m, "noise.mmd2")));
    assert_ok(ctx, j.def->sample(&j, 3, &t));
    assert_true(gy_shape_equal(t.shape, GY_S(3, 80, 96, 1)));
    gy_tensor_free(ctx, &t);
    gy_job_free(&j);
}

/* The moving average is what is evaluated with. */
static void averaged_store_holds_the_averages(void **state) {
    gy_ctx *ctx = *state;
    gy_store *s = gy_store_new(ctx);
    gy_state *p = gy_state_get(s, "a", GY_PARAM, GY_F32, GY_S(2), (gy_init){GY_INIT_CONSTANT, 1}, 0);
    gy_state *e = gy_state_get(s, "a.ema", GY_SLOT, GY_F32, GY_S(2), (gy_init){GY_INIT_CONSTANT, 2}, 0);
    gy_state *b = gy_state_get(s, "b", GY_BUFFER, GY_F32, GY_S(1), (gy_init){GY_INIT_CONSTANT, 3}, 0);
    assert_true(p && e && b);
    gy_store *average = gy_store_averaged(s);
    assert_non_null(average);
    assert_int_equal(gy_store_count(average), 2);
    assert_true(gy_tensor_get(&gy_state_find(average, "a")->value, 1) == 2);
    assert_true(gy_tensor_get(&gy_state_find(average, "b")->value, 0) == 3);
    assert_true(gy_tensor_get(&p->value, 0) == 1);
    gy_store_free(average);
    gy_store_free(s);
}

/* ---- a folder of windows ---- */

static void write_folder(gy_ctx *ctx, const char *dir, int64_t rows, const char *labels[], float spoil) {
    char path[256];
    gy_tensor t;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(10, 5, 100)));
    for (int64_t i = 0; i < 5000; i++) ((float *)t.data)[i] = (float)sin(0.1 * (double)i);
    if (spoil != 0) ((float *)t.data)[7] = spoil;
    snprintf(path, sizeof path, "%s/eeg.npy", dir);
    assert_ok(ctx, gy_npy_write(ctx, path, &t));
    gy_tensor_free(ctx, &t);
    snprintf(path, sizeof path, "%s/trials.csv", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "subject,label\n");
    for (int64_t i = 0; i < rows; i++) fprintf(f, "s%d,%s\n", (int)(i / 2), labels[i % 2]);
    fclose(f);
}

static void opens(gy_ctx *ctx, const char *dir, const char *complaint) {
    gy_job j;
    start(ctx, &j, small);
    j.data_path = dir;
    if (complaint) {
        assert_message(ctx, gy_job_open(&j), complaint);
    } else {
        assert_ok(ctx, gy_job_open(&j));
        const lab *d = j.data;
        assert_int_equal(d->train.n, 8);
        assert_int_equal(d->test.n, 2); /* the fifth subject's */
        assert_int_equal(d->classes, 2);
        assert_string_equal(d->name[1], "jaw");
        double sum = 0, square = 0;
        for (int64_t i = 0; i < 8 * 96; i++) {
            sum += d->train.x[i * 4];
            square += d->train.x[i * 4] * d->train.x[i * 4];
        }
        assert_close(sum / (8 * 96), 0, 1e-5);
        assert_close(square / (8 * 96), 1, 1e-4);
        j.steps = 1;
        assert_ok(ctx, gy_job_train(&j));
    }
    gy_job_free(&j);
}

static void folders_of_windows_are_read_and_bad_ones_refused(void **state) {
    char dir[] = "/tmp/artifactgenXXXXXX", path[256];
    const char *two[] = {"eye", "jaw"};
    assert_non_null(mkdtemp(dir));
    opens(*state, dir, "eeg.npy");
    write_folder(*state, dir, 10, two, 0);
    opens(*state, dir, NULL);
    write_folder(*state, dir, 9, two, 0);
    opens(*state, dir, "9 rows for 10 windows");
    write_folder(*state, dir, 10, two, NAN);
    opens(*state, dir, "not finite");
    snprintf(path, sizeof path, "%s/channels.txt", dir);
    FILE *f = fopen(path, "w");
    fprintf(f, "Cz\nFp1\n");
    fclose(f);
    write_folder(*state, dir, 10, two, 0);
    opens(*state, dir, "2 names for 5 channels");
    static const char *const files[] = {"eeg.npy", "trials.csv", "channels.txt"};
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, files[i]);
        unlink(path);
    }
    rmdir(dir);
}

static void bad_options_are_refused(void **state) {
    static const char *const bad[][2] = {
        {"part=both", "part"}, {"gan_length=999", "gan_length"}, {"length=130", "multiples"}};
    for (int i = 0; i < 3; i++) {
        gy_job j;
        assert_message(*state, gy_job_init(&j, *state, gy_model_find("artifactgen"), NULL, &bad[i][0], 1), bad[i][1]);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(paper_configuration_has_the_papers_sizes),
        TEST(generator_critic_and_penalty_are_pytorchs),
        TEST(the_unet_is_pytorchs),
        TEST(penalty_gradient_is_that_of_differences),
        TEST(penalty_of_a_linear_critic_is_known),
        TEST(training_in_two_parts_gives_the_same_bits),
        TEST(evaluation_leaves_training_alone_and_samples_are_pictures),
        TEST(averaged_store_holds_the_averages),
        TEST(folders_of_windows_are_read_and_bad_ones_refused),
        TEST(bad_options_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
