/* Copies to a contiguous array or a region of one, of elements of any size: what permutations, slices, joins and
 * padding come down to.
 *
 * Axes of size 1 are dropped and neighbours that lie alike are merged. If the last axis is adjacent in the source, rows
 * are copied whole. If another axis is, the copy is a set of transposes: squares of VL x VL 4-byte elements turn in
 * registers, so that reads and writes both use whole cache lines. Work is cut by rows or by strips of squares.
 *
 * Bytes: 2 an element and byte of its size; bound by memory. Transposes of f32, one thread of Zen 4, AVX-512 (gyrus
 * bench move --threads 1): 256 x 256 82 GB/s, 2048 x 2048 24 to 28, past the caches (16 through them). */
#include "rows.h"
#include "vec.h"

#include "core/ops/shape.h"

enum { GRAIN = 32768 /* elements a tile */, PAST = 8 << 20 /* bytes of a transposed result that go past the caches */ };

typedef struct {
    char *dst;
    const char *src;
    int64_t size; /* of an element */
    int64_t rank, dim[GY_MAX_RANK], to[GY_MAX_RANK], from[GY_MAX_RANK];
    int64_t side;  /* the axis adjacent in the source, or -1 */
    int64_t outer; /* product of the axes other than the last and `side` */
    int64_t strip; /* rows, or elements of `side`, a tile */
    int64_t strips;
    bool past; /* transposed results go past the caches */
} job;

/* Whether the result of transposes goes past the caches: then no line is read to be overwritten, and lines a power of
 * two apart, of which a cache keeps few, do not push each other out before they are full. */
static bool past_caches(const job *j) {
    int64_t bytes = 4 * j->outer * j->dim[j->rank - 1] * j->dim[j->side];
    for (int64_t i = 0; i < j->rank - 1; i++)
        if (j->to[i] % VL != 0) return false;
    return (uintptr_t)j->dst % sizeof(vf) == 0 && bytes >= PAST;
}

/* dst's region has strides `to`; both in elements. */
static void prepare(job *j, const gy_view *src, char *dst, const int64_t to[]) {
    *j = (job){.dst = dst, .src = src->data, .size = (int64_t)gy_dtype_size(src->dtype), .side = -1, .outer = 1};
    for (int64_t i = 0; i < src->shape.rank; i++) {
        int64_t r = j->rank, d = src->shape.dim[i];
        if (d == 1) continue;
        if (r > 0 && j->to[r - 1] == to[i] * d && j->from[r - 1] == src->stride[i] * d) {
            j->dim[r - 1] *= d;
            r--;
        } else {
            j->dim[r] = d;
            j->rank++;
        }
        j->to[r] = to[i];
        j->from[r] = src->stride[i];
    }
    if (j->rank == 0) j->dim[0] = j->to[0] = j->from[0] = j->rank = 1;
    int64_t last = j->rank - 1;
    for (int64_t i = 0; i < last; i++)
        if (j->from[i] == 1 && j->from[last] != 1 && j->to[last] == 1) j->side = i;
    for (int64_t i = 0; i < last; i++)
        if (i != j->side) j->outer *= j->dim[i];
    if (j->side < 0) {
        j->strip = GRAIN / j->dim[last] > 0 ? GRAIN / j->dim[last] : 1;
        j->strips = gy_tiles(j->outer, j->strip);
    } else {
        int64_t lines = GRAIN / j->dim[last] / VL * VL;
        j->strip = lines > 64 ? lines : 64;
        j->strips = gy_tiles(j->dim[j->side], j->strip) * j->outer;
        j->past = j->size == 4 && past_caches(j);
    }
}

/* Offsets of index `index` over the axes other than the last and `side`. */
static void locate(const job *j, int64_t index, int64_t *to, int64_t *from) {
    *to = *from = 0;
    for (int64_t i = j->rank - 2; i >= 0; i--) {
        if (i == j->side) continue;
        int64_t x = index % j->dim[i];
        index /= j->dim[i];
        *to += x * j->to[i];
        *from += x * j->from[i];
    }
}

