/* Tables: the cases of the hostile list (TXT-01, TXT-02) and what BIDS files hold. */
#include "../harness/harness.h"

#include "io/files.h"
#include "io/formats/deflate.h"
#include "io/formats/table.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[64];
static char warned[1024];

static int make_path(void **state) {
    (void)state;
    strcpy(path, "/tmp/gyrus-table-XXXXXX");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_path(void **state) {
    (void)state;
    return unlink(path);
}

static void remember(void *user, const char *text) {
    (void)user;
    snprintf(warned, sizeof warned, "%s", text);
}

static gy_status parse_bytes(gy_ctx *ctx, const char *name, const char *text, size_t n, const gy_limits *limits,
                             gy_table_args args, gy_table *out) {
    gy_bytes src;
    assert_ok(ctx, gy_bytes_from_memory(ctx, name, text, n, limits, &src));
    gy_status s = gy_table_parse(&src, args, out);
    gy_bytes_close(&src);
    return s;
}

static gy_status parse(gy_ctx *ctx, const char *text, gy_table_args args, gy_table *out) {
    return parse_bytes(ctx, "t.csv", text, strlen(text), NULL, args, out);
}

static void assert_refused(gy_ctx *ctx, const char *text, const char *message) {
    gy_table t;
    assert_message(ctx, parse(ctx, text, (gy_table_args){0}, &t), message);
    assert_null(t.text);
}

/* All cells, '|' after each, header first. */
static void assert_cells(gy_ctx *ctx, const char *text, gy_table_args args, int64_t rows, int64_t columns,
                         const char *expected) {
    gy_table t;
    char all[1024] = "";
    assert_ok(ctx, parse(ctx, text, args, &t));
    for (int64_t j = 0; t.header && j < t.columns; j++) strcat(strcat(all, t.header[j]), "|");
    for (int64_t i = 0; i < t.rows * t.columns; i++) strcat(strcat(all, t.cell[i]), "|");
    assert_string_equal(all, expected);
    assert_int_equal(t.rows, rows);
    assert_int_equal(t.columns, columns);
    gy_table_free(&t);
}

/* ---- reading ----------------------------------------------------------------------------------- */

static void line_ends_bom_and_last_line_do_not_matter(void **state) { /* TXT-01 */
    gy_ctx *ctx = *state;
    static const char *const same[] = {"a,b\n1,2\n3,4\n",
                                       "a,b\r\n1,2\r\n3,4\r\n",
                                       "a,b\r1,2\r3,4",
                                       "\xef\xbb\xbf\x61,b\n1,2\n3,4",
                                       "\n\na,b\n\n1,2\n\r\n3,4\n\n\n",
                                       "\"a\",\"b\"\n\"1\",2\n3,\"4\""};
    for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
        assert_cells(ctx, same[i], (gy_table_args){0}, 2, 2, "a|b|1|2|3|4|");
}

static void the_separator_is_found(void **state) {
    gy_ctx *ctx = *state;
    assert_cells(ctx, "a\tb,c\n1\t2,3\n", (gy_table_args){0}, 1, 2, "a|b,c|1|2,3|");
    assert_cells(ctx, "a;b;c,d\n1;2;3\n", (gy_table_args){0}, 1, 3, "a|b|c,d|1|2|3|");
    assert_cells(ctx, "\"a;b;c\",d\n1,2\n", (gy_table_args){0}, 1, 2, "a;b;c|d|1|2|");
    assert_cells(ctx, "reaction time\n1\n", (gy_table_args){0}, 1, 1, "reaction time|1|");
    assert_cells(ctx, "a,b\n1,2\n", (gy_table_args){.separator = ';'}, 1, 1, "a,b|1,2|");
    gy_table t;
    assert_ok(ctx, parse_bytes(ctx, "x.tsv", "a, b\n1, 2\n", 10, NULL, (gy_table_args){0}, &t));
    assert_int_equal(t.columns, 1); /* the name says tab */
    gy_table_free(&t);
}

static void blank_separated_columns_without_header(void **state) {
    gy_ctx *ctx = *state;
    assert_cells(ctx, "rest 0\nface  0 \n  house\t1\n", (gy_table_args){.headerless = true}, 3, 2,
                 "rest|0|face|0|house|1|");
    assert_cells(ctx, "# comment\n 1 2\n#\n\n3 4",
                 (gy_table_args){.headerless = true, .separator = ' ', .comment = '#'}, 2, 2, "1|2|3|4|");
    gy_table t;
    assert_ok(ctx, parse(ctx, "5 1\n", (gy_table_args){.headerless = true}, &t));
    int64_t c;
    assert_message(ctx, gy_table_column(&t, "label", &c), "no column 'label': the table has no header");
    gy_table_free(&t);
    assert_message(ctx, parse(ctx, "1 2\n3\n", (gy_table_args){.headerless = true}, &t),
                   "line 2: expected 2 columns as in line 1, found 1");
}

static void quotes_hold_separators_line_ends_and_quotes(void **state) {
    gy_ctx *ctx = *state;
    assert_cells(ctx, "a,b\n\"x, \"\"y\"\"\",\"two\nlines\"\n", (gy_table_args){0}, 1, 2, "a|b|x, \"y\"|two\nlines|");
    assert_cells(ctx, "a,b\n\"\",\"\"\"\"\n", (gy_table_args){0}, 1, 2, "a|b||\"|");
    assert_cells(ctx, "a,b\n5\" disc,it's\n", (gy_table_args){0}, 1, 2, "a|b|5\" disc|it's|");
    assert_refused(ctx, "a,b\n1,2\n3,\"never\n5,6\n", "t.csv: line 3: a quote begins here and never ends");
    assert_refused(ctx, "a,b\n1,\"", "line 2: a quote begins here");
    assert_refused(ctx, "a,b\n\"x\"y,2\n", "line 2: text after a closing quote");
    assert_refused(ctx, "a,b\n\"x\ny\",2\n1\n", "line 4: expected 2 columns as in line 1, found 1");
    assert_refused(ctx, "a,b\n\"x\r\ny\rz\",2\n1\n", "line 5: expected 2 columns");
}

static void ragged_empty_and_binary_tables_are_refused(void **state) { /* TXT-01 */
    gy_ctx *ctx = *state;
    assert_refused(ctx, "a,b\n1,2,3\n", "t.csv: line 2: expected 2 columns as in line 1, found 3");
    assert_refused(ctx, "\na,b\n\n1\n", "line 4: expected 2 columns as in line 2, found 1");
    assert_refused(ctx, "", "t.csv: the table is empty");
    assert_refused(ctx, "\n\r\n\n", "the table is empty");
    gy_table t;
    assert_message(ctx, parse_bytes(ctx, "t.csv", "a,b\n1,\0\n", 8, NULL, (gy_table_args){0}, &t),
                   "byte 6: a NUL byte");
    assert_message(ctx,
                   parse_bytes(ctx, "t.csv",
                               "\xff\xfe"
                               "a\0",
                               4, NULL, (gy_table_args){0}, &t),
                   "the text is UTF-16: expected UTF-8");
    assert_cells(ctx, "a,b\n", (gy_table_args){0}, 0, 2, "a|b|");
}

static void repeated_names_are_refused_and_empty_ones_read(void **state) { /* TXT-01 */
    gy_ctx *ctx = *state;
    assert_refused(ctx, "x,y,z,y\n1,2,3,4\n", "columns 2 and 4 have the same name 'y'");
    assert_refused(ctx, "\x1b[2J,\x1b[2J\n1,2\n", "the same name '\\x1b[2J'");
    assert_cells(ctx, ",a,\n0,1,2\n", (gy_table_args){0}, 1, 3, "|a||0|1|2|");
}

static void long_lines_and_many_columns_meet_their_limits(void **state) { /* TXT-01 */
    gy_ctx *ctx = *state;
    gy_limits limits;
    gy_table t;
    gy_limits_init(&limits);
    enum { N = 1000000 };
    char *text = gy_malloc(ctx, N + 1);
    memset(text, ',', N);
    text[N] = 0;
    size_t live = gy_mem_live(ctx);
    assert_message(ctx, parse_bytes(ctx, "t.csv", text, N, NULL, (gy_table_args){0}, &t),
                   "columns: 1000001 is above the limit table-columns = 65536");
    assert_int_equal(gy_mem_live(ctx), live);
    limits.v[GY_LIMIT_TABLE_COLUMNS] = N + 1;
    assert_ok(ctx, parse_bytes(ctx, "t.csv", text, N, &limits, (gy_table_args){.separator = ','}, &t));
    assert_int_equal(t.columns, N + 1);
    gy_table_free(&t);
    memset(text, 'x', N);
    limits.v[GY_LIMIT_TEXT_LINE] = 1000;
    assert_message(ctx, parse_bytes(ctx, "t.csv", text, N, &limits, (gy_table_args){0}, &t),
                   "bytes in a line: 1000000 is above the limit text-line = 1000");
    for (int i = 0; i < N / 4; i++) snprintf(text + 4 * i, 5, "n%03d", i % 1000); /* one column, long name */
    limits.v[GY_LIMIT_TEXT_LINE] = N;
    assert_ok(ctx, parse_bytes(ctx, "t.csv", text, N, &limits, (gy_table_args){0}, &t));
    int64_t c;
    assert_message(ctx, gy_table_column(&t, "n", &c), "no column 'n' among 1");
    gy_table_free(&t);
    gy_free(ctx, text);
}

/* ---- columns ----------------------------------------------------------------------------------- */

static void numbers_are_read_without_a_locale(void **state) { /* TXT-02 */
    gy_ctx *ctx = *state;
    gy_table t;
    double *x;
    assert_ok(ctx, parse(ctx, "x\n1.5\n -2e3 \nn/a\n\"\"\nNaN\n-inf\nNA\n", (gy_table_args){0}, &t));
    assert_ok(ctx, gy_table_numbers(&t, 0, &x));
    assert_true(x[0] == 1.5 && x[1] == -2000 && isnan(x[2]) && isnan(x[3]) && isnan(x[4]) && x[5] == -INFINITY &&
                isnan(x[6]));
    gy_free(ctx, x);
    gy_table_free(&t);
    static const char *const bad[] = {"1,5", "0x1p3", "1e999", "1.5.2", "--1", "12 34", "\x1b[31m1"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[64];
        snprintf(text, sizeof text, "rt;y\n1;2\n3;4\n%s;5\n", bad[i]);
        assert_ok(ctx, parse(ctx, text, (gy_table_args){0}, &t));
        assert_message(ctx, gy_table_numbers(&t, 0, &x), "t.csv: line 4, column 1 'rt': expected a number, found '");
        assert_null(x);
        assert_null(strchr(gy_error(ctx), 27));
        gy_table_free(&t);
    }
}

static void whole_numbers_and_strings(void **state) {
    gy_ctx *ctx = *state;
    gy_table t;
    int64_t *n;
    const char **s;
    assert_ok(ctx, parse(ctx, "a,b,c\n-3,1.5,x\n9223372036854775807,2,n/a\n", (gy_table_args){0}, &t));
    assert_ok(ctx, gy_table_integers(&t, 0, &n));
    assert_true(n[0] == -3 && n[1] == INT64_MAX);
    gy_free(ctx, n);
    assert_message(ctx, gy_table_integers(&t, 1, &n), "line 2, column 2 'b': expected a whole number, found '1.5'");
    assert_message(ctx, gy_table_integers(&t, 2, &n), "found 'x'");
    assert_ok(ctx, gy_table_strings(&t, 2, &s));
    assert_string_equal(s[0], "x");
    assert_true(gy_cell_is_missing(s[1]) && !gy_cell_is_missing(s[0]));
    gy_free(ctx, s);
    gy_table_free(&t);
}

static void a_missing_column_offers_the_nearest_name(void **state) {
    gy_ctx *ctx = *state;
    gy_table t;
    int64_t c;
    assert_ok(ctx, parse(ctx, "onset,duration,trial_type,response_time\n0,1,a,2\n", (gy_table_args){0}, &t));
    assert_ok(ctx, gy_table_column(&t, "trial_type", &c));
    assert_int_equal(c, 2);
    assert_message(ctx, gy_table_column(&t, "TrialType", &c),
                   "t.csv: no column 'TrialType' among 4; the nearest is 'trial_type'");
    assert_message(ctx, gy_table_column(&t, "duratoin", &c), "the nearest is 'duration'");
    assert_true(gy_table_has(&t, "onset") && !gy_table_has(&t, "Onset"));
    gy_table_free(&t);
}

static void a_gzipped_table_is_read(void **state) {
    gy_ctx *ctx = *state;
    gy_table t;
    uint8_t *packed;
    uint64_t n;
    assert_ok(ctx, gy_deflate(ctx, "a,b\n1,2\n", 8, GY_DEFLATE_GZIP, 6, &packed, &n));
    assert_ok(ctx, gy_write_file(ctx, path, packed, (size_t)n));
    assert_ok(ctx, gy_table_read(ctx, path, NULL, (gy_table_args){0}, &t));
    assert_string_equal(gy_table_cell(&t, 0, 1), "2");
    gy_table_free(&t);
    assert_ok(ctx, gy_write_file(ctx, path, packed, (size_t)n - 1));
    assert_message(ctx, gy_table_read(ctx, path, NULL, (gy_table_args){0}, &t), path);
    gy_free(ctx, packed);
}

/* ---- writing ----------------------------------------------------------------------------------- */

static char *file_text(gy_ctx *ctx) {
    static char text[4096];
    gy_bytes b;
    assert_ok(ctx, gy_bytes_open(ctx, path, NULL, &b));
    assert_true(b.size < sizeof text);
    assert_ok(ctx, gy_bytes_read(&b, 0, text, b.size));
    text[b.size] = 0;
    gy_bytes_close(&b);
    return text;
}

static void formulas_are_disarmed_and_cells_quoted(void **state) { /* RUN-10 */
    gy_ctx *ctx = *state;
    static const char *const texts[] = {"=cmd()", "+1+1",       "-5",         "@x", "\tx", "plain",
                                        "a,b",    "say \"hi\"", "two\nlines", NULL, "-",   "=\"x\""};
    static const double numbers[] = {0.1, -5, NAN, INFINITY, 1e300, 0, -0.0, 1.0 / 3, 5e-324, 123456789012, 2.5, -1e-7};
    const gy_table_data columns[] = {{.name = "=name", .texts = texts}, {.name = "v", .numbers = numbers}};
    assert_ok(ctx, gy_table_write(ctx, path, ',', columns, 2, 12));
    assert_string_equal(
        file_text(ctx),
        "\"'=name\",v\n\"'=cmd()\",0.1\n\"'+1+1\",-5\n-5,n/a\n\"'@x\",inf\n\"'\tx\",1e+300\nplain,0\n\"a,b\",-0\n"
        "\"say \"\"hi\"\"\",0.3333333333333333\n\"two\nlines\",5e-324\nn/a,123456789012\n\"'-\",2.5\n"
        "\"'=\"\"x\"\"\",-1e-07\n");
    gy_table t;
    double *back;
    assert_ok(ctx, gy_table_read(ctx, path, NULL, (gy_table_args){0}, &t));
    assert_ok(ctx, gy_table_numbers(&t, 1, &back));
    for (int i = 0; i < 12; i++) assert_true(isnan(numbers[i]) ? isnan(back[i]) : back[i] == numbers[i]);
    assert_string_equal(gy_table_cell(&t, 8, 0), "two\nlines");
    gy_free(ctx, back);
    gy_table_free(&t);
    assert_message(ctx, gy_table_write(ctx, path, '|', columns, 2, 1), "separated by a comma, a tab or a semicolon");
    assert_message(ctx, gy_table_write(ctx, path, ',', columns, 0, 1), "at least one column");
}

static void numbers_read_back_to_the_same_bits(void **state) {
    (void)state;
    char text[32];
    uint64_t x = 88172645463325252u;
    for (int i = 0; i < 20000; i++) {
        double v, back;
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        memcpy(&v, &x, 8);
        if (!isfinite(v)) continue;
        gy_number_text(v, text);
        assert_true(gy_parse_double(text, strlen(text), &back) && back == v);
    }
    assert_string_equal(gy_number_text(NAN, text), "nan");
    assert_string_equal(gy_number_text(-INFINITY, text), "-inf");
}

/* Under every locale with a decimal comma that is installed, and under the plain one. */
static void the_locale_changes_nothing(void **state) { /* TXT-02 */
    gy_ctx *ctx = *state;
    static const char *const names[] = {"C", "de_DE.UTF-8", "fr_FR.UTF-8", "de_DE", "fr_FR", "ps_AF.UTF-8"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!setlocale(LC_ALL, names[i])) continue;
        char text[32];
        gy_table t;
        double *x = NULL;
        gy_number_text(1234.5, text);
        gy_status s = parse(ctx, "x;y\n1.5;1,5\n", (gy_table_args){0}, &t);
        if (s == GY_OK) s = gy_table_numbers(&t, 0, &x);
        gy_status comma = s == GY_OK ? gy_table_numbers(&t, 1, &(double *){NULL}) : s;
        setlocale(LC_ALL, "C");
        assert_string_equal(text, "1234.5");
        assert_message(ctx, comma, "expected a number, found '1,5'");
        assert_true(x && x[0] == 1.5);
        gy_free(ctx, x);
        gy_table_free(&t);
    }
}

