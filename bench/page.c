/* The page: peaks, rooflines with every kernel on them, the peers at a glance, a table for each suite. */
#include "bench.h"

#include "../io/report/html.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ROOF_POINTS = 220, CELL = 192 };

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

enum { FAMILIES = 4, SERIES = FAMILIES + 2 };
static const char *const families[FAMILIES] = {"matmul", "conv", "attention", "other"};

static int family_of(const bench_row *row) {
    const char *suite = bench_suite_of(row);
    int f = 0;
    while (f < FAMILIES - 1 && strcmp(families[f], suite) != 0) f++;
    return f;
}

/* The first row of its work: the others have further peers. */
static bool is_first(const bench_report *r, int64_t i) {
    for (int64_t k = 0; k < i; k++)
        if (bench_same_work(&r->row[k], &r->row[i])) return false;
    return true;
}

static gy_status put_roofline(gy_report *page, const bench_report *r, const char *command) {
    const bench_peak *peak = bench_peak_all(&r->peaks);
    gy_ctx *ctx = r->ctx;
    double *xy = gy_calloc(ctx, (size_t)(2 * FAMILIES * (r->n + 1)), sizeof *xy);
    roof *roofs = gy_calloc(ctx, 2, sizeof *roofs);
    gy_status s = xy && roofs ? GY_OK : GY_ERR_NOMEM;
    gy_series series[SERIES] = {0};
    int64_t n = 0, shown = 0;
    double lo = INFINITY, hi = 0;
    for (int f = 0; s == GY_OK && f < FAMILIES; f++) {
        double *x = xy + (int64_t)(2 * f) * (r->n + 1), *y = x + r->n + 1;
        int64_t m = 0;
        for (int64_t i = 0; i < r->n; i++) {
            const bench_row *row = &r->row[i];
            if (strcmp(row->dtype, "f32") != 0 || !(row->intensity > 0) || !(row->gflops > 0)) continue;
            if (family_of(row) != f || !is_first(r, i)) continue;
            x[m] = row->intensity;
            y[m++] = row->gflops;
            lo = fmin(lo, row->intensity);
            hi = fmax(hi, row->intensity);
        }
        if (m) series[shown++] = (gy_series){.name = families[f], .n = m, .x = x, .y = y};
        n += m;
    }
    if (s == GY_OK && n == 0) {
        s = gy_report_explain(page, "roofline", "no f32 row whose operations and bytes are known");
    } else if (s == GY_OK) {
        gy_figure f;
        draw_roof(&roofs[0], peak->gflops[BENCH_F32], peak->copy[BENCH_DRAM], lo / 2, hi * 2);
        draw_roof(&roofs[1], peak->gflops[BENCH_F32], peak->copy[BENCH_L2], lo / 2, hi * 2);
        series[shown++] =
            (gy_series){.name = "roof with main memory", .n = ROOF_POINTS, .x = roofs[0].x, .y = roofs[0].y};
        series[shown++] = (gy_series){.name = "roof with L2", .n = ROOF_POINTS, .x = roofs[1].x, .y = roofs[1].y};
        s = gy_figure_scatter(
            ctx,
            &(gy_scatter){
                .head = {.title = "Rooflines and the f32 kernels",
                         .caption =
                             "Each mark is a row of the tables. The slope is bandwidth, the flat part the peak of "
                             "f32 multiply-adds. Above it are convolutions by Winograd's algorithm, which count "
                             "what a direct convolution computes.",
                         .alt = "Scatter of operations a second over operations a byte, below two measured roofs.",
                         .command = command,
                         .n = n,
                         .n_of = "rows",
                         .chance = gy_no_chance(),
                         .side = GY_SIDE_NONE},
                .x = {.label = "intensity", .unit = "FLOP/byte", .log = true},
                .y = {.label = "speed", .unit = "GFLOP/s", .log = true},
                .series = series,
                .n_series = shown},
            &f);
        if (s == GY_OK) s = gy_report_figure(page, "roofline", &f);
        gy_figure_free(ctx, &f);
    }
    gy_free(ctx, xy);
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

/* The row of this work and peer; NULL: none. */
static const bench_row *against(const bench_report *r, const bench_row *work, const char *peer) {
    for (int64_t i = 0; i < r->n; i++)
        if (bench_same_work(&r->row[i], work) && strcmp(r->row[i].peer, peer) == 0) return &r->row[i];
    return NULL;
}
/* Ours at its fastest among the rows of this work: each peer was timed in turns with a run of ours. */
static const bench_row *best_of(const bench_report *r, const bench_row *work) {
    const bench_row *best = work;
    for (int64_t i = 0; i < r->n; i++)
        if (bench_same_work(&r->row[i], work) && r->row[i].seconds_min < best->seconds_min) best = &r->row[i];
    return best;
}

enum { OWN_COLUMNS = 12 };

/* A suite: a line for each work, with a column for each peer that has a row in it. */
static gy_status put_suite(gy_report *page, const bench_report *r, const char *suite, const char *command) {
    const char *columns[OWN_COLUMNS + BENCH_NAMED] = {"kernel",   "shape",        "type",    "ms",
                                                      "least ms", "spread %",     "GFLOP/s", "GB/s",
                                                      "of peak",  "of bandwidth", "bound",   "MB"};
    bool models = strcmp(suite, "models") == 0;
    int own = models ? OWN_COLUMNS : OWN_COLUMNS - 1, n_columns = own;
    int64_t lines = 0;
    for (int64_t i = 0; i < r->n; i++) lines += strcmp(bench_suite_of(&r->row[i]), suite) == 0 && is_first(r, i);
    for (int64_t i = 0; i < r->n; i++) {
        const char *peer = r->row[i].peer;
        bool seen = !peer[0] || strcmp(bench_suite_of(&r->row[i]), suite) != 0 || n_columns == own + BENCH_NAMED;
        for (int c = own; c < n_columns; c++) seen = seen || strcmp(columns[c], peer) == 0;
        if (!seen) columns[n_columns++] = peer;
    }
    table t;
    gy_status s = GY_ERR_NOMEM;
    if (table_open(&t, r->ctx, lines * n_columns)) {
        for (int64_t i = 0; i < r->n; i++) {
            if (strcmp(bench_suite_of(&r->row[i]), suite) != 0 || !is_first(r, i)) continue;
            const bench_row *row = best_of(r, &r->row[i]);
            cell(&t, "%s", row->kernel);
            cell(&t, "%s", row->shape);
            cell(&t, "%s %s", row->dtype, row->isa);
            cell(&t, "%.4g", row->seconds * 1e3);
            cell(&t, "%.4g", row->seconds_min * 1e3);
            cell(&t, "%.0f", 100 * row->spread);
            cell(&t, "%.1f", row->gflops);
            cell(&t, "%.1f", row->gbps);
            cell(&t, "%.2f", row->peak_fraction);
            cell(&t, "%.2f", row->bandwidth_fraction);
            cell(&t, "%s", row->bound);
            if (models) cell(&t, "%.0f", row->memory_bytes * 1e-6);
            for (int c = own; c < n_columns; c++) {
                const bench_row *p = against(r, row, columns[c]);
                if (p && models && p->peer_memory_bytes > 0)
                    cell(&t, "%.2f (%.4g ms, %.0f MB)", p->ratio, p->peer_seconds * 1e3, p->peer_memory_bytes * 1e-6);
                else if (p)
                    cell(&t, models ? "%.2f (%.4g ms)" : "%.2f", p->ratio, p->peer_seconds * 1e3);
                else
                    cell(&t, "%s", "");
            }
        }
        char caption[192];
        snprintf(caption, sizeof caption, "%s%s", suite,
                 models
                     ? ": median milliseconds, and memory beside weights and optimizer state; for a peer its time over "
                       "ours, its time and its memory"
                     : ": median milliseconds; for a peer its time over ours, timed in turns: above 1, ours is faster");
        s = gy_report_table(page, suite,
                            &(gy_report_rows){.caption = caption,
                                              .command = command,
                                              .columns = columns,
                                              .cells = t.cell,
                                              .n_columns = n_columns,
                                              .n_rows = lines});
    }
    table_close(&t);
    return s;
}

static gy_status put_peers(gy_report *page, const bench_report *r, const char *command) {
    static const char *const columns[] = {
        "peer", "version", "rows", "ours faster in", "mean of ratios", "largest difference", "lowest ratio"};
    enum { N = sizeof columns / sizeof *columns };
    table t;
    if (r->n_peers == 0) return gy_report_explain(page, "peers", "run without `--peers`");
    gy_status s = GY_ERR_NOMEM;
    if (table_open(&t, r->ctx, (int64_t)r->n_peers * N)) {
        for (int i = 0; i < r->n_peers; i++) {
            int64_t n = 0, faster = 0;
            double logs = 0, difference = 0;
            const bench_row *low = NULL;
            for (int64_t k = 0; k < r->n; k++) {
                const bench_row *row = &r->row[k];
                if (strcmp(row->peer, r->peer[i].name) != 0) continue;
                n++;
                faster += row->ratio >= 1;
                logs += log(row->ratio);
                difference = fmax(difference, row->difference);
                if (!low || row->ratio < low->ratio) low = row;
            }
            cell(&t, "%s", r->peer[i].name);
            cell(&t, "%s", r->peer[i].version);
            cell(&t, "%lld", (long long)n);
            for (int k = 3; !low && k < N; k++) cell(&t, "%s", "");
            if (!low) continue;
            cell(&t, "%lld", (long long)faster);
            cell(&t, "%.2f", exp(logs / (double)n));
            cell(&t, "%.1e", difference);
            cell(&t, "%.2f %s", low->ratio, low->kernel);
        }
        s = gy_report_table(page, "peers",
                            &(gy_report_rows){.caption =
                                                  "Peers looked for, and their time over ours (geometric mean); each "
                                                  "result was compared with ours",
                                              .command = command,
                                              .columns = columns,
                                              .cells = t.cell,
                                              .n_columns = N,
                                              .n_rows = r->n_peers});
    }
    table_close(&t);
    return s;
}

gy_status bench_page(const bench_report *r, const char *path, const char *command) {
    char subtitle[256], threads[32];
    gy_report *page;
    int64_t works = 0;
    bool has[32] = {false};
    for (int64_t i = 0; i < r->n; i++) {
        works += is_first(r, i);
        for (int k = 0; bench_suites[k] && k < 32; k++)
            has[k] = has[k] || strcmp(bench_suites[k], bench_suite_of(&r->row[i])) == 0;
    }
    snprintf(subtitle, sizeof subtitle, "%lld kernels and models on %s, %s caches.", (long long)works,
             r->cpu[0] ? r->cpu : "a machine", r->cold ? "cold" : "warm");
    gy_status s = gy_report_new(
        r->ctx, (gy_report_args){.title = "Kernels against the machine", .subtitle = subtitle, .command = command},
        &page);
    if (s != GY_OK) return s;
    snprintf(threads, sizeof threads, "%d", r->threads);
    gy_report_fact(page, "gyrus", r->version[0] ? r->version : "unknown");
    gy_report_fact(page, "sources", r->commit[0] ? r->commit : "unknown");
    gy_report_fact(page, "measured", r->date[0] ? r->date : "unknown");
    gy_report_fact(page, "processor", r->cpu[0] ? r->cpu : "unknown");
    gy_report_fact(page, "threads", threads);
    gy_report_plan(page, "peaks", "what the machine reached");
    gy_report_plan(page, "roofline", "the kernels below the rooflines");
    gy_report_plan(page, "peers", "the peers and their versions");
    for (int k = 0; bench_suites[k] && k < 32; k++)
        if (has[k]) gy_report_plan(page, bench_suites[k], bench_suites[k]);
    if (r->peaks.n == 0) {
        gy_report_explain(page, "peaks", "the file holds rows alone");
        gy_report_explain(page, "roofline", "the file holds rows alone");
    } else {
        s = put_peaks(page, r, command);
        if (s == GY_OK) s = put_roofline(page, r, command);
    }
    if (s == GY_OK) s = put_peers(page, r, command);
    for (int k = 0; s == GY_OK && bench_suites[k] && k < 32; k++)
        if (has[k]) s = put_suite(page, r, bench_suites[k], command);
    gy_report_term(page, "of peak", "the time that the measured limits allow, over the median time taken");
    gy_report_term(page, "of bandwidth",
                   "the time that moving the operands once takes at the bandwidth of their level, over "
                   "the median time taken");
    gy_report_term(page, "bound", "the limit that decides: arithmetic of a type, or bandwidth of a cache level");
    gy_report_term(page, "f32bf16", "f32 operands and results, multiplied in bf16; the peers get and leave bf16");
    gy_report_term(page, "spread", "the distance of the quartiles of the repeats, over the median");
    gy_status written = gy_report_write(page, path);
    gy_report_free(page);
    return s != GY_OK ? s : written;
}
