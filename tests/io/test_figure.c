/* Figures: what is required, where left is, what a chart shows. */
#include "../harness/harness.h"
#include "../harness/markup.h"
#include "report_examples.h"

#include "io/report/canvas.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void expect_missing(gy_ctx *ctx, const gy_line_chart *c, const char *member) {
    gy_figure f;
    char text[64];
    snprintf(text, sizeof text, "'%s' is missing", member);
    gy_status st = gy_figure_line(ctx, c, &f);
    assert_int_equal(st, GY_ERR_USAGE);
    assert_message(ctx, st, text);
    assert_null(f.svg);
    gy_error_clear(ctx);
}

static void a_missing_member_is_named(void **state) {
    gy_ctx *ctx = *state;
    gy_line_chart c;
    c = good_line(), c.head.title = NULL, expect_missing(ctx, &c, "title");
    c = good_line(), c.head.caption = "  ", expect_missing(ctx, &c, "caption");
    c = good_line(), c.head.alt = "", expect_missing(ctx, &c, "alt");
    c = good_line(), c.head.command = NULL, expect_missing(ctx, &c, "command");
    c = good_line(), c.head.n = 0, expect_missing(ctx, &c, "n");
    c = good_line(), c.head.n_of = NULL, expect_missing(ctx, &c, "n_of");
    c = good_line(), c.head.chance = (gy_chance){0}, expect_missing(ctx, &c, "chance");
    c = good_line(), c.head.chance = gy_chance_at(NAN), expect_missing(ctx, &c, "chance");
    c = good_line(), c.head.side = GY_SIDE_MISSING, expect_missing(ctx, &c, "side");
    c = good_line(), c.x.label = NULL, expect_missing(ctx, &c, "x.label");
    c = good_line(), c.x.unit = NULL, expect_missing(ctx, &c, "x.unit");
    c = good_line(), c.y.unit = "", expect_missing(ctx, &c, "y.unit");
    c = good_line(), c.n_series = 0, expect_missing(ctx, &c, "series");
    gy_series band = ONE;
    band.lo = YS, band.hi = YS;
    c = good_line(), c.series = &band, expect_missing(ctx, &c, "error_is");
}

static void every_kind_asks_for_units_and_chance(void **state) {
    gy_ctx *ctx = *state;
    gy_figure f;
    const gy_bar bar = {"a", 1, 0.5, 1.5};
    gy_bar_chart bars = {.head = good_head(), .label = "b", .y = {.label = "v"}, .bars = &bar, .n_bars = 1};
    assert_message(ctx, gy_figure_bars(ctx, &bars, &f), "bar chart 'T': 'y.unit' is missing");
    bars.y.unit = "s";
    assert_message(ctx, gy_figure_bars(ctx, &bars, &f), "'error_is' is missing");
    gy_scatter sc = {.head = good_head(), .x = {.label = "x"}, .y = {.label = "y", .unit = "s"}};
    assert_message(ctx, gy_figure_scatter(ctx, &sc, &f), "scatter 'T': 'x.unit' is missing");
    sc.x.unit = "s", sc.series = &ONE, sc.n_series = 1;
    assert_message(ctx, gy_figure_scatter(ctx, &sc, &f), "'series.x' is missing");
    gy_histogram hi = {.head = good_head(), .x = {.label = "x"}, .values = YS, .n_values = 4};
    assert_message(ctx, gy_figure_histogram(ctx, &hi, &f), "histogram 'T': 'x.unit' is missing");
    hi.x.unit = "s", hi.has_observed = true;
    assert_message(ctx, gy_figure_histogram(ctx, &hi, &f), "'observed_is' is missing");
    gy_heatmap he = {.head = good_head(), .values = YS, .rows = 2, .cols = 2, .value = {.label = "x"}};
    assert_message(ctx, gy_figure_heatmap(ctx, &he, &f), "heat map 'T': 'value.unit' is missing");
    he.value.unit = "s", he.row_label = "r";
    assert_message(ctx, gy_figure_heatmap(ctx, &he, &f), "'col_label' is missing");
    gy_pictures pi = {.head = good_head(), .value = {.label = "x"}};
    assert_message(ctx, gy_figure_pictures(ctx, &pi, &f), "picture grid 'T': 'value.unit' is missing");
    gy_figure_head h = good_head();
    h.chance = (gy_chance){0};
    bars.head = sc.head = hi.head = he.head = pi.head = h;
    assert_message(ctx, gy_figure_bars(ctx, &bars, &f), "'chance' is missing");
    assert_message(ctx, gy_figure_scatter(ctx, &sc, &f), "'chance' is missing");
    assert_message(ctx, gy_figure_histogram(ctx, &hi, &f), "'chance' is missing");
    assert_message(ctx, gy_figure_heatmap(ctx, &he, &f), "'chance' is missing");
    assert_message(ctx, gy_figure_pictures(ctx, &pi, &f), "'chance' is missing");
}

