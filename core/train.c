/* The job: configurations, the training loop, compiled graphs. No file format is known here. */
#include "group.h"
#include "model.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- metrics ---- */

void gy_metric_add(gy_metrics *s, const char *name, double value, double chance, const char *unit) {
    if (s->n >= GY_MAX_METRICS) return;
    gy_metric *m = &s->m[s->n++];
    snprintf(m->name, sizeof m->name, "%s", name);
    snprintf(m->unit, sizeof m->unit, "%s", unit ? unit : "");
    m->value = value;
    m->chance = chance;
}

bool gy_ablates(const char *ablate, const char *mechanism) {
    return ablate && strcmp(ablate, mechanism) == 0;
}

double gy_metric_get(const gy_metrics *s, const char *name) {
    for (int64_t i = 0; i < s->n; i++)
        if (strcmp(s->m[i].name, name) == 0) return s->m[i].value;
    return NAN;
}

/* ---- nearest names ---- */

static size_t distance(const char *a, const char *b) {
    size_t n = strlen(a), m = strlen(b), row[129];
    if (n > 128 || m > 128) return 128;
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t keep = row[j], best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            row[j] = best;
            diagonal = keep;
        }
    }
    return row[m];
}

const char *gy_nearest(const char *word, const char *const *names) {
    const char *best = NULL;
    size_t least = strlen(word) / 2 + 2;
    for (; *names; names++) {
        size_t d = distance(word, *names);
        if (d < least) {
            least = d;
            best = *names;
        }
    }
    return best;
}

/* ---- configurations ---- */

static const gy_option *find_option(const gy_model_def *def, const char *name, size_t len) {
    for (const gy_option *o = def->options; o && o->name; o++)
        if (strlen(o->name) == len && strncmp(o->name, name, len) == 0) return o;
    return NULL;
}

static gy_status unknown_option(gy_ctx *ctx, const gy_model_def *def, const char *key) {
    const char *names[128];
    int n = 0;
    for (const gy_option *o = def->options; o && o->name && n < 127; o++) names[n++] = o->name;
    names[n] = NULL;
    const char *near = gy_nearest(key, names);
    return gy_fail(ctx, GY_ERR_USAGE, "%s has no option '%s'%s%s%s (see: gyrus show %s)", def->slug, key,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "", def->slug);
}

gy_status gy_config_set(gy_ctx *ctx, const gy_model_def *def, void *cfg, const char *key_value) {
    const char *eq = strchr(key_value, '=');
    char key[64];
    if (!eq || eq == key_value) return gy_fail(ctx, GY_ERR_USAGE, "--set '%s': expected key=value", key_value);
    snprintf(key, sizeof key, "%.*s", (int)(eq - key_value), key_value);
    const gy_option *o = find_option(def, key_value, (size_t)(eq - key_value));
    if (!o) return unknown_option(ctx, def, key);
    const char *text = eq + 1;
    char *member = (char *)cfg + o->offset, *end;
    if (o->type == GY_OPT_TEXT) {
        if (strlen(text) > 63) return gy_fail(ctx, GY_ERR_USAGE, "--set %s: at most 63 bytes", o->name);
        snprintf(member, 64, "%s", text);
        return GY_OK;
    }
    errno = 0;
    double v = strtod(text, &end);
    bool whole = o->type == GY_OPT_INT;
    if (end == text || *end || errno || !isfinite(v) || (whole && v != floor(v)))
        return gy_fail(ctx, GY_ERR_USAGE, "--set %s: expected %s, found '%s'", o->name,
                       whole ? "an integer" : "a number", text);
    if (v < o->min || v > o->max)
        return gy_fail(ctx, GY_ERR_USAGE, "--set %s=%s: outside [%g, %g]", o->name, text, o->min, o->max);
    if (whole)
        *(int64_t *)(void *)member = (int64_t)v;
    else
        *(double *)(void *)member = v;
    return GY_OK;
}

void gy_config_text(const gy_option *o, const void *cfg, char *buf, size_t n) {
    const char *member = (const char *)cfg + o->offset;
    if (o->type == GY_OPT_INT)
        snprintf(buf, n, "%" PRId64, *(const int64_t *)(const void *)member);
    else if (o->type == GY_OPT_REAL)
        snprintf(buf, n, "%.17g", *(const double *)(const void *)member);
    else
        snprintf(buf, n, "%s", member);
}

static const gy_config *find_config(const gy_model_def *def, const char *name) {
    for (const gy_config *c = def->configs; c->name; c++)
        if (!name || strcmp(c->name, name) == 0) return c;
    return NULL;
}

