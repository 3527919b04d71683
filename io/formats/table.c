#include "table.h"

#include "../files.h"
#include "deflate.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- cells ------------------------------------------------------------------------------------- */

/* The file is walked twice by the same scanner: first to count and to refuse, allocating nothing; then to copy. */
typedef struct scanner {
    const gy_bytes *src;
    const uint8_t *p;
    uint64_t at, end;
    int64_t line; /* from 1 */
    char separator, comment;
} scanner;

typedef struct cell {
    uint64_t from, to; /* inside the quotes */
    bool quoted;
    bool last; /* of its row */
    int64_t line;
} cell;

#define X
static bool is_eol(uint8_t c) {
    return c == '\n' || c == '\r';
}

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t';
}

static gy_status fail_line(const scanner *s, int64_t line, const char *what) {
    return gy_fail(s->src->ctx, GY_ERR_FORMAT, "%s: line %" PRId64 ": %s", s->src->path, line, what);
}

static void skip_eol(scanner *s) {
    if (s->at >= s->end) return;
    s->at += s->p[s->at] == '\r' && s->at + 1 < s->end && s->p[s->at + 1] == '\n' ? 2 : 1;
    s->line++;
}

/* To the start of the next row; false at the end of the file. */
static bool next_row(scanner *s) {
    while (s->at < s->end) {
        uint64_t first = s->at;
        if (s->separator == ' ')
            while (first < s->end && is_blank(s->p[first])) first++;
        bool comment = s->comment && first < s->end && s->p[first] == (uint8_t)s->comment;
        if (comment)
            while (first < s->end && !is_eol(s->p[first])) first++;
        else if (first < s->end && !is_eol(s->p[first]))
            return true;
        s->at = first;
        skip_eol(s);
    }
    return false;
}

static gy_status quoted_cell(scanner *s, cell *c) {
    c->quoted = true;
    c->from = ++s->at;
    for (;; s->at++) {
        if (s->at >= s->end) return fail_line(s, c->line, "a quote begins here and never ends");
        uint8_t b = s->p[s->at];
        if (b == '"' && s->at + 1 < s->end && s->p[s->at + 1] == '"')
            s->at++;
        else if (b == '"')
            break;
        else if (b == '\n' || (b == '\r' && !(s->at + 1 < s->end && s->p[s->at + 1] == '\n')))
            s->line++;
    }
    c->to = s->at++;
    if (s->at < s->end && s->p[s->at] != (uint8_t)s->separator && !is_eol(s->p[s->at]))
        return fail_line(s, s->line, "text after a closing quote");
    return GY_OK;
}

/* The next cell of the row; at a row's end it also steps over the line end. */
static gy_status next_cell(scanner *s, cell *c) {
    *c = (cell){.line = s->line};
    if (s->separator == ' ') {
        while (s->at < s->end && is_blank(s->p[s->at])) s->at++;
        c->from = s->at;
        while (s->at < s->end && !is_blank(s->p[s->at]) && !is_eol(s->p[s->at])) s->at++;
        c->to = s->at;
        while (s->at < s->end && is_blank(s->p[s->at])) s->at++;
        c->last = s->at >= s->end || is_eol(s->p[s->at]);
    } else {
        if (s->at < s->end && s->p[s->at] == '"') {
            gy_status st = quoted_cell(s, c);
            if (st != GY_OK) return st;
        } else {
            c->from = s->at;
            while (s->at < s->end && s->p[s->at] != (uint8_t)s->separator && !is_eol(s->p[s->at])) s->at++;
            c->to = s->at;
        }
        c->last = s->at >= s->end || is_eol(s->p[s->at]);
        if (!c->last) s->at++;
    }
    if (c->last) skip_eol(s);
    return GY_OK;
}

/* ---- counting ---------------------------------------------------------------------------------- */

