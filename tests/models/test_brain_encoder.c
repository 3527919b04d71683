/* brain-encoder-transformer: the decoder against torch, DINOv2 against transformers, sizes, learning, resuming, folders
 * of arrays, bad options. */
#include "../harness/golden_model.h"
#include "../harness/jobs.h"

#include "core/op.h"
#include "core/rng.h"
#include "io/formats/npy.h"
#include "models/blocks/detr.h"
#include "models/blocks/dinov2.h"
#include "models/encoding/brain-encoder-transformer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const gy_model_def *def(void) {
    return gy_model_find("brain-encoder-transformer");
}

static const char *const small[] = {"grid=4",  "width=8",  "heads=2", "inner=12", "areas=3",     "left=12", "batch=8",
                                    "steps=6", "train=20", "valid=4", "test=8",   "dropout=0.1", NULL};

/* ---- against torch and transformers ---- */

static gy_t output_of(const gy_graph *g, const char *name) {
    for (int64_t i = 0; i < g->n_output; i++)
        if (strcmp(g->output[i].name, name) == 0) return g->output[i].value;
    fail_msg("no output '%s'", name);
    return GY_NONE;
}

/* w_ij = cos(2 i + j) */
static gy_t waves(gy_graph *g, int64_t rows, int64_t cols) {
    float w[512];
    assert_true(rows * cols <= 512);
    for (int64_t i = 0; i < rows * cols; i++) w[i] = (float)cos(2.0 * (double)(i / cols) + (double)(i % cols));
    gy_tensor t = {.dtype = GY_F32, .shape = GY_S(rows, cols), .data = w, .borrowed = true};
    return gy_const(g, &t);
}

static void decoder_and_readout_match_torch(void **state) {
    static const char *const settings[] = {"grid=4", "width=8", "heads=2", "inner=12", "areas=3", "hemispheres=2",
                                           "left=7", "right=5", "train=4", "test=4",   NULL};
    gy_ctx *ctx = *state;
    gy_job j;
    golden_model t;
    start_job(ctx, &j, "brain-encoder-transformer", 1, settings);
    golden_open(&t, ctx, "brain_encoder");
    gy_tensor areas = golden_tensor(&t, "areas"), want = golden_tensor(&t, "positions"), have;
    memcpy(((lab *)j.data)->data.area, areas.data, gy_tensor_bytes(&areas)); /* mixed, as in the file */
    assert_ok(ctx, gy_detr_positions(ctx, 4, 4, 8, &have));
    for (int64_t i = 0; i < 16 * 8; i++) assert_close(gy_tensor_get(&have, i), gy_tensor_get(&want, i), 1e-6);
    gy_build b = {.m = &t.m, .cfg = j.cfg, .batch = 2, .job = &j};
    def()->build(&b);
    gy_t y = output_of(t.g, "response"), tokens = gy_input(t.g, "tokens", GY_F32, GY_S(2, 16, 8));
    golden_gradients(&t, gy_sum(gy_mul(y, waves(t.g, 2, 12)), GY_ALL), 1, (const char *const[]){"tokens"}, &tokens);
    golden_run(&t, "brain_encoder", NULL, def()->ignorable);
    golden_compare(&t, "response", 1e-5);
    golden_compare(&t, "attention", 1e-5);
    golden_compare_gradients(&t, 1e-4);
    gy_tensor_free(ctx, &areas);
    gy_tensor_free(ctx, &want);
    gy_tensor_free(ctx, &have);
    golden_close(&t);
    gy_job_free(&j);
}

static void dinov2_queries_match_transformers(void **state) {
    static const gy_dinov2 c = {16, 2, 2, 4, 6};
    golden_model t;
    golden_open(&t, *state, "dinov2");
    gy_t image = golden_input(&t, "image"), q = gy_dinov2_queries(&t.m, &c, image), gx;
    gy_output(q, "queries");
    gy_grad(gy_sum(gy_mul(gy_reshape(q, 20, 16), waves(t.g, 20, 16)), GY_ALL), GY_NONE, 1, &image, &gx);
    gy_output(gx, "grad.image");
    golden_run(&t, "dinov2", gy_dinov2_rules, NULL);
    golden_compare(&t, "queries", 1e-5);
    golden_compare(&t, "grad.image", 1e-4);
    golden_close(&t);
}

