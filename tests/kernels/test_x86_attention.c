/* Attention of the x86 floors against the reference kernels, at sizes around their blocks. */
#include "x86.h"

#include "core/ops/attention.h"
#include "core/rng.h"

#include <math.h>
#include <stdlib.h>

typedef struct {
    int64_t b, tq, tk, h, hkv, d, dv;
    bool causal, mask, bias;
} shape;

static const shape shapes[] = {
    {1, 1, 1, 1, 1, 1, 1, false, false, false},      {2, 33, 17, 2, 1, 8, 8, false, false, true},
    {3, 30, 120, 2, 2, 8, 4, false, true, true},     {2, 20, 35, 2, 2, 4, 4, false, false, true},
    {1, 130, 130, 1, 1, 64, 64, true, false, false}, {1, 16, 47, 4, 2, 20, 12, true, true, false},
    {1, 300, 113, 1, 1, 16, 48, false, true, true},  {3, 7, 300, 2, 2, 5, 3, false, false, false},
    {1, 1, 1031, 4, 1, 64, 64, false, false, false}, {2, 3, 257, 6, 2, 37, 19, true, true, true},
    {1, 8, 523, 2, 2, 16, 70, true, false, true},    {2, 7, 131, 14, 1, 33, 5, false, true, false},
    {1, 5, 3, 2, 1, 64, 8, true, true, false},       {1, 200, 211, 2, 1, 24, 24, false, true, false},
    {1, 40, 20, 1, 1, 32, 16, true, false, true},    {1, 257, 49, 2, 2, 40, 40, false, false, false}};

static float *numbers(gy_ctx *ctx, gy_rng *r, int64_t n) {
    float *p = gy_malloc(ctx, (size_t)n * sizeof *p);
    assert_non_null(p);
    for (int64_t i = 0; i < n; i++) p[i] = (float)gy_rng_normal(r);
    return p;
}

static void run(const gy_kernel *row, gy_kargs k, int threads) {
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = threads});
    k.pool = gy_ctx_pool(ctx);
    k.scratch = gy_malloc(ctx, row->scratch ? row->scratch(&k, gy_pool_threads(k.pool)) : 0);
    assert_non_null(k.scratch);
    if (row->supports) assert_true(row->supports(&k));
    row->fn(&k);
    gy_free(ctx, k.scratch);
    gy_ctx_free(ctx);
}

/* Runs row and ref, compares all outputs; threads must not change a bit. */
static void compare(gy_ctx *ctx, gy_op_id op, gy_isa isa, gy_kargs k, int shape_index, gy_view *keep) {
    const gy_kernel *row = x86_row(op, GY_F32, isa), *ref = x86_row(op, GY_F32, GY_ISA_REF);
    gy_view got[4], want[4], again[4];
    if (!row) return;
    for (int i = 0; i < k.n_out; i++) {
        size_t bytes = gy_dtype_size(GY_F32) * (size_t)gy_shape_count(k.out[i].shape);
        got[i] = want[i] = again[i] = k.out[i];
        got[i].data = gy_malloc(ctx, bytes);
        want[i].data = gy_malloc(ctx, bytes);
        again[i].data = gy_malloc(ctx, bytes);
        assert_true(got[i].data && want[i].data && again[i].data);
        memset(got[i].data, 0xff, bytes);
    }
    k.out = want;
    run(ref, k, 1);
    k.out = got;
    run(row, k, 1);
    k.out = again;
    run(row, k, 3);
    for (int i = 0; i < k.n_out; i++) {
        int64_t n = gy_shape_count(got[i].shape);
        const float *g = got[i].data, *w = want[i].data;
        assert_memory_equal(g, again[i].data, (size_t)n * sizeof *g);
        double largest = 0;
        for (int64_t e = 0; e < n; e++)
            if (isfinite(w[e]) && fabs((double)w[e]) > largest) largest = fabs((double)w[e]);
        for (int64_t e = 0; e < n; e++)
            if (isinf(w[e]) ? g[e] != w[e] : !(fabs((double)g[e] - (double)w[e]) <= 4e-6 * (1 + largest)))
                fail_msg("%s shape %d output %d element %d: %.9g, expected %.9g", row->name, shape_index, i, (int)e,
                         (double)g[e], (double)w[e]);
        gy_free(ctx, got[i].data);
        gy_free(ctx, again[i].data);
        if (keep)
            keep[i] = want[i];
        else
            gy_free(ctx, want[i].data);
    }
}

