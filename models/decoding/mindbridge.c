/* MindBridge: one model that reads the brains of several people.
 *
 * Wang, Liu, Tan, Wang: "MindBridge: A Cross-Subject Brain Decoding Framework", CVPR 2024, arXiv:2404.07850.
 *
 * Brains differ in size and layout, so decoders used to be trained one person at a time. MindBridge (1) brings every
 * response to one length by adaptive max pooling, (2) gives each person a small embedder into a space that all share
 * and a builder back, (3) decodes from the shared space with one translator. A cycle loss ties the spaces together
 * although no two people ever saw the same picture: what person a's embedder says must survive being built as a
 * response of person b and embedded again. The claim: one model serves all as well as one model each; responses of one
 * person can be synthesised from those of another; and a newcomer with few trials is served better by a new embedder
 * and builder before the frozen translator (reset-tuning) than by a model of their own.
 *
 * Inferred, not stated by the paper: the weights of the miniature's losses (the paper's ratio a unit of squared
 * distance is kept), and where the generated world stands in for NSD, everything about it (data/synthbrain.h).
 * Diffusion, which turns the embeddings into pictures, is no part of this file. The data and the schedule of the phases
 * are in mindbridge_data.c; evaluation, the claim and the report in mindbridge_claim.c. */
#include "mindbridge.h"
#include "../blocks/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- configurations ---- */

static const gy_option options[] = {TEXT(subjects, "numbers of the subjects trained together"),
                                    TEXT(voxels, "voxels of each"),
                                    INT(newcomer, 0, 1e6, "number of the subject that is adapted to afterwards"),
                                    INT(newcomer_size, 0, 1e6, "voxels of the newcomer; 0: nobody comes"),
                                    TEXT(subject, "whose responses are read; empty: the first subject's"),
                                    TEXT(synthesise, "whose responses are synthesised from them; empty: nobody's"),
                                    INT(pooled, 2, 1 << 20, "length that all responses are pooled to"),
                                    INT(hidden, 2, 1 << 16, "width of the shared space"),
                                    INT(rank, 1, 1 << 16, "inner width of the adapters"),
                                    INT(blocks, 1, 64, "residual blocks of the translator"),
                                    INT(image, 64, 1 << 24, "length of the image embedding, a multiple of 64"),
                                    INT(text, 64, 1 << 24, "length of the text embedding, a multiple of 64"),
                                    REAL(drop_embedder, 0, 0.95, "dropout after the embedder"),
                                    REAL(drop_translator, 0, 0.95, "dropout in the translator"),
                                    REAL(tau, 1e-4, 10, "temperature of SoftCLIP"),
                                    REAL(mse_weight, 0, 1e9, "weight of the error between unit embeddings"),
                                    INT(batch, 2, 4096, "trials of each subject in a step"),
                                    INT(steps, 1, 1e9, "steps of joint training"),
                                    INT(adapt_steps, 0, 1e9, "steps of reset-tuning after it"),
                                    INT(trials, 2, 1e6, "generated training trials of each subject"),
                                    INT(adapt_trials, 2, 1e6, "training trials of the newcomer, at most `trials`"),
                                    INT(tests, 50, 1e6, "held-out stimuli"),
                                    {"generator", "tinySD's weights, for the pictures of the report; empty: none",
                                     GY_OPT_TEXT, offsetof(config, generator), 0, 0},
                                    INT(world, 0, 1e6, "number of the generated world (its brains and meanings)"),
                                    REAL(lr, 0, 10, "largest learning rate of the one-cycle schedule"),
                                    REAL(adapt_lr, 0, 10, "the same of reset-tuning"),
                                    REAL(warmup, 1e-6, 0.9, "share of the steps in which it rises"),
                                    REAL(weight_decay, 0, 1, "of matrices"),
                                    {NULL}};

