/* The graph kit: edge lists, subgraphs, searches, lengths, sampling, generators. */
#include "../harness/harness.h"

#include "models/blocks/graph.h"

#include <math.h>
#include <stdlib.h>

static gy_csr make(gy_ctx *ctx, int64_t n, int64_t edges, const int64_t (*pair)[2], const double *weight) {
    int64_t s[64], t[64];
    gy_csr g;
    for (int64_t i = 0; i < edges; i++) s[i] = pair[i][0], t[i] = pair[i][1];
    assert_ok(ctx, gy_csr_from_edges(ctx, n, edges, s, t, weight, true, &g));
    return g;
}

static gy_csr ring(gy_ctx *ctx, int64_t n) {
    int64_t pair[64][2];
    for (int64_t i = 0; i < n; i++) pair[i][0] = i, pair[i][1] = (i + 1) % n;
    return make(ctx, n, n, (const int64_t(*)[2])pair, NULL);
}

static void edge_lists_become_sorted_rows_without_doubles(void **state) {
    static const int64_t pair[][2] = {{2, 0}, {0, 1}, {1, 0}, {3, 0}, {2, 0}};
    static const double weight[] = {5, 1, 2, 3, 4};
    static const int64_t first[] = {0, 3, 4, 5, 6, 6}, to[] = {1, 2, 3, 0, 0, 0};
    static const double length[] = {1, 4, 3, 1, 4, 3};
    gy_csr g = make(*state, 5, 5, pair, weight);
    assert_int_equal(g.nnz, 6);
    assert_memory_equal(g.indptr, first, sizeof first);
    assert_memory_equal(g.indices, to, sizeof to);
    assert_memory_equal(g.weight, length, sizeof length);
    assert_true(gy_csr_symmetric(&g));
    g.weight[0] = 7;
    assert_false(gy_csr_symmetric(&g));
    gy_csr_free(&g);
    int64_t s[] = {0, 1}, t[] = {1, 2};
    assert_ok(*state, gy_csr_from_edges(*state, 3, 2, s, t, NULL, false, &g));
    assert_false(gy_csr_symmetric(&g));
    gy_csr_free(&g);
}

static void bad_edges_are_named(void **state) {
    gy_ctx *ctx = *state;
    int64_t s[] = {0, 1, 2}, t[] = {1, 2, 3};
    double w[] = {1, -1, 1}, nan_[] = {NAN, 1, 1};
    gy_csr g;
    assert_message(ctx, gy_csr_from_edges(ctx, 3, 3, s, t, NULL, true, &g), "edge 2: no node 3; there are 0 to 2");
    t[1] = -1;
    assert_message(ctx, gy_csr_from_edges(ctx, 4, 3, s, t, NULL, true, &g), "edge 1: no node -1");
    t[1] = 2;
    assert_message(ctx, gy_csr_from_edges(ctx, 4, 3, s, t, w, true, &g), "edge 1: its length is -1");
    assert_message(ctx, gy_csr_from_edges(ctx, 4, 3, s, t, nan_, true, &g), "edge 0: its length is");
}

static void neighbourhoods_of_a_ring_grow_by_two(void **state) {
    gy_csr g = ring(*state, 12);
    gy_csr_search s;
    assert_ok(*state, gy_csr_search_new(&g, &s));
    for (int64_t h = 0; h <= 7; h++) {
        gy_csr_neighbourhood(&s, 3, h);
        assert_int_equal(s.count, h < 6 ? 2 * h + 1 : 12);
        for (int64_t i = 0; i < s.count; i++) {
            int64_t away = llabs(s.node[i] - 3);
            assert_int_equal(s.hop[i], away < 12 - away ? away : 12 - away);
            assert_int_equal(s.place[s.node[i]], i);
        }
        if (h < 6) assert_int_equal(s.place[9], -1);
    }
    gy_csr_search_free(&s);
    gy_csr_free(&g);
}

/* From 0: one long street to 4, or four short ones. With one hop the short way leaves the neighbourhood. */
static void eccentricity_stays_inside_the_neighbourhood(void **state) {
    static const int64_t pair[][2] = {{0, 4}, {0, 1}, {1, 2}, {2, 3}, {3, 4}};
    static const double weight[] = {10, 1, 1, 1, 1};
    gy_csr g = make(*state, 5, 5, pair, weight);
    double e[5];
    assert_ok(*state, gy_csr_eccentricity(&g, 1, e));
    assert_true(e[0] == 10 && e[2] == 1);
    assert_ok(*state, gy_csr_eccentricity(&g, 2, e));
    assert_true(e[0] == 4 && e[2] == 2);
    gy_csr_free(&g);
}

