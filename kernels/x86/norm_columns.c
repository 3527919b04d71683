/* Group and batch normalisation and their gradients: statistics run over positions, channels are adjacent.
 *
 * x is seen as [outer, inner, C] (norm.h: outer = samples and inner = space; batchnorm: one outer, inner = all rows). A
 * pass sums each channel over a piece of positions; the pieces are combined in order, channels are folded to groups,
 * and what a channel then needs is a row of coefficients. Forward: sum and squares about the piece's own mean in one
 * reading from afar, then the result: two readings, one writing. Backward: sum dz and sum dz xhat (which are dbeta and
 * dgamma before samples are added), then dx; with SiLU the first pass leaves dz where dx will be. Bound by memory
 * outside the caches, by the sigmoid (15 cycles a vector of 16) with SiLU. Measured on 64 x 64 x 320, one thread of Zen
 * 4, AVX-512 (gyrus bench norm --threads 1), in elements a ns: forward 5.2, with SiLU 2.5, backward 2.8, with SiLU 1.6;
 * batch norm of 8192 x 256 4.5 and 2.3. */
#include "lines.h"
#include "rows.h"

#include "core/ops.h"

enum {
    GRAIN = 16384, /* elements a piece, about, */
    LEAST = 16,    /* but at least so many positions, */
    PIECES = 64,   /* and at most so many pieces an outer */
    FOLD = 128,    /* channels that are folded together */
    BLOCK = 64,    /* positions that are summed in floats */
    STRIP = 4,     /* vectors of channels that go down together */
    WIDE = 1024,   /* channels whose sums wait in the first cache */
    AHEAD = 1024   /* floats: how far ahead memory is called */
};

typedef struct {
    const gy_norm_attr *a;
    bool silu, batch, past; /* past: results go past the caches */
    int64_t outer, inner, c, groups, channels;
    int64_t rows, pieces; /* positions a piece; pieces an outer */
    const float *x, *ct, *gamma, *beta;
    float *y;
    double *sum;                             /* [outer][pieces][2][C]: a pass's sums */
    float *mean, *rstd, *scale, *avg, *avgx; /* coefficients [outer][C] each */
} job;

static job begin(const gy_kargs *k, int op, gy_shape x) {
    gy_norm_dims d = gy_norm_view(op, k->attr, x);
    job j = {.a = k->attr,
             .batch = op == GY_OP_batchnorm || op == GY_OP_batchnorm_grad,
             .outer = d.outer,
             .inner = d.inner,
             .c = d.groups * d.channels,
             .groups = d.groups,
             .channels = d.channels};
    j.silu = j.a->act == GY_ACT_SILU;
    j.rows = j.c ? GRAIN / j.c : 1;
    if (j.rows < LEAST) j.rows = LEAST;
    if (j.rows < gy_tiles(j.inner, PIECES)) j.rows = gy_tiles(j.inner, PIECES);
    j.pieces = gy_tiles(j.inner, j.rows);
    j.sum = k->scratch;
    j.mean = (float *)(void *)(j.sum + j.outer * j.pieces * 2 * j.c);
    j.rstd = j.mean + j.outer * j.c;
    j.scale = j.rstd + j.outer * j.c;
    j.avg = j.scale + j.outer * j.c;
    j.avgx = j.avg + j.outer * j.c;
    return j;
}
static size_t scratch_of(const gy_kargs *k, int op, gy_shape x) {
    gy_kargs blank = *k;
    blank.scratch = NULL;
    job j = begin(&blank, op, x);
    return (size_t)(j.outer * j.c) * ((size_t)j.pieces * 2 * sizeof(double) + 5 * sizeof(float));
}

/* Positions of tile t: `o` and [lo, hi). */
static int64_t part_of(const job *j, int64_t t, int64_t *lo, int64_t *hi) {
    gy_tile_range(j->inner, j->rows, t % j->pieces, lo, hi);
    return t / j->pieces;
}

