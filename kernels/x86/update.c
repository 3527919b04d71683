/* Optimizer updates in one pass: SGD with momentum, Adam(W), Lion. Scalars are prepared in double, elements are
 * computed in float with fused multiply-adds. Bytes an element: Adam 28, SGD with momentum and Lion 20; bound by
 * memory (Adam in place, one thread of Zen 4, AVX-512: 54 GB/s over 124 million elements, 88 GB/s over a million, where
 * its arithmetic, 16 cycles a vector of which the root takes 10 and the division 6, is the limit; gyrus bench
 * optimizer). Outputs may be the inputs' memory: each vector is read before it is written. */
#include "rows.h"
#include "lines.h"

#include "core/ops/update.h"

enum { GRAIN = 16384 };

typedef struct {
    const gy_update_attr *a;
    int64_t n;
    const float *p, *m, *v, *g;
    float *p_new, *m_new, *v_new;
    double lr, scale, bias1, bias2; /* lr times the group's factor; of the gradient; Adam: 1 - beta^t */
} job;

static double scalar(const gy_view *v, double absent) {
    if (!v->data) return absent;
    if (v->dtype == GY_F32) return (double)*(const float *)v->data;
    if (v->dtype == GY_F64) return *(const double *)v->data;
    return (double)*(const int64_t *)v->data;
}
static job start(const gy_kargs *k, int lr, int scale) {
    const gy_update_attr *a = k->attr;
    return (job){.a = a,
                 .n = gy_shape_count(k->out[0].shape),
                 .p = k->in[0].data,
                 .p_new = k->out[0].data,
                 .lr = scalar(&k->in[lr], 0) * (a->lr_factor == 0 ? 1 : a->lr_factor),
                 .scale = scalar(&k->in[scale], 1)};
}
static vf set(double x) {
    return v_set((float)x);
}

static void sgd_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->n, GRAIN, t, &lo, &hi);
    vf scale = set(j->scale), decay = set(j->a->weight_decay), mu = set(j->a->beta1), lr = set(j->lr);
    for (int64_t i = lo; i < hi; i += VL) {
        int64_t n = hi - i;
        vf p = line_load(j->p + i, n), g = v_fma(decay, p, v_mul(scale, line_load(j->g + i, n))), move = g;
        if (j->m) {
            vf m = v_fma(mu, line_load(j->m + i, n), g);
            move = j->a->nesterov ? v_fma(mu, m, g) : m;
            line_store(j->m_new + i, m, n);
        }
        line_store(j->p_new + i, v_fnma(lr, move, p), n);
    }
}
void GY_ISAFN(x86_sgd)(const gy_kargs *k) {
    job j = start(k, 3, 4);
    j.m = k->in[1].data;
    j.g = k->in[2].data;
    j.m_new = j.m ? k->out[1].data : NULL;
    gy_par(k->pool, gy_tiles(j.n, GRAIN), sgd_tile, &j);
}

/* p - lr / bias1 m' / (sqrt(v') / sqrt(bias2) + eps) */
static void adam_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const gy_update_attr *a = j->a;
    int64_t lo, hi;
    gy_tile_range(j->n, GRAIN, t, &lo, &hi);
    vf scale = set(j->scale), shrink = set(a->decoupled ? 1 - j->lr * a->weight_decay : 1);
    vf l2 = set(a->decoupled ? 0 : a->weight_decay), b1 = set(a->beta1), c1 = set(1 - a->beta1), b2 = set(a->beta2),
       c2 = set(1 - a->beta2), rate = set(j->lr / j->bias1), root = set(1 / sqrt(j->bias2)), eps = set(a->eps);
    for (int64_t i = lo; i < hi; i += VL) {
        int64_t n = hi - i;
        vf p = line_load(j->p + i, n), g = v_fma(l2, p, v_mul(scale, line_load(j->g + i, n)));
        vf m = v_fma(b1, line_load(j->m + i, n), v_mul(c1, g));
        vf v = v_fma(b2, line_load(j->v + i, n), v_mul(c2, v_mul(g, g)));
        vf move = v_div(v_mul(rate, m), v_fma(v_sqrt(v), root, eps));
        line_store(j->p_new + i, v_sub(v_mul(shrink, p), move), n);
        line_store(j->m_new + i, m, n);
        line_store(j->v_new + i, v, n);
    }
}
void GY_ISAFN(x86_adam)(const gy_kargs *k) {
    const gy_update_attr *a = k->attr;
    job j = start(k, 4, 6);
    double step = scalar(&k->in[5], 1);
    j.m = k->in[1].data;
    j.v = k->in[2].data;
    j.g = k->in[3].data;
    j.m_new = k->out[1].data;
    j.v_new = k->out[2].data;
    j.bias1 = 1 - pow(a->beta1, step);
    j.bias2 = 1 - pow(a->beta2, step);
    gy_par(k->pool, gy_tiles(j.n, GRAIN), adam_tile, &j);
}

static void lion_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    const gy_update_attr *a = j->a;
    int64_t lo, hi;
    gy_tile_range(j->n, GRAIN, t, &lo, &hi);
    vf scale = set(j->scale), shrink = set(1 - j->lr * a->weight_decay), lr = set(j->lr), b1 = set(a->beta1),
       c1 = set(1 - a->beta1), b2 = set(a->beta2), c2 = set(1 - a->beta2), zero = v_zero();
    for (int64_t i = lo; i < hi; i += VL) {
        int64_t n = hi - i;
        vf p = line_load(j->p + i, n), m = line_load(j->m + i, n), g = v_mul(scale, line_load(j->g + i, n));
        vf c = v_fma(b1, m, v_mul(c1, g)); /* its sign: 0 stays 0, NaN stays NaN */
        vf sign = v_sel(v_lt(zero, c), v_set(1), v_sel(v_lt(c, zero), v_set(-1), c));
        line_store(j->p_new + i, v_fnma(lr, sign, v_mul(shrink, p)), n);
        line_store(j->m_new + i, v_fma(b2, m, v_mul(c2, g)), n);
    }
}
void GY_ISAFN(x86_lion)(const gy_kargs *k) {
    job j = start(k, 3, 4);
    j.m = k->in[1].data;
    j.g = k->in[2].data;
    j.m_new = k->out[1].data;
    gy_par(k->pool, gy_tiles(j.n, GRAIN), lion_tile, &j);
}
