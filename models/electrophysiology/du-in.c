/* Du-IN: speech from electrodes in the brain, by discrete codes of short pieces of signal.
 *
 * Zheng, Wang, Jiang, Chen, He, Lin, Wei, Zhao, Liu: "Du-IN: Discrete units-guided mask modeling for decoding speech
 * from Intracranial Neural signals", NeurIPS 2024, arXiv:2405.11459.
 *
 * Few trials carry a label, many hours do not. Du-IN learns from the latter in two steps. (1) A quantised autoencoder
 * cuts three seconds of about ten channels into segments, fuses all channels of a segment into one token and gives each
 * token one of 2048 codes, so that the signal can be drawn again from its codes. (2) A second encoder of the same shape
 * sees a window with half of its tokens hidden and must name the codes of the hidden ones. (3) A classifier that starts
 * from that second encoder reads words. The claim: codes find the signal's units, hidden codes can be told from their
 * neighbours, and few labelled words are read better than by the same network from scratch; without the fusion of
 * channels nothing is left.
 *
 * Where text and official code differ, the code's form is here: queries and keys of each head are layer-normalised, the
 * tokeniser has no activation between its convolutions, and the second step starts from fresh weights. One difference
 * on purpose: the released word head ends in a sigmoid before the cross-entropy, which keeps the loss above
 * log(1 + 60/e) for 61 words; here the head gives plain logits. Parameter names are those of the official checkpoints
 * of the three stages, the first two under "vqvae." and "mae.". */
#include "du-in.h"
#include "../blocks/encoder.h"
#include "../blocks/vq.h"

#include <math.h>
#include <string.h>

sizes gy_duin_sizes(const gy_build *b) {
    const config *c = b->cfg;
    sizes s = {c->channels, c->words, c->subjects};
    if (b->job) {
        const lab *d = b->job->data;
        return (sizes){d->channels, d->words, d->subjects};
    }
    const gy_state *w = gy_state_find(b->m->store, "subj_block.subj_layer.W.weight");
    const gy_state *head = gy_state_find(b->m->store, "cls_block.cls_head.2.0.weight");
    if (w && w->value.shape.rank == 2) {
        s.channels = w->value.shape.dim[0] / c->neural;
        s.subjects = w->value.shape.dim[1];
    }
    if (head) s.words = head->value.shape.dim[0];
    return s;
}

/* ---- parts ---- */

static const gy_init zeros = {GY_INIT_ZEROS};

static gy_t linear(gy_mod *m, const config *c, const char *name, gy_t x, int64_t out) {
    return gy_nn_linear(m, name, x, out, .init = {GY_INIT_TRUNC_NORMAL, c->init}, .bias_init = zeros);
}

/* Eq. (1): each person's own mixture of channels: x [B, T, C], subject one-hot [B, S] -> [B, T, out] */
static gy_t subject_layer(gy_mod *m, const config *c, const char *name, gy_t x, gy_t subject, int64_t out) {
    int64_t b = gy_dim(x, 0), in = gy_dim(x, 2);
    gy_push(m, "%s.subj_layer", name);
    gy_t w = gy_nn_linear(m, "W", subject, in * out, .no_bias = true, .init = {GY_INIT_TRUNC_NORMAL, c->init});
    gy_t bias = gy_nn_linear(m, "B", subject, out, .no_bias = true, .init = zeros);
    gy_pop(m);
    gy_t y = gy_matmul(x, gy_reshape(w, b, in, out)); /* [B, T, out] */
    return gy_add(y, gy_unsqueeze(bias, 1));
}

/* Convolution and batch norm, no activation: [N, T, in] -> [N, T / stride, out] */
static gy_t conv_block(gy_mod *m, int64_t i, gy_t x, int64_t out, int64_t kernel, int64_t stride) {
    gy_push(m, "tokenizer.conv_blocks.%d", (int)i);
    x = gy_nn_conv(m, "0.1", x, out, GY_S(kernel), .stride = GY_S(stride), .pad = GY_S((kernel - 1) / 2));
    x = gy_nn_batchnorm(m, "1.1", x);
    gy_pop(m);
    return x;
}