static char find_separator(const scanner *at_start, const gy_table_args *args) {
    if (args->separator) return args->separator;
    if (gy_path_has_suffix(at_start->src->path, ".tsv") || gy_path_has_suffix(at_start->src->path, ".tsv.gz"))
        return '\t';
    scanner s = *at_start;
    s.separator = ',';
    if (!next_row(&s)) return ',';
    int64_t tabs = 0, commas = 0, semicolons = 0, blanks = 0;
    bool quoted = false;
    for (; s.at < s.end && (quoted || !is_eol(s.p[s.at])); s.at++) {
        uint8_t c = s.p[s.at];
        if (c == '"') quoted = !quoted;
        if (quoted) continue;
        tabs += c == '\t', commas += c == ',', semicolons += c == ';', blanks += c == ' ';
    }
    if (tabs && tabs >= commas && tabs >= semicolons) return '\t';
    if (commas || semicolons) return commas >= semicolons ? ',' : ';';
    return args->headerless && blanks ? ' ' : ',';
}

/* Counts rows (the header among them) and columns; every refusal of the form happens here. */
static gy_status count(scanner s, int64_t *rows, int64_t *columns) {
    gy_ctx *ctx = s.src->ctx;
    *rows = *columns = 0;
    int64_t first_line = 0;
    while (next_row(&s)) {
        int64_t n = 0, line = s.line;
        uint64_t start = s.at;
        cell c = {0};
        for (; !c.last; n++) {
            gy_status st = next_cell(&s, &c);
            if (st != GY_OK) return st;
        }
        gy_status st = gy_bytes_limit(s.src, GY_LIMIT_TEXT_LINE, s.at - start, "bytes in a line");
        if (st == GY_OK) st = gy_bytes_limit(s.src, GY_LIMIT_TABLE_COLUMNS, (uint64_t)n, "columns");
        if (st != GY_OK) return st;
        if (*rows == 0) {
            *columns = n;
            first_line = line;
        } else if (n != *columns) {
            return gy_fail(ctx, GY_ERR_FORMAT,
                           "%s: line %" PRId64 ": expected %" PRId64 " columns as in line %" PRId64 ", found %" PRId64,
                           s.src->path, line, *columns, first_line, n);
        }
        ++*rows;
    }
    return *rows ? GY_OK : gy_fail(ctx, GY_ERR_FORMAT, "%s: the table is empty", s.src->path);
}

/* ---- copying ----------------------------------------------------------------------------------- */

/* Copies a cell without its quotes and returns the place after its NUL. */
static char *copy_cell(const scanner *s, const cell *c, char *to) {
    if (!c->quoted) {
        memcpy(to, s->p + c->from, c->to - c->from);
        to += c->to - c->from;
    } else {
        for (uint64_t i = c->from; i < c->to; i++) {
            *to++ = (char)s->p[i];
            if (s->p[i] == '"') i++; /* the second of "" */
        }
    }
    *to = 0;
    return to + 1;
}

static gy_status check_header(const gy_table *t) {
    /* Open addressing over the names: linear in the number of columns. */
    int64_t slots = 2;
    while (slots < 2 * t->columns) slots *= 2;
    int64_t *table = gy_calloc(t->ctx, (size_t)slots, sizeof *table);
    if (!table) return GY_ERR_NOMEM;
    gy_status st = GY_OK;
    for (int64_t i = 0; i < t->columns && st == GY_OK; i++) {
        if (!t->header[i][0]) continue;
        uint64_t at = gy_hash_str(t->header[i], 0) & (uint64_t)(slots - 1);
        while (table[at] && strcmp(t->header[table[at] - 1], t->header[i]) != 0) at = (at + 1) & (uint64_t)(slots - 1);
        if (table[at]) {
            char shown[256];
            st = gy_fail(t->ctx, GY_ERR_FORMAT, "%s: columns %" PRId64 " and %" PRId64 " have the same name '%s'",
                         t->path, table[at], i + 1,
                         gy_show_text(t->header[i], strlen(t->header[i]), shown, sizeof shown));
        }
        table[at] = i + 1;
    }
    gy_free(t->ctx, table);
    return st;
}

