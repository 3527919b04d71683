/* Scales, ticks and axes: from data to places on the page. */
#include "canvas.h"

#include <math.h>
#include <string.h>

double gy_scale_at(const gy_scale *s, double v) {
    double lo = s->lo, hi = s->hi;
    if (s->log) lo = log10(lo), hi = log10(hi), v = log10(v);
    return s->from + (s->to - s->from) * (v - lo) / (hi - lo);
}

/* ---- ticks ---- */

static void add_tick(gy_ticks *t, double v, int decimals, bool exponent) {
    if (t->n >= GY_MAX_TICKS) return;
    t->v[t->n] = v;
    if (exponent)
        gy_number_short(v, 3, t->label[t->n]);
    else
        gy_number_fixed(v, decimals, t->label[t->n]);
    t->n++;
}

static void log_ticks(const gy_scale *s, int want, gy_ticks *out) {
    int first = (int)ceil(log10(s->lo) - 1e-9), last = (int)floor(log10(s->hi) + 1e-9);
    int decades = last - first + 1, every = (decades + want - 1) / (want > 0 ? want : 1);
    if (every < 1) every = 1;
    for (int e = first; e <= last; e += every) add_tick(out, pow(10, e), 0, true);
    if (out->n >= 3) return;
    /* Less than three powers of ten in sight: put 2 and 5 between them. */
    out->n = 0;
    for (int e = first - 1; e <= last; e++)
        for (int m = 1; m <= 5; m += m == 1 ? 1 : 3) {
            double v = m * pow(10, e);
            if (v >= s->lo * (1 - 1e-9) && v <= s->hi * (1 + 1e-9)) add_tick(out, v, 0, true);
        }
}

void gy_ticks_for(const gy_scale *s, int want, gy_ticks *out) {
    out->n = 0;
    if (want < 2) want = 2;
    if (want > GY_MAX_TICKS / 2) want = GY_MAX_TICKS / 2;
    if (s->log) {
        log_ticks(s, want, out);
        return;
    }
    double raw = (s->hi - s->lo) / want;
    if (!(raw > 0) || !isfinite(raw)) return;
    double power = floor(log10(raw)), base = pow(10, power), f = raw / base;
    /* The nearest of 1, 2, 5, 10 in ratio, so that the number of ticks stays near what was asked. */
    int m = f < 1.4142 ? 1 : f < 3.1623 ? 2 : f < 7.0711 ? 5 : 10;
    if (m == 10) m = 1, power += 1, base = pow(10, power);
    double step = m * base;
    double first = ceil(s->lo / step - 1e-9), last = floor(s->hi / step + 1e-9);
    double largest = fmax(fabs(s->lo), fabs(s->hi));
    bool exponent = largest >= 1e6 || largest < 1e-4;
    for (double k = first; k <= last; k += 1) {
        /* k*step through one rounding, so that 3 * 0.1 is labelled and placed as 0.3 */
        double v = power < 0 ? k * m / pow(10, -power) : k * step;
        add_tick(out, v, power < 0 ? (int)-power : 0, exponent);
    }
}

double gy_ticks_width(const gy_ticks *t) {
    double w = 0;
    for (int i = 0; i < t->n; i++) w = fmax(w, gy_canvas_width_of(t->label[i]));
    return w;
}

/* ---- ranges ---- */

void gy_range_add(const double *v, int64_t n, bool log, double *lo, double *hi) {
    if (!v) return;
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(v[i]) || (log && v[i] <= 0)) continue;
        bool first = *lo > *hi;
        if (first || v[i] < *lo) *lo = v[i];
        if (first || v[i] > *hi) *hi = v[i];
    }
}

void gy_range_finish(const gy_axis *a, double *lo, double *hi) {
    if (a->lo < a->hi) {
        *lo = a->lo, *hi = a->hi;
        return;
    }
    if (*lo > *hi) *lo = a->log ? 1 : 0, *hi = a->log ? 10 : 1; /* nothing finite to show */
    if (a->log) {
        if (*hi / *lo < 1.5) *lo /= 2, *hi *= 2;
        double room = pow(*hi / *lo, 0.04);
        *lo = fmax(*lo / room, 1e-300), *hi = fmin(*hi * room, 1e300);
        return;
    }
    *lo = fmax(*lo, -1e300), *hi = fmin(*hi, 1e300);
    double span = *hi - *lo, size = fmax(fabs(*lo), fabs(*hi));
    if (span <= 1e-9 * size || span == 0) span = size > 0 ? size : 1; /* a constant gets air around it */
    *lo -= 0.04 * span, *hi += 0.04 * span;
}

