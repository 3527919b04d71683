/* NIfTI: every hostile case of the list (NII-01 ... NII-12) is built here, byte by byte. */
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

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/gyrus-nifti-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static void empty_folder(gy_ctx *ctx) {
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

static int remove_folder(void **state) {
    (void)state;
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 1});
    empty_folder(ctx);
    gy_ctx_free(ctx);
    return rmdir(folder);
}

static void remember(void *user, const char *text) {
    (void)user;
    strncat(warned, text, sizeof warned - strlen(warned) - 2);
    strcat(warned, "\n");
}

static const char *in_folder(const char *name) {
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

static void put16(image *m, size_t at, int v) {
    gy_put_le16(m->b + at, (uint16_t)v);
}
static void put32(image *m, size_t at, int64_t v) {
    gy_put_le32(m->b + at, (uint32_t)v);
}
static void put64(image *m, size_t at, int64_t v) {
    gy_put_le64(m->b + at, (uint64_t)v);
}
static void putf(image *m, size_t at, double v) {
    float x = (float)v;
    uint32_t u;
    memcpy(&u, &x, 4);
    gy_put_le32(m->b + at, u);
}
static void putd(image *m, size_t at, double v) {
    uint64_t u;
    memcpy(&u, &v, 8);
    gy_put_le64(m->b + at, u);
}

/* 2 x 3 x 4 int16 voxels 0, 1, 2, ...; sform 2, 3, 4 mm at (-10, -20, -30), scanner; mm and seconds. */
static image nifti1(void) {
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
static image nifti2(void) {
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
static image with_qform(double b, double c, double d) {
    image m = nifti1();
    put16(&m, 252, 1);
    put16(&m, 254, 0);
    putf(&m, 256, b);
    putf(&m, 260, c);
    putf(&m, 264, d);
    for (int i = 0; i < 3; i++) putf(&m, 268 + 4 * (size_t)i, i + 1);
    return m;
}

static void swap(uint8_t *p, size_t width, size_t count) {
    for (size_t i = 0; i < count; i++, p += width)
        for (size_t a = 0, b = width - 1; a < b; a++, b--) {
            uint8_t t = p[a];
            p[a] = p[b];
            p[b] = t;
        }
}

static void to_big_endian(image *m) {
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

static void save(gy_ctx *ctx, const char *name, const void *bytes, size_t n) {
    assert_ok(ctx, gy_write_file(ctx, in_folder(name), bytes, n));
}

static void save_gzip(gy_ctx *ctx, const char *name, const void *bytes, size_t n) {
    uint8_t *packed;
    uint64_t size;
    assert_ok(ctx, gy_deflate(ctx, bytes, n, GY_DEFLATE_GZIP, 6, &packed, &size));
    save(ctx, name, packed, (size_t)size);
    gy_free(ctx, packed);
}

static gy_status open_image(gy_ctx *ctx, const image *m, gy_nifti *out) {
    warned[0] = 0;
    gy_set_warn_handler(ctx, remember, NULL);
    save(ctx, "a.nii", m->b, m->n);
    return gy_nifti_open(ctx, in_folder("a.nii"), NULL, out);
}

static void assert_refused(gy_ctx *ctx, const image *m, const char *message) {
    gy_nifti img;
    gy_status s = open_image(ctx, m, &img);
    if (s == GY_OK) gy_nifti_close(&img);
    assert_message(ctx, s, message);
    assert_non_null(strstr(gy_error(ctx), "a.nii"));
    assert_null(img.file.path);
}

/* Reads the 24 voxels 0 .. 23 and closes; `warning` NULL: there must be none. */
static void assert_reads(gy_ctx *ctx, const image *m, const char *warning) {
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

/* ---- reading what is legal --------------------------------------------------------------------- */

static void header_and_voxels_in_both_versions_and_byte_orders(void **state) {
    gy_ctx *ctx = *state;
    for (int k = 0; k < 4; k++) {
        image m = k < 2 ? nifti1() : nifti2();
        if (k % 2) to_big_endian(&m);
        gy_nifti img;
        gy_tensor t;
        assert_ok(ctx, open_image(ctx, &m, &img));
        assert_int_equal(img.version, k < 2 ? 1 : 2);
        assert_int_equal(img.big_endian, k % 2);
        assert_int_equal(img.dtype, GY_I16);
        assert_true(img.tr == 2.5 && img.time_unit_known && img.space_unit_known);
        assert_int_equal(img.space, GY_NIFTI_SPACE_SFORM);
        for (int i = 0; i < 3; i++) {
            assert_true(img.pixdim[i] == 2 + i);
            for (int j = 0; j < 4; j++) assert_true(img.affine[i][j] == (j == 3 ? -10 * (i + 1) : i == j ? 2 + i : 0));
        }
        assert_ok(ctx, gy_nifti_read(&img, GY_F32, &t));
        assert_true(gy_shape_equal(t.shape, GY_S(4, 3, 2))); /* [z, y, x] */
        for (int z = 0; z < 4; z++)
            for (int y = 0; y < 3; y++)
                for (int x = 0; x < 2; x++)
                    assert_true(((float *)t.data)[(z * 3 + y) * 2 + x] == (float)(x + 2 * (y + 3 * z)));
        gy_tensor_free(ctx, &t);
        assert_ok(ctx, gy_nifti_read(&img, GY_DTYPE_DEFAULT, &t));
        assert_int_equal(t.dtype, GY_I16);
        assert_int_equal(((int16_t *)t.data)[23], 23);
        gy_tensor_free(ctx, &t);
        assert_message(ctx, gy_nifti_read(&img, GY_I32, &t), "read as f32, f64 or as stored, not as i32");
        gy_nifti_close(&img);
    }
}

static void scaling_follows_the_standard(void **state) { /* NII-06 */
    gy_ctx *ctx = *state;
    static const struct {
        double slope, inter, value; /* of voxel 3 */
    } cases[] = {{0, 7, 3}, {NAN, NAN, 3}, {NAN, 7, 3}, {1, 0, 3}, {0.5, 10, 11.5}, {-2, 0, -6}, {2, NAN, 6}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        image m = nifti1();
        gy_nifti img;
        gy_tensor t;
        putf(&m, 112, cases[i].slope);
        putf(&m, 116, cases[i].inter);
        assert_ok(ctx, open_image(ctx, &m, &img));
        assert_ok(ctx, gy_nifti_read(&img, GY_F64, &t));
        assert_true(((double *)t.data)[3] == cases[i].value);
        gy_tensor_free(ctx, &t);
        assert_ok(ctx, gy_nifti_read(&img, GY_DTYPE_DEFAULT, &t)); /* stored numbers stay */
        assert_int_equal(((int16_t *)t.data)[3], 3);
        gy_tensor_free(ctx, &t);
        gy_nifti_close(&img);
    }
    assert_non_null(strstr(warned, "scl_inter is NaN"));
    image m = nifti1();
    putf(&m, 112, INFINITY);
    assert_refused(ctx, &m, "byte 112: scl_slope: infinite");
    putf(&m, 112, 1);
    putf(&m, 116, -INFINITY);
    assert_refused(ctx, &m, "byte 116: scl_inter: infinite");
}

static void units_become_mm_and_seconds_and_are_never_guessed(void **state) {
    gy_ctx *ctx = *state;
    static const struct {
        int units;
        double mm, tr;
        bool space, time;
    } cases[] = {{2 | 8, 2, 2.5, true, true},
                 {1 | 16, 2000, 0.0025, true, true},
                 {3 | 24, 0.002, 2.5e-6, true, true},
                 {0 | 8, 2, 2.5, false, true},
                 {2, 2, 0, true, false},
                 {2 | 32, 2, 0, true, false},
                 {7 | 0x38, 2, 0, false, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        image m = nifti1();
        gy_nifti img;
        put16(&m, 40, 4);
        put16(&m, 46, 2); /* 2 x 3 x 2 x 2 */
        put16(&m, 48, 2);
        m.b[123] = (uint8_t)cases[i].units;
        assert_ok(ctx, open_image(ctx, &m, &img));
        assert_close(img.pixdim[0], cases[i].mm, 1e-12);
        assert_close(img.affine[0][3], -10 * cases[i].mm / 2, 1e-12);
        assert_close(img.tr, cases[i].tr, 1e-12);
        assert_int_equal(img.space_unit_known, cases[i].space);
        assert_int_equal(img.time_unit_known, cases[i].time);
        assert_int_equal(strstr(warned, "the unit of voxel sizes is not given") != NULL, !cases[i].space);
        assert_int_equal(strstr(warned, "pixdim[4] = 2.5 is not taken as the TR") != NULL, !cases[i].time);
        gy_nifti_close(&img);
    }
}

static void pairs_are_found_from_either_name(void **state) {
    gy_ctx *ctx = *state;
    static const char *const names[][3] = {{"p.hdr", "p.img", ""}, {"q.HDR", "q.IMG", ""}, {"r.hdr", "r.img.gz", "z"}};
    for (int k = 0; k < 3; k++)
        for (int which = 0; which < 2; which++) {
            image m = nifti1();
            gy_nifti img;
            gy_tensor t;
            memcpy(m.b + 344, "ni1", 4);
            putf(&m, 108, 0); /* 0 is legal here (NII-04) */
            save(ctx, names[k][0], m.b, 348);
            (names[k][2][0] ? save_gzip : save)(ctx, names[k][1], m.b + 352, 48);
            if (k == 2 && which == 1) continue; /* .img.gz looks for .hdr.gz */
            assert_ok(ctx, gy_nifti_open(ctx, in_folder(names[k][which]), NULL, &img));
            assert_true(img.pair);
            assert_ok(ctx, gy_nifti_read(&img, GY_F32, &t));
            assert_true(((float *)t.data)[23] == 23);
            gy_tensor_free(ctx, &t);
            gy_nifti_close(&img);
        }
}

static void content_decides_over_the_name(void **state) {
    gy_ctx *ctx = *state;
    image m = nifti1();
    for (int k = 0; k < 2; k++) {
        gy_nifti img;
        gy_tensor t;
        const char *name = k ? "plain.nii.gz" : "packed.nii";
        (k ? save : save_gzip)(ctx, name, m.b, m.n);
        assert_ok(ctx, gy_nifti_open(ctx, in_folder(name), NULL, &img));
        assert_int_equal(img.gzip, !k);
        assert_ok(ctx, gy_nifti_read(&img, GY_F32, &t));
        assert_true(((float *)t.data)[23] == 23);
        gy_tensor_free(ctx, &t);
        gy_nifti_close(&img);
    }
}

static void axes_from_one_to_seven_are_reversed(void **state) { /* NII-11 */
    gy_ctx *ctx = *state;
    static const struct {
        int dim[8];
        gy_shape shape;
    } cases[] = {{{1, 24}, {1, {24}}},
                 {{2, 4, 6}, {2, {6, 4}}},
                 {{4, 2, 3, 4, 1}, {4, {1, 4, 3, 2}}},
                 {{5, 2, 2, 2, 1, 3}, {5, {3, 1, 2, 2, 2}}},
                 {{7, 1, 2, 1, 3, 1, 4, 1}, {7, {1, 4, 1, 3, 1, 2, 1}}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        image m = nifti1();
        gy_nifti img;
        for (int j = 0; j < 8; j++) put16(&m, 40 + 2 * (size_t)j, cases[i].dim[j]);
        assert_ok(ctx, open_image(ctx, &m, &img));
        assert_true(gy_shape_equal(gy_nifti_shape(&img), cases[i].shape));
        gy_nifti_close(&img);
        assert_reads(ctx, &m, NULL);
    }
}

static void volumes_are_read_by_number(void **state) {
    gy_ctx *ctx = *state;
    image m = nifti1();
    put16(&m, 40, 4);
    put16(&m, 46, 1);
    put16(&m, 48, 4); /* 2 x 3 x 1 x 4 */
    for (int k = 0; k < 2; k++) {
        gy_nifti img;
        gy_tensor t;
        (k ? save_gzip : save)(ctx, "v.nii", m.b, m.n);
        assert_ok(ctx, gy_nifti_open(ctx, in_folder("v.nii"), NULL, &img));
        for (int64_t v = 0; v < 3; v++) {
            assert_ok(ctx, gy_nifti_read_volumes(&img, v, 2, GY_F32, &t));
            assert_true(gy_shape_equal(t.shape, GY_S(2, 1, 3, 2)));
            for (int64_t i = 0; i < 12; i++) assert_true(((float *)t.data)[i] == (float)(6 * v + i));
            gy_tensor_free(ctx, &t);
        }
        assert_message(ctx, gy_nifti_read_volumes(&img, 3, 2, GY_F32, &t),
                       "2 volumes from number 3 on asked for, the file has 0 to 3");
        assert_message(ctx, gy_nifti_read_volumes(&img, -1, 1, GY_F32, &t), "1 volumes from number -1 on");
        assert_message(ctx, gy_nifti_read_volumes(&img, INT64_MAX, 2, GY_F32, &t), "the file has 0 to 3");
        gy_nifti_close(&img);
    }
    m = nifti1();
    gy_nifti img;
    gy_tensor t;
    assert_ok(ctx, open_image(ctx, &m, &img));
    assert_message(ctx, gy_nifti_read_volumes(&img, 0, 1, GY_F32, &t), "3 axes: there are no volumes");
    gy_nifti_close(&img);
}

/* ---- refusing what is not ---------------------------------------------------------------------- */

static void dims_beyond_the_file_are_refused_before_allocating(void **state) { /* NII-01 */
    gy_ctx *ctx = *state;
    image m = nifti1();
    m.n = 377;
    put16(&m, 42, 2048);
    put16(&m, 44, 2048);
    put16(&m, 46, 2150);
    for (int k = 0; k < 2; k++) {
        (k ? save_gzip : save)(ctx, "bomb.nii", m.b, m.n);
        gy_ctx *fresh = gy_ctx_new((gy_ctx_args){.threads = 1});
        size_t before = gy_mem_live(fresh);
        gy_nifti img;
        gy_status s = gy_nifti_open(fresh, in_folder("bomb.nii"), NULL, &img);
        assert_message(fresh, s, "expected 18035507200 bytes of voxels ([2150, 2048, 2048] i16), the file has ");
        assert_message(fresh, s, k ? "when inflated at most" : "377 bytes in all");
        assert_true(gy_mem_peak(fresh) - before < 65536);
        gy_ctx_free(fresh);
    }
}

static void the_number_of_axes_is_one_to_seven(void **state) { /* NII-02 */
    gy_ctx *ctx = *state;
    for (int i = 0; i < 4; i++) {
        int n = (int[]){200, 0, -1, 8}[i];
        char message[64];
        image m = nifti1(), m2 = nifti2();
        put16(&m, 40, n);
        put64(&m2, 16, n);
        snprintf(message, sizeof message, "byte 40: dim[0]: expected 1 to 7 axes, found %d", n);
        assert_refused(ctx, &m, message);
        snprintf(message, sizeof message, "byte 16: dim[0]: expected 1 to 7 axes, found %d", n);
        assert_refused(ctx, &m2, message);
    }
}

static void empty_axes_and_overflowing_products_are_refused(void **state) { /* NII-03 */
    gy_ctx *ctx = *state;
    image m = nifti1();
    put16(&m, 44, 0);
    assert_refused(ctx, &m, "byte 44: dim[2]: expected a positive size, found 0");
    put16(&m, 44, -3);
    assert_refused(ctx, &m, "dim[2]: expected a positive size, found -3");
    m = nifti1();
    put16(&m, 48, 0); /* beyond dim[0]: ignored */
    put16(&m, 50, -7);
    assert_reads(ctx, &m, NULL);
    m = nifti2();
    for (size_t i = 1; i <= 3; i++) put64(&m, 16 + 8 * i, (int64_t)1 << 40);
    assert_refused(ctx, &m, "the sizes' product passes 2^64");
    put64(&m, 40, 1);
    put64(&m, 32, (int64_t)1 << 22); /* 2^40 2^22 int16 = 2^63 bytes */
    assert_refused(ctx, &m, "the sizes' product passes 2^63");
    put64(&m, 24, INT64_MIN);
    assert_refused(ctx, &m, "dim[1]: expected a positive size");
}

static void freesurfers_vector_length_is_read_with_a_warning(void **state) { /* NII-03 */
    gy_ctx *ctx = *state;
    image m = nifti1();
    put16(&m, 42, -1);
    put16(&m, 44, 1);
    put16(&m, 46, 1);
    assert_refused(ctx, &m, "dim[1]: expected a positive size, found 0");
    put32(&m, 144, 24);
    assert_reads(ctx, &m, "size 24 taken from glmin");
}

static void the_voxels_place_is_checked(void **state) { /* NII-04 */
    gy_ctx *ctx = *state;
    static const struct {
        double offset;
        const char *message;
    } cases[] = {{NAN, "vox_offset: expected a whole number of bytes"},
                 {INFINITY, "expected a whole number of bytes, found inf"},
                 {1e30, "expected a whole number of bytes, found 1e+30"},
                 {352.5, "expected a whole number of bytes, found 352.5"},
                 {-1, "vox_offset: expected at least 352, found -1"},
                 {0, "vox_offset: expected at least 352, found 0"},
                 {348, "vox_offset: expected at least 352, found 348"},
                 {2147483648.0, "byte 2147483648: expected 48 bytes of voxels"},
                 {368, "byte 368: expected 48 bytes of voxels ([4, 3, 2] i16), the file has 400 bytes in all"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        image m = nifti1();
        putf(&m, 108, cases[i].offset);
        assert_refused(ctx, &m, cases[i].message);
    }
    image m = nifti2();
    put64(&m, 168, INT64_MAX);
    assert_refused(ctx, &m, "byte 9223372036854775807: expected 48 bytes of voxels");
    put64(&m, 168, -16);
    assert_refused(ctx, &m, "expected at least 544, found -16");
    put64(&m, 168, 352);
    assert_refused(ctx, &m, "expected at least 544, found 352");
}

/* nifti1 with room for 64 bytes of extensions, voxels behind them. */
static image with_extensions(void) {
    image m = nifti1();
    memmove(m.b + 416, m.b + 352, 48);
    memset(m.b + 352, 0, 64);
    m.n += 64;
    putf(&m, 108, 416);
    m.b[348] = 1;
    return m;
}

static void extensions_are_skipped_and_never_followed(void **state) { /* NII-05 */
    gy_ctx *ctx = *state;
    image m = with_extensions();
    gy_nifti img;
    put32(&m, 352, 32);
    put32(&m, 384, 32);
    assert_reads(ctx, &m, NULL);
    for (int packed = 0; packed < 2; packed++) {
        (packed ? save_gzip : save)(ctx, "e.nii", m.b, m.n);
        assert_ok(ctx, gy_nifti_open(ctx, in_folder("e.nii"), NULL, &img));
        assert_int_equal(img.extensions, 2);
        gy_nifti_close(&img);
    }
    for (int i = 0; i < 6; i++) {
        int64_t size = (int64_t[]){0, -16, 8, 20, 80, 0x7ffffff0}[i];
        char message[64];
        put32(&m, 352, size);
        snprintf(message, sizeof message, "byte 352: header extension of %lld bytes", (long long)size);
        assert_reads(ctx, &m, message);
    }
    m = nifti1();
    m.b[348] = 1; /* flag set, none there */
    assert_reads(ctx, &m, "announces extensions, none is there");
    m.b[348] = 0;
    m.n = 352 + 48;
    assert_reads(ctx, &m, NULL);
}

static void a_million_tiny_extensions_take_linear_time(void **state) { /* NII-05 */
    gy_ctx *ctx = *state;
    enum { COUNT = 1000000 };
    image m = nifti1();
    uint8_t *big = gy_calloc(ctx, 1, 352 + 16 * COUNT + 48);
    putf(&m, 108, 352 + 16 * COUNT);
    m.b[348] = 1;
    memcpy(big, m.b, 352);
    for (size_t i = 0; i < COUNT; i++) big[352 + 16 * i] = 16;
    memcpy(big + 352 + 16 * COUNT, m.b + 352, 48);
    save(ctx, "million.nii", big, 352 + 16 * COUNT + 48);
    gy_free(ctx, big);
    gy_nifti img;
    assert_ok(ctx, gy_nifti_open(ctx, in_folder("million.nii"), NULL, &img));
    assert_int_equal(img.extensions, COUNT);
    gy_nifti_close(&img);
    unlink(in_folder("million.nii"));
}

static void types_that_are_not_read_are_named(void **state) { /* NII-07 */
    gy_ctx *ctx = *state;
    static const struct {
        int code, bits;
        const char *message;
    } cases[] = {{1, 1, "datatype 1 (binary) is not read"},
                 {32, 64, "datatype 32 (complex64) is not read"},
                 {128, 24, "datatype 128 (RGB24) is not read"},
                 {1536, 128, "datatype 1536 (float128) is not read"},
                 {1792, 128, "datatype 1792 (complex128) is not read"},
                 {2048, 256, "datatype 2048 (complex256) is not read"},
                 {2304, 32, "datatype 2304 (RGBA32) is not read"},
                 {0, 16, "datatype: 0 is no NIfTI type"},
                 {5, 16, "datatype: 5 is no NIfTI type"},
                 {4, 8, "bitpix: datatype 4 (int16) has 16 bits, the header says 8"},
                 {16, 0, "bitpix: datatype 16 (float32) has 32 bits, the header says 0"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        image m = nifti1();
        put16(&m, 70, cases[i].code);
        put16(&m, 72, cases[i].bits);
        assert_refused(ctx, &m, cases[i].message);
    }
    assert_int_equal(gy_error_status(ctx), GY_ERR_FORMAT);
    image m = nifti1();
    put16(&m, 70, 128);
    assert_refused(ctx, &m, "RGB24");
    assert_int_equal(gy_error_status(ctx), GY_ERR_UNSUPPORTED);
}

static void wrong_size_magic_and_lonely_headers_are_refused(void **state) { /* NII-08 */
    gy_ctx *ctx = *state;
    image m = nifti1();
    put32(&m, 0, 349);
    assert_refused(ctx, &m, "sizeof_hdr: expected 348 (NIfTI-1) or 540 (NIfTI-2) in either byte order, found 349");
    m = nifti1();
    m.b[346] = '2';
    assert_refused(ctx, &m, "magic says NIfTI-2, the header's size says NIfTI-1");
    m = nifti1();
    memset(m.b + 344, 0, 4);
    assert_refused(ctx, &m, "neither NIfTI nor an Analyze .hdr");
    memcpy(m.b + 344, "ni1", 4);
    assert_refused(ctx, &m, "the voxels are in an .img file, but this name does not end in .hdr");
    gy_nifti img;
    save(ctx, "lonely.hdr", m.b, 348);
    assert_message(ctx, gy_nifti_open(ctx, in_folder("lonely.hdr"), NULL, &img), "lonely.img is not there");
    m = nifti2();
    m.b[8] = '\n'; /* a transfer in text mode */
    assert_refused(ctx, &m, "0d 0a 1a 0a are damaged");
    memset(m.b + 4, 0, 8);
    assert_refused(ctx, &m, "magic: expected \"n+2\" or \"ni2\"");
    assert_message(ctx, gy_nifti_open(ctx, in_folder("absent.nii"), NULL, &img), "absent.nii");
}

static void analyze_is_read_with_left_and_right_unknown(void **state) { /* NII-08 */
    gy_ctx *ctx = *state;
    image m = nifti1();
    gy_nifti img;
    gy_tensor t;
    char code[4];
    memset(m.b + 344, 0, 4);
    putf(&m, 108, 0);
    putf(&m, 112, 0.5); /* no scaling in Analyze */
    to_big_endian(&m);
    save(ctx, "old.hdr", m.b, 348);
    save(ctx, "old.img", m.b + 352, 48);
    warned[0] = 0;
    gy_set_warn_handler(ctx, remember, NULL);
    assert_ok(ctx, gy_nifti_open(ctx, in_folder("old.img"), NULL, &img));
    assert_non_null(strstr(warned, "left and right are unknown"));
    assert_int_equal(img.version, 0);
    assert_string_equal(gy_nifti_orientation(&img, code), "???");
    assert_true(img.pixdim[2] == 4 && img.tr == 0);
    assert_ok(ctx, gy_nifti_read(&img, GY_F32, &t));
    assert_true(((float *)t.data)[23] == 23);
    gy_tensor_free(ctx, &t);
    gy_nifti_close(&img);
}

static void a_file_cut_anywhere_is_refused(void **state) { /* NII-09, NII-12 */
    gy_ctx *ctx = *state;
    for (int k = 0; k < 2; k++) {
        image whole = k ? nifti2() : nifti1();
        for (size_t n = 0; n < whole.n; n++) {
            image m = whole;
            m.n = n;
            char message[64];
            if (n < 4)
                snprintf(message, sizeof message, "expected a header of 348 or 540 bytes, found %zu", n);
            else if (n < (k ? 540u : 348u))
                snprintf(message, sizeof message, "expected a header of %d bytes, found %zu", k ? 540 : 348, n);
            else
                snprintf(message, sizeof message, "the file has %zu bytes in all", n);
            assert_refused(ctx, &m, message);
        }
    }
    image m = nifti1(); /* 348 swapped reads as 1.5 GB in the wrong order */
    swap(m.b, 4, 1);
    m.n = 6;
    assert_refused(ctx, &m, "expected a header of 348 bytes, found 6");
}

static void a_gzip_stream_cut_or_damaged_anywhere_is_refused(void **state) { /* NII-09 */
    gy_ctx *ctx = *state;
    image m = nifti1();
    uint8_t *packed;
    uint64_t size;
    assert_ok(ctx, gy_deflate(ctx, m.b, m.n, GY_DEFLATE_GZIP, 6, &packed, &size));
    for (uint64_t n = 0; n <= size; n++) {
        gy_nifti img;
        gy_tensor t;
        if (n == size) packed[size - 5] ^= 1; /* the checksum */
        save(ctx, "cut.nii.gz", packed, (size_t)n);
        gy_status s = gy_nifti_open(ctx, in_folder("cut.nii.gz"), NULL, &img);
        if (s == GY_OK) {
            s = gy_nifti_read(&img, GY_F32, &t);
            gy_nifti_close(&img);
        }
        assert_message(ctx, s, "cut.nii.gz");
    }
    gy_free(ctx, packed);
}

static void bytes_after_the_voxels_are_ignored_with_a_warning(void **state) { /* NII-09 */
    gy_ctx *ctx = *state;
    image m = nifti1();
    m.n += 100;
    assert_reads(ctx, &m, "100 bytes after the voxels are ignored");
    gy_nifti img;
    gy_tensor t;
    save_gzip(ctx, "more.nii.gz", m.b, m.n);
    warned[0] = 0;
    assert_ok(ctx, gy_nifti_open(ctx, in_folder("more.nii.gz"), NULL, &img));
    assert_ok(ctx, gy_nifti_read(&img, GY_F32, &t));
    assert_non_null(strstr(warned, "bytes after the voxels are ignored; the gzip checksum is not verified"));
    assert_true(((float *)t.data)[23] == 23);
    gy_tensor_free(ctx, &t);
    gy_nifti_close(&img);
}

/* ---- space ------------------------------------------------------------------------------------- */

static void quaternions_become_rotations(void **state) { /* NII-10 */
    gy_ctx *ctx = *state;
    double h = sqrt(0.5);
    static const char *const codes[] = {"RAS", "LPS", "ARI", "RIA", "LAI"};
    double q[5][3] = {{0, 0, 0}, {0, 0, 1}, {h, h, 0}, {h, 0, 0}, {0, 1, 0}};
    for (int i = 0; i < 5; i++) {
        image m = with_qform(q[i][0], q[i][1], q[i][2]);
        gy_nifti img;
        char code[4];
        if (i == 3) putf(&m, 256, -h); /* a quarter turn about x: y goes down */
        assert_ok(ctx, open_image(ctx, &m, &img));
        assert_int_equal(img.space, GY_NIFTI_SPACE_QFORM);
        assert_string_equal(gy_nifti_orientation(&img, code), codes[i]);
        assert_true(img.affine[2][3] == 3);
        for (int j = 0; j < 3; j++) {
            double norm = 0;
            for (int r = 0; r < 3; r++) norm += img.affine[r][j] * img.affine[r][j];
            assert_close(sqrt(norm), 2 + j, 1e-6);
        }
        gy_nifti_close(&img);
    }
}

static void qfac_mirrors_the_third_axis(void **state) { /* NII-10 */
    gy_ctx *ctx = *state;
    for (int i = 0; i < 3; i++) {
        image m = with_qform(0, 0, 0);
        gy_nifti img;
        putf(&m, 76, (double[]){-1, 0, 1}[i]); /* 0 counts as 1 */
        assert_ok(ctx, open_image(ctx, &m, &img));
        assert_true(img.affine[2][2] == (i == 0 ? -4 : 4));
        gy_nifti_close(&img);
    }
}

static void a_quaternion_may_be_off_by_rounding_only(void **state) { /* NII-10 */
    gy_ctx *ctx = *state;
    image m = with_qform(0, 0, 1 + 5e-8 * 2);
    assert_reads(ctx, &m, NULL);
    m = with_qform(sqrt(1.1), 0, 0);
    assert_refused(ctx, &m, "byte 256: qform: b^2 + c^2 + d^2: expected at most 1, found 1.1");
    m = with_qform(NAN, 0, 0);
    assert_refused(ctx, &m, "qform: b^2 + c^2 + d^2: expected at most 1, found");
    m = with_qform(0, 0, 0);
    putf(&m, 272, INFINITY);
    assert_refused(ctx, &m, "byte 272: qoffset: not finite");
}

static void without_forms_only_voxel_sizes_are_known(void **state) { /* NII-10 */
    gy_ctx *ctx = *state;
    image m = nifti1();
    put16(&m, 254, 0);
    gy_nifti img;
    assert_ok(ctx, open_image(ctx, &m, &img));
    assert_non_null(strstr(warned, "neither qform nor sform"));
    assert_int_equal(img.space, GY_NIFTI_SPACE_PIXDIM);
    assert_true(img.affine[1][1] == 3 && img.affine[1][3] == 0);
    gy_nifti_close(&img);
    for (int i = 0; i < 3; i++) {
        putf(&m, 84, (double[]){0, NAN, INFINITY}[i]);
        assert_refused(ctx, &m, "byte 84: pixdim[2]: expected a voxel size");
    }
    putf(&m, 84, -3);
    assert_reads(ctx, &m, "pixdim[2] = -3 is negative");
    put16(&m, 254, 1); /* the sform needs no pixdim */
    putf(&m, 84, NAN);
    assert_reads(ctx, &m, NULL);
}

static void a_singular_sform_gives_way_to_the_qform(void **state) { /* NII-10 */
    gy_ctx *ctx = *state;
    for (int i = 0; i < 3; i++) {
        image m = nifti1();
        if (i == 0) memset(m.b + 280, 0, 48);
        if (i == 1) putf(&m, 280, NAN);
        if (i == 2) putf(&m, 292, INFINITY);
        assert_refused(ctx, &m, "byte 280: sform: singular or not finite, and no qform");
        put16(&m, 252, 1);
        assert_reads(ctx, &m, "the qform is used instead");
    }
}

static void voxels_and_millimetres_convert_both_ways(void **state) {
    gy_ctx *ctx = *state;
    image m = with_qform(0.1, -0.2, 0.3);
    gy_nifti img;
    double mm[3], back[3];
    assert_ok(ctx, open_image(ctx, &m, &img));
    gy_nifti_to_mm(&img, (double[]){1, 2, 3}, mm);
    assert_true(gy_nifti_to_voxel(&img, mm, back));
    for (int i = 0; i < 3; i++) assert_close(back[i], i + 1, 1e-12);
    memset(img.affine, 0, sizeof img.affine);
    assert_false(gy_nifti_to_voxel(&img, mm, back));
    gy_nifti_close(&img);
}

static void different_grids_are_told_apart_by_name(void **state) {
    gy_ctx *ctx = *state;
    gy_nifti a, b;
    image m = nifti1();
    save(ctx, "b.nii", m.b, m.n);
    assert_ok(ctx, gy_nifti_open(ctx, in_folder("b.nii"), NULL, &b));
    assert_ok(ctx, open_image(ctx, &m, &a));
    assert_ok(ctx, gy_nifti_same_grid(ctx, &a, &b, 0));
    a.affine[0][0] = 2.01; /* the far end of x moves by 0.01 mm */
    assert_ok(ctx, gy_nifti_same_grid(ctx, &a, &b, 0.011));
    assert_message(ctx, gy_nifti_same_grid(ctx, &a, &b, 0.009),
                   "same sizes, other place: voxel (1, 0, 0) lies 0.01 mm apart");
    a.affine[0][0] = -2;
    assert_message(ctx, gy_nifti_same_grid(ctx, &a, &b, 0.1), "axes LAS");
    a.affine[0][3] = NAN;
    assert_message(ctx, gy_nifti_same_grid(ctx, &a, &b, 0.1), "nan mm apart");
    a.dim[1] = 5;
    assert_message(ctx, gy_nifti_same_grid(ctx, &a, &b, 0.1), "sizes differ: 2 x 5 x 4 against 2 x 3 x 4");
    assert_non_null(strstr(gy_error(ctx), "b.nii"));
    gy_nifti_close(&a);
    gy_nifti_close(&b);
}

/* ---- writing ----------------------------------------------------------------------------------- */

static void every_type_and_form_survives_a_round_trip(void **state) {
    gy_ctx *ctx = *state;
    static const gy_dtype dtypes[] = {GY_U8,  GY_I8,  GY_I16, GY_U16, GY_I32, GY_U32,
                                      GY_I64, GY_U64, GY_F32, GY_F64, GY_BOOL};
    static const char *const names[] = {"w.nii", "w.nii.gz", "w.hdr", "w.img", "w.hdr.gz"};
    image m = with_qform(0.1, -0.2, 0.3);
    gy_nifti like;
    assert_ok(ctx, open_image(ctx, &m, &like));
    like.intent_code = 1002;
    for (size_t d = 0; d < sizeof dtypes / sizeof dtypes[0]; d++)
        for (int k = 0; k < 10; k++) {
            gy_tensor t, back;
            gy_nifti img;
            const char *name = names[k / 2];
            assert_ok(ctx, gy_tensor_new(ctx, &t, dtypes[d], GY_S(5, 4, 3, 2)));
            for (int64_t i = 0; i < 120; i++)
                gy_tensor_set(&t, i, dtypes[d] == GY_BOOL ? (double)(i % 2) : (double)i * 1.25 - 20);
            assert_ok(ctx, gy_nifti_write(
                               ctx, in_folder(name), &t,
                               (gy_nifti_write_args){.like = &like, .slope = 2, .inter = 1, .version = 1 + k % 2}));
            assert_ok(ctx, gy_nifti_open(ctx, in_folder(name), NULL, &img));
            assert_int_equal(img.version, 1 + k % 2);
            assert_true(img.slope == 2 && img.inter == 1 && img.tr == 2.5 && img.intent_code == 1002);
            assert_int_equal(img.space_code, 1);
            for (int i = 0; i < 3; i++)
                for (int j = 0; j < 4; j++) assert_close(img.affine[i][j], like.affine[i][j], 1e-6);
            assert_ok(ctx, gy_nifti_read(&img, GY_DTYPE_DEFAULT, &back));
            assert_int_equal(back.dtype, dtypes[d] == GY_BOOL ? GY_U8 : dtypes[d]);
            assert_true(gy_shape_equal(t.shape, back.shape));
            assert_memory_equal(t.data, back.data, gy_tensor_bytes(&t));
            gy_tensor_free(ctx, &t);
            gy_tensor_free(ctx, &back);
            gy_nifti_close(&img);
            empty_folder(ctx);
        }
    gy_nifti_close(&like);
}

/* The quaternion that is written must turn as the affine does, for every kind of turn and mirror. */
static void the_written_qform_equals_the_sform(void **state) {
    gy_ctx *ctx = *state;
    gy_tensor t;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_U8, GY_S(4, 3, 2)));
    for (int k = 0; k < 40; k++) {
        double b = sin(k * 0.7) * 0.57, c = cos(k * 1.3) * 0.57, d = sin(k * 2.1) * 0.57;
        if (k < 3) b = k == 0, c = k == 1, d = k == 2; /* half turns: a = 0 */
        image m = with_qform(b, c, d);
        gy_nifti like, img;
        putf(&m, 76, k % 2 ? -1 : 1);
        assert_ok(ctx, open_image(ctx, &m, &like));
        assert_ok(ctx, gy_nifti_write(ctx, in_folder("q.nii"), &t, (gy_nifti_write_args){.like = &like, .version = 2}));
        FILE *f = fopen(in_folder("q.nii"), "r+b"); /* hide the sform */
        assert_non_null(f);
        fseek(f, 348, SEEK_SET);
        fputc(0, f);
        fclose(f);
        assert_ok(ctx, gy_nifti_open(ctx, in_folder("q.nii"), NULL, &img));
        assert_int_equal(img.space, GY_NIFTI_SPACE_QFORM);
        for (int i = 0; i < 3; i++)
            for (int j = 0; j < 4; j++) assert_close(img.affine[i][j], like.affine[i][j], 1e-6);
        gy_nifti_close(&img);
        gy_nifti_close(&like);
    }
    gy_tensor_free(ctx, &t);
}

static void a_sheared_affine_is_written_as_sform_alone(void **state) {
    gy_ctx *ctx = *state;
    image m = nifti1();
    putf(&m, 284, 1); /* y leans towards x */
    gy_nifti like, img;
    gy_tensor t;
    assert_ok(ctx, open_image(ctx, &m, &like));
    assert_ok(ctx, gy_nifti_read(&like, GY_F32, &t));
    assert_ok(ctx, gy_nifti_write(ctx, in_folder("shear.nii"), &t, (gy_nifti_write_args){.like = &like}));
    assert_ok(ctx, gy_nifti_open(ctx, in_folder("shear.nii"), NULL, &img));
    assert_int_equal(img.space, GY_NIFTI_SPACE_SFORM);
    assert_true(img.affine[0][1] == 1);
    uint8_t codes[4];
    assert_ok(ctx, gy_bytes_read(&img.file, 252, codes, 4));
    assert_int_equal(codes[0], 0); /* qform */
    assert_int_equal(codes[2], 1); /* sform */
    gy_nifti_close(&img);
    gy_tensor_free(ctx, &t);
    gy_nifti_close(&like);
}

static void what_nifti_cannot_hold_is_not_written(void **state) {
    gy_ctx *ctx = *state;
    gy_tensor t;
    image m = nifti1();
    gy_nifti like, img;
    assert_ok(ctx, open_image(ctx, &m, &like));
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_BF16, GY_S(4, 3, 2)));
    assert_message(ctx, gy_nifti_write(ctx, in_folder("n.nii"), &t, (gy_nifti_write_args){0}),
                   "NIfTI has no type for bf16");
    gy_tensor_free(ctx, &t);
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(1, 1, 1, 1, 1, 1, 1, 1)));
    assert_message(ctx, gy_nifti_write(ctx, in_folder("n.nii"), &t, (gy_nifti_write_args){0}),
                   "1 to 7 axes of at least one voxel, not [1, 1, 1, 1, 1, 1, 1, 1]");
    gy_tensor_free(ctx, &t);
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(4, 0, 2)));
    assert_message(ctx, gy_nifti_write(ctx, in_folder("n.nii"), &t, (gy_nifti_write_args){0}), "not [4, 0, 2]");
    gy_tensor_free(ctx, &t);
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(4, 3, 3)));
    assert_message(ctx, gy_nifti_write(ctx, in_folder("n.nii"), &t, (gy_nifti_write_args){.like = &like}),
                   "the tensor [4, 3, 3] has 3 voxels along x, the image whose space it takes has 2");
    assert_message(ctx, gy_nifti_write(ctx, in_folder("n.txt"), &t, (gy_nifti_write_args){0}),
                   "must end in .nii, .nii.gz, .hdr or .img");
    assert_message(ctx, gy_nifti_write(ctx, in_folder("n.nii"), &t, (gy_nifti_write_args){.slope = NAN}),
                   "must be finite");
    gy_tensor_free(ctx, &t);
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_U8, GY_S(40000)));
    assert_message(ctx, gy_nifti_write(ctx, in_folder("n.nii"), &t, (gy_nifti_write_args){.version = 1}),
                   "[40000] does not fit NIfTI-1");
    assert_false(gy_path_exists(in_folder("n.nii")));
    assert_ok(ctx, gy_nifti_write(ctx, in_folder("n.nii"), &t, (gy_nifti_write_args){0}));
    assert_ok(ctx, gy_nifti_open(ctx, in_folder("n.nii"), NULL, &img));
    assert_int_equal(img.version, 2);
    assert_int_equal(img.dim[0], 40000);
    gy_nifti_close(&img);
    gy_tensor_free(ctx, &t);
    gy_nifti_close(&like);
}

