/* medforj, second part: what it trains on. Without --data, phantoms whose volumes are known; with --data, one NIfTI
 * image, or a folder of them: each is scaled to [-1, 1] by its least and largest value, every stride-th voxel is taken,
 * and pictures are random crops of the grid's size. Held out are the last fifth of the images, or, of a single image,
 * its last third along the slowest axis. */
#include "medforj.h"

#include "../../io/formats/nifti.h"

#include <dirent.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- phantoms ---- */

/* A head, value 0.1, of radii N(4.2, 0.4) on a grid of 12; inside, value 0.8, radii N(2.0, 0.3); outside -1; centres
 * within half a voxel of the grid's; noise 0.02. Other grids: in proportion, axis by axis. */
static void phantom(const config *c, gy_rng *r, float *out) {
    int64_t size[3] = {c->depth, c->height, c->width};
    double centre[3], head[3], inner[3];
    for (int a = 0; a < 3; a++) {
        double scale = (double)size[a] / 12;
        centre[a] = (double)(size[a] - 1) / 2 + scale * (gy_rng_uniform(r) - 0.5);
        head[a] = scale * fmax(4.2 + 0.4 * gy_rng_normal(r), 1);
        inner[a] = scale * fmax(2.0 + 0.3 * gy_rng_normal(r), 0.5);
    }
    for (int64_t i = 0; i < gy_medforj_voxels(c); i++) {
        int64_t at[3] = {i / (size[1] * size[2]), i / size[2] % size[1], i % size[2]};
        double far = 0, near = 0;
        for (int a = 0; a < 3; a++) {
            double d = (double)at[a] - centre[a];
            far += d * d / (head[a] * head[a]);
            near += d * d / (inner[a] * inner[a]);
        }
        double v = near < 1 ? 0.8 : far < 1 ? 0.1 : -1;
        out[i] = (float)fmin(fmax(v + 0.02 * gy_rng_normal(r), -1), 1);
    }
}

/* ---- crops of real volumes ---- */

/* Origins of crops along an axis of `there` voxels (after striding): [from, to]; the last third of the slowest axis of
 * a single image is held out. */
static int64_t origin(gy_rng *r, int64_t there, int64_t size, bool divided, bool held_out) {
    int64_t from = 0, to = there - size;
    if (divided) {
        int64_t edge = there - there / 3;
        if (held_out)
            from = edge < to ? edge : to;
        else
            to = edge - size > 0 ? edge - size : 0;
    }
    return from + gy_rng_below(r, to - from + 1);
}

static void crop(const config *c, const lab *d, gy_rng *r, bool held_out, float *out) {
    int64_t first = d->n_real - d->n_real / 5, n = d->n_real;
    bool divided = n < 5;
    int64_t k = divided ? gy_rng_below(r, n) : held_out ? first + gy_rng_below(r, n - first) : gy_rng_below(r, first);
    const gy_tensor *v = &d->real[k];
    int64_t size[3] = {c->depth, c->height, c->width}, at[3];
    for (int a = 0; a < 3; a++) at[a] = origin(r, v->shape.dim[a] / c->stride, size[a], divided && a == 0, held_out);
    for (int64_t i = 0; i < gy_medforj_voxels(c); i++) {
        int64_t z = c->stride * (at[0] + i / (size[1] * size[2])), y = c->stride * (at[1] + i / size[2] % size[1]);
        int64_t x = c->stride * (at[2] + i % size[2]);
        out[i] = ((const float *)v->data)[(z * v->shape.dim[1] + y) * v->shape.dim[2] + x];
    }
}

void gy_medforj_volume(const gy_job *j, bool held_out, int64_t index, float *out) {
    const config *c = j->cfg;
    const lab *d = j->data;
    char name[48];
    gy_rng r;
    snprintf(name, sizeof name, "%s.%" PRId64, held_out ? "held out" : "volume", index);
    gy_rng_init(&r, j->seed, name);
    if (d->n_real)
        crop(c, d, &r, held_out, out);
    else
        phantom(c, &r, out);
}

/* ---- augmentation ---- */

