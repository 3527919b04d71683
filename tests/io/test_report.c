/* Figures, rasters and the HTML report: what is required, what is escaped, what is exact. */
#include "../harness/harness.h"
#include "../harness/markup.h"

#include "io/files.h"
#include "io/report/canvas.h"
#include "io/report/html.h"

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static gy_figure_head good_head(void) {
    return (gy_figure_head){.title = "T",
                            .caption = "C",
                            .alt = "A",
                            .command = "gyrus claim x",
                            .n = 3,
                            .n_of = "runs",
                            .chance = gy_chance_at(0.5),
                            .side = GY_SIDE_NONE};
}

static const double YS[4] = {0.2, 0.4, 0.9, 0.8};
static const gy_series ONE = {.name = "a", .n = 4, .y = YS};

static gy_line_chart good_line(void) {
    return (gy_line_chart){.head = good_head(),
                           .x = {.label = "step", .unit = GY_NO_UNIT},
                           .y = {.label = "accuracy", .unit = "proportion"},
                           .series = &ONE,
                           .n_series = 1};
}

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

enum { VX = 4, VY = 5, VZ = 3 };
static gy_mosaic good_mosaic(const float *base) {
    gy_mosaic c = {.head = good_head(),
                   .base = base,
                   .base_is = "mean",
                   .dim = {VX, VY, VZ},
                   .orientation = "RAS",
                   .value = {.label = "signal", .unit = "a.u."},
                   .n_slices = 1};
    c.head.side = GY_SIDE_BOTH;
    return c;
}

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

/* ---- colours and rasters ---- */

static double distance(gy_rgb a, gy_rgb b) {
    double p[3], q[3];
    gy_rgb_to_oklab(a, p);
    gy_rgb_to_oklab(b, q);
    return sqrt((p[0] - q[0]) * (p[0] - q[0]) + (p[1] - q[1]) * (p[1] - q[1]) + (p[2] - q[2]) * (p[2] - q[2]));
}

static void equal_steps_look_equal_and_lightness_orders(void **state) {
    (void)state;
    static const struct {
        gy_colormap map;
        double from, to;
        int rises;
    } arms[] = {{GY_MAP_SEQUENTIAL, 0, 1, 0},
                {GY_MAP_SEQUENTIAL_DARK, 0, 1, 1},
                {GY_MAP_DIVERGING, 0.5, 1, 0},
                {GY_MAP_DIVERGING, 0.4999999, 0, 0},
                {GY_MAP_GREY, 0, 1, 1},
                {GY_MAP_DIVERGING_DARK, 0.5, 1, 1},
                {GY_MAP_DIVERGING_DARK, 0.4999999, 0, 1}};
    for (size_t a = 0; a < sizeof arms / sizeof *arms; a++) {
        enum { STEPS = 10 };
        double least = 9, most = 0;
        gy_rgb last = gy_colormap_at(arms[a].map, arms[a].from);
        for (int i = 1; i <= STEPS; i++) {
            gy_rgb c = gy_colormap_at(arms[a].map, arms[a].from + (arms[a].to - arms[a].from) * i / STEPS);
            double d = distance(c, last), dl = gy_rgb_lightness(c) - gy_rgb_lightness(last);
            assert_true(arms[a].rises ? dl > 0 : dl < 0);
            least = fmin(least, d), most = fmax(most, d);
            last = c;
        }
        if (most > 1.12 * least) /* 8-bit colours round; a curve that leaves sRGB would differ far more */
            fail_msg("%s: steps from %.4f to %.4f", gy_colormap_name(arms[a].map), least, most);
    }
}

/* How a colour looks to a person without one kind of cone: G. Machado et al., "A physiologically-based model for
 * simulation of color vision deficiency" (2009), severity 1, on linear RGB. */
static gy_rgb seen_by(gy_rgb c, const double m[3][3]) {
    double in[3] = {c.r / 255.0, c.g / 255.0, c.b / 255.0};
    uint8_t out[3];
    for (int i = 0; i < 3; i++) in[i] = in[i] <= 0.04045 ? in[i] / 12.92 : pow((in[i] + 0.055) / 1.055, 2.4);
    for (int i = 0; i < 3; i++) {
        double v = m[i][0] * in[0] + m[i][1] * in[1] + m[i][2] * in[2];
        v = v < 0 ? 0 : v > 1 ? 1 : v;
        out[i] = (uint8_t)lround(255 * (v <= 0.0031308 ? 12.92 * v : 1.055 * pow(v, 1 / 2.4) - 0.055));
    }
    return (gy_rgb){out[0], out[1], out[2]};
}

