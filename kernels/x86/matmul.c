/* The operator matmul: which way a product goes. Weights that do not change are packed once where the driver would pack
 * them at each run and they serve at most PACK_ROWS rows: above, packing is a small part of the work (9 % at 77 rows,
 * 5 % at 197) and the copies are not worth their memory (785 MB for the U-Net of Stable Diffusion 1.5, whose time they
 * do not change measurably).
 *
 * - dots: at most 4 rows (16 columns) on one side and depth adjacent in memory on the other (a vector times a layer's
 *   weights, a layer with few outputs). Each line of the long side is read once, straight from where it is, and
 * multiplied with all of the short side. Bound by memory up to 4 lines.
 * - sums: at most 4 lines on one side and lines adjacent in memory on the other (a vector times a plain matrix). The
 *   long side is read once, in its own order, weighted and added up: a tile is a run of depths, whole lines of up to
 *   SPAN columns, so that memory sees one stream; the tiles' sums are then added in order. Bound by memory.
 * - serial: many small products. Each is done by one thread, with panels that stay in its cache.
 * - driver: the rest (gemm.c).
 *
 * With precision bf16 (on machines without instructions for it) few rows go to rounded_rows.c, others through panels
 * alone, whose packers round.
 * The choice depends on shapes and strides alone, so bits are equal for any number of threads.
 *
 * Measured, one thread of Zen 4, AVX-512 (gyrus bench matmul --threads 1): a vector times 2048 x 2048 weights 53-61
 * GB/s of the third level's 85; 16 rows times 3072 x 768 weights .67 of peak, packed once .96. */
#define GY_TYPED_FILE "matmul.c"
#include "gemm.h"
#include "rows.h"
#include "types.h"

#ifndef GY_MATMUL_ONCE
#define GY_MATMUL_ONCE

enum {
    FEW = 16,                   /* most columns for dots */
    FEWER = 4,                  /* most rows for dots, and for sums */
    PACK_ROWS = 48,             /* most rows for which weights are packed once */
    SPAN = 4096,                /* most columns of a tile of sums, whose sums stay in the first cache */
    PIECE = 65536,              /* elements of a tile of sums, about: 256 KiB */
    STREAM = GY_MR == 6 ? 2 : 4 /* lines of the long side that share a pass */
};

typedef struct {
    int64_t batch, m, n, k;
    int64_t a_row, a_depth, b_depth, b_col;
    int64_t batch_rank;
    gy_shape batch_shape;
    int64_t a_batch[GY_MAX_RANK], b_batch[GY_MAX_RANK];
    /* ROWS: few rows of A; COLS: few columns of B */
    enum { DRIVER, SERIAL, ROUNDED_ROWS, DOTS_ROWS, DOTS_COLS, SUMS_ROWS, SUMS_COL } way;
    bool item_rows, item_cols; /* SERIAL: products of the batch are dots */
    int64_t group;             /* products (SERIAL) or lines (DOTS) a tile */
    bool rounded;              /* factors are rounded to bf16 */
} problem;

static bool few(int64_t lines, int64_t depth) { /* beyond 8, only where adding up vectors costs little */
    return lines <= (depth >= 128 ? FEW : FEW / 2);
}
/* Depths of a piece of sums: about PIECE elements, in at most 8 pieces, whose sums are then no more than an eighth
 * of what is read. */
static int64_t sum_depths(int64_t k, int64_t lines) {
    int64_t span = lines < SPAN ? lines : SPAN, d = PIECE / span > 16 ? PIECE / span : 16;
    return d > (k + 7) / 8 ? d : (k + 7) / 8;
}
static int64_t at_least_1(double x) {
    return x < 1 ? 1 : x > 1e9 ? (int64_t)1e9 : (int64_t)x;
}

