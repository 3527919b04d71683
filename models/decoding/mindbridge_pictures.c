/* MindBridge's pictures: what the brain saw, drawn from its responses.
 *
 * The paper gives its embeddings to a frozen diffusion model (section 3.4). Here that model is tinySD, which wants
 * words and an image to start from, and both are read from the predicted embedding alone: a library of scenes that
 * nobody was shown is ranked by cosine similarity; the best scene lends its words, the best few their mean picture,
 * blurred by their disagreement, from which half-way denoising starts. The library knows what embeddings mean, never
 * what was seen. */
#include "../../io/files.h"
#include "../../io/report/html.h"
#include "../../io/run.h"
#include "../blocks/tinysd.h"
#include "mindbridge.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { LIBRARY = 3000, NEAREST = 8, DRAWN = 64, SHOWN = 6, ENLARGED = 6 };
static const double SHARPNESS = 60, STRENGTH = 0.4, GUIDANCE = 2;

/* The library scenes nearest to e, best first, and their weights, exp of similarity, summing to 1. */
static void rank(const gy_stimuli *library, const float *e, int64_t place[NEAREST], double weight[NEAREST]) {
    double best[NEAREST], sum = 0, norm = 0;
    for (int k = 0; k < NEAREST; k++) best[k] = -INFINITY;
    for (int64_t d = 0; d < GY_WORLD_SEMANTIC; d++) norm += (double)e[d] * (double)e[d];
    for (int64_t i = 0; i < library->n; i++) {
        const float *x = library->clip_image + i * GY_WORLD_SEMANTIC;
        double dot = 0;
        int k = NEAREST;
        for (int64_t d = 0; d < GY_WORLD_SEMANTIC; d++) dot += (double)e[d] * (double)x[d];
        dot /= sqrt(norm) + 1e-12;
        for (; k > 0 && dot > best[k - 1]; k--)
            if (k < NEAREST) {
                best[k] = best[k - 1];
                place[k] = place[k - 1];
            }
        if (k < NEAREST) {
            best[k] = dot;
            place[k] = i;
        }
    }
    for (int k = 0; k < NEAREST; k++) sum += weight[k] = exp(SHARPNESS * (best[k] - best[0]));
    for (int k = 0; k < NEAREST; k++) weight[k] /= sum;
}

/* Captions and start images [n, 16, 16, 3] to pictures of the same shape, in place. */
static gy_status draw(gy_job *j, const char *weights, int64_t n, const gy_scene *caption, double *x) {
    gy_job painter;
    gy_compiled net = {0};
    gy_noise noise;
    const gy_model_def *tinysd = gy_model_find("tinysd");
    if (!tinysd) return gy_fail(j->ctx, GY_ERR_UNSUPPORTED, "mindbridge: tinysd is not in this build");
    gy_status s = gy_job_init(&painter, j->ctx, tinysd, NULL, NULL, 0);
    if (s != GY_OK) return s;
    s = gy_job_compile(&painter, 2 * n, NULL, 0, &net);
    if (s == GY_OK) s = gy_weights_load_as(j->ctx, weights, NULL, painter.store, NULL, NULL);
    if (s == GY_OK) {
        int64_t *tokens = gy_plan_input(net.plan, "tokens");
        memset(tokens, 0, (size_t)(n * GY_TINYSD_TOKENS) * sizeof *tokens);
        for (int64_t i = 0; i < n; i++) gy_tinysd_caption(&caption[i], tokens + (n + i) * GY_TINYSD_TOKENS);
        gy_tinysd_noise(&noise);
        gy_denoise_plan d = {net.plan, "image", "timestep", "noise", n * GY_SHAPES16_SIZE, GUIDANCE};
        gy_sampler sampler = gy_tinysd_sampler(j->ctx, &noise, n, j->seed);
        sampler.strength = STRENGTH;
        sampler.denoise = gy_denoise_by_plan;
        sampler.user = &d;
        double *init = gy_calloc(j->ctx, (size_t)sampler.n, sizeof *init);
        if (init)
            memcpy(init, x, (size_t)sampler.n * sizeof *x);
        else
            s = GY_ERR_NOMEM;
        if (s == GY_OK) s = gy_sampler_start(&sampler, init, x);
        if (s == GY_OK) s = gy_sampler_run(&sampler, x);
        gy_free(j->ctx, init);
    }
    gy_compiled_free(&net);
    gy_job_free(&painter);
    return s;
}

/* The share of a scene's objects that a picture has: shape, colour and quadrant all right. */
static double right(const gy_scene *s, const float *image) {
    int label[4], hits = 0;
    gy_scene_oracle(image, label);
    for (int k = 0; k < s->n; k++) hits += label[s->object[k].quadrant] == 4 * s->object[k].shape + s->object[k].colour;
    return (double)hits / s->n;
}

