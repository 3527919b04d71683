/* Sorting f32 lanes along an axis, stable, with positions; the first k only where k is small.
 *
 * A lane becomes 32-bit integer keys that ascend in the order wanted: equal values (and the two zeros) have equal keys,
 * a NaN the largest, in either direction. Then
 * - few of many (8 k <= n, k <= FEW): the k smallest so far are kept in order. Vectors of keys are compared with the
 *   last of them, and only what is below it is inserted: k (1 + ln(n / k)) insertions in random order;
 * - else a radix sort of pairs of key and position, from the low digit of 8 bits to the high one; a digit that all
 *   keys share is passed over.
 * A lane is a tile. Measured on one thread of Zen 4, AVX-512 (gyrus bench index --threads 1): 1024 lanes of 1024
 * 7.3 ms, the 50 largest of 256 x 50257 6.5 ms. */
#include "lines.h"
#include "rows.h"

#include "core/ops/sort.h"

enum { FEW = 128, DIGITS = 4, BINS = 256 };

typedef struct {
    const float *x;
    float *y;
    int64_t *place;
    const gy_view *view;
    int64_t axis, n, step, k, inner;
    bool descending;
    char *room; /* a worker: pairs [2][n] of 64 bits, keys [n] */
} job;

static size_t room_bytes(int64_t n) {
    return ((size_t)n * 20 + 63) / 64 * 64;
}
size_t GY_ISAFN(x86_sort_scratch)(const gy_kargs *k, int threads) {
    const gy_sort_attr *a = k->attr;
    return room_bytes(k->in[0].shape.dim[a->axis]) * (size_t)threads;
}
bool GY_ISAFN(x86_sort_supports)(const gy_kargs *k) { /* positions are kept in 32 bits */
    const gy_sort_attr *a = k->attr;
    return k->in[0].shape.dim[a->axis] <= INT32_MAX;
}

/* A negative float's bits descend: turned over below the sign, all ascend. */
static void make_keys(const float *x, int64_t n, int64_t step, bool descending, int32_t *key) {
    for (int64_t i = 0; i < n; i++) {
        float v = x[i * step] + 0.0f; /* -0 becomes 0 */
        int32_t b;
        memcpy(&b, &v, sizeof b);
        b ^= (int32_t)((uint32_t)(b >> 31) >> 1);
        if (descending) b = ~b;
        key[i] = v != v ? INT32_MAX : b;
    }
}

/* Bit e: key[e] < top. */
GY_INLINE unsigned below(const int32_t *key, vi top) {
#if defined(GY_TIER_avx2)
    return (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(top, vi_load(key))));
#else
    return _mm512_cmplt_epi32_mask(vi_load(key), top);
#endif
}
static void insert(int32_t *best, int32_t *at, int64_t held, int32_t key, int32_t position) {
    int64_t i = held; /* `held` are in order; what the new one is before moves up */
    for (; i > 0 && key < best[i - 1]; i--) {
        best[i] = best[i - 1];
        at[i] = at[i - 1];
    }
    best[i] = key;
    at[i] = position;
}
static void select_few(const int32_t *key, int64_t n, int64_t k, int32_t *at) {
    int32_t best[FEW + 1];
    int64_t i = 0;
    for (; i < k; i++) insert(best, at, i, key[i], (int32_t)i);
    for (; i + VL <= n; i += VL) {
        unsigned hits = below(key + i, vi_set(best[k - 1]));
        for (; hits; hits &= hits - 1) {
            int64_t e = i + __builtin_ctz(hits);
            if (key[e] < best[k - 1]) insert(best, at, k - 1, key[e], (int32_t)e);
        }
    }
    for (; i < n; i++)
        if (key[i] < best[k - 1]) insert(best, at, k - 1, key[i], (int32_t)i);
}

/* Pairs key << 32 | position, in order; the answer is in one of the two buffers. */
static const uint64_t *radix(const int32_t *key, int64_t n, uint64_t *from, uint64_t *to) {
    uint32_t count[DIGITS][BINS] = {{0}};
    for (int64_t i = 0; i < n; i++) {
        uint32_t u = (uint32_t)key[i] ^ 0x80000000u;
        from[i] = (uint64_t)u << 32 | (uint64_t)i;
        for (int d = 0; d < DIGITS; d++) count[d][u >> 8 * d & 255]++;
    }
    for (int d = 0; d < DIGITS; d++) {
        uint32_t *c = count[d], sum = 0;
        int shift = 32 + 8 * d;
        if (n && c[from[0] >> shift & 255] == (uint32_t)n) continue;
        for (int b = 0; b < BINS; b++) {
            uint32_t here = c[b];
            c[b] = sum;
            sum += here;
        }
        for (int64_t i = 0; i < n; i++) to[c[from[i] >> shift & 255]++] = from[i];
        uint64_t *swap = from;
        from = to;
        to = swap;
    }
    return from;
}

static void lane_tile(void *arg, int64_t lane, int worker) {
    const job *j = arg;
    int64_t offset = 0, n = j->n, to = lane / j->inner * j->k * j->inner + lane % j->inner;
    for (int64_t i = j->view->shape.rank - 1, rest = lane; i >= 0; i--) {
        if (i == j->axis) continue;
        offset += rest % j->view->shape.dim[i] * j->view->stride[i];
        rest /= j->view->shape.dim[i];
    }
    const float *x = j->x + offset;
    uint64_t *pairs = (uint64_t *)(void *)(j->room + (size_t)worker * room_bytes(n));
    int32_t *key = (int32_t *)(pairs + 2 * n), few[FEW + 1];
    make_keys(x, n, j->step, j->descending, key);
    bool selects = j->k <= FEW && 8 * j->k <= n;
    const uint64_t *order = NULL;
    if (selects)
        select_few(key, n, j->k, few);
    else
        order = radix(key, n, pairs, pairs + n);
    for (int64_t i = 0; i < j->k; i++) {
        int64_t p = selects ? few[i] : (int64_t)(order[i] & 0xffffffffu);
        j->y[to + i * j->inner] = x[p * j->step];
        j->place[to + i * j->inner] = p;
    }
}

void GY_ISAFN(x86_sort)(const gy_kargs *k) {
    const gy_sort_attr *a = k->attr;
    const gy_view *x = &k->in[0];
    if (gy_shape_count(k->out[0].shape) == 0) return;
    job j = {.x = x->data,
             .y = k->out[0].data,
             .place = k->out[1].data,
             .view = x,
             .axis = a->axis,
             .n = x->shape.dim[a->axis],
             .step = x->stride[a->axis],
             .k = a->k,
             .inner = 1,
             .descending = a->descending != 0,
             .room = k->scratch};
    for (int64_t i = a->axis + 1; i < x->shape.rank; i++) j.inner *= x->shape.dim[i];
    gy_par(k->pool, gy_shape_count(k->out[0].shape) / a->k, lane_tile, &j);
}
