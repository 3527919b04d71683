/* The elementwise driver: turns tensors of any shape and stride into spans.
 *
 * Axes that are laid out alike in all operands are merged, so that equal-shaped contiguous operands are one
 * long axis. The innermost axis becomes spans of at most SPAN elements; pieces of about GRAIN elements go to
 * the pool. Kernels written for speed take steps 0 and 1 only: other steps are gathered into a small buffer
 * first. */
#include "kernel.h"
#include "../core/plan_internal.h" /* the chain's program */

#include <string.h>

enum { SPAN = 1024, GRAIN = 16384, MAX_IN = GY_CHAIN_INPUTS, PAST = 32 << 20 /* bytes that caches will not keep */ };

typedef struct {
    const gy_kargs *k;
    int64_t rank, dim[GY_MAX_RANK], stride[MAX_IN][GY_MAX_RANK];
    int64_t inner, outer;  /* elements of the last axis; product of the others */
    int64_t rows_a_tile;   /* several short rows, or */
    int64_t tiles_a_row;   /* a piece of one long row */
    bool past;             /* the result is larger than the caches and none of the inputs */
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

static void run_row(const job *j, int64_t row, int64_t lo, int64_t hi) {
    const gy_kargs *k = j->k;
    _Alignas(64) char buf[MAX_IN][SPAN * 8];
    int64_t last = j->rank - 1, offset[MAX_IN] = {0}, rest = row;
    for (int64_t a = last - 1; a >= 0; a--) {
        int64_t idx = rest % j->dim[a];
        rest /= j->dim[a];
        for (int i = 0; i < k->n_in; i++) offset[i] += idx * j->stride[i][a];
    }
    size_t out_size = gy_dtype_size(k->out[0].dtype);
    bool gathers = false;
    for (int i = 0; i < k->n_in; i++) gathers = gathers || (j->stride[i][last] != 0 && j->stride[i][last] != 1);
    for (int64_t at = lo; at < hi;) {
        int64_t n = (gathers || j->chain) && hi - at > SPAN ? SPAN : hi - at;
        void *out = (char *)k->out[0].data + (size_t)(row * j->inner + at) * out_size;
        operand in[MAX_IN];
        for (int i = 0; i < k->n_in; i++) in[i] = operand_at(j, i, offset[i], at, n, buf[i]);
        if (j->chain) {
            run_chain(j, in, out, n);
        } else {
            gy_span s = {.attr = k->attr, .n = n, .out_dtype = k->out[0].dtype, .out = out, .past = j->past};
            for (int i = 0; i < k->n_in; i++) {
                s.in[i] = in[i].data;
                s.step[i] = in[i].step;
                s.in_dtype[i] = k->in[i].dtype;
            }
            k->span(&s);
        }
        at += n;
    }
}

static void tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    if (j->tiles_a_row > 1) {
        int64_t lo, hi;
        gy_tile_range(j->inner, GRAIN, t % j->tiles_a_row, &lo, &hi);
        run_row(j, t / j->tiles_a_row, lo, hi);
        return;
    }
    int64_t lo, hi;
    gy_tile_range(j->outer, j->rows_a_tile, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) run_row(j, r, 0, j->inner);
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
