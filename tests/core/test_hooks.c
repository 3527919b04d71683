/* Hooks that put a mean, another row, or less of a subspace where a named value was: each is exact where exactness can
 * be had, and gradients pass. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "core/op.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 4, TOKENS = 3, IN = 5, D = 6, OUT = 2, COUNT = ROWS * TOKENS * OUT };

/* y = W2 tanh(tap(W1 x)), loss = |y|^2; each row and token by itself. */
typedef struct net {
    gy_ctx *ctx;
    gy_store *store;
    gy_graph *g;
    gy_plan *p;
} net;

static net open_net(gy_ctx *ctx, const gy_hook *hooks, int64_t n) {
    net t = {.ctx = ctx, .store = gy_store_new(ctx), .g = gy_graph_new(ctx)};
    gy_mod m = gy_mod_make(t.g, t.store, 5, false);
    m.hooks = hooks;
    m.n_hooks = n;
    gy_t x = gy_input(t.g, "x", GY_F32, GY_S(ROWS, TOKENS, IN));
    gy_t h = gy_tap(&m, "h", gy_nn_linear(&m, "first", x, D));
    gy_t y = gy_nn_linear(&m, "second", gy_tanh(h), OUT);
    gy_t loss = gy_sum(gy_square(y), GY_ALL), dx;
    gy_grad_zeros(loss, GY_NONE, 1, &x, &dx); /* a replaced value leaves no path to x */
    gy_output(y, "y");
    gy_output(loss, "loss");
    gy_output(dx, "dx");
    t.p = gy_compile(t.g, (gy_plan_args){0});
    if (!t.p) fail_msg("%s", gy_error(ctx));
    float *v = gy_plan_input(t.p, "x");
    for (int i = 0; v && i < ROWS * TOKENS * IN; i++) v[i] = (float)sin(1.7 * i + 0.3);
    return t;
}

static void close_net(net *t) {
    gy_plan_free(t->p);
    gy_graph_free(t->g);
    gy_store_free(t->store);
}

static const float *run(net *t, const char *name) {
    assert_ok(t->ctx, gy_plan_run(t->p));
    return gy_plan_output(t->p, name).data;
}

static float *operand(net *t, const char *name) {
    float *v = gy_plan_input(t->p, name);
    if (!v) fail_msg("no input '%s'", name);
    return v;
}

/* Two orthonormal columns Q [D, 2] */
static void fill_basis(float *q) {
    double a[D], b[D], aa = 0, ab = 0, bb = 0;
    for (int i = 0; i < D; i++) {
        a[i] = cos(i + 1.0);
        b[i] = sin(2.0 * i);
        aa += a[i] * a[i];
    }
    for (int i = 0; i < D; i++) ab += a[i] * b[i] / aa;
    for (int i = 0; i < D; i++) {
        b[i] -= ab * a[i];
        bb += b[i] * b[i];
    }
    for (int i = 0; i < D; i++) {
        q[2 * i] = (float)(a[i] / sqrt(aa));
        q[2 * i + 1] = (float)(b[i] / sqrt(bb));
    }
}

/* ---- means ---- */

static void a_mean_equals_replacing_by_its_copies_bit_for_bit(void **state) {
    static const int64_t kept[] = {1, 2, 0};
    for (int k = 0; k < 3; k++) {
        gy_hook mean = {"h", GY_HOOK_MEAN, .size = kept[k]}, replace = {"h", GY_HOOK_REPLACE};
        net a = open_net(*state, &mean, 1), b = open_net(*state, &replace, 1);
        float *m = operand(&a, "mean:h"), *r = operand(&b, "hook:h");
        int n = kept[k] == 1 ? D : TOKENS * D;
        for (int i = 0; i < n; i++) m[i] = (float)cos(i);
        for (int i = 0; i < ROWS * TOKENS * D; i++) r[i] = m[i % n];
        assert_memory_equal(run(&a, "y"), run(&b, "y"), COUNT * sizeof(float));
        const float *dx = gy_plan_output(a.p, "dx").data; /* nothing of x is left */
        for (int i = 0; i < ROWS * TOKENS * IN; i++) assert_true(dx[i] == 0);
        close_net(&a);
        close_net(&b);
    }
}

