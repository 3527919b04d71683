/* The emulator's tensor cores, barrier objects and copies of tiles: what the wrappers of kernels/cuda/mma.h, which
 * states every layout, do where there is no GPU.
 *
 * Products are summed in double and rounded once; a tensor core adds in an order of its own. What is asynchronous on a
 * GPU happens as late as it may: a copy of a tile when somebody waits for its barrier object, a warpgroup's product
 * when it waits for it. So a kernel that forgets to wait, or overwrites what is still to be read, gets other results.
 */
#include "../mma.h"

static float half_value(uint32_t pair, int i) {
    return gy_bf16_value((uint16_t)(pair >> 16 * i));
}

/* ---- a warp's ---- */

typedef struct {
    uint32_t *r;
    const unsigned char *row;
    bool transposed;
} load;

static void ldmatrix(gy_emu_thread *lane) {
    uint16_t m[4][8][8];
    for (int i = 0; i < 4; i++)
        for (int row = 0; row < 8; row++) {
            const load *l = lane[8 * i + row].operands;
            memcpy(m[i][row], l->row, sizeof m[i][row]);
        }
    for (int t = 0; t < 32; t++) {
        const load *l = lane[t].operands;
        int g = t / 4, p = t % 4 * 2;
        for (int i = 0; i < 4; i++)
            l->r[i] = l->transposed ? (uint32_t)m[i][p][g] | (uint32_t)m[i][p + 1][g] << 16
                                    : (uint32_t)m[i][g][p] | (uint32_t)m[i][g][p + 1] << 16;
    }
}

void gy_emu_ldmatrix(uint32_t r[4], const void *row, bool transposed, int line) {
    load l = {r, row, transposed};
    const unsigned char *shared = gy_emu_self->block->shared;
    if (l.row < shared || l.row + 16 > shared + gy_emu_self->block->shared_bytes || (l.row - shared) % 16)
        gy_emu_fault("line %d: ldmatrix from outside of shared memory, or off alignment", line);
    gy_emu_together(ldmatrix, &l, line);
}

typedef struct {
    float *c;
    const uint32_t *a, *b;
} product;

/* c [16, 8] += a b, whose fragments have been unpacked. */
static void multiply(gy_emu_thread *lane, int depth, float a[16][16], float b[16][8]) {
    for (int t = 0; t < 32; t++) {
        const product *x = lane[t].operands;
        for (int i = 0; i < 4; i++) {
            int row = t / 4 + i / 2 * 8, col = t % 4 * 2 + i % 2;
            double sum = (double)x->c[i];
            for (int p = 0; p < depth; p++) sum += (double)a[row][p] * (double)b[p][col];
            x->c[i] = (float)sum;
        }
    }
}
static void mma_bf16(gy_emu_thread *lane) {
    float a[16][16], b[16][8];
    for (int t = 0; t < 32; t++) {
        const product *x = lane[t].operands;
        int g = t / 4, p = t % 4 * 2;
        for (int i = 0; i < 8; i++) a[g + i / 2 % 2 * 8][p + i / 4 * 8 + i % 2] = half_value(x->a[i / 2], i % 2);
        for (int i = 0; i < 4; i++) b[p + i / 2 * 8 + i % 2][g] = half_value(x->b[i / 2], i % 2);
    }
    multiply(lane, 16, a, b);
}
static float word_value(uint32_t w) { /* a tensor core reads no more than tf32 has */
    union {
        uint32_t u;
        float f;
    } b;
    b.u = w & ~UINT32_C(0x1fff);
    return b.f;
}
static void mma_tf32(gy_emu_thread *lane) {
    float a[16][16], b[16][8];
    for (int t = 0; t < 32; t++) {
        const product *x = lane[t].operands;
        int g = t / 4, p = t % 4;
        for (int i = 0; i < 4; i++) a[g + i % 2 * 8][p + i / 2 * 4] = word_value(x->a[i]);
        for (int i = 0; i < 2; i++) b[p + i * 4][g] = word_value(x->b[i]);
    }
    multiply(lane, 8, a, b);
}
void gy_emu_mma_bf16(float c[4], const uint32_t a[4], const uint32_t b[2], int line) {
    product x = {c, a, b};
    gy_emu_together(mma_bf16, &x, line);
}
void gy_emu_mma_tf32(float c[4], const uint32_t a[4], const uint32_t b[2], int line) {
    product x = {c, a, b};
    gy_emu_together(mma_tf32, &x, line);
}

