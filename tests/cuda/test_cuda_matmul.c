/* Products on the emulator beyond the operator's small cases: every way a product can go (tiles, split depth, few
 * rows), every way an operand can lie, the epilogue, against the reference kernel on the same memory. GYRUS_EMU_SM=80
 * takes the kernels of older chips. */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "core/ops.h"
#include "kernels/cuda/cuda.h"

#include <float.h>
#include <stdio.h>
#include <stdlib.h>

static gy_ctx *ctx;

static int setup(void **state) {
    (void)state;
    ctx = gy_ctx_new((gy_ctx_args){.threads = 2});
    return ctx && gy_ctx_set_device(ctx, "emu") == GY_OK ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    gy_ctx_free(ctx);
    return 0;
}

/* How an operand lies: as the product wants it, as its transpose, with gaps (and off alignment), or one batch for all.
 */
enum { PLAIN, TRANSPOSED, GAPS, GAPS_TRANSPOSED, FLIPPED };
typedef struct {
    int64_t batch, m, n, k;
    int a, b;
    bool one_b; /* b without the batch axis */
    int act;
    bool bias, residual;
    double alpha;
} problem;

static uint64_t random_state;
static double uniform(void) { /* -1 to 1, of 24 bits */
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (double)(random_state >> 40) / (1 << 23) - 1;
}

/* Memory of `n` elements that ends at a page which may not be touched, and a view of [batch, rows, cols] in it. */
static gy_view operand(gy_device *d, gy_dtype type, int64_t batch, int64_t rows, int64_t cols, int lie, void **memory) {
    bool gaps = lie == GAPS || lie == GAPS_TRANSPOSED, swap = lie == TRANSPOSED || lie == GAPS_TRANSPOSED;
    int64_t inner = swap ? rows : cols, outer = swap ? cols : rows, line = gaps ? inner + 3 : inner;
    int64_t each = line * outer + (gaps ? 1 : 0), n = each * batch + (gaps ? 1 : 0);
    size_t size = gy_dtype_size(type), bytes = ((size_t)n * size + 15) / 16 * 16, room = (bytes + 4095) / 4096 * 4096;
    *memory = d->alloc(d, room ? room : 1);
    assert_non_null(*memory);
    memset(*memory, 0xff, room); /* NaN */
    char *first = (char *)*memory + room - bytes + (gaps ? size : 0);
    gy_view v = {.data = first,
                 .dtype = type,
                 .shape = {3, {batch, rows, cols}},
                 .stride = {each, swap ? 1 : line, swap ? line : 1}};
    if (lie == FLIPPED && rows) {
        v.data = first + (size_t)(line * (rows - 1)) * size;
        v.stride[1] = -line;
    }
    for (int64_t i = 0; i < batch; i++)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < cols; c++) {
                int64_t at = i * v.stride[0] + r * v.stride[1] + c * v.stride[2];
                float x = (float)uniform();
                if (type == GY_F64)
                    ((double *)v.data)[at] = (double)x;
                else
                    ((float *)v.data)[at] = x;
            }
    return v;
}

static double value(const gy_view *v, int64_t i) {
    return v->dtype == GY_F64 ? ((const double *)v->data)[i] : (double)((const float *)v->data)[i];
}

/* The operator by the device's row (three schedules, equal bits) and by the reference. Errors are measured against the
 * sum of the products' absolute values, bounded by k. */
