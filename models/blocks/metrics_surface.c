/* Distances between surfaces of labelled volumes: metrics.h. */
#include "metrics.h"

#include <math.h>
#include <stdlib.h>

/* One line of the transform: d[q] = min_p (h (q - p))^2 + f[p], the lower envelope of parabolas. v [n] and z [n + 1]
 * are work: the parabolas of the envelope and where each takes over. */
static void line(int64_t n, double h, const double *f, double *d, int64_t *v, double *z) {
    int64_t k = -1;
    for (int64_t q = 0; q < n; q++) {
        if (isinf(f[q])) continue;
        double s = -INFINITY;
        while (k >= 0) {
            int64_t p = v[k];
            s = ((f[q] + h * h * (double)(q * q)) - (f[p] + h * h * (double)(p * p))) / (2 * h * h * (double)(q - p));
            if (s > z[k]) break;
            k--;
        }
        v[++k] = q;
        z[k] = k ? s : -INFINITY;
    }
    int64_t last = k;
    k = 0;
    for (int64_t q = 0; q < n; q++) {
        while (k < last && z[k + 1] < (double)q) k++;
        d[q] = last < 0 ? INFINITY : h * h * (double)((q - v[k]) * (q - v[k])) + f[v[k]];
    }
}

gy_status gy_distance_squared(gy_ctx *ctx, const uint8_t *seed, const int64_t dim[3], const double spacing[3],
                              double *out) {
    int64_t longest = 1, n = dim[0] * dim[1] * dim[2], step[3] = {dim[1] * dim[2], dim[2], 1};
    for (int a = 0; a < 3; a++) longest = dim[a] > longest ? dim[a] : longest;
    double *f = gy_malloc(ctx, (size_t)(3 * longest + 1) * sizeof *f);
    int64_t *v = gy_malloc(ctx, (size_t)longest * sizeof *v);
    if (f && v)
        for (int64_t i = 0; i < n; i++) out[i] = seed[i] ? 0 : INFINITY;
    for (int a = 0; f && v && a < 3; a++) /* separable: the squared distances of an axis seed the next */
        for (int64_t i = 0; i < n / (dim[a] ? dim[a] : 1); i++) {
            double *first = out + i / step[a] * step[a] * dim[a] + i % step[a];
            for (int64_t q = 0; q < dim[a]; q++) f[q] = first[q * step[a]];
            line(dim[a], spacing[a], f, f + longest, v, f + 2 * longest);
            for (int64_t q = 0; q < dim[a]; q++) first[q * step[a]] = f[longest + q];
        }
    gy_status s = f && v ? GY_OK : GY_ERR_NOMEM;
    gy_free(ctx, f);
    gy_free(ctx, v);
    return s;
}

/* surface[i] = 1 for the class's voxels that touch something else; returns how many. */
static int64_t surface_of(const uint8_t *label, uint8_t class_id, const int64_t dim[3], uint8_t *surface) {
    int64_t count = 0, at = 0, step[3] = {dim[1] * dim[2], dim[2], 1};
    for (int64_t i = 0; i < dim[0]; i++)
        for (int64_t j = 0; j < dim[1]; j++)
            for (int64_t k = 0; k < dim[2]; k++, at++) {
                int64_t p[3] = {i, j, k};
                bool edge = false;
                for (int a = 0; a < 3 && !edge; a++)
                    edge = dim[a] > 1 && (p[a] == 0 || p[a] == dim[a] - 1 || label[at - step[a]] != class_id ||
                                          label[at + step[a]] != class_id);
                surface[at] = label[at] == class_id && edge;
                count += surface[at];
            }
    return count;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

gy_status gy_surface_distance(gy_ctx *ctx, const uint8_t *predicted, const uint8_t *truth, uint8_t class_id,
                              const int64_t dim[3], const double spacing[3], gy_surface *out) {
    int64_t n = dim[0] * dim[1] * dim[2], found = 0;
    *out = (gy_surface){NAN, NAN, NAN};
    uint8_t *surface = gy_malloc(ctx, (size_t)(2 * n + 1));
    double *squared = gy_malloc(ctx, (size_t)(n + 1) * sizeof *squared), *all = NULL;
    gy_status s = surface && squared ? GY_OK : GY_ERR_NOMEM;
    int64_t a = s == GY_OK ? surface_of(predicted, class_id, dim, surface) : 0;
    int64_t b = s == GY_OK ? surface_of(truth, class_id, dim, surface + n) : 0;
    if (s == GY_OK && a && b && !(all = gy_malloc(ctx, (size_t)(a + b) * sizeof *all))) s = GY_ERR_NOMEM;
    for (int way = 0; all && s == GY_OK && way < 2; way++) {
        s = gy_distance_squared(ctx, surface + (way ? 0 : n), dim, spacing, squared);
        for (int64_t i = 0; s == GY_OK && i < n; i++)
            if (surface[i + (way ? n : 0)]) all[found++] = sqrt(squared[i]);
    }
    if (all && s == GY_OK) {
        double sum = 0;
        qsort(all, (size_t)found, sizeof *all, rising);
        for (int64_t i = 0; i < found; i++) sum += all[i];
        *out = (gy_surface){sum / (double)found, all[found - 1], all[(found * 95 + 99) / 100 - 1]};
    }
    gy_free(ctx, all);
    gy_free(ctx, squared);
    gy_free(ctx, surface);
    return s;
}
