/* Depthwise convolution (a channel reads itself alone), its data gradient and its weight gradient.
 *
 * Channels are adjacent, so everything is vectors of channels: y[p] = sum_tap w[tap] x[source(p, tap)], with the
 * weights put in [tap, channel] order first. Eight neighbouring outputs of a line keep their sums in registers through
 * all taps and share the loads of weights; near the ends of a line, one output at a time. Data gradients along a
 * strided axis go position by position. The weight gradient loads a y once for up to four taps of a line of the kernel,
 * and adds runs of positions in floats and the runs in doubles.
 *
 * FLOPs 2 taps an element; bytes 8 an element when the taps' rows stay in the caches. The limit is the one load of x a
 * multiply-add, half of the multiply-add rate. Measured, one thread of Zen 4, AVX-512: 3 x 3, 128 channels, 56 x 56:
 * forward and data gradient 55 GFLOP/s, 24 GB/s, weight gradient 30; 7 x 7, 384 channels, 28 x 28: forward 49.
 */
#include "conv.h"

enum { GRAIN = 32, WIDE = 4 * VL };

typedef struct {
    const gy_conv_attr *a;
    gy_conv_dims d;
    const float *in, *w; /* w [tap, channel] */
    float *out;
    const gy_gemm_f32 *finish; /* NULL: no epilogue */
    bool adjoint;
} job;

/* The position that `p` reads through tap k on one axis (adjoint: that reads p), or -1. */
static int64_t partner(const job *j, int axis, int64_t p, int64_t k) {
    if (!j->adjoint) {
        int64_t i = gy_conv_source(j->a, axis, p, k);
        return i < j->d.in[axis] && i >= 0 ? i : -1;
    }
    int64_t o = p + j->a->before[axis] - k * j->a->dilation[axis];
    if (o < 0 || o % j->a->stride[axis] != 0) return -1;
    o /= j->a->stride[axis];
    return o < j->d.out[axis] ? o : -1;
}

static void tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const int64_t *grid = j->adjoint ? j->d.in : j->d.out, *other = j->adjoint ? j->d.out : j->d.in, c = j->d.cin;
    int64_t lo, hi, size = grid[0] * grid[1] * grid[2], sample = other[0] * other[1] * other[2] * c;
    gy_tile_range(j->d.batch * size, GRAIN, t, &lo, &hi);
    for (int64_t p = lo; p < hi; p++) {
        int64_t at = p % size, i2 = at % grid[2], i1 = at / grid[2] % grid[1], i0 = at / grid[2] / grid[1];
        const float *in = j->in + p / size * sample, *w = j->w;
        float *out = j->out + p * c;
        memset(out, 0, (size_t)c * sizeof(float));
        for (int64_t k0 = 0; k0 < j->d.kernel[0]; k0++)
            for (int64_t k1 = 0; k1 < j->d.kernel[1]; k1++)
                for (int64_t k2 = 0; k2 < j->d.kernel[2]; k2++, w += c) {
                    int64_t o0 = partner(j, 0, i0, k0), o1 = partner(j, 1, i1, k1), o2 = partner(j, 2, i2, k2);
                    if (o0 < 0 || o1 < 0 || o2 < 0) continue;
                    const float *x = in + ((o0 * other[1] + o1) * other[2] + o2) * c;
                    int64_t e = 0;
                    for (; e + VL <= c; e += VL) v_store(out + e, v_fma(v_load(w + e), v_load(x + e), v_load(out + e)));
                    if (e < c)
                        v_storen(out + e, v_fma(v_loadn(w + e, c - e), v_loadn(x + e, c - e), v_loadn(out + e, c - e)),
                                 c - e);
                }
    }
    if (j->finish) GY_ISAFN(gy_gemm_finish_f32)(j->finish, lo, hi, 0, c);
}

/* ---- whole lines ---- */

enum { LINES = 64 /* taps of the two outer axes that a line of outputs reads, at most */ };

/* The taps' rows that one line of outputs reads: where they begin and their weights. Position p reads element
 * p mul + add + k2 tap of each. */
