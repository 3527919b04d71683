#include "patching.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { MOST_LAYERS = 128 };

struct gy_patching {
    gy_ctx *ctx;
    gy_job *job;
    gy_prompts prompts;
    int64_t layers, heads, width, vocabulary, position;
    bool unfrozen;
    float *clean, *corrupt; /* z [layers, rows, tokens, heads, width] */
    double m_clean, m_corrupt, accuracy;
};

/* ---- plans with hooks ---- */

typedef struct hooks {
    int64_t n;
    gy_hook hook[3 * MOST_LAYERS];
    char name[3 * MOST_LAYERS][32];
} hooks;

static void add(hooks *h, const char *point, int64_t layer, gy_hook_kind kind) {
    snprintf(h->name[h->n], sizeof h->name[h->n], "%s.%" PRId64, point, layer);
    h->hook[h->n] = (gy_hook){.name = h->name[h->n], .kind = kind};
    h->n++;
}

static gy_status compile(gy_patching *p, const hooks *h, gy_compiled *out) {
    gy_status s = gy_job_compile(p->job, p->prompts.rows, h->hook, h->n, out);
    if (s == GY_OK && !gy_plan_input(out->plan, "ids"))
        s = gy_fail(p->ctx, GY_ERR_UNSUPPORTED, "%s: path patching needs a model of token ids", p->job->def->slug);
    return s;
}

static void tokens(const gy_patching *p, gy_compiled *c, const int64_t *ids) {
    memcpy(gy_plan_input(c->plan, "ids"), ids, (size_t)(p->prompts.rows * p->prompts.tokens) * sizeof *ids);
}

static int64_t layer_size(const gy_patching *p) {
    return p->prompts.rows * p->prompts.tokens * p->heads * p->width;
}

/* The memory of a replaced point; NULL: the hook found nothing. */
static float *fed(const gy_compiled *c, const char *point, int64_t layer) {
    char name[48];
    snprintf(name, sizeof name, "hook:%s.%" PRId64, point, layer);
    return gy_plan_input(c->plan, name);
}
static const float *value(const gy_compiled *c, const char *point, int64_t layer) {
    char name[48];
    snprintf(name, sizeof name, "%s.%" PRId64, point, layer);
    return gy_plan_output(c->plan, name).data;
}

/* One head's part of [rows, tokens, heads, width], at one token or all (position -1), from another array. */
static void copy_head(const gy_patching *p, float *to, const float *from, int64_t head, int64_t position) {
    int64_t t = p->prompts.tokens, w = p->width;
    for (int64_t i = 0; i < p->prompts.rows * t; i++)
        if (position < 0 || i % t == position)
            memcpy(to + (i * p->heads + head) * w, from + (i * p->heads + head) * w, (size_t)w * sizeof *to);
}

/* ---- what is measured ---- */

/* Means over the prompts at the last token: m, accuracy, log-probability of the answer. */
typedef struct outcome {
    double m, accuracy, log_p;
} outcome;

static outcome judge(const gy_patching *p, const gy_compiled *c) {
    const float *logits = gy_plan_output(c->plan, "logits").data;
    int64_t v = p->vocabulary, n = p->prompts.rows;
    outcome o = {0};
    for (int64_t r = 0; r < n; r++) {
        const float *x = logits + ((r + 1) * p->prompts.tokens - 1) * v;
        int64_t best = 0, a = p->prompts.answer[r];
        double sum = 0;
        for (int64_t k = 1; k < v; k++)
            if (x[k] > x[best]) best = k;
        for (int64_t k = 0; k < v; k++) sum += exp((double)(x[k] - x[best]));
        o.m += (double)(x[a] - x[p->prompts.other[r]]) / (double)n;
        o.accuracy += best == a; /* exact: whole numbers */
        o.log_p += ((double)(x[a] - x[best]) - log(sum)) / (double)n;
    }
    o.accuracy /= (double)n;
    return o;
}

static double effect_of(const gy_patching *p, double m) {
    return (m - p->m_clean) / (p->m_corrupt - p->m_clean);
}

