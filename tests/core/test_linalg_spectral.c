/* Symmetric and general eigenproblems, SVD, least squares. */
#include "linalg_check.h"

static void check_eigh(gy_ctx *ctx, int64_t n, const double *a) {
    double *w = mat(n, 1), *z = mat(n, n), *only = mat(n, 1);
    double norm = fmax(max_entry(n * n, a), DBL_MIN) * sqrt((double)n);
    assert_ok(ctx, gy_la_eigh(ctx, n, a, n, w, z, n));
    assert_below(orthogonality(n, n, z), 2e-15 * (double)n + 1e-14);
    double *az = product(false, false, n, n, n, a, z);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) az[i * n + j] -= z[i * n + j] * w[j];
    assert_below(max_entry(n * n, az), 1e-14 * norm * sqrt((double)n));
    for (int64_t j = 1; j < n; j++) assert_true(w[j] >= w[j - 1]);
    assert_ok(ctx, gy_la_eigh(ctx, n, a, n, only, NULL, 0));
    assert_memory_equal(w, only, (size_t)n * sizeof *w);
    free(w), free(z), free(az), free(only);
}

static void symmetric_eigenpairs_have_small_residuals(void **state) {
    gy_ctx *ctx = *state;
    for (int q = 0; q < N_SIZES; q++) {
        int64_t n = sizes[q];
        double *a = random_symmetric(n, 1);
        check_eigh(ctx, n, a);
        for (int64_t i = 0; i < n * n; i++) a[i] *= 1e200; /* squares would overflow */
        check_eigh(ctx, n, a);
        for (int64_t i = 0; i < n * n; i++) a[i] *= 0x1p-1010 * 1e-200;
        check_eigh(ctx, n, a);
        free(a);
        a = hilbert(n);
        check_eigh(ctx, n, a);
        for (int64_t i = 0; i < n * n; i++) a[i] = 1; /* rank 1: n - 1 equal eigenvalues */
        check_eigh(ctx, n, a);
        free(a);
        a = identity(n);
        check_eigh(ctx, n, a);
        free(a);
        a = mat(n, n);
        check_eigh(ctx, n, a);
        free(a);
    }
}

static void the_second_difference_matrix_has_its_known_eigenvalues(void **state) {
    gy_ctx *ctx = *state;
    enum { N = 40 };
    double *a = mat(N, N), w[N];
    for (int i = 0; i < N; i++) {
        a[i * N + i] = 2;
        if (i) a[i * N + i - 1] = -1;
    }
    assert_ok(ctx, gy_la_eigh(ctx, N, a, N, w, NULL, 0));
    for (int j = 0; j < N; j++) assert_close(w[j], 2 - 2 * cos((j + 1) * acos(-1.0) / (N + 1)), 1e-14);
    free(a);
}

static void check_svd(gy_ctx *ctx, int64_t m, int64_t n, const double *a) {
    int64_t k = m < n ? m : n;
    double *u = mat(m, k), *s = mat(k, 1), *vt = mat(k, n), *only = mat(k, 1), *v = mat(n, k);
    assert_ok(ctx, gy_la_svd(ctx, m, n, a, n, u, k, s, vt, n));
    assert_below(orthogonality(m, k, u), 2e-15 * (double)(m + n) + 1e-14);
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < n; j++) v[j * k + i] = vt[i * n + j];
    assert_below(orthogonality(n, k, v), 2e-15 * (double)(m + n) + 1e-14);
    for (int64_t j = 0; j < k; j++) assert_true(s[j] >= 0 && (j == 0 || s[j] <= s[j - 1]));
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < k; j++) u[i * k + j] *= s[j];
    double *back = product(false, false, m, n, k, u, vt);
    assert_below(max_diff(m * n, back, a), 1e-15 * (s[0] + DBL_MIN) * (10 + sqrt((double)(m + n))));
    assert_ok(ctx, gy_la_svd(ctx, m, n, a, n, NULL, 0, only, NULL, 0));
    assert_memory_equal(s, only, (size_t)k * sizeof *s);
    free(u), free(s), free(vt), free(only), free(v), free(back);
}

