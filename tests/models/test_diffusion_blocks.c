/* What diffusion blocks promise beyond agreement with other libraries: sizes, invariances, hooks, steering that is
 * exactly absent when it is zero, and vector quantisation. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "models/blocks/unet.h"
#include "models/blocks/vae.h"
#include "models/blocks/vq.h"

#include <math.h>
#include <stdio.h>

static const gy_unet_spec small = {.axes = 2,
                                   .in = 4,
                                   .out = 4,
                                   .levels = 2,
                                   .channels = {8, 16},
                                   .resnets = 1,
                                   .heads = {2, 0},
                                   .mid_heads = 2,
                                   .style = {.groups = 4}};

static void fill(gy_plan *p, const char *name, gy_shape shape, uint64_t seed) {
    float *v = gy_plan_input(p, name);
    gy_rng r;
    gy_rng_init(&r, seed, name);
    for (int64_t i = 0; v && i < gy_shape_count(shape); i++) v[i] = (float)gy_rng_normal(&r);
}

/* ---- a graph of the small U-Net with whatever steers it ---- */

typedef struct net {
    gy_ctx *ctx;
    gy_graph *g;
    gy_store *store;
    gy_mod m;
    gy_plan *plan;
    gy_t x, t, context;
} net;

static net open_net(gy_ctx *ctx, gy_store *store, const gy_hook *hooks, int64_t n_hooks) {
    net n = {.ctx = ctx, .g = gy_graph_new(ctx), .store = store ? store : gy_store_new(ctx)};
    n.m = gy_mod_make(n.g, n.store, 7, false);
    n.m.hooks = hooks;
    n.m.n_hooks = n_hooks;
    n.x = gy_input(n.g, "x", GY_F32, GY_S(2, 8, 8, 4));
    n.t = gy_input(n.g, "t", GY_F32, GY_S(2));
    n.context = gy_input(n.g, "context", GY_F32, GY_S(2, 5, 8));
    return n;
}

static const float *run_net(net *n, gy_t y) {
    gy_output(y, "y");
    n->plan = gy_compile(n->g, (gy_plan_args){0});
    if (!n->plan) fail_msg("%s", gy_error(n->ctx));
    fill(n->plan, "x", GY_S(2, 8, 8, 4), 1);
    fill(n->plan, "context", GY_S(2, 5, 8), 1);
    fill(n->plan, "hint", GY_S(2, 16, 16, 3), 1);
    float *t = gy_plan_input(n->plan, "t");
    t[0] = 10;
    t[1] = 500;
    assert_ok(n->ctx, gy_plan_run(n->plan));
    return gy_plan_output(n->plan, "y").data;
}

static void close_net(net *n, bool store) {
    gy_plan_free(n->plan);
    gy_graph_free(n->g);
    if (store) gy_store_free(n->store);
}

enum { ELEMENTS = 2 * 8 * 8 * 4 };

static void bare_output(gy_ctx *ctx, gy_store *store, float *y) {
    net n = open_net(ctx, store, NULL, 0);
    memcpy(y, run_net(&n, gy_unet(&n.m, &small, n.x, n.t, n.context)), ELEMENTS * sizeof *y);
    close_net(&n, false);
}

/* ---- counts ---- */

