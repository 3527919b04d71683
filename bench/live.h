/* live.h: what fills the memory of a plan where it needs most. */
#ifndef GY_BENCH_LIVE_H
#define GY_BENCH_LIVE_H

#include "../core/plan.h"

/* Writes a table, a line a call of `note`: the buffers alive at the step with the largest sum, those of one operator
 * and shape together, largest first. GY_ERR_NOMEM at most. */
gy_status bench_note_live(gy_ctx *ctx, const gy_plan *p, void (*note)(void *user, const char *text), void *user);

#endif
