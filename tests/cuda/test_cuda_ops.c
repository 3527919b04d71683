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

int main(int argc, char **argv) {
    static struct CMUnitTest tests[GY_OP_COUNT];
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
    return _cmocka_run_group_tests("cuda operators", tests, n, setup, teardown);
}
