/* Reference convolution, whose factors plans of precision bf16 round first: y = act(conv(x, w) + bias) + residual, and
 * its adjoints conv_dx and conv_dw.
 *
 * Each output position gathers what it needs, so that positions are independent and each value is rounded once.
 * Weights are first reordered so that the innermost loop runs over neighbouring channels. */
#ifndef T
#include "../kernel.h"
#include "act.h"

enum { GRAIN = 32 }; /* output positions a tile */

typedef struct {
    const gy_kargs *k;
    const gy_conv_attr *a;
    gy_conv_dims d;
    int64_t in_group, out_group; /* channels a group */
    double *packed;              /* the weights, reordered */
    double *acc;                 /* `width` sums a worker */
    int64_t width;
    bool rounded; /* factors are rounded to bf16 */
} job;

static int64_t most(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static job prepare(const gy_kargs *k, gy_shape x, gy_shape w, gy_shape y) {
    job j = {.k = k, .a = k->attr, .d = gy_conv_dims_of(k->attr, x, w, y)};
    j.in_group = j.d.cin / j.d.groups;
    j.out_group = j.d.cout / j.d.groups;
    j.width = most(j.d.cin, j.d.cout);
    j.rounded = k->precision == GY_BF16 && k->in[0].dtype == GY_F32;
    j.packed = k->scratch;
    if (k->scratch) j.acc = j.packed + j.d.taps * j.in_group * j.d.cout;
    return j;
}

static bool inside(int64_t i, int64_t n) {
    return i >= 0 && i < n;
}

/* Position p of a grid as a multi-index. */
static void unflatten(int64_t p, const int64_t dim[3], int64_t idx[3]) {
    for (int i = 2; i >= 0; i--) {
        idx[i] = p % dim[i];
        p /= dim[i];
    }
}

/* The output that reads element i of x through tap k on one axis; -1: none. */
static int64_t reader(const job *j, int axis, int64_t i, int64_t k) {
    int64_t o = i + j->a->before[axis] - k * j->a->dilation[axis];
    if (o < 0 || o % j->a->stride[axis] != 0) return -1;
    o /= j->a->stride[axis];
    return o < j->d.out[axis] ? o : -1;
}

static size_t scratch(const gy_kargs *k, int threads, gy_shape x, gy_shape w, gy_shape y) {
    job j = prepare(k, x, w, y);
    return sizeof(double) * (size_t)(j.d.taps * j.in_group * j.d.cout + j.width * threads);
}
size_t ref_conv_scratch(const gy_kargs *k, int threads);
size_t ref_conv_scratch(const gy_kargs *k, int threads) {
    return scratch(k, threads, k->in[0].shape, k->in[1].shape, k->out[0].shape);
}
size_t ref_conv_dx_scratch(const gy_kargs *k, int threads);
size_t ref_conv_dx_scratch(const gy_kargs *k, int threads) {
    return scratch(k, threads, k->out[0].shape, k->in[1].shape, k->in[0].shape);
}
size_t ref_conv_dw_scratch(const gy_kargs *k, int threads);
size_t ref_conv_dw_scratch(const gy_kargs *k, int threads) {
    return scratch(k, threads, k->in[0].shape, k->out[0].shape, k->in[1].shape);
}

#endif
#define GY_REF_FILE "kernels/ref/conv.c"
#include "ref.h"

#ifdef T

static acc_t NAME(factor)(T x, bool rounded) {
    return rounded ? (acc_t)gy_bf16_to_f32(gy_f32_to_bf16((float)x)) : (acc_t)x;
}

static void NAME(conv_tile)(void *arg, int64_t tile, int worker) {
    const job *j = arg;
    const gy_conv_dims *d = &j->d;
    const gy_kargs *k = j->k;
    const T *x = k->in[0].data, *bias = k->n_in > 2 ? k->in[2].data : NULL,
            *residual = k->n_in > 3 ? k->in[3].data : NULL;
    T *y = k->out[0].data;
    double *acc = j->acc + worker * j->width;
    int64_t lo, hi, o[3];
    gy_tile_range(d->batch * d->n_out, GRAIN, tile, &lo, &hi);
    for (int64_t p = lo; p < hi; p++) {
        unflatten(p % d->n_out, d->out, o);
        const T *sample = x + p / d->n_out * d->n_in * d->cin;
        for (int64_t co = 0; co < d->cout; co++) acc[co] = bias ? (acc_t)bias[co] : 0;
        const double *w = j->packed; /* [k, ci, co] */
        for (int64_t tap = 0; tap < d->taps; tap++, w += j->in_group * d->cout) {
            int64_t q[3];
            unflatten(tap, d->kernel, q);
            for (int i = 0; i < 3; i++) q[i] = gy_conv_source(j->a, i, o[i], q[i]);
            if (!inside(q[0], d->in[0]) || !inside(q[1], d->in[1]) || !inside(q[2], d->in[2])) continue;
            const T *xs = sample + ((q[0] * d->in[1] + q[1]) * d->in[2] + q[2]) * d->cin;
            for (int64_t g = 0; g < d->groups; g++)
                for (int64_t ci = 0; ci < j->in_group; ci++) {
                    double v = NAME(factor)(xs[g * j->in_group + ci], j->rounded), *sum = acc + g * j->out_group;
                    const double *wg = w + ci * d->cout + g * j->out_group;
                    for (int64_t co = 0; co < j->out_group; co++) sum[co] += v * wg[co];
                }
        }
        for (int64_t co = 0; co < d->cout; co++) {
            int64_t at = p * d->cout + co;
            double v = ref_activate(acc[co], j->a->act);
            y[at] = (T)(residual ? v + (acc_t)residual[at] : v);
        }
    }
}

void NAME(conv)(const gy_kargs *k);
void NAME(conv)(const gy_kargs *k) {
    job j = prepare(k, k->in[0].shape, k->in[1].shape, k->out[0].shape);
    const T *w = k->in[1].data; /* [co, ci, k] */
    for (int64_t co = 0; co < j.d.cout; co++)
        for (int64_t ci = 0; ci < j.in_group; ci++)
            for (int64_t tap = 0; tap < j.d.taps; tap++)
                j.packed[(tap * j.in_group + ci) * j.d.cout + co] = NAME(factor)(*w++, j.rounded);
    gy_par(k->pool, gy_tiles(j.d.batch * j.d.n_out, GRAIN), NAME(conv_tile), &j);
}

static void NAME(conv_dx_tile)(void *arg, int64_t tile, int worker) {
    const job *j = arg;
    const gy_conv_dims *d = &j->d;
    const T *y = j->k->in[0].data;
    T *x = j->k->out[0].data;
    double *acc = j->acc + worker * j->width;
    int64_t lo, hi, i[3];
    gy_tile_range(d->batch * d->n_in, GRAIN, tile, &lo, &hi);
    for (int64_t p = lo; p < hi; p++) {
        unflatten(p % d->n_in, d->in, i);
        const T *sample = y + p / d->n_in * d->n_out * d->cout;
        for (int64_t ci = 0; ci < d->cin; ci++) acc[ci] = 0;
        const double *w = j->packed; /* [k, co, ci] */
        for (int64_t tap = 0; tap < d->taps; tap++, w += j->in_group * d->cout) {
            int64_t o[3];
            unflatten(tap, d->kernel, o);
            for (int axis = 0; axis < 3; axis++) o[axis] = reader(j, axis, i[axis], o[axis]);
            if (o[0] < 0 || o[1] < 0 || o[2] < 0) continue;
            const T *ys = sample + ((o[0] * d->out[1] + o[1]) * d->out[2] + o[2]) * d->cout;
            for (int64_t g = 0; g < d->groups; g++)
                for (int64_t c = 0; c < j->out_group; c++) {
                    int64_t co = g * j->out_group + c;
                    double v = NAME(factor)(ys[co], j->rounded), *sum = acc + g * j->in_group;
                    const double *wc = w + co * j->in_group;
                    for (int64_t ci = 0; ci < j->in_group; ci++) sum[ci] += v * wc[ci];
                }
        }
        for (int64_t ci = 0; ci < d->cin; ci++) x[p * d->cin + ci] = (T)acc[ci];
    }
}

void NAME(conv_dx)(const gy_kargs *k);
void NAME(conv_dx)(const gy_kargs *k) {
    job j = prepare(k, k->out[0].shape, k->in[1].shape, k->in[0].shape);
    const T *w = k->in[1].data; /* [co, ci, k] */
    for (int64_t co = 0; co < j.d.cout; co++)
        for (int64_t ci = 0; ci < j.in_group; ci++)
            for (int64_t tap = 0; tap < j.d.taps; tap++)
                j.packed[(tap * j.d.cout + co) * j.in_group + ci] = NAME(factor)(*w++, j.rounded);
    gy_par(k->pool, gy_tiles(j.d.batch * j.d.n_in, GRAIN), NAME(conv_dx_tile), &j);
}

/* One tile: tap k of output channel co. */
static void NAME(conv_dw_tile)(void *arg, int64_t tile, int worker) {
    const job *j = arg;
    const gy_conv_dims *d = &j->d;
    int64_t tap = tile / d->cout, co = tile % d->cout, k[3];
    const T *x = j->k->in[0].data, *y = j->k->in[1].data;
    T *w = j->k->out[0].data;
    double *acc = j->acc + worker * j->width;
    x += co / j->out_group * j->in_group; /* its group's channels */
    y += co;
    unflatten(tap, d->kernel, k);
    for (int64_t ci = 0; ci < j->in_group; ci++) acc[ci] = 0;
    for (int64_t b = 0; b < d->batch; b++)
        for (int64_t o0 = 0; o0 < d->out[0]; o0++) {
            int64_t i0 = gy_conv_source(j->a, 0, o0, k[0]);
            if (!inside(i0, d->in[0])) continue;
            for (int64_t o1 = 0; o1 < d->out[1]; o1++) {
                int64_t i1 = gy_conv_source(j->a, 1, o1, k[1]);
                if (!inside(i1, d->in[1])) continue;
                const T *xs = x + ((b * d->in[0] + i0) * d->in[1] + i1) * d->in[2] * d->cin;
                const T *ys = y + ((b * d->out[0] + o0) * d->out[1] + o1) * d->out[2] * d->cout;
                for (int64_t o2 = 0; o2 < d->out[2]; o2++) {
                    int64_t i2 = gy_conv_source(j->a, 2, o2, k[2]);
                    if (!inside(i2, d->in[2])) continue;
                    double v = NAME(factor)(ys[o2 * d->cout], j->rounded);
                    for (int64_t ci = 0; ci < j->in_group; ci++)
                        acc[ci] += v * NAME(factor)(xs[i2 * d->cin + ci], j->rounded);
                }
            }
        }
    for (int64_t ci = 0; ci < j->in_group; ci++) w[(co * j->in_group + ci) * d->taps + tap] = (T)acc[ci];
}

void NAME(conv_dw)(const gy_kargs *k);
void NAME(conv_dw)(const gy_kargs *k) {
    job j = prepare(k, k->in[0].shape, k->out[0].shape, k->in[1].shape);
    gy_par(k->pool, j.d.taps * j.d.cout, NAME(conv_dw_tile), &j);
}

#endif
