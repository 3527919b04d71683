/* update.h: what the optimizer kernels of all floors share: their scalars, read once a call. */
#ifndef GY_KERNELS_UPDATE_H
#define GY_KERNELS_UPDATE_H

#include "kernel.h"

#include <math.h>

enum { GY_UPDATE_GRAIN = 16384 };

typedef struct gy_update_job {
    const gy_kargs *k;
    double lr, scale;    /* lr times the group's factor; factor of the gradient */
    double bias1, bias2; /* adam: 1 - beta^t */
} gy_update_job;

static inline double gy_update_scalar(const gy_view *v, double absent) {
    if (!v->data) return absent;
    if (v->dtype == GY_F32) return *(const float *)v->data;
    if (v->dtype == GY_F64) return *(const double *)v->data;
    return (double)*(const int64_t *)v->data;
}

/* Inputs number `lr` and `scale`; `step` is adam's, else -1. */
static inline gy_update_job gy_update_start(const gy_kargs *k, int lr, int step, int scale) {
    const gy_update_attr *a = k->attr;
    gy_update_job j = {.k = k, .lr = gy_update_scalar(&k->in[lr], 0), .scale = gy_update_scalar(&k->in[scale], 1)};
    if (a->lr_factor != 0) j.lr *= a->lr_factor;
    if (step < 0) return j;
    double t = gy_update_scalar(&k->in[step], 1);
    j.bias1 = 1 - pow(a->beta1, t);
    j.bias2 = 1 - pow(a->beta2, t);
    return j;
}

static inline void gy_update_run(const gy_update_job *j, gy_tile_fn fn) {
    gy_par(j->k->pool, gy_tiles(gy_shape_count(j->k->out[0].shape), GY_UPDATE_GRAIN), fn, (void *)(uintptr_t)j);
}

/* The elements of tile t. */
static inline void gy_update_range(const gy_update_job *j, int64_t t, int64_t *lo, int64_t *hi) {
    gy_tile_range(gy_shape_count(j->k->out[0].shape), GY_UPDATE_GRAIN, t, lo, hi);
}

#endif
