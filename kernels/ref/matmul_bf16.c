/* Reference matrix product in bf16: operands are widened exactly, sums run in double, and each result is rounded to
 * nearest even once it is whole. y = act(alpha op(a) op(b) + bias) + residual. */
#include "act.h"
#include "ref.h"

static double value(const gy_view *v, int64_t offset) {
    return (double)gy_bf16_to_f32(((const uint16_t *)v->data)[offset]);
}
/* Offset of an operand's matrix for batch index idx; batch axes are broadcast. */
static int64_t matrix_at(const gy_view *v, int64_t batch_rank, const int64_t idx[]) {
    int64_t o = 0;
    for (int64_t i = 0; i + 2 < v->shape.rank; i++)
        if (v->shape.dim[i] != 1) o += idx[i + batch_rank - (v->shape.rank - 2)] * v->stride[i];
    return o;
}

void ref_matmul_bf16(const gy_kargs *k);
void ref_matmul_bf16(const gy_kargs *k) {
    const gy_matmul_attr *attr = k->attr;
    const gy_view *a = &k->in[0], *b = &k->in[1], *y = &k->out[0];
    const gy_view *bias = k->n_in > 2 && k->in[2].data ? &k->in[2] : NULL;
    const gy_view *residual = k->n_in > 3 && k->in[3].data ? &k->in[3] : NULL;
    int64_t ra = a->shape.rank, rb = b->shape.rank, r = y->shape.rank - 2, idx[GY_MAX_RANK] = {0};
    int64_t m = y->shape.dim[r], n = y->shape.dim[r + 1], depth = a->shape.dim[ra - (attr->trans_a ? 2 : 1)];
    int64_t row = a->stride[ra - (attr->trans_a ? 1 : 2)], a_depth = a->stride[ra - (attr->trans_a ? 2 : 1)];
    int64_t b_depth = b->stride[rb - (attr->trans_b ? 1 : 2)], col = b->stride[rb - (attr->trans_b ? 2 : 1)];
    uint16_t *out = y->data;
    gy_shape batch = y->shape;
    batch.rank = r;
    for (int64_t left = gy_shape_count(batch); left > 0; left--, next_index(batch, idx)) {
        int64_t oa = matrix_at(a, r, idx), ob = matrix_at(b, r, idx);
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0;
                for (int64_t p = 0; p < depth; p++)
                    sum += value(a, oa + i * row + p * a_depth) * value(b, ob + p * b_depth + j * col);
                sum *= attr->alpha == 0 ? 1 : attr->alpha;
                if (bias) sum += value(bias, j * bias->stride[0]);
                sum = ref_activate(sum, attr->act);
                idx[r] = i;
                idx[r + 1] = j;
                if (residual) sum += value(residual, at(residual, idx));
                *out++ = gy_f32_to_bf16((float)sum);
            }
    }
}
