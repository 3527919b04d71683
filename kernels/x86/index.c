/* Rows added by index: scatter_add (the gradient of an embedding, sums over segments of edges), the largest of each
 * segment, and the product of a sparse matrix in compressed rows with a dense one.
 *
 * As in the reference: sources are first sorted by target, so that every output row is the work of one tile and adds
 * its sources in order, in doubles, for any number of threads; the bits are the reference's. WIDE features at a time
 * stay in registers while the sources of a row pass. (Gathers are copies of rows already, of any type: the reference
 * is all there is to them.)
 *
 * Bytes: 4 a source element, 4 an output element. Measured on one thread of Zen 4, AVX-512 (gyrus bench index
 * --threads 1): sums of segments, 20000 rows of 64 into 400, 40 GB/s; the largest of each 22; a sparse matrix of 80000
 * entries times rows of 64 44 GB/s, transposed 28. */
#include "../index.h"
#include "lines.h"
#include "rows.h"

#include "core/ops/index.h"

enum { GRAIN = 16384, NV = 4, WIDE = NV * VL };

typedef struct {
    const gy_kargs *k;
    fold y;
    int64_t n, grain; /* sources */
    buckets b;
    const int64_t *row_of; /* spmm transposed: the row of each entry; else NULL */
} job;

static void run(job *j, int64_t rows, gy_tile_fn fn) {
    j->grain = j->y.inner < GRAIN ? GRAIN / j->y.inner : 1;
    gy_par(j->k->pool, gy_tiles(rows, j->grain), fn, j);
}

typedef struct {
    vd low[NV], high[NV];
} sums;

/* The product of two floats is exact in a double, so that the reference's product and sum are one operation. */
GY_INLINE void add_row(sums *s, double scale, const float *x, int64_t live) {
    vd w = w_set(scale);
    if (live >= WIDE) {
#pragma GCC unroll 4
        for (int v = 0; v < NV; v++) {
            s->low[v] = w_fma(w, w_widen(x + v * VL), s->low[v]);
            s->high[v] = w_fma(w, w_widen(x + v * VL + VLD), s->high[v]);
        }
        return;
    }
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++)
        if (v * VL < live) {
            vf e = line_load(x + v * VL, live - v * VL);
            s->low[v] = w_fma(w, w_low(e), s->low[v]);
            s->high[v] = w_fma(w, w_high(e), s->high[v]);
        }
}
GY_INLINE void sums_clear(sums *s) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++) s->low[v] = s->high[v] = w_set(0);
}
GY_INLINE void sums_store(const sums *s, float *y, int64_t live) {
#pragma GCC unroll 4
    for (int v = 0; v < NV; v++)
        if (v * VL < live) line_store(y + v * VL, w_narrow(s->low[v], s->high[v]), live - v * VL);
}

static void scatter_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const float *u = j->k->in[0].data;
    float *y = j->k->out[0].data;
    int64_t lo, hi, inner = j->y.inner;
    gy_tile_range(j->y.outer * j->y.axis, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        int64_t o = r / j->y.axis, target = r % j->y.axis;
        for (int64_t c = 0; c < inner; c += WIDE) {
            sums s;
            sums_clear(&s);
            for (int64_t m = j->b.start[target]; m < j->b.start[target + 1]; m++)
                add_row(&s, 1, u + (o * j->n + j->b.member[m]) * inner + c, inner - c);
            sums_store(&s, y + r * inner + c, inner - c);
        }
    }
}
size_t GY_ISAFN(x86_scatter_add_scratch)(const gy_kargs *k, int threads) {
    (void)threads;
    const gy_index_attr *a = k->attr;
    return bucket_bytes(a->n, gy_shape_count(k->in[1].shape));
}
void GY_ISAFN(x86_scatter_add)(const gy_kargs *k) {
    const gy_index_attr *a = k->attr;
    job j = {.k = k, .y = fold_at(k->out[0].shape, a->axis), .n = gy_shape_count(k->in[1].shape)};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    j.b = fill_buckets(k->scratch, k->in[1].data, j.n, a->n);
    run(&j, j.y.outer * a->n, scatter_tile);
}

/* nv vectors of columns from c on, `live` elements of them. As the reference has it: the first source, then each that
 * is larger, or the first NaN. */
