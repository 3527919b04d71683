/* Extremes, running sums, products, rows added by index and sparse rows: the x86 kernels against the reference in f32.
 * All but the product must give its very bits. */
#include "x86.h"

#include "core/ops/index.h"
#include "core/ops/reduce.h"
#include "core/rng.h"

#include <math.h>
#include <stdlib.h>

static void *must(void *p) {
    assert_non_null(p);
    return p;
}
static void run(gy_ctx *ctx, const gy_kernel *row, const void *attr, int n_in, gy_view *in, gy_view *out) {
    gy_kargs k = {.attr = attr, .n_in = n_in, .n_out = 1, .in = in, .out = out, .pool = gy_ctx_pool(ctx)};
    size_t need = row->scratch ? row->scratch(&k, gy_pool_threads(k.pool)) : 0;
    k.scratch = must(gy_malloc(ctx, need));
    memset(k.scratch, 0xA5, need);
    memset(out->data, 0xff, (size_t)gy_shape_count(out->shape) * gy_dtype_size(out->dtype));
    row->fn(&k);
    gy_free(ctx, k.scratch);
}
/* Every tier, on 1 and 3 threads; tolerance 0: equal bits. */
static void compare(gy_ctx *ctx, gy_op_id op, const void *attr, int n_in, gy_view *in, gy_shape shape, gy_dtype dtype,
                    double tolerance) {
    size_t n = (size_t)gy_shape_count(shape), bytes = n * gy_dtype_size(dtype);
    void *want = must(gy_malloc(ctx, bytes)), *have = must(gy_malloc(ctx, bytes));
    gy_view a = x86_view(want, dtype, shape), b = x86_view(have, dtype, shape);
    run(ctx, must((void *)(uintptr_t)x86_row(op, GY_F32, GY_ISA_REF)), attr, n_in, in, &a);
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int t = 0; t < 2 * tiers; t++) {
        const gy_kernel *row = x86_row(op, GY_F32, tier[t / 2]);
        if (!row) continue;
        gy_ctx *c = gy_ctx_new((gy_ctx_args){.threads = t % 2 ? 3 : 1});
        run(c, row, attr, n_in, in, &b);
        gy_ctx_free(c);
        bool same = memcmp(want, have, bytes) == 0;
        if (!same && tolerance > 0) {
            same = true;
            for (size_t i = 0; i < n; i++) {
                double w = (double)((float *)want)[i];
                same = same && fabs((double)((float *)have)[i] - w) <= tolerance * fabs(w);
            }
        }
        if (!same) fail_msg("%s differs from the reference", row->name);
    }
    gy_free(ctx, want);
    gy_free(ctx, have);
}
static float *floats(gy_ctx *ctx, gy_rng *r, int64_t n) {
    float *x = must(gy_malloc(ctx, (size_t)(n + 1) * sizeof *x));
    for (int64_t i = 0; i < n; i++) x[i] = (float)(2 * gy_rng_uniform(r) - 1);
    return x;
}

static const int64_t sizes[][3] = {{1, 1, 1},   {3, 7, 1},   {17, 16, 1}, {33, 100, 1}, {1, 5000, 1}, {2, 9, 2},
                                   {3, 33, 15}, {2, 17, 16}, {5, 20, 17}, {1, 300, 70}, {40, 15, 1},  {16, 17, 1},
                                   {1, 2, 500}, {2, 1, 33},  {7, 64, 3},  {1, 31, 1}};
enum { N_SIZES = sizeof sizes / sizeof *sizes };

static void extremes_and_running_sums_equal_the_reference(void **state) {
    gy_rng r;
    gy_rng_init(&r, 1, "axis");
    for (int i = 0; i < N_SIZES; i++)
        for (int kind = 0; kind < 4; kind++) { /* plain, ties, NaN, infinities */
            int64_t a = sizes[i][0], n = sizes[i][1], b = sizes[i][2], count = a * n * b;
            float *x = floats(*state, &r, count);
            for (int64_t e = 0; e < count; e++) {
                if (kind == 1) x[e] = (float)gy_rng_below(&r, 3);
                if (kind == 2 && gy_rng_below(&r, 20) == 0) x[e] = NAN;
                if (kind == 3) x[e] = gy_rng_below(&r, 2) ? INFINITY : -INFINITY;
            }
            gy_view in = x86_view(x, GY_F32, GY_S(a, n, b));
            gy_reduce_attr at = {.axes = GY_AXES(1)};
            compare(*state, GY_OP_argmax, &at, 1, &in, GY_S(a, b), GY_I64, 0);
            compare(*state, GY_OP_argmin, &at, 1, &in, GY_S(a, b), GY_I64, 0);
            if (kind < 2)
                for (at.keep = 0; at.keep < 2; at.keep++)
                    compare(*state, GY_OP_cumsum, &at, 1, &in, GY_S(a, n, b), GY_F32, 0);
            gy_free(*state, x);
        }
}