typedef struct {
    const float *x[LINES], *w[LINES];
    int64_t n, c, mul, add, tap;
} rows;

/* np neighbouring outputs from position p on, taps [lo, hi) of the line. */
GY_INLINE void outputs(const int np, const rows *r, int64_t p, int64_t lo, int64_t hi, float *out) {
    int64_t c = r->c, first = p * r->mul + r->add, step = r->mul * c;
    for (int64_t e = 0; e < c; e += VL) {
        int64_t n = c - e;
        vf acc[8];
#pragma GCC unroll 8
        for (int i = 0; i < np; i++) acc[i] = v_zero();
        for (int64_t l = 0; l < r->n; l++)
            for (int64_t k = lo; k < hi; k++) {
                const float *x = r->x[l] + (first + k * r->tap) * c + e, *w = r->w[l] + k * c + e;
                if (n >= VL) {
                    vf wv = v_load(w);
#pragma GCC unroll 8
                    for (int i = 0; i < np; i++) acc[i] = v_fma(wv, v_load(x + i * step), acc[i]);
                } else {
                    vf wv = v_loadn(w, n);
#pragma GCC unroll 8
                    for (int i = 0; i < np; i++) acc[i] = v_fma(wv, v_loadn(x + i * step, n), acc[i]);
                }
            }
#pragma GCC unroll 8
        for (int i = 0; i < np; i++) {
            if (n >= VL)
                v_store(out + i * c + e, acc[i]);
            else
                v_storen(out + i * c + e, acc[i], n);
        }
    }
}

/* The taps [*lo, *hi) that position p finds inside a line of `size`. */
static void taps_inside(const rows *r, int64_t p, int64_t taps, int64_t size, int64_t *lo, int64_t *hi) {
    for (*lo = 0; *lo < taps; ++*lo) {
        int64_t i = p * r->mul + r->add + *lo * r->tap;
        if (i >= 0 && i < size) break;
    }
    for (*hi = *lo; *hi < taps; ++*hi) {
        int64_t i = p * r->mul + r->add + *hi * r->tap;
        if (i < 0 || i >= size) break;
    }
}

static bool by_lines(const job *j) {
    return (!j->adjoint || j->a->stride[2] == 1) && j->d.kernel[0] * j->d.kernel[1] <= LINES;
}
static void line_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const int64_t *grid = j->adjoint ? j->d.in : j->d.out, *other = j->adjoint ? j->d.out : j->d.in, *k = j->d.kernel;
    rows r = {.c = j->d.cin, .mul = j->adjoint ? 1 : j->a->stride[2]};
    r.add = j->adjoint ? j->a->before[2] : -j->a->before[2];
    r.tap = j->adjoint ? -j->a->dilation[2] : j->a->dilation[2];
    int64_t g1 = t % grid[1], g0 = t / grid[1] % grid[0], sample = t / grid[1] / grid[0];
    for (int64_t k0 = 0; k0 < k[0]; k0++)
        for (int64_t k1 = 0; k1 < k[1]; k1++) {
            int64_t i0 = partner(j, 0, g0, k0), i1 = partner(j, 1, g1, k1);
            if (i0 < 0 || i1 < 0) continue;
            r.x[r.n] = j->in + ((sample * other[0] + i0) * other[1] + i1) * other[2] * r.c;
            r.w[r.n++] = j->w + (k0 * k[1] + k1) * k[2] * r.c;
        }
    float *out = j->out + t * grid[2] * r.c;
    for (int64_t p = 0; p < grid[2];) {
        int64_t lo, hi, lo7 = 1, hi7 = 0;
        taps_inside(&r, p, k[2], other[2], &lo, &hi);
        if (p + 8 <= grid[2]) taps_inside(&r, p + 7, k[2], other[2], &lo7, &hi7);
        if (lo == 0 && hi == k[2] && lo7 == 0 && hi7 == k[2]) { /* so have those between */
            outputs(8, &r, p, lo, hi, out + p * r.c);
            p += 8;
        } else {
            outputs(1, &r, p, lo, hi, out + p * r.c);
            p++;
        }
    }
    if (j->finish) GY_ISAFN(gy_gemm_finish_f32)(j->finish, t * grid[2], (t + 1) * grid[2], 0, r.c);
}

