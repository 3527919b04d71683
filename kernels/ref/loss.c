/* Cross-entropy of rows of logits, and its gradient: two passes over a row (maximum, sum of exponentials); softmax is
 * not stored. A target outside [0, C) gives NaN. */
#define GY_REF_FILE "kernels/ref/loss.c"
#include "ref.h"

#ifdef T

void NAME(cross_entropy)(const gy_kargs *k);
void NAME(cross_entropy_grad)(const gy_kargs *k);

/* in = (logits, target, weight) -> loss, lse, weight of the row. */
void NAME(cross_entropy)(const gy_kargs *k) {
    const gy_cross_entropy_attr *a = k->attr;
    const T *x = k->in[0].data, *weight = k->in[2].data;
    const int64_t *target = k->in[1].data;
    T *loss = k->out[0].data, *lse = k->out[1].data, *row_weight = k->out[2].data;
    int64_t rows = gy_shape_count(k->in[1].shape), n = k->in[0].shape.dim[k->in[0].shape.rank - 1];
    for (int64_t r = 0; r < rows; r++, x += n) {
        acc_t max = x[0], sum = 0, smooth = 0;
        for (int64_t c = 1; c < n; c++)
            if (x[c] > max) max = x[c];
        for (int64_t c = 0; c < n; c++) sum += exp(x[c] - max);
        acc_t log_sum = max + log(sum);
        lse[r] = (T)log_sum;
        loss[r] = row_weight[r] = 0;
        if (target[r] == a->ignore) continue;
        if (target[r] < 0 || target[r] >= n) {
            loss[r] = row_weight[r] = (T)NAN;
            continue;
        }
        acc_t w = weight ? weight[target[r]] : 1;
        if (a->smoothing > 0)
            for (int64_t c = 0; c < n; c++) smooth += (weight ? weight[c] : 1) * (log_sum - x[c]);
        loss[r] = (T)((1 - a->smoothing) * w * (log_sum - x[target[r]]) + a->smoothing / (acc_t)n * smooth);
        row_weight[r] = (T)w;
    }
}

/* in = (ct, logits, target, weight, lse) -> dlogits. */
void NAME(cross_entropy_grad)(const gy_kargs *k) {
    const gy_cross_entropy_attr *a = k->attr;
    const T *ct = k->in[0].data, *x = k->in[1].data, *weight = k->in[3].data, *lse = k->in[4].data;
    const int64_t *target = k->in[2].data;
    T *dx = k->out[0].data;
    int64_t rows = gy_shape_count(k->in[2].shape), n = k->in[1].shape.dim[k->in[1].shape.rank - 1];
    acc_t each = a->smoothing / (acc_t)n, all = 0; /* e/C and sum of the class weights */
    for (int64_t c = 0; c < n; c++) all += weight ? weight[c] : 1;
    for (int64_t r = 0; r < rows; r++, x += n, dx += n) {
        bool ignored = target[r] == a->ignore, wrong = !ignored && (target[r] < 0 || target[r] >= n);
        if (ignored || wrong) {
            for (int64_t c = 0; c < n; c++) dx[c] = (T)(wrong ? NAN : 0.0);
            continue;
        }
        acc_t hit = (1 - a->smoothing) * (weight ? weight[target[r]] : 1);
        for (int64_t c = 0; c < n; c++) {
            acc_t p = exp(x[c] - lse[r]), t = (c == target[r] ? hit : 0) + each * (weight ? weight[c] : 1);
            dx[c] = (T)(ct[r] * ((hit + each * all) * p - t));
        }
    }
}

#endif
