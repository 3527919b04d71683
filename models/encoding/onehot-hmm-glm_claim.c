/* One-hot HMM-GLM, third part: what is measured and claimed. Held-out log-likelihood a bin, states, and the signed
 * graph against the truth of the generated world; then the charts of the report. The model is in onehot-hmm-glm.c. */
#include "onehot-hmm-glm.h"
#include "../../core/linalg/linalg.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- what a trained phase says about the held-out sequences ---- */

/* Results of one phase; weight [S, N, M] and gamma [length, S] of the first held-out sequence are owned. */
typedef struct result {
    double log_likelihood; /* a bin (trial), held out */
    double accuracy;       /* one-step-ahead right guesses of a response of two values */
    double state_accuracy;
    int64_t match[MAX_STATES];
    double *weight, *gamma;
} result;

static void result_free(gy_ctx *ctx, result *r) {
    gy_free(ctx, r->weight);
    gy_free(ctx, r->gamma);
    r->weight = r->gamma = NULL;
}

/* Log emissions [T, S] of held-out sequence q under the generator's own parameters. */
static void true_emission(const gy_job *j, int64_t q, double *l) {
    const lab *d = j->data;
    const config *c = j->cfg;
    int64_t len = d->data.length, s = c->states, n = d->data.outputs;
    for (int64_t i = 0; i < len * s; i++) {
        l[i] = 0;
        for (int64_t k = 0; k < n; k++)
            l[i] += gy_ohg_log_probability(c, (double)d->data.count[(q * len + i / s) * n + k],
                                           d->true_.logit[((q * len + i / s) * s + i % s) * n + k]);
    }
}

/* Filters and smooths every held-out sequence. em NULL: the oracle. confusion [S, S]: true by inferred (Viterbi). */
static gy_status smooth(gy_job *j, const gy_hmm *h, gy_compiled *em, result *r, double *confusion) {
    const series *d = &((lab *)j->data)->data;
    int64_t s = h->states, room = d->length, *path = gy_calloc(j->ctx, (size_t)room, sizeof *path);
    double *l = gy_calloc(j->ctx, (size_t)room, (size_t)(2 * s + 1) * sizeof *l), total = 0, bins = 0, right = 0;
    gy_status e = l && path ? GY_OK : GY_ERR_NOMEM;
    double *gamma = l ? l + room * s : NULL, *step = l ? gamma + room * s : NULL;
    for (int64_t q = d->train; e == GY_OK && q < d->n; q++) {
        double one;
        int64_t t = d->steps[q];
        if (em) {
            gy_ohg_feed(d, em->plan, q, 1);
            e = gy_plan_run(em->plan);
            const float *out = gy_plan_output(em->plan, "log_emission").data;
            for (int64_t i = 0; i < t * s; i++) l[i] = out[i];
        } else
            true_emission(j, q, l);
        if (e == GY_OK) e = gy_la_hmm_posterior(j->ctx, h, t, l, gamma, NULL, step, &one);
        if (e == GY_OK) e = gy_la_hmm_viterbi(j->ctx, h, t, l, path, NULL);
        if (e != GY_OK) break;
        total += one;
        bins += (double)t;
        for (int64_t i = 0; i < t; i++) {
            right += step[i] > log(0.5);
            if (d->state) confusion[d->state[q * room + i] * s + path[i]]++;
        }
        if (q == d->train && r->gamma) memcpy(r->gamma, gamma, (size_t)(t * s) * sizeof *gamma);
    }
    r->log_likelihood = total / bins;
    r->accuracy = right / bins;
    gy_free(j->ctx, l);
    gy_free(j->ctx, path);
    return e;
}

