#include "ops.h"

#include "kernels/cuda/emu/emu.h"
#include "kernels/kernel.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static bool build(gy_ctx *ctx, gy_op_id op, int index, gy_dtype dtype, gy_case *c) {
    *c = (gy_case){.g = gy_graph_new(ctx), .dtype = dtype};
    assert_non_null(c->g);
    if (!gy_ops[op].impl->cases || !gy_ops[op].impl->cases(c, index)) {
        gy_graph_free(c->g);
        return false;
    }
    if (gy_graph_status(c->g) != GY_OK) fail_msg("%s case %d: %s", gy_ops[op].name, index, gy_error(ctx));
    return true;
}

int ops_case_count(gy_ctx *ctx, gy_op_id op) {
    gy_case c;
    int n = 0;
    while (build(ctx, op, n, GY_F64, &c)) {
        gy_graph_free(c.g);
        n++;
    }
    return n;
}

/* The same values for every dtype: rounded to f32 first. */
static void draw(const gy_case *c, int64_t i, gy_tensor *t, uint64_t seed) {
    char name[32];
    gy_rng r;
    snprintf(name, sizeof name, "input %d", (int)i);
    gy_rng_init(&r, seed, name);
    int64_t n = gy_shape_count(t->shape);
    double lo = c->fill[i].lo, hi = c->fill[i].hi;
    if (c->fill[i].distinct) {
        int64_t *order = malloc(sizeof *order * (size_t)(n + 1));
        for (int64_t k = 0; k < n; k++) order[k] = k;
        gy_rng_shuffle(&r, order, n);
        for (int64_t k = 0; k < n; k++)
            gy_tensor_set(t, k, (double)(float)(lo + (hi - lo) * ((double)order[k] + 0.5) / (double)n));
        free(order);
        return;
    }
    for (int64_t k = 0; k < n; k++) {
        double u = gy_rng_uniform(&r);
        if (c->fill[i].integer || c->fill[i].mask)
            gy_tensor_set(t, k, lo + floor(u * (hi - lo)));
        else
            gy_tensor_set(t, k, (double)(float)(lo + (hi - lo) * u));
    }
}

static void feed_all(gy_ctx *ctx, gy_plan *p, const gy_case *c, const gy_tensor *override) {
    for (int64_t i = 0; i < c->n_in; i++) {
        char name[16];
        gy_tensor t;
        snprintf(name, sizeof name, "x%d", (int)i);
        if (override && override[i].data) {
            assert_ok(ctx, gy_plan_feed(p, name, &override[i]));
            continue;
        }
        assert_ok(ctx, gy_tensor_new(ctx, &t, gy_dtype_of(c->in[i]), gy_shape_of(c->in[i])));
        draw(c, i, &t, 1);
        assert_ok(ctx, gy_plan_feed(p, name, &t));
        gy_tensor_free(ctx, &t);
    }
    gy_plan_set_rng(p, 1, 2);
}

static gy_t random_like(gy_ctx *ctx, gy_t y, const char *name, double lo) {
    gy_tensor t;
    gy_rng r;
    gy_rng_init(&r, 5, name);
    assert_ok(ctx, gy_tensor_new(ctx, &t, gy_dtype_of(y), gy_shape_of(y)));
    for (int64_t i = 0; i < gy_count(y); i++) gy_tensor_set(&t, i, lo + (1 - lo) * gy_rng_uniform(&r));
    gy_t c = gy_const(y.g, &t);
    gy_tensor_free(ctx, &t);
    return c;
}

static gy_plan *compile(gy_ctx *ctx, gy_op_id op, int index, gy_graph *g, gy_plan_args a) {
    gy_plan *p = gy_compile(g, a);
    if (!p) fail_msg("%s case %d: %s", gy_ops[op].name, index, gy_error(ctx));
    if (!gy_plan_verify(p)) fail_msg("%s case %d: buffers overlap", gy_ops[op].name, index);
    return p;
}

