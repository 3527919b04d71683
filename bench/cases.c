/* The suites: one line a benchmark. Shapes are those of the models: transformer blocks over brain patches (ViT-B,
 * GPT-2, CLIP), the U-Net of latent diffusion, volumes of functional and anatomical images, EEG windows. */
#include "cases.h"

#include <math.h>
#include <string.h>

typedef const bench_case *kase;

/* Inputs are numbered in the order in which a builder makes them (bench_fill), so each is made in a statement or
 * declaration of its own: C leaves the order of a call's arguments open. */

static gy_t in(gy_graph *g, kase c, const char *name, gy_shape s) {
    return gy_input(g, name, c->dtype ? c->dtype : GY_F32, s);
}
/* Input number i, which the case overwrites. */
static gy_state *held(kase c, int64_t i, const char *name, gy_shape s) {
    gy_state *st = gy_state_get(c->store, name, GY_SLOT, GY_F32, s, (gy_init){0}, 0);
    if (st) bench_fill(c, i, name, GY_F32, s, st->value.data);
    return st;
}
static gy_t ids(gy_graph *g, const char *name, gy_shape s) {
    return gy_input(g, name, GY_I64, s);
}

/* The gradient of y with respect to x[0], with those of the others as further outputs; the cotangent is an input. */
static gy_t grad(gy_graph *g, kase c, gy_t y, int64_t n, const gy_t *x) {
    static const char *const names[] = {"d0", "d1", "d2", "d3"};
    gy_t gx[4];
    gy_grad(y, in(g, c, "ct", gy_shape_of(y)), n, x, gx);
    for (int64_t i = 1; i < n; i++) gy_output(gx[i], names[i]);
    return gx[0];
}

/* ---- matrix products; d: M, N, K, batch ---- */

static gy_t matmul(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t a = in(g, c, "a", GY_S(d[0], d[2])), b = in(g, c, "b", GY_S(d[2], d[1]));
    return gy_matmul(a, b);
}
static gy_t matmul_nt(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t a = in(g, c, "a", GY_S(d[0], d[2])), b = in(g, c, "b", GY_S(d[1], d[2]));
    return gy_matmul(a, b, .trans_b = true);
}
static gy_t matmul_tn(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t a = in(g, c, "a", GY_S(d[2], d[0])), b = in(g, c, "b", GY_S(d[2], d[1]));
    return gy_matmul(a, b, .trans_a = true);
}
static gy_t matmul_tt(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t a = in(g, c, "a", GY_S(d[2], d[0])), b = in(g, c, "b", GY_S(d[1], d[2]));
    return gy_matmul(a, b, .trans_a = true, .trans_b = true);
}
/* Times weights that do not change, so that the plan may keep them in the kernel's layout. */
static gy_t packed_nt(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t a = in(g, c, "a", GY_S(d[0], d[2]));
    gy_tensor w;
    if (gy_tensor_new(gy_graph_ctx(g), &w, gy_dtype_of(a), GY_S(d[1], d[2])) != GY_OK)
        return gy_poison(g, GY_HERE, "%s", gy_error(gy_graph_ctx(g)));
    bench_fill(c, 1, "b", w.dtype, w.shape, w.data);
    gy_t b = gy_const(g, &w);
    gy_tensor_free(gy_graph_ctx(g), &w);
    return gy_matmul(a, b, .trans_b = true);
}
static gy_t batched(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t a = in(g, c, "a", GY_S(d[3], d[0], d[2])), b = in(g, c, "b", GY_S(d[3], d[2], d[1]));
    return gy_matmul(a, b);
}
static gy_t batched_nt(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t a = in(g, c, "a", GY_S(d[3], d[0], d[2])), b = in(g, c, "b", GY_S(d[3], d[1], d[2]));
    return gy_matmul(a, b, .trans_b = true);
}
static gy_t linear_gelu(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t x = in(g, c, "x", GY_S(d[0], d[2])), w = in(g, c, "w", GY_S(d[1], d[2])), b = in(g, c, "b", GY_S(d[1]));
    return gy_gelu(gy_linear(x, w, b));
}

static gy_t linear_residual(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t x = in(g, c, "x", GY_S(d[0], d[2])), w = in(g, c, "w", GY_S(d[1], d[2])), b = in(g, c, "b", GY_S(d[1]));
    gy_t residual = in(g, c, "r", GY_S(d[0], d[1]));
    return gy_add(gy_linear(x, w, b), residual);
}

/* ---- convolutions; d: batch, size, channels in, channels out, kernel, stride; cubes and squares, padding k / 2 ----
 */

