/* The matrix product of bf16 operands on AVX512-BF16: sums in f32, the result rounded to bf16 once, at the end; and of
 * f32 operands in plans of precision bf16: the same panels, rounded while they are packed, and a result in f32.
 *
 * vdpbf16ps multiplies pairs: c += a0 b0 + a1 b1 in each 32-bit lane. So everything is packed in pairs of depths, a
 * pair a lane: A as panels [pair][rows], B as panels [pair][two vectors of columns]; an odd last depth is paired with
 * zeros. Blocks as in gemm.c: KC depths of a panel of A (14 KiB) and of B (32 KiB) meet in a register kernel of MR = 14
 * rows by two vectors (28 sums of 32 registers), B is packed for all threads together, a chunk of columns at a time. A
 * tile of C, up to MC x NB, gathers its sums in f32 over the whole depth in its thread's scratch and leaves through the
 * epilogue. Small products of a batch are done by one thread each. The instruction takes denormals for zeros.
 *
 * FLOPs 2 m n k; bytes 2 (m k + k n + m n) at least. Measured, one thread of Zen 4, whose
 * peak is 234 GFLOP/s (twice that of f32): 256^3 83 %, 1024^3 92 %, 2048^3 90 %, 197 x 3072 x 768 86 %, 64 products of
 * 128 x 128 x 64 69 %, 16 rows times 1024 x 4096 weights 51 % (packing them). */
#include "gemm.h"
#include "rows.h"

enum { PAIRS = 256 /* of a step of depth */, MC = 8 * GY_MR, NB = 256, PANEL = 2 * VL };

/* The epilogue on f32 is the driver's of the tier below; the structure is the same. */
void gy_gemm_finish_f32_avx512(const gy_gemm_f32 *g, int64_t i0, int64_t i1, int64_t j0, int64_t j1);

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}

/* ---- packing ---- */

typedef struct {
    const void *data;
    int64_t line, depth; /* strides in elements */
    bool wide;           /* f32 */
} operand;

static uint32_t pair_at(const uint16_t *p, int64_t stride, bool both) {
    return (uint32_t)p[0] | (both ? (uint32_t)p[stride] << 16 : 0);
}
GY_INLINE vi load_u16n(const uint16_t *p, int64_t n) {
    return n >= VL ? v_load_u16(p) : _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(v_tail(n), p));
}
static void pack_narrow(const operand *s, int64_t r0, int64_t n, int64_t p0, int64_t pairs, int64_t k, int64_t width,
                        uint32_t *dst) {
    const uint16_t *src = (const uint16_t *)s->data + r0 * s->line + 2 * p0 * s->depth;
    int64_t whole = k - 2 * p0 >= 2 * pairs ? pairs : pairs - 1, p = 0; /* pairs with both depths */
    if (s->line == 1)
        for (; p < whole; p++)
            for (int64_t r = 0; r < width; r += VL) {
                const uint16_t *x = src + 2 * p * s->depth + r;
                int64_t live = n - r < 0 ? 0 : n - r;
                vi pair = vi_or(load_u16n(x, live), vi_sll(load_u16n(x + s->depth, live), 16));
                _mm512_mask_storeu_epi32(dst + p * width + r, width - r >= VL ? 0xffff : v_tail(width - r), pair);
            }
    else if (s->depth == 1)
        for (; p + VL <= whole; p += VL) /* 16 pairs of 16 lines change places */
            for (int64_t r = 0; r < width; r += VL) {
                vf b[VL];
                for (int i = 0; i < VL; i++)
                    b[i] = r + i < n ? v_float(_mm512_loadu_si512(src + (r + i) * s->line + 2 * p)) : v_zero();
                v_transpose(b);
                __mmask16 live = width - r >= VL ? 0xffff : v_tail(width - r);
                for (int i = 0; i < VL; i++) _mm512_mask_storeu_epi32(dst + (p + i) * width + r, live, v_bits(b[i]));
            }
    for (; p < pairs; p++)
        for (int64_t r = 0; r < width; r++)
            dst[p * width + r] = r < n ? pair_at(src + r * s->line + 2 * p * s->depth, s->depth, p < whole) : 0;
}

