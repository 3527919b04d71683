/* Optimizer updates, element by element in double. Outputs may be the inputs' memory: each element is read
 * before it is written. */
#define GY_REF_FILE "kernels/ref/update.c"
#include "ref.h"

#ifndef GY_REF_UPDATE_SHARED
#define GY_REF_UPDATE_SHARED

enum { GRAIN = 16384 };

typedef struct {
    const gy_kargs *k;
    double lr, scale;    /* lr times the group's factor; factor of the gradient */
    double bias1, bias2; /* adam: 1 - beta^t */
} update_job;

static double scalar(const gy_view *v, double absent) {
    if (!v->data) return absent;
    if (v->dtype == GY_F32) return *(const float *)v->data;
    if (v->dtype == GY_F64) return *(const double *)v->data;
    return (double)*(const int64_t *)v->data;
}

static update_job update_start(const gy_kargs *k, int lr, int scale) {
    double factor = ((const gy_update_attr *)k->attr)->lr_factor;
    return (update_job){
        .k = k, .lr = scalar(&k->in[lr], 0) * (factor == 0 ? 1 : factor), .scale = scalar(&k->in[scale], 1)};
}

static void update_run(const update_job *j, gy_tile_fn fn) {
    gy_par(j->k->pool, gy_tiles(gy_shape_count(j->k->out[0].shape), GRAIN), fn, (void *)j);
}
#endif

#ifdef T

static void NAME(sgd_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const update_job *j = arg;
    const gy_update_attr *a = j->k->attr;
    const T *p = j->k->in[0].data, *m = j->k->in[1].data, *g = j->k->in[2].data;
    T *p_new = j->k->out[0].data, *m_new = m ? j->k->out[1].data : NULL;
    int64_t lo, hi;
    gy_tile_range(gy_shape_count(j->k->out[0].shape), GRAIN, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        double grad = j->scale * g[i] + a->weight_decay * p[i], move = grad;
        if (m) {
            double mi = a->beta1 * m[i] + grad;
            move = a->nesterov ? grad + a->beta1 * mi : mi;
            m_new[i] = (T)mi;
        }
        p_new[i] = (T)(p[i] - j->lr * move);
    }
}

void NAME(sgd)(const gy_kargs *k);
void NAME(sgd)(const gy_kargs *k) {
    update_job j = update_start(k, 3, 4);
    update_run(&j, NAME(sgd_tile));
}

static void NAME(adam_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const update_job *j = arg;
    const gy_update_attr *a = j->k->attr;
    const T *p = j->k->in[0].data, *m = j->k->in[1].data, *v = j->k->in[2].data, *g = j->k->in[3].data;
    T *p_new = j->k->out[0].data, *m_new = j->k->out[1].data, *v_new = j->k->out[2].data;
    int64_t lo, hi;
    gy_tile_range(gy_shape_count(j->k->out[0].shape), GRAIN, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        double grad = j->scale * g[i], pi = p[i];
        if (a->decoupled) {
            pi *= 1 - j->lr * a->weight_decay;
        } else {
            grad += a->weight_decay * pi;
        }
        double mi = a->beta1 * m[i] + (1 - a->beta1) * grad;
        double vi = a->beta2 * v[i] + (1 - a->beta2) * grad * grad;
        p_new[i] = (T)(pi - j->lr * (mi / j->bias1) / (sqrt(vi / j->bias2) + a->eps));
        m_new[i] = (T)mi;
        v_new[i] = (T)vi;
    }
}

void NAME(adam)(const gy_kargs *k);
void NAME(adam)(const gy_kargs *k) {
    const gy_update_attr *a = k->attr;
    update_job j = update_start(k, 4, 6);
    double step = scalar(&k->in[5], 1);
    j.bias1 = 1 - pow(a->beta1, step);
    j.bias2 = 1 - pow(a->beta2, step);
    update_run(&j, NAME(adam_tile));
}

static void NAME(lion_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const update_job *j = arg;
    const gy_update_attr *a = j->k->attr;
    const T *p = j->k->in[0].data, *m = j->k->in[1].data, *g = j->k->in[2].data;
    T *p_new = j->k->out[0].data, *m_new = j->k->out[1].data;
    int64_t lo, hi;
    gy_tile_range(gy_shape_count(j->k->out[0].shape), GRAIN, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        double grad = j->scale * g[i], c = a->beta1 * m[i] + (1 - a->beta1) * grad;
        double sign = c > 0 ? 1 : c < 0 ? -1 : c; /* 0 stays 0, NaN stays NaN */
        p_new[i] = (T)(p[i] * (1 - j->lr * a->weight_decay) - j->lr * sign);
        m_new[i] = (T)(a->beta2 * m[i] + (1 - a->beta2) * grad);
    }
}

void NAME(lion)(const gy_kargs *k);
void NAME(lion)(const gy_kargs *k) {
    update_job j = update_start(k, 3, 4);
    update_run(&j, NAME(lion_tile));
}

#endif
