/* Convolution, pooling and resizing: what they refuse, sizes, edges. Values are checked by the operator harness and
 * against PyTorch in test_golden_conv.c. */
#include "../harness/harness.h"

#include "core/ops.h"
#include "core/plan.h"

#include <math.h>

/* ---- messages ---- */

typedef gy_t (*build_fn)(gy_graph *g);

static gy_t image(gy_graph *g) {
    return gy_input(g, "image", GY_F32, GY_S(2, 6, 5, 4));
}
static gy_t weights(gy_graph *g, gy_shape s) {
    return gy_input(g, "weights", GY_F32, s);
}

static gy_t kernel_too_large(gy_graph *g) {
    return gy_conv(image(g), weights(g, GY_S(3, 4, 3, 3)), .dilation = GY_S(1, 4), .pad = GY_S(0, 1));
}
static gy_t groups_do_not_divide(gy_graph *g) {
    return gy_conv(image(g), weights(g, GY_S(6, 1, 3, 3)), .groups = 3);
}
static gy_t wrong_channels(gy_graph *g) {
    return gy_conv(image(g), weights(g, GY_S(6, 3, 3, 3)));
}
static gy_t wrong_weight_rank(gy_graph *g) {
    return gy_conv(image(g), weights(g, GY_S(6, 4, 3)));
}
static gy_t wrong_bias(gy_graph *g) {
    return gy_conv(image(g), weights(g, GY_S(6, 4, 3, 3)), gy_input(g, "b", GY_F32, GY_S(5)));
}
static gy_t wrong_dtype(gy_graph *g) {
    return gy_conv(image(g), gy_input(g, "w", GY_F64, GY_S(6, 4, 3, 3)));
}
static gy_t wrong_x_rank(gy_graph *g) {
    return gy_conv(gy_input(g, "x", GY_F32, GY_S(6, 4)), gy_input(g, "w", GY_F32, GY_S(6, 4)));
}
static gy_t wrong_option(gy_graph *g) {
    return gy_conv(image(g), weights(g, GY_S(6, 4, 3, 3)), .stride = GY_S(1, 1, 1));
}
static gy_t zero_stride(gy_graph *g) {
    return gy_conv(image(g), weights(g, GY_S(6, 4, 3, 3)), .stride = GY_S(1, 0));
}
static gy_t huge_padding(gy_graph *g) {
    return gy_conv(image(g), weights(g, GY_S(6, 4, 3, 3)), .pad = GY_S(INT64_MAX / 2));
}
static gy_t same_and_pad(gy_graph *g) {
    return gy_conv(image(g), weights(g, GY_S(6, 4, 3, 3)), .same = true, .pad = GY_S(1));
}
static gy_t output_padding_too_large(gy_graph *g) {
    return gy_conv_transpose(image(g), weights(g, GY_S(4, 6, 3, 3)), .stride = GY_S(2), .output_padding = GY_S(2));
}
static gy_t nothing_left(gy_graph *g) {
    return gy_conv_transpose(image(g), weights(g, GY_S(4, 6, 3, 3)), .pad = GY_S(4));
}
static gy_t transposed_channels(gy_graph *g) {
    return gy_conv_transpose(image(g), weights(g, GY_S(6, 4, 3, 3)));
}
static gy_t window_missing(gy_graph *g) {
    return gy_max_pool(image(g));
}
static gy_t window_too_large(gy_graph *g) {
    return gy_avg_pool(image(g), .window = GY_S(3, 6));
}
static gy_t padding_alone(gy_graph *g) {
    return gy_max_pool(image(g), .window = GY_S(2), .pad = GY_S(2));
}
static gy_t divisor_zero(gy_graph *g) {
    return gy_avg_pool(image(g), .window = GY_S(2), .pad = GY_S(2), .exclude_pad = true);
}
static gy_t dilated_average(gy_graph *g) {
    return gy_avg_pool(image(g), .window = GY_S(2), .dilation = GY_S(2));
}
static gy_t pool_into_nothing(gy_graph *g) {
    return gy_adaptive_avg_pool(image(g), 3, 0);
}
static gy_t size_and_scale(gy_graph *g) {
    return gy_resize(image(g), .size = GY_S(3), .scale = 2);
}
static gy_t neither_size_nor_scale(gy_graph *g) {
    return gy_resize(image(g));
}
static gy_t resize_to_nothing(gy_graph *g) {
    return gy_resize(image(g), .scale = 0.1);
}
static gy_t corners_of_nearest(gy_graph *g) {
    return gy_resize(image(g), .scale = 2, .align_corners = true);
}
static gy_t shuffle_indivisible(gy_graph *g) {
    return gy_pixel_shuffle(image(g), 3);
}
static gy_t unshuffle_indivisible(gy_graph *g) {
    return gy_pixel_unshuffle(image(g), 2);
}

