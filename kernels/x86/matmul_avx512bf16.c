/* The operator matmul with factors in bf16 on AVX512-BF16: operands in bf16, result rounded to bf16 once, at the end;
 * and, in plans of precision bf16, operands in f32, rounded while they are packed, and a result in f32.
 *
 * Every product goes through panels of pairs (gemm_avx512bf16.c): many small ones of a batch on one thread each, others
 * on all. Weights that do not change are packed once: half the bytes of f32, which is what a product of few rows waits
 * for. A result in bf16 gathers its sums in f32 in the scratch and leaves part by part, as each is finished.
 *
 * FLOPs 2 m n k; bytes: operands and result once at least.
 *
 * Measured on Zen 4, one thread (`gyrus bench matmul --match bf16`), of 236 GFLOP/s: 1024^3 .93; packed weights, 16
 * rows of 2048 x 2048 .92, one row 64 GB/s of the 83 that the third level gives. */
#include "gemm.h"
#include "rows.h"

enum { PACK_ROWS = 48 }; /* most rows for which weights are packed once */

typedef struct {
    const gy_kargs *k;
    bool wide; /* operands in f32 */
    int64_t batch, rank, group;
    bool serial; /* one thread a product */
    int64_t m, n;
    gy_pairs a, b;
    size_t bias_bytes, c_bytes, room; /* of scratch: bias in f32, sums, panels of a worker or of all */
} job;

/* What the end of a bf16 result needs. */
typedef struct {
    uint16_t *y;
    const uint16_t *residual;
    int64_t n, residual_row, residual_col;
} narrow;

static void narrow_part(const gy_gemm_bf16 *g, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
    const narrow *q = g->user;
    for (int64_t i = i0; i < i1; i++) {
        float *c = g->c + i * g->ldc;
        uint16_t *y = q->y + i * q->n;
        if (q->residual)
            for (int64_t j = j0; j < j1; j++)
                c[j] += gy_bf16_to_f32(q->residual[i * q->residual_row + j * q->residual_col]);
        int64_t j = j0;
        for (; j + VL <= j1; j += VL) v_store_u16(y + j, v_to_bf16(v_load(c + j)));
        if (j < j1) {
            vi x = v_to_bf16(v_loadn(c + j, j1 - j));
            _mm256_mask_storeu_epi16(y + j, v_tail(j1 - j), _mm512_cvtepi32_epi16(x));
        }
    }
}

static size_t align64(size_t n) {
    return (n + 63) & ~(size_t)63;
}

static job job_of(const gy_kargs *k) {
    const gy_matmul_attr *at = k->attr;
    const gy_view *a = &k->in[0], *b = &k->in[1], *y = &k->out[0];
    int64_t ra = a->shape.rank, rb = b->shape.rank;
    job j = {.k = k, .wide = a->dtype == GY_F32, .rank = y->shape.rank - 2, .batch = 1, .group = 1};
    for (int64_t i = 0; i < j.rank; i++) j.batch *= y->shape.dim[i];
    j.m = y->shape.dim[j.rank];
    j.n = y->shape.dim[j.rank + 1];
    j.a.depths = j.b.depths = a->shape.dim[ra - (at->trans_a ? 2 : 1)];
    j.a.line = a->stride[ra - (at->trans_a ? 1 : 2)];
    j.a.depth = a->stride[ra - (at->trans_a ? 2 : 1)];
    j.b.depth = b->stride[rb - (at->trans_b ? 1 : 2)];
    j.b.line = b->stride[rb - (at->trans_b ? 2 : 1)];
    double work = (double)j.m * (double)j.n * (double)j.a.depths;
    j.serial = j.batch > 1 && (work <= 4e6 || (j.batch >= 32 && work <= 1e9));
    j.group = work < 1e6 ? (int64_t)(1e6 / (work + 1000)) + 1 : 1;
    j.bias_bytes = j.wide ? 0 : align64((size_t)j.n * sizeof(float));
    j.c_bytes = j.wide ? 0 : align64((size_t)(j.m * j.n) * sizeof(float));
    return j;
}
static int64_t pairs_of(const job *j) {
    return (j->a.depths + 1) / 2;
}

