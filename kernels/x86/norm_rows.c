/* Layer and RMS normalisation over the last axis, and their gradients: a row stays in the first cache between the
 * passes (mean, squares about the mean, result).
 *
 * Backward, a piece of up to 64 rows computes its dx and its part of dgamma and dbeta, in floats; the parts are added
 * in doubles in the order of the pieces. While the last pass over a row runs the next row is called to the second
 * cache; results too large for the caches go past them. Bytes: 8 an element forward, 12 backward; about 8 and 15 FLOPs;
 * bound by memory outside the second cache. Measured at 4096 x 768 (128 x 768), one thread of Zen 4, AVX-512 (gyrus
 * bench norm
 * --threads 1): layer norm 47 (50) GB/s forward, 37 (62) backward; RMS norm 59 forward, 39 backward. */
#include "lines.h"
#include "rows.h"

#include "core/ops/norm.h"

enum { PIECE = 64, GRAIN = 8192 };

typedef struct {
    const gy_norm_attr *a;
    bool centre, past; /* subtracts the mean; results go past the caches */
    int64_t rows, n, grain;
    const float *x, *gamma, *beta, *ct, *mean_in, *rstd_in;
    float *y, *mean, *rstd, *dgamma, *dbeta;
    float *part; /* [pieces][dgamma, dbeta][n] */
} job;

GY_INLINE vf add_square(vf x, vf sum) {
    return v_fma(x, x, sum);
}

/* While the result of a row is written the next row is called to the second cache. */
GY_INLINE void forward_row(const bool past, const job *j, int64_t r) {
    int64_t n = j->n;
    const float *x = j->x + r * n, *gamma = j->gamma, *beta = j->beta;
    float *y = j->y + r * n;
    double mean = 0, var = 0;
    if (j->centre) {
        LINE_SUM(mean, n, line_load(x + i, left))
        mean /= (double)n;
        j->mean[r] = (float)mean;
    }
    vf m = v_set((float)mean);
    LINE_FOLD(var, n, add_square(line_keep(v_sub(line_load(x + i, left), m), left, 0), acc))
    double slip = mean - (double)(float)mean; /* what rounding the mean to a float adds */
    double rstd = 1 / sqrt(var / (double)n - slip * slip + j->a->eps);
    j->rstd[r] = (float)rstd;
    vf s = v_set((float)rstd);
    LINE_EACH(n, {
        vf z = v_mul(v_sub(line_load(x + i, left), m), s);
        if (gamma) z = v_mul(z, line_load(gamma + i, left));
        if (beta) z = v_add(z, line_load(beta + i, left));
        line_call(x + n + i);
        if (past)
            v_stream(y + i, z);
        else
            line_store(y + i, z, left);
    });
}
static void forward_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    if (j->past)
        for (int64_t r = lo; r < hi; r++) forward_row(true, j, r);
    else
        for (int64_t r = lo; r < hi; r++) forward_row(false, j, r);
    _mm_sfence();
}

static void forward(const gy_kargs *k, bool centre) {
    gy_shape s = k->in[0].shape;
    int64_t n = s.dim[s.rank - 1];
    job j = {.a = k->attr,
             .centre = centre,
             .n = n,
             .rows = n ? gy_shape_count(s) / n : 0,
             .x = k->in[0].data,
             .gamma = k->in[1].data,
             .beta = centre ? k->in[2].data : NULL,
             .y = k->out[0].data,
             .mean = centre ? k->out[1].data : NULL,
             .rstd = k->out[k->n_out - 1].data};
    j.grain = n >= GRAIN ? 1 : GRAIN / (n ? n : 1);
    j.past = line_past(j.y, n, 8 * j.rows * n);
    gy_par(k->pool, gy_tiles(j.rows, j.grain), forward_tile, &j);
}

