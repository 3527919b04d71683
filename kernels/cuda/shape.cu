/* Moving data: copies of strided operands, padding and its like, joining, counting. Elements are opaque: 1, 2, 4 or 8
 * bytes, or 16 at a time where operands allow it. Every byte is read once and written once, which is also the bound.
 *
 * A copy whose input is contiguous along another axis than its output goes through 32 x 32 tiles of shared memory, so
 * that both sides see whole lines; the tiles' rows have 33 elements, which keeps a column's elements in different
 * banks. All else is one thread an element (four, a block apart, so that four loads are under way), in the output's
 * order. */
#include "walk.h"

enum { THREADS = 256, EACH = 4, TILE = 32, TILE_ROWS = 8, PARTS = 16 };

/* ---- copy, pad, unslice: y's elements in order ---- */

typedef struct {
    const void *x;
    void *y;
    int64_t n;
    gy_walk x_at;                                /* x, or (holes) x beside the axis: outer axes, then inner ones */
    int holes, bytes;                            /* pad and unslice: x lies at some places of an axis of y, */
    int64_t inner, axis, before, step, len, hop; /* every `step` from `before` on; `hop`: x's stride there */
    uint64_t value;                              /* elsewhere */
} move_args;

GY_DEVICE void move_element(const move_args *a, int64_t i) {
    const void *x = a->x;
    int64_t from;
    if (a->holes) {
        int64_t rest = gy_quotient(i, a->inner), outer = gy_quotient(rest, a->axis);
        int64_t at = rest - outer * a->axis - a->before, j = at / a->step;
        if (at < 0 || j >= a->len || j * a->step != at) {
            gy_copy_element(a->y, i, &a->value, 0, a->bytes);
            return;
        }
        from = gy_walk_at(&a->x_at, outer * a->inner + (i - rest * a->inner)) + j * a->hop;
    } else {
        from = gy_walk_at(&a->x_at, i);
    }
    gy_copy_element(a->y, i, x, from, a->bytes);
}

GY_KERNEL(move, move_args, THREADS) {
    int64_t i = (int64_t)blockIdx.x * (EACH * blockDim.x) + threadIdx.x;
    for (int e = 0; e < EACH; e++, i += blockDim.x)
        if (i < a->n) move_element(a, i);
}

/* ---- transposed copies ---- */

typedef struct {
    const void *x;
    void *y;
    int64_t rows, columns;   /* columns: y's last axis; rows: the axis along which x is contiguous */
    int64_t x_column, y_row; /* strides: x's along y's last axis, y's along the rows */
    int64_t tiles_down, tiles_across;
    gy_walk x_at, y_at; /* of the other axes */
    int bytes;
} transpose_args;

GY_KERNEL(transpose, transpose_args, TILE *TILE_ROWS) {
    unsigned char *tile = GY_SHARED(unsigned char);
    int64_t b = blockIdx.x, c0 = b % a->tiles_across * TILE, r0 = b / a->tiles_across % a->tiles_down * TILE;
    int64_t rest = b / a->tiles_across / a->tiles_down;
    int64_t x = gy_walk_at(&a->x_at, rest), y = gy_walk_at(&a->y_at, rest);
    int i = (int)threadIdx.x % TILE;
    for (int j = (int)threadIdx.x / TILE; j < TILE; j += TILE_ROWS)
        if (r0 + i < a->rows && c0 + j < a->columns)
            gy_copy_element(tile, j * (TILE + 1) + i, a->x, x + r0 + i + (c0 + j) * a->x_column, a->bytes);
    __syncthreads();
    for (int j = (int)threadIdx.x / TILE; j < TILE; j += TILE_ROWS)
        if (r0 + j < a->rows && c0 + i < a->columns)
            gy_copy_element(a->y, y + (r0 + j) * a->y_row + c0 + i, tile, i * (TILE + 1) + j, a->bytes);
}

/* ---- concat ---- */

typedef struct {
    void *y;
    int64_t pitch; /* elements of y an outer index */
    int bytes;
    struct {
        const void *x;
        int64_t n, run, start; /* elements, those an outer index, and where the first run begins in y */
        gy_walk x_at;
    } part[PARTS];
} concat_args;

