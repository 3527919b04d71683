/* runcv_panels.c: the panels of a leave-one-run-out study in report.html. */
#include "runcv_panels.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What every panel needs. */
typedef struct study {
    const gy_fmri *f;
    const gy_runcv_result *r;
    gy_runcv_data d;
    gy_report *report;
    const char *command;
    double chance;
} study;

static gy_figure_head head(const study *s, const char *title, const char *caption, const char *alt, int64_t n,
                           const char *n_of) {
    return (gy_figure_head){.title = title,
                            .caption = caption,
                            .alt = alt,
                            .command = s->command,
                            .n = n,
                            .n_of = n_of,
                            .chance = gy_chance_at(s->chance),
                            .side = GY_SIDE_NONE};
}

/* Adds a figure that was made, or passes the failure on. */
static gy_status add(const study *s, const char *panel, gy_status made, gy_figure *figure) {
    if (made != GY_OK) return made;
    gy_status status = gy_report_figure(s->report, panel, figure);
    gy_figure_free(s->f->ctx, figure);
    return status;
}

/* ---- words --------------------------------------------------------------------------------------- */

static void introduction(const study *s, bool haxby) {
    char text[1600];
    gy_report *r = s->report;
    const gy_fmri *f = s->f;
    gy_report_section(r, "What was asked, and how it was tested");
    snprintf(text, sizeof text,
             "A person lay in a scanner and looked at pictures of %" PRId64 " categories of things, one category for "
             "some seconds at a time (a block), with rest between. Every %.3g s the scanner recorded one volume: the "
             "blood oxygen signal in %" PRId64
             " voxels, small boxes of tissue a few millimetres wide. The question: do "
             "the voxels of a single volume tell which category was being looked at?\n\n",
             f->classes, f->tr > 0 ? f->tr : NAN, f->voxels);
    gy_report_text(r, text);
    snprintf(
        text, sizeof text,
        "The recording came in %" PRId64 " runs, between which the scanner paused. A decoder is trained on all runs "
        "but one and then guesses the category of each volume of the run that was held out; this is repeated until "
        "every run has been held out once (cross-validation). Hence each of the %" PRId64
        " volumes is judged by a decoder that never saw its run, and the share of right guesses is an honest "
        "estimate for a new run of the same person. Guessing reaches %.3g.\n\n"
        "Whole runs are kept apart because volumes that follow each other resemble each other: if one volume of "
        "a block trained the decoder and the next tested it, the decoder could recognise the moment in "
        "place of the category. Such a path from test data into training is called a leak. For the "
        "same reason the signal is detrended and scaled within each run alone, and permuted labels are dealt to "
        "whole blocks.",
        f->runs, f->volumes, s->chance);
    gy_report_text(r, text);
    if (haxby)
        gy_report_text(r, "The data: one slice of one participant of Haxby et al. 2001 (Science 293:2425-2430), as "
                          "distributed with PyMVPA, licence CC BY-SA 3.0. A standard linear classifier reaches about "
                          "0.68 volume by volume on it, and 0.98 for face against house. The networks' smoothing and "
                          "training options were chosen with this data set in view, the linear classifier's penalty "
                          "too: a small lead of one over the other is no proof that it is the better method.");
    if (f->truth)
        gy_report_text(r, "The data are generated, not measured: each category drives a patch of voxels of its own, in "
                          "noise with memory. They show that the method works, and say nothing about brains.");
}

static void glossary(const study *s) {
    gy_report *r = s->report;
    gy_report_term(r, "voxel",
                   "A small box of the image, here a few millimetres wide: the smallest place that is measured.");
    gy_report_term(r, "volume", "All voxels at one moment; one every repetition time (TR).");
    gy_report_term(r, "run", "A recording without a pause. Runs are what is held out: they share no noise.");
    gy_report_term(r, "block", "Consecutive volumes during which one category was shown.");
    gy_report_term(r, "cross-validation",
                   "Training on a part of the data and testing on the rest, in turns, until all were tested.");
    gy_report_term(r, "leak",
                   "Any way in which test data influence training; it makes results look better than they are.");
    gy_report_term(r, "chance level", "What guessing reaches: one over the number of equally frequent categories.");
    gy_report_term(r, "permutation test",
                   "The analysis repeated with labels dealt at random: how often is chance as good as the truth?");
    gy_report_term(r, "confusion matrix", "Rows: what was shown; columns: what was guessed. The diagonal is right.");
    gy_report_term(r, "ridge classifier", "A linear classifier whose weights are kept small by a penalty.");
    gy_report_term(r, "pattern",
                   "How a voxel moves when the decoder's answer moves; unlike weights it can be read as activity "
                   "(Haufe et al. 2014).");
}