static double run_scalar(gy_ctx *ctx, gy_plan *p, const gy_case *c, const gy_tensor *override, const char *out) {
    feed_all(ctx, p, c, override);
    assert_ok(ctx, gy_plan_run(p));
    return gy_plan_scalar(p, out);
}

/* d out / d x along a random direction of all float inputs, by central differences with Richardson
 * extrapolation (error O(h^4)). */
static double difference(gy_ctx *ctx, gy_plan *p, const gy_case *c, gy_tensor *x, gy_tensor *dir, const char *out) {
    double d[2];
    for (int k = 0; k < 2; k++) {
        double h = 2e-4 / (k + 1), side[2];
        for (int s = 0; s < 2; s++) {
            gy_tensor moved[8] = {{0}};
            for (int64_t i = 0; i < c->n_in; i++) {
                if (!dir[i].data) continue;
                assert_ok(ctx, gy_tensor_cast(ctx, &x[i], GY_F64, &moved[i]));
                for (int64_t e = 0; e < gy_shape_count(moved[i].shape); e++)
                    ((double *)moved[i].data)[e] += (s ? -h : h) * ((double *)dir[i].data)[e];
            }
            side[s] = run_scalar(ctx, p, c, moved, out);
            for (int64_t i = 0; i < c->n_in; i++) gy_tensor_free(ctx, &moved[i]);
        }
        d[k] = (side[0] - side[1]) / (2 * h);
    }
    return (4 * d[1] - d[0]) / 3;
}

static double dot(const gy_tensor *a, const gy_tensor *b, double *size) {
    double s = 0;
    for (int64_t i = 0; i < gy_shape_count(a->shape); i++) {
        double t = gy_tensor_get(a, i) * gy_tensor_get(b, i);
        s += t;
        *size += fabs(t);
    }
    return s;
}

/* Compares the gradient outputs "g<i>" of plan p at x with differences of scalar output `out`. */
static void compare_gradient(gy_ctx *ctx, gy_plan *p, gy_plan *pg, const gy_case *c, const char *out, gy_op_id op,
                             int index, const char *what, const char *prefix) {
    gy_tensor x[8] = {{0}}, dir[8] = {{0}};
    for (int64_t i = 0; i < c->n_in; i++) {
        if (!gy_dtype_is_float(gy_dtype_of(c->in[i]))) continue;
        gy_rng r;
        gy_rng_init(&r, 77 + (uint64_t)i, "direction");
        assert_ok(ctx, gy_tensor_new(ctx, &x[i], GY_F64, gy_shape_of(c->in[i])));
        assert_ok(ctx, gy_tensor_new(ctx, &dir[i], GY_F64, gy_shape_of(c->in[i])));
        draw(c, i, &x[i], 1);
        for (int64_t e = 0; e < gy_shape_count(dir[i].shape); e++) gy_tensor_set(&dir[i], e, gy_rng_uniform(&r) - 0.5);
    }
    double numeric = difference(ctx, p, c, x, dir, out), exact = 0, size = 1e-3;
    run_scalar(ctx, pg, c, NULL, out);
    for (int64_t i = 0; i < c->n_in; i++) {
        char name[16];
        snprintf(name, sizeof name, "%s%d", prefix, (int)i);
        gy_tensor g = gy_plan_output(pg, name);
        if (g.data && dir[i].data) exact += dot(&g, &dir[i], &size);
    }
    for (int64_t i = 0; i < c->n_in; i++) {
        gy_tensor_free(ctx, &x[i]);
        gy_tensor_free(ctx, &dir[i]);
    }
    if (!(fabs(numeric - exact) <= 1e-6 * size + 1e-8))
        fail_msg("%s case %d: %s: rule gives %.12g, differences %.12g (size %g)", gy_ops[op].name, index, what, exact,
                 numeric, size);
}

