#include "base.h"
#include "internal.h"

#include <stdio.h>
#include <string.h>

/* Each piece carries its size in a 64-byte header, which keeps the payload 64-byte aligned and
 * lets the caller's `free` know the size. */
enum { HEADER = 64 };

void *gy_malloc(gy_ctx *ctx, size_t bytes) {
    bool fault = ctx->mem_fail_at > 0 && --ctx->mem_fail_at == 0;
    uint64_t total = 0;
    char *p = NULL;
    if (!fault && gy_add_u64(bytes, HEADER, &total) && total <= SIZE_MAX / 2)
        p = ctx->allocator.alloc(ctx->allocator.user, (size_t)total);
    if (!p) {
        gy_fail(ctx, GY_ERR_NOMEM, "out of memory: %zu bytes asked for, %zu in use", bytes, ctx->mem_live);
        return NULL;
    }
    memcpy(p, &bytes, sizeof bytes);
    ctx->mem_live += bytes;
    if (ctx->mem_live > ctx->mem_peak) ctx->mem_peak = ctx->mem_live;
    return p + HEADER;
}

static size_t size_of(const void *p) {
    size_t n;
    memcpy(&n, (const char *)p - HEADER, sizeof n);
    return n;
}

void *gy_calloc(gy_ctx *ctx, size_t count, size_t size) {
    uint64_t bytes;
    if (!gy_mul_u64(count, size, &bytes)) {
        gy_fail(ctx, GY_ERR_NOMEM, "out of memory: %zu x %zu bytes asked for", count, size);
        return NULL;
    }
    void *p = gy_malloc(ctx, (size_t)bytes);
    if (p) memset(p, 0, (size_t)bytes);
    return p;
}

void *gy_realloc(gy_ctx *ctx, void *p, size_t bytes) {
    void *q = gy_malloc(ctx, bytes);
    if (!q) return NULL;
    if (p) {
        size_t old = size_of(p);
        memcpy(q, p, old < bytes ? old : bytes);
        gy_free(ctx, p);
    }
    return q;
}

void gy_free(gy_ctx *ctx, void *p) {
    if (!p) return;
    size_t n = size_of(p);
    ctx->mem_live -= n;
    ctx->allocator.free(ctx->allocator.user, (char *)p - HEADER, n + HEADER);
}

char *gy_strdup(gy_ctx *ctx, const char *s) {
    size_t n = strlen(s) + 1;
    char *p = gy_malloc(ctx, n);
    if (p) memcpy(p, s, n);
    return p;
}

char *gy_format(gy_ctx *ctx, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : gy_malloc(ctx, (size_t)n + 1);
    if (!p) return NULL;
    va_start(ap, fmt);
    vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}

size_t gy_mem_live(const gy_ctx *ctx) {
    return ctx->mem_live;
}

size_t gy_mem_peak(const gy_ctx *ctx) {
    return ctx->mem_peak;
}

void gy_mem_fail_at(gy_ctx *ctx, int64_t n) {
    ctx->mem_fail_at = n;
}

/* ---- arena ---- */

struct gy_arena_block {
    struct gy_arena_block *next;
    size_t used, size;
};
enum { BLOCK_HEADER = (sizeof(struct gy_arena_block) + 15) / 16 * 16, BLOCK_SIZE = 64 * 1024 };

void gy_arena_init(gy_arena *a, gy_ctx *ctx) {
    a->ctx = ctx;
    a->head = NULL;
}

void *gy_arena_alloc(gy_arena *a, size_t bytes) {
    uint64_t need;
    if (!gy_add_u64(bytes, 15, &need)) need = UINT64_MAX / 4;
    need &= ~(uint64_t)15;
    struct gy_arena_block *b = a->head;
    if (!b || b->size - b->used < need) {
        size_t size = need > BLOCK_SIZE ? (size_t)need : BLOCK_SIZE;
        b = gy_malloc(a->ctx, BLOCK_HEADER + size);
        if (!b) return NULL;
        b->next = a->head;
        b->used = 0;
        b->size = size;
        a->head = b;
    }
    void *p = (char *)b + BLOCK_HEADER + b->used;
    b->used += (size_t)need;
    memset(p, 0, bytes);
    return p;
}

char *gy_arena_strdup(gy_arena *a, const char *s) {
    size_t n = strlen(s) + 1;
    char *p = gy_arena_alloc(a, n);
    if (p) memcpy(p, s, n);
    return p;
}

void gy_arena_free(gy_arena *a) {
    while (a->head) {
        struct gy_arena_block *b = a->head;
        a->head = b->next;
        gy_free(a->ctx, b);
    }
}
