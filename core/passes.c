/* Graph rewrites: few and local. Each walks the live nodes in order and makes a new graph; what a rule does
 * not change is copied. Tapped nodes (hooks, traces) are never merged into others. */
#include "ops/matmul.h"
#include "ops/shape.h"
#include "rewrite_internal.h"

#include <string.h>

/* A sum over ranks follows its input at once: on GPUs it then runs beside the rest of the backward pass. */
gy_graph *gy_pass_clean(gy_plan *p, gy_graph *g) {
    rewrite r;
    bool ok = begin(&r, p, g);
    int32_t *sum = gy_calloc(p->ctx, (size_t)g->n, sizeof *sum); /* per node: an all_reduce that reads it, 0: none */
    ok = ok && sum;
    for (int32_t id = 1; ok && id < g->n; id++)
        if (r.live[id] && g->node[id]->op->id == GY_OP_all_reduce) sum[g->node[id]->in[0].id] = id;
    for (int32_t id = 1; ok && id < g->n; id++) {
        if (!r.live[id] || !gy_is_none(r.map[id][0])) continue;
        copy_leaf_or_node(&r, g->node[id]);
        if (sum[id]) copy_leaf_or_node(&r, g->node[sum[id]]);
    }
    gy_free(p->ctx, sum);
    return finish(&r, ok);
}

/* ---- constant folding ---- */

enum { FOLD_LIMIT = 1 << 20 }; /* elements: larger constants cost more memory than time */

static bool constant(gy_t t) {
    gy_op_id id = gy_node_of(t)->op->id;
    return id == GY_OP_const || id == GY_OP_full;
}

/* The value of a const or full node as a tensor (data borrowed, or made here). */
static gy_status constant_value(gy_ctx *ctx, gy_t t, gy_tensor *out) {
    const gy_node *n = gy_node_of(t);
    if (n->op->id == GY_OP_const) {
        *out = (gy_tensor){n->dtype[0], n->shape[0], *(void *const *)n->attr, true};
        return GY_OK;
    }
    gy_status s = gy_tensor_new(ctx, out, n->dtype[0], n->shape[0]);
    for (int64_t i = 0; s == GY_OK && i < gy_shape_count(n->shape[0]); i++)
        gy_tensor_set(out, i, *(const double *)n->attr);
    return s;
}

static bool foldable(rewrite *r, const gy_node *n) {
    if (n->op->flags & (GY_F_LEAF | GY_F_RANDOM) || n->tap || n->n_in > 8 || n->n_out != 1) return false;
    if (n->n_in == 0 && n->op->id != GY_OP_iota) return false;
    if (gy_shape_count(n->shape[0]) > FOLD_LIMIT) return false;
    for (int k = 0; k < n->n_in; k++) {
        gy_t t = mapped(r, n->in[k]);
        if (gy_is_none(t) || !constant(t) || gy_count(t) > FOLD_LIMIT) return false;
    }
    return true;
}

static bool fold(rewrite *r, const gy_node *n) {
    gy_ctx *ctx = r->p->ctx;
    gy_tensor in[8] = {{0}}, out[GY_MAX_OUT] = {{0}};
    bool all_full = n->n_in > 0;
    for (int k = 0; k < n->n_in; k++) all_full = all_full && gy_node_of(mapped(r, n->in[k]))->op->id == GY_OP_full;
    gy_status s = GY_OK;
    /* equal elements in, equal elements out: computed once, on scalars */
    bool uniform = all_full && n->op->flags & (GY_F_VIEW | GY_F_ELEMENTWISE);
    if (uniform && n->op->flags & GY_F_VIEW) {
        r->map[n->id][0] =
            gy_full_(n->site, r->to, n->dtype[0], n->shape[0], *(const double *)gy_node_of(mapped(r, n->in[0]))->attr);
        return true;
    }
    for (int k = 0; s == GY_OK && k < n->n_in; k++) s = constant_value(ctx, mapped(r, n->in[k]), &in[k]);
    if (s == GY_OK) s = gy_run_node(r->p, n, in, out);
    if (s == GY_OK) {
        r->to->inherit = n;
        r->map[n->id][0] = uniform && gy_shape_count(n->shape[0]) > 0
                               ? gy_full_(n->site, r->to, n->dtype[0], n->shape[0], gy_tensor_get(&out[0], 0))
                               : gy_const_(n->site, r->to, &out[0]);
        r->to->inherit = NULL;
    }
    for (int k = 0; k < n->n_in; k++) gy_tensor_free(ctx, &in[k]);
    gy_tensor_free(ctx, &out[0]);
    return s == GY_OK;
}

