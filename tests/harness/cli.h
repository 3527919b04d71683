/* cli.h: the program under test, run as a user would: through a shell, from a folder of its own. */
#ifndef GY_TEST_CLI_H
#define GY_TEST_CLI_H

#include "harness.h"

#include "core/gyrus.h"
#include "io/bytes.h"
#include "io/files.h"
#include "io/formats/json.h"

#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct cli_result {
    int rc; /* exit code, or 128 + signal */
    char *out, *err;
    double seconds;
} cli_result;

extern char cli_program[4096]; /* absolute */
extern char cli_dir[64];       /* the scratch folder: all relative paths of a test */

int cli_group_setup(void **state); /* makes the scratch folder */
int cli_group_teardown(void **state);

/* `gyrus ARGUMENTS` in the scratch folder; `fmt` is shell text, so arguments may be quoted. */
cli_result cli(const char *fmt, ...) GY_PRINTF(1, 2);
/* A whole shell command, with "$GYRUS" the program. */
cli_result cli_shell(const char *fmt, ...) GY_PRINTF(1, 2);
void cli_done(cli_result *r);
/* In the background; the pid is the program's own. */
pid_t cli_start(const char *fmt, ...) GY_PRINTF(1, 2);
int cli_wait(pid_t pid); /* as cli_result.rc */

/* Run, compare the exit code, and with `out` or `err` require that text in the stream (NULL: do not look). */
void expect(int rc, const char *out, const char *err, const char *fmt, ...) GY_PRINTF(4, 5);

/* stdout as exactly one JSON value. The caller frees with json_done. */
typedef struct json_doc {
    gy_bytes *src; /* the document points to it */
    gy_json doc;
    cli_result r;
} json_doc;
json_doc json_of(gy_ctx *ctx, int rc, const char *fmt, ...) GY_PRINTF(3, 4);
void json_done(json_doc *d);
double json_number(const json_doc *d, const char *key);
const char *json_text(const json_doc *d, const char *key);

/* Content of a file in the scratch folder; NULL: none. Freed with free. */
char *slurp(const char *name, size_t *n);
bool same_bytes(const char *a, const char *b);
bool in_scratch(const char *name);
char *scratch(const char *name, char buf[256]); /* its path */

#endif
