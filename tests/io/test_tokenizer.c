/* Tokenizers: the same numbers as tokenizers and tiktoken give, any bytes, hostile vocabularies refused. */
#include "build.h"

#include "io/formats/json.h"
#include "io/formats/tokenizer.h"
#include "io/formats/unicode.h"

#include <time.h>

/* ---- the golden file ---- */

typedef struct golden {
    gy_bytes b;
    gy_json j;
} golden;
static void open_json(gy_ctx *ctx, const char *path, golden *g) {
    assert_ok(ctx, gy_bytes_open(ctx, path, NULL, &g->b));
    assert_ok(ctx, gy_json_parse(&g->b, 0, g->b.size, &g->j));
}
static void close_json(golden *g) {
    gy_json_free(&g->j);
    gy_bytes_close(&g->b);
}

static void agrees(gy_ctx *ctx, const char *kind, const char *path) {
    golden g;
    gy_tokenizer *t;
    open_json(ctx, "tests/golden/tokenizer_cases.json", &g);
    assert_ok(ctx, gy_tokenizer_open(ctx, path, NULL, &t));
    int64_t text = gy_json_first(&g.j, gy_json_get(&g.j, 0, "texts")),
            list = gy_json_first(&g.j, gy_json_get(&g.j, gy_json_get(&g.j, 0, "ids"), kind)), cases = 0;
    assert_true(list >= 0);
    for (; text >= 0; text = g.j.nodes[text].next, list = g.j.nodes[list].next, cases++) {
        const char *s = gy_json_string(&g.j, text);
        gy_tokens out;
        assert_ok(ctx, gy_tokenizer_encode(t, s, strlen(s), (gy_encode_args){0}, &out));
        int64_t want, i = 0;
        bool same = out.n == g.j.nodes[list].u.list.count;
        for (int64_t k = gy_json_first(&g.j, list); k >= 0 && same; k = g.j.nodes[k].next, i++)
            same = gy_json_integer(&g.j, k, &want) && out.t[i].id == want;
        if (!same) fail_msg("%s: '%s': token %d of %d differs", kind, s, (int)i, (int)out.n);
        gy_tokens_free(&out);
    }
    assert_true(cases > 20);
    gy_tokenizer_free(t);
    close_json(&g);
}

static void numbers_agree_with_the_reference_for_every_kind(void **state) {
    static const char *const kinds[] = {"gpt2", "llama3", "qwen2", "clip", "llama2", "metaspace", "unigram"};
    for (int i = 0; i < 7; i++) {
        char path[128];
        snprintf(path, sizeof path, "tests/golden/tokenizer_%s.json", kinds[i]);
        agrees(*state, kinds[i], path);
    }
    agrees(*state, "ranks", "tests/golden/tokenizer_ranks.tiktoken");
}

/* vocab.json and merges.txt with the content of a tokenizer.json. */
static void split_file(gy_ctx *ctx, const char *path, const char *dir) {
    golden g;
    open_json(ctx, path, &g);
    int64_t model = gy_json_get(&g.j, 0, "model"), id;
    gy_json_writer w;
    char file[256], *text;
    size_t n;
    buf m = buf_new();
    gy_json_start(ctx, &w, false);
    gy_json_open_object(&w, NULL);
    for (int64_t i = gy_json_first(&g.j, gy_json_get(&g.j, model, "vocab")); i >= 0; i = g.j.nodes[i].next)
        if (gy_json_integer(&g.j, i, &id)) gy_json_put_int(&w, g.j.nodes[i].key, id);
    for (int64_t i = gy_json_first(&g.j, gy_json_get(&g.j, 0, "added_tokens")); i >= 0; i = g.j.nodes[i].next)
        if (gy_json_integer(&g.j, gy_json_get(&g.j, i, "id"), &id))
            gy_json_put_int(&w, gy_json_string(&g.j, gy_json_get(&g.j, i, "content")), id);
    gy_json_close(&w);
    assert_ok(ctx, gy_json_finish(&w, &text, &n));
    store(in_dir(dir, "vocab.json", file), text, n);
    gy_free(ctx, text);
    put_s(&m, "#version: 0.2\n");
    for (int64_t i = gy_json_first(&g.j, gy_json_get(&g.j, model, "merges")); i >= 0; i = g.j.nodes[i].next) {
        int64_t first = gy_json_first(&g.j, i);
        put_s(&m, gy_json_string(&g.j, first));
        put_s(&m, " ");
        put_s(&m, gy_json_string(&g.j, g.j.nodes[first].next));
        put_s(&m, "\n");
    }
    store(in_dir(dir, "merges.txt", file), m.d, m.n);
    buf_free(&m);
    close_json(&g);
}

