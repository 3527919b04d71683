/* Reference kernels of indexing and sorting, against loops written the naive way. */
#include "direct.h"

#include "core/rng.h"

#include <math.h>

void ref_gather(const gy_kargs *k);
void ref_gather_along(const gy_kargs *k);
void ref_scatter_add_f32(const gy_kargs *k);
void ref_scatter_add_f64(const gy_kargs *k);
void ref_scatter_along_add_f64(const gy_kargs *k);
void ref_segment_max_f64(const gy_kargs *k);
void ref_spmm_f64(const gy_kargs *k);
void ref_sddmm_f64(const gy_kargs *k);
void ref_sort_f64(const gy_kargs *k);
size_t ref_scatter_add_scratch(const gy_kargs *k, int threads);
size_t ref_scatter_along_add_scratch(const gy_kargs *k, int threads);
size_t ref_spmm_scratch(const gy_kargs *k, int threads);
size_t ref_sddmm_scratch(const gy_kargs *k, int threads);
size_t ref_sort_scratch(const gy_kargs *k, int threads);

static void assert_values(const double *found, const double *expected, int64_t n) {
    for (int64_t i = 0; i < n; i++) assert_close(found[i], expected[i], 1e-14);
}

static void gather_takes_slices_and_reads_zero_outside(void **state) {
    double x[2 * 3 * 2] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, y[2 * 4 * 2];
    int64_t index[4] = {2, -1, 0, 3};
    const double expected[] = {5, 6, 0, 0, 1, 2, 0, 0, 11, 12, 0, 0, 7, 8, 0, 0};
    run_kernel(*state, ref_gather, NULL, &(gy_index_attr){1, 0}, 2, (gy_view[]){F64(x, 2, 3, 2), I64(index, 2, 2)}, 1,
               (gy_view[]){F64(y, 2, 2, 2, 2)});
    assert_values(y, expected, 16);
}

static void gather_carries_integers_beyond_doubles(void **state) {
    int64_t x[2] = {INT64_MAX, INT64_MIN + 1}, y[2], index[2] = {1, 0};
    run_kernel(*state, ref_gather, NULL, &(gy_index_attr){0, 0}, 2, (gy_view[]){I64(x, 2), I64(index, 2)}, 1,
               (gy_view[]){I64(y, 2)});
    assert_true(y[0] == INT64_MIN + 1 && y[1] == INT64_MAX);
}

static void scatter_add_sums_equal_targets_and_ignores_outside(void **state) {
    double u[5 * 2] = {1, 10, 2, 20, 3, 30, 4, 40, 5, 50}, y[3 * 2];
    int64_t index[5] = {2, 0, 2, 3, -1};
    const double expected[] = {2, 20, 0, 0, 4, 40};
    run_kernel(*state, ref_scatter_add_f64, ref_scatter_add_scratch, &(gy_index_attr){0, 3}, 2,
               (gy_view[]){F64(u, 5, 2), I64(index, 5)}, 1, (gy_view[]){F64(y, 3, 2)});
    assert_values(y, expected, 6);
}

static void scatter_add_has_the_same_bits_for_any_number_of_threads(void **state) {
    (void)state;
    enum { N = 3001, D = 67, ROWS = 13 };
    static float u[N * D], y[3][ROWS * D];
    static int64_t index[N];
    gy_rng r;
    gy_rng_init(&r, 1, "scatter");
    for (int i = 0; i < N * D; i++) u[i] = (float)gy_rng_normal(&r);
    for (int i = 0; i < N; i++) index[i] = gy_rng_below(&r, ROWS);
    for (int t = 0; t < 3; t++) {
        gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = t == 2 ? 5 : t + 1});
        run_kernel(ctx, ref_scatter_add_f32, ref_scatter_add_scratch, &(gy_index_attr){0, ROWS}, 2,
                   (gy_view[]){F32(u, N, D), I64(index, N)}, 1, (gy_view[]){F32(y[t], ROWS, D)});
        gy_ctx_free(ctx);
    }
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    assert_memory_equal(y[0], y[2], sizeof y[0]);
    for (int c = 0; c < D; c++) {
        double sum = 0;
        for (int i = 0; i < N; i++)
            if (index[i] == 4) sum += u[i * D + c];
        assert_close(y[0][4 * D + c], sum, 1e-6);
    }
}

