/* BrainMAE: a masked autoencoder of region time series in which every region has an embedding, as every word has in a
 * language model.
 *
 * Yang, Mao, Wang, Li et al.: "BrainMAE: A Region-aware Self-supervised Learning Framework for Brain Signals", 2024,
 * arXiv:2406.17086.
 *
 * A scan is cut into segments. Attention between regions inside a segment is decided by the regions' embeddings alone
 * (the static graph: one matrix for all scans), or by the signal too (the adaptive graph); it turns a segment into one
 * vector, the transient state. A transformer sees the states of a third of the segments and must draw the others,
 * region by region; the head that draws knows from the embedding alone which region it is drawing. The claim:
 * embeddings of regions of one network become alike although nobody names networks, and states learned without labels
 * tell scans apart by the ORDER of what happens in them, where connectivity cannot.
 *
 * No official code was found. Inferred, then, beside the sizes: the pooling, eq. (4), in which a region's embedding
 * enters score and value (a sum over regions that knows no names could not say WHICH network is active); norms after
 * each part of a graph block, before each part of the transformers; positions; the loss's lambda.
 *
 * The miniature departs from the paper in one thing: its steps of fine-tuning leave segments out as pretraining did
 * (tune_mask; evaluation sees whole scans). The encoder has never met more than the seen segments of a scan, and whole
 * scans with few labels are learned by heart: see the figures beside the claim. */
#include "brainmae.h"
#include "../blocks/encoder.h"
#include "../blocks/options.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- configurations ---- */

static const gy_option options[] = {
    TEXT(stage, "what the inference graph answers: class or rebuild"),
    TEXT(encoder, "of transient states: static or adaptive graph"),
    INT(rois, 2, 1e5, "regions"),
    INT(samples, 2, 1 << 20, "samples of a scan"),
    INT(segment, 1, 1 << 16, "samples of a segment"),
    INT(width, 2, 1 << 14, "of node features and states"),
    INT(roi_width, 2, 1 << 14, "of a region's embedding"),
    INT(heads, 1, 64, "attention heads"),
    INT(blocks, 1, 64, "graph blocks"),
    INT(layers, 1, 64, "layers of the sequence encoder"),
    INT(decoder_layers, 0, 64, "layers of the decoder"),
    INT(classes, 2, 1 << 16, "classes of scans"),
    REAL(mask, 0.01, 0.99, "share of hidden segments"),
    REAL(tune_mask, 0, 0.99, "share of segments left out in steps of fine-tuning"),
    REAL(lambda, 0, 1, "weight of hidden segments in the loss"),
    REAL(drop, 0, 0.95, "dropout in the transformers"),
    REAL(weight_decay, 0, 1, "of matrices"),
    INT(pretrain_steps, 0, 1e9, "steps of masked pretraining"),
    INT(tune_steps, 0, 1e9, "steps of fine-tuning"),
    INT(batch, 1, 4096, "scans of a step"),
    REAL(lr, 0, 10, "largest learning rate of pretraining"),
    REAL(tune_lr, 0, 10, "the same of fine-tuning"),
    REAL(encoder_factor, 1e-6, 10, "rate of everything but the new head, a share of it"),
    REAL(warmup, 1e-6, 0.9, "share of the steps in which rates rise"),
    INT(scans, 2, 1e7, "generated scans without label"),
    INT(train, 2, 1e6, "generated labelled scans"),
    INT(tests, 2, 1e6, "generated held-out scans"),
    REAL(strength, 0, 100, "activity of an active network"),
    REAL(noise, 0, 100, "standard deviation of a region's own noise"),
    REAL(rate, 0, 1e5, "samples a second that recordings are brought to; 0: their own"),
    REAL(from, -1e3, 1e3, "start of a recording's labelled window, s after its event"),
    {NULL}};

/* The miniature. */
static const config tiny = {.stage = "class",
                            .encoder = "static",
                            .rois = 20,
                            .samples = 160,
                            .segment = 8,
                            .width = 32,
                            .roi_width = 32,
                            .heads = 4,
                            .blocks = 2,
                            .layers = 2,
                            .decoder_layers = 1,
                            .classes = 2,
                            .mask = 0.7,
                            .tune_mask = 0.7,
                            .lambda = 0.75,
                            .drop = 0,
                            .weight_decay = 0.01,
                            .pretrain_steps = 600,
                            .tune_steps = 1000,
                            .batch = 16,
                            .lr = 5e-3,
                            .tune_lr = 6e-3,
                            .encoder_factor = 0.5,
                            .warmup = 0.3,
                            .scans = 512,
                            .train = 48,
                            .tests = 300,
                            .strength = 2,
                            .noise = 0.5,
                            .rate = 128,
                            .from = -0.5};
