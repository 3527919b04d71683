/* The suites: one line a benchmark. Shapes are those of the models: transformer blocks over brain patches, U-Net and
 * ResNet convolutions, voxel-wise linear maps. */
#include "bench.h"

#include "../core/op.h"
#include "../kernels/kernel.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- timing ---- */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

gy_status bench_time_plan(gy_plan *p, double budget, bench_row *row) {
    enum { MIN = 5, MAX = 1000 };
    double t[MAX], begin = now();
    int n = 0;
    for (int warm = 0; warm < 100 && (warm == 0 || now() - begin < 0.1 * budget); warm++) {
        gy_status s = gy_plan_run(p);
        if (s != GY_OK) return s;
    }
    begin = now();
    /* at least MIN repeats, unless a single run takes far longer than all should */
    while (n < MAX && (n == 0 || now() - begin < (n < MIN ? 5 * budget : budget))) {
        double t0 = now();
        gy_status s = gy_plan_run(p);
        if (s != GY_OK) return s;
        t[n++] = now() - t0;
    }
    qsort(t, (size_t)n, sizeof *t, ascending);
    row->seconds = n % 2 ? t[n / 2] : 0.5 * (t[n / 2 - 1] + t[n / 2]);
    row->seconds_min = t[0];
    row->repeats = n;
    return GY_OK;
}

/* ---- benchmarks ---- */

typedef struct bench_case {
    const char *suite, *name;
    gy_op_id op; /* the operator whose kernel is reported */
    gy_t (*build)(gy_graph *g, const int64_t *d);
    const char *shape; /* with one %d a used number */
    int64_t d[7];
    double flops; /* of one multiply-add pattern that the plan's cost does not know; 0: the plan's */
} bench_case;

static gy_t in(gy_graph *g, const char *name, gy_shape s) {
    return gy_input(g, name, GY_F32, s);
}

static gy_t matmul(gy_graph *g, const int64_t *d) {
    return gy_matmul(in(g, "a", GY_S(d[0], d[2])), in(g, "b", GY_S(d[2], d[1])));
}
static gy_t matmul_nt(gy_graph *g, const int64_t *d) {
    return gy_matmul(in(g, "a", GY_S(d[0], d[2])), in(g, "b", GY_S(d[1], d[2])), .trans_b = true);
}
static gy_t matmul_tn(gy_graph *g, const int64_t *d) {
    return gy_matmul(in(g, "a", GY_S(d[2], d[0])), in(g, "b", GY_S(d[2], d[1])), .trans_a = true);
}
static gy_t matmul_batched(gy_graph *g, const int64_t *d) {
    return gy_matmul(in(g, "a", GY_S(d[3], d[0], d[2])), in(g, "b", GY_S(d[3], d[2], d[1])));
}
static gy_t linear_gelu(gy_graph *g, const int64_t *d) {
    return gy_gelu(gy_linear(in(g, "x", GY_S(d[0], d[2])), in(g, "w", GY_S(d[1], d[2])), in(g, "b", GY_S(d[1]))));
}

/* d: batch, size, channels in, channels out, kernel, stride */
static gy_t conv1(gy_graph *g, const int64_t *d) {
    return gy_conv(in(g, "x", GY_S(d[0], d[1], d[2])), in(g, "w", GY_S(d[3], d[2], d[4])), GY_NONE,
                   .stride = GY_S(d[5]), .pad = GY_S(d[4] / 2));
}
static gy_t conv2(gy_graph *g, const int64_t *d) {
    return gy_conv(in(g, "x", GY_S(d[0], d[1], d[1], d[2])), in(g, "w", GY_S(d[3], d[2], d[4], d[4])), GY_NONE,
                   .stride = GY_S(d[5]), .pad = GY_S(d[4] / 2));
}
static gy_t conv3(gy_graph *g, const int64_t *d) {
    return gy_conv(in(g, "x", GY_S(d[0], d[1], d[1], d[1], d[2])), in(g, "w", GY_S(d[3], d[2], d[4], d[4], d[4])),
                   GY_NONE, .stride = GY_S(d[5]), .pad = GY_S(d[4] / 2));
}
static gy_t depthwise(gy_graph *g, const int64_t *d) {
    return gy_conv(in(g, "x", GY_S(d[0], d[1], d[1], d[2])), in(g, "w", GY_S(d[2], 1, d[4], d[4])), GY_NONE,
                   .groups = d[2], .pad = GY_S(d[4] / 2));
}
static gy_t conv2_part(gy_graph *g, const int64_t *d, bool weight) {
    gy_t x = in(g, "x", GY_S(d[0], d[1], d[1], d[2])), w = in(g, "w", GY_S(d[3], d[2], d[4], d[4])), grad;
    gy_t y = gy_conv(x, w, GY_NONE, .stride = GY_S(d[5]), .pad = GY_S(d[4] / 2));
    gy_grad(y, in(g, "ct", gy_shape_of(y)), 1, weight ? &w : &x, &grad);
    return grad;
}
static gy_t conv2_dx(gy_graph *g, const int64_t *d) {
    return conv2_part(g, d, false);
}
static gy_t conv2_dw(gy_graph *g, const int64_t *d) {
    return conv2_part(g, d, true);
}

