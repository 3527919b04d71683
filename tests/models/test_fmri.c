/* Reading fMRI folders: both layouts, scaling within runs, and what is refused. */
#include "fmri_folder.h"

static char warned[2000];
static void keep_warning(void *user, const char *text) {
    (void)user;
    snprintf(warned + strlen(warned), sizeof warned - strlen(warned), "%s\n", text);
}

static const gy_fmri_args DEFAULTS = {.delay = -1};

/* Opens the folder, expects the refusal, removes it. */
static void refused(gy_ctx *ctx, const char *dir, gy_fmri_args args, const char *part) {
    gy_fmri f;
    assert_message(ctx, gy_fmri_open(ctx, dir, args, &f), part);
    assert_null(f.x);
    gy_error_clear(ctx);
    remove_dir(ctx, dir);
}

static void labelled_volumes_are_read(void **state) {
    gy_ctx *ctx = *state;
    char dir[64];
    folder_files files = good_folder();
    gy_fmri f;
    write_attributes(ctx, temp_dir(dir), &files, FT);
    assert_ok(ctx, gy_fmri_open(ctx, dir, DEFAULTS, &f));
    assert_int_equal(f.volumes, 12);
    assert_int_equal(f.voxels, FX * FY);
    assert_int_equal(f.runs, 2);
    assert_int_equal(f.classes, 2);
    assert_int_equal(f.blocks, 4);
    assert_string_equal(f.class_name[0], "face");
    assert_string_equal(f.class_name[1], "house");
    assert_int_equal(f.scan[0], 1);
    assert_int_equal(f.scan[11], 20);
    assert_int_equal(f.label[3], 1);
    assert_int_equal(f.run[6], 1);
    assert_close(f.tr, 2, 1e-12);
    double mean = 0;
    for (int t = 0; t < FT; t++) mean += (double)files.bold[t * FN + 7] / FT;
    assert_close((double)f.mean[7], mean, 1e-6);
    gy_fmri_free(&f);
    remove_dir(ctx, dir);
}

static void the_two_layouts_give_the_same_rows(void **state) {
    gy_ctx *ctx = *state;
    char a[64], b[64], c[64], text[1024] = "onset\tduration\ttrial_type\trun\n";
    folder_files files = good_folder();
    gy_fmri f, g, h;
    write_attributes(ctx, temp_dir(a), &files, FT);
    write_events(ctx, temp_dir(b), &files, 4); /* the default delay of events */
    temp_dir(c);
    events_text(text, 0, "\tfirst", 3);
    events_text(text, RUN * 2, "\tsecond", 3);
    put_text(c, "study_events.tsv", text);
    put_image(ctx, c, "all.nii", files.bold, GY_S(FT, FZ, FY, FX), 0, 2);
    put_image(ctx, c, "my_mask.nii", files.mask, GY_S(FZ, FY, FX), 0, 0);
    assert_ok(ctx, gy_fmri_open(ctx, a, DEFAULTS, &f));
    assert_ok(ctx, gy_fmri_open(ctx, b, DEFAULTS, &g));
    assert_ok(ctx, gy_fmri_open(ctx, c, (gy_fmri_args){.delay = 3}, &h));
    const gy_fmri *other[] = {&g, &h};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(other[i]->volumes, f.volumes);
        assert_memory_equal(other[i]->x, f.x, (size_t)(f.volumes * f.voxels) * sizeof *f.x);
        assert_memory_equal(other[i]->label, f.label, (size_t)f.volumes * sizeof *f.label);
        assert_memory_equal(other[i]->run, f.run, (size_t)f.volumes * sizeof *f.run);
    }
    assert_string_equal(g.run_name[1], "2");
    assert_string_equal(h.run_name[1], "second");
    gy_fmri_free(&f);
    gy_fmri_free(&g);
    gy_fmri_free(&h);
    remove_dir(ctx, a);
    remove_dir(ctx, b);
    remove_dir(ctx, c);
}

static void each_run_is_scaled_by_itself(void **state) { /* no leak: other runs do not matter, drifts and gains go */
    gy_ctx *ctx = *state;
    char dir[64];
    folder_files files = good_folder();
    gy_fmri f, g;
    write_attributes(ctx, temp_dir(dir), &files, FT);
    assert_ok(ctx, gy_fmri_open(ctx, dir, DEFAULTS, &f));
    for (int t = RUN; t < FT; t++)
        for (int v = 0; v < FN; v++)
            files.bold[t * FN + v] = 2 * files.bold[t * FN + v] + (float)(1000 + 10 * v + 4 * t);
    write_attributes(ctx, dir, &files, FT);
    assert_ok(ctx, gy_fmri_open(ctx, dir, DEFAULTS, &g));
    for (int64_t i = 0; i < f.volumes * f.voxels; i++) {
        if (i / f.voxels < 6)
            assert_true(g.x[i] == f.x[i]);
        else
            assert_close((double)g.x[i], (double)f.x[i], 1e-3);
    }
    assert_true(f.hash != g.hash);
    gy_fmri_free(&f);
    gy_fmri_free(&g);
    remove_dir(ctx, dir);
}

