/* Random values as nodes. All distributions are one operator; what is built from them is composition. */
#include "../op.h"

#include <string.h>

/* ---- keys ---- */

struct gy_rng_use {
    uint64_t hash; /* of scope and name */
    uint64_t count;
    struct gy_rng_use *next;
};

/* The key of the next draw of `name` in the present scope. */
static bool next_key(gy_graph *g, const char *name, int64_t *key) {
    const char *scope = g->inherit ? g->inherit->scope : g->scope;
    uint64_t hash = gy_hash_str(name ? name : "", gy_hash_str(scope, 0x52414e44));
    struct gy_rng_use *u = g->rng_uses;
    while (u && u->hash != hash) u = u->next;
    if (!u) {
        u = gy_arena_alloc(&g->arena, sizeof *u);
        if (!u) return false;
        *u = (struct gy_rng_use){hash, 0, g->rng_uses};
        g->rng_uses = u;
    }
    uint64_t mixed = gy_hash(&u->count, sizeof u->count, hash);
    u->count++;
    memcpy(key, &mixed, sizeof *key);
    return true;
}

/* ---- op random ---- */

static bool random_infer(gy_infer *c) {
    const gy_random_attr *a = c->attr;
    char t[GY_SHAPE_TEXT];
    if (c->in_dtype[0] != GY_I64 || !gy_shape_equal(c->in_shape[0], GY_S(2)))
        return gy_infer_fail(c, "the generator input is %s %s, expected i64 [2]", gy_dtype_name(c->in_dtype[0]),
                             gy_shape_text(c->in_shape[0], t));
    if (!gy_dtype_is_float((gy_dtype)a->dtype))
        return gy_infer_fail(c, "dtype %s, expected a float type", gy_dtype_name((gy_dtype)a->dtype));
    for (int64_t i = 0; i < a->shape.rank; i++)
        if (a->shape.dim[i] < 0) return gy_infer_fail(c, "negative dimension in %s", gy_shape_text(a->shape, t));
    if (a->kind == GY_RANDOM_BERNOULLI && !(a->a >= 0 && a->a <= 1))
        return gy_infer_fail(c, "probability %g outside [0, 1]", a->a);
    if (a->kind == GY_RANDOM_UNIFORM && !(a->a <= a->b)) return gy_infer_fail(c, "bounds [%g, %g)", a->a, a->b);
    c->shape[0] = a->shape;
    c->dtype[0] = (gy_dtype)a->dtype;
    return true;
}

gy_t gy_random_(gy_site at, gy_graph *g, gy_random_kind kind, const char *name, gy_dtype dtype, gy_shape shape,
                double a, double b) {
    gy_random_attr attr = {0, kind, dtype, a, b, shape};
    gy_t rng = gy_rng_input(g);
    if (!next_key(g, name, &attr.key)) return gy_poison(g, at, "random: %s", gy_error(g->ctx));
    return gy_node_make(at, g, GY_OP_random, &attr, 1, &rng);
}

/* ---- compositions ---- */

/* A draw of x's graph, dtype and shape. */
static gy_t like(gy_site at, gy_t x, gy_random_kind kind, const char *name, double a, double b) {
    if (x.id == 0) return x;
    return gy_random_(at, x.g, kind, name, gy_dtype_of(x), gy_shape_of(x), a, b);
}

gy_t gy_bernoulli_(gy_site at, gy_t p, const char *name) {
    gy_t u = like(at, p, GY_RANDOM_UNIFORM, name, 0, 1);
    return gy_cast_(at, gy_binary_(at, GY_OP_lt, u, p), gy_dtype_of(p));
}

gy_t gy_random_below_(gy_site at, gy_graph *g, const char *name, gy_shape shape, int64_t n) {
    if (n < 1 || n > UINT32_MAX) return gy_poison(g, at, "random_below: n = %lld, expected 1 .. 2^32-1", (long long)n);
    gy_t u = gy_random_(at, g, GY_RANDOM_UNIFORM, name, GY_F64, shape, 0, (double)n);
    return gy_cast_(at, u, GY_I64);
}

static gy_t with_gumbel(gy_site at, gy_t logits, const char *name) {
    return gy_binary_(at, GY_OP_add, logits, like(at, logits, GY_RANDOM_GUMBEL, name, 0, 1));
}

gy_t gy_categorical_(gy_site at, gy_t logits, const char *name) {
    return gy_arg_(at, GY_OP_argmax, with_gumbel(at, logits, name), -1);
}

gy_t gy_gumbel_softmax_(gy_site at, gy_t logits, const char *name, double tau, bool hard) {
    if (!(tau > 0)) return gy_poison(logits.g, at, "gumbel_softmax: tau = %g, expected above 0", tau);
    gy_t z = gy_scale_(at, with_gumbel(at, logits, name), 1 / tau);
    gy_t y = gy_softmax_(at, z, -1);
    if (!hard || y.id == 0) return y;
    gy_t top = gy_one_hot_(at, gy_arg_(at, GY_OP_argmax, z, -1), gy_dim(z, -1), gy_dtype_of(z));
    return gy_straight_through_(at, y, top);
}

static gy_t drop(gy_site at, gy_t x, const char *name, double p, gy_shape mask_shape) {
    if (!(p >= 0 && p <= 1)) return gy_poison(x.g, at, "dropout: p = %g outside [0, 1]", p);
    if (p == 0 || x.id == 0) return x;
    double keep = 1 - p, kept = keep > 0 ? 1 / keep : 0;
    gy_t mask = gy_random_(at, x.g, GY_RANDOM_BERNOULLI, name, gy_dtype_of(x), mask_shape, keep, kept);
    return gy_binary_(at, GY_OP_mul, x, mask);
}

gy_t gy_dropout_(gy_site at, gy_t x, const char *name, double p) {
    return drop(at, x, name, p, gy_shape_of(x));
}

gy_t gy_dropout_shared_(gy_site at, gy_t x, const char *name, double p, int64_t n, bool last) {
    gy_shape s = gy_shape_of(x);
    for (int64_t i = n; i < s.rank; i++)
        if (!last || i != s.rank - 1) s.dim[i] = 1;
    return drop(at, x, name, p, s);
}

static gy_cost random_cost(const gy_node *n) { /* ten rounds of Philox for four elements, about 25 operations each */
    double count = (double)gy_shape_count(n->shape[0]);
    return (gy_cost){25 * count, count * (double)gy_dtype_size(n->dtype[0])};
}

static bool random_cases(gy_case *c, int i) {
    static const gy_random_kind kinds[] = {GY_RANDOM_UNIFORM, GY_RANDOM_NORMAL, GY_RANDOM_GUMBEL, GY_RANDOM_BERNOULLI};
    static const gy_shape shapes[] = {{0, {0}}, {1, {1}}, {2, {3, 7}}, {2, {0, 4}}, {3, {2, 17, 33}}};
    if (i < 0 || i >= 20) return false;
    c->y = gy_random_(GY_HERE, c->g, kinds[i % 4], "case", c->dtype, shapes[i / 4], i % 4 == 3 ? 0.3 : -0.5, 1.5);
    return true;
}

const gy_op_impl gy_impl_random = {.attr_size = sizeof(gy_random_attr),
                                   .infer = random_infer,
                                   .nodiff = "a draw depends on no value",
                                   .cost = random_cost,
                                   .cases = random_cases};
