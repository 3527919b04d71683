/* ArtifactGen, second part: what it trains on. Either generated windows whose artifact is known, or a folder of real
 * windows:
 *
 *     eeg.npy       [windows, channels, samples], any number type
 *     trials.csv    a row a window: column `label` or `group`, the class; `subject`, which keeps subjects apart
 *     channels.txt  a name a line (optional). Where it holds all of the paper's eight electrodes, these are taken,
 *                   otherwise the first ones.
 *
 * A fifth of the subjects (of the windows, where no subject is given) is held out. Each channel is standardised by the
 * training windows. */
#include "artifactgen.h"

#include "../../io/files.h"
#include "../../io/formats/npy.h"
#include "../../io/formats/table.h"
#include "../../core/linalg/signal.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static gy_status windows_new(gy_ctx *ctx, const config *c, int64_t n, windows *w) {
    w->n = n;
    w->x = gy_calloc(ctx, (size_t)(n * c->length), (size_t)c->channels * sizeof *w->x);
    w->label = gy_calloc(ctx, (size_t)n, sizeof *w->label);
    return w->x && w->label ? GY_OK : GY_ERR_NOMEM;
}

/* ---- the generated world ---- */

/* Kinds of artifact, in the order of the classes. */
enum { EYE, MUSCLE, ELECTRODE, CHEWING, SHIVER, KINDS };
static const char *const kinds[KINDS] = {"eye", "muscle", "electrode", "chewing", "shiver"};

typedef struct maker {
    const config *c;
    gy_rfft_plan *fft;
    double *noise; /* [length] */
    double complex *bins, *work;
} maker;

static double between(gy_rng *r, double lo, double hi) {
    return lo + (hi - lo) * gy_rng_uniform(r);
}

/* x[., channel] += gain times noise between lo and hi Hz, where it is switched on: from `from` for `on` seconds of
 * every `period`. */
static void add_noise(maker *k, gy_rng *r, float *x, int64_t channel, double lo, double hi, double slope, double gain,
                      double from, double on, double period) {
    gy_band_noise(k->fft, k->c->rate, lo, hi, slope, r, k->noise, k->bins, k->work);
    for (int64_t i = 0; i < k->c->length; i++) {
        double t = (double)i / k->c->rate - from;
        t -= period * floor(t / period);
        if (t < on) x[i * k->c->channels + channel] += (float)(gain * k->noise[i]);
    }
}

/* Background: noise of power 1/f and deviation 0.3. Artifacts: eye, half a sine of 1 to 2 Hz and height 3 on the first
 * two channels; muscle, 300 to 700 ms of noise at 20 to 45 Hz, deviation 1.5, on the third and fourth; electrode, a
 * step of +-4 that decays within 100 to 400 ms on one channel; chewing, noise at 18 to 30 Hz switched by a square wave
 * of 2 Hz on all; shiver, a sine of 10 to 12 Hz and height 1.5, in phase on all. x [length, channels]. */
static void make_window(maker *k, gy_rng *r, int64_t kind, float *x) {
    const config *c = k->c;
    int64_t n = c->length, ch = c->channels;
    double seconds = (double)n / c->rate, nyquist = c->rate / 2;
    memset(x, 0, (size_t)(n * ch) * sizeof *x);
    for (int64_t a = 0; a < ch; a++) add_noise(k, r, x, a, 0, nyquist, 1, 0.3, 0, 2 * seconds, 4 * seconds);
    if (kind == EYE) {
        double half = 0.5 / between(r, 1, 2), from = between(r, 0, seconds - half);
        for (int64_t i = 0; i < n; i++) {
            double t = ((double)i / c->rate - from) / half;
            for (int64_t a = 0; t >= 0 && t <= 1 && a < ch && a < 2; a++)
                x[i * ch + a] += (float)(3 * sin(3.141592653589793 * t));
        }
    } else if (kind == MUSCLE) {
        double on = between(r, 0.3, 0.7), from = between(r, 0, seconds - on);
        for (int64_t a = 2; a < ch && a < 4; a++) add_noise(k, r, x, a, 20, 45, 0, 1.5, from, on, 4 * seconds);
    } else if (kind == ELECTRODE) {
        int64_t a = gy_rng_below(r, ch);
        double height = gy_rng_uniform(r) < 0.5 ? -4 : 4, tau = between(r, 0.1, 0.4);
        double from = between(r, 0, 0.75 * seconds);
        for (int64_t i = 0; i < n; i++) {
            double t = (double)i / c->rate - from;
            if (t >= 0) x[i * ch + a] += (float)(height * exp(-t / tau));
        }
    } else if (kind == CHEWING) {
        double from = between(r, 0, 0.5);
        for (int64_t a = 0; a < ch; a++) add_noise(k, r, x, a, 18, 30, 0, 1, from, 0.25, 0.5);
    } else {
        double f = between(r, 10, 12), phase = between(r, 0, 6.283185307179586);
        for (int64_t i = 0; i < n; i++)
            for (int64_t a = 0; a < ch; a++)
                x[i * ch + a] += (float)(1.5 * sin(6.283185307179586 * f * (double)i / c->rate + phase));
    }
}

