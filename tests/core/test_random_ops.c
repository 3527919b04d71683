/* Random operators in graphs: what a mask depends on, and what flows back through it. */
#include "../harness/harness.h"

#include "core/gyrus.h"

#include <math.h>
#include <stdlib.h>

enum { N = 4096 };

static gy_plan *compile(gy_graph *g, uint64_t seed, uint64_t step) {
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    if (!p) fail_msg("%s", gy_error(gy_graph_ctx(g)));
    gy_plan_set_rng(p, seed, step);
    return p;
}
static void run(gy_ctx *ctx, gy_plan *p) {
    assert_ok(ctx, gy_plan_run(p));
}
static const float *output(gy_plan *p, const char *name) {
    return gy_plan_output(p, name).data;
}

/* Dropout of ones in scope block<which>, after `extra` other draws elsewhere; the mask in y. */
static void mask_of(gy_ctx *ctx, const char *scope, const char *name, int extra, int use, uint64_t step, float *y) {
    gy_graph *g = gy_graph_new(ctx);
    gy_t one = gy_full(g, GY_F32, GY_S(N), 1), m = GY_NONE;
    gy_scope_push(g, "elsewhere");
    for (int i = 0; i < extra; i++) gy_output(gy_dropout(one, name, 0.5), i ? "e1" : "e0");
    gy_scope_pop(g);
    gy_scope_push(g, scope);
    for (int i = 0; i <= use; i++) m = gy_dropout(one, name, 0.5);
    gy_scope_pop(g);
    gy_output(m, "m");
    gy_plan *p = compile(g, 3, step);
    run(ctx, p);
    memcpy(y, output(p, "m"), sizeof(float) * N);
    gy_plan_free(p);
    gy_graph_free(g);
}

static void a_mask_depends_on_scope_name_use_and_step_alone(void **state) {
    static float base[N], same[N], other[N];
    gy_ctx *ctx = *state;
    mask_of(ctx, "block0", "drop", 0, 0, 0, base);
    mask_of(ctx, "block0", "drop", 2, 0, 0, same); /* an edit elsewhere */
    assert_memory_equal(base, same, sizeof base);
    mask_of(ctx, "block1", "drop", 0, 0, 0, other);
    assert_memory_not_equal(base, other, sizeof base);
    mask_of(ctx, "block0", "drop2", 0, 0, 0, other);
    assert_memory_not_equal(base, other, sizeof base);
    mask_of(ctx, "block0", "drop", 0, 1, 0, other); /* the second of that name */
    assert_memory_not_equal(base, other, sizeof base);
    mask_of(ctx, "block0", "drop", 0, 0, 1, other);
    assert_memory_not_equal(base, other, sizeof base);
    int kept = 0;
    for (int i = 0; i < N; i++) {
        assert_true(base[i] == 0 || base[i] == 2);
        kept += base[i] != 0;
    }
    assert_true(abs(kept - N / 2) < 6 * 32); /* six standard deviations */
}

static void dropout_gradient_reuses_the_mask(void **state) {
    gy_ctx *ctx = *state;
    for (int recompute = 0; recompute < 2; recompute++) {
        gy_graph *g = gy_graph_new(ctx);
        gy_t x = gy_full(g, GY_F32, GY_S(N), 1), gx;
        if (recompute) gy_recompute_begin(g);
        gy_t y = gy_dropout(gy_exp(x), NULL, 0.25);
        gy_t z = gy_exp(y);
        if (recompute) gy_recompute_end(g);
        gy_grad(gy_sum(z, GY_ALL), GY_NONE, 1, &x, &gx);
        gy_output(y, "y");
        gy_output(gx, "gx");
        gy_plan *p = compile(g, 1, 1);
        run(ctx, p);
        for (int i = 0; i < N; i++) {
            float v = output(p, "y")[i];
            assert_close(output(p, "gx")[i], exp(v) * v, 1e-5); /* d e^(m e^x) / dx = e^y y */
        }
        gy_plan_free(p);
        gy_graph_free(g);
    }
}

static void shared_dropout_drops_whole_samples_and_channels(void **state) {
    gy_ctx *ctx = *state;
    gy_graph *g = gy_graph_new(ctx);
    gy_t x = gy_full(g, GY_F32, GY_S(32, 3, 8), 1);
    gy_output(gy_dropout_shared(x, "path", 0.5, 1, false), "sample");
    gy_output(gy_dropout_shared(x, "channel", 0.5, 1, true), "channel");
    gy_plan *p = compile(g, 1, 1);
    run(ctx, p);
    const float *s = output(p, "sample"), *c = output(p, "channel");
    int dropped = 0, differ = 0;
    for (int b = 0; b < 32; b++) {
        dropped += s[b * 24] == 0;
        for (int i = 0; i < 24; i++) {
            assert_true(s[b * 24 + i] == s[b * 24]);
            assert_true(c[b * 24 + i] == c[b * 24 + i % 8]);
            differ += c[b * 24 + i] != c[b * 24];
        }
    }
    assert_true(dropped > 4 && dropped < 28 && differ > 0);
    gy_plan_free(p);
    gy_graph_free(g);
}

