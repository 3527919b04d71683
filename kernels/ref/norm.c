/* Layer, RMS, group and batch normalisation: one code over x seen as [outer, inner, groups, channels] (norm.h).
 * Forward: mean, then variance about that mean, then the affine map: three passes, no cancellation.
 * Backward: one pass for the two averages <g>, <g xhat>, one for dx; dgamma and dbeta channel by channel. */
#define GY_REF_FILE "kernels/ref/norm.c"
#include "ref.h"

#ifdef T

void NAME(layernorm)(const gy_kargs *k);
void NAME(rmsnorm)(const gy_kargs *k);
void NAME(groupnorm)(const gy_kargs *k);
void NAME(batchnorm)(const gy_kargs *k);
void NAME(layernorm_grad)(const gy_kargs *k);
void NAME(rmsnorm_grad)(const gy_kargs *k);
void NAME(groupnorm_grad)(const gy_kargs *k);
void NAME(batchnorm_grad)(const gy_kargs *k);

typedef struct {
    gy_norm_dims d;
    double eps;
    bool centre, silu, spread_is_var; /* batchnorm saves the variance, the others rstd */
    const T *x, *gamma, *beta, *ct;
    T *y, *mean, *spread;
    T *dx, *dgamma, *dbeta;
} NAME(norm_job);

/* Offset of element (o, i, g, c) of x. */
static int64_t NAME(place)(const gy_norm_dims *d, int64_t o, int64_t i, int64_t g, int64_t c) {
    return ((o * d->inner + i) * d->groups + g) * d->channels + c;
}

static NAME(norm_job) NAME(norm_begin)(int op, const gy_norm_attr *a, gy_shape x) {
    bool batch = op == GY_OP_batchnorm || op == GY_OP_batchnorm_grad;
    bool rms = op == GY_OP_rmsnorm || op == GY_OP_rmsnorm_grad;
    return (NAME(norm_job)){.d = gy_norm_view(op, a, x),
                            .eps = a->eps,
                            .centre = !rms,
                            .silu = a->act == GY_ACT_SILU,
                            .spread_is_var = batch};
}

static acc_t NAME(affine)(const NAME(norm_job) * j, int64_t channel, acc_t xhat) {
    acc_t z = j->gamma ? j->gamma[channel] * xhat : xhat;
    return j->beta ? z + j->beta[channel] : z;
}

/* One set of elements that share statistics: tile = (outer, group). */
static void NAME(forward_tile)(void *arg, int64_t tile, int worker) {
    (void)worker;
    const NAME(norm_job) *j = arg;
    const gy_norm_dims *d = &j->d;
    int64_t o = tile / d->groups, g = tile % d->groups;
    acc_t n = (acc_t)(d->inner * d->channels), mean = 0, var = 0;
    if (j->centre) {
        for (int64_t i = 0; i < d->inner; i++)
            for (int64_t c = 0; c < d->channels; c++) mean += j->x[NAME(place)(d, o, i, g, c)];
        mean /= n;
        j->mean[tile] = (T)mean;
    }
    for (int64_t i = 0; i < d->inner; i++)
        for (int64_t c = 0; c < d->channels; c++) {
            acc_t e = j->x[NAME(place)(d, o, i, g, c)] - mean;
            var += e * e;
        }
    var /= n;
    acc_t rstd = 1 / sqrt(var + j->eps);
    j->spread[tile] = (T)(j->spread_is_var ? var : rstd);
    for (int64_t i = 0; i < d->inner; i++)
        for (int64_t c = 0; c < d->channels; c++) {
            int64_t p = NAME(place)(d, o, i, g, c);
            acc_t z = NAME(affine)(j, g * d->channels + c, (j->x[p] - mean) * rstd);
            j->y[p] = (T)(j->silu ? z / (1 + exp(-z)) : z);
        }
}

static void NAME(forward)(const gy_kargs *k, int op) {
    NAME(norm_job) j = NAME(norm_begin)(op, k->attr, k->in[0].shape);
    j.x = k->in[0].data;
    j.gamma = k->in[1].data;
    j.beta = j.centre ? k->in[2].data : NULL;
    j.y = k->out[0].data;
    j.mean = j.centre ? k->out[1].data : NULL;
    j.spread = k->out[k->n_out - 1].data;
    gy_par(k->pool, j.d.outer * j.d.groups, NAME(forward_tile), &j);
}

/* xhat at offset p, and dz = ct act'(z) there. */
static acc_t NAME(dz)(const NAME(norm_job) * j, int64_t p, int64_t channel, acc_t mean, acc_t rstd, acc_t *xhat) {
    *xhat = (j->x[p] - mean) * rstd;
    if (!j->silu) return j->ct[p];
    acc_t z = NAME(affine)(j, channel, *xhat), s = 1 / (1 + exp(-z));
    return j->ct[p] * s * (1 + z * (1 - s));
}

