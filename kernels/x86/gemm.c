/* The matrix product driver: blocks, panels, threads, epilogue.
 *
 * Depth is cut into steps of KC (512 floats: C is loaded and stored once a step, 256 cost 1.5 % more). For one step, a
 * panel of A (MR x KC, 28 KiB) and a panel of B (KC x 2 vectors, 64 KiB) meet in a register kernel; both stream from
 * the second level, 184 bytes in 28 cycles.
 *
 * The operand with fewer lines is shared by all tiles: at most SHARED lines by a group of depth, 8 MiB, are packed, by
 * each worker for itself where there are at most PRIVATE (a cache line written where another core holds it cost 18 ns,
 * ten times the packing), else by all together. A
 * tile, the unit of work of a thread, is some lines of the other operand by all of the shared ones: columns when C is
 * wide, rows when it is tall. It packs its own lines step by step, 256 KiB at most, which stay in its second level, and
 * nobody waits for that; register kernels fetch what is packed next while they run. Tiles are made narrower, to two
 * panels, until there are 16 of them. When C is so small that there are not even 8 (a weight's gradient: short and
 * narrow, but deep), the depth is split into parts whose products are added in order. All of it follows from m, n, k
 * alone, so that the same bits come out for any number of threads, and whether B comes plain, packed before, or
 * neither.
 *
 * What is adjacent in memory across panels is packed RUN depths at a time (from main memory two to three times as fast
 * as panel by panel). Packing is left out where it would serve little: a plain B under few rows, a plain A beside few
 * columns are read where they are.
 *
 * FLOPs 2 m n k; bytes (m k + k n + m n) elements from memory at least, packing reads and writes A and B once more.
 * Measured, one thread of Zen 4 (f32 peak 118 GFLOP/s, bf16 236, f64 59; gyrus bench matmul --threads 1): f32 512^3
 * and 1024^3 .93 to .95, 788 x 2304 x 768 .93 to .95, 256 x 1280 x 5120 .90 to .93; bf16 512^3 .91; f64 1024^3 .87 to
 * .90; weights packed once: 16 x 3072 x 768 .96. Two threads, 1024^3: 1.94 times one.
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

enum {
    DIRECT_ROWS = 64,      /* most rows for which a plain B is read where it is, */
    DIRECT_COLS = 256,     /* and columns for which a plain A is */
    DIRECT_SIZE = 1 << 19, /* of at most so many elements */
    ROW_PANELS = 8,        /* panels of A, */
    COLUMN_PANELS = 4,     /* or of B, that a tile packs at once */
    SHARED = 1024,         /* lines of the operand that is packed for all */
    ENOUGH = 16,           /* tiles */
    EVEN = 4,              /* of which the number is a multiple, for as many threads to share them evenly */
    PRIVATE = 4,           /* most threads of which each packs the shared operand for itself */
    DEEP = 16,             /* steps of depth from which it is split before tiles are made narrower */
    MOST_FETCHES = 2,      /* of one operand by one register tile */
    RUN = 8                /* depths packed at once of lines that are adjacent in memory */
};

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
    bool wide;             /* A is packed for all and B by the tile; else B for all and A by the tile */
    int64_t chunk, group;  /* lines and depth of what is packed for all at once */
    int64_t block, blocks; /* lines of the other operand a tile at most, and tiles */
    int64_t unit, units;   /* of which a tile has whole ones */
    int64_t splits;        /* parts of depth */
    size_t shared_elements, own_elements, part_elements;
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

enum { TYPE(KC) = GY_KC * sizeof(float) / sizeof(T) };

