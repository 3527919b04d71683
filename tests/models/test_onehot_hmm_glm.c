/* onehot-hmm-glm: its sizes, its values against torch and hmmlearn, EM against the likelihood's own gradient, resuming,
 * learning, tables of spikes and of trials, bad tables and options. */
#include "../harness/golden_model.h"
#include "../harness/jobs.h"

#include "core/op.h"
#include "io/files.h"
#include "models/blocks/gumbel.h"
#include "models/encoding/onehot-hmm-glm.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const gy_model_def *def(void) {
    return gy_model_find("onehot-hmm-glm");
}

static const char *const small[] = {"outputs=4",  "states=2", "length=30",    "train=2",   "test=2",
                                    "restarts=2", "steps=6",  "warm_steps=6", "e_every=3", NULL};

static void paper_configuration_has_the_papers_parameters(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    assert_ok(ctx, gy_job_init(&j, ctx, def(), "paper", NULL, 0));
    gy_store_free(j.store);
    j.store = gy_store_new_dry(ctx);
    j.batch = 1;
    assert_ok(ctx, gy_job_compile_phase(&j, 1, true, &c));
    assert_int_equal(gy_shape_count(state_value(&j, "glm.theta")->shape), 5 * 20 * 20 * 3);
    assert_int_equal(gy_shape_count(state_value(&j, "glm.eta")->shape), 5 * 20 * 20);
    assert_int_equal(gy_store_parameters(j.store), 6000 + 2000 + 1200 + 20); /* theta, eta, theta0, bias */
    gy_compiled_free(&c);
    gy_job_free(&j);
}

/* ---- against torch and hmmlearn ---- */

static gy_t output_of(const gy_graph *g, const char *name) {
    for (int64_t i = 0; i < g->n_output; i++)
        if (strcmp(g->output[i].name, name) == 0) return g->output[i].value;
    fail_msg("no output '%s'", name);
    return GY_NONE;
}

/* The value that the model reads: equal nodes of one scope are one node. */
static gy_t read_as_the_model_does(gy_graph *g, gy_store *store, const char *name) {
    gy_scope_push(g, "glm");
    gy_t x = gy_read(g, gy_state_find(store, name));
    gy_scope_pop(g);
    return x;
}

static void values_and_gradients_match_torch_and_hmmlearn(void **state) {
    static const char *const settings[] = {"outputs=5", "states=3", "length=40"};
    gy_ctx *ctx = *state;
    gy_job j;
    golden_model t;
    gy_t logits[2], density, x[2], gx[2];
    assert_ok(ctx, gy_job_init(&j, ctx, def(), "tiny", settings, 3));
    golden_open(&t, ctx, "onehot_hmm_glm");
    gy_build b = {.m = &t.m, .cfg = j.cfg, .batch = 2};
    def()->build(&b);
    x[0] = read_as_the_model_does(t.g, t.store, "glm.eta");
    x[1] = read_as_the_model_does(t.g, t.store, "glm.bias");
    gy_grad(gy_sum(output_of(t.g, "log_likelihood"), GY_ALL), GY_NONE, 2, x, gx);
    gy_output(gx[0], "grad.eta");
    gy_output(gx[1], "grad.bias");
    logits[0] = golden_input(&t, "logits");
    logits[1] = golden_input(&t, "logits0");
    density = gy_concrete_log_density(gy_log_softmax(logits[1], -1), gy_log_softmax(logits[0], -1), 0.7);
    gy_output(density, "density");
    gy_t weight = gy_add_scalar(gy_iota(t.g, GY_F32, 6), 1);
    gy_grad(gy_sum(gy_mul(density, weight), GY_ALL), GY_NONE, 2, logits, gx);
    gy_output(gx[0], "grad.logits");
    gy_output(gx[1], "grad.logits0");
    golden_run(&t, "onehot_hmm_glm", NULL, NULL);
    golden_compare(&t, "posterior", 1e-5);
    golden_compare(&t, "log_likelihood", 1e-6);
    golden_compare(&t, "path", 0);
    golden_compare(&t, "weight", 1e-6);
    golden_compare(&t, "grad.eta", 1e-4);
    golden_compare(&t, "grad.bias", 1e-4);
    golden_compare(&t, "density", 1e-5);
    golden_compare(&t, "grad.logits", 1e-4);
    golden_compare(&t, "grad.logits0", 1e-4);
    golden_close(&t);
    gy_job_free(&j);
}

