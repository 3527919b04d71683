/* Norms, softmax, attention and losses against PyTorch's values, first and second gradients
 * (tests/golden/make_norm_attention.py), and what the golden files cannot hold: edges and refusals. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "io/formats/safetensors.h"

#include <math.h>
#include <stdio.h>

/* ---- golden cases ---- */

enum { MOST_INPUTS = 8 };

typedef struct golden golden;
typedef struct golden_case {
    const char *name;
    gy_t (*build)(golden *g);
} golden_case;

/* One case being checked in one dtype. */
struct golden {
    gy_ctx *ctx;
    const gy_safetensors *file;
    const char *name;
    gy_dtype dtype;
    gy_graph *graph;
    const char *input_name[MOST_INPUTS];
    gy_t input[MOST_INPUTS];
    gy_tensor value[MOST_INPUTS];
    int64_t n;
};

/* "case/prefix.name" as f64, or as the dtype under test if `cast`. False if the file has no such tensor. */
static bool load(golden *g, const char *prefix, const char *name, bool cast, gy_tensor *out) {
    char key[96];
    snprintf(key, sizeof key, "%s/%s%s", g->name, prefix, name);
    if (gy_safetensors_find(g->file, key) < 0) return false;
    gy_tensor t;
    assert_ok(g->ctx, gy_safetensors_get(g->file, key, &t));
    if (!cast || !gy_dtype_is_float(t.dtype)) {
        *out = t;
        return true;
    }
    assert_ok(g->ctx, gy_tensor_cast(g->ctx, &t, g->dtype, out));
    gy_tensor_free(g->ctx, &t);
    return true;
}

static gy_t in(golden *g, const char *name) {
    int64_t i = g->n++;
    assert_true(i < MOST_INPUTS);
    if (!load(g, "in.", name, true, &g->value[i])) fail_msg("%s: no input %s in the file", g->name, name);
    g->input_name[i] = name;
    return g->input[i] = gy_input(g->graph, name, g->value[i].dtype, g->value[i].shape);
}

/* Names "prefix.input" for each gradient that the file knows. */
static void name_gradients(golden *g, const char *prefix, const gy_t gradient[]) {
    for (int64_t i = 0; i < g->n; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s%s", prefix, g->input_name[i]);
        if (!gy_is_none(gradient[i])) gy_output(gradient[i], name);
    }
}

static int compare(golden *g, gy_plan *p, const char *prefix, const char *name, double tolerance) {
    char output[64];
    gy_tensor want;
    snprintf(output, sizeof output, "%s%s", prefix, name);
    if (!load(g, prefix, name, false, &want)) return 0;
    gy_tensor have = gy_plan_output(p, output);
    if (!have.data) fail_msg("%s: no %s came out", g->name, output);
    assert_true(gy_shape_equal(have.shape, want.shape));
    double scale = 1;
    for (int64_t i = 0; i < gy_shape_count(want.shape); i++) scale = fmax(scale, fabs(gy_tensor_get(&want, i)));
    for (int64_t i = 0; i < gy_shape_count(want.shape); i++) {
        double a = gy_tensor_get(&have, i), b = gy_tensor_get(&want, i);
        if (!(fabs(a - b) <= tolerance * scale))
            fail_msg("%s (%s): %s[%d] is %.17g, expected %.17g", g->name, gy_dtype_name(g->dtype), output, (int)i, a,
                     b);
    }
    gy_tensor_free(g->ctx, &want);
    return 1;
}

