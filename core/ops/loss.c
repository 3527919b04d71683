/* Losses that are compositions of primitive operators; each formula is in loss.h. */
#include "../op.h"

/* Every function here has the caller's place as `at`; the constructor macros hand it on to the nodes they make, so that
 * messages and reports name the line of the model, not a line of this file. */
#undef GY_HERE
#define GY_HERE at

/* False, with a message, if one is missing; false without if one is poisoned. */
static bool present(gy_site at, const char *name, gy_t a, gy_t b) {
    gy_graph *g = gy_is_none(a) ? b.g : a.g;
    if (g && (gy_is_none(a) || gy_is_none(b))) gy_poison(g, at, "%s: an input is missing", name);
    return g && a.id != 0 && b.id != 0;
}

static bool same_shape(gy_site at, const char *name, gy_t a, gy_t b) {
    char s[GY_SHAPE_TEXT], t[GY_SHAPE_TEXT];
    if (!present(at, name, a, b)) return false;
    if (gy_shape_equal(gy_shape_of(a), gy_shape_of(b)) && gy_dtype_of(a) == gy_dtype_of(b)) return true;
    gy_poison(a.g, at, "%s: expected two values alike, found %s %s and %s %s", name, gy_dtype_name(gy_dtype_of(a)),
              gy_shape_text(gy_shape_of(a), s), gy_dtype_name(gy_dtype_of(b)), gy_shape_text(gy_shape_of(b), t));
    return false;
}

static gy_t bad(gy_t a, gy_t b) {
    gy_graph *g = gy_is_none(a) ? b.g : a.g;
    return (gy_t){g, 0, 0};
}

static gy_t reduce(gy_site at, gy_t x, gy_reduction r) {
    if (r == GY_LOSS_NONE) return x;
    return r == GY_LOSS_SUM ? gy_sum(x, GY_ALL) : gy_mean(x, GY_ALL);
}

static gy_t one_minus(gy_site at, gy_t x) {
    return gy_sub(gy_scalar(x, 1), x);
}

/* ---- regression ---- */

gy_t gy_mse_(gy_site at, gy_t a, gy_t b, gy_reduction r) {
    return same_shape(at, "mse", a, b) ? reduce(at, gy_square(gy_sub(a, b)), r) : bad(a, b);
}

gy_t gy_l1_(gy_site at, gy_t a, gy_t b, gy_reduction r) {
    return same_shape(at, "l1", a, b) ? reduce(at, gy_abs(gy_sub(a, b)), r) : bad(a, b);
}

gy_t gy_smooth_l1_(gy_site at, gy_t a, gy_t b, double beta, gy_reduction r) {
    if (!same_shape(at, "smooth_l1", a, b)) return bad(a, b);
    if (beta < 0) return gy_poison(a.g, at, "smooth_l1: beta %g is negative", beta);
    if (beta == 0) beta = 1;
    gy_t diff = gy_sub(a, b), d = gy_abs(diff);
    gy_t near = gy_scale(gy_square(diff), 0.5 / beta), far = gy_add_scalar(d, -0.5 * beta);
    return reduce(at, gy_where(gy_lt(d, gy_scalar(d, beta)), near, far), r);
}

/* ---- classification ---- */

gy_t gy_soft_cross_entropy_(gy_site at, gy_t logits, gy_t target, gy_reduction r) {
    if (!same_shape(at, "soft_cross_entropy", logits, target)) return bad(logits, target);
    return reduce(at, gy_neg(gy_sum(gy_mul(target, gy_log_softmax(logits, -1)), GY_AXES(-1))), r);
}

gy_t gy_bce_with_logits_(gy_site at, gy_t x, gy_t y, gy_t pos_weight, gy_reduction r) {
    if (!same_shape(at, "bce_with_logits", x, y)) return bad(x, y);
    gy_t miss = gy_softplus(gy_neg(x)); /* -log s(x); and -log(1 - s(x)) = x + miss */
    if (!gy_is_none(pos_weight)) {
        /* (1 - y) x + (1 + (w - 1) y) miss */
        gy_t factor = gy_add_scalar(gy_mul(y, gy_add_scalar(pos_weight, -1)), 1);
        gy_t loss = gy_add(gy_mul(one_minus(at, y), x), gy_mul(factor, miss));
        if (loss.id && !gy_shape_equal(gy_shape_of(loss), gy_shape_of(x))) {
            char s[GY_SHAPE_TEXT], t[GY_SHAPE_TEXT];
            return gy_poison(x.g, at, "bce_with_logits: pos_weight %s does not broadcast to %s",
                             gy_shape_text(gy_shape_of(pos_weight), s), gy_shape_text(gy_shape_of(x), t));
        }
        return reduce(at, loss, r);
    }
    return reduce(at, gy_add(gy_mul(one_minus(at, y), x), miss), r);
}

