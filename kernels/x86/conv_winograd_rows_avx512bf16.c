/* The rows of Winograd's algorithms on AVX512-BF16, from the source of the other tiers. */
#include "conv_winograd_rows.c"