/* ---- events ------------------------------------------------------------------------------------ */

static gy_status parse_events(gy_ctx *ctx, const char *text, gy_events *out) {
    gy_bytes src;
    warned[0] = 0;
    gy_set_warn_handler(ctx, remember, NULL);
    assert_ok(ctx, gy_bytes_from_memory(ctx, "e.tsv", text, strlen(text), NULL, &src));
    gy_status s = gy_events_parse(&src, out);
    gy_bytes_close(&src);
    return s;
}

static void events_are_read_with_their_extra_columns(void **state) {
    gy_ctx *ctx = *state;
    gy_events e;
    double *rt;
    int64_t c;
    assert_ok(
        ctx, parse_events(ctx, "onset\tduration\ttrial_type\tresponse_time\n-1.5\t0\tface\t0.4\n12\tn/a\t\tn/a\n", &e));
    assert_int_equal(e.count, 2);
    assert_true(e.onset[0] == -1.5 && e.onset[1] == 12 && e.duration[0] == 0 && isnan(e.duration[1]));
    assert_string_equal(e.trial_type[0], "face");
    assert_string_equal(e.trial_type[1], "n/a");
    assert_string_equal(warned, "");
    assert_ok(ctx, gy_table_column(&e.table, "response_time", &c));
    assert_ok(ctx, gy_table_numbers(&e.table, c, &rt));
    assert_true(rt[0] == 0.4 && isnan(rt[1]));
    gy_free(ctx, rt);
    gy_events_free(&e);
    assert_ok(ctx, parse_events(ctx, "onset\tduration\n3\t1\n2\t1\n1\t1\n", &e));
    assert_null(e.trial_type);
    assert_string_equal(warned, "e.tsv: line 3: onsets go backwards");
    gy_events_free(&e);
}

