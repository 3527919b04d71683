/* Line, bar, scatter and histogram. Each: check what is required, find the ranges, draw back to front. */
#include "canvas.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static double x_of(const gy_series *s, int64_t i) {
    return s->x ? s->x[i] : (double)(i + 1);
}

static bool shown(double v, bool log) {
    return isfinite(v) && (!log || v > 0);
}

/* ---- line ---- */

enum { MANY_POINTS = 800, GROUPS = 400 };

static void point(gy_text *t, const gy_plot *p, double x, double y, bool *pen) {
    if (!shown(x, p->x.log) || !shown(y, p->y.log)) {
        *pen = false;
        return;
    }
    GY_DRAW(t, *pen ? "L% %" : "M% %", gy_scale_at(&p->x, x), gy_scale_at(&p->y, y));
    *pen = true;
}

static void draw_line(gy_text *t, const gy_plot *p, const gy_series *s) {
    bool pen = false;
    if (s->n <= MANY_POINTS) {
        for (int64_t i = 0; i < s->n; i++) point(t, p, x_of(s, i), s->y[i], &pen);
        return;
    }
    /* Two points a group, its least and its greatest, in the order they come: every spike stays visible. */
    for (int64_t g = 0; g < GROUPS; g++) {
        int64_t from = s->n * g / GROUPS, to = s->n * (g + 1) / GROUPS, least = -1, greatest = -1;
        for (int64_t i = from; i < to; i++) {
            if (!shown(s->y[i], p->y.log)) continue;
            if (least < 0 || s->y[i] < s->y[least]) least = i;
            if (greatest < 0 || s->y[i] > s->y[greatest]) greatest = i;
        }
        if (least < 0) {
            pen = false;
            continue;
        }
        int64_t first = least < greatest ? least : greatest, second = least < greatest ? greatest : least;
        point(t, p, x_of(s, first), s->y[first], &pen);
        if (second != first) point(t, p, x_of(s, second), s->y[second], &pen);
    }
}

/* The band as one closed path a stretch of finite values: forward along hi, back along lo. */
static void draw_band(gy_text *t, const gy_plot *p, const gy_series *s) {
    int64_t step = s->n > MANY_POINTS ? s->n / GROUPS : 1;
    for (int64_t i = 0; i < s->n;) {
        int64_t end = i;
        while (end < s->n && shown(x_of(s, end), p->x.log) && shown(s->lo[end], p->y.log) &&
               shown(s->hi[end], p->y.log))
            end += step;
        if (end == i) {
            i += step;
            continue;
        }
        bool pen = false;
        for (int64_t j = i; j < end; j += step) point(t, p, x_of(s, j), s->hi[j], &pen);
        for (int64_t j = end - step; j >= i; j -= step) point(t, p, x_of(s, j), s->lo[j], &pen);
        gy_text_put(t, "z");
        i = end;
    }
}

