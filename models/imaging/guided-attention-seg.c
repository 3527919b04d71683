/* Multi-scale self-guided attention: segmentation where every pixel can ask every other.
 *
 * Sinha, Dolz: "Multi-scale self-guided attention for medical image segmentation", IEEE JBHI 2020, arXiv:1906.02849.
 *
 * A backbone gives features at several scales; each is refined, together with their fusion, by position attention
 * (which pixels belong together, wherever they are) and channel attention (which features go together), twice in a row.
 * A small encoder-decoder beside them, shared by the scales, guides: its reconstruction gates the attended features,
 * and its latents in both steps are drawn to each other. Every scale is supervised, before and after attention. The
 * claim: with attention a slice is segmented by what is far away, where a local network cannot; in miniature, discs are
 * of one class or the other by a marker on the far side of the picture. Equations are numbered as in this file.
 *
 * Details are the official code's (sinAshish/Multi-Scale-Attention). Departures: the learning rate halves every `halve`
 * steps (the code halves it after about 50 epochs without a better validation score); gains of batch norm start at 1
 * (there N(1, 0.02)). The miniature's backbone is one convolution a stage, so that what a pixel sees by convolution
 * alone ends before the marker. Data are in _data.c; evaluation, claim and report in _claim.c. */
#include "guided-attention-seg.h"
#include "../blocks/options.h"
#include "../blocks/resnet.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- configurations ---- */

static const gy_option options[] = {INT(size, 32, 1024, "pixels of a side, a multiple of 16"),
                                    INT(classes, 2, MAX_CLASSES, "classes, background included"),
                                    INT(channels, 2, 512, "features of each scale, C"),
                                    INT(query, 1, 512, "features of queries and keys"),
                                    INT(stages, 2, 4, "scales"),
                                    INT(fuse, 1, 3, "kernel of the fusion's second convolution, 1 or 3"),
                                    TEXT(backbone, "resnext (ResNeXt-101 32x8d, four stages) or plain"),
                                    TEXT(paths, "what sees far: any of pam,cam,semantic"),
                                    INT(batch, 1, 1024, "slices a step"),
                                    INT(steps, 1, 1e9, "training steps"),
                                    INT(halve, 0, 1e9, "steps after which the learning rate halves; 0: never"),
                                    INT(augment, 0, 1, "1: flips and rotations"),
                                    INT(train, 1, 1e6, "generated training pictures"),
                                    INT(tests, 1, 1e6, "generated test pictures"),
                                    INT(axis, 0, 2, "real volumes are cut across this axis (0: the file's z)"),
                                    REAL(lr, 0, 10, "learning rate"),
                                    REAL(guide, 0, 1e6, "weight of the guided loss"),
                                    REAL(rebuild, 0, 1e6, "weight of the reconstruction loss"),
                                    {NULL}};

static const config tiny = {.size = 64,
                            .classes = 3,
                            .channels = 8,
                            .query = 4,
                            .stages = 3,
                            .fuse = 1,
                            .backbone = "plain",
                            .paths = "pam,cam,semantic",
                            .batch = 4,
                            .steps = 300,
                            .halve = 100,
                            .train = 400,
                            .tests = 100,
                            .lr = 3e-3,
                            .guide = 0.25,
                            .rebuild = 0.1};
/* CHAOS: 256 x 256, four organs; ResNeXt-101 32x8d; section IV-B and the official code. */
static const config paper = {.size = 256,
                             .classes = 5,
                             .channels = 64,
                             .query = 8,
                             .stages = 4,
                             .fuse = 3,
                             .backbone = "resnext",
                             .paths = "pam,cam,semantic",
                             .batch = 8,
                             .steps = 500 * 78,
                             .halve = 50 * 78,
                             .augment = 1,
                             .train = 64,
                             .tests = 16,
                             .lr = 1e-3,
                             .guide = 0.25,
                             .rebuild = 0.1};
static const gy_config configs[] = {{"tiny", "64 x 64 pictures, a far-away marker decides the class", &tiny},
                                    {"paper", "256 x 256 slices, ResNeXt-101 32x8d, five classes", &paper},
                                    {NULL}};

