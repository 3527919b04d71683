#include "eeg.h"

#include "../core/linalg/signal.h"
#include "../core/rng.h"
#include "../io/files.h"
#include "../io/formats/npy.h"
#include "../io/formats/recording.h"
#include "../io/formats/table.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { FEWEST = 10 }; /* marks of a kind that counts as a class */

static void free_windows(gy_ctx *ctx, gy_eeg_windows *w) {
    gy_free(ctx, w->x);
    gy_free(ctx, w->label);
    gy_free(ctx, w->group);
    *w = (gy_eeg_windows){0};
}

void gy_eeg_close(gy_eeg *e) {
    if (!e->ctx) return;
    free_windows(e->ctx, &e->pool);
    free_windows(e->ctx, &e->train);
    free_windows(e->ctx, &e->test);
    gy_free(e->ctx, e->name);
    *e = (gy_eeg){0};
}

static gy_status new_windows(gy_eeg *e, gy_eeg_windows *w, int64_t room) {
    size_t each = (size_t)(e->samples * e->channels) * sizeof *w->x;
    w->x = gy_calloc(e->ctx, (size_t)room + 1, each);
    w->label = gy_calloc(e->ctx, (size_t)room + 1, sizeof *w->label);
    w->group = gy_calloc(e->ctx, (size_t)room + 1, sizeof *w->group);
    return w->x && w->label && w->group ? GY_OK : GY_ERR_NOMEM;
}

/* The window from row `first` of x [n, channels], at the end of w. */
static void take(const gy_eeg *e, const double *x, int64_t first, int64_t label, int64_t group, gy_eeg_windows *w) {
    int64_t each = e->samples * e->channels;
    for (int64_t i = 0; i < each; i++) w->x[w->n * each + i] = (float)x[first * e->channels + i];
    w->label[w->n] = label;
    w->group[w->n++] = group;
}

/* ---- signals ---- */

/* One channel from `from` Hz to e->rate; y has distance e->channels. */
static gy_status channel_in(const gy_eeg *e, const double *x, int64_t n, double from, double *y) {
    int64_t m = gy_resampled(n, from, e->rate);
    double *v = gy_malloc(e->ctx, (size_t)m * sizeof *v);
    if (!v) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    if (from == e->rate)
        memcpy(v, x, (size_t)m * sizeof *v);
    else
        s = gy_resample(e->ctx, x, n, from, e->rate, v);
    for (int64_t t = 0; s == GY_OK && t < m; t++) y[t * e->channels] = v[t];
    gy_free(e->ctx, v);
    return s;
}

static gy_status band(const gy_eeg *e, const gy_eeg_args *a, double *x, int64_t n) {
    gy_filter f;
    if (!(a->low > 0) && !(a->high > 0)) return GY_OK;
    gy_band kind = a->low > 0 && a->high > 0 ? GY_BAND_PASS : a->low > 0 ? GY_HIGH_PASS : GY_LOW_PASS;
    gy_status s = gy_butterworth(e->ctx, kind, 4, a->low > 0 ? a->low : a->high, a->high, e->rate, &f);
    for (int64_t c = 0; s == GY_OK && c < e->channels; c++) s = gy_filter_both_ways(e->ctx, &f, x + c, n, e->channels);
    return s;
}

/* ---- recordings ---- */

typedef struct kinds {
    int64_t n, count[256];
    const char *name[256];
} kinds;

/* Texts of marks that are there often enough, most frequent first; equal ones in order of appearance. */
static void find_kinds(const gy_recording *r, int64_t most, kinds *k) {
    k->n = 0;
    for (int64_t i = 0; i < r->n_marks; i++) {
        int64_t j = 0;
        while (j < k->n && strcmp(k->name[j], r->mark[i].text) != 0) j++;
        if (j == 256 || !*r->mark[i].text) continue;
        if (j == k->n) k->name[j] = r->mark[i].text, k->count[k->n++] = 0;
        k->count[j]++;
    }
    for (int64_t i = 1; i < k->n; i++) /* insertion, stable */
        for (int64_t j = i; j > 0 && k->count[j] > k->count[j - 1]; j--) {
            const char *name = k->name[j];
            int64_t count = k->count[j];
            k->name[j] = k->name[j - 1], k->count[j] = k->count[j - 1];
            k->name[j - 1] = name, k->count[j - 1] = count;
        }
    while (k->n > 0 && (k->n > most || k->count[k->n - 1] < FEWEST)) k->n--;
}

