/* bucket.h: sources sorted by their targets, stably: the sources of target r are member[start[r]] ...
 * member[start[r + 1] - 1], ascending. Sums that go from many sources to one target then have one order, without
 * atomics on floats.
 *
 * A radix sort from the lowest digit up: as few passes as digits of at most 8 bits need, equally wide. A pass counts
 * each tile's digits, scans the counts of each digit over the tiles, and puts each element in its place: before it lie
 * all smaller digits, the same digit in earlier tiles, in earlier warps of its tile, in earlier rows of its warp, and
 * in lower lanes of its row, which ballots find. Whatever has no target gets the target `targets` and so comes last. A
 * pass moves 5 x 8 bytes an element. */
#ifndef GY_CUDA_BUCKET_H
#define GY_CUDA_BUCKET_H

#include "walk.h"

enum { BUCKET_THREADS = 256, BUCKET_WARPS = 8, BUCKET_ROWS = 8, BUCKET_TILE = BUCKET_THREADS * BUCKET_ROWS };

typedef struct {
    const int64_t *index;        /* first pass: targets, made from indices: source [a, i, b] has ... */
    int64_t axis, each, inner;   /* ... target [a, index, b] of [., axis, inner]; each: values of i */
    const int64_t *key, *member; /* later passes: as the pass before left them */
    int64_t *key_out, *member_out;
    int64_t *count, *total; /* [digits, tiles], [digits] */
    int64_t sources, targets, tiles;
    int shift, bits;
} bucket_args;

GY_DEVICE int64_t bucket_key(const bucket_args *a, int64_t e) {
    if (a->key) return a->key[e];
    int64_t i = a->index[e];
    if (i < 0 || i >= a->axis) return a->targets;
    int64_t outer = gy_quotient(e, a->each * a->inner);
    return (outer * a->axis + i) * a->inner + (a->inner == 1 ? 0 : e % a->inner);
}

GY_KERNEL(bucket_count, bucket_args, BUCKET_THREADS) {
    int *count = GY_SHARED(int), digits = 1 << a->bits, t = (int)threadIdx.x;
    if (t < digits) count[t] = 0;
    __syncthreads();
    for (int r = 0; r < BUCKET_ROWS; r++) {
        int64_t e = (int64_t)blockIdx.x * BUCKET_TILE + r * BUCKET_THREADS + t;
        if (e < a->sources) gy_atomic_add_i32(&count[bucket_key(a, e) >> a->shift & (digits - 1)], 1);
    }
    __syncthreads();
    if (t < digits) a->count[t * a->tiles + blockIdx.x] = count[t];
}

/* A warp a digit: counts become how many of the digit lie in earlier tiles. */
GY_KERNEL(bucket_scan, bucket_args, GY_WARP) {
    int lane = (int)threadIdx.x;
    int64_t *count = a->count + (int64_t)blockIdx.x * a->tiles, before = 0;
    for (int64_t t0 = 0; t0 < a->tiles; t0 += GY_WARP) {
        int64_t own = t0 + lane < a->tiles ? count[t0 + lane] : 0, v = own;
        for (int d = 1; d < GY_WARP; d *= 2) {
            int64_t left = gy_shfl_i64(v, lane >= d ? lane - d : lane);
            if (lane >= d) v += left;
        }
        if (t0 + lane < a->tiles) count[t0 + lane] = before + v - own;
        before += gy_shfl_i64(v, GY_WARP - 1);
    }
    if (lane == 0) a->total[blockIdx.x] = before;
}

GY_KERNEL(bucket_place, bucket_args, BUCKET_THREADS) {
    int64_t *base = GY_SHARED(int64_t); /* where this tile's first element of a digit goes */
    int *count = (int *)(void *)(base + BUCKET_THREADS), digits = 1 << a->bits, t = (int)threadIdx.x;
    int lane = gy_lane(), warp = t / GY_WARP, rank[BUCKET_ROWS];
    int64_t key[BUCKET_ROWS], first = (int64_t)blockIdx.x * BUCKET_TILE + warp * BUCKET_ROWS * GY_WARP;
    for (int i = t; i < digits * BUCKET_WARPS; i += BUCKET_THREADS) count[i] = 0;
    if (warp == 0) { /* totals of smaller digits */
        int64_t before = 0;
        for (int d0 = 0; d0 < digits; d0 += GY_WARP) {
            int64_t own = d0 + lane < digits ? a->total[d0 + lane] : 0, v = own;
            for (int d = 1; d < GY_WARP; d *= 2) {
                int64_t left = gy_shfl_i64(v, lane >= d ? lane - d : lane);
                if (lane >= d) v += left;
            }
            if (d0 + lane < digits) base[d0 + lane] = before + v - own + a->count[(d0 + lane) * a->tiles + blockIdx.x];
            before += gy_shfl_i64(v, GY_WARP - 1);
        }
    }
    __syncthreads();
    for (int r = 0; r < BUCKET_ROWS; r++) {
        int64_t e = first + r * GY_WARP + lane;
        bool here = e < a->sources;
        uint32_t same = gy_ballot(here);
        key[r] = here ? bucket_key(a, e) : 0;
        int digit = (int)(key[r] >> a->shift & (digits - 1));
        for (int b = 0; b < a->bits; b++) {
            uint32_t set = gy_ballot(digit >> b & 1);
            same &= digit >> b & 1 ? set : ~set;
        }
        int below = gy_ones(same & ((1u << lane) - 1));
        rank[r] = here ? count[warp * digits + digit] + below : 0;
        gy_syncwarp();
        if (here && below == 0) count[warp * digits + digit] += gy_ones(same);
        gy_syncwarp();
    }
    __syncthreads();
    if (t < digits)
        for (int w = 0, before = 0; w < BUCKET_WARPS; w++) {
            int own = count[w * digits + t];
            count[w * digits + t] = before;
            before += own;
        }
    __syncthreads();
    for (int r = 0; r < BUCKET_ROWS; r++) {
        int64_t e = first + r * GY_WARP + lane;
        if (e >= a->sources) continue;
        int digit = (int)(key[r] >> a->shift & (digits - 1));
        int64_t to = base[digit] + count[warp * digits + digit] + rank[r];
        a->key_out[to] = key[r];
        a->member_out[to] = a->member ? a->member[e] : e;
    }
}

