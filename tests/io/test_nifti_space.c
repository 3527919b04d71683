/* Where NIfTI voxels lie (NII-10), and writing them. */
#include "nifti_images.h"

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
        for (int k = 0; k < 5; k++) {
            int version = 1 + (k + (int)d) % 2;
            gy_tensor t, back;
            gy_nifti img;
            const char *name = names[k];
            assert_ok(ctx, gy_tensor_new(ctx, &t, dtypes[d], GY_S(5, 4, 3, 2)));
            for (int64_t i = 0; i < 120; i++)
                gy_tensor_set(&t, i, dtypes[d] == GY_BOOL ? (double)(i % 2) : (double)i * 1.25 - 20);
            assert_ok(ctx,
                      gy_nifti_write(ctx, in_folder(name), &t,
                                     (gy_nifti_write_args){.like = &like, .slope = 2, .inter = 1, .version = version}));
            assert_ok(ctx, gy_nifti_open(ctx, in_folder(name), NULL, &img));
            assert_int_equal(img.version, version);
            assert_true(img.slope == 2 && img.inter == 1 && img.tr == 2.5 && img.intent_code == 1002);
            assert_int_equal(img.space_code, 1);
            for (int i = 0; i < 3; i++)
                for (int j = 0; j < 4; j++) assert_close(img.affine[i][j], like.affine[i][j], 1e-6);
            assert_ok(ctx, gy_nifti_read(&img, GY_DTYPE_DEFAULT, &back));
            assert_int_equal(back.dtype, dtypes[d] == GY_BOOL ? GY_U8 : dtypes[d]);
            assert_true(gy_shape_equal(t.shape, back.shape));
            assert_memory_equal(t.data, back.data, gy_tensor_bytes(&t));
            gy_tensor_free(ctx, &back);
            assert_ok(ctx, gy_nifti_read(&img, GY_F64, &back));
            for (int64_t i = 0; i < 120; i++) assert_true(gy_tensor_get(&back, i) == gy_tensor_get(&t, i) * 2 + 1);
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
    for (int k = 0; k < 16; k++) {
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
                   "must be finite and fit NIfTI-1");
    gy_tensor_free(ctx, &t);
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(4, 3, 2)));
    like.affine[0][3] = 1e39; /* beyond float32 */
    assert_message(ctx, gy_nifti_write(ctx, in_folder("n.nii"), &t, (gy_nifti_write_args){.like = &like}),
                   "do not fit NIfTI-1");
    like.affine[0][3] = 0;
    like.pixdim[1] = 1e-50;
    assert_message(ctx, gy_nifti_write(ctx, in_folder("n.nii"), &t, (gy_nifti_write_args){.like = &like}),
                   "do not fit NIfTI-1");
    assert_ok(ctx, gy_nifti_write(ctx, in_folder("big.nii"), &t, (gy_nifti_write_args){.like = &like, .version = 2}));
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
    save_gzip(ctx, "p.hdr.gz", m.b, 348);
    save(ctx, "p.img", m.b + 416, 48);
    static const char *const names[] = {"o.nii", "o.nii.gz", "more.nii.gz", "o.hdr", "p.img"};
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
