/* Indexing by plain loops. Gathers copy elements of any dtype. Scatters first sort the sources by target
 * (counting sort, stable), so that every output row is the work of one tile and its sum runs in the order of
 * the sources, accumulated in double, for any number of threads. */
#define GY_REF_FILE "kernels/ref/index.c"
#include "ref.h"
#include "../index.h"

#ifndef GY_REF_INDEX_SHARED
#define GY_REF_INDEX_SHARED

enum { GRAIN = 16384, LANES = 64 };

typedef struct {
    const gy_kargs *k;
    fold x;      /* the indexed operand */
    int64_t n;   /* indices along the axis */
    size_t size; /* bytes an element */
    int64_t grain;
} job;

static void run_rows(job *j, int64_t rows, int64_t work_a_row, gy_tile_fn fn) {
    j->grain = work_a_row > 0 && work_a_row < GRAIN ? GRAIN / work_a_row : 1;
    gy_par(j->k->pool, gy_tiles(rows, j->grain), fn, j);
}

/* ---- gathers ---- */

static void gather_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const int64_t *index = j->k->in[1].data;
    const char *x = j->k->in[0].data;
    char *y = j->k->out[0].data;
    size_t row = (size_t)j->x.inner * j->size;
    int64_t lo, hi;
    gy_tile_range(j->x.outer * j->n, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        int64_t o = r / j->n, i = index[r % j->n];
        if (i < 0 || i >= j->x.axis) {
            memset(y + (size_t)r * row, 0, row);
        } else {
            memcpy(y + (size_t)r * row, x + (size_t)(o * j->x.axis + i) * row, row);
        }
    }
}

void ref_gather(const gy_kargs *k);
void ref_gather(const gy_kargs *k) {
    const gy_index_attr *a = k->attr;
    job j = {.k = k,
             .x = fold_at(k->in[0].shape, a->axis),
             .n = gy_shape_count(k->in[1].shape),
             .size = gy_dtype_size(k->in[0].dtype)};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    run_rows(&j, j.x.outer * j.n, j.x.inner, gather_tile);
}

/* y_e = from_{index_e}, or 0, for n elements of `size` bytes: a constant where this is called, so that single moves
 * copy them; sources are `step` apart, and by element e the first of them moves on by `drift`. */
static inline __attribute__((always_inline)) void pick(char *y, const char *from, const int64_t *index, int64_t n,
                                                       int64_t axis, int64_t step, int64_t drift, const size_t size) {
    for (int64_t e = 0; e < n; e++) {
        int64_t i = index[e];
        if ((uint64_t)i < (uint64_t)axis) {
            memcpy(y + (size_t)e * size, from + (size_t)(i * step + e * drift) * size, size);
        } else {
            memset(y + (size_t)e * size, 0, size);
        }
    }
}
static inline __attribute__((always_inline)) void gather_along_rows(const job *j, int64_t lo, int64_t hi,
                                                                    const size_t size) {
    int64_t inner = j->x.inner, axis = j->x.axis;
    for (int64_t r = lo; r < hi;) {
        int64_t o = r / j->n, end = (o + 1) * j->n < hi ? (o + 1) * j->n : hi, at = r * inner;
        const int64_t *index = (const int64_t *)j->k->in[1].data + at;
        const char *from = (const char *)j->k->in[0].data + (size_t)(o * axis * inner) * size;
        char *y = (char *)j->k->out[0].data + (size_t)at * size;
        if (inner == 1)
            pick(y, from, index, end - r, axis, 1, 0, size); /* the rows of a slab in one go: each is one element */
        else
            for (; r < end; r++, index += inner, y += (size_t)inner * size)
                pick(y, from, index, inner, axis, inner, 1, size);
        r = end;
    }
}
static void gather_along_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->x.outer * j->n, j->grain, t, &lo, &hi);
    switch (j->size) {
    case 1: gather_along_rows(j, lo, hi, 1); break;
    case 2: gather_along_rows(j, lo, hi, 2); break;
    case 4: gather_along_rows(j, lo, hi, 4); break;
    default: gather_along_rows(j, lo, hi, 8); break;
    }
}