/* ---- brain slices ---- */

static void a_brain_without_a_side_is_refused(void **state) {
    gy_ctx *ctx = *state;
    gy_figure f;
    float base[VX * VY * VZ] = {1};
    gy_mosaic c = good_mosaic(base);
    c.head.side = GY_SIDE_NONE;
    assert_message(ctx, gy_figure_mosaic(ctx, &c, &f), "'side' is missing");
    c = good_mosaic(base), c.orientation = NULL;
    assert_message(ctx, gy_figure_mosaic(ctx, &c, &f), "'orientation' is missing");
    static const char *const bad[] = {"RA", "RAR", "RLS", "XYZ", "ras", "RASA", "\x1b[2J"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        c.orientation = bad[i];
        assert_message(ctx, gy_figure_mosaic(ctx, &c, &f), "expected three letters");
        assert_null(strchr(gy_error(ctx), 0x1b));
    }
    c.orientation = "RAS";
    double flipped[3][4] = {{-3, 0, 0, 0}, {0, 3, 0, 0}, {0, 0, 3, 0}};
    memcpy(c.affine, flipped, sizeof flipped);
    assert_message(ctx, gy_figure_mosaic(ctx, &c, &f), "says RAS, but the affine says LAS");
    c.affine[0][0] = NAN;
    assert_int_equal(gy_figure_mosaic(ctx, &c, &f), GY_ERR_NUMERIC);
    c = good_mosaic(base), c.slices = (const int64_t[]){VZ};
    assert_message(ctx, gy_figure_mosaic(ctx, &c, &f), "slice 3: expected 0 to 2");
}

static void orientation_follows_the_affine(void **state) {
    gy_ctx *ctx = *state;
    char o[4];
    const double las[3][4] = {{-2, 0, 0, 90}, {0, 2, 0, -126}, {0, 0, 2, -72}};
    assert_ok(ctx, gy_orientation_of(ctx, las, o));
    assert_string_equal(o, "LAS");
    /* a sagittal acquisition: i runs to P, j to S, k to R, tilted by a few degrees */
    const double sag[3][4] = {{0.1, 0, 0.9, 0}, {-0.95, 0.2, 0.05, 0}, {0.2, 0.97, 0, 0}};
    assert_ok(ctx, gy_orientation_of(ctx, sag, o));
    assert_string_equal(o, "PSR");
    const double flat[3][4] = {{1, 1, 0, 0}, {0, 0, 1, 0}, {0, 0, 0, 0}};
    assert_int_equal(gy_orientation_of(ctx, flat, o), GY_ERR_NUMERIC);
}

