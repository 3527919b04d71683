#include "graph.h"
#include "op.h"
#include "state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct gy_scope_entry {
    const char *name;
    struct gy_scope_entry *next;
};

/* ---- errors ---- */

static void poison(gy_graph *g, gy_site at, gy_status status, const char *text) {
    if (g->status != GY_OK) return; /* the first mistake is the cause */
    const char *scope = g->inherit ? g->inherit->scope : g->scope;
    g->status = status;
    snprintf(g->message, sizeof g->message, "%s:%d: %s%s%s%s", at.file, at.line, text, *scope ? " (in " : "", scope,
             *scope ? ")" : "");
}

gy_t gy_poison(gy_graph *g, gy_site at, const char *fmt, ...) {
    char text[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    poison(g, at, GY_ERR_SHAPE, text);
    return (gy_t){g, 0, 0};
}

static gy_t out_of_memory(gy_graph *g) {
    poison(g, GY_HERE, GY_ERR_NOMEM, gy_error(g->ctx));
    return (gy_t){g, 0, 0};
}

bool gy_infer_fail(gy_infer *c, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->message, sizeof c->message, fmt, ap);
    va_end(ap);
    return false;
}

gy_status gy_graph_status(gy_graph *g) {
    if (g->status == GY_OK) return GY_OK;
    return gy_fail(g->ctx, g->status, "%s", g->message);
}

/* ---- life ---- */

static bool grow(gy_graph *g) {
    int32_t cap = g->cap ? g->cap * 2 : 256;
    gy_node **node = gy_realloc(g->ctx, g->node, sizeof *node * (size_t)cap);
    if (!node) return false;
    g->node = node;
    g->cap = cap;
    return true;
}

gy_graph *gy_graph_new(gy_ctx *ctx) {
    gy_graph *g = gy_calloc(ctx, 1, sizeof *g);
    if (!g) return NULL;
    g->ctx = ctx;
    gy_arena_init(&g->arena, ctx);
    g->scope = "";
    gy_node *zero = gy_arena_alloc(&g->arena, sizeof *zero);
    if (!zero || !grow(g)) {
        gy_graph_free(g);
        return NULL;
    }
    *zero = (gy_node){.op = &gy_ops[0], .n_out = GY_MAX_OUT, .scope = ""};
    for (int i = 0; i < GY_MAX_OUT; i++) zero->dtype[i] = GY_F32;
    g->node[0] = zero;
    g->n = 1;
    g->scope = gy_intern_scope(g, "");
    return g;
}

void gy_graph_free(gy_graph *g) {
    if (!g) return;
    gy_ctx *ctx = g->ctx;
    gy_graph_free(g->previous);
    gy_free(ctx, g->node);
    gy_free(ctx, g->hash);
    gy_free(ctx, g->output);
    gy_free(ctx, g->input);
    gy_free(ctx, g->assign);
    gy_arena_free(&g->arena);
    gy_free(ctx, g);
}

gy_ctx *gy_graph_ctx(const gy_graph *g) {
    return g->ctx;
}

/* ---- looking at values ---- */

const gy_node *gy_node_of(gy_t t) {
    return t.g->node[t.id];
}

gy_shape gy_shape_of(gy_t t) {
    if (gy_is_none(t)) return GY_S0;
    return gy_node_of(t)->shape[t.out];
}

gy_dtype gy_dtype_of(gy_t t) {
    if (gy_is_none(t)) return GY_DTYPE_DEFAULT;
    return gy_node_of(t)->dtype[t.out];
}

bool gy_axis_norm(int64_t rank, int64_t axis, int64_t *out) {
    if (axis < 0) axis += rank;
    if (axis < 0 || axis >= rank) return false;
    *out = axis;
    return true;
}

int64_t gy_dim(gy_t t, int64_t axis) {
    gy_shape s = gy_shape_of(t);
    return gy_axis_norm(s.rank, axis, &axis) ? s.dim[axis] : 1;
}

