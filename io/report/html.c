#include "html.h"

#include "../files.h"
#include "html_style.h"

#include <string.h>

/* Caps on single strings: nothing a student reads is longer, and a hostile name cannot fill the page. */
enum { CAP_LINE = 300, CAP_TEXT = 20000, CAP_NAME = 80 };

typedef struct panel {
    char *name, *shows;
    bool settled; /* filled or explained */
    struct panel *next;
} panel;

typedef struct entry { /* a fact or a glossary term */
    char *name, *value;
    struct entry *next;
} entry;

struct gy_report {
    gy_ctx *ctx;
    gy_status status; /* the first failure */
    gy_arena strings;
    const char *title, *subtitle, *command;
    panel *panels, **panels_end;
    entry *facts, **facts_end, *terms, **terms_end;
    gy_text body, toc;
    int64_t sections, figures, tables;
    bool in_details;
    uint64_t largest; /* of the figures */
    const char *largest_title;
};

static bool said(const char *s) {
    return s && s[strspn(s, " \t\r\n")];
}

static gy_status stick(gy_report *r, gy_status st) {
    if (r->status == GY_OK) r->status = st;
    return r->status;
}

static gy_status settle(gy_report *r) {
    if (r->body.status != GY_OK) stick(r, r->body.status);
    if (r->toc.status != GY_OK) stick(r, r->toc.status);
    return r->status;
}

gy_status gy_report_new(gy_ctx *ctx, gy_report_args args, gy_report **out) {
    *out = NULL;
    if (!said(args.title)) return gy_refuse(ctx, GY_ERR_USAGE, "report: 'title' is missing");
    if (!said(args.command))
        return gy_refuse(ctx, GY_ERR_USAGE,
                         "report '%.80s': 'command' is missing: expected the command line that writes it", args.title);
    gy_report *r = gy_calloc(ctx, 1, sizeof *r);
    if (!r) return GY_ERR_NOMEM;
    r->ctx = ctx;
    r->panels_end = &r->panels, r->facts_end = &r->facts, r->terms_end = &r->terms;
    gy_arena_init(&r->strings, ctx);
    gy_text_init(&r->body, ctx);
    gy_text_init(&r->toc, ctx);
    r->title = gy_arena_strdup(&r->strings, args.title);
    r->subtitle = gy_arena_strdup(&r->strings, args.subtitle ? args.subtitle : "");
    r->command = gy_arena_strdup(&r->strings, args.command);
    if (!r->title || !r->subtitle || !r->command) {
        gy_report_free(r);
        return GY_ERR_NOMEM;
    }
    *out = r;
    return GY_OK;
}

void gy_report_free(gy_report *r) {
    if (!r) return;
    gy_text_free(&r->body);
    gy_text_free(&r->toc);
    gy_arena_free(&r->strings);
    gy_free(r->ctx, r);
}

/* ---- planned panels ---- */

static panel *find_panel(gy_report *r, const char *name) {
    panel *p = r->panels;
    while (p && strcmp(p->name, name) != 0) p = p->next;
    return p;
}

gy_status gy_report_plan(gy_report *r, const char *name, const char *shows) {
    if (r->status != GY_OK) return r->status;
    if (!said(name) || !said(shows))
        return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: a planned panel needs a name and what it shows"));
    if (find_panel(r, name))
        return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: panel '%.80s' is planned twice", name));
    panel *p = gy_arena_alloc(&r->strings, sizeof *p);
    if (!p) return stick(r, GY_ERR_NOMEM);
    p->name = gy_arena_strdup(&r->strings, name);
    p->shows = gy_arena_strdup(&r->strings, shows);
    if (!p->name || !p->shows) return stick(r, GY_ERR_NOMEM);
    *r->panels_end = p;
    r->panels_end = &p->next;
    return GY_OK;
}

/* Marks a panel as dealt with; the message of an unknown one lists the names there are. */
static gy_status settle_panel(gy_report *r, const char *name, panel **out) {
    if (out) *out = NULL;
    if (!name) return r->status;
    panel *p = find_panel(r, name);
    if (!p) {
        char known[512] = "";
        for (panel *q = r->panels; q && strlen(known) + strlen(q->name) + 3 < sizeof known; q = q->next) {
            if (*known) strcat(known, ", ");
            strcat(known, q->name);
        }
        return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: panel '%.80s' was not planned; planned: %s", name,
                                  *known ? known : "none"));
    }
    if (p->settled)
        return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: panel '%.80s' is filled or explained already", name));
    p->settled = true;
    if (out) *out = p;
    return GY_OK;
}

static void explanation(gy_text *t, const char *shows, const char *reason) {
    gy_text_put(t, "<div class=\"panel\" role=\"note\"><p><b>Not shown: ");
    gy_text_escaped(t, shows, CAP_LINE);
    gy_text_put(t, ".</b> ");
    gy_text_escaped(t, reason, CAP_TEXT);
    gy_text_put(t, "</p></div>\n");
}