/* ---- sums down the channels ----
 *
 * STRIP vectors of channels go down at once, at most BLOCK positions in floats; blocks, pieces and channels are then
 * combined in doubles. */

/* Sums and squares about the mean of two sets of n1 and n2 values become those of both (Chan, Golub, LeVeque 1983), for
 * n channels at once. */
GY_INLINE void merge(double n1, double *sum, double *squares, double n2, const double *more_sum,
                     const double *more_squares, int64_t n) {
    double inverse1 = n1 > 0 ? 1 / n1 : 0, inverse2 = 1 / n2, weight = n1 * n2 / (n1 + n2);
    for (int64_t i = 0; i < n; i++) {
        double gap = more_sum[i] * inverse2 - sum[i] * inverse1;
        squares[i] += more_squares[i] + gap * gap * weight;
        sum[i] += more_sum[i];
    }
}
/* Sums s0 and squares s1 about the mean of up to nv vectors of channels over positions [lo, hi) of x. A second look at
 * the block, now in the first cache, takes squares about a rounded mean, and what is left of the sum, which corrects
 * both. */
GY_INLINE void moments(const int nv, const float *x, int64_t c, int64_t positions, int64_t left, double *s0,
                       double *s1) {
    int64_t lanes = left < nv * VL ? left : nv * VL;
    for (int64_t i = 0; i < lanes; i++) s0[i] = s1[i] = 0;
    for (int64_t from = 0; from < positions; from += BLOCK) {
        int64_t n = positions - from < BLOCK ? positions - from : BLOCK;
        vf mean[STRIP], rest[STRIP], squares[STRIP], part = v_set(1 / (float)n);
        for (int v = 0; v < nv; v++) mean[v] = rest[v] = squares[v] = v_zero();
        const float *at = x + from * c;
        for (int64_t p = 0; p < n; p++)
            for (int v = 0; v < nv; v++) mean[v] = v_add(mean[v], line_load(at + p * c + v * VL, left - v * VL));
        for (int v = 0; v < nv; v++) mean[v] = v_mul(mean[v], part);
        for (int64_t p = 0; p < n; p++)
            for (int v = 0; v < nv; v++) {
                vf e = v_sub(line_load(at + p * c + v * VL, left - v * VL), mean[v]);
                line_call(at + p * c + (nv + v) * VL); /* of the next strip */
                rest[v] = v_add(rest[v], e);
                squares[v] = v_fma(e, e, squares[v]);
            }
        float lane[3][STRIP * VL];
        for (int v = 0; v < nv; v++) {
            v_store(lane[0] + v * VL, mean[v]);
            v_store(lane[1] + v * VL, rest[v]);
            v_store(lane[2] + v * VL, squares[v]);
        }
        double more[2][STRIP * VL], count = (double)n, inverse = 1 / count;
        for (int64_t i = 0; i < nv * VL; i++) {
            double r = (double)lane[1][i];
            more[0][i] = (double)lane[0][i] * count + r;
            more[1][i] = (double)lane[2][i] - r * r * inverse;
        }
        merge((double)from, s0, s1, count, more[0], more[1], lanes);
    }
}
static void moments_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, o = part_of(j, t, &lo, &hi), c = j->c, i = 0;
    double *s0 = j->sum + t * 2 * c, *s1 = s0 + c;
    const float *x = j->x + (o * j->inner + lo) * c;
    for (; i + STRIP * VL <= c; i += STRIP * VL) moments(STRIP, x + i, c, hi - lo, STRIP * VL, s0 + i, s1 + i);
    for (; i < c; i += VL) moments(1, x + i, c, hi - lo, c - i, s0 + i, s1 + i);
}
/* Merges the pieces of an outer into its first, in order; a tile is FOLD adjacent channels. */
static void merge_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, tiles = gy_tiles(j->c, FOLD), c = j->c;
    gy_tile_range(c, FOLD, t % tiles, &lo, &hi);
    double *first = j->sum + t / tiles * j->pieces * 2 * c;
    for (int64_t p = 1; p < j->pieces; p++) {
        const double *more = first + p * 2 * c;
        int64_t n = j->inner - p * j->rows < j->rows ? j->inner - p * j->rows : j->rows;
        merge((double)(p * j->rows), first + lo, first + c + lo, (double)n, more + lo, more + c + lo, hi - lo);
    }
}