static void cubic_weights_match_torch(void **state) {
    golden_model t;
    float down[5 * 37], across[7 * 37];
    golden_open(&t, *state, "brain_encoder");
    gy_tensor x = golden_tensor(&t, "ramp"), want = golden_tensor(&t, "cubic");
    gy_cubic_weights(37, 5, down);
    gy_cubic_weights(37, 7, across);
    for (int o = 0; o < 35; o++) {
        double sum = 0;
        for (int i = 0; i < 37 * 37; i++)
            sum += (double)down[o / 7 * 37 + i / 37] * (double)across[o % 7 * 37 + i % 37] * gy_tensor_get(&x, i);
        assert_close(sum, gy_tensor_get(&want, o), 1e-5);
    }
    gy_tensor_free(*state, &x);
    gy_tensor_free(*state, &want);
    golden_close(&t);
}

static void grouped_linear_equals_masked_dense_readout(void **state) {
    enum { B = 3, Q = 4, D = 5, V = 9 };
    static const int64_t group[V] = {3, 0, 0, 2, 3, 0, 2, 2, 3}; /* nobody reads query 1 */
    gy_ctx *ctx = *state;
    gy_store *store = gy_store_new(ctx);
    gy_graph *g = gy_graph_new(ctx);
    gy_mod m = gy_mod_make(g, store, 3, false);
    gy_t x = gy_random_normal(g, "x", GY_F32, GY_S(B, Q, D));
    gy_output(gy_grouped_linear(&m, "read", x, V, group), "have");
    gy_output(x, "x");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_non_null(p);
    gy_plan_set_rng(p, 1, 0);
    assert_ok(ctx, gy_plan_run(p));
    const float *w = gy_state_find(store, "read.weight")->value.data,
                *bias = gy_state_find(store, "read.bias")->value.data, *in = gy_plan_output(p, "x").data,
                *have = gy_plan_output(p, "have").data;
    for (int i = 0; i < B * V; i++) {
        int v = i % V;
        double sum = (double)bias[v];
        for (int d = 0; d < D; d++) sum += (double)w[v * D + d] * (double)in[(i / V * Q + group[v]) * D + d];
        assert_close((double)have[i], sum, 1e-5);
    }
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
}

/* Backbone: ViT-B/14 without what follows the last block's queries; decoder without what the official code builds and
 * never runs (a self-attention of 2,362,368, norm2, memory_proj). */
static void paper_configuration_has_the_papers_parameters(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled c;
    int64_t backbone = 0, all, d = 768;
    assert_ok(ctx, gy_job_init(&j, ctx, def(), "paper", NULL, 0));
    gy_store_free(j.store);
    j.store = gy_store_new_dry(ctx);
    j.batch = 16;
    assert_ok(ctx, gy_job_compile_phase(&j, 0, true, &c));
    for (int64_t i = 0; i < gy_store_count(j.store); i++) {
        const gy_state *s = gy_store_at(j.store, i);
        if (s->kind == GY_PARAM && strncmp(s->name, "backbone.", 9) == 0) {
            backbone += gy_shape_count(s->value.shape);
            assert_true(s->frozen);
        }
    }
    int64_t whole = 86580480; /* facebook/dinov2-base, mask token and last norm included */
    assert_int_equal(backbone, whole - d - 2 * d - (3 * (d * d + d) + d + 2 * d + (8 * d * d + 5 * d) + d));
    all = gy_store_parameters(j.store) - backbone;
    int64_t attention = 4 * (d * d + d), mlp = d * 1024 + 1024 + 1024 * d + d, norms = 3 * 2 * d;
    assert_int_equal(all, attention + mlp + norms + 16 * d + (d + 1) * 39548);
    gy_compiled_free(&c);
    gy_job_free(&j);
}

/* ---- training ---- */

