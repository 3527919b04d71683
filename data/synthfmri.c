/* synthfmri.c: a block experiment on one slice, with the truth known: which voxels carry the category, and how much. */
#include "fmri.h"

#include "../core/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NX = 40, NY = 20, GRID = NX * NY, LEAD = 4 /* volumes of rest before each block */ };

/* A patch of the cortex: which voxels a category drives. */
typedef struct patch {
    double x, y, radius;
} patch;

static bool inside_oval(int64_t i, int64_t j) {
    double dx = ((double)i - 19.5) / 18, dy = ((double)j - 9.5) / 9;
    return dx * dx + dy * dy <= 1;
}

/* Centres spread over the slice; half of the categories on each side, so that no two patches coincide. */
static patch patch_of(int64_t c, int64_t classes) {
    double angle = 6.283185307179586 * ((double)c + 0.25) / (double)classes;
    return (patch){19.5 + 11 * cos(angle), 9.5 + 5 * sin(angle), 2.6};
}

static bool in_patch(patch p, int64_t at) {
    double dx = (double)(at % NX) - p.x, dy = (double)(at / NX) - p.y;
    return dx * dx + dy * dy <= p.radius * p.radius;
}

/* White noise averaged with its four neighbours: smooth in space, standard deviation 1 inside the slice. */
static void smooth_noise(gy_rng *rng, double out[GRID]) {
    double white[GRID];
    for (int i = 0; i < GRID; i++) white[i] = gy_rng_normal(rng);
    for (int j = 0; j < NY; j++)
        for (int i = 0; i < NX; i++) {
            double sum = 2 * white[i + NX * j], square = 4;
            const int step[4][2] = {{1, 0}, {-1, 0}, {0, 1}, {0, -1}};
            for (int k = 0; k < 4; k++) {
                int x = i + step[k][0], y = j + step[k][1];
                if (x < 0 || x >= NX || y < 0 || y >= NY) continue;
                sum += white[x + NX * y];
                square += 1;
            }
            out[i + NX * j] = sum / sqrt(square);
        }
}

static gy_status names(gy_fmri *f) {
    static const char *const known[] = {"face", "house", "shoe", "cat", "scissors", "scrambledpix", "bottle", "chair"};
    for (int64_t c = 0; c < f->classes; c++) {
        f->class_name[c] = c < 8 ? gy_strdup(f->ctx, known[c]) : gy_format(f->ctx, "category%d", (int)c + 1);
        if (!f->class_name[c]) return GY_ERR_NOMEM;
    }
    for (int64_t r = 0; r < f->runs; r++)
        if (!(f->run_name[r] = gy_format(f->ctx, "%d", (int)r))) return GY_ERR_NOMEM;
    return GY_OK;
}

/* Labels of a run: `blocks` blocks of each category in random order, rest before each and at the end. */
static void design(gy_fmri *f, gy_rng *rng, int64_t run, int64_t run_volumes, const gy_synthfmri_args *a) {
    int64_t order[64 * 8], n = f->classes * a->blocks;
    for (int64_t i = 0; i < n; i++) order[i] = i % f->classes;
    gy_rng_shuffle(rng, order, n);
    for (int64_t t = 0; t < run_volumes; t++) {
        int64_t row = run * run_volumes + t, block = t / (LEAD + a->block_volumes);
        bool rest = block >= n || t % (LEAD + a->block_volumes) < LEAD;
        f->label[row] = rest ? -1 : order[block];
        f->run[row] = run;
        f->scan[row] = row;
    }
}

/* The response rises and falls over two volumes, as blood flow does. */
static double response(const gy_fmri *f, int64_t row, int64_t c) {
    double now = f->label[row] == c, before = row > 0 && f->run[row - 1] == f->run[row] && f->label[row - 1] == c;
    return (now + before) / 2;
}

