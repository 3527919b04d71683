/* Reductions over axes, and running sums.
 *
 * A reduction sees its operand as n results of m elements each. Of a block's 256 threads, `lanes` share a result, and
 * 256 / lanes results are made side by side; neighbouring threads lie along whichever of the two is contiguous in
 * memory, so that a warp reads whole lines: `rows` when the reduced axes are innermost, columns otherwise. Each thread
 * takes every lanes-th element, four loads under way at a time, and the lanes are combined by a tree in shared memory.
 * Where n is too small to fill a GPU, m is cut into chunks whose number depends on n and m alone, and a second launch
 * combines the chunks' results; there are no atomics. All sums are kept in double, which memory hides: an element takes
 * 4 bytes of traffic and one conversion and addition, and the bound is the reading of x once.
 *
 * A running sum is a thread a lane where many lanes lie side by side, else a block a lane, which scans 256 elements at
 * a time by shuffles and carries the sum along. */
#include "walk.h"

#include <stdlib.h>

enum { THREADS = 256, CHUNK = 2048, BLOCKS = 1024 /* enough to fill a GPU */ };

typedef struct {
    const void *x;
    const int64_t *x_at; /* second launch of argmax, argmin: where the chunks' extremes are */
    void *y;             /* results, or of each chunk its results */
    int64_t *y_at;       /* where they are, of argmax and argmin */
    int64_t n, m, chunk;
    int op, wide_x, wide_y, lanes, rows;
    gy_walk kept, gone;
} reduce_args;

typedef struct {
    double v;
    int64_t at;
} partial;

GY_DEVICE partial combined(int op, partial a, partial b) {
    bool second = false;
    switch (op) {
    case GY_OPCODE_sum: a.v += b.v; return a;
    case GY_OPCODE_prod: a.v *= b.v; return a;
    case GY_OPCODE_max: second = !(a.v >= b.v || a.v != a.v); break; /* a NaN wins */
    case GY_OPCODE_min: second = !(a.v <= b.v || a.v != a.v); break;
    case GY_OPCODE_argmax: /* a NaN counts as extreme; the first of equals */
        second = b.v > a.v || (b.v != b.v && a.v == a.v) || ((b.v == a.v || (b.v != b.v && a.v != a.v)) && b.at < a.at);
        break;
    default:
        second = b.v < a.v || (b.v != b.v && a.v == a.v) || ((b.v == a.v || (b.v != b.v && a.v != a.v)) && b.at < a.at);
    }
    return second ? b : a;
}

GY_DEVICE partial reduce_element(const reduce_args *a, int64_t base, int64_t i) {
    int64_t where = base + gy_walk_at(&a->gone, i);
    partial p;
    p.v = gy_number(a->x, a->wide_x, where);
    p.at = a->x_at ? a->x_at[where] : i;
    return p;
}

GY_KERNEL(reduce, reduce_args, THREADS) {
    int t = (int)threadIdx.x, threads = (int)blockDim.x, lanes = a->lanes, width = threads / lanes;
    int lane = a->rows ? t % lanes : t / width, column = a->rows ? t / lanes : t % width, hop = a->rows ? 1 : width;
    double *room = GY_SHARED(double);
    int64_t *room_at = (int64_t *)(void *)(room + threads), o = (int64_t)blockIdx.x * width + column;
    int64_t first = (int64_t)blockIdx.y * a->chunk, i = first + lane, end = first + a->chunk;
    if (end > a->m) end = a->m;
    int op = a->op == GY_OPCODE_sum_squares ? GY_OPCODE_sum : a->op;
    bool where = op == GY_OPCODE_argmax || op == GY_OPCODE_argmin, squares = a->op == GY_OPCODE_sum_squares;
    partial p;
    p.v = op == GY_OPCODE_prod                            ? 1
          : op == GY_OPCODE_max || op == GY_OPCODE_argmax ? -INFINITY
          : op == GY_OPCODE_min || op == GY_OPCODE_argmin ? INFINITY
                                                          : 0;
    p.at = INT64_MAX;
    if (o < a->n) {
        int64_t base = gy_walk_at(&a->kept, o);
        for (; i + 3 * lanes < end; i += 4 * lanes) {
            partial e[4];
            for (int k = 0; k < 4; k++) e[k] = reduce_element(a, base, i + k * lanes);
            for (int k = 0; k < 4; k++) {
                if (squares) e[k].v *= e[k].v;
                p = combined(op, p, e[k]);
            }
        }
        for (; i < end; i += lanes) {
            partial e = reduce_element(a, base, i);
            if (squares) e.v *= e.v;
            p = combined(op, p, e);
        }
    }
    if (lanes > 1) {
        room[t] = p.v;
        if (where) room_at[t] = p.at;
    }
    for (int s = lanes / 2; s > 0; s /= 2) {
        __syncthreads();
        if (lane >= s) continue;
        partial q;
        q.v = room[t + s * hop];
        q.at = where ? room_at[t + s * hop] : 0;
        p = combined(op, p, q);
        room[t] = p.v;
        if (where) room_at[t] = p.at;
    }
    if (lane || o >= a->n) return;
    int64_t to = (int64_t)blockIdx.y * a->n + o;
    if (a->y) gy_put_number(a->y, a->wide_y, to, p.v);
    if (a->y_at) a->y_at[to] = p.at;
}