/* Heights of panels: rows are cut evenly, 15 into 8 + 7. */
static int64_t NAME(panel_end)(int64_t rows, int64_t panel) {
    int64_t panels = (rows + GY_MR - 1) / GY_MR;
    return rows * (panel + 1) / panels;
}
/* Adjacent lines are packed a few depths of all panels at a time: memory is then read in long pieces. */
static int64_t NAME(run)(const gy_raw *x, int64_t depth) {
    return x->data && x->line <= (int64_t)sizeof(T) ? least(RUN, depth) : depth;
}
/* Panels [from, to) of the rows [i0, i0+rows), one after the other from dst on. */
static void NAME(pack_a)(const GEMM *g, int64_t i0, int64_t rows, int64_t from, int64_t to, int64_t p0, int64_t depth,
                         P *dst) {
    int64_t r0 = from ? NAME(panel_end)(rows, from - 1) : 0, run = NAME(run)(&g->a_raw, depth);
    for (int64_t p = 0; p < depth; p += run)
        for (int64_t panel = from, r = r0; panel < to; panel++) {
            int64_t end = NAME(panel_end)(rows, panel), h = end - r;
            g->pack_a(g->a, i0 + r, h, p0 + p, least(run, depth - p), h, dst + (r - r0) * depth + p * h);
            r = end;
        }
}
/* Panels of the columns [j0, j1), each at (column - j0) * depth. */
static void NAME(pack_b)(const GEMM *g, int64_t j0, int64_t j1, int64_t p0, int64_t depth, P *dst) {
    int64_t run = NAME(run)(&g->b_raw, depth);
    for (int64_t p = 0; p < depth; p += run)
        for (int64_t j = j0; j < j1; j += 2 * LANES) {
            int64_t n = least(j1 - j, 2 * LANES), w = up(n, LANES);
            g->pack_b(g->b, j, n, p0 + p, least(run, depth - p), w, dst + (j - j0) * depth + p * w);
        }
}

/* Packing a plain B pays only with enough rows of A to serve. */
static bool NAME(direct)(const GEMM *g) {
    return g->b_rows && !g->b_packed && g->m <= DIRECT_ROWS && g->n >= g->m;
}

static bool NAME(direct_a)(const GEMM *g) {
#ifdef P_IS_T
    return g->a_rows && g->n <= DIRECT_COLS && g->m * g->k <= DIRECT_SIZE;
#else
    (void)g;
    return false; /* pairs are made by packing */
#endif
}
static void NAME(tile)(const GEMM *g, int64_t depth, const P *a, bool direct, const P *b, int64_t ldb, T *c,
                       int64_t ldc, int64_t rows, int64_t n, bool first, const gy_fetch *fetch) {
    int64_t kind = n > LANES ? 1 : n > LANES / 2 ? 0 : 2;
#ifdef P_IS_T
    if (direct) {
        NAME(gy_ukr_rows_table)[rows - 1][kind](depth, a, g->a_ld, b, ldb, c, ldc, n, first, fetch);
        return;
    }
#else
    (void)g;
    (void)direct;
#endif
    NAME(gy_ukr_table)[rows - 1][kind](depth, a, b, ldb, c, ldc, n, first, fetch);
}

/* A part of C at one step of depth. */
typedef struct {
    int64_t i0, rows, j0, j1; /* i0: of all rows; columns likewise */
    int64_t p0, depth;
    const P *a;    /* panels of the rows */
    const P *b;    /* panels of the columns */
    bool direct_a; /* a is not looked at: rows of A are read where they are */
    bool direct;   /* b holds a ragged last panel only, others are read where they are */
    bool first, last;
    T *c; /* at C's first element */
    int64_t ldc;
    const gy_raw *next; /* what will be packed after this part, lines from next_line on at next_depth depths; or NULL */
    bool next_columns;  /* it is columns, as many as here, else rows */
    const gy_raw *shared; /* likewise the other operand, of whose lines those from shared_line on are these; or NULL */
    int64_t shared_line;
    int64_t next_line, next_p0, next_depth;
} NAME(part);

/* What `tile` number u of U of a panel fetches of the part that comes next: the panel's lines l .. l+w at a share of
 * the depth, in rows of adjacent lines or in pieces of two cache lines of each. Adds to a list, returns its end. */
static gy_fetch *NAME(fetch_next)(const NAME(part) * q, const gy_raw *x, int64_t l, int64_t w, int64_t u, int64_t U,
                                  gy_fetch *list) {
    enum { PIECE = 128 };
    const char *at = x->data + l * x->line + q->next_p0 * x->per * x->depth;
    int64_t depth = q->next_depth * x->per;
    if (x->line <= (int64_t)sizeof(T)) {
        int64_t d = depth * u / U;
        *list++ = (gy_fetch){at + d * x->depth, x->depth, depth * (u + 1) / U - d, w * x->line - 1};
    } else if (x->depth <= (int64_t)sizeof(T)) {
        int64_t pieces = gy_tiles(depth * x->depth, PIECE), from = pieces * u / U, to = pieces * (u + 1) / U;
        for (int64_t i = from; i < to && i < from + MOST_FETCHES; i++)
            *list++ = (gy_fetch){at + i * PIECE, x->line, w, PIECE / 2};
    }
    return list;
}

