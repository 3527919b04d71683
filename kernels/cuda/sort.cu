/* Sorting along an axis, and the first k.
 *
 * Floats become integers that order alike: sign flipped, negative ones inverted, the two zeros one, NaN last. A lane's
 * keys and positions are sorted by bitonic networks in shared memory, up to 2048 at a time; ties go to the lower
 * position, so the order is the stable one. Longer lanes are such runs, merged pair by pair through global memory: each
 * element's place is its place in its own run plus the number of elements of the other run before it, by bisection.
 * n log^2 n comparisons in shared memory a run, n log n reads (of L2 mostly) a merge; 24 bytes an element and merge. */
#include "walk.h"

enum { RUN = 2048, THREADS = 512, MERGE_THREADS = 256 };

typedef struct {
    const void *x;
    void *y;
    int64_t *where;
    uint64_t *key; /* several runs a lane: sorted keys and positions [lanes, n] */
    uint32_t *at;
    int64_t lanes, n, k, runs, x_step, inner; /* n elements a lane in runs, k of them wanted */
    int wide, descending, padded;             /* padded: elements of a run, a power of two */
    gy_walk x_lane;
} sort_args;

typedef struct {
    const uint64_t *key;
    const uint32_t *at;
    uint64_t *key_out;
    uint32_t *at_out;
    int64_t n, run, all; /* elements a lane, a sorted run, and in all */
} merge_args;

GY_DEVICE uint64_t sort_key(double x, int descending) {
    union {
        double d;
        uint64_t u;
    } b;
    if (x != x) return UINT64_MAX;
    b.d = x == 0 ? 0 : descending ? -x : x;
    return b.u >> 63 ? ~b.u : b.u | UINT64_C(1) << 63;
}

/* Element `at` of the lane is the i-th in order. */
GY_DEVICE void sort_put(const sort_args *a, int64_t lane, int64_t i, int64_t at) {
    int64_t outer = gy_quotient(lane, a->inner), to = (outer * a->k + i) * a->inner + (lane - outer * a->inner);
    gy_put_number(a->y, a->wide, to, gy_number(a->x, a->wide, gy_walk_at(&a->x_lane, lane) + at * a->x_step));
    a->where[to] = at;
}

GY_KERNEL(sort_run, sort_args, THREADS) {
    uint64_t *key = GY_SHARED(uint64_t);
    uint32_t *at = (uint32_t *)(void *)(key + a->padded);
    int64_t lane = gy_quotient(blockIdx.x, a->runs), first = (blockIdx.x - lane * a->runs) * a->padded;
    int64_t x = gy_walk_at(&a->x_lane, lane);
    int n = a->padded;
    if (n > a->n - first) n = (int)(a->n - first);
    for (int i = (int)threadIdx.x; i < a->padded; i += (int)blockDim.x) {
        key[i] = i < n ? sort_key(gy_number(a->x, a->wide, x + (first + i) * a->x_step), a->descending) : UINT64_MAX;
        at[i] = (uint32_t)(first + i);
    }
    for (int size = 2; size <= a->padded; size *= 2)
        for (int s = size / 2; s > 0; s /= 2) {
            __syncthreads();
            for (int p = (int)threadIdx.x; p < a->padded / 2; p += (int)blockDim.x) {
                int i = 2 * p - (p & (s - 1)), j = i + s; /* p-th pair at distance s */
                bool up = (i & size) == 0, above = key[i] > key[j] || (key[i] == key[j] && at[i] > at[j]);
                if (above != up) continue;
                uint64_t swap_key = key[i];
                uint32_t swap_at = at[i];
                key[i] = key[j];
                at[i] = at[j];
                key[j] = swap_key;
                at[j] = swap_at;
            }
        }
    __syncthreads();
    for (int i = (int)threadIdx.x; i < n; i += (int)blockDim.x) {
        if (a->runs == 1) {
            if (i < a->k) sort_put(a, lane, i, at[i]);
        } else {
            a->key[lane * a->n + first + i] = key[i];
            a->at[lane * a->n + first + i] = at[i];
        }
    }
}

