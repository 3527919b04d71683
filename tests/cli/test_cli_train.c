/* gyrus train, eval, run, show, explain, claim on a real model: the catalogue's first that is trained by steps. What a
 * kill, a signal, a full disk, a second process or a changed option may do to a run. */
#define _GNU_SOURCE
#include "../harness/cli.h"

#include "io/formats/npy.h"

#include <inttypes.h>

enum { STEPS = 6 };

/* The model under test; a catalogue without any skips the file. */
static const char *model(void) {
    for (const gy_model_def *const *m = gy_models; *m; m++)
        if (strcmp((*m)->slug, "mindbridge") == 0) return "mindbridge"; /* the quickest */
    for (const gy_model_def *const *m = gy_models; *m; m++)
        if ((*m)->objective && (*m)->open && (*m)->batch) return (*m)->slug;
    return NULL;
}

static const char *slug;
/* The slug, and for the model we know, fewer data: what is tested here does not depend on what it learns. */
static char small[256];

#define NEEDS_A_MODEL                                                                                                  \
    (void)state;                                                                                                       \
    assert_non_null(slug = model());                                                                                   \
    snprintf(small, sizeof small, "%s%s", slug,                                                                        \
             strcmp(slug, "mindbridge") ? "" : " --set trials=60 --set adapt_trials=20 --set tests=60 --set batch=10")

static void fresh_run(const char *dir) {
    expect(0, NULL, NULL, "train %s --steps %d --save-every 2 --seed 5 --quiet --out %s", small, STEPS, dir);
}

static bool wait_for(const char *file, pid_t pid) {
    for (int i = 0; i < 3000; i++) {
        if (in_scratch(file)) return true;
        if (waitpid(pid, NULL, WNOHANG) == pid) return false;
        usleep(10000);
    }
    return false;
}

static void show_and_explain_agree(void **state) {
    NEEDS_A_MODEL;
    json_doc a = json_of(*state, 0, "show %s --json", slug), b = json_of(*state, 0, "explain %s --json", slug);
    static const char *const keys[] = {"slug",       "config",     "parameters", "flops_forward",
                                       "flops_step", "bytes_peak", "inputs",     "outputs"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) assert_true(gy_json_get(&a.doc, 0, keys[i]) >= 0);
    assert_true(json_number(&a, "parameters") >= json_number(&b, "parameters"));
    assert_true(json_number(&b, "parameters") > 0);
    int64_t steps = gy_json_get(&b.doc, 0, "steps");
    double sum = 0, v;
    for (int64_t i = gy_json_first(&b.doc, steps); i >= 0; i = b.doc.nodes[i].next)
        if (gy_json_real(&b.doc, gy_json_get(&b.doc, i, "parameters"), &v)) sum += v;
    assert_close(sum, json_number(&b, "parameters"), 0); /* each is counted once, at its layer */
    json_done(&a);
    json_done(&b);
    expect(0, "in all: ", "", "explain %s", slug);
    expect(0, "", "page: whole.html", "explain %s --time -o whole.html", slug);
    size_t n;
    char *page = slurp("whole.html", &n);
    assert_non_null(strstr(page, "Where the work goes"));
    assert_non_null(strstr(page, "Where the time goes"));
    assert_non_null(strstr(page, "<td class"));
    free(page);
    expect(1, NULL, "no/such/whole.html", "explain %s -o no/such/whole.html", slug);
    b = json_of(*state, 0, "explain %s --time --json", slug);
    assert_true(gy_json_real(
        &b.doc, gy_json_get(&b.doc, gy_json_first(&b.doc, gy_json_get(&b.doc, 0, "steps")), "seconds"), &v));
    assert_true(v > 0);
    json_done(&b);
}

static void dry_run_writes_nothing(void **state) {
    NEEDS_A_MODEL;
    expect(0, "memory ", "", "train %s --dry-run --steps 7 --out dry", slug);
    expect(0, "steps    7", "", "train %s --dry-run --steps 7 --out dry", slug);
    assert_false(in_scratch("dry"));
}

static void train_then_eval_then_inspect(void **state) {
    NEEDS_A_MODEL;
    json_doc d =
        json_of(*state, 0, "train %s --steps %d --save-every 2 --seed 5 --quiet --out whole --json", small, STEPS);
    assert_close(json_number(&d, "step"), STEPS, 0);
    json_doc e = json_of(*state, 0, "eval whole --json");
    double x, y;
    int64_t first = gy_json_first(&d.doc, gy_json_get(&d.doc, 0, "metrics"));
    assert_true(gy_json_real(&d.doc, first, &x));
    assert_true(
        gy_json_real(&e.doc, gy_json_get(&e.doc, gy_json_get(&e.doc, 0, "metrics"), d.doc.nodes[first].key), &y));
    assert_true(x == y); /* eval of the checkpoint is what train printed */
    json_done(&d);
    json_done(&e);
    assert_true(in_scratch("whole/report.html") && in_scratch("whole/metrics.csv") && in_scratch("whole/run.json"));
    expect(0, "checkpoint     whole", "", "inspect whole");
    expect(2, NULL, "holds a run already", "train %s --out whole", slug);
}

