/* The writing half of json.h. */
#include "json.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(gy_json_writer *w, const char *s, size_t n) {
    if (w->status != GY_OK) return;
    if (w->room - w->size <= n) { /* one byte is kept for NUL */
        size_t room = 2 * w->room > w->size + n + 1 ? 2 * w->room : w->size + n + 256;
        char *more = gy_realloc(w->ctx, w->text, room);
        if (!more) {
            w->status = GY_ERR_NOMEM;
            return;
        }
        w->text = more;
        w->room = room;
    }
    if (n) memcpy(w->text + w->size, s, n);
    w->size += n;
}

static void put_text(gy_json_writer *w, const char *s) {
    put(w, s, strlen(s));
}

/* Besides what JSON demands, '<', '>' and '&' are escaped: the text may be set into a page. */
static void put_quoted(gy_json_writer *w, const char *s) {
    size_t n = strlen(s), start = 0;
    char code[16];
    put(w, "\"", 1);
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        int k = gy_utf8_next(s + i, n - i, &c);
        size_t step = k ? (size_t)k : 1;
        bool plain =
            k && c >= 0x20 && c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' && !(c >= 0x7f && c < 0xa0);
        if (!plain) {
            put(w, s + start, i - start);
            if (c == '"' || c == '\\')
                snprintf(code, sizeof code, "\\%c", (char)c);
            else if (c == '\n')
                snprintf(code, sizeof code, "\\n");
            else
                snprintf(code, sizeof code, "\\u%04x", k ? c : 0xfffdu);
            put_text(w, code);
            start = i + step;
        }
        i += step;
    }
    put(w, s + start, n - start);
    put(w, "\"", 1);
}

static void new_line(gy_json_writer *w) {
    if (!w->pretty) return;
    put(w, "\n", 1);
    for (int i = 0; i < w->depth; i++) put(w, "  ", 2);
}

/* Comma, line and key before a value. */
static void lead(gy_json_writer *w, const char *key) {
    if (w->filled[w->depth]) put(w, ",", 1);
    if (w->depth) new_line(w);
    w->filled[w->depth] = true;
    if (!key) return;
    put_quoted(w, key);
    put_text(w, w->pretty ? ": " : ":");
}

void gy_json_start(gy_ctx *ctx, gy_json_writer *w, bool pretty) {
    memset(w, 0, sizeof *w);
    w->ctx = ctx;
    w->pretty = pretty;
}

static void open_list(gy_json_writer *w, const char *key, const char *open, char close) {
    if (w->status == GY_OK && w->depth == GY_JSON_MAX_DEPTH)
        w->status = gy_fail(w->ctx, GY_ERR_USAGE, "JSON: more than %d levels", GY_JSON_MAX_DEPTH);
    if (w->status != GY_OK) return;
    lead(w, key);
    put_text(w, open);
    w->close[w->depth++] = close;
    w->filled[w->depth] = false;
}

void gy_json_open_object(gy_json_writer *w, const char *key) {
    open_list(w, key, "{", '}');
}

void gy_json_open_array(gy_json_writer *w, const char *key) {
    open_list(w, key, "[", ']');
}

void gy_json_close(gy_json_writer *w) {
    if (w->status == GY_OK && w->depth == 0) w->status = gy_fail(w->ctx, GY_ERR_USAGE, "JSON: nothing is open");
    if (w->status != GY_OK) return;
    bool filled = w->filled[w->depth--];
    if (filled) new_line(w);
    put(w, &w->close[w->depth], 1);
}

void gy_json_put_string(gy_json_writer *w, const char *key, const char *value) {
    lead(w, key);
    if (value)
        put_quoted(w, value);
    else
        put_text(w, "null");
}

void gy_json_put_int(gy_json_writer *w, const char *key, int64_t value) {
    char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    lead(w, key);
    put_text(w, text);
}

void gy_json_put_real(gy_json_writer *w, const char *key, double value) {
    char text[40] = "null";
    if (isfinite(value)) {
        int digits = 15;
        do snprintf(text, sizeof text, "%.*g", digits, value);
        while (strtod(text, NULL) != value && ++digits <= 17);
        char *comma = strchr(text, ','); /* a locale's point */
        if (comma) *comma = '.';
        if (!strpbrk(text, ".e")) strcat(text, ".0"); /* stays a fraction when read back */
    }
    lead(w, key);
    put_text(w, text);
}

void gy_json_put_bool(gy_json_writer *w, const char *key, bool value) {
    lead(w, key);
    put_text(w, value ? "true" : "false");
}

void gy_json_put_null(gy_json_writer *w, const char *key) {
    lead(w, key);
    put_text(w, "null");
}

gy_status gy_json_finish(gy_json_writer *w, char **text, size_t *n) {
    *text = NULL;
    *n = 0;
    if (w->status == GY_OK && w->depth > 0)
        w->status = gy_fail(w->ctx, GY_ERR_USAGE, "JSON: an object or array is still open");
    if (w->status == GY_OK && !w->filled[0]) w->status = gy_fail(w->ctx, GY_ERR_USAGE, "JSON: no value was written");
    if (w->status == GY_OK && w->pretty) put(w, "\n", 1);
    gy_status s = w->status;
    if (s == GY_OK) {
        w->text[w->size] = 0;
        *text = w->text;
        *n = w->size;
    } else
        gy_free(w->ctx, w->text);
    memset(w, 0, sizeof *w);
    return s;
}