static bool resnext(const config *c) {
    return strcmp(c->backbone, "resnext") == 0;
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (!resnext(c) && strcmp(c->backbone, "plain") != 0)
        return gy_fail(ctx, GY_ERR_USAGE, "guided-attention-seg: backbone='%s': expected resnext or plain",
                       c->backbone);
    if (resnext(c) && c->stages != 4)
        return gy_fail(ctx, GY_ERR_USAGE, "guided-attention-seg: stages=%" PRId64 ": resnext has 4", c->stages);
    if (c->size % 16)
        return gy_fail(ctx, GY_ERR_USAGE, "guided-attention-seg: size=%" PRId64 ": expected a multiple of 16", c->size);
    if (c->fuse == 2) return gy_fail(ctx, GY_ERR_USAGE, "guided-attention-seg: fuse=2: expected 1 or 3");
    return GY_OK;
}

/* ---- parts ---- */

static bool has(const gy_build *b, const char *path) {
    const config *c = b->cfg;
    return strstr(c->paths, path) && !gy_ablates(b->ablate, "global");
}

static gy_t conv(gy_mod *m, const char *name, gy_t x, int64_t out, int64_t kernel) {
    return gy_nn_conv(m, name, x, out, GY_S(kernel), GY_S(1), GY_S(kernel / 2), .init = {GY_INIT_XAVIER_NORMAL});
}

/* PReLU(BN(conv(x))), or with ReLU: layers first, first + 1, first + 2 of a sequence */
static gy_t unit(gy_mod *m, int first, gy_t x, int64_t out, int64_t kernel, bool relu) {
    char name[3][16];
    for (int i = 0; i < 3; i++) snprintf(name[i], sizeof name[i], "%d", first + i);
    gy_t h = gy_nn_batchnorm(m, name[1], conv(m, name[0], x, out, kernel));
    return relu ? gy_relu(h) : gy_nn_prelu(m, name[2], h);
}

static gy_t gain(gy_mod *m) {
    return gy_param(m, "gamma", GY_S(1), GY_INIT_ZEROS);
}

/* Eq. (2), (3): position attention: [B, h, w, C] -> [B, h, w, C]; no scaling of the products */
static gy_t position(gy_mod *m, const char *name, const config *c, gy_t x) {
    int64_t n = gy_dim(x, 0), pixels = gy_dim(x, 1) * gy_dim(x, 2), ch = gy_dim(x, 3);
    gy_push(m, "%s", name);
    gy_t q = gy_reshape(conv(m, "query_conv", x, c->query, 1), n, pixels, 1, c->query); /* [B, hw, 1, C'] */
    gy_t k = gy_reshape(conv(m, "key_conv", x, c->query, 1), n, pixels, 1, c->query);
    gy_t v = gy_reshape(conv(m, "value_conv", x, ch, 1), n, pixels, 1, ch); /* [B, hw, 1, C] */
    gy_t seen;
    if (gy_tapped(m, "map")) { /* somebody asks where it looks: [B, 1, hw, hw] */
        gy_t map = gy_tap(m, "map", gy_attention_weights(q, k, v, .scale = 1));
        seen = gy_matmul(gy_squeeze(map, 1), gy_squeeze(v, 2)); /* [B, hw, C] */
    } else {
        seen = gy_attention(q, k, v, .scale = 1); /* [B, hw, 1, C] */
    }
    gy_t y = gy_add(gy_mul(gain(m), gy_reshape_to(seen, gy_shape_of(x))), x);
    gy_pop(m);
    return y;
}

/* Eq. (4), (5): channel attention: weights softmax(max E - E), E = X^T X, so that unlike channels mix most */
static gy_t channel(gy_mod *m, const char *name, gy_t x) {
    gy_push(m, "%s", name);
    gy_t flat = gy_reshape(x, gy_dim(x, 0), gy_dim(x, 1) * gy_dim(x, 2), gy_dim(x, 3)); /* [B, hw, C] */
    gy_t e = gy_matmul(flat, flat, .trans_a = true);                                    /* [B, C, C] */
    gy_t a = gy_softmax(gy_sub(gy_max_keep(e, GY_AXES(-1)), e), -1);                    /* [B, C, C] */
    gy_t mixed = gy_reshape_to(gy_matmul(flat, a, .trans_b = true), gy_shape_of(x));    /* [B, h, w, C] */
    gy_t y = gy_add(gy_mul(gain(m), mixed), x);
    gy_pop(m);
    return y;
}