/* Product number `index`; sums of a bf16 result go to c, what remains for its end to *rest. */
static gy_gemm_bf16 item(const job *j, int64_t index, float *c, gy_pairs operand[2], narrow *rest) {
    const gy_kargs *k = j->k;
    const gy_matmul_attr *at = k->attr;
    const gy_view *a = &k->in[0], *b = &k->in[1], *y = &k->out[0];
    const gy_view *bias = k->n_in > 2 && k->in[2].data ? &k->in[2] : NULL;
    const gy_view *res = k->n_in > 3 && k->in[3].data ? &k->in[3] : NULL;
    int64_t oa = 0, ob = 0, ores = 0, left = index, size = j->wide ? 4 : 2;
    for (int64_t i = j->rank - 1; i >= 0; i--) {
        int64_t here = left % y->shape.dim[i], ia = i - (j->rank - (a->shape.rank - 2)),
                ib = i - (j->rank - (b->shape.rank - 2));
        left /= y->shape.dim[i];
        if (ia >= 0 && a->shape.dim[ia] != 1) oa += here * a->stride[ia];
        if (ib >= 0 && b->shape.dim[ib] != 1) ob += here * b->stride[ib];
        if (res) ores += here * res->stride[i];
    }
    operand[0] = j->a;
    operand[1] = j->b;
    operand[0].data = (const char *)a->data + oa * size;
    operand[1].data = (const char *)b->data + ob * size;
    gy_pack_bf16 pack = j->wide ? gy_pack_pairs_f32_avx512bf16 : gy_pack_pairs_bf16_avx512bf16;
    gy_gemm_bf16 g = {.m = j->m,
                      .n = j->n,
                      .k = pairs_of(j),
                      .pack_a = pack,
                      .pack_b = pack,
                      .a = &operand[0],
                      .b = &operand[1],
                      .a_raw = {operand[0].data, j->a.line * size, j->a.depth * size, 2},
                      .b_raw = {operand[1].data, j->b.line * size, j->b.depth * size, 2},
                      .b_packed = k->packed[1],
                      .c = c,
                      .ldc = j->n,
                      .alpha = at->alpha == 0 ? 1 : (float)at->alpha,
                      .act = at->act};
    if (bias) {
        g.bias = j->wide ? bias->data : k->scratch;
        g.bias_step = j->wide ? bias->stride[0] : 1;
    }
    int64_t row = res ? res->stride[j->rank] : 0, col = res ? res->stride[j->rank + 1] : 0;
    const char *more = res ? (const char *)res->data + ores * size : NULL;
    if (j->wide) {
        g.c = (float *)y->data + index * j->m * j->n;
        g.residual = (const float *)(const void *)more;
        g.residual_row = row;
        g.residual_col = col;
    } else {
        *rest =
            (narrow){(uint16_t *)y->data + index * j->m * j->n, (const uint16_t *)(const void *)more, j->n, row, col};
        g.done = narrow_part;
        g.user = rest;
    }
    return g;
}

static size_t room_of(const job *j, int threads) {
    return j->serial ? align64(gy_gemm_serial_scratch_bf16_avx512bf16(j->m, j->n, pairs_of(j)))
                     : gy_gemm_scratch_bf16_avx512bf16(j->m, j->n, pairs_of(j), false, j->k->packed[1], threads);
}

size_t x86_matmul_bf16_scratch_avx512bf16(const gy_kargs *k, int threads) {
    job j = job_of(k);
    return j.bias_bytes + (j.serial ? (size_t)threads : 1) * (j.c_bytes + room_of(&j, threads));
}

static size_t packed_bytes(const gy_kargs *k, int i) {
    job j = job_of(k);
    bool worth = i == 1 && j.batch == 1 && j.m > 0 && j.m <= PACK_ROWS;
    return worth ? gy_gemm_packed_bf16_avx512bf16(j.n, pairs_of(&j)) : 0;
}
static void pack_weights(const gy_kargs *k, int i, void *dst) {
    (void)i;
    job j = job_of(k);
    gy_pairs operand[2];
    narrow rest;
    gy_gemm_bf16 g = item(&j, 0, NULL, operand, &rest);
    gy_gemm_prepack_bf16_avx512bf16(&g, dst, k->pool);
}
const gy_prepack x86_matmul_prepack_bf16_avx512bf16 = {packed_bytes, pack_weights};

static void batch_tile(void *arg, int64_t t, int worker) {
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->batch, j->group, t, &lo, &hi);
    char *own = (char *)j->k->scratch + j->bias_bytes + (size_t)worker * (j->c_bytes + j->room);
    for (int64_t i = lo; i < hi; i++) {
        gy_pairs operand[2];
        narrow rest;
        gy_gemm_bf16 g = item(j, i, (float *)(void *)own, operand, &rest);
        gy_gemm_serial_bf16_avx512bf16(&g, own + j->c_bytes);
    }
}

void x86_matmul_bf16_avx512bf16(const gy_kargs *k) {
    job j = job_of(k);
    const gy_view *bias = k->n_in > 2 && k->in[2].data ? &k->in[2] : NULL;
    if (j.batch == 0 || j.m == 0 || j.n == 0) return;
    j.room = room_of(&j, gy_pool_threads(k->pool));
    for (int64_t i = 0; bias && !j.wide && i < j.n; i++)
        ((float *)k->scratch)[i] = gy_bf16_to_f32(((const uint16_t *)bias->data)[i * bias->stride[0]]);
    if (j.serial) {
        gy_par(k->pool, gy_tiles(j.batch, j.group), batch_tile, &j);
        return;
    }
    for (int64_t i = 0; i < j.batch; i++) {
        gy_pairs operand[2];
        narrow rest;
        char *own = (char *)k->scratch + j.bias_bytes;
        gy_gemm_bf16 g = item(&j, i, (float *)(void *)own, operand, &rest);
        gy_gemm_bf16_avx512bf16(&g, own + j.c_bytes, k->pool);
    }
}
