/* Transformer brain encoders: where does each area of the visual cortex look?
 *
 * Adeli, Sun, Kriegeskorte: "Transformer brain encoders explain human high-level visual responses", NeurIPS 2025,
 * arXiv:2505.17329.
 *
 * An encoding model predicts the response of every place on the cortex from features of the picture seen. Usually a
 * vertex reads fixed places of the feature map. But an area that responds to faces does so wherever the face is. Here
 * each area has a learned query that looks at the whole map, finds what the area cares about, and brings that content
 * to the area's vertices: routing by content. The claims: where areas select categories, routing beats a linear map of
 * all features and a fixed spatial receptive field by far; in early areas, whose vertices each see one place, a query
 * an area is of no use, and a vertex's own receptive field wins.
 *
 *   (1)  F = tokens of a frozen backbone: the query vectors of its last block, heads side by side
 *   (2)  u = MHA(q = LN1(t) + Q, k = F + pos, v = F),  t = 0 at first;  t <- t + u
 *   (3)  t <- t + W2 relu(W1 LN3(t));  t <- LN(t)                one query Q a row: t_a is what area a has gathered
 *   (4)  y_v = W_v . t_area(v) + b_v                             each vertex reads its own area's token
 *   (5)  L = mean (y - response)^2, left and right hemisphere added
 *   spatial-feature baseline: y_v = sum_t softmax(s_v)_t (W_v . F_t) + b_v
 *
 * Names are those of the official code's checkpoints; what it builds and never runs (self-attention, norm2,
 * memory_proj) is left out and skipped when such a file is loaded. Of the backbone's last block only the queries are
 * read: what comes after them (6,497,280 parameters), the last norm and the mask token are no part of the graph, so
 * that the backbone of the paper's configuration counts 80,080,896 of ViT-B/14's 86,580,480.
 *
 * Inferred: the world of the miniature. Data are in brain-encoder-transformer_data.c, what is measured and claimed
 * in brain-encoder-transformer_claim.c. */
#include "brain-encoder-transformer.h"
#include "../blocks/detr.h"
#include "../blocks/dinov2.h"
#include "../blocks/options.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- configurations ---- */

static const gy_option options[] = {TEXT(model, "attention, or spatial: a fixed receptive field"),
                                    TEXT(readout, "areas or vertices: what has a query (a receptive field) of its own"),
                                    TEXT(backbone, "none: tokens are given; dinov2: pictures are (ViT-B/14, frozen)"),
                                    INT(grid, 1, 512, "tokens on a side of the map"),
                                    INT(width, 4, 1 << 16, "features of a token"),
                                    INT(heads, 1, 256, "attention heads"),
                                    INT(inner, 1, 1 << 16, "width of the MLP"),
                                    INT(areas, 1, MAX_AREAS / 2, "areas of a hemisphere"),
                                    INT(hemispheres, 1, 2, "1 or 2, with queries and readouts of their own"),
                                    INT(left, 1, 1e6, "vertices of the left (or the only) hemisphere"),
                                    INT(right, 0, 1e6, "vertices of the right one"),
                                    INT(batch, 1, 4096, "samples a step"),
                                    INT(steps, 1, 1e9, "steps"),
                                    INT(train, 2, 1e7, "generated samples to train on"),
                                    INT(valid, 0, 1e7, "generated samples that choose the ridge's penalty"),
                                    INT(test, 2, 1e7, "generated samples held out"),
                                    REAL(lr, 1e-8, 1, "learning rate of AdamW"),
                                    REAL(weight_decay, 0, 10, "its weight decay"),
                                    REAL(clip, 0, 1e6, "largest norm of the gradient; 0: no clipping"),
                                    REAL(dropout, 0, 0.95, "in the decoder"),
                                    {NULL}};

/* The miniature. */
static const config tiny = {.model = "attention",
                            .readout = "areas",
                            .backbone = "none",
                            .grid = 8,
                            .width = 32,
                            .heads = 4,
                            .inner = 64,
                            .areas = 5,
                            .hemispheres = 1,
                            .left = 125,
                            .batch = 64,
                            .steps = 940,
                            .train = 2000,
                            .valid = 400,
                            .test = 1000,
                            .lr = 2e-3,
                            .weight_decay = 1e-4,
                            .clip = 0.1};