static void routing_finds_the_objects_and_one_query_cannot_serve_a_map(void **state) {
    static const char *const settings[] = {"grid=4",    "width=16",  "heads=2",   "inner=32", "areas=3",  "left=30",
                                           "steps=300", "train=600", "valid=100", "test=200", "lr=0.005", NULL};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    start_job(ctx, &j, "brain-encoder-transformer", 2, settings);
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, def()->evaluate(&j, &m));
    double category = gy_metric_get(&m, "explained_variance.area0"),
           place = gy_metric_get(&m, "explained_variance.area2");
    if (!(category > 0.4 && place < 0.2)) fail_msg("category %g, place %g", category, place);
    if (!(gy_metric_get(&m, "attention_on_object") > 0.8))
        fail_msg("hits %g", gy_metric_get(&m, "attention_on_object"));
    gy_job_free(&j);
}

static void resumed_run_is_bit_identical(void **state) {
    static const int64_t stops[] = {4, 6};
    assert_resume_is_bit_identical(*state, "brain-encoder-transformer", small, 2, stops);
}

static void every_model_and_readout_trains(void **state) {
    static const char *const kinds[][2] = {{"model=spatial", "readout=areas"},
                                           {"model=spatial", "readout=vertices"},
                                           {"model=attention", "readout=vertices"}};
    gy_ctx *ctx = *state;
    for (int k = 0; k < 3; k++) {
        const char *settings[] = {"grid=4",  "width=8", "heads=2",   "areas=3",   "hemispheres=2",
                                  "left=12", "right=9", "batch=8",   "steps=2",   "train=20",
                                  "valid=4", "test=8",  kinds[k][0], kinds[k][1], NULL};
        gy_job j;
        gy_metrics m = {0};
        start_job(ctx, &j, "brain-encoder-transformer", 3, settings);
        assert_ok(ctx, gy_job_train(&j));
        assert_ok(ctx, def()->evaluate(&j, &m));
        assert_true(isfinite(gy_metric_get(&m, "mean")));
        gy_job_free(&j);
    }
}

/* ---- folders ---- */

static char folder[64];

static void put(gy_ctx *ctx, const char *name, gy_dtype dtype, gy_shape shape, const void *data) {
    char path[128];
    gy_tensor t = {.dtype = dtype, .shape = shape, .data = (void *)(uintptr_t)data, .borrowed = true};
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    assert_ok(ctx, gy_npy_write(ctx, path, &t));
}

enum { N = 40, T = 4, D = 8, V = 6 };

/* Responses are linear in the mean token; vertices 0 to 2 in area 0, the others in area 1. */
static void write_folder(gy_ctx *ctx) {
    static float x[N * T * D], y[N * V];
    static const int64_t area[V] = {0, 0, 0, 1, 1, 1};
    gy_rng r;
    gy_rng_init(&r, 1, "folder");
    for (int i = 0; i < N * T * D; i++) x[i] = (float)gy_rng_normal(&r);
    for (int i = 0; i < N * V; i++) {
        y[i] = 5;
        for (int t = 0; t < T; t++) y[i] += x[i / V * T * D + t * D + i % V];
    }
    put(ctx, "tokens", GY_F32, GY_S(N, T, D), x);
    put(ctx, "responses", GY_F32, GY_S(N, V), y);
    put(ctx, "areas", GY_I64, GY_S(V), area);
}

static gy_status open_folder(gy_ctx *ctx, gy_job *j, const char *path) {
    static const char *const settings[] = {"heads=2", "inner=16", "areas=2", "left=6", "batch=16", "steps=3"};
    assert_ok(ctx, gy_job_init(j, ctx, def(), "tiny", settings, 6));
    j->data_path = path;
    return gy_job_open(j);
}

static void folders_of_tokens_are_read_trained_on_and_evaluated(void **state) {
    gy_ctx *ctx = *state;
    gy_job j;
    gy_metrics m = {0};
    write_folder(ctx);
    assert_ok(ctx, open_folder(ctx, &j, folder));
    const set *d = &((const lab *)j.data)->data;
    assert_true(d->n[TRAIN] == 32 && d->n[VALID] == 4 && d->n[TEST] == 4 && d->vertices == V && d->width == D);
    double mean = 0, square = 0;
    for (int i = 0; i < 32; i++) mean += (double)d->y[i * V] / 32, square += (double)(d->y[i * V] * d->y[i * V]) / 32;
    assert_close(mean, 0, 1e-6);
    assert_close(square, 1, 1e-5);
    assert_ok(ctx, gy_job_train(&j));
    assert_ok(ctx, def()->evaluate(&j, &m));
    assert_true(isfinite(gy_metric_get(&m, "r.area1")) && isfinite(gy_metric_get(&m, "mean.ridge")));
    gy_job_free(&j);
}

