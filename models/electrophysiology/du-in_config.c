/* Du-IN, fourth part: its options and configurations, and which of them make sense. The model is in du-in.c. */
#include "du-in.h"
#include "../blocks/options.h"

#include <inttypes.h>
#include <string.h>

const gy_option gy_duin_options[] = {
    {"stage", "what the inference graph answers: words, codes or mask", GY_OPT_TEXT, offsetof(config, stage), 0, 0},
    INT(channels, 1, 4096, "channels of a window"),
    INT(samples, 2, 1 << 20, "samples of a window"),
    INT(segment, 2, 1 << 16, "samples of a segment, from which one token is made"),
    INT(subjects, 1, 4096, "people, each with channels of their own"),
    INT(neural, 1, 4096, "channels that people are brought to"),
    INT(filters, 1, 4096, "width of the convolutions"),
    INT(features, 1, 4096, "width of the last convolution"),
    INT(kernel, 1, 1023, "length of the first convolution, odd"),
    INT(stride, 1, 1024, "stride of the first convolution"),
    INT(layers, 1, 64, "encoder layers"),
    INT(decoder_layers, 0, 64, "decoder layers of the autoencoder"),
    INT(heads, 1, 64, "attention heads"),
    INT(head_dim, 1, 1024, "width of a head"),
    INT(codes, 2, 1 << 20, "codes"),
    INT(code_width, 2, 4096, "width of a code"),
    INT(hidden, 1, 1 << 16, "width of the word head"),
    INT(words, 2, 1 << 16, "words"),
    REAL(init, 1e-6, 1, "standard deviation of matrices at the start"),
    REAL(commit, 0, 100, "weight of the term that keeps vectors near their codes"),
    REAL(mask, 0.01, 0.99, "share of hidden tokens"),
    REAL(drop, 0, 0.95, "dropout of attention weights and inside the feed-forward parts"),
    REAL(weight_decay, 0, 1, "of matrices"),
    INT(vq_steps, 0, 1e9, "steps of the quantised autoencoder"),
    INT(mask_steps, 0, 1e9, "steps of masked code prediction"),
    INT(word_steps, 0, 1e9, "steps of the classifier"),
    INT(vq_batch, 1, 4096, "windows of a step of the autoencoder"),
    INT(mask_batch, 1, 4096, "the same of masked prediction"),
    INT(word_batch, 1, 4096, "the same of the classifier"),
    REAL(vq_lr, 0, 10, "largest learning rate of the autoencoder"),
    REAL(mask_lr, 0, 10, "the same of masked prediction"),
    REAL(word_lr, 0, 10, "the same of the classifier"),
    REAL(min_lr, 0, 1, "smallest rate, a share of the largest"),
    REAL(warmup, 0, 0.9, "share of a stage's steps in which its rate rises"),
    INT(pretrain, 0, 1, "1: the classifier starts from the masked predictor; 0: afresh"),
    INT(shift, 0, 1 << 20, "labelled windows are moved by at most so many samples, the rest is zero"),
    INT(pool, 2, 1e7, "generated windows without label"),
    INT(train, 1, 1e6, "generated training windows of each word"),
    INT(tests, 1, 1e6, "generated held-out windows of each word"),
    REAL(amplitude, 0, 1e3, "of the generated units"),
    REAL(noise, 0, 1e3, "standard deviation of the generated noise"),
    REAL(rate, 1, 1e5, "samples a second that recordings are brought to"),
    REAL(from, -1e3, 1e3, "start of a recording's labelled window, seconds after its event"),
    {NULL}};

/* The miniature: 1.2 s of ten channels. */
static const config tiny = {.stage = "words",
                            .channels = 10,
                            .samples = 240,
                            .segment = 20,
                            .subjects = 1,
                            .neural = 16,
                            .filters = 32,
                            .features = 16,
                            .kernel = 9,
                            .stride = 5,
                            .layers = 2,
                            .decoder_layers = 1,
                            .heads = 4,
                            .head_dim = 16,
                            .codes = 32,
                            .code_width = 16,
                            .hidden = 64,
                            .words = 12,
                            .init = 0.1,
                            .commit = 0.1,
                            .mask = 0.5,
                            .drop = 0.1,
                            .weight_decay = 0.05,
                            .vq_steps = 800,
                            .mask_steps = 600,
                            .word_steps = 200,
                            .vq_batch = 32,
                            .mask_batch = 64,
                            .word_batch = 24,
                            .vq_lr = 2e-3,
                            .mask_lr = 2e-3,
                            .word_lr = 1e-3,
                            .min_lr = 0.05,
                            .warmup = 0.1,
                            .pretrain = 1,
                            .shift = 0,
                            .pool = 1500,
                            .train = 2,
                            .tests = 20,
                            .amplitude = 1.2,
                            .noise = 1,
                            .rate = 128,
                            .from = -0.5};