/* ---- other rows ---- */

static void rows_in_their_own_order_change_nothing_and_permuted_rows_permute(void **state) {
    static const int64_t order[2][ROWS] = {{0, 1, 2, 3}, {2, 2, 0, 1}};
    gy_hook hook = {"h", GY_HOOK_RESAMPLE};
    net plain = open_net(*state, NULL, 0), t = open_net(*state, &hook, 1);
    const float *want = run(&plain, "y");
    for (int k = 0; k < 2; k++) {
        memcpy(operand(&t, "rows:h"), order[k], sizeof order[k]);
        const float *have = run(&t, "y");
        for (int i = 0; i < ROWS; i++)
            assert_memory_equal(have + i * TOKENS * OUT, want + order[k][i] * TOKENS * OUT,
                                TOKENS * OUT * sizeof(float));
    }
    /* the gradient of a row that two others took is twice its own, of one that none took zero */
    const float *own = run(&plain, "dx"), *dx = run(&t, "dx");
    for (int i = 0; i < TOKENS * IN; i++) {
        assert_close(dx[2 * TOKENS * IN + i], 2 * (double)own[2 * TOKENS * IN + i], 1e-5);
        assert_true(dx[3 * TOKENS * IN + i] == 0);
    }
    close_net(&plain);
    close_net(&t);
}

/* ---- subspaces ---- */

static void what_is_projected_out_is_gone_and_the_rest_stays(void **state) {
    gy_hook hooks[] = {{"h", GY_HOOK_PROJECT_OUT, .size = 2}, {"h", GY_HOOK_READ}};
    gy_hook watch = {"h", GY_HOOK_READ};
    net plain = open_net(*state, &watch, 1), t = open_net(*state, hooks, 2);
    float *q = operand(&t, "basis:h"), *c = operand(&t, "centre:h");
    fill_basis(q);
    for (int i = 0; i < D; i++) c[i] = (float)(0.1 * i - 0.2);
    const float *before = run(&plain, "h"), *after = run(&t, "h");
    for (int r = 0; r < ROWS * TOKENS; r++) {
        double left[2] = {0}, removed[2] = {0};
        for (int k = 0; k < 2; k++)
            for (int i = 0; i < D; i++) {
                left[k] += (double)(after[r * D + i] - c[i]) * (double)q[2 * i + k];
                removed[k] += (double)(before[r * D + i] - c[i]) * (double)q[2 * i + k];
            }
        for (int k = 0; k < 2; k++) assert_close(left[k], 0.0, 1e-6);
        for (int i = 0; i < D; i++) {
            double rest = (double)before[r * D + i] - removed[0] * (double)q[2 * i] - removed[1] * (double)q[2 * i + 1];
            assert_close(after[r * D + i], rest, 1e-6);
        }
    }
    close_net(&plain);
    close_net(&t);
}

/* No subspace (Q of zeros), and one coordinate seen from zero. */
static void projecting_out_nothing_is_exact_and_one_coordinate_leaves_the_others_exact(void **state) {
    gy_hook hooks[] = {{"h", GY_HOOK_PROJECT_OUT}, {"h", GY_HOOK_READ}};
    gy_hook watch = {"h", GY_HOOK_READ};
    net plain = open_net(*state, &watch, 1), t = open_net(*state, hooks, 2);
    const float *before = run(&plain, "h"), *after = run(&t, "h");
    assert_memory_equal(after, before, ROWS * TOKENS * D * sizeof(float));
    operand(&t, "basis:h")[3] = 1;
    after = run(&t, "h");
    for (int i = 0; i < ROWS * TOKENS * D; i++) assert_true(after[i] == (i % D == 3 ? 0 : before[i]));
    close_net(&plain);
    close_net(&t);
}

