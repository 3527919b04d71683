/* spatial.h: [batch, spatial..., channels] for kernels of which a thread makes one element of a result. */
#ifndef GY_CUDA_SPATIAL_H
#define GY_CUDA_SPATIAL_H

#include "walk.h"

typedef struct {
    int64_t batch, channels, x[3], y[3]; /* the larger and the smaller grid, leading axes 1; n: their positions */
    int64_t n_x, n_y;
} gy_grids;

/* Element e of a tensor on grid `dim`. */
typedef struct {
    int64_t b, i[3], c;
} gy_spatial_place;
GY_DEVICE gy_spatial_place gy_spatial_of(int64_t e, const int64_t dim[3], int64_t channels) {
    gy_spatial_place p;
    int64_t q = gy_quotient(e, channels);
    p.c = e - q * channels;
    for (int k = 2; k >= 0; k--) {
        int64_t r = gy_quotient(q, dim[k]);
        p.i[k] = q - r * dim[k];
        q = r;
    }
    p.b = q;
    return p;
}

#ifdef GY_HOST
static inline gy_grids gy_grids_of(gy_shape x, gy_shape y) {
    gy_grids g = {.batch = x.dim[0], .channels = x.dim[x.rank - 1], .n_x = 1, .n_y = 1};
    for (int64_t i = 0, missing = 5 - x.rank; i < 3; i++) {
        g.x[i] = i < missing ? 1 : x.dim[i - missing + 1];
        g.y[i] = i < missing ? 1 : y.dim[i - missing + 1];
        g.n_x *= g.x[i];
        g.n_y *= g.y[i];
    }
    return g;
}
/* A thread an element of n. */
static inline void gy_launch_elements(const gy_kargs *k, const gy_cuda_kernel *f, int64_t n, const void *args,
                                      size_t bytes) {
    int threads = gy_power_of_two(n, GY_WARP, 256);
    gy_cuda_launch(k, f, (gy_grid){gy_blocks(n, threads), 1, 1}, threads, 0, args, bytes);
}
#endif

#endif