static void every_tier_draws_the_same_bits(void **state) {
    gy_ctx *ctx = *state;
    static const double p[] = {0, 1e-12, 0.1, 0.5, 0.7312345, 1};
    static float first[8][N + 3];
    for (int tier = 0; tier < GY_ISA_COUNT; tier++) {
        if (!(gy_ctx_isa_mask(ctx) >> tier & 1)) continue;
        gy_graph *g = gy_graph_new(ctx);
        for (int i = 0; i < 8; i++) {
            char name[2] = {(char)('a' + i), 0};
            gy_shape s = GY_S(N + 3);
            gy_t y = i < 6   ? gy_random_bernoulli(g, name, GY_F32, s, p[i])
                     : i < 7 ? gy_random_uniform(g, name, GY_F32, s, -1, 3)
                             : gy_random_uniform(g, name, GY_F32, s, 16777215, 16777216);
            gy_output(y, name);
        }
        gy_plan *plan = gy_compile(g, (gy_plan_args){.isa_mask = (UINT64_C(2) << tier) - 1});
        assert_non_null(plan);
        gy_plan_set_rng(plan, 6, 7);
        run(ctx, plan);
        for (int i = 0; i < 8; i++) {
            const float *y = output(plan, (char[]){(char)('a' + i), 0});
            if (tier == 0) memcpy(first[i], y, sizeof first[i]);
            assert_memory_equal(first[i], y, sizeof first[i]);
        }
        gy_plan_free(plan);
        gy_graph_free(g);
    }
    for (int i = 0; i < N + 3; i++) assert_true(first[7][i] == 16777215); /* rounding does not reach the open end */
}

static void no_dropout_is_the_value_itself(void **state) {
    gy_graph *g = gy_graph_new(*state);
    gy_t x = gy_full(g, GY_F32, GY_S(3), 1), y = gy_dropout(x, "d", 0);
    assert_true(y.id == x.id);
    gy_dropout(x, "d", 1.5);
    assert_message(*state, gy_graph_status(g), "dropout: p = 1.5 outside [0, 1]");
    gy_graph_free(g);
}

/* Pearson's statistic of counts against shares. */
static double chi2(const int64_t *count, const double *share, int k, double n) {
    double s = 0;
    for (int i = 0; i < k; i++)
        s += ((double)count[i] - n * share[i]) * ((double)count[i] - n * share[i]) / (n * share[i]);
    return s;
}

static void categorical_and_below_follow_their_shares(void **state) {
    gy_ctx *ctx = *state;
    enum { M = 20000 };
    const double share[4] = {0.1, 0.2, 0.3, 0.4}, even[7] = {1 / 7., 1 / 7., 1 / 7., 1 / 7., 1 / 7., 1 / 7., 1 / 7.};
    float logits[4];
    for (int i = 0; i < 4; i++) logits[i] = (float)log(share[i]) + 3;
    gy_graph *g = gy_graph_new(ctx);
    gy_tensor t = {GY_F32, GY_S(1, 4), logits, true};
    gy_output(gy_categorical(gy_broadcast_to(gy_const(g, &t), GY_S(M, 4)), "class"), "class");
    gy_output(gy_random_below(g, "t", GY_S(M), 7), "below");
    gy_output(gy_bernoulli(gy_full(g, GY_F32, GY_S(M), 0.25), "coin"), "coin");
    gy_plan *p = compile(g, 9, 9);
    run(ctx, p);
    const int64_t *class = gy_plan_output(p, "class").data, *below = gy_plan_output(p, "below").data;
    int64_t n_class[4] = {0}, n_below[7] = {0};
    double heads = 0;
    for (int i = 0; i < M; i++) {
        assert_in_range(class[i], 0, 3);
        assert_in_range(below[i], 0, 6);
        n_class[class[i]]++;
        n_below[below[i]]++;
        heads += output(p, "coin")[i];
    }
    assert_true(chi2(n_class, share, 4, M) < 16.3); /* probability 0.001 each */
    assert_true(chi2(n_below, even, 7, M) < 22.5);
    assert_true(fabs(heads / M - 0.25) < 6 * sqrt(0.25 * 0.75 / M));
    gy_plan_free(p);
    gy_graph_free(g);
}

static void hard_gumbel_softmax_is_one_hot_with_the_soft_gradient(void **state) {
    gy_ctx *ctx = *state;
    enum { R = 64, K = 5 };
    static float grad[2][R * K];
    for (int hard = 0; hard < 2; hard++) {
        gy_graph *g = gy_graph_new(ctx);
        gy_t x = gy_random_normal(g, "x", GY_F32, GY_S(R, K)), gx, w = gy_random_normal(g, "w", GY_F32, GY_S(R, K));
        gy_t y = gy_gumbel_softmax(x, "gumbel", 0.7, hard);
        gy_grad(gy_sum(gy_mul(y, w), GY_ALL), GY_NONE, 1, &x, &gx);
        gy_output(y, "y");
        gy_output(gx, "gx");
        gy_plan *p = compile(g, 4, 4);
        run(ctx, p);
        memcpy(grad[hard], output(p, "gx"), sizeof grad[hard]);
        for (int r = 0; r < R; r++) {
            double sum = 0, top = 0;
            for (int k = 0; k < K; k++) {
                sum += output(p, "y")[r * K + k];
                top = fmax(top, output(p, "y")[r * K + k]);
            }
            assert_close(sum, 1, 1e-6);
            if (hard) assert_close(top, 1, 1e-6);
        }
        gy_plan_free(p);
        gy_graph_free(g);
    }
    for (int i = 0; i < R * K; i++) assert_close(grad[0][i], grad[1][i], 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_mask_depends_on_scope_name_use_and_step_alone),
        TEST(dropout_gradient_reuses_the_mask),
        TEST(shared_dropout_drops_whole_samples_and_channels),
        TEST(every_tier_draws_the_same_bits),
        TEST(no_dropout_is_the_value_itself),
        TEST(categorical_and_below_follow_their_shares),
        TEST(hard_gumbel_softmax_is_one_hot_with_the_soft_gradient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
