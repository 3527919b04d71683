#include "tissue.h"

#include "../../core/linalg/linalg.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TERMS = 9 }; /* x, y, z, xx, xy, xz, yy, yz, zz */

typedef struct mixture {
    int64_t n, k, terms;
    const int64_t *place; /* [n]: of the brain's voxels */
    double *y, *p;        /* [n] log intensities, [n, k] posteriors */
    double mu[GY_TISSUES], var[GY_TISSUES], pi[GY_TISSUES], bias[TERMS];
} mixture;

/* The polynomial's terms at voxel `at`, coordinates in -1..1; returns how many there are. */
static int64_t terms_at(const gy_tissue_args *a, int64_t at, double f[TERMS]) {
    int64_t step[3] = {a->dim[1] * a->dim[2], a->dim[2], 1}, n = 0, m = 0;
    double u[3];
    for (int i = 0; i < 3; i++)
        if (a->dim[i] > 1) u[n++] = 2.0 * (double)(at / step[i] % a->dim[i]) / (double)(a->dim[i] - 1) - 1.0;
    for (int64_t i = 0; i < n; i++) f[m++] = u[i];
    for (int64_t i = 0; i < n; i++)
        for (int64_t e = i; e < n; e++) f[m++] = u[i] * u[e];
    return m;
}

static double bias_at(const mixture *m, const gy_tissue_args *a, int64_t i) {
    double f[TERMS], sum = 0;
    int64_t terms = terms_at(a, m->place[i], f);
    for (int64_t t = 0; t < terms; t++) sum += m->bias[t] * f[t];
    return sum;
}

/* Posteriors, and from them means, variances and shares. */
static void classes_step(mixture *m, const gy_tissue_args *a) {
    double w[GY_TISSUES] = {0}, s[GY_TISSUES] = {0}, ss[GY_TISSUES] = {0};
    for (int64_t i = 0; i < m->n; i++) {
        double y = m->y[i] - bias_at(m, a, i), *p = m->p + i * m->k, top = -INFINITY, sum = 0;
        for (int64_t k = 0; k < m->k; k++) {
            p[k] = log(m->pi[k]) - 0.5 * log(m->var[k]) - 0.5 * (y - m->mu[k]) * (y - m->mu[k]) / m->var[k];
            top = fmax(top, p[k]);
        }
        for (int64_t k = 0; k < m->k; k++) sum += p[k] = exp(p[k] - top);
        for (int64_t k = 0; k < m->k; k++) {
            p[k] /= sum;
            w[k] += p[k];
            s[k] += p[k] * y;
            ss[k] += p[k] * y * y;
        }
    }
    for (int64_t k = 0; k < m->k; k++) {
        if (w[k] < 1) continue; /* a class that nobody wants keeps its place */
        m->pi[k] = w[k] / (double)m->n;
        m->mu[k] = s[k] / w[k];
        m->var[k] = fmax(ss[k] / w[k] - m->mu[k] * m->mu[k], 1e-5);
    }
}

/* Weighted least squares for the bias field's coefficients. */
static gy_status bias_step(gy_ctx *ctx, mixture *m, const gy_tissue_args *a) {
    double normal[TERMS * TERMS] = {0}, right[TERMS] = {0}, f[TERMS];
    int64_t terms = 0;
    for (int64_t i = 0; i < m->n; i++) {
        double weight = 0, mean = 0;
        for (int64_t k = 0; k < m->k; k++) {
            weight += m->p[i * m->k + k] / m->var[k];
            mean += m->p[i * m->k + k] / m->var[k] * m->mu[k];
        }
        terms = terms_at(a, m->place[i], f);
        for (int64_t r = 0; r < terms; r++) {
            right[r] += weight * f[r] * (m->y[i] - mean / weight);
            for (int64_t c = 0; c <= r; c++) normal[r * TERMS + c] += weight * f[r] * f[c];
        }
    }
    for (int64_t r = 0; r < terms; r++) {
        normal[r * TERMS + r] *= 1 + 1e-9;
        for (int64_t c = 0; c < r; c++) normal[c * TERMS + r] = normal[r * TERMS + c];
    }
    gy_status s = gy_la_cholesky(ctx, terms, normal, TERMS);
    if (s == GY_OK) s = gy_la_cholesky_solve(ctx, terms, 1, normal, TERMS, right, 1);
    if (s == GY_OK) memcpy(m->bias, right, sizeof right);
    return s;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Means equally spaced over the range of the middle 98 %: quantiles would put two of them into a tissue that fills half
 * of the brain. */
static void start(mixture *m, double *sorted) {
    memcpy(sorted, m->y, (size_t)m->n * sizeof *sorted);
    qsort(sorted, (size_t)m->n, sizeof *sorted, rising);
    double lo = sorted[m->n / 100], step = (sorted[m->n - 1 - m->n / 100] - lo) / (double)m->k;
    for (int64_t k = 0; k < m->k; k++) {
        m->mu[k] = lo + ((double)k + 0.5) * step;
        m->var[k] = fmax(0.25 * step * step, 1e-4);
        m->pi[k] = 1.0 / (double)m->k;
    }
}

static void finish(const mixture *m, const gy_tissue_args *a, uint8_t *label, double *intensity) {
    uint8_t rank[GY_TISSUES];
    for (int64_t k = 0; k < m->k; k++) {
        int64_t darker = 0;
        for (int64_t e = 0; e < m->k; e++) darker += m->mu[e] < m->mu[k] || (e < k && m->mu[e] == m->mu[k]);
        rank[k] = (uint8_t)(a->inverted ? m->k - darker : darker + 1);
        if (intensity) intensity[rank[k] - 1] = exp(m->mu[k]);
    }
    for (int64_t i = 0; i < m->n; i++) {
        int64_t best = 0;
        for (int64_t k = 1; k < m->k; k++)
            if (m->p[i * m->k + k] > m->p[i * m->k + best]) best = k;
        label[m->place[i]] = rank[best];
    }
}

gy_status gy_tissue_segment(gy_ctx *ctx, const gy_tissue_args *a, uint8_t *label, double *intensity) {
    int64_t all = a->dim[0] * a->dim[1] * a->dim[2], n = 0;
    for (int64_t i = 0; i < all; i++) n += a->brain[i] != 0;
    memset(label, 0, (size_t)all);
    if (a->classes < 2 || a->classes > GY_TISSUES || n < 10 * a->classes)
        return gy_fail(ctx, GY_ERR_NUMERIC, "tissue: %" PRId64 " classes for %" PRId64 " voxels of brain", a->classes,
                       n);
    int64_t *place = gy_malloc(ctx, (size_t)n * sizeof *place);
    double *work = gy_malloc(ctx, (size_t)(n * (a->classes + 2)) * sizeof *work);
    gy_status s = place && work ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK) {
        mixture m = {.n = n, .k = a->classes, .place = place, .y = work, .p = work + n};
        for (int64_t i = 0, at = 0; i < all; i++)
            if (a->brain[i]) {
                m.y[at] = log(fmax(a->image[i], 1e-3));
                place[at++] = i;
            }
        start(&m, work + n * (a->classes + 1));
        for (int64_t t = 0; s == GY_OK && t < a->iterations; t++) {
            classes_step(&m, a);
            s = bias_step(ctx, &m, a);
        }
        if (s == GY_OK) {
            classes_step(&m, a);
            finish(&m, a, label, intensity);
        }
    }
    gy_free(ctx, place);
    gy_free(ctx, work);
    return s;
}
