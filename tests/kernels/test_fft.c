/* Fourier transforms against the definition, for every length up to 64 and some with large primes. */
#include "direct.h"

#include "core/rng.h"

#include <math.h>

void ref_fft_f64(const gy_kargs *k);
void ref_rfft_f64(const gy_kargs *k);
void ref_irfft_f64(const gy_kargs *k);
size_t ref_fft_scratch(const gy_kargs *k, int threads);

enum { MOST = 1024 };

static void fill(double *x, int64_t n, const char *name) {
    gy_rng r;
    gy_rng_init(&r, (uint64_t)n, name);
    for (int64_t i = 0; i < n; i++) x[i] = gy_rng_normal(&r);
}

/* Bin k of the transform of n complex numbers, by the definition. */
static void bin_of(const double *x, int64_t n, int64_t k, double sign, double *re, double *im) {
    *re = *im = 0;
    for (int64_t j = 0; j < n; j++) {
        double t = sign * 2 * 3.14159265358979323846 * (double)(j * k % n) / (double)n;
        *re += x[2 * j] * cos(t) - x[2 * j + 1] * sin(t);
        *im += x[2 * j] * sin(t) + x[2 * j + 1] * cos(t);
    }
}

static const int64_t lengths[] = {97, 128, 210, 243, 500, 1009, 1024};

static int64_t length(int i) { /* 1..64, then the list; 0 ends */
    if (i < 64) return i + 1;
    return i - 64 < (int)(sizeof lengths / sizeof *lengths) ? lengths[i - 64] : 0;
}

static void complex_transform_matches_the_definition_at_any_length(void **state) {
    static double x[2 * MOST], y[2 * MOST];
    for (int i = 0; length(i); i++)
        for (int64_t inverse = 0; inverse < 2; inverse++) {
            int64_t n = length(i);
            fill(x, 2 * n, "fft");
            gy_fft_attr a = {0, n, inverse, 0, inverse ? 1.0 / (double)n : 1};
            run_kernel(*state, ref_fft_f64, ref_fft_scratch, &a, 1, (gy_view[]){F64(x, n, 2)}, 1,
                       (gy_view[]){F64(y, n, 2)});
            for (int64_t k = 0; k<n; k += n> 64 ? 37 : 1) {
                double re, im;
                bin_of(x, n, k, inverse ? 1 : -1, &re, &im);
                assert_close(y[2 * k], re * a.scale, 1e-12);
                assert_close(y[2 * k + 1], im * a.scale, 1e-12);
            }
        }
}

static void real_transform_is_the_first_half_and_comes_back(void **state) {
    static double x[MOST], z[2 * MOST], y[2 * MOST], back[MOST];
    for (int i = 0; length(i); i++) {
        int64_t n = length(i), half = n / 2 + 1;
        fill(x, n, "rfft");
        for (int64_t j = 0; j < n; j++) {
            z[2 * j] = x[j];
            z[2 * j + 1] = 0;
        }
        gy_fft_attr a = {0, n, 0, 0, 1}, b = {0, n, 0, 1, 1.0 / (double)n};
        run_kernel(*state, ref_rfft_f64, ref_fft_scratch, &a, 1, (gy_view[]){F64(x, n)}, 1,
                   (gy_view[]){F64(y, half, 2)});
        for (int64_t k = 0; k<half; k += n> 64 ? 37 : 1) {
            double re, im;
            bin_of(z, n, k, -1, &re, &im);
            assert_close(y[2 * k], re, 1e-12);
            assert_close(y[2 * k + 1], im, 1e-12);
        }
        y[1] = 12345; /* of no influence: bin 0 of a real lane has no imaginary part */
        if (n % 2 == 0) y[2 * half - 1] = -54321;
        run_kernel(*state, ref_irfft_f64, ref_fft_scratch, &b, 1, (gy_view[]){F64(y, half, 2)}, 1,
                   (gy_view[]){F64(back, n)});
        for (int64_t j = 0; j < n; j++) assert_close(back[j], x[j], 1e-13);
    }
}

/* <rfft x, u> = <x, irfft u> with equal scale and weights: the pair is closed under transposition. */
static void real_pair_is_adjoint(void **state) {
    static double x[64], u[128], y[128], v[64];
    for (int64_t n = 1; n <= 33; n++)
        for (int64_t both = 0; both < 2; both++) {
            int64_t half = n / 2 + 1;
            gy_fft_attr a = {0, n, 0, both, 0.7};
            fill(x, n, "x");
            fill(u, 2 * half, "u");
            run_kernel(*state, ref_rfft_f64, ref_fft_scratch, &a, 1, (gy_view[]){F64(x, n)}, 1,
                       (gy_view[]){F64(y, half, 2)});
            run_kernel(*state, ref_irfft_f64, ref_fft_scratch, &a, 1, (gy_view[]){F64(u, half, 2)}, 1,
                       (gy_view[]){F64(v, n)});
            double left = 0, right = 0;
            for (int64_t i = 0; i < 2 * half; i++) left += y[i] * u[i];
            for (int64_t i = 0; i < n; i++) right += x[i] * v[i];
            assert_close(left, right, 1e-12);
        }
}

static void a_middle_axis_and_strides_give_the_same_lanes(void **state) {
    enum { A = 2, L = 6, B = 3, H = L / 2 + 1 };
    double x[A * L * B], y[A * H * B * 2], lane[L], bins[H * 2];
    fill(x, A * L * B, "lanes");
    gy_view v = F64(x, A, L, B);
    v.stride[0] = 1; /* x seen as [L, B, A] transposed */
    v.stride[1] = B * A;
    v.stride[2] = A;
    gy_fft_attr a = {1, L, 0, 0, 1}, one = {0, L, 0, 0, 1};
    run_kernel(*state, ref_rfft_f64, ref_fft_scratch, &a, 1, &v, 1, (gy_view[]){F64(y, A, H, B, 2)});
    for (int i = 0; i < A; i++)
        for (int k = 0; k < B; k++) {
            for (int j = 0; j < L; j++) lane[j] = x[i + j * B * A + k * A];
            run_kernel(*state, ref_rfft_f64, ref_fft_scratch, &one, 1, (gy_view[]){F64(lane, L)}, 1,
                       (gy_view[]){F64(bins, H, 2)});
            for (int h = 0; h < H; h++) {
                assert_true(y[((i * H + h) * B + k) * 2] == bins[2 * h]);
                assert_true(y[((i * H + h) * B + k) * 2 + 1] == bins[2 * h + 1]);
            }
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(complex_transform_matches_the_definition_at_any_length),
        TEST(real_transform_is_the_first_half_and_comes_back),
        TEST(real_pair_is_adjoint),
        TEST(a_middle_axis_and_strides_give_the_same_lanes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
