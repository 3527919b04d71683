#include "vdvae.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- the strings ---- */

/* "16", "16x9", "16d2", "16m8" at *text -> size, letter (0: none), other; false: it is none of these. */
static bool part(const char **text, int64_t *size, char *letter, int64_t *other) {
    char *end;
    if (**text < '1' || **text > '9') return false;
    *size = strtoll(*text, &end, 10);
    *letter = 0;
    *other = 1;
    if (*end && *end != ',') {
        *letter = *end++;
        if (*end < '1' || *end > '9') return false;
        *other = strtoll(end, &end, 10);
    }
    *text = end;
    return (!*end || *end == ',') && *size <= 4096 && *other <= 4096;
}

/* Blocks of one string; `link` is the letter that it may use beside 'x'. */
static gy_status blocks(gy_ctx *ctx, const char *what, const char *text, char link, gy_vdvae_block *block, int64_t *n) {
    const char *at = text;
    for (*n = 0;; at++) {
        const char *from = at;
        int64_t size, other;
        char letter;
        if (!part(&at, &size, &letter, &other) || (letter && letter != 'x' && letter != link))
            return gy_fail(ctx, GY_ERR_USAGE,
                           "vdvae: %s='%s': at '%s': expected blocks such as '16', '16x9' or '16%c2'", what, text, from,
                           link);
        int64_t repeats = letter == 'x' ? other : 1;
        if (repeats > GY_VDVAE_BLOCKS - *n)
            return gy_fail(ctx, GY_ERR_USAGE, "vdvae: %s='%s': more than %d blocks", what, text, GY_VDVAE_BLOCKS);
        for (int64_t i = 0; i < repeats; i++)
            block[(*n)++] = (gy_vdvae_block){size, letter && letter != 'x' ? other : 0};
        if (!*at) return GY_OK;
    }
}

static bool among(const gy_vdvae_block *b, int64_t n, int64_t size) {
    for (int64_t i = 0; i < n; i++)
        if (b[i].size == size) return true;
    return false;
}

gy_status gy_vdvae_parse(gy_ctx *ctx, const char *encoder, const char *decoder, gy_vdvae_spec *s) {
    gy_status status = blocks(ctx, "encoder", encoder, 'd', s->encoder, &s->n_encoder);
    if (status == GY_OK) status = blocks(ctx, "decoder", decoder, 'm', s->decoder, &s->n_decoder);
    if (status != GY_OK) return status;
    int64_t size = s->encoder[0].size, sizes = 1;
    for (int64_t i = 0; i < s->n_encoder; i++) {
        const gy_vdvae_block *b = &s->encoder[i];
        if (b->size != size)
            return gy_fail(ctx, GY_ERR_USAGE,
                           "vdvae: encoder='%s': block %" PRId64 " has size %" PRId64 " where %" PRId64 " arrives",
                           encoder, i, b->size, size);
        if (b->other && size % b->other)
            return gy_fail(ctx, GY_ERR_USAGE, "vdvae: encoder='%s': %" PRId64 " is no multiple of %" PRId64, encoder,
                           size, b->other);
        if (b->other) size /= b->other;
        sizes += b->other > 1;
    }
    if (sizes > GY_VDVAE_SIZES)
        return gy_fail(ctx, GY_ERR_USAGE, "vdvae: encoder='%s': more than %d sizes", encoder, GY_VDVAE_SIZES);
    for (int64_t i = 0; i < s->n_decoder; i++) {
        const gy_vdvae_block *b = &s->decoder[i];
        if (b->size != size && !among(s->encoder, s->n_encoder, b->size))
            return gy_fail(ctx, GY_ERR_USAGE, "vdvae: decoder='%s': the encoder '%s' has no size %" PRId64, decoder,
                           encoder, b->size);
        if (b->other && (b->size % b->other || !among(s->decoder, i, b->other)))
            return gy_fail(ctx, GY_ERR_USAGE,
                           "vdvae: decoder='%s': '%" PRId64 "m%" PRId64 "': no block of size %" PRId64
                           " before it, or no multiple",
                           decoder, b->size, b->other, b->other);
    }
    if (s->decoder[s->n_decoder - 1].size != s->encoder[0].size)
        return gy_fail(ctx, GY_ERR_USAGE, "vdvae: decoder='%s' ends at size %" PRId64 ", the picture has %" PRId64,
                       decoder, s->decoder[s->n_decoder - 1].size, s->encoder[0].size);
    return GY_OK;
}

