/* Vocabularies in plain files: vocab.json with merges.txt, tiktoken's ranks, CLIP's merges. */
#include "json.h"
#include "tokenizer_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct line {
    const char *s;
    uint64_t n, at;
} line;

/* The next line without its ending; false at the end. */
static bool next_line(const gy_bytes *b, uint64_t *at, line *out) {
    if (*at >= b->size) return false;
    const char *s = (const char *)b->data + *at, *nl = memchr(s, '\n', (size_t)(b->size - *at));
    uint64_t n = nl ? (uint64_t)(nl - s) : b->size - *at;
    *out = (line){s, n, *at};
    *at += n + (nl != NULL);
    if (out->n && out->s[out->n - 1] == '\r') out->n--;
    return true;
}

/* "left right", both without a space. */
static gy_status add_merge_line(gy_tokenizer *t, const gy_bytes *b, line l, int64_t rank) {
    const char *space = memchr(l.s, ' ', (size_t)l.n);
    uint64_t left = space ? (uint64_t)(space - l.s) : 0;
    if (left == 0 || left + 1 == l.n || memchr(space + 1, ' ', (size_t)(l.n - left - 1)))
        return gy_bytes_fail(b, l.at, "tokenizer: merges: expected two tokens and a space between");
    return gy_tok_add_merge(t, b, l.s, left, space + 1, l.n - left - 1, rank);
}

static gy_status add_merges(gy_tokenizer *t, const gy_bytes *b) {
    uint64_t at = 0;
    int64_t rank = 0;
    line l;
    gy_status s = GY_OK;
    while (s == GY_OK && next_line(b, &at, &l)) {
        if (l.n == 0 || (l.at == 0 && l.n >= 8 && memcmp(l.s, "#version", 8) == 0)) continue;
        s = gy_bytes_limit(b, GY_LIMIT_ENTRIES, (uint64_t)rank + 1, "merges");
        if (s == GY_OK) s = add_merge_line(t, b, l, rank++);
    }
    return s;
}

/* Marks a token as special and lets it be found in text. */
static gy_status add_special(gy_tokenizer *t, const char *name) {
    int32_t id = gy_tokenizer_id(t, name);
    if (id < 0) return GY_OK;
    t->pieces[id].special = t->pieces[id].added = true;
    return gy_trie_add(&t->added[0], t->ctx, name, strlen(name), id);
}

/* CLIP: NFC, runs of white space to one space, lower case; bos and eos around. */
static gy_status set_clip(gy_tokenizer *t) {
    t->steps[0] = (gy_tok_step){.rule = GY_RULE_NFC};
    t->steps[1] = (gy_tok_step){.rule = GY_RULE_SPACES, .to = {' '}, .n_to = 1};
    t->steps[2] = (gy_tok_step){.rule = GY_RULE_LOWER};
    t->n_steps = 3;
    t->pattern = GY_PATTERN_CLIP;
    gy_status s = add_special(t, "<|startoftext|>");
    if (s == GY_OK) s = add_special(t, "<|endoftext|>");
    t->before[0] = gy_tokenizer_id(t, "<|startoftext|>");
    t->after[0] = gy_tokenizer_id(t, "<|endoftext|>");
    t->n_before = t->before[0] >= 0;
    t->n_after = t->after[0] >= 0;
    return s;
}

static void describe(gy_tokenizer *t, const char *what, uint64_t merges) {
    snprintf(t->about, sizeof t->about, "byte-level BPE (%s), %" PRId64 " tokens, %" PRIu64 " merges", what, t->size,
             merges);
}

/* Frees a tokenizer that could not be filled. */
static gy_status settle(gy_status s, gy_tokenizer *t, gy_tokenizer **out) {
    if (s != GY_OK)
        gy_tokenizer_free(t);
    else
        *out = t;
    return s;
}

/* ---- vocab.json and merges.txt ---- */

