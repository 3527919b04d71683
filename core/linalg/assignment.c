/* Hungarian method, one row at a time. Potentials u, v keep every reduced cost c_ij - u_i - v_j >= 0 and matched ones
 * at 0; a new row grows a tree of alternating paths along the smallest reduced costs (Dijkstra's algorithm) until it
 * meets a free column, then the path is flipped. */
#include "classical.h"
#include "inner.h"

enum { NONE = -1 };

gy_status gy_la_assign(gy_ctx *ctx, int64_t m, int64_t n, const double *cost, int64_t ld, bool maximise,
                       int64_t *column, double *total) {
    gy_status s = gy_la_check(ctx, "assignment", m, n, cost, ld);
    if (s) return s;
    bool flip = m > n; /* the short side plays the rows */
    int64_t rows = flip ? n : m, cols = flip ? m : n, si = flip ? 1 : ld, sj = flip ? ld : 1;
    double sign = maximise ? -1 : 1, *slack = NULL;
    int64_t *from = NULL;
    bool *done = NULL;
    double *u = gy_la_new(ctx, rows + cols, 1), *v = u ? u + rows : NULL;
    if (!u || !(slack = gy_la_new(ctx, cols, 1)) || !(from = gy_calloc(ctx, (size_t)cols, 2 * sizeof *from)) ||
        !(done = gy_calloc(ctx, (size_t)cols, sizeof *done))) {
        s = GY_ERR_NOMEM;
        goto out;
    }
    int64_t *owner = from + cols; /* the row matched to a column */
    for (int64_t j = 0; j < cols; j++) owner[j] = NONE;
    for (int64_t r = 0; r < rows; r++) {
        for (int64_t j = 0; j < cols; j++) slack[j] = INFINITY, done[j] = false, from[j] = NONE;
        int64_t i = r, at = NONE; /* the row being scanned and the column that led to it */
        for (;;) {
            int64_t next = NONE;
            for (int64_t j = 0; j < cols; j++) {
                if (done[j]) continue;
                double reduced = sign * cost[i * si + j * sj] - u[i] - v[j];
                if (reduced < slack[j]) slack[j] = reduced, from[j] = at;
                if (next == NONE || slack[j] < slack[next]) next = j;
            }
            double delta = slack[next];
            u[r] += delta;
            for (int64_t j = 0; j < cols; j++)
                if (done[j])
                    u[owner[j]] += delta, v[j] -= delta;
                else
                    slack[j] -= delta;
            done[next] = true;
            at = next;
            if (owner[next] == NONE) break;
            i = owner[next];
        }
        for (int64_t j = at; j != NONE; j = from[j]) owner[j] = from[j] == NONE ? r : owner[from[j]];
    }
    for (int64_t i = 0; i < m; i++) column[i] = NONE;
    double sum = 0;
    for (int64_t j = 0; j < cols; j++)
        if (owner[j] != NONE) column[flip ? j : owner[j]] = flip ? owner[j] : j;
    for (int64_t i = 0; i < m; i++)
        if (column[i] != NONE) sum += cost[i * ld + column[i]];
    if (total) *total = sum;
out:
    gy_free(ctx, done);
    gy_free(ctx, from);
    gy_free(ctx, slack);
    gy_free(ctx, u);
    return s;
}
