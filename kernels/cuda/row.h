/* row.h: operators along the rows of a matrix. A team of threads has a row: a warp a short one, a block a longer one.
 */
#ifndef GY_CUDA_ROW_H
#define GY_CUDA_ROW_H

#include "vec.h"

enum { GY_ROW_THREADS = 256, GY_ROW_SHORT = 1024 };

typedef struct {
    int64_t row;
    int at, step, warp; /* this thread of so many; warp: the team is one */
    int room;           /* the next sum's shared memory */
} gy_row_team;

GY_DEVICE gy_row_team gy_team_of(int warp) {
    gy_row_team t;
    t.row = warp ? (int64_t)blockIdx.x * (blockDim.x / GY_WARP) + threadIdx.x / GY_WARP : (int64_t)blockIdx.x;
    t.at = warp ? gy_lane() : (int)threadIdx.x;
    t.step = warp ? GY_WARP : (int)blockDim.x;
    t.warp = warp;
    t.room = 0;
    return t;
}
/* Of the team's values, in every thread. Up to four of these in a kernel. */
GY_DEVICE float gy_team_sum(gy_row_team *t, float v) {
    if (t->warp) return gy_warp_sum_f32(v);
    return gy_block_sum_f32(v, GY_SHARED(float) + GY_WARP * t->room++);
}
GY_DEVICE float gy_team_max(gy_row_team *t, float v) {
    if (t->warp) return gy_warp_max_f32(v);
    return gy_block_max_f32(v, GY_SHARED(float) + GY_WARP * t->room++);
}

/* The largest of a row and the sum of exp(x - largest); -inf adds nothing, and a row of nothing else gives sum NaN. */
typedef struct {
    float top, sum;
} gy_running;
GY_DEVICE float gy_exp_below(float x, float top) {
    return x == -INFINITY ? 0 : expf(x - top);
}
GY_DEVICE gy_running gy_running_of(gy_row_team *t, const float *x, int64_t n, int vec) {
    gy_running r = {-INFINITY, 0};
    if (vec) {
        for (int64_t i = 4 * t->at; i < n; i += 4 * t->step) {
            gy_f32x4 v = gy_load_f32x4(x + i);
            float top = fmaxf(fmaxf(v.v[0], v.v[1]), fmaxf(v.v[2], v.v[3]));
            if (top > r.top) {
                r.sum *= expf(r.top - top);
                r.top = top;
            }
            GY_UNROLL
            for (int e = 0; e < 4; e++) r.sum += gy_exp_below(v.v[e], r.top);
        }
    } else {
        for (int64_t i = t->at; i < n; i += t->step) {
            float v = x[i];
            if (v > r.top) {
                r.sum *= expf(r.top - v);
                r.top = v;
            }
            r.sum += gy_exp_below(v, r.top);
        }
    }
    float top = gy_team_max(t, r.top);
    r.sum = gy_team_sum(t, r.sum * expf(r.top - top));
    r.top = top;
    return r;
}

#ifdef GY_HOST
/* Launches a team a row; sets *warp, a member of the arguments. */
static inline void gy_launch_rows(const gy_kargs *k, const gy_cuda_kernel *f, int64_t rows, int64_t n, int *warp,
                                  const void *args, size_t bytes) {
    *warp = n <= GY_ROW_SHORT;
    int threads = *warp ? (rows < 4 ? GY_WARP : 128) : GY_ROW_THREADS;
    gy_cuda_launch(k, f, (gy_grid){*warp ? gy_blocks(rows, threads / GY_WARP) : rows, 1, 1}, threads,
                   *warp ? 0 : 4 * GY_WARP * sizeof(float), args, bytes);
}
#endif

#endif