/* Sum number `which` of channel c of outer o. */
static double whole(const job *j, int64_t o, int which, int64_t c) {
    return j->sum[(o * j->pieces * 2 + which) * j->c + c];
}

/* ---- forward ---- */

GY_INLINE void result_rows(const bool silu, const bool past, const job *j, int64_t o, int64_t lo, int64_t hi) {
    int64_t c = j->c;
    const float *mean = j->mean + o * c, *scale = j->scale + o * c, *beta = j->beta;
    const float *x = j->x + (o * j->inner + lo) * c;
    float *y = j->y + (o * j->inner + lo) * c;
    for (int64_t p = lo; p < hi; p++, x += c, y += c)
        LINE_EACH(c, {
            vf z = v_mul(v_sub(line_load(x + i, left), line_load(mean + i, left)), line_load(scale + i, left));
            if (beta) z = v_add(z, line_load(beta + i, left));
            if (silu) z = v_silu(z);
            line_call(x + i + AHEAD);
            if (past)
                v_stream(y + i, z);
            else
                line_store(y + i, z, left);
        });
}
static void result_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, o = part_of(j, t, &lo, &hi);
    if (j->past) {
        j->silu ? result_rows(true, true, j, o, lo, hi) : result_rows(false, true, j, o, lo, hi);
        _mm_sfence();
    } else {
        j->silu ? result_rows(true, false, j, o, lo, hi) : result_rows(false, false, j, o, lo, hi);
    }
}

static void forward(const gy_kargs *k, int op) {
    job j = begin(k, op, k->in[0].shape);
    j.x = k->in[0].data;
    j.gamma = k->in[1].data;
    j.beta = k->in[2].data;
    j.y = k->out[0].data;
    j.past = line_past(j.y, j.c, 8 * j.outer * j.inner * j.c);
    float *mean = k->out[1].data, *spread = k->out[2].data;
    double inner = (double)j.inner, count = inner * (double)j.channels;
    gy_par(k->pool, j.outer * j.pieces, moments_tile, &j);
    gy_par(k->pool, j.outer * gy_tiles(j.c, FOLD), merge_tile, &j);
    for (int64_t g = 0; g < j.outer * j.groups; g++) {
        int64_t o = g / j.groups, first = g % j.groups * j.channels;
        double s = 0, squares = 0;
        for (int64_t c = first; c < first + j.channels; c++) s += whole(&j, o, 0, c);
        for (int64_t c = first; c < first + j.channels; c++) {
            double gap = whole(&j, o, 0, c) / inner - s / count;
            squares += whole(&j, o, 1, c) + gap * gap * inner;
        }
        double var = squares / count, rstd = 1 / sqrt(var + j.a->eps);
        mean[g] = (float)(s / count);
        spread[g] = (float)(j.batch ? var : rstd);
        for (int64_t c = first; c < first + j.channels; c++) {
            j.mean[o * j.c + c] = mean[g];
            j.scale[o * j.c + c] = j.gamma ? (float)rstd * j.gamma[c] : (float)rstd;
        }
    }
    gy_par(k->pool, j.outer * j.pieces, result_tile, &j);
}

/* ---- backward ---- */

/* s0, s1: sums of dz = ct act'(z) and of dz xhat, for n <= WIDE channels from i on, positions [lo, hi). Rows are read
 * as they lie, the sums of a block wait in the first cache. With an activation dz is kept where dx will be: it is
 * dearer than moving it. */
