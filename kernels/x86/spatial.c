/* Resizing, average pooling, their adjoints, and max pooling: f32, features last.
 *
 * Each output position is a weighted sum (or the maximum) of some rows of channels. A block of up to NV vectors of
 * channels stays in registers while the rows of the window go by; the windows of the three axes are the tables of
 * axis_map.h. Sums of at most 64 rows are float, longer ones double: the rule of lines.h.
 *
 * Tiles are runs of output positions. Bytes: every input row is read from the caches as often as windows overlap,
 * every output written once; resizing is bound by the memory.
 *
 * Measured on Zen 4, one thread (`gyrus bench move`), of what copying in the third level reaches: average pooling of 64
 * x 64 x 320 .50, max pooling of 112 x 112 x 64 .49, nearest 32 x 32 x 640 to twice .32, bilinear 64 x 64 x 64 .23, its
 * adjoint .41. */
#include "lines.h"
#include "rows.h"

#include "../ref/axis_map.h"
#include "core/ops/pool.h"

enum { GRAIN = 32768 /* channels read a tile, about */, NV = 4, FLOAT_TERMS = 64 };

typedef struct {
    const float *x;
    float *y;
    int64_t *place; /* max_pool */
    const gy_pool_attr *pool;
    axis_map map[3];
    int64_t in[3], out[3];
    int64_t channels, n_in, n_out, positions, grain;
    bool wide; /* sums in double */
} job;

static job job_of(const gy_kargs *k) {
    job j = {.x = k->in[0].data, .y = k->out[0].data};
    ref_spatial_sizes(k->in[0].shape, j.in);
    ref_spatial_sizes(k->out[0].shape, j.out);
    j.channels = k->in[0].shape.dim[k->in[0].shape.rank - 1];
    j.n_in = j.in[0] * j.in[1] * j.in[2];
    j.n_out = j.out[0] * j.out[1] * j.out[2];
    j.positions = k->out[0].shape.dim[0] * j.n_out;
    return j;
}

static void run(job *j, int64_t rows_a_position, gy_tile_fn fn, gy_pool *pool) {
    int64_t work = j->channels * rows_a_position;
    j->grain = work < GRAIN ? GRAIN / work : 1;
    gy_par(pool, gy_tiles(j->positions, j->grain), fn, j);
}

/* Steps the spatial index o in row-major order. */
GY_INLINE void next_position(const int64_t out[3], int64_t o[3]) {
    for (int axis = 2; axis >= 0; axis--) {
        if (++o[axis] < out[axis]) return;
        o[axis] = 0;
    }
}

/* ---- separable maps ---- */

/* nv vectors of channels at y, the last of them with up to `live` - (nv - 1) VL. */
GY_INLINE void map_block(const int nv, const bool wide, const job *j, const float *x, const int64_t o[3], int64_t live,
                         float *y) {
    const axis_map *m = j->map;
    vf acc[NV];
    vd low[NV], high[NV];
    for (int v = 0; v < nv; v++) {
        acc[v] = v_zero();
        low[v] = high[v] = w_zero();
    }
    for (int64_t p0 = m[0].begin[o[0]]; p0 < m[0].begin[o[0] + 1]; p0++)
        for (int64_t p1 = m[1].begin[o[1]]; p1 < m[1].begin[o[1] + 1]; p1++) {
            int64_t i0 = m[0].first[o[0]] + p0 - m[0].begin[o[0]], i1 = m[1].first[o[1]] + p1 - m[1].begin[o[1]];
            const float *row = x + ((i0 * j->in[1] + i1) * j->in[2] + m[2].first[o[2]]) * j->channels;
            double w01 = m[0].w[p0] * m[1].w[p1];
            for (int64_t p2 = m[2].begin[o[2]]; p2 < m[2].begin[o[2] + 1]; p2++, row += j->channels) {
                vf w = v_set((float)(w01 * m[2].w[p2]));
                vd w2 = w_set(w01 * m[2].w[p2]);
                for (int v = 0; v < nv; v++) {
                    vf e = line_load(row + v * VL, live - v * VL);
                    if (wide) {
                        low[v] = w_fma(w2, w_low(e), low[v]);
                        high[v] = w_fma(w2, w_high(e), high[v]);
                    } else {
                        acc[v] = v_fma(w, e, acc[v]);
                    }
                }
            }
        }
    for (int v = 0; v < nv; v++) line_store(y + v * VL, wide ? w_narrow(low[v], high[v]) : acc[v], live - v * VL);
}
GY_INLINE void map_positions(const bool wide, const job *j, int64_t lo, int64_t hi) {
    int64_t q = lo % j->n_out, o[3] = {q / j->out[2] / j->out[1], q / j->out[2] % j->out[1], q % j->out[2]};
    for (int64_t p = lo; p < hi; p++, next_position(j->out, o)) {
        const float *x = j->x + p / j->n_out * j->n_in * j->channels;
        float *y = j->y + p * j->channels;
        int64_t c = 0;
        for (; c + NV * VL <= j->channels; c += NV * VL) map_block(NV, wide, j, x + c, o, NV * VL, y + c);
        for (; c < j->channels; c += VL) map_block(1, wide, j, x + c, o, j->channels - c, y + c);
    }
}
static void map_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->positions, j->grain, t, &lo, &hi);
    if (j->wide)
        map_positions(true, j, lo, hi);
    else
        map_positions(false, j, lo, hi);
}
static void separable_map(const gy_kargs *k, axis_map_job a) {
    job j = job_of(k);
    int64_t rows = 1; /* at most, a position */
    if (gy_shape_count(k->out[0].shape) == 0) return;
    ref_axis_map_tables(&a, k->scratch, j.map);
    for (int axis = 0; axis < 3; axis++) {
        const axis_map *m = &j.map[axis];
        int64_t most = 1;
        for (int64_t o = 0; o < m->out; o++)
            if (m->begin[o + 1] - m->begin[o] > most) most = m->begin[o + 1] - m->begin[o];
        rows *= most;
    }
    j.wide = rows > FLOAT_TERMS;
    run(&j, rows, map_tile, k->pool);
}