GY_INLINE void copy_elements(char *d, int64_t to, const char *s, int64_t from, int64_t n, const size_t size) {
    for (int64_t i = 0; i < n; i++) memcpy(d + i * to * (int64_t)size, s + i * from * (int64_t)size, size);
}
static void copy_row(const job *j, char *d, const char *s) {
    int64_t last = j->rank - 1, n = j->dim[last], to = j->to[last], from = j->from[last];
    if (to == 1 && from == 1)
        memcpy(d, s, (size_t)(n * j->size));
    else if (j->size == 4)
        copy_elements(d, to, s, from, n, 4);
    else if (j->size == 8)
        copy_elements(d, to, s, from, n, 8);
    else if (j->size == 2)
        copy_elements(d, to, s, from, n, 2);
    else
        copy_elements(d, to, s, from, n, 1);
}

/* Rows [lo, hi) in order: indices are counted on, since to divide for each would take longer than a short copy. */
static void copy_rows(const job *j, int64_t lo, int64_t hi) {
    int64_t index[GY_MAX_RANK], to, from, rest = lo;
    locate(j, lo, &to, &from);
    for (int64_t i = j->rank - 2; i >= 0; i--) {
        index[i] = rest % j->dim[i];
        rest /= j->dim[i];
    }
    for (int64_t r = lo; r < hi; r++) {
        copy_row(j, j->dst + to * j->size, j->src + from * j->size);
        for (int64_t i = j->rank - 2; i >= 0; i--) {
            to += j->to[i];
            from += j->from[i];
            if (++index[i] < j->dim[i]) break;
            to -= j->dim[i] * j->to[i];
            from -= j->dim[i] * j->from[i];
            index[i] = 0;
        }
    }
}

/* rows x cols: d[r * to + c] = s[c * from + r]. */
GY_INLINE void transpose_block(const bool past, float *d, int64_t to, const float *s, int64_t from, int64_t rows,
                               int64_t cols) {
    int64_t r = 0;
    for (; r + VL <= rows; r += VL) {
        int64_t c = 0;
        for (; c + VL <= cols; c += VL) {
            vf b[VL];
            for (int i = 0; i < VL; i++) b[i] = v_load(s + (c + i) * from + r);
            v_transpose(b);
            for (int i = 0; i < VL; i++)
                if (past)
                    v_stream(d + (r + i) * to + c, b[i]);
                else
                    v_store(d + (r + i) * to + c, b[i]);
        }
        for (; c < cols; c++)
            for (int i = 0; i < VL; i++) d[(r + i) * to + c] = s[c * from + r + i];
    }
    for (; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) d[r * to + c] = s[c * from + r];
}
/* 64 columns at a time: what is read from a page and what is written to one stays together. Past the caches more, so
 * that lines of the result leave one after another. */
static void transpose_f32(bool past, float *d, int64_t to, const float *s, int64_t from, int64_t rows, int64_t cols) {
    int64_t step = past ? 256 : 64;
    for (int64_t c = 0; c < cols; c += step) {
        int64_t n = cols - c < step ? cols - c : step;
        if (past)
            transpose_block(true, d + c, to, s + c * from, from, rows, n);
        else
            transpose_block(false, d + c, to, s + c * from, from, rows, n);
    }
    if (past) _mm_sfence();
}
GY_INLINE void transpose_any(char *d, int64_t to, const char *s, int64_t from, int64_t rows, int64_t cols,
                             const size_t size) {
    int64_t b = (int64_t)size;
    for (int64_t r0 = 0; r0 < rows; r0 += 32)
        for (int64_t c0 = 0; c0 < cols; c0 += 32)
            for (int64_t r = r0; r < rows && r < r0 + 32; r++)
                for (int64_t c = c0; c < cols && c < c0 + 32; c++)
                    memcpy(d + (r * to + c) * b, s + (c * from + r) * b, size);
}

