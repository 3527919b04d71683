/* Learned queries that look at a map. */
#include "detr.h"

#include <inttypes.h>
#include <math.h>

gy_status gy_detr_positions(gy_ctx *ctx, int64_t rows, int64_t cols, int64_t width, gy_tensor *out) {
    *out = (gy_tensor){0};
    if (width % 4) return gy_fail(ctx, GY_ERR_USAGE, "positions: width %" PRId64 " is no multiple of 4", width);
    gy_status s = gy_tensor_new(ctx, out, GY_F32, GY_S(rows * cols, width));
    if (s != GY_OK) return s;
    float *p = out->data;
    int64_t half = width / 2;
    for (int64_t t = 0; t < rows * cols; t++)
        for (int64_t k = 0; k < width; k++) {
            int64_t i = k % half;
            double place = k < half ? (double)(t / cols + 1) / ((double)rows + 1e-6)
                                    : (double)(t % cols + 1) / ((double)cols + 1e-6);
            double u = 2 * acos(-1.0) * place / pow(10000, (double)(i / 2 * 2) / (double)half);
            p[t * width + k] = (float)(i % 2 ? cos(u) : sin(u));
        }
    return GY_OK;
}

static gy_t part(gy_t w, int64_t d, int i) {
    return gy_slice(w, 0, i * d, (i + 1) * d);
}

static gy_t projected(gy_t x, gy_t w, gy_t b, int i, int64_t heads) {
    int64_t d = gy_dim(x, -1);
    gy_t y = gy_linear(x, part(w, d, i), part(b, d, i));                /* [B, T, d] */
    return gy_reshape(y, gy_dim(y, 0), gy_dim(y, 1), heads, d / heads); /* [B, T, H, D] */
}

gy_t gy_detr_decode(gy_mod *m, const gy_detr_layer *e, gy_t target, gy_t query, gy_t memory, gy_t pos, gy_t *weights) {
    int64_t b = gy_dim(target, 0), n = gy_dim(target, 1), d = gy_dim(target, 2);
    if (d % e->heads)
        return gy_poison(m->g, GY_HERE, "decoder: %" PRId64 " heads do not divide width %" PRId64, e->heads, d);
    gy_init xavier = {GY_INIT_XAVIER_UNIFORM, 1};
    gy_push(m, "multihead_attn");
    gy_t w = gy_param(m, "in_proj_weight", GY_S(3 * d, d), GY_INIT_XAVIER_UNIFORM, 1);
    gy_t bias = gy_param(m, "in_proj_bias", GY_S(3 * d), GY_INIT_ZEROS);
    gy_pop(m);
    gy_t key = e->positions_only ? gy_broadcast_to(pos, gy_shape_of(memory)) : gy_add(memory, pos);
    gy_t q = projected(gy_add(gy_nn_layernorm(m, "norm1", target), query), w, bias, 0, e->heads); /* [B, Q, H, D] */
    gy_t k = projected(key, w, bias, 1, e->heads), v = projected(memory, w, bias, 2, e->heads);   /* [B, T, H, D] */
    if (weights) *weights = gy_mean(gy_attention_weights(q, k, v), GY_AXES(1));                   /* [B, Q, T] */
    gy_t z = gy_reshape(gy_attention(q, k, v), b, n, d);
    z = gy_nn_linear(m, "multihead_attn.out_proj", z, d, .init = xavier, .bias_init = {GY_INIT_ZEROS});
    gy_t t = gy_add(target, gy_nn_dropout(m, "dropout2", z, e->dropout));
    gy_t h =
        gy_relu(gy_nn_linear(m, "linear1", gy_nn_layernorm(m, "norm3", t), e->inner, .init = xavier)); /* [B, Q, f] */
    h = gy_nn_linear(m, "linear2", gy_nn_dropout(m, "dropout", h, e->dropout), d, .init = xavier);
    return gy_add(t, gy_nn_dropout(m, "dropout3", h, e->dropout));
}

static gy_t index_const(gy_graph *g, int64_t n, int64_t *data) {
    gy_tensor t = {.dtype = GY_I64, .shape = GY_S(n), .data = data, .borrowed = true};
    return gy_const(g, &t);
}

gy_t gy_grouped_linear(gy_mod *m, const char *name, gy_t x, int64_t outputs, const int64_t *group) {
    gy_ctx *ctx = gy_graph_ctx(m->g);
    int64_t queries = gy_dim(x, 1), d = gy_dim(x, 2), b = gy_dim(x, 0), filled = 0, parts = 0;
    gy_push(m, "%s", name);
    double bound = 1 / sqrt((double)d);
    gy_t w = gy_param(m, "weight", GY_S(outputs, d), GY_INIT_UNIFORM, bound);
    gy_t bias = gy_param(m, "bias", GY_S(outputs), GY_INIT_UNIFORM, bound);
    gy_pop(m);
    int64_t *order = gy_calloc(ctx, (size_t)(2 * outputs), sizeof *order), *place = order + outputs;
    gy_t *y = gy_calloc(ctx, (size_t)queries, sizeof *y);
    bool sorted = true;
    if (!order || !y) {
        gy_free(ctx, order);
        gy_free(ctx, y);
        return gy_poison(m->g, GY_HERE, "%s", gy_error(ctx));
    }
    for (int64_t q = 0; q < queries; q++)
        for (int64_t v = 0; v < outputs; v++) {
            if (group[v] != q) continue;
            sorted = sorted && v == filled;
            place[v] = filled;
            order[filled++] = v;
        }
    gy_t rows = sorted ? w : gy_gather(w, index_const(m->g, outputs, order), 0); /* outputs of a query side by side */
    for (int64_t q = 0, first = 0; q < queries && filled == outputs; q++) {
        int64_t end = first;
        while (end < outputs && group[order[end]] == q) end++;
        if (end == first) continue;
        gy_t token = gy_reshape(gy_slice(x, 1, q, q + 1), b, d);
        y[parts++] = gy_linear(token, gy_slice(rows, 0, first, end), GY_NONE); /* [B, outputs of q] */
        first = end;
    }
    gy_t out = filled == outputs && parts ? gy_concat(1, parts, y)
                                          : gy_poison(m->g, GY_HERE, "grouped linear: an output belongs to no query");
    if (!sorted && filled == outputs) out = gy_gather(out, index_const(m->g, outputs, place), 1);
    gy_free(ctx, order);
    gy_free(ctx, y);
    return gy_add(out, bias);
}
