/* haxby, second part: what is measured, shown and claimed. Each volume is scored by the networks and by the linear
 * classifier that never saw its run; the claim is tested where the informative voxels are known. The model is in
 * haxby.c. */
#include "haxby.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/* ---- evaluation ---------------------------------------------------------------------------------- */

gy_status gy_haxby_evaluate(gy_job *j, gy_metrics *out) {
    const haxby_cfg *c = j->cfg;
    haxby_data *d = j->data;
    gy_runcv_data v = gy_runcv_view(&d->f);
    gy_runcv_result_free(&d->result);
    gy_status s = gy_runcv_result_new(j->ctx, &v, c->permutations, &d->result);
    if (s == GY_OK) s = gy_haxby_scores(j, d->result.network);
    if (s == GY_OK) s = gy_runcv_baseline(&d->f, c->ridge * (double)v.p, j->seed, &d->result);
    if (s == GY_OK) gy_runcv_metrics(&d->f, &d->result, out);
    return s;
}

gy_status gy_haxby_artefacts(gy_job *j, const char *dir) {
    haxby_data *d = j->data;
    return gy_runcv_write(&d->f, &d->result, dir);
}

/* The images of Haxby et al. 2001 are known by their mean, whatever the files and labels are called: their licence asks
 * to be named wherever results are shown. */
static bool is_haxby_2001(const gy_fmri *f) {
    size_t n = (size_t)(f->grid.dim[0] * f->grid.dim[1] * f->grid.dim[2]);
    return gy_hash(f->mean, n * sizeof *f->mean, 1) == UINT64_C(0xb737528f545f4f61);
}

gy_status gy_haxby_panels(gy_job *j, void *report) {
    haxby_data *d = j->data;
    char command[256];
    snprintf(command, sizeof command, "gyrus train haxby%s%s --seed %" PRIu64, j->data_path ? " --data " : "",
             j->data_path ? j->data_path : "", j->seed);
    return gy_runcv_panels(&d->f, &d->result, command, is_haxby_2001(&d->f), report);
}

/* ---- the claim ----------------------------------------------------------------------------------- */

/* What the mean level of a volume tells by itself: the ridge on one number a volume. */
static gy_status level_accuracy(gy_ctx *ctx, const gy_fmri *f, double *accuracy) {
    gy_runcv_data d = gy_runcv_view(f);
    gy_runcv_ridge r = {0};
    float *level = gy_calloc(ctx, (size_t)f->volumes, sizeof *level);
    double *score = gy_calloc(ctx, (size_t)(f->volumes * f->classes), sizeof *score);
    gy_status s = level && score ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < f->volumes * f->voxels; i++)
        level[i / f->voxels] += f->x[i] / (float)f->voxels;
    d.p = 1;
    d.x = level;
    if (s == GY_OK) s = gy_runcv_ridge_fit(ctx, &d, 1, &r);
    if (s == GY_OK) {
        gy_runcv_ridge_predict(&r, d.classes, d.label, score);
        *accuracy = gy_runcv_accuracy(&d, score, -1);
    }
    gy_runcv_ridge_free(&r);
    gy_free(ctx, level);
    gy_free(ctx, score);
    return s;
}

/* The paper's claim on generated data whose informative voxels are known: the pattern of the response tells the
 * categories of held-out runs apart where its level does not (the baseline), more than relabelling ever does, and the
 * decoder's map is stronger where the truth is than elsewhere. */
gy_status gy_haxby_claim(gy_job *j, gy_claim *out) {
    gy_metrics m = {0};
    gy_status s = gy_job_open(j);
    if (s == GY_OK) s = gy_job_train(j);
    if (s == GY_OK) s = gy_haxby_evaluate(j, &m);
    if (s == GY_OK) s = level_accuracy(j->ctx, &((haxby_data *)j->data)->f, &out->baseline);
    if (s != GY_OK) return s;
    const haxby_data *d = j->data;
    double sum[2] = {0}, n[2] = {0}; /* outside, inside the informative voxels */
    for (int64_t v = 0; v < d->f.voxels && d->f.truth; v++) {
        sum[d->f.truth[v]] += fabs(d->result.pattern[v]);
        n[d->f.truth[v]]++;
    }
    double located = sum[0] > 0 && n[1] > 0 ? sum[1] / n[1] / (sum[0] / n[0]) : 0;
    out->metric = "held-out volume accuracy, 8 categories";
    out->value = gy_metric_get(&m, "accuracy");
    out->threshold = 0.35;
    out->chance = 1.0 / (double)d->f.classes;
    out->details = m;
    gy_metric_add(&out->details, "pattern_inside_over_outside", located, 1, "");
    out->pass = out->value >= out->threshold && out->value >= out->baseline + 0.15 &&
                gy_metric_get(&m, "permutation_p") < 0.01 && (!d->f.truth || located > 1.3);
    return GY_OK;
}