/* Parameters: an encoder has 3,465,216 (8 layers of 433,152), the tokeniser before it 95,024, a person's mixture of ten
 * channels 176: 3,560,416 in each of the three stages. Beside that the autoencoder has 46,592 around its codes,
 * 1,732,608 in four decoder layers, 461,600 in transposed convolutions and 170 for a person (5,801,386 in all); the
 * masked predictor 160 and 329,728 (its blank and its head; 3,890,304); the classifier 622,397 in its head (4,182,813).
 * `show` counts the classifier and the first stage, 9,984,199; all three are 13,874,503. The codes, 2048 x 64, are no
 * parameters: they follow moving means.
 *
 * Section 3 and the official code: 3 s at 1 kHz, 61 words of 12 people. Steps: 800, 400 and 200 passes over about 2,400
 * windows of a person (generated here). */
static const config paper = {.stage = "words",
                             .channels = 10,
                             .samples = 3000,
                             .segment = 100,
                             .subjects = 1,
                             .neural = 16,
                             .filters = 128,
                             .features = 16,
                             .kernel = 19,
                             .stride = 10,
                             .layers = 8,
                             .decoder_layers = 4,
                             .heads = 8,
                             .head_dim = 64,
                             .codes = 2048,
                             .code_width = 64,
                             .hidden = 128,
                             .words = 61,
                             .init = 0.1,
                             .commit = 1,
                             .mask = 0.5,
                             .drop = 0.2,
                             .weight_decay = 0.05,
                             .vq_steps = 800 * 75,
                             .mask_steps = 400 * 38,
                             .word_steps = 200 * 75,
                             .vq_batch = 32,
                             .mask_batch = 64,
                             .word_batch = 32,
                             .vq_lr = 3e-4,
                             .mask_lr = 3e-4,
                             .word_lr = 2e-4,
                             .min_lr = 0.025,
                             .warmup = 0.1,
                             .pretrain = 1,
                             .shift = 300,
                             .pool = 2400,
                             .train = 40,
                             .tests = 5,
                             .amplitude = 1.2,
                             .noise = 1,
                             .rate = 1000,
                             .from = 0};
const gy_config gy_duin_configs[] = {{"tiny", "twelve generated words of 1.2 s, ten channels, 32 codes", &tiny},
                                     {"paper", "one person: 3 s at 1 kHz, 30 tokens, 2048 codes, 61 words", &paper},
                                     {NULL}};

int64_t gy_duin_tokens(const config *c) {
    return c->samples / c->segment;
}

int64_t gy_duin_width(const config *c) {
    return c->segment / c->stride * c->features;
}

gy_status gy_duin_check(gy_ctx *ctx, const void *cfg) {
    const config *c = cfg;
    if (strcmp(c->stage, "words") != 0 && strcmp(c->stage, "codes") != 0 && strcmp(c->stage, "mask") != 0)
        return gy_fail(ctx, GY_ERR_USAGE, "du-in: stage='%s': expected words, codes or mask", c->stage);
    if (c->samples % c->segment || c->segment % c->stride)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "du-in: samples=%" PRId64 ", segment=%" PRId64 ", stride=%" PRId64
                       ": expected each to be a multiple of the next",
                       c->samples, c->segment, c->stride);
    if (c->kernel % 2 == 0 || gy_duin_width(c) % 2 || c->kernel > c->segment)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "du-in: kernel=%" PRId64 ", tokens of width %" PRId64
                       ": expected an odd kernel within the segment and an even width",
                       c->kernel, gy_duin_width(c));
    if (gy_duin_tokens(c) < 2)
        return gy_fail(ctx, GY_ERR_USAGE, "du-in: %" PRId64 " samples are one segment: nothing is left to hide",
                       c->samples);
    return GY_OK;
}
