/* The hierarchical autoencoder of models/blocks/vdvae against a PyTorch module written from its formulas
 * (tests/golden/make_vdvae.py), the distribution of its pixels, and the registered model. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "core/op.h"
#include "io/formats/safetensors.h"
#include "io/weights.h"
#include "models/blocks/vdvae.h"

#include <math.h>
#include <stdio.h>

/* ---- the golden net ---- */

static gy_vdvae_spec small(gy_ctx *ctx) {
    gy_vdvae_spec s = {.width = 8, .bottleneck = 4, .zdim = 2, .mixtures = 3};
    assert_ok(ctx, gy_vdvae_parse(ctx, "8x1,8d2,4x1,4d2,2d2,1x1", "1x1,2m1,4m2,4x1,8m4,8x1", &s));
    return s;
}

static gy_tensor stored(gy_ctx *ctx, gy_safetensors *io, const char *prefix, const char *name) {
    char key[256];
    gy_tensor t;
    snprintf(key, sizeof key, "%s%s", prefix, name);
    assert_ok(ctx, gy_safetensors_get(io, key, &t));
    return t;
}

static gy_t in(gy_graph *g, gy_ctx *ctx, gy_safetensors *io, const char *name) {
    gy_tensor t = stored(ctx, io, "", name);
    gy_t v = gy_input(g, name, t.dtype, t.shape);
    gy_tensor_free(ctx, &t);
    return v;
}

static void feed(gy_ctx *ctx, gy_plan *p, gy_safetensors *io, const char *name) {
    gy_tensor t = stored(ctx, io, "", name);
    assert_ok(ctx, gy_plan_feed(p, name, &t));
    gy_tensor_free(ctx, &t);
}

/* |have - want| <= tol times the largest element */
static void near(gy_ctx *ctx, gy_plan *p, gy_safetensors *io, const char *name, double tol) {
    gy_tensor want = stored(ctx, io, "", name), have = gy_plan_output(p, name);
    double scale = 0;
    assert_non_null(have.data);
    assert_true(gy_shape_equal(have.shape, want.shape));
    int64_t n = gy_shape_count(want.shape);
    for (int64_t i = 0; i < n; i++) scale = fmax(scale, fabs(gy_tensor_get(&want, i)));
    for (int64_t i = 0; i < n; i++)
        if (!(fabs(gy_tensor_get(&have, i) - gy_tensor_get(&want, i)) <= tol * scale))
            fail_msg("%s[%d] is %.9g, expected %.9g (largest %.3g)", name, (int)i, gy_tensor_get(&have, i),
                     gy_tensor_get(&want, i), scale);
    gy_tensor_free(ctx, &want);
}

static double scalar(gy_ctx *ctx, gy_safetensors *io, const char *prefix, const char *name) {
    gy_tensor t = stored(ctx, io, prefix, name);
    double v = gy_tensor_get(&t, 0);
    gy_tensor_free(ctx, &t);
    return v;
}

static void near_gradient(gy_ctx *ctx, gy_plan *p, gy_safetensors *io, const char *name) {
    gy_tensor g = gy_plan_output(p, name);
    double dot = 0, norm = 0;
    for (int64_t e = 0; e < gy_shape_count(g.shape); e++) {
        double v = gy_tensor_get(&g, e);
        dot += v * cos((double)e);
        norm += v * v;
    }
    double want = scalar(ctx, io, "norm.", name), want_dot = scalar(ctx, io, "dot.", name);
    if (!(fabs(sqrt(norm) - want) <= 1e-3 * want) || !(fabs(dot - want_dot) <= 1e-3 * want))
        fail_msg("gradient of %s: norm %g, expected %g; dot %g, expected %g", name, sqrt(norm), want, dot, want_dot);
}

