/* make install: what lands where, and that a program builds against the installed tree, both ways. */
#include "../harness/cli.h"

/* The build folder is where the program under test lies; the repository root is where tests run. */
static char root[4096], build[4096];

static int setup(void **state) {
    if (cli_group_setup(state) != 0 || !getcwd(root, sizeof root)) return -1;
    snprintf(build, sizeof build, "%s", cli_program);
    *strrchr(build, '/') = 0;
    return 0;
}

static void run_ok(const char *fmt, const char *a) {
    cli_result r = cli_shell(fmt, a);
    if (r.rc != 0) fail_msg("%s: exit %d\n%s%s", fmt, r.rc, r.out, r.err);
    cli_done(&r);
}

static void install_into(const char *prefix, const char *destdir, const char *what) {
    cli_result r =
        cli_shell("cd '%s' && DESTDIR='%s' PREFIX='%s' BUILD='%s' VERSION=" GY_VERSION " sh io/cli/install.sh %s", root,
                  destdir, prefix, build, what);
    if (r.rc != 0) fail_msg("install: %s", r.err);
    cli_done(&r);
}

static const char *const files[] = {"bin/gyrus",
                                    "lib/libgyrus.a",
                                    "lib/libgyrus.so." GY_VERSION,
                                    "lib/libgyrus.so.0",
                                    "lib/libgyrus.so",
                                    "lib/pkgconfig/gyrus.pc",
                                    "include/gyrus/gyrus.h",
                                    "include/gyrus/core/ops/ops.def",
                                    "include/gyrus/io/formats/nifti.h",
                                    "share/man/man1/gyrus.1",
                                    "share/bash-completion/completions/gyrus",
                                    "share/zsh/site-functions/_gyrus",
                                    NULL};

static void everything_lands_under_destdir_and_leaves_again(void **state) {
    (void)state;
    char stage[256], path[256];
    install_into("/opt/gyrus", scratch("stage", stage), "");
    for (int i = 0; files[i]; i++) {
        char name[128];
        snprintf(name, sizeof name, "stage/opt/gyrus/%s", files[i]);
        if (!gy_path_exists(scratch(name, path))) fail_msg("not installed: %s", files[i]);
    }
    run_ok("grep -q '^prefix=/opt/gyrus$' stage/opt/gyrus/lib/pkgconfig/gyrus.pc%s", "");
    install_into("/opt/gyrus", stage, "uninstall");
    cli_result r = cli_shell("find stage ! -type d");
    assert_string_equal(r.out, "");
    cli_done(&r);
}

static void a_program_builds_against_the_installed_tree(void **state) {
    (void)state;
    if (strstr(build, "-san") || strstr(build, "-tsan")) skip(); /* would need the sanitizer's flags */
    char prefix[256];
    install_into(scratch("prefix", prefix), "", "");
    run_ok("cat >t.c <<'END'\n"
           "#include <gyrus/gyrus.h>\n"
           "#include <gyrus/io/formats/npy.h>\n"
           "int main(void) {\n"
           "    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){0});\n"
           "    gy_graph *g = gy_graph_new(ctx);\n"
           "    gy_output(gy_sum(gy_full(g, GY_F32, GY_S(2, 3), 1.5), GY_ALL), \"y\");\n"
           "    gy_plan *p = gy_compile(g, (gy_plan_args){0});\n"
           "    int bad = !p || gy_plan_run(p) != GY_OK || gy_plan_scalar(p, \"y\") != 9;\n"
           "    gy_plan_free(p);\n    gy_graph_free(g);\n    gy_ctx_free(ctx);\n    return bad;\n}\n"
           "END\n"
           "${CC:-cc} -std=c11 -Wall -Wextra -Werror t.c -I%s/include -Lprefix/lib -lgyrus -o shared && "
           "LD_LIBRARY_PATH=prefix/lib ./shared",
           prefix);
    run_ok("${CC:-cc} -std=c11 t.c -I%s/include prefix/lib/libgyrus.a -lm -lpthread -o static && ./static", prefix);
    run_ok("if command -v pkg-config >/dev/null; then "
           "PKG_CONFIG_PATH=%s/lib/pkgconfig pkg-config --libs --cflags gyrus | grep -q -- -lgyrus; fi",
           prefix);
}

static void every_installed_header_stands_alone(void **state) {
    (void)state;
    char prefix[256];
    install_into(scratch("alone", prefix), "", "");
    run_ok(
        "cd %s/include && find gyrus -name '*.h' | sed 's/.*/#include <&>/' >all.c && "
        "while read -r line; do echo \"$line\" | ${CC:-cc} -std=c11 -Wall -Werror -I. -fsyntax-only -x c - || exit 1; "
        "done <all.c",
        prefix);
}

static void completion_offers_verbs_and_options(void **state) {
    (void)state;
    cli_result r = cli_shell("command -v bash >/dev/null");
    bool bash = r.rc == 0;
    cli_done(&r);
    if (!bash) skip();
    run_ok("bash -c \"source '%s/io/cli/completion.bash'; COMP_WORDS=($GYRUS expl); COMP_CWORD=1; _gyrus; "
           "test \\\"\\${COMPREPLY[*]}\\\" = explain; COMP_WORDS=($GYRUS list --fa); COMP_CWORD=2; _gyrus; "
           "test \\\"\\${COMPREPLY[*]}\\\" = --family\"",
           root);
}

static void the_man_page_knows_every_verb(void **state) {
    (void)state;
    run_ok("for v in $(\"$GYRUS\" --help | awk '/^  [a-z]+ / { print $1 }'); do "
           "grep -q \"fB$v\" '%s/io/cli/gyrus.1' || exit 1; done",
           root);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_lands_under_destdir_and_leaves_again),
        cmocka_unit_test(a_program_builds_against_the_installed_tree),
        cmocka_unit_test(every_installed_header_stands_alone),
        cmocka_unit_test(completion_offers_verbs_and_options),
        cmocka_unit_test(the_man_page_knows_every_verb),
    };
    return cmocka_run_group_tests(tests, setup, cli_group_teardown);
}
