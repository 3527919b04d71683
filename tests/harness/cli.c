#define _GNU_SOURCE
#include "cli.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

char cli_program[4096], cli_dir[64];

int cli_group_setup(void **state) {
    (void)state;
    const char *given = getenv("GYRUS");
    if (!realpath(given && *given ? given : "build/gyrus", cli_program)) return -1;
    setenv("GYRUS", cli_program, 1);
    unsetenv("GYRUS_ISA");
    unsetenv("GYRUS_EAGER");
    snprintf(cli_dir, sizeof cli_dir, "/tmp/gyrus-cli-XXXXXX");
    return mkdtemp(cli_dir) ? 0 : -1;
}

int cli_group_teardown(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", cli_dir);
    return system(command);
}

char *scratch(const char *name, char buf[256]) {
    snprintf(buf, 256, "%s/%s", cli_dir, name);
    return buf;
}

bool in_scratch(const char *name) {
    char path[256];
    return gy_path_exists(scratch(name, path));
}

static char *slurp_path(const char *path, size_t *n) {
    FILE *f = fopen(path, "rb");
    if (!f) return NULL;
    char *text = NULL;
    size_t used = 0, got;
    do {
        text = realloc(text, used + 65537);
        assert_non_null(text);
        got = fread(text + used, 1, 65536, f);
        used += got;
    } while (got);
    fclose(f);
    text[used] = 0;
    *n = used;
    return text;
}

char *slurp(const char *name, size_t *n) {
    char path[256];
    return slurp_path(scratch(name, path), n);
}

bool same_bytes(const char *a, const char *b) {
    size_t n = 0, m = 0;
    char *x = slurp(a, &n), *y = slurp(b, &m);
    bool same = x && y && n == m && memcmp(x, y, n) == 0;
    free(x);
    free(y);
    return same;
}

static int code(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The child becomes `sh -c command` in the scratch folder with both streams in files. */
static pid_t spawn(const char *command) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid) return pid;
    if (chdir(cli_dir) != 0) _exit(126);
    int out = open(".stdout", O_CREAT | O_TRUNC | O_WRONLY, 0600),
        err = open(".stderr", O_CREAT | O_TRUNC | O_WRONLY, 0600), in = open("/dev/null", O_RDONLY);
    dup2(in, 0);
    dup2(out, 1);
    dup2(err, 2);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static cli_result run_command(const char *command) {
    cli_result r = {0};
    size_t n;
    double t0 = now();
    r.rc = cli_wait(spawn(command));
    r.seconds = now() - t0;
    r.out = slurp(".stdout", &n);
    r.err = slurp(".stderr", &n);
    assert_non_null(r.out);
    assert_non_null(r.err);
    return r;
}

cli_result cli_shell(const char *fmt, ...) {
    char command[8192];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command, sizeof command, fmt, ap);
    va_end(ap);
    return run_command(command);
}

static cli_result cli_v(const char *fmt, va_list ap) {
    char command[8192] = "exec \"$GYRUS\" ";
    size_t n = strlen(command);
    vsnprintf(command + n, sizeof command - n, fmt, ap);
    return run_command(command);
}

cli_result cli(const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    cli_result r = cli_v(fmt, ap);
    va_end(ap);
    return r;
}

void cli_done(cli_result *r) {
    free(r->out);
    free(r->err);
    *r = (cli_result){0};
}

pid_t cli_start(const char *fmt, ...) {
    char command[8192] = "exec \"$GYRUS\" ";
    size_t n = strlen(command);
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(command + n, sizeof command - n, fmt, ap);
    va_end(ap);
    return spawn(command);
}

int cli_wait(pid_t pid) {
    int status;
    assert_true(waitpid(pid, &status, 0) == pid);
    return code(status);
}

void expect(int rc, const char *out, const char *err, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    cli_result r = cli_v(fmt, ap);
    va_end(ap);
    if (r.rc != rc || (out && !strstr(r.out, out)) || (err && !strstr(r.err, err)))
        fail_msg("gyrus %s: exit %d, expected %d with '%s' / '%s'\n%s%s", fmt, r.rc, rc, out ? out : "", err ? err : "",
                 r.out, r.err);
    if (strchr(r.out, '\033') || strchr(r.err, '\033')) fail_msg("gyrus %s: an escape sequence off a terminal", fmt);
    cli_done(&r);
}

json_doc json_of(gy_ctx *ctx, int rc, const char *fmt, ...) {
    json_doc d = {0};
    va_list ap;
    va_start(ap, fmt);
    d.r = cli_v(fmt, ap);
    va_end(ap);
    if (d.r.rc != rc) fail_msg("gyrus %s: exit %d, expected %d\n%s%s", fmt, d.r.rc, rc, d.r.out, d.r.err);
    d.src = calloc(1, sizeof *d.src);
    assert_non_null(d.src);
    assert_ok(ctx, gy_bytes_from_memory(ctx, "stdout", d.r.out, strlen(d.r.out), NULL, d.src));
    assert_ok(ctx, gy_json_parse(d.src, 0, d.src->size, &d.doc));
    return d;
}

void json_done(json_doc *d) {
    gy_json_free(&d->doc);
    gy_bytes_close(d->src);
    free(d->src);
    cli_done(&d->r);
}

double json_number(const json_doc *d, const char *key) {
    double v;
    if (!gy_json_real(&d->doc, gy_json_get(&d->doc, 0, key), &v)) fail_msg("no number '%s' in %s", key, d->r.out);
    return v;
}

const char *json_text(const json_doc *d, const char *key) {
    const char *v = gy_json_string(&d->doc, gy_json_get(&d->doc, 0, key));
    if (!v) fail_msg("no text '%s' in %s", key, d->r.out);
    return v;
}