gy_t gy_hinge_(gy_site at, gy_t x, gy_t y, gy_reduction r) {
    return same_shape(at, "hinge", x, y) ? reduce(at, gy_relu(one_minus(at, gy_mul(x, y))), r) : bad(x, y);
}

gy_t gy_multi_margin_(gy_site at, gy_t x, gy_t target, double margin, gy_reduction r) {
    if (!present(at, "multi_margin", x, target)) return bad(x, target);
    char s[GY_SHAPE_TEXT], t[GY_SHAPE_TEXT];
    gy_shape rows = gy_shape_of(x);
    if (rows.rank > 0) rows.dim[--rows.rank] = 0;
    if (gy_rank(x) < 1 || gy_dim(x, -1) < 1 || gy_dtype_of(target) != GY_I64 ||
        !gy_shape_equal(gy_shape_of(target), rows))
        return gy_poison(x.g, at, "multi_margin: scores %s need i64 targets %s, found %s",
                         gy_shape_text(gy_shape_of(x), s), gy_shape_text(rows, t), gy_dtype_name(gy_dtype_of(target)));
    if (margin == 0) margin = 1;
    int64_t classes = gy_dim(x, -1);
    gy_t right = gy_eq(gy_unsqueeze(target, -1), gy_iota(x.g, GY_I64, classes)); /* [N..., C] */
    gy_t zero = gy_scalar(x, 0);
    gy_t own = gy_sum_keep(gy_where(right, x, zero), GY_AXES(-1));
    gy_t over = gy_relu(gy_add_scalar(gy_sub(x, own), margin));
    gy_t row = gy_sum(gy_where(right, zero, over), GY_AXES(-1));
    return reduce(at, gy_scale(row, 1 / (double)classes), r);
}

gy_t gy_gan_hinge_d_(gy_site at, gy_t real, gy_t fake) {
    if (!present(at, "gan_hinge_d", real, fake)) return bad(real, fake);
    return gy_add(gy_mean(gy_relu(one_minus(at, real)), GY_ALL), gy_mean(gy_relu(gy_add_scalar(fake, 1)), GY_ALL));
}

gy_t gy_gan_hinge_g_(gy_site at, gy_t fake) {
    return gy_neg(gy_mean(fake, GY_ALL));
}

/* ---- distributions ---- */

gy_t gy_kl_div_(gy_site at, gy_t log_p, gy_t log_q, gy_reduction r) {
    if (!same_shape(at, "kl_div", log_p, log_q)) return bad(log_p, log_q);
    gy_t zero = gy_scalar(log_p, 0);
    /* where p = 0 the logarithm is replaced before it is multiplied: 0 times -inf would be NaN */
    gy_t some = gy_gt(log_p, gy_scalar(log_p, -1e30)), lp = gy_where(some, log_p, zero);
    gy_t term = gy_mul(gy_exp(lp), gy_sub(lp, gy_where(some, log_q, zero)));
    return reduce(at, gy_sum(gy_where(some, term, zero), GY_AXES(-1)), r);
}

gy_t gy_gaussian_kl_(gy_site at, gy_t mu, gy_t log_var, gy_reduction r) {
    if (!same_shape(at, "gaussian_kl", mu, log_var)) return bad(mu, log_var);
    if (gy_rank(mu) < 1) return gy_poison(mu.g, at, "gaussian_kl: expected [batch, ...], found a scalar");
    gy_t term = gy_sub(gy_sub(gy_add_scalar(log_var, 1), gy_square(mu)), gy_exp(log_var));
    gy_axes rest = {0};
    for (int64_t i = 1; i < gy_rank(mu); i++) rest.axis[rest.n++] = i;
    if (rest.n) term = gy_sum(term, rest);
    return reduce(at, gy_scale(term, -0.5), r);
}

/* ---- overlap ---- */

