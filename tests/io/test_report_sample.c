/* One report with every kind of figure, on generated data: written to build/tests/sample-report.html, to be
 * looked at. The data are simple functions of a counter, so the page is the same on every machine. */
#include "../harness/harness.h"
#include "../harness/markup.h"

#include "core/rng.h"
#include "io/files.h"
#include "io/report/html.h"

#include <math.h>

static const char COMMAND[] = "gyrus train haxby --config tiny --seed 1 --out runs/demo";

static gy_figure_head head(const char *title, const char *caption, const char *alt, int64_t n, const char *n_of,
                           gy_chance chance) {
    return (gy_figure_head){.title = title,
                            .caption = caption,
                            .alt = alt,
                            .command = COMMAND,
                            .n = n,
                            .n_of = n_of,
                            .chance = chance,
                            .side = GY_SIDE_NONE};
}

static gy_status curves(gy_ctx *ctx, gy_figure *f) {
    enum { N = 60 };
    double x[N], train[N], held[N], lo[N], hi[N];
    gy_rng r;
    gy_rng_init(&r, 3, "curves");
    for (int i = 0; i < N; i++) {
        x[i] = 10.0 * (i + 1);
        train[i] = 0.9 - 0.78 * exp(-i / 9.0) + 0.008 * gy_rng_normal(&r);
        held[i] = 0.7 - 0.57 * exp(-i / 7.0) + 0.012 * gy_rng_normal(&r);
        lo[i] = held[i] - 0.06, hi[i] = held[i] + 0.06;
    }
    const gy_series s[2] = {{"training runs", N, x, train, NULL, NULL}, {"held-out run", N, x, held, lo, hi}};
    const gy_line_chart c = {
        .head =
            head("Accuracy while training",
                 "The network learns the training runs (solid) faster than the run it never sees (dashed). The gap is "
                 "overfitting; what counts is the dashed line. The band is the spread over the twelve runs that were "
                 "left out in turn.",
                 "Two rising curves. Training accuracy levels off near 0.9, held-out accuracy near 0.7, both far "
                 "above chance at 0.125.",
                 12, "left-out runs", gy_chance_at(0.125)),
        .x = {.label = "step", .unit = GY_NO_UNIT},
        .y = {.label = "accuracy", .unit = "proportion", .lo = 0, .hi = 1},
        .series = s,
        .n_series = 2,
        .error_is = "band: 95 % interval over runs"};
    return gy_figure_line(ctx, &c, f);
}

static gy_status losses(gy_ctx *ctx, gy_figure *f) {
    enum { N = 5000 };
    static double y[3][N];
    gy_rng r;
    gy_rng_init(&r, 4, "losses");
    for (int i = 0; i < N; i++)
        for (int k = 0; k < 3; k++)
            y[k][i] = (2.1 * exp(-i / (300.0 + 500 * k)) + 0.004 * (k + 1)) * exp(0.18 * gy_rng_normal(&r));
    y[0][2600] = 3; /* a spike that thinning must not lose */
    const gy_series s[3] = {{"learning rate 1e-2", N, NULL, y[0], NULL, NULL},
                            {"learning rate 3e-3", N, NULL, y[1], NULL, NULL},
                            {"learning rate 1e-3", N, NULL, y[2], NULL, NULL}};
    const gy_line_chart c = {.head =
                                 head("Loss for three learning rates",
                                      "Cross-entropy on a log axis: a straight line down is a constant rate of "
                                      "progress. The spike is one bad batch.",
                                      "Three falling curves; the highest learning rate falls first and has one spike.",
                                      5000, "steps", gy_no_chance()),
                             .x = {.label = "step", .unit = GY_NO_UNIT},
                             .y = {.label = "cross-entropy", .unit = "nats", .log = true},
                             .series = s,
                             .n_series = 3};
    return gy_figure_line(ctx, &c, f);
}