static void impossible_events_are_refused(void **state) {
    gy_ctx *ctx = *state;
    gy_events e;
    assert_message(ctx, parse_events(ctx, "Onset\tduration\n1\t1\n", &e),
                   "no column 'onset' among 2; the nearest is 'Onset'");
    assert_message(ctx, parse_events(ctx, "onset\ttrial_type\n1\ta\n", &e), "no column 'duration'");
    assert_message(ctx, parse_events(ctx, "onset,duration\n1,1\n", &e),
                   "no column 'onset' among 1; the nearest is 'onset,duration'");
    assert_message(ctx, parse_events(ctx, "onset\tduration\nn/a\t1\n", &e),
                   "e.tsv: line 2: onset: expected a time in seconds, found n/a");
    assert_message(ctx, parse_events(ctx, "onset\tduration\ninf\t1\n", &e),
                   "line 2: onset: expected a time in seconds, found infinity");
    assert_message(ctx, parse_events(ctx, "onset\tduration\n1\t1\n2\t-1\n", &e),
                   "line 3: duration: expected 0 or more seconds or n/a, found -1");
    assert_message(ctx, parse_events(ctx, "onset\tduration\n1\tinf\n", &e), "line 2: duration");
    assert_message(ctx, parse_events(ctx, "onset\tduration\n1,5\t1\n", &e),
                   "line 2, column 1 'onset': expected a number, found '1,5'");
    assert_null(e.table.text);
}

