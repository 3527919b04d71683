/* DemoVAE: functional connectivity without, and on demand with, age and sex.
 *
 * Orlichenko, Qu, Zhou, Liu, Deng, Ding, Stephen, Wilson, Calhoun, Wang: "A Demographic-Conditioned Variational
 * Autoencoder for fMRI Distribution Sampling and Removal of Confounds", arXiv:2405.07977.
 *
 * An autoencoder of connectivity vectors is made generative by moments: the latents of a batch shall have mean 0 and
 * covariance I. They shall not correlate with any demographic column, and the decoder is told the demographics. So
 * the latents are free of confounds, and a latent from N(0, I) with an age and a sex becomes connectivity of such a
 * person. The claim: a phenotype that only follows age cannot be predicted from latents, one that does not can;
 * generated groups differ as real ones do and vary as much as real ones.
 *
 * Losses and sizes are the official code's (aorliche/demo-vae). Departures: continuous demographics are standardised
 * (the code takes them as they come), so their guide's error is in standard deviations. Subjects are in demovae_data.c;
 * evaluation, claim and report in demovae_claim.c. Equations are numbered as in this file. */
#include "demovae.h"
#include "../blocks/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- configurations ---- */

static const gy_option options[] = {INT(features, 1, 1 << 22, "length of a connectivity vector"),
                                    INT(latent, 1, 4096, "latents"),
                                    INT(hidden, 1, 1 << 16, "width of the hidden layers"),
                                    TEXT(columns, "demographics: age,sex:2 is a continuous and a two-way one"),
                                    INT(batch, 2, 1 << 20, "subjects a step; more than there are: all"),
                                    INT(steps, 1, 1e9, "training steps"),
                                    INT(generated, 1, 1 << 16, "generated subjects a step, for guidance"),
                                    INT(running, 0, 1, "1: guidance counts earlier categories again, as the code"),
                                    INT(train, 4, 1e6, "generated training subjects"),
                                    INT(tests, 4, 1e6, "generated held-out subjects"),
                                    REAL(lr, 0, 10, "learning rate"),
                                    REAL(covariance, 0, 1e6, "weight of Z'Z = N I"),
                                    REAL(mean, 0, 1e6, "weight of mean z = 0"),
                                    REAL(rebuild, 0, 1e6, "weight of the reconstruction"),
                                    REAL(decorrelate, 0, 1e6, "weight of the correlations with demographics"),
                                    REAL(guide, 0, 1e6, "weight of the guides"),
                                    REAL(alpha, 0, 1e9, "ridge penalty of continuous guides"),
                                    REAL(cost, 1e-9, 1e9, "cost C of categorical guides"),
                                    {NULL}};

static const config tiny = {.features = 190,
                            .latent = 12,
                            .hidden = 128,
                            .columns = "age,sex:2",
                            .batch = 600,
                            .steps = 1500,
                            .generated = 100,
                            .running = 1,
                            .train = 600,
                            .tests = 400,
                            .lr = 1e-3,
                            .covariance = 1,
                            .mean = 1,
                            .rebuild = 100,
                            .decorrelate = 10,
                            .guide = 0.001,
                            .alpha = 100,
                            .cost = 100};
/* 264 regions: 264 * 263 / 2 connections; sizes of the official code. */
static const config paper = {.features = 34716,
                             .latent = 60,
                             .hidden = 1000,
                             .columns = "age,sex:2,race:2",
                             .batch = 1000,
                             .steps = 3000,
                             .generated = 100,
                             .running = 1,
                             .train = 200,
                             .tests = 40,
                             .lr = 1e-4,
                             .covariance = 1,
                             .mean = 1,
                             .rebuild = 100,
                             .decorrelate = 10,
                             .guide = 0.001,
                             .alpha = 100,
                             .cost = 100};
static const gy_config configs[] = {{"tiny", "600 generated subjects of 190 connections", &tiny},
                                    {"paper", "34,716 connections of 264 regions, hidden 1000, latent 60", &paper},
                                    {NULL}};

int64_t gy_demovae_columns(const char *text, column out[MAX_COLUMNS]) {
    int64_t n = 0;
    while (*text) {
        size_t word = strcspn(text, ",");
        const char *colon = memchr(text, ':', word);
        size_t length = colon ? (size_t)(colon - text) : word;
        char *end = (char *)text + word;
        int64_t of = colon ? strtoll(colon + 1, &end, 10) : 0, first = n;
        if (!length || length > 40 || end != text + word || (colon && of < 2)) return -1;
        for (int64_t k = 0; k < (of ? of : 1); k++) {
            if (n == MAX_COLUMNS) return -1;
            column *c = &out[n++];
            *c = (column){.first = first, .of = of};
            if (of) snprintf(c->name, sizeof c->name, "%.*s.%" PRId64, (int)length, text, k);
            if (!of) snprintf(c->name, sizeof c->name, "%.*s", (int)length, text);
        }
        text += word;
        if (*text == ',' && !*++text) return -1;
    }
    return n ? n : -1;
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    column col[MAX_COLUMNS];
    if (gy_demovae_columns(c->columns, col) < 0)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "demovae: columns='%s': expected names such as age,sex:2, at most %d columns in all", c->columns,
                       MAX_COLUMNS);
    return GY_OK;
}

