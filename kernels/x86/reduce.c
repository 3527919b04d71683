/* Sum, sum of squares, product, maximum and minimum of f32 over any axes.
 *
 * Axes of size 1 are dropped and neighbours that lie alike are merged. What is left is one of two walks:
 * - rows: the axis with adjacent elements is reduced. Up to BLOCK x 4 vectors of a run are added
 *   into four vectors, whose sum goes to a double.
 * - columns: the axis with adjacent elements is kept. WIDE columns are added into vectors over up to BLOCK lines, whose
 *   sums go to doubles; more columns than that go BAND x WIDE at a time, by sums in the first cache.
 * Products run in doubles from the start, where no product of a few hundred floats overflows early.
 * So a float sum never has more than BLOCK terms a lane, and long sums are as exact as pairwise ones. Work is cut into
 * pieces of about GRAIN elements with bounds from the shape; pieces of one output are combined in order.
 *
 * Bytes: 4 an input element; FLOPs: 1. Bound by memory outside the caches: rows 63 GB/s, columns 50 GB/s (16 MiB,
 * one thread of Zen 4; gyrus bench reduce --threads 1). */
#include "rows.h"
#include "vec.h"

#include "core/ops/reduce.h"

#include <math.h>

enum { GRAIN = 16384, PIECES = 64 /* at most, an output */, BLOCK = 64, WIDE = 8 * VL, BAND = 8 };

typedef enum { SUM, SQUARES, PROD, MAX, MIN } kind;

typedef struct {
    int64_t rank, dim[GY_MAX_RANK], in[GY_MAX_RANK], out[GY_MAX_RANK]; /* strides */
    int64_t count;
} axes;

typedef struct {
    const float *x;
    float *y;
    kind op;
    axes kept, gone; /* without the walk's inner axis */
    bool columns;
    int64_t n, out;  /* the inner axis: its size; columns: its stride in y */
    int64_t outputs; /* kept.count, times the column tiles */
    int64_t lines;   /* runs (rows) or lines (columns) an output */
    int64_t segment; /* rows: elements of a run that are taken at once */
    int64_t group;   /* lines a piece */
    int64_t pieces;  /* an output */
    int64_t batch;   /* (output, piece) pairs a tile */
    double *partial; /* [outputs][pieces][1 or WIDE] */
} job;

static void put(axes *a, int64_t dim, int64_t in, int64_t out) {
    int64_t r = a->rank;
    if (dim == 1) return;
    if (r > 0 && a->in[r - 1] == in * dim && a->out[r - 1] == out * dim) {
        a->dim[r - 1] *= dim;
        a->in[r - 1] = in;
        a->out[r - 1] = out;
        return;
    }
    a->dim[r] = dim;
    a->in[r] = in;
    a->out[r] = out;
    a->rank++;
}
/* Removes the axis whose elements are adjacent; false: there is none. */
static bool take_adjacent(axes *a, int64_t *n, int64_t *out) {
    for (int64_t i = a->rank - 1; i >= 0; i--)
        if (a->in[i] == 1) {
            *n = a->dim[i];
            *out = a->out[i];
            for (; i + 1 < a->rank; i++) {
                a->dim[i] = a->dim[i + 1];
                a->in[i] = a->in[i + 1];
                a->out[i] = a->out[i + 1];
            }
            a->rank--;
            return true;
        }
    return false;
}
static int64_t count_of(const axes *a) {
    int64_t n = 1;
    for (int64_t i = 0; i < a->rank; i++) n *= a->dim[i];
    return n;
}
static int64_t offset(const axes *a, int64_t index, const int64_t stride[]) {
    int64_t o = 0, i = a->rank - 1;
    for (; i > 0; i--) {
        o += index % a->dim[i] * stride[i];
        index /= a->dim[i];
    }
    return i == 0 ? o + index * stride[0] : 0; /* the first axis takes what is left: a division less */
}

