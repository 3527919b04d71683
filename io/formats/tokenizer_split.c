/* From text to pieces: normalisation and the published patterns, written out as scanners over code points. An
 * alternative of a pattern is tried only where those before it fail, as the regular expression does. */
#include "tokenizer_internal.h"

#include <string.h>

/* ---- normalisation ---- */

static gy_status rewrite(const gy_tok_step *r, gy_codes *c) {
    gy_codes out = {.ctx = c->ctx};
    gy_status s = GY_OK;
    if (r->rule == GY_RULE_PREPEND && c->n > 0)
        for (uint32_t k = 0; k < r->n_to && s == GY_OK; k++)
            s = gy_codes_add(&out, (gy_code){r->to[k], c->c[0].begin, c->c[0].begin});
    for (int64_t i = 0; i < c->n && s == GY_OK; i++) {
        gy_code x = c->c[i];
        bool hit = r->rule == GY_RULE_REPLACE && x.code == r->from;
        if (r->rule == GY_RULE_SPACES && gy_code_is_space(x.code)) {
            hit = true;
            while (i + 1 < c->n && gy_code_is_space(c->c[i + 1].code)) x.end = c->c[++i].end;
        }
        if (r->rule == GY_RULE_LOWER && x.code == 0x130) { /* the one that becomes two: i and a dot above */
            s = gy_codes_add(&out, (gy_code){'i', x.begin, x.end});
            x.code = 0x307;
        } else if (r->rule == GY_RULE_LOWER) {
            x.code = gy_code_lower(x.code);
        }
        if (!hit) {
            if (s == GY_OK) s = gy_codes_add(&out, x);
            continue;
        }
        for (uint32_t k = 0; k < r->n_to && s == GY_OK; k++)
            s = gy_codes_add(&out, (gy_code){r->to[k], x.begin, x.end});
    }
    if (s == GY_OK) {
        gy_codes old = *c;
        *c = out;
        out = old;
    }
    gy_codes_free(&out);
    return s;
}

gy_status gy_tok_normalise(const gy_tokenizer *t, gy_codes *c) {
    gy_status s = GY_OK;
    for (int64_t i = 0; i < t->n_steps && s == GY_OK; i++)
        s = t->steps[i].rule == GY_RULE_NFC ? gy_codes_nfc(c) : rewrite(&t->steps[i], c);
    return s;
}

/* ---- classes ---- */

typedef enum code_class { LETTER, NUMBER, SPACE, OTHER } code_class;

static code_class class_of(uint32_t c) {
    if (gy_code_is_letter(c)) return LETTER;
    if (gy_code_is_number(c)) return NUMBER;
    return gy_code_is_space(c) ? SPACE : OTHER;
}

/* The end of the run of `k` that begins at i, at most `most` long. */
static int64_t run(const gy_code *c, int64_t n, int64_t i, code_class k, int64_t most) {
    int64_t from = i;
    while (i < n && i - from < most && class_of(c[i].code) == k) i++;
    return i;
}

static bool is_newline(uint32_t c) {
    return c == '\r' || c == '\n';
}

/* ---- alternatives ---- */

/* 's|'t|'re|'ve|'m|'ll|'d: its end, or i. With `fold` in any case, U+017F (long s) included. */
static int64_t contraction(const gy_code *c, int64_t n, int64_t i, bool fold) {
    static const char *const endings[] = {"s", "t", "re", "ve", "m", "ll", "d"};
    if (c[i].code != '\'') return i;
    for (size_t k = 0; k < sizeof endings / sizeof *endings; k++) {
        int64_t j = 0, len = (int64_t)strlen(endings[k]);
        for (; j < len && i + 1 + j < n; j++) {
            uint32_t x = c[i + 1 + j].code;
            if (fold) x = x == 0x17f ? 's' : gy_code_lower(x);
            if (x != (uint32_t)endings[k][j]) break;
        }
        if (j == len) return i + 1 + len;
    }
    return i;
}

/* \s+(?!\S)|\s+ : a run before a word leaves its last one to the word. */
static int64_t spaces(const gy_code *c, int64_t n, int64_t i) {
    int64_t end = run(c, n, i, SPACE, n);
    return end == n || end - i == 1 ? end : end - 1;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
static int64_t gpt2(const gy_code *c, int64_t n, int64_t i) {
    int64_t end = contraction(c, n, i, false), j = i;
    if (end > i) return end;
    if (c[i].code == ' ' && i + 1 < n && class_of(c[i + 1].code) != SPACE) j++;
    code_class k = class_of(c[j].code);
    return k == SPACE ? spaces(c, n, i) : run(c, n, j, k, n);
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * Qwen2 has \p{N}, one number a piece. */
static int64_t llama3(const gy_code *c, int64_t n, int64_t i, int64_t numbers) {
    int64_t end = contraction(c, n, i, true);
    if (end > i) return end;
    code_class k = class_of(c[i].code);
    if (k == LETTER) return run(c, n, i, LETTER, n);
    if (k != NUMBER && !is_newline(c[i].code) && i + 1 < n && class_of(c[i + 1].code) == LETTER)
        return run(c, n, i + 1, LETTER, n);
    if (k == NUMBER) return run(c, n, i, NUMBER, numbers);
    int64_t j = c[i].code == ' ' && i + 1 < n ? i + 1 : i;
    if (class_of(c[j].code) == OTHER) {
        end = run(c, n, j, OTHER, n);
        while (end < n && is_newline(c[end].code)) end++;
        return end;
    }
    end = run(c, n, i, SPACE, n);
    for (j = end; j > i; j--)
        if (is_newline(c[j - 1].code)) return j;
    return spaces(c, n, i);
}

/* 's|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+ ; what lies between is left out. */
static int64_t clip(const gy_code *c, int64_t n, int64_t i) {
    int64_t end = contraction(c, n, i, false);
    if (end > i) return end;
    code_class k = class_of(c[i].code);
    return run(c, n, i, k, k == NUMBER ? 1 : n);
}

/* Metaspace with split: a piece begins at each U+2581. */
static int64_t metaspace(const gy_code *c, int64_t n, int64_t i, uint32_t meta) {
    for (i++; i < n && c[i].code != meta;) i++;
    return i;
}

int64_t gy_tok_next_piece(const gy_tokenizer *t, const gy_code *c, int64_t n, int64_t i, bool *dropped) {
    *dropped = false;
    switch (t->pattern) {
    case GY_PATTERN_GPT2: return gpt2(c, n, i);
    case GY_PATTERN_LLAMA3: return llama3(c, n, i, 3);
    case GY_PATTERN_QWEN2: return llama3(c, n, i, 1);
    case GY_PATTERN_CLIP: *dropped = gy_code_is_space(c[i].code); return clip(c, n, i);
    case GY_PATTERN_NONE: break;
    }
    return t->meta && t->meta_split ? metaspace(c, n, i, t->meta) : n;
}
