/* BrainMAE, third part: what is measured and claimed. The model is in brainmae.c. */
#include "brainmae.h"
#include "../../core/linalg/classical.h"
#include "../blocks/panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- drawing hidden segments ---- */

/* Mean squared error over hidden and seen segments of the held-out scans, weighted as the loss is; and that of the
 * straight line between the nearest seen samples, over hidden segments alone (*linear), which a model must beat. */
static gy_status measure_loss(gy_job *j, findings *f, double *hidden_error) {
    const lab *d = j->data;
    config c = *(const config *)j->cfg;
    gy_job view = *j;
    gy_compiled run;
    int64_t n = d->test.n, k = gy_brainmae_segments(&c), each = c.samples * d->rois, piece = c.segment * d->rois;
    snprintf(c.stage, sizeof c.stage, "rebuild");
    view.cfg = &c;
    gy_status s = gy_job_compile(&view, n, NULL, 0, &run);
    if (s != GY_OK) return s;
    gy_rng r;
    gy_rng_init(&r, j->seed, "brainmae.evaluation");
    memcpy(gy_plan_input(run.plan, "scan"), d->test.x, (size_t)(n * each) * sizeof(float));
    int64_t *place = gy_plan_input(run.plan, "place"), seen = gy_brainmae_seen(&c, 0);
    gy_brainmae_hide(&c, &r, 0, n, NULL, gy_plan_input(run.plan, "seen"), place);
    s = gy_plan_run(run.plan);
    gy_tensor t = s == GY_OK ? gy_plan_output(run.plan, "rebuilt") : (gy_tensor){0};
    double sum[2] = {0}, line = 0, count[2] = {0};
    for (int64_t i = 0; s == GY_OK && i < n * k; i++) {
        bool hidden = place[i] == seen;
        const float *x = d->test.x + i * piece, *y = (const float *)t.data + i * piece;
        for (int64_t p = 0; p < piece; p++) sum[hidden] += pow((double)x[p] - y[p], 2);
        count[hidden] += (double)piece;
        if (!hidden) continue;
        int64_t scan = i / k * k, before = i, after = i;
        while (before > scan && place[before] == seen) before--;
        while (after < scan + k - 1 && place[after] == seen) after++;
        bool has_before = place[before] != seen, has_after = place[after] != seen;
        for (int64_t p = 0; p < piece; p++) {
            int64_t roi = p % d->rois, at = (i - scan) * c.segment + p / d->rois;
            int64_t last = (before - scan + 1) * c.segment - 1, next = (after - scan) * c.segment;
            const float *one = d->test.x + scan * piece + roi;
            double a = has_before ? one[last * d->rois] : one[next * d->rois];
            double b = has_after ? one[next * d->rois] : a;
            double u = has_before && has_after ? (double)(at - last) / (double)(next - last) : 0;
            line += pow((double)x[p] - (a + u * (b - a)), 2);
        }
    }
    *hidden_error = sum[1] / count[1];
    f->loss = c.lambda * sum[1] / count[1] + (1 - c.lambda) * sum[0] / count[0];
    f->linear = line / count[1];
    gy_compiled_free(&run);
    return s;
}

/* ---- networks in the embeddings ---- */

/* The share of (same network, different network) pairs of pairs in which the same-network one is more alike; ties count
 * half: the area under the ROC curve. Also the matrix of cosines, regions sorted by network. */
static gy_status measure_networks(gy_job *j, findings *f) {
    const lab *d = j->data;
    const gy_state *e = gy_state_find(j->store, "roi_embedding");
    int64_t n = d->rois, w = e ? e->value.shape.dim[1] : 0, k = 0;
    f->auc = NAN;
    if (!e || !d->network || e->value.shape.dim[0] != n) return GY_OK;
    if (!f->cosine) f->cosine = gy_calloc(j->ctx, (size_t)n, (size_t)n * sizeof *f->cosine);
    int64_t *order = gy_malloc(j->ctx, (size_t)n * sizeof *order);
    if (!f->cosine || !order) {
        gy_free(j->ctx, order);
        return GY_ERR_NOMEM;
    }
    for (int64_t net = 0; net < NETWORKS; net++)
        for (int64_t i = 0; i < n; i++)
            if (d->network[i] == net) order[k++] = i;
    f->rois = n;
    const float *v = e->value.data;
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b < n; b++) {
            double ab = 0, aa = 0, bb = 0;
            for (int64_t i = 0; i < w; i++) {
                double x = v[order[a] * w + i], y = v[order[b] * w + i];
                ab += x * y, aa += x * x, bb += y * y;
            }
            f->cosine[a * n + b] = aa > 0 && bb > 0 ? ab / sqrt(aa * bb) : 0;
        }
    double wins = 0, all = 0;
    for (int64_t p = 0; p < n * n; p++) {
        int64_t a = p / n, b = p % n;
        if (a >= b || d->network[order[a]] != d->network[order[b]]) continue;
        for (int64_t q = 0; q < n * n; q++) {
            int64_t x = q / n, y = q % n;
            if (x >= y || d->network[order[x]] == d->network[order[y]]) continue;
            wins += f->cosine[p] > f->cosine[q] ? 1 : f->cosine[p] == f->cosine[q] ? 0.5 : 0;
            all++;
        }
    }
    f->auc = all > 0 ? wins / all : NAN;
    gy_free(j->ctx, order);
    return GY_OK;
}

