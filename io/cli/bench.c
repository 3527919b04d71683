/* gyrus bench: what this machine can do, and how near the kernels and their peers come; as a table, JSON rows, a page,
 * or against an earlier run. */
#include "cli.h"

#include "../../bench/bench.h"

#include <math.h>
#include <string.h>
#include <unistd.h>

static void print_head(void) {
    printf("%s%-26s %-34s %-5s %-10s %10s %9s %8s %6s %-5s  %-14s %6s%s\n", cli_bold(stdout), "kernel", "shape",
           "dtype", "isa", "ms", "GFLOP/s", "GB/s", "peak", "bound", "peer", "ratio", cli_plain(stdout));
}

/* What is done with each row as it comes. */
typedef struct output {
    gy_ctx *ctx;
    bool json;        /* printed whole, at the end */
    const char *save; /* the file to keep rows in, or NULL */
    double saved;     /* when */
} output;

static void print_row(void *user, const bench_report *report, const bench_row *r) {
    output *o = user;
    if (o->save && bench_now() - o->saved > 1) { /* an interrupted run loses no more; the end tells of errors */
        if (bench_save(report, o->save) != GY_OK) gy_error_clear(o->ctx);
        o->saved = bench_now();
    }
    if (o->json) return;
    printf("%-26s %-34s %-5s %-10s %10.4f %9.1f %8.1f %6.2f %-5s", r->kernel, r->shape, r->dtype, r->isa,
           r->seconds * 1e3, r->gflops, r->gbps, r->peak_fraction, r->bound);
    if (r->peer[0]) printf("  %-14s %6.2f", r->peer, r->ratio);
    printf("\n");
    fflush(stdout);
}

static void print_note(void *user, const char *text) {
    (void)user;
    cli_talk("", text);
}

static void print_peaks(const bench_peaks *p) {
    fprintf(stderr, "%-8s", "threads");
    for (int u = 0; u < BENCH_UNITS; u++) fprintf(stderr, " %8s", bench_unit_names[u]);
    for (int l = 0; l < BENCH_LEVELS; l++) fprintf(stderr, "  %4s rd/copy", bench_level_names[l]);
    fprintf(stderr, "   (GFLOP/s, GB/s)\n");
    for (int i = 0; i < p->n; i++) {
        fprintf(stderr, "%-8d", p->count[i].threads);
        for (int u = 0; u < BENCH_UNITS; u++) fprintf(stderr, " %8.0f", p->count[i].gflops[u]);
        for (int l = 0; l < BENCH_LEVELS; l++)
            fprintf(stderr, "  %5.0f/%-6.0f", p->count[i].read[l], p->count[i].copy[l]);
        fprintf(stderr, "\n");
    }
}

/* Prints every row that changed by more than the tolerance; returns how many are slower. */
static int64_t print_changes(const bench_change *c, int64_t n, double tolerance) {
    int64_t slower = 0, faster = 0;
    for (int64_t i = 0; i < n; i++) {
        bool worse = c[i].slower > tolerance, better = c[i].slower < -tolerance;
        slower += worse;
        faster += better;
        if (worse || better)
            fprintf(stderr, "%s  %s %s %s: %.4g ms, was %.4g ms (%+.1f %%)\n", worse ? "slower" : "faster",
                    c[i].now->kernel, c[i].now->shape, c[i].now->dtype, c[i].now->seconds_min * 1e3,
                    c[i].before->seconds_min * 1e3, 100 * c[i].slower);
    }
    fprintf(stderr, "%lld rows compared: %lld slower, %lld faster by more than %g %%\n", (long long)n,
            (long long)slower, (long long)faster, 100 * tolerance);
    return slower;
}

/* CLI_FAILED if a row is slower than the tolerance allows, or nothing could be compared. */
static int compare(gy_ctx *ctx, const cli_args *a, const bench_report *now, double tolerance) {
    const char *path = cli_get(a, "--compare");
    bench_report before;
    if (bench_load(ctx, path, &before) != GY_OK) return cli_fail(ctx, a);
    int rc = CLI_FAILED;
    bench_change *change = gy_calloc(ctx, (size_t)now->n + 1, sizeof *change);
    if (change) {
        int64_t n = bench_compare(&before, now, change);
        if (n == 0)
            gy_fail(ctx, GY_ERR_USAGE, "%s has no row of this run (kernel, shape, dtype and threads must agree)", path);
        else if (print_changes(change, n, tolerance) == 0)
            rc = CLI_OK;
        if (n == 0) rc = cli_fail(ctx, a);
    }
    gy_free(ctx, change);
    bench_report_free(&before);
    return rc;
}