static void kill_and_resume_end_with_the_same_bytes(void **state) {
    NEEDS_A_MODEL;
    enum { MANY = 40 };
    expect(0, NULL, NULL, "train %s --steps %d --save-every 2 --seed 9 --quiet --out straight", small, MANY);
    pid_t pid = cli_start("train %s --steps %d --save-every 2 --seed 9 --quiet --out killed", small, MANY);
    if (wait_for("killed/checkpoint.safetensors", pid)) {
        kill(pid, SIGKILL);
        int rc = cli_wait(pid);
        assert_true(rc == 128 + SIGKILL || rc == 0); /* 0: it was faster than the kill */
    }
    expect(0, NULL, NULL, "train --resume --quiet --out killed");
    assert_true(same_bytes("straight/checkpoint.safetensors", "killed/checkpoint.safetensors"));
    assert_true(same_bytes("straight/metrics.csv", "killed/metrics.csv"));
}

static void threads_do_not_change_a_checkpoint(void **state) {
    NEEDS_A_MODEL;
    expect(0, NULL, NULL, "train %s --steps 4 --seed 5 --quiet --out t1 --threads 1", small);
    expect(0, NULL, NULL, "train %s --steps 4 --seed 5 --quiet --out t3 --threads 3", small);
    assert_true(same_bytes("t1/checkpoint.safetensors", "t3/checkpoint.safetensors"));
}

static void sigterm_stops_cleanly_and_resume_completes(void **state) {
    NEEDS_A_MODEL;
    pid_t pid = cli_start("train %s --steps 100000 --save-every 100000 --seed 5 --out stopped", small);
    assert_true(wait_for("stopped/metrics.csv", pid)); /* the first step is logged: training has begun */
    kill(pid, SIGTERM);
    assert_int_equal(cli_wait(pid), 1);
    size_t n;
    char *err = slurp(".stderr", &n);
    assert_non_null(strstr(err, "stopped after step"));
    assert_non_null(strstr(err, "gyrus train --resume --out stopped"));
    free(err);
    expect(0, "checkpoint     whole", "", "inspect stopped");
    expect(0, NULL, NULL, "train %s --resume --dry-run --out stopped", slug);
}

static void a_second_process_is_kept_out(void **state) {
    NEEDS_A_MODEL;
    pid_t pid = cli_start("train %s --steps 100000 --save-every 2 --seed 5 --quiet --out shared", small);
    assert_true(wait_for("shared/checkpoint.safetensors", pid));
    expect(1, NULL, "another process is training into this folder", "train --resume --quiet --out shared");
    expect(0, "checkpoint     whole", "", "inspect shared"); /* reading goes on meanwhile */
    kill(pid, SIGTERM);
    assert_int_equal(cli_wait(pid), 1);
}

static void a_resumed_run_keeps_its_options(void **state) {
    NEEDS_A_MODEL;
    fresh_run("fixed");
    expect(2, NULL, "--steps 7: the run has 6", "train --resume --out fixed --steps 7");
    expect(2, NULL, "--seed 6: the run has 5", "train --resume --out fixed --seed 6");
    expect(2, NULL, "--data elsewhere: the run has (generated)", "train --resume --out fixed --data elsewhere");
    expect(2, NULL, "asked for 'other'", "train other --resume --out fixed");
    expect(2, NULL, "nothing-here: no run folder", "train %s --resume --out nothing-here", slug);
    expect(0, NULL, NULL, "train --resume --quiet --out fixed --steps 6 --seed 5"); /* the same is no change */
}

static void wrong_options_of_a_model_are_named(void **state) {
    NEEDS_A_MODEL;
    expect(2, NULL, "has no option 'nonsense'", "train %s --set nonsense=1 --out w", slug);
    expect(2, NULL, "has no configuration 'huge'; it has: ", "train %s --config huge --out w", slug);
    expect(2, NULL, "has no ablation 'nothing'", "claim %s --ablate nothing", slug);
    expect(2, NULL, "expected cpu, cuda, cuda:N or emu", "train %s --device gpu --out w", slug);
    expect(1, NULL, "cuda:77: ", "train %s --device cuda:77 --out w", slug);
    expect(1, NULL, "nowhere", "train %s --data nowhere/at-all --out w", slug);
    assert_false(in_scratch("w/run.json"));
}