static gy_status fill(scanner s, gy_table *t, int64_t rows, bool headerless) {
    gy_ctx *ctx = t->ctx;
    uint64_t cells, bytes;
    t->rows = rows - !headerless;
    if (!gy_mul_u64((uint64_t)t->rows, (uint64_t)t->columns, &cells) || !gy_mul_u64(cells, sizeof *t->cell, &bytes))
        return gy_fail(ctx, GY_ERR_NOMEM, "%s: too many cells", s.src->path);
    t->path = gy_strdup(ctx, s.src->path);
    t->text = gy_malloc(ctx, (size_t)(s.end - s.at) + 1); /* each cell is followed by at least one byte, but the last */
    t->cell = gy_malloc(ctx, (size_t)bytes);
    t->line = gy_malloc(ctx, (size_t)t->rows * sizeof *t->line);
    if (!headerless) t->header = gy_malloc(ctx, (size_t)t->columns * sizeof *t->header);
    if (!t->path || !t->text || !t->cell || !t->line || (!headerless && !t->header)) return GY_ERR_NOMEM;
    char *to = t->text;
    for (int64_t row = headerless ? 0 : -1; row < t->rows && next_row(&s); row++) {
        if (row >= 0) t->line[row] = s.line;
        for (int64_t j = 0; j < t->columns; j++) {
            cell c;
            gy_status st = next_cell(&s, &c);
            if (st != GY_OK) return st;
            *(row < 0 ? &t->header[j] : &t->cell[row * t->columns + j]) = to;
            to = copy_cell(&s, &c, to);
        }
    }
    return headerless ? GY_OK : check_header(t);
}

static gy_status parse(scanner s, const gy_table_args *args, gy_table *out) {
    const gy_bytes *src = s.src;
    if (s.end >= 3 && memcmp(s.p, "\xef\xbb\xbf", 3) == 0) s.at = 3;
    if (s.end >= 2 && (memcmp(s.p, "\xff\xfe", 2) == 0 || memcmp(s.p, "\xfe\xff", 2) == 0))
        return gy_bytes_fail(src, 0, "the text is UTF-16: expected UTF-8");
    const uint8_t *nul = s.end ? memchr(s.p, 0, (size_t)s.end) : NULL;
    if (nul) return gy_bytes_fail(src, (uint64_t)(nul - s.p), "a NUL byte: this is no text");
    s.separator = find_separator(&s, args);
    int64_t rows;
    gy_status st = count(s, &rows, &out->columns);
    out->ctx = src->ctx;
    return st == GY_OK ? fill(s, out, rows, args->headerless) : st;
}

gy_status gy_table_parse(const gy_bytes *src, gy_table_args args, gy_table *out) {
    scanner s = {.src = src, .end = src->size, .line = 1, .comment = args.comment};
    void *owned = NULL;
    memset(out, 0, sizeof *out);
    gy_status st = gy_bytes_borrow(src, 0, src->size, &s.p, &owned);
    if (st == GY_OK) st = parse(s, &args, out);
    gy_free(src->ctx, owned);
    if (st != GY_OK) gy_table_free(out);
    return st;
}

gy_status gy_table_read(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_table_args args, gy_table *out) {
    gy_bytes file = {0}, text = {0};
    uint8_t *inflated = NULL;
    uint64_t size = 0;
    memset(out, 0, sizeof *out);
    gy_status s = gy_bytes_open(ctx, path, limits, &file);
    if (s != GY_OK) return s;
    uint8_t magic[2] = {0};
    s = gy_bytes_read(&file, 0, magic, file.size < 2 ? 0 : 2);
    bool packed = magic[0] == 0x1f && magic[1] == 0x8b;
    if (s == GY_OK && packed) {
        s = gy_inflate(&file, 0, file.size, GY_DEFLATE_GZIP, UINT64_MAX, &inflated, &size);
        if (s == GY_OK) s = gy_bytes_from_memory(ctx, path, inflated, size, &file.limits, &text);
    }
    if (s == GY_OK) s = gy_table_parse(packed ? &text : &file, args, out);
    gy_bytes_close(&text);
    gy_free(ctx, inflated);
    gy_bytes_close(&file);
    return s;
}

void gy_table_free(gy_table *t) {
    if (t->ctx) {
        gy_free(t->ctx, t->path);
        gy_free(t->ctx, t->header);
        gy_free(t->ctx, t->cell);
        gy_free(t->ctx, t->line);
        gy_free(t->ctx, t->text);
    }
    memset(t, 0, sizeof *t);
}

/* ---- columns ----------------------------------------------------------------------------------- */

const char *gy_table_cell(const gy_table *t, int64_t row, int64_t column) {
    return t->cell[row * t->columns + column];
}