static problem problem_of(const gy_kargs *k) {
    const gy_matmul_attr *at = k->attr;
    const gy_view *a = &k->in[0], *b = &k->in[1], *y = &k->out[0];
    int64_t ra = a->shape.rank, rb = b->shape.rank;
    problem p = {.batch_shape = y->shape, .batch_rank = y->shape.rank - 2};
    p.batch_shape.rank -= 2;
    p.batch = gy_shape_count(p.batch_shape);
    p.m = y->shape.dim[p.batch_rank];
    p.n = y->shape.dim[p.batch_rank + 1];
    p.k = a->shape.dim[ra - (at->trans_a ? 2 : 1)];
    p.a_row = a->stride[ra - (at->trans_a ? 1 : 2)];
    p.a_depth = a->stride[ra - (at->trans_a ? 2 : 1)];
    p.b_depth = b->stride[rb - (at->trans_b ? 1 : 2)];
    p.b_col = b->stride[rb - (at->trans_b ? 2 : 1)];
    for (int64_t i = 0; i < p.batch_rank; i++) {
        int64_t ia = i - (p.batch_rank - (ra - 2)), ib = i - (p.batch_rank - (rb - 2));
        p.a_batch[i] = ia < 0 || a->shape.dim[ia] == 1 ? 0 : a->stride[ia];
        p.b_batch[i] = ib < 0 || b->shape.dim[ib] == 1 ? 0 : b->stride[ib];
    }
    double work = (double)p.m * (double)p.n * (double)p.k;
    p.rounded = k->precision == GY_BF16 && a->dtype == GY_F32;
    bool rows = !p.rounded && p.m <= FEWER && p.b_depth == 1;
    bool cols = !p.rounded && !rows && few(p.n, p.k) && p.a_depth == 1;
    if (p.batch > 1 && (work <= 2e6 || (p.batch >= 32 && work <= 5e8))) {
        p.way = SERIAL;
        p.item_rows = rows;
        p.item_cols = cols;
        p.group = at_least_1(1e6 / (work + 1000));
    } else if (p.rounded) {
        p.way = p.batch == 1 && p.m <= GY_ROUNDED_ROWS ? ROUNDED_ROWS : DRIVER;
    } else if (rows && (p.n >= 64 || p.k <= 4096)) {
        p.way = DOTS_ROWS;
    } else if (cols && (p.m >= 64 || p.k <= 4096)) {
        p.way = DOTS_COLS;
    } else if (p.m <= FEWER && p.b_col == 1 && p.n >= 512) {
        p.way = SUMS_ROWS;
    } else if (p.n == 1 && p.a_row == 1 && p.m >= 512) {
        p.way = SUMS_COL;
    }
    if (p.way == DOTS_ROWS || p.way == DOTS_COLS)
        p.group = at_least_1(250000.0 / (double)(p.k * (p.way == DOTS_ROWS ? p.m : p.n) + 1)) * STREAM;
    return p;
}
#endif

#ifdef T

#define GEMM TYPE(gy_gemm)

/* ---- dots ---- */

typedef struct {
    const GEMM *g;
    bool rows;                   /* the few lines are rows of A */
    const T *many, *few;         /* depth adjacent */
    int64_t many_line, few_line; /* strides */
    int64_t many_out, few_out;   /* strides of C */
    int64_t n_many, n_few, k, group;
} NAME(dots);