gy_t gy_dice_loss_(gy_dice_args a) {
    gy_site at = a.at;
    if (!same_shape(at, "dice_loss", a.p, a.target)) return bad(a.p, a.target);
    if (gy_rank(a.p) < 3) return gy_poison(a.p.g, at, "dice_loss: expected [batch, spatial..., classes]");
    double smooth = a.smooth > 0 ? a.smooth : 1e-5;
    gy_axes over = {0}; /* space, and samples if asked */
    for (int64_t i = a.batch ? 0 : 1; i + 1 < gy_rank(a.p); i++) over.axis[over.n++] = i;
    gy_t common = gy_sum(gy_mul(a.p, a.target), over);
    gy_t size_p = gy_sum(a.squared ? gy_square(a.p) : a.p, over);
    gy_t size_target = gy_sum(a.squared ? gy_square(a.target) : a.target, over);
    gy_t ratio = gy_div(gy_add_scalar(gy_scale(common, 2), smooth), gy_add_scalar(gy_add(size_p, size_target), smooth));
    return one_minus(at, gy_mean(ratio, GY_ALL));
}

/* ---- similarity and contrast ---- */

/* 1 / max(||x||, 1e-8): the bound is inside the root, whose slope at 0 is infinite. */
static gy_t inverse_norm(gy_site at, gy_t x) {
    gy_t square = gy_sum_keep(gy_square(x), GY_AXES(-1));
    return gy_rsqrt(gy_maximum(square, gy_scalar(square, 1e-16)));
}

gy_t gy_l2_normalize_(gy_site at, gy_t x) {
    if (gy_is_none(x) || x.id == 0) return x;
    if (gy_rank(x) < 1) return gy_poison(x.g, at, "l2_normalize: expected a last axis, found a scalar");
    return gy_mul(x, inverse_norm(at, x));
}

gy_t gy_cosine_similarity_(gy_site at, gy_t a, gy_t b) {
    if (!present(at, "cosine_similarity", a, b)) return bad(a, b);
    return gy_sum(gy_mul(gy_l2_normalize(a), gy_l2_normalize(b)), GY_AXES(-1));
}

gy_t gy_cosine_embedding_(gy_site at, gy_t a, gy_t b, gy_t target, double margin, gy_reduction r) {
    if (!same_shape(at, "cosine_embedding", a, b)) return bad(a, b);
    gy_t cos = gy_cosine_similarity(a, b);
    if (!same_shape(at, "cosine_embedding: similarities and targets", cos, target)) return bad(cos, target);
    gy_t apart = gy_relu(gy_add_scalar(cos, -margin));
    return reduce(at, gy_where(gy_gt(target, gy_scalar(target, 0)), one_minus(at, cos), apart), r);
}

static bool pairs(gy_site at, const char *name, gy_t a, gy_t b) {
    char s[GY_SHAPE_TEXT];
    if (!same_shape(at, name, a, b)) return false;
    if (gy_rank(a) == 2 && gy_dim(a, 0) > 0) return true;
    gy_poison(a.g, at, "%s: expected [pairs, features], found %s", name, gy_shape_text(gy_shape_of(a), s));
    return false;
}

gy_t gy_info_nce_(gy_info_nce_args n) {
    gy_site at = n.at;
    if (!pairs(at, "info_nce", n.a, n.b)) return bad(n.a, n.b);
    gy_t logits = gy_matmul(gy_l2_normalize(n.a), gy_l2_normalize(n.b), .trans_b = true); /* [N, N] */
    if (gy_is_none(n.scale))
        logits = gy_scale(logits, 1 / (n.temperature > 0 ? n.temperature : 0.07));
    else
        logits = gy_mul(logits, n.scale);
    gy_t diagonal = gy_iota(n.a.g, GY_I64, gy_dim(n.a, 0));
    gy_t rows = gy_cross_entropy(logits, diagonal), columns = gy_cross_entropy(gy_transpose(logits), diagonal);
    return gy_scale(gy_add(rows, columns), 0.5);
}

gy_t gy_soft_clip_(gy_site at, gy_t p, gy_t t, double tau) {
    if (!pairs(at, "soft_clip", p, t)) return bad(p, t);
    if (!(tau > 0)) return gy_poison(p.g, at, "soft_clip: tau %g, expected > 0", tau);
    gy_t unit_p = gy_l2_normalize(p), unit_t = gy_l2_normalize(t);
    gy_t target = gy_softmax(gy_scale(gy_matmul(unit_t, unit_t, .trans_b = true), 1 / tau), -1);
    gy_t logits = gy_scale(gy_matmul(unit_p, unit_t, .trans_b = true), 1 / tau); /* [N, N] */
    gy_t rows = gy_soft_cross_entropy(logits, target, GY_LOSS_MEAN);
    gy_t columns = gy_soft_cross_entropy(gy_transpose(logits), target, GY_LOSS_MEAN);
    return gy_scale(gy_add(rows, columns), 0.5);
}