/* ---- plans of precision bf16 ---- */

/* The best row of a tier that rounds factors, NULL: none that takes the operands. */
static const gy_kernel *rounding_row(gy_op_id op, gy_isa isa, const gy_kargs *k) {
    int64_t n;
    const gy_kernel *rows = gy_kernel_table(&n);
    for (int64_t i = 0; i < n; i++)
        if (rows[i].op == op && rows[i].isa == isa && rows[i].flags & GY_K_BF16_COMPUTE &&
            (!rows[i].supports || rows[i].supports(k)))
            return &rows[i];
    return NULL;
}

static double root_mean_square(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += isfinite(a[i]) ? pow((double)a[i] - (double)b[i], 2) : 0;
    return sqrt(sum / (double)(n ? n : 1));
}

/* Row and the reference round the same factors. A weight that lies on the border between two numbers of bf16 may go
 * either way, as its last bits in f32 say, so that no bound of f32 holds for each element: their root mean square stays
 * below a twentieth of what rounding changes (`plain`: the reference in f32), and none is off by more than rounding can
 * do. lse holds no rounded weight and has the bound of f32. Gives what ref made, as compare does. */
static void compare_rounded(gy_ctx *ctx, gy_op_id op, gy_isa isa, gy_kargs k, int shape_index, gy_view *keep) {
    k.precision = GY_BF16;
    const gy_kernel *row = rounding_row(op, isa, &k), *ref = rounding_row(op, GY_ISA_REF, &k);
    assert_non_null(ref);
    gy_view got[4], want[4], again[4], plain[4], *all[4] = {got, want, again, plain};
    for (int i = 0; i < k.n_out; i++)
        for (int n = 0; n < 4; n++) {
            size_t bytes = sizeof(float) * (size_t)gy_shape_count(k.out[i].shape);
            all[n][i] = k.out[i];
            all[n][i].data = gy_malloc(ctx, bytes);
            assert_non_null(all[n][i].data);
            memset(all[n][i].data, 0xff, bytes);
        }
    k.out = want;
    run(ref, k, 1);
    for (int t = 0; row && t < 2; t++) {
        k.out = t ? again : got;
        run(row, k, t ? 3 : 1);
    }
    k.out = plain;
    k.precision = GY_F32;
    run(x86_row(op, GY_F32, GY_ISA_REF), k, 1);
    for (int i = 0; row && i < k.n_out; i++) {
        int64_t n = gy_shape_count(got[i].shape);
        const float *g = got[i].data, *w = want[i].data;
        assert_memory_equal(g, again[i].data, (size_t)n * sizeof *g);
        double largest = 0, change = root_mean_square(w, plain[i].data, n), error = root_mean_square(w, g, n);
        for (int64_t e = 0; e < n; e++)
            if (isfinite(w[e]) && fabs((double)w[e]) > largest) largest = fabs((double)w[e]);
        bool lse = op == GY_OP_attention && i == 1;
        double bound = (lse ? 4e-6 : 0x1p-8) * (1 + largest);
        for (int64_t e = 0; e < n; e++)
            if (isinf(w[e]) ? g[e] != w[e] : !(fabs((double)g[e] - (double)w[e]) <= bound))
                fail_msg("%s shape %d output %d element %d: %.9g, expected %.9g", row->name, shape_index, i, (int)e,
                         (double)g[e], (double)w[e]);
        if (!(error <= 0.05 * change + 2e-7 * (1 + largest)))
            fail_msg("%s shape %d output %d: differs from ref by %.3g, rounding by %.3g", row->name, shape_index, i,
                     error, change);
    }
    for (int i = 0; i < k.n_out; i++)
        for (int n = 0; n < 4; n++)
            if (n != 1 || !keep)
                gy_free(ctx, all[n][i].data);
            else
                keep[i] = want[i];
}

