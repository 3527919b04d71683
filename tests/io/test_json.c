/* JSON: strict reading, exact numbers, writing that reads back. */
#include "build.h"

#include "io/formats/json.h"

#include <math.h>

static gy_status parse_n(gy_ctx *ctx, const char *text, size_t n) {
    source s = source_of(ctx, text, n);
    gy_json j;
    gy_status st = gy_json_parse(&s.b, 0, n, &j);
    gy_json_free(&j);
    source_free(&s);
    return st;
}

static gy_status parse(gy_ctx *ctx, const char *text) {
    return parse_n(ctx, text, strlen(text));
}

static void structure_and_values_are_read(void **state) {
    gy_ctx *ctx = *state;
    static const char text[] = " {\"a\": [1, -2.5, true, false, null, \"x\\n\\u00e9\\ud83e\\udde0\"], \"b\": {}, "
                               "\"c\": [], \"d\": {\"e\": [[7]]}}\r\n";
    source s = source_of(ctx, text, sizeof text - 1);
    gy_json j;
    assert_ok(ctx, gy_json_parse(&s.b, 0, s.b.size, &j));
    int64_t a = gy_json_get(&j, 0, "a"), i = gy_json_first(&j, a), v;
    double d;
    assert_int_equal(j.nodes[a].u.list.count, 6);
    assert_true(gy_json_integer(&j, i, &v) && v == 1);
    i = j.nodes[i].next;
    assert_true(gy_json_real(&j, i, &d) && d == -2.5);
    assert_false(gy_json_integer(&j, i, &v));
    i = j.nodes[i].next;
    assert_true(j.nodes[i].kind == GY_JSON_BOOL && j.nodes[i].u.boolean);
    i = j.nodes[i].next;
    assert_true(j.nodes[i].kind == GY_JSON_BOOL && !j.nodes[i].u.boolean);
    i = j.nodes[i].next;
    assert_true(j.nodes[i].kind == GY_JSON_NULL);
    i = j.nodes[i].next;
    assert_string_equal(gy_json_string(&j, i), "x\n\xc3\xa9\xf0\x9f\xa7\xa0");
    assert_int_equal(j.nodes[i].next, -1);
    assert_int_equal(gy_json_first(&j, gy_json_get(&j, 0, "b")), -1);
    assert_int_equal(gy_json_first(&j, gy_json_get(&j, 0, "c")), -1);
    assert_int_equal(gy_json_get(&j, 0, "e"), -1);
    int64_t e = gy_json_get(&j, gy_json_get(&j, 0, "d"), "e");
    assert_true(gy_json_integer(&j, gy_json_first(&j, gy_json_first(&j, e)), &v) && v == 7);
    gy_json_free(&j);
    source_free(&s);
}

static void numbers_stay_exact(void **state) {
    gy_ctx *ctx = *state;
    static const char text[] = "[9007199254740993, -9223372036854775808, 9223372036854775808, -0, 1e2, 0.1]";
    source s = source_of(ctx, text, sizeof text - 1);
    gy_json j;
    assert_ok(ctx, gy_json_parse(&s.b, 0, s.b.size, &j));
    int64_t v;
    double d;
    assert_true(gy_json_integer(&j, 1, &v) && v == 9007199254740993);
    assert_true(gy_json_integer(&j, 2, &v) && v == INT64_MIN);
    assert_false(gy_json_integer(&j, 3, &v));
    assert_true(gy_json_real(&j, 3, &d) && d == 9223372036854775808.0);
    assert_true(gy_json_real(&j, 4, &d) && d == 0 && signbit(d));
    assert_false(gy_json_integer(&j, 5, &v)); /* 1e2 is not written as an integer */
    assert_true(gy_json_real(&j, 5, &d) && d == 100.0);
    assert_true(gy_json_real(&j, 6, &d) && d == 0.1);
    gy_json_free(&j);
    source_free(&s);
}