void ref_gather_along(const gy_kargs *k);
void ref_gather_along(const gy_kargs *k) {
    const gy_index_attr *a = k->attr;
    job j = {.k = k,
             .x = fold_at(k->in[0].shape, a->axis),
             .n = k->in[1].shape.dim[a->axis],
             .size = gy_dtype_size(k->in[0].dtype)};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    run_rows(&j, j.x.outer * j.n, j.x.inner, gather_along_tile);
}

/* ---- scratch ---- */

size_t ref_scatter_add_scratch(const gy_kargs *k, int threads);
size_t ref_scatter_add_scratch(const gy_kargs *k, int threads) {
    (void)threads;
    const gy_index_attr *a = k->attr;
    return bucket_bytes(a->n, gy_shape_count(k->in[1].shape));
}

size_t ref_scatter_onto_scratch(const gy_kargs *k, int threads);
size_t ref_scatter_onto_scratch(const gy_kargs *k, int threads) {
    (void)threads;
    const gy_onto_attr *a = k->attr;
    return bucket_bytes(k->in[0].shape.dim[a->axis], gy_shape_count(k->in[2].shape));
}

size_t ref_scatter_along_add_scratch(const gy_kargs *k, int threads);
size_t ref_scatter_along_add_scratch(const gy_kargs *k, int threads) { /* one lane of sums a worker */
    const gy_index_attr *a = k->attr;
    return sizeof(acc_t) * (size_t)a->n * (size_t)threads;
}

size_t ref_spmm_scratch(const gy_kargs *k, int threads);
size_t ref_spmm_scratch(const gy_kargs *k, int threads) {
    (void)threads;
    const gy_spmm_attr *a = k->attr;
    int64_t nnz = k->in[1].shape.dim[0];
    return a->trans ? bucket_bytes(a->n, nnz) + sizeof(int64_t) * (size_t)nnz : 0;
}

size_t ref_sddmm_scratch(const gy_kargs *k, int threads);
size_t ref_sddmm_scratch(const gy_kargs *k, int threads) {
    (void)threads;
    return sizeof(int64_t) * (size_t)k->in[1].shape.dim[0];
}
#endif

#ifdef T

typedef struct {
    job j;
    buckets b;
    const int64_t *row_of; /* spmm transposed: the row of each entry */
} NAME(work);

static void NAME(scatter_add_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const NAME(work) *w = arg;
    const job *j = &w->j;
    const T *u = j->k->in[0].data;
    T *y = j->k->out[0].data;
    int64_t lo, hi, inner = j->x.inner;
    gy_tile_range(j->x.outer * j->x.axis, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        int64_t o = r / j->x.axis, target = r % j->x.axis;
        for (int64_t c0 = 0; c0 < inner; c0 += LANES) {
            acc_t sum[LANES] = {0};
            int64_t lanes = inner - c0 < LANES ? inner - c0 : LANES;
            for (int64_t m = w->b.start[target]; m < w->b.start[target + 1]; m++) {
                const T *from = u + (o * j->n + w->b.member[m]) * inner + c0;
                for (int64_t c = 0; c < lanes; c++) sum[c] += from[c];
            }
            for (int64_t c = 0; c < lanes; c++) y[r * inner + c0 + c] = (T)sum[c];
        }
    }
}

void NAME(scatter_add)(const gy_kargs *k);
void NAME(scatter_add)(const gy_kargs *k) {
    const gy_index_attr *a = k->attr;
    int64_t n = gy_shape_count(k->in[1].shape);
    NAME(work) w = {.j = {.k = k, .x = fold_at(k->out[0].shape, a->axis), .n = n}};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    w.b = fill_buckets(k->scratch, k->in[1].data, n, a->n);
    run_rows(&w.j, w.j.x.outer * a->n, w.j.x.inner, NAME(scatter_add_tile));
}