static gy_status name_classes(gy_eeg *e, int64_t n, const char *const *name) {
    e->classes = n;
    e->name = gy_calloc(e->ctx, (size_t)n + 1, sizeof *e->name);
    if (!e->name) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) snprintf(e->name[i], sizeof e->name[i], "%.31s", name[i]);
    return GY_OK;
}

/* Windows of x [n, channels]: those that end before row `split` train, those that begin after it test. */
static gy_status cut(gy_eeg *e, const gy_eeg_args *a, const gy_recording *r, const kinds *k, const double *x, int64_t n,
                     int64_t split) {
    gy_status s = new_windows(e, &e->train, r->n_marks);
    if (s == GY_OK) s = new_windows(e, &e->test, r->n_marks);
    if (s == GY_OK) s = new_windows(e, &e->pool, 2 * split / e->samples + 1);
    for (int64_t i = 0; s == GY_OK && i < r->n_marks; i++) {
        int64_t first = (int64_t)floor((r->mark[i].onset + a->from) * e->rate + 0.5), c = 0;
        while (c < k->n && strcmp(k->name[c], r->mark[i].text) != 0) c++;
        if (c == k->n || first < 0 || first + e->samples > n) continue;
        if (first + e->samples <= split)
            take(e, x, first, c, 0, &e->train);
        else if (first >= split)
            take(e, x, first, c, 0, &e->test);
    }
    int64_t hop = e->samples > 1 ? e->samples / 2 : 1;
    for (int64_t at = 0; s == GY_OK && at + e->samples <= split; at += hop) take(e, x, at, 0, 0, &e->pool);
    return s;
}

static gy_status from_recording(gy_eeg *e, const gy_eeg_args *a, const char *path) {
    gy_recording r;
    kinds k;
    gy_status s = gy_recording_open(e->ctx, path, NULL, &r);
    if (s != GY_OK) return s;
    double base = 0; /* channels of the highest rate that is a voltage's */
    for (int64_t i = 0; i < r.n_channels; i++)
        if (!r.channel[i].trigger && gy_unit_microvolts(r.channel[i].unit) > 0) base = fmax(base, r.channel[i].rate);
    int64_t n = 0;
    for (int64_t i = 0; i < r.n_channels; i++)
        if (!r.channel[i].trigger && gy_unit_microvolts(r.channel[i].unit) > 0 && r.channel[i].rate == base) {
            e->channels++;
            n = r.channel[i].samples;
        }
    if (e->channels == 0)
        s = gy_fail(e->ctx, GY_ERR_FORMAT, "%s: no channel of voltages", path);
    else if (n < 2)
        s = gy_fail(e->ctx, GY_ERR_FORMAT, "%s: %" PRId64 " samples a channel: expected two or more", path, n);
    if (!(e->rate > 0)) e->rate = base;
    int64_t m = gy_resampled(n, base, e->rate), split = (int64_t)(a->train * (double)m);
    if (s == GY_OK && m < 2 * e->samples)
        s = gy_fail(e->ctx, GY_ERR_SHAPE, "%s: %" PRId64 " samples at %g Hz: expected %" PRId64 " or more, two windows",
                    path, m, e->rate, 2 * e->samples);
    double *x = NULL, *one = NULL;
    if (s == GY_OK) {
        x = gy_malloc(e->ctx, (size_t)(m * e->channels) * sizeof *x);
        one = gy_malloc(e->ctx, (size_t)n * sizeof *one);
        if (!x || !one) s = GY_ERR_NOMEM;
    }
    for (int64_t i = 0, c = 0; s == GY_OK && i < r.n_channels; i++) {
        double scale = gy_unit_microvolts(r.channel[i].unit);
        if (r.channel[i].trigger || !(scale > 0) || r.channel[i].rate != base) continue;
        s = gy_recording_read(&r, i, 0, n, one);
        for (int64_t t = 0; s == GY_OK && t < n; t++) one[t] *= scale;
        if (s == GY_OK) s = channel_in(e, one, n, base, x + c++);
    }
    if (s == GY_OK) s = band(e, a, x, m);
    if (s == GY_OK && a->reference) gy_average_reference(x, m, e->channels);
    if (s == GY_OK) gy_standardise(x, m, e->channels, 0, split, a->clip);
    find_kinds(&r, a->kinds, &k);
    if (s == GY_OK) s = name_classes(e, k.n, k.name);
    if (s == GY_OK) s = cut(e, a, &r, &k, x, m, split);
    gy_free(e->ctx, x);
    gy_free(e->ctx, one);
    gy_recording_close(&r);
    return s;
}