gy_graph *gy_pass_fold(gy_plan *p, gy_graph *g) {
    rewrite r;
    bool ok = begin(&r, p, g);
    for (int32_t id = 1; ok && id < g->n; id++) {
        const gy_node *n = g->node[id];
        if (!r.live[id]) continue;
        if (foldable(&r, n))
            ok = fold(&r, n);
        else
            copy_leaf_or_node(&r, n);
    }
    return finish(&r, ok);
}

/* ---- recompute: the backward pass reads clones of a segment's nodes ---- */

typedef struct {
    gy_t (*clone)[GY_MAX_OUT];
    int32_t *stack;
} recompute;

/* Clones node `root` of the old graph and what it needs inside its segment; explicit stack. */
static bool clone_node(rewrite *r, recompute *c, int32_t root) {
    int32_t depth = 0;
    c->stack[depth++] = root;
    while (depth > 0) {
        int32_t id = c->stack[depth - 1];
        const gy_node *n = r->from->node[id];
        int32_t waiting = 0;
        for (int k = 0; k < n->n_in; k++) {
            if (gy_is_none(n->in[k])) continue;
            const gy_node *q = r->from->node[n->in[k].id];
            if (q->segment == n->segment && q->id && !(q->op->flags & GY_F_LEAF) && gy_is_none(c->clone[q->id][0])) {
                c->stack[depth++] = q->id;
                waiting = q->id;
                break;
            }
        }
        if (waiting) continue;
        depth--;
        if (!gy_is_none(c->clone[id][0])) continue;
        gy_t few[8], *in = map_inputs(r, n, few);
        if (!in) return false;
        for (int k = 0; k < n->n_in; k++)
            if (!gy_is_none(n->in[k]) && !gy_is_none(c->clone[n->in[k].id][0]) &&
                r->from->node[n->in[k].id]->segment == n->segment)
                in[k] = c->clone[n->in[k].id][n->in[k].out];
        gy_node other = *n;
        other.segment = -n->segment; /* not merged with the original */
        other.tap = NULL;
        gy_t t = emit(r, &other, n->attr, n->n_in, in);
        for (int o = 0; o < n->n_out; o++) c->clone[id][o] = n->n_out == 1 ? t : gy_out(t, o);
    }
    return true;
}

gy_graph *gy_pass_recompute(gy_plan *p, gy_graph *g) {
    rewrite r;
    recompute c = {0};
    bool ok = begin(&r, p, g);
    c.clone = gy_calloc(p->ctx, (size_t)g->n, sizeof *c.clone);
    c.stack = gy_calloc(p->ctx, (size_t)g->n, sizeof *c.stack);
    ok = ok && c.clone && c.stack;
    for (int32_t id = 1; ok && id < g->n; id++) {
        const gy_node *n = g->node[id];
        if (!r.live[id]) continue;
        if (!n->grad || n->segment) {
            copy_leaf_or_node(&r, n);
            continue;
        }
        gy_t few[8], *in = map_inputs(&r, n, few);
        ok = in != NULL;
        for (int k = 0; ok && k < n->n_in; k++) {
            const gy_node *q = gy_is_none(n->in[k]) ? NULL : g->node[n->in[k].id];
            if (!q || !q->segment || q->op->flags & GY_F_LEAF || q->tap) continue;
            ok = clone_node(&r, &c, q->id);
            in[k] = c.clone[q->id][n->in[k].out];
        }
        if (ok) set_map(&r, n, emit(&r, n, n->attr, n->n_in, in));
    }
    gy_free(p->ctx, c.clone);
    gy_free(p->ctx, c.stack);
    return finish(&r, ok);
}

/* ---- epilogues: bias, activation and residual move into the product that precedes them ---- */