/* d: batch, queries, heads, head width, keys */
static gy_t attention(gy_graph *g, const int64_t *d) {
    return gy_attention(in(g, "q", GY_S(d[0], d[1], d[2], d[3])), in(g, "k", GY_S(d[0], d[4], d[2], d[3])),
                        in(g, "v", GY_S(d[0], d[4], d[2], d[3])));
}
static gy_t attention_causal(gy_graph *g, const int64_t *d) {
    return gy_attention(in(g, "q", GY_S(d[0], d[1], d[2], d[3])), in(g, "k", GY_S(d[0], d[4], d[2], d[3])),
                        in(g, "v", GY_S(d[0], d[4], d[2], d[3])), .causal = true);
}
static gy_t attention_grad(gy_graph *g, const int64_t *d) {
    gy_t x[3] = {in(g, "q", GY_S(d[0], d[1], d[2], d[3])), in(g, "k", GY_S(d[0], d[4], d[2], d[3])),
                 in(g, "v", GY_S(d[0], d[4], d[2], d[3]))};
    gy_t gx[3], y = gy_attention(x[0], x[1], x[2]);
    gy_grad(y, in(g, "ct", gy_shape_of(y)), 3, x, gx);
    gy_output(gx[1], "dk");
    gy_output(gx[2], "dv");
    return gx[0];
}

/* d: rows, features (batch, size, features, groups for groupnorm) */
static gy_t layernorm(gy_graph *g, const int64_t *d) {
    return gy_layernorm(in(g, "x", GY_S(d[0], d[1])), in(g, "gamma", GY_S(d[1])), in(g, "beta", GY_S(d[1])));
}
static gy_t layernorm_grad(gy_graph *g, const int64_t *d) {
    gy_t x[3] = {in(g, "x", GY_S(d[0], d[1])), in(g, "gamma", GY_S(d[1])), in(g, "beta", GY_S(d[1]))}, gx[3];
    gy_grad(gy_layernorm(x[0], x[1], x[2]), in(g, "ct", GY_S(d[0], d[1])), 3, x, gx);
    gy_output(gx[1], "dgamma");
    gy_output(gx[2], "dbeta");
    return gx[0];
}
static gy_t rmsnorm(gy_graph *g, const int64_t *d) {
    return gy_rmsnorm(in(g, "x", GY_S(d[0], d[1])), in(g, "gamma", GY_S(d[1])));
}
static gy_t groupnorm(gy_graph *g, const int64_t *d) {
    return gy_groupnorm(in(g, "x", GY_S(d[0], d[1], d[1], d[2])), in(g, "gamma", GY_S(d[2])), in(g, "beta", GY_S(d[2])),
                        .groups = d[3]);
}
static gy_t batchnorm(gy_graph *g, const int64_t *d) {
    return gy_batchnorm(in(g, "x", GY_S(d[0], d[1])), in(g, "gamma", GY_S(d[1])), in(g, "beta", GY_S(d[1])));
}
static gy_t softmax(gy_graph *g, const int64_t *d) {
    return gy_softmax(in(g, "x", GY_S(d[0], d[1])), -1);
}
static gy_t log_softmax(gy_graph *g, const int64_t *d) {
    return gy_log_softmax(in(g, "x", GY_S(d[0], d[1])), -1);
}
static gy_t cross_entropy(gy_graph *g, const int64_t *d) {
    return gy_cross_entropy(in(g, "x", GY_S(d[0], d[1])), gy_input(g, "target", GY_I64, GY_S(d[0])));
}

