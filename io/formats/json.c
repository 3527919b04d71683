#include "json.h"

#include <inttypes.h>
#include <string.h>

typedef struct parser {
    const gy_bytes *src;
    const char *s; /* the text */
    uint64_t n, i, at;
    gy_json *j;
    char *text_end; /* where the next string goes */
    int64_t open;   /* innermost open object or array; -1 */
    uint64_t depth;
} parser;

static gy_status refuse(const parser *p, const char *what) {
    return gy_bytes_fail(p->src, p->at + p->i, "JSON: %s", what);
}

static gy_status expected(const parser *p, const char *what) {
    char shown[32];
    if (p->i >= p->n) return gy_bytes_fail(p->src, p->at + p->i, "JSON: expected %s, found the end", what);
    int k = gy_utf8_next(p->s + p->i, p->n - p->i, NULL);
    return gy_bytes_fail(p->src, p->at + p->i, "JSON: expected %s, found '%s'", what,
                         gy_show_text(p->s + p->i, k ? (size_t)k : 1, shown, sizeof shown));
}

static void skip_space(parser *p) {
    while (p->i < p->n && (p->s[p->i] == ' ' || p->s[p->i] == '\t' || p->s[p->i] == '\n' || p->s[p->i] == '\r')) p->i++;
}

static bool accept(parser *p, char c) {
    if (p->i >= p->n || p->s[p->i] != c) return false;
    p->i++;
    return true;
}

static bool accept_word(parser *p, const char *word) {
    uint64_t k = strlen(word);
    if (p->n - p->i < k || memcmp(p->s + p->i, word, (size_t)k) != 0) return false;
    p->i += k;
    return true;
}

/* ---- strings ---- */

static char *put_utf8(char *o, uint32_t c) {
    if (c < 0x80)
        *o++ = (char)c;
    else if (c < 0x800) {
        *o++ = (char)(0xc0 | c >> 6);
        *o++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *o++ = (char)(0xe0 | c >> 12);
        *o++ = (char)(0x80 | (c >> 6 & 0x3f));
        *o++ = (char)(0x80 | (c & 0x3f));
    } else {
        *o++ = (char)(0xf0 | c >> 18);
        *o++ = (char)(0x80 | (c >> 12 & 0x3f));
        *o++ = (char)(0x80 | (c >> 6 & 0x3f));
        *o++ = (char)(0x80 | (c & 0x3f));
    }
    return o;
}

static bool hex4(parser *p, uint32_t *out) {
    uint32_t v = 0;
    if (p->n - p->i < 4) return false;
    for (int k = 0; k < 4; k++) {
        char c = p->s[p->i + (uint64_t)k];
        int d = c >= '0' && c <= '9'   ? c - '0'
                : c >= 'a' && c <= 'f' ? c - 'a' + 10
                : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                       : -1;
        if (d < 0) return false;
        v = v << 4 | (uint32_t)d;
    }
    p->i += 4;
    *out = v;
    return true;
}

/* Behind "\u". Characters beyond U+FFFF come as two surrogates. */
static gy_status unicode_escape(parser *p, uint32_t *code) {
    uint32_t low;
    if (!hex4(p, code)) return expected(p, "four hexadecimal digits");
    if (*code == 0) return refuse(p, "\\u0000 inside a string");
    if (*code < 0xd800 || *code >= 0xe000) return GY_OK;
    if (*code >= 0xdc00 || !accept(p, '\\') || !accept(p, 'u') || !hex4(p, &low) || low < 0xdc00 || low >= 0xe000)
        return refuse(p, "a lone surrogate");
    *code = 0x10000 + ((*code - 0xd800) << 10) + (low - 0xdc00);
    return GY_OK;
}

/* Behind the opening quote. A decoded string with its NUL is never longer than its text with quotes. */
static gy_status string(parser *p, const char **out) {
    char *o = p->text_end;
    *out = o;
    for (;;) {
        if (p->i >= p->n) return refuse(p, "a string without end");
        unsigned char c = (unsigned char)p->s[p->i];
        if (c == '"') break;
        if (c < 0x20) return refuse(p, "a control character inside a string");
        if (c != '\\') {
            int k = gy_utf8_next(p->s + p->i, p->n - p->i, NULL);
            if (k == 0) return refuse(p, "invalid UTF-8");
            memcpy(o, p->s + p->i, (size_t)k);
            o += k;
            p->i += (uint64_t)k;
            continue;
        }
        static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
        p->i++;
        if (accept(p, 'u')) {
            uint32_t code;
            gy_status s = unicode_escape(p, &code);
            if (s != GY_OK) return s;
            o = put_utf8(o, code);
            continue;
        }
        const char *f = p->i < p->n && p->s[p->i] ? strchr(from, p->s[p->i]) : NULL;
        if (!f) return expected(p, "an escape (one of \"\\/bfnrtu)");
        *o++ = to[f - from];
        p->i++;
    }
    p->i++;
    *o++ = 0;
    p->text_end = o;
    return GY_OK;
}