/* The official code's defaults for subject 1 of the Algonauts 2023 set: 8 areas a hemisphere, 15 epochs of about 8,850
 * pictures. Generated pictures stand in for them. */
static const config paper = {.model = "attention",
                             .readout = "areas",
                             .backbone = "dinov2",
                             .grid = 31,
                             .width = 768,
                             .heads = 16,
                             .inner = 1024,
                             .areas = 8,
                             .hemispheres = 2,
                             .left = 19004,
                             .right = 20544,
                             .batch = 16,
                             .steps = 15 * 553,
                             .train = 24,
                             .test = 8,
                             .lr = 5e-4,
                             .weight_decay = 1e-4,
                             .clip = 0.1,
                             .dropout = 0.1};
static const gy_config configs[] = {
    {"tiny", "maps of 8 x 8 tokens, 125 vertices in 5 areas", &tiny},
    {"paper", "DINOv2 ViT-B/14 on 434 x 434 pixels, 39,548 vertices in 16 areas", &paper},
    {NULL}};

bool gy_encoder_is(const char *a, const char *b) {
    return strcmp(a, b) == 0;
}
#define is gy_encoder_is

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (!is(c->model, "attention") && !is(c->model, "spatial"))
        return gy_fail(ctx, GY_ERR_USAGE, "brain-encoder-transformer: model='%s': expected attention or spatial",
                       c->model);
    if (!is(c->readout, "areas") && !is(c->readout, "vertices"))
        return gy_fail(ctx, GY_ERR_USAGE, "brain-encoder-transformer: readout='%s': expected areas or vertices",
                       c->readout);
    if (!is(c->backbone, "none") && !is(c->backbone, "dinov2"))
        return gy_fail(ctx, GY_ERR_USAGE, "brain-encoder-transformer: backbone='%s': expected none or dinov2",
                       c->backbone);
    if (is(c->backbone, "dinov2") && c->width != GY_DINOV2_WIDTH)
        return gy_fail(ctx, GY_ERR_USAGE, "brain-encoder-transformer: width=%" PRId64 ": dinov2 gives %d features",
                       c->width, GY_DINOV2_WIDTH);
    if (c->width % 4 || c->width % c->heads)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "brain-encoder-transformer: width=%" PRId64 ": expected a multiple of 4 and of heads=%" PRId64,
                       c->width, c->heads);
    if ((c->right > 0) != (c->hemispheres == 2))
        return gy_fail(ctx, GY_ERR_USAGE, "brain-encoder-transformer: hemispheres=%" PRId64 " with right=%" PRId64,
                       c->hemispheres, c->right);
    return GY_OK;
}

/* ---- sizes: of the open data, else of the configuration ---- */

typedef struct sizes {
    int64_t grid, width, vertices[2], areas; /* areas of a hemisphere */
    int64_t *area[2];                        /* of each vertex, within its hemisphere; owned by the graph's arena */
} sizes;

/* Vertices without data belong to areas of equal size, one after another. */
static sizes sizes_of(const gy_build *b, int64_t *room) {
    const config *c = b->cfg;
    sizes z = {.grid = c->grid, .width = c->width, .vertices = {c->left, c->right}, .areas = c->areas};
    const set *d = b->job ? &((const lab *)b->job->data)->data : NULL;
    if (d && is(c->backbone, "none")) z.grid = (int64_t)(sqrt((double)d->tokens) + 0.5), z.width = d->width;
    if (d) z.vertices[0] = d->vertices - c->right, z.areas = d->areas / c->hemispheres;
    z.area[0] = room;
    z.area[1] = room + z.vertices[0];
    for (int64_t v = 0; v < z.vertices[0] + z.vertices[1]; v++) {
        int h = v >= z.vertices[0];
        int64_t i = v - h * z.vertices[0];
        z.area[h][i] = d ? d->area[v] - h * z.areas : i * z.areas / z.vertices[h];
    }
    return z;
}

/* ---- the model ---- */