/* ---- confusion matrices ---------------------------------------------------------------------------- */

static gy_status confusion(const study *s, const char *panel, const char *title, const double *score) {
    const gy_fmri *f = s->f;
    int64_t k = f->classes;
    char caption[400], alt[300];
    double *counts = gy_calloc(f->ctx, (size_t)(k * k), sizeof *counts);
    if (!counts) return GY_ERR_NOMEM;
    gy_runcv_confusion(&s->d, score, counts);
    int64_t a = 0, b = 1;
    for (int64_t i = 0; i < k * k; i++)
        if (i / k != i % k && counts[i] > counts[a * k + b]) a = i / k, b = i % k;
    snprintf(
        caption, sizeof caption,
        "Each row is a category that was shown; the numbers are the shares of its volumes that were taken for each "
        "category. All shares would be %.3g if nothing could be decoded. The commonest mistake: %s taken for %s "
        "(%.0f volumes).",
        s->chance, f->class_name[a], f->class_name[b], counts[a * k + b]);
    snprintf(alt, sizeof alt, "Matrix of shown against guessed category; %.3g of all volumes are on the diagonal",
             gy_runcv_accuracy(&s->d, score, -1));
    gy_heatmap c = {.head = head(s, title, caption, alt, f->volumes, "held-out volumes"),
                    .values = counts,
                    .rows = k,
                    .cols = k,
                    .row_names = (const char *const *)f->class_name,
                    .col_names = (const char *const *)f->class_name,
                    .row_label = "category shown",
                    .col_label = "category guessed",
                    .value = {.label = "share of the row's volumes", .unit = "proportion", .lo = 0, .hi = 1},
                    .row_normalised = true,
                    .decimals = 2,
                    .map = GY_MAP_SEQUENTIAL};
    gy_figure figure;
    gy_status status = add(s, panel, gy_figure_heatmap(f->ctx, &c, &figure), &figure);
    gy_free(f->ctx, counts);
    return status;
}

/* ---- accuracy by run ------------------------------------------------------------------------------- */

static gy_status by_run(const study *s) {
    const gy_fmri *f = s->f;
    enum { MOST = 64 };
    gy_bar bars[MOST];
    char text[MOST][3][32];
    const char *cells[MOST * 3];
    static const char *const columns[] = {"run held out", "networks", "ridge"};
    int64_t n = f->runs < MOST ? f->runs : MOST, right = 0;
    for (int64_t i = 0; i < n; i++) {
        double a = gy_runcv_accuracy(&s->d, s->r->network, i), b = gy_runcv_accuracy(&s->d, s->r->ridge, i);
        bars[i] = (gy_bar){.name = f->run_name[i], .value = a};
        right += a > s->chance;
        snprintf(text[i][0], 32, "%.24s", f->run_name[i]);
        snprintf(text[i][1], 32, "%.3f", a);
        snprintf(text[i][2], 32, "%.3f", b);
        for (int c = 0; c < 3; c++) cells[3 * i + c] = text[i][c];
    }
    char caption[300];
    snprintf(caption, sizeof caption,
             "Each bar is a run that was held out; its height is the share of its volumes that the networks "
             "trained on the other runs named rightly. %" PRId64 " of %" PRId64 " runs lie above chance (the line).",
             right, n);
    gy_bar_chart c = {.head = head(s, "Accuracy on each held-out run, networks", caption,
                                   "Bar chart of the networks' accuracy on every held-out run with the chance level", n,
                                   "held-out runs"),
                      .label = "run held out",
                      .y = {.label = "accuracy", .unit = "proportion", .lo = 0, .hi = 1},
                      .bars = bars,
                      .n_bars = n};
    gy_figure figure;
    gy_status status = add(s, "runs", gy_figure_bars(f->ctx, &c, &figure), &figure);
    if (status != GY_OK) return status;
    gy_report_details(s->report, "The numbers, with the linear classifier on the same folds");
    gy_report_rows t = {.caption = "Share of right guesses (proportion) on each held-out run",
                        .command = s->command,
                        .columns = columns,
                        .cells = cells,
                        .n_columns = 3,
                        .n_rows = n};
    gy_report_table(s->report, NULL, &t);
    return gy_report_details_end(s->report);
}

