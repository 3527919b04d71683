#include "optim.h"
#include "group.h"

#include "op.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- which parameters ---- */

static bool begins(const char *name, const char *prefix) {
    return !prefix || strncmp(name, prefix, strlen(prefix)) == 0;
}

static const gy_optim_group *group_of(const gy_optim_args *o, const char *name) {
    for (int64_t i = 0; i < o->n_groups; i++)
        if (begins(name, o->groups[i].prefix)) return &o->groups[i];
    return NULL;
}

static bool trained(const gy_optim_args *o, const gy_state *p) {
    if (p->kind != GY_PARAM || p->frozen || !begins(p->name, o->prefix)) return false;
    const gy_optim_group *group = group_of(o, p->name);
    return !group || group->lr_factor != GY_OPTIM_NONE;
}

static const gy_state *state_read(const gy_node *n) {
    return n->op->id == GY_OP_read ? *(gy_state *const *)n->attr : NULL;
}

/* Work arrays of one call. A parameter may be read by several nodes (one a scope): its gradient is the sum. */
typedef struct {
    gy_t *read, *grad; /* every read of a trained parameter, and its gradient */
    gy_state **param;  /* the parameters that have a gradient, in the store's order */
    gy_t *total;       /* their gradients */
    int64_t n_read, n;
} found;

static void collect_reads(const gy_optim_args *o, found *f) {
    for (int32_t id = 1; id < o->g->n; id++) {
        const gy_state *p = state_read(o->g->node[id]);
        if (p && trained(o, p)) f->read[f->n_read++] = (gy_t){o->g, id, 0};
    }
}

static void sum_gradients(const gy_optim_args *o, found *f) {
    for (int64_t s = 0; s < gy_store_count(o->store); s++) {
        gy_state *p = gy_store_at(o->store, s);
        gy_t total = GY_NONE;
        if (!trained(o, p)) continue;
        for (int64_t i = 0; i < f->n_read; i++) {
            if (state_read(gy_node_of(f->read[i])) != p || gy_is_none(f->grad[i])) continue;
            total = gy_is_none(total) ? f->grad[i] : gy_binary_(o->at, GY_OP_add, total, f->grad[i]);
        }
        if (gy_is_none(total)) continue;
        f->param[f->n] = p;
        f->total[f->n++] = total;
    }
}

/* ---- updates ---- */

static double or_default(double value, double fallback) {
    return value == 0 ? fallback : value == GY_OPTIM_NONE ? 0 : value;
}

static gy_update_attr settings(const gy_optim_args *o, const gy_state *p) {
    const gy_optim_group *group = group_of(o, p->name);
    double decay = group && group->weight_decay != 0 ? group->weight_decay : o->weight_decay;
    bool decays = decay != GY_OPTIM_NONE && (!o->decays || o->decays(p));
    gy_update_attr a = {.beta1 = or_default(o->beta1, 0.9),
                        .beta2 = or_default(o->beta2, o->kind == GY_OPTIM_LION ? 0.99 : 0.999),
                        .eps = or_default(o->eps, 1e-8),
                        .weight_decay = decays ? decay : 0,
                        .lr_factor = group && group->lr_factor != 0 ? group->lr_factor : 1,
                        .nesterov = o->nesterov,
                        .decoupled = o->kind == GY_OPTIM_ADAMW};
    if (o->kind == GY_OPTIM_SGD) a.beta1 = o->momentum;
    return a;
}

/* The slot "<param><suffix>": zeros when new, or a copy of the parameter. */
static gy_state *slot(const gy_optim_args *o, const gy_state *p, const char *suffix, bool copy) {
    gy_ctx *ctx = o->g->ctx;
    char *name = gy_format(ctx, "%s%s", p->name, suffix);
    if (!name) return NULL;
    bool fresh = !gy_state_find(o->store, name);
    gy_state *s = gy_state_get(o->store, name, GY_SLOT, p->value.dtype, p->value.shape, (gy_init){0}, 0);
    if (s && fresh && copy && s->value.data) memcpy(s->value.data, p->value.data, gy_tensor_bytes(&p->value));
    gy_free(ctx, name);
    return s;
}