GY_INLINE void gradient_sums(const bool silu, const job *j, int64_t o, int64_t i0, int64_t n, int64_t lo, int64_t hi,
                             double *s0, double *s1) {
    _Alignas(64) float a[WIDE], b[WIDE];
    int64_t c = j->c, start = (o * j->inner + lo) * c + i0;
    const float *mean = j->mean + o * c + i0, *rstd = j->rstd + o * c + i0, *x = j->x + start, *ct = j->ct + start;
    const float *gamma = j->gamma ? j->gamma + i0 : NULL, *beta = j->beta ? j->beta + i0 : NULL;
    float *y = j->y + start;
    for (int64_t e = 0; e < n; e++) s0[e] = s1[e] = 0;
    for (int64_t from = lo; from < hi; from += BLOCK) {
        for (int64_t e = 0; e < WIDE; e++) a[e] = b[e] = 0;
        for (int64_t p = from; p < hi && p < from + BLOCK; p++, x += c, ct += c, y += c)
            LINE_EACH(n, {
                vf xhat = v_mul(v_sub(line_load(x + i, left), line_load(mean + i, left)), line_load(rstd + i, left));
                vf dz = line_load(ct + i, left);
                line_call(x + i + AHEAD);
                line_call(ct + i + AHEAD);
                if (silu) {
                    vf z = gamma ? v_mul(xhat, line_load(gamma + i, left)) : xhat;
                    if (beta) z = v_add(z, line_load(beta + i, left));
                    dz = v_mul(dz, v_silu_slope(z));
                    line_store(y + i, dz, left);
                }
                v_store(a + i, v_add(v_load(a + i), dz));
                v_store(b + i, v_fma(dz, xhat, v_load(b + i)));
            });
        for (int64_t e = 0; e < n; e++) {
            s0[e] += (double)a[e];
            s1[e] += (double)b[e];
        }
    }
}
static void gradient_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, o = part_of(j, t, &lo, &hi), c = j->c;
    double *s0 = j->sum + t * 2 * c, *s1 = s0 + c;
    for (int64_t i = 0; i < c; i += WIDE) {
        int64_t n = c - i < WIDE ? c - i : WIDE;
        if (j->silu)
            gradient_sums(true, j, o, i, n, lo, hi, s0 + i, s1 + i);
        else
            gradient_sums(false, j, o, i, n, lo, hi, s0 + i, s1 + i);
    }
}
/* Adds the pieces of an outer into its first, in order; a tile is FOLD adjacent sums. */
static void fold_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, tiles = gy_tiles(2 * j->c, FOLD);
    gy_tile_range(2 * j->c, FOLD, t % tiles, &lo, &hi);
    double *first = j->sum + t / tiles * j->pieces * 2 * j->c;
    for (int64_t p = 1; p < j->pieces; p++)
        for (int64_t i = lo; i < hi; i++) first[i] += first[p * 2 * j->c + i];
}

/* dx = rstd (gamma dz - avg - xhat avgx) */
GY_INLINE void dx_rows(const bool past, const job *j, int64_t o, int64_t lo, int64_t hi) {
    int64_t c = j->c, at = (o * j->inner + lo) * c;
    const float *mean = j->mean + o * c, *rstd = j->rstd + o * c, *avg = j->avg + o * c, *avgx = j->avgx + o * c;
    const float *x = j->x + at, *dz = j->silu ? j->y + at : j->ct + at;
    float *dx = j->y + at;
    for (int64_t p = lo; p < hi; p++, x += c, dz += c, dx += c)
        LINE_EACH(c, {
            vf s = line_load(rstd + i, left), g = line_load(dz + i, left);
            vf xhat = v_mul(v_sub(line_load(x + i, left), line_load(mean + i, left)), s);
            if (j->gamma) g = v_mul(g, line_load(j->gamma + i, left));
            vf d = v_mul(s, v_fnma(xhat, line_load(avgx + i, left), v_sub(g, line_load(avg + i, left))));
            line_call(x + i + AHEAD);
            line_call(dz + i + AHEAD);
            if (past)
                v_stream(dx + i, d);
            else
                line_store(dx + i, d, left);
        });
}
static void dx_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, o = part_of(j, t, &lo, &hi);
    if (j->past)
        dx_rows(true, j, o, lo, hi);
    else
        dx_rows(false, j, o, lo, hi);
    _mm_sfence();
}

