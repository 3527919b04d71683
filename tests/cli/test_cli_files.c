/* gyrus inspect and gyrus convert: every format, by content; round trips; refusals. */
#include "../harness/cli.h"

#include "io/formats/deflate.h"
#include "io/formats/nifti.h"
#include "io/formats/npy.h"
#include "io/formats/png.h"
#include "io/formats/safetensors.h"
#include "io/formats/zip.h"

#include <math.h>
#include <sys/stat.h>

static void write_text(const char *name, const char *text) {
    char path[256];
    FILE *f = fopen(scratch(name, path), "wb");
    assert_non_null(f);
    assert_true(fwrite(text, 1, strlen(text), f) == strlen(text));
    fclose(f);
}

/* 0, 1, 2, ... times `step` */
static gy_tensor ramp(gy_ctx *ctx, gy_dtype dtype, gy_shape shape, double step) {
    gy_tensor t;
    assert_ok(ctx, gy_tensor_new(ctx, &t, dtype, shape));
    for (int64_t i = 0; i < gy_shape_count(shape); i++) gy_tensor_set(&t, i, step * (double)i);
    return t;
}

static void write_npy(gy_ctx *ctx, const char *name, gy_dtype dtype, gy_shape shape, double step) {
    char path[256];
    gy_tensor t = ramp(ctx, dtype, shape, step);
    assert_ok(ctx, gy_npy_write(ctx, scratch(name, path), &t));
    gy_tensor_free(ctx, &t);
}

/* 4 volumes of 2 x 3 x 5 voxels (x fastest), affine with 3 mm voxels and an origin, TR 2.5 s */
static void write_image(gy_ctx *ctx, const char *name, bool broken) {
    char path[256];
    gy_tensor t = ramp(ctx, GY_F32, GY_S(4, 5, 3, 2), 1);
    if (broken) {
        ((float *)t.data)[3] = NAN;
        ((float *)t.data)[4] = NAN;
        ((float *)t.data)[7] = INFINITY;
    }
    gy_nifti like = {.version = 1,
                     .ndim = 4,
                     .dim = {2, 3, 5, 4, 1, 1, 1},
                     .dtype = GY_F32,
                     .pixdim = {3, 3, 3},
                     .tr = 2.5,
                     .space_unit_known = true,
                     .time_unit_known = true,
                     .space = GY_NIFTI_SPACE_SFORM,
                     .space_code = 1,
                     .affine = {{-3, 0, 0, 90}, {0, 3, 0, -126}, {0, 0, 3, -72}}};
    assert_ok(ctx, gy_nifti_write(ctx, scratch(name, path), &t, (gy_nifti_write_args){.like = &like}));
    gy_tensor_free(ctx, &t);
}

/* ---- inspect ---- */

static void inspect_reads_an_array(void **state) {
    write_npy(*state, "ramp.npy", GY_I32, GY_S(2, 3), 1);
    json_doc d = json_of(*state, 0, "inspect ramp.npy --json");
    assert_string_equal(json_text(&d, "format"), "npy");
    assert_string_equal(json_text(&d, "dtype"), "i32");
    assert_close(json_number(&d, "max"), 5, 0);
    assert_close(json_number(&d, "mean"), 2.5, 1e-12);
    json_done(&d);
    expect(0, "[2, 3]", "", "inspect ramp.npy");
}

static void inspect_judges_by_content_not_by_name(void **state) {
    write_npy(*state, "really-npy.png", GY_F32, GY_S(3), 1);
    expect(0, "npy", "", "inspect really-npy.png");
    write_text("really-text.npy", "onset\tduration\n1\t2\n");
    expect(0, "table", "", "inspect really-text.npy");
}

