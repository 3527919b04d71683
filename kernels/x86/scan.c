/* Along one axis of f32: the first largest or smallest element, and the running sum.
 *
 * The operand is [outer, n, inner]. With inner > 1 the vectors are columns and walk down the axis. With inner = 1:
 * - argmax and argmin find the extreme, then look for it from the front; the second pass reads what the first left in
 *   the cache and ends early. A NaN is extreme.
 * - the running sum takes VL rows at once, transposed in registers a block of VL x VL at a time, so that it walks down
 *   columns again.
 * Sums run in doubles in the order of the axis, as in the reference: equal bits.
 *
 * Bytes: 4 an element (argmax) and 8 (running sum). Measured on 16 MiB, one thread of Zen 4, AVX-512: argmax of rows
 * 55 GB/s, down columns 24; running sums 19 and 17. */
#include "lines.h"
#include "rows.h"

#include "core/ops/reduce.h"

enum { GRAIN = 16384, NV = 4 /* vectors of columns that walk together: whole cache lines, several at once */ };

typedef struct {
    const float *x;
    void *y;
    int64_t outer, n, inner, blocks; /* blocks of NV vectors of columns */
    int64_t grain;
    bool smallest, backward;
} job;

static job job_of(const gy_kargs *k) {
    const gy_reduce_attr *a = k->attr;
    gy_shape s = k->in[0].shape;
    job j = {.x = k->in[0].data, .y = k->out[0].data, .outer = 1, .inner = 1, .n = s.dim[a->axes.axis[0]]};
    for (int64_t i = 0; i < a->axes.axis[0]; i++) j.outer *= s.dim[i];
    for (int64_t i = a->axes.axis[0] + 1; i < s.rank; i++) j.inner *= s.dim[i];
    j.blocks = gy_tiles(j.inner, NV * VL);
    return j;
}
static void run(job *j, int64_t items, int64_t work, gy_tile_fn fn, gy_pool *pool) {
    j->grain = work < GRAIN ? GRAIN / work : 1;
    gy_par(pool, gy_tiles(items, j->grain), fn, j);
}

/* ---- argmax, argmin ---- */

static int64_t first_in_row(const float *x, int64_t n, bool smallest) {
    vf top = v_set(smallest ? INFINITY : -INFINITY), nan = v_zero();
    int64_t i = 0;
    for (; i + VL <= n; i += VL) {
        vf v = v_load(x + i);
        top = smallest ? v_min(top, v) : v_max(top, v);
        nan = v_or(nan, v_sel(v_ne(v, v), v_set(1.0f), v_zero()));
    }
    float lane[VL], best = smallest ? INFINITY : -INFINITY;
    bool any_nan = v_bitmask(v_ne(nan, v_zero())) != 0;
    v_store(lane, top);
    for (int v = 0; v < VL; v++)
        if (smallest ? lane[v] < best : lane[v] > best) best = lane[v];
    for (int64_t e = i; e < n; e++) {
        if (smallest ? x[e] < best : x[e] > best) best = x[e];
        any_nan = any_nan || x[e] != x[e];
    }
    for (i = 0; i + VL <= n; i += VL) {
        vf v = v_load(x + i);
        unsigned hit = v_bitmask(any_nan ? v_ne(v, v) : v_eq(v, v_set(best)));
        if (hit) return i + __builtin_ctz(hit);
    }
    for (; i < n; i++)
        if (any_nan ? x[i] != x[i] : x[i] == best) return i;
    return 0;
}
static void arg_rows(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, *y = j->y;
    gy_tile_range(j->outer, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) y[r] = first_in_row(j->x + r * j->n, j->n, j->smallest);
}
/* nv vectors of columns, the last of them with up to `live` - (nv - 1) VL. */
GY_INLINE void arg_block(const int nv, const job *j, const float *x, int64_t live, int64_t *y) {
    vf top[NV], one = v_set(1.0f);
    vi best[NV];
    for (int v = 0; v < nv; v++) {
        top[v] = line_load(x + v * VL, live - v * VL);
        best[v] = vi_set(0);
    }
    for (int64_t i = 1; i < j->n; i++)
        for (int v = 0; v < nv; v++) {
            vf e = line_load(x + i * j->inner + v * VL, live - v * VL);
            vf wins = v_sel(j->smallest ? v_lt(e, top[v]) : v_lt(top[v], e), one, v_sel(v_ne(e, e), one, v_zero()));
            vm take = v_ne(v_sel(v_ne(top[v], top[v]), v_zero(), wins), v_zero()); /* the first NaN stays */
            top[v] = v_sel(take, e, top[v]);
            best[v] = v_bits(v_sel(take, v_float(vi_set((int32_t)i)), v_float(best[v])));
        }
    for (int v = 0; v < nv; v++) {
        int32_t lane[VL];
        vi_store(lane, best[v]);
        for (int64_t e = 0; e < live - v * VL && e < VL; e++) y[v * VL + e] = lane[e];
    }
}
static void arg_columns(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->outer * j->blocks, j->grain, t, &lo, &hi);
    for (int64_t b = lo; b < hi; b++) {
        int64_t c = b % j->blocks * NV * VL, live = j->inner - c;
        const float *x = j->x + b / j->blocks * j->n * j->inner + c;
        int64_t *y = (int64_t *)j->y + b / j->blocks * j->inner + c;
        if (live >= NV * VL)
            arg_block(NV, j, x, NV * VL, y);
        else
            for (int64_t e = 0; e < live; e += VL) arg_block(1, j, x + e, live - e, y + e);
    }
}
static void arg(const gy_kargs *k, bool smallest) {
    job j = job_of(k);
    j.smallest = smallest;
    if (j.outer * j.inner == 0) return;
    if (j.inner == 1)
        run(&j, j.outer, j.n, arg_rows, k->pool);
    else
        run(&j, j.outer * j.blocks, j.n * NV * VL, arg_columns, k->pool);
}
void GY_ISAFN(x86_argmax)(const gy_kargs *k) {
    arg(k, false);
}
void GY_ISAFN(x86_argmin)(const gy_kargs *k) {
    arg(k, true);
}

