/* DINOv2's vision transformer. */
#include "dinov2.h"

#include <math.h>
#include <string.h>

static const gy_vit_names names = {.norm1 = "norm1",
                                   .q = "attention.attention.query",
                                   .k = "attention.attention.key",
                                   .v = "attention.attention.value",
                                   .out = "attention.output.dense",
                                   .norm2 = "norm2",
                                   .fc1 = "mlp.fc1",
                                   .fc2 = "mlp.fc2",
                                   .scale1 = "layer_scale1.lambda1",
                                   .scale2 = "layer_scale2.lambda1"};

const gy_weight_rule gy_dinov2_rules[] = {
    {"backbone.*", "*"},
    {"backbone.encoder.layer.*.attention.attention.query.weight", "encoder.layer.*.attention.q_proj.weight"},
    {"backbone.encoder.layer.*.attention.attention.query.bias", "encoder.layer.*.attention.q_proj.bias"},
    {"backbone.encoder.layer.*.attention.attention.key.weight", "encoder.layer.*.attention.k_proj.weight"},
    {"backbone.encoder.layer.*.attention.attention.key.bias", "encoder.layer.*.attention.k_proj.bias"},
    {"backbone.encoder.layer.*.attention.attention.value.weight", "encoder.layer.*.attention.v_proj.weight"},
    {"backbone.encoder.layer.*.attention.attention.value.bias", "encoder.layer.*.attention.v_proj.bias"},
    {"backbone.encoder.layer.*.attention.output.dense.weight", "encoder.layer.*.attention.o_proj.weight"},
    {"backbone.encoder.layer.*.attention.output.dense.bias", "encoder.layer.*.attention.o_proj.bias"},
    {"backbone.embeddings.cls_token", "cls_token"},
    {"backbone.embeddings.position_embeddings", "pos_embed"},
    {"backbone.embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"},
    {"backbone.encoder.layer.*.attention.attention.query.weight", "blocks.*.attn.qkv.weight", 0, 3},
    {"backbone.encoder.layer.*.attention.attention.query.bias", "blocks.*.attn.qkv.bias", 0, 3},
    {"backbone.encoder.layer.*.attention.attention.key.weight", "blocks.*.attn.qkv.weight", 1, 3},
    {"backbone.encoder.layer.*.attention.attention.key.bias", "blocks.*.attn.qkv.bias", 1, 3},
    {"backbone.encoder.layer.*.attention.attention.value.weight", "blocks.*.attn.qkv.weight", 2, 3},
    {"backbone.encoder.layer.*.attention.attention.value.bias", "blocks.*.attn.qkv.bias", 2, 3},
    {"backbone.encoder.layer.*.attention.output.dense.weight", "blocks.*.attn.proj.weight"},
    {"backbone.encoder.layer.*.attention.output.dense.bias", "blocks.*.attn.proj.bias"},
    {"backbone.encoder.layer.*.layer_scale1.lambda1", "blocks.*.ls1.gamma"},
    {"backbone.encoder.layer.*.layer_scale2.lambda1", "blocks.*.ls2.gamma"},
    {"backbone.encoder.layer.*", "blocks.*"}, /* norm1, norm2, mlp */
    {0},
};

/* The cubic kernel at distance x. */
static double cubic(double x) {
    const double a = -0.75;
    x = fabs(x);
    if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

void gy_cubic_weights(int64_t n, int64_t out, float *w) {
    memset(w, 0, (size_t)(n * out) * sizeof *w);
    for (int64_t o = 0; o < out; o++) {
        double at = ((double)o + 0.5) * (double)n / (double)out - 0.5, base = floor(at);
        for (int64_t k = -1; k <= 2; k++) {
            int64_t i = (int64_t)base + k, in = i < 0 ? 0 : i >= n ? n - 1 : i;
            w[o * n + in] += (float)cubic(at - base - (double)k);
        }
    }
}

static gy_t float_const(gy_graph *g, gy_shape shape, float *data) {
    gy_tensor t = {.dtype = GY_F32, .shape = shape, .data = data, .borrowed = true};
    return gy_const(g, &t);
}

/* The table of grid x grid positions as rows x cols: [1, 1 + grid grid, d] -> [1, 1 + rows cols, d] */
static gy_t positions(gy_t table, int64_t grid, int64_t rows, int64_t cols) {
    gy_ctx *ctx = gy_graph_ctx(table.g);
    int64_t d = gy_dim(table, 2);
    if (rows == grid && cols == grid) return table;
    float *w = gy_calloc(ctx, (size_t)(rows + cols), (size_t)grid * sizeof *w);
    if (!w) return gy_poison(table.g, GY_HERE, "%s", gy_error(ctx));
    gy_cubic_weights(grid, rows, w);
    gy_cubic_weights(grid, cols, w + rows * grid);
    gy_t down = float_const(table.g, GY_S(rows, grid), w),
         across = float_const(table.g, GY_S(cols, grid), w + rows * grid);
    gy_free(ctx, w);
    gy_t map = gy_reshape(gy_slice(table, 1, 1, 1 + grid * grid), grid, grid * d);
    map = gy_reshape(gy_matmul(down, map), rows, grid, d); /* [rows, grid, d] */
    map = gy_reshape(gy_matmul(across, map), 1, rows * cols, d);
    return gy_concat2(1, gy_slice(table, 1, 0, 1), map);
}

const gy_dinov2 gy_dinov2_base = {GY_DINOV2_WIDTH, 12, 12, GY_DINOV2_PATCH, 37};

gy_t gy_dinov2_queries(gy_mod *m, const gy_dinov2 *c, gy_t image) {
    static float mean[] = {0.485f, 0.456f, 0.406f}, sd[] = {0.229f, 0.224f, 0.225f};
    int64_t b = gy_dim(image, 0), rows = gy_dim(image, 1) / c->patch, cols = gy_dim(image, 2) / c->patch, w = c->width;
    gy_t x = gy_div(gy_sub(image, float_const(m->g, GY_S(3), mean)), float_const(m->g, GY_S(3), sd));
    gy_vit_layer layer = {&names, c->heads, 4 * w, GY_ACT_GELU, 1e-6, false};
    gy_push(m, "backbone.embeddings");
    x = gy_nn_conv(m, "patch_embeddings.projection", x, w, .kernel = GY_S(c->patch), .stride = GY_S(c->patch));
    gy_t cls = gy_param(m, "cls_token", GY_S(1, 1, w), GY_INIT_TRUNC_NORMAL, 0.02);
    gy_t table = gy_param(m, "position_embeddings", GY_S(1, 1 + c->grid * c->grid, w), GY_INIT_TRUNC_NORMAL, 0.02);
    gy_pop(m);
    x = gy_concat2(1, gy_broadcast_to(cls, GY_S(b, 1, w)), gy_reshape(x, b, rows * cols, w));
    x = gy_add(x, positions(table, c->grid, rows, cols)); /* [B, 1 + T, w] */
    gy_mod root = *m;
    for (int64_t l = 0; l < c->layers; l++) {
        gy_push(m, "backbone.encoder.layer.%d", (int)l);
        if (l < c->layers - 1)
            x = gy_vit_layer_run(m, &root, &layer, l, x);
        else
            x = gy_nn_linear(m, names.q, gy_nn_layernorm(m, names.norm1, x, .eps = layer.eps), w);
        gy_pop(m);
    }
    return gy_slice(x, 1, 1, 1 + rows * cols);
}