/* The miniature. */
static const config tiny = {.subjects = "0,1,2",
                            .voxels = "380,390,400",
                            .newcomer = 3,
                            .newcomer_size = 385,
                            .pooled = 256,
                            .hidden = 128,
                            .rank = 16,
                            .blocks = 2,
                            .image = 64,
                            .text = 64,
                            .drop_embedder = 0.5,
                            .drop_translator = 0.15,
                            .tau = 0.05,
                            .mse_weight = 3.2,
                            .batch = 50,
                            .steps = 800,
                            .adapt_steps = 400,
                            .trials = 600,
                            .adapt_trials = 100,
                            .generator = "data/tinysd.safetensors",
                            .tests = 300,
                            .lr = 1e-3,
                            .adapt_lr = 1e-3,
                            .warmup = 0.1,
                            .weight_decay = 0.01};
/* Section 4.1 and the official code: NSD subjects 1, 2, 5, 7; CLIP tokens 257 x 768 and 77 x 768. */
static const config paper = {.subjects = "1,2,5,7",
                             .voxels = "15724,14278,13039,12682",
                             .newcomer = 8,
                             .pooled = 8192,
                             .hidden = 2048,
                             .rank = 128,
                             .blocks = 4,
                             .image = 257 * 768,
                             .text = 77 * 768,
                             .drop_embedder = 0.5,
                             .drop_translator = 0.15,
                             .tau = 0.005,
                             .mse_weight = 1e4,
                             .batch = 50,
                             .steps = 600 * 177,
                             .trials = 600,
                             .adapt_trials = 500,
                             .tests = 300,
                             .lr = 1.5e-4,
                             .adapt_lr = 1.5e-4,
                             .warmup = 2.0 / 600,
                             .weight_decay = 0.01};
static const gy_config configs[] = {
    {"tiny", "four generated brains of about 390 voxels, 0.1 million parameters a subject", &tiny},
    {"paper", "NSD's sizes: 8192 pooled voxels, 257 x 768 image and 77 x 768 text tokens", &paper},
    {NULL}};

/* "0,1,2" -> values; the count, or -1 if the text is no list of at most MAX_SUBJECTS - 1 numbers. */
static int64_t numbers(const char *text, int64_t *value) {
    char *end;
    for (int64_t n = 0; n < MAX_SUBJECTS - 1; text = end + 1) {
        if (*text < '0' || *text > '9') return -1;
        value[n++] = strtoll(text, &end, 10);
        if (!*end) return n;
        if (*end != ',') return -1;
    }
    return -1;
}

roster gy_mindbridge_who(const config *c) {
    roster r;
    r.n = numbers(c->subjects, r.id);
    numbers(c->voxels, r.size);
    r.id[r.n] = c->newcomer;
    r.size[r.n] = c->newcomer_size;
    r.all = r.n + (c->newcomer_size > 0);
    return r;
}

/* Position of the subject that `text` names; empty: `otherwise`; unknown: -1. */
static int64_t find(const roster *r, const char *text, int64_t otherwise) {
    int64_t id[MAX_SUBJECTS];
    if (!*text) return otherwise;
    if (numbers(text, id) == 1)
        for (int64_t k = 0; k < r->all; k++)
            if (r->id[k] == id[0]) return k;
    return -1;
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    int64_t id[MAX_SUBJECTS], size[MAX_SUBJECTS], n = numbers(c->subjects, id), m = numbers(c->voxels, size);
    if (n < 1 || m != n)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "mindbridge: subjects='%s' and voxels='%s': expected two lists of the same length, 1 to %d "
                       "numbers such as '0,1,2'",
                       c->subjects, c->voxels, MAX_SUBJECTS - 1);
    roster r = gy_mindbridge_who(c);
    for (int64_t k = 0; k < r.all; k++) {
        if (r.size[k] < 2 || r.size[k] > 1000000 || r.id[k] > 1000000)
            return gy_fail(ctx, GY_ERR_USAGE,
                           "mindbridge: subject %" PRId64 " with %" PRId64
                           " voxels: expected 2 to 1000000 voxels and a number of at most 1000000",
                           r.id[k], r.size[k]);
        for (int64_t i = 0; i < k; i++)
            if (r.id[i] == r.id[k])
                return gy_fail(ctx, GY_ERR_USAGE, "mindbridge: subject %" PRId64 " is there twice", r.id[k]);
    }
    if (find(&r, c->subject, 0) < 0 || find(&r, c->synthesise, 0) < 0)
        return gy_fail(ctx, GY_ERR_USAGE, "mindbridge: no subject '%s'; there are %s%s",
                       find(&r, c->subject, 0) < 0 ? c->subject : c->synthesise, c->subjects,
                       r.all > r.n ? " and the newcomer" : "");
    if (c->image % GY_WORLD_SEMANTIC || c->text % GY_WORLD_SEMANTIC)
        return gy_fail(ctx, GY_ERR_USAGE, "mindbridge: image=%" PRId64 ", text=%" PRId64 ": expected multiples of %d",
                       c->image, c->text, GY_WORLD_SEMANTIC);
    if (c->adapt_trials > c->trials)
        return gy_fail(ctx, GY_ERR_USAGE, "mindbridge: adapt_trials=%" PRId64 " is more than trials=%" PRId64,
                       c->adapt_trials, c->trials);
    return GY_OK;
}