/* nm x nf products of lines of length k. */
GY_INLINE void NAME(dot_block)(const int nm, const int nf, const NAME(dots) * d, const T *x, const T *f, T *c) {
    V acc[STREAM][4];
    for (int i = 0; i < nm; i++)
        for (int j = 0; j < nf; j++) acc[i][j] = OP(zero)();
    int64_t p = 0;
    for (; p + LANES <= d->k; p += LANES) {
        V xv[STREAM];
        for (int i = 0; i < nm; i++) xv[i] = OP(load)(x + i * d->many_line + p);
        for (int j = 0; j < nf; j++) {
            V fv = OP(load)(f + j * d->few_line + p);
            for (int i = 0; i < nm; i++) acc[i][j] = OP(fma)(xv[i], fv, acc[i][j]);
        }
    }
    if (p < d->k)
        for (int j = 0; j < nf; j++) {
            V fv = OP(loadn)(f + j * d->few_line + p, d->k - p);
            for (int i = 0; i < nm; i++)
                acc[i][j] = OP(fma)(OP(loadn)(x + i * d->many_line + p, d->k - p), fv, acc[i][j]);
        }
    for (int i = 0; i < nm; i++)
        for (int j = 0; j < nf; j++) c[i * d->many_out + j * d->few_out] = OP(sum)(acc[i][j]);
}
GY_INLINE void NAME(dot_lines)(const int nm, const NAME(dots) * d, const T *x, T *c) {
    int64_t j = 0;
    for (; j + 4 <= d->n_few; j += 4) NAME(dot_block)(nm, 4, d, x, d->few + j * d->few_line, c + j * d->few_out);
    const T *f = d->few + j * d->few_line;
    c += j * d->few_out;
    switch (d->n_few - j) {
    case 3: NAME(dot_block)(nm, 3, d, x, f, c); break;
    case 2: NAME(dot_block)(nm, 2, d, x, f, c); break;
    case 1: NAME(dot_block)(nm, 1, d, x, f, c); break;
    default: break;
    }
}
/* One line times one: memory sees a single stream, which it serves faster than several. */
GY_INLINE T NAME(dot_line)(const T *x, const T *f, int64_t k) {
    V acc[4];
    for (int v = 0; v < 4; v++) acc[v] = OP(zero)();
    int64_t p = 0;
    for (; p + 4 * LANES <= k; p += 4 * LANES)
        for (int v = 0; v < 4; v++) acc[v] = OP(fma)(OP(load)(x + p + v * LANES), OP(load)(f + p + v * LANES), acc[v]);
    for (; p < k; p += LANES) {
        int64_t m = k - p < LANES ? k - p : LANES;
        acc[0] = OP(fma)(OP(loadn)(x + p, m), OP(loadn)(f + p, m), acc[0]);
    }
    return OP(sum)(OP(add)(OP(add)(acc[0], acc[1]), OP(add)(acc[2], acc[3])));
}
static void NAME(dot_range)(const NAME(dots) * d, int64_t lo, int64_t hi) {
    int64_t i = lo;
    T *c = d->g->c;
    if (d->n_few == 1)
        for (; i < hi; i++) c[i * d->many_out] = NAME(dot_line)(d->many + i * d->many_line, d->few, d->k);
    for (; i + STREAM <= hi; i += STREAM) NAME(dot_lines)(STREAM, d, d->many + i * d->many_line, c + i * d->many_out);
    for (; i < hi; i++) NAME(dot_lines)(1, d, d->many + i * d->many_line, c + i * d->many_out);
    if (d->rows)
        NAME(gy_gemm_finish)(d->g, 0, d->n_few, lo, hi);
    else
        NAME(gy_gemm_finish)(d->g, lo, hi, 0, d->n_few);
}
static void NAME(dot_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const NAME(dots) *d = arg;
    int64_t lo, hi;
    gy_tile_range(d->n_many, d->group, t, &lo, &hi);
    NAME(dot_range)(d, lo, hi);
}
/* The few lines are copied to `room` (n_few x k) unless their depth is adjacent already. */
static NAME(dots) NAME(dots_of)(const GEMM *g, bool rows, int64_t group, T *room) {
    const gy_strided *a = g->a, *b = g->b, *few = rows ? a : b, *many = rows ? b : a;
    NAME(dots)
    d = {.g = g,
         .rows = rows,
         .k = g->k,
         .group = group,
         .many = many->data,
         .many_line = many->line,
         .few = few->data,
         .few_line = few->line,
         .many_out = rows ? 1 : g->ldc,
         .few_out = rows ? g->ldc : 1,
         .n_many = rows ? g->n : g->m,
         .n_few = rows ? g->m : g->n};
    if (few->depth == 1) return d;
    for (int64_t j = 0; j < d.n_few; j++)
        for (int64_t p = 0; p < d.k; p++) room[j * d.k + p] = d.few[j * few->line + p * few->depth];
    d.few = room;
    d.few_line = d.k;
    return d;
}

/* ---- sums ---- */

