/* fft.h: discrete Fourier transforms in double precision, of any length.
 *
 * Forward: X[k] = sum_j x[j] exp(-2 pi i j k / n). Inverse: x[j] = (1/n) sum_k X[k] exp(+2 pi i j k / n), so that the
 * inverse of the forward gives the input back. Errors grow like eps sqrt(log n).
 *
 * A plan only holds tables: any number of threads may run one at the same time, each with its own work space.
 * Lengths whose prime factors are at most 13 go through the autosort mixed-radix scheme of Stockham (Van Loan,
 * Computational Frameworks for the FFT (1992), 1.7, 2.1); others through Bluestein's chirp convolution (IEEE Trans.
 * Audio Electroacoustics 18 (1970)). */
#ifndef GY_FFT_H
#define GY_FFT_H

#include <complex.h>

#include "../base.h"

typedef struct gy_fft_plan {
    int64_t n;
    int64_t n_factors;
    int64_t factor[64];        /* 4 first, then 2, 3, 5, 7, 11, 13; none for Bluestein */
    double complex *root;      /* [n]: exp(-2 pi i k / n) */
    struct gy_fft_plan *inner; /* Bluestein: the convolution's power of two */
    double complex *chirp;     /* Bluestein [n]: exp(-pi i k^2 / n) */
    double complex *filter;    /* Bluestein [inner n]: transform of the conjugate chirp */
} gy_fft_plan;

/* n >= 1, else GY_ERR_SHAPE. */
gy_status gy_fft_new(gy_ctx *ctx, int64_t n, gy_fft_plan **plan) GY_MUST_CHECK;
void gy_fft_free(gy_ctx *ctx, gy_fft_plan *plan); /* NULL is fine */
int64_t gy_fft_work(const gy_fft_plan *plan);     /* complex numbers of work space a run needs */

/* out [n] = transform of in [n]; in == out is allowed, other overlap is not. NaN and Inf pass through as usual. */
void gy_fft_forward(const gy_fft_plan *plan, const double complex *in, double complex *out, double complex *work);
void gy_fft_inverse(const gy_fft_plan *plan, const double complex *in, double complex *out, double complex *work);

/* Real input: only bins 0..n/2 are kept, the others are their conjugates. */
typedef struct gy_rfft_plan {
    int64_t n;
    gy_fft_plan *plan;    /* length n/2 for even n, else n */
    double complex *root; /* even n [n/2 + 1]: exp(-2 pi i k / n) */
} gy_rfft_plan;

gy_status gy_rfft_new(gy_ctx *ctx, int64_t n, gy_rfft_plan **plan) GY_MUST_CHECK;
void gy_rfft_free(gy_ctx *ctx, gy_rfft_plan *plan);
int64_t gy_rfft_work(const gy_rfft_plan *plan);
/* in [n] -> out [n/2 + 1]. */
void gy_rfft_forward(const gy_rfft_plan *plan, const double *in, double complex *out, double complex *work);
/* in [n/2 + 1] -> out [n]; the imaginary part of bin 0, and of bin n/2 for even n, is ignored. */
void gy_rfft_inverse(const gy_rfft_plan *plan, const double complex *in, double *out, double complex *work);

#endif