static gy_status bars(gy_ctx *ctx, gy_figure *f) {
    const gy_bar b[] = {{"face", 0.92, 0.88, 0.96},     {"house", 0.97, 0.94, 1.0},
                        {"cat", 0.55, 0.48, 0.62},      {"bottle", 0.46, 0.38, 0.54},
                        {"scissors", 0.49, 0.41, 0.57}, {"shoe", 0.58, 0.50, 0.66},
                        {"chair", 0.52, 0.45, 0.59},    {"scrambled picture", 0.95, 0.91, 0.99}};
    const gy_bar_chart c = {.head =
                                head("Correct answers by category",
                                     "Faces and houses stand out because whole patches of the ventral temporal cortex "
                                     "respond to them; small objects share their patterns and are confused.",
                                     "Eight bars, all above the chance line at 0.125; faces, houses and scrambled "
                                     "pictures near 0.95, the rest near 0.5.",
                                     864, "held-out volumes", gy_chance_at(0.125)),
                            .label = "category that was shown",
                            .y = {.label = "correct", .unit = "proportion", .lo = 0, .hi = 1},
                            .bars = b,
                            .n_bars = 8,
                            .error_is = "bars: s.e.m. over 12 runs"};
    return gy_figure_bars(ctx, &c, f);
}

static const char *const CLASSES[8] = {"face", "house", "cat", "bottle", "scissors", "shoe", "chair", "scrambled"};

static gy_status confusion(gy_ctx *ctx, gy_figure *f) {
    double v[64];
    gy_rng r;
    gy_rng_init(&r, 5, "confusion");
    for (int i = 0; i < 64; i++) {
        int a = i / 8, b = i % 8, objects = a > 1 && a < 7 && b > 1 && b < 7;
        v[i] = a == b ? (objects ? 56 : 96) : objects ? 9 + 3 * fabs(gy_rng_normal(&r)) : fabs(gy_rng_normal(&r));
        v[i] = floor(v[i]);
    }
    const gy_heatmap c = {
        .head = head("Which category is taken for which",
                     "Rows are what was shown, columns what the decoder said. A perfect decoder fills the "
                     "diagonal alone. The block in the middle is the small objects.",
                     "Confusion matrix of eight categories with a dark diagonal and a faint block of "
                     "confusions among cat, bottle, scissors, shoe and chair.",
                     864, "held-out volumes", gy_chance_at(0.125)),
        .values = v,
        .rows = 8,
        .cols = 8,
        .row_names = CLASSES,
        .col_names = CLASSES,
        .row_label = "shown",
        .col_label = "decoded",
        .value = {.label = "share of the row", .unit = "proportion"},
        .row_normalised = true,
        .decimals = 2};
    return gy_figure_heatmap(ctx, &c, f);
}

static gy_status similarity(gy_ctx *ctx, gy_figure *f) {
    enum { N = 96 };
    static double v[N * N];
    for (int i = 0; i < N * N; i++) {
        int a = i / N, b = i % N;
        v[i] = a == b ? 1 : 0.75 * cos(0.13 * (a - b)) * exp(-fabs(0.025 * (a - b))) - (a / 12 == b / 12 ? 0.0 : 0.12);
    }
    const gy_heatmap c = {
        .head = head("Similarity of the patterns",
                     "Correlation between the response patterns of all pairs of blocks, in the order they "
                     "were measured. Blue pairs are opposite, orange pairs alike.",
                     "A square matrix, orange near the diagonal, with blue bands to its sides.", 96, "blocks",
                     gy_chance_at(0)),
        .values = v,
        .rows = N,
        .cols = N,
        .row_label = "block",
        .col_label = "block",
        .value = {.label = "correlation", .unit = "r"},
        .map = GY_MAP_DIVERGING};
    return gy_figure_heatmap(ctx, &c, f);
}

