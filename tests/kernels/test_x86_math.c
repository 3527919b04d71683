/* Vector transcendental functions against the C library in double, in units in the last place of a float. */
#include "x86.h"

#include "core/ops/elementwise.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef double (*real_fn)(double);

static double logistic(double x) {
    return x < 0 ? exp(x) / (1 + exp(x)) : 1 / (1 + exp(-x));
}
static double softplus(double x) {
    return (x > 0 ? x : 0) + log1p(exp(-fabs(x)));
}
static double elu(double x) {
    return x > 0 ? x : expm1(x);
}
static double gelu(double x) {
    return 0.5 * x * erfc(-x * 0.70710678118654752440);
}
static double silu(double x) {
    return x * logistic(x);
}
static double rsqrt(double x) {
    return 1 / sqrt(x);
}

/* max_ulp is the bound that kernels/x86/vmath.h states; samples lie in [lo, hi] and are dense near 0 too. */
static const struct {
    gy_op_id op;
    const char *name;
    real_fn f;
    double lo, hi, max_ulp;
} functions[] = {
    {GY_OP_exp, "exp", exp, -105, 89, 1.1},
    {GY_OP_log, "log", log, 0, 3.4e38, 1.0},
    {GY_OP_log1p, "log1p", log1p, -1, 3.4e38, 1.2},
    {GY_OP_tanh, "tanh", tanh, -12, 12, 2.6},
    {GY_OP_sigmoid, "sigmoid", logistic, -105, 105, 2.6},
    {GY_OP_erf, "erf", erf, -12, 12, 1.1},
    {GY_OP_sin, "sin", sin, -30000, 30000, 1.6},
    {GY_OP_cos, "cos", cos, -30000, 30000, 1.6},
    {GY_OP_sin, "sin far", sin, -1e9, 1e9, 1.6},
    {GY_OP_elu, "elu", elu, -105, 10, 1.5},
    {GY_OP_softplus, "softplus", softplus, -104, 50, 2.6},
    {GY_OP_gelu, "gelu", gelu, -12.5, 14, 5.0},
    {GY_OP_silu, "silu", silu, -87, 87, 3.6},
    {GY_OP_rsqrt, "rsqrt", rsqrt, 0, 3.4e38, 1.5},
    {GY_OP_sqrt, "sqrt", sqrt, 0, 3.4e38, 0.5},
};

static double ulp_error(float y, double want) {
    if (isnan(want)) return isnan(y) ? 0 : INFINITY;
    if (fabs(want) > 3.4028235677973366e38) return isinf(y) && (y > 0) == (want > 0) ? 0 : INFINITY;
    if (!isfinite(y)) return INFINITY;
    int e;
    frexp(want, &e);
    return fabs((double)y - want) / ldexp(1, (e < -125 ? -125 : e) - 24);
}

static void run(const gy_kernel *row, const gy_pair_attr *attr, const float *x, float *y, int64_t n) {
    gy_span s = {.attr = attr, .n = n, .out = y, .out_dtype = GY_F32, .in = {x}, .step = {1}, .in_dtype = {GY_F32}};
    row->span(&s);
}

static void functions_keep_their_stated_ulp_bounds(void **state) {
    (void)state;
    enum { N = 40000 };
    static float x[2 * N], y[2 * N];
    gy_isa tier[GY_ISA_COUNT];
    int n;
    x86_tiers(tier, &n);
    for (int t = 0; t < n; t++)
        for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
            const gy_kernel *row = x86_row(functions[i].op, GY_F32, tier[t]);
            if (!row) continue;
            double lo = functions[i].lo, hi = functions[i].hi, worst = 0;
            float at = 0;
            uint64_t seed = 12345;
            for (int64_t k = 0; k < 2 * N; k++) { /* evenly by value, then evenly by magnitude */
                seed = seed * 6364136223846793005u + 1442695040888963407u;
                double u = (double)(seed >> 11) * 0x1p-53;
                double m = k & 1 ? hi : lo;
                x[k] = (float)(k < N ? lo + (hi - lo) * u : m * exp2(-u * (hi > 1e6 ? 270 : 150)));
            }
            run(row, &(gy_pair_attr){1, 0}, x, y, 2 * N);
            for (int64_t k = 0; k < 2 * N; k++) {
                double e = ulp_error(y[k], functions[i].f((double)x[k]));
                if (!(e <= worst)) worst = e, at = x[k];
            }
            if (getenv("GY_SHOW_ULP"))
                printf("# %-10s %-8s %.3f ulp at %.9g\n", gy_isa_name(tier[t]), functions[i].name, worst, (double)at);
            if (!(worst <= functions[i].max_ulp))
                fail_msg("%s %s: %.2f ulp at %.9g, bound %.2f", gy_isa_name(tier[t]), functions[i].name, worst,
                         (double)at, functions[i].max_ulp);
        }
}

