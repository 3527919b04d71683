/* fft.h: discrete Fourier transforms of any length.
 *
 * A complex value has a last axis of 2: real and imaginary part. `axis` counts the axes before that one, so
 * -1 is the last axis of the complex array (NumPy's numbering). Norms as NumPy's "backward": forward
 * transforms are plain sums, inverse ones are divided by n. */
#ifndef GY_OPS_FFT_H
#define GY_OPS_FFT_H

#include "../graph.h"

/* ops fft, rfft, irfft. n: length of the transform (of the real side). */
typedef struct gy_fft_attr {
    int64_t axis, n;
    int64_t inverse; /* fft: the sign of the exponent is + */
    int64_t both;    /* rfft, irfft: w_k = 2 for the bins that stand for two, else 1 */
    double scale;
} gy_fft_attr;

/* x [..., n, ..., 2] -> the same shape: y_k = sum_j x_j e^{-2 pi i jk/n}. n >= 1. */
gy_t gy_fft_(gy_site at, gy_t x, int64_t axis, bool inverse);
#define gy_fft(x, axis) gy_fft_(GY_HERE, x, axis, false)
/* y_j = 1/n sum_k x_k e^{2 pi i jk/n}. */
#define gy_ifft(x, axis) gy_fft_(GY_HERE, x, axis, true)

/* Real x [..., n, ...] -> [..., n/2+1, ..., 2]: bins 0..n/2 of the transform; the others are conjugates. */
gy_t gy_rfft_(gy_site at, gy_t x, int64_t axis);
#define gy_rfft(x, axis) gy_rfft_(GY_HERE, x, axis)
/* x [..., n/2+1, ..., 2] -> real [..., n, ...]. The imaginary parts of bin 0 and (n even) of bin n/2 have no
 * influence. n is given because n and n+1 may have equally many bins. */
gy_t gy_irfft_(gy_site at, gy_t x, int64_t axis, int64_t n);
#define gy_irfft(x, axis, n) gy_irfft_(GY_HERE, x, axis, n)

#endif
