/* Sizes at which kernels for GPUs take other paths than in the operators' cases: reductions in two launches, sorts
 * longer than a block, more sources than a tile, joins of many parts, transforms longer than shared memory, transposed
 * copies. On the emulator, in three schedules, against the reference on the CPU. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "core/op.h"
#include "kernels/cuda/emu/emu.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static gy_t draw(gy_graph *g, const char *name, gy_dtype dtype, gy_shape s, double lo, double hi) {
    gy_ctx *ctx = gy_graph_ctx(g);
    gy_tensor t;
    gy_rng r;
    gy_rng_init(&r, 9, name);
    assert_ok(ctx, gy_tensor_new(ctx, &t, dtype, s));
    for (int64_t i = 0; i < gy_shape_count(s); i++) {
        double v = lo + (hi - lo) * gy_rng_uniform(&r);
        gy_tensor_set(&t, i, gy_dtype_is_float(dtype) ? v : floor(v));
    }
    gy_t x = gy_const(g, &t);
    gy_tensor_free(ctx, &t);
    return x;
}
static gy_t floats(gy_graph *g, const char *name, gy_shape s) {
    return draw(g, name, GY_F32, s, -1, 1);
}
/* Whole numbers, so that many are equal, some of them NaN and -0. */
static gy_t awkward(gy_graph *g, const char *name, gy_dtype dtype, gy_shape s) {
    gy_t x = gy_cast(draw(g, name, GY_I64, s, -20, 21), dtype);
    gy_t zero = gy_mul(x, gy_full(g, dtype, GY_S0, -0.0)), odd = draw(g, "odd", GY_I64, s, 0, 100);
    x = gy_where(gy_eq(odd, gy_full(g, GY_I64, GY_S0, 1)), zero, x);
    return gy_where(gy_eq(odd, gy_full(g, GY_I64, GY_S0, 2)), gy_div(zero, zero), x);
}

static void reductions(gy_graph *g) {
    gy_t x = floats(g, "x", GY_S(3, 40000)), tall = floats(g, "tall", GY_S(9000, 3)),
         y = awkward(g, "y", GY_F32, GY_S(2, 20000));
    gy_output(gy_sum(x, GY_ALL), "sum of all");
    gy_output(gy_sum(x, GY_AXES(0)), "sum of short columns");
    gy_output(gy_sum(tall, GY_AXES(0)), "sum of long columns");
    gy_output(gy_sum_squares(tall, GY_AXES(0)), "squares of long columns");
    gy_output(gy_sum(floats(g, "z", GY_S(300, 70)), GY_AXES(0)), "sum of columns");
    gy_output(gy_max(x, GY_AXES(1)), "max");
    gy_output(gy_min(gy_transpose(tall), GY_AXES(1)), "min of a transpose");
    gy_output(gy_max(y, GY_AXES(1)), "max with NaN");
    gy_output(gy_argmax(x, 1), "argmax");
    gy_output(gy_argmin(x, 1), "argmin");
    gy_output(gy_argmax(y, 1), "argmax with NaN");
    gy_output(gy_argmax(gy_cast(draw(g, "ties", GY_I64, GY_S(9000, 2), 0, 5), GY_F32), 0), "argmax of equals");
    gy_output(gy_cumsum(floats(g, "c", GY_S(2, 1500)), 1), "cumsum");
    gy_output(gy_cumsum_reverse(floats(g, "d", GY_S(2, 1031)), 1), "cumsum backwards");
    gy_output(gy_cumsum(floats(g, "e", GY_S(3, 77, 40)), 1), "cumsum of columns");
}

static void sorts(gy_graph *g) {
    gy_t x = awkward(g, "x", GY_F32, GY_S(3, 5000)), down = gy_sort_descending(x, 1), up = gy_sort(x, 1);
    gy_t top = gy_top_k(floats(g, "y", GY_S(2, 9001)), 7), wide = gy_sort(awkward(g, "z", GY_F64, GY_S(2100, 2)), 0);
    gy_output(up, "up");
    gy_output(gy_out(up, 1), "positions up");
    gy_output(down, "down");
    gy_output(gy_out(down, 1), "positions down");
    gy_output(top, "top");
    gy_output(gy_out(top, 1), "positions of top");
    gy_output(wide, "columns of f64");
    gy_output(gy_out(wide, 1), "positions in columns");
}