static void NAME(macro)(const GEMM *g, const NAME(part) * q) {
    int64_t panels = gy_tiles(q->rows, GY_MR), tiles = gy_tiles(q->j1 - q->j0, 2 * LANES);
    for (int64_t panel = 0, r = 0, end; r < q->rows; panel++, r = end) {
        int64_t i = q->i0 + r;
        end = NAME(panel_end)(q->rows, panel);
        for (int64_t j = q->j0; j < q->j1; j += 2 * LANES) {
            int64_t n = least(q->j1 - j, 2 * LANES), ldb = up(n, LANES);
            const P *a = q->direct_a ? g->a_rows + i * g->a_ld + q->p0 : q->a + r * q->depth;
            const P *b = q->b + (q->direct ? 0 : (j - q->j0) * q->depth);
            if (q->direct && n == 2 * LANES) {
                b = g->b_rows + q->p0 * g->b_ld + j;
                ldb = g->b_ld;
            }
            gy_fetch list[2 + 2 * MOST_FETCHES], *f = list;
            if (q->last && g->residual && g->residual_col == 1) {
                const char *x = (const char *)(g->residual + i * g->residual_row + j);
                *f++ = (gy_fetch){x, g->residual_row * (int64_t)sizeof(T), end - r, (n - 1) * (int64_t)sizeof(T)};
            }
            int64_t column = j - q->j0, t = column / (2 * LANES);
            if (q->shared && q->next_columns)
                f = NAME(fetch_next)(q, q->shared, q->shared_line + r, end - r, t, tiles, f);
            else if (q->shared)
                f = NAME(fetch_next)(q, q->shared, q->shared_line + column, n, panel, panels, f);
            if (q->next && q->next_columns)
                f = NAME(fetch_next)(q, q->next, q->next_line + column, n, panel, panels, f);
            else if (q->next)
                f = NAME(fetch_next)(q, q->next, q->next_line + r, end - r, t, tiles, f);
            f->count = 0;
            NAME(tile)(g, q->depth, a, q->direct_a, b, ldb, q->c + i * q->ldc + j, q->ldc, end - r, n, q->first, list);
            if (q->last) NAME(gy_gemm_finish)(g, i, q->i0 + end, j, j + n);
        }
    }
}

/* ---- one product on all threads ---- */

/* The even share of n in as few pieces of at most `most` as there can be, in whole units. */
static int64_t NAME(even_part)(int64_t n, int64_t most, int64_t unit) {
    return up(gy_tiles(n, gy_tiles(n, most)), unit);
}

static plan NAME(plan_of)(int64_t m, int64_t n, int64_t k) {
    const int64_t packed = (8 << 20) / (int64_t)sizeof(P); /* elements packed for all at once */
    const double small = 1e6;                              /* multiply-adds worth a tile */
    const int64_t part_limit = 1 << 20;                    /* elements of partial products */
    plan p = {.wide = n >= m, .splits = 1};
    int64_t shared = p.wide ? m : n, own = p.wide ? n : m, shared_unit = p.wide ? 1 : 2 * LANES;
    int64_t unit = p.wide ? 2 * LANES : GY_MR, most = p.wide ? COLUMN_PANELS : ROW_PANELS;
    p.chunk = NAME(even_part)(shared, SHARED, shared_unit);
    int64_t group = packed / p.chunk / TYPE(KC) * TYPE(KC);
    p.group = least(k, NAME(even_part)(k, group < TYPE(KC) ? TYPE(KC) : group, TYPE(KC)));
    p.block = least(up(own, unit), most * unit);
    int64_t steps = gy_tiles(p.group, TYPE(KC)), least_block = least(p.block, 2 * unit);
    bool deep = k >= DEEP * TYPE(KC);
    for (;;) {
        p.blocks = gy_tiles(own, p.block);
        int64_t tiles = p.blocks * p.splits;
        double work = (double)p.block * (double)p.chunk * (double)p.group / (double)p.splits;
        if (tiles >= ENOUGH || work < 2 * small) break;
        bool splits = 4 * p.splits <= steps && 2 * p.splits * m * n <= part_limit;
        if (deep && splits)
            p.splits *= 2;
        else if (p.block > least_block)
            p.block = up(p.block / 2, unit);
        else if (tiles >= ENOUGH / 2)
            break;
        else if (splits)
            p.splits *= 2;
        else if (p.block > unit)
            p.block = unit;
        else
            break;
    }
    p.units = gy_tiles(own, unit);
    p.unit = unit;
    p.blocks = gy_tiles(own, p.block);
    if (p.blocks > EVEN && p.units >= up(p.blocks, EVEN)) p.blocks = up(p.blocks, EVEN);
    p.block = least(gy_tiles(p.units, p.blocks) * unit, up(own, unit));
    p.shared_elements = align64((size_t)(up(p.chunk, p.wide ? 1 : LANES) * p.group) * sizeof(P)) / sizeof(P);
    p.own_elements = align64((size_t)(p.block * least(k, TYPE(KC))) * sizeof(P)) / sizeof(P);
    p.part_elements = p.splits > 1 ? (size_t)(p.splits * m * n) : 0;
    return p;
}