int64_t gy_vdvae_latents(const gy_vdvae_spec *s, int64_t n) {
    int64_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += s->zdim * s->decoder[i].size * s->decoder[i].size;
    return sum;
}

/* ---- blocks ---- */

static const gy_init usual = {0}, zeros = {GY_INIT_ZEROS, 0};

/* PyTorch's U(+-1/sqrt(fan_in)) over sqrt(n): what n residual blocks add together keeps its size. */
static gy_init shared_by(int64_t n, int64_t fan_in) {
    return (gy_init){GY_INIT_UNIFORM, sqrt(1.0 / (double)(n * fan_in))};
}

static gy_t conv(gy_mod *m, const char *name, gy_t x, int64_t out, int64_t kernel, gy_init init) {
    return gy_nn_conv(m, name, x, out, GY_S(kernel), .pad = GY_S(kernel / 2), .init = init, .bias_init = zeros);
}

static gy_t block(gy_mod *m, const char *name, const gy_vdvae_spec *s, gy_t x, int64_t out, gy_init last) {
    int64_t kernel = gy_dim(x, 1) > 2 ? 3 : 1;
    gy_push(m, "%s", name);
    x = conv(m, "c1", gy_gelu(x), s->bottleneck, 1, usual);
    x = conv(m, "c2", gy_gelu(x), s->bottleneck, kernel, usual);
    x = conv(m, "c3", gy_gelu(x), s->bottleneck, kernel, usual);
    x = conv(m, "c4", gy_gelu(x), out, 1, last);
    gy_pop(m);
    return x;
}

/* ---- a value a size ---- */

static gy_t *at_size(gy_vdvae_state *s, int64_t size) {
    for (int64_t i = 0; i < s->n; i++)
        if (s->size[i] == size) return &s->x[i];
    return NULL;
}

static void keep(gy_vdvae_state *s, int64_t size, gy_t x) {
    gy_t *old = at_size(s, size);
    if (old) {
        *old = x;
    } else {
        s->size[s->n] = size;
        s->x[s->n++] = x;
    }
}

/* ---- the encoder ---- */

gy_vdvae_state gy_vdvae_encode(gy_mod *m, const gy_vdvae_spec *s, gy_t x) {
    gy_vdvae_state seen = {0};
    char name[32];
    if (gy_rank(x) != 4 || gy_dim(x, 1) != s->encoder[0].size || gy_dim(x, 2) != s->encoder[0].size)
        x = gy_poison(m->g, GY_HERE, "vdvae: a picture of %d x %d, expected %d x %d", (int)gy_dim(x, 1),
                      (int)gy_dim(x, 2), (int)s->encoder[0].size, (int)s->encoder[0].size);
    if (gy_graph_status(m->g) != GY_OK) return seen;
    gy_push(m, "encoder");
    x = conv(m, "in_conv", x, s->width, 3, usual);
    keep(&seen, s->encoder[0].size, x);
    for (int64_t i = 0; i < s->n_encoder && gy_graph_status(m->g) == GY_OK; i++) {
        int64_t window = s->encoder[i].other;
        snprintf(name, sizeof name, "enc_blocks.%d", (int)i);
        x = gy_add(x, block(m, name, s, x, s->width, shared_by(s->n_encoder, s->bottleneck)));
        if (window) x = gy_avg_pool(.x = x, .window = GY_S(window));
        keep(&seen, gy_dim(x, 1), x);
    }
    gy_pop(m);
    return seen;
}

/* ---- the decoder ---- */

typedef struct gaussian {
    gy_t mean, log_sd; /* [B, r, r, zdim] */
} gaussian;

