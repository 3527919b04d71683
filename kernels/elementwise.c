/* The elementwise driver: turns tensors of any shape and stride into spans.
 *
 * Axes that are laid out alike in all operands are merged, so that equal-shaped contiguous operands are one
 * long axis. The innermost axis becomes spans of at most SPAN elements; pieces of about GRAIN elements go to
 * the pool. Kernels written for speed take steps 0 and 1 only: other steps are gathered into a small buffer
 * first. Rows shorter than SHORT are taken several at once: an operand that does not go on from row to row, as a row
 * or a column that is broadcast, is laid out in a buffer for as many rows as fit, once if they are all the same. */
#include "kernel.h"
#include "../core/plan_internal.h" /* the chain's program */

#include <string.h>

enum {
    SPAN = 1024,
    SHORT = 256,
    GRAIN = 16384,
    MAX_IN = GY_CHAIN_INPUTS,
    PAST = 32 << 20 /* bytes that caches will not keep */
};

typedef struct {
    const gy_kargs *k;
    int64_t rank, dim[GY_MAX_RANK], stride[MAX_IN][GY_MAX_RANK];
    int64_t inner, outer;  /* elements of the last axis; product of the others */
    int64_t rows_a_tile;   /* several short rows, or */
    int64_t tiles_a_row;   /* a piece of one long row */
    bool past;             /* the result is larger than the caches and none of the inputs */
    bool gathers;          /* an input's elements are more than a step of 1 apart */
    const gy_chain *chain; /* NULL: one operator, k->span */
} job;

/* Strides of input i over the output's axes (0 where it broadcasts). */
static void aligned_strides(const gy_view *in, gy_shape out, int64_t stride[]) {
    int64_t shift = out.rank - in->shape.rank;
    for (int64_t a = 0; a < out.rank; a++) {
        int64_t b = a - shift;
        stride[a] = b < 0 || in->shape.dim[b] == 1 ? 0 : in->stride[b];
    }
}

static void prepare(job *j, const gy_kargs *k) {
    gy_shape s = k->out[0].shape;
    int64_t stride[MAX_IN][GY_MAX_RANK];
    j->k = k;
    for (int i = 0; i < k->n_in; i++) aligned_strides(&k->in[i], s, stride[i]);
    j->rank = 0;
    for (int64_t a = 0; a < s.rank; a++) {
        if (s.dim[a] == 1) continue;
        bool merge = j->rank > 0;
        for (int i = 0; i < k->n_in && merge; i++) merge = j->stride[i][j->rank - 1] == stride[i][a] * s.dim[a];
        if (merge) {
            j->dim[j->rank - 1] *= s.dim[a];
        } else {
            j->dim[j->rank++] = s.dim[a];
        }
        for (int i = 0; i < k->n_in; i++) j->stride[i][j->rank - 1] = stride[i][a];
    }
    if (j->rank == 0) {
        j->rank = 1;
        j->dim[0] = 1;
        for (int i = 0; i < k->n_in; i++) j->stride[i][0] = 0;
    }
    j->inner = j->dim[j->rank - 1];
    j->outer = 1;
    for (int64_t a = 0; a + 1 < j->rank; a++) j->outer *= j->dim[a];
    j->tiles_a_row = j->inner > GRAIN ? gy_tiles(j->inner, GRAIN) : 1;
    size_t bytes = (size_t)(j->inner * j->outer) * gy_dtype_size(k->out[0].dtype);
    bool in_place = false;
    for (int i = 0; i < k->n_in; i++) {
        in_place = in_place || k->in[i].data == k->out[0].data;
        bytes += (size_t)gy_shape_count(k->in[i].shape) * gy_dtype_size(k->in[i].dtype);
    }
    j->past = bytes > PAST && !in_place;
    for (int i = 0; i < k->n_in; i++) {
        int64_t step = j->stride[i][j->rank - 1];
        j->gathers = j->gathers || (step != 0 && step != 1);
    }
    j->rows_a_tile = j->tiles_a_row > 1 ? 1 : GRAIN / (j->inner > 0 ? j->inner : 1);
    if (j->rows_a_tile < 1) j->rows_a_tile = 1;
}