static gy_act act_of(gy_op_id op) {
    switch (op) {
    case GY_OP_relu: return GY_ACT_RELU;
    case GY_OP_silu: return GY_ACT_SILU;
    case GY_OP_gelu: return GY_ACT_GELU;
    case GY_OP_gelu_tanh: return GY_ACT_GELU_TANH;
    case GY_OP_quick_gelu: return GY_ACT_QUICK_GELU;
    case GY_OP_tanh: return GY_ACT_TANH;
    case GY_OP_sigmoid: return GY_ACT_SIGMOID;
    default: return GY_ACT_NONE;
    }
}

/* The product behind `t` when this node is its only reader, looking through reshapes; else NULL. */
static const gy_node *product_behind(const rewrite *r, gy_t t) {
    const gy_node *n = r->from->node[t.id];
    while (n->op->id == GY_OP_reshape && r->uses[n->id] == 1) n = r->from->node[n->in[0].id];
    if (!(n->op->flags & GY_F_EPILOGUE) && act_of(n->op->id) == GY_ACT_NONE && n->op->id != GY_OP_add) return NULL;
    if (r->uses[n->id] != 1 || n->tap) return NULL;
    gy_t m = r->map[n->id][0]; /* an add or activation may have become part of a product already */
    const gy_node *now = gy_node_of(m);
    while (now->op->id == GY_OP_reshape) now = gy_node_of(now->in[0]);
    return now->op->flags & GY_F_EPILOGUE && !now->tap ? now : NULL;
}

/* The product again, with one thing more. */
static gy_t extend(rewrite *r, const gy_node *n, const gy_node *product, gy_t bias, gy_act act, gy_t residual) {
    uint64_t attr[64];
    gy_t in[4] = {GY_NONE, GY_NONE, GY_NONE, GY_NONE};
    if (product->op->impl->attr_size > sizeof attr) return GY_NONE;
    memcpy(attr, product->attr, product->op->impl->attr_size);
    for (int i = 0; i < product->n_in; i++) in[i] = product->in[i];
    if (!gy_is_none(bias)) in[2] = bias;
    if (!gy_is_none(residual)) in[3] = residual;
    if (act) memcpy((char *)attr + product->op->impl->act_offset, &(int64_t){act}, sizeof(int64_t));
    gy_node host = *product; /* scope and site of the product, kept for the report */
    host.segment = n->segment;
    host.tap = NULL;
    gy_t t = emit(r, &host, attr, gy_is_none(in[3]) ? (gy_is_none(in[2]) ? 2 : 3) : 4, in);
    return gy_reshape_to(t, n->shape[0]);
}

static int64_t act_in(const gy_node *product) {
    int64_t act;
    memcpy(&act, (const char *)product->attr + product->op->impl->act_offset, sizeof act);
    return act;
}

/* [C], or C values along the last axis and 1 along all others: the embedding of one sample's time. */
static bool one_a_column(gy_shape s, int64_t columns) {
    return s.rank >= 1 && s.dim[s.rank - 1] == columns && gy_shape_count(s) == columns;
}

static gy_t sum_of_biases(rewrite *r, const gy_node *n, gy_t bias, gy_t other) {
    r->to->inherit = n;
    other = gy_reshape_to(other, GY_S(gy_dim(other, -1)));
    if (!gy_is_none(bias)) other = gy_binary_(n->site, GY_OP_add, bias, other);
    r->to->inherit = NULL;
    return other;
}

/* x + scatter_add(u): the rows are added to x where it lies. So the gradient of a table that is read by row and as a
 * matrix (tied embeddings) exists once, and not beside a table of zeros. */
static gy_t rows_onto(rewrite *r, const gy_node *n) {
    for (int side = 0; side < 2; side++) {
        const gy_node *s = r->from->node[n->in[side].id];
        if (s->op->id != GY_OP_scatter_add || r->uses[s->id] != 1 || s->tap) continue;
        if (n->in[0].id == n->in[1].id || !gy_shape_equal(gy_shape_of(n->in[1 - side]), s->shape[0])) continue;
        gy_onto_attr a = {.axis = ((const gy_index_attr *)s->attr)->axis};
        gy_t in[3] = {mapped(r, n->in[1 - side]), mapped(r, s->in[0]), mapped(r, s->in[1])};
        gy_node host = *n;
        host.op = &gy_ops[GY_OP_scatter_onto];
        host.scope = s->scope;
        return emit(r, &host, &a, 3, in);
    }
    return GY_NONE;
}

