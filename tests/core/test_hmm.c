/* Hidden Markov chains: against all paths, sums that must hold, impossible sequences; the graph against the loop. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "core/linalg/linalg.h"
#include "core/rng.h"
#include "models/blocks/hmm.h"

#include <math.h>

enum { S = 3, T = 6, PATHS = 729 };

typedef struct chain {
    double start[S], move[S * S], emission[64 * S];
    gy_hmm h;
} chain;

static void draw(chain *c, uint64_t seed, int64_t steps) {
    gy_rng r;
    gy_rng_init(&r, seed, "hmm");
    for (int i = 0; i <= S; i++) {
        double *row = i < S ? c->move + i * S : c->start, sum = 0;
        for (int j = 0; j < S; j++) sum += row[j] = gy_rng_uniform(&r);
        for (int j = 0; j < S; j++) row[j] = log(row[j] / sum);
    }
    for (int64_t i = 0; i < steps * S; i++) c->emission[i] = 2 * gy_rng_normal(&r) - 3;
    c->h = (gy_hmm){S, c->start, c->move};
}

static double path_log_probability(const chain *c, const int64_t *z) {
    double p = c->start[z[0]] + c->emission[z[0]];
    for (int t = 1; t < T; t++) p += c->move[z[t - 1] * S + z[t]] + c->emission[t * S + z[t]];
    return p;
}

static void everything_equals_the_sum_over_all_paths(void **state) {
    gy_ctx *ctx = *state;
    chain c;
    double gamma[T * S], pairs[S * S], step[T], total, best, want_gamma[T * S] = {0}, want_pairs[S * S] = {0}, sum = 0,
                                                                            top = -INFINITY;
    int64_t path[T], top_path[T];
    draw(&c, 1, T);
    for (int64_t k = 0; k < PATHS; k++) {
        int64_t z[T], rest = k;
        for (int t = 0; t < T; t++, rest /= S) z[t] = rest % S;
        double p = path_log_probability(&c, z);
        if (p > top) {
            top = p;
            memcpy(top_path, z, sizeof z);
        }
        sum += exp(p);
        for (int t = 0; t < T; t++) {
            want_gamma[t * S + z[t]] += exp(p);
            if (t) want_pairs[z[t - 1] * S + z[t]] += exp(p);
        }
    }
    assert_ok(ctx, gy_la_hmm_posterior(ctx, &c.h, T, c.emission, gamma, pairs, step, &total));
    assert_close(total, log(sum), 1e-12);
    for (int i = 0; i < T * S; i++) assert_close(gamma[i], want_gamma[i] / sum, 1e-12);
    for (int i = 0; i < S * S; i++) assert_close(pairs[i], want_pairs[i] / sum, 1e-12);
    double steps = 0;
    for (int t = 0; t < T; t++) steps += step[t];
    assert_close(steps, total, 1e-12);
    assert_ok(ctx, gy_la_hmm_viterbi(ctx, &c.h, T, c.emission, path, &best));
    assert_close(best, top, 1e-12);
    assert_memory_equal(path, top_path, sizeof path);
}

static void sums_hold_over_a_long_chain(void **state) {
    enum { LONG = 60 };
    gy_ctx *ctx = *state;
    chain c;
    double gamma[LONG * S], pairs[S * S], row = 0, out = 0;
    draw(&c, 2, LONG);
    c.emission[30 * S] = -2000; /* far below what exp can hold */
    assert_ok(ctx, gy_la_hmm_posterior(ctx, &c.h, LONG, c.emission, gamma, pairs, NULL, NULL));
    for (int t = 0; t < LONG; t++) assert_close(gamma[t * S] + gamma[t * S + 1] + gamma[t * S + 2], 1, 1e-12);
    for (int j = 0; j < S; j++) row += pairs[S + j];
    for (int t = 0; t < LONG - 1; t++) out += gamma[t * S + 1];
    assert_close(row, out, 1e-12); /* moves out of state 1 = times in it before the last step */
}