static gy_status measure(gy_job *j, int64_t phase, result *r) {
    const config *c = j->cfg;
    const series *d = &((lab *)j->data)->data;
    int64_t s = c->states, edges = s * d->outputs * d->covariates;
    double confusion[MAX_STATES * MAX_STATES] = {0}, log_a[MAX_STATES * MAX_STATES], start[MAX_STATES], sum = 0, hit;
    gy_compiled em;
    *r = (result){0};
    gy_status e = gy_ohg_compile(j, phase, HARD, 1, &em);
    if (e != GY_OK) return e;
    const float *a = gy_ohg_state(j, phase, "log_transition")->value.data;
    for (int64_t i = 0; i < s * s; i++) log_a[i] = a[i];
    for (int64_t i = 0; i < s; i++) start[i] = -log((double)s);
    gy_hmm h = {s, start, log_a};
    r->weight = gy_calloc(j->ctx, (size_t)edges, sizeof *r->weight);
    r->gamma = gy_calloc(j->ctx, (size_t)d->length, (size_t)s * sizeof *r->gamma);
    e = r->weight && r->gamma ? smooth(j, &h, &em, r, confusion) : GY_ERR_NOMEM;
    if (e == GY_OK) {
        const float *w = gy_plan_output(em.plan, "weight").data;
        for (int64_t i = 0; i < edges; i++) r->weight[i] = w[i];
    }
    gy_compiled_free(&em);
    for (int64_t i = 0; i < s; i++) r->match[i] = i;
    for (int64_t i = 0; i < s * s; i++) sum += confusion[i];
    if (e == GY_OK && d->state) {
        int64_t inferred[MAX_STATES];
        e = gy_la_assign(j->ctx, s, s, confusion, s, true, inferred, &hit);
        for (int64_t i = 0; e == GY_OK && i < s; i++) r->match[inferred[i]] = i;
        r->state_accuracy = hit / sum;
    }
    if (e != GY_OK) result_free(j->ctx, r);
    return e;
}

static gy_status oracle(gy_job *j, double *log_likelihood) {
    int64_t s = ((const config *)j->cfg)->states;
    double log_a[MAX_STATES * MAX_STATES], start[MAX_STATES], confusion[MAX_STATES * MAX_STATES];
    for (int64_t i = 0; i < s * s; i++) log_a[i] = log(s == 1 ? 1 : i / s == i % s ? 0.98 : 0.02 / (double)(s - 1));
    for (int64_t i = 0; i < s; i++) start[i] = -log((double)s);
    gy_hmm h = {s, start, log_a};
    result r = {0};
    gy_status e = smooth(j, &h, NULL, &r, confusion);
    *log_likelihood = r.log_likelihood;
    return e;
}

/* F1 of signed edges off the diagonal, an edge being a weight beyond +-threshold; the root mean square error. */
static void graph_errors(const gy_job *j, const result *r, double threshold, double *f1, double *rmse) {
    const lab *d = j->data;
    int64_t s = ((const config *)j->cfg)->states, n = d->data.outputs, m = d->data.covariates;
    double hit = 0, said = 0, there = 0, square = 0, count = 0;
    for (int64_t i = 0; i < s * n * m; i++) {
        if (!d->data.covariate && i / m % n == i % m) continue;
        double w = r->weight[i], t = d->true_.weight[r->match[i / (n * m)] * n * m + i % (n * m)];
        bool edge = fabs(w) > threshold;
        said += edge;
        there += t != 0;
        hit += edge && t * w > 0;
        square += (w - t) * (w - t);
        count++;
    }
    *f1 = said + there > 0 ? 2 * hit / (said + there) : 0;
    *rmse = sqrt(square / count);
}

/* The free model's F1 at the threshold that suits it best. */
static double best_f1(const gy_job *j, const result *r) {
    double best = 0;
    for (double t = 0; t < 3; t += 0.05) {
        double f1, rmse;
        graph_errors(j, r, t, &f1, &rmse);
        best = fmax(best, f1);
    }
    return best;
}

/* The share of pairs whose likeliest kind in the learned prior is that of the true one. */
static double prior_agreement(const gy_job *j) {
    const lab *d = j->data;
    const float *p = gy_ohg_state(j, 1, "theta0")->value.data;
    int64_t n = d->data.outputs, m = d->data.covariates;
    double same = 0, count = 0;
    for (int64_t i = 0; i < n * m; i++) {
        int a = 0, b = 0;
        if (!d->data.covariate && i / m == i % m) continue;
        for (int k = 1; k < CLASSES; k++) {
            if (p[i * CLASSES + k] > p[i * CLASSES + a]) a = k;
            if (d->true_.prior[i * CLASSES + k] > d->true_.prior[i * CLASSES + b]) b = k;
        }
        same += a == b;
        count++;
    }
    return same / count;
}