/* L = sum(y w), its gradients g_i, S = sum_i <g_i, v_i>, its gradients h_i. */
static void check_case(gy_ctx *ctx, gy_op_id op, int index) {
    gy_case c;
    if (!build(ctx, op, index, GY_F64, &c)) return;
    const gy_op_impl *impl = gy_ops[op].impl;
    gy_t y = c.y, x[8], g[8], h[8];
    int64_t where[8], n = 0;
    for (int64_t i = 0; i < c.n_in; i++)
        if (gy_dtype_is_float(gy_dtype_of(c.in[i]))) {
            where[n] = i;
            x[n++] = c.in[i];
        }
    bool differentiable = gy_dtype_is_float(gy_dtype_of(y)) && (impl->vjp || impl->expand) && !c.no_grad_check && n > 0;
    if (!differentiable) {
        gy_graph_free(c.g);
        return;
    }
    gy_t L = gy_sum(gy_mul(y, random_like(ctx, y, "w", -1)), GY_ALL);
    gy_output(L, "L");
    gy_grad(L, GY_NONE, n, x, g);
    gy_t S = gy_full(c.g, GY_F64, GY_S0, 0);
    bool any = false;
    for (int64_t i = 0; i < n; i++) {
        char name[16];
        if (gy_is_none(g[i])) continue;
        any = true;
        snprintf(name, sizeof name, "g%d", (int)where[i]);
        gy_output(g[i], name);
        S = gy_add(S, gy_sum(gy_mul(g[i], random_like(ctx, g[i], name, -1)), GY_ALL));
    }
    if (!any) fail_msg("%s case %d: no gradient reaches any input", gy_ops[op].name, index);
    gy_output(S, "S");
    gy_grad(S, GY_NONE, n, x, h);
    for (int64_t i = 0; i < n; i++) {
        char name[16];
        if (gy_is_none(h[i])) continue;
        snprintf(name, sizeof name, "h%d", (int)where[i]);
        gy_output(h[i], name);
    }
    gy_plan *p = compile(ctx, op, index, c.g, (gy_plan_args){.isa_mask = 1, .off = GY_PASS_ALL});
    compare_gradient(ctx, p, p, &c, "L", op, index, "gradient", "g");
    compare_gradient(ctx, p, p, &c, "S", op, index, "second gradient", "h");
    gy_plan_free(p);
    gy_graph_free(c.g);
}

/* Fused against expanded: every float output and its gradient. */
static void check_expansion(gy_ctx *ctx, gy_op_id op, int index) {
    gy_case c;
    if (!gy_ops[op].impl->expand || !build(ctx, op, index, GY_F64, &c)) return;
    const gy_node *node = gy_node_of(c.y);
    if (node->op->id != op) { /* the case wraps the operator: find it */
        for (int32_t id = 1; id < c.g->n; id++)
            if (c.g->node[id]->op->id == op) node = c.g->node[id];
    }
    if (node->op->id == op) {
        gy_t out[GY_MAX_OUT] = {{0}};
        node->op->impl->expand(node->attr, node->n_in, node->in, node->n_out, out);
        for (int o = 0; o < node->n_out; o++) {
            gy_t y = {c.g, node->id, o};
            char name[16];
            if (gy_is_none(out[o]) || !gy_dtype_is_float(gy_dtype_of(y))) continue;
            snprintf(name, sizeof name, "fused%d", o);
            gy_output(y, name);
            snprintf(name, sizeof name, "plain%d", o);
            gy_output(out[o], name);
        }
        gy_plan *p = compile(ctx, op, index, c.g, (gy_plan_args){.isa_mask = 1, .off = GY_PASS_ALL});
        feed_all(ctx, p, &c, NULL);
        assert_ok(ctx, gy_plan_run(p));
        for (int o = 0; o < node->n_out; o++) {
            char name[16];
            snprintf(name, sizeof name, "fused%d", o);
            gy_tensor a = gy_plan_output(p, name);
            snprintf(name, sizeof name, "plain%d", o);
            gy_tensor b = gy_plan_output(p, name);
            if (!a.data) continue;
            assert_true(gy_shape_equal(a.shape, b.shape));
            double scale = 1e-300;
            for (int64_t i = 0; i < gy_shape_count(a.shape); i++)
                if (isfinite(gy_tensor_get(&b, i))) scale = fmax(scale, fabs(gy_tensor_get(&b, i)));
            for (int64_t i = 0; i < gy_shape_count(a.shape); i++) {
                double u = gy_tensor_get(&a, i), v = gy_tensor_get(&b, i);
                if (u != v && !(fabs(u - v) <= 1e-11 * scale))
                    fail_msg("%s case %d output %d: fused %.15g, expanded %.15g at %d", gy_ops[op].name, index, o, u, v,
                             (int)i);
            }
        }
        gy_plan_free(p);
    }
    gy_graph_free(c.g);
}

