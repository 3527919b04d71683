/* axis_map.h: separable sparse linear maps over three spatial axes: average pooling, resizing and their adjoints are
 *
 *     y[b, o, c] = sum_i w_0(o_0, i_0) w_1(o_1, i_1) w_2(o_2, i_2) x[b, i, c]
 *
 * where each output of an axis reads a short run of neighbouring inputs, and runs move forward only. Such a map is one
 * table an axis, and its adjoint is the transposed tables: one kernel serves all four operators. */
#ifndef GY_REF_AXIS_MAP_H
#define GY_REF_AXIS_MAP_H

#include "../kernel.h"

/* Output o reads inputs first[o], first[o] + 1, ... with weights w[begin[o]] ... w[begin[o + 1] - 1]. */
typedef struct axis_map {
    int64_t in, out;
    int64_t *first, *begin;
    double *w;
} axis_map;

/* Row o of the map on one axis: the number of inputs read, the first of them, and (w not NULL) their weights. */
typedef int64_t (*axis_row_fn)(const void *attr, int axis, int64_t in, int64_t o, int64_t *first, double *w);

/* What a kernel says of its map: from `in` to `out` elements by row(), and whether the adjoint is wanted. */
typedef struct axis_map_job {
    axis_row_fn row;
    const void *attr;
    int64_t in[3], out[3];
    bool adjoint;
} axis_map_job;

/* The spatial sizes of [B, spatial..., C] on three axes, leading ones 1. */
void ref_spatial_sizes(gy_shape s, int64_t size[3]);

/* Scratch for the tables and one row of sums a worker. */
size_t ref_axis_map_scratch(const axis_map_job *j, const gy_kargs *k, int threads);
/* Fills the tables of the three axes, adjoint applied, in `memory` of that many bytes; returns what follows them. */
void *ref_axis_map_tables(const axis_map_job *j, void *memory, axis_map map[3]);
/* The maps of resize and resize_dx, avg_pool and avg_pool_dx. */
axis_map_job ref_resize_map(const gy_kargs *k, bool adjoint);
axis_map_job ref_avg_pool_map(const gy_kargs *k, bool adjoint);
/* k->out[0] = map(k->in[0]). */
void ref_axis_map_f32(const axis_map_job *j, const gy_kargs *k);
void ref_axis_map_f64(const axis_map_job *j, const gy_kargs *k);

#endif