/* ---- step 1 ---- */

static gy_status both_runs(gy_patching *p) {
    hooks *h = gy_calloc(p->ctx, 1, sizeof *h);
    gy_compiled c = {0};
    if (!h) return GY_ERR_NOMEM;
    for (int64_t l = 0; l < p->layers; l++) add(h, "z", l, GY_HOOK_READ);
    gy_status s = compile(p, h, &c);
    gy_free(p->ctx, h);
    for (int side = 0; s == GY_OK && side < 2; side++) {
        float **z = side ? &p->corrupt : &p->clean;
        tokens(p, &c, side ? p->prompts.corrupt : p->prompts.clean);
        if ((s = gy_plan_run(c.plan)) != GY_OK) break;
        gy_tensor logits = gy_plan_output(c.plan, "logits"), first = gy_plan_output(c.plan, "z.0");
        if (!logits.data || !first.data || first.shape.rank != 4 || first.shape.dim[2] != p->heads) {
            s = gy_fail(p->ctx, GY_ERR_UNSUPPORTED, "%s: path patching found no logits or no %" PRId64 " heads",
                        p->job->def->slug, p->heads);
            break;
        }
        p->vocabulary = logits.shape.dim[2];
        p->width = first.shape.dim[3];
        *z = gy_calloc(p->ctx, (size_t)p->layers, (size_t)layer_size(p) * sizeof **z);
        if (!*z) s = GY_ERR_NOMEM;
        for (int64_t l = 0; s == GY_OK && l < p->layers; l++)
            memcpy(*z + l * layer_size(p), value(&c, "z", l), (size_t)layer_size(p) * sizeof **z);
        outcome o = judge(p, &c);
        *(side ? &p->m_corrupt : &p->m_clean) = o.m;
        if (!side) p->accuracy = o.accuracy;
    }
    gy_compiled_free(&c);
    return s;
}

gy_status gy_patching_new(gy_job *j, const gy_prompts *prompts, int64_t layers, int64_t heads, int64_t position,
                          bool unfrozen, gy_patching **out) {
    gy_patching *p = *out = gy_calloc(j->ctx, 1, sizeof *p);
    if (!p) return GY_ERR_NOMEM;
    *p = (gy_patching){.ctx = j->ctx,
                       .job = j,
                       .prompts = *prompts,
                       .layers = layers,
                       .heads = heads,
                       .position = position,
                       .unfrozen = unfrozen};
    gy_status s = GY_OK;
    if (layers < 1 || layers > MOST_LAYERS || prompts->rows < 1)
        s = gy_fail(j->ctx, GY_ERR_USAGE,
                    "path patching: %" PRId64 " layers and %" PRId64 " prompts: expected 1 to %d, and some", layers,
                    prompts->rows, MOST_LAYERS);
    if (s == GY_OK) s = both_runs(p);
    if (s == GY_OK && p->m_clean == p->m_corrupt)
        s = gy_fail(j->ctx, GY_ERR_NUMERIC,
                    "path patching: clean and corrupt prompts give the same logit difference %g", p->m_clean);
    if (s == GY_OK) return s;
    gy_patching_free(p);
    *out = NULL;
    return s;
}

void gy_patching_free(gy_patching *p) {
    if (!p) return;
    gy_free(p->ctx, p->clean);
    gy_free(p->ctx, p->corrupt);
    gy_free(p->ctx, p);
}

double gy_patching_clean(const gy_patching *p) {
    return p->m_clean;
}
double gy_patching_corrupt(const gy_patching *p) {
    return p->m_corrupt;
}
double gy_patching_accuracy(const gy_patching *p) {
    return p->accuracy;
}

/* ---- steps 2 and 3 ---- */

static const char *point_of(gy_receiver to) {
    static const char *const names[] = {"", "q", "k", "v"};
    return names[to];
}

static bool receives(int64_t n, const gy_head *receiver, int64_t layer) {
    for (int64_t i = 0; i < n; i++)
        if (receiver[i].layer == layer) return true;
    return false;
}

