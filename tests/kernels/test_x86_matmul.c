/* The matrix product at the edges of its blocks: every way through the driver against sums in double. */
#include "x86.h"

#include "core/ops/matmul.h"
#include "core/rng.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

typedef struct {
    int64_t batch, m, n, k;
    bool trans_a, trans_b, share_b, bias, residual, gap; /* gap: rows are wider than the matrix */
    int64_t act;
    double alpha;
} shape;

static double activate(double x, int64_t act) {
    switch ((gy_act)act) {
    case GY_ACT_RELU: return x < 0 ? 0 : x;
    case GY_ACT_SILU: return x / (1 + exp(-x));
    case GY_ACT_GELU: return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case GY_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case GY_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case GY_ACT_TANH: return tanh(x);
    case GY_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case GY_ACT_NONE: break;
    }
    return x;
}

static void *must(void *p) {
    assert_non_null(p);
    return p;
}
static double get(const void *p, gy_dtype t, int64_t i) {
    return t == GY_F32 ? (double)((const float *)p)[i] : ((const double *)p)[i];
}
static void *randoms(gy_ctx *ctx, gy_rng *r, gy_dtype t, int64_t n) {
    void *p = must(gy_malloc(ctx, (size_t)n * gy_dtype_size(t)));
    for (int64_t i = 0; i < n; i++) {
        double x = 2 * gy_rng_uniform(r) - 1;
        if (t == GY_F32)
            ((float *)p)[i] = (float)x;
        else
            ((double *)p)[i] = x;
    }
    return p;
}

/* Runs one shape on a context; y is malloc'd. */
typedef struct {
    void *a, *b, *bias, *residual;
    gy_view in[4], out;
    gy_matmul_attr attr;
} operands;

static gy_view matrix(void *data, gy_dtype t, int64_t batch, int64_t rows, int64_t cols, int64_t gap) {
    gy_view v = x86_view(data, t, GY_S(batch, rows, cols));
    v.stride[1] = cols + gap;
    v.stride[0] = rows * (cols + gap);
    return v;
}

static operands make(gy_ctx *ctx, gy_rng *r, gy_dtype t, const shape *s) {
    operands o = {.attr = {s->trans_a, s->trans_b, s->act, s->alpha}};
    int64_t gap = s->gap ? 3 : 0, batch_b = s->share_b ? 1 : s->batch;
    int64_t ar = s->trans_a ? s->k : s->m, ac = s->trans_a ? s->m : s->k, br = s->trans_b ? s->n : s->k,
            bc = s->trans_b ? s->k : s->n;
    o.a = randoms(ctx, r, t, s->batch * ar * (ac + gap));
    o.b = randoms(ctx, r, t, batch_b * br * (bc + gap));
    o.in[0] = matrix(o.a, t, s->batch, ar, ac, gap);
    o.in[1] = matrix(o.b, t, batch_b, br, bc, gap);
    o.bias = s->bias ? randoms(ctx, r, t, s->n) : NULL;
    o.residual = s->residual ? randoms(ctx, r, t, s->batch * s->m * (s->n + gap)) : NULL;
    o.in[2] = x86_view(o.bias, t, GY_S(s->n));
    o.in[3] = matrix(o.residual, t, s->batch, s->m, s->n, gap);
    o.out = x86_view(NULL, t, GY_S(s->batch, s->m, s->n));
    return o;
}
static void drop(gy_ctx *ctx, operands *o) {
    gy_free(ctx, o->a);
    gy_free(ctx, o->b);
    gy_free(ctx, o->bias);
    gy_free(ctx, o->residual);
}

static void *run(gy_ctx *ctx, const gy_kernel *row, operands *o) {
    size_t bytes = (size_t)gy_shape_count(o->out.shape) * gy_dtype_size(o->out.dtype);
    gy_kargs k = {.attr = &o->attr, .n_in = 4, .n_out = 1, .in = o->in, .out = &o->out, .pool = gy_ctx_pool(ctx)};
    size_t need = row->scratch ? row->scratch(&k, gy_pool_threads(k.pool)) : 0;
    k.scratch = must(gy_malloc(ctx, need));
    o->out.data = must(gy_malloc(ctx, bytes));
    memset(o->out.data, 0xff, bytes); /* NaN: what is not written shows */
    row->fn(&k);
    gy_free(ctx, k.scratch);
    return o->out.data;
}

