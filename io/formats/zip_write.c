/* The writing half of zip.h. */
#include "zip.h"
#include "deflate.h"
#include "../files.h"

#include <stdlib.h>
#include <string.h>

typedef struct added {
    const char *name;
    uint64_t size, packed, header_at;
    uint32_t crc;
    uint16_t method;
} added;

struct gy_zip_writer {
    gy_ctx *ctx;
    gy_writer *file;
    gy_arena names;
    added *entries;
    int64_t n, room;
};

enum { DATE_1980 = 1 << 5 | 1, UTF8_NAME = 0x800 };

/* A value, or all ones when only a zip64 field can hold it. */
static uint32_t short_form(uint64_t v) {
    return v < 0xffffffff ? (uint32_t)v : 0xffffffff;
}

gy_status gy_zip_create(gy_ctx *ctx, const char *path, gy_zip_writer **out) {
    *out = NULL;
    gy_zip_writer *w = gy_calloc(ctx, 1, sizeof *w);
    if (!w) return GY_ERR_NOMEM;
    w->ctx = ctx;
    gy_arena_init(&w->names, ctx);
    gy_status s = gy_writer_open(ctx, path, &w->file);
    if (s == GY_OK)
        *out = w;
    else
        gy_zip_abort(w);
    return s;
}

void gy_zip_abort(gy_zip_writer *w) {
    if (!w) return;
    gy_writer_abort(w->file);
    gy_arena_free(&w->names);
    gy_free(w->ctx, w->entries);
    gy_free(w->ctx, w);
}

/* The zip64 extra field with those of the values that need it; its length. */
static uint16_t make_extra(uint8_t *p, const uint64_t *values, int n) {
    uint16_t k = 4;
    for (int i = 0; i < n; i++)
        if (values[i] >= 0xffffffff) {
            gy_put_le64(p + k, values[i]);
            k = (uint16_t)(k + 8);
        }
    if (k == 4) return 0;
    gy_put_le16(p, 1);
    gy_put_le16(p + 2, (uint16_t)(k - 4));
    return k;
}

/* The part that local and central headers share, from "version needed" on (26 bytes). */
static void put_common(uint8_t *p, const added *e, uint16_t extra) {
    gy_put_le16(p, extra ? 45 : 20);
    gy_put_le16(p + 2, UTF8_NAME);
    gy_put_le16(p + 4, e->method);
    gy_put_le16(p + 6, 0);
    gy_put_le16(p + 8, DATE_1980);
    gy_put_le32(p + 10, e->crc);
    gy_put_le32(p + 14, short_form(e->packed));
    gy_put_le32(p + 18, short_form(e->size));
    gy_put_le16(p + 22, (uint16_t)strlen(e->name));
    gy_put_le16(p + 24, extra);
}

static gy_status put_local(gy_zip_writer *w, const added *e, const void *data) {
    uint8_t h[30 + 20] = {'P', 'K', 3, 4};
    uint16_t extra = e->size >= 0xffffffff || e->packed >= 0xffffffff ? 20 : 0;
    put_common(h + 4, e, extra);
    if (extra) { /* a local zip64 field must hold both sizes */
        gy_put_le32(h + 18, 0xffffffff);
        gy_put_le32(h + 22, 0xffffffff);
        gy_put_le16(h + 30, 1);
        gy_put_le16(h + 32, 16);
        gy_put_le64(h + 34, e->size);
        gy_put_le64(h + 42, e->packed);
    }
    gy_status s = gy_writer_put(w->file, h, 30);
    if (s == GY_OK) s = gy_writer_put(w->file, e->name, strlen(e->name));
    if (s == GY_OK) s = gy_writer_put(w->file, h + 30, extra);
    if (s == GY_OK) s = gy_writer_put(w->file, data, (size_t)e->packed);
    return s;
}

static gy_status new_entry(gy_zip_writer *w, const char *name, added **out) {
    size_t length = strlen(name);
    if (length == 0 || length > 4096)
        return gy_fail(w->ctx, GY_ERR_USAGE, "zip: name: expected 1 to 4096 bytes, found %zu", length);
    if (w->n == w->room) {
        int64_t room = w->room ? 2 * w->room : 16;
        added *more = gy_realloc(w->ctx, w->entries, (size_t)room * sizeof *more);
        if (!more) return GY_ERR_NOMEM;
        w->entries = more;
        w->room = room;
    }
    *out = &w->entries[w->n];
    **out = (added){.name = gy_arena_strdup(&w->names, name), .header_at = gy_writer_size(w->file)};
    return (*out)->name ? GY_OK : GY_ERR_NOMEM;
}