static int digit(char c) {
    static const char all[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = strchr(all, c);
    return p && c ? (int)(p - all) : -1;
}

/* The first embedded PNG of an SVG, decoded. */
static gy_image first_image(gy_ctx *ctx, const char *svg) {
    const char *p = strstr(svg, "base64,");
    assert_non_null(p);
    p += 7;
    uint8_t *raw = malloc(strlen(p));
    size_t n = 0;
    for (; digit(*p) >= 0; p += 4) {
        int d[4];
        for (int i = 0; i < 4; i++) d[i] = digit(p[i]);
        raw[n++] = (uint8_t)(d[0] << 2 | d[1] >> 4);
        if (d[2] >= 0) raw[n++] = (uint8_t)(d[1] << 4 | d[2] >> 2);
        if (d[3] >= 0) raw[n++] = (uint8_t)(d[2] << 6 | d[3]);
    }
    gy_bytes src;
    gy_image img;
    assert_ok(ctx, gy_bytes_from_memory(ctx, "svg", raw, n, NULL, &src));
    assert_ok(ctx, gy_png_parse(&src, &img));
    gy_bytes_close(&src);
    free(raw);
    return img;
}

/* Where the single bright voxel landed: row * width + column. */
static int64_t brightest(gy_ctx *ctx, const gy_mosaic *c) {
    gy_figure f;
    assert_ok(ctx, gy_figure_mosaic(ctx, c, &f));
    gy_image img = first_image(ctx, f.svg);
    int64_t best = 0;
    for (int64_t i = 0; i < img.width * img.height; i++)
        if (img.pixels[i * img.channels] > img.pixels[best * img.channels]) best = i;
    gy_image_free(ctx, &img);
    gy_figure_free(ctx, &f);
    return best;
}

/* A voxel at the subject's far right, front, top must land right and up, whatever order the file has. */
static void left_is_left_for_every_orientation(void **state) {
    gy_ctx *ctx = *state;
    static const char *const orientations[] = {"RAS", "LAS", "LPI", "RPS", "PSR", "SAL", "ARI", "ILP"};
    static const char plus[] = "RAS", minus[] = "LPI";
    const int64_t size[3] = {VX, VY, VZ}, voxel[3] = {VX - 1, VY - 2, VZ - 1};
    for (size_t o = 0; o < sizeof orientations / sizeof *orientations; o++) {
        float base[VX * VY * VZ] = {0};
        gy_mosaic c = good_mosaic(base);
        c.orientation = orientations[o];
        int64_t at[3], stride = 1, flat = 0;
        for (int j = 0; j < 3; j++) {
            const char *p = strchr(plus, c.orientation[j]), *m = strchr(minus, c.orientation[j]);
            int axis = (int)(p ? p - plus : m - minus);
            c.dim[j] = size[axis];
            at[j] = p ? voxel[axis] : size[axis] - 1 - voxel[axis];
            flat += at[j] * stride;
            stride *= c.dim[j];
        }
        base[flat] = 9;
        assert_int_equal(brightest(ctx, &c), 1 * VX + VX - 1); /* axial: second row from A, rightmost */
        c.plane = GY_PLANE_CORONAL;
        assert_int_equal(brightest(ctx, &c), 0 * VX + VX - 1);
        c.plane = GY_PLANE_SAGITTAL;
        assert_int_equal(brightest(ctx, &c), 0 * VY + VY - 2); /* the front on the right */
        c.plane = GY_PLANE_AXIAL, c.radiological = true;
        assert_int_equal(brightest(ctx, &c), 1 * VX + 0);
    }
}

static void letters_and_millimetres_stand_at_the_slices(void **state) {
    gy_ctx *ctx = *state;
    gy_figure f;
    float base[VX * VY * VZ];
    for (int i = 0; i < VX * VY * VZ; i++) base[i] = (float)i;
    gy_mosaic c = good_mosaic(base);
    const double affine[3][4] = {{3, 0, 0, -40}, {0, 3, 0, -50}, {0, 0, 4, -30}};
    memcpy(c.affine, affine, sizeof affine);
    c.slices = (const int64_t[]){0, 2}, c.n_slices = 2;
    assert_ok(ctx, gy_figure_mosaic(ctx, &c, &f));
    assert_int_equal(count_of(f.svg, ">z = -30 mm<"), 1);
    assert_int_equal(count_of(f.svg, ">z = -22 mm<"), 1);
    assert_true(strstr(f.svg, ">L</text>") < strstr(f.svg, ">R</text>"));
    assert_int_equal(count_of(f.svg, "signal (a.u.)"), 1);
    gy_figure_free(ctx, &f);
    c.radiological = true;
    assert_ok(ctx, gy_figure_mosaic(ctx, &c, &f));
    assert_true(strstr(f.svg, ">R</text>") < strstr(f.svg, ">L</text>"));
    gy_figure_free(ctx, &f);
    c.plane = GY_PLANE_SAGITTAL;
    assert_ok(ctx, gy_figure_mosaic(ctx, &c, &f));
    assert_int_equal(count_of(f.svg, "x = -40 mm (L)"), 1);
    assert_true(strstr(f.svg, ">P</text>") < strstr(f.svg, ">A</text>"));
    gy_figure_free(ctx, &f);
}

/* ---- charts ---- */

static void ticks_are_nice_numbers(void **state) {
    (void)state;
    gy_ticks t;
    gy_ticks_for(&(gy_scale){.lo = 0, .hi = 1, .to = 1}, 5, &t);
    static const char *const fifths[] = {"0.0", "0.2", "0.4", "0.6", "0.8", "1.0"};
    assert_int_equal(t.n, 6);
    for (int i = 0; i < 6; i++) assert_string_equal(t.label[i], fifths[i]);
    assert_true(t.v[3] == 0.6);
    gy_ticks_for(&(gy_scale){.lo = -37, .hi = 412, .to = 1}, 5, &t);
    assert_string_equal(t.label[0], "0");
    assert_string_equal(t.label[t.n - 1], "400");
    gy_ticks_for(&(gy_scale){.lo = 0.01, .hi = 900, .to = 1, .log = true}, 6, &t);
    assert_int_equal(t.n, 5);
    assert_string_equal(t.label[0], "0.01");
    gy_ticks_for(&(gy_scale){.lo = 3, .hi = 30, .to = 1, .log = true}, 6, &t);
    assert_int_equal(t.n, 3);
    assert_string_equal(t.label[0], "5");
    for (double lo = -1e8; lo < 1e8; lo += 9.7e6) /* never more than fit, never none */
        for (double span = 1e-6; span < 1e9; span *= 7.3) {
            gy_ticks_for(&(gy_scale){.lo = lo, .hi = lo + span, .to = 1}, 6, &t);
            assert_in_range(t.n, span > 1e-5 * fabs(lo) ? 3 : 0, 13);
        }
}

static void a_long_curve_stays_small_and_keeps_its_spike(void **state) {
    gy_ctx *ctx = *state;
    enum { N = 100000 };
    double *y = malloc(N * sizeof *y);
    for (int i = 0; i < N; i++) y[i] = 0.25;
    y[77777] = 1;
    y[5] = NAN;
    const gy_series s = {.name = "a", .n = N, .y = y};
    gy_line_chart c = good_line();
    c.series = &s, c.y.lo = 0, c.y.hi = 1;
    gy_figure f;
    assert_ok(ctx, gy_figure_line(ctx, &c, &f));
    assert_true(f.svg_size < 20000);
    /* the plot's top edge, where 1.0 is drawn, must be a point of the curve */
    const char *path = strstr(f.svg, "class=\"s0 y");
    double top = 1e9, x, v;
    for (const char *p = strstr(path, "d=\"") + 2; p && *p && *p != '>'; p++)
        if ((*p == 'L' || *p == 'M') && sscanf(p + 1, "%lf %lf", &x, &v) == 2) top = fmin(top, v);
    char edge[32], at[GY_NUMBER_TEXT];
    snprintf(edge, sizeof edge, " %sH", gy_number_short(top, 6, at));
    assert_non_null(strstr(f.svg, edge)); /* the grid line of 1.0 lies at the same height */
    gy_figure_free(ctx, &f);
    free(y);
}

static void gaps_break_the_line_and_emptiness_is_drawn(void **state) {
    gy_ctx *ctx = *state;
    const double y[5] = {1, 2, NAN, 3, INFINITY}, none[2] = {NAN, -1};
    gy_series s = {.name = "a", .n = 5, .y = y};
    gy_line_chart c = good_line();
    c.series = &s;
    gy_figure f;
    assert_ok(ctx, gy_figure_line(ctx, &c, &f));
    const char *d = strstr(strstr(f.svg, "class=\"s0 y"), "d=\"") + 3;
    int moves = 0, lines = 0;
    for (; *d != '"'; d++) moves += *d == 'M', lines += *d == 'L';
    assert_int_equal(moves, 2);
    assert_int_equal(lines, 1);
    gy_figure_free(ctx, &f);
    s = (gy_series){.name = "a", .n = 2, .y = none}; /* nothing that a log axis can show */
    c.y.log = true, c.head.chance = gy_no_chance();
    assert_ok(ctx, gy_figure_line(ctx, &c, &f));
    assert_markup(f.svg);
    assert_int_equal(count_of(f.svg, "nan"), 0);
    gy_figure_free(ctx, &f);
}

static void chance_is_drawn_and_bars_start_at_zero(void **state) {
    gy_ctx *ctx = *state;
    const gy_bar bars[2] = {{"a", 0.6, 0, 0}, {"b", 0.7, 0, 0}};
    gy_bar_chart c = {
        .head = good_head(), .label = "m", .y = {.label = "accuracy", .unit = "%"}, .bars = bars, .n_bars = 2};
    gy_figure f;
    assert_ok(ctx, gy_figure_bars(ctx, &c, &f));
    assert_int_equal(count_of(f.svg, ">chance</text>"), 1);
    assert_int_equal(count_of(f.svg, "chance 0.5"), 1);
    assert_int_equal(count_of(f.svg, ">0.0</text>"), 1);
    assert_int_equal(count_of(f.svg, "accuracy (%)"), 1);
    assert_int_equal(count_of(f.svg, "n = 3 runs"), 1);
    gy_figure_free(ctx, &f);
    c.y.log = true;
    assert_message(ctx, gy_figure_bars(ctx, &c, &f), "y.log");
}

static void crowded_names_are_skipped_not_overlapped(void **state) {
    gy_ctx *ctx = *state;
    enum { N = 200 };
    gy_bar *bars = calloc(N, sizeof *bars);
    for (int i = 0; i < N; i++) bars[i] = (gy_bar){.name = "a long region name", .value = i};
    gy_bar_chart c = {
        .head = good_head(), .label = "region", .y = {.label = "v", .unit = "s"}, .bars = bars, .n_bars = N};
    gy_figure f;
    assert_ok(ctx, gy_figure_bars(ctx, &c, &f));
    int drawn = count_of(f.svg, "rotate(-40 ");
    assert_in_range(drawn, 15, 26); /* 24.9 px apart at least, of 600 px */
    gy_figure_free(ctx, &f);
    free(bars);
}

static void rows_are_normalised_and_empty_rows_say_so(void **state) {
    gy_ctx *ctx = *state;
    const double v[6] = {3, 1, 0, 0, 1, 7};
    gy_heatmap c = {.head = good_head(),
                    .values = v,
                    .rows = 3,
                    .cols = 2,
                    .row_label = "true",
                    .col_label = "said",
                    .value = {.label = "share", .unit = "proportion"},
                    .row_normalised = true,
                    .decimals = 3};
    gy_figure f;
    assert_ok(ctx, gy_figure_heatmap(ctx, &c, &f));
    assert_int_equal(count_of(f.svg, ">0.750<"), 1);
    assert_int_equal(count_of(f.svg, ">0.250<"), 1);
    assert_int_equal(count_of(f.svg, ">n/a<"), 2);
    assert_int_equal(count_of(f.svg, ">0.875<"), 1);
    gy_figure_free(ctx, &f);
    c.rows = 0;
    assert_message(ctx, gy_figure_heatmap(ctx, &c, &f), "found 0 x 2");
}

static void a_histogram_counts_what_reaches_the_observed(void **state) {
    gy_ctx *ctx = *state;
    const double v[6] = {0.1, 0.2, 0.3, 0.3, 0.4, NAN};
    const gy_histogram c = {.head = good_head(),
                            .x = {.label = "accuracy", .unit = "proportion"},
                            .values = v,
                            .n_values = 6,
                            .has_observed = true,
                            .observed = 0.3,
                            .observed_is = "true labels"};
    gy_figure f;
    assert_ok(ctx, gy_figure_histogram(ctx, &c, &f));
    assert_int_equal(count_of(f.svg, "3 of 5 at or above the observed value"), 1);
    assert_int_equal(count_of(f.svg, "true labels: 0.3"), 1);
    gy_figure_free(ctx, &f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_missing_member_is_named),
        TEST(every_kind_asks_for_units_and_chance),
        TEST(a_brain_without_a_side_is_refused),
        TEST(orientation_follows_the_affine),
        TEST(left_is_left_for_every_orientation),
        TEST(letters_and_millimetres_stand_at_the_slices),
        TEST(ticks_are_nice_numbers),
        TEST(a_long_curve_stays_small_and_keeps_its_spike),
        TEST(gaps_break_the_line_and_emptiness_is_drawn),
        TEST(chance_is_drawn_and_bars_start_at_zero),
        TEST(crowded_names_are_skipped_not_overlapped),
        TEST(rows_are_normalised_and_empty_rows_say_so),
        TEST(a_histogram_counts_what_reaches_the_observed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