/* 100 Schaefer regions, 300 volumes in 20 segments; widths and depths are our choice within what the paper allows. */
static const config paper = {.stage = "class",
                             .encoder = "static",
                             .rois = 100,
                             .samples = 300,
                             .segment = 15,
                             .width = 512,
                             .roi_width = 512,
                             .heads = 8,
                             .blocks = 3,
                             .layers = 4,
                             .decoder_layers = 2,
                             .classes = 2,
                             .mask = 0.7,
                             .lambda = 0.75,
                             .drop = 0.1,
                             .weight_decay = 0.05,
                             .pretrain_steps = 100000,
                             .tune_steps = 5000,
                             .batch = 32,
                             .lr = 3e-4,
                             .tune_lr = 1e-4,
                             .encoder_factor = 0.1,
                             .warmup = 0.1,
                             .scans = 64,
                             .train = 32,
                             .tests = 32,
                             .strength = 2,
                             .noise = 0.5,
                             .rate = 0,
                             .from = 0};
static const gy_config configs[] = {{"tiny", "20 generated regions in four networks, 20 segments of 8 samples", &tiny},
                                    {"paper", "100 regions, 300 volumes in 20 segments, width 512", &paper},
                                    {NULL}};

int64_t gy_brainmae_segments(const config *c) {
    return c->samples / c->segment;
}

int64_t gy_brainmae_seen(const config *c, int64_t phase) {
    int64_t k = gy_brainmae_segments(c), hidden = (int64_t)((phase ? c->tune_mask : c->mask) * (double)k + 0.5);
    return hidden < 1 && !phase ? k - 1 : hidden >= k ? 1 : k - hidden;
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (strcmp(c->stage, "class") != 0 && strcmp(c->stage, "rebuild") != 0)
        return gy_fail(ctx, GY_ERR_USAGE, "brainmae: stage='%s': expected class or rebuild", c->stage);
    if (strcmp(c->encoder, "static") != 0 && strcmp(c->encoder, "adaptive") != 0)
        return gy_fail(ctx, GY_ERR_USAGE, "brainmae: encoder='%s': expected static or adaptive", c->encoder);
    if (c->samples % c->segment || gy_brainmae_segments(c) < 2)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "brainmae: samples=%" PRId64 ", segment=%" PRId64 ": expected two or more whole segments",
                       c->samples, c->segment);
    if (c->width % c->heads)
        return gy_fail(ctx, GY_ERR_USAGE, "brainmae: width=%" PRId64 " is no multiple of heads=%" PRId64, c->width,
                       c->heads);
    return GY_OK;
}

sizes gy_brainmae_sizes(const gy_build *b) {
    const config *c = b->cfg;
    sizes s = {c->rois, c->classes};
    if (b->job) {
        const lab *d = b->job->data;
        return (sizes){d->rois, d->classes};
    }
    const gy_state *e = gy_state_find(b->m->store, "roi_embedding"),
                   *h = gy_state_find(b->m->store, "classifier.weight");
    if (e) s.rois = e->value.shape.dim[0];
    if (h) s.classes = h->value.shape.dim[0];
    return s;
}

/* ---- one segment to one state ---- */

/* Eq. (2): the static graph of block l: [1, H, N, N], a function of the embeddings E [N, d_e] alone */
static gy_t graph_of(gy_mod *m, const config *c, int64_t l, gy_t e) {
    int64_t n = gy_dim(e, 0), w = c->width / c->heads;
    gy_t q = gy_reshape(gy_nn_linear(m, "q", e, c->width), n, c->heads, w); /* [N, H, w] */
    gy_t k = gy_reshape(gy_nn_linear(m, "k", e, c->width), n, c->heads, w);
    gy_t s = gy_matmul(gy_permute(q, 1, 0, 2), gy_permute(k, 1, 2, 0)); /* [H, N, N] */
    gy_t a = gy_softmax(gy_scale(s, 1 / sqrt((double)w)), -1);
    return gy_unsqueeze(gy_point(m, "graph", l, a), 0);
}