gy_status gy_job_init(gy_job *j, gy_ctx *ctx, const gy_model_def *def, const char *config, const char *const *settings,
                      int64_t n_settings) {
    *j = (gy_job){.ctx = ctx, .def = def};
    const gy_config *c = find_config(def, config);
    if (!c) {
        char all[512] = "";
        for (c = def->configs; c->name; c++) {
            size_t used = strlen(all);
            snprintf(all + used, sizeof all - used, "%s%s", used ? ", " : "", c->name);
        }
        return gy_fail(ctx, GY_ERR_USAGE, "%s has no configuration '%s'; it has: %s", def->slug, config, all);
    }
    j->config_name = c->name;
    j->cfg = gy_malloc(ctx, def->config_size);
    j->store = gy_store_new(ctx);
    if (!j->cfg || !j->store) {
        gy_job_free(j);
        return GY_ERR_NOMEM;
    }
    memcpy(j->cfg, c->values, def->config_size);
    gy_status s = GY_OK;
    for (int64_t i = 0; s == GY_OK && i < n_settings; i++) s = gy_config_set(ctx, def, j->cfg, settings[i]);
    if (s == GY_OK && def->check) s = def->check(ctx, j->cfg);
    if (s != GY_OK) gy_job_free(j);
    return s;
}

void gy_job_free(gy_job *j) {
    if (!j->ctx) return;
    if (j->def->close && j->data) j->def->close(j);
    gy_store_free(j->store);
    gy_free(j->ctx, j->cfg);
    for (int i = 0; i < 2; i++) gy_free(j->ctx, (char *)(uintptr_t)j->owned[i]);
    *j = (gy_job){0};
}

/* ---- graphs ---- */

void gy_compiled_free(gy_compiled *c) {
    gy_plan_free(c->plan);
    gy_graph_free(c->g);
    *c = (gy_compiled){0};
}

static gy_status compile(gy_job *j, gy_build *b, void (*build)(gy_build *), bool train, gy_plan_args args,
                         const gy_hook *hooks, int64_t n_hooks, gy_compiled *out) {
    *out = (gy_compiled){.g = gy_graph_new(j->ctx)};
    if (!out->g) return GY_ERR_NOMEM;
    gy_mod m = gy_mod_make(out->g, j->store, j->seed, train);
    m.hooks = hooks;
    m.n_hooks = n_hooks;
    b->m = &m;
    b->cfg = j->cfg;
    b->ablate = j->ablate;
    b->job = j->data ? j : NULL;
    build(b);
    out->plan = gy_compile(out->g, args);
    if (out->plan) return GY_OK;
    gy_compiled_free(out);
    return gy_error_status(j->ctx);
}

gy_status gy_job_compile(gy_job *j, int64_t batch, const gy_hook *hooks, int64_t n_hooks, gy_compiled *out) {
    gy_build b = {.batch = batch};
    return compile(j, &b, j->def->build, false, (gy_plan_args){0}, hooks, n_hooks, out);
}

gy_status gy_job_compile_phase(gy_job *j, int64_t phase, bool dry, gy_compiled *out) {
    int64_t ranks = gy_group_size(gy_ctx_group(j->ctx));
    gy_build b = {.batch = j->batch / ranks, .phase = phase};
    if (!j->def->objective) return gy_fail(j->ctx, GY_ERR_UNSUPPORTED, "%s is not trained by steps", j->def->slug);
    if (j->batch % ranks)
        return gy_fail(j->ctx, GY_ERR_USAGE,
                       "a batch of %" PRId64 " rows cannot be shared evenly by %" PRId64 " processes", j->batch, ranks);
    return compile(j, &b, j->def->objective, true, (gy_plan_args){.dry = dry}, NULL, 0, out);
}

/* ---- a batch shared by several processes ---- */

/* The plan of a phase over the whole batch, of which only the inputs' memory exists: the model fills it as if it were
 * alone, then each process takes its rows. NULL plan: alone. */
static gy_status compile_feeder(gy_job *j, int64_t phase, gy_compiled *out) {
    *out = (gy_compiled){0};
    if (gy_group_size(gy_ctx_group(j->ctx)) == 1) return GY_OK;
    gy_build b = {.batch = j->batch, .phase = phase};
    return compile(j, &b, j->def->objective, true, (gy_plan_args){.feed_only = true}, NULL, 0, out);
}