static void inspect_tells_space_range_and_damage_of_an_image(void **state) {
    write_image(*state, "bold.nii.gz", true);
    json_doc d = json_of(*state, 0, "inspect bold.nii.gz --json");
    assert_string_equal(json_text(&d, "format"), "NIfTI");
    assert_string_equal(json_text(&d, "orientation"), "LAS");
    assert_close(json_number(&d, "tr_seconds"), 2.5, 1e-6);
    assert_close(json_number(&d, "nan"), 2, 0);
    assert_close(json_number(&d, "inf"), 1, 0);
    assert_close(json_number(&d, "max"), 119, 0);
    int64_t affine = gy_json_get(&d.doc, 0, "affine"), row = gy_json_first(&d.doc, affine);
    double x;
    assert_true(gy_json_real(&d.doc, gy_json_first(&d.doc, row), &x));
    assert_close(x, -3, 0);
    json_done(&d);
}

static void inspect_lists_archives_and_weights(void **state) {
    gy_ctx *ctx = *state;
    char path[256];
    gy_tensor t[2] = {ramp(ctx, GY_F32, GY_S(2, 2), 1), ramp(ctx, GY_I64, GY_S(3), 1)};
    const char *names[] = {"weights", "labels"};
    assert_ok(ctx, gy_npz_write(ctx, scratch("two.npz", path), names, t, 2, 6));
    gy_st_tensor st[2] = {{"a.weight", &t[0]}, {"b", &t[1]}};
    gy_st_pair meta = {"note", "hello"};
    assert_ok(ctx, gy_safetensors_write(ctx, scratch("two.safetensors", path), st, 2, &meta, 1));
    gy_tensor_free(ctx, &t[0]);
    gy_tensor_free(ctx, &t[1]);
    expect(0, "labels", "", "inspect two.npz");
    expect(0, "a.weight", "", "inspect two.safetensors");
    expect(0, "good", "", "inspect two.safetensors");
    json_doc d = json_of(ctx, 0, "inspect two.safetensors --json");
    assert_close(json_number(&d, "elements"), 7, 0);
    json_done(&d);
    write_text("model.safetensors.index.json", "{\"weight_map\": {\"a.weight\": \"two.safetensors\", "
                                               "\"b\": \"two.safetensors\"}}");
    expect(0, "safetensors index", "", "inspect model.safetensors.index.json");
    gy_zip_writer *w;
    assert_ok(ctx, gy_zip_create(ctx, scratch("any.zip", path), &w));
    assert_ok(ctx, gy_zip_add(w, "data/file.txt", "hello", 5, 0));
    assert_ok(ctx, gy_zip_commit(w));
    expect(0, "data/file.txt", "", "inspect any.zip");
}

static void files_of_other_programs_are_inspected_and_converted(void **state) {
    char root[4096];
    assert_non_null(getcwd(root, sizeof root));
    expect(0, "PyTorch state dict", "", "inspect '%s/tests/golden/state_dict.pth'", root);
    expect(0, "optimizer.state.0.exp_avg", "", "inspect '%s/tests/golden/state_dict_legacy.pth'", root);
    expect(0, "", NULL, "convert '%s/tests/golden/state_dict.pth' new.safetensors", root);
    expect(0, "", NULL, "convert '%s/tests/golden/state_dict_legacy.pth' old.safetensors", root);
    expect(0, "", NULL, "convert new.safetensors:model.strided new.npy");
    expect(0, "", NULL, "convert old.safetensors:model.strided old.npy");
    assert_true(same_bytes("new.npy", "old.npy"));
    expect(2, "", "no tensor 'none' among 25", "convert '%s/tests/golden/state_dict.pth:none' none.npy", root);
    expect(0, "byte-level BPE (CLIP)", "", "inspect '%s/tests/golden/tokenizer_clip.json'", root);
    gy_zip_writer *w;
    char path[256];
    assert_ok(*state, gy_zip_create(*state, scratch("evil.pth", path), &w));
    assert_ok(*state, gy_zip_add(w, "m/data.pkl", "\x80\2cos\nsystem\n.", 15, 0));
    assert_ok(*state, gy_zip_commit(w));
    expect(1, "", "the global 'os.system' is not allowed", "inspect evil.pth");
}

