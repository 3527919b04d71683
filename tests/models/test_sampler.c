/* Schedules and samplers: against diffusers' schedulers, against exact solutions to their order of convergence, and the
 * statistics of the random ones. No network anywhere: the denoisers are exact. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "models/blocks/sampler.h"

#include <math.h>
#include <stdio.h>

/* ---- against diffusers ---- */

typedef struct row {
    const char *name;
    gy_sampler_kind kind;
    gy_prediction prediction;
    gy_spacing spacing;
    int64_t steps, offset;
    bool end_at_first;
    int64_t times;
    double first, x[4];
} row;
static const row rows[] = {
#include "../golden/sampler.inc"
};
static const double points[6] = {1.0, -0.5, -0.8, 0.9, 0.3, 0.2}, start[4] = {1.3, -0.4, -0.2, 0.7};

/* The exact network of make_sampler.py in any parametrisation. */
typedef struct network {
    gy_denoise_set set;
    gy_prediction prediction;
    int64_t calls;
    double first;
} network;

static gy_status predict(void *user, const gy_denoise_at *at, const double *x, double *out) {
    network *n = user;
    if (n->calls++ == 0) n->first = at->t;
    assert_int_equal(at->index, n->calls - 1);
    gy_status s = gy_denoise_exact(&n->set, at, x, out);
    for (int64_t i = 0; i < n->set.rows * n->set.width; i++) {
        double eps = out[i], x0 = at->alpha > 0 ? (x[i] - at->sigma * eps) / at->alpha : 0;
        if (at->alpha == 0) x0 = 0.5 * points[i % 2] + 0.3 * points[2 + i % 2] + 0.2 * points[4 + i % 2];
        switch (n->prediction) {
        case GY_PREDICT_EPS: break;
        case GY_PREDICT_X0: out[i] = x0; break;
        case GY_PREDICT_V: out[i] = at->alpha * eps - at->sigma * x0; break;
        case GY_PREDICT_FLOW: out[i] = eps - x0; break;
        }
    }
    return s;
}

static void samplers_end_where_diffusers_schedulers_do(void **state) {
    const double log_weight[3] = {log(0.5), log(0.3), log(0.2)};
    gy_noise noise;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *r = &rows[i];
        bool flow = r->prediction == GY_PREDICT_FLOW;
        gy_noise_init(&noise, flow ? GY_NOISE_STRAIGHT : GY_NOISE_SCALED_LINEAR, 1000,
                      strcmp(r->name, "flow shift 3") == 0 ? 3 : 0, 0);
        double scratch[3], x[4];
        network net = {.set = {.count = 3,
                               .width = 2,
                               .rows = 2,
                               .points = points,
                               .log_weight = log_weight,
                               .spread = 0.3,
                               .scratch = scratch},
                       .prediction = r->prediction};
        gy_sampler s = {.ctx = *state,
                        .noise = &noise,
                        .kind = r->kind,
                        .prediction = r->prediction,
                        .steps = r->steps,
                        .spacing = r->spacing,
                        .offset = r->offset,
                        .end_at_first = r->end_at_first,
                        .denoise = predict,
                        .user = &net,
                        .n = 4};
        memcpy(x, start, sizeof x);
        assert_ok(*state, gy_sampler_run(&s, x));
        if (net.calls != r->times || fabs(net.first - r->first) > 1e-6)
            fail_msg("%s: %d evaluations from t = %g, expected %d from %g", r->name, (int)net.calls, net.first,
                     (int)r->times, r->first);
        for (int k = 0; k < 4; k++)
            if (!(fabs(x[k] - r->x[k]) < 2e-6))
                fail_msg("%s, %d steps: x[%d] = %.10g, expected %.10g", r->name, (int)r->steps, k, x[k], r->x[k]);
    }
}

/* ---- one Gaussian N(mu, s^2): the probability flow is linear, its solution known ---- */

typedef struct gaussian {
    double mu, s;
    gy_prediction prediction;
} gaussian;

static gy_status gaussian_predict(void *user, const gy_denoise_at *at, const double *x, double *out) {
    const gaussian *g = user;
    (void)at;
    double a = at->alpha, b = at->sigma, v = a * a * g->s * g->s + b * b;
    double x0 = (a * g->s * g->s * x[0] + b * b * g->mu) / v, eps = b * (x[0] - a * g->mu) / v;
    switch (g->prediction) {
    case GY_PREDICT_EPS: out[0] = eps; break;
    case GY_PREDICT_X0: out[0] = x0; break;
    case GY_PREDICT_V: out[0] = a * eps - b * x0; break;
    case GY_PREDICT_FLOW: out[0] = eps - x0; break;
    }
    return GY_OK;
}

