/* html.h: a report is one HTML file that needs nothing else: no script, no font, no picture from
 * elsewhere. It follows the reader's light or dark setting and prints.
 *
 * A report first plans its panels; each must then be filled or explained. Writing a report with a
 * panel that is neither writes a box that says so, hence a reader never wonders what is missing.
 *
 * All strings are escaped; `code` between backticks is set as code. Errors stick: after a failure
 * the calls do nothing and return the first failure, so a caller may check gy_report_write alone. */
#ifndef GY_REPORT_HTML_H
#define GY_REPORT_HTML_H

#include "figure.h"

enum { GY_REPORT_MAX_BYTES = 5000000 };

typedef struct gy_report gy_report;
typedef struct gy_report_args {
    const char *title;    /* required */
    const char *subtitle; /* one or two sentences: what was asked and what came out; may be NULL */
    const char *command;  /* required: the command line that writes this report */
} gy_report_args;
gy_status gy_report_new(gy_ctx *ctx, gy_report_args args, gy_report **out) GY_MUST_CHECK;
void gy_report_free(gy_report *r); /* NULL is fine */

/* Announces a panel by a short name (unique) and what it will show. */
gy_status gy_report_plan(gy_report *r, const char *panel, const char *shows);
/* A row of the table of run facts at the top: "seed", "1". */
gy_status gy_report_fact(gy_report *r, const char *name, const char *value);

/* The body, in the order of the calls. `panel` names the planned panel that this fills, NULL: none; an unknown
 * name or one that is already filled or explained is GY_ERR_USAGE. */
gy_status gy_report_section(gy_report *r, const char *heading);
gy_status gy_report_text(gy_report *r, const char *text); /* an empty line starts a new paragraph */
gy_status gy_report_formula(gy_report *r, const char *formula, const char *meaning); /* Unicode text; meaning or NULL */
gy_status gy_report_figure(gy_report *r, const char *panel, const gy_figure *figure);
typedef struct gy_report_rows {
    const char *caption;        /* required; says the units */
    const char *command;        /* required: what makes these numbers again */
    const char *const *columns; /* n_columns headings */
    const char *const *cells;   /* [n_rows, n_columns], row-major; a cell that is a number is set right */
    int64_t n_columns, n_rows;
} gy_report_rows;
gy_status gy_report_table(gy_report *r, const char *panel, const gy_report_rows *table);
/* Why a planned panel is not there ("the data has one run: nothing to hold out"). */
gy_status gy_report_explain(gy_report *r, const char *panel, const char *reason);
/* What follows until gy_report_details_end is folded away behind a summary line. They do not nest. */
gy_status gy_report_details(gy_report *r, const char *summary);
gy_status gy_report_details_end(gy_report *r);
/* An entry of the glossary at the end, in the order of the calls; the same term twice is kept once. */
gy_status gy_report_term(gy_report *r, const char *term, const char *meaning);

/* Ends the report, explains what is still missing and writes it through files.h. More than
 * GY_REPORT_MAX_BYTES is GY_ERR_USAGE, naming the largest figure, and writes nothing. */
gy_status gy_report_write(gy_report *r, const char *path) GY_MUST_CHECK;
/* The same bytes in memory; owned. */
gy_status gy_report_bytes(gy_report *r, char **html, size_t *size) GY_MUST_CHECK;

#endif