static void colours_stay_apart_for_colour_blind_eyes(void **state) {
    (void)state;
    static const double eyes[3][3][3] = {
        {{0.152286, 1.052583, -0.204868}, {0.114503, 0.786281, 0.099216}, {-0.003882, -0.048116, 1.051998}},
        {{0.367322, 0.860646, -0.227968}, {0.280085, 0.672501, 0.047413}, {-0.011820, 0.042940, 0.968881}},
        {{1.255528, -0.076749, -0.178779}, {-0.078411, 0.930809, 0.147602}, {0.004733, 0.691367, 0.303900}}};
    for (int e = 0; e < 3; e++) {
        for (int i = 0; i < GY_PALETTE_SIZE; i++)
            for (int j = 0; j < i; j++)
                if (distance(seen_by(gy_palette(i), eyes[e]), seen_by(gy_palette(j), eyes[e])) < 0.055)
                    fail_msg("palette colours %d and %d look alike to eye %d", i, j, e);
        static const gy_colormap signedmaps[2] = {GY_MAP_DIVERGING, GY_MAP_DIVERGING_DARK};
        for (int k = 0; k < 2; k++) /* equally large values of both signs */
            for (double r = 0.25; r <= 0.5; r += 0.05) {
                double d = distance(seen_by(gy_colormap_at(signedmaps[k], 0.5 - r), eyes[e]),
                                    seen_by(gy_colormap_at(signedmaps[k], 0.5 + r), eyes[e]));
                if (d < 0.09)
                    fail_msg("%s: signs %.3f apart at %g to eye %d", gy_colormap_name(signedmaps[k]), d, r, e);
            }
    }
}

static void raster_ends_are_the_ends_of_the_map(void **state) {
    gy_ctx *ctx = *state;
    const float v[6] = {-1, 3, -50, 50, NAN, INFINITY};
    gy_image img;
    for (int m = GY_MAP_SEQUENTIAL; m <= GY_MAP_GREY; m++) {
        assert_ok(ctx, gy_raster_map(ctx, v, 2, 3, (gy_colormap)m, -1, 3, &img));
        assert_int_equal(img.width, 3);
        assert_int_equal(img.height, 2);
        gy_rgb lo = gy_colormap_at((gy_colormap)m, 0), hi = gy_colormap_at((gy_colormap)m, 1);
        const uint8_t expect[6][4] = {{lo.r, lo.g, lo.b, 255},
                                      {hi.r, hi.g, hi.b, 255},
                                      {lo.r, lo.g, lo.b, 255},
                                      {hi.r, hi.g, hi.b, 255},
                                      {0, 0, 0, 0},
                                      {hi.r, hi.g, hi.b, 255}};
        assert_memory_equal(img.pixels, expect, sizeof expect);
        gy_image_free(ctx, &img);
    }
    gy_rgb black = gy_colormap_at(GY_MAP_GREY, 0), white = gy_colormap_at(GY_MAP_GREY, 1);
    assert_true(black.r == 0 && black.g == 0 && black.b == 0);
    assert_true(white.r == 255 && white.g == 255 && white.b == 255);
    assert_message(ctx, gy_raster_map(ctx, v, 2, 3, GY_MAP_GREY, 1, 1, &img), "lo < hi");
    assert_message(ctx, gy_raster_map(ctx, v, 2, 3, GY_MAP_GREY, NAN, 1, &img), "lo < hi");
    assert_message(ctx, gy_raster_map(ctx, v, INT64_MAX, 3, GY_MAP_GREY, 0, 1, &img), "impossible size");
}