static void run(job *j, const float *w, float *scratch, gy_pool *pool) {
    for (int64_t c = 0; c < j->d.cin; c++)
        for (int64_t tap = 0; tap < j->d.taps; tap++) scratch[tap * j->d.cin + c] = *w++;
    j->w = scratch;
    const int64_t *grid = j->adjoint ? j->d.in : j->d.out;
    if (by_lines(j))
        gy_par(pool, j->d.batch * grid[0] * grid[1], line_tile, j);
    else
        gy_par(pool, gy_tiles(j->d.batch * grid[0] * grid[1] * grid[2], GRAIN), tile, j);
}

void GY_ISAFN(gy_depthwise)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *w,
                            const gy_gemm_f32 *out, float *scratch, gy_pool *pool) {
    job j = {.a = a, .d = *d, .in = x, .out = out->c, .finish = out};
    run(&j, w, scratch, pool);
}
void GY_ISAFN(gy_depthwise_dx)(const gy_conv_attr *a, const gy_conv_dims *d, const float *y, const float *w, float *x,
                               float *scratch, gy_pool *pool) {
    job j = {.a = a, .d = *d, .in = y, .out = x, .adjoint = true};
    run(&j, w, scratch, pool);
}

/* The weights' gradient: taps k2 .. of a line of the kernel, at most TAPS, for PAIR vectors of channels, so that a y is
 * loaded once for these taps. */
enum { TAPS = 4, PAIR = 2 * VL, RUN = 64 /* positions summed in floats */ };
typedef struct {
    job j;
    const float *y;
} grad_job;

static int64_t groups_of_taps(const gy_conv_dims *d) {
    return d->kernel[0] * d->kernel[1] * gy_tiles(d->kernel[2], TAPS);
}

/* sum[k][c] += sum_o x[(o stride + k dilation) cin + c] y[o cin + c], o < count. */
GY_INLINE void grad_run(const int taps, const bool whole, const grad_job *g, const float *x, const float *y,
                        int64_t count, int64_t n, double (*sum)[PAIR]) {
    int64_t cin = g->j.d.cin, step = g->j.a->stride[2] * cin, next = g->j.a->dilation[2] * cin;
    int64_t low = n < VL ? n : VL, high = n - low;
    for (int64_t o = 0; o < count;) {
        vf acc[TAPS][2];
#pragma GCC unroll 4
        for (int k = 0; k < taps; k++) acc[k][0] = acc[k][1] = v_zero();
        int64_t end = count - o < RUN ? count : o + RUN;
        for (; o < end; o++, x += step, y += cin) {
            vf y0 = whole ? v_load(y) : v_loadn(y, low), y1 = whole ? v_load(y + VL) : v_loadn(y + VL, high);
#pragma GCC unroll 4
            for (int k = 0; k < taps; k++) {
                const float *p = x + k * next;
                acc[k][0] = v_fma(whole ? v_load(p) : v_loadn(p, low), y0, acc[k][0]);
                acc[k][1] = v_fma(whole ? v_load(p + VL) : v_loadn(p + VL, high), y1, acc[k][1]);
            }
        }
        for (int k = 0; k < taps; k++)
            for (int v = 0; v < 2; v++) {
                double *to = sum[k] + v * VL;
                w_store(to, w_add(w_load(to), w_low(acc[k][v])));
                w_store(to + VLD, w_add(w_load(to + VLD), w_high(acc[k][v])));
            }
    }
}
/* Outputs lo .. hi of a line, which all these taps reach. */
static void grad_span(const grad_job *g, int64_t k, int64_t taps, int64_t lo, int64_t hi, const float *x,
                      const float *y, int64_t n, double (*sum)[PAIR]) {
    const gy_conv_attr *a = g->j.a;
    int64_t cin = g->j.d.cin, count = hi - lo;
    if (count <= 0) return;
    x += (lo * a->stride[2] - a->before[2] + k * a->dilation[2]) * cin;
    y += lo * cin;
    if (n < PAIR && taps == 4) grad_run(4, false, g, x, y, count, n, sum);
    if (n < PAIR && taps == 3) grad_run(3, false, g, x, y, count, n, sum);
    if (n < PAIR && taps == 2) grad_run(2, false, g, x, y, count, n, sum);
    if (n < PAIR && taps == 1) grad_run(1, false, g, x, y, count, n, sum);
    if (n == PAIR && taps == 4) grad_run(4, true, g, x, y, count, n, sum);
    if (n == PAIR && taps == 3) grad_run(3, true, g, x, y, count, n, sum);
    if (n == PAIR && taps == 2) grad_run(2, true, g, x, y, count, n, sum);
    if (n == PAIR && taps == 1) grad_run(1, true, g, x, y, count, n, sum);
}
/* Outputs along the last axis that tap k reads x for: [*lo, *hi). */
static void reach(const job *j, int64_t k, int64_t *lo, int64_t *hi) {
    int64_t stride = j->a->stride[2], first = j->a->before[2] - k * j->a->dilation[2], last = j->d.in[2] + first;
    *lo = first <= 0 ? 0 : (first + stride - 1) / stride;
    *hi = last <= 0 ? 0 : (last + stride - 1) / stride;
    if (*hi > j->d.out[2]) *hi = j->d.out[2];
}