static gy_t fuse(rewrite *r, const gy_node *n) {
    if (n->segment || n->dtype[0] == GY_I64) return GY_NONE;
    gy_act act = act_of(n->op->id);
    if (act) {
        const gy_node *p = product_behind(r, n->in[0]);
        if (p && !act_in(p) && (p->n_in < 4 || gy_is_none(p->in[3]))) return extend(r, n, p, GY_NONE, act, GY_NONE);
        return GY_NONE;
    }
    if (n->op->id != GY_OP_add) return GY_NONE;
    gy_t onto = rows_onto(r, n);
    if (!gy_is_none(onto)) return onto;
    for (int side = 0; side < 2; side++) {
        const gy_node *p = product_behind(r, n->in[side]);
        gy_t other = mapped(r, n->in[1 - side]);
        if (!p || n->in[0].id == n->in[1].id || other.id == p->id) continue;
        gy_shape s = gy_shape_of(other), ps = p->shape[0];
        bool has_bias = p->n_in > 2 && !gy_is_none(p->in[2]), has_residual = p->n_in > 3 && !gy_is_none(p->in[3]);
        if (!gy_shape_equal(gy_shape_of(r->map[n->in[side].id][n->in[side].out]), n->shape[0])) continue;
        bool same = gy_shape_equal(s, n->shape[0]);
        if (!same && one_a_column(s, ps.dim[ps.rank - 1]) && !has_residual && !act_in(p) && ps.rank > 1)
            return extend(r, n, p, sum_of_biases(r, n, has_bias ? p->in[2] : GY_NONE, other), GY_ACT_NONE, GY_NONE);
        if (same && !has_residual) return extend(r, n, p, GY_NONE, GY_ACT_NONE, gy_reshape_to(other, ps));
    }
    return GY_NONE;
}

/* ---- the gradient of a split: a sum of parts in zeros becomes their join ---- */

enum { MOST_PARTS = 16 };

/* The unslice nodes that the sum ending at n adds up; 0: it adds other things too. */
static int parts_of_sum(const rewrite *r, const gy_node *n, const gy_node *part[MOST_PARTS]) {
    const gy_node *open[MOST_PARTS] = {n};
    int n_open = 1, count = 0;
    while (n_open > 0) {
        const gy_node *m = open[--n_open];
        for (int k = 0; k < 2; k++) {
            const gy_node *q = r->from->node[m->in[k].id];
            if (r->uses[q->id] != 1 || q->tap || !gy_shape_equal(q->shape[0], n->shape[0])) return 0;
            if (q->op->id == GY_OP_add && n_open < MOST_PARTS)
                open[n_open++] = q;
            else if (q->op->id == GY_OP_unslice && count < MOST_PARTS)
                part[count++] = q;
            else
                return 0;
        }
    }
    return count;
}

/* Parts that lie side by side and fill the axis are concatenated; GY_NONE: they do not. */
static gy_t join(rewrite *r, const gy_node *n) {
    const gy_node *part[MOST_PARTS];
    gy_t in[MOST_PARTS];
    if (n->op->id != GY_OP_add || n->segment) return GY_NONE;
    int count = parts_of_sum(r, n, part), placed = 0;
    if (count < 2) return GY_NONE;
    const gy_axis_attr *first = part[0]->attr;
    int64_t at = 0;
    while (placed < count) {
        int next = 0;
        const gy_axis_attr *a = NULL;
        for (; next < count; next++) {
            a = part[next]->attr;
            if (a->axis == first->axis && a->step == 1 && a->start == at) break;
        }
        if (next == count) return GY_NONE;
        in[placed] = mapped(r, part[next]->in[0]);
        at += gy_dim(in[placed++], first->axis);
        if (at == first->n) break;
    }
    if (placed < count || at != first->n) return GY_NONE;
    gy_axis_attr a = {.axis = first->axis};
    gy_node host = *n;
    host.op = &gy_ops[GY_OP_concat];
    return emit(r, &host, &a, count, in);
}

