#include "signal.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

static const double PI = 3.14159265358979323846;

/* ---- design ---- */

/* H at the point z of the unit circle. */
static double complex response(const gy_filter *f, double complex z) {
    double complex h = 1, w = 1 / z;
    for (int64_t i = 0; i < f->n; i++) {
        const gy_section *s = &f->s[i];
        h *= (s->b0 + w * (s->b1 + w * s->b2)) / (1 + w * (s->a1 + w * s->a2));
    }
    return h;
}

double gy_filter_gain(const gy_filter *f, double frequency, double rate) {
    return cabs(response(f, cexp(I * 2 * PI * frequency / rate)));
}

gy_status gy_butterworth(gy_ctx *ctx, gy_band band, int64_t order, double low, double high, double rate,
                         gy_filter *out) {
    bool pass = band == GY_BAND_PASS;
    *out = (gy_filter){0};
    if (order < 1 || order > GY_MAX_SECTIONS || !(low > 0) || !(low < rate / 2) ||
        (pass && !(low < high && high < rate / 2)))
        return gy_fail(ctx, GY_ERR_USAGE,
                       "Butterworth filter: order %" PRId64
                       ", edges %g and %g Hz at %g Hz: expected order 1 to %d and edges "
                       "that rise between 0 and half the rate",
                       order, low, pass ? high : low, rate, GY_MAX_SECTIONS);
    double complex pole[2 * GY_MAX_SECTIONS];
    double real[2 * GY_MAX_SECTIONS];
    int64_t n = 0, n_real = 0;
    double w1 = 2 * rate * tan(PI * low / rate), w2 = pass ? 2 * rate * tan(PI * high / rate) : 0; /* warped edges */
    for (int64_t k = 0; k < order; k++) {
        double complex p = cexp(I * PI * (double)(2 * k + order + 1) / (double)(2 * order)); /* of the unit low-pass */
        if (pass) {
            double complex half = p * (w2 - w1) / 2, root = csqrt(half * half - w1 * w2);
            pole[n++] = half + root;
            pole[n++] = half - root;
        } else {
            pole[n++] = band == GY_LOW_PASS ? p * w1 : w1 / p;
        }
    }
    /* zeros: half of them at 0 Hz and half at rate/2 for a band-pass, all at rate/2 for a low-pass, at 0 for a
     * high-pass */
    double b1 = pass ? 0 : band == GY_LOW_PASS ? 2 : -2, b2 = pass ? -1 : 1;
    for (int64_t k = 0; k < n; k++) {
        double complex z = (2 * rate + pole[k]) / (2 * rate - pole[k]);
        if (fabs(cimag(z)) < 1e-12)
            real[n_real++] = creal(z);
        else if (cimag(z) > 0) /* with its conjugate */
            out->s[out->n++] = (gy_section){1, b1, b2, -2 * creal(z), creal(z) * creal(z) + cimag(z) * cimag(z)};
    }
    for (int64_t k = 0; k + 1 < n_real; k += 2)
        out->s[out->n++] = (gy_section){1, b1, b2, -real[k] - real[k + 1], real[k] * real[k + 1]};
    if (n_real % 2) out->s[out->n++] = (gy_section){1, b1 / 2, 0, -real[n_real - 1], 0};
    double at = pass ? 2 * atan(sqrt(w1 * w2) / (2 * rate)) : band == GY_LOW_PASS ? 0 : PI;
    double gain = 1 / cabs(response(out, cexp(I * at)));
    out->s[0].b0 *= gain, out->s[0].b1 *= gain, out->s[0].b2 *= gain;
    return GY_OK;
}

gy_status gy_notch(gy_ctx *ctx, double frequency, double quality, double rate, gy_filter *out) {
    if (!(frequency > 0 && frequency < rate / 2) || !(quality > 0))
        return gy_fail(ctx, GY_ERR_USAGE, "notch at %g Hz of quality %g at %g Hz", frequency, quality, rate);
    double w = 2 * PI * frequency / rate, gain = 1 / (1 + tan(w / quality / 2));
    *out = (gy_filter){1, {{gain, -2 * gain * cos(w), gain, -2 * gain * cos(w), 2 * gain - 1}}};
    return GY_OK;
}

