/* s = scale q k^T + bias, p = softmax over the visible keys, y = p v.
 * With ct the cotangent of y:  dv = p^T ct,  ds = p (ct v^T - <ct, y>),  dq = scale ds k,  dk = scale ds^T q,
 * dbias = ds summed to bias's shape. Only lse is kept from the forward pass: p = e^{s - lse} is computed again
 * (Dao et al. 2022, arXiv 2205.14135, section 3 and appendix B). */
#include "fused.h"

#include <math.h>

enum { Q, K, V, MASK, BIAS, N_IN };

/* ---- shape rules ---- */

static bool broadcasts_to(gy_shape s, gy_shape full) {
    gy_shape both;
    return gy_broadcast_shape(s, full, &both) && gy_shape_equal(both, full);
}

/* Checks inputs q, k, v, mask, bias, which begin at input `first`. */
static bool check(gy_infer *c, int first) {
    char a[GY_SHAPE_TEXT], b[GY_SHAPE_TEXT];
    const gy_shape *s = c->in_shape + first;
    const gy_dtype *t = c->in_dtype + first;
    static const char *const name[] = {"q", "k", "v", "mask", "bias"};
    for (int i = Q; i <= V; i++) {
        if (s[i].rank != 4)
            return gy_infer_fail(c, "%s: expected [batch, time, heads, features], found %s", name[i],
                                 gy_shape_text(s[i], a));
        if (!gy_dtype_is_float(t[i]) || t[i] != t[Q])
            return gy_infer_fail(c, "%s is %s, expected %s", name[i], gy_dtype_name(t[i]),
                                 gy_dtype_is_float(t[Q]) ? gy_dtype_name(t[Q]) : "a float type");
    }
    if (s[Q].dim[0] != s[K].dim[0] || s[Q].dim[3] != s[K].dim[3])
        return gy_infer_fail(c, "q %s and k %s differ in batch or features", gy_shape_text(s[Q], a),
                             gy_shape_text(s[K], b));
    for (int i = 0; i < 3; i++)
        if (s[K].dim[i] != s[V].dim[i])
            return gy_infer_fail(c, "k %s and v %s differ in batch, time or heads", gy_shape_text(s[K], a),
                                 gy_shape_text(s[V], b));
    if (s[K].dim[2] < 1 || s[Q].dim[2] % s[K].dim[2])
        return gy_infer_fail(c, "%d query heads are no multiple of %d key heads", (int)s[Q].dim[2], (int)s[K].dim[2]);
    if (s[K].dim[1] < 1) return gy_infer_fail(c, "there are no keys: k is %s", gy_shape_text(s[K], a));
    gy_shape scores = GY_S(s[Q].dim[0], s[Q].dim[2], s[Q].dim[1], s[K].dim[1]);
    for (int i = MASK; i <= BIAS; i++) {
        gy_dtype want = i == MASK ? GY_U8 : t[Q];
        if (t[i] == GY_DTYPE_DEFAULT) continue;
        if (t[i] != want)
            return gy_infer_fail(c, "%s is %s, expected %s", name[i], gy_dtype_name(t[i]), gy_dtype_name(want));
        if (!broadcasts_to(s[i], scores))
            return gy_infer_fail(c, "%s %s does not broadcast to the scores %s", name[i], gy_shape_text(s[i], a),
                                 gy_shape_text(scores, b));
    }
    return true;
}

static gy_dtype lse_dtype(gy_dtype x) {
    return x == GY_F64 ? GY_F64 : GY_F32;
}

static bool infer(gy_infer *c) {
    if (!check(c, 0)) return false;
    gy_shape q = c->in_shape[Q];
    c->shape[0] = GY_S(q.dim[0], q.dim[1], q.dim[2], c->in_shape[V].dim[3]);
    c->dtype[0] = c->in_dtype[Q];
    c->shape[1] = GY_S(q.dim[0], q.dim[2], q.dim[1]);
    c->dtype[1] = lse_dtype(c->in_dtype[Q]);
    return true;
}