/* ---- folders of cut trials ---- */

/* Equal texts get equal numbers, in order of appearance; *n of them. */
static void number_texts(const char *const *text, int64_t rows, int64_t *number, int64_t *n) {
    *n = 0;
    for (int64_t i = 0; i < rows; i++) {
        int64_t j = 0;
        while (j < i && strcmp(text[j], text[i]) != 0) j++;
        number[i] = j < i ? number[j] : (*n)++;
    }
}

static gy_status column(const gy_table *t, const char *const *names, const char ***out) {
    int64_t c;
    for (; *names; names++)
        if (gy_table_has(t, *names)) {
            gy_status s = gy_table_column(t, *names, &c);
            return s == GY_OK ? gy_table_strings(t, c, out) : s;
        }
    *out = NULL;
    return GY_OK;
}

/* People to hold out: of each class its share, at least one, drawn from the seed. held [people] */
static void hold_out(const gy_eeg_args *a, int64_t rows, const int64_t *label, const int64_t *person, int64_t people,
                     int64_t classes, int64_t *order, bool *held) {
    gy_rng rng;
    gy_rng_init(&rng, a->seed, "eeg.people");
    for (int64_t p = 0; p < people; p++) order[p] = p, held[p] = false;
    gy_rng_shuffle(&rng, order, people);
    for (int64_t c = 0; c < classes; c++) {
        int64_t own = 0, want;
        for (int pass = 0; pass < 2; pass++) {
            want = pass ? (int64_t)fmax(1, floor((1 - a->train) * (double)own + 0.5)) : 0;
            for (int64_t k = 0; k < people; k++) {
                int64_t of = -1;
                for (int64_t i = 0; of < 0 && i < rows; i++)
                    if (person[i] == order[k]) of = label[i];
                if (of != c) continue;
                if (!pass) own++;
                if (pass && want > 0 && own > 1) held[order[k]] = true, want--;
            }
        }
    }
}

