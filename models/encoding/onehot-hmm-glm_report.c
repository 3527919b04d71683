/* One-hot HMM-GLM, last part: the charts of the report. The model is in onehot-hmm-glm.c. */
#include "onehot-hmm-glm.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static gy_figure_head head(const gy_job *j, const char *title, const char *caption, const char *alt, int64_t n,
                           const char *n_of, char command[160]) {
    snprintf(command, 160, "gyrus train %s --config %s --seed %" PRIu64 "%s%.60s", j->def->slug, j->config_name,
             j->seed, j->data_path ? " --data " : "", j->data_path ? j->data_path : "");
    return (gy_figure_head){.title = title,
                            .caption = caption,
                            .alt = alt,
                            .command = command,
                            .n = n,
                            .n_of = n_of,
                            .chance = gy_no_chance(),
                            .side = GY_SIDE_NONE};
}

/* One matrix [rows, M] of weights as a picture in `panel`. */
static gy_status weight_map(const gy_job *j, gy_report *report, const char *panel, const char *title, int64_t rows,
                            const char *const *row_names, const char *row_label, const double *w) {
    const series *d = &((const lab *)j->data)->data;
    char command[160];
    gy_figure f;
    gy_heatmap map = {.head =
                          head(j, title,
                               "Each row is driven by the columns: blue lowers, orange raises the rate (or the odds of "
                               "answer 1), white does nothing.",
                               "Matrix of signed weights", rows * d->covariates, "weights", command),
                      .values = w,
                      .rows = rows,
                      .cols = d->covariates,
                      .row_names = row_names,
                      .col_names = d->covariate && d->input_name[0] ? d->input_name : NULL,
                      .row_label = row_label,
                      .col_label = d->covariate ? "covariate" : "from neuron",
                      .value = {.label = "weight", .unit = GY_NO_UNIT},
                      .decimals = 1,
                      .map = GY_MAP_DIVERGING};
    gy_status e = gy_figure_heatmap(j->ctx, &map, &f);
    if (e == GY_OK) e = gy_report_figure(report, panel, &f);
    if (e == GY_OK) gy_figure_free(j->ctx, &f);
    return e;
}

/* The inferred graph of each state and, where it is known, the true one beside it. */
static gy_status graph_panels(const gy_job *j, gy_report *report) {
    const lab *d = j->data;
    int64_t s = ((const config *)j->cfg)->states, n = d->data.outputs, each = n * d->data.covariates;
    gy_status e = GY_OK;
    if (n == 1) {
        char name[MAX_STATES][16];
        const char *names[MAX_STATES];
        for (int64_t i = 0; i < s; i++) {
            snprintf(name[i], sizeof name[i], "state %" PRId64, i + 1);
            names[i] = name[i];
        }
        gy_report_plan(report, "weights", "what each covariate does in each state");
        return weight_map(j, report, "weights", "What counts in which state", s, names, "state", d->found.weight);
    }
    for (int64_t i = 0; e == GY_OK && i < s; i++) {
        char panel[32], title[64];
        snprintf(panel, sizeof panel, "graph %" PRId64, i + 1);
        snprintf(title, sizeof title, "State %" PRId64 ": the graph as inferred", i + 1);
        gy_report_plan(report, panel, "who drives whom in this state");
        e = weight_map(j, report, panel, title, n, NULL, "to neuron", d->found.weight + i * each);
        if (e != GY_OK || !d->true_.weight) continue;
        snprintf(panel, sizeof panel, "true graph %" PRId64, i + 1);
        snprintf(title, sizeof title, "State %" PRId64 ": the graph that made the spikes", i + 1);
        gy_report_plan(report, panel, "the generator's own weights");
        e = weight_map(j, report, panel, title, n, NULL, "to neuron", d->true_.weight + d->found.match[i] * each);
    }
    return e;
}

static gy_status state_panel(const gy_job *j, gy_report *report) {
    const lab *d = j->data;
    int64_t s = ((const config *)j->cfg)->states, t = d->data.steps[d->data.train];
    char command[160], name[MAX_STATES][16];
    gy_series line[MAX_STATES + 1];
    gy_figure f;
    double *y = gy_calloc(j->ctx, (size_t)t, (size_t)(s + 1) * sizeof *y);
    if (!y) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < s; i++) {
        snprintf(name[i], sizeof name[i], "state %" PRId64, i + 1);
        for (int64_t k = 0; k < t; k++) y[i * t + k] = d->found.gamma[k * s + i];
        line[i] = (gy_series){.name = name[i], .n = t, .y = y + i * t};
    }
    for (int64_t k = 0; d->data.state && k < t; k++) /* the probability given to the true state */
        for (int64_t i = 0; i < s; i++)
            if (d->found.match[i] == d->data.state[d->data.train * d->data.length + k])
                y[s * t + k] = d->found.gamma[k * s + i];
    if (d->data.state) line[s] = (gy_series){.name = "given to the true state", .n = t, .y = y + s * t};
    gy_line_chart chart = {.head = head(j, "A held-out sequence",
                                        "The probability of each state, from all of the sequence. One line is near 1 "
                                        "most of the time when states are well told apart.",
                                        "Lines: probability of each state against time", t, "bins", command),
                           .x = {.label = d->data.covariate ? "trial" : "bin", .unit = GY_NO_UNIT},
                           .y = {.label = "probability", .unit = GY_NO_UNIT, .lo = 0, .hi = 1},
                           .series = line,
                           .n_series = s + (d->data.state != NULL)};
    gy_report_plan(report, "states", "when the model sees the states switch");
    gy_status e = gy_figure_line(j->ctx, &chart, &f);
    if (e == GY_OK) e = gy_report_figure(report, "states", &f);
    if (e == GY_OK) gy_figure_free(j->ctx, &f);
    gy_free(j->ctx, y);
    return e;
}

gy_status gy_ohg_panels(gy_job *j, void *report) {
    const lab *d = j->data;
    const findings *f = &d->found;
    if (!f->done) return GY_OK;
    bool known = d->data.state != NULL;
    gy_panel found = {.panel = "prediction",
                      .title = known ? "How far from the best possible prediction" : "What switching states gain",
                      .caption = known
                                     ? "Held-out log-likelihood lost against the generator's own parameters: lower is "
                                       "better, 0 cannot be passed."
                                     : "Held-out log-likelihood gained over the same model with one state: higher is "
                                       "better.",
                      .alt = "Two bars: the chosen model and free weights",
                      .label = known ? "lost" : "gained",
                      .unit = "nat a bin",
                      .n = d->data.n - d->data.train,
                      .n_of = "held-out sequences",
                      .chance = NAN};
    double to = known ? f->oracle : f->single, sign = known ? 1 : -1;
    gy_report_plan(report, "prediction", "how well held-out sequences are predicted");
    gy_report_text(
        report, "A hidden state switches now and then, and each state has a graph of its own. The one-hot model gives "
                "every possible connection a kind (inhibitory, none, excitatory) and a strength; the kinds of all "
                "states lean on one shared prior. Free weights have no kinds: every connection gets some weight.");
    gy_status e = gy_panel_bars(j, report, &found, 2, (const char *[]){((const config *)j->cfg)->model, "free weights"},
                                (double[]){sign * (to - f->log_likelihood), sign * (to - f->free)});
    if (e == GY_OK) e = state_panel(j, report);
    if (e == GY_OK) e = graph_panels(j, report);
    gy_report_term(report, "HMM",
                   "hidden Markov model: a state that cannot be seen and switches by fixed probabilities");
    gy_report_term(report, "one-hot", "a vector of zeros with a single one: which of several kinds something is");
    return e;
}
