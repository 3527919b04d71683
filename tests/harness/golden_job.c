#include "golden_job.h"
#include "tensors.h"

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

void golden_feed_one(gy_ctx *ctx, const gy_safetensors *file, const char *key, gy_plan *plan, const char *input) {
    gy_tensor t;
    if (!gy_plan_input(plan, input)) return;
    assert_ok(ctx, gy_safetensors_get(file, key, &t));
    assert_ok(ctx, gy_plan_feed(plan, input, &t));
    gy_tensor_free(ctx, &t);
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

void golden_same(gy_ctx *ctx, const gy_safetensors *file, const char *key, const gy_tensor *have, double tolerance) {
    gy_tensor want;
    assert_ok(ctx, gy_safetensors_get(file, key, &want));
    assert_tensor_near(key, have, &want, tolerance, 0);
    gy_tensor_free(ctx, &want);
}

void golden_close_to(gy_ctx *ctx, const gy_safetensors *file, const char *key, const gy_tensor *have,
                     double tolerance) {
    gy_tensor want;
    assert_ok(ctx, gy_safetensors_get(file, key, &want));
    assert_tensor_close(key, have, &want, tolerance);
    gy_tensor_free(ctx, &want);
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
            assert_ok(ctx, gy_safetensors_get(file, key, &t));
            for (int64_t e = 0; e < gy_shape_count(t.shape); e++)
                gy_tensor_set(&t, e, (1 - beta1) * gy_tensor_get(&t, e));
            if (pass)
                assert_tensor_near(key, &m->value, &t, tolerance, top / 100);
            else
                top = fmax(top, largest(&t));
            gy_tensor_free(ctx, &t);
        }
    assert_true(top > 0);
}
