/* U-Net, ControlNet, T2I-Adapter and autoencoder against diffusers and MONAI: outputs and all gradients of the tiny
 * networks in tests/golden (made by tests/golden/make_diffusion.py). */
#include "../harness/tensors.h"

#include "core/gyrus.h"
#include "core/op.h"
#include "io/formats/safetensors.h"
#include "io/weights.h"
#include "models/blocks/unet.h"
#include "models/blocks/vae.h"

#include <math.h>
#include <stdio.h>
#include <unistd.h>

/* ---- channels first in the files, last here ---- */

/* [B, C, spatial...] -> [B, spatial..., C] as f32; i64 and what is not spatial as it is. */
static gy_tensor moved(gy_ctx *ctx, const gy_tensor *t, bool spatial) {
    gy_tensor out;
    gy_shape s = t->shape, to = s;
    if (t->dtype == GY_I64 || !spatial) {
        assert_ok(ctx, gy_tensor_cast(ctx, t, t->dtype == GY_I64 ? GY_I64 : GY_F32, &out));
        return out;
    }
    int64_t inner = 1;
    for (int64_t i = 2; i < s.rank; i++) {
        to.dim[i - 1] = s.dim[i];
        inner *= s.dim[i];
    }
    to.dim[s.rank - 1] = s.dim[1];
    assert_ok(ctx, gy_tensor_new(ctx, &out, GY_F32, to));
    for (int64_t b = 0; b < s.dim[0]; b++)
        for (int64_t c = 0; c < s.dim[1]; c++)
            for (int64_t p = 0; p < inner; p++)
                gy_tensor_set(&out, (b * inner + p) * s.dim[1] + c, gy_tensor_get(t, (b * s.dim[1] + c) * inner + p));
    return out;
}

static bool is_spatial(const char *name) {
    static const char *const no[] = {"timestep", "context", "context_image", "labels"};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (strcmp(name, no[i]) == 0) return false;
    return true;
}

/* ---- one case ---- */

enum { MAX = 512 };
typedef struct golden {
    gy_ctx *ctx;
    const char *name;
    gy_safetensors io;
    gy_graph *g;
    gy_store *store;
    gy_mod m;
} golden;

static gy_tensor stored(golden *c, const char *prefix, const char *name) {
    char key[256];
    gy_tensor raw;
    snprintf(key, sizeof key, "%s%s", prefix, name);
    assert_ok(c->ctx, gy_safetensors_get(&c->io, key, &raw));
    gy_tensor t = moved(c->ctx, &raw, is_spatial(name));
    gy_tensor_free(c->ctx, &raw);
    return t;
}

static gy_t in(golden *c, const char *name) {
    gy_tensor t = stored(c, "", name);
    gy_t v = gy_input(c->g, name, t.dtype, t.shape);
    gy_tensor_free(c->ctx, &t);
    return v;
}

static void begin(golden *c, gy_ctx *ctx, const char *name) {
    char path[128];
    *c = (golden){.ctx = ctx, .name = name, .g = gy_graph_new(ctx), .store = gy_store_new(ctx)};
    snprintf(path, sizeof path, "tests/golden/%s_io.safetensors", name);
    assert_ok(ctx, gy_safetensors_open(ctx, path, NULL, &c->io));
    c->m = gy_mod_make(c->g, c->store, 1, false);
}

/* |have - want| <= tol times the largest element */
static void near(golden *c, const char *what, const gy_tensor *have, const gy_tensor *want, double tol) {
    char both[320];
    snprintf(both, sizeof both, "%s: %s", c->name, what);
    assert_true(gy_shape_equal(have->shape, want->shape));
    assert_tensor_near(both, have, want, tol, 0);
}

