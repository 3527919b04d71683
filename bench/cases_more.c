/* The operators that the models' main loops leave aside: the rest of the elementwise functions, reductions, movements,
 * indices, pooling and transforms, each at one or two shapes, so that no kernel goes unmeasured. */
#include "cases.h"

typedef const bench_case *kase;

static gy_t in(gy_graph *g, const char *name, gy_shape s) {
    return gy_input(g, name, GY_F32, s);
}
static gy_t ids(gy_graph *g, const char *name, gy_shape s) {
    return gy_input(g, name, GY_I64, s);
}
static gy_t grad(gy_graph *g, gy_t y, gy_t x) {
    gy_t gx;
    gy_grad(y, in(g, "ct", gy_shape_of(y)), 1, &x, &gx);
    return gx;
}

/* ---- elementwise; d: elements ---- */

static gy_t unary(gy_graph *g, kase c) {
    return gy_unary_(GY_HERE, (int)c->op, in(g, "x", GY_S(c->d[0])));
}
static gy_t unary_positive(gy_graph *g, kase c) {
    return gy_unary_(GY_HERE, (int)c->op, in(g, "var", GY_S(c->d[0])));
}
static gy_t binary(gy_graph *g, kase c) {
    gy_t a = in(g, "a", GY_S(c->d[0])), b = in(g, "b", GY_S(c->d[0]));
    return gy_binary_(GY_HERE, (int)c->op, a, b);
}
static gy_t power(gy_graph *g, kase c) {
    gy_t a = in(g, "var", GY_S(c->d[0])), b = in(g, "b", GY_S(c->d[0]));
    return gy_pow(a, b);
}
static gy_t where(gy_graph *g, kase c) {
    gy_t a = in(g, "a", GY_S(c->d[0])), b = in(g, "b", GY_S(c->d[0])), m = gy_input(g, "mask", GY_U8, GY_S(c->d[0]));
    return gy_where(m, a, b);
}
static gy_t leaky_relu(gy_graph *g, kase c) {
    return gy_leaky_relu(in(g, "x", GY_S(c->d[0])), 0.01);
}
static gy_t elu(gy_graph *g, kase c) {
    return gy_elu(in(g, "x", GY_S(c->d[0])), 1);
}
static gy_t clamp(gy_graph *g, kase c) {
    return gy_clamp(in(g, "x", GY_S(c->d[0])), -0.25, 0.25);
}
static gy_t to_bf16(gy_graph *g, kase c) {
    return gy_cast(in(g, "x", GY_S(c->d[0])), GY_BF16);
}

/* ---- reductions and runs; d: rows, columns ---- */

static gy_t reduce_rows(gy_graph *g, kase c) {
    return gy_reduce_(GY_HERE, (int)c->op, in(g, "x", GY_S(c->d[0], c->d[1])), GY_AXES(1), false);
}
static gy_t reduce_columns(gy_graph *g, kase c) {
    return gy_reduce_(GY_HERE, (int)c->op, in(g, "x", GY_S(c->d[0], c->d[1])), GY_AXES(0), false);
}
static gy_t arg_rows(gy_graph *g, kase c) {
    return gy_arg_(GY_HERE, (int)c->op, in(g, "x", GY_S(c->d[0], c->d[1])), 1);
}
static gy_t arg_columns(gy_graph *g, kase c) {
    return gy_arg_(GY_HERE, (int)c->op, in(g, "x", GY_S(c->d[0], c->d[1])), 0);
}
static gy_t cumsum_rows(gy_graph *g, kase c) {
    return gy_cumsum(in(g, "x", GY_S(c->d[0], c->d[1])), 1);
}
static gy_t cumsum_columns(gy_graph *g, kase c) {
    return gy_cumsum(in(g, "x", GY_S(c->d[0], c->d[1])), 0);
}
static gy_t log_softmax_grad(gy_graph *g, kase c) {
    gy_t x = in(g, "x", GY_S(c->d[0], c->d[1]));
    return grad(g, gy_log_softmax(x, -1), x);
}
static gy_t sort(gy_graph *g, kase c) {
    return gy_sort(in(g, "x", GY_S(c->d[0], c->d[1])), 1);
}
static gy_t top_k(gy_graph *g, kase c) { /* d: rows, columns, k */
    return gy_top_k(in(g, "x", GY_S(c->d[0], c->d[1])), c->d[2]);
}

/* ---- movements, pooling; d: batch, size, channels ---- */

