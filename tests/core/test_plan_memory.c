/* What plans keep in memory, and what they do not. */
#include "../harness/ops.h"

#include <math.h>
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
        TEST(the_live_set_adds_up_to_what_a_step_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