typedef struct {
    const GEMM *g;
    const T *many, *few; /* lines adjacent in `many`, its depths `ld` apart */
    int64_t ld, few_line, few_depth, n_many, n_few, k, few_out;
    int64_t spans, span; /* runs of columns, and their length */
    int64_t depths;      /* of a piece */
    int64_t pieces;      /* of a run; the first sums in C, the others in `partial` [pieces - 1][n_few][n_many] */
    T *partial;
    bool rows;
} NAME(sums);

/* c[0..n) of each of nf rows += one depth, p. */
GY_INLINE void NAME(sum_depth)(const int nf, const NAME(sums) * d, const T *x, int64_t p, int64_t n, T *c,
                               int64_t ldc) {
    const T *f = d->few + p * d->few_depth;
    V w[FEWER];
    for (int i = 0; i < nf; i++) w[i] = OP(set)(f[i * d->few_line]);
    int64_t j = 0;
    for (; j + 4 * LANES <= n; j += 4 * LANES)
        for (int v = 0; v < 4; v++) {
            V b = OP(load)(x + j + v * LANES);
            for (int i = 0; i < nf; i++) {
                T *y = c + i * ldc + j + v * LANES;
                OP(store)(y, OP(fma)(w[i], b, OP(load)(y)));
            }
        }
    for (; j < n; j += LANES) {
        int64_t m = n - j < LANES ? n - j : LANES;
        V b = OP(loadn)(x + j, m);
        for (int i = 0; i < nf; i++) {
            T *y = c + i * ldc + j;
            OP(storen)(y, OP(fma)(w[i], b, OP(loadn)(y, m)), m);
        }
    }
}
GY_INLINE void NAME(sum_range)(const int nf, const NAME(sums) * d, int64_t from, int64_t to, int64_t lo, int64_t n,
                               T *c, int64_t ldc) {
    for (int i = 0; i < nf; i++) memset(c + i * ldc, 0, (size_t)n * sizeof(T));
    for (int64_t p = from; p < to; p++) NAME(sum_depth)(nf, d, d->many + lo + p * d->ld, p, n, c, ldc);
}
static void NAME(sum_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const NAME(sums) *d = arg;
    int64_t lo, hi, from, to, piece = t / d->spans;
    gy_tile_range(d->n_many, d->span, t % d->spans, &lo, &hi);
    gy_tile_range(d->k, d->depths, piece, &from, &to);
    T *c = piece ? d->partial + (piece - 1) * d->n_few * d->n_many + lo : d->g->c + lo;
    int64_t ldc = piece ? d->n_many : d->few_out, n = hi - lo;
    switch (d->n_few) {
    case 1: NAME(sum_range)(1, d, from, to, lo, n, c, ldc); break;
    case 2: NAME(sum_range)(2, d, from, to, lo, n, c, ldc); break;
    case 3: NAME(sum_range)(3, d, from, to, lo, n, c, ldc); break;
    default: NAME(sum_range)(4, d, from, to, lo, n, c, ldc); break;
    }
}
/* Adds the pieces' sums up, in order. */
static void NAME(sum_pieces)(const NAME(sums) * d) {
    for (int64_t piece = 1; piece < d->pieces; piece++)
        for (int64_t i = 0; i < d->n_few; i++) {
            const T *x = d->partial + ((piece - 1) * d->n_few + i) * d->n_many;
            T *c = d->g->c + i * d->few_out;
            for (int64_t j = 0; j < d->n_many; j += LANES) {
                int64_t m = d->n_many - j < LANES ? d->n_many - j : LANES;
                OP(storen)(c + j, OP(add)(OP(loadn)(c + j, m), OP(loadn)(x + j, m)), m);
            }
        }
    if (d->rows)
        NAME(gy_gemm_finish)(d->g, 0, d->n_few, 0, d->n_many);
    else
        NAME(gy_gemm_finish)(d->g, 0, d->n_many, 0, 1);
}
static NAME(sums) NAME(sums_of)(const GEMM *g, bool rows, void *partial) {
    const gy_strided *a = g->a, *b = g->b, *few = rows ? a : b, *many = rows ? b : a;
    NAME(sums)
    d = {.g = g,
         .many = many->data,
         .ld = many->depth,
         .few = few->data,
         .few_line = few->line,
         .few_depth = few->depth,
         .n_many = rows ? g->n : g->m,
         .n_few = rows ? g->m : 1,
         .k = g->k,
         .few_out = g->ldc,
         .partial = partial,
         .rows = rows};
    d.span = d.n_many < SPAN ? d.n_many : SPAN;
    d.spans = gy_tiles(d.n_many, d.span);
    d.depths = sum_depths(d.k, d.n_many);
    d.pieces = d.k > 0 ? gy_tiles(d.k, d.depths) : 1;
    return d;
}