/* The same from f32, rounded to nearest even. */
static uint32_t rounded_pair(const float *p, int64_t stride, bool both) {
    return (uint32_t)gy_f32_to_bf16(p[0]) | (both ? (uint32_t)gy_f32_to_bf16(p[stride]) << 16 : 0);
}
static void pack_wide(const operand *s, int64_t r0, int64_t n, int64_t p0, int64_t pairs, int64_t k, int64_t width,
                      uint32_t *dst) {
    const float *src = (const float *)s->data + r0 * s->line + 2 * p0 * s->depth;
    int64_t whole = k - 2 * p0 >= 2 * pairs ? pairs : pairs - 1, p = 0;
    if (s->line == 1)
        for (; p < whole; p++)
            for (int64_t r = 0; r < width; r += VL) {
                const float *x = src + 2 * p * s->depth + r;
                int64_t live = n - r < 0 ? 0 : n - r;
                vi lo = v_to_bf16(live >= VL ? v_load(x) : v_loadn(x, live));
                vi hi = v_to_bf16(live >= VL ? v_load(x + s->depth) : v_loadn(x + s->depth, live));
                _mm512_mask_storeu_epi32(dst + p * width + r, width - r >= VL ? 0xffff : v_tail(width - r),
                                         vi_or(lo, vi_sll(hi, 16)));
            }
    else if (s->depth == 1)
        for (; p + VL <= whole; p += VL)
            for (int64_t r = 0; r < width; r += VL) {
                vf b[VL];
                for (int i = 0; i < VL; i++) {
                    const float *x = src + (r + i) * s->line + 2 * p;
                    b[i] = r + i < n ? v_float((__m512i)_mm512_cvtne2ps_pbh(v_load(x + VL), v_load(x))) : v_zero();
                }
                v_transpose(b);
                __mmask16 live = width - r >= VL ? 0xffff : v_tail(width - r);
                for (int i = 0; i < VL; i++) _mm512_mask_storeu_epi32(dst + (p + i) * width + r, live, v_bits(b[i]));
            }
    for (; p < pairs; p++)
        for (int64_t r = 0; r < width; r++)
            dst[p * width + r] = r < n ? rounded_pair(src + r * s->line + 2 * p * s->depth, s->depth, p < whole) : 0;
}

/* Lines r0 .. r0+n-1 at depths 2 p0 .. : dst[p * width + r], zeros for n <= r < width. */
static void pack(const operand *s, int64_t r0, int64_t n, int64_t p0, int64_t pairs, int64_t k, int64_t width,
                 uint32_t *dst) {
    (s->wide ? pack_wide : pack_narrow)(s, r0, n, p0, pairs, k, width, dst);
}

/* ---- the register kernel ---- */

GY_INLINE void ukr(const int mr, const int nv, int64_t pairs, const uint32_t *a, const uint32_t *b, float *c,
                   int64_t ldc, bool first) {
    vf acc[GY_MR][2];
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++) acc[i][v] = first ? v_zero() : v_load(c + i * ldc + v * VL);
    for (int64_t p = 0; p < pairs; p++, a += mr, b += PANEL) {
        vi b0 = _mm512_loadu_si512(b), b1 = nv > 1 ? _mm512_loadu_si512(b + VL) : b0;
#pragma GCC unroll 16
        for (int i = 0; i < mr; i++) {
            __m512bh ai = (__m512bh)vi_set((int32_t)a[i]);
            acc[i][0] = _mm512_dpbf16_ps(acc[i][0], ai, (__m512bh)b0);
            if (nv > 1) acc[i][1] = _mm512_dpbf16_ps(acc[i][1], ai, (__m512bh)b1);
        }
    }