static void tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const job *j = arg;
    int64_t lo, hi, to, from, last = j->rank - 1;
    if (j->side < 0) {
        gy_tile_range(j->outer, j->strip, t, &lo, &hi);
        copy_rows(j, lo, hi);
        return;
    }
    int64_t strips = gy_tiles(j->dim[j->side], j->strip);
    gy_tile_range(j->dim[j->side], j->strip, t % strips, &lo, &hi);
    locate(j, t / strips, &to, &from);
    char *d = j->dst + (to + lo * j->to[j->side]) * j->size;
    const char *s = j->src + (from + lo) * j->size;
    int64_t rows = hi - lo, row = j->to[j->side], cols = j->dim[last], col = j->from[last];
    if (j->size == 4)
        transpose_f32(j->past, (float *)(void *)d, row, (const float *)(const void *)s, col, rows, cols);
    else if (j->size == 8)
        transpose_any(d, row, s, col, rows, cols, 8);
    else if (j->size == 2)
        transpose_any(d, row, s, col, rows, cols, 2);
    else
        transpose_any(d, row, s, col, rows, cols, 1);
}

static void place(const gy_kargs *k, const gy_view *src, char *dst, const int64_t to[]) {
    job j;
    if (gy_shape_count(src->shape) == 0) return;
    prepare(&j, src, dst, to);
    gy_par(k->pool, j.strips, tile, &j);
}

void GY_ISAFN(x86_copy)(const gy_kargs *k) {
    place(k, &k->in[0], k->out[0].data, k->out[0].stride);
}

void GY_ISAFN(x86_concat)(const gy_kargs *k) {
    const gy_axis_attr *a = k->attr;
    const gy_view *y = &k->out[0];
    int64_t start = 0;
    for (int i = 0; i < k->n_in; i++) {
        place(k, &k->in[i], (char *)y->data + start * y->stride[a->axis] * (int64_t)gy_dtype_size(y->dtype), y->stride);
        start += k->in[i].shape.dim[a->axis];
    }
}

/* ---- a region of a larger array ---- */

/* y is [outer, axis, inner]; what lies outside from <= index < to of the axis gets one value. */
typedef struct {
    char *y, value[8];
    int64_t size, outer, axis, inner, from, to, grain;
    bool zero;
} gaps;

static void fill(const gaps *g, char *p, int64_t n) {
    if (g->zero)
        memset(p, 0, (size_t)(n * g->size));
    else
        for (int64_t i = 0; i < n; i++) memcpy(p + i * g->size, g->value, (size_t)g->size);
}
static void gap_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const gaps *g = arg;
    int64_t lo, hi, row = g->inner * g->size;
    gy_tile_range(g->outer, g->grain, t, &lo, &hi);
    for (int64_t o = lo; o < hi; o++) {
        char *p = g->y + o * g->axis * row;
        fill(g, p, g->from * g->inner);
        fill(g, p + g->to * row, (g->axis - g->to) * g->inner);
    }
}
/* x into y from `start` of the axis on, every `step`; `value` elsewhere. */
static void embed(const gy_kargs *k, int64_t axis, int64_t start, int64_t step, double value) {
    const gy_view *x = &k->in[0], *y = &k->out[0];
    int64_t end = start + x->shape.dim[axis], to[GY_MAX_RANK];
    gaps g = {.y = y->data, .size = (int64_t)gy_dtype_size(y->dtype), .outer = 1, .axis = y->shape.dim[axis]};
    g.inner = y->stride[axis];
    for (int64_t i = 0; i < axis; i++) g.outer *= y->shape.dim[i];
    g.from = step == 1 ? start : g.axis;
    g.to = step == 1 ? end : g.axis;
    g.zero = value == 0;
    gy_tensor one = {.dtype = y->dtype, .data = g.value};
    gy_tensor_set(&one, 0, value);
    g.grain = g.axis * g.inner < GRAIN ? GRAIN / (g.axis * g.inner > 0 ? g.axis * g.inner : 1) : 1;
    if (gy_shape_count(y->shape) == 0) return;
    gy_par(k->pool, gy_tiles(g.outer, g.grain), gap_tile, &g);
    memcpy(to, y->stride, sizeof to);
    to[axis] *= step;
    place(k, x, g.y + start * g.inner * g.size, to);
}

void GY_ISAFN(x86_pad)(const gy_kargs *k) {
    const gy_axis_attr *a = k->attr;
    embed(k, a->axis, a->before, 1, a->value);
}
void GY_ISAFN(x86_unslice)(const gy_kargs *k) {
    const gy_axis_attr *a = k->attr;
    embed(k, a->axis, a->start, a->step, 0);
}
