/* Products, triangular solves, Cholesky, LU, QR. */
#include "linalg_check.h"

static void gemm_agrees_with_the_plain_product_in_every_layout(void **state) {
    gy_ctx *ctx = *state;
    for (int q = 0; q < N_SIZES; q++)
        for (int layout = 0; layout < 4; layout++) {
            bool ta = layout & 1, tb = layout & 2;
            int64_t m = sizes[q], n = sizes[(q + 3) % N_SIZES], k = sizes[(q + 5) % N_SIZES];
            double *a = random_mat(m, k, 1), *b = random_mat(k, n, 2), *c = random_mat(m, n, 3);
            double *want = product(ta, tb, m, n, k, a, b);
            for (int64_t i = 0; i < m * n; i++) want[i] = 2 * want[i] - 0.5 * c[i];
            gy_la_gemm(gy_ctx_pool(ctx), ta, tb, m, n, k, 2, a, ta ? m : k, b, tb ? k : n, -0.5, c, n);
            assert_below(max_diff(m * n, c, want), 1e-14 * (double)k);
            c[0] = NAN; /* beta = 0 must not read C */
            gy_la_gemm(gy_ctx_pool(ctx), ta, tb, m, n, k, 0, a, ta ? m : k, b, tb ? k : n, 0, c, n);
            assert_below(max_entry(m * n, c), 0);
            free(a), free(b), free(c), free(want);
        }
}

static void syrk_is_exactly_symmetric(void **state) {
    gy_ctx *ctx = *state;
    for (int trans = 0; trans < 2; trans++) {
        int64_t n = 129, k = 70;
        double *a = random_mat(n, k, 4), *c = mat(n, n), *want = product(trans, !trans, n, n, k, a, a);
        gy_la_syrk(gy_ctx_pool(ctx), trans, n, k, 1, a, trans ? n : k, 0, c, n);
        assert_below(max_diff(n * n, c, want), 1e-13);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) assert_true(c[i * n + j] == c[j * n + i]);
        free(a), free(c), free(want);
    }
}

static void cholesky_rebuilds_the_matrix_and_solves(void **state) {
    gy_ctx *ctx = *state;
    for (int q = 0; q < N_SIZES; q++) {
        int64_t n = sizes[q];
        double *g = random_mat(n, n + 3, 5), *a = product(false, true, n, n, n + 3, g, g), *l = mat(n, n);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < n; j++) l[i * n + j] = j <= i ? a[i * n + j] : NAN; /* the upper part is not read */
        assert_ok(ctx, gy_la_cholesky(ctx, n, l, n));
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i + 1; j < n; j++) assert_true(l[i * n + j] == 0);
        double *back = product(false, true, n, n, n, l, l);
        assert_below(max_diff(n * n, back, a), 1e-14 * (double)(n + 3) * 4);
        double *x = random_mat(n, 3, 6), *b = product(false, false, n, 3, n, a, x);
        assert_ok(ctx, gy_la_cholesky_solve(ctx, n, 3, l, n, b, 3));
        double *residual = product(false, false, n, 3, n, a, b), *want = product(false, false, n, 3, n, a, x);
        assert_below(max_diff(n * 3, residual, want), 1e-11);
        free(g), free(a), free(l), free(back), free(x), free(b), free(residual), free(want);
    }
}

static void cholesky_names_the_failing_pivot(void **state) {
    gy_ctx *ctx = *state;
    double a[9] = {4, 0, 0, 2, 1, 0, 0, 1, 5}; /* second pivot: 1 - (2/2)^2 = 0 */
    assert_message(ctx, gy_la_cholesky(ctx, 3, a, 3), "pivot 1 of 3 is 0");
    double *big = identity(100);
    big[70 * 100 + 70] = -3;
    gy_status s = gy_la_cholesky(ctx, 100, big, 100);
    assert_int_equal(s, GY_ERR_NUMERIC);
    assert_message(ctx, s, "pivot 70 of 100 is -3");
    free(big);
}

