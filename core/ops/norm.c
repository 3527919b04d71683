/* xhat = (x - mean) rstd,  z = gamma xhat + beta,  y = act(z);  rstd = 1 / sqrt(var + eps).
 * With dz = ct act'(z), g = dz gamma and averages < > over the elements that share statistics:
 *     dx = rstd (g - <g> - xhat <g xhat>)        (rmsnorm: without <g>, mean = 0)
 *     dgamma = sum dz xhat,  dbeta = sum dz.
 * All four norms are one code over x seen as [outer, inner, groups, channels] (norm.h). */
#include "fused.h"

gy_norm_dims gy_norm_view(int op, const gy_norm_attr *attr, gy_shape x) {
    int64_t c = x.dim[x.rank - 1], rows = 1, space = 1;
    for (int64_t i = 0; i + 1 < x.rank; i++) rows *= x.dim[i];
    switch (op) {
    case GY_OP_groupnorm:
    case GY_OP_groupnorm_grad:
        for (int64_t i = 1; i + 1 < x.rank; i++) space *= x.dim[i];
        return (gy_norm_dims){x.dim[0], space, attr->groups, c / attr->groups};
    case GY_OP_batchnorm:
    case GY_OP_batchnorm_grad: return (gy_norm_dims){1, rows, c, 1};
    default: /* layernorm, rmsnorm */ return (gy_norm_dims){rows, 1, 1, c};
    }
}

/* ---- shape rules ---- */

static gy_dtype stat_dtype(gy_dtype x) {
    return x == GY_F64 ? GY_F64 : GY_F32;
}

static bool vector_fits(gy_infer *c, int i, gy_shape x, gy_dtype dtype, const char *name) {
    char s[GY_SHAPE_TEXT];
    int64_t n = x.dim[x.rank - 1];
    if (c->in_dtype[i] == GY_DTYPE_DEFAULT) return true;
    if (c->in_shape[i].rank != 1 || c->in_shape[i].dim[0] != n || c->in_dtype[i] != dtype)
        return gy_infer_fail(c, "%s: expected %s [%d], found %s %s", name, gy_dtype_name(dtype), (int)n,
                             gy_dtype_name(c->in_dtype[i]), gy_shape_text(c->in_shape[i], s));
    return true;
}

static bool x_fits(gy_infer *c, int i, gy_shape *x) {
    char s[GY_SHAPE_TEXT];
    const gy_norm_attr *a = c->attr;
    *x = c->in_shape[i];
    int op = c->op->id;
    bool group = op == GY_OP_groupnorm || op == GY_OP_groupnorm_grad;
    int64_t least = group ? 2 : 1;
    if (!gy_dtype_is_float(c->in_dtype[i]))
        return gy_infer_fail(c, "expected a float value, found %s", gy_dtype_name(c->in_dtype[i]));
    if (x->rank < least)
        return gy_infer_fail(c, "expected at least %d axes, found %s", (int)least, gy_shape_text(*x, s));
    if (group && (a->groups < 1 || x->dim[x->rank - 1] % a->groups))
        return gy_infer_fail(c, "%d channels do not divide into %d groups", (int)x->dim[x->rank - 1], (int)a->groups);
    if (group && a->act != GY_ACT_NONE && a->act != GY_ACT_SILU)
        return gy_infer_fail(c, "act %d: only GY_ACT_NONE and GY_ACT_SILU are fused", (int)a->act);
    gy_norm_dims d = gy_norm_view(op, a, *x);
    if (d.outer > 0 && d.inner * d.channels == 0)
        return gy_infer_fail(c, "no element to take statistics of in %s", gy_shape_text(*x, s));
    return true;
}

static bool infer(gy_infer *c) {
    gy_shape x;
    if (!x_fits(c, 0, &x) || !vector_fits(c, 1, x, c->in_dtype[0], "gamma")) return false;
    int op = c->op->id;
    bool rms = op == GY_OP_rmsnorm;
    if (!rms && !vector_fits(c, 2, x, c->in_dtype[0], "beta")) return false;
    gy_norm_dims d = gy_norm_view(op, c->attr, x);
    gy_shape stat = x;
    stat.dim[--stat.rank] = 0;
    if (op == GY_OP_groupnorm) stat = GY_S(d.outer, d.groups);
    if (op == GY_OP_batchnorm) stat = GY_S(d.groups);
    c->shape[0] = x;
    c->dtype[0] = c->in_dtype[0];
    for (int i = 1; i < c->n_out; i++) {
        c->shape[i] = stat;
        c->dtype[i] = stat_dtype(c->in_dtype[0]);
    }
    return true;
}

