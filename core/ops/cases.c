/* What the operators' test cases are built with. The harness reads `fill` and feeds the inputs. */
#include "../op.h"

#include <stdio.h>

static gy_t make(gy_case *c, gy_dtype dtype, gy_shape s, double lo, double hi) {
    char name[16];
    if (c->n_in == (int64_t)(sizeof c->in / sizeof *c->in))
        return gy_poison(c->g, GY_HERE, "a case has too many inputs");
    snprintf(name, sizeof name, "x%d", (int)c->n_in);
    c->fill[c->n_in].lo = lo;
    c->fill[c->n_in].hi = hi;
    return c->in[c->n_in++] = gy_input(c->g, name, dtype, s);
}

gy_t gy_case_in(gy_case *c, gy_shape s, double lo, double hi) {
    return make(c, c->dtype, s, lo, hi);
}

gy_t gy_case_distinct(gy_case *c, gy_shape s, double lo, double hi) {
    gy_t t = make(c, c->dtype, s, lo, hi);
    c->fill[c->n_in - 1].distinct = true;
    return t;
}

gy_t gy_case_index(gy_case *c, gy_shape s, int64_t lo, int64_t hi) {
    gy_t t = make(c, GY_I64, s, (double)lo, (double)hi);
    c->fill[c->n_in - 1].integer = true;
    return t;
}

gy_t gy_case_mask(gy_case *c, gy_shape s) {
    gy_t t = make(c, GY_U8, s, 0, 2);
    c->fill[c->n_in - 1].mask = true;
    return t;
}