/* n elements, `step` apart, to a contiguous buffer. */
static void gather(void *dst, const char *src, int64_t step, size_t size, int64_t n) {
    char *d = dst;
    int64_t hop = step * (int64_t)size;
    for (int64_t i = 0; i < n; i++) memcpy(d + i * (int64_t)size, src + i * hop, size);
}

/* One input's n elements from `at` of a row: in place for steps 0 and 1, else through buf. */
typedef struct {
    const void *data;
    int64_t step;
} operand;
static operand operand_at(const job *j, int i, int64_t offset, int64_t at, int64_t n, char *buf) {
    size_t size = gy_dtype_size(j->k->in[i].dtype);
    int64_t step = j->stride[i][j->rank - 1];
    const char *p = (const char *)j->k->in[i].data + (offset + at * step) * (int64_t)size;
    if (step == 0 || step == 1) return (operand){p, step};
    gather(buf, p, step, size, n);
    return (operand){buf, 1};
}

typedef struct {
    const void *from;
    int64_t rows;
} laid_out;

/* dst[r][c] = src[r * down + c * across], of elements of `size` bytes. */
static inline void spread_sized(char *dst, const char *src, int64_t down, int64_t across, int64_t rows, int64_t columns,
                                const size_t size) {
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < columns; c++, dst += size)
            memcpy(dst, src + (r * down + c * across) * (int64_t)size, size);
}
static void spread(char *dst, const char *src, int64_t down, int64_t across, int64_t rows, int64_t columns,
                   size_t size) {
    switch (size) {
    case 1: spread_sized(dst, src, down, across, rows, columns, 1); break;
    case 2: spread_sized(dst, src, down, across, rows, columns, 2); break;
    case 4: spread_sized(dst, src, down, across, rows, columns, 4); break;
    default: spread_sized(dst, src, down, across, rows, columns, 8);
    }
}

/* One input's elements of several rows. */
static operand rows_operand(const job *j, int i, int64_t offset, int64_t rows, char *buf, laid_out *there) {
    size_t size = gy_dtype_size(j->k->in[i].dtype);
    int64_t across = j->stride[i][j->rank - 1], down = j->stride[i][j->rank - 2];
    const char *p = (const char *)j->k->in[i].data + offset * (int64_t)size;
    if (across == 0 && down == 0) return (operand){p, 0};
    if (across == 1 && down == j->inner) return (operand){p, 1};
    if (down != 0 || there->from != p || there->rows < rows) {
        spread(buf, p, down, across, rows, j->inner, size);
        *there = (laid_out){p, rows};
    }
    return (operand){buf, 1};
}

/* The operators of a chain one after another on n elements; intermediate values stay in slots that fit the
 * nearest cache. */
static void run_chain(const job *j, const operand in[], void *out, int64_t n) {
    _Alignas(64) char slot[GY_CHAIN_SLOTS][SPAN * 8];
    gy_dtype slot_dtype[GY_CHAIN_SLOTS] = {GY_DTYPE_DEFAULT};
    for (int64_t i = 0; i < j->chain->n; i++) {
        const gy_chain_op *o = &j->chain->ops[i];
        gy_span s = {.attr = o->attr, .n = n, .out_dtype = o->dtype, .out = o->out < 0 ? out : slot[o->out]};
        s.past = j->past && o->out < 0;
        for (int k = 0; k < o->n_in; k++) {
            int from = o->in[k];
            s.in[k] = from >= 0 ? in[from].data : slot[-1 - from];
            s.step[k] = from >= 0 ? in[from].step : 1;
            s.in_dtype[k] = from >= 0 ? j->k->in[from].dtype : slot_dtype[-1 - from];
        }
        o->span(&s);
        if (o->out >= 0) slot_dtype[o->out] = o->dtype;
    }
}

