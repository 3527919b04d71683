/* Gathers, scatters, segments, and sparse matrices in compressed rows.
 *
 * Gathers are a thread an element, or 16 bytes where rows allow it: bound by memory, 2 x bytes of y and the index.
 * Whatever adds many sources to one target sorts the sources by target first (bucket.h; sparse rows come sorted), then
 * sums each target's list: of a block's threads, `across` lie along the features, `down` share a list, and the rest are
 * further targets, so that short lists of wide rows and long lists of single numbers both fill a warp. A list is
 * summed by each of its threads in ascending order, and those sums by a tree: the order depends on the shapes and the
 * lists alone. Sums are kept in double. Bytes: every source read once, y written once, and (scatters) the sort. */
#include "bucket.h"

enum { THREADS = 256 };

/* ---- gathers ---- */

typedef struct {
    const void *x;
    const int64_t *index;
    void *y;
    int64_t n, axis, each, inner; /* units of y; index i of `each` is row i of `axis` rows of `inner` units */
    int bytes, along;             /* a unit's; along: an index an element */
} gather_args;

GY_KERNEL(gather, gather_args, THREADS) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= a->n) return;
    int64_t row = gy_quotient(e, a->inner), outer = gy_quotient(row, a->each), c = e - row * a->inner;
    int64_t i = a->index[a->along ? e : row - outer * a->each];
    bool inside = i >= 0 && i < a->axis;
    gy_copy_element(a->y, e, inside ? a->x : NULL, inside ? (outer * a->axis + i) * a->inner + c : 0, a->bytes);
}

/* ---- rows onto others ---- */

typedef struct {
    const void *x, *u;
    const int64_t *index;          /* put: of each row of u */
    const int64_t *start, *member; /* add: target t's rows of u */
    void *y;
    int64_t n, sources, targets, inner; /* elements of u (put), else of y */
    int bytes;
} onto_args;

/* Puts the rows of u where index says; without it adds to each row of y what its list has, in order; without lists
 * copies x. */
GY_KERNEL(onto, onto_args, THREADS) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= a->n) return;
    if (!a->index && !a->start) {
        gy_copy_element(a->y, e, a->x, e, a->bytes);
        return;
    }
    int64_t each = a->index ? a->sources : a->targets;
    int64_t row = gy_quotient(e, a->inner), outer = gy_quotient(row, each), i = row - outer * each;
    int64_t c = e - row * a->inner;
    if (a->index) {
        int64_t to = a->index[i];
        if (to >= 0 && to < a->targets)
            gy_copy_element(a->y, (outer * a->targets + to) * a->inner + c, a->u, e, a->bytes);
        return;
    }
    bool wide = a->bytes == 8;
    double sum = gy_number(a->x, wide, e);
    for (int64_t m = a->start[i]; m < a->start[i + 1]; m++)
        sum += gy_number(a->u, wide, (outer * a->sources + a->member[m]) * a->inner + c);
    gy_put_number(a->y, wide, e, sum);
}

/* ---- sums and maxima of lists ---- */

typedef struct {
    const int64_t *start;         /* target r has entries start[r] ... start[r + 1] - 1, cut to 0 ... entries */
    const int64_t *member, *from; /* entry m is e = member[m] (or m); its source row from[e] (or e) of `sources` */
    const void *factor;           /* ... times factor[e] (or 1) */
    const void *x;                /* [outer, sources, inner] */
    void *y;                      /* [outer, targets, inner] */
    int64_t *where;               /* maxima: the entry that they came from */
    int64_t entries, outer, sources, targets, inner, tiles;
    int wide, across, down;
} list_args;

/* Where a thread of a block stands. */
typedef struct {
    int64_t row, column, source, lo, hi; /* row of y; first source row of its outer index; the list */
    int down;
    bool inside;
} list_place;

GY_DEVICE list_place list_at(const list_args *a) {
    list_place p;
    int t = (int)threadIdx.x, a_target = a->across * a->down;
    int64_t block = gy_quotient(blockIdx.x, a->tiles);
    p.row = block * ((int)blockDim.x / a_target) + t / a_target;
    p.column = (blockIdx.x - block * a->tiles) * a->across + t % a->across;
    p.down = t / a->across % a->down;
    p.inside = p.row < a->outer * a->targets && p.column < a->inner;
    p.source = p.lo = p.hi = 0;
    if (!p.inside) return p;
    int64_t outer = gy_quotient(p.row, a->targets), target = p.row - outer * a->targets;
    p.source = outer * a->sources;
    p.lo = a->start[target];
    p.hi = a->start[target + 1];
    if (p.lo < 0) p.lo = 0;
    if (p.hi > a->entries) p.hi = a->entries;
    return p;
}