static gy_t conv_n(gy_graph *g, kase c, int axes, int64_t groups, gy_t *x, gy_t *w) {
    const int64_t *d = c->d;
    gy_shape xs = {.rank = axes + 2}, ws = {.rank = axes + 2};
    xs.dim[0] = d[0];
    ws.dim[0] = d[3];
    ws.dim[1] = d[2] / groups;
    for (int i = 0; i < axes; i++) {
        xs.dim[1 + i] = d[1];
        ws.dim[2 + i] = d[4];
    }
    xs.dim[axes + 1] = d[2];
    *x = in(g, c, "x", xs);
    *w = in(g, c, "w", ws);
    return gy_conv(*x, *w, GY_NONE, .stride = GY_S(d[5]), .pad = GY_S(d[4] / 2), .groups = groups);
}
static gy_t conv_y(gy_graph *g, kase c, int axes, int64_t groups) {
    gy_t x, w;
    return conv_n(g, c, axes, groups, &x, &w);
}
static gy_t conv_gx(gy_graph *g, kase c, int axes, int64_t groups) {
    gy_t x, w, y = conv_n(g, c, axes, groups, &x, &w);
    return grad(g, c, y, 1, &x);
}
static gy_t conv_gw(gy_graph *g, kase c, int axes, int64_t groups) {
    gy_t x, w, y = conv_n(g, c, axes, groups, &x, &w);
    return grad(g, c, y, 1, &w);
}
static gy_t conv1(gy_graph *g, kase c) {
    return conv_y(g, c, 1, 1);
}
static gy_t conv1_dx(gy_graph *g, kase c) {
    return conv_gx(g, c, 1, 1);
}
static gy_t conv1_dw(gy_graph *g, kase c) {
    return conv_gw(g, c, 1, 1);
}
static gy_t conv2(gy_graph *g, kase c) {
    return conv_y(g, c, 2, 1);
}
static gy_t conv2_dx(gy_graph *g, kase c) {
    return conv_gx(g, c, 2, 1);
}
static gy_t conv2_dw(gy_graph *g, kase c) {
    return conv_gw(g, c, 2, 1);
}
static gy_t conv3(gy_graph *g, kase c) {
    return conv_y(g, c, 3, 1);
}
static gy_t conv3_dx(gy_graph *g, kase c) {
    return conv_gx(g, c, 3, 1);
}
static gy_t conv3_dw(gy_graph *g, kase c) {
    return conv_gw(g, c, 3, 1);
}
static gy_t depthwise(gy_graph *g, kase c) {
    return conv_y(g, c, 2, c->d[2]);
}
static gy_t depthwise_dx(gy_graph *g, kase c) {
    return conv_gx(g, c, 2, c->d[2]);
}
static gy_t depthwise_dw(gy_graph *g, kase c) {
    return conv_gw(g, c, 2, c->d[2]);
}
static gy_t grouped(gy_graph *g, kase c) { /* 32 groups: ResNeXt */
    return conv_y(g, c, 2, 32);
}
static gy_t up_conv(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t x = gy_resize(in(g, c, "x", GY_S(d[0], d[1], d[1], d[2])), .scale = 2);
    gy_t w = in(g, c, "w", GY_S(d[3], d[2], d[4], d[4]));
    return gy_conv(x, w, GY_NONE, .pad = GY_S(d[4] / 2));
}

/* ---- attention; d: batch, queries, heads, head width, keys, heads of keys, causal ---- */

static gy_t attend(gy_graph *g, kase c, gy_t x[3], bool with_mask) {
    const int64_t *d = c->d;
    x[0] = in(g, c, "q", GY_S(d[0], d[1], d[2], d[3]));
    x[1] = in(g, c, "k", GY_S(d[0], d[4], d[5], d[3]));
    x[2] = in(g, c, "v", GY_S(d[0], d[4], d[5], d[3]));
    return gy_attention(x[0], x[1], x[2], with_mask ? gy_input(g, "mask", GY_U8, GY_S(d[1], d[4])) : GY_NONE,
                        .causal = d[6] != 0);
}
static gy_t attention(gy_graph *g, kase c) {
    gy_t x[3];
    return attend(g, c, x, false);
}
static gy_t attention_masked(gy_graph *g, kase c) {
    gy_t x[3];
    return attend(g, c, x, true);
}
static gy_t attention_grad(gy_graph *g, kase c) {
    gy_t x[3], y = attend(g, c, x, false);
    return grad(g, c, y, 3, x);
}

/* ---- rows: norms, softmax, losses; d: rows, features, or batch, size, channels, groups ---- */

static gy_t softmax(gy_graph *g, kase c) {
    return gy_softmax(in(g, c, "x", GY_S(c->d[0], c->d[1])), -1);
}
static gy_t softmax_grad(gy_graph *g, kase c) {
    gy_t x = in(g, c, "x", GY_S(c->d[0], c->d[1]));
    return grad(g, c, gy_softmax(x, -1), 1, &x);
}
static gy_t log_softmax(gy_graph *g, kase c) {
    return gy_log_softmax(in(g, c, "x", GY_S(c->d[0], c->d[1])), -1);
}
static gy_t cross_entropy(gy_graph *g, kase c) {
    gy_t x = in(g, c, "x", GY_S(c->d[0], c->d[1]));
    return gy_cross_entropy(x, ids(g, "ids", GY_S(c->d[0])));
}
static gy_t cross_entropy_grad(gy_graph *g, kase c) {
    gy_t x = in(g, c, "x", GY_S(c->d[0], c->d[1])), gx;
    gy_grad(gy_cross_entropy(x, ids(g, "ids", GY_S(c->d[0]))), GY_NONE, 1, &x, &gx);
    return gx;
}
/* Normalised value and its inputs; a group norm's x is [batch, size, size, channels]. */
static gy_t norm(gy_graph *g, kase c, gy_t x[3]) {
    const int64_t *d = c->d;
    bool group = c->op == GY_OP_groupnorm || c->op == GY_OP_groupnorm_grad;
    int64_t features = group ? d[2] : d[1];
    x[0] = in(g, c, "x", group ? GY_S(d[0], d[1], d[1], d[2]) : GY_S(d[0], d[1]));
    x[1] = in(g, c, "gamma", GY_S(features));
    if (c->op == GY_OP_rmsnorm || c->op == GY_OP_rmsnorm_grad) return gy_rmsnorm(x[0], x[1]);
    x[2] = in(g, c, "beta", GY_S(features));
    if (group) return gy_groupnorm(x[0], x[1], x[2], .groups = d[3], .act = d[4] ? GY_ACT_SILU : GY_ACT_NONE);
    return c->op == GY_OP_batchnorm || c->op == GY_OP_batchnorm_grad ? gy_batchnorm(x[0], x[1], x[2])
                                                                     : gy_layernorm(x[0], x[1], x[2]);
}
static gy_t norm_y(gy_graph *g, kase c) {
    gy_t x[3];
    return norm(g, c, x);
}
static gy_t norm_grad(gy_graph *g, kase c) {
    gy_t x[3], y = norm(g, c, x);
    return grad(g, c, y, c->op == GY_OP_rmsnorm_grad ? 2 : 3, x);
}