static gy_t add(gy_graph *g, const int64_t *d) {
    return gy_add(in(g, "a", GY_S(d[0])), in(g, "b", GY_S(d[0])));
}
static gy_t mul_row(gy_graph *g, const int64_t *d) {
    return gy_mul(in(g, "a", GY_S(d[0], d[1])), in(g, "b", GY_S(d[1])));
}
static gy_t expo(gy_graph *g, const int64_t *d) {
    return gy_exp(in(g, "x", GY_S(d[0])));
}
static gy_t tanhyp(gy_graph *g, const int64_t *d) {
    return gy_tanh(in(g, "x", GY_S(d[0])));
}
static gy_t gelu(gy_graph *g, const int64_t *d) {
    return gy_gelu(in(g, "x", GY_S(d[0])));
}
static gy_t chain(gy_graph *g, const int64_t *d) {
    gy_t x = in(g, "x", GY_S(d[0])), y = in(g, "y", GY_S(d[0]));
    return gy_mul(gy_sigmoid(gy_add(gy_mul(x, y), x)), y);
}
static gy_t sum_all(gy_graph *g, const int64_t *d) {
    return gy_sum(in(g, "x", GY_S(d[0], d[1])), GY_ALL);
}
static gy_t sum_rows(gy_graph *g, const int64_t *d) {
    return gy_sum(in(g, "x", GY_S(d[0], d[1])), GY_AXES(1));
}
static gy_t sum_columns(gy_graph *g, const int64_t *d) {
    return gy_sum(in(g, "x", GY_S(d[0], d[1])), GY_AXES(0));
}
static gy_t max_rows(gy_graph *g, const int64_t *d) {
    return gy_max(in(g, "x", GY_S(d[0], d[1])), GY_AXES(1));
}

static gy_t sgd(gy_graph *g, const int64_t *d) {
    gy_t y = gy_sgd(in(g, "p", GY_S(d[0])), in(g, "m", GY_S(d[0])), in(g, "g", GY_S(d[0])), in(g, "rate", GY_S0),
                    GY_NONE, ((gy_update_attr){.beta1 = 0.9}));
    gy_output(gy_out(y, 1), "m1");
    return y;
}
static gy_t adamw(gy_graph *g, const int64_t *d) {
    gy_t y =
        gy_adam(in(g, "p", GY_S(d[0])), in(g, "m", GY_S(d[0])), in(g, "v", GY_S(d[0])), in(g, "g", GY_S(d[0])),
                in(g, "rate", GY_S0), in(g, "step", GY_S0), GY_NONE,
                ((gy_update_attr){.beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .decoupled = 1}));
    gy_output(gy_out(y, 1), "m1");
    gy_output(gy_out(y, 2), "v1");
    return y;
}

