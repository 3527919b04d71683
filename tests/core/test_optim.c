/* Training steps: optimizer, clipping, groups, averages, schedules, against PyTorch (tests/golden/optim.py). */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "core/optim.h"

#include <math.h>

#include "../golden/optim.inc"

/* y = x w^T + b on five samples, as in the script. */
typedef struct {
    gy_graph *g;
    gy_store *store;
    gy_state *w, *b;
    gy_t loss;
} problem;

static gy_t constant(gy_graph *g, gy_dtype dtype, gy_shape shape, double (*f)(int64_t i)) {
    gy_tensor t;
    assert_ok(gy_graph_ctx(g), gy_tensor_new(gy_graph_ctx(g), &t, dtype, shape));
    for (int64_t i = 0; i < gy_shape_count(shape); i++) gy_tensor_set(&t, i, f(i));
    gy_t c = gy_const(g, &t);
    gy_tensor_free(gy_graph_ctx(g), &t);
    return c;
}
static double x_of(int64_t i) {
    return sin(1.0 + 3 * (double)(i / 3) + (double)(i % 3));
}
static double y_of(int64_t i) {
    return 2 * cos(2.0 * (double)(i / 2) + 0.5 * (double)(i % 2));
}

static void build_loss(problem *p, gy_ctx *ctx) {
    p->g = gy_graph_new(ctx);
    gy_t x = constant(p->g, GY_F64, GY_S(5, 3), x_of), y = constant(p->g, GY_F64, GY_S(5, 2), y_of);
    /* the two reads lie in scopes of their own, as layers make them */
    gy_scope_push(p->g, "layer");
    gy_t w = gy_read(p->g, p->w), b = gy_read(p->g, p->b);
    gy_scope_pop(p->g);
    p->loss = gy_mean(gy_square(gy_sub(gy_linear(x, w, b), y)), GY_ALL);
    gy_output(p->loss, "loss");
}

static problem begin(gy_ctx *ctx) {
    problem p = {.store = gy_store_new(ctx)};
    p.w = gy_state_get(p.store, "layer.weight", GY_PARAM, GY_F64, GY_S(2, 3), (gy_init){0}, 0);
    p.b = gy_state_get(p.store, "layer.bias", GY_PARAM, GY_F64, GY_S(2), (gy_init){0}, 0);
    for (int64_t i = 0; i < 6; i++) gy_tensor_set(&p.w->value, i, cos(0.9 * (double)i));
    build_loss(&p, ctx);
    return p;
}
static void end(problem *p) {
    gy_graph_free(p->g);
    gy_store_free(p->store);
}

static const gy_schedule cosine = {GY_SCHEDULE_COSINE, .lr = 0.03, .warmup = 3, .total = 10, .min = 0.003};
static const gy_optim_group bias_faster = {"layer.bias", .lr_factor = 2};

static gy_optim adamw(problem *p) {
    gy_optim o = gy_optim_adamw(p->g, p->store, p->loss, .weight_decay = 0.1, .decays = gy_decays_matrices,
                                .clip_norm = 0.5, .ema = 0.9, .n_groups = 1, .groups = &bias_faster);
    gy_output(o.norm, "norm");
    return o;
}

static void step(gy_ctx *ctx, gy_plan *plan, double lr) {
    *(double *)gy_plan_input(plan, "lr") = lr;
    assert_ok(ctx, gy_plan_run(plan));
}

static void ten_training_steps_match_pytorch(void **state) {
    gy_ctx *ctx = *state;
    problem p = begin(ctx);
    assert_int_equal(adamw(&p).n, 2);
    gy_plan *plan = gy_compile(p.g, (gy_plan_args){0});
    assert_ok(ctx, gy_graph_status(p.g));
    assert_non_null(plan);
    for (int64_t t = 0; t < 10; t++) {
        step(ctx, plan, gy_schedule_lr(&cosine, t));
        assert_close(gy_plan_scalar(plan, "loss"), golden_losses[t], 1e-12);
        assert_close(gy_plan_scalar(plan, "norm"), golden_norms[t], 1e-12);
    }
    gy_state *ema = gy_state_find(p.store, "layer.weight.ema");
    for (int64_t i = 0; i < 6; i++) {
        assert_close(gy_tensor_get(&p.w->value, i), golden_w[i], 1e-12);
        assert_close(gy_tensor_get(&ema->value, i), golden_ema_w[i], 1e-12);
    }
    for (int64_t i = 0; i < 2; i++) assert_close(gy_tensor_get(&p.b->value, i), golden_b[i], 1e-12);
    assert_int_equal(*(int64_t *)gy_state_find(p.store, "optim.step")->value.data, 10);
    gy_plan_free(plan);
    end(&p);
}