static void mistakes_are_named_with_what_was_expected_and_found(void **state) {
    static const struct {
        build_fn build;
        const char *part;
    } table[] = {
        {kernel_too_large, "conv: kernel [3, 4, 3, 3] (reach 9 with dilation) is larger than the padded input"},
        {groups_do_not_divide, "3 groups do not divide 4 input and 6 output channels"},
        {wrong_channels, "needs weights of 4 input channels a group, found [6, 3, 3, 3]"},
        {wrong_weight_rank, "found [6, 4, 3]"},
        {wrong_bias, "expected a bias [6], found [5]"},
        {wrong_dtype, "dtypes differ: f32 and f64"},
        {wrong_x_rank, "expected [batch, 1 to 3 spatial axes, channels], found [6, 4]"},
        {wrong_option, ".stride needs one value, or one a spatial axis of x [2, 6, 5, 4]"},
        {zero_stride, "must be at least 1, found 0"},
        {huge_padding, "beyond 2^31"},
        {same_and_pad, "exclude each other"},
        {output_padding_too_large, "output_padding 2 is not below the stride 2"},
        {nothing_left, "the padding leaves"},
        {transposed_channels, "expected as many channels as the weights' axis 0"},
        {window_missing, "max_pool: .window needs one value"},
        {window_too_large, "avg_pool: a window reaching over 6 elements is larger than axis 2"},
        {padding_alone, "max_pool: window 0 of axis 1 of [2, 6, 5, 4] covers padding alone"},
        {divisor_zero, "avg_pool: window 0 of axis 1 of [2, 6, 5, 4] covers padding alone"},
        {dilated_average, ".dilation is for max_pool only"},
        {pool_into_nothing, "cannot pool 5 elements of axis 2 into 0"},
        {size_and_scale, "either .size or .scale"},
        {neither_size_nor_scale, "either .size or .scale"},
        {resize_to_nothing, "cannot resize axis 1 of [2, 6, 5, 4] from 6 to 0 elements"},
        {corners_of_nearest, ".align_corners is for linear resizing only"},
        {shuffle_indivisible, "pixel_shuffle: factor 3 does not fit [2, 6, 5, 4]"},
        {unshuffle_indivisible, "pixel_unshuffle: factor 2 does not divide"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        gy_graph *g = gy_graph_new(*state);
        assert_non_null(g);
        table[i].build(g);
        assert_message(*state, gy_graph_status(g), table[i].part);
        gy_graph_free(g);
    }
}

/* ---- sizes ---- */

static void same_padding_gives_one_output_a_stride(void **state) {
    gy_graph *g = gy_graph_new(*state);
    for (int64_t n = 1; n <= 9; n++)
        for (int64_t k = 1; k <= 5; k++)
            for (int64_t s = 1; s <= 4; s++)
                for (int64_t d = 1; d <= 3; d++) {
                    gy_t x = gy_full(g, GY_F32, GY_S(1, n, 1), 0), w = gy_full(g, GY_F32, GY_S(1, 1, k), 0);
                    gy_t y = gy_conv(x, w, .stride = GY_S(s), .dilation = GY_S(d), .same = true);
                    assert_ok(*state, gy_graph_status(g));
                    assert_int_equal(gy_dim(y, 1), (n + s - 1) / s);
                }
    gy_graph_free(g);
}

static void transposed_convolution_restores_every_size(void **state) {
    gy_graph *g = gy_graph_new(*state);
    for (int64_t n = 5; n <= 12; n++)
        for (int64_t k = 1; k <= 4; k++)
            for (int64_t s = 1; s <= 4; s++)
                for (int64_t p = 0; p <= 2; p++) {
                    gy_t x = gy_full(g, GY_F32, GY_S(1, n, 3), 0), w = gy_full(g, GY_F32, GY_S(2, 3, k), 0);
                    gy_t y = gy_conv(x, w, .stride = GY_S(s), .pad = GY_S(p));
                    int64_t lost = (n + 2 * p - k) % s; /* elements at the end that no window reaches */
                    gy_t z = gy_conv_transpose(y, w, .stride = GY_S(s), .pad = GY_S(p), .output_padding = GY_S(lost));
                    assert_ok(*state, gy_graph_status(g));
                    assert_true(gy_shape_equal(gy_shape_of(z), GY_S(1, n, 3)));
                }
    gy_graph_free(g);
}

/* ---- values at the edges ---- */

static gy_plan *run(gy_ctx *ctx, gy_graph *g, gy_plan_args a, const gy_tensor *x) {
    assert_ok(ctx, gy_graph_status(g));
    gy_plan *p = gy_compile(g, a);
    if (!p) fail_msg("%s", gy_error(ctx));
    if (x) assert_ok(ctx, gy_plan_feed(p, "x", x));
    assert_ok(ctx, gy_plan_run(p));
    return p;
}

static void an_empty_batch_has_zero_weight_gradients(void **state) {
    gy_graph *g = gy_graph_new(*state);
    gy_t x = gy_full(g, GY_F32, GY_S(0, 5, 5, 2), 1), w = gy_full(g, GY_F32, GY_S(3, 2, 3, 3), 1);
    gy_t b = gy_full(g, GY_F32, GY_S(3), 1), y = gy_conv(x, w, b), gx[2];
    gy_grad(y, GY_NONE, 2, ((gy_t[]){w, b}), gx);
    gy_output(y, "y");
    gy_output(gx[0], "gw");
    gy_output(gx[1], "gb");
    gy_plan *p = run(*state, g, (gy_plan_args){0}, NULL);
    assert_true(gy_shape_equal(gy_plan_output(p, "y").shape, GY_S(0, 3, 3, 3)));
    gy_tensor gw = gy_plan_output(p, "gw"), gb = gy_plan_output(p, "gb");
    assert_int_equal(gy_shape_count(gw.shape), 54);
    for (int64_t i = 0; i < 54; i++) assert_true(gy_tensor_get(&gw, i) == 0);
    for (int64_t i = 0; i < 3; i++) assert_true(gy_tensor_get(&gb, i) == 0);
    gy_plan_free(p);
    gy_graph_free(g);
}

static void max_pool_propagates_nan_and_takes_minus_infinity(void **state) {
    float data[] = {1, NAN, 3, -INFINITY, -INFINITY, -INFINITY};
    gy_tensor x = {GY_F32, GY_S(1, 6, 1), data, true};
    gy_graph *g = gy_graph_new(*state);
    gy_t y = gy_max_pool(gy_input(g, "x", GY_F32, x.shape), .window = GY_S(3));
    gy_output(y, "y");
    gy_output(gy_out(y, 1), "place");
    gy_plan *p = run(*state, g, (gy_plan_args){0}, &x);
    gy_tensor v = gy_plan_output(p, "y"), place = gy_plan_output(p, "place");
    assert_true(isnan(gy_tensor_get(&v, 0)));
    assert_true(gy_tensor_get(&place, 0) == 1);
    assert_true(gy_tensor_get(&v, 1) == -INFINITY);
    assert_true(gy_tensor_get(&place, 1) == 3); /* ties: the first */
    gy_plan_free(p);
    gy_graph_free(g);
}

/* Voxels of one subject to a common number, as decoders of several subjects do. */
static void adaptive_pools_of_many_voxels_follow_their_windows(void **state) {
    enum { V = 15000, N = 8192 };
    gy_tensor x;
    assert_ok(*state, gy_tensor_new(*state, &x, GY_F32, GY_S(1, V, 1)));
    for (int64_t i = 0; i < V; i++) gy_tensor_set(&x, i, (double)((i * 7919) % 1024) / 64);
    gy_graph *g = gy_graph_new(*state);
    gy_t in = gy_input(g, "x", GY_F32, x.shape), avg = gy_adaptive_avg_pool(in, N), gx;
    gy_output(avg, "avg");
    gy_output(gy_adaptive_max_pool(in, N), "max");
    gy_grad(avg, GY_NONE, 1, &in, &gx);
    gy_output(gy_sum(gx, GY_ALL), "mass"); /* each output spreads a weight of one */
    gy_plan *p = run(*state, g, (gy_plan_args){0}, &x);
    gy_tensor a = gy_plan_output(p, "avg"), m = gy_plan_output(p, "max");
    for (int64_t o = 0; o < N; o++) {
        double sum = 0, max = -1;
        int64_t lo = (int64_t)floor((double)o * V / N), hi = (int64_t)ceil((double)(o + 1) * V / N);
        for (int64_t i = lo; i < hi; i++) {
            sum += gy_tensor_get(&x, i);
            max = fmax(max, gy_tensor_get(&x, i));
        }
        assert_close(gy_tensor_get(&a, o), sum / (double)(hi - lo), 1e-6);
        assert_true(gy_tensor_get(&m, o) == max);
    }
    assert_close(gy_plan_scalar(p, "mass"), N, 1e-6);
    gy_plan_free(p);
    gy_graph_free(g);
    gy_tensor_free(*state, &x);
}

/* ---- the planner's epilogue ---- */

static void bias_activation_and_residual_join_the_convolution(void **state) {
    double value[2][2 * 4 * 5 * 3];
    for (int off = 0; off < 2; off++) {
        gy_graph *g = gy_graph_new(*state);
        gy_tensor x;
        assert_ok(*state, gy_tensor_new(*state, &x, GY_F64, GY_S(2, 4, 5, 3)));
        for (int64_t i = 0; i < 120; i++) gy_tensor_set(&x, i, sin(1.7 * (double)i));
        gy_t in = gy_input(g, "x", GY_F64, x.shape);
        gy_t w = gy_reshape(gy_sin(gy_iota(g, GY_F64, 81)), 3, 3, 3, 3), b = gy_cos(gy_iota(g, GY_F64, 3));
        gy_output(gy_add(gy_silu(gy_conv(in, w, b, .pad = GY_S(1))), in), "y");
        gy_plan *p = run(*state, g, (gy_plan_args){.off = off ? GY_PASS_EPILOGUE | GY_PASS_CHAIN : 0}, &x);
        gy_tensor y = gy_plan_output(p, "y");
        for (int64_t i = 0; i < 120; i++) value[off][i] = gy_tensor_get(&y, i);
        if (!off) {
            gy_plan_step_info last = gy_plan_step(p, gy_plan_report(p).steps - 1);
            assert_string_equal(last.op, "conv");
            assert_non_null(strstr(last.fused, "conv+bias+silu+residual"));
        }
        gy_plan_free(p);
        gy_graph_free(g);
        gy_tensor_free(*state, &x);
    }
    for (int i = 0; i < 120; i++) assert_close(value[0][i], value[1][i], 1e-13);
}

/* h + temb: what a diffusion U-Net adds to every position of one sample's convolution. */
static void a_value_for_each_channel_joins_the_bias(void **state) {
    double value[2][120];
    for (int off = 0; off < 2; off++) {
        gy_graph *g = gy_graph_new(*state);
        gy_tensor x;
        assert_ok(*state, gy_tensor_new(*state, &x, GY_F64, GY_S(1, 8, 5, 3)));
        for (int64_t i = 0; i < 120; i++) gy_tensor_set(&x, i, sin(1.7 * (double)i));
        gy_t in = gy_input(g, "x", GY_F64, x.shape), temb = gy_reshape(gy_mean(in, GY_AXES(0, 1, 2)), 1, 1, 1, 3);
        gy_t w = gy_reshape(gy_sin(gy_iota(g, GY_F64, 81)), 3, 3, 3, 3), b = gy_cos(gy_iota(g, GY_F64, 3));
        gy_output(gy_silu(gy_add(gy_conv(in, w, b, .pad = GY_S(1)), temb)), "y");
        gy_plan *p = run(*state, g, (gy_plan_args){.off = off ? GY_PASS_EPILOGUE | GY_PASS_CHAIN : 0}, &x);
        gy_tensor y = gy_plan_output(p, "y");
        for (int64_t i = 0; i < 120; i++) value[off][i] = gy_tensor_get(&y, i);
        if (!off) {
            gy_plan_step_info last = gy_plan_step(p, gy_plan_report(p).steps - 1);
            assert_non_null(last.fused);
            assert_string_equal(last.fused, "conv+bias+silu");
        }
        gy_plan_free(p);
        gy_graph_free(g);
        gy_tensor_free(*state, &x);
    }
    for (int i = 0; i < 120; i++) assert_close(value[0][i], value[1][i], 1e-13);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(mistakes_are_named_with_what_was_expected_and_found),
        TEST(same_padding_gives_one_output_a_stride),
        TEST(transposed_convolution_restores_every_size),
        TEST(an_empty_batch_has_zero_weight_gradients),
        TEST(max_pool_propagates_nan_and_takes_minus_infinity),
        TEST(adaptive_pools_of_many_voxels_follow_their_windows),
        TEST(bias_activation_and_residual_join_the_convolution),
        TEST(a_value_for_each_channel_joins_the_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