static gaussian gaussian_of(gy_t h, int64_t zdim) {
    return (gaussian){gy_slice(h, -1, 0, zdim), gy_slice(h, -1, zdim, 2 * zdim)};
}

/* The formula of the header with e^(2 s_q) e^(-2 s_p) as one exponential: neither factor overflows alone. -> [B] */
static gy_t divergence(gaussian q, gaussian p) {
    gy_t ratio = gy_exp(gy_scale(gy_sub(q.log_sd, p.log_sd), 2));
    gy_t shift = gy_square(gy_mul(gy_sub(q.mean, p.mean), gy_exp(gy_neg(p.log_sd))));
    gy_t kl = gy_add(gy_sub(p.log_sd, q.log_sd), gy_scale(gy_add(ratio, shift), 0.5));
    return gy_sum(gy_add_scalar(kl, -0.5), GY_AXES(1, 2, 3));
}

/* mu + temperature e^s n */
static gy_t drawn(const gy_vdvae_args *a, int64_t i, gaussian d) {
    char name[32];
    if (a->temperature == 0) return d.mean;
    snprintf(name, sizeof name, "z.%d", (int)i);
    gy_t n = a->noise ? a->noise[i] : gy_random_normal(a->m->g, name, gy_dtype_of(d.mean), gy_shape_of(d.mean));
    return gy_add(d.mean, gy_mul(gy_scale(gy_exp(d.log_sd), a->temperature), n));
}

/* Block i on x [B, r, r, width]: the new state of its size. */
static gy_t decoder_block(const gy_vdvae_args *a, int64_t i, gy_t x, const gy_t *seen, gy_vdvae_decoded *out) {
    const gy_vdvae_spec *s = a->spec;
    gy_mod *m = a->m;
    gy_init small = shared_by(s->n_decoder, s->bottleneck);
    gaussian q = {{0}, {0}};
    gy_push(m, "dec_blocks.%d", (int)i);
    if (seen) q = gaussian_of(block(m, "enc", s, gy_concat2(-1, x, *seen), 2 * s->zdim, usual), s->zdim);
    gy_t h = block(m, "prior", s, x, 2 * s->zdim + s->width, zeros);
    gaussian p = gaussian_of(h, s->zdim);
    out->kl[i] = seen ? divergence(q, p) : GY_NONE;
    x = gy_add(x, gy_slice(h, -1, 2 * s->zdim, 2 * s->zdim + s->width));
    gy_t z = i < a->n_given ? a->given[i] : drawn(a, i, seen ? q : p);
    out->z[i] = seen ? gy_tap(m, "z", z) : z;
    x = gy_add(x, conv(m, "z_proj", out->z[i], s->width, 1, shared_by(s->n_decoder, s->zdim)));
    x = gy_add(x, block(m, "resnet", s, x, s->width, small));
    gy_pop(m);
    return x;
}

/* The learned first states, smallest size first as in files. */
static gy_vdvae_state first_states(const gy_vdvae_args *a) {
    const gy_vdvae_spec *s = a->spec;
    gy_vdvae_state state = {0};
    char name[32];
    for (int64_t size = 0;;) {
        int64_t next = 0;
        for (int64_t i = 0; i < s->n_decoder; i++)
            if (s->decoder[i].size > size && (!next || s->decoder[i].size < next)) next = s->decoder[i].size;
        if (!next) return state;
        size = next;
        snprintf(name, sizeof name, "bias_xs.%d", (int)state.n);
        gy_t bias = gy_param(a->m, name, GY_S(1, s->width, size, size), GY_INIT_ZEROS);
        keep(&state, size, gy_broadcast_to(gy_permute(bias, 0, 2, 3, 1), GY_S(a->batch, size, size, s->width)));
    }
}

