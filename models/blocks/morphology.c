#include "morphology.h"

#include <math.h>
#include <string.h>

double gy_otsu(const float *x, int64_t n) {
    enum { BINS = 256 };
    int64_t count[BINS] = {0};
    double lo = x[0], hi = x[0], sum = 0, below = 0, sum_below = 0, best = -1;
    int at = 0;
    for (int64_t i = 1; i < n; i++) {
        lo = fmin(lo, x[i]);
        hi = fmax(hi, x[i]);
    }
    if (!(hi > lo)) return lo;
    for (int64_t i = 0; i < n; i++) {
        int b = (int)((x[i] - lo) / (hi - lo) * BINS);
        count[b < BINS ? b : BINS - 1]++;
    }
    for (int b = 0; b < BINS; b++) sum += (b + 0.5) * (double)count[b];
    for (int b = 0; b + 1 < BINS; b++) {
        below += (double)count[b];
        sum_below += (b + 0.5) * (double)count[b];
        double above = (double)n - below;
        if (below <= 0 || above <= 0) continue;
        double gap = sum_below / below - (sum - sum_below) / above, between = below * above * gap * gap;
        if (between > best) {
            best = between;
            at = b;
        }
    }
    return lo + (at + 1) * (hi - lo) / BINS;
}

/* Flood fill with a stack of its own: every voxel enters it once. */
gy_status gy_components(gy_ctx *ctx, const uint8_t *mask, const int64_t dim[3], int32_t *label, int64_t *count) {
    int64_t n = dim[0] * dim[1] * dim[2], step[3] = {dim[1] * dim[2], dim[2], 1};
    int64_t *stack = gy_malloc(ctx, (size_t)(n > 0 ? n : 1) * sizeof *stack);
    *count = 0;
    if (!stack) return GY_ERR_NOMEM;
    memset(label, 0, (size_t)n * sizeof *label);
    for (int64_t i = 0; i < n; i++) {
        int64_t top = 0;
        if (!mask[i] || label[i]) continue;
        label[i] = (int32_t)++ * count;
        stack[top++] = i;
        while (top) {
            int64_t at = stack[--top];
            for (int a = 0; a < 3; a++) {
                int64_t place = at / step[a] % dim[a];
                for (int up = 0; up < 2; up++) {
                    int64_t to = up ? at + step[a] : at - step[a];
                    if ((up ? place + 1 == dim[a] : place == 0) || !mask[to] || label[to]) continue;
                    label[to] = label[i];
                    stack[top++] = to;
                }
            }
        }
    }
    gy_free(ctx, stack);
    return GY_OK;
}

gy_status gy_area_opening(gy_ctx *ctx, uint8_t *mask, const int64_t dim[3], int64_t least) {
    int64_t n = dim[0] * dim[1] * dim[2], count;
    int32_t *label = gy_malloc(ctx, (size_t)(n > 0 ? n : 1) * sizeof *label);
    gy_status s = label ? gy_components(ctx, mask, dim, label, &count) : GY_ERR_NOMEM;
    int64_t *size = s == GY_OK ? gy_calloc(ctx, (size_t)(count + 1), sizeof *size) : NULL;
    if (s == GY_OK && !size) s = GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n; i++) size[label[i]]++;
    for (int64_t i = 0; s == GY_OK && i < n; i++)
        if (label[i] && size[label[i]] < least) mask[i] = 0;
    gy_free(ctx, size);
    gy_free(ctx, label);
    return s;
}
