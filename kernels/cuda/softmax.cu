/* Softmax and log-softmax along the last axis, and their gradients. A warp a row of up to 1024 elements, which it keeps
 * in registers: 8 bytes an element forward, 12 backward, so that memory bounds it. A block a longer row, or one whose
 * length is no multiple of four: it is read once for a running maximum and sum (Milakov, Gimelshein 2018, arXiv
 * 1805.02867), or for the sum of the gradient, and again, from L2, for the results. */
#include "row.h"

enum { KEEP = 8 /* 16-byte pieces of a row a lane */ };

typedef struct {
    const float *x, *b; /* x: or the cotangent; b: y of the gradients */
    float *y;
    int64_t rows, n;
    int log, warp, vec;
} softmax_args;

/* Element i of a row kept in registers: piece j of this lane, i = 4 (lane + 32 j) + e. */
GY_DEVICE void load_row(gy_f32x4 v[KEEP], const float *x, int64_t n, float beyond) {
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        int i = 4 * (gy_lane() + GY_WARP * j);
        v[j] = i < n ? gy_load_f32x4(x + i) : gy_f32x4_of(beyond);
    }
}
GY_DEVICE void store_row(float *y, const gy_f32x4 v[KEEP], int64_t n) {
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        int i = 4 * (gy_lane() + GY_WARP * j);
        if (i < n) gy_store_f32x4(y + i, v[j]);
    }
}

GY_KERNEL(softmax_short, softmax_args, GY_ROW_THREADS) {
    gy_row_team t = gy_team_of(true);
    if (t.row >= a->rows) return;
    gy_f32x4 v[KEEP];
    float top = -INFINITY, sum = 0;
    load_row(v, a->x + t.row * a->n, a->n, -INFINITY);
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        GY_UNROLL
        for (int e = 0; e < 4; e++) top = fmaxf(top, v[j].v[e]);
    }
    top = gy_warp_max_f32(top);
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        GY_UNROLL
        for (int e = 0; e < 4; e++) {
            float p = gy_exp_below(v[j].v[e], top);
            sum += p;
            v[j].v[e] = a->log ? v[j].v[e] - top : p;
        }
    }
    sum = gy_warp_sum_f32(sum);
    float scale = 1 / sum, log_sum = logf(sum);
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        GY_UNROLL
        for (int e = 0; e < 4; e++) v[j].v[e] = a->log ? v[j].v[e] - log_sum : v[j].v[e] * scale;
    }
    store_row(a->y + t.row * a->n, v, a->n);
}

GY_KERNEL(softmax_long, softmax_args, GY_ROW_THREADS) {
    gy_row_team t = gy_team_of(a->warp);
    if (t.row >= a->rows) return;
    const float *x = a->x + t.row * a->n;
    float *y = a->y + t.row * a->n;
    gy_running r = gy_running_of(&t, x, a->n, a->vec);
    float scale = 1 / r.sum, log_sum = logf(r.sum);
    for (int64_t i = t.at; i < a->n; i += t.step)
        y[i] = a->log ? x[i] - r.top - log_sum : gy_exp_below(x[i], r.top) * scale;
}

/* dx = y (ct - sum ct y), or ct - e^y sum ct */
GY_DEVICE float softmax_slope(const softmax_args *a, float ct, float y, float sum) {
    return a->log ? ct - expf(y) * sum : y * (ct - sum);
}

GY_KERNEL(softmax_grad_short, softmax_args, GY_ROW_THREADS) {
    gy_row_team t = gy_team_of(true);
    if (t.row >= a->rows) return;
    gy_f32x4 ct[KEEP], y[KEEP];
    float sum = 0;
    load_row(ct, a->x + t.row * a->n, a->n, 0);
    load_row(y, a->b + t.row * a->n, a->n, 0);
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        GY_UNROLL
        for (int e = 0; e < 4; e++) sum += a->log ? ct[j].v[e] : ct[j].v[e] * y[j].v[e];
    }
    sum = gy_warp_sum_f32(sum);
    GY_UNROLL
    for (int j = 0; j < KEEP; j++) {
        GY_UNROLL
        for (int e = 0; e < 4; e++) ct[j].v[e] = softmax_slope(a, ct[j].v[e], y[j].v[e], sum);
    }
    store_row(a->y + t.row * a->n, ct, a->n);
}

GY_KERNEL(softmax_grad_long, softmax_args, GY_ROW_THREADS) {
    gy_row_team t = gy_team_of(a->warp);
    if (t.row >= a->rows) return;
    const float *ct = a->x + t.row * a->n, *y = a->b + t.row * a->n;
    float *dx = a->y + t.row * a->n, sum = 0;
    for (int64_t i = t.at; i < a->n; i += t.step) sum += a->log ? ct[i] : ct[i] * y[i];
    sum = gy_team_sum(&t, sum);
    for (int64_t i = t.at; i < a->n; i += t.step) dx[i] = softmax_slope(a, ct[i], y[i], sum);
}

#ifdef GY_HOST
void cuda_softmax(const gy_kargs *k);

void cuda_softmax(const gy_kargs *k) {
    gy_shape s = k->in[0].shape;
    int64_t n = s.dim[s.rank - 1], count = gy_shape_count(s);
    bool grad = k->n_in == 2;
    softmax_args a = {.x = k->in[0].data,
                      .b = k->in[k->n_in - 1].data,
                      .y = k->out[0].data,
                      .rows = n ? count / n : 0,
                      .n = n,
                      .log = k->op == GY_OP_log_softmax || k->op == GY_OP_log_softmax_grad,
                      .vec = n % 4 == 0};
    bool kept = a.vec && n <= GY_WARP * 4 * KEEP;
    const gy_cuda_kernel *f =
        grad ? (kept ? &softmax_grad_short : &softmax_grad_long) : (kept ? &softmax_short : &softmax_long);
    if (count) gy_launch_rows(k, f, a.rows, n, &a.warp, &a, sizeof a);
}
#endif