static void scatters(gy_graph *g) {
    gy_t to = draw(g, "to", GY_I64, GY_S(6000), -3, 703), few = draw(g, "few", GY_I64, GY_S(5000), 0, 3);
    gy_t m = gy_segment_max(floats(g, "m", GY_S(5000, 3)), few, 4);
    gy_output(gy_scatter_add(floats(g, "u", GY_S(2, 6000, 5)), to, 1, 700), "scatter");
    gy_output(gy_scatter_add(floats(g, "v", GY_S(5000, 40)), few, 0, 3), "scatter to few");
    gy_output(m, "segment max");
    gy_output(gy_out(m, 1), "where");
    gy_output(
        gy_scatter_along_add(floats(g, "w", GY_S(4, 900, 3)), draw(g, "i", GY_I64, GY_S(4, 900, 3), -1, 301), 1, 300),
        "along");
    gy_output(gy_gather(floats(g, "t", GY_S(700, 8)), to, 0), "gather of sixteens");
    gy_output(gy_gather(floats(g, "t3", GY_S(700, 3)), to, 0), "gather");
    gy_t ptr = gy_sort(draw(g, "ptr", GY_F64, GY_S(301), 0, 5000), 0),
         column = draw(g, "column", GY_I64, GY_S(5000), 0, 200);
    ptr = gy_cast(ptr, GY_I64);
    gy_t a = floats(g, "a", GY_S(5000)), b = floats(g, "b", GY_S(200, 33)), c = floats(g, "c", GY_S(300, 33));
    gy_output(gy_spmm(ptr, column, a, b), "sparse product");
    gy_output(gy_spmm_t(ptr, column, a, c, 200), "transposed sparse product");
    gy_output(gy_sddmm(ptr, column, c, b), "sampled product");
}

static void moves(gy_graph *g) {
    gy_t part[37], x = floats(g, "x", GY_S(70, 45, 3)), mask = draw(g, "mask", GY_U8, GY_S(65, 130), 0, 2);
    for (int i = 0; i < 37; i++) {
        char name[16];
        snprintf(name, sizeof name, "part %d", i);
        part[i] = floats(g, name, i == 20 ? GY_S(8, 4) : GY_S(4, 1 + i % 3 * 4));
        if (i == 20) part[i] = gy_transpose(part[i]);
    }
    gy_output(gy_concat(1, 37, part), "joined");
    gy_output(gy_concat2(1, floats(g, "p", GY_S(4, 8)), floats(g, "q", GY_S(4, 12))), "joined by sixteens");
    gy_output(gy_permute(x, 2, 1, 0), "axes reversed");
    gy_output(gy_permute(x, 1, 0, 2), "axes exchanged");
    gy_output(gy_transpose(mask), "transposed bytes");
    gy_output(gy_transpose(draw(g, "index", GY_I64, GY_S(33, 70), -5, 5)), "transposed indices");
    gy_output(gy_flip(gy_permute(x, 0, 2, 1), 0), "flipped");
    gy_output(gy_pad_value(gy_transpose(x), 1, 2, 3, 0.5), "padded");
    gy_output(gy_slice_step(x, 0, 1, 60, 7), "sliced");
    gy_output(gy_slice(floats(g, "rows", GY_S(19, 12, 4)), 1, 2, 9), "sliced by sixteens");
    gy_output(gy_slice(floats(g, "odd rows", GY_S(19, 12, 4)), 2, 1, 4), "sliced off sixteens");
}

static void transforms(gy_graph *g) {
    gy_output(gy_fft(floats(g, "x", GY_S(2, 8192, 2)), -1), "by fours, through global memory");
    gy_output(gy_rfft(floats(g, "y", GY_S(2, 5462)), -1), "a large prime factor");
    gy_output(gy_irfft(floats(g, "z", GY_S(601, 3, 2)), 0, 1200), "down columns");
    gy_output(gy_rfft(floats(g, "short", GY_S(50, 12)), 1), "short ones");
}

