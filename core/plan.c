/* Compiling and running. The passes are in passes.c, the lowering in lower.c, the memory layout in offsets.c. */
#include "guard.h"
#include "group.h"
#include "plan_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void gy_plan_free(gy_plan *p) {
    if (!p) return;
    gy_ctx *ctx = p->ctx;
    if (p->g != p->given) gy_graph_free(p->g);
    gy_free(ctx, p->buffer);
    gy_free(ctx, p->step);
    gy_free(ctx, p->input);
    gy_free(ctx, p->output);
    gy_free(ctx, p->packed_block);
    gy_free(ctx, p->packed);
    if (p->device) {
        gy_device *d = p->device;
        if (p->recording) d->forget(d, p->recording);
        d->free(d, p->arena_block);
        d->free(d, p->input_device);
        d->free(d, p->const_device);
        d->free_host(d, p->input_block);
        d->free_host(d, p->output_block);
    } else {
        if (p->arena_block) gy_unguard(p->arena_block, (size_t)p->arena_bytes);
        gy_free(ctx, p->arena_block);
        gy_free(ctx, p->input_block);
    }
    gy_arena_free(&p->mem);
    gy_free(ctx, p);
}

/* The wanted outputs only. */
static gy_status select_outputs(gy_plan *p) {
    if (!p->args.outputs) return GY_OK;
    gy_graph *g = p->g;
    int64_t kept = 0;
    for (int64_t w = 0; p->args.outputs[w]; w++) {
        int64_t i = 0;
        while (i < g->n_output && strcmp(g->output[i].name, p->args.outputs[w]) != 0) i++;
        if (i == g->n_output) return gy_fail(p->ctx, GY_ERR_USAGE, "the graph has no output '%s'", p->args.outputs[w]);
        if (i < kept) continue; /* named twice */
        gy_named t = g->output[kept];
        g->output[kept++] = g->output[i];
        g->output[i] = t;
    }
    g->n_output = kept;
    return GY_OK;
}

static gy_status rewrite(gy_plan *p) {
    static const struct {
        uint32_t bit;
        gy_graph *(*run)(gy_plan *p, gy_graph *g);
    } passes[] = {{GY_PASS_RECOMPUTE, gy_pass_recompute}, {GY_PASS_FOLD, gy_pass_fold},
                  {GY_PASS_EPILOGUE, gy_pass_epilogue},   {GY_PASS_CHAIN, gy_pass_chain},
                  {GY_PASS_AGAIN, gy_pass_again},         {0, gy_pass_clean}};
    /* first a copy, so that the caller's graph stays whole */
    p->g = gy_pass_clean(p, p->given);
    if (!p->g) return gy_error_status(p->ctx);
    gy_status st = select_outputs(p);
    if (p->args.no_assign) p->g->n_assign = 0;
    for (size_t i = 0; st == GY_OK && i < sizeof passes / sizeof *passes; i++) {
        if (passes[i].bit && p->args.off & passes[i].bit) continue;
        if (passes[i].bit == GY_PASS_RECOMPUTE && p->given->n_segments == 0) continue;
        if (passes[i].bit == GY_PASS_AGAIN && p->device) continue; /* its price was measured on CPUs */
        gy_graph *next = passes[i].run(p, p->g);
        if (!next) return gy_error_status(p->ctx);
        /* attributes such as folded constants live in the graph that made them */
        next->previous = p->g;
        p->g = next;
    }
    return st;
}

static gy_status name_places(gy_plan *p) {
    p->n_input = p->g->n_input;
    p->n_output = p->g->n_output;
    p->input = gy_calloc(p->ctx, (size_t)p->n_input + 1, sizeof *p->input);
    p->output = gy_calloc(p->ctx, (size_t)p->n_output + 1, sizeof *p->output);
    if (!p->input || !p->output) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < p->n_input; i++) p->input[i] = (gy_named_place){p->g->input[i].name, {.buffer = -1}};
    for (int64_t i = 0; i < p->n_output; i++) p->output[i] = (gy_named_place){p->g->output[i].name, {.buffer = -1}};
    return GY_OK;
}

