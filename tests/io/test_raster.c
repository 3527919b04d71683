/* Colours and rasters: exact at the ends, even in between, apart for colour-blind eyes. */
#include "../harness/harness.h"

#include "io/report/raster.h"

#include <math.h>

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

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(equal_steps_look_equal_and_lightness_orders), TEST(colours_stay_apart_for_colour_blind_eyes),
        TEST(raster_ends_are_the_ends_of_the_map),         TEST(grids_enlarge_and_place_exactly),
        TEST(overlay_respects_threshold_and_nan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