static const bench_case cases[] = {
    {"matmul", "matmul", GY_OP_matmul, matmul, "%d x %d x %d", {256, 256, 256}},
    {"matmul", "matmul", GY_OP_matmul, matmul, "%d x %d x %d", {1024, 1024, 1024}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, "%d x %d x %d", {1024, 1024, 1024}},
    {"matmul", "matmul_tn", GY_OP_matmul, matmul_tn, "%d x %d x %d", {1024, 1024, 1024}},
    {"matmul", "matmul", GY_OP_matmul, matmul, "%d x %d x %d", {1, 4096, 4096}},
    {"matmul", "matmul", GY_OP_matmul, matmul, "%d x %d x %d", {64, 8, 15724}},
    {"matmul", "matmul_batched", GY_OP_matmul, matmul_batched, "%d x %d x %d, batch %d", {197, 197, 64, 48}},
    {"matmul", "linear+gelu", GY_OP_matmul, linear_gelu, "%d x %d x %d", {788, 3072, 768}},
    {"conv", "conv1d", GY_OP_conv, conv1, "b%d t%d c%d->%d k%d s%d", {16, 512, 64, 64, 7, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, "b%d hw%d c%d->%d k%d s%d", {1, 56, 64, 64, 3, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, "b%d hw%d c%d->%d k%d s%d", {1, 32, 320, 320, 3, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, "b%d hw%d c%d->%d k%d s%d", {1, 224, 3, 64, 7, 2}},
    {"conv", "conv2d_dx", GY_OP_conv_dx, conv2_dx, "b%d hw%d c%d->%d k%d s%d", {1, 56, 64, 64, 3, 1}},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, "b%d hw%d c%d->%d k%d s%d", {1, 56, 64, 64, 3, 1}},
    {"conv", "conv3d", GY_OP_conv, conv3, "b%d dhw%d c%d->%d k%d s%d", {1, 32, 16, 32, 3, 1}},
    {"conv", "depthwise", GY_OP_conv, depthwise, "b%d hw%d c%d (%d) k%d", {1, 56, 128, 128, 3}},
    {"attention", "attention", GY_OP_attention, attention, "b%d q%d h%d d%d k%d", {4, 197, 12, 64, 197}},
    {"attention",
     "attention_causal",
     GY_OP_attention,
     attention_causal,
     "b%d q%d h%d d%d k%d",
     {1, 1024, 12, 64, 1024}},
    {"attention", "attention", GY_OP_attention, attention, "b%d q%d h%d d%d k%d", {1, 1, 12, 64, 1024}},
    {"attention", "attention_grad", GY_OP_attention_grad, attention_grad, "b%d q%d h%d d%d k%d", {4, 197, 12, 64, 197}},
    {"norm", "layernorm", GY_OP_layernorm, layernorm, "%d x %d", {4096, 768}},
    {"norm", "layernorm_grad", GY_OP_layernorm_grad, layernorm_grad, "%d x %d", {4096, 768}},
    {"norm", "rmsnorm", GY_OP_rmsnorm, rmsnorm, "%d x %d", {4096, 768}},
    {"norm", "groupnorm", GY_OP_groupnorm, groupnorm, "b%d hw%d c%d g%d", {1, 64, 320, 32}},
    {"norm", "batchnorm", GY_OP_batchnorm, batchnorm, "%d x %d", {8192, 256}},
    {"softmax", "softmax", GY_OP_softmax, softmax, "%d x %d", {4096, 1024}},
    {"softmax", "log_softmax", GY_OP_log_softmax, log_softmax, "%d x %d", {4096, 1024}},
    {"softmax", "cross_entropy", GY_OP_cross_entropy, cross_entropy, "%d x %d", {4096, 1000}},
    {"elementwise", "add", GY_OP_add, add, "%d", {4 << 20}},
    {"elementwise", "add", GY_OP_add, add, "%d", {64 << 10}},
    {"elementwise", "mul_row", GY_OP_mul, mul_row, "%d x %d", {4096, 768}},
    {"elementwise", "exp", GY_OP_exp, expo, "%d", {1 << 20}},
    {"elementwise", "tanh", GY_OP_tanh, tanhyp, "%d", {1 << 20}},
    {"elementwise", "gelu", GY_OP_gelu, gelu, "%d", {1 << 20}},
    {"elementwise", "chain mul add sigmoid mul", GY_OP_chain, chain, "%d", {1 << 20}},
    {"reduce", "sum", GY_OP_sum, sum_all, "%d x %d", {4096, 1024}},
    {"reduce", "sum_rows", GY_OP_sum, sum_rows, "%d x %d", {4096, 1024}},
    {"reduce", "sum_columns", GY_OP_sum, sum_columns, "%d x %d", {4096, 1024}},
    {"reduce", "max_rows", GY_OP_max, max_rows, "%d x %d", {4096, 1024}},
    {"optimizer", "sgd", GY_OP_sgd, sgd, "%d", {4 << 20}},
    {"optimizer", "adamw", GY_OP_adam, adamw, "%d", {4 << 20}},
};

const char *const bench_suites[] = {"matmul",      "conv",   "attention", "norm",   "softmax",
                                    "elementwise", "reduce", "optimizer", "models", NULL};

static void fill_inputs(gy_plan *p, const gy_graph *g) {
    for (int64_t i = 0; i < g->n_input; i++) {
        void *data = gy_plan_input(p, g->input[i].name);
        int64_t n = gy_count(g->input[i].value);
        if (!data || gy_dtype_of(g->input[i].value) != GY_F32) continue; /* targets stay 0 */
        uint32_t x = 1;
        for (int64_t k = 0; k < n; k++) {
            x = x * 1664525u + 1013904223u;
            ((float *)data)[k] = (float)(x >> 8) * 0x1p-24f;
        }
    }
}

static gy_isa tier_of(const char *kernel) {
    int64_t n;
    const gy_kernel *k = gy_kernel_table(&n);
    for (int64_t i = 0; i < n; i++)
        if (strcmp(k[i].name, kernel) == 0) return k[i].isa;
    return GY_ISA_REF;
}

/* The best tier among the plan's steps of operator `op` (GY_OP_NONE: of all steps). */
static const char *plan_tier(const gy_plan *p, gy_op_id op) {
    gy_isa best = GY_ISA_REF;
    int64_t steps = gy_plan_report(p).steps;
    for (int64_t i = 0; i < steps; i++) {
        gy_plan_step_info s = gy_plan_step(p, i);
        gy_isa tier = tier_of(s.kernel);
        if (tier > best && (op == GY_OP_NONE || strcmp(s.op, gy_ops[op].name) == 0)) best = tier;
    }
    return gy_isa_name(best);
}

static void finish(gy_ctx *ctx, bench_row *row, double flops, double bytes, const bench_peaks *peaks) {
    row->threads = gy_pool_threads(gy_ctx_pool(ctx));
    row->gflops = flops / row->seconds * 1e-9;
    row->gbps = bytes / row->seconds * 1e-9;
    row->peak_fraction = fmax(row->gflops / peaks->gflops, row->gbps / bench_bandwidth(peaks, bytes));
}

static gy_status run_case(gy_ctx *ctx, const bench_case *c, const bench_peaks *peaks, bench_row *row) {
    gy_graph *g = gy_graph_new(ctx);
    if (!g) return GY_ERR_NOMEM;
    gy_output(c->build(g, c->d), "y");
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    gy_status s = p ? GY_OK : gy_error_status(ctx);
    if (s == GY_OK) {
        *row = (bench_row){.isa = "ref", .dtype = "f32"};
        snprintf(row->kernel, sizeof row->kernel, "%s", c->name);
        snprintf(row->shape, sizeof row->shape, c->shape, (int)c->d[0], (int)c->d[1], (int)c->d[2], (int)c->d[3],
                 (int)c->d[4], (int)c->d[5]);
        fill_inputs(p, g);
        s = bench_time_plan(p, 0.15, row);
    }
    if (s == GY_OK) {
        gy_plan_info r = gy_plan_report(p);
        row->isa = plan_tier(p, c->op);
        finish(ctx, row, r.flops, r.bytes, peaks);
    }
    gy_plan_free(p);
    gy_graph_free(g);
    return s;
}

/* One training step of each model's default configuration, first phase. */
static gy_status run_model(gy_ctx *ctx, const gy_model_def *def, const bench_peaks *peaks, bench_row *row) {
    gy_job j;
    gy_compiled c = {0};
    gy_status s = gy_job_init(&j, ctx, def, NULL, NULL, 0);
    if (s != GY_OK) return s;
    s = gy_job_open(&j);
    if (s == GY_OK) s = gy_job_compile_phase(&j, 0, false, &c);
    if (s == GY_OK) s = def->batch(&j, c.plan, 0, 0);
    if (s == GY_OK) {
        *row = (bench_row){.isa = plan_tier(c.plan, GY_OP_NONE), .dtype = "f32"};
        snprintf(row->kernel, sizeof row->kernel, "step:%s", def->slug);
        snprintf(row->shape, sizeof row->shape, "%s batch %" PRId64, j.config_name, j.batch);
        gy_plan_set_rng(c.plan, 0, 0);
        s = bench_time_plan(c.plan, 0.3, row);
    }
    if (s == GY_OK) {
        gy_plan_info r = gy_plan_report(c.plan);
        finish(ctx, row, r.flops, r.bytes, peaks);
    }
    gy_compiled_free(&c);
    gy_job_free(&j);
    return s;
}

gy_status bench_run(gy_ctx *ctx, const char *suite, const bench_peaks *peaks,
                    void (*sink)(void *user, const bench_row *row), void *user) {
    bool known = !suite;
    for (int i = 0; suite && bench_suites[i]; i++) known = known || strcmp(suite, bench_suites[i]) == 0;
    if (!known) {
        const char *near = gy_nearest(suite, bench_suites);
        return gy_fail(ctx, GY_ERR_USAGE,
                       "no suite '%s'%s%s%s; there are: matmul conv attention norm softmax elementwise reduce "
                       "optimizer models",
                       suite, near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
    }
    bench_row row;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (suite && strcmp(suite, cases[i].suite) != 0) continue;
        gy_status s = run_case(ctx, &cases[i], peaks, &row);
        if (s != GY_OK) return s;
        sink(user, &row);
    }
    for (const gy_model_def *const *m = gy_models; *m && (!suite || strcmp(suite, "models") == 0); m++) {
        if (!(*m)->objective || !(*m)->open || !(*m)->batch) continue;
        gy_status s = run_model(ctx, *m, peaks, &row);
        if (s != GY_OK) return s;
        sink(user, &row);
    }
    return GY_OK;
}
