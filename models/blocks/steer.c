#include "steer.h"

#include "../../core/gyrus.h"
#include "../../io/files.h"
#include "../../io/weights.h"

#include <math.h>
#include <stdio.h>

const char *const gy_steer_ignorable[] = {"unet.*", NULL};

/* ---- the steered net ---- */

gy_unet_spec gy_steer_unet(const gy_steer_config *c) {
    if (c->net == GY_STEER_SD15) return gy_unet_sd15();
    if (c->net == GY_STEER_TINYSD) return gy_tinysd_unet();
    return (gy_unet_spec){.axes = 2,
                          .in = 4,
                          .out = 4,
                          .levels = 2,
                          .channels = {16, 32},
                          .resnets = 1,
                          .heads = {2, 2},
                          .mid_heads = 2,
                          .style = {.groups = 4}};
}

int64_t gy_steer_factor(const gy_steer_config *c) {
    return c->net == GY_STEER_SD15 ? 8 : c->net == GY_STEER_SMALL ? 2 : 1;
}

gy_t gy_steer_latents(gy_mod *m, const gy_steer_config *c, int64_t batch) {
    return gy_input(m->g, "latents", GY_F32, GY_S(batch, c->height, c->width, gy_steer_unet(c).in));
}

gy_t gy_steer_context(gy_mod *m, const gy_steer_config *c, int64_t batch) {
    return gy_input(m->g, "context", GY_F32, GY_S(batch, c->tokens, c->context));
}

gy_t gy_steer_hint(gy_mod *m, const gy_steer_config *c, int64_t batch) {
    int64_t f = gy_steer_factor(c);
    return gy_input(m->g, "hint", GY_F32, GY_S(batch, f * c->height, f * c->width, c->channels));
}

static gy_t text_input(gy_mod *m, const gy_steer_config *c, int64_t batch) {
    return c->net == GY_STEER_TINYSD ? gy_input(m->g, "tokens", GY_I64, GY_S(batch, GY_TINYSD_TOKENS))
                                     : gy_steer_context(m, c, batch);
}

/* The frozen U-Net's eps of x; steered if there is a hint. Its text, in the miniature, is tinysd's. */
static gy_t predicted(gy_mod *m, const gy_steer_config *c, gy_steer_net net, gy_t x, gy_t t, gy_t text, gy_t hint) {
    gy_unet_spec spec = gy_steer_unet(c);
    gy_unet_args a = {.m = m, .spec = &spec, .x = x, .t = t, .context = text, .recompute = c->net == GY_STEER_SD15};
    gy_push(m, "unet");
    if (c->net == GY_STEER_TINYSD) a.context = gy_tinysd_text(m, text);
    gy_pop(m);
    if (!gy_is_none(hint)) net(m, c, hint, &a);
    gy_push(m, "unet");
    gy_t y = gy_unet_(a);
    gy_pop(m);
    gy_store_freeze(m->store, "unet.", true);
    return y;
}

void gy_steer_objective(gy_build *b, gy_steer_net net) {
    const gy_steer_config *c = b->cfg;
    gy_mod *m = b->m;
    gy_noise noise;
    gy_tinysd_noise(&noise); /* Stable Diffusion's */
    gy_noised n = gy_noise_batch(m, &noise, gy_steer_latents(m, c, b->batch), GY_PREDICT_EPS);
    gy_t y = predicted(m, c, net, n.x, n.t, text_input(m, c, b->batch), gy_steer_hint(m, c, b->batch));
    gy_t loss = gy_mse(y, n.target, GY_LOSS_MEAN);
    gy_output(loss, "loss");
    gy_optim_adamw(m->g, m->store, loss, .weight_decay = 1e-4, .decays = gy_decays_matrices, .clip_norm = 1);
}

/* ---- data ---- */

static gy_status load_base(gy_job *j, const char *const *fresh) {
    static const gy_weight_rule rules[] = {{"unet.*", "*"}, {0}};
    const gy_steer_config *c = j->cfg;
    gy_compiled run;
    if (!gy_path_exists(c->base))
        return gy_fail(j->ctx, GY_ERR_IO,
                       "%s: base='%s': the U-Net's weights are not there (run from Gyrus' folder, or train some: gyrus "
                       "train tinysd --out D, then --set base=D/model.safetensors)",
                       j->def->slug, c->base);
    gy_status s = gy_job_compile_phase(j, 0, true, &run); /* makes the states */
    if (s == GY_OK) s = gy_weights_load_as(j->ctx, c->base, NULL, j->store, fresh, rules);
    gy_compiled_free(&run);
    return s;
}

