#include "golden_job.h"

#include <math.h>
#include <stdio.h>

void golden_file(gy_ctx *ctx, const char *name, gy_safetensors *file) {
    char path[128];
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", name);
    assert_ok(ctx, gy_safetensors_open(ctx, path, NULL, file));
}

void golden_load(gy_ctx *ctx, const gy_safetensors *file, gy_store *store) {
    for (int64_t i = 0; i < gy_store_count(store); i++) {
        gy_state *s = gy_store_at(store, i);
        gy_tensor t;
        if (s->kind == GY_SLOT) continue;
        assert_ok(ctx, gy_safetensors_get(file, s->name, &t));
        assert_int_equal(gy_shape_count(t.shape), gy_shape_count(s->value.shape));
        memcpy(s->value.data, t.data, gy_tensor_bytes(&t));
        gy_tensor_free(ctx, &t);
    }
}

void golden_feed(gy_ctx *ctx, const gy_safetensors *file, gy_plan *plan) {
    for (int64_t i = 0; i < file->n; i++) {
        const char *key = file->entries[i].name;
        gy_tensor t;
        if (strncmp(key, "in.", 3) != 0 || strcmp(key, "in.lr") == 0 || !gy_plan_input(plan, key + 3)) continue;
        assert_ok(ctx, gy_safetensors_get(file, key, &t));
        assert_ok(ctx, gy_plan_feed(plan, key + 3, &t));
        gy_tensor_free(ctx, &t);
    }
    double *lr = gy_plan_input(plan, "lr"); /* a step of length 0: the moments hold the gradients, weights stay */
    if (lr) *lr = 0;
}

static double largest(const gy_tensor *x) {
    double top = 0;
    for (int64_t i = 0; i < gy_shape_count(x->shape); i++) top = fmax(top, fabs(gy_tensor_get(x, i)));
    return top;
}

/* have times `factor` against the file's tensor */
static void compare(gy_ctx *ctx, const gy_safetensors *file, const char *key, const gy_tensor *have, double factor,
                    double tolerance, double least_scale) {
    gy_tensor want;
    assert_ok(ctx, gy_safetensors_get(file, key, &want));
    if (!have->data) fail_msg("nothing to compare with %s", key);
    assert_int_equal(gy_shape_count(have->shape), gy_shape_count(want.shape));
    double scale = fmax(largest(&want), least_scale);
    for (int64_t i = 0; i < gy_shape_count(want.shape); i++) {
        double a = factor * gy_tensor_get(have, i), b = gy_tensor_get(&want, i);
        if (!(fabs(a - b) <= tolerance * scale))
            fail_msg("%s[%d] is %.9g, expected %.9g (scale %.3g)", key, (int)i, a, b, scale);
    }
    gy_tensor_free(ctx, &want);
}

void golden_same(gy_ctx *ctx, const gy_safetensors *file, const char *key, const gy_tensor *have, double tolerance) {
    compare(ctx, file, key, have, 1, tolerance, 0);
}

void golden_adam_gradients(gy_ctx *ctx, const gy_safetensors *file, gy_store *store, double beta1, double tolerance) {
    double top = 0;
    char slot[300];
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < file->n; i++) {
            const char *key = file->entries[i].name;
            gy_tensor t;
            if (strncmp(key, "grad.", 5) != 0) continue;
            snprintf(slot, sizeof slot, "%s.adam_m", key + 5);
            const gy_state *m = gy_state_find(store, slot);
            if (!m) fail_msg("%s is not trained", key + 5);
            if (pass) {
                compare(ctx, file, key, &m->value, 1 / (1 - beta1), tolerance, top / 100);
                continue;
            }
            assert_ok(ctx, gy_safetensors_get(file, key, &t));
            top = fmax(top, largest(&t));
            gy_tensor_free(ctx, &t);
        }
    assert_true(top > 0);
}
