/* DemoVAE, second part: the subjects. Without --data, a world of which all is known: connectivity is a mean, a
 * direction of age, a direction of sex, six factors and noise; one phenotype follows age alone, another the first
 * factor alone. With --data, a folder with features.npy [N, d] and demographics.csv or .tsv: a row a subject, the
 * configuration's columns (a two-way one holds two different words), and any further numeric columns as phenotypes. */
#include "demovae.h"
#include "../../core/linalg/classical.h"
#include "../../io/files.h"
#include "../../io/formats/npy.h"
#include "../../io/formats/table.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static gy_status reserve(gy_job *j, lab *d, int64_t n, int64_t tests) {
    const config *c = j->cfg;
    d->n = n;
    d->tests = tests;
    d->d = c->features;
    d->q = gy_demovae_columns(c->columns, d->col);
    d->x = gy_malloc(j->ctx, (size_t)((n + tests) * d->d) * sizeof *d->x);
    d->demo = gy_calloc(j->ctx, (size_t)((n + tests) * d->q), sizeof *d->demo);
    d->field = gy_calloc(j->ctx, (size_t)(MAX_FIELDS * (n + tests)), sizeof *d->field);
    d->weight = gy_calloc(j->ctx, (size_t)(d->d * d->q), sizeof *d->weight);
    d->bias = gy_calloc(j->ctx, (size_t)d->q, sizeof *d->bias);
    d->made = gy_calloc(j->ctx, (size_t)(2 * d->d), sizeof *d->made);
    d->real = d->made + d->d;
    return d->x && d->demo && d->field && d->weight && d->bias && d->made ? GY_OK : GY_ERR_NOMEM;
}

/* ---- the generated world ---- */

enum { FACTORS = 6 };

static float *draw(gy_rng *r, float *v, int64_t n, double mean, double sd) {
    for (int64_t i = 0; i < n; i++) v[i] = (float)(mean + sd * gy_rng_normal(r));
    return v;
}

static gy_status generate(gy_job *j, lab *d) {
    const config *c = j->cfg;
    gy_status s = reserve(j, d, c->train, c->tests);
    if (s == GY_OK && (d->q != 3 || d->col[0].of || d->col[1].of != 2) && strcmp(c->columns, "age,sex:2,race:2") != 0)
        s = gy_fail(j->ctx, GY_ERR_USAGE,
                    "demovae: columns='%s': the generated subjects have age,sex:2 or age,sex:2,race:2", c->columns);
    int64_t all = d->n + d->tests, k = d->d;
    float *world = gy_malloc(j->ctx, (size_t)(k * (3 + FACTORS)) * sizeof *world);
    d->difference = gy_malloc(j->ctx, (size_t)k * sizeof *d->difference);
    if (s == GY_OK && (!world || !d->difference)) s = GY_ERR_NOMEM;
    gy_rng r;
    gy_rng_init(&r, j->seed, "demovae world");
    if (s == GY_OK) {
        float *m = draw(&r, world, k, 0.2, 0.15), *u = draw(&r, world + k, k, 0, 0.12);
        float *v = draw(&r, world + 2 * k, k, 0, 0.08), *load = draw(&r, world + 3 * k, FACTORS * k, 0, 0.08);
        for (int64_t i = 0; i < k; i++) d->difference[i] = 2 * v[i];
        for (int64_t i = 0; i < all; i++) {
            double age = (8 + 14 * gy_rng_uniform(&r) - 15) / 4, f[FACTORS];
            int64_t sex = gy_rng_below(&r, 2), race = gy_rng_below(&r, 2); /* connectivity does not follow race */
            for (int a = 0; a < FACTORS; a++) f[a] = gy_rng_normal(&r);
            float *x = d->x + i * k, *demo = d->demo + i * d->q;
            for (int64_t e = 0; e < k; e++) {
                double y = m[e] + age * u[e] + (2 * (double)sex - 1) * v[e] + 0.10 * gy_rng_normal(&r);
                for (int a = 0; a < FACTORS; a++) y += load[a * k + e] * f[a];
                x[e] = (float)y;
            }
            demo[0] = (float)age;
            demo[1 + sex] = 1;
            if (d->q > 3) demo[3 + race] = 1;
            d->field[i] = (float)(0.8 * age + 0.6 * gy_rng_normal(&r)); /* follows age: a confound */
            d->field[all + i] = (float)(0.8 * f[0] + 0.6 * gy_rng_normal(&r));
        }
        d->fields = 2;
        snprintf(d->field_name[0], sizeof d->field_name[0], "confounded");
        snprintf(d->field_name[1], sizeof d->field_name[1], "genuine");
    }
    gy_free(j->ctx, world);
    return s;
}

