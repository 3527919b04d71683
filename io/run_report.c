/* report.html of a run: the frame that all models share; a model adds its own panels. */
#include "files.h"
#include "report/html.h"
#include "run.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static void facts(gy_report *r, const gy_job *j, double seconds) {
    char text[128];
    gy_report_fact(r, "model", j->def->slug);
    gy_report_fact(r, "paper", j->def->cite);
    gy_report_fact(r, "configuration", j->config_name);
    gy_report_fact(r, "data", j->data_label);
    snprintf(text, sizeof text, "%" PRIu64, j->seed);
    gy_report_fact(r, "seed", text);
    snprintf(text, sizeof text, "%" PRId64 " of %" PRId64, j->step, j->steps);
    gy_report_fact(r, "steps", text);
    snprintf(text, sizeof text, "%" PRId64, gy_store_parameters(j->store));
    gy_report_fact(r, "parameters", text);
    snprintf(text, sizeof text, "%.1f s", seconds);
    gy_report_fact(r, "time", text);
    gy_report_fact(r, "version", GY_VERSION);
}

static gy_status curves(gy_ctx *ctx, gy_report *r, const gy_job *j, const char *dir, const char *command) {
    gy_run_curve c;
    gy_status s = gy_run_read_log(ctx, dir, &c);
    if (s != GY_OK || c.n_rows < 2) {
        if (s == GY_OK) gy_run_curve_free(ctx, &c);
        gy_error_clear(ctx);
        return gy_report_explain(r, "learning curve", "the run has fewer than two logged steps");
    }
    double *x = gy_malloc(ctx, (size_t)c.n_rows * sizeof *x),
           *y = gy_malloc(ctx, (size_t)(c.n_rows * c.n_columns) * sizeof *y);
    gy_series series[8];
    int64_t n = 0;
    for (int64_t k = 1; x && y && k < c.n_columns && n < 8; k++) {
        if (strncmp(c.names[k], "loss", 4) != 0) continue;
        for (int64_t i = 0; i < c.n_rows; i++) {
            x[i] = c.values[i * c.n_columns];
            y[k * c.n_rows + i] = c.values[i * c.n_columns + k];
        }
        series[n++] = (gy_series){.name = c.names[k], .n = c.n_rows, .x = x, .y = y + k * c.n_rows};
    }
    gy_line_chart chart = {
        .head = {.title = "Learning curve",
                 .caption =
                     "The training loss at the logged steps: it should fall and flatten. A rise at the end means the "
                     "learning rate was too large.",
                 .alt = "Line chart of the training loss against the step",
                 .command = command,
                 .n = c.n_rows,
                 .n_of = "logged steps",
                 .chance = gy_no_chance(),
                 .side = GY_SIDE_NONE},
        .x = {.label = "step", .unit = GY_NO_UNIT},
        .y = {.label = "loss", .unit = GY_NO_UNIT},
        .series = series,
        .n_series = n};
    gy_figure f;
    s = x && y ? gy_figure_line(ctx, &chart, &f) : GY_ERR_NOMEM;
    if (s == GY_OK) {
        s = gy_report_figure(r, "learning curve", &f);
        gy_figure_free(ctx, &f);
    }
    gy_free(ctx, x);
    gy_free(ctx, y);
    gy_run_curve_free(ctx, &c);
    (void)j;
    return s;
}

static gy_status metrics_table(gy_ctx *ctx, gy_report *r, const gy_metrics *m, const char *command) {
    static const char *const columns[] = {"metric", "value", "chance", "unit"};
    const char *cells[4 * GY_MAX_METRICS];
    char text[GY_MAX_METRICS][2][32];
    (void)ctx;
    if (!m->n) return gy_report_explain(r, "metrics", "the model defines no held-out metrics");
    for (int64_t i = 0; i < m->n; i++) {
        snprintf(text[i][0], 32, "%.4g", m->m[i].value);
        snprintf(text[i][1], 32, "%.4g", m->m[i].chance);
        cells[4 * i] = m->m[i].name;
        cells[4 * i + 1] = text[i][0];
        cells[4 * i + 2] = isfinite(m->m[i].chance) ? text[i][1] : "";
        cells[4 * i + 3] = m->m[i].unit;
    }
    gy_report_rows t = {.caption = "Metrics on held-out data; the unit is in the last column",
                        .command = command,
                        .columns = columns,
                        .cells = cells,
                        .n_columns = 4,
                        .n_rows = m->n};
    return gy_report_table(r, "metrics", &t);
}

gy_status gy_run_report(gy_run_folder *run, gy_job *j, const gy_metrics *metrics, double seconds, const char *command) {
    gy_ctx *ctx = j->ctx;
    const char *dir = gy_run_dir(run);
    gy_report *r;
    gy_status s =
        gy_report_new(ctx, (gy_report_args){.title = j->def->title, .subtitle = j->def->job, .command = command}, &r);
    if (s != GY_OK) return s;
    gy_report_plan(r, "metrics", "what the trained model reaches on data it has not seen");
    if (j->def->objective) gy_report_plan(r, "learning curve", "how the loss fell");
    facts(r, j, seconds);
    if (j->ablate) gy_report_fact(r, "ablation", j->ablate);
    gy_report_section(r, "Results");
    s = metrics_table(ctx, r, metrics, command);
    if (s == GY_OK && j->def->panels) s = j->def->panels(j, r);
    if (s == GY_OK && j->def->objective) {
        gy_report_section(r, "Training");
        s = curves(ctx, r, j, dir, command);
    }
    for (const char *const *e = j->def->equations; e && *e; e++) {
        if (e == j->def->equations) gy_report_section(r, "Equations");
        gy_report_formula(r, *e, NULL);
    }
    char *path = s == GY_OK ? gy_path_join(ctx, dir, "report.html") : NULL;
    if (s == GY_OK) s = path ? gy_report_write(r, path) : GY_ERR_NOMEM;
    gy_free(ctx, path);
    gy_report_free(r);
    return s;
}