static void vocab_and_merges_give_what_tokenizer_json_gives(void **state) {
    static const char *const kinds[] = {"gpt2", "clip"};
    for (int i = 0; i < 2; i++) {
        char dir[64], path[256];
        temp_dir(dir);
        snprintf(path, sizeof path, "tests/golden/tokenizer_%s.json", kinds[i]);
        split_file(*state, path, dir);
        agrees(*state, kinds[i], dir);
        agrees(*state, kinds[i], in_dir(dir, "vocab.json", path));
        remove_dir(*state, dir);
    }
}

/* ---- any bytes ---- */

static void byte_level_vocabularies_give_back_any_bytes(void **state) {
    gy_ctx *ctx = *state;
    static const char *const files[] = {"tests/golden/tokenizer_gpt2.json", "tests/golden/tokenizer_ranks.tiktoken",
                                        "tests/golden/tokenizer_llama3.json"};
    uint64_t random = 7;
    for (int f = 0; f < 3; f++) {
        gy_tokenizer *t;
        assert_ok(ctx, gy_tokenizer_open(ctx, files[f], NULL, &t));
        for (int k = 0; k < 300; k++) {
            char s[64], *back;
            int32_t ids[64];
            uint64_t n = (uint64_t)(k % 64), size;
            for (uint64_t i = 0; i < n; i++) {
                random = random * 6364136223846793005u + 1442695040888963407u;
                s[i] = (char)(uint8_t)(random >> 40);
            }
            gy_tokens out;
            assert_ok(ctx, gy_tokenizer_encode(t, s, n, (gy_encode_args){.bare = true, .plain = true}, &out));
            int64_t at = 0;
            for (int64_t i = 0; i < out.n; i++) {
                assert_int_equal(out.t[i].begin, at); /* tokens tile the text */
                at = out.t[i].end;
                ids[i] = out.t[i].id;
            }
            assert_int_equal(at, n);
            assert_ok(ctx, gy_tokenizer_decode(t, ids, out.n, false, &back, &size));
            assert_int_equal(size, n);
            assert_memory_equal(back, s, n);
            gy_free(ctx, back);
            gy_tokens_free(&out);
        }
        gy_tokenizer_free(t);
    }
}

static void round_trip(gy_ctx *ctx, const char *path, const char *text, const char *want) {
    gy_tokenizer *t;
    gy_tokens out;
    char *back;
    uint64_t n;
    assert_ok(ctx, gy_tokenizer_open(ctx, path, NULL, &t));
    assert_ok(ctx, gy_tokenizer_encode(t, text, strlen(text), (gy_encode_args){0}, &out));
    int32_t *ids = calloc((size_t)out.n + 1, sizeof *ids);
    for (int64_t i = 0; i < out.n; i++) ids[i] = out.t[i].id;
    assert_ok(ctx, gy_tokenizer_decode(t, ids, out.n, true, &back, &n));
    assert_string_equal(back, want);
    gy_free(ctx, back);
    free(ids);
    gy_tokens_free(&out);
    gy_tokenizer_free(t);
}

