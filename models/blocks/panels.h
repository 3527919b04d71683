/* panels.h: the charts that most papers' reports need, in a few words. What a figure must say about itself (figure.h)
 * is given in `about`; the command is the job's own. */
#ifndef GY_BLOCKS_PANELS_H
#define GY_BLOCKS_PANELS_H

#include "../../core/model.h"
#include "../../io/report/html.h"

typedef struct gy_panel {
    const char *panel; /* planned in the report */
    const char *title, *caption, *alt;
    const char *label, *unit; /* of the value axis */
    double lo, hi;            /* its range; equal: from the data */
    int64_t n;                /* observations */
    const char *n_of;
    double chance; /* NaN: none */
} gy_panel;

/* One bar a name. */
gy_status gy_panel_bars(const gy_job *j, gy_report *r, const gy_panel *about, int64_t n, const char *const *names,
                        const double *values) GY_MUST_CHECK;
/* The distribution of n values. */
gy_status gy_panel_histogram(const gy_job *j, gy_report *r, const gy_panel *about, int64_t n,
                             const float *values) GY_MUST_CHECK;
/* A matrix of counts or shares [rows, cols], row-major; names may be NULL. With `shares` each row is divided by its
 * sum. */
typedef struct gy_panel_matrix_args {
    int64_t rows, cols;
    const double *values;
    const char *const *row_names, *const *col_names;
    const char *row_label, *col_label;
    bool shares;
} gy_panel_matrix_args;
gy_status gy_panel_matrix(const gy_job *j, gy_report *r, const gy_panel *about,
                          const gy_panel_matrix_args *a) GY_MUST_CHECK;

#endif
