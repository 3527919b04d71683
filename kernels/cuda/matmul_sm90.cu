/* Large matrix products in plans of precision bf16 on chips of compute capability 9.0: the warpgroup's products
 * (wgmma.m64n128k16) fed by the copy engine (TMA). The twin for all other shapes and chips: matmul_bf16.cu.
 *
 * Neither converts, so a first kernel writes both operands as bf16, depths adjacent, to scratch: 6 bytes an element,
 * once, whatever strides they had. In the second a block computes 128 x 128 of y: one thread asks for tiles of 64
 * depths, STAGES ahead, two warpgroups each multiply 64 x 128, with their 64 sums a thread in registers; barrier
 * objects hand stages over ("full") and back ("free"). Tiles lie swizzled by 128 bytes, free of bank conflicts. 32 KiB
 * a stage: two blocks share a processor, so that one writes its results while the other multiplies.
 *
 * A step of 64 depths: 2 x 128 x 128 x 64 FLOPs on 32 KiB that come from the second cache: 64 FLOPs a byte. Its
 * products read 8 + 16 KiB a warpgroup from shared memory. The first kernel costs 6 (m k + k n) bytes of memory
 * traffic, which is little beside 2 m n k FLOPs where m and n are several hundred. */
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
    DEPTH = 64,
    STAGES = 3,
    TILE = 2 * SIDE * DEPTH,
    STAGE = 2 * TILE,
    WARPGROUPS = 2,
    THREADS = 128 * WARPGROUPS + 32,
    ROUND_LINES = 32,
    ROUND_THREADS = 256
};

/* ---- rounding ---- */

typedef struct {
    const float *x;
    uint16_t *y;                              /* [count, lines, depths], lines `line_bytes` long */
    int64_t count, lines, depths, line_bytes; /* count: of matrices */
    int64_t line_stride, depth_stride;
    int64_t dim[MATMUL_BATCH_AXES], batch[MATMUL_BATCH_AXES];
} round_operand;
typedef struct {
    round_operand of[2];
    int batch_rank;
} round_args;

/* A tile of 32 lines and 64 depths, read along whichever are adjacent. */
GY_KERNEL(matmul_sm90_round, round_args, ROUND_THREADS) {
    const round_operand *o = &a->of[blockIdx.y];
    float *tile = GY_SHARED(float); /* lines of 65: columns fall on different banks */
    const int ROOM = DEPTH + 1;
    int64_t deep = (o->depths + DEPTH - 1) / DEPTH, down = (o->lines + ROUND_LINES - 1) / ROUND_LINES,
            block = (int64_t)blockIdx.x;
    if (block >= deep * down * o->count) return;
    int64_t depth0 = block % deep * DEPTH, line0 = block / deep % down * ROUND_LINES, matrix = block / deep / down;
    int64_t rest = matrix, from = line0 * o->line_stride + depth0 * o->depth_stride;
    for (int d = a->batch_rank - 1; d >= 0; d--) {
        from += (d ? rest % o->dim[d] : rest) * o->batch[d];
        rest = d ? rest / o->dim[d] : 0;
    }
    bool linewise = o->line_stride == 1 && o->depth_stride != 1;
    int t = (int)threadIdx.x;
    GY_UNROLL
    for (int i = 0; i < ROUND_LINES * DEPTH / ROUND_THREADS; i++) {
        int line = linewise ? t % ROUND_LINES : t / DEPTH + i * (ROUND_THREADS / DEPTH);
        int depth = linewise ? t / ROUND_LINES + i * (ROUND_THREADS / ROUND_LINES) : t % DEPTH;
        bool there = line0 + line < o->lines && depth0 + depth < o->depths;
        tile[line * ROOM + depth] = there ? o->x[from + line * o->line_stride + depth * o->depth_stride] : 0.0f;
    }
    __syncthreads();
    int line = t / 8, unit = t % 8;
    if (line0 + line >= o->lines || depth0 + unit * 8 >= o->line_bytes / 2) return;
    struct __attribute__((aligned(16))) {
        uint32_t v[4];
    } out;
    GY_UNROLL
    for (int e = 0; e < 4; e++) {
        const float *x = tile + line * ROOM + unit * 8 + 2 * e;
        out.v[e] = gy_bf16x2(x[0], x[1]);
    }
    memcpy((char *)o->y + (matrix * o->lines + line0 + line) * o->line_bytes + (depth0 + unit * 8) * 2, &out, 16);
}

