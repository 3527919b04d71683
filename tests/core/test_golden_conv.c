/* Convolution, pooling and resizing against PyTorch: values, gradients and second-order gradients of the cases in
 * tests/golden/{conv,conv_transpose,pool,resize}.safetensors (made by tests/golden/make_conv.py). */
#include "../harness/harness.h"

#include "core/ops.h"
#include "core/plan.h"
#include "io/formats/safetensors.h"

#include <math.h>
#include <stdio.h>

/* ---- one case: its file, the tensors of it that were read, the graph over them ---- */

enum { MAX_TENSORS = 12 };

typedef struct golden {
    gy_ctx *ctx;
    const gy_safetensors *file;
    const char *name;
    gy_graph *g;
    gy_tensor tensor[MAX_TENSORS];
    char key[MAX_TENSORS][16];
    int n;
} golden;

static const gy_tensor *tensor_of(golden *c, const char *key) {
    char full[96];
    for (int i = 0; i < c->n; i++)
        if (strcmp(c->key[i], key) == 0) return &c->tensor[i];
    assert_true(c->n < MAX_TENSORS);
    snprintf(full, sizeof full, "%s.%s", c->name, key);
    assert_ok(c->ctx, gy_safetensors_get(c->file, full, &c->tensor[c->n]));
    snprintf(c->key[c->n], sizeof c->key[0], "%s", key);
    return &c->tensor[c->n++];
}

/* The stored tensor as an input of the graph, in its own dtype. */
static gy_t in(golden *c, const char *key) {
    const gy_tensor *t = tensor_of(c, key);
    return gy_input(c->g, key, t->dtype, t->shape);
}

static void begin(golden *c, gy_ctx *ctx, const gy_safetensors *file, const char *name) {
    *c = (golden){.ctx = ctx, .file = file, .name = name, .g = gy_graph_new(ctx)};
    assert_non_null(c->g);
}

/* Runs the graph and compares each output with the stored tensor of the same name. */
static void check(golden *c, int n_out, const char *const keys[]) {
    assert_ok(c->ctx, gy_graph_status(c->g));
    gy_plan *p = gy_compile(c->g, (gy_plan_args){0});
    if (!p) fail_msg("%s: %s", c->name, gy_error(c->ctx));
    for (int i = 0; i < c->n; i++)
        if (gy_plan_input(p, c->key[i])) assert_ok(c->ctx, gy_plan_feed(p, c->key[i], &c->tensor[i]));
    assert_ok(c->ctx, gy_plan_run(p));
    for (int i = 0; i < n_out; i++) {
        const gy_tensor *want = tensor_of(c, keys[i]);
        gy_tensor have = gy_plan_output(p, keys[i]);
        char a[GY_SHAPE_TEXT], b[GY_SHAPE_TEXT];
        if (!gy_shape_equal(have.shape, want->shape))
            fail_msg("%s.%s: %s, expected %s", c->name, keys[i], gy_shape_text(have.shape, a),
                     gy_shape_text(want->shape, b));
        double scale = 1;
        for (int64_t e = 0; e < gy_shape_count(want->shape); e++) scale = fmax(scale, fabs(gy_tensor_get(want, e)));
        for (int64_t e = 0; e < gy_shape_count(want->shape); e++)
            if (!(fabs(gy_tensor_get(&have, e) - gy_tensor_get(want, e)) <= 1e-13 * scale))
                fail_msg("%s.%s[%d]: %.17g, expected %.17g", c->name, keys[i], (int)e, gy_tensor_get(&have, e),
                         gy_tensor_get(want, e));
    }
    gy_plan_free(p);
    for (int i = 0; i < c->n; i++) gy_tensor_free(c->ctx, &c->tensor[i]);
    gy_graph_free(c->g);
}

static void outputs(int n, const char *const keys[], const gy_t values[]) {
    for (int i = 0; i < n; i++) gy_output(values[i], keys[i]);
}

static void open_golden(void **state, const char *path, gy_safetensors *file) {
    assert_ok(*state, gy_safetensors_open(*state, path, NULL, file));
}

/* ---- convolutions ---- */

typedef struct {
    const char *name;
    gy_shape stride, pad, pad_end, dilation;
    int64_t groups;
    gy_shape output_padding;
} conv_case;

