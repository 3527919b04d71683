/* Noise schedules, predictions, the noised batch and the two denoisers (sampler.h). */
#include "sampler.h"

#include <math.h>
#include <string.h>

/* ---- schedules ---- */

static double cosine_abar(double u) {
    double c = cos((u + 0.008) / 1.008 * 1.57079632679489661923);
    return c * c;
}

static double beta_at(gy_noise_kind kind, int64_t i, int64_t n, double b0, double b1) {
    double u = n > 1 ? (double)i / (double)(n - 1) : 0.0;
    if (kind == GY_NOISE_LINEAR) return b0 + (b1 - b0) * u;
    if (kind == GY_NOISE_COSINE)
        return fmin(1.0 - cosine_abar((double)(i + 1) / (double)n) / cosine_abar((double)i / (double)n), 0.999);
    double root = sqrt(b0) + (sqrt(b1) - sqrt(b0)) * u;
    return root * root;
}

void gy_noise_init(gy_noise *s, gy_noise_kind kind, int64_t n, double b0, double b1) {
    *s = (gy_noise){.kind = kind, .n = n, .shift = b0 > 0.0 ? b0 : 1.0};
    if (kind == GY_NOISE_STRAIGHT) return;
    bool linear = kind == GY_NOISE_LINEAR;
    if (b0 == 0.0 && b1 == 0.0) {
        b0 = linear ? 1e-4 : 0.00085;
        b1 = linear ? 0.02 : 0.012;
    }
    double product = 1.0;
    for (int64_t i = 0; i < n; i++) s->abar[i] = product *= 1.0 - beta_at(kind, i, n, b0, b1);
}

static double abar_at(const gy_noise *s, double t) {
    int64_t i = (int64_t)(t + 0.5);
    return t < 0.0 ? 1.0 : s->abar[i < s->n ? i : s->n - 1];
}

double gy_noise_sigma(const gy_noise *s, double t) {
    double u = t / (double)s->n;
    if (s->kind == GY_NOISE_STRAIGHT) return s->shift * u / (1.0 + (s->shift - 1.0) * u);
    return sqrt(1.0 - abar_at(s, t));
}

double gy_noise_alpha(const gy_noise *s, double t) {
    return s->kind == GY_NOISE_STRAIGHT ? 1.0 - gy_noise_sigma(s, t) : sqrt(abar_at(s, t));
}

/* ---- predictions ---- */

void gy_predicted(gy_prediction p, double alpha, double sigma, double x, double o, double *x0, double *eps) {
    switch (p) {
    case GY_PREDICT_EPS:
        *eps = o;
        *x0 = (x - sigma * o) / alpha;
        return;
    case GY_PREDICT_X0:
        *x0 = o;
        *eps = (x - alpha * o) / sigma;
        return;
    case GY_PREDICT_V:
        *x0 = alpha * x - sigma * o;
        *eps = alpha * o + sigma * x;
        return;
    case GY_PREDICT_FLOW: *x0 = (x - sigma * o) / (alpha + sigma); *eps = (x + alpha * o) / (alpha + sigma);
    }
}

/* ---- the noised batch ---- */

/* table(t) of the drawn timesteps as [B, 1, ...] */
static gy_t looked_up(gy_mod *m, const gy_noise *s, double (*of)(const gy_noise *, double), double first, gy_t index,
                      gy_t x0) {
    gy_ctx *ctx = gy_graph_ctx(m->g);
    gy_tensor table;
    if (gy_tensor_new(ctx, &table, gy_dtype_of(x0), GY_S(s->n)) != GY_OK)
        return gy_poison(m->g, GY_HERE, "%s", gy_error(ctx));
    for (int64_t i = 0; i < s->n; i++) gy_tensor_set(&table, i, of(s, first + (double)i));
    gy_t y = gy_gather(gy_const(m->g, &table), index, 0); /* [B] */
    gy_tensor_free(ctx, &table);
    gy_shape shape = gy_shape_of(x0);
    for (int64_t i = 1; i < shape.rank; i++) shape.dim[i] = 1;
    return gy_reshape_to(y, shape);
}