/* false: no axis with adjacent elements, or nothing to do. */
static bool prepare(job *j, const gy_kargs *k, kind op) {
    const gy_reduce_attr *attr = k->attr;
    const gy_view *x = &k->in[0];
    bool reduced[GY_MAX_RANK] = {false};
    *j = (job){.x = x->data, .y = k->out[0].data, .op = op};
    if (gy_shape_count(x->shape) == 0) return false;
    for (int64_t i = 0; i < attr->axes.n; i++) reduced[attr->axes.axis[i]] = true;
    int64_t out[GY_MAX_RANK] = {0}, stride = 1;
    for (int64_t i = x->shape.rank - 1; i >= 0; i--)
        if (!reduced[i]) {
            out[i] = stride;
            stride *= x->shape.dim[i];
        }
    for (int64_t i = 0; i < x->shape.rank; i++)
        put(reduced[i] ? &j->gone : &j->kept, x->shape.dim[i], x->stride[i], out[i]);
    if (!take_adjacent(&j->gone, &j->n, &j->out)) {
        j->columns = true;
        if (!take_adjacent(&j->kept, &j->n, &j->out)) return false;
    }
    j->kept.count = count_of(&j->kept);
    j->gone.count = count_of(&j->gone);
    int64_t each; /* elements a line */
    if (j->columns) {
        j->outputs = j->kept.count * gy_tiles(j->n, WIDE);
        j->lines = j->gone.count;
        each = WIDE;
    } else {
        j->segment = j->n < GRAIN ? j->n : GRAIN;
        j->outputs = j->kept.count;
        j->lines = j->gone.count * gy_tiles(j->n, j->segment);
        each = j->segment;
    }
    j->group = GRAIN / each > 0 ? GRAIN / each : 1;
    if (j->group < gy_tiles(j->lines, PIECES)) j->group = gy_tiles(j->lines, PIECES);
    if (j->group > j->lines) j->group = j->lines;
    j->pieces = gy_tiles(j->lines, j->group);
    j->batch = GRAIN / (each * j->group) > 0 ? GRAIN / (each * j->group) : 1;
    return true;
}

static size_t partial_bytes(const job *j) {
    return (size_t)(j->outputs * j->pieces) * (j->columns ? WIDE : 1) * sizeof(double);
}

GY_INLINE double fold(kind op, double a, double b) {
    if (op <= SQUARES) return a + b;
    if (op == PROD) return a * b;
    if (op == MAX) return a >= b || a != a ? a : b; /* a NaN wins */
    return a <= b || a != a ? a : b;
}
GY_INLINE vf v_fold(kind op, vf a, vf x) {
    if (op <= SQUARES) return v_add(a, x);
    return v_sel(v_ne(a, a), a, op == MAX ? v_max(a, x) : v_min(a, x));
}
/* The same for an element of x. */
GY_INLINE double take(kind op, double a, double x) {
    return fold(op, a, op == SQUARES ? x * x : x);
}
GY_INLINE vf v_take(kind op, vf a, vf x) {
    return op == SQUARES ? v_fma(x, x, a) : v_fold(op, a, x);
}
GY_INLINE double start(kind op) {
    return op <= SQUARES ? 0 : op == PROD ? 1 : op == MAX ? -INFINITY : INFINITY;
}

static double multiply_run(const float *p, int64_t n) {
    vd a = w_set(1), b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 2 * VL <= n; i += 2 * VL) {
        vf x = v_load(p + i), y = v_load(p + i + VL);
        a = w_mul(a, w_low(x));
        b = w_mul(b, w_high(x));
        c = w_mul(c, w_low(y));
        d = w_mul(d, w_high(y));
    }
    double lane[VLD], y = 1;
    w_store(lane, w_mul(w_mul(a, b), w_mul(c, d)));
    for (int v = 0; v < VLD; v++) y *= lane[v];
    for (; i < n; i++) y *= (double)p[i];
    return y;
}
GY_INLINE double fold_run(kind op, const float *p, int64_t n) {
    if (op == PROD) return multiply_run(p, n);
    vf s = v_set((float)start(op)), a[4] = {s, s, s, s};
    int64_t i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int v = 0; v < 4; v++) a[v] = v_take(op, a[v], v_load(p + i + v * VL));
    for (; i + VL <= n; i += VL) a[0] = v_take(op, a[0], v_load(p + i));
    double rest = start(op);
    for (; i < n; i++) rest = take(op, rest, (double)p[i]);
    s = v_fold(op, v_fold(op, a[0], a[1]), v_fold(op, a[2], a[3]));
    if (op <= SQUARES) return (double)v_sum(s) + rest;
    float lane[VL];
    v_store(lane, s);
    for (int v = 0; v < VL; v++) rest = fold(op, rest, (double)lane[v]);
    return rest;
}

