/* Reference of packed_linear: rows of x, rounded to bf16 as the weights are, times lines of weights; sums in double. */
#include "../kernel.h"
#include "act.h"

void ref_packed_linear(const gy_kargs *k);
void ref_packed_linear(const gy_kargs *k) {
    const gy_matmul_attr *at = k->attr;
    const gy_view *bias = k->n_in > 2 && k->in[2].data ? &k->in[2] : NULL;
    const gy_view *residual = k->n_in > 3 && k->in[3].data ? &k->in[3] : NULL;
    int64_t m = k->in[0].shape.dim[0], depth = k->in[0].shape.dim[1], n = k->in[1].shape.dim[0];
    float *y = k->out[0].data;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            const float *x = (const float *)k->in[0].data + i * depth;
            const uint16_t *w = (const uint16_t *)k->in[1].data + j * depth;
            double sum = 0;
            for (int64_t p = 0; p < depth; p++)
                sum += (double)gy_bf16_to_f32(gy_f32_to_bf16(x[p])) * (double)gy_bf16_to_f32(w[p]);
            if (at->alpha != 0) sum *= at->alpha;
            if (bias) sum += (double)((const float *)bias->data)[j];
            sum = ref_activate(sum, at->act);
            if (residual) sum += (double)((const float *)residual->data)[i * n + j];
            y[i * n + j] = (float)sum;
        }
}
