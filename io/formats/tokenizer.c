/* The vocabulary, and the way from text to tokens and back; reading files is in tokenizer_json.c and
 * tokenizer_files.c, cutting into words in tokenizer_split.c, merging in tokenizer_bpe.c. */
#include "tokenizer_internal.h"
#include "../files.h"
#include "deflate.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* ---- vocabulary ---- */

gy_status gy_tok_new(gy_ctx *ctx, int64_t size, gy_tokenizer **out) {
    gy_tokenizer *t = gy_calloc(ctx, 1, sizeof *t);
    *out = NULL;
    if (!t) return GY_ERR_NOMEM;
    t->ctx = ctx;
    gy_arena_init(&t->strings, ctx);
    gy_dict_init(&t->names, ctx);
    t->merges.ctx = ctx;
    t->size = size;
    t->unknown = -1;
    t->pieces = gy_calloc(ctx, (size_t)size, sizeof *t->pieces);
    if (!t->pieces) {
        gy_tokenizer_free(t);
        return GY_ERR_NOMEM;
    }
    *out = t;
    return GY_OK;
}

void gy_tokenizer_free(gy_tokenizer *t) {
    if (!t) return;
    gy_free(t->ctx, t->pieces);
    gy_free(t->ctx, t->scores);
    gy_free(t->ctx, t->strip_left);
    gy_free(t->ctx, t->strip_right);
    gy_dict_free(&t->names);
    gy_pairs_free(&t->merges);
    gy_trie_free(&t->words);
    gy_trie_free(&t->added[0]);
    gy_trie_free(&t->added[1]);
    gy_arena_free(&t->strings);
    gy_free(t->ctx, t);
}