/* Eq. (2): region fusion: all channels of a segment become one token: [B, T, n] -> [B, L, d] */
static gy_t tokenizer(gy_mod *m, const config *c, gy_t x) {
    int64_t b = gy_dim(x, 0), tokens = gy_duin_tokens(c);
    gy_t h = gy_reshape(x, b * tokens, c->segment, gy_dim(x, 2)); /* [B L, segment, n] */
    h = conv_block(m, 0, h, c->filters, c->kernel, c->stride);    /* [B L, segment/stride, filters] */
    h = conv_block(m, 1, h, c->filters, 3, 1);
    h = conv_block(m, 2, h, c->features, 3, 1);        /* [B L, segment/stride, features] */
    return gy_reshape(h, b, tokens, gy_duin_width(c)); /* [B, L, d] */
}

static const gy_encoder_names layer_names = {.q = "mha.W_q.W",
                                             .k = "mha.W_k.W",
                                             .v = "mha.W_v.W",
                                             .norm_q = "mha.norm_q",
                                             .norm_k = "mha.norm_k",
                                             .out = "mha.proj.0",
                                             .norm1 = "norm_mha",
                                             .fc1 = "ffn.fc1.0",
                                             .fc2 = "ffn.fc2.0",
                                             .norm2 = "norm_ffn"};

/* Eq. (3): time, then transformer layers: [B, L, d] -> [B, L, d] */
static gy_t transformer(gy_mod *m, const config *c, const char *name, int64_t layers, gy_t x) {
    gy_encoder e = {.names = &layer_names,
                    .heads = c->heads,
                    .head_dim = c->head_dim,
                    .inner = 2 * gy_dim(x, 2),
                    .act = GY_ACT_RELU,
                    .qk_norm = true,
                    .drop_weights = c->drop,
                    .drop_inner = c->drop,
                    .init_std = c->init};
    gy_push(m, "%s", name);
    gy_mod root = *m; /* hook points "encoder.q.0", ... */
    x = gy_add(x, gy_sine_table(m, gy_dim(x, 1), gy_dim(x, 2)));
    for (int64_t l = 0; l < layers; l++) {
        gy_push(m, "1.xfmr_blocks.%d", (int)l);
        x = gy_encoder_layer(m, &root, &e, l, x, GY_NONE);
        gy_pop(m);
    }
    gy_pop(m);
    return x;
}

/* One layer of the way back: [N, T, in] -> [N, stride T, out]; padded so that the length is exactly that. */
static gy_t deconv(gy_mod *m, int64_t i, gy_t x, int64_t out, int64_t kernel, int64_t stride) {
    int64_t in = gy_dim(x, 2), extra = kernel - stride, pad = (extra + 1) / 2;
    gy_push(m, "rgs_block.rgs_head.%d.0.1", (int)i);
    gy_t w = gy_param(m, "weight", GY_S(in, out, kernel), GY_INIT_KAIMING_UNIFORM, sqrt(5));
    gy_t bias = gy_param(m, "bias", GY_S(out), GY_INIT_FAN_IN, (double)(out * kernel));
    gy_pop(m);
    return gy_conv_transpose(x, w, bias, .stride = GY_S(stride), .pad = GY_S(pad),
                             .output_padding = GY_S(2 * pad - extra));
}

/* Eq. (6): tokens back to channels: [B, L, d] -> [B, T, n] */
static gy_t redraw(gy_mod *m, const config *c, gy_t x) {
    int64_t steps = c->segment / c->stride, f = c->filters;
    x = deconv(m, 0, x, f, 3, 1);
    x = deconv(m, 1, x, f, 3, 1);
    x = deconv(m, 2, x, f, steps, steps); /* [B, L segment/stride, filters] */
    x = deconv(m, 3, x, f, 9, 1);
    x = deconv(m, 4, x, c->features, 2 * c->stride - 1, c->stride); /* [B, T, features] */
    return linear(m, c, "rgs_block.rgs_head.5.0", x, c->neural);    /* [B, T, n] */
}

