#include "canvas.h"

#include "../files.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

gy_chance gy_chance_at(double level) {
    return (gy_chance){.kind = GY_CHANCE_LEVEL, .level = level};
}

gy_chance gy_no_chance(void) {
    return (gy_chance){.kind = GY_CHANCE_NONE};
}

/* ---- required members ---- */

static bool said(const char *s) {
    return s && s[strspn(s, " \t\r\n")];
}

gy_status gy_need(gy_ctx *ctx, const char *kind, const gy_figure_head *h, bool present, const char *member,
                  const char *why) {
    if (present) return GY_OK;
    return gy_refuse(ctx, GY_ERR_USAGE, "%s '%.80s': '%s' is missing: %s", kind, h->title ? h->title : "", member, why);
}

gy_status gy_need_head(gy_ctx *ctx, const char *kind, const gy_figure_head *h) {
    const struct {
        bool present;
        const char *member, *why;
    } needs[] = {
        {said(h->title), "title", "expected one line that says what is shown"},
        {said(h->caption), "caption", "expected what is seen and how to read it"},
        {said(h->alt), "alt", "expected the picture in words, for readers who cannot see it"},
        {said(h->command), "command", "expected the command line that makes this picture again"},
        {h->n > 0, "n", "expected the number of observations behind the picture, at least 1"},
        {said(h->n_of), "n_of", "expected what n counts, such as \"held-out volumes\""},
        {h->chance.kind == GY_CHANCE_NONE || (h->chance.kind == GY_CHANCE_LEVEL && isfinite(h->chance.level)), "chance",
         "expected gy_chance_at(level) or gy_no_chance()"},
        {h->side > GY_SIDE_MISSING && h->side <= GY_SIDE_NONE, "side",
         "expected the hemisphere (left, right, both) or GY_SIDE_NONE"},
    };
    gy_status st = GY_OK;
    for (size_t i = 0; st == GY_OK && i < sizeof needs / sizeof *needs; i++)
        st = gy_need(ctx, kind, h, needs[i].present, needs[i].member, needs[i].why);
    return st;
}

gy_status gy_need_axis(gy_ctx *ctx, const char *kind, const gy_figure_head *h, const gy_axis *a, const char *name) {
    char member[64];
    strcpy(member, name);
    strcat(member, ".label");
    gy_status st = gy_need(ctx, kind, h, said(a->label), member, "expected the quantity on this axis");
    if (st != GY_OK) return st;
    strcpy(member, name);
    strcat(member, ".unit");
    st = gy_need(ctx, kind, h, said(a->unit), member, "expected a unit, or GY_NO_UNIT for a plain number");
    if (st != GY_OK) return st;
    if (!(isfinite(a->lo) && isfinite(a->hi) && a->lo <= a->hi) || (a->log && a->lo < a->hi && a->lo <= 0))
        return gy_refuse(ctx, GY_ERR_USAGE, "%s '%.80s': %s: expected a range lo <= hi%s, found %g to %g", kind,
                         h->title, name, a->log ? " above zero (log)" : "", a->lo, a->hi);
    return GY_OK;
}

gy_status gy_need_series(gy_ctx *ctx, const char *kind, const gy_figure_head *h, const gy_series *s, int64_t n,
                         bool x_needed) {
    gy_status st = gy_need(ctx, kind, h, s && n > 0, "series", "expected at least one");
    for (int64_t i = 0; st == GY_OK && i < n; i++) {
        st = gy_need(ctx, kind, h, s[i].n >= 0 && (s[i].y || s[i].n == 0), "series.y", "expected n values");
        if (st == GY_OK && x_needed) st = gy_need(ctx, kind, h, s[i].x || s[i].n == 0, "series.x", "expected n values");
        if (st == GY_OK && n > 1)
            st = gy_need(ctx, kind, h, said(s[i].name), "series.name", "needed to tell several apart");
    }
    return st;
}

/* ---- frame ---- */