static gy_status show(gy_job *j, gy_report *report, const gy_stimuli *test, const float *made, double score,
                      double chance) {
    enum { SIDE = GY_SHAPES16 * ENLARGED };
    char text[2 * SHOWN][80], caption[640], command[96];
    const char *names[2 * SHOWN];
    gy_image picture[2 * SHOWN];
    gy_figure f;
    uint8_t *pixels = gy_calloc(j->ctx, 2 * SHOWN, SIDE * SIDE * 3);
    if (!pixels) return GY_ERR_NOMEM;
    for (int i = 0; i < 2 * SHOWN; i++) {
        int64_t k = i % SHOWN;
        picture[i] = (gy_image){SIDE, SIDE, 3, 8, pixels + i * SIDE * SIDE * 3};
        gy_tinysd_enlarge((i < SHOWN ? test->image : made) + k * GY_SHAPES16_SIZE, ENLARGED, picture[i].pixels);
        if (i < SHOWN)
            gy_tinysd_words(&test->scene[k], text[i], sizeof text[i]);
        else
            snprintf(text[i], sizeof text[i], "from the brain");
        names[i] = text[i];
    }
    snprintf(caption, sizeof caption,
             "Above, the first %d held-out pictures that the first person saw; below, what was drawn from three noisy "
             "responses to each. Of the objects in %d pictures, %.2f come back with shape, colour and quadrant right; "
             "when each drawing is held against another picture, %.2f do.",
             SHOWN, DRAWN, score, chance);
    snprintf(command, sizeof command, "gyrus train mindbridge --seed %" PRIu64, j->seed);
    gy_pictures figure = {.head = {.title = "Seen, and drawn from the brain",
                                   .caption = caption,
                                   .alt = "two rows of six small pictures of coloured shapes: seen above, drawn below",
                                   .command = command,
                                   .n = DRAWN,
                                   .n_of = "held-out pictures",
                                   .chance = gy_no_chance(),
                                   .side = GY_SIDE_NONE},
                          .value = {.label = "colour", .unit = GY_NO_UNIT},
                          .images = picture,
                          .names = names,
                          .n_images = 2 * SHOWN,
                          .columns = SHOWN};
    gy_status s = gy_figure_pictures(j->ctx, &figure, &f);
    if (s == GY_OK) {
        s = gy_report_figure(report, "pictures", &f);
        gy_figure_free(j->ctx, &f);
    }
    gy_free(j->ctx, pixels);
    return s;
}

gy_status gy_mindbridge_pictures(gy_job *j, void *report) {
    const config *c = j->cfg;
    const gy_cohort *all = gy_mindbridge_cohort(j);
    enum { SIZE = GY_SHAPES16_SIZE };
    gy_stimuli library = {0};
    gy_world world;
    gy_scene caption[DRAWN];
    double score = 0, chance = 0;
    if (!*c->generator || !gy_path_exists(c->generator) || c->image != GY_WORLD_SEMANTIC || c->tests < DRAWN)
        return GY_OK;
    gy_report_plan(report, "pictures", "pictures drawn from a brain's responses, beside those seen");
    float *e = gy_calloc(j->ctx, (size_t)c->tests, GY_WORLD_SEMANTIC * sizeof *e);
    float *made = gy_calloc(j->ctx, DRAWN, SIZE * sizeof *made);
    double *x = gy_calloc(j->ctx, DRAWN, SIZE * sizeof *x);
    gy_world_init(&world, (uint64_t)c->world);
    gy_status s = e && made && x ? gy_mindbridge_seen(j, 0, e) : GY_ERR_NOMEM;
    if (s == GY_OK) s = gy_stimuli_new(j->ctx, &world, LIBRARY, (uint64_t)c->world, "library", 0.5, NULL, &library);
    for (int64_t i = 0; s == GY_OK && i < DRAWN; i++) {
        int64_t place[NEAREST] = {0};
        double weight[NEAREST];
        rank(&library, e + i * GY_WORLD_SEMANTIC, place, weight);
        caption[i] = library.scene[place[0]];
        for (int k = 0; k < NEAREST; k++)
            for (int64_t p = 0; p < SIZE; p++)
                x[i * SIZE + p] += weight[k] * (double)library.image[place[k] * SIZE + p];
    }
    if (s == GY_OK) s = draw(j, c->generator, DRAWN, caption, x);
    for (int64_t i = 0; s == GY_OK && i < DRAWN * SIZE; i++) made[i] = (float)x[i];
    for (int64_t i = 0; s == GY_OK && i < DRAWN; i++) {
        score += right(&all->test.scene[i], made + i * SIZE) / DRAWN;
        chance += right(&all->test.scene[(i + 1) % DRAWN], made + i * SIZE) / DRAWN;
    }
    if (s == GY_OK) s = show(j, report, &all->test, made, score, chance);
    gy_stimuli_free(&library);
    gy_free(j->ctx, e);
    gy_free(j->ctx, made);
    gy_free(j->ctx, x);
    return s;
}