static void check(gy_ctx *ctx, const gy_safetensors *file, const golden_case *c, gy_dtype dtype) {
    golden g = {.ctx = ctx, .file = file, .name = c->name, .dtype = dtype, .graph = gy_graph_new(ctx)};
    gy_t x[MOST_INPUTS], gradient[MOST_INPUTS], twice[MOST_INPUTS], y = c->build(&g);
    int64_t n = 0;
    gy_output(y, "y");
    if (y.id && y.out == 0) gy_output(gy_out(y, 1), "y1");
    gy_tensor ct;
    assert_true(load(&g, "ct", "", true, &ct));
    gy_t size = gy_full(g.graph, dtype, GY_S0, 0);
    for (int64_t i = 0; i < g.n; i++) /* floats first in gradient[], in the order of the inputs */
        if (gy_dtype_is_float(g.value[i].dtype)) x[n++] = g.input[i];
    gy_t packed[MOST_INPUTS];
    gy_grad(gy_sum(gy_mul(y, gy_const(g.graph, &ct)), GY_ALL), GY_NONE, n, x, packed);
    for (int64_t i = 0, k = 0; i < g.n; i++) gradient[i] = gy_dtype_is_float(g.value[i].dtype) ? packed[k++] : GY_NONE;
    name_gradients(&g, "grad.", gradient);
    for (int64_t i = 0; i < g.n; i++) {
        gy_tensor known;
        /* only what the file differentiated takes part in the second order: targets and weights are constants there */
        if (!load(&g, "grad.", g.input_name[i], false, &known)) continue;
        gy_tensor_free(ctx, &known);
        size = gy_add(size, gy_sum(gy_square(gradient[i]), GY_ALL));
    }
    gy_grad_zeros(size, GY_NONE, n, x, packed);
    for (int64_t i = 0, k = 0; i < g.n; i++) twice[i] = gy_dtype_is_float(g.value[i].dtype) ? packed[k++] : GY_NONE;
    name_gradients(&g, "gg.", twice);

    gy_plan *p = gy_compile(g.graph, (gy_plan_args){0});
    if (!p) fail_msg("%s: %s", c->name, gy_error(ctx));
    for (int64_t i = 0; i < g.n; i++) assert_ok(ctx, gy_plan_feed(p, g.input_name[i], &g.value[i]));
    assert_ok(ctx, gy_plan_run(p));
    double tolerance = dtype == GY_F64 ? 1e-12 : 4e-6;
    int compared = compare(&g, p, "y", "", tolerance);
    compare(&g, p, "y1", "", tolerance);
    for (int64_t i = 0; i < g.n; i++) {
        compared += compare(&g, p, "grad.", g.input_name[i], tolerance);
        compare(&g, p, "gg.", g.input_name[i], 4 * tolerance);
    }
    assert_true(compared >= 2);
    gy_plan_free(p);
    gy_graph_free(g.graph);
    gy_tensor_free(ctx, &ct);
    for (int64_t i = 0; i < g.n; i++) gy_tensor_free(ctx, &g.value[i]);
}

static void check_all(gy_ctx *ctx, const char *path, const golden_case cases[], size_t n) {
    gy_safetensors file;
    assert_ok(ctx, gy_safetensors_open(ctx, path, NULL, &file));
    int64_t known = 0;
    for (int64_t i = 0; i < file.n; i++) known += strstr(file.entries[i].name, "/ct") != NULL;
    assert_int_equal(known, n); /* no case of the file goes unchecked */
    for (size_t i = 0; i < n; i++) {
        check(ctx, &file, &cases[i], GY_F64);
        check(ctx, &file, &cases[i], GY_F32);
    }
    gy_safetensors_close(&file);
}

/* ---- norms, softmax, attention ---- */

static gy_t layernorm(golden *g) {
    return gy_layernorm(in(g, "x"), in(g, "gamma"), in(g, "beta"));
}
static gy_t layernorm_plain(golden *g) {
    return gy_layernorm(in(g, "x"), .eps = 1e-3);
}
static gy_t rmsnorm(golden *g) {
    return gy_rmsnorm(in(g, "x"), in(g, "gamma"));
}
static gy_t groupnorm(golden *g) {
    return gy_groupnorm(in(g, "x"), in(g, "gamma"), in(g, "beta"), .groups = 3);
}
static gy_t groupnorm_silu(golden *g) {
    return gy_groupnorm(in(g, "x"), in(g, "gamma"), in(g, "beta"), .groups = 2, .act = GY_ACT_SILU, .eps = 1e-6);
}
static gy_t instancenorm(golden *g) {
    return gy_instancenorm(in(g, "x"));
}
static gy_t batchnorm(golden *g) {
    return gy_batchnorm(in(g, "x"), in(g, "gamma"), in(g, "beta"));
}
static gy_t batchnorm_eval(golden *g) {
    return gy_batchnorm_eval(in(g, "x"), in(g, "mean"), in(g, "var"), in(g, "gamma"), in(g, "beta"));
}
static gy_t softmax(golden *g) {
    return gy_softmax(in(g, "x"), 1);
}
static gy_t log_softmax(golden *g) {
    return gy_log_softmax(in(g, "x"), -1);
}
static gy_t attention(golden *g) {
    return gy_attention(in(g, "q"), in(g, "k"), in(g, "v"));
}
static gy_t attention_causal(golden *g) {
    return gy_attention(in(g, "q"), in(g, "k"), in(g, "v"), .causal = true);
}
static gy_t attention_gqa(golden *g) {
    return gy_attention(in(g, "q"), in(g, "k"), in(g, "v"), .causal = true, .scale = 0.4);
}
static gy_t attention_mask(golden *g) {
    return gy_attention(in(g, "q"), in(g, "k"), in(g, "v"), .mask = in(g, "mask"));
}
static gy_t attention_bias(golden *g) {
    return gy_attention(in(g, "q"), in(g, "k"), in(g, "v"), .bias = in(g, "bias"));
}