static int64_t count(gy_ctx *ctx, void (*build)(gy_mod *m)) {
    gy_graph *g = gy_graph_new(ctx);
    gy_store *s = gy_store_new_dry(ctx);
    gy_mod m = gy_mod_make(g, s, 0, false);
    build(&m);
    assert_ok(ctx, gy_graph_status(g));
    int64_t n = gy_store_parameters(s);
    gy_store_free(s);
    gy_graph_free(g);
    return n;
}
static gy_t input(gy_mod *m, const char *name, gy_shape s) {
    return gy_input(m->g, name, GY_F32, s);
}
static void sd15(gy_mod *m) {
    gy_unet_spec s = gy_unet_sd15();
    gy_unet(m, &s, input(m, "x", GY_S(1, 64, 64, 4)), input(m, "t", GY_S(1)), input(m, "c", GY_S(1, 77, 768)));
}
static void sd21(gy_mod *m) {
    gy_unet_spec s = gy_unet_sd21();
    gy_unet(m, &s, input(m, "x", GY_S(1, 64, 64, 4)), input(m, "t", GY_S(1)), input(m, "c", GY_S(1, 77, 1024)));
}
static void controlnet15(gy_mod *m) {
    gy_unet_spec s = gy_unet_sd15();
    gy_controlnet(m, &s, input(m, "x", GY_S(1, 64, 64, 4)), input(m, "t", GY_S(1)), input(m, "c", GY_S(1, 77, 768)),
                  input(m, "hint", GY_S(1, 512, 512, 3)), 1.0);
}
static void adapter15(gy_mod *m) {
    static const gy_adapter_spec s = {4, {320, 640, 1280, 1280}, 2, 8};
    gy_t out[GY_UNET_LEVELS];
    gy_t2i_adapter(m, &s, input(m, "hint", GY_S(1, 512, 512, 3)), out);
    assert_int_equal(gy_dim(out[3], 1), 8);
}
static void vae(gy_mod *m) {
    gy_vae_spec s = gy_vae_sd();
    gy_vae_latent q = gy_vae_encode(m, &s, input(m, "x", GY_S(1, 64, 64, 3)));
    assert_int_equal(gy_dim(gy_vae_decode(m, &s, q.mean), 1), 64);
}

static void full_size_networks_have_the_published_numbers_of_parameters(void **state) {
    assert_int_equal(count(*state, sd15), 859520964);
    assert_int_equal(count(*state, sd21), 865910724);
    assert_int_equal(count(*state, controlnet15), 361279120);
    assert_int_equal(count(*state, adapter15), 77369280);
    assert_int_equal(count(*state, vae), 83653863);
}

/* ---- invariances ---- */

static void order_of_context_tokens_does_not_matter(void **state) {
    float y[ELEMENTS];
    gy_store *store = gy_store_new(*state);
    bare_output(*state, store, y);
    net n = open_net(*state, store, NULL, 0);
    gy_t flipped = gy_flip(n.context, 1);
    const float *z = run_net(&n, gy_unet(&n.m, &small, n.x, n.t, flipped));
    for (int i = 0; i < ELEMENTS; i++) assert_close(z[i], y[i], 1e-5);
    close_net(&n, true);
}

static void a_zero_last_convolution_leaves_its_bias(void **state) {
    float y[ELEMENTS];
    gy_store *store = gy_store_new(*state);
    bare_output(*state, store, y);
    gy_tensor *w = &gy_state_find(store, "conv_out.weight")->value, *b = &gy_state_find(store, "conv_out.bias")->value;
    memset(w->data, 0, gy_tensor_bytes(w));
    bare_output(*state, store, y);
    for (int i = 0; i < ELEMENTS; i++) assert_true(y[i] == (float)gy_tensor_get(b, i % 4));
    gy_store_free(store);
}

/* ---- steering ---- */

/* The U-Net of `store` under a ControlNet, whose zero convolutions are zero or (`loud`) not. */
static void steered_output(gy_ctx *ctx, gy_store *store, bool loud, double scale, const float *mask, float *y) {
    net n = open_net(ctx, store, NULL, 0);
    gy_store *own = gy_store_new(ctx);
    gy_mod side = gy_mod_make(n.g, own, 3, false);
    gy_t hint = gy_input(n.g, "hint", GY_F32, GY_S(2, 16, 16, 3));
    gy_control c = gy_controlnet(&side, &small, n.x, n.t, n.context, hint, scale, 2, {4, 6});
    if (loud)
        for (int64_t i = 0; i < gy_store_count(own); i++) {
            gy_state *s = gy_store_at(own, i);
            if (strncmp(s->name, "controlnet_", 11) == 0) gy_state_reset(s, (gy_init){GY_INIT_NORMAL, 0.3}, 9);
        }
    if (mask) {
        gy_tensor t = {GY_F32, GY_S(1, 1, 1, 1), (void *)(uintptr_t)mask, true};
        c = gy_control_masked(c, gy_broadcast_to(gy_const(n.g, &t), GY_S(2, 8, 8, 1)));
    }
    memcpy(y, run_net(&n, gy_unet(&n.m, &small, n.x, n.t, n.context, .control = c)), ELEMENTS * sizeof *y);
    close_net(&n, false);
    gy_store_free(own);
}

