/* gyrus bench: the kernels' times as a table or JSON rows. */
#include "cli.h"

#include "../../bench/bench.h"
#include "../formats/json.h"

#include <string.h>

typedef struct rows {
    bool json;
    gy_json_writer w;
} rows;

static void on_row(void *user, const bench_row *r) {
    rows *s = user;
    if (!s->json) {
        printf("%-26s %-26s %-6s %-10s %9.3f %9.1f %8.1f %6.2f\n", r->kernel, r->shape, r->dtype, r->isa,
               r->seconds * 1e3, r->gflops, r->gbps, r->peak_fraction);
        fflush(stdout);
        return;
    }
    gy_json_open_object(&s->w, NULL);
    gy_json_put_string(&s->w, "kernel", r->kernel);
    gy_json_put_string(&s->w, "shape", r->shape);
    gy_json_put_string(&s->w, "dtype", r->dtype);
    gy_json_put_string(&s->w, "isa", r->isa);
    gy_json_put_int(&s->w, "threads", r->threads);
    gy_json_put_real(&s->w, "seconds", r->seconds);
    gy_json_put_real(&s->w, "seconds_min", r->seconds_min);
    gy_json_put_int(&s->w, "repeats", r->repeats);
    gy_json_put_real(&s->w, "gflops", r->gflops);
    gy_json_put_real(&s->w, "gbps", r->gbps);
    gy_json_put_real(&s->w, "peak_fraction", r->peak_fraction);
    gy_json_put_null(&s->w, "peer");
    gy_json_put_null(&s->w, "peer_seconds");
    gy_json_put_null(&s->w, "ratio");
    gy_json_close(&s->w);
}

int cli_bench(gy_ctx *ctx, const cli_args *a) {
    const char *suite = a->n_positional ? a->positional[0] : NULL;
    bench_peaks peaks;
    rows s = {.json = cli_has(a, "--json")};
    if (a->n_positional > 1) return cli_usage_error(ctx, a, "expected one suite");
    if (bench_measure_peaks(ctx, &peaks) != GY_OK) return cli_fail(ctx, a);
    fprintf(stderr, "peaks with %d threads: %.0f GFLOP/s f32, %.1f GB/s\n", gy_pool_threads(gy_ctx_pool(ctx)),
            peaks.gflops, peaks.gbps);
    if (!s.json)
        printf("%s%-26s %-26s %-6s %-10s %9s %9s %8s %6s%s\n", cli_bold(stdout), "kernel", "shape", "dtype", "isa",
               "ms", "GFLOP/s", "GB/s", "peak", cli_plain(stdout));
    gy_json_start(ctx, &s.w, false);
    gy_json_open_array(&s.w, NULL);
    gy_status status = bench_run(ctx, suite, &peaks, on_row, &s);
    gy_json_close(&s.w);
    char *text;
    size_t n;
    if (gy_json_finish(&s.w, &text, &n) != GY_OK) return cli_fail(ctx, a);
    if (status == GY_OK && s.json) printf("%s\n", text);
    gy_free(ctx, text);
    return status == GY_OK ? CLI_OK : cli_fail(ctx, a);
}
