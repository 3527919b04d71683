/* Matrices and picture grids: heat map, stimuli and reconstructions. */
#include "canvas.h"

#include <math.h>
#include <string.h>

/* ---- heat map ---- */

enum { CELLS_WITH_TEXT = 24, CELLS_AS_RECTS = 48 };

/* The values as shown: divided by the row's sum if asked for. A row that sums to zero has no shares: NaN. */
static double *shown_values(gy_ctx *ctx, const gy_heatmap *c) {
    double *v = gy_calloc(ctx, (size_t)(c->rows * c->cols), sizeof *v);
    for (int64_t r = 0; v && r < c->rows; r++) {
        double sum = 0;
        for (int64_t k = 0; k < c->cols; k++) sum += c->values[r * c->cols + k];
        for (int64_t k = 0; k < c->cols; k++)
            v[r * c->cols + k] =
                c->row_normalised ? (sum != 0 ? c->values[r * c->cols + k] / sum : NAN) : c->values[r * c->cols + k];
    }
    return v;
}

static void heat_range(const gy_heatmap *c, const double *v, double *lo, double *hi) {
    bool diverging = c->map == GY_MAP_DIVERGING || c->map == GY_MAP_DIVERGING_DARK;
    if (c->value.lo < c->value.hi) {
        *lo = c->value.lo, *hi = c->value.hi;
    } else if (c->row_normalised) {
        *lo = 0, *hi = 1;
    } else {
        *lo = 1, *hi = 0;
        gy_range_add(v, c->rows * c->cols, false, lo, hi);
        if (*lo > *hi) *lo = 0, *hi = 1;
    }
    if (diverging) {
        *hi = fmax(fabs(*lo), fabs(*hi));
        *lo = -*hi;
    }
    if (!(*lo < *hi)) {
        double pad = *lo != 0 ? fabs(*lo) * 0.5 : 1;
        *lo -= pad, *hi += pad;
    }
}

/* One square a cell, with its number in black or white, whichever reads better on the colour. */
static void draw_cells(gy_canvas *cv, const gy_heatmap *c, const double *v, double lo, double hi, double left,
                       double top, double w, double h) {
    char num[GY_NUMBER_TEXT];
    double room = 0;
    for (int64_t i = 0; i < c->rows * c->cols; i++)
        room = fmax(room, gy_canvas_width_of(gy_number_fixed(v[i], c->decimals, num)));
    bool text = c->rows <= CELLS_WITH_TEXT && c->cols <= CELLS_WITH_TEXT && room + 4 <= w && h >= 15;
    double gap = w > 12 && h > 12 ? 1.5 : 0;
    for (int64_t i = 0; i < c->rows * c->cols; i++) {
        double x = left + (double)(i % c->cols) * w, y = top + (double)(i / c->cols) * h;
        gy_rgb rgb = gy_colormap_at(c->map, (v[i] - lo) / (hi - lo));
        GY_DRAW(&cv->t, "<rect x=\"%\" y=\"%\" width=\"%\" height=\"%\" rx=\"%\"", x, y, w - gap, h - gap,
                gap > 0 ? 2.0 : 0.0);
        if (isfinite(v[i]))
            GY_DRAW(&cv->t, " fill=\"rgb(%,%,%)\"/>", rgb.r, rgb.g, rgb.b);
        else
            gy_text_put(&cv->t, " fill=\"var(--none)\"/>");
        if (!text) continue;
        const char *cls = !isfinite(v[i]) ? "k" : gy_rgb_lightness(rgb) > 0.62 ? "d" : "w";
        gy_canvas_text(cv, x + (w - gap) / 2, y + (h - gap) / 2 + 4, cls, GY_MIDDLE, 0, 0,
                       gy_number_fixed(v[i], c->decimals, num));
    }
}

static gy_status draw_pixels(gy_canvas *cv, const gy_heatmap *c, const double *v, double lo, double hi, double left,
                             double top, double w, double h) {
    float *f = gy_malloc(cv->ctx, (size_t)(c->rows * c->cols) * sizeof *f);
    if (!f) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < c->rows * c->cols; i++) f[i] = isfinite(v[i]) ? (float)v[i] : NAN;
    gy_image img;
    gy_status st = gy_raster_map(cv->ctx, f, c->rows, c->cols, c->map, lo, hi, &img);
    gy_canvas_image(cv, left, top, w, h, &img, &st);
    gy_image_free(cv->ctx, &img);
    gy_free(cv->ctx, f);
    return st;
}

