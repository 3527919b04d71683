/* Cross-entropy of rows of logits and its gradient; softmax is not stored. A warp a row of up to 1024 classes, a block
 * a longer one. Forward: one reading from DRAM, each thread keeping a running maximum and sum of exponentials
 * (Milakov, Gimelshein 2018, arXiv 1805.02867); only label smoothing reads the row again, from L2. Backward: one
 * reading, one writing, which may be in place. 4 bytes a logit forward, 8 backward: memory bounds both. */
#include "row.h"

typedef struct {
    const float *x, *weight, *ct, *given_lse;
    const int64_t *target;
    float *loss, *lse, *row_weight, *dx;
    int64_t rows, n, ignore;
    float smoothing;
    int warp, vec;
} loss_args;

GY_DEVICE float weighted_sum(const loss_args *a, gy_row_team t, const float *x, float lse) {
    float sum = 0; /* of w (lse - x), or of w if x is NULL */
    for (int64_t c = t.at; c < a->n; c += t.step) sum = fmaf(a->weight ? a->weight[c] : 1, x ? lse - x[c] : 1, sum);
    return gy_team_sum(&t, sum);
}

GY_KERNEL(loss_rows, loss_args, GY_ROW_THREADS) {
    gy_row_team t = gy_team_of(a->warp);
    if (t.row >= a->rows) return;
    const float *x = a->x + t.row * a->n;
    gy_running r = gy_running_of(&t, x, a->n, a->vec);
    float lse = r.top + logf(r.sum), smooth = a->smoothing > 0 ? weighted_sum(a, t, x, lse) : 0;
    if (t.at) return;
    int64_t target = a->target[t.row];
    bool ignored = target == a->ignore, wrong = target < 0 || target >= a->n;
    float w = ignored ? 0 : wrong ? NAN : a->weight ? a->weight[target] : 1;
    a->lse[t.row] = lse;
    a->row_weight[t.row] = w;
    a->loss[t.row] = ignored ? 0
                     : wrong ? NAN
                             : (1 - a->smoothing) * w * (lse - x[target]) + a->smoothing / (float)a->n * smooth;
}

/* dx = ct ((hit + each sum w) p - hit [c = t] - each w_c), hit = (1 - e) w_t, each = e / C. */
GY_KERNEL(loss_rows_grad, loss_args, GY_ROW_THREADS) {
    gy_row_team t = gy_team_of(a->warp);
    if (t.row >= a->rows) return;
    const float *x = a->x + t.row * a->n;
    float *dx = a->dx + t.row * a->n, lse = a->given_lse[t.row], ct = a->ct[t.row];
    int64_t target = a->target[t.row];
    bool ignored = target == a->ignore, wrong = target < 0 || target >= a->n;
    float each = a->smoothing / (float)a->n, all = 0;
    if (a->smoothing > 0) all = each * weighted_sum(a, t, NULL, 0);
    float hit = ignored || wrong ? 0 : (1 - a->smoothing) * (a->weight ? a->weight[target] : 1);
    if (a->vec && !ignored && !wrong) {
        for (int64_t c = 4 * t.at; c < a->n; c += 4 * t.step) {
            gy_f32x4 v = gy_load_f32x4(x + c);
            GY_UNROLL
            for (int e = 0; e < 4; e++) {
                float less = c + e == target ? hit : 0;
                if (each > 0) less = fmaf(each, a->weight ? a->weight[c + e] : 1, less);
                v.v[e] = ct * fmaf(hit + all, expf(v.v[e] - lse), -less);
            }
            gy_store_f32x4(dx + c, v);
        }
        return;
    }
    for (int64_t c = t.at; c < a->n; c += t.step) {
        float less = (c == target ? hit : 0) + each * (a->weight ? a->weight[c] : 1);
        dx[c] = ignored ? 0 : wrong ? NAN : ct * fmaf(hit + all, expf(x[c] - lse), -less);
    }
}

#ifdef GY_HOST
void cuda_cross_entropy(const gy_kargs *k);

/* in = (logits, target, weight) -> loss, lse, row weight; or (ct, logits, target, weight, lse) -> dlogits. */
void cuda_cross_entropy(const gy_kargs *k) {
    const gy_cross_entropy_attr *attr = k->attr;
    bool grad = k->op == GY_OP_cross_entropy_grad;
    const gy_view *in = k->in + grad;
    loss_args a = {.x = in[0].data,
                   .target = in[1].data,
                   .weight = in[2].data,
                   .rows = gy_shape_count(in[1].shape),
                   .n = in[0].shape.dim[in[0].shape.rank - 1],
                   .ignore = attr->ignore,
                   .smoothing = (float)attr->smoothing};
    if (grad) {
        a.ct = k->in[0].data;
        a.given_lse = k->in[4].data;
        a.dx = k->out[0].data;
    } else {
        a.loss = k->out[0].data;
        a.lse = k->out[1].data;
        a.row_weight = k->out[2].data;
    }
    a.vec = a.n % 4 == 0;
    gy_launch_rows(k, grad ? &loss_rows_grad : &loss_rows, a.rows, a.n, &a.warp, &a, sizeof a);
}
#endif
