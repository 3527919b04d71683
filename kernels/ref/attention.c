/* Attention, one query row at a time: scores of all keys (scratch, Tk doubles), their maximum, exponentials, sum, and
 * the weighted mean of v. Memory O(Tk) a worker; the T x T matrix never exists. 2 (D + Dv) flops a visible pair
 * forward. Backward: a (batch, key head) is one piece of work: it owns its dk, dv and its query heads' dq. Each row of
 * weights is computed again from lse; dk and dv are summed in double. dbias, which may be shared by heads and samples,
 * is a second pass in fixed order.
 *
 * In precision bf16 the factors of all five products (q, k, v, ct, the weights and ds) are rounded first; scores,
 * softmax and sums are not. Weights are rounded as powers over 2^M, M the largest score in powers of two, rounded up:
 * multiples of the weights by whole powers of two round alike, so that blocks with a running M may agree to the bit. */
#define GY_REF_FILE "kernels/ref/attention.c"
#include "ref.h"

#ifdef T

void NAME(attention)(const gy_kargs *k);
void NAME(attention_grad)(const gy_kargs *k);

/* One call's operands. mask and bias are seen with strides over [B, H, Tq, Tk], 0 where they broadcast. */
typedef struct {
    const gy_attention_attr *attr;
    gy_view q, k, v;
    const uint8_t *mask;
    const T *bias;
    int64_t mask_stride[4], bias_stride[4];
    int64_t b, h, hkv, tq, tk, d, dv;
    T *y, *lse; /* forward out; backward in */
    gy_view ct;
    T *dq, *dk, *dv_out;
    double *scratch;
    int64_t per_worker; /* doubles */
    bool rounded;       /* factors of products */
} NAME(job);

static void NAME(spread)(const gy_view *v, int64_t stride[4]) {
    for (int64_t i = 0; i < 4; i++) stride[i] = 0;
    if (!v->data) return;
    int64_t shift = 4 - v->shape.rank;
    for (int64_t i = shift; i < 4; i++)
        if (v->shape.dim[i - shift] != 1) stride[i] = v->stride[i - shift];
}

static NAME(job) NAME(begin)(const gy_kargs *k, int first) {
    const gy_view *in = k->in + first;
    NAME(job)
    j = {.attr = k->attr,
         .q = in[0],
         .k = in[1],
         .v = in[2],
         .mask = in[3].data,
         .bias = in[4].data,
         .b = in[0].shape.dim[0],
         .tq = in[0].shape.dim[1],
         .h = in[0].shape.dim[2],
         .d = in[0].shape.dim[3],
         .tk = in[1].shape.dim[1],
         .hkv = in[1].shape.dim[2],
         .dv = in[2].shape.dim[3],
         .scratch = k->scratch,
         .rounded = sizeof(T) == sizeof(float) && k->precision == GY_BF16};
    NAME(spread)(&in[3], j.mask_stride);
    NAME(spread)(&in[4], j.bias_stride);
    return j;
}

/* The features of one head at one time; they are v->stride[3] apart. */
static const T *NAME(features)(const gy_view *v, int64_t b, int64_t t, int64_t h) {
    return (const T *)v->data + at(v, (const int64_t[]){b, t, h, 0});
}

static acc_t NAME(factor)(const NAME(job) * w, acc_t x) {
    return w->rounded ? (acc_t)gy_bf16_to_f32(gy_f32_to_bf16((float)x)) : x;
}

static acc_t NAME(dot)(const NAME(job) * w, const T *a, int64_t step_a, const T *b, int64_t step_b, int64_t n) {
    acc_t sum = 0;
    for (int64_t c = 0; c < n; c++) sum += NAME(factor)(w, a[c * step_a]) * NAME(factor)(w, b[c * step_b]);
    return sum;
}