static void decoding_undoes_what_encoding_added(void **state) {
    gy_ctx *ctx = *state;
    round_trip(ctx, "tests/golden/tokenizer_llama2.json", "  the brain\xc3\xa9 \xf0\x9f\x98\x80",
               "  the brain\xc3\xa9 \xf0\x9f\x98\x80");
    round_trip(ctx, "tests/golden/tokenizer_llama2.json", "a\xff z", "a\xff z"); /* byte fallback */
    round_trip(ctx, "tests/golden/tokenizer_metaspace.json", "the model", "the model");
    round_trip(ctx, "tests/golden/tokenizer_clip.json", " The  BRAIN, reads!", "the brain , reads !");
    round_trip(ctx, "tests/golden/tokenizer_gpt2.json", "the<|endoftext|> model", "the model");
    round_trip(ctx, "tests/golden/tokenizer_unigram.json", "the model", "the model");
}

/* ---- options ---- */

static void sequences_are_cut_and_filled_to_a_length(void **state) {
    gy_ctx *ctx = *state;
    gy_tokenizer *t;
    gy_tokens out;
    assert_ok(ctx, gy_tokenizer_open(ctx, "tests/golden/tokenizer_clip.json", NULL, &t));
    int32_t bos = gy_tokenizer_id(t, "<|startoftext|>"), eos = gy_tokenizer_id(t, "<|endoftext|>");
    assert_ok(ctx, gy_tokenizer_encode(t, "the", 3, (gy_encode_args){.length = 8, .pad = eos}, &out));
    assert_int_equal(out.n, 8);
    assert_int_equal(out.t[0].id, bos);
    assert_int_equal(out.t[2].id, eos);
    assert_int_equal(out.t[7].id, eos);
    gy_tokens_free(&out);
    assert_ok(ctx, gy_tokenizer_encode(t, "1 2 3 4 5 6 7 8 9", 17, (gy_encode_args){.length = 5}, &out));
    assert_int_equal(out.n, 5);
    assert_int_equal(out.t[4].id, eos);
    assert_int_equal(out.t[3].begin, 4);
    gy_tokens_free(&out);
    assert_message(ctx, gy_tokenizer_encode(t, "1", 1, (gy_encode_args){.length = 1}, &out),
                   "tokens: expected a length of at least 2, found 1");
    assert_ok(ctx, gy_tokenizer_encode(t, "<|endoftext|>", 13, (gy_encode_args){.bare = true}, &out));
    assert_int_equal(out.n, 1);
    gy_tokens_free(&out);
    assert_ok(ctx, gy_tokenizer_encode(t, "<|endoftext|>", 13, (gy_encode_args){.bare = true, .plain = true}, &out));
    assert_true(out.n > 3);
    gy_tokens_free(&out);
    char *text;
    uint64_t n;
    assert_message(ctx, gy_tokenizer_decode(t, (int32_t[]){3, -1}, 2, false, &text, &n),
                   "token 1 of 2: -1 is not in the vocabulary");
    assert_message(ctx, gy_tokenizer_decode(t, &(int32_t){1 << 30}, 1, false, &text, &n), "is not in the vocabulary");
    gy_tokenizer_free(t);
}

/* ---- cost ---- */

static void a_megabyte_without_a_space_takes_linear_time(void **state) {
    gy_ctx *ctx = *state;
    static const char *const files[] = {"tests/golden/tokenizer_gpt2.json", "tests/golden/tokenizer_llama2.json",
                                        "tests/golden/tokenizer_unigram.json", "tests/golden/tokenizer_clip.json",
                                        "tests/golden/tokenizer_qwen2.json"};
    enum { MEGA = 1 << 20 };
    char *text = malloc(MEGA);
    for (int f = 0; f < 5; f++) {
        gy_tokenizer *t;
        gy_tokens out;
        assert_ok(ctx, gy_tokenizer_open(ctx, files[f], NULL, &t));
        for (int i = 0; i < MEGA; i++) text[i] = "thewordsofthebrain"[i % 18];
        if (f == 4)
            for (int i = 1; i + 1 < MEGA; i += 2) memcpy(text + i, "\xcc\x81", 2); /* one letter, 2^19 accents */
        clock_t from = clock();
        assert_ok(ctx, gy_tokenizer_encode(t, text, MEGA, (gy_encode_args){0}, &out));
        double seconds = (double)(clock() - from) / CLOCKS_PER_SEC;
        if (seconds > 10) fail_msg("%s: %g s", files[f], seconds); /* quadratic time would be hours */
        assert_true(out.n > 1000);
        gy_tokens_free(&out);
        gy_tokenizer_free(t);
    }
    free(text);
}

