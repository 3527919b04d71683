/* Vector helpers and matrix-vector products with a fixed order of summation. */
#include "inner.h"

gy_status gy_la_check(gy_ctx *ctx, const char *what, int64_t m, int64_t n, const double *a, int64_t lda) {
    if (m < 0 || n < 0)
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: sizes must be >= 0, found [%lld, %lld]", what, (long long)m,
                       (long long)n);
    if (lda < n)
        return gy_fail(ctx, GY_ERR_SHAPE, "%s: leading dimension %lld is below the row length %lld", what,
                       (long long)lda, (long long)n);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            if (!isfinite(a[i * lda + j]))
                return gy_fail(ctx, GY_ERR_NUMERIC, "%s: element (%lld, %lld) is %g; finite values expected", what,
                               (long long)i, (long long)j, a[i * lda + j]);
    return GY_OK;
}

void gy_la_transpose(int64_t m, int64_t n, const double *a, int64_t lda, double *b, int64_t ldb) {
    enum { BLOCK = 16 }; /* both sides stay in cache */
    for (int64_t i0 = 0; i0 < m; i0 += BLOCK)
        for (int64_t j0 = 0; j0 < n; j0 += BLOCK)
            for (int64_t i = i0; i < i0 + BLOCK && i < m; i++)
                for (int64_t j = j0; j < j0 + BLOCK && j < n; j++) b[j * ldb + i] = a[i * lda + j];
}

double gy_la_dot(int64_t n, const double *x, const double *y) {
    double s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        s0 += x[i] * y[i];
        s1 += x[i + 1] * y[i + 1];
        s2 += x[i + 2] * y[i + 2];
        s3 += x[i + 3] * y[i + 3];
    }
    for (; i < n; i++) s0 += x[i] * y[i];
    return (s0 + s1) + (s2 + s3);
}

void gy_la_axpy(int64_t n, double a, const double *restrict x, double *restrict y) {
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        for (int64_t j = 0; j < 4; j++) y[i + j] += a * x[i + j];
    for (; i < n; i++) y[i] += a * x[i];
}

double gy_la_norm2(int64_t n, const double *x, int64_t stride) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += x[i * stride] * x[i * stride];
    if (s > 1e-280 && s < 1e280) return sqrt(s);
    double top = 0;
    for (int64_t i = 0; i < n; i++) top = fmax(top, fabs(x[i * stride]));
    if (top == 0 || isinf(top)) return top;
    s = 0;
    for (int64_t i = 0; i < n; i++) s += (x[i * stride] / top) * (x[i * stride] / top);
    return top * sqrt(s);
}

double gy_la_max_abs(int64_t m, int64_t n, const double *a, int64_t lda) {
    double top = 0;
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) top = fmax(top, fabs(a[i * lda + j]));
    return top;
}

struct gemv {
    int64_t m, n, lda;
    const double *a, *x;
    double *y;
};

enum { ROWS = 64, COLS = 64 };

static void gemv_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const struct gemv *g = arg;
    int64_t lo, hi;
    gy_tile_range(g->m, ROWS, t, &lo, &hi);
    for (int64_t i = lo; i < hi; i++) g->y[i] = gy_la_dot(g->n, g->a + i * g->lda, g->x);
}

void gy_la_gemv(gy_pool *pool, int64_t m, int64_t n, const double *a, int64_t lda, const double *x, double *y) {
    struct gemv g = {m, n, lda, a, x, y};
    gy_par(m * n < 16384 ? NULL : pool, gy_tiles(m, ROWS), gemv_tile, &g);
}

static void gemv_t_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const struct gemv *g = arg;
    int64_t lo, hi;
    gy_tile_range(g->n, COLS, t, &lo, &hi);
    double sum[COLS] = {0};
    for (int64_t i = 0; i < g->m; i++) gy_la_axpy(hi - lo, g->x[i], g->a + i * g->lda + lo, sum);
    memcpy(g->y + lo, sum, (size_t)(hi - lo) * sizeof *sum);
}

void gy_la_gemv_t(gy_pool *pool, int64_t m, int64_t n, const double *a, int64_t lda, const double *x, double *y) {
    struct gemv g = {m, n, lda, a, x, y};
    gy_par(m * n < 16384 ? NULL : pool, gy_tiles(n, COLS), gemv_t_tile, &g);
}

struct rotate {
    int64_t n, r, ldb;
    const gy_la_rot *rot;
    double *b;
};