static bool grad_infer(gy_infer *c) { /* (ct, x, gamma, beta, mean, rstd) or (ct, x, gamma, rstd) */
    char a[GY_SHAPE_TEXT], b[GY_SHAPE_TEXT];
    gy_shape x;
    if (!x_fits(c, 1, &x)) return false;
    if (!gy_shape_equal(x, c->in_shape[0]))
        return gy_infer_fail(c, "cotangent %s for a value %s", gy_shape_text(c->in_shape[0], a), gy_shape_text(x, b));
    bool rms = c->op->id == GY_OP_rmsnorm_grad;
    c->n_out = 0;
    for (int i = 1; i < (rms ? 3 : 4); i++) {
        if (c->in_dtype[i] == GY_DTYPE_DEFAULT) continue;
        c->shape[c->n_out] = c->in_shape[i];
        c->dtype[c->n_out++] = c->in_dtype[i];
    }
    return true;
}

/* ---- constructors ---- */

static gy_t make(const gy_norm_args *a, gy_op_id op, int64_t groups, double eps) {
    if (gy_is_none(a->x) || a->x.id == 0) return a->x;
    gy_t gamma = a->gamma;
    if (a->act != GY_ACT_NONE && op != GY_OP_groupnorm)
        return gy_poison(a->x.g, a->at, "%s: .act is for groupnorm only", gy_ops[op].name);
    if (op == GY_OP_rmsnorm && !gy_is_none(a->beta)) return gy_poison(a->x.g, a->at, "rmsnorm: there is no beta");
    if (a->eps < 0) return gy_poison(a->x.g, a->at, "%s: eps %g is negative", gy_ops[op].name, a->eps);
    /* a beta alone: the kernels know gamma and beta, or gamma, or neither */
    if (gy_is_none(gamma) && !gy_is_none(a->beta))
        gamma = gy_full_(a->at, a->x.g, gy_dtype_of(a->x), gy_shape_of(a->beta), 1.0);
    gy_norm_attr attr = {.eps = a->eps > 0 ? a->eps : eps, .groups = groups, .act = a->act};
    return gy_node_make(a->at, a->x.g, op, &attr, gy_ops[op].n_in, (gy_t[]){a->x, gamma, a->beta});
}

gy_t gy_layernorm_(gy_norm_args a) {
    return make(&a, GY_OP_layernorm, 0, 1e-5);
}
gy_t gy_rmsnorm_(gy_norm_args a) {
    return make(&a, GY_OP_rmsnorm, 0, 1e-6);
}
gy_t gy_groupnorm_(gy_norm_args a) {
    return make(&a, GY_OP_groupnorm, a.groups, 1e-5);
}
gy_t gy_instancenorm_(gy_norm_args a) {
    return make(&a, GY_OP_groupnorm, gy_dim(a.x, -1), 1e-5);
}
gy_t gy_batchnorm_(gy_norm_args a) {
    return make(&a, GY_OP_batchnorm, 0, 1e-5);
}

gy_t gy_batchnorm_eval_(gy_batchnorm_eval_args a) {
    gy_t scale = gy_unary_(a.at, GY_OP_rsqrt, gy_add_scalar_(a.at, a.var, a.eps > 0 ? a.eps : 1e-5));
    if (!gy_is_none(a.gamma)) scale = gy_binary_(a.at, GY_OP_mul, scale, a.gamma);
    gy_t y = gy_binary_(a.at, GY_OP_mul, gy_binary_(a.at, GY_OP_sub, a.x, a.mean), scale);
    return gy_is_none(a.beta) ? y : gy_binary_(a.at, GY_OP_add, y, a.beta);
}

/* ---- gradients ---- */

/* Which output of the gradient operator belongs to forward input i (x, gamma, beta); -1: none. */
static int grad_output(const gy_t in[], int i) {
    if (gy_is_none(in[i])) return -1;
    int k = 0;
    for (int j = 0; j < i; j++) k += !gy_is_none(in[j]);
    return k;
}

