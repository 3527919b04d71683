/* nifti_images.h: small NIfTI files, built byte by byte in a folder of their own. */
#ifndef GY_TEST_NIFTI_IMAGES_H
#define GY_TEST_NIFTI_IMAGES_H

#include "../harness/harness.h"

#include "io/files.h"
#include "io/formats/deflate.h"
#include "io/formats/nifti.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- a folder, warnings, files ----------------------------------------------------------------- */

static char folder[64];
static char warned[8192];

static inline int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/gyrus-nifti-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static inline void empty_folder(gy_ctx *ctx) {
    char **names;
    int64_t n;
    assert_ok(ctx, gy_list_dir(ctx, folder, &names, &n));
    for (int64_t i = 0; i < n; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
        gy_free(ctx, names[i]);
    }
    gy_free(ctx, names);
}

static inline int remove_folder(void **state) {
    (void)state;
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 1});
    empty_folder(ctx);
    gy_ctx_free(ctx);
    return rmdir(folder);
}

static inline void remember(void *user, const char *text) {
    (void)user;
    strncat(warned, text, sizeof warned - strlen(warned) - 2);
    strcat(warned, "\n");
}

static inline const char *in_folder(const char *name) {
    static char path[4][512];
    static int next;
    char *p = path[next++ % 4];
    snprintf(p, 512, "%s/%s", folder, name);
    return p;
}

/* ---- small images ------------------------------------------------------------------------------ */

typedef struct image {
    uint8_t b[8192];
    size_t n;
} image;

static inline void put16(image *m, size_t at, int v) {
    gy_put_le16(m->b + at, (uint16_t)v);
}
static inline void put32(image *m, size_t at, int64_t v) {
    gy_put_le32(m->b + at, (uint32_t)v);
}
static inline void put64(image *m, size_t at, int64_t v) {
    gy_put_le64(m->b + at, (uint64_t)v);
}
static inline void putf(image *m, size_t at, double v) {
    float x = (float)v;
    uint32_t u;
    memcpy(&u, &x, 4);
    gy_put_le32(m->b + at, u);
}
static inline void putd(image *m, size_t at, double v) {
    uint64_t u;
    memcpy(&u, &v, 8);
    gy_put_le64(m->b + at, u);
}

/* 2 x 3 x 4 int16 voxels 0, 1, 2, ...; sform 2, 3, 4 mm at (-10, -20, -30), scanner; mm and seconds. */
static inline image nifti1(void) {
    image m = {.n = 352 + 48};
    put32(&m, 0, 348);
    for (int i = 0; i < 8; i++) put16(&m, 40 + 2 * (size_t)i, (int[]){3, 2, 3, 4, 1, 1, 1, 1}[i]);
    put16(&m, 70, 4);
    put16(&m, 72, 16);
    for (int i = 0; i < 5; i++) putf(&m, 76 + 4 * (size_t)i, (double[]){1, 2, 3, 4, 2.5}[i]);
    putf(&m, 108, 352);
    m.b[123] = 2 | 8;
    put16(&m, 254, 1);
    for (int i = 0; i < 3; i++) {
        putf(&m, 280 + 16 * (size_t)i + 4 * (size_t)i, 2 + i);
        putf(&m, 292 + 16 * (size_t)i, -10 * (i + 1));
    }
    memcpy(m.b + 344, "n+1", 4);
    for (int i = 0; i < 24; i++) put16(&m, 352 + 2 * (size_t)i, i);
    return m;
}

/* The same in NIfTI-2. */
static inline image nifti2(void) {
    image m = {.n = 544 + 48};
    put32(&m, 0, 540);
    memcpy(m.b + 4, "n+2\0\r\n\x1a\n", 8);
    put16(&m, 12, 4);
    put16(&m, 14, 16);
    for (int i = 0; i < 8; i++) put64(&m, 16 + 8 * (size_t)i, (int[]){3, 2, 3, 4, 1, 1, 1, 1}[i]);
    for (int i = 0; i < 5; i++) putd(&m, 104 + 8 * (size_t)i, (double[]){1, 2, 3, 4, 2.5}[i]);
    put64(&m, 168, 544);
    put32(&m, 500, 2 | 8);
    put32(&m, 348, 1);
    for (int i = 0; i < 3; i++) {
        putd(&m, 400 + 32 * (size_t)i + 8 * (size_t)i, 2 + i);
        putd(&m, 424 + 32 * (size_t)i, -10 * (i + 1));
    }
    for (int i = 0; i < 24; i++) put16(&m, 544 + 2 * (size_t)i, i);
    return m;
}

