/* StRegA: lesions are what an autoencoder of healthy brains cannot draw.
 *
 * Chatterjee, Sciarra, Duennwald, Tummala, Agrawal, Jauhari, Kalra, Oeltze-Jafra, Speck, Nuernberger: "StRegA:
 * Unsupervised anomaly detection in brain MRIs using a compact context-encoding variational autoencoder", Computers in
 * Biology and Medicine 2022, arXiv:2201.13271.
 *
 * A scan is first reduced to its tissues (background, CSF, grey, white: 0, 1/3, 2/3, 1), which takes the scanner's
 * contrast away. A variational autoencoder learns healthy tissue maps, half of the time from maps with squares blotted
 * out, which it must fill in (context encoding). In a new scan, what comes out brighter than it went in is anomalous,
 * after clipping, Otsu's threshold, area opening and the brain mask. The claim: it finds lesions in a contrast never
 * seen, where the same network on intensities fails, and the post-processing earns its place.
 *
 * Details are the official code's (soumickmj/StRegA): no norms, no biases, standard deviation exp(second half).
 * Inferred: the share f of the context loss (0.5, the default of ceVAE). Departures: slices are scaled each to 0..1
 * (the code scales each batch); log standard deviations are kept in -10..10; GECO, which the code offers to balance the
 * losses, is left out; evaluation uses the mean latent. FSL FAST is stood in for by a mixture with bias field
 * (blocks/tissue.h). Brains are in strega_data.c; evaluation, claim and report in strega_claim.c. Equations are
 * numbered as in this file. */
#include "strega.h"
#include "../blocks/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- configurations ---- */

static const gy_option options[] = {INT(size, 16, 1024, "pixels of a side, a multiple of 2^levels"),
                                    INT(latent, 1, 65536, "latents"),
                                    TEXT(maps, "features of each level, finest first"),
                                    TEXT(input, "tissue: tissue maps; raw: intensities"),
                                    INT(batch, 1, 4096, "slices a step"),
                                    INT(steps, 1, 1e9, "training steps"),
                                    INT(train, 1, 1e6, "generated healthy brains"),
                                    INT(tests, 1, 1e6, "generated brains with lesions, of each contrast"),
                                    INT(rounds, 1, 1000, "iterations of the tissue step"),
                                    INT(opening, 0, 1e6, "components of fewer pixels are dropped"),
                                    INT(axis, 0, 2, "real volumes are cut across this axis (0: the file's z)"),
                                    REAL(lr, 0, 10, "learning rate"),
                                    REAL(beta, 0, 1e6, "weight of the KL divergence"),
                                    REAL(theta, 0, 1e6, "weight of the reconstruction"),
                                    REAL(context, 0, 1, "share f of the context loss"),
                                    REAL(saturate, 1e-6, 10, "excess above this counts as 1"),
                                    {NULL}};

static const config tiny = {.size = 64,
                            .latent = 32,
                            .maps = "8,16,32",
                            .input = "tissue",
                            .batch = 8,
                            .steps = 500,
                            .train = 250,
                            .tests = 40,
                            .rounds = 15,
                            .opening = 20,
                            .lr = 1e-3,
                            .beta = 0.01,
                            .theta = 1,
                            .context = 0.5,
                            .saturate = 0.2};
static const config paper = {.size = 256,
                             .latent = 1024,
                             .maps = "16,64,256,1024",
                             .input = "tissue",
                             .batch = 8,
                             .steps = 30000,
                             .train = 32,
                             .tests = 4,
                             .rounds = 15,
                             .opening = 256,
                             .lr = 1e-4,
                             .beta = 1,
                             .theta = 1,
                             .context = 0.5,
                             .saturate = 0.2};
static const gy_config configs[] = {{"tiny", "64 x 64 slices, three levels, 32 latents", &tiny},
                                    {"paper", "256 x 256 slices, four levels up to 1024 maps, 1024 latents", &paper},
                                    {NULL}};