GY_INLINE void row_piece(kind op, const job *j, int64_t o, int64_t piece) {
    int64_t lo, hi, segments = gy_tiles(j->n, j->segment);
    gy_tile_range(j->lines, j->group, piece, &lo, &hi);
    const float *base = j->x + offset(&j->kept, o, j->kept.in);
    double sum = start(op);
    for (int64_t l = lo; l < hi; l++) {
        int64_t a = 0, b = j->n, line = l;
        if (segments > 1) {
            gy_tile_range(j->n, j->segment, l % segments, &a, &b);
            line = l / segments;
        }
        const float *p = base + offset(&j->gone, line, j->gone.in) + a;
        for (int64_t i = 0; i < b - a; i += 4 * VL * BLOCK)
            sum = fold(op, sum, fold_run(op, p + i, b - a - i < 4 * VL * BLOCK ? b - a - i : 4 * VL * BLOCK));
    }
    j->partial[o * j->pieces + piece] = sum;
}

/* Lines [lo, hi) of nv vectors of columns, the last of them with `tail` lanes. */
GY_INLINE void column_lines(kind op, const int nv, const job *j, const float *base, int64_t lo, int64_t hi,
                            double *out) {
    int64_t step = j->gone.rank == 1 ? j->gone.in[0] : 0;
    for (int i = 0; i < nv * VL; i++) out[i] = start(op);
    if (op == PROD) {
        for (int64_t l = lo; l < hi; l++) {
            const float *p = base + (j->gone.rank == 1 ? l * step : offset(&j->gone, l, j->gone.in));
            for (int v = 0; v < nv; v++) {
                double *o = out + v * VL;
                vf x = v_load(p + v * VL);
                w_store(o, w_mul(w_load(o), w_low(x)));
                w_store(o + VLD, w_mul(w_load(o + VLD), w_high(x)));
            }
        }
        return;
    }
    for (int64_t block = lo; block < hi; block += BLOCK) {
        int64_t end = block + BLOCK < hi ? block + BLOCK : hi;
        vf a[8];
        for (int v = 0; v < nv; v++) a[v] = v_set((float)start(op));
        for (int64_t l = block; l < end; l++) {
            const float *p = base + (j->gone.rank == 1 ? l * step : offset(&j->gone, l, j->gone.in));
            for (int v = 0; v < nv; v++) a[v] = v_take(op, a[v], v_load(p + v * VL));
        }
        float lane[VL];
        for (int v = 0; v < nv; v++) {
            v_store(lane, a[v]);
            for (int i = 0; i < VL; i++) out[v * VL + i] = fold(op, out[v * VL + i], (double)lane[i]);
        }
    }
}
GY_INLINE void column_piece(kind op, const job *j, int64_t o, int64_t piece) {
    int64_t lo, hi, tiles = gy_tiles(j->n, WIDE), c = o % tiles * WIDE;
    gy_tile_range(j->lines, j->group, piece, &lo, &hi);
    int64_t n = j->n - c < WIDE ? j->n - c : WIDE, v = 0;
    const float *base = j->x + offset(&j->kept, o / tiles, j->kept.in) + c;
    double *out = j->partial + (o * j->pieces + piece) * WIDE;
    if (n == WIDE) {
        column_lines(op, 8, j, base, lo, hi, out);
        return;
    }
    for (; v + VL <= n; v += VL) column_lines(op, 1, j, base + v, lo, hi, out + v);
    for (; v < n; v++) {
        out[v] = start(op);
        for (int64_t l = lo; l < hi; l++) out[v] = take(op, out[v], (double)base[v + offset(&j->gone, l, j->gone.in)]);
    }
}

/* Many columns: BAND tiles of them side by side, so that lines are read in long pieces, four at a time, into sums that
 * lie in the first cache. What is added to what is the same as column by column. */