static void run_span(const job *j, const operand in[], void *out, int64_t n) {
    const gy_kargs *k = j->k;
    if (j->chain) {
        run_chain(j, in, out, n);
        return;
    }
    gy_span s = {.attr = k->attr, .n = n, .out_dtype = k->out[0].dtype, .out = out, .past = j->past};
    for (int i = 0; i < k->n_in; i++) {
        s.in[i] = in[i].data;
        s.step[i] = in[i].step;
        s.in_dtype[i] = k->in[i].dtype;
    }
    k->span(&s);
}

/* Where each input's part of a row begins. */
static void locate(const job *j, int64_t row, int64_t offset[]) {
    for (int i = 0; i < j->k->n_in; i++) offset[i] = 0;
    for (int64_t a = j->rank - 2; a >= 0; a--) {
        int64_t idx = row % j->dim[a];
        row /= j->dim[a];
        for (int i = 0; i < j->k->n_in; i++) offset[i] += idx * j->stride[i][a];
    }
}

static void run_row(const job *j, int64_t row, int64_t lo, int64_t hi, char buf[][SPAN * 8]) {
    const gy_kargs *k = j->k;
    int64_t offset[MAX_IN];
    locate(j, row, offset);
    char *out = (char *)k->out[0].data + (size_t)(row * j->inner) * gy_dtype_size(k->out[0].dtype);
    for (int64_t at = lo; at < hi;) {
        int64_t n = (j->gathers || j->chain) && hi - at > SPAN ? SPAN : hi - at;
        operand in[MAX_IN];
        for (int i = 0; i < k->n_in; i++) in[i] = operand_at(j, i, offset[i], at, n, buf[i]);
        run_span(j, in, out + (size_t)at * gy_dtype_size(k->out[0].dtype), n);
        at += n;
    }
}

/* Rows [lo, hi), shorter than SHORT: as many at once as a span holds and the last but one axis goes on. */
static void run_rows(const job *j, int64_t lo, int64_t hi, char buf[][SPAN * 8]) {
    const gy_kargs *k = j->k;
    laid_out there[MAX_IN] = {{NULL, 0}};
    int64_t axis = j->dim[j->rank - 2], most = SPAN / j->inner, offset[MAX_IN];
    for (int64_t row = lo; row < hi;) {
        int64_t rows = axis - row % axis;
        if (rows > most) rows = most;
        if (rows > hi - row) rows = hi - row;
        locate(j, row, offset);
        operand in[MAX_IN];
        for (int i = 0; i < k->n_in; i++) in[i] = rows_operand(j, i, offset[i], rows, buf[i], &there[i]);
        run_span(j, in, (char *)k->out[0].data + (size_t)(row * j->inner) * gy_dtype_size(k->out[0].dtype),
                 rows * j->inner);
        row += rows;
    }
}

static void tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    _Alignas(64) char buf[MAX_IN][SPAN * 8]; /* here and not a row: touching its pages takes time */
    if (j->tiles_a_row > 1) {
        int64_t lo, hi;
        gy_tile_range(j->inner, GRAIN, t % j->tiles_a_row, &lo, &hi);
        run_row(j, t / j->tiles_a_row, lo, hi, buf);
        return;
    }
    int64_t lo, hi;
    gy_tile_range(j->outer, j->rows_a_tile, t, &lo, &hi);
    if (j->rank > 1 && j->inner < SHORT) {
        run_rows(j, lo, hi, buf);
        return;
    }
    for (int64_t r = lo; r < hi; r++) run_row(j, r, 0, j->inner, buf);
}

static void run(const gy_kargs *k, const gy_chain *chain) {
    job j = {.chain = chain};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    prepare(&j, k);
    int64_t tiles = j.tiles_a_row > 1 ? j.outer * j.tiles_a_row : gy_tiles(j.outer, j.rows_a_tile);
    gy_par(k->pool, tiles, tile, &j);
}

void gy_elementwise_run(const gy_kargs *k) {
    run(k, NULL);
}

void gy_chain_run(const gy_kargs *k) {
    run(k, ((const gy_chain_attr *)k->attr)->chain);
}