static void a_failed_write_leaves_the_old_pair_whole(void **state) {
    gy_ctx *ctx = *state;
    gy_tensor t;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_U8, GY_S(4, 3, 2)));
    empty_folder(ctx);
    assert_ok(ctx, gy_nifti_write(ctx, in_folder("f.hdr"), &t, (gy_nifti_write_args){0}));
    gy_tensor_set(&t, 0, 9);
    /* Up to the first rename nothing may have changed: both files are staged before that. */
    for (int64_t at = 1; at <= 6; at++) {
        gy_nifti img;
        gy_tensor back;
        char **names;
        int64_t n;
        gy_files_set_fault(ctx, (gy_fault){.at = at, .err = ENOSPC});
        gy_status s = gy_nifti_write(ctx, in_folder("f.hdr"), &t, (gy_nifti_write_args){0});
        gy_files_set_fault(ctx, (gy_fault){0});
        assert_message(ctx, s, "No space left");
        assert_ok(ctx, gy_list_dir(ctx, folder, &names, &n));
        assert_int_equal(n, 2); /* no temporary is left */
        for (int64_t i = 0; i < n; i++) gy_free(ctx, names[i]);
        gy_free(ctx, names);
        assert_ok(ctx, gy_nifti_open(ctx, in_folder("f.hdr"), NULL, &img));
        assert_ok(ctx, gy_nifti_read(&img, GY_F32, &back));
        if (at <= 4) assert_true(((float *)back.data)[0] == 0);
        gy_tensor_free(ctx, &back);
        gy_nifti_close(&img);
    }
    gy_tensor_free(ctx, &t);
}

