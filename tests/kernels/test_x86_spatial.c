/* Resizing and pooling on the x86 tiers against the reference: channels below, at and above the vectors, windows with
 * padding, dilation and NaN. Maxima and places must be the reference's own; sums may differ by rounding, 4 eps of the
 * largest element. Equal bits for any number of threads. */
#include "direct.h"
#include "x86.h"

#include "core/ops/pool.h"
#include "core/ops/resize.h"
#include "core/rng.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static const int64_t channels[] = {1, 7, 8, 16, 31, 64, 100, 130};
enum { N_CHANNELS = sizeof channels / sizeof *channels };

static void same(const gy_kernel *row, const float *want, const float *have, int64_t n, double tolerance) {
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs((double)want[i]));
    for (int64_t i = 0; i < n; i++)
        if (!(isnan(want[i]) ? isnan(have[i]) : fabs((double)have[i] - (double)want[i]) <= tolerance * top))
            fail_msg("%s: element %d is %.9g, expected %.9g", row->name, (int)i, (double)have[i], (double)want[i]);
}

/* x [2, in..., C] to y [2, out..., C], and for max_pool the places. */
static void check(gy_op_id op, const void *attr, const int64_t in[2], const int64_t out[2], int64_t c, bool nan) {
    gy_ctx *ctx[2] = {gy_ctx_new((gy_ctx_args){.threads = 1}), gy_ctx_new((gy_ctx_args){.threads = 3})};
    int n_out = op == GY_OP_max_pool ? 2 : 1;
    int64_t nx = 2 * in[0] * in[1] * c, ny = 2 * out[0] * out[1] * c;
    size_t bytes = (size_t)ny * sizeof(float);
    float *x = malloc((size_t)nx * sizeof *x), *y[3] = {malloc(bytes), malloc(bytes), malloc(bytes)};
    int64_t *place[3] = {malloc(2 * bytes), malloc(2 * bytes), malloc(2 * bytes)};
    assert_true(x && y[0] && y[1] && y[2] && place[0] && place[1] && place[2]);
    gy_rng r;
    gy_rng_init(&r, 1, "spatial");
    for (int64_t i = 0; i < nx; i++) {
        x[i] = (float)(floor(20 * gy_rng_uniform(&r)) - 10); /* ties */
        if (nan && gy_rng_uniform(&r) < 0.1) x[i] = gy_rng_uniform(&r) < 0.5 ? NAN : -INFINITY;
    }
    gy_view from = x86_view(x, GY_F32, GY_S(2, in[0], in[1], c));
    gy_shape shape = GY_S(2, out[0], out[1], c);
    gy_view to[3][2];
    for (int i = 0; i < 3; i++) {
        to[i][0] = x86_view(y[i], GY_F32, shape);
        to[i][1] = x86_view(place[i], GY_I64, shape);
    }
    const gy_kernel *ref = x86_row(op, GY_F32, GY_ISA_REF);
    run_kernel(ctx[0], ref->fn, ref->scratch, attr, 1, &from, n_out, to[0]);
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int t = 0; t < tiers; t++) {
        const gy_kernel *row = x86_row(op, GY_F32, tier[t]);
        if (!row) continue;
        for (int i = 0; i < 2; i++) {
            memset(y[i + 1], 0xff, bytes);
            memset(place[i + 1], 0xff, 2 * bytes);
            run_kernel(ctx[i], row->fn, row->scratch, attr, 1, &from, n_out, to[i + 1]);
        }
        assert_memory_equal(y[1], y[2], bytes);
        if (n_out == 2) {
            assert_memory_equal(place[1], place[0], 2 * bytes);
            assert_memory_equal(place[2], place[0], 2 * bytes);
            assert_memory_equal(y[1], y[0], bytes);
        } else {
            same(row, y[0], y[1], ny, 4 * FLT_EPSILON);
        }
    }
    free(x);
    for (int i = 0; i < 3; i++) {
        free(y[i]);
        free(place[i]);
    }
    gy_ctx_free(ctx[0]);
    gy_ctx_free(ctx[1]);
}

static void resizing_matches_the_reference(void **state) {
    static const int64_t sizes[][4] = {{3, 5, 6, 10}, {1, 9, 1, 4}, {8, 8, 3, 3}, {1, 1, 5, 5}, {1, 40, 1, 400}};
    (void)state;
    for (int i = 0; i < 5; i++)
        for (int mode = 0; mode < 3; mode++)
            for (int c = 0; c < N_CHANNELS; c++) {
                const int64_t *s = sizes[i];
                gy_resize_attr a = {
                    mode ? GY_RESIZE_LINEAR : GY_RESIZE_NEAREST, mode == 2, {1, s[0], s[1]}, {1, s[2], s[3]}, {0}};
                check(GY_OP_resize, &a, s, s + 2, channels[c], false);
                check(GY_OP_resize_dx, &a, s + 2, s, channels[c], false);
            }
}

/* window, stride, pad, dilation of both axes. */
static gy_pool_attr windows(int64_t window, int64_t stride, int64_t pad, int64_t dilation) {
    gy_pool_attr a = {.window = {1, 1, 1}, .stride = {1, 1, 1}, .dilation = {1, 1, 1}};
    for (int e = 1; e < 3; e++) {
        a.window[e] = window;
        a.stride[e] = stride;
        a.before[e] = a.after[e] = pad;
        a.dilation[e] = dilation;
    }
    return a;
}

static void pooling_matches_the_reference(void **state) {
    static const int64_t cases[][4] = {{2, 2, 0, 1}, {3, 2, 1, 1}, {3, 1, 2, 2}, {11, 3, 1, 1}};
    const int64_t in[2] = {14, 11};
    (void)state;
    for (int i = 0; i < 4; i++)
        for (int c = 0; c < N_CHANNELS; c++) {
            const int64_t *w = cases[i];
            int64_t out[2];
            for (int e = 0; e < 2; e++) out[e] = (in[e] + 2 * w[2] - w[3] * (w[0] - 1) - 1) / w[1] + 1;
            gy_pool_attr a = windows(w[0], w[1], w[2], w[3]);
            check(GY_OP_max_pool, &a, in, out, channels[c], false);
            check(GY_OP_max_pool, &a, in, out, channels[c], true);
            if (w[3] != 1) continue;
            for (a.skip_zeros = 0; a.skip_zeros < 2; a.skip_zeros++) {
                a.size[0] = 1;
                a.size[1] = in[0];
                a.size[2] = in[1];
                check(GY_OP_avg_pool, &a, in, out, channels[c], false);
                check(GY_OP_avg_pool_dx, &a, out, in, channels[c], false);
            }
        }
}

static void adaptive_pooling_matches_the_reference(void **state) {
    const int64_t in[2] = {13, 10}, out[2] = {4, 3};
    (void)state;
    gy_pool_attr a = windows(1, 1, 0, 1);
    a.adaptive = 1;
    a.out[0] = a.size[0] = 1;
    for (int e = 0; e < 2; e++) {
        a.out[e + 1] = out[e];
        a.size[e + 1] = in[e];
    }
    for (int c = 0; c < N_CHANNELS; c++) {
        check(GY_OP_max_pool, &a, in, out, channels[c], true);
        check(GY_OP_avg_pool, &a, in, out, channels[c], false);
        check(GY_OP_avg_pool_dx, &a, out, in, channels[c], false);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(resizing_matches_the_reference),
        cmocka_unit_test(pooling_matches_the_reference),
        cmocka_unit_test(adaptive_pooling_matches_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
