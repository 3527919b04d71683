/* An object must not hold instructions above its tier: on a lesser machine the first one would end the program. */
#define _POSIX_C_SOURCE 200809L
#include "x86.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The build directory of this test program, from its own path: <build>/tests/kernels/test_x86_objects. */
static char build[1024];

#ifdef GY_X86
/* Lines of the disassembly of <build>/kernels/x86/<what> that match the extended expression. */
static long matches(const char *what, const char *expression) {
    char command[4096];
    snprintf(command, sizeof command, "objdump -d %s/kernels/x86/%s | grep -cE '%s'", build, what, expression);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    long n = -1;
    if (fscanf(p, "%ld", &n) != 1) n = -1;
    pclose(p);
    return n;
}

static void avx2_objects_hold_no_avx512_instructions(void **state) {
    (void)state;
    if (system("objdump --version >/dev/null 2>&1") != 0) {
        print_message("# objdump is not installed: not checked\n");
        skip();
    }
    assert_true(matches("*.avx2.o", "%ymm") > 1000); /* the pattern finds what it should find */
    assert_true(matches("*.avx512.o", "%zmm") > 1000);
    assert_int_equal(matches("*.avx2.o", "%zmm|%k[0-7]|[xy]mm(1[6-9]|2[0-9]|3[01])"), 0);
    assert_int_equal(matches("*.avx512.o", "vdpbf16ps|vcvtneps2bf16|vcvtne2ps2bf16"), 0);
}
#else
static void avx2_objects_hold_no_avx512_instructions(void **state) {
    (void)state;
    skip();
}
#endif

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(avx2_objects_hold_no_avx512_instructions)};
    snprintf(build, sizeof build, "%s", argc > 0 ? argv[0] : "build");
    char *end = strstr(build, "/tests/kernels/");
    if (end) *end = 0;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
