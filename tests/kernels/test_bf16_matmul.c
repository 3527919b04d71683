/* The matrix product of bf16 operands, and of f32 operands in plans of precision bf16: every tier's rows against sums
 * in double of the same bf16 values. A result may be off by its own rounding and by what f32 sums lose. */
#include "x86.h"

#include "core/ops/matmul.h"
#include "core/rng.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    int64_t batch, m, n, k;
    bool trans_a, trans_b, share_b, bias, residual, gap; /* gap: rows are wider than the matrix */
    double alpha;
    bool wide; /* f32 operands and result */
} shape;

static void *must(void *p) {
    assert_non_null(p);
    return p;
}
static gy_view matrix(gy_ctx *ctx, gy_rng *r, bool wide, int64_t batch, int64_t rows, int64_t cols, int64_t gap) {
    int64_t n = batch * rows * (cols + gap);
    gy_dtype dtype = wide ? GY_F32 : GY_BF16;
    void *p = must(gy_malloc(ctx, (size_t)(n + 1) * gy_dtype_size(dtype)));
    for (int64_t i = 0; i < n; i++) {
        float x = (float)(2 * gy_rng_uniform(r) - 1);
        if (wide)
            ((float *)p)[i] = x;
        else
            ((uint16_t *)p)[i] = gy_f32_to_bf16(x);
    }
    gy_view v = x86_view(p, dtype, GY_S(batch, rows, cols));
    v.stride[1] = cols + gap;
    v.stride[0] = rows * (cols + gap);
    return v;
}
static double element(gy_dtype dtype, const void *p, int64_t at) {
    return dtype == GY_F32 ? (double)((const float *)p)[at] : (double)gy_bf16_to_f32(((const uint16_t *)p)[at]);
}
static double value(const gy_view *v, int64_t b, int64_t i, int64_t j) {
    int64_t at = (v->shape.dim[0] == 1 ? 0 : b) * v->stride[0] + i * v->stride[1] + j * v->stride[2];
    return element(v->dtype, v->data, at);
}
static double factor(const gy_view *v, int64_t b, int64_t i, int64_t j) {
    return (double)gy_bf16_to_f32(gy_f32_to_bf16((float)value(v, b, i, j)));
}

static void *run(gy_ctx *ctx, const gy_kernel *row, const gy_matmul_attr *attr, gy_view in[4], gy_shape y) {
    size_t bytes = (size_t)gy_shape_count(y) * gy_dtype_size(in[0].dtype);
    gy_view out = x86_view(must(gy_malloc(ctx, bytes + 2)), in[0].dtype, y);
    gy_kargs k = {
        .attr = attr, .n_in = 4, .n_out = 1, .in = in, .out = &out, .pool = gy_ctx_pool(ctx), .precision = GY_BF16};
    size_t need = row->scratch ? row->scratch(&k, gy_pool_threads(k.pool)) : 0;
    k.scratch = must(gy_malloc(ctx, need));
    memset(k.scratch, 0xff, need); /* NaN: what is not written shows */
    memset(out.data, 0xff, bytes);
    row->fn(&k);
    gy_free(ctx, k.scratch);
    return out.data;
}

