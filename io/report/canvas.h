/* canvas.h: what the chart files share: checks of required members, the SVG frame, text that never
 * overlaps, scales and ticks. Internal to io/report. Lengths are SVG user units (CSS pixels at the
 * figure's natural width of GY_FIGURE_WIDTH). */
#ifndef GY_REPORT_CANVAS_H
#define GY_REPORT_CANVAS_H

#include "figure.h"

enum { GY_FIGURE_WIDTH = 720, GY_LABEL_CAP = 48 };

typedef struct gy_canvas {
    gy_text t;
    gy_ctx *ctx;
    double width, height;
    double top; /* first free line below title, facts and legend */
} gy_canvas;

/* ---- required members ---- */
gy_status gy_need_head(gy_ctx *ctx, const char *kind, const gy_figure_head *h);
gy_status gy_need(gy_ctx *ctx, const char *kind, const gy_figure_head *h, bool present, const char *member,
                  const char *why);
gy_status gy_need_axis(gy_ctx *ctx, const char *kind, const gy_figure_head *h, const gy_axis *a, const char *name);
gy_status gy_need_series(gy_ctx *ctx, const char *kind, const gy_figure_head *h, const gy_series *s, int64_t n,
                         bool x_needed);

/* ---- frame ---- */
/* Starts the SVG: style, accessible title and description, visible title and the facts (n, chance, side, then up
 * to two remarks, NULL for none), which wrap. `height` counts one line of facts; canvas->height and
 * canvas->top, the first free line below them, hold the true values. */
void gy_canvas_open(gy_canvas *c, gy_ctx *ctx, const gy_figure_head *h, double width, double height,
                    const char *const remarks[2]);
enum { GY_HEAD_HEIGHT = 60 }; /* of title and one line of facts */
/* Ends the SVG and hands the figure over; on failure nothing is left allocated. `st` is the drawing's status. */
gy_status gy_canvas_close(gy_canvas *c, const gy_figure_head *h, gy_status st, gy_figure *out);

typedef enum gy_anchor { GY_START, GY_MIDDLE, GY_END } gy_anchor;
/* A stranger's text, cut to fit `room` user units (0: no limit but GY_LABEL_CAP). cls: "k" tick, "l" label, "t"
 * title, "f" facts, "b" strong. `turn` in degrees about (x, y). */
void gy_canvas_text(gy_canvas *c, double x, double y, const char *cls, gy_anchor a, double turn, double room,
                    const char *s);
double gy_canvas_width_of(const char *s); /* of a tick or label text, capped at GY_LABEL_CAP */
/* "label (unit)" or "label" for GY_NO_UNIT; owned, NULL on failure. */
char *gy_axis_text(gy_ctx *ctx, const gy_axis *a);

/* Legend entries in rows below the head; returns the rows' height without drawing when c is NULL.
 * Lines are dashed by series so that colour is not the only sign, unless they have so many points that
 * dashes would turn to noise (`dense`). */
typedef enum gy_legend { GY_LEGEND_LINE, GY_LEGEND_DENSE, GY_LEGEND_MARKER } gy_legend;
double gy_canvas_legend(gy_canvas *c, const gy_series *s, int64_t n, gy_legend kind);
void gy_canvas_marker(gy_canvas *c, double x, double y, double r, int64_t series);

/* ---- scales ---- */
typedef struct gy_scale {
    double lo, hi;   /* data */
    double from, to; /* pixels */
    bool log;
} gy_scale;
double gy_scale_at(const gy_scale *s, double v);

enum { GY_MAX_TICKS = 24 };
typedef struct gy_ticks {
    int n;
    double v[GY_MAX_TICKS];
    char label[GY_MAX_TICKS][GY_NUMBER_TEXT];
} gy_ticks;
/* About `want` ticks at 1, 2 or 5 times a power of ten inside [lo, hi] (powers of ten when log). */
void gy_ticks_for(const gy_scale *s, int want, gy_ticks *out);
double gy_ticks_width(const gy_ticks *t); /* of the widest label */

/* Range of the finite values (positive ones if log) of n numbers, widened into *lo, *hi; start with lo > hi. */
void gy_range_add(const double *v, int64_t n, bool log, double *lo, double *hi);
/* Fixed range if the axis has one, else the data's, opened by 4 % at each end or to round powers; never empty. */
void gy_range_finish(const gy_axis *a, double *lo, double *hi);

/* ---- plot ---- */
typedef struct gy_plot {
    double left, right, top, bottom;
    gy_scale x, y;
} gy_plot;
/* Grid, axes, ticks and labels of a plot with numbers on both axes. `p` has its outer box; left is moved in for
 * the y labels. x_ticks false: the caller draws names below. */
void gy_plot_axes(gy_canvas *c, gy_plot *p, const gy_axis *x, const gy_axis *y, bool x_ticks);
/* Opens and closes the layer that clips to the plot. */
void gy_plot_clip(gy_canvas *c, const gy_plot *p);
void gy_plot_unclip(gy_canvas *c);
/* The dashed line of the chance level with its word, across (level on y) or up (level on x). */
void gy_plot_chance(gy_canvas *c, const gy_plot *p, gy_chance chance, bool on_x);

/* Names below columns of width `slot`: level if they fit, else turned; every k-th if even that is too tight. */
double gy_names_height(const char *const *names, int64_t n, double slot);
void gy_names_below(gy_canvas *c, const char *const *names, int64_t n, double left, double top, double slot);

/* Vertical colour bar at x from top to bottom with ticks, label above; |v| < threshold drawn grey. */
void gy_canvas_colorbar(gy_canvas *c, double x, double top, double bottom, gy_colormap map, double lo, double hi,
                        double threshold, const gy_axis *value, gy_chance chance);

void gy_canvas_image(gy_canvas *c, double x, double y, double w, double h, const gy_image *img, gy_status *st);

#endif