enum { SLAB = 8 };
typedef double v2 __attribute__((vector_size(16)));

static inline v2 load(const double *p) {
    v2 x;
    memcpy(&x, p, sizeof x);
    return x;
}

static inline void store(double *p, v2 x) {
    memcpy(p, &x, sizeof x);
}

/* Eight columns. A sweep rotates rows (i, i + 1), then (i + 1, i + 2): the row in common stays in registers. */
static void rotate_slab(const struct rotate *g, double *b) {
    v2 x0 = {0, 0}, x1 = x0, x2 = x0, x3 = x0;
    double *held = NULL; /* where x belongs */
    for (int64_t k = 0; k < g->n; k++) {
        double *row = b + g->rot[k].i * g->ldb, *next = row + g->ldb;
        if (held != row) {
            if (held) store(held, x0), store(held + 2, x1), store(held + 4, x2), store(held + 6, x3);
            x0 = load(row), x1 = load(row + 2), x2 = load(row + 4), x3 = load(row + 6);
        }
        v2 c = {g->rot[k].c, g->rot[k].c}, s = {g->rot[k].s, g->rot[k].s};
        v2 y0 = load(next), y1 = load(next + 2), y2 = load(next + 4), y3 = load(next + 6);
        store(row, c * x0 + s * y0);
        store(row + 2, c * x1 + s * y1);
        store(row + 4, c * x2 + s * y2);
        store(row + 6, c * x3 + s * y3);
        x0 = c * y0 - s * x0, x1 = c * y1 - s * x1, x2 = c * y2 - s * x2, x3 = c * y3 - s * x3;
        held = next;
    }
    store(held, x0), store(held + 2, x1), store(held + 4, x2), store(held + 6, x3);
}

static void rotate_tile(void *arg, int64_t t, int worker) {
    (void)worker;
    const struct rotate *g = arg;
    int64_t lo, hi;
    gy_tile_range(g->r, SLAB, t, &lo, &hi);
    if (hi - lo == SLAB) {
        rotate_slab(g, g->b + lo);
        return;
    }
    for (int64_t k = 0; k < g->n; k++) {
        double c = g->rot[k].c, s = g->rot[k].s, *x = g->b + g->rot[k].i * g->ldb, *y = x + g->ldb;
        for (int64_t j = lo; j < hi; j++) {
            double u = x[j], v = y[j];
            x[j] = c * u + s * v;
            y[j] = c * v - s * u;
        }
    }
}

void gy_la_rotate_rows(gy_pool *pool, int64_t n, const gy_la_rot *rot, int64_t r, double *b, int64_t ldb) {
    if (n <= 0) return;
    struct rotate g = {n, r, ldb, rot, b};
    gy_par(n * r < 16384 ? NULL : pool, gy_tiles(r, SLAB), rotate_tile, &g);
}

bool gy_la_fix_sign(int64_t n, double *v, int64_t stride) {
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (fabs(v[i * stride]) > fabs(v[best * stride])) best = i;
    if (n == 0 || v[best * stride] >= 0) return false;
    for (int64_t i = 0; i < n; i++) v[i * stride] = -v[i * stride];
    return true;
}

double gy_la_scale(double max_abs) {
    int e;
    if (max_abs == 0) return 1;
    frexp(max_abs, &e);
    if (e > 1023) e = 1023;
    if (e < -1021) e = -1021; /* subnormal entries: the inverse must stay finite */
    return ldexp(1.0, e);
}

/* Merge sort, bottom up: no recursion and no quadratic case. The upper half of `order` is scratch. */
void gy_la_order(int64_t n, const double *w, bool falling, int64_t *order) {
    int64_t *from = order, *to = order + n;
    for (int64_t i = 0; i < n; i++) from[i] = i;
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t lo = 0; lo < n; lo += 2 * width) {
            int64_t mid = lo + width < n ? lo + width : n, hi = lo + 2 * width < n ? lo + 2 * width : n;
            int64_t a = lo, b = mid;
            for (int64_t k = lo; k < hi; k++) {
                bool second = a >= mid || (b < hi && (falling ? w[from[b]] > w[from[a]] : w[from[b]] < w[from[a]]));
                to[k] = second ? from[b++] : from[a++];
            }
        }
        int64_t *t = from;
        from = to;
        to = t;
    }
    if (from != order) memcpy(order, from, (size_t)n * sizeof *order);
}