static void norms_softmax_and_attention_match_pytorch_to_second_order(void **state) {
    static const golden_case cases[] = {{"layernorm", layernorm},
                                        {"layernorm_plain", layernorm_plain},
                                        {"rmsnorm", rmsnorm},
                                        {"groupnorm", groupnorm},
                                        {"groupnorm_silu", groupnorm_silu},
                                        {"instancenorm", instancenorm},
                                        {"batchnorm", batchnorm},
                                        {"batchnorm_eval", batchnorm_eval},
                                        {"softmax", softmax},
                                        {"log_softmax", log_softmax},
                                        {"attention", attention},
                                        {"attention_causal", attention_causal},
                                        {"attention_cached", attention_causal},
                                        {"attention_gqa", attention_gqa},
                                        {"attention_mask", attention_mask},
                                        {"attention_bias", attention_bias}};
    check_all(*state, "tests/golden/norm_attention.safetensors", cases, sizeof cases / sizeof *cases);
}

/* ---- losses ---- */

static gy_t cross_entropy(golden *g) {
    return gy_cross_entropy(in(g, "x"), in(g, "target"));
}
static gy_t cross_entropy_all(golden *g) {
    return gy_cross_entropy(in(g, "x"), in(g, "target"), in(g, "weight"), .smoothing = 0.2, .ignore = true,
                            .ignore_index = 7);
}
static gy_t cross_entropy_sum(golden *g) {
    return gy_cross_entropy(in(g, "x"), in(g, "target"), .smoothing = 0.1, .reduction = GY_LOSS_SUM);
}
static gy_t cross_entropy_none(golden *g) {
    return gy_cross_entropy(in(g, "x"), in(g, "target"), .reduction = GY_LOSS_NONE);
}
static gy_t soft_cross_entropy(golden *g) {
    return gy_soft_cross_entropy(in(g, "x"), in(g, "target"), GY_LOSS_MEAN);
}
static gy_t bce(golden *g) {
    return gy_bce_with_logits(in(g, "x"), in(g, "target"), GY_NONE, GY_LOSS_MEAN);
}
static gy_t bce_pos_weight(golden *g) {
    return gy_bce_with_logits(in(g, "x"), in(g, "target"), in(g, "pos_weight"), GY_LOSS_SUM);
}
static gy_t hinge(golden *g) {
    return gy_hinge(in(g, "x"), in(g, "target"), GY_LOSS_MEAN);
}
static gy_t multi_margin(golden *g) {
    return gy_multi_margin(in(g, "x"), in(g, "target"), 0.7, GY_LOSS_MEAN);
}
static gy_t gan_hinge_d(golden *g) {
    return gy_gan_hinge_d(in(g, "real"), in(g, "fake"));
}
static gy_t gan_hinge_g(golden *g) {
    return gy_gan_hinge_g(in(g, "fake"));
}
static gy_t mse(golden *g) {
    return gy_mse(in(g, "a"), in(g, "b"), GY_LOSS_MEAN);
}
static gy_t l1(golden *g) {
    return gy_l1(in(g, "a"), in(g, "b"), GY_LOSS_MEAN);
}
static gy_t smooth_l1(golden *g) {
    return gy_smooth_l1(in(g, "a"), in(g, "b"), 0.6, GY_LOSS_MEAN);
}
static gy_t kl_div(golden *g) {
    return gy_kl_div(in(g, "p"), in(g, "q"), GY_LOSS_MEAN);
}
static gy_t gaussian_kl(golden *g) {
    return gy_gaussian_kl(in(g, "mu"), in(g, "log_var"), GY_LOSS_MEAN);
}
static gy_t dice(golden *g) {
    return gy_dice_loss(in(g, "p"), in(g, "target"), .smooth = 1);
}
static gy_t dice_batch(golden *g) {
    return gy_dice_loss(in(g, "p"), in(g, "target"), .smooth = 1, .batch = true, .squared = true);
}
static gy_t cosine(golden *g) {
    return gy_cosine_similarity(in(g, "a"), in(g, "b"));
}
static gy_t cosine_embedding(golden *g) {
    return gy_cosine_embedding(in(g, "a"), in(g, "b"), in(g, "target"), 0.1, GY_LOSS_MEAN);
}
static gy_t info_nce(golden *g) {
    return gy_info_nce(in(g, "a"), in(g, "b"));
}
static gy_t info_nce_scale(golden *g) {
    return gy_info_nce(in(g, "a"), in(g, "b"), in(g, "scale"));
}
static gy_t soft_clip(golden *g) {
    return gy_soft_clip(in(g, "p"), in(g, "t"), 0.125);
}

