/* The live set of a plan at its peak. */
#include "live.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHOWN = 16 };

typedef struct group {
    gy_plan_live_info one; /* any of them */
    int64_t bytes, count;
} group;

static int by_bytes(const void *a, const void *b) {
    const group *x = a, *y = b;
    return (x->bytes < y->bytes) - (x->bytes > y->bytes);
}

static bool alike(const gy_plan_live_info *a, const gy_plan_live_info *b) {
    return a->scratch == b->scratch && strcmp(a->op, b->op) == 0 && gy_shape_equal(a->shape, b->shape);
}

static int64_t group_buffers(const gy_plan_live_info *list, int64_t n, group *to) {
    int64_t groups = 0;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        while (at < groups && !alike(&to[at].one, &list[i])) at++;
        if (at == groups) to[groups++] = (group){.one = list[i]};
        to[at].bytes += list[i].bytes;
        to[at].count++;
    }
    qsort(to, (size_t)groups, sizeof *to, by_bytes);
    return groups;
}

gy_status bench_note_live(gy_ctx *ctx, const gy_plan *p, void (*note)(void *user, const char *text), void *user) {
    gy_plan_info info = gy_plan_report(p);
    int64_t peak = 0;
    for (int64_t i = 1; i < info.steps; i++)
        if (gy_plan_step(p, i).live_bytes > gy_plan_step(p, peak).live_bytes) peak = i;
    if (info.steps == 0) return GY_OK;
    int64_t n = gy_plan_live(p, peak, NULL, 0);
    gy_plan_live_info *list = gy_calloc(ctx, (size_t)n + 1, sizeof *list);
    group *groups = gy_calloc(ctx, (size_t)n + 1, sizeof *groups);
    if (list && groups) {
        char text[256], shape[GY_SHAPE_TEXT];
        gy_plan_step_info at = gy_plan_step(p, peak);
        gy_plan_live(p, peak, list, n);
        snprintf(text, sizeof text, "  peak %.1f MB of %.1f MB, at step %" PRId64 ": %s %.80s",
                 (double)at.live_bytes * 1e-6, (double)info.arena_bytes * 1e-6, peak, at.op, at.scope);
        note(user, text);
        note(user, "  buffers       MB  written first by");
        int64_t n_groups = group_buffers(list, n, groups);
        for (int64_t i = 0; i < n_groups && i < SHOWN; i++) {
            const group *q = &groups[i];
            snprintf(text, sizeof text, "  %7" PRId64 " %8.1f  %s %.60s%s, steps %" PRId64 " to %" PRId64 ", %.60s",
                     q->count, (double)q->bytes * 1e-6, q->one.op, gy_shape_text(q->one.shape, shape),
                     q->one.scratch ? " (scratch)" : "", q->one.first, q->one.last, q->one.scope);
            note(user, text);
        }
    }
    gy_status st = list && groups ? GY_OK : GY_ERR_NOMEM;
    gy_free(ctx, list);
    gy_free(ctx, groups);
    return st;
}