static void control_that_is_zero_changes_no_bit(void **state) {
    float bare[ELEMENTS], y[ELEMENTS], plain[ELEMENTS], zero = 0, one = 1;
    gy_store *store = gy_store_new(*state);
    bare_output(*state, store, bare);
    steered_output(*state, store, false, 1.0, NULL, y); /* fresh zero convolutions */
    assert_memory_equal(bare, y, sizeof y);
    steered_output(*state, store, true, 0.0, NULL, y);
    assert_memory_equal(bare, y, sizeof y);
    steered_output(*state, store, true, 1.0, &zero, y); /* local control of nothing */
    assert_memory_equal(bare, y, sizeof y);
    steered_output(*state, store, true, 1.0, NULL, plain);
    assert_memory_not_equal(bare, plain, sizeof plain);
    steered_output(*state, store, true, 1.0, &one, y); /* local control of everything */
    assert_memory_equal(plain, y, sizeof y);
    gy_store_free(store);
}

/* ---- attention maps ---- */

typedef struct maps {
    int n;
    gy_t cross;
} maps;
static gy_t collect(void *user, gy_mod *m, const char *name, gy_t p) {
    maps *k = user;
    (void)m;
    k->n++;
    if (strcmp(name, "up_blocks.1.attentions.1.transformer_blocks.0.attn2") == 0) k->cross = p;
    return p;
}

static void attention_maps_can_be_read_and_differentiated(void **state) {
    float y[ELEMENTS];
    gy_store *store = gy_store_new(*state);
    bare_output(*state, store, y);
    maps k = {0};
    gy_unet_spec spec = small;
    spec.style.attend = collect;
    spec.style.user = &k;
    gy_hook read = {"mid_block.attentions.0.transformer_blocks.0.attn1.probabilities", GY_HOOK_READ, 0};
    net n = open_net(*state, store, &read, 1);
    gy_t out = gy_unet(&n.m, &spec, n.x, n.t, n.context), gx;
    assert_int_equal(k.n, 8); /* attn1 and attn2 of one down, one middle and two up transformers */
    assert_int_equal(gy_dim(k.cross, 1), 2);
    assert_int_equal(gy_dim(k.cross, 2), 64);
    assert_int_equal(gy_dim(k.cross, 3), 5);
    gy_grad(gy_sum(gy_square(k.cross), GY_ALL), GY_NONE, 1, &n.x, &gx);
    gy_output(gx, "gx");
    const float *z = run_net(&n, out);
    for (int i = 0; i < ELEMENTS; i++) assert_close(z[i], y[i], 1e-5); /* the same net without the fused operator */
    gy_tensor p = gy_plan_output(n.plan, read.name), g = gy_plan_output(n.plan, "gx");
    assert_true(gy_shape_equal(p.shape, GY_S(2, 2, 16, 16)));
    for (int row = 0; row < 64; row++) {
        double sum = 0;
        for (int j = 0; j < 16; j++) sum += gy_tensor_get(&p, row * 16 + j);
        assert_close(sum, 1, 1e-5);
    }
    double norm = 0;
    for (int i = 0; i < ELEMENTS; i++) norm += fabs(gy_tensor_get(&g, i));
    assert_true(norm > 1e-4);
    close_net(&n, true);
}

static void wrong_networks_are_refused_by_name(void **state) {
    net n = open_net(*state, NULL, NULL, 0);
    gy_unet_spec bad = small;
    bad.in = 5;
    gy_unet(&n.m, &bad, n.x, n.t, n.context);
    assert_message(*state, gy_graph_status(n.g), "4 channels, expected rank 4 and 5 channels");
    close_net(&n, true);
}

/* ---- vector quantisation ---- */

enum { K = 4, D = 2, N = 64 };
static const float centres[K][D] = {{3, 3}, {-3, 3}, {3, -3}, {-3, -3}};

static void vectors(gy_plan *p, uint64_t seed, double noise) {
    float *z = gy_plan_input(p, "z");
    gy_rng r;
    gy_rng_init(&r, seed, "vq");
    for (int i = 0; i < N; i++)
        for (int d = 0; d < D; d++) z[i * D + d] = centres[i % K][d] + (float)(noise * gy_rng_normal(&r));
}