static void detrending_leaves_unit_variance_and_no_line(void **state) {
    float v[40];
    double sum = 0, slope = 0, ss = 0;
    (void)state;
    for (int i = 0; i < 40; i++) v[i] = (float)(500 + 3 * i + sin(1.1 * i));
    assert_true(gy_detrend_scale(v, 40, 1));
    for (int i = 0; i < 40; i++) {
        sum += (double)v[i];
        slope += (double)v[i] * (i - 19.5);
        ss += (double)v[i] * (double)v[i];
    }
    assert_close(sum, 0, 1e-4);
    assert_close(slope, 0, 1e-3);
    assert_close(ss / 40, 1, 1e-5);
    for (int i = 0; i < 40; i++) v[i] = (float)(7 + 2 * i);
    assert_false(gy_detrend_scale(v, 40, 1));
    assert_true(v[3] == 0);
}

static void a_mask_must_fit(void **state) {
    gy_ctx *ctx = *state;
    char dir[64];
    folder_files files = good_folder();
    files.shift_mm = 6;
    write_attributes(ctx, temp_dir(dir), &files, FT);
    refused(ctx, dir, DEFAULTS, "lies 6 mm apart");
    files = good_folder();
    write_attributes(ctx, temp_dir(dir), &files, FT);
    put_text(dir, "mask.nii.gz", "");
    char path[256];
    remove(in_dir(dir, "mask.nii.gz", path));
    gy_tensor t = {GY_F32, GY_S(FZ, FY, FX - 1), files.mask, true};
    assert_ok(ctx, gy_nifti_write(ctx, path, &t, (gy_nifti_write_args){0}));
    refused(ctx, dir, DEFAULTS, "sizes differ: 4 x 4 x 2 against 5 x 4 x 2");
    files = good_folder();
    memset(files.mask, 0, sizeof files.mask);
    write_attributes(ctx, temp_dir(dir), &files, FT);
    refused(ctx, dir, DEFAULTS, "the mask is empty");
    files = good_folder();
    write_attributes(ctx, temp_dir(dir), &files, FT);
    remove(in_dir(dir, "mask.nii.gz", path));
    refused(ctx, dir, DEFAULTS, "no mask");
}

static void labels_must_count_as_volumes_do(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256];
    folder_files files = good_folder();
    write_attributes(ctx, temp_dir(dir), &files, FT - 1);
    refused(ctx, dir, DEFAULTS, "attributes.txt: 23 labels, but");
    write_attributes(ctx, temp_dir(dir), &files, FT);
    remove(in_dir(dir, "attributes.txt", path));
    remove(in_dir(dir, "attributes_literal.txt", path));
    refused(ctx, dir, DEFAULTS, "no labels for it: expected attributes.txt");
    write_events(ctx, temp_dir(dir), &files, 4);
    put_text(dir, "sub-01_task-see_run-2_events.tsv", "onset\tduration\tkind\n0\t1\tface\n");
    refused(ctx, dir, DEFAULTS, "no column 'trial_type'");
    files.tr = 0;
    write_events(ctx, temp_dir(dir), &files, 4);
    refused(ctx, dir, DEFAULTS, "gives no time between volumes");
}

static void numbers_must_be_finite(void **state) {
    gy_ctx *ctx = *state;
    char dir[64];
    folder_files files = good_folder();
    files.bold[15 * FN + 7] = NAN; /* voxel (2, 1, 0) */
    write_attributes(ctx, temp_dir(dir), &files, FT);
    refused(ctx, dir, DEFAULTS, "voxel (2, 1, 0) of the mask is NaN in volume 15 of run 1");
    files = good_folder();
    files.bold[3 * FN] = INFINITY;
    write_events(ctx, temp_dir(dir), &files, 4);
    refused(ctx, dir, DEFAULTS, "voxel (0, 0, 0) of the mask is infinite in volume 3 of run 1");
    files = good_folder();
    files.bold[3 * FN + FN - 1] = NAN; /* outside the mask: of no consequence */
    gy_fmri f;
    write_attributes(ctx, temp_dir(dir), &files, FT);
    assert_ok(ctx, gy_fmri_open(ctx, dir, DEFAULTS, &f));
    gy_fmri_free(&f);
    remove_dir(ctx, dir);
}

