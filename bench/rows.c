/* Rows as JSON, there and back, and two runs compared. */
#include "bench.h"

#include "../io/files.h"
#include "../io/formats/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bench_report_free(bench_report *r) {
    if (r->ctx) gy_free(r->ctx, r->row);
    *r = (bench_report){0};
}

bool bench_same_work(const bench_row *a, const bench_row *b) {
    return strcmp(a->kernel, b->kernel) == 0 && strcmp(a->shape, b->shape) == 0 && strcmp(a->dtype, b->dtype) == 0 &&
           a->threads == b->threads;
}

bool bench_measured(const bench_options *o, const bench_row *row) {
    const bench_report *d = o->done;
    if (!d || d->n == 0 || bench_same_work(&d->row[d->n - 1], row)) return false;
    for (int64_t i = 0; i < d->n; i++)
        if (bench_same_work(&d->row[i], row) && (!o->peer || strstr(d->row[i].peer, o->peer))) return true;
    return false;
}

gy_status bench_report_add(bench_report *r, const bench_row *row) {
    for (int64_t i = 0; i < r->n; i++) {
        bench_row *old = &r->row[i];
        if (!bench_same_work(old, row) || (old->peer[0] && strcmp(old->peer, row->peer) != 0)) continue;
        *old = *row;
        return GY_OK;
    }
    if (r->n == r->room) {
        int64_t room = r->room ? 2 * r->room : 64;
        bench_row *p = gy_realloc(r->ctx, r->row, (size_t)room * sizeof *p);
        if (!p) return GY_ERR_NOMEM;
        r->row = p;
        r->room = room;
    }
    r->row[r->n++] = *row;
    return GY_OK;
}

void bench_report_peer(bench_report *r, const char *name, const char *version) {
    int i = 0;
    while (i < r->n_peers && strcmp(r->peer[i].name, name) != 0) i++;
    if (i == BENCH_NAMED || (i < r->n_peers && strncmp(version, "absent", 6) == 0)) return;
    if (i == r->n_peers) r->n_peers++;
    snprintf(r->peer[i].name, sizeof r->peer[i].name, "%s", name);
    snprintf(r->peer[i].version, sizeof r->peer[i].version, "%s", version);
}

/* ---- writing ---- */

/* Five digits: more than a clock means, and a file a third as long. */
static void put_short(gy_json_writer *w, const char *key, double value) {
    char text[40];
    snprintf(text, sizeof text, "%.5g", value);
    gy_json_put_real(w, key, strtod(text, NULL));
}

typedef void (*put_real)(gy_json_writer *w, const char *key, double value);

static void put_rows(gy_json_writer *w, const char *key, const bench_report *r, put_real put) {
    gy_json_open_array(w, key);
    for (int64_t i = 0; i < r->n; i++) {
        const bench_row *row = &r->row[i];
        gy_json_open_object(w, NULL);
        gy_json_put_string(w, "kernel", row->kernel);
        gy_json_put_string(w, "shape", row->shape);
        gy_json_put_string(w, "dtype", row->dtype);
        gy_json_put_string(w, "isa", row->isa);
        gy_json_put_int(w, "threads", row->threads);
        put(w, "seconds", row->seconds);
        put(w, "seconds_min", row->seconds_min);
        put(w, "spread", row->spread);
        gy_json_put_int(w, "repeats", row->repeats);
        put(w, "gflops", row->gflops);
        put(w, "gbps", row->gbps);
        put(w, "intensity", row->intensity);
        gy_json_put_string(w, "bound", row->bound);
        put(w, "peak_fraction", row->peak_fraction);
        put(w, "bandwidth_fraction", row->bandwidth_fraction);
        if (row->memory_bytes > 0) put(w, "memory_bytes", row->memory_bytes);
        if (row->peer_memory_bytes > 0) put(w, "peer_memory_bytes", row->peer_memory_bytes);
        if (row->peer[0]) {
            gy_json_put_string(w, "peer", row->peer);
            put(w, "peer_seconds", row->peer_seconds);
            put(w, "peer_seconds_min", row->peer_seconds_min);
            put(w, "ratio", row->ratio);
            put(w, "difference", row->difference);
        } else {
            gy_json_put_null(w, "peer");
            gy_json_put_null(w, "peer_seconds");
            gy_json_put_null(w, "peer_seconds_min");
            gy_json_put_null(w, "ratio");
            gy_json_put_null(w, "difference");
        }
        gy_json_close(w);
    }
    gy_json_close(w);
}

gy_status bench_rows_json(const bench_report *r, char **text, size_t *n) {
    gy_json_writer w;
    gy_json_start(r->ctx, &w, false);
    put_rows(&w, NULL, r, gy_json_put_real);
    return gy_json_finish(&w, text, n);
}