static gy_status scatter(gy_ctx *ctx, gy_figure *f) {
    enum { N = 240 };
    static double x[3][N], y[3][N];
    gy_rng r;
    gy_rng_init(&r, 6, "scatter");
    for (int k = 0; k < 3; k++)
        for (int i = 0; i < N; i++) {
            double z = gy_rng_normal(&r);
            x[k][i] = 0.28 + 0.08 * k + 0.10 * z;
            y[k][i] = x[k][i] + 0.05 * k + 0.05 * gy_rng_normal(&r);
        }
    const gy_series s[3] = {{"V1", N, x[0], y[0], NULL, NULL},
                            {"lateral occipital", N, x[1], y[1], NULL, NULL},
                            {"fusiform", N, x[2], y[2], NULL, NULL}};
    gy_scatter c = {.head =
                        head("Encoding model against ridge baseline",
                             "Each mark is a voxel. Above the line the network predicts it better than the baseline.",
                             "Three clouds of points along the diagonal; higher areas lie above it.", 720, "voxels",
                             gy_chance_at(0)),
                    .x = {.label = "ridge: correlation with the response", .unit = "r"},
                    .y = {.label = "network: correlation with the response", .unit = "r"},
                    .series = s,
                    .n_series = 3,
                    .identity = true};
    c.head.side = GY_SIDE_LEFT;
    return gy_figure_scatter(ctx, &c, f);
}

static gy_status permutations(gy_ctx *ctx, gy_figure *f) {
    enum { N = 1000 };
    static double v[N];
    gy_rng r;
    gy_rng_init(&r, 7, "null");
    for (int i = 0; i < N; i++) v[i] = 0.125 + 0.021 * gy_rng_normal(&r);
    const gy_histogram c = {.head =
                                head("What guessing looks like",
                                     "Accuracy after shuffling the labels within runs, a thousand times. If the true "
                                     "labels meant nothing, the observed value would lie among these.",
                                     "A bell of accuracies around 0.125, and far to its right the observed 0.68.", N,
                                     "permutations", gy_chance_at(0.125)),
                            .x = {.label = "accuracy", .unit = "proportion"},
                            .values = v,
                            .n_values = N,
                            .has_observed = true,
                            .observed = 0.683,
                            .observed_is = "with the true labels"};
    return gy_figure_histogram(ctx, &c, f);
}

enum { NX = 40, NY = 52, NZ = 34 };

/* An ellipsoid with folds, darker ventricles, and a map with two spots: positive on the right, negative left. */
static void phantom(float *base, float *map) {
    for (int k = 0; k < NZ; k++)
        for (int j = 0; j < NY; j++)
            for (int i = 0; i < NX; i++) {
                double x = (i - 19.5) / 17, y = (j - 25.5) / 23, z = (k - 16) / 15.0;
                double rr = sqrt(x * x + y * y + z * z), fold = 0.06 * sin(14 * x + 3 * z) * cos(11 * y - 4 * z);
                double in = rr < 0.97 + fold ? 1 : 0, cleft = fabs(x) < 0.03 && rr > 0.45 ? 0.35 : 1;
                double ventricle = fabs(fabs(x) - 0.16) < 0.08 && fabs(y) < 0.35 && fabs(z - 0.1) < 0.25 ? 0.3 : 1;
                double rim = rr > 0.74 + fold ? 0.72 : 1;
                int64_t at = i + NX * (j + NY * k);
                base[at] = (float)(820 * in * cleft * ventricle * rim);
                double right = exp(-((x - 0.5) * (x - 0.5) + (y + 0.45) * (y + 0.45) + (z + 0.2) * (z + 0.2)) / 0.05);
                double left = exp(-((x + 0.5) * (x + 0.5) + (y + 0.35) * (y + 0.35) + (z + 0.1) * (z + 0.1)) / 0.04);
                map[at] = in > 0 ? (float)(3.1 * right - 2.4 * left) : NAN;
            }
}

static gy_status brain(gy_ctx *ctx, gy_plane plane, int64_t n, int64_t columns, gy_figure *f) {
    static float base[NX * NY * NZ], map[NX * NY * NZ];
    phantom(base, map);
    gy_mosaic c = {.head =
                       head(plane == GY_PLANE_AXIAL ? "Where the decoder looks" : "The same map from the side",
                            "Weights of the linear decoder for face against house, over the mean functional image. "
                            "Orange voxels speak for a face, blue ones for a house. The subject's left is marked L.",
                            "Slices of a brain with an orange spot in the right and a blue spot in the left "
                            "hemisphere, towards the back.",
                            576, "volumes", gy_no_chance()),
                   .base = base,
                   .base_is = "grey: mean functional image",
                   .map = map,
                   .dim = {NX, NY, NZ},
                   .orientation = "RAS",
                   .affine = {{3.5, 0, 0, -68}, {0, 3.5, 0, -100}, {0, 0, 3.75, -50}},
                   .value = {.label = "weight", .unit = "1/s.d."},
                   .threshold = 0.4,
                   .plane = plane,
                   .n_slices = n,
                   .columns = columns};
    c.head.side = GY_SIDE_BOTH;
    return gy_figure_mosaic(ctx, &c, f);
}