int64_t gy_rank(gy_t t) {
    return gy_shape_of(t).rank;
}

int64_t gy_count(gy_t t) {
    return gy_shape_count(gy_shape_of(t));
}

gy_t gy_out(gy_t t, int32_t i) {
    if (gy_is_none(t) || t.id == 0 || i < 0 || i >= gy_node_of(t)->n_out) return (gy_t){t.g, 0, 0};
    return (gy_t){t.g, t.id, i};
}

const char *gy_scope_of(gy_t t) {
    return gy_is_none(t) ? "" : gy_node_of(t)->scope;
}

/* ---- scopes ---- */

const char *gy_intern_scope(gy_graph *g, const char *scope) {
    for (struct gy_scope_entry *e = g->scopes; e; e = e->next)
        if (strcmp(e->name, scope) == 0) return e->name;
    struct gy_scope_entry *e = gy_arena_alloc(&g->arena, sizeof *e);
    char *name = e ? gy_arena_strdup(&g->arena, scope) : NULL;
    if (!name) {
        out_of_memory(g);
        return "";
    }
    e->name = name;
    e->next = g->scopes;
    g->scopes = e;
    return name;
}

void gy_scope_push(gy_graph *g, const char *name) {
    char full[1024];
    int depth = g->scope_depth++;
    if (depth >= 64) {
        gy_poison(g, GY_HERE, "scopes nest deeper than 64: '%s'", name);
        return;
    }
    g->scope_stack[depth] = g->scope;
    snprintf(full, sizeof full, "%s%s%s", g->scope, *g->scope ? "." : "", name);
    g->scope = gy_intern_scope(g, full);
}

void gy_scope_pop(gy_graph *g) {
    if (g->scope_depth <= 0) {
        gy_poison(g, GY_HERE, "gy_scope_pop without gy_scope_push");
        return;
    }
    int depth = --g->scope_depth;
    if (depth < 64) g->scope = g->scope_stack[depth];
}

void gy_recompute_begin(gy_graph *g) {
    if (g->segment) gy_poison(g, GY_HERE, "recompute segments do not nest");
    g->segment = ++g->n_segments;
}

void gy_recompute_end(gy_graph *g) {
    g->segment = 0;
}

/* ---- making nodes ---- */

static uint64_t node_hash(const gy_op *op, const void *attr, int n_in, const gy_t in[], const char *scope) {
    uint64_t h = gy_hash(attr, op->impl->attr_size, (uint64_t)op->id);
    for (int i = 0; i < n_in; i++)
        h = (h ^ ((uint64_t)(uint32_t)in[i].id << 3 | (uint32_t)in[i].out)) * 0x9E3779B97F4A7C15u;
    h ^= (uint64_t)(uintptr_t)scope;
    return h ^ h >> 29;
}

static bool same_node(const gy_node *a, const gy_op *op, const void *attr, int n_in, const gy_t in[],
                      const char *scope) {
    if (a->op != op || a->n_in != n_in || a->scope != scope) return false;
    for (int i = 0; i < n_in; i++)
        if (a->in[i].id != in[i].id || a->in[i].out != in[i].out || a->in[i].g != in[i].g) return false;
    return op->impl->attr_size == 0 || memcmp(a->attr, attr, op->impl->attr_size) == 0;
}

static uint64_t rehash_node(const gy_node *n) {
    return node_hash(n->op, n->attr, n->n_in, n->in, n->scope);
}

static bool hash_grow(gy_graph *g) {
    int32_t cap = g->hash_cap ? g->hash_cap * 2 : 1024;
    int32_t *h = gy_calloc(g->ctx, (size_t)cap, sizeof *h);
    if (!h) return false;
    for (int32_t id = 1; id < g->n; id++) {
        uint64_t at = rehash_node(g->node[id]) & (uint64_t)(cap - 1);
        while (h[at]) at = (at + 1) & (uint64_t)(cap - 1);
        h[at] = id;
    }
    gy_free(g->ctx, g->hash);
    g->hash = h;
    g->hash_cap = cap;
    return true;
}

