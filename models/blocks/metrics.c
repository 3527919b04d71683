#include "metrics.h"

#include <math.h>
#include <stdlib.h>

/* ---- overlap ---- */

void gy_overlap_add(gy_overlap *o, const uint8_t *predicted, const uint8_t *truth, int64_t n, uint8_t class_id) {
    for (int64_t i = 0; i < n; i++) {
        bool p = predicted[i] == class_id, t = truth[i] == class_id;
        o->both += p && t;
        o->predicted += p;
        o->truth += t;
    }
    o->all += n;
}

double gy_dice(const gy_overlap *o) {
    int64_t sum = o->predicted + o->truth;
    return sum ? 2.0 * (double)o->both / (double)sum : 1.0;
}

double gy_iou(const gy_overlap *o) {
    int64_t either = o->predicted + o->truth - o->both;
    return either ? (double)o->both / (double)either : 1.0;
}

double gy_volume_similarity(const gy_overlap *o) {
    int64_t sum = o->predicted + o->truth;
    return sum ? 1.0 - (double)llabs(o->predicted - o->truth) / (double)sum : 1.0;
}

/* ---- pictures ---- */

double gy_psnr(const float *a, const float *b, int64_t n, double range) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
    return sum > 0 ? 10.0 * log10(range * range * (double)n / sum) : INFINITY;
}

enum { WINDOW = 11 };

double gy_ssim(const float *a, const float *b, int64_t h, int64_t w, double range) {
    double weight[WINDOW], total = 0, sum = 0, c1 = pow(0.01 * range, 2), c2 = pow(0.03 * range, 2);
    if (h < WINDOW || w < WINDOW) return NAN;
    for (int i = 0; i < WINDOW; i++) total += weight[i] = exp(-0.5 * pow((i - WINDOW / 2) / 1.5, 2));
    for (int64_t y = 0; y + WINDOW <= h; y++)
        for (int64_t x = 0; x + WINDOW <= w; x++) {
            double ma = 0, mb = 0, aa = 0, bb = 0, ab = 0;
            for (int i = 0; i < WINDOW; i++)
                for (int k = 0; k < WINDOW; k++) {
                    double g = weight[i] * weight[k] / (total * total);
                    double p = a[(y + i) * w + x + k], q = b[(y + i) * w + x + k];
                    ma += g * p;
                    mb += g * q;
                    aa += g * p * p;
                    bb += g * q * q;
                    ab += g * p * q;
                }
            sum += (2 * ma * mb + c1) * (2 * (ab - ma * mb) + c2) /
                   ((ma * ma + mb * mb + c1) * (aa - ma * ma + bb - mb * mb + c2));
        }
    return sum / (double)((h - WINDOW + 1) * (w - WINDOW + 1));
}

/* ---- scores and decisions ---- */

typedef struct scored {
    float score;
    uint8_t positive;
} scored;

static int by_score(const void *a, const void *b) {
    float x = ((const scored *)a)->score, y = ((const scored *)b)->score;
    return (x > y) - (x < y);
}

gy_status gy_auc(gy_ctx *ctx, const float *score, const uint8_t *label, int64_t n, double *auc) {
    scored *s = gy_malloc(ctx, (size_t)(n > 0 ? n : 1) * sizeof *s);
    double positives = 0, ranks = 0;
    if (!s) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) s[i] = (scored){score[i], label[i] != 0};
    qsort(s, (size_t)n, sizeof *s, by_score);
    for (int64_t i = 0, k; i < n; i = k) { /* a run of ties shares its mean rank */
        for (k = i + 1; k < n && s[k].score == s[i].score;) k++;
        for (int64_t e = i; e < k; e++)
            if (s[e].positive) {
                positives++;
                ranks += 0.5 * (double)(i + 1 + k);
            }
    }
    gy_free(ctx, s);
    double negatives = (double)n - positives;
    *auc = positives > 0 && negatives > 0 ? (ranks - positives * (positives + 1) / 2) / (positives * negatives) : NAN;
    return GY_OK;
}

void gy_confusion_add(gy_confusion *c, const uint8_t *predicted, const uint8_t *truth, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        bool p = predicted[i] != 0, t = truth[i] != 0;
        c->tp += p && t;
        c->fp += p && !t;
        c->fn += !p && t;
        c->tn += !p && !t;
    }
}

double gy_accuracy(const gy_confusion *c) {
    double n = (double)(c->tp + c->fp + c->fn + c->tn);
    return n > 0 ? (double)(c->tp + c->tn) / n : NAN;
}

double gy_balanced_accuracy(const gy_confusion *c) {
    double p = (double)(c->tp + c->fn), n = (double)(c->tn + c->fp);
    return p > 0 && n > 0 ? 0.5 * ((double)c->tp / p + (double)c->tn / n) : NAN;
}

double gy_f1(const gy_confusion *c) {
    double d = (double)(2 * c->tp + c->fp + c->fn);
    return d > 0 ? 2.0 * (double)c->tp / d : 0.0;
}

double gy_mcc(const gy_confusion *c) {
    double tp = (double)c->tp, fp = (double)c->fp, fn = (double)c->fn, tn = (double)c->tn;
    double d = sqrt(tp + fp) * sqrt(tp + fn) * sqrt(tn + fp) * sqrt(tn + fn);
    return d > 0 ? (tp * tn - fp * fn) / d : 0.0;
}
