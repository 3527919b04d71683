/* The command line as a user and a script meet it: help, exit codes, streams, JSON. Files are in test_cli_files.c,
 * training in test_cli_train.c. */
#include "../harness/cli.h"

static const char *const verbs[] = {"list",  "show",   "train",   "eval",    "run",     "sample", "claim",
                                    "bench", "doctor", "explain", "inspect", "convert", NULL};

static void every_verb_has_help_with_an_example(void **state) {
    (void)state;
    for (int i = 0; verbs[i]; i++) {
        cli_result r = cli("%s --help", verbs[i]);
        char usage[64], example[64];
        snprintf(usage, sizeof usage, "Usage: gyrus %s ", verbs[i]);
        snprintf(example, sizeof example, "Example:\n  gyrus %s", verbs[i]);
        assert_int_equal(r.rc, 0);
        assert_non_null(strstr(r.out, usage));
        assert_non_null(strstr(r.out, example));
        assert_non_null(strstr(r.out, "--threads"));
        assert_string_equal(r.err, "");
        cli_done(&r);
    }
}

static void the_overview_names_every_verb(void **state) {
    (void)state;
    for (int i = 0; verbs[i]; i++) expect(0, verbs[i], NULL, "--help");
    expect(0, "gyrus " GY_VERSION, NULL, "--version");
    expect(2, "Usage:", NULL, " ");
}

static void a_wrong_command_line_exits_2_and_suggests(void **state) {
    (void)state;
    expect(2, NULL, "unknown verb 'trian'; did you mean 'train'?", "trian");
    expect(2, NULL, "unknown option '--jsn'; did you mean '--json'?", "list --jsn");
    expect(2, NULL, "--family needs a value", "list --family");
    expect(2, NULL, "--json takes no value", "list --json=1");
    expect(2, NULL, "unexpected argument 'x'", "list x");
    expect(2, NULL, "no model of family 'nothing'", "list --family nothing");
    expect(2, NULL, "no model 'a-model-that-is-not'", "show a-model-that-is-not");
    expect(2, NULL, "no model 'a-model-that-is-not'", "train a-model-that-is-not");
    expect(2, NULL, "no model 'a-model-that-is-not'", "run a-model-that-is-not");
    expect(2, NULL, "no model 'a-model-that-is-not'", "sample a-model-that-is-not -o x.png");
    expect(2, NULL, "no model 'a-model-that-is-not'", "claim a-model-that-is-not");
    expect(2, NULL, "no model 'a-model-that-is-not'", "explain a-model-that-is-not");
    expect(2, NULL, "no operator 'sofmax'; did you mean 'softmax'?", "explain --op sofmax");
    expect(2, NULL, "did you mean 'softmax'?", "bench sofmax");
    expect(2, NULL, "expected an integer in [1, 1024]", "list --threads 0");
    expect(2, NULL, "NAME one of safetensors-header", "list --limit nothing=3");
    setenv("GYRUS_ISA", "mmx", 1);
    expect(2, NULL, "GYRUS_ISA=mmx: expected ref, avx2, avx512 or avx512bf16", "list");
    unsetenv("GYRUS_ISA");
    expect(2, NULL, "expected one run folder", "eval");
    expect(2, NULL, "no run folder", "eval nowhere");
    expect(2, NULL, "expected one model or run folder", "sample");
    expect(2, NULL, "expected IN and OUT", "convert x");
    expect(2, NULL, "expected at least one file", "inspect");
    expect(2, NULL, "--resume needs --out DIR", "train --resume");
}

static void a_suggested_model_is_a_real_one(void **state) {
    (void)state;
    assert_non_null(gy_models[0]);
    char wrong[128], want[160];
    snprintf(wrong, sizeof wrong, "%s", gy_models[0]->slug);
    wrong[strlen(wrong) - 1] = '\0'; /* a letter short */
    snprintf(want, sizeof want, "did you mean '%s'?", gy_models[0]->slug);
    expect(2, NULL, want, "show %s", wrong);
}

static void json_is_one_value(void **state) {
    gy_ctx *ctx = *state;
    json_doc d = json_of(ctx, 0, "list --json");
    assert_int_equal(d.doc.nodes[0].kind, GY_JSON_ARRAY);
    int64_t models = 0;
    while (gy_models[models]) models++;
    assert_int_equal(d.doc.nodes[0].u.list.count, models);
    json_done(&d);
    d = json_of(ctx, 0, "list --ops --json");
    assert_int_equal(d.doc.nodes[0].u.list.count, GY_OP_COUNT - 1);
    json_done(&d);
    d = json_of(ctx, 0, "explain --op layernorm --json");
    assert_string_equal(json_text(&d, "op"), "layernorm");
    json_done(&d);
    d = json_of(ctx, 0, "doctor --json");
    assert_true(json_number(&d, "peak_gflops") > 0 && json_number(&d, "peak_gbps") > 0);
    assert_non_null(strstr(json_text(&d, "cuda"), "no CUDA device"));
    json_done(&d);
}

