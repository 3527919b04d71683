/* The report: what is escaped, planned, limited, and what is left when something fails. */
#include "../harness/harness.h"
#include "../harness/markup.h"
#include "report_examples.h"

#include "io/files.h"
#include "io/report/html.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* ---- text and numbers ---- */

static void base64_matches_rfc_4648(void **state) {
    gy_ctx *ctx = *state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        gy_text t;
        char *s;
        gy_text_init(&t, ctx);
        gy_text_base64(&t, (const uint8_t *)pairs[i][0], strlen(pairs[i][0]));
        assert_ok(ctx, gy_text_take(&t, &s, NULL));
        assert_string_equal(s, pairs[i][1]);
        gy_free(ctx, s);
    }
}

static void strangers_strings_are_escaped(void **state) {
    gy_ctx *ctx = *state;
    static const char *const pairs[][2] = {
        {"<b>&\"'", "&lt;b&gt;&amp;&quot;&#39;"},
        {"a\x1b[31m\x07", "a\xef\xbf\xbd[31m\xef\xbf\xbd"},
        {"\xff\xc3(\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"a\xe2\x80\xaetxt", "a\xef\xbf\xbdtxt"}, /* right-to-left override */
        {"\xef\xbf\xbf\xef\xbb\xbf", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xc3", "\xef\xbf\xbd"},
        {"line\nnext\ttab", "line next tab"},
        {"\xce\xbb\xe2\x81\xbb\xc2\xb9", "\xce\xbb\xe2\x81\xbb\xc2\xb9"},
        {"0123456789abcdefghij", "0123456789abcdef\xe2\x80\xa6"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        gy_text t;
        char *s;
        gy_text_init(&t, ctx);
        gy_text_escaped(&t, pairs[i][0], 16);
        assert_ok(ctx, gy_text_take(&t, &s, NULL));
        assert_string_equal(s, pairs[i][1]);
        gy_free(ctx, s);
    }
}

static void numbers_read_the_same_in_every_locale(void **state) {
    (void)state;
    char b[GY_NUMBER_TEXT];
    const char *found = setlocale(LC_NUMERIC, "de_DE.UTF-8"); /* decimal comma, where installed */
    assert_string_equal(gy_number_fixed(1234.5, 2, b), "1234.50");
    assert_string_equal(gy_number_short(0.125, 3, b), "0.125");
    if (found) setlocale(LC_NUMERIC, "C");
    assert_string_equal(gy_number_fixed(-0.001, 2, b), "0.00");
    assert_string_equal(gy_number_fixed(NAN, 2, b), "n/a");
    assert_string_equal(gy_number_fixed(-INFINITY, 2, b), "-inf");
    assert_string_equal(gy_number_fixed(1e300, 2, b), "1e300");
    assert_string_equal(gy_number_short(-2.5e-7, 3, b), "-2.5e-7");
    assert_string_equal(gy_number_short(1e100, 3, b), "1e100");
    assert_string_equal(gy_number_short(-0.0, 3, b), "0");
}

static void hostile_strings_leave_every_figure_well_formed(void **state) {
    gy_ctx *ctx = *state;
    static const char evil[] = "</text></svg><script>alert('x')</script>\x1b[2J\xff&amp;<!--\" onload=\"x";
    gy_figure_head h = {.title = evil,
                        .caption = evil,
                        .alt = evil,
                        .command = evil,
                        .n = 1,
                        .n_of = evil,
                        .chance = gy_chance_at(0.1),
                        .side = GY_SIDE_BOTH};
    const gy_axis axis = {.label = evil, .unit = evil};
    const char *const names[2] = {evil, evil};
    const gy_series s[2] = {{evil, 4, YS, YS, YS, YS}, {evil, 4, YS, YS, NULL, NULL}};
    const gy_bar bars[2] = {{evil, 1, 0, 2}, {evil, NAN, 0, 0}};
    float base[VX * VY * VZ] = {1, 2, 3};
    gy_image img;
    assert_ok(ctx, gy_raster_image(ctx, base, 2, 2, 1, &img));
    const gy_image two[2] = {img, img};
    gy_mosaic mo = good_mosaic(base);
    mo.head = h, mo.base_is = evil, mo.value = axis, mo.map = base;
    gy_figure f[8];
    int n = 0;
    assert_ok(ctx, gy_figure_line(ctx, &(gy_line_chart){h, axis, axis, s, 2, evil}, &f[n++]));
    assert_ok(ctx, gy_figure_bars(ctx, &(gy_bar_chart){h, evil, axis, bars, 2, evil}, &f[n++]));
    assert_ok(ctx, gy_figure_scatter(ctx, &(gy_scatter){h, axis, axis, s, 2, true}, &f[n++]));
    assert_ok(ctx, gy_figure_histogram(ctx, &(gy_histogram){h, axis, YS, 4, 0, true, 0.7, evil}, &f[n++]));
    assert_ok(
        ctx, gy_figure_heatmap(
                 ctx, &(gy_heatmap){h, YS, 2, 2, names, names, evil, evil, axis, true, 2, GY_MAP_SEQUENTIAL}, &f[n++]));
    assert_ok(ctx, gy_figure_mosaic(ctx, &mo, &f[n++]));
    assert_ok(ctx, gy_figure_pictures(ctx, &(gy_pictures){h, axis, two, names, 2, 2}, &f[n++]));
    gy_report *r;
    assert_ok(ctx, gy_report_new(ctx, (gy_report_args){evil, evil, evil}, &r));
    gy_report_plan(r, "p", evil);
    gy_report_plan(r, evil, evil);
    gy_report_fact(r, evil, evil);
    gy_report_section(r, evil);
    gy_report_text(r, evil);
    gy_report_text(r, "`<a>` and ` alone");
    gy_report_formula(r, evil, evil);
    gy_report_table(r, NULL, &(gy_report_rows){evil, evil, names, names, 2, 1});
    gy_report_explain(r, "p", evil);
    gy_report_details(r, evil);
    gy_report_term(r, evil, evil);
    for (int i = 0; i < n; i++) {
        assert_markup(f[i].svg);
        assert_int_equal(count_of(f[i].svg, "<script"), 0);
        assert_ok(ctx, gy_report_figure(r, NULL, &f[i]));
        gy_figure_free(ctx, &f[i]);
    }
    char *html;
    size_t size;
    assert_ok(ctx, gy_report_bytes(r, &html, &size));
    assert_int_equal(strlen(html), size);
    assert_markup(html);
    assert_int_equal(count_of(html, "<script"), 0);
    assert_int_equal(count_of(html, "<code>&lt;a&gt;</code> and ` alone"), 1);
    gy_free(ctx, html);
    gy_report_free(r);
    gy_image_free(ctx, &img);
    h.n = 0; /* and the message is safe for a terminal */
    assert_message(ctx, gy_figure_line(ctx, &(gy_line_chart){h, axis, axis, s, 2, evil}, &f[0]), "'n' is missing");
    assert_null(strchr(gy_error(ctx), 0x1b));
}

/* ---- reports ---- */

static gy_status small_report(gy_ctx *ctx, char **html, size_t *size) {
    *html = NULL;
    float base[VX * VY * VZ];
    for (int i = 0; i < VX * VY * VZ; i++) base[i] = (float)(i % 7);
    gy_mosaic m = good_mosaic(base);
    m.map = base, m.n_slices = 2;
    const gy_line_chart c = good_line();
    const gy_heatmap h = {.head = good_head(),
                          .values = YS,
                          .rows = 2,
                          .cols = 2,
                          .row_label = "r",
                          .col_label = "c",
                          .value = {.label = "v", .unit = "s"}};
    gy_figure f = {0};
    gy_report *r;
    gy_status st = gy_report_new(ctx, (gy_report_args){"Title", "Lead with `code`", "gyrus demo"}, &r);
    if (st != GY_OK) return st;
    gy_report_plan(r, "curve", "learning curve");
    gy_report_plan(r, "map", "weight map");
    gy_report_fact(r, "seed", "1");
    gy_report_section(r, "One");
    gy_report_text(r, "First.\n\nSecond with `x`.");
    if (st == GY_OK && (st = gy_figure_line(ctx, &c, &f)) == GY_OK) st = gy_report_figure(r, "curve", &f);
    gy_figure_free(ctx, &f);
    if (st == GY_OK && (st = gy_figure_mosaic(ctx, &m, &f)) == GY_OK) st = gy_report_figure(r, NULL, &f);
    gy_figure_free(ctx, &f);
    if (st == GY_OK && (st = gy_figure_heatmap(ctx, &h, &f)) == GY_OK) st = gy_report_figure(r, NULL, &f);
    gy_figure_free(ctx, &f);
    gy_report_term(r, "run", "A stretch of scanning.");
    if (st == GY_OK) st = gy_report_bytes(r, html, size);
    gy_report_free(r);
    return st;
}

static void the_same_report_has_the_same_bytes(void **state) {
    gy_ctx *ctx = *state;
    char *a, *b;
    size_t n, m;
    assert_ok(ctx, small_report(ctx, &a, &n));
    assert_ok(ctx, small_report(ctx, &b, &m));
    assert_int_equal(n, m);
    assert_memory_equal(a, b, n);
    assert_markup(a);
    assert_int_equal(count_of(a, "http"), count_of(a, "http://www.w3.org/2000/svg")); /* a name, not a link */
    assert_int_equal(count_of(a, "src="), 0);
    assert_int_equal(count_of(a, "<p>First.</p>"), 1);
    assert_int_equal(count_of(a, "Made by <code>gyrus claim x</code>"), 3);
    gy_free(ctx, a);
    gy_free(ctx, b);
}

static void planned_panels_are_filled_or_explained(void **state) {
    gy_ctx *ctx = *state;
    char *html;
    size_t n;
    assert_ok(ctx, small_report(ctx, &html, &n));
    assert_int_equal(count_of(html, "Not shown: weight map."), 1);
    assert_int_equal(count_of(html, "Not shown: learning curve."), 0);
    gy_free(ctx, html);

    gy_report *r;
    const gy_report_args args = {"T", NULL, "c"};
    assert_ok(ctx, gy_report_new(ctx, args, &r));
    gy_report_plan(r, "curves", "x");
    gy_report_plan(r, "matrix", "confusions");
    assert_ok(ctx, gy_report_explain(r, "matrix", "one class only"));
    assert_message(ctx, gy_report_explain(r, "matrix", "again"), "'matrix' is filled or explained already");
    assert_message(ctx, gy_report_bytes(r, &html, &n), "already"); /* errors stick */
    gy_report_free(r);
    assert_ok(ctx, gy_report_new(ctx, args, &r));
    gy_report_plan(r, "curves", "x");
    assert_message(ctx, gy_report_explain(r, "curvs", "typo"), "'curvs' was not planned; planned: curves");
    gy_report_free(r);
    assert_ok(ctx, gy_report_new(ctx, args, &r));
    gy_report_plan(r, "curves", "x");
    assert_message(ctx, gy_report_plan(r, "curves", "y"), "planned twice");
    gy_report_free(r);
    assert_message(ctx, gy_report_new(ctx, (gy_report_args){"T", NULL, NULL}, &r), "'command' is missing");
    assert_null(r);
}

static void tables_need_a_caption_and_align_numbers(void **state) {
    gy_ctx *ctx = *state;
    gy_report *r;
    char *html;
    size_t n;
    const char *const columns[2] = {"name", "value"}, *const cells[4] = {"a", "1.5", "b", "\u22122 %"};
    assert_ok(ctx, gy_report_new(ctx, (gy_report_args){"T", NULL, "c"}, &r));
    assert_ok(ctx, gy_report_table(r, NULL, &(gy_report_rows){"values in s", "gyrus eval", columns, cells, 2, 2}));
    assert_ok(ctx, gy_report_bytes(r, &html, &n));
    assert_int_equal(count_of(html, "<td>a</td><td class=\"num\">1.5</td>"), 1);
    assert_int_equal(count_of(html, "<th scope=\"col\">name</th><th scope=\"col\" class=\"num\">value</th>"), 1);
    gy_free(ctx, html);
    assert_message(ctx, gy_report_table(r, NULL, &(gy_report_rows){"v", NULL, columns, cells, 2, 2}),
                   "'command' is missing");
    gy_report_free(r);
}

static void details_do_not_nest_and_are_closed(void **state) {
    gy_ctx *ctx = *state;
    gy_report *r;
    char *html;
    size_t n;
    assert_ok(ctx, gy_report_new(ctx, (gy_report_args){"T", NULL, "c"}, &r));
    assert_ok(ctx, gy_report_details(r, "more"));
    assert_ok(ctx, gy_report_bytes(r, &html, &n));
    assert_markup(html);
    gy_free(ctx, html);
    assert_message(ctx, gy_report_details_end(r), "none began");
    gy_report_free(r);
    assert_ok(ctx, gy_report_new(ctx, (gy_report_args){"T", NULL, "c"}, &r));
    gy_report_details(r, "more");
    assert_message(ctx, gy_report_details(r, "inner"), "do not nest");
    gy_report_free(r);
}

static const char PATH[] = "build/tests/report-fault.html";

static void a_page_beyond_the_limit_is_refused(void **state) {
    gy_ctx *ctx = *state;
    enum { SIDE = 1100 };
    float *noise = malloc(SIDE * SIDE * sizeof *noise);
    for (int i = 0; i < SIDE * SIDE; i++) noise[i] = (float)(gy_hash(&i, sizeof i, 1) % 4096);
    gy_image img[4];
    for (int i = 0; i < 4; i++)
        assert_ok(ctx, gy_raster_map(ctx, noise, SIDE, SIDE, GY_MAP_SEQUENTIAL_DARK, 0, 4095, &img[i]));
    gy_pictures c = {.head = good_head(), .value = {.label = "v", .unit = "s"}, .images = img, .n_images = 4};
    c.head.title = "Noise";
    gy_figure f;
    gy_report *r;
    assert_ok(ctx, gy_figure_pictures(ctx, &c, &f));
    assert_ok(ctx, gy_report_new(ctx, (gy_report_args){"T", NULL, "c"}, &r));
    assert_ok(ctx, gy_report_figure(r, NULL, &f));
    unlink(PATH);
    gy_status st = gy_report_write(r, PATH);
    assert_message(ctx, st, "expected at most 5000000");
    assert_message(ctx, st, "the largest figure is 'Noise'");
    assert_false(gy_path_exists(PATH));
    gy_report_free(r);
    gy_figure_free(ctx, &f);
    for (int i = 0; i < 4; i++) gy_image_free(ctx, &img[i]);
    free(noise);
}

static void a_full_disk_leaves_the_previous_report(void **state) {
    gy_ctx *ctx = *state;
    gy_report *r;
    assert_ok(ctx, gy_make_dirs(ctx, "build/tests"));
    assert_ok(ctx, gy_write_file(ctx, PATH, "old", 3));
    assert_ok(ctx, gy_report_new(ctx, (gy_report_args){"T", NULL, "c"}, &r));
    gy_files_set_fault(ctx, (gy_fault){.at = 2, .err = ENOSPC});
    assert_int_equal(gy_report_write(r, PATH), GY_ERR_IO);
    gy_files_set_fault(ctx, (gy_fault){0});
    char old[4] = "";
    FILE *in = fopen(PATH, "rb");
    assert_non_null(in);
    assert_int_equal(fread(old, 1, 3, in), 3);
    fclose(in);
    assert_string_equal(old, "old");
    assert_ok(ctx, gy_report_write(r, PATH)); /* a second try succeeds: nothing was lost */
    gy_report_free(r);
    unlink(PATH);
}

static void out_of_memory_at_any_point_is_one_clean_failure(void **state) {
    gy_ctx *ctx = *state;
    size_t live = gy_mem_live(ctx), size;
    char *html;
    int64_t failures = 0;
    for (int64_t n = 1;; n++) {
        gy_error_clear(ctx);
        gy_mem_fail_at(ctx, n);
        gy_status st = small_report(ctx, &html, &size);
        gy_mem_fail_at(ctx, 0);
        if (st == GY_OK) break;
        assert_int_equal(st, GY_ERR_NOMEM);
        assert_null(html);
        assert_int_equal(gy_mem_live(ctx), live);
        failures++;
    }
    assert_true(failures > 60);
    assert_markup(html);
    gy_free(ctx, html);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(base64_matches_rfc_4648),
        TEST(strangers_strings_are_escaped),
        TEST(numbers_read_the_same_in_every_locale),
        TEST(hostile_strings_leave_every_figure_well_formed),
        TEST(the_same_report_has_the_same_bytes),
        TEST(planned_panels_are_filled_or_explained),
        TEST(tables_need_a_caption_and_align_numbers),
        TEST(details_do_not_nest_and_are_closed),
        TEST(a_page_beyond_the_limit_is_refused),
        TEST(a_full_disk_leaves_the_previous_report),
        TEST(out_of_memory_at_any_point_is_one_clean_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