static void events_survive_a_round_trip(void **state) {
    gy_ctx *ctx = *state;
    static const double onset[] = {0.1, 12.3}, duration[] = {0.5, NAN}, score[] = {1, NAN};
    static const char *const type[] = {"face", "a\tb"};
    gy_events e;
    assert_ok(ctx, gy_events_write(ctx, path, 2, onset, duration, type,
                                   &(gy_table_data){.name = "score", .numbers = score}, 1));
    assert_string_equal(file_text(ctx),
                        "onset\tduration\ttrial_type\tscore\n0.1\t0.5\tface\t1\n12.3\tn/a\t\"a\tb\"\tn/a\n");
    assert_ok(ctx, gy_events_read(ctx, path, NULL, &e));
    assert_true(e.onset[1] == 12.3);
    assert_string_equal(e.trial_type[1], "a\tb");
    gy_events_free(&e);
    assert_ok(ctx, gy_events_write(ctx, path, 2, onset, duration, NULL, NULL, 0));
    assert_string_equal(file_text(ctx), "onset\tduration\n0.1\t0.5\n12.3\tn/a\n");
    assert_message(ctx, gy_events_write(ctx, path, 1, &(double){NAN}, duration, NULL, NULL, 0),
                   "event 1: onset: expected a time");
    assert_message(ctx, gy_events_write(ctx, path, 1, onset, &(double){-2}, NULL, NULL, 0),
                   "event 1: duration: expected 0 or more");
    assert_string_equal(file_text(ctx), "onset\tduration\n0.1\t0.5\n12.3\tn/a\n"); /* the old file stays */
}