uint32_t gy_tf32_bits(float x) {
    union {
        float f;
        uint32_t u;
    } b;
    b.f = x;
    if ((b.u & 0x7fffffffu) > 0x7f800000u) return 0x7fffffffu;
    if ((b.u & 0x7f800000u) == 0x7f800000u) return b.u;
    return (b.u + 0x1000u) & ~UINT32_C(0x1fff);
}

/* ---- barrier objects ---- */

typedef struct {
    uint16_t arrivals, missing; /* of a phase; in this one */
    int32_t bytes_and_parity;   /* bytes to come, times two, and the parity of the phase under way */
} barrier;

static barrier *barrier_at(uint64_t *p) {
    const unsigned char *shared = gy_emu_self->block->shared, *at = (const unsigned char *)p;
    if (at < shared || at + 8 > shared + gy_emu_self->block->shared_bytes || (at - shared) % 8)
        gy_emu_fault("an mbarrier outside of shared memory, or off alignment");
    return (barrier *)(void *)p;
}
/* Ends the phase if nothing is missing. */
static void settle(barrier *b) {
    if (b->missing || b->bytes_and_parity >> 1) return;
    b->missing = b->arrivals;
    b->bytes_and_parity ^= 1;
}
void gy_mbarrier_init(uint64_t *p, int arrivals) {
    *barrier_at(p) = (barrier){(uint16_t)arrivals, (uint16_t)arrivals, 0};
}
void gy_mbarrier_arrive(uint64_t *p) {
    barrier *b = barrier_at(p);
    if (b->missing == 0 || b->missing > b->arrivals) gy_emu_fault("more arrivals at an mbarrier than it counts");
    b->missing--;
    settle(b);
}
void gy_mbarrier_expect(uint64_t *p, int bytes) {
    barrier_at(p)->bytes_and_parity += 2 * bytes;
    gy_mbarrier_arrive(p);
}

/* ---- copies of tiles ---- */

/* What gy_tile_map holds for the emulator; filled by emu.c. */
typedef struct {
    const uint16_t *base;
    int64_t rows, columns, row_bytes;
    int box_rows, box_columns;
} map;
_Static_assert(sizeof(map) <= sizeof(gy_tile_map), "it must fit");

void gy_emu_tile_map(void *to, const void *base, int64_t rows, int64_t columns, int64_t row_bytes, int box_rows,
                     int box_columns);
void gy_emu_tile_map(void *to, const void *base, int64_t rows, int64_t columns, int64_t row_bytes, int box_rows,
                     int box_columns) {
    map m = {base, rows, columns, row_bytes, box_rows, box_columns};
    memcpy(to, &m, sizeof m);
}

/* Of a byte `offset` from the start of shared memory, swizzled. */
static size_t swizzled(size_t offset) {
    return offset ^ (offset >> 7 & 7) << 4;
}

void gy_tile_load(void *to, const gy_tile_map *m, int64_t row, int64_t column, uint64_t *p) {
    gy_emu_block *b = gy_emu_self->block;
    map t;
    memcpy(&t, m, sizeof t);
    size_t offset = (size_t)((unsigned char *)to - b->shared);
    if ((unsigned char *)to < b->shared || offset % 1024 ||
        offset + (size_t)(2 * t.box_rows * t.box_columns) > b->shared_bytes)
        gy_emu_fault("a tile that does not fit in shared memory, or begins on no 1024 bytes");
    if (b->n_tiles == GY_EMU_TILES) gy_emu_fault("more than %d copies of tiles under way", GY_EMU_TILES);
    barrier_at(p);
    b->tile[b->n_tiles].map = m;
    b->tile[b->n_tiles].to = to;
    b->tile[b->n_tiles].barrier = p;
    b->tile[b->n_tiles].row = (int)row;
    b->tile[b->n_tiles++].column = (int)column;
}

static void copy_tile(gy_emu_block *b, int i) {
    map t;
    memcpy(&t, b->tile[i].map, sizeof t);
    size_t to = (size_t)((unsigned char *)b->tile[i].to - b->shared);
    for (int r = 0; r < t.box_rows; r++)
        for (int c = 0; c < t.box_columns; c++) {
            int64_t row = b->tile[i].row + r, column = b->tile[i].column + c;
            uint16_t v = 0;
            if (row >= 0 && row < t.rows && column >= 0 && column < t.columns)
                v = t.base[row * (t.row_bytes / 2) + column];
            memcpy(b->shared + swizzled(to + (size_t)(2 * (r * t.box_columns + c))), &v, 2);
        }
    barrier *x = (barrier *)(void *)b->tile[i].barrier;
    x->bytes_and_parity -= 2 * 2 * t.box_rows * t.box_columns;
    settle(x);
}

