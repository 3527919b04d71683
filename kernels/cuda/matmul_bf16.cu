/* Matrix products in plans of precision bf16, on tensor cores (mma.m16n8k16): operands f32 in memory are rounded to
 * bf16 on their way to shared memory, sums are f32.
 *
 * A block computes 128 x 128 of y with 8 warps (few tiles: 64 x 64 with 4), each 64 x 32 (32 x 32), DEPTH depths at a
 * time. While a step's products run, the operands of the next but one arrive in registers and those of the next lie in
 * the other half of shared memory: one barrier a step. A tile lies in shared memory the way its operand lies in memory,
 * depths or lines adjacent, so that 16 bytes of f32 become 8 of bf16 in place; ldmatrix turns the second kind. Units of
 * 16 bytes are permuted so that neither writes nor ldmatrix meet bank conflicts. 6 ldmatrix feed 16 products of a warp.
 *
 * Bytes: 4 (m k + k n + m n), operands from the second cache m n k (1/128 + 1/128) times 4 bytes; 2 m n k FLOPs: bound
 * by the tensor cores when m, n, k are a few hundred or more. */
#include "matmul.h"
#include "mma.h"

#define T       float
#define TNAME   f32
#define M(name) name##f
#include "act.h"
#include "matmul_out.h"
#undef T
#undef TNAME
#undef M

enum { DEPTH = 32, CHUNKS = 4 /* of 4 elements, a thread's part of a tile */ };

typedef struct __attribute__((aligned(16))) {
    float v[4];
} four;
typedef struct __attribute__((aligned(8))) {
    uint32_t v[2];
} pairs;
typedef struct __attribute__((aligned(8))) {
    float v[2];
} two;

/* One thread's part of bringing one operand's tile [LINES, DEPTH]: CHUNKS times 4 elements that lie beside one another
 * along depths, or along lines. */
typedef struct {
    const float *from;
    int64_t step, advance, unit; /* to the next chunk, the next tile, the next element */
    int lines;                   /* of the tile that there are, from the thread's first element on */
    bool whole;                  /* chunks are aligned to 16 bytes */
} feed;

/* Where a chunk of 4 elements begins in a tile, in bytes. By depths: lines of 64 bytes; by lines: depths of 2 LINES. */
GY_DEVICE int by_depths(int line, int unit) { /* unit: of 8 depths */
    return line * 64 + ((unit ^ (line >> 1 & 3)) << 4);
}
GY_DEVICE int by_lines(int depth, int unit, const int LINES) { /* unit: of 8 lines */
    return depth * 2 * LINES + ((unit ^ (depth & 7)) << 4);
}

GY_DEVICE feed feed_of(const float *p, int64_t line_stride, int64_t depth_stride, int64_t lines, const bool LINEWISE,
                       const int LINES, const int THREADS) {
    feed f;
    int t = (int)threadIdx.x, line = LINEWISE ? t % (LINES / 4) * 4 : t / 8,
        depth = LINEWISE ? t / (LINES / 4) : t % 8 * 4;
    int64_t other = LINEWISE ? depth_stride : line_stride;
    f.from = p + line * line_stride + depth * depth_stride;
    f.step = (LINEWISE ? THREADS / (LINES / 4) : THREADS / 8) * other;
    f.advance = DEPTH * depth_stride;
    f.unit = LINEWISE ? line_stride : depth_stride;
    f.lines = (lines < LINES ? (int)lines : LINES) - line;
    f.whole = f.unit == 1 && other % 4 == 0 && ((uintptr_t)p & 15) == 0;
    return f;
}
/* left: depths from the tile's first on. */
GY_DEVICE void feed_read(feed *f, four *r, int64_t left, const bool LINEWISE, const int LINES, const int THREADS) {
    const int STEP = LINEWISE ? THREADS / (LINES / 4) : THREADS / 8;
    int t = (int)threadIdx.x, depths = (left < DEPTH ? (int)left : DEPTH) - (LINEWISE ? t / (LINES / 4) : t % 8 * 4);
    GY_UNROLL
    for (int i = 0; i < CHUNKS; i++) {
        const float *p = f->from + i * f->step;
        int along = LINEWISE ? f->lines : depths, other = (LINEWISE ? depths : f->lines) - i * STEP;
        if (f->whole && other > 0 && along >= 4) {
            r[i] = *(const four *)p;
        } else {
            GY_UNROLL
            for (int e = 0; e < 4; e++) r[i].v[e] = other > 0 && e < along ? p[e * f->unit] : 0.0f;
        }
    }
    f->from += f->advance;
}
GY_DEVICE void feed_write(const four *r, unsigned char *tile, const bool LINEWISE, const int LINES, const int THREADS) {
    int t = (int)threadIdx.x;
    GY_UNROLL
    for (int i = 0; i < CHUNKS; i++) {
        pairs v;
        v.v[0] = gy_bf16x2(r[i].v[0], r[i].v[1]);
        v.v[1] = gy_bf16x2(r[i].v[2], r[i].v[3]);
        int at = LINEWISE ? by_lines(t / (LINES / 4) + i * (THREADS / (LINES / 4)), t % (LINES / 4) / 2, LINES)
                          : by_depths(t / 8 + i * (THREADS / 8), t % 8 / 2);
        *(pairs *)(tile + at + t % 2 * 8) = v;
    }
}

