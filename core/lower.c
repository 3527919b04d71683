/* Nodes to steps: views become strides, every other value gets a buffer, kernels are chosen, operands that a kernel
 * cannot take strided are copied, and outputs take over the memory of inputs that die. */
#include "plan_internal.h"

#include <stdlib.h>
#include <string.h>

/* ---- buffers, steps ---- */

typedef struct lowering {
    gy_plan *p;
    gy_place (*place)[GY_MAX_OUT];  /* of each node's outputs */
    gy_place (*packed)[GY_MAX_OUT]; /* a contiguous copy, once made (buffer -1: none) */
    gy_node *copy_node;             /* stands for the copies the planner inserts */
} lowering;

static int32_t new_buffer(gy_plan *p, gy_buffer b) {
    if (p->n_buffers == p->cap_buffers) {
        int32_t cap = p->cap_buffers ? 2 * p->cap_buffers : 256;
        gy_buffer *more = gy_realloc(p->ctx, p->buffer, sizeof *more * (size_t)cap);
        if (!more) return -1;
        p->buffer = more;
        p->cap_buffers = cap;
    }
    b.rep = p->n_buffers;
    b.first = INT32_MAX;
    b.last = -1;
    p->buffer[p->n_buffers] = b;
    return p->n_buffers++;
}

static int32_t arena_buffer(gy_plan *p, gy_dtype dtype, gy_shape shape) {
    return new_buffer(
        p, (gy_buffer){.kind = GY_BUF_ARENA, .bytes = gy_shape_count(shape) * (int64_t)gy_dtype_size(dtype)});
}

static gy_step *new_step(gy_plan *p, const gy_node *n, int n_in, int n_out) {
    if (p->n_steps == p->cap_steps) {
        int32_t cap = p->cap_steps ? 2 * p->cap_steps : 256;
        gy_step *more = gy_realloc(p->ctx, p->step, sizeof *more * (size_t)cap);
        if (!more) return NULL;
        p->step = more;
        p->cap_steps = cap;
    }
    gy_step *s = &p->step[p->n_steps];
    *s = (gy_step){.node = n, .n_in = n_in, .n_out = n_out, .scratch = -1, .packed = {-1, -1}};
    s->in = gy_arena_alloc(&p->mem, sizeof *s->in * (size_t)(n_in ? n_in : 1));
    s->out = gy_arena_alloc(&p->mem, sizeof *s->out * (size_t)n_out);
    s->k.in = gy_arena_alloc(&p->mem, sizeof *s->k.in * (size_t)(n_in ? n_in : 1));
    s->k.out = gy_arena_alloc(&p->mem, sizeof *s->k.out * (size_t)n_out);
    if (!s->in || !s->out || !s->k.in || !s->k.out) return NULL;
    p->n_steps++;
    return s;
}

static void touch(gy_plan *p, const gy_place *place, int32_t step) {
    if (place->buffer < 0) return;
    gy_buffer *b = &p->buffer[place->buffer];
    if (step < b->first) b->first = step;
    if (step > b->last) b->last = step;
}

/* What a step does when its operator states no cost: its operands once, one operation an element. */
static gy_cost plain_cost(const gy_step *s) {
    double bytes = 0, ops = 1;
    for (int i = 0; i < s->n_in; i++)
        if (s->in[i].buffer >= 0)
            bytes += (double)(gy_shape_count(s->in[i].shape) * (int64_t)gy_dtype_size(s->in[i].dtype));
    for (int o = 0; o < s->n_out; o++)
        bytes += (double)(gy_shape_count(s->out[o].shape) * (int64_t)gy_dtype_size(s->out[o].dtype));
    if (s->node->op->id == GY_OP_chain) ops = (double)((const gy_chain_attr *)s->node->attr)->chain->n;
    return (gy_cost){ops * (double)gy_shape_count(s->out[0].shape), bytes};
}

/* The pool, for steps that are worth its while; NULL: the caller's thread does it all. Vector code does about 60 bytes
 * or operations a ns, so that ALONE is some 7 us: less than it takes to wake a thread and to move operands from one
 * core's cache to the other's. Scalar code is slower than that by more than SCALAR. */