/* ---- running ---- */

/* Transposed direct form 2 from the state z of every section. */
static void run(const gy_filter *f, double z[][2], double *x, int64_t n, int64_t stride) {
    for (int64_t k = 0; k < f->n; k++) {
        const gy_section s = f->s[k];
        double z0 = z[k][0], z1 = z[k][1];
        for (int64_t t = 0; t < n; t++) {
            double in = x[t * stride], y = s.b0 * in + z0;
            z0 = s.b1 * in - s.a1 * y + z1;
            z1 = s.b2 * in - s.a2 * y;
            x[t * stride] = y;
        }
        z[k][0] = z0, z[k][1] = z1;
    }
}

void gy_filter_forward(const gy_filter *f, double *x, int64_t n, int64_t stride) {
    double z[GY_MAX_SECTIONS][2] = {{0}};
    run(f, z, x, n, stride);
}

/* The state after a constant `level` for ever. */
static void steady(const gy_filter *f, double level, double z[][2]) {
    for (int64_t k = 0; k < f->n; k++) {
        const gy_section *s = &f->s[k];
        double y = level * (s->b0 + s->b1 + s->b2) / (1 + s->a1 + s->a2);
        z[k][0] = y - s->b0 * level;
        z[k][1] = s->b2 * level - s->a2 * y;
        level = y;
    }
}

gy_status gy_filter_both_ways(gy_ctx *ctx, const gy_filter *f, double *x, int64_t n, int64_t stride) {
    int64_t edge = 3 * (2 * f->n + 1);
    double z[GY_MAX_SECTIONS][2];
    if (n < 2) return gy_fail(ctx, GY_ERR_USAGE, "filtering both ways: expected 2 samples or more, found %" PRId64, n);
    if (edge > n - 1) edge = n - 1;
    double *y = gy_malloc(ctx, (size_t)(n + 2 * edge) * sizeof *y);
    if (!y) return GY_ERR_NOMEM;
    int64_t all = n + 2 * edge;
    for (int64_t t = 0; t < n; t++) y[edge + t] = x[t * stride];
    for (int64_t t = 0; t < edge; t++) {
        y[t] = 2 * x[0] - x[(edge - t) * stride];
        y[all - 1 - t] = 2 * x[(n - 1) * stride] - x[(n - 1 - edge + t) * stride];
    }
    steady(f, y[0], z);
    run(f, z, y, all, 1);
    for (int64_t t = 0; t < all / 2; t++) {
        double swap = y[t];
        y[t] = y[all - 1 - t];
        y[all - 1 - t] = swap;
    }
    steady(f, y[0], z);
    run(f, z, y, all, 1);
    for (int64_t t = 0; t < n; t++) x[t * stride] = y[all - 1 - edge - t];
    gy_free(ctx, y);
    return GY_OK;
}

/* ---- symmetric filters ---- */

static double sinc(double x) {
    return fabs(x) < 1e-12 ? 1 : sin(PI * x) / (PI * x);
}

gy_status gy_fir(gy_ctx *ctx, double low, double high, double rate, int64_t taps, double *tap) {
    if (taps < 3 || taps % 2 == 0 || low < 0 || (high > 0 && high <= low) || (low == 0 && !(high > 0)) ||
        !(low < rate / 2) || !(high < rate / 2))
        return gy_fail(ctx, GY_ERR_USAGE, "symmetric filter of %" PRId64 " taps for %g to %g Hz at %g Hz", taps, low,
                       high, rate);
    double top = high > 0 ? high : rate / 2, middle = low > 0 ? high > 0 ? (low + high) / 2 : rate / 2 : 0, gain = 0;
    for (int64_t i = 0; i < taps; i++) {
        double t = (double)(i - taps / 2), window = 0.54 - 0.46 * cos(2 * PI * (double)i / (double)(taps - 1));
        tap[i] = window * (2 * top / rate * sinc(2 * top / rate * t) - 2 * low / rate * sinc(2 * low / rate * t));
        gain += tap[i] * cos(2 * PI * middle / rate * t);
    }
    for (int64_t i = 0; i < taps; i++) tap[i] /= gain;
    return GY_OK;
}