static void outputs_divergences_loss_and_gradients_match_pytorch(void **state) {
    static const char *const outs[] = {"features", "mixture", "kl", "loss", "latents"};
    enum { OUTS = 5, MAX = 256 };
    gy_ctx *ctx = *state;
    gy_vdvae_spec s = small(ctx);
    gy_safetensors io;
    gy_graph *g = gy_graph_new(ctx);
    gy_store *store = gy_store_new(ctx);
    gy_mod m = gy_mod_make(g, store, 1, false);
    gy_t noise[GY_VDVAE_BLOCKS], half[GY_VDVAE_BLOCKS], given[GY_VDVAE_BLOCKS], kl[GY_VDVAE_BLOCKS], value[OUTS];
    char name[64];
    assert_ok(ctx, gy_safetensors_open(ctx, "tests/golden/vdvae_io.safetensors", NULL, &io));
    gy_t image = in(g, ctx, &io, "image");
    for (int64_t i = 0; i < s.n_decoder; i++) {
        snprintf(name, sizeof name, "noise.%d", (int)i);
        noise[i] = in(g, ctx, &io, name);
        half[i] = gy_scale(noise[i], 0.5);
    }
    gy_vdvae_state seen = gy_vdvae_encode(&m, &s, image);
    gy_vdvae_decoded d = gy_vdvae_decode(&m, &s, 2, &seen, .temperature = 1, .noise = noise);
    for (int64_t i = 0; i < s.n_decoder; i++) kl[i] = gy_unsqueeze(d.kl[i], -1);
    value[0] = d.x;
    value[1] = gy_vdvae_out(&m, &s, d.x);
    value[2] = gy_concat(-1, s.n_decoder, kl);
    value[3] = gy_logistic_mixture_loss(value[1], image, s.mixtures);
    value[4] = gy_vdvae_flat(&s, s.n_decoder, d.z);
    gy_output(gy_logistic_mixture_sample(value[1], s.mixtures, in(g, ctx, &io, "gumbel"), in(g, ctx, &io, "logistic")),
              "picture");
    /* the first three groups again, from the rows; the others from the prior at half the deviation */
    gy_vdvae_unflat(&s, 3, gy_slice(value[4], -1, 0, gy_vdvae_latents(&s, 3)), given);
    gy_output(gy_vdvae_out(&m, &s, gy_vdvae_decode(&m, &s, 2, NULL, 3, given, 1, half).x), "replayed");

    gy_t loss = GY_NONE, wrt[MAX] = {image}, grad[MAX];
    const char *names[MAX] = {"grad.image"};
    for (int i = 0; i < OUTS; i++) {
        gy_output(value[i], outs[i]);
        snprintf(name, sizeof name, "ct.%s", outs[i]);
        gy_t part = gy_sum(gy_mul(value[i], in(g, ctx, &io, name)), GY_ALL);
        loss = i ? gy_add(loss, part) : part;
    }
    int64_t n = 1;
    for (int32_t id = 1; id < g->n && n < MAX; id++) { /* a state is read by one node a scope */
        if (g->node[id]->op->id != GY_OP_read) continue;
        gy_state *st = *(gy_state *const *)g->node[id]->attr;
        names[n] = st->name;
        wrt[n++] = (gy_t){g, id, 0};
    }
    assert_int_equal(n, 1 + gy_store_count(store));
    gy_grad(loss, GY_NONE, n, wrt, grad);
    for (int64_t i = 0; i < n; i++) gy_output(grad[i], names[i]);
    assert_ok(ctx, gy_graph_status(g));
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    if (!p) fail_msg("%s", gy_error(ctx));
    assert_ok(ctx, gy_weights_load(ctx, "tests/golden/vdvae.safetensors", NULL, store, NULL));
    feed(ctx, p, &io, "image");
    feed(ctx, p, &io, "gumbel");
    feed(ctx, p, &io, "logistic");
    for (int64_t i = 0; i < s.n_decoder; i++) {
        snprintf(name, sizeof name, "noise.%d", (int)i);
        feed(ctx, p, &io, name);
    }
    for (int i = 0; i < OUTS; i++) {
        snprintf(name, sizeof name, "ct.%s", outs[i]);
        feed(ctx, p, &io, name);
    }
    assert_ok(ctx, gy_plan_run(p));
    for (int i = 0; i < OUTS; i++) near(ctx, p, &io, outs[i], 1e-4);
    near(ctx, p, &io, "picture", 1e-4);
    near(ctx, p, &io, "replayed", 1e-4);
    near(ctx, p, &io, "grad.image", 1e-3);
    for (int64_t i = 1; i < n; i++) near_gradient(ctx, p, &io, names[i]);
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
    gy_safetensors_close(&io);
}

/* ---- the distribution of pixels ---- */

/* Red and green are black for certain; the probabilities of the 256 values of blue add up to one, however wide the
 * components are and wherever their means lie. */