static void put_peak(gy_json_writer *w, const bench_peak *p) {
    gy_json_open_object(w, NULL);
    gy_json_put_int(w, "threads", p->threads);
    gy_json_open_object(w, "gflops");
    for (int u = 0; u < BENCH_UNITS; u++) gy_json_put_real(w, bench_unit_names[u], p->gflops[u]);
    gy_json_close(w);
    gy_json_open_object(w, "read_gbps");
    for (int l = 0; l < BENCH_LEVELS; l++) gy_json_put_real(w, bench_level_names[l], p->read[l]);
    gy_json_close(w);
    gy_json_open_object(w, "copy_gbps");
    for (int l = 0; l < BENCH_LEVELS; l++) gy_json_put_real(w, bench_level_names[l], p->copy[l]);
    gy_json_close(w);
    gy_json_close(w);
}

/* With a line for each object of a list. No string holds },{" as it is: its quote would be escaped. */
static gy_status write_lines(gy_ctx *ctx, const char *path, const char *text) {
    gy_writer *w;
    gy_status s = gy_writer_open(ctx, path, &w);
    for (const char *p = text, *end; s == GY_OK && *p; p = end) {
        end = strstr(p, "},{\"");
        end = end ? end + 2 : p + strlen(p);
        s = gy_writer_put(w, p, (size_t)(end - p));
        if (s == GY_OK) s = gy_writer_put(w, "\n", 1);
    }
    if (s == GY_OK) return gy_writer_commit(w);
    gy_writer_abort(w);
    return s;
}

gy_status bench_save(const bench_report *r, const char *path) {
    gy_json_writer w;
    char *text;
    size_t n;
    gy_json_start(r->ctx, &w, false);
    gy_json_open_object(&w, NULL);
    gy_json_put_string(&w, "version", r->version);
    gy_json_put_string(&w, "commit", r->commit);
    gy_json_put_string(&w, "date", r->date);
    gy_json_put_string(&w, "cpu", r->cpu);
    gy_json_put_int(&w, "threads", r->threads);
    gy_json_put_bool(&w, "cold", r->cold);
    gy_json_open_object(&w, "level_bytes");
    for (int l = 0; l < BENCH_DRAM; l++) gy_json_put_real(&w, bench_level_names[l], r->peaks.level_bytes[l]);
    gy_json_close(&w);
    gy_json_open_array(&w, "peaks");
    for (int i = 0; i < r->peaks.n; i++) put_peak(&w, &r->peaks.count[i]);
    gy_json_close(&w);
    gy_json_open_array(&w, "peers");
    for (int i = 0; i < r->n_peers; i++) {
        gy_json_open_object(&w, NULL);
        gy_json_put_string(&w, "name", r->peer[i].name);
        gy_json_put_string(&w, "version", r->peer[i].version);
        gy_json_close(&w);
    }
    gy_json_close(&w);
    put_rows(&w, "rows", r, put_short);
    gy_json_close(&w);
    gy_status s = gy_json_finish(&w, &text, &n);
    if (s == GY_OK) s = write_lines(r->ctx, path, text);
    gy_free(r->ctx, text);
    return s;
}

/* ---- reading ---- */

static void take_text(const gy_json *j, int64_t object, const char *key, char *out, size_t n) {
    const char *s = gy_json_string(j, gy_json_get(j, object, key));
    snprintf(out, n, "%s", s ? s : "");
}
static double take_real(const gy_json *j, int64_t object, const char *key) {
    double v = 0;
    return object >= 0 && gy_json_real(j, gy_json_get(j, object, key), &v) ? v : 0;
}
static int take_int(const gy_json *j, int64_t object, const char *key) {
    double v = take_real(j, object, key);
    return v > 0 && v < 1e9 ? (int)v : 0;
}

static gy_status take_rows(const gy_bytes *src, const gy_json *j, int64_t list, bench_report *out) {
    gy_status s = GY_OK;
    for (int64_t i = gy_json_first(j, list); s == GY_OK && i >= 0; i = j->nodes[i].next) {
        bench_row row = {0};
        if (j->nodes[i].kind != GY_JSON_OBJECT)
            return gy_bytes_fail(src, j->nodes[i].at, "expected a row, an object; found %s",
                                 gy_json_kind_name(j->nodes[i].kind));
        take_text(j, i, "kernel", row.kernel, sizeof row.kernel);
        take_text(j, i, "shape", row.shape, sizeof row.shape);
        take_text(j, i, "dtype", row.dtype, sizeof row.dtype);
        take_text(j, i, "isa", row.isa, sizeof row.isa);
        take_text(j, i, "bound", row.bound, sizeof row.bound);
        row.memory_bytes = take_real(j, i, "memory_bytes");
        row.peer_memory_bytes = take_real(j, i, "peer_memory_bytes");
        take_text(j, i, "peer", row.peer, sizeof row.peer);
        row.threads = take_int(j, i, "threads");
        row.repeats = take_int(j, i, "repeats");
        row.seconds = take_real(j, i, "seconds");
        row.seconds_min = take_real(j, i, "seconds_min");
        row.spread = take_real(j, i, "spread");
        row.gflops = take_real(j, i, "gflops");
        row.gbps = take_real(j, i, "gbps");
        row.intensity = take_real(j, i, "intensity");
        row.peak_fraction = take_real(j, i, "peak_fraction");
        row.bandwidth_fraction = take_real(j, i, "bandwidth_fraction");
        row.peer_seconds = take_real(j, i, "peer_seconds");
        row.peer_seconds_min = take_real(j, i, "peer_seconds_min");
        row.ratio = take_real(j, i, "ratio");
        row.difference = take_real(j, i, "difference");
        if (!row.kernel[0] || !(row.seconds > 0))
            return gy_bytes_fail(src, j->nodes[i].at, "expected a row with a kernel and seconds above 0");
        if (row.seconds_min <= 0) row.seconds_min = row.seconds;
        s = bench_report_add(out, &row);
    }
    return s;
}

