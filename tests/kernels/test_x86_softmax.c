/* Softmax and cross-entropy of the x86 kernels at sizes that the operators' cases leave out: rows cut into segments,
 * and results that go past the caches. Against sums in double. */
#include "x86.h"

#include "core/ops/loss.h"
#include "core/rng.h"

#include <math.h>

typedef struct fixture {
    gy_ctx *ctx;
    float *x, *y;
    int64_t rows, n;
} fixture;

static fixture begin(int threads, int64_t rows, int64_t n) {
    fixture f = {.ctx = gy_ctx_new((gy_ctx_args){.threads = threads}), .rows = rows, .n = n};
    gy_rng r;
    gy_rng_init(&r, 7, "x");
    f.x = gy_malloc(f.ctx, (size_t)(rows * n) * sizeof *f.x);
    f.y = gy_malloc(f.ctx, (size_t)(rows * n) * sizeof *f.y);
    assert_non_null(f.x);
    assert_non_null(f.y);
    for (int64_t i = 0; i < rows * n; i++) f.x[i] = (float)(12 * gy_rng_uniform(&r) - 6);
    return f;
}
static void end(fixture *f) {
    gy_free(f->ctx, f->x);
    gy_free(f->ctx, f->y);
    gy_ctx_free(f->ctx);
}
static double log_sum_exp(const float *x, int64_t n) {
    double max = -INFINITY, sum = 0;
    for (int64_t i = 0; i < n; i++) max = fmax(max, (double)x[i]);
    for (int64_t i = 0; i < n; i++) sum += exp((double)x[i] - max);
    return max + log(sum);
}

static void cross_entropy_of_long_rows_equals_sums_in_double(void **state) {
    (void)state;
    enum { ROWS = 3 };
    static const int64_t sizes[] = {4096, 4097, 6144, 9000, 50257};
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int t = 0; t < tiers; t++)
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            const gy_kernel *row = x86_row(GY_OP_cross_entropy, GY_F32, tier[t]);
            if (!row) continue;
            fixture f = begin(2, ROWS, sizes[s]);
            /* a whole segment that a mask forbids must not spoil the rest */
            for (int64_t i = 2048; i < 4096; i++) f.x[f.n + i] = -INFINITY;
            int64_t target[ROWS] = {f.n - 1, 1, f.n / 3};
            float loss[ROWS], lse[ROWS], weight[ROWS];
            gy_cross_entropy_attr a = {.ignore = -1};
            gy_view in[3] = {x86_view(f.x, GY_F32, GY_S(ROWS, f.n)), x86_view(target, GY_I64, GY_S(ROWS)), {0}};
            gy_view out[3] = {x86_view(loss, GY_F32, GY_S(ROWS)), x86_view(lse, GY_F32, GY_S(ROWS)),
                              x86_view(weight, GY_F32, GY_S(ROWS))};
            gy_kargs k = {.attr = &a, .n_in = 3, .n_out = 3, .in = in, .out = out, .pool = gy_ctx_pool(f.ctx)};
            row->fn(&k);
            for (int64_t r = 0; r < ROWS; r++) {
                double want = log_sum_exp(f.x + r * f.n, f.n);
                if (!(fabs((double)lse[r] - want) < 2e-6 * fabs(want)))
                    fail_msg("%s n %d row %d: lse %.9g, expected %.9g", row->name, (int)f.n, (int)r, (double)lse[r],
                             want);
                want -= (double)f.x[r * f.n + target[r]];
                if (!(fabs((double)loss[r] - want) < 4e-6 * fabs(want)))
                    fail_msg("%s n %d row %d: loss %.9g, expected %.9g", row->name, (int)f.n, (int)r, (double)loss[r],
                             want);
            }
            end(&f);
        }
}

static void softmax_past_the_caches_equals_sums_in_double(void **state) {
    (void)state;
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int t = 0; t < tiers; t++) {
        const gy_kernel *row = x86_row(GY_OP_softmax, GY_F32, tier[t]);
        if (!row) continue;
        fixture f = begin(2, 2200, 2048); /* 36 MB read and written */
        gy_view in = x86_view(f.x, GY_F32, GY_S(f.rows, f.n)), out = x86_view(f.y, GY_F32, GY_S(f.rows, f.n));
        gy_kargs k = {.n_in = 1, .n_out = 1, .in = &in, .out = &out, .pool = gy_ctx_pool(f.ctx)};
        row->fn(&k);
        for (int64_t r = 0; r < f.rows; r += 37) {
            double lse = log_sum_exp(f.x + r * f.n, f.n);
            for (int64_t i = 0; i < f.n; i++) {
                double want = exp((double)f.x[r * f.n + i] - lse);
                assert_true(fabs((double)f.y[r * f.n + i] - want) < 1e-6 * want);
            }
        }
        end(&f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(cross_entropy_of_long_rows_equals_sums_in_double),
        TEST(softmax_past_the_caches_equals_sums_in_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