void GY_ISAFN(x86_resize)(const gy_kargs *k) {
    separable_map(k, ref_resize_map(k, false));
}
void GY_ISAFN(x86_resize_dx)(const gy_kargs *k) {
    separable_map(k, ref_resize_map(k, true));
}
void GY_ISAFN(x86_avg_pool)(const gy_kargs *k) {
    separable_map(k, ref_avg_pool_map(k, false));
}
void GY_ISAFN(x86_avg_pool_dx)(const gy_kargs *k) {
    separable_map(k, ref_avg_pool_map(k, true));
}

/* ---- max pooling ---- */

/* The elements of one axis that a window looks at inside x: first, first + step, ..., below end. */
typedef struct {
    int64_t first, end, step;
} axis_window;

static axis_window window_of(const job *j, int axis, int64_t o) {
    int64_t start, taps, step = j->pool->dilation[axis];
    gy_pool_window(j->pool, axis, j->in[axis], o, &start, &taps);
    int64_t end = start + (taps - 1) * step + 1, before = start < 0 ? (-start + step - 1) / step : 0;
    return (axis_window){start + before * step, end < j->in[axis] ? end : j->in[axis], step};
}

/* The reference's rule: the first element of the window, and each later one that is larger, or NaN, takes over. The
 * first is met twice, without effect. v_min(top, e) is e unless top < e, also when either is NaN. */
GY_INLINE void max_block(const int nv, const job *j, const float *x, const axis_window w[3], int64_t live, float *y,
                         int64_t *place) {
    vf top[NV];
    vi best[NV];
    int64_t at = (w[0].first * j->in[1] + w[1].first) * j->in[2] + w[2].first;
    for (int v = 0; v < nv; v++) {
        top[v] = line_load(x + at * j->channels + v * VL, live - v * VL);
        best[v] = vi_set((int32_t)at);
    }
    for (int64_t i0 = w[0].first; i0 < w[0].end; i0 += w[0].step)
        for (int64_t i1 = w[1].first; i1 < w[1].end; i1 += w[1].step)
            for (int64_t i2 = w[2].first; i2 < w[2].end; i2 += w[2].step) {
                at = (i0 * j->in[1] + i1) * j->in[2] + i2;
                for (int v = 0; v < nv; v++) {
                    vf e = line_load(x + at * j->channels + v * VL, live - v * VL);
                    vm take = v_ne(e, v_min(top[v], e));
                    top[v] = v_sel(take, e, top[v]);
                    best[v] = v_bits(v_sel(take, v_float(vi_set((int32_t)at)), v_float(best[v])));
                }
            }
    for (int v = 0; v < nv; v++) {
        int32_t lane[VL];
        int64_t n = live - v * VL < VL ? live - v * VL : VL;
        line_store(y + v * VL, top[v], n);
        vi_store(lane, best[v]);
        if (n == VL)
            for (int e = 0; e < VL; e++) place[v * VL + e] = lane[e];
        else
            for (int64_t e = 0; e < n; e++) place[v * VL + e] = lane[e];
    }
}
static void max_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, n = j->channels;
    gy_tile_range(j->positions, j->grain, t, &lo, &hi);
    int64_t q = lo % j->n_out, o[3] = {q / j->out[2] / j->out[1], q / j->out[2] % j->out[1], q % j->out[2]};
    for (int64_t p = lo; p < hi; p++, next_position(j->out, o)) {
        axis_window w[3];
        for (int axis = 0; axis < 3; axis++) w[axis] = window_of(j, axis, o[axis]);
        const float *x = j->x + p / j->n_out * j->n_in * n;
        int64_t c = 0;
        for (; c + NV * VL <= n; c += NV * VL)
            max_block(NV, j, x + c, w, NV * VL, j->y + p * n + c, j->place + p * n + c);
        for (; c < n; c += VL) max_block(1, j, x + c, w, n - c, j->y + p * n + c, j->place + p * n + c);
    }
}

bool GY_ISAFN(x86_max_pool_supports)(const gy_kargs *k) { /* places are counted in 32-bit lanes */
    int64_t n[3];
    ref_spatial_sizes(k->in[0].shape, n);
    return n[0] * n[1] * n[2] <= INT32_MAX;
}
void GY_ISAFN(x86_max_pool)(const gy_kargs *k) {
    job j = job_of(k);
    if (gy_shape_count(k->out[0].shape) == 0) return;
    j.pool = k->attr;
    j.place = k->out[1].data;
    int64_t start, taps, rows = 1;
    for (int axis = 0; axis < 3; axis++) {
        gy_pool_window(j.pool, axis, j.in[axis], 0, &start, &taps);
        rows *= taps;
    }
    run(&j, rows, max_tile, k->pool);
}