static void every_failing_allocation_ends_cleanly(void **state) {
    gy_ctx *ctx = *state;
    image m = with_extensions();
    put32(&m, 352, 64);
    save(ctx, "o.nii", m.b, m.n);
    save_gzip(ctx, "o.nii.gz", m.b, m.n);
    m.n += 8;
    save_gzip(ctx, "more.nii.gz", m.b, m.n); /* takes the lenient way */
    memcpy(m.b + 344, "ni1", 4);
    putf(&m, 108, 0);
    save(ctx, "o.hdr", m.b, 348);
    save(ctx, "o.img", m.b + 416, 48);
    static const char *const names[] = {"o.nii", "o.nii.gz", "more.nii.gz", "o.hdr", "o.img"};
    static const char *const written[] = {"x.nii", "x.nii.gz", "x.nii.gz", "x.hdr", "x.img"};
    for (int k = 0; k < 5; k++) {
        int64_t failures = 0;
        for (int64_t n = 1;; n++) {
            gy_nifti img;
            gy_tensor t = {0};
            size_t live = gy_mem_live(ctx);
            char path[512], to[512];
            strcpy(path, in_folder(names[k]));
            strcpy(to, in_folder(written[k]));
            gy_mem_fail_at(ctx, n);
            gy_status s = gy_nifti_open(ctx, path, NULL, &img);
            if (s == GY_OK) {
                s = gy_nifti_read(&img, GY_F32, &t);
                if (s == GY_OK) s = gy_nifti_write(ctx, to, &t, (gy_nifti_write_args){.like = &img});
                gy_tensor_free(ctx, &t);
                gy_nifti_close(&img);
            }
            gy_mem_fail_at(ctx, 0);
            assert_int_equal(gy_mem_live(ctx), live);
            if (s == GY_OK) break;
            assert_int_equal(s, GY_ERR_NOMEM);
            assert_message(ctx, s, "out of memory");
            failures++;
        }
        assert_true(failures >= 5);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(header_and_voxels_in_both_versions_and_byte_orders),
        TEST(scaling_follows_the_standard),
        TEST(units_become_mm_and_seconds_and_are_never_guessed),
        TEST(pairs_are_found_from_either_name),
        TEST(content_decides_over_the_name),
        TEST(axes_from_one_to_seven_are_reversed),
        TEST(volumes_are_read_by_number),
        TEST(dims_beyond_the_file_are_refused_before_allocating),
        TEST(the_number_of_axes_is_one_to_seven),
        TEST(empty_axes_and_overflowing_products_are_refused),
        TEST(freesurfers_vector_length_is_read_with_a_warning),
        TEST(the_voxels_place_is_checked),
        TEST(extensions_are_skipped_and_never_followed),
        TEST(a_million_tiny_extensions_take_linear_time),
        TEST(types_that_are_not_read_are_named),
        TEST(wrong_size_magic_and_lonely_headers_are_refused),
        TEST(analyze_is_read_with_left_and_right_unknown),
        TEST(a_file_cut_anywhere_is_refused),
        TEST(a_gzip_stream_cut_or_damaged_anywhere_is_refused),
        TEST(bytes_after_the_voxels_are_ignored_with_a_warning),
        TEST(quaternions_become_rotations),
        TEST(qfac_mirrors_the_third_axis),
        TEST(a_quaternion_may_be_off_by_rounding_only),
        TEST(without_forms_only_voxel_sizes_are_known),
        TEST(a_singular_sform_gives_way_to_the_qform),
        TEST(voxels_and_millimetres_convert_both_ways),
        TEST(different_grids_are_told_apart_by_name),
        TEST(every_type_and_form_survives_a_round_trip),
        TEST(the_written_qform_equals_the_sform),
        TEST(a_sheared_affine_is_written_as_sform_alone),
        TEST(what_nifti_cannot_hold_is_not_written),
        TEST(a_failed_write_leaves_the_old_pair_whole),
        TEST(every_failing_allocation_ends_cleanly),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