static gy_pool *pool_for(const gy_plan *p, const gy_step *s) {
    enum { ALONE = 400000, SCALAR = 8 };
    bool scalar = s->kernel->isa == GY_ISA_REF && s->node->op->id != GY_OP_chain;
    double work = s->cost.flops > s->cost.bytes ? s->cost.flops : s->cost.bytes;
    return work * (scalar ? SCALAR : 1) < ALONE ? NULL : gy_ctx_pool(p->ctx);
}

/* Fills s->k from the places; data pointers come later (a marker says "present"). */
static void fill_kargs(gy_plan *p, gy_step *s) {
    static char present;
    s->k.op = s->node->op->id;
    s->k.attr = s->node->attr;
    s->k.n_in = s->n_in;
    s->k.n_out = s->n_out;
    s->k.device = p->device;
    s->k.precision = p->precision;
    s->k.winograd = !(p->args.off & GY_PASS_WINOGRAD);
    for (int i = 0; i < s->n_in; i++) s->k.in[i] = gy_place_view(&s->in[i], s->in[i].buffer < 0 ? NULL : &present);
    for (int i = 0; i < s->n_out; i++) s->k.out[i] = gy_place_view(&s->out[i], &present);
}

static gy_status add_copy(lowering *l, gy_place from, gy_place to) {
    gy_plan *p = l->p;
    gy_step *s = new_step(p, l->copy_node, 1, 1);
    if (!s) return GY_ERR_NOMEM;
    s->in[0] = from;
    s->out[0] = to;
    fill_kargs(p, s);
    s->kernel = gy_kernel_choose(GY_OP_copy, from.dtype, p->isa_mask, &s->k);
    if (!s->kernel) return gy_fail(p->ctx, GY_ERR_UNSUPPORTED, "no kernel for copy on %s", gy_dtype_name(from.dtype));
    s->cost = (gy_cost){0, plain_cost(s).bytes};
    s->k.pool = pool_for(p, s);
    touch(p, &from, p->n_steps - 1);
    touch(p, &to, p->n_steps - 1);
    return GY_OK;
}

static gy_status contiguous(lowering *l, gy_place in, gy_place *cached, gy_place *out) {
    if (cached && cached->buffer >= 0) {
        *out = *cached;
        return GY_OK;
    }
    gy_place to = gy_contiguous_place(arena_buffer(l->p, in.dtype, in.shape), in.dtype, in.shape);
    if (to.buffer < 0) return GY_ERR_NOMEM;
    gy_status st = add_copy(l, in, to);
    if (cached) *cached = to;
    *out = to;
    return st;
}

static gy_status lower_leaf(lowering *l, const gy_node *n) {
    gy_plan *p = l->p;
    gy_place *out = &l->place[n->id][0];
    gy_buffer b = {.bytes = gy_shape_count(n->shape[0]) * (int64_t)gy_dtype_size(n->dtype[0])};
    if (n->op->id == GY_OP_input) {
        b.kind = GY_BUF_INPUT;
    } else if (n->op->id == GY_OP_read) {
        b.kind = GY_BUF_STATE;
        b.state = *(gy_state *const *)n->attr;
    } else if (n->op->id == GY_OP_const) {
        b.kind = GY_BUF_CONST;
        b.data = *(const void *const *)n->attr;
    } else { /* full: one element, stride 0 */
        gy_tensor one = {.dtype = n->dtype[0], .data = gy_arena_alloc(&p->mem, 8)};
        if (!one.data) return GY_ERR_NOMEM;
        gy_tensor_set(&one, 0, *(const double *)n->attr);
        b = (gy_buffer){.kind = GY_BUF_CONST, .bytes = 8, .data = one.data};
    }
    int32_t id = new_buffer(p, b);
    if (id < 0) return GY_ERR_NOMEM;
    *out = gy_contiguous_place(id, n->dtype[0], n->shape[0]);
    if (n->op->id == GY_OP_full) memset(out->stride, 0, sizeof out->stride);
    if (n->op->id == GY_OP_input)
        for (int64_t i = 0; i < p->n_input; i++)
            if (p->g->input[i].value.id == n->id) p->input[i].place = *out;
    return GY_OK;
}

/* Whether a buffer's contents stay the same while the plan runs again and again. */
static bool settled(const gy_plan *p, const gy_buffer *b) {
    if (b->kind == GY_BUF_CONST) return true;
    if (b->kind != GY_BUF_STATE || b->state->kind != GY_PARAM) return false;
    for (int64_t i = 0; i < p->g->n_assign; i++)
        if (p->g->assign[i].state == b->state) return false;
    return true;
}

