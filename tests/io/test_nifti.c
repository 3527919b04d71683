/* Reading NIfTI: the hostile cases NII-01 ... NII-09, NII-11, NII-12 and their legal neighbours. */
#include "nifti_images.h"

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
        for (size_t n = 0; n < whole.n; n += n < 16 || n >= whole.n - 56 ? 1 : 11) {
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
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