enum { SCAN = 256 };

typedef struct {
    const void *x;
    void *y;
    int64_t lanes, n, x_step, y_step; /* elements a lane, and their distance */
    int wide, reverse;
    gy_walk x_lane, y_lane;
} cumsum_args;

GY_KERNEL(cumsum_side_by_side, cumsum_args, THREADS) {
    int64_t lane = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (lane >= a->lanes) return;
    int64_t x = gy_walk_at(&a->x_lane, lane), y = gy_walk_at(&a->y_lane, lane);
    double sum = 0;
    for (int64_t j = 0; j < a->n; j++) {
        int64_t i = a->reverse ? a->n - 1 - j : j;
        sum += gy_number(a->x, a->wide, x + i * a->x_step);
        gy_put_number(a->y, a->wide, y + i * a->y_step, sum);
    }
}

GY_KERNEL(cumsum_lane, cumsum_args, SCAN) {
    double *total = GY_SHARED(double); /* of each warp */
    int64_t x = gy_walk_at(&a->x_lane, blockIdx.x), y = gy_walk_at(&a->y_lane, blockIdx.x);
    int lane = gy_lane(), warp = (int)threadIdx.x / GY_WARP, warps = (int)blockDim.x / GY_WARP;
    double carry = 0;
    for (int64_t j0 = 0; j0 < a->n; j0 += blockDim.x) { /* a round too many writes nothing; mutant: same */
        int64_t j = j0 + threadIdx.x, i = a->reverse ? a->n - 1 - j : j;
        double v = j < a->n ? gy_number(a->x, a->wide, x + i * a->x_step) : 0;
        for (int d = 1; d < GY_WARP; d *= 2) {
            double left = gy_shfl_f64(v, lane >= d ? lane - d : lane);
            if (lane >= d) v += left;
        }
        if (lane == GY_WARP - 1) total[warp] = v;
        __syncthreads();
        double before = carry;
        for (int w = 0; w < warps; w++) {
            if (w == warp) before = carry;
            carry += total[w];
        }
        if (j < a->n) gy_put_number(a->y, a->wide, y + i * a->y_step, before + v);
        __syncthreads();
    }
}

#ifdef GY_HOST
void cuda_reduce(const gy_kargs *k);
size_t cuda_reduce_scratch(const gy_kargs *k, int threads);
void cuda_cumsum(const gy_kargs *k);

/* How n results of m elements are shared out, a function of both operands' shapes alone. */
typedef struct {
    reduce_args a;
    int threads;
    int64_t blocks, chunks;
} reduce_plan;

static reduce_plan shared_out(reduce_args a) {
    const gy_walk *kept = &a.kept, *gone = &a.gone;
    int64_t side = kept->rank ? llabs(kept->stride[kept->rank - 1]) : INT64_MAX, m = a.m > 0 ? a.m : 1;
    int64_t along = gone->rank ? llabs(gone->stride[gone->rank - 1]) : 0;
    reduce_plan p = {.chunks = 1};
    a.rows = gone->rank == 0 || along <= side;
    if (a.rows) {
        a.lanes = m <= 8 ? 1 : m <= 1024 ? gy_power_of_two(m / 4, 2, GY_WARP) : THREADS;
    } else {
        int width = gy_power_of_two(a.n, 1, m < 64 ? 128 : GY_WARP); /* results a block */
        a.lanes = gy_power_of_two(m / 4, 1, THREADS / width);
    }
    p.threads = gy_power_of_two(a.n * a.lanes, GY_WARP, THREADS);
    if (a.lanes > p.threads) a.lanes = p.threads;
    int width = p.threads / a.lanes;
    p.blocks = gy_blocks(a.n, width);
    if (p.blocks < BLOCKS / 2) {
        int64_t most = gy_blocks(m, CHUNK / width > 4 * a.lanes ? CHUNK / width : 4 * a.lanes);
        p.chunks = BLOCKS / (p.blocks > 0 ? p.blocks : 1);
        if (p.chunks > most) p.chunks = most;
    }
    a.chunk = gy_blocks(m, p.chunks);
    p.chunks = gy_blocks(m, a.chunk);
    p.a = a;
    return p;
}

