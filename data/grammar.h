/* grammar.h: a small English-like language with known entropy, for language models.
 *
 *     the NOUN[s] [PREP the NOUN[s]] VERB[s] the NOUN[s] .
 *
 * with 8 nouns, 4 prepositions, 8 verbs, all choices uniform (the bracketed phrase comes half of the time). The verb
 * agrees with the first noun, not with the noun before it: after "the dog near the cats hear" comes "s". That is the
 * agreement test of Linzen, Dupoux & Goldberg 2016 (arXiv 1611.01368): a model that looks only at the last noun fails
 * where the two differ in number. */
#ifndef GY_DATA_GRAMMAR_H
#define GY_DATA_GRAMMAR_H

#include "../core/base.h"

/* What stands at a byte of the text. */
typedef enum gy_grammar_mark {
    GY_GRAMMAR_OTHER = 0,
    GY_GRAMMAR_AGREES,   /* 's' or ' ': decided by the subject; the last noun has the same number */
    GY_GRAMMAR_ATTRACTED /* the last noun has the other number */
} gy_grammar_mark;

/* Fills text[n] (and mark[n], NULL: not wanted) with whole sentences, the last one cut. Keyed by (seed, name). */
void gy_grammar_text(uint64_t seed, const char *name, uint8_t *text, uint8_t *mark, int64_t n);
/* Nats a byte that no model can do without: entropy of a sentence / its expected length. */
double gy_grammar_entropy(void);

#endif