/* Trilinear value at (z, y, x); beyond the border, the border's. */
static double value_at(const config *c, const float *v, const double at[3]) {
    int64_t size[3] = {c->depth, c->height, c->width}, low[3];
    double part[3], sum = 0;
    for (int a = 0; a < 3; a++) {
        double p = fmin(fmax(at[a], 0), (double)(size[a] - 1));
        low[a] = p < (double)(size[a] - 1) ? (int64_t)p : size[a] - 2;
        part[a] = p - (double)low[a];
    }
    for (int k = 0; k < 8; k++) {
        double w = 1;
        int64_t i = 0;
        for (int a = 0; a < 3; a++) {
            int high = k >> a & 1;
            w *= high ? part[a] : 1 - part[a];
            i = i * size[a] + low[a] + high;
        }
        sum += w * v[i];
    }
    return sum;
}

/* Turned about the three axes in turn, and shifted. */
static void turned(const config *c, gy_rng *r, const float *v, float *out) {
    int64_t size[3] = {c->depth, c->height, c->width};
    double m[3][3] = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}, move[3];
    for (int a = 0; a < 3; a++) {
        double angle = (2 * gy_rng_uniform(r) - 1) * c->degrees * 3.141592653589793 / 180;
        int p = (a + 1) % 3, q = (a + 2) % 3;
        for (int k = 0; k < 3; k++) {
            double u = m[p][k], w = m[q][k];
            m[p][k] = cos(angle) * u - sin(angle) * w;
            m[q][k] = sin(angle) * u + cos(angle) * w;
        }
        move[a] = (2 * gy_rng_uniform(r) - 1) * c->shift;
    }
    for (int64_t i = 0; i < gy_medforj_voxels(c); i++) {
        double d[3] = {(double)(i / (size[1] * size[2])), (double)(i / size[2] % size[1]), (double)(i % size[2])},
               at[3];
        for (int a = 0; a < 3; a++) d[a] -= (double)(size[a] - 1) / 2;
        for (int a = 0; a < 3; a++)
            at[a] = m[a][0] * d[0] + m[a][1] * d[1] + m[a][2] * d[2] + (double)(size[a] - 1) / 2 + move[a];
        out[i] = (float)value_at(c, v, at);
    }
}

static void mirrored(const config *c, float *v) {
    for (int64_t row = 0; row < c->depth * c->height; row++)
        for (int64_t a = 0, b = c->width - 1; a < b; a++, b--) {
            float keep = v[row * c->width + a];
            v[row * c->width + a] = v[row * c->width + b];
            v[row * c->width + b] = keep;
        }
}

gy_status gy_medforj_batch(gy_job *j, gy_plan *p, int64_t phase, int64_t step) {
    const config *c = j->cfg;
    float *x = gy_plan_input(p, "volume"), *spare = NULL;
    int64_t n = gy_medforj_voxels(c);
    char name[48];
    (void)phase;
    snprintf(name, sizeof name, "batch.%" PRId64, step);
    gy_rng r;
    gy_rng_init(&r, j->seed, name);
    if (c->affine > 0 && !(spare = gy_malloc(j->ctx, (size_t)n * sizeof *spare))) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < j->batch; i++) {
        float *v = x + i * n;
        gy_medforj_volume(j, false, gy_rng_below(&r, c->volumes), v);
        if (c->flip > 0 && gy_rng_uniform(&r) < c->flip) mirrored(c, v);
        if (spare && gy_rng_uniform(&r) < c->affine) {
            memcpy(spare, v, (size_t)n * sizeof *v);
            turned(c, &r, spare, v);
        }
    }
    gy_free(j->ctx, spare);
    return GY_OK;
}

/* ---- files ---- */

static bool is_nifti(const char *name) {
    size_t n = strlen(name);
    return (n > 4 && strcmp(name + n - 4, ".nii") == 0) || (n > 7 && strcmp(name + n - 7, ".nii.gz") == 0);
}