GY_INLINE void band_lines(kind op, const float *p, int64_t step, const int lines, int64_t n, float *sum) {
    for (int64_t i = 0; i < n; i += VL) {
        vf a = v_load(sum + i);
        for (int l = 0; l < lines; l++)
            a = v_take(op, a, n - i >= VL ? v_load(p + l * step + i) : v_loadn(p + l * step + i, n - i));
        v_store(sum + i, a);
    }
}
GY_INLINE void band_piece(kind op, const job *j, int64_t outer, int64_t band, int64_t piece) {
    int64_t lo, hi, tiles = gy_tiles(j->n, WIDE), c = band * BAND * WIDE, step = j->gone.in[0];
    int64_t n = j->n - c < BAND * WIDE ? j->n - c : BAND * WIDE;
    const float *base = j->x + offset(&j->kept, outer, j->kept.in) + c;
    double *out = j->partial + ((outer * tiles + band * BAND) * j->pieces + piece) * WIDE;
    _Alignas(64) float sum[BAND * WIDE];
    gy_tile_range(j->lines, j->group, piece, &lo, &hi);
    for (int64_t block = lo; block < hi; block += BLOCK) {
        int64_t end = block + BLOCK < hi ? block + BLOCK : hi, l = block;
        for (int64_t i = 0; i < n; i += VL) v_store(sum + i, v_set((float)start(op)));
        for (; l + 4 <= end; l += 4) band_lines(op, base + l * step, step, 4, n, sum);
        for (; l < end; l++) band_lines(op, base + l * step, step, 1, n, sum);
        for (int64_t i = 0; i < n; i++) {
            double *o = out + i / WIDE * j->pieces * WIDE + i % WIDE;
            *o = block == lo ? (double)sum[i] : fold(op, *o, (double)sum[i]);
        }
    }
}
static void band_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t bands = gy_tiles(j->n, BAND * WIDE), piece = t % j->pieces, band = t / j->pieces % bands;
    int64_t outer = t / j->pieces / bands;
    switch (j->op) {
    case SUM: band_piece(SUM, j, outer, band, piece); break;
    case SQUARES: band_piece(SQUARES, j, outer, band, piece); break;
    case MAX: band_piece(MAX, j, outer, band, piece); break;
    default: band_piece(MIN, j, outer, band, piece); break;
    }
}

static void tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->outputs * j->pieces, j->batch, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        int64_t o = j->pieces > 1 ? i / j->pieces : i, piece = j->pieces > 1 ? i % j->pieces : 0;
        switch (j->op) {
        case SUM: j->columns ? column_piece(SUM, j, o, piece) : row_piece(SUM, j, o, piece); break;
        case SQUARES: j->columns ? column_piece(SQUARES, j, o, piece) : row_piece(SQUARES, j, o, piece); break;
        case PROD: j->columns ? column_piece(PROD, j, o, piece) : row_piece(PROD, j, o, piece); break;
        case MAX: j->columns ? column_piece(MAX, j, o, piece) : row_piece(MAX, j, o, piece); break;
        case MIN: j->columns ? column_piece(MIN, j, o, piece) : row_piece(MIN, j, o, piece); break;
        }
    }
}

static void combine(const job *j) {
    int64_t tiles = j->columns ? gy_tiles(j->n, WIDE) : 1;
    for (int64_t o = 0; o < j->outputs; o++) {
        int64_t c = o % tiles * WIDE, n = !j->columns ? 1 : j->n - c < WIDE ? j->n - c : WIDE;
        float *y = j->y + offset(&j->kept, o / tiles, j->kept.out) + (j->columns ? c * j->out : 0);
        int64_t wide = j->columns ? WIDE : 1;
        const double *p = j->partial + o * j->pieces * wide;
        for (int64_t i = 0; i < n; i++) {
            double sum = p[i];
            for (int64_t piece = 1; piece < j->pieces; piece++) sum = fold(j->op, sum, p[piece * wide + i]);
            y[i * j->out] = (float)sum;
        }
    }
}

size_t GY_ISAFN(x86_reduce_scratch)(const gy_kargs *k, int threads) {
    (void)threads;
    job j;
    return prepare(&j, k, SUM) ? partial_bytes(&j) : 0;
}

static void reduce(const gy_kargs *k, kind op, gy_kernel_fn otherwise) {
    job j;
    if (!prepare(&j, k, op)) {
        otherwise(k);
        return;
    }
    j.partial = k->scratch;
    if (j.columns && j.n > WIDE && j.gone.rank == 1 && op != PROD)
        gy_par(k->pool, j.kept.count * gy_tiles(j.n, BAND * WIDE) * j.pieces, band_tile, &j);
    else
        gy_par(k->pool, gy_tiles(j.outputs * j.pieces, j.batch), tile, &j);
    combine(&j);
}
void GY_ISAFN(x86_sum_f32)(const gy_kargs *k) {
    reduce(k, SUM, ref_sum_f32);
}
void GY_ISAFN(x86_sum_squares_f32)(const gy_kargs *k) {
    reduce(k, SQUARES, ref_sum_squares_f32);
}
void GY_ISAFN(x86_prod_f32)(const gy_kargs *k) {
    reduce(k, PROD, ref_prod_f32);
}
void GY_ISAFN(x86_max_f32)(const gy_kargs *k) {
    reduce(k, MAX, ref_max_f32);
}
void GY_ISAFN(x86_min_f32)(const gy_kargs *k) {
    reduce(k, MIN, ref_min_f32);
}
