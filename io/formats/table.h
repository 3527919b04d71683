/* table.h: tables of text: CSV (RFC 4180), TSV (as BIDS uses it) and blank-separated columns.
 *
 * Nothing here depends on the locale: the decimal mark is a point on every machine. Cells are kept as the
 * file's text; numbers are made on demand, so that a column that is never asked for cannot refuse a file. */
#ifndef GY_IO_TABLE_H
#define GY_IO_TABLE_H

#include "../bytes.h"

typedef struct gy_table_args {
    /* '\t', ',', ';' or ' ' (any run of blanks and tabs, none at the ends counts, no quotes); 0: a name that
     * ends in .tsv means tab, else whichever of tab, comma, semicolon the first line has most of; a headerless
     * table with none of them is separated by blanks. */
    char separator;
    bool headerless; /* the first line holds data; columns are known by index */
    char comment;    /* lines that begin with it are skipped; 0: none are */
} gy_table_args;

/* rows x columns cells. All strings are NUL-terminated (a NUL byte in the file is refused) but otherwise a
 * stranger's: show them through gy_show_text. */
typedef struct gy_table {
    gy_ctx *ctx;
    char *path;
    int64_t rows, columns;
    const char **header; /* [columns]; NULL when headerless */
    const char **cell;   /* [rows * columns], row-major */
    int64_t *line;       /* [rows]: where each row begins in the file, from 1 */
    char *text;          /* what header and cell point into */
} gy_table;

/* Reads a table (also one behind gzip). A byte-order mark is skipped; lines end in LF, CRLF or CR; lines
 * without any character are skipped; a cell in "quotes" may hold separators, line ends and "" for ". Refused
 * with the line number: rows of another length than the first, a quote that never ends or is followed by text,
 * NUL bytes, UTF-16, the same column name twice, a file without a line, lines and columns beyond the limits.
 * An empty column name is legal (R writes one); such a column is reached by index. */
gy_status gy_table_read(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_table_args args,
                        gy_table *out) GY_MUST_CHECK;
gy_status gy_table_parse(const gy_bytes *src, gy_table_args args, gy_table *out) GY_MUST_CHECK;
void gy_table_free(gy_table *t); /* all-zero is fine */

const char *gy_table_cell(const gy_table *t, int64_t row, int64_t column);
bool gy_table_has(const gy_table *t, const char *name);
/* The index of a column; the message of a failure offers the nearest name. */
gy_status gy_table_column(const gy_table *t, const char *name, int64_t *out) GY_MUST_CHECK;
/* "", "n/a", "N/A" and "NA" mean: no value. */
bool gy_cell_is_missing(const char *cell);

/* A column's values [rows], to be freed by gy_free (the strings themselves belong to the table). Missing
 * cells become NaN in gy_table_numbers and are refused in gy_table_integers; anything else that is not
 * a number, or not a whole one, is refused with file, line and column. */
gy_status gy_table_numbers(const gy_table *t, int64_t column, double **out) GY_MUST_CHECK;
gy_status gy_table_integers(const gy_table *t, int64_t column, int64_t **out) GY_MUST_CHECK;
gy_status gy_table_strings(const gy_table *t, int64_t column, const char ***out) GY_MUST_CHECK;

/* ---- writing ---------------------------------------------------------------------------------- */

/* One column: numbers or texts, [rows]. */
typedef struct gy_table_data {
    const char *name;
    const double *numbers;    /* NaN is written as n/a; the shortest digits that give the same double back */
    const char *const *texts; /* used when numbers is NULL; a NULL text is written as n/a */
} gy_table_data;

/* Writes header and rows, LF ends. Cells that need it are quoted. A text that a spreadsheet would run as a formula
 * (first character = + - @, tab or CR, and not a number) gets an apostrophe in front, inside quotes; it stays
 * there when the table is read again. Atomic (files.h). separator: ',' or '\t' or ';'. */
gy_status gy_table_write(gy_ctx *ctx, const char *path, char separator, const gy_table_data *columns, int64_t count,
                         int64_t rows) GY_MUST_CHECK;

/* The shortest decimal text that reads back as x: "0.1", "1e-07", "nan", "-inf"; buf holds at least 32 bytes. */
char *gy_number_text(double x, char buf[32]);

/* ---- BIDS events ------------------------------------------------------------------------------ */

/* An events.tsv (Brain Imaging Data Structure, "Task events"): one row an event. */
typedef struct gy_events {
    gy_table table; /* all columns, the extra ones too */
    int64_t count;
    double *onset;           /* seconds from the first volume or sample; may be negative */
    double *duration;        /* seconds; 0 a moment, NaN unknown (n/a) */
    const char **trial_type; /* NULL when the file has no such column; "n/a" where it is missing */
} gy_events;

/* Refused: no onset or duration column, an onset that is no finite number, a negative or infinite duration. A
 * warning: onsets that go backwards. */
gy_status gy_events_read(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_events *out) GY_MUST_CHECK;
gy_status gy_events_parse(const gy_bytes *src, gy_events *out) GY_MUST_CHECK;
void gy_events_free(gy_events *e);

/* Writes onset, duration, trial_type (unless NULL) and the `extra` columns as events.tsv; same checks. */
gy_status gy_events_write(gy_ctx *ctx, const char *path, int64_t count, const double *onset, const double *duration,
                          const char *const *trial_type, const gy_table_data *extra, int64_t extras) GY_MUST_CHECK;

#endif