static gy_status make_set(gy_job *j, maker *k, const char *name, int64_t n, windows *out) {
    const config *c = k->c;
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    gy_status s = windows_new(j->ctx, c, n, out);
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        out->label[i] = i % c->classes;
        make_window(k, &r, out->label[i] % KINDS, out->x + i * c->length * c->channels);
    }
    return s;
}

static gy_status generated(gy_job *j, lab *d) {
    const config *c = j->cfg;
    maker k = {.c = c};
    if ((double)c->length / c->rate < 0.7)
        return gy_fail(j->ctx, GY_ERR_USAGE, "artifactgen: windows of %g s: generated artifacts need 0.7 s at least",
                       (double)c->length / c->rate);
    if (c->classes > KINDS)
        return gy_fail(j->ctx, GY_ERR_USAGE,
                       "artifactgen: classes=%" PRId64 ": there are %d kinds of generated artifact", c->classes, KINDS);
    gy_status s = gy_rfft_new(j->ctx, c->length, &k.fft);
    if (s != GY_OK) return s;
    k.noise = gy_calloc(j->ctx, (size_t)c->length, sizeof *k.noise);
    k.bins = gy_calloc(j->ctx, (size_t)(c->length / 2 + 1), sizeof *k.bins);
    k.work = gy_calloc(j->ctx, (size_t)gy_rfft_work(k.fft), sizeof *k.work);
    if (!k.noise || !k.bins || !k.work) s = GY_ERR_NOMEM;
    if (s == GY_OK) s = make_set(j, &k, "train", c->windows, &d->train);
    if (s == GY_OK) s = make_set(j, &k, "test", c->tests, &d->test);
    d->classes = c->classes;
    for (int64_t i = 0; i < d->classes; i++) snprintf(d->name[i], sizeof d->name[i], "%s", kinds[i]);
    snprintf(j->data_label, sizeof j->data_label, "generated");
    gy_rfft_free(j->ctx, k.fft);
    gy_free(j->ctx, k.noise);
    gy_free(j->ctx, k.bins);
    gy_free(j->ctx, k.work);
    return s;
}

/* ---- a folder ---- */

static bool same_name(const char *a, const char *b) {
    while (*a && *b && toupper((unsigned char)*a) == toupper((unsigned char)*b)) a++, b++;
    return !*a && !*b;
}

/* Which of the file's channels become ours: pick [channels]. */
static gy_status pick_channels(gy_job *j, int64_t there, int64_t *pick) {
    /* the paper's, under their old and their new names */
    static const char *const names[8][2] = {{"FP1", "FP1"}, {"FP2", "FP2"}, {"C3", "C3"}, {"C4", "C4"},
                                            {"O1", "O1"},   {"O2", "O2"},   {"T3", "T7"}, {"T4", "T8"}};
    const config *c = j->cfg;
    int64_t found[8], n = 0;
    char *path = gy_format(j->ctx, "%s/channels.txt", j->data_path);
    gy_table t = {0};
    if (!path) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < c->channels; i++) pick[i] = i;
    gy_status s = GY_OK;
    if (gy_path_exists(path)) s = gy_table_read(j->ctx, path, NULL, (gy_table_args){.headerless = true}, &t);
    if (s == GY_OK && t.rows && t.rows != there)
        s = gy_fail(j->ctx, GY_ERR_SHAPE, "%s: %" PRId64 " names for %" PRId64 " channels", path, t.rows, there);
    for (int64_t k = 0; s == GY_OK && k < 8 && k < c->channels; k++)
        for (int64_t i = 0; i < t.rows && n == k; i++)
            if (same_name(gy_table_cell(&t, i, 0), names[k][0]) || same_name(gy_table_cell(&t, i, 0), names[k][1]))
                found[n++] = i;
    if (n == c->channels) memcpy(pick, found, (size_t)n * sizeof *pick);
    gy_table_free(&t);
    gy_free(j->ctx, path);
    return s;
}

