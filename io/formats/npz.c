/* The .npz half of npy.h. */
#include "npy.h"
#include "../files.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

gy_status gy_npz_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_npz *out) {
    *out = (gy_npz){0};
    gy_bytes *src = gy_calloc(ctx, 1, sizeof *src); /* apart, so that the zip's pointer to it stays good */
    if (!src) return GY_ERR_NOMEM;
    gy_status s = gy_bytes_open(ctx, path, limits, src);
    if (s == GY_OK) {
        s = gy_zip_open(src, &out->zip);
        if (s == GY_OK) {
            out->src = src;
            return GY_OK;
        }
        gy_bytes_close(src);
    }
    gy_free(ctx, src);
    return s;
}

void gy_npz_close(gy_ctx *ctx, gy_npz *z) {
    gy_zip_close(&z->zip);
    if (z->src) gy_bytes_close(z->src);
    gy_free(ctx, z->src);
    *z = (gy_npz){0};
}

int64_t gy_npz_count(const gy_npz *z) {
    return z->zip.n;
}

/* Length of a member's name without ".npy". */
static size_t stem(const char *name) {
    size_t n = strlen(name);
    return n > 4 && strcmp(name + n - 4, ".npy") == 0 ? n - 4 : n;
}

char *gy_npz_name(const gy_npz *z, int64_t i, char *buf, size_t n) {
    const char *name = z->zip.entries[i].name;
    snprintf(buf, n, "%.*s", (int)stem(name), name);
    return buf;
}

static int64_t find(const gy_npz *z, const char *name) {
    int64_t i = gy_zip_find(&z->zip, name);
    size_t n = strlen(name);
    for (int64_t k = 0; i < 0 && k < z->zip.n; k++) {
        const char *e = z->zip.entries[k].name;
        if (stem(e) == n && memcmp(e, name, n) == 0) i = k;
    }
    return i;
}

static gy_status no_such(const gy_npz *z, const char *name) {
    char list[512], shown[256], other[256];
    size_t o = 0;
    list[0] = 0;
    for (int64_t i = 0; i < z->zip.n && o + 64 < sizeof list; i++) {
        const char *e = z->zip.entries[i].name;
        gy_show_text(e, stem(e), other, sizeof other);
        int k = snprintf(list + o, sizeof list - o, "%s%s", i ? ", " : "", other);
        o = k < 0 || (size_t)k >= sizeof list - o ? sizeof list : o + (size_t)k;
    }
    return gy_fail(z->src->ctx, GY_ERR_FORMAT, "%s: no array '%s'; it has: %s", z->src->path,
                   gy_show_text(name, strlen(name), shown, sizeof shown), list);
}

gy_status gy_npz_read(const gy_npz *z, const char *name, gy_tensor *out) {
    *out = (gy_tensor){0};
    int64_t i = find(z, name);
    if (i < 0) return no_such(z, name);
    gy_ctx *ctx = z->src->ctx;
    uint8_t *data;
    uint64_t size;
    gy_status s = gy_zip_read(&z->zip, i, &data, &size);
    if (s != GY_OK) return s;
    char shown[256];
    const char *entry = z->zip.entries[i].name;
    char *label = gy_format(ctx, "%s: '%s'", z->src->path, gy_show_text(entry, strlen(entry), shown, sizeof shown));
    gy_bytes member = {0};
    s = label ? gy_bytes_from_memory(ctx, label, data, size, &z->src->limits, &member) : GY_ERR_NOMEM;
    if (s == GY_OK) s = gy_npy_parse(&member, out);
    gy_bytes_close(&member);
    gy_free(ctx, label);
    gy_free(ctx, data);
    return s;
}

static gy_status add(gy_ctx *ctx, gy_zip_writer *w, const char *name, const gy_tensor *t, int level) {
    uint8_t *data = NULL;
    uint64_t size;
    char *entry = gy_format(ctx, "%s.npy", name);
    gy_status s = entry ? gy_npy_encode(ctx, t, &data, &size) : GY_ERR_NOMEM;
    if (s == GY_OK) s = gy_zip_add(w, entry, data, size, level);
    gy_free(ctx, data);
    gy_free(ctx, entry);
    return s;
}

gy_status gy_npz_write(gy_ctx *ctx, const char *path, const char *const *names, const gy_tensor *tensors, int64_t n,
                       int level) {
    gy_zip_writer *w;
    gy_status s = gy_zip_create(ctx, path, &w);
    if (s != GY_OK) return s;
    for (int64_t i = 0; i < n && s == GY_OK; i++) s = add(ctx, w, names[i], &tensors[i], level);
    if (s == GY_OK) return gy_zip_commit(w);
    gy_zip_abort(w);
    return s;
}
