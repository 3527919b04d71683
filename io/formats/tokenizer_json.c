/* Hugging Face's tokenizer.json: {"added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder",
 * "model"}. Each component has a "type"; what is not known here is refused by that name, so that no text is ever
 * cut another way than the model was trained with. */
#include "json.h"
#include "tokenizer_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

typedef struct reader {
    const gy_bytes *b;
    gy_json j;
    gy_tokenizer *t;
} reader;

static gy_status refuse(const reader *r, const char *key, const char *what) {
    return gy_bytes_fail_key(r->b, key, "tokenizer: %s", what);
}

static const char *string_of(const reader *r, int64_t object, const char *key) {
    return gy_json_string(&r->j, gy_json_get(&r->j, object, key));
}

static bool true_of(const reader *r, int64_t object, const char *key, bool otherwise) {
    int64_t i = gy_json_get(&r->j, object, key);
    return i >= 0 && r->j.nodes[i].kind == GY_JSON_BOOL ? r->j.nodes[i].u.boolean : otherwise;
}

static bool is_null(const reader *r, int64_t node) {
    return node < 0 || r->j.nodes[node].kind == GY_JSON_NULL;
}

/* ---- components ---- */

enum { COMPONENTS = 8 };

/* A component, or the members of a Sequence under `list`. */
static gy_status components(const reader *r, const char *key, const char *list, int64_t out[COMPONENTS], int *n) {
    int64_t node = gy_json_get(&r->j, 0, key);
    *n = 0;
    if (is_null(r, node)) return GY_OK;
    const char *type = string_of(r, node, "type");
    int64_t members = type && strcmp(type, "Sequence") == 0 ? gy_json_get(&r->j, node, list) : -1;
    if (members < 0) out[(*n)++] = node;
    for (int64_t i = gy_json_first(&r->j, members); i >= 0; i = r->j.nodes[i].next) {
        if (*n == COMPONENTS) return refuse(r, key, "a sequence of more than 8");
        out[(*n)++] = i;
    }
    for (int i = 0; i < *n; i++)
        if (!string_of(r, out[i], "type")) return refuse(r, key, "expected an object with a string 'type'");
    return GY_OK;
}

static gy_status unknown_type(const reader *r, const char *key, const char *type) {
    char shown[256];
    return gy_bytes_fail_key(r->b, key, "tokenizer: '%s' is not supported",
                             gy_show_text(type, strlen(type), shown, sizeof shown));
}

/* ---- normalizer ---- */

static bool codes_of(const char *s, uint32_t to[8], uint32_t *n) {
    *n = 0;
    for (uint64_t i = 0, len = strlen(s); i < len;) {
        if (*n == 8) return false;
        i += (uint64_t)gy_utf8_next(s + i, len - i, &to[(*n)++]);
    }
    return true;
}

static gy_status read_replace(reader *r, int64_t node, gy_tok_step *step) {
    int64_t pattern = gy_json_get(&r->j, node, "pattern");
    const char *word = string_of(r, pattern, "String"), *regex = string_of(r, pattern, "Regex"),
               *content = string_of(r, node, "content");
    uint32_t from[8], n = 0;
    if (!content || !codes_of(content, step->to, &step->n_to))
        return refuse(r, "normalizer", "Replace: expected a 'content' of at most 8 characters");
    if (regex && strcmp(regex, "\\s+") == 0) {
        step->rule = GY_RULE_SPACES;
        return GY_OK;
    }
    if (!word || !codes_of(word, from, &n) || n != 1)
        return refuse(r, "normalizer", "Replace: expected the pattern \\s+ or one character");
    step->rule = GY_RULE_REPLACE;
    step->from = from[0];
    return GY_OK;
}

static gy_status read_normalizer(reader *r) {
    int64_t list[COMPONENTS];
    int n;
    gy_status s = components(r, "normalizer", "normalizers", list, &n);
    for (int i = 0; i < n && s == GY_OK; i++) {
        const char *type = string_of(r, list[i], "type"), *text = string_of(r, list[i], "prepend");
        gy_tok_step *step = &r->t->steps[r->t->n_steps++];
        if (strcmp(type, "NFC") == 0)
            step->rule = GY_RULE_NFC;
        else if (strcmp(type, "Lowercase") == 0)
            step->rule = GY_RULE_LOWER;
        else if (strcmp(type, "Replace") == 0)
            s = read_replace(r, list[i], step);
        else if (strcmp(type, "Prepend") == 0 && text && codes_of(text, step->to, &step->n_to))
            step->rule = GY_RULE_PREPEND;
        else
            s = unknown_type(r, "normalizer", type);
    }
    return s;
}

