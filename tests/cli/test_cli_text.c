/* Language models on the command line: texts that go on from a prompt, tokens from texts, training that begins with
 * the weights of a file. */
#include "../harness/cli.h"

#include <string.h>

static char root[4096];

/* A tiny model of bytes, trained for a few steps: enough that it does not write one byte over and over. */
static int setup(void **state) {
    if (!getcwd(root, sizeof root) || cli_group_setup(state) != 0) return -1;
    expect(0, NULL, NULL, "train gpt2 --steps 20 --set batch=4 --quiet --out lm");
    return 0;
}

static char *text_of(const char *options) {
    cli_result r = cli("sample lm --prompt 'the dog' --tokens 24 %s", options);
    if (r.rc != 0) fail_msg("%s: exit %d: %s", options, r.rc, r.err);
    char *text = r.out;
    r.out = NULL;
    cli_done(&r);
    return text;
}

static void a_text_begins_with_its_prompt_and_has_the_length_asked_for(void **state) {
    (void)state;
    char *text = text_of("");
    assert_int_equal(strncmp(text, "the dog", 7), 0);
    assert_int_equal(strlen(text), 7 + 24 + 1);
    free(text);
}

static void the_same_seed_writes_the_same_text_another_seed_another(void **state) {
    (void)state;
    char *a = text_of("--seed 3"), *b = text_of("--seed 3"), *c = text_of("--seed 4");
    assert_string_equal(a, b);
    assert_string_not_equal(a, c);
    free(a);
    free(b);
    free(c);
}

static void taking_the_likeliest_needs_no_seed(void **state) {
    (void)state;
    char *a = text_of("--temperature 0 --seed 3"), *b = text_of("--temperature 0 --seed 4"), *c = text_of("--top-k 1");
    assert_string_equal(a, b);
    assert_string_equal(a, c);
    free(a);
    free(b);
    free(c);
}

/* What grows on stdout, what goes to a file and what --json holds are the same text. */
static void streams_files_and_json_agree(void **state) {
    char *a = text_of("--seed 5");
    expect(0, "", "tokens a second", "sample lm --prompt 'the dog' --tokens 24 --seed 5 -o out.txt");
    size_t n;
    char *b = slurp("out.txt", &n);
    assert_non_null(b);
    assert_int_equal(n, strlen(a));
    assert_memory_equal(a, b, n);
    json_doc d = json_of(*state, 0, "sample lm --prompt 'the dog' --tokens 24 --seed 5 --json");
    int64_t row = gy_json_first(&d.doc, 0), tokens = gy_json_get(&d.doc, row, "tokens"), count = 0;
    for (int64_t i = gy_json_first(&d.doc, tokens); i >= 0; i = d.doc.nodes[i].next, count++) {
        double v = -1;
        assert_true(gy_json_real(&d.doc, i, &v));
        assert_int_equal((unsigned char)a[7 + count], (int)v);
    }
    assert_int_equal(count, 24);
    json_done(&d);
    free(a);
    free(b);
}

static void several_texts_differ_and_are_kept_apart(void **state) {
    (void)state;
    char *text = text_of("-n 3 --temperature 1.5 --top-p 0");
    char *first = text, *second = strstr(text, "\n---\n");
    assert_non_null(second);
    char *third = strstr(second + 5, "\n---\n");
    assert_non_null(third);
    *second = 0;
    assert_string_not_equal(first, second + 5);
    free(text);
}

static void a_text_ends_at_its_stop(void **state) {
    (void)state;
    char *whole = text_of("--temperature 0");
    char stop = whole[7 + 5], options[64];
    size_t until = strcspn(whole + 7, (char[]){stop, 0});
    snprintf(options, sizeof options, "--temperature 0 --stop '%c'", stop);
    char *cut = text_of(options);
    assert_int_equal(strlen(cut), 7 + until + 1);
    assert_memory_equal(cut, whole, 7 + until);
    size_t n;
    expect(0, "\"ended\":\"stop\"", NULL, "sample lm --prompt 'the dog' --tokens 24 %s --json", options);
    expect(0, "", NULL, "sample lm --prompt 'the dog' --tokens 24 %s -o cut.txt", options);
    char *file = slurp("cut.txt", &n);
    assert_non_null(file);
    assert_string_equal(file, cut); /* a text that is written whole ends there too */
    free(file);
    free(whole);
    free(cut);
}

/* That beam search is deterministic and takes no draws; its scores are tested beside the engine. */
static void beams_do_not_draw(void **state) {
    (void)state;
    char *a = text_of("--beams 3 --seed 1"), *b = text_of("--beams 3 --seed 2");
    assert_string_equal(a, b);
    free(a);
    free(b);
    expect(2, "", "--beams finds one text", "sample lm --prompt x --beams 2 -n 2");
}

static void wrong_wishes_are_named(void **state) {
    (void)state;
    expect(2, "", "expected --prompt TEXT", "sample lm");
    expect(2, "", "--prompt: empty", "sample lm --prompt ''");
    expect(2, "", "--temperature 'hot': expected a number", "sample lm --prompt x --temperature hot");
    expect(2, "", "--top-p '2': expected a number in [0, 1]", "sample lm --prompt x --top-p 2");
    expect(2, "", "--stop 'two': the tokens are bytes", "sample lm --prompt x --stop two");
    expect(2, "", "512 positions", "sample lm --prompt x --tokens 512");
    expect(2, "", "expected --tokenizer FILE", "sample gpt2 --set vocabulary=300 --prompt x");
    expect(2, "", "is this the model's tokenizer?",
           "sample gpt2 --set vocabulary=50 --prompt 'hello there' --tokenizer '%s/tests/golden/tokenizer_gpt2.json'",
           root);
    expect(2, "", "no such token",
           "sample gpt2 --set vocabulary=50257 --prompt x --stop '<none>' --tokenizer "
           "'%s/tests/golden/tokenizer_gpt2.json'",
           root);
}