/* Eq. (3): a block on node features h [S, N, d] -> [S, N, d] */
static gy_t static_block(gy_mod *m, const config *c, int64_t l, gy_t e, gy_t h) {
    int64_t s = gy_dim(h, 0), n = gy_dim(h, 1), d = c->width, w = d / c->heads;
    gy_push(m, "graph.%d", (int)l);
    gy_t v = gy_permute(gy_reshape(gy_nn_linear(m, "v", h, d), s, n, c->heads, w), 0, 2, 1, 3); /* [S, H, N, w] */
    gy_t y = gy_permute(gy_matmul(graph_of(m, c, l, e), v), 0, 2, 1, 3);                        /* [S, N, H, w] */
    y = gy_nn_layernorm(m, "norm1", gy_add(h, gy_nn_linear(m, "out", gy_reshape(y, s, n, d), d)));
    gy_t f = gy_nn_linear(m, "fc2", gy_gelu(gy_nn_linear(m, "fc1", y, 2 * d)), d);
    y = gy_nn_layernorm(m, "norm2", gy_add(y, f));
    gy_pop(m);
    return y;
}

/* Segments x [B, K, tau, N] -> states [B, K, d] */
static gy_t transient_states(gy_build *b, gy_t e, gy_t x) {
    const config *c = b->cfg;
    gy_mod *m = b->m, root = *m;
    int64_t n = gy_dim(x, 0), k = gy_dim(x, 1), tau = gy_dim(x, 2), rois = gy_dim(x, 3);
    gy_t node = gy_permute(gy_reshape(x, n * k, tau, rois), 0, 2, 1); /* [B K, N, tau] */
    gy_t h = gy_nn_linear(m, "embed", node, c->width);                /* eq. (1): [B K, N, d] */
    int64_t first = 0;
    if (strcmp(c->encoder, "adaptive") == 0) { /* attention between nodes sees the signal too; then one static block */
        gy_encoder layer = {.heads = c->heads, .inner = 2 * c->width};
        h = gy_add(h, gy_nn_linear(m, "embed_roi", e, c->width));
        for (; first < c->blocks - 1; first++) {
            gy_push(m, "adaptive.%d", (int)first);
            h = gy_encoder_layer(m, &root, &layer, first, h, GY_NONE);
            gy_pop(m);
        }
    }
    for (int64_t l = first; l < c->blocks; l++) h = static_block(m, c, l, e, h);
    /* eq. (4): s = sum_i softmax_i(w . u_i) u_i, u_i = y_i + P E_i */
    gy_t u = gy_add(h, gy_nn_linear(m, "pool.roi", e, c->width, .no_bias = true));
    gy_t weight = gy_softmax(gy_nn_linear(m, "pool.score", gy_tanh(u), 1, .no_bias = true), 1); /* [B K, N, 1] */
    return gy_reshape(gy_sum(gy_mul(weight, u), GY_AXES(1)), n, k, c->width);
}

/* ---- sequences of states ---- */

static gy_t transformer(gy_mod *m, const config *c, const char *name, int64_t layers, gy_t x) {
    gy_encoder layer = {.heads = c->heads, .pre_norm = true, .drop_inner = c->drop, .drop_out = c->drop};
    gy_push(m, "%s", name);
    gy_mod root = *m;
    for (int64_t l = 0; l < layers; l++) {
        gy_push(m, "%d", (int)l);
        x = gy_encoder_layer(m, &root, &layer, l, x, GY_NONE);
        gy_pop(m);
    }
    x = gy_nn_layernorm(m, "norm", x);
    gy_pop(m);
    return x;
}

/* Positions of segments [K, d], sines and a learned part; without them (an ablation) a scan is a bag of states. */
static gy_t positions(gy_build *b, const char *name) {
    const config *c = b->cfg;
    int64_t k = gy_brainmae_segments(c);
    gy_t p = gy_param(b->m, name, GY_S(k, c->width), GY_INIT_NORMAL, 0.02);
    p = gy_add(p, gy_sine_table(b->m, k, c->width));
    return gy_ablates(b->ablate, "position") ? gy_scale(p, 0) : p;
}