/* ---- classes of scans ---- */

static gy_status measure_classes(gy_job *j, double *accuracy) {
    const lab *d = j->data;
    config c = *(const config *)j->cfg;
    gy_job view = *j;
    gy_compiled run;
    int64_t n = d->test.n, hits = 0;
    snprintf(c.stage, sizeof c.stage, "class");
    view.cfg = &c;
    gy_status s = gy_job_compile(&view, n, NULL, 0, &run);
    if (s != GY_OK) return s;
    memcpy(gy_plan_input(run.plan, "scan"), d->test.x, (size_t)(n * c.samples * d->rois) * sizeof(float));
    s = gy_plan_run(run.plan);
    gy_tensor t = s == GY_OK ? gy_plan_output(run.plan, "logits") : (gy_tensor){0};
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        const float *z = (const float *)t.data + i * d->classes;
        int64_t best = 0;
        for (int64_t k = 1; k < d->classes; k++)
            if (z[k] > z[best]) best = k;
        hits += best == d->test.label[i];
    }
    *accuracy = (double)hits / (double)n;
    gy_compiled_free(&run);
    return s;
}

/* Correlations between all pairs of regions of each scan (whose regions are standardised): [n, N (N - 1) / 2] */
static void connectivity(const config *c, const lab *d, const scans *s, double *out) {
    int64_t rois = d->rois;
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t a = 0; a < rois; a++)
            for (int64_t b = a + 1; b < rois; b++) {
                double sum = 0;
                const float *x = s->x + i * c->samples * rois;
                for (int64_t t = 0; t < c->samples; t++) sum += (double)x[t * rois + a] * x[t * rois + b];
                *out++ = sum / (double)c->samples;
            }
}

/* The fixed-connectivity baseline: ridge regression of one-hot classes on correlations, the penalty chosen by leaving
 * one out of the labelled scans. */
static gy_status measure_connectivity(gy_job *j, double *accuracy) {
    static const double alpha[] = {0.1, 1, 10, 100};
    enum { ALPHAS = 4 };
    const config *c = j->cfg;
    const lab *d = j->data;
    int64_t p = d->rois * (d->rois - 1) / 2, n = d->train.n, m = d->test.n, k = d->classes, hits = 0;
    double score[ALPHAS];
    double *x = gy_malloc(j->ctx, (size_t)((n + m) * p) * sizeof *x);
    double *y = gy_calloc(j->ctx, (size_t)(n * k), sizeof *y);
    double *coef = gy_malloc(j->ctx, (size_t)((p + 1) * k) * sizeof *coef);
    gy_status s = x && y && coef ? GY_OK : GY_ERR_NOMEM;
    if (s == GY_OK) {
        connectivity(c, d, &d->train, x);
        connectivity(c, d, &d->test, x + n * p);
        for (int64_t i = 0; i < n; i++) y[i * k + d->train.label[i]] = 1;
        gy_ridge_args a = {
            .n = n, .p = p, .t = k, .x = x, .ldx = p, .y = y, .ldy = k, .alpha = alpha, .n_alphas = ALPHAS};
        s = gy_la_ridge_loo(j->ctx, &a, GY_SCORE_NEG_MSE, score, NULL);
        int best = 0;
        for (int i = 1; s == GY_OK && i < ALPHAS; i++)
            if (score[i] > score[best]) best = i;
        a.alpha = alpha + best;
        a.n_alphas = 1;
        if (s == GY_OK) s = gy_la_ridge_fit(j->ctx, &a, coef, coef + p * k);
    }
    for (int64_t i = 0; s == GY_OK && i < m; i++) {
        double most = -INFINITY;
        int64_t said = 0;
        for (int64_t q = 0; q < k; q++) {
            double z = coef[p * k + q];
            for (int64_t f = 0; f < p; f++) z += x[(n + i) * p + f] * coef[f * k + q];
            if (z > most) most = z, said = q;
        }
        hits += said == d->test.label[i];
    }
    *accuracy = (double)hits / (double)m;
    gy_free(j->ctx, x);
    gy_free(j->ctx, y);
    gy_free(j->ctx, coef);
    return s;
}

