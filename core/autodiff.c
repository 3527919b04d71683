/* Reverse-mode differentiation as a graph transformation: one walk over the nodes between x and y, one
 * rule an operator, and the result is more graph. An operator without a rule is replaced by its expansion
 * into primitives, which are differentiated in its place: so a fused backward operator needs no rule of its
 * own, and any order of derivative is exact. */
#include "op.h"
#include "ops/fused.h"

#include <stdio.h>
#include <string.h>

/* Cotangents met so far, per (node, output). */
typedef struct walk {
    gy_graph *g;
    gy_t (*ct)[GY_MAX_OUT];
    bool *reach; /* depends on some x */
    bool *zero;  /* on a path to y whose derivative is zero */
    int32_t first, last;
} walk;

static gy_t add_to(gy_graph *g, gy_t sum, gy_t term) {
    (void)g;
    return gy_is_none(sum) ? term : gy_binary_(GY_HERE, GY_OP_add, sum, term);
}

/* x summed to shape s; NumPy's broadcasting read backwards. */
gy_t gy_sum_to(gy_t x, gy_shape s) {
    gy_shape from = gy_shape_of(x);
    if (x.id == 0 || gy_shape_equal(from, s)) return x;
    gy_axes axes = {0};
    int64_t extra = from.rank - s.rank;
    for (int64_t i = 0; i < from.rank; i++)
        if (i < extra || (s.dim[i - extra] == 1 && from.dim[i] != 1)) axes.axis[axes.n++] = i;
    if (axes.n) x = gy_reduce_(GY_HERE, GY_OP_sum, x, axes, true);
    return gy_reshape_to(x, s);
}

static void differentiate(gy_graph *g, const gy_t y[], const gy_t cty[], int n_y, int64_t n, const gy_t x[], gy_t gx[]);

/* gx for a node through its expansion. The expansion is built on aliases of the inputs: two inputs may be one value
 * (the walk would give each the sum, and it would count twice), and a node inside may equal one of the inputs (the walk
 * would stop there). */
static void through_expansion(const gy_node *node, const gy_t ct[], gy_t gx[]) {
    gy_graph *g = node->in[0].g;
    gy_t out[GY_MAX_OUT] = {{0}}, few[16] = {{0}}, *alias = few;
    if (node->n_in > 16 && !(alias = gy_calloc(g->ctx, (size_t)node->n_in, sizeof *alias))) {
        gy_poison(g, GY_HERE, "%s", gy_error(g->ctx));
        return;
    }
    for (int i = 0; i < node->n_in; i++)
        alias[i] = gy_dtype_is_float(gy_dtype_of(node->in[i])) ? gy_alias(node->in[i], i) : node->in[i];
    node->op->impl->expand(node->attr, node->n_in, alias, node->n_out, out);
    if (g->status == GY_OK) differentiate(g, out, ct, node->n_out, node->n_in, alias, gx);
    if (alias != few) gy_free(g->ctx, alias);
}

static void node_vjp(gy_graph *g, const gy_node *node, const gy_t ct[], gy_t gx[]) {
    const gy_op_impl *impl = node->op->impl;
    const gy_node *outer = g->inherit;
    if (!outer) g->inherit = node;
    if (impl->vjp) {
        gy_t y[GY_MAX_OUT];
        for (int i = 0; i < node->n_out; i++) y[i] = (gy_t){g, node->id, i};
        gy_vjp v = {
            .attr = node->attr, .n_in = node->n_in, .n_out = node->n_out, .in = node->in, .y = y, .ct = ct, .gx = gx};
        impl->vjp(&v);
    } else if (impl->expand) {
        through_expansion(node, ct, gx);
    } else {
        gy_poison(g, node->site,
                  "%s is not differentiable: %s; put gy_stop() before it if no gradient is meant to flow",
                  node->op->name, impl->nodiff ? impl->nodiff : "no rule");
    }
    for (int i = 0; i < node->n_in && g->status == GY_OK; i++)
        if (!gy_is_none(gx[i]) && !gy_is_none(node->in[i])) gx[i] = gy_sum_to(gx[i], gy_shape_of(node->in[i]));
    if (!outer) g->inherit = NULL;
}

