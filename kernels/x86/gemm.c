/* The matrix product driver: blocks, panels, threads, epilogue.
 *
 * Depth is cut into steps of KC. For one step, a panel of A (MR x KC, 14 KiB) and a panel of B (KC x 2 vectors, 32 KiB)
 * meet in a register kernel. B is packed for all threads together, a chunk of columns by a group of depth, up to 16
 * MiB, at a time; A by the tile that needs it. A tile, the unit of work of a thread, is up to MC rows by all columns of
 * the chunk by the group's depth: A is so packed once a chunk, and a panel of B, which streams from the second or third
 * level, serves all panels of A in the tile. Tiles are made lower (to two panels of A), then narrower, until there are
 * 16 of them. When C is so small that this cannot be (a weight's gradient: short and narrow, but deep), the depth is
 * split into parts whose partial products are added in order. All of it follows from m, n, k alone, so that the same
 * bits come out for any number of threads, and whether B comes plain, packed before, or neither.
 *
 * FLOPs 2 m n k; bytes (m k + k n + m n) elements from memory at least, packing reads and writes A and B once more.
 * Measured, one thread of Zen 4 (f32 peak 118 GFLOP/s, bf16 236, f64 59; gyrus bench matmul --threads 1): f32 512^3
 * .93, 1024^3 .89, 788 x 2304 x 768 .93; bf16 512^3 .92; f64 1024^3 .90; weights packed once: 197 x 3072 x 768 .95.
 *
 * The file is compiled for f32, f64 and, from gemm_avx512bf16.c, for bf16 pairs: T is the type of C, P of panels. */
#define GY_TYPED_FILE "gemm.c"
#include "gemm.h"
#include "types.h"
#include "vmath.h"

#ifndef P
#define P T
#define P_IS_T
#endif

#ifndef GY_GEMM_ONCE
#define GY_GEMM_ONCE

enum { KC = GY_KC, MC = 8 * GY_MR, NB = 1024, DIRECT_ROWS = 64, FEW_ROWS = 256, ENOUGH = 16 /* tiles */ };

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t up(int64_t n, int64_t unit) {
    return (n + unit - 1) / unit * unit;
}
static size_t align64(size_t n) {
    return (n + 63) & ~(size_t)63;
}

