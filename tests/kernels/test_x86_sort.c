/* The x86 sort against an insertion sort, bit for bit: whole lanes, the first few, strided lanes, ties, zeros, NaN. */
#include "x86.h"

#include "core/ops/sort.h"
#include "core/rng.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool before(float b, float a, bool descending) { /* b, which stands later, comes first */
    if (isnan(a) || isnan(b)) return isnan(a) && !isnan(b);
    return descending ? b > a : b < a;
}
static void naive(const float *x, int64_t n, int64_t step, bool descending, int64_t *place) {
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i;
        for (; at > 0 && before(x[i * step], x[place[at - 1] * step], descending); at--) place[at] = place[at - 1];
        place[at] = i;
    }
}

/* x [outer, n, inner], sorted along axis 1; `kind` 0: random, 1: few values, 2: with NaN, zeros, infinities. */
static void check(gy_isa tier, int64_t outer, int64_t n, int64_t inner, int64_t k, bool descending, int kind) {
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 2});
    const gy_kernel *row = x86_row(GY_OP_sort, GY_F32, tier);
    int64_t count = outer * n * inner;
    float *x = malloc((size_t)count * sizeof *x), *y = malloc((size_t)(outer * k * inner) * sizeof *y);
    int64_t *place = malloc((size_t)(outer * k * inner) * sizeof *place), *want = malloc((size_t)n * sizeof *want);
    gy_rng r;
    assert_non_null(row);
    assert_true(x && y && place && want);
    gy_rng_init(&r, (uint64_t)(n + kind), "sort");
    static const float special[] = {0.0f, -0.0f, NAN, -NAN, INFINITY, -INFINITY, 1e-45f, -1e-45f, 3e38f, -3e38f};
    for (int64_t i = 0; i < count; i++) {
        double u = gy_rng_uniform(&r);
        x[i] = kind == 1 ? (float)floor(u * 7) - 3 : (float)(u - 0.5);
        if (kind == 2 && u < 0.5) x[i] = special[(int)(u * 20)];
    }
    gy_sort_attr a = {.axis = 1, .descending = descending, .k = k};
    gy_view in[1] = {x86_view(x, GY_F32, GY_S(outer, n, inner))};
    gy_view out[2] = {x86_view(y, GY_F32, GY_S(outer, k, inner)), x86_view(place, GY_I64, GY_S(outer, k, inner))};
    gy_kargs args = {.attr = &a, .n_in = 1, .n_out = 2, .in = in, .out = out, .pool = gy_ctx_pool(ctx)};
    assert_true(row->supports == NULL || row->supports(&args));
    args.scratch = malloc(row->scratch(&args, 2));
    assert_non_null(args.scratch);
    row->fn(&args);
    for (int64_t o = 0; o < outer; o++)
        for (int64_t c = 0; c < inner; c++) {
            const float *lane = x + o * n * inner + c;
            naive(lane, n, inner, descending, want);
            for (int64_t i = 0; i < k; i++) {
                int64_t e = (o * k + i) * inner + c;
                assert_int_equal(place[e], want[i]);
                assert_memory_equal(&y[e], &lane[want[i] * inner], sizeof(float));
            }
        }
    free(args.scratch);
    free(x);
    free(y);
    free(place);
    free(want);
    gy_ctx_free(ctx);
}

static void sort_and_its_head_equal_an_insertion_sort(void **state) {
    (void)state;
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int t = 0; t < tiers; t++) {
        if (!x86_row(GY_OP_sort, GY_F32, tier[t])) continue;
        for (int kind = 0; kind < 3; kind++)
            for (int descending = 0; descending < 2; descending++) {
                check(tier[t], 3, 1, 1, 1, descending, kind);
                check(tier[t], 2, 37, 3, 37, descending, kind);
                check(tier[t], 1, 1000, 1, 1000, descending, kind);
                check(tier[t], 2, 1003, 2, 5, descending, kind);   /* few of many */
                check(tier[t], 1, 1024, 1, 128, descending, kind); /* the most that are few */
                check(tier[t], 1, 40, 1, 30, descending, kind);
            }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(sort_and_its_head_equal_an_insertion_sort)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