static void lengths_equal_floyd_warshall(void **state) {
    enum { N = 40 };
    gy_ctx *ctx = *state;
    int64_t s[3 * N], t[3 * N];
    double w[3 * N], d[N][N];
    gy_rng r;
    gy_csr g;
    gy_csr_search q;
    gy_rng_init(&r, 7, "floyd");
    for (int i = 0; i < 3 * N; i++) {
        s[i] = gy_rng_below(&r, N);
        t[i] = gy_rng_below(&r, N);
        w[i] = gy_rng_uniform(&r);
    }
    assert_ok(ctx, gy_csr_from_edges(ctx, N, 3 * N, s, t, w, true, &g));
    for (int i = 0; i < N; i++)
        for (int k = 0; k < N; k++) d[i][k] = i == k ? 0 : INFINITY;
    for (int i = 0; i < 3 * N; i++)
        if (w[i] < d[s[i]][t[i]]) d[s[i]][t[i]] = d[t[i]][s[i]] = s[i] == t[i] ? 0 : w[i];
    for (int k = 0; k < N; k++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) d[i][j] = fmin(d[i][j], d[i][k] + d[k][j]);
    assert_ok(ctx, gy_csr_search_new(&g, &q));
    for (int v = 0; v < N; v++) {
        gy_csr_neighbourhood(&q, v, N);
        gy_csr_lengths(&q);
        for (int64_t i = 0; i < q.count; i++) assert_close(q.length[i], d[v][q.node[i]], 1e-12);
    }
    gy_csr_search_free(&q);
    gy_csr_free(&g);
}

static void induced_subgraphs_are_renumbered(void **state) {
    static const int64_t pair[][2] = {{0, 1}, {1, 2}, {2, 3}, {3, 0}, {3, 4}};
    static const double weight[] = {1, 2, 3, 4, 5};
    static const int64_t node[] = {3, 0, 2}, to[] = {1, 2, 0, 0}, first[] = {0, 2, 3, 4};
    gy_csr g = make(*state, 5, 5, pair, weight), sub;
    assert_ok(*state, gy_csr_induced(&g, 3, node, &sub));
    assert_int_equal(sub.n, 3);
    assert_int_equal(sub.nnz, 4);
    assert_memory_equal(sub.indptr, first, sizeof first);
    assert_memory_equal(sub.indices, to, sizeof to);
    assert_true(sub.weight[0] == 4 && sub.weight[1] == 3 && sub.weight[3] == 3);
    gy_csr_free(&sub);
    gy_csr_free(&g);
}

static void largest_component_is_found(void **state) {
    static const int64_t pair[][2] = {{0, 1}, {2, 3}, {3, 5}, {6, 4}};
    gy_csr g = make(*state, 8, 4, pair, NULL);
    int64_t node[8], count;
    assert_ok(*state, gy_csr_largest_component(&g, node, &count));
    assert_int_equal(count, 3);
    assert_true(node[0] == 2 && node[1] == 3 && node[2] == 5);
    gy_csr_free(&g);
}

static void samples_are_different_neighbours_and_repeat(void **state) {
    enum { LEAVES = 9, FANOUT = 4 };
    gy_ctx *ctx = *state;
    int64_t pair[LEAVES][2], out[2 * FANOUT], again[2 * FANOUT], node[] = {0, 3}, seen[LEAVES + 1] = {0};
    for (int i = 0; i < LEAVES; i++) pair[i][0] = 0, pair[i][1] = i + 1;
    gy_csr g = make(ctx, LEAVES + 1, LEAVES, (const int64_t(*)[2])pair, NULL);
    for (int64_t step = 0; step < 900; step++) {
        assert_ok(ctx, gy_csr_sample(&g, 2, node, FANOUT, 5, step, out));
        for (int i = 0; i < FANOUT; i++) {
            assert_true(out[i] >= 1 && out[i] <= LEAVES);
            for (int k = 0; k < i; k++) assert_true(out[k] != out[i]);
            seen[out[i]]++;
        }
        assert_true(out[FANOUT] == 0 && out[FANOUT + 1] == -1);
    }
    for (int i = 1; i <= LEAVES; i++) assert_true(llabs(seen[i] - 400) < 60); /* 4 of 9, 900 times; sd 15 */
    assert_ok(ctx, gy_csr_sample(&g, 2, node, FANOUT, 5, 899, again));
    assert_memory_equal(out, again, sizeof out);
    gy_csr_free(&g);
}

static void classes_are_of_equal_size_and_break_ties_by_index(void **state) {
    static const double value[] = {3, 1, 1, 9, 1, 7};
    static const int64_t want[] = {1, 0, 0, 2, 1, 2};
    int64_t have[6];
    assert_ok(*state, gy_quantile_classes(*state, 6, value, 3, have));
    assert_memory_equal(have, want, sizeof want);
}