static vf activate_vector(vf x, int64_t act) {
    switch ((gy_act)act) {
    case GY_ACT_RELU: return v_max(v_zero(), x);
    case GY_ACT_SILU: return v_silu(x);
    case GY_ACT_GELU: return v_gelu(x);
    case GY_ACT_GELU_TANH: return v_gelu_tanh(x);
    case GY_ACT_QUICK_GELU: return v_quick_gelu(x);
    case GY_ACT_TANH: return v_tanh(x);
    case GY_ACT_SIGMOID: return v_sigmoid(x);
    case GY_ACT_NONE: break;
    }
    return x;
}
static double activate_scalar(double x, int64_t act) {
    switch ((gy_act)act) {
    case GY_ACT_RELU: return x < 0 ? 0 : x;
    case GY_ACT_SILU: return x / (1 + exp(-x));
    case GY_ACT_GELU: return 0.5 * x * erfc(-x * 0.70710678118654752440);
    case GY_ACT_GELU_TANH: return 0.5 * x * (1 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case GY_ACT_QUICK_GELU: return x / (1 + exp(-1.702 * x));
    case GY_ACT_TANH: return tanh(x);
    case GY_ACT_SIGMOID: return 1 / (1 + exp(-x));
    case GY_ACT_NONE: break;
    }
    return x;
}

typedef struct {
    int64_t nc, kg;     /* columns and depth that are packed at once */
    int64_t nb, splits; /* a tile's columns; parts of depth */
    int64_t row_tiles, col_tiles;
    size_t a_elements, b_elements, part_elements;
} plan;
#endif

#ifdef T

#define GEMM TYPE(gy_gemm)

/* ---- the epilogue ---- */

static bool NAME(plain)(const GEMM *g) {
    return g->alpha == 1 && !g->act && !g->bias && !g->residual;
}

static void NAME(epilogue)(const GEMM *g, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
#ifdef T_IS_F32
    bool vectors = (!g->bias || g->bias_step == 1) && (!g->residual || g->residual_col == 1);
    for (int64_t i = i0; vectors && i < i1; i++) {
        T *c = g->c + i * g->ldc;
        const T *res = g->residual ? g->residual + i * g->residual_row : NULL;
        for (int64_t j = j0; j < j1; j += VL) {
            int64_t n = least(j1 - j, VL);
            bool full = n == VL;
            vf x = v_mul(v_set(g->alpha), full ? v_load(c + j) : v_loadn(c + j, n));
            if (g->bias) x = v_add(x, full ? v_load(g->bias + j) : v_loadn(g->bias + j, n));
            x = activate_vector(x, g->act);
            if (res) x = v_add(x, full ? v_load(res + j) : v_loadn(res + j, n));
            if (full)
                v_store(c + j, x);
            else
                v_storen(c + j, x, n);
        }
    }
    if (vectors) return;
#endif
    for (int64_t i = i0; i < i1; i++)
        for (int64_t j = j0; j < j1; j++) {
            T x = g->alpha * g->c[i * g->ldc + j];
            if (g->bias) x += g->bias[j * g->bias_step];
            if (g->act) x = (T)activate_scalar((double)x, g->act);
            if (g->residual) x += g->residual[i * g->residual_row + j * g->residual_col];
            g->c[i * g->ldc + j] = x;
        }
}

void NAME(gy_gemm_finish)(const GEMM *g, int64_t i0, int64_t i1, int64_t j0, int64_t j1) {
    if (!NAME(plain)(g)) NAME(epilogue)(g, i0, i1, j0, j1);
    if (g->done) g->done(g, i0, i1, j0, j1);
}

/* k = 0: the sum is empty. */
static void NAME(empty_product)(const GEMM *g) {
    for (int64_t i = 0; i < g->m; i++) memset(g->c + i * g->ldc, 0, (size_t)g->n * sizeof(T));
    NAME(gy_gemm_finish)(g, 0, g->m, 0, g->n);
}

/* ---- panels ---- */

/* Heights of panels: rows are cut evenly, 15 into 8 + 7. */
static int64_t NAME(panel_end)(int64_t rows, int64_t panel) {
    int64_t panels = (rows + GY_MR - 1) / GY_MR;
    return rows * (panel + 1) / panels;
}
static void NAME(pack_a)(const GEMM *g, int64_t i0, int64_t rows, int64_t p0, int64_t depth, P *dst) {
    for (int64_t panel = 0, r = 0; r < rows; panel++) {
        int64_t end = NAME(panel_end)(rows, panel);
        g->pack_a(g->a, i0 + r, end - r, p0, depth, end - r, dst + r * depth);
        r = end;
    }
}

/* Where the panels of B are for the columns j0 .. j0+nc and the depths p0 .. p0+depth that are in work. */
typedef struct {
    const P *panels; /* the panel of column j at j * depth */
    int64_t nc;
    bool direct; /* full panels are read where they are, only the ragged last one is packed */
} NAME(step);

/* Packing a plain B pays only with enough rows of A to serve. */
static bool NAME(direct)(const GEMM *g) {
    return g->b_rows && !g->b_packed && g->m <= DIRECT_ROWS;
}
static int64_t NAME(packed_width)(int64_t nc, bool direct) {
    return up(direct ? nc % (2 * LANES) : nc, LANES);
}
/* Panel of columns j0+j .. of a chunk of nc columns. */
static void NAME(pack_b)(const GEMM *g, int64_t j0, int64_t j, int64_t nc, int64_t p0, int64_t depth, bool direct,
                         P *panels) {
    int64_t n = least(nc - j, 2 * LANES);
    if (direct && n == 2 * LANES) return;
    g->pack_b(g->b, j0 + j, n, p0, depth, up(n, LANES), panels + (direct ? 0 : j * depth));
}

/* C[i0 .. +rows, j0+ja .. j0+jb) += a step of depth. */
static void NAME(macro)(const GEMM *g, int64_t i0, int64_t rows, int64_t j0, int64_t ja, int64_t jb, int64_t p0,
                        int64_t depth, const P *a, NAME(step) b, T *c, int64_t ldc, bool first, bool last) {
    for (int64_t j = ja; j < jb; j += 2 * LANES) {
        int64_t n = least(b.nc - j, 2 * LANES), ldb = up(n, LANES);
        const P *bp = b.panels + (b.direct ? 0 : j * depth);
        if (b.direct && n == 2 * LANES) {
            bp = g->b_rows + p0 * g->b_ld + j0 + j;
            ldb = g->b_ld;
        }
        for (int64_t panel = 0, r = 0; r < rows; panel++) {
            int64_t end = NAME(panel_end)(rows, panel), kind = n > LANES ? 1 : n > LANES / 2 ? 0 : 2;
            NAME(gy_ukr_table)
            [end - r - 1][kind](depth, a + r * depth, bp, ldb, c + (i0 + r) * ldc + j0 + j, ldc, n, first);
            if (last) NAME(gy_gemm_finish)(g, i0 + r, i0 + end, j0 + j, j0 + j + n);
            r = end;
        }
    }
}

/* ---- one product on all threads ---- */

/* The even share of n in as few pieces of at most `most` as there can be, in whole units. */
static int64_t NAME(share)(int64_t n, int64_t most, int64_t unit) {
    return up(gy_tiles(n, gy_tiles(n, most)), unit);
}

static plan NAME(plan_of)(int64_t m, int64_t n, int64_t k) {
    /* elements of B packed at once: with few rows to serve, what was packed is used while it is in the cache */
    const int64_t packed = (int64_t)(m <= FEW_ROWS ? 1 << 20 : 16 << 20) / (int64_t)sizeof(P);
    plan p = {.nc = NAME(share)(n, 16384 / (int64_t)sizeof(P), 2 * LANES), .splits = 1};
    int64_t group = packed / up(p.nc, 2 * LANES) / KC * KC;
    p.kg = least(k, NAME(share)(k, group < KC ? KC : group, KC));
    p.nb = up(p.nc, 2 * LANES);
    const double small = 1e6;           /* multiply-adds worth a tile */
    const int64_t part_limit = 1 << 20; /* elements of partial products */
    int64_t steps = gy_tiles(p.kg, KC), mc = least(up(m, GY_MR), MC);
    for (;;) {
        p.row_tiles = gy_tiles(m, mc);
        p.col_tiles = gy_tiles(p.nc, p.nb);
        int64_t tiles = p.row_tiles * p.col_tiles * p.splits;
        double work = (double)mc * (double)p.nb * (double)p.kg / (double)p.splits;
        if (tiles >= ENOUGH || work < 2 * small) break;
        if (mc > 2 * GY_MR)
            mc = up(mc / 2, GY_MR);
        else if (p.nb >= NB)
            p.nb = up(p.nb / 2, 2 * LANES);
        else if (tiles >= ENOUGH / 2)
            break;
        else if (4 * p.splits <= steps && 2 * p.splits * m * p.nc <= part_limit)
            p.splits *= 2;
        else if (p.nb > 4 * LANES)
            p.nb = up(p.nb / 2, 2 * LANES);
        else if (mc > GY_MR)
            mc = GY_MR;
        else
            break;
    }
    p.a_elements = align64((size_t)(gy_tiles(m, p.row_tiles) * KC) * sizeof(P)) / sizeof(P);
    p.b_elements = align64((size_t)(up(p.nc, LANES) * p.kg) * sizeof(P)) / sizeof(P);
    p.part_elements = p.splits > 1 ? (size_t)(p.splits * m) * (size_t)p.nc : 0;
    return p;
}

size_t NAME(gy_gemm_scratch)(int64_t m, int64_t n, int64_t k, bool b_rows, bool b_packed, int threads) {
    if (m == 0 || n == 0 || k == 0) return 0;
    plan p = NAME(plan_of)(m, n, k);
    if (b_rows && m <= DIRECT_ROWS) p.b_elements = align64((size_t)(2 * LANES * p.kg) * sizeof(P)) / sizeof(P);
    size_t panels = (size_t)threads * p.a_elements + (b_packed ? 0 : p.b_elements);
    return panels * sizeof(P) + p.part_elements * sizeof(T);
}

typedef struct {
    const GEMM *g;
    plan p;
    int64_t j0, nc, p0, depth; /* the chunk of columns, the group of depth */
    bool last_group, direct;
    P *a, *b;
    T *part;
} NAME(job);

enum { TYPE(B_PANELS) = 4 }; /* panels of B that a packing tile writes */

static void NAME(pack_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const NAME(job) *q = arg;
    int64_t steps = gy_tiles(q->depth, KC), step = t % steps, j = t / steps * TYPE(B_PANELS) * 2 * LANES;
    int64_t p = step * KC, depth = least(q->depth - p, KC);
    P *dst = q->b + p * NAME(packed_width)(q->nc, q->direct);
    for (int i = 0; i < TYPE(B_PANELS) && j < q->nc; i++, j += 2 * LANES)
        NAME(pack_b)(q->g, q->j0, j, q->nc, q->p0 + p, depth, q->direct, dst);
}

static void NAME(product_tile)(void *arg, int64_t t, int worker) {
    const NAME(job) *q = arg;
    const GEMM *g = q->g;
    int64_t split = t % q->p.splits, tile = t / q->p.splits, row = tile / q->p.col_tiles;
    int64_t i0 = g->m * row / q->p.row_tiles, rows = g->m * (row + 1) / q->p.row_tiles - i0;
    int64_t ja = tile % q->p.col_tiles * q->p.nb, jb = least(q->nc, ja + q->p.nb);
    if (ja >= q->nc) return; /* the last chunk of columns may be narrower */
    int64_t steps = gy_tiles(q->depth, KC), s0 = steps * split / q->p.splits, s1 = steps * (split + 1) / q->p.splits;
    bool parts = q->p.splits > 1;
    P *a = q->a + (size_t)worker * q->p.a_elements;
    T *c = g->c;
    int64_t ldc = g->ldc, width = NAME(packed_width)(g->b_packed ? g->n : q->nc, q->direct);
    if (parts) { /* laid out as C's chunk, so that c + i * ldc + j0 + j lies inside */
        c = q->part + split * g->m * q->nc - q->j0;
        ldc = q->nc;
        if (s0 == s1 && q->p0 == 0)
            for (int64_t i = i0; i < i0 + rows; i++) memset(c + i * ldc + q->j0 + ja, 0, (size_t)(jb - ja) * sizeof(T));
    }
    for (int64_t s = s0; s < s1; s++) {
        int64_t p = s * KC, depth = least(q->depth - p, KC);
        NAME(step) b = {q->b + p * width, q->nc, q->direct};
        if (g->b_packed) b.panels = g->b_packed + (q->p0 + p) * width + q->j0 * depth;
        NAME(pack_a)(g, i0, rows, q->p0 + p, depth, a);
        NAME(macro)
        (g, i0, rows, q->j0, ja, jb, q->p0 + p, depth, a, b, c, ldc, s == s0 && q->p0 == 0,
         !parts && q->last_group && s == s1 - 1);
    }
}

/* Adds the parts of a row of C in order. */
static void NAME(combine_tile)(void *arg, int64_t i, int worker) {
    (void)worker;
    const NAME(job) *q = arg;
    T *c = q->g->c + i * q->g->ldc + q->j0;
    const T *part = q->part + i * q->nc;
    for (int64_t j = 0; j < q->nc; j++) {
        T sum = part[j];
        for (int64_t s = 1; s < q->p.splits; s++) sum += part[s * q->g->m * q->nc + j];
        c[j] = sum;
    }
    NAME(gy_gemm_finish)(q->g, i, i + 1, q->j0, q->j0 + q->nc);
}

void NAME(gy_gemm)(const GEMM *g, void *scratch, gy_pool *pool) {
    if (g->m == 0 || g->n == 0) return;
    if (g->k == 0) {
        NAME(empty_product)(g);
        return;
    }
    bool direct = NAME(direct)(g);
    NAME(job) q = {.g = g, .p = NAME(plan_of)(g->m, g->n, g->k), .direct = direct, .a = scratch};
    if (direct) q.p.b_elements = align64((size_t)(2 * LANES * q.p.kg) * sizeof(P)) / sizeof(P);
    q.b = q.a + (size_t)gy_pool_threads(pool) * q.p.a_elements;
    q.part = (T *)(void *)(q.b + (g->b_packed ? 0 : q.p.b_elements));
    int64_t tiles = q.p.row_tiles * q.p.col_tiles * q.p.splits;
    for (q.j0 = 0; q.j0 < g->n; q.j0 += q.p.nc) {
        q.nc = least(g->n - q.j0, q.p.nc);
        for (q.p0 = 0; q.p0 < g->k; q.p0 += q.p.kg) {
            q.depth = least(g->k - q.p0, q.p.kg);
            q.last_group = q.p0 + q.depth == g->k;
            if (!g->b_packed && (!direct || q.nc % (2 * LANES)))
                gy_par(pool, gy_tiles(q.nc, TYPE(B_PANELS) * 2 * LANES) * gy_tiles(q.depth, KC), NAME(pack_tile), &q);
            gy_par(pool, tiles, NAME(product_tile), &q);
        }
        if (q.p.splits > 1) gy_par(pool, g->m, NAME(combine_tile), &q);
    }
}

size_t NAME(gy_gemm_packed)(int64_t n, int64_t k) {
    return (size_t)(NAME(packed_width)(n, false) * k) * sizeof(P);
}

void NAME(gy_gemm_prepack)(const GEMM *g, P *dst, gy_pool *pool) {
    NAME(job) q = {.g = g, .nc = g->n, .depth = g->k, .b = dst};
    gy_par(pool, gy_tiles(q.nc, TYPE(B_PANELS) * 2 * LANES) * gy_tiles(q.depth, KC), NAME(pack_tile), &q);
}

/* ---- one product on one thread ---- */

size_t NAME(gy_gemm_serial_scratch)(int64_t m, int64_t n, int64_t k) {
    int64_t depth = least(k, KC);
    return align64((size_t)(up(least(m, MC), GY_MR) * depth) * sizeof(P)) +
           align64((size_t)(up(least(n, NB), LANES) * depth) * sizeof(P));
}

void NAME(gy_gemm_serial)(const GEMM *g, void *scratch) {
    if (g->k == 0) NAME(empty_product)(g);
    P *a = scratch, *b = a + align64((size_t)(up(least(g->m, MC), GY_MR) * least(g->k, KC)) * sizeof(P)) / sizeof(P);
    bool direct = NAME(direct)(g);
    for (int64_t j0 = 0; j0 < g->n; j0 += NB)
        for (int64_t p0 = 0; p0 < g->k; p0 += KC) {
            int64_t nc = least(g->n - j0, NB), depth = least(g->k - p0, KC);
            for (int64_t j = 0; j < nc; j += 2 * LANES) NAME(pack_b)(g, j0, j, nc, p0, depth, direct, b);
            for (int64_t i0 = 0; i0 < g->m; i0 += MC) {
                int64_t rows = least(g->m - i0, MC);
                NAME(pack_a)(g, i0, rows, p0, depth, a);
                NAME(macro)
                (g, i0, rows, j0, 0, nc, p0, depth, a, (NAME(step)){b, nc, direct}, g->c, g->ldc, p0 == 0,
                 p0 + depth == g->k);
            }
        }
}
#undef GEMM
#endif

#ifdef P_IS_T
#undef P
#undef P_IS_T
#endif