GY_INLINE void max_columns(const int nv, const job *j, int64_t r, int64_t c, int64_t live, float *y, int64_t *where) {
    const float *x = (const float *)j->k->in[0].data + c;
    const int64_t *m = j->b.member + j->b.start[r], *end = j->b.member + j->b.start[r + 1];
    int64_t inner = j->y.inner;
    int32_t lane[VL];
    vf top[NV], one = v_set(1.0f), zero = v_zero();
    vi best[NV];
    for (int v = 0; v < nv; v++) {
        top[v] = m < end ? line_load(x + *m * inner + v * VL, live - v * VL) : zero;
        best[v] = vi_set(m < end ? (int32_t)*m : -1);
    }
    for (m++; m < end; m++)
        for (int v = 0; v < nv; v++) {
            vf e = line_load(x + *m * inner + v * VL, live - v * VL);
            vf first_nan = v_sel(v_ne(e, e), v_sel(v_eq(top[v], top[v]), one, zero), zero);
            vm take = v_ne(v_sel(v_lt(top[v], e), one, first_nan), zero);
            top[v] = v_sel(take, e, top[v]);
            best[v] = v_bits(v_sel(take, v_float(vi_set((int32_t)*m)), v_float(best[v])));
        }
    for (int v = 0; v < nv; v++) {
        line_store(y + c + v * VL, top[v], live - v * VL);
        vi_store(lane, best[v]);
        for (int64_t i = 0; i < VL && v * VL + i < live; i++) where[c + v * VL + i] = lane[i];
    }
}
static void max_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, inner = j->y.inner;
    gy_tile_range(j->y.axis, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        float *y = (float *)j->k->out[0].data + r * inner;
        int64_t *where = (int64_t *)j->k->out[1].data + r * inner, c = 0;
        for (; c + WIDE <= inner; c += WIDE) max_columns(NV, j, r, c, WIDE, y, where);
        for (; c < inner; c += VL) max_columns(1, j, r, c, inner - c, y, where);
    }
}
bool GY_ISAFN(x86_segment_max_supports)(const gy_kargs *k) { /* sources are counted in 32-bit lanes */
    return k->in[1].shape.dim[0] <= INT32_MAX;
}
void GY_ISAFN(x86_segment_max)(const gy_kargs *k) {
    const gy_index_attr *a = k->attr;
    job j = {.k = k, .y = fold_at(k->out[0].shape, 0), .n = k->in[1].shape.dim[0]};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    j.b = fill_buckets(k->scratch, k->in[1].data, j.n, a->n);
    run(&j, a->n, max_tile);
}

static void spmm_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const int64_t *column = j->k->in[1].data;
    const float *v = j->k->in[2].data, *dense = j->k->in[3].data;
    float *y = j->k->out[0].data;
    int64_t lo, hi, d = j->y.inner, sources = j->k->in[3].shape.dim[0];
    gy_tile_range(j->y.axis, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        int64_t first, end;
        if (j->row_of) {
            first = j->b.start[r];
            end = j->b.start[r + 1];
        } else {
            csr_row(j->k, r, &first, &end);
        }
        for (int64_t c = 0; c < d; c += WIDE) {
            sums s;
            sums_clear(&s);
            for (int64_t m = first; m < end; m++) {
                int64_t e = j->row_of ? j->b.member[m] : m, from = j->row_of ? j->row_of[e] : column[e];
                if (from >= 0 && from < sources) add_row(&s, (double)v[e], dense + from * d + c, d - c);
            }
            sums_store(&s, y + r * d + c, d - c);
        }
    }
}
size_t GY_ISAFN(x86_spmm_scratch)(const gy_kargs *k, int threads) {
    (void)threads;
    const gy_spmm_attr *a = k->attr;
    int64_t nnz = k->in[1].shape.dim[0];
    return a->trans ? bucket_bytes(a->n, nnz) + sizeof(int64_t) * (size_t)nnz : 0;
}
void GY_ISAFN(x86_spmm)(const gy_kargs *k) {
    const gy_spmm_attr *a = k->attr;
    job j = {.k = k, .y = fold_at(k->out[0].shape, 0)};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    if (a->trans) {
        int64_t nnz = k->in[1].shape.dim[0], *row_of = (int64_t *)k->scratch + a->n + 1 + nnz;
        csr_rows(k, row_of);
        j.row_of = row_of;
        j.b = fill_buckets(k->scratch, k->in[1].data, nnz, a->n);
    }
    run(&j, a->n, spmm_tile);
}