/* ---- the model ---- */

/* Eq. (1): z = enc(x), without sampling: [B, d] -> [B, latent] */
static gy_t encode(gy_mod *m, const config *c, gy_t x) {
    gy_t h = gy_relu(gy_nn_linear(m, "enc1", x, c->hidden)); /* [B, hidden] */
    return gy_nn_linear(m, "enc2", h, c->latent);            /* [B, latent] */
}

/* Eq. (2): x' = dec(z, demographics): [B, latent], [B, q] -> [B, d] */
static gy_t decode(gy_build *b, gy_t z, gy_t demo) {
    const config *c = b->cfg;
    if (gy_ablates(b->ablate, "decorrelation")) demo = gy_scale(demo, 0);             /* the decoder is not told */
    gy_t h = gy_relu(gy_nn_linear(b->m, "dec1", gy_concat2(-1, z, demo), c->hidden)); /* [B, hidden] */
    return gy_nn_linear(b->m, "dec2", h, c->features);                                /* [B, d] */
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    column col[MAX_COLUMNS];
    int64_t q = gy_demovae_columns(c->columns, col);
    gy_t x = gy_input(b->m->g, "x", GY_F32, GY_S(b->batch, c->features));
    gy_t demo = gy_input(b->m->g, "demographics", GY_F32, GY_S(b->batch, q));
    gy_t z = gy_tap(b->m, "z", encode(b->m, c, x));
    gy_output(z, "latents");                         /* [B, latent] */
    gy_output(decode(b, z, demo), "reconstruction"); /* [B, d] */
}

/* ---- the losses ---- */

/* sqrt(mean (a - b)^2) */
static gy_t rmse(gy_t a, gy_t b) {
    return gy_sqrt(gy_mse(a, b, GY_LOSS_MEAN));
}

static gy_t size_of(gy_t a) {
    return gy_sqrt(gy_mean(gy_square(a), GY_ALL));
}

/* Eq. (3): how far the latents' second moments are from those of N samples of N(0, I) */
static gy_t covariance_loss(gy_t z) {
    int64_t k = gy_dim(z, 1);
    gy_t row = gy_reshape(gy_iota(z.g, GY_I64, k), k, 1), eye = gy_cast(gy_eq(row, gy_transpose(row)), GY_F32);
    return rmse(gy_matmul(z, z, .trans_a = true), gy_scale(eye, (double)gy_dim(z, 0)));
}

/* Eq. (5): p_jk = sum_n (d_nj - mean d_j) z_nk / (std(d_j) sum_n z_nk^2); the sum over j of rmse(p_j, 0) */
static gy_t correlation_loss(gy_t z, gy_t demo) {
    int64_t q = gy_dim(demo, 1);
    gy_t centred = gy_sub(demo, gy_mean_keep(demo, GY_AXES(0)));       /* [B, q] */
    gy_t std = gy_sqrt(gy_var(demo, GY_AXES(0), gy_dim(demo, 0) > 1)); /* [q] */
    gy_t p = gy_matmul(centred, z, .trans_a = true);                   /* [q, latent] */
    p = gy_div(p, gy_reshape(std, q, 1));
    p = gy_div(p, gy_sum(gy_square(z), GY_AXES(0))); /* [q, latent] */
    return gy_sum(gy_sqrt(gy_mean(gy_square(p), GY_AXES(1))), GY_ALL);
}

/* Eq. (6): generated subjects x [G, d] must look to fixed linear guides as they were asked to be, wanted [G, q] */
gy_t gy_demovae_guide(const column *col, bool running, gy_t x, gy_t wanted, gy_t weight, gy_t bias) {
    int64_t n = gy_dim(x, 0), q = gy_dim(wanted, 1);
    gy_t seen = gy_add(gy_matmul(x, weight), bias), total = GY_NONE, group = GY_NONE; /* [G, q] */
    for (int64_t k = 0; k < q; k++) {
        gy_t y = gy_slice(seen, 1, k, k + 1), w = gy_slice(wanted, 1, k, k + 1), term; /* [G, 1] */
        if (!col[k].of) {
            term = rmse(w, y);
        } else {
            gy_t logits = gy_concat2(1, gy_neg(y), y); /* [G, 2] */
            gy_t ce = gy_cross_entropy(logits, gy_cast(gy_reshape(w, n), GY_I64));
            term = group = col[k].first != k && running ? gy_add(group, ce) : ce;
        }
        total = k ? gy_add(total, term) : term;
    }
    return total;
}