static void products_that_pass_through_huge_values_stay_exact(void **state) {
    gy_rng r;
    gy_rng_init(&r, 2, "prod");
    for (int i = 0; i < N_SIZES; i++) {
        int64_t a = sizes[i][0], n = sizes[i][1], b = sizes[i][2], count = a * n * b;
        float *x = floats(*state, &r, count);
        /* each pair multiplies to about 1; four elements two apart would overflow a float */
        for (int64_t e = 0; e < count; e++) {
            float sign = x[e] < 0 ? -1 : 1, size = 1 + fabsf(x[e]) / 100;
            x[e] = sign * (e / b % 2 ? 1e-10f : 1e10f) * size;
            if (n > 100) x[e] = sign * (e / b % 2 ? 0.5f : 2.0f);
        }
        gy_view in = x86_view(x, GY_F32, GY_S(a, n, b));
        gy_reduce_attr at = {.axes = GY_AXES(1)};
        compare(*state, GY_OP_prod, &at, 1, &in, GY_S(a, b), GY_F32, 0x1p-22);
        gy_free(*state, x);
    }
}

static void rows_added_by_index_equal_the_reference(void **state) {
    static const int64_t features[] = {1, 3, 8, 16, 17, 63, 64, 65, 130};
    gy_rng r;
    gy_rng_init(&r, 3, "rows");
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        for (int64_t outer = 1; outer <= 2; outer++) {
            int64_t d = features[i], n = 50, targets = 12, index[50];
            float *u = floats(*state, &r, outer * n * d);
            for (int64_t e = 0; e < n; e++) index[e] = gy_rng_below(&r, targets + 2) - 1; /* both ends outside */
            gy_view in[] = {x86_view(u, GY_F32, GY_S(outer, n, d)), x86_view(index, GY_I64, GY_S(n))};
            gy_index_attr at = {1, targets};
            compare(*state, GY_OP_scatter_add, &at, 2, in, GY_S(outer, targets, d), GY_F32, 0);
            gy_free(*state, u);
        }
}

/* Values and places, with ties, NaN and segments that are empty. */
static void segment_maxima_equal_the_reference(void **state) {
    (void)state;
    static const int64_t features[] = {1, 8, 16, 17, 64, 81, 130};
    enum { EDGES = 60, NODES = 14, MOST = EDGES * 130 };
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    gy_rng r;
    gy_rng_init(&r, 5, "segments");
    x86_tiers(tier, &tiers);
    for (size_t i = 0; i < sizeof features / sizeof *features; i++) {
        static float x[MOST], want[MOST], got[MOST];
        static int64_t place[MOST], found[MOST];
        int64_t room[NODES + 1 + EDGES];
        int64_t d = features[i], index[EDGES];
        for (int64_t e = 0; e < EDGES; e++) index[e] = gy_rng_below(&r, NODES) - 1; /* -1: none; the last stays empty */
        for (int64_t e = 0; e < EDGES * d; e++) x[e] = gy_rng_below(&r, 9) == 0 ? NAN : (float)gy_rng_below(&r, 4) - 2;
        gy_index_attr at = {0, NODES};
        gy_view in[] = {x86_view(x, GY_F32, GY_S(EDGES, d)), x86_view(index, GY_I64, GY_S(EDGES))};
        gy_view out[] = {x86_view(want, GY_F32, GY_S(NODES, d)), x86_view(place, GY_I64, GY_S(NODES, d))};
        gy_kargs k = {.attr = &at, .n_in = 2, .n_out = 2, .in = in, .out = out, .scratch = room};
        x86_row(GY_OP_segment_max, GY_F32, GY_ISA_REF)->fn(&k);
        out[0].data = got;
        out[1].data = found;
        for (int t = 0; t < tiers; t++) {
            const gy_kernel *row = x86_row(GY_OP_segment_max, GY_F32, tier[t]);
            if (!row) continue;
            memset(found, 0x55, sizeof found);
            row->fn(&k);
            assert_memory_equal(found, place, (size_t)(NODES * d) * sizeof *place);
            for (int64_t e = 0; e < NODES * d; e++) assert_true(got[e] == want[e] || (isnan(got[e]) && isnan(want[e])));
        }
    }
}

static void sparse_rows_equal_the_reference(void **state) {
    static const int64_t features[] = {1, 7, 16, 31, 64, 100};
    enum { ROWS = 9, COLS = 11, NNZ = 40 };
    gy_rng r;
    gy_rng_init(&r, 4, "sparse");
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        for (int64_t trans = 0; trans < 2; trans++) {
            int64_t d = features[i], ptr[ROWS + 1] = {0, 3, 3, 10, 11, 25, 30, 30, 38, NNZ}, column[NNZ];
            float *v = floats(*state, &r, NNZ), *dense = floats(*state, &r, (trans ? ROWS : COLS) * d);
            for (int64_t e = 0; e < NNZ; e++) column[e] = gy_rng_below(&r, COLS + 1) - (e % 7 == 0);
            gy_view in[] = {x86_view(ptr, GY_I64, GY_S(ROWS + 1)), x86_view(column, GY_I64, GY_S(NNZ)),
                            x86_view(v, GY_F32, GY_S(NNZ)), x86_view(dense, GY_F32, GY_S(trans ? ROWS : COLS, d))};
            gy_spmm_attr at = {trans, trans ? COLS : ROWS};
            compare(*state, GY_OP_spmm, &at, 4, in, GY_S(at.n, d), GY_F32, 0);
            gy_free(*state, v);
            gy_free(*state, dense);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(extremes_and_running_sums_equal_the_reference),
        TEST(products_that_pass_through_huge_values_stay_exact),
        TEST(rows_added_by_index_equal_the_reference),
        TEST(segment_maxima_equal_the_reference),
        TEST(sparse_rows_equal_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
