/* What Titans must remember: pairs told, nonsense longer than the attention window, keys asked for; its measures and
 * the claim. */
#include "titans.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the recall task ---- */

enum { KEY = 'a', VALUE = 'A', NOISE = '0', NOISES = 8 };

/* Text trains as any language model; the recall task needs pairs in the configuration and no file. */
static bool recall(const gy_job *j) {
    return !j->data_path && ((const config *)j->cfg)->pairs > 0;
}

/* One sequence: pairs, `gap` tokens of nonsense, the keys again with their values in another order. target: the value
 * where a key is asked for, -100 elsewhere. */
static void draw(gy_rng *r, const config *c, int64_t gap, int64_t *ids, int64_t *target) {
    int64_t key[16], value[16], n = 0, t = 4 * c->pairs + gap;
    for (int64_t i = 0; i < t; i++) target[i] = -100;
    for (int64_t i = 0; i < c->keys; i++) key[i] = i;
    for (int64_t i = 0; i < c->pairs; i++) { /* distinct keys */
        int64_t o = i + gy_rng_below(r, c->keys - i), k = key[o];
        key[o] = key[i];
        key[i] = k;
        value[i] = gy_rng_below(r, c->keys);
        ids[n++] = KEY + k;
        ids[n++] = VALUE + value[i];
    }
    for (int64_t i = 0; i < gap; i++) ids[n++] = NOISE + gy_rng_below(r, NOISES);
    for (int64_t i = 0; i < c->pairs; i++) {
        int64_t o = i + gy_rng_below(r, c->pairs - i), k = key[o], v = value[o];
        key[o] = key[i];
        value[o] = value[i];
        key[i] = k;
        value[i] = v;
        target[n] = VALUE + v;
        ids[n++] = KEY + k;
        ids[n++] = VALUE + v;
    }
}

gy_status gy_titans_open(gy_job *j) {
    const config *c = j->cfg;
    scene s = {.c = c, .ablate = j->ablate};
    gy_lm l = gy_titans_lm(&s);
    if (!recall(j)) return gy_lm_open(j, &l);
    j->batch = c->train.batch;
    if (!j->steps) j->steps = c->train.steps;
    snprintf(j->data_label, sizeof j->data_label, "generated");
    j->data_hash = gy_hash_str("recall", j->seed);
    return GY_OK;
}

gy_status gy_titans_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    if (!recall(j)) return gy_lm_batch_feed(j, p, phase, step);
    int64_t *ids = gy_plan_input(p, "ids"), *target = gy_plan_input(p, "target"), t = c->train.tokens;
    char name[48];
    gy_rng r;
    snprintf(name, sizeof name, "batch.%" PRId64, step);
    gy_rng_init(&r, j->seed, name);
    for (int64_t i = 0; i < j->batch; i++) draw(&r, c, c->gap, ids + i * t, target + i * t);
    return GY_OK;
}

/* ---- metrics ---- */

enum { ROWS = 64, ROUNDS = 8, KINDS = 4 };

/* What is measured on held-out sequences with a gap. */
typedef struct findings {
    double accuracy;
    double theta[KINDS]; /* mean learning step at keys and values told, at nonsense, at keys asked for */
} findings;

static void tally(const config *c, int64_t gap, const int64_t *target, const float *logits, const float *theta,
                  double *right, double sum[KINDS], double count[KINDS]) {
    int64_t t = 4 * c->pairs + gap, v = c->vocabulary;
    for (int64_t i = 0; i < t; i++) {
        int kind = i < 2 * c->pairs ? (int)(i % 2) : i < 2 * c->pairs + gap ? 2 : 3;
        if (theta && (kind < 3 || target[i] >= 0))
            for (int64_t h = 0; h < c->heads; h++) {
                sum[kind] += c->rate / (1 + exp(-(double)theta[h * t + i]));
                count[kind]++;
            }
        if (target[i] < 0) continue;
        const float *x = logits + i * v;
        int64_t best = 0;
        for (int64_t k = 1; k < v; k++)
            if (x[k] > x[best]) best = k;
        *right += best == target[i];
    }
}