/* Rows that no source has for its target are left alone where y lies on x. */
static void NAME(scatter_onto_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const NAME(work) *w = arg;
    const job *j = &w->j;
    const T *x = j->k->in[0].data, *u = j->k->in[1].data;
    T *y = j->k->out[0].data;
    bool set = ((const gy_onto_attr *)j->k->attr)->set;
    int64_t lo, hi, inner = j->x.inner;
    gy_tile_range(j->x.outer * j->x.axis, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        int64_t o = r / j->x.axis, target = r % j->x.axis;
        int64_t first = w->b.start[target], end = w->b.start[target + 1];
        if (first == end && x != y) memcpy(y + r * inner, x + r * inner, sizeof(T) * (size_t)inner);
        if (first == end) continue;
        if (set) {
            memcpy(y + r * inner, u + (o * j->n + w->b.member[end - 1]) * inner, sizeof(T) * (size_t)inner);
            continue;
        }
        for (int64_t c0 = 0; c0 < inner; c0 += LANES) {
            acc_t sum[LANES];
            int64_t lanes = inner - c0 < LANES ? inner - c0 : LANES;
            for (int64_t c = 0; c < lanes; c++) sum[c] = x[r * inner + c0 + c];
            for (int64_t m = first; m < end; m++) {
                const T *from = u + (o * j->n + w->b.member[m]) * inner + c0;
                for (int64_t c = 0; c < lanes; c++) sum[c] += from[c];
            }
            for (int64_t c = 0; c < lanes; c++) y[r * inner + c0 + c] = (T)sum[c];
        }
    }
}

void NAME(scatter_onto)(const gy_kargs *k);
void NAME(scatter_onto)(const gy_kargs *k) {
    const gy_onto_attr *a = k->attr;
    int64_t n = gy_shape_count(k->in[2].shape);
    NAME(work) w = {.j = {.k = k, .x = fold_at(k->out[0].shape, a->axis), .n = n}};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    w.b = fill_buckets(k->scratch, k->in[2].data, n, w.j.x.axis);
    run_rows(&w.j, w.j.x.outer * w.j.x.axis, w.j.x.inner, NAME(scatter_onto_tile));
}

static void NAME(scatter_along_tile)(void *arg, int64_t t, int worker) {
    const job *j = arg;
    const T *u = j->k->in[0].data;
    const int64_t *index = j->k->in[1].data;
    T *y = j->k->out[0].data;
    acc_t *sum = (acc_t *)j->k->scratch + (int64_t)worker * j->x.axis;
    int64_t lo, hi, inner = j->x.inner;
    gy_tile_range(j->x.outer * inner, j->grain, t, &lo, &hi);
    for (int64_t lane = lo; lane < hi; lane++) {
        int64_t o = lane / inner, c = lane % inner;
        for (int64_t i = 0; i < j->x.axis; i++) sum[i] = 0;
        for (int64_t i = 0; i < j->n; i++) {
            int64_t e = (o * j->n + i) * inner + c;
            if (index[e] >= 0 && index[e] < j->x.axis) sum[index[e]] += u[e];
        }
        for (int64_t i = 0; i < j->x.axis; i++) y[(o * j->x.axis + i) * inner + c] = (T)sum[i];
    }
}

void NAME(scatter_along_add)(const gy_kargs *k);
void NAME(scatter_along_add)(const gy_kargs *k) {
    const gy_index_attr *a = k->attr;
    job j = {.k = k, .x = fold_at(k->out[0].shape, a->axis), .n = k->in[1].shape.dim[a->axis]};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    run_rows(&j, j.x.outer * j.x.inner, j.n + j.x.axis, NAME(scatter_along_tile));
}

static void NAME(segment_max_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const NAME(work) *w = arg;
    const job *j = &w->j;
    const T *x = j->k->in[0].data;
    T *y = j->k->out[0].data;
    int64_t *where = j->k->out[1].data, lo, hi, inner = j->x.inner;
    gy_tile_range(j->x.axis, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++)
        for (int64_t c = 0; c < inner; c++) {
            int64_t best = -1;
            for (int64_t m = w->b.start[r]; m < w->b.start[r + 1]; m++) {
                int64_t e = w->b.member[m];
                T new = x[e * inner + c], old = best < 0 ? new : x[best * inner + c];
                if (best < 0 || new > old || (isnan(new) && !isnan(old))) best = e;
            }
            where[r * inner + c] = best;
            y[r * inner + c] = best < 0 ? 0 : x[best * inner + c];
        }
}

