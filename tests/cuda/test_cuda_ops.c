/* Every operator that has a kernel for GPUs, on the emulator: one cmocka test an operator. `test_cuda_ops sum max`
 * runs those two; a name that ends in * stands for all that begin so. */
#include "../harness/ops.h"

#include "kernels/cuda/emu/emu.h"
#include "kernels/kernel.h"

#include <stdio.h>

static gy_ctx *ctx;
static int cases;

static int setup(void **state) {
    (void)state;
    ctx = gy_ctx_new((gy_ctx_args){.threads = 2});
    return ctx && gy_ctx_set_device(ctx, "emu") == GY_OK ? 0 : -1;
}
static int teardown(void **state) {
    (void)state;
    gy_ctx_free(ctx);
    printf("%d cases emulated, three schedules each\n", cases);
    return 0;
}

static void agrees_with_the_reference(void **state) {
    gy_op_id op = *(const gy_op_id *)*state;
    int ran = ops_check_cuda(ctx, op);
    assert_true(ran > 0);
    cases += ran;
}

static bool asked(const char *name, char **patterns) {
    for (; *patterns; patterns++) {
        size_t n = strlen(*patterns);
        bool prefix = n > 0 && (*patterns)[n - 1] == '*';
        if (prefix ? strncmp(name, *patterns, n - 1) == 0 : strcmp(name, *patterns) == 0) return true;
    }
    return false;
}

/* Models need not ask which operators a GPU has, in f32, and of integers and masks. (f64 where a model wants it:
 * test_cuda_models.) */
static void every_operator_of_the_cpu_has_a_kernel(void **state) {
    (void)state;
    int64_t n;
    const gy_kernel *rows = gy_kernel_table(&n);
    for (int64_t i = 0; i < n; i++) {
        bool has = false;
        if (rows[i].isa != GY_ISA_REF || rows[i].dtype == GY_F64 || rows[i].dtype == GY_BF16) continue;
        for (int64_t k = 0; k < n; k++)
            has = has || (rows[k].op == rows[i].op && rows[k].isa == GY_ISA_CUDA &&
                          (rows[k].dtype == rows[i].dtype || rows[k].dtype == GY_DTYPE_DEFAULT));
        if (!has)
            fail_msg("%s has a kernel in %s on the CPU and none on GPUs", gy_ops[rows[i].op].name,
                     gy_dtype_name(rows[i].dtype));
    }
}

int main(int argc, char **argv) {
    static struct CMUnitTest tests[GY_OP_COUNT + 1];
    static gy_op_id ids[GY_OP_COUNT];
    static char names[GY_OP_COUNT][64];
    size_t n = 0;
    int64_t n_rows;
    const gy_kernel *rows = gy_kernel_table(&n_rows);
    for (int op = 1; op < GY_OP_COUNT; op++) {
        bool has = false;
        for (int64_t i = 0; i < n_rows; i++) has = has || (rows[i].isa == GY_ISA_CUDA && rows[i].op == (gy_op_id)op);
        if (!has || !gy_ops[op].impl->cases) continue;
        if (argc > 1 && !asked(gy_ops[op].name, argv + 1)) continue;
        ids[n] = (gy_op_id)op;
        snprintf(names[n], sizeof names[n], "emulated: %s", gy_ops[op].name);
        tests[n] = (struct CMUnitTest){names[n], agrees_with_the_reference, NULL, NULL, &ids[n]};
        n++;
    }
    if (argc < 2)
        tests[n++] = (struct CMUnitTest){"every operator of the CPU has a kernel",
                                         every_operator_of_the_cpu_has_a_kernel, NULL, NULL, NULL};
    return _cmocka_run_group_tests("cuda operators", tests, n, setup, teardown);
}