static void inspect_recognises_events_tables_json_and_pictures(void **state) {
    gy_ctx *ctx = *state;
    char path[256];
    uint8_t pixels[12] = {0};
    write_text("run_events.tsv", "onset\tduration\ttrial_type\n0\t2\tface\n2.5\t2\thouse\n5\t2\tface\n");
    json_doc d = json_of(ctx, 0, "inspect run_events.tsv --json");
    assert_string_equal(json_text(&d, "meaning"), "BIDS events");
    assert_close(json_number(&d, "events"), 3, 0);
    int64_t first = gy_json_first(&d.doc, gy_json_get(&d.doc, 0, "trial_types"));
    assert_string_equal(gy_json_string(&d.doc, gy_json_get(&d.doc, first, "remark")), "2 events");
    json_done(&d);
    write_text("numbers.csv", "1,2,2\n3,4,4\n");
    d = json_of(ctx, 0, "inspect numbers.csv --json");
    assert_close(json_number(&d, "rows"), 2, 0); /* no header: the first line is numbers */
    json_done(&d);
    write_text("some.json", "{\"a\": [1], \"b\": null}");
    expect(0, "an array", "", "inspect some.json");
    assert_ok(ctx, gy_png_write(ctx, scratch("p.png", path), &(gy_image){2, 2, 3, 8, pixels}, NULL));
    expect(0, "RGB", "", "inspect p.png");
}

static void inspect_goes_on_after_a_bad_file(void **state) {
    write_npy(*state, "good.npy", GY_F32, GY_S(3), 1);
    write_text("bad.npy", "\x93NUMPY\x01");
    cli_result r = cli("inspect bad.npy good.npy missing.npy");
    assert_int_equal(r.rc, 1);
    assert_non_null(strstr(r.out, "[3]"));
    assert_non_null(strstr(r.err, "bad.npy"));
    assert_non_null(strstr(r.err, "missing.npy"));
    cli_done(&r);
    json_doc d = json_of(*state, 1, "inspect bad.npy good.npy --json");
    int64_t files = gy_json_get(&d.doc, 0, "files");
    assert_int_equal(d.doc.nodes[files].u.list.count, 2);
    assert_true(gy_json_get(&d.doc, gy_json_first(&d.doc, files), "error") >= 0);
    json_done(&d);
}

static void hostile_text_never_reaches_a_terminal(void **state) {
    gy_ctx *ctx = *state;
    char path[256];
    gy_tensor t = ramp(ctx, GY_F32, GY_S(1), 1);
    gy_st_tensor st = {"evil\033[2Jname", &t};
    gy_st_pair meta = {"key\033[31m", "value\033]0;title\a"};
    assert_ok(ctx, gy_safetensors_write(ctx, scratch("evil.safetensors", path), &st, 1, &meta, 1));
    gy_tensor_free(ctx, &t);
    write_text("evil.csv", "\xc2\x9b"
                           "a,b\nx\xc2\x9b,y\n");
    expect(0, "evil\\x1b", "", "inspect evil.safetensors"); /* expect() itself refuses any escape */
    expect(1, NULL, "no?[1m file", "inspect \"$(printf 'no\\033[1m file')\"");
    cli_result r = cli("inspect evil.csv");
    assert_null(strstr(r.out, "\xc2\x9b"));
    cli_done(&r);
    json_doc d = json_of(ctx, 0, "inspect evil.safetensors --json");
    assert_null(strchr(d.r.out, '\033'));
    json_done(&d);
}

static void unknown_files_and_folders_are_refused(void **state) {
    (void)state;
    write_text("garbage.bin", "\x01\x02\x03\x04 nothing known");
    expect(1, NULL, "none of the formats known here", "inspect garbage.bin");
    expect(1, NULL, "a folder without run.json", "inspect .");
    write_text("cut.npy", "\x01\x02 what is left of an array");
    expect(1, NULL, "cut.npy: byte 0", "inspect cut.npy"); /* no mark, but a name: its reader says what is wrong */
    write_text("cut.safetensors", "\x10\x7f\x01\x01\x01\x01\x01\x01{\"a\":");
    expect(1, NULL, "cut.safetensors", "inspect cut.safetensors");
    write_text("empty", "");
    expect(1, NULL, "none of the formats", "inspect empty");
}

