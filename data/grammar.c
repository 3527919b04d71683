#include "grammar.h"

#include "../core/rng.h"

#include <math.h>
#include <string.h>

enum { NOUNS = 8, VERBS = 8, PREPOSITIONS = 4 };
static const char *const nouns[NOUNS] = {"dog", "cat", "bird", "horse", "girl", "boy", "farmer", "teacher"};
static const char *const verbs[VERBS] = {"see", "hear", "follow", "like", "help", "know", "admire", "visit"};
static const char *const prepositions[PREPOSITIONS] = {"near", "behind", "beside", "above"};

typedef struct out {
    uint8_t *text, *mark;
    int64_t n, at;
} out;

static void put(out *o, const char *s, gy_grammar_mark mark) {
    for (; *s && o->at < o->n; s++, o->at++) {
        o->text[o->at] = (uint8_t)*s;
        if (o->mark) o->mark[o->at] = (uint8_t)mark;
    }
}

/* "the dogs "; true: plural */
static bool noun_phrase(out *o, gy_rng *rng) {
    put(o, "the ", GY_GRAMMAR_OTHER);
    put(o, nouns[gy_rng_below(rng, NOUNS)], GY_GRAMMAR_OTHER);
    bool plural = gy_rng_below(rng, 2);
    put(o, plural ? "s " : " ", GY_GRAMMAR_OTHER);
    return plural;
}

static void sentence(out *o, gy_rng *rng) {
    bool plural = noun_phrase(o, rng), last = plural;
    if (gy_rng_below(rng, 2)) {
        put(o, prepositions[gy_rng_below(rng, PREPOSITIONS)], GY_GRAMMAR_OTHER);
        put(o, " ", GY_GRAMMAR_OTHER);
        last = noun_phrase(o, rng);
    }
    put(o, verbs[gy_rng_below(rng, VERBS)], GY_GRAMMAR_OTHER);
    gy_grammar_mark mark = last == plural ? GY_GRAMMAR_AGREES : GY_GRAMMAR_ATTRACTED;
    if (!plural) put(o, "s", mark);
    put(o, " ", plural ? mark : GY_GRAMMAR_OTHER);
    noun_phrase(o, rng);
    put(o, ".\n", GY_GRAMMAR_OTHER);
}

void gy_grammar_text(uint64_t seed, const char *name, uint8_t *text, uint8_t *mark, int64_t n) {
    gy_rng rng;
    out o = {text, mark, n, 0};
    gy_rng_init(&rng, seed, name);
    while (o.at < n) sentence(&o, &rng);
}

static double mean_length(const char *const *words, int n) {
    double sum = 0;
    for (int i = 0; i < n; i++) sum += (double)strlen(words[i]);
    return sum / n;
}

double gy_grammar_entropy(void) {
    double noun = log(NOUNS) + log(2), noun_length = 4 + mean_length(nouns, NOUNS) + 1.5;
    double phrase = log(PREPOSITIONS) + noun, phrase_length = mean_length(prepositions, PREPOSITIONS) + 1 + noun_length;
    double nats = noun + log(2) + phrase / 2 + log(VERBS) + noun;
    double length = noun_length + phrase_length / 2 + mean_length(verbs, VERBS) + 1.5 + noun_length + 2;
    return nats / length;
}
