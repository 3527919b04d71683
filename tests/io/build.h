/* build.h: small hostile files are built here field by field, never stored. */
#ifndef GY_TEST_BUILD_H
#define GY_TEST_BUILD_H

#include "../harness/harness.h"

#include "io/bytes.h"
#include "io/files.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { BUF = 1 << 19 };
typedef struct buf {
    uint8_t *d;
    size_t n;
} buf;

static inline buf buf_new(void) {
    buf b = {calloc(1, BUF), 0};
    assert_non_null(b.d);
    return b;
}
static inline void buf_free(buf *b) {
    free(b->d);
    b->d = NULL;
}
static inline void put(buf *b, const void *p, size_t n) {
    assert_true(b->n + n <= BUF);
    if (n) memcpy(b->d + b->n, p, n);
    b->n += n;
}
static inline void put_s(buf *b, const char *s) {
    put(b, s, strlen(s));
}
static inline void put8(buf *b, unsigned v) {
    uint8_t c = (uint8_t)v;
    put(b, &c, 1);
}
static inline void put16(buf *b, unsigned v) {
    uint8_t c[2];
    gy_put_le16(c, (uint16_t)v);
    put(b, c, 2);
}
static inline void put32(buf *b, uint32_t v) {
    uint8_t c[4];
    gy_put_le32(c, v);
    put(b, c, 4);
}
static inline void put64(buf *b, uint64_t v) {
    uint8_t c[8];
    gy_put_le64(c, v);
    put(b, c, 8);
}

/* A source that ends exactly where its malloc'd copy ends, so that a sanitizer sees every byte read past. */
typedef struct source {
    gy_bytes b;
    void *copy;
} source;
static inline source source_of(gy_ctx *ctx, const void *d, size_t n) {
    source s;
    s.copy = calloc(1, n ? n : 1);
    if (n) memcpy(s.copy, d, n);
    assert_ok(ctx, gy_bytes_from_memory(ctx, "t", s.copy, n, NULL, &s.b));
    return s;
}
static inline void source_free(source *s) {
    gy_bytes_close(&s->b);
    free(s->copy);
}

/* A folder of its own for each test; `at` makes a path in it. */
static inline char *temp_dir(char dir[64]) {
    snprintf(dir, 64, "/tmp/gyrus-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
    return dir;
}
static inline const char *in_dir(const char *dir, const char *name, char path[256]) {
    snprintf(path, 256, "%s/%s", dir, name);
    return path;
}
static inline void remove_dir(gy_ctx *ctx, const char *dir) {
    char **names, path[512];
    int64_t n;
    assert_ok(ctx, gy_list_dir(ctx, dir, &names, &n));
    for (int64_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        if (remove(path) != 0) fail_msg("cannot remove %s", path);
        gy_free(ctx, names[i]);
    }
    gy_free(ctx, names);
    rmdir(dir);
}
static inline int64_t count_files(gy_ctx *ctx, const char *dir) {
    char **names;
    int64_t n;
    assert_ok(ctx, gy_list_dir(ctx, dir, &names, &n));
    for (int64_t i = 0; i < n; i++) gy_free(ctx, names[i]);
    gy_free(ctx, names);
    return n;
}
/* A plain write that no code under test takes part in. */
static inline void store(const char *path, const void *d, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(d, 1, n, f), n);
    fclose(f);
}
static inline buf slurp(const char *path) {
    buf b = buf_new();
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    b.n = fread(b.d, 1, BUF, f);
    fclose(f);
    return b;
}

/* Runs op with the n-th allocation failing, n = 1, 2, ... until it succeeds: each failure must be reported
 * as such and leave nothing behind. */
static inline void survive_no_memory(gy_ctx *ctx, gy_status (*op)(gy_ctx *, void *), void *arg) {
    for (int64_t n = 1;; n++) {
        size_t live = gy_mem_live(ctx);
        gy_mem_fail_at(ctx, n);
        gy_status s = op(ctx, arg);
        gy_mem_fail_at(ctx, 0);
        assert_int_equal(gy_mem_live(ctx), live);
        if (s == GY_OK) {
            assert_true(n > 1);
            return;
        }
        if (s != GY_ERR_NOMEM) fail_msg("allocation %d failed and the status is %d: %s", (int)n, (int)s, gy_error(ctx));
        assert_true(n < 100000);
    }
}

#endif
