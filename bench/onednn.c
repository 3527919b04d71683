/* oneDNN as a peer: matrix products and convolutions through its C interface, version 3, loaded at run time. The
 * functions are declared here by their documented signatures; handles are opaque pointers and the few constants are
 * those of the interface.
 *
 * Operands stay as Gyrus has them (row-major, features last) except a convolution's weights, and a product's where our
 * plan holds them too, which oneDNN may lay out as it likes; turning them is not timed, which favours the peer. Where
 * ours rounds f32 operands to bf16, oneDNN is given them, and leaves its result, in bf16. */
#define _GNU_SOURCE
#include "sides.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CPU = 1, IN_ORDER = 1, ANY = 1, DIRECT = 1, INFERENCE = 96, MAX_DIMS = 12 };
enum { ARG_SRC = 1, ARG_DST = 17, ARG_WEIGHTS = 33, ARG_DIFF_SRC = 129, ARG_DIFF_DST = 145, ARG_DIFF_WEIGHTS = 161 };
enum { MD_SRC = 129, MD_DIFF_SRC, MD_WEIGHTS, MD_DIFF_WEIGHTS, MD_DST, MD_DIFF_DST };

typedef void *handle;
typedef struct exec_arg {
    int arg;
    handle memory;
} exec_arg;

/* Each returns 0 for success. */
typedef struct functions {
    int (*engine_create)(handle *engine, int kind, size_t index);
    int (*engine_destroy)(handle engine);
    int (*stream_create)(handle *stream, handle engine, unsigned flags);
    int (*stream_destroy)(handle stream);
    int (*stream_wait)(handle stream);
    int (*desc_strided)(handle *md, int n, const int64_t *dims, int type, const int64_t *strides);
    int (*desc_tagged)(handle *md, int n, const int64_t *dims, int type, int tag);
    int (*desc_destroy)(handle md);
    int (*memory_create)(handle *memory, handle md, handle engine, void *data);
    int (*memory_destroy)(handle memory);
    handle (*query_desc)(handle pd, int what, int index); /* borrowed */
    int (*pd_destroy)(handle pd);
    int (*primitive_create)(handle *primitive, handle pd);
    int (*primitive_destroy)(handle primitive);
    int (*execute)(handle primitive, handle stream, int n, const exec_arg *args);
    int (*reorder)(handle *pd, handle from, handle from_engine, handle to, handle to_engine, handle attr);
    int (*matmul)(handle *pd, handle engine, handle src, handle weights, handle bias, handle dst, handle attr);
    int (*conv)(handle *pd, handle engine, int prop, int algorithm, handle src, handle weights, handle bias, handle dst,
                const int64_t *strides, const int64_t *dilates, const int64_t *before, const int64_t *after,
                handle attr);
    int (*conv_dx)(handle *pd, handle engine, int algorithm, handle diff_src, handle weights, handle diff_dst,
                   const int64_t *strides, const int64_t *dilates, const int64_t *before, const int64_t *after,
                   handle hint, handle attr);
    int (*conv_dw)(handle *pd, handle engine, int algorithm, handle src, handle diff_weights, handle diff_bias,
                   handle diff_dst, const int64_t *strides, const int64_t *dilates, const int64_t *before,
                   const int64_t *after, handle hint, handle attr);
} functions;

/* A logical tensor: the sizes that oneDNN speaks of, and where our elements lie. */
typedef struct layout {
    int n;
    int64_t dims[MAX_DIMS], strides[MAX_DIMS];
} layout;

typedef struct operand {
    int arg;
    handle plain;        /* descriptor of our layout */
    handle ours, theirs; /* memories; theirs == ours where the layouts agree */
    handle chosen;       /* descriptor of theirs; borrowed from the primitive's */
} operand;

enum { FIRST, SECOND, RESULT, OPERANDS };

typedef struct onednn {
    functions f;
    handle engine, stream, pd, hint, primitive;
    operand op[OPERANDS];
    gy_tensor y;
    gy_tensor rounded[2]; /* operands in bf16 */
} onednn;