static void refused(gy_ctx *ctx, const char *message) {
    gy_job j;
    assert_message(ctx, open_folder(ctx, &j, folder), message);
    gy_error_clear(ctx);
    gy_job_free(&j);
    write_folder(ctx);
}

static void bad_folders_are_refused_with_file_and_place(void **state) {
    static const float zeros[N * 5 * D] = {0}, bad[V * N] = {0, NAN};
    static const int64_t far[V] = {0, 0, 0, 1, 1, 2};
    gy_ctx *ctx = *state;
    gy_job j;
    char path[128];
    write_folder(ctx);
    put(ctx, "areas", GY_I64, GY_S(V), far);
    refused(ctx, "areas.npy: vertex 5 is in area 2, expected 0 to 1");
    put(ctx, "areas", GY_I64, GY_S(V - 1), far);
    refused(ctx, "areas.npy: 5 entries for 6 vertices");
    put(ctx, "responses", GY_F32, GY_S(N, V), bad);
    refused(ctx, "responses.npy: element 1 is");
    put(ctx, "responses", GY_F32, GY_S(N / 2, V), zeros);
    refused(ctx, "40 samples with 20 rows of responses");
    put(ctx, "tokens", GY_F32, GY_S(N, 5, D), zeros);
    refused(ctx, "tokens.npy: 5 tokens of 8 features: expected a square map");
    put(ctx, "tokens", GY_F32, GY_S(N, D), zeros);
    refused(ctx, "tokens.npy: expected 3 axes, found shape [40, 8]");
    snprintf(path, sizeof path, "%s/responses.npy", folder);
    unlink(path);
    refused(ctx, "responses.npy");
    assert_message(ctx, open_folder(ctx, &j, "README.md"), "expected a folder with tokens.npy");
    gy_job_free(&j);
}

static void bad_options_are_named(void **state) {
    static const char *const cases[][2] = {
        {"model=linear", "model='linear': expected attention or spatial"},
        {"readout=voxels", "readout='voxels': expected areas or vertices"},
        {"backbone=clip", "backbone='clip': expected none or dinov2"},
        {"backbone=dinov2", "width=32: dinov2 gives 768 features"},
        {"heads=5", "width=32: expected a multiple of 4 and of heads=5"},
        {"right=10", "hemispheres=1 with right=10"},
        {"area=3", "did you mean 'areas'?"},
    };
    gy_ctx *ctx = *state;
    gy_job j;
    assert_settings_are_refused(ctx, "brain-encoder-transformer", sizeof cases / sizeof *cases, cases);
    assert_ok(ctx, gy_job_init(&j, ctx, def(), NULL, (const char *[]){"grid=2"}, 1));
    assert_message(ctx, gy_job_open(&j), "5 areas need as many cells, found 4");
    gy_job_free(&j);
}

static void out_of_memory_while_opening_leaks_nothing(void **state) {
    assert_opening_survives_lack_of_memory(*state, "brain-encoder-transformer", small, 19);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(decoder_and_readout_match_torch),
        TEST(dinov2_queries_match_transformers),
        TEST(cubic_weights_match_torch),
        TEST(grouped_linear_equals_masked_dense_readout),
        TEST(paper_configuration_has_the_papers_parameters),
        TEST(routing_finds_the_objects_and_one_query_cannot_serve_a_map),
        TEST(resumed_run_is_bit_identical),
        TEST(every_model_and_readout_trains),
        TEST(folders_of_tokens_are_read_trained_on_and_evaluated),
        TEST(bad_folders_are_refused_with_file_and_place),
        TEST(bad_options_are_named),
        TEST(out_of_memory_while_opening_leaks_nothing),
    };
    static const char *const files[] = {"tokens", "responses", "areas"};
    snprintf(folder, sizeof folder, "/tmp/gyrus-encoder-XXXXXX");
    if (!mkdtemp(folder)) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%s.npy", folder, files[i]);
        unlink(path);
    }
    rmdir(folder);
    return failed;
}