/* ---- jobs of their own ---- */

/* A job on the same data with another configuration, trained. `from`: phase 0 is taken from it, not trained again. */
static gy_status train_other(const gy_job *j, const config *c, const gy_job *from, gy_job *out) {
    gy_status e = gy_job_init(out, j->ctx, j->def, j->config_name, NULL, 0);
    if (e != GY_OK) return e;
    memcpy(out->cfg, c, sizeof *c);
    out->seed = j->seed;
    out->ablate = j->ablate;
    out->data_path = j->data_path;
    e = gy_job_open(out);
    for (int64_t i = 0; from && e == GY_OK && i < gy_store_count(from->store); i++) {
        const gy_state *a = gy_store_at(from->store, i);
        if (strncmp(a->name, "start.", 6) != 0) continue;
        gy_state *b = gy_state_get(out->store, a->name, a->kind, a->value.dtype, a->value.shape, (gy_init){0}, 0);
        if (!b) return gy_error_status(j->ctx);
        memcpy(b->value.data, a->value.data, gy_tensor_bytes(&a->value));
    }
    if (from) out->step = c->warm_steps;
    return e == GY_OK ? gy_job_train(out) : e;
}

/* One state only: an ordinary GLM, what a switching one has to beat. */
static gy_status single_state(const gy_job *j, double *log_likelihood) {
    config c = *(const config *)j->cfg;
    gy_job one;
    result r = {0};
    snprintf(c.model, sizeof c.model, "hg");
    c.states = c.restarts = 1;
    c.warm_steps += c.steps;
    c.steps = 0;
    gy_status e = train_other(j, &c, NULL, &one);
    if (e == GY_OK) e = measure(&one, 0, &r);
    *log_likelihood = r.log_likelihood;
    result_free(j->ctx, &r);
    gy_job_free(&one);
    return e;
}

gy_status gy_ohg_evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    lab *d = j->data;
    findings *f = &d->found;
    int64_t phase = c->steps > 0 && gy_ohg_state(j, 1, "bias") && j->step > c->warm_steps;
    config free_model = *c;
    gy_job other = {0};
    result r, base;
    double rmse, rmse_free;
    gy_status e = measure(j, phase, &r);
    if (e != GY_OK) return e;
    snprintf(free_model.model, sizeof free_model.model, "hg");
    if (phase) {
        e = train_other(j, &free_model, j, &other);
        if (e == GY_OK) e = measure(&other, 1, &base);
    } else
        e = measure(j, 0, &base);
    if (e == GY_OK && d->data.state)
        e = oracle(j, &f->oracle);
    else if (e == GY_OK)
        e = single_state(j, &f->single);
    if (e == GY_OK) {
        f->log_likelihood = r.log_likelihood, f->free = base.log_likelihood, f->accuracy = r.accuracy;
        gy_metric_add(out, "log_likelihood", r.log_likelihood, NAN, "nat/bin");
        gy_metric_add(out, "log_likelihood.free", base.log_likelihood, NAN, "nat/bin");
        if (!d->data.state) gy_metric_add(out, "log_likelihood.one_state", f->single, NAN, "nat/bin");
        if (d->data.covariate && d->data.outputs == 1) gy_metric_add(out, "accuracy", r.accuracy, 0.5, "accuracy");
    }
    if (e == GY_OK && d->data.state) {
        gy_metric_add(out, "log_likelihood.oracle", f->oracle, NAN, "nat/bin");
        gy_metric_add(out, "state_accuracy", f->state_accuracy = r.state_accuracy, 1.0 / (double)c->states, "accuracy");
        graph_errors(j, &r, phase && strcmp(c->model, "ohg") == 0 ? 0 : 0.25, &f->f1, &rmse);
        graph_errors(j, &base, 0.25, &f->f1_free, &rmse_free);
        gy_metric_add(out, "edge_f1", f->f1, 0, "F1");
        gy_metric_add(out, "edge_f1.free", f->f1_free, 0, "F1");
        gy_metric_add(out, "weight_rmse", rmse, NAN, "");
        gy_metric_add(out, "weight_rmse.free", rmse_free, NAN, "");
    }
    if (e == GY_OK) {
        gy_free(j->ctx, f->weight);
        gy_free(j->ctx, f->gamma);
        f->weight = r.weight, f->gamma = r.gamma;
        memcpy(f->match, r.match, sizeof f->match);
        f->done = true;
        r.weight = r.gamma = NULL;
        result_free(j->ctx, &base);
    }
    result_free(j->ctx, &r);
    gy_job_free(&other);
    return e;
}