static void running_means_find_the_clusters(void **state) {
    gy_graph *g = gy_graph_new(*state);
    gy_store *store = gy_store_new(*state);
    gy_mod m = gy_mod_make(g, store, 5, true);
    gy_t z = gy_input(g, "z", GY_F32, GY_S(N, D));
    gy_vq q = gy_vq_quantise(&m, "vq", z, K, .decay = 0.9);
    gy_output(q.index, "index");
    gy_output(q.perplexity, "perplexity");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_non_null(p);
    gy_state *w = gy_state_find(store, "vq.weight");
    assert_int_equal(w->kind, GY_BUFFER);
    for (int k = 0; k < K; k++) /* on the right side of everything, but far off */
        for (int d = 0; d < D; d++) gy_tensor_set(&w->value, k * D + d, 0.1 * centres[k][d]);
    for (uint64_t step = 0; step < 200; step++) {
        vectors(p, step, 0.3);
        assert_ok(*state, gy_plan_run(p));
    }
    gy_tensor index = gy_plan_output(p, "index");
    for (int i = 0; i < N; i++) assert_int_equal(((int64_t *)index.data)[i], i % K);
    assert_close(gy_plan_scalar(p, "perplexity"), K, 1e-5);
    for (int i = 0; i < K * D; i++) assert_true(fabs(gy_tensor_get(&w->value, i) - centres[i / D][i % D]) < 0.1);
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
}

static void codes_learned_by_loss_have_the_paper_s_gradients(void **state) {
    gy_graph *g = gy_graph_new(*state);
    gy_store *store = gy_store_new(*state);
    gy_mod m = gy_mod_make(g, store, 5, true);
    gy_t z = gy_input(g, "z", GY_F32, GY_S(N, D)), ct = gy_input(g, "ct", GY_F32, GY_S(N, D)), gz, grad[2];
    gy_vq q = gy_vq_quantise(&m, "vq", z, K, .commit = 0.5);
    gy_push(&m, "vq");
    gy_t w = gy_param(&m, "weight", GY_S(K, D), GY_INIT_NORMAL, 1.0);
    gy_pop(&m);
    gy_grad(q.q, ct, 1, &z, &gz);
    gy_grad(q.loss, GY_NONE, 2, ((gy_t[]){z, w}), grad);
    gy_output(gz, "gz");
    gy_output(grad[0], "lz");
    gy_output(grad[1], "lw");
    gy_output(q.q, "q");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    if (!p) fail_msg("%s", gy_error(*state));
    gy_state *code = gy_state_find(store, "vq.weight");
    for (int i = 0; i < K * D; i++) gy_tensor_set(&code->value, i, 0.5 * centres[i / D][i % D]);
    vectors(p, 1, 0.3);
    fill(p, "ct", GY_S(N, D), 2);
    assert_ok(*state, gy_plan_run(p));
    const float *zv = gy_plan_input(p, "z"), *c = gy_plan_input(p, "ct");
    gy_tensor a = gy_plan_output(p, "gz"), lz = gy_plan_output(p, "lz"), lw = gy_plan_output(p, "lw");
    gy_tensor qv = gy_plan_output(p, "q");
    double expected[K * D] = {0};
    for (int i = 0; i < N * D; i++) {
        int k = (i / D) % K, d = i % D;
        double e = 0.5 * centres[k][d];
        assert_close(gy_tensor_get(&qv, i), e, 1e-6);
        assert_close(gy_tensor_get(&a, i), c[i], 1e-7); /* straight through */
        assert_close(gy_tensor_get(&lz, i), 0.5 * 2 * (zv[i] - e) / (N * D), 1e-7);
        expected[k * D + d] += 2 * (e - zv[i]) / (N * D);
    }
    for (int i = 0; i < K * D; i++) assert_close(gy_tensor_get(&lw, i), expected[i], 1e-6);
    gy_plan_free(p);
    gy_graph_free(g);
    gy_store_free(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(full_size_networks_have_the_published_numbers_of_parameters),
        TEST(order_of_context_tokens_does_not_matter),
        TEST(a_zero_last_convolution_leaves_its_bias),
        TEST(control_that_is_zero_changes_no_bit),
        TEST(attention_maps_can_be_read_and_differentiated),
        TEST(wrong_networks_are_refused_by_name),
        TEST(running_means_find_the_clusters),
        TEST(codes_learned_by_loss_have_the_paper_s_gradients),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
