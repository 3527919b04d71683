#include "markup.h"

#include "harness.h"

enum { DEPTH = 64, NAME = 32 };

static void bad(const char *s, const char *at, const char *what) {
    int from = at - s > 60 ? 60 : (int)(at - s);
    fail_msg("markup: %s at byte %ld: \"%.*s[here]%.60s\"", what, (long)(at - s), from, at - from, at);
}

/* One tag, from '<' to '>': a name, then name="value" pairs. Returns the place after '>'. */
static const char *tag(const char *s, const char *p, char name[NAME], int *closing, int *empty) {
    const char *start = p++;
    *closing = *p == '/';
    p += *closing;
    size_t n = strcspn(p, " \t\n/>");
    if (n == 0 || n >= NAME) bad(s, start, "no element name");
    memcpy(name, p, n);
    name[n] = 0;
    p += n;
    *empty = 0;
    while (*p && *p != '>') {
        p += strspn(p, " \n\t");
        if (*p == '/' && p[1] == '>') {
            *empty = 1;
            p++;
        } else if (*p != '>') {
            size_t key = strcspn(p, "= \n\t<>\"'");
            if (key == 0 || p[key] != '=' || p[key + 1] != '"') bad(s, p, "an attribute without a quoted value");
            const char *value = p + key + 2, *end = strchr(value, '"');
            if (!end) bad(s, p, "an open quote");
            if (memchr(value, '<', (size_t)(end - value))) bad(s, p, "'<' in an attribute");
            p = end + 1;
        }
    }
    if (!*p) bad(s, start, "an open tag");
    return p + 1;
}

void assert_markup(const char *s) {
    char open[DEPTH][NAME];
    int depth = 0;
    const char *p = s;
    if (!strncmp(p, "<!DOCTYPE html>", 15)) p += 15;
    while (*p) {
        unsigned char c = (unsigned char)*p;
        if ((c < 0x20 && c != '\n') || c == 0x7f) bad(s, p, "a control character");
        if (c == '&') {
            size_t n = strcspn(p, "; <");
            if (p[n] != ';' || n > 8) bad(s, p, "a bare ampersand");
        }
        if (c == '>') bad(s, p, "a bare '>'");
        if (c != '<') {
            p++;
            continue;
        }
        char name[NAME];
        int closing, empty;
        const char *start = p;
        p = tag(s, p, name, &closing, &empty);
        if (empty || !strcmp(name, "!DOCTYPE")) continue;
        if (closing) {
            if (depth == 0 || strcmp(open[depth - 1], name) != 0) bad(s, start, "closes what is not open");
            depth--;
        } else {
            if (depth == DEPTH) bad(s, start, "nested too deep");
            memcpy(open[depth++], name, NAME);
            if (!strcmp(name, "style")) { /* its content is CSS, not markup */
                p = strstr(p, "</style>");
                if (!p) bad(s, start, "an open style");
            }
        }
    }
    if (depth) fail_msg("markup: <%s> is never closed", open[depth - 1]);
}

int count_of(const char *s, const char *part) {
    int n = 0;
    for (s = strstr(s, part); s; s = strstr(s + strlen(part), part)) n++;
    return n;
}