gy_status gy_zip_add(gy_zip_writer *w, const char *name, const void *data, uint64_t n, int level) {
    added *e = NULL;
    gy_status s = new_entry(w, name, &e);
    if (s != GY_OK) return s;
    e->size = e->packed = n;
    e->crc = gy_crc32(0, data, n);
    uint8_t *packed = NULL;
    if (level > 0) {
        s = gy_deflate(w->ctx, data, n, GY_DEFLATE_RAW, level, &packed, &e->packed);
        if (s != GY_OK) return s;
        e->method = 8;
    }
    s = put_local(w, e, packed ? packed : data);
    gy_free(w->ctx, packed);
    if (s == GY_OK) w->n++;
    return s;
}

static gy_status put_central(gy_zip_writer *w, const added *e) {
    uint8_t h[46] = {'P', 'K', 1, 2, 45, 0}, extra[28];
    uint64_t values[3] = {e->size, e->packed, e->header_at};
    uint16_t k = make_extra(extra, values, 3);
    put_common(h + 6, e, k);
    gy_put_le32(h + 42, short_form(e->header_at));
    gy_status s = gy_writer_put(w->file, h, sizeof h);
    if (s == GY_OK) s = gy_writer_put(w->file, e->name, strlen(e->name));
    if (s == GY_OK) s = gy_writer_put(w->file, extra, k);
    return s;
}

static gy_status put_end(gy_zip_writer *w, uint64_t at, uint64_t size) {
    uint8_t e64[56 + 20] = {'P', 'K', 6, 6}, end[22] = {'P', 'K', 5, 6};
    uint64_t n = (uint64_t)w->n, end_at = gy_writer_size(w->file);
    gy_status s = GY_OK;
    if (n >= 0xffff || at >= 0xffffffff || size >= 0xffffffff) {
        gy_put_le64(e64 + 4, 44);
        gy_put_le16(e64 + 12, 45);
        gy_put_le16(e64 + 14, 45);
        gy_put_le64(e64 + 24, n);
        gy_put_le64(e64 + 32, n);
        gy_put_le64(e64 + 40, size);
        gy_put_le64(e64 + 48, at);
        memcpy(e64 + 56, "PK\6\7", 4);
        gy_put_le64(e64 + 64, end_at);
        gy_put_le32(e64 + 72, 1);
        s = gy_writer_put(w->file, e64, sizeof e64);
    }
    uint16_t count = n < 0xffff ? (uint16_t)n : 0xffff;
    gy_put_le16(end + 8, count);
    gy_put_le16(end + 10, count);
    gy_put_le32(end + 12, short_form(size));
    gy_put_le32(end + 16, short_form(at));
    return s == GY_OK ? gy_writer_put(w->file, end, sizeof end) : s;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static gy_status check_names(gy_zip_writer *w) {
    const char **names = gy_malloc(w->ctx, (size_t)w->n * sizeof *names);
    if (!names) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    for (int64_t i = 0; i < w->n; i++) names[i] = w->entries[i].name;
    qsort(names, (size_t)w->n, sizeof *names, by_text);
    for (int64_t i = 1; i < w->n && s == GY_OK; i++)
        if (strcmp(names[i - 1], names[i]) == 0)
            s = gy_fail(w->ctx, GY_ERR_USAGE, "zip: the name '%s' appears twice", names[i]);
    gy_free(w->ctx, names);
    return s;
}

gy_status gy_zip_commit(gy_zip_writer *w) {
    uint64_t at = gy_writer_size(w->file);
    gy_status s = check_names(w);
    for (int64_t i = 0; i < w->n && s == GY_OK; i++) s = put_central(w, &w->entries[i]);
    if (s == GY_OK) s = put_end(w, at, gy_writer_size(w->file) - at);
    if (s == GY_OK) {
        s = gy_writer_commit(w->file);
        w->file = NULL;
    }
    gy_zip_abort(w);
    return s;
}