static const conv_case convs[] = {
    {"conv1"},
    {"conv1_stride", .stride = {1, {3}}, .pad = {1, {2}}, .pad_end = {1, {1}}},
    {"conv1_dilated", .dilation = {1, {4}}, .pad = {1, {5}}, .pad_end = {1, {0}}, .groups = 2},
    {"conv1_holes", .stride = {1, {4}}},
    {"conv2", .pad = {1, {1}}},
    {"conv2_stride", .stride = {2, {2, 3}}, .pad = {2, {1, 0}}, .pad_end = {2, {2, 1}}},
    {"conv2_groups", .pad = {2, {2, 2}}, .dilation = {1, {2}}, .groups = 2},
    {"conv2_depthwise", .stride = {1, {2}}, .pad = {1, {1}}, .groups = 5},
    {"conv2_depth_twice", .pad = {2, {0, 2}}, .pad_end = {1, {1}}, .groups = 3},
    {"conv2_cropped", .pad = {2, {-1, 0}}, .pad_end = {2, {2, -2}}},
    {"conv3", .pad = {3, {1, 1, 0}}},
    {"conv3_all", .stride = {3, {2, 1, 2}}, .pad = {3, {1, 2, 0}}, .pad_end = {3, {0, 1, 3}},
     .dilation = {3, {1, 2, 3}}, .groups = 2},
};

static const conv_case transposed[] = {
    {"convt1", .stride = {1, {2}}, .pad = {1, {1}}, .output_padding = {1, {1}}},
    {"convt1_dilated", .pad = {1, {2}}, .output_padding = {1, {1}}, .dilation = {1, {2}}, .groups = 2},
    {"convt2", .stride = {1, {2}}, .pad = {1, {1}}},
    {"convt2_all", .stride = {2, {3, 2}}, .pad = {2, {1, 0}}, .output_padding = {2, {2, 1}}, .dilation = {2, {1, 3}},
     .groups = 2},
    {"convt3", .stride = {3, {2, 1, 3}}, .pad = {3, {0, 1, 0}}, .output_padding = {3, {1, 0, 2}}},
};

static void convolution(gy_ctx *ctx, const gy_safetensors *file, const conv_case *e, bool transpose) {
    static const char *const keys[] = {"y", "gx", "gw", "gb", "pw", "pct"};
    golden c;
    begin(&c, ctx, file, e->name);
    gy_t x = in(&c, "x"), w = in(&c, "w"), b = in(&c, "b"), ct = in(&c, "ct"), out[6];
    out[0] = transpose
                 ? gy_conv_transpose(x, w, b, .stride = e->stride, .pad = e->pad, .pad_end = e->pad_end,
                                     .dilation = e->dilation, .output_padding = e->output_padding, .groups = e->groups)
                 : gy_conv(x, w, b, .stride = e->stride, .pad = e->pad, .pad_end = e->pad_end, .dilation = e->dilation,
                           .groups = e->groups);
    gy_grad(out[0], ct, 3, ((gy_t[]){x, w, b}), &out[1]);
    gy_grad(gy_sum(gy_square(out[1]), GY_ALL), GY_NONE, 2, ((gy_t[]){w, ct}), &out[4]);
    outputs(6, keys, out);
    check(&c, 6, keys);
}

static void convolutions_match_pytorch_to_second_order(void **state) {
    gy_safetensors file;
    open_golden(state, "tests/golden/conv.safetensors", &file);
    for (size_t i = 0; i < sizeof convs / sizeof *convs; i++) convolution(*state, &file, &convs[i], false);
    gy_safetensors_close(&file);
}

static void transposed_convolutions_match_pytorch_to_second_order(void **state) {
    gy_safetensors file;
    open_golden(state, "tests/golden/conv_transpose.safetensors", &file);
    for (size_t i = 0; i < sizeof transposed / sizeof *transposed; i++)
        convolution(*state, &file, &transposed[i], true);
    gy_safetensors_close(&file);
}

/* ---- pools ---- */

typedef struct {
    const char *name;
    bool max;
    gy_shape window, stride, pad, dilation, out; /* out: adaptive */
    bool exclude_pad;
} pool_case;

static const pool_case pools[] = {
    {"max1", true, .window = {1, {3}}, .stride = {1, {2}}, .pad = {1, {1}}},
    {"max2", true, .window = {2, {3, 2}}, .stride = {2, {2, 1}}, .pad = {2, {1, 0}}},
    {"max2_dilated", true, .window = {1, {3}}, .stride = {1, {2}}, .pad = {1, {1}}, .dilation = {1, {2}}},
    {"max3", true, .window = {1, {2}}, .pad = {3, {0, 1, 1}}},
    {"avg1", false, .window = {1, {4}}, .stride = {1, {3}}, .pad = {1, {2}}},
    {"avg2", false, .window = {2, {3, 2}}, .stride = {2, {2, 1}}, .pad = {1, {1}}},
    {"avg2_exclude", false, .window = {2, {3, 2}}, .stride = {2, {2, 1}}, .pad = {1, {1}}, .exclude_pad = true},
    {"avg3", false, .window = {3, {2, 3, 2}}, .stride = {3, {2, 1, 2}}, .pad = {3, {0, 1, 1}}, .exclude_pad = true},
    {"adaptive_avg1", false, .out = {1, {5}}},
    {"adaptive_avg1_up", false, .out = {1, {8}}},
    {"adaptive_avg2", false, .out = {2, {3, 1}}},
    {"adaptive_avg3", false, .out = {3, {2, 7, 3}}},
    {"adaptive_max1", true, .out = {1, {5}}},
    {"adaptive_max2", true, .out = {2, {3, 4}}},
    {"adaptive_max3", true, .out = {3, {2, 3, 4}}},
};