static void svd_rebuilds_matrices_of_every_shape(void **state) {
    gy_ctx *ctx = *state;
    for (int p = 0; p < N_SIZES; p++)
        for (int q = 0; q < N_SIZES; q++) {
            int64_t m = sizes[p], n = sizes[q];
            double *a = random_mat(m, n, 2);
            check_svd(ctx, m, n, a);
            for (int64_t i = 0; i < m; i++)
                for (int64_t j = 0; j < n; j++) a[i * n + j] = (double)((i + 1) * (j % 3)); /* rank 1, zero columns */
            check_svd(ctx, m, n, a);
            for (int64_t i = 0; i < m * n; i++) a[i] = 0;
            check_svd(ctx, m, n, a);
            free(a);
        }
}

static void svd_handles_graded_scaled_and_defective_input(void **state) {
    gy_ctx *ctx = *state;
    enum { N = 60 };
    double *a = random_mat(N, N, 3);
    for (int64_t i = 0; i < N; i++)
        for (int64_t j = 0; j < N; j++) a[i * N + j] *= pow(10, -(double)(i + j) / 4);
    check_svd(ctx, N, N, a);
    for (int64_t i = 0; i < N / 2; i++) /* graded the other way round */
        for (int64_t j = 0; j < N; j++) {
            double t = a[i * N + j];
            a[i * N + j] = a[(N - 1 - i) * N + j];
            a[(N - 1 - i) * N + j] = t;
        }
    check_svd(ctx, N, N, a);
    for (int64_t i = 0; i < N * N; i++) a[i] = 1e300 * ((double)(i % 7) - 3);
    check_svd(ctx, N, N, a);
    for (int64_t i = 0; i < N * N; i++) a[i] = i % (N + 1) == 1; /* a Jordan block: bidiagonal with zero diagonal */
    check_svd(ctx, N, N, a);
    for (int zero = 0; zero < 10; zero += 3) { /* bidiagonal already, one diagonal element 0: no division by it */
        for (int64_t i = 0; i < 100; i++) a[i] = i % 11 == 0 ? (double)(1 + i / 11) : i % 11 == 1;
        a[zero * 11] = 0;
        check_svd(ctx, 10, 10, a);
    }
    free(a);
    a = hilbert(N);
    check_svd(ctx, N, N, a);
    free(a);
    a = identity(N);
    check_svd(ctx, N, N, a);
    free(a);
}

static void singular_values_of_known_matrices(void **state) {
    gy_ctx *ctx = *state;
    double a[4] = {3, 0, 4, 5}, s[2]; /* A A^T has eigenvalues 45 and 5 */
    assert_ok(ctx, gy_la_svd(ctx, 2, 2, a, 2, NULL, 0, s, NULL, 0));
    assert_close(s[0], sqrt(45), 1e-15);
    assert_close(s[1], sqrt(5), 1e-15);
}

static void least_squares_residual_is_orthogonal_to_the_columns(void **state) {
    gy_ctx *ctx = *state;
    for (int q = 0; q < N_SIZES; q++) {
        int64_t n = sizes[q], m = n + 20, r = 3, rank;
        double *a = random_mat(m, n, 4), *b = random_mat(m, r, 5), *x = mat(n, r), *y = mat(n, r);
        assert_ok(ctx, gy_la_lstsq_qr(ctx, m, n, r, a, n, b, r, x, r));
        assert_ok(ctx, gy_la_lstsq(ctx, m, n, r, a, n, b, r, -1, y, r, &rank));
        assert_int_equal(rank, n);
        assert_below(max_diff(n * r, x, y), 1e-12);
        double *fit = product(false, false, m, r, n, a, x);
        for (int64_t i = 0; i < m * r; i++) fit[i] -= b[i];
        double *g = product(true, false, n, r, m, a, fit);
        assert_below(max_entry(n * r, g), 1e-12);
        free(a), free(b), free(x), free(y), free(fit), free(g);
    }
}