GY_KERNEL(concat, concat_args, THREADS) {
    int p = (int)blockIdx.y;
    int64_t i = (int64_t)blockIdx.x * (EACH * blockDim.x) + threadIdx.x;
    for (int e = 0; e < EACH; e++, i += blockDim.x) {
        if (i >= a->part[p].n) return;
        int64_t outer = gy_quotient(i, a->part[p].run),
                to = outer * a->pitch + a->part[p].start + (i - outer * a->part[p].run);
        gy_copy_element(a->y, to, a->part[p].x, gy_walk_at(&a->part[p].x_at, i), a->bytes);
    }
}

/* ---- iota ---- */

typedef struct {
    void *y;
    int64_t n;
    int dtype;
} iota_args;

GY_KERNEL(iota, iota_args, THREADS) {
    int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= a->n) return;
    switch (a->dtype) {
    case GY_F32: ((float *)a->y)[i] = (float)i; break;
    case GY_F64: ((double *)a->y)[i] = (double)i; break;
    case GY_BF16: ((uint16_t *)a->y)[i] = gy_bf16_bits((float)i); break;
    default: ((int64_t *)a->y)[i] = i;
    }
}

#ifdef GY_HOST
void cuda_copy(const gy_kargs *k);
void cuda_pad(const gy_kargs *k);
void cuda_unslice(const gy_kargs *k);
void cuda_concat(const gy_kargs *k);
void cuda_iota(const gy_kargs *k);
bool cuda_iota_supports(const gy_kargs *k);

static void launch_move(const gy_kargs *k, const move_args *a) {
    int threads = gy_power_of_two(gy_blocks(a->n, EACH), GY_WARP, THREADS);
    gy_cuda_launch(k, &move, (gy_grid){gy_blocks(a->n, EACH * threads), 1, 1}, threads, 0, a, sizeof *a);
}

/* Moves 16 bytes at a time where x's runs are made of such. */
static void widen(move_args *a) {
    int64_t per = 16 / a->bytes, last = a->x_at.rank - 1;
    if (last < 0 || a->x_at.stride[last] != 1 || a->x_at.dim[last] % per || (uintptr_t)a->x % 16) return;
    for (int64_t d = 0; d < last; d++)
        if (a->x_at.stride[d] % per) return;
    for (int64_t d = 0; d < last; d++) a->x_at.stride[d] /= per;
    a->x_at.dim[last] /= per;
    a->n /= per;
    a->bytes = 16;
}

/* True where the copy was queued as a transposition; w: x's axes. */
static bool transposed(const gy_kargs *k, const gy_walk *w) {
    int row = -1, last = (int)w->rank - 1;
    for (int d = 0; d < last; d++)
        if (w->stride[d] == 1) row = d;
    if (row < 0 || w->dim[row] < 4 || w->dim[last] < 4) return false;
    transpose_args a = {.x = k->in[0].data,
                        .y = k->out[0].data,
                        .rows = w->dim[row],
                        .columns = w->dim[last],
                        .x_column = w->stride[last],
                        .y_row = 1,
                        .bytes = (int)gy_dtype_size(k->in[0].dtype)};
    int64_t others = 1, step = 1, y_stride[GY_MAX_RANK] = {0};
    for (int d = last; d >= 0; d--) {
        y_stride[d] = step;
        step *= w->dim[d];
    }
    a.y_row = y_stride[row];
    for (int d = 0; d < last; d++) { /* walked over alike: no merging */
        if (d == row) continue;
        others *= w->dim[d];
        a.x_at.dim[a.x_at.rank] = a.y_at.dim[a.y_at.rank] = w->dim[d];
        a.x_at.stride[a.x_at.rank++] = w->stride[d];
        a.y_at.stride[a.y_at.rank++] = y_stride[d];
    }
    a.tiles_down = gy_blocks(a.rows, TILE);
    a.tiles_across = gy_blocks(a.columns, TILE);
    gy_cuda_launch(k, &transpose, (gy_grid){a.tiles_down * a.tiles_across * others, 1, 1}, TILE * TILE_ROWS,
                   (size_t)(TILE * (TILE + 1) * a.bytes), &a, sizeof a);
    return true;
}

void cuda_copy(const gy_kargs *k) {
    gy_walk w = gy_walk_of(&k->in[0]);
    move_args a = {.x = k->in[0].data,
                   .y = k->out[0].data,
                   .n = gy_shape_count(k->out[0].shape),
                   .x_at = w,
                   .bytes = (int)gy_dtype_size(k->in[0].dtype)};
    if (a.n == 0 || transposed(k, &w)) return;
    widen(&a);
    launch_move(k, &a);
}

