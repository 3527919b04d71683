/* rewrite_internal.h: what the passes share (passes.c, again.c): the walk over a graph's live nodes that makes a new
 * one. */
#ifndef GY_REWRITE_INTERNAL_H
#define GY_REWRITE_INTERNAL_H

#include "plan_internal.h"

typedef struct rewrite rewrite;
struct rewrite {
    gy_plan *p;
    gy_graph *from, *to;
    gy_t (*map)[GY_MAX_OUT]; /* value of the old graph -> value of the new one */
    int32_t *uses;           /* of each old node, outputs and assignments counted twice: never merged */
    bool *live;
    gy_graph *next; /* result */
};

static inline void mark(rewrite *r, gy_t t, int32_t weight) {
    r->uses[t.id] += weight;
    r->live[t.id] = true;
}

static inline void find_live(rewrite *r) {
    gy_graph *g = r->from;
    for (int64_t i = 0; i < g->n_output; i++) mark(r, g->output[i].value, 2);
    for (int64_t i = 0; i < g->n_assign; i++) mark(r, g->assign[i].value, 2);
    for (int32_t id = g->n - 1; id > 0; id--) {
        if (!r->live[id]) continue;
        const gy_node *n = g->node[id];
        for (int k = 0; k < n->n_in; k++)
            if (!gy_is_none(n->in[k])) mark(r, n->in[k], 1);
        if (n->tap) r->uses[id] += 2;
    }
}

static inline bool begin(rewrite *r, gy_plan *p, gy_graph *g) {
    *r = (rewrite){.p = p, .from = g};
    size_t n = (size_t)g->n;
    r->map = gy_calloc(p->ctx, n, sizeof *r->map);
    r->uses = gy_calloc(p->ctx, n, sizeof *r->uses);
    r->live = gy_calloc(p->ctx, n, sizeof *r->live);
    r->to = gy_graph_new(p->ctx);
    if (!r->map || !r->uses || !r->live || !r->to) return false;
    r->to->n_segments = g->n_segments;
    find_live(r);
    return true;
}

static inline gy_t mapped(const rewrite *r, gy_t t) {
    return gy_is_none(t) ? GY_NONE : r->map[t.id][t.out];
}

/* n with other inputs, in the new graph; keeps site, scope, segment, tap. */
static inline gy_t emit(rewrite *r, const gy_node *n, const void *attr, int n_in, const gy_t in[]) {
    gy_graph *to = r->to;
    to->inherit = n;
    to->segment = n->segment;
    gy_t t = gy_node_make(n->site, to, n->op->id, attr, n_in, in);
    to->inherit = NULL;
    to->segment = 0;
    if (t.id) {
        to->node[t.id]->grad = n->grad;
        to->node[t.id]->tap = n->tap;
    }
    return t;
}

static inline gy_t *map_inputs(rewrite *r, const gy_node *n, gy_t few[8]) {
    gy_t *in = n->n_in <= 8 ? few : gy_arena_alloc(&r->to->arena, sizeof *in * (size_t)n->n_in);
    for (int k = 0; in && k < n->n_in; k++) in[k] = mapped(r, n->in[k]);
    return in;
}

static inline void set_map(rewrite *r, const gy_node *n, gy_t t) {
    for (int o = 0; o < n->n_out; o++) r->map[n->id][o] = n->n_out == 1 ? t : gy_out(t, o);
}

static inline void copy_node(rewrite *r, const gy_node *n) {
    gy_t few[8], *in = map_inputs(r, n, few);
    if (in) set_map(r, n, emit(r, n, n->attr, n->n_in, in));
}

static inline gy_graph *finish(rewrite *r, bool ok) {
    gy_graph *from = r->from, *to = r->to;
    for (int64_t i = 0; ok && i < from->n_input; i++) /* the names; dead inputs keep none */
        if (r->live[from->input[i].value.id])
            gy_input_(GY_HERE, to, from->input[i].name, gy_dtype_of(from->input[i].value),
                      gy_shape_of(from->input[i].value));
    for (int64_t i = 0; ok && i < from->n_output; i++)
        gy_output(mapped(r, from->output[i].value), from->output[i].name);
    for (int64_t i = 0; ok && i < from->n_assign; i++)
        gy_assign(from->assign[i].state, mapped(r, from->assign[i].value));
    ok = ok && gy_graph_status(to) == GY_OK;
    gy_free(r->p->ctx, r->map);
    gy_free(r->p->ctx, r->uses);
    gy_free(r->p->ctx, r->live);
    if (!ok) {
        gy_graph_free(to);
        return NULL;
    }
    return to;
}

/* Inputs are found by name in the new graph, so that the list of inputs stays true. */
static inline void copy_leaf_or_node(rewrite *r, const gy_node *n) {
    if (n->op->id == GY_OP_input) {
        for (int64_t i = 0; i < r->from->n_input; i++)
            if (r->from->input[i].value.id == n->id) {
                r->map[n->id][0] = gy_input_(n->site, r->to, r->from->input[i].name, n->dtype[0], n->shape[0]);
                return;
            }
    }
    copy_node(r, n);
}

#endif