/* ---- the model ---- */

/* Eq. (1): the aggregation f: [B, V] -> [B, P], the largest of each window of neighbouring voxels */
static gy_t aggregate(gy_t x, int64_t pooled) {
    gy_t y = gy_adaptive_max_pool(gy_unsqueeze(x, 2), pooled); /* [B, P, 1] */
    return gy_squeeze(y, 2);
}

/* x + W_up relu(W_down x), W_up = 0 at first: [B, P] -> [B, P] */
static gy_t adapter(gy_mod *m, const char *name, gy_t x, int64_t rank) {
    gy_push(m, "%s", name);
    gy_t low = gy_relu(gy_nn_linear(m, "down_proj", x, rank)); /* [B, rank] */
    gy_t up = gy_nn_linear(m, "up_proj", low, gy_dim(x, -1), .init = {GY_INIT_ZEROS});
    gy_pop(m);
    return gy_add(x, up);
}

/* Eq. (2): subject `id`'s embedder E [B, P] -> [B, H] */
static gy_t embedder(gy_mod *m, const config *c, int64_t id, gy_t x) {
    gy_push(m, "embedder.%d", (int)id);
    gy_t h = adapter(m, "0", x, c->rank);    /* [B, P] */
    h = gy_nn_linear(m, "1", h, c->hidden);  /* [B, H] */
    h = gy_gelu(gy_nn_layernorm(m, "2", h)); /* [B, H] */
    h = gy_nn_dropout(m, "dropout", h, c->drop_embedder);
    gy_pop(m);
    return h;
}

/* Eq. (3): subject `id`'s builder B [B, H] -> [B, P], the way back */
static gy_t builder(gy_mod *m, const config *c, int64_t id, gy_t z) {
    gy_push(m, "builder.%d", (int)id);
    gy_t h = gy_nn_linear(m, "0", z, c->pooled); /* [B, P] */
    h = gy_gelu(gy_nn_layernorm(m, "1", h));     /* [B, P] */
    h = adapter(m, "3", h, c->rank);             /* [B, P] */
    gy_pop(m);
    return h;
}

/* Eq. (4): the shared translator T and its two heads: [B, H] -> [B, image], [B, text]. `scrambled` (an ablation): fresh
 * weights in place of the trained ones. */