static void series(gy_fmri *f, gy_rng *rng, const gy_synthfmri_args *a) {
    const double memory = 0.4; /* of the noise, from volume to volume */
    double state[GRID] = {0}, fresh[GRID], gain[GRID] = {0}, offset[GRID] = {0}, slope[GRID] = {0};
    int64_t run = -1, first = 0;
    for (int64_t row = 0; row < f->volumes; row++) {
        if (f->run[row] != run) {
            run = f->run[row];
            first = row;
            for (int i = 0; i < GRID; i++) {
                gain[i] = 1 + 0.2 * (gy_rng_uniform(rng) - 0.5);
                offset[i] = a->offset * gy_rng_normal(rng);
                slope[i] = 0.02 * gy_rng_normal(rng);
            }
        }
        smooth_noise(rng, fresh);
        for (int i = 0; i < GRID; i++) state[i] = memory * state[i] + sqrt(1 - memory * memory) * fresh[i];
        for (int64_t v = 0; v < f->voxels; v++) {
            int64_t at = f->voxel[v];
            double drive = 0;
            for (int64_t c = 0; c < f->classes; c++)
                if (in_patch(patch_of(c, f->classes), at)) drive += a->signal * response(f, row, c);
            double level = offset[at] + slope[at] * (double)(row - first);
            f->x[row * f->voxels + v] = (float)(1000 + 10 * (level + gain[at] * (state[at] + drive)));
        }
    }
}

gy_status gy_synthfmri(gy_ctx *ctx, uint64_t seed, gy_synthfmri_args a, gy_fmri *out) {
    if (!a.runs) a.runs = 12;
    if (!a.classes) a.classes = 8;
    if (!a.blocks) a.blocks = 1;
    if (!a.block_volumes) a.block_volumes = 9;
    if (a.classes < 1 || a.classes > 64 || a.blocks < 1 || a.blocks > 8 || a.runs < 1 || a.block_volumes < 1)
        return gy_fail(ctx, GY_ERR_USAGE,
                       "generated fMRI: expected 1 to 64 classes, 1 to 8 blocks, runs and volumes >= 1");
    int64_t run_volumes = a.classes * a.blocks * (LEAD + a.block_volumes) + LEAD, voxels = 0;
    *out = (gy_fmri){.ctx = ctx, .tr = 2.5};
    for (int64_t i = 0; i < GRID; i++) voxels += inside_oval(i % NX, i / NX);
    gy_status s = gy_fmri_reserve(out, a.runs * run_volumes, voxels, a.runs, a.classes);
    if (s == GY_OK) s = names(out);
    out->truth = s == GY_OK ? gy_calloc(ctx, (size_t)voxels, 1) : NULL;
    out->mean = s == GY_OK ? gy_calloc(ctx, GRID, sizeof *out->mean) : NULL;
    if (s != GY_OK || !out->truth || !out->mean) {
        gy_fmri_free(out);
        return s == GY_OK ? GY_ERR_NOMEM : s;
    }
    for (int64_t i = 0, v = 0; i < GRID; i++) {
        if (!inside_oval(i % NX, i / NX)) continue;
        for (int64_t c = 0; c < a.classes; c++) out->truth[v] |= in_patch(patch_of(c, a.classes), i);
        out->mean[i] = 1000;
        out->voxel[v++] = i;
    }
    snprintf(out->name, sizeof out->name, "generated");
    out->grid = (gy_nifti){.version = 1, .ndim = 3, .dim = {NX, NY, 1, 1, 1, 1, 1}, .pixdim = {3.5, 3.5, 3.5}};
    out->grid.tr = out->tr;
    out->grid.space_unit_known = out->grid.time_unit_known = true;
    out->grid.space = GY_NIFTI_SPACE_SFORM;
    out->grid.space_code = 1;
    const double centre[3] = {19.5, 9.5, 0};
    for (int i = 0; i < 3; i++) {
        out->grid.affine[i][i] = 3.5;
        out->grid.affine[i][3] = -3.5 * centre[i];
    }
    gy_rng rng;
    gy_rng_init(&rng, seed, "synthfmri");
    for (int64_t r = 0; r < a.runs; r++) design(out, &rng, r, run_volumes, &a);
    series(out, &rng, &a);
    return gy_fmri_prepare(out, NULL) == GY_OK ? GY_OK : (gy_fmri_free(out), gy_error_status(ctx));
}