static bool find_functions(void *l, functions *f) {
    return bench_symbol(l, "dnnl_engine_create", &f->engine_create) &&
           bench_symbol(l, "dnnl_engine_destroy", &f->engine_destroy) &&
           bench_symbol(l, "dnnl_stream_create", &f->stream_create) &&
           bench_symbol(l, "dnnl_stream_destroy", &f->stream_destroy) &&
           bench_symbol(l, "dnnl_stream_wait", &f->stream_wait) &&
           bench_symbol(l, "dnnl_memory_desc_create_with_strides", &f->desc_strided) &&
           bench_symbol(l, "dnnl_memory_desc_create_with_tag", &f->desc_tagged) &&
           bench_symbol(l, "dnnl_memory_desc_destroy", &f->desc_destroy) &&
           bench_symbol(l, "dnnl_memory_create", &f->memory_create) &&
           bench_symbol(l, "dnnl_memory_destroy", &f->memory_destroy) &&
           bench_symbol(l, "dnnl_primitive_desc_query_md", &f->query_desc) &&
           bench_symbol(l, "dnnl_primitive_desc_destroy", &f->pd_destroy) &&
           bench_symbol(l, "dnnl_primitive_create", &f->primitive_create) &&
           bench_symbol(l, "dnnl_primitive_destroy", &f->primitive_destroy) &&
           bench_symbol(l, "dnnl_primitive_execute", &f->execute) &&
           bench_symbol(l, "dnnl_reorder_primitive_desc_create", &f->reorder) &&
           bench_symbol(l, "dnnl_matmul_primitive_desc_create", &f->matmul) &&
           bench_symbol(l, "dnnl_convolution_forward_primitive_desc_create", &f->conv) &&
           bench_symbol(l, "dnnl_convolution_backward_data_primitive_desc_create", &f->conv_dx) &&
           bench_symbol(l, "dnnl_convolution_backward_weights_primitive_desc_create", &f->conv_dw);
}

static bool onednn_open(bench_peer *p, gy_ctx *ctx, int threads) {
    static const char *const names[] = {"libdnnl.so.3", "libdnnl.so", NULL};
    struct {
        int major, minor, patch;
        const char *hash;
        unsigned cpu, gpu;
    } const *(*version)(void) = NULL;
    void (*set_threads)(int) = NULL;
    onednn *s = gy_calloc(ctx, 1, sizeof *s);
    p->ctx = ctx;
    p->state = s;
    if (!s) return false;
    void *library = bench_dlopen("GYRUS_ONEDNN", names, p->version);
    if (!library) return false;
    if (!bench_symbol(library, "dnnl_version", &version) || version()->major != 3 || !find_functions(library, &s->f)) {
        snprintf(p->version, sizeof p->version, "absent: the library is not oneDNN version 3");
        return false;
    }
    snprintf(p->version, sizeof p->version, "oneDNN %d.%d.%d (weights of convolutions packed beforehand)",
             version()->major, version()->minor, version()->patch);
    if (bench_symbol(library, "omp_set_num_threads", &set_threads)) set_threads(threads);
    return s->f.engine_create(&s->engine, CPU, 0) == 0 && s->f.stream_create(&s->stream, s->engine, IN_ORDER) == 0;
}

static void onednn_close(bench_peer *p) {
    onednn *s = p->state;
    if (s && s->stream) s->f.stream_destroy(s->stream);
    if (s && s->engine) s->f.engine_destroy(s->engine);
    gy_free(p->ctx, s);
    p->state = NULL;
}

/* ---- descriptors ---- */

/* -1: none of Gyrus's that oneDNN computes with. */
static int type_of(gy_dtype t) {
    return t == GY_F32 ? 3 : t == GY_BF16 ? 2 : t == GY_F64 ? 7 : -1;
}

static handle describe(onednn *s, const layout *l, int type) {
    handle md = NULL;
    return s->f.desc_strided(&md, l->n, l->dims, type, l->strides) == 0 ? md : NULL;
}
static handle any_layout(onednn *s, const layout *l, int type) {
    handle md = NULL;
    return s->f.desc_tagged(&md, l->n, l->dims, type, ANY) == 0 ? md : NULL;
}

