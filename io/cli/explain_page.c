/* gyrus explain SLUG -o page.html: the same table as on the terminal, and where the work goes, as one page. */
#include "explain.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- where the work goes ---- */

enum { BARS = 16, NAME = 48 };
typedef struct bars {
    gy_bar bar[BARS + 1]; /* the last: all other layers */
    char name[BARS + 1][NAME];
    int64_t n, layers; /* bars; layers there are */
} bars;

/* The first `depth` names of a scope: "encoder.0.attention" -> "encoder.0". */
static void head_of(const char *scope, int depth, char out[NAME]) {
    size_t n = 0;
    while (scope[n] && (scope[n] != '.' || --depth > 0)) n++;
    snprintf(out, NAME, "%.*s", (int)n, n ? scope : "-");
    if (!n) snprintf(out, NAME, "no layer");
}

/* Flops, or seconds, of each layer. Layers beyond the first BARS go to the last bar. */
static void gather(const gy_plan *p, int depth, bool seconds, bars *b) {
    gy_plan_info r = gy_plan_report(p);
    *b = (bars){0};
    for (int64_t i = 0; i < r.steps; i++) {
        gy_plan_step_info s = gy_plan_step(p, i);
        char name[NAME];
        int64_t k = 0;
        head_of(s.scope, depth, name);
        while (k < b->n && strcmp(b->name[k], name) != 0) k++;
        if (k == b->n && k < BARS) {
            snprintf(b->name[b->n++], NAME, "%s", name);
            b->layers++;
        } else if (k == b->n) {
            k = BARS;
            b->layers++; /* steps of layers that have no bar: enough to know that there are some */
        }
        b->bar[k].value += seconds ? s.seconds : s.flops;
    }
    if (b->layers > b->n) snprintf(b->name[BARS], NAME, "other layers");
}

/* The finest cut into layers that still fits the chart; one by names alone if none does. */
static void cut(const gy_plan *p, bool seconds, bars *b) {
    int depth = 1;
    for (int d = 2; d <= 4; d++) {
        gather(p, d, seconds, b);
        if (b->layers > BARS) break;
        depth = d;
    }
    gather(p, depth, seconds, b);
    if (b->layers > b->n) b->n++;
    for (int64_t i = 0; i < b->n; i++) b->bar[i].name = b->name[i];
}

static gy_status chart(gy_ctx *ctx, gy_report *report, const gy_plan *p, bool seconds, const char *command) {
    const char *panel = seconds ? "time" : "work";
    bars b;
    double sum = 0;
    cut(p, seconds, &b);
    for (int64_t i = 0; i < b.n; i++) sum += b.bar[i].value;
    if (!(sum > 0)) return gy_report_explain(report, panel, "no step of this model counts any");
    for (int64_t i = 0; i < b.n; i++) b.bar[i].value *= 100 / sum;
    gy_bar_chart c = {.head = {.title = seconds ? "Where the time goes" : "Where the work goes",
                               .caption = seconds
                                              ? "Share of the measured time of a forward pass that each layer takes."
                                              : "Share of the floating-point operations of a forward pass that each "
                                                "layer takes.",
                               .alt = seconds ? "Bar chart of each layer's share of the time"
                                              : "Bar chart of each layer's share of the operations",
                               .command = command,
                               .n = gy_plan_report(p).steps,
                               .n_of = "steps of the plan",
                               .chance = gy_no_chance(),
                               .side = GY_SIDE_NONE},
                      .label = "layer",
                      .y = {.label = seconds ? "time" : "operations", .unit = "%"},
                      .bars = b.bar,
                      .n_bars = b.n};
    gy_figure f;
    gy_status s = gy_figure_bars(ctx, &c, &f);
    if (s != GY_OK) return s;
    s = gy_report_figure(report, panel, &f);
    gy_figure_free(ctx, &f);
    return s;
}

/* ---- the table ---- */

enum { COLUMNS = 10, MOST_ROWS = 3000 }; /* longer tables are hard to read; a row takes some 250 bytes */