/* ---- elementwise; d: elements, or rows, features ---- */

static gy_t add(gy_graph *g, kase c) {
    gy_t a = in(g, c, "a", GY_S(c->d[0])), b = in(g, c, "b", GY_S(c->d[0]));
    return gy_add(a, b);
}
static gy_t mul_row(gy_graph *g, kase c) {
    gy_t a = in(g, c, "a", GY_S(c->d[0], c->d[1])), b = in(g, c, "b", GY_S(c->d[1]));
    return gy_mul(a, b);
}
static gy_t unary(gy_graph *g, kase c) {
    return gy_unary_(GY_HERE, (int)c->op, in(g, c, "x", GY_S(c->d[0])));
}
static gy_t gelu_grad(gy_graph *g, kase c) {
    gy_t x = in(g, c, "x", GY_S(c->d[0]));
    return grad(g, c, gy_gelu(x), 1, &x);
}
static gy_t gelu_tanh_grad(gy_graph *g, kase c) {
    gy_t x = in(g, c, "x", GY_S(c->d[0]));
    return grad(g, c, gy_gelu_tanh(x), 1, &x);
}
static gy_t silu_grad(gy_graph *g, kase c) {
    gy_t x = in(g, c, "x", GY_S(c->d[0]));
    return grad(g, c, gy_silu(x), 1, &x);
}
static gy_t chain(gy_graph *g, kase c) {
    gy_t x = in(g, c, "x", GY_S(c->d[0])), y = in(g, c, "y", GY_S(c->d[0]));
    return gy_mul(gy_sigmoid(gy_add(gy_mul(x, y), x)), y);
}

/* ---- reductions; d: rows, columns ---- */

static gy_t sum_all(gy_graph *g, kase c) {
    return gy_sum(in(g, c, "x", GY_S(c->d[0], c->d[1])), GY_ALL);
}
static gy_t sum_rows(gy_graph *g, kase c) {
    return gy_sum(in(g, c, "x", GY_S(c->d[0], c->d[1])), GY_AXES(1));
}
static gy_t sum_columns(gy_graph *g, kase c) {
    return gy_sum(in(g, c, "x", GY_S(c->d[0], c->d[1])), GY_AXES(0));
}
static gy_t max_rows(gy_graph *g, kase c) {
    return gy_max(in(g, c, "x", GY_S(c->d[0], c->d[1])), GY_AXES(1));
}

/* ---- moving: transposes, resizing ---- */

static gy_t transpose(gy_graph *g, kase c) {
    return gy_transpose(in(g, c, "x", GY_S(c->d[0], c->d[1])));
}
static gy_t heads_first(gy_graph *g, kase c) { /* [B, T, H, D] -> [B, H, T, D] */
    const int64_t *d = c->d;
    return gy_permute(in(g, c, "x", GY_S(d[0], d[1], d[2], d[3])), 0, 2, 1, 3);
}
static gy_t channels_first(gy_graph *g, kase c) { /* [B, H, W, C] -> [B, C, H, W] */
    const int64_t *d = c->d;
    return gy_permute(in(g, c, "x", GY_S(d[0], d[1], d[1], d[2])), 0, 3, 1, 2);
}
static gy_t nearest(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    return gy_resize(in(g, c, "x", GY_S(d[0], d[1], d[1], d[2])), .scale = 2);
}
static gy_t bilinear(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    return gy_resize(in(g, c, "x", GY_S(d[0], d[1], d[1], d[2])), .scale = 2, .mode = GY_RESIZE_LINEAR);
}

/* ---- indices and graphs; d: items, width, ..., entries that ids count ---- */

static gy_t embedding(gy_graph *g, kase c) { /* d: tokens, width, vocabulary */
    const int64_t *d = c->d;
    gy_t w = in(g, c, "w", GY_S(d[2], d[1])), i = ids(g, "ids", GY_S(d[0]));
    return gy_embedding(w, i);
}
static gy_t embedding_grad(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t u = in(g, c, "u", GY_S(d[0], d[1])), i = ids(g, "ids", GY_S(d[0]));
    return gy_scatter_add(u, i, 0, d[2]);
}
static gy_t segment_max(gy_graph *g, kase c) { /* d: edges, width, nodes */
    const int64_t *d = c->d;
    gy_t x = in(g, c, "x", GY_S(d[0], d[1])), i = ids(g, "ids", GY_S(d[0]));
    return gy_segment_max(x, i, d[2]);
}
static gy_t segment_softmax(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t x = in(g, c, "x", GY_S(d[0], d[1])), i = ids(g, "ids", GY_S(d[0]));
    return gy_segment_softmax(x, i, d[2]);
}
static gy_t spmm(gy_graph *g, kase c) { /* d: rows, width, entries, columns */
    const int64_t *d = c->d;
    gy_t indptr = ids(g, "indptr", GY_S(d[0] + 1)), i = ids(g, "ids", GY_S(d[2]));
    gy_t values = in(g, c, "values", GY_S(d[2])), x = in(g, c, "x", GY_S(d[3], d[1]));
    return gy_spmm(indptr, i, values, x);
}