#pragma GCC unroll 16
    for (int i = 0; i < mr; i++)
        for (int v = 0; v < nv; v++) v_store(c + i * ldc + v * VL, acc[i][v]);
}
typedef void (*ukr_fn)(int64_t pairs, const uint32_t *a, const uint32_t *b, float *c, int64_t ldc, bool first);
#define UKR(mr, nv)                                                                                                    \
    static void ukr_##mr##x##nv(int64_t pairs, const uint32_t *a, const uint32_t *b, float *c, int64_t ldc,            \
                                bool first) {                                                                          \
        ukr(mr, nv, pairs, a, b, c, ldc, first);                                                                       \
    }
#define UKRS(mr) UKR(mr, 1) UKR(mr, 2)
UKRS(1)
UKRS(2)
UKRS(3)
UKRS(4)
UKRS(5)
UKRS(6)
UKRS(7)
UKRS(8)
UKRS(9)
UKRS(10)
UKRS(11)
UKRS(12)
UKRS(13)
UKRS(14)
#define ROW(mr)                                                                                                        \
    { ukr_##mr##x1, ukr_##mr##x2 }
static const ukr_fn table[GY_MR][2] = {ROW(1), ROW(2), ROW(3),  ROW(4),  ROW(5),  ROW(6),  ROW(7),
                                       ROW(8), ROW(9), ROW(10), ROW(11), ROW(12), ROW(13), ROW(14)};

/* ---- one product ---- */

typedef struct {
    int64_t m, n, k, pairs;
    int64_t mc, nb, nc; /* a tile; the columns packed at once */
    size_t a_bytes, c_bytes, b_bytes;
    operand a, b;
    void *y; /* of the operands' type, as the residual */
    double alpha;
    int64_t act;
    const float *bias; /* NULL: none */
    const void *residual;
    int64_t residual_row, residual_col;
    int64_t j0, width;   /* the chunk of columns */
    char *room, *packed; /* a worker's: a_bytes + c_bytes */
} product;

static void plan(product *q) {
    const int64_t most = 8 << 20; /* elements of B packed at once */
    q->pairs = (q->k + 1) / 2;
    q->mc = up(least(q->m, MC), GY_MR);
    q->nc = least(up(q->n, PANEL), up(most / (2 * q->pairs + 1), NB));
    q->nb = least(q->nc, NB);
    while (gy_tiles(q->m, q->mc) * gy_tiles(q->nc, q->nb) < 32 && (q->nb > 2 * PANEL || q->mc > 2 * GY_MR)) {
        if (q->nb > 2 * PANEL)
            q->nb = up(q->nb / 2, PANEL);
        else
            q->mc = up(q->mc / 2, GY_MR);
    }
    q->a_bytes = (size_t)(q->mc * PAIRS) * 4;
    q->c_bytes = (size_t)(q->mc * q->nb) * 4;
    q->b_bytes = (size_t)(q->pairs * up(q->nc, PANEL)) * 4;
    q->a_bytes = (q->a_bytes + 63) & ~(size_t)63;
}

/* A step of depth of the whole chunk starts at its pair times the chunk's width; a panel in it at column times depth.
 */
static void pack_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const product *q = arg;
    int64_t steps = gy_tiles(q->pairs, PAIRS), p = t % steps * PAIRS, j = t / steps * PANEL;
    int64_t depth = least(q->pairs - p, PAIRS);
    pack(&q->b, q->j0 + j, least(q->width - j, PANEL), p, depth, q->k, PANEL,
         (uint32_t *)(void *)q->packed + p * up(q->width, PANEL) + j * depth);
}