/* |error| at the end of S steps from x = 1.3 on the grid i floor(1000 / S) + 1, ending at abar_0 */
static double error_of(gy_ctx *ctx, gy_sampler_kind kind, int64_t steps) {
    static gy_noise noise;
    gaussian g = {0.7, 0.5, GY_PREDICT_EPS};
    gy_noise_init(&noise, GY_NOISE_SCALED_LINEAR, 1000, 0, 0);
    gy_sampler s = {.ctx = ctx,
                    .noise = &noise,
                    .kind = kind,
                    .prediction = GY_PREDICT_EPS,
                    .steps = steps,
                    .spacing = GY_SPACING_LEADING,
                    .offset = 1,
                    .end_at_first = true,
                    .denoise = gaussian_predict,
                    .user = &g,
                    .n = 1};
    double t[1000], x = 1.3;
    assert_int_equal(gy_sampler_times(&s, t), steps);
    double a = gy_noise_alpha(&noise, t[0]), b = gy_noise_sigma(&noise, t[0]);
    double a1 = gy_noise_alpha(&noise, 0), b1 = gy_noise_sigma(&noise, 0), v = g.s * g.s;
    double exact = a1 * g.mu + sqrt((a1 * a1 * v + b1 * b1) / (a * a * v + b * b)) * (x - a * g.mu);
    assert_ok(ctx, gy_sampler_run(&s, &x));
    return fabs(x - exact);
}

static void errors_on_a_gaussian_are_the_published_ones(void **state) {
    static const int64_t steps[5] = {10, 20, 50, 100, 200};
    static const struct {
        gy_sampler_kind kind;
        double error[5];
    } known[] = {{GY_SAMPLER_DDIM, {1.18e-1, 6.58e-2, 2.89e-2, 1.51e-2, 7.76e-3}},
                 {GY_SAMPLER_DPM, {9.99e-2, 6.29e-2, 2.03e-2, 7.26e-3, 2.37e-3}},
                 {GY_SAMPLER_PNDM, {2.38e-2, 8.91e-3, 1.67e-3, 1.04e-4, 2.09e-4}}};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        for (int i = 0; i < 5; i++) {
            double e = error_of(*state, known[k].kind, steps[i]);
            if (fabs(e - known[k].error[i]) > 0.02 * known[k].error[i])
                fail_msg("sampler %d, %d steps: error %.4g, expected %.4g", known[k].kind, (int)steps[i], e,
                         known[k].error[i]);
        }
}

/* x where t is `at`, into `seen`: solutions at a noisy end, where the theory speaks. */
typedef struct watched {
    gaussian g;
    double at, seen;
} watched;

static gy_status watch(void *user, const gy_denoise_at *at, const double *x, double *out) {
    watched *w = user;
    if (at->t == w->at) w->seen = x[0];
    return gaussian_predict(&w->g, at, x, out);
}

/* The slope of log error against log step on the straight path, whose times are continuous: steps uniform in
 * lambda = log(alpha / sigma) from -2 to 3 (`ratio`: in sigma / alpha from 4 to 1), the grid on which the method's
 * derivation is exact. */
static double order_of(gy_ctx *ctx, gy_sampler_kind kind, bool ratio) {
    static gy_noise noise;
    double error[2], times[161];
    gy_noise_init(&noise, GY_NOISE_STRAIGHT, 1000, 0, 0);
    for (int k = 0; k < 2; k++) {
        int64_t n = 80 << k;
        for (int64_t i = 0; i <= n; i++) {
            double u = (double)i / (double)n, r = ratio ? 4.0 - 3.0 * u : exp(2.0 - 5.0 * u);
            times[i] = 1000.0 * r / (1.0 + r); /* sigma / alpha = r */
        }
        watched w = {.g = {0.7, 0.5, GY_PREDICT_EPS}, .at = times[n]};
        gy_sampler s = {.ctx = ctx,
                        .noise = &noise,
                        .kind = kind,
                        .prediction = GY_PREDICT_EPS,
                        .steps = n + 1,
                        .times = times,
                        .denoise = watch,
                        .user = &w,
                        .n = 1};
        double x = 1.3, b = times[0] / 1000, a = 1 - b, b1 = times[n] / 1000, a1 = 1 - b1, v = 0.25;
        double exact = a1 * 0.7 + sqrt((a1 * a1 * v + b1 * b1) / (a * a * v + b * b)) * (x - a * 0.7);
        assert_ok(ctx, gy_sampler_run(&s, &x));
        error[k] = fabs(w.seen - exact);
    }
    return log2(error[0] / error[1]);
}