GY_DEVICE double list_term(const list_args *a, const list_place *p, int64_t m) {
    int64_t e = a->member ? a->member[m] : m, s = a->from ? a->from[e] : e;
    if (s < 0 || s >= a->sources) return 0;
    double v = gy_number(a->x, a->wide, (p->source + s) * a->inner + p->column);
    return a->factor ? v * gy_number(a->factor, a->wide, e) : v;
}

GY_KERNEL(list_sum, list_args, THREADS) {
    double *room = GY_SHARED(double), sum = 0;
    list_place p = list_at(a);
    int64_t m = p.lo + p.down, step = a->down;
    for (; m + 3 * step < p.hi; m += 4 * step) {
        double v[4];
        for (int k = 0; k < 4; k++) v[k] = list_term(a, &p, m + k * step);
        for (int k = 0; k < 4; k++) sum += v[k];
    }
    for (; m < p.hi; m += step) sum += list_term(a, &p, m);
    if (a->down > 1) room[threadIdx.x] = sum;
    for (int s = a->down / 2; s > 0; s /= 2) {
        __syncthreads();
        if (p.down < s) room[threadIdx.x] = sum += room[(int)threadIdx.x + s * a->across];
    }
    if (p.inside && p.down == 0) gy_put_number(a->y, a->wide, p.row * a->inner + p.column, sum);
}

/* A NaN wins; the first of equals. -1: none yet. */
GY_DEVICE bool later_is_larger(double x, int64_t at, double y, int64_t then) {
    if (at < 0 || then < 0) return at < 0;
    if (x != x || y != y) return x != x && y != y ? then < at : y != y;
    return y > x || (y == x && then < at);
}

GY_KERNEL(list_max, list_args, THREADS) {
    double *room = GY_SHARED(double), top = 0;
    int64_t *room_at = (int64_t *)(void *)(room + blockDim.x), at = -1;
    int t = (int)threadIdx.x;
    list_place p = list_at(a);
    for (int64_t m = p.lo + p.down; m < p.hi; m += a->down) {
        int64_t e = a->member[m];
        double v = gy_number(a->x, a->wide, e * a->inner + p.column);
        if (!later_is_larger(top, at, v, e)) continue;
        top = v;
        at = e;
    }
    if (a->down > 1) {
        room[t] = top;
        room_at[t] = at;
    }
    for (int s = a->down / 2; s > 0; s /= 2) {
        __syncthreads();
        int o = t + s * a->across;
        if (p.down >= s || !later_is_larger(top, at, room[o], room_at[o])) continue;
        room[t] = top = room[o];
        room_at[t] = at = room_at[o];
    }
    if (!p.inside || p.down) return;
    gy_put_number(a->y, a->wide, p.row * a->inner + p.column, at < 0 ? 0 : top);
    a->where[p.row * a->inner + p.column] = at;
}

/* ---- compressed sparse rows ---- */

/* The row of entry e, -1: none. ptr [rows + 1] does not fall. */
GY_DEVICE int64_t csr_row_of(const int64_t *ptr, int64_t rows, int64_t e) {
    int64_t lo = 0, hi = rows + 1; /* the first that is above e */
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (ptr[mid] > e)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo <= rows ? lo - 1 : -1;
}

typedef struct {
    const int64_t *ptr, *column;
    const void *a, *b;
    void *y; /* sddmm; csr_entry_rows: int64_t [entries] */
    int64_t entries, rows, columns, width;
    int wide, lanes;
} csr_args;

GY_KERNEL(csr_entry_rows, csr_args, THREADS) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= a->entries) return;
    ((int64_t *)a->y)[e] = csr_row_of(a->ptr, a->rows, e);
}

/* `lanes` of a warp an entry. */
GY_KERNEL(csr_sampled_product, csr_args, THREADS) {
    int lane = (int)threadIdx.x % a->lanes;
    int64_t e = ((int64_t)blockIdx.x * blockDim.x + threadIdx.x) / a->lanes;
    bool here = e < a->entries;
    int64_t row = here ? csr_row_of(a->ptr, a->rows, e) : -1, column = row >= 0 ? a->column[e] : -1;
    double sum = 0;
    if (column >= 0 && column < a->columns)
        for (int64_t c = lane; c < a->width; c += a->lanes)
            sum += gy_number(a->a, a->wide, row * a->width + c) * gy_number(a->b, a->wide, column * a->width + c);
    for (int s = a->lanes / 2; s > 0; s /= 2) sum += gy_shfl_xor_f64(sum, s);
    if (lane == 0 && here) gy_put_number(a->y, a->wide, e, sum);
}

#ifdef GY_HOST
#include "../index.h"

