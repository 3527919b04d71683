/* Convolutions at the edges of the x86 kernels: strides and their phases, one to four channels on a side. Each against
 * the reference kernel in double, and with equal bits for any number of threads. */
#include "x86.h"

#include "core/gyrus.h"
#include "core/ops/conv.h"
#include "core/rng.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    int64_t batch, in[3], cin, cout, kernel[3];
    gy_conv_attr a;
} example;

static void *must(void *p) {
    assert_non_null(p);
    return p;
}

/* One operand in both precisions. */
typedef struct {
    double *d;
    float *f;
    int64_t n;
    gy_shape shape;
} operand;

static operand operand_new(gy_ctx *ctx, gy_shape shape, uint64_t seed) {
    operand o = {.n = gy_shape_count(shape), .shape = shape};
    o.d = must(gy_malloc(ctx, (size_t)(o.n + 1) * sizeof *o.d));
    o.f = must(gy_malloc(ctx, (size_t)(o.n + 1) * sizeof *o.f));
    gy_rng r;
    gy_rng_init(&r, seed, "operand");
    for (int64_t i = 0; i < o.n; i++) o.d[i] = (double)(o.f[i] = (float)(2 * gy_rng_uniform(&r) - 1));
    return o;
}
static void operand_free(gy_ctx *ctx, operand *o) {
    gy_free(ctx, o->d);
    gy_free(ctx, o->f);
}

static void run(gy_ctx *ctx, const gy_kernel *row, const gy_conv_attr *a, operand *in[], int n_in, operand *out) {
    gy_view v[4], y = x86_view(row->dtype == GY_F32 ? (void *)out->f : out->d, row->dtype, out->shape);
    for (int i = 0; i < n_in; i++)
        v[i] = x86_view(row->dtype == GY_F32 ? (void *)in[i]->f : in[i]->d, row->dtype, in[i]->shape);
    gy_kargs k = {.attr = a, .n_in = n_in, .n_out = 1, .in = v, .out = &y, .pool = gy_ctx_pool(ctx)};
    size_t need = row->scratch ? row->scratch(&k, gy_pool_threads(k.pool)) : 0;
    k.scratch = must(gy_malloc(ctx, need));
    memset(k.scratch, 0xA5, need);
    memset(y.data, 0xff, (size_t)out->n * gy_dtype_size(row->dtype)); /* NaN: what is not written shows */
    row->fn(&k);
    gy_free(ctx, k.scratch);
}

/* `terms` numbers of size 1/3 a sum: their partial sums wander to sqrt(terms), so do the roundings. */
static void compare(gy_ctx *ctx, gy_op_id op, const gy_conv_attr *a, operand *in[], int n_in, operand *out,
                    double terms) {
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    run(ctx, must((void *)(uintptr_t)x86_row(op, GY_F64, GY_ISA_REF)), a, in, n_in, out);
    for (int t = 0; t < tiers; t++) {
        const gy_kernel *row = x86_row(op, GY_F32, tier[t]);
        if (!row) continue;
        run(ctx, row, a, in, n_in, out);
        for (int64_t i = 0; i < out->n; i++)
            if (!(fabs((double)out->f[i] - out->d[i]) <= 0x1p-24 * (terms + 32)))
                fail_msg("%s: element %d of %d is %.9g, expected %.9g", row->name, (int)i, (int)out->n,
                         (double)out->f[i], out->d[i]);
        float *first = must(gy_malloc(ctx, (size_t)(out->n + 1) * sizeof *first));
        memcpy(first, out->f, (size_t)out->n * sizeof *first);
        for (int threads = 1; threads <= 5; threads += 2) {
            gy_ctx *c = gy_ctx_new((gy_ctx_args){.threads = threads});
            run(c, row, a, in, n_in, out);
            gy_ctx_free(c);
            if (memcmp(first, out->f, (size_t)out->n * sizeof *first) != 0)
                fail_msg("%s: other bits on %d threads", row->name, threads);
        }
        gy_free(ctx, first);
    }
}

/* ---- plans of precision bf16 ---- */

