/* Attention in plans of precision bf16 by the f32 kernels: operands are copied, rounded to bf16, and the kernels round
 * weights and dS themselves (kernels/ref/attention.c says what is rounded). The copies cost a pass over q, k, v and ct;
 * arithmetic runs at the speed of f32. AVX512-BF16 has a way of its own for all but few queries
 * (attention_avx512bf16.c).
 *
 * The fractions are those of attention.c, less the pass. */
#include "attention.h"

static size_t copy_floats(const gy_view *v) {
    return (size_t)up(gy_shape_count(v->shape), 16);
}

typedef struct {
    const gy_view *from;
    float *to;
} rounding;
/* The rows of one time. */
static void round_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const rounding *r = arg;
    const gy_view *v = r->from;
    int64_t heads = v->shape.dim[2], d = v->shape.dim[3], step = v->stride[3];
    for (int64_t h = 0; h < heads; h++) {
        const float *x = row(v, t / v->shape.dim[1], t % v->shape.dim[1], h);
        float *to = r->to + (t * heads + h) * d;
        for (int64_t c = 0; c < d && step != 1; c++) to[c] = gy_bf16_to_f32(gy_f32_to_bf16(x[c * step]));
        for (int64_t c = 0; c < d && step == 1; c += VL) {
            int64_t n = least(d - c, VL);
            v_storen(to + c, v_through_bf16(v_loadn(x + c, n)), n);
        }
    }
}

static size_t copies(const gy_kargs *k, int n) {
    size_t floats = 0;
    for (int i = 0; i < n; i++) floats += copy_floats(&k->in[i]);
    return floats * sizeof(float);
}
/* Calls fn with the first n operands rounded. */
static void run_rounded(const gy_kargs *k, int n, gy_kernel_fn fn) {
    gy_view in[8];
    gy_kargs rounded = *k;
    float *room = k->scratch;
    for (int i = 0; i < k->n_in; i++) in[i] = k->in[i];
    for (int i = 0; i < n; i++) {
        rounding r = {&k->in[i], room};
        gy_par(k->pool, in[i].shape.dim[0] * in[i].shape.dim[1], round_tile, &r);
        in[i].data = room;
        int64_t stride = 1;
        for (int64_t a = 3; a >= 0; a--) {
            in[i].stride[a] = stride;
            stride *= in[i].shape.dim[a];
        }
        room += copy_floats(&k->in[i]);
    }
    rounded.in = in;
    rounded.scratch = room;
    fn(&rounded);
}

size_t GY_ISAFN(x86_attention_rounded_scratch)(const gy_kargs *k, int threads) {
    return copies(k, 3) + GY_ISAFN(x86_attention_scratch)(k, threads);
}
void GY_ISAFN(x86_attention_rounded)(const gy_kargs *k) {
    run_rounded(k, 3, GY_ISAFN(x86_attention));
}
size_t GY_ISAFN(x86_attention_grad_rounded_scratch)(const gy_kargs *k, int threads) {
    return copies(k, 4) + GY_ISAFN(x86_attention_grad_scratch)(k, threads);
}
void GY_ISAFN(x86_attention_grad_rounded)(const gy_kargs *k) {
    run_rounded(k, 4, GY_ISAFN(x86_attention_grad));
}
