/* One-hot HMM-GLM, third part: what it is trained on. A generated world whose graph, prior and states are known; a
 * table of spike counts, one row a bin and one column a neuron; or a table of two-choice trials. The model is in
 * onehot-hmm-glm.c. */
#include "onehot-hmm-glm.h"
#include "../../io/formats/table.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void gy_ohg_close(gy_job *j) {
    lab *d = j->data;
    gy_ctx *ctx = j->ctx;
    for (int i = 0; i < 2; i++)
        if (d->emission[i].plan) gy_compiled_free(&d->emission[i]);
    void *owned[] = {d->data.steps,
                     d->data.count,
                     d->data.covariate,
                     d->data.state,
                     d->true_.weight,
                     d->true_.bias,
                     d->true_.prior,
                     d->true_.logit,
                     d->found.weight,
                     d->found.gamma,
                     d};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) gy_free(ctx, owned[i]);
    j->data = NULL;
}

/* Room for n sequences. */
static gy_status make_room(gy_ctx *ctx, series *d, bool states) {
    uint64_t cells = 0;
    if (!gy_mul_u64((uint64_t)d->n, (uint64_t)d->length, &cells)) return gy_fail(ctx, GY_ERR_NOMEM, "too many bins");
    d->steps = gy_calloc(ctx, (size_t)d->n, sizeof *d->steps);
    d->count = gy_calloc(ctx, cells, (size_t)d->outputs * sizeof *d->count);
    d->covariate = d->covariates ? gy_calloc(ctx, cells, (size_t)d->covariates * sizeof *d->covariate) : NULL;
    d->state = states ? gy_calloc(ctx, cells, sizeof *d->state) : NULL;
    bool ok = d->steps && d->count && (d->covariate || !d->covariates) && (d->state || !states);
    return ok ? GY_OK : GY_ERR_NOMEM;
}

/* ---- the generated world ---- */

/* Gamma(shape, 1): Marsaglia & Tsang, ACM TOMS 26 (2000); a shape below 1 by Gamma(shape + 1) u^(1/shape). */
static double draw_gamma(gy_rng *r, double shape) {
    double d = (shape < 1 ? shape + 1 : shape) - 1.0 / 3, c = 1 / sqrt(9 * d), x, v;
    do {
        do {
            x = gy_rng_normal(r);
            v = 1 + c * x;
        } while (v <= 0);
        v = v * v * v;
    } while (log(gy_rng_uniform(r)) >= 0.5 * x * x + d - d * v + d * log(v));
    return d * v * (shape < 1 ? pow(gy_rng_uniform(r), 1 / shape) : 1);
}

/* Knuth's product of uniforms: rates here are below 1. */
static int draw_poisson(gy_rng *r, double rate) {
    double p = gy_rng_uniform(r), floor = exp(-rate);
    int n = 0;
    while (p > floor && n < MAX_COUNT) {
        p *= gy_rng_uniform(r);
        n++;
    }
    return n;
}

static int draw_class(gy_rng *r, const double *p) {
    double u = gy_rng_uniform(r);
    return u < p[0] ? 0 : u < p[0] + p[1] ? 1 : 2;
}

double gy_ohg_log_probability(const config *c, double y, double z) {
    double one = z > 0 ? log1p(exp(-z)) : log1p(exp(z)) - z; /* -log sigmoid(z) */
    if (is(c->family, "bernoulli")) return -(one + (1 - y) * z);
    return -(y * one + exp(-one) + lgamma(y + 1));
}

/* pi ~ Dirichlet(0.2, 1.6, 0.2) for each pair of neurons; each state draws its kinds from it, and strengths from
 * U(0.5, 3). Covariates: each counts for something with probability 2/3. */
static void draw_truth(gy_rng *r, const config *c, const series *d, truth *t) {
    static const double spikes[CLASSES] = {0.2, 1.6, 0.2}, trials[CLASSES] = {1, 1, 1};
    int64_t n = d->outputs, m = d->covariates;
    for (int64_t i = 0; i < n * m; i++) {
        double sum = 0;
        for (int k = 0; k < CLASSES; k++)
            sum += t->prior[i * CLASSES + k] = draw_gamma(r, d->covariate ? trials[k] : spikes[k]);
        for (int k = 0; k < CLASSES; k++) t->prior[i * CLASSES + k] /= sum;
    }
    for (int64_t i = 0; i < n; i++) t->bias[i] = 0.1 * (gy_rng_uniform(r) - 0.5);
    for (int64_t i = 0; i < c->states * n * m; i++) {
        int kind = draw_class(r, t->prior + i % (n * m) * CLASSES);
        double strength = 0.5 + 2.5 * gy_rng_uniform(r);
        bool self = !d->covariate && i / m % n == i % m;
        t->weight[i] = self ? 0 : (kind - NONE) * strength;
    }
}