/* Where kernels find it. */
static void *address(const gy_plan *p, const gy_place *q) {
    if (q->buffer < 0) return NULL;
    const gy_buffer *b = &p->buffer[q->buffer];
    char *base = NULL;
    switch (b->kind) {
    case GY_BUF_ARENA: base = p->arena_block + b->offset; break;
    case GY_BUF_INPUT: base = (p->device ? p->input_device : p->input_block) + b->offset; break;
    case GY_BUF_CONST: base = p->device ? p->const_device + b->offset : (char *)(uintptr_t)b->data; break;
    case GY_BUF_STATE: base = b->state->value.data; break;
    }
    return base + q->offset * (int64_t)gy_dtype_size(q->dtype);
}

/* A place for `bytes` more at *end. */
static int64_t append(const gy_plan *p, int64_t *end, int64_t bytes) {
    int64_t at = *end + gy_buffer_shift(p, bytes);
    *end += gy_buffer_room(p, bytes);
    return at;
}

static void guard(gy_plan *p, char *block, int64_t offset, int64_t bytes) {
    if (gy_plan_guarded(p)) p->device->guard(p->device, block + offset + (bytes + 15) / 16 * 16, GY_GUARD_PAGE);
}

static gy_status allocate_on_device(gy_plan *p) {
    gy_device *d = p->device;
    for (int32_t i = 0; i < p->n_buffers; i++)
        if (p->buffer[i].kind == GY_BUF_CONST) p->buffer[i].offset = append(p, &p->const_bytes, p->buffer[i].bytes);
    for (int64_t i = 0; i < p->n_output; i++) {
        const gy_place *q = &p->output[i].place;
        p->output[i].host_offset = p->output_bytes;
        p->output_bytes += (gy_shape_count(q->shape) * (int64_t)gy_dtype_size(q->dtype) + 63) / 64 * 64;
    }
    if (p->args.dry) return GY_OK;
    p->arena_block = d->alloc(d, (size_t)p->arena_bytes);
    p->input_device = d->alloc(d, (size_t)p->input_bytes);
    p->const_device = d->alloc(d, (size_t)p->const_bytes);
    p->input_block = d->alloc_host(d, (size_t)p->input_bytes);
    p->output_block = d->alloc_host(d, (size_t)p->output_bytes);
    if (!p->arena_block || !p->input_device || !p->const_device || !p->input_block || !p->output_block)
        return gy_fail(p->ctx, GY_ERR_NOMEM, "%s: out of memory for a plan of %" PRId64 " bytes", d->name,
                       p->arena_bytes + p->input_bytes + p->const_bytes);
    memset(p->input_block, 0, (size_t)p->input_bytes);
    for (int32_t i = 0; i < p->n_buffers; i++) {
        const gy_buffer *b = &p->buffer[i];
        if (b->kind == GY_BUF_CONST) {
            d->copy(d, p->const_device + b->offset, b->data, (size_t)b->bytes);
            guard(p, p->const_device, b->offset, b->bytes);
        } else if (b->kind == GY_BUF_INPUT) {
            guard(p, p->input_device, b->offset, b->bytes);
        } else if (b->kind == GY_BUF_ARENA && b->rep == i && b->last >= 0) {
            guard(p, p->arena_block, b->offset, b->bytes);
        }
    }
    return gy_device_wait(d);
}

