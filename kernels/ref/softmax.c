/* Softmax and log-softmax along the last axis, and their gradients: row by row, three passes over a row (maximum, sum
 * of exponentials, result). 12 flops an element if an exponential counts as 8; memory bound. */
#define GY_REF_FILE "kernels/ref/softmax.c"
#include "ref.h"

#ifdef T

void NAME(softmax)(const gy_kargs *k);
void NAME(log_softmax)(const gy_kargs *k);
void NAME(softmax_grad)(const gy_kargs *k);
void NAME(log_softmax_grad)(const gy_kargs *k);

typedef void (*NAME(row_fn))(const T *a, int64_t step_a, const T *b, int64_t step_b, T *y, int64_t n);

/* Calls f for every row of in[0] (and in[1], if there is one). */
static void NAME(rows)(const gy_kargs *k, NAME(row_fn) f) {
    const gy_view *a = &k->in[0], *b = &k->in[k->n_in - 1];
    int64_t last = a->shape.rank - 1, n = a->shape.dim[last], idx[GY_MAX_RANK] = {0};
    gy_shape heads = a->shape;
    heads.dim[last] = 1;
    T *y = k->out[0].data;
    if (gy_shape_count(a->shape) == 0) return;
    do {
        f((const T *)a->data + at(a, idx), a->stride[last], (const T *)b->data + at(b, idx), b->stride[last], y, n);
        y += n;
    } while (next_index(heads, idx));
}

/* Returns log of the sum of e^x, and the maximum. */
static acc_t NAME(log_sum)(const T *x, int64_t step, int64_t n, acc_t *max) {
    acc_t top = x[0], sum = 0;
    for (int64_t i = 1; i < n; i++)
        if (x[i * step] > top) top = x[i * step];
    for (int64_t i = 0; i < n; i++) sum += exp(x[i * step] - top);
    *max = top;
    return log(sum);
}

static void NAME(softmax_row)(const T *x, int64_t step, const T *b, int64_t step_b, T *y, int64_t n) {
    (void)b, (void)step_b;
    acc_t max, log_sum = NAME(log_sum)(x, step, n, &max), scale = exp(-log_sum);
    for (int64_t i = 0; i < n; i++) y[i] = (T)(exp(x[i * step] - max) * scale);
}

static void NAME(log_softmax_row)(const T *x, int64_t step, const T *b, int64_t step_b, T *y, int64_t n) {
    (void)b, (void)step_b;
    acc_t max, log_sum = NAME(log_sum)(x, step, n, &max);
    for (int64_t i = 0; i < n; i++) y[i] = (T)(x[i * step] - max - log_sum);
}

static void NAME(softmax_grad_row)(const T *ct, int64_t step, const T *y, int64_t step_y, T *dx, int64_t n) {
    acc_t dot = 0;
    for (int64_t i = 0; i < n; i++) dot += (acc_t)ct[i * step] * y[i * step_y];
    for (int64_t i = 0; i < n; i++) dx[i] = (T)(y[i * step_y] * (ct[i * step] - dot));
}

static void NAME(log_softmax_grad_row)(const T *ct, int64_t step, const T *y, int64_t step_y, T *dx, int64_t n) {
    acc_t sum = 0;
    for (int64_t i = 0; i < n; i++) sum += ct[i * step];
    for (int64_t i = 0; i < n; i++) dx[i] = (T)(ct[i * step] - exp((acc_t)y[i * step_y]) * sum);
}

void NAME(softmax)(const gy_kargs *k) {
    NAME(rows)(k, NAME(softmax_row));
}
void NAME(log_softmax)(const gy_kargs *k) {
    NAME(rows)(k, NAME(log_softmax_row));
}
void NAME(softmax_grad)(const gy_kargs *k) {
    NAME(rows)(k, NAME(softmax_grad_row));
}
void NAME(log_softmax_grad)(const gy_kargs *k) {
    NAME(rows)(k, NAME(log_softmax_grad_row));
}

#endif