static bool grad_infer(gy_infer *c) {
    if (!check(c, 1)) return false;
    c->n_out = c->in_dtype[1 + BIAS] == GY_DTYPE_DEFAULT ? 3 : 4;
    static const int of[] = {Q, K, V, BIAS};
    for (int i = 0; i < c->n_out; i++) {
        c->shape[i] = c->in_shape[1 + of[i]];
        c->dtype[i] = c->in_dtype[1 + of[i]];
    }
    return true;
}

/* ---- constructors ---- */

static gy_attention_attr attributes(const gy_attention_args *a) {
    double width = (double)gy_dim(a->q, -1);
    return (gy_attention_attr){.scale = a->scale != 0 ? a->scale : 1 / sqrt(width > 0 ? width : 1),
                               .causal = a->causal};
}

gy_t gy_attention_(gy_attention_args a) {
    if (gy_is_none(a.q)) return a.q;
    gy_attention_attr attr = attributes(&a);
    return gy_node_make(a.at, a.q.g, GY_OP_attention, &attr, N_IN, (gy_t[]){a.q, a.k, a.v, a.mask, a.bias});
}

/* ---- primitive form ---- */

/* u8, broadcastable to [B, H, Tq, Tk]: who sees whom; GY_NONE: all. */
static gy_t visible(const gy_attention_attr *a, const gy_t in[]) {
    gy_graph *g = in[Q].g;
    int64_t tq = gy_dim(in[Q], 1), tk = gy_dim(in[K], 1);
    if (!a->causal) return in[MASK];
    gy_t query = gy_reshape(gy_iota(g, GY_I64, tq), tq, 1), key = gy_reshape(gy_iota(g, GY_I64, tk), 1, tk);
    gy_t past = gy_le(key, gy_add_scalar(query, (double)(tk - tq)));
    return gy_is_none(in[MASK]) ? past : gy_mul(past, in[MASK]);
}

/* Weights [B, H, Tq, Tk] and lse [B, H, Tq]. */
static gy_t weights(const gy_attention_attr *a, const gy_t in[], gy_t *lse) {
    int64_t b = gy_dim(in[Q], 0), tq = gy_dim(in[Q], 1), h = gy_dim(in[Q], 2), d = gy_dim(in[Q], 3);
    int64_t tk = gy_dim(in[K], 1), hkv = gy_dim(in[K], 2);
    gy_t q = gy_reshape(gy_permute(in[Q], 0, 2, 1, 3), b, hkv, h / hkv, tq, d);
    gy_t k = gy_unsqueeze(gy_permute(in[K], 0, 2, 1, 3), 2); /* [B, Hkv, 1, Tk, D] */
    gy_t s = gy_reshape(gy_scale(gy_matmul(q, k, .trans_b = true), a->scale), b, h, tq, tk);
    if (!gy_is_none(in[BIAS])) s = gy_add(s, in[BIAS]);
    /* Hidden scores take a very low finite value, and their exponentials are then set to exact zeros: a row that sees
     * nothing has sum 0, which is replaced by 1, so that no infinity or 0/0 appears in any derivative. */
    gy_t low = gy_scalar(s, -1e30), zero = gy_scalar(s, 0), mask = visible(a, in);
    if (!gy_is_none(mask)) s = gy_where(mask, s, low);
    gy_t top = gy_stop(gy_maximum(gy_max_keep(s, GY_AXES(-1)), low));
    gy_t e = gy_exp(gy_sub(s, top));
    if (!gy_is_none(mask)) e = gy_where(mask, e, zero);
    gy_t sum = gy_sum_keep(e, GY_AXES(-1)), some = gy_gt(sum, zero);
    sum = gy_where(some, sum, gy_scalar(s, 1));
    if (lse) {
        gy_t nothing = gy_scalar(s, -INFINITY);
        gy_t value = gy_where(some, gy_add(gy_log(sum), top), nothing);
        *lse = gy_cast(gy_reshape(value, b, h, tq), lse_dtype(gy_dtype_of(in[Q])));
    }
    return gy_div(e, sum);
}