/* Midpoints of a fine grid over the 2-simplex; tau 1.3 keeps the density finite at its border. */
static void concrete_density_integrates_to_one(void **state) {
    enum { N = 400 };
    gy_ctx *ctx = *state;
    double *a = malloc((size_t)N * N * 3 * sizeof *a), sum = 0;
    int64_t n = 0;
    for (int i = 0; i < N; i++)
        for (int k = 0; k + i < N; k++) {
            double u = (i + 1.0 / 3) / N, v = (k + 1.0 / 3) / N; /* centre of a triangle of area 1 / (2 N^2) */
            for (int up = 0; up < 2; up++) {
                if (up) u += 1.0 / (3 * N), v += 1.0 / (3 * N);
                if (u + v >= 1) continue;
                a[3 * n] = log(u), a[3 * n + 1] = log(v), a[3 * n + 2] = log(1 - u - v);
                n++;
            }
        }
    gy_graph *g = gy_graph_new(ctx);
    double pi[3] = {log(0.2), log(0.5), log(0.3)};
    gy_tensor p = {.dtype = GY_F64, .shape = GY_S(3), .data = pi, .borrowed = true};
    gy_t x = gy_input(g, "a", GY_F64, GY_S(n, 3));
    gy_output(gy_exp(gy_concrete_log_density(gy_const(g, &p), x, 1.3)), "density");
    gy_plan *plan = gy_compile(g, (gy_plan_args){0});
    assert_non_null(plan);
    memcpy(gy_plan_input(plan, "a"), a, (size_t)(3 * n) * sizeof *a);
    assert_ok(ctx, gy_plan_run(plan));
    const double *d = gy_plan_output(plan, "density").data;
    for (int64_t i = 0; i < n; i++) sum += d[i] / (2.0 * N * N);
    assert_close(sum, 1, 2e-3);
    gy_plan_free(plan);
    gy_graph_free(g);
    free(a);
}

/* Fisher's identity: with a fresh posterior, the M step's gradient is the gradient of the likelihood itself. After one
 * Adam step the first moment holds a tenth of it. The posterior has gone through the host, the gradient not. */
static void first_m_step_follows_the_gradient_of_the_likelihood(void **state) {
    static const char *const settings[] = {"outputs=4",  "states=2",     "length=30", "train=2",  "test=2",
                                           "restarts=1", "warm_steps=1", "steps=1",   "model=hg", NULL};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled run;
    start_job(ctx, &j, "onehot-hmm-glm", 4, settings);
    j.steps = 2;
    assert_ok(ctx, gy_job_train(&j)); /* phase 1's one step used the weights that phase 0 left in start.* */
    run.g = gy_graph_new(ctx);
    gy_mod m = gy_mod_make(run.g, j.store, 4, false);
    gy_build b = {.m = &m, .cfg = j.cfg, .batch = 2, .job = &j};
    memcpy(state_value(&j, "glm.weight")->data, state_value(&j, "start.weight")->data,
           gy_tensor_bytes(state_value(&j, "glm.weight")));
    memcpy(state_value(&j, "glm.bias")->data, state_value(&j, "start.bias")->data,
           gy_tensor_bytes(state_value(&j, "glm.bias")));
    memcpy(state_value(&j, "glm.log_transition")->data, state_value(&j, "start.log_transition")->data,
           gy_tensor_bytes(state_value(&j, "glm.log_transition")));
    def()->build(&b);
    gy_t x = read_as_the_model_does(run.g, j.store, "glm.weight"), gx;
    gy_grad(gy_sum(output_of(run.g, "log_likelihood"), GY_ALL), GY_NONE, 1, &x, &gx);
    gy_output(gx, "gradient");
    run.plan = gy_compile(run.g, (gy_plan_args){0});
    assert_non_null(run.plan);
    gy_ohg_feed(&((lab *)j.data)->data, run.plan, 0, 2);
    assert_ok(ctx, gy_plan_run(run.plan));
    gy_tensor want = gy_plan_output(run.plan, "gradient");
    const gy_tensor *moment = state_value(&j, "glm.weight.adam_m");
    double top = 0;
    for (int64_t i = 0; i < gy_shape_count(want.shape); i++) {
        double g = -gy_tensor_get(&want, i) / 60; /* of 60 bins */
        top = fmax(top, fabs(g));
        assert_true(fabs(10 * gy_tensor_get(moment, i) - g) < 1e-5);
    }
    assert_true(top > 1e-3);
    gy_compiled_free(&run);
    gy_job_free(&j);
}

/* ---- training ---- */