/* Eq. (1): tokens [B, T, d], from an input "tokens", or from pictures by the frozen backbone. */
static gy_t features(gy_build *b, const sizes *z) {
    gy_graph *g = b->m->g;
    if (is(((const config *)b->cfg)->backbone, "none"))
        return gy_input(g, "tokens", GY_F32, GY_S(b->batch, z->grid * z->grid, z->width));
    int64_t side = z->grid * GY_DINOV2_PATCH;
    gy_t image = gy_input(g, "image", GY_F32, GY_S(b->batch, side, side, 3));
    return gy_stop(gy_dinov2_queries(b->m, &gy_dinov2_base, image));
}

/* Eq. (2), (3): what each of n queries has gathered [B, n, d]; weights [B, n, T] if not NULL */
static gy_t gather_content(gy_build *b, const sizes *z, int64_t n, gy_t f, gy_t *weights) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_tensor table = {0};
    gy_detr_layer layer = {.heads = c->heads,
                           .inner = c->inner,
                           .dropout = c->dropout,
                           .positions_only = gy_ablates(b->ablate, "content")};
    if (gy_detr_positions(gy_graph_ctx(m->g), z->grid, z->grid, z->width, &table) != GY_OK)
        return gy_poison(m->g, GY_HERE, "%s", gy_error(gy_graph_ctx(m->g)));
    gy_t pos = gy_const(m->g, &table); /* [T, d] */
    gy_tensor_free(gy_graph_ctx(m->g), &table);
    gy_push(m, "query_embed");
    gy_t query = gy_param(m, "weight", GY_S(n, z->width), GY_INIT_NORMAL, 1);
    gy_pop(m);
    gy_t t = gy_full(m->g, GY_F32, GY_S(b->batch, n, z->width), 0);
    gy_push(m, "transformer.decoder.layers.0");
    t = gy_detr_decode(m, &layer, t, query, f, pos, weights);
    gy_pop(m);
    return gy_nn_layernorm(m, "transformer.decoder.norm", t);
}

/* Eq. (4), one hemisphere: t [B, Q, d] -> [B, V]. `wrong` (an ablation): once trained, every
 * vertex reads the next area's token. */
static gy_t read_out(gy_build *b, const sizes *z, int h, gy_t t, int64_t *room) {
    const config *c = b->cfg;
    bool wrong = gy_ablates(b->ablate, "mask") && !b->m->train;
    for (int64_t v = 0; v < z->vertices[h]; v++)
        room[v] = is(c->readout, "vertices") ? v : (z->area[h][v] + wrong) % z->areas;
    return gy_grouped_linear(b->m, h ? "rh_embed.0" : "lh_embed.0", t, z->vertices[h], room);
}

/* The spatial-feature baseline of one hemisphere: f [B, T, d] -> [B, V] */
static gy_t spatial(gy_build *b, const sizes *z, int h, gy_t f, int64_t *room) {
    gy_mod *m = b->m;
    int64_t n = is(((const config *)b->cfg)->readout, "vertices") ? z->vertices[h] : z->areas;
    gy_push(m, h ? "spatial_embed_rh" : "spatial_embed");
    gy_t place = gy_softmax(gy_param(m, "weight", GY_S(n, z->grid * z->grid), GY_INIT_ZEROS), -1); /* [n, T] */
    gy_pop(m);
    gy_t pooled = gy_matmul(place, f); /* [B, n, d] */
    if (n == z->vertices[h]) {         /* a receptive field a vertex: an elementwise product does it */
        gy_push(m, h ? "rh_embed.0" : "lh_embed.0");
        gy_t w = gy_param(m, "weight", GY_S(n, z->width), GY_INIT_UNIFORM, 1 / sqrt((double)z->width));
        gy_t bias = gy_param(m, "bias", GY_S(n), GY_INIT_ZEROS);
        gy_pop(m);
        return gy_add(gy_sum(gy_mul(pooled, w), GY_AXES(2)), bias);
    }
    return read_out(b, z, h, pooled, room);
}

