/* The byte source and the atomic writer: bounds, numbers, and a fault at every system call. */
#include "build.h"

#include <errno.h>
#include <math.h>
#include <sys/stat.h>

/* ---- bytes ---- */

static void reads_never_pass_the_end(void **state) {
    gy_ctx *ctx = *state;
    source s = source_of(ctx, "0123456789", 10);
    uint8_t d[16];
    assert_ok(ctx, gy_bytes_read(&s.b, 7, d, 3));
    assert_memory_equal(d, "789", 3);
    assert_message(ctx, gy_bytes_read(&s.b, 7, d, 4), "t: byte 7: expected 4 more bytes, found 3");
    assert_message(ctx, gy_bytes_read(&s.b, UINT64_MAX, d, 2), "found 0");
    assert_false(gy_bytes_has(&s.b, 2, UINT64_MAX));
    assert_true(gy_bytes_has(&s.b, 10, 0));
    source_free(&s);
}

static void only_regular_files_are_opened(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256];
    gy_bytes b;
    temp_dir(dir);
    assert_message(ctx, gy_bytes_open(ctx, dir, NULL, &b), "expected a file, found a folder");
    assert_message(ctx, gy_bytes_open(ctx, "/dev/null", NULL, &b), "/dev/null: expected a regular file");
    assert_int_equal(mkfifo(in_dir(dir, "fifo", path), 0600), 0);
    assert_message(ctx, gy_bytes_open(ctx, path, NULL, &b), "expected a regular file");
    assert_message(ctx, gy_bytes_open(ctx, in_dir(dir, "absent", path), NULL, &b), "absent: cannot open: No such file");
    store(in_dir(dir, "empty", path), "", 0);
    assert_ok(ctx, gy_bytes_open(ctx, path, NULL, &b));
    assert_int_equal(b.size, 0);
    gy_bytes_close(&b);
    remove_dir(ctx, dir);
}

static void a_mapped_file_that_is_cut_is_refused_without_a_signal(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256];
    size_t n = 3 << 20;
    uint8_t *d = calloc(1, n), end[16];
    d[n - 1] = 7;
    gy_bytes b;
    temp_dir(dir);
    store(in_dir(dir, "large", path), d, n);
    assert_ok(ctx, gy_bytes_open(ctx, path, NULL, &b));
    assert_ok(ctx, gy_bytes_read(&b, n - 16, end, 16));
    assert_int_equal(end[15], 7);
    assert_int_equal(b.data[n - 1], 7);
    assert_int_equal(truncate(path, 4096), 0);
    assert_message(ctx, gy_bytes_read(&b, n - 16, end, 16), "the file was cut while open");
    const uint8_t *p;
    void *owned;
    assert_message(ctx, gy_bytes_borrow(&b, 0, n, &p, &owned), "the file was cut while open");
    gy_bytes_close(&b);
    free(d);
    remove_dir(ctx, dir);
}

static void a_limit_is_named_and_can_be_raised(void **state) {
    gy_ctx *ctx = *state;
    source s = source_of(ctx, "", 0);
    gy_limit l;
    assert_ok(ctx, gy_bytes_limit(&s.b, GY_LIMIT_JSON_DEPTH, 64, "depth"));
    assert_message(ctx, gy_bytes_limit(&s.b, GY_LIMIT_JSON_DEPTH, 65, "depth"),
                   "t: depth: 65 is above the limit json-depth = 64 (--limit json-depth=N raises it)");
    for (int i = 0; i < GY_LIMIT_COUNT; i++) {
        assert_true(gy_limit_parse(gy_limit_name((gy_limit)i), &l));
        assert_int_equal(l, i);
    }
    assert_false(gy_limit_parse("nonsense", &l));
    source_free(&s);
}

static void doubles_become_integers_only_when_they_are(void **state) {
    (void)state;
    static const double bad[] = {NAN, INFINITY, -INFINITY, 1e30, 0.5, -1, 101, 9223372036854775808.0};
    int64_t v;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) assert_false(gy_checked_int(bad[i], 0, 100, &v));
    assert_true(gy_checked_int(100.0, 0, 100, &v));
    assert_int_equal(v, 100);
    assert_true(gy_checked_int(-9223372036854775808.0, INT64_MIN, INT64_MAX, &v));
    assert_true(v == INT64_MIN);
}