void cuda_gather(const gy_kargs *k);
void cuda_gather_along(const gy_kargs *k);
void cuda_scatter_add(const gy_kargs *k);
void cuda_scatter_onto(const gy_kargs *k);
size_t cuda_scatter_onto_scratch(const gy_kargs *k, int threads);
size_t cuda_scatter_add_scratch(const gy_kargs *k, int threads);
void cuda_scatter_along_add(const gy_kargs *k);
size_t cuda_scatter_along_add_scratch(const gy_kargs *k, int threads);
void cuda_segment_max(const gy_kargs *k);
void cuda_spmm(const gy_kargs *k);
size_t cuda_spmm_scratch(const gy_kargs *k, int threads);
void cuda_sddmm(const gy_kargs *k);

static void launch_gather(const gy_kargs *k, gather_args a) {
    int threads = gy_power_of_two(a.n, GY_WARP, THREADS);
    gy_cuda_launch(k, &gather, (gy_grid){gy_blocks(a.n, threads), 1, 1}, threads, 0, &a, sizeof a);
}
void cuda_gather(const gy_kargs *k) {
    fold f = fold_at(k->in[0].shape, ((const gy_index_attr *)k->attr)->axis);
    int64_t size = (int64_t)gy_dtype_size(k->in[0].dtype), row = f.inner * size;
    bool sixteens = row % 16 == 0 && (uintptr_t)k->in[0].data % 16 == 0 && (uintptr_t)k->out[0].data % 16 == 0;
    gather_args a = {.x = k->in[0].data, .index = k->in[1].data, .y = k->out[0].data, .axis = f.axis};
    a.bytes = sixteens ? 16 : (int)size;
    a.each = gy_shape_count(k->in[1].shape);
    a.inner = row / a.bytes;
    a.n = f.outer * a.each * a.inner;
    launch_gather(k, a);
}
void cuda_gather_along(const gy_kargs *k) {
    int64_t axis = ((const gy_index_attr *)k->attr)->axis;
    fold f = fold_at(k->in[0].shape, axis);
    launch_gather(k, (gather_args){.x = k->in[0].data,
                                   .index = k->in[1].data,
                                   .y = k->out[0].data,
                                   .n = gy_shape_count(k->out[0].shape),
                                   .axis = f.axis,
                                   .each = k->out[0].shape.rank ? k->out[0].shape.dim[axis] : 1,
                                   .inner = f.inner,
                                   .bytes = (int)gy_dtype_size(k->in[0].dtype),
                                   .along = 1});
}

static void launch_lists(const gy_kargs *k, const gy_cuda_kernel *f, list_args a) {
    int64_t rows = a.outer * a.targets, length = gy_blocks(a.entries, a.targets > 0 ? a.targets : 1);
    a.wide = k->out[0].dtype == GY_F64;
    a.across = gy_power_of_two(a.inner, 1, GY_WARP);
    a.down = gy_power_of_two(length / 4, 1, THREADS / a.across);
    a.tiles = gy_blocks(a.inner, a.across);
    int threads = gy_power_of_two(rows * a.across * a.down, GY_WARP, THREADS);
    int64_t blocks = gy_blocks(rows, threads / (a.across * a.down)) * a.tiles;
    gy_cuda_launch(k, f, (gy_grid){blocks, 1, 1}, threads, a.down > 1 ? (size_t)threads * 16 : 0, &a, sizeof a);
}

size_t cuda_scatter_add_scratch(const gy_kargs *k, int threads) {
    (void)threads;
    return 8 * (size_t)bucket_words(gy_shape_count(k->in[1].shape), ((const gy_index_attr *)k->attr)->n);
}
static list_args scattered(const gy_kargs *k) {
    const gy_index_attr *attr = k->attr;
    fold f = fold_at(k->out[0].shape, attr->axis);
    int64_t n = gy_shape_count(k->in[1].shape);
    cuda_buckets b = bucket_sort(k, k->scratch, k->in[1].data, n, attr->n, attr->n, n, 1);
    return (list_args){.start = b.start,
                       .member = b.member,
                       .x = k->in[0].data,
                       .y = k->out[0].data,
                       .entries = n,
                       .outer = f.outer,
                       .sources = n,
                       .targets = attr->n,
                       .inner = f.inner};
}
void cuda_scatter_add(const gy_kargs *k) {
    if (gy_shape_count(k->out[0].shape)) launch_lists(k, &list_sum, scattered(k));
}