/* Has settled inputs kept in the kernel's layout: one copy for all steps that want the same. */
static gy_status pack_inputs(gy_plan *p, int32_t index) {
    static char present;
    gy_step *s = &p->step[index];
    for (int i = 0; s->kernel->prepack && i < 2 && i < s->n_in; i++) {
        if (s->in[i].buffer < 0 || !settled(p, &p->buffer[s->in[i].buffer])) continue;
        size_t bytes = s->kernel->prepack->bytes(&s->k, i);
        if (!bytes) continue;
        int32_t at = 0;
        for (; at < p->n_packed; at++) {
            const gy_packed *q = &p->packed[at];
            const gy_step *t = &p->step[q->step];
            if (q->input == i && q->bytes == bytes && t->kernel == s->kernel && t->node->op == s->node->op &&
                memcmp(&t->in[i], &s->in[i], sizeof *s->in) == 0 &&
                memcmp(t->k.attr, s->k.attr, s->node->op->impl->attr_size) == 0)
                break;
        }
        if (at == p->cap_packed) {
            int32_t cap = at ? 2 * at : 64;
            gy_packed *more = gy_realloc(p->ctx, p->packed, sizeof *more * (size_t)cap);
            if (!more) return GY_ERR_NOMEM;
            p->packed = more;
            p->cap_packed = cap;
        }
        const gy_buffer *b = &p->buffer[s->in[i].buffer];
        if (at == p->n_packed)
            p->packed[p->n_packed++] = (gy_packed){
                .step = index, .input = i, .bytes = bytes, .state = b->kind == GY_BUF_STATE ? b->state : NULL};
        s->packed[i] = at;
        s->k.packed[i] = &present;
    }
    return GY_OK;
}

