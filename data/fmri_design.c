/* fmri_design.c: which voxels touch, and experiments made meaningless on purpose: what --ablate breaks. */
#include "fmri.h"

#include "../core/rng.h"

#include <string.h>

gy_status gy_fmri_neighbours(const gy_fmri *f, int64_t **out) {
    const int64_t *dim = f->grid.dim, step[3] = {1, dim[0], dim[0] * dim[1]}, n = step[2] * dim[2];
    int64_t *at = gy_malloc(f->ctx, (size_t)n * sizeof *at);
    *out = gy_malloc(f->ctx, (size_t)(6 * f->voxels) * sizeof **out);
    if (!at || !*out) {
        gy_free(f->ctx, at);
        gy_free(f->ctx, *out);
        return GY_ERR_NOMEM;
    }
    for (int64_t i = 0; i < n; i++) at[i] = -1;
    for (int64_t v = 0; v < f->voxels; v++) at[f->voxel[v]] = v;
    for (int64_t v = 0; v < f->voxels; v++)
        for (int axis = 0; axis < 3; axis++) {
            int64_t here = f->voxel[v], place = here / step[axis] % dim[axis];
            (*out)[6 * v + 2 * axis] = place > 0 ? at[here - step[axis]] : -1;
            (*out)[6 * v + 2 * axis + 1] = place < dim[axis] - 1 ? at[here + step[axis]] : -1;
        }
    gy_free(f->ctx, at);
    return GY_OK;
}

void gy_fmri_deal_labels(gy_fmri *f, uint64_t seed) {
    gy_rng rng;
    gy_rng_init(&rng, seed, "deal labels");
    for (int64_t i = 0; i < f->volumes;) {
        int64_t first = i, run = f->run[i];
        while (i < f->volumes && f->run[i] == run) i++;
        /* Fisher-Yates over the run's blocks; a block's label is that of its volumes */
        for (int64_t last = f->block[i - 1]; last > f->block[first]; last--) {
            int64_t other = f->block[first] + gy_rng_below(&rng, last - f->block[first] + 1), a = -1, b = -1;
            for (int64_t v = first; v < i; v++) {
                if (f->block[v] == last) a = f->label[v];
                if (f->block[v] == other) b = f->label[v];
            }
            for (int64_t v = first; v < i && other != last; v++) {
                if (f->block[v] == last) f->label[v] = b;
                if (f->block[v] == other) f->label[v] = a;
            }
        }
    }
}

void gy_fmri_level_only(gy_fmri *f) {
    for (int64_t i = 0; i < f->volumes; i++) {
        double mean = 0;
        for (int64_t v = 0; v < f->voxels; v++) mean += (double)f->x[i * f->voxels + v] / (double)f->voxels;
        for (int64_t v = 0; v < f->voxels; v++) f->x[i * f->voxels + v] = (float)mean;
    }
}
