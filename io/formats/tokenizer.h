/* tokenizer.h: text to token numbers and back, for the language models in models/.
 *
 * Read from the files that the models are published with:
 *   tokenizer.json           (Hugging Face): byte-level BPE (GPT-2, Llama 3, Qwen2, CLIP), SentencePiece-style BPE
 *                            (Llama 2, TinyLlama) and Unigram
 *   vocab.json + merges.txt  (or encoder.json + vocab.bpe) in one folder: GPT-2; CLIP when its tokens end in </w>
 *   NAME.tiktoken            base64 ranks: GPT-2's
 *   bpe_simple_vocab_16e6.txt[.gz]: CLIP
 *
 * BPE (Sennrich et al. 2016, arXiv 1508.07909): of the neighbours that the table of merges lists, the pair of the
 * lowest rank is merged, the leftmost first, until none is listed; here by a heap over a linked list, n log n.
 * Unigram (Kudo 2018, arXiv 1804.10959): the split of the highest score, by Viterbi.
 *
 * Any bytes are accepted. Byte-level vocabularies give back the very bytes; what is not UTF-8 counts as a symbol
 * when text is cut into words. A normaliser, pattern or model that is not known is refused by name. */
#ifndef GY_IO_TOKENIZER_H
#define GY_IO_TOKENIZER_H

#include "../bytes.h"

typedef struct gy_tokenizer gy_tokenizer;

/* path: one of the files above (content decides which), or a folder with tokenizer.json or vocab.json in it. */
gy_status gy_tokenizer_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_tokenizer **out) GY_MUST_CHECK;
void gy_tokenizer_free(gy_tokenizer *t); /* NULL is fine */
/* One line: "byte-level BPE (GPT-2 pattern), 50257 tokens, 50000 merges". */
const char *gy_tokenizer_describe(const gy_tokenizer *t);

int64_t gy_tokenizer_size(const gy_tokenizer *t); /* the largest token number plus one */
/* The token spelled so in the file ("<|endoftext|>", "\u0120world"); -1: none. */
int32_t gy_tokenizer_id(const gy_tokenizer *t, const char *name);

typedef struct gy_token {
    int32_t id;
    int64_t begin, end; /* bytes of the source text; begin == end for what was added */
} gy_token;
typedef struct gy_tokens {
    gy_ctx *ctx;
    gy_token *t;
    int64_t n, room;
} gy_tokens;
void gy_tokens_free(gy_tokens *t); /* all-zero is fine */

typedef struct gy_encode_args {
    bool bare;      /* without the tokens that the post-processor puts around (bos, eos) */
    bool plain;     /* special tokens spelled in the text are ordinary text */
    int64_t length; /* > 0: exactly so many tokens: cut (the closing ones kept) or filled up with `pad` */
    int32_t pad;
} gy_encode_args;
gy_status gy_tokenizer_encode(const gy_tokenizer *t, const char *text, uint64_t n, gy_encode_args args,
                              gy_tokens *out) GY_MUST_CHECK;
/* *text is gy_malloc'd, *n bytes and a NUL behind them. `skip_special` leaves out special tokens. A number that
 * is no token is refused. */
gy_status gy_tokenizer_decode(const gy_tokenizer *t, const int32_t *ids, int64_t count, bool skip_special, char **text,
                              uint64_t *n) GY_MUST_CHECK;

#endif
