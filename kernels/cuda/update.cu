/* Optimizer updates: a thread an element at a time, four a thread a block apart, in double as the reference. Scalars
 * lie in device memory: a block's first thread reads them, and computes what all elements share (Adam's corrections of
 * the bias), before the others go on. Outputs may be the inputs' memory: a thread reads its element before it writes
 * it. Bytes an element in f32: sgd 12 or 20, adam 28, lion 20; adam's square root and division in double stay below
 * that bound. */
#include "walk.h"

enum { THREADS = 256, EACH = 4 };

typedef struct {
    const void *p, *m, *v, *g;
    void *p_out, *m_out, *v_out;
    const void *lr, *scale, *step; /* scale, step NULL: 1 */
    int64_t n;
    double beta1, beta2, eps, weight_decay, lr_factor;
    int op, wide, lr_wide, scale_wide, step_dtype, nesterov, decoupled;
} update_args;

typedef struct {
    double lr, scale, bias1, bias2;
} update_scalars;

GY_KERNEL(update, update_args, THREADS) {
    update_scalars *shared = GY_SHARED(update_scalars), s;
    if (threadIdx.x == 0) {
        shared->lr = gy_number(a->lr, a->lr_wide, 0) * a->lr_factor;
        shared->scale = a->scale ? gy_number(a->scale, a->scale_wide, 0) : 1;
        double t = !a->step                  ? 1
                   : a->step_dtype == GY_F32 ? (double)*(const float *)a->step
                   : a->step_dtype == GY_F64 ? *(const double *)a->step
                                             : (double)*(const int64_t *)a->step;
        if (a->op == GY_OPCODE_adam) {
            shared->bias1 = 1 - pow(a->beta1, t);
            shared->bias2 = 1 - pow(a->beta2, t);
        }
    }
    __syncthreads();
    s = *shared;
    for (int e = 0; e < EACH; e++) {
        int64_t i = ((int64_t)blockIdx.x * EACH + e) * blockDim.x + threadIdx.x;
        if (i >= a->n) return;
        double p = gy_number(a->p, a->wide, i), m = a->m ? gy_number(a->m, a->wide, i) : 0;
        double grad = s.scale * gy_number(a->g, a->wide, i);
        if (a->op == GY_OPCODE_sgd) {
            grad += a->weight_decay * p;
            double move = grad;
            if (a->m) {
                double mi = a->beta1 * m + grad;
                move = a->nesterov ? grad + a->beta1 * mi : mi;
                gy_put_number(a->m_out, a->wide, i, mi);
            }
            gy_put_number(a->p_out, a->wide, i, p - s.lr * move);
        } else if (a->op == GY_OPCODE_adam) {
            double v = gy_number(a->v, a->wide, i);
            if (a->decoupled)
                p *= 1 - s.lr * a->weight_decay;
            else
                grad += a->weight_decay * p;
            double mi = a->beta1 * m + (1 - a->beta1) * grad, vi = a->beta2 * v + (1 - a->beta2) * grad * grad;
            gy_put_number(a->p_out, a->wide, i, p - s.lr * (mi / s.bias1) / (sqrt(vi / s.bias2) + a->eps));
            gy_put_number(a->m_out, a->wide, i, mi);
            gy_put_number(a->v_out, a->wide, i, vi);
        } else {
            double c = a->beta1 * m + (1 - a->beta1) * grad, sign = c > 0 ? 1 : c < 0 ? -1 : c;
            gy_put_number(a->p_out, a->wide, i, p * (1 - s.lr * a->weight_decay) - s.lr * sign);
            gy_put_number(a->m_out, a->wide, i, a->beta2 * m + (1 - a->beta2) * grad);
        }
    }
}

#ifdef GY_HOST
void cuda_update(const gy_kargs *k);

void cuda_update(const gy_kargs *k) {
    const gy_update_attr *attr = k->attr;
    bool adam = k->op == GY_OP_adam;
    int g = adam ? 3 : 2; /* then lr, adam's step, scale */
    const gy_view *lr = &k->in[g + 1], *scale = &k->in[g + 2 + adam];
    update_args a = {.p = k->in[0].data,
                     .m = k->in[1].data,
                     .v = adam ? k->in[2].data : NULL,
                     .g = k->in[g].data,
                     .p_out = k->out[0].data,
                     .m_out = k->in[1].data ? k->out[1].data : NULL,
                     .v_out = adam ? k->out[2].data : NULL,
                     .lr = lr->data,
                     .scale = scale->data,
                     .step = adam ? k->in[g + 2].data : NULL,
                     .n = gy_shape_count(k->out[0].shape),
                     .beta1 = attr->beta1,
                     .beta2 = attr->beta2,
                     .eps = attr->eps,
                     .weight_decay = attr->weight_decay,
                     .lr_factor = attr->lr_factor != 0 ? attr->lr_factor : 1,
                     .op = (int)k->op,
                     .wide = k->out[0].dtype == GY_F64,
                     .lr_wide = lr->dtype == GY_F64,
                     .scale_wide = scale->dtype == GY_F64,
                     .step_dtype = adam ? (int)k->in[g + 2].dtype : 0,
                     .nesterov = attr->nesterov != 0,
                     .decoupled = attr->decoupled != 0};
    int threads = gy_power_of_two(gy_blocks(a.n, EACH), GY_WARP, THREADS);
    gy_cuda_launch(k, &update, (gy_grid){gy_blocks(a.n, EACH * threads), 1, 1}, threads, sizeof(update_scalars), &a,
                   sizeof a);
}
#endif
