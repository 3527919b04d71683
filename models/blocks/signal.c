#include "signal.h"

#include <math.h>

void gy_welch_free(gy_welch *w) {
    if (!w->ctx) return;
    gy_rfft_free(w->ctx, w->fft);
    gy_free(w->ctx, w->window);
    gy_free(w->ctx, w->cut);
    gy_free(w->ctx, w->bins);
    gy_free(w->ctx, w->work);
    *w = (gy_welch){0};
}

gy_status gy_welch_new(gy_ctx *ctx, int64_t segment, double rate, gy_welch *out) {
    *out = (gy_welch){.ctx = ctx, .segment = segment, .rate = rate};
    if (segment < 2 || !(rate > 0))
        return gy_fail(ctx, GY_ERR_USAGE, "welch: segments of %d samples at %g Hz: expected at least 2, above 0 Hz",
                       (int)segment, rate);
    gy_status s = gy_rfft_new(ctx, segment, &out->fft);
    if (s == GY_OK) {
        out->window = gy_calloc(ctx, (size_t)segment, sizeof *out->window);
        out->cut = gy_calloc(ctx, (size_t)segment, sizeof *out->cut);
        out->bins = gy_calloc(ctx, (size_t)(segment / 2 + 1), sizeof *out->bins);
        out->work = gy_calloc(ctx, (size_t)gy_rfft_work(out->fft), sizeof *out->work);
        if (!out->window || !out->cut || !out->bins || !out->work) s = GY_ERR_NOMEM;
    }
    if (s != GY_OK) {
        gy_welch_free(out);
        return s;
    }
    for (int64_t i = 0; i < segment; i++)
        out->window[i] = 0.5 - 0.5 * cos(6.283185307179586 * (double)i / (double)segment);
    return GY_OK;
}

void gy_welch_add(gy_welch *w, const float *x, int64_t n, int64_t stride, double *psd) {
    int64_t m = w->segment, hop = m / 2, segments = (n - m) / hop + 1;
    double energy = 0;
    for (int64_t i = 0; i < m; i++) energy += w->window[i] * w->window[i];
    for (int64_t s = 0; s < segments; s++) {
        const float *at = x + s * hop * stride;
        double mean = 0;
        for (int64_t i = 0; i < m; i++) mean += at[i * stride] / (double)m;
        for (int64_t i = 0; i < m; i++) w->cut[i] = (at[i * stride] - mean) * w->window[i];
        gy_rfft_forward(w->fft, w->cut, w->bins, w->work);
        for (int64_t k = 0; k <= m / 2; k++) {
            double both = k == 0 || 2 * k == m ? 1.0 : 2.0; /* the negative frequencies' share */
            double power = creal(w->bins[k]) * creal(w->bins[k]) + cimag(w->bins[k]) * cimag(w->bins[k]);
            psd[k] += both * power / (energy * w->rate * (double)segments);
        }
    }
}

double gy_welch_band(const gy_welch *w, const double *psd, double lo, double hi) {
    double sum = 0, width = w->rate / (double)w->segment;
    for (int64_t k = 0; k <= w->segment / 2; k++)
        if ((double)k * width >= lo && (double)k * width < hi) sum += psd[k] * width;
    return sum;
}

void gy_band_noise(const gy_rfft_plan *fft, double rate, double lo, double hi, double slope, gy_rng *r, double *out,
                   double complex *bins, double complex *work) {
    int64_t n = fft->n;
    double sum = 0;
    for (int64_t k = 0; k <= n / 2; k++) {
        double f = (double)k * rate / (double)n, gain = k > 0 && f >= lo && f <= hi ? pow(f, -0.5 * slope) : 0.0;
        double re = gy_rng_normal(r), im = gy_rng_normal(r);
        bins[k] = CMPLX(gain * re, gain * im);
    }
    gy_rfft_inverse(fft, bins, out, work);
    for (int64_t i = 0; i < n; i++) sum += out[i] * out[i];
    double scale = sum > 0 ? 1.0 / sqrt(sum / (double)n) : 0.0;
    for (int64_t i = 0; i < n; i++) out[i] *= scale;
}