static void along_pair_is_take_along_axis_and_its_adjoint(void **state) {
    double x[2 * 3] = {1, 2, 3, 4, 5, 6}, y[2 * 4], back[2 * 3];
    int64_t index[2 * 4] = {2, 2, 0, 7, 1, -3, 1, 0};
    const double taken[] = {3, 3, 1, 0, 5, 0, 5, 4}, put[] = {1, 0, 6, 4, 10, 0};
    run_kernel(*state, ref_gather_along, NULL, &(gy_index_attr){1, 0}, 2, (gy_view[]){F64(x, 2, 3), I64(index, 2, 4)},
               1, (gy_view[]){F64(y, 2, 4)});
    assert_values(y, taken, 8);
    run_kernel(*state, ref_scatter_along_add_f64, ref_scatter_along_add_scratch, &(gy_index_attr){1, 3}, 2,
               (gy_view[]){F64(y, 2, 4), I64(index, 2, 4)}, 1, (gy_view[]){F64(back, 2, 3)});
    assert_values(back, put, 6);
}

static void segment_max_gives_value_and_first_position(void **state) {
    double x[6] = {1, 5, 5, -2, NAN, 9}, y[4];
    int64_t segment[6] = {0, 0, 0, 1, 3, 3}, where[4];
    run_kernel(*state, ref_segment_max_f64, ref_scatter_add_scratch, &(gy_index_attr){0, 4}, 2,
               (gy_view[]){F64(x, 6), I64(segment, 6)}, 2, (gy_view[]){F64(y, 4), I64(where, 4)});
    assert_true(y[0] == 5 && where[0] == 1);
    assert_true(y[1] == -2 && where[1] == 3);
    assert_true(y[2] == 0 && where[2] == -1); /* empty */
    assert_true(isnan(y[3]) && where[3] == 4);
}

/* Both sparse products and the sampled product against the dense matrix. */
static void sparse_products_match_the_dense_ones(void **state) {
    enum { R = 5, C = 7, D = 3, NNZ = 9 };
    int64_t ptr[R + 1] = {0, 2, 2, 5, 8, 9}, idx[NNZ] = {1, 4, 0, 6, 6, 2, 3, 1, 9};
    double v[NNZ], b[C * D], a[R * D], dense[R][C] = {{0}}, y[R * D], yt[C * D], s[NNZ];
    gy_rng r;
    gy_rng_init(&r, 2, "csr");
    for (int i = 0; i < NNZ; i++) v[i] = gy_rng_normal(&r);
    for (int i = 0; i < C * D; i++) b[i] = gy_rng_normal(&r);
    for (int i = 0; i < R * D; i++) a[i] = gy_rng_normal(&r);
    for (int i = 0; i < R; i++)
        for (int64_t e = ptr[i]; e < ptr[i + 1]; e++)
            if (idx[e] < C) dense[i][idx[e]] += v[e]; /* the last entry lies outside */
    gy_view csr[4] = {I64(ptr, R + 1), I64(idx, NNZ), F64(v, NNZ), F64(b, C, D)};
    run_kernel(*state, ref_spmm_f64, ref_spmm_scratch, &(gy_spmm_attr){0, R}, 4, csr, 1, (gy_view[]){F64(y, R, D)});
    csr[3] = F64(a, R, D);
    run_kernel(*state, ref_spmm_f64, ref_spmm_scratch, &(gy_spmm_attr){1, C}, 4, csr, 1, (gy_view[]){F64(yt, C, D)});
    csr[2] = F64(a, R, D);
    csr[3] = F64(b, C, D);
    run_kernel(*state, ref_sddmm_f64, ref_sddmm_scratch, NULL, 4, csr, 1, (gy_view[]){F64(s, NNZ)});
    for (int i = 0; i < R; i++)
        for (int d = 0; d < D; d++) {
            double sum = 0;
            for (int c = 0; c < C; c++) sum += dense[i][c] * b[c * D + d];
            assert_close(y[i * D + d], sum, 1e-14);
        }
    for (int c = 0; c < C; c++)
        for (int d = 0; d < D; d++) {
            double sum = 0;
            for (int i = 0; i < R; i++) sum += dense[i][c] * a[i * D + d];
            assert_close(yt[c * D + d], sum, 1e-14);
        }
    for (int i = 0; i < R; i++)
        for (int64_t e = ptr[i]; e < ptr[i + 1]; e++) {
            double sum = 0;
            for (int d = 0; d < D && idx[e] < C; d++) sum += a[i * D + d] * b[idx[e] * D + d];
            assert_close(s[e], sum, 1e-14);
        }
}

