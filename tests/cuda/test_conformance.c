/* The emulator's wrappers against tests/golden/cuda_conformance.json, whose numbers follow from the instructions'
 * descriptions in the PTX manual and are to be confirmed by a GPU's dump (conformance.cu says how). `test_conformance
 * DUMP.json` compares a dump with the golden instead; `test_conformance --write` writes the golden. */
#include "conformance.cu"

#include "../harness/harness.h"
#include "core/gyrus.h"

#include <stdlib.h>

static const char *const GOLDEN = "tests/golden/cuda_conformance.json";
static const struct {
    const char *name;
    const gy_cuda_kernel *kernel;
    int threads, n;
} probes[] = {
#define ROW(name, threads, n) {#name, &name, threads, n},
    PROBES(ROW)};
enum { N_PROBES = sizeof probes / sizeof *probes };

static char *slurp(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = calloc(1 << 20, 1);
    if (text && fread(text, 1, (1 << 20) - 1, f) == 0) text[0] = 0;
    fclose(f);
    return text;
}

/* The numbers of a probe in a dump; how many. */
static int numbers(const char *text, const char *name, double *out) {
    char key[64];
    int n = 0;
    snprintf(key, sizeof key, "\"%s\": [", name);
    const char *at = strstr(text, key);
    if (!at) return 0;
    for (at += strlen(key); n < MOST_OUT; at++) {
        char *end;
        out[n] = strtod(at, &end);
        if (end == at) break;
        n++;
        at = end;
        if (*at != ',') break;
    }
    return n;
}

static void run(gy_ctx *ctx, int i, double *out) {
    gy_device *d = gy_ctx_device(ctx);
    uint32_t *matrix = d->alloc(d, 2 * ROWS * COLS);
    probe_args a = {.matrix = matrix, .out = d->alloc(d, MOST_OUT * sizeof(double))};
    fill_matrix(matrix);
    assert_true(d->tile_map(d, &a.map, matrix, ROWS, COLS, 2 * COLS, TILE_ROWS, TILE_COLS));
    gy_kargs k = {.device = d};
    gy_cuda_launch(&k, probes[i].kernel, (gy_grid){1, 1, 1}, probes[i].threads, PROBE_SHARED, &a, sizeof a);
    assert_ok(ctx, gy_device_wait(d));
    memcpy(out, a.out, MOST_OUT * sizeof(double));
    d->free(d, a.out);
    d->free(d, matrix);
}

static gy_ctx *open_emulator(void) {
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 1});
    assert_non_null(ctx);
    assert_ok(ctx, gy_ctx_set_device(ctx, "emu"));
    return ctx;
}

static void assert_same(const char *name, int n, const double *have, const double *want) {
    double tol = strncmp(name, "real", 4) == 0 ? 1e-5 : 0;
    for (int i = 0; i < n; i++)
        if (!(fabs(have[i] - want[i]) <= tol * (1 + fabs(want[i]))))
            fail_msg("%s: number %d is %.9g, expected %.9g", name, i, have[i], want[i]);
}

static void emulated_wrappers_do_as_the_golden_says(void **state) {
    (void)state;
    gy_ctx *ctx = open_emulator();
    char *golden = slurp(GOLDEN);
    assert_non_null(golden);
    for (int i = 0; i < N_PROBES; i++) {
        double have[MOST_OUT], want[MOST_OUT];
        run(ctx, i, have);
        if (numbers(golden, probes[i].name, want) != probes[i].n) fail_msg("%s is not in the golden", probes[i].name);
        assert_same(probes[i].name, probes[i].n, have, want);
    }
    free(golden);
    gy_ctx_free(ctx);
}

static const char *dump_path;
static void the_dump_agrees_with_the_golden(void **state) {
    (void)state;
    char *dump = slurp(dump_path), *golden = slurp(GOLDEN);
    int compared = 0;
    assert_non_null(dump);
    assert_non_null(golden);
    for (int i = 0; i < N_PROBES; i++) {
        double have[MOST_OUT], want[MOST_OUT];
        int n = numbers(dump, probes[i].name, have);
        assert_int_equal(numbers(golden, probes[i].name, want), probes[i].n);
        if (n == 0 && strncmp(probes[i].name, "sm90", 4) == 0) continue; /* an older chip's */
        assert_int_equal(n, probes[i].n);
        assert_same(probes[i].name, n, have, want);
        compared++;
    }
    printf("%d of %d probes compared\n", compared, (int)N_PROBES);
    free(dump);
    free(golden);
}

static int write_golden(void) {
    gy_ctx *ctx = open_emulator();
    FILE *f = fopen(GOLDEN, "w");
    if (!f) return 1;
    for (int i = 0; i < N_PROBES; i++) {
        double out[MOST_OUT];
        run(ctx, i, out);
        print_probe(f, probes[i].name, out, probes[i].n, i == 0);
    }
    fprintf(f, "\n}\n");
    gy_ctx_free(ctx);
    return fclose(f) != 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest emulated[] = {cmocka_unit_test(emulated_wrappers_do_as_the_golden_says)};
    const struct CMUnitTest compared[] = {cmocka_unit_test(the_dump_agrees_with_the_golden)};
    if (argc > 1 && strcmp(argv[1], "--write") == 0) return write_golden();
    if (argc > 1) {
        dump_path = argv[1];
        return cmocka_run_group_tests(compared, NULL, NULL);
    }
    return cmocka_run_group_tests(emulated, NULL, NULL);
}
