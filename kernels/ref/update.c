/* Optimizer updates, element by element in double. Outputs may be the inputs' memory: each element is read
 * before it is written. */
#define GY_REF_FILE "kernels/ref/update.c"
#include "ref.h"

#include "../update.h"

#ifdef T

static void NAME(sgd_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const gy_update_job *j = arg;
    const gy_update_attr *a = j->k->attr;
    const T *p = j->k->in[0].data, *m = j->k->in[1].data, *g = j->k->in[2].data;
    T *p_new = j->k->out[0].data, *m_new = m ? j->k->out[1].data : NULL;
    int64_t lo, hi;
    gy_update_range(j, t, &lo, &hi);
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
    gy_update_job j = gy_update_start(k, 3, -1, 4);
    gy_update_run(&j, NAME(sgd_tile));
}

static void NAME(adam_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const gy_update_job *j = arg;
    const gy_update_attr *a = j->k->attr;
    const T *p = j->k->in[0].data, *m = j->k->in[1].data, *v = j->k->in[2].data, *g = j->k->in[3].data;
    T *p_new = j->k->out[0].data, *m_new = j->k->out[1].data, *v_new = j->k->out[2].data;
    int64_t lo, hi;
    gy_update_range(j, t, &lo, &hi);
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
    gy_update_job j = gy_update_start(k, 4, 5, 6);
    gy_update_run(&j, NAME(adam_tile));
}

static void NAME(lion_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const gy_update_job *j = arg;
    const gy_update_attr *a = j->k->attr;
    const T *p = j->k->in[0].data, *m = j->k->in[1].data, *g = j->k->in[2].data;
    T *p_new = j->k->out[0].data, *m_new = j->k->out[1].data;
    int64_t lo, hi;
    gy_update_range(j, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        double grad = j->scale * g[i], c = a->beta1 * m[i] + (1 - a->beta1) * grad;
        double sign = c > 0 ? 1 : c < 0 ? -1 : c; /* 0 stays 0, NaN stays NaN */
        p_new[i] = (T)(p[i] * (1 - j->lr * a->weight_decay) - j->lr * sign);
        m_new[i] = (T)(a->beta2 * m[i] + (1 - a->beta2) * grad);
    }
}

void NAME(lion)(const gy_kargs *k);
void NAME(lion)(const gy_kargs *k) {
    gy_update_job j = gy_update_start(k, 3, -1, 4);
    gy_update_run(&j, NAME(lion_tile));
}

#endif