static bool infer(gy_site at, gy_graph *g, const gy_op *op, const void *attr, int n_in, const gy_t in[], gy_infer *c) {
    enum { FEW = 8 };
    gy_shape few_s[FEW], *shape = few_s;
    gy_dtype few_d[FEW], *dtype = few_d;
    if (n_in > FEW) {
        shape = gy_arena_alloc(&g->arena, sizeof *shape * (size_t)n_in);
        dtype = gy_arena_alloc(&g->arena, sizeof *dtype * (size_t)n_in);
        if (!shape || !dtype) {
            out_of_memory(g);
            return false;
        }
    }
    for (int i = 0; i < n_in; i++) {
        shape[i] = gy_shape_of(in[i]);
        dtype[i] = gy_dtype_of(in[i]);
    }
    *c = (gy_infer){.op = op, .attr = attr, .n_in = n_in, .n_out = op->n_out, .in_shape = shape, .in_dtype = dtype};
    if (!op->impl->infer(c)) {
        char text[640];
        snprintf(text, sizeof text, "%s: %s", op->name, c->message);
        poison(g, at, GY_ERR_SHAPE, text);
        return false;
    }
    return true;
}

gy_t gy_node_make(gy_site at, gy_graph *g, gy_op_id id, const void *attr, int n_in, const gy_t in[]) {
    static const char nothing[1];
    const gy_op *op = &gy_ops[id];
    gy_t bad = {g, 0, 0};
    if (g->inherit) at = g->inherit->site;
    if (g->status != GY_OK) return bad;
    for (int i = 0; i < n_in; i++) {
        if (gy_is_none(in[i])) continue;
        if (in[i].g != g) return gy_poison(g, at, "%s: input %d belongs to another graph", op->name, i);
        if (in[i].id == 0) return bad;
    }
    if (op->n_in >= 0 && op->n_in != n_in)
        return gy_poison(g, at, "%s: expected %d inputs, found %d", op->name, op->n_in, n_in);
    if (!attr) attr = nothing;
    const char *scope = g->inherit ? g->inherit->scope : g->scope;

    if (2 * (int64_t)g->n >= g->hash_cap && !hash_grow(g)) return out_of_memory(g);
    uint64_t mask = (uint64_t)(g->hash_cap - 1), slot = node_hash(op, attr, n_in, in, scope) & mask;
    for (; g->hash[slot]; slot = (slot + 1) & mask) {
        const gy_node *n = g->node[g->hash[slot]];
        if (same_node(n, op, attr, n_in, in, scope) && !n->tap && n->segment == g->segment) return (gy_t){g, n->id, 0};
    }

    gy_infer c;
    if (!infer(at, g, op, attr, n_in, in, &c)) return bad;
    if (g->n == g->cap && !grow(g)) return out_of_memory(g);
    gy_node *n = gy_arena_alloc(&g->arena, sizeof *n);
    gy_t *inputs = gy_arena_alloc(&g->arena, sizeof *inputs * (size_t)n_in);
    void *a = gy_arena_alloc(&g->arena, op->impl->attr_size);
    if (!n || !inputs || !a) return out_of_memory(g);
    if (n_in) memcpy(inputs, in, sizeof *inputs * (size_t)n_in);
    if (op->impl->attr_size) memcpy(a, attr, op->impl->attr_size);
    *n = (gy_node){.op = op,
                   .attr = a,
                   .in = inputs,
                   .id = g->n,
                   .n_in = n_in,
                   .n_out = c.n_out,
                   .segment = g->segment,
                   .grad = g->differentiating,
                   .site = at,
                   .scope = scope};
    memcpy(n->shape, c.shape, sizeof n->shape);
    memcpy(n->dtype, c.dtype, sizeof n->dtype);
    g->node[g->n] = n;
    g->hash[slot] = g->n;
    return (gy_t){g, g->n++, 0};
}