static void draw_sequence(gy_rng *r, const config *c, series *d, truth *t, int64_t q) {
    int64_t n = d->outputs, m = d->covariates, s = c->states, z = gy_rng_below(r, s), len = d->length;
    float *x = d->count + q * len * n, *u = d->covariate ? d->covariate + q * len * m : NULL;
    double phi[64], h[4096];
    gy_ohg_kernel(c, phi);
    d->steps[q] = len;
    for (int64_t i = 0; i < len; i++) {
        if (i && s > 1 && gy_rng_uniform(r) > 0.98) z = (z + 1 + gy_rng_below(r, s - 1)) % s;
        d->state[q * len + i] = z;
        for (int64_t k = 0; k < m; k++) {
            if (u) u[i * m + k] = (float)gy_rng_normal(r);
            h[k] = u ? (double)u[i * m + k] : 0;
            for (int64_t l = 1; !u && l <= c->lags && l <= i; l++) h[k] += phi[l - 1] * (double)x[(i - l) * n + k];
        }
        for (int64_t w = 0; w < s * n; w++) {
            double logit = t->bias[w % n];
            for (int64_t k = 0; k < m; k++) logit += t->weight[w * m + k] * h[k];
            t->logit[(q * len + i) * s * n + w] = logit;
        }
        for (int64_t k = 0; k < n; k++) {
            double f = 1 / (1 + exp(-t->logit[((q * len + i) * s + z) * n + k]));
            x[i * n + k] = u ? gy_rng_uniform(r) < f : (float)draw_poisson(r, f);
        }
    }
}

static gy_status generate(gy_job *j, lab *d) {
    const config *c = j->cfg;
    series *v = &d->data;
    gy_rng r;
    if (is(c->family, "softplus"))
        return gy_fail(j->ctx, GY_ERR_UNSUPPORTED,
                       "onehot-hmm-glm: family=softplus needs data (--data): unbounded rates run away in simulation");
    *v = (series){.n = c->train + c->test,
                  .train = c->train,
                  .length = c->length,
                  .outputs = c->outputs,
                  .covariates = c->covariates};
    gy_status e = make_room(j->ctx, v, true);
    if (e != GY_OK) return e;
    if (!c->covariates) v->covariates = c->outputs;
    int64_t pairs = v->outputs * v->covariates;
    d->true_.weight = gy_calloc(j->ctx, (size_t)(c->states * pairs), sizeof(double));
    d->true_.bias = gy_calloc(j->ctx, (size_t)v->outputs, sizeof(double));
    d->true_.prior = gy_calloc(j->ctx, (size_t)(pairs * CLASSES), sizeof(double));
    d->true_.logit = gy_calloc(j->ctx, (size_t)(v->n * v->length), (size_t)(c->states * v->outputs) * sizeof(double));
    if (!d->true_.weight || !d->true_.bias || !d->true_.prior || !d->true_.logit) return GY_ERR_NOMEM;
    gy_rng_init(&r, j->seed, "onehot-hmm-glm.world");
    draw_truth(&r, c, v, &d->true_);
    for (int64_t q = 0; q < v->n; q++) draw_sequence(&r, c, v, &d->true_, q);
    snprintf(j->data_label, sizeof j->data_label, "generated (%" PRId64 " states)", c->states);
    return GY_OK;
}

/* ---- tables ---- */

/* Sequences of a table: runs of equal cells in the `group` column; without that column, pieces of `length` rows.
 * start [n + 1]. */
static gy_status cut(const gy_table *t, const config *c, int64_t **start, int64_t *n) {
    int64_t g = -1;
    if (gy_table_has(t, c->group)) {
        gy_status e = gy_table_column(t, c->group, &g);
        if (e != GY_OK) return e;
    }
    *start = gy_calloc(t->ctx, (size_t)t->rows + 2, sizeof **start);
    if (!*start) return GY_ERR_NOMEM;
    *n = 0;
    for (int64_t i = 0; i < t->rows; i++) {
        bool fresh = i == 0 || (g < 0 ? i - (*start)[*n - 1] == c->length
                                      : !is(gy_table_cell(t, i, g), gy_table_cell(t, i - 1, g)));
        if (fresh) (*start)[(*n)++] = i;
    }
    (*start)[*n] = t->rows;
    if (*n < 2)
        return gy_fail(t->ctx, GY_ERR_FORMAT,
                       "%s: %" PRId64 " sequence of %" PRId64
                       " rows: expected at least 2, one to train on and one held out (a column '%s' tells sequences "
                       "apart; without it rows are cut into pieces of length=%" PRId64 ")",
                       t->path, *n, t->rows, c->group, c->length);
    return GY_OK;
}