/* Reads one image as f32 and scales it to [-1, 1]. */
static gy_status read_volume(gy_job *j, const char *path, gy_tensor *out) {
    const config *c = j->cfg;
    int64_t size[3] = {c->depth, c->height, c->width};
    gy_nifti img;
    gy_status s = gy_nifti_open(j->ctx, path, NULL, &img);
    if (s != GY_OK) return s;
    s = gy_nifti_read(&img, GY_F32, out);
    gy_nifti_close(&img);
    if (s != GY_OK) return s;
    bool fits = out->shape.rank == 3;
    for (int a = 0; fits && a < 3; a++) fits = out->shape.dim[a] / c->stride >= size[a] + (a == 0 ? 2 : 0);
    if (!fits)
        return gy_fail(j->ctx, GY_ERR_SHAPE,
                       "%s: %s voxels cannot be cropped to [%" PRId64 ", %" PRId64 ", %" PRId64 "] at stride %" PRId64
                       " (see --set depth=, height=, width=, stride=)",
                       path, gy_shape_text(out->shape, (char[GY_SHAPE_TEXT]){0}), size[0], size[1], size[2], c->stride);
    float *v = out->data, lo = v[0], hi = v[0];
    for (int64_t i = 0; i < gy_shape_count(out->shape); i++) {
        if (!isfinite(v[i])) return gy_fail(j->ctx, GY_ERR_NUMERIC, "%s: voxel %" PRId64 " is not finite", path, i);
        lo = fminf(lo, v[i]);
        hi = fmaxf(hi, v[i]);
    }
    if (!(hi > lo)) return gy_fail(j->ctx, GY_ERR_NUMERIC, "%s: all voxels are %g", path, (double)lo);
    for (int64_t i = 0; i < gy_shape_count(out->shape); i++) v[i] = 2 * (v[i] - lo) / (hi - lo) - 1;
    return GY_OK;
}

enum { MAX_FILES = 256 };

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The NIfTI files of a folder, by name, or the one file itself. */
static gy_status list_files(gy_job *j, char *file[MAX_FILES], int64_t *n) {
    struct stat st;
    DIR *dir = stat(j->data_path, &st) == 0 && S_ISDIR(st.st_mode) ? opendir(j->data_path) : NULL;
    *n = 0;
    if (!dir) {
        file[(*n)++] = gy_format(j->ctx, "%s", j->data_path);
        return file[0] ? GY_OK : GY_ERR_NOMEM;
    }
    for (struct dirent *e = readdir(dir); e && *n < MAX_FILES; e = readdir(dir))
        if (is_nifti(e->d_name)) file[(*n)++] = gy_format(j->ctx, "%s/%s", j->data_path, e->d_name);
    closedir(dir);
    for (int64_t i = 0; i < *n; i++)
        if (!file[i]) return GY_ERR_NOMEM;
    qsort(file, (size_t)*n, sizeof *file, by_name);
    if (!*n) return gy_fail(j->ctx, GY_ERR_IO, "%s: no .nii or .nii.gz in this folder", j->data_path);
    return GY_OK;
}

static gy_status open_files(gy_job *j, lab *d) {
    char *file[MAX_FILES] = {0};
    int64_t n;
    gy_status s = list_files(j, file, &n);
    d->real = gy_calloc(j->ctx, (size_t)n, sizeof *d->real);
    if (s == GY_OK && !d->real) s = GY_ERR_NOMEM;
    for (; s == GY_OK && d->n_real < n; d->n_real += s == GY_OK)
        s = read_volume(j, file[d->n_real], &d->real[d->n_real]);
    if (s != GY_OK && d->real && d->n_real < n) gy_tensor_free(j->ctx, &d->real[d->n_real]);
    for (int64_t i = 0; i < n; i++) gy_free(j->ctx, file[i]);
    snprintf(j->data_label, sizeof j->data_label, "%" PRId64 " NIfTI image%s", n, n == 1 ? "" : "s");
    return s;
}

gy_status gy_medforj_open(gy_job *j) {
    const config *c = j->cfg;
    lab *d = gy_calloc(j->ctx, 1, sizeof *d);
    if (!d) return GY_ERR_NOMEM;
    j->data = d;
    j->batch = c->batch;
    if (!j->steps) j->steps = c->steps;
    j->data_hash = gy_hash_str("phantoms", j->seed);
    snprintf(j->data_label, sizeof j->data_label, "generated");
    gy_status s = j->data_path ? open_files(j, d) : GY_OK;
    for (int64_t i = 0; s == GY_OK && i < d->n_real; i++)
        j->data_hash = gy_hash(d->real[i].data, gy_tensor_bytes(&d->real[i]), j->data_hash);
    return s;
}

void gy_medforj_close(gy_job *j) {
    lab *d = j->data;
    for (int64_t i = 0; i < d->n_real; i++) gy_tensor_free(j->ctx, &d->real[i]);
    gy_free(j->ctx, d->real);
    for (int k = 0; k < TISSUES; k++) {
        gy_free(j->ctx, d->held_out.of[k]);
        gy_free(j->ctx, d->made.of[k]);
    }
    gy_free(j->ctx, d);
    j->data = NULL;
}