static void lu_solves_with_a_small_residual(void **state) {
    gy_ctx *ctx = *state;
    for (int q = 0; q < N_SIZES; q++) {
        int64_t n = sizes[q];
        double *a = random_mat(n, n, 7), *b = random_mat(n, 5, 8), *x = mat(n, 5);
        memcpy(x, b, (size_t)(n * 5) * sizeof *x);
        assert_ok(ctx, gy_la_solve(ctx, n, 5, a, n, x, 5));
        double *back = product(false, false, n, 5, n, a, x);
        assert_below(max_diff(n * 5, back, b), 1e-14 * (double)n * fmax(1, max_entry(n * 5, x)) * 4);
        double *inv = mat(n, n), *e = identity(n);
        assert_ok(ctx, gy_la_inverse(ctx, n, a, n, inv, n));
        double *one = product(false, false, n, n, n, a, inv);
        assert_below(max_diff(n * n, one, e), 1e-14 * (double)n * fmax(1, max_entry(n * n, inv)) * 4);
        free(a), free(b), free(x), free(back), free(inv), free(e), free(one);
    }
}

static void solve_of_the_hilbert_matrix_has_a_small_residual(void **state) {
    gy_ctx *ctx = *state;
    int64_t n = 10;
    double *a = hilbert(n), *x = mat(n, 1), b[10];
    for (int64_t i = 0; i < n; i++) b[i] = x[i] = (double)(i % 3);
    assert_ok(ctx, gy_la_solve(ctx, n, 1, a, n, x, 1));
    double *back = product(false, false, n, 1, n, a, x);
    assert_below(max_diff(n, back, b), 1e-15 * max_entry(n, x));
    free(a), free(x), free(back);
}

static void determinants_are_right_and_singular_is_sign_zero(void **state) {
    gy_ctx *ctx = *state;
    double a[9] = {2, 7, 1, 8, 2, 8, 1, 8, 2}, sign, la; /* det = 2(4-64) - 7(16-8) + 1(64-2) = -114 */
    assert_ok(ctx, gy_la_det(ctx, 3, a, 3, &sign, &la));
    assert_close(sign * exp(la), -114, 1e-14);
    double zero[4] = {1, 2, 2, 4};
    assert_ok(ctx, gy_la_det(ctx, 2, zero, 2, &sign, &la));
    assert_true(sign == 0 && isinf(la) && la < 0);
    assert_ok(ctx, gy_la_det(ctx, 0, NULL, 0, &sign, &la));
    assert_true(sign == 1 && la == 0);
    /* det of the Hilbert matrix of order 5 is 1 / 266716800000 exactly. */
    double *h = hilbert(5);
    assert_ok(ctx, gy_la_det(ctx, 5, h, 5, &sign, &la));
    assert_close(la, -log(266716800000.0), 1e-10);
    free(h);
    double b[2] = {1, 1};
    gy_status s = gy_la_solve(ctx, 2, 1, zero, 2, b, 1);
    assert_int_equal(s, GY_ERR_NUMERIC);
    assert_message(ctx, s, "singular: the pivot of column 1 of 2");
}

static double complex *random_complex(int64_t m, int64_t n, uint64_t seed) {
    return (double complex *)random_mat(m, 2 * n, seed);
}