/* The number of `text` among the names seen so far; a new one is added. -1: there are already `most`. */
static int64_t number_of(const char *text, const char **seen, int64_t *n, int64_t most) {
    int64_t i = 0;
    while (i < *n && strcmp(seen[i], text) != 0) i++;
    if (i == most) return -1;
    if (i == *n) seen[(*n)++] = text;
    return i;
}

enum { MAX_SUBJECTS = 4096 };

/* Splits the array [n, channels, samples] into training and test windows of the configuration's length. */
static gy_status split(gy_job *j, lab *d, const gy_tensor *eeg, const gy_table *t, const int64_t *pick) {
    const config *c = j->cfg;
    int64_t n = eeg->shape.dim[0], there = eeg->shape.dim[1], samples = eeg->shape.dim[2], subjects = 0;
    int64_t column, who = -1, per = samples / c->length, n_test = 0;
    const char *subject[MAX_SUBJECTS], *class[MAX_CLASSES];
    gy_status s = gy_table_column(t, gy_table_has(t, "label") ? "label" : "group", &column);
    if (s == GY_OK && gy_table_has(t, "subject")) s = gy_table_column(t, "subject", &who);
    int64_t *side = gy_calloc(j->ctx, (size_t)n, 2 * sizeof *side), *label = side + n;
    if (!side) return GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n; i++) { /* every fifth subject, or window, is held out */
        int64_t k = who >= 0 ? number_of(gy_table_cell(t, i, who), subject, &subjects, MAX_SUBJECTS) : i;
        label[i] = number_of(gy_table_cell(t, i, column), class, &d->classes, c->classes);
        if (k < 0 || label[i] < 0)
            s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s: line %" PRId64 ": more than %d %s", t->path, t->line[i],
                        k < 0 ? MAX_SUBJECTS : (int)c->classes, k < 0 ? "subjects" : "classes (see --set classes=)");
        side[i] = k % 5 == 4;
        n_test += side[i];
    }
    if (s == GY_OK && (n_test == 0 || n_test == n))
        s = gy_fail(j->ctx, GY_ERR_FORMAT, "%s: fewer than five subjects: nothing can be held out", t->path);
    if (s == GY_OK) s = windows_new(j->ctx, c, (n - n_test) * per, &d->train);
    if (s == GY_OK) s = windows_new(j->ctx, c, n_test * per, &d->test);
    int64_t at[2] = {0, 0};
    for (int64_t i = 0; s == GY_OK && i < n; i++)
        for (int64_t w = 0; w < per; w++) {
            windows *set = side[i] ? &d->test : &d->train;
            int64_t row = at[side[i]]++;
            float *x = set->x + row * c->length * c->channels;
            set->label[row] = label[i];
            for (int64_t k = 0; k < c->length; k++)
                for (int64_t a = 0; a < c->channels; a++) {
                    double v = gy_tensor_get(eeg, (i * there + pick[a]) * samples + w * c->length + k);
                    if (!isfinite(v) && s == GY_OK)
                        s = gy_fail(j->ctx, GY_ERR_NUMERIC,
                                    "%s/eeg.npy: window %" PRId64 ", channel %" PRId64 ", sample %" PRId64
                                    " is not finite",
                                    j->data_path, i, pick[a], w * c->length + k);
                    x[k * c->channels + a] = (float)v;
                }
        }
    for (int64_t k = 0; s == GY_OK && k < d->classes; k++) snprintf(d->name[k], sizeof d->name[k], "%s", class[k]);
    gy_free(j->ctx, side);
    return s;
}