/* 3x3 to C, attention, 3x3: u [B, h, w, 2C] -> [B, h, w, C] */
static gy_t attended(gy_build *b, bool pam, int step, int k, gy_t u) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_push(m, "%s_attention_%d_%d.attn", pam ? "pam" : "cam", step, k);
    gy_t h = unit(m, 0, u, c->channels, 3, false);
    if (pam && has(b, "pam")) h = position(m, "3", c, h);
    if (!pam && has(b, "cam")) h = channel(m, "3", h);
    h = unit(m, 4, h, c->channels, 3, false);
    gy_pop(m);
    return h;
}

static gy_t two_convs(gy_mod *m, gy_t x, int64_t out) {
    return unit(m, 3, unit(m, 0, x, out, 3, true), out, 3, true);
}

/* The encoder-decoder beside the attention, one a step: u [B, h, w, D] -> latent [B, h/4, w/4, 4D], rebuilt u */
static void semantic(gy_mod *m, int step, gy_t u, gy_t *latent, gy_t *rebuilt) {
    int64_t d = gy_dim(u, -1);
    gy_t h = u;
    gy_push(m, "semanticModule_%d_1", step);
    for (int i = 1; i <= 2; i++) {
        gy_push(m, "enc%d.encode", i);
        h = gy_max_pool(two_convs(m, h, d << i), .window = GY_S(2)); /* [B, h/2^i, w/2^i, 2^i D] */
        gy_pop(m);
    }
    *latent = h;
    for (int i = 2; i >= 1; i--) {
        gy_push(m, "dec%d.decode", i);
        h = two_convs(m, h, d << (i - 1));
        h = gy_nn_conv_transpose(m, "6", h, d << (i - 1), GY_S(2), GY_S(2), .init = {GY_INIT_XAVIER_NORMAL});
        gy_pop(m);
    }
    *rebuilt = h;
    gy_pop(m);
}

/* ---- the network ---- */

/* Stage outputs, finest first */
static void backbone(gy_mod *m, const config *c, gy_t x, gy_t *stage) {
    static const int64_t plain[4] = {8, 16, 16, 16}, planes[4] = {64, 128, 256, 512}, blocks[4] = {3, 4, 23, 3};
    const gy_resnet_spec spec = {true, 32, 8, {GY_INIT_XAVIER_NORMAL}};
    gy_init init = {GY_INIT_XAVIER_NORMAL};
    if (!resnext(c)) {
        for (int k = 0; k < c->stages; k++) {
            gy_push(m, "stage%d", k + 1);
            if (k) x = gy_max_pool(x, .window = GY_S(2));
            stage[k] = x = unit(m, 0, x, plain[k], 3, false);
            gy_pop(m);
        }
        return;
    }
    gy_push(m, "resnext");
    x = gy_nn_conv(m, "layer0.0", x, 64, GY_S(7), GY_S(2), GY_S(3), .no_bias = true, .init = init);
    x = gy_relu(gy_nn_batchnorm(m, "layer0.1", x));                           /* [B, s/2, s/2, 64] */
    x = gy_max_pool(x, .window = GY_S(3), .stride = GY_S(2), .pad = GY_S(1)); /* [B, s/4, s/4, 64] */
    for (int k = 0; k < 4; k++) {
        char name[16];
        snprintf(name, sizeof name, k ? "layer%d" : "layer%d.1", k + 1);
        stage[k] = x = gy_resnet_layer(m, &spec, name, x, planes[k], blocks[k], k ? 2 : 1);
    }
    gy_pop(m);
}