static void differentiate(gy_graph *g, const gy_t y[], const gy_t cty[], int n_y, int64_t n, const gy_t x[],
                          gy_t gx[]) {
    gy_ctx *ctx = g->ctx;
    int32_t last = 0, first = INT32_MAX;
    for (int i = 0; i < n_y; i++)
        if (!gy_is_none(y[i]) && !gy_is_none(cty[i]) && y[i].id > last) last = y[i].id;
    for (int64_t i = 0; i < n; i++) {
        gx[i] = GY_NONE;
        if (!gy_is_none(x[i]) && x[i].id < first) first = x[i].id;
    }
    if (first > last || g->status != GY_OK) return;
    size_t count = (size_t)(last - first) + 1;
    walk w = {.g = g, .first = first, .last = last};
    /* `is_x`: the walk stops there, so that paths among the x's are left to the caller */
    bool *is_x = gy_calloc(ctx, count, sizeof *is_x);
    w.reach = gy_calloc(ctx, count, sizeof *w.reach);
    w.zero = gy_calloc(ctx, count, sizeof *w.zero);
    w.ct = gy_calloc(ctx, count, sizeof *w.ct);
    if (!is_x || !w.reach || !w.zero || !w.ct) {
        gy_poison(g, GY_HERE, "%s", gy_error(ctx));
        goto done;
    }
    for (int64_t i = 0; i < n; i++)
        if (!gy_is_none(x[i]) && x[i].id <= last) is_x[x[i].id - first] = w.reach[x[i].id - first] = true;
    for (int32_t id = first; id <= last; id++) {
        const gy_node *node = g->node[id];
        for (int k = 0; k < node->n_in && !w.reach[id - first]; k++) {
            int32_t from = gy_is_none(node->in[k]) ? 0 : node->in[k].id;
            if (from >= first && w.reach[from - first]) w.reach[id - first] = true;
        }
    }
    for (int i = 0; i < n_y; i++)
        if (!gy_is_none(y[i]) && !gy_is_none(cty[i]) && y[i].id >= first)
            w.ct[y[i].id - first][y[i].out] = add_to(g, w.ct[y[i].id - first][y[i].out], cty[i]);

    for (int32_t id = last; id >= first && g->status == GY_OK; id--) {
        gy_t *ct = w.ct[id - first];
        bool any = false;
        for (int k = 0; k < GY_MAX_OUT; k++) any = any || !gy_is_none(ct[k]);
        if (!w.reach[id - first] || is_x[id - first]) continue;
        const gy_node *node = g->node[id];
        if (!any && !w.zero[id - first]) continue;
        if (!any) { /* zero times whatever the rule says */
            for (int k = 0; k < node->n_in; k++)
                if (!gy_is_none(node->in[k]) && node->in[k].id >= first) w.zero[node->in[k].id - first] = true;
            continue;
        }
        gy_t few[16] = {{0}}, *part = few;
        if (node->n_in > 16 && !(part = gy_calloc(ctx, (size_t)node->n_in, sizeof *part))) {
            gy_poison(g, GY_HERE, "%s", gy_error(ctx));
            break;
        }
        node_vjp(g, node, ct, part);
        for (int k = 0; k < node->n_in; k++) {
            gy_t in = node->in[k];
            if (gy_is_none(in) || in.id < first || !w.reach[in.id - first]) continue;
            if (!gy_dtype_is_float(gy_dtype_of(in))) continue;
            if (gy_is_none(part[k])) /* the rule's way to say zero */
                w.zero[in.id - first] = true;
            else
                w.ct[in.id - first][in.out] = add_to(g, w.ct[in.id - first][in.out], part[k]);
        }
        if (part != few) gy_free(ctx, part);
    }
    for (int64_t i = 0; i < n; i++) {
        if (gy_is_none(x[i]) || x[i].id > last) continue;
        gx[i] = w.ct[x[i].id - first][x[i].out];
        if (gy_is_none(gx[i]) && w.zero[x[i].id - first] && g->status == GY_OK)
            gx[i] = gy_full_(GY_HERE, g, gy_dtype_of(x[i]), gy_shape_of(x[i]), 0.0);
    }
done:
    gy_free(ctx, is_x);
    gy_free(ctx, w.reach);
    gy_free(ctx, w.zero);
    gy_free(ctx, w.ct);
}

void gy_grad_(gy_site at, gy_t y, gy_t ct, int64_t n, const gy_t x[], gy_t gx[], bool zeros) {
    for (int64_t i = 0; i < n; i++) gx[i] = GY_NONE;
    if (gy_is_none(y)) return;
    gy_graph *g = y.g;
    for (int64_t i = 0; i < n; i++)
        if (gy_is_none(x[i]) || x[i].g != g) {
            gy_poison(g, at, "grad: x[%d] is no value of this graph", (int)i);
            return;
        }
    if (g->status != GY_OK) {
        for (int64_t i = 0; i < n; i++) gx[i] = (gy_t){g, 0, 0};
        return;
    }
    if (!gy_dtype_is_float(gy_dtype_of(y))) {
        gy_poison(g, at, "grad: y is %s, expected a float value", gy_dtype_name(gy_dtype_of(y)));
        return;
    }
    if (gy_is_none(ct)) ct = gy_full_(at, g, gy_dtype_of(y), gy_shape_of(y), 1.0);
    if (!gy_shape_equal(gy_shape_of(ct), gy_shape_of(y))) {
        char a[GY_SHAPE_TEXT], b[GY_SHAPE_TEXT];
        gy_poison(g, at, "grad: cotangent %s for a value %s", gy_shape_text(gy_shape_of(ct), a),
                  gy_shape_text(gy_shape_of(y), b));
        return;
    }
    int32_t segment = g->segment;
    bool outer = g->differentiating;
    g->segment = 0; /* gradient nodes are never part of a recompute segment */
    g->differentiating = true;
    differentiate(g, &y, &ct, 1, n, x, gx);
    g->differentiating = outer;
    g->segment = segment;
    for (int64_t i = 0; i < n && zeros; i++)
        if (gy_is_none(gx[i])) gx[i] = gy_full_(at, g, gy_dtype_of(x[i]), gy_shape_of(x[i]), 0.0);
}