gy_status gy_fir_apply(gy_ctx *ctx, const double *tap, int64_t taps, double *x, int64_t n, int64_t stride) {
    double *y = gy_malloc(ctx, (size_t)(n + 1) * sizeof *y);
    if (!y) return GY_ERR_NOMEM;
    for (int64_t t = 0; t < n; t++) y[t] = x[t * stride];
    for (int64_t t = 0; t < n; t++) {
        double sum = 0;
        for (int64_t k = 0; k < taps; k++) {
            int64_t at = t + taps / 2 - k;
            sum += tap[k] * y[at < 0 ? 0 : at >= n ? n - 1 : at];
        }
        x[t * stride] = sum;
    }
    gy_free(ctx, y);
    return GY_OK;
}

/* ---- resampling ---- */

int64_t gy_resampled(int64_t n, double from, double to) {
    return n < 1 ? 0 : (int64_t)floor((double)(n - 1) * to / from * (1 + 1e-12)) + 1;
}

/* The modified Bessel function I0 by its series. */
static double bessel0(double x) {
    double sum = 1, term = 1;
    for (int k = 1; term > 1e-17 * sum; k++) {
        term *= x / (2 * k) * (x / (2 * k));
        sum += term;
    }
    return sum;
}

gy_status gy_resample(gy_ctx *ctx, const double *x, int64_t n, double from, double to, double *y) {
    enum { CROSSINGS = 16 };
    const double beta = 8.6, full = bessel0(beta);
    if (n < 1 || !(from > 0) || !(to > 0)) return gy_fail(ctx, GY_ERR_USAGE, "resampling from %g to %g Hz", from, to);
    double cut = to < from ? to / from : 1, reach = CROSSINGS / cut;
    int64_t m = gy_resampled(n, from, to);
    for (int64_t i = 0; i < m; i++) {
        double at = (double)i * from / to, sum = 0, weight = 0;
        for (int64_t k = (int64_t)ceil(at - reach); (double)k <= at + reach; k++) {
            double d = ((double)k - at) / reach, left = 1 - d * d;
            double w = sinc(cut * ((double)k - at)) * bessel0(beta * sqrt(left > 0 ? left : 0)) / full;
            sum += w * x[k < 0 ? 0 : k >= n ? n - 1 : k];
            weight += w;
        }
        y[i] = sum / weight; /* a constant stays what it is */
    }
    return GY_OK;
}

/* ---- spectra ---- */

gy_status gy_welch_new(gy_ctx *ctx, int64_t piece, double rate, gy_welch *out) {
    *out = (gy_welch){.ctx = ctx, .piece = piece, .rate = rate};
    if (piece < 2 || !(rate > 0))
        return gy_fail(ctx, GY_ERR_USAGE,
                       "Welch spectrum: pieces of %" PRId64 " samples at %g Hz: expected 2 or more, above 0 Hz", piece,
                       rate);
    gy_status s = gy_rfft_new(ctx, piece, &out->fft);
    if (s == GY_OK) {
        out->window = gy_malloc(ctx, (size_t)piece * sizeof *out->window);
        out->cut = gy_malloc(ctx, (size_t)piece * sizeof *out->cut);
        out->bins = gy_malloc(ctx, (size_t)(piece / 2 + 1) * sizeof *out->bins);
        out->work = gy_malloc(ctx, (size_t)gy_rfft_work(out->fft) * sizeof *out->work);
        if (!out->window || !out->cut || !out->bins || !out->work) s = GY_ERR_NOMEM;
    }
    if (s != GY_OK) {
        gy_welch_free(out);
        return s;
    }
    for (int64_t t = 0; t < piece; t++) {
        out->window[t] = 0.5 - 0.5 * cos(2 * PI * (double)t / (double)piece);
        out->energy += out->window[t] * out->window[t];
    }
    return GY_OK;
}

void gy_welch_free(gy_welch *w) {
    if (!w->ctx) return;
    gy_rfft_free(w->ctx, w->fft);
    gy_free(w->ctx, w->window);
    gy_free(w->ctx, w->cut);
    gy_free(w->ctx, w->bins);
    gy_free(w->ctx, w->work);
    *w = (gy_welch){0};
}