gy_vdvae_decoded gy_vdvae_decode_(gy_vdvae_args a) {
    const gy_vdvae_spec *s = a.spec;
    gy_mod *m = a.m;
    gy_vdvae_decoded out = {.x = {m->g, 0, 0}};
    if (a.n_given > s->n_decoder)
        gy_poison(m->g, GY_HERE, "vdvae: %" PRId64 " latents for %" PRId64 " blocks", a.n_given, s->n_decoder);
    if (gy_graph_status(m->g) != GY_OK) return out;
    gy_push(m, "decoder");
    gy_vdvae_state state = first_states(&a), seen = {0};
    if (a.seen) seen = *a.seen;
    for (int64_t i = 0; i < s->n_decoder && gy_graph_status(m->g) == GY_OK; i++) {
        int64_t size = s->decoder[i].size, taken = s->decoder[i].other;
        gy_t x = *at_size(&state, size);
        if (taken) x = gy_add(x, gy_resize(.x = *at_size(&state, taken), .size = GY_S(size, size)));
        keep(&state, size, decoder_block(&a, i, x, a.seen ? at_size(&seen, size) : NULL, &out));
    }
    gy_t gain = gy_param(m, "gain", GY_S(1, s->width, 1, 1), GY_INIT_ONES);
    gy_t bias = gy_param(m, "bias", GY_S(1, s->width, 1, 1), GY_INIT_ZEROS);
    gy_t x = *at_size(&state, s->decoder[s->n_decoder - 1].size);
    out.x = gy_add(gy_mul(x, gy_permute(gain, 0, 2, 3, 1)), gy_permute(bias, 0, 2, 3, 1));
    gy_pop(m);
    return out;
}

gy_t gy_vdvae_out(gy_mod *m, const gy_vdvae_spec *s, gy_t x) {
    gy_push(m, "decoder.out_net");
    x = conv(m, "out_conv", x, 10 * s->mixtures, 1, usual);
    gy_pop(m);
    return x;
}

gy_t gy_vdvae_flat(const gy_vdvae_spec *s, int64_t n, const gy_t z[]) {
    gy_t row[GY_VDVAE_BLOCKS];
    for (int64_t i = 0; i < n; i++) /* [B, r, r, zdim] -> [B, zdim r r] */
        row[i] = gy_reshape(gy_permute(z[i], 0, 3, 1, 2), gy_dim(z[i], 0),
                            gy_vdvae_latents(s, i + 1) - gy_vdvae_latents(s, i));
    return gy_concat(-1, n, row);
}

void gy_vdvae_unflat(const gy_vdvae_spec *s, int64_t n, gy_t flat, gy_t z[]) {
    for (int64_t i = 0; i < n; i++) {
        int64_t size = s->decoder[i].size;
        gy_t row = gy_slice(flat, -1, gy_vdvae_latents(s, i), gy_vdvae_latents(s, i + 1));
        z[i] = gy_permute(gy_reshape(row, gy_dim(flat, 0), s->zdim, size, size), 0, 2, 3, 1);
    }
}

/* ---- mixtures of discretised logistics ---- */

typedef struct mixture {
    gy_t logits;               /* [B, H, W, K] */
    gy_t mean, log_scale, mix; /* [B, H, W, 3, K] */
} mixture;

static mixture mixture_of(gy_t l, int64_t k) {
    if (gy_rank(l) != 4 || gy_dim(l, -1) != 10 * k)
        l = gy_poison(l.g, GY_HERE, "logistic mixture: %d channels, expected 10 times %d", (int)gy_dim(l, -1), (int)k);
    gy_t rest = gy_reshape(gy_slice(l, -1, k, 10 * k), gy_dim(l, 0), gy_dim(l, 1), gy_dim(l, 2), 3, 3 * k);
    return (mixture){.logits = gy_slice(l, -1, 0, k),
                     .mean = gy_slice(rest, -1, 0, k),
                     .log_scale = gy_maximum(gy_slice(rest, -1, k, 2 * k), gy_scalar(l, -7.0)),
                     .mix = gy_tanh(gy_slice(rest, -1, 2 * k, 3 * k))};
}

/* channel c of [B, H, W, 3, ...] with the axis kept */
static gy_t channel(gy_t x, int64_t c) {
    return gy_slice(x, 3, c, c + 1);
}