/* ---- the product ---- */

typedef struct {
    gy_tile_map map_a, map_b; /* of the rounded operands, matrices below one another */
    bool one_a, one_b;        /* the same matrix for the whole batch */
    matmul_args p;
} sm90_args;

GY_KERNEL(matmul_sm90, sm90_args, THREADS) {
    const matmul_args *p = &a->p;
    unsigned char *shared = GY_SHARED(unsigned char);
    uint64_t *full = (uint64_t *)(void *)(shared + STAGES * STAGE), *vacant = full + STAGES;
    int warp = (int)threadIdx.x / 32, lane = gy_lane();
    matmul_place at = matmul_tile(p, (int64_t)blockIdx.x, SIDE, SIDE);
    int64_t k0, k1;
    matmul_depths(p, &k0, &k1);
    int steps = k1 > k0 ? (int)((k1 - k0 + DEPTH - 1) / DEPTH) : 0;
    if (threadIdx.x == 0) {
        for (int s = 0; s < STAGES; s++) {
            gy_mbarrier_init(&full[s], 1);
            gy_mbarrier_init(&vacant[s], 4 * WARPGROUPS);
        }
        gy_mbarrier_fence();
    }
    __syncthreads();

    if (warp == 4 * WARPGROUPS) { /* the copies */
        int64_t row_a = at.row + (a->one_a ? 0 : at.batch * p->m), row_b = at.col + (a->one_b ? 0 : at.batch * p->n);
        for (int s = 0; lane == 0 && s < steps; s++) {
            int stage = s % STAGES;
            if (s >= STAGES) gy_mbarrier_wait(&vacant[stage], (s / STAGES - 1) & 1);
            gy_mbarrier_expect(&full[stage], STAGE);
            gy_tile_load(shared + stage * STAGE, &a->map_a, row_a, k0 + (int64_t)s * DEPTH, &full[stage]);
            gy_tile_load(shared + stage * STAGE + TILE, &a->map_b, row_b, k0 + (int64_t)s * DEPTH, &full[stage]);
        }
        return;
    }

    float acc[64];
    GY_UNROLL
    for (int i = 0; i < 64; i++) acc[i] = 0;
    int row0 = warp / 4 * 64;
    for (int s = 0; s < steps; s++) {
        const unsigned char *ta = shared + s % STAGES * STAGE + row0 * 2 * DEPTH,
                            *tb = shared + s % STAGES * STAGE + TILE;
        gy_mbarrier_wait(&full[s % STAGES], s / STAGES & 1);
        gy_wgmma_begin();
        GY_UNROLL
        for (int d = 0; d < DEPTH / 16; d++)
            gy_wgmma_64x128x16(acc, gy_wgmma_operand(ta + 32 * d), gy_wgmma_operand(tb + 32 * d), 1);
        gy_wgmma_commit();
        gy_wgmma_wait(1); /* the step before is done: its stage may be filled again */
        if (s > 0 && lane == 0) gy_mbarrier_arrive(&vacant[(s - 1) % STAGES]);
    }
    gy_wgmma_wait(0);

    float *y = (float *)p->y + at.batch * p->y_batch + (int64_t)blockIdx.y * p->y_split;
    int64_t oa, ob, residual, first = at.row + row0 + warp % 4 * 16 + lane / 4;
    matmul_batch(p, at.batch, &oa, &ob, &residual);
    const float *r = p->residual ? (const float *)p->residual + residual : NULL;
    GY_UNROLL
    for (int i = 0; i < 32; i++) {
        int64_t row = first + i % 2 * 8, col = at.col + i / 2 * 8 + lane % 4 * 2;
        if (row >= p->m || col >= p->n) continue;
        struct __attribute__((aligned(8))) {
            float v[2];
        } v;
        v.v[0] = finished_f32(p, acc[2 * i], row, col, r);
        if (col + 1 < p->n) v.v[1] = finished_f32(p, acc[2 * i + 1], row, col + 1, r);
        if (p->whole) {
            memcpy(y + row * p->y_row + col, &v, 8);
        } else {
            y[row * p->y_row + col * p->y_col] = v.v[0];
            if (col + 1 < p->n) y[row * p->y_row + (col + 1) * p->y_col] = v.v[1];
        }
    }
}

