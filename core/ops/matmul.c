/* Matrix products: one operator with batch axes, transposes and an epilogue. */
#include "../op.h"

#include <inttypes.h>
#include <string.h>

/* Rows, columns of an operand as the product sees it. */
static void matrix_dims(gy_shape s, bool trans, int64_t *rows, int64_t *cols) {
    *rows = s.dim[s.rank - (trans ? 1 : 2)];
    *cols = s.dim[s.rank - (trans ? 2 : 1)];
}

static gy_shape batch_of(gy_shape s) {
    s.rank -= 2;
    return s;
}

static bool matmul_infer(gy_infer *c) {
    const gy_matmul_attr *at = c->attr;
    gy_shape a = c->in_shape[0], b = c->in_shape[1], s;
    char ta[GY_SHAPE_TEXT], tb[GY_SHAPE_TEXT];
    if (!gy_dtype_is_float(c->in_dtype[0]) || c->in_dtype[0] != c->in_dtype[1])
        return gy_infer_fail(c, "dtypes %s and %s, expected one float type", gy_dtype_name(c->in_dtype[0]),
                             gy_dtype_name(c->in_dtype[1]));
    if (a.rank < 2 || b.rank < 2)
        return gy_infer_fail(c, "expected matrices, found %s x %s", gy_shape_text(a, ta), gy_shape_text(b, tb));
    int64_t m, k, k2, n;
    matrix_dims(a, at->trans_a, &m, &k);
    matrix_dims(b, at->trans_b, &k2, &n);
    if (k != k2)
        return gy_infer_fail(c, "inner sizes differ: %s%s x %s%s", gy_shape_text(a, ta), at->trans_a ? "^T" : "",
                             gy_shape_text(b, tb), at->trans_b ? "^T" : "");
    if (!gy_broadcast_shape(batch_of(a), batch_of(b), &s))
        return gy_infer_fail(c, "batch axes do not broadcast: %s x %s", gy_shape_text(a, ta), gy_shape_text(b, tb));
    s.dim[s.rank++] = m;
    s.dim[s.rank++] = n;
    if (c->n_in > 2 && c->in_dtype[2] && (c->in_shape[2].rank != 1 || c->in_shape[2].dim[0] != n))
        return gy_infer_fail(c, "bias %s for %" PRId64 " columns", gy_shape_text(c->in_shape[2], ta), n);
    if (c->n_in > 3 && c->in_dtype[3] && !gy_shape_equal(c->in_shape[3], s))
        return gy_infer_fail(c, "residual %s for a product %s", gy_shape_text(c->in_shape[3], ta),
                             gy_shape_text(s, tb));
    c->shape[0] = s;
    c->dtype[0] = c->in_dtype[0];
    return true;
}

gy_t gy_matmul_(gy_matmul_args p) {
    gy_t a = p.a, b = p.b;
    if (gy_is_none(a) || gy_is_none(b) || a.id == 0 || b.id == 0) return (gy_t){gy_is_none(a) ? b.g : a.g, 0, 0};
    gy_matmul_attr at = {.trans_a = p.trans_a, .trans_b = p.trans_b};
    /* [B..., M, K] x [K, N]: one tall product instead of a batch, which also makes the gradient of b one product */
    gy_shape s = gy_shape_of(a);
    if (s.rank > 2 && gy_rank(b) == 2 && !p.trans_a) {
        gy_t flat = gy_matmul_((gy_matmul_args){p.at, gy_flatten_(p.at, a, 0, -2), b, false, p.trans_b});
        s.dim[s.rank - 1] = gy_dim(flat, -1);
        return gy_reshape_(p.at, flat, s);
    }
    return gy_node_make(p.at, a.g, GY_OP_matmul, &at, 2, (gy_t[]){a, b});
}

