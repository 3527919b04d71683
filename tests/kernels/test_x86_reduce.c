/* Reductions and copies of the x86 floors against the reference kernels, over random shapes, strides and axes. */
#include "x86.h"

#include "core/ops/reduce.h"
#include "core/ops/shape.h"
#include "core/rng.h"

#include <math.h>
#include <stdlib.h>

enum { MOST = 1 << 16 };

/* A view of `data` with permuted axes and sometimes a step, a broadcast axis or a flip. */
static gy_view random_view(gy_rng *r, char *data, gy_dtype t, int64_t big) {
    static const int64_t dims[] = {1, 2, 3, 5, 8, 16, 17, 31, 64, 130};
    gy_view v = {.dtype = t, .shape.rank = 1 + gy_rng_below(r, 4)};
    int64_t order[GY_MAX_RANK], stride = 1, low = 0, count = 1;
    for (int64_t i = 0; i < v.shape.rank; i++) {
        order[i] = i;
        int64_t d = big && i == 0 ? big : dims[gy_rng_below(r, 10)];
        if (count * d > MOST / 4) d = 1;
        v.shape.dim[i] = d;
        count *= d;
    }
    gy_rng_shuffle(r, order, v.shape.rank);
    for (int64_t i = 0; i < v.shape.rank; i++) {
        int64_t a = order[i], kind = gy_rng_below(r, 12);
        int64_t step = stride * (kind == 0 && stride * v.shape.dim[a] * 2 <= MOST ? 2 : 1);
        stride = step * v.shape.dim[a];
        v.stride[a] = kind == 1 ? 0 : step;
        if (kind == 2) {
            v.stride[a] = -step;
            low += step * (v.shape.dim[a] - 1);
        }
    }
    v.data = data + low * (int64_t)gy_dtype_size(t);
    return v;
}

static void run(gy_ctx *ctx, const gy_kernel *row, gy_kargs k) {
    k.pool = gy_ctx_pool(ctx);
    k.scratch = gy_malloc(ctx, row->scratch ? row->scratch(&k, gy_pool_threads(k.pool)) : 0);
    assert_non_null(k.scratch);
    row->fn(&k);
    gy_free(ctx, k.scratch);
}

static void reductions_agree_with_ref_for_any_threads(void **state) {
    gy_ctx *many = *state, *one = gy_ctx_new((gy_ctx_args){.threads = 1}),
           *eight = gy_ctx_new((gy_ctx_args){.threads = 8});
    static const gy_op_id ops[] = {GY_OP_sum, GY_OP_max, GY_OP_min};
    static float x[MOST], want[MOST], got[MOST], again[MOST];
    gy_rng r;
    gy_rng_init(&r, 3, "reduce");
    for (int i = 0; i < MOST; i++) x[i] = (float)(gy_rng_uniform(&r) - 0.3);
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int round = 0; round < 600; round++) {
        if (round == 500) x[77] = NAN;
        gy_view in = random_view(&r, (char *)x, GY_F32, round % 10 == 0 ? 9000 : 0);
        gy_reduce_attr attr = {.axes.n = 0};
        gy_shape s = {0};
        for (int64_t i = 0; i < in.shape.rank; i++) {
            if (gy_rng_below(&r, 2))
                attr.axes.axis[attr.axes.n++] = i;
            else
                s.dim[s.rank++] = in.shape.dim[i];
        }
        if (attr.axes.n == 0) continue;
        int64_t n = gy_shape_count(s), m = gy_shape_count(in.shape) / n;
        gy_op_id op = ops[round % 3];
        gy_view out = x86_view(want, GY_F32, s);
        gy_kargs k = {.attr = &attr, .n_in = 1, .n_out = 1, .in = &in, .out = &out};
        run(many, x86_row(op, GY_F32, GY_ISA_REF), k);
        for (int t = 0; t < tiers; t++) {
            const gy_kernel *row = x86_row(op, GY_F32, tier[t]);
            if (!row) continue;
            memset(got, 0xff, sizeof got);
            out.data = got;
            run(many, row, k);
            out.data = again;
            run(one, row, k);
            assert_memory_equal(got, again, (size_t)n * sizeof *got);
            run(eight, row, k);
            assert_memory_equal(got, again, (size_t)n * sizeof *got);
            for (int64_t i = 0; i < n; i++) {
                double tol = op == GY_OP_sum ? 3e-6 * (double)m : 0; /* terms are below 1 */
                if (isnan(want[i]) ? !isnan(got[i]) : !(fabs((double)got[i] - (double)want[i]) <= tol))
                    fail_msg("%s round %d: element %d is %.9g, expected %.9g", row->name, round, (int)i, (double)got[i],
                             (double)want[i]);
            }
        }
    }
    gy_ctx_free(one);
    gy_ctx_free(eight);
}