static void check_one(const problem *p, gy_dtype type, gy_dtype precision) {
    gy_device *d = gy_ctx_device(ctx);
    void *memory[6] = {NULL};
    random_state = 7;
    gy_view in[4] = {operand(d, type, p->batch, p->m, p->k, p->a, &memory[0]),
                     operand(d, type, p->one_b ? 1 : p->batch, p->k, p->n, p->b, &memory[1])};
    gy_view bias = operand(d, type, 1, 1, p->n, GAPS, &memory[2]);
    in[2] = (gy_view){.data = bias.data, .dtype = type, .shape = {1, {p->n}}, .stride = {1}};
    in[3] = operand(d, type, p->batch, p->m, p->n, p->b, &memory[3]);
    if (!p->bias) in[2] = (gy_view){0};
    if (!p->residual) in[3] = (gy_view){0};
    gy_view out = operand(d, type, p->batch, p->m, p->n, PLAIN, &memory[4]), want = out;
    int64_t n = p->batch * p->m * p->n;
    want.data = malloc((size_t)n * 8 + 8);
    void *first = malloc((size_t)n * 8 + 8);
    gy_matmul_attr at = {.act = p->act, .alpha = p->alpha};
    gy_kargs k = {.op = GY_OP_matmul,
                  .attr = &at,
                  .n_in = 4,
                  .n_out = 1,
                  .in = in,
                  .out = &want,
                  .pool = gy_ctx_pool(ctx),
                  .precision = precision};
    gy_kernel_choose(GY_OP_matmul, type, 1, &k)->fn(&k);
    k.out = &out;
    k.device = d;
    const gy_kernel *row = gy_kernel_choose(GY_OP_matmul, type, UINT64_C(1) << GY_ISA_CUDA, &k);
    size_t scratch = row->scratch ? row->scratch(&k, 2) : 0;
    if (scratch) k.scratch = d->alloc(d, scratch);
    double eps = type == GY_F64 ? DBL_EPSILON : getenv("GYRUS_TF32") ? 0x1p-10 : (double)FLT_EPSILON;
    double tol = eps * (8 + (double)p->k);
    for (int order = GY_EMU_FORWARD; order <= GY_EMU_RANDOM; order++) {
        gy_emu_schedule(d, (gy_emu_order)order, 3);
        memset(out.data, 0xff, (size_t)n * gy_dtype_size(type));
        if (scratch) memset(k.scratch, 0xff, scratch);
        row->fn(&k);
        assert_ok(ctx, gy_device_wait(d));
        for (int64_t i = 0; i < n; i++)
            if (!(fabs(value(&out, i) - value(&want, i)) <= tol))
                fail_msg("%s: %d x [%d, %d] x [%d, %d] (lies %d, %d): element %d is %.9g, expected %.9g", row->name,
                         (int)p->batch, (int)p->m, (int)p->k, (int)p->k, (int)p->n, p->a, p->b, (int)i, value(&out, i),
                         value(&want, i));
        if (order == GY_EMU_FORWARD)
            memcpy(first, out.data, (size_t)n * gy_dtype_size(type));
        else if (memcmp(first, out.data, (size_t)n * gy_dtype_size(type)) != 0)
            fail_msg("%s: [%d, %d] x [%d, %d]: other bits in another order of warps", row->name, (int)p->m, (int)p->k,
                     (int)p->k, (int)p->n);
    }
    if (scratch) d->free(d, k.scratch);
    for (int i = 0; i < 6; i++) d->free(d, memory[i]);
    free(want.data);
    free(first);
}
static void check(const problem *p) {
    check_one(p, GY_F32, GY_F32);
    check_one(p, GY_F64, GY_F32);
    check_one(p, GY_F32, GY_BF16);
}
/* The warpgroup's kernel, which must be what takes it; the other kernel on an older chip. */
static void check_large(const problem *p) {
    gy_device *d = gy_ctx_device(ctx);
    int sm = d->sm;
    d->sm = 80;
    check_one(p, GY_F32, GY_BF16);
    d->sm = 90;
    check_one(p, GY_F32, GY_BF16);
    d->sm = sm;
}