static bool finds_place(gy_op_id op) {
    return op == GY_OP_argmax || op == GY_OP_argmin;
}

static reduce_plan first_launch(const gy_kargs *k) {
    const gy_view *x = &k->in[0];
    const gy_reduce_attr *attr = k->attr;
    reduce_args a = {.x = x->data,
                     .n = gy_shape_count(k->out[0].shape),
                     .m = 1,
                     .op = (int)k->op,
                     .wide_x = x->dtype == GY_F64,
                     .wide_y = x->dtype == GY_F64};
    bool reduced[GY_MAX_RANK] = {false};
    for (int64_t i = 0; i < attr->axes.n; i++) reduced[attr->axes.axis[i]] = true;
    for (int64_t i = 0; i < x->shape.rank; i++) {
        if (reduced[i]) a.m *= x->shape.dim[i];
        gy_walk_push(reduced[i] ? &a.gone : &a.kept, x->shape.dim[i], x->stride[i]);
    }
    return shared_out(a);
}

static void launch(const gy_kargs *k, const reduce_plan *p) {
    size_t room = p->a.lanes > 1 ? (size_t)p->threads * (finds_place(k->op) ? 16 : 8) : 0;
    gy_cuda_launch(k, &reduce, (gy_grid){p->blocks, p->chunks, 1}, p->threads, room, &p->a, sizeof p->a);
}

size_t cuda_reduce_scratch(const gy_kargs *k, int threads) {
    (void)threads;
    reduce_plan p = first_launch(k);
    return p.chunks > 1 ? (size_t)(p.chunks * p.a.n) * (finds_place(k->op) ? 16 : 8) : 0;
}

void cuda_reduce(const gy_kargs *k) {
    reduce_plan p = first_launch(k);
    int64_t parts = p.chunks * p.a.n;
    if (p.chunks > 1) {
        p.a.y = k->scratch;
        p.a.wide_y = 1;
        p.a.y_at = finds_place(k->op) ? (int64_t *)k->scratch + parts : NULL;
        launch(k, &p);
        reduce_args a = {.x = p.a.y, .x_at = p.a.y_at, .n = p.a.n, .m = p.chunks, .wide_x = 1};
        a.op = (int)(k->op == GY_OP_sum_squares ? GY_OP_sum : k->op);
        gy_walk_push(&a.kept, a.n, 1);
        gy_walk_push(&a.gone, a.m, a.n);
        p = shared_out(a);
        p.a.chunk = a.m; /* at most BLOCKS */
        p.chunks = 1;
        p.a.wide_y = k->in[0].dtype == GY_F64;
    }
    if (finds_place(k->op)) {
        p.a.y = NULL;
        p.a.y_at = k->out[0].data;
    } else {
        p.a.y = k->out[0].data;
    }
    launch(k, &p);
}

void cuda_cumsum(const gy_kargs *k) {
    const gy_reduce_attr *attr = k->attr;
    const gy_view *x = &k->in[0], *y = &k->out[0];
    int64_t axis = attr->axes.axis[0], count = gy_shape_count(y->shape);
    if (count == 0) return;
    cumsum_args a = {.x = x->data,
                     .y = y->data,
                     .n = y->shape.dim[axis],
                     .x_step = x->stride[axis],
                     .y_step = y->stride[axis],
                     .wide = x->dtype == GY_F64,
                     .reverse = attr->keep != 0};
    a.lanes = count / a.n;
    for (int64_t i = 0; i < x->shape.rank; i++) {
        if (i == axis) continue;
        gy_walk_push(&a.x_lane, x->shape.dim[i], x->stride[i]);
        gy_walk_push(&a.y_lane, x->shape.dim[i], y->stride[i]);
    }
    if (a.y_step >= GY_WARP || a.n <= GY_WARP) {
        int threads = gy_power_of_two(a.lanes, GY_WARP, 128);
        gy_cuda_launch(k, &cumsum_side_by_side, (gy_grid){gy_blocks(a.lanes, threads), 1, 1}, threads, 0, &a, sizeof a);
    } else {
        int threads = gy_power_of_two(a.n, GY_WARP, SCAN);
        gy_cuda_launch(k, &cumsum_lane, (gy_grid){a.lanes, 1, 1}, threads, SCAN / GY_WARP * 8, &a, sizeof a);
    }
}
#endif