gy_t gy_attention_weights_(gy_attention_args a) {
    gy_t in[N_IN] = {a.q, a.k, gy_is_none(a.v) ? a.k : a.v, a.mask, a.bias};
    /* the fused operator's shape rule checks the arguments; the node itself is not used and is dropped */
    a.v = in[V];
    gy_t checked = gy_attention_(a);
    if (gy_is_none(checked) || checked.id == 0) return checked;
    gy_attention_attr attr = attributes(&a);
    return weights(&attr, in, NULL);
}

static void expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {
    (void)n_in, (void)n_out;
    int64_t b = gy_dim(in[Q], 0), tq = gy_dim(in[Q], 1), h = gy_dim(in[Q], 2), tk = gy_dim(in[K], 1);
    int64_t hkv = gy_dim(in[K], 2), dv = gy_dim(in[V], 3);
    gy_t p = gy_reshape(weights(attr, in, &out[1]), b, hkv, h / hkv, tq, tk);
    gy_t v = gy_unsqueeze(gy_permute(in[V], 0, 2, 1, 3), 2); /* [B, Hkv, 1, Tk, Dv] */
    out[0] = gy_permute(gy_reshape(gy_matmul(p, v), b, h, tq, dv), 0, 2, 1, 3);
}

/* ---- gradients ---- */

static void vjp(const gy_vjp *v) {
    const gy_t *in = v->in;
    if (!gy_is_none(v->ct[0])) {
        gy_t dq = gy_node_make(GY_VJP_SITE, in[Q].g, GY_OP_attention_grad, v->attr, 8,
                               (gy_t[]){v->ct[0], in[Q], in[K], in[V], in[MASK], in[BIAS], v->y[0], v->y[1]});
        v->gx[Q] = dq;
        v->gx[K] = gy_out(dq, 1);
        v->gx[V] = gy_out(dq, 2);
        if (!gy_is_none(in[BIAS])) v->gx[BIAS] = gy_out(dq, 3);
    }
    if (!gy_is_none(v->ct[1])) gy_fused_grad(GY_OP_attention, v->attr, N_IN, in, 2, 1, v->ct[1], v->gx);
}

/* in = (ct, q, k, v, mask, bias, y, lse): y and lse are recomputed, so they carry no gradient. */
static void grad_expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {
    (void)n_in;
    gy_t gx[N_IN] = {{0}};
    static const int of[] = {Q, K, V, BIAS};
    gy_fused_grad(GY_OP_attention, attr, N_IN, in + 1, 2, 0, in[0], gx);
    for (int i = 0; i < n_out; i++) out[i] = gy_or_zeros(gx[of[i]], in[1 + of[i]]);
}

/* ---- cost: two products forward, five backward ---- */

static gy_cost work(const gy_node *n, const gy_t *in, double score_flops) {
    const gy_attention_attr *a = n->attr;
    gy_shape q = gy_shape_of(in[Q]), k = gy_shape_of(in[K]), v = gy_shape_of(in[V]);
    double pairs = (double)(q.dim[0] * q.dim[1] * q.dim[2]) * (double)k.dim[1] * (a->causal ? 0.5 : 1.0);
    double products =
        score_flops == 2 ? 2.0 * (double)(q.dim[3] + v.dim[3]) : 2.0 * (double)(3 * q.dim[3] + 2 * v.dim[3]);
    double bytes = 0;
    for (int i = 0; i < n->n_in; i++)
        if (!gy_is_none(n->in[i])) bytes += (double)gy_count(n->in[i]) * (double)gy_dtype_size(gy_dtype_of(n->in[i]));
    for (int i = 0; i < n->n_out; i++)
        bytes += (double)gy_shape_count(n->shape[i]) * (double)gy_dtype_size(n->dtype[i]);
    return (gy_cost){.flops = pairs * (products + 12), .bytes = bytes};
}
static gy_cost cost(const gy_node *n) {
    return work(n, n->in, 2);
}
static gy_cost grad_cost(const gy_node *n) {
    return work(n, n->in + 1, 5);
}

/* ---- cases ---- */