static gy_status from_folder(gy_job *j, lab *d) {
    const config *c = j->cfg;
    gy_tensor eeg = {0};
    gy_table t = {0};
    int64_t pick[MAX_CHANNELS];
    char *array = gy_format(j->ctx, "%s/eeg.npy", j->data_path),
         *rows = gy_format(j->ctx, "%s/trials.csv", j->data_path);
    gy_status s = array && rows ? gy_npy_read(j->ctx, array, &eeg) : GY_ERR_NOMEM;
    if (s == GY_OK && (eeg.shape.rank != 3 || eeg.shape.dim[1] < c->channels || eeg.shape.dim[2] < c->length))
        s = gy_fail(j->ctx, GY_ERR_SHAPE,
                    "%s: expected [windows, channels, samples] with at least %" PRId64 " channels and %" PRId64
                    " samples, found %s (see --set channels=, length=)",
                    array, c->channels, c->length, gy_shape_text(eeg.shape, (char[GY_SHAPE_TEXT]){0}));
    if (s == GY_OK) s = gy_table_read(j->ctx, rows, NULL, (gy_table_args){0}, &t);
    if (s == GY_OK && t.rows != eeg.shape.dim[0])
        s = gy_fail(j->ctx, GY_ERR_SHAPE, "%s: %" PRId64 " rows for %" PRId64 " windows", rows, t.rows,
                    eeg.shape.dim[0]);
    if (s == GY_OK) s = pick_channels(j, eeg.shape.dim[1], pick);
    if (s == GY_OK) s = split(j, d, &eeg, &t, pick);
    snprintf(j->data_label, sizeof j->data_label, "eeg.npy, trials.csv");
    gy_tensor_free(j->ctx, &eeg);
    gy_table_free(&t);
    gy_free(j->ctx, array);
    gy_free(j->ctx, rows);
    return s;
}

/* ---- both ---- */

/* Mean 0 and deviation 1 a channel, by the training windows. */
static void standardise(const config *c, lab *d) {
    int64_t rows = d->train.n * c->length, ch = c->channels;
    for (int64_t a = 0; a < ch; a++) {
        double sum = 0, square = 0;
        for (int64_t i = 0; i < rows; i++) sum += d->train.x[i * ch + a];
        d->mean[a] = sum / (double)rows;
        for (int64_t i = 0; i < rows; i++) {
            double v = d->train.x[i * ch + a] - d->mean[a];
            square += v * v;
        }
        d->deviation[a] = square > 0 ? sqrt(square / (double)rows) : 1;
    }
    for (int k = 0; k < 2; k++) {
        windows *w = k ? &d->test : &d->train;
        for (int64_t i = 0; i < w->n * c->length * ch; i++)
            w->x[i] = (float)((w->x[i] - d->mean[i % ch]) / d->deviation[i % ch]);
    }
}

gy_status gy_artifactgen_open(gy_job *j) {
    const config *c = j->cfg;
    lab *d = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    j->data = d;
    gy_status s = j->data_path ? from_folder(j, d) : generated(j, d);
    if (s != GY_OK) return s;
    standardise(c, d);
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps;
    j->data_hash = gy_hash(d->train.x, (size_t)(d->train.n * c->length * c->channels) * sizeof *d->train.x, 0);
    return GY_OK;
}

void gy_artifactgen_close(gy_job *j) {
    lab *d = j->data;
    for (int k = 0; k < 2; k++) {
        gy_free(j->ctx, (k ? &d->test : &d->train)->x);
        gy_free(j->ctx, (k ? &d->test : &d->train)->label);
    }
    if (d->judge[1] != d->judge[0]) gy_artifactgen_judge_free(j->ctx, d->judge[1]);
    gy_artifactgen_judge_free(j->ctx, d->judge[0]);
    gy_free(j->ctx, d);
    j->data = NULL;
}

void gy_artifactgen_min_max(float *x, int64_t n) {
    float lo = x[0], hi = x[0];
    for (int64_t i = 1; i < n; i++) {
        lo = fminf(lo, x[i]);
        hi = fmaxf(hi, x[i]);
    }
    for (int64_t i = 0; i < n; i++) x[i] = hi > lo ? 2 * (x[i] - lo) / (hi - lo) - 1 : 0;
}

/* Random windows; the GAN's are cut from the start. The U-Net's labels are dropped now and then. */
gy_status gy_artifactgen_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    const lab *d = j->data;
    float *x = gy_plan_input(p, "window");
    int64_t *label = gy_plan_input(p, "label"), length = phase ? c->gan_length : c->length;
    char name[48];
    snprintf(name, sizeof name, "batch.%" PRId64 ".%" PRId64, phase, step);
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    for (int64_t i = 0; i < j->batch; i++) {
        int64_t row = gy_rng_below(&r, d->train.n), n = length * c->channels;
        bool drop = gy_rng_uniform(&r) < c->drop;
        if (label) label[i] = phase == 0 && drop ? c->classes : d->train.label[row];
        if (!x) continue;
        memcpy(x + i * n, d->train.x + row * c->length * c->channels, (size_t)n * sizeof *x);
        if (phase && c->range == 0) gy_artifactgen_min_max(x + i * n, n);
    }
    return GY_OK;
}