/* Score of query i and key j; -inf if the query may not see the key. */
static acc_t NAME(score)(const NAME(job) * w, int64_t b, int64_t h, int64_t i, int64_t j) {
    const int64_t *m = w->mask_stride, *s = w->bias_stride;
    if (w->attr->causal && j > i + w->tk - w->tq) return -INFINITY;
    if (w->mask && !w->mask[b * m[0] + h * m[1] + i * m[2] + j * m[3]]) return -INFINITY;
    const T *query = NAME(features)(&w->q, b, i, h), *key = NAME(features)(&w->k, b, j, h / (w->h / w->hkv));
    acc_t score = w->attr->scale * NAME(dot)(w, query, w->q.stride[3], key, w->k.stride[3], w->d);
    return w->bias ? score + w->bias[b * s[0] + h * s[1] + i * s[2] + j * s[3]] : score;
}

static void NAME(forward_head)(void *arg, int64_t tile, int worker) {
    const NAME(job) *w = arg;
    double *p = w->scratch + worker * w->per_worker;
    int64_t b = tile / w->h, h = tile % w->h, hkv = h / (w->h / w->hkv);
    for (int64_t i = 0; i < w->tq; i++) {
        acc_t max = -INFINITY, sum = 0;
        for (int64_t j = 0; j < w->tk; j++) {
            p[j] = NAME(score)(w, b, h, i, j);
            if (!isnan(max) && !(p[j] <= max)) max = p[j]; /* a NaN score must reach the output */
        }
        bool blind = max == -INFINITY;
        if (w->rounded) max = ceil(max / log(2)) * log(2);
        for (int64_t j = 0; j < w->tk; j++) {
            p[j] = blind ? 0 : exp(p[j] - max);
            sum += p[j];
        }
        w->lse[tile * w->tq + i] = (T)(blind ? -INFINITY : max + log(sum));
        const T *v = NAME(features)(&w->v, b, 0, hkv);
        for (int64_t c = 0; c < w->dv; c++) {
            acc_t y = 0;
            for (int64_t j = 0; j < w->tk; j++) /* what stands in hidden places (padding, even NaN) does not matter */
                if (p[j] != 0) y += NAME(factor)(w, p[j]) * NAME(factor)(w, v[j * w->v.stride[1] + c * w->v.stride[3]]);
            w->y[((b * w->tq + i) * w->h + h) * w->dv + c] = (T)(blind ? 0 : y / sum);
        }
    }
}

void NAME(attention)(const gy_kargs *k) {
    NAME(job) w = NAME(begin)(k, 0);
    w.y = k->out[0].data;
    w.lse = k->out[1].data;
    w.per_worker = w.tk;
    gy_par(k->pool, w.b * w.h, NAME(forward_head), &w);
}

/* p_j and ds_j = p_j (ct . v_j - ct . y) of one query row. */
static void NAME(grad_row)(const NAME(job) * w, int64_t b, int64_t h, int64_t i, double *p, double *ds) {
    int64_t hkv = h / (w->h / w->hkv);
    const T *y = w->y + ((b * w->tq + i) * w->h + h) * w->dv, *ct = NAME(features)(&w->ct, b, i, h);
    acc_t lse = w->lse[(b * w->h + h) * w->tq + i], ct_y = 0;
    for (int64_t c = 0; c < w->dv; c++) ct_y += NAME(factor)(w, ct[c * w->ct.stride[3]]) * (acc_t)y[c];
    for (int64_t j = 0; j < w->tk; j++) {
        acc_t s = NAME(score)(w, b, h, i, j);
        p[j] = s == -INFINITY ? 0 : exp(s - lse);
        acc_t dp = NAME(dot)(w, ct, w->ct.stride[3], NAME(features)(&w->v, b, j, hkv), w->v.stride[3], w->dv);
        ds[j] = p[j] == 0 ? 0 : p[j] * (dp - ct_y);
    }
}