static void samplers_converge_to_their_order(void **state) {
    static const struct {
        gy_sampler_kind kind;
        bool ratio;
        double low, high;
    } expected[] = {{GY_SAMPLER_DDIM, true, 0.9, 1.1},
                    {GY_SAMPLER_DPM, false, 1.9, 2.3},
                    {GY_SAMPLER_UNIPC, false, 2.7, 3.3}, /* the corrector adds one */
                    {GY_SAMPLER_PNDM, true, 2.7, 4.3}};  /* fourth, after a start of second and third */
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        double o = order_of(*state, expected[i].kind, expected[i].ratio);
        if (!(o > expected[i].low && o < expected[i].high))
            fail_msg("sampler %d converges with order %.3f, expected %g to %g", expected[i].kind, o, expected[i].low,
                     expected[i].high);
    }
}

/* ---- medforj's scheduler facts: the four parametrisations are one trajectory ---- */

enum { CLOUD = 2048 };
static gy_status cloud_predict(void *user, const gy_denoise_at *at, const double *x, double *out) {
    for (int64_t i = 0; i < CLOUD; i++) gaussian_predict(user, at, x + i, out + i);
    return GY_OK;
}

static void moments(const double *x, int64_t n, double *mean, double *sd) {
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) squares += (x[i] - *mean) * (x[i] - *mean);
    *sd = sqrt(squares / (double)n);
}

static void parametrisations_give_one_trajectory(void **state) {
    static gy_noise noise;
    static double x[5][CLOUD];
    static const struct {
        int64_t steps;
        double sd;
    } known[] = {{16, 0.22801}, {64, 0.28100}, {250, 0.29469}}; /* by the affine recursion */
    gy_noise_init(&noise, GY_NOISE_LINEAR, 1000, 0, 0);
    assert_close(noise.abar[0], 0.9999, 1e-12);
    assert_close(noise.abar[15], 0.9960, 5e-5);
    assert_true(fabs(noise.abar[495] / 0.08181 - 1) < 1e-4);
    assert_true(fabs(noise.abar[945] / 1.167e-4 - 1) < 1e-3);
    assert_true(fabs(noise.abar[999] / 4.036e-5 - 1) < 1e-3);
    for (int k = 0; k < 3; k++) {
        for (int p = GY_PREDICT_EPS; p <= GY_PREDICT_FLOW; p++) {
            gaussian g = {0.4, 0.3, (gy_prediction)p};
            gy_sampler s = {.ctx = *state,
                            .noise = &noise,
                            .kind = GY_SAMPLER_DDIM,
                            .prediction = (gy_prediction)p,
                            .steps = known[k].steps,
                            .spacing = GY_SPACING_LEADING,
                            .seed = 5,
                            .denoise = cloud_predict,
                            .user = &g,
                            .n = CLOUD};
            assert_ok(*state, gy_sampler_start(&s, NULL, x[p]));
            memcpy(x[0], x[p], sizeof x[0]);
            assert_ok(*state, gy_sampler_run(&s, x[p]));
            for (int i = 0; i < CLOUD; i++) assert_close(x[p][i], x[GY_PREDICT_EPS][i], 1e-11);
        }
        /* the map from noise to data is affine: its slope is the deviation of the result */
        double mean0, sd0, mean, sd;
        moments(x[0], CLOUD, &mean0, &sd0);
        moments(x[GY_PREDICT_FLOW], CLOUD, &mean, &sd);
        if (fabs(sd / sd0 - known[k].sd) > 1e-5)
            fail_msg("%d steps: deviation %.5f, expected %.5f", (int)known[k].steps, sd / sd0, known[k].sd);
        assert_true(fabs(mean - mean0 * sd / sd0 - 0.4) < 1e-2);
    }
}

/* ---- random samplers ---- */