static void finish(const product *q, int64_t i0, int64_t rows, int64_t j0, int64_t cols, float *c) {
    gy_gemm_f32 g = {
        .m = rows, .n = cols, .c = c, .ldc = q->nb, .alpha = (float)q->alpha, .act = q->act, .bias_step = 1};
    g.bias = q->bias ? q->bias + j0 : NULL;
    gy_gemm_finish_f32_avx512(&g, 0, rows, 0, cols);
    for (int64_t i = 0; i < rows; i++, c += q->nb) {
        int64_t first = (i0 + i) * q->n + j0, res = (i0 + i) * q->residual_row + j0 * q->residual_col;
        if (q->a.wide) {
            const float *more = q->residual ? (const float *)q->residual + res : NULL;
            for (int64_t j = 0; more && j < cols; j++) c[j] += more[j * q->residual_col];
            memcpy((float *)q->y + first, c, (size_t)cols * sizeof *c);
            continue;
        }
        const uint16_t *more = q->residual ? (const uint16_t *)q->residual + res : NULL;
        uint16_t *y = (uint16_t *)q->y + first;
        for (int64_t j = 0; more && j < cols; j++) c[j] += gy_bf16_to_f32(more[j * q->residual_col]);
        int64_t j = 0;
        for (; j + VL <= cols; j += VL) v_store_u16(y + j, v_to_bf16(v_load(c + j)));
        if (j < cols)
            _mm256_mask_storeu_epi16(y + j, v_tail(cols - j), _mm512_cvtepi32_epi16(v_to_bf16(v_load(c + j))));
    }
}

static void product_tile(void *arg, int64_t t, int worker) {
    const product *q = arg;
    int64_t across = gy_tiles(q->width, q->nb), i0 = t / across * q->mc, ja = t % across * q->nb;
    int64_t rows = least(q->m - i0, q->mc), jb = least(q->width, ja + q->nb), panels = gy_tiles(rows, GY_MR);
    uint32_t *a = (uint32_t *)(void *)(q->room + (size_t)worker * (q->a_bytes + q->c_bytes));
    float *c = (float *)(void *)((char *)a + q->a_bytes);
    for (int64_t p = 0; p < q->pairs; p += PAIRS) {
        int64_t depth = least(q->pairs - p, PAIRS);
        for (int64_t i = 0, r = 0; i < panels; i++) {
            int64_t end = rows * (i + 1) / panels;
            pack(&q->a, i0 + r, end - r, p, depth, q->k, end - r, a + r * depth);
            r = end;
        }
        for (int64_t j = ja; j < jb; j += PANEL) {
            const uint32_t *b = (const uint32_t *)(const void *)q->packed + p * up(q->width, PANEL) + j * depth;
            for (int64_t i = 0, r = 0; i < panels; i++) {
                int64_t end = rows * (i + 1) / panels;
                table[end - r - 1][jb - j > VL](depth, a + r * depth, b, c + r * q->nb + j - ja, q->nb, p == 0);
                r = end;
            }
        }
    }
    if (q->pairs == 0) memset(c, 0, (size_t)(rows * q->nb) * sizeof *c);
    finish(q, i0, rows, q->j0 + ja, jb - ja, c);
}

static void multiply(product *q, gy_pool *pool) {
    for (q->j0 = 0; q->j0 < q->n; q->j0 += q->nc) {
        q->width = least(q->n - q->j0, q->nc);
        gy_par(pool, gy_tiles(q->width, PANEL) * gy_tiles(q->pairs, PAIRS), pack_tile, q);
        gy_par(pool, gy_tiles(q->m, q->mc) * gy_tiles(q->width, q->nb), product_tile, q);
    }
}

/* ---- the operator ---- */

typedef struct {
    const gy_kargs *k;
    product shape;
    int64_t batch, rank, group;
    bool serial; /* one thread a product */
    const float *bias;
    char *room;
} job;

static size_t bias_bytes(const product *q) {
    return ((size_t)q->n * sizeof(float) + 63) & ~(size_t)63;
}
static job job_of(const gy_kargs *k) {
    const gy_matmul_attr *at = k->attr;
    const gy_view *a = &k->in[0], *b = &k->in[1], *y = &k->out[0];
    int64_t ra = a->shape.rank, rb = b->shape.rank;
    job j = {.k = k, .rank = y->shape.rank - 2, .batch = 1, .group = 1};
    product *q = &j.shape;
    for (int64_t i = 0; i < j.rank; i++) j.batch *= y->shape.dim[i];
    q->m = y->shape.dim[j.rank];
    q->n = y->shape.dim[j.rank + 1];
    q->k = a->shape.dim[ra - (at->trans_a ? 2 : 1)];
    q->a.line = a->stride[ra - (at->trans_a ? 1 : 2)];
    q->a.depth = a->stride[ra - (at->trans_a ? 2 : 1)];
    q->b.depth = b->stride[rb - (at->trans_b ? 1 : 2)];
    q->b.line = b->stride[rb - (at->trans_b ? 2 : 1)];
    q->a.wide = q->b.wide = a->dtype == GY_F32;
    q->alpha = at->alpha == 0 ? 1 : at->alpha;
    q->act = at->act;
    plan(q);
    double work = (double)q->m * (double)q->n * (double)q->k;
    j.serial = j.batch > 1 && (work <= 4e6 || (j.batch >= 32 && work <= 1e9));
    j.group = work < 1e6 ? (int64_t)(1e6 / (work + 1000)) + 1 : 1;
    return j;
}

