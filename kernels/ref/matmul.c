/* Reference matrix product: three loops and an epilogue; y = act(alpha op(a) op(b) + bias) + residual. With precision
 * bf16 the factors are rounded first. */
#define GY_REF_FILE "kernels/ref/matmul.c"
#include "ref.h"
#include "act.h"

#ifdef T

static acc_t NAME(factor)(T x, bool rounded) {
    return rounded ? (acc_t)gy_bf16_to_f32(gy_f32_to_bf16((float)x)) : (acc_t)x;
}

/* The operand's matrix for batch index idx, with batch axes broadcast and the transpose resolved. */
static const T *NAME(operand)(const gy_view *v, bool trans, int64_t batch_rank, const int64_t idx[], int64_t *row,
                              int64_t *col) {
    int64_t r = v->shape.rank, o = 0;
    for (int64_t i = 0; i + 2 < r; i++) {
        int64_t b = i + batch_rank - (r - 2);
        if (v->shape.dim[i] != 1) o += idx[b] * v->stride[i];
    }
    *row = v->stride[trans ? r - 1 : r - 2];
    *col = v->stride[trans ? r - 2 : r - 1];
    return (const T *)v->data + o;
}

void NAME(matmul)(const gy_kargs *k);
void NAME(matmul)(const gy_kargs *k) {
    const gy_matmul_attr *at = k->attr;
    const gy_view *a = &k->in[0], *b = &k->in[1], *y = &k->out[0];
    const gy_view *bias = k->n_in > 2 && k->in[2].data ? &k->in[2] : NULL;
    const gy_view *residual = k->n_in > 3 && k->in[3].data ? &k->in[3] : NULL;
    gy_shape batch = y->shape;
    batch.rank -= 2;
    int64_t m = y->shape.dim[batch.rank], n = y->shape.dim[batch.rank + 1];
    int64_t depth = a->shape.dim[a->shape.rank - (at->trans_a ? 2 : 1)];
    int64_t count = gy_shape_count(batch), idx[GY_MAX_RANK] = {0};
    acc_t alpha = at->alpha == 0 ? 1 : at->alpha;
    T *out = y->data;
    bool rounded = sizeof(T) == sizeof(float) && k->precision == GY_BF16;
    for (int64_t i = 0; i < count; i++, next_index(batch, idx)) {
        int64_t ar, ac, br, bc;
        const T *pa = NAME(operand)(a, at->trans_a, batch.rank, idx, &ar, &ac);
        const T *pb = NAME(operand)(b, at->trans_b, batch.rank, idx, &br, &bc);
        for (int64_t row = 0; row < m; row++)
            for (int64_t col = 0; col < n; col++) {
                acc_t sum = 0;
                for (int64_t p = 0; p < depth; p++)
                    sum += NAME(factor)(pa[row * ar + p * ac], rounded) * NAME(factor)(pb[p * br + col * bc], rounded);
                sum *= alpha;
                if (bias) sum += (acc_t)((const T *)bias->data)[col * bias->stride[0]];
                sum = ref_activate(sum, at->act);
                if (residual) {
                    int64_t o = row * residual->stride[batch.rank] + col * residual->stride[batch.rank + 1];
                    for (int64_t d = 0; d < batch.rank; d++) o += idx[d] * residual->stride[d];
                    sum += (acc_t)((const T *)residual->data)[o];
                }
                *out++ = (T)sum;
            }
    }
}
#endif