gy_status gy_report_explain(gy_report *r, const char *name, const char *reason) {
    if (r->status != GY_OK) return r->status;
    if (!name || !said(reason))
        return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: an explanation needs a panel and a reason"));
    panel *p;
    if (settle_panel(r, name, &p) != GY_OK) return r->status;
    explanation(&r->body, p->shows, reason);
    return settle(r);
}

/* ---- facts and terms ---- */

static gy_status add_entry(gy_report *r, entry ***end, const char *name, const char *value) {
    entry *e = gy_arena_alloc(&r->strings, sizeof *e);
    if (!e) return stick(r, GY_ERR_NOMEM);
    e->name = gy_arena_strdup(&r->strings, name);
    e->value = gy_arena_strdup(&r->strings, value);
    if (!e->name || !e->value) return stick(r, GY_ERR_NOMEM);
    **end = e;
    *end = &e->next;
    return GY_OK;
}

gy_status gy_report_fact(gy_report *r, const char *name, const char *value) {
    if (r->status != GY_OK) return r->status;
    if (!said(name) || !said(value))
        return stick(r,
                     gy_refuse(r->ctx, GY_ERR_USAGE, "report: a fact needs a name and a value, found '%.80s': '%.80s'",
                               name ? name : "", value ? value : ""));
    return add_entry(r, &r->facts_end, name, value);
}

gy_status gy_report_term(gy_report *r, const char *term, const char *meaning) {
    if (r->status != GY_OK) return r->status;
    if (!said(term) || !said(meaning))
        return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: a glossary term needs a name and a meaning"));
    for (entry *e = r->terms; e; e = e->next)
        if (!strcmp(e->name, term)) return GY_OK;
    return add_entry(r, &r->terms_end, term, meaning);
}

/* ---- body ---- */

/* Escaped text in which `...` becomes code. A lone backtick stays a backtick. */
static void inline_text(gy_report *r, gy_text *t, const char *s, size_t n) {
    while (n > 0 && t->status == GY_OK) {
        const char *open = memchr(s, '`', n);
        const char *close = open ? memchr(open + 1, '`', n - (size_t)(open - s) - 1) : NULL;
        bool code = open == s && close;
        const char *from = code ? open + 1 : s;
        size_t len = code ? (size_t)(close - from) : close ? (size_t)(open - s) : n;
        char *piece = gy_malloc(r->ctx, len + 1);
        if (!piece) {
            t->status = GY_ERR_NOMEM;
            return;
        }
        memcpy(piece, from, len);
        piece[len] = 0;
        if (code) gy_text_put(t, "<code>");
        gy_text_escaped(t, piece, CAP_TEXT);
        if (code) gy_text_put(t, "</code>");
        gy_free(r->ctx, piece);
        size_t used = code ? len + 2 : len;
        s += used;
        n -= used;
    }
}

gy_status gy_report_section(gy_report *r, const char *heading) {
    if (r->status != GY_OK) return r->status;
    if (!said(heading)) return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: a section needs a heading"));
    if (r->in_details)
        return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: section '%.80s' starts inside details", heading));
    r->sections++;
    GY_DRAW(&r->body, "<h2 id=\"s%\"><span class=\"no\">%</span>", (double)r->sections, (double)r->sections);
    gy_text_escaped(&r->body, heading, CAP_LINE);
    gy_text_put(&r->body, "</h2>\n");
    GY_DRAW(&r->toc, "<li><span class=\"no\">%</span><a href=\"#s%\">", (double)r->sections, (double)r->sections);
    gy_text_escaped(&r->toc, heading, CAP_LINE);
    gy_text_put(&r->toc, "</a></li>");
    return settle(r);
}

gy_status gy_report_text(gy_report *r, const char *text) {
    if (r->status != GY_OK) return r->status;
    for (const char *s = text ? text : ""; *s;) {
        s += strspn(s, "\n");
        const char *end = strstr(s, "\n\n");
        size_t n = end ? (size_t)(end - s) : strlen(s);
        if (n > 0) {
            gy_text_put(&r->body, "<p>");
            inline_text(r, &r->body, s, n);
            gy_text_put(&r->body, "</p>\n");
        }
        s += n;
    }
    return settle(r);
}

gy_status gy_report_formula(gy_report *r, const char *formula, const char *meaning) {
    if (r->status != GY_OK) return r->status;
    if (!said(formula)) return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: a formula is empty"));
    gy_text_put(&r->body, "<div class=\"formula\"><div class=\"eq\">");
    gy_text_escaped(&r->body, formula, CAP_TEXT);
    gy_text_put(&r->body, "</div>");
    if (said(meaning)) {
        gy_text_put(&r->body, "<p class=\"meaning\">");
        inline_text(r, &r->body, meaning, strlen(meaning));
        gy_text_put(&r->body, "</p>");
    }
    gy_text_put(&r->body, "</div>\n");
    return settle(r);
}

