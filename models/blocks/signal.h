/* signal.h: spectra of time series and noise of a given spectrum. Double precision, plain loops over core/linalg/fft.
 *
 * Welch, IEEE Trans. Audio Electroacoustics 15 (1967) 70-73. */
#ifndef GY_BLOCKS_SIGNAL_H
#define GY_BLOCKS_SIGNAL_H

#include "../../core/base.h"
#include "../../core/linalg/fft.h"
#include "../../core/rng.h"

/* Tables of one segment length, made once. Free with gy_welch_free. */
typedef struct gy_welch {
    gy_ctx *ctx;
    int64_t segment;
    double rate;
    gy_rfft_plan *fft;
    double *window; /* [segment], Hann, periodic */
    double *cut;    /* [segment]: scratch */
    double complex *bins, *work;
} gy_welch;
/* segment >= 2 samples at `rate` Hz. */
gy_status gy_welch_new(gy_ctx *ctx, int64_t segment, double rate, gy_welch *out) GY_MUST_CHECK;
void gy_welch_free(gy_welch *w);
/* psd [segment/2 + 1] += the one-sided density (unit^2 / Hz) of x[i stride], i < n: mean over half-overlapping
 * segments, each with its mean removed, as scipy.signal.welch. n >= segment. */
void gy_welch_add(gy_welch *w, const float *x, int64_t n, int64_t stride, double *psd);
/* Sum of psd over the bins with lo <= f < hi, times their width. */
double gy_welch_band(const gy_welch *w, const double *psd, double lo, double hi);

/* out [n]: Gaussian noise with power proportional to f^-slope between lo and hi Hz (both included) and nothing outside,
 * scaled to unit variance; zeros if no bin lies there. fft: of length n. bins [n/2 + 1], work [gy_rfft_work(fft)]. */
void gy_band_noise(const gy_rfft_plan *fft, double rate, double lo, double hi, double slope, gy_rng *r, double *out,
                   double complex *bins, double complex *work);

#endif