static gy_t guide_loss(gy_build *b, const column *col, int64_t q) {
    const config *c = b->cfg;
    gy_graph *g = b->m->g;
    gy_t wanted = gy_input(g, "wanted", GY_F32, GY_S(c->generated, q));
    gy_t weight = gy_input(g, "guide_weight", GY_F32, GY_S(c->features, q));
    gy_t bias = gy_input(g, "guide_bias", GY_F32, GY_S(q));
    gy_t z = gy_random_normal(g, "generated", GY_F32, GY_S(c->generated, c->latent));
    return gy_demovae_guide(col, c->running, decode(b, z, wanted), wanted, weight, bias);
}

static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_graph *g = b->m->g;
    column col[MAX_COLUMNS];
    int64_t q = gy_demovae_columns(c->columns, col);
    gy_t x = gy_input(g, "x", GY_F32, GY_S(b->batch, c->features));
    gy_t demo = gy_input(g, "demographics", GY_F32, GY_S(b->batch, q));
    gy_t z = encode(b->m, c, x), rebuilt = rmse(x, decode(b, z, demo));
    gy_t loss = gy_scale(rebuilt, c->rebuild);
    gy_output(rebuilt, "rebuild");
    if (!gy_ablates(b->ablate, "moments")) {
        gy_t covariance = covariance_loss(z), mean = size_of(gy_mean(z, GY_AXES(0))); /* eq. (3), (4) */
        gy_output(covariance, "covariance");
        loss = gy_add(loss, gy_add(gy_scale(covariance, c->covariance), gy_scale(mean, c->mean)));
    }
    if (!gy_ablates(b->ablate, "decorrelation")) {
        gy_t correlation = correlation_loss(z, demo);
        gy_output(correlation, "decorrelate");
        loss = gy_add(loss, gy_scale(correlation, c->decorrelate));
        loss = gy_add(loss, gy_scale(guide_loss(b, col, q), c->guide));
    }
    gy_output(loss, "loss"); /* eq. (7) */
    gy_optim_adam(g, b->m->store, loss, 0);
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    (void)phase;
    (void)step;
    return ((const config *)j->cfg)->lr;
}

/* ---- the definition ---- */

static const char *const equations[] = {
    "eq. (1): z = W\u2082 relu(W\u2081 x): no sampling, no variance",
    "eq. (2): x' = W\u2084 relu(W\u2083 (z \u2295 demographics)); new subjects: z ~ N(0, I)",
    "eq. (3): L_cov = rmse(Z\u1d40Z, N I)",
    "eq. (4): L_mean = rmse(mean z, 0)",
    "eq. (5): L_dec = \u03a3\u2c7c rmse(p\u2c7c, 0), p\u2c7c\u2096 = \u03a3\u2099 (d\u2099\u2c7c - d\u0304\u2c7c) "
    "z\u2099\u2096 / "
    "(std(d\u2c7c) \u03a3\u2099 z\u2099\u2096\u00b2)",
    "eq. (6): L_guide: ridge and logistic regressions, fitted on real subjects, find the wanted demographics in "
    "generated ones",
    "eq. (7): L = L_cov + L_mean + 100 rmse(x, x') + 10 L_dec + 0.001 L_guide",
    NULL};

static const char *const ablations[] = {
    "decorrelation - latents may follow the demographics, and the decoder is not told them",
    "moments - the latents' mean and covariance are free, so N(0, I) is not where subjects are", NULL};

const gy_model_def gy_model_demovae = {
    .slug = "demovae",
    .family = "imaging",
    .title = "Demographic-conditioned autoencoder of functional connectivity",
    .cite = "A. Orlichenko et al., arXiv:2405.07977, 2024",
    .job = "functional connectivity and demographics in; latents free of demographics, and connectivity of people with "
           "any demographics, out",
    .year = 2024,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .check = check,
    .build = build,
    .objective = objective,
    .open = gy_demovae_open,
    .close = gy_demovae_close,
    .batch = gy_demovae_batch,
    .lr = lr,
    .evaluate = gy_demovae_evaluate,
    .panels = gy_demovae_panels,
    .sample = gy_demovae_sample,
    .claim = gy_demovae_claim,
};