static gy_status lower_node(lowering *l, const gy_node *n) {
    gy_plan *p = l->p;
    gy_status st = GY_OK;
    if (n->op->flags & GY_F_LEAF) return lower_leaf(l, n);
    if (n->op->flags & GY_F_VIEW) {
        gy_place in = l->place[n->in[0].id][n->in[0].out];
        if (gy_view_place(n, in, &l->place[n->id][0])) return GY_OK;
        st = contiguous(l, in, &l->packed[n->in[0].id][n->in[0].out], &in);
        if (st == GY_OK && !gy_view_place(n, in, &l->place[n->id][0]))
            return gy_fail(p->ctx, GY_ERR_UNSUPPORTED, "%s:%d: %s has no view rule", n->site.file, n->site.line,
                           n->op->name);
        return st;
    }
    /* choose on the operands as they lie, then make contiguous what the kernel cannot take */
    gy_view in_few[16], *in = in_few, out[GY_MAX_OUT];
    static char present;
    if (n->n_in > 16 && !(in = gy_arena_alloc(&p->mem, sizeof *in * (size_t)n->n_in))) return GY_ERR_NOMEM;
    for (int i = 0; i < n->n_in; i++) {
        gy_place none = {.buffer = -1};
        const gy_place *q = gy_is_none(n->in[i]) ? &none : &l->place[n->in[i].id][n->in[i].out];
        in[i] = gy_place_view(q, q->buffer < 0 ? NULL : &present);
    }
    for (int o = 0; o < n->n_out; o++) {
        gy_place q = gy_contiguous_place(0, n->dtype[o], n->shape[o]);
        out[o] = gy_place_view(&q, &present);
    }
    gy_kargs probe = {.op = n->op->id,
                      .attr = n->attr,
                      .n_in = n->n_in,
                      .n_out = n->n_out,
                      .in = in,
                      .out = out,
                      .pool = gy_ctx_pool(p->ctx),
                      .device = p->device,
                      .precision = p->precision,
                      .winograd = !(p->args.off & GY_PASS_WINOGRAD)};
    const gy_kernel *kernel = gy_kernel_choose(n->op->id, gy_kernel_dtype(&probe), p->isa_mask, &probe);
    if (!kernel)
        return gy_fail(p->ctx, GY_ERR_UNSUPPORTED, "%s:%d: no %s kernel for %s on %s", n->site.file, n->site.line,
                       p->device ? "CUDA" : "CPU", n->op->name, gy_dtype_name(gy_kernel_dtype(&probe)));
    gy_place few[16], *places = few;
    if (n->n_in > 16 && !(places = gy_arena_alloc(&p->mem, sizeof *places * (size_t)n->n_in))) return GY_ERR_NOMEM;
    for (int i = 0; i < n->n_in; i++) {
        if (gy_is_none(n->in[i])) {
            places[i] = (gy_place){.buffer = -1};
            continue;
        }
        gy_t t = n->in[i];
        places[i] = l->place[t.id][t.out];
        if (!(kernel->flags & GY_K_STRIDED) && n->op->id != GY_OP_chain && !gy_place_contiguous(&places[i]))
            st = contiguous(l, places[i], &l->packed[t.id][t.out], &places[i]);
        if (st != GY_OK) return st;
    }
    gy_step *s = new_step(p, n, n->n_in, n->n_out);
    if (!s) return GY_ERR_NOMEM;
    s->kernel = kernel;
    memcpy(s->in, places, sizeof *places * (size_t)n->n_in);
    for (int o = 0; o < n->n_out; o++) {
        int32_t b = arena_buffer(p, n->dtype[o], n->shape[o]);
        if (b < 0) return GY_ERR_NOMEM;
        s->out[o] = l->place[n->id][o] = gy_contiguous_place(b, n->dtype[o], n->shape[o]);
    }
    fill_kargs(p, s);
    s->k.span = kernel->span;
    s->cost = n->op->impl->cost ? n->op->impl->cost(n) : plain_cost(s);
    s->k.pool = pool_for(p, s);
    int32_t index = p->n_steps - 1;
    st = pack_inputs(p, index);
    if (st != GY_OK) return st;
    size_t scratch = kernel->scratch ? kernel->scratch(&s->k, gy_pool_threads(s->k.pool)) : 0;
    if (scratch) {
        s->scratch = new_buffer(p, (gy_buffer){.kind = GY_BUF_ARENA, .bytes = (int64_t)scratch});
        if (s->scratch < 0) return GY_ERR_NOMEM;
        p->buffer[s->scratch].first = p->buffer[s->scratch].last = index;
    }
    for (int i = 0; i < s->n_in; i++) touch(p, &s->in[i], index);
    for (int o = 0; o < s->n_out; o++) touch(p, &s->out[o], index);
    for (int i = 0; i < 2; i++) /* what is read is the copy */
        if (s->packed[i] >= 0)
            s->cost.bytes += (double)p->packed[s->packed[i]].bytes -
                             (double)(gy_shape_count(s->in[i].shape) * (int64_t)gy_dtype_size(s->in[i].dtype));
    return GY_OK;
}

/* ---- results ---- */

static bool whole_buffer(const gy_plan *p, const gy_place *q) {
    return q->buffer >= 0 && q->offset == 0 && gy_place_contiguous(q) &&
           gy_shape_count(q->shape) * (int64_t)gy_dtype_size(q->dtype) == p->buffer[q->buffer].bytes;
}

/* The step that writes an arena buffer; -1: none. */
static int32_t writer_of(const gy_plan *p, int32_t buffer) {
    for (int32_t s = p->buffer[buffer].first; s >= 0 && s < p->n_steps && s <= p->buffer[buffer].last; s++)
        for (int o = 0; o < p->step[s].n_out; o++)
            if (p->step[s].out[o].buffer == buffer) return s;
    return -1;
}

/* May step s write where input i lies? Every other input must not look at that memory in another way. The gradient of
 * cross-entropy may take the place of the logits, a language model's largest value: an element is read before it is
 * written. */
static bool may_overwrite(const gy_plan *p, const gy_step *s, int out, int in) {
    const gy_place *x = &s->in[in], *y = &s->out[out];
    uint32_t f = s->node->op->flags;
    bool allowed = f & GY_F_ELEMENTWISE || s->node->op->id == GY_OP_chain ||
                   (f & GY_F_INPLACE0 && out == 0 && in == 0) ||
                   (s->node->op->id == GY_OP_cross_entropy_grad && in == 1) || (f & GY_F_INPLACE_ALL && out == in);
    if (!allowed || !whole_buffer(p, x) || !gy_shape_equal(x->shape, y->shape)) return false;
    if (gy_dtype_size(x->dtype) != gy_dtype_size(y->dtype)) return false;
    for (int i = 0; i < s->n_in; i++) {
        if (i == in || s->in[i].buffer != x->buffer) continue;
        bool elementwise = f & GY_F_ELEMENTWISE || s->node->op->id == GY_OP_chain;
        if (!elementwise || !whole_buffer(p, &s->in[i]) || !gy_shape_equal(s->in[i].shape, y->shape)) return false;
    }
    return true;
}