static void gradients_through_hooks_match_finite_differences(void **state) {
    gy_hook hooks[] = {{"h", GY_HOOK_PROJECT_OUT, .size = 2}, {"h", GY_HOOK_RESAMPLE}, {"h", GY_HOOK_ADD}};
    net t = open_net(*state, hooks, 3);
    static const int64_t order[ROWS] = {1, 0, 3, 3};
    float *x = operand(&t, "x"), dx[ROWS * TOKENS * IN];
    fill_basis(operand(&t, "basis:h"));
    operand(&t, "centre:h")[1] = 0.3f;
    memcpy(operand(&t, "rows:h"), order, sizeof order);
    for (int i = 0; i < ROWS * TOKENS * D; i++) operand(&t, "hook:h")[i] = (float)(0.1 * cos(i));
    memcpy(dx, run(&t, "dx"), sizeof dx);
    for (int i = 0; i < ROWS * TOKENS * IN; i += 7) {
        float keep = x[i];
        x[i] = keep + 1e-2f;
        double up = *run(&t, "loss");
        x[i] = keep - 1e-2f;
        double down = *run(&t, "loss");
        x[i] = keep;
        assert_close(dx[i], (up - down) / 2e-2, 1e-3);
    }
    close_net(&t);
}

static void hooks_that_make_no_sense_are_refused_by_name(void **state) {
    static const gy_hook wrong[] = {{"h", GY_HOOK_PROJECT_OUT, .size = D + 1}, {"h", GY_HOOK_MEAN, .size = 4}};
    static const char *const said[] = {"hook on 'h': a subspace of 7 dimensions in 6", "the last 4 axes of 3"};
    for (int k = 0; k < 2; k++) {
        gy_graph *g = gy_graph_new(*state);
        gy_store *store = gy_store_new(*state);
        gy_mod m = gy_mod_make(g, store, 5, false);
        m.hooks = &wrong[k];
        m.n_hooks = 1;
        gy_tap(&m, "h", gy_input(g, "x", GY_F32, GY_S(ROWS, TOKENS, D)));
        assert_message(*state, gy_graph_status(g), said[k]);
        gy_error_clear(*state);
        gy_graph_free(g);
        gy_store_free(store);
    }
}

/* Marks are found in the graph by their full names, however often a layer is used, and change no bit. There are so many
 * that the graph's array of nodes moves while they are made. */
static void marks_name_values_and_change_nothing(void **state) {
    enum { TIMES = 3000 };
    gy_hook mark = {"*", GY_HOOK_MARK};
    net plain = open_net(*state, NULL, 0), marked = open_net(*state, &mark, 1);
    assert_memory_equal(run(&plain, "y"), run(&marked, "y"), COUNT * sizeof(float));
    close_net(&plain);
    close_net(&marked);
    gy_graph *g = gy_graph_new(*state);
    gy_store *store = gy_store_new(*state);
    gy_mod m = gy_mod_make(g, store, 5, false);
    m.hooks = &mark;
    m.n_hooks = 1;
    gy_t x = gy_input(g, "x", GY_F32, GY_S(D));
    gy_push(&m, "layer");
    for (int i = 0; i < TIMES; i++) x = gy_tap(&m, "h", gy_tanh(x));
    gy_pop(&m);
    assert_ok(*state, gy_graph_status(g));
    int named = 0;
    for (int32_t i = 1; i < g->n; i++) named += g->node[i]->tap && strcmp(g->node[i]->tap, "layer.h") == 0;
    assert_int_equal(named, TIMES);
    gy_graph_free(g);
    gy_store_free(store);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_mean_equals_replacing_by_its_copies_bit_for_bit),
        TEST(rows_in_their_own_order_change_nothing_and_permuted_rows_permute),
        TEST(what_is_projected_out_is_gone_and_the_rest_stays),
        TEST(projecting_out_nothing_is_exact_and_one_coordinate_leaves_the_others_exact),
        TEST(gradients_through_hooks_match_finite_differences),
        TEST(hooks_that_make_no_sense_are_refused_by_name),
        TEST(marks_name_values_and_change_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