static void what_is_behind_gzip_is_read_too(void **state) {
    write_npy(*state, "g.npy", GY_F32, GY_S(2, 5), 1);
    write_text("g.tsv", "onset\tduration\n1\t2\n");
    write_text("g.json", "{\"a\": 1}");
    cli_result r = cli_shell("command -v gzip >/dev/null && gzip -k g.npy g.tsv g.json");
    if (r.rc != 0) {
        cli_done(&r);
        skip();
    }
    cli_done(&r);
    expect(0, "[2, 5]", "", "inspect g.npy.gz");
    expect(0, "BIDS events", "", "inspect g.tsv.gz");
    expect(0, "an integer", "", "inspect g.json.gz");
    expect(0, "", NULL, "convert g.npy.gz g2.npy");
    assert_true(same_bytes("g.npy", "g2.npy"));
}

/* ---- convert ---- */

static void arrays_survive_every_container(void **state) {
    static const gy_dtype types[] = {GY_F32, GY_F64, GY_I64, GY_U8, GY_I16, GY_BOOL};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        write_npy(*state, "x.npy", types[i], GY_S(2, 3, 2), types[i] == GY_BOOL ? 0 : 0.25);
        expect(0, "", NULL, "convert x.npy x.npz");
        expect(0, "", NULL, "convert x.npz x.safetensors");
        expect(0, "", NULL, "convert x.safetensors:x back.npy");
        assert_true(same_bytes("x.npy", "back.npy"));
    }
}

static void voxels_survive_the_way_through_an_array(void **state) {
    gy_ctx *ctx = *state;
    char path[256];
    write_image(ctx, "in.nii.gz", false);
    expect(0, "", "point to LAS", "convert in.nii.gz v.npy");
    expect(0, "", NULL, "convert v.npy out.nii --like in.nii.gz");
    gy_nifti a, b;
    gy_tensor x, y;
    assert_ok(ctx, gy_nifti_open(ctx, scratch("in.nii.gz", path), NULL, &a));
    assert_ok(ctx, gy_nifti_open(ctx, scratch("out.nii", path), NULL, &b));
    assert_ok(ctx, gy_nifti_same_grid(ctx, &a, &b, 1e-6));
    assert_close(b.tr, 2.5, 1e-6);
    assert_ok(ctx, gy_nifti_read(&a, GY_F32, &x));
    assert_ok(ctx, gy_nifti_read(&b, GY_F32, &y));
    assert_memory_equal(x.data, y.data, gy_tensor_bytes(&x));
    gy_tensor_free(ctx, &x);
    gy_tensor_free(ctx, &y);
    gy_nifti_close(&a);
    gy_nifti_close(&b);
    write_npy(ctx, "small.npy", GY_F32, GY_S(2, 2, 2), 1);
    expect(1, NULL, "small", "convert small.npy small.nii --like in.nii.gz");
    assert_false(in_scratch("small.nii"));
}

static void tables_and_pictures_survive(void **state) {
    gy_ctx *ctx = *state;
    char path[256];
    write_text("t.csv", "a,b\n1.5,2\n-3,0.1\n");
    expect(0, "", NULL, "convert t.csv t.npy");
    expect(0, "", NULL, "convert t.npy t2.tsv");
    expect(0, "", NULL, "convert t2.tsv t2.npy");
    assert_true(same_bytes("t.npy", "t2.npy"));
    write_text("words.csv", "name,n\nface,1\n\"a, b\",2\n");
    expect(0, "", NULL, "convert words.csv words.tsv");
    expect(0, "", NULL, "convert words.tsv words2.csv");
    assert_true(same_bytes("words.csv", "words2.csv"));
    expect(1, NULL, "words.csv", "convert words.csv words.npy");
    uint8_t pixels[24];
    for (int i = 0; i < 24; i++) pixels[i] = (uint8_t)(10 * i);
    assert_ok(ctx, gy_png_write(ctx, scratch("a.png", path), &(gy_image){4, 2, 3, 8, pixels}, NULL));
    expect(0, "", "u8 [2, 4, 3]", "convert a.png a.npy");
    expect(0, "", NULL, "convert a.npy b.png");
    assert_true(same_bytes("a.png", "b.png"));
}