/* ---- real subjects ---- */

/* The column `name` of the table as one-hot columns first, first + 1, ... in the order of the words. */
static gy_status categories(gy_job *j, lab *d, const gy_table *t, const char *name, int64_t at, const int64_t *row) {
    const char *word[MAX_COLUMNS];
    int64_t found = 0, index, of = d->col[at].of;
    gy_status s = gy_table_column(t, name, &index);
    for (int64_t i = 0; s == GY_OK && i < t->rows; i++) { /* the sorted list of different words */
        const char *w = gy_table_cell(t, i, index);
        int64_t k = 0;
        while (k < found && strcmp(word[k], w) < 0) k++;
        if (k < found && strcmp(word[k], w) == 0) continue;
        if (gy_cell_is_missing(w) || found == of)
            return gy_fail(j->ctx, GY_ERR_FORMAT,
                           "%s: line %" PRId64 ": '%s' has a value missing or more than %" PRId64 " different ones",
                           t->path, t->line[i], name, of);
        memmove(word + k + 1, word + k, (size_t)(found - k) * sizeof *word);
        word[k] = w;
        found++;
    }
    if (s == GY_OK && found < of)
        s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s: '%s' has %" PRId64 " different values, the model has %" PRId64, t->path,
                    name, found, of);
    for (int64_t i = 0; s == GY_OK && i < t->rows; i++) {
        int64_t k = 0;
        while (strcmp(word[k], gy_table_cell(t, row[i], index)) != 0) k++;
        d->demo[i * d->q + at + k] = 1;
    }
    return s;
}

/* The column `name` of numbers into out[i * stride]. */
static gy_status numbers(gy_job *j, const gy_table *t, int64_t index, const int64_t *row, float *out, int64_t stride) {
    double *v = NULL;
    gy_status s = gy_table_numbers(t, index, &v);
    for (int64_t i = 0; s == GY_OK && i < t->rows; i++) {
        if (!isfinite(v[row[i]]))
            s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s: line %" PRId64 ", column '%s': no finite number", t->path,
                        t->line[row[i]], t->header[index]);
        out[i * stride] = (float)v[row[i]];
    }
    gy_free(j->ctx, v);
    return s;
}

/* Columns of the table that are no demographics: phenotypes, if they hold numbers. */
static gy_status phenotypes(gy_job *j, lab *d, const gy_table *t, const int64_t *row) {
    gy_status s = GY_OK;
    for (int64_t k = 0; s == GY_OK && k < t->columns && d->fields < MAX_FIELDS; k++) {
        bool known = false;
        double *v = NULL;
        for (int64_t e = 0; e < d->q; e++)
            known = known || strncmp(t->header[k], d->col[e].name, strcspn(d->col[e].name, ".")) == 0;
        if (known || gy_table_numbers(t, k, &v) != GY_OK) {
            gy_error_clear(j->ctx);
            continue;
        }
        gy_free(j->ctx, v);
        s = numbers(j, t, k, row, d->field + d->fields * t->rows, 1);
        snprintf(d->field_name[d->fields++], sizeof d->field_name[0], "%.40s", t->header[k]);
    }
    return s;
}

static gy_status fill(gy_job *j, lab *d, const gy_table *t, const gy_tensor *x, const int64_t *row) {
    gy_status s = GY_OK;
    for (int64_t i = 0; s == GY_OK && i < t->rows; i++)
        for (int64_t e = 0; e < d->d; e++) {
            double v = gy_tensor_get(x, row[i] * d->d + e);
            if (!isfinite(v))
                return gy_fail(j->ctx, GY_ERR_FORMAT, "%s: features.npy: row %" PRId64 " holds %g", j->data_path,
                               row[i], v);
            d->x[i * d->d + e] = (float)v;
        }
    for (int64_t k = 0; s == GY_OK && k < d->q; k++) {
        char name[64];
        int64_t index;
        snprintf(name, sizeof name, "%.*s", (int)strcspn(d->col[k].name, d->col[k].of ? "." : ""), d->col[k].name);
        if (d->col[k].first != k) continue;
        if (d->col[k].of) {
            s = categories(j, d, t, name, k, row);
        } else {
            s = gy_table_column(t, name, &index);
            if (s == GY_OK) s = numbers(j, t, index, row, d->demo + k, d->q);
        }
    }
    return s == GY_OK ? phenotypes(j, d, t, row) : s;
}