static void txt03_what_programs_read_differently_is_refused(void **state) {
    gy_ctx *ctx = *state;
    static const char *const cases[][2] = {
        {"", "expected a value, found the end"},
        {"{", "expected a key or '}', found the end"},
        {"[1", "expected ',' or ']', found the end"},
        {"[1,]", "expected a value, found ']'"},
        {"{\"a\":1,}", "expected a key, found '}'"},
        {"{a:1}", "expected a key or '}', found 'a'"},
        {"{\"a\" 1}", "expected ':', found '1'"},
        {"[1 2]", "expected ',' or ']', found '2'"},
        {"{} x", "expected the end, found 'x'"},
        {"// hi\n1", "expected a value, found '/'"},
        {"[1] /* hi */", "expected the end, found '/'"},
        {"{\"a\":1,\"a\":2}", "byte 11: JSON: the key 'a' appears twice"},
        {"{\"a\":1,\"\\u0061\":2}", "the key 'a' appears twice"},
        {"\"\\u0000\"", "\\u0000 inside a string"},
        {"\"\\ud800\"", "a lone surrogate"},
        {"\"\\udc00\"", "a lone surrogate"},
        {"\"\\ud800\\u0041\"", "a lone surrogate"},
        {"\"\\u12g4\"", "expected four hexadecimal digits"},
        {"\"\\x41\"", "expected an escape"},
        {"\"abc", "a string without end"},
        {"\"a\nb\"", "a control character inside a string"},
        {"\"\xc0\xaf\"", "invalid UTF-8"},
        {"\"\xed\xa0\x80\"", "invalid UTF-8"},
        {"\"\xff\"", "invalid UTF-8"},
        {"\xef\xbb\xbf{}", "expected a value"},
        {"1e999", "a number beyond what a double holds"},
        {"01", "expected the end, found '1'"},
        {"1.", "expected a digit"},
        {".5", "expected a value"},
        {"+1", "expected a value"},
        {"1e", "expected a digit"},
        {"-", "expected a value"},
        {"NaN", "expected a value, found 'N'"},
        {"tru", "expected a value, found 't'"},
        {"0x10", "expected the end, found 'x'"},
        {"1,5", "expected the end, found ','"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_message(ctx, parse(ctx, cases[i][0]), cases[i][1]);
    assert_message(ctx, parse_n(ctx, "\"a\0b\"", 5), "a control character inside a string");
    assert_message(ctx, parse_n(ctx, "1\0", 2), "expected the end, found '\\x00'");
}

static void depth_is_bounded_without_recursion(void **state) {
    gy_ctx *ctx = *state;
    enum { DEEP = 100000 };
    char *deep = malloc(2 * DEEP);
    memset(deep, '[', DEEP);
    memset(deep + DEEP, ']', DEEP);
    assert_message(ctx, parse_n(ctx, deep, 2 * DEEP), "JSON nesting: 65 is above the limit json-depth = 64");
    assert_ok(ctx, parse_n(ctx, deep + DEEP - 64, 128));
    source s = source_of(ctx, deep, 2 * DEEP);
    gy_json j;
    s.b.limits.v[GY_LIMIT_JSON_DEPTH] = DEEP;
    assert_ok(ctx, gy_json_parse(&s.b, 0, 2 * DEEP, &j)); /* the limit can be raised: still no recursion */
    gy_json_free(&j);
    source_free(&s);
    free(deep);
}

static void a_hundred_thousand_keys_are_checked_in_linear_time(void **state) {
    gy_ctx *ctx = *state;
    enum { KEYS = 100000 };
    char *text = malloc(KEYS * 16);
    size_t n = 1;
    text[0] = '{';
    for (int i = 0; i < KEYS; i++) n += (size_t)sprintf(text + n, "%s\"k%d\":0", i ? "," : "", i);
    text[n] = '}';
    assert_ok(ctx, parse_n(ctx, text, n + 1));
    memcpy(text + n, ",\"k77\":0}", 9);
    assert_message(ctx, parse_n(ctx, text, n + 9), "the key 'k77' appears twice");
    free(text);
}

static void cut_anywhere_is_refused(void **state) {
    gy_ctx *ctx = *state;
    static const char text[] = "{\"a\":[1,-2.5e3,true,null],\"b\":\"\\u00e9\xc3\xa9\"}";
    for (size_t n = 0; n < sizeof text - 1; n++) assert_int_equal(parse_n(ctx, text, n), GY_ERR_FORMAT);
    assert_ok(ctx, parse(ctx, text));
}

static gy_status write_all(gy_ctx *ctx, bool pretty, char **text, size_t *n) {
    gy_json_writer w;
    gy_json_start(ctx, &w, pretty);
    gy_json_open_object(&w, NULL);
    gy_json_put_string(&w, "s", "q\"\\\n\x01<é\xff");
    gy_json_put_int(&w, "i", INT64_MIN);
    gy_json_put_real(&w, "r", 0.1);
    gy_json_put_real(&w, "one", 1.0);
    gy_json_put_real(&w, "third", 1.0 / 3.0);
    gy_json_put_real(&w, "nan", NAN);
    gy_json_put_bool(&w, "b", true);
    gy_json_put_null(&w, "z");
    gy_json_open_array(&w, "a");
    gy_json_put_int(&w, NULL, 1);
    gy_json_open_object(&w, NULL);
    gy_json_close(&w);
    gy_json_close(&w);
    gy_json_close(&w);
    return gy_json_finish(&w, text, n);
}

static void what_is_written_reads_back(void **state) {
    gy_ctx *ctx = *state;
    char *text;
    size_t n;
    assert_ok(ctx, write_all(ctx, false, &text, &n));
    assert_string_equal(
        text, "{\"s\":\"q\\\"\\\\\\n\\u0001\\u003cé\\ufffd\",\"i\":-9223372036854775808,\"r\":0.1,\"one\":1.0,"
              "\"third\":0.3333333333333333,\"nan\":null,\"b\":true,\"z\":null,\"a\":[1,{}]}");
    gy_free(ctx, text);
    assert_ok(ctx, write_all(ctx, true, &text, &n));
    assert_int_equal(strlen(text), n);
    assert_non_null(strstr(text, "{\n  \"s\": "));
    assert_non_null(strstr(text, "\"a\": [\n    1,\n    {}\n  ]\n}\n"));
    source s = source_of(ctx, text, n);
    gy_json j;
    double d;
    assert_ok(ctx, gy_json_parse(&s.b, 0, n, &j));
    assert_true(gy_json_real(&j, gy_json_get(&j, 0, "third"), &d) && d == 1.0 / 3.0);
    assert_string_equal(gy_json_string(&j, gy_json_get(&j, 0, "s")), "q\"\\\n\x01<é\xef\xbf\xbd");
    gy_json_free(&j);
    source_free(&s);
    gy_free(ctx, text);
}

static void an_unfinished_value_is_a_usage_error(void **state) {
    gy_ctx *ctx = *state;
    gy_json_writer w;
    char *text;
    size_t n;
    gy_json_start(ctx, &w, false);
    gy_json_open_array(&w, NULL);
    assert_message(ctx, gy_json_finish(&w, &text, &n), "still open");
    gy_json_start(ctx, &w, false);
    gy_json_close(&w);
    assert_message(ctx, gy_json_finish(&w, &text, &n), "nothing is open");
    gy_json_start(ctx, &w, false);
    assert_message(ctx, gy_json_finish(&w, &text, &n), "no value");
    gy_json_start(ctx, &w, false);
    for (int i = 0; i < 70; i++) gy_json_open_array(&w, NULL);
    assert_message(ctx, gy_json_finish(&w, &text, &n), "more than 64 levels");
}

static gy_status write_and_parse(gy_ctx *ctx, void *arg) {
    (void)arg;
    char *text = NULL;
    size_t n = 0;
    gy_bytes b = {0};
    gy_json j = {0};
    gy_status s = write_all(ctx, true, &text, &n);
    if (s == GY_OK) s = gy_bytes_from_memory(ctx, "t", text, n, NULL, &b);
    if (s == GY_OK) s = gy_json_parse(&b, 0, n, &j);
    gy_json_free(&j);
    gy_bytes_close(&b);
    gy_free(ctx, text);
    return s;
}

static void no_memory_is_reported(void **state) {
    survive_no_memory(*state, write_and_parse, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(structure_and_values_are_read),
        TEST(numbers_stay_exact),
        TEST(txt03_what_programs_read_differently_is_refused),
        TEST(depth_is_bounded_without_recursion),
        TEST(a_hundred_thousand_keys_are_checked_in_linear_time),
        TEST(cut_anywhere_is_refused),
        TEST(what_is_written_reads_back),
        TEST(an_unfinished_value_is_a_usage_error),
        TEST(no_memory_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