/* Steps from `first` to the buffer's end use another buffer in its place. */
static void redirect(gy_plan *p, int32_t first, int32_t from, int32_t to) {
    for (int32_t s = first; s < p->n_steps && s <= p->buffer[from].last; s++) {
        gy_step *st = &p->step[s];
        for (int i = 0; i < st->n_in; i++)
            if (st->in[i].buffer == from) st->in[i].buffer = to;
        for (int o = 0; o < st->n_out; o++)
            if (st->out[o].buffer == from) st->out[o].buffer = to;
    }
}

/* Where a state is read: one buffer for each scope that reads it, all on the state's own memory. */
typedef struct reading {
    const gy_state *state;
    int32_t buffer;
} reading;

static int by_state(const void *a, const void *b) {
    const reading *x = a, *y = b;
    uintptr_t u = (uintptr_t)x->state, v = (uintptr_t)y->state;
    return u != v ? (u > v) - (u < v) : (x->buffer > y->buffer) - (x->buffer < y->buffer);
}

/* All readings, by state; NULL: no memory. */
static reading *readings(const gy_plan *p, int64_t *n) {
    reading *r = gy_calloc(p->ctx, (size_t)p->n_buffers + 1, sizeof *r);
    *n = 0;
    for (int32_t k = 0; r && k < p->n_buffers; k++)
        if (p->buffer[k].kind == GY_BUF_STATE) r[(*n)++] = (reading){p->buffer[k].state, k};
    if (r) qsort(r, (size_t)*n, sizeof *r, by_state);
    return r;
}

/* Whether step s may write a state's new value, v, over the old one: nobody reads the old value later, and s itself at
 * most where it writes. The buffer to write through goes to *to; -1: the state is not read at all. */
static bool may_replace(const gy_plan *p, const reading *r, int64_t n, const gy_state *state, int32_t s, int32_t v,
                        int32_t *to) {
    int64_t lo = 0, hi = n;
    int here = 0; /* buffers that s reads */
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if ((uintptr_t)r[mid].state < (uintptr_t)state)
            lo = mid + 1;
        else
            hi = mid;
    }
    *to = -1;
    for (; lo < n && r[lo].state == state; lo++) {
        const gy_buffer *b = &p->buffer[r[lo].buffer];
        if (b->last > s) return false;
        if (b->last == s && here++) return false;
        if (b->last == s || !here) *to = r[lo].buffer;
    }
    if (!here) return true;
    const gy_step *st = &p->step[s];
    for (int o = 0; o < st->n_out; o++)
        for (int k = 0; k < st->n_in; k++)
            if (st->out[o].buffer == v && st->in[k].buffer == *to && may_overwrite(p, st, o, k)) return true;
    return false;
}

/* state := value. Written in place by the step that makes the value when nobody reads the old value later; else
 * copied after everything else. */