gy_status gy_figure_line(gy_ctx *ctx, const gy_line_chart *c, gy_figure *out) {
    *out = (gy_figure){0};
    static const char kind[] = "line chart";
    const gy_figure_head *h = &c->head;
    gy_status st = gy_need_head(ctx, kind, h);
    if (st == GY_OK) st = gy_need_axis(ctx, kind, h, &c->x, "x");
    if (st == GY_OK) st = gy_need_axis(ctx, kind, h, &c->y, "y");
    if (st == GY_OK) st = gy_need_series(ctx, kind, h, c->series, c->n_series, false);
    if (st != GY_OK) return st;
    double xlo = 1, xhi = 0, ylo = 1, yhi = 0;
    bool band = false;
    for (int64_t i = 0; i < c->n_series; i++) {
        const gy_series *s = &c->series[i];
        if (!s->lo != !s->hi)
            return gy_refuse(ctx, GY_ERR_USAGE, "%s '%.80s': series.lo and series.hi: expected both or none", kind,
                             h->title);
        band = band || s->lo;
        double ends[2] = {1, (double)s->n};
        gy_range_add(s->x ? s->x : ends, s->x ? s->n : s->n > 0 ? 2 : 0, c->x.log, &xlo, &xhi);
        gy_range_add(s->y, s->n, c->y.log, &ylo, &yhi);
        gy_range_add(s->lo, s->n, c->y.log, &ylo, &yhi);
        gy_range_add(s->hi, s->n, c->y.log, &ylo, &yhi);
    }
    st = gy_need(ctx, kind, h, !band || (c->error_is && *c->error_is), "error_is",
                 "expected what the band shows, such as \"95 % interval over 12 runs\"");
    if (st != GY_OK) return st;
    if (h->chance.kind == GY_CHANCE_LEVEL) gy_range_add(&h->chance.level, 1, c->y.log, &ylo, &yhi);
    gy_range_finish(&c->y, &ylo, &yhi);
    if (c->x.lo == c->x.hi && !c->x.log && xlo < xhi) { /* curves start at the frame */
        gy_axis whole = c->x;
        whole.lo = xlo, whole.hi = xhi;
        gy_range_finish(&whole, &xlo, &xhi);
    } else
        gy_range_finish(&c->x, &xlo, &xhi);

    gy_legend look = GY_LEGEND_LINE;
    for (int64_t i = 0; i < c->n_series; i++)
        if (c->series[i].n > MANY_POINTS) look = GY_LEGEND_DENSE;
    double legend = gy_canvas_legend(NULL, c->series, c->n_series, look);
    gy_canvas cv;
    gy_canvas_open(&cv, ctx, h, GY_FIGURE_WIDTH, 400 + legend, (const char *const[2]){band ? c->error_is : NULL});
    gy_canvas_legend(&cv, c->series, c->n_series, look);
    gy_plot p = {.left = 12, .right = GY_FIGURE_WIDTH - 62, .top = cv.top + legend + 8, .bottom = cv.height - 52};
    p.x = (gy_scale){.lo = xlo, .hi = xhi, .log = c->x.log};
    p.y = (gy_scale){.lo = ylo, .hi = yhi, .log = c->y.log};
    gy_plot_axes(&cv, &p, &c->x, &c->y, true);
    gy_plot_chance(&cv, &p, h->chance, false);
    gy_plot_clip(&cv, &p);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < c->n_series; i++) {
            const gy_series *s = &c->series[i];
            if (s->n == 0 || (pass == 0 && !s->lo)) continue;
            GY_DRAW(&cv.t,
                    pass ? look == GY_LEGEND_LINE ? "<path class=\"s% y q%\" d=\"" : "<path class=\"s% y n\" d=\""
                         : "<path class=\"s% z\" d=\"",
                    (double)(i % GY_PALETTE_SIZE), (double)(i % 4));
            if (pass)
                draw_line(&cv.t, &p, s);
            else
                draw_band(&cv.t, &p, s);
            gy_text_put(&cv.t, "\"/>");
        }
    gy_plot_unclip(&cv);
    return gy_canvas_close(&cv, h, GY_OK, out);
}

/* ---- bars ---- */

