/* fmri.c: a folder of images, labels and a mask becomes voxel series with labels. */
#include "fmri.h"

#include "../io/files.h"
#include "../io/formats/table.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A volume's category before categories are numbered. */
typedef struct label_text {
    const char *name; /* NULL: rest */
    double order;     /* sorts categories; equal: by name */
} label_text;

/* Everything found in the folder, freed together. */
typedef struct folder {
    gy_ctx *ctx;
    const char *dir;
    char **names;
    int64_t n_names;
    gy_nifti mask;
    gy_nifti *bold; /* [n_bold], sorted by name */
    char **bold_name;
    int64_t n_bold;
    int64_t volumes;
    bool events;
    gy_table attributes, literal;
    gy_events *event; /* [n_bold] */
    label_text *text; /* [volumes] */
} folder;

static void close_folder(folder *d) {
    for (int64_t i = 0; i < d->n_bold; i++) {
        gy_nifti_close(&d->bold[i]);
        if (d->event) gy_events_free(&d->event[i]);
    }
    for (int64_t i = 0; i < d->n_names; i++) gy_free(d->ctx, d->names[i]);
    gy_nifti_close(&d->mask);
    gy_table_free(&d->attributes);
    gy_table_free(&d->literal);
    void *const owned[] = {d->names, d->bold, d->bold_name, d->event, d->text};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) gy_free(d->ctx, owned[i]);
}

static bool has(const char *name, const char *part) {
    return strstr(name, part) != NULL;
}

static bool is_image(const char *name) {
    return gy_path_has_suffix(name, ".nii") || gy_path_has_suffix(name, ".nii.gz");
}

/* ---- images ------------------------------------------------------------------------------------ */

static gy_status open_image(folder *d, const char *name, gy_nifti *out) {
    char *path = gy_path_join(d->ctx, d->dir, name);
    gy_status s = path ? gy_nifti_open(d->ctx, path, NULL, out) : GY_ERR_NOMEM;
    gy_free(d->ctx, path);
    return s;
}

/* Four-dimensional images that are no masks are runs; others (an anatomical scan) are not ours. */
static gy_status find_bold(folder *d) {
    d->bold = gy_calloc(d->ctx, (size_t)d->n_names + 1, sizeof *d->bold);
    d->bold_name = gy_calloc(d->ctx, (size_t)d->n_names + 1, sizeof *d->bold_name);
    if (!d->bold || !d->bold_name) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < d->n_names; i++) {
        if (!is_image(d->names[i]) || has(d->names[i], "mask")) continue;
        gy_nifti *img = &d->bold[d->n_bold];
        gy_status s = open_image(d, d->names[i], img);
        if (s != GY_OK) return s;
        if (img->ndim == 4 && img->dim[3] > 1) {
            d->bold_name[d->n_bold++] = d->names[i];
            d->volumes += img->dim[3];
        } else {
            if (has(d->names[i], "bold"))
                s = gy_fail(d->ctx, GY_ERR_SHAPE, "%s: expected four axes (x, y, z, time), found %" PRId64,
                            img->file.path, img->ndim);
            gy_nifti_close(img);
            *img = (gy_nifti){0};
            if (s != GY_OK) return s;
        }
    }
    if (!d->n_bold)
        return gy_fail(d->ctx, GY_ERR_IO, "%s: no 4-D image (.nii or .nii.gz) of brain volumes in this folder", d->dir);
    return GY_OK;
}