/* Fragments of 16 lines and 16 depths (from unit 2 d of 8 depths on). a: four registers of a product; b: two registers
 * each of two products. They want the second and third 8 x 8 matrices in opposite order. */
GY_DEVICE void fragment(uint32_t r[4], const unsigned char *tile, int line, int d, const bool B, const bool LINEWISE,
                        const int LINES) {
    int lane = gy_lane(), row = lane % 8, low = lane / 8 % 2, high = lane / 16;
    int down = B ? high : low, deep = B ? low : high;
    if (LINEWISE)
        gy_ldmatrix_x4_transposed(r, tile + by_lines(d * 16 + deep * 8 + row, line / 8 + down, LINES));
    else
        gy_ldmatrix_x4(r, tile + by_depths(line + down * 8 + row, d * 2 + deep));
}

/* WM x WN warps of 16 MT x 32 each. */
GY_DEVICE void product(const matmul_args *a, const bool A_LINES, const bool B_LINES, const int WM, const int WN,
                       const int MT) {
    const int THREADS = 32 * WM * WN, BM = WM * 16 * MT, BN = WN * 32, TILE = 2 * DEPTH * BM;
    unsigned char *shared = GY_SHARED(unsigned char); /* a, b, then a, b of the other step; BM = BN */
    int warp = (int)threadIdx.x / 32, lane = gy_lane(), row0 = warp % WM * 16 * MT, col0 = warp / WM * 32;
    float acc[4][4][4];
    matmul_place at = matmul_tile(a, (int64_t)blockIdx.x, BM, BN);
    int64_t oa, ob, residual, k0, k1;
    matmul_depths(a, &k0, &k1);
    matmul_batch(a, at.batch, &oa, &ob, &residual);
    feed fa = feed_of((const float *)a->a + oa + at.row * a->a_row + k0 * a->a_depth, a->a_row, a->a_depth,
                      a->m - at.row, A_LINES, BM, THREADS);
    feed fb = feed_of((const float *)a->b + ob + at.col * a->b_col + k0 * a->b_depth, a->b_col, a->b_depth,
                      a->n - at.col, B_LINES, BN, THREADS);
    four ra[CHUNKS], rb[CHUNKS];
    GY_UNROLL
    for (int i = 0; i < MT; i++) {
        GY_UNROLL
        for (int j = 0; j < 16; j++) acc[i][j / 4][j % 4] = 0;
    }
    int64_t depths = k1 - k0, steps = (depths + DEPTH - 1) / DEPTH;
    if (steps > 0) {
        feed_read(&fa, ra, depths, A_LINES, BM, THREADS);
        feed_read(&fb, rb, depths, B_LINES, BN, THREADS);
        feed_write(ra, shared, A_LINES, BM, THREADS);
        feed_write(rb, shared + TILE, B_LINES, BN, THREADS);
    }
    if (steps > 1) {
        feed_read(&fa, ra, depths - DEPTH, A_LINES, BM, THREADS);
        feed_read(&fb, rb, depths - DEPTH, B_LINES, BN, THREADS);
    }
    __syncthreads();
    for (int64_t s = 0; s < steps; s++) {
        const unsigned char *ta = shared + (int)(s % 2) * 2 * TILE, *tb = ta + TILE;
        GY_UNROLL
        for (int d = 0; d < DEPTH / 16; d++) {
            uint32_t ma[4][4], mb[2][4];
            GY_UNROLL
            for (int i = 0; i < MT; i++) fragment(ma[i], ta, row0 + 16 * i, d, false, A_LINES, BM);
            GY_UNROLL
            for (int j = 0; j < 2; j++) fragment(mb[j], tb, col0 + 16 * j, d, true, B_LINES, BN);
            GY_UNROLL
            for (int i = 0; i < MT; i++) {
                GY_UNROLL
                for (int j = 0; j < 4; j++) gy_mma_16816_bf16(acc[i][j], ma[i], mb[j / 2] + j % 2 * 2);
            }
        }
        if (s + 1 < steps) {
            unsigned char *to = shared + (int)((s + 1) % 2) * 2 * TILE;
            feed_write(ra, to, A_LINES, BM, THREADS);
            feed_write(rb, to + TILE, B_LINES, BN, THREADS);
        }
        if (s + 2 < steps) {
            feed_read(&fa, ra, depths - (s + 2) * DEPTH, A_LINES, BM, THREADS);
            feed_read(&fb, rb, depths - (s + 2) * DEPTH, B_LINES, BN, THREADS);
        }
        __syncthreads(); /* the next step's tiles are there, and this step's are free */
    }

    float *y = (float *)a->y + at.batch * a->y_batch + (int64_t)blockIdx.y * a->y_split;
    const float *r = a->residual ? (const float *)a->residual + residual : NULL;
    GY_UNROLL
    for (int i = 0; i < 2 * MT; i++) {
        int64_t row = at.row + row0 + 8 * i + lane / 4;
        GY_UNROLL
        for (int j = 0; j < 4; j++) {
            int64_t col = at.col + col0 + 8 * j + lane % 4 * 2;
            if (row >= a->m || col >= a->n) continue;
            two v;
            v.v[0] = finished_f32(a, acc[i / 2][j][i % 2 * 2], row, col, r);
            if (col + 1 < a->n) v.v[1] = finished_f32(a, acc[i / 2][j][i % 2 * 2 + 1], row, col + 1, r);
            if (a->whole) {
                *(two *)(y + row * a->y_row + col) = v;
            } else {
                y[row * a->y_row + col * a->y_col] = v.v[0];
                if (col + 1 < a->n) y[row * a->y_row + (col + 1) * a->y_col] = v.v[1];
            }
        }
    }
}