void NAME(segment_max)(const gy_kargs *k);
void NAME(segment_max)(const gy_kargs *k) {
    const gy_index_attr *a = k->attr;
    int64_t edges = k->in[1].shape.dim[0];
    NAME(work) w = {.j = {.k = k, .x = fold_at(k->out[0].shape, 0), .n = edges}};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    w.b = fill_buckets(k->scratch, k->in[1].data, edges, a->n);
    run_rows(&w.j, a->n, w.j.x.inner, NAME(segment_max_tile));
}

/* ---- compressed sparse rows ---- */

/* y[r, :] = sum over entries e of v[e] dense[source of e, :] */
static void NAME(spmm_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const NAME(work) *w = arg;
    const job *j = &w->j;
    const int64_t *column = j->k->in[1].data;
    const T *v = j->k->in[2].data, *dense = j->k->in[3].data;
    T *y = j->k->out[0].data;
    int64_t lo, hi, d = j->x.inner, sources = j->k->in[3].shape.dim[0];
    gy_tile_range(j->x.axis, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++)
        for (int64_t c0 = 0; c0 < d; c0 += LANES) {
            acc_t sum[LANES] = {0};
            int64_t lanes = d - c0 < LANES ? d - c0 : LANES, first, end;
            if (w->row_of) {
                first = w->b.start[r];
                end = w->b.start[r + 1];
            } else {
                csr_row(j->k, r, &first, &end);
            }
            for (int64_t m = first; m < end; m++) {
                int64_t e = w->row_of ? w->b.member[m] : m, s = w->row_of ? w->row_of[e] : column[e];
                if (s < 0 || s >= sources) continue;
                for (int64_t c = 0; c < lanes; c++) sum[c] += (acc_t)v[e] * dense[s * d + c0 + c];
            }
            for (int64_t c = 0; c < lanes; c++) y[r * d + c0 + c] = (T)sum[c];
        }
}

void NAME(spmm)(const gy_kargs *k);
void NAME(spmm)(const gy_kargs *k) {
    const gy_spmm_attr *a = k->attr;
    NAME(work) w = {.j = {.k = k, .x = fold_at(k->out[0].shape, 0)}};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    if (a->trans) {
        int64_t nnz = k->in[1].shape.dim[0], *row_of = (int64_t *)k->scratch + a->n + 1 + nnz;
        csr_rows(k, row_of);
        w.row_of = row_of;
        w.b = fill_buckets(k->scratch, k->in[1].data, nnz, a->n);
    }
    run_rows(&w.j, a->n, w.j.x.inner, NAME(spmm_tile));
}

static void NAME(sddmm_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const int64_t *column = j->k->in[1].data, *row_of = j->k->scratch;
    const T *a = j->k->in[2].data, *b = j->k->in[3].data;
    T *y = j->k->out[0].data;
    int64_t lo, hi, d = j->x.inner, columns = j->k->in[3].shape.dim[0];
    gy_tile_range(j->n, j->grain, t, &lo, &hi);
    for (int64_t e = lo; e < hi; e++) {
        acc_t sum = 0;
        if (row_of[e] >= 0 && column[e] >= 0 && column[e] < columns)
            for (int64_t c = 0; c < d; c++) sum += (acc_t)a[row_of[e] * d + c] * b[column[e] * d + c];
        y[e] = (T)sum;
    }
}

void NAME(sddmm)(const gy_kargs *k);
void NAME(sddmm)(const gy_kargs *k) {
    job j = {.k = k, .x = fold_at(k->in[2].shape, 0), .n = k->in[1].shape.dim[0]};
    csr_rows(k, k->scratch);
    run_rows(&j, j.n, j.x.inner, NAME(sddmm_tile));
}

#endif