static void grids_enlarge_and_place_exactly(void **state) {
    gy_ctx *ctx = *state;
    const float a[2] = {0, 1}, b[6] = {1, 0.5f, 0, 0, 2, NAN};
    gy_image img[2], grid, big;
    assert_ok(ctx, gy_raster_image(ctx, a, 1, 2, 1, &img[0]));
    assert_ok(ctx, gy_raster_image(ctx, b, 1, 2, 3, &img[1]));
    const uint8_t rgb[6] = {255, 128, 0, 0, 255, 0};
    assert_memory_equal(img[1].pixels, rgb, 6);
    assert_ok(ctx, gy_raster_upscale(ctx, &img[0], 3, &big));
    const uint8_t tripled[18] = {0, 0, 0, 255, 255, 255, 0, 0, 0, 255, 255, 255, 0, 0, 0, 255, 255, 255};
    assert_int_equal(big.width, 6);
    assert_memory_equal(big.pixels, tripled, 18);
    assert_ok(ctx, gy_raster_grid(ctx, img, 2, 1, 1, 1, &grid));
    const uint8_t expect[3][8] = {{0, 0, 0, 255, 255, 255, 255, 255}, {0}, {255, 128, 0, 255, 0, 255, 0, 255}};
    assert_int_equal(grid.height, 3);
    assert_memory_equal(grid.pixels, expect, sizeof expect);
    gy_image_free(ctx, &grid);
    gy_image_free(ctx, &big);
    gy_image odd = img[1];
    odd.width = 1;
    const gy_image both[2] = {img[0], odd};
    assert_message(ctx, gy_raster_grid(ctx, both, 2, 2, 1, 0, &grid), "picture 1: expected 2 x 1 pixels");
    assert_message(ctx, gy_raster_upscale(ctx, &img[0], 0, &big), "found 0");
    gy_image_free(ctx, &img[0]);
    gy_image_free(ctx, &img[1]);
}

static void overlay_respects_threshold_and_nan(void **state) {
    gy_ctx *ctx = *state;
    const float v[4] = {0.4f, -0.5f, NAN, 2};
    gy_image base, over;
    assert_ok(ctx, gy_raster_map(ctx, v, 1, 4, GY_MAP_GREY, 5, 6, &base)); /* all black */
    assert_ok(ctx, gy_raster_map(ctx, v, 1, 4, GY_MAP_DIVERGING_DARK, -1, 1, &over));
    assert_ok(ctx, gy_raster_overlay(ctx, &base, &over, v, 0.5));
    assert_int_equal(base.pixels[0] + base.pixels[1] + base.pixels[2], 0);
    assert_memory_equal(base.pixels + 4, over.pixels + 4, 4);
    assert_int_equal(base.pixels[8 + 3], 0);
    assert_memory_equal(base.pixels + 12, over.pixels + 12, 4);
    gy_image_free(ctx, &base);
    gy_image_free(ctx, &over);
}

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
    assert_string_equal(gy_number_fixed(1e300, 2, b), "1e+300");
    assert_string_equal(gy_number_short(-0.0, 3, b), "0");
}

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

/* ---- charts ---- */

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
    gy_report_table(r, NULL, &(gy_table){evil, evil, names, names, 2, 1});
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
    const char *const columns[2] = {"name", "value"}, *const cells[4] = {"a", "1.5", "b",
                                                                         "\xe2\x88\x92"
                                                                         "2 %"};
    assert_ok(ctx, gy_report_new(ctx, (gy_report_args){"T", NULL, "c"}, &r));
    assert_ok(ctx, gy_report_table(r, NULL, &(gy_table){"values in s", "gyrus eval", columns, cells, 2, 2}));
    assert_ok(ctx, gy_report_bytes(r, &html, &n));
    assert_int_equal(count_of(html, "<td>a</td><td class=\"num\">1.5</td>"), 1);
    assert_int_equal(count_of(html, "<th scope=\"col\">name</th><th scope=\"col\" class=\"num\">value</th>"), 1);
    gy_free(ctx, html);
    assert_message(ctx, gy_report_table(r, NULL, &(gy_table){"v", NULL, columns, cells, 2, 2}), "'command' is missing");
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
        TEST(a_missing_member_is_named),
        TEST(every_kind_asks_for_units_and_chance),
        TEST(a_brain_without_a_side_is_refused),
        TEST(orientation_follows_the_affine),
        TEST(left_is_left_for_every_orientation),
        TEST(letters_and_millimetres_stand_at_the_slices),
        TEST(equal_steps_look_equal_and_lightness_orders),
        TEST(colours_stay_apart_for_colour_blind_eyes),
        TEST(raster_ends_are_the_ends_of_the_map),
        TEST(grids_enlarge_and_place_exactly),
        TEST(overlay_respects_threshold_and_nan),
        TEST(base64_matches_rfc_4648),
        TEST(strangers_strings_are_escaped),
        TEST(numbers_read_the_same_in_every_locale),
        TEST(ticks_are_nice_numbers),
        TEST(hostile_strings_leave_every_figure_well_formed),
        TEST(a_long_curve_stays_small_and_keeps_its_spike),
        TEST(gaps_break_the_line_and_emptiness_is_drawn),
        TEST(chance_is_drawn_and_bars_start_at_zero),
        TEST(crowded_names_are_skipped_not_overlapped),
        TEST(rows_are_normalised_and_empty_rows_say_so),
        TEST(a_histogram_counts_what_reaches_the_observed),
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