/* The columns that are covariates: those of c->inputs, or, if that is empty, all whose names end in "_prev". */
static gy_status find_inputs(const gy_table *t, const config *c, lab *d, int64_t *column, int64_t *n) {
    *n = 0;
    snprintf(d->names, sizeof d->names, "%s", c->inputs);
    for (int64_t i = 0; !c->inputs[0] && i < t->columns; i++) {
        size_t len = strlen(t->header[i]), used = strlen(d->names);
        if (len < 6 || !is(t->header[i] + len - 5, "_prev")) continue;
        if (*n == 63 || used + len + 2 > sizeof d->names) break;
        snprintf(d->names + used, sizeof d->names - used, "%s%s", used ? "," : "", t->header[i]);
        (*n)++;
    }
    *n = 0;
    for (char *at = d->names, *end; at && *at && *n < 63; at = end) {
        if ((end = strchr(at, ','))) *end++ = 0;
        gy_status e = gy_table_column(t, at, &column[*n]);
        if (e != GY_OK) return e;
        d->data.input_name[(*n)++] = at;
    }
    return *n ? GY_OK : gy_fail(t->ctx, GY_ERR_USAGE, "%s: no covariate: name columns with --set inputs=a,b", t->path);
}

/* A response of two values; the larger counts as 1. */
static gy_status read_response(const gy_table *t, int64_t column, double *y) {
    int64_t *v, lo = INT64_MAX, hi = INT64_MIN;
    gy_status e = gy_table_integers(t, column, &v);
    if (e != GY_OK) return e;
    for (int64_t i = 0; i < t->rows; i++) {
        if (v[i] < lo) lo = v[i];
        if (v[i] > hi) hi = v[i];
    }
    for (int64_t i = 0; e == GY_OK && i < t->rows; i++) {
        if (v[i] != lo && v[i] != hi)
            e = gy_fail(t->ctx, GY_ERR_FORMAT,
                        "%s: line %" PRId64 ": response '%s' is %" PRId64 ", expected two values, found %" PRId64
                        " and %" PRId64 " too",
                        t->path, t->line[i], t->header[column], v[i], lo, hi);
        y[i] = v[i] == hi;
    }
    if (e == GY_OK && lo == hi)
        e = gy_fail(t->ctx, GY_ERR_FORMAT, "%s: response '%s' is always %" PRId64 ": nothing to explain", t->path,
                    t->header[column], lo);
    gy_free(t->ctx, v);
    return e;
}

/* A column of finite numbers; `counts`: whole ones from 0 to MAX_COUNT. */
static gy_status read_column(const gy_table *t, int64_t column, bool counts, double *out, int64_t stride) {
    double *v;
    gy_status e = gy_table_numbers(t, column, &v);
    if (e != GY_OK) return e;
    for (int64_t i = 0; e == GY_OK && i < t->rows; i++) {
        bool good = isfinite(v[i]) && (!counts || (v[i] >= 0 && v[i] <= MAX_COUNT && v[i] == floor(v[i])));
        if (!good)
            e = gy_fail(t->ctx, GY_ERR_FORMAT, "%s: line %" PRId64 ", column '%s': '%s' is no %s%s", t->path,
                        t->line[i], t->header[column], gy_table_cell(t, i, column),
                        counts ? "spike count from 0 to 255" : "number",
                        counts ? " (for a table of trials: --config behaviour)" : "");
        out[i * stride] = v[i];
    }
    gy_free(t->ctx, v);
    return e;
}

/* Covariates to mean 0 and standard deviation 1 over the training rows. */
static gy_status standardise(const gy_table *t, const int64_t *column, int64_t m, int64_t rows, double *x) {
    for (int64_t k = 0; k < m; k++) {
        double mean = 0, square = 0;
        for (int64_t i = 0; i < rows; i++) mean += x[i * m + k] / (double)rows;
        for (int64_t i = 0; i < rows; i++) square += (x[i * m + k] - mean) * (x[i * m + k] - mean) / (double)rows;
        if (!(square > 1e-20 * (1 + mean * mean)))
            return gy_fail(t->ctx, GY_ERR_FORMAT, "%s: column '%s' does not change in the training rows", t->path,
                           t->header[column[k]]);
        for (int64_t i = 0; i < t->rows; i++) x[i * m + k] = (x[i * m + k] - mean) / sqrt(square);
    }
    return GY_OK;
}