/* ---- permutations ---------------------------------------------------------------------------------- */

static gy_status permutations(const study *s) {
    char caption[400];
    snprintf(caption, sizeof caption,
             "The ridge classifier was trained and tested again with labels dealt at random to the blocks of each run, "
             "%" PRId64
             " times. With the true labels it reaches %.3f; p = %.2g is the share of all labellings, the true one "
             "included, that do as well. Below 0.05 is usually taken as more than chance.",
             s->r->permutations, gy_runcv_accuracy(&s->d, s->r->ridge, -1), s->r->p);
    gy_histogram c = {.head = head(s, "Could it be chance?", caption,
                                   "Histogram of accuracies under permuted labels with the true accuracy marked",
                                   s->r->permutations, "permutations"),
                      .x = {.label = "accuracy of the ridge classifier", .unit = "proportion"},
                      .values = s->r->null,
                      .n_values = s->r->permutations,
                      .has_observed = true,
                      .observed = gy_runcv_accuracy(&s->d, s->r->ridge, -1),
                      .observed_is = "accuracy with the true labels"};
    gy_figure figure;
    return add(s, "permutations", gy_figure_histogram(s->f->ctx, &c, &figure), &figure);
}

/* ---- the map --------------------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The magnitude that `share` of the voxels stay below. */
static gy_status quantile(const study *s, double share, double *out) {
    int64_t n = s->f->voxels;
    double *size = gy_malloc(s->f->ctx, (size_t)n * sizeof *size);
    if (!size) return GY_ERR_NOMEM;
    for (int64_t v = 0; v < n; v++) size[v] = fabs(s->r->pattern[v]);
    qsort(size, (size_t)n, sizeof *size, by_size);
    *out = size[(int64_t)(share * (double)(n - 1))];
    gy_free(s->f->ctx, size);
    return GY_OK;
}