static gy_status pictures(gy_ctx *ctx, gy_figure *f) {
    enum { N = 12, W = 24 };
    static float v[W * W * 3];
    gy_image img[N] = {{0}};
    const char *const names[N] = {"shown 1", "shown 2", "shown 3", "shown 4", "shown 5", "shown 6",
                                  "decoded", "decoded", "decoded", "decoded", "decoded", "decoded"};
    gy_status st = GY_OK;
    for (int k = 0; st == GY_OK && k < N; k++) {
        double soft = k < 6 ? 40 : 6;
        for (int i = 0; i < W * W; i++) {
            double x = (i % W - 11.5) / 12, y = (i / W - 11.5) / 12, a = 0.6 * (k % 6);
            double d = 0.55 - hypot(x - 0.3 * cos(a), y - 0.3 * sin(a)), on = 1 / (1 + exp(-soft * d));
            v[3 * i] = (float)(0.15 + 0.75 * on), v[3 * i + 1] = (float)(0.25 + 0.1 * (k % 6) * on),
                  v[3 * i + 2] = (float)(0.55 - 0.4 * on);
        }
        st = gy_raster_image(ctx, v, W, W, 3, &img[k]);
    }
    const gy_pictures c = {.head = head("Pictures seen and pictures decoded",
                                        "Top: what the subject saw. Bottom: what the decoder drew from the activity.",
                                        "Six discs on blue ground and, below each, a blurred copy.", 6,
                                        "held-out pictures", gy_no_chance()),
                           .value = {.label = "pixel values", .unit = "sRGB, 0 to 255"},
                           .images = img,
                           .names = names,
                           .n_images = N};
    if (st == GY_OK) st = gy_figure_pictures(ctx, &c, f);
    for (int k = 0; k < N; k++) gy_image_free(ctx, &img[k]);
    return st;
}

static void put(gy_ctx *ctx, gy_report *r, const char *panel, gy_status st, gy_figure *f) {
    assert_ok(ctx, st);
    assert_markup(f->svg);
    assert_ok(ctx, gy_report_figure(r, panel, f));
    gy_figure_free(ctx, f);
}