/* ---- named values ---- */

static bool push_named(gy_graph *g, gy_named **list, int64_t *n, int64_t *cap, const char *name, gy_t value) {
    if (*n == *cap) {
        int64_t more = *cap ? *cap * 2 : 16;
        gy_named *p = gy_realloc(g->ctx, *list, sizeof *p * (size_t)more);
        if (!p) return false;
        *list = p;
        *cap = more;
    }
    char *copy = gy_arena_strdup(&g->arena, name);
    if (!copy) return false;
    (*list)[(*n)++] = (gy_named){copy, value};
    return true;
}

typedef struct {
    const char *name;
    int64_t dtype;
    gy_shape shape;
} input_attr;

static bool input_infer(gy_infer *c) {
    const input_attr *a = c->attr;
    for (int64_t i = 0; i < a->shape.rank; i++)
        if (a->shape.dim[i] < 0) return gy_infer_fail(c, "'%s' has a negative dimension", a->name);
    c->shape[0] = a->shape;
    c->dtype[0] = (gy_dtype)a->dtype;
    return true;
}

gy_t gy_input_(gy_site at, gy_graph *g, const char *name, gy_dtype dtype, gy_shape shape) {
    char want[GY_SHAPE_TEXT], have[GY_SHAPE_TEXT];
    for (int64_t i = 0; i < g->n_input; i++) {
        gy_t t = g->input[i].value;
        if (strcmp(g->input[i].name, name) != 0) continue;
        if (gy_dtype_of(t) == dtype && gy_shape_equal(gy_shape_of(t), shape)) return t;
        return gy_poison(g, at, "input '%s' is already %s %s, asked for as %s %s", name, gy_dtype_name(gy_dtype_of(t)),
                         gy_shape_text(gy_shape_of(t), have), gy_dtype_name(dtype), gy_shape_text(shape, want));
    }
    input_attr a = {gy_arena_strdup(&g->arena, name), dtype, shape};
    if (!a.name) return out_of_memory(g);
    gy_t t = gy_node_make(at, g, GY_OP_input, &a, 0, NULL);
    if (t.id && !push_named(g, &g->input, &g->n_input, &g->cap_input, name, t)) return out_of_memory(g);
    return t;
}

gy_t gy_rng_input(gy_graph *g) {
    return gy_input(g, "rng", GY_I64, GY_S(2));
}

void gy_output_(gy_site at, gy_t t, const char *name) {
    if (gy_is_none(t)) return;
    for (int64_t i = 0; i < t.g->n_output; i++)
        if (strcmp(t.g->output[i].name, name) == 0) {
            gy_poison(t.g, at, "two outputs are named '%s'", name);
            return;
        }
    if (t.id && !push_named(t.g, &t.g->output, &t.g->n_output, &t.g->cap_output, name, t)) out_of_memory(t.g);
}

/* ---- constants and states ---- */

typedef struct {
    const void *data;
    int64_t dtype;
    gy_shape shape;
} const_attr;

static bool const_infer(gy_infer *c) {
    const const_attr *a = c->attr;
    c->shape[0] = a->shape;
    c->dtype[0] = (gy_dtype)a->dtype;
    return true;
}

gy_t gy_const_(gy_site at, gy_graph *g, const gy_tensor *value) {
    void *copy = gy_arena_alloc(&g->arena, gy_tensor_bytes(value));
    if (!copy) return out_of_memory(g);
    memcpy(copy, value->data, gy_tensor_bytes(value));
    const_attr a = {copy, value->dtype, value->shape};
    return gy_node_make(at, g, GY_OP_const, &a, 0, NULL);
}

typedef struct {
    double value;
    int64_t dtype;
    gy_shape shape;
} full_attr;