static gy_status map(const study *s) {
    const gy_fmri *f = s->f;
    const int64_t *dim = f->grid.dim;
    char orientation[4], title[200], caption[1000], label[160];
    gy_nifti_orientation(&f->grid, orientation);
    if (strchr(orientation, '?'))
        return gy_report_explain(s->report, "map",
                                 "the image does not say where left and right are, so no picture of it is drawn; the "
                                 "map is in `weights.nii.gz`");
    double threshold = 0;
    gy_status found = quantile(s, 0.6, &threshold);
    if (found != GY_OK) return found;
    float *values = gy_malloc(f->ctx, (size_t)(dim[0] * dim[1] * dim[2]) * sizeof *values);
    if (!values) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < dim[0] * dim[1] * dim[2]; i++) values[i] = NAN;
    for (int64_t v = 0; v < f->voxels; v++) values[f->voxel[v]] = (float)s->r->pattern[v];
    const char *a = f->class_name[s->r->pair[0]], *b = f->class_name[s->r->pair[1]];
    snprintf(title, sizeof title, "Where %s and %s differ", a, b);
    snprintf(label, sizeof label, "%.30s minus %.30s", a, b);
    snprintf(
        caption, sizeof caption,
        "How each voxel moves when the linear decoder, fitted on all runs, says %s rather than %s: positive "
        "voxels answer more to %s, negative ones more to %s. Computed as cov(X) w / var(X w) from the weights w, "
        "because weights themselves also serve to cancel noise (Haufe et al. 2014). In standard "
        "deviations of the signal for one unit of the decoder's answer. The strongest 40 %% of the voxels are drawn "
        "over the mean functional image; all are in `weights.nii.gz`, in the space of the input.",
        a, b, a, b);
    /* a single slice is shown face on, whichever way it was cut */
    gy_plane plane = GY_PLANE_AXIAL;
    int64_t flat = 2, n;
    for (int i = 0; i < 3; i++)
        if (dim[i] == 1) flat = i;
    for (int i = 0; i < 3; i++) {
        bool flat_one = dim[flat] == 1 && i == flat;
        if (flat_one && strchr("LR", orientation[i])) plane = GY_PLANE_SAGITTAL;
        if (flat_one && strchr("PA", orientation[i])) plane = GY_PLANE_CORONAL;
    }
    static const char *const normals[] = {"IS", "PA", "LR"};
    for (int i = 0; i < 3; i++)
        if (strchr(normals[plane], orientation[i])) flat = i;
    n = dim[flat] < 12 ? dim[flat] : 12;
    gy_mosaic c = {.head = head(s, title, caption, "Slices of the mean image with the decoder's pattern over it",
                                f->volumes, "volumes"),
                   .base = f->mean,
                   .base_is = "mean functional image",
                   .map = values,
                   .dim = {dim[0], dim[1], dim[2]},
                   .orientation = orientation,
                   .value = {.label = label, .unit = "sd"},
                   .threshold = threshold,
                   .plane = plane,
                   .n_slices = n};
    c.head.side = GY_SIDE_BOTH;
    c.head.chance = gy_no_chance();
    memcpy(c.affine, f->grid.affine, sizeof c.affine);
    gy_figure figure;
    gy_status status = add(s, "map", gy_figure_mosaic(f->ctx, &c, &figure), &figure);
    gy_free(f->ctx, values);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------------- */

static void summary(const study *s) {
    char text[1000];
    const gy_runcv_result *r = s->r;
    const gy_fmri *f = s->f;
    snprintf(text, sizeof text,
             "The networks name the category of a held-out volume rightly in %.3f of cases, the linear classifier "
             "(ridge) in %.3f, multinomial logistic regression in %.3f; chance is %.3g. Taken block by block: %.3f and "
             "%.3f. For %s against %s alone the linear classifier reaches %.3f (chance 0.5). Correlating the mean "
             "patterns of even and odd runs, as "
             "the paper did, identifies %" PRId64 " of %" PRId64 " categories.",
             gy_runcv_accuracy(&s->d, r->network, -1), gy_runcv_accuracy(&s->d, r->ridge, -1),
             gy_runcv_accuracy(&s->d, r->logistic, -1), s->chance, gy_runcv_block_accuracy(&s->d, r->network),
             gy_runcv_block_accuracy(&s->d, r->ridge), f->class_name[r->pair[0]], f->class_name[r->pair[1]],
             r->pair_ridge, r->identified, f->classes);
    gy_report_text(s->report, text);
}

gy_status gy_runcv_panels(const gy_fmri *f, const gy_runcv_result *r, const char *command, bool haxby,
                          gy_report *report) {
    study s = {f, r, gy_runcv_view(f), report, command, 1.0 / (double)f->classes};
    gy_report_plan(report, "confusion", "which categories are taken for which, networks");
    gy_report_plan(report, "confusion linear", "the same for the linear classifier");
    gy_report_plan(report, "runs", "accuracy on each held-out run");
    gy_report_plan(report, "permutations", "what the classifier reaches with labels dealt at random");
    gy_report_plan(report, "map", "where in the brain two categories differ");
    summary(&s);
    introduction(&s, haxby);
    gy_report_section(report, "Which categories are confused");
    gy_status status = confusion(&s, "confusion", "Confusion matrix, networks", r->network);
    if (status == GY_OK) status = confusion(&s, "confusion linear", "Confusion matrix, linear classifier", r->ridge);
    gy_report_section(report, "Is it reliable?");
    if (status == GY_OK) status = by_run(&s);
    if (status == GY_OK) status = permutations(&s);
    gy_report_section(report, "Where in the brain");
    if (status == GY_OK) status = map(&s);
    glossary(&s);
    return status;
}