static double silu_slope(double x) {
    return logistic(x) * (1 + x * logistic(-x));
}
static double gelu_slope(double x) {
    return 0.5 * erfc(-x * 0.70710678118654752440) + x * 0.39894228040143267794 * exp(-0.5 * x * x);
}
static double gelu_tanh_slope(double x) {
    double a = 1.5957691216057308, b = 0.07135481627159854, u = x * (a + b * x * x);
    return logistic(u) + x * (a + 3 * b * x * x) * logistic(u) * logistic(-u);
}
/* They cross zero, so that the bound is a distance. Over all floats: 4.0 2^-24 at most (kernels/x86/vmath.h). */
static void slopes_keep_their_stated_distance(void **state) {
    (void)state;
    static const struct {
        gy_op_id op;
        const char *name;
        real_fn f;
    } slopes[] = {{GY_OP_silu_slope, "silu_slope", silu_slope},
                  {GY_OP_gelu_slope, "gelu_slope", gelu_slope},
                  {GY_OP_gelu_tanh_slope, "gelu_tanh_slope", gelu_tanh_slope}};
    static const float ends[] = {0,    -0.0f, 1e-45f, INFINITY, -INFINITY, 3e38f, -3e38f, 200,
                                 -200, 1,     -1,     60,       -60,       13,    -13};
    enum { N = 60000, ENDS = sizeof ends / sizeof *ends };
    static float x[N + ENDS], y[N + ENDS];
    gy_isa tier[GY_ISA_COUNT];
    int n;
    x86_tiers(tier, &n);
    uint64_t seed = 77;
    for (int64_t k = 0; k < N; k++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        double u = (double)(seed >> 11) * 0x1p-53;
        x[k] = (float)(k % 3 ? 16 * u - 8 : 200 * u - 100);
    }
    for (int k = 0; k < ENDS; k++) x[N + k] = ends[k];
    for (int t = 0; t < n; t++)
        for (size_t i = 0; i < sizeof slopes / sizeof *slopes; i++) {
            const gy_kernel *row = x86_row(slopes[i].op, GY_F32, tier[t]);
            if (!row) continue;
            run(row, NULL, x, y, N + ENDS);
            for (int64_t k = 0; k < N + ENDS; k++) {
                double at = (double)x[k], want = at > 1e3 ? 1 : at < -1e3 ? 0 : slopes[i].f(at);
                if (isinf(at) && isnan(y[k])) continue; /* infinity times 0 */
                if (!(fabs((double)y[k] - want) <= 4.0 * 0x1p-24))
                    fail_msg("%s %s(%.9g) = %.9g, expected %.9g", gy_isa_name(tier[t]), slopes[i].name, at,
                             (double)y[k], want);
            }
        }
}