/* ---- axes ---- */

void gy_plot_axes(gy_canvas *c, gy_plot *p, const gy_axis *x, const gy_axis *y, bool x_ticks) {
    gy_text *t = &c->t;
    gy_ticks ticks;
    char *label = gy_axis_text(c->ctx, y);
    if (!label)
        c->t.status = GY_ERR_NOMEM;
    else
        gy_canvas_text(c, p->left, p->top + 2, "l", GY_START, 0, p->right - p->left, label);
    gy_free(c->ctx, label);
    p->top += 18;

    p->y.from = p->bottom, p->y.to = p->top;
    gy_ticks_for(&p->y, (int)((p->bottom - p->top) / 48), &ticks);
    p->left += gy_ticks_width(&ticks) + 10;
    for (int i = 0; i < ticks.n; i++) {
        double py = gy_scale_at(&p->y, ticks.v[i]);
        GY_DRAW(t, "<path class=\"g\" d=\"M% %H%\"/>", p->left, py, p->right);
        gy_canvas_text(c, p->left - 8, py + 4, "k", GY_END, 0, 0, ticks.label[i]);
    }
    GY_DRAW(t, "<path class=\"a\" d=\"M% %H%\"/>", p->left, p->bottom, p->right);
    p->x.from = p->left, p->x.to = p->right;
    if (!x_ticks) return;

    int want = (int)((p->right - p->left) / 80);
    gy_ticks_for(&p->x, want, &ticks);
    while (want > 2 && gy_ticks_width(&ticks) + 12 > (p->right - p->left) / (ticks.n > 0 ? ticks.n : 1))
        gy_ticks_for(&p->x, --want, &ticks);
    for (int i = 0; i < ticks.n; i++) {
        double px = gy_scale_at(&p->x, ticks.v[i]);
        GY_DRAW(t, "<path class=\"a\" d=\"M% %v5\"/>", px, p->bottom);
        gy_canvas_text(c, px, p->bottom + 19, "k", GY_MIDDLE, 0, 0, ticks.label[i]);
    }
    label = gy_axis_text(c->ctx, x);
    if (!label)
        c->t.status = GY_ERR_NOMEM;
    else
        gy_canvas_text(c, (p->left + p->right) / 2, p->bottom + 40, "l", GY_MIDDLE, 0, p->right - p->left, label);
    gy_free(c->ctx, label);
}

/* A nested viewport clips without an id, which would have to be unique in a page of many figures. */
void gy_plot_clip(gy_canvas *c, const gy_plot *p) {
    double w = p->right - p->left, h = p->bottom - p->top;
    GY_DRAW(&c->t, "<svg x=\"%\" y=\"%\" width=\"%\" height=\"%\" viewBox=\"% % % %\" overflow=\"hidden\">",
            p->left - 6, p->top - 6, w + 12, h + 12, p->left - 6, p->top - 6, w + 12, h + 12);
}

void gy_plot_unclip(gy_canvas *c) {
    gy_text_put(&c->t, "</svg>");
}

void gy_plot_chance(gy_canvas *c, const gy_plot *p, gy_chance chance, bool on_x) {
    const gy_scale *s = on_x ? &p->x : &p->y;
    if (chance.kind != GY_CHANCE_LEVEL || chance.level < s->lo || chance.level > s->hi) return;
    double at = gy_scale_at(s, chance.level);
    if (on_x) {
        GY_DRAW(&c->t, "<path class=\"o\" d=\"M% %V%\"/><path class=\"c\" d=\"M% %V%\"/>", at, p->bottom, p->top, at,
                p->bottom, p->top);
        gy_canvas_text(c, at, p->top - 6, "k h", GY_MIDDLE, 0, 0, "chance");
    } else {
        GY_DRAW(&c->t, "<path class=\"o\" d=\"M% %H%\"/><path class=\"c\" d=\"M% %H%\"/>", p->left, at, p->right,
                p->left, at, p->right);
        gy_canvas_text(c, p->right + 6, at + 4, "k", GY_START, 0, 0, "chance");
    }
}

/* ---- names along the bottom ---- */

static const double TURN = -40 * 3.14159265358979323846 / 180;

