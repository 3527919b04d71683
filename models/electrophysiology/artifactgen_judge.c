/* ArtifactGen, third part: the rulers that drawn windows meet: a network that learned the classes on real windows,
 * Welch's band power, the kernel two-sample statistic, channel covariance, diversity. */
#include "artifactgen.h"

#include "../../core/linalg/signal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the network that knows real artifacts ---- */

enum { FEATURES = 64, STEPS = 300, ROWS = 64 };

struct judge {
    windows real; /* the test windows in the form of the set that is judged */
    int64_t length;
    gy_store *store;
    float *feature; /* [real.n, FEATURES] */
    double *power;  /* [classes, BANDS] of the real windows */
    double right;   /* share of them whose class it finds */
};

void gy_artifactgen_judge_free(gy_ctx *ctx, judge *k) {
    if (!k) return;
    gy_free(ctx, k->real.x);
    gy_free(ctx, k->real.label);
    gy_free(ctx, k->feature);
    gy_free(ctx, k->power);
    gy_store_free(k->store);
    gy_free(ctx, k);
}

/* Three strided convolutions, mean and maximum over time: x [B, T, C] -> features [B, 64], logits [B, K]. */
static gy_t recogniser(gy_mod *m, gy_t x, int64_t classes, gy_t *feature) {
    gy_t h = gy_relu(gy_nn_conv(m, "conv1", x, 16, GY_S(7), GY_S(2), GY_S(3)));
    h = gy_relu(gy_nn_conv(m, "conv2", h, 32, GY_S(5), GY_S(2), GY_S(2)));
    h = gy_relu(gy_nn_conv(m, "conv3", h, FEATURES / 2, GY_S(3), GY_S(2), GY_S(1)));
    *feature = gy_concat2(1, gy_global_avg_pool(h), gy_global_max_pool(h));
    return gy_nn_linear(m, "out", *feature, classes);
}

/* A plan of `rows` windows: training step (label in, loss out) or features and logits. */
static gy_status recogniser_plan(gy_job *j, judge *k, int64_t rows, bool train, gy_compiled *out) {
    const config *c = j->cfg;
    *out = (gy_compiled){.g = gy_graph_new(j->ctx)};
    if (!out->g) return GY_ERR_NOMEM;
    gy_mod m = gy_mod_make(out->g, k->store, j->seed, train);
    gy_t x = gy_input(out->g, "window", GY_F32, GY_S(rows, k->length, c->channels)), feature;
    gy_t logits = recogniser(&m, x, ((const lab *)j->data)->classes, &feature);
    if (train) {
        gy_t y = gy_input(out->g, "label", GY_I64, GY_S(rows));
        gy_t loss = gy_cross_entropy(logits, y);
        gy_output(loss, "loss");
        gy_optim_adam(out->g, k->store, loss);
    } else {
        gy_output(feature, "feature");
        gy_output(logits, "logits");
    }
    out->plan = gy_compile(out->g, (gy_plan_args){0});
    if (out->plan) return GY_OK;
    gy_compiled_free(out);
    return gy_error_status(j->ctx);
}

/* Window `row` of a set in the judged form: cut, and scaled as the GAN's are. */
static void shaped(const gy_job *j, bool gan, int64_t length, const windows *w, int64_t row, float *out) {
    const config *c = j->cfg;
    memcpy(out, w->x + row * c->length * c->channels, (size_t)(length * c->channels) * sizeof *out);
    if (gan && c->range == 0) gy_artifactgen_min_max(out, length * c->channels);
}

static gy_status train_judge(gy_job *j, bool gan, judge *k) {
    const config *c = j->cfg;
    const lab *d = j->data;
    gy_compiled step;
    gy_status s = recogniser_plan(j, k, ROWS, true, &step);
    if (s != GY_OK) return s;
    gy_rng r;
    gy_rng_init(&r, j->seed, "judge");
    float *x = gy_plan_input(step.plan, "window");
    int64_t *y = gy_plan_input(step.plan, "label");
    for (int64_t i = 0; s == GY_OK && i < STEPS; i++) {
        for (int64_t b = 0; b < ROWS; b++) {
            int64_t row = gy_rng_below(&r, d->train.n);
            shaped(j, gan, k->length, &d->train, row, x + b * k->length * c->channels);
            y[b] = d->train.label[row];
        }
        *(double *)gy_plan_input(step.plan, "lr") = i < STEPS / 2 ? 3e-3 : 1e-3;
        s = gy_plan_run(step.plan);
    }
    gy_compiled_free(&step);
    return s;
}

