/* From a piece of text to tokens: BPE over a heap and a linked list; Unigram by Viterbi. */
#include "tokenizer_internal.h"

#include <math.h>
#include <string.h>

/* ---- numbers to numbers ---- */

static uint64_t mix(uint64_t k) {
    k = (k ^ k >> 33) * 0xff51afd7ed558ccdu;
    k = (k ^ k >> 33) * 0xc4ceb9fe1a85ec53u;
    return k ^ k >> 33;
}

static uint64_t slot_of(const gy_pairs *p, uint64_t key) {
    uint64_t h = mix(key) & (p->room - 1);
    while (p->keys[h] != UINT64_MAX && p->keys[h] != key) h = (h + 1) & (p->room - 1);
    return h;
}

static gy_status grow(gy_pairs *p) {
    gy_pairs q = {.ctx = p->ctx, .n = p->n, .room = p->room ? 2 * p->room : 64};
    q.keys = gy_malloc(p->ctx, (size_t)q.room * sizeof *q.keys);
    q.values = gy_malloc(p->ctx, (size_t)q.room * sizeof *q.values);
    if (!q.keys || !q.values) {
        gy_free(p->ctx, q.keys);
        gy_free(p->ctx, q.values);
        return GY_ERR_NOMEM;
    }
    for (uint64_t i = 0; i < q.room; i++) q.keys[i] = UINT64_MAX;
    for (uint64_t i = 0; i < p->room; i++) {
        if (p->keys[i] == UINT64_MAX) continue;
        uint64_t h = slot_of(&q, p->keys[i]);
        q.keys[h] = p->keys[i];
        q.values[h] = p->values[i];
    }
    gy_pairs_free(p);
    *p = q;
    return GY_OK;
}

gy_status gy_pairs_add(gy_pairs *p, uint64_t key, uint64_t value) {
    if (2 * (p->n + 1) > p->room) {
        gy_status s = grow(p);
        if (s != GY_OK) return s;
    }
    uint64_t h = slot_of(p, key);
    if (p->keys[h] == UINT64_MAX) p->n++;
    p->keys[h] = key;
    p->values[h] = value;
    return GY_OK;
}

bool gy_pairs_get(const gy_pairs *p, uint64_t key, uint64_t *value) {
    if (p->n == 0) return false;
    uint64_t h = slot_of(p, key);
    if (p->keys[h] == UINT64_MAX) return false;
    *value = p->values[h];
    return true;
}

void gy_pairs_free(gy_pairs *p) {
    gy_free(p->ctx, p->keys);
    gy_free(p->ctx, p->values);
    *p = (gy_pairs){.ctx = p->ctx};
}

/* ---- tries ---- */

static gy_status new_node(gy_trie *t, gy_ctx *ctx) {
    if (t->n == t->room) {
        int64_t room = t->room ? 2 * t->room : 64;
        int32_t *bigger = gy_realloc(ctx, t->leaf, (size_t)room * sizeof *bigger);
        if (!bigger) return GY_ERR_NOMEM;
        t->leaf = bigger;
        t->room = room;
    }
    t->leaf[t->n++] = -1;
    return GY_OK;
}

gy_status gy_trie_add(gy_trie *t, gy_ctx *ctx, const char *key, uint64_t n, int32_t id) {
    t->edges.ctx = ctx;
    gy_status s = t->n ? GY_OK : new_node(t, ctx);
    uint64_t node = 0, next;
    for (uint64_t i = 0; i < n && s == GY_OK; i++, node = next) {
        uint64_t edge = node << 8 | (uint8_t)key[i];
        if (gy_pairs_get(&t->edges, edge, &next)) continue;
        next = (uint64_t)t->n;
        s = new_node(t, ctx);
        if (s == GY_OK) s = gy_pairs_add(&t->edges, edge, next);
    }
    if (s == GY_OK) t->leaf[node] = id;
    return s;
}