static void every_kind_of_figure_stands_in_one_report(void **state) {
    gy_ctx *ctx = *state;
    gy_report *r;
    gy_figure f;
    assert_ok(ctx,
              gy_report_new(ctx,
                            (gy_report_args){.title = "What was the subject looking at?",
                                             .subtitle = "A sample page on generated numbers: every kind of figure, "
                                                         "table and box that a Gyrus report can hold.",
                                             .command = COMMAND},
                            &r));
    static const char *const plan[][2] = {{"curves", "accuracy while training"},
                                          {"confusion", "confusion matrix"},
                                          {"map", "weights on the brain"},
                                          {"flat", "weights on the flattened cortex"},
                                          {"latency", "decoding time over the trial"}};
    for (int i = 0; i < 5; i++) assert_ok(ctx, gy_report_plan(r, plan[i][0], plan[i][1]));
    static const char *const facts[][2] = {{"model", "haxby / tiny"},
                                           {"data", "generated (not a measurement)"},
                                           {"subject", "1 of 6"},
                                           {"voxels", "577 (ventral temporal)"},
                                           {"parameters", "41,864"},
                                           {"seed", "1"},
                                           {"held-out accuracy", "0.68"},
                                           {"chance", "0.125"},
                                           {"wall time", "48 s on 2 threads"}};
    for (int i = 0; i < 9; i++) assert_ok(ctx, gy_report_fact(r, facts[i][0], facts[i][1]));

    gy_report_section(r, "The question");
    gy_report_text(
        r, "A person lies in a scanner and looks at pictures of eight kinds. Every 2.5 s the scanner measures how "
           "much oxygen the blood carries at each small cube, or voxel, of the brain. Can we tell from one such "
           "measurement, a `volume`, which kind of picture was on the screen?\n\nWe train on eleven runs and ask "
           "about the twelfth, then leave out another one, until each run was once the test.");
    gy_report_formula(
        r, "W = (X\xe1\xb5\x80X + \xce\xbbI)\xe2\x81\xbb\xc2\xb9 X\xe1\xb5\x80Y",
        "Ridge regression: `X` holds one volume a row, `Y` the categories as 0 and 1; \xce\xbb keeps the weights "
        "small, since there are more voxels than volumes.");
    gy_report_section(r, "Learning");
    put(ctx, r, "curves", curves(ctx, &f), &f);
    put(ctx, r, NULL, losses(ctx, &f), &f);
    gy_report_section(r, "Result");
    put(ctx, r, NULL, bars(ctx, &f), &f);
    put(ctx, r, "confusion", confusion(ctx, &f), &f);
    static const char *const columns[] = {"method", "accuracy", "95 % interval", "parameters", "note"};
    static const char *const cells[] = {"chance",
                                        "0.125",
                                        "n/a",
                                        "0",
                                        "always the same answer",
                                        "ridge",
                                        "0.68",
                                        "0.64 \xe2\x80\x93 0.72",
                                        "4,624",
                                        "one \xce\xbb by inner folds",
                                        "network, tiny",
                                        "0.70",
                                        "0.66 \xe2\x80\x93 0.74",
                                        "41,864",
                                        "two layers, dropout 0.3"};
    const gy_report_rows table = {.caption = "Accuracy (proportion of 864 held-out volumes) by method.",
                                  .command = "gyrus eval runs/demo",
                                  .columns = columns,
                                  .cells = cells,
                                  .n_columns = 5,
                                  .n_rows = 3};
    assert_ok(ctx, gy_report_table(r, NULL, &table));
    put(ctx, r, NULL, permutations(ctx, &f), &f);
    gy_report_section(r, "Where in the brain");
    put(ctx, r, "map", brain(ctx, GY_PLANE_AXIAL, 12, 6, &f), &f);
    put(ctx, r, NULL, brain(ctx, GY_PLANE_SAGITTAL, 4, 4, &f), &f);
    gy_report_explain(r, "flat", "a flat map needs a cortical surface, and this data set comes without one.");
    put(ctx, r, NULL, similarity(ctx, &f), &f);
    put(ctx, r, NULL, scatter(ctx, &f), &f);
    gy_report_section(r, "Pictures");
    put(ctx, r, NULL, pictures(ctx, &f), &f);
    gy_report_details(r, "How the folds were made");
    gy_report_text(
        r, "Each run is standardised by its own mean and spread, never by those of another run, so nothing of the "
           "held-out run leaks into training.");
    gy_report_details_end(r);
    gy_report_term(r, "voxel",
                   "A small cube of the brain, here 3.5 \xc3\x97 3.5 \xc3\x97 3.75 mm, that the scanner measures as "
                   "one number.");
    gy_report_term(r, "run",
                   "A stretch of scanning without a break. Volumes of one run resemble each other, so training and "
                   "test never share a run.");
    gy_report_term(r, "permutation test",
                   "The analysis repeated with shuffled labels, to see which accuracies come from "
                   "chance alone.");
    char *html;
    size_t size;
    assert_ok(ctx, gy_report_bytes(r, &html, &size));
    assert_markup(html);
    assert_int_equal(count_of(html, "<figure "), 11);
    assert_int_equal(count_of(html, "Not shown: "), 2);
    assert_int_equal(count_of(html, "<script"), 0);
    assert_true(size < 1500000);
    gy_free(ctx, html);
    assert_ok(ctx, gy_make_dirs(ctx, "build/tests"));
    assert_ok(ctx, gy_report_write(r, "build/tests/sample-report.html"));
    gy_report_free(r);
}

int main(void) {
    const struct CMUnitTest tests[] = {TEST(every_kind_of_figure_stands_in_one_report)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