static void losses_match_pytorch_to_second_order(void **state) {
    static const golden_case cases[] = {{"cross_entropy", cross_entropy},
                                        {"cross_entropy_all", cross_entropy_all},
                                        {"cross_entropy_sum", cross_entropy_sum},
                                        {"cross_entropy_none", cross_entropy_none},
                                        {"soft_cross_entropy", soft_cross_entropy},
                                        {"bce", bce},
                                        {"bce_pos_weight", bce_pos_weight},
                                        {"hinge", hinge},
                                        {"multi_margin", multi_margin},
                                        {"gan_hinge_d", gan_hinge_d},
                                        {"gan_hinge_g", gan_hinge_g},
                                        {"mse", mse},
                                        {"l1", l1},
                                        {"smooth_l1", smooth_l1},
                                        {"kl_div", kl_div},
                                        {"gaussian_kl", gaussian_kl},
                                        {"dice", dice},
                                        {"dice_batch", dice_batch},
                                        {"cosine", cosine},
                                        {"cosine_embedding", cosine_embedding},
                                        {"info_nce", info_nce},
                                        {"info_nce_scale", info_nce_scale},
                                        {"soft_clip", soft_clip}};
    check_all(*state, "tests/golden/losses.safetensors", cases, sizeof cases / sizeof *cases);
}

/* ---- edges ---- */

/* A constant vector or tensor of doubles. */
static gy_t constant(gy_graph *g, gy_shape s, const double *value) {
    gy_tensor t;
    assert_ok(gy_graph_ctx(g), gy_tensor_new(gy_graph_ctx(g), &t, GY_F64, s));
    for (int64_t i = 0; i < gy_shape_count(s); i++) gy_tensor_set(&t, i, value[i]);
    gy_t c = gy_const(g, &t);
    gy_tensor_free(gy_graph_ctx(g), &t);
    return c;
}

/* Compiles and runs; the caller frees. */
static gy_plan *run(gy_ctx *ctx, gy_graph *g) {
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    if (!p) fail_msg("%s", gy_error(ctx));
    assert_ok(ctx, gy_plan_run(p));
    return p;
}

static void a_query_that_sees_nothing_gives_zeros_and_no_gradient(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    static const double one[] = {1, 2, 3, 4, 5, 6, 7, 8}, never[] = {-INFINITY, -INFINITY, 0, -INFINITY};
    gy_t x = gy_stop(constant(g, GY_S(1, 2, 1, 4), one)), gx[2];
    /* the first query is blind by a bias of -inf, the second sees the first key alone */
    gy_t bias = gy_stop(constant(g, GY_S(2, 2), never)), y = gy_attention(x, x, x, .bias = bias);
    gy_t wrt[] = {x, bias};
    gy_output(y, "y");
    gy_output(gy_out(y, 1), "lse");
    gy_grad(gy_sum(gy_square(y), GY_ALL), GY_NONE, 2, wrt, gx);
    gy_output(gx[0], "dx");
    gy_output(gx[1], "dbias");
    gy_grad(gy_sum(gy_square(gx[0]), GY_ALL), GY_NONE, 1, &x, gx);
    gy_output(gx[0], "twice");
    gy_plan *p = run(ctx, g);
    gy_tensor t = gy_plan_output(p, "y");
    for (int i = 0; i < 4; i++) {
        assert_true(gy_tensor_get(&t, i) == 0);
        assert_close(gy_tensor_get(&t, 4 + i), one[i], 1e-15);
    }
    t = gy_plan_output(p, "lse");
    assert_true(gy_tensor_get(&t, 0) == -INFINITY);
    static const char *const names[] = {"dx", "dbias", "twice"};
    for (int k = 0; k < 3; k++) {
        t = gy_plan_output(p, names[k]);
        for (int64_t i = 0; i < gy_shape_count(t.shape); i++) assert_true(isfinite(gy_tensor_get(&t, i)));
    }
    gy_plan_free(p);
    gy_graph_free(g);
}

