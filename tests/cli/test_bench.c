/* gyrus bench: the rows' contract, peers, saved runs, comparisons, the page. Times are real but tiny; comparisons run
 * on fabricated files, so that no test depends on how busy the machine is. */
#include "../harness/cli.h"

#define ONE_ROW "bench matmul --quick --threads 1 --match '64 x 64 x 64 f32'"

static void put_file(const char *name, const char *text) {
    char path[256];
    FILE *f = fopen(scratch(name, path), "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* A saved run of two rows that took these milliseconds. */
static void put_run(const char *name, double first, double second) {
    char text[1024];
    snprintf(text, sizeof text,
             "{\"version\":\"0.1.0\",\"cpu\":\"a processor\",\"threads\":1,\"cold\":false,"
             "\"level_bytes\":{\"L1\":32768,\"L2\":1048576,\"L3\":33554432},"
             "\"peaks\":[{\"threads\":1,\"gflops\":{\"f32\":100,\"f64\":50,\"bf16\":0,\"int8\":0},"
             "\"read_gbps\":{\"L1\":400,\"L2\":200,\"L3\":100,\"DRAM\":40},"
             "\"copy_gbps\":{\"L1\":300,\"L2\":150,\"L3\":80,\"DRAM\":30}}],"
             "\"peers\":[{\"name\":\"BLIS\",\"version\":\"absent: not here\"}],\"rows\":["
             "{\"kernel\":\"matmul\",\"shape\":\"8 x 8 x 8\",\"dtype\":\"f32\",\"isa\":\"ref\",\"threads\":1,"
             "\"seconds\":%g,\"seconds_min\":%g,\"gflops\":10,\"gbps\":1,\"intensity\":10,\"bound\":\"f32\","
             "\"peak_fraction\":0.1,\"peer\":null,\"peer_seconds\":null,\"ratio\":null},"
             "{\"kernel\":\"softmax\",\"shape\":\"4 x 4\",\"dtype\":\"f32\",\"isa\":\"ref\",\"threads\":1,"
             "\"seconds\":%g,\"seconds_min\":%g,\"gflops\":1,\"gbps\":1,\"intensity\":1,\"bound\":\"L1\","
             "\"peak_fraction\":0.5,\"peer\":\"torch eager\",\"peer_seconds\":1,\"ratio\":2}]}",
             first * 1e-3, first * 1e-3, second * 1e-3, second * 1e-3);
    put_file(name, text);
}

/* Peers are set to files that are not there, or to what the test wants. */
static void set_peers(const char *openblas, const char *python) {
    setenv("GYRUS_OPENBLAS", openblas ? openblas : "/nowhere/blas.so", 1);
    setenv("GYRUS_BLIS", "/nowhere/blis.so", 1);
    setenv("GYRUS_ONEDNN", "/nowhere/dnnl.so", 1);
    setenv("GYRUS_PYTHON", python ? python : "/nowhere/python", 1);
    unsetenv("GYRUS_GGML");
}
static double number_of(const json_doc *d, int64_t row, const char *key) {
    double v = 0;
    assert_true(gy_json_real(&d->doc, gy_json_get(&d->doc, row, key), &v));
    return v;
}
static bool is_null(const json_doc *d, int64_t row, const char *key) {
    int64_t i = gy_json_get(&d->doc, row, key);
    assert_true(i >= 0);
    return d->doc.nodes[i].kind == GY_JSON_NULL;
}

static void the_list_names_suites_that_exist(void **state) {
    (void)state;
    cli_result r = cli("bench --list");
    assert_int_equal(r.rc, 0);
    assert_non_null(strstr(r.out, "matmul\nconv\nattention\n"));
    int lines = 0;
    for (const char *p = r.out; (p = strchr(p, '\n')); p++) lines++;
    assert_true(lines >= 10);
    for (char *name = r.out, *end; (end = strchr(name, '\n')); name = end + 1) {
        *end = '\0';
        /* a text that no row has: the suite's name is checked, nothing is timed */
        expect(0, "[]", NULL, "bench %s --quick --threads 1 --json --match no-such-row", name);
    }
    cli_done(&r);
}

static void a_wrong_command_line_is_refused(void **state) {
    (void)state;
    expect(2, NULL, "no suite 'matmull'; did you mean 'matmul'?", "bench conv matmull");
    expect(2, NULL, "--tolerance 'much': expected a percentage", "bench --tolerance much");
    expect(2, NULL, "--tolerance '-1': expected a percentage", "bench --tolerance=-1");
    put_run("one.json", 1, 1);
    expect(2, NULL, "expected no suite", "bench conv --load one.json");
    expect(1, NULL, "missing.json", "bench --load missing.json");
}

static void rows_have_the_contracts_keys_and_agree_with_each_other(void **state) {
    json_doc d = json_of(*state, 0, ONE_ROW " --json");
    int64_t row = gy_json_first(&d.doc, 0);
    assert_int_equal(d.doc.nodes[0].u.list.count, 1);
    assert_string_equal(gy_json_string(&d.doc, gy_json_get(&d.doc, row, "kernel")), "matmul");
    assert_string_equal(gy_json_string(&d.doc, gy_json_get(&d.doc, row, "shape")), "64 x 64 x 64");
    assert_string_equal(gy_json_string(&d.doc, gy_json_get(&d.doc, row, "dtype")), "f32");
    assert_non_null(gy_json_string(&d.doc, gy_json_get(&d.doc, row, "isa")));
    assert_non_null(gy_json_string(&d.doc, gy_json_get(&d.doc, row, "bound")));
    double seconds = number_of(&d, row, "seconds");
    assert_true(number_of(&d, row, "threads") == 1 && number_of(&d, row, "repeats") >= 1);
    assert_true(seconds > 0 && number_of(&d, row, "seconds_min") <= seconds && number_of(&d, row, "spread") >= 0);
    /* 2 M N K operations over the stated seconds */
    assert_true(fabs(number_of(&d, row, "gflops") * seconds * 1e9 / (2.0 * 64 * 64 * 64) - 1) < 1e-9);
    assert_true(number_of(&d, row, "peak_fraction") > 0);
    assert_true(is_null(&d, row, "peer") && is_null(&d, row, "peer_seconds") && is_null(&d, row, "ratio"));
    json_done(&d);
}

static void absent_peers_are_named_and_are_no_error(void **state) {
    (void)state;
    set_peers(NULL, NULL);
    cli_result r = cli(ONE_ROW " --peers --json");
    assert_int_equal(r.rc, 0);
    assert_non_null(strstr(r.err, "peer OpenBLAS: absent: GYRUS_OPENBLAS=/nowhere/blas.so cannot be loaded"));
    assert_non_null(strstr(r.err, "peer BLIS: absent: "));
    assert_non_null(strstr(r.err, "peer oneDNN: absent: "));
    assert_non_null(strstr(r.err, "peer torch eager: absent: "));
    assert_non_null(strstr(r.err, "peer torch.compile: absent: "));
    assert_non_null(strstr(r.err, "peer ggml: absent: set GYRUS_GGML"));
    assert_non_null(strstr(r.out, "\"peer\":null"));
    cli_done(&r);
}

/* A library with the two functions of CBLAS that the bench calls, computing `sign` times the product. */
static void build_blas(const char *name, int sign) {
    char text[2048], path[256];
    snprintf(text, sizeof text,
             "#define GEMM(name, T)\\\n"
             "void name(int o, int ta, int tb, int m, int n, int k, T al, const T *a, int la, const T *b, int lb,\\\n"
             "          T be, T *c, int lc) {\\\n"
             "    for (int i = 0; i < m; i++) for (int j = 0; j < n; j++) {\\\n"
             "        T s = 0;\\\n"
             "        for (int l = 0; l < k; l++)\\\n"
             "            s += (ta == 111 ? a[i * la + l] : a[l * la + i]) * (tb == 111 ? b[l * lb + j] : b[j * lb + "
             "l]);\\\n"
             "        c[i * lc + j] = %d * al * s;\\\n"
             "    }\\\n"
             "}\n"
             "GEMM(cblas_sgemm, float)\nGEMM(cblas_dgemm, double)\n",
             sign);
    put_file("blas.c", text);
    cli_result r = cli_shell("cc -w -O1 -shared -fPIC -o %s blas.c", name);
    assert_int_equal(r.rc, 0);
    cli_done(&r);
    assert_true(in_scratch(name));
    set_peers(scratch(name, path), NULL);
}

static void a_peer_is_timed_beside_ours(void **state) {
    build_blas("right.so", 1);
    json_doc d = json_of(*state, 0, ONE_ROW " --peers --json");
    int64_t row = gy_json_first(&d.doc, 0);
    assert_int_equal(d.doc.nodes[0].u.list.count, 1);
    assert_string_equal(gy_json_string(&d.doc, gy_json_get(&d.doc, row, "peer")), "OpenBLAS");
    double ratio = number_of(&d, row, "peer_seconds") / number_of(&d, row, "seconds");
    assert_true(fabs(number_of(&d, row, "ratio") / ratio - 1) < 1e-9);
    assert_true(number_of(&d, row, "difference") < 2e-4);
    json_done(&d);
}

static void every_transpose_reaches_a_peer_right(void **state) {
    build_blas("right.so", 1);
    json_doc d = json_of(*state, 0, "bench matmul --threads 1 --peers --json --match 'batch 12 f32'");
    assert_true(d.doc.nodes[0].u.list.count >= 1);
    for (int64_t row = gy_json_first(&d.doc, 0); row >= 0; row = d.doc.nodes[row].next)
        assert_true(number_of(&d, row, "difference") < 2e-4);
    json_done(&d);
}

static void a_peer_that_computes_something_else_is_not_compared(void **state) {
    (void)state;
    build_blas("wrong.so", -1);
    cli_result r = cli(ONE_ROW " --peers --json");
    assert_int_equal(r.rc, 0);
    assert_non_null(strstr(r.err, "not compared with OpenBLAS: results differ by 2 of the largest element"));
    assert_non_null(strstr(r.out, "\"peer\":null"));
    cli_done(&r);
}

static void a_child_that_talks_nonsense_is_absent(void **state) {
    (void)state;
    char path[256];
    put_file("parrot", "#!/bin/sh\necho hello\n");
    cli_result r = cli_shell("chmod +x parrot");
    cli_done(&r);
    set_peers(NULL, scratch("parrot", path));
    expect(0, "\"peer\":null", "peer torch eager: absent", ONE_ROW " --peers --json");
}

/* A stand-in for the script: answers every task with its own idea of the outputs. */
static void a_child_with_other_results_is_not_compared(void **state) {
    (void)state;
    char path[256];
    put_file("liar", "#!/bin/sh\necho '{\"version\": \"liar 1\"}'\n"
                     "while read line; do case $line in\n"
                     "*kernel*) echo '{\"ok\": true, \"outputs\": [[1, 2, 3]]}' ;;\n"
                     "*) echo '{\"seconds\": 0.001}' ;;\nesac; done\n");
    cli_result r = cli_shell("chmod +x liar");
    cli_done(&r);
    set_peers(NULL, scratch("liar", path));
    expect(0, "\"peer\":null", "peer torch eager: liar 1", ONE_ROW " --peers --json");
    expect(0, NULL, "not compared with torch eager", ONE_ROW " --peers --json");
}

static void a_saved_run_comes_back_equal(void **state) {
    json_doc r = json_of(*state, 0, ONE_ROW " --json --save saved.json");
    json_doc back = json_of(*state, 0, "bench --load saved.json --json");
    int64_t row = gy_json_first(&r.doc, 0), again = gy_json_first(&back.doc, 0);
    static const char *const texts[] = {"kernel", "shape", "dtype", "isa", "bound"};
    static const char *const numbers[] = {"threads", "seconds", "seconds_min", "spread",        "repeats",
                                          "gflops",  "gbps",    "intensity",   "peak_fraction", "bandwidth_fraction"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_string_equal(gy_json_string(&r.doc, gy_json_get(&r.doc, row, texts[i])),
                            gy_json_string(&back.doc, gy_json_get(&back.doc, again, texts[i])));
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) { /* files keep five digits */
        double was = number_of(&r, row, numbers[i]);
        assert_true(fabs(number_of(&back, again, numbers[i]) - was) <= 5e-5 * was);
    }
    assert_true(is_null(&back, again, "peer"));
    json_done(&r);
    json_done(&back);
    /* and once more: the file that --load and --save make is the file */
    expect(0, NULL, NULL, "bench --load saved.json --save again.json");
    assert_true(same_bytes("saved.json", "again.json"));
}

/* One of two rows is in the file, and so is another work's; the last work of a file is measured again. */
static void an_interrupted_run_is_taken_up(void **state) {
    static const char row[] =
        "{\"kernel\":\"%s\",\"shape\":\"%s\",\"dtype\":\"f32\",\"threads\":%d,\"seconds\":1234.5}";
    char rows[3][256], text[1024];
    snprintf(rows[0], sizeof rows[0], row, "matmul", "64 x 64 x 64", 1);
    snprintf(rows[1], sizeof rows[1], row, "softmax", "4 x 4", 1);
    snprintf(rows[2], sizeof rows[2], row, "matmul", "256 x 256 x 256", 1);
    snprintf(text, sizeof text, "{\"threads\":1,\"cold\":false,\"rows\":[%s,%s,%s]}", rows[0], rows[1], rows[2]);
    put_file("part.json", text);
    expect(2, NULL, "other --threads", "bench matmul --threads 2 --resume --save part.json --match none");
    expect(2, NULL, "expected --save", "bench matmul --resume");
    json_doc d =
        json_of(*state, 0, "bench matmul --quick --threads 1 --match '56 x 256' --resume --save part.json --json");
    json_done(&d);
    d = json_of(*state, 0, ONE_ROW " --resume --save part.json --json"); /* now the first is not the last */
    int64_t at = gy_json_first(&d.doc, 0);
    assert_int_equal(d.doc.nodes[0].u.list.count, 3);
    assert_true(number_of(&d, at, "seconds") == 1234.5);
    assert_true(number_of(&d, d.doc.nodes[at].next, "seconds") == 1234.5);
    assert_true(number_of(&d, d.doc.nodes[d.doc.nodes[at].next].next, "seconds") < 1234);
    json_done(&d);
}

static void a_slower_row_fails_the_comparison(void **state) {
    (void)state;
    put_run("before.json", 10, 10);
    put_run("slower.json", 10, 12);
    put_run("faster.json", 5, 10.5);
    expect(1, NULL, "slower  softmax 4 x 4 f32: 12 ms, was 10 ms (+20.0 %)",
           "bench --load slower.json --compare before.json");
    expect(1, NULL, "2 rows compared: 1 slower, 0 faster by more than 10 %",
           "bench --load slower.json --compare before.json");
    expect(0, NULL, "2 rows compared: 0 slower, 0 faster by more than 25 %",
           "bench --load slower.json --compare before.json --tolerance 25");
    expect(0, NULL, "faster  matmul 8 x 8 x 8 f32: 5 ms, was 10 ms (-50.0 %)",
           "bench --load faster.json --compare before.json");
    expect(1, NULL, "slower  softmax", "bench --load faster.json --compare before.json --tolerance 1");
    expect(0, NULL, NULL, "bench --load before.json --compare before.json --tolerance 0");
}

static void rows_of_several_peers_compare_by_the_fastest(void **state) {
    (void)state;
    static const char row[] = "{\"kernel\":\"k\",\"shape\":\"s\",\"dtype\":\"f32\",\"threads\":1,\"seconds\":%s}";
    char one[160], two[160], text[512];
    snprintf(one, sizeof one, row, "0.010");
    snprintf(two, sizeof two, row, "0.020");
    snprintf(text, sizeof text, "[%s,%s]", two, one);
    put_file("twice.json", text);
    snprintf(text, sizeof text, "[%s]", one);
    put_file("once.json", text);
    expect(0, NULL, "1 rows compared: 0 slower, 0 faster", "bench --load twice.json --compare once.json");
}

static void nothing_to_compare_is_said(void **state) {
    (void)state;
    put_run("before.json", 10, 10);
    put_file("other.json", "[{\"kernel\":\"k\",\"shape\":\"s\",\"dtype\":\"f32\",\"threads\":1,\"seconds\":1}]");
    expect(2, NULL, "before.json has no row of this run", "bench --load other.json --compare before.json");
}

static void files_that_hold_no_rows_are_refused(void **state) {
    (void)state;
    static const char *const texts[] = {"",
                                        "{}",
                                        "3",
                                        "{\"rows\":3}",
                                        "[3]",
                                        "[{}]",
                                        "[{\"kernel\":\"k\"}]",
                                        "[{\"kernel\":\"k\",\"seconds\":0}]",
                                        "[{\"kernel\":\"k\",\"seconds\":-1}]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        put_file("bad.json", texts[i]);
        expect(1, NULL, "bad.json", "bench --load bad.json");
    }
}

static void the_page_holds_peaks_roofline_rows_and_peers(void **state) {
    (void)state;
    put_run("before.json", 10, 10);
    expect(0, NULL, NULL, "bench --load before.json --html page.html");
    size_t n;
    char *html = slurp("page.html", &n);
    assert_non_null(html);
    static const char *const parts[] = {
        "Rooflines",        "<svg",        "8 x 8 x 8", "torch eager",
        "absent: not here", "a processor", "DRAM read", "gyrus bench --load before.json --html page.html"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) assert_non_null(strstr(html, parts[i]));
    assert_null(strstr(html, "<script"));
    free(html);
    put_file("bare.json", "[{\"kernel\":\"k\",\"shape\":\"s\",\"dtype\":\"f32\",\"threads\":1,\"seconds\":1}]");
    expect(0, NULL, NULL, "bench --load bare.json --html bare.html");
    html = slurp("bare.html", &n);
    assert_non_null(strstr(html, "the file holds rows alone"));
    free(html);
}

static void a_whole_model_is_a_row_with_its_memory(void **state) {
    json_doc d = json_of(*state, 0, "bench models --quick --match 'gpt2 decode' --json");
    int64_t row = gy_json_first(&d.doc, 0);
    assert_true(row >= 0 && d.doc.nodes[row].next < 0);
    assert_string_equal(gy_json_string(&d.doc, gy_json_get(&d.doc, row, "bound")), "DRAM");
    assert_true(number_of(&d, row, "seconds") > 0);
    assert_true(number_of(&d, row, "peak_fraction") > 0);
    assert_true(number_of(&d, row, "memory_bytes") > 12.0 * 2 * 768 * 4 * 144); /* the cache of keys and values */
    assert_true(is_null(&d, row, "peer"));
    json_done(&d);
    expect(0, "[]", NULL, "bench models --quick --match 'no such row' --json");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(the_list_names_suites_that_exist),
        TEST(a_wrong_command_line_is_refused),
        TEST(rows_have_the_contracts_keys_and_agree_with_each_other),
        TEST(absent_peers_are_named_and_are_no_error),
        TEST(a_peer_is_timed_beside_ours),
        TEST(every_transpose_reaches_a_peer_right),
        TEST(a_peer_that_computes_something_else_is_not_compared),
        TEST(a_child_that_talks_nonsense_is_absent),
        TEST(a_child_with_other_results_is_not_compared),
        TEST(a_saved_run_comes_back_equal),
        TEST(an_interrupted_run_is_taken_up),
        TEST(a_slower_row_fails_the_comparison),
        TEST(rows_of_several_peers_compare_by_the_fastest),
        TEST(nothing_to_compare_is_said),
        TEST(files_that_hold_no_rows_are_refused),
        TEST(the_page_holds_peaks_roofline_rows_and_peers),
        TEST(a_whole_model_is_a_row_with_its_memory),
    };
    return cmocka_run_group_tests(tests, cli_group_setup, cli_group_teardown);
}