static void special_values_behave_as_in_c(void **state) {
    (void)state;
    static const float special[] = {0.0f,     -0.0f,     1e-45f,  -1e-45f, 1e-39f,   -1e-39f, 1.17549435e-38f,
                                    INFINITY, -INFINITY, NAN,     3.4e38f, -3.4e38f, 1.0f,    -1.0f,
                                    88.8f,    -88.8f,    -103.5f, 2e5f,    1e-8f,    -1e-8f,  0.5f};
    enum { N = sizeof special / sizeof *special };
    gy_isa tier[GY_ISA_COUNT];
    int n;
    x86_tiers(tier, &n);
    for (int t = 0; t < n; t++)
        for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
            const gy_kernel *row = x86_row(functions[i].op, GY_F32, tier[t]);
            if (!row) continue;
            float y[N];
            run(row, &(gy_pair_attr){1, 0}, special, y, N);
            for (int k = 0; k < N; k++) {
                double want = functions[i].f((double)special[k]), e = ulp_error(y[k], want);
                bool product = functions[i].op == GY_OP_silu || functions[i].op == GY_OP_gelu;
                if (product && isinf(special[k]) && isnan(want) && (isnan(y[k]) || y[k] == 0))
                    continue; /* -inf times 0 */
                if (product && fabs(want) < 1e-36 && fabs((double)y[k] - want) < 1e-42)
                    continue; /* one factor is denormal */
                if (!(e <= 8))
                    fail_msg("%s %s(%.9g) = %.9g, expected %.9g", gy_isa_name(tier[t]), functions[i].name,
                             (double)special[k], (double)y[k], want);
                bool odd = functions[i].op == GY_OP_sin || functions[i].op == GY_OP_tanh ||
                           functions[i].op == GY_OP_erf || functions[i].op == GY_OP_log1p;
                if (odd && special[k] == 0) assert_int_equal(!!signbit(y[k]), !!signbit(special[k]));
            }
        }
}

/* Every pair of special values against C's pow, then random pairs against the stated bound. */
static void powers_behave_as_in_c(void **state) {
    (void)state;
    static const float special[] = {0.0f,     -0.0f, 1e-45f, 1e-39f, 0.5f,  1.0f,       -1.0f,    -0.5f, 2.0f,
                                    -2.0f,    3.0f,  -3.0f,  2.5f,   -2.5f, 1e10f,      -1e10f,   1e30f, 16777217.0f,
                                    INFINITY, NAN,   0.99f,  1.01f,  -7.0f, 8388607.0f, -INFINITY};
    enum { N = sizeof special / sizeof *special, RANDOM = 60000 };
    static float x[N * N + RANDOM], y[N * N + RANDOM], out[N * N + RANDOM];
    uint64_t seed = 99;
    for (int i = 0; i < N * N; i++) x[i] = special[i / N], y[i] = special[i % N];
    for (int i = N * N; i < N * N + RANDOM; i++) {
        double u[2];
        for (int j = 0; j < 2; j++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            u[j] = (double)(seed >> 11) * 0x1p-53;
        }
        x[i] = (float)exp(u[0] * 100 - 60); /* with exponents that lead everywhere between 0 and infinity */
        y[i] = (float)((u[1] * 200 - 107) / (i % 3 ? log((double)x[i]) : 50));
    }
    gy_isa tier[GY_ISA_COUNT];
    int n;
    x86_tiers(tier, &n);
    for (int t = 0; t < n; t++) {
        const gy_kernel *row = x86_row(GY_OP_pow, GY_F32, tier[t]);
        if (!row) continue;
        gy_span s = {.n = N * N + RANDOM,
                     .out = out,
                     .out_dtype = GY_F32,
                     .in = {x, y},
                     .step = {1, 1},
                     .in_dtype = {GY_F32, GY_F32}};
        row->span(&s);
        for (int i = 0; i < N * N + RANDOM; i++) {
            double want = pow((double)x[i], (double)y[i]), e = ulp_error(out[i], want);
            if (!(e <= 0.51))
                fail_msg("%s pow(%.9g, %.9g) = %.9g, expected %.9g (%.3f ulp)", gy_isa_name(tier[t]), (double)x[i],
                         (double)y[i], (double)out[i], want, e);
            if (!isnan(want)) assert_int_equal(!!signbit(out[i]), !!signbit(want));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(functions_keep_their_stated_ulp_bounds),
        TEST(slopes_keep_their_stated_distance),
        TEST(special_values_behave_as_in_c),
        TEST(powers_behave_as_in_c),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
