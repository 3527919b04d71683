/* Matrix products with at most 4 rows (or, exchanged, columns), as when a text is written token by token: each weight
 * is used a few times only, so the kernels read the long operand once, as it lies, and memory is the bound: 4 k n
 * bytes.
 *
 * - dots: depths adjacent (weights [out, in]). A block sums 4 columns; its threads take 4 depths each, side by side,
 * and add up over the block: a tree in each warp, then the warps in order.
 * - sums: columns adjacent (a plain matrix). A lane has a column, the 8 warps of a block every 8th depth each, 4 of
 * them under way at a time; the warps' sums are added in order.
 *
 * Few blocks and much depth: the depth is split as for tiles (matmul.cu). In precision bf16 factors are rounded as they
 * come. */
#include "matmul.h"

#define T       float
#define TNAME   f32
#define M(name) name##f
#include "act.h"
#include "matmul_out.h"
#undef T
#undef TNAME
#undef M

enum { FEW = 4, DOT_COLS = 4, DOT_THREADS = 128, SUM_WARPS = 8, SUM_AHEAD = 4 };

typedef struct {
    matmul_args p;
    bool rounded;
    bool vectors_a, vectors_b; /* 4 depths of a, b are aligned to 16 bytes */
} few_args;

typedef struct __attribute__((aligned(16))) {
    float v[4];
} four;

/* 4 depths of a line, zeros where there are none. */
GY_DEVICE four depths_of(const float *line, int64_t stride, int64_t depth, int64_t end, bool vectors, bool rounded) {
    four x;
    if (vectors && depth + 4 <= end) {
        x = *(const four *)(line + depth);
    } else {
        GY_UNROLL
        for (int e = 0; e < 4; e++) x.v[e] = depth + e < end ? line[(depth + e) * stride] : 0.0f;
    }
    GY_UNROLL
    for (int e = 0; e < 4; e++)
        if (rounded) x.v[e] = gy_bf16_rounded(x.v[e]);
    return x;
}

GY_DEVICE void write_one(const matmul_args *p, float sum, int64_t batch, int64_t row, int64_t col, int64_t residual) {
    if (row >= p->m || col >= p->n) return;
    const float *r = p->residual ? (const float *)p->residual + residual : NULL;
    float *y = (float *)p->y + batch * p->y_batch + (int64_t)blockIdx.y * p->y_split;
    y[row * p->y_row + col * p->y_col] = finished_f32(p, sum, row, col, r);
}

/* Rows and columns that do not exist are read as the last one, and not written. */
GY_DEVICE int64_t at_most(int64_t i, int64_t n) {
    return i < n ? i : n - 1;
}

GY_DEVICE void dots(const few_args *a, const int ROWS) {
    const matmul_args *p = &a->p;
    float *room = GY_SHARED(float), acc[FEW][DOT_COLS];
    int64_t across = (p->n + DOT_COLS - 1) / DOT_COLS, batch = (int64_t)blockIdx.x / across,
            col0 = (int64_t)blockIdx.x % across * DOT_COLS, oa, ob, residual;
    int64_t k0, k1;
    matmul_depths(p, &k0, &k1);
    matmul_batch(p, batch, &oa, &ob, &residual);
    const float *pa = (const float *)p->a + oa, *pb = (const float *)p->b + ob;
    GY_UNROLL
    for (int i = 0; i < ROWS * DOT_COLS; i++) acc[i / DOT_COLS][i % DOT_COLS] = 0;
    for (int64_t d = k0 + 4 * (int64_t)threadIdx.x; d < k1; d += 4 * blockDim.x) {
        four x[FEW], w[DOT_COLS];
        GY_UNROLL
        for (int c = 0; c < DOT_COLS; c++)
            w[c] = depths_of(pb + at_most(col0 + c, p->n) * p->b_col, 1, d, k1, a->vectors_b, a->rounded);
        GY_UNROLL
        for (int r = 0; r < ROWS; r++)
            x[r] = depths_of(pa + at_most(r, p->m) * p->a_row, p->a_depth, d, k1, a->vectors_a, a->rounded);
        GY_UNROLL
        for (int r = 0; r < ROWS; r++) {
            GY_UNROLL
            for (int e = 0; e < 4 * DOT_COLS; e++)
                acc[r][e / 4] = fmaf(x[r].v[e % 4], w[e / 4].v[e % 4], acc[r][e / 4]);
        }
    }
    int warp = (int)threadIdx.x / GY_WARP, warps = (int)blockDim.x / GY_WARP;
    GY_UNROLL
    for (int i = 0; i < ROWS * DOT_COLS; i++) {
        float v = gy_warp_sum_f32(acc[i / DOT_COLS][i % DOT_COLS]);
        if (gy_lane() == 0) room[warp * FEW * DOT_COLS + i] = v;
    }
    __syncthreads();
    int i = (int)threadIdx.x;
    if (i >= ROWS * DOT_COLS) return;
    float sum = room[i];
    for (int w = 1; w < warps; w++) sum += room[w * FEW * DOT_COLS + i];
    write_one(p, sum, batch, i / DOT_COLS, col0 + i % DOT_COLS, residual);
}