/* ---- the operator ---- */

/* Sets up product number `item` of the batch. */
static void NAME(item)(const gy_kargs *k, const problem *p, int64_t item, GEMM *g, gy_strided *a, gy_strided *b) {
    const gy_matmul_attr *at = k->attr;
    const gy_view *bias = k->n_in > 2 && k->in[2].data ? &k->in[2] : NULL;
    const gy_view *residual = k->n_in > 3 && k->in[3].data ? &k->in[3] : NULL;
    const int64_t size = sizeof(T);
    int64_t oa = 0, ob = 0, ores = 0, rest = item;
    for (int64_t i = p->batch_rank - 1; i >= 0; i--) {
        int64_t idx = rest % p->batch_shape.dim[i];
        rest /= p->batch_shape.dim[i];
        oa += idx * p->a_batch[i];
        ob += idx * p->b_batch[i];
        if (residual) ores += idx * residual->stride[i];
    }
    *a = (gy_strided){(const T *)k->in[0].data + oa, p->a_row, p->a_depth};
    *b = (gy_strided){(const T *)k->in[1].data + ob, p->b_col, p->b_depth};
    *g = (GEMM){.m = p->m,
                .n = p->n,
                .k = p->k,
                .pack_a = NAME(gy_pack_strided),
                .pack_b = NAME(gy_pack_strided),
                .a = a,
                .b = b,
                .a_raw = {a->data, p->a_row * size, p->a_depth * size, 1},
                .b_raw = {b->data, p->b_col * size, p->b_depth * size, 1},
                .a_rows = p->a_depth == 1 ? a->data : NULL,
                .a_ld = p->a_row,
                .b_rows = p->b_col == 1 ? b->data : NULL,
                .b_ld = p->b_depth,
                .c = (T *)k->out[0].data + item * p->m * p->n,
                .ldc = p->n,
                .alpha = at->alpha == 0 ? (T)1 : (T)at->alpha,
                .act = at->act};
#ifdef T_IS_F32
    if (p->rounded) {
        g->pack_a = g->pack_b = NAME(gy_pack_rounded);
        g->a_rows = g->b_rows = NULL;
    }
#endif
    if (bias) {
        g->bias = bias->data;
        g->bias_step = bias->stride[0];
    }
    g->b_packed = p->way == DRIVER ? k->packed[1] : NULL;
    if (residual) {
        g->residual = (const T *)residual->data + ores;
        g->residual_row = residual->stride[p->batch_rank];
        g->residual_col = residual->stride[p->batch_rank + 1];
    }
}

static size_t NAME(item_scratch)(const problem *p) {
    size_t room = p->item_rows || p->item_cols ? ((size_t)(FEW * p->k) * sizeof(T) + 63) & ~(size_t)63
                                               : NAME(gy_gemm_serial_scratch)(p->m, p->n, p->k);
    return room;
}