gy_graph *gy_pass_epilogue(gy_plan *p, gy_graph *g) {
    rewrite r;
    bool ok = begin(&r, p, g);
    for (int32_t id = 1; ok && id < g->n; id++) {
        const gy_node *n = g->node[id];
        if (!r.live[id]) continue;
        gy_t t = join(&r, n);
        if (gy_is_none(t)) t = fuse(&r, n);
        if (gy_is_none(t))
            copy_leaf_or_node(&r, n);
        else
            r.map[id][0] = t;
    }
    return finish(&r, ok);
}

/* ---- elementwise chains ---- */

typedef struct {
    int32_t *group; /* per node: the chain's last node that it is part of, 0: none */
    int32_t *below; /* per node: the chain's next lower member, 0: none */
} chains;

static bool joins(const gy_node *n, const gy_node *root) {
    return n->op->flags & GY_F_ELEMENTWISE && !n->tap && gy_shape_equal(n->shape[0], root->shape[0]) &&
           n->segment == root->segment && n->op->id != GY_OP_cast;
}

/* Members of the chain ending at root, ascending; 0 if no chain is worth it. */
static int members(const rewrite *r, const chains *c, const gy_node *root, int32_t list[GY_CHAIN_OPS]) {
    int n = 0;
    list[n++] = root->id;
    for (int i = 0; i < n; i++) { /* list is kept descending: a node comes after all its readers */
        const gy_node *m = r->from->node[list[i]];
        for (int k = 0; k < m->n_in && n < GY_CHAIN_OPS; k++) {
            const gy_node *q = r->from->node[m->in[k].id];
            if (!joins(q, root) || c->group[q->id] || !r->live[q->id]) continue;
            int32_t inside = 0;
            for (int j = 0; j < n; j++) {
                const gy_node *reader = r->from->node[list[j]];
                for (int l = 0; l < reader->n_in; l++) inside += reader->in[l].id == q->id;
                if (list[j] == q->id) inside = -1000;
            }
            if (inside != r->uses[q->id]) continue;
            int at = n++;
            for (; at > i + 1 && list[at - 1] < q->id; at--) list[at] = list[at - 1];
            list[at] = q->id;
        }
    }
    for (int i = 0; i < n / 2; i++) {
        int32_t t = list[i];
        list[i] = list[n - 1 - i];
        list[n - 1 - i] = t;
    }
    return n;
}

static const gy_kernel *row_for(const gy_plan *p, const gy_node *n) {
    gy_view in[3], out = {.dtype = n->dtype[0], .shape = n->shape[0]};
    memset(in, 0, sizeof in);
    for (int i = 0; i < n->n_in; i++) in[i] = (gy_view){.dtype = gy_dtype_of(n->in[i]), .shape = gy_shape_of(n->in[i])};
    gy_kargs k = {.attr = n->attr, .n_in = n->n_in, .n_out = 1, .in = in, .out = &out};
    return gy_kernel_choose(n->op->id, gy_kernel_dtype(&k), p->isa_mask, &k);
}

