/* explain.h: the parts of gyrus explain. */
#ifndef GY_CLI_EXPLAIN_H
#define GY_CLI_EXPLAIN_H

#include "../report/html.h"
#include "cli.h"

/* gyrus explain --op NAME */
int cli_explain_op(gy_ctx *ctx, const cli_args *a, const char *name);

enum { CLI_EXPLAIN_RUNS = 10 }; /* timed, after as many for warming up */

/* A step's formula; a chain ("chain: mul add") is told by the formulas of its parts. */
const char *cli_step_formula(const gy_plan_step_info *s, char buf[512]);
/* Scalars of the parameters of each step's layer, at the first step of that layer; elsewhere 0. To be freed; NULL: no
 * memory. */
int64_t *cli_step_parameters(gy_ctx *ctx, const gy_plan *p, const gy_store *store);

/* Fills a planned panel with pictures of what flows through the model in the first training step on its own data, or
 * says why there is none. bytes: of the parameters and the working memory, to leave alone what is too large. */
gy_status cli_explain_activations(gy_ctx *ctx, const cli_args *a, double bytes, gy_report *report, const char *panel,
                                  const char *command) GY_MUST_CHECK;

/* Writes the page; own: cli_step_parameters; `timed`: the plan was profiled over CLI_EXPLAIN_RUNS runs. command: what
 * makes the page again. */
gy_status cli_explain_page(gy_ctx *ctx, const cli_args *a, const gy_job *j, const gy_plan *p, const int64_t *own,
                           bool timed, const char *path, const char *command) GY_MUST_CHECK;

#endif
