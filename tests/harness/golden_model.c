#include "golden_model.h"
#include "tensors.h"

#include "core/op.h"
#include "io/run.h"

#include <math.h>
#include <stdio.h>

void golden_open(golden_model *t, gy_ctx *ctx, const char *name) {
    char path[128];
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", name);
    *t = (golden_model){.ctx = ctx, .store = gy_store_new(ctx), .g = gy_graph_new(ctx)};
    assert_non_null(t->store);
    assert_non_null(t->g);
    assert_ok(ctx, gy_safetensors_open(ctx, path, NULL, &t->file));
    t->m = gy_mod_make(t->g, t->store, 1, false);
}

void golden_close(golden_model *t) {
    gy_plan_free(t->plan);
    gy_graph_free(t->g);
    gy_store_free(t->store);
    gy_safetensors_close(&t->file);
}

gy_tensor golden_tensor(golden_model *t, const char *name) {
    char key[256];
    gy_tensor x;
    snprintf(key, sizeof key, "test/%s", name);
    assert_ok(t->ctx, gy_safetensors_get(&t->file, key, &x));
    return x;
}

gy_t golden_input(golden_model *t, const char *name) {
    gy_tensor x = golden_tensor(t, name);
    gy_t v = gy_input(t->g, name, x.dtype, x.shape);
    gy_tensor_free(t->ctx, &x);
    return v;
}

gy_t golden_const(golden_model *t, const char *name) {
    gy_tensor x = golden_tensor(t, name);
    gy_t v = gy_const(t->g, &x);
    gy_tensor_free(t->ctx, &x);
    return v;
}

/* The state that a node reads; NULL: none. */
static const gy_state *read_by(const gy_node *n) {
    return n->op->id == GY_OP_read ? *(gy_state *const *)n->attr : NULL;
}

/* A state may be read by several nodes (one a scope): its gradient is the sum. */
void golden_gradients(golden_model *t, gy_t loss, int64_t n, const char *const *names, const gy_t *inputs) {
    enum { MOST = 512 };
    gy_t x[MOST], gx[MOST];
    char name[300];
    int64_t k = 0;
    for (; k < n; k++) x[k] = inputs[k];
    for (int32_t id = 1; id < t->g->n && gy_graph_status(t->g) == GY_OK; id++) {
        const gy_state *s = read_by(t->g->node[id]);
        if (!s || s->kind != GY_PARAM) continue;
        assert_true(k < MOST);
        x[k++] = (gy_t){t->g, id, 0};
    }
    gy_grad(loss, GY_NONE, k, x, gx);
    for (int64_t i = 0; i < k; i++) {
        const gy_state *s = i < n ? NULL : read_by(t->g->node[x[i].id]);
        gy_t sum = gx[i];
        bool first = true;
        if (gy_is_none(sum)) continue;
        for (int64_t j = n; s && j < k; j++) {
            if (read_by(t->g->node[x[j].id]) != s || j == i || gy_is_none(gx[j])) continue;
            first = first && j > i;
            sum = gy_add(sum, gx[j]);
        }
        snprintf(name, sizeof name, "grad.%s", s ? s->name : names[i]);
        if (first) gy_output(sum, name);
    }
}

void golden_run(golden_model *t, const char *name, const gy_weight_rule *rules, const char *const *ignorable) {
    enum { MOST = 16 };
    const char *all[MOST] = {"test/*"};
    char path[128];
    for (int i = 0; ignorable && ignorable[i] && i + 2 < MOST; i++) all[i + 1] = ignorable[i];
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", name);
    t->plan = gy_compile(t->g, (gy_plan_args){0});
    if (!t->plan) fail_msg("%s: %s", name, gy_error(t->ctx));
    assert_ok(t->ctx, gy_weights_load_as(t->ctx, path, NULL, t->store, all, rules));
    for (int64_t i = 0; i < t->g->n_input; i++) {
        gy_tensor x = golden_tensor(t, t->g->input[i].name);
        assert_ok(t->ctx, gy_plan_feed(t->plan, t->g->input[i].name, &x));
        gy_tensor_free(t->ctx, &x);
    }
    assert_ok(t->ctx, gy_plan_run(t->plan));
}

static void compare(golden_model *t, const char *name, double tolerance, double least_scale) {
    gy_tensor want = golden_tensor(t, name), have = gy_plan_output(t->plan, name);
    assert_tensor_near(name, &have, &want, tolerance, least_scale);
    gy_tensor_free(t->ctx, &want);
}

void golden_compare(golden_model *t, const char *name, double tolerance) {
    compare(t, name, tolerance, 0);
}

/* A key's bias moves all scores of a query alike, so its gradient is 0 but for rounding: gradients below a hundredth
 * of the file's largest are compared on that scale. */
void golden_compare_gradients(golden_model *t, double tolerance) {
    int64_t compared = 0, trained = 0;
    double top = 0;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < t->file.n; i++) {
            const char *key = t->file.entries[i].name + 5;
            if (strncmp(t->file.entries[i].name, "test/grad.", 10) != 0) continue;
            if (pass) {
                compare(t, key, tolerance, top / 100);
                compared++;
                continue;
            }
            gy_tensor x = golden_tensor(t, key);
            top = fmax(top, largest(&x));
            gy_tensor_free(t->ctx, &x);
        }
    for (int64_t i = 0; i < gy_store_count(t->store); i++) {
        const gy_state *p = gy_store_at(t->store, i);
        trained += p->kind == GY_PARAM && !p->frozen;
    }
    assert_true(compared >= trained);
}