static void grad_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const grad_job *g = arg;
    const job *j = &g->j;
    const gy_conv_dims *d = &j->d;
    int64_t groups = groups_of_taps(d), parts = gy_tiles(d->kernel[2], TAPS), row = t % groups / parts;
    int64_t c0 = t / groups * PAIR, n = d->cin - c0 < PAIR ? d->cin - c0 : PAIR, k1 = row % d->kernel[1];
    int64_t k0 = row / d->kernel[1], k2 = t % groups % parts * TAPS;
    int64_t taps = d->kernel[2] - k2 < TAPS ? d->kernel[2] - k2 : TAPS, lo[TAPS], hi[TAPS], from = 0, to = d->out[2];
    for (int64_t k = 0; k < taps; k++) {
        reach(j, k2 + k, &lo[k], &hi[k]);
        from = lo[k] > from ? lo[k] : from;
        to = hi[k] < to ? hi[k] : to;
    }
    if (to < from) to = from = d->out[2]; /* no output that all reach: each tap by itself */
    double sum[TAPS][PAIR] = {{0}};
    for (int64_t line = 0; line < d->batch * d->out[0] * d->out[1]; line++) {
        int64_t o1 = line % d->out[1], o0 = line / d->out[1] % d->out[0], b = line / d->out[1] / d->out[0];
        int64_t i0 = partner(j, 0, o0, k0), i1 = partner(j, 1, o1, k1);
        if (i0 < 0 || i1 < 0) continue;
        const float *x = j->in + ((b * d->in[0] + i0) * d->in[1] + i1) * d->in[2] * d->cin + c0;
        const float *y = g->y + line * d->out[2] * d->cin + c0;
        grad_span(g, k2, taps, from, to, x, y, n, sum);
        for (int64_t k = 0; k < taps; k++) {
            grad_span(g, k2 + k, 1, lo[k], hi[k] < from ? hi[k] : from, x, y, n, sum + k);
            grad_span(g, k2 + k, 1, lo[k] > to ? lo[k] : to, hi[k], x, y, n, sum + k);
        }
    }
    for (int64_t k = 0; k < taps; k++)
        for (int64_t c = 0; c < n; c++) j->out[(c0 + c) * d->taps + row * d->kernel[2] + k2 + k] = (float)sum[k][c];
}

void GY_ISAFN(gy_depthwise_dw)(const gy_conv_attr *a, const gy_conv_dims *d, const float *x, const float *y, float *w,
                               gy_pool *pool) {
    grad_job g = {{.a = a, .d = *d, .in = x, .out = w}, y};
    gy_par(pool, groups_of_taps(d) * gy_tiles(d->cin, PAIR), grad_tile, &g);
}