/* ---- the three stages ---- */

/* A window's tokens before the encoder: [B, T, C] -> [B, L, d] */
static gy_t tokens_of(gy_build *b, gy_t x, gy_t subject) {
    const config *c = b->cfg;
    if (gy_ablates(b->ablate, "channel-mean")) x = gy_broadcast_to(gy_mean_keep(x, GY_AXES(2)), gy_shape_of(x));
    return gy_tap(b->m, "tokens", tokenizer(b->m, c, subject_layer(b->m, c, "subj_block", x, subject, c->neural)));
}

typedef struct vqvae {
    gy_vq vq;
    gy_t z;     /* [B, L, code_width] before quantisation */
    gy_t drawn; /* [B, T, C] */
} vqvae;
/* Stage 1, eq. (4)-(6). `draw` false: codes only. */
static vqvae autoencoder(gy_build *b, gy_t x, gy_t subject, bool draw) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    vqvae r = {.drawn = GY_NONE};
    gy_push(m, "vqvae");
    gy_t e = transformer(m, c, "encoder", c->layers, tokens_of(b, x, subject)); /* [B, L, d] */
    gy_push(m, "vq_block");
    gy_t h = gy_tanh(linear(m, c, "pre_proj.0", e, gy_dim(e, 2)));
    r.z = linear(m, c, "pre_proj.2", h, c->code_width); /* [B, L, code_width] */
    r.vq = gy_vq_quantise(m, "codex", r.z, c->codes, .decay = 0.99, .commit = c->commit, .unit_length = true,
                          .directions = true);
    if (draw) {
        gy_t q = linear(m, c, "post_proj.0", gy_nn_layernorm(m, "layernorm", r.vq.q), gy_dim(e, 2)); /* [B, L, d] */
        gy_pop(m);
        q = redraw(m, c, transformer(m, c, "decoder", c->decoder_layers, q));    /* [B, T, n] */
        r.drawn = subject_layer(m, c, "desubj_block", q, subject, gy_dim(x, 2)); /* [B, T, C] */
    } else {
        gy_pop(m);
    }
    gy_pop(m);
    return r;
}

/* Stage 2, eq. (7): logits of the codes of hidden tokens. mask [B, L], 1: hidden. The complement is run too, so that
 * every token is predicted once from the tokens of the other half: -> [B, L, codes] */
static gy_t masked_codes(gy_build *b, gy_t x, gy_t subject, gy_t mask) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    int64_t n = gy_dim(x, 0);
    gy_push(m, "mae");
    gy_t token = tokens_of(b, x, subject); /* [B, L, d] */
    gy_t blank = gy_param(m, "mask_emb", GY_S(gy_dim(token, 2)), GY_INIT_TRUNC_NORMAL, 0.02);
    gy_t hidden = gy_unsqueeze(mask, 2), seen = gy_sub(gy_scalar(hidden, 1), hidden); /* [B, L, 1] */
    gy_t first = gy_add(gy_mul(token, seen), gy_mul(hidden, blank));
    gy_t second = gy_add(gy_mul(token, hidden), gy_mul(seen, blank));
    gy_t e = transformer(m, c, "encoder", c->layers, gy_concat2(0, first, second)); /* [2B, L, d] */
    gy_t z = linear(m, c, "cls_block.cls_head.0.0", e, c->codes);                   /* [2B, L, codes] */
    gy_pop(m);
    return gy_add(gy_mul(gy_slice(z, 0, 0, n), hidden), gy_mul(gy_slice(z, 0, n, 2 * n), seen));
}