void gy_tok_byte_codes(uint32_t codes[256]) {
    uint32_t next = 256;
    for (uint32_t b = 0; b < 256; b++) {
        bool printable = (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
        codes[b] = printable ? b : next++;
    }
}

/* The byte that a code point spells, or -1: the inverse of the above. */
static int byte_of(uint32_t code) {
    uint32_t codes[256];
    if (code >= 256 + 68) return -1;
    gy_tok_byte_codes(codes);
    for (int b = 0; b < 256; b++)
        if (codes[b] == code) return b;
    return -1;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
                                  : -1;
}

/* "<0x0A>" to 10; -1: not of that form; -2: of that form, but no byte. */
static int byte_token(const char *name, uint64_t n) {
    if (n != 6 || memcmp(name, "<0x", 3) != 0 || name[5] != '>') return -1;
    int hi = hex_digit(name[3]), lo = hex_digit(name[4]);
    return hi < 0 || lo < 0 ? -2 : 16 * hi + lo;
}

/* What a token spelled `name` stands for, written over text[0..n]; returns its length, never more than n. */
static uint64_t meaning(const gy_tokenizer *t, char *text, uint64_t n, bool *ends_word) {
    uint64_t out = 0;
    if (t->by_rank) return n;
    if (t->model == GY_TOK_BYTES && t->ends_word && n > 4 && memcmp(text + n - 4, "</w>", 4) == 0) {
        *ends_word = true;
        n -= 4;
    }
    for (uint64_t i = 0; i < n;) {
        uint32_t c = 0;
        int k = gy_utf8_next(text + i, n - i, &c);
        if (k <= 0) k = 1;
        int byte = t->model == GY_TOK_BYTES ? byte_of(c) : c == 0x2581 ? ' ' : -1;
        if (byte >= 0)
            text[out++] = (char)byte;
        else {
            memmove(text + out, text + i, (size_t)k);
            out += (uint64_t)k;
        }
        i += (uint64_t)k;
    }
    text[out] = 0;
    return out;
}

gy_status gy_tok_add(gy_tokenizer *t, const gy_bytes *b, const char *name, uint64_t n, int64_t id) {
    char shown[256];
    int64_t old;
    gy_show_text(name, (size_t)n, shown, sizeof shown);
    if (n == 0) return gy_bytes_fail(b, 0, "tokenizer: token %" PRId64 " is empty", id);
    gy_status s = gy_bytes_limit(b, GY_LIMIT_NAME, n, "token");
    if (s != GY_OK) return s;
    if (id < 0 || id >= t->size)
        return gy_bytes_fail(b, 0, "tokenizer: token '%s': expected a number in 0 .. %" PRId64 ", found %" PRId64,
                             shown, t->size - 1, id);
    if (t->pieces[id].text)
        return gy_bytes_fail(b, 0, "tokenizer: token '%s': the number %" PRId64 " is taken", shown, id);
    char *spelled = gy_arena_alloc(&t->strings, (size_t)n + 1), *text = gy_arena_alloc(&t->strings, (size_t)n + 1);
    if (!spelled || !text) return GY_ERR_NOMEM;
    memcpy(spelled, name, (size_t)n);
    memcpy(text, name, (size_t)n);
    s = gy_dict_add(&t->names, spelled, n, id, &old);
    if (s != GY_OK) return s;
    if (old >= 0) return gy_bytes_fail(b, 0, "tokenizer: token '%s' appears twice", shown);
    gy_tok_piece *p = &t->pieces[id];
    p->text = text;
    int byte = t->byte_fallback ? byte_token(name, n) : -1;
    if (byte == -2) return gy_bytes_fail(b, 0, "tokenizer: byte token '%s': expected <0x00> to <0xFF>", shown);
    if (byte >= 0) {
        text[0] = (char)byte;
        p->n = 1;
    } else {
        p->n = (uint32_t)meaning(t, text, n, &p->ends_word);
    }
    if (n > t->longest) t->longest = n;
    return GY_OK;
}

gy_status gy_tok_add_merge(gy_tokenizer *t, const gy_bytes *b, const char *left, uint64_t nl, const char *right,
                           uint64_t nr, int64_t rank) {
    char joined[512], a[128], c[128];
    int64_t l = gy_dict_get(&t->names, left, nl), r = gy_dict_get(&t->names, right, nr), m = -1;
    if (l >= 0 && r >= 0 && nl + nr <= sizeof joined) {
        memcpy(joined, left, (size_t)nl);
        memcpy(joined + nl, right, (size_t)nr);
        m = gy_dict_get(&t->names, joined, nl + nr);
    }
    gy_show_text(left, (size_t)nl, a, sizeof a);
    gy_show_text(right, (size_t)nr, c, sizeof c);
    if (l < 0 || r < 0 || m < 0)
        return gy_bytes_fail(b, 0, "tokenizer: merge %" PRId64 ", '%s' + '%s': %s is not in the vocabulary", rank, a, c,
                             l < 0   ? "the first"
                             : r < 0 ? "the second"
                                     : "their join");
    uint64_t key = (uint64_t)l << 32 | (uint64_t)r, old;
    if (gy_pairs_get(&t->merges, key, &old))
        return gy_bytes_fail(b, 0, "tokenizer: merge %" PRId64 ", '%s' + '%s', appears twice", rank, a, c);
    return gy_pairs_add(&t->merges, key, (uint64_t)rank << 32 | (uint64_t)m);
}

gy_status gy_tok_finish_bytes(gy_tokenizer *t, const gy_bytes *b) {
    uint32_t codes[256];
    gy_tok_byte_codes(codes);
    for (int i = 0; i < 256; i++) {
        char name[16];
        int n;
        if (t->model != GY_TOK_BYTES) {
            n = snprintf(name, sizeof name, "<0x%02X>", (unsigned)i);
        } else if (t->by_rank) {
            name[0] = (char)i;
            n = 1;
        } else {
            n = gy_utf8_put(codes[i], name);
        }
        t->byte_id[i] = (int32_t)gy_dict_get(&t->names, name, (uint64_t)n);
        memcpy(name + n, "</w>", 4);
        t->byte_end_id[i] = t->ends_word ? (int32_t)gy_dict_get(&t->names, name, (uint64_t)n + 4) : -1;
        bool missing = t->byte_id[i] < 0 || (t->ends_word && t->byte_end_id[i] < 0);
        if (t->model == GY_TOK_BYTES && t->unknown < 0 && missing)
            return gy_bytes_fail(b, 0, "tokenizer: byte 0x%02x has no token, and there is no unknown token",
                                 (unsigned)i);
    }
    return GY_OK;
}

const char *gy_tokenizer_describe(const gy_tokenizer *t) {
    return t->about;
}

int64_t gy_tokenizer_size(const gy_tokenizer *t) {
    return t->size;
}

int32_t gy_tokenizer_id(const gy_tokenizer *t, const char *name) {
    return (int32_t)gy_dict_get(&t->names, name, strlen(name));
}

/* ---- tokens ---- */

gy_status gy_tokens_add(gy_tokens *t, gy_token token) {
    if (t->n == t->room) {
        int64_t room = t->room ? 2 * t->room : 64;
        gy_token *bigger = gy_realloc(t->ctx, t->t, (size_t)room * sizeof *bigger);
        if (!bigger) return GY_ERR_NOMEM;
        t->t = bigger;
        t->room = room;
    }
    t->t[t->n++] = token;
    return GY_OK;
}

void gy_tokens_free(gy_tokens *t) {
    if (t->ctx) gy_free(t->ctx, t->t);
    *t = (gy_tokens){0};
}

/* ---- from text to tokens ---- */

static bool meta_before(const gy_tokenizer *t, const gy_code *c) {
    if (!t->meta || c[0].code == t->meta || c[0].code == ' ') return false;
    return t->meta_prefix == GY_PREFIX_ALWAYS || (t->meta_prefix == GY_PREFIX_FIRST && c[0].begin == 0);
}

/* Normalised text without added tokens: cut into pieces, each of them into tokens. */
static gy_status encode_words(const gy_tokenizer *t, const gy_code *c, int64_t n, gy_tokens *out) {
    gy_codes own = {.ctx = t->ctx};
    gy_status s = GY_OK;
    if (n == 0) return GY_OK;
    bool space = t->space_before && c[0].code != ' ', meta = meta_before(t, c);
    if (t->meta || space) {
        if (space || meta) s = gy_codes_add(&own, (gy_code){meta ? t->meta : ' ', c[0].begin, c[0].begin});
        for (int64_t i = 0; i < n && s == GY_OK; i++) {
            gy_code x = c[i];
            if (t->meta && x.code == ' ') x.code = t->meta;
            s = gy_codes_add(&own, x);
        }
        c = own.c;
        n = own.n;
    }
    for (int64_t i = 0; i < n && s == GY_OK;) {
        bool dropped;
        int64_t end = gy_tok_next_piece(t, c, n, i, &dropped);
        if (!dropped)
            s = t->model == GY_TOK_UNIGRAM ? gy_tok_unigram(t, c + i, end - i, out)
                                           : gy_tok_bpe(t, c + i, end - i, out);
        i = end;
    }
    gy_codes_free(&own);
    return s;
}

/* The longest added token that begins at c[i], or -1. */
static int32_t find_added(const gy_trie *trie, const gy_code *c, int64_t n, int64_t i, int64_t *end) {
    int32_t id = -1;
    if (trie->n == 0) return -1;
    for (int64_t node = 0; i < n && (node = gy_trie_step(trie, node, c[i].code)) >= 0; i++)
        if (trie->leaf[node] >= 0) {
            id = trie->leaf[node];
            *end = i + 1;
        }
    return id;
}

/* Between added tokens of one kind (level 0: in the text as it is; 1: in normalised text) goes on to the next
 * level, and behind the last to words. */
static gy_status encode_level(const gy_tokenizer *t, const gy_code *c, int64_t n, int level, bool plain,
                              gy_tokens *out);

static gy_status encode_gap(const gy_tokenizer *t, const gy_code *c, int64_t n, int level, bool plain, gy_tokens *out) {
    if (n == 0) return GY_OK;
    if (level == 1) return encode_words(t, c, n, out);
    gy_codes own = {.ctx = t->ctx};
    gy_status s = GY_OK;
    for (int64_t i = 0; i < n && s == GY_OK; i++) s = gy_codes_add(&own, c[i]);
    if (s == GY_OK) s = gy_tok_normalise(t, &own);
    if (s == GY_OK) s = encode_level(t, own.c, own.n, 1, plain, out);
    gy_codes_free(&own);
    return s;
}

static gy_status encode_level(const gy_tokenizer *t, const gy_code *c, int64_t n, int level, bool plain,
                              gy_tokens *out) {
    int64_t from = 0;
    gy_status s = GY_OK;
    for (int64_t i = 0; i < n && s == GY_OK;) {
        int64_t end = i + 1;
        int32_t id = find_added(&t->added[level], c, n, i, &end);
        if (id < 0 || (plain && t->pieces[id].special)) {
            i++;
            continue;
        }
        int64_t stop = i;
        while (t->strip_left && t->strip_left[id] && stop > from && gy_code_is_space(c[stop - 1].code)) stop--;
        int64_t next = end;
        while (t->strip_right && t->strip_right[id] && next < n && gy_code_is_space(c[next].code)) next++;
        s = encode_gap(t, c + from, stop - from, level, plain, out);
        if (s == GY_OK) s = gy_tokens_add(out, (gy_token){id, c[i].begin, c[end - 1].end});
        from = i = next;
    }
    return s == GY_OK ? encode_gap(t, c + from, n - from, level, plain, out) : s;
}

static gy_status add_around(const int32_t *ids, int64_t n, int64_t at, gy_tokens *out) {
    gy_status s = GY_OK;
    for (int64_t i = 0; i < n && s == GY_OK; i++) s = gy_tokens_add(out, (gy_token){ids[i], at, at});
    return s;
}

gy_status gy_tokenizer_encode(const gy_tokenizer *t, const char *text, uint64_t n, gy_encode_args args,
                              gy_tokens *out) {
    *out = (gy_tokens){.ctx = t->ctx};
    int64_t around = args.bare ? 0 : t->n_before + t->n_after, at = (int64_t)n;
    if (args.length < 0 || (args.length > 0 && args.length < around))
        return gy_fail(t->ctx, GY_ERR_USAGE, "tokens: expected a length of at least %" PRId64 ", found %" PRId64,
                       around, args.length);
    gy_codes c = {.ctx = t->ctx};
    gy_status s = gy_codes_add_text(&c, text, (int64_t)n, 0);
    if (s == GY_OK && !args.bare) s = add_around(t->before, t->n_before, 0, out);
    if (s == GY_OK) s = encode_level(t, c.c, c.n, 0, args.plain, out);
    gy_codes_free(&c);
    int64_t most = args.length - (args.bare ? 0 : t->n_after);
    if (args.length > 0 && out->n > most) out->n = most;
    if (s == GY_OK && !args.bare) s = add_around(t->after, t->n_after, at, out);
    while (s == GY_OK && out->n < args.length) s = gy_tokens_add(out, (gy_token){args.pad, at, at});
    if (s != GY_OK) gy_tokens_free(out);
    return s;
}

/* ---- and back ---- */

gy_status gy_tokenizer_decode(const gy_tokenizer *t, const int32_t *ids, int64_t count, bool skip_special, char **text,
                              uint64_t *n) {
    uint64_t size = 0, at = 0;
    *text = NULL;
    *n = 0;
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] < 0 || ids[i] >= t->size || !t->pieces[ids[i]].text)
            return gy_fail(t->ctx, GY_ERR_USAGE,
                           "token %" PRId64 " of %" PRId64 ": %" PRId32 " is not in the vocabulary", i, count, ids[i]);
        size += t->pieces[ids[i]].n + 1u;
    }
    char *out = gy_malloc(t->ctx, (size_t)size + 1);
    if (!out) return GY_ERR_NOMEM;
    bool first = true;
    for (int64_t i = 0; i < count; i++) {
        const gy_tok_piece *p = &t->pieces[ids[i]];
        if (p->special && skip_special) continue;
        uint32_t skip = first && t->strip_space && !p->added && p->text[0] == ' ';
        memcpy(out + at, p->text + skip, p->n - skip);
        at += p->n - skip;
        if (p->ends_word) out[at++] = ' ';
        first = false;
    }
    if (t->ends_word && at > 0 && out[at - 1] == ' ') at--;
    out[at] = 0;
    *text = out;
    *n = at;
    return GY_OK;
}