/* ---- numbers ---- */

static uint64_t digits(parser *p) {
    uint64_t start = p->i;
    while (p->i < p->n && p->s[p->i] >= '0' && p->s[p->i] <= '9') p->i++;
    return p->i - start;
}

static gy_status number(parser *p, gy_json_node *node) {
    uint64_t start = p->i;
    bool integral = true, negative = accept(p, '-');
    if (!accept(p, '0') && !digits(p)) return expected(p, "a value");
    if (accept(p, '.')) {
        integral = false;
        if (!digits(p)) return expected(p, "a digit");
    }
    if (accept(p, 'e') || accept(p, 'E')) {
        integral = false;
        if (!accept(p, '-')) accept(p, '+');
        if (!digits(p)) return expected(p, "a digit");
    }
    const char *s = p->s + start;
    size_t n = (size_t)(p->i - start);
    bool minus_zero = negative && n == 2 && s[1] == '0'; /* only a double tells it from 0 */
    if (integral && !minus_zero && gy_parse_int(s, n, &node->u.integer)) {
        node->kind = GY_JSON_INT;
        return GY_OK;
    }
    node->kind = GY_JSON_DOUBLE;
    if (gy_parse_double(s, n, &node->u.real)) return GY_OK;
    p->i = start;
    return refuse(p, "a number beyond what a double holds");
}

/* ---- values ---- */

static gy_status new_node(parser *p, const char *key, int64_t *out) {
    gy_json *j = p->j;
    if (j->n == j->room) {
        int64_t room = j->room ? 2 * j->room : 64;
        gy_json_node *more = gy_realloc(p->src->ctx, j->nodes, (size_t)room * sizeof *more);
        if (!more) return GY_ERR_NOMEM;
        j->nodes = more;
        j->room = room;
    }
    int64_t k = j->n++;
    j->nodes[k] = (gy_json_node){.key = key, .parent = p->open, .next = -1, .at = p->at + p->i};
    if (p->open >= 0) {
        gy_json_node *list = &j->nodes[p->open];
        if (list->u.list.last >= 0) j->nodes[list->u.list.last].next = k;
        list->u.list.last = k;
        list->u.list.count++;
    }
    *out = k;
    return GY_OK;
}

/* One value; an object or array is only opened. */
static gy_status value(parser *p, const char *key) {
    int64_t k;
    skip_space(p);
    gy_status s = new_node(p, key, &k);
    if (s != GY_OK) return s;
    gy_json_node *node = &p->j->nodes[k];
    if (accept(p, '{') || accept(p, '[')) {
        node->kind = p->s[p->i - 1] == '{' ? GY_JSON_OBJECT : GY_JSON_ARRAY;
        node->u.list.last = -1;
        p->open = k;
        return gy_bytes_limit(p->src, GY_LIMIT_JSON_DEPTH, ++p->depth, "JSON nesting");
    }
    if (accept(p, '"')) {
        node->kind = GY_JSON_STRING;
        return string(p, &node->u.string);
    }
    if (accept_word(p, "null")) return GY_OK; /* GY_JSON_NULL is 0 */
    node->kind = GY_JSON_BOOL;
    if (accept_word(p, "false")) return GY_OK;
    node->u.boolean = accept_word(p, "true");
    return node->u.boolean ? GY_OK : number(p, node);
}

static gy_status repeated(const parser *p, int64_t node) {
    char shown[256];
    const gy_json_node *m = &p->j->nodes[node];
    return gy_bytes_fail(p->src, m->at, "JSON: the key '%s' appears twice",
                         gy_show_text(m->key, strlen(m->key), shown, sizeof shown));
}