static void probabilities_of_all_values_add_up_to_one(void **state) {
    enum { N = 256, K = 2 };
    static const double scales[] = {-2, -4.5, 0, 3}, means[] = {0.1, -1.2, 0.95, 0};
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    gy_t l = gy_input(g, "l", GY_F32, GY_S(N, 1, 1, 10 * K)), x = gy_input(g, "x", GY_F32, GY_S(N, 1, 1, 3));
    gy_output(gy_logistic_mixture_loss(l, x, K), "loss");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    if (!p) fail_msg("%s", gy_error(ctx));
    for (int test = 0; test < 4; test++) {
        float *v = gy_plan_input(p, "l"), *pixel = gy_plan_input(p, "x");
        for (int i = 0; i < N; i++) {
            float *row = v + i * 10 * K;
            for (int c = 0; c < 10 * K; c++) row[c] = 0;
            row[0] = 0.7f;
            for (int k = 0; k < K; k++) {
                for (int c = 0; c < 2; c++) row[K + c * 3 * K + k] = -50; /* far below black */
                row[K + 2 * 3 * K + k] = (float)(means[test] + 0.3 * k);
                row[K + 2 * 3 * K + K + k] = (float)scales[test];
            }
            pixel[3 * i] = pixel[3 * i + 1] = -1;
            pixel[3 * i + 2] = (float)(i / 127.5 - 1);
        }
        assert_ok(ctx, gy_plan_run(p));
        const float *loss = gy_plan_output(p, "loss").data;
        double sum = 0;
        for (int i = 0; i < N; i++) sum += exp(-3 * (double)loss[i]); /* the loss is a mean over three values */
        assert_close(sum, 1.0, 2e-4);
    }
    gy_plan_free(p);
    gy_graph_free(g);
}

/* Components far away, needle-sharp or endlessly wide, at black, grey and white. */
static void loss_and_gradient_are_finite_at_the_edges(void **state) {
    enum { N = 75, K = 1 };
    static const float far[] = {0, 1e4f, -1e4f, 1e8f, -1e8f}, width[] = {0, 1e3f, -1e3f, 60, -7}, at[] = {-1, 0, 1};
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    gy_t l = gy_input(g, "l", GY_F32, GY_S(N, 1, 1, 10 * K)), x = gy_input(g, "x", GY_F32, GY_S(N, 1, 1, 3));
    gy_t loss = gy_logistic_mixture_loss(l, x, K), wrt[2] = {l, x}, grad[2];
    gy_output(loss, "loss");
    gy_grad(gy_sum(loss, GY_ALL), GY_NONE, 2, wrt, grad);
    gy_output(grad[0], "dl");
    gy_output(grad[1], "dx");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    if (!p) fail_msg("%s", gy_error(ctx));
    float *v = gy_plan_input(p, "l"), *pixel = gy_plan_input(p, "x");
    for (int i = 0; i < N; i++)
        for (int c = 0; c < 3; c++) {
            v[10 * i + 1 + 3 * c] = far[i % 5];
            v[10 * i + 2 + 3 * c] = width[i / 5 % 5];
            v[10 * i + 3 + 3 * c] = c ? -far[i % 5] : 0;
            pixel[3 * i + c] = at[i / 25];
        }
    assert_ok(ctx, gy_plan_run(p));
    static const char *const names[] = {"loss", "dl", "dx"};
    for (int k = 0; k < 3; k++) {
        gy_tensor t = gy_plan_output(p, names[k]);
        for (int64_t i = 0; i < gy_shape_count(t.shape); i++)
            if (!isfinite(gy_tensor_get(&t, i))) fail_msg("%s[%d] is %g", names[k], (int)i, gy_tensor_get(&t, i));
    }
    gy_plan_free(p);
    gy_graph_free(g);
}

/* ---- the configuration ---- */

static void the_paper_s_strings_give_its_groups(void **state) {
    gy_vdvae_spec s = {.width = 512, .bottleneck = 128, .zdim = 16, .mixtures = 10};
    assert_ok(*state, gy_vdvae_parse(*state, "64x11,64d2,32x20,32d2,16x9,16d2,8x8,8d2,4x7,4d4,1x5",
                                     "1x2,4m1,4x3,8m4,8x7,16m8,16x15,32m16,32x31,64m32,64x12", &s));
    assert_int_equal(s.n_encoder, 65);
    assert_int_equal(s.n_decoder, 75);
    assert_int_equal(gy_vdvae_latents(&s, 31), 91168); /* what Brain-Diffuser predicts */
    assert_int_equal(s.decoder[2].size, 4);
    assert_int_equal(s.decoder[2].other, 1);
}