/* Predicted responses of each hemisphere; the routing map [B, Q, T] of an attention model, if not NULL. */
static void predict(gy_build *b, gy_t y[2], gy_t *weights) {
    const config *c = b->cfg;
    gy_ctx *ctx = gy_graph_ctx(b->m->g);
    int64_t all = b->job ? ((const lab *)b->job->data)->data.vertices : c->left + c->right;
    int64_t *room = gy_calloc(ctx, (size_t)(2 * all), sizeof *room);
    y[0] = y[1] = GY_NONE;
    if (!room) {
        y[0] = gy_poison(b->m->g, GY_HERE, "%s", gy_error(ctx));
        return;
    }
    sizes z = sizes_of(b, room);
    gy_t f = features(b, &z), t = GY_NONE; /* [B, T, d] */
    int64_t n[2];
    for (int h = 0; h < 2; h++) n[h] = is(c->readout, "vertices") ? z.vertices[h] : h < c->hemispheres ? z.areas : 0;
    if (is(c->model, "attention")) t = gather_content(b, &z, n[0] + n[1], f, weights); /* [B, Q, d] */
    for (int h = 0; h < c->hemispheres; h++) {
        if (is(c->model, "attention"))
            y[h] = read_out(b, &z, h, gy_slice(t, 1, h ? n[0] : 0, h ? n[0] + n[1] : n[0]), room + all);
        else
            y[h] = spatial(b, &z, h, f, room + all);
    }
    gy_free(ctx, room);
}

static void build(gy_build *b) {
    gy_t y[2], weights = GY_NONE;
    predict(b, y, &weights);
    gy_output(gy_is_none(y[1]) ? y[0] : gy_concat2(1, y[0], y[1]), "response"); /* [B, V] left, then right */
    if (!gy_is_none(weights)) gy_output(weights, "attention");                  /* [B, Q, T] mean over heads */
}

static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_t y[2], loss = GY_NONE;
    predict(b, y, NULL);
    int64_t left = gy_dim(y[0], 1), all = left + (gy_is_none(y[1]) ? 0 : gy_dim(y[1], 1));
    gy_t target = gy_input(b->m->g, "target", GY_F32, GY_S(b->batch, all));
    for (int h = 0; h < c->hemispheres; h++) { /* eq. (5) */
        gy_t own = gy_slice(target, 1, h ? left : 0, h ? all : left), part = gy_mse(y[h], own, GY_LOSS_MEAN);
        loss = h ? gy_add(loss, part) : part;
    }
    gy_output(loss, "loss");
    gy_store_freeze(b->m->store, "backbone.", true);
    gy_optim_adamw(b->m->g, b->m->store, loss, .weight_decay = c->weight_decay, .clip_norm = c->clip);
}

static double rate(const gy_job *j, int64_t phase, int64_t step) {
    (void)phase, (void)step;
    return ((const config *)j->cfg)->lr;
}

/* ---- the definition ---- */

static const char *const equations[] = {
    "(1) F = query vectors of the backbone's last block",
    "(2) t = MHA(q = LN\u2081(0) + Q, k = F + pos, v = F): one learned query Q an area",
    "(3) t \u2190 LN(t + W\u2082 relu(W\u2081 LN\u2083(t)))",
    "(4) y\u1d65 = W\u1d65 \u00b7 t\u2090 + b\u1d65, a the area of vertex v",
    "(5) L = mean |y - response|\u00b2, summed over hemispheres",
    NULL};

static const char *const ablations[] = {"content - keys are positions alone: each query looks at fixed places",
                                        "mask - once trained, each vertex reads the token of another area", NULL};
static const char *const ignorable[] = {"transformer.decoder.layers.*.self_attn.*",
                                        "transformer.decoder.layers.*.norm2.*", "transformer.memory_proj.*",
                                        GY_DINOV2_IGNORABLE, NULL};

const gy_model_def gy_model_brain_encoder_transformer = {
    .slug = "brain-encoder-transformer",
    .family = "encoding",
    .title = "Transformer brain encoders",
    .cite = "H. Adeli, M. Sun, N. Kriegeskorte, NeurIPS 2025, arXiv:2505.17329",
    .job = "A picture (or the tokens a vision model makes of it) -> the response of every vertex of the visual cortex, "
           "and a "
           "map of where each area looks",
    .year = 2025,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .ignorable = ignorable,
    .weights = gy_dinov2_rules,
    .check = check,
    .build = build,
    .objective = objective,
    .open = gy_encoder_open,
    .close = gy_encoder_close,
    .batch = gy_encoder_batch,
    .lr = rate,
    .evaluate = gy_encoder_evaluate,
    .panels = gy_encoder_panels,
    .claim = gy_encoder_claim,
};