static void check(gy_ctx *ctx, const shape *s, gy_dtype t) {
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    gy_rng r;
    gy_rng_init(&r, 1, "matmul");
    operands o = make(ctx, &r, t, s);
    const double eps = t == GY_F32 ? 0x1p-24 : 0x1p-53;
    double *want = must(gy_malloc(ctx, (size_t)(s->batch * s->m * s->n) * sizeof *want));
    double *bound = must(gy_malloc(ctx, (size_t)(s->batch * s->m * s->n) * sizeof *bound));
    int64_t ar = o.in[0].stride[s->trans_a ? 2 : 1], ak = o.in[0].stride[s->trans_a ? 1 : 2];
    int64_t bk = o.in[1].stride[s->trans_b ? 2 : 1], bc = o.in[1].stride[s->trans_b ? 1 : 2];
    for (int64_t x = 0, at = 0; x < s->batch; x++)
        for (int64_t i = 0; i < s->m; i++)
            for (int64_t j = 0; j < s->n; j++, at++) {
                double sum = 0, size = 0;
                int64_t oa = x * o.in[0].stride[0] + i * ar, ob = (s->share_b ? 0 : x * o.in[1].stride[0]) + j * bc;
                for (int64_t p = 0; p < s->k; p++) {
                    double term = get(o.a, t, oa + p * ak) * get(o.b, t, ob + p * bk);
                    sum += term;
                    size += fabs(term);
                }
                double alpha = s->alpha == 0 ? 1 : s->alpha;
                sum *= alpha;
                size *= fabs(alpha);
                if (s->bias) sum += get(o.bias, t, j), size += fabs(get(o.bias, t, j));
                sum = activate(sum, s->act);
                if (s->residual) {
                    double v = get(o.residual, t, x * o.in[3].stride[0] + i * o.in[3].stride[1] + j);
                    sum += v, size += fabs(v);
                }
                want[at] = sum;
                bound[at] = 16 * eps * (size + fabs(sum));
            }
    for (int i = 0; i < tiers; i++) {
        const gy_kernel *row = x86_row(GY_OP_matmul, t, tier[i]);
        if (!row) continue;
        void *y = run(ctx, row, &o);
        for (int64_t at = 0; at < s->batch * s->m * s->n; at++) {
            double e = fabs(get(y, t, at) - want[at]);
            if (!(e <= bound[at]))
                fail_msg("%s %s batch %d, %d x %d x %d, trans %d %d, act %d: element %d is %.9g, expected %.9g",
                         row->name, gy_dtype_name(t), (int)s->batch, (int)s->m, (int)s->n, (int)s->k, s->trans_a,
                         s->trans_b, (int)s->act, (int)at, get(y, t, at), want[at]);
        }
        gy_free(ctx, y);
    }
    gy_free(ctx, want);
    gy_free(ctx, bound);
    drop(ctx, &o);
}

static void block_edges_agree_with_sums_in_double(void **state) {
    static const int64_t edge[] = {1, 2, 3, 5, 7, 13, 14, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 255, 257};
    enum { E = sizeof edge / sizeof *edge };
    uint64_t pick = 7;
    for (int round = 0; round < 260; round++) { /* a different mix each round, all transposes in turn */
        int64_t d[3];
        for (int i = 0; i < 3; i++) {
            pick = pick * 6364136223846793005u + 1442695040888963407u;
            d[i] = edge[(pick >> 33) % E];
        }
        shape s = {.batch = 1,
                   .m = d[0],
                   .n = d[1],
                   .k = d[2],
                   .trans_a = round & 1,
                   .trans_b = round >> 1 & 1,
                   .bias = round % 3 == 0,
                   .residual = round % 5 == 0,
                   .gap = round % 7 == 0,
                   .act = round % 8,
                   .alpha = round % 4 == 0 ? -0.5 : 0};
        check(*state, &s, round % 3 == 2 ? GY_F64 : GY_F32);
    }
}