static gy_t pool(const pool_case *e, gy_t x) {
    if (e->out.rank)
        return e->max ? gy_adaptive_max_pool_(GY_HERE, x, e->out) : gy_adaptive_avg_pool_(GY_HERE, x, e->out);
    if (e->max) return gy_max_pool(x, .window = e->window, .stride = e->stride, .pad = e->pad, .dilation = e->dilation);
    return gy_avg_pool(x, .window = e->window, .stride = e->stride, .pad = e->pad, .exclude_pad = e->exclude_pad);
}

static void pools_match_pytorch(void **state) {
    static const char *const keys[] = {"y", "gx", "place"};
    gy_safetensors file;
    open_golden(state, "tests/golden/pool.safetensors", &file);
    for (size_t i = 0; i < sizeof pools / sizeof *pools; i++) {
        golden c;
        begin(&c, *state, &file, pools[i].name);
        gy_t x = in(&c, "x"), ct = in(&c, "ct"), out[3];
        int n = pools[i].max ? 3 : 2;
        out[0] = pool(&pools[i], x);
        gy_grad(out[0], ct, 1, &x, &out[1]);
        out[2] = gy_out(out[0], 1);
        outputs(n, keys, out);
        check(&c, n, keys);
    }
    gy_safetensors_close(&file);
}

/* ---- resizing ---- */

typedef struct {
    const char *name;
    gy_resize_mode mode;
    gy_shape size;
    double scale;
    bool align_corners;
} resize_case;

static const resize_case resizes[] = {
    {"nearest1", GY_RESIZE_NEAREST, .size = {1, {11}}},
    {"nearest1_down", GY_RESIZE_NEAREST, .size = {1, {5}}},
    {"nearest1_scale", GY_RESIZE_NEAREST, .scale = 0.45},
    {"nearest2", GY_RESIZE_NEAREST, .scale = 2},
    {"nearest3", GY_RESIZE_NEAREST, .size = {3, {2, 5, 7}}},
    {"linear1", GY_RESIZE_LINEAR, .size = {1, {11}}},
    {"linear1_down", GY_RESIZE_LINEAR, .size = {1, {5}}},
    {"linear1_scale", GY_RESIZE_LINEAR, .scale = 1.7},
    {"linear1_same", GY_RESIZE_LINEAR, .scale = 1.05},
    {"linear2", GY_RESIZE_LINEAR, .size = {2, {7, 3}}},
    {"linear2_corners", GY_RESIZE_LINEAR, .size = {2, {9, 1}}, .align_corners = true},
    {"linear2_scale_corners", GY_RESIZE_LINEAR, .scale = 2, .align_corners = true},
    {"linear3", GY_RESIZE_LINEAR, .size = {3, {5, 4, 4}}},
    {"linear3_corners", GY_RESIZE_LINEAR, .size = {3, {4, 5, 3}}, .align_corners = true},
};

static void value_and_gradient(golden *c, gy_t y) {
    static const char *const keys[] = {"y", "gx"};
    gy_t x = in(c, "x"), out[2] = {y};
    gy_grad(y, in(c, "ct"), 1, &x, &out[1]);
    outputs(2, keys, out);
    check(c, 2, keys);
}

static void resizing_matches_pytorch(void **state) {
    gy_safetensors file;
    golden c;
    open_golden(state, "tests/golden/resize.safetensors", &file);
    for (size_t i = 0; i < sizeof resizes / sizeof *resizes; i++) {
        const resize_case *e = &resizes[i];
        begin(&c, *state, &file, e->name);
        value_and_gradient(&c, gy_resize(in(&c, "x"), .size = e->size, .scale = e->scale, .mode = e->mode,
                                         .align_corners = e->align_corners));
    }
    gy_safetensors_close(&file);
}

static void pixel_shuffle_orders_channels_as_pytorch(void **state) {
    gy_safetensors file;
    golden c;
    open_golden(state, "tests/golden/resize.safetensors", &file);
    begin(&c, *state, &file, "shuffle");
    value_and_gradient(&c, gy_pixel_shuffle(in(&c, "x"), 3));
    begin(&c, *state, &file, "unshuffle");
    value_and_gradient(&c, gy_pixel_unshuffle(in(&c, "x"), 2));
    gy_safetensors_close(&file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(convolutions_match_pytorch_to_second_order),
        TEST(transposed_convolutions_match_pytorch_to_second_order),
        TEST(pools_match_pytorch),
        TEST(resizing_matches_pytorch),
        TEST(pixel_shuffle_orders_channels_as_pytorch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