/* Inputs of `whole` to those of `part`: as they are, or this rank's share of the one axis that is longer. */
static gy_status take_share(gy_job *j, gy_plan *whole, gy_plan *part) {
    const gy_group *group = gy_ctx_group(j->ctx);
    int64_t ranks = gy_group_size(group), rank = gy_group_rank(group);
    for (int64_t i = 0;; i++) {
        gy_tensor from, to;
        const char *name = gy_plan_input_at(part, i, &to), *found;
        if (!name) return GY_OK;
        for (int64_t k = 0; (found = gy_plan_input_at(whole, k, &from)) && strcmp(found, name) != 0;) k++;
        if (!found || !from.data || !to.data) continue;
        int64_t axis = -1, outer = 1, inner = 1;
        bool fits = from.shape.rank == to.shape.rank;
        for (int64_t d = 0; fits && d < to.shape.rank; d++) {
            if (from.shape.dim[d] == to.shape.dim[d]) {
                *(axis < 0 ? &outer : &inner) *= to.shape.dim[d];
            } else {
                fits = axis < 0 && from.shape.dim[d] == ranks * to.shape.dim[d];
                axis = d;
            }
        }
        if (!fits)
            return gy_fail(j->ctx, GY_ERR_UNSUPPORTED, "%s: input '%s' cannot be shared by %" PRId64 " processes",
                           j->def->slug, name, ranks);
        size_t run = (size_t)inner * gy_dtype_size(to.dtype) * (size_t)(axis < 0 ? 1 : to.shape.dim[axis]);
        for (int64_t o = 0; o < outer; o++)
            memcpy((char *)to.data + (size_t)o * run,
                   (char *)from.data + (size_t)(axis < 0 ? o : o * ranks + rank) * run, run);
    }
}

/* ---- the loop ---- */

gy_status gy_job_open(gy_job *j) {
    const char *slug = j->def->slug, *whole = j->def->trained_as;
    if (whole)
        return gy_fail(j->ctx, GY_ERR_UNSUPPORTED,
                       "%s is a part of %s and trained with it: gyrus train %s --out D, then gyrus run %s --weights D",
                       slug, whole, whole, slug);
    if (!j->def->open) return gy_fail(j->ctx, GY_ERR_UNSUPPORTED, "%s has no data set of its own", slug);
    return j->def->open(j);
}

/* One phase of one step: feed, run, look at the loss. */
static gy_status run_phase(gy_job *j, gy_plan *p, gy_plan *feeder, int64_t phase, gy_metrics *logged) {
    gy_group *group = gy_ctx_group(j->ctx);
    gy_status s = j->def->batch(j, feeder ? feeder : p, phase, j->step);
    if (s == GY_OK && feeder) s = take_share(j, feeder, p);
    if (s != GY_OK) return s;
    gy_plan_set_rng(p, j->seed + (uint64_t)gy_group_rank(group) * 0x9E3779B97F4A7C15u, (uint64_t)j->step);
    double lr = j->def->lr ? j->def->lr(j, phase, j->step) : 1e-3;
    double *in = gy_plan_input(p, "lr");
    if (in) *in = lr;
    s = gy_plan_run(p);
    if (s != GY_OK) return s;
    double loss = gy_plan_scalar(p, "loss");
    s = gy_group_sum(group, GY_F64, &loss, 1);
    if (s != GY_OK) return s;
    loss /= gy_group_size(group);
    char name[48];
    snprintf(name, sizeof name, phase ? "loss%d" : "loss", (int)phase);
    gy_metric_add(logged, name, loss, NAN, "");
    if (!phase) gy_metric_add(logged, "lr", lr, NAN, "");
    if (!isfinite(loss))
        return gy_fail(j->ctx, GY_ERR_NUMERIC,
                       "the loss is %s at step %" PRId64
                       " (try a smaller learning rate, or GYRUS_EAGER=1 to find the operator)",
                       isnan(loss) ? "NaN" : "Inf", j->step);
    return GY_OK;
}

gy_status gy_job_train(gy_job *j) {
    gy_ctx *ctx = j->ctx;
    int64_t n = j->def->phases ? j->def->phases(j) : 1;
    if (n < 1) return gy_fail(ctx, GY_ERR_USAGE, "%s: no training phase", j->def->slug);
    gy_compiled *c = gy_calloc(ctx, (size_t)n, 2 * sizeof *c), *feeder = c + n;
    if (!c) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        s = gy_job_compile_phase(j, i, false, &c[i]);
        if (s == GY_OK) s = compile_feeder(j, i, &feeder[i]);
    }
    bool more = true;
    while (s == GY_OK && more && j->step < j->steps) {
        gy_metrics logged = {0};
        int64_t only = j->def->phase_of ? j->def->phase_of(j, j->step) : -1;
        for (int64_t i = 0; s == GY_OK && i < n; i++)
            if (only < 0 || only == i) s = run_phase(j, c[i].plan, feeder[i].plan, i, &logged);
        if (s != GY_OK) break;
        j->step++;
        if (j->sink.step) more = j->sink.step(j->sink.user, j, &logged);
        bool due = j->step == j->steps || !more || (j->save_every && j->step % j->save_every == 0);
        if (due && j->sink.save) s = j->sink.save(j->sink.user, j);
    }
    for (int64_t i = 0; i < 2 * n; i++) gy_compiled_free(&c[i]);
    gy_free(ctx, c);
    if (s == GY_OK && !more && j->step < j->steps)
        return gy_fail(ctx, GY_ERR_INTERRUPTED, "stopped after step %" PRId64 " of %" PRId64, j->step, j->steps);
    return s;
}