/* Intersects all masks into *inside [x * y * z]; keeps the first one's header. */
static gy_status read_masks(folder *d, uint8_t **inside) {
    int64_t n = 0;
    *inside = NULL;
    for (int64_t i = 0; i < d->n_names; i++) {
        if (!is_image(d->names[i]) || !has(d->names[i], "mask")) continue;
        gy_nifti other = {0}, *img = d->mask.file.path ? &other : &d->mask;
        gy_tensor t = {0};
        gy_status s = open_image(d, d->names[i], img);
        if (s == GY_OK && img == &other) s = gy_nifti_same_grid(d->ctx, &d->mask, img, 0.01);
        if (s == GY_OK) s = gy_nifti_read(img, GY_F32, &t);
        if (s == GY_OK) {
            n = img->dim[0] * img->dim[1] * img->dim[2];
            if (gy_shape_count(t.shape) != n)
                s = gy_fail(d->ctx, GY_ERR_SHAPE,
                            "%s: a mask is one volume, found %" PRId64 " voxels in a grid of %" PRId64, img->file.path,
                            gy_shape_count(t.shape), n);
        }
        if (s == GY_OK && !*inside) {
            *inside = gy_malloc(d->ctx, (size_t)n);
            if (*inside) memset(*inside, 1, (size_t)n);
            s = *inside ? GY_OK : GY_ERR_NOMEM;
        }
        for (int64_t v = 0; s == GY_OK && v < n; v++) (*inside)[v] &= ((float *)t.data)[v] > 0;
        gy_tensor_free(d->ctx, &t);
        gy_nifti_close(&other);
        if (s != GY_OK) return s;
    }
    if (!*inside)
        return gy_fail(d->ctx, GY_ERR_IO,
                       "%s: no mask: expected an image with \"mask\" in its name, above 0 where voxels are to be used",
                       d->dir);
    return GY_OK;
}

/* Series of the voxels in the mask, the mean image; every image must lie on the mask's grid. */
static gy_status read_series(folder *d, gy_fmri *f) {
    int64_t row = 0, grid = f->grid.dim[0] * f->grid.dim[1] * f->grid.dim[2];
    double *sum = gy_calloc(d->ctx, (size_t)grid, sizeof *sum);
    gy_status s = sum ? GY_OK : GY_ERR_NOMEM;
    for (int64_t b = 0; b < d->n_bold && s == GY_OK; b++) {
        for (int64_t t = 0; t < d->bold[b].dim[3] && s == GY_OK; t++, row++) {
            gy_tensor volume;
            s = gy_nifti_read_volumes(&d->bold[b], t, 1, GY_F32, &volume);
            if (s != GY_OK) break;
            const float *v = volume.data;
            for (int64_t i = 0; i < f->voxels; i++) f->x[row * f->voxels + i] = v[f->voxel[i]];
            for (int64_t i = 0; i < grid; i++)
                if (isfinite(v[i])) sum[i] += (double)v[i];
            f->scan[row] = t;
            gy_tensor_free(d->ctx, &volume);
        }
    }
    f->mean = s == GY_OK ? gy_malloc(d->ctx, (size_t)grid * sizeof *f->mean) : NULL;
    for (int64_t i = 0; f->mean && i < grid; i++) f->mean[i] = (float)(sum[i] / (double)d->volumes);
    gy_free(d->ctx, sum);
    return s == GY_OK && !f->mean ? GY_ERR_NOMEM : s;
}

/* ---- labels, layout (a): a line a volume --------------------------------------------------------- */

static bool is_rest(const char *name) {
    return gy_cell_is_missing(name) || strcmp(name, "rest") == 0 || strcmp(name, "Rest") == 0 ||
           strcmp(name, "baseline") == 0 || strcmp(name, "fixation") == 0;
}

static gy_status read_attributes(folder *d, const char *name, gy_table *out) {
    char *path = gy_path_join(d->ctx, d->dir, name);
    gy_status s = path ? gy_table_read(d->ctx, path, NULL, (gy_table_args){.separator = ' ', .headerless = true}, out)
                       : GY_ERR_NOMEM;
    gy_free(d->ctx, path);
    if (s == GY_OK && out->columns != 2)
        return gy_fail(d->ctx, GY_ERR_FORMAT, "%s: expected two columns, label and run, found %" PRId64, out->path,
                       out->columns);
    if (s == GY_OK && out->rows != d->volumes)
        return gy_fail(d->ctx, GY_ERR_SHAPE, "%s: %" PRId64 " labels, but %s has %" PRId64 " volumes", out->path,
                       out->rows, d->bold[0].file.path, d->volumes);
    return s;
}