/* The best row of a tier that rounds factors, NULL: none that takes the operands. */
static const gy_kernel *rounding_row(gy_op_id op, gy_isa isa, const gy_kargs *k) {
    int64_t n;
    const gy_kernel *rows = gy_kernel_table(&n);
    for (int64_t i = 0; i < n; i++)
        if (rows[i].op == op && rows[i].isa == isa && rows[i].flags & GY_K_BF16_COMPUTE && rows[i].dtype == GY_F32 &&
            (!rows[i].supports || rows[i].supports(k)))
            return &rows[i];
    return NULL;
}

static void compare_rounded(gy_ctx *ctx, gy_op_id op, const gy_conv_attr *a, operand *in[], int n_in, operand *out,
                            double terms) {
    gy_view v[4], y = x86_view(out->f, GY_F32, out->shape);
    for (int i = 0; i < n_in; i++) v[i] = x86_view(in[i]->f, GY_F32, in[i]->shape);
    gy_kargs k = {.attr = a, .n_in = n_in, .n_out = 1, .in = v, .out = &y, .precision = GY_BF16};
    float *want = must(gy_malloc(ctx, (size_t)(out->n + 1) * sizeof *want));
    for (int isa = GY_ISA_REF; isa < GY_ISA_COUNT; isa++) {
        const gy_kernel *row = gy_isa_detect(NULL) >> isa & 1 ? rounding_row(op, (gy_isa)isa, &k) : NULL;
        if (!row) continue;
        for (int threads = 1; threads <= 3; threads += 2) {
            gy_ctx *c = gy_ctx_new((gy_ctx_args){.threads = threads});
            k.pool = gy_ctx_pool(c);
            size_t need = row->scratch ? row->scratch(&k, gy_pool_threads(k.pool)) : 0;
            k.scratch = must(gy_malloc(c, need));
            memset(k.scratch, 0xA5, need);
            memset(out->f, 0xff, (size_t)out->n * sizeof(float));
            row->fn(&k);
            gy_free(c, k.scratch);
            gy_ctx_free(c);
            for (int64_t i = 0; isa > GY_ISA_REF && i < out->n; i++)
                if (!(fabs((double)out->f[i] - (double)want[i]) <= 0x1p-24 * (terms + 32)))
                    fail_msg("%s: element %d of %d is %.9g, expected %.9g", row->name, (int)i, (int)out->n,
                             (double)out->f[i], (double)want[i]);
            if (isa == GY_ISA_REF) memcpy(want, out->f, (size_t)out->n * sizeof(float));
        }
    }
    gy_free(ctx, want);
}

typedef void (*compare_fn)(gy_ctx *ctx, gy_op_id op, const gy_conv_attr *a, operand *in[], int n_in, operand *out,
                           double terms);
static void check_with(gy_ctx *ctx, example e, compare_fn compare_rows) {
    gy_conv_attr a = e.a;
    int64_t out[3], n_out = 1, taps = 1;
    for (int i = 0; i < 3; i++) {
        int64_t room = e.in[i] + a.before[i] + a.after[i] - a.dilation[i] * (e.kernel[i] - 1) - 1;
        if (room < 0) return; /* the kernel does not fit */
        out[i] = room / a.stride[i] + 1;
        n_out *= out[i];
        taps *= e.kernel[i];
    }
    operand x = operand_new(ctx, GY_S(e.batch, e.in[0], e.in[1], e.in[2], e.cin), 1);
    operand w = operand_new(ctx, GY_S(e.cout, e.cin / a.groups, e.kernel[0], e.kernel[1], e.kernel[2]), 2);
    operand y = operand_new(ctx, GY_S(e.batch, out[0], out[1], out[2], e.cout), 3);
    operand b = operand_new(ctx, GY_S(e.cout), 4), r = operand_new(ctx, y.shape, 5);
    operand x2 = operand_new(ctx, x.shape, 6), w2 = operand_new(ctx, w.shape, 7), y2 = operand_new(ctx, y.shape, 8);
    gy_conv_attr forward = a;
    forward.act = GY_ACT_SILU;
    compare_rows(ctx, GY_OP_conv, &forward, (operand *[]){&x, &w, &b, &r}, 4, &y2, (double)(taps * e.cin / a.groups));
    for (int i = 0; i < 3; i++) a.size[i] = e.in[i];
    compare_rows(ctx, GY_OP_conv_dx, &a, (operand *[]){&y, &w}, 2, &x2, (double)(taps * e.cout / a.groups));
    for (int i = 0; i < 3; i++) a.size[i] = e.kernel[i];
    compare_rows(ctx, GY_OP_conv_dw, &a, (operand *[]){&x, &y}, 2, &w2, (double)(e.batch * n_out));
    operand *all[] = {&x, &w, &y, &b, &r, &x2, &w2, &y2};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) operand_free(ctx, all[i]);
}