/* ---- random numbers, optimizers, transforms ---- */

static gy_t dropout(gy_graph *g, kase c) {
    return gy_dropout(in(g, c, "x", GY_S(c->d[0])), "drop", 0.1);
}
static gy_t uniform(gy_graph *g, kase c) {
    return gy_random_uniform(g, "u", GY_F32, GY_S(c->d[0]), 0, 1);
}
static gy_t normal(gy_graph *g, kase c) {
    return gy_random_normal(g, "n", GY_F32, GY_S(c->d[0]));
}
static gy_t sgd(gy_graph *g, kase c) {
    gy_shape n = GY_S(c->d[0]);
    gy_t p = in(g, c, "p", n), m = in(g, c, "m", n), grad = in(g, c, "g", n), rate = in(g, c, "rate", GY_S0);
    gy_t y = gy_sgd(p, m, grad, rate, GY_NONE, ((gy_update_attr){.beta1 = 0.9}));
    gy_output(gy_out(y, 1), "m1");
    return y;
}
static gy_t adamw(gy_graph *g, kase c) {
    static const gy_update_attr attr = {
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01, .decoupled = 1};
    gy_shape n = GY_S(c->d[0]);
    gy_state *p = held(c, 0, "p", n), *m = held(c, 1, "m", n), *v = held(c, 2, "var", n);
    if (!p || !m || !v) return gy_poison(g, GY_HERE, "%s", gy_error(gy_graph_ctx(g)));
    gy_t grad = in(g, c, "g", n), rate = in(g, c, "rate", GY_S0), step = in(g, c, "step", GY_S0);
    gy_t y = gy_adam(gy_read(g, p), gy_read(g, m), gy_read(g, v), grad, rate, step, GY_NONE, attr);
    gy_assign(p, y);
    gy_assign(m, gy_out(y, 1));
    gy_assign(v, gy_out(y, 2));
    return y;
}
static gy_t rfft(gy_graph *g, kase c) {
    return gy_rfft(in(g, c, "x", GY_S(c->d[0], c->d[1])), 1);
}

#define MNK   "%d x %d x %d"
#define MNKB  "%d x %d x %d, batch %d"
#define CONV1 "b%d t%d c%d->%d k%d s%d"
#define CONV2 "b%d hw%d c%d->%d k%d s%d"
#define CONV3 "b%d dhw%d c%d->%d k%d s%d"
#define ATT   "b%d q%d h%d d%d k%d hk%d causal%d"
#define RC    "%d x %d"
#define GROUP "b%d hw%d c%d g%d silu%d"