static gy_t image(gy_graph *g, kase c) {
    return in(g, "x", GY_S(c->d[0], c->d[1], c->d[1], c->d[2]));
}
static gy_t concat(gy_graph *g, kase c) {
    gy_t a = in(g, "a", GY_S(c->d[0], c->d[1], c->d[1], c->d[2]));
    gy_t b = in(g, "b", GY_S(c->d[0], c->d[1], c->d[1], c->d[2]));
    return gy_concat2(3, a, b);
}
static gy_t pad(gy_graph *g, kase c) {
    return gy_pad(image(g, c), 1, 1, 1);
}
static gy_t flip(gy_graph *g, kase c) {
    return gy_flip(image(g, c), 2);
}
static gy_t unslice(gy_graph *g, kase c) {
    gy_t x = image(g, c);
    return grad(g, gy_slice_step(x, 1, 0, c->d[1], 2), x);
}
static gy_t avg_pool(gy_graph *g, kase c) {
    return gy_avg_pool(image(g, c), .window = GY_S(2));
}
static gy_t avg_pool_grad(gy_graph *g, kase c) {
    gy_t x = image(g, c);
    return grad(g, gy_avg_pool(x, .window = GY_S(2)), x);
}
static gy_t max_pool(gy_graph *g, kase c) {
    return gy_max_pool(image(g, c), .window = GY_S(3), .stride = GY_S(2), .pad = GY_S(1));
}
static gy_t bilinear_grad(gy_graph *g, kase c) {
    gy_t x = image(g, c);
    return grad(g, gy_resize(x, .scale = 2, .mode = GY_RESIZE_LINEAR), x);
}

/* ---- indices ---- */

static gy_t gather_along(gy_graph *g, kase c) { /* d: rows, indices, columns */
    gy_t x = in(g, "x", GY_S(c->d[0], c->d[2])), i = ids(g, "ids", GY_S(c->d[0], c->d[1]));
    return gy_gather_along(x, i, 1);
}
static gy_t scatter_along(gy_graph *g, kase c) {
    gy_t u = in(g, "u", GY_S(c->d[0], c->d[1])), i = ids(g, "ids", GY_S(c->d[0], c->d[1]));
    return gy_scatter_along_add(u, i, 1, c->d[2]);
}
static gy_t sddmm(gy_graph *g, kase c) { /* d: rows, width, entries, columns */
    const int64_t *d = c->d;
    gy_t indptr = ids(g, "indptr", GY_S(d[0] + 1)), i = ids(g, "ids", GY_S(d[2]));
    gy_t a = in(g, "a", GY_S(d[0], d[1])), b = in(g, "b", GY_S(d[3], d[1]));
    return gy_sddmm(indptr, i, a, b);
}
static gy_t spmm_t(gy_graph *g, kase c) {
    const int64_t *d = c->d;
    gy_t indptr = ids(g, "indptr", GY_S(d[0] + 1)), i = ids(g, "ids", GY_S(d[2]));
    gy_t values = in(g, "values", GY_S(d[2])), x = in(g, "x", GY_S(d[0], d[1]));
    return gy_spmm_t(indptr, i, values, x, d[3]);
}

/* ---- optimizers, transforms ---- */

static gy_t lion(gy_graph *g, kase c) {
    gy_shape n = GY_S(c->d[0]);
    gy_t p = in(g, "p", n), m = in(g, "m", n), d = in(g, "g", n), rate = in(g, "rate", GY_S0);
    gy_t y = gy_lion(p, m, d, rate, GY_NONE, ((gy_update_attr){.beta1 = 0.9, .beta2 = 0.99}));
    gy_output(gy_out(y, 1), "m1");
    return y;
}
static gy_t fft(gy_graph *g, kase c) {
    return gy_fft(in(g, "x", GY_S(c->d[0], c->d[1], 2)), 1);
}
static gy_t irfft(gy_graph *g, kase c) {
    return gy_irfft(in(g, "x", GY_S(c->d[0], c->d[1] / 2 + 1, 2)), 1, c->d[1]);
}

#define RC    "%d x %d"
#define IMAGE "b%d hw%d c%d"
#define UNARY(name)                                                                                                    \
    {                                                                                                                  \
        "elementwise", #name, GY_OP_##name, unary, "%d", {                                                             \
            1 << 20                                                                                                    \
        }                                                                                                              \
    }
#define POSITIVE(name)                                                                                                 \
    {                                                                                                                  \
        "elementwise", #name, GY_OP_##name, unary_positive, "%d", {                                                    \
            1 << 20                                                                                                    \
        }                                                                                                              \
    }
#define BINARY(name)                                                                                                   \
    {                                                                                                                  \
        "elementwise", #name, GY_OP_##name, binary, "%d", {                                                            \
            1 << 20                                                                                                    \
        }                                                                                                              \
    }