GY_KERNEL(sort_merge, merge_args, MERGE_THREADS) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (e >= a->all) return;
    int64_t lane = gy_quotient(e, a->n), i = e - lane * a->n, own = i - i % a->run, pair = own - own % (2 * a->run);
    bool right = own != pair; /* of equals, those of the left run come first */
    int64_t other = right ? pair : pair + a->run, lo = other, hi = other + a->run, begin;
    if (lo > a->n) lo = a->n;
    if (hi > a->n) hi = a->n;
    begin = lo;
    const uint64_t *key = a->key + lane * a->n;
    uint64_t v = key[i];
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (key[mid] < v || (right && key[mid] == v))
            lo = mid + 1;
        else
            hi = mid;
    }
    int64_t to = lane * a->n + pair + (i - own) + (lo - begin);
    a->key_out[to] = v;
    a->at_out[to] = a->at[e];
}

GY_KERNEL(sort_take, sort_args, MERGE_THREADS) {
    int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, lane = gy_quotient(e, a->k), i = e - lane * a->k;
    if (lane < a->lanes) sort_put(a, lane, i, a->at[lane * a->n + i]);
}

#ifdef GY_HOST
void cuda_sort(const gy_kargs *k);
size_t cuda_sort_scratch(const gy_kargs *k, int threads);
bool cuda_sort_supports(const gy_kargs *k);

/* Positions are kept in 32 bits. */
bool cuda_sort_supports(const gy_kargs *k) {
    return k->in[0].shape.dim[((const gy_sort_attr *)k->attr)->axis] <= UINT32_MAX;
}
size_t cuda_sort_scratch(const gy_kargs *k, int threads) {
    (void)threads;
    bool long_lane = k->in[0].shape.dim[((const gy_sort_attr *)k->attr)->axis] > RUN;
    return long_lane ? 24 * (size_t)gy_shape_count(k->in[0].shape) : 0;
}

void cuda_sort(const gy_kargs *k) {
    const gy_sort_attr *attr = k->attr;
    const gy_view *x = &k->in[0];
    int64_t count = gy_shape_count(x->shape), wanted = gy_shape_count(k->out[0].shape);
    if (wanted == 0) return;
    sort_args a = {.x = x->data,
                   .y = k->out[0].data,
                   .where = k->out[1].data,
                   .n = x->shape.dim[attr->axis],
                   .k = attr->k,
                   .x_step = x->stride[attr->axis],
                   .inner = 1,
                   .wide = x->dtype == GY_F64,
                   .descending = attr->descending != 0};
    a.lanes = count / a.n;
    for (int64_t i = attr->axis + 1; i < x->shape.rank; i++) a.inner *= x->shape.dim[i];
    for (int64_t i = 0; i < x->shape.rank; i++)
        if (i != attr->axis) gy_walk_push(&a.x_lane, x->shape.dim[i], x->stride[i]);
    a.padded = gy_power_of_two(a.n, 2, RUN);
    a.runs = gy_blocks(a.n, a.padded);
    int threads = gy_power_of_two(a.padded / 2, GY_WARP, THREADS), now = 0;
    uint64_t *key[2] = {k->scratch};
    uint32_t *at[2] = {NULL};
    if (a.runs > 1) {
        key[1] = key[0] + count;
        at[0] = (uint32_t *)(void *)(key[1] + count);
        at[1] = at[0] + count;
        a.key = key[0];
        a.at = at[0];
    }
    gy_cuda_launch(k, &sort_run, (gy_grid){a.lanes * a.runs, 1, 1}, threads, (size_t)a.padded * 12, &a, sizeof a);
    if (a.runs == 1) return;
    for (int64_t run = a.padded; run < a.n; run *= 2, now = 1 - now) {
        merge_args m = {key[now], at[now], key[1 - now], at[1 - now], a.n, run, count};
        gy_cuda_launch(k, &sort_merge, (gy_grid){gy_blocks(count, MERGE_THREADS), 1, 1}, MERGE_THREADS, 0, &m,
                       sizeof m);
    }
    a.at = at[now];
    gy_cuda_launch(k, &sort_take, (gy_grid){gy_blocks(wanted, MERGE_THREADS), 1, 1}, MERGE_THREADS, 0, &a, sizeof a);
}
#endif