static void bench_rows_have_the_contracts_keys(void **state) {
    gy_ctx *ctx = *state;
    static const char *const keys[] = {"kernel", "shape", "dtype",         "isa",  "threads",      "seconds",
                                       "gflops", "gbps",  "peak_fraction", "peer", "peer_seconds", "ratio"};
    json_doc d = json_of(ctx, 0, "bench reduce --threads 1 --json");
    assert_int_equal(d.doc.nodes[0].kind, GY_JSON_ARRAY);
    assert_true(d.doc.nodes[0].u.list.count >= 3);
    for (int64_t row = gy_json_first(&d.doc, 0); row >= 0; row = d.doc.nodes[row].next) {
        double seconds;
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) assert_true(gy_json_get(&d.doc, row, keys[k]) >= 0);
        assert_true(gy_json_real(&d.doc, gy_json_get(&d.doc, row, "seconds"), &seconds) && seconds > 0);
    }
    json_done(&d);
}

static void an_isa_mask_reaches_doctor(void **state) {
    gy_ctx *ctx = *state;
    setenv("GYRUS_ISA", "ref", 1);
    json_doc d = json_of(ctx, 0, "doctor --json");
    int64_t kernels = gy_json_get(&d.doc, 0, "kernels");
    assert_string_equal(gy_json_string(&d.doc, gy_json_get(&d.doc, kernels, "matmul")), "ref_matmul_f32");
    json_done(&d);
    unsetenv("GYRUS_ISA");
}

static void operators_can_be_explained(void **state) {
    json_doc d = json_of(*state, 0, "list --ops --json");
    int k = 0;
    for (int64_t row = gy_json_first(&d.doc, 0); row >= 0; row = d.doc.nodes[row].next, k++) {
        const char *name = gy_json_string(&d.doc, gy_json_get(&d.doc, row, "op"));
        if (k % 4 == 0) expect(0, name, NULL, "explain --op %s", name); /* each is a process: a quarter of them */
    }
    json_done(&d);
    expect(0, "dL/dx0 = ", "", "explain --op matmul");
    expect(0, "gradient   none: ", "", "explain --op argmax");
}

static void talk_goes_to_stderr_and_data_to_stdout(void **state) {
    (void)state;
    cli_result r = cli("list --ops");
    assert_int_equal(r.rc, 0);
    assert_string_equal(r.err, "");
    assert_non_null(strstr(r.out, "matmul"));
    cli_done(&r);
    r = cli("show a-model-that-is-not");
    assert_string_equal(r.out, "");
    assert_memory_equal(r.err, "gyrus show: ", 12);
    cli_done(&r);
    r = cli("inspect nothing-there");
    assert_int_equal(r.rc, 1);
    assert_string_equal(r.out, "");
    assert_non_null(strstr(r.err, "nothing-there"));
    cli_done(&r);
}

static void a_full_standard_output_is_a_failure(void **state) {
    (void)state;
    if (access("/dev/full", W_OK) != 0) skip();
    cli_result r = cli("list --ops >/dev/full");
    assert_int_equal(r.rc, 1);
    assert_non_null(strstr(r.err, "writing to standard output failed"));
    cli_done(&r);
}

static void out_of_memory_is_one_message(void **state) {
    (void)state;
    if (strstr(cli_program, "-san/") || strstr(cli_program, "-tsan/")) skip(); /* their shadow needs more than that */
    cli_result r = cli_shell("ulimit -v 60000 && exec \"$GYRUS\" bench matmul --threads 1");
    assert_int_equal(r.rc, 1);
    assert_non_null(strstr(r.err, "gyrus bench: out of memory: "));
    cli_done(&r);
    r = cli_shell("ulimit -v 60000 && exec \"$GYRUS\" doctor --threads 1");
    assert_int_equal(r.rc, 0); /* without peaks, with the rest */
    assert_non_null(strstr(r.err, "warning: peaks are not measured: out of memory"));
    assert_non_null(strstr(r.out, "matmul"));
    cli_done(&r);
}

/* The figure promised is 10 ms; a loaded machine and a sanitizer build get more. */
static void list_starts_at_once(void **state) {
    (void)state;
    double best = 1e9;
    for (int i = 0; i < 10; i++) {
        cli_result r = cli("list");
        assert_int_equal(r.rc, 0);
        if (r.seconds < best) best = r.seconds;
        cli_done(&r);
    }
    print_message("gyrus list: %.1f ms from fork to exit\n", 1e3 * best);
    assert_true(best < 0.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(every_verb_has_help_with_an_example),
        TEST(the_overview_names_every_verb),
        TEST(a_wrong_command_line_exits_2_and_suggests),
        TEST(a_suggested_model_is_a_real_one),
        TEST(json_is_one_value),
        TEST(bench_rows_have_the_contracts_keys),
        TEST(an_isa_mask_reaches_doctor),
        TEST(operators_can_be_explained),
        TEST(talk_goes_to_stderr_and_data_to_stdout),
        TEST(a_full_standard_output_is_a_failure),
        TEST(out_of_memory_is_one_message),
        TEST(list_starts_at_once),
    };
    return cmocka_run_group_tests(tests, cli_group_setup, cli_group_teardown);
}