/* ---- opening ---- */

/* The first of `names` that is in the folder, opened. */
static gy_status open_beside(gy_ctx *ctx, const char *folder, const char *const *names, const gy_limits *limits,
                             gy_bytes *out) {
    for (int i = 0; names[i]; i++) {
        char *path = gy_path_join(ctx, folder, names[i]);
        if (!path) return GY_ERR_NOMEM;
        bool there = gy_path_exists(path);
        gy_status s = there ? gy_bytes_open(ctx, path, limits, out) : GY_OK;
        gy_free(ctx, path);
        if (there) return s;
    }
    return gy_fail(ctx, GY_ERR_IO, "%s: no file %s in this folder", folder, names[0]);
}

static gy_status open_vocabulary(gy_ctx *ctx, const char *path, const gy_bytes *b, const gy_limits *limits,
                                 gy_tokenizer **out) {
    static const char *const names[] = {"merges.txt", "vocab.bpe", NULL};
    gy_bytes merges = {0};
    char *folder = gy_strdup(ctx, path);
    if (!folder) return GY_ERR_NOMEM;
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder ? 1 : 0] = 0;
    gy_status s = open_beside(ctx, slash ? folder : ".", names, limits, &merges);
    if (s == GY_OK) s = gy_tok_open_vocabulary(b, &merges, out);
    gy_bytes_close(&merges);
    gy_free(ctx, folder);
    return s;
}

