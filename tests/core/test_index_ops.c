/* Indexing, sorting and Fourier operators in graphs: compositions, and what wrong shapes are told. */
#include "../harness/harness.h"

#include "core/gyrus.h"

#include <math.h>

static gy_t indices(gy_graph *g, int64_t n, int64_t *v) {
    gy_tensor t = {GY_I64, GY_S(n), v, true};
    return gy_const(g, &t);
}
static gy_t values(gy_graph *g, gy_shape s, double *v) {
    gy_tensor t = {GY_F64, s, v, true};
    return gy_const(g, &t);
}
static gy_plan *run(gy_graph *g) {
    gy_ctx *ctx = gy_graph_ctx(g);
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    if (!p) fail_msg("%s", gy_error(ctx));
    assert_ok(ctx, gy_plan_run(p));
    return p;
}
static void assert_output(gy_plan *p, const char *name, const double *expected, int64_t n) {
    gy_tensor t = gy_plan_output(p, name);
    assert_int_equal(gy_shape_count(t.shape), n);
    for (int64_t i = 0; i < n; i++) assert_close(gy_tensor_get(&t, i), expected[i], 1e-14);
}

static void one_hot_outside_is_a_row_of_zeros(void **state) {
    gy_graph *g = gy_graph_new(*state);
    gy_output(gy_one_hot(indices(g, 3, (int64_t[]){2, -1, 0}), 3, GY_F32), "y");
    gy_plan *p = run(g);
    assert_output(p, "y", (double[]){0, 0, 1, 0, 0, 0, 1, 0, 0}, 9);
    gy_plan_free(p);
    gy_graph_free(g);
}

static void segment_softmax_sums_to_one_at_any_scale(void **state) {
    gy_graph *g = gy_graph_new(*state);
    /* segment 0: equal and huge; 1: alone and very small; 2: empty; the last edge belongs to none and would overflow */
    gy_t x = values(g, GY_S(4), (double[]){1e4, 1e4, -1e4, 1e4}), gx;
    gy_t s = indices(g, 4, (int64_t[]){0, 0, 1, -1});
    gy_t y = gy_segment_softmax(x, s, 3);
    gy_grad(gy_sum(gy_mul(y, values(g, GY_S(4), (double[]){1, 3, 5, 7})), GY_ALL), GY_NONE, 1, &x, &gx);
    gy_output(y, "y");
    gy_output(gx, "gx");
    gy_output(gy_segment_mean(values(g, GY_S(4, 2), (double[]){1, 2, 3, 4, 5, 6, 7, 8}), s, 3), "mean");
    gy_plan *p = run(g);
    assert_output(p, "y", (double[]){0.5, 0.5, 1, 0}, 4);
    assert_output(p, "gx", (double[]){-0.5, 0.5, 0, 0}, 4);
    assert_output(p, "mean", (double[]){2, 3, 5, 6, 0, 0}, 6);
    gy_plan_free(p);
    gy_graph_free(g);
}

static void top_k_gradient_goes_to_the_chosen(void **state) {
    gy_graph *g = gy_graph_new(*state);
    gy_t x = values(g, GY_S(2, 3), (double[]){1, 3, 2, 6, 5, 6}), gx, y = gy_top_k(x, 2);
    gy_grad(y, values(g, GY_S(2, 2), (double[]){10, 20, 30, 40}), 1, &x, &gx);
    gy_output(gy_out(y, 1), "where");
    gy_output(gx, "gx");
    gy_output(gy_argsort(x, -1), "order");
    gy_plan *p = run(g);
    assert_output(p, "where", (double[]){1, 2, 0, 2}, 4);
    assert_output(p, "gx", (double[]){0, 10, 20, 30, 0, 40}, 6);
    assert_output(p, "order", (double[]){0, 2, 1, 1, 0, 2}, 6);
    gy_plan_free(p);
    gy_graph_free(g);
}

