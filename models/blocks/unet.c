#include "unet_internal.h"

#include <inttypes.h>
#include <stdio.h>

int64_t gy_unet_skips(const gy_unet_spec *s) {
    return 1 + s->levels * s->resnets + s->levels - 1;
}

/* ---- the public nets ---- */

gy_unet_spec gy_unet_sd15(void) {
    return (gy_unet_spec){.axes = 2,
                          .in = 4,
                          .out = 4,
                          .levels = 4,
                          .channels = {320, 640, 1280, 1280},
                          .resnets = 2,
                          .heads = {8, 8, 8, 0},
                          .mid_heads = 8};
}

gy_unet_spec gy_unet_sd21(void) {
    gy_unet_spec s = gy_unet_sd15();
    for (int i = 0; i < 3; i++) s.heads[i] = s.channels[i] / 64;
    s.mid_heads = 20;
    s.linear_projection = true;
    return s;
}

/* ---- one definition ---- */

static gy_status check(const gy_unet_args *a) {
    const gy_unet_spec *s = a->spec;
    gy_graph *g = a->m->g;
    if (s->levels < 1 || s->levels > GY_UNET_LEVELS || s->resnets < 1 || gy_unet_skips(s) > GY_UNET_SKIPS)
        gy_poison(g, GY_HERE,
                  "unet: %" PRId64 " levels of %" PRId64 " blocks: expected 1 to %d levels and at most %d kept "
                  "outputs",
                  s->levels, s->resnets, GY_UNET_LEVELS, GY_UNET_SKIPS);
    else if (gy_rank(a->x) != s->axes + 2 || gy_dim(a->x, -1) != s->in)
        gy_poison(g, GY_HERE,
                  "unet: x has rank %" PRId64 " and %" PRId64 " channels, expected rank %" PRId64 " and %" PRId64
                  " channels",
                  gy_rank(a->x), gy_dim(a->x, -1), s->axes + 2, s->in);
    else if ((s->classes > 0) == gy_is_none(a->labels))
        gy_poison(g, GY_HERE, "unet: %" PRId64 " classes, labels %s", s->classes, s->classes ? "missing" : "given");
    else if (s->dual && (gy_is_none(a->context) || gy_is_none(a->context_image) || gy_is_none(a->mix)))
        gy_poison(g, GY_HERE, "unet: two contexts and what they weigh are needed");
    else if (s->dual && gy_rank(a->mix) > 0 && !gy_shape_equal(gy_shape_of(a->mix), GY_S(gy_dim(a->x, 0))))
        gy_poison(g, GY_HERE,
                  "unet: mix of rank %" PRId64 ", expected a scalar or one weight for each of %" PRId64 " rows",
                  gy_rank(a->mix), gy_dim(a->x, 0));
    return gy_graph_status(g);
}

static gy_diffusion_style style_of(const gy_unet_spec *s) {
    gy_diffusion_style t = s->style;
    if (!t.groups) t.groups = 32;
    if (t.eps == 0) t.eps = 1e-5;
    if (t.norm_eps == 0) t.norm_eps = 1e-6;
    return t;
}

static bool monai(const gy_unet_spec *s) {
    return s->style.keys == GY_KEYS_MONAI;
}

/* temb [B, time_width] */
static gy_t time_embedding(const gy_unet_args *a) {
    const gy_unet_spec *s = a->spec;
    gy_mod *m = a->m;
    int64_t features = s->time_features ? s->time_features : s->channels[0];
    int64_t width = s->time_width ? s->time_width : 4 * s->channels[0];
    gy_t h = gy_time_features(m, a->t, features), row = GY_NONE;
    if (s->classes)
        row = gy_nn_embedding(m, "class_embedding", a->labels, s->classes, s->style.film ? features : width, 0);
    if (s->classes && s->style.film) h = gy_add(h, row);
    gy_push(m, monai(s) ? "time_embed" : "time_embedding");
    h = gy_nn_linear(m, monai(s) ? "0" : "linear_1", h, width);
    h = gy_nn_linear(m, monai(s) ? "2" : "linear_2", gy_silu(h), width);
    gy_pop(m);
    return s->classes && !s->style.film ? gy_add(h, row) : h;
}

/* Sec. 3.1 of Versatile Diffusion: x + mix (T_1(x, text) - x) + (1 - mix) (T_0(x, image) - x). The file keeps the image
 * weights first. */
static gy_t dual(const gy_unet_args *a, const gy_diffusion_style *style, const char *name, gy_t x, int64_t heads) {
    const gy_unet_spec *s = a->spec;
    int64_t depth = s->depth ? s->depth : 1;
    gy_push(a->m, "%s", name);
    gy_t text =
        gy_diffusion_transformer(a->m, style, "transformers.1", x, a->context, heads, depth, s->linear_projection);
    gy_t image = gy_diffusion_transformer(a->m, style, "transformers.0", x, a->context_image, heads, depth,
                                          s->linear_projection);
    gy_pop(a->m);
    gy_t mix = a->mix;
    if (gy_rank(mix) > 0) /* [B, 1, ..., 1] */
        for (int64_t i = 1; i < gy_rank(x); i++) mix = gy_unsqueeze(mix, -1);
    gy_t other = gy_add_scalar(gy_neg(mix), 1);
    return gy_add(x, gy_add(gy_mul(mix, gy_sub(text, x)), gy_mul(other, gy_sub(image, x))));
}