static gy_status allocate(gy_plan *p) {
    for (int32_t i = 0; i < p->n_buffers; i++)
        if (p->buffer[i].kind == GY_BUF_INPUT) p->buffer[i].offset = append(p, &p->input_bytes, p->buffer[i].bytes);
    if (p->device) {
        gy_status st = allocate_on_device(p);
        if (st != GY_OK) return st;
    }
    if (p->args.feed_only && !(p->input_block = gy_calloc(p->ctx, 1, (size_t)p->input_bytes))) return GY_ERR_NOMEM;
    if (p->args.dry) return GY_OK;
    if (!p->device) {
        p->arena_block = gy_malloc(p->ctx, (size_t)p->arena_bytes);
        p->input_block = gy_calloc(p->ctx, 1, (size_t)p->input_bytes);
        if (!p->arena_block || !p->input_block) return GY_ERR_NOMEM;
    }
    size_t packed = 0; /* one block, so that all of it lies on large pages */
    for (int32_t i = 0; i < p->n_packed; i++) packed += (p->packed[i].bytes + 63) & ~(size_t)63;
    if (packed && !(p->packed_block = gy_malloc(p->ctx, packed))) return GY_ERR_NOMEM;
    char *room = p->packed_block;
    for (int32_t i = 0; i < p->n_packed; i++) {
        p->packed[i].data = room;
        room += (p->packed[i].bytes + 63) & ~(size_t)63;
    }
    for (int32_t s = 0; s < p->n_steps; s++) {
        gy_step *st = &p->step[s];
        for (int i = 0; i < 2; i++)
            if (st->packed[i] >= 0) st->k.packed[i] = p->packed[st->packed[i]].data;
        for (int i = 0; i < st->n_in; i++) st->k.in[i].data = address(p, &st->in[i]);
        for (int i = 0; i < st->n_out; i++) st->k.out[i].data = address(p, &st->out[i]);
        if (st->scratch >= 0) st->k.scratch = p->arena_block + p->buffer[st->scratch].offset;
    }
    return GY_OK;
}

gy_plan *gy_compile(gy_graph *g, gy_plan_args args) {
    gy_ctx *ctx = gy_graph_ctx(g);
    if (gy_graph_status(g) != GY_OK) return NULL;
    gy_plan *p = gy_calloc(ctx, 1, sizeof *p);
    if (!p) return NULL;
    args.dry = args.dry || args.feed_only;
    const char *eager = getenv("GYRUS_EAGER");
    if (eager && strcmp(eager, "1") == 0) args.check = true;
    if (args.check) args.off = GY_PASS_ALL;
    const char *winograd = getenv("GYRUS_WINOGRAD");
    if (winograd && strcmp(winograd, "0") == 0) args.off |= GY_PASS_WINOGRAD;
    *p = (gy_plan){.ctx = ctx, .given = g, .g = g, .args = args};
    const uint64_t cuda = UINT64_C(1) << GY_ISA_CUDA;
    p->isa_mask = args.check || args.feed_only ? 1
                  : args.isa_mask              ? args.isa_mask
                  : gy_ctx_device(ctx)         ? cuda
                                               : gy_ctx_isa_mask(ctx);
    if (p->isa_mask == cuda && !args.feed_only) p->device = gy_ctx_device(ctx);
    p->precision = args.precision ? args.precision : gy_ctx_precision(ctx);
    gy_arena_init(&p->mem, ctx);
    gy_status st = GY_OK;
    if (p->precision != GY_F32 && p->precision != GY_BF16)
        st = gy_fail(ctx, GY_ERR_USAGE, "precision %s: expected f32 or bf16", gy_dtype_name(p->precision));
    if (st == GY_OK) st = rewrite(p);
    if (st == GY_OK) st = name_places(p);
    if (st == GY_OK) st = gy_lower(p);
    if (st == GY_OK) st = gy_offsets(p);
    if (st == GY_OK) st = allocate(p);
    if (st != GY_OK) {
        gy_plan_free(p);
        return NULL;
    }
    return p;
}

/* ---- feeding and running ---- */

static const gy_place *input_place(const gy_plan *p, const char *name) {
    for (int64_t i = 0; i < p->n_input; i++)
        if (strcmp(p->input[i].name, name) == 0) return &p->input[i].place;
    return NULL;
}

gy_status gy_plan_feed(gy_plan *p, const char *name, const gy_tensor *value) {
    char want[GY_SHAPE_TEXT], have[GY_SHAPE_TEXT];
    const gy_place *q = input_place(p, name);
    gy_dtype dtype = q ? q->dtype : GY_DTYPE_DEFAULT;
    gy_shape shape = q ? q->shape : GY_S0;
    for (int64_t i = 0; !q && i < p->given->n_input; i++) /* an input that no wanted output depends on */
        if (strcmp(p->given->input[i].name, name) == 0) {
            dtype = gy_dtype_of(p->given->input[i].value);
            shape = gy_shape_of(p->given->input[i].value);
        }
    if (!dtype) return gy_fail(p->ctx, GY_ERR_USAGE, "the graph has no input '%s'", name);
    if (dtype != value->dtype || !gy_shape_equal(shape, value->shape))
        return gy_fail(p->ctx, GY_ERR_SHAPE, "input '%s': expected %s %s, found %s %s", name, gy_dtype_name(dtype),
                       gy_shape_text(shape, want), gy_dtype_name(value->dtype), gy_shape_text(value->shape, have));
    void *to = gy_plan_input(p, name);
    if (to) memcpy(to, value->data, gy_tensor_bytes(value));
    return GY_OK;
}