static void batches_agree_with_sums_in_double(void **state) {
    static const int64_t dims[][4] = {{2, 3, 4, 5},    {5, 17, 33, 9},  {3, 1, 40, 70}, {4, 70, 1, 33}, {7, 8, 8, 8},
                                      {33, 15, 17, 3}, {2, 65, 65, 65}, {1, 1, 1, 0},   {3, 4, 5, 0},   {0, 2, 2, 2}};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (int v = 0; v < 16; v++) {
            shape s = {.batch = dims[i][0],
                       .m = dims[i][1],
                       .n = dims[i][2],
                       .k = dims[i][3],
                       .trans_a = v & 1,
                       .trans_b = v >> 1 & 1,
                       .share_b = v >> 2 & 1,
                       .residual = v >> 3 & 1,
                       .gap = v % 3 == 0,
                       .bias = v % 5 == 0};
            check(*state, &s, v % 4 == 3 ? GY_F64 : GY_F32);
        }
}

/* Deep and small: the depth is split; deep beyond one packed group; wide beyond one chunk of columns. */
static void large_shapes_agree_with_sums_in_double(void **state) {
    static const int64_t dims[][3] = {{30, 37, 9001}, {5, 3, 20000}, {300, 70, 520}, {15, 2100, 300}, {1, 3000, 700},
                                      {4, 1030, 77},  {1500, 1, 90}, {12, 300, 200}, {900, 4, 650},   {20, 4500, 4100}};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (int v = 0; v < 4; v++) {
            if (i == 9 && v != 2) continue;
            shape s = {.batch = 1,
                       .m = dims[i][0],
                       .n = dims[i][1],
                       .k = dims[i][2],
                       .trans_a = v & 1,
                       .trans_b = v >> 1,
                       .bias = v == 1,
                       .residual = v == 2,
                       .act = v == 3 ? GY_ACT_GELU : 0};
            check(*state, &s, GY_F32);
        }
}

static void thread_counts_give_equal_bits(void **state) {
    gy_ctx *ctx = *state;
    static const shape shapes[] = {{.batch = 1, .m = 300, .n = 260, .k = 600},
                                   {.batch = 1, .m = 17, .n = 33, .k = 9000, .trans_a = true},
                                   {.batch = 1, .m = 3, .n = 1000, .k = 300, .trans_b = true, .bias = true},
                                   {.batch = 1, .m = 999, .n = 5, .k = 128},
                                   {.batch = 37, .m = 24, .n = 40, .k = 16, .trans_b = true, .residual = true},
                                   {.batch = 3, .m = 130, .n = 140, .k = 150, .act = GY_ACT_SILU}};
    static const int threads[] = {1, 2, 3, 8};
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int i = 0; i < tiers; i++)
        for (size_t j = 0; j < sizeof shapes / sizeof *shapes; j++) {
            const gy_kernel *row = x86_row(GY_OP_matmul, GY_F32, tier[i]);
            if (!row) continue;
            gy_rng r;
            gy_rng_init(&r, 2, "threads");
            operands o = make(ctx, &r, GY_F32, &shapes[j]);
            size_t bytes = (size_t)gy_shape_count(o.out.shape) * sizeof(float);
            void *first = NULL;
            for (size_t t = 0; t < sizeof threads / sizeof *threads; t++) {
                gy_ctx *c = gy_ctx_new((gy_ctx_args){.threads = threads[t]});
                void *y = run(c, row, &o);
                if (!first) {
                    first = must(gy_malloc(ctx, bytes));
                    memcpy(first, y, bytes);
                }
                if (memcmp(first, y, bytes) != 0)
                    fail_msg("%s: shape %d differs with %d threads", row->name, (int)j, threads[t]);
                gy_free(c, y);
                gy_ctx_free(c);
            }
            gy_free(ctx, first);
            drop(ctx, &o);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(block_edges_agree_with_sums_in_double),
        TEST(batches_agree_with_sums_in_double),
        TEST(large_shapes_agree_with_sums_in_double),
        TEST(thread_counts_give_equal_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