/* The clean run with z replaced in all layers (or, unfrozen, in `layer` alone), reading what receivers read. */
static gy_status senders_plan(gy_patching *p, int64_t layer, gy_receiver to, int64_t n, const gy_head *receiver,
                              gy_compiled *c) {
    hooks *h = gy_calloc(p->ctx, 1, sizeof *h);
    if (!h) return GY_ERR_NOMEM;
    for (int64_t l = 0; l < p->layers; l++) {
        if (!p->unfrozen || l == layer) add(h, "z", l, GY_HOOK_REPLACE);
        if (to && receives(n, receiver, l)) add(h, point_of(to), l, GY_HOOK_READ);
    }
    gy_status s = compile(p, h, c);
    gy_free(p->ctx, h);
    if (s != GY_OK) return s;
    tokens(p, c, p->prompts.clean);
    for (int64_t l = 0; l < p->layers; l++) {
        float *z = fed(c, "z", l);
        if (z) memcpy(z, p->clean + l * layer_size(p), (size_t)layer_size(p) * sizeof *z);
    }
    return GY_OK;
}

/* The clean run with what the receivers read replaced; fed first with what they read in the clean run, as `c` with
 * clean senders reads it. */
static gy_status receivers_plan(gy_patching *p, gy_receiver to, int64_t n, const gy_head *receiver, gy_compiled *c) {
    hooks *h = gy_calloc(p->ctx, 1, sizeof *h);
    if (!h) return GY_ERR_NOMEM;
    for (int64_t l = 0; l < p->layers; l++)
        if (receives(n, receiver, l)) add(h, point_of(to), l, GY_HOOK_REPLACE);
    gy_status s = compile(p, h, c);
    gy_free(p->ctx, h);
    if (s == GY_OK) tokens(p, c, p->prompts.clean);
    return s;
}

/* What the receivers read in `from` goes into `to_plan`: whole layers first (clean), then the receiving heads. */
static void hand_over(gy_patching *p, gy_receiver to, int64_t n, const gy_head *receiver, const gy_compiled *from,
                      gy_compiled *to_plan, bool whole) {
    for (int64_t i = 0; i < n; i++) {
        float *x = fed(to_plan, point_of(to), receiver[i].layer);
        const float *y = value(from, point_of(to), receiver[i].layer);
        if (whole)
            memcpy(x, y, (size_t)layer_size(p) * sizeof *x);
        else
            copy_head(p, x, y, receiver[i].head, -1);
    }
}

gy_status gy_patching_map(gy_patching *p, gy_receiver to, int64_t n, const gy_head *receiver, double *effect) {
    gy_compiled send = {0}, receive = {0};
    gy_status s = GY_OK;
    memset(effect, 0, (size_t)(p->layers * p->heads) * sizeof *effect);
    if (!p->unfrozen) s = senders_plan(p, 0, to, n, receiver, &send);
    if (s == GY_OK && to) s = receivers_plan(p, to, n, receiver, &receive);
    for (int64_t l = 0; s == GY_OK && l < p->layers; l++) {
        if (p->unfrozen) {
            gy_compiled_free(&send);
            if ((s = senders_plan(p, l, to, n, receiver, &send)) != GY_OK) break;
        }
        float *z = fed(&send, "z", l);
        const float *clean = p->clean + l * layer_size(p), *corrupt = p->corrupt + l * layer_size(p);
        if (to && s == GY_OK && (l == 0 || p->unfrozen)) { /* nothing changed: what is read in the clean run */
            s = gy_plan_run(send.plan);
            if (s == GY_OK) hand_over(p, to, n, receiver, &send, &receive, true);
        }
        for (int64_t h = 0; s == GY_OK && h < p->heads; h++) {
            copy_head(p, z, corrupt, h, p->position);
            if ((s = gy_plan_run(send.plan)) != GY_OK) break;
            copy_head(p, z, clean, h, -1);
            if (to) {
                hand_over(p, to, n, receiver, &send, &receive, false);
                if ((s = gy_plan_run(receive.plan)) != GY_OK) break;
            }
            effect[l * p->heads + h] = effect_of(p, judge(p, to ? &receive : &send).m);
        }
    }
    gy_compiled_free(&send);
    gy_compiled_free(&receive);
    return s;
}