static gy_t attention(const gy_unet_args *a, const gy_diffusion_style *style, const char *name, gy_t x, int64_t heads) {
    const gy_unet_spec *s = a->spec;
    if (s->dual) return dual(a, style, name, x, heads);
    if (s->attention == GY_UNET_PLAIN) return gy_diffusion_attention(a->m, style, name, x, heads);
    return gy_diffusion_transformer(a->m, style, name, x, a->context, heads, s->depth ? s->depth : 1,
                                    s->linear_projection);
}

/* resnets.j, and attentions.j where heads > 0 */
static gy_t block(const gy_unet_args *a, const gy_diffusion_style *style, gy_t temb, int64_t j, gy_t x, int64_t out,
                  int64_t heads) {
    char name[32];
    if (a->recompute) gy_recompute_begin(a->m->g);
    snprintf(name, sizeof name, "resnets.%d", (int)j);
    gy_t h = gy_diffusion_resnet(a->m, style, name, x, temb, out);
    snprintf(name, sizeof name, "attentions.%d", (int)j);
    if (heads) h = attention(a, style, name, h, heads);
    if (a->recompute) gy_recompute_end(a->m->g);
    return h;
}

static gy_t middle(const gy_unet_args *a, const gy_unet_encoded *e) {
    const gy_unet_spec *s = a->spec;
    int64_t c = s->channels[s->levels - 1];
    gy_push(a->m, monai(s) ? "middle_block" : "mid_block");
    gy_t h = gy_diffusion_resnet(a->m, &e->style, monai(s) ? "resnet_1" : "resnets.0", e->h, e->temb, c);
    if (s->mid_heads) h = attention(a, &e->style, monai(s) ? "attention" : "attentions.0", h, s->mid_heads);
    h = gy_diffusion_resnet(a->m, &e->style, monai(s) ? "resnet_2" : "resnets.1", h, e->temb, c);
    gy_pop(a->m);
    return h;
}

gy_unet_encoded gy_unet_encode(const gy_unet_args *a, gy_t hint) {
    const gy_unet_spec *s = a->spec;
    gy_mod *m = a->m;
    gy_unet_encoded e = {.style = style_of(s), .h = {m->g, 0, 0}};
    if (check(a) != GY_OK) return e;
    e.temb = time_embedding(a);
    e.h = gy_diffusion_conv(m, &e.style, "conv_in", a->x, s->channels[0], 3, false);
    if (!gy_is_none(hint)) e.h = gy_add(e.h, hint);
    e.skip[e.n++] = e.h;
    for (int64_t i = 0; i < s->levels; i++) {
        gy_push(m, "down_blocks.%d", (int)i);
        if (s->style.film) e.style.dilation = (int64_t)1 << i;
        for (int64_t j = 0; j < s->resnets; j++) {
            e.h = block(a, &e.style, e.temb, j, e.h, s->channels[i], s->heads[i]);
            if (j + 1 == s->resnets && !gy_is_none(a->adapter[i])) e.h = gy_add(e.h, a->adapter[i]);
            e.skip[e.n++] = e.h;
        }
        if (i + 1 < s->levels) e.skip[e.n++] = e.h = gy_diffusion_down(m, &e.style, e.h);
        gy_pop(m);
    }
    e.style.dilation = 1;
    e.h = middle(a, &e);
    return e;
}

gy_t gy_unet_(gy_unet_args a) {
    const gy_unet_spec *s = a.spec;
    gy_mod *m = a.m;
    gy_unet_encoded e = gy_unet_encode(&a, GY_NONE);
    if (gy_graph_status(m->g) != GY_OK) return (gy_t){m->g, 0, 0};
    if (a.control.n && a.control.n != e.n)
        return gy_poison(m->g, GY_HERE, "unet: %" PRId64 " control values for %" PRId64 " skips", a.control.n, e.n);
    for (int64_t i = 0; i < a.control.n; i++) e.skip[i] = gy_add(e.skip[i], a.control.skip[i]);
    gy_t h = gy_is_none(a.control.mid) ? e.h : gy_add(e.h, a.control.mid);
    for (int64_t i = s->levels - 1; i >= 0; i--) {
        gy_push(m, "up_blocks.%d", (int)(s->levels - 1 - i));
        for (int64_t j = 0; j <= s->resnets; j++)
            h = block(&a, &e.style, e.temb, j, gy_concat2(-1, h, e.skip[--e.n]), s->channels[i], s->heads[i]);
        if (i > 0) h = gy_diffusion_up(m, &e.style, h, gy_spatial_shape(e.skip[e.n - 1]));
        gy_pop(m);
    }
    if (!s->style.film)
        h = gy_nn_groupnorm(m, monai(s) ? "out.0" : "conv_norm_out", h, e.style.eps, e.style.groups,
                            .act = GY_ACT_SILU);
    return gy_diffusion_conv(m, &e.style, monai(s) ? "out.2" : "conv_out", h, s->out, 3, s->style.zero_out);
}