GY_INLINE void backward_row(const bool past, const job *j, int64_t r, float *dgamma, float *dbeta) {
    int64_t n = j->n;
    const float *x = j->x + r * n, *ct = j->ct + r * n, *gamma = j->gamma;
    float *dx = j->y + r * n;
    vf m = v_set(j->centre ? j->mean_in[r] : 0), s = v_set(j->rstd_in[r]);
    double sum_g = 0, sum_gx = 0;
    for (int64_t block = 0; block < n; block += 64 * VL) {
        vf a = v_zero(), b = v_zero();
        LINE_EACH((n - block < 64 * VL ? n - block : 64 * VL), {
            int64_t c = block + i;
            vf t = line_load(ct + c, left), h = v_mul(v_sub(line_load(x + c, left), m), s);
            vf g = gamma ? v_mul(t, line_load(gamma + c, left)) : t;
            a = v_add(a, g);
            b = v_fma(g, h, b);
            if (dgamma) {
                line_store(dgamma + c, v_fma(t, h, line_load(dgamma + c, left)), left);
                line_store(dbeta + c, v_add(t, line_load(dbeta + c, left)), left);
            }
        });
        sum_g += (double)v_sum(a);
        sum_gx += (double)v_sum(b);
    }
    vf avg = v_set(j->centre ? (float)(sum_g / (double)n) : 0), avg_x = v_set((float)(sum_gx / (double)n));
    LINE_EACH(n, {
        vf h = v_mul(v_sub(line_load(x + i, left), m), s), t = line_load(ct + i, left);
        vf g = gamma ? v_mul(t, line_load(gamma + i, left)) : t;
        vf d = v_mul(s, v_fnma(h, avg_x, v_sub(g, avg)));
        line_call(x + n + i);
        line_call(ct + n + i);
        if (past)
            v_stream(dx + i, d);
        else
            line_store(dx + i, d, left);
    });
}
static void backward_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, n = j->n;
    gy_tile_range(j->rows, PIECE, t, &lo, &hi);
    float *dgamma = j->dgamma ? j->part + t * 2 * n : NULL, *dbeta = dgamma ? dgamma + n : NULL;
    if (dgamma) memset(dgamma, 0, (size_t)(2 * n) * sizeof(float));
    if (j->past)
        for (int64_t r = lo; r < hi; r++) backward_row(true, j, r, dgamma, dbeta);
    else
        for (int64_t r = lo; r < hi; r++) backward_row(false, j, r, dgamma, dbeta);
    _mm_sfence();
}

static void combine_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, pieces = gy_tiles(j->rows, PIECE);
    gy_tile_range(j->n, 64, t, &lo, &hi);
    double sum[2][64] = {{0}};
    for (int64_t p = 0; p < pieces; p++)
        for (int which = 0; which < 2; which++)
            for (int64_t c = lo; c < hi; c++) sum[which][c - lo] += (double)j->part[(p * 2 + which) * j->n + c];
    for (int64_t c = lo; c < hi; c++) {
        j->dgamma[c] = (float)sum[0][c - lo];
        if (j->dbeta) j->dbeta[c] = (float)sum[1][c - lo];
    }
}

/* in = (ct, x, gamma, beta, mean, rstd), or (ct, x, gamma, rstd) of rmsnorm. */
size_t GY_ISAFN(x86_norm_rows_grad_scratch)(const gy_kargs *k, int threads) {
    (void)threads;
    gy_shape s = k->in[1].shape;
    int64_t n = s.dim[s.rank - 1], rows = n ? gy_shape_count(s) / n : 0;
    return (size_t)(gy_tiles(rows, PIECE) * 2 * n) * sizeof(float);
}
static void backward(const gy_kargs *k, bool centre) {
    gy_shape s = k->in[1].shape;
    int64_t n = s.dim[s.rank - 1];
    job j = {.a = k->attr,
             .centre = centre,
             .n = n,
             .rows = n ? gy_shape_count(s) / n : 0,
             .ct = k->in[0].data,
             .x = k->in[1].data,
             .gamma = k->in[2].data,
             .mean_in = centre ? k->in[4].data : NULL,
             .rstd_in = k->in[k->n_in - 1].data,
             .y = k->out[0].data,
             .dgamma = k->n_out > 1 ? k->out[1].data : NULL,
             .dbeta = k->n_out > 2 ? k->out[2].data : NULL,
             .part = k->scratch};
    j.past = line_past(j.y, n, 12 * j.rows * n);
    gy_par(k->pool, gy_tiles(j.rows, PIECE), backward_tile, &j);
    if (j.dgamma) gy_par(k->pool, gy_tiles(n, 64), combine_tile, &j);
}

void GY_ISAFN(x86_layernorm)(const gy_kargs *k) {
    forward(k, true);
}
void GY_ISAFN(x86_rmsnorm)(const gy_kargs *k) {
    forward(k, false);
}
void GY_ISAFN(x86_layernorm_grad)(const gy_kargs *k) {
    backward(k, true);
}
void GY_ISAFN(x86_rmsnorm_grad)(const gy_kargs *k) {
    backward(k, false);
}
