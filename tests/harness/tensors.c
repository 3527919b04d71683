#include "tensors.h"

#include <math.h>

double largest(const gy_tensor *t) {
    double top = 0;
    for (int64_t i = 0; i < gy_shape_count(t->shape); i++) top = fmax(top, fabs(gy_tensor_get(t, i)));
    return top;
}

/* Elements may differ by `most`, and by `relative` of their own magnitude if that is more. */
static void compare(const char *what, const gy_tensor *have, const gy_tensor *want, double most, double relative) {
    if (!have->data) fail_msg("nothing to compare with %s", what);
    assert_int_equal(gy_shape_count(have->shape), gy_shape_count(want->shape));
    for (int64_t i = 0; i < gy_shape_count(want->shape); i++) {
        double a = gy_tensor_get(have, i), b = gy_tensor_get(want, i), allowed = fmax(most, relative * fabs(b));
        if (!(fabs(a - b) <= allowed))
            fail_msg("%s[%d] is %.9g, expected %.9g within %.3g", what, (int)i, a, b, allowed);
    }
}

void assert_tensor_near(const char *what, const gy_tensor *have, const gy_tensor *want, double tolerance,
                        double least_scale) {
    compare(what, have, want, tolerance * fmax(largest(want), least_scale), 0);
}

void assert_tensor_close(const char *what, const gy_tensor *have, const gy_tensor *want, double tolerance) {
    compare(what, have, want, tolerance, tolerance);
}