static void check(gy_ctx *ctx, example e) {
    check_with(ctx, e, compare);
}

static int64_t pick(gy_rng *r, const int64_t *from, int64_t n) {
    return from[gy_rng_below(r, n)];
}
#define PICK(r, ...)                                                                                                   \
    pick(r, (const int64_t[]){__VA_ARGS__}, (int64_t)(sizeof((const int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

/* A random convolution of one to three axes. */
static example random_example(gy_rng *r, int64_t cin, int64_t cout, int64_t groups) {
    example e = {.batch = PICK(r, 1, 1, 2), .cin = cin, .cout = cout, .a = {.groups = groups}};
    int64_t axes = PICK(r, 1, 2, 3);
    for (int i = 0; i < 3; i++) {
        bool used = i >= 3 - axes;
        e.in[i] = used ? PICK(r, 1, 2, 5, 7, 8, 11) : 1;
        if (i == 2) e.in[i] = PICK(r, 1, 3, 7, 16, 17, 31, 40);
        e.kernel[i] = used ? PICK(r, 1, 2, 3, 5) : 1;
        e.a.stride[i] = used ? PICK(r, 1, 1, 2, 3, 4) : 1;
        e.a.dilation[i] = used ? PICK(r, 1, 1, 2, 3, 4) : 1;
        e.a.before[i] = used ? PICK(r, 0, 1, 2, 5, -1) : 0;
        e.a.after[i] = used ? PICK(r, 0, 1, 3, -1) : 0;
    }
    return e;
}

static void strided_gradients_agree_with_double(void **state) {
    gy_rng r;
    gy_rng_init(&r, 1, "strided");
    for (int round = 0; round < 120; round++) {
        int64_t groups = PICK(&r, 1, 1, 1, 2, 3);
        check(*state, random_example(&r, groups * PICK(&r, 2, 5, 9, 17), groups * PICK(&r, 2, 5, 7, 33), groups));
    }
}

static void few_channels_agree_with_double(void **state) {
    gy_rng r;
    gy_rng_init(&r, 2, "few");
    for (int round = 0; round < 160; round++) {
        int64_t few = 1 + round % 4, many = PICK(&r, 1, 3, 8, 15, 16, 17, 31, 33, 40, 65);
        check(*state, round / 4 % 2 ? random_example(&r, few, many, 1) : random_example(&r, many, few, 1));
    }
}

static void depthwise_agrees_with_double(void **state) {
    gy_rng r;
    gy_rng_init(&r, 4, "depthwise");
    for (int round = 0; round < 60; round++) {
        int64_t channels = PICK(&r, 5, 16, 17, 40);
        check(*state, random_example(&r, channels, channels, channels));
    }
}

static void rounded_factors_agree_with_the_reference(void **state) {
    gy_rng r;
    gy_rng_init(&r, 3, "rounded");
    for (int round = 0; round < 100; round++) {
        int64_t groups = PICK(&r, 1, 1, 1, 2, 3);
        example e = random_example(&r, groups * PICK(&r, 3, 5, 9, 17), groups * PICK(&r, 4, 5, 7, 33), groups);
        check_with(*state, e, compare_rounded);
    }
    gy_conv_attr a = {.stride = {1, 1, 1}, .dilation = {1, 1, 1}, .before = {0, 1, 1}, .after = {0, 1, 1}, .groups = 1};
    check_with(*state, (example){.batch = 1, .in = {1, 9, 21}, .cin = 301, .cout = 40, .kernel = {1, 3, 3}, .a = a},
               compare_rounded);
}

/* Lines longer than a block of positions, channels beyond the copy of a border, several parts of the gradient. */
static void long_lines_and_many_channels_agree_with_double(void **state) {
    gy_conv_attr a = {
        .stride = {1, 1, 1}, .dilation = {1, 1, 1}, .before = {0, 0, 12}, .after = {0, 0, 12}, .groups = 1};
    check(*state, (example){.batch = 2, .in = {1, 3, 700}, .cin = 1, .cout = 24, .kernel = {1, 1, 25}, .a = a});
    check(*state, (example){.batch = 1, .in = {1, 2, 40}, .cin = 600, .cout = 3, .kernel = {1, 1, 25}, .a = a});
    a = (gy_conv_attr){
        .stride = {1, 2, 2}, .dilation = {1, 1, 1}, .before = {0, 3, 3}, .after = {0, 3, 3}, .groups = 1};
    check(*state, (example){.batch = 2, .in = {1, 45, 45}, .cin = 3, .cout = 64, .kernel = {1, 7, 7}, .a = a});
}

/* The row of a tier with exactly these flags that takes the operands, or NULL. */
static const gy_kernel *flagged_row(gy_op_id op, gy_isa isa, uint32_t flags, const gy_kargs *k) {
    int64_t n;
    const gy_kernel *rows = gy_kernel_table(&n);
    for (int64_t i = 0; i < n; i++)
        if (rows[i].op == op && rows[i].isa == isa && rows[i].flags == flags &&
            (!rows[i].supports || rows[i].supports(k)))
            return &rows[i];
    return NULL;
}

static double error_size(const operand *o) { /* root of the mean of squares */
    double sum = 0;
    for (int64_t i = 0; i < o->n; i++) sum += pow((double)o->f[i] - o->d[i], 2);
    return sqrt(sum / (double)o->n);
}
/* With factors rounded to bf16, against the direct convolution that rounds them. conv_winograd.h derives 2.9 times its
 * errors. Here the factors are uniform in [-1, 1], which loses 1.12 times less, for its size, than rounding the nearly
 * normal transforms does; and places at the border, where the direct sums have fewer terms, add a twentieth. */
static void compare_rounded_winograd(gy_ctx *ctx, gy_op_id op, const gy_conv_attr *a, operand *in[], int n_in,
                                     operand *out) {
    gy_view v[4], y = x86_view(out->f, GY_F32, out->shape);
    for (int i = 0; i < n_in; i++) v[i] = x86_view(in[i]->f, GY_F32, in[i]->shape);
    gy_kargs k = {.attr = a, .n_in = n_in, .n_out = 1, .in = v, .out = &y, .precision = GY_BF16};
    if (!(gy_isa_detect(NULL) >> GY_ISA_AVX512BF16 & 1)) return;
    const gy_kernel *direct = flagged_row(op, GY_ISA_AVX512BF16, GY_K_BF16_COMPUTE, &k);
    const gy_kernel *row = flagged_row(op, GY_ISA_AVX512BF16, GY_K_BF16_COMPUTE | GY_K_WINOGRAD, &k);
    if (!direct || !row) return;
    run(ctx, direct, a, in, n_in, out);
    double plain = error_size(out);
    run(ctx, row, a, in, n_in, out);
    double error = error_size(out);
    if (!(error <= 3.6 * plain))
        fail_msg("%s: error %.3g, %.3g times the direct one's", row->name, error, error / plain);
    float *first = must(gy_malloc(ctx, (size_t)(out->n + 1) * sizeof *first));
    memcpy(first, out->f, (size_t)out->n * sizeof *first);
    gy_ctx *c = gy_ctx_new((gy_ctx_args){.threads = 3});
    run(c, row, a, in, n_in, out);
    gy_ctx_free(c);
    if (memcmp(first, out->f, (size_t)out->n * sizeof *first) != 0) fail_msg("%s: other bits on 3 threads", row->name);
    gy_free(ctx, first);
}

/* The bounds that conv_winograd.c, conv_winograd3.c and conv_winograd_dw.c state, for factors of size at most 1, in
 * units of 2^-24 times the root of the terms. */
static void compare_winograd(gy_ctx *ctx, gy_op_id op, const gy_conv_attr *a, operand *in[], int n_in, operand *out,
                             int64_t terms, double bound) {
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    gy_view v[4], y = x86_view(out->f, GY_F32, out->shape);
    for (int i = 0; i < n_in; i++) v[i] = x86_view(in[i]->f, GY_F32, in[i]->shape);
    gy_kargs k = {.attr = a, .n_in = n_in, .n_out = 1, .in = v, .out = &y};
    x86_tiers(tier, &tiers);
    run(ctx, must((void *)(uintptr_t)x86_row(op, GY_F64, GY_ISA_REF)), a, in, n_in, out);
    compare_rounded_winograd(ctx, op, a, in, n_in, out);
    for (int t = 0; t < tiers; t++) {
        const gy_kernel *row = flagged_row(op, tier[t], GY_K_WINOGRAD, &k);
        if (!row) continue;
        run(ctx, row, a, in, n_in, out);
        double worst = 0, unit = 0x1p-24 * sqrt((double)terms);
        for (int64_t i = 0; i < out->n; i++) worst = fmax(worst, fabs((double)out->f[i] - out->d[i]));
        if (!(worst <= bound * unit))
            fail_msg("%s: error %.3g is %.3g roundings times the root of the terms", row->name, worst, worst / unit);
        float *first = must(gy_malloc(ctx, (size_t)(out->n + 1) * sizeof *first));
        memcpy(first, out->f, (size_t)out->n * sizeof *first);
        gy_ctx *c = gy_ctx_new((gy_ctx_args){.threads = 3});
        run(c, row, a, in, n_in, out);
        gy_ctx_free(c);
        if (memcmp(first, out->f, (size_t)out->n * sizeof *first) != 0)
            fail_msg("%s: other bits on 3 threads", row->name);
        gy_free(ctx, first);
    }
}

static void winograd_stays_within_its_bound(void **state) {
    static const int64_t shapes[][6] = {/* batch, height, width, channels in, out, padding */
                                        {1, 8, 8, 64, 64, 1},
                                        {2, 9, 15, 70, 45, 1},
                                        {1, 34, 19, 48, 33, 0},
                                        {3, 13, 8, 130, 64, 2},
                                        {1, 16, 16, 320, 96, 1}};
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t *s = shapes[i], pad = s[5], h = s[1] + 2 * pad - 2, v = s[2] + 2 * pad - 2;
        gy_conv_attr a = {.stride = {1, 1, 1}, .before = {0, pad, pad}, .after = {0, pad, pad}, .dilation = {1, 1, 1}};
        a.groups = 1;
        operand x = operand_new(ctx, GY_S(s[0], s[1], s[2], s[3]), 1), w = operand_new(ctx, GY_S(s[4], s[3], 3, 3), 2);
        operand y = operand_new(ctx, GY_S(s[0], h, v, s[4]), 3), b = operand_new(ctx, GY_S(s[4]), 4);
        operand r = operand_new(ctx, y.shape, 5), y2 = operand_new(ctx, y.shape, 6), x2 = operand_new(ctx, x.shape, 7);
        compare_winograd(ctx, GY_OP_conv, &a, (operand *[]){&x, &w, &b, &r}, 4, &y2, 9 * s[3], 48);
        a.size[0] = 1;
        a.size[1] = s[1];
        a.size[2] = s[2];
        if (s[4] >= 48) compare_winograd(ctx, GY_OP_conv_dx, &a, (operand *[]){&y, &w}, 2, &x2, 9 * s[4], 48);
        a.size[1] = a.size[2] = 3;
        operand w2 = operand_new(ctx, w.shape, 8);
        compare_winograd(ctx, GY_OP_conv_dw, &a, (operand *[]){&x, &y}, 2, &w2, y.n / s[4], 48);
        operand *all[] = {&x, &w, &y, &b, &r, &y2, &x2, &w2};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) operand_free(ctx, all[k]);
    }
}

static void winograd_in_three_axes_stays_within_its_bound(void **state) {
    static const int64_t shapes[][7] = {/* batch, depth, height, width, channels in, out, padding */
                                        {1, 8, 8, 8, 32, 32, 1},   {2, 5, 7, 9, 21, 45, 1}, {1, 4, 20, 61, 16, 16, 1},
                                        {1, 9, 4, 13, 128, 33, 2}, {2, 6, 8, 7, 40, 19, 0}, {1, 3, 6, 31, 17, 70, 2}};
    gy_ctx *ctx = *state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t *s = shapes[i], pad = s[6], grow = 2 * pad - 2;
        gy_conv_attr a = {.stride = {1, 1, 1}, .before = {pad, pad, pad}, .after = {pad, pad, pad}, .groups = 1};
        for (int n = 0; n < 3; n++) a.dilation[n] = 1;
        operand x = operand_new(ctx, GY_S(s[0], s[1], s[2], s[3], s[4]), 1);
        operand w = operand_new(ctx, GY_S(s[5], s[4], 3, 3, 3), 2), b = operand_new(ctx, GY_S(s[5]), 4);
        operand y = operand_new(ctx, GY_S(s[0], s[1] + grow, s[2] + grow, s[3] + grow, s[5]), 3);
        operand r = operand_new(ctx, y.shape, 5), y2 = operand_new(ctx, y.shape, 6), x2 = operand_new(ctx, x.shape, 7);
        compare_winograd(ctx, GY_OP_conv, &a, (operand *[]){&x, &w, &b, &r}, 4, &y2, 27 * s[4], 96);
        for (int n = 0; n < 3; n++) a.size[n] = s[1 + n];
        if (s[1] >= 4) compare_winograd(ctx, GY_OP_conv_dx, &a, (operand *[]){&y, &w}, 2, &x2, 27 * s[5], 96);
        for (int n = 0; n < 3; n++) a.size[n] = 3;
        operand w2 = operand_new(ctx, w.shape, 8);
        compare_winograd(ctx, GY_OP_conv_dw, &a, (operand *[]){&x, &y}, 2, &w2, y.n / s[5], 96);
        operand_free(ctx, &w2);
        operand *all[] = {&x, &w, &y, &b, &r, &y2, &x2};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) operand_free(ctx, all[k]);
    }
}