/* A fifth of the subjects, drawn by the seed, is held out. */
static gy_status read_folder(gy_job *j, lab *d) {
    const config *c = j->cfg;
    gy_table t = {0};
    gy_tensor x = {0};
    char *features = gy_path_join(j->ctx, j->data_path, "features.npy");
    char *csv = gy_path_join(j->ctx, j->data_path, "demographics.csv");
    char *tsv = gy_path_join(j->ctx, j->data_path, "demographics.tsv");
    gy_status s = features && csv && tsv ? gy_npy_read(j->ctx, features, &x) : GY_ERR_NOMEM;
    if (s == GY_OK) s = gy_table_read(j->ctx, gy_path_exists(csv) ? csv : tsv, NULL, (gy_table_args){0}, &t);
    if (s == GY_OK && (x.shape.rank != 2 || x.shape.dim[1] != c->features))
        s = gy_fail(j->ctx, GY_ERR_SHAPE, "%s: expected [subjects, %" PRId64 "] (see --set features=), found %" PRId64,
                    features, c->features, x.shape.rank == 2 ? x.shape.dim[1] : x.shape.rank);
    if (s == GY_OK && (x.shape.dim[0] != t.rows || t.rows < 10))
        s = gy_fail(j->ctx, GY_ERR_SHAPE,
                    "%s: %" PRId64 " subjects and %" PRId64 " rows of demographics; expected as many, at least 10",
                    features, x.shape.dim[0], t.rows);
    if (s == GY_OK) s = reserve(j, d, t.rows - t.rows / 5, t.rows / 5);
    int64_t *row = s == GY_OK ? gy_malloc(j->ctx, (size_t)t.rows * sizeof *row) : NULL;
    if (s == GY_OK && !row) s = GY_ERR_NOMEM;
    if (s == GY_OK) {
        gy_rng r;
        gy_rng_init(&r, j->seed, "held out");
        for (int64_t i = 0; i < t.rows; i++) row[i] = i;
        gy_rng_shuffle(&r, row, t.rows);
        s = fill(j, d, &t, &x, row);
    }
    gy_free(j->ctx, row);
    gy_free(j->ctx, features);
    gy_free(j->ctx, csv);
    gy_free(j->ctx, tsv);
    gy_table_free(&t);
    gy_tensor_free(j->ctx, &x);
    return s;
}

/* ---- what both share ---- */

static gy_status standardise(gy_job *j, lab *d) {
    for (int64_t k = 0; k < d->q; k++) {
        double mean = 0, var = 0;
        if (d->col[k].of) continue;
        for (int64_t i = 0; i < d->n; i++) mean += d->demo[i * d->q + k] / (double)d->n;
        for (int64_t i = 0; i < d->n; i++) var += pow(d->demo[i * d->q + k] - mean, 2) / (double)d->n;
        if (!(var > 0))
            return gy_fail(j->ctx, GY_ERR_FORMAT, "demovae: '%s' is the same for all training subjects",
                           d->col[k].name);
        for (int64_t i = 0; i < d->n + d->tests; i++)
            d->demo[i * d->q + k] = (float)((d->demo[i * d->q + k] - mean) / sqrt(var));
    }
    return GY_OK;
}

/* Demographic columns join the fields that evaluation predicts: continuous ones, and all but a group's first. */
static void add_fields(lab *d) {
    int64_t all = d->n + d->tests;
    for (int64_t k = 0; k < d->q && d->fields < MAX_FIELDS; k++) {
        if (d->col[k].of && d->col[k].first == k) continue;
        for (int64_t i = 0; i < all; i++) d->field[d->fields * all + i] = d->demo[i * d->q + k];
        snprintf(d->field_name[d->fields++], sizeof d->field_name[0], "%.40s", d->col[k].name);
    }
}

/* The linear guides of eq. (6): ridge for continuous columns; logistic regression for groups, of which a two-way one
 * keeps the difference w of its two rows as (-w, w). Fitted on training subjects. */
