#define _DEFAULT_SOURCE
#include "base.h"
#include "cpu.h"
#include "internal.h"
#include "plan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Arenas and weights lie on huge pages where the system offers them: 2 MB a page instead of 4 KB spare most of the page
 * faults of a first touch and most misses of the address cache in strided walks. What is smaller has its size as it is,
 * not rounded up to its alignment, so that a checker of memory sees a read past the last byte. */
static void *default_alloc(void *user, size_t bytes) {
    enum { HUGE = 2 << 20 };
    void *p;
    (void)user;
    if (bytes < 2 * HUGE) return posix_memalign(&p, 64, bytes) == 0 ? p : NULL;
    p = aligned_alloc(HUGE, (bytes + HUGE - 1) & ~(size_t)(HUGE - 1));
#ifdef MADV_HUGEPAGE
    if (p) (void)madvise(p, bytes, MADV_HUGEPAGE); /* advice: refusing it costs speed only */
#endif
    return p;
}

static void default_free(void *user, void *p, size_t bytes) {
    (void)user;
    (void)bytes;
    free(p);
}

gy_ctx *gy_ctx_new(gy_ctx_args args) {
    gy_allocator a = {default_alloc, default_free, NULL};
    if (args.allocator) a = *args.allocator;
    gy_ctx *ctx = a.alloc(a.user, sizeof *ctx);
    if (!ctx) return NULL;
    memset(ctx, 0, sizeof *ctx);
    ctx->allocator = a;
    ctx->precision = GY_F32;
    ctx->isa_mask = gy_isa_detect(args.isa ? args.isa : getenv("GYRUS_ISA"));
    ctx->pool = gy_pool_new(ctx, args.threads > 0 ? args.threads : gy_cpu_budget());
    if (!ctx->pool) {
        a.free(a.user, ctx, sizeof *ctx);
        return NULL;
    }
    return ctx;
}

void gy_ctx_free(gy_ctx *ctx) {
    if (!ctx) return;
    if (ctx->device) ctx->device->close(ctx->device);
    gy_group_leave(ctx->group);
    gy_pool_free(ctx, ctx->pool);
    gy_allocator a = ctx->allocator;
    a.free(a.user, ctx, sizeof *ctx);
}

/* Paths and names in a message may come out of a stranger's file: none of their control characters (C0 but for line
 * ends and tabs, DEL, C1 in UTF-8) reaches a terminal. */
static void disarm(char *text) {
    for (unsigned char *c = (unsigned char *)text; *c; c++) {
        if ((*c < 0x20 && *c != '\n' && *c != '\t') || *c == 0x7f) *c = '?';
        if (*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0) *c = c[1] = '?';
    }
}

gy_status gy_fail(gy_ctx *ctx, gy_status status, const char *fmt, ...) {
    char text[sizeof ctx->message]; /* formatted apart: an argument may be the present message */
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    disarm(text);
    memcpy(ctx->message, text, sizeof text);
    ctx->status = status;
    return status;
}

void gy_error_prefix(gy_ctx *ctx, const char *fmt, ...) {
    char text[sizeof ctx->message];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n >= sizeof text) return;
    snprintf(text + n, sizeof text - (size_t)n, ": %s", ctx->message);
    disarm(text);
    memcpy(ctx->message, text, sizeof text);
}

const char *gy_error(const gy_ctx *ctx) {
    return ctx->message;
}

gy_status gy_error_status(const gy_ctx *ctx) {
    return ctx->status;
}

void gy_error_clear(gy_ctx *ctx) {
    ctx->message[0] = 0;
    ctx->status = GY_OK;
}

void gy_warn(gy_ctx *ctx, const char *fmt, ...) {
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    disarm(text);
    if (ctx->warn) ctx->warn(ctx->warn_user, text);
}

void gy_set_warn_handler(gy_ctx *ctx, void (*handler)(void *user, const char *text), void *user) {
    ctx->warn = handler;
    ctx->warn_user = user;
}

gy_pool *gy_ctx_pool(gy_ctx *ctx) {
    return ctx->pool;
}

gy_dtype gy_ctx_precision(const gy_ctx *ctx) {
    return ctx->precision;
}

void gy_ctx_set_precision(gy_ctx *ctx, gy_dtype precision) {
    ctx->precision = precision;
}