/* ---- hostile vocabularies (TXT-05) ---- */

static void refuses_named(gy_ctx *ctx, const char *name, const char *content, size_t n, const char *message) {
    char dir[64], path[256];
    gy_tokenizer *t;
    temp_dir(dir);
    store(in_dir(dir, name, path), content, n);
    assert_message(ctx, gy_tokenizer_open(ctx, path, NULL, &t), message);
    assert_null(t);
    remove_dir(ctx, dir);
}
static void refuses(gy_ctx *ctx, const char *json, const char *message) {
    refuses_named(ctx, "tokenizer.json", json, strlen(json), message);
}
#define MODEL(vocab, merges)                                                                                           \
    "\"model\":{\"type\":\"BPE\",\"unk_token\":\"a\",\"byte_fallback\":true,\"vocab\":" vocab ",\"merges\":" merges "}"
#define FILE_OF(rest, vocab, merges) "{" rest MODEL(vocab, merges) "}"

static void hostile_vocabularies_are_refused(void **state) {
    gy_ctx *ctx = *state;
    refuses(ctx, FILE_OF("", "{\"a\":-1}", "[]"), "token 'a': expected a number in 0 .. -1, found -1");
    refuses(ctx, FILE_OF("", "{\"a\":0,\"b\":0}", "[]"), "token 'b': the number 0 is taken");
    refuses(ctx, FILE_OF("", "{\"a\":0,\"a\":1}", "[]"), "the key 'a' appears twice");
    refuses(ctx, FILE_OF("", "{\"a\":2147483648}", "[]"), "the number 2147483648 among 1 tokens");
    refuses(ctx, FILE_OF("", "{\"a\":1e3}", "[]"), "'a': tokenizer: expected an integer, found");
    refuses(ctx, FILE_OF("", "{\"\":0}", "[]"), "token 0 is empty");
    refuses(ctx, FILE_OF("", "{\"a\":0,\"<0x-1>\":1}", "[]"), "byte token '<0x-1>': expected <0x00> to <0xFF>");
    refuses(ctx, FILE_OF("", "{\"a\":0,\"<0xZZ>\":1}", "[]"), "byte token '<0xZZ>': expected <0x00> to <0xFF>");
    refuses(ctx, FILE_OF("", "{\"a\":0}", "[\"a c\"]"), "merge 0, 'a' + 'c': the second is not in the vocabulary");
    refuses(ctx, FILE_OF("", "{\"a\":0}", "[\"c a\"]"), "merge 0, 'c' + 'a': the first is not in the vocabulary");
    refuses(ctx, FILE_OF("", "{\"a\":0}", "[\"a a\"]"), "merge 0, 'a' + 'a': their join is not in the vocabulary");
    refuses(ctx, FILE_OF("", "{\"a\":0,\"aa\":1}", "[\"a a\",[\"a\",\"a\"]]"), "merge 1, 'a' + 'a', appears twice");
    refuses(ctx, FILE_OF("", "{\"a\":0}", "[\"a\"]"), "merge 0: expected two tokens");
    refuses(ctx, FILE_OF("", "{\"a\":0}", "[\"a a a\"]"), "merge 0: expected two tokens");
    refuses(ctx, FILE_OF("", "{\"a\":0}", "[[\"a\"]]"), "merge 0: expected two tokens");
    refuses(ctx, FILE_OF("", "{\"b\":0}", "[]"), "'unk_token': tokenizer: the unknown token is not in the vocabulary");
    refuses(ctx, FILE_OF("\"added_tokens\":[{\"id\":5,\"content\":\"a\"}],", "{\"a\":0}", "[]"),
            "'a': tokenizer: added as 5, in the vocabulary as 0");
    refuses(ctx, FILE_OF("\"added_tokens\":[{\"content\":\"a\"}],", "{\"a\":0}", "[]"), "expected 'id' and 'content'");
    refuses(ctx, FILE_OF("\"added_tokens\":[{\"id\":1,\"content\":\"b\",\"single_word\":true}],", "{\"a\":0}", "[]"),
            "'single_word' is not supported");
    refuses(ctx, "{\"model\":{\"type\":\"BPE\",\"vocab\":3}}", "'vocab': tokenizer: expected an object or an array");
    refuses(ctx, "{\"model\":{\"type\":\"WordPiece\",\"vocab\":{}}}",
            "'model': tokenizer: 'WordPiece' is not supported");
    refuses(ctx, "{\"model\":{\"vocab\":[[\"a\"]]}}", "word 0: expected [string, score]");
    refuses(ctx, "{\"model\":{\"vocab\":[[\"a\",0],[\"a\",0]]}}", "token 'a' appears twice");
    refuses(ctx, "{\"model\":{\"vocab\":[[\"a\",0]],\"unk_id\":7}}", "'unk_id': tokenizer: the number is not in");
}