static void item(const job *j, int64_t index, product *q) {
    const gy_view *a = &j->k->in[0], *b = &j->k->in[1], *y = &j->k->out[0];
    const gy_view *res = j->k->n_in > 3 && j->k->in[3].data ? &j->k->in[3] : NULL;
    int64_t oa = 0, ob = 0, ores = 0, rest = index;
    for (int64_t i = j->rank - 1; i >= 0; i--) {
        int64_t at = rest % y->shape.dim[i], ia = i - (j->rank - (a->shape.rank - 2)),
                ib = i - (j->rank - (b->shape.rank - 2));
        rest /= y->shape.dim[i];
        if (ia >= 0 && a->shape.dim[ia] != 1) oa += at * a->stride[ia];
        if (ib >= 0 && b->shape.dim[ib] != 1) ob += at * b->stride[ib];
        if (res) ores += at * res->stride[i];
    }
    *q = j->shape;
    size_t size = q->a.wide ? sizeof(float) : sizeof(uint16_t);
    q->a.data = (const char *)a->data + oa * (int64_t)size;
    q->b.data = (const char *)b->data + ob * (int64_t)size;
    q->y = (char *)y->data + index * q->m * q->n * (int64_t)size;
    q->bias = j->bias;
    if (!res) return;
    q->residual = (const char *)res->data + ores * (int64_t)size;
    q->residual_row = res->stride[j->rank];
    q->residual_col = res->stride[j->rank + 1];
}

size_t x86_matmul_bf16_scratch_avx512bf16(const gy_kargs *k, int threads) {
    job j = job_of(k);
    const product *q = &j.shape;
    return bias_bytes(q) + (size_t)threads * (q->a_bytes + q->c_bytes) + (j.serial ? (size_t)threads : 1) * q->b_bytes;
}

static void batch_tile(void *arg, int64_t t, int worker) {
    const job *j = arg;
    int64_t lo, hi;
    gy_tile_range(j->batch, j->group, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) {
        product q;
        item(j, i, &q);
        q.room = j->room + (size_t)worker * (q.a_bytes + q.c_bytes + q.b_bytes);
        q.packed = q.room + q.a_bytes + q.c_bytes;
        multiply(&q, NULL);
    }
}

void x86_matmul_bf16_avx512bf16(const gy_kargs *k) {
    job j = job_of(k);
    const gy_view *bias = k->n_in > 2 && k->in[2].data ? &k->in[2] : NULL;
    float *wide = k->scratch;
    if (j.batch == 0 || j.shape.m == 0 || j.shape.n == 0) return;
    j.room = (char *)k->scratch + bias_bytes(&j.shape);
    for (int64_t i = 0; bias && i < j.shape.n; i++)
        wide[i] = j.shape.a.wide ? ((const float *)bias->data)[i * bias->stride[0]]
                                 : gy_bf16_to_f32(((const uint16_t *)bias->data)[i * bias->stride[0]]);
    j.bias = bias ? wide : NULL;
    if (j.serial) {
        gy_par(k->pool, gy_tiles(j.batch, j.group), batch_tile, &j);
        return;
    }
    for (int64_t i = 0; i < j.batch; i++) {
        product q;
        item(&j, i, &q);
        q.room = j.room;
        q.packed = q.room + (size_t)gy_pool_threads(k->pool) * (q.a_bytes + q.c_bytes);
        multiply(&q, k->pool);
    }
}