/* Named by how a and b lie: d: depths adjacent (or nothing), l: lines. */
GY_KERNEL(matmul_bf16_dd, matmul_args, 256) {
    product(a, false, false, 2, 4, 4);
}
GY_KERNEL(matmul_bf16_dl, matmul_args, 256) {
    product(a, false, true, 2, 4, 4);
}
GY_KERNEL(matmul_bf16_ld, matmul_args, 256) {
    product(a, true, false, 2, 4, 4);
}
GY_KERNEL(matmul_bf16_ll, matmul_args, 256) {
    product(a, true, true, 2, 4, 4);
}
GY_KERNEL(matmul_bf16_small_dd, matmul_args, 128) {
    product(a, false, false, 2, 2, 2);
}
GY_KERNEL(matmul_bf16_small_dl, matmul_args, 128) {
    product(a, false, true, 2, 2, 2);
}
GY_KERNEL(matmul_bf16_small_ld, matmul_args, 128) {
    product(a, true, false, 2, 2, 2);
}
GY_KERNEL(matmul_bf16_small_ll, matmul_args, 128) {
    product(a, true, true, 2, 2, 2);
}

#ifdef GY_HOST
void cuda_matmul_bf16(const gy_kargs *k);
size_t cuda_matmul_bf16_scratch(const gy_kargs *k, int threads);

size_t cuda_matmul_bf16_scratch(const gy_kargs *k, int threads) {
    matmul_args p = matmul_problem(k);
    (void)threads;
    if (matmul_few_takes(&p)) return matmul_few_scratch(&p);
    if (matmul_sm90_takes(k, &p)) return matmul_sm90_scratch(&p);
    return matmul_cut_scratch(&p, matmul_cut_of(&p, 128, 64), sizeof(float));
}

void cuda_matmul_bf16(const gy_kargs *k) {
    static const gy_cuda_kernel *const kernel[2][2][2] = {
        {{&matmul_bf16_small_dd, &matmul_bf16_small_dl}, {&matmul_bf16_small_ld, &matmul_bf16_small_ll}},
        {{&matmul_bf16_dd, &matmul_bf16_dl}, {&matmul_bf16_ld, &matmul_bf16_ll}}};
    matmul_args whole = matmul_problem(k);
    if (matmul_few_takes(&whole)) {
        matmul_few_run(k, &whole);
        return;
    }
    if (matmul_sm90_takes(k, &whole)) {
        matmul_sm90_run(k, &whole);
        return;
    }
    matmul_cut c = matmul_cut_of(&whole, 128, 64);
    matmul_args p = matmul_part(whole, c, k->scratch, DEPTH);
    bool a_lines = p.a_row == 1 && p.a_depth != 1, b_lines = p.b_col == 1 && p.b_depth != 1, large = c.side > 64;
    gy_cuda_launch(k, kernel[large][a_lines][b_lines], (gy_grid){c.tiles, c.parts, 1}, large ? 256 : 128,
                   (size_t)(4 * 2 * DEPTH * c.side), &p, sizeof p);
    if (c.parts > 1) matmul_finish(k, &whole, c.parts);
}
#endif