static void unknown_components_are_refused_by_name(void **state) {
    gy_ctx *ctx = *state;
#define COMPONENT(text) FILE_OF(text ",", "{\"a\":0}", "[]")
    refuses(ctx, COMPONENT("\"normalizer\":{\"type\":\"NFKC\"}"), "'normalizer': tokenizer: 'NFKC' is not supported");
    refuses(ctx, COMPONENT("\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Precompiled\"}]}"),
            "'Precompiled' is not supported");
    refuses(ctx, COMPONENT("\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"Regex\":\"a+\"},\"content\":\"\"}"),
            "Replace: expected the pattern \\s+ or one character");
    refuses(ctx, COMPONENT("\"normalizer\":{}"), "'normalizer': tokenizer: expected an object with a string 'type'");
    refuses(ctx, COMPONENT("\"pre_tokenizer\":{\"type\":\"Whitespace\"}"),
            "'pre_tokenizer': tokenizer: 'Whitespace' is not supported");
    refuses(
        ctx,
        COMPONENT("\"pre_tokenizer\":{\"type\":\"Split\",\"behavior\":\"Isolated\",\"pattern\":{\"Regex\":\"(a+)+\"}}"),
        "Split: the pattern '(a+)+' is not known");
    refuses(ctx, "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{\"vocab\":{\"a\":0},\"merges\":[]}}",
            "byte 0x00 has no token, and there is no unknown token");
    refuses(ctx, COMPONENT("\"post_processor\":{\"type\":\"Odd\"}"),
            "'post_processor': tokenizer: 'Odd' is not supported");
    refuses(ctx, COMPONENT("\"post_processor\":{\"type\":\"BertProcessing\",\"cls\":[\"x\",9],\"sep\":[\"x\",9]}"),
            "'post_processor': tokenizer: a token that is not in the vocabulary");
}