/* A second plan over the same store goes on where the first stopped. */
static void the_store_holds_all_that_a_step_needs(void **state) {
    gy_ctx *ctx = *state;
    problem p = begin(ctx);
    for (int64_t half = 0; half < 2; half++) {
        if (half) build_loss(&p, ctx);
        adamw(&p);
        gy_plan *plan = gy_compile(p.g, (gy_plan_args){0});
        assert_non_null(plan);
        for (int64_t t = 5 * half; t < 5 * half + 5; t++) step(ctx, plan, gy_schedule_lr(&cosine, t));
        gy_plan_free(plan);
        if (!half) gy_graph_free(p.g);
    }
    for (int64_t i = 0; i < 6; i++) assert_close(gy_tensor_get(&p.w->value, i), golden_w[i], 1e-12);
    end(&p);
}

static void plans_with_and_without_passes_train_to_the_same_bits(void **state) {
    gy_ctx *ctx = *state;
    double w[2][6];
    for (int off = 0; off < 2; off++) {
        problem p = begin(ctx);
        adamw(&p);
        gy_plan *plan =
            gy_compile(p.g, (gy_plan_args){.off = off ? GY_PASS_FOLD | GY_PASS_INPLACE | GY_PASS_OFFSETS : 0});
        assert_non_null(plan);
        assert_true(gy_plan_verify(plan));
        for (int64_t t = 0; t < 5; t++) step(ctx, plan, 0.02);
        memcpy(w[off], p.w->value.data, sizeof w[off]);
        gy_plan_free(plan);
        end(&p);
    }
    assert_memory_equal(w[0], w[1], sizeof w[0]);
}

static void frozen_and_foreign_parameters_stay(void **state) {
    gy_ctx *ctx = *state;
    problem p = begin(ctx);
    gy_state *other = gy_state_get(p.store, "other.weight", GY_PARAM, GY_F64, GY_S(3), (gy_init){GY_INIT_ONES, 0}, 0);
    p.w->frozen = true;
    double before = gy_tensor_get(&p.w->value, 1);
    gy_optim o = gy_optim_sgd(p.g, p.store, p.loss, .momentum = 0.9);
    assert_int_equal(o.n, 1);
    assert_true(gy_is_none(o.norm));
    gy_plan *plan = gy_compile(p.g, (gy_plan_args){0});
    assert_non_null(plan);
    step(ctx, plan, 0.1);
    assert_true(gy_tensor_get(&p.w->value, 1) == before && gy_tensor_get(&other->value, 0) == 1);
    assert_true(gy_tensor_get(&p.b->value, 0) != 0);
    assert_null(gy_state_find(p.store, "layer.weight.sgd_m"));
    assert_non_null(gy_state_find(p.store, "layer.bias.sgd_m"));
    gy_plan_free(plan);
    end(&p);
}

static void a_prefix_or_a_group_leaves_parameters_out(void **state) {
    gy_ctx *ctx = *state;
    problem p = begin(ctx);
    gy_optim_group none = {"layer.bias", .lr_factor = GY_OPTIM_NONE};
    assert_int_equal(gy_optim_lion(p.g, p.store, p.loss, .n_groups = 1, .groups = &none).n, 1);
    assert_ok(ctx, gy_graph_status(p.g));
    end(&p);
    p = begin(ctx);
    assert_int_equal(gy_optim_adam(p.g, p.store, p.loss, "layer.w").n, 1);
    assert_ok(ctx, gy_graph_status(p.g));
    end(&p);
}

static void a_parameter_read_in_two_scopes_gets_the_whole_gradient(void **state) {
    gy_ctx *ctx = *state;
    gy_store *store = gy_store_new(ctx);
    gy_graph *g = gy_graph_new(ctx);
    gy_state *w = gy_state_get(store, "w", GY_PARAM, GY_F64, GY_S0, (gy_init){GY_INIT_CONSTANT, 3}, 0);
    gy_scope_push(g, "a");
    gy_t a = gy_read(g, w);
    gy_scope_pop(g);
    gy_t b = gy_scale(gy_read(g, w), 5);
    gy_optim_sgd(g, store, gy_add(gy_square(a), b)); /* d/dw (w^2 + 5 w) = 11 */
    gy_plan *plan = gy_compile(g, (gy_plan_args){0});
    assert_non_null(plan);
    step(ctx, plan, 0.1);
    assert_close(gy_tensor_get(&w->value, 0), 3 - 1.1, 1e-15);
    gy_plan_free(plan);
    gy_graph_free(g);
    gy_store_free(store);
}