static void check_parameters(golden *c, gy_plan *p, int64_t n, gy_state *const *states) {
    char key[512];
    for (int64_t i = 0; i < n; i++) {
        gy_tensor g = gy_plan_output(p, states[i]->name), want;
        double dot = 0, norm = 0;
        for (int64_t e = 0; e < gy_shape_count(g.shape); e++) {
            double v = gy_tensor_get(&g, e);
            dot += v * cos((double)e);
            norm += v * v;
        }
        snprintf(key, sizeof key, "norm.%s", states[i]->name);
        assert_ok(c->ctx, gy_safetensors_get(&c->io, key, &want));
        double size = fmax(gy_tensor_get(&want, 0), 1e-2); /* exact zeros (a bias before a norm) are rounding here */
        if (fabs(sqrt(norm) - gy_tensor_get(&want, 0)) > 1e-3 * size)
            fail_msg("%s is %g, expected %g", key, sqrt(norm), gy_tensor_get(&want, 0));
        gy_tensor_free(c->ctx, &want);
        snprintf(key, sizeof key, "dot.%s", states[i]->name);
        assert_ok(c->ctx, gy_safetensors_get(&c->io, key, &want));
        if (fabs(dot - gy_tensor_get(&want, 0)) > 1e-3 * size)
            fail_msg("%s is %g, expected %g (norm %g)", key, dot, gy_tensor_get(&want, 0), size);
        gy_tensor_free(c->ctx, &want);
    }
}

/* Loads `weights` (the states of the graph), runs, and compares outputs, gradients of sum(out ct) with respect to the
 * inputs named, and with respect to every state. */
