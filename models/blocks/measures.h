/* measures.h: what decoding papers are judged by. Plain loops in double over host arrays. */
#ifndef GY_BLOCKS_MEASURES_H
#define GY_BLOCKS_MEASURES_H

#include "../../core/base.h"

/* Top-1 retrieval: in each of `draws` draws, `pool` of the n rows are taken at random (from the seed); a row counts if
 * its own target has the largest cosine with its prediction among the pool's targets. predicted, target [n, d]; 2 <=
 * pool <= n, draws >= 1. The share, for which chance is 1 / pool; NaN if memory is out or the pool does not fit. */
double gy_retrieval_top1(gy_ctx *ctx, const float *predicted, const float *target, int64_t n, int64_t d, int64_t pool,
                         int64_t draws, uint64_t seed);

/* Pearson's r of n pairs x[i stride], y[i stride]; 0 where one of them is constant. */
double gy_pearson(const float *x, const float *y, int64_t n, int64_t stride);

#endif
