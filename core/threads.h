/* threads.h: the pool. Work is cut into tiles whose bounds depend on shapes alone, each output
 * element is written by one tile, and partial results are combined in tile order: the same bits
 * come out for any number of threads. */
#ifndef GY_THREADS_H
#define GY_THREADS_H

#include "base.h"

/* `worker` is 0..gy_pool_threads-1, for scratch that is private to a thread; results must not
 * depend on it. */
typedef void (*gy_tile_fn)(void *arg, int64_t tile, int worker);

/* Runs fn for tiles 0..n_tiles-1, the caller taking part; returns when all are done. A call from
 * inside a tile runs inline. n_tiles <= 1 never wakes a thread. */
void gy_par(gy_pool *pool, int64_t n_tiles, gy_tile_fn fn, void *arg);

int gy_pool_threads(const gy_pool *pool); /* at least 1; NULL pool: 1 */

/* Cuts n items into pieces of at least `grain` items: returns the number of tiles; tile t covers
 * [*lo, *hi). Depends on n and grain only. */
static inline int64_t gy_tiles(int64_t n, int64_t grain) {
    return n <= 0 ? 0 : (n + grain - 1) / grain;
}
static inline void gy_tile_range(int64_t n, int64_t grain, int64_t tile, int64_t *lo, int64_t *hi) {
    *lo = tile * grain;
    *hi = *lo + grain < n ? *lo + grain : n;
}

/* Internal to the context. */
gy_pool *gy_pool_new(gy_ctx *ctx, int threads);
void gy_pool_free(gy_ctx *ctx, gy_pool *pool);
int gy_cpu_budget(void); /* affinity mask and cgroup quota, at least 1 */

#endif
