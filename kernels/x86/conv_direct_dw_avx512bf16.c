/* The direct weight gradient on AVX512-BF16, from the source of the other tiers. */
#include "conv_direct_dw.c"