static void complex_lu_solves_inverts_and_takes_determinants(void **state) {
    gy_ctx *ctx = *state;
    for (int q = 0; q < N_SIZES; q++) {
        int64_t n = sizes[q];
        double complex *a = random_complex(n, n, 9), *x = random_complex(n, 2, 10), *b = random_complex(n, 2, 11);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < 2; j++) {
                b[i * 2 + j] = 0;
                for (int64_t p = 0; p < n; p++) b[i * 2 + j] += a[i * n + p] * x[p * 2 + j];
            }
        double complex *y = random_complex(n, 2, 0);
        memcpy(y, b, (size_t)(n * 2) * sizeof *y);
        assert_ok(ctx, gy_la_csolve(ctx, n, 2, a, n, y, 2));
        for (int64_t i = 0; i < n * 2; i++) {
            double complex back = 0;
            for (int64_t p = 0; p < n; p++) back += a[i / 2 * n + p] * y[p * 2 + i % 2];
            assert_below(cabs(back - b[i]), 1e-12 * (double)n);
        }
        double complex *inv = random_complex(n, n, 0), phase, phase2;
        double la, la2;
        assert_ok(ctx, gy_la_cinverse(ctx, n, a, n, inv, n));
        assert_ok(ctx, gy_la_cdet(ctx, n, a, n, &phase, &la));
        assert_ok(ctx, gy_la_cdet(ctx, n, inv, n, &phase2, &la2));
        assert_below(cabs(phase * phase2 - 1), 1e-10);
        assert_below(fabs(la + la2), 1e-10);
        free(a), free(x), free(b), free(y), free(inv);
    }
    double complex a[4] = {1 + 1 * I, 2, 3 * I, 4}, phase; /* det = 4 + 4i - 6i = 4 - 2i */
    double la;
    assert_ok(ctx, gy_la_cdet(ctx, 2, a, 2, &phase, &la));
    assert_below(cabs(phase * exp(la) - (4 - 2 * I)), 1e-14);
    double complex flat[4] = {I, 1, -1, I}, b[2] = {1, 1};
    assert_message(ctx, gy_la_csolve(ctx, 2, 1, flat, 2, b, 1), "singular");
}

static void qr_rebuilds_the_matrix_with_orthonormal_columns(void **state) {
    gy_ctx *ctx = *state;
    for (int p = 0; p < N_SIZES; p++)
        for (int s = 0; s < N_SIZES; s++) {
            int64_t m = sizes[p], n = sizes[s], k = m < n ? m : n;
            double *a = random_mat(m, n, 12), *q = mat(m, k), *r = mat(k, n);
            if (n > 2)
                for (int64_t i = 0; i < m; i++) a[i * n + 2] = a[i * n]; /* a dependent column does no harm */
            assert_ok(ctx, gy_la_qr_thin(ctx, m, n, a, n, q, k, r, n));
            assert_below(orthogonality(m, k, q), 1e-14 * sqrt((double)m) * 2);
            double *back = product(false, false, m, n, k, q, r);
            assert_below(max_diff(m * n, back, a), 1e-14 * (double)m);
            for (int64_t i = 0; i < k; i++) assert_true(r[i * n + i] >= 0);
            free(a), free(q), free(r), free(back);
        }
}

static void leading_dimensions_are_respected(void **state) {
    gy_ctx *ctx = *state;
    enum { N = 70, LD = 75 };
    double *a = random_mat(N, LD, 13), *tight = mat(N, N), *b = random_mat(N, 4, 14), *x = mat(N, 2);
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < LD; j++)
            if (j < N)
                tight[i * N + j] = a[i * LD + j];
            else
                a[i * LD + j] = NAN; /* the gap is neither read nor written */
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < 2; j++) x[i * 2 + j] = b[i * 4 + j];
    assert_ok(ctx, gy_la_solve(ctx, N, 2, a, LD, b, 4));
    assert_ok(ctx, gy_la_solve(ctx, N, 2, tight, N, x, 2));
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < 2; j++) assert_true(x[i * 2 + j] == b[i * 4 + j]);
    free(a), free(tight), free(b), free(x);
}

static void bad_input_is_refused_with_its_place(void **state) {
    gy_ctx *ctx = *state;
    double a[4] = {1, 2, NAN, 3}, b[2] = {1, 2}, tau[2], q[4], r[4];
    int64_t pivot[2];
    gy_status s = gy_la_lu(ctx, 2, a, 2, pivot);
    assert_int_equal(s, GY_ERR_NUMERIC);
    assert_message(ctx, s, "element (1, 0) is");
    assert_message(ctx, gy_la_cholesky(ctx, 2, a, 2), "element (1, 0) is");
    assert_message(ctx, gy_la_qr(ctx, 2, 2, a, 2, tau), "element (1, 0) is");
    a[2] = INFINITY;
    assert_message(ctx, gy_la_qr_thin(ctx, 2, 2, a, 2, q, 2, r, 2), "element (1, 0) is inf");
    assert_message(ctx, gy_la_solve(ctx, 2, 1, a, 2, b, 1), "element (1, 0) is inf");
    s = gy_la_solve(ctx, 2, 1, a, 1, b, 1);
    assert_int_equal(s, GY_ERR_SHAPE);
    assert_message(ctx, s, "leading dimension 1 is below the row length 2");
    assert_message(ctx, gy_la_solve(ctx, -1, 1, a, 1, b, 1), "-1");
    a[2] = 0;
    b[1] = NAN;
    assert_message(ctx, gy_la_solve(ctx, 2, 1, a, 2, b, 1), "right-hand side: element (1, 0)");
    double t[4] = {1, 0, 5, 0}, c[2] = {1, 1};
    assert_message(ctx, gy_la_trsm(ctx, GY_LOWER, 2, 1, t, 2, c, 1), "singular: diagonal element 1 of 2");
}