static void norm_vjp(const gy_vjp *v, gy_op_id op, gy_op_id grad) {
    if (!gy_is_none(v->ct[0])) {
        gy_t in[6], dx;
        int n = 0;
        in[n++] = v->ct[0];
        for (int i = 0; i < v->n_in; i++) in[n++] = v->in[i];
        for (int i = 1; i < v->n_out; i++) in[n++] = v->y[i];
        dx = gy_node_make(GY_VJP_SITE, v->in[0].g, grad, v->attr, n, in);
        for (int i = 0; i < v->n_in; i++)
            if (grad_output(v->in, i) >= 0) v->gx[i] = gy_out(dx, grad_output(v->in, i));
    }
    for (int k = 1; k < v->n_out; k++) /* somebody used the statistics */
        if (!gy_is_none(v->ct[k])) gy_fused_grad(op, v->attr, v->n_in, v->in, v->n_out, k, v->ct[k], v->gx);
}
static void layernorm_vjp(const gy_vjp *v) {
    norm_vjp(v, GY_OP_layernorm, GY_OP_layernorm_grad);
}
static void rmsnorm_vjp(const gy_vjp *v) {
    norm_vjp(v, GY_OP_rmsnorm, GY_OP_rmsnorm_grad);
}
static void groupnorm_vjp(const gy_vjp *v) {
    norm_vjp(v, GY_OP_groupnorm, GY_OP_groupnorm_grad);
}
static void batchnorm_vjp(const gy_vjp *v) {
    norm_vjp(v, GY_OP_batchnorm, GY_OP_batchnorm_grad);
}

/* ---- expansions ---- */

static void norm_expand(gy_op_id op, const gy_norm_attr *a, const gy_t in[], int n_out, gy_t out[]) {
    bool centre = op != GY_OP_rmsnorm;
    gy_shape shape = gy_shape_of(in[0]);
    gy_dtype dtype = gy_dtype_of(in[0]);
    gy_norm_dims d = gy_norm_view(op, a, shape);
    gy_t x = gy_reshape(in[0], d.outer, d.inner, d.groups, d.channels), mean = GY_NONE;
    if (centre) {
        mean = gy_mean_keep(x, GY_AXES(1, 3));
        x = gy_sub(x, mean);
    }
    gy_t var = gy_mean_keep(gy_square(x), GY_AXES(1, 3)); /* [outer, 1, groups, 1] */
    gy_t rstd = gy_rsqrt(gy_add_scalar(var, a->eps));
    gy_t y = gy_mul(x, rstd);
    if (!gy_is_none(in[1])) y = gy_mul(y, gy_reshape(in[1], d.groups, d.channels));
    if (centre && !gy_is_none(in[2])) y = gy_add(y, gy_reshape(in[2], d.groups, d.channels));
    if (a->act == GY_ACT_SILU) y = gy_silu(y);
    out[0] = gy_reshape_to(y, shape);

    gy_shape stat = shape;
    stat.dim[--stat.rank] = 0;
    if (op == GY_OP_groupnorm) stat = GY_S(d.outer, d.groups);
    if (op == GY_OP_batchnorm) stat = GY_S(d.groups);
    gy_t spread = op == GY_OP_batchnorm ? var : rstd;
    if (centre) out[1] = gy_cast(gy_reshape_to(mean, stat), stat_dtype(dtype));
    out[n_out - 1] = gy_cast(gy_reshape_to(spread, stat), stat_dtype(dtype));
}

/* in = (ct, x, gamma, [beta, mean], rstd): the saved statistics are recomputed from x, so they carry no gradient. */
static void norm_grad_expand(gy_op_id op, const void *attr, const gy_t in[], gy_t out[]) {
    gy_t gx[3] = {{0}};
    int n = gy_ops[op].n_in;
    gy_fused_grad(op, attr, n, in + 1, gy_ops[op].n_out, 0, in[0], gx);
    for (int i = 0; i < n; i++)
        if (grad_output(in + 1, i) >= 0) out[grad_output(in + 1, i)] = gy_or_zeros(gx[i], in[i + 1]);
}

#define EXPANSIONS(name)                                                                                               \
    static void name##_expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {                    \
        (void)n_in;                                                                                                    \
        norm_expand(GY_OP_##name, attr, in, n_out, out);                                                               \
    }                                                                                                                  \
    static void name##_grad_expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {               \
        (void)n_in, (void)n_out;                                                                                       \
        norm_grad_expand(GY_OP_##name, attr, in, out);                                                                 \
    }
EXPANSIONS(layernorm)
EXPANSIONS(rmsnorm)
EXPANSIONS(groupnorm)
EXPANSIONS(batchnorm)

/* ---- cost ---- */

static gy_cost cost(const gy_node *n) { /* two passes over x: statistics, then the affine map */
    double count = (double)gy_shape_count(n->shape[0]), size = (double)gy_dtype_size(n->dtype[0]);
    const gy_norm_attr *a = n->attr;
    return (gy_cost){.flops = (a->act ? 18.0 : 8.0) * count, .bytes = 2 * count * size};
}
static gy_cost grad_cost(const gy_node *n) {
    double count = (double)gy_shape_count(n->shape[0]), size = (double)gy_dtype_size(n->dtype[0]);
    const gy_norm_attr *a = n->attr;
    return (gy_cost){.flops = (a->act ? 26.0 : 14.0) * count, .bytes = 3 * count * size};
}

