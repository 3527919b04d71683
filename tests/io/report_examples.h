/* report_examples.h: the smallest complete descriptions, which a test then breaks one member at a time. */
#ifndef GY_TEST_REPORT_EXAMPLES_H
#define GY_TEST_REPORT_EXAMPLES_H

#include "io/report/figure.h"

static inline gy_figure_head good_head(void) {
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

static inline gy_line_chart good_line(void) {
    return (gy_line_chart){.head = good_head(),
                           .x = {.label = "step", .unit = GY_NO_UNIT},
                           .y = {.label = "accuracy", .unit = "proportion"},
                           .series = &ONE,
                           .n_series = 1};
}

enum { VX = 4, VY = 5, VZ = 3 };
static inline gy_mosaic good_mosaic(const float *base) {
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

#endif