bool gy_emu_mbarrier_done(gy_emu_thread *t) {
    gy_emu_block *b = t->block;
    const barrier *x = barrier_at(t->barrier);
    int kept = 0;
    for (int i = 0; i < b->n_tiles; i++) {
        if (b->tile[i].barrier == t->barrier)
            copy_tile(b, i);
        else
            b->tile[kept++] = b->tile[i];
    }
    b->n_tiles = kept;
    return (x->bytes_and_parity & 1) != t->parity;
}

/* ---- a warpgroup's products ---- */

uint64_t gy_wgmma_operand(const void *tile) {
    size_t offset = (size_t)((const unsigned char *)tile - gy_emu_self->block->shared);
    return (uint64_t)offset >> 4 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

void gy_wgmma_64x128x16(float d[64], uint64_t a, uint64_t b, int accumulate) {
    gy_emu_thread *t = gy_emu_self;
    if (t->n_products == GY_EMU_PRODUCTS) gy_emu_fault("more than %d products under way", GY_EMU_PRODUCTS);
    t->product[t->n_products].d = d;
    t->product[t->n_products].a = a;
    t->product[t->n_products].b = b;
    t->product[t->n_products].accumulate = accumulate;
    t->product[t->n_products++].group = t->products_group;
}
void gy_wgmma_commit(void) {
    gy_emu_self->products_group++;
}

static void operand(const gy_emu_block *b, uint64_t descriptor, int lines, float *to) {
    size_t start = (size_t)(descriptor & 0x3fff) << 4, stride = (size_t)(descriptor >> 32 & 0x3fff) << 4;
    for (int line = 0; line < lines; line++)
        for (int p = 0; p < 16; p++) {
            uint16_t v;
            size_t at = swizzled(start + (size_t)(line / 8) * stride + (size_t)(line % 8 * 128 + 2 * p));
            if (at + 2 > b->shared_bytes) gy_emu_fault("a product reads past the end of shared memory");
            memcpy(&v, b->shared + at, 2);
            to[line * 16 + p] = gy_bf16_value(v);
        }
}

static void run_products(gy_emu_thread *lane) {
    float a[64 * 16], b[128 * 16];
    int n = lane->n_products, kept = 0;
    for (int i = 0; i < n; i++) {
        for (int t = 1; t < GY_EMU_WARPGROUP; t++)
            if (lane[t].n_products != n || lane[t].product[i].a != lane->product[i].a ||
                lane[t].product[i].b != lane->product[i].b ||
                lane[t].product[i].accumulate != lane->product[i].accumulate ||
                lane[t].product[i].group != lane->product[i].group ||
                lane[t].products_pending != lane->products_pending)
                gy_emu_fault("threads 0 and %d of a warpgroup ask for other products", t);
        if (lane->product[i].group >= lane->products_group - lane->products_pending) {
            for (int t = 0; t < GY_EMU_WARPGROUP; t++) lane[t].product[kept] = lane[t].product[i];
            kept++;
            continue;
        }
        operand(lane->block, lane->product[i].a, 64, a);
        operand(lane->block, lane->product[i].b, 128, b);
        for (int t = 0; t < GY_EMU_WARPGROUP; t++)
            for (int j = 0; j < 64; j++) {
                int row = t / 32 * 16 + t % 32 / 4 + j / 2 % 2 * 8, col = j / 4 * 8 + t % 4 * 2 + j % 2;
                float *d = lane[t].product[i].d + j;
                double sum = lane->product[i].accumulate ? (double)*d : 0;
                for (int p = 0; p < 16; p++) sum += (double)a[row * 16 + p] * (double)b[col * 16 + p];
                *d = (float)sum;
            }
    }
    for (int t = 0; t < GY_EMU_WARPGROUP; t++) lane[t].n_products = kept;
}

void gy_emu_wgmma_wait(int pending, int line) {
    gy_emu_self->products_pending = pending;
    gy_emu_group(run_products, line);
}
