/* Optimizer updates. One pass reads and writes each array once: 5 arrays for Adam instead of some 20 passes of
 * elementwise operators. */
#include "../op.h"

#include <math.h>

/* Inputs 0 .. arrays-1 of one shape and float dtype, then scalars; absent ones are skipped. */
static bool update_infer(gy_infer *c, int arrays) {
    char a[GY_SHAPE_TEXT], b[GY_SHAPE_TEXT];
    if (!gy_dtype_is_float(c->in_dtype[0]))
        return gy_infer_fail(c, "the parameter is %s, expected a float type", gy_dtype_name(c->in_dtype[0]));
    for (int i = 1; i < c->n_in; i++) {
        if (c->in_dtype[i] == GY_DTYPE_DEFAULT) continue;
        if (i < arrays && (c->in_dtype[i] != c->in_dtype[0] || !gy_shape_equal(c->in_shape[i], c->in_shape[0])))
            return gy_infer_fail(c, "input %d is %s %s, the parameter %s %s", i, gy_dtype_name(c->in_dtype[i]),
                                 gy_shape_text(c->in_shape[i], a), gy_dtype_name(c->in_dtype[0]),
                                 gy_shape_text(c->in_shape[0], b));
        bool number = c->in_dtype[i] == GY_F32 || c->in_dtype[i] == GY_F64 || c->in_dtype[i] == GY_I64;
        if (i >= arrays && (!number || gy_shape_count(c->in_shape[i]) != 1))
            return gy_infer_fail(c, "input %d is %s %s, expected a scalar", i, gy_dtype_name(c->in_dtype[i]),
                                 gy_shape_text(c->in_shape[i], a));
    }
    for (int i = 0; i < c->n_out; i++) {
        c->shape[i] = c->in_shape[0];
        c->dtype[i] = c->in_dtype[0];
    }
    return true;
}

static bool sgd_infer(gy_infer *c) {
    c->n_out = c->in_dtype[1] == GY_DTYPE_DEFAULT ? 1 : 2;
    return update_infer(c, 3);
}
static bool adam_infer(gy_infer *c) {
    return update_infer(c, 4);
}
static bool lion_infer(gy_infer *c) {
    return update_infer(c, 3);
}

gy_t gy_sgd_(gy_site at, gy_t p, gy_t m, gy_t g, gy_t lr, gy_t scale, gy_update_attr attr) {
    return gy_node_make(at, p.g, GY_OP_sgd, &attr, 5, (gy_t[]){p, m, g, lr, scale});
}
gy_t gy_adam_(gy_site at, gy_t p, gy_t m, gy_t v, gy_t g, gy_t lr, gy_t step, gy_t scale, gy_update_attr attr) {
    return gy_node_make(at, p.g, GY_OP_adam, &attr, 7, (gy_t[]){p, m, v, g, lr, step, scale});
}
gy_t gy_lion_(gy_site at, gy_t p, gy_t m, gy_t g, gy_t lr, gy_t scale, gy_update_attr attr) {
    return gy_node_make(at, p.g, GY_OP_lion, &attr, 5, (gy_t[]){p, m, g, lr, scale});
}

/* ---- compositions ---- */

gy_t gy_ema_(gy_site at, gy_t avg, gy_t x, double decay) {
    gy_t toward = gy_scale_(at, gy_binary_(at, GY_OP_sub, x, avg), 1 - decay);
    return gy_binary_(at, GY_OP_add, avg, toward);
}

gy_t gy_global_norm_(gy_site at, int64_t n, const gy_t x[]) {
    gy_t sum = GY_NONE;
    for (int64_t i = 0; i < n; i++) {
        gy_t s = gy_reduce_(at, GY_OP_sum_squares, x[i], GY_ALL, false);
        sum = i ? gy_binary_(at, GY_OP_add, sum, s) : s;
    }
    return gy_unary_(at, GY_OP_sqrt, sum);
}