/* Where things are in the scratch. */
typedef struct {
    bool private;                      /* each worker packs the shared operand for itself */
    size_t shared, own, worker, parts; /* elements of P: the operands, all of a worker, where parts of C begin */
} NAME(room);

static NAME(room) NAME(room_of)(const plan *p, bool b_packed, int threads) {
    NAME(room)
    r = {.private = threads <= PRIVATE,
         .shared = !p->wide && b_packed ? 0 : p->shared_elements,
         .own = p->wide && b_packed ? 0 : p->own_elements};
    r.worker = r.own + (r.private ? r.shared + 64 / sizeof(P) : 0);
    r.parts = (r.private ? 0 : r.shared) + (size_t)threads * r.worker;
    return r;
}

size_t NAME(gy_gemm_scratch)(int64_t m, int64_t n, int64_t k, bool b_rows, bool b_packed, int threads) {
    (void)b_rows;
    if (m == 0 || n == 0 || k == 0) return 0;
    plan p = NAME(plan_of)(m, n, k);
    return NAME(room_of)(&p, b_packed, threads).parts * sizeof(P) + p.part_elements * sizeof(T);
}

typedef struct {
    const GEMM *g;
    plan p;
    NAME(room) room;
    int64_t l0, lines, p0, depth;             /* the chunk of shared lines, the group of depth */
    bool last_group, direct_a, direct, ready; /* ready: nothing is shared */
    P *scratch;
    T *part;
} NAME(job);

/* Packs some panels of the shared operand at one step of depth. */
static void NAME(share)(const NAME(job) * q, int64_t panels, int64_t step, P *dst) {
    int64_t p = step * TYPE(KC), depth = least(q->depth - p, TYPE(KC));
    if (q->p.wide) {
        int64_t from = panels * ROW_PANELS, to = least(from + ROW_PANELS, gy_tiles(q->lines, GY_MR));
        int64_t r = from ? NAME(panel_end)(q->lines, from - 1) : 0;
        NAME(pack_a)(q->g, q->l0, q->lines, from, to, q->p0 + p, depth, dst + p * q->lines + r * depth);
    } else {
        int64_t j = panels * COLUMN_PANELS * 2 * LANES, end = least(j + COLUMN_PANELS * 2 * LANES, q->lines);
        NAME(pack_b)(q->g, q->l0 + j, q->l0 + end, q->p0 + p, depth, dst + p * up(q->lines, LANES) + j * depth);
    }
}
static int64_t NAME(shares)(const NAME(job) * q) {
    return gy_tiles(q->lines, q->p.wide ? ROW_PANELS * GY_MR : COLUMN_PANELS * 2 * LANES);
}
static void NAME(share_tile)(void *arg, int64_t t, int worker) {
    (void)worker;
    const NAME(job) *q = arg;
    int64_t steps = gy_tiles(q->depth, TYPE(KC));
    NAME(share)(q, t / steps, t % steps, q->scratch);
}

/* The own lines of a tile. */
static void NAME(tile_lines)(const NAME(job) * q, int64_t block, int64_t *lo, int64_t *hi) {
    int64_t own = q->p.wide ? q->g->n : q->g->m, blocks = q->p.blocks;
    if (q->p.wide) {
        *lo = q->p.units * block / blocks * q->p.unit;
        *hi = least(q->p.units * (block + 1) / blocks * q->p.unit, own);
    } else {
        *lo = own * block / blocks;
        *hi = own * (block + 1) / blocks;
    }
}
/* What will be packed after part c of tile t: the same lines at the next step of depth, or those of the next tile. */
static void NAME(announce)(const NAME(job) * q, NAME(part) * c, int64_t t, bool more) {
    const GEMM *g = q->g;
    int64_t split = t / q->p.blocks, steps = gy_tiles(q->depth, TYPE(KC)), hi;
    c->next = q->p.wide ? &g->b_raw : &g->a_raw;
    c->next_columns = q->p.wide;
    c->next_p0 = more ? c->p0 + TYPE(KC) : q->p0 + steps * split / q->p.splits * TYPE(KC);
    c->next_depth = least(TYPE(KC), q->p0 + q->depth - c->next_p0);
    bool stays = q->p.wide ? g->b_packed || q->direct : q->direct_a; /* nothing is packed */
    if (stays || !c->next->data || (!more && t % q->p.blocks == q->p.blocks - 1))
        c->next = NULL;
    else
        NAME(tile_lines)(q, (t + !more) % q->p.blocks, &c->next_line, &hi);
}