/* in = (ct, x, gamma, beta, mean, rstd or var) */
static void backward(const gy_kargs *k, int op) {
    job j = begin(k, op, k->in[1].shape);
    const float *mean = k->in[4].data, *spread = k->in[5].data;
    float *dgamma = k->n_out > 1 ? k->out[1].data : NULL, *dbeta = k->n_out > 2 ? k->out[2].data : NULL;
    double count = (double)(j.inner * j.channels);
    j.ct = k->in[0].data;
    j.x = k->in[1].data;
    j.gamma = k->in[2].data;
    j.beta = k->in[3].data;
    j.y = k->out[0].data;
    j.past = line_past(j.y, j.c, 12 * j.outer * j.inner * j.c);
    for (int64_t i = 0; i < j.outer * j.c; i++) {
        int64_t g = i / j.c * j.groups + i % j.c / j.channels;
        j.mean[i] = mean[g];
        j.rstd[i] = j.batch ? (float)(1 / sqrt((double)spread[g] + j.a->eps)) : spread[g];
    }
    gy_par(k->pool, j.outer * j.pieces, gradient_tile, &j);
    gy_par(k->pool, j.outer * gy_tiles(2 * j.c, FOLD), fold_tile, &j);
    for (int64_t c = 0; c < j.c && dgamma; c++) {
        double s0 = 0, s1 = 0;
        for (int64_t o = 0; o < j.outer; o++) {
            s0 += whole(&j, o, 0, c);
            s1 += whole(&j, o, 1, c);
        }
        dgamma[c] = (float)s1;
        if (dbeta) dbeta[c] = (float)s0;
    }
    for (int64_t g = 0; g < j.outer * j.groups; g++) {
        int64_t o = g / j.groups, first = g % j.groups * j.channels;
        double s0 = 0, s1 = 0;
        for (int64_t c = first; c < first + j.channels; c++) {
            double w = j.gamma ? (double)j.gamma[c] : 1;
            s0 += w * whole(&j, o, 0, c);
            s1 += w * whole(&j, o, 1, c);
        }
        for (int64_t c = first; c < first + j.channels; c++) {
            j.avg[o * j.c + c] = (float)(s0 / count);
            j.avgx[o * j.c + c] = (float)(s1 / count);
        }
    }
    gy_par(k->pool, j.outer * j.pieces, dx_tile, &j);
}

size_t GY_ISAFN(x86_groupnorm_scratch)(const gy_kargs *k, int threads) {
    (void)threads;
    return scratch_of(k, GY_OP_groupnorm, k->in[0].shape);
}
size_t GY_ISAFN(x86_groupnorm_grad_scratch)(const gy_kargs *k, int threads) {
    (void)threads;
    return scratch_of(k, GY_OP_groupnorm_grad, k->in[1].shape);
}
size_t GY_ISAFN(x86_batchnorm_scratch)(const gy_kargs *k, int threads) {
    (void)threads;
    return scratch_of(k, GY_OP_batchnorm, k->in[0].shape);
}
size_t GY_ISAFN(x86_batchnorm_grad_scratch)(const gy_kargs *k, int threads) {
    (void)threads;
    return scratch_of(k, GY_OP_batchnorm_grad, k->in[1].shape);
}
void GY_ISAFN(x86_groupnorm)(const gy_kargs *k) {
    forward(k, GY_OP_groupnorm);
}
void GY_ISAFN(x86_batchnorm)(const gy_kargs *k) {
    forward(k, GY_OP_batchnorm);
}
void GY_ISAFN(x86_groupnorm_grad)(const gy_kargs *k) {
    backward(k, GY_OP_groupnorm_grad);
}
void GY_ISAFN(x86_batchnorm_grad)(const gy_kargs *k) {
    backward(k, GY_OP_batchnorm_grad);
}