static void towns_are_connected_and_their_streets_short(void **state) {
    gy_ctx *ctx = *state;
    gy_rng r;
    gy_csr g;
    double *at;
    int64_t node[900], count;
    gy_rng_init(&r, 1, "town");
    assert_ok(ctx, gy_graph_town(ctx, &r, 30, 0.3, 0.2, &g, &at));
    assert_true(g.n > 800 && g.n <= 900);
    assert_true(gy_csr_symmetric(&g));
    assert_ok(ctx, gy_csr_largest_component(&g, node, &count));
    assert_int_equal(count, g.n);
    for (int64_t v = 0; v < g.n; v++) {
        assert_true(gy_csr_degree(&g, v) >= 1 && gy_csr_degree(&g, v) <= 4);
        for (int64_t e = g.indptr[v]; e < g.indptr[v + 1]; e++) {
            int64_t u = g.indices[e];
            assert_close(g.weight[e], hypot(at[2 * u] - at[2 * v], at[2 * u + 1] - at[2 * v + 1]), 1e-12);
            assert_true(g.weight[e] < 1.75);
        }
    }
    gy_free(ctx, at);
    gy_csr_free(&g);
}

static void communities_have_more_edges_inside(void **state) {
    gy_ctx *ctx = *state;
    gy_rng r;
    gy_csr g;
    int64_t inside = 0;
    gy_rng_init(&r, 2, "blocks");
    assert_ok(ctx, gy_graph_blocks(ctx, &r, 700, 7, 0.1, 0.005, &g));
    assert_true(gy_csr_symmetric(&g));
    for (int64_t v = 0; v < g.n; v++)
        for (int64_t e = g.indptr[v]; e < g.indptr[v + 1]; e++) inside += v % 7 == g.indices[e] % 7;
    /* 7 x 100 x 99 / 2 pairs inside at 0.1: 3465; 210,000 outside at 0.005: 1050 */
    assert_true(llabs(inside / 2 - 3465) < 250 && llabs((g.nnz - inside) / 2 - 1050) < 150);
    gy_csr_free(&g);
}

static void rewiring_keeps_degrees_and_changes_neighbours(void **state) {
    gy_ctx *ctx = *state;
    gy_rng r;
    gy_csr g, h;
    int64_t same = 0;
    double *at;
    gy_rng_init(&r, 3, "rewire");
    assert_ok(ctx, gy_graph_town(ctx, &r, 20, 0.3, 0.2, &g, &at));
    assert_ok(ctx, gy_graph_rewire(&r, &g, 20, &h));
    assert_memory_equal(g.indptr, h.indptr, (size_t)(g.n + 1) * sizeof *g.indptr);
    assert_true(gy_csr_symmetric(&h));
    for (int64_t e = 0; e < g.nnz; e++) same += g.indices[e] == h.indices[e];
    assert_true(same < g.nnz / 5);
    gy_free(ctx, at);
    gy_csr_free(&g);
    gy_csr_free(&h);
}

static void out_of_memory_leaks_nothing(void **state) {
    gy_ctx *ctx = *state;
    for (int64_t n = 1; n < 40; n++) {
        gy_rng r;
        gy_csr g = {0}, h = {0};
        double *at = NULL, e[100];
        gy_rng_init(&r, 4, "oom");
        gy_mem_fail_at(ctx, n);
        gy_status s = gy_graph_town(ctx, &r, 6, 0.3, 0.2, &g, &at);
        if (s == GY_OK) s = gy_csr_eccentricity(&g, 3, e);
        if (s == GY_OK) s = gy_graph_rewire(&r, &g, 2, &h);
        gy_mem_fail_at(ctx, 0);
        assert_true(s == GY_OK || s == GY_ERR_NOMEM);
        gy_csr_free(&g);
        gy_csr_free(&h);
        gy_free(ctx, at);
        gy_error_clear(ctx);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(edge_lists_become_sorted_rows_without_doubles),
        TEST(bad_edges_are_named),
        TEST(neighbourhoods_of_a_ring_grow_by_two),
        TEST(eccentricity_stays_inside_the_neighbourhood),
        TEST(lengths_equal_floyd_warshall),
        TEST(induced_subgraphs_are_renumbered),
        TEST(largest_component_is_found),
        TEST(samples_are_different_neighbours_and_repeat),
        TEST(classes_are_of_equal_size_and_break_ties_by_index),
        TEST(towns_are_connected_and_their_streets_short),
        TEST(communities_have_more_edges_inside),
        TEST(rewiring_keeps_degrees_and_changes_neighbours),
        TEST(out_of_memory_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