/* Padding may hold anything; but a NaN that a query does see must not be hidden by later masked keys. */
static void a_nan_shows_where_it_is_seen_and_only_there(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    static const double query[] = {1, 2}, key[] = {1, NAN};
    uint8_t sees[] = {1, 0, 0, 1, 0, 0, 0};
    gy_t q = constant(g, GY_S(1, 2, 1, 1), query), k = constant(g, GY_S(1, 2, 1, 1), key);
    gy_tensor m = {.dtype = GY_U8, .shape = GY_S(2, 2), .data = sees, .borrowed = true};
    gy_output(gy_attention(q, k, k, .mask = gy_const(g, &m)), "apart"); /* query 0 sees key 0, query 1 key 1 */
    gy_t nan_first = gy_flip(k, 1);
    m.data = sees + 3; /* query 0 sees key 0, which is NaN now */
    gy_output(gy_attention(q, nan_first, nan_first, .mask = gy_const(g, &m)), "first");
    gy_plan *p = run(ctx, g);
    gy_tensor t = gy_plan_output(p, "apart");
    assert_true(gy_tensor_get(&t, 0) == 1 && isnan(gy_tensor_get(&t, 1)));
    t = gy_plan_output(p, "first");
    assert_true(isnan(gy_tensor_get(&t, 0)));
    gy_plan_free(p);
    gy_graph_free(g);
}

static void attention_weights_times_values_is_attention(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    double value[2 * 3 * 4 * 2];
    for (int i = 0; i < 48; i++) value[i] = sin(i * 1.7);
    gy_t q = constant(g, GY_S(2, 3, 4, 2), value), k = constant(g, GY_S(2, 3, 2, 2), value + 5);
    gy_t v = constant(g, GY_S(2, 3, 2, 2), value + 11);
    gy_t y = gy_attention(q, k, v, .causal = true), w = gy_attention_weights(q, k, .causal = true); /* [2, 4, 3, 3] */
    gy_output(gy_sum(w, GY_AXES(-1)), "rows");
    gy_t values =
        gy_reshape(gy_broadcast_to(gy_unsqueeze(gy_permute(v, 0, 2, 1, 3), 2), GY_S(2, 2, 2, 3, 2)), 2, 4, 3, 2);
    gy_t by_hand = gy_permute(gy_matmul(w, values), 0, 2, 1, 3);
    gy_output(gy_max(gy_abs(gy_sub(y, by_hand)), GY_ALL), "error");
    gy_plan *p = run(ctx, g);
    assert_true(gy_plan_scalar(p, "error") < 1e-14);
    gy_tensor rows = gy_plan_output(p, "rows");
    for (int64_t i = 0; i < gy_shape_count(rows.shape); i++) assert_close(gy_tensor_get(&rows, i), 1, 1e-14);
    gy_plan_free(p);
    gy_graph_free(g);
}

static void a_beta_without_gamma_is_a_shift(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    static const double x[] = {1, -2, 4, 0.5, 3, 3}, shift[] = {10, 20, 30};
    gy_t in = constant(g, GY_S(2, 3), x), beta = constant(g, GY_S(3), shift);
    gy_t difference = gy_sub(gy_layernorm(in, .beta = beta), gy_layernorm(in));
    gy_output(gy_max(gy_abs(gy_sub(difference, beta)), GY_ALL), "error");
    gy_plan *p = run(ctx, g);
    assert_true(gy_plan_scalar(p, "error") < 1e-13);
    gy_plan_free(p);
    gy_graph_free(g);
}