/* Parameter p after one step; its moments are assigned. */
static gy_t updated(const gy_optim_args *o, const gy_state *p, gy_t now, gy_t grad, gy_t lr, gy_t step, gy_t scale) {
    gy_update_attr a = settings(o, p);
    if (o->kind == GY_OPTIM_SGD && a.beta1 == 0) return gy_sgd_(o->at, now, GY_NONE, grad, lr, scale, a);
    bool adam = o->kind == GY_OPTIM_ADAM || o->kind == GY_OPTIM_ADAMW;
    const char *suffix = adam ? ".adam_m" : o->kind == GY_OPTIM_SGD ? ".sgd_m" : ".lion_m";
    gy_state *m = slot(o, p, suffix, false), *v = adam ? slot(o, p, ".adam_v", false) : NULL;
    if (!m || (adam && !v)) return gy_poison(o->g, o->at, "optimizer: %s", gy_error(o->g->ctx));
    gy_t m_now = gy_read_(o->at, o->g, m), next;
    if (adam) {
        next = gy_adam_(o->at, now, m_now, gy_read_(o->at, o->g, v), grad, lr, step, scale, a);
        gy_assign_(o->at, v, gy_out(next, 2));
    } else if (o->kind == GY_OPTIM_SGD) {
        next = gy_sgd_(o->at, now, m_now, grad, lr, scale, a);
    } else {
        next = gy_lion_(o->at, now, m_now, grad, lr, scale, a);
    }
    gy_assign_(o->at, m, gy_out(next, 1));
    return next;
}

static void average(const gy_optim_args *o, const gy_state *p, gy_t next) {
    gy_state *e = slot(o, p, ".ema", true);
    if (!e) {
        gy_poison(o->g, o->at, "optimizer: %s", gy_error(o->g->ctx));
        return;
    }
    gy_assign_(o->at, e, gy_ema_(o->at, gy_read_(o->at, o->g, e), next, o->ema));
}

static gy_t next_step(const gy_optim_args *o) {
    gy_ctx *ctx = o->g->ctx;
    char *name = gy_format(ctx, "%s.step", o->name ? o->name : "optim");
    gy_state *s = name ? gy_state_get(o->store, name, GY_SLOT, GY_I64, GY_S0, (gy_init){0}, 0) : NULL;
    gy_free(ctx, name);
    if (!s) return gy_poison(o->g, o->at, "optimizer: %s", gy_error(ctx));
    gy_t now = gy_read_(o->at, o->g, s), one = gy_full_(o->at, o->g, GY_I64, GY_S0, 1);
    gy_t next = gy_binary_(o->at, GY_OP_add, now, one);
    gy_assign_(o->at, s, next);
    return next;
}

/* The mean over the processes that train together: each has differentiated the mean over its rows. */
static void share_gradients(const gy_optim_args *o, found *f) {
    int ranks = gy_group_size(gy_ctx_group(o->g->ctx));
    for (int64_t i = 0; ranks > 1 && i < f->n; i++)
        f->total[i] = gy_scale_(o->at, gy_all_reduce_(o->at, f->total[i]), 1.0 / ranks);
}

