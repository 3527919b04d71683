#include "unicode.h"
#include "../bytes.h"

#include <string.h>

typedef struct code_row {
    uint32_t first, last;
    int32_t value, step;
} code_row;
typedef struct code_pair {
    uint32_t code, a, b;
} code_pair;
#include "unicode_tables.h"

#define COUNT(a) ((int64_t)(sizeof(a) / sizeof *(a)))

/* ---- properties ---- */

/* The row with first <= c <= last, or NULL. */
static const code_row *find_row(const code_row *rows, int64_t n, uint32_t c) {
    int64_t lo = 0, hi = n;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (rows[mid].last < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n && rows[lo].first <= c ? &rows[lo] : NULL;
}

bool gy_code_is_letter(uint32_t c) {
    if (c < 0x80) return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
    return find_row(letters, COUNT(letters), c) != NULL;
}

bool gy_code_is_number(uint32_t c) {
    if (c < 0x80) return c >= '0' && c <= '9';
    return find_row(numbers, COUNT(numbers), c) != NULL;
}

bool gy_code_is_space(uint32_t c) {
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

uint32_t gy_code_lower(uint32_t c) {
    const code_row *r = find_row(lowers, COUNT(lowers), c);
    return r && (c - r->first) % (uint32_t)r->step == 0 ? (uint32_t)((int64_t)c + r->value) : c;
}

static int class_of(uint32_t c) {
    const code_row *r = c < 0x300 ? NULL : find_row(classes, COUNT(classes), c);
    return r ? r->value : 0;
}

/* ---- text ---- */

int gy_utf8_put(uint32_t c, char s[4]) {
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[5] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int i = n - 1; i > 0; i--, c >>= 6) s[i] = (char)(0x80 | (c & 0x3f));
    s[0] = (char)(lead[n] | c);
    return n;
}

gy_status gy_codes_add(gy_codes *t, gy_code c) {
    if (t->n == t->room) {
        int64_t room = t->room ? 2 * t->room : 64;
        gy_code *bigger = gy_realloc(t->ctx, t->c, (size_t)room * sizeof *bigger);
        if (!bigger) return GY_ERR_NOMEM;
        t->c = bigger;
        t->room = room;
    }
    t->c[t->n++] = c;
    return GY_OK;
}

gy_status gy_codes_add_text(gy_codes *t, const char *text, int64_t n, int64_t at) {
    for (int64_t i = 0; i < n;) {
        uint32_t c;
        int k = gy_utf8_next(text + i, (uint64_t)(n - i), &c);
        if (k == 0) {
            c = GY_CODE_BYTE + (uint8_t)text[i];
            k = 1;
        }
        gy_status s = gy_codes_add(t, (gy_code){c, at + i, at + i + k});
        if (s != GY_OK) return s;
        i += k;
    }
    return GY_OK;
}

void gy_codes_free(gy_codes *t) {
    if (t->ctx) gy_free(t->ctx, t->c);
    *t = (gy_codes){0};
}

/* ---- NFC: decompose, sort marks, compose ---- */

/* Hangul syllables are arithmetic (The Unicode Standard, section 3.12). */
enum { S0 = 0xac00, L0 = 0x1100, V0 = 0x1161, T0 = 0x11a7, NL = 19, NV = 21, NT = 28, NS = NL * NV * NT };

static const code_pair *find_pair(uint32_t c) {
    int64_t lo = 0, hi = COUNT(pairs);
    if (c < pairs[0].code) return NULL;
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        if (pairs[mid].code < c)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < COUNT(pairs) && pairs[lo].code == c ? &pairs[lo] : NULL;
}

/* Appends the full decomposition of c; only first parts decompose further. */
static gy_status decompose(gy_codes *out, gy_code c) {
    uint32_t tail[4];
    int n = 0;
    if (c.code >= S0 && c.code < S0 + NS) {
        uint32_t i = c.code - S0;
        if (i % NT) tail[n++] = T0 + i % NT;
        tail[n++] = V0 + i % (NV * NT) / NT;
        c.code = L0 + i / (NV * NT);
    } else {
        for (const code_pair *p; n < 4 && (p = find_pair(c.code)) != NULL;) {
            if (p->b) tail[n++] = p->b;
            c.code = p->a;
        }
    }
    gy_status s = gy_codes_add(out, c);
    while (n > 0 && s == GY_OK) {
        c.code = tail[--n];
        s = gy_codes_add(out, c);
    }
    return s;
}

/* Stable merge of two sorted halves, bottom up: a letter with a million marks must not cost a million squared. */
static void sort_marks(gy_code *c, int64_t n, gy_code *scratch) {
    for (int64_t width = 1; width < n; width *= 2) {
        for (int64_t lo = 0; lo < n; lo += 2 * width) {
            int64_t mid = lo + width < n ? lo + width : n, hi = lo + 2 * width < n ? lo + 2 * width : n;
            int64_t i = lo, j = mid;
            for (int64_t k = lo; k < hi; k++)
                scratch[k] = i < mid && (j == hi || class_of(c[i].code) <= class_of(c[j].code)) ? c[i++] : c[j++];
        }
        memcpy(c, scratch, (size_t)n * sizeof *c);
    }
}

static gy_status order(gy_codes *t) {
    gy_code *scratch = NULL;
    for (int64_t i = 0; i < t->n;) {
        int64_t from = i;
        while (i < t->n && class_of(t->c[i].code) != 0) i++;
        if (i - from > 1) {
            if (!scratch) scratch = gy_malloc(t->ctx, (size_t)t->n * sizeof *scratch);
            if (!scratch) return GY_ERR_NOMEM;
            sort_marks(t->c + from, i - from, scratch);
        }
        if (i == from) i++;
    }
    gy_free(t->ctx, scratch);
    return GY_OK;
}

/* The composite of a and b, or 0. */
static uint32_t composite(uint32_t a, uint32_t b) {
    if (a >= L0 && a < L0 + NL && b >= V0 && b < V0 + NV) return S0 + ((a - L0) * NV + (b - V0)) * NT;
    if (a >= S0 && a < S0 + NS && (a - S0) % NT == 0 && b > T0 && b < T0 + NT) return a + (b - T0);
    int64_t lo = 0, hi = COUNT(composing);
    while (lo < hi) {
        int64_t mid = lo + (hi - lo) / 2;
        const code_pair *p = &pairs[composing[mid]];
        if (p->a == a && p->b == b) return p->code;
        if (p->a < a || (p->a == a && p->b < b))
            lo = mid + 1;
        else
            hi = mid;
    }
    return 0;
}

static void compose(gy_codes *t) {
    int64_t out = 0, starter = -1;
    int before = -1; /* class of the code point kept last behind the starter; -1: none was */
    for (int64_t i = 0; i < t->n; i++) {
        gy_code c = t->c[i];
        int k = class_of(c.code);
        uint32_t both = starter >= 0 && before < k ? composite(t->c[starter].code, c.code) : 0;
        if (both) {
            gy_code *s = &t->c[starter];
            s->code = both;
            if (c.begin < s->begin) s->begin = c.begin;
            if (c.end > s->end) s->end = c.end;
            continue;
        }
        before = k;
        if (k == 0) {
            starter = out;
            before = -1;
        }
        t->c[out++] = c;
    }
    t->n = out;
}

gy_status gy_codes_nfc(gy_codes *t) {
    bool plain = true; /* below U+0300 everything is composed already */
    for (int64_t i = 0; i < t->n && plain; i++) plain = t->c[i].code < 0x300;
    if (plain) return GY_OK;
    gy_codes full = {.ctx = t->ctx};
    gy_status s = GY_OK;
    for (int64_t i = 0; i < t->n && s == GY_OK; i++) s = decompose(&full, t->c[i]);
    if (s == GY_OK) s = order(&full);
    if (s == GY_OK) {
        compose(&full);
        gy_codes old = *t;
        *t = full;
        full = old;
    }
    gy_codes_free(&full);
    return s;
}