size_t NAME(x86_matmul_scratch)(const gy_kargs *k, int threads) {
    problem p = problem_of(k);
    switch (p.way) {
    case SERIAL: return NAME(item_scratch)(&p) * (size_t)threads;
    case DOTS_ROWS:
    case DOTS_COLS: return (size_t)(FEW * p.k) * sizeof(T);
    case SUMS_ROWS:
    case SUMS_COL: {
        int64_t lines = p.way == SUMS_ROWS ? p.n : p.m, rows = p.way == SUMS_ROWS ? p.m : 1;
        int64_t pieces = p.k > 0 ? gy_tiles(p.k, sum_depths(p.k, lines)) : 1;
        return (size_t)((pieces - 1) * rows * lines) * sizeof(T);
    }
#ifdef T_IS_F32
    case ROUNDED_ROWS: return GY_ISAFN(gy_rounded_rows_scratch)(p.m, p.n, p.k, k->packed[1], threads);
#endif
    default: break;
    }
    return NAME(gy_gemm_scratch)(p.m, p.n, p.k, p.b_col == 1 && !p.rounded, k->packed[1], threads);
}

static size_t NAME(packed_bytes)(const gy_kargs *k, int i) {
    problem p = problem_of(k);
    bool worth = i == 1 && p.batch == 1 && p.m > 0 && p.m <= PACK_ROWS;
#ifdef T_IS_F32
    if (worth && p.way == ROUNDED_ROWS) return GY_ISAFN(gy_rounded_rows_packed)(p.n, p.k);
#endif
    return worth && p.way == DRIVER ? NAME(gy_gemm_packed)(p.n, p.k) : 0;
}
static void NAME(pack_weights)(const gy_kargs *k, int i, void *dst) {
    (void)i;
    problem p = problem_of(k);
    GEMM g;
    gy_strided a, b;
    NAME(item)(k, &p, 0, &g, &a, &b);
#ifdef T_IS_F32
    if (p.way == ROUNDED_ROWS) {
        GY_ISAFN(gy_rounded_rows_prepack)(&g, dst, k->pool);
        return;
    }
#endif
    NAME(gy_gemm_prepack)(&g, dst, k->pool);
}
const gy_prepack NAME(x86_matmul_prepack) = {NAME(packed_bytes), NAME(pack_weights)};

typedef struct {
    const gy_kargs *k;
    const problem *p;
    size_t room;
} NAME(batch);

static void NAME(batch_tile)(void *arg, int64_t t, int worker) {
    const NAME(batch) *q = arg;
    void *room = (char *)q->k->scratch + (size_t)worker * q->room;
    int64_t lo, hi;
    gy_tile_range(q->p->batch, q->p->group, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        GEMM g;
        gy_strided a, b;
        NAME(item)(q->k, q->p, i, &g, &a, &b);
        if (q->p->item_rows || q->p->item_cols) {
            NAME(dots) d = NAME(dots_of)(&g, q->p->item_rows, 1, room);
            NAME(dot_range)(&d, 0, d.n_many);
        } else {
            NAME(gy_gemm_serial)(&g, room);
        }
    }
}

void NAME(x86_matmul)(const gy_kargs *k) {
    problem p = problem_of(k);
    if (p.batch == 0 || p.m == 0 || p.n == 0) return;
    if (p.way == SERIAL) {
        NAME(batch) q = {k, &p, NAME(item_scratch)(&p)};
        gy_par(k->pool, gy_tiles(p.batch, p.group), NAME(batch_tile), &q);
        return;
    }
    for (int64_t i = 0; i < p.batch; i++) {
        GEMM g;
        gy_strided a, b;
        NAME(item)(k, &p, i, &g, &a, &b);
        if (p.way == ROUNDED_ROWS) {
#ifdef T_IS_F32
            GY_ISAFN(gy_rounded_rows)(&g, k->packed[1], k->scratch, k->pool);
#endif
        } else if (p.way == DRIVER) {
            NAME(gy_gemm)(&g, k->scratch, k->pool);
        } else if (p.way == SUMS_ROWS || p.way == SUMS_COL) {
            NAME(sums) d = NAME(sums_of)(&g, p.way == SUMS_ROWS, k->scratch);
            gy_par(k->pool, d.spans * d.pieces, NAME(sum_tile), &d);
            NAME(sum_pieces)(&d);
        } else {
            NAME(dots) d = NAME(dots_of)(&g, p.way == DOTS_ROWS, p.group, k->scratch);
            gy_par(k->pool, gy_tiles(d.n_many, d.group), NAME(dot_tile), &d);
        }
    }
}
#undef GEMM
#endif