/* [batch,] rows, columns; stored transposed if `turned`. */
static layout matrix(int64_t batch, int64_t rows, int64_t columns, bool turned) {
    return (layout){3, {batch, rows, columns}, {rows * columns, turned ? 1 : columns, turned ? rows : 1}};
}

/* Ours is [B, spatial..., C]; theirs is spoken of as [B, C, spatial...]. */
static layout features_last(gy_shape x) {
    layout l = {.n = (int)x.rank};
    int64_t stride = 1;
    l.dims[1] = x.dim[x.rank - 1];
    l.strides[1] = 1;
    stride = l.dims[1];
    for (int64_t i = x.rank - 2; i >= 1; i--) {
        l.dims[i + 1] = x.dim[i];
        l.strides[i + 1] = stride;
        stride *= x.dim[i];
    }
    l.dims[0] = x.dim[0];
    l.strides[0] = stride;
    return l;
}

/* [Cout, Cin/groups, k...], with the groups as an axis of their own where there is more than one. */
static layout weights(gy_shape w, int64_t groups) {
    layout l = {.n = (int)w.rank + (groups > 1)};
    int64_t stride = 1;
    for (int64_t i = w.rank - 1; i >= 0; i--) {
        int at = (int)i + (groups > 1);
        l.dims[at] = i == 0 ? w.dim[0] / groups : w.dim[i];
        l.strides[at] = stride;
        stride *= l.dims[at];
    }
    if (groups > 1) l.dims[0] = groups, l.strides[0] = stride;
    return l;
}

/* ---- preparing ---- */

static bool turn(onednn *s, handle from_md, handle from, handle to_md, handle to) {
    handle pd = NULL, primitive = NULL;
    bool ok = s->f.reorder(&pd, from_md, s->engine, to_md, s->engine, NULL) == 0 &&
              s->f.primitive_create(&primitive, pd) == 0;
    exec_arg args[2] = {{ARG_SRC, from}, {ARG_DST, to}};
    ok = ok && s->f.execute(primitive, s->stream, 2, args) == 0 && s->f.stream_wait(s->stream) == 0;
    if (primitive) s->f.primitive_destroy(primitive);
    if (pd) s->f.pd_destroy(pd);
    return ok;
}

/* Makes the memories of operand i over our data; `what` is the query for the descriptor that the primitive chose;
 * `free_layout`: it may differ from ours. */
static bool bind(onednn *s, int i, int arg, int what, void *data, bool free_layout) {
    operand *o = &s->op[i];
    o->arg = arg;
    o->chosen = s->f.query_desc(s->pd, what, 0);
    if (!o->chosen || s->f.memory_create(&o->ours, o->plain, s->engine, data) != 0) return false;
    o->theirs = o->ours;
    if (!free_layout) return true;
    void *allocate = (void *)(size_t)-1; /* oneDNN's request to hold the memory itself */
    o->theirs = NULL;
    if (s->f.memory_create(&o->theirs, o->chosen, s->engine, allocate) != 0) return false;
    return i == RESULT || turn(s, o->plain, o->ours, o->chosen, o->theirs);
}

/* in: the two operands. */
static bool prepare_matmul(onednn *s, const bench_task *t, const gy_tensor in[2], const char *variant, int type) {
    const int64_t *d = t->c->d;
    int64_t batch = d[3] ? d[3] : 1;
    bool ta = strcmp(variant, "_tn") == 0 || strcmp(variant, "_tt") == 0;
    bool tb = strcmp(variant, "_nt") == 0 || strcmp(variant, "_tt") == 0;
    bool held = t->constant.data != NULL;
    layout a = matrix(batch, d[0], d[2], ta), b = matrix(batch, d[2], d[1], tb), y = matrix(batch, d[0], d[1], false);
    handle wb = held ? any_layout(s, &b, type) : NULL;
    s->op[FIRST].plain = describe(s, &a, type);
    s->op[SECOND].plain = describe(s, &b, type);
    s->op[RESULT].plain = describe(s, &y, type);
    bool ok = s->op[FIRST].plain && s->op[SECOND].plain && s->op[RESULT].plain && (wb || !held) &&
              s->f.matmul(&s->pd, s->engine, s->op[FIRST].plain, held ? wb : s->op[SECOND].plain, NULL,
                          s->op[RESULT].plain, NULL) == 0;
    if (wb) s->f.desc_destroy(wb);
    return ok && bind(s, FIRST, ARG_SRC, MD_SRC, in[0].data, false) &&
           bind(s, SECOND, ARG_WEIGHTS, MD_WEIGHTS, in[1].data, held) &&
           bind(s, RESULT, ARG_DST, MD_DST, s->y.data, false);
}