typedef void (*compare_fn)(gy_ctx *ctx, gy_op_id op, gy_isa isa, gy_kargs k, int shape_index, gy_view *keep);

static void check_all(gy_ctx *ctx, compare_fn agree) {
    gy_isa tier[GY_ISA_COUNT];
    int tiers;
    x86_tiers(tier, &tiers);
    for (size_t n = 0; n < sizeof shapes / sizeof *shapes; n++) {
        const shape *s = &shapes[n];
        gy_rng r;
        gy_rng_init(&r, n, "attention");
        float *q = numbers(ctx, &r, s->b * s->tq * s->h * s->d), *k = numbers(ctx, &r, s->b * s->tk * s->hkv * s->d),
              *v = numbers(ctx, &r, s->b * s->tk * s->hkv * s->dv), *ct = numbers(ctx, &r, s->b * s->tq * s->h * s->dv),
              *bias = numbers(ctx, &r, s->h * s->tq * s->tk);
        uint8_t *mask = gy_malloc(ctx, (size_t)(s->b * s->tq * s->tk));
        assert_non_null(mask);
        for (int64_t i = 0; i < s->b * s->tq * s->tk; i++) mask[i] = gy_rng_below(&r, 4) != 0;
        for (int64_t i = 0; i < s->tk; i++) mask[i] = 0; /* the first query is blind */
        for (int64_t i = 32; i < 96 && i < s->tq; i++)   /* blocks of nothing, beside blocks of everything */
            for (int64_t j = 0; j < s->tk; j++) mask[i * s->tk + j] = j >= 112;
        gy_attention_attr attr = {.scale = 1 / sqrt((double)s->d), .causal = s->causal};
        gy_view in[8] = {x86_view(ct, GY_F32, GY_S(s->b, s->tq, s->h, s->dv)),
                         x86_view(q, GY_F32, GY_S(s->b, s->tq, s->h, s->d)),
                         x86_view(k, GY_F32, GY_S(s->b, s->tk, s->hkv, s->d)),
                         x86_view(v, GY_F32, GY_S(s->b, s->tk, s->hkv, s->dv)),
                         x86_view(s->mask ? mask : NULL, GY_U8, GY_S(s->b, 1, s->tq, s->tk)),
                         x86_view(s->bias ? bias : NULL, GY_F32, n % 3 == 0 ? GY_S(s->tk) : GY_S(s->h, s->tq, s->tk))};
        gy_view out[2] = {x86_view(NULL, GY_F32, in[0].shape), x86_view(NULL, GY_F32, GY_S(s->b, s->h, s->tq))};
        gy_view back[4] = {in[1], in[2], in[3], in[5]};
        for (int i = 0; i < tiers; i++) {
            gy_view saved[2] = {{0}};
            agree(ctx, GY_OP_attention, tier[i],
                  (gy_kargs){.attr = &attr, .n_in = 5, .n_out = 2, .in = in + 1, .out = out}, (int)n, saved);
            if (!saved[0].data) continue;
            in[6] = saved[0];
            in[7] = saved[1];
            agree(ctx, GY_OP_attention_grad, tier[i],
                  (gy_kargs){.attr = &attr, .n_in = 8, .n_out = s->bias ? 4 : 3, .in = in, .out = back}, (int)n, NULL);
            gy_free(ctx, saved[0].data);
            gy_free(ctx, saved[1].data);
        }
        void *all[] = {q, k, v, ct, bias, mask};
        for (int i = 0; i < 6; i++) gy_free(ctx, all[i]);
    }
}

static void blocks_agree_with_ref_forward_and_backward(void **state) {
    check_all(*state, compare);
}
static void rounded_factors_agree_with_ref_forward_and_backward(void **state) {
    check_all(*state, compare_rounded);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(blocks_agree_with_ref_forward_and_backward),
                                       TEST(rounded_factors_agree_with_ref_forward_and_backward)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