/* ---- cases ---- */

/* Affine: i % 3 = 0 gamma and beta, 1 gamma, 2 none. */
static bool case_args(gy_case *c, int i, gy_op_id op, gy_norm_args *a) {
    static const struct {
        gy_shape shape;
        int64_t groups;
    } table[] = {{{2, {3, 17}}, 17},        {{2, {1, 6}}, 2},      {{3, {2, 5, 24}}, 3}, {{2, {3, 4}}, 1},
                 {{4, {2, 3, 5, 12}}, 4},   {{3, {5, 1, 67}}, 67}, {{2, {0, 4}}, 2},     {{3, {2, 7, 40}}, 8},
                 {{5, {1, 2, 3, 2, 6}}, 3}, {{3, {3, 8, 16}}, 2}};
    enum { COUNT = sizeof table / sizeof *table };
    if (i > COUNT) return false;
    *a = (gy_norm_args){.at = GY_HERE, .eps = 1e-3};
    if (i == COUNT) { /* strided: a transposed view */
        a->x = gy_swap(gy_case_in(c, GY_S(3, 10, 4), -2, 2), 1, 2);
        a->groups = 5;
    } else {
        gy_shape s = table[i].shape;
        if (op == GY_OP_batchnorm && s.dim[0] == 0) s = GY_S(5, 1); /* an empty batch has no statistics */
        a->x = gy_case_in(c, s, -2, 2);
        a->groups = table[i].groups;
    }
    int64_t n = gy_dim(a->x, -1);
    if (i % 3 < 2) a->gamma = gy_case_in(c, GY_S(n), 0.5, 1.5);
    if (i % 3 < 1 && op != GY_OP_rmsnorm) a->beta = gy_case_in(c, GY_S(n), -1, 1);
    if (op == GY_OP_groupnorm) a->act = i % 2 ? GY_ACT_SILU : GY_ACT_NONE;
    c->tol = 64; /* dx is a difference of terms of its own size */
    return true;
}

static bool forward_case(gy_case *c, int i, gy_op_id op) {
    gy_norm_args a;
    if (!case_args(c, i, op, &a)) return false;
    c->y = make(&a, op, a.groups, 0);
    if (i % 5 == 3) c->y = gy_out(c->y, 1); /* the saved statistics have gradients too */
    if (i % 5 == 4) c->y = gy_out(c->y, gy_ops[op].n_out - 1);
    return true;
}

static bool grad_case(gy_case *c, int i, gy_op_id op, gy_op_id grad) {
    gy_norm_args a;
    if (!case_args(c, i, op, &a)) return false;
    gy_t y = make(&a, op, a.groups, 0), ct = gy_case_in(c, gy_shape_of(a.x), -1, 1);
    const gy_node *node = gy_node_of(y);
    if (op == GY_OP_rmsnorm)
        c->y = gy_node_make(GY_HERE, c->g, grad, node->attr, 4, (gy_t[]){ct, a.x, a.gamma, gy_out(y, 1)});
    else
        c->y = gy_node_make(GY_HERE, c->g, grad, node->attr, 6,
                            (gy_t[]){ct, a.x, a.gamma, a.beta, gy_out(y, 1), gy_out(y, 2)});
    if (gy_node_of(c->y)->n_out > 1) c->y = gy_out(c->y, i % gy_node_of(c->y)->n_out);
    return true;
}

#define CASES(name)                                                                                                    \
    static bool name##_cases(gy_case *c, int i) {                                                                      \
        return forward_case(c, i, GY_OP_##name);                                                                       \
    }                                                                                                                  \
    static bool name##_grad_cases(gy_case *c, int i) {                                                                 \
        return grad_case(c, i, GY_OP_##name, GY_OP_##name##_grad);                                                     \
    }
CASES(layernorm)
CASES(rmsnorm)
CASES(groupnorm)
CASES(batchnorm)

#define ROWS(name)                                                                                                     \
    const gy_op_impl gy_impl_##name = {.attr_size = sizeof(gy_norm_attr),                                              \
                                       .infer = infer,                                                                 \
                                       .vjp = name##_vjp,                                                              \
                                       .expand = name##_expand,                                                        \
                                       .cost = cost,                                                                   \
                                       .cases = name##_cases};                                                         \
    const gy_op_impl gy_impl_##name##_grad = {.attr_size = sizeof(gy_norm_attr),                                       \
                                              .infer = grad_infer,                                                     \
                                              .expand = name##_grad_expand,                                            \
                                              .cost = grad_cost,                                                       \
                                              .cases = name##_grad_cases};
ROWS(layernorm)
ROWS(rmsnorm)
ROWS(groupnorm)
ROWS(batchnorm)
