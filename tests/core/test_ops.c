/* Every row of ops.def through the harness: one cmocka test an operator and kind, so that a single one can be run:
 * CMOCKA_TEST_FILTER is not needed, give the name as the argument ("test_ops 'gradients: softmax'"). */
#include "../harness/ops.h"

#include "kernels/kernel.h"

#include <stdio.h>
#include <stdlib.h>

typedef struct row {
    gy_op_id op;
    gy_ctx *ctx;
} row;

static int setup(void **state) {
    row *r = *state;
    r->ctx = gy_ctx_new((gy_ctx_args){.threads = 2});
    return r->ctx ? 0 : -1;
}
static int teardown(void **state) {
    row *r = *state;
    size_t live = gy_mem_live(r->ctx);
    gy_ctx *fresh = gy_ctx_new((gy_ctx_args){.threads = 2});
    size_t base = gy_mem_live(fresh);
    gy_ctx_free(fresh);
    gy_ctx_free(r->ctx);
    return live == base ? 0 : -1;
}
static gy_op_id op_of(void **state, gy_ctx **ctx) {
    row *r = *state;
    *ctx = r->ctx;
    return r->op;
}

static void is_complete(void **state) {
    gy_ctx *ctx;
    const gy_op *op = &gy_ops[op_of(state, &ctx)];
    if (op->flags & GY_F_LEAF || op->id == GY_OP_chain) return;
    if (!op->impl->cases || ops_case_count(ctx, op->id) < 1) fail_msg("%s has no cases", op->name);
    if (!op->impl->vjp && !op->impl->expand && !op->impl->nodiff)
        fail_msg("%s has neither a gradient nor a reason for having none", op->name);
    if (op->flags & GY_F_VIEW) return;
    int64_t n;
    const gy_kernel *rows = gy_kernel_table(&n);
    bool f32 = false, f64 = false;
    for (int64_t i = 0; i < n; i++) {
        if (rows[i].op != op->id || rows[i].isa != GY_ISA_REF) continue;
        f32 = f32 || rows[i].dtype == GY_F32 || rows[i].dtype == GY_DTYPE_DEFAULT;
        f64 = f64 || rows[i].dtype == GY_F64 || rows[i].dtype == GY_DTYPE_DEFAULT;
    }
    if (!f32 || !f64) fail_msg("%s has no reference kernel in f32 and f64", op->name);
}
static void gradients(void **state) {
    gy_ctx *ctx;
    gy_op_id op = op_of(state, &ctx);
    ops_check_gradients(ctx, op);
}
static void kernels(void **state) {
    gy_ctx *ctx;
    gy_op_id op = op_of(state, &ctx);
    ops_check_kernels(ctx, op);
}
static void threads(void **state) {
    gy_ctx *ctx;
    ops_check_threads(op_of(state, &ctx));
}

int main(int argc, char **argv) {
    static const struct {
        const char *name;
        CMUnitTestFunction run;
    } kinds[] = {{"complete", is_complete}, {"gradients", gradients}, {"kernels", kernels}, {"threads", threads}};
    static struct CMUnitTest tests[4 * GY_OP_COUNT];
    static row rows[GY_OP_COUNT];
    static char names[4 * GY_OP_COUNT][64];
    size_t n = 0;
    for (int op = 1; op < GY_OP_COUNT; op++)
        for (int k = 0; k < 4; k++) {
            if (k && (!gy_ops[op].impl->cases)) continue;
            rows[op].op = (gy_op_id)op;
            snprintf(names[n], sizeof names[n], "%s: %s", kinds[k].name, gy_ops[op].name);
            if (argc > 1 && !strstr(names[n], argv[1])) continue;
            tests[n] = (struct CMUnitTest){names[n], kinds[k].run, setup, teardown, &rows[op]};
            n++;
        }
    return _cmocka_run_group_tests("operators", tests, n, NULL, NULL);
}