static gy_status fill_vocabulary(gy_tokenizer *t, const gy_bytes *b, const gy_json *j, const gy_bytes *merges) {
    t->model = GY_TOK_BYTES;
    t->pattern = GY_PATTERN_GPT2;
    t->ends_word = gy_json_get(j, 0, "a</w>") >= 0;
    gy_status s = GY_OK;
    for (int64_t i = gy_json_first(j, 0), id; i >= 0 && s == GY_OK; i = j->nodes[i].next) {
        const char *name = j->nodes[i].key;
        if (!gy_json_integer(j, i, &id))
            return gy_bytes_fail_key(b, name, "tokenizer: expected an integer, found %s",
                                     gy_json_kind_name(j->nodes[i].kind));
        s = gy_tok_add(t, b, name, strlen(name), id);
    }
    if (s == GY_OK) s = add_merges(t, merges);
    if (s == GY_OK && t->ends_word) {
        t->unknown = gy_tokenizer_id(t, "<|endoftext|>");
        s = set_clip(t);
    } else if (s == GY_OK) {
        s = add_special(t, "<|endoftext|>");
    }
    if (s == GY_OK) s = gy_tok_finish_bytes(t, b);
    describe(t, t->ends_word ? "CLIP" : "GPT-2", t->merges.n);
    return s;
}

gy_status gy_tok_open_vocabulary(const gy_bytes *b, const gy_bytes *merges, gy_tokenizer **out) {
    gy_json j = {0};
    gy_tokenizer *t = NULL;
    const uint8_t *p;
    void *owned = NULL;
    gy_bytes m = {0};
    gy_status s = gy_json_parse(b, 0, b->size, &j);
    if (s == GY_OK) s = gy_bytes_limit(b, GY_LIMIT_ENTRIES, (uint64_t)j.nodes[0].u.list.count, "tokens");
    if (s == GY_OK) s = gy_bytes_borrow(merges, 0, merges->size, &p, &owned);
    if (s == GY_OK) s = gy_bytes_from_memory(b->ctx, merges->path, p, merges->size, &merges->limits, &m);
    if (s == GY_OK) s = gy_tok_new(b->ctx, j.nodes[0].u.list.count, &t);
    if (s == GY_OK) s = settle(fill_vocabulary(t, b, &j, &m), t, out);
    gy_bytes_close(&m);
    gy_free(b->ctx, owned);
    gy_json_free(&j);
    return s;
}

/* ---- tiktoken ---- */