static void ancestral_sampling_reproduces_the_distribution(void **state) {
    static gy_noise noise;
    static double x[CLOUD], y[CLOUD];
    gy_noise_init(&noise, GY_NOISE_SCALED_LINEAR, 1000, 0, 0);
    gaussian g = {0.4, 0.3, GY_PREDICT_EPS};
    gy_sampler s = {.ctx = *state,
                    .noise = &noise,
                    .kind = GY_SAMPLER_DDPM,
                    .prediction = GY_PREDICT_EPS,
                    .steps = 1000,
                    .spacing = GY_SPACING_LEADING,
                    .seed = 3,
                    .denoise = cloud_predict,
                    .user = &g,
                    .n = CLOUD};
    double mean, sd;
    assert_ok(*state, gy_sampler_start(&s, NULL, x));
    memcpy(y, x, sizeof y);
    assert_ok(*state, gy_sampler_run(&s, x));
    moments(x, CLOUD, &mean, &sd);
    assert_true(fabs(mean - 0.4) < 4 * 0.3 / sqrt(CLOUD));
    assert_true(fabs(sd - 0.3) < 4 * 0.3 / sqrt(2.0 * CLOUD));
    s.kind = GY_SAMPLER_DDIM; /* eta = 1 is the same sampler in another notation */
    s.eta = 1;
    assert_ok(*state, gy_sampler_run(&s, y));
    for (int i = 0; i < CLOUD; i++) assert_close(y[i], x[i], 1e-9);
}

static void image_to_image_starts_inside_and_keeps_the_image(void **state) {
    static gy_noise noise;
    const double log_weight[3] = {log(0.5), log(0.3), log(0.2)};
    double scratch[3], x[4], t[50], init[4] = {1.0, -0.5, 0.3, 0.2};
    gy_noise_init(&noise, GY_NOISE_SCALED_LINEAR, 1000, 0, 0);
    network net = {
        .set = {.count = 3, .width = 2, .rows = 2, .points = points, .log_weight = log_weight, .scratch = scratch},
        .prediction = GY_PREDICT_EPS};
    gy_sampler s = {.ctx = *state,
                    .noise = &noise,
                    .kind = GY_SAMPLER_DDIM,
                    .prediction = GY_PREDICT_EPS,
                    .steps = 50,
                    .spacing = GY_SPACING_LEADING,
                    .offset = 1,
                    .strength = 0.1,
                    .seed = 1,
                    .denoise = predict,
                    .user = &net,
                    .n = 4};
    assert_int_equal(gy_sampler_times(&s, t), 5);
    assert_true(t[0] == 81 && t[4] == 1);
    assert_ok(*state, gy_sampler_start(&s, init, x));
    assert_true(fabs(x[0] - init[0]) > 1e-3); /* noised */
    assert_ok(*state, gy_sampler_run(&s, x));
    assert_int_equal(net.calls, 5);
    for (int i = 0; i < 4; i++) assert_close(x[i], init[i], 1e-3); /* the nearest points of the set */
}

static void clamping_bounds_the_data_prediction(void **state) {
    static gy_noise noise;
    gy_noise_init(&noise, GY_NOISE_SCALED_LINEAR, 1000, 0, 0);
    gaussian g = {3.0, 1e-3, GY_PREDICT_EPS};
    gy_sampler s = {.ctx = *state,
                    .noise = &noise,
                    .kind = GY_SAMPLER_DDIM,
                    .prediction = GY_PREDICT_EPS,
                    .steps = 20,
                    .spacing = GY_SPACING_LEADING,
                    .offset = 1,
                    .clip = 1.2,
                    .denoise = gaussian_predict,
                    .user = &g,
                    .n = 1};
    double x = 0.5;
    assert_ok(*state, gy_sampler_run(&s, &x));
    assert_close(x, 1.2, 1e-12);
}

static void wrong_arguments_are_refused(void **state) {
    static gy_noise noise;
    double x = 0, t[4];
    gy_noise_init(&noise, GY_NOISE_LINEAR, 10, 0, 0);
    gy_sampler s = {.ctx = *state,
                    .noise = &noise,
                    .kind = GY_SAMPLER_DDIM,
                    .prediction = GY_PREDICT_EPS,
                    .spacing = GY_SPACING_LEADING,
                    .n = 1};
    assert_message(*state, gy_sampler_run(&s, &x), "0 steps");
    s.steps = 11;
    assert_message(*state, gy_sampler_run(&s, &x), "11 steps of 10 timesteps");
    s.steps = 4;
    s.strength = 1.5;
    assert_int_equal(gy_sampler_times(&s, t), -1);
    assert_message(*state, gy_error_status(*state), "strength 1.5");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(samplers_end_where_diffusers_schedulers_do),
        TEST(errors_on_a_gaussian_are_the_published_ones),
        TEST(samplers_converge_to_their_order),
        TEST(parametrisations_give_one_trajectory),
        TEST(ancestral_sampling_reproduces_the_distribution),
        TEST(image_to_image_starts_inside_and_keeps_the_image),
        TEST(clamping_bounds_the_data_prediction),
        TEST(wrong_arguments_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