static void every_failing_allocation_ends_cleanly(void **state) {
    gy_ctx *ctx = *state;
    static const double onset[] = {0, 1}, duration[] = {0, 1};
    static const char *const type[] = {"a", "b"};
    uint8_t *packed;
    uint64_t size;
    static const char text[] = "onset\tduration\ttrial_type\n0\t1\tx\n";
    char gz[80];
    snprintf(gz, sizeof gz, "%s.gz", path);
    assert_ok(ctx, gy_deflate(ctx, text, sizeof text - 1, GY_DEFLATE_GZIP, 6, &packed, &size));
    assert_ok(ctx, gy_write_file(ctx, gz, packed, (size_t)size));
    gy_free(ctx, packed);
    int64_t failures = 0;
    for (int64_t n = 1;; n++) {
        gy_events e;
        int64_t *whole = NULL;
        size_t live = gy_mem_live(ctx);
        gy_mem_fail_at(ctx, n);
        gy_status s = gy_events_read(ctx, gz, NULL, &e);
        if (s == GY_OK) {
            s = gy_table_integers(&e.table, 0, &whole);
            gy_free(ctx, whole);
            gy_events_free(&e);
        }
        if (s == GY_OK) s = gy_events_write(ctx, path, 2, onset, duration, type, NULL, 0);
        gy_mem_fail_at(ctx, 0);
        assert_int_equal(gy_mem_live(ctx), live);
        if (s == GY_OK) break;
        assert_message(ctx, s, "out of memory");
        failures++;
    }
    unlink(gz);
    assert_true(failures >= 12);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(line_ends_bom_and_last_line_do_not_matter),
        TEST(the_separator_is_found),
        TEST(blank_separated_columns_without_header),
        TEST(quotes_hold_separators_line_ends_and_quotes),
        TEST(ragged_empty_and_binary_tables_are_refused),
        TEST(repeated_names_are_refused_and_empty_ones_read),
        TEST(long_lines_and_many_columns_meet_their_limits),
        TEST(numbers_are_read_without_a_locale),
        TEST(whole_numbers_and_strings),
        TEST(a_missing_column_offers_the_nearest_name),
        TEST(a_gzipped_table_is_read),
        TEST(formulas_are_disarmed_and_cells_quoted),
        TEST(numbers_read_back_to_the_same_bits),
        TEST(the_locale_changes_nothing),
        TEST(events_are_read_with_their_extra_columns),
        TEST(impossible_events_are_refused),
        TEST(events_survive_a_round_trip),
        TEST(every_failing_allocation_ends_cleanly),
    };
    return cmocka_run_group_tests(tests, make_path, remove_path);
}