/* Keys are compared after their escapes are resolved; a hash table keeps this linear. */
static gy_status check_keys(const parser *p, int64_t object) {
    const gy_json_node *nodes = p->j->nodes;
    int64_t count = nodes[object].u.list.count;
    if (count < 2) return GY_OK;
    uint64_t size = 4;
    while (size < 2 * (uint64_t)count) size *= 2;
    int64_t *slots = gy_calloc(p->src->ctx, (size_t)size, sizeof *slots); /* node 0 is never a member: 0 is free */
    if (!slots) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    for (int64_t i = object + 1; i >= 0 && s == GY_OK; i = nodes[i].next) {
        uint64_t h = gy_hash_str(nodes[i].key, 0) & (size - 1);
        for (; slots[h] && s == GY_OK; h = (h + 1) & (size - 1))
            if (strcmp(nodes[slots[h]].key, nodes[i].key) == 0) s = repeated(p, i);
        if (s == GY_OK) slots[h] = i;
    }
    gy_free(p->src->ctx, slots);
    return s;
}

static gy_status close_list(parser *p) {
    gy_status s = p->j->nodes[p->open].kind == GY_JSON_OBJECT ? check_keys(p, p->open) : GY_OK;
    p->open = p->j->nodes[p->open].parent;
    p->depth--;
    return s;
}

/* A member or element of the innermost list, or its end. */
static gy_status step(parser *p) {
    const gy_json_node *list = &p->j->nodes[p->open];
    bool object = list->kind == GY_JSON_OBJECT, first = list->u.list.count == 0;
    const char *key = NULL;
    skip_space(p);
    if (accept(p, object ? '}' : ']')) return close_list(p);
    if (!first && !accept(p, ',')) return expected(p, object ? "',' or '}'" : "',' or ']'");
    if (object) {
        skip_space(p);
        if (!accept(p, '"')) return expected(p, first ? "a key or '}'" : "a key");
        gy_status s = string(p, &key);
        if (s != GY_OK) return s;
        skip_space(p);
        if (!accept(p, ':')) return expected(p, "':'");
    }
    return value(p, key);
}

static gy_status parse(parser *p) {
    gy_status s = value(p, NULL);
    while (s == GY_OK && p->open >= 0) s = step(p);
    if (s != GY_OK) return s;
    skip_space(p);
    return p->i == p->n ? GY_OK : expected(p, "the end");
}

gy_status gy_json_parse(const gy_bytes *src, uint64_t at, uint64_t n, gy_json *out) {
    *out = (gy_json){.src = src};
    const uint8_t *data;
    void *owned;
    gy_status s = gy_bytes_borrow(src, at, n, &data, &owned);
    if (s != GY_OK) return s;
    out->text = gy_malloc(src->ctx, (size_t)n + 1);
    if (out->text) {
        parser p = {.src = src, .s = (const char *)data, .n = n, .at = at, .j = out, .text_end = out->text, .open = -1};
        s = parse(&p);
    } else
        s = GY_ERR_NOMEM;
    gy_free(src->ctx, owned);
    if (s != GY_OK) gy_json_free(out);
    return s;
}

void gy_json_free(gy_json *j) {
    if (j->src) {
        gy_free(j->src->ctx, j->nodes);
        gy_free(j->src->ctx, j->text);
    }
    *j = (gy_json){0};
}

/* ---- looking ---- */

int64_t gy_json_first(const gy_json *j, int64_t list) {
    if (list < 0 || j->nodes[list].kind < GY_JSON_ARRAY || j->nodes[list].u.list.count == 0) return -1;
    return list + 1;
}

int64_t gy_json_get(const gy_json *j, int64_t object, const char *key) {
    if (object < 0 || j->nodes[object].kind != GY_JSON_OBJECT) return -1;
    for (int64_t i = gy_json_first(j, object); i >= 0; i = j->nodes[i].next)
        if (strcmp(j->nodes[i].key, key) == 0) return i;
    return -1;
}

bool gy_json_integer(const gy_json *j, int64_t node, int64_t *out) {
    if (node < 0 || j->nodes[node].kind != GY_JSON_INT) return false;
    *out = j->nodes[node].u.integer;
    return true;
}

bool gy_json_real(const gy_json *j, int64_t node, double *out) {
    int64_t i;
    if (gy_json_integer(j, node, &i)) {
        *out = (double)i;
        return true;
    }
    if (node < 0 || j->nodes[node].kind != GY_JSON_DOUBLE) return false;
    *out = j->nodes[node].u.real;
    return true;
}

const char *gy_json_string(const gy_json *j, int64_t node) {
    return node >= 0 && j->nodes[node].kind == GY_JSON_STRING ? j->nodes[node].u.string : NULL;
}

const char *gy_json_kind_name(gy_json_kind k) {
    static const char *const names[] = {"null",     "true or false", "an integer", "a fraction",
                                        "a string", "an array",      "an object"};
    return names[k];
}