/* Fills text, run and the names of runs. Runs are numbered in the order in which they come. */
static gy_status label_by_attributes(folder *d, gy_fmri *f, char ***run_names) {
    bool named = d->literal.rows > 0;
    for (int64_t i = 0; i < d->volumes; i++) {
        const char *label = gy_table_cell(&d->attributes, i, 0), *run = gy_table_cell(&d->attributes, i, 1);
        double number;
        bool numeric = gy_parse_double(label, strlen(label), &number);
        const char *name = named ? gy_table_cell(&d->literal, i, 0) : label;
        bool rest = is_rest(name) || (!named && numeric && number == 0);
        d->text[i] = (label_text){rest ? NULL : name, numeric ? number : 0};
        if (i == 0 || strcmp(run, gy_table_cell(&d->attributes, i - 1, 1)) != 0) {
            for (int64_t r = 0; r < f->runs; r++)
                if (strcmp((*run_names)[r], run) == 0)
                    return gy_fail(d->ctx, GY_ERR_FORMAT,
                                   "%s: line %" PRId64 ": run %s begins again; the volumes of a run are consecutive",
                                   d->attributes.path, d->attributes.line[i], run);
            if (!((*run_names)[f->runs] = gy_strdup(d->ctx, run))) return GY_ERR_NOMEM;
            f->runs++;
        }
        f->run[i] = f->runs - 1;
    }
    return GY_OK;
}

/* ---- labels, layout (b): events ------------------------------------------------------------------ */

/* "sub-01_task-x_run-1_space-T1w_bold.nii.gz" belongs to "sub-01_task-x_run-1_events.tsv": the part before
 * "events" begins the image's name, and the longest such name counts. */
static gy_status read_events_of(folder *d, int64_t b) {
    const char *best = NULL;
    size_t longest = 0, n_events = 0;
    for (int64_t i = 0; i < d->n_names; i++) {
        const char *name = d->names[i];
        if (!gy_path_has_suffix(name, "events.tsv")) continue;
        size_t n = strlen(name) - strlen("events.tsv");
        n_events++;
        if (strncmp(name, d->bold_name[b], n) == 0 && (!best || n > longest)) {
            best = name;
            longest = n;
        }
    }
    if (!best)
        for (int64_t i = 0; d->n_bold == 1 && n_events == 1 && i < d->n_names; i++)
            if (gy_path_has_suffix(d->names[i], "events.tsv")) best = d->names[i];
    if (!best)
        return gy_fail(d->ctx, GY_ERR_IO,
                       "%s: no labels for it: expected attributes.txt (a line a volume: label run) or an events.tsv "
                       "whose name begins as the image's does",
                       d->bold[b].file.path);
    char *path = gy_path_join(d->ctx, d->dir, best);
    gy_status s = path ? gy_events_read(d->ctx, path, NULL, &d->event[b]) : GY_ERR_NOMEM;
    gy_free(d->ctx, path);
    if (s == GY_OK && !d->event[b].trial_type)
        return gy_fail(d->ctx, GY_ERR_FORMAT, "%s: no column 'trial_type'; expected onset, duration, trial_type",
                       d->event[b].table.path);
    if (s == GY_OK && !(d->bold[b].tr > 0))
        return gy_fail(d->ctx, GY_ERR_FORMAT,
                       "%s: the header gives no time between volumes (pixdim[4] or its unit), which events need",
                       d->bold[b].file.path);
    return s;
}

/* Volume t of an image is taken at t TR. It belongs to the event whose response covers that moment: from onset +
 * delay, for the duration; an event without a duration covers one volume. */