static gy_status lower_assignments(lowering *l) {
    gy_plan *p = l->p;
    gy_graph *g = p->g;
    int64_t n = p->args.no_assign ? 0 : g->n_assign, n_read = 0;
    gy_place *late = gy_arena_alloc(&p->mem, sizeof *late * (size_t)(n ? n : 1));
    int32_t *wanted = gy_calloc(p->ctx, (size_t)p->n_buffers + 1, sizeof *wanted); /* by outputs and assignments */
    reading *read = readings(p, &n_read);
    gy_status st = late && wanted && read ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; st == GY_OK && i < g->n_output + n; i++) {
        gy_t t = i < g->n_output ? g->output[i].value : g->assign[i - g->n_output].value;
        int32_t b = l->place[t.id][t.out].buffer;
        if (b >= 0) wanted[b]++;
    }
    for (int64_t i = 0; st == GY_OK && i < n; i++) {
        gy_t t = g->assign[i].value;
        gy_place v = l->place[t.id][t.out];
        late[i] = v;
        gy_buffer *b = &p->buffer[v.buffer];
        if (p->args.off & GY_PASS_INPLACE || b->kind != GY_BUF_ARENA || !whole_buffer(p, &v)) continue;
        if (wanted[v.buffer] > 1) continue; /* an output keeps its memory; of two states with one value one is a copy */
        int32_t s = writer_of(p, v.buffer), to;
        if (s < 0 || !may_replace(p, read, n_read, g->assign[i].state, s, v.buffer, &to)) continue;
        if (to >= 0) {
            redirect(p, s, v.buffer, to);
            p->buffer[to].last = INT32_MAX; /* written: no second writer */
            b->bytes = 0;
            b->first = INT32_MAX;
            b->last = -1;
        } else {
            b->kind = GY_BUF_STATE;
            b->state = g->assign[i].state;
        }
        late[i].buffer = -1;
    }
    /* a value that is itself a state's storage is saved before any state changes */
    for (int64_t i = 0; st == GY_OK && i < n; i++)
        if (late[i].buffer >= 0 && p->buffer[late[i].buffer].kind == GY_BUF_STATE)
            st = contiguous(l, late[i], NULL, &late[i]);
    for (int64_t i = 0; st == GY_OK && i < n; i++) {
        if (late[i].buffer < 0) continue;
        gy_state *state = g->assign[i].state;
        int32_t b = new_buffer(
            p, (gy_buffer){.kind = GY_BUF_STATE, .state = state, .bytes = (int64_t)gy_tensor_bytes(&state->value)});
        st =
            b < 0 ? GY_ERR_NOMEM : add_copy(l, late[i], gy_contiguous_place(b, state->value.dtype, state->value.shape));
    }
    gy_free(p->ctx, wanted);
    gy_free(p->ctx, read);
    return st;
}

/* Outputs own their memory: a view, a state or a constant is copied, before states change. */
static gy_status lower_outputs(lowering *l) {
    gy_plan *p = l->p;
    for (int64_t i = 0; i < p->n_output; i++) {
        gy_t t = p->g->output[i].value;
        gy_place v = l->place[t.id][t.out];
        bool shared = !whole_buffer(p, &v) || p->buffer[v.buffer].kind != GY_BUF_ARENA;
        for (int64_t j = 0; j < i && !shared; j++) shared = p->output[j].place.buffer == v.buffer;
        if (shared) {
            gy_status st = contiguous(l, v, NULL, &v);
            if (st != GY_OK) return st;
        }
        p->output[i].place = v;
    }
    return GY_OK;
}

static void share_in_place(gy_plan *p) {
    bool *pinned = gy_calloc(p->ctx, (size_t)p->n_buffers, sizeof *pinned);
    if (!pinned) return; /* only an optimisation */
    for (int64_t i = 0; i < p->n_output; i++) pinned[p->output[i].place.buffer] = true;
    for (int32_t s = 0; s < p->n_steps; s++) {
        gy_step *st = &p->step[s];
        for (int o = 0; o < st->n_out; o++) {
            int32_t y = st->out[o].buffer;
            if (p->buffer[y].kind != GY_BUF_ARENA || p->buffer[y].rep != y || p->buffer[y].first != s) continue;
            for (int i = 0; i < st->n_in; i++) {
                int32_t x = st->in[i].buffer;
                if (x < 0 || x == y || p->buffer[x].kind != GY_BUF_ARENA || pinned[x]) continue;
                /* followed to the buffer that owns the memory: its end is the end of the last sharer */
                int32_t root = x;
                while (p->buffer[root].rep != root) root = p->buffer[root].rep;
                if (p->buffer[x].last != s || p->buffer[root].last != s || !may_overwrite(p, st, o, i)) continue;
                bool taken = false; /* by another output of this step */
                for (int q = 0; q < o; q++) taken = taken || p->buffer[st->out[q].buffer].rep == root;
                if (taken) continue;
                p->buffer[y].rep = root;
                if (p->buffer[y].last > p->buffer[root].last) p->buffer[root].last = p->buffer[y].last;
                break;
            }
        }
    }
    gy_free(p->ctx, pinned);
}