static gy_optim build(const gy_optim_args *o, found *f) {
    gy_optim result = {.norm = GY_NONE};
    gy_graph *g = o->g;
    collect_reads(o, f);
    gy_grad_(o->at, o->loss, GY_NONE, f->n_read, f->read, f->grad, false);
    if (g->status == GY_OK) sum_gradients(o, f);
    if (g->status == GY_OK && f->n == 0)
        gy_poison(g, o->at, "optimizer: the loss depends on no unfrozen parameter%s%s", o->prefix ? " named " : "",
                  o->prefix ? o->prefix : "");
    if (g->status != GY_OK) return result;
    share_gradients(o, f);
    gy_t scale = GY_NONE, lr = gy_input_(o->at, g, o->lr ? o->lr : "lr", GY_F64, GY_S0);
    result.n = f->n;
    result.step = next_step(o);
    if (o->clip_norm != 0) {
        result.norm = gy_global_norm_(o->at, f->n, f->total);
        scale = gy_clip_factor_(o->at, result.norm, o->clip_norm);
    }
    for (int64_t i = 0; i < f->n; i++) {
        gy_t next = updated(o, f->param[i], gy_read_(o->at, g, f->param[i]), f->total[i], lr, result.step, scale);
        gy_assign_(o->at, f->param[i], next);
        if (o->ema != 0) average(o, f->param[i], next);
    }
    return result;
}

gy_optim gy_optim_(gy_optim_args o) {
    gy_optim result = {.norm = GY_NONE};
    gy_ctx *ctx = o.g->ctx;
    if (o.g->status != GY_OK) return result;
    if (gy_is_none(o.loss) || gy_count(o.loss) != 1) {
        char t[GY_SHAPE_TEXT];
        gy_poison(o.g, o.at, "optimizer: the loss has shape %s, expected a scalar",
                  gy_shape_text(gy_shape_of(o.loss), t));
        return result;
    }
    size_t nodes = (size_t)o.g->n, states = (size_t)gy_store_count(o.store);
    found f = {.read = gy_calloc(ctx, nodes, sizeof *f.read),
               .grad = gy_calloc(ctx, nodes, sizeof *f.grad),
               .param = gy_calloc(ctx, states, sizeof *f.param),
               .total = gy_calloc(ctx, states, sizeof *f.total)};
    if (f.read && f.grad && f.param && f.total) {
        result = build(&o, &f);
    } else {
        gy_poison(o.g, o.at, "optimizer: %s", gy_error(ctx));
    }
    gy_free(ctx, f.read);
    gy_free(ctx, f.grad);
    gy_free(ctx, f.param);
    gy_free(ctx, f.total);
    return result;
}

bool gy_decays_matrices(const gy_state *p) {
    return p->value.shape.rank >= 2;
}

/* ---- schedules ---- */

static double cosine(double from, double to, double share) {
    return to + (from - to) * 0.5 * (1 + cos(3.14159265358979323846 * share));
}

static double one_cycle(const gy_schedule *s, int64_t step) {
    double start = s->lr / (s->div == 0 ? 25 : s->div), end = start / (s->final_div == 0 ? 1e4 : s->final_div);
    double top = (s->pct_start == 0 ? 0.3 : s->pct_start) * (double)s->total - 1, last = (double)s->total - 1;
    double t = (double)step < last ? (double)step : last;
    if (t <= top && top > 0) return cosine(start, s->lr, t / top);
    return last > top ? cosine(s->lr, end, (t - top) / (last - top)) : end;
}

double gy_schedule_lr(const gy_schedule *s, int64_t step) {
    if (s->kind == GY_SCHEDULE_ONE_CYCLE) return one_cycle(s, step);
    if (step < s->warmup) return s->lr * (double)(step + 1) / (double)s->warmup;
    double span = (double)(s->total - s->warmup), share = span > 0 ? (double)(step - s->warmup) / span : 1;
    if (share > 1) share = 1;
    switch (s->kind) {
    case GY_SCHEDULE_LINEAR: return s->lr + (s->min - s->lr) * share;
    case GY_SCHEDULE_COSINE: return cosine(s->lr, s->min, share);
    case GY_SCHEDULE_STEP:
        return s->every > 0 ? s->lr * pow(s->gamma == 0 ? 0.1 : s->gamma, (double)((step - s->warmup) / s->every))
                            : s->lr;
    default: return s->lr;
    }
}
