#include "labelled.h"
#include "../io/files.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- reading ---- */

static int rising(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* The 99.9th percentile of at most 100,000 values, evenly taken: a few hot voxels must not set the scale. */
static gy_status percentile(gy_ctx *ctx, const float *x, int64_t n, float *out) {
    int64_t every = n / 100000 + 1, count = (n + every - 1) / every;
    float *v = gy_malloc(ctx, (size_t)count * sizeof *v);
    if (!v) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < count; i++) v[i] = x[i * every];
    qsort(v, (size_t)count, sizeof *v, rising);
    *out = v[(count * 999 + 999) / 1000 - 1];
    gy_free(ctx, v);
    return GY_OK;
}

static gy_status scale(gy_ctx *ctx, const char *path, float *x, int64_t n) {
    float lo = INFINITY, hi = -INFINITY, top;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) return gy_fail(ctx, GY_ERR_FORMAT, "%s: voxel %" PRId64 " is not finite", path, i);
        lo = fminf(lo, x[i]);
        hi = fmaxf(hi, x[i]);
    }
    if (!(hi > lo)) return gy_fail(ctx, GY_ERR_FORMAT, "%s: every voxel is %g: nothing to see", path, (double)lo);
    gy_status s = percentile(ctx, x, n, &top);
    if (s != GY_OK) return s;
    if (!(top > lo)) top = hi;
    for (int64_t i = 0; i < n; i++) x[i] = fminf((x[i] - lo) / (top - lo), 1.0f);
    return GY_OK;
}

static gy_status open_3d(gy_ctx *ctx, const char *path, gy_nifti *img) {
    gy_status s = gy_nifti_open(ctx, path, NULL, img);
    if (s != GY_OK) return s;
    for (int64_t a = 3; a < img->ndim; a++)
        if (img->dim[a] != 1)
            return gy_fail(ctx, GY_ERR_SHAPE, "%s: expected one volume, found %" PRId64 " along axis %" PRId64, path,
                           img->dim[a], a + 1);
    return GY_OK;
}

/* The labels' values as they are, for renumbering once all are known: values [n]. */
static gy_status read_labels(gy_ctx *ctx, const char *path, const gy_nifti *grid, int64_t n, float **values) {
    gy_nifti img = {0};
    gy_tensor t = {0};
    gy_status s = open_3d(ctx, path, &img);
    if (s == GY_OK) s = gy_nifti_same_grid(ctx, grid, &img, 0.5);
    if (s == GY_OK) s = gy_nifti_read(&img, GY_F32, &t);
    gy_nifti_close(&img);
    if (s != GY_OK) return s;
    const float *v = t.data;
    for (int64_t i = 0; s == GY_OK && i < n; i++)
        if (!(fabsf(v[i]) < 1e6f) || v[i] != floorf(v[i]))
            s = gy_fail(ctx, GY_ERR_FORMAT, "%s: voxel %" PRId64 " is %g; labels are whole numbers", path, i,
                        (double)v[i]);
    if (s == GY_OK && !(*values = gy_malloc(ctx, (size_t)n * sizeof **values))) s = GY_ERR_NOMEM;
    if (s == GY_OK) memcpy(*values, v, (size_t)n * sizeof *v);
    gy_tensor_free(ctx, &t);
    return s;
}

/* Adds the values of an image's labels to the sorted list of all. */
static gy_status collect(gy_labelled *l, const char *path, const float *v, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        if (i && v[i] == v[i - 1]) continue;
        int64_t at = 0;
        while (at < l->classes && l->value[at] < v[i]) at++;
        if (at < l->classes && l->value[at] == v[i]) continue;
        if (l->classes == 256) return gy_fail(l->ctx, GY_ERR_FORMAT, "%s: more than 256 different labels", path);
        memmove(l->value + at + 1, l->value + at, (size_t)(l->classes - at) * sizeof *l->value);
        l->value[at] = v[i];
        l->classes++;
    }
    return GY_OK;
}