static double widest(const char *const *names, int64_t n) {
    double w = 0;
    for (int64_t i = 0; i < n; i++) w = fmax(w, gy_canvas_width_of(names[i]));
    return w;
}

enum { LONGEST_NAME = 150 };

double gy_names_height(const char *const *names, int64_t n, double slot) {
    double w = widest(names, n);
    return w + 6 <= slot ? 22 : 18 + fmin(w, LONGEST_NAME) * -sin(TURN) + 4;
}

void gy_names_below(gy_canvas *c, const char *const *names, int64_t n, double left, double top, double slot) {
    if (widest(names, n) + 6 <= slot) {
        for (int64_t i = 0; i < n; i++)
            gy_canvas_text(c, left + ((double)i + 0.5) * slot, top + 18, "k", GY_MIDDLE, 0, 0, names[i]);
        return;
    }
    /* Turned lines of 12 px lie 16 px apart when their columns are 16 / sin 40 apart. */
    int64_t every = (int64_t)ceil(16 / -sin(TURN) / slot);
    if (every < 1 || slot >= 16) every = 1;
    for (int64_t i = 0; i < n; i += every)
        gy_canvas_text(c, left + ((double)i + 0.5) * slot + 4, top + 14, "k", GY_END, -40, LONGEST_NAME, names[i]);
}

/* ---- colour bar and pixels ---- */

void gy_canvas_colorbar(gy_canvas *c, double x, double top, double bottom, gy_colormap map, double lo, double hi,
                        double threshold, const gy_axis *value, gy_chance chance) {
    enum { STEPS = 96, WIDTH = 14 };
    gy_text *t = &c->t;
    double h = (bottom - top) / STEPS;
    gy_text_put(t, "<g shape-rendering=\"crispEdges\">");
    for (int i = 0; i < STEPS; i++) {
        double v = hi - (hi - lo) * (i + 0.5) / STEPS;
        gy_rgb rgb = gy_colormap_at(map, (v - lo) / (hi - lo));
        GY_DRAW(t, "<rect x=\"%\" y=\"%\" width=\"%\" height=\"%\"", x, top + i * h, WIDTH, h + 0.5);
        if (fabs(v) < threshold)
            gy_text_put(t, " fill=\"var(--none)\"/>");
        else
            GY_DRAW(t, " fill=\"rgb(%,%,%)\"/>", rgb.r, rgb.g, rgb.b);
    }
    gy_text_put(t, "</g>");
    gy_scale s = {.lo = lo, .hi = hi, .from = bottom, .to = top};
    gy_ticks ticks;
    gy_ticks_for(&s, (int)((bottom - top) / 36), &ticks);
    double chance_at = chance.kind == GY_CHANCE_LEVEL && chance.level >= lo && chance.level <= hi
                           ? gy_scale_at(&s, chance.level)
                           : NAN;
    for (int i = 0; i < ticks.n; i++) {
        double y = gy_scale_at(&s, ticks.v[i]);
        GY_DRAW(t, "<path class=\"a\" d=\"M% %h4\"/>", x + WIDTH, y);
        if (!(fabs(y - chance_at) < 14)) gy_canvas_text(c, x + WIDTH + 8, y + 4, "k", GY_START, 0, 0, ticks.label[i]);
    }
    if (isfinite(chance_at)) {
        GY_DRAW(t, "<path class=\"v\" d=\"M% %h%\"/>", x - 2, chance_at, WIDTH + 8);
        gy_canvas_text(c, x + WIDTH + 8, chance_at + 4, "k", GY_START, 0, 0, "chance");
    }
    char *label = gy_axis_text(c->ctx, value);
    if (!label)
        c->t.status = GY_ERR_NOMEM;
    else
        gy_canvas_text(
            c, x + WIDTH + 22 + fmax(gy_ticks_width(&ticks), isfinite(chance_at) ? gy_canvas_width_of("chance") : 0),
            (top + bottom) / 2, "l", GY_MIDDLE, 90, 1.6 * (bottom - top), label);
    gy_free(c->ctx, label);
}

void gy_canvas_image(gy_canvas *c, double x, double y, double w, double h, const gy_image *img, gy_status *st) {
    if (*st != GY_OK) return;
    GY_DRAW(&c->t, "<image class=\"p\" x=\"%\" y=\"%\" width=\"%\" height=\"%\" preserveAspectRatio=\"none\" href=\"",
            x, y, w, h);
    *st = gy_raster_data_url(&c->t, img);
    gy_text_put(&c->t, "\"/>");
}