gy_status gy_figure_bars(gy_ctx *ctx, const gy_bar_chart *c, gy_figure *out) {
    *out = (gy_figure){0};
    static const char kind[] = "bar chart";
    const gy_figure_head *h = &c->head;
    gy_status st = gy_need_head(ctx, kind, h);
    if (st == GY_OK) st = gy_need_axis(ctx, kind, h, &c->y, "y");
    if (st == GY_OK) st = gy_need(ctx, kind, h, c->label && *c->label, "label", "expected what the bars are");
    if (st == GY_OK) st = gy_need(ctx, kind, h, c->bars && c->n_bars > 0, "bars", "expected at least one");
    if (st != GY_OK) return st;
    if (c->y.log)
        return gy_refuse(ctx, GY_ERR_USAGE, "%s '%.80s': y.log: a bar starts at zero, which a log axis lacks", kind,
                         h->title);
    double lo = 0, hi = 0;
    bool errors = false;
    const char **names = gy_calloc(ctx, (size_t)c->n_bars, sizeof *names);
    if (!names) return GY_ERR_NOMEM;
    for (int64_t i = 0; st == GY_OK && i < c->n_bars; i++) {
        const gy_bar *b = &c->bars[i];
        st = gy_need(ctx, kind, h, b->name && *b->name, "bar.name", "expected what this bar is");
        names[i] = b->name;
        gy_range_add(&b->value, 1, false, &lo, &hi);
        if (b->lo < b->hi) {
            errors = true;
            gy_range_add(&b->lo, 1, false, &lo, &hi);
            gy_range_add(&b->hi, 1, false, &lo, &hi);
        }
    }
    if (st == GY_OK)
        st = gy_need(ctx, kind, h, !errors || (c->error_is && *c->error_is), "error_is",
                     "expected what the error bars show, such as \"s.e.m. over 12 runs\"");
    if (st != GY_OK) {
        gy_free(ctx, names);
        return st;
    }
    if (h->chance.kind == GY_CHANCE_LEVEL) gy_range_add(&h->chance.level, 1, false, &lo, &hi);
    bool below = lo<0, above = hi> 0 || !below;
    gy_range_finish(&c->y, &lo, &hi);
    if (!below || lo > 0) lo = 0; /* the length of a bar is its value, so zero is always in sight */
    if (!above || hi < 0) hi = 0;

    double rough = (GY_FIGURE_WIDTH - 120.0) / (double)c->n_bars;
    double foot = gy_names_height(names, c->n_bars, rough) + 26;
    gy_canvas cv;
    gy_canvas_open(&cv, ctx, h, GY_FIGURE_WIDTH, 350 + foot, (const char *const[2]){errors ? c->error_is : NULL});
    gy_plot p = {.left = 12, .right = GY_FIGURE_WIDTH - 62, .top = cv.top + 8, .bottom = cv.height - foot};
    p.y = (gy_scale){.lo = lo, .hi = hi};
    gy_plot_axes(&cv, &p, NULL, &c->y, false);
    double slot = (p.right - p.left) / (double)c->n_bars, w = fmin(0.66 * slot, 64), zero = gy_scale_at(&p.y, 0);
    gy_plot_clip(&cv, &p);
    for (int64_t i = 0; i < c->n_bars; i++) {
        const gy_bar *b = &c->bars[i];
        double mid = p.left + ((double)i + 0.5) * slot;
        if (!isfinite(b->value)) continue;
        double y = gy_scale_at(&p.y, b->value);
        GY_DRAW(&cv.t, "<rect class=\"s0 r\" x=\"%\" y=\"%\" width=\"%\" height=\"%\"/>", mid - w / 2, fmin(y, zero), w,
                fabs(zero - y));
        if (b->lo < b->hi && isfinite(b->lo) && isfinite(b->hi)) {
            double cap = fmin(5, w / 3);
            GY_DRAW(&cv.t, "<path class=\"v\" d=\"M% %h%M% %V%M% %h%\"/>", mid - cap, gy_scale_at(&p.y, b->lo), 2 * cap,
                    mid, gy_scale_at(&p.y, b->lo), gy_scale_at(&p.y, b->hi), mid - cap, gy_scale_at(&p.y, b->hi),
                    2 * cap);
        }
    }
    gy_plot_unclip(&cv);
    if (below) GY_DRAW(&cv.t, "<path class=\"a\" d=\"M% %H%\"/>", p.left, zero, p.right);
    gy_plot_chance(&cv, &p, h->chance, false);
    gy_names_below(&cv, names, c->n_bars, p.left, p.bottom, slot);
    gy_canvas_text(&cv, (p.left + p.right) / 2, cv.height - 12, "l", GY_MIDDLE, 0, 0, c->label);
    gy_free(ctx, names);
    return gy_canvas_close(&cv, h, GY_OK, out);
}

/* ---- scatter ---- */

enum { MANY_MARKS = 4000 };