gy_t gy_linear_(gy_site at, gy_t x, gy_t w, gy_t b) {
    if (gy_is_none(x) || x.id == 0 || w.id == 0) return (gy_t){x.g, 0, 0};
    char tx[GY_SHAPE_TEXT], tw[GY_SHAPE_TEXT];
    if (gy_rank(w) != 2 || gy_rank(x) < 1 || gy_dim(x, -1) != gy_dim(w, 1))
        return gy_poison(x.g, at, "linear: input %s, weight %s (expected [out, in])", gy_shape_text(gy_shape_of(x), tx),
                         gy_shape_text(gy_shape_of(w), tw));
    gy_shape s = gy_shape_of(x);
    gy_t rows = gy_reshape_(
        at, x, GY_S(s.rank == 1 ? 1 : gy_count(x) / (s.dim[s.rank - 1] ? s.dim[s.rank - 1] : 1), s.dim[s.rank - 1]));
    if (s.dim[s.rank - 1] == 0) return gy_poison(x.g, at, "linear: no input features");
    gy_t y = gy_matmul_((gy_matmul_args){at, rows, w, false, true});
    if (!gy_is_none(b)) y = gy_binary_(at, GY_OP_add, y, b);
    s.dim[s.rank - 1] = gy_dim(w, 0);
    return gy_reshape_(at, y, s);
}

/* With y = op(a) op(b): da = ct op(b)^T, db = op(a)^T ct, each transposed back where the operand was. */
static void product_vjp(const gy_vjp *v) {
    const gy_matmul_attr *at = v->attr;
    gy_t a = v->in[0], b = v->in[1], ct = v->ct[0];
    if (at->alpha != 0 && at->alpha != 1) ct = gy_scale(ct, at->alpha);
    bool ta = at->trans_a, tb = at->trans_b;
    v->gx[0] = ta ? gy_matmul(b, ct, tb, true) : gy_matmul(ct, b, false, !tb);
    v->gx[1] = tb ? gy_matmul(ct, a, true, ta) : gy_matmul(a, ct, !ta, false);
}

/* The epilogue spelled out; used for gradients of nodes that carry one. */
static void matmul_expand(const void *attr, int n_in, const gy_t in[], int n_out, gy_t out[]) {
    static const int act_op[] = {0,          GY_OP_relu,   GY_OP_silu, GY_OP_gelu, GY_OP_gelu_tanh, GY_OP_quick_gelu,
                                 GY_OP_tanh, GY_OP_sigmoid};
    const gy_matmul_attr *at = attr;
    gy_matmul_attr plain = {.trans_a = at->trans_a, .trans_b = at->trans_b, .alpha = at->alpha};
    gy_t y = gy_node_make(GY_HERE, in[0].g, GY_OP_matmul, &plain, 2, in);
    (void)n_out;
    if (n_in > 2 && !gy_is_none(in[2])) y = gy_add(y, in[2]);
    if (at->act) y = gy_unary_(GY_HERE, act_op[at->act], y);
    if (n_in > 3 && !gy_is_none(in[3])) y = gy_add(y, in[3]);
    out[0] = y;
}

static void matmul_vjp(const gy_vjp *v) {
    const gy_matmul_attr *at = v->attr;
    if (v->n_in == 2 && !at->act) {
        product_vjp(v);
        return;
    }
    gy_t y;
    matmul_expand(v->attr, v->n_in, v->in, 1, &y);
    gy_t x[4], g[4];
    int64_t n = 0;
    for (int i = 0; i < v->n_in; i++)
        if (!gy_is_none(v->in[i])) x[n++] = v->in[i];
    gy_grad(y, v->ct[0], n, x, g);
    n = 0;
    for (int i = 0; i < v->n_in; i++)
        if (!gy_is_none(v->in[i])) v->gx[i] = g[n++];
}

static gy_cost matmul_cost(const gy_node *n) {
    const gy_matmul_attr *at = n->attr;
    gy_shape a = gy_shape_of(n->in[0]);
    double k = (double)a.dim[a.rank - (at->trans_a ? 2 : 1)], size = (double)gy_dtype_size(n->dtype[0]);
    double out = (double)gy_shape_count(n->shape[0]), bytes = out * size;
    for (int i = 0; i < n->n_in; i++)
        if (!gy_is_none(n->in[i])) bytes += (double)gy_count(n->in[i]) * size;
    return (gy_cost){2.0 * k * out, bytes};
}

