/* Fourier transforms on the x86 tiers against the reference, whose sums are double: lengths of every radix, enough
 * lanes to fill vectors and too few, the axis last and not. The bound is 8 eps of the largest element. Equal bits for
 * any number of threads. */
#include "direct.h"
#include "x86.h"

#include "core/ops/fft.h"
#include "core/rng.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

static const int64_t lengths[] = {1, 2, 3, 4, 5, 6, 8, 15, 16, 30, 49, 61, 64, 77, 100, 120, 122, 243, 256, 625, 1000};
static const int64_t lanes[] = {1, 3, 5, 16, 31, 70, 129};

enum kind { COMPLEX, INVERSE, REAL, HERMITIAN, KINDS };

static void check(gy_ctx *ctx[2], enum kind kind, int64_t n, int64_t count, bool last, gy_rng *r) {
    static const gy_op_id ops[] = {GY_OP_fft, GY_OP_fft, GY_OP_rfft, GY_OP_irfft};
    int64_t half = n / 2 + 1, from = kind == HERMITIAN ? half : n, to = kind == REAL ? half : n;
    bool real_in = kind == REAL, real_out = kind == HERMITIAN;
    gy_fft_attr a = {last, n, kind == INVERSE, kind == HERMITIAN,
                     kind == COMPLEX || kind == REAL ? 1.0 : 1.0 / (double)n};
    gy_shape xs = last ? GY_S(count, from, 2) : GY_S(from, count, 2);
    gy_shape ys = last ? GY_S(count, to, 2) : GY_S(to, count, 2);
    xs.rank -= real_in;
    ys.rank -= real_out;
    size_t nx = (size_t)gy_shape_count(xs), ny = (size_t)gy_shape_count(ys);
    float *x = malloc(nx * sizeof *x), *want = malloc(ny * sizeof *want), *have = malloc(ny * sizeof *have),
          *again = malloc(ny * sizeof *again);
    assert_true(x && want && have && again);
    for (size_t i = 0; i < nx; i++) x[i] = (float)(2 * gy_rng_uniform(r) - 1);
    gy_view in = x86_view(x, GY_F32, xs), out = x86_view(want, GY_F32, ys);
    const gy_kernel *ref = x86_row(ops[kind], GY_F32, GY_ISA_REF);
    run_kernel(ctx[0], ref->fn, ref->scratch, &a, 1, &in, 1, &out);
    float top = 0;
    for (size_t i = 0; i < ny; i++) top = fmaxf(top, fabsf(want[i]));
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int t = 0; t < tiers; t++) {
        const gy_kernel *row = x86_row(ops[kind], GY_F32, tier[t]);
        if (!row) continue;
        memset(have, 0xff, ny * sizeof *have);
        out.data = have;
        run_kernel(ctx[0], row->fn, row->scratch, &a, 1, &in, 1, &out);
        for (size_t i = 0; i < ny; i++)
            if (!(fabsf(have[i] - want[i]) <= 8 * FLT_EPSILON * top))
                fail_msg("%s: n %d, %d lanes, element %d: %.9g, expected %.9g", row->name, (int)n, (int)count, (int)i,
                         (double)have[i], (double)want[i]);
        out.data = again;
        run_kernel(ctx[1], row->fn, row->scratch, &a, 1, &in, 1, &out);
        assert_memory_equal(have, again, ny * sizeof *have);
    }
    free(x);
    free(want);
    free(have);
    free(again);
}

static void transforms_match_the_reference_at_any_length(void **state) {
    gy_ctx *ctx[2] = {gy_ctx_new((gy_ctx_args){.threads = 1}), gy_ctx_new((gy_ctx_args){.threads = 3})};
    gy_rng r;
    (void)state;
    gy_rng_init(&r, 1, "fft");
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
            for (size_t l = 0; l < sizeof lanes / sizeof *lanes; l++)
                for (int last = 0; last < 2; last++) check(ctx, (enum kind)kind, lengths[i], lanes[l], last, &r);
    gy_ctx_free(ctx[0]);
    gy_ctx_free(ctx[1]);
}

static void long_lanes_keep_the_error(void **state) { /* too long for a vector of lanes in the cache */
    gy_ctx *ctx[2] = {gy_ctx_new((gy_ctx_args){.threads = 1}), gy_ctx_new((gy_ctx_args){.threads = 2})};
    gy_rng r;
    (void)state;
    gy_rng_init(&r, 2, "fft");
    check(ctx, REAL, 1 << 15, 5, true, &r);
    check(ctx, HERMITIAN, 30000, 2, true, &r);
    gy_ctx_free(ctx[0]);
    gy_ctx_free(ctx[1]);
}

static void lengths_with_a_large_prime_are_left_to_the_reference(void **state) {
    (void)state;
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int t = 0; t < tiers; t++) {
        const gy_kernel *row = x86_row(GY_OP_rfft, GY_F32, tier[t]);
        if (!row) continue;
        gy_fft_attr a = {.n = 2 * 61};
        gy_kargs k = {.attr = &a};
        assert_true(row->supports(&k));
        a.n = 2 * 67;
        assert_false(row->supports(&k));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transforms_match_the_reference_at_any_length),
        cmocka_unit_test(long_lanes_keep_the_error),
        cmocka_unit_test(lengths_with_a_large_prime_are_left_to_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