static void impossible_sequences_and_nan_are_refused(void **state) {
    gy_ctx *ctx = *state;
    chain c;
    double total, best;
    int64_t path[T];
    draw(&c, 3, T);
    for (int j = 0; j < S; j++) c.emission[2 * S + j] = -INFINITY;
    assert_message(ctx, gy_la_hmm_posterior(ctx, &c.h, T, c.emission, NULL, NULL, NULL, &total), "no path of states");
    assert_message(ctx, gy_la_hmm_viterbi(ctx, &c.h, T, c.emission, path, &best), "no path of states");
    c.emission[2 * S] = -INFINITY, c.emission[2 * S + 1] = -1; /* one way through remains */
    assert_ok(ctx, gy_la_hmm_viterbi(ctx, &c.h, T, c.emission, path, &best));
    assert_int_equal(path[2], 1);
    c.emission[4] = NAN;
    assert_message(ctx, gy_la_hmm_posterior(ctx, &c.h, T, c.emission, NULL, NULL, NULL, &total),
                   "log_emission element 4 is");
    assert_message(ctx, gy_la_hmm_posterior(ctx, &c.h, 0, c.emission, NULL, NULL, NULL, &total), "1 step expected");
}

static void graph_of_prefix_products_equals_the_loop(void **state) {
    enum { LONG = 37 };
    gy_ctx *ctx = *state;
    for (int64_t t = 1; t <= LONG; t += 9) { /* 1, 10, 19, 28, 37 */
        chain c;
        double gamma[LONG * S], pairs[S * S], total;
        int64_t path[LONG];
        draw(&c, 10 + (uint64_t)t, t);
        assert_ok(ctx, gy_la_hmm_posterior(ctx, &c.h, t, c.emission, gamma, pairs, NULL, &total));
        assert_ok(ctx, gy_la_hmm_viterbi(ctx, &c.h, t, c.emission, path, NULL));
        gy_graph *g = gy_graph_new(ctx);
        gy_t e = gy_input(g, "e", GY_F64, GY_S(1, t, S)), a = gy_input(g, "a", GY_F64, GY_S(S, S)),
             s = gy_input(g, "s", GY_F64, GY_S(S)), grad[2];
        gy_hmm_nodes n = gy_hmm_infer(e, s, a);
        gy_grad_zeros(gy_sum(n.log_likelihood, GY_ALL), GY_NONE, 2, ((gy_t[]){e, a}), grad);
        gy_output(n.posterior, "gamma");
        gy_output(n.log_likelihood, "total");
        gy_output(n.path, "path");
        gy_output(grad[0], "de");
        gy_output(grad[1], "da");
        gy_plan *p = gy_compile(g, (gy_plan_args){0});
        if (!p) fail_msg("%s", gy_error(ctx));
        memcpy(gy_plan_input(p, "e"), c.emission, (size_t)(t * S) * sizeof(double));
        if (t > 1) memcpy(gy_plan_input(p, "a"), c.move, sizeof c.move); /* a single step makes no move */
        memcpy(gy_plan_input(p, "s"), c.start, sizeof c.start);
        assert_ok(ctx, gy_plan_run(p));
        gy_tensor have = gy_plan_output(p, "gamma"), de = gy_plan_output(p, "de"), da = gy_plan_output(p, "da"),
                  way = gy_plan_output(p, "path");
        assert_close(gy_plan_scalar(p, "total"), total, 1e-12);
        for (int64_t i = 0; i < t * S; i++) { /* the gradient by the emissions is the posterior itself */
            assert_close(gy_tensor_get(&have, i), gamma[i], 1e-11);
            assert_close(gy_tensor_get(&de, i), gamma[i], 1e-11);
        }
        for (int64_t i = 0; i < S * S; i++) assert_close(gy_tensor_get(&da, i), pairs[i], 1e-11);
        for (int64_t i = 0; i < t; i++) assert_int_equal((int64_t)gy_tensor_get(&way, i), path[i]);
        gy_plan_free(p);
        gy_graph_free(g);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(everything_equals_the_sum_over_all_paths),
        TEST(sums_hold_over_a_long_chain),
        TEST(impossible_sequences_and_nan_are_refused),
        TEST(graph_of_prefix_products_equals_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