typedef struct net {
    gy_t coarse[4], fine[4];              /* logits before and after attention [B, s, s, classes] */
    gy_t u[2][4], rebuilt[2][4], e[2][4]; /* of both steps; rebuilt and e only with the semantic path */
} net;

/* One refinement step of scale k (from 1): A = conv((PAM(u) + CAM(u)) * conv(rebuilt)) [B, h, w, C] */
static gy_t refine(gy_build *b, net *n, int step, int k, gy_t u) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    char name[2][24];
    int at = (int)c->stages + 1 - k; /* the official code numbers these from the coarsest */
    snprintf(name[0], sizeof name[0], "conv_sem_%d_%d", step, at);
    snprintf(name[1], sizeof name[1], step == 1 ? "conv8_%d" : "conv8_1%d", at);
    n->u[step - 1][k - 1] = u;
    gy_t a = gy_add(attended(b, true, step, k, u), attended(b, false, step, k, u)); /* [B, h, w, C] */
    if (has(b, "semantic")) {
        gy_t *rebuilt = &n->rebuilt[step - 1][k - 1];
        semantic(m, step, u, &n->e[step - 1][k - 1], rebuilt);
        a = gy_mul(a, conv(m, name[0], *rebuilt, c->channels, 3));
    }
    return conv(m, name[1], a, c->channels, 1);
}

static gy_t head(gy_build *b, const char *fmt, int k, gy_t x) {
    const config *c = b->cfg;
    char name[24];
    snprintf(name, sizeof name, fmt, k);
    return gy_resize(conv(b->m, name, x, c->classes, 1), .size = GY_S(c->size), .mode = GY_RESIZE_LINEAR);
}

static net network(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    net n = {0};
    gy_t stage[4], f[4], coarse_first[4];
    gy_t x = gy_input(m->g, "image", GY_F32, GY_S(b->batch, c->size, c->size, 1)); /* [B, s, s, 1] in 0..1 */
    backbone(m, c, x, stage);
    for (int k = (int)c->stages; k >= 1; k--) { /* F_k on the grid of s/4 */
        gy_push(m, "down%d", k);
        gy_t h = unit(m, 0, stage[k - 1], c->channels, 1, false);
        f[k - 1] = gy_resize(h, .size = GY_S(c->size / 4), .mode = GY_RESIZE_LINEAR); /* [B, s/4, s/4, C] */
        coarse_first[c->stages - k] = f[k - 1];
        gy_pop(m);
    }
    gy_push(m, "fuse1.fuse_attn"); /* eq. (1): F_MS */
    gy_t fused = unit(m, 0, gy_concat(-1, c->stages, coarse_first), c->channels, 3, false);
    fused = unit(m, 3, fused, c->channels, c->fuse, false);
    fused = unit(m, 6, fused, c->channels, 1, false); /* [B, s/4, s/4, C] */
    gy_pop(m);
    for (int k = (int)c->stages; k >= 1; k--) {
        gy_t a1 = refine(b, &n, 1, k, gy_concat2(-1, f[k - 1], fused));
        gy_t a2 = refine(b, &n, 2, k, gy_concat2(-1, f[k - 1], gy_mul(a1, fused)));
        n.coarse[k - 1] = head(b, "predict%d", k, f[k - 1]);
        n.fine[k - 1] = head(b, "predict%d_2", k, a2);
    }
    return n;
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    net n = network(b);
    gy_t sum = n.fine[0];
    for (int k = 1; k < c->stages; k++) sum = gy_add(sum, n.fine[k]);
    gy_t logits = gy_scale(sum, 1.0 / (double)c->stages); /* [B, s, s, classes] */
    gy_output(logits, "logits");
    gy_output(gy_argmax(logits, -1), "mask"); /* [B, s, s] */
}

