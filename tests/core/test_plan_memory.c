/* What plans keep in memory, and what they do not. */
#include "../harness/ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int64_t steps_of(const gy_plan *p, const char *op) {
    int64_t n = 0;
    for (int64_t i = 0; i < gy_plan_report(p).steps; i++) n += strcmp(gy_plan_step(p, i).op, op) == 0;
    return n;
}

/* A table that is read by row and as a matrix: its two gradients are summed where one of them lies. */
static void the_gradient_of_tied_embeddings_exists_once(void **state) {
    enum { V = 301, D = 24, N = 9 };
    static float value[2][V * D];
    int64_t bytes[2];
    for (int off = 0; off < 2; off++) {
        gy_graph *g = gy_graph_new(*state);
        gy_t w = gy_input(g, "w", GY_F32, GY_S(V, D)), ids = gy_input(g, "ids", GY_I64, GY_S(N)), gw;
        gy_t h = gy_tanh(gy_embedding(w, ids));
        gy_grad(gy_cross_entropy(gy_matmul(h, w, .trans_b = true), ids), GY_NONE, 1, &w, &gw);
        gy_output(gy_sum(gy_square(gw), GY_ALL), "norm");
        gy_output(gw, "gw");
        gy_plan *p = gy_compile(g, (gy_plan_args){.off = off ? GY_PASS_EPILOGUE : 0});
        assert_non_null(p);
        float *data = gy_plan_input(p, "w");
        int64_t *t = gy_plan_input(p, "ids");
        for (int i = 0; i < V * D; i++) data[i] = (float)cos(2.3 * i);
        for (int i = 0; i < N; i++) t[i] = i % 4 * 71; /* some twice */
        assert_ok(*state, gy_plan_run(p));
        memcpy(value[off], gy_plan_output(p, "gw").data, sizeof value[off]);
        bytes[off] = gy_plan_report(p).sum_bytes;
        assert_int_equal(steps_of(p, "scatter_onto"), !off);
        assert_int_equal(steps_of(p, "scatter_add"), off);
        gy_plan_free(p);
        gy_graph_free(g);
    }
    assert_true(bytes[1] - bytes[0] >= V * D * 4);
    for (int i = 0; i < V * D; i++) assert_close(value[0][i], value[1][i], 1e-6);
}

/* A perceptron of six blocks with norms; the sums of its gradients' squares go to sum. */
static gy_plan_info run_blocks(gy_ctx *ctx, uint32_t off, int64_t hidden, double sum[12], int64_t *again) {
    enum { N = 512, D = 512, DEPTH = 6 };
    gy_graph *g = gy_graph_new(ctx);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(N, D)), ones = gy_input(g, "ones", GY_F32, GY_S(D)), h = x;
    gy_t w[2 * DEPTH], gw[2 * DEPTH];
    char name[16];
    for (int i = 0; i < 2 * DEPTH; i++) {
        snprintf(name, sizeof name, "w%d", i);
        w[i] = gy_input(g, name, GY_F32, i % 2 ? GY_S(hidden, D) : GY_S(D, hidden));
    }
    for (int i = 0; i < DEPTH; i++)
        h = gy_add(h, gy_matmul(gy_gelu(gy_matmul(gy_layernorm(h, ones, ones), w[2 * i])), w[2 * i + 1]));
    gy_grad(gy_mean(gy_square(h), GY_ALL), GY_NONE, 2 * DEPTH, w, gw);
    for (int i = 0; i < 2 * DEPTH; i++) {
        snprintf(name, sizeof name, "g%d", i);
        gy_output(gy_sum(gy_square(gw[i]), GY_ALL), name);
    }
    gy_plan *p = gy_compile(g, (gy_plan_args){.off = off});
    if (!p) fail_msg("%s", gy_error(ctx));
    assert_true(gy_plan_verify(p));
    gy_tensor t;
    for (int64_t i = 0; gy_plan_input_at(p, i, &t); i++)
        for (int64_t e = 0; e < gy_shape_count(t.shape); e++)
            ((float *)t.data)[e] = (float)cos(2.3 * (double)(e + i)) / 8;
    assert_ok(ctx, gy_plan_run(p));
    for (int i = 0; i < 2 * DEPTH; i++) {
        snprintf(name, sizeof name, "g%d", i);
        sum[i] = gy_plan_scalar(p, name);
        assert_true(sum[i] > 0);
    }
    gy_plan_info info = gy_plan_report(p);
    *again = 0;
    for (int64_t i = 0; i < info.steps; i++) *again += gy_plan_step(p, i).again;
    gy_plan_free(p);
    gy_graph_free(g);
    return info;
}

static void cheap_values_at_the_peak_are_made_again_and_no_bit_changes(void **state) {
    double kept[12], again[12];
    int64_t none, some;
    gy_plan_info a = run_blocks(*state, GY_PASS_AGAIN, 512, kept, &none);
    gy_plan_info b = run_blocks(*state, 0, 512, again, &some);
    assert_int_equal(none, 0);
    assert_in_range(some, 1, 12);
    printf("# %d values made again: %d bytes instead of %d\n", (int)some, (int)b.arena_bytes, (int)a.arena_bytes);
    assert_true(a.arena_bytes - b.arena_bytes >= 2 * 512 * 512 * 4);
    assert_true(b.bytes - a.bytes < a.flops / 1000);
    assert_memory_equal(kept, again, sizeof kept);
}

static void where_work_is_small_nothing_is_made_again(void **state) {
    double sum[12];
    int64_t again;
    run_blocks(*state, 0, 8, sum, &again); /* the norms' traffic would be a tenth of the step's */
    assert_int_equal(again, 0);
}

static void the_live_set_adds_up_to_what_a_step_needs(void **state) {
    gy_graph *g = gy_graph_new(*state);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(32, 16)), h = x;
    for (int i = 0; i < 3; i++) h = gy_softmax(gy_matmul(h, h, .trans_b = true), -1);
    gy_output(gy_sum(h, GY_ALL), "y");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    assert_non_null(p);
    gy_plan_info info = gy_plan_report(p);
    int64_t most = 0;
    for (int64_t i = 0; i < info.steps; i++) {
        gy_plan_live_info list[16];
        int64_t n = gy_plan_live(p, i, list, 16), sum = 0;
        assert_in_range(n, 1, 16);
        for (int64_t k = 0; k < n; k++) {
            assert_true(list[k].first <= i && i <= list[k].last);
            sum += (list[k].bytes + 63) / 64 * 64;
        }
        assert_int_equal(sum, gy_plan_step(p, i).live_bytes);
        most = sum > most ? sum : most;
    }
    assert_int_equal(most, info.lower_bound);
    gy_plan_free(p);
    gy_graph_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_gradient_of_tied_embeddings_exists_once),
        TEST(cheap_values_at_the_peak_are_made_again_and_no_bit_changes),
        TEST(where_work_is_small_nothing_is_made_again),
        TEST(the_live_set_adds_up_to_what_a_step_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