gy_status gy_demovae_guides(gy_job *j, lab *d) {
    const config *c = j->cfg;
    int64_t n = d->n, p = d->d, q = d->q;
    double *x = gy_malloc(j->ctx, (size_t)(n * p) * sizeof *x), *y = gy_malloc(j->ctx, (size_t)n * sizeof *y);
    double *coef = gy_malloc(j->ctx, (size_t)(p * q) * sizeof *coef), intercept[MAX_COLUMNS];
    int64_t *label = gy_malloc(j->ctx, (size_t)n * sizeof *label);
    gy_status s = x && y && coef && label ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n * p; i++) x[i] = d->x[i];
    for (int64_t k = 0; s == GY_OK && k < q; k++) {
        int64_t of = d->col[k].of;
        if (d->col[k].first != k) continue;
        for (int64_t i = 0; i < n; i++) {
            y[i] = d->demo[i * q + k];
            label[i] = 0;
            for (int64_t e = 1; e < of; e++)
                if (d->demo[i * q + k + e] > 0) label[i] = e;
        }
        if (!of) {
            gy_ridge_args a = {
                .n = n, .p = p, .t = 1, .x = x, .ldx = p, .y = y, .ldy = 1, .alpha = &c->alpha, .n_alphas = 1};
            s = gy_la_ridge_fit(j->ctx, &a, coef, intercept);
        } else {
            /* with two classes the penalty of one vector w is twice that of its halves -w/2 and w/2 */
            gy_logistic_args a = {.n = n,
                                  .p = p,
                                  .k = of,
                                  .x = x,
                                  .ldx = p,
                                  .labels = label,
                                  .l2 = (of == 2 ? 2 : 1) / (c->cost * (double)n)};
            s = gy_la_logistic_fit(j->ctx, &a, coef, intercept, NULL);
        }
        for (int64_t e = 0; s == GY_OK && e < (of ? of : 1); e++) {
            double sign = e ? 1 : -1;
            for (int64_t i = 0; i < p; i++)
                d->weight[i * q + k + e] = (float)(of == 2  ? sign * (coef[2 * i + 1] - coef[2 * i])
                                                   : of > 2 ? coef[of * i + e]
                                                            : coef[i]);
            d->bias[k + e] = (float)(of == 2 ? sign * (intercept[1] - intercept[0]) : intercept[e]);
        }
    }
    gy_free(j->ctx, x);
    gy_free(j->ctx, y);
    gy_free(j->ctx, coef);
    gy_free(j->ctx, label);
    return s;
}

void gy_demovae_close(gy_job *j) {
    lab *d = j->data;
    if (!d) return;
    gy_free(j->ctx, d->x);
    gy_free(j->ctx, d->demo);
    gy_free(j->ctx, d->field);
    gy_free(j->ctx, d->weight);
    gy_free(j->ctx, d->bias);
    gy_free(j->ctx, d->difference);
    gy_free(j->ctx, d->made);
    gy_free(j->ctx, d);
    j->data = NULL;
}

gy_status gy_demovae_open(gy_job *j) {
    const config *c = j->cfg;
    lab *d = j->data = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    gy_status s = j->data_path ? read_folder(j, d) : generate(j, d);
    if (s == GY_OK) s = standardise(j, d);
    if (s == GY_OK) s = gy_demovae_guides(j, d);
    if (s != GY_OK) return s;
    add_fields(d);
    j->batch = c->batch < d->n ? c->batch : d->n;
    if (!j->steps) j->steps = c->steps;
    j->data_hash = gy_hash(d->x, (size_t)((d->n + d->tests) * d->d) * sizeof *d->x, j->seed);
    if (j->data_path) snprintf(j->data_label, sizeof j->data_label, "%.40s", j->data_path);
    if (!j->data_path) snprintf(j->data_label, sizeof j->data_label, "generated (age, sex, six factors)");
    return GY_OK;
}

/* Subjects in order, as the code takes them (all of them when the batch is that large); wanted demographics are drawn
 * anew each step: continuous ones N(0, 1), one category of each group for all. */
gy_status gy_demovae_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    const lab *d = j->data;
    float *x = gy_plan_input(p, "x"), *demo = gy_plan_input(p, "demographics"), *wanted = gy_plan_input(p, "wanted");
    (void)phase;
    for (int64_t i = 0; i < j->batch; i++) {
        int64_t row = (step * j->batch + i) % d->n;
        memcpy(x + i * d->d, d->x + row * d->d, (size_t)d->d * sizeof *x);
        memcpy(demo + i * d->q, d->demo + row * d->q, (size_t)d->q * sizeof *demo);
    }
    if (!wanted) return GY_OK; /* no guide in this graph */
    char name[48];
    gy_rng r;
    snprintf(name, sizeof name, "wanted.%" PRId64, step);
    gy_rng_init(&r, j->seed, name);
    for (int64_t k = 0; k < d->q; k++) {
        int64_t of = d->col[k].of, chosen = of ? k + gy_rng_below(&r, of) : 0;
        for (int64_t i = 0; i < c->generated; i++)
            for (int64_t e = 0; e < (of ? of : 1); e++)
                wanted[i * d->q + k + e] = of ? (float)(k + e == chosen) : (float)gy_rng_normal(&r);
        if (of) k += of - 1;
    }
    memcpy(gy_plan_input(p, "guide_weight"), d->weight, (size_t)(d->d * d->q) * sizeof *d->weight);
    memcpy(gy_plan_input(p, "guide_bias"), d->bias, (size_t)d->q * sizeof *d->bias);
    return GY_OK;
}
