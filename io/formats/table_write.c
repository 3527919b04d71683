/* table_write.c: tables to CSV and TSV; BIDS events both ways. */
#include "table.h"

#include "../files.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

char *gy_number_text(double x, char buf[32]) {
    if (isnan(x)) return strcpy(buf, "nan");
    if (isinf(x)) return strcpy(buf, x < 0 ? "-inf" : "inf");
    /* Any decimal of 15 digits comes back from a normal double; a subnormal one has fewer digits to give. */
    for (int digits = fabs(x) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        snprintf(buf, 32, "%.*g", digits, x);
        /* printf writes the decimal mark of the user's locale, maybe of several bytes; files have a point. */
        char *to = buf;
        bool marked = false;
        for (const char *from = buf; *from; from++) {
            if ((*from >= '0' && *from <= '9') || strchr("+-e", *from))
                *to++ = *from;
            else if (!marked)
                *to++ = '.', marked = true;
        }
        *to = 0;
        double back;
        if (gy_parse_double(buf, strlen(buf), &back) && back == x) break;
    }
    return buf;
}

/* Spreadsheets run cells that begin so as formulas; a number such as -5 is none. */
static bool looks_like_formula(const char *s) {
    double number;
    return s[0] && strchr("=+-@\t\r", s[0]) && !gy_parse_double(s, strlen(s), &number);
}

static gy_status put_text(gy_writer *w, const char *s, char separator) {
    bool formula = looks_like_formula(s);
    size_t n = strlen(s);
    if (!formula && !memchr(s, separator, n) && !strpbrk(s, "\"\r\n")) return gy_writer_put(w, s, n);
    gy_status st = gy_writer_put(w, formula ? "\"'" : "\"", formula ? 2 : 1);
    while (st == GY_OK && *s) {
        size_t run = strcspn(s, "\"");
        st = gy_writer_put(w, s, run);
        s += run;
        if (st == GY_OK && *s == '"') {
            st = gy_writer_put(w, "\"\"", 2);
            s++;
        }
    }
    return st == GY_OK ? gy_writer_put(w, "\"", 1) : st;
}

static gy_status put_cell(gy_writer *w, const gy_table_data *c, int64_t row, char separator) {
    char number[32];
    if (row < 0) return put_text(w, c->name, separator);
    if (c->numbers) {
        const char *s = isnan(c->numbers[row]) ? "n/a" : gy_number_text(c->numbers[row], number);
        return gy_writer_put(w, s, strlen(s));
    }
    return put_text(w, c->texts[row] ? c->texts[row] : "n/a", separator);
}

gy_status gy_table_write(gy_ctx *ctx, const char *path, char separator, const gy_table_data *columns, int64_t count,
                         int64_t rows) {
    gy_writer *w = NULL;
    if (separator != ',' && separator != '\t' && separator != ';')
        return gy_fail(ctx, GY_ERR_USAGE, "%s: tables are separated by a comma, a tab or a semicolon", path);
    if (count < 1) return gy_fail(ctx, GY_ERR_USAGE, "%s: a table needs at least one column", path);
    gy_status s = gy_writer_open(ctx, path, &w);
    for (int64_t row = -1; row < rows && s == GY_OK; row++)
        for (int64_t j = 0; j < count && s == GY_OK; j++) {
            s = put_cell(w, &columns[j], row, separator);
            if (s == GY_OK) s = gy_writer_put(w, j + 1 < count ? &separator : "\n", 1);
        }
    if (s == GY_OK) return gy_writer_commit(w);
    gy_writer_abort(w);
    return s;
}

/* ---- events ------------------------------------------------------------------------------------ */

static gy_status check_events(gy_ctx *ctx, const char *path, const int64_t *line, int64_t count, const double *onset,
                              const double *duration) {
    bool backwards = false;
    for (int64_t i = 0; i < count; i++) {
        const char *what = line ? "line" : "event";
        int64_t where = line ? line[i] : i + 1;
        if (!isfinite(onset[i]))
            return gy_fail(ctx, GY_ERR_FORMAT, "%s: %s %" PRId64 ": onset: expected a time in seconds, found %s", path,
                           what, where, isnan(onset[i]) ? "n/a" : "infinity");
        if (duration[i] < 0 || isinf(duration[i])) /* NaN is "n/a": legal */
            return gy_fail(ctx, GY_ERR_FORMAT,
                           "%s: %s %" PRId64 ": duration: expected 0 or more seconds or n/a, found %g", path, what,
                           where, duration[i]);
        if (i && onset[i] < onset[i - 1] && !backwards) {
            gy_warn(ctx, "%s: %s %" PRId64 ": onsets go backwards", path, what, where);
            backwards = true;
        }
    }
    return GY_OK;
}

static gy_status take_columns(gy_events *e) {
    const gy_table *t = &e->table;
    int64_t column;
    e->count = t->rows;
    gy_status s = gy_table_column(t, "onset", &column);
    if (s == GY_OK) s = gy_table_numbers(t, column, &e->onset);
    if (s == GY_OK) s = gy_table_column(t, "duration", &column);
    if (s == GY_OK) s = gy_table_numbers(t, column, &e->duration);
    if (s == GY_OK && gy_table_has(t, "trial_type")) {
        s = gy_table_column(t, "trial_type", &column);
        if (s == GY_OK) s = gy_table_strings(t, column, &e->trial_type);
        for (int64_t i = 0; s == GY_OK && i < e->count; i++)
            if (gy_cell_is_missing(e->trial_type[i])) e->trial_type[i] = "n/a";
    }
    return s == GY_OK ? check_events(t->ctx, t->path, t->line, e->count, e->onset, e->duration) : s;
}

static gy_status finish(gy_events *e, gy_status s) {
    if (s == GY_OK) s = take_columns(e);
    if (s != GY_OK) gy_events_free(e);
    return s;
}

gy_status gy_events_read(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_events *out) {
    memset(out, 0, sizeof *out);
    return finish(out, gy_table_read(ctx, path, limits, (gy_table_args){.separator = '\t'}, &out->table));
}

gy_status gy_events_parse(const gy_bytes *src, gy_events *out) {
    memset(out, 0, sizeof *out);
    return finish(out, gy_table_parse(src, (gy_table_args){.separator = '\t'}, &out->table));
}

void gy_events_free(gy_events *e) {
    gy_ctx *ctx = e->table.ctx;
    if (ctx) {
        gy_free(ctx, e->onset);
        gy_free(ctx, e->duration);
        gy_free(ctx, e->trial_type);
    }
    gy_table_free(&e->table);
    memset(e, 0, sizeof *e);
}

gy_status gy_events_write(gy_ctx *ctx, const char *path, int64_t count, const double *onset, const double *duration,
                          const char *const *trial_type, const gy_table_data *extra, int64_t extras) {
    gy_status s = check_events(ctx, path, NULL, count, onset, duration);
    if (s != GY_OK) return s;
    int64_t fixed = trial_type ? 3 : 2;
    gy_table_data *columns = gy_calloc(ctx, (size_t)(fixed + extras), sizeof *columns);
    if (!columns) return GY_ERR_NOMEM;
    columns[0] = (gy_table_data){.name = "onset", .numbers = onset};
    columns[1] = (gy_table_data){.name = "duration", .numbers = duration};
    if (trial_type) columns[2] = (gy_table_data){.name = "trial_type", .texts = trial_type};
    if (extras) memcpy(columns + fixed, extra, (size_t)extras * sizeof *extra);
    s = gy_table_write(ctx, path, '\t', columns, fixed + extras, count);
    gy_free(ctx, columns);
    return s;
}