static void refused(gy_ctx *ctx, const char *encoder, const char *decoder, const char *part) {
    gy_vdvae_spec s;
    assert_message(ctx, gy_vdvae_parse(ctx, encoder, decoder, &s), part);
}

static void strings_that_make_no_net_are_refused(void **state) {
    refused(*state, "", "1x1", "encoder='': at ''");
    refused(*state, "16x", "16x1", "at '16x'");
    refused(*state, "16x2,", "16x1", "at ''");
    refused(*state, "16m2,8", "16", "at '16m2,8'");
    refused(*state, "16x99999999999999999999", "16", "at '16x999");
    refused(*state, "16x129", "16", "more than 128 blocks");
    refused(*state, "16d2,4x1", "4,16m4", "block 1 has size 4 where 8 arrives");
    refused(*state, "16d3", "16", "16 is no multiple of 3");
    refused(*state, "16d2,8d2,4x1", "2x1,16m2", "has no size 2");
    refused(*state, "16d2,8d2,4x1", "16m4", "no block of size 4 before it");
    refused(*state, "16d2,8x1", "16x1,8m16,16x1", "no block of size 16 before it, or no multiple");
    refused(*state, "16d2,8x1", "8x1", "ends at size 8");
}

static void the_full_net_has_the_public_count_of_parameters(void **state) {
    gy_job j;
    gy_compiled c;
    assert_ok(*state, gy_job_init(&j, *state, gy_model_find("vdvae"), "imagenet64", NULL, 0));
    j.batch = 1;
    assert_ok(*state, gy_job_compile_phase(&j, 0, true, &c));
    assert_int_equal(gy_store_parameters(j.store), 125005860);
    gy_compiled_free(&c);
    gy_job_free(&j);
}

/* ---- the registered model ---- */

typedef struct curve {
    int64_t n;
    double first, last;
} curve;
static bool note(void *user, const gy_job *j, const gy_metrics *logged) {
    curve *c = user;
    double v = gy_metric_get(logged, "loss");
    (void)j;
    if (c->n++ == 0) c->first = v;
    c->last = v;
    return true;
}

static void the_miniature_learns_and_replays_its_latents(void **state) {
    static const char *const set[] = {"batch=4", "given=7", "temperature=0", "lr=0.005"};
    gy_ctx *ctx = *state;
    gy_job j;
    gy_compiled net;
    curve c = {0};
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("vdvae"), NULL, set, 4));
    j.seed = 3;
    assert_ok(ctx, gy_job_open(&j));
    j.steps = 25;
    j.sink = (gy_job_sink){.step = note, .user = &c};
    assert_ok(ctx, gy_job_train(&j));
    if (!(c.last < 0.9 * c.first)) fail_msg("loss %g after %g", c.last, c.first);
    /* all seven groups of a picture given: the same picture, bit for bit */
    assert_ok(ctx, gy_job_compile(&j, 4, NULL, 0, &net));
    assert_ok(ctx, j.def->batch(&j, net.plan, 0, 99));
    assert_ok(ctx, gy_plan_run(net.plan));
    gy_tensor z = gy_plan_output(net.plan, "latents");
    assert_ok(ctx, gy_plan_feed(net.plan, "given", &z));
    assert_ok(ctx, gy_plan_run(net.plan));
    gy_tensor a = gy_plan_output(net.plan, "reconstruction"), b = gy_plan_output(net.plan, "decoded");
    assert_memory_equal(a.data, b.data, gy_tensor_bytes(&a));
    gy_compiled_free(&net);
    gy_job_free(&j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(outputs_divergences_loss_and_gradients_match_pytorch),
        TEST(probabilities_of_all_values_add_up_to_one),
        TEST(loss_and_gradient_are_finite_at_the_edges),
        TEST(the_paper_s_strings_give_its_groups),
        TEST(strings_that_make_no_net_are_refused),
        TEST(the_full_net_has_the_public_count_of_parameters),
        TEST(the_miniature_learns_and_replays_its_latents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