/* "Figure 3. Caption / Made by: command" */
static void caption(gy_report *r, const char *word, int64_t number, const char *text, const char *command) {
    gy_text *t = &r->body;
    gy_text_put(t, "<figcaption><b>");
    gy_text_put(t, word);
    gy_text_put(t, " ");
    gy_text_int(t, number);
    gy_text_put(t, ".</b> ");
    inline_text(r, t, text, strlen(text));
    gy_text_put(t, "<span class=\"by\">Made by <code>");
    gy_text_escaped(t, command, CAP_TEXT);
    gy_text_put(t, "</code></span></figcaption>");
}

gy_status gy_report_figure(gy_report *r, const char *name, const gy_figure *f) {
    if (r->status != GY_OK) return r->status;
    if (!f->svg || !f->caption || !f->command)
        return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: figure for panel '%.80s' is empty", name ? name : ""));
    if (settle_panel(r, name, NULL) != GY_OK) return r->status;
    r->figures++;
    if (f->svg_size > r->largest) {
        r->largest = f->svg_size;
        r->largest_title = gy_arena_strdup(&r->strings, f->title);
        if (!r->largest_title) return stick(r, GY_ERR_NOMEM);
    }
    GY_DRAW(&r->body, "<figure id=\"f%\"><div class=\"draw\" tabindex=\"0\">", (double)r->figures);
    gy_text_bytes(&r->body, f->svg, (size_t)f->svg_size);
    gy_text_put(&r->body, "</div>");
    caption(r, "Figure", r->figures, f->caption, f->command);
    gy_text_put(&r->body, "</figure>\n");
    return settle(r);
}

/* Numbers, "n/a", "0.68 +/- 0.02", "12 %": whatever starts as a number does. */
static bool is_number(const char *s) {
    s += strspn(s, "+-<>~ ");
    if (!strncmp(s, "\xe2\x88\x92", 3)) s += 3; /* minus sign */
    return (*s >= '0' && *s <= '9') || !strcmp(s, "n/a") || !*s;
}

gy_status gy_report_table(gy_report *r, const char *name, const gy_report_rows *tb) {
    if (r->status != GY_OK) return r->status;
    const char *missing = !said(tb->caption)                                 ? "caption"
                          : !said(tb->command)                               ? "command"
                          : !tb->columns || tb->n_columns < 1                ? "columns"
                          : (!tb->cells && tb->n_rows > 0) || tb->n_rows < 0 ? "cells"
                                                                             : NULL;
    if (missing)
        return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: table '%.80s': '%s' is missing",
                                  tb->caption ? tb->caption : "", missing));
    if (settle_panel(r, name, NULL) != GY_OK) return r->status;
    gy_text *t = &r->body;
    r->tables++;
    GY_DRAW(t, "<figure id=\"t%\"><div class=\"scroll", (double)r->tables);
    gy_text_put(t, tb->n_columns > 6 ? " wide\"><table>\n<thead><tr>" : "\"><table>\n<thead><tr>");
    for (int pass = 0; pass < 2; pass++) { /* headings, then rows */
        int64_t rows = pass ? tb->n_rows : 1;
        for (int64_t i = 0; i < rows; i++) {
            if (pass) gy_text_put(t, "<tr>");
            for (int64_t k = 0; k < tb->n_columns; k++) {
                bool number = tb->n_rows > 0; /* a column is set right when all of it is numbers */
                for (int64_t j = 0; number && j < tb->n_rows; j++) {
                    const char *cell = tb->cells[j * tb->n_columns + k];
                    number = is_number(cell ? cell : "");
                }
                gy_text_put(t, pass ? "<td" : "<th scope=\"col\"");
                gy_text_put(t, number ? " class=\"num\">" : ">");
                gy_text_escaped(t, pass ? tb->cells[i * tb->n_columns + k] : tb->columns[k], CAP_LINE);
                gy_text_put(t, pass ? "</td>" : "</th>");
            }
            gy_text_put(t, pass ? "</tr>\n" : "</tr></thead>\n<tbody>\n");
        }
    }
    gy_text_put(t, "</tbody></table></div>");
    caption(r, "Table", r->tables, tb->caption, tb->command);
    gy_text_put(t, "</figure>\n");
    return settle(r);
}

gy_status gy_report_details(gy_report *r, const char *summary) {
    if (r->status != GY_OK) return r->status;
    if (r->in_details || !said(summary))
        return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: details '%.80s': %s", summary ? summary : "",
                                  r->in_details ? "do not nest" : "the summary is missing"));
    r->in_details = true;
    gy_text_put(&r->body, "<details><summary>");
    gy_text_escaped(&r->body, summary, CAP_LINE);
    gy_text_put(&r->body, "</summary>\n");
    return settle(r);
}