/* Stage 3, eq. (8): [B, T, C] -> [B, words] */
static gy_t words(gy_build *b, gy_t x, gy_t subject, int64_t n) {
    const config *c = b->cfg;
    gy_mod *m = b->m;
    gy_t e = gy_tap(m, "embeddings", transformer(m, c, "encoder", c->layers, tokens_of(b, x, subject)));
    gy_t h = gy_relu(linear(m, c, "cls_block.cls_head.1.0", gy_flatten(e, 1, 2), c->hidden)); /* [B, hidden] */
    return linear(m, c, "cls_block.cls_head.2.0", h, n);
}

/* ---- graphs ---- */

static void build(gy_build *b) {
    const config *c = b->cfg;
    gy_graph *g = b->m->g;
    sizes s = gy_duin_sizes(b);
    gy_t x = gy_input(g, "signal", GY_F32, GY_S(b->batch, c->samples, s.channels));
    gy_t subject = gy_input(g, "subject", GY_F32, GY_S(b->batch, s.subjects));
    if (strcmp(c->stage, "codes") == 0) {
        vqvae r = autoencoder(b, x, subject, true);
        gy_output(r.vq.index, "codes"); /* i64 [B, L] */
        gy_output(r.drawn, "redrawn");  /* [B, T, C] */
        gy_output(r.z, "before");       /* [B, L, code_width] */
    } else if (strcmp(c->stage, "mask") == 0) {
        gy_t mask = gy_input(g, "mask", GY_F32, GY_S(b->batch, gy_duin_tokens(c)));
        gy_output(masked_codes(b, x, subject, mask), "code_logits"); /* [B, L, codes] */
    } else {
        gy_t z = words(b, x, subject, s.words);
        gy_output(z, "logits"); /* [B, words] */
        gy_output(gy_softmax(z, -1), "probabilities");
    }
}

/* A random half of the tokens of each window, 1: hidden. [B, L] */
static gy_t random_mask(gy_graph *g, int64_t n, int64_t tokens, double ratio) {
    int64_t kept = (int64_t)((double)tokens * (1 - ratio));
    gy_t noise = gy_random_uniform(g, "mask", GY_F32, GY_S(n, tokens), 0, 1);
    gy_t place = gy_argsort(gy_cast(gy_argsort(noise, 1), GY_F32), 1); /* i64 [B, L] */
    return gy_cast(gy_ge(place, gy_full(g, GY_I64, GY_S0, (double)kept)), GY_F32);
}

static void objective(gy_build *b) {
    const config *c = b->cfg;
    gy_graph *g = b->m->g;
    static const char *const stage_name[] = {"vqvae", "mae", "words"};
    int64_t n = b->phase == 0 ? c->vq_batch : b->phase == 1 ? c->mask_batch : c->word_batch;
    sizes s = gy_duin_sizes(b);
    gy_t x = gy_input(g, "signal", GY_F32, GY_S(n, c->samples, s.channels)), loss;
    gy_t subject = gy_input(g, "subject", GY_F32, GY_S(n, s.subjects));
    if (b->phase == 0) {
        vqvae r = autoencoder(b, x, subject, true);
        gy_t there = gy_input(g, "channel_mask", GY_F32, GY_S(n, s.channels)); /* 0: the person lacks the channel */
        gy_t error = gy_mean(gy_square(gy_sub(r.drawn, x)), GY_AXES(1));       /* [B, C] */
        error = gy_div(gy_sum(gy_mul(error, there), GY_ALL), gy_add_scalar(gy_sum(there, GY_ALL), 1e-12));
        loss = gy_add(error, r.vq.loss); /* eq. (6) */
        gy_output(r.vq.perplexity, "perplexity");
    } else if (b->phase == 1) {
        gy_mod *m = b->m, frozen = *m;
        frozen.train = false; /* codes come from the finished autoencoder, with its running statistics */
        b->m = &frozen;
        gy_t code = autoencoder(b, x, subject, false).vq.index; /* i64 [B, L] */
        b->m = m;
        if (gy_ablates(b->ablate, "codes")) code = gy_roll(code, 0, 1); /* another window's */
        gy_t z = masked_codes(b, x, subject, random_mask(g, n, gy_duin_tokens(c), c->mask));
        loss = gy_cross_entropy(gy_reshape(z, -1, c->codes), gy_reshape(code, -1));
    } else {
        gy_t label = gy_input(g, "label", GY_I64, GY_S(n));
        loss = gy_cross_entropy(words(b, x, subject, s.words), label);
    }
    gy_output(loss, "loss");
    gy_optim_adamw(g, b->m->store, loss,
                   .prefix = b->phase == 0   ? "vqvae."
                             : b->phase == 1 ? "mae."
                                             : NULL,
                   .name = stage_name[b->phase], .weight_decay = c->weight_decay, .decays = gy_decays_matrices,
                   .clip_norm = 3);
}