/* Rows index [B, J] of x [B, K, d] -> [B, J, d] */
static gy_t pick(gy_t x, gy_t index) {
    int64_t n = gy_dim(x, 0), k = gy_dim(x, 1), d = gy_dim(x, 2);
    gy_t first = gy_mul(gy_reshape(gy_iota(x.g, GY_I64, n), n, 1), gy_full(x.g, GY_I64, GY_S(1, 1), (double)k));
    return gy_gather(gy_reshape(x, n * k, d), gy_add(index, first), 0);
}

static gy_t roi_embedding(gy_mod *m, const config *c, int64_t rois) {
    return gy_param(m, "roi_embedding", GY_S(rois, c->roi_width), GY_INIT_NORMAL, 0.5);
}

/* The states of a scan's segments with their context: x [B, T, N] -> [B, K, d]; of the segments seen [B, J] alone:
 * [B, J, d]. GY_NONE: all are seen. */
static gy_t encode(gy_build *b, gy_t x, gy_t seen) {
    const config *c = b->cfg;
    bool all = gy_is_none(seen);
    int64_t n = gy_dim(x, 0), rois = gy_dim(x, 2), k = gy_brainmae_segments(c), j = all ? k : gy_dim(seen, 1);
    gy_t shown = gy_reshape(x, n, k, c->segment * rois), where = positions(b, "positions");
    if (!all) {
        shown = pick(shown, seen); /* [B, J, tau N] */
        where = gy_gather(where, seen, 0);
    }
    gy_t s = transient_states(b, roi_embedding(b->m, c, rois), gy_reshape(shown, n, j, c->segment, rois));
    s = gy_add(gy_tap(b->m, "states", s), where); /* [B, J, d] */
    return transformer(b->m, c, "encoder", c->layers, s);
}

/* Eq. (5), (6): all segments drawn from the seen ones. x [B, T, N], seen [B, J], place [B, K] -> [B, K, N, tau] */
static gy_t rebuild(gy_build *b, gy_t x, gy_t seen, gy_t place) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    int64_t n = gy_dim(x, 0), rois = gy_dim(x, 2), k = gy_brainmae_segments(c), d = c->width;
    gy_t s = encode(b, x, seen), e = roi_embedding(m, c, rois);
    gy_t blank = gy_broadcast_to(gy_param(m, "mask_token", GY_S(1, 1, d), GY_INIT_NORMAL, 0.02), GY_S(n, 1, d));
    gy_t all = gy_add(pick(gy_concat2(1, s, blank), place), positions(b, "decoder_positions")); /* [B, K, d] */
    all = transformer(m, c, "decoder", c->decoder_layers, all);
    /* the head's first layer on [E_i; s_k] is a sum of two products */
    gy_t of_state = gy_reshape(gy_nn_linear(m, "head.state", all, 2 * d), n, k, 1, 2 * d);
    gy_t of_roi = gy_reshape(gy_nn_linear(m, "head.roi", e, 2 * d, .no_bias = true), 1, 1, rois, 2 * d);
    if (gy_ablates(b->ablate, "region")) of_roi = gy_scale(of_roi, 0);
    gy_t h = gy_gelu(gy_add(of_state, of_roi)); /* [B, K, N, 2d] */
    return gy_nn_linear(m, "head.out", h, c->segment);
}

/* ---- graphs ---- */

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_graph *g = b->m->g;
    sizes s = gy_brainmae_sizes(b);
    int64_t k = gy_brainmae_segments(c);
    gy_t x = gy_input(g, "scan", GY_F32, GY_S(b->batch, c->samples, s.rois));
    if (strcmp(c->stage, "rebuild") == 0) {
        gy_t seen = gy_input(g, "seen", GY_I64, GY_S(b->batch, gy_brainmae_seen(c, 0)));
        gy_t y = rebuild(b, x, seen, gy_input(g, "place", GY_I64, GY_S(b->batch, k)));
        y = gy_permute(y, 0, 1, 3, 2); /* [B, K, tau, N] */
        gy_output(gy_reshape(y, b->batch, c->samples, s.rois), "rebuilt");
    } else {
        gy_t h = encode(b, x, GY_NONE); /* [B, K, d] */
        gy_output(h, "states");
        gy_t z = gy_nn_linear(b->m, "classifier", gy_mean(h, GY_AXES(1)), s.classes); /* eq. (8) */
        gy_output(z, "logits");
        gy_output(gy_softmax(z, -1), "probabilities");
    }
}