/* Colours are custom properties so that one rule switches a figure to dark; printing goes back to light. */
static const char STYLE[] =
    "<style>"
    ".gyfig{--ink:#1b2027;--soft:#59626e;--grid:#e4e8ed;--axis:#9aa3ae;--paper:#fff;--none:#eceff2;"
    "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica "
    "Neue',Arial,sans-serif;max-width:100%;height:auto}"
    ".gyfig text{fill:var(--ink);font-size:12.5px}"
    ".gyfig .t{font-size:15px;font-weight:650}.gyfig .f,.gyfig .k{fill:var(--soft);font-size:12px}"
    ".gyfig .k{font-variant-numeric:tabular-nums}.gyfig .b{font-weight:600}"
    ".gyfig .w{fill:#fff}.gyfig .d{fill:#10141a}.gyfig "
    ".e{fill:#e8ebef;font-size:11.5px;font-variant-numeric:tabular-nums}"
    ".gyfig .g{stroke:var(--grid);fill:none}.gyfig .a{stroke:var(--axis);fill:none}"
    ".gyfig .c{stroke:var(--ink);stroke-width:1.4;stroke-dasharray:2 4;stroke-linecap:round;fill:none}"
    ".gyfig .o{stroke:var(--paper);stroke-width:4;stroke-opacity:.65;fill:none}.gyfig .n{stroke-width:1.2}"
    ".gyfig .h{paint-order:stroke;stroke:var(--paper);stroke-width:4px;stroke-linejoin:round}"
    ".gyfig .y{fill:none;stroke:var(--c);stroke-width:2;stroke-linejoin:round;stroke-linecap:round}"
    ".gyfig .z{fill:var(--c);fill-opacity:.17}.gyfig .m{fill:var(--c);stroke:var(--paper);stroke-width:.8}"
    ".gyfig .q1{stroke-dasharray:7 4}.gyfig .q2{stroke-dasharray:2 4}.gyfig .q3{stroke-dasharray:9 4 2 4}"
    ".gyfig .r{fill:var(--c)}.gyfig .v{stroke:var(--ink);stroke-width:1.5;fill:none}"
    ".gyfig .s0{--c:#0072b2}.gyfig .s1{--c:#d55e00}.gyfig .s2{--c:#009e73}.gyfig .s3{--c:#cc79a7}"
    ".gyfig .s4{--c:#e69f00}.gyfig .s5{--c:#56b4e9}.gyfig .s6{--c:#d9c900}.gyfig .s7{--c:var(--ink)}"
    ".gyfig .p{image-rendering:pixelated}"
    "@media screen and (prefers-color-scheme:dark){.gyfig{--ink:#e8ebef;--soft:#a3acb8;--grid:#2b3139;--axis:#6a7480;"
    "--paper:#14171b;--none:#262b32}.gyfig .s0{--c:#3d9bd8}.gyfig .s1{--c:#ee7d2c}.gyfig .s6{--c:#f0e442}}"
    "</style>";

enum { FONT = 12 };

static const char *side_words(gy_side s) {
    switch (s) {
    case GY_SIDE_LEFT: return "left hemisphere";
    case GY_SIDE_RIGHT: return "right hemisphere";
    case GY_SIDE_BOTH: return "both hemispheres";
    case GY_SIDE_MISSING:
    case GY_SIDE_NONE: break;
    }
    return NULL;
}

enum { FACTS = 5, FACT_CAP = 100, FACT_BYTES = 512 };

/* The i-th fact as raw text; NULL when there is none of that number. */
static const char *fact(const gy_figure_head *h, const char *const remarks[2], int i, char buf[FACT_BYTES]) {
    char num[GY_NUMBER_TEXT];
    switch (i) {
    case 0: snprintf(buf, FACT_BYTES, "n = %lld %s", (long long)h->n, h->n_of); return buf;
    case 1:
        if (h->chance.kind != GY_CHANCE_LEVEL) return "no chance level";
        snprintf(buf, FACT_BYTES, "chance %s", gy_number_short(h->chance.level, 3, num));
        return buf;
    case 2: return side_words(h->side);
    default: return remarks && remarks[i - 3] && *remarks[i - 3] ? remarks[i - 3] : NULL;
    }
}