gy_status gy_brainmae_evaluate(gy_job *j, gy_metrics *out) {
    const config *c = j->cfg;
    const lab *d = j->data;
    findings *f = &((lab *)j->data)->found;
    double hidden = 0, chance = 1.0 / (double)d->classes;
    bool tuned = j->step > c->pretrain_steps;
    gy_status s = tuned ? GY_OK : measure_loss(j, f, &hidden); /* fine-tuning gives drawing up */
    if (s == GY_OK) s = measure_networks(j, f);
    if (s == GY_OK) s = measure_connectivity(j, &f->connectivity);
    if (s == GY_OK && tuned) s = measure_classes(j, &f->tuned);
    if (s != GY_OK) return s;
    if (!tuned) {
        gy_metric_add(out, "rebuilt_error", f->loss, 1, "");
        gy_metric_add(out, "rebuilt_error.hidden", hidden, 1, "");
        gy_metric_add(out, "rebuilt_error.straight_line", f->linear, 1, "");
    }
    if (d->network) gy_metric_add(out, "network_auc", f->auc, 0.5, "AUC");
    if (tuned) gy_metric_add(out, "class_accuracy", f->tuned, chance, "accuracy");
    gy_metric_add(out, "class_accuracy.fixed_connectivity", f->connectivity, chance, "accuracy");
    return s;
}

/* ---- the claim ---- */

/* A fresh job with configuration c, trained for `steps` steps. */
static gy_status arm(const gy_job *j, const config *c, int64_t steps, gy_job *out) {
    gy_status s = gy_job_init(out, j->ctx, j->def, j->config_name, NULL, 0);
    if (s != GY_OK) return s;
    memcpy(out->cfg, c, sizeof *c);
    out->seed = j->seed;
    out->ablate = j->ablate;
    s = gy_job_open(out);
    out->steps = steps;
    if (s == GY_OK) s = gy_job_train(out);
    return s;
}

/* Thresholds are the design's. Measured, pretrained and fine-tuned, on seeds 0-4:
 *                             0      1      2      3      4    without region  position       scratch
 *                                                              0      1        0      1       0      1
 *   rebuilt error             0.420  0.411  0.421  0.417  0.419  0.984  0.984  0.798  0.794   1.098  1.085
 *   network AUC               0.986  0.920  0.977  0.962  0.952  0.530  0.490  0.994  0.993   0.523  0.482
 *   fixed connectivity        0.500  0.477  0.547  0.547  0.467  0.500  0.477  0.500  0.477   0.500  0.477
 *   pretrained                1.000  1.000  1.000  1.000  1.000  0.507  0.487  0.497  0.480   0.520  0.520
 *   from scratch              0.520  0.520  0.543  0.563  0.490  0.520  0.520  0.450  0.513   0.520  0.520
 *   pretrained, tune_mask=0   0.997  0.737  0.997  0.977  1.000
 * The last row is fine-tuning on whole scans (--set tune_mask=0): as many steps, the same pretraining, but seed 1 falls
 * through. All 48 labelled scans are fitted there as everywhere, but by heart. Smaller rates, dropout of 0.1 or 0.3 and
 * a weight decay of 0.3 in fine-tuning did not mend that, nor is it the drawing: seed 1's error is the smallest.
 * Encoder or decoder may work a scan's direction out, and what pretraining leaves to the decoder is lost to fine-tuning
 * (a quadratic probe of the encoder's states finds the direction in 0.62 of seed 1's segments, in 0.73 to 0.86 of the
 * others'). With segments left out the encoder meets what it knows from pretraining, and never twice the same.
 * Seeds not used for the above: 11-15, 17-20; pretrained 0.993 (14) and eight times 1.000, from scratch at most 0.543.
 * (11 and 12 had been looked at before tune_mask was made, the others had not.) */
