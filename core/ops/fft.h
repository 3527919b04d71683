/* fft.h: discrete Fourier transforms. */
#ifndef GY_OPS_FFT_H
#define GY_OPS_FFT_H

#include "../graph.h"

#endif