const bench_case bench_cases[] = {
    /* squares, all transposes */
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {64, 64, 64}, .quick = true},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {128, 128, 128}},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {256, 256, 256}, .quick = true},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {512, 512, 512}},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {1024, 1024, 1024}, .quick = true},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {2048, 2048, 2048}},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {4096, 4096, 4096}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {512, 512, 512}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {1024, 1024, 1024}, .quick = true},
    {"matmul", "matmul_tn", GY_OP_matmul, matmul_tn, MNK, {512, 512, 512}},
    {"matmul", "matmul_tn", GY_OP_matmul, matmul_tn, MNK, {1024, 1024, 1024}, .quick = true},
    {"matmul", "matmul_tt", GY_OP_matmul, matmul_tt, MNK, {512, 512, 512}},
    {"matmul", "matmul_tt", GY_OP_matmul, matmul_tt, MNK, {1024, 1024, 1024}},
    /* transformer layers: x [tokens, in] times the transpose of w [out, in] */
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {788, 2304, 768}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {788, 768, 3072}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {4096, 320, 320}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {4096, 1280, 320}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {1024, 5120, 640}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {256, 1280, 5120}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {4096, 320, 1280}},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {256, 2304, 768}},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {1024, 3072, 768}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {256, 50257, 768}},
    {"matmul", "linear+gelu", GY_OP_matmul, linear_gelu, MNK, {788, 3072, 768}, .quick = true},
    {"matmul", "linear+residual", GY_OP_matmul, linear_residual, MNK, {788, 768, 3072}},
    /* weight gradients: tall and thin */
    {"matmul", "matmul_tn", GY_OP_matmul, matmul_tn, MNK, {768, 3072, 788}},
    {"matmul", "matmul_tn", GY_OP_matmul, matmul_tn, MNK, {768, 3072, 1024}},
    {"matmul", "matmul_tn", GY_OP_matmul, matmul_tn, MNK, {320, 320, 4096}},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {64, 8, 15724}},
    /* decoding, token by token */
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {1, 2048, 2048}, .quick = true},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {1, 4096, 4096}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {4, 2048, 2048}},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {16, 2048, 2048}, .quick = true},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {16, 3072, 768}},
    /* the same with weights that a plan keeps in the kernel's layout */
    {"matmul", "packed_nt", GY_OP_matmul, packed_nt, MNK, {1, 2048, 2048}},
    {"matmul", "packed_nt", GY_OP_matmul, packed_nt, MNK, {1, 3072, 768}},
    {"matmul", "packed_nt", GY_OP_matmul, packed_nt, MNK, {1, 50257, 768}},
    {"matmul", "packed_nt", GY_OP_matmul, packed_nt, MNK, {16, 2048, 2048}, .quick = true},
    {"matmul", "packed_nt", GY_OP_matmul, packed_nt, MNK, {16, 3072, 768}},
    {"matmul", "packed_nt", GY_OP_matmul, packed_nt, MNK, {77, 768, 768}},
    {"matmul", "packed_nt", GY_OP_matmul, packed_nt, MNK, {197, 3072, 768}},
    {"matmul", "packed_nt", GY_OP_matmul, packed_nt, MNK, {256, 1280, 5120}},
    {"matmul", "packed_nt", GY_OP_matmul, packed_nt, MNK, {1, 2048, 2048}, GY_BF16},
    {"matmul", "packed_nt", GY_OP_matmul, packed_nt, MNK, {16, 2048, 2048}, GY_BF16},
    {"matmul", "packed_nt", GY_OP_matmul, packed_nt, MNK, {256, 1280, 5120}, GY_BF16},
    /* attention heads */
    {"matmul", "batched_nt", GY_OP_matmul, batched_nt, MNKB, {197, 197, 64, 12}, GY_BF16},
    {"matmul", "batched_nt", GY_OP_matmul, batched_nt, MNKB, {197, 197, 64, 12}, .quick = true},
    {"matmul", "batched", GY_OP_matmul, batched, MNKB, {197, 64, 197, 12}},
    {"matmul", "batched_nt", GY_OP_matmul, batched_nt, MNKB, {4096, 4096, 40, 2}},
    {"matmul", "batched", GY_OP_matmul, batched, MNKB, {4096, 40, 4096, 2}},
    {"matmul", "batched_nt", GY_OP_matmul, batched_nt, MNKB, {4096, 77, 40, 8}},
    {"matmul", "batched_nt", GY_OP_matmul, batched_nt, MNKB, {1024, 1024, 80, 8}},
    {"matmul", "batched_nt", GY_OP_matmul, batched_nt, MNKB, {256, 256, 160, 8}},
    /* other types */
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {512, 512, 512}, GY_BF16},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {1024, 1024, 1024}, GY_BF16},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {2048, 2048, 2048}, GY_BF16},
    {"matmul", "matmul_nt", GY_OP_matmul, matmul_nt, MNK, {788, 3072, 768}, GY_BF16},
    {"matmul", "matmul_tn", GY_OP_matmul, matmul_tn, MNK, {768, 3072, 788}, GY_BF16},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {512, 512, 512}, GY_F64},
    {"matmul", "matmul", GY_OP_matmul, matmul, MNK, {1024, 1024, 1024}, GY_F64, .quick = true},
    {"matmul", "matmul_tn", GY_OP_matmul, matmul_tn, MNK, {1024, 1024, 1024}, GY_F64},

    /* the U-Net's levels */
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 64, 320, 320, 3, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 32, 640, 640, 3, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 16, 1280, 1280, 3, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 8, 1280, 1280, 3, 1}},
    {"conv", "conv2d_dx", GY_OP_conv_dx, conv2_dx, CONV2, {1, 64, 320, 320, 3, 1}},
    {"conv", "conv2d_dx", GY_OP_conv_dx, conv2_dx, CONV2, {1, 32, 640, 640, 3, 1}},
    {"conv", "conv2d_dx", GY_OP_conv_dx, conv2_dx, CONV2, {1, 16, 1280, 1280, 3, 1}},
    {"conv", "conv2d_dx", GY_OP_conv_dx, conv2_dx, CONV2, {1, 8, 1280, 1280, 3, 1}},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, CONV2, {1, 64, 320, 320, 3, 1}},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, CONV2, {1, 32, 640, 640, 3, 1}},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, CONV2, {1, 16, 1280, 1280, 3, 1}},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, CONV2, {1, 8, 1280, 1280, 3, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 64, 960, 320, 3, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 16, 2560, 1280, 3, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 64, 320, 320, 1, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 32, 640, 640, 1, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 16, 1280, 1280, 1, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 8, 1280, 1280, 1, 1}},
    {"conv", "conv2d_dx", GY_OP_conv_dx, conv2_dx, CONV2, {1, 64, 320, 320, 1, 1}},
    {"conv", "conv2d_dx", GY_OP_conv_dx, conv2_dx, CONV2, {1, 32, 640, 640, 1, 1}},
    {"conv", "conv2d_dx", GY_OP_conv_dx, conv2_dx, CONV2, {1, 8, 1280, 1280, 1, 1}},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, CONV2, {1, 64, 320, 320, 1, 1}},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, CONV2, {1, 32, 640, 640, 1, 1}},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, CONV2, {1, 8, 1280, 1280, 1, 1}},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 64, 320, 320, 3, 2}},
    {"conv", "conv2d_dx", GY_OP_conv_dx, conv2_dx, CONV2, {1, 64, 320, 320, 3, 2}},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, CONV2, {1, 64, 320, 320, 3, 2}},
    {"conv", "nearest_up+conv2d", GY_OP_conv, up_conv, CONV2, {1, 16, 640, 640, 3, 1}},
    /* ResNet, first layers */
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 56, 64, 64, 3, 1}, .quick = true},
    {"conv", "conv2d_dx", GY_OP_conv_dx, conv2_dx, CONV2, {1, 56, 64, 64, 3, 1}, .quick = true},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, CONV2, {1, 56, 64, 64, 3, 1}, .quick = true},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 224, 3, 64, 7, 2}, .quick = true},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, CONV2, {1, 224, 3, 64, 7, 2}},
    {"conv", "conv2d", GY_OP_conv, conv2, CONV2, {1, 64, 4, 320, 3, 1}},
    {"conv", "conv2d_dx", GY_OP_conv_dx, conv2_dx, CONV2, {1, 64, 4, 320, 3, 1}},
    {"conv", "conv2d_dw", GY_OP_conv_dw, conv2_dw, CONV2, {1, 64, 4, 320, 3, 1}},
    {"conv", "depthwise", GY_OP_conv, depthwise, CONV2, {1, 56, 128, 128, 3, 1}, .quick = true},
    {"conv", "depthwise", GY_OP_conv, depthwise, CONV2, {1, 28, 384, 384, 7, 1}},
    {"conv", "depthwise_dx", GY_OP_conv_dx, depthwise_dx, CONV2, {1, 56, 128, 128, 3, 1}},
    {"conv", "depthwise_dw", GY_OP_conv_dw, depthwise_dw, CONV2, {1, 56, 128, 128, 3, 1}},
    {"conv", "grouped32", GY_OP_conv, grouped, CONV2, {1, 28, 256, 256, 3, 1}},
    /* volumes */
    {"conv", "conv3d", GY_OP_conv, conv3, CONV3, {1, 64, 1, 32, 3, 1}},
    {"conv", "conv3d", GY_OP_conv, conv3, CONV3, {1, 96, 16, 16, 3, 1}},
    {"conv", "conv3d_dx", GY_OP_conv_dx, conv3_dx, CONV3, {1, 96, 16, 16, 3, 1}},
    {"conv", "conv3d_dw", GY_OP_conv_dw, conv3_dw, CONV3, {1, 96, 16, 16, 3, 1}},
    {"conv", "conv3d", GY_OP_conv, conv3, CONV3, {1, 64, 32, 32, 3, 1}},
    {"conv", "conv3d", GY_OP_conv, conv3, CONV3, {1, 32, 64, 64, 3, 1}, .quick = true},
    {"conv", "conv3d_dx", GY_OP_conv_dx, conv3_dx, CONV3, {1, 64, 1, 32, 3, 1}},
    {"conv", "conv3d_dx", GY_OP_conv_dx, conv3_dx, CONV3, {1, 64, 32, 32, 3, 1}},
    {"conv", "conv3d_dx", GY_OP_conv_dx, conv3_dx, CONV3, {1, 32, 64, 64, 3, 1}},
    {"conv", "conv3d_dw", GY_OP_conv_dw, conv3_dw, CONV3, {1, 64, 1, 32, 3, 1}},
    {"conv", "conv3d_dw", GY_OP_conv_dw, conv3_dw, CONV3, {1, 64, 32, 32, 3, 1}},
    {"conv", "conv3d_dw", GY_OP_conv_dw, conv3_dw, CONV3, {1, 32, 64, 64, 3, 1}},
    /* EEG */
    {"conv", "conv1d", GY_OP_conv, conv1, CONV1, {64, 1024, 1, 8, 64, 1}},
    {"conv", "conv1d", GY_OP_conv, conv1, CONV1, {64, 1024, 22, 40, 25, 1}},
    {"conv", "conv1d", GY_OP_conv, conv1, CONV1, {16, 512, 64, 64, 7, 1}, .quick = true},
    {"conv", "conv1d", GY_OP_conv, conv1, CONV1, {16, 512, 64, 128, 3, 1}},
    {"conv", "conv1d_dx", GY_OP_conv_dx, conv1_dx, CONV1, {64, 1024, 22, 40, 25, 1}},
    {"conv", "conv1d_dx", GY_OP_conv_dx, conv1_dx, CONV1, {64, 1024, 1, 8, 64, 1}},
    {"conv", "conv1d_dw", GY_OP_conv_dw, conv1_dw, CONV1, {64, 1024, 1, 8, 64, 1}},
    {"conv", "conv1d_dw", GY_OP_conv_dw, conv1_dw, CONV1, {64, 1024, 22, 40, 25, 1}},

    {"attention", "attention", GY_OP_attention, attention, ATT, {4, 197, 12, 64, 197, 12}, .quick = true},
    {"attention", "attention", GY_OP_attention, attention, ATT, {1, 1024, 12, 64, 1024, 12, 1}, .quick = true},
    {"attention", "attention", GY_OP_attention, attention, ATT, {1, 4096, 8, 40, 4096, 8}},
    {"attention", "attention", GY_OP_attention, attention, ATT, {1, 4096, 8, 40, 77, 8}},
    {"attention", "attention", GY_OP_attention, attention, ATT, {1, 1024, 8, 80, 1024, 8}},
    {"attention", "attention", GY_OP_attention, attention, ATT, {1, 256, 8, 160, 256, 8}},
    {"attention", "attention", GY_OP_attention, attention, ATT, {8, 128, 8, 32, 128, 8}},
    {"attention", "attention", GY_OP_attention, attention, ATT, {1, 1, 12, 64, 1024, 12}, .quick = true},
    {"attention", "attention", GY_OP_attention, attention, ATT, {1, 1, 32, 128, 1024, 8}},
    {"attention", "attention_masked", GY_OP_attention, attention_masked, ATT, {2, 400, 8, 64, 400, 8}},
    {"attention",
     "attention_grad",
     GY_OP_attention_grad,
     attention_grad,
     ATT,
     {4, 197, 12, 64, 197, 12},
     .quick = true,
     .step = true},
    {"attention",
     "attention_grad",
     GY_OP_attention_grad,
     attention_grad,
     ATT,
     {1, 1024, 12, 64, 1024, 12, 1},
     .step = true},
    {"attention", "attention_grad", GY_OP_attention_grad, attention_grad, ATT, {1, 4096, 8, 40, 4096, 8}, .step = true},
    {"attention", "attention_grad", GY_OP_attention_grad, attention_grad, ATT, {1, 4096, 8, 40, 77, 8}, .step = true},
    {"attention", "attention_grad", GY_OP_attention_grad, attention_grad, ATT, {1, 1024, 8, 80, 1024, 8}, .step = true},
    {"attention", "attention_grad", GY_OP_attention_grad, attention_grad, ATT, {1, 256, 8, 160, 256, 8}, .step = true},

    {"softmax", "softmax", GY_OP_softmax, softmax, RC, {256, 256}, .quick = true},
    {"softmax", "softmax", GY_OP_softmax, softmax, RC, {1024, 1024}},
    {"softmax", "softmax", GY_OP_softmax, softmax, RC, {4096, 1024}, .quick = true},
    {"softmax", "softmax", GY_OP_softmax, softmax, RC, {8192, 4096}},
    {"softmax", "softmax_grad", GY_OP_softmax_grad, softmax_grad, RC, {256, 256}, .step = true},
    {"softmax", "softmax_grad", GY_OP_softmax_grad, softmax_grad, RC, {4096, 1024}, .step = true},
    {"softmax", "log_softmax", GY_OP_log_softmax, log_softmax, RC, {4096, 1024}},
    {"softmax", "cross_entropy", GY_OP_cross_entropy, cross_entropy, RC, {4096, 1000}, .quick = true},
    {"softmax", "cross_entropy", GY_OP_cross_entropy, cross_entropy, RC, {512, 50257}},
    {"softmax", "cross_entropy_grad", GY_OP_cross_entropy_grad, cross_entropy_grad, RC, {4096, 1000}, .step = true},

    {"norm", "layernorm", GY_OP_layernorm, norm_y, RC, {128, 768}},
    {"norm", "layernorm", GY_OP_layernorm, norm_y, RC, {4096, 768}, .quick = true},
    {"norm", "layernorm_grad", GY_OP_layernorm_grad, norm_grad, RC, {128, 768}, .step = true},
    {"norm", "layernorm_grad", GY_OP_layernorm_grad, norm_grad, RC, {4096, 768}, .quick = true, .step = true},
    {"norm", "rmsnorm", GY_OP_rmsnorm, norm_y, RC, {4096, 768}},
    {"norm", "rmsnorm_grad", GY_OP_rmsnorm_grad, norm_grad, RC, {4096, 768}, .step = true},
    {"norm", "groupnorm", GY_OP_groupnorm, norm_y, GROUP, {1, 64, 320, 32}, .quick = true},
    {"norm", "groupnorm", GY_OP_groupnorm, norm_y, GROUP, {1, 64, 320, 32, 1}},
    {"norm", "groupnorm", GY_OP_groupnorm, norm_y, GROUP, {1, 8, 1280, 32, 1}},
    {"norm", "groupnorm_grad", GY_OP_groupnorm_grad, norm_grad, GROUP, {1, 64, 320, 32}, .step = true},
    {"norm", "groupnorm_grad", GY_OP_groupnorm_grad, norm_grad, GROUP, {1, 64, 320, 32, 1}, .step = true},
    {"norm", "batchnorm", GY_OP_batchnorm, norm_y, RC, {8192, 256}},
    {"norm", "batchnorm_grad", GY_OP_batchnorm_grad, norm_grad, RC, {8192, 256}, .step = true},

    {"elementwise", "add", GY_OP_add, add, "%d", {64 << 10}, .quick = true},
    {"elementwise", "add", GY_OP_add, add, "%d", {16 << 20}},
    {"elementwise", "mul_row", GY_OP_mul, mul_row, RC, {4096, 768}},
    {"elementwise", "exp", GY_OP_exp, unary, "%d", {64 << 10}},
    {"elementwise", "exp", GY_OP_exp, unary, "%d", {1 << 20}, .quick = true},
    {"elementwise", "tanh", GY_OP_tanh, unary, "%d", {1 << 20}},
    {"elementwise", "erf", GY_OP_erf, unary, "%d", {1 << 20}},
    {"elementwise", "gelu", GY_OP_gelu, unary, "%d", {64 << 10}},
    {"elementwise", "gelu", GY_OP_gelu, unary, "%d", {1 << 20}, .quick = true},
    {"elementwise", "gelu", GY_OP_gelu, unary, "%d", {16 << 20}},
    {"elementwise", "gelu_grad", GY_OP_chain, gelu_grad, "%d", {1 << 20}},
    {"elementwise", "gelu_tanh", GY_OP_gelu_tanh, unary, "%d", {1 << 20}},
    {"elementwise", "gelu_tanh_grad", GY_OP_chain, gelu_tanh_grad, "%d", {1 << 20}},
    {"elementwise", "silu", GY_OP_silu, unary, "%d", {64 << 10}},
    {"elementwise", "silu", GY_OP_silu, unary, "%d", {1 << 20}},
    {"elementwise", "silu", GY_OP_silu, unary, "%d", {16 << 20}},
    {"elementwise", "silu_grad", GY_OP_chain, silu_grad, "%d", {1 << 20}},
    {"elementwise", "silu_grad", GY_OP_chain, silu_grad, "%d", {16 << 20}},
    {"elementwise", "chain mul add sigmoid mul", GY_OP_chain, chain, "%d", {1 << 20}, .quick = true},

    {"reduce", "sum", GY_OP_sum, sum_all, RC, {4096, 1024}, .quick = true},
    {"reduce", "sum_rows", GY_OP_sum, sum_rows, RC, {4096, 1024}, .quick = true},
    {"reduce", "sum_columns", GY_OP_sum, sum_columns, RC, {4096, 1024}, .quick = true},
    {"reduce", "sum_rows", GY_OP_sum, sum_rows, RC, {256, 512}},
    {"reduce", "max_rows", GY_OP_max, max_rows, RC, {4096, 1024}},

    {"move", "transpose", GY_OP_copy, transpose, RC, {256, 256}, .quick = true},
    {"move", "transpose", GY_OP_copy, transpose, RC, {2048, 2048}},
    {"move", "heads_first", GY_OP_copy, heads_first, "b%d t%d h%d d%d", {4, 197, 12, 64}, .quick = true},
    {"move", "channels_first", GY_OP_copy, channels_first, "b%d hw%d c%d", {1, 64, 320}},
    {"move", "resize_nearest", GY_OP_resize, nearest, "b%d hw%d c%d", {1, 32, 640}},
    {"move", "resize_bilinear", GY_OP_resize, bilinear, "b%d hw%d c%d", {1, 64, 64}, .quick = true},

    {"index", "embedding", GY_OP_gather, embedding, "n%d w%d of %d", {4096, 768, 50257}, .quick = true},
    {"index", "embedding_grad", GY_OP_scatter_add, embedding_grad, "n%d w%d of %d", {4096, 768, 50257}},
    {"index", "segment_sum", GY_OP_scatter_add, embedding_grad, "n%d w%d of %d", {20000, 64, 400}, .quick = true},
    {"index", "segment_max", GY_OP_segment_max, segment_max, "n%d w%d of %d", {20000, 64, 400}},
    {"index", "segment_softmax", GY_OP_scatter_add, segment_softmax, "n%d w%d of %d", {20000, 8, 400}},
    {"index", "spmm", GY_OP_spmm, spmm, "%d rows w%d nnz%d of %d", {4000, 64, 80000, 4000}, .quick = true},

    {"random", "dropout", GY_OP_random, dropout, "%d", {1 << 20}, .quick = true},
    {"random", "uniform", GY_OP_random, uniform, "%d", {1 << 20}},
    {"random", "normal", GY_OP_random, normal, "%d", {1 << 20}},

    {"optimizer", "sgd", GY_OP_sgd, sgd, "%d", {4 << 20}},
    {"optimizer", "adamw", GY_OP_adam, adamw, "%d", {1 << 20}, .quick = true, .in_place = true},
    {"optimizer", "adamw", GY_OP_adam, adamw, "%d", {124000000}, .in_place = true},

    {"fft", "rfft", GY_OP_rfft, rfft, RC, {1024, 256}, .quick = true},
    {"fft", "rfft", GY_OP_rfft, rfft, RC, {256, 1000}},
    {"fft", "rfft", GY_OP_rfft, rfft, RC, {64, 65536}},
};
const int64_t bench_n_cases = (int64_t)(sizeof bench_cases / sizeof *bench_cases);