static void numbers_are_read_exactly_or_refused(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},
                {"-1.5", -1.5},
                {"+2", 2},
                {"1e3", 1000},
                {".5", 0.5},
                {"5.", 5},
                {"1E-2", 0.01},
                {"0.1", 0.1},
                {"inf", INFINITY},
                {"-Infinity", -INFINITY},
                {"4.9e-324", 4.9e-324},
                {"1e-400", 0},
                {"1.7976931348623157e308", 1.7976931348623157e308},
                {"9007199254740993", 9007199254740992.0},
                {"9007199254740993.00000000000000000000001", 9007199254740994.0},
                {"000000001", 1},
                {"0e99999999999999999999", 0},
                {"123456789012345678901234567890e-20", 1234567890.123456789}};
    static const char *const bad[] = {"",   " ",  "1,5",   "0x10", "1e",    "1e+",  ".",  "-", "--1",
                                      "1 ", " 1", "1e999", "n/a",  "1.2.3", "nano", "in", "1f"};
    double v;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (!gy_parse_double(good[i].text, strlen(good[i].text), &v)) fail_msg("'%s' was refused", good[i].text);
        if (memcmp(&v, &good[i].value, sizeof v) != 0) fail_msg("'%s' was read as %.17g", good[i].text, v);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (gy_parse_double(bad[i], strlen(bad[i]), &v)) fail_msg("'%s' was read as %g", bad[i], v);
    assert_true(gy_parse_double("NaN", 3, &v) && isnan(v));
    assert_false(gy_parse_double("inf\0", 4, &v)); /* a NUL is not where the word ends */
    assert_false(gy_parse_double("-nan\0\0", 6, &v));
    char tie[2000]; /* 2^53 + 1, and a nonzero digit a thousand places on that breaks the tie */
    int n = snprintf(tie, sizeof tie, "9007199254740993.%01500d1", 0);
    assert_true(gy_parse_double(tie, (size_t)n, &v));
    assert_true(v == 9007199254740994.0);

    int64_t i;
    assert_true(gy_parse_int("-9223372036854775808", 20, &i) && i == INT64_MIN);
    assert_true(gy_parse_int("9223372036854775807", 19, &i) && i == INT64_MAX);
    assert_false(gy_parse_int("9223372036854775808", 19, &i));
    assert_false(gy_parse_int("-9223372036854775809", 20, &i));
    assert_false(gy_parse_int("1.0", 3, &i));
    assert_false(gy_parse_int("", 0, &i));
}

static void hostile_text_is_shown_harmless(void **state) {
    (void)state;
    char out[1024], longer[1000];
    assert_string_equal(gy_show_text("caf\xc3\xa9", 5, out, sizeof out), "caf\xc3\xa9");
    assert_string_equal(gy_show_text("\x1b[31m\n", 6, out, sizeof out), "\\x1b[31m\\x0a");
    assert_string_equal(gy_show_text("a\0b", 3, out, sizeof out), "a\\x00b");
    assert_string_equal(gy_show_text("\xc2\x9b", 2, out, sizeof out),
                        "\\xc2\\x9b"); /* C1: an escape in one character */
    assert_string_equal(gy_show_text("\xe2\x80\xae", 3, out, sizeof out), "\\xe2\\x80\\xae");
    assert_string_equal(gy_show_text("\xff\xc0\x80", 3, out, sizeof out), "\\xff\\xc0\\x80");
    memset(longer, 'x', sizeof longer);
    gy_show_text(longer, sizeof longer, out, sizeof out);
    assert_int_equal(strlen(out), 203);
    for (size_t n = 1; n < 40; n++) assert_true(strlen(gy_show_text("\x01\x02\x03\x04\x05\x06", 6, out, n)) < n);
    static const char *const invalid[] = {
        "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80", "\xf8\x88\x80\x80\x80", "\x80", "\xe2\x82"};
    for (size_t i = 0; i < sizeof invalid / sizeof *invalid; i++)
        assert_int_equal(gy_utf8_next(invalid[i], strlen(invalid[i]), NULL), 0);
    uint32_t c;
    assert_int_equal(gy_utf8_next("\xf0\x9f\xa7\xa0", 4, &c), 4);
    assert_int_equal(c, 0x1f9e0);
}

/* ---- the writer ---- */

static gy_status save(gy_ctx *ctx, const char *path) {
    static char large[200000];
    memset(large, 'n', sizeof large);
    gy_writer *w;
    gy_status s = gy_writer_open(ctx, path, &w);
    if (s != GY_OK) return s;
    s = gy_writer_printf(w, "%s %d ", "new", 42);
    if (s == GY_OK) s = gy_writer_put(w, large, sizeof large);
    if (s == GY_OK) s = gy_writer_printf(w, "%02000d", 7);
    if (s == GY_OK) return gy_writer_commit(w);
    gy_writer_abort(w);
    return s;
}

static void assert_saved(const char *path) {
    buf b = slurp(path);
    assert_int_equal(b.n, 7 + 200000 + 2000);
    assert_memory_equal(b.d, "new 42 nnn", 10);
    assert_memory_equal(b.d + b.n - 3, "007", 3);
    buf_free(&b);
}