static void resumed_run_is_bit_identical(void **state) {
    /* in the free model, between two E steps of the one-hot model, the end */
    static const int64_t stops[] = {2, 7, 12};
    assert_resume_is_bit_identical(*state, "onehot-hmm-glm", small, 3, stops);
}

static void training_finds_states_and_beats_one_state(void **state) {
    static const char *const settings[] = {"outputs=8", "states=2", "length=300",    "train=4",
                                           "test=3",    "steps=60", "warm_steps=80", NULL};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    start_job(ctx, &j, "onehot-hmm-glm", 100, settings);
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, def()->evaluate(&j, &m));
    double ll = gy_metric_get(&m, "log_likelihood"), best = gy_metric_get(&m, "log_likelihood.oracle");
    if (!(gy_metric_get(&m, "state_accuracy") > 0.85)) fail_msg("states: %g", gy_metric_get(&m, "state_accuracy"));
    if (!(ll < best && ll > best - 0.3)) fail_msg("log-likelihood %g, oracle %g", ll, best);
    if (!(gy_metric_get(&m, "edge_f1") > 0.5)) fail_msg("edges: %g", gy_metric_get(&m, "edge_f1"));
    gy_job_free(&j);
}

static void a_run_that_stopped_in_the_free_model_does_not_answer(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    start_job(ctx, &j, "onehot-hmm-glm", 6, small);
    j.steps = 3;
    assert_ok(ctx, gy_job_train(&j));
    assert_message(ctx, gy_job_compile(&j, 1, NULL, 0, &c), "stopped after step 3, before the one-hot model's first");
    gy_job_free(&j);
}

/* ---- tables ---- */

static char folder[64];

static const char *write_file(const char *name, const char *text) {
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    return path;
}

/* Opens `text` as a table; returns the status, the message is on ctx. The caller frees the job. */
static gy_status open_table(gy_ctx *ctx, gy_job *j, const char *preset, const char *text, const char *const *settings,
                            int64_t n) {
    assert_ok(ctx, gy_job_init(j, ctx, def(), preset, settings, n));
    j->data_path = write_file("table.csv", text);
    return gy_job_open(j);
}

static void refused(gy_ctx *ctx, const char *preset, const char *text, const char *message) {
    gy_job j;
    assert_message(ctx, open_table(ctx, &j, preset, text, NULL, 0), message);
    gy_error_clear(ctx);
    gy_job_free(&j);
}

static void spike_tables_are_cut_into_sequences(void **state) {
    static const char *const settings[] = {"length=3", "train_share=0.5"};
    gy_ctx *ctx = *state;
    gy_job j;
    assert_ok(ctx, open_table(ctx, &j, "tiny", "a,b\n0,1\n1,0\n2,0\n0,3\n0,0\n1,1\n4,0\n", settings, 2));
    const series *d = &((lab *)j.data)->data;
    assert_int_equal(d->n, 3);
    assert_int_equal(d->train, 1);
    assert_int_equal(d->steps[2], 1);
    assert_int_equal(d->outputs, 2);
    assert_true(d->count[(1 * 3 + 0) * 2 + 1] == 3 && d->count[2 * 3 * 2] == 4 && d->count[(2 * 3 + 1) * 2] == 0);
    gy_job_free(&j);
    assert_ok(ctx, open_table(ctx, &j, "tiny", "sequence,a,b\nx,0,1\nx,1,0\ny,2,0\nz,1,0\nz,1,1\n", NULL, 0));
    d = &((lab *)j.data)->data;
    assert_int_equal(d->n, 3);
    assert_int_equal(d->length, 2);
    assert_int_equal(d->steps[1], 1);
    gy_job_free(&j);
}

/* Two sessions of a made animal that answers 2 where `side` is positive. */
static void choices_are_learned_from_a_table_of_trials(void **state) {
    static const char *const settings[] = {"inputs=side,noise", "states=1", "restarts=1", "warm_steps=60", "steps=40"};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    char text[16384];
    size_t at = (size_t)snprintf(text, sizeof text, "session,y,side,noise\n");
    for (int i = 0; i < 400; i++) {
        double side = i * 37 % 101 / 50.0 - 1, noise = i * 53 % 97 / 48.0 - 1;
        at += (size_t)snprintf(text + at, sizeof text - at, "%d,%d,%g,%g\n", i / 100, side > 0 ? 2 : 1, side, noise);
    }
    assert_ok(ctx, open_table(ctx, &j, "behaviour", text, settings, 5));
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, def()->evaluate(&j, &m));
    assert_true(gy_metric_get(&m, "accuracy") > 0.95);
    assert_true(gy_metric_get(&m, "log_likelihood") > -0.35);
    const lab *d = j.data;
    assert_true(d->found.weight[0] > 1 && fabs(d->found.weight[1]) < 0.5 * d->found.weight[0]);
    gy_job_free(&j);
}