static void NAME(product_tile)(void *arg, int64_t t, int worker) {
    const NAME(job) *q = arg;
    const GEMM *g = q->g;
    int64_t split = t / q->p.blocks, steps = gy_tiles(q->depth, TYPE(KC)), lo, hi;
    int64_t s0 = steps * split / q->p.splits, s1 = steps * (split + 1) / q->p.splits;
    NAME(tile_lines)(q, t % q->p.blocks, &lo, &hi);
    NAME(part)
    c = {.i0 = q->p.wide ? q->l0 : lo,
         .rows = q->p.wide ? q->lines : hi - lo,
         .j0 = q->p.wide ? lo : q->l0,
         .j1 = q->p.wide ? hi : q->l0 + q->lines,
         .direct_a = q->direct_a,
         .direct = q->direct,
         .c = g->c,
         .ldc = g->ldc};
    P *shared = q->scratch, *mine = q->scratch + q->room.shared + (size_t)worker * q->room.worker;
    bool fresh = false; /* this worker has yet to pack what is shared at these steps */
    if (q->room.private) {
        shared = q->scratch + (size_t)worker * q->room.worker;
        mine = shared + q->room.shared;
        bool *done = (bool *)(void *)(mine + q->room.own);
        fresh = !q->ready && !done[split];
        done[split] = true;
    }
    if (q->part) {
        c.c = q->part + split * g->m * g->n;
        c.ldc = g->n;
    }
    for (int64_t s = s0; s < s1; s++) {
        int64_t p = s * TYPE(KC);
        c.depth = least(q->depth - p, TYPE(KC));
        c.p0 = q->p0 + p;
        c.first = s == s0 && q->p0 == 0;
        c.last = !q->part && q->last_group && s == s1 - 1;
        NAME(announce)(q, &c, t, s + 1 < s1);
        if (fresh && s + 1 < s1) {
            c.shared = q->p.wide ? &g->a_raw : &g->b_raw;
            c.shared_line = q->l0;
        }
        if (!fresh || s + 1 == s1 || !c.shared->data) c.shared = NULL;
        for (int64_t i = 0; fresh && i < NAME(shares)(q); i++) NAME(share)(q, i, s, shared);
        if (q->p.wide) {
            c.a = shared + p * q->lines;
            c.b = mine;
            int64_t whole = q->direct ? lo + (hi - lo) / (2 * LANES) * 2 * LANES : lo;
            if (!g->b_packed) NAME(pack_b)(g, whole, hi, c.p0, c.depth, mine);
        } else {
            c.a = mine;
            c.b = shared + p * up(q->lines, LANES);
            if (!q->direct_a) NAME(pack_a)(g, lo, hi - lo, 0, gy_tiles(hi - lo, GY_MR), c.p0, c.depth, mine);
        }
        if (g->b_packed) c.b = g->b_packed + c.p0 * up(g->n, LANES) + c.j0 * c.depth;
        NAME(macro)(g, &c);
    }
}

/* Adds the parts of a row of C in order. */
static void NAME(combine_tile)(void *arg, int64_t i, int worker) {
    (void)worker;
    const NAME(job) *q = arg;
    const GEMM *g = q->g;
    T *c = g->c + i * g->ldc;
    const T *part = q->part + i * g->n;
    for (int64_t j = 0; j < g->n; j++) {
        T sum = part[j];
        for (int64_t s = 1; s < q->p.splits; s++) sum += part[s * g->m * g->n + j];
        c[j] = sum;
    }
    NAME(gy_gemm_finish)(g, i, i + 1, 0, g->n);
}