static void a_full_disk_keeps_the_previous_checkpoint(void **state) {
    NEEDS_A_MODEL;
    fresh_run("before");
    cli_result r =
        cli_shell("mkdir full && cp before/run.json before/metrics.csv full/ && cp before/checkpoint.previous.* "
                  "full/checkpoint.safetensors && cp full/checkpoint.safetensors kept && ulimit -f 16 && "
                  "exec \"$GYRUS\" train --resume --quiet --out full");
    assert_int_equal(r.rc, 1);
    assert_non_null(strstr(r.err, "checkpoint.safetensors"));
    cli_done(&r);
    assert_true(same_bytes("full/checkpoint.safetensors", "kept"));
    r = cli_shell("ls -A full | grep -c tmp");
    assert_string_equal(r.out, "0\n");
    cli_done(&r);
    expect(0, NULL, NULL, "train --resume --quiet --out full"); /* with room again it goes on */
    assert_true(same_bytes("full/checkpoint.safetensors", "before/checkpoint.safetensors"));
}

static void a_folder_that_cannot_be_written_is_refused(void **state) {
    NEEDS_A_MODEL;
    expect(1, NULL, "/proc/none", "train %s --steps 2 --quiet --out /proc/none", small);
    cli_result r = cli_shell("touch plain && exec \"$GYRUS\" train %s --steps 2 --quiet --out plain", small);
    assert_int_equal(r.rc, 1);
    assert_non_null(strstr(r.err, "plain"));
    cli_done(&r);
}

static void a_damaged_checkpoint_is_refused_by_name(void **state) {
    NEEDS_A_MODEL;
    fresh_run("damaged");
    cli_result r = cli_shell("printf X | dd of=damaged/checkpoint.safetensors bs=1 seek=50000 conv=notrunc");
    assert_int_equal(r.rc, 0);
    cli_done(&r);
    expect(1, NULL, "damaged/checkpoint.safetensors", "eval damaged");
    expect(1, NULL, "the checkpoint before it is whole", "train --resume --out damaged");
    expect(1, NULL, "damaged/checkpoint.safetensors", "inspect damaged");
    r = cli_shell(": >damaged/run.json; exec \"$GYRUS\" eval damaged");
    assert_int_equal(r.rc, 1);
    assert_non_null(strstr(r.err, "run.json"));
    cli_done(&r);
}

/* Every input of the model as zeros, with `batch` rows, under its own name; *args: "--input a=a.npy ...". */
static void make_inputs(gy_ctx *ctx, const json_doc *d, int64_t batch, char *args, size_t size) {
    int64_t inputs = gy_json_get(&d->doc, 0, "inputs");
    *args = 0;
    for (int64_t i = gy_json_first(&d->doc, inputs); i >= 0; i = d->doc.nodes[i].next) {
        const char *name = gy_json_string(&d->doc, gy_json_get(&d->doc, i, "name"));
        const char *dtype = gy_json_string(&d->doc, gy_json_get(&d->doc, i, "dtype"));
        char file[128], path[256];
        gy_shape s = {0};
        gy_dtype t;
        gy_tensor x;
        assert_true(name && gy_dtype_parse(dtype, &t));
        for (int64_t k = gy_json_first(&d->doc, gy_json_get(&d->doc, i, "shape")); k >= 0; k = d->doc.nodes[k].next)
            assert_true(gy_json_integer(&d->doc, k, &s.dim[s.rank++]));
        s.dim[0] = batch;
        assert_ok(ctx, gy_tensor_new(ctx, &x, t == GY_F32 ? GY_F64 : t, s)); /* f64: run converts, with a note */
        for (int64_t k = 0; t == GY_F32 && k < gy_shape_count(s); k++) gy_tensor_set(&x, k, (double)(k % 7) - 3);
        snprintf(file, sizeof file, "in-%s.npy", name);
        assert_ok(ctx, gy_npy_write(ctx, scratch(file, path), &x));
        gy_tensor_free(ctx, &x);
        size_t n = strlen(args);
        snprintf(args + n, size - n, " --input %s=%s", name, file);
    }
}

static const char *first_output(const json_doc *d) {
    int64_t first = gy_json_first(&d->doc, gy_json_get(&d->doc, 0, "outputs"));
    return gy_json_string(&d->doc, gy_json_get(&d->doc, first, "name"));
}

static void run_maps_files_to_files(void **state) {
    gy_ctx *ctx = *state;
    NEEDS_A_MODEL;
    char args[1024];
    json_doc d = json_of(ctx, 0, "show %s --batch 3 --json", slug);
    const char *out = first_output(&d);
    make_inputs(ctx, &d, 3, args, sizeof args);
    fresh_run("trained");
    expect(0, "", "note: input", "run trained%s --output %s=y.npy", args, out);
    expect(0, "", NULL, "run trained%s --output %s=again.npy --threads 1", args, out);
    assert_true(same_bytes("y.npy", "again.npy"));
    /* the same weights as a public file give the same output */
    expect(0, "", NULL, "run %s --weights trained/checkpoint.safetensors%s --output %s=z.npy", slug, args, out);
    assert_true(same_bytes("y.npy", "z.npy"));
    expect(0, "", "no --weights", "run %s --seed 3%s --output %s=fresh.npy", slug, args, out);
    assert_false(same_bytes("y.npy", "fresh.npy"));
    json_done(&d);
}