static void a_lossy_type_is_reported(void **state) {
    write_npy(*state, "half.npy", GY_F64, GY_S(4), 0.5);
    expect(0, "", "warning: half: 2 of 4 values changed", "convert half.npy half2.npy --dtype i32");
    expect(0, "i32", NULL, "inspect half2.npy");
    expect(2, NULL, "--dtype 'f31'", "convert half.npy half3.npy --dtype f31");
    assert_false(in_scratch("half3.npy"));
}

static void impossible_conversions_are_refused_with_the_possible_ones(void **state) {
    gy_ctx *ctx = *state;
    char path[256];
    write_image(ctx, "img.nii", false);
    expect(1, NULL, ".nii .nii.gz .hdr                ->  .npy", "convert img.nii img.png");
    write_npy(ctx, "cube.npy", GY_F32, GY_S(2, 3, 5), 1);
    expect(1, NULL, "cube.npy (npy) to cube.xyz (unknown)", "convert cube.npy cube.xyz");
    expect(1, NULL, "[2, 3, 5]", "convert cube.npy cube.png");
    expect(1, NULL, "a table is [rows] or [rows, columns], found [2, 3, 5]", "convert cube.npy cube.csv");
    gy_tensor t[2] = {ramp(ctx, GY_F32, GY_S(2), 1), ramp(ctx, GY_F32, GY_S(3), 1)};
    const char *names[] = {"first", "second"};
    assert_ok(ctx, gy_npz_write(ctx, scratch("pair.npz", path), names, t, 2, 0));
    gy_tensor_free(ctx, &t[0]);
    gy_tensor_free(ctx, &t[1]);
    expect(2, NULL, "choose one as FILE:NAME; names: first, second", "convert pair.npz one.npy");
    expect(0, "", "f32 [3]", "convert pair.npz:second one.npy");
    expect(1, NULL, "second", "convert pair.npz:third one.npy");
}

static void a_failed_write_leaves_nothing_behind(void **state) {
    write_npy(*state, "big.npy", GY_F64, GY_S(4096), 1);
    expect(1, NULL, "nowhere", "convert big.npy nowhere/out.npy");
    /* a limit on file sizes fails in the middle of writing, as a full disk does */
    write_text("kept.npz", "old content");
    cli_result r = cli_shell("ulimit -f 4; exec \"$GYRUS\" convert big.npy kept.safetensors");
    assert_int_equal(r.rc, 1);
    assert_non_null(strstr(r.err, "kept.safetensors"));
    cli_done(&r);
    assert_false(in_scratch("kept.safetensors"));
    r = cli_shell("ulimit -f 4; exec \"$GYRUS\" convert big.npy kept.npy");
    assert_int_equal(r.rc, 1);
    cli_done(&r);
    r = cli_shell("ls -A | grep -c tmp");
    assert_string_equal(r.out, "0\n");
    cli_done(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(inspect_reads_an_array),
        TEST(inspect_judges_by_content_not_by_name),
        TEST(inspect_tells_space_range_and_damage_of_an_image),
        TEST(inspect_lists_archives_and_weights),
        TEST(files_of_other_programs_are_inspected_and_converted),
        TEST(inspect_recognises_events_tables_json_and_pictures),
        TEST(inspect_goes_on_after_a_bad_file),
        TEST(hostile_text_never_reaches_a_terminal),
        TEST(unknown_files_and_folders_are_refused),
        TEST(what_is_behind_gzip_is_read_too),
        TEST(arrays_survive_every_container),
        TEST(voxels_survive_the_way_through_an_array),
        TEST(tables_and_pictures_survive),
        TEST(a_lossy_type_is_reported),
        TEST(impossible_conversions_are_refused_with_the_possible_ones),
        TEST(a_failed_write_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, cli_group_setup, cli_group_teardown);
}
