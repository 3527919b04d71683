/* signal.h: what is done to recorded signals before a model sees them, in double precision: filters, resampling,
 * spectra, references, scaling. Oppenheim & Schafer, Discrete-Time Signal Processing (3rd ed., 2010), chapters 6, 7. */
#ifndef GY_SIGNAL_H
#define GY_SIGNAL_H

#include "../rng.h"
#include "fft.h"

/* ---- recursive filters: chains of second-order sections, which stay stable where one polynomial would not ---- */

/* y_t = b0 x_t + b1 x_{t-1} + b2 x_{t-2} - a1 y_{t-1} - a2 y_{t-2} */
typedef struct gy_section {
    double b0, b1, b2, a1, a2;
} gy_section;
enum { GY_MAX_SECTIONS = 20 };
typedef struct gy_filter {
    int64_t n;
    gy_section s[GY_MAX_SECTIONS];
} gy_filter;

typedef enum gy_band { GY_LOW_PASS = 1, GY_HIGH_PASS, GY_BAND_PASS } gy_band;
/* Butterworth of `order` 1 .. 20 (a band-pass has twice as many poles, order <= 20 too) by the bilinear transform: gain
 * 1/sqrt 2 at `low` (low-pass, high-pass) or at both edges. Hz; 0 < low < high < rate/2. */
gy_status gy_butterworth(gy_ctx *ctx, gy_band band, int64_t order, double low, double high, double rate,
                         gy_filter *out) GY_MUST_CHECK;
/* Takes out one frequency; quality = frequency / width at -3 dB (30 suits mains hum). */
gy_status gy_notch(gy_ctx *ctx, double frequency, double quality, double rate, gy_filter *out) GY_MUST_CHECK;
/* The gain at a frequency in Hz. */
double gy_filter_gain(const gy_filter *f, double frequency, double rate);
/* x [n] with distance `stride`, in place; causal, from rest. */
void gy_filter_forward(const gy_filter *f, double *x, int64_t n, int64_t stride);
/* Forward and backward: no delay, the gain squared. Ends are continued by odd reflection, and the filter starts in the
 * steady state of the first value (Gustafsson 1996). n >= 2. */
gy_status gy_filter_both_ways(gy_ctx *ctx, const gy_filter *f, double *x, int64_t n, int64_t stride) GY_MUST_CHECK;

/* ---- symmetric filters ---- */

/* Windowed sinc (Hamming) of odd length, gain 1 in the middle of the band: tap [taps]. low 0: low-pass below `high`;
 * high 0: high-pass above `low`. */
gy_status gy_fir(gy_ctx *ctx, double low, double high, double rate, int64_t taps, double *tap) GY_MUST_CHECK;
/* The convolution without delay; beyond the ends the signal is taken as its first and last value. */
gy_status gy_fir_apply(gy_ctx *ctx, const double *tap, int64_t taps, double *x, int64_t n,
                       int64_t stride) GY_MUST_CHECK;

/* ---- resampling ---- */

/* Samples of an n-sample signal at another rate: floor((n - 1) to / from) + 1. */
int64_t gy_resampled(int64_t n, double from, double to);
/* Band-limited interpolation: a sinc under a Kaiser window (beta 8.6, 16 zero crossings a side), cut at the lower of
 * both rates' half (Smith 1984). Beyond the ends as gy_fir_apply. y [gy_resampled(n)]. */
gy_status gy_resample(gy_ctx *ctx, const double *x, int64_t n, double from, double to, double *y) GY_MUST_CHECK;

/* ---- spectra ---- */

/* Welch, IEEE Trans. Audio Electroacoustics 15 (1967) 70-73: tables for pieces of one length, made once. */
typedef struct gy_welch {
    gy_ctx *ctx;
    int64_t piece;
    double rate, energy; /* energy: of the window */
    gy_rfft_plan *fft;
    double *window, *cut; /* [piece]: Hann, periodic; scratch */
    double complex *bins, *work;
} gy_welch;
/* piece >= 2 samples at `rate` Hz. */
gy_status gy_welch_new(gy_ctx *ctx, int64_t piece, double rate, gy_welch *out) GY_MUST_CHECK;
void gy_welch_free(gy_welch *w);
/* power [piece/2 + 1] += the one-sided density (unit^2 / Hz) of x [n] with distance `stride` at k rate / piece: the
 * mean over half-overlapping windowed pieces, each freed of its mean, as scipy.signal.welch. n >= piece. */
void gy_welch_add(const gy_welch *w, const double *x, int64_t n, int64_t stride, double *power);
/* The density's integral over [low, high] Hz by the trapezoid rule, edges interpolated. */
double gy_band_power(const gy_welch *w, const double *power, double low, double high);
/* The power of whole bins: the sum over those with low <= f < high times their width, so that bands side by side share
 * nothing. */
double gy_bins_power(const gy_welch *w, const double *power, double low, double high);

/* out [n]: Gaussian noise with power proportional to f^-slope between low and high Hz (both included) and nothing
 * outside, scaled to unit variance; zeros if no bin lies there. fft: of length n. bins [n/2 + 1], work
 * [gy_rfft_work(fft)]. */
void gy_band_noise(const gy_rfft_plan *fft, double rate, double low, double high, double slope, gy_rng *r, double *out,
                   double complex *bins, double complex *work);

/* ---- channels: x [n, channels], row-major ---- */

/* Each sample minus the mean of its channels (common average reference). */
void gy_average_reference(double *x, int64_t n, int64_t channels);
/* Each channel by mean and standard deviation of rows first .. first + count - 1 (fit on what is trained on); values
 * beyond `clip` deviations are set to it (0: none). A constant channel becomes 0. */
void gy_standardise(double *x, int64_t n, int64_t channels, int64_t first, int64_t count, double clip);

#endif
