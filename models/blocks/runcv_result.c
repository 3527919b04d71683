/* runcv_result.c: the numbers and files of a leave-one-run-out study. */
#include "runcv_panels.h"

#include "../../core/linalg/linalg.h"
#include "../../io/files.h"
#include "../../io/formats/table.h"

#include <math.h>
#include <string.h>

gy_status gy_runcv_result_new(gy_ctx *ctx, const gy_runcv_data *d, int64_t permutations, gy_runcv_result *out) {
    size_t scores = (size_t)(d->n * d->classes);
    *out = (gy_runcv_result){.ctx = ctx, .permutations = permutations};
    out->network = gy_calloc(ctx, scores, sizeof(double));
    out->ridge = gy_calloc(ctx, scores, sizeof(double));
    out->logistic = gy_calloc(ctx, scores, sizeof(double));
    out->null = gy_calloc(ctx, (size_t)permutations + 1, sizeof(double));
    out->pattern = gy_calloc(ctx, (size_t)d->p, sizeof(double));
    if (out->network && out->ridge && out->logistic && out->null && out->pattern) return GY_OK;
    gy_runcv_result_free(out);
    return GY_ERR_NOMEM;
}

void gy_runcv_result_free(gy_runcv_result *r) {
    if (!r->ctx) return;
    gy_free(r->ctx, r->network);
    gy_free(r->ctx, r->ridge);
    gy_free(r->ctx, r->logistic);
    gy_free(r->ctx, r->null);
    gy_free(r->ctx, r->pattern);
    *r = (gy_runcv_result){0};
}

gy_runcv_data gy_runcv_view(const gy_fmri *f) {
    return (gy_runcv_data){f->volumes, f->voxels, f->classes, f->runs, f->blocks, f->x, f->label, f->run, f->block};
}

static int64_t class_named(const gy_fmri *f, const char *name) {
    for (int64_t c = 0; c < f->classes; c++)
        if (strcmp(f->class_name[c], name) == 0) return c;
    return -1;
}

gy_status gy_runcv_baseline(const gy_fmri *f, double penalty, uint64_t seed, gy_runcv_result *r) {
    gy_ctx *ctx = r->ctx;
    gy_runcv_data d = gy_runcv_view(f);
    gy_runcv_ridge ridge = {0};
    r->pair[0] = class_named(f, "face"), r->pair[1] = class_named(f, "house");
    if (r->pair[0] < 0 || r->pair[1] < 0) r->pair[0] = 0, r->pair[1] = 1;
    gy_status s = gy_runcv_ridge_fit(ctx, &d, penalty, &ridge);
    if (s == GY_OK) {
        gy_runcv_ridge_predict(&ridge, d.classes, d.label, r->ridge);
        s = gy_runcv_permute(ctx, &d, &ridge, seed, r->permutations, r->null);
        r->p = gy_la_permutation_p(gy_runcv_accuracy(&d, r->ridge, -1), r->permutations, r->null);
    }
    gy_runcv_ridge_free(&ridge);
    /* l2 on the mean loss: the same pull toward 0 a volume as the ridge's penalty, weighed by one volume's share */
    if (s == GY_OK) s = gy_runcv_logistic(ctx, &d, 0.01, r->logistic);
    if (s == GY_OK) s = gy_runcv_pair_ridge(ctx, &d, r->pair[0], r->pair[1], penalty, &r->pair_ridge);
    if (s == GY_OK) s = gy_runcv_split_half(ctx, &d, &r->identified);
    double *contrast = gy_calloc(ctx, (size_t)d.classes, sizeof *contrast);
    if (s == GY_OK && !contrast) s = GY_ERR_NOMEM;
    if (s == GY_OK) {
        contrast[r->pair[0]] = 1, contrast[r->pair[1]] = -1;
        s = gy_runcv_pattern(ctx, &d, penalty, contrast, r->pattern);
    }
    gy_free(ctx, contrast);
    return s;
}

void gy_runcv_metrics(const gy_fmri *f, const gy_runcv_result *r, gy_metrics *out) {
    gy_runcv_data d = gy_runcv_view(f);
    double chance = 1.0 / (double)d.classes;
    gy_metric_add(out, "accuracy", gy_runcv_accuracy(&d, r->network, -1), chance, "accuracy");
    gy_metric_add(out, "accuracy_linear", gy_runcv_accuracy(&d, r->ridge, -1), chance, "accuracy");
    gy_metric_add(out, "accuracy_logistic", gy_runcv_accuracy(&d, r->logistic, -1), chance, "accuracy");
    gy_metric_add(out, "block_accuracy", gy_runcv_block_accuracy(&d, r->network), chance, "accuracy");
    gy_metric_add(out, "block_accuracy_linear", gy_runcv_block_accuracy(&d, r->ridge), chance, "accuracy");
    gy_metric_add(out, "pair_accuracy", gy_runcv_pair_accuracy(&d, r->network, r->pair[0], r->pair[1]), 0.5,
                  "accuracy");
    gy_metric_add(out, "pair_accuracy_linear", r->pair_ridge, 0.5, "accuracy");
    gy_metric_add(out, "split_half_identified", (double)r->identified, 1, "classes");
    gy_metric_add(out, "permutation_p", r->p, NAN, "p");
    gy_metric_add(out, "permutations", (double)r->permutations, NAN, "");
}

/* ---- files --------------------------------------------------------------------------------------- */

static gy_status write_predictions(const gy_fmri *f, const gy_runcv_result *r, const char *path) {
    size_t n = (size_t)f->volumes;
    double *scan = gy_malloc(f->ctx, (n + 1) * sizeof *scan);
    const char **text[4]; /* run, true, network, linear */
    for (int i = 0; i < 4; i++) text[i] = gy_malloc(f->ctx, (n + 1) * sizeof **text);
    gy_status s = scan && text[0] && text[1] && text[2] && text[3] ? GY_OK : GY_ERR_NOMEM;
    for (int64_t i = 0; s == GY_OK && i < f->volumes; i++) {
        scan[i] = (double)f->scan[i];
        text[0][i] = f->run_name[f->run[i]];
        text[1][i] = f->class_name[f->label[i]];
        text[2][i] = f->class_name[gy_runcv_argmax(r->network + i * f->classes, f->classes)];
        text[3][i] = f->class_name[gy_runcv_argmax(r->ridge + i * f->classes, f->classes)];
    }
    if (s == GY_OK) {
        gy_table_data columns[] = {{.name = "run", .texts = text[0]},
                                   {.name = "volume", .numbers = scan},
                                   {.name = "category", .texts = text[1]},
                                   {.name = "network", .texts = text[2]},
                                   {.name = "linear", .texts = text[3]}};
        s = gy_table_write(f->ctx, path, ',', columns, 5, f->volumes);
    }
    gy_free(f->ctx, scan);
    for (int i = 0; i < 4; i++) gy_free(f->ctx, text[i]);
    return s;
}

gy_status gy_runcv_write(const gy_fmri *f, const gy_runcv_result *r, const char *dir) {
    char *map = gy_path_join(f->ctx, dir, "weights.nii.gz"), *rows = gy_path_join(f->ctx, dir, "predictions.csv");
    gy_status s = map && rows ? gy_fmri_write_map(f, map, r->pattern, 1) : GY_ERR_NOMEM;
    if (s == GY_OK) s = write_predictions(f, r, rows);
    gy_free(f->ctx, map);
    gy_free(f->ctx, rows);
    return s;
}