gy_status gy_figure_scatter(gy_ctx *ctx, const gy_scatter *c, gy_figure *out) {
    *out = (gy_figure){0};
    static const char kind[] = "scatter";
    const gy_figure_head *h = &c->head;
    gy_status st = gy_need_head(ctx, kind, h);
    if (st == GY_OK) st = gy_need_axis(ctx, kind, h, &c->x, "x");
    if (st == GY_OK) st = gy_need_axis(ctx, kind, h, &c->y, "y");
    if (st == GY_OK) st = gy_need_series(ctx, kind, h, c->series, c->n_series, true);
    if (st != GY_OK) return st;
    double xlo = 1, xhi = 0, ylo = 1, yhi = 0;
    int64_t every = 1;
    for (int64_t i = 0; i < c->n_series; i++) {
        const gy_series *s = &c->series[i];
        gy_range_add(s->x, s->n, c->x.log, &xlo, &xhi);
        gy_range_add(s->y, s->n, c->y.log, &ylo, &yhi);
        if ((s->n + MANY_MARKS - 1) / MANY_MARKS > every) every = (s->n + MANY_MARKS - 1) / MANY_MARKS;
    }
    if (h->chance.kind == GY_CHANCE_LEVEL) gy_range_add(&h->chance.level, 1, c->y.log, &ylo, &yhi);
    gy_range_finish(&c->x, &xlo, &xhi);
    gy_range_finish(&c->y, &ylo, &yhi);

    char more[64] = "";
    if (every > 1) snprintf(more, sizeof more, "every %lldth point drawn", (long long)every);
    double legend = gy_canvas_legend(NULL, c->series, c->n_series, GY_LEGEND_MARKER);
    gy_canvas cv;
    gy_canvas_open(&cv, ctx, h, GY_FIGURE_WIDTH, 460 + legend, (const char *const[2]){more});
    gy_canvas_legend(&cv, c->series, c->n_series, GY_LEGEND_MARKER);
    gy_plot p = {.left = 12, .right = GY_FIGURE_WIDTH - 62, .top = cv.top + legend + 8, .bottom = cv.height - 52};
    p.x = (gy_scale){.lo = xlo, .hi = xhi, .log = c->x.log};
    p.y = (gy_scale){.lo = ylo, .hi = yhi, .log = c->y.log};
    gy_plot_axes(&cv, &p, &c->x, &c->y, true);
    gy_plot_chance(&cv, &p, h->chance, false);
    gy_plot_clip(&cv, &p);
    if (c->identity) {
        double lo = fmax(xlo, ylo), hi = fmin(xhi, yhi);
        if (lo < hi)
            GY_DRAW(&cv.t, "<path class=\"a\" d=\"M% %L% %\"/>", gy_scale_at(&p.x, lo), gy_scale_at(&p.y, lo),
                    gy_scale_at(&p.x, hi), gy_scale_at(&p.y, hi));
    }
    for (int64_t i = 0; i < c->n_series; i++) {
        const gy_series *s = &c->series[i];
        GY_DRAW(&cv.t, "<g class=\"s% m\" fill-opacity=\"%\">", (double)(i % GY_PALETTE_SIZE),
                s->n > 300 ? 0.55 : 0.85);
        for (int64_t k = 0; k < s->n; k += every)
            if (shown(s->x[k], c->x.log) && shown(s->y[k], c->y.log))
                gy_canvas_marker(&cv, gy_scale_at(&p.x, s->x[k]), gy_scale_at(&p.y, s->y[k]), s->n > 300 ? 2.6 : 4, i);
        gy_text_put(&cv.t, "</g>");
    }
    gy_plot_unclip(&cv);
    return gy_canvas_close(&cv, h, GY_OK, out);
}

/* ---- histogram ---- */