static void plain_files_are_checked_line_by_line(void **state) {
    gy_ctx *ctx = *state;
    buf b = buf_new();
    for (int i = 0; i < 256; i++) {
        static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        char line[32];
        snprintf(line, sizeof line, "%c%c== %d\n", digits[i >> 2], digits[(i & 3) << 4], i);
        put_s(&b, line);
    }
    size_t n = b.n;
    put_s(&b, "QUE= 256\n");
    char dir[64], path[256];
    gy_tokenizer *t;
    gy_tokens out;
    temp_dir(dir);
    store(in_dir(dir, "x.tiktoken", path), b.d, b.n);
    assert_ok(ctx, gy_tokenizer_open(ctx, path, NULL, &t));
    assert_string_equal(gy_tokenizer_describe(t), "byte-level BPE (GPT-2 pattern, by rank), 257 tokens, 1 merges");
    assert_ok(ctx, gy_tokenizer_encode(t, "AAA", 3, (gy_encode_args){0}, &out));
    assert_true(out.n == 2 && out.t[0].id == 256 && out.t[1].id == 'A' && out.t[1].begin == 2);
    gy_tokens_free(&out);
    gy_tokenizer_free(t);
    remove_dir(ctx, dir);
    static const char *const lines[] = {"QUE= x\n", "QUE=\n",     "QU*= 256\n", "QUF= 256\n",
                                        "Q 256\n",  "QUE= 300\n", "QQ== 256\n"};
    static const char *const messages[] = {"expected base64",        "expected base64", "expected base64",
                                           "expected base64",        "expected base64", "expected a number in 0 .. 256",
                                           "token 'A' appears twice"};
    for (int i = 0; i < 7; i++) {
        b.n = n;
        put_s(&b, lines[i]);
        refuses_named(ctx, "x.tiktoken", (char *)b.d, b.n, messages[i]);
    }
    refuses_named(ctx, "x.tiktoken", (char *)b.d, 500, "expected JSON, CLIP's merges, or at least 256 ranks");
    refuses_named(ctx, "x.txt", "\"bpe_simple_vocab_16e6.txt#version: 0.2\ni n\n", 43,
                  "CLIP: expected 48894 merges, found 1");
    refuses_named(ctx, "x.txt", "\"bpe_simple_vocab_16e6.txt#version: 0.2\nin\n", 42,
                  "merges: expected two tokens and a space between");
    refuses_named(ctx, "vocab.json", "{\"a\":0}", 7, "no file merges.txt in this folder");
    refuses_named(ctx, "vocab.json", "{\"a\":", 5, "JSON: expected a value");
    buf_free(&b);
}

/* 48,894 merges of two bytes each make the numbers that every CLIP model relies on. */
static void clip_file_numbers_are_clip_numbers(void **state) {
    gy_ctx *ctx = *state;
    char dir[64], path[256];
    uint32_t codes[256], next = 256;
    buf b = buf_new();
    put_s(&b, "\"bpe_simple_vocab_16e6.txt#version: 0.2\n");
    for (uint32_t i = 0; i < 256; i++)
        codes[i] = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174 ? i : next++;
    for (int i = 0; i < 48894; i++) {
        char line[16];
        int n = gy_utf8_put(codes[i >> 8], line);
        line[n++] = ' ';
        n += gy_utf8_put(codes[i & 255], line + n);
        line[n++] = '\n';
        put(&b, line, (size_t)n);
    }
    temp_dir(dir);
    store(in_dir(dir, "bpe.txt", path), b.d, b.n);
    gy_tokenizer *t;
    gy_tokens out;
    assert_ok(ctx, gy_tokenizer_open(ctx, path, NULL, &t));
    assert_int_equal(gy_tokenizer_size(t), 49408);
    assert_int_equal(gy_tokenizer_id(t, "<|startoftext|>"), 49406);
    assert_int_equal(gy_tokenizer_id(t, "<|endoftext|>"), 49407);
    assert_int_equal(gy_tokenizer_id(t, "!"), 0);
    assert_int_equal(gy_tokenizer_id(t, "!</w>"), 256);
    assert_ok(ctx, gy_tokenizer_encode(t, "ABA", 3, (gy_encode_args){0}, &out));
    assert_int_equal(out.n, 4);
    assert_int_equal(out.t[1].id, 512 + ('a' << 8 | 'b'));
    assert_int_equal(out.t[2].id, 256 + 'a' - 33);
    gy_tokens_free(&out);
    gy_tokenizer_free(t);
    buf_free(&b);
    remove_dir(ctx, dir);
}

static gy_status use_file(gy_ctx *ctx, void *path) {
    gy_tokenizer *t;
    gy_tokens out = {0};
    gy_status s = gy_tokenizer_open(ctx, path, NULL, &t);
    if (s == GY_OK) s = gy_tokenizer_encode(t, "the caf\xc3\xa9 x", 11, (gy_encode_args){.length = 77}, &out);
    gy_tokens_free(&out);
    gy_tokenizer_free(t);
    return s;
}

static void running_out_of_memory_is_reported(void **state) {
    char unigram[] = "tests/golden/tokenizer_unigram.json";
    survive_no_memory(*state, use_file, unigram);
}