/* ---- the definition ---- */

static const char *const equations[] = {
    "eq. (1): x\u2032 = x W\u209b + b\u209b, s the person",
    "eq. (2): tokens e\u1d62 = flatten(BN conv\u2083 BN conv\u2083 BN conv\u2081\u2089 x\u2032[segment i])",
    "eq. (3): h = transformer(e + time): x \u2190 LN(x + attention(LN q, LN k, v)), x \u2190 LN(x + W\u2082 "
    "relu(W\u2081 x))",
    "eq. (4): z = unit(W\u2082 tanh(W\u2081 h)); code = argmin_k |z - v_k|\u00b2",
    "eq. (5): v_k \u2190 unit(0.99 v_k + 0.01 unit(mean of the z that chose k))",
    "eq. (6): L = mean |x - D(v_code)|\u00b2 + mean |z - sg(v_code)|\u00b2",
    "eq. (7): L_mask = -log p(code\u1d62 | tokens of the other half)",
    "eq. (8): words = softmax(W\u2082 relu(W\u2081 flatten(h)))",
    NULL};

static const char *const ablations[] = {"channel-mean - all channels are replaced by their mean: no region fusion",
                                        "codes - masked prediction is trained on another window's codes",
                                        "scratch - the classifier does not start from the masked predictor", NULL};

/* Official checkpoints of one stage have no prefix and name codes and heads otherwise. */
static const gy_weight_rule weights[] = {
    {"vqvae.vq_block.codex.weight", "vq_block.codex.embeddings"}, {"vqvae.*", "*"}, {"mae.*", "*"}, {0}};
static const char *const ignorable[] = {"*time_encodings", "vq_block.*",           "contra_block.*",
                                        "*.scale",         "*num_batches_tracked", NULL};

const gy_model_def gy_model_du_in = {
    .slug = "du-in",
    .family = "electrophysiology",
    .title = "Speech from intracranial signals by discrete units and masked modelling",
    .cite = "H. Zheng, H. Wang, W. Jiang, Z. Chen, L. He, P. Lin, P. Wei, G. Zhao, Y. Liu, NeurIPS 2024, "
            "arXiv:2405.11459",
    .job = "seconds of a few electrodes' voltage -> codes of its segments, and the word that was read",
    .year = 2024,
    .equations = equations,
    .config_size = sizeof(config),
    .options = gy_duin_options,
    .configs = gy_duin_configs,
    .ablations = ablations,
    .ignorable = ignorable,
    .weights = weights,
    .check = gy_duin_check,
    .build = build,
    .objective = objective,
    .phases = gy_duin_phases,
    .phase_of = gy_duin_phase_of,
    .open = gy_duin_open,
    .close = gy_duin_close,
    .batch = gy_duin_batch,
    .lr = gy_duin_rate,
    .evaluate = gy_duin_evaluate,
    .panels = gy_duin_panels,
    .claim = gy_duin_claim,
};