static void hostile_row_bounds_stay_inside_the_entries(void **state) {
    int64_t ptr[4] = {-5, 3, 1, 1000}, idx[2] = {0, -7};
    double v[2] = {1, 1}, b[2] = {2, 3}, a[3] = {1, 1, 1}, y[3], yt[2], s[2];
    gy_view csr[4] = {I64(ptr, 4), I64(idx, 2), F64(v, 2), F64(b, 2, 1)};
    run_kernel(*state, ref_spmm_f64, ref_spmm_scratch, &(gy_spmm_attr){0, 3}, 4, csr, 1, (gy_view[]){F64(y, 3, 1)});
    assert_true(y[0] == 2);
    csr[3] = F64(a, 3, 1);
    run_kernel(*state, ref_spmm_f64, ref_spmm_scratch, &(gy_spmm_attr){1, 2}, 4, csr, 1, (gy_view[]){F64(yt, 2, 1)});
    csr[2] = F64(a, 3, 1);
    csr[3] = F64(b, 2, 1);
    run_kernel(*state, ref_sddmm_f64, ref_sddmm_scratch, NULL, 4, csr, 1, (gy_view[]){F64(s, 2)});
    assert_true(s[1] == 0);
}

static void sort_f64(gy_ctx *ctx, double *x, int64_t n, bool descending, int64_t k, double *y, int64_t *pos) {
    run_kernel(ctx, ref_sort_f64, ref_sort_scratch, &(gy_sort_attr){0, descending, k}, 1, (gy_view[]){F64(x, n)}, 2,
               (gy_view[]){F64(y, k), I64(pos, k)});
}

static void sort_is_stable_and_puts_nan_last_in_both_directions(void **state) {
    double x[7] = {2, NAN, -1, 2, 0.0, -0.0, NAN}, y[7];
    int64_t pos[7];
    const int64_t up[] = {2, 4, 5, 0, 3, 1, 6}, down[] = {0, 3, 4, 5, 2, 1, 6};
    sort_f64(*state, x, 7, false, 7, y, pos);
    for (int i = 0; i < 7; i++) assert_int_equal(pos[i], up[i]);
    sort_f64(*state, x, 7, true, 7, y, pos);
    for (int i = 0; i < 7; i++) assert_int_equal(pos[i], down[i]);
    assert_true(y[0] == 2 && isnan(y[6]));
}

static void top_k_is_the_head_of_the_descending_sort(void **state) {
    enum { N = 1009, K = 37 };
    static double x[N], all[N], top[K];
    static int64_t p[N], q[K];
    gy_rng r;
    gy_rng_init(&r, 3, "sort");
    for (int i = 0; i < N; i++) x[i] = (double)gy_rng_below(&r, 200); /* many ties */
    sort_f64(*state, x, N, true, N, all, p);
    sort_f64(*state, x, N, true, K, top, q);
    for (int i = 0; i + 1 < N; i++) assert_true(all[i] > all[i + 1] || (all[i] == all[i + 1] && p[i] < p[i + 1]));
    for (int i = 0; i < N; i++) assert_true(all[i] == x[p[i]]);
    assert_memory_equal(p, q, sizeof q);
    assert_memory_equal(all, top, sizeof top);
}

static void sort_takes_strided_lanes(void **state) {
    double x[3 * 4] = {3, 1, 2, 0, 9, 8, 7, 6, 1, 2, 3, 4}, y[4 * 3];
    int64_t pos[4 * 3];
    gy_view t = F64(x, 4, 3); /* the transpose of x [3, 4] */
    t.stride[0] = 1;
    t.stride[1] = 4;
    run_kernel(*state, ref_sort_f64, ref_sort_scratch, &(gy_sort_attr){1, 0, 3}, 1, &t, 2,
               (gy_view[]){F64(y, 4, 3), I64(pos, 4, 3)});
    const double expected[] = {1, 3, 9, 1, 2, 8, 2, 3, 7, 0, 4, 6};
    assert_values(y, expected, 12);
    run_kernel(*state, ref_sort_f64, ref_sort_scratch, &(gy_sort_attr){0, 0, 4}, 1, &t, 2,
               (gy_view[]){F64(y, 4, 3), I64(pos, 4, 3)});
    const double columns[] = {0, 6, 1, 1, 7, 2, 2, 8, 3, 3, 9, 4};
    assert_values(y, columns, 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(gather_takes_slices_and_reads_zero_outside),
        TEST(gather_carries_integers_beyond_doubles),
        TEST(scatter_add_sums_equal_targets_and_ignores_outside),
        TEST(scatter_add_has_the_same_bits_for_any_number_of_threads),
        TEST(along_pair_is_take_along_axis_and_its_adjoint),
        TEST(segment_max_gives_value_and_first_position),
        TEST(sparse_products_match_the_dense_ones),
        TEST(hostile_row_bounds_stay_inside_the_entries),
        TEST(sort_is_stable_and_puts_nan_last_in_both_directions),
        TEST(top_k_is_the_head_of_the_descending_sort),
        TEST(sort_takes_strided_lanes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