static void check_row(gy_ctx *ctx, gy_isa isa, const shape *s) {
    gy_kargs any = {.precision = GY_BF16};
    gy_dtype dtype = s->wide ? GY_F32 : GY_BF16;
    const gy_kernel *row = gy_kernel_choose(GY_OP_matmul, dtype, UINT64_C(1) << isa, &any);
    if (s->wide) assert_true(row && row->flags & GY_K_BF16_COMPUTE);
    if (!row || !(gy_isa_detect(NULL) >> isa & 1)) return;
    gy_rng r;
    gy_rng_init(&r, 1, "bf16");
    int64_t gap = s->gap ? 3 : 0, batch_b = s->share_b ? 1 : s->batch;
    gy_view in[4] = {matrix(ctx, &r, s->wide, s->batch, s->trans_a ? s->k : s->m, s->trans_a ? s->m : s->k, gap),
                     matrix(ctx, &r, s->wide, batch_b, s->trans_b ? s->n : s->k, s->trans_b ? s->k : s->n, gap),
                     matrix(ctx, &r, s->wide, 1, 1, s->n, 0), matrix(ctx, &r, s->wide, s->batch, s->m, s->n, gap)};
    gy_view bias = in[2], use[4] = {in[0], in[1], x86_view(s->bias ? bias.data : NULL, dtype, GY_S(s->n)), in[3]};
    if (!s->residual) use[3].data = NULL;
    gy_matmul_attr attr = {s->trans_a, s->trans_b, s->bias ? GY_ACT_RELU : GY_ACT_NONE, s->alpha};
    gy_shape shape_y = GY_S(s->batch, s->m, s->n);
    void *y = run(ctx, row, &attr, use, shape_y);
    for (int64_t b = 0, at = 0; b < s->batch; b++)
        for (int64_t i = 0; i < s->m; i++)
            for (int64_t j = 0; j < s->n; j++, at++) {
                double sum = 0, size = 0, alpha = s->alpha == 0 ? 1 : s->alpha;
                for (int64_t p = 0; p < s->k; p++) {
                    double term = factor(&in[0], b, s->trans_a ? p : i, s->trans_a ? i : p) *
                                  factor(&in[1], b, s->trans_b ? j : p, s->trans_b ? p : j);
                    sum += term;
                    size += fabs(term);
                }
                sum *= alpha;
                if (s->bias) {
                    sum += value(&bias, 0, 0, j);
                    sum = sum < 0 ? 0 : sum;
                }
                if (s->residual) sum += value(&in[3], b, i, j);
                double have = element(dtype, y, at);
                int e;
                frexp(sum, &e); /* half a unit of 8 bits, and of 24 a few */
                double bound = ldexp(1, s->wide ? e - 25 : e - 9) + 0x1p-22 * (size * fabs(alpha) + 1);
                if (!(fabs(have - sum) <= bound))
                    fail_msg("%s: %d x %d x %d x %d, trans %d %d: element %d is %.9g, expected %.9g", row->name,
                             (int)s->batch, (int)s->m, (int)s->n, (int)s->k, s->trans_a, s->trans_b, (int)at, have,
                             sum);
            }
    for (int threads = 1; threads <= 5; threads += 2) {
        gy_ctx *c = gy_ctx_new((gy_ctx_args){.threads = threads});
        void *again = run(c, row, &attr, use, shape_y);
        if (memcmp(y, again, (size_t)gy_shape_count(shape_y) * gy_dtype_size(dtype)) != 0)
            fail_msg("%s: other bits on %d threads", row->name, threads);
        gy_free(c, again);
        gy_ctx_free(c);
    }
    gy_free(ctx, y);
    for (int i = 0; i < 4; i++) gy_free(ctx, in[i].data);
}
static void check(gy_ctx *ctx, const shape *s) {
    shape wide = *s;
    wide.wide = true;
    for (int isa = 0; isa < GY_ISA_COUNT; isa++) {
        if (isa == GY_ISA_REF && s->m * s->n * s->k >= 100000) continue;
        if (isa == GY_ISA_REF || isa == GY_ISA_AVX512BF16) check_row(ctx, (gy_isa)isa, s);
        if (gy_isa_detect(NULL) >> isa & 1) check_row(ctx, (gy_isa)isa, &wide);
    }
}

static void block_edges_agree_with_sums_in_double(void **state) {
    static const int64_t edge[] = {1, 2, 3, 5, 13, 14, 15, 16, 17, 28, 31, 32, 33, 63, 64, 65, 113};
    gy_rng r;
    gy_rng_init(&r, 9, "edges");
    for (int round = 0; round < 120; round++) {
        enum { E = sizeof edge / sizeof *edge };
        shape s = {.batch = 1,
                   .m = edge[gy_rng_below(&r, E)],
                   .n = edge[gy_rng_below(&r, E)],
                   .k = edge[gy_rng_below(&r, E)],
                   .trans_a = round & 1,
                   .trans_b = round >> 1 & 1,
                   .bias = round % 3 == 0,
                   .residual = round % 5 == 0,
                   .gap = round % 7 == 0,
                   .alpha = round % 4 == 0 ? -0.5 : 0};
        check(*state, &s);
    }
}
static void batches_and_empty_sums_agree_with_sums_in_double(void **state) {
    static const int64_t dims[][4] = {{2, 3, 4, 5},    {5, 17, 33, 9}, {3, 1, 40, 70}, {33, 15, 17, 3},
                                      {2, 65, 65, 65}, {1, 2, 3, 0},   {3, 4, 5, 0},   {0, 2, 2, 2}};
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
            check(*state, &s);
        }
}
/* Several steps of depth, tiles in both directions, several chunks of columns. */
static void large_shapes_agree_with_sums_in_double(void **state) {
    static const int64_t dims[][3] = {{130, 300, 1100}, {3, 40, 9001}, {5, 3000, 3001}};
    for (size_t i = 0; i < sizeof dims / sizeof *dims; i++)
        for (int v = i == 2 ? 2 : 0; v < (i == 2 ? 3 : 4); v++) {
            shape s = {
                .batch = 1, .m = dims[i][0], .n = dims[i][1], .k = dims[i][2], .trans_a = v & 1, .trans_b = v >> 1};
            check(*state, &s);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(block_edges_agree_with_sums_in_double),
        TEST(batches_and_empty_sums_agree_with_sums_in_double),
        TEST(large_shapes_agree_with_sums_in_double),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