static const char *base(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* One image, and its labels' values (path_labels NULL: none). */
static gy_status read_volume(gy_labelled *l, const char *path, const char *path_labels, float **values) {
    gy_volume *v = &l->volume[l->n];
    gy_tensor t = {0};
    gy_status s = open_3d(l->ctx, path, &v->grid);
    if (s == GY_OK) s = gy_nifti_read(&v->grid, GY_F32, &t);
    if (s != GY_OK) {
        gy_nifti_close(&v->grid);
        return s;
    }
    l->n++; /* from here on gy_labelled_free frees it */
    v->image = t.data;
    for (int a = 0; a < 3; a++) {
        v->dim[a] = v->grid.dim[2 - a];
        v->spacing[a] = v->grid.pixdim[2 - a];
    }
    int64_t n = v->dim[0] * v->dim[1] * v->dim[2];
    snprintf(v->name, sizeof v->name, "%s", base(path));
    s = scale(l->ctx, path, v->image, n);
    if (s == GY_OK) l->hash = gy_hash(v->image, (size_t)n * sizeof *v->image, l->hash);
    if (s == GY_OK && path_labels) {
        s = read_labels(l->ctx, path_labels, &v->grid, n, values);
        if (s == GY_OK) s = collect(l, path_labels, *values, n);
    }
    /* the header stays, the file behind it does not */
    gy_nifti header = v->grid;
    gy_nifti_close(&v->grid);
    header.file = (gy_bytes){0};
    header.inflated = (gy_bytes){0};
    header.inflated_at = NULL;
    v->grid = header;
    return s;
}

static gy_status number(gy_labelled *l, float *const *values) {
    for (int64_t k = 0; k < l->n; k++) {
        gy_volume *v = &l->volume[k];
        int64_t n = v->dim[0] * v->dim[1] * v->dim[2], at = 0;
        if (!values[k]) continue;
        if (!(v->label = gy_malloc(l->ctx, (size_t)n))) return GY_ERR_NOMEM;
        for (int64_t i = 0; i < n; i++) {
            if (l->value[at] != values[k][i])
                for (at = 0; l->value[at] != values[k][i];) at++;
            v->label[i] = (uint8_t)at;
        }
        l->hash = gy_hash(v->label, (size_t)n, l->hash);
    }
    return GY_OK;
}

/* ---- which files ---- */

/* Length of a name without .nii or .nii.gz; 0: another kind of file. */
static size_t stem(const char *name) {
    size_t n = strlen(name);
    if (gy_path_has_suffix(name, ".nii.gz")) return n - 7;
    return gy_path_has_suffix(name, ".nii") ? n - 4 : 0;
}

static bool is_label(const char *name) {
    static const char *const ends[] = {"labels", "label", "mask", "seg"};
    size_t n = stem(name);
    for (size_t i = 0; n && i < sizeof ends / sizeof *ends; i++) {
        size_t k = strlen(ends[i]);
        if (n > k && strncmp(name + n - k, ends[i], k) == 0) return true;
    }
    return false;
}

/* The labels of image `name` among the folder's files; NULL: none. */
static const char *labels_of(const char *name, char **all, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (is_label(all[i]) && strncmp(all[i], name, stem(name)) == 0) return all[i];
    return NULL;
}

static gy_status read_folder(gy_labelled *l, const char *dir, bool labels, char **names, int64_t n, float **values) {
    gy_status s = GY_OK;
    for (int64_t i = 0; s == GY_OK && i < n; i++) {
        const char *pair = labels_of(names[i], names, n);
        if (!stem(names[i]) || is_label(names[i]) || (labels && !pair)) continue;
        char *image = gy_path_join(l->ctx, dir, names[i]), *label = pair ? gy_path_join(l->ctx, dir, pair) : NULL;
        s = image && (label || !pair) ? read_volume(l, image, label, &values[l->n]) : GY_ERR_NOMEM;
        gy_free(l->ctx, image);
        gy_free(l->ctx, label);
    }
    if (s == GY_OK && !l->n)
        s = gy_fail(l->ctx, GY_ERR_FORMAT, "%s: no image NAME.nii or NAME.nii.gz%s", dir,
                    labels ? " with labels NAME...labels.nii[.gz] beside it" : "");
    return s;
}

static gy_status read_pair(gy_labelled *l, const char *path, const char *comma, bool labels, float **values) {
    char *image = gy_format(l->ctx, "%.*s", (int)(comma ? comma - path : (int)strlen(path)), path);
    if (!image) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    if (labels && !comma)
        s = gy_fail(l->ctx, GY_ERR_IO, "%s: %s; expected a folder or 'image.nii.gz,labels.nii.gz'", path,
                    gy_path_exists(path) ? "one file" : "no such file or folder");
    if (s == GY_OK) s = read_volume(l, image, comma ? comma + 1 : NULL, &values[0]);
    gy_free(l->ctx, image);
    return s;
}

gy_status gy_labelled_open(gy_ctx *ctx, const char *path, bool labels, gy_labelled *out) {
    char **names = NULL;
    int64_t n = 1;
    bool folder = gy_path_is_dir(path);
    *out = (gy_labelled){.ctx = ctx};
    gy_status s = folder ? gy_list_dir(ctx, path, &names, &n) : GY_OK;
    float **values = gy_calloc(ctx, (size_t)(n + 1), sizeof *values);
    out->volume = gy_calloc(ctx, (size_t)(n + 1), sizeof *out->volume);
    if (s == GY_OK && (!values || !out->volume)) s = GY_ERR_NOMEM;
    if (s == GY_OK)
        s = folder ? read_folder(out, path, labels, names, n, values)
                   : read_pair(out, path, strchr(path, ','), labels, values);
    if (s == GY_OK) s = number(out, values);
    for (int64_t i = 0; values && i <= n; i++) gy_free(ctx, values[i]);
    for (int64_t i = 0; names && i < n; i++) gy_free(ctx, names[i]);
    gy_free(ctx, names);
    gy_free(ctx, values);
    if (s != GY_OK) gy_labelled_free(out);
    return s;
}

void gy_labelled_free(gy_labelled *l) {
    for (int64_t i = 0; i < l->n; i++) {
        gy_free(l->ctx, l->volume[i].image);
        gy_free(l->ctx, l->volume[i].label);
    }
    if (l->ctx) gy_free(l->ctx, l->volume);
    *l = (gy_labelled){0};
}

/* ---- slices ---- */

/* The mean of the image over [lo, hi) voxels along both axes of a slice with strides s; or between voxels when the
 * span is below one. */
static double area(const float *x, const int64_t n[2], const int64_t s[2], const double lo[2], const double hi[2]) {
    double sum = 0, weight = 0;
    double from[2], to[2];
    for (int a = 0; a < 2; a++) { /* a span below one voxel is widened to one: linear interpolation */
        double middle = 0.5 * (lo[a] + hi[a]), half = fmax(0.5, 0.5 * (hi[a] - lo[a]));
        from[a] = middle - half;
        to[a] = middle + half;
    }
    for (int64_t i = (int64_t)floor(from[0]); (double)i < to[0]; i++)
        for (int64_t k = (int64_t)floor(from[1]); (double)k < to[1]; k++) {
            double w = (fmin(to[0], (double)i + 1) - fmax(from[0], (double)i)) *
                       (fmin(to[1], (double)k + 1) - fmax(from[1], (double)k));
            if (w <= 0) continue;
            weight += w;
            if (i >= 0 && i < n[0] && k >= 0 && k < n[1]) sum += w * x[i * s[0] + k * s[1]];
        }
    return weight > 0 ? sum / weight : 0;
}

double gy_volume_slice(const gy_volume *v, int axis, int64_t index, int64_t size, float *image, uint8_t *label) {
    int64_t step[3] = {v->dim[1] * v->dim[2], v->dim[2], 1};
    int row = axis == 0 ? 1 : 0, col = axis == 2 ? 1 : 2;
    int64_t n[2] = {v->dim[row], v->dim[col]}, s[2] = {step[row], step[col]}, at = index * step[axis];
    int64_t side = n[0] > n[1] ? n[0] : n[1];
    double pixel = (double)side / (double)size;
    double shift[2] = {0.5 * (double)(n[0] - side), 0.5 * (double)(n[1] - side)};
    for (int64_t y = 0; y < size; y++)
        for (int64_t x = 0; x < size; x++) {
            double lo[2] = {shift[0] + (double)y * pixel, shift[1] + (double)x * pixel};
            double hi[2] = {lo[0] + pixel, lo[1] + pixel};
            int64_t i = (int64_t)floor(0.5 * (lo[0] + hi[0])), k = (int64_t)floor(0.5 * (lo[1] + hi[1]));
            bool inside = i >= 0 && i < n[0] && k >= 0 && k < n[1];
            if (image) image[y * size + x] = (float)area(v->image + at, n, s, lo, hi);
            if (label) label[y * size + x] = inside && v->label ? v->label[at + i * s[0] + k * s[1]] : 0;
        }
    return pixel * v->spacing[row];
}

void gy_volume_extent(const gy_volume *v, int axis, int64_t *lo, int64_t *hi) {
    int64_t step[3] = {v->dim[1] * v->dim[2], v->dim[2], 1}, n = v->dim[0] * v->dim[1] * v->dim[2];
    *lo = v->dim[axis];
    *hi = 0;
    for (int64_t i = 0; i < n; i++)
        if (v->label[i]) {
            int64_t at = i / step[axis] % v->dim[axis];
            if (at < *lo) *lo = at;
            if (at >= *hi) *hi = at + 1;
        }
}

enum { TENTHS = 10, GAP = 2 };

int gy_slice_role(int64_t v, int64_t volumes, int64_t i, int64_t n) {
    static const int64_t test[2] = {3, 7};
    int answer = 1;
    if (volumes > 1) return v >= volumes - (volumes + 4) / 5 ? 2 : 1;
    for (int k = 0; k < 2; k++) {
        int64_t lo = test[k] * n / TENTHS, hi = (test[k] + 1) * n / TENTHS;
        if (i >= lo && i < hi) return 2;
        if (i >= lo - GAP && i < hi + GAP) answer = 0;
    }
    return answer;
}