static int base64_digit(char c) {
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* Decodes s[0..n) into out, of at least 3 n / 4 bytes; -1: not base64. */
static int64_t base64(const char *s, uint64_t n, char *out) {
    if (n % 4 != 0) return -1;
    int64_t at = 0;
    while (n > 0 && s[n - 1] == '=' && n % 4 != 2) n--;
    uint32_t bits = 0;
    int have = 0;
    for (uint64_t i = 0; i < n; i++) {
        int d = base64_digit(s[i]);
        if (d < 0) return -1;
        bits = bits << 6 | (uint32_t)d;
        have += 6;
        if (have >= 8) out[at++] = (char)(uint8_t)(bits >> (have -= 8));
    }
    return (bits & ((1u << have) - 1)) == 0 ? at : -1;
}

static gy_status add_rank(gy_tokenizer *t, const gy_bytes *b, line l) {
    char token[1024];
    const char *space = memchr(l.s, ' ', (size_t)l.n);
    uint64_t n = space ? (uint64_t)(space - l.s) : 0;
    int64_t rank, size = n > 0 && n <= 1024 ? base64(l.s, n, token) : -1;
    if (size < 0 || !gy_parse_int(space + 1, (size_t)(l.n - n - 1), &rank))
        return gy_bytes_fail(b, l.at, "tokenizer: ranks: expected base64, a space and a number");
    return gy_tok_add(t, b, token, (uint64_t)size, rank);
}

enum { GPT2_RANKS = 50256 };

gy_status gy_tok_open_ranks(const gy_bytes *b, gy_tokenizer **out) {
    uint64_t at = 0, count = 0;
    gy_tokenizer *t = NULL;
    line l;
    while (next_line(b, &at, &l)) count += l.n > 0;
    if (count > GPT2_RANKS)
        return gy_bytes_fail(
            b, 0, "tokenizer: %" PRIu64 " ranks: only GPT-2's pattern is known for rank files, of at most %d", count,
            GPT2_RANKS);
    if (count < 256) return gy_bytes_fail(b, 0, "tokenizer: expected JSON, CLIP's merges, or at least 256 ranks");
    /* The rank file has no special tokens; GPT-2's one has the next number. */
    gy_status s = gy_tok_new(b->ctx, (int64_t)count + (count == GPT2_RANKS), &t);
    if (s != GY_OK) return s;
    t->model = GY_TOK_BYTES;
    t->by_rank = true;
    t->pattern = GY_PATTERN_GPT2;
    for (at = 0; s == GY_OK && next_line(b, &at, &l);)
        if (l.n > 0) s = add_rank(t, b, l);
    if (s == GY_OK && count == GPT2_RANKS) {
        s = gy_tok_add(t, b, "<|endoftext|>", 13, GPT2_RANKS);
        if (s == GY_OK) s = add_special(t, "<|endoftext|>");
    }
    if (s == GY_OK) s = gy_tok_finish_bytes(t, b);
    describe(t, "GPT-2 pattern, by rank", count - 256);
    return settle(s, t, out);
}

/* ---- CLIP's bpe_simple_vocab_16e6.txt ---- */

/* Of the file's 262,145 lines the first 48,894 behind the heading are used (CLIP's simple_tokenizer.py). */
enum { CLIP_MERGES = 49152 - 256 - 2, CLIP_TOKENS = CLIP_MERGES + 512 + 2 };

/* 256 bytes in the order of their code points' groups, then the same with </w>. */
static gy_status add_clip_bytes(gy_tokenizer *t, const gy_bytes *b) {
    uint32_t codes[256];
    int64_t id = 0;
    gy_status s = GY_OK;
    gy_tok_byte_codes(codes);
    for (int end = 0; end < 2; end++)
        for (int moved = 0; moved < 2; moved++)
            for (int i = 0; i < 256 && s == GY_OK; i++) {
                char name[16];
                if ((codes[i] >= 256) != moved) continue;
                int n = gy_utf8_put(codes[i], name);
                memcpy(name + n, "</w>", 4);
                s = gy_tok_add(t, b, name, (uint64_t)n + (end ? 4 : 0), id++);
            }
    return s;
}

/* A merge makes the next token. */
static gy_status add_clip_merge(gy_tokenizer *t, const gy_bytes *b, line l, int64_t rank) {
    char joined[256];
    const char *space = memchr(l.s, ' ', (size_t)l.n);
    uint64_t n = space ? (uint64_t)(space - l.s) : 0;
    if (n == 0 || l.n > sizeof joined) return add_merge_line(t, b, l, rank); /* fails with its message */
    memcpy(joined, l.s, (size_t)n);
    memcpy(joined + n, space + 1, (size_t)(l.n - n - 1));
    gy_status s = gy_tok_add(t, b, joined, l.n - 1, 512 + rank);
    return s == GY_OK ? add_merge_line(t, b, l, rank) : s;
}

static gy_status fill_clip(gy_tokenizer *t, const gy_bytes *b) {
    uint64_t at = 0;
    int64_t rank = 0;
    line l;
    t->model = GY_TOK_BYTES;
    t->ends_word = true;
    gy_status s = add_clip_bytes(t, b);
    if (s == GY_OK) next_line(b, &at, &l); /* the heading */
    while (s == GY_OK && rank < CLIP_MERGES && next_line(b, &at, &l)) s = add_clip_merge(t, b, l, rank++);
    if (s == GY_OK && rank < CLIP_MERGES)
        s = gy_bytes_fail(b, at, "tokenizer: CLIP: expected %d merges, found %" PRId64, (int)CLIP_MERGES, rank);
    if (s == GY_OK) s = gy_tok_add(t, b, "<|startoftext|>", 15, CLIP_TOKENS - 2);
    if (s == GY_OK) s = gy_tok_add(t, b, "<|endoftext|>", 13, CLIP_TOKENS - 1);
    if (s == GY_OK) s = gy_tok_finish_bytes(t, b);
    if (s == GY_OK) s = set_clip(t);
    describe(t, "CLIP", t->merges.n);
    return s;
}

gy_status gy_tok_open_clip(const gy_bytes *b, gy_tokenizer **out) {
    gy_tokenizer *t = NULL;
    gy_status s = gy_tok_new(b->ctx, CLIP_TOKENS, &t);
    return s == GY_OK ? settle(fill_clip(t, b), t, out) : s;
}