static bool case_args(gy_case *c, int i, gy_attention_args *a) {
    static const struct {
        int64_t b, tq, tk, h, hkv, d, dv;
        bool causal;
        gy_shape mask, bias; /* rank 0: none */
    } table[] = {{1, 1, 1, 1, 1, 1, 1, false, {0}, {0}},
                 {2, 5, 7, 2, 2, 8, 8, false, {0}, {0}},
                 {1, 7, 7, 3, 1, 4, 5, true, {0}, {0}},
                 {2, 6, 5, 4, 2, 3, 8, false, {4, {2, 1, 6, 5}}, {0}},
                 {2, 3, 9, 2, 2, 5, 4, true, {4, {2, 1, 1, 9}}, {4, {1, 2, 3, 9}}},
                 {1, 5, 5, 6, 2, 8, 3, false, {0}, {2, {5, 5}}},
                 {2, 4, 3, 2, 1, 2, 2, true, {0}, {4, {2, 1, 1, 3}}}, /* the first query sees nothing */
                 {0, 4, 4, 2, 2, 3, 3, false, {0}, {0}},
                 {1, 17, 19, 2, 2, 16, 16, false, {2, {17, 19}}, {1, {19}}}};
    enum { COUNT = sizeof table / sizeof *table };
    if (i > COUNT + 1) return false;
    *a = (gy_attention_args){.at = GY_HERE};
    c->tol = 64;
    if (i > COUNT) { /* one value in three roles */
        a->q = a->k = a->v = gy_case_in(c, GY_S(1, 5, 2, 3), -1, 1);
        return true;
    }
    if (i == COUNT) { /* strided: heads before time, as a fused projection leaves them */
        a->q = gy_swap(gy_case_in(c, GY_S(1, 2, 6, 4), -1, 1), 1, 2);
        a->k = gy_swap(gy_case_in(c, GY_S(1, 2, 5, 4), -1, 1), 1, 2);
        a->v = gy_swap(gy_case_in(c, GY_S(1, 2, 5, 3), -1, 1), 1, 2);
        a->scale = 0.3;
        return true;
    }
    a->q = gy_case_in(c, GY_S(table[i].b, table[i].tq, table[i].h, table[i].d), -1, 1);
    a->k = gy_case_in(c, GY_S(table[i].b, table[i].tk, table[i].hkv, table[i].d), -1, 1);
    a->v = gy_case_in(c, GY_S(table[i].b, table[i].tk, table[i].hkv, table[i].dv), -1, 1);
    if (table[i].mask.rank) a->mask = gy_case_mask(c, table[i].mask);
    if (table[i].bias.rank) a->bias = gy_case_in(c, table[i].bias, -1, 1);
    a->causal = table[i].causal;
    return true;
}

static bool cases(gy_case *c, int i) {
    gy_attention_args a;
    if (!case_args(c, i, &a)) return false;
    c->y = gy_attention_(a);
    if (i == 1 || i == 5) c->y = gy_out(c->y, 1); /* lse has a gradient too */
    return true;
}

static bool grad_cases(gy_case *c, int i) {
    gy_attention_args a;
    if (!case_args(c, i, &a)) return false;
    gy_t y = gy_attention_(a), ct = gy_case_in(c, gy_shape_of(y), -1, 1);
    c->y = gy_node_make(GY_HERE, c->g, GY_OP_attention_grad, gy_node_of(y)->attr, 8,
                        (gy_t[]){ct, a.q, a.k, a.v, a.mask, a.bias, y, gy_out(y, 1)});
    c->y = gy_out(c->y, i % gy_node_of(c->y)->n_out);
    return true;
}

const gy_op_impl gy_impl_attention = {
    .attr_size = sizeof(gy_attention_attr), .infer = infer, .vjp = vjp, .expand = expand, .cost = cost, .cases = cases};
const gy_op_impl gy_impl_attention_grad = {.attr_size = sizeof(gy_attention_attr),
                                           .infer = grad_infer,
                                           .expand = grad_expand,
                                           .cost = grad_cost,
                                           .cases = grad_cases};
