/* explain.h: the two halves of gyrus explain. */
#ifndef GY_CLI_EXPLAIN_H
#define GY_CLI_EXPLAIN_H

#include "cli.h"

/* gyrus explain --op NAME */
int cli_explain_op(gy_ctx *ctx, const cli_args *a, const char *name);

#endif