static gy_status measure(gy_job *j, int64_t gap, findings *f) {
    config c = *(const config *)j->cfg;
    scene s = {.c = &c, .ablate = j->ablate};
    gy_lm l = gy_titans_lm(&s);
    gy_hook watch = {.name = "layers.0.memory.theta", .kind = GY_HOOK_READ};
    int64_t t = c.train.tokens = 4 * c.pairs + gap;
    double right = 0, sum[KINDS] = {0}, count[KINDS] = {0};
    gy_rng r;
    gy_graph *g = gy_graph_new(j->ctx);
    if (!g) return GY_ERR_NOMEM;
    gy_mod m = gy_mod_make(g, j->store, j->seed, false);
    m.hooks = &watch;
    m.n_hooks = gy_ablates(s.ablate, "memory") ? 0 : 1;
    gy_lm_build(&(gy_build){.m = &m, .cfg = &c, .batch = ROWS, .ablate = j->ablate}, &l);
    gy_plan *p = gy_compile(g, (gy_plan_args){0});
    int64_t *target = gy_calloc(j->ctx, (size_t)(ROWS * t), sizeof *target);
    gy_status st = p && target ? GY_OK : gy_error_status(j->ctx);
    gy_rng_init(&r, j->seed, "held out");
    for (int round = 0; st == GY_OK && round < ROUNDS; round++) {
        int64_t *ids = gy_plan_input(p, "ids");
        for (int64_t i = 0; i < ROWS; i++) draw(&r, &c, gap, ids + i * t, target + i * t);
        if ((st = gy_plan_run(p)) != GY_OK) break;
        const float *y = gy_plan_output(p, "logits").data, *theta = gy_plan_output(p, watch.name).data;
        for (int64_t i = 0; i < ROWS; i++)
            tally(&c, gap, target + i * t, y + i * t * c.vocabulary, theta ? theta + i * c.heads * t : NULL, &right,
                  sum, count);
    }
    f->accuracy = right / (double)(ROWS * ROUNDS * c.pairs);
    for (int k = 0; k < KINDS; k++) f->theta[k] = count[k] > 0 ? sum[k] / count[k] : 0;
    gy_free(j->ctx, target);
    gy_plan_free(p);
    gy_graph_free(g);
    return st;
}

gy_status gy_titans_evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    scene s = {.c = c, .ablate = j->ablate};
    gy_lm l = gy_titans_lm(&s);
    findings f;
    if (!recall(j)) return gy_lm_evaluate(j, &l, out);
    gy_status st = measure(j, c->gap, &f);
    if (st != GY_OK) return st;
    gy_metric_add(out, "recall", f.accuracy, 1.0 / (double)c->keys, "accuracy");
    if ((st = measure(j, c->long_gap, &f)) != GY_OK) return st;
    gy_metric_add(out, "recall_long_gap", f.accuracy, 1.0 / (double)c->keys, "accuracy");
    return GY_OK;
}

/* ---- the report: where the memory writes ---- */

gy_status gy_titans_panels(gy_job *j, void *report) {
    const config *c = j->cfg;
    findings f;
    gy_panel about = {.panel = "theta",
                      .title = "Where the memory writes",
                      .caption =
                          "The learning step that the gate gives to a token, by what the token is. A pair can be "
                          "written only once its value has been read, and nonsense is better not written at all: "
                          "nobody told the gate, it found this out.",
                      .alt = "Four bars: mean learning step at keys, values, nonsense and questions",
                      .label = "learning step theta",
                      .unit = "1",
                      .n = ROWS * ROUNDS,
                      .n_of = "held-out sequences",
                      .chance = NAN};
    if (!recall(j) || gy_ablates(j->ablate, "memory")) return GY_OK;
    gy_report_plan(report, "theta", "which tokens are written into the memory, and how strongly");
    gy_status s = measure(j, c->gap, &f);
    if (s == GY_OK)
        s = gy_panel_bars(j, report, &about, KINDS, (const char *[]){"key", "value", "nonsense", "question"}, f.theta);
    gy_report_term(report, "learning step", "how far one step of gradient descent moves the weights of the memory");
    return s;
}

/* ---- the claim ---- */

/* A trained job's recall at both gaps. */
static gy_status arm(const gy_job *j, const char *ablate, findings *near, findings *far) {
    gy_job one;
    gy_status s = gy_job_init(&one, j->ctx, j->def, j->config_name, NULL, 0);
    if (s != GY_OK) return s;
    memcpy(one.cfg, j->cfg, sizeof(config));
    one.seed = j->seed;
    one.ablate = ablate;
    one.steps = j->steps;
    s = gy_job_open(&one);
    if (s == GY_OK) s = gy_job_train(&one);
    if (s == GY_OK) s = measure(&one, ((const config *)j->cfg)->gap, near);
    if (s == GY_OK) s = measure(&one, ((const config *)j->cfg)->long_gap, far);
    gy_job_free(&one);
    return s;
}

gy_status gy_titans_claim(gy_job *j, gy_claim *out) {
    const config *c = j->cfg;
    findings near, far, alone, alone_far;
    if (!recall(j)) return gy_fail(j->ctx, GY_ERR_USAGE, "titans: the claim needs the recall task: pairs >= 1");
    gy_status s = arm(j, j->ablate, &near, &far);
    if (s == GY_OK) s = arm(j, "memory", &alone, &alone_far);
    if (s != GY_OK) return s;
    double chance = 1.0 / (double)c->keys;
    gy_metric_add(&out->details, "memory, trained gap", near.accuracy, chance, "accuracy");
    gy_metric_add(&out->details, "memory, unseen gap", far.accuracy, chance, "accuracy");
    gy_metric_add(&out->details, "attention alone, trained gap", alone.accuracy, chance, "accuracy");
    gy_metric_add(&out->details, "attention alone, unseen gap", alone_far.accuracy, chance, "accuracy");
    out->metric = "share of values recalled across a gap longer than the attention window";
    out->value = near.accuracy;
    out->baseline = alone.accuracy;
    out->threshold = 0.9;
    out->chance = chance;
    out->pass = near.accuracy >= 0.9 && far.accuracy >= 0.8 && alone.accuracy <= 0.25;
    return GY_OK;
}