gy_t gy_clip_factor_(gy_site at, gy_t norm, double max_norm) {
    if (!(max_norm > 0)) return gy_poison(norm.g, at, "clip: the largest norm is %g, expected above 0", max_norm);
    gy_t f = gy_binary_(at, GY_OP_div, gy_scalar_(at, norm, max_norm), gy_add_scalar_(at, norm, 1e-6));
    return gy_binary_(at, GY_OP_minimum, f, gy_scalar_(at, norm, 1));
}

/* ---- cases ---- */

static const gy_shape case_shapes[] = {{0, {0}}, {1, {1}}, {2, {3, 7}}, {2, {0, 4}}, {3, {2, 17, 33}}};

static bool sgd_cases(gy_case *c, int i) {
    if (i < 0 || i >= 10) return false;
    gy_shape s = case_shapes[i % 5];
    gy_update_attr a = {.beta1 = 0.9, .weight_decay = i < 5 ? 0 : 0.1, .nesterov = i >= 5};
    gy_t p = gy_case_in(c, s, -1, 1), m = i % 3 ? gy_case_in(c, s, -1, 1) : GY_NONE, g = gy_case_in(c, s, -1, 1);
    c->y = gy_sgd(p, m, g, gy_case_in(c, GY_S0, 0.01, 0.1), i % 2 ? gy_case_in(c, GY_S0, 0.5, 1) : GY_NONE, a);
    return true;
}
static bool adam_cases(gy_case *c, int i) {
    if (i < 0 || i >= 10) return false;
    gy_shape s = case_shapes[i % 5];
    gy_update_attr a = {.beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8, .weight_decay = 0.1, .decoupled = i < 5};
    gy_t p = gy_case_in(c, s, -1, 1), m = gy_case_in(c, s, -1, 1), v = gy_case_in(c, s, 0.1, 1);
    gy_t g = gy_case_in(c, s, -1, 1), lr = gy_case_in(c, GY_S0, 0.01, 0.1), t = gy_case_index(c, GY_S0, 1, 9);
    c->y = gy_adam(p, m, v, g, lr, t, i % 2 ? gy_case_in(c, GY_S0, 0.5, 1) : GY_NONE, a);
    return true;
}
static bool lion_cases(gy_case *c, int i) {
    if (i < 0 || i >= 5) return false;
    gy_shape s = case_shapes[i];
    gy_update_attr a = {.beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1};
    /* equal signs, so that rounding cannot turn the update round */
    gy_t p = gy_case_in(c, s, -1, 1), m = gy_case_in(c, s, 0.1, 1), g = gy_case_in(c, s, 0.1, 1);
    c->y = gy_lion(p, m, g, gy_case_in(c, GY_S0, 0.01, 0.1), i % 2 ? gy_case_in(c, GY_S0, 0.5, 1) : GY_NONE, a);
    return true;
}

static gy_cost update_cost(const gy_node *n) {
    double count = (double)gy_shape_count(n->shape[0]), size = (double)gy_dtype_size(n->dtype[0]);
    return (gy_cost){(n->op->id == GY_OP_adam ? 14 : 6) * count, (2 * n->n_out + 1) * count * size};
}

static const char *const end_of_step = "an optimizer update is the end of a step";
const gy_op_impl gy_impl_sgd = {.attr_size = sizeof(gy_update_attr),
                                .infer = sgd_infer,
                                .nodiff = end_of_step,
                                .cost = update_cost,
                                .cases = sgd_cases};
const gy_op_impl gy_impl_adam = {.attr_size = sizeof(gy_update_attr),
                                 .infer = adam_infer,
                                 .nodiff = end_of_step,
                                 .cost = update_cost,
                                 .cases = adam_cases};
const gy_op_impl gy_impl_lion = {.attr_size = sizeof(gy_update_attr),
                                 .infer = lion_infer,
                                 .nodiff = end_of_step,
                                 .cost = update_cost,
                                 .cases = lion_cases};