/* feature [n, FEATURES] of windows x, and the share whose class is found. */
static gy_status recognise(gy_job *j, judge *k, int64_t n, const float *x, const int64_t *label, float *feature,
                           double *share) {
    const config *c = j->cfg;
    int64_t classes = ((const lab *)j->data)->classes, each = k->length * c->channels, right = 0;
    gy_compiled net;
    gy_status s = recogniser_plan(j, k, ROWS, false, &net);
    if (s != GY_OK) return s;
    for (int64_t done = 0; s == GY_OK && done < n; done += ROWS) {
        int64_t here = n - done < ROWS ? n - done : ROWS;
        memcpy(gy_plan_input(net.plan, "window"), x + done * each, (size_t)(here * each) * sizeof *x);
        s = gy_plan_run(net.plan);
        if (s != GY_OK) break;
        const float *logit = gy_plan_output(net.plan, "logits").data;
        memcpy(feature + done * FEATURES, gy_plan_output(net.plan, "feature").data,
               (size_t)(here * FEATURES) * sizeof *feature);
        for (int64_t i = 0; i < here; i++) {
            int64_t best = 0;
            for (int64_t a = 1; a < classes; a++)
                if (logit[i * classes + a] > logit[i * classes + best]) best = a;
            right += best == label[done + i];
        }
    }
    *share = (double)right / (double)n;
    gy_compiled_free(&net);
    return s;
}

/* ---- band power ---- */

const char *const gy_artifactgen_bands[BANDS] = {"delta", "theta", "alpha", "beta", "gamma"};
static const double edge[BANDS + 1] = {0.5, 4, 8, 13, 30, 50};

/* power [classes, BANDS]: mean over the windows of a class, sum over channels. */
static gy_status band_powers(gy_job *j, int64_t length, int64_t n, const float *x, const int64_t *label,
                             double *power) {
    const config *c = j->cfg;
    int64_t classes = ((const lab *)j->data)->classes, bins = length / 2 + 1;
    gy_welch w;
    gy_status s = gy_welch_new(j->ctx, length, c->rate, &w);
    if (s != GY_OK) return s;
    double *psd = gy_calloc(j->ctx, (size_t)bins, sizeof *psd);
    double *one = gy_calloc(j->ctx, (size_t)length, sizeof *one); /* a channel */
    if (!psd || !one) s = GY_ERR_NOMEM;
    for (int64_t k = 0; s == GY_OK && k < classes; k++) {
        double count = 0;
        memset(psd, 0, (size_t)bins * sizeof *psd);
        for (int64_t i = 0; i < n; i++)
            if (label[i] == k) {
                for (int64_t a = 0; a < c->channels; a++) {
                    for (int64_t t = 0; t < length; t++) one[t] = x[(i * length + t) * c->channels + a];
                    gy_welch_add(&w, one, length, 1, psd);
                }
                count++;
            }
        for (int64_t b = 0; b < BANDS; b++)
            power[k * BANDS + b] = count > 0 ? gy_bins_power(&w, psd, edge[b], edge[b + 1]) / count : 0;
    }
    gy_free(j->ctx, psd);
    gy_free(j->ctx, one);
    gy_welch_free(&w);
    return s;
}

/* ---- distances between sets ---- */

static double squared(const float *a, const float *b, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)(a[i] - b[i]) * (double)(a[i] - b[i]);
    return sum;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Gretton et al. 2012 (JMLR 13) eq. (3), unbiased, of m windows each: kernel exp(-|x - y|^2 / (2 s^2)), s the median
 * distance between real ones. real, x [m, width]: in the recogniser's features, because distances of raw windows, of
 * 512 numbers each, hardly tell white noise from EEG. */
static gy_status mmd(gy_ctx *ctx, int64_t m, int64_t width, const float *real, const float *x, double *out) {
    int64_t pairs = m * (m - 1) / 2, k = 0;
    double *d = gy_calloc(ctx, (size_t)pairs, 2 * sizeof *d), *own = d + pairs, across = 0, within = 0;
    if (!d) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < m; i++)
        for (int64_t h = 0; h < i; h++, k++) {
            d[k] = squared(real + i * width, real + h * width, width);
            own[k] = squared(x + i * width, x + h * width, width);
        }
    qsort(d, (size_t)pairs, sizeof *d, rising);
    double scale = 0.5 / d[pairs / 2];
    for (k = 0; k < pairs; k++) within += exp(-scale * d[k]) + exp(-scale * own[k]);
    for (int64_t i = 0; i < m; i++)
        for (int64_t h = 0; h < m; h++) across += exp(-scale * squared(real + i * width, x + h * width, width));
    *out = within / (double)pairs - 2 * across / (double)(m * m);
    gy_free(ctx, d);
    return GY_OK;
}

/* Mean distance of two windows of one class, over at most 60 windows a class, between the directions of their features:
 * lengths say how strong an artifact is, and guidance makes them stronger. */
static double spread(int64_t n, int64_t classes, const float *feature, const int64_t *label) {
    double sum = 0, count = 0;
    for (int64_t k = 0; k < classes; k++) {
        const float *row[60];
        double norm[60];
        int64_t m = 0;
        for (int64_t i = 0; i < n && m < 60; i++)
            if (label[i] == k) {
                row[m] = feature + i * FEATURES;
                norm[m] = 1e-12;
                for (int64_t f = 0; f < FEATURES; f++) norm[m] += (double)row[m][f] * (double)row[m][f];
                m++;
            }
        for (int64_t i = 0; i < m; i++)
            for (int64_t h = 0; h < i; h++, count++) {
                double dot = 0;
                for (int64_t f = 0; f < FEATURES; f++) dot += (double)row[i][f] * (double)row[h][f];
                sum += sqrt(fmax(2 - 2 * dot / sqrt(norm[i] * norm[h]), 0));
            }
    }
    return count > 0 ? sum / count : 0;
}