/* A tokenizer that lies beside the weights is found, as published checkpoints have it. */
static void the_tokenizer_beside_the_weights_is_used(void **state) {
    expect(0, NULL, NULL, "train gpt2 --set vocabulary=50257 --set layers=1 --set batch=1 --steps 1 --quiet --out big");
    cli_result r = cli_shell("cp '%s/tests/golden/tokenizer_gpt2.json' big/tokenizer.json", root);
    assert_int_equal(r.rc, 0);
    cli_done(&r);
    json_doc d = json_of(*state, 0,
                         "sample gpt2 --set vocabulary=50257 --set layers=1 --weights big/checkpoint.safetensors "
                         "--prompt 'hello' --tokens 4 --json");
    assert_true(gy_json_get(&d.doc, gy_json_first(&d.doc, 0), "tokens") >= 0);
    json_done(&d);
    expect(2, "", "expected --tokenizer FILE", "sample big --prompt hello");
    r = cli_shell(
        "mkdir hub nothing && mv big/tokenizer.json hub && cp big/checkpoint.safetensors hub/model.safetensors");
    assert_int_equal(r.rc, 0);
    cli_done(&r);
    expect(
        0, "hello", NULL,
        "sample gpt2 --set vocabulary=50257 --set layers=1 --weights hub --prompt hello --tokens 2"); /* as published */
    expect(1, "", "nothing: a folder without weights: expected checkpoint.safetensors, model.safetensors",
           "sample gpt2 --weights nothing --prompt hello");
}

static void a_text_becomes_tokens_and_comes_back(void **state) {
    (void)state;
    expect(0, "", "tokens i32 [", "convert '%s/README.md' readme.npy --tokenizer '%s/tests/golden/tokenizer_gpt2.json'",
           root, root);
    expect(0, "", NULL, "convert readme.npy readme.txt --tokenizer '%s/tests/golden/tokenizer_gpt2.json'", root);
    cli_result r = cli_shell("cmp '%s/README.md' readme.txt", root);
    assert_int_equal(r.rc, 0);
    cli_done(&r);
    expect(2, "", "expected a text and an array", "convert readme.txt again.txt --tokenizer '%s/tests/golden/x'", root);
    expect(2, "", "give tokens (gyrus convert",
           "train gpt2 --set vocabulary=50257 --data readme.txt --steps 1 --out no");
    assert_false(in_scratch("no"));
    expect(0, NULL, NULL,
           "train gpt2 --set vocabulary=50257 --set layers=1 --set batch=1 --set tokens=32 --data readme.npy --steps 1 "
           "--quiet --out words");
    unlink(scratch("readme.npy", (char[256]){0})); /* writing needs the weights, not the texts they were learned from */
    expect(0, "hello", "readme.npy",
           "sample words --prompt hello --tokens 2 --tokenizer '%s/tests/golden/tokenizer_gpt2.json'", root);
}

/* Training goes on from the weights of a file: at a learning rate of 0, what is written is what was read. */
static void training_begins_with_the_weights_given(void **state) {
    (void)state;
    expect(0, NULL, NULL,
           "train gpt2 --steps 1 --set lr=0 --seed 9 --quiet --out same --weights lm/checkpoint.safetensors");
    expect(0, NULL, NULL, "train gpt2 --steps 1 --set lr=0 --seed 9 --quiet --out other");
    expect(0, "", NULL, "convert lm/checkpoint.safetensors:wte.weight a.npy");
    expect(0, "", NULL, "convert same/checkpoint.safetensors:wte.weight b.npy");
    expect(0, "", NULL, "convert other/checkpoint.safetensors:wte.weight c.npy");
    assert_true(same_bytes("a.npy", "b.npy"));
    assert_false(same_bytes("a.npy", "c.npy"));
    expect(2, "", "--weights: a resumed run", "train --resume --out same --weights lm/checkpoint.safetensors");
    expect(1, "", "'wte.weight' is f32 [256, 64], the model expects f32 [256, 32]",
           "train gpt2 --set width=32 --steps 1 --out bad --weights lm/checkpoint.safetensors");
    assert_false(in_scratch("bad"));
}

int main(void) {
    static const struct CMUnitTest tests[] = {
        TEST(a_text_begins_with_its_prompt_and_has_the_length_asked_for),
        TEST(the_same_seed_writes_the_same_text_another_seed_another),
        TEST(taking_the_likeliest_needs_no_seed),
        TEST(streams_files_and_json_agree),
        TEST(several_texts_differ_and_are_kept_apart),
        TEST(a_text_ends_at_its_stop),
        TEST(beams_do_not_draw),
        TEST(wrong_wishes_are_named),
        TEST(the_tokenizer_beside_the_weights_is_used),
        TEST(a_text_becomes_tokens_and_comes_back),
        TEST(training_begins_with_the_weights_given),
    };
    return cmocka_run_group_tests(tests, setup, cli_group_teardown);
}
