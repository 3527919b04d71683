/* Reference reductions: for each output element, a walk over the reduced axes. */
#define GY_REF_FILE "kernels/ref/reduce.c"
#include "ref.h"

#ifdef T

/* Splits x's axes: `kept` gives the shape and strides of what remains, `gone` of what is reduced. */
static void NAME(split)(const gy_view *x, const gy_reduce_attr *a, gy_view *kept, gy_view *gone) {
    bool reduced[GY_MAX_RANK] = {false};
    for (int64_t i = 0; i < a->axes.n; i++) reduced[a->axes.axis[i]] = true;
    kept->shape.rank = gone->shape.rank = 0;
    for (int64_t i = 0; i < x->shape.rank; i++) {
        gy_view *v = reduced[i] ? gone : kept;
        v->stride[v->shape.rank] = x->stride[i];
        v->shape.dim[v->shape.rank++] = x->shape.dim[i];
    }
}

/* Folds the reduced axes into one number an output element; `first` is given the first element. */
static void NAME(fold)(const gy_kargs *k, acc_t start, acc_t (*f)(acc_t sum, acc_t x)) {
    gy_view kept, gone;
    NAME(split)(&k->in[0], k->attr, &kept, &gone);
    const T *x = k->in[0].data;
    T *y = k->out[0].data;
    int64_t n = gy_shape_count(k->out[0].shape), m = gy_shape_count(gone.shape), outer[GY_MAX_RANK] = {0};
    for (int64_t o = 0; o < n; o++, next_index(kept.shape, outer)) {
        const T *base = x + at(&kept, outer);
        int64_t inner[GY_MAX_RANK] = {0};
        acc_t sum = start;
        for (int64_t i = 0; i < m; i++, next_index(gone.shape, inner)) sum = f(sum, (acc_t)base[at(&gone, inner)]);
        y[o] = (T)sum;
    }
}

static acc_t NAME(plus)(acc_t sum, acc_t x) {
    return sum + x;
}
static acc_t NAME(plus_square)(acc_t sum, acc_t x) {
    return sum + x * x;
}
static acc_t NAME(times)(acc_t sum, acc_t x) {
    return sum * x;
}
static acc_t NAME(larger)(acc_t sum, acc_t x) { /* a NaN wins */
    return sum >= x || sum != sum ? sum : x;
}
static acc_t NAME(smaller)(acc_t sum, acc_t x) {
    return sum <= x || sum != sum ? sum : x;
}

void NAME(sum)(const gy_kargs *k);
void NAME(sum)(const gy_kargs *k) {
    NAME(fold)(k, 0, NAME(plus));
}
void NAME(sum_squares)(const gy_kargs *k);
void NAME(sum_squares)(const gy_kargs *k) {
    NAME(fold)(k, 0, NAME(plus_square));
}
void NAME(prod)(const gy_kargs *k);
void NAME(prod)(const gy_kargs *k) {
    NAME(fold)(k, 1, NAME(times));
}
void NAME(max)(const gy_kargs *k);
void NAME(max)(const gy_kargs *k) {
    NAME(fold)(k, -INFINITY, NAME(larger));
}
void NAME(min)(const gy_kargs *k);
void NAME(min)(const gy_kargs *k) {
    NAME(fold)(k, INFINITY, NAME(smaller));
}

/* Index of the first extreme element; a NaN counts as extreme. */
static void NAME(arg)(const gy_kargs *k, acc_t sign) {
    gy_view kept, gone;
    NAME(split)(&k->in[0], k->attr, &kept, &gone);
    const T *x = k->in[0].data;
    int64_t *y = k->out[0].data;
    int64_t n = gy_shape_count(k->out[0].shape), outer[GY_MAX_RANK] = {0};
    for (int64_t o = 0; o < n; o++, next_index(kept.shape, outer)) {
        const T *base = x + at(&kept, outer);
        int64_t best = 0;
        acc_t top = sign * (acc_t)base[0];
        for (int64_t i = 1; i < gone.shape.dim[0] && top == top; i++) {
            acc_t v = sign * (acc_t)base[i * gone.stride[0]];
            if (!(v <= top)) {
                top = v;
                best = i;
            }
        }
        y[o] = best;
    }
}
void NAME(argmax)(const gy_kargs *k);
void NAME(argmax)(const gy_kargs *k) {
    NAME(arg)(k, 1);
}
void NAME(argmin)(const gy_kargs *k);
void NAME(argmin)(const gy_kargs *k) {
    NAME(arg)(k, -1);
}

/* attr.keep: from the end backwards. */
void NAME(cumsum)(const gy_kargs *k);
void NAME(cumsum)(const gy_kargs *k) {
    const gy_reduce_attr *a = k->attr;
    const gy_view *x = &k->in[0], *y = &k->out[0];
    int64_t axis = a->axes.axis[0], n = x->shape.dim[axis], idx[GY_MAX_RANK] = {0};
    gy_shape lanes = x->shape;
    lanes.dim[axis] = 1;
    int64_t count = gy_shape_count(lanes);
    for (int64_t lane = 0; lane < count; lane++, next_index(lanes, idx)) {
        const T *px = (const T *)x->data + at(x, idx);
        T *py = (T *)y->data + at(y, idx);
        acc_t sum = 0;
        for (int64_t j = 0; j < n; j++) {
            int64_t i = a->keep ? n - 1 - j : j;
            sum += (acc_t)px[i * x->stride[axis]];
            py[i * y->stride[axis]] = (T)sum;
        }
    }
}
#endif