/* log of the probability of x's interval under each component's logistic: [B, H, W, 3, K] */
static gy_t log_interval(gy_t x, gy_t mean, gy_t log_scale) {
    gy_t away = gy_sub(x, mean), steep = gy_exp(gy_neg(log_scale));
    gy_t high = gy_mul(steep, gy_add_scalar(away, 1.0 / 255.0)), low = gy_mul(steep, gy_add_scalar(away, -1.0 / 255.0));
    gy_t mass = gy_sub(gy_sigmoid(high), gy_sigmoid(low)), middle = gy_mul(steep, away);
    gy_t density = gy_sub(gy_sub(middle, log_scale), gy_scale(gy_softplus(middle), 2)); /* log of it, at the middle */
    /* the bound keeps the branch that is not taken finite, and with it its gradient */
    gy_t inside = gy_where(gy_gt(mass, gy_scalar(x, 1e-5)), gy_log(gy_maximum(mass, gy_scalar(x, 1e-12))),
                           gy_add_scalar(density, -log(127.5)));
    gy_t lowest = gy_neg(gy_softplus(gy_neg(high))), highest = gy_neg(gy_softplus(low));
    gy_t all = gy_broadcast_to(x, gy_shape_of(away));
    return gy_where(gy_lt(all, gy_scalar(x, -0.999)), lowest,
                    gy_where(gy_gt(all, gy_scalar(x, 0.999)), highest, inside));
}

gy_t gy_logistic_mixture_loss(gy_t l, gy_t x, int64_t mixtures) {
    mixture d = mixture_of(l, mixtures);
    if (gy_graph_status(l.g) != GY_OK) return (gy_t){l.g, 0, 0};
    double elements = (double)(gy_count(x) / gy_dim(x, 0));
    gy_t v = gy_unsqueeze(x, -1); /* [B, H, W, 3, 1] */
    gy_t red = channel(v, 0), green = channel(v, 1);
    gy_t blue_mean = gy_add(gy_mul(channel(d.mix, 1), red), gy_mul(channel(d.mix, 2), green));
    gy_t mean[3] = {channel(d.mean, 0), gy_add(channel(d.mean, 1), gy_mul(channel(d.mix, 0), red)),
                    gy_add(channel(d.mean, 2), blue_mean)};
    gy_t each = gy_sum(log_interval(v, gy_concat(3, 3, mean), d.log_scale), GY_AXES(3)); /* [B, H, W, K] */
    gy_t weight = gy_sub(d.logits, gy_logsumexp_keep(d.logits, GY_AXES(-1)));
    gy_t pixel = gy_logsumexp(gy_add(each, weight), GY_AXES(-1)); /* [B, H, W] */
    return gy_scale(gy_sum(pixel, GY_AXES(1, 2)), -1.0 / elements);
}

gy_t gy_logistic_mixture_sample(gy_t l, int64_t mixtures, gy_t choice, gy_t noise) {
    mixture d = mixture_of(l, mixtures);
    if (gy_graph_status(l.g) != GY_OK) return (gy_t){l.g, 0, 0};
    gy_t score = gy_is_none(choice) ? d.logits : gy_add(d.logits, choice);
    gy_t one = gy_unsqueeze(gy_one_hot(gy_argmax(score, -1), mixtures, gy_dtype_of(l)), 3); /* [B, H, W, 1, K] */
    gy_t x = gy_sum(gy_mul(d.mean, one), GY_AXES(-1));                                      /* [B, H, W, 3] */
    gy_t mix = gy_sum(gy_mul(d.mix, one), GY_AXES(-1));
    if (!gy_is_none(noise)) {
        gy_t scale = gy_exp(gy_sum(gy_mul(d.log_scale, one), GY_AXES(-1)));
        x = gy_add(x, gy_mul(scale, noise));
    }
    gy_t red = gy_clamp(channel(x, 0), -1, 1);
    gy_t green = gy_clamp(gy_add(channel(x, 1), gy_mul(channel(mix, 0), red)), -1, 1);
    gy_t follow = gy_add(gy_mul(channel(mix, 1), red), gy_mul(channel(mix, 2), green));
    gy_t blue = gy_clamp(gy_add(channel(x, 2), follow), -1, 1);
    return gy_concat(3, 3, ((gy_t[]){red, green, blue}));
}
