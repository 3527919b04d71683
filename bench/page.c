/* The page: peaks, rooflines with every kernel on them, a table of rows, peers. */
#include "bench.h"

#include "../io/report/html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROOF_POINTS = 220, CELL = 96 };

/* Rooflines are drawn as dense rows of marks among the kernels' own. */
typedef struct roof {
    double x[ROOF_POINTS], y[ROOF_POINTS];
} roof;

static void draw_roof(roof *r, double gflops, double gbps, double lo, double hi) {
    for (int i = 0; i < ROOF_POINTS; i++) {
        r->x[i] = lo * pow(hi / lo, (double)i / (ROOF_POINTS - 1));
        r->y[i] = fmin(gflops, gbps * r->x[i]);
    }
}

static gy_status put_roofline(gy_report *page, const bench_report *r, const char *command) {
    const bench_peak *peak = bench_peak_all(&r->peaks);
    gy_ctx *ctx = r->ctx;
    double *x = gy_calloc(ctx, (size_t)r->n + 1, sizeof *x), *y = gy_calloc(ctx, (size_t)r->n + 1, sizeof *y);
    roof *roofs = gy_calloc(ctx, 2, sizeof *roofs);
    gy_status s = x && y && roofs ? GY_OK : GY_ERR_NOMEM;
    int64_t n = 0;
    double lo = INFINITY, hi = 0;
    for (int64_t i = 0; s == GY_OK && i < r->n; i++) {
        const bench_row *row = &r->row[i];
        if (strcmp(row->dtype, "f32") != 0 || !(row->intensity > 0) || !(row->gflops > 0)) continue;
        x[n] = row->intensity;
        y[n++] = row->gflops;
        lo = fmin(lo, row->intensity);
        hi = fmax(hi, row->intensity);
    }
    if (s == GY_OK && n == 0) {
        s = gy_report_explain(page, "roofline", "no f32 row whose operations and bytes are known");
    } else if (s == GY_OK) {
        gy_figure f;
        draw_roof(&roofs[0], peak->gflops[BENCH_F32], peak->copy[BENCH_DRAM], lo / 2, hi * 2);
        draw_roof(&roofs[1], peak->gflops[BENCH_F32], peak->copy[BENCH_L2], lo / 2, hi * 2);
        gy_series series[] = {{.name = "kernels", .n = n, .x = x, .y = y},
                              {.name = "roof with main memory", .n = ROOF_POINTS, .x = roofs[0].x, .y = roofs[0].y},
                              {.name = "roof with L2", .n = ROOF_POINTS, .x = roofs[1].x, .y = roofs[1].y}};
        s = gy_figure_scatter(
            ctx,
            &(gy_scatter){
                .head = {.title = "Rooflines and the f32 kernels",
                         .caption =
                             "Each mark is a row of the table. The slope is bandwidth, the flat part the peak of f32 "
                             "multiply-adds; no kernel can be above the roof of the level that holds its operands.",
                         .alt = "Scatter of operations a second over operations a byte, below two measured roofs.",
                         .command = command,
                         .n = n,
                         .n_of = "rows",
                         .chance = gy_no_chance(),
                         .side = GY_SIDE_NONE},
                .x = {.label = "intensity", .unit = "FLOP/byte", .log = true},
                .y = {.label = "speed", .unit = "GFLOP/s", .log = true},
                .series = series,
                .n_series = 3},
            &f);
        if (s == GY_OK) s = gy_report_figure(page, "roofline", &f);
        gy_figure_free(ctx, &f);
    }
    gy_free(ctx, x);
    gy_free(ctx, y);
    gy_free(ctx, roofs);
    return s;
}

/* A table of text made cell by cell. */
typedef struct table {
    gy_ctx *ctx;
    char (*text)[CELL];
    const char **cell;
    int64_t n, room;
} table;

static bool table_open(table *t, gy_ctx *ctx, int64_t cells) {
    *t = (table){.ctx = ctx, .room = cells};
    t->text = gy_calloc(ctx, (size_t)cells + 1, sizeof *t->text);
    t->cell = gy_calloc(ctx, (size_t)cells + 1, sizeof *t->cell);
    return t->text && t->cell;
}
static void table_close(table *t) {
    gy_free(t->ctx, t->text);
    gy_free(t->ctx, t->cell);
}
static void cell(table *t, const char *fmt, ...) GY_PRINTF(2, 3);
static void cell(table *t, const char *fmt, ...) {
    va_list ap;
    if (t->n == t->room) return;
    va_start(ap, fmt);
    vsnprintf(t->text[t->n], CELL, fmt, ap);
    va_end(ap);
    t->cell[t->n] = t->text[t->n];
    t->n++;
}

static gy_status put_peaks(gy_report *page, const bench_report *r, const char *command) {
    static const char *const columns[] = {"threads", "f32",     "f64",      "bf16",      "int8",
                                          "L1 read", "L2 read", "L3 read",  "DRAM read", "L1 copy",
                                          "L2 copy", "L3 copy", "DRAM copy"};
    enum { N = sizeof columns / sizeof *columns };
    table t;
    gy_status s = GY_ERR_NOMEM;
    if (table_open(&t, r->ctx, (int64_t)r->peaks.n * N)) {
        for (int i = 0; i < r->peaks.n; i++) {
            const bench_peak *p = &r->peaks.count[i];
            cell(&t, "%d", p->threads);
            for (int u = 0; u < BENCH_UNITS; u++) {
                if (p->gflops[u] > 0)
                    cell(&t, "%.0f", p->gflops[u]);
                else
                    cell(&t, "none");
            }
            for (int l = 0; l < BENCH_LEVELS; l++) cell(&t, "%.1f", p->read[l]);
            for (int l = 0; l < BENCH_LEVELS; l++) cell(&t, "%.1f", p->copy[l]);
        }
        s = gy_report_table(page, "peaks",
                            &(gy_report_rows){.caption = "Measured limits: GFLOP/s (int8: 1e9 operations a second) and "
                                                         "1e9 bytes a second; a copy counts both directions",
                                              .command = command,
                                              .columns = columns,
                                              .cells = t.cell,
                                              .n_columns = N,
                                              .n_rows = r->peaks.n});
    }
    table_close(&t);
    return s;
}