static int list_suites(void) {
    for (int i = 0; bench_suites[i]; i++) printf("%s\n", bench_suites[i]);
    return CLI_OK;
}

static int print_json(gy_ctx *ctx, const cli_args *a, const bench_report *r) {
    char *text;
    size_t n;
    if (bench_rows_json(r, &text, &n) != GY_OK) return cli_fail(ctx, a);
    printf("%s\n", text);
    gy_free(ctx, text);
    return CLI_OK;
}

static void command_text(const cli_args *a, char *out, size_t n) {
    snprintf(out, n, "gyrus bench");
    for (int i = 0; i < a->n_positional; i++) snprintf(out + strlen(out), n - strlen(out), " %s", a->positional[i]);
    for (int i = 0; i < a->n; i++) {
        const char *v = a->given[i].value;
        snprintf(out + strlen(out), n - strlen(out), " %s%s%s", a->given[i].option->name, v ? " " : "", v ? v : "");
    }
}

static int finish(gy_ctx *ctx, const cli_args *a, const bench_report *r, double tolerance) {
    const char *save = cli_get(a, "--save"), *html = cli_get(a, "--html");
    char command[512];
    int rc = CLI_OK;
    command_text(a, command, sizeof command);
    if (cli_has(a, "--json")) rc = print_json(ctx, a, r);
    if (rc == CLI_OK && save && bench_save(r, save) != GY_OK) rc = cli_fail(ctx, a);
    if (rc == CLI_OK && html && bench_page(r, html, command) != GY_OK) rc = cli_fail(ctx, a);
    if (rc == CLI_OK && cli_get(a, "--compare")) rc = compare(ctx, a, r, tolerance);
    return rc;
}

int cli_bench(gy_ctx *ctx, const cli_args *a) {
    const char *suites[17] = {0}, *load = cli_get(a, "--load"), *text = cli_get(a, "--tolerance");
    double tolerance = 10;
    bench_report r = {0};
    gy_status s;
    if (cli_has(a, "--list")) return list_suites();
    if (text && (!gy_parse_double(text, strlen(text), &tolerance) || !(tolerance >= 0) || isinf(tolerance)))
        return cli_usage_error(ctx, a, "--tolerance '%s': expected a percentage, 0 or more", text);
    for (int i = 0; i < a->n_positional; i++) suites[i] = a->positional[i];
    bool json = cli_has(a, "--json");
    output o = {ctx, json, load ? NULL : cli_get(a, "--save"), 0};
    bench_report done = {0};
    if (cli_has(a, "--resume")) {
        if (!o.save) return cli_usage_error(ctx, a, "--resume takes up what --save kept: expected --save F.json");
        if (access(o.save, F_OK) == 0 && bench_load(ctx, o.save, &done) != GY_OK) return cli_fail(ctx, a);
        if (done.n && (done.threads != gy_pool_threads(gy_ctx_pool(ctx)) || done.cold != cli_has(a, "--cold"))) {
            bench_report_free(&done);
            return cli_usage_error(ctx, a, "--resume: %s was measured with other --threads or --cold", o.save);
        }
    }
    if (load) {
        if (suites[0]) return cli_usage_error(ctx, a, "--load takes the rows of a file: expected no suite");
        s = bench_load(ctx, load, &r);
        if (s == GY_OK && !json) print_head();
        for (int64_t i = 0; s == GY_OK && i < r.n; i++) print_row(&o, &r, &r.row[i]);
    } else {
        bench_options options = {.quick = cli_has(a, "--quick"),
                                 .cold = cli_has(a, "--cold"),
                                 .profile = cli_has(a, "--profile"),
                                 .peers = cli_has(a, "--peers") || cli_has(a, "--peer"),
                                 .peer = cli_get(a, "--peer"),
                                 .match = cli_get(a, "--match"),
                                 .done = done.n ? &done : NULL};
        if (!json) print_head();
        s = bench_run(ctx, suites, options, &r, print_row, print_note, &o);
        if (s == GY_OK) print_peaks(&r.peaks);
    }
    bench_report_free(&done);
    int rc = s == GY_OK ? finish(ctx, a, &r, tolerance / 100) : cli_fail(ctx, a);
    bench_report_free(&r);
    return rc;
}