typedef enum direction { FORWARD, DATA, WEIGHTS } direction;

static bool prepare_conv(onednn *s, const bench_task *t, const gy_tensor two[2], direction part, int type) {
    const bench_case *c = t->c;
    /* whichever of x, w and y is computed is our output; x and w come as inputs where they are needed */
    const gy_tensor *in[2] = {&two[0], &two[1]}, *out = &t->out[0];
    gy_shape xs = part == DATA ? out->shape : in[0]->shape;
    gy_shape ws = part == FORWARD ? in[1]->shape : part == DATA ? in[0]->shape : out->shape;
    gy_shape ys = part == FORWARD ? out->shape : in[1]->shape;
    layout x = features_last(xs), w = weights(ws, c->d[2] / ws.dim[1]), y = features_last(ys);
    int64_t strides[3], dilates[3] = {0}, pad[3], after[3];
    for (int i = 0; i < x.n - 2; i++) {
        strides[i] = c->d[5];
        pad[i] = c->d[4] / 2;
        after[i] = (y.dims[2 + i] - 1) * strides[i] + c->d[4] - x.dims[2 + i] - pad[i];
    }
    handle mx = describe(s, &x, type), mw = any_layout(s, &w, type), my = describe(s, &y, type);
    handle pw = describe(s, &w, type);
    bool ok = mx && mw && my && pw &&
              s->f.conv(part == FORWARD ? &s->pd : &s->hint, s->engine, part == FORWARD ? INFERENCE : 64, DIRECT, mx,
                        mw, NULL, my, strides, dilates, pad, after, NULL) == 0;
    if (ok && part == DATA)
        ok = s->f.conv_dx(&s->pd, s->engine, DIRECT, mx, mw, my, strides, dilates, pad, after, s->hint, NULL) == 0;
    if (ok && part == WEIGHTS)
        ok =
            s->f.conv_dw(&s->pd, s->engine, DIRECT, mx, mw, NULL, my, strides, dilates, pad, after, s->hint, NULL) == 0;
    if (mw) s->f.desc_destroy(mw);
    s->op[part == FORWARD || part == WEIGHTS ? FIRST : RESULT].plain = mx;
    s->op[part == FORWARD ? SECOND : part == DATA ? FIRST : RESULT].plain = pw;
    s->op[part == FORWARD ? RESULT : SECOND].plain = my;
    if (!ok) return false;
    if (part == FORWARD)
        return bind(s, FIRST, ARG_SRC, MD_SRC, in[0]->data, false) &&
               bind(s, SECOND, ARG_WEIGHTS, MD_WEIGHTS, in[1]->data, true) &&
               bind(s, RESULT, ARG_DST, MD_DST, s->y.data, false);
    if (part == DATA)
        return bind(s, FIRST, ARG_WEIGHTS, MD_WEIGHTS, in[0]->data, true) &&
               bind(s, SECOND, ARG_DIFF_DST, MD_DIFF_DST, in[1]->data, false) &&
               bind(s, RESULT, ARG_DIFF_SRC, MD_DIFF_SRC, s->y.data, false);
    return bind(s, FIRST, ARG_SRC, MD_SRC, in[0]->data, false) &&
           bind(s, SECOND, ARG_DIFF_DST, MD_DIFF_DST, in[1]->data, false) &&
           bind(s, RESULT, ARG_DIFF_WEIGHTS, MD_DIFF_WEIGHTS, s->y.data, true);
}