int64_t gy_strega_maps(const char *text, int64_t out[MAX_LEVELS]) {
    char *end;
    for (int64_t n = 0; n < MAX_LEVELS; text = end + 1) {
        if (*text < '1' || *text > '9') return -1;
        out[n++] = strtoll(text, &end, 10);
        if (out[n - 1] > 65536) return -1;
        if (!*end) return n;
        if (*end != ',') return -1;
    }
    return -1;
}

static gy_status check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    int64_t maps[MAX_LEVELS], n = gy_strega_maps(c->maps, maps);
    if (n < 1)
        return gy_fail(ctx, GY_ERR_USAGE, "strega: maps='%s': expected 1 to %d numbers such as 8,16,32", c->maps,
                       MAX_LEVELS);
    if (c->size % ((int64_t)1 << n))
        return gy_fail(ctx, GY_ERR_USAGE, "strega: size=%" PRId64 ": expected a multiple of %" PRId64, c->size,
                       (int64_t)1 << n);
    if (strcmp(c->input, "tissue") != 0 && strcmp(c->input, "raw") != 0)
        return gy_fail(ctx, GY_ERR_USAGE, "strega: input='%s': expected tissue or raw", c->input);
    return GY_OK;
}

/* ---- the model ---- */

/* The scope of level i of n: start, middle_blocks.1, .3, ... (between them the official code has blocks that do
 * nothing) */
static void push_level(gy_mod *m, int64_t i) {
    if (i == 0) gy_push(m, "start");
    if (i > 0) gy_push(m, "middle_blocks.%d", (int)(2 * i - 1));
}

/* Eq. (1): x [B, s, s, 1] -> mean and log standard deviation [B, 1, 1, latent] */
static void encode(gy_mod *m, const config *c, gy_t x, gy_t *mean, gy_t *log_std) {
    int64_t maps[MAX_LEVELS], n = gy_strega_maps(c->maps, maps);
    gy_push(m, "enc");
    for (int64_t i = 0; i < n; i++) {
        push_level(m, i);
        x = gy_nn_conv(m, "conv", x, maps[i], GY_S(3), GY_S(2), GY_S(1),
                       .no_bias = true); /* [B, s/2^(i+1), .., maps] */
        x = gy_nn_prelu(m, "activation", x);
        gy_pop(m);
    }
    x = gy_nn_conv(m, "end.conv", x, 2 * c->latent, GY_S(c->size >> n), .no_bias = true); /* [B, 1, 1, 2 latent] */
    gy_pop(m);
    *mean = gy_slice(x, -1, 0, c->latent);
    *log_std = gy_clamp(gy_slice(x, -1, c->latent, 2 * c->latent), -10, 10);
}

/* Eq. (2): z [B, 1, 1, latent] -> [B, s, s, 1] */
static gy_t decode(gy_mod *m, const config *c, gy_t z) {
    int64_t maps[MAX_LEVELS], n = gy_strega_maps(c->maps, maps);
    gy_push(m, "dec");
    push_level(m, 0);
    gy_t h = gy_nn_conv_transpose(m, "conv", z, maps[n - 1], GY_S(c->size >> n), .no_bias = true);
    h = gy_nn_prelu(m, "activation", h); /* [B, s/2^n, s/2^n, maps] */
    gy_pop(m);
    for (int64_t i = 1; i < n; i++) {
        push_level(m, i);
        h = gy_nn_conv_transpose(m, "conv", h, maps[n - 1 - i], GY_S(4), GY_S(2), GY_S(1), .no_bias = true);
        h = gy_nn_prelu(m, "activation", h);
        gy_pop(m);
    }
    h = gy_nn_conv_transpose(m, "end.conv", h, 1, GY_S(4), GY_S(2), GY_S(1), .no_bias = true); /* [B, s, s, 1] */
    gy_pop(m);
    return h;
}

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_t mean, log_std, x = gy_input(b->m->g, "image", GY_F32, GY_S(b->batch, c->size, c->size, 1));
    encode(b->m, c, x, &mean, &log_std);
    gy_output(gy_reshape(mean, b->batch, c->latent), "latents");
    gy_output(decode(b->m, c, mean), "reconstruction");
}