static void rank_deficiency_is_refused_by_qr_and_solved_by_svd(void **state) {
    gy_ctx *ctx = *state;
    double a[6] = {1, 2, 1, 2, 1, 2}, b[3] = {5, 5, 5}, x[2]; /* x1 + 2 x2 = 5: shortest is (1, 2) */
    int64_t rank;
    assert_message(ctx, gy_la_lstsq_qr(ctx, 3, 2, 1, a, 2, b, 1, x, 1), "rank-deficient: column 1");
    assert_ok(ctx, gy_la_lstsq(ctx, 3, 2, 1, a, 2, b, 1, -1, x, 1, &rank));
    assert_int_equal(rank, 1);
    assert_close(x[0], 1, 1e-14);
    assert_close(x[1], 2, 1e-14);
    assert_message(ctx, gy_la_lstsq_qr(ctx, 2, 3, 1, a, 3, b, 1, x, 1), "m >= n");
}

static void the_pseudo_inverse_meets_penroses_conditions(void **state) {
    gy_ctx *ctx = *state;
    int64_t m = 23, n = 17, r = 6;
    double *l = random_mat(m, r, 6), *t = random_mat(r, n, 7), *a = product(false, false, m, n, r, l, t);
    double *p = mat(n, m);
    assert_ok(ctx, gy_la_pinv(ctx, m, n, a, n, -1, p, m));
    double *ap = product(false, false, m, m, n, a, p), *pa = product(false, false, n, n, m, p, a);
    double *apa = product(false, false, m, n, m, ap, a), *pap = product(false, false, n, m, n, pa, p);
    assert_below(max_diff(m * n, apa, a), 1e-12);
    assert_below(max_diff(n * m, pap, p), 1e-13);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < m; j++) assert_close(ap[i * m + j], ap[j * m + i], 1e-13);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < n; j++) assert_close(pa[i * n + j], pa[j * n + i], 1e-13);
    free(l), free(t), free(a), free(p), free(ap), free(pa), free(apa), free(pap);
}

static void check_eig(gy_ctx *ctx, int64_t n, const double *a) {
    double complex *w = calloc((size_t)n, sizeof *w), *v = calloc((size_t)(n * n), sizeof *v);
    double norm = fmax(max_entry(n * n, a), DBL_MIN) * (double)n;
    assert_ok(ctx, gy_la_eig(ctx, n, a, n, w, v, n));
    double trace = 0;
    double complex sum = 0;
    for (int64_t j = 0; j < n; j++) {
        double length = 0;
        for (int64_t i = 0; i < n; i++) {
            double complex r = -w[j] * v[i * n + j];
            for (int64_t p = 0; p < n; p++) r += a[i * n + p] * v[p * n + j];
            assert_below(cabs(r), 3e-15 * norm);
            length += creal(v[i * n + j] * conj(v[i * n + j]));
        }
        assert_close(length, 1, 1e-13);
        if (j) assert_true(cabs(w[j]) <= cabs(w[j - 1]));
        if (cimag(w[j]) > 0) {
            assert_true(w[j + 1] == conj(w[j]));
            for (int64_t i = 0; i < n; i++) assert_true(v[i * n + j + 1] == conj(v[i * n + j]));
        }
        trace += a[j * n + j];
        sum += w[j];
    }
    assert_below(cabs(sum - trace), 1e-14 * norm * sqrt((double)n));
    free(w), free(v);
}

static void general_eigenpairs_have_small_residuals(void **state) {
    gy_ctx *ctx = *state;
    for (int q = 0; q < N_SIZES; q++) {
        int64_t n = sizes[q];
        double *a = random_mat(n, n, 8);
        check_eig(ctx, n, a);
        for (int64_t i = 0; i < n * n; i++) a[i] *= 1e200;
        check_eig(ctx, n, a);
        free(a);
        a = identity(n);
        check_eig(ctx, n, a);
        for (int64_t i = 0; i < n * n; i++) a[i] = 0;
        check_eig(ctx, n, a);
        for (int64_t i = 0; i < n; i++) a[i * n + (i + 1) % n] = 1; /* cyclic shift: the roots of unity */
        check_eig(ctx, n, a);
        free(a);
        a = random_symmetric(n, 9);
        check_eig(ctx, n, a);
        free(a);
    }
}