size_t cuda_scatter_onto_scratch(const gy_kargs *k, int threads) {
    (void)threads;
    const gy_onto_attr *attr = k->attr;
    return attr->set ? 0 : 8 * (size_t)bucket_words(gy_shape_count(k->in[2].shape), k->in[0].shape.dim[attr->axis]);
}
static void launch_onto(const gy_kargs *k, onto_args a) {
    if (a.n) gy_cuda_launch(k, &onto, (gy_grid){gy_blocks(a.n, THREADS), 1, 1}, THREADS, 0, &a, sizeof a);
}
void cuda_scatter_onto(const gy_kargs *k) {
    const gy_onto_attr *attr = k->attr;
    fold f = fold_at(k->out[0].shape, attr->axis);
    int64_t n = gy_shape_count(k->in[2].shape), count = gy_shape_count(k->out[0].shape);
    onto_args a = {.x = k->in[0].data,
                   .u = k->in[1].data,
                   .y = k->out[0].data,
                   .n = count,
                   .sources = n,
                   .targets = f.axis,
                   .inner = f.inner,
                   .bytes = (int)gy_dtype_size(k->in[0].dtype)};
    if (count == 0) return;
    if (attr->set) {
        if (a.x != a.y) launch_onto(k, a);
        a.index = k->in[2].data;
        a.n = gy_shape_count(k->in[1].shape);
    } else {
        cuda_buckets b = bucket_sort(k, k->scratch, k->in[2].data, n, f.axis, f.axis, n, 1);
        a.start = b.start;
        a.member = b.member;
    }
    launch_onto(k, a);
}
void cuda_segment_max(const gy_kargs *k) {
    if (gy_shape_count(k->out[0].shape) == 0) return;
    list_args a = scattered(k);
    a.where = k->out[1].data;
    launch_lists(k, &list_max, a);
}

/* Every element of y is a target. */
size_t cuda_scatter_along_add_scratch(const gy_kargs *k, int threads) {
    (void)threads;
    return 8 * (size_t)bucket_words(gy_shape_count(k->in[1].shape), gy_shape_count(k->out[0].shape));
}
void cuda_scatter_along_add(const gy_kargs *k) {
    const gy_index_attr *attr = k->attr;
    fold f = fold_at(k->in[1].shape, attr->axis);
    int64_t n = gy_shape_count(k->in[1].shape), targets = gy_shape_count(k->out[0].shape);
    if (targets == 0) return;
    cuda_buckets b = bucket_sort(k, k->scratch, k->in[1].data, n, targets, attr->n, f.axis, f.inner);
    launch_lists(k, &list_sum,
                 (list_args){.start = b.start,
                             .member = b.member,
                             .x = k->in[0].data,
                             .y = k->out[0].data,
                             .entries = n,
                             .outer = 1,
                             .sources = n,
                             .targets = targets,
                             .inner = 1});
}

size_t cuda_spmm_scratch(const gy_kargs *k, int threads) {
    (void)threads;
    const gy_spmm_attr *attr = k->attr;
    int64_t nnz = k->in[1].shape.dim[0];
    return attr->trans ? 8 * (size_t)(bucket_words(nnz, attr->n) + nnz) : 0;
}
static csr_args csr_of(const gy_kargs *k) {
    return (csr_args){.ptr = k->in[0].data,
                      .column = k->in[1].data,
                      .entries = k->in[1].shape.dim[0],
                      .rows = k->in[0].shape.dim[0] - 1,
                      .wide = k->out[0].dtype == GY_F64};
}
void cuda_spmm(const gy_kargs *k) {
    const gy_spmm_attr *attr = k->attr;
    csr_args c = csr_of(k);
    list_args a = {.start = c.ptr,
                   .from = c.column,
                   .factor = k->in[2].data,
                   .x = k->in[3].data,
                   .y = k->out[0].data,
                   .entries = c.entries,
                   .outer = 1,
                   .sources = k->in[3].shape.dim[0],
                   .targets = attr->n,
                   .inner = k->in[3].shape.dim[1]};
    if (gy_shape_count(k->out[0].shape) == 0) return;
    if (attr->trans) {
        c.y = (int64_t *)k->scratch + bucket_words(c.entries, attr->n);
        int threads = gy_power_of_two(c.entries, GY_WARP, THREADS);
        gy_cuda_launch(k, &csr_entry_rows, (gy_grid){gy_blocks(c.entries, threads), 1, 1}, threads, 0, &c, sizeof c);
        cuda_buckets b = bucket_sort(k, k->scratch, c.column, c.entries, attr->n, attr->n, c.entries, 1);
        a.start = b.start;
        a.member = b.member;
        a.from = c.y;
    }
    launch_lists(k, &list_sum, a);
}

void cuda_sddmm(const gy_kargs *k) {
    csr_args a = csr_of(k);
    a.a = k->in[2].data;
    a.b = k->in[3].data;
    a.y = k->out[0].data;
    a.columns = k->in[3].shape.dim[0];
    a.width = k->in[2].shape.dim[1];
    a.lanes = gy_power_of_two(a.width / 2, 1, GY_WARP);
    int threads = gy_power_of_two(a.entries * a.lanes, GY_WARP, THREADS);
    gy_cuda_launch(k, &csr_sampled_product, (gy_grid){gy_blocks(a.entries * a.lanes, threads), 1, 1}, threads, 0, &a,
                   sizeof a);
}
#endif