static void NAME(backward_head)(void *arg, int64_t tile, int worker) {
    const NAME(job) *w = arg;
    int64_t b = tile / w->hkv, hkv = tile % w->hkv, group = w->h / w->hkv;
    double *p = w->scratch + worker * w->per_worker, *ds = p + w->tk, *dk = ds + w->tk, *dv = dk + w->tk * w->d;
    for (int64_t n = 0; n < w->tk * (w->d + w->dv); n++) dk[n] = 0;
    for (int64_t h = hkv * group; h < (hkv + 1) * group; h++)
        for (int64_t i = 0; i < w->tq; i++) {
            const T *q = NAME(features)(&w->q, b, i, h), *k = NAME(features)(&w->k, b, 0, hkv);
            const T *ct = NAME(features)(&w->ct, b, i, h);
            NAME(grad_row)(w, b, h, i, p, ds);
            for (int64_t c = 0; c < w->d; c++) {
                acc_t dq = 0;
                for (int64_t j = 0; j < w->tk; j++)
                    dq += NAME(factor)(w, ds[j]) * NAME(factor)(w, k[j * w->k.stride[1] + c * w->k.stride[3]]);
                w->dq[((b * w->tq + i) * w->h + h) * w->d + c] = (T)(dq * w->attr->scale);
            }
            for (int64_t j = 0; j < w->tk; j++) {
                double to_k = w->attr->scale * NAME(factor)(w, ds[j]), weight = NAME(factor)(w, p[j]);
                for (int64_t c = 0; c < w->d; c++) dk[j * w->d + c] += to_k * NAME(factor)(w, q[c * w->q.stride[3]]);
                for (int64_t c = 0; c < w->dv; c++)
                    dv[j * w->dv + c] += weight * NAME(factor)(w, ct[c * w->ct.stride[3]]);
            }
        }
    for (int64_t j = 0; j < w->tk; j++) {
        int64_t row = (b * w->tk + j) * w->hkv + hkv;
        for (int64_t c = 0; c < w->d; c++) w->dk[row * w->d + c] = (T)dk[j * w->d + c];
        for (int64_t c = 0; c < w->dv; c++) w->dv_out[row * w->dv + c] = (T)dv[j * w->dv + c];
    }
}

/* ds of every pair, added to the bias element that the pair used. */
static void NAME(bias_grad)(const NAME(job) * w, const gy_view *out) {
    double *p = w->scratch, *ds = p + w->tk, *sum = ds + w->tk;
    int64_t n = gy_shape_count(out->shape), s[4];
    NAME(spread)(out, s); /* the output's own strides: it is contiguous, the bias may not be */
    for (int64_t i = 0; i < n; i++) sum[i] = 0;
    for (int64_t b = 0; b < w->b; b++)
        for (int64_t h = 0; h < w->h; h++)
            for (int64_t i = 0; i < w->tq; i++) {
                NAME(grad_row)(w, b, h, i, p, ds);
                for (int64_t j = 0; j < w->tk; j++) sum[b * s[0] + h * s[1] + i * s[2] + j * s[3]] += ds[j];
            }
    for (int64_t i = 0; i < n; i++) ((T *)out->data)[i] = (T)sum[i];
}

/* in = (ct, q, k, v, mask, bias, y, lse), all contiguous: the row in kernels.def does not ask for strides. */
void NAME(attention_grad)(const gy_kargs *k) {
    NAME(job) w = NAME(begin)(k, 1);
    w.ct = k->in[0];
    w.y = k->in[6].data;
    w.lse = k->in[7].data;
    w.dq = k->out[0].data;
    w.dk = k->out[1].data;
    w.dv_out = k->out[2].data;
    w.per_worker = w.tk * (2 + w.d + w.dv);
    gy_par(k->pool, w.b * w.hkv, NAME(backward_head), &w);
    if (k->n_out > 3) NAME(bias_grad)(&w, &k->out[3]);
}

#else

size_t ref_attention_scratch(const gy_kargs *k, int threads);
size_t ref_attention_grad_scratch(const gy_kargs *k, int threads);

size_t ref_attention_scratch(const gy_kargs *k, int threads) {
    return (size_t)(k->in[1].shape.dim[1] * threads) * sizeof(double);
}

size_t ref_attention_grad_scratch(const gy_kargs *k, int threads) {
    int64_t tk = k->in[2].shape.dim[1], heads = tk * (2 + k->in[2].shape.dim[3] + k->in[3].shape.dim[3]) * threads;
    int64_t bias = k->n_out > 3 ? 2 * tk + gy_shape_count(k->out[3].shape) : 0;
    return (size_t)(heads > bias ? heads : bias) * sizeof(double);
}

#endif