int64_t gy_trie_step(const gy_trie *t, int64_t node, uint32_t code) {
    char s[4];
    if (code >= GY_CODE_BYTE) return -1;
    int n = gy_utf8_put(code, s);
    uint64_t at = (uint64_t)node;
    for (int i = 0; i < n; i++)
        if (!gy_pairs_get(&t->edges, at << 8 | (uint8_t)s[i], &at)) return -1;
    return (int64_t)at;
}

void gy_trie_free(gy_trie *t) {
    if (t->edges.ctx) {
        gy_free(t->edges.ctx, t->leaf);
        gy_pairs_free(&t->edges);
    }
    *t = (gy_trie){0};
}

/* ---- BPE ---- */

typedef struct symbol {
    int32_t id, prev, next; /* next = n: the last; id -1: merged into another */
    int64_t begin, end;     /* source bytes */
    int64_t at, n;          /* bytes of the piece; by_rank looks them up */
} symbol;

/* A possible merge of symbols `at` and its neighbour, which were left and right when it was found. */
typedef struct candidate {
    uint32_t rank;
    int32_t at, left, right, merged;
} candidate;

typedef struct bpe {
    const gy_tokenizer *t;
    const char *text; /* the piece */
    symbol *s;
    candidate *heap;
    int32_t n;
    int64_t n_heap;
} bpe;