static void take_peaks(const gy_json *j, bench_report *out) {
    int64_t sizes = gy_json_get(j, 0, "level_bytes");
    for (int l = 0; l < BENCH_DRAM; l++) out->peaks.level_bytes[l] = take_real(j, sizes, bench_level_names[l]);
    out->peaks.level_bytes[BENCH_DRAM] = INFINITY;
    for (int64_t i = gy_json_first(j, gy_json_get(j, 0, "peaks")); i >= 0; i = j->nodes[i].next) {
        if (out->peaks.n == BENCH_COUNTS) break;
        bench_peak *p = &out->peaks.count[out->peaks.n++];
        p->threads = take_int(j, i, "threads");
        for (int u = 0; u < BENCH_UNITS; u++)
            p->gflops[u] = take_real(j, gy_json_get(j, i, "gflops"), bench_unit_names[u]);
        for (int l = 0; l < BENCH_LEVELS; l++) {
            p->read[l] = take_real(j, gy_json_get(j, i, "read_gbps"), bench_level_names[l]);
            p->copy[l] = take_real(j, gy_json_get(j, i, "copy_gbps"), bench_level_names[l]);
        }
        out->peaks.gflops = p->gflops[BENCH_F32];
        out->peaks.gbps = p->copy[BENCH_DRAM];
    }
}

gy_status bench_load(gy_ctx *ctx, const char *path, bench_report *out) {
    gy_bytes src;
    gy_json j = {0};
    *out = (bench_report){.ctx = ctx};
    gy_status s = gy_bytes_open(ctx, path, NULL, &src);
    if (s != GY_OK) return s;
    s = gy_json_parse(&src, 0, src.size, &j);
    if (s == GY_OK) {
        bool object = j.nodes[0].kind == GY_JSON_OBJECT;
        int64_t rows = object ? gy_json_get(&j, 0, "rows") : 0;
        if (rows < 0 || j.nodes[rows].kind != GY_JSON_ARRAY)
            s = gy_bytes_fail(&src, 0, "expected an array of rows, or an object with one under 'rows'");
        if (s == GY_OK && object) {
            take_text(&j, 0, "version", out->version, sizeof out->version);
            take_text(&j, 0, "commit", out->commit, sizeof out->commit);
            take_text(&j, 0, "date", out->date, sizeof out->date);
            take_text(&j, 0, "cpu", out->cpu, sizeof out->cpu);
            out->threads = take_int(&j, 0, "threads");
            int64_t cold = gy_json_get(&j, 0, "cold");
            out->cold = cold >= 0 && j.nodes[cold].kind == GY_JSON_BOOL && j.nodes[cold].u.boolean;
            take_peaks(&j, out);
            for (int64_t i = gy_json_first(&j, gy_json_get(&j, 0, "peers")); i >= 0 && out->n_peers < BENCH_NAMED;
                 i = j.nodes[i].next) {
                take_text(&j, i, "name", out->peer[out->n_peers].name, sizeof out->peer[0].name);
                take_text(&j, i, "version", out->peer[out->n_peers++].version, sizeof out->peer[0].version);
            }
        }
        if (s == GY_OK) s = take_rows(&src, &j, rows, out);
    }
    gy_json_free(&j);
    gy_bytes_close(&src);
    if (s != GY_OK) bench_report_free(out);
    return s;
}

/* ---- comparing ---- */

static const bench_row *fastest(const bench_report *r, const bench_row *like) {
    const bench_row *best = NULL;
    for (int64_t i = 0; i < r->n; i++)
        if (bench_same_work(&r->row[i], like) && (!best || r->row[i].seconds_min < best->seconds_min))
            best = &r->row[i];
    return best;
}

int64_t bench_compare(const bench_report *before, const bench_report *now, bench_change *change) {
    int64_t n = 0;
    for (int64_t i = 0; i < now->n; i++) {
        bool first = true;
        for (int64_t k = 0; k < i; k++) first = first && !bench_same_work(&now->row[k], &now->row[i]);
        const bench_row *old = fastest(before, &now->row[i]), *new = fastest(now, &now->row[i]);
        if (!first || !old) continue;
        change[n++] = (bench_change){old, new, new->seconds_min / old->seconds_min - 1};
    }
    return n;
}