void *gy_plan_input(gy_plan *p, const char *name) {
    const gy_place *q = input_place(p, name);
    return q && q->buffer >= 0 && p->input_block ? p->input_block + p->buffer[q->buffer].offset : NULL;
}

const char *gy_plan_input_at(gy_plan *p, int64_t i, gy_tensor *t) {
    if (i < 0 || i >= p->n_input) return NULL;
    const gy_place *q = &p->input[i].place;
    *t = (gy_tensor){q->dtype, q->shape, gy_plan_input(p, p->input[i].name), true};
    return p->input[i].name;
}

void gy_plan_set_rng(gy_plan *p, uint64_t seed, uint64_t step) {
    int64_t *v = gy_plan_input(p, "rng");
    if (!v) return;
    memcpy(&v[0], &seed, sizeof seed);
    memcpy(&v[1], &step, sizeof step);
}

static gy_status check_finite(const gy_plan *p, const gy_step *s) {
    for (int o = 0; o < s->n_out; o++) {
        const gy_view *v = &s->k.out[o];
        if (!gy_dtype_is_float(v->dtype)) continue;
        gy_tensor t = {.dtype = v->dtype, .shape = v->shape, .data = v->data};
        int64_t n = gy_shape_count(v->shape);
        for (int64_t i = 0; i < n; i++) {
            double x = gy_tensor_get(&t, i);
            if (isfinite(x)) continue;
            char text[GY_SHAPE_TEXT];
            return gy_fail(p->ctx, GY_ERR_NUMERIC, "%s:%d: %s gives %s at element %" PRId64 " of %s%s%s%s",
                           s->node->site.file, s->node->site.line, s->node->op->name, isnan(x) ? "NaN" : "Inf", i,
                           gy_shape_text(v->shape, text), *s->node->scope ? " (in " : "", s->node->scope,
                           *s->node->scope ? ")" : "");
        }
    }
    return GY_OK;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void pack_changed(gy_plan *p) {
    for (int32_t i = 0; i < p->n_packed; i++) {
        gy_packed *q = &p->packed[i];
        if (q->made && (!q->state || q->version == q->state->version)) continue;
        const gy_step *s = &p->step[q->step];
        s->kernel->prepack->pack(&s->k, q->input, q->data);
        if (q->state) q->version = q->state->version;
        q->made = true;
    }
}

/* Sums over ranks run beside what follows; a step that reads one waits for all that are under way. */
static gy_buffer *root_of(gy_plan *p, int32_t buffer) {
    while (buffer >= 0 && p->buffer[buffer].rep != buffer) buffer = p->buffer[buffer].rep;
    return buffer >= 0 ? &p->buffer[buffer] : NULL;
}
static void mark_sums(gy_plan *p, const gy_step *s) {
    if (s->node->op->id == GY_OP_all_reduce) root_of(p, s->out[0].buffer)->summing = true;
}
static bool needs_sums(gy_plan *p, const gy_step *s) {
    bool needs = false;
    for (int i = 0; i < s->n_in && !needs; i++) {
        const gy_buffer *b = root_of(p, s->in[i].buffer);
        needs = b && b->summing;
    }
    for (int32_t i = 0; needs && i < p->n_buffers; i++) p->buffer[i].summing = false;
    return needs;
}

/* Everything a run on a device queues. */
static void enqueue(void *arg) {
    gy_plan *p = arg;
    gy_device *d = p->device;
    if (!gy_plan_guarded(p)) d->copy(d, p->input_device, p->input_block, (size_t)p->input_bytes);
    for (int32_t i = 0; gy_plan_guarded(p) && i < p->n_buffers; i++) { /* between the guards */
        const gy_buffer *b = &p->buffer[i];
        if (b->kind == GY_BUF_INPUT)
            d->copy(d, p->input_device + b->offset, p->input_block + b->offset, (size_t)b->bytes);
    }
    for (int32_t i = 0; i < p->n_steps; i++) {
        gy_step *s = &p->step[i];
        double t0 = p->profile ? now() : 0;
        if (needs_sums(p, s)) d->join(d);
        s->kernel->fn(&s->k);
        mark_sums(p, s);
        if (!p->profile) continue;
        d->wait(d);
        s->seconds += now() - t0;
    }
    d->join(d);
    for (int64_t i = 0; i < p->n_output; i++) {
        const gy_place *q = &p->output[i].place;
        d->copy(d, p->output_block + p->output[i].host_offset, address(p, q),
                (size_t)(gy_shape_count(q->shape) * (int64_t)gy_dtype_size(q->dtype)));
    }
}

static gy_status run_on_device(gy_plan *p) {
    gy_device *d = p->device;
    if (p->profile) { /* step by step, each waited for */
        enqueue(p);
        return gy_device_wait(d);
    }
    if (!p->recording) p->recording = d->record(d, enqueue, p);
    if (p->recording) d->play(d, p->recording);
    gy_status st = gy_device_wait(d);
    return st == GY_OK ? gy_group_status(gy_ctx_group(p->ctx)) : st;
}

/* For a checker of memory the arena is no block but its buffers: a step may touch its own alone (guard.h). */
static void guard_buffer(const gy_plan *p, int32_t buffer, bool open) {
    const gy_buffer *b = buffer >= 0 ? &p->buffer[buffer] : NULL;
    if (b && b->kind == GY_BUF_ARENA) (open ? gy_unguard : gy_guard)(p->arena_block + b->offset, (size_t)b->bytes);
}
static void guard_step(const gy_plan *p, const gy_step *s, bool open) {
    for (int32_t i = 0; i < s->n_in; i++) guard_buffer(p, s->in[i].buffer, open);
    for (int32_t i = 0; i < s->n_out; i++) guard_buffer(p, s->out[i].buffer, open);
    guard_buffer(p, s->scratch, open);
}

gy_status gy_plan_run(gy_plan *p) {
    if (p->args.dry) return gy_fail(p->ctx, GY_ERR_USAGE, "a dry plan cannot run");
    pack_changed(p);
    for (int64_t i = 0; i < p->g->n_assign; i++) gy_state_touch(p->g->assign[i].state);
    if (p->device) return run_on_device(p);
    gy_guard(p->arena_block, (size_t)p->arena_bytes);
    for (int32_t i = 0; i < p->n_steps; i++) {
        gy_step *s = &p->step[i];
        guard_step(p, s, true);
        double t0 = p->profile ? now() : 0;
        (s->kernel->span ? gy_elementwise_run : s->kernel->fn)(&s->k);
        if (p->profile) s->seconds += now() - t0;
        if (p->args.check) {
            gy_status st = check_finite(p, s);
            if (st != GY_OK) return st;
        }
        guard_step(p, s, false);
    }
    for (int64_t i = 0; i < p->n_output; i++) guard_buffer(p, p->output[i].place.buffer, true);
    return gy_group_status(gy_ctx_group(p->ctx));
}

gy_tensor gy_plan_output(const gy_plan *p, const char *name) {
    for (int64_t i = 0; i < p->n_output; i++)
        if (strcmp(p->output[i].name, name) == 0) {
            const gy_place *q = &p->output[i].place;
            void *data = p->args.dry ? NULL : p->device ? p->output_block + p->output[i].host_offset : address(p, q);
            return (gy_tensor){q->dtype, q->shape, data, true};
        }
    return (gy_tensor){0};
}

double gy_plan_scalar(const gy_plan *p, const char *name) {
    gy_tensor t = gy_plan_output(p, name);
    return t.data && gy_shape_count(t.shape) > 0 ? gy_tensor_get(&t, 0) : NAN;
}

/* ---- report ---- */

gy_plan_info gy_plan_report(const gy_plan *p) {
    gy_plan_info r = {.nodes = p->given->n - 1,
                      .steps = p->n_steps,
                      .arena_bytes = p->arena_bytes,
                      .lower_bound = p->lower_bound,
                      .sum_bytes = p->sum_bytes,
                      .input_bytes = p->input_bytes};
    for (int32_t i = 0; i < p->n_buffers; i++) {
        if (p->buffer[i].kind == GY_BUF_CONST) r.const_bytes += p->buffer[i].bytes;
        bool again = false; /* a state may appear as two buffers: read and copied to */
        for (int32_t j = 0; j < i && p->buffer[i].kind == GY_BUF_STATE && !again; j++)
            again = p->buffer[j].kind == GY_BUF_STATE && p->buffer[j].state == p->buffer[i].state;
        if (p->buffer[i].kind == GY_BUF_STATE && !again)
            r.state_bytes += (int64_t)gy_tensor_bytes(&p->buffer[i].state->value);
    }
    for (int32_t i = 0; i < p->n_packed; i++) r.packed_bytes += (int64_t)p->packed[i].bytes;
    for (int32_t i = 0; i < p->n_steps; i++) {
        r.flops += p->step[i].cost.flops;
        r.bytes += p->step[i].cost.bytes;
    }
    return r;
}

/* "matmul+bias+gelu", "chain: mul add tanh" */
static const char *fused_text(const gy_plan *p, const gy_node *n) {
    static const char *const act[] = {"", "+relu", "+silu", "+gelu", "+gelu_tanh", "+quick_gelu", "+tanh", "+sigmoid"};
    char text[256];
    if (n->op->id == GY_OP_chain) {
        const gy_chain *c = ((const gy_chain_attr *)n->attr)->chain;
        int len = snprintf(text, sizeof text, "chain:");
        for (int64_t i = 0; i < c->n && len < (int)sizeof text; i++)
            len += snprintf(text + len, sizeof text - (size_t)len, " %s", gy_ops[c->ops[i].op].name);
    } else if (n->op->flags & GY_F_EPILOGUE) {
        int64_t a;
        memcpy(&a, (const char *)n->attr + n->op->impl->act_offset, sizeof a);
        bool bias = n->n_in > 2 && !gy_is_none(n->in[2]), residual = n->n_in > 3 && !gy_is_none(n->in[3]);
        if (!bias && !residual && !a) return NULL;
        snprintf(text, sizeof text, "%s%s%s%s", n->op->name, bias ? "+bias" : "", a >= 0 && a < 8 ? act[a] : "",
                 residual ? "+residual" : "");
    } else {
        return NULL;
    }
    return gy_arena_strdup(&((gy_plan *)(uintptr_t)p)->mem, text);
}

gy_plan_step_info gy_plan_step(const gy_plan *p, int64_t i) {
    const gy_step *s = &p->step[i];
    return (gy_plan_step_info){.op = s->node->op->name,
                               .kernel = s->kernel->name,
                               .scope = s->node->scope,
                               .site = s->node->site,
                               .shape = s->out[0].shape,
                               .dtype = s->out[0].dtype,
                               .flops = s->cost.flops,
                               .bytes = s->cost.bytes,
                               .again = s->node->segment < 0,
                               .seconds = s->seconds,
                               .live_bytes = s->live_bytes,
                               .fused = fused_text(p, s->node)};
}

int64_t gy_plan_live(const gy_plan *p, int64_t step, gy_plan_live_info *list, int64_t most) {
    int64_t n = 0;
    for (int32_t b = 0; b < p->n_buffers; b++) {
        const gy_buffer *q = &p->buffer[b];
        if (q->kind != GY_BUF_ARENA || q->rep != b || q->first > step || q->last < step) continue;
        if (n++ >= most) continue;
        const gy_step *s = &p->step[q->first];
        gy_plan_live_info x = {.op = s->node->op->name,
                               .scope = s->node->scope,
                               .bytes = q->bytes,
                               .first = q->first,
                               .last = q->last,
                               .scratch = s->scratch == b};
        for (int o = 0; o < s->n_out; o++)
            if (s->out[o].buffer == b) x.shape = s->out[o].shape;
        list[n - 1] = x;
    }
    return n;
}

void gy_plan_profile(gy_plan *p, bool on) {
    p->profile = on;
    for (int32_t i = 0; on && i < p->n_steps; i++) p->step[i].seconds = 0;
}