const char *const bench_suites[] = {"matmul",      "conv",   "attention",  "softmax", "norm",
                                    "elementwise", "reduce", "move",       "index",   "random",
                                    "optimizer",   "fft",    "miniatures", "models",  NULL};

const char *bench_suite_of(const bench_row *row) {
    for (int64_t i = 0; i < bench_n_cases; i++)
        if (strcmp(bench_cases[i].name, row->kernel) == 0) return bench_cases[i].suite;
    return strncmp(row->kernel, "step:", 5) == 0 ? "miniatures" : "models";
}

void bench_fill(const bench_case *c, int64_t i, const char *name, gy_dtype dtype, gy_shape shape, void *data) {
    int64_t n = gy_shape_count(shape), last = 0;
    for (int k = 0; k < BENCH_DIMS; k++)
        if (c->d[k]) last = c->d[k];
    for (int64_t k = 0; k < n; k++) {
        float v = bench_value((uint32_t)i, (uint32_t)k);
        if (strcmp(name, "var") == 0) v = fabsf(v);
        if (strcmp(name, "rate") == 0) v = 1e-3f;
        if (strcmp(name, "step") == 0) v = 10.0f;
        switch (dtype) {
        case GY_F64: ((double *)data)[k] = v; break;
        case GY_BF16: ((uint16_t *)data)[k] = gy_f32_to_bf16(v); break;
        case GY_U8: ((uint8_t *)data)[k] = v > -0.25f; break;
        case GY_I64:
            ((int64_t *)data)[k] =
                strcmp(name, "indptr") == 0 ? k * (c->d[2] / c->d[0]) : (int64_t)((double)(v + 0.5f) * (double)last);
            break;
        default: ((float *)data)[k] = v; break;
        }
    }
}