void ops_check_gradients(gy_ctx *ctx, gy_op_id op) {
    int n = ops_case_count(ctx, op);
    for (int i = 0; i < n; i++) {
        check_case(ctx, op, i);
        check_expansion(ctx, op, i);
    }
}

/* All outputs of the node that y belongs to, as f64, one after another. */
static double *values(gy_ctx *ctx, gy_op_id op, int index, gy_dtype dtype, gy_plan_args a, int64_t *count, double *tol,
                      void **raw, size_t *raw_bytes) {
    gy_case c;
    if (!build(ctx, op, index, dtype, &c)) return NULL;
    const gy_node *node = gy_node_of(c.y);
    int64_t total = 0;
    for (int o = 0; o < node->n_out; o++) {
        char name[16];
        snprintf(name, sizeof name, "y%d", o);
        gy_output(((gy_t){c.g, node->id, o}), name);
        total += gy_shape_count(node->shape[o]);
    }
    gy_plan *p = compile(ctx, op, index, c.g, a);
    feed_all(ctx, p, &c, NULL);
    assert_ok(ctx, gy_plan_run(p));
    double *v = malloc(sizeof *v * (size_t)(total + 1));
    char *bits = raw ? malloc((size_t)total * 8 + 1) : NULL;
    int64_t at = 0;
    size_t bytes = 0;
    for (int o = 0; o < node->n_out; o++) {
        char name[16];
        snprintf(name, sizeof name, "y%d", o);
        gy_tensor t = gy_plan_output(p, name);
        for (int64_t i = 0; i < gy_shape_count(t.shape); i++) v[at++] = gy_tensor_get(&t, i);
        if (bits) memcpy(bits + bytes, t.data, gy_tensor_bytes(&t));
        bytes += gy_tensor_bytes(&t);
    }
    gy_plan_free(p);
    *tol = c.tol > 0 ? c.tol : 16;
    gy_graph_free(c.g);
    *count = total;
    if (raw) {
        *raw = bits;
        *raw_bytes = bytes;
    }
    return v;
}

void ops_check_kernels(gy_ctx *ctx, gy_op_id op) {
    int cases = ops_case_count(ctx, op);
    for (int i = 0; i < cases; i++) {
        int64_t n, m;
        double tol;
        double *want =
            values(ctx, op, i, GY_F64, (gy_plan_args){.isa_mask = 1, .off = GY_PASS_ALL}, &n, &tol, NULL, NULL);
        double scale = 0;
        for (int64_t k = 0; k < n; k++)
            if (isfinite(want[k])) scale = fmax(scale, fabs(want[k]));
        for (int tier = 0; tier < GY_ISA_COUNT; tier++) {
            if (!(gy_ctx_isa_mask(ctx) >> tier & 1)) continue;
            double *have =
                values(ctx, op, i, GY_F32, (gy_plan_args){.isa_mask = (UINT64_C(2) << tier) - 1}, &m, &tol, NULL, NULL);
            assert_int_equal(n, m);
            for (int64_t k = 0; k < n; k++)
                if (have[k] != want[k] && !(isnan(have[k]) && isnan(want[k])) &&
                    !(fabs(have[k] - want[k]) <= tol * (double)FLT_EPSILON * scale))
                    fail_msg("%s case %d on %s: element %d is %.9g, expected %.9g (tolerance %g)", gy_ops[op].name, i,
                             gy_isa_name((gy_isa)tier), (int)k, have[k], want[k], tol * (double)FLT_EPSILON * scale);
            free(have);
        }
        free(want);
    }
}