static void translator(gy_mod *m, const config *c, bool scrambled, gy_t z, gy_t *image, gy_t *text) {
    if (scrambled) gy_push(m, "scrambled");
    for (int64_t i = 0; i < c->blocks; i++) {
        gy_push(m, "translator.mlp.%d", (int)i);
        gy_t h = gy_gelu(gy_nn_layernorm(m, "1", gy_nn_linear(m, "0", z, c->hidden))); /* [B, H] */
        z = gy_add(z, gy_nn_dropout(m, "dropout", h, c->drop_translator));             /* [B, H] */
        gy_pop(m);
    }
    *image = gy_nn_linear(m, "head_image", z, c->image);
    *text = gy_nn_linear(m, "head_text", z, c->text);
    if (scrambled) gy_pop(m);
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    roster r = gy_mindbridge_who(c);
    int64_t k = find(&r, c->subject, 0), other = find(&r, c->synthesise, -1);
    gy_t x = gy_input(m->g, "voxels", GY_F32, GY_S(b->batch, r.size[k])), image, text;
    x = gy_tap(m, "pooled", aggregate(x, c->pooled)); /* [B, P] */
    gy_t z = embedder(m, c, r.id[k], x);              /* [B, H] */
    translator(m, c, k == r.n && gy_ablates(b->ablate, "translator"), z, &image, &text);
    gy_output(image, "image_embedding");                                            /* [B, image] */
    gy_output(text, "text_embedding");                                              /* [B, text] */
    if (other >= 0) gy_output(builder(m, c, r.id[other], z), "synthesised_voxels"); /* eq. (9): [B, P] */
}

/* Eq. (5), (6): SoftCLIP and the squared error between unit vectors */
static gy_t embedding_loss(const config *c, gy_t predicted, gy_t target) {
    gy_t distance = gy_mse(gy_l2_normalize(predicted), gy_l2_normalize(target), GY_LOSS_MEAN);
    return gy_add(gy_soft_clip(predicted, target, c->tau), gy_scale(distance, c->mse_weight));
}

/* Eq. (8): |z - E_k(B_k(z))|^2: an embedding must survive the way through subject `id`'s brain */
static gy_t cycle_loss(gy_mod *m, const config *c, int64_t id, gy_t z) {
    return gy_mse(z, embedder(m, c, id, builder(m, c, id, z)), GY_LOSS_MEAN);
}

/* The cycle from the subject that the one-hot input cycle_from picks to that of cycle_to, so that one graph serves all
 * pairs. z: the n subjects' embeddings. */
static gy_t picked_cycle(gy_mod *m, const config *c, const roster *r, int64_t n, const gy_t *z) {
    gy_t from = gy_input(m->g, "cycle_from", GY_F32, GY_S(n)), to = gy_input(m->g, "cycle_to", GY_F32, GY_S(n));
    gy_t start = GY_NONE, loss = GY_NONE;
    for (int64_t i = 0; i < n; i++) {
        gy_t part = gy_mul(z[i], gy_slice(from, 0, i, i + 1)); /* [B, H] */
        start = i ? gy_add(start, part) : part;
    }
    for (int64_t i = 0; i < n; i++) {
        gy_t weight = gy_reshape_to(gy_slice(to, 0, i, i + 1), GY_S0);
        gy_t part = gy_mul(weight, cycle_loss(m, c, r->id[i], start));
        loss = i ? gy_add(loss, part) : part;
    }
    return loss;
}