static bool before(candidate a, candidate b) {
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void heap_push(bpe *b, candidate c) {
    int64_t i = b->n_heap++;
    while (i > 0 && before(c, b->heap[(i - 1) / 2])) {
        b->heap[i] = b->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    b->heap[i] = c;
}

static candidate heap_pop(bpe *b) {
    candidate top = b->heap[0], last = b->heap[--b->n_heap];
    int64_t i = 0;
    for (;;) {
        int64_t k = 2 * i + 1;
        if (k >= b->n_heap) break;
        if (k + 1 < b->n_heap && before(b->heap[k + 1], b->heap[k])) k++;
        if (!before(b->heap[k], last)) break;
        b->heap[i] = b->heap[k];
        i = k;
    }
    b->heap[i] = last;
    return top;
}

/* Each merge removes a symbol and finds at most two candidates, so the heap holds at most 3 n. */
static void consider(bpe *b, int32_t i) {
    if (i < 0 || b->s[i].next >= b->n) return;
    const symbol *x = &b->s[i], *y = &b->s[x->next];
    candidate c = {.at = i, .left = x->id, .right = y->id};
    uint64_t v;
    if (b->t->by_rank) {
        if ((uint64_t)(x->n + y->n) > b->t->longest) return;
        int64_t id = gy_dict_get(&b->t->names, b->text + x->at, (uint64_t)(x->n + y->n));
        if (id < 0 || b->t->pieces[id].added) return;
        c.rank = (uint32_t)id;
        c.merged = (int32_t)id;
    } else {
        if (!gy_pairs_get(&b->t->merges, (uint64_t)(uint32_t)x->id << 32 | (uint32_t)y->id, &v)) return;
        c.rank = (uint32_t)(v >> 32);
        c.merged = (int32_t)(uint32_t)v;
    }
    heap_push(b, c);
}

static void merge_all(bpe *b) {
    for (int32_t i = 0; i + 1 < b->n; i++) consider(b, i);
    while (b->n_heap > 0) {
        candidate c = heap_pop(b);
        symbol *x = &b->s[c.at];
        if (x->id != c.left || x->next >= b->n || b->s[x->next].id != c.right) continue; /* merged meanwhile */
        symbol *y = &b->s[x->next];
        x->id = c.merged;
        x->end = y->end;
        x->n += y->n;
        x->next = y->next;
        y->id = -1;
        if (x->next < b->n) b->s[x->next].prev = c.at;
        consider(b, x->prev);
        consider(b, c.at);
    }
}

static void add_symbol(bpe *b, int32_t id, int64_t begin, int64_t end, int64_t at, int64_t n) {
    b->s[b->n] = (symbol){.id = id, .prev = b->n - 1, .next = b->n + 1, .begin = begin, .end = end, .at = at, .n = n};
    b->n++;
}

/* The bytes of one code point, in text at `at`; an unchanged one is told apart byte by byte. */
static void add_bytes(bpe *b, const gy_code *c, int64_t at, int64_t k, bool last) {
    const gy_tokenizer *t = b->t;
    bool exact = c->end - c->begin == k;
    for (int64_t j = 0; j < k; j++) {
        uint8_t byte = (uint8_t)b->text[at + j];
        int32_t id = last && j == k - 1 && t->ends_word ? t->byte_end_id[byte] : t->byte_id[byte];
        if (id < 0) id = t->unknown;
        if (id >= 0) add_symbol(b, id, exact ? c->begin + j : c->begin, exact ? c->begin + j + 1 : c->end, at + j, 1);
    }
}

/* A code point that is a token; else its bytes' tokens, if there are all; else the unknown one. */
static void add_code(bpe *b, const gy_code *c, int64_t at, int64_t k) {
    const gy_tokenizer *t = b->t;
    int64_t id = c->code < GY_CODE_BYTE ? gy_dict_get(&t->names, b->text + at, (uint64_t)k) : -1;
    if (id >= 0) {
        add_symbol(b, (int32_t)id, c->begin, c->end, at, k);
        return;
    }
    bool all = t->byte_fallback;
    for (int64_t j = 0; j < k && all; j++) all = t->byte_id[(uint8_t)b->text[at + j]] >= 0;
    if (all)
        add_bytes(b, c, at, k, false);
    else if (t->unknown >= 0 && t->fuse_unknown && b->n > 0 && b->s[b->n - 1].id == t->unknown)
        b->s[b->n - 1].end = c->end;
    else if (t->unknown >= 0)
        add_symbol(b, t->unknown, c->begin, c->end, at, k);
}

static int64_t put_code(uint32_t code, char *s) {
    if (code < GY_CODE_BYTE) return gy_utf8_put(code, s);
    s[0] = (char)(uint8_t)(code - GY_CODE_BYTE);
    return 1;
}

/* The whole piece as one token, as it is spelled in a byte-level vocabulary; -1: it is none. */
static int64_t whole(const gy_tokenizer *t, const char *text, int64_t n) {
    if (t->by_rank) {
        int64_t id = (uint64_t)n <= t->longest ? gy_dict_get(&t->names, text, (uint64_t)n) : -1;
        return id >= 0 && t->pieces[id].added ? -1 : id;
    }
    char spelled[1024];
    uint32_t codes[256];
    int64_t at = 0;
    if (!t->ignore_merges || n > 256) return -1;
    if (t->model != GY_TOK_BYTES) return gy_dict_get(&t->names, text, (uint64_t)n);
    gy_tok_byte_codes(codes);
    for (int64_t i = 0; i < n; i++) at += gy_utf8_put(codes[(uint8_t)text[i]], spelled + at);
    return gy_dict_get(&t->names, spelled, (uint64_t)at);
}

gy_status gy_tok_bpe(const gy_tokenizer *t, const gy_code *c, int64_t n, gy_tokens *out) {
    bpe b = {.t = t};
    if (n > INT32_MAX / 4) return gy_fail(t->ctx, GY_ERR_UNSUPPORTED, "a word of more than 2^29 code points");
    char *text = gy_malloc(t->ctx, 4 * (size_t)n);
    int64_t at = 0;
    if (!text) return GY_ERR_NOMEM;
    b.text = text;
    for (int64_t i = 0; i < n; i++) at += put_code(c[i].code, text + at);
    int64_t id = whole(t, text, at);
    if (id >= 0) {
        gy_free(t->ctx, text);
        return gy_tokens_add(out, (gy_token){(int32_t)id, c[0].begin, c[n - 1].end});
    }
    b.s = gy_malloc(t->ctx, (size_t)at * sizeof *b.s);
    b.heap = gy_malloc(t->ctx, 3 * (size_t)at * sizeof *b.heap);
    gy_status s = b.s && b.heap ? GY_OK : GY_ERR_NOMEM;
    at = 0;
    for (int64_t i = 0; i < n && s == GY_OK; i++) {
        char utf8[4];
        int64_t k = put_code(c[i].code, utf8);
        if (t->model == GY_TOK_BYTES)
            add_bytes(&b, &c[i], at, k, i == n - 1);
        else
            add_code(&b, &c[i], at, k);
        at += k;
    }
    if (s == GY_OK) merge_all(&b);
    for (int32_t i = 0; i < b.n && s == GY_OK; i = b.s[i].next)
        s = gy_tokens_add(out, (gy_token){b.s[i].id, b.s[i].begin, b.s[i].end});
    gy_free(t->ctx, b.heap);
    gy_free(t->ctx, b.s);
    gy_free(t->ctx, text);
    return s;
}

/* ---- Unigram ---- */

/* The best way to reach a place between code points. */
typedef struct place {
    double score;
    int64_t from; /* -1: not reached */
    int32_t id;
} place;

/* A character that no word covers costs ten more than the worst word, as in SentencePiece. */
static void best_path(const gy_tokenizer *t, const gy_code *c, int64_t n, place *p) {
    double unknown = t->least_score - 10.0;
    for (int64_t i = 0; i <= n; i++) p[i] = (place){0.0, -1, -1};
    for (int64_t i = 0; i < n; i++) {
        bool single = false;
        int64_t node = 0;
        for (int64_t j = i; j < n && (node = gy_trie_step(&t->words, node, c[j].code)) >= 0; j++) {
            int32_t id = t->words.leaf[node];
            if (id < 0) continue;
            double score = p[i].score + t->scores[id];
            if (p[j + 1].from < 0 || score > p[j + 1].score) p[j + 1] = (place){score, i, id};
            if (j == i) single = true;
        }
        if (!single && (p[i + 1].from < 0 || p[i].score + unknown > p[i + 1].score))
            p[i + 1] = (place){p[i].score + unknown, i, t->unknown};
    }
}

/* What is unknown: its bytes if there are tokens for all of them, else the unknown token. */
static gy_status add_unknown(const gy_tokenizer *t, const gy_code *c, int64_t n, gy_tokens *out) {
    char utf8[4];
    bool all = t->byte_fallback;
    for (int64_t i = 0; i < n && all; i++)
        for (int64_t j = 0, k = put_code(c[i].code, utf8); j < k; j++) all = all && t->byte_id[(uint8_t)utf8[j]] >= 0;
    if (!all) return t->unknown < 0 ? GY_OK : gy_tokens_add(out, (gy_token){t->unknown, c[0].begin, c[n - 1].end});
    gy_status s = GY_OK;
    for (int64_t i = 0; i < n; i++) {
        int64_t k = put_code(c[i].code, utf8);
        bool exact = c[i].end - c[i].begin == k;
        for (int64_t j = 0; j < k && s == GY_OK; j++)
            s = gy_tokens_add(out, (gy_token){t->byte_id[(uint8_t)utf8[j]], exact ? c[i].begin + j : c[i].begin,
                                              exact ? c[i].begin + j + 1 : c[i].end});
    }
    return s;
}

gy_status gy_tok_unigram(const gy_tokenizer *t, const gy_code *c, int64_t n, gy_tokens *out) {
    place *p = gy_malloc(t->ctx, ((size_t)n + 1) * sizeof *p);
    if (!p) return GY_ERR_NOMEM;
    best_path(t, c, n, p);
    /* Turn the chain of `from`s round, so that p[i].from is the end of the word that begins at i. */
    int32_t id = p[n].id;
    for (int64_t end = n, at = p[n].from, next = n; end > 0;) {
        int64_t before_at = p[at].from;
        int32_t before_id = p[at].id;
        p[at].from = next;
        p[at].id = id;
        next = end = at;
        at = before_at;
        id = before_id;
    }
    gy_status s = GY_OK;
    for (int64_t i = 0; i < n && s == GY_OK;) {
        int64_t end = p[i].from;
        if (p[i].id != t->unknown) {
            s = gy_tokens_add(out, (gy_token){p[i].id, c[i].begin, c[end - 1].end});
        } else {
            while (end < n && p[end].id == t->unknown) end = p[end].from;
            s = add_unknown(t, c + i, end - i, out);
        }
        i = end;
    }
    gy_free(t->ctx, p);
    return s;
}