static void two_optimizers_share_a_graph_under_two_names(void **state) {
    gy_ctx *ctx = *state;
    problem p = begin(ctx);
    gy_optim_adam(p.g, p.store, p.loss, "layer.weight", .name = "slow");
    gy_optim_sgd(p.g, p.store, p.loss, "layer.bias", .name = "fast", .lr = "bias_lr");
    gy_plan *plan = gy_compile(p.g, (gy_plan_args){0});
    assert_non_null(plan);
    *(double *)gy_plan_input(plan, "bias_lr") = 0;
    double before = gy_tensor_get(&p.w->value, 0);
    for (int t = 0; t < 3; t++) step(ctx, plan, 0.01);
    assert_true(gy_tensor_get(&p.w->value, 0) != before && gy_tensor_get(&p.b->value, 0) == 0);
    assert_int_equal(*(int64_t *)gy_state_find(p.store, "slow.step")->value.data, 3);
    assert_int_equal(*(int64_t *)gy_state_find(p.store, "fast.step")->value.data, 3);
    gy_plan_free(plan);
    end(&p);
}

static void wrong_losses_are_named(void **state) {
    gy_ctx *ctx = *state;
    problem p = begin(ctx);
    gy_optim_sgd(p.g, p.store, gy_read(p.g, p.w));
    assert_message(ctx, gy_graph_status(p.g), "the loss has shape [2, 3], expected a scalar");
    end(&p);
    p = begin(ctx);
    gy_optim_sgd(p.g, p.store, p.loss, "encoder");
    assert_message(ctx, gy_graph_status(p.g), "depends on no unfrozen parameter named encoder");
    end(&p);
}

static void every_failed_allocation_is_reported(void **state) {
    gy_ctx *ctx = *state;
    for (int64_t n = 1;; n++) {
        problem p = begin(ctx);
        gy_mem_fail_at(ctx, n);
        adamw(&p);
        gy_mem_fail_at(ctx, 0);
        gy_status s = gy_graph_status(p.g);
        end(&p);
        if (s == GY_OK) break;
        assert_true(n < 200);
    }
}

static void schedules_pass_through_their_points(void **state) {
    (void)state;
    gy_schedule flat = {.lr = 0.2, .warmup = 4};
    assert_close(gy_schedule_lr(&flat, 0), 0.05, 1e-15);
    assert_close(gy_schedule_lr(&flat, 3), 0.2, 1e-15);
    assert_close(gy_schedule_lr(&flat, 1000), 0.2, 1e-15);
    gy_schedule line = {GY_SCHEDULE_LINEAR, .lr = 1, .warmup = 10, .total = 30, .min = 0.2};
    assert_close(gy_schedule_lr(&line, 10), 1, 1e-15);
    assert_close(gy_schedule_lr(&line, 20), 0.6, 1e-15);
    assert_close(gy_schedule_lr(&line, 99), 0.2, 1e-15);
    gy_schedule half = {GY_SCHEDULE_COSINE, .lr = 1, .total = 100};
    assert_close(gy_schedule_lr(&half, 0), 1, 1e-15);
    assert_close(gy_schedule_lr(&half, 50), 0.5, 1e-15);
    assert_close(gy_schedule_lr(&half, 100), 0, 1e-15);
    gy_schedule stairs = {GY_SCHEDULE_STEP, .lr = 1, .every = 7, .gamma = 0.5};
    assert_close(gy_schedule_lr(&stairs, 6), 1, 1e-15);
    assert_close(gy_schedule_lr(&stairs, 7), 0.5, 1e-15);
    assert_close(gy_schedule_lr(&stairs, 21), 0.125, 1e-15);
}

static void one_cycle_matches_pytorch(void **state) {
    (void)state;
    gy_schedule s = {GY_SCHEDULE_ONE_CYCLE, .lr = 0.4, .total = 20, .pct_start = 0.25, .div = 10, .final_div = 100};
    for (int64_t t = 0; t < 20; t++) assert_close(gy_schedule_lr(&s, t), golden_one_cycle[t], 1e-14);
    assert_close(gy_schedule_lr(&s, 50), golden_one_cycle[19], 1e-14);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(ten_training_steps_match_pytorch),
        TEST(the_store_holds_all_that_a_step_needs),
        TEST(plans_with_and_without_passes_train_to_the_same_bits),
        TEST(frozen_and_foreign_parameters_stay),
        TEST(a_prefix_or_a_group_leaves_parameters_out),
        TEST(a_parameter_read_in_two_scopes_gets_the_whole_gradient),
        TEST(two_optimizers_share_a_graph_under_two_names),
        TEST(wrong_losses_are_named),
        TEST(every_failed_allocation_is_reported),
        TEST(schedules_pass_through_their_points),
        TEST(one_cycle_matches_pytorch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
