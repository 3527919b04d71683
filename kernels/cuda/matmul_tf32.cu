/* Matrix products of f32 on tensor cores with factors rounded to tf32, 10 bits of mantissa (mma.m16n8k8); sums are f32.
 * Only where the environment variable GYRUS_TF32=1 asks for it: otherwise f32 means f32 (matmul.cu).
 *
 * A block computes 128 x 128 of y with 8 warps of 64 x 32, 16 depths a step. Operands come as f32 by asynchronous
 * copies, 16 bytes at a time where they lie so, STAGES steps ahead; they are rounded in registers. Whichever way an
 * operand lies in memory, its tile has depths adjacent, as ldmatrix wants them; units of 4 depths are permuted so that
 * neither copies nor ldmatrix meet bank conflicts. 6 ldmatrix and 24 roundings feed 16 products of a warp. Bound, as in
 * matmul_bf16.cu, by the tensor cores, at half their rate for bf16. */
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

enum {
    SIDE = 128,
    DEPTH = 16,
    STAGES = 4,
    TILE = 4 * SIDE * DEPTH,
    THREADS = 256,
    CHUNKS = 2 /* of 4 depths a thread */
};

/* One thread's part of bringing one operand's tile. Chunks lie `step` elements and chunk_lines lines, chunk_depths
 * depths apart; neighbouring threads take what is adjacent in memory. */
typedef struct {
    const float *from;
    int64_t step, depth_stride;
    int line, depth, lines, chunk_lines, chunk_depths;
    bool whole; /* chunks are aligned to 16 bytes */
} feed;

GY_DEVICE feed feed_of(const float *p, int64_t line_stride, int64_t depth_stride, int64_t lines) {
    feed f;
    int t = (int)threadIdx.x;
    bool linewise = line_stride == 1 && depth_stride != 1;
    f.line = linewise ? t % SIDE : t / (DEPTH / 4);
    f.depth = linewise ? t / SIDE * 4 : t % (DEPTH / 4) * 4;
    f.chunk_lines = linewise ? 0 : THREADS / (DEPTH / 4);
    f.chunk_depths = linewise ? THREADS / SIDE * 4 : 0;
    f.from = p + f.line * line_stride + f.depth * depth_stride;
    f.step = f.chunk_lines * line_stride + f.chunk_depths * depth_stride;
    f.depth_stride = depth_stride;
    f.lines = lines < SIDE ? (int)lines : SIDE;
    f.whole = depth_stride == 1 && line_stride % 4 == 0 && ((uintptr_t)p & 15) == 0;
    return f;
}
/* In bytes; lines of 64, units of 4 depths. */
GY_DEVICE int place(int line, int unit) {
    return line * 64 + ((unit ^ (line >> 1 & 3)) << 4);
}
/* left: depths from the tile's first on. */
GY_DEVICE void feed_next(feed *f, unsigned char *tile, int64_t left) {
    int depths = left < DEPTH ? (int)left : DEPTH;
    GY_UNROLL
    for (int i = 0; i < CHUNKS; i++) {
        int line = f->line + i * f->chunk_lines, depth = f->depth + i * f->chunk_depths;
        unsigned char *to = tile + place(line, depth / 4);
        const float *p = f->from + i * f->step;
        if (f->whole && depth + 4 <= depths) {
            gy_cp_async16(to, p, line < f->lines);
        } else {
            GY_UNROLL
            for (int e = 0; e < 4; e++)
                gy_cp_async4(to + 4 * e, p + e * f->depth_stride, line < f->lines && depth + e < depths);
        }
    }
    f->from += DEPTH * f->depth_stride;
}

/* Fragments of 16 lines and 8 depths, rounded; as in matmul_bf16.cu. */
GY_DEVICE void fragment(uint32_t r[4], const unsigned char *tile, int line, int d, const bool B) {
    int lane = gy_lane(), low = lane / 8 % 2, high = lane / 16, down = B ? high : low, deep = B ? low : high;
    gy_ldmatrix_x4(r, tile + place(line + down * 8 + lane % 8, d * 2 + deep));
    GY_UNROLL
    for (int i = 0; i < 4; i++) {
        union {
            uint32_t u;
            float f;
        } b;
        b.u = r[i];
        r[i] = gy_tf32_bits(b.f);
    }
}

