/* Random values: moments, Kolmogorov-Smirnov distances, and what a draw depends on. */
#include "direct.h"

#include "core/rng.h"

#include <math.h>
#include <stdlib.h>

void ref_random_f32(const gy_kargs *k);
void ref_random_f64(const gy_kargs *k);

enum { N = 100003 };
static double sample[N];

static void draw(gy_ctx *ctx, gy_random_kind kind, double a, double b, int64_t key, int64_t seed, int64_t step,
                 double *y, int64_t n) {
    int64_t rng[2] = {seed, step};
    gy_random_attr attr = {key, kind, GY_F64, a, b, GY_S(n)};
    run_kernel(ctx, ref_random_f64, NULL, &attr, 1, (gy_view[]){I64(rng, 2)}, 1, (gy_view[]){F64(y, n)});
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* sqrt(n) times the largest distance between the sample's distribution function and cdf; above 1.95 with
 * probability 0.001. */
static double ks(double *x, int64_t n, double (*cdf)(double)) {
    double d = 0;
    qsort(x, (size_t)n, sizeof *x, ascending);
    for (int64_t i = 0; i < n; i++) {
        double f = cdf(x[i]);
        d = fmax(d, fmax((double)(i + 1) / (double)n - f, f - (double)i / (double)n));
    }
    return sqrt((double)n) * d;
}
static double uniform_cdf(double x) {
    return (x + 1) / 3;
}
static double normal_cdf(double x) {
    return 0.5 * erfc(-x / sqrt(2));
}
static double gumbel_cdf(double x) {
    return exp(-exp(-x));
}

static void uniform_values_follow_their_distribution(void **state) {
    draw(*state, GY_RANDOM_UNIFORM, -1, 2, 11, 1, 0, sample, N);
    for (int i = 0; i < N; i++) assert_true(sample[i] >= -1 && sample[i] < 2);
    assert_true(ks(sample, N, uniform_cdf) < 1.95);
}

static void normal_values_follow_their_distribution(void **state) {
    double m[5] = {0};
    draw(*state, GY_RANDOM_NORMAL, 0, 1, 12, 1, 0, sample, N);
    double pairs = 0;
    for (int i = 0; i < N; i++) {
        double p = 1;
        for (int q = 1; q < 5; q++) m[q] += (p *= sample[i]);
        if (i) pairs += sample[i] * sample[i - 1];
    }
    /* six standard errors of each moment */
    assert_true(fabs(m[1] / N) < 6 / sqrt(N));
    assert_true(fabs(m[2] / N - 1) < 6 * sqrt(2.0 / N));
    assert_true(fabs(m[3] / N) < 6 * sqrt(15.0 / N));
    assert_true(fabs(m[4] / N - 3) < 6 * sqrt(96.0 / N));
    assert_true(fabs(pairs / N) < 6 / sqrt(N)); /* the two of a Box-Muller pair are independent */
    assert_true(ks(sample, N, normal_cdf) < 1.95);
}

static void gumbel_values_follow_their_distribution(void **state) {
    draw(*state, GY_RANDOM_GUMBEL, 0, 1, 13, 1, 0, sample, N);
    assert_true(ks(sample, N, gumbel_cdf) < 1.95);
}

static void bernoulli_keeps_the_share_and_the_ends(void **state) {
    draw(*state, GY_RANDOM_BERNOULLI, 0.3, 1 / 0.3, 14, 1, 0, sample, N);
    double sum = 0;
    for (int i = 0; i < N; i++) {
        assert_true(sample[i] == 0 || sample[i] == 1 / 0.3);
        sum += sample[i];
    }
    assert_true(fabs(sum / N - 1) < 6 * sqrt(0.7 / 0.3 / N));
    draw(*state, GY_RANDOM_BERNOULLI, 1, 1, 14, 1, 0, sample, N);
    for (int i = 0; i < N; i++) assert_true(sample[i] == 1);
    draw(*state, GY_RANDOM_BERNOULLI, 0, 1, 14, 1, 0, sample, N);
    for (int i = 0; i < N; i++) assert_true(sample[i] == 0);
}

static void seed_step_and_key_each_change_the_draw(void **state) {
    double y[5][64];
    draw(*state, GY_RANDOM_UNIFORM, 0, 1, 7, 1, 0, y[0], 64);
    draw(*state, GY_RANDOM_UNIFORM, 0, 1, 7, 1, 0, y[1], 64);
    draw(*state, GY_RANDOM_UNIFORM, 0, 1, 8, 1, 0, y[2], 64);
    draw(*state, GY_RANDOM_UNIFORM, 0, 1, 7, 2, 0, y[3], 64);
    draw(*state, GY_RANDOM_UNIFORM, 0, 1, 7, 1, 1, y[4], 64);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    for (int v = 2; v < 5; v++)
        for (int i = 0; i < 64; i++) assert_true(y[0][i] != y[v][i]);
}

static void element_i_is_word_i_mod_4_of_block_i_div_4(void **state) {
    double y[11];
    uint32_t w[4];
    draw(*state, GY_RANDOM_UNIFORM, 0, 1, 5, 9, 3, y, 11);
    for (uint64_t i = 0; i < 11; i++) {
        gy_philox(gy_rng_key(9, 5, 3), i / 4, 0, w);
        assert_true(y[i] == gy_uniform01(w[i % 4]));
    }
}

static void any_number_of_threads_draws_the_same_bits_and_f32_rounds_f64(void **state) {
    (void)state;
    static float y[2][N];
    int64_t rng[2] = {4, 4};
    gy_random_attr attr = {99, GY_RANDOM_NORMAL, GY_F32, 0, 1, GY_S(N)};
    for (int t = 0; t < 2; t++) {
        gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = t ? 5 : 1});
        run_kernel(ctx, ref_random_f32, NULL, &attr, 1, (gy_view[]){I64(rng, 2)}, 1, (gy_view[]){F32(y[t], N)});
        draw(ctx, GY_RANDOM_NORMAL, 0, 1, 99, 4, 4, sample, N);
        gy_ctx_free(ctx);
    }
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    for (int i = 0; i < N; i++) assert_true(y[0][i] == (float)sample[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(uniform_values_follow_their_distribution),
        TEST(normal_values_follow_their_distribution),
        TEST(gumbel_values_follow_their_distribution),
        TEST(bernoulli_keeps_the_share_and_the_ends),
        TEST(seed_step_and_key_each_change_the_draw),
        TEST(element_i_is_word_i_mod_4_of_block_i_div_4),
        TEST(any_number_of_threads_draws_the_same_bits_and_f32_rounds_f64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