gy_status gy_report_details_end(gy_report *r) {
    if (r->status != GY_OK) return r->status;
    if (!r->in_details) return stick(r, gy_refuse(r->ctx, GY_ERR_USAGE, "report: details end where none began"));
    r->in_details = false;
    gy_text_put(&r->body, "</details>\n");
    return settle(r);
}

/* ---- the page ---- */

static void entries(gy_text *t, const entry *e, bool boxed) {
    for (; e; e = e->next) {
        gy_text_put(t, boxed ? "<div><dt>" : "<dt>");
        gy_text_escaped(t, e->name, CAP_LINE);
        gy_text_put(t, "</dt><dd>");
        gy_text_escaped(t, e->value, CAP_TEXT);
        gy_text_put(t, boxed ? "</dd></div>\n" : "</dd>\n");
    }
}

static void head(gy_report *r, gy_text *t) {
    gy_text_put(t, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n"
                   "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n"
                   "<meta name=\"generator\" content=\"Gyrus " GY_VERSION "\"/>\n<title>");
    gy_text_escaped(t, r->title, CAP_LINE);
    gy_text_put(t, "</title>\n<style>");
    for (size_t i = 0; i < sizeof REPORT_STYLE / sizeof *REPORT_STYLE; i++) gy_text_put(t, REPORT_STYLE[i]);
    gy_text_put(t, "</style>\n</head>\n<body>\n<main>\n<header>\n<p class=\"kicker\">Gyrus report</p>\n<h1>");
    gy_text_escaped(t, r->title, CAP_LINE);
    gy_text_put(t, "</h1>\n");
    if (said(r->subtitle)) {
        gy_text_put(t, "<p class=\"lead\">");
        inline_text(r, t, r->subtitle, strlen(r->subtitle));
        gy_text_put(t, "</p>\n");
    }
    gy_text_put(t, "<dl class=\"facts\">\n");
    entries(t, r->facts, true);
    gy_text_put(t, "<div class=\"cmd\"><dt>made by</dt><dd><code>");
    gy_text_escaped(t, r->command, CAP_TEXT);
    gy_text_put(t, "</code></dd></div>\n</dl>\n");
    if (r->sections >= 2) {
        gy_text_put(t, "<nav aria-label=\"Contents\"><ol>");
        gy_text_bytes(t, r->toc.s, r->toc.size);
        if (r->terms) gy_text_put(t, "<li><a href=\"#glossary\">Glossary</a></li>");
        gy_text_put(t, "</ol></nav>\n");
    }
    gy_text_put(t, "</header>\n");
}

gy_status gy_report_bytes(gy_report *r, char **html, size_t *size) {
    *html = NULL;
    if (r->in_details) gy_report_details_end(r);
    if (r->status != GY_OK) return r->status;
    gy_text t;
    gy_text_init(&t, r->ctx);
    head(r, &t);
    gy_text_bytes(&t, r->body.s, r->body.size);
    bool heading = false;
    for (panel *p = r->panels; p; p = p->next) {
        if (p->settled) continue;
        if (!heading) gy_text_put(&t, "<h2 id=\"missing\">Planned, but not shown</h2>\n");
        heading = true;
        explanation(&t, p->shows, "This panel was planned, but the run ended without drawing it and gave no reason.");
    }
    if (r->terms) {
        gy_text_put(&t, "<h2 id=\"glossary\">Glossary</h2>\n<dl class=\"terms\">\n");
        entries(&t, r->terms, false);
        gy_text_put(&t, "</dl>\n");
    }
    gy_text_put(&t, "<footer>Written by Gyrus " GY_VERSION ". This page is one file: it loads nothing and runs no "
                    "script. The colours are chosen to stay apart for colour-blind readers.</footer>\n"
                    "</main>\n</body>\n</html>\n");
    gy_status st = gy_text_take(&t, html, size);
    if (st == GY_OK && *size > GY_REPORT_MAX_BYTES) {
        st = gy_refuse(r->ctx, GY_ERR_USAGE,
                       "report '%.80s': %zu bytes, expected at most %d; the largest figure is '%.80s' with %llu bytes",
                       r->title, *size, GY_REPORT_MAX_BYTES, r->largest_title ? r->largest_title : "none",
                       (unsigned long long)r->largest);
        gy_free(r->ctx, *html);
        *html = NULL;
    }
    return st == GY_OK ? GY_OK : stick(r, st);
}

gy_status gy_report_write(gy_report *r, const char *path) {
    char *html;
    size_t size = 0;
    gy_status st = gy_report_bytes(r, &html, &size);
    if (st == GY_OK) st = gy_write_file(r->ctx, path, html, size);
    gy_free(r->ctx, html);
    return st;
}