static void run_names_what_does_not_fit(void **state) {
    gy_ctx *ctx = *state;
    NEEDS_A_MODEL;
    char args[1024], path[256];
    json_doc d = json_of(ctx, 0, "show %s --json", slug);
    const char *out = first_output(&d);
    make_inputs(ctx, &d, 2, args, sizeof args);
    char *name = args + strlen(" --input "), *eq = strchr(name, '=');
    expect(0, out, "", "run %s", slug);
    expect(0, "memory ", NULL, "run %s --dry-run", slug);
    expect(2, NULL, "inputs missing: ", "run %s --output %s=no.npy", slug, out);
    expect(2, NULL, "expected name=FILE", "run %s --input x --output %s=no.npy", slug, out);
    expect(2, NULL, "did you mean", "run %s%s --output %sx=no.npy", slug, args, out);
    expect(2, NULL, "did you mean", "run %s --input x%s --output %s=no.npy", slug, name, out);
    gy_tensor t;
    assert_ok(ctx, gy_tensor_new(ctx, &t, GY_F32, GY_S(2, 1, 1, 1, 1, 1, 1)));
    assert_ok(ctx, gy_npy_write(ctx, scratch("odd.npy", path), &t));
    gy_tensor_free(ctx, &t);
    expect(1, NULL, "found [2, 1, 1, 1, 1, 1, 1]", "run %s --input %.*s=odd.npy --output %s=no.npy", slug,
           (int)(eq - name), name, out);
    expect(1, NULL, "gone.npy", "run %s --input %.*s=gone.npy --output %s=no.npy", slug, (int)(eq - name), name, out);
    assert_false(in_scratch("no.npy"));
    json_done(&d);
}

static void run_goes_without_the_training_data(void **state) {
    (void)state;
    char text[2000], path[256];
    for (int i = 0; i < 2000; i++) text[i] = (char)('a' + i % 11);
    assert_ok(*state, gy_write_file(*state, scratch("text.txt", path), text, sizeof text));
    expect(0, NULL, NULL, "train titans --config text --set batch=2 --steps 1 --data text.txt --quiet --out words");
    unlink(path);
    expect(0, "output   logits", "built from its configuration alone", "run words");
    expect(1, NULL, "text.txt: cannot open", "eval words");
    expect(1, NULL, "text.txt: cannot open", "train --resume --out words");
}

static void a_model_that_draws_nothing_says_so(void **state) {
    NEEDS_A_MODEL;
    if (gy_model_find(slug)->sample || gy_model_find(slug)->complete) skip();
    expect(1, NULL, "is no generative model", "sample %s -o grid.png", slug);
    assert_false(in_scratch("grid.png"));
}

static void every_model_that_draws_does_so_by_name(void **state) {
    (void)state;
    for (const gy_model_def *const *m = gy_models; *m; m++) {
        if (!(*m)->sample) continue;
        expect(2, NULL, "expected -o FILE.png", "sample %s", (*m)->slug);
        expect(2, NULL, "expected a name ending in .png", "sample %s -o drawn.jpg", (*m)->slug);
        expect(0, NULL, "samples of", "sample %s -n 2 -o drawn.png", (*m)->slug);
        assert_true(in_scratch("drawn.png"));
        expect(0, "PNG", NULL, "inspect drawn.png");
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(show_and_explain_agree),
        TEST(dry_run_writes_nothing),
        TEST(train_then_eval_then_inspect),
        TEST(kill_and_resume_end_with_the_same_bytes),
        TEST(threads_do_not_change_a_checkpoint),
        TEST(sigterm_stops_cleanly_and_resume_completes),
        TEST(a_second_process_is_kept_out),
        TEST(a_resumed_run_keeps_its_options),
        TEST(wrong_options_of_a_model_are_named),
        TEST(a_full_disk_keeps_the_previous_checkpoint),
        TEST(a_folder_that_cannot_be_written_is_refused),
        TEST(a_damaged_checkpoint_is_refused_by_name),
        TEST(run_maps_files_to_files),
        TEST(run_names_what_does_not_fit),
        TEST(run_goes_without_the_training_data),
        TEST(a_model_that_draws_nothing_says_so),
        TEST(every_model_that_draws_does_so_by_name),
    };
    return cmocka_run_group_tests(tests, cli_group_setup, cli_group_teardown);
}
