/* index.h: what the indexing kernels of all floors share. */
#ifndef GY_KERNELS_INDEX_H
#define GY_KERNELS_INDEX_H

#include "kernel.h"

/* A contiguous value seen as [outer, axis, inner]. */
typedef struct {
    int64_t outer, axis, inner;
} fold;

static inline fold fold_at(gy_shape s, int64_t axis) {
    fold f = {1, s.rank ? s.dim[axis] : 1, 1};
    for (int64_t i = 0; i < axis; i++) f.outer *= s.dim[i];
    for (int64_t i = axis + 1; i < s.rank; i++) f.inner *= s.dim[i];
    return f;
}

/* Sources whose target is r are member[start[r]] .. member[start[r+1]-1], ascending. */
typedef struct {
    int64_t *start, *member;
} buckets;

static inline size_t bucket_bytes(int64_t targets, int64_t sources) {
    return sizeof(int64_t) * (size_t)(targets + 1 + sources);
}

static inline buckets fill_buckets(void *scratch, const int64_t *target, int64_t sources, int64_t targets) {
    buckets b = {scratch, (int64_t *)scratch + targets + 1};
    for (int64_t r = 0; r <= targets; r++) b.start[r] = 0;
    for (int64_t e = 0; e < sources; e++)
        if (target[e] >= 0 && target[e] < targets) b.start[target[e] + 1]++;
    for (int64_t r = 0; r < targets; r++) b.start[r + 1] += b.start[r];
    for (int64_t e = 0; e < sources; e++) /* start[r] runs ahead to the end of bucket r ... */
        if (target[e] >= 0 && target[e] < targets) b.member[b.start[target[e]]++] = e;
    for (int64_t r = targets; r > 0; r--) b.start[r] = b.start[r - 1]; /* ... and is set back */
    b.start[0] = 0;
    return b;
}

/* The entries of row r of a CSR matrix, cut to what exists. */
static inline void csr_row(const gy_kargs *k, int64_t r, int64_t *lo, int64_t *hi) {
    const int64_t *ptr = k->in[0].data;
    int64_t nnz = k->in[1].shape.dim[0];
    *lo = ptr[r] < 0 ? 0 : ptr[r];
    *hi = ptr[r + 1] > nnz ? nnz : ptr[r + 1];
}

/* The row of each entry, -1 for an entry of none. */
static inline void csr_rows(const gy_kargs *k, int64_t *row_of) {
    int64_t nnz = k->in[1].shape.dim[0], rows = k->in[0].shape.dim[0] - 1;
    for (int64_t e = 0; e < nnz; e++) row_of[e] = -1;
    for (int64_t r = 0, lo, hi; r < rows; r++) {
        csr_row(k, r, &lo, &hi);
        for (int64_t e = lo; e < hi; e++) row_of[e] = r;
    }
}

#endif
