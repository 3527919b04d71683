/* gyrus explain -o: the page shows what flows through a model when it reads its own data. */
#include "../harness/cli.h"

static char *page_of(const char *name) {
    size_t n;
    char *text = slurp(name, &n);
    assert_non_null(text);
    return text;
}

static int count(const char *text, const char *word) {
    int n = 0;
    for (const char *p = text; (p = strstr(p, word)) != NULL; p++) n++;
    return n;
}

/* Where the caption of the drawn value of this name tells its mean. */
static const char *mean_of(const char *page, const char *name) {
    const char *p = strstr(page, "An input of shape"); /* the charts of layers come before */
    for (int i = 0; i < 2; i++) {
        assert_non_null(p);
        p = strstr(p, i ? "; mean " : name);
    }
    assert_non_null(p);
    return p;
}

static void named_places_are_drawn_as_their_shapes_suggest(void **state) {
    (void)state;
    expect(0, "", "page: seg.html", "explain guided-attention-seg -o seg.html");
    char *page = page_of("seg.html");
    assert_non_null(strstr(page, "An input of shape [4, 64, 64, 1], first row of the batch"));
    assert_non_null(strstr(page, "pam_attention_1_3.attn.3.map")); /* a place that the model names */
    assert_non_null(strstr(page, "A value of shape [4, 1, 256, 256], first row of the batch; mean 0.00391,"));
    assert_non_null(strstr(page, ">query<")); /* rows of softmax: weights of 256 keys, each 1/256 on average */
    assert_null(strstr(page, "Not shown: what flows"));
    free(page);
}

static void without_named_places_the_ends_of_layers_are_drawn(void **state) {
    (void)state;
    expect(0, "", "page: one.html", "explain demovae -o one.html --set train=200 --set tests=50");
    char *page = page_of("one.html");
    assert_non_null(strstr(page, ">enc1<"));
    assert_non_null(strstr(page, ">dec2<"));
    assert_true(count(page, " first row of the batch; mean ") >= 6);
    free(page);
}

static void weights_change_what_is_drawn(void **state) {
    (void)state;
    expect(0, NULL, NULL, "train demovae --set train=200 --set tests=50 --steps 3 --quiet --out run");
    expect(0, "", "page: ", "explain demovae --set train=200 --set tests=50 -o w.html");
    expect(0, "",
           "page: ", "explain demovae --set train=200 --set tests=50 --weights run/checkpoint.safetensors -o w2.html");
    char *a = page_of("w.html"), *b = page_of("w2.html");
    const char *x = mean_of(a, ">enc1<"), *y = mean_of(b, ">enc1<");
    assert_memory_not_equal(x, y, 64);
    free(a);
    free(b);
}

static void what_cannot_be_drawn_says_why(void **state) {
    (void)state;
    expect(0, "", "page: ", "explain clip-text -o none.html");
    char *page = page_of("none.html");
    assert_non_null(strstr(page, "it brings no batch to look at"));
    free(page);
    expect(0, "", "page: ", "explain braindive --config paper -o big.html");
    page = page_of("big.html");
    assert_non_null(strstr(page, "too large to run for a page"));
    free(page);
    expect(1, "", "nothing.npz", "explain demovae --data nothing.npz -o bad.html");
    assert_false(in_scratch("bad.html"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(named_places_are_drawn_as_their_shapes_suggest),
        TEST(without_named_places_the_ends_of_layers_are_drawn),
        TEST(weights_change_what_is_drawn),
        TEST(what_cannot_be_drawn_says_why),
    };
    return cmocka_run_group_tests(tests, cli_group_setup, cli_group_teardown);
}