/* Rows into sequences: y [rows, N], x [rows, M] or NULL. */
static gy_status arrange(gy_ctx *ctx, series *d, const int64_t *start, const double *y, const double *x) {
    d->length = 0;
    for (int64_t q = 0; q < d->n; q++)
        if (start[q + 1] - start[q] > d->length) d->length = start[q + 1] - start[q];
    gy_status e = make_room(ctx, d, false);
    if (e != GY_OK) return e;
    int64_t n = d->outputs, m = d->covariates;
    for (int64_t q = 0; q < d->n; q++) {
        d->steps[q] = start[q + 1] - start[q];
        for (int64_t i = 0; i < d->steps[q] * n; i++) d->count[q * d->length * n + i] = (float)y[start[q] * n + i];
        for (int64_t i = 0; x && i < d->steps[q] * m; i++)
            d->covariate[q * d->length * m + i] = (float)x[start[q] * m + i];
    }
    return GY_OK;
}

static gy_status read_table(gy_job *j, lab *d, const gy_table *t) {
    const config *c = j->cfg;
    series *v = &d->data;
    gy_ctx *ctx = j->ctx;
    int64_t column[4096], *start = NULL, n = 0, response = -1;
    double *y = NULL, *x = NULL;
    gy_status e = cut(t, c, &start, &v->n);
    v->train = (int64_t)((double)v->n * c->train_share);
    if (v->train < 1) v->train = 1;
    v->outputs = 1;
    if (e == GY_OK && c->response[0]) {
        e = gy_table_column(t, c->response, &response);
        if (e == GY_OK) e = find_inputs(t, c, d, column, &v->covariates);
        n = v->covariates;
    } else if (e == GY_OK) {
        for (int64_t i = 0; i < t->columns && n < 4096; i++)
            if (!is(t->header[i], c->group)) column[n++] = i;
        v->outputs = n;
        if (n < 2)
            e = gy_fail(ctx, GY_ERR_FORMAT, "%s: %" PRId64 " neuron: expected at least 2 columns of counts", t->path,
                        n);
    }
    if (e == GY_OK) {
        y = gy_calloc(ctx, (size_t)t->rows, (size_t)v->outputs * sizeof *y);
        x = c->response[0] ? gy_calloc(ctx, (size_t)t->rows, (size_t)n * sizeof *x) : NULL;
        if (!y || (c->response[0] && !x)) e = GY_ERR_NOMEM;
    }
    if (e == GY_OK && response >= 0) e = read_response(t, response, y);
    for (int64_t k = 0; e == GY_OK && k < n; k++) e = read_column(t, column[k], !x, (x ? x : y) + k, n);
    if (e == GY_OK && x) e = standardise(t, column, n, start[v->train], x);
    if (e == GY_OK) e = arrange(ctx, v, start, y, x);
    if (e == GY_OK && !x) v->covariates = n;
    gy_free(ctx, start);
    gy_free(ctx, y);
    gy_free(ctx, x);
    return e;
}

static gy_status read_file(gy_job *j, lab *d) {
    gy_table t;
    gy_status e = gy_table_read(j->ctx, j->data_path, NULL, (gy_table_args){0}, &t);
    if (e != GY_OK) return e;
    e = read_table(j, d, &t);
    gy_table_free(&t);
    const char *slash = strrchr(j->data_path, '/');
    snprintf(j->data_label, sizeof j->data_label, "%s", slash ? slash + 1 : j->data_path);
    return e;
}

gy_status gy_ohg_open(gy_job *j) {
    const config *c = j->cfg;
    lab *d = j->data = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    gy_status e = j->data_path ? read_file(j, d) : generate(j, d);
    if (e != GY_OK) {
        gy_ohg_close(j);
        return e;
    }
    const series *v = &d->data;
    j->data_hash = gy_hash(v->count, (size_t)(v->n * v->length * v->outputs) * sizeof *v->count, 1);
    if (v->covariate)
        j->data_hash =
            gy_hash(v->covariate, (size_t)(v->n * v->length * v->covariates) * sizeof *v->count, j->data_hash);
    j->batch = c->batch && c->batch < v->train ? c->batch : v->train;
    if (!j->steps) j->steps = c->warm_steps + c->steps;
    return GY_OK;
}