gy_status gy_steer_open(gy_job *j, const char *const *fresh) {
    const gy_steer_config *c = j->cfg;
    if (c->net != GY_STEER_TINYSD || c->height != GY_SHAPES16 || c->width != GY_SHAPES16 || c->channels != 3)
        return gy_fail(j->ctx, GY_ERR_UNSUPPORTED,
                       "%s: the generated training set, %d x %d pictures with tinysd's captions and hints of 3 "
                       "channels, fits the configuration tiny only",
                       j->def->slug, GY_SHAPES16, GY_SHAPES16);
    j->batch = c->batch;
    gy_status s = load_base(j, fresh);
    if (s != GY_OK) return s;
    j->data = gy_calloc(j->ctx, 1, 1); /* pictures are functions of seed and step */
    if (!j->data) return GY_ERR_NOMEM;
    if (!j->steps) j->steps = c->steps;
    snprintf(j->data_label, sizeof j->data_label, "generated");
    j->data_hash = gy_hash_str("shapes16 segments", j->seed);
    return GY_OK;
}

void gy_steer_close(gy_job *j) {
    gy_free(j->ctx, j->data);
    j->data = NULL;
}

/* Row i of a plan's inputs: a picture, its caption or none, its objects on black. */
static void draw(gy_plan *p, gy_rng *r, double drop, int64_t i) {
    float *image = (float *)gy_plan_input(p, "latents") + i * GY_SHAPES16_SIZE, plain[GY_SHAPES16_SIZE];
    float *hint = (float *)gy_plan_input(p, "hint") + i * GY_SHAPES16_SIZE;
    gy_scene s = gy_scene_draw(r, 0.5);
    float grey = (float)(2 * s.background - 1);
    gy_scene_image(&s, r, image);
    gy_scene_image(&s, NULL, plain);
    for (int64_t e = 0; e < GY_SHAPES16_SIZE; e += 3) {
        bool inside = false;
        for (int64_t k = e; k < e + 3; k++) inside = inside || fabsf(plain[k] - grey) > 0.01f;
        for (int64_t k = e; k < e + 3; k++) hint[k] = inside ? 0.5f * plain[k] + 0.5f : 0.0f;
    }
    if (gy_rng_uniform(r) < drop) s.n = 0;
    gy_tinysd_caption(&s, (int64_t *)gy_plan_input(p, "tokens") + i * GY_TINYSD_TOKENS);
}

gy_status gy_steer_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const gy_steer_config *c = j->cfg;
    char name[48];
    (void)phase;
    snprintf(name, sizeof name, "batch.%lld", (long long)step);
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    for (int64_t i = 0; i < j->batch; i++) draw(p, &r, c->drop, i);
    return GY_OK;
}

double gy_steer_lr(const gy_job *j, int64_t phase, int64_t step) {
    const gy_steer_config *c = j->cfg;
    gy_schedule s = {GY_SCHEDULE_COSINE, .lr = c->lr, .warmup = 20, .total = j->steps, .min = c->lr / 100};
    (void)phase;
    return gy_schedule_lr(&s, step);
}

/* ---- metrics ---- */

enum { MEASURED = 256 };

/* Each row's hint becomes the next row's. */
static gy_t exchanged(gy_t hint) {
    return gy_concat2(0, gy_slice(hint, 0, 1, MEASURED), gy_slice(hint, 0, 0, 1));
}

gy_status gy_steer_evaluate(gy_job *j, gy_steer_net net, gy_metrics *out) {
    const gy_steer_config *c = j->cfg;
    gy_graph *g = gy_graph_new(j->ctx);
    if (!g) return GY_ERR_NOMEM;
    gy_mod m = gy_mod_make(g, j->store, j->seed, false);
    gy_noise noise;
    gy_tinysd_noise(&noise);
    gy_noised n = gy_noise_batch(&m, &noise, gy_steer_latents(&m, c, MEASURED), GY_PREDICT_EPS);
    gy_t text = text_input(&m, c, MEASURED), hint = gy_steer_hint(&m, c, MEASURED);
    const struct {
        const char *name;
        gy_t hint;
    } cases[] = {{"eps_mse", hint}, {"eps_mse_without_hint", GY_NONE}, {"eps_mse_wrong_hint", exchanged(hint)}};
    enum { CASES = 3 };
    for (int i = 0; i < CASES; i++)
        gy_output(gy_mse(predicted(&m, c, net, n.x, n.t, text, cases[i].hint), n.target, GY_LOSS_MEAN), cases[i].name);
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    gy_status s = p ? GY_OK : gy_error_status(j->ctx);
    if (p) {
        gy_rng r;
        gy_rng_init(&r, j->seed, "evaluate");
        for (int64_t i = 0; i < MEASURED; i++) draw(p, &r, c->drop, i);
        gy_plan_set_rng(p, j->seed, 0);
        s = gy_plan_run(p);
    }
    for (int i = 0; s == GY_OK && i < CASES; i++)
        gy_metric_add(out, cases[i].name, gy_plan_scalar(p, cases[i].name), 1.0, "");
    gy_plan_free(p);
    gy_graph_free(g);
    return s;
}
