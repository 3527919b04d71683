/* Softmax, log-softmax, cross-entropy and their gradients, row by row along the last axis.
 *
 * Softmax: the row's maximum, exponentials stored and summed, one scaling: a row stays in the first or second cache
 * between the passes. Cross-entropy stores no softmax. About 20 FLOPs and 8 to 12 bytes an element; bound by the
 * exponential in the caches: softmax of 1024 columns 3.1 elements a ns on AVX-512, 1.75 on AVX2 (one thread of Zen 4;
 * make bench). */
#include "lines.h"
#include "rows.h"

#include "core/ops/loss.h"

enum { GRAIN = 8192 };

typedef struct {
    const gy_kargs *k;
    int64_t rows, n, grain;
    double weights; /* cross_entropy_grad: sum of the class weights */
} job;

static void run(const gy_kargs *k, gy_shape s, gy_tile_fn fn, double weights) {
    int64_t n = s.dim[s.rank - 1], rows = n ? gy_shape_count(s) / n : 0;
    job j = {k, rows, n, n >= GRAIN ? 1 : GRAIN / (n ? n : 1), weights};
    gy_par(k->pool, gy_tiles(rows, j.grain), fn, &j);
}

static void softmax_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, n = j->n;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        const float *x = (const float *)j->k->in[0].data + r * n;
        float *y = (float *)j->k->out[0].data + r * n;
        vf scale = v_set((float)(1 / line_exp_sum(x, n, line_max(x, n), y)));
        for (int64_t i = 0; i < n; i += VL) line_store(y + i, v_mul(line_load(y + i, n - i), scale), n - i);
    }
}
static void log_softmax_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, n = j->n;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        const float *x = (const float *)j->k->in[0].data + r * n;
        float *y = (float *)j->k->out[0].data + r * n, max = line_max(x, n);
        vf top = v_set(max), rest = v_set((float)log(line_exp_sum(x, n, max, NULL)));
        for (int64_t i = 0; i < n; i += VL) line_store(y + i, v_sub(v_sub(line_load(x + i, n - i), top), rest), n - i);
    }
}
static void softmax_grad_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, n = j->n;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        const float *ct = (const float *)j->k->in[0].data + r * n, *y = (const float *)j->k->in[1].data + r * n;
        float *dx = (float *)j->k->out[0].data + r * n;
        double dot = 0;
        LINE_SUM(dot, n, v_mul(line_load(ct + i, left), line_load(y + i, left)))
        vf d = v_set((float)dot);
        for (int64_t i = 0; i < n; i += VL)
            line_store(dx + i, v_mul(line_load(y + i, n - i), v_sub(line_load(ct + i, n - i), d)), n - i);
    }
}
static void log_softmax_grad_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, n = j->n;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        const float *ct = (const float *)j->k->in[0].data + r * n, *y = (const float *)j->k->in[1].data + r * n;
        float *dx = (float *)j->k->out[0].data + r * n;
        double sum = 0;
        LINE_SUM(sum, n, line_load(ct + i, left))
        vf s = v_set((float)sum);
        for (int64_t i = 0; i < n; i += VL)
            line_store(dx + i, v_fnma(v_exp(line_load(y + i, n - i)), s, line_load(ct + i, n - i)), n - i);
    }
}

/* in = (logits, target, weight) -> loss, lse, weight of the row. */
static void cross_entropy_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const gy_cross_entropy_attr *a = j->k->attr;
    const float *weight = j->k->in[2].data;
    const int64_t *target = j->k->in[1].data;
    float *loss = j->k->out[0].data, *lse = j->k->out[1].data, *row_weight = j->k->out[2].data;
    int64_t lo, hi, n = j->n;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    for (int64_t r = lo; r < hi; r++) {
        const float *x = (const float *)j->k->in[0].data + r * n, max = line_max(x, n);
        double log_sum = (double)max + log(line_exp_sum(x, n, max, NULL)), smooth = 0;
        lse[r] = (float)log_sum;
        loss[r] = row_weight[r] = 0;
        if (target[r] == a->ignore) continue;
        if (target[r] < 0 || target[r] >= n) {
            loss[r] = row_weight[r] = NAN;
            continue;
        }
        double w = weight ? (double)weight[target[r]] : 1;
        if (a->smoothing > 0) {
            vf l = v_set(lse[r]);
            LINE_SUM(smooth, n,
                     weight ? v_mul(line_load(weight + i, left), v_sub(l, line_load(x + i, left)))
                            : line_keep(v_sub(l, line_load(x + i, left)), left, 0))
        }
        loss[r] =
            (float)((1 - a->smoothing) * w * (log_sum - (double)x[target[r]]) + a->smoothing / (double)n * smooth);
        row_weight[r] = (float)w;
    }
}

/* in = (ct, logits, target, weight, lse) -> dlogits. */
static void cross_entropy_grad_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const gy_cross_entropy_attr *a = j->k->attr;
    const float *ct = j->k->in[0].data, *weight = j->k->in[3].data, *lse = j->k->in[4].data;
    const int64_t *target = j->k->in[2].data;
    int64_t lo, hi, n = j->n;
    gy_tile_range(j->rows, j->grain, t, &lo, &hi);
    double each = a->smoothing / (double)n; /* e/C */
    for (int64_t r = lo; r < hi; r++) {
        const float *x = (const float *)j->k->in[1].data + r * n;
        float *dx = (float *)j->k->out[0].data + r * n;
        bool ignored = target[r] == a->ignore, wrong = !ignored && (target[r] < 0 || target[r] >= n);
        if (ignored || wrong) {
            for (int64_t c = 0; c < n; c++) dx[c] = wrong ? NAN : 0.0f;
            continue;
        }
        double hit = (1 - a->smoothing) * (weight ? (double)weight[target[r]] : 1), c = (double)ct[r];
        vf p = v_set((float)(c * (hit + each * j->weights))), e = v_set((float)(c * each)), l = v_set(lse[r]);
        for (int64_t i = 0; i < n; i += VL) {
            vf w = weight ? v_mul(e, line_load(weight + i, n - i)) : e;
            line_store(dx + i, v_fms(p, v_exp(v_sub(line_load(x + i, n - i), l)), w), n - i);
        }
        dx[target[r]] -= (float)(c * hit);
    }
}

void GY_ISAFN(x86_softmax)(const gy_kargs *k) {
    run(k, k->in[0].shape, softmax_tile, 0);
}
void GY_ISAFN(x86_log_softmax)(const gy_kargs *k) {
    run(k, k->in[0].shape, log_softmax_tile, 0);
}
void GY_ISAFN(x86_softmax_grad)(const gy_kargs *k) {
    run(k, k->in[0].shape, softmax_grad_tile, 0);
}
void GY_ISAFN(x86_log_softmax_grad)(const gy_kargs *k) {
    run(k, k->in[0].shape, log_softmax_grad_tile, 0);
}
void GY_ISAFN(x86_cross_entropy)(const gy_kargs *k) {
    run(k, k->in[0].shape, cross_entropy_tile, 0);
}
void GY_ISAFN(x86_cross_entropy_grad)(const gy_kargs *k) {
    const gy_shape *s = &k->in[1].shape;
    const float *weight = k->in[3].data;
    int64_t n = s->dim[s->rank - 1];
    double all = 0;
    for (int64_t c = 0; c < n; c++) all += weight ? (double)weight[c] : 1;
    run(k, *s, cross_entropy_grad_tile, all);
}
