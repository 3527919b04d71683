/* The parts of a tokenizer, filled in by tokenizer_json.c and tokenizer_files.c. */
#ifndef GY_IO_TOKENIZER_INTERNAL_H
#define GY_IO_TOKENIZER_INTERNAL_H

#include "../dict.h"
#include "tokenizer.h"
#include "unicode.h"

/* Numbers to numbers: merges by pairs, tries by (node, byte). */
typedef struct gy_pairs {
    gy_ctx *ctx;
    uint64_t *keys; /* UINT64_MAX: free */
    uint64_t *values;
    uint64_t n, room;
} gy_pairs;
gy_status gy_pairs_add(gy_pairs *p, uint64_t key, uint64_t value) GY_MUST_CHECK; /* replaces */
bool gy_pairs_get(const gy_pairs *p, uint64_t key, uint64_t *value);
void gy_pairs_free(gy_pairs *p);

/* Byte strings by prefix; leaf[node] is the token that ends there, or -1. */
typedef struct gy_trie {
    gy_pairs edges;
    int32_t *leaf;
    int64_t n, room;
} gy_trie;
gy_status gy_trie_add(gy_trie *t, gy_ctx *ctx, const char *key, uint64_t n, int32_t id) GY_MUST_CHECK;
/* From node (0: the root) along the UTF-8 of a code point; -1: no further. */
int64_t gy_trie_step(const gy_trie *t, int64_t node, uint32_t code);
void gy_trie_free(gy_trie *t);

typedef enum gy_tok_model { GY_TOK_BYTES, GY_TOK_TEXT, GY_TOK_UNIGRAM } gy_tok_model;
typedef enum gy_tok_pattern {
    GY_PATTERN_NONE,
    GY_PATTERN_GPT2,
    GY_PATTERN_LLAMA3,
    GY_PATTERN_QWEN2,
    GY_PATTERN_CLIP
} gy_tok_pattern;

typedef enum gy_tok_rule { GY_RULE_NFC, GY_RULE_LOWER, GY_RULE_REPLACE, GY_RULE_SPACES, GY_RULE_PREPEND } gy_tok_rule;
typedef struct gy_tok_step {
    gy_tok_rule rule;
    uint32_t from;        /* REPLACE: this code point; SPACES: every run of white space */
    uint32_t to[8], n_to; /* becomes these; PREPEND: these go before a text that is not empty */
} gy_tok_step;

typedef enum gy_tok_prefix { GY_PREFIX_NEVER, GY_PREFIX_FIRST, GY_PREFIX_ALWAYS } gy_tok_prefix;

typedef struct gy_tok_piece {
    const char *text; /* what it stands for; NULL: the number is not used */
    uint32_t n;
    bool special, added, ends_word;
} gy_tok_piece;

enum { GY_TOK_STEPS = 8, GY_TOK_AROUND = 8 };

struct gy_tokenizer {
    gy_ctx *ctx;
    gy_arena strings;
    char about[128];
    gy_tok_model model;
    gy_tok_piece *pieces;
    int64_t size;
    gy_dict names; /* spelling in the file to number */
    /* from text to pieces of text */
    gy_tok_step steps[GY_TOK_STEPS];
    int64_t n_steps;
    gy_tok_pattern pattern;
    bool space_before; /* ByteLevel's add_prefix_space */
    uint32_t meta;     /* Metaspace: U+2581, or 0 */
    gy_tok_prefix meta_prefix;
    bool meta_split, strip_space;   /* strip_space: decoding takes one leading space away */
    gy_trie added[2];               /* added tokens; [1]: looked for in the normalised text */
    bool *strip_left, *strip_right; /* of added tokens, by number; NULL: none has any */
    /* from pieces to tokens */
    int32_t byte_id[256], byte_end_id[256]; /* BYTES: one byte, and with </w>; TEXT, UNIGRAM: <0x00> ...; -1 */
    gy_pairs merges;                        /* (left << 32 | right) to (rank << 32 | merged) */
    bool by_rank;                           /* tiktoken: any two that join into a token, rank = number */
    uint64_t longest;                       /* bytes of the longest token */
    bool ignore_merges, ends_word, byte_fallback, fuse_unknown;
    int32_t unknown; /* -1: none */
    gy_trie words;   /* UNIGRAM */
    double *scores, least_score;
    /* around them */
    int32_t before[GY_TOK_AROUND], after[GY_TOK_AROUND];
    int64_t n_before, n_after;
};

gy_status gy_tok_new(gy_ctx *ctx, int64_t size, gy_tokenizer **out) GY_MUST_CHECK;
/* Byte-level vocabularies spell each byte as a printable code point (GPT-2's encoder.py); the 256 of them. */
void gy_tok_byte_codes(uint32_t codes[256]);
/* Adds token `id` spelled `name`; what it stands for follows from the model (set before). */
gy_status gy_tok_add(gy_tokenizer *t, const gy_bytes *b, const char *name, uint64_t n, int64_t id) GY_MUST_CHECK;
gy_status gy_tok_add_merge(gy_tokenizer *t, const gy_bytes *b, const char *left, uint64_t nl, const char *right,
                           uint64_t nr, int64_t rank) GY_MUST_CHECK;
/* Finds the tokens of single bytes; a byte-level vocabulary without an unknown token must have all. */
gy_status gy_tok_finish_bytes(gy_tokenizer *t, const gy_bytes *b) GY_MUST_CHECK;

gy_status gy_tok_open_json(const gy_bytes *b, gy_tokenizer **out) GY_MUST_CHECK;
gy_status gy_tok_open_clip(const gy_bytes *b, gy_tokenizer **out) GY_MUST_CHECK;
gy_status gy_tok_open_ranks(const gy_bytes *b, gy_tokenizer **out) GY_MUST_CHECK;
gy_status gy_tok_open_vocabulary(const gy_bytes *vocabulary, const gy_bytes *merges, gy_tokenizer **out) GY_MUST_CHECK;

/* The piece that begins at c[i] ends before the returned index, > i; *dropped: it is white space to leave out. */
int64_t gy_tok_next_piece(const gy_tokenizer *t, const gy_code *c, int64_t n, int64_t i, bool *dropped);
/* Applies the normaliser to codes in place. */
gy_status gy_tok_normalise(const gy_tokenizer *t, gy_codes *c) GY_MUST_CHECK;

gy_status gy_tokens_add(gy_tokens *t, gy_token token) GY_MUST_CHECK;
gy_status gy_tok_bpe(const gy_tokenizer *t, const gy_code *c, int64_t n, gy_tokens *out) GY_MUST_CHECK;
gy_status gy_tok_unigram(const gy_tokenizer *t, const gy_code *c, int64_t n, gy_tokens *out) GY_MUST_CHECK;

#endif