static gy_status put_rows(gy_report *page, const bench_report *r, const char *command) {
    static const char *const columns[] = {"kernel",   "shape",   "dtype",   "isa",     "ms",
                                          "spread %", "GFLOP/s", "GB/s",    "of peak", "of bandwidth",
                                          "bound",    "peer",    "peer ms", "ratio",   "difference"};
    enum { N = sizeof columns / sizeof *columns };
    table t;
    gy_status s = GY_ERR_NOMEM;
    if (table_open(&t, r->ctx, r->n * N)) {
        for (int64_t i = 0; i < r->n; i++) {
            const bench_row *row = &r->row[i];
            cell(&t, "%s", row->kernel);
            cell(&t, "%s", row->shape);
            cell(&t, "%s", row->dtype);
            cell(&t, "%s", row->isa);
            cell(&t, "%.4g", row->seconds * 1e3);
            cell(&t, "%.0f", 100 * row->spread);
            cell(&t, "%.1f", row->gflops);
            cell(&t, "%.1f", row->gbps);
            cell(&t, "%.2f", row->peak_fraction);
            cell(&t, "%.2f", row->bandwidth_fraction);
            cell(&t, "%s", row->bound);
            cell(&t, "%s", row->peer[0] ? row->peer : "");
            if (row->peer[0]) {
                cell(&t, "%.4g", row->peer_seconds * 1e3);
                cell(&t, "%.2f", row->ratio);
                cell(&t, "%.1e", row->difference);
            } else {
                for (int k = 0; k < 3; k++) cell(&t, "%s", "");
            }
        }
        s = gy_report_table(page, "rows",
                            &(gy_report_rows){.caption = "Every row: median milliseconds; ratio above 1 means faster "
                                                         "than the peer, timed in turns",
                                              .command = command,
                                              .columns = columns,
                                              .cells = t.cell,
                                              .n_columns = N,
                                              .n_rows = r->n});
    }
    table_close(&t);
    return s;
}

static gy_status put_peers(gy_report *page, const bench_report *r, const char *command) {
    static const char *const columns[] = {"peer", "version"};
    const char *cells[16];
    if (r->n_peers == 0) return gy_report_explain(page, "peers", "run without `--peers`");
    for (int i = 0; i < r->n_peers; i++) {
        cells[2 * i] = r->peer[i].name;
        cells[2 * i + 1] = r->peer[i].version;
    }
    return gy_report_table(page, "peers",
                           &(gy_report_rows){.caption = "Peers looked for; each result was compared with ours",
                                             .command = command,
                                             .columns = columns,
                                             .cells = cells,
                                             .n_columns = 2,
                                             .n_rows = r->n_peers});
}

gy_status bench_page(const bench_report *r, const char *path, const char *command) {
    char subtitle[256], threads[32];
    gy_report *page;
    snprintf(subtitle, sizeof subtitle, "%lld rows on %s, %s caches.", (long long)r->n,
             r->cpu[0] ? r->cpu : "a machine", r->cold ? "cold" : "warm");
    gy_status s = gy_report_new(
        r->ctx, (gy_report_args){.title = "Kernels against the machine", .subtitle = subtitle, .command = command},
        &page);
    if (s != GY_OK) return s;
    snprintf(threads, sizeof threads, "%d", r->threads);
    gy_report_fact(page, "gyrus", r->version[0] ? r->version : "unknown");
    gy_report_fact(page, "processor", r->cpu[0] ? r->cpu : "unknown");
    gy_report_fact(page, "threads", threads);
    gy_report_plan(page, "peaks", "what the machine reached");
    gy_report_plan(page, "roofline", "the kernels below the rooflines");
    gy_report_plan(page, "rows", "every row");
    gy_report_plan(page, "peers", "the peers and their versions");
    if (r->peaks.n == 0) {
        gy_report_explain(page, "peaks", "the file holds rows alone");
        gy_report_explain(page, "roofline", "the file holds rows alone");
    } else {
        s = put_peaks(page, r, command);
        if (s == GY_OK) s = put_roofline(page, r, command);
    }
    if (s == GY_OK) s = r->n ? put_rows(page, r, command) : gy_report_explain(page, "rows", "no row was measured");
    if (s == GY_OK) s = put_peers(page, r, command);
    gy_report_term(page, "of peak", "the time that the measured limits allow, over the median time taken");
    gy_report_term(page, "of bandwidth",
                   "the time that moving the operands once takes at the bandwidth of their level, over "
                   "the median time taken");
    gy_report_term(page, "bound", "the limit that decides: arithmetic of a type, or bandwidth of a cache level");
    gy_report_term(page, "ratio", "the peer's time over ours");
    gy_status written = gy_report_write(page, path);
    gy_report_free(page);
    return s != GY_OK ? s : written;
}