/* ---- einsum of two operands: permute to [batch, rows, sum] x [batch, sum, cols] ---- */

static const char *find(const char *s, char c, size_t n) {
    return memchr(s, c, n);
}

gy_t gy_einsum_(gy_site at, const char *subs, gy_t a, gy_t b) {
    if (gy_is_none(a) || gy_is_none(b) || a.id == 0 || b.id == 0) return (gy_t){a.g, 0, 0};
    const char *comma = strchr(subs, ','), *arrow = strstr(subs, "->");
    if (!comma || !arrow || comma > arrow)
        return gy_poison(a.g, at, "einsum: '%s' is not of the form 'ab,bc->ac'", subs);
    const char *sa = subs, *sb = comma + 1, *so = arrow + 2;
    size_t na = (size_t)(comma - sa), nb = (size_t)(arrow - sb), no = strlen(so);
    if ((int64_t)na != gy_rank(a) || (int64_t)nb != gy_rank(b) || no > GY_MAX_RANK)
        return gy_poison(a.g, at, "einsum: '%s' for operands of rank %" PRId64 " and %" PRId64, subs, gy_rank(a),
                         gy_rank(b));
    /* classes of letters in order of appearance: batch (all three), rows (a, out), cols (b, out), summed (a, b) */
    char batch[9] = "", rows[9] = "", cols[9] = "", sum[9] = "";
    size_t n_batch = 0, n_rows = 0, n_cols = 0, n_sum = 0;
    gy_shape order_a = {0}, order_b = {0}, dims = {0};
    int64_t size[128] = {0};
    for (size_t i = 0; i < na + nb; i++) {
        char c = i < na ? sa[i] : sb[i - na];
        int64_t d = i < na ? gy_dim(a, (int64_t)i) : gy_dim(b, (int64_t)(i - na));
        bool in_a = find(sa, c, na), in_b = find(sb, c, nb), in_o = find(so, c, no);
        const char *self = i < na ? sa : sb;
        size_t n_self = i < na ? na : nb, pos = i < na ? i : i - na;
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) || find(self + pos + 1, c, n_self - pos - 1))
            return gy_poison(a.g, at, "einsum: '%s': letter '%c' is repeated or no letter", subs, c);
        if (size[(int)c] && size[(int)c] != d)
            return gy_poison(a.g, at, "einsum: '%s': axis '%c' has sizes %" PRId64 " and %" PRId64, subs, c,
                             size[(int)c], d);
        size[(int)c] = d;
        if (!in_o && !(in_a && in_b))
            return gy_poison(a.g, at, "einsum: '%s': '%c' is in one operand only and not in the output; sum it first",
                             subs, c);
        if (i >= na && in_a) continue;
        if (in_a && in_b && in_o)
            batch[n_batch++] = c;
        else if (in_a && in_b)
            sum[n_sum++] = c;
        else if (in_a)
            rows[n_rows++] = c;
        else
            cols[n_cols++] = c;
    }
    for (size_t i = 0; i < no; i++)
        if (!find(sa, so[i], na) && !find(sb, so[i], nb))
            return gy_poison(a.g, at, "einsum: '%s': output letter '%c' is in no operand", subs, so[i]);
    char made[17] = "";
    size_t n_made = 0;
    int64_t m = 1, n = 1, k = 1;
    for (size_t i = 0; i < n_batch; i++) {
        order_a.dim[order_a.rank++] = find(sa, batch[i], na) - sa;
        order_b.dim[order_b.rank++] = find(sb, batch[i], nb) - sb;
        dims.dim[dims.rank++] = size[(int)batch[i]];
        made[n_made++] = batch[i];
    }
    for (size_t i = 0; i < n_rows; i++) {
        order_a.dim[order_a.rank++] = find(sa, rows[i], na) - sa;
        m *= size[(int)rows[i]];
        made[n_made++] = rows[i];
    }
    for (size_t i = 0; i < n_sum; i++) {
        order_a.dim[order_a.rank++] = find(sa, sum[i], na) - sa;
        order_b.dim[order_b.rank++] = find(sb, sum[i], nb) - sb;
        k *= size[(int)sum[i]];
    }
    for (size_t i = 0; i < n_cols; i++) {
        order_b.dim[order_b.rank++] = find(sb, cols[i], nb) - sb;
        n *= size[(int)cols[i]];
        made[n_made++] = cols[i];
    }
    gy_shape la = dims, lb = dims, full = dims;
    if (dims.rank + 2 > GY_MAX_RANK) return gy_poison(a.g, at, "einsum: '%s': too many batch axes", subs);
    la.dim[la.rank++] = m;
    la.dim[la.rank++] = k;
    lb.dim[lb.rank++] = k;
    lb.dim[lb.rank++] = n;
    gy_t y = gy_matmul_((gy_matmul_args){at, gy_reshape_(at, gy_permute_(at, a, order_a), la),
                                         gy_reshape_(at, gy_permute_(at, b, order_b), lb), false, false});
    for (size_t i = 0; i < n_rows; i++) full.dim[full.rank++] = size[(int)rows[i]];
    for (size_t i = 0; i < n_cols; i++) full.dim[full.rank++] = size[(int)cols[i]];
    gy_shape order = {.rank = (int64_t)no};
    for (size_t i = 0; i < no; i++) order.dim[i] = find(made, so[i], n_made) - made;
    return gy_permute_(at, gy_reshape_(at, y, full), order);
}