static void label_by_events(folder *d, int64_t b, int64_t row, double delay) {
    const gy_events *e = &d->event[b];
    double tr = d->bold[b].tr;
    int64_t overlaps = 0;
    for (int64_t i = 0; i < e->count; i++) {
        const char *name = e->trial_type[i];
        if (is_rest(name)) continue;
        double start = e->onset[i] + delay, length = e->duration[i] > 0 ? e->duration[i] : tr;
        /* the tolerance keeps a volume that is meant to begin with the event there, whatever the decimals of TR */
        for (int64_t t = 0; t < d->bold[b].dim[3]; t++) {
            double at = (double)t * tr + 1e-3 * tr;
            if (at < start || at >= start + length) continue;
            label_text *slot = &d->text[row + t];
            if (slot->name && strcmp(slot->name, name) != 0)
                overlaps++;
            else
                *slot = (label_text){name, 0};
        }
    }
    if (overlaps)
        gy_warn(d->ctx, "%s: %" PRId64 " volumes are covered by events of two categories; the earlier line counts",
                e->table.path, overlaps);
}

/* One image with a column `run` in its events: a run ends half way between its last event's end and the next
 * run's first onset, or at equal parts when every event lies in the part of its run. */
static gy_status divide_by_column(folder *d, gy_fmri *f, char ***run_names) {
    const gy_events *e = &d->event[0];
    int64_t column, volumes = d->bold[0].dim[3], *first = NULL;
    double tr = d->bold[0].tr;
    gy_status s = gy_table_column(&e->table, "run", &column);
    if (s != GY_OK) return s;
    first = gy_calloc(d->ctx, (size_t)volumes + 1, sizeof *first); /* event at which each run begins */
    if (!first) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < e->count && s == GY_OK; i++) {
        const char *run = gy_table_cell(&e->table, i, column);
        if (i > 0 && strcmp(run, gy_table_cell(&e->table, i - 1, column)) == 0) continue;
        for (int64_t r = 0; r < f->runs && s == GY_OK; r++)
            if (strcmp((*run_names)[r], run) == 0)
                s = gy_fail(d->ctx, GY_ERR_FORMAT,
                            "%s: line %" PRId64 ": run %s begins again; sort the events by onset", e->table.path,
                            e->table.line[i], run);
        if (s == GY_OK && f->runs >= volumes)
            s = gy_fail(d->ctx, GY_ERR_FORMAT, "%s: more runs than volumes", e->table.path);
        if (s == GY_OK && !((*run_names)[f->runs] = gy_strdup(d->ctx, run))) s = GY_ERR_NOMEM;
        if (s == GY_OK) first[f->runs++] = i;
    }
    int64_t part = f->runs && volumes % f->runs == 0 ? volumes / f->runs : 0;
    bool equal = part > 0;
    for (int64_t i = 0, r = 0; equal && s == GY_OK && i < e->count; i++) {
        while (r + 1 < f->runs && first[r + 1] <= i) r++;
        double lo = (double)(r * part) * tr, hi = (double)((r + 1) * part) * tr;
        equal = e->onset[i] > lo - tr && e->onset[i] < hi;
    }
    double border = INFINITY;
    for (int64_t t = 0, r = 0; s == GY_OK && t < volumes; t++) {
        if (r + 1 < f->runs) {
            int64_t next = first[r + 1];
            double length = e->duration[next - 1] > 0 ? e->duration[next - 1] : tr;
            border = equal ? (double)((r + 1) * part) * tr : (e->onset[next - 1] + length + e->onset[next]) / 2;
        } else {
            border = INFINITY;
        }
        if ((double)t * tr >= border - 1e-3 * tr) r++;
        f->run[t] = r;
    }
    gy_free(d->ctx, first);
    return s;
}