/* Circular convolution is a product of spectra; its gradient comes back through both transforms. */
static void spectra_convolve_and_differentiate(void **state) {
    enum { L = 5 };
    double a[L] = {1, -2, 0.5, 3, 0.25}, b[L] = {0.5, 1, -1, 2, 4}, conv[L] = {0}, back[L] = {0},
           w[L] = {1, 2, 3, 4, 5};
    for (int i = 0; i < L; i++)
        for (int j = 0; j < L; j++) {
            conv[(i + j) % L] += a[i] * b[j];
            back[i] += w[(i + j) % L] * b[j];
        }
    gy_graph *g = gy_graph_new(*state);
    gy_t x = values(g, GY_S(L), a), fx = gy_rfft(x, 0), fb = gy_rfft(values(g, GY_S(L), b), 0), gx;
    gy_t xr = gy_slice(fx, 1, 0, 1), xi = gy_slice(fx, 1, 1, 2), br = gy_slice(fb, 1, 0, 1), bi = gy_slice(fb, 1, 1, 2);
    gy_t re = gy_sub(gy_mul(xr, br), gy_mul(xi, bi)), im = gy_add(gy_mul(xr, bi), gy_mul(xi, br));
    gy_t y = gy_irfft(gy_concat2(1, re, im), 0, L);
    gy_grad(y, values(g, GY_S(L), w), 1, &x, &gx);
    gy_output(y, "y");
    gy_output(gx, "gx");
    gy_plan *p = run(g);
    assert_output(p, "y", conv, L);
    assert_output(p, "gx", back, L);
    gy_plan_free(p);
    gy_graph_free(g);
}

static void reflected_borders_do_not_repeat_the_ends(void **state) {
    gy_graph *g = gy_graph_new(*state);
    gy_t x = values(g, GY_S(2, 3), (double[]){1, 2, 3, 4, 5, 6}), gx, y = gy_reflect_pad(x, -1, 2, 1);
    gy_grad(y, values(g, GY_S(2, 6), (double[]){1, 2, 3, 4, 5, 6, 0, 0, 0, 0, 0, 7}), 1, &x, &gx);
    gy_output(y, "y");
    gy_output(gx, "gx");
    gy_output(gy_reflect_pad(x, 0, 0, 0), "same");
    gy_plan *p = run(g);
    assert_output(p, "y", (double[]){3, 2, 1, 2, 3, 2, 6, 5, 4, 5, 6, 5}, 12);
    assert_output(p, "gx", (double[]){3, 2 + 4 + 6, 1 + 5, 0, 7, 0}, 6);
    assert_output(p, "same", (double[]){1, 2, 3, 4, 5, 6}, 6);
    gy_plan_free(p);
    gy_graph_free(g);
}