/* ---- cases ---- */

static bool matmul_cases(gy_case *c, int i) {
    static const struct {
        gy_shape a, b;
        int64_t ta, tb, extras;
    } t[] = {{{2, {1, 1}}, {2, {1, 1}}, 0, 0, 0},          {{2, {3, 5}}, {2, {5, 7}}, 0, 0, 0},
             {{2, {5, 3}}, {2, {5, 7}}, 1, 0, 0},          {{2, {3, 5}}, {2, {7, 5}}, 0, 1, 0},
             {{2, {5, 3}}, {2, {7, 5}}, 1, 1, 0},          {{3, {2, 3, 4}}, {3, {2, 4, 5}}, 0, 0, 0},
             {{4, {2, 1, 3, 4}}, {3, {3, 4, 2}}, 0, 0, 0}, {{3, {3, 1, 17}}, {2, {17, 33}}, 0, 0, 0},
             {{2, {17, 19}}, {2, {19, 37}}, 0, 0, 3},      {{2, {0, 4}}, {2, {4, 3}}, 0, 0, 0},
             {{2, {3, 0}}, {2, {0, 4}}, 0, 0, 0},          {{2, {2, 65}}, {2, {65, 3}}, 0, 0, 4},
             {{2, {33, 5}}, {2, {5, 16}}, 0, 0, 1}};
    if (i >= (int)(sizeof t / sizeof *t)) return false;
    gy_t a = gy_case_in(c, t[i].a, -1, 1), b = gy_case_in(c, t[i].b, -1, 1);
    if (!t[i].extras) {
        c->y = gy_matmul(a, b, t[i].ta, t[i].tb);
        return true;
    }
    gy_matmul_attr at = {.act = t[i].extras, .alpha = 0.5};
    gy_t in[4] = {a, b, gy_case_in(c, GY_S(t[i].b.dim[1]), 0.1, 1),
                  gy_case_in(c, GY_S(t[i].a.dim[0], t[i].b.dim[1]), -1, 1)};
    c->no_grad_check = at.act == GY_ACT_RELU;
    c->y = gy_node_make(GY_HERE, c->g, GY_OP_matmul, &at, 4, in);
    return true;
}

const gy_op_impl gy_impl_matmul = {.attr_size = sizeof(gy_matmul_attr),
                                   .act_offset = offsetof(gy_matmul_attr, act),
                                   .infer = matmul_infer,
                                   .vjp = matmul_vjp,
                                   .expand = matmul_expand,
                                   .cost = matmul_cost,
                                   .cases = matmul_cases};