static void onednn_done(bench_peer *p) {
    onednn *s = p->state;
    for (int i = 0; i < OPERANDS; i++) {
        operand *o = &s->op[i];
        if (o->theirs && o->theirs != o->ours) s->f.memory_destroy(o->theirs);
        if (o->ours) s->f.memory_destroy(o->ours);
        if (o->plain) s->f.desc_destroy(o->plain);
        *o = (operand){0};
    }
    if (s->primitive) s->f.primitive_destroy(s->primitive);
    if (s->pd) s->f.pd_destroy(s->pd);
    if (s->hint) s->f.pd_destroy(s->hint);
    s->primitive = s->pd = s->hint = NULL;
    for (int i = 0; i < 2; i++) gy_tensor_free(p->ctx, &s->rounded[i]);
    gy_tensor_free(p->ctx, &s->y);
}

static bool onednn_prepare(bench_peer *p, const bench_task *t) {
    static const char *const convs[] = {"conv1d", "conv2d", "conv3d", "depthwise", "grouped32", NULL};
    onednn *s = p->state;
    const char *name = t->c->name;
    int type = type_of(t->rounded ? GY_BF16 : t->in[0].dtype);
    gy_tensor in[2] = {t->in[0], t->constant.data ? t->constant : t->in[1]};
    bool ok = false;
    if (type < 0 || t->n_out < 1 || (t->n_in < 2 && !t->constant.data)) return false;
    if (gy_tensor_new(p->ctx, &s->y, t->rounded ? GY_BF16 : t->out[0].dtype, t->out[0].shape) != GY_OK) return false;
    for (int i = 0; t->rounded && i < 2; i++) {
        if (in[i].dtype != GY_F32 || gy_tensor_new(p->ctx, &s->rounded[i], GY_BF16, in[i].shape) != GY_OK) {
            onednn_done(p);
            return false;
        }
        uint16_t *to = s->rounded[i].data;
        for (int64_t k = 0; k < gy_shape_count(in[i].shape); k++) to[k] = gy_f32_to_bf16(((float *)in[i].data)[k]);
        in[i] = s->rounded[i];
    }
    if (strncmp(name, "matmul", 6) == 0) ok = prepare_matmul(s, t, in, name + 6, type);
    if (strncmp(name, "batched", 7) == 0) ok = prepare_matmul(s, t, in, name + 7, type);
    if (t->constant.data) ok = prepare_matmul(s, t, in, "_nt", type);
    for (int i = 0; convs[i]; i++) {
        size_t n = strlen(convs[i]);
        if (strncmp(name, convs[i], n) != 0) continue;
        direction part = name[n] == 0 ? FORWARD : strcmp(name + n, "_dx") == 0 ? DATA : WEIGHTS;
        ok = prepare_conv(s, t, in, part, type);
    }
    ok = ok && s->f.primitive_create(&s->primitive, s->pd) == 0;
    if (!ok) onednn_done(p);
    return ok;
}

static bool onednn_sample(void *self, int inner, double *seconds) {
    onednn *s = ((bench_peer *)self)->state;
    exec_arg args[OPERANDS];
    for (int i = 0; i < OPERANDS; i++) args[i] = (exec_arg){s->op[i].arg, s->op[i].theirs};
    double t0 = bench_now();
    for (int r = 0; r < inner; r++)
        if (s->f.execute(s->primitive, s->stream, OPERANDS, args) != 0 || s->f.stream_wait(s->stream) != 0)
            return false;
    *seconds = (bench_now() - t0) / inner;
    return true;
}

static double onednn_difference(bench_peer *p, const bench_task *t) {
    onednn *s = p->state;
    operand *o = &s->op[RESULT];
    if (o->theirs != o->ours && !turn(s, o->chosen, o->theirs, o->plain, o->ours)) return NAN;
    return bench_difference(&t->out[0], &s->y);
}

bench_peer bench_peer_onednn(void) {
    return (bench_peer){.name = "oneDNN",
                        .open = onednn_open,
                        .close = onednn_close,
                        .prepare = onednn_prepare,
                        .sample = onednn_sample,
                        .difference = onednn_difference,
                        .done = onednn_done};
}