static void an_illegal_target_shows_as_nan(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    static const double logits[] = {1, 2, 3, 4, 5, 6};
    gy_t x = gy_stop(constant(g, GY_S(2, 3), logits)), gx;
    gy_t loss = gy_cross_entropy(x, gy_add_scalar(gy_iota(g, GY_I64, 2), 2), .reduction = GY_LOSS_NONE); /* 2, 3 */
    gy_output(loss, "loss");
    gy_grad(loss, GY_NONE, 1, &x, &gx);
    gy_output(gx, "dx");
    gy_plan *p = run(ctx, g);
    gy_tensor t = gy_plan_output(p, "loss");
    assert_true(isfinite(gy_tensor_get(&t, 0)) && isnan(gy_tensor_get(&t, 1)));
    t = gy_plan_output(p, "dx");
    for (int i = 0; i < 6; i++) assert_int_equal(isnan(gy_tensor_get(&t, i)), i >= 3);
    gy_plan_free(p);
    gy_graph_free(g);
}

static void losses_stay_finite_at_extreme_values(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    static const double big[] = {1000, -1000, 0, 0}, p[] = {0, 1, 1, 0}, log_p[] = {-INFINITY, 0, 0, -INFINITY};
    gy_t x = gy_stop(constant(g, GY_S(2, 2), big)), target = constant(g, GY_S(2, 2), p), gx[4];
    gy_t zero = gy_stop(gy_full(g, GY_F64, GY_S(2, 2), 0));
    gy_t loss[] = {gy_bce_with_logits(x, target, GY_NONE, GY_LOSS_SUM), gy_soft_cross_entropy(x, target, GY_LOSS_SUM),
                   gy_kl_div(constant(g, GY_S(2, 2), log_p), gy_log_softmax(x, -1), GY_LOSS_SUM),
                   gy_sum(gy_cosine_similarity(x, zero), GY_ALL)};
    static const double want[] = {2000 + 2 * 0.69314718055994531, 2000 + 0.69314718055994531,
                                  2000 + 0.69314718055994531, 0};
    for (int i = 0; i < 4; i++) {
        char name[2] = {(char)('0' + i), 0}, gname[3] = {'g', (char)('0' + i), 0};
        gy_output(loss[i], name);
        gy_grad(loss[i], GY_NONE, 1, i == 3 ? &zero : &x, &gx[i]);
        gy_output(gx[i], gname);
    }
    gy_plan *plan = run(ctx, g);
    for (int i = 0; i < 4; i++) {
        char name[2] = {(char)('0' + i), 0}, gname[3] = {'g', (char)('0' + i), 0};
        assert_close(gy_plan_scalar(plan, name), want[i], 1e-15);
        gy_tensor t = gy_plan_output(plan, gname);
        for (int k = 0; k < 4; k++) assert_true(isfinite(gy_tensor_get(&t, k)));
    }
    gy_plan_free(plan);
    gy_graph_free(g);
}

/* Fails unless building with f poisons the graph with a message that contains `part` and this file's name. */
static void refused(gy_ctx *ctx, void (*f)(gy_graph *g), const char *part) {
    gy_graph *g = gy_graph_new(ctx);
    f(g);
    assert_message(ctx, gy_graph_status(g), part);
    assert_message(ctx, gy_graph_status(g), "test_norm_attention.c:");
    gy_graph_free(g);
    gy_error_clear(ctx);
}
static gy_t f64(gy_graph *g, gy_shape s) {
    return gy_full(g, GY_F64, s, 1);
}
static gy_t i64(gy_graph *g, gy_shape s) {
    return gy_full(g, GY_I64, s, 0);
}