GY_DEVICE void sums(const few_args *a, const int ROWS) {
    const matmul_args *p = &a->p;
    float *room = GY_SHARED(float), acc[FEW];
    int64_t across = (p->n + GY_WARP - 1) / GY_WARP, batch = (int64_t)blockIdx.x / across,
            col = (int64_t)blockIdx.x % across * GY_WARP + gy_lane(), oa, ob, residual;
    int64_t k0, k1;
    matmul_depths(p, &k0, &k1);
    int warp = (int)threadIdx.x / GY_WARP;
    matmul_batch(p, batch, &oa, &ob, &residual);
    const float *pa = (const float *)p->a + oa, *pb = (const float *)p->b + ob + at_most(col, p->n);
    GY_UNROLL
    for (int r = 0; r < ROWS; r++) acc[r] = 0;
    for (int64_t d = k0 + warp; d < k1; d += SUM_WARPS * SUM_AHEAD) {
        float w[SUM_AHEAD];
        GY_UNROLL
        for (int u = 0; u < SUM_AHEAD; u++) w[u] = d + u * SUM_WARPS < k1 ? pb[(d + u * SUM_WARPS) * p->b_depth] : 0.0f;
        GY_UNROLL
        for (int u = 0; u < SUM_AHEAD; u++) {
            int64_t depth = at_most(d + u * SUM_WARPS, k1);
            if (a->rounded) w[u] = gy_bf16_rounded(w[u]);
            GY_UNROLL
            for (int r = 0; r < ROWS; r++) {
                float x = pa[at_most(r, p->m) * p->a_row + depth * p->a_depth];
                if (d + u * SUM_WARPS >= k1) x = 0; /* a number, so that nothing is added */
                acc[r] = fmaf(a->rounded ? gy_bf16_rounded(x) : x, w[u], acc[r]);
            }
        }
    }
    GY_UNROLL
    for (int r = 0; r < ROWS; r++) room[(warp * FEW + r) * GY_WARP + gy_lane()] = acc[r];
    __syncthreads();
    if (warp >= ROWS) return;
    float sum = 0;
    for (int w = 0; w < SUM_WARPS; w++) sum += room[(w * FEW + warp) * GY_WARP + gy_lane()];
    write_one(p, sum, batch, warp, col, residual);
}

GY_KERNEL(matmul_dots_1, few_args, DOT_THREADS) {
    dots(a, 1);
}
GY_KERNEL(matmul_dots_4, few_args, DOT_THREADS) {
    dots(a, FEW);
}
GY_KERNEL(matmul_sums_1, few_args, SUM_WARPS *GY_WARP) {
    sums(a, 1);
}
GY_KERNEL(matmul_sums_4, few_args, SUM_WARPS *GY_WARP) {
    sums(a, FEW);
}

#ifdef GY_HOST
bool matmul_few_takes(const matmul_args *p) {
    bool rows = p->m <= FEW && (p->b_depth == 1 || p->b_col == 1);
    bool cols = p->n <= FEW && (p->a_depth == 1 || p->a_row == 1);
    return (rows || cols) && p->k > 0;
}

typedef struct {
    matmul_args p;
    matmul_cut c;
    bool dots;
} few;
/* The problem with few rows: y^T = b^T a^T if it has few columns. */
static few few_of(matmul_args p) {
    bool rows = p.m <= FEW && (p.b_depth == 1 || p.b_col == 1);
    few f = {.p = rows ? p : matmul_transposed(p)};
    f.dots = f.p.b_depth == 1;
    f.c.tiles = gy_blocks(f.p.n, f.dots ? DOT_COLS : GY_WARP) * f.p.batch;
    f.c.parts = matmul_parts(f.c.tiles, f.p.k);
    return f;
}

size_t matmul_few_scratch(const matmul_args *p) {
    few f = few_of(*p);
    return matmul_cut_scratch(&f.p, f.c, sizeof(float));
}

static bool vectors(const void *data, int64_t line, const int64_t *batch, int axes) {
    bool ok = (uintptr_t)data % 16 == 0 && line % 4 == 0;
    for (int d = 0; d < axes; d++) ok = ok && batch[d] % 4 == 0;
    return ok;
}

void matmul_few_run(const gy_kargs *k, const matmul_args *whole) {
    few f = few_of(*whole);
    few_args a = {.p = matmul_part(f.p, f.c, k->scratch, 4 * SUM_WARPS), .rounded = k->precision == GY_BF16};
    a.vectors_a = f.p.a_depth == 1 && vectors(f.p.a, f.p.a_row, f.p.a_batch, f.p.batch_rank);
    a.vectors_b = f.dots && vectors(f.p.b, f.p.b_col, f.p.b_batch, f.p.batch_rank);
    gy_grid grid = {f.c.tiles, f.c.parts, 1};
    if (f.dots) {
        int threads = a.p.k_split <= 256 ? 32 : DOT_THREADS;
        gy_cuda_launch(k, f.p.m == 1 ? &matmul_dots_1 : &matmul_dots_4, grid, threads,
                       sizeof(float) * FEW * DOT_COLS * (size_t)(threads / 32), &a, sizeof a);
    } else {
        gy_cuda_launch(k, f.p.m == 1 ? &matmul_sums_1 : &matmul_sums_4, grid, SUM_WARPS * GY_WARP,
                       sizeof(float) * FEW * SUM_WARPS * GY_WARP, &a, sizeof a);
    }
    if (f.c.parts > 1) matmul_finish(k, &f.p, f.c.parts);
}
#endif