gy_status gy_lower(gy_plan *p) {
    gy_graph *g = p->g;
    lowering l = {.p = p};
    l.place = gy_calloc(p->ctx, (size_t)g->n, sizeof *l.place);
    l.packed = gy_calloc(p->ctx, (size_t)g->n, sizeof *l.packed);
    l.copy_node = gy_arena_alloc(&p->mem, sizeof *l.copy_node);
    gy_status st = l.place && l.packed && l.copy_node ? GY_OK : GY_ERR_NOMEM;
    if (st == GY_OK) {
        *l.copy_node = (gy_node){.op = &gy_ops[GY_OP_copy], .n_in = 1, .n_out = 1, .scope = "", .site = {"planner", 0}};
        for (int32_t i = 0; i < g->n; i++)
            for (int o = 0; o < GY_MAX_OUT; o++) l.place[i][o].buffer = l.packed[i][o].buffer = -1;
    }
    for (int32_t id = 1; st == GY_OK && id < g->n; id++) st = lower_node(&l, g->node[id]);
    if (st == GY_OK) st = lower_outputs(&l);
    if (st == GY_OK) st = lower_assignments(&l);
    if (st == GY_OK) {
        for (int64_t i = 0; i < p->n_output; i++) {
            gy_buffer *b = &p->buffer[p->output[i].place.buffer];
            b->last = p->n_steps; /* read after the run */
            if (b->first == INT32_MAX) b->first = 0;
        }
        if (!(p->args.off & GY_PASS_INPLACE)) share_in_place(p);
    }
    gy_free(p->ctx, l.place);
    gy_free(p->ctx, l.packed);
    return st;
}

/* ---- one node alone ---- */

gy_status gy_run_node(const gy_plan *plan, const gy_node *n, const gy_tensor in[], gy_tensor out[]) {
    gy_ctx *ctx = plan->ctx;
    gy_view vin[16], vout[GY_MAX_OUT];
    gy_node copy = {.op = &gy_ops[GY_OP_copy]};
    const gy_node *what = n;
    gy_status st = GY_OK;
    int n_in = n->n_in, n_out = n->n_out;
    for (int i = 0; i < n_in; i++) {
        gy_place p = gy_contiguous_place(0, in[i].dtype, in[i].shape);
        vin[i] = gy_place_view(&p, in[i].data);
    }
    if (n->op->flags & GY_F_VIEW) { /* the view, copied */
        gy_place p = gy_contiguous_place(0, in[0].dtype, in[0].shape), q;
        if (!gy_view_place(n, p, &q)) return gy_fail(ctx, GY_ERR_UNSUPPORTED, "%s has no view rule", n->op->name);
        vin[0] = gy_place_view(&q, (char *)in[0].data + q.offset * (int64_t)gy_dtype_size(q.dtype));
        what = &copy;
    }
    for (int o = 0; st == GY_OK && o < n_out; o++) {
        st = gy_tensor_new(ctx, &out[o], n->dtype[o], n->shape[o]);
        gy_place p = gy_contiguous_place(0, n->dtype[o], n->shape[o]);
        vout[o] = gy_place_view(&p, out[o].data);
    }
    if (st != GY_OK) return st;
    gy_kargs k = {.op = what->op->id,
                  .attr = n->attr,
                  .n_in = n_in,
                  .n_out = n_out,
                  .in = vin,
                  .out = vout,
                  .pool = gy_ctx_pool(ctx),
                  .precision = plan->precision,
                  .winograd = !(plan->args.off & GY_PASS_WINOGRAD)};
    uint64_t mask = plan->device ? gy_ctx_isa_mask(ctx) : plan->isa_mask; /* operands lie in the host's memory */
    const gy_kernel *row = gy_kernel_choose(what->op->id, gy_kernel_dtype(&k), mask, &k);
    if (!row) return gy_fail(ctx, GY_ERR_UNSUPPORTED, "no kernel for %s", n->op->name);
    size_t bytes = row->scratch ? row->scratch(&k, gy_pool_threads(k.pool)) : 0;
    if (bytes && !(k.scratch = gy_malloc(ctx, bytes))) return GY_ERR_NOMEM;
    k.span = row->span;
    (row->span ? gy_elementwise_run : row->fn)(&k);
    gy_free(ctx, k.scratch);
    return GY_OK;
}
