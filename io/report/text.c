#include "text.h"

#include "../bytes.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

void gy_text_init(gy_text *t, gy_ctx *ctx) {
    *t = (gy_text){.ctx = ctx};
}

void gy_text_free(gy_text *t) {
    if (t->ctx) gy_free(t->ctx, t->s);
    *t = (gy_text){0};
}

void gy_text_bytes(gy_text *t, const void *p, size_t n) {
    if (t->status != GY_OK || n == 0) return;
    if (t->capacity - t->size <= n) {
        uint64_t need;
        if (!gy_add_u64(t->size, n, &need) || !gy_add_u64(need, need / 2 + 256, &need)) need = UINT64_MAX;
        char *s = gy_realloc(t->ctx, t->s, (size_t)need);
        if (!s) {
            t->status = GY_ERR_NOMEM;
            return;
        }
        t->s = s;
        t->capacity = (size_t)need;
    }
    memcpy(t->s + t->size, p, n);
    t->size += n;
    t->s[t->size] = 0;
}

void gy_text_put(gy_text *t, const char *markup) {
    gy_text_bytes(t, markup, strlen(markup));
}

void gy_text_int(gy_text *t, int64_t v) {
    char buf[32];
    snprintf(buf, sizeof buf, "%lld", (long long)v);
    gy_text_put(t, buf);
}

void gy_text_draw(gy_text *t, const char *markup, int n, const double *numbers) {
    int used = 0;
    for (const char *p = markup; *p;) {
        size_t run = strcspn(p, "%");
        gy_text_bytes(t, p, run);
        p += run;
        if (*p != '%') break;
        p++;
        char buf[GY_NUMBER_TEXT];
        gy_number_fixed(used < n ? numbers[used] : 0, 2, buf);
        used++;
        char *end = buf + strlen(buf);
        if (strchr(buf, '.') && !strchr(buf, 'e')) {
            while (end[-1] == '0') *--end = 0;
            if (end[-1] == '.') *--end = 0;
        }
        gy_text_put(t, buf);
    }
}

gy_status gy_text_take(gy_text *t, char **out, size_t *size) {
    gy_text_bytes(t, "", 1); /* so that an empty text is a string too */
    gy_status st = t->status;
    if (st == GY_OK) {
        *out = t->s;
        if (size) *size = t->size - 1;
        t->s = NULL;
    }
    gy_text_free(t);
    return st;
}

/* ---- strangers' strings ---- */

static bool is_space(uint32_t c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* Characters that XML forbids, that terminals or browsers act on, or that reorder the text around them. */
static bool is_harmful(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200e && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
           (c >= 0x2066 && c <= 0x2069) || (c >= 0xfdd0 && c <= 0xfdef) || (c & 0xfffe) == 0xfffe || c == 0xfeff;
}

void gy_text_escaped(gy_text *t, const char *s, int64_t cap) {
    if (!s) return;
    for (int64_t i = 0; *s; i++) {
        if (i >= cap) {
            gy_text_put(t, "\xe2\x80\xa6");
            return;
        }
        uint32_t c = 0;
        int n = gy_utf8_next(s, 4, &c); /* reads no further than the first byte that does not continue, NUL too */
        if (n == 0 || (!is_space(c) && is_harmful(c)))
            gy_text_put(t, "\xef\xbf\xbd");
        else if (is_space(c))
            gy_text_put(t, " ");
        else if (c == '<')
            gy_text_put(t, "&lt;");
        else if (c == '>')
            gy_text_put(t, "&gt;");
        else if (c == '&')
            gy_text_put(t, "&amp;");
        else if (c == '"')
            gy_text_put(t, "&quot;");
        else if (c == '\'')
            gy_text_put(t, "&#39;");
        else
            gy_text_bytes(t, s, (size_t)n);
        s += n ? n : 1;
    }
}

/* Advance widths of a typical sans-serif by class, in ems; a little generous, so that labels which
 * are laid out by this estimate do not touch in a wider font. */
static double advance(uint32_t c) {
    if (c == 0) return 0;
    if (c < 128 && strchr("ijl.,:;'|!", (int)c)) return 0.32;
    if (c < 128 && strchr("ftrI()[]/- ", (int)c)) return 0.40;
    if (c < 128 && strchr("mwMW%@", (int)c)) return 0.92;
    if (c >= 'A' && c <= 'Z') return 0.72;
    if (c < 0x2e80) return 0.60;
    return 1.0; /* East Asian and pictographs */
}

double gy_text_width(const char *s, int64_t cap) {
    double w = 0;
    for (int64_t i = 0; s && *s; i++) {
        if (i >= cap) return w + 1.0;
        uint32_t c = 0;
        int n = gy_utf8_next(s, 4, &c);
        w += n ? advance(c) : 0.6;
        s += n ? n : 1;
    }
    return w;
}

void gy_text_base64(gy_text *t, const uint8_t *p, size_t n) {
    static const char digit[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char out[4 * 256];
    size_t fill = 0;
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        out[fill++] = digit[v >> 18];
        out[fill++] = digit[v >> 12 & 63];
        out[fill++] = left > 1 ? digit[v >> 6 & 63] : '=';
        out[fill++] = left > 2 ? digit[v & 63] : '=';
        if (fill == sizeof out) {
            gy_text_bytes(t, out, fill);
            fill = 0;
        }
    }
    gy_text_bytes(t, out, fill);
}

gy_status gy_refuse(gy_ctx *ctx, gy_status status, const char *fmt, ...) {
    char raw[1024], shown[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    return gy_fail(ctx, status, "%s", gy_show_text(raw, strlen(raw), shown, sizeof shown));
}

/* ---- numbers ---- */

/* printf follows the locale of the program we live in; a comma would break every coordinate. */
static char *unlocalise(char *buf) {
    for (char *p = buf; *p; p++)
        if (!strchr("0123456789+-.eE", *p)) *p = '.';
    return buf;
}

static char *special(double x, char *buf) {
    snprintf(buf, GY_NUMBER_TEXT, "%s", isnan(x) ? "n/a" : x > 0 ? "inf" : "-inf");
    return buf;
}

char *gy_number_fixed(double x, int decimals, char buf[GY_NUMBER_TEXT]) {
    if (!isfinite(x)) return special(x, buf);
    if (fabs(x) >= 1e9) return gy_number_short(x, 6, buf);
    snprintf(buf, GY_NUMBER_TEXT, "%.*f", decimals < 0 ? 0 : decimals > 9 ? 9 : decimals, x);
    unlocalise(buf);
    if (buf[0] == '-' && strspn(buf + 1, "0.") == strlen(buf + 1)) memmove(buf, buf + 1, strlen(buf));
    return buf;
}

char *gy_number_short(double x, int digits, char buf[GY_NUMBER_TEXT]) {
    if (!isfinite(x)) return special(x, buf);
    snprintf(buf, GY_NUMBER_TEXT, "%.*g", digits < 1 ? 1 : digits > 17 ? 17 : digits, x == 0 ? 0.0 : x);
    return unlocalise(buf);
}