static void move_between_holes(const gy_kargs *k, int64_t before, int64_t step, double value) {
    const gy_view *x = &k->in[0], *y = &k->out[0];
    int64_t axis = ((const gy_axis_attr *)k->attr)->axis;
    move_args a = {.x = x->data,
                   .y = y->data,
                   .n = gy_shape_count(y->shape),
                   .holes = 1,
                   .bytes = (int)gy_dtype_size(x->dtype),
                   .inner = 1,
                   .axis = y->shape.dim[axis],
                   .before = before,
                   .step = step,
                   .len = x->shape.dim[axis],
                   .hop = x->stride[axis]};
    gy_tensor t = {.dtype = x->dtype, .data = &a.value};
    if (value != 0) gy_tensor_set(&t, 0, value);
    for (int64_t i = axis + 1; i < y->shape.rank; i++) a.inner *= y->shape.dim[i];
    for (int64_t i = 0; i < y->shape.rank; i++)
        if (i != axis) gy_walk_push(&a.x_at, x->shape.dim[i], x->stride[i]);
    launch_move(k, &a);
}
void cuda_pad(const gy_kargs *k) {
    const gy_axis_attr *a = k->attr;
    move_between_holes(k, a->before, 1, a->value);
}
void cuda_unslice(const gy_kargs *k) {
    const gy_axis_attr *a = k->attr;
    move_between_holes(k, a->start, a->step, 0);
}

/* Whether inputs [first, end) are contiguous and made of 16-byte pieces, at the end of each run too. */
static bool in_sixteens(const gy_kargs *k, int first, int end, int64_t inner, size_t size) {
    int64_t axis = ((const gy_axis_attr *)k->attr)->axis;
    for (int i = 0; i < k->n_in; i++)
        if ((size_t)(k->in[i].shape.dim[axis] * inner) * size % 16) return false;
    for (int i = first; i < end; i++)
        if (!gy_view_contiguous(&k->in[i]) || (uintptr_t)k->in[i].data % 16) return false;
    return true;
}

void cuda_concat(const gy_kargs *k) {
    const gy_axis_attr *attr = k->attr;
    gy_shape s = k->out[0].shape;
    size_t size = gy_dtype_size(k->out[0].dtype);
    int64_t inner = 1, start = 0;
    for (int64_t i = attr->axis + 1; i < s.rank; i++) inner *= s.dim[i];
    for (int first = 0; first < k->n_in; first += PARTS) {
        int n = k->n_in - first < PARTS ? k->n_in - first : PARTS;
        bool wide = in_sixteens(k, first, first + n, inner, size);
        int64_t per = wide ? (int64_t)(16 / size) : 1, most = 0;
        concat_args a = {.y = k->out[0].data, .pitch = s.dim[attr->axis] * inner / per, .bytes = wide ? 16 : (int)size};
        for (int i = 0; i < n; i++) {
            const gy_view *x = &k->in[first + i];
            a.part[i].x = x->data;
            a.part[i].n = gy_shape_count(x->shape) / per;
            a.part[i].run = x->shape.dim[attr->axis] * inner / per;
            a.part[i].start = start / per;
            if (wide)
                gy_walk_push(&a.part[i].x_at, a.part[i].n, 1);
            else
                a.part[i].x_at = gy_walk_of(x);
            start += a.part[i].run * per;
            if (a.part[i].n > most) most = a.part[i].n;
        }
        int threads = gy_power_of_two(gy_blocks(most, EACH), GY_WARP, THREADS);
        gy_cuda_launch(k, &concat, (gy_grid){gy_blocks(most, EACH * threads), n, 1}, threads, 0, &a, sizeof a);
    }
}

bool cuda_iota_supports(const gy_kargs *k) {
    gy_dtype t = k->out[0].dtype;
    return t == GY_F32 || t == GY_F64 || t == GY_BF16 || t == GY_I64;
}
void cuda_iota(const gy_kargs *k) {
    iota_args a = {k->out[0].data, gy_shape_count(k->out[0].shape), (int)k->out[0].dtype};
    int threads = gy_power_of_two(a.n, GY_WARP, THREADS);
    gy_cuda_launch(k, &iota, (gy_grid){gy_blocks(a.n, threads), 1, 1}, threads, 0, &a, sizeof a);
}
#endif
