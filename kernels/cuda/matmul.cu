/* Matrix products in f32 and f64: y = act(alpha a b + bias) + residual, with batch axes, any strides and an epilogue.
 *
 * A block computes a tile of y, its operands' tiles of DEPTH depths coming through shared memory in STAGES stages of
 * asynchronous copies, one barrier a stage. Tiles lie depth by depth, whichever way the operand lies in memory, so a
 * copy moves one element; neighbouring threads copy neighbours in memory (8 depths of a line are one sector of 32
 * bytes). With 128 x 128 a thread has 8 x 8 sums: 4 loads of 16 bytes feed 64 multiply-adds, and 8 copies 512, so the
 * arithmetic units are the bound: 2 m n k FLOPs at the rate of f32. Few tiles: 32 x 32, 4 x 4 sums a thread, to occupy
 * more processors; fewer still and much depth: the depth is split too, partial sums go to scratch and a second kernel
 * adds them in order. Each rule looks at shapes alone. f64: 64 x 64, 4 x 4 sums. */
#include "matmul.h"

enum { DEPTH = 8, STAGES = 4 };

#define T        float
#define TNAME    f32
#define M(name)  name##f
#define VEC      4
#define CP_ASYNC gy_cp_async4
#define FMA      fmaf
#include "act.h"
#include "matmul_out.h"
#include "matmul_tile.h"
#undef T
#undef TNAME
#undef M
#undef VEC
#undef CP_ASYNC
#undef FMA
#define T        double
#define TNAME    f64
#define M(name)  name
#define VEC      2
#define CP_ASYNC gy_cp_async8
#define FMA      fma
#include "act.h"
#include "matmul_out.h"
#include "matmul_tile.h"
#undef T
#undef TNAME
#undef M
#undef VEC
#undef CP_ASYNC
#undef FMA

GY_KERNEL(matmul_f32_large, matmul_args, 256) {
    product_f32(a, 4, 2, 8, 8);
}
GY_KERNEL(matmul_f32_small, matmul_args, 64) {
    product_f32(a, 2, 1, 4, 4);
}
GY_KERNEL(matmul_f64_large, matmul_args, 256) {
    product_f64(a, 4, 2, 4, 4);
}
GY_KERNEL(matmul_f64_small, matmul_args, 64) {
    product_f64(a, 2, 1, 4, 4);
}

typedef struct {
    matmul_args a;
    const void *part;
    int parts;
} finish_args;
GY_KERNEL(matmul_finish_f32, finish_args, 256) {
    finish_f32(&a->a, (const float *)a->part, a->parts, (int64_t)blockIdx.x * blockDim.x + threadIdx.x);
}
GY_KERNEL(matmul_finish_f64, finish_args, 256) {
    finish_f64(&a->a, (const double *)a->part, a->parts, (int64_t)blockIdx.x * blockDim.x + threadIdx.x);
}

#ifdef GY_HOST
#include "../../core/ops.h"

_Static_assert((int)ACT_RELU == (int)GY_ACT_RELU && (int)ACT_SILU == (int)GY_ACT_SILU &&
                   (int)ACT_GELU == (int)GY_ACT_GELU && (int)ACT_GELU_TANH == (int)GY_ACT_GELU_TANH &&
                   (int)ACT_QUICK_GELU == (int)GY_ACT_QUICK_GELU && (int)ACT_TANH == (int)GY_ACT_TANH &&
                   (int)ACT_SIGMOID == (int)GY_ACT_SIGMOID,
               "activations are numbered alike");

void cuda_matmul(const gy_kargs *k);
size_t cuda_matmul_scratch(const gy_kargs *k, int threads);

matmul_args matmul_problem(const gy_kargs *k) {
    const gy_matmul_attr *at = k->attr;
    const gy_view *a = &k->in[0], *b = &k->in[1], *y = &k->out[0];
    const gy_view *bias = k->n_in > 2 && k->in[2].data ? &k->in[2] : NULL;
    const gy_view *r = k->n_in > 3 && k->in[3].data ? &k->in[3] : NULL;
    int64_t ra = a->shape.rank, rb = b->shape.rank, axes = y->shape.rank - 2;
    matmul_args p = {.a = a->data,
                     .b = b->data,
                     .bias = bias ? bias->data : NULL,
                     .residual = r ? r->data : NULL,
                     .y = y->data,
                     .m = y->shape.dim[axes],
                     .n = y->shape.dim[axes + 1],
                     .k = a->shape.dim[ra - (at->trans_a ? 2 : 1)],
                     .batch = 1,
                     .a_row = a->stride[ra - (at->trans_a ? 1 : 2)],
                     .a_depth = a->stride[ra - (at->trans_a ? 2 : 1)],
                     .b_depth = b->stride[rb - (at->trans_b ? 1 : 2)],
                     .b_col = b->stride[rb - (at->trans_b ? 2 : 1)],
                     .y_row = y->shape.dim[axes + 1],
                     .y_col = 1,
                     .r_row = r ? r->stride[axes] : 0,
                     .r_col = r ? r->stride[axes + 1] : 0,
                     .bias_col = bias ? bias->stride[0] : 0,
                     .alpha = at->alpha == 0 ? 1 : at->alpha,
                     .act = (int)at->act};
    int64_t vec = a->dtype == GY_F64 ? 2 : 4;
    p.y_batch = p.m * p.n;
    p.k_split = p.k;
    p.whole = p.n % vec == 0;
    for (int64_t i = 0; i < axes; i++) {
        int64_t ia = i - (axes - (ra - 2)), ib = i - (axes - (rb - 2)), dim = y->shape.dim[i];
        if (dim == 1) continue;
        int64_t sa = ia < 0 || a->shape.dim[ia] == 1 ? 0 : a->stride[ia];
        int64_t sb = ib < 0 || b->shape.dim[ib] == 1 ? 0 : b->stride[ib];
        int64_t sr = r ? r->stride[i] : 0;
        int d = p.batch_rank - 1; /* an axis that lies as the continuation of the one before is merged with it */
        p.batch *= dim;
        if (d >= 0 && p.a_batch[d] == sa * dim && p.b_batch[d] == sb * dim && p.r_batch[d] == sr * dim)
            p.dim[d] *= dim;
        else
            p.dim[d = p.batch_rank++] = dim;
        p.a_batch[d] = sa;
        p.b_batch[d] = sb;
        p.r_batch[d] = sr;
    }
    return p;
}