/* What the plan chooses: Winograd's row where it fits and is not switched off. */
static void winograd_can_be_switched_off(void **state) {
    gy_graph *g = gy_graph_new(*state);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(1, 8, 8, 64)), w = gy_input(g, "w", GY_F32, GY_S(64, 64, 3, 3));
    gy_output(gy_conv(x, w, GY_NONE, .pad = GY_S(1)), "y");
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (int off = 0; off < 2 && tiers > 0; off++) {
        gy_plan *p = gy_compile(g, (gy_plan_args){.off = off ? GY_PASS_WINOGRAD : 0, .isa_mask = 7, .dry = true});
        assert_non_null(p);
        bool found = false;
        for (int64_t i = 0; i < gy_plan_report(p).steps; i++)
            found = found || strstr(gy_plan_step(p, i).kernel, "winograd");
        assert_int_equal(found, !off);
        gy_plan_free(p);
    }
    gy_graph_free(g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(strided_gradients_agree_with_double),
        TEST(few_channels_agree_with_double),
        TEST(long_lines_and_many_channels_agree_with_double),
        TEST(depthwise_agrees_with_double),
        TEST(rounded_factors_agree_with_the_reference),
        TEST(winograd_stays_within_its_bound),
        TEST(winograd_in_three_axes_stays_within_its_bound),
        TEST(winograd_can_be_switched_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
