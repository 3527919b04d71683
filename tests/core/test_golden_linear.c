/* gy_linear against PyTorch: values and gradients (tests/golden/make_linear.py). */
#include "../harness/harness.h"

#include "core/gyrus.h"
#include "io/formats/safetensors.h"

#include <math.h>
#include <stdio.h>

static gy_tensor golden(gy_ctx *ctx, const gy_safetensors *st, const char *name, const char *part) {
    char key[32];
    gy_tensor t;
    snprintf(key, sizeof key, "%s.%s", name, part);
    assert_ok(ctx, gy_safetensors_get(st, key, &t));
    return t;
}

static void compare(gy_ctx *ctx, const gy_safetensors *st, const char *name, const char *part, gy_plan *p) {
    gy_tensor want = golden(ctx, st, name, part), have = gy_plan_output(p, part);
    assert_true(gy_shape_equal(want.shape, have.shape));
    for (int64_t i = 0; i < gy_shape_count(want.shape); i++)
        assert_close(gy_tensor_get(&have, i), gy_tensor_get(&want, i), 1e-13);
    gy_tensor_free(ctx, &want);
}

static void linear_layers_equal_pytorch(void **state) {
    gy_ctx *ctx = *state;
    gy_safetensors st;
    assert_ok(ctx, gy_safetensors_open(ctx, "tests/golden/linear.safetensors", NULL, &st));
    static const char *const names[] = {"row", "batch", "plain"};
    for (int i = 0; i < 3; i++) {
        bool bias = i < 2;
        static const char *const inputs[] = {"x", "w", "ct", "b"};
        gy_graph *g = gy_graph_new(ctx);
        gy_t in[4] = {{0}}, grad[3];
        for (int k = 0; k < (bias ? 4 : 3); k++) {
            gy_tensor t = golden(ctx, &st, names[i], inputs[k]);
            in[k] = gy_input(g, inputs[k], t.dtype, t.shape);
            gy_tensor_free(ctx, &t);
        }
        gy_t y = gy_linear(in[0], in[1], bias ? in[3] : GY_NONE);
        gy_grad(y, in[2], bias ? 3 : 2, ((gy_t[]){in[0], in[1], in[3]}), grad);
        gy_output(y, "y");
        gy_output(grad[0], "gx");
        gy_output(grad[1], "gw");
        if (bias) gy_output(grad[2], "gb");
        gy_plan *p = gy_compile(g, (gy_plan_args){0});
        if (!p) fail_msg("%s: %s", names[i], gy_error(ctx));
        for (int k = 0; k < (bias ? 4 : 3); k++) {
            gy_tensor t = golden(ctx, &st, names[i], inputs[k]);
            assert_ok(ctx, gy_plan_feed(p, inputs[k], &t));
            gy_tensor_free(ctx, &t);
        }
        assert_ok(ctx, gy_plan_run(p));
        compare(ctx, &st, names[i], "y", p);
        compare(ctx, &st, names[i], "gx", p);
        compare(ctx, &st, names[i], "gw", p);
        if (bias) compare(ctx, &st, names[i], "gb", p);
        gy_plan_free(p);
        gy_graph_free(g);
    }
    gy_safetensors_close(&st);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(linear_layers_equal_pytorch)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
