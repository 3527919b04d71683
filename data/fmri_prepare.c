/* fmri_prepare.c: from raw voxel series to what a classifier takes: detrended, scaled, rest left out. */
#include "fmri.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- memory ------------------------------------------------------------------------------------ */

static void *zeros(gy_ctx *ctx, int64_t n, size_t size) {
    return n < 0 ? NULL : gy_calloc(ctx, (size_t)n, size);
}

gy_status gy_fmri_reserve(gy_fmri *f, int64_t volumes, int64_t voxels, int64_t runs, int64_t classes) {
    uint64_t n;
    if (!gy_mul_u64((uint64_t)volumes, (uint64_t)voxels, &n) || n > INT64_MAX / 8)
        return gy_fail(f->ctx, GY_ERR_NOMEM, "%" PRId64 " volumes of %" PRId64 " voxels do not fit in memory", volumes,
                       voxels);
    f->volumes = volumes, f->voxels = voxels, f->runs = runs, f->classes = classes;
    f->x = zeros(f->ctx, (int64_t)n, sizeof *f->x);
    f->label = zeros(f->ctx, volumes, sizeof *f->label);
    f->run = zeros(f->ctx, volumes, sizeof *f->run);
    f->block = zeros(f->ctx, volumes, sizeof *f->block);
    f->scan = zeros(f->ctx, volumes, sizeof *f->scan);
    f->voxel = zeros(f->ctx, voxels, sizeof *f->voxel);
    f->class_name = zeros(f->ctx, classes, sizeof *f->class_name);
    f->run_name = zeros(f->ctx, runs, sizeof *f->run_name);
    bool ok = f->x && f->label && f->run && f->block && f->scan && f->voxel && f->class_name && f->run_name;
    return ok ? GY_OK : GY_ERR_NOMEM;
}

void gy_fmri_free(gy_fmri *f) {
    gy_ctx *ctx = f->ctx;
    if (!ctx) return;
    for (int64_t i = 0; f->class_name && i < f->classes; i++) gy_free(ctx, f->class_name[i]);
    for (int64_t i = 0; f->run_name && i < f->runs; i++) gy_free(ctx, f->run_name[i]);
    void *const owned[] = {f->x,     f->label,      f->run,      f->block, f->scan,
                           f->voxel, f->class_name, f->run_name, f->mean,  f->truth};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) gy_free(ctx, owned[i]);
    *f = (gy_fmri){0};
}

/* ---- scaling ----------------------------------------------------------------------------------- */

bool gy_detrend_scale(float *v, int64_t n, int64_t stride) {
    double centre = (double)(n - 1) / 2, mean = 0, slope = 0, moment = 0, ss = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        mean += (double)v[i * stride];
        size = fmax(size, fabs((double)v[i * stride]));
    }
    mean /= (double)n;
    for (int64_t i = 0; i < n; i++) {
        slope += ((double)i - centre) * ((double)v[i * stride] - mean);
        moment += ((double)i - centre) * ((double)i - centre);
    }
    slope = moment > 0 ? slope / moment : 0;
    for (int64_t i = 0; i < n; i++) {
        double r = (double)v[i * stride] - mean - slope * ((double)i - centre);
        ss += r * r;
    }
    /* A series that is a straight line leaves rounding errors of its largest value alone. */
    double sd = sqrt(ss / (double)n);
    bool varies = sd > 1e-6 * size;
    for (int64_t i = 0; i < n; i++) {
        double r = (double)v[i * stride] - mean - slope * ((double)i - centre);
        v[i * stride] = varies ? (float)(r / sd) : 0;
    }
    return varies;
}

/* First and past-the-end volume of a run (volumes of a run are consecutive). */
static void extent(const gy_fmri *f, int64_t run, int64_t *first, int64_t *end) {
    int64_t i = 0;
    while (i < f->volumes && f->run[i] != run) i++;
    *first = i;
    while (i < f->volumes && f->run[i] == run) i++;
    *end = i;
}

static void where(const gy_fmri *f, int64_t voxel, char text[80]) {
    int64_t at = f->voxel[voxel], nx = f->grid.dim[0], ny = f->grid.dim[1];
    snprintf(text, 80, "(%" PRId64 ", %" PRId64 ", %" PRId64 ")", at % nx, at / nx % ny, at / (nx * ny));
}