#ifdef GY_HOST
/* Shapes that repay rounding both operands first, on a device that can. Chips after 9.0 have other products. */
bool matmul_sm90_takes(const gy_kargs *k, const matmul_args *p) {
    double work = (double)p->m * (double)p->n * (double)p->k * (double)p->batch;
    return k->device && k->device->sm == 90 && k->device->tile_map && p->m > SIDE / 2 && p->n > SIDE / 2 &&
           p->k >= DEPTH && work >= 1 << 25 && (double)p->m * (double)p->batch < INT32_MAX &&
           (double)p->n * (double)p->batch < INT32_MAX && p->k < INT32_MAX - DEPTH;
}

static bool one(const matmul_args *p, const int64_t *batch) {
    for (int d = 0; d < p->batch_rank; d++)
        if (batch[d]) return false;
    return true;
}
static round_operand operand(const matmul_args *p, const void *x, int64_t lines, int64_t line_stride,
                             int64_t depth_stride, const int64_t *batch, void *y) {
    round_operand o = {.x = x,
                       .y = y,
                       .count = one(p, batch) ? 1 : p->batch,
                       .lines = lines,
                       .depths = p->k,
                       .line_bytes = (p->k + 7) / 8 * 16,
                       .line_stride = line_stride,
                       .depth_stride = depth_stride};
    memcpy(o.dim, p->dim, sizeof o.dim);
    if (o.count > 1) memcpy(o.batch, batch, sizeof o.batch);
    return o;
}
static size_t bytes_of(const round_operand *o) {
    return ((size_t)(o->count * o->lines * o->line_bytes) + 255) / 256 * 256;
}
static int64_t blocks_of(const round_operand *o) {
    return gy_blocks(o->depths, DEPTH) * gy_blocks(o->lines, ROUND_LINES) * o->count;
}

/* Scratch: sums of the parts, if there are several; a; b. */
static size_t layout(const matmul_args *p, matmul_cut c, char *scratch, round_args *r) {
    size_t parts = (matmul_cut_scratch(p, c, sizeof(float)) + 255) / 256 * 256;
    r->batch_rank = p->batch_rank;
    r->of[0] = operand(p, p->a, p->m, p->a_row, p->a_depth, p->a_batch, scratch + parts);
    r->of[1] = operand(p, p->b, p->n, p->b_col, p->b_depth, p->b_batch, scratch + parts + bytes_of(&r->of[0]));
    return parts + bytes_of(&r->of[0]) + bytes_of(&r->of[1]);
}

size_t matmul_sm90_scratch(const matmul_args *p) {
    static char nowhere[1];
    round_args r;
    return layout(p, matmul_cut_of(p, SIDE, SIDE), nowhere, &r);
}

void matmul_sm90_run(const gy_kargs *k, const matmul_args *p) {
    matmul_cut c = matmul_cut_of(p, SIDE, SIDE);
    round_args r;
    layout(p, c, k->scratch, &r);
    sm90_args s = {
        .one_a = r.of[0].count == 1, .one_b = r.of[1].count == 1, .p = matmul_part(*p, c, k->scratch, DEPTH)};
    for (int i = 0; i < 2; i++) {
        const round_operand *o = &r.of[i];
        if (!k->device->tile_map(k->device, i ? &s.map_b : &s.map_a, o->y, o->count * o->lines, o->depths,
                                 o->line_bytes, SIDE, DEPTH))
            return;
    }
    int64_t blocks = blocks_of(&r.of[0]) > blocks_of(&r.of[1]) ? blocks_of(&r.of[0]) : blocks_of(&r.of[1]);
    gy_cuda_launch(k, &matmul_sm90_round, (gy_grid){blocks, 2, 1}, ROUND_THREADS,
                   sizeof(float) * ROUND_LINES * (DEPTH + 1), &r, sizeof r);
    gy_cuda_launch(k, &matmul_sm90, (gy_grid){c.tiles, c.parts, 1}, THREADS, STAGES * STAGE + 1024, &s, sizeof s);
    if (c.parts > 1) matmul_finish(k, p, c.parts);
}
#endif