static void operands_lie_any_way(void **state) {
    (void)state;
    for (int a = PLAIN; a <= FLIPPED; a++)
        for (int b = PLAIN; b <= FLIPPED; b++) {
            check(&(problem){.batch = 2, .m = 37, .n = 45, .k = 29, .a = a, .b = b, .bias = true, .residual = true});
            if (a != b && a != PLAIN && b != PLAIN) continue;
            check(&(problem){.batch = 2, .m = 40, .n = 64, .k = 48, .a = a, .b = b, .act = GY_ACT_SILU});
            check(&(problem){.batch = 1, .m = 2, .n = 71, .k = 130, .a = a, .b = b, .bias = true, .residual = true});
            check(&(problem){.batch = 2, .m = 71, .n = 1, .k = 133, .a = a, .b = b, .bias = true, .residual = true});
        }
}
static void many_tiles_are_large(void **state) {
    (void)state;
    check(&(problem){.batch = 97, .m = 70, .n = 68, .k = 20, .one_b = true, .act = GY_ACT_GELU, .bias = true});
    check(&(problem){.batch = 3, .m = 260, .n = 390, .k = 33, .a = TRANSPOSED, .b = GAPS, .residual = true});
    check_one(&(problem){.batch = 1, .m = 1200, .n = 1300, .k = 10, .b = TRANSPOSED, .alpha = 0.5}, GY_F32, GY_F32);
    check_one(&(problem){.batch = 1, .m = 1200, .n = 1300, .k = 40, .b = TRANSPOSED, .alpha = 0.5}, GY_F32, GY_BF16);
}
static void deep_products_are_split(void **state) {
    (void)state;
    check(&(problem){.batch = 1, .m = 20, .n = 24, .k = 1500, .act = GY_ACT_TANH, .bias = true, .residual = true});
    check(&(problem){.batch = 2, .m = 65, .n = 33, .k = 700, .a = GAPS_TRANSPOSED, .alpha = -0.25, .bias = true});
    check(&(problem){.batch = 1, .m = 130, .n = 150, .k = 1111, .a = TRANSPOSED, .b = GAPS});
}
static void few_rows_or_columns(void **state) {
    (void)state;
    for (int64_t few = 1; few <= 17; few += few < 2 ? 1 : 5)
        for (int lie = PLAIN; lie <= TRANSPOSED; lie++) {
            check(&(problem){.batch = 1, .m = few, .n = 140, .k = 520, .b = lie, .act = GY_ACT_RELU, .bias = true});
            check(&(problem){.batch = 1, .m = 140, .n = few, .k = 520, .a = lie, .residual = true, .bias = true});
        }
    check(&(problem){.batch = 3, .m = 1, .n = 130, .k = 2100, .b = GAPS_TRANSPOSED, .residual = true});
    check(&(problem){.batch = 1, .m = 1, .n = 1, .k = 4000});
}
static void large_products_in_bf16(void **state) {
    (void)state;
    check_large(&(problem){.batch = 1, .m = 300, .n = 260, .k = 450, .act = GY_ACT_GELU, .bias = true});
    check_large(&(problem){.batch = 1, .m = 130, .n = 72, .k = 4500, .a = TRANSPOSED, .b = GAPS, .residual = true});
    check_large(&(problem){.batch = 5, .m = 137, .n = 129, .k = 391, .b = TRANSPOSED, .one_b = true, .alpha = 3});
    check_large(&(problem){.batch = 3, .m = 129, .n = 300, .k = 295, .a = FLIPPED, .b = GAPS_TRANSPOSED, .bias = true});
}
static void tf32_when_asked_for(void **state) {
    (void)state;
    problem p = {.batch = 2, .m = 37, .n = 45, .k = 29, .bias = true, .residual = true, .act = GY_ACT_TANH};
    setenv("GYRUS_TF32", "1", 1);
    for (p.a = PLAIN; p.a <= FLIPPED; p.a++)
        for (p.b = PLAIN; p.b <= FLIPPED; p.b++) check_one(&p, GY_F32, GY_F32);
    check_one(&(problem){.batch = 1, .m = 132, .n = 136, .k = 1040, .b = TRANSPOSED, .alpha = 2}, GY_F32, GY_F32);
    unsetenv("GYRUS_TF32");
}
static void activations(void **state) {
    (void)state;
    for (int act = GY_ACT_NONE; act <= GY_ACT_SIGMOID; act++)
        check(&(problem){.batch = 1, .m = 33, .n = 36, .k = 9, .act = act, .bias = true, .residual = true, .alpha = 2});
}
static void nothing_to_multiply(void **state) {
    (void)state;
    check(&(problem){.batch = 2, .m = 3, .n = 5, .k = 0, .bias = true});
    check(&(problem){.batch = 2, .m = 0, .n = 5, .k = 3});
    check(&(problem){.batch = 0, .m = 2, .n = 5, .k = 3});
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(operands_lie_any_way),
                                       cmocka_unit_test(many_tiles_are_large),
                                       cmocka_unit_test(deep_products_are_split),
                                       cmocka_unit_test(few_rows_or_columns),
                                       cmocka_unit_test(activations),
                                       cmocka_unit_test(large_products_in_bf16),
                                       cmocka_unit_test(tf32_when_asked_for),
                                       cmocka_unit_test(nothing_to_multiply)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