static void size_zero_is_the_empty_answer(void **state) {
    gy_ctx *ctx = *state;
    double x[1] = {7};
    int64_t pivot[1];
    assert_ok(ctx, gy_la_cholesky(ctx, 0, x, 0));
    assert_ok(ctx, gy_la_lu(ctx, 0, x, 0, pivot));
    assert_ok(ctx, gy_la_qr_thin(ctx, 3, 0, x, 0, x, 0, x, 0));
    assert_ok(ctx, gy_la_solve(ctx, 0, 3, x, 0, x, 3));
    assert_true(x[0] == 7);
}

static gy_status every_factorisation(gy_ctx *ctx) {
    double a[12] = {4, 1, 0, 1, 3, 1, 0, 1, 2, 1, 1, 1}, q[12], r[9], b[3] = {1, 2, 3}, sign, la;
    double complex c[4] = {1, I, 2, 3}, d[4];
    gy_status s = gy_la_qr_thin(ctx, 4, 3, a, 3, q, 3, r, 3);
    if (!s) s = gy_la_solve(ctx, 3, 1, a, 3, b, 1);
    if (!s) s = gy_la_det(ctx, 3, a, 3, &sign, &la);
    if (!s) s = gy_la_cinverse(ctx, 2, c, 2, d, 2);
    return s;
}
static void allocation_failures_are_reported_and_leak_nothing(void **state) {
    survives_allocation_failures(*state, every_factorisation);
}

enum { T = 150 };
static void factor_everything(gy_ctx *ctx, double *out) {
    double *a = random_mat(T, T, 15);
    int64_t pivot[T];
    gy_la_syrk(gy_ctx_pool(ctx), false, T, T, 1, a, T, 0, out, T);
    assert_ok(ctx, gy_la_cholesky(ctx, T, out, T));
    assert_ok(ctx, gy_la_qr_thin(ctx, T, T, a, T, out + T * T, T, out + 2 * T * T, T));
    assert_ok(ctx, gy_la_inverse(ctx, T, a, T, out + 3 * T * T, T));
    assert_ok(ctx, gy_la_lu(ctx, T, a, T, pivot));
    memcpy(out + 4 * T * T, a, sizeof(double[T * T]));
    free(a);
}
static void factors_have_the_same_bits_for_any_number_of_threads(void **state) {
    (void)state;
    same_bits_for_any_threads(5 * T * T, factor_everything);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(gemm_agrees_with_the_plain_product_in_every_layout),
        TEST(syrk_is_exactly_symmetric),
        TEST(cholesky_rebuilds_the_matrix_and_solves),
        TEST(cholesky_names_the_failing_pivot),
        TEST(lu_solves_with_a_small_residual),
        TEST(solve_of_the_hilbert_matrix_has_a_small_residual),
        TEST(determinants_are_right_and_singular_is_sign_zero),
        TEST(complex_lu_solves_inverts_and_takes_determinants),
        TEST(qr_rebuilds_the_matrix_with_orthonormal_columns),
        TEST(leading_dimensions_are_respected),
        TEST(bad_input_is_refused_with_its_place),
        TEST(size_zero_is_the_empty_answer),
        TEST(allocation_failures_are_reported_and_leak_nothing),
        TEST(factors_have_the_same_bits_for_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