/* Emits the chain; GY_NONE when it does not fit the limits. */
static gy_t emit_chain(rewrite *r, const int32_t list[], int n) {
    gy_chain *ch = gy_arena_alloc(&r->p->mem, sizeof *ch);
    gy_t in[GY_CHAIN_INPUTS];
    int n_in = 0, slot_of[GY_CHAIN_OPS];
    bool busy[GY_CHAIN_SLOTS] = {false};
    if (!ch) return GY_NONE;
    ch->n = n;
    for (int i = 0; i < n; i++) {
        const gy_node *m = r->from->node[list[i]];
        gy_chain_op *o = &ch->ops[i];
        const gy_kernel *row = row_for(r->p, m);
        if (!row || !(row->span || row->isa == GY_ISA_CUDA)) return GY_NONE;
        *o = (gy_chain_op){.op = m->op->id, .attr = m->attr, .n_in = m->n_in, .dtype = m->dtype[0], .span = row->span};
        for (int k = 0; k < m->n_in; k++) {
            int inner = -1;
            for (int j = 0; j < i; j++)
                if (list[j] == m->in[k].id) inner = j;
            if (inner >= 0) {
                o->in[k] = -1 - slot_of[inner];
                continue;
            }
            gy_t t = mapped(r, m->in[k]);
            int at = 0;
            while (at < n_in && (in[at].id != t.id || in[at].out != t.out)) at++;
            if (at == GY_CHAIN_INPUTS) return GY_NONE;
            if (at == n_in) in[n_in++] = t;
            o->in[k] = at;
        }
        /* slots whose last reader is this node are free again, since spans work in place; but an output wider than
         * an input (values chosen by a mask) would overwrite elements that are still to be read */
        bool narrow[GY_CHAIN_SLOTS] = {false};
        for (int k = 0; k < m->n_in; k++)
            if (o->in[k] < 0 && gy_dtype_size(gy_dtype_of(m->in[k])) < gy_dtype_size(o->dtype))
                narrow[-1 - o->in[k]] = true;
        for (int j = 0; j < i; j++) {
            bool later = false;
            for (int l = i + 1; l < n; l++)
                for (int k = 0; k < r->from->node[list[l]]->n_in; k++)
                    later = later || r->from->node[list[l]]->in[k].id == list[j];
            if (!later && slot_of[j] >= 0) {
                busy[slot_of[j]] = false;
                slot_of[j] = -2;
            }
        }
        slot_of[i] = -1;
        if (i == n - 1) {
            o->out = -1;
            break;
        }
        for (int s = 0; s < GY_CHAIN_SLOTS && slot_of[i] < 0; s++)
            if (!busy[s] && !narrow[s]) slot_of[i] = s;
        if (slot_of[i] < 0) return GY_NONE;
        busy[slot_of[i]] = true;
        o->out = slot_of[i];
    }
    const gy_node *root = r->from->node[list[n - 1]];
    gy_chain_attr a = {ch, {.rank = root->shape[0].rank}, root->dtype[0]};
    for (int64_t d = 0; d < a.shape.rank; d++) a.shape.dim[d] = root->shape[0].dim[d];
    gy_node host = *root;
    host.op = &gy_ops[GY_OP_chain];
    return emit(r, &host, &a, n_in, in);
}

gy_graph *gy_pass_chain(gy_plan *p, gy_graph *g) {
    rewrite r;
    chains c = {0};
    bool ok = begin(&r, p, g);
    c.group = gy_calloc(p->ctx, (size_t)g->n, sizeof *c.group);
    c.below = gy_calloc(p->ctx, (size_t)g->n, sizeof *c.below);
    ok = ok && c.group && c.below;
    int32_t list[GY_CHAIN_OPS];
    for (int32_t id = ok ? g->n - 1 : 0; id > 0; id--) { /* from the end: the longest chains */
        const gy_node *n = g->node[id];
        if (!r.live[id] || c.group[id] || !joins(n, n)) continue;
        int count = members(&r, &c, n, list);
        for (int i = 0; count > 1 && i < count; i++) {
            c.group[list[i]] = id;
            c.below[list[i]] = i ? list[i - 1] : 0;
        }
    }
    for (int32_t id = 1; ok && id < g->n; id++) {
        const gy_node *n = g->node[id];
        if (!r.live[id] || (c.group[id] && c.group[id] != id)) continue; /* inner members run inside the chain */
        if (c.group[id] == id) {
            int count = 0;
            for (int32_t m = id; m > 0; m = c.below[m]) list[GY_CHAIN_OPS - ++count] = m;
            const int32_t *chain = list + GY_CHAIN_OPS - count;
            gy_t t = emit_chain(&r, chain, count);
            if (!gy_is_none(t)) {
                r.map[id][0] = t;
                continue;
            }
            for (int i = 0; i < count; i++) copy_node(&r, g->node[chain[i]]);
            continue;
        }
        copy_leaf_or_node(&r, n);
    }
    gy_free(p->ctx, c.group);
    gy_free(p->ctx, c.below);
    return finish(&r, ok);
}

static bool chain_infer(gy_infer *c) {
    const gy_chain_attr *a = c->attr;
    c->shape[0] = a->shape;
    c->dtype[0] = (gy_dtype)a->dtype;
    return true;
}
const gy_op_impl gy_impl_chain = {
    .attr_size = sizeof(gy_chain_attr), .infer = chain_infer, .nodiff = "made by the planner, after differentiation"};