gy_status gy_brainmae_claim(gy_job *j, gy_claim *out) {
    config c = *(const config *)j->cfg, fresh;
    gy_job trained, scratch;
    findings f = {0};
    double hidden = 0, alone = 0;
    if (c.pretrain_steps < 1 || c.tune_steps < 1)
        return gy_fail(j->ctx, GY_ERR_USAGE, "brainmae: the claim needs steps of both phases");
    bool from_scratch = gy_ablates(j->ablate, "scratch");
    gy_status s = arm(j, &c, from_scratch ? 0 : c.pretrain_steps, &trained);
    if (s == GY_OK) s = measure_loss(&trained, &f, &hidden);
    if (s == GY_OK) s = measure_networks(&trained, &f);
    if (s == GY_OK) s = measure_connectivity(&trained, &f.connectivity);
    trained.steps += c.tune_steps; /* what was drawn and which regions are alike is judged before fine-tuning */
    if (s == GY_OK) s = gy_job_train(&trained);
    if (s == GY_OK) s = measure_classes(&trained, &f.tuned);
    gy_job_free(&trained);
    gy_free(j->ctx, f.cosine);
    if (s != GY_OK) return s;
    fresh = c;
    fresh.pretrain_steps = 0;
    s = arm(j, &fresh, c.tune_steps, &scratch);
    if (s == GY_OK) s = measure_classes(&scratch, &alone);
    gy_job_free(&scratch);
    if (s != GY_OK) return s;
    gy_metric_add(&out->details, "a rebuilt error", f.loss, 1, "");
    gy_metric_add(&out->details, "a rebuilt error, hidden", hidden, 1, "");
    gy_metric_add(&out->details, "a straight line, hidden", f.linear, 1, "");
    gy_metric_add(&out->details, "b network AUC of embeddings", f.auc, 0.5, "");
    gy_metric_add(&out->details, "c fixed connectivity", f.connectivity, 0.5, "");
    gy_metric_add(&out->details, "d pretrained", f.tuned, 0.5, "");
    gy_metric_add(&out->details, "d from scratch", alone, 0.5, "");
    out->metric = "accuracy of telling forwards from backwards after pretraining, 48 labels";
    out->value = f.tuned;
    out->baseline = fmax(f.connectivity, alone);
    out->threshold = 0.90;
    out->chance = 0.5;
    out->pass = f.loss <= 0.50 && hidden < f.linear && f.auc >= 0.85 && f.connectivity <= 0.60 && f.tuned >= 0.90 &&
                f.tuned >= alone + 0.20;
    return GY_OK;
}

/* ---- the report ---- */

gy_status gy_brainmae_panels(gy_job *j, void *report) {
    const config *c = j->cfg;
    const lab *d = j->data;
    const findings *f = &d->found;
    gy_panel networks = {.panel = "networks",
                         .title = "Which regions have become alike",
                         .caption = "Cosines between the learned embeddings of regions, sorted by the network that was "
                                    "planted. Bright blocks on the diagonal: regions of one network were given "
                                    "similar embeddings although nobody named networks.",
                         .alt = "Matrix of cosines between regions",
                         .label = "cosine",
                         .unit = GY_NO_UNIT,
                         .lo = -1,
                         .hi = 1,
                         .n = d->rois * (d->rois - 1) / 2,
                         .n_of = "pairs of regions",
                         .chance = NAN};
    gy_panel classes = {.panel = "classes",
                        .title = "Telling scans apart",
                        .caption = "Correlations between regions against the fine-tuned model, on held-out scans. In "
                                   "the generated scans both classes have the same correlations: only the order of "
                                   "events differs.",
                        .alt = "Two bars of accuracy",
                        .label = "accuracy",
                        .unit = "share right",
                        .hi = 1,
                        .n = d->test.n,
                        .n_of = "held-out scans",
                        .chance = 1.0 / (double)d->classes};
    gy_report_plan(report, "networks", "whether regions of one network end up with similar embeddings");
    gy_report_plan(report, "classes", "whether the learned states tell scans apart where connectivity cannot");
    gy_report_text(report,
                   "Two thirds of each scan's segments are hidden and must be drawn from the rest, region by region. "
                   "A region's embedding is all that tells the drawing head which region it is drawing, so "
                   "regions that behave alike are pushed to be alike.");
    gy_status s = f->cosine
                      ? gy_panel_matrix(j, report, &networks,
                                        &(gy_panel_matrix_args){.rows = f->rois,
                                                                .cols = f->rois,
                                                                .values = f->cosine,
                                                                .row_label = "region, by network",
                                                                .col_label = "region, by network"})
                      : gy_report_explain(report, "networks", "the networks of a recording's channels are unknown");
    bool tuned = j->step > c->pretrain_steps;
    if (s == GY_OK)
        s = tuned ? gy_panel_bars(j, report, &classes, 2, (const char *[]){"fixed connectivity", "BrainMAE"},
                                  (double[]){f->connectivity, f->tuned})
                  : gy_report_explain(report, "classes", "training ended before fine-tuning");
    gy_report_term(report, "region embedding", "a vector for each region, learned, the same for every scan");
    gy_report_term(report, "transient state", "one vector for what all regions do during one segment");
    return s;
}