/* Mean |x - dec(z)|, z drawn from enc(seen) by the random numbers `noise` (NULL: the mean); its KL divergence too, if
 * asked for */
gy_t gy_strega_redraw(gy_mod *m, const config *c, gy_t seen, gy_t x, const char *noise, gy_t *kl) {
    gy_t z, log_std;
    encode(m, c, seen, &z, &log_std);
    gy_t std = gy_exp(log_std);
    if (kl) { /* a mean over elements, as the code's */
        gy_t each = gy_sub(gy_scale(gy_add(gy_square(std), gy_square(z)), 0.5), gy_add_scalar(log_std, 0.5));
        *kl = gy_mean(each, GY_ALL);
    }
    if (noise) z = gy_add(z, gy_mul(std, gy_random_normal(m->g, noise, GY_F32, gy_shape_of(z))));
    return gy_l1(decode(m, c, z), x, GY_LOSS_MEAN);
}

/* Eq. (3)-(5) */
static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_shape shape = GY_S(b->batch, c->size, c->size, 1);
    gy_t x = gy_input(m->g, "image", GY_F32, shape), blotted = gy_input(m->g, "blotted", GY_F32, shape), kl;
    gy_t rebuilt = gy_strega_redraw(m, c, x, x, "z", &kl);
    gy_t filled = gy_strega_redraw(m, c, blotted, x, "z context", NULL);
    gy_t loss = gy_add(gy_scale(kl, c->beta), gy_scale(rebuilt, c->theta));
    loss = gy_add(gy_scale(loss, 1 - c->context), gy_scale(filled, c->context));
    gy_output(kl, "kl");
    gy_output(rebuilt, "rebuild");
    gy_output(filled, "context");
    gy_output(loss, "loss");
    gy_optim_adam(m->g, m->store, loss, 0);
}

static double lr(const gy_job *j, int64_t phase, int64_t step) {
    (void)phase;
    (void)step;
    return ((const config *)j->cfg)->lr;
}

/* ---- the definition ---- */

static const char *const equations[] = {
    "eq. (1): (\u03bc, log \u03c3) = enc(x): strided convolutions with PReLU, then one as large as what is left",
    "eq. (2): x' = dec(z), z = \u03bc + \u03c3 \u03b5: transposed convolutions with PReLU",
    "eq. (3): L_vae = \u03b2 KL(N(\u03bc, \u03c3\u00b2) | N(0, 1)) + \u03b8 |x - x'|",
    "eq. (4): L_ce = |x - dec(enc(x with squares blotted out))|",
    "eq. (5): L = (1 - f) L_vae + f L_ce",
    "eq. (6): excess d = x' - x: below 0 becomes 0, above 0.2 becomes 1",
    "eq. (7): anomaly = brain * open(d > Otsu(d)): components below the area limit vanish",
    NULL};

static const char *const ablations[] = {"tissue - intensities instead of tissue maps",
                                        "post - Otsu's threshold alone: no clipping, no area opening", NULL};

const gy_model_def gy_model_strega = {
    .slug = "strega",
    .family = "imaging",
    .title = "Unsupervised anomaly detection with a compact context-encoding VAE",
    .cite = "S. Chatterjee et al., Computers in Biology and Medicine 2022, arXiv:2201.13271",
    .job = "a brain scan's slice in, a mask of what does not belong there out; trained on healthy brains alone",
    .year = 2022,
    .equations = equations,
    .config_size = sizeof(config),
    .options = options,
    .configs = configs,
    .ablations = ablations,
    .check = check,
    .build = build,
    .objective = objective,
    .open = gy_strega_open,
    .close = gy_strega_close,
    .batch = gy_strega_batch,
    .lr = lr,
    .evaluate = gy_strega_evaluate,
    .panels = gy_strega_panels,
    .claim = gy_strega_claim,
};