static void bad_tables_are_refused_with_place_and_reason(void **state) {
    gy_ctx *ctx = *state;
    refused(ctx, "tiny", "sequence,a,b\n0,1,1\n1,0.5,2\n", "line 3, column 'a': '0.5' is no spike count");
    refused(ctx, "tiny", "sequence,a,b\n0,1,1\n1,-1,2\n", "'-1' is no spike count");
    refused(ctx, "tiny", "sequence,a,b\n0,1,1\n1,n/a,2\n", "'n/a' is no spike count");
    refused(ctx, "tiny", "sequence,a,b\n0,1,1\n1,256,2\n", "'256' is no spike count from 0 to 255");
    refused(ctx, "tiny", "sequence,a,b\n0,1,1\n0,1,2\n", "1 sequence of 2 rows: expected at least 2");
    refused(ctx, "tiny", "sequence,a\n0,1\n1,1\n", "1 neuron: expected at least 2 columns");
    refused(ctx, "behaviour", "session,y\n0,1\n1,2\n", "s1");
    refused(ctx, "behaviour",
            "session,y,s1,s2,s_avg_prev,h_prev,r_prev,c_prev\n0,1,1,2,3,4,5,6\n1,3,2,3,4,5,6,7\n"
            "1,2,2,3,4,5,6,7\n",
            "line 4: response 'y' is 2, expected two values");
    refused(ctx, "behaviour", "session,y,s1,s2,s_avg_prev,h_prev,r_prev,c_prev\n0,1,1,2,3,4,5,6\n1,1,2,3,4,5,6,7\n",
            "response 'y' is always 1");
    refused(ctx, "behaviour",
            "session,y,s1,s2,s_avg_prev,h_prev,r_prev,c_prev\n0,1,1,2,3,4,5,6\n0,2,2,3,3,5,6,7\n"
            "1,2,2,3,4,5,6,7\n",
            "column 's_avg_prev' does not change in the training rows");
    refused(ctx, "behaviour", "session,y,s1,s2,s_avg_prev,h_prev,r_prev,c_prev\n0,1,1,2,3,x,5,6\n1,2,2,3,3,5,6,7\n",
            "line 2, column 6 'h_prev': expected a number");
}

static void bad_options_are_named(void **state) {
    static const char *const cases[][2] = {
        {"model=free", "model='free': expected hg, ghg or ohg"},
        {"family=gauss", "family='gauss': expected sigmoid, softplus or bernoulli"},
        {"prior=none", "prior='none': expected categorical or concrete"},
        {"response=y", "a response goes with family=bernoulli"},
        {"covariates=3", "covariates=3 go with family=bernoulli"},
        {"states=17", "outside [1, 16]"},
        {"lag=2", "did you mean 'lags'?"},
    };
    gy_ctx *ctx = *state;
    gy_job j;
    assert_settings_are_refused(ctx, "onehot-hmm-glm", sizeof cases / sizeof *cases, cases);
    assert_ok(ctx, gy_job_init(&j, ctx, def(), NULL, (const char *[]){"family=softplus"}, 1));
    assert_message(ctx, gy_job_open(&j), "family=softplus needs data");
    gy_job_free(&j);
}

static void out_of_memory_while_opening_leaks_nothing(void **state) {
    assert_opening_survives_lack_of_memory(*state, "onehot-hmm-glm", small, 19);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(paper_configuration_has_the_papers_parameters),
        TEST(values_and_gradients_match_torch_and_hmmlearn),
        TEST(concrete_density_integrates_to_one),
        TEST(first_m_step_follows_the_gradient_of_the_likelihood),
        TEST(resumed_run_is_bit_identical),
        TEST(training_finds_states_and_beats_one_state),
        TEST(a_run_that_stopped_in_the_free_model_does_not_answer),
        TEST(spike_tables_are_cut_into_sequences),
        TEST(choices_are_learned_from_a_table_of_trials),
        TEST(bad_tables_are_refused_with_place_and_reason),
        TEST(bad_options_are_named),
        TEST(out_of_memory_while_opening_leaks_nothing),
    };
    snprintf(folder, sizeof folder, "/tmp/gyrus-onehot-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char path[128];
    snprintf(path, sizeof path, "%s/table.csv", folder);
    unlink(path);
    rmdir(folder);
    return failed;
}