static void a_constant_voxel_is_left_out_with_a_warning(void **state) {
    gy_ctx *ctx = *state;
    char dir[64];
    folder_files files = good_folder();
    gy_fmri f;
    for (int t = 0; t < RUN; t++) files.bold[t * FN + 8] = 100;
    write_attributes(ctx, temp_dir(dir), &files, FT);
    *warned = 0;
    gy_set_warn_handler(ctx, keep_warning, NULL);
    assert_ok(ctx, gy_fmri_open(ctx, dir, DEFAULTS, &f));
    assert_non_null(strstr(warned,
                           "1 of 20 voxels of the mask do not vary within some run and are left out, the first is "
                           "(3, 1, 0)"));
    assert_int_equal(f.voxels, 19);
    assert_int_equal(f.voxel[7], 7);
    assert_int_equal(f.voxel[8], 9);
    gy_fmri_free(&f);
    remove_dir(ctx, dir);
}

static void a_design_must_be_complete(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256];
    folder_files files = good_folder();
    write_events(ctx, temp_dir(dir), &files, 4);
    put_text(dir, "sub-01_task-see_run-2_events.tsv", "onset\tduration\ttrial_type\n0\t6\tface\n");
    refused(ctx, dir, DEFAULTS, "category 'house' has no volume in run 2");
    write_events(ctx, temp_dir(dir), &files, 4);
    remove(in_dir(dir, "sub-01_task-see_run-2_events.tsv", path));
    remove(in_dir(dir, "sub-01_task-see_run-2_bold.nii.gz", path));
    refused(ctx, dir, DEFAULTS, "1 run: expected two or more");
    write_attributes(ctx, temp_dir(dir), &files, FT);
    refused(ctx, dir, (gy_fmri_args){.delay = -1, .classes = "face,mouse"}, "'mouse' does not occur");
    write_attributes(ctx, temp_dir(dir), &files, FT);
    refused(ctx, dir, (gy_fmri_args){.delay = -1, .classes = "face"}, "1 category: expected two or more");
    write_attributes(ctx, temp_dir(dir), &files, FT);
    remove(in_dir(dir, "bold.nii.gz", path));
    refused(ctx, dir, DEFAULTS, "no 4-D image");
    gy_fmri f;
    assert_message(ctx, gy_fmri_open(ctx, "/nowhere/at/all", DEFAULTS, &f), "expected a folder");
}

typedef struct opening {
    const char *dir;
} opening;
static gy_status open_and_free(gy_ctx *ctx, void *arg) {
    gy_fmri f;
    gy_status s = gy_fmri_open(ctx, ((opening *)arg)->dir, DEFAULTS, &f);
    if (s == GY_OK) gy_fmri_free(&f);
    return s;
}
static void missing_memory_is_survived(void **state) {
    gy_ctx *ctx = *state;
    char dir[64];
    folder_files files = good_folder();
    write_events(ctx, temp_dir(dir), &files, 4);
    survive_no_memory(ctx, open_and_free, &(opening){dir});
    remove_dir(ctx, dir);
}

static void a_map_lies_on_the_mask_grid(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256], mask[256];
    folder_files files = good_folder();
    gy_fmri f;
    gy_nifti a, b;
    double values[FX * FY];
    write_attributes(ctx, temp_dir(dir), &files, FT);
    assert_ok(ctx, gy_fmri_open(ctx, dir, DEFAULTS, &f));
    for (int i = 0; i < FX * FY; i++) values[i] = i - 3.5;
    assert_ok(ctx, gy_fmri_write_map(&f, in_dir(dir, "weights.nii.gz", path), values, 1));
    assert_ok(ctx, gy_nifti_open(ctx, path, NULL, &a));
    assert_ok(ctx, gy_nifti_open(ctx, in_dir(dir, "mask.nii.gz", mask), NULL, &b));
    assert_ok(ctx, gy_nifti_same_grid(ctx, &a, &b, 1e-6));
    gy_tensor t;
    assert_ok(ctx, gy_nifti_read(&a, GY_F32, &t));
    for (int i = 0; i < FN; i++) assert_true(((float *)t.data)[i] == (i < FX * FY ? (float)(i - 3.5) : 0));
    gy_tensor_free(ctx, &t);
    gy_nifti_close(&a);
    gy_nifti_close(&b);
    gy_fmri_free(&f);
    remove_dir(ctx, dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(labelled_volumes_are_read),
                                       TEST(the_two_layouts_give_the_same_rows),
                                       TEST(each_run_is_scaled_by_itself),
                                       TEST(detrending_leaves_unit_variance_and_no_line),
                                       TEST(a_mask_must_fit),
                                       TEST(labels_must_count_as_volumes_do),
                                       TEST(numbers_must_be_finite),
                                       TEST(a_constant_voxel_is_left_out_with_a_warning),
                                       TEST(a_design_must_be_complete),
                                       TEST(missing_memory_is_survived),
                                       TEST(a_map_lies_on_the_mask_grid)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