static void draws(gy_graph *g) {
    gy_output(gy_random_uniform(g, "u", GY_F32, GY_S(5003), -1, 2), "uniform");
    gy_output(gy_random_bernoulli(g, "b", GY_F32, GY_S(4097), 0.3), "bernoulli");
    gy_output(gy_random_normal(g, "n", GY_F32, GY_S(5001)), "normal");
    gy_output(gy_random_gumbel(g, "g", GY_F32, GY_S(2050)), "gumbel");
    gy_output(gy_random_normal(g, "w", GY_F64, GY_S(1023)), "normal f64");
}

typedef struct {
    void (*build)(gy_graph *g);
    bool exact; /* the CPU's bits */
} subject;

static gy_plan *run(gy_graph *g, gy_plan_args a) {
    gy_ctx *ctx = gy_graph_ctx(g);
    gy_plan *p = gy_compile(g, a);
    if (!p) fail_msg("%s", gy_error(ctx));
    gy_plan_set_rng(p, 1, 2);
    assert_ok(ctx, gy_plan_run(p));
    return p;
}

static void compare(const char *name, const gy_tensor *a, const gy_tensor *b, bool exact) {
    double scale = 0;
    int64_t n = gy_shape_count(b->shape);
    assert_true(gy_shape_equal(a->shape, b->shape) && a->dtype == b->dtype);
    for (int64_t i = 0; i < n; i++)
        if (isfinite(gy_tensor_get(b, i))) scale = fmax(scale, fabs(gy_tensor_get(b, i)));
    double tolerance = exact || !gy_dtype_is_float(a->dtype) ? 0 : a->dtype == GY_F32 ? 2.4e-7 * scale : 1e-14 * scale;
    for (int64_t i = 0; i < n; i++) {
        double u = gy_tensor_get(a, i), v = gy_tensor_get(b, i);
        bool alike = u == v ? signbit(u) == signbit(v) || tolerance > 0 : isnan(u) && isnan(v);
        if (!alike && !(fabs(u - v) <= tolerance))
            fail_msg("%s: element %d is %.9g on the emulator, %.9g on the CPU", name, (int)i, u, v);
    }
}

static void agrees_with_the_cpu(void **state) {
    const subject *s = *state;
    gy_ctx *host = gy_ctx_new((gy_ctx_args){.threads = 2}), *ctx = gy_ctx_new((gy_ctx_args){.threads = 2});
    assert_true(host && ctx);
    assert_ok(ctx, gy_ctx_set_device(ctx, "emu"));
    gy_graph *g = gy_graph_new(ctx), *h = gy_graph_new(host);
    s->build(g);
    s->build(h);
    gy_plan *want = run(h, (gy_plan_args){.isa_mask = 1}), *first = NULL;
    for (int order = GY_EMU_FORWARD; order <= GY_EMU_RANDOM; order++) {
        gy_emu_schedule(gy_ctx_device(ctx), (gy_emu_order)order, 3);
        gy_plan *p = run(g, (gy_plan_args){.off = GY_PASS_ALL});
        for (int64_t o = 0; o < g->n_output; o++) {
            const char *name = g->output[o].name;
            gy_tensor a = gy_plan_output(p, name), b = gy_plan_output(want, name);
            compare(name, &a, &b, s->exact);
            gy_tensor f = gy_plan_output(first ? first : p, name);
            if (memcmp(a.data, f.data, gy_tensor_bytes(&a)) != 0)
                fail_msg("%s: other bits in another order of warps", name);
        }
        if (first) gy_plan_free(p);
        if (!first) first = p;
    }
    gy_plan_free(first);
    gy_plan_free(want);
    gy_graph_free(g);
    gy_graph_free(h);
    gy_ctx_free(ctx);
    gy_ctx_free(host);
}

int main(void) {
    static subject s[] = {{reductions, false}, {sorts, true},       {scatters, false},
                          {moves, true},       {transforms, false}, {draws, true}};
    static const char *const names[] = {
        "reductions in one launch and in two", "sorts in a block and by merging", "sums of sorted sources",
        "copies that keep every bit",          "transforms of any length",        "random values have the CPU's bits"};
    struct CMUnitTest tests[6];
    for (int i = 0; i < 6; i++) tests[i] = (struct CMUnitTest){names[i], agrees_with_the_cpu, NULL, NULL, &s[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