/* Fails unless building with f poisons the graph with a message that contains `part` and this file's name. */
static void assert_refused(gy_ctx *ctx, void (*f)(gy_graph *g, gy_t x, gy_t i), const char *part) {
    gy_graph *g = gy_graph_new(ctx);
    f(g, gy_input(g, "x", GY_F32, GY_S(3, 4)), gy_input(g, "i", GY_I64, GY_S(5)));
    assert_message(ctx, gy_graph_status(g), part);
    assert_message(ctx, gy_graph_status(g), "test_index_ops.c:");
    gy_graph_free(g);
}
static void gather_axis(gy_graph *g, gy_t x, gy_t i) {
    (void)g, gy_gather(x, i, 2);
}
static void gather_negative_axis(gy_graph *g, gy_t x, gy_t i) {
    (void)g, gy_gather(x, i, -3);
}
static void gather_float(gy_graph *g, gy_t x, gy_t i) {
    (void)g, (void)i, gy_gather(x, x, 0);
}
static void scatter_shape(gy_graph *g, gy_t x, gy_t i) {
    (void)g, gy_scatter_add(x, i, 0, 7);
}
static void scatter_size(gy_graph *g, gy_t x, gy_t i) {
    (void)g, (void)x, gy_scatter_add(gy_cast(i, GY_F32), i, 0, -1);
}
static void along_rank(gy_graph *g, gy_t x, gy_t i) {
    (void)g, gy_gather_along(x, i, 0);
}
static void segment_rank(gy_graph *g, gy_t x, gy_t i) {
    (void)g, gy_segment_max(x, i, 2);
}
static void one_hot_float(gy_graph *g, gy_t x, gy_t i) {
    (void)g, (void)i, gy_one_hot(x, 3, GY_F32);
}
static void spmm_values(gy_graph *g, gy_t x, gy_t i) {
    (void)g, gy_spmm(i, i, gy_slice(x, 0, 0, 1), x);
}
static void sddmm_rows(gy_graph *g, gy_t x, gy_t i) {
    (void)g, gy_sddmm(i, i, x, x);
}
static void sort_integers(gy_graph *g, gy_t x, gy_t i) {
    (void)g, (void)x, gy_sort(i, 0);
}
static void top_five(gy_graph *g, gy_t x, gy_t i) {
    (void)g, (void)i, gy_top_k(x, 5);
}
static void fft_real(gy_graph *g, gy_t x, gy_t i) {
    (void)g, (void)i, gy_fft(x, 0);
}
static void rfft_axis(gy_graph *g, gy_t x, gy_t i) {
    (void)g, (void)i, gy_rfft(x, 5);
}
static void irfft_bins(gy_graph *g, gy_t x, gy_t i) {
    (void)g, (void)i, gy_irfft(gy_rfft(x, 0), 0, 4);
}

static void reflect_all(gy_graph *g, gy_t x, gy_t i) {
    (void)g, (void)i, gy_reflect_pad(x, 0, 1, 3);
}

static void wrong_shapes_are_told_what_was_expected(void **state) {
    gy_ctx *ctx = *state;
    assert_refused(ctx, gather_axis, "gather: axis 2 of a value [3, 4]");
    assert_refused(ctx, gather_negative_axis, "gather: axis -1 of a value [3, 4]");
    assert_refused(ctx, gather_float, "gather: the indices are f32, expected i64");
    assert_refused(ctx, scatter_shape, "scatter_add: values [3, 4] do not have the indices' shape [5] at axis 0");
    assert_refused(ctx, scatter_size, "scatter_add: size -1, expected 0 or more");
    assert_refused(ctx, along_rank, "gather_along: values [3, 4] and indices [5] differ outside the indexed axis");
    assert_refused(ctx, segment_rank, "segment_max: values [3, 4] with segments [5], expected [E, ...] and [E]");
    assert_refused(ctx, one_hot_float, "one_hot: the indices are f32, expected i64");
    assert_refused(ctx, spmm_values, "spmm: values [1, 4] for indices [5]");
    assert_refused(ctx, sddmm_rows, "sddmm: factors [3, 4] and [3, 4], expected [4, D] and [C, D]");
    assert_refused(ctx, sort_integers, "sort: expected float values, found i64");
    assert_refused(ctx, top_five, "sort: the first 5 of an axis of 4 elements");
    assert_refused(ctx, fft_real, "fft: expected a complex value [..., 2], found [3, 4]");
    assert_refused(ctx, rfft_axis, "rfft: axis 5 of a real value [3, 4]");
    assert_refused(ctx, irfft_bins, "irfft: 2 bins for length 4, expected 3");
    assert_refused(ctx, reflect_all, "reflect_pad: 1, 3 elements of an axis of 3");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(one_hot_outside_is_a_row_of_zeros),        TEST(segment_softmax_sums_to_one_at_any_scale),
        TEST(top_k_gradient_goes_to_the_chosen),        TEST(spectra_convolve_and_differentiate),
        TEST(reflected_borders_do_not_repeat_the_ends), TEST(wrong_shapes_are_told_what_was_expected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