bool gy_cell_is_missing(const char *c) {
    return c[0] == 0 || strcmp(c, "n/a") == 0 || strcmp(c, "N/A") == 0 || strcmp(c, "NA") == 0;
}

static int64_t find_column(const gy_table *t, const char *name) {
    for (int64_t i = 0; t->header && i < t->columns; i++)
        if (strcmp(t->header[i], name) == 0) return i;
    return -1;
}

bool gy_table_has(const gy_table *t, const char *name) {
    return find_column(t, name) >= 0;
}

static int lower(char c) {
    return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : (unsigned char)c;
}

/* Edits (insert, delete, replace; case ignored) that turn a into b; names beyond 63 bytes are not compared. */
static int edit_distance(const char *a, const char *b) {
    enum { MOST = 63 };
    size_t n = strlen(a), m = strlen(b);
    int row[MOST + 1];
    if (n > MOST || m > MOST) return INT32_MAX;
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int best = diagonal + (lower(a[i - 1]) != lower(b[j - 1]));
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[m];
}

gy_status gy_table_column(const gy_table *t, const char *name, int64_t *out) {
    char shown[256], near[256];
    *out = find_column(t, name);
    if (*out >= 0) return GY_OK;
    gy_show_text(name, strlen(name), shown, sizeof shown);
    if (!t->header) return gy_fail(t->ctx, GY_ERR_USAGE, "%s: no column '%s': the table has no header", t->path, shown);
    int64_t best = 0;
    int least = INT32_MAX;
    for (int64_t i = 0; i < t->columns; i++) {
        int d = edit_distance(name, t->header[i]);
        if (d < least) {
            least = d;
            best = i;
        }
    }
    gy_show_text(t->header[best], strlen(t->header[best]), near, sizeof near);
    return gy_fail(t->ctx, GY_ERR_FORMAT, "%s: no column '%s' among %" PRId64 "; the nearest is '%s'", t->path, shown,
                   t->columns, near);
}

static gy_status fail_cell(const gy_table *t, int64_t row, int64_t column, const char *expected) {
    char shown[256], name[256];
    const char *c = gy_table_cell(t, row, column);
    gy_show_text(c, strlen(c), shown, sizeof shown);
    if (t->header) gy_show_text(t->header[column], strlen(t->header[column]), name, sizeof name);
    return gy_fail(t->ctx, GY_ERR_FORMAT, "%s: line %" PRId64 ", column %" PRId64 "%s%s%s: expected %s, found '%s'",
                   t->path, t->line[row], column + 1, t->header ? " '" : "", t->header ? name : "",
                   t->header ? "'" : "", expected, shown);
}

/* A cell without the blanks around it. */
static const char *trim(const char *c, size_t *n) {
    while (is_blank((uint8_t)*c)) c++;
    *n = strlen(c);
    while (*n && is_blank((uint8_t)c[*n - 1])) --*n;
    return c;
}

gy_status gy_table_numbers(const gy_table *t, int64_t column, double **out) {
    *out = gy_malloc(t->ctx, (size_t)t->rows * sizeof **out);
    if (!*out) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < t->rows; i++) {
        size_t n;
        const char *c = trim(gy_table_cell(t, i, column), &n);
        if (gy_cell_is_missing(c)) {
            (*out)[i] = NAN;
        } else if (!gy_parse_double(c, n, &(*out)[i])) {
            gy_free(t->ctx, *out);
            *out = NULL;
            return fail_cell(t, i, column, "a number");
        }
    }
    return GY_OK;
}

gy_status gy_table_integers(const gy_table *t, int64_t column, int64_t **out) {
    *out = gy_malloc(t->ctx, (size_t)t->rows * sizeof **out);
    if (!*out) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < t->rows; i++) {
        size_t n;
        const char *c = trim(gy_table_cell(t, i, column), &n);
        if (!gy_parse_int(c, n, &(*out)[i])) {
            gy_free(t->ctx, *out);
            *out = NULL;
            return fail_cell(t, i, column, "a whole number");
        }
    }
    return GY_OK;
}

gy_status gy_table_strings(const gy_table *t, int64_t column, const char ***out) {
    *out = gy_malloc(t->ctx, (size_t)t->rows * sizeof **out);
    if (!*out) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < t->rows; i++) (*out)[i] = gy_table_cell(t, i, column);
    return GY_OK;
}