static gy_status refuse_not_finite(const gy_fmri *f) {
    char at[80];
    for (int64_t i = 0; i < f->volumes; i++)
        for (int64_t v = 0; v < f->voxels; v++) {
            float x = f->x[i * f->voxels + v];
            if (isfinite(x)) continue;
            where(f, v, at);
            return gy_fail(f->ctx, GY_ERR_NUMERIC,
                           "%s: voxel %s of the mask is %s in volume %" PRId64 " of run %s; expected finite numbers",
                           f->name, at, isnan(x) ? "NaN" : "infinite", f->scan[i], f->run_name[f->run[i]]);
        }
    return GY_OK;
}

/* Scales every run; marks voxels that vary in all of them in `keep`. */
static void scale_runs(gy_fmri *f, uint8_t *keep) {
    memset(keep, 1, (size_t)f->voxels);
    for (int64_t r = 0; r < f->runs; r++) {
        int64_t first, end;
        extent(f, r, &first, &end);
        for (int64_t v = 0; v < f->voxels; v++)
            if (!gy_detrend_scale(f->x + first * f->voxels + v, end - first, f->voxels)) keep[v] = 0;
    }
}

/* Volumes with a label and voxels to keep move up; blocks are numbered on the way, from the original order. */
static void compact(gy_fmri *f, const uint8_t *keep) {
    int64_t n = 0, p = 0, block = -1, previous = -1, run = -1;
    for (int64_t i = 0; i < f->volumes; i++) {
        int64_t label = f->label[i];
        if (label >= 0) {
            if (label != previous || f->run[i] != run) block++;
            p = 0;
            for (int64_t v = 0; v < f->voxels; v++)
                if (keep[v]) f->x[n * f->voxels + p++] = f->x[i * f->voxels + v];
            f->label[n] = label, f->scan[n] = f->scan[i], f->block[n] = block, f->run[n] = f->run[i];
            run = f->run[n++];
        }
        previous = label;
    }
    p = 0;
    for (int64_t v = 0; v < f->voxels; v++)
        if (keep[v]) {
            if (f->truth) f->truth[p] = f->truth[v];
            f->voxel[p++] = f->voxel[v];
        }
    for (int64_t i = 0; i < n && p < f->voxels; i++)
        memmove(f->x + i * p, f->x + i * f->voxels, (size_t)p * sizeof *f->x);
    f->volumes = n, f->voxels = p, f->blocks = block + 1;
}

/* ---- categories -------------------------------------------------------------------------------- */

static bool listed(const char *list, const char *name) {
    size_t n = strlen(name);
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, ",");
        if (len == n && strncmp(p, name, n) == 0) return true;
        p += len + (p[len] == ',');
    }
    return false;
}

/* Every name of the list must exist; volumes of other categories become rest. */
static gy_status select_classes(gy_fmri *f, const char *list) {
    char all[400] = "";
    for (int64_t c = 0; c < f->classes; c++) {
        size_t used = strlen(all);
        snprintf(all + used, sizeof all - used, "%s%s", used ? ", " : "", f->class_name[c]);
    }
    for (const char *p = list; *p;) {
        size_t len = strcspn(p, ",");
        bool found = false;
        for (int64_t c = 0; c < f->classes; c++)
            found |= strlen(f->class_name[c]) == len && strncmp(f->class_name[c], p, len) == 0;
        if (!found)
            return gy_fail(f->ctx, GY_ERR_USAGE, "classes: '%.*s' does not occur in %s; it has: %s", (int)len, p,
                           f->name, all);
        p += len + (p[len] == ',');
    }
    int64_t kept = 0;
    for (int64_t c = 0; c < f->classes; c++) {
        bool keep = listed(list, f->class_name[c]);
        for (int64_t i = 0; i < f->volumes; i++)
            if (f->label[i] == c) f->label[i] = keep ? kept : -1;
        char *name = f->class_name[c];
        f->class_name[c] = NULL;
        if (keep)
            f->class_name[kept++] = name;
        else
            gy_free(f->ctx, name);
    }
    f->classes = kept;
    return GY_OK;
}