const bench_case bench_more_cases[] = {
    BINARY(sub),
    BINARY(mul),
    BINARY(div),
    BINARY(maximum),
    BINARY(minimum),
    BINARY(eq),
    BINARY(ne),
    BINARY(lt),
    BINARY(le),
    {"elementwise", "pow", GY_OP_pow, power, "%d", {1 << 20}},
    {"elementwise", "where", GY_OP_where, where, "%d", {1 << 20}},
    UNARY(neg),
    UNARY(abs),
    UNARY(sign),
    UNARY(floor),
    UNARY(square),
    UNARY(log1p),
    UNARY(sin),
    UNARY(cos),
    UNARY(sigmoid),
    UNARY(relu),
    UNARY(softplus),
    UNARY(quick_gelu),
    POSITIVE(log),
    POSITIVE(sqrt),
    POSITIVE(rsqrt),
    {"elementwise", "leaky_relu", GY_OP_leaky_relu, leaky_relu, "%d", {1 << 20}},
    {"elementwise", "elu", GY_OP_elu, elu, "%d", {1 << 20}},
    {"elementwise", "clamp", GY_OP_clamp, clamp, "%d", {1 << 20}},
    {"elementwise", "to_bf16", GY_OP_cast, to_bf16, "%d", {1 << 20}},

    {"softmax", "log_softmax_grad", GY_OP_log_softmax_grad, log_softmax_grad, RC, {4096, 1024}, .step = true},

    {"reduce", "sum_squares_rows", GY_OP_sum_squares, reduce_rows, RC, {4096, 1024}},
    {"reduce", "prod_rows", GY_OP_prod, reduce_rows, RC, {4096, 1024}},
    {"reduce", "min_rows", GY_OP_min, reduce_rows, RC, {4096, 1024}},
    {"reduce", "max_columns", GY_OP_max, reduce_columns, RC, {4096, 1024}},
    {"reduce", "argmax_rows", GY_OP_argmax, arg_rows, RC, {4096, 1024}},
    {"reduce", "argmin_rows", GY_OP_argmin, arg_rows, RC, {4096, 1024}},
    {"reduce", "argmax_columns", GY_OP_argmax, arg_columns, RC, {4096, 1024}},
    {"reduce", "cumsum_rows", GY_OP_cumsum, cumsum_rows, RC, {4096, 1024}},
    {"reduce", "cumsum_columns", GY_OP_cumsum, cumsum_columns, RC, {4096, 1024}},

    {"move", "concat", GY_OP_concat, concat, IMAGE, {1, 64, 320}},
    {"move", "pad", GY_OP_pad, pad, IMAGE, {1, 64, 320}},
    {"move", "flip", GY_OP_copy, flip, IMAGE, {1, 64, 320}},
    {"move", "unslice", GY_OP_unslice, unslice, IMAGE, {1, 64, 320}},
    {"move", "avg_pool", GY_OP_avg_pool, avg_pool, IMAGE, {1, 64, 320}},
    {"move", "avg_pool_grad", GY_OP_avg_pool_dx, avg_pool_grad, IMAGE, {1, 64, 320}},
    {"move", "max_pool", GY_OP_max_pool, max_pool, IMAGE, {1, 112, 64}},
    {"move", "resize_bilinear_grad", GY_OP_resize_dx, bilinear_grad, IMAGE, {1, 64, 64}},

    {"index", "gather_along", GY_OP_gather_along, gather_along, "%d x %d of %d", {4096, 256, 1024}},
    {"index", "scatter_along", GY_OP_scatter_along_add, scatter_along, "%d x %d of %d", {4096, 256, 1024}},
    {"index", "sddmm", GY_OP_sddmm, sddmm, "%d rows w%d nnz%d of %d", {4000, 64, 80000, 4000}},
    {"index", "spmm_t", GY_OP_spmm, spmm_t, "%d rows w%d nnz%d of %d", {4000, 64, 80000, 4000}},
    {"index", "sort", GY_OP_sort, sort, RC, {1024, 1024}},
    {"index", "top_k", GY_OP_sort, top_k, RC ", %d", {256, 50257, 50}},

    {"optimizer", "lion", GY_OP_lion, lion, "%d", {4 << 20}},

    {"fft", "fft", GY_OP_fft, fft, RC, {1024, 256}},
    {"fft", "irfft", GY_OP_irfft, irfft, RC, {1024, 256}},
};
const int64_t bench_n_more_cases = (int64_t)(sizeof bench_more_cases / sizeof *bench_more_cases);
