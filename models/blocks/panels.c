#include "panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

enum { COMMAND = 160 };

static gy_figure_head head(const gy_job *j, const gy_panel *a, char command[COMMAND]) {
    snprintf(command, COMMAND, "gyrus train %s --config %s --seed %" PRIu64, j->def->slug, j->config_name, j->seed);
    return (gy_figure_head){.title = a->title,
                            .caption = a->caption,
                            .alt = a->alt,
                            .command = command,
                            .n = a->n,
                            .n_of = a->n_of,
                            .chance = isnan(a->chance) ? gy_no_chance() : gy_chance_at(a->chance),
                            .side = GY_SIDE_NONE};
}

static gy_axis axis(const gy_panel *a) {
    return (gy_axis){.label = a->label, .unit = a->unit, .lo = a->lo, .hi = a->hi};
}

/* Puts a finished figure (s: of making it) into its panel. */
static gy_status show(const gy_job *j, gy_report *r, const gy_panel *a, gy_status s, gy_figure *f) {
    if (s != GY_OK) return s;
    s = gy_report_figure(r, a->panel, f);
    gy_figure_free(j->ctx, f);
    return s;
}

gy_status gy_panel_bars(const gy_job *j, gy_report *r, const gy_panel *a, int64_t n, const char *const *names,
                        const double *values) {
    char command[COMMAND];
    gy_figure f;
    gy_bar *bar = gy_calloc(j->ctx, (size_t)n, sizeof *bar);
    if (!bar) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) bar[i] = (gy_bar){.name = names[i], .value = values[i]};
    gy_bar_chart chart = {.head = head(j, a, command), .label = "model", .y = axis(a), .bars = bar, .n_bars = n};
    gy_status s = show(j, r, a, gy_figure_bars(j->ctx, &chart, &f), &f);
    gy_free(j->ctx, bar);
    return s;
}

gy_status gy_panel_histogram(const gy_job *j, gy_report *r, const gy_panel *a, int64_t n, const float *values) {
    char command[COMMAND];
    gy_figure f;
    double *v = gy_calloc(j->ctx, (size_t)n, sizeof *v);
    if (!v) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) v[i] = values[i];
    gy_histogram chart = {.head = head(j, a, command), .x = axis(a), .values = v, .n_values = n};
    gy_status s = show(j, r, a, gy_figure_histogram(j->ctx, &chart, &f), &f);
    gy_free(j->ctx, v);
    return s;
}

gy_status gy_panel_matrix(const gy_job *j, gy_report *r, const gy_panel *a, const gy_panel_matrix_args *m) {
    char command[COMMAND];
    gy_figure f;
    gy_heatmap chart = {.head = head(j, a, command),
                        .values = m->values,
                        .rows = m->rows,
                        .cols = m->cols,
                        .row_names = m->row_names,
                        .col_names = m->col_names,
                        .row_label = m->row_label,
                        .col_label = m->col_label,
                        .value = axis(a),
                        .row_normalised = m->shares,
                        .decimals = m->shares ? 2 : 0};
    return show(j, r, a, gy_figure_heatmap(j->ctx, &chart, &f), &f);
}