/* ---- pre_tokenizer ---- */

static const struct {
    gy_tok_pattern pattern;
    const char *regex;
} patterns[] = {
    {GY_PATTERN_GPT2, "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"},
    {GY_PATTERN_LLAMA3, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
                        "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {GY_PATTERN_QWEN2, "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                       "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
    {GY_PATTERN_CLIP, "'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"},
    /* Newer files name the special tokens too; they are found before, and ByteLevel's own pattern cuts the rest. */
    {GY_PATTERN_CLIP,
     "<\\|startoftext\\|>|<\\|endoftext\\|>|'s|'t|'re|'ve|'m|'ll|'d|[\\p{L}]+|[\\p{N}]|[^\\s\\p{L}\\p{N}]+"},
};

static gy_status read_split(reader *r, int64_t node) {
    const char *regex = string_of(r, gy_json_get(&r->j, node, "pattern"), "Regex"),
               *behavior = string_of(r, node, "behavior");
    char shown[256];
    if (!regex || !behavior) return refuse(r, "pre_tokenizer", "Split: expected a pattern 'Regex' and a 'behavior'");
    for (size_t i = 0; i < sizeof patterns / sizeof *patterns; i++) {
        if (strcmp(regex, patterns[i].regex) != 0) continue;
        bool removed = strcmp(behavior, "Removed") == 0 && true_of(r, node, "invert", false);
        if (removed != (patterns[i].pattern == GY_PATTERN_CLIP) || (!removed && strcmp(behavior, "Isolated") != 0))
            return refuse(r, "pre_tokenizer", "Split: an unknown 'behavior' for this pattern");
        r->t->pattern = patterns[i].pattern;
        return GY_OK;
    }
    return gy_bytes_fail_key(r->b, "pre_tokenizer", "tokenizer: Split: the pattern '%s' is not known",
                             gy_show_text(regex, strlen(regex), shown, sizeof shown));
}

static gy_status read_metaspace(reader *r, int64_t node) {
    const char *text = string_of(r, node, "replacement"), *scheme = string_of(r, node, "prepend_scheme");
    uint32_t code[8], n = 0;
    if (!text || !codes_of(text, code, &n) || n != 1)
        return refuse(r, "pre_tokenizer", "Metaspace: expected a 'replacement' of one character");
    r->t->meta = code[0];
    r->t->meta_split = true_of(r, node, "split", true);
    if (!scheme) scheme = true_of(r, node, "add_prefix_space", true) ? "always" : "never"; /* older files */
    r->t->meta_prefix = strcmp(scheme, "always") == 0  ? GY_PREFIX_ALWAYS
                        : strcmp(scheme, "first") == 0 ? GY_PREFIX_FIRST
                                                       : GY_PREFIX_NEVER;
    return GY_OK;
}

static gy_status read_pre_tokenizer(reader *r) {
    int64_t list[COMPONENTS];
    int n;
    gy_tokenizer *t = r->t;
    gy_status s = components(r, "pre_tokenizer", "pretokenizers", list, &n);
    t->model = GY_TOK_TEXT;
    for (int i = 0; i < n && s == GY_OK; i++) {
        const char *type = string_of(r, list[i], "type");
        if (strcmp(type, "ByteLevel") == 0) {
            t->model = GY_TOK_BYTES;
            t->space_before = true_of(r, list[i], "add_prefix_space", true);
            if (true_of(r, list[i], "use_regex", true) && t->pattern == GY_PATTERN_NONE) t->pattern = GY_PATTERN_GPT2;
        } else if (strcmp(type, "Split") == 0 && t->pattern == GY_PATTERN_NONE) {
            s = read_split(r, list[i]);
        } else if (strcmp(type, "Metaspace") == 0 && n == 1) {
            s = read_metaspace(r, list[i]);
        } else {
            s = unknown_type(r, "pre_tokenizer", type);
        }
    }
    return s;
}

/* ---- model ---- */

static gy_status read_vocabulary(reader *r, int64_t vocab) {
    gy_status s = GY_OK;
    int64_t id;
    for (int64_t i = gy_json_first(&r->j, vocab); i >= 0 && s == GY_OK; i = r->j.nodes[i].next) {
        const char *name = r->j.nodes[i].key;
        if (!gy_json_integer(&r->j, i, &id))
            return gy_bytes_fail_key(r->b, name, "tokenizer: expected an integer, found %s",
                                     gy_json_kind_name(r->j.nodes[i].kind));
        s = gy_tok_add(r->t, r->b, name, strlen(name), id);
    }
    return s;
}

/* "left right" or ["left", "right"]. */
static gy_status read_merge(reader *r, int64_t node, int64_t rank) {
    const gy_json *j = &r->j;
    const char *left = gy_json_string(j, node), *right = NULL;
    size_t n = 0;
    if (left) {
        n = strcspn(left, " ");
        right = left[n] ? left + n + 1 : NULL;
        if (right && strchr(right, ' ')) right = NULL;
    } else if (j->nodes[node].kind == GY_JSON_ARRAY && j->nodes[node].u.list.count == 2) {
        left = gy_json_string(j, gy_json_first(j, node));
        right = gy_json_string(j, j->nodes[gy_json_first(j, node)].next);
        n = left ? strlen(left) : 0;
    }
    if (!left || !right)
        return gy_bytes_fail(r->b, j->nodes[node].at, "tokenizer: merge %" PRId64 ": expected two tokens", rank);
    return gy_tok_add_merge(r->t, r->b, left, n, right, strlen(right), rank);
}

static gy_status read_merges(reader *r, int64_t model) {
    int64_t merges = gy_json_get(&r->j, model, "merges"), rank = 0;
    gy_status s = GY_OK;
    if (merges < 0 || r->j.nodes[merges].kind != GY_JSON_ARRAY) return refuse(r, "merges", "expected an array");
    for (int64_t i = gy_json_first(&r->j, merges); i >= 0 && s == GY_OK; i = r->j.nodes[i].next)
        s = read_merge(r, i, rank++);
    return s;
}

static gy_status read_bpe_options(reader *r, int64_t model) {
    gy_tokenizer *t = r->t;
    const char *prefix = string_of(r, model, "continuing_subword_prefix"),
               *suffix = string_of(r, model, "end_of_word_suffix");
    double dropout = 0.0;
    if (prefix && *prefix) return unknown_type(r, "continuing_subword_prefix", prefix);
    if (suffix && *suffix && (strcmp(suffix, "</w>") != 0 || t->model != GY_TOK_BYTES))
        return unknown_type(r, "end_of_word_suffix", suffix);
    if (gy_json_real(&r->j, gy_json_get(&r->j, model, "dropout"), &dropout) && dropout != 0.0)
        return refuse(r, "dropout", "random merges are not supported");
    t->ends_word = suffix && *suffix;
    t->ignore_merges = true_of(r, model, "ignore_merges", false);
    t->byte_fallback = t->model != GY_TOK_BYTES && true_of(r, model, "byte_fallback", false);
    t->fuse_unknown = true_of(r, model, "fuse_unk", false);
    return GY_OK;
}

static gy_status read_bpe(reader *r, int64_t model, int64_t vocab) {
    gy_status s = read_bpe_options(r, model);
    if (s == GY_OK) s = read_vocabulary(r, vocab);
    if (s == GY_OK) s = read_merges(r, model);
    const char *unknown = string_of(r, model, "unk_token");
    if (s == GY_OK && unknown && *unknown) {
        r->t->unknown = gy_tokenizer_id(r->t, unknown);
        if (r->t->unknown < 0) s = refuse(r, "unk_token", "the unknown token is not in the vocabulary");
    }
    return s == GY_OK ? gy_tok_finish_bytes(r->t, r->b) : s;
}

/* A word of the Unigram model may be this long, so that a text costs no more than so many steps a character. */
enum { LONGEST_WORD = 256 };

static gy_status read_unigram(reader *r, int64_t model, int64_t vocab) {
    gy_tokenizer *t = r->t;
    const gy_json *j = &r->j;
    int64_t id = 0, unknown;
    t->model = GY_TOK_UNIGRAM;
    t->byte_fallback = true_of(r, model, "byte_fallback", false);
    t->scores = gy_calloc(t->ctx, (size_t)t->size, sizeof *t->scores);
    if (!t->scores) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    for (int64_t i = gy_json_first(j, vocab); i >= 0 && s == GY_OK; i = j->nodes[i].next, id++) {
        int64_t first = gy_json_first(j, i);
        const char *name = gy_json_string(j, first);
        if (j->nodes[i].kind != GY_JSON_ARRAY || !name || !gy_json_real(j, j->nodes[first].next, &t->scores[id]))
            return gy_bytes_fail(r->b, j->nodes[i].at, "tokenizer: word %" PRId64 ": expected [string, score]", id);
        if (strlen(name) > LONGEST_WORD)
            return gy_bytes_fail(r->b, j->nodes[i].at, "tokenizer: word %" PRId64 ": more than %d bytes", id,
                                 LONGEST_WORD);
        s = gy_tok_add(t, r->b, name, strlen(name), id);
        if (s == GY_OK) s = gy_trie_add(&t->words, t->ctx, name, strlen(name), (int32_t)id);
        if (id == 0 || t->scores[id] < t->least_score) t->least_score = t->scores[id];
    }
    if (s != GY_OK) return s;
    if (gy_json_integer(j, gy_json_get(j, model, "unk_id"), &unknown)) {
        if (unknown < 0 || unknown >= id) return refuse(r, "unk_id", "the number is not in the vocabulary");
        t->unknown = (int32_t)unknown;
    }
    return gy_tok_finish_bytes(t, r->b);
}

static gy_status read_model(reader *r, int64_t model, int64_t vocab) {
    const char *type = string_of(r, model, "type");
    bool object = r->j.nodes[vocab].kind == GY_JSON_OBJECT;
    if (!type) type = object ? "BPE" : "Unigram"; /* files before tokenizers 0.9 */
    if (strcmp(type, "BPE") == 0 && object) return read_bpe(r, model, vocab);
    if (strcmp(type, "Unigram") == 0 && !object) return read_unigram(r, model, vocab);
    return unknown_type(r, "model", type);
}

/* ---- added tokens ---- */

static gy_status flag_spaces(gy_tokenizer *t, int64_t id, bool left, bool right) {
    bool **flags[2] = {&t->strip_left, &t->strip_right};
    for (int i = 0; i < 2; i++) {
        if (!(i ? right : left)) continue;
        if (!*flags[i]) *flags[i] = gy_calloc(t->ctx, (size_t)t->size, sizeof **flags[i]);
        if (!*flags[i]) return GY_ERR_NOMEM;
        (*flags[i])[id] = true;
    }
    return GY_OK;
}

/* What is looked for in normalised text is itself normalised. */
static gy_status add_normalised(gy_tokenizer *t, const char *name, int32_t id) {
    gy_codes c = {.ctx = t->ctx};
    gy_status s = gy_codes_add_text(&c, name, (int64_t)strlen(name), 0);
    if (s == GY_OK) s = gy_tok_normalise(t, &c);
    char *text = s == GY_OK ? gy_malloc(t->ctx, 4 * (size_t)c.n) : NULL;
    uint64_t n = 0;
    for (int64_t i = 0; text && i < c.n; i++) n += (uint64_t)gy_utf8_put(c.c[i].code, text + n);
    if (s == GY_OK) s = text ? gy_trie_add(&t->added[1], t->ctx, text, n, id) : GY_ERR_NOMEM;
    gy_free(t->ctx, text);
    gy_codes_free(&c);
    return s;
}

static gy_status read_added(reader *r, int64_t node) {
    gy_tokenizer *t = r->t;
    const char *name = string_of(r, node, "content");
    int64_t id;
    if (!name || !gy_json_integer(&r->j, gy_json_get(&r->j, node, "id"), &id))
        return refuse(r, "added_tokens", "expected 'id' and 'content'");
    if (true_of(r, node, "single_word", false)) return unknown_type(r, name, "single_word");
    int64_t old = gy_dict_get(&t->names, name, strlen(name));
    gy_status s = GY_OK;
    if (old < 0)
        s = gy_tok_add(t, r->b, name, strlen(name), id);
    else if (old != id)
        return gy_bytes_fail_key(r->b, name, "tokenizer: added as %" PRId64 ", in the vocabulary as %" PRId64, id, old);
    if (s != GY_OK) return s;
    gy_tok_piece *p = &t->pieces[id];
    p->text = gy_arena_strdup(&t->strings, name); /* as it is spelled, whatever the model */
    p->n = (uint32_t)strlen(name);
    p->added = true;
    p->ends_word = false;
    p->special = true_of(r, node, "special", false);
    if (!p->text) return GY_ERR_NOMEM;
    s = flag_spaces(t, id, true_of(r, node, "lstrip", false), true_of(r, node, "rstrip", false));
    if (s != GY_OK) return s;
    if (true_of(r, node, "normalized", !p->special)) return add_normalised(t, name, (int32_t)id);
    return gy_trie_add(&t->added[0], t->ctx, name, strlen(name), (int32_t)id);
}

static gy_status read_added_tokens(reader *r) {
    int64_t list = gy_json_get(&r->j, 0, "added_tokens");
    gy_status s = GY_OK;
    for (int64_t i = gy_json_first(&r->j, list); i >= 0 && s == GY_OK; i = r->j.nodes[i].next) s = read_added(r, i);
    return s;
}

/* ---- post_processor and decoder ---- */

static gy_status around(reader *r, bool after, int64_t id) {
    gy_tokenizer *t = r->t;
    int64_t *n = after ? &t->n_after : &t->n_before;
    if (id < 0 || id >= t->size || !t->pieces[id].text)
        return refuse(r, "post_processor", "a token that is not in the vocabulary");
    if (*n == GY_TOK_AROUND) return refuse(r, "post_processor", "more than 8 tokens on one side");
    (after ? t->after : t->before)[(*n)++] = (int32_t)id;
    return GY_OK;
}

/* {"single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {...}}, ...], "special_tokens": {"<s>": {"ids": [1]}}} */
static gy_status read_template(reader *r, int64_t node) {
    const gy_json *j = &r->j;
    int64_t special = gy_json_get(j, node, "special_tokens"), id;
    bool after = false;
    gy_status s = GY_OK;
    for (int64_t i = gy_json_first(j, gy_json_get(j, node, "single")); i >= 0 && s == GY_OK; i = j->nodes[i].next) {
        const char *name = string_of(r, gy_json_get(j, i, "SpecialToken"), "id");
        if (!name) {
            if (gy_json_get(j, i, "Sequence") < 0 || after)
                return refuse(r, "post_processor", "TemplateProcessing: expected special tokens around one sequence");
            after = true;
            continue;
        }
        int64_t ids = gy_json_get(j, gy_json_get(j, special, name), "ids");
        for (int64_t k = gy_json_first(j, ids); k >= 0 && s == GY_OK; k = j->nodes[k].next)
            s = around(r, after, gy_json_integer(j, k, &id) ? id : -1);
    }
    return s;
}

/* RobertaProcessing, BertProcessing: {"cls": ["<s>", 0], "sep": ["</s>", 2]} */
static gy_status read_pair(reader *r, int64_t node, const char *key, bool after) {
    int64_t list = gy_json_get(&r->j, node, key), first = gy_json_first(&r->j, list), id = -1;
    if (first >= 0) gy_json_integer(&r->j, r->j.nodes[first].next, &id);
    return around(r, after, id);
}

static gy_status read_post_processor(reader *r) {
    int64_t list[COMPONENTS];
    int n;
    gy_status s = components(r, "post_processor", "processors", list, &n);
    for (int i = 0; i < n && s == GY_OK; i++) {
        const char *type = string_of(r, list[i], "type");
        if (strcmp(type, "TemplateProcessing") == 0) {
            s = read_template(r, list[i]);
        } else if (strcmp(type, "RobertaProcessing") == 0 || strcmp(type, "BertProcessing") == 0) {
            s = read_pair(r, list[i], "cls", false);
            if (s == GY_OK) s = read_pair(r, list[i], "sep", true);
        } else if (strcmp(type, "ByteLevel") != 0) { /* which only trims offsets */
            s = unknown_type(r, "post_processor", type);
        }
    }
    return s;
}

/* Decoding follows from the model; only whether the space that was put before the text goes away is read. */
static gy_status read_decoder(reader *r) {
    int64_t list[COMPONENTS], start;
    int n;
    gy_status s = components(r, "decoder", "decoders", list, &n);
    for (int i = 0; i < n && s == GY_OK; i++) {
        const char *type = string_of(r, list[i], "type"), *scheme = string_of(r, list[i], "prepend_scheme");
        if (strcmp(type, "Strip") == 0)
            r->t->strip_space = gy_json_integer(&r->j, gy_json_get(&r->j, list[i], "start"), &start) && start > 0;
        if (strcmp(type, "Metaspace") == 0)
            r->t->strip_space = scheme ? strcmp(scheme, "never") != 0 : true_of(r, list[i], "add_prefix_space", true);
    }
    return s;
}

/* ---- the whole ---- */

/* The table is as long as the largest number, which may leave gaps, but not make a small file a large table. */
static gy_status measure(const reader *r, int64_t vocab, int64_t *size) {
    const gy_json *j = &r->j;
    int64_t added = gy_json_get(j, 0, "added_tokens"), id;
    int64_t count = j->nodes[vocab].u.list.count;
    *size = j->nodes[vocab].kind == GY_JSON_ARRAY ? count : 0;
    if (added >= 0 && j->nodes[added].kind == GY_JSON_ARRAY) count += j->nodes[added].u.list.count;
    gy_status s = gy_bytes_limit(r->b, GY_LIMIT_ENTRIES, (uint64_t)count, "tokens");
    if (s != GY_OK) return s;
    int64_t most = 2 * count + 1024;
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = gy_json_first(j, pass ? added : vocab); i >= 0; i = j->nodes[i].next) {
            if (!gy_json_integer(j, pass ? gy_json_get(j, i, "id") : i, &id)) continue; /* refused later, by name */
            if (id >= most)
                return gy_bytes_fail(r->b, j->nodes[i].at, "tokenizer: the number %" PRId64 " among %" PRId64 " tokens",
                                     id, count);
            if (id >= *size) *size = id + 1;
        }
    return GY_OK;
}

