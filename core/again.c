/* Values of the forward pass that are cheaper to make again than to keep.
 *
 * Between the two passes a training step holds what backward steps read: results of products, and results of norms,
 * activations and resizing that a few operations an element give back from the former. Where such a value fills the
 * plan's fullest step, it is let go after its last reader in the forward pass and made once more before its first
 * reader in the backward pass, by the same kernel from the same operands: no bit changes. What it reads is kept until
 * then, which counts against it.
 *
 * The fullest step is found on the graph: a value lives from its node to its last reader. Values are let go while one
 * lies over the fullest step, large ones that cost little first, and while their traffic stays small beside the step's
 * work: a byte for FLOPS_A_BYTE operations, under 1 % of the time at 100 GFLOP/s and 13 GB/s a core. */
#include "rewrite_internal.h"

#include <string.h>

enum {
    FLOPS_A_BYTE = 1500,
    SMALLEST = 400 /* of the peak: what is smaller is not worth a step */,
    MOST = 256,
    DEEP = 8
};

typedef struct life {
    int64_t bytes;             /* 0: takes no memory of the arena */
    int32_t last, fwd, back;   /* readers: the last, the last of the forward and the first of the backward pass */
    bool wanted, kept, let_go; /* by the caller; for another that is made again; chosen */
} life;

typedef struct again {
    rewrite r;
    life (*of)[GY_MAX_OUT];
    int64_t *live; /* bytes alive at each node */
    gy_t *clone;   /* output 0 of a value that was let go, in the new graph */
    double budget; /* bytes that may still be moved */
} again;

static bool is_view(const gy_node *n) {
    return n->op->flags & GY_F_VIEW;
}

/* The value behind views; how many there are is added to *depth. */
static gy_t behind(const gy_graph *g, gy_t t, int *depth) {
    for (const gy_node *n = g->node[t.id]; is_view(n); n = g->node[t.id], ++*depth) t = n->in[0];
    return t;
}

static bool cheap(const gy_node *n) {
    gy_op_id id = n->op->id;
    return n->op->flags & GY_F_ELEMENTWISE || id == GY_OP_chain || id == GY_OP_groupnorm || id == GY_OP_layernorm ||
           id == GY_OP_rmsnorm || id == GY_OP_batchnorm || id == GY_OP_resize;
}

static int64_t bytes_of(const gy_node *n, int out) {
    return gy_shape_count(n->shape[out]) * (int64_t)gy_dtype_size(n->dtype[out]);
}

static void find_lives(again *a) {
    gy_graph *g = a->r.from;
    double flops = 0;
    for (int32_t id = 1; id < g->n; id++) {
        const gy_node *n = g->node[id];
        if (!a->r.live[id]) continue;
        for (int o = 0; o < n->n_out; o++) {
            bool own = !(n->op->flags & (GY_F_LEAF | GY_F_VIEW));
            a->of[id][o] = (life){.bytes = own ? bytes_of(n, o) : 0, .last = id, .back = INT32_MAX};
        }
        if (n->op->impl->cost) flops += n->op->impl->cost(n).flops;
        for (int k = 0; k < n->n_in && !is_view(n); k++) {
            int depth = 0;
            if (gy_is_none(n->in[k])) continue;
            gy_t t = behind(g, n->in[k], &depth);
            life *x = &a->of[t.id][t.out];
            x->last = id;
            if (!n->grad)
                x->fwd = id;
            else if (x->back == INT32_MAX)
                x->back = id;
            x->kept = x->kept || depth > DEEP;
        }
    }
    for (int64_t i = 0; i < g->n_output + g->n_assign; i++) {
        int depth = 0;
        bool output = i < g->n_output;
        gy_t t = behind(g, output ? g->output[i].value : g->assign[i - g->n_output].value, &depth);
        a->of[t.id][t.out].wanted = true;
        a->of[t.id][t.out].last = g->n - 1;
        if (!output) a->of[t.id][t.out].bytes = 0; /* made where the state lies */
    }
    a->budget = flops / FLOPS_A_BYTE;
}

/* The fullest node. */
static int32_t fullest(again *a) {
    gy_graph *g = a->r.from;
    int32_t peak = 0;
    memset(a->live, 0, sizeof *a->live * ((size_t)g->n + 1));
    for (int32_t id = 1; id < g->n; id++)
        for (int o = 0; a->r.live[id] && o < g->node[id]->n_out; o++) {
            const life *x = &a->of[id][o];
            a->live[id] += x->bytes;
            a->live[x->last + 1] -= x->bytes;
            if (!x->let_go) continue;
            a->live[x->fwd + 1] -= x->bytes;
            a->live[x->back] += x->bytes;
        }
    for (int32_t id = 1; id < g->n; id++) {
        a->live[id] += a->live[id - 1];
        if (a->live[id] > a->live[peak]) peak = id;
    }
    return peak;
}