static gy_status trials(gy_eeg *e, const gy_eeg_args *a, const char *dir, const gy_tensor *t, const gy_table *table) {
    static const char *const classes[] = {"group", "label", "class", NULL};
    static const char *const persons[] = {"subject", "person", "id", NULL};
    int64_t rows = table->rows, channels = t->shape.rank == 3 ? t->shape.dim[1] : 0, n = channels ? t->shape.dim[2] : 0;
    char text[GY_SHAPE_TEXT];
    if (t->shape.rank != 3 || t->dtype != GY_F32 || t->shape.dim[0] != rows)
        return gy_fail(e->ctx, GY_ERR_SHAPE,
                       "%s/eeg.npy: expected f32 [%" PRId64 " trials, channels, samples], found %s %s", dir, rows,
                       gy_dtype_name(t->dtype), gy_shape_text(t->shape, text));
    double from = a->trial_rate;
    if (!(e->rate > 0)) e->rate = from;
    int64_t m = gy_resampled(n, from, e->rate);
    e->channels = channels;
    if (m < e->samples)
        return gy_fail(e->ctx, GY_ERR_SHAPE,
                       "%s/eeg.npy: trials have %" PRId64 " samples at %g Hz, a window takes %" PRId64
                       ": set fewer samples",
                       dir, m, e->rate, e->samples);
    const char **class = NULL, **who = NULL;
    gy_status s = column(table, classes, &class);
    if (s == GY_OK) s = column(table, persons, &who);
    if (s == GY_OK && (!class || !who))
        s = gy_fail(e->ctx, GY_ERR_FORMAT, "%s/trials.csv: expected the columns subject and group", dir);
    int64_t *label = gy_calloc(e->ctx, (size_t)rows + 1, 3 * sizeof *label);
    bool *held = gy_calloc(e->ctx, (size_t)rows + 1, sizeof *held);
    double *x = gy_calloc(e->ctx, (size_t)(rows * m + 1), (size_t)channels * sizeof *x);
    double *one = gy_calloc(e->ctx, (size_t)n + 1, sizeof *one);
    if (s == GY_OK && (!label || !held || !x || !one)) s = GY_ERR_NOMEM;
    int64_t *person = label + rows, *order = person + rows, people = 0, kinds_of = 0, training = 0;
    if (s == GY_OK) {
        number_texts(class, rows, label, &kinds_of);
        number_texts(who, rows, person, &people);
        hold_out(a, rows, label, person, people, kinds_of, order, held);
        const char **name = gy_calloc(e->ctx, (size_t)kinds_of + 1, sizeof *name);
        for (int64_t i = rows; name && i-- > 0;) name[label[i]] = class[i];
        s = name ? name_classes(e, kinds_of, name) : GY_ERR_NOMEM;
        gy_free(e->ctx, name);
    }
    for (int64_t pass = 0; s == GY_OK && pass < 2; pass++) /* people to train on come first */
        for (int64_t i = 0; s == GY_OK && i < rows; i++) {
            if (held[person[i]] != (pass == 1)) continue;
            double *to = x + training * m * channels;
            for (int64_t c = 0; s == GY_OK && c < channels; c++) {
                for (int64_t k = 0; k < n; k++) one[k] = (double)((const float *)t->data)[(i * channels + c) * n + k];
                s = channel_in(e, one, n, from, to + c);
            }
            if (s == GY_OK) s = band(e, a, to, m);
            if (s == GY_OK && a->reference) gy_average_reference(to, m, channels);
            training++;
        }
    int64_t fit = 0;
    for (int64_t i = 0; s == GY_OK && i < rows; i++) fit += !held[person[i]];
    if (s == GY_OK && fit == 0) s = gy_fail(e->ctx, GY_ERR_SHAPE, "%s: nobody is left to train on", dir);
    if (s == GY_OK) gy_standardise(x, rows * m, channels, 0, fit * m, a->clip);
    if (s == GY_OK) s = new_windows(e, &e->train, fit);
    if (s == GY_OK) s = new_windows(e, &e->pool, fit);
    if (s == GY_OK) s = new_windows(e, &e->test, rows - fit);
    int64_t at = 0;
    for (int64_t pass = 0; s == GY_OK && pass < 2; pass++)
        for (int64_t i = 0; i < rows; i++) {
            if (held[person[i]] != (pass == 1)) continue;
            take(e, x + at++ * m * channels, 0, label[i], person[i], pass ? &e->test : &e->train);
            if (!pass) take(e, x + (at - 1) * m * channels, 0, 0, person[i], &e->pool);
        }
    gy_free(e->ctx, label);
    gy_free(e->ctx, held);
    gy_free(e->ctx, x);
    gy_free(e->ctx, one);
    gy_free(e->ctx, (void *)class);
    gy_free(e->ctx, (void *)who);
    return s;
}

static gy_status from_folder(gy_eeg *e, const gy_eeg_args *a, const char *dir) {
    gy_tensor t = {0};
    gy_table table = {0};
    char *npy = gy_path_join(e->ctx, dir, "eeg.npy"), *csv = gy_path_join(e->ctx, dir, "trials.csv");
    gy_status s = npy && csv ? gy_npy_read(e->ctx, npy, &t) : GY_ERR_NOMEM;
    if (s == GY_OK) s = gy_table_read(e->ctx, csv, NULL, (gy_table_args){0}, &table);
    if (s == GY_OK) s = trials(e, a, dir, &t, &table);
    gy_table_free(&table);
    gy_tensor_free(e->ctx, &t);
    gy_free(e->ctx, npy);
    gy_free(e->ctx, csv);
    return s;
}

gy_status gy_eeg_open(gy_ctx *ctx, const char *path, const gy_eeg_args *args, gy_eeg *e) {
    gy_eeg_args a = *args;
    if (!(a.trial_rate > 0)) a.trial_rate = 256;
    if (!(a.clip > 0)) a.clip = 5;
    if (a.kinds < 1) a.kinds = 16;
    if (!(a.train > 0 && a.train < 1)) a.train = 0.7;
    *e = (gy_eeg){.ctx = ctx, .samples = a.samples, .rate = a.rate};
    gy_status s = gy_path_is_dir(path) ? from_folder(e, &a, path) : from_recording(e, &a, path);
    if (s != GY_OK) {
        gy_eeg_close(e);
        return s;
    }
    const char *slash = strrchr(path, '/');
    snprintf(e->label, sizeof e->label, "%.60s", slash && slash[1] ? slash + 1 : path);
    size_t each = (size_t)(e->samples * e->channels) * sizeof(float);
    e->hash = gy_hash(e->pool.x, (size_t)e->pool.n * each, gy_hash(e->test.x, (size_t)e->test.n * each, 1));
    return GY_OK;
}
