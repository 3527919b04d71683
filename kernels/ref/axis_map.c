/* Separable sparse linear maps; see axis_map.h. */
#ifndef T
#include "axis_map.h"

enum { GRAIN = 64 }; /* output positions a tile */

typedef struct {
    const gy_kargs *k;
    axis_map map[3];
    double *acc; /* a row of channels a worker */
    int64_t channels, n_in, n_out;
} job;

void ref_spatial_sizes(gy_shape s, int64_t size[3]) {
    int64_t missing = 5 - s.rank;
    for (int64_t i = 0; i < 3; i++) size[i] = i < missing ? 1 : s.dim[i - missing + 1];
}

static int64_t weights(const axis_map_job *j, int axis) {
    int64_t n = 0, first;
    for (int64_t o = 0; o < j->out[axis]; o++) n += j->row(j->attr, axis, j->in[axis], o, &first, NULL);
    return n;
}

size_t ref_axis_map_scratch(const axis_map_job *j, const gy_kargs *k, int threads) {
    int64_t words = k->out[0].shape.dim[k->out[0].shape.rank - 1] * threads;
    for (int i = 0; i < 3; i++) {
        int64_t n = weights(j, i);
        words += 2 * j->out[i] + 1 + n;
        if (j->adjoint) words += 2 * j->in[i] + 1 + n;
    }
    return (size_t)words * 8;
}

/* Takes a table's memory from *at, 8 bytes a word. */
static axis_map lay_out(int64_t in, int64_t out, int64_t n, char **at) {
    axis_map m = {.in = in, .out = out, .first = (int64_t *)(void *)*at};
    m.begin = m.first + out;
    m.w = (double *)(void *)(m.begin + out + 1);
    *at = (char *)(m.w + n);
    return m;
}

static axis_map transposed(const axis_map *m, char **at) {
    axis_map t = lay_out(m->out, m->in, m->begin[m->out], at);
    for (int64_t i = 0; i <= t.out; i++) t.begin[i] = 0;
    for (int64_t i = 0; i < t.out; i++) t.first[i] = 0;
    for (int64_t o = 0; o < m->out; o++)
        for (int64_t p = m->begin[o]; p < m->begin[o + 1]; p++) t.begin[m->first[o] + p - m->begin[o] + 1]++;
    for (int64_t i = 0; i < t.out; i++) t.begin[i + 1] += t.begin[i];
    /* Runs move forward only, so the outputs that read element i are neighbours: o - first[i] is the place. */
    for (int64_t o = m->out - 1; o >= 0; o--)
        for (int64_t p = m->begin[o]; p < m->begin[o + 1]; p++) t.first[m->first[o] + p - m->begin[o]] = o;
    for (int64_t o = 0; o < m->out; o++)
        for (int64_t p = m->begin[o]; p < m->begin[o + 1]; p++) {
            int64_t i = m->first[o] + p - m->begin[o];
            t.w[t.begin[i] + o - t.first[i]] = m->w[p];
        }
    return t;
}

void *ref_axis_map_tables(const axis_map_job *a, void *memory, axis_map map[3]) {
    char *at = memory;
    for (int axis = 0; axis < 3; axis++) {
        axis_map m = lay_out(a->in[axis], a->out[axis], weights(a, axis), &at);
        m.begin[0] = 0;
        for (int64_t o = 0; o < m.out; o++)
            m.begin[o + 1] = m.begin[o] + a->row(a->attr, axis, m.in, o, &m.first[o], m.w + m.begin[o]);
        map[axis] = a->adjoint ? transposed(&m, &at) : m;
    }
    return at;
}

static job prepare(const axis_map_job *a, const gy_kargs *k) {
    gy_shape x = k->in[0].shape, y = k->out[0].shape;
    job j = {.k = k, .channels = x.dim[x.rank - 1], .n_in = 1, .n_out = 1};
    j.acc = ref_axis_map_tables(a, k->scratch, j.map);
    for (int64_t i = 1; i < x.rank - 1; i++) j.n_in *= x.dim[i];
    for (int64_t i = 1; i < y.rank - 1; i++) j.n_out *= y.dim[i];
    return j;
}

#endif
#define GY_REF_FILE "kernels/ref/axis_map.c"
#include "ref.h"

#ifdef T

static void NAME(position)(const job *j, const T *x, const int64_t o[3], double *acc) {
    const axis_map *m = j->map;
    int64_t n = j->channels;
    for (int64_t c = 0; c < n; c++) acc[c] = 0;
    for (int64_t p0 = m[0].begin[o[0]]; p0 < m[0].begin[o[0] + 1]; p0++)
        for (int64_t p1 = m[1].begin[o[1]]; p1 < m[1].begin[o[1] + 1]; p1++) {
            int64_t i0 = m[0].first[o[0]] + p0 - m[0].begin[o[0]], i1 = m[1].first[o[1]] + p1 - m[1].begin[o[1]];
            const T *row = x + ((i0 * m[1].in + i1) * m[2].in + m[2].first[o[2]]) * n;
            for (int64_t p2 = m[2].begin[o[2]]; p2 < m[2].begin[o[2] + 1]; p2++, row += n) {
                double w = m[0].w[p0] * m[1].w[p1] * m[2].w[p2];
                for (int64_t c = 0; c < n; c++) acc[c] += w * (acc_t)row[c];
            }
        }
}

static void NAME(axis_map_tile)(void *arg, int64_t tile, int worker) {
    const job *j = arg;
    double *acc = j->acc + worker * j->channels;
    int64_t lo, hi, samples = j->k->in[0].shape.dim[0];
    gy_tile_range(samples * j->n_out, GRAIN, tile, &lo, &hi);
    for (int64_t p = lo; p < hi; p++) {
        int64_t q = p % j->n_out, o2 = j->map[2].out, o1 = j->map[1].out;
        const T *x = (const T *)j->k->in[0].data + p / j->n_out * j->n_in * j->channels;
        T *y = (T *)j->k->out[0].data + p * j->channels;
        NAME(position)(j, x, (int64_t[3]){q / o2 / o1, q / o2 % o1, q % o2}, acc);
        for (int64_t c = 0; c < j->channels; c++) y[c] = (T)acc[c];
    }
}

void NAME(axis_map)(const axis_map_job *a, const gy_kargs *k) {
    if (gy_shape_count(k->out[0].shape) == 0) return;
    job j = prepare(a, k);
    gy_par(k->pool, gy_tiles(k->in[0].shape.dim[0] * j.n_out, GRAIN), NAME(axis_map_tile), &j);
}

#endif