/* What tells two images apart is the run's name: "run-03" if the file name has it, else the name. */
static char *name_of_run(folder *d, int64_t b) {
    const char *at = strstr(d->bold_name[b], "run-");
    if (!at) return gy_strdup(d->ctx, d->bold_name[b]);
    return gy_format(d->ctx, "%.*s", (int)strcspn(at + 4, "_."), at + 4);
}

/* ---- categories -------------------------------------------------------------------------------- */

static int by_order(const void *a, const void *b) {
    const label_text *x = a, *y = b;
    if (x->order != y->order) return x->order < y->order ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* Numbers the categories in the order of their numbers, then names; fills label and class_name. */
static gy_status number_classes(folder *d, gy_fmri *f) {
    label_text *all = gy_malloc(d->ctx, (size_t)(d->volumes + 1) * sizeof *all);
    if (!all) return GY_ERR_NOMEM;
    int64_t n = 0, k = 0;
    for (int64_t i = 0; i < d->volumes; i++)
        if (d->text[i].name && (i == 0 || !d->text[i - 1].name || strcmp(d->text[i].name, d->text[i - 1].name) != 0))
            all[n++] = d->text[i];
    qsort(all, (size_t)n, sizeof *all, by_order);
    for (int64_t i = 0; i < n; i++)
        if (i == 0 || strcmp(all[i].name, all[k - 1].name) != 0) all[k++] = all[i];
    gy_free(d->ctx, f->class_name);
    f->class_name = gy_calloc(d->ctx, (size_t)k + 1, sizeof *f->class_name);
    gy_status s = f->class_name ? GY_OK : GY_ERR_NOMEM;
    f->classes = s == GY_OK ? k : 0;
    for (int64_t c = 0; c < k && s == GY_OK; c++) {
        char shown[64];
        gy_show_text(all[c].name, strlen(all[c].name), shown, sizeof shown);
        f->class_name[c] = gy_strdup(d->ctx, shown);
        if (!f->class_name[c]) s = GY_ERR_NOMEM;
    }
    for (int64_t i = 0; i < d->volumes && s == GY_OK; i++) {
        f->label[i] = -1;
        for (int64_t c = 0; d->text[i].name && c < k; c++)
            if (strcmp(d->text[i].name, all[c].name) == 0) f->label[i] = c;
    }
    gy_free(d->ctx, all);
    return s;
}

static gy_status read_labels(folder *d, gy_fmri *f, double delay) {
    gy_status s = GY_OK;
    int64_t row = 0;
    f->runs = 0;
    if (!d->events) {
        s = label_by_attributes(d, f, &f->run_name);
    } else {
        for (int64_t b = 0; b < d->n_bold && s == GY_OK; b++) {
            label_by_events(d, b, row, delay < 0 ? 4 : delay);
            if (d->n_bold == 1 && gy_table_has(&d->event[0].table, "run")) {
                s = divide_by_column(d, f, &f->run_name);
                break;
            }
            for (int64_t t = 0; t < d->bold[b].dim[3]; t++) f->run[row++] = b;
            f->run_name[f->runs] = name_of_run(d, b);
            s = f->run_name[f->runs] ? GY_OK : GY_ERR_NOMEM;
            f->runs += s == GY_OK;
        }
    }
    return s == GY_OK ? number_classes(d, f) : s;
}

/* Labels in a line a volume are labels of volumes: `delay` seconds shift them by whole volumes within a run. */
static void shift_labels(gy_fmri *f, double delay) {
    int64_t by = delay > 0 && f->tr > 0 ? (int64_t)floor(delay / f->tr + 0.5) : 0;
    for (int64_t i = f->volumes - 1; by > 0 && i >= 0; i--)
        f->label[i] = i >= by && f->run[i - by] == f->run[i] ? f->label[i - by] : -1;
}

/* ---- opening ------------------------------------------------------------------------------------ */

static gy_status find_labels(folder *d) {
    bool attributes = false, literal = false;
    for (int64_t i = 0; i < d->n_names; i++) {
        attributes |= strcmp(d->names[i], "attributes.txt") == 0;
        literal |= strcmp(d->names[i], "attributes_literal.txt") == 0;
    }
    d->events = !attributes && !literal;
    if (!d->events) {
        if (d->n_bold > 1)
            return gy_fail(d->ctx, GY_ERR_FORMAT,
                           "%s: attributes.txt labels the volumes of one image, found %" PRId64 ": %s, %s ...", d->dir,
                           d->n_bold, d->bold_name[0], d->bold_name[1]);
        gy_status s = read_attributes(d, attributes ? "attributes.txt" : "attributes_literal.txt", &d->attributes);
        return s == GY_OK && attributes && literal ? read_attributes(d, "attributes_literal.txt", &d->literal) : s;
    }
    d->event = gy_calloc(d->ctx, (size_t)d->n_bold, sizeof *d->event);
    gy_status s = d->event ? GY_OK : GY_ERR_NOMEM;
    for (int64_t b = 0; b < d->n_bold && s == GY_OK; b++) s = read_events_of(d, b);
    return s;
}

static gy_status read_folder(folder *d, gy_fmri *f, gy_fmri_args args) {
    uint8_t *inside = NULL;
    gy_status s = gy_list_dir(d->ctx, d->dir, &d->names, &d->n_names);
    if (s == GY_OK) s = find_bold(d);
    if (s == GY_OK) s = read_masks(d, &inside);
    for (int64_t b = 0; b < d->n_bold && s == GY_OK; b++) s = gy_nifti_same_grid(d->ctx, &d->mask, &d->bold[b], 0.01);
    if (s == GY_OK) s = find_labels(d);
    if (s != GY_OK) {
        gy_free(d->ctx, inside);
        return s;
    }
    int64_t grid = d->mask.dim[0] * d->mask.dim[1] * d->mask.dim[2], voxels = 0;
    for (int64_t i = 0; i < grid; i++) voxels += inside[i];
    f->grid = d->mask;
    f->grid.file = f->grid.inflated = (gy_bytes){0};
    f->grid.inflated_at = NULL;
    f->tr = d->bold[0].tr;
    if (d->n_bold == 1)
        snprintf(f->name, sizeof f->name, "%s", d->bold_name[0]);
    else
        snprintf(f->name, sizeof f->name, "%" PRId64 " images, %s ...", d->n_bold, d->bold_name[0]);
    if (voxels == 0)
        s = gy_fail(d->ctx, GY_ERR_FORMAT, "%s: the mask is empty: no voxel is above 0", d->mask.file.path);
    /* a run holds one volume at least, so there are no more runs than volumes */
    if (s == GY_OK) s = gy_fmri_reserve(f, d->volumes, voxels, d->volumes, 0);
    for (int64_t i = 0, v = 0; s == GY_OK && i < grid; i++)
        if (inside[i]) f->voxel[v++] = i;
    gy_free(d->ctx, inside);
    d->text = gy_calloc(d->ctx, (size_t)d->volumes, sizeof *d->text);
    if (s == GY_OK && !d->text) s = GY_ERR_NOMEM;
    if (s == GY_OK) s = read_series(d, f);
    if (s == GY_OK) s = read_labels(d, f, args.delay);
    if (s == GY_OK && !d->events) shift_labels(f, args.delay);
    return s == GY_OK ? gy_fmri_prepare(f, args.classes) : s;
}

gy_status gy_fmri_open(gy_ctx *ctx, const char *dir, gy_fmri_args args, gy_fmri *out) {
    *out = (gy_fmri){.ctx = ctx};
    if (!gy_path_is_dir(dir))
        return gy_fail(ctx, GY_ERR_IO, "%s: expected a folder with a 4-D image, a mask and labels", dir);
    folder d = {.ctx = ctx, .dir = dir};
    gy_status s = read_folder(&d, out, args);
    close_folder(&d);
    if (s != GY_OK) gy_fmri_free(out);
    return s;
}