/* start[r] = how many targets are below r, r <= targets. */
typedef struct {
    const int64_t *key;
    int64_t *start, sources, targets;
} bucket_start_args;

GY_KERNEL(bucket_starts, bucket_start_args, BUCKET_THREADS) {
    int64_t r = (int64_t)blockIdx.x * blockDim.x + threadIdx.x, lo = 0, hi = a->sources;
    if (r > a->targets) return;
    while (lo < hi) {
        int64_t mid = (lo + hi) / 2;
        if (a->key[mid] < r)
            lo = mid + 1;
        else
            hi = mid;
    }
    a->start[r] = lo;
}

#ifdef GY_HOST
typedef struct {
    const int64_t *start, *member;
} cuda_buckets;

static inline int64_t bucket_tiles(int64_t sources) {
    int64_t n = gy_blocks(sources, BUCKET_TILE);
    return n > 0 ? n : 1;
}
static inline int64_t bucket_words(int64_t sources, int64_t targets) {
    return targets + 1 + 4 * sources + (bucket_tiles(sources) + 1) * BUCKET_THREADS;
}

/* Queues the sorting of `sources` indices; scratch: bucket_words(). Source [a, i, b] of [., each, inner] belongs to
 * target [a, index, b] of [., axis, inner]; indices outside the axis to none. */
static inline cuda_buckets bucket_sort(const gy_kargs *k, int64_t *scratch, const int64_t *index, int64_t sources,
                                       int64_t targets, int64_t axis, int64_t each, int64_t inner) {
    int64_t *start = scratch, *key[2] = {start + targets + 1, start + targets + 1 + sources};
    int64_t *member[2] = {key[1] + sources, key[1] + 2 * sources}, *count = key[1] + 3 * sources;
    bucket_args a = {.index = index,
                     .axis = axis,
                     .each = each > 0 ? each : 1,
                     .inner = inner,
                     .count = count + BUCKET_THREADS,
                     .total = count,
                     .sources = sources,
                     .targets = targets,
                     .tiles = bucket_tiles(sources)};
    int bits = 1, passes, at = 0;
    while (targets >> bits) bits++;
    passes = (bits + 7) / 8;
    a.bits = (bits + passes - 1) / passes;
    int64_t digits = INT64_C(1) << a.bits;
    for (int p = 0; p < passes; p++, at = 1 - at) {
        a.shift = p * a.bits;
        a.key_out = key[at];
        a.member_out = member[at];
        gy_cuda_launch(k, &bucket_count, (gy_grid){a.tiles, 1, 1}, BUCKET_THREADS, (size_t)digits * sizeof(int), &a,
                       sizeof a);
        gy_cuda_launch(k, &bucket_scan, (gy_grid){digits, 1, 1}, GY_WARP, 0, &a, sizeof a);
        gy_cuda_launch(k, &bucket_place, (gy_grid){a.tiles, 1, 1}, BUCKET_THREADS,
                       BUCKET_THREADS * sizeof(int64_t) + (size_t)digits * BUCKET_WARPS * sizeof(int), &a, sizeof a);
        a.key = key[at];
        a.member = member[at];
    }
    bucket_start_args s = {a.key, start, sources, targets};
    int threads = gy_power_of_two(targets + 1, GY_WARP, BUCKET_THREADS);
    gy_cuda_launch(k, &bucket_starts, (gy_grid){gy_blocks(targets + 1, threads), 1, 1}, threads, 0, &s, sizeof s);
    return (cuda_buckets){start, a.member};
}
#endif

#endif
