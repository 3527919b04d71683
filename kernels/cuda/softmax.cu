/* Softmax and log-softmax along the last axis, and their gradients: a block a row. A thread keeps every blockDim-th
 * element; the row is read twice for the results and written once (a row of a few thousand elements stays in L1 or L2).
 */
#include "cuda.h"

enum { THREADS = 256 };

typedef struct {
    const float *x, *b; /* b: y of the gradients */
    float *y;
    int64_t n; /* elements a row */
    int log, grad;
} softmax_args;

GY_KERNEL(softmax_rows, softmax_args, THREADS) {
    float *room = GY_SHARED(float);
    int64_t row = (int64_t)blockIdx.x, step = blockDim.x;
    const float *x = a->x + row * a->n, *b = a->grad ? a->b + row * a->n : x;
    float *y = a->y + row * a->n;
    if (a->grad) { /* dx = y (ct - sum ct y), or ct - e^y sum ct */
        float dot = 0;
        for (int64_t i = threadIdx.x; i < a->n; i += step) dot += a->log ? x[i] : x[i] * b[i];
        dot = gy_block_sum_f32(dot, room);
        for (int64_t i = threadIdx.x; i < a->n; i += step)
            y[i] = a->log ? x[i] - expf(b[i]) * dot : b[i] * (x[i] - dot);
        return;
    }
    float top = -INFINITY, sum = 0;
    for (int64_t i = threadIdx.x; i < a->n; i += step) top = fmaxf(top, x[i]);
    top = gy_block_max_f32(top, room);
    for (int64_t i = threadIdx.x; i < a->n; i += step) sum += expf(x[i] - top);
    sum = gy_block_sum_f32(sum, room + GY_WARP);
    float scale = 1 / sum, log_sum = logf(sum);
    for (int64_t i = threadIdx.x; i < a->n; i += step) y[i] = a->log ? x[i] - top - log_sum : expf(x[i] - top) * scale;
}

#ifdef GY_HOST
void cuda_softmax(const gy_kargs *k);

void cuda_softmax(const gy_kargs *k) {
    gy_shape s = k->in[0].shape;
    int64_t n = s.dim[s.rank - 1], count = gy_shape_count(s);
    softmax_args a = {.x = k->in[0].data,
                      .b = k->in[k->n_in - 1].data,
                      .y = k->out[0].data,
                      .n = n,
                      .log = k->op == GY_OP_log_softmax || k->op == GY_OP_log_softmax_grad,
                      .grad = k->n_in == 2};
    int threads = n <= 32 ? 32 : n <= 128 ? 128 : THREADS;
    if (count) gy_cuda_launch(k, &softmax_rows, (gy_grid){count / n, 1, 1}, threads, 256, &a, sizeof a);
}
#endif
