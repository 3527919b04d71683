#include "module.h"
#include "op.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

gy_mod gy_mod_make(gy_graph *g, gy_store *store, uint64_t seed, bool train) {
    return (gy_mod){.g = g, .store = store, .seed = seed, .dtype = GY_F32, .train = train};
}

/* Pushes are separated by '/' in m->scope so that a pop knows where "blocks.3" began; names see dots. */
static void dotted(const gy_mod *m, const char *name, char *out, size_t n) {
    snprintf(out, n, "%s%s%s", m->scope, *m->scope && *name ? "." : "", name);
    for (char *p = out; *p; p++)
        if (*p == '/') *p = '.';
}

void gy_push(gy_mod *m, const char *fmt, ...) {
    char part[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(part, sizeof part, fmt, ap);
    va_end(ap);
    size_t used = strlen(m->scope);
    int n = snprintf(m->scope + used, sizeof m->scope - used, "%s%s", used ? "/" : "", part);
    if (n < 0 || (size_t)n >= sizeof m->scope - used)
        gy_poison(m->g, GY_HERE, "module scope is longer than %d bytes: '%s'", (int)sizeof m->scope, part);
    gy_scope_push(m->g, part);
}

void gy_pop(gy_mod *m) {
    char *slash = strrchr(m->scope, '/');
    *(slash ? slash : m->scope) = 0;
    gy_scope_pop(m->g);
}

static gy_t state_value(gy_site at, gy_mod *m, const char *name, gy_state_kind kind, gy_shape shape, gy_init init) {
    char full[768];
    dotted(m, name, full, sizeof full);
    for (int64_t i = 0; i < shape.rank; i++)
        if (shape.dim[i] <= 0)
            return gy_poison(m->g, at, "'%s': dimension %" PRId64 " of its shape is %" PRId64, full, i, shape.dim[i]);
    if (m->g->status != GY_OK) return (gy_t){m->g, 0, 0};
    gy_state *s = gy_state_get(m->store, full, kind, m->dtype ? m->dtype : GY_F32, shape, init, m->seed);
    if (!s) return gy_poison(m->g, at, "%s", gy_error(m->g->ctx));
    return gy_read_(at, m->g, s);
}

gy_t gy_param_(gy_site at, gy_mod *m, const char *name, gy_shape shape, gy_init init) {
    return state_value(at, m, name, GY_PARAM, shape, init);
}

gy_t gy_buffer_(gy_site at, gy_mod *m, const char *name, gy_shape shape, gy_init init) {
    return state_value(at, m, name, GY_BUFFER, shape, init);
}

gy_state *gy_mod_state(gy_mod *m, const char *name) {
    char full[768];
    dotted(m, name, full, sizeof full);
    return gy_state_find(m->store, full);
}

/* ---- hooks ---- */

static bool hook_fits(const char *pattern, const char *name) {
    size_t n = strlen(pattern);
    if (n && pattern[n - 1] == '*') return strncmp(pattern, name, n - 1) == 0;
    return strcmp(pattern, name) == 0;
}

bool gy_tapped(const gy_mod *m, const char *name) {
    char full[768];
    dotted(m, name, full, sizeof full);
    for (int64_t i = 0; i < m->n_hooks; i++)
        if (hook_fits(m->hooks[i].name, full)) return true;
    return false;
}

static gy_t operand(gy_site at, gy_mod *m, const char *what, const char *name, gy_dtype dtype, gy_shape shape) {
    char full[800];
    snprintf(full, sizeof full, "%s:%s", what, name);
    return gy_input_(at, m->g, full, dtype, shape);
}

static gy_t by_mean(gy_site at, gy_mod *m, const gy_hook *h, const char *name, gy_t x) {
    gy_shape s = gy_shape_of(x), kept = {0};
    if (h->size < 0 || h->size > s.rank)
        return gy_poison(m->g, at, "hook on '%s': a mean of the last %" PRId64 " axes of %" PRId64, name, h->size,
                         (int64_t)s.rank);
    kept.rank = h->size ? h->size : s.rank > 0 ? s.rank - 1 : 0;
    for (int64_t i = 0; i < kept.rank; i++) kept.dim[i] = s.dim[s.rank - kept.rank + i];
    return gy_broadcast_to_(at, operand(at, m, "mean", name, gy_dtype_of(x), kept), s);
}

static gy_t projected_out(gy_site at, gy_mod *m, const gy_hook *h, const char *name, gy_t x) {
    int64_t d = gy_dim(x, -1), k = h->size ? h->size : 1;
    if (gy_rank(x) < 1 || k < 1 || k > d)
        return gy_poison(m->g, at, "hook on '%s': a subspace of %" PRId64 " dimensions in %" PRId64, name, k, d);
    gy_t q = operand(at, m, "basis", name, gy_dtype_of(x), GY_S(d, k));
    gy_t away = gy_binary_(at, GY_OP_sub, x, operand(at, m, "centre", name, gy_dtype_of(x), GY_S(d)));
    gy_t part = gy_linear_(at, away, gy_swap_(at, q, 0, 1), GY_NONE); /* (x - c) Q */
    return gy_binary_(at, GY_OP_sub, x, gy_linear_(at, part, q, GY_NONE));
}

gy_t gy_tap_(gy_site at, gy_mod *m, const char *name, gy_t x) {
    char full[768];
    if (gy_is_none(x) || x.id == 0) return x;
    dotted(m, name, full, sizeof full);
    for (int64_t i = 0; i < m->n_hooks; i++) {
        const gy_hook *h = &m->hooks[i];
        if (!hook_fits(h->name, full)) continue;
        /* an identity of its own: a fusion barrier, so that the buffer holds what the name promises */
        int32_t id = gy_node_make(at, m->g, GY_OP_copy, NULL, 1, &x).id; /* ahead: it may move the array of nodes */
        gy_node *n = m->g->node[id];
        if (n->id) {
            n->tap = gy_arena_strdup(&m->g->arena, full);
            x = (gy_t){m->g, n->id, 0};
        }
        switch (h->kind) {
        case GY_HOOK_READ: gy_output_(at, x, full); break;
        case GY_HOOK_REPLACE: x = operand(at, m, "hook", full, gy_dtype_of(x), gy_shape_of(x)); break;
        case GY_HOOK_ADD:
            x = gy_binary_(at, GY_OP_add, x, operand(at, m, "hook", full, gy_dtype_of(x), gy_shape_of(x)));
            break;
        case GY_HOOK_SCALE: x = gy_scale_(at, x, h->factor); break;
        case GY_HOOK_MEAN: x = by_mean(at, m, h, full, x); break;
        case GY_HOOK_PROJECT_OUT: x = projected_out(at, m, h, full, x); break;
        case GY_HOOK_RESAMPLE:
            x = gy_gather_(at, x, operand(at, m, "rows", full, GY_I64, GY_S(gy_dim(x, 0))), 0);
            break;
        case GY_HOOK_MARK: break;
        }
    }
    return x;
}

/* ---- layers ---- */

static gy_init or_default(gy_init given, gy_init fallback) {
    return given.kind ? given : fallback;
}
static const gy_init torch_weight = {GY_INIT_KAIMING_UNIFORM, 2.2360679774997896964}; /* a = sqrt 5 */

gy_t gy_nn_linear_(gy_nn_linear_args a) {
    if (gy_is_none(a.x) || a.x.id == 0) return a.x;
    int64_t in = gy_dim(a.x, -1);
    gy_push(a.m, "%s", a.name);
    gy_t w = gy_param_(a.at, a.m, "weight", GY_S(a.out, in), or_default(a.init, torch_weight));
    gy_init fan_in = {GY_INIT_FAN_IN, (double)in};
    gy_t b = a.no_bias ? GY_NONE : gy_param_(a.at, a.m, "bias", GY_S(a.out), or_default(a.bias_init, fan_in));
    gy_t y = gy_linear_(a.at, a.x, w, b);
    gy_pop(a.m);
    return y;
}

/* The weight [first, second, k...] of a convolution over x's spatial axes; false: poisoned. */
static bool kernel_shape(gy_site at, gy_mod *m, const char *name, gy_t x, gy_shape kernel, int64_t first,
                         int64_t second, gy_shape *w) {
    int64_t axes = gy_rank(x) - 2;
    *w = (gy_shape){.rank = 2 + axes, .dim = {first, second}};
    if (axes < 1 || axes > 3 || (kernel.rank != axes && kernel.rank != 1)) {
        gy_poison(m->g, at, "conv '%s': %d kernel sizes for %d spatial axes", name, (int)kernel.rank, (int)axes);
        return false;
    }
    for (int64_t i = 0; i < axes; i++) w->dim[2 + i] = kernel.dim[kernel.rank == 1 ? 0 : i];
    return true;
}

/* U(+-1/sqrt(elements of w behind its first axis)) */
static gy_init bias_of(gy_init given, gy_shape w) {
    return or_default(given, (gy_init){GY_INIT_FAN_IN, (double)(gy_shape_count(w) / w.dim[0])});
}

gy_t gy_nn_conv_(gy_nn_conv_args a) {
    if (gy_is_none(a.x) || a.x.id == 0) return a.x;
    int64_t groups = a.groups ? a.groups : 1, in = gy_dim(a.x, -1);
    gy_shape w;
    if (!kernel_shape(a.at, a.m, a.name, a.x, a.kernel, a.out, in / groups, &w)) return (gy_t){a.m->g, 0, 0};
    gy_push(a.m, "%s", a.name);
    gy_t weight = gy_param_(a.at, a.m, "weight", w, or_default(a.init, torch_weight));
    gy_init of_bias = bias_of(a.bias_init, w);
    gy_t bias = a.no_bias ? GY_NONE : gy_param_(a.at, a.m, "bias", GY_S(a.out), of_bias);
    gy_t y = gy_conv_((gy_conv_args){.at = a.at,
                                     .x = a.x,
                                     .w = weight,
                                     .b = bias,
                                     .stride = a.stride,
                                     .pad = a.pad,
                                     .dilation = a.dilation,
                                     .groups = groups});
    gy_pop(a.m);
    return y;
}

gy_t gy_nn_conv_transpose_(gy_nn_conv_transpose_args a) {
    if (gy_is_none(a.x) || a.x.id == 0) return a.x;
    int64_t groups = a.groups ? a.groups : 1;
    gy_shape w;
    if (!kernel_shape(a.at, a.m, a.name, a.x, a.kernel, gy_dim(a.x, -1), a.out / groups, &w))
        return (gy_t){a.m->g, 0, 0};
    gy_push(a.m, "%s", a.name);
    gy_t weight = gy_param_(a.at, a.m, "weight", w, or_default(a.init, torch_weight));
    gy_t bias = a.no_bias ? GY_NONE : gy_param_(a.at, a.m, "bias", GY_S(a.out), bias_of(a.bias_init, w));
    gy_t y = gy_conv_transpose_((gy_conv_transpose_args){.at = a.at,
                                                         .x = a.x,
                                                         .w = weight,
                                                         .b = bias,
                                                         .stride = a.stride,
                                                         .pad = a.pad,
                                                         .output_padding = a.output_padding,
                                                         .groups = groups});
    gy_pop(a.m);
    return y;
}

/* gamma, beta of a norm over c features. */
static gy_norm_args affine(gy_nn_norm_args *a, int64_t c, bool beta) {
    gy_norm_args n = {.at = a->at, .x = a->x, .eps = a->eps, .groups = a->groups, .act = a->act};
    if (a->no_affine) return n;
    n.gamma = gy_param_(a->at, a->m, "weight", GY_S(c), (gy_init){GY_INIT_ONES});
    if (beta) n.beta = gy_param_(a->at, a->m, "bias", GY_S(c), (gy_init){GY_INIT_ZEROS});
    return n;
}

static gy_t norm_layer(gy_nn_norm_args a, gy_t (*norm)(gy_norm_args), bool beta) {
    if (gy_is_none(a.x) || a.x.id == 0) return a.x;
    gy_push(a.m, "%s", a.name);
    gy_t y = norm(affine(&a, gy_dim(a.x, -1), beta));
    gy_pop(a.m);
    return y;
}

gy_t gy_nn_layernorm_(gy_nn_norm_args a) {
    return norm_layer(a, gy_layernorm_, true);
}

gy_t gy_nn_rmsnorm_(gy_nn_norm_args a) {
    return norm_layer(a, gy_rmsnorm_, false);
}

gy_t gy_nn_groupnorm_(gy_nn_norm_args a) {
    return norm_layer(a, gy_groupnorm_, true);
}

gy_t gy_nn_batchnorm_(gy_nn_norm_args a) {
    if (gy_is_none(a.x) || a.x.id == 0) return a.x;
    int64_t c = gy_dim(a.x, -1), n = c ? gy_count(a.x) / c : 0;
    double momentum = a.momentum > 0 ? a.momentum : 0.1;
    gy_push(a.m, "%s", a.name);
    gy_norm_args args = affine(&a, c, true);
    gy_t mean = gy_buffer_(a.at, a.m, "running_mean", GY_S(c), (gy_init){GY_INIT_ZEROS});
    gy_t var = gy_buffer_(a.at, a.m, "running_var", GY_S(c), (gy_init){GY_INIT_ONES});
    gy_t y;
    if (a.m->train && a.x.g->status == GY_OK) {
        y = gy_batchnorm_(args);
        /* PyTorch keeps the unbiased variance */
        gy_t unbiased = gy_scale(gy_stop(gy_out(y, 2)), n > 1 ? (double)n / (double)(n - 1) : 1.0);
        /* a layer used twice in a step moves its statistics twice, in the order of use */
        gy_state *means = gy_mod_state(a.m, "running_mean"), *vars = gy_mod_state(a.m, "running_var");
        gy_t batch_mean = gy_stop(gy_out(y, 1));
        gy_assign_next(means, gy_add(gy_scale(gy_next(a.m->g, means), 1 - momentum), gy_scale(batch_mean, momentum)));
        gy_assign_next(vars, gy_add(gy_scale(gy_next(a.m->g, vars), 1 - momentum), gy_scale(unbiased, momentum)));
    } else {
        y = gy_batchnorm_eval_((gy_batchnorm_eval_args){
            .at = a.at, .x = a.x, .mean = mean, .var = var, .gamma = args.gamma, .beta = args.beta, .eps = a.eps});
    }
    gy_pop(a.m);
    return y;
}

gy_t gy_nn_prelu_(gy_site at, gy_mod *m, const char *name, gy_t x) {
    if (gy_is_none(x) || x.id == 0) return x;
    gy_push(m, "%s", name);
    gy_t w = gy_param_(at, m, "weight", GY_S(1), (gy_init){GY_INIT_CONSTANT, 0.25});
    gy_pop(m);
    return gy_sub(gy_relu(x), gy_mul(w, gy_relu(gy_neg(x))));
}

gy_t gy_nn_embedding_(gy_site at, gy_mod *m, const char *name, gy_t index, int64_t count, int64_t width, gy_init init) {
    gy_push(m, "%s", name);
    gy_t w = gy_param_(at, m, "weight", GY_S(count, width), or_default(init, (gy_init){GY_INIT_NORMAL, 1.0}));
    gy_t y = gy_gather_(at, w, index, 0);
    gy_pop(m);
    return y;
}

gy_t gy_nn_dropout_(gy_site at, gy_mod *m, const char *name, gy_t x, double p) {
    if (!m->train || p <= 0) return x;
    return gy_dropout_(at, x, name, p);
}