void ops_check_threads(gy_op_id op) {
    static const int threads[] = {1, 2, 3, 8};
    gy_ctx *one = gy_ctx_new((gy_ctx_args){.threads = 1});
    int cases = ops_case_count(one, op);
    gy_ctx_free(one);
    for (int i = 0; i < cases; i++) {
        void *first = NULL;
        size_t first_bytes = 0;
        for (int t = 0; t < 4; t++) {
            gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = threads[t]});
            int64_t n;
            double tol;
            void *raw;
            size_t bytes;
            free(values(ctx, op, i, GY_F32, (gy_plan_args){0}, &n, &tol, &raw, &bytes));
            if (t == 0) {
                first = raw;
                first_bytes = bytes;
            } else {
                if (bytes != first_bytes || memcmp(first, raw, bytes) != 0)
                    fail_msg("%s case %d: other bits on %d threads", gy_ops[op].name, i, threads[t]);
                free(raw);
            }
            gy_ctx_free(ctx);
        }
        free(first);
    }
}

static bool has_cuda_row(gy_op_id op, gy_dtype dtype) {
    int64_t n;
    const gy_kernel *rows = gy_kernel_table(&n);
    for (int64_t i = 0; i < n; i++)
        if (rows[i].op == op && rows[i].isa == GY_ISA_CUDA &&
            (rows[i].dtype == dtype || rows[i].dtype == GY_DTYPE_DEFAULT))
            return true;
    return false;
}

int ops_check_cuda(gy_ctx *ctx, gy_op_id op) {
    const gy_plan_args on_device = {.isa_mask = UINT64_C(1) << GY_ISA_CUDA, .off = GY_PASS_ALL};
    const gy_dtype types[] = {GY_F32, GY_F64};
    int cases = ops_case_count(ctx, op), ran = 0;
    for (int i = 0; i < 2 * cases; i++) {
        gy_dtype dtype = types[i % 2];
        double eps = dtype == GY_F32 ? (double)FLT_EPSILON : DBL_EPSILON, tol, scale = 0;
        int64_t n, m;
        if (!has_cuda_row(op, dtype)) continue;
        double *want =
            values(ctx, op, i / 2, GY_F64, (gy_plan_args){.isa_mask = 1, .off = GY_PASS_ALL}, &n, &tol, NULL, NULL);
        for (int64_t k = 0; k < n; k++)
            if (isfinite(want[k])) scale = fmax(scale, fabs(want[k]));
        void *first = NULL;
        for (int order = GY_EMU_FORWARD; order <= GY_EMU_RANDOM; order++) {
            void *raw;
            size_t bytes;
            gy_emu_schedule(gy_ctx_device(ctx), (gy_emu_order)order, (uint64_t)i + 1);
            double *have = values(ctx, op, i / 2, dtype, on_device, &m, &tol, &raw, &bytes);
            assert_int_equal(n, m);
            for (int64_t k = 0; k < n; k++)
                if (have[k] != want[k] && !(isnan(have[k]) && isnan(want[k])) &&
                    !(fabs(have[k] - want[k]) <= tol * eps * scale))
                    fail_msg("%s case %d in %s on the emulator: element %d is %.9g, expected %.9g (tolerance %g)",
                             gy_ops[op].name, i / 2, gy_dtype_name(dtype), (int)k, have[k], want[k], tol * eps * scale);
            if (first && memcmp(first, raw, bytes) != 0)
                fail_msg("%s case %d in %s on the emulator: other bits in another order of warps", gy_ops[op].name,
                         i / 2, gy_dtype_name(dtype));
            free(have);
            if (first)
                free(raw);
            else
                first = raw;
        }
        free(first);
        free(want);
        ran++;
    }
    return ran;
}