static const char *pattern_name(const gy_tokenizer *t) {
    static const char *const names[] = {"no pattern",    "GPT-2 pattern", "Llama 3 pattern",
                                        "Qwen2 pattern", "CLIP",          "CLIP"};
    return names[t->pattern];
}

static void describe(gy_tokenizer *t) {
    if (t->model == GY_TOK_UNIGRAM)
        snprintf(t->about, sizeof t->about, "Unigram, %" PRId64 " tokens", t->size);
    else
        snprintf(t->about, sizeof t->about, "%s BPE (%s), %" PRId64 " tokens, %" PRIu64 " merges",
                 t->model == GY_TOK_BYTES ? "byte-level" : "SentencePiece-style", pattern_name(t), t->size,
                 t->merges.n);
}

static gy_status read_all(reader *r, int64_t model, int64_t vocab) {
    gy_status s = read_normalizer(r);
    if (s == GY_OK) s = read_pre_tokenizer(r);
    if (s == GY_OK) s = read_model(r, model, vocab);
    if (s == GY_OK) s = read_added_tokens(r);
    if (s == GY_OK) s = read_post_processor(r);
    if (s == GY_OK) s = read_decoder(r);
    describe(r->t);
    return s;
}

gy_status gy_tok_open_json(const gy_bytes *b, gy_tokenizer **out) {
    reader r = {.b = b};
    int64_t size = 0;
    *out = NULL;
    gy_status s = gy_json_parse(b, 0, b->size, &r.j);
    if (s != GY_OK) return s;
    int64_t model = gy_json_get(&r.j, 0, "model");
    if (model >= 0 && r.j.nodes[model].kind == GY_JSON_OBJECT) { /* else a vocab.json, in which "model" is a word */
        int64_t vocab = gy_json_get(&r.j, model, "vocab");
        if (vocab < 0 || (r.j.nodes[vocab].kind != GY_JSON_OBJECT && r.j.nodes[vocab].kind != GY_JSON_ARRAY))
            s = refuse(&r, "vocab", "expected an object or an array");
        if (s == GY_OK) s = measure(&r, vocab, &size);
        if (s == GY_OK) s = gy_tok_new(b->ctx, size, &r.t);
        if (s == GY_OK) s = read_all(&r, model, vocab);
        if (s == GY_OK)
            *out = r.t;
        else
            gy_tokenizer_free(r.t);
    }
    gy_json_free(&r.j);
    return s;
}
