#include "measures.h"

#include "../../core/rng.h"

#include <math.h>

static double length(const float *v, int64_t d) {
    double sum = 0;
    for (int64_t i = 0; i < d; i++) sum += (double)v[i] * v[i];
    return sqrt(sum);
}

/* The target, by row, that is nearest to `p` among row[0..pool). The length of p is the same for all. */
static int64_t nearest(const float *p, const float *target, const double *norm, int64_t d, const int64_t *row,
                       int64_t pool) {
    int64_t best = row[0];
    double most = -INFINITY;
    for (int64_t k = 0; k < pool; k++) {
        const float *t = target + row[k] * d;
        double dot = 0;
        for (int64_t i = 0; i < d; i++) dot += (double)p[i] * t[i];
        double cosine = norm[row[k]] > 0 ? dot / norm[row[k]] : -INFINITY;
        if (cosine > most) {
            most = cosine;
            best = row[k];
        }
    }
    return best;
}

double gy_retrieval_top1(gy_ctx *ctx, const float *predicted, const float *target, int64_t n, int64_t d, int64_t pool,
                         int64_t draws, uint64_t seed) {
    int64_t *row = gy_malloc(ctx, (size_t)n * sizeof *row), hits = 0;
    double *norm = gy_malloc(ctx, (size_t)n * sizeof *norm);
    bool fits = row && norm && pool >= 2 && pool <= n && draws >= 1;
    for (int64_t i = 0; fits && i < n; i++) {
        row[i] = i;
        norm[i] = length(target + i * d, d);
    }
    gy_rng r;
    gy_rng_init(&r, seed, "retrieval");
    for (int64_t k = 0; fits && k < draws; k++) {
        gy_rng_shuffle(&r, row, n);
        for (int64_t i = 0; i < pool; i++)
            hits += nearest(predicted + row[i] * d, target, norm, d, row, pool) == row[i];
    }
    gy_free(ctx, row);
    gy_free(ctx, norm);
    return fits ? (double)hits / (double)(draws * pool) : NAN;
}

double gy_pearson(const float *x, const float *y, int64_t n, int64_t stride) {
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    for (int64_t i = 0; i < n; i++) {
        mx += x[i * stride] / (double)n;
        my += y[i * stride] / (double)n;
    }
    for (int64_t i = 0; i < n; i++) {
        double a = x[i * stride] - mx, b = y[i * stride] - my;
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    return xx > 0 && yy > 0 ? xy / sqrt(xx * yy) : 0;
}