static void balancing_helps_bad_scales_and_does_not_harm_hessenberg_input(void **state) {
    gy_ctx *ctx = *state;
    for (int64_t n = 20; n <= 80; n += 15) {
        double *a = random_mat(n, n, 7);
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < i - 1; j++) a[i * n + j] = 0;
        check_eig(ctx, n, a);
        for (int64_t i = 0; i < n; i++) /* triangular with repeated eigenvalues */
            for (int64_t j = 0; j < n; j++) a[i * n + j] = j < i ? 0 : floor(a[i * n + j]);
        check_eig(ctx, n, a);
        free(a);
    }
    /* D diag-similar to [[1, 2], [3, 4]] with D = diag(1, 2^60): the eigenvalues keep full relative accuracy. */
    double b[4] = {1, 2 * 0x1p60, 3 * 0x1p-60, 4};
    double complex w[2];
    assert_ok(ctx, gy_la_eig(ctx, 2, b, 2, w, NULL, 0));
    assert_close(creal(w[0]), (5 + sqrt(33)) / 2, 1e-15);
    assert_below(fabs(creal(w[1]) - (5 - sqrt(33)) / 2), 1e-15);
}

static void low_rank_products_of_every_grading_decompose(void **state) {
    gy_ctx *ctx = *state;
    gy_rng r;
    gy_rng_init(&r, 99, "shapes");
    for (int round = 0; round < 25; round++) {
        int64_t m = 1 + gy_rng_below(&r, 100), n = 1 + gy_rng_below(&r, 100), least = m < n ? m : n;
        int64_t k = 1 + gy_rng_below(&r, least);
        double *l = random_mat(m, k, 100 + (uint64_t)round), *t = random_mat(k, n, 200 + (uint64_t)round);
        for (int64_t i = 0; i < k; i++) {
            const double grades[5] = {1, pow(10, -16 * (double)i / (double)k), pow(10, -30 * gy_rng_uniform(&r)),
                                      i % 2 ? 1 : 1e-9, pow(2, (double)i)};
            for (int64_t j = 0; j < n; j++) t[i * n + j] *= grades[round % 5];
        }
        double *a = product(false, false, m, n, k, l, t), *g = product(false, true, m, m, n, a, a);
        check_svd(ctx, m, n, a);
        check_eigh(ctx, m, g);
        free(l), free(t), free(a), free(g);
    }
}

static void a_defective_matrix_gives_its_eigenvalue_twice(void **state) {
    gy_ctx *ctx = *state;
    double a[4] = {2, 1, 0, 2};
    double complex w[2], v[4];
    assert_ok(ctx, gy_la_eig(ctx, 2, a, 2, w, v, 2));
    assert_true(w[0] == 2 && w[1] == 2);
    assert_close(creal(v[0]), 1, 1e-15);
    assert_close(cabs(v[1]), 1, 1e-15);
    double rot[4] = {0, -1, 1, 0};
    assert_ok(ctx, gy_la_eig(ctx, 2, rot, 2, w, NULL, 0));
    assert_below(cabs(w[0] - I), 1e-15);
    assert_below(cabs(w[1] + I), 1e-15);
}

static void the_companion_matrix_gives_the_polynomials_roots(void **state) {
    gy_ctx *ctx = *state;
    /* (x - 1)(x - 2)(x - 3)(x^2 + 4) = x^5 - 6 x^4 + 15 x^3 - 30 x^2 + 44 x - 24 */
    double a[25] = {6, -15, 30, -44, 24, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0};
    double complex w[5];
    assert_ok(ctx, gy_la_eig(ctx, 5, a, 5, w, NULL, 0));
    int seen = 0;
    const double complex roots[5] = {3, 2, 2 * I, -2 * I, 1};
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < 5; j++)
            if (cabs(w[j] - roots[i]) < 1e-12) seen |= 1 << i;
    assert_int_equal(seen, 31);
}

