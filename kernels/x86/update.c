/* Optimizer updates on f32, one pass: each array is read once and written once, so a large parameter runs at
 * memory speed. Adam moves 28 bytes an element for about 14 FLOPs, two of them a square root and a division
 * that hide behind the loads; SGD with momentum moves 20, Lion 20. Outputs may be the inputs' memory. */
#include "rows.h"
#include "vec.h"

#include "../update.h"

/* ---- adam ---- */

typedef struct {
    vf scale, l2, shrink, b1, c1, b2, c2, root, eps, rate;
} adam_consts;

static adam_consts adam_prepare(const gy_update_job *j) {
    const gy_update_attr *a = j->k->attr;
    return (adam_consts){.scale = v_set((float)j->scale),
                         .l2 = v_set((float)(a->decoupled ? 0 : a->weight_decay)),
                         .shrink = v_set((float)(a->decoupled ? 1 - j->lr * a->weight_decay : 1)),
                         .b1 = v_set((float)a->beta1),
                         .c1 = v_set((float)(1 - a->beta1)),
                         .b2 = v_set((float)a->beta2),
                         .c2 = v_set((float)(1 - a->beta2)),
                         .root = v_set((float)(1 / sqrt(j->bias2))),
                         .eps = v_set((float)a->eps),
                         .rate = v_set((float)(j->lr / j->bias1))};
}

GY_INLINE void adam_step(const adam_consts *c, vf *p, vf *m, vf *v, vf g) {
    g = v_fma(c->l2, *p, v_mul(c->scale, g));
    *m = v_fma(c->b1, *m, v_mul(c->c1, g));
    *v = v_fma(c->b2, *v, v_mul(c->c2, v_mul(g, g)));
    vf size = v_fma(v_sqrt(*v), c->root, c->eps);
    *p = v_fnma(c->rate, v_div(*m, size), v_mul(c->shrink, *p));
}

static void adam_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const gy_update_job *j = arg;
    const gy_kargs *k = j->k;
    const float *p = k->in[0].data, *m = k->in[1].data, *v = k->in[2].data, *g = k->in[3].data;
    float *p_new = k->out[0].data, *m_new = k->out[1].data, *v_new = k->out[2].data;
    adam_consts c = adam_prepare(j);
    int64_t i, hi;
    gy_update_range(j, t, &i, &hi);
    for (; i + VL <= hi; i += VL) {
        vf vp = v_load(p + i), vm_ = v_load(m + i), vv = v_load(v + i);
        adam_step(&c, &vp, &vm_, &vv, v_load(g + i));
        v_store(p_new + i, vp);
        v_store(m_new + i, vm_);
        v_store(v_new + i, vv);
    }
    if (i < hi) {
        int64_t n = hi - i;
        vf vp = v_loadn(p + i, n), vm_ = v_loadn(m + i, n), vv = v_loadn(v + i, n);
        adam_step(&c, &vp, &vm_, &vv, v_loadn(g + i, n));
        v_storen(p_new + i, vp, n);
        v_storen(m_new + i, vm_, n);
        v_storen(v_new + i, vv, n);
    }
}

void GY_ISAFN(x86_adam_f32)(const gy_kargs *k) {
    gy_update_job j = gy_update_start(k, 4, 5, 6);
    gy_update_run(&j, adam_tile);
}

/* ---- sgd and lion: p, m, g ---- */

typedef struct {
    vf scale, decay, b1, c1, b2, c2, rate, shrink;
    bool nesterov;
} momentum_consts;

static momentum_consts momentum_prepare(const gy_update_job *j) {
    const gy_update_attr *a = j->k->attr;
    return (momentum_consts){.scale = v_set((float)j->scale),
                             .decay = v_set((float)a->weight_decay),
                             .b1 = v_set((float)a->beta1),
                             .c1 = v_set((float)(1 - a->beta1)),
                             .b2 = v_set((float)a->beta2),
                             .c2 = v_set((float)(1 - a->beta2)),
                             .rate = v_set((float)j->lr),
                             .shrink = v_set((float)(1 - j->lr * a->weight_decay)),
                             .nesterov = a->nesterov};
}

typedef void (*momentum_step)(const momentum_consts *c, vf *p, vf *m, vf g);

GY_INLINE void sgd_step(const momentum_consts *c, vf *p, vf *m, vf g) {
    g = v_fma(c->decay, *p, v_mul(c->scale, g));
    *m = v_fma(c->b1, *m, g);
    *p = v_fnma(c->rate, c->nesterov ? v_fma(c->b1, *m, g) : *m, *p);
}
GY_INLINE void plain_step(const momentum_consts *c, vf *p, vf *m, vf g) {
    (void)m;
    *p = v_fnma(c->rate, v_fma(c->decay, *p, v_mul(c->scale, g)), *p);
}
GY_INLINE void lion_step(const momentum_consts *c, vf *p, vf *m, vf g) {
    g = v_mul(c->scale, g);
    vf x = v_fma(c->b1, *m, v_mul(c->c1, g));
    vf sign = v_sel(v_lt(v_zero(), v_abs(x)), v_copysign(v_set(1), x), x); /* 0 and NaN stay */
    *p = v_fnma(c->rate, sign, v_mul(c->shrink, *p));
    *m = v_fma(c->b2, *m, v_mul(c->c2, g));
}

/* Inlined with a constant `step`: one loop a rule. */
GY_INLINE void momentum_tile(const gy_update_job *j, int64_t t, momentum_step step) {
    const gy_kargs *k = j->k;
    const float *p = k->in[0].data, *m = k->in[1].data, *g = k->in[2].data;
    float *p_new = k->out[0].data, *m_new = m ? k->out[1].data : NULL;
    momentum_consts c = momentum_prepare(j);
    int64_t i, hi;
    gy_update_range(j, t, &i, &hi);
    for (; i + VL <= hi; i += VL) {
        vf vp = v_load(p + i), vm_ = m ? v_load(m + i) : v_zero();
        step(&c, &vp, &vm_, v_load(g + i));
        v_store(p_new + i, vp);
        if (m) v_store(m_new + i, vm_);
    }
    if (i < hi) {
        int64_t n = hi - i;
        vf vp = v_loadn(p + i, n), vm_ = m ? v_loadn(m + i, n) : v_zero();
        step(&c, &vp, &vm_, v_loadn(g + i, n));
        v_storen(p_new + i, vp, n);
        if (m) v_storen(m_new + i, vm_, n);
    }
}
static void sgd_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    momentum_tile(arg, t, sgd_step);
}
static void plain_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    momentum_tile(arg, t, plain_step);
}
static void lion_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    momentum_tile(arg, t, lion_step);
}

void GY_ISAFN(x86_sgd_f32)(const gy_kargs *k) {
    gy_update_job j = gy_update_start(k, 3, -1, 4);
    gy_update_run(&j, k->in[1].data ? sgd_tile : plain_tile);
}

void GY_ISAFN(x86_lion_f32)(const gy_kargs *k) {
    gy_update_job j = gy_update_start(k, 3, -1, 4);
    gy_update_run(&j, lion_tile);
}