static acc_t NAME(mean_of)(const NAME(norm_job) * j, int64_t tile) {
    return j->centre ? j->mean[tile] : 0;
}
static acc_t NAME(rstd_of)(const NAME(norm_job) * j, int64_t tile) {
    return j->spread_is_var ? 1 / sqrt(j->spread[tile] + j->eps) : j->spread[tile];
}

static void NAME(dx_tile)(void *arg, int64_t tile, int worker) {
    (void)worker;
    const NAME(norm_job) *j = arg;
    const gy_norm_dims *d = &j->d;
    int64_t o = tile / d->groups, g = tile % d->groups;
    acc_t n = (acc_t)(d->inner * d->channels), mean = NAME(mean_of)(j, tile), rstd = NAME(rstd_of)(j, tile);
    acc_t avg_g = 0, avg_gx = 0, xhat;
    for (int64_t i = 0; i < d->inner; i++)
        for (int64_t c = 0; c < d->channels; c++) {
            int64_t ch = g * d->channels + c;
            acc_t dz = NAME(dz)(j, NAME(place)(d, o, i, g, c), ch, mean, rstd, &xhat);
            acc_t gr = j->gamma ? dz * j->gamma[ch] : dz;
            avg_g += gr;
            avg_gx += gr * xhat;
        }
    avg_g = j->centre ? avg_g / n : 0;
    avg_gx /= n;
    for (int64_t i = 0; i < d->inner; i++)
        for (int64_t c = 0; c < d->channels; c++) {
            int64_t ch = g * d->channels + c, p = NAME(place)(d, o, i, g, c);
            acc_t dz = NAME(dz)(j, p, ch, mean, rstd, &xhat);
            acc_t gr = j->gamma ? dz * j->gamma[ch] : dz;
            j->dx[p] = (T)(rstd * (gr - avg_g - xhat * avg_gx));
        }
}

static void NAME(dgamma_tile)(void *arg, int64_t channel, int worker) {
    (void)worker;
    const NAME(norm_job) *j = arg;
    const gy_norm_dims *d = &j->d;
    int64_t g = channel / d->channels, c = channel % d->channels;
    acc_t dgamma = 0, dbeta = 0, xhat;
    for (int64_t o = 0; o < d->outer; o++) {
        int64_t tile = o * d->groups + g;
        acc_t mean = NAME(mean_of)(j, tile), rstd = NAME(rstd_of)(j, tile);
        for (int64_t i = 0; i < d->inner; i++) {
            acc_t dz = NAME(dz)(j, NAME(place)(d, o, i, g, c), channel, mean, rstd, &xhat);
            dgamma += dz * xhat;
            dbeta += dz;
        }
    }
    j->dgamma[channel] = (T)dgamma;
    if (j->dbeta) j->dbeta[channel] = (T)dbeta;
}

/* in = (ct, x, gamma, beta, mean, spread), or (ct, x, gamma, rstd) of rmsnorm. */
static void NAME(backward)(const gy_kargs *k, int op) {
    NAME(norm_job) j = NAME(norm_begin)(op, k->attr, k->in[1].shape);
    j.ct = k->in[0].data;
    j.x = k->in[1].data;
    j.gamma = k->in[2].data;
    j.beta = j.centre ? k->in[3].data : NULL;
    j.mean = j.centre ? k->in[4].data : NULL;
    j.spread = k->in[k->n_in - 1].data;
    j.dx = k->out[0].data;
    j.dgamma = k->n_out > 1 ? k->out[1].data : NULL;
    j.dbeta = k->n_out > 2 ? k->out[2].data : NULL;
    gy_par(k->pool, j.d.outer * j.d.groups, NAME(dx_tile), &j);
    if (j.dgamma) gy_par(k->pool, j.d.groups * j.d.channels, NAME(dgamma_tile), &j);
}

void NAME(layernorm)(const gy_kargs *k) {
    NAME(forward)(k, GY_OP_layernorm);
}
void NAME(rmsnorm)(const gy_kargs *k) {
    NAME(forward)(k, GY_OP_rmsnorm);
}
void NAME(groupnorm)(const gy_kargs *k) {
    NAME(forward)(k, GY_OP_groupnorm);
}
void NAME(batchnorm)(const gy_kargs *k) {
    NAME(forward)(k, GY_OP_batchnorm);
}
void NAME(layernorm_grad)(const gy_kargs *k) {
    NAME(backward)(k, GY_OP_layernorm_grad);
}
void NAME(rmsnorm_grad)(const gy_kargs *k) {
    NAME(backward)(k, GY_OP_rmsnorm_grad);
}
void NAME(groupnorm_grad)(const gy_kargs *k) {
    NAME(backward)(k, GY_OP_groupnorm_grad);
}
void NAME(batchnorm_grad)(const gy_kargs *k) {
    NAME(backward)(k, GY_OP_batchnorm_grad);
}

#endif