/* ---- the verdict ---- */

static gy_status judge_of(gy_job *j, bool gan, judge **out) {
    const config *c = j->cfg;
    lab *d = j->data;
    bool same = c->gan_length == c->length && c->range > 0; /* one form of windows, one judge */
    if (d->judge[gan]) {
        *out = d->judge[gan];
        return GY_OK;
    }
    if (gan && same && d->judge[0]) {
        *out = d->judge[1] = d->judge[0];
        return GY_OK;
    }
    judge *k = gy_calloc(j->ctx, 1, sizeof *k);
    if (!k) return GY_ERR_NOMEM;
    k->length = gan ? c->gan_length : c->length;
    int64_t n = d->test.n, each = k->length * c->channels;
    k->store = gy_store_new(j->ctx);
    k->real.n = n;
    k->real.x = gy_calloc(j->ctx, (size_t)n, (size_t)each * sizeof *k->real.x);
    k->real.label = gy_calloc(j->ctx, (size_t)n, sizeof *k->real.label);
    k->feature = gy_calloc(j->ctx, (size_t)n, FEATURES * sizeof *k->feature);
    k->power = gy_calloc(j->ctx, (size_t)d->classes, BANDS * sizeof *k->power);
    gy_status s = k->store && k->real.x && k->real.label && k->feature && k->power ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        shaped(j, gan, k->length, &d->test, i, k->real.x + i * each);
        k->real.label[i] = d->test.label[i];
    }
    if (s == GY_OK) s = train_judge(j, gan, k);
    if (s == GY_OK) s = recognise(j, k, n, k->real.x, k->real.label, k->feature, &k->right);
    if (s == GY_OK) s = band_powers(j, k->length, n, k->real.x, k->real.label, k->power);
    if (s != GY_OK) {
        gy_artifactgen_judge_free(j->ctx, k);
        return s;
    }
    *out = d->judge[gan] = k;
    return GY_OK;
}

gy_status gy_artifactgen_ceiling(gy_job *j, double *share) {
    judge *k;
    gy_status s = judge_of(j, false, &k);
    if (s == GY_OK) *share = k->right;
    return s;
}

static double covariance_error(const gy_job *j, const judge *k, int64_t n, const float *x, const int64_t *label) {
    const config *c = j->cfg;
    int64_t classes = ((const lab *)j->data)->classes, cells = c->channels * c->channels;
    double mean[MAX_CHANNELS], ours[MAX_CHANNELS * MAX_CHANNELS], real[MAX_CHANNELS * MAX_CHANNELS], sum = 0;
    for (int64_t a = 0; a < classes; a++) {
        double gap = 0, norm = 0;
        gy_artifactgen_moments(c, k->length, n, x, label, a, mean, ours);
        gy_artifactgen_moments(c, k->length, k->real.n, k->real.x, k->real.label, a, mean, real);
        for (int64_t i = 0; i < cells; i++) {
            gap += (ours[i] - real[i]) * (ours[i] - real[i]);
            norm += real[i] * real[i];
        }
        sum += sqrt(gap / norm) / (double)classes;
    }
    return sum;
}

gy_status gy_artifactgen_judge(gy_job *j, bool gan, int64_t n, const float *x, const int64_t *label, verdict *out) {
    const lab *d = j->data;
    judge *k;
    gy_status s = judge_of(j, gan, &k);
    if (s != GY_OK) return s;
    *out = (verdict){0};
    float *feature = gy_calloc(j->ctx, (size_t)n, FEATURES * sizeof *feature);
    double *power = gy_calloc(j->ctx, (size_t)d->classes, BANDS * sizeof *power);
    if (!feature || !power) s = GY_ERR_NOMEM;
    if (s == GY_OK) s = recognise(j, k, n, x, label, feature, &out->recovery);
    if (s == GY_OK) s = band_powers(j, k->length, n, x, label, power);
    for (int64_t i = 0; s == GY_OK && i < d->classes * BANDS; i++) {
        double error = fabs(power[i] - k->power[i]) / k->power[i];
        out->bands[i % BANDS] += error / (double)d->classes;
        out->band += error / (double)(d->classes * BANDS);
    }
    int64_t m = n < k->real.n ? n : k->real.n;
    if (s == GY_OK) s = mmd(j->ctx, m < 300 ? m : 300, FEATURES, k->feature, feature, &out->mmd);
    if (s == GY_OK) {
        out->covariance = covariance_error(j, k, n, x, label);
        out->diversity =
            spread(n, d->classes, feature, label) / spread(k->real.n, d->classes, k->feature, k->real.label);
    }
    gy_free(j->ctx, feature);
    gy_free(j->ctx, power);
    return s;
}