GY_KERNEL(matmul_tf32, matmul_args, THREADS) {
    unsigned char *shared = GY_SHARED(unsigned char); /* a stage: a, b */
    int warp = (int)threadIdx.x / 32, lane = gy_lane(), row0 = warp % 2 * 64, col0 = warp / 2 * 32;
    float acc[4][4][4];
    matmul_place at = matmul_tile(a, (int64_t)blockIdx.x, SIDE, SIDE);
    int64_t oa, ob, residual, k0, k1;
    matmul_depths(a, &k0, &k1);
    matmul_batch(a, at.batch, &oa, &ob, &residual);
    feed fa =
        feed_of((const float *)a->a + oa + at.row * a->a_row + k0 * a->a_depth, a->a_row, a->a_depth, a->m - at.row);
    feed fb =
        feed_of((const float *)a->b + ob + at.col * a->b_col + k0 * a->b_depth, a->b_col, a->b_depth, a->n - at.col);
    GY_UNROLL
    for (int i = 0; i < 64; i++) acc[i / 16][i / 4 % 4][i % 4] = 0;
    int64_t depths = k1 - k0, steps = (depths + DEPTH - 1) / DEPTH;
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) {
            feed_next(&fa, shared + s * 2 * TILE, depths - s * DEPTH);
            feed_next(&fb, shared + s * 2 * TILE + TILE, depths - s * DEPTH);
        }
        gy_cp_async_commit();
    }
    for (int64_t s = 0; s < steps; s++) {
        gy_cp_async_wait(STAGES - 2);
        __syncthreads(); /* all have their part of stage s, and are done with the stage that is filled next */
        if (s + STAGES - 1 < steps) {
            unsigned char *to = shared + (int)((s + STAGES - 1) % STAGES) * 2 * TILE;
            feed_next(&fa, to, depths - (s + STAGES - 1) * DEPTH);
            feed_next(&fb, to + TILE, depths - (s + STAGES - 1) * DEPTH);
        }
        gy_cp_async_commit();
        const unsigned char *ta = shared + (int)(s % STAGES) * 2 * TILE, *tb = ta + TILE;
        GY_UNROLL
        for (int d = 0; d < DEPTH / 8; d++) {
            uint32_t ma[4][4], mb[2][4];
            GY_UNROLL
            for (int i = 0; i < 4; i++) fragment(ma[i], ta, row0 + 16 * i, d, false);
            GY_UNROLL
            for (int j = 0; j < 2; j++) fragment(mb[j], tb, col0 + 16 * j, d, true);
            GY_UNROLL
            for (int i = 0; i < 16; i++) gy_mma_1688_tf32(acc[i / 4][i % 4], ma[i / 4], mb[i % 4 / 2] + i % 2 * 2);
        }
    }

    float *y = (float *)a->y + at.batch * a->y_batch + (int64_t)blockIdx.y * a->y_split;
    const float *r = a->residual ? (const float *)a->residual + residual : NULL;
    GY_UNROLL
    for (int i = 0; i < 64; i++) {
        int64_t row = at.row + row0 + 16 * (i / 16) + 8 * (i / 2 % 2) + lane / 4,
                col = at.col + col0 + 8 * (i / 4 % 4) + lane % 4 * 2 + i % 2;
        if (row >= a->m || col >= a->n) continue;
        y[row * a->y_row + col * a->y_col] = finished_f32(a, acc[i / 16][i / 4 % 4][i % 4], row, col, r);
    }
}

#ifdef GY_HOST
#include <stdlib.h>

bool matmul_tf32_takes(const matmul_args *p) {
    const char *asked = getenv("GYRUS_TF32");
    return asked && strcmp(asked, "1") == 0 && p->m > SIDE / 4 && p->n > SIDE / 4;
}
size_t matmul_tf32_scratch(const matmul_args *p) {
    return matmul_cut_scratch(p, matmul_cut_of(p, SIDE, SIDE), sizeof(float));
}
void matmul_tf32_run(const gy_kargs *k, const matmul_args *whole) {
    matmul_cut c = matmul_cut_of(whole, SIDE, SIDE);
    matmul_args p = matmul_part(*whole, c, k->scratch, DEPTH);
    gy_cuda_launch(k, &matmul_tf32, (gy_grid){c.tiles, c.parts, 1}, THREADS, STAGES * 2 * TILE, &p, sizeof p);
    if (c.parts > 1) matmul_finish(k, whole, c.parts);
}
#endif