/* The qform alone, with a quaternion. */
static inline image with_qform(double b, double c, double d) {
    image m = nifti1();
    put16(&m, 252, 1);
    put16(&m, 254, 0);
    putf(&m, 256, b);
    putf(&m, 260, c);
    putf(&m, 264, d);
    for (int i = 0; i < 3; i++) putf(&m, 268 + 4 * (size_t)i, i + 1);
    return m;
}

static inline void swap(uint8_t *p, size_t width, size_t count) {
    for (size_t i = 0; i < count; i++, p += width)
        for (size_t a = 0, b = width - 1; a < b; a++, b--) {
            uint8_t t = p[a];
            p[a] = p[b];
            p[b] = t;
        }
}

static inline void to_big_endian(image *m) {
    static const struct {
        size_t at, width, count;
    } one[] = {{0, 4, 1},   {40, 2, 8},  {56, 4, 3},  {68, 2, 4},   {76, 4, 8},
               {108, 4, 3}, {124, 4, 6}, {252, 2, 2}, {256, 4, 18}, {352, 2, 24}},
      two[] = {{0, 4, 1},   {12, 2, 2},  {16, 8, 8},   {80, 8, 3},  {104, 8, 8}, {168, 8, 1},
               {176, 8, 6}, {344, 4, 2}, {352, 8, 18}, {496, 4, 3}, {544, 2, 24}};
    bool first = m->b[0] == 92; /* 348 & 255 */
    for (size_t i = 0; i < (first ? sizeof one : sizeof two) / sizeof one[0]; i++) {
        size_t at = first ? one[i].at : two[i].at;
        swap(m->b + at, first ? one[i].width : two[i].width, first ? one[i].count : two[i].count);
    }
}

/* Not through gy_write_file: hundreds of fsyncs would take seconds. */
static inline void save(gy_ctx *ctx, const char *name, const void *bytes, size_t n) {
    (void)ctx;
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static inline void save_gzip(gy_ctx *ctx, const char *name, const void *bytes, size_t n) {
    uint8_t *packed;
    uint64_t size;
    assert_ok(ctx, gy_deflate(ctx, bytes, n, GY_DEFLATE_GZIP, 6, &packed, &size));
    save(ctx, name, packed, (size_t)size);
    gy_free(ctx, packed);
}

static inline gy_status open_image(gy_ctx *ctx, const image *m, gy_nifti *out) {
    warned[0] = 0;
    gy_set_warn_handler(ctx, remember, NULL);
    save(ctx, "a.nii", m->b, m->n);
    return gy_nifti_open(ctx, in_folder("a.nii"), NULL, out);
}

static inline void assert_refused(gy_ctx *ctx, const image *m, const char *message) {
    gy_nifti img;
    gy_status s = open_image(ctx, m, &img);
    if (s == GY_OK) gy_nifti_close(&img);
    assert_message(ctx, s, message);
    assert_non_null(strstr(gy_error(ctx), "a.nii"));
    assert_null(img.file.path);
}

/* Reads the 24 voxels 0 .. 23 and closes; `warning` NULL: there must be none. */
static inline void assert_reads(gy_ctx *ctx, const image *m, const char *warning) {
    gy_nifti img;
    gy_tensor t;
    assert_ok(ctx, open_image(ctx, m, &img));
    if (warning ? !strstr(warned, warning) : warned[0] != 0)
        fail_msg("warnings: \"%s\", expected \"%s\"", warned, warning ? warning : "");
    assert_ok(ctx, gy_nifti_read(&img, GY_F64, &t));
    assert_int_equal(gy_shape_count(t.shape), 24);
    for (int64_t i = 0; i < 24; i++) assert_true(gy_tensor_get(&t, i) == (double)i);
    gy_tensor_free(ctx, &t);
    gy_nifti_close(&img);
}

/* nifti1 with room for 64 bytes of extensions, voxels behind them. */
static inline image with_extensions(void) {
    image m = nifti1();
    memmove(m.b + 416, m.b + 352, 48);
    memset(m.b + 352, 0, 64);
    m.n += 64;
    putf(&m, 108, 416);
    m.b[348] = 1;
    return m;
}

#endif