gy_status gy_figure_histogram(gy_ctx *ctx, const gy_histogram *c, gy_figure *out) {
    *out = (gy_figure){0};
    static const char kind[] = "histogram";
    const gy_figure_head *h = &c->head;
    gy_status st = gy_need_head(ctx, kind, h);
    if (st == GY_OK) st = gy_need_axis(ctx, kind, h, &c->x, "x");
    if (st == GY_OK) st = gy_need(ctx, kind, h, c->values && c->n_values > 0, "values", "expected at least one");
    if (st == GY_OK)
        st = gy_need(ctx, kind, h, !c->has_observed || (c->observed_is && *c->observed_is && isfinite(c->observed)),
                     "observed_is", "expected a finite observed value and what it is");
    if (st != GY_OK) return st;
    if (c->x.log || c->bins < 0 || c->bins > 1000)
        return gy_refuse(ctx, GY_ERR_USAGE,
                         "%s '%.80s': expected a linear x axis and 0 to 1000 bins, found %s and %lld", kind, h->title,
                         c->x.log ? "log" : "linear", (long long)c->bins);
    double lo = 1, hi = 0;
    gy_range_add(c->values, c->n_values, false, &lo, &hi);
    if (lo >= hi) lo = lo > hi ? 0 : lo - 0.5, hi = lo + 1; /* nothing, or one value */
    int64_t bins = c->bins ? c->bins : (int64_t)ceil(sqrt((double)c->n_values));
    if (!c->bins) bins = bins < 8 ? 8 : bins > 40 ? 40 : bins;
    double *count = gy_calloc(ctx, (size_t)bins, sizeof *count);
    if (!count) return GY_ERR_NOMEM;
    double most = 0;
    int64_t reached = 0, finite = 0;
    for (int64_t i = 0; i < c->n_values; i++) {
        if (!isfinite(c->values[i])) continue;
        finite++;
        reached += c->has_observed && c->values[i] >= c->observed;
        int64_t b = (int64_t)((c->values[i] - lo) / (hi - lo) * (double)bins);
        double *n = &count[b < 0 ? 0 : b >= bins ? bins - 1 : b];
        *n += 1;
        most = fmax(most, *n);
    }
    double xlo = lo, xhi = hi, ylo = 0, yhi = most;
    if (c->has_observed) gy_range_add(&c->observed, 1, false, &xlo, &xhi);
    if (h->chance.kind == GY_CHANCE_LEVEL) gy_range_add(&h->chance.level, 1, false, &xlo, &xhi);
    gy_range_finish(&c->x, &xlo, &xhi);
    char more[96] = "";
    if (c->has_observed)
        snprintf(more, sizeof more, "%lld of %lld at or above the observed value", (long long)reached,
                 (long long)finite);

    gy_canvas cv;
    gy_canvas_open(&cv, ctx, h, GY_FIGURE_WIDTH, 400, (const char *const[2]){more});
    gy_plot p = {.left = 12, .right = GY_FIGURE_WIDTH - 40, .top = cv.top + 28, .bottom = cv.height - 52};
    p.x = (gy_scale){.lo = xlo, .hi = xhi};
    p.y = (gy_scale){.lo = ylo, .hi = yhi * 1.06};
    gy_axis y = {.label = "count", .unit = GY_NO_UNIT};
    gy_plot_axes(&cv, &p, &c->x, &y, true);
    gy_plot_clip(&cv, &p);
    for (int64_t b = 0; b < bins; b++) {
        if (count[b] == 0) continue;
        double left = gy_scale_at(&p.x, lo + (hi - lo) * (double)b / (double)bins);
        double right = gy_scale_at(&p.x, lo + (hi - lo) * (double)(b + 1) / (double)bins),
               py = gy_scale_at(&p.y, count[b]);
        GY_DRAW(&cv.t, "<rect class=\"s0 r\" x=\"%\" y=\"%\" width=\"%\" height=\"%\"/>", left, py,
                fmax(right - left - 1, 0.5), p.bottom - py);
    }
    gy_plot_unclip(&cv);
    gy_plot_chance(&cv, &p, h->chance, true);
    if (c->has_observed && c->observed >= xlo && c->observed <= xhi) {
        double px = gy_scale_at(&p.x, c->observed);
        GY_DRAW(&cv.t, "<path class=\"s1 y\" d=\"M% %V%\"/>", px, p.bottom, p.top + 8);
        char num[GY_NUMBER_TEXT];
        char *label = gy_format(ctx, "%s: %s", c->observed_is, gy_number_short(c->observed, 3, num));
        if (!label)
            cv.t.status = GY_ERR_NOMEM;
        else /* on the side with more room; on its own line, below the word "chance" */
            gy_canvas_text(&cv, px > (p.left + p.right) / 2 ? px - 8 : px + 8, p.top + 20, "b h",
                           px > (p.left + p.right) / 2 ? GY_END : GY_START, 0, 0, label);
        gy_free(ctx, label);
    }
    gy_free(ctx, count);
    return gy_canvas_close(&cv, h, GY_OK, out);
}