gy_status gy_figure_heatmap(gy_ctx *ctx, const gy_heatmap *c, gy_figure *out) {
    *out = (gy_figure){0};
    static const char kind[] = "heat map";
    const gy_figure_head *h = &c->head;
    gy_status st = gy_need_head(ctx, kind, h);
    if (st == GY_OK) st = gy_need_axis(ctx, kind, h, &c->value, "value");
    if (st == GY_OK) st = gy_need(ctx, kind, h, c->row_label && *c->row_label, "row_label", "expected what rows are");
    if (st == GY_OK)
        st = gy_need(ctx, kind, h, c->col_label && *c->col_label, "col_label", "expected what columns are");
    if (st == GY_OK) st = gy_need(ctx, kind, h, c->values != NULL, "values", "expected rows x cols numbers");
    if (st != GY_OK) return st;
    if (c->rows < 1 || c->cols < 1 || c->rows > 16384 || c->cols > 16384 || c->value.log)
        return gy_refuse(ctx, GY_ERR_SHAPE,
                         "%s '%.80s': expected 1 to 16384 rows and columns on a linear scale, found "
                         "%lld x %lld",
                         kind, h->title, (long long)c->rows, (long long)c->cols);
    double *v = shown_values(ctx, c), lo, hi;
    if (!v) return GY_ERR_NOMEM;
    heat_range(c, v, &lo, &hi);

    double label_w = 0;
    for (int64_t r = 0; c->row_names && r < c->rows; r++) label_w = fmax(label_w, gy_canvas_width_of(c->row_names[r]));
    label_w = fmin(label_w, 150);
    double left = 22 + label_w + 18, room = GY_FIGURE_WIDTH - 110 - left;
    double w = fmin(room / (double)c->cols, 58), hh = fmin(fmin(w, 440.0 / (double)c->rows), 44);
    if (c->rows > CELLS_AS_RECTS || c->cols > CELLS_AS_RECTS) /* pixels keep the matrix's proportions */
        w = hh = fmin(room / (double)c->cols, 440.0 / (double)c->rows);
    double grid_w = w * (double)c->cols, grid_h = hh * (double)c->rows;
    double foot = (c->col_names ? gy_names_height(c->col_names, c->cols, w) : 8) + 30;
    double bar_h = fmax(grid_h, 110);

    gy_canvas cv;
    gy_canvas_open(&cv, ctx, h, GY_FIGURE_WIDTH, GY_HEAD_HEIGHT + 12 + bar_h + foot,
                   (const char *const[2]){c->row_normalised ? "each row divided by its sum" : NULL});
    double top = cv.top + 6, bottom = top + grid_h;
    if (c->rows > CELLS_AS_RECTS || c->cols > CELLS_AS_RECTS)
        st = draw_pixels(&cv, c, v, lo, hi, left, top, grid_w, grid_h);
    else
        draw_cells(&cv, c, v, lo, hi, left, top, w, hh);
    int64_t every = hh >= 14 ? 1 : (int64_t)ceil(14 / hh);
    for (int64_t r = 0; c->row_names && r < c->rows; r += every)
        gy_canvas_text(&cv, left - 8, top + ((double)r + 0.5) * hh + 4, "k", GY_END, 0, 150, c->row_names[r]);
    if (c->col_names) gy_names_below(&cv, c->col_names, c->cols, left, bottom, w);
    gy_canvas_text(&cv, 20, (top + bottom) / 2, "l", GY_MIDDLE, -90, fmax(grid_h, 100), c->row_label);
    gy_canvas_text(&cv, left + grid_w / 2, bottom + foot - 12, "l", GY_MIDDLE, 0, 0, c->col_label);
    gy_canvas_colorbar(&cv, left + grid_w + 24, top, top + bar_h, c->map, lo, hi, 0, &c->value, h->chance);
    gy_free(ctx, v);
    return gy_canvas_close(&cv, h, st, out);
}

/* ---- picture grid ---- */

gy_status gy_figure_pictures(gy_ctx *ctx, const gy_pictures *c, gy_figure *out) {
    *out = (gy_figure){0};
    static const char kind[] = "picture grid";
    const gy_figure_head *h = &c->head;
    gy_status st = gy_need_head(ctx, kind, h);
    if (st == GY_OK) st = gy_need_axis(ctx, kind, h, &c->value, "value");
    if (st == GY_OK) st = gy_need(ctx, kind, h, c->images && c->n_images > 0, "images", "expected at least one");
    if (st != GY_OK) return st;
    int64_t columns = c->columns > 0 ? c->columns : 6;
    if (columns > c->n_images) columns = c->n_images;
    int64_t rows = (c->n_images + columns - 1) / columns;
    double aspect = 0; /* the tallest picture decides the height of a row */
    for (int64_t i = 0; i < c->n_images; i++) {
        const gy_image *m = &c->images[i];
        if (m->width < 1 || m->height < 1 || m->bit_depth != 8 || !m->pixels)
            return gy_refuse(ctx, GY_ERR_SHAPE,
                             "%s '%.80s': picture %lld: expected 8-bit pixels, found %lld x %lld of %d "
                             "bits",
                             kind, h->title, (long long)i, (long long)m->width, (long long)m->height, m->bit_depth);
        aspect = fmax(aspect, (double)m->height / (double)m->width);
    }
    enum { GAP = 10 };
    double w = fmin((GY_FIGURE_WIDTH - 24.0 - GAP * (double)(columns - 1)) / (double)columns, 160);
    double row_h = w * aspect + (c->names ? 22 : 0) + GAP;
    char *more = gy_axis_text(ctx, &c->value);
    if (!more) return GY_ERR_NOMEM;
    gy_canvas cv;
    gy_canvas_open(&cv, ctx, h, GY_FIGURE_WIDTH, GY_HEAD_HEIGHT + (double)rows * row_h + 6,
                   (const char *const[2]){more});
    gy_free(ctx, more);
    for (int64_t i = 0; i < c->n_images; i++) {
        const gy_image *m = &c->images[i];
        double x = 12 + (double)(i % columns) * (w + GAP), y = cv.top + (double)(i / columns) * row_h;
        gy_canvas_image(&cv, x, y, w, w * (double)m->height / (double)m->width, m, &st);
        if (c->names) gy_canvas_text(&cv, x + w / 2, y + w * aspect + 16, "k", GY_MIDDLE, 0, w, c->names[i]);
    }
    return gy_canvas_close(&cv, h, st, out);
}
