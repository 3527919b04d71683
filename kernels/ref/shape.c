/* Reference data movement, for any dtype: elements are opaque bytes. */
#include "../kernel.h"
#include "ref.h"

void ref_copy(const gy_kargs *k);
void ref_pad(const gy_kargs *k);
void ref_unslice(const gy_kargs *k);
void ref_concat(const gy_kargs *k);
void ref_iota(const gy_kargs *k);

/* Copies src into the region of dst that begins at `start` along `axis` and steps `step`. */
static void place(const gy_view *dst, const gy_view *src, int64_t axis, int64_t start, int64_t step) {
    size_t size = gy_dtype_size(src->dtype);
    int64_t n = gy_shape_count(src->shape), idx[GY_MAX_RANK] = {0};
    gy_view to = *dst;
    if (src->shape.rank) to.stride[axis] *= step;
    char *base = (char *)dst->data + (src->shape.rank ? start * dst->stride[axis] : 0) * (int64_t)size;
    int64_t last = src->shape.rank - 1, run = last >= 0 ? src->shape.dim[last] : 1;
    bool rows = last >= 0 && src->stride[last] == 1 && to.stride[last] == 1; /* whole rows at a time */
    gy_shape walk = src->shape;
    if (rows) walk.dim[last] = 1;
    for (int64_t i = 0; i < n; i += rows ? run : 1, next_index(walk, idx))
        memcpy(base + at(&to, idx) * (int64_t)size, (const char *)src->data + at(src, idx) * (int64_t)size,
               rows ? (size_t)run * size : size);
}

/* Contiguous; large copies are cut along the first axis. */
typedef struct {
    const gy_kargs *k;
    int64_t grain;
} copy_job;
static void copy_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const copy_job *j = arg;
    gy_view in = j->k->in[0], out = j->k->out[0];
    int64_t lo, hi;
    gy_tile_range(in.shape.dim[0], j->grain, t, &lo, &hi);
    in.shape.dim[0] = hi - lo;
    in.data = (char *)in.data + lo * in.stride[0] * (int64_t)gy_dtype_size(in.dtype);
    place(&out, &in, 0, lo, 1);
}
void ref_copy(const gy_kargs *k) {
    const gy_view *x = &k->in[0];
    if (x->shape.rank == 0) {
        place(&k->out[0], x, 0, 0, 1);
        return;
    }
    int64_t rows = x->shape.dim[0], each = rows ? gy_shape_count(x->shape) / rows : 0;
    if (each == 0) return;
    copy_job j = {k, each >= 16384 ? 1 : 16384 / each + 1};
    gy_par(k->pool, gy_tiles(rows, j.grain), copy_tile, &j);
}

static void fill(const gy_view *v, double value) {
    gy_tensor t = {.dtype = v->dtype, .data = v->data};
    int64_t n = gy_shape_count(v->shape);
    if (value == 0.0) {
        memset(v->data, 0, (size_t)n * gy_dtype_size(v->dtype));
        return;
    }
    for (int64_t i = 0; i < n; i++) gy_tensor_set(&t, i, value);
}

void ref_pad(const gy_kargs *k) {
    const gy_axis_attr *a = k->attr;
    fill(&k->out[0], a->value);
    place(&k->out[0], &k->in[0], a->axis, a->before, 1);
}

void ref_unslice(const gy_kargs *k) {
    const gy_axis_attr *a = k->attr;
    fill(&k->out[0], 0.0);
    place(&k->out[0], &k->in[0], a->axis, a->start, a->step);
}

void ref_concat(const gy_kargs *k) {
    const gy_axis_attr *a = k->attr;
    int64_t start = 0;
    for (int i = 0; i < k->n_in; i++) {
        place(&k->out[0], &k->in[i], a->axis, start, 1);
        start += k->in[i].shape.dim[a->axis];
    }
}

void ref_iota(const gy_kargs *k) {
    gy_tensor t = {.dtype = k->out[0].dtype, .data = k->out[0].data};
    for (int64_t i = 0; i < k->out[0].shape.dim[0]; i++) gy_tensor_set(&t, i, (double)i);
}