void gy_welch_add(const gy_welch *w, const double *x, int64_t n, int64_t stride, double *power) {
    int64_t piece = w->piece, hop = piece - piece / 2, count = (n - piece) / hop + 1;
    for (int64_t i = 0; i < count; i++, x += hop * stride) {
        double mean = 0;
        for (int64_t t = 0; t < piece; t++) mean += x[t * stride] / (double)piece;
        for (int64_t t = 0; t < piece; t++) w->cut[t] = (x[t * stride] - mean) * w->window[t];
        gy_rfft_forward(w->fft, w->cut, w->bins, w->work);
        for (int64_t k = 0; k <= piece / 2; k++) {
            double re = creal(w->bins[k]), im = cimag(w->bins[k]);
            bool both = k > 0 && 2 * k < piece; /* stands for the negative frequency too */
            power[k] += (both ? 2 : 1) * (re * re + im * im) / (w->rate * w->energy * (double)count);
        }
    }
}

static double density(const double *power, int64_t bins, double at) {
    int64_t k = (int64_t)floor(at);
    if (k < 0) return power[0];
    return k + 1 >= bins ? power[bins - 1] : power[k] + (at - (double)k) * (power[k + 1] - power[k]);
}

double gy_band_power(const gy_welch *w, const double *power, double low, double high) {
    int64_t bins = w->piece / 2 + 1;
    double step = w->rate / (double)w->piece, a = fmax(low, 0) / step, b = fmin(high, w->rate / 2) / step, sum = 0;
    while (a < b) { /* from one bin to the next */
        double to = fmin(floor(a) + 1, b);
        sum += (density(power, bins, a) + density(power, bins, to)) / 2 * (to - a) * step;
        a = to;
    }
    return sum;
}

double gy_bins_power(const gy_welch *w, const double *power, double low, double high) {
    double sum = 0, width = w->rate / (double)w->piece;
    for (int64_t k = 0; k <= w->piece / 2; k++)
        if ((double)k * width >= low && (double)k * width < high) sum += power[k] * width;
    return sum;
}

void gy_band_noise(const gy_rfft_plan *fft, double rate, double low, double high, double slope, gy_rng *r, double *out,
                   double complex *bins, double complex *work) {
    int64_t n = fft->n;
    double sum = 0;
    for (int64_t k = 0; k <= n / 2; k++) {
        double f = (double)k * rate / (double)n, gain = k > 0 && f >= low && f <= high ? pow(f, -0.5 * slope) : 0.0;
        double re = gy_rng_normal(r), im = gy_rng_normal(r);
        bins[k] = gain * re + gain * im * I;
    }
    gy_rfft_inverse(fft, bins, out, work);
    for (int64_t i = 0; i < n; i++) sum += out[i] * out[i];
    double scale = sum > 0 ? 1.0 / sqrt(sum / (double)n) : 0.0;
    for (int64_t i = 0; i < n; i++) out[i] *= scale;
}

/* ---- channels ---- */

void gy_average_reference(double *x, int64_t n, int64_t channels) {
    for (int64_t t = 0; t < n; t++, x += channels) {
        double mean = 0;
        for (int64_t c = 0; c < channels; c++) mean += x[c] / (double)channels;
        for (int64_t c = 0; c < channels; c++) x[c] -= mean;
    }
}

void gy_standardise(double *x, int64_t n, int64_t channels, int64_t first, int64_t count, double clip) {
    for (int64_t c = 0; c < channels; c++) {
        double mean = 0, var = 0;
        for (int64_t t = first; t < first + count; t++) mean += x[t * channels + c] / (double)count;
        for (int64_t t = first; t < first + count; t++) var += pow(x[t * channels + c] - mean, 2) / (double)count;
        double sd = sqrt(var);
        for (int64_t t = 0; t < n; t++) {
            double v = sd > 1e-12 * fabs(mean) ? (x[t * channels + c] - mean) / sd : 0;
            x[t * channels + c] = clip > 0 ? fmin(fmax(v, -clip), clip) : v;
        }
    }
}