/* Each system call of a save fails in turn. The old file must stand, and nothing else; only when the
 * rename is done already and the folder's sync fails may (must) the whole new one be there. */
static void a_fault_at_any_system_call_keeps_the_old_file(void **state) {
    gy_ctx *ctx = *state;
    static const int errors[] = {ENOSPC, EIO, EDQUOT};
    for (size_t e = 0; e < 3; e++)
        for (int old = 0; old < 2; old++) {
            char dir[64], path[256];
            temp_dir(dir);
            in_dir(dir, "file", path);
            int64_t n = 1, refused = 0;
            for (;; n++) {
                remove(path);
                if (old) store(path, "old", 3);
                gy_files_set_fault(ctx, (gy_fault){.at = n, .err = errors[e], .short_write = n % 2});
                gy_status s = save(ctx, path);
                gy_files_set_fault(ctx, (gy_fault){0});
                if (s == GY_OK) break;
                refused++;
                assert_int_equal(s, GY_ERR_IO);
                assert_non_null(strstr(gy_error(ctx), path));
                assert_non_null(strstr(gy_error(ctx), strerror(errors[e])));
                if (strstr(gy_error(ctx), "the new file is in place")) {
                    assert_saved(path);
                    continue;
                }
                assert_int_equal(count_files(ctx, dir), old);
                if (!old) continue;
                buf b = slurp(path);
                assert_int_equal(b.n, 3);
                assert_memory_equal(b.d, "old", 3);
                buf_free(&b);
            }
            assert_saved(path);
            assert_true(refused >= 7); /* open, writes, fsync, close, open folder, rename, fsync folder */
            assert_int_equal(count_files(ctx, dir), 1);
            remove_dir(ctx, dir);
        }
}

static void interrupted_and_short_calls_are_taken_up_again(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256];
    temp_dir(dir);
    in_dir(dir, "file", path);
    for (int64_t n = 1; n < 20; n++) {
        gy_files_set_fault(ctx, (gy_fault){.at = n, .err = EINTR, .short_write = true});
        gy_status s = save(ctx, path);
        gy_files_set_fault(ctx, (gy_fault){0});
        if (s != GY_OK && strstr(gy_error(ctx), "rename")) continue;
        assert_ok(ctx, s);
        assert_saved(path);
    }
    remove_dir(ctx, dir);
}

static void an_abandoned_file_never_appears(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256];
    temp_dir(dir);
    gy_writer *w;
    assert_ok(ctx, gy_writer_open(ctx, in_dir(dir, "file", path), &w));
    assert_ok(ctx, gy_writer_printf(w, "half"));
    assert_int_equal(gy_writer_size(w), 4);
    gy_writer_abort(w);
    assert_int_equal(count_files(ctx, dir), 0);
    gy_writer_abort(NULL);
    remove_dir(ctx, dir);
}

static void links_are_followed_and_permissions_kept(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256], target[256], loop[256];
    struct stat st;
    temp_dir(dir);
    store(in_dir(dir, "target", target), "old", 3);
    assert_int_equal(chmod(target, 0640), 0);
    assert_int_equal(symlink("target", in_dir(dir, "link", path)), 0);
    assert_ok(ctx, gy_write_file(ctx, path, "new!", 4));
    assert_int_equal(lstat(path, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    assert_int_equal(stat(target, &st), 0);
    assert_int_equal(st.st_size, 4);
    assert_int_equal(st.st_mode & 07777, 0640);
    assert_int_equal(remove(target), 0); /* a dangling link makes its target */
    assert_ok(ctx, gy_write_file(ctx, path, "made", 4));
    assert_true(gy_path_exists(target));
    assert_int_equal(symlink("loop", in_dir(dir, "loop", loop)), 0);
    assert_message(ctx, gy_write_file(ctx, loop, "x", 1), "loop: cannot write: Too many levels");
    assert_message(ctx, gy_write_file(ctx, dir, "x", 1), "cannot write: it is a folder");
    assert_message(ctx, gy_write_file(ctx, in_dir(dir, "no/file", path), "x", 1), "No such file or directory");
    assert_message(ctx, gy_write_file(ctx, "", "x", 1), "expected a file name");
    assert_ok(ctx, gy_write_file(ctx, "/dev/null", "x", 1));
    if (geteuid() != 0) { /* root may write anything */
        assert_int_equal(chmod(target, 0440), 0);
        assert_message(ctx, gy_write_file(ctx, target, "x", 1), "target: cannot write: Permission denied");
        assert_int_equal(chmod(dir, 0500), 0);
        assert_message(ctx, gy_write_file(ctx, in_dir(dir, "file", path), "x", 1),
                       "cannot make a temporary file in its folder: Permission denied");
        assert_int_equal(chmod(dir, 0700), 0);
    }
    remove_dir(ctx, dir);
}

static void appended_lines_are_whole_or_absent(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256];
    temp_dir(dir);
    in_dir(dir, "metrics.csv", path);
    assert_ok(ctx, gy_append_file(ctx, path, "step,loss\n", 10));
    for (int64_t n = 1; n <= 3; n++) { /* open; the first and the second half of the line */
        gy_files_set_fault(ctx, (gy_fault){.at = n, .err = ENOSPC, .short_write = true});
        assert_message(ctx, gy_append_file(ctx, path, "1,0.5\n", 6), "No space left");
        gy_files_set_fault(ctx, (gy_fault){0});
        buf b = slurp(path);
        assert_int_equal(b.n, 10);
        buf_free(&b);
    }
    gy_files_set_fault(ctx, (gy_fault){.at = 2, .err = EINTR, .short_write = true});
    assert_ok(ctx, gy_append_file(ctx, path, "1,0.5\n", 6));
    gy_files_set_fault(ctx, (gy_fault){0});
    buf b = slurp(path);
    assert_int_equal(b.n, 16);
    assert_memory_equal(b.d, "step,loss\n1,0.5\n", 16);
    buf_free(&b);
    remove_dir(ctx, dir);
}