static gy_status check_design(const gy_fmri *f) {
    if (f->runs < 2)
        return gy_fail(f->ctx, GY_ERR_USAGE,
                       "%s: %" PRId64 " run: expected two or more, one is held out for testing while the others train",
                       f->name, f->runs);
    if (f->classes < 2)
        return gy_fail(f->ctx, GY_ERR_USAGE, "%s: %" PRId64 " categor%s: expected two or more to tell apart", f->name,
                       f->classes, f->classes == 1 ? "y" : "ies");
    if (f->runs > GY_FMRI_RUNS || f->classes > GY_FMRI_CLASSES)
        return gy_fail(f->ctx, GY_ERR_UNSUPPORTED,
                       "%s: %" PRId64 " runs and %" PRId64 " categories; at most %d and %d are handled", f->name,
                       f->runs, f->classes, GY_FMRI_RUNS, GY_FMRI_CLASSES);
    for (int64_t r = 0; r < f->runs; r++)
        for (int64_t c = 0; c < f->classes; c++) {
            bool found = false;
            for (int64_t i = 0; i < f->volumes && !found; i++) found = f->run[i] == r && f->label[i] == c;
            if (!found)
                return gy_fail(f->ctx, GY_ERR_FORMAT,
                               "%s: category '%s' has no volume in run %s; every category must occur in every run "
                               "(name those to keep: --set classes=a,b)",
                               f->name, f->class_name[c], f->run_name[r]);
        }
    return GY_OK;
}

gy_status gy_fmri_prepare(gy_fmri *f, const char *classes) {
    if (f->voxels < 1) return gy_fail(f->ctx, GY_ERR_FORMAT, "%s: the mask is empty: no voxel is above 0", f->name);
    gy_status s = classes && *classes ? select_classes(f, classes) : GY_OK;
    if (s == GY_OK) s = check_design(f);
    if (s == GY_OK) s = refuse_not_finite(f);
    if (s != GY_OK) return s;
    size_t bytes = (size_t)f->volumes * sizeof *f->label;
    f->hash = gy_hash(f->x, (size_t)(f->volumes * f->voxels) * sizeof *f->x, 1);
    f->hash = gy_hash(f->label, bytes, gy_hash(f->run, bytes, f->hash));
    uint8_t *keep = gy_malloc(f->ctx, (size_t)f->voxels);
    if (!keep) return GY_ERR_NOMEM;
    scale_runs(f, keep);
    int64_t flat = 0, example = 0;
    for (int64_t v = f->voxels - 1; v >= 0; v--)
        if (!keep[v]) flat++, example = v;
    char at[80];
    where(f, example, at);
    if (flat == f->voxels)
        s = gy_fail(f->ctx, GY_ERR_NUMERIC, "%s: no voxel of the mask varies within every run", f->name);
    else if (flat)
        gy_warn(f->ctx,
                "%s: %" PRId64 " of %" PRId64 " voxels of the mask do not vary within some run and are left "
                "out, the first is %s",
                f->name, flat, f->voxels, at);
    if (s == GY_OK) compact(f, keep);
    gy_free(f->ctx, keep);
    return s;
}

/* ---- maps -------------------------------------------------------------------------------------- */

gy_status gy_fmri_write_map(const gy_fmri *f, const char *path, const double *values, int64_t maps) {
    const int64_t *d = f->grid.dim;
    gy_tensor t;
    gy_shape shape = maps > 1 ? GY_S(maps, d[2], d[1], d[0]) : GY_S(d[2], d[1], d[0]);
    gy_status s = gy_tensor_new(f->ctx, &t, GY_F32, shape);
    if (s != GY_OK) return s;
    for (int64_t m = 0; m < maps; m++)
        for (int64_t v = 0; v < f->voxels; v++)
            ((float *)t.data)[m * d[0] * d[1] * d[2] + f->voxel[v]] = (float)values[m * f->voxels + v];
    s = gy_nifti_write(f->ctx, path, &t, (gy_nifti_write_args){.like = &f->grid});
    gy_tensor_free(f->ctx, &t);
    return s;
}
