/* signal.h: what is done to recorded signals before a model sees them, in double precision: filters, resampling,
 * spectra, references, scaling. Oppenheim & Schafer, Discrete-Time Signal Processing (3rd ed., 2010), chapters 6, 7. */
#ifndef GY_SIGNAL_H
#define GY_SIGNAL_H

#include "../base.h"

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

/* Welch 1967: the mean over half-overlapping Hann-windowed pieces of `piece` samples, each freed of its mean, of the
 * one-sided power density (unit^2 / Hz): power [piece/2 + 1] at k rate / piece. 2 <= piece <= n. */
gy_status gy_welch(gy_ctx *ctx, const double *x, int64_t n, double rate, int64_t piece, double *power) GY_MUST_CHECK;
/* The density's integral over [low, high] Hz by the trapezoid rule, edges interpolated. */
double gy_band_power(const double *power, int64_t piece, double rate, double low, double high);

/* ---- channels: x [n, channels], row-major ---- */

/* Each sample minus the mean of its channels (common average reference). */
void gy_average_reference(double *x, int64_t n, int64_t channels);
/* Each channel by mean and standard deviation of rows first .. first + count - 1 (fit on what is trained on); values
 * beyond `clip` deviations are set to it (0: none). A constant channel becomes 0. */
void gy_standardise(double *x, int64_t n, int64_t channels, int64_t first, int64_t count, double clip);

#endif