/* ---- running sums ---- */

GY_INLINE void column_sums(const int nv, const job *j, int64_t base, int64_t live) {
    vd low[NV], high[NV];
    for (int v = 0; v < nv; v++) low[v] = high[v] = w_set(0);
    for (int64_t i = 0; i < j->n; i++) {
        int64_t at = base + (j->backward ? j->n - 1 - i : i) * j->inner;
        for (int v = 0; v < nv; v++) {
            vf x = line_load(j->x + at + v * VL, live - v * VL);
            low[v] = w_add(low[v], w_low(x));
            high[v] = w_add(high[v], w_high(x));
            line_store((float *)j->y + at + v * VL, w_narrow(low[v], high[v]), live - v * VL);
        }
    }
}
static void sum_columns(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->outer * j->blocks, j->grain, t, &lo, &hi);
    for (int64_t b = lo; b < hi; b++) {
        int64_t c = b % j->blocks * NV * VL, live = j->inner - c, base = b / j->blocks * j->n * j->inner + c;
        if (live >= NV * VL)
            column_sums(NV, j, base, NV * VL);
        else
            for (int64_t e = 0; e < live; e += VL) column_sums(1, j, base + e, live - e);
    }
}
/* VL rows, or the `rows` that are left. */
static void sum_block(const job *j, int64_t first, int64_t rows) {
    const float *x = j->x + first * j->n;
    float *y = (float *)j->y + first * j->n;
    vd low = w_set(0), high = low;
    for (int64_t p = 0; p < j->n; p += VL) {
        int64_t n = j->n - p < VL ? j->n - p : VL, at = j->backward ? j->n - p - n : p;
        vf b[VL];
        for (int r = 0; r < VL; r++) b[r] = r < rows ? line_load(x + r * j->n + at, n) : v_zero();
        v_transpose(b);
        for (int64_t i = 0; i < n; i++) {
            int64_t e = j->backward ? n - 1 - i : i;
            low = w_add(low, w_low(b[e]));
            high = w_add(high, w_high(b[e]));
            b[e] = w_narrow(low, high);
        }
        v_transpose(b);
        for (int r = 0; r < rows; r++) line_store(y + r * j->n + at, b[r], n);
    }
}
static void sum_rows(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(gy_tiles(j->outer, VL), j->grain, t, &lo, &hi);
    for (int64_t b = lo; b < hi; b++) sum_block(j, b * VL, j->outer - b * VL < VL ? j->outer - b * VL : VL);
}
void GY_ISAFN(x86_cumsum)(const gy_kargs *k) {
    const gy_reduce_attr *a = k->attr;
    job j = job_of(k);
    j.backward = a->keep;
    if (j.outer * j.inner * j.n == 0) return;
    if (j.inner == 1)
        run(&j, gy_tiles(j.outer, VL), j.n * VL, sum_rows, k->pool);
    else
        run(&j, j.outer * j.blocks, j.n * NV * VL, sum_columns, k->pool);
}
