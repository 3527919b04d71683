/* Packing of weights on AVX512-BF16, from the source of the other tiers. */
#include "conv_weights.c"