/* Tiles from this many on occupy a GPU: about as many as it has processors. */
enum { MANY = 96, SPLIT_DEPTH = 256, MOST_PARTS = 64 };

matmul_cut matmul_cut_of(const matmul_args *p, int large, int small) {
    matmul_cut c = {gy_blocks(p->m, large) * gy_blocks(p->n, large) * p->batch, 1, large};
    if (c.tiles < MANY || p->m <= large / 2 || p->n <= large / 2) {
        c.side = small;
        c.tiles = gy_blocks(p->m, small) * gy_blocks(p->n, small) * p->batch;
    }
    c.parts = matmul_parts(c.tiles, p->k);
    return c;
}
int matmul_parts(int64_t tiles, int64_t k) {
    if (!tiles || tiles >= MANY || k < 2 * SPLIT_DEPTH) return 1;
    int64_t parts = gy_blocks(2 * MANY, tiles), most = k / SPLIT_DEPTH;
    if (parts > most) parts = most;
    return parts > MOST_PARTS ? MOST_PARTS : (int)parts;
}
matmul_args matmul_transposed(matmul_args p) {
    matmul_args t = p;
    t.a = p.b;
    t.b = p.a;
    t.m = p.n;
    t.n = p.m;
    t.a_row = p.b_col;
    t.a_depth = p.b_depth;
    t.b_depth = p.a_depth;
    t.b_col = p.a_row;
    t.y_row = p.y_col;
    t.y_col = p.y_row;
    t.r_row = p.r_col;
    t.r_col = p.r_row;
    t.bias_row = p.bias_col;
    t.bias_col = p.bias_row;
    t.whole = false;
    memcpy(t.a_batch, p.b_batch, sizeof t.a_batch);
    memcpy(t.b_batch, p.a_batch, sizeof t.b_batch);
    return t;
}
size_t matmul_cut_scratch(const matmul_args *p, matmul_cut c, size_t size) {
    return c.parts > 1 ? (size_t)(c.parts * p->batch * p->m * p->n) * size : 0;
}
matmul_args matmul_part(matmul_args p, matmul_cut c, void *scratch, int depth) {
    if (c.parts == 1) return p;
    p.y = scratch;
    p.y_batch = p.m * p.n;
    p.y_row = p.n;
    p.y_col = 1;
    p.y_split = p.batch * p.m * p.n;
    p.k_split = gy_blocks(gy_blocks(p.k, c.parts), depth) * depth;
    p.bias = p.residual = NULL;
    p.act = 0;
    p.alpha = 1;
    return p;
}
void matmul_finish(const gy_kargs *k, const matmul_args *p, int parts) {
    finish_args finish = {*p, k->scratch, parts};
    gy_cuda_launch(k, k->out[0].dtype == GY_F64 ? &matmul_finish_f64 : &matmul_finish_f32,
                   (gy_grid){gy_blocks(p->batch * p->m * p->n, 256), 1, 1}, 256, 0, &finish, sizeof finish);
}

static matmul_cut cut_of(const gy_kargs *k, const matmul_args *p) {
    return matmul_cut_of(p, k->in[0].dtype == GY_F64 ? 64 : 128, 32);
}

size_t cuda_matmul_scratch(const gy_kargs *k, int threads) {
    matmul_args p = matmul_problem(k);
    (void)threads;
    if (k->in[0].dtype == GY_F32 && matmul_few_takes(&p)) return matmul_few_scratch(&p);
    if (k->in[0].dtype == GY_F32 && matmul_tf32_takes(&p)) return matmul_tf32_scratch(&p);
    return matmul_cut_scratch(&p, cut_of(k, &p), gy_dtype_size(k->in[0].dtype));
}

void cuda_matmul(const gy_kargs *k) {
    matmul_args whole = matmul_problem(k);
    if (k->in[0].dtype == GY_F32 && matmul_few_takes(&whole)) {
        matmul_few_run(k, &whole);
        return;
    }
    if (k->in[0].dtype == GY_F32 && matmul_tf32_takes(&whole)) {
        matmul_tf32_run(k, &whole);
        return;
    }
    matmul_cut c = cut_of(k, &whole);
    matmul_args p = matmul_part(whole, c, k->scratch, DEPTH);
    bool f64 = k->in[0].dtype == GY_F64, large = c.side > 32;
    const gy_cuda_kernel *f =
        f64 ? (large ? &matmul_f64_large : &matmul_f64_small) : (large ? &matmul_f32_large : &matmul_f32_small);
    gy_cuda_launch(k, f, (gy_grid){c.tiles, c.parts, 1}, large ? 256 : 64,
                   (size_t)(STAGES * DEPTH * (2 * c.side + (f64 ? 4 : 8))) * (f64 ? 8 : 4), &p, sizeof p);
    if (c.parts > 1) matmul_finish(k, &whole, c.parts);
}
#endif