static gy_status table(gy_ctx *ctx, gy_report *report, const gy_job *j, const gy_plan *p, const int64_t *own,
                       bool timed, const char *command) {
    static const char *const columns[COLUMNS] = {"step",       "layer", "operator", "formula", "result",
                                                 "parameters", "work",  "moved",    "kernel",  "time in us"};
    int64_t all = gy_plan_report(p).steps, n = all < MOST_ROWS ? all : MOST_ROWS, shown = timed ? COLUMNS : COLUMNS - 1,
            made = 0;
    char **cell = gy_calloc(ctx, (size_t)(n * shown) + 1, sizeof *cell), shape[GY_SHAPE_TEXT], formula[512], text[32];
    gy_status s = cell ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        gy_plan_step_info t = gy_plan_step(p, i);
        int64_t parameters = own[i];
        char **row = cell + i * shown;
        row[0] = gy_format(ctx, "%" PRId64, i);
        row[1] = gy_strdup(ctx, *t.scope ? t.scope : "-");
        row[2] = gy_strdup(ctx, t.fused ? t.fused : t.op);
        row[3] = gy_strdup(ctx, cli_step_formula(&t, formula));
        row[4] = gy_format(ctx, "%s %s", gy_dtype_name(t.dtype), gy_shape_text(t.shape, shape));
        row[5] = parameters ? gy_format(ctx, "%" PRId64, parameters) : gy_strdup(ctx, "");
        row[6] = gy_strdup(ctx, t.flops > 0 ? cli_count_text(t.flops, "FLOP", text) : "");
        row[7] = gy_strdup(ctx, cli_bytes_text(t.bytes, text));
        row[8] = gy_strdup(ctx, t.kernel);
        if (timed) row[9] = gy_format(ctx, "%.1f", 1e6 * t.seconds / CLI_EXPLAIN_RUNS);
        made = (i + 1) * shown;
        for (int64_t k = 0; k < shown; k++)
            if (!row[k]) s = GY_ERR_NOMEM;
    }
    gy_report_rows rows = {.caption = "The forward pass as it runs, a row a step. A layer's parameters stand at its "
                                      "first step; work is in floating-point operations, moved is in bytes read and "
                                      "written",
                           .command = command,
                           .columns = columns,
                           .cells = (const char *const *)cell,
                           .n_columns = shown,
                           .n_rows = n};
    if (s == GY_OK) s = gy_report_table(report, "steps", &rows);
    char more[128];
    snprintf(more, sizeof more, "The first %" PRId64 " of %" PRId64 " steps; `gyrus explain %s` prints all.", n, all,
             j->def->slug);
    if (s == GY_OK && n < all) s = gy_report_text(report, more);
    for (int64_t i = 0; i < made; i++) gy_free(ctx, cell[i]);
    gy_free(ctx, cell);
    return s;
}

/* ---- the page ---- */

static void facts(gy_report *report, const gy_job *j, const gy_plan *p) {
    gy_plan_info r = gy_plan_report(p);
    char text[64];
    gy_report_fact(report, "model", j->def->slug);
    gy_report_fact(report, "paper", j->def->cite);
    gy_report_fact(report, "configuration", j->config_name);
    snprintf(text, sizeof text, "%" PRId64, j->batch);
    gy_report_fact(report, "batch", text);
    snprintf(text, sizeof text, "%" PRId64, gy_store_parameters(j->store));
    gy_report_fact(report, "parameters", text);
    gy_report_fact(report, "work", cli_count_text(r.flops, "FLOP", text));
    gy_report_fact(report, "moved", cli_bytes_text(r.bytes, text));
    gy_report_fact(report, "working memory", cli_bytes_text((double)r.arena_bytes, text));
    gy_report_fact(report, "version", GY_VERSION);
}

gy_status cli_explain_page(gy_ctx *ctx, const cli_args *a, const gy_job *j, const gy_plan *p, const int64_t *own,
                           bool timed, const char *path, const char *command) {
    gy_report *report;
    gy_report_args args = {.title = j->def->title, .subtitle = j->def->job, .command = command};
    gy_status s = gy_report_new(ctx, args, &report);
    if (s != GY_OK) return s;
    gy_report_plan(report, "work", "which layers the operations belong to");
    gy_report_plan(report, "time", "which layers the time goes to");
    gy_report_plan(report, "activations", "what flows through the model when it reads its data");
    gy_report_plan(report, "steps", "every step: formula, shape, parameters, work, kernel");
    facts(report, j, p);
    for (const char *const *e = j->def->equations; e && *e; e++) {
        if (e == j->def->equations) gy_report_section(report, "Equations");
        gy_report_formula(report, *e, NULL);
    }
    gy_report_section(report, "Layers");
    s = chart(ctx, report, p, false, command);
    if (s == GY_OK)
        s = timed ? chart(ctx, report, p, true, command)
                  : gy_report_explain(report, "time", "it was not measured: `--time` runs the model on zeros");
    gy_plan_info r = gy_plan_report(p);
    double bytes = (double)r.arena_bytes + 4 * (double)gy_store_parameters(j->store);
    gy_report_section(report, "What flows through");
    if (s == GY_OK) s = cli_explain_activations(ctx, a, bytes, report, "activations", command);
    gy_report_section(report, "Step by step");
    if (s == GY_OK) s = table(ctx, report, j, p, own, timed, command);
    gy_report_term(report, "FLOP", "one floating-point operation; a multiplication and an addition are two");
    gy_report_term(report, "kernel", "the routine that runs a step on this machine, with its instruction set");
    gy_report_term(report, "step", "one operator, or several fused into one, as the plan runs them in turn");
    if (s == GY_OK) s = gy_report_write(report, path);
    gy_report_free(report);
    return s;
}
