/* cli.h: what every verb shares. A verb is one file, one function, one row of the table in main.c.
 *
 * Exit codes: 0 ok, 1 failed, 2 usage. Data go to stdout, talk to stderr; colours and the progress bar only on a
 * terminal, never with NO_COLOR. Nothing ever prompts. */
#ifndef GY_CLI_H
#define GY_CLI_H

#include <stdio.h>

#include "../../core/gyrus.h"
#include "../bytes.h"

enum { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2 };

/* One option. `value` NULL: a flag. A repeated option appends to the list. */
typedef struct cli_option {
    const char *name;  /* "--seed" */
    const char *value; /* "S": shown in help; NULL for flags */
    const char *help;
} cli_option;

typedef struct cli_args {
    const char *verb;
    int n_positional;
    const char *positional[16];
    int n;
    struct {
        const cli_option *option;
        const char *value;
    } given[256];
} cli_args;

typedef struct cli_verb {
    const char *name, *summary;
    int (*run)(gy_ctx *ctx, const cli_args *a);
    const char *usage;         /* "SLUG [OPTION]..." */
    const cli_option *options; /* ends with name NULL; --help, --threads, --limit are added everywhere */
    const char *examples;      /* lines */
} cli_verb;
extern const cli_verb cli_verbs[]; /* ends with name NULL */

/* Values of given options. */
bool cli_has(const cli_args *a, const char *name);
const char *cli_get(const cli_args *a, const char *name);                        /* the last one given; NULL: none */
int cli_all(const cli_args *a, const char *name, const char *values[], int max); /* every value, in order */
/* False with a message and *out untouched when the text is no integer in [lo, hi]; true if absent. */
bool cli_int(gy_ctx *ctx, const cli_args *a, const char *name, int64_t lo, int64_t hi, int64_t *out);
bool cli_u64(gy_ctx *ctx, const cli_args *a, const char *name, uint64_t *out);

/* A line to stderr: `before`, then a text that may hold a stranger's bytes (names of files): control characters other
 * than newline and tab are shown as \xNN. */
void cli_talk(const char *before, const char *text);
/* Prints "gyrus VERB: message" to stderr and returns the exit code that fits the status on the context. */
int cli_fail(gy_ctx *ctx, const cli_args *a);
int cli_usage_error(gy_ctx *ctx, const cli_args *a, const char *fmt, ...) GY_PRINTF(3, 4);
/* NULL with a message (nearest slug) when the model does not exist. */
const gy_model_def *cli_model(gy_ctx *ctx, const char *slug);
/* The job of "SLUG --config C --set k=v ... --seed S --data D --ablate N". */
gy_status cli_job(gy_ctx *ctx, const cli_args *a, const gy_model_def *def, gy_job *j) GY_MUST_CHECK;
extern const gy_limits *cli_limits(void);

/* The words of the command line again, for run.json and captions; owned. */
char *cli_command_text(gy_ctx *ctx, const cli_args *a);

/* "SLUG|DIR": a run folder's job, with its data opened (sizes may come from them) and its checkpoint loaded; or a
 * model's, without data. Unless needs_data, data that cannot be opened are a warning. */
gy_status cli_open_model(gy_ctx *ctx, const cli_args *a, gy_job *j, bool needs_data) GY_MUST_CHECK;
/* --dtype, if given, as the precision of the context's plans (a run folder brings its own: gy_run_job). */
gy_status cli_precision(gy_ctx *ctx, const cli_args *a) GY_MUST_CHECK;
/* The inference graph over the job's store, unplanned; NULL with a message. Its making creates the states. */
gy_graph *cli_build(gy_job *j, int64_t batch);
/* --weights into the job's states; without any, and without a run folder, a warning. */
gy_status cli_load_weights(gy_ctx *ctx, const cli_args *a, gy_job *j) GY_MUST_CHECK;

/* Human-readable numbers: "1.2 MB", "3.4 GFLOP", "1 min 02 s"; return buf. */
char *cli_bytes_text(double bytes, char buf[32]);
char *cli_count_text(double n, const char *unit, char buf[32]);
char *cli_time_text(double seconds, char buf[32]);
/* ANSI codes, or "" when f is no terminal or NO_COLOR is set. */
const char *cli_bold(FILE *f);
const char *cli_dim(FILE *f);
const char *cli_plain(FILE *f);
double cli_now(void); /* seconds, monotonic */

/* SIGINT/SIGTERM: the first asks for a clean stop, the second ends the program. */
void cli_catch_signals(void);
bool cli_stop_asked(void);

/* The verbs. */
int cli_list(gy_ctx *ctx, const cli_args *a);
int cli_show(gy_ctx *ctx, const cli_args *a);
int cli_train(gy_ctx *ctx, const cli_args *a);
int cli_eval(gy_ctx *ctx, const cli_args *a);
int cli_run(gy_ctx *ctx, const cli_args *a);
int cli_sample(gy_ctx *ctx, const cli_args *a);
gy_status cli_sample_text(gy_ctx *ctx, const cli_args *a, gy_job *j) GY_MUST_CHECK; /* of a language model */
int cli_claim(gy_ctx *ctx, const cli_args *a);
int cli_explain(gy_ctx *ctx, const cli_args *a);
int cli_bench(gy_ctx *ctx, const cli_args *a);
int cli_doctor(gy_ctx *ctx, const cli_args *a);
int cli_inspect(gy_ctx *ctx, const cli_args *a);
int cli_convert(gy_ctx *ctx, const cli_args *a);

#endif