static void short_gamma(gy_graph *g) {
    gy_layernorm(f64(g, GY_S(2, 5)), f64(g, GY_S(4)));
}
static void uneven_groups(gy_graph *g) {
    gy_groupnorm(f64(g, GY_S(2, 3, 10)), .groups = 4);
}
static void no_groups(gy_graph *g) {
    gy_groupnorm(f64(g, GY_S(2, 3, 10)));
}
static void empty_batch(gy_graph *g) {
    gy_batchnorm(f64(g, GY_S(0, 3)));
}
static void relu_in_groupnorm(gy_graph *g) {
    gy_groupnorm(f64(g, GY_S(2, 4)), .groups = 2, .act = GY_ACT_RELU);
}
static void softmax_axis(gy_graph *g) {
    gy_softmax(f64(g, GY_S(2, 3)), 2);
}
static void softmax_of_integers(gy_graph *g) {
    gy_softmax(i64(g, GY_S(2, 3)), -1);
}
static void query_width(gy_graph *g) {
    gy_attention(f64(g, GY_S(1, 2, 2, 3)), f64(g, GY_S(1, 2, 2, 4)), f64(g, GY_S(1, 2, 2, 4)));
}
static void query_heads(gy_graph *g) {
    gy_attention(f64(g, GY_S(1, 2, 3, 4)), f64(g, GY_S(1, 2, 2, 4)), f64(g, GY_S(1, 2, 2, 4)));
}
static void float_mask(gy_graph *g) {
    gy_t x = f64(g, GY_S(1, 2, 2, 4));
    gy_attention(x, x, x, .mask = f64(g, GY_S(2, 2)));
}
static void wide_bias(gy_graph *g) {
    gy_t x = f64(g, GY_S(1, 2, 2, 4));
    gy_attention_weights(x, x, .bias = f64(g, GY_S(2, 3)));
}
static void rank_of_target(gy_graph *g) {
    gy_cross_entropy(f64(g, GY_S(4, 3)), i64(g, GY_S(4, 1)));
}
static void float_target(gy_graph *g) {
    gy_cross_entropy(f64(g, GY_S(4, 3)), f64(g, GY_S(4)));
}
static void much_smoothing(gy_graph *g) {
    gy_cross_entropy(f64(g, GY_S(4, 3)), i64(g, GY_S(4)), .smoothing = 1.5);
}
static void unequal_shapes(gy_graph *g) {
    gy_mse(f64(g, GY_S(4, 1)), f64(g, GY_S(4)), GY_LOSS_MEAN);
}
static void no_temperature(gy_graph *g) {
    gy_soft_clip(f64(g, GY_S(4, 2)), f64(g, GY_S(4, 2)), 0);
}

static void wrong_arguments_are_refused_with_place_and_reason(void **state) {
    static const struct {
        void (*f)(gy_graph *g);
        const char *part;
    } table[] = {{short_gamma, "layernorm: gamma: expected f64 [5], found f64 [4]"},
                 {uneven_groups, "groupnorm: 10 channels do not divide into 4 groups"},
                 {no_groups, "groupnorm: 10 channels do not divide into 0 groups"},
                 {empty_batch, "batchnorm: no element to take statistics of in [0, 3]"},
                 {relu_in_groupnorm, "only GY_ACT_NONE and GY_ACT_SILU"},
                 {softmax_axis, "softmax: axis 2 of a value [2, 3]"},
                 {softmax_of_integers, "softmax: expected a float value, found i64"},
                 {query_width, "attention: q [1, 2, 2, 3] and k [1, 2, 2, 4] differ"},
                 {query_heads, "attention: 3 query heads are no multiple of 2 key heads"},
                 {float_mask, "attention: mask is f64, expected u8"},
                 {wide_bias, "attention: bias [2, 3] does not broadcast to the scores [1, 2, 2, 2]"},
                 {rank_of_target, "cross_entropy: target: expected i64 [4], found i64 [4, 1]"},
                 {float_target, "cross_entropy: target: expected i64 [4], found f64 [4]"},
                 {much_smoothing, "cross_entropy: smoothing: expected 0 to 1, found 1.5"},
                 {unequal_shapes, "mse: expected two values alike, found f64 [4, 1] and f64 [4]"},
                 {no_temperature, "soft_clip: tau 0, expected > 0"}};
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) refused(*state, table[i].f, table[i].part);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(norms_softmax_and_attention_match_pytorch_to_second_order),
                                       TEST(losses_match_pytorch_to_second_order),
                                       TEST(a_query_that_sees_nothing_gives_zeros_and_no_gradient),
                                       TEST(a_nan_shows_where_it_is_seen_and_only_there),
                                       TEST(attention_weights_times_values_is_attention),
                                       TEST(a_beta_without_gamma_is_a_shift),
                                       TEST(an_illegal_target_shows_as_nan),
                                       TEST(losses_stay_finite_at_extreme_values),
                                       TEST(wrong_arguments_are_refused_with_place_and_reason)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