gy_noised gy_noise_batch(gy_mod *m, const gy_noise *s, gy_t x0, gy_prediction p) {
    double first = s->kind == GY_NOISE_STRAIGHT ? 1.0 : 0.0;
    gy_t index = gy_random_below(m->g, "t", GY_S(gy_dim(x0, 0)), s->n);
    gy_noised b = {.alpha = looked_up(m, s, gy_noise_alpha, first, index, x0),
                   .sigma = looked_up(m, s, gy_noise_sigma, first, index, x0)};
    b.t = gy_add_scalar(gy_cast(index, gy_dtype_of(x0)), first);
    b.eps = gy_random_normal(m->g, "eps", gy_dtype_of(x0), gy_shape_of(x0));
    b.x = gy_add(gy_mul(b.alpha, x0), gy_mul(b.sigma, b.eps));
    switch (p) {
    case GY_PREDICT_EPS: b.target = b.eps; break;
    case GY_PREDICT_X0: b.target = x0; break;
    case GY_PREDICT_V: b.target = gy_sub(gy_mul(b.alpha, b.eps), gy_mul(b.sigma, x0)); break;
    case GY_PREDICT_FLOW: b.target = gy_sub(b.eps, x0); break;
    }
    return b;
}

/* ---- denoisers ---- */

static double element(const gy_tensor *t, int64_t i) {
    return t->dtype == GY_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}

gy_status gy_denoise_by_plan(void *user, const gy_denoise_at *at, const double *x, double *out) {
    const gy_denoise_plan *d = user;
    gy_tensor y = gy_plan_output(d->plan, d->y); /* the dtype of all three */
    void *in = gy_plan_input(d->plan, d->x), *t = gy_plan_input(d->plan, d->t);
    bool wide = y.dtype == GY_F64, twice = d->guidance != 1.0;
    int64_t rows = y.shape.dim[0], copies = twice ? 2 : 1;
    for (int64_t c = 0; c < copies; c++)
        for (int64_t i = 0; i < d->n; i++)
            if (wide)
                ((double *)in)[c * d->n + i] = x[i];
            else
                ((float *)in)[c * d->n + i] = (float)x[i];
    for (int64_t i = 0; i < rows; i++)
        if (wide)
            ((double *)t)[i] = at->t;
        else
            ((float *)t)[i] = (float)at->t;
    gy_status s = gy_plan_run(d->plan);
    if (s != GY_OK) return s;
    y = gy_plan_output(d->plan, d->y);
    for (int64_t i = 0; i < d->n; i++) {
        out[i] = element(&y, i);
        if (twice) out[i] += d->guidance * (element(&y, d->n + i) - out[i]);
    }
    return GY_OK;
}

/* softmax of scratch [count] in place */
static void softmax(double *w, int64_t n) {
    double top = w[0], sum = 0.0;
    for (int64_t k = 1; k < n; k++) top = fmax(top, w[k]);
    for (int64_t k = 0; k < n; k++) sum += w[k] = exp(w[k] - top);
    for (int64_t k = 0; k < n; k++) w[k] /= sum;
}

gy_status gy_denoise_exact(void *user, const gy_denoise_at *at, const double *x, double *out) {
    const gy_denoise_set *d = user;
    double a = at->alpha, variance = at->sigma * at->sigma + a * a * d->spread * d->spread;
    for (int64_t r = 0; r < d->rows; r++, x += d->width, out += d->width) {
        for (int64_t k = 0; k < d->count; k++) {
            double far = 0.0;
            for (int64_t i = 0; i < d->width; i++) {
                double e = x[i] - a * d->points[k * d->width + i];
                far += e * e;
            }
            d->scratch[k] = (d->log_weight ? d->log_weight[k] : 0.0) - far / (2.0 * variance);
        }
        softmax(d->scratch, d->count);
        for (int64_t i = 0; i < d->width; i++) {
            double mean = 0.0;
            for (int64_t k = 0; k < d->count; k++) mean += d->scratch[k] * d->points[k * d->width + i];
            out[i] = at->sigma * (x[i] - a * mean) / variance;
        }
    }
    return GY_OK;
}