/* Bytes that letting node id's value go saves at `peak`, 0 if it may not go; the bytes moved to make it again. */
static int64_t saved(const again *a, int32_t id, int32_t peak, double *moved) {
    const gy_graph *g = a->r.from;
    const gy_node *n = g->node[id];
    const life *x = &a->of[id][0];
    if (n->grad || n->segment || n->tap || x->wanted || x->kept || x->let_go || !cheap(n)) return 0;
    if (x->fwd == 0 || x->fwd >= peak || x->back <= peak || x->back == INT32_MAX) return 0;
    int64_t bytes = x->bytes;
    *moved = (double)x->bytes;
    for (int k = 0; k < n->n_in; k++) {
        int depth = 0;
        if (gy_is_none(n->in[k])) continue;
        gy_t t = behind(g, n->in[k], &depth);
        const life *in = &a->of[t.id][t.out];
        if (in->let_go) return 0;
        if (in->last < x->back) bytes -= in->last < peak ? in->bytes : 0;
        *moved += (double)bytes_of(g->node[t.id], t.out);
    }
    return *moved <= a->budget ? bytes : 0;
}

static bool let_one_go(again *a) {
    gy_graph *g = a->r.from;
    int32_t peak = fullest(a), best = 0;
    double moved = 0, cost = 0, most = 0;
    for (int32_t id = 1; id < peak; id++) {
        if (!a->r.live[id]) continue;
        int64_t bytes = saved(a, id, peak, &moved);
        double worth = (double)bytes * (double)bytes / moved;
        if (bytes <= a->live[peak] / SMALLEST || worth <= most) continue;
        most = worth;
        best = id;
        cost = moved;
    }
    if (!best) return false;
    const gy_node *n = g->node[best];
    life *x = &a->of[best][0];
    x->let_go = true;
    a->budget -= cost;
    for (int k = 0; k < n->n_in; k++) {
        int depth = 0;
        if (gy_is_none(n->in[k])) continue;
        gy_t t = behind(g, n->in[k], &depth);
        life *in = &a->of[t.id][t.out];
        in->kept = true;
        if (in->last < x->back) in->last = x->back;
    }
    return true;
}

/* What a backward step reads in the place of t: t itself, or the same views of the value that is made again. */
static gy_t instead(again *a, gy_t t) {
    rewrite *r = &a->r;
    const gy_graph *g = r->from;
    const gy_node *view[DEEP];
    int depth = 0, n_views = 0;
    gy_t root = gy_is_none(t) ? t : behind(g, t, &depth);
    if (gy_is_none(t) || root.out || !a->of[root.id][0].let_go) return mapped(r, t);
    for (const gy_node *n = g->node[t.id]; is_view(n); n = g->node[n->in[0].id]) view[n_views++] = n;
    gy_t *y = &a->clone[root.id];
    if (gy_is_none(*y)) {
        gy_node other = *g->node[root.id];
        gy_t few[8], *in = map_inputs(r, &other, few);
        other.segment = -(int32_t)(g->n_segments + 1); /* not merged with the first */
        if (!in) return GY_NONE;
        *y = emit(r, &other, other.attr, other.n_in, in);
    }
    gy_t v = *y;
    while (n_views > 0) {
        const gy_node *n = view[--n_views];
        v = emit(r, n, n->attr, 1, &v);
    }
    return v;
}

gy_graph *gy_pass_again(gy_plan *p, gy_graph *g) {
    again a = {0};
    bool ok = begin(&a.r, p, g), any = false;
    a.of = gy_calloc(p->ctx, (size_t)g->n, sizeof *a.of);
    a.live = gy_calloc(p->ctx, (size_t)g->n + 1, sizeof *a.live);
    a.clone = gy_calloc(p->ctx, (size_t)g->n, sizeof *a.clone);
    ok = ok && a.of && a.live && a.clone;
    if (ok) find_lives(&a);
    for (int i = 0; ok && i < MOST && let_one_go(&a); i++) any = true;
    for (int32_t id = 1; ok && id < g->n; id++) {
        const gy_node *n = g->node[id];
        if (!a.r.live[id]) continue;
        if (!any || !n->grad || n->op->flags & GY_F_LEAF || is_view(n)) {
            copy_leaf_or_node(&a.r, n);
            continue;
        }
        gy_t few[8], *in = map_inputs(&a.r, n, few);
        ok = in != NULL;
        for (int k = 0; ok && k < n->n_in; k++) in[k] = instead(&a, n->in[k]);
        if (ok) set_map(&a.r, n, emit(&a.r, n, n->attr, n->n_in, in));
    }
    gy_free(p->ctx, a.of);
    gy_free(p->ctx, a.live);
    gy_free(p->ctx, a.clone);
    return finish(&a.r, ok);
}