/* Eq. (10): cross-entropy of all heads + 0.25 guided + 0.1 reconstruction; both sides of each difference learn */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    net n = network(b);
    gy_t target = gy_input(m->g, "target", GY_I64, GY_S(b->batch, c->size, c->size)), loss = GY_NONE;
    gy_t guided = GY_NONE, rebuilt = GY_NONE;
    for (int k = 0; k < c->stages; k++) {
        gy_t ce = gy_add(gy_cross_entropy(n.coarse[k], target), gy_cross_entropy(n.fine[k], target));
        loss = k ? gy_add(loss, ce) : ce;
        if (!has(b, "semantic")) continue;
        gy_t g = gy_mse(n.e[0][k], n.e[1][k], GY_LOSS_MEAN); /* eq. (6): e of step 1 and of step 2 */
        gy_t r = gy_add(gy_mse(n.u[0][k], n.rebuilt[0][k], GY_LOSS_MEAN),
                        gy_mse(n.u[1][k], n.rebuilt[1][k], GY_LOSS_MEAN)); /* eq. (7) */
        guided = k ? gy_add(guided, g) : g;
        rebuilt = k ? gy_add(rebuilt, r) : r;
    }
    gy_output(loss, "cross_entropy");
    if (has(b, "semantic")) {
        gy_output(guided, "guided");
        gy_output(rebuilt, "rebuilt");
        loss = gy_add(loss, gy_add(gy_scale(guided, c->guide), gy_scale(rebuilt, c->rebuild)));
    }
    gy_output(loss, "loss");
    gy_optim_adam(m->g, m->store, loss, .beta1 = 0.9, .beta2 = 0.99);
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    gy_schedule s = {GY_SCHEDULE_STEP, .lr = c->lr, .gamma = 0.5, .every = c->halve};
    (void)phase;
    return c->halve ? gy_schedule_lr(&s, step) : c->lr;
}

/* ---- the definition ---- */

static const char *const equations[] = {
    "eq. (1): F_MS = conv(F\u2084 \u2295 F\u2083 \u2295 F\u2082 \u2295 F\u2081), F\u2096 = PReLU(BN(W\u2096 "
    "stage\u2096)) on one grid",
    "eq. (2): S\u1d56 = softmax(Q\u1d40K) over pixels, Q, K, V 1x1 convolutions of F",
    "eq. (3): PAM(F) = \u03b3\u209a S\u1d56 V + F, \u03b3\u209a = 0 at first",
    "eq. (4): S\u1d9c = softmax(max E - E), E = F\u1d40F over channels",
    "eq. (5): CAM(F) = \u03b3_c S\u1d9c F + F",
    "eq. (6): L_guided = \u03a3\u2096 |e\u00b9\u2096 - e\u00b2\u2096|\u00b2, latents of the two semantic modules",
    "eq. (7): L_rec = \u03a3\u2096 |u\u2096 - r\u2096|\u00b2 of both steps",
    "eq. (8): A\u2096 = conv((PAM(u\u2096) + CAM(u\u2096)) * conv(r\u2096)), u\u2096 = F\u2096 \u2295 F_MS",
    "eq. (9): step 2: u'\u2096 = F\u2096 \u2295 A\u2096 * F_MS; the mask is the mean of the four A' heads",
    "eq. (10): L = \u03a3 CE of all heads + 0.25 L_guided + 0.1 L_rec",
    NULL};

static const char *const ablations[] = {
    "global - nothing sees far: no position and channel attention, no semantic module", NULL};

/* Layers that the official class builds and never uses. */
static const char *const ignorable[] = {"conv6_*",      "conv7_*",      "attention1.*", "attention2.*",
                                        "attention3.*", "attention4.*", "refine*",      NULL};

const gy_model_def gy_model_guided_attention_seg = {
    .slug = "guided-attention-seg",
    .family = "imaging",
    .title = "Multi-scale self-guided attention for segmentation",
    .cite = "A. Sinha, J. Dolz, IEEE JBHI 2020, arXiv:1906.02849",
    .job = "a slice of an MR or CT image in, a mask of organs out",
    .year = 2020,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .ignorable = ignorable,
    .check = check,
    .build = build,
    .objective = objective,
    .open = gy_guided_open,
    .close = gy_guided_close,
    .batch = gy_guided_batch,
    .lr = lr,
    .evaluate = gy_guided_evaluate,
    .panels = gy_guided_panels,
    .claim = gy_guided_claim,
};
