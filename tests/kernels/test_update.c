/* Optimizer updates against PyTorch: ten steps each, in double (tests/golden/optim.py). */
#include "direct.h"

#include <math.h>

#include "../golden/optim.inc"

void ref_sgd_f64(const gy_kargs *k);
void ref_adam_f64(const gy_kargs *k);
void ref_adam_f32(const gy_kargs *k);
void ref_lion_f64(const gy_kargs *k);

enum { N = 7 };
typedef struct {
    double p[N], m[N], v[N], g[N], lr;
    int64_t step;
} run;

static run begin(double lr) {
    run r = {.lr = lr};
    for (int i = 0; i < N; i++) r.p[i] = cos(1.3 * i);
    return r;
}
static void next_gradient(run *r) {
    for (int i = 0; i < N; i++) r->g[i] = sin(0.7 * (double)r->step + i) * (1 + 0.1 * i);
    r->step++;
}
static void assert_row(const run *r, const double *golden) {
    for (int i = 0; i < N; i++) assert_close(r->p[i], golden[(r->step - 1) * N + i], 1e-13);
}

/* Runs ten steps in place and compares each. */
static void adam_case(gy_ctx *ctx, double lr, gy_update_attr a, const double *golden) {
    run r = begin(lr);
    for (int t = 0; t < 10; t++) {
        next_gradient(&r);
        gy_view in[7] = {F64(r.p, N), F64(r.m, N), F64(r.v, N), F64(r.g, N), F64(&r.lr, 1), I64(&r.step, 1), {0}};
        run_kernel(ctx, ref_adam_f64, NULL, &a, 7, in, 3, in);
        assert_row(&r, golden);
    }
}
/* sgd and lion: p, m (or none), g, lr, scale. */
static void momentum_case(gy_ctx *ctx, gy_kernel_fn fn, bool momentum, double lr, gy_update_attr a,
                          const double *golden) {
    run r = begin(lr);
    double one = 1;
    for (int t = 0; t < 10; t++) {
        next_gradient(&r);
        gy_view in[5] = {F64(r.p, N), {0}, F64(r.g, N), F64(&r.lr, 1), F64(&one, 1)};
        if (momentum) in[1] = F64(r.m, N);
        run_kernel(ctx, fn, NULL, &a, 5, in, momentum ? 2 : 1, in);
        assert_row(&r, golden);
    }
}

static void ten_steps_of_adamw_match_pytorch(void **state) {
    adam_case(*state, 0.02,
              (gy_update_attr){.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.1, .decoupled = 1},
              golden_adamw);
}
static void ten_steps_of_adam_match_pytorch(void **state) {
    adam_case(*state, 0.02, (gy_update_attr){.beta1 = 0.8, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1},
              golden_adam);
}
static void ten_steps_of_plain_sgd_match_pytorch(void **state) {
    momentum_case(*state, ref_sgd_f64, false, 0.05, (gy_update_attr){0}, golden_sgd);
}
static void ten_steps_of_nesterov_match_pytorch(void **state) {
    momentum_case(*state, ref_sgd_f64, true, 0.05, (gy_update_attr){.beta1 = 0.9, .weight_decay = 0.01, .nesterov = 1},
                  golden_nesterov);
}
static void ten_steps_of_lion_match_the_paper(void **state) {
    momentum_case(*state, ref_lion_f64, true, 0.01, (gy_update_attr){.beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1},
                  golden_lion);
}

static void gradient_scale_and_group_factor_multiply(void **state) {
    run a = begin(0.02), b = begin(0.01);
    double half = 0.5;
    next_gradient(&a);
    next_gradient(&b);
    for (int i = 0; i < N; i++) a.g[i] *= 0.5;
    gy_view ia[5] = {F64(a.p, N), {0}, F64(a.g, N), F64(&a.lr, 1), {0}};
    gy_view ib[5] = {F64(b.p, N), {0}, F64(b.g, N), F64(&b.lr, 1), F64(&half, 1)};
    run_kernel(*state, ref_sgd_f64, NULL, &(gy_update_attr){0}, 5, ia, 1, ia);
    run_kernel(*state, ref_sgd_f64, NULL, &(gy_update_attr){.lr_factor = 2}, 5, ib, 1, ib);
    assert_memory_equal(a.p, b.p, sizeof a.p);
}

static void f32_parameters_take_an_f64_rate(void **state) {
    run r = begin(0.02);
    float p[N], m[N] = {0}, v[N] = {0}, g[N];
    gy_update_attr a = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-6, .weight_decay = 0.1, .decoupled = 1};
    for (int i = 0; i < N; i++) p[i] = (float)r.p[i];
    for (int t = 0; t < 10; t++) {
        next_gradient(&r);
        for (int i = 0; i < N; i++) g[i] = (float)r.g[i];
        gy_view in[7] = {F32(p, N), F32(m, N), F32(v, N), F32(g, N), F64(&r.lr, 1), I64(&r.step, 1), {0}};
        run_kernel(*state, ref_adam_f32, NULL, &a, 7, in, 3, in);
        for (int i = 0; i < N; i++) assert_close(p[i], golden_adamw[t * N + i], 1e-6);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(ten_steps_of_adamw_match_pytorch),     TEST(ten_steps_of_adam_match_pytorch),
        TEST(ten_steps_of_plain_sgd_match_pytorch), TEST(ten_steps_of_nesterov_match_pytorch),
        TEST(ten_steps_of_lion_match_the_paper),    TEST(gradient_scale_and_group_factor_multiply),
        TEST(f32_parameters_take_an_f64_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
