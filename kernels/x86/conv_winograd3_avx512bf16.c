/* Winograd's 3 x 3 x 3 convolution on AVX512-BF16, from the source of the other tiers. */
#include "conv_winograd3.c"