static void non_finite_input_is_refused(void **state) {
    gy_ctx *ctx = *state;
    double a[4] = {1, 0, NAN, 1}, w[2], s[2], x[4];
    double complex c[2];
    assert_message(ctx, gy_la_eigh(ctx, 2, a, 2, w, NULL, 0), "element (1, 0)");
    assert_message(ctx, gy_la_svd(ctx, 2, 2, a, 2, NULL, 0, s, NULL, 0), "element (1, 0)");
    assert_message(ctx, gy_la_eig(ctx, 2, a, 2, c, NULL, 0), "element (1, 0)");
    assert_message(ctx, gy_la_pinv(ctx, 2, 2, a, 2, -1, x, 2), "element (1, 0)");
    a[2] = 0;
    assert_message(ctx, gy_la_svd(ctx, 2, 2, a, 2, x, 2, s, NULL, 0), "both");
}

static gy_status everything_spectral(gy_ctx *ctx) {
    double a[9] = {4, 1, 0, 1, 3, 1, 0, 1, 2}, w[3], z[9], u[9], b[3] = {1, 2, 3}, x[3];
    double complex cw[3], cv[9];
    gy_status s = gy_la_eigh(ctx, 3, a, 3, w, z, 3);
    if (!s) s = gy_la_svd(ctx, 3, 3, a, 3, u, 3, w, z, 3);
    if (!s) s = gy_la_eig(ctx, 3, a, 3, cw, cv, 3);
    if (!s) s = gy_la_lstsq(ctx, 3, 3, 1, a, 3, b, 1, -1, x, 1, NULL);
    if (!s) s = gy_la_lstsq_qr(ctx, 3, 3, 1, a, 3, b, 1, x, 1);
    return s;
}
static void allocation_failures_are_reported_and_leak_nothing(void **state) {
    survives_allocation_failures(*state, everything_spectral);
}

enum { T = 200 };
static void decompose_everything(gy_ctx *ctx, double *out) {
    double *a = random_symmetric(T, 15), *b = random_mat(T + 50, T, 16);
    assert_ok(ctx, gy_la_eigh(ctx, T, a, T, out, out + T, T));
    out += T * T + T;
    assert_ok(ctx, gy_la_svd(ctx, T + 50, T, b, T, out, T, out + (T + 50) * T, out + (T + 50) * T + T, T));
    out += (T + 50) * T + T + T * T;
    assert_ok(ctx, gy_la_eig(ctx, T, b, T, (double complex *)out, (double complex *)out + T, T));
    free(a), free(b);
}
static void decompositions_have_the_same_bits_for_any_number_of_threads(void **state) {
    (void)state;
    same_bits_for_any_threads(T * T + T + (T + 50) * T + T + T * T + 2 * (T + T * T), decompose_everything);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(symmetric_eigenpairs_have_small_residuals),
        TEST(the_second_difference_matrix_has_its_known_eigenvalues),
        TEST(svd_rebuilds_matrices_of_every_shape),
        TEST(svd_handles_graded_scaled_and_defective_input),
        TEST(singular_values_of_known_matrices),
        TEST(least_squares_residual_is_orthogonal_to_the_columns),
        TEST(rank_deficiency_is_refused_by_qr_and_solved_by_svd),
        TEST(the_pseudo_inverse_meets_penroses_conditions),
        TEST(general_eigenpairs_have_small_residuals),
        TEST(balancing_helps_bad_scales_and_does_not_harm_hessenberg_input),
        TEST(low_rank_products_of_every_grading_decompose),
        TEST(a_defective_matrix_gives_its_eigenvalue_twice),
        TEST(the_companion_matrix_gives_the_polynomials_roots),
        TEST(non_finite_input_is_refused),
        TEST(allocation_failures_are_reported_and_leak_nothing),
        TEST(decompositions_have_the_same_bits_for_any_number_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
