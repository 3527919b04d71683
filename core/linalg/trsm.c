/* Triangular solves with many right-hand sides: blocks of 64 unknowns, small solve inside, product outside. */
#include "inner.h"

enum { BLOCK = 64, COLS = 64 };

struct small {
    bool backward, trans, unit;
    int64_t n, r, ldt, ldb;
    const double *t;
    double *b;
};

/* Solves one block for a slab of columns. op(T) is lower when forward, upper when backward. */
static void small_tile(void *arg, int64_t tile, int worker) {
    (void)worker;
    const struct small *s = arg;
    int64_t lo, hi;
    gy_tile_range(s->r, COLS, tile, &lo, &hi);
    for (int64_t step = 0; step < s->n; step++) {
        int64_t i = s->backward ? s->n - 1 - step : step;
        double *x = s->b + i * s->ldb + lo;
        for (int64_t q = 0; q < step; q++) {
            int64_t j = s->backward ? s->n - 1 - q : q;
            double t = s->trans ? s->t[j * s->ldt + i] : s->t[i * s->ldt + j];
            if (t != 0) gy_la_axpy(hi - lo, -t, s->b + j * s->ldb + lo, x);
        }
        if (!s->unit)
            for (int64_t c = 0; c < hi - lo; c++) x[c] /= s->t[i * s->ldt + i];
    }
}

gy_status gy_la_trsm(gy_ctx *ctx, unsigned tri, int64_t n, int64_t r, const double *t, int64_t ldt, double *b,
                     int64_t ldb) {
    bool trans = tri & GY_TRANS, unit = tri & GY_UNIT, backward = ((tri & GY_UPPER) != 0) != trans;
    if (n < 0 || ldt < n)
        return gy_fail(ctx, GY_ERR_SHAPE, "triangular solve: illegal size %lld with leading dimension %lld",
                       (long long)n, (long long)ldt);
    gy_status status = gy_la_check(ctx, "triangular solve: right-hand side", n, r, b, ldb);
    if (status) return status;
    for (int64_t i = 0; i < n && !unit; i++)
        if (t[i * ldt + i] == 0 || !isfinite(t[i * ldt + i]))
            return gy_fail(ctx, GY_ERR_NUMERIC, "triangular solve: singular: diagonal element %lld of %lld is %g",
                           (long long)i, (long long)n, t[i * ldt + i]);
    gy_pool *pool = gy_ctx_pool(ctx);
    int64_t blocks = gy_tiles(n, BLOCK);
    for (int64_t s = 0; s < blocks; s++) {
        int64_t k = (backward ? blocks - 1 - s : s) * BLOCK, nb = n - k < BLOCK ? n - k : BLOCK;
        struct small g = {backward, trans, unit, nb, r, ldt, ldb, t + k * ldt + k, b + k * ldb};
        gy_par(nb * nb * r < 32768 ? NULL : pool, gy_tiles(r, COLS), small_tile, &g);
        /* What is still unknown loses the contribution of this block. */
        int64_t from = backward ? 0 : k + nb, rows = backward ? k : n - k - nb;
        const double *off = trans ? t + k * ldt + from : t + from * ldt + k;
        gy_la_gemm(pool, trans, false, rows, r, nb, -1, off, ldt, b + k * ldb, ldb, 1, b + from * ldb, ldb);
    }
    return GY_OK;
}
