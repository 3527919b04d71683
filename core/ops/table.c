/* The operator table: one row a line of ops.def. */
#include "../op.h"

#define GY_OP(name, n_in, n_out, flags, formula) extern const gy_op_impl gy_impl_##name;
#include "ops.def"
#undef GY_OP

static bool never(gy_infer *c) {
    return gy_infer_fail(c, "not an operator");
}
static const gy_op_impl none = {.infer = never, .nodiff = "not an operator"};

const gy_op gy_ops[GY_OP_COUNT] = {
    {"poison", GY_OP_NONE, 0, 1, 0, "", &none},
#define GY_OP(name, n_in, n_out, flags, formula) {#name, GY_OP_##name, n_in, n_out, flags, formula, &gy_impl_##name},
#include "ops.def"
#undef GY_OP
};