/* Phase 0 trains all subjects together; phase 1 + k reset-tunes the newcomer beside subject k. */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    roster r = gy_mindbridge_who(c);
    bool adapting = b->phase > 0;
    int64_t n = adapting ? 2 : r.n;
    gy_t z[MAX_SUBJECTS], image, text, rebuilt = GY_NONE;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = !adapting ? i : i ? r.n : b->phase - 1;
        char name[32];
        snprintf(name, sizeof name, "voxels.%d", (int)r.id[k]);
        gy_t x = gy_input(m->g, name, GY_F32, GY_S(b->batch, r.size[k]));
        x = aggregate(x, c->pooled);                                        /* [B, P] */
        z[i] = embedder(m, c, r.id[k], x);                                  /* [B, H] */
        gy_t error = gy_mse(builder(m, c, r.id[k], z[i]), x, GY_LOSS_MEAN); /* eq. (7) */
        rebuilt = i ? gy_add(rebuilt, error) : error;
    }
    translator(m, c, adapting && gy_ablates(b->ablate, "translator"), gy_concat(0, n, z), &image, &text);
    gy_t image_target = gy_input(m->g, "image", GY_F32, GY_S(n * b->batch, c->image));
    gy_t text_target = gy_input(m->g, "text", GY_F32, GY_S(n * b->batch, c->text));
    gy_t loss = gy_add(embedding_loss(c, image, image_target), embedding_loss(c, text, text_target));
    if (!gy_ablates(b->ablate, "builder")) loss = gy_add(loss, gy_scale(rebuilt, 1.0 / (double)n));
    if (n > 1) loss = gy_add(loss, adapting ? cycle_loss(m, c, r.id[r.n], z[0]) : picked_cycle(m, c, &r, n, z));
    gy_output(loss, "loss"); /* eq. (10) */

    char own[2][32];
    snprintf(own[0], sizeof own[0], "embedder.%d.", (int)c->newcomer);
    snprintf(own[1], sizeof own[1], "builder.%d.", (int)c->newcomer);
    gy_optim_group reset[] = {{own[0]}, {own[1]}, {"", GY_OPTIM_NONE}};
    gy_optim_adamw(m->g, m->store, loss, .weight_decay = c->weight_decay, .decays = gy_decays_matrices, .clip_norm = 1,
                   .name = adapting ? "adapt" : "optim", .n_groups = adapting ? 3 : 0, .groups = reset);
}

/* ---- the definition ---- */

static const char *const equations[] = {
    "eq. (1): x\u209b = maxpool(y\u209b): windows [\u230aiV/P\u230b, \u2308(i+1)V/P\u2309)",
    "eq. (2): z\u209b = E\u209b(x\u209b) = dropout(GELU(LN(W (x + U\u2080 relu(D\u2080 x)))))",
    "eq. (3): B\u209b(z) = h + U\u2083 relu(D\u2083 h), h = GELU(LN(W z))",
    "eq. (4): T(z): z \u2190 z + dropout(GELU(LN(W z))), four times; image = W\u1d62 z, text = W\u209c z",
    "eq. (5): L_clip = SoftCLIP(p, t): cross-entropy of softmax(p t\u1d40/\u03c4) with softmax(t t\u1d40/\u03c4), both "
    "ways",
    "eq. (6): L_mse = w |p/|p| - t/|t||\u00b2",
    "eq. (7): L_rec = |x\u209b - B\u209b(z\u209b)|\u00b2",
    "eq. (8): L_cyc = |z\u2090 - E_b(B_b(z\u2090))|\u00b2 for a random pair (a, b)",
    "eq. (9): synthesis: x\u0302_b = B_b(E\u2090(x\u2090))",
    "eq. (10): L = L_clip + L_mse (image and text) + L_rec + L_cyc",
    NULL};

/* "cycle" is not among them: in this world the claim holds without the cycle loss too, because all subjects share the
 * targets' space (synthesis r 0.61 without, 0.56 with it, seed 0). */
static const char *const ablations[] = {"builder - without the reconstruction loss",
                                        "translator - the newcomer meets a fresh translator instead of the trained one",
                                        NULL};

const gy_model_def gy_model_mindbridge = {
    .slug = "mindbridge",
    .family = "decoding",
    .equations = equations,
    .title = "Cross-subject brain decoding with one model",
    .cite = "S. Wang, S. Liu, Z. Tan, X. Wang, CVPR 2024, arXiv:2404.07850",
    .job = "fMRI responses of any of several subjects -> image and text embeddings, by one model that also adapts to a "
           "newcomer",
    .year = 2024,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .check = check,
    .build = build,
    .objective = objective,
    .phases = gy_mindbridge_phases,
    .phase_of = gy_mindbridge_phase_of,
    .open = gy_mindbridge_open,
    .close = gy_mindbridge_close,
    .batch = gy_mindbridge_batch,
    .lr = gy_mindbridge_rate,
    .evaluate = gy_mindbridge_evaluate,
    .panels = gy_mindbridge_panels,
    .claim = gy_mindbridge_claim,
};
