/* fmri_folder.h: a small experiment as files, to be broken one thing at a time. */
#ifndef GY_TEST_FMRI_FOLDER_H
#define GY_TEST_FMRI_FOLDER_H

#include "../io/build.h"

#include "data/fmri.h"

#include <math.h>

/* 5 x 4 x 2 voxels, of which those of the lower slice are in the mask. Two runs of 12 volumes: rest, three of face,
 * rest, three of house, rest ... as LABELS says. */
enum { FX = 5, FY = 4, FZ = 2, FN = FX * FY * FZ, RUN = 12, RUNS = 2, FT = RUN * RUNS };
static const char *const LABELS[RUN] = {"rest",  "face",  "face",  "face", "rest", "rest",
                                        "house", "house", "house", "rest", "rest", "rest"};

typedef struct folder_files {
    float bold[FT * FN];
    float mask[FN];
    double shift_mm; /* of the mask's place */
    double tr;
} folder_files;

static inline folder_files good_folder(void) {
    static folder_files f;
    f = (folder_files){.tr = 2};
    for (int t = 0; t < FT; t++)
        for (int v = 0; v < FN; v++) {
            bool face = strcmp(LABELS[t % RUN], "face") == 0;
            f.bold[t * FN + v] = (float)(100 + 3 * sin(1.7 * t + 2.3 * v * v) + (face && v % 3 == 0 ? 5 : 0));
        }
    for (int v = 0; v < FX * FY; v++) f.mask[v] = 1;
    return f;
}

static inline gy_nifti space_of(double shift, double tr) {
    gy_nifti like = {.version = 1, .ndim = 3, .dim = {FX, FY, FZ, 1, 1, 1, 1}, .pixdim = {3, 3, 4}, .tr = tr};
    like.space = GY_NIFTI_SPACE_SFORM;
    like.space_code = 1;
    like.space_unit_known = like.time_unit_known = true;
    like.affine[0][0] = -3, like.affine[1][1] = 3, like.affine[2][2] = 4;
    like.affine[0][3] = 10 + shift;
    return like;
}

static inline void put_image(gy_ctx *ctx, const char *dir, const char *name, float *data, gy_shape shape, double shift,
                             double tr) {
    char path[256];
    gy_nifti like = space_of(shift, tr);
    gy_tensor t = {GY_F32, shape, data, true};
    assert_ok(ctx, gy_nifti_write(ctx, in_dir(dir, name, path), &t, (gy_nifti_write_args){.like = &like}));
}
static inline void put_text(const char *dir, const char *name, const char *text) {
    char path[256];
    store(in_dir(dir, name, path), text, strlen(text));
}

/* One image, a line a volume. `lines` of them. */
static inline void write_attributes(gy_ctx *ctx, const char *dir, folder_files *f, int lines) {
    char text[4096] = "", words[4096] = "";
    for (int t = 0; t < lines; t++) {
        const char *l = LABELS[t % RUN];
        sprintf(text + strlen(text), "%d %d\n", *l == 'r' ? 0 : *l == 'f' ? 1 : 2, t / RUN);
        sprintf(words + strlen(words), "%s %d\n", l, t / RUN);
    }
    put_text(dir, "attributes.txt", text);
    put_text(dir, "attributes_literal.txt", words);
    put_image(ctx, dir, "mask.nii.gz", f->mask, GY_S(FZ, FY, FX), f->shift_mm, 0);
    put_image(ctx, dir, "bold.nii.gz", f->bold, GY_S(FT, FZ, FY, FX), 0, f->tr);
}

/* Events that cover the same volumes when the response comes `delay` seconds after them. */
static inline void events_text(char *text, double onset, const char *run, double delay) {
    sprintf(text + strlen(text), "%g\t6\tface%s\n%g\t6\thouse%s\n", onset + 2 - delay, run, onset + 12 - delay, run);
}
static inline void write_events(gy_ctx *ctx, const char *dir, folder_files *f, double delay) {
    for (int r = 0; r < RUNS; r++) {
        char text[512] = "onset\tduration\ttrial_type\n", name[64];
        events_text(text, 0, "", delay);
        snprintf(name, sizeof name, "sub-01_task-see_run-%d_events.tsv", r + 1);
        put_text(dir, name, text);
        snprintf(name, sizeof name, "sub-01_task-see_run-%d_bold.nii.gz", r + 1);
        put_image(ctx, dir, name, f->bold + r * RUN * FN, GY_S(RUN, FZ, FY, FX), 0, f->tr);
    }
    put_image(ctx, dir, "sub-01_brain_mask.nii.gz", f->mask, GY_S(FZ, FY, FX), f->shift_mm, 0);
}

#endif