/* Writes the facts in as many lines as they need, broken between facts; returns the number of lines. Called twice:
 * without a canvas to count, then to write. */
static int facts(gy_canvas *c, const gy_figure_head *h, const char *const remarks[2], double width) {
    int line = 0;
    double x = 0;
    for (int i = 0; i < FACTS; i++) {
        char buf[FACT_BYTES];
        const char *f = fact(h, remarks, i, buf);
        if (!f) continue;
        double w = FONT * gy_text_width(f, FACT_CAP), gap = FONT * 1.2;
        bool first = x == 0, wrap = !first && x + gap + w > width - 24;
        if (wrap) line++;
        if (c) {
            if (wrap) gy_text_put(&c->t, "</text>");
            if (first || wrap)
                GY_DRAW(&c->t, "<text x=\"12\" y=\"%\" class=\"f\">", 43.0 + 16 * line);
            else
                gy_text_put(&c->t, " \xc2\xb7 ");
            gy_text_escaped(&c->t, f, FACT_CAP);
        }
        x = (wrap || first ? 0 : x + gap) + w;
    }
    if (c) gy_text_put(&c->t, "</text>");
    return line + 1;
}

void gy_canvas_open(gy_canvas *c, gy_ctx *ctx, const gy_figure_head *h, double width, double height,
                    const char *const remarks[2]) {
    double extra = 16 * (facts(NULL, h, remarks, width) - 1);
    *c = (gy_canvas){.ctx = ctx, .width = width, .height = height + extra, .top = GY_HEAD_HEIGHT + extra};
    gy_text *t = &c->t;
    gy_text_init(t, ctx);
    GY_DRAW(t,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"gyfig\" role=\"img\" viewBox=\"0 0 % %\" width=\"%\" "
            "height=\"%\">",
            c->width, c->height, c->width, c->height);
    gy_text_put(t, "<title>");
    gy_text_escaped(t, h->title, 300);
    gy_text_put(t, "</title><desc>");
    gy_text_escaped(t, h->alt, 4000);
    gy_text_put(t, " Caption: ");
    gy_text_escaped(t, h->caption, 4000);
    gy_text_put(t, " Made by: ");
    gy_text_escaped(t, h->command, 4000);
    gy_text_put(t, "</desc>");
    gy_text_put(t, STYLE);
    GY_DRAW(t, "<rect width=\"%\" height=\"%\" fill=\"var(--paper)\"/>", c->width, c->height);
    gy_text_put(t, "<text x=\"12\" y=\"24\" class=\"t\">");
    gy_text_escaped(t, h->title, 82);
    gy_text_put(t, "</text>");
    facts(c, h, remarks, width);
}

gy_status gy_canvas_close(gy_canvas *c, const gy_figure_head *h, gy_status st, gy_figure *out) {
    *out = (gy_figure){0};
    gy_text_put(&c->t, "</svg>\n");
    size_t size = 0;
    gy_status taken = gy_text_take(&c->t, &out->svg, &size);
    if (st == GY_OK) st = taken;
    out->svg_size = size;
    if (st == GY_OK &&
        (!(out->title = gy_strdup(c->ctx, h->title)) || !(out->caption = gy_strdup(c->ctx, h->caption)) ||
         !(out->command = gy_strdup(c->ctx, h->command))))
        st = GY_ERR_NOMEM;
    if (st != GY_OK) gy_figure_free(c->ctx, out);
    return st;
}

void gy_figure_free(gy_ctx *ctx, gy_figure *f) {
    gy_free(ctx, f->svg);
    gy_free(ctx, f->title);
    gy_free(ctx, f->caption);
    gy_free(ctx, f->command);
    *f = (gy_figure){0};
}