/* ---- the claim ---- */

gy_status gy_ohg_claim(gy_job *j, gy_claim *out) {
    config c = *(const config *)j->cfg, hg, ghg;
    gy_job free_job = {0}, gauss_job = {0};
    result ohg, base, gauss;
    double f1, f1_free, rmse, rmse_free, f1_best, best, agree;
    if (strcmp(c.model, "ohg") != 0 || c.covariates || j->data_path)
        return gy_fail(j->ctx, GY_ERR_USAGE, "onehot-hmm-glm: the claim is about generated spikes and model=ohg");
    hg = ghg = c;
    snprintf(hg.model, sizeof hg.model, "hg");
    snprintf(ghg.model, sizeof ghg.model, "ghg");
    gy_status e = gy_job_open(j);
    if (e == GY_OK) e = gy_job_train(j);
    if (e == GY_OK) e = train_other(j, &hg, j, &free_job);
    if (e == GY_OK) e = train_other(j, &ghg, j, &gauss_job);
    if (e == GY_OK) e = measure(j, 1, &ohg);
    if (e != GY_OK) goto end;
    e = measure(&free_job, 1, &base);
    if (e == GY_OK) e = measure(&gauss_job, 1, &gauss);
    if (e == GY_OK) e = oracle(j, &best);
    if (e != GY_OK) goto end;
    graph_errors(j, &ohg, 0, &f1, &rmse);
    graph_errors(j, &base, 0.25, &f1_free, &rmse_free);
    f1_best = best_f1(j, &base);
    agree = prior_agreement(j);
    gy_metric_add(&out->details, "F1 one-hot", f1, 0, "");
    gy_metric_add(&out->details, "F1 free, |w| > 0.25", f1_free, 0, "");
    gy_metric_add(&out->details, "F1 free, best threshold", f1_best, 0, "");
    gy_metric_add(&out->details, "log-likelihood one-hot", ohg.log_likelihood, NAN, "nat/bin");
    gy_metric_add(&out->details, "log-likelihood free", base.log_likelihood, NAN, "nat/bin");
    gy_metric_add(&out->details, "log-likelihood Gaussian", gauss.log_likelihood, NAN, "nat/bin");
    gy_metric_add(&out->details, "log-likelihood oracle", best, NAN, "nat/bin");
    gy_metric_add(&out->details, "state accuracy one-hot", ohg.state_accuracy, 1.0 / (double)c.states, "");
    gy_metric_add(&out->details, "state accuracy free", base.state_accuracy, 1.0 / (double)c.states, "");
    gy_metric_add(&out->details, "prior agreement", agree, NAN, "");
    gy_metric_add(&out->details, "weight RMSE one-hot", rmse, NAN, "");
    gy_metric_add(&out->details, "weight RMSE free", rmse_free, NAN, "");
    out->metric = "F1 of signed edges";
    out->value = f1;
    out->baseline = f1_free;
    out->threshold = fmax(0.74, f1_free + 0.08);
    out->chance = 0;
    out->pass = f1 >= 0.74 && f1 >= f1_free + 0.08 && ohg.log_likelihood > base.log_likelihood &&
                ohg.log_likelihood < best && ohg.state_accuracy >= 0.95 && agree >= 0.7;
    result_free(j->ctx, &ohg);
    result_free(j->ctx, &base);
    result_free(j->ctx, &gauss);
end:
    gy_job_free(&free_job);
    gy_job_free(&gauss_job);
    return e;
}

/* ---- the report ---- */

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