/* ---- ablation and repair ---- */

/* Each token's mean of one head over the rows. */
static void to_mean(const gy_patching *p, float *z, int64_t head) {
    int64_t t = p->prompts.tokens, w = p->width, n = p->prompts.rows;
    for (int64_t i = 0; i < t; i++)
        for (int64_t d = 0; d < w; d++) {
            double sum = 0;
            for (int64_t r = 0; r < n; r++) sum += (double)z[((r * t + i) * p->heads + head) * w + d];
            for (int64_t r = 0; r < n; r++) z[((r * t + i) * p->heads + head) * w + d] = (float)(sum / (double)n);
        }
}

gy_status gy_patching_ablate(gy_patching *p, double *drop) {
    bool unfrozen = p->unfrozen;
    gy_status s = GY_OK;
    p->unfrozen = true; /* later heads must see the loss */
    for (int64_t l = 0; s == GY_OK && l < p->layers; l++) {
        gy_compiled c = {0};
        double whole = 0;
        if ((s = senders_plan(p, l, GY_TO_LOGITS, 0, NULL, &c)) != GY_OK) break;
        float *z = fed(&c, "z", l);
        const float *clean = p->clean + l * layer_size(p);
        for (int64_t h = -1; s == GY_OK && h < p->heads; h++) { /* -1: nothing ablated */
            if (h >= 0) to_mean(p, z, h);
            if ((s = gy_plan_run(c.plan)) != GY_OK) break;
            double log_p = judge(p, &c).log_p;
            if (h < 0)
                whole = log_p;
            else {
                drop[l * p->heads + h] = whole - log_p;
                copy_head(p, z, clean, h, -1);
            }
        }
        gy_compiled_free(&c);
    }
    p->unfrozen = unfrozen;
    return s;
}

gy_status gy_patching_repair(gy_patching *p, gy_head head, int64_t token, const float *weights, const gy_head *watched,
                             const int64_t *on, double *accuracy, double *watched_weight) {
    hooks *h = gy_calloc(p->ctx, 1, sizeof *h);
    gy_compiled read = {0}, force = {0};
    if (!h) return GY_ERR_NOMEM;
    int64_t t = p->prompts.tokens;
    add(h, "pattern", head.layer, GY_HOOK_READ);
    gy_status s = compile(p, h, &read);
    if (s == GY_OK) {
        tokens(p, &read, p->prompts.clean);
        s = gy_plan_run(read.plan);
    }
    h->n = 0;
    add(h, "pattern", head.layer, GY_HOOK_REPLACE);
    if (watched) add(h, "pattern", watched->layer, GY_HOOK_READ);
    if (s == GY_OK) s = compile(p, h, &force);
    gy_free(p->ctx, h);
    if (s == GY_OK) {
        float *pattern = fed(&force, "pattern", head.layer); /* [rows, heads, T, T] */
        const float *clean = value(&read, "pattern", head.layer);
        memcpy(pattern, clean, (size_t)(p->prompts.rows * p->heads * t * t) * sizeof *pattern);
        for (int64_t r = 0; r < p->prompts.rows; r++)
            memcpy(pattern + ((r * p->heads + head.head) * t + token) * t, weights + r * t,
                   (size_t)t * sizeof *weights);
        tokens(p, &force, p->prompts.clean);
        s = gy_plan_run(force.plan);
    }
    if (s == GY_OK) {
        *accuracy = judge(p, &force).accuracy;
        if (watched) {
            const float *seen = value(&force, "pattern", watched->layer);
            *watched_weight = 0;
            for (int64_t r = 0; r < p->prompts.rows; r++)
                *watched_weight +=
                    (double)seen[((r * p->heads + watched->head) * t + t - 1) * t + on[r]] / (double)p->prompts.rows;
        }
    }
    gy_compiled_free(&read);
    gy_compiled_free(&force);
    return s;
}