static bool begins(const gy_bytes *b, const char *word) {
    size_t n = strlen(word);
    return b->size >= n && memcmp(b->data, word, n) == 0;
}

/* The first character that is not white space. */
static int first_character(const gy_bytes *b) {
    for (uint64_t i = 0; i < b->size; i++)
        if (!strchr(" \t\r\n", b->data[i]) || b->data[i] == 0) return b->data[i];
    return -1;
}

/* b is in memory here: nothing can cut it. */
static gy_status open_content(gy_ctx *ctx, const char *path, const gy_bytes *b, const gy_limits *limits,
                              gy_tokenizer **out) {
    if (begins(b, "\"bpe_simple_vocab") || begins(b, "#version: 0.2 - CLIP")) return gy_tok_open_clip(b, out);
    if (first_character(b) != '{') return gy_tok_open_ranks(b, out);
    gy_status s = gy_tok_open_json(b, out);
    return s == GY_OK && !*out ? open_vocabulary(ctx, path, b, limits, out) : s;
}

static gy_status open_file(gy_ctx *ctx, const char *path, const gy_bytes *file, const gy_limits *limits,
                           gy_tokenizer **out) {
    uint8_t *data = NULL;
    const uint8_t *p;
    void *owned;
    uint64_t n = file->size;
    gy_bytes b = {0};
    gy_status s = gy_bytes_borrow(file, 0, file->size, &p, &owned);
    if (s != GY_OK) return s;
    if (n >= 2 && p[0] == 0x1f && p[1] == 0x8b) {
        s = gy_inflate(file, 0, file->size, GY_DEFLATE_GZIP, UINT64_MAX, &data, &n);
        p = data;
    }
    if (s == GY_OK) s = gy_bytes_from_memory(ctx, path, p, n, limits, &b);
    if (s == GY_OK) s = open_content(ctx, path, &b, limits, out);
    gy_bytes_close(&b);
    gy_free(ctx, data);
    gy_free(ctx, owned);
    return s;
}

gy_status gy_tokenizer_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_tokenizer **out) {
    static const char *const names[] = {"tokenizer.json", "vocab.json", "encoder.json", NULL};
    gy_bytes file = {0};
    *out = NULL;
    bool folder = gy_path_is_dir(path);
    gy_status s = folder ? open_beside(ctx, path, names, limits, &file) : gy_bytes_open(ctx, path, limits, &file);
    if (s == GY_OK) s = open_file(ctx, file.path, &file, limits, out);
    gy_bytes_close(&file);
    return s;
}
