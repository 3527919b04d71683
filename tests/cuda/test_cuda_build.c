/* What nvcc makes of the kernels, held against kernels/cuda/REGISTERS.md: every kernel is compiled for both chips, is
 * in the table, and spills no more than it says. Skipped where the build had no nvcc. After a change: `make
 * cuda-table`. */
#include "../harness/harness.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    char kernel[64], chip[16];
    int registers, stack, stores, loads;
} row;
enum { MOST = 2048 };
static row built[MOST], table[MOST];
static int n_built, n_table;

static char *slurp(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    fseek(f, 0, SEEK_END);
    long n = ftell(f);
    rewind(f);
    char *text = calloc((size_t)n + 1, 1);
    if (fread(text, 1, (size_t)n, f) != (size_t)n) text[0] = 0;
    fclose(f);
    return text;
}

static void read_log(const char *path) {
    char *text = slurp(path);
    row r = {{0}, {0}, 0, 0, 0, 0};
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        char *used = strstr(line, "Used ");
        if (sscanf(line, "ptxas info : Compiling entry function '%63[^']' for '%15[^']'", r.kernel, r.chip) == 2)
            continue;
        if (sscanf(line, " %d bytes stack frame, %d bytes spill stores, %d bytes spill loads", &r.stack, &r.stores,
                   &r.loads) == 3)
            continue;
        if (used && sscanf(used, "Used %d registers", &r.registers) == 1 && n_built < MOST) built[n_built++] = r;
    }
    free(text);
}

static int setup(void **state) {
    (void)state;
    glob_t g;
    if (glob("build/cuda/kernels/cuda/*.log", 0, NULL, &g) == 0) {
        for (size_t i = 0; i < g.gl_pathc; i++) read_log(g.gl_pathv[i]);
        globfree(&g);
    }
    char *text = slurp("kernels/cuda/REGISTERS.md");
    assert_non_null(text);
    for (char *line = strtok(text, "\n"); line && n_table < MOST; line = strtok(NULL, "\n")) {
        row *r = &table[n_table];
        if (sscanf(line, "| %63s | %15s | %d | %d | %d, %d |", r->kernel, r->chip, &r->registers, &r->stack, &r->stores,
                   &r->loads) == 6)
            n_table++;
    }
    free(text);
    return 0;
}

static const row *find(const row *rows, int n, const char *kernel, const char *chip) {
    for (int i = 0; i < n; i++)
        if (strcmp(rows[i].kernel, kernel) == 0 && strcmp(rows[i].chip, chip) == 0) return &rows[i];
    return NULL;
}

static void every_kernel_is_in_the_table_and_spills_no_more(void **state) {
    (void)state;
    if (!n_built) skip();
    for (int i = 0; i < n_built; i++) {
        const row *b = &built[i], *t = find(table, n_table, b->kernel, b->chip);
        if (!t) fail_msg("%s for %s is not in kernels/cuda/REGISTERS.md (make cuda-table)", b->kernel, b->chip);
        if (b->stores > t->stores || b->loads > t->loads)
            fail_msg("%s for %s spills %d, %d bytes; the table says %d, %d", b->kernel, b->chip, b->stores, b->loads,
                     t->stores, t->loads);
    }
}

/* Kernels by name, as the sources define them. */
static void every_kernel_of_the_sources_is_compiled(void **state) {
    (void)state;
    glob_t g;
    int found = 0;
    if (!n_built) skip();
    assert_int_equal(glob("kernels/cuda/*.cu", 0, NULL, &g), 0);
    for (size_t i = 0; i < g.gl_pathc; i++) {
        char *text = slurp(g.gl_pathv[i]);
        for (char *at = text; (at = strstr(at, "\nGY_KERNEL(")); at++) {
            char name[64];
            if (sscanf(at, "\nGY_KERNEL(%63[A-Za-z0-9_],", name) != 1) continue; /* named by another macro */
            found++;
            if (!find(built, n_built, name, "sm_80") || !find(built, n_built, name, "sm_90a"))
                fail_msg("%s: kernel %s is not in what nvcc built", g.gl_pathv[i], name);
        }
        free(text);
    }
    globfree(&g);
    assert_true(found > 0);
    printf("%d kernels in the sources, %d compiled (two chips)\n", found, n_built);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_kernel_is_in_the_table_and_spills_no_more),
                                       cmocka_unit_test(every_kernel_of_the_sources_is_compiled)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