static bool full_infer(gy_infer *c) {
    const full_attr *a = c->attr;
    c->shape[0] = a->shape;
    c->dtype[0] = (gy_dtype)a->dtype;
    return true;
}

gy_t gy_full_(gy_site at, gy_graph *g, gy_dtype dtype, gy_shape shape, double value) {
    full_attr a = {value, dtype, shape};
    return gy_node_make(at, g, GY_OP_full, &a, 0, NULL);
}

gy_t gy_scalar_(gy_site at, gy_t like, double value) {
    return gy_full_(at, like.g, gy_dtype_of(like), GY_S0, value);
}

typedef struct {
    gy_state *state;
} read_attr;

static bool read_infer(gy_infer *c) {
    const read_attr *a = c->attr;
    c->shape[0] = a->state->value.shape;
    c->dtype[0] = a->state->value.dtype;
    return true;
}

gy_t gy_read_(gy_site at, gy_graph *g, gy_state *state) {
    if (!state) return (gy_t){g, 0, 0}; /* the creator of the state has left its message */
    read_attr a = {state};
    return gy_node_make(at, g, GY_OP_read, &a, 0, NULL);
}

/* The assignment to `state`, or NULL. */
static gy_assignment *assignment_of(gy_graph *g, const gy_state *state) {
    for (int64_t i = 0; i < g->n_assign; i++)
        if (g->assign[i].state == state) return &g->assign[i];
    return NULL;
}

static void assign(gy_site at, gy_state *state, gy_t value, bool again) {
    if (gy_is_none(value) || value.id == 0 || !state) return;
    gy_graph *g = value.g;
    char want[GY_SHAPE_TEXT], have[GY_SHAPE_TEXT];
    if (!gy_shape_equal(state->value.shape, gy_shape_of(value)) || state->value.dtype != gy_dtype_of(value)) {
        gy_poison(g, at, "assign: '%s' is %s %s, the value %s %s", state->name, gy_dtype_name(state->value.dtype),
                  gy_shape_text(state->value.shape, want), gy_dtype_name(gy_dtype_of(value)),
                  gy_shape_text(gy_shape_of(value), have));
        return;
    }
    gy_assignment *before = assignment_of(g, state);
    if (before && !again) {
        gy_poison(g, at, "assign: '%s' is assigned twice in one step", state->name);
        return;
    }
    if (before) {
        before->value = value;
        return;
    }
    if (g->n_assign == g->cap_assign) {
        int64_t cap = g->cap_assign ? g->cap_assign * 2 : 64;
        gy_assignment *p = gy_realloc(g->ctx, g->assign, sizeof *p * (size_t)cap);
        if (!p) {
            out_of_memory(g);
            return;
        }
        g->assign = p;
        g->cap_assign = cap;
    }
    g->assign[g->n_assign++] = (gy_assignment){state, value};
}

void gy_assign_(gy_site at, gy_state *state, gy_t value) {
    assign(at, state, value, false);
}

void gy_assign_next_(gy_site at, gy_state *state, gy_t value) {
    assign(at, state, value, true);
}

gy_t gy_next_(gy_site at, gy_graph *g, gy_state *state) {
    const gy_assignment *a = assignment_of(g, state);
    return a ? a->value : gy_read_(at, g, state);
}

static const char *const leaf = "a leaf has no inputs";
const gy_op_impl gy_impl_input = {.attr_size = sizeof(input_attr), .infer = input_infer, .nodiff = leaf};
const gy_op_impl gy_impl_const = {.attr_size = sizeof(const_attr), .infer = const_infer, .nodiff = leaf};
const gy_op_impl gy_impl_full = {.attr_size = sizeof(full_attr), .infer = full_infer, .nodiff = leaf};
const gy_op_impl gy_impl_read = {.attr_size = sizeof(read_attr), .infer = read_infer, .nodiff = leaf};
