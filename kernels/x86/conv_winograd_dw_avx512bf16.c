/* The weights' gradient by Winograd's algorithm on AVX512-BF16, from the source of the other tiers. */
#include "conv_winograd_dw.c"