static void damaged_files_never_crash_the_reader(void **state) {
    gy_ctx *ctx = *state;
    static const char *const files[] = {"qwen2.json", "clip.json", "metaspace.json", "unigram.json", "ranks.tiktoken"};
    char dir[64], path[256];
    uint64_t random = 3;
    temp_dir(dir);
    in_dir(dir, "t", path);
    for (int k = 0; k < 5; k++) {
        char name[128];
        snprintf(name, sizeof name, "tests/golden/tokenizer_%s", files[k]);
        buf b = slurp(name);
        for (int i = 0; i < 150; i++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            size_t at = (size_t)(random >> 33) % (i % 2 && b.n > 2000 ? 2000 : b.n);
            uint8_t old = b.d[at];
            b.d[at] = i % 3 ? "0123456789\",:[]{}tfna\\ <>"[random % 25] : (uint8_t)(random >> 20);
            store(path, b.d, i % 16 == 0 ? at : b.n);
            b.d[at] = old;
            if (use_file(ctx, path) != GY_OK) assert_true(gy_error(ctx)[0] != 0);
        }
        buf_free(&b);
    }
    remove_dir(ctx, dir);
}

/* ---- Unicode ---- */

static void composition_follows_annex_15(void **state) {
    gy_ctx *ctx = *state;
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"e\xcc\x81", "\xc3\xa9"},                                /* e and acute */
        {"\xe1\x84\x92\xe1\x85\xa1\xe1\x86\xab", "\xed\x95\x9c"}, /* three jamo, one syllable */
        {"a\xcc\xa3\xcc\x87", "\xe1\xba\xa1\xcc\x87"},            /* dot below first, whatever the order */
        {"a\xcc\x87\xcc\xa3", "\xe1\xba\xa1\xcc\x87"},
        {"\xe2\x84\xab", "\xc3\x85"},                 /* the Angstrom sign is a letter */
        {"\xe0\xa5\x98", "\xe0\xa4\x95\xe0\xa4\xbc"}, /* excluded from composition */
        {"\xff"
         "e\xcc\x81",
         "\xff\xc3\xa9"}, /* a stray byte stays */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        gy_codes c = {.ctx = ctx};
        char out[64];
        int64_t n = 0, end = 0;
        assert_ok(ctx, gy_codes_add_text(&c, cases[i].from, (int64_t)strlen(cases[i].from), 0));
        assert_ok(ctx, gy_codes_nfc(&c));
        for (int64_t k = 0; k < c.n; k++) {
            if (c.c[k].end > end) end = c.c[k].end;
            if (c.c[k].code < GY_CODE_BYTE)
                n += gy_utf8_put(c.c[k].code, out + n);
            else
                out[n++] = (char)(c.c[k].code - GY_CODE_BYTE);
        }
        out[n] = 0;
        assert_string_equal(out, cases[i].to);
        assert_int_equal(end, strlen(cases[i].from));
        gy_codes_free(&c);
    }
    assert_true(gy_code_lower(0x130) == 0x130 && gy_code_lower(0x410) == 0x430 && gy_code_lower('Z') == 'z');
    assert_true(gy_code_is_letter(0x4e00) && !gy_code_is_letter(0xd7) && gy_code_is_number(0xbd) &&
                gy_code_is_space(0x3000));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(numbers_agree_with_the_reference_for_every_kind),
        TEST(vocab_and_merges_give_what_tokenizer_json_gives),
        TEST(byte_level_vocabularies_give_back_any_bytes),
        TEST(decoding_undoes_what_encoding_added),
        TEST(sequences_are_cut_and_filled_to_a_length),
        TEST(a_megabyte_without_a_space_takes_linear_time),
        TEST(hostile_vocabularies_are_refused),
        TEST(unknown_components_are_refused_by_name),
        TEST(plain_files_are_checked_line_by_line),
        TEST(clip_file_numbers_are_clip_numbers),
        TEST(running_out_of_memory_is_reported),
        TEST(damaged_files_never_crash_the_reader),
        TEST(composition_follows_annex_15),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