static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_graph *g = b->m->g;
    sizes s = gy_brainmae_sizes(b);
    int64_t n = c->batch, k = gy_brainmae_segments(c);
    gy_t x = gy_input(g, "scan", GY_F32, GY_S(n, c->samples, s.rois)), loss;
    gy_optim_group groups[] = {{"classifier."}, {"", c->encoder_factor}};
    if (b->phase == 0) {
        gy_t mask = gy_input(g, "mask", GY_F32, GY_S(n, k));
        gy_t seen = gy_input(g, "seen", GY_I64, GY_S(n, gy_brainmae_seen(c, 0)));
        gy_t y = rebuild(b, x, seen, gy_input(g, "place", GY_I64, GY_S(n, k)));
        gy_t want = gy_permute(gy_reshape(x, n, k, c->segment, s.rois), 0, 1, 3, 2); /* [B, K, N, tau] */
        gy_t error = gy_mean(gy_square(gy_sub(y, want)), GY_AXES(2, 3));             /* [B, K] */
        gy_t hidden = gy_div(gy_sum(gy_mul(error, mask), GY_ALL), gy_sum(mask, GY_ALL));
        gy_t rest = gy_sub(gy_scalar(mask, 1), mask);
        gy_t visible = gy_div(gy_sum(gy_mul(error, rest), GY_ALL), gy_sum(rest, GY_ALL));
        loss = gy_add(gy_scale(hidden, c->lambda), gy_scale(visible, 1 - c->lambda)); /* eq. (7) */
    } else {
        gy_t label = gy_input(g, "label", GY_I64, GY_S(n));
        gy_t seen = gy_input(g, "seen", GY_I64, GY_S(n, gy_brainmae_seen(c, 1)));
        gy_t h = gy_mean(encode(b, x, seen), GY_AXES(1));
        gy_t z = gy_nn_linear(b->m, "classifier", h, s.classes);
        loss = gy_cross_entropy(z, label);
    }
    gy_output(loss, "loss");
    gy_optim_adamw(g, b->m->store, loss, .name = b->phase ? "tune" : "optim", .weight_decay = c->weight_decay,
                   .decays = gy_decays_matrices, .clip_norm = 1, .n_groups = b->phase ? 2 : 0, .groups = groups);
}

/* ---- the definition ---- */

static const char *const equations[] = {
    "eq. (1): h\u1d62 = W x\u1d62 for region i's samples of a segment",
    "eq. (2): A = softmax((E W_q)(E W_k)\u1d40 / \u221aw), the same for every segment and scan",
    "eq. (3): y = LN(h + W_o A (h W_v)), h \u2190 LN(y + MLP(y)), block after block",
    "eq. (4): s = \u03a3\u1d62 softmax\u1d62(w \u00b7 tanh u\u1d62) u\u1d62, u\u1d62 = y\u1d62 + P E\u1d62",
    "eq. (5): \u015d = decoder(encoder(seen s\u2096 + p\u2096), mask token elsewhere, positions)",
    "eq. (6): x\u0302\u1d62\u2096 = MLP([E\u1d62; \u015d\u2096])",
    "eq. (7): L = \u03bb MSE(hidden) + (1 \u2212 \u03bb) MSE(seen)",
    "eq. (8): class = softmax(W mean\u2096 encoder(s)\u2096)",
    NULL};

static const char *const ablations[] = {"region - the head that draws does not know the region",
                                        "position - segments have no positions",
                                        "scratch - fine-tuning starts from untrained weights", NULL};

const gy_model_def gy_model_brainmae = {
    .slug = "brainmae",
    .family = "electrophysiology",
    .title = "Masked autoencoding of region time series with region embeddings",
    .cite = "Y. Yang, Y. Mao et al., 2024, arXiv:2406.17086",
    .job = "a scan as time series of regions -> states of its segments, the hidden segments drawn, and a class of scan",
    .year = 2024,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .check = check,
    .build = build,
    .objective = objective,
    .phases = gy_brainmae_phases,
    .phase_of = gy_brainmae_phase_of,
    .open = gy_brainmae_open,
    .close = gy_brainmae_close,
    .batch = gy_brainmae_batch,
    .lr = gy_brainmae_rate,
    .evaluate = gy_brainmae_evaluate,
    .panels = gy_brainmae_panels,
    .claim = gy_brainmae_claim,
};
