/* Fourier transforms against the definition. */
#include "linalg_check.h"

/* The definition in long double. */
static void naive(int64_t n, const double complex *x, double complex *y) {
    long double pi2 = 2 * acosl(-1.0L), *c = calloc((size_t)(2 * n), sizeof *c), *s = c + n;
    for (int64_t j = 0; j < n; j++) {
        c[j] = cosl(pi2 * (long double)j / (long double)n);
        s[j] = -sinl(pi2 * (long double)j / (long double)n);
    }
    for (int64_t k = 0; k < n; k++) {
        long double re = 0, im = 0;
        for (int64_t j = 0; j < n; j++) {
            int64_t t = j * k % n;
            re += creal(x[j]) * c[t] - cimag(x[j]) * s[t];
            im += creal(x[j]) * s[t] + cimag(x[j]) * c[t];
        }
        y[k] = (double)re + (double)im * I;
    }
    free(c);
}

static void check_length(gy_ctx *ctx, int64_t n) {
    double complex *x = (double complex *)random_mat(2, n, (uint64_t)n), *y = (double complex *)mat(2, n);
    double complex *want = (double complex *)mat(2, n), *back = (double complex *)mat(2, n);
    gy_fft_plan *f;
    assert_ok(ctx, gy_fft_new(ctx, n, &f));
    double complex *work = (double complex *)mat(2, gy_fft_work(f));
    naive(n, x, want);
    double limit = (f->inner ? 8e-15 : 2e-15) * sqrt((double)n) * (1 + log2((double)n));
    gy_fft_forward(f, x, y, work);
    for (int64_t k = 0; k < n; k++) assert_below(cabs(y[k] - want[k]), limit);
    gy_fft_inverse(f, y, back, work);
    for (int64_t k = 0; k < n; k++) assert_below(cabs(back[k] - x[k]), limit);
    memcpy(back, x, (size_t)n * sizeof *x);
    gy_fft_forward(f, back, back, work); /* in place */
    assert_memory_equal(back, y, (size_t)n * sizeof *x);

    gy_rfft_plan *r;
    assert_ok(ctx, gy_rfft_new(ctx, n, &r));
    double complex *work2 = (double complex *)mat(2, gy_rfft_work(r));
    double *real = random_mat(n, 1, 77), *again = mat(n, 1);
    for (int64_t j = 0; j < n; j++) x[j] = real[j];
    naive(n, x, want);
    gy_rfft_forward(r, real, y, work2);
    for (int64_t k = 0; k <= n / 2; k++) assert_below(cabs(y[k] - want[k]), limit);
    gy_rfft_inverse(r, y, again, work2);
    assert_below(max_diff(n, again, real), limit);
    gy_fft_free(ctx, f);
    gy_rfft_free(ctx, r);
    free(x), free(y), free(want), free(back), free(work), free(work2), free(real), free(again);
}

static void every_length_to_64_agrees_with_the_definition(void **state) {
    for (int64_t n = 1; n <= 64; n++) check_length(*state, n);
}

static void primes_powers_and_products_agree_with_the_definition(void **state) {
    const int64_t lengths[] = {97, 120, 127, 143, 1000, 1001, 1024, 2039};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) check_length(*state, lengths[i]);
}

static void a_shifted_impulse_becomes_a_pure_wave(void **state) {
    gy_ctx *ctx = *state;
    gy_fft_plan *f;
    assert_ok(ctx, gy_fft_new(ctx, 4, &f));
    double complex x[4] = {0, 1, 0, 0}, y[4], work[4];
    gy_fft_forward(f, x, y, work);
    assert_true(y[0] == 1 && y[1] == -I && y[2] == -1 && y[3] == I); /* exact at quarters */
    gy_fft_free(ctx, f);
}

static void energy_is_kept_at_a_million_points(void **state) {
    gy_ctx *ctx = *state;
    int64_t n = 1 << 20;
    gy_fft_plan *f;
    assert_ok(ctx, gy_fft_new(ctx, n, &f));
    double complex *x = (double complex *)random_mat(2, n, 5), *work = (double complex *)mat(2, n);
    double before = 0, after = 0;
    for (int64_t i = 0; i < n; i++) before += creal(x[i] * conj(x[i]));
    gy_fft_forward(f, x, x, work);
    for (int64_t i = 0; i < n; i++) after += creal(x[i] * conj(x[i]));
    assert_close(after / (double)n / before, 1, 1e-13);
    gy_fft_free(ctx, f);
    free(x), free(work);
}

static void an_illegal_length_is_refused(void **state) {
    gy_ctx *ctx = *state;
    gy_fft_plan *f;
    gy_rfft_plan *r;
    assert_message(ctx, gy_fft_new(ctx, 0, &f), "length 0");
    assert_message(ctx, gy_rfft_new(ctx, -4, &r), "length -4");
    assert_null(f);
    assert_null(r);
}

static gy_status plan_both(gy_ctx *ctx) {
    gy_fft_plan *f = NULL;
    gy_rfft_plan *r = NULL;
    gy_status s = gy_fft_new(ctx, 97, &f);
    if (!s) s = gy_rfft_new(ctx, 2 * 97, &r);
    gy_fft_free(ctx, f);
    gy_rfft_free(ctx, r);
    return s;
}
static void allocation_failures_are_reported_and_leak_nothing(void **state) {
    survives_allocation_failures(*state, plan_both);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_length_to_64_agrees_with_the_definition),
        TEST(primes_powers_and_products_agree_with_the_definition),
        TEST(a_shifted_impulse_becomes_a_pure_wave),
        TEST(energy_is_kept_at_a_million_points),
        TEST(an_illegal_length_is_refused),
        TEST(allocation_failures_are_reported_and_leak_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