static void folders_are_made_listed_and_joined(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256];
    temp_dir(dir);
    assert_ok(ctx, gy_make_dirs(ctx, in_dir(dir, "a/b//c/", path)));
    assert_ok(ctx, gy_make_dirs(ctx, path));
    assert_true(gy_path_is_dir(path));
    store(in_dir(dir, "a/b/file", path), "", 0);
    assert_message(ctx, gy_make_dirs(ctx, in_dir(dir, "a/b/file/d", path)), "cannot make the folder");
    store(in_dir(dir, "a/b/B", path), "", 0);
    char **names;
    int64_t n;
    assert_ok(ctx, gy_list_dir(ctx, in_dir(dir, "a/b", path), &names, &n));
    assert_int_equal(n, 3);
    assert_string_equal(names[0], "B");
    assert_string_equal(names[1], "c");
    assert_string_equal(names[2], "file");
    for (int64_t i = 0; i < n; i++) gy_free(ctx, names[i]);
    gy_free(ctx, names);
    assert_message(ctx, gy_list_dir(ctx, in_dir(dir, "none", path), &names, &n), "cannot list");
    static const char *const joined[][3] = {{"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"a", "/b", "/b"}};
    for (int i = 0; i < 4; i++) {
        char *p = gy_path_join(ctx, joined[i][0], joined[i][1]);
        assert_string_equal(p, joined[i][2]);
        gy_free(ctx, p);
    }
    assert_true(gy_path_has_suffix("x/BOLD.NII.GZ", ".nii.gz"));
    assert_false(gy_path_has_suffix("gz", ".nii.gz"));
    static const char *const made[] = {"a/b/B", "a/b/file", "a/b/c", "a/b", "a"};
    for (int i = 0; i < 5; i++) assert_int_equal(remove(in_dir(dir, made[i], path)), 0);
    remove_dir(ctx, dir);
}

static gy_status save_read_list(gy_ctx *ctx, void *arg) {
    char path[256], **names = NULL;
    int64_t n = 0;
    gy_bytes b = {0};
    gy_status s = save(ctx, in_dir(arg, "file", path));
    if (s == GY_OK) s = gy_bytes_open(ctx, path, NULL, &b);
    if (s == GY_OK) s = gy_make_dirs(ctx, arg);
    if (s == GY_OK) s = gy_list_dir(ctx, arg, &names, &n);
    for (int64_t i = 0; i < n; i++) gy_free(ctx, names[i]);
    gy_free(ctx, names);
    gy_bytes_close(&b);
    return s;
}

static void no_memory_is_reported(void **state) {
    char dir[64];
    survive_no_memory(*state, save_read_list, temp_dir(dir));
    assert_int_equal(count_files(*state, dir), 1);
    remove_dir(*state, dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(reads_never_pass_the_end),
        TEST(only_regular_files_are_opened),
        TEST(a_mapped_file_that_is_cut_is_refused_without_a_signal),
        TEST(a_limit_is_named_and_can_be_raised),
        TEST(doubles_become_integers_only_when_they_are),
        TEST(numbers_are_read_exactly_or_refused),
        TEST(hostile_text_is_shown_harmless),
        TEST(a_fault_at_any_system_call_keeps_the_old_file),
        TEST(interrupted_and_short_calls_are_taken_up_again),
        TEST(an_abandoned_file_never_appears),
        TEST(links_are_followed_and_permissions_kept),
        TEST(appended_lines_are_whole_or_absent),
        TEST(folders_are_made_listed_and_joined),
        TEST(no_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
