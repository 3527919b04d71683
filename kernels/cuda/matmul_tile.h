/* matmul_tile.h: a block's tile of a product on the ordinary arithmetic units, for one float type T of suffix TNAME;
 * included by matmul.cu once a type. VEC: elements of T in 16 bytes; CP_ASYNC copies one. */
#define NAME_(name, type)  name##_##type
#define NAME__(name, type) NAME_(name, type)
#define NAME(name)         NAME__(name, TNAME)

typedef struct __attribute__((aligned(16))) {
    T v[VEC];
} NAME(vec);

/* One thread's part of bringing one operand's tile [DEPTH][lines] to shared memory: elements that lie `step` apart in
 * memory and shared_step in the tile. Neighbours in a warp take neighbours in memory. */
typedef struct {
    const T *from;
    int64_t step, advance, lines, depths; /* what is left of them, from this thread's first element on */
    int to, shared_step, line_step, depth_step;
} NAME(feed);

GY_DEVICE NAME(feed) NAME(feed_of)(const T *p, int64_t line_stride, int64_t depth_stride, int64_t lines, int64_t depths,
                                   const int LINES, const int ROOM, const int THREADS) {
    NAME(feed) f;
    int t = (int)threadIdx.x;
    bool along = line_stride == 1 && depth_stride != 1;
    int line = along ? t % LINES : t / DEPTH, depth = along ? t / LINES : t % DEPTH;
    f.line_step = along ? 0 : THREADS / DEPTH;
    f.depth_step = along ? THREADS / LINES : 0;
    f.from = p + line * line_stride + depth * depth_stride;
    f.step = f.line_step * line_stride + f.depth_step * depth_stride;
    f.advance = DEPTH * depth_stride;
    f.lines = lines - line;
    f.depths = depths - depth;
    f.to = depth * ROOM + line;
    f.shared_step = f.depth_step * ROOM + f.line_step;
    return f;
}
GY_DEVICE void NAME(feed_next)(NAME(feed) * f, T *tile, const int COPIES) {
    GY_UNROLL
    for (int i = 0; i < COPIES; i++)
        CP_ASYNC(tile + f->to + i * f->shared_step, f->from + i * f->step,
                 i * f->line_step < f->lines && i * f->depth_step < f->depths);
    f->from += f->advance;
    f->depths -= DEPTH;
}

/* WM x WN warps, each of 4 x 8 threads, each of TM x TN elements. Elements of a thread lie in groups of VEC, groups of
 * neighbours lie beside one another: shared memory is read 16 bytes at a time without conflicts. */
GY_DEVICE void NAME(product)(const matmul_args *a, const int WM, const int WN, const int TM, const int TN) {
    const int THREADS = 32 * WM * WN, BM = WM * 4 * TM, BN = WN * 8 * TN, ROOM_A = BM + VEC, ROOM_B = BN + VEC,
              STAGE = DEPTH * (ROOM_A + ROOM_B);
    T *shared = GY_SHARED(T), acc[8][8];
    int warp = (int)threadIdx.x / 32, lane = gy_lane();
    int row0 = (warp % WM) * 4 * TM + lane / 8 * VEC, col0 = (warp / WM) * 8 * TN + lane % 8 * VEC;
    matmul_place at = matmul_tile(a, (int64_t)blockIdx.x, BM, BN);
    int64_t oa, ob, residual, k0, k1;
    matmul_depths(a, &k0, &k1);
    matmul_batch(a, at.batch, &oa, &ob, &residual);
    NAME(feed)
    fa = NAME(feed_of)((const T *)a->a + oa + at.row * a->a_row + k0 * a->a_depth, a->a_row, a->a_depth, a->m - at.row,
                       k1 - k0, BM, ROOM_A, THREADS),
    fb = NAME(feed_of)((const T *)a->b + ob + at.col * a->b_col + k0 * a->b_depth, a->b_col, a->b_depth, a->n - at.col,
                       k1 - k0, BN, ROOM_B, THREADS);

    GY_UNROLL
    for (int i = 0; i < TM; i++) {
        GY_UNROLL
        for (int j = 0; j < TN; j++) acc[i][j] = 0;
    }
    int64_t steps = (k1 - k0 + DEPTH - 1) / DEPTH;
    for (int s = 0; s < STAGES - 1; s++) {
        if (s < steps) {
            NAME(feed_next)(&fa, shared + s * STAGE, BM * DEPTH / THREADS);
            NAME(feed_next)(&fb, shared + s * STAGE + DEPTH * ROOM_A, BN * DEPTH / THREADS);
        }
        gy_cp_async_commit();
    }
    for (int64_t s = 0; s < steps; s++) {
        gy_cp_async_wait(STAGES - 2);
        __syncthreads(); /* all have their part of stage s, and are done with the stage that is filled next */
        if (s + STAGES - 1 < steps) {
            T *to = shared + (int)((s + STAGES - 1) % STAGES) * STAGE;
            NAME(feed_next)(&fa, to, BM * DEPTH / THREADS);
            NAME(feed_next)(&fb, to + DEPTH * ROOM_A, BN * DEPTH / THREADS);
        }
        gy_cp_async_commit();
        const T *ta = shared + (int)(s % STAGES) * STAGE + row0, *tb = ta - row0 + DEPTH * ROOM_A + col0;
        GY_UNROLL
        for (int d = 0; d < DEPTH; d++) {
            NAME(vec) va[8 / VEC], vb[8 / VEC];
            GY_UNROLL
            for (int i = 0; i < TM / VEC; i++) va[i] = *(const NAME(vec) *)(ta + d * ROOM_A + i * 4 * VEC);
            GY_UNROLL
            for (int j = 0; j < TN / VEC; j++) vb[j] = *(const NAME(vec) *)(tb + d * ROOM_B + j * 8 * VEC);
            GY_UNROLL
            for (int i = 0; i < TM; i++) {
                GY_UNROLL
                for (int j = 0; j < TN; j++) acc[i][j] = FMA(va[i / VEC].v[i % VEC], vb[j / VEC].v[j % VEC], acc[i][j]);
            }
        }
    }

    T *y = (T *)a->y + at.batch * a->y_batch + (int64_t)blockIdx.y * a->y_split;
    const T *r = a->residual ? (const T *)a->residual + residual : NULL;
    GY_UNROLL
    for (int i = 0; i < TM; i++) {
        int64_t row = at.row + row0 + i / VEC * 4 * VEC + i % VEC;
        GY_UNROLL
        for (int j = 0; j < TN; j += VEC) {
            int64_t col = at.col + col0 + j / VEC * 8 * VEC;
            if (row >= a->m || col >= a->n) continue;
            NAME(vec) v;
            GY_UNROLL
            for (int e = 0; e < VEC; e++)
                if (col + e < a->n) v.v[e] = NAME(finished)(a, acc[i][j + e], row, col + e, r);
            if (a->whole) {
                *(NAME(vec) *)(y + row * a->y_row + col) = v;
            } else {
                GY_UNROLL
                for (int e = 0; e < VEC; e++)
                    if (col + e < a->n) y[row * a->y_row + (col + e) * a->y_col] = v.v[e];
            }
        }
    }
}

#undef NAME
#undef NAME__
#undef NAME_
