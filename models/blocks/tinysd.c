#include "tinysd.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void gy_tinysd_caption(const gy_scene *s, int64_t token[GY_TINYSD_TOKENS]) {
    memset(token, 0, GY_TINYSD_TOKENS * sizeof *token);
    for (int k = 0; k < s->n; k++) {
        token[4 * k] = k ? GY_WORD_AND : GY_WORD_BEGIN;
        token[4 * k + 1] = GY_WORD_COLOUR + s->object[k].colour;
        token[4 * k + 2] = GY_WORD_SHAPE + s->object[k].shape;
    }
}

gy_t gy_tinysd_text(gy_mod *m, gy_t tokens) {
    gy_t word = gy_nn_embedding(m, "token_embedding", tokens, GY_TINYSD_WORDS, GY_TINYSD_CONTEXT, 0); /* [B, 8, 32] */
    gy_push(m, "position_embedding");
    gy_t place = gy_param(m, "weight", GY_S(GY_TINYSD_TOKENS, GY_TINYSD_CONTEXT), GY_INIT_NORMAL, 1.0);
    gy_pop(m);
    return gy_add(word, place);
}

gy_unet_spec gy_tinysd_unet(void) {
    return (gy_unet_spec){.axes = 2,
                          .in = 3,
                          .out = 3,
                          .levels = 2,
                          .channels = {16, 32},
                          .resnets = 1,
                          .heads = {0, 2},
                          .mid_heads = 2,
                          .time_features = 32,
                          .time_width = 64,
                          .style = {.groups = 4}};
}

void gy_tinysd_noise(gy_noise *out) {
    gy_noise_init(out, GY_NOISE_SCALED_LINEAR, 1000, 0, 0);
}

gy_sampler gy_tinysd_sampler(gy_ctx *ctx, const gy_noise *noise, int64_t n, uint64_t seed) {
    return (gy_sampler){.ctx = ctx,
                        .noise = noise,
                        .kind = GY_SAMPLER_DDIM,
                        .prediction = GY_PREDICT_EPS,
                        .steps = 20,
                        .spacing = GY_SPACING_LEADING,
                        .offset = 1,
                        .clip = 1.2,
                        .seed = seed,
                        .n = n * GY_SHAPES16_SIZE};
}

gy_tinysd_verdict gy_tinysd_judge(const gy_scene *s, const float image[GY_SHAPES16_SIZE]) {
    gy_tinysd_verdict v = {0};
    int label[4];
    gy_scene_oracle(image, label);
    for (int q = 0; q < 4; q++) {
        if (label[q] < 0) continue;
        v.objects++;
        v.colour = v.colour || label[q] % 4 == s->object[0].colour;
        v.shape = v.shape || label[q] / 4 == s->object[0].shape;
        for (int k = 0; k < s->n; k++)
            if (label[q] == 4 * s->object[k].shape + s->object[k].colour) {
                v.present[k] = true;
                v.placed = v.placed || (k == 0 && q == s->object[0].quadrant);
            }
    }
    return v;
}

/* ---- for reports ---- */

void gy_tinysd_words(const gy_scene *s, char *text, size_t n) {
    static const char *const shapes[] = {"square", "ring", "cross"}, *const colours[] = {"red", "green", "blue",
                                                                                         "yellow"};
    *text = 0;
    for (int k = 0; k < s->n; k++) {
        size_t used = strlen(text);
        snprintf(text + used, n - used, "%s%s %s", k ? " and " : "", colours[s->object[k].colour],
                 shapes[s->object[k].shape]);
    }
}

void gy_tinysd_enlarge(const float image[GY_SHAPES16_SIZE], int k, uint8_t *out) {
    for (int y = 0; y < GY_SHAPES16 * k; y++)
        for (int x = 0; x < GY_SHAPES16 * k; x++)
            for (int c = 0; c < 3; c++) {
                float v = 0.5f * image[((y / k) * GY_SHAPES16 + x / k) * 3 + c] + 0.5f;
                *out++ = (uint8_t)(fminf(fmaxf(v, 0.0f), 1.0f) * 255.0f + 0.5f);
            }
}