gy_status gy_figure_write(gy_ctx *ctx, const char *path, const gy_figure *f) {
    return gy_write_file(ctx, path, f->svg, (size_t)f->svg_size);
}

/* ---- text ---- */

double gy_canvas_width_of(const char *s) {
    return FONT * gy_text_width(s, GY_LABEL_CAP);
}

/* How many characters fit into `room`, the ellipsis included. */
static int64_t fit(const char *s, double room) {
    if (room <= 0 || gy_canvas_width_of(s) <= room) return GY_LABEL_CAP;
    int64_t n = GY_LABEL_CAP;
    while (n > 1 && FONT * gy_text_width(s, n) > room) n--;
    return n;
}

void gy_canvas_text(gy_canvas *c, double x, double y, const char *cls, gy_anchor a, double turn, double room,
                    const char *s) {
    static const char *const anchors[] = {"", " text-anchor=\"middle\"", " text-anchor=\"end\""};
    GY_DRAW(&c->t, "<text x=\"%\" y=\"%\"", x, y);
    gy_text_put(&c->t, anchors[a]);
    if (turn != 0) GY_DRAW(&c->t, " transform=\"rotate(% % %)\"", turn, x, y);
    gy_text_put(&c->t, " class=\"");
    gy_text_put(&c->t, cls);
    gy_text_put(&c->t, "\">");
    gy_text_escaped(&c->t, s, fit(s, room));
    gy_text_put(&c->t, "</text>");
}

char *gy_axis_text(gy_ctx *ctx, const gy_axis *a) {
    if (!strcmp(a->unit, GY_NO_UNIT)) return gy_strdup(ctx, a->label);
    return gy_format(ctx, "%s (%s)", a->label, a->unit);
}

/* Circle, square, triangle, diamond: shape tells series apart where colour cannot. */
void gy_canvas_marker(gy_canvas *c, double x, double y, double r, int64_t series) {
    gy_text *t = &c->t;
    switch (series % 4) {
    case 0: GY_DRAW(t, "<circle cx=\"%\" cy=\"%\" r=\"%\"/>", x, y, r); break;
    case 1: GY_DRAW(t, "<path d=\"M% %h%v%h%z\"/>", x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r, -1.8 * r); break;
    case 2: GY_DRAW(t, "<path d=\"M% %l% %h%z\"/>", x, y - 1.2 * r, 1.1 * r, 2 * r, -2.2 * r); break;
    default:
        GY_DRAW(t, "<path d=\"M% %l% % % % % %z\"/>", x, y - 1.3 * r, 1.3 * r, 1.3 * r, -1.3 * r, 1.3 * r, -1.3 * r,
                -1.3 * r);
    }
}

double gy_canvas_legend(gy_canvas *c, const gy_series *s, int64_t n, gy_legend kind) {
    if (n < 2) return 0;
    double x = 12, row = 0;
    for (int64_t i = 0; i < n; i++) {
        double w = 38 + gy_canvas_width_of(s[i].name) + 14;
        if (x > 12 && x + w > GY_FIGURE_WIDTH - 12) x = 12, row++;
        if (c) {
            double y = c->top + 6 + 20 * row;
            GY_DRAW(&c->t, "<g class=\"s%", (double)(i % GY_PALETTE_SIZE));
            if (kind == GY_LEGEND_MARKER) {
                gy_text_put(&c->t, " m\">");
                gy_canvas_marker(c, x + 16, y, 4.5, i);
            } else
                GY_DRAW(&c->t, " y q%\"><path d=\"M% %h26\"/>", kind == GY_LEGEND_LINE ? (double)(i % 4) : 0, x, y);
            gy_text_put(&c->t, "</g>");
            gy_canvas_text(c, x + 33, y + 4, "l", GY_START, 0, 0, s[i].name);
        }
        x += w;
    }
    return 20 * (row + 1) + 8;
}