static void a_long_sum_is_as_good_as_a_pairwise_one(void **state) {
    gy_ctx *ctx = *state;
    enum { N = 3000000 };
    float *x = gy_malloc(ctx, N * sizeof *x), y;
    assert_non_null(x);
    for (int i = 0; i < N; i++) x[i] = 0.1f;
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int t = 0; t < tiers; t++)
        for (int columns = 0; columns < 2; columns++) {
            const gy_kernel *row = x86_row(GY_OP_sum, GY_F32, tier[t]);
            if (!row) continue;
            float lanes[3];
            gy_view in = x86_view(x, GY_F32, columns ? GY_S(N / 3, 3) : GY_S(N)),
                    out = x86_view(columns ? lanes : &y, GY_F32, columns ? GY_S(3) : GY_S0);
            gy_reduce_attr attr = {.axes = GY_AXES(0)};
            run(ctx, row, (gy_kargs){.attr = &attr, .n_in = 1, .n_out = 1, .in = &in, .out = &out});
            double want = (double)0.1f * (columns ? N / 3 : N), found = (double)(columns ? lanes[1] : y);
            if (!(fabs(found - want) <= 16 * 0x1p-24 * want))
                fail_msg("%.9g, expected %.9g", found, want); /* equal terms: the worst case */
        }
    gy_free(ctx, x);
}

static void copies_and_joins_move_every_element(void **state) {
    static const gy_dtype types[] = {GY_F32, GY_F64, GY_BF16, GY_U8};
    static uint8_t x[MOST * 8], want[MOST * 8], got[MOST * 8];
    gy_rng r;
    gy_rng_init(&r, 4, "copy");
    for (size_t i = 0; i < sizeof x; i++) x[i] = (uint8_t)gy_rng_u32(&r);
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int round = 0; round < 600; round++) {
        gy_dtype t = types[round % 4];
        gy_view in[2] = {random_view(&r, (char *)x, t, 0)};
        in[1] = in[0];
        gy_axis_attr attr = {.axis = gy_rng_below(&r, in[0].shape.rank)};
        bool join = round % 3 == 0;
        gy_shape s = in[0].shape;
        if (join) s.dim[attr.axis] *= 2;
        gy_view out = x86_view(want, t, s);
        gy_kargs k = {.attr = &attr, .n_in = join ? 2 : 1, .n_out = 1, .in = in, .out = &out};
        gy_op_id op = join ? GY_OP_concat : GY_OP_copy;
        run(*state, x86_row(op, t, GY_ISA_REF), k);
        for (int i = 0; i < tiers; i++) {
            const gy_kernel *row = x86_row(op, t, tier[i]);
            if (!row) continue;
            memset(got, 0xff, sizeof got);
            out.data = got;
            run(*state, row, k);
            assert_memory_equal(got, want, (size_t)gy_shape_count(s) * gy_dtype_size(t));
        }
    }
}

/* Padding with zero and other values; slices put back, with steps. */
static void regions_of_larger_arrays_equal_the_reference(void **state) {
    static const gy_dtype types[] = {GY_F32, GY_F64, GY_BF16, GY_U8};
    static uint8_t x[MOST * 8], want[MOST * 8], got[MOST * 8];
    gy_rng r;
    gy_rng_init(&r, 6, "regions");
    for (size_t i = 0; i < sizeof x; i++) x[i] = (uint8_t)gy_rng_u32(&r);
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int round = 0; round < 400; round++) {
        gy_dtype t = types[round % 4];
        gy_view in = random_view(&r, (char *)x, t, 0);
        int64_t axis = gy_rng_below(&r, in.shape.rank), n = in.shape.dim[axis], first = gy_rng_below(&r, 3);
        gy_op_id op = round % 2 ? GY_OP_pad : GY_OP_unslice;
        gy_axis_attr attr = {.axis = axis, .start = first, .before = first, .after = gy_rng_below(&r, 2)};
        attr.step = op == GY_OP_pad ? 1 : 1 + gy_rng_below(&r, 2);
        attr.value = round % 3 ? 0 : 1.5;
        gy_shape s = in.shape;
        s.dim[axis] = first + (n - 1) * attr.step + 1 + attr.after;
        if (gy_shape_count(s) > MOST) continue;
        gy_view out = x86_view(want, t, s);
        gy_kargs k = {.attr = &attr, .n_in = 1, .n_out = 1, .in = &in, .out = &out};
        run(*state, x86_row(op, t, GY_ISA_REF), k);
        for (int i = 0; i < tiers; i++) {
            const gy_kernel *row = x86_row(op, t, tier[i]);
            if (!row) continue;
            memset(got, 0xff, sizeof got);
            out.data = got;
            run(*state, row, k);
            assert_memory_equal(got, want, (size_t)gy_shape_count(s) * gy_dtype_size(t));
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(reductions_agree_with_ref_for_any_threads),
        TEST(a_long_sum_is_as_good_as_a_pairwise_one),
        TEST(copies_and_joins_move_every_element),
        TEST(regions_of_larger_arrays_equal_the_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