void NAME(gy_gemm)(const GEMM *g, void *scratch, gy_pool *pool) {
    if (g->m == 0 || g->n == 0) return;
    if (g->k == 0) {
        NAME(empty_product)(g);
        return;
    }
    plan p = NAME(plan_of)(g->m, g->n, g->k);
    int threads = gy_pool_threads(pool);
    NAME(job)
    q = {.g = g, .p = p, .direct_a = NAME(direct_a)(g), .direct = NAME(direct)(g), .scratch = scratch};
    q.room = NAME(room_of)(&p, g->b_packed, threads);
    q.ready = p.wide ? q.direct_a : g->b_packed != NULL;
    if (p.splits > 1) q.part = (T *)(void *)(q.scratch + q.room.parts);
    int64_t shared = p.wide ? g->m : g->n;
    for (q.l0 = 0; q.l0 < shared; q.l0 += p.chunk) {
        q.lines = least(shared - q.l0, p.chunk);
        for (q.p0 = 0; q.p0 < g->k; q.p0 += p.group) {
            q.depth = least(g->k - q.p0, p.group);
            q.last_group = q.p0 + q.depth == g->k;
            if (q.room.private)
                for (int w = 0; w < threads; w++)
                    memset(q.scratch + (size_t)w * q.room.worker + q.room.shared + q.room.own, 0, 64);
            else if (!q.ready)
                gy_par(pool, NAME(shares)(&q) * gy_tiles(q.depth, TYPE(KC)), NAME(share_tile), &q);
            gy_par(pool, p.blocks * p.splits, NAME(product_tile), &q);
        }
    }
    if (q.part) gy_par(pool, g->m, NAME(combine_tile), &q);
}

size_t NAME(gy_gemm_packed)(int64_t n, int64_t k) {
    return (size_t)(up(n, LANES) * k) * sizeof(P);
}

void NAME(gy_gemm_prepack)(const GEMM *g, P *dst, gy_pool *pool) {
    NAME(job) q = {.g = g, .lines = g->n, .depth = g->k, .scratch = dst};
    gy_par(pool, NAME(shares)(&q) * gy_tiles(q.depth, TYPE(KC)), NAME(share_tile), &q);
}

/* ---- one product on one thread ---- */

/* Columns packed at once: 512 KiB. */
static int64_t NAME(serial_columns)(int64_t n, int64_t k) {
    int64_t most = (int64_t)((512 << 10) / sizeof(P)) / least(k, TYPE(KC)) / (2 * LANES) * 2 * LANES;
    return least(up(n, LANES), most);
}

size_t NAME(gy_gemm_serial_scratch)(int64_t m, int64_t n, int64_t k) {
    if (k == 0) return 0;
    int64_t depth = least(k, TYPE(KC));
    return align64((size_t)(least(m, ROW_PANELS * GY_MR) * depth) * sizeof(P)) +
           align64((size_t)(NAME(serial_columns)(n, k) * depth) * sizeof(P));
}

void NAME(gy_gemm_serial)(const GEMM *g, void *scratch) {
    if (g->k == 0) {
        NAME(empty_product)(g);
        return;
    }
    const int64_t height = ROW_PANELS * GY_MR, columns = NAME(serial_columns)(g->n, g->k);
    P *a = scratch, *b = a + align64((size_t)(least(g->m, height) * least(g->k, TYPE(KC))) * sizeof(P)) / sizeof(P);
    NAME(part) c = {.a = a, .b = b, .direct_a = NAME(direct_a)(g), .direct = NAME(direct)(g), .c = g->c, .ldc = g->ldc};
    for (c.j0 = 0; c.j0 < g->n; c.j0 = c.j1) {
        c.j1 = least(g->n, c.j0 + columns);
        for (c.p0 = 0; c.p0 < g->k; c.p0 += c.depth) {
            c.depth = least(g->k - c.p0, TYPE(KC));
            c.first = c.p0 == 0;
            c.last = c.p0 + c.depth == g->k;
            NAME(pack_b)(g, c.direct ? c.j0 + (c.j1 - c.j0) / (2 * LANES) * 2 * LANES : c.j0, c.j1, c.p0, c.depth, b);
            for (c.i0 = 0; c.i0 < g->m; c.i0 += c.rows) {
                c.rows = least(g->m - c.i0, height);
                if (!c.direct_a) NAME(pack_a)(g, c.i0, c.rows, 0, gy_tiles(c.rows, GY_MR), c.p0, c.depth, a);
                NAME(macro)(g, &c);
            }
        }
    }
}
#undef GEMM
#endif

#ifdef P_IS_T
#undef P
#undef P_IS_T
#endif