static void check(golden *c, const char *weights, int n_out, const char *const outs[], const gy_t values[], int n_in,
                  const char *const ins[], const gy_t inputs[]) {
    gy_t wrt[MAX], grads[MAX], loss = GY_NONE;
    gy_state *states[MAX];
    char name[64];
    assert_ok(c->ctx, gy_graph_status(c->g));
    for (int i = 0; i < n_out; i++) {
        gy_output(values[i], outs[i]);
        snprintf(name, sizeof name, "ct.%s", outs[i]);
        gy_t ct = gy_input(c->g, name, GY_F32, gy_shape_of(values[i]));
        gy_t part = gy_sum(gy_mul(values[i], ct), GY_ALL);
        loss = i ? gy_add(loss, part) : part;
    }
    int64_t n = n_in;
    memcpy(wrt, inputs, (size_t)n_in * sizeof *wrt);
    for (int32_t id = 1; id < c->g->n && n < MAX; id++) { /* a state is read by one node a scope */
        if (c->g->node[id]->op->id != GY_OP_read) continue;
        states[n] = *(gy_state *const *)c->g->node[id]->attr;
        if (gy_state_find(c->store, states[n]->name) == states[n]) wrt[n++] = (gy_t){c->g, id, 0};
    }
    assert_int_equal(n - n_in, gy_store_count(c->store));
    gy_grad(loss, GY_NONE, n, wrt, grads);
    for (int i = 0; i < n_in; i++) {
        snprintf(name, sizeof name, "grad.%s", ins[i]);
        gy_output(grads[i], name);
    }
    for (int64_t i = n_in; i < n; i++) gy_output(grads[i], states[i]->name);
    gy_plan *p = gy_compile(c->g, (gy_plan_args){0});
    if (!p) fail_msg("%s: %s", c->name, gy_error(c->ctx));
    char path[128];
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", weights);
    assert_ok(c->ctx, gy_weights_load(c->ctx, path, NULL, c->store, NULL));
    static const char *const all[] = {"latents", "timestep", "context", "context_image", "labels", "hint", "image"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (gy_plan_input(p, all[i])) {
            gy_tensor t = stored(c, "", all[i]);
            assert_ok(c->ctx, gy_plan_feed(p, all[i], &t));
            gy_tensor_free(c->ctx, &t);
        }
    for (int i = 0; i < n_out; i++) {
        gy_tensor t = stored(c, "ct.", outs[i]);
        snprintf(name, sizeof name, "ct.%s", outs[i]);
        assert_ok(c->ctx, gy_plan_feed(p, name, &t));
        gy_tensor_free(c->ctx, &t);
    }
    assert_ok(c->ctx, gy_plan_run(p));
    for (int i = 0; i < n_out; i++) {
        gy_tensor want = stored(c, "", outs[i]), have = gy_plan_output(p, outs[i]);
        near(c, outs[i], &have, &want, 1e-4);
        gy_tensor_free(c->ctx, &want);
    }
    for (int i = 0; i < n_in; i++) {
        snprintf(name, sizeof name, "grad.%s", ins[i]);
        gy_tensor want = stored(c, "grad.", ins[i]), have = gy_plan_output(p, name);
        near(c, name, &have, &want, 1e-3);
        gy_tensor_free(c->ctx, &want);
    }
    check_parameters(c, p, n - n_in, states + n_in);
    gy_plan_free(p);
    gy_graph_free(c->g);
    gy_store_free(c->store);
    gy_safetensors_close(&c->io);
}

#define NAMES(...)  ((const char *const[]){__VA_ARGS__})
#define VALUES(...) ((const gy_t[]){__VA_ARGS__})

/* ---- the cases ---- */

static const gy_unet_spec sd = {.axes = 2,
                                .in = 4,
                                .out = 4,
                                .levels = 2,
                                .channels = {8, 16},
                                .resnets = 1,
                                .heads = {2, 0},
                                .mid_heads = 2,
                                .style = {.groups = 4}};

static void unet_with_text_matches_diffusers(void **state) {
    golden c;
    begin(&c, *state, "unet");
    gy_t x = in(&c, "latents"), ctx = in(&c, "context");
    gy_t y = gy_unet(&c.m, &sd, x, in(&c, "timestep"), ctx);
    check(&c, "unet", 1, NAMES("noise"), &y, 2, NAMES("latents", "context"), VALUES(x, ctx));
}

static void unet_with_recomputation_has_the_same_gradients(void **state) {
    golden c;
    begin(&c, *state, "unet");
    gy_t x = in(&c, "latents"), ctx = in(&c, "context");
    gy_t y = gy_unet(&c.m, &sd, x, in(&c, "timestep"), ctx, .recompute = true);
    check(&c, "unet", 1, NAMES("noise"), &y, 2, NAMES("latents", "context"), VALUES(x, ctx));
}

static void unet_with_linear_projections_and_classes_at_odd_sizes_matches_diffusers(void **state) {
    static const gy_unet_spec spec = {.axes = 2,
                                      .in = 4,
                                      .out = 4,
                                      .levels = 2,
                                      .channels = {4, 8},
                                      .resnets = 1,
                                      .heads = {1, 4},
                                      .mid_heads = 4,
                                      .depth = 2,
                                      .linear_projection = true,
                                      .classes = 3,
                                      .style = {.groups = 4}};
    golden c;
    begin(&c, *state, "unet_linear");
    gy_t x = in(&c, "latents"), ctx = in(&c, "context");
    gy_t y = gy_unet(&c.m, &spec, x, in(&c, "timestep"), ctx, .labels = in(&c, "labels"));
    check(&c, "unet_linear", 1, NAMES("noise"), &y, 2, NAMES("latents", "context"), VALUES(x, ctx));
}

static void unet_with_two_contexts_matches_diffusers(void **state) {
    static const gy_unet_spec spec = {.axes = 2,
                                      .in = 4,
                                      .out = 4,
                                      .levels = 2,
                                      .channels = {4, 8},
                                      .resnets = 1,
                                      .heads = {2, 0},
                                      .mid_heads = 2,
                                      .dual = true,
                                      .style = {.groups = 4}};
    golden c;
    begin(&c, *state, "unet_dual");
    gy_t x = in(&c, "latents"), text = in(&c, "context"), image = in(&c, "context_image");
    gy_t y = gy_unet(&c.m, &spec, x, in(&c, "timestep"), text, image, .mix = gy_full(c.g, GY_F32, GY_S0, 0.3));
    check(&c, "unet_dual", 1, NAMES("noise"), &y, 3, NAMES("latents", "context", "context_image"),
          VALUES(x, text, image));
}

/* The registered model: one set of weights, the mixture an input, a number a row. */
static void registered_unet_with_two_contexts_matches_diffusers(void **state) {
    static const char *const set[] = {"dual=1",     "width=6",   "tokens=4",    "context=8", "image_tokens=3",
                                      "widths=4,8", "heads=2,0", "mid_heads=2", "groups=4"};
    gy_ctx *ctx = *state;
    golden c;
    gy_job j;
    gy_compiled net;
    begin(&c, ctx, "unet_dual");
    assert_ok(ctx, gy_job_init(&j, ctx, gy_model_find("sd15-unet"), NULL, set, sizeof set / sizeof *set));
    assert_ok(ctx, gy_job_compile(&j, 2, NULL, 0, &net));
    assert_ok(ctx, gy_weights_load(ctx, "tests/golden/unet_dual.safetensors", NULL, j.store, NULL));
    static const char *const names[] = {"latents", "timestep", "context", "context_image"};
    for (int i = 0; i < 4; i++) {
        gy_tensor t = stored(&c, "", names[i]);
        assert_ok(ctx, gy_plan_feed(net.plan, names[i], &t));
        gy_tensor_free(ctx, &t);
    }
    float *mix = gy_plan_input(net.plan, "mix"), *image = gy_plan_input(net.plan, "context_image");
    mix[0] = mix[1] = 0.3f;
    assert_ok(ctx, gy_plan_run(net.plan));
    gy_tensor want = stored(&c, "", "noise"), have = gy_plan_output(net.plan, "noise");
    near(&c, "noise", &have, &want, 1e-4);
    /* all weight on the text in the second row: the first row stays, and the second does not see its picture */
    int64_t row = gy_shape_count(have.shape) / 2;
    float *first = gy_malloc(ctx, gy_tensor_bytes(&have));
    memcpy(first, have.data, gy_tensor_bytes(&have));
    mix[1] = 1;
    assert_ok(ctx, gy_plan_run(net.plan));
    assert_memory_equal(have.data, first, (size_t)row * sizeof *first);
    assert_memory_not_equal((float *)have.data + row, first + row, (size_t)row * sizeof *first);
    memcpy(first, have.data, gy_tensor_bytes(&have));
    for (int i = 0; i < 3 * 8; i++) image[3 * 8 + i] += 1.0f;
    assert_ok(ctx, gy_plan_run(net.plan));
    assert_memory_equal(have.data, first, gy_tensor_bytes(&have));
    gy_free(ctx, first);
    gy_tensor_free(ctx, &want);
    gy_compiled_free(&net);
    gy_job_free(&j);
    gy_graph_free(c.g);
    gy_store_free(c.store);
    gy_safetensors_close(&c.io);
}

static void monai_unet(void **state, const char *name, int64_t axes) {
    gy_unet_spec spec = {.axes = axes,
                         .in = 2,
                         .out = 3,
                         .levels = 2,
                         .channels = {4, 8},
                         .resnets = 1,
                         .heads = {0, 2},
                         .mid_heads = 2,
                         .attention = GY_UNET_PLAIN,
                         .style = {.keys = GY_KEYS_MONAI, .groups = 2, .eps = 1e-6, .zero_out = true}};
    golden c;
    begin(&c, *state, name);
    gy_t x = in(&c, "latents");
    gy_t y = gy_unet(&c.m, &spec, x, in(&c, "timestep"));
    check(&c, name, 1, NAMES("noise"), &y, 1, NAMES("latents"), &x);
}

static void unet_in_three_dimensions_matches_monai(void **state) {
    monai_unet(state, "unet_monai_3d", 3);
}

static void unet_in_one_dimension_matches_monai(void **state) {
    monai_unet(state, "unet_monai_1d", 1);
}

static void controlnet_matches_diffusers(void **state) {
    golden c;
    begin(&c, *state, "controlnet");
    gy_t x = in(&c, "latents"), t = in(&c, "timestep"), ctx = in(&c, "context"), hint = in(&c, "hint");
    gy_store *frozen = gy_store_new(*state);
    gy_mod net = gy_mod_make(c.g, frozen, 1, false);
    gy_control k = gy_controlnet(&c.m, &sd, x, t, ctx, hint, 0.7, 2, {4, 6});
    gy_t y = gy_unet(&net, &sd, x, t, ctx, .control = k);
    assert_ok(*state, gy_weights_load(*state, "tests/golden/unet.safetensors", NULL, frozen, NULL));
    check(&c, "controlnet", 1, NAMES("noise"), &y, 2, NAMES("latents", "hint"), VALUES(x, hint));
    gy_store_free(frozen);
}

static void adapter_matches_diffusers(void **state) {
    static const gy_adapter_spec spec = {.levels = 2, .channels = {8, 16}, .resnets = 1, .factor = 2};
    golden c;
    begin(&c, *state, "adapter");
    gy_t x = in(&c, "latents"), t = in(&c, "timestep"), ctx = in(&c, "context"), hint = in(&c, "hint");
    gy_store *frozen = gy_store_new(*state);
    gy_mod net = gy_mod_make(c.g, frozen, 1, false);
    gy_t a[GY_UNET_LEVELS] = {{0}};
    gy_t2i_adapter(&c.m, &spec, hint, a);
    gy_t y = gy_unet(&net, &sd, x, t, ctx, .adapter = {a[0], a[1]});
    assert_ok(*state, gy_weights_load(*state, "tests/golden/unet.safetensors", NULL, frozen, NULL));
    check(&c, "adapter", 1, NAMES("noise"), &y, 2, NAMES("latents", "hint"), VALUES(x, hint));
    gy_store_free(frozen);
}

static void autoencoder_matches_diffusers(void **state) {
    static const gy_vae_spec spec = {
        .in = 3, .latent = 3, .levels = 2, .channels = {4, 8}, .resnets = 1, .style = {.groups = 2}};
    golden c;
    begin(&c, *state, "vae");
    gy_t x = in(&c, "image"), z = in(&c, "latents");
    gy_vae_latent q = gy_vae_encode(&c.m, &spec, x);
    gy_t y = gy_vae_decode(&c.m, &spec, z);
    check(&c, "vae", 3, NAMES("mean", "logvar", "decoded"), VALUES(q.mean, q.logvar, y), 2, NAMES("image", "latents"),
          VALUES(x, z));
}

/* The same weights under the names of before 2023 give the same states. */
static void old_names_of_the_autoencoder_load_too(void **state) {
    static const gy_vae_spec spec = {
        .in = 3, .latent = 3, .levels = 2, .channels = {4, 8}, .resnets = 1, .style = {.groups = 2}};
    static const char *const renamed[4][2] = {
        {".to_q.", ".query."}, {".to_k.", ".key."}, {".to_v.", ".value."}, {".to_out.0.", ".proj_attn."}};
    gy_ctx *ctx = *state;
    gy_safetensors file;
    gy_st_tensor tensor[MAX];
    gy_tensor value[MAX];
    char name[MAX][128], path[64];
    assert_ok(ctx, gy_safetensors_open(ctx, "tests/golden/vae.safetensors", NULL, &file));
    assert_true(file.n < MAX);
    for (int64_t i = 0; i < file.n; i++) {
        const char *from = file.entries[i].name, *at = NULL;
        snprintf(name[i], sizeof name[i], "%s", from);
        for (int k = 0; k < 4; k++)
            if ((at = strstr(from, renamed[k][0])))
                snprintf(name[i], sizeof name[i], "%.*s%s%s", (int)(at - from), from, renamed[k][1],
                         at + strlen(renamed[k][0]));
        assert_ok(ctx, gy_safetensors_read(&file, i, &value[i]));
        tensor[i] = (gy_st_tensor){name[i], &value[i]};
    }
    snprintf(path, sizeof path, "/tmp/gyrus_old_vae.%d.safetensors", (int)getpid());
    assert_ok(ctx, gy_safetensors_write(ctx, path, tensor, file.n, NULL, 0));
    gy_graph *g = gy_graph_new(ctx);
    gy_store *store = gy_store_new(ctx);
    gy_mod m = gy_mod_make(g, store, 1, false);
    gy_vae_decode(&m, &spec, gy_vae_encode(&m, &spec, gy_input(g, "x", GY_F32, GY_S(1, 4, 4, 3))).mean);
    assert_ok(ctx, gy_graph_status(g));
    assert_ok(ctx, gy_weights_load_as(ctx, path, NULL, store, NULL, gy_vae_rules));
    unlink(path);
    for (int64_t i = 0; i < file.n; i++) {
        gy_state *s = gy_state_find(store, file.entries[i].name);
        assert_non_null(s);
        for (int64_t e = 0; e < gy_shape_count(value[i].shape); e++)
            assert_true(gy_tensor_get(&s->value, e) == gy_tensor_get(&value[i], e));
        gy_tensor_free(ctx, &value[i]);
    }
    gy_graph_free(g);
    gy_store_free(store);
    gy_safetensors_close(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(unet_with_text_matches_diffusers),
        TEST(unet_with_recomputation_has_the_same_gradients),
        TEST(unet_with_linear_projections_and_classes_at_odd_sizes_matches_diffusers),
        TEST(unet_with_two_contexts_matches_diffusers),
        TEST(registered_unet_with_two_contexts_matches_diffusers),
        TEST(unet_in_three_dimensions_matches_monai),
        TEST(unet_in_one_dimension_matches_monai),
        TEST(controlnet_matches_diffusers),
        TEST(adapter_matches_diffusers),
        TEST(autoencoder_matches_diffusers),
        TEST(old_names_of_the_autoencoder_load_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
