#include "zip.h"
#include "deflate.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOCAL = 0x04034b50,
    CENTRAL = 0x02014b50,
    END = 0x06054b50,
    END64 = 0x06064b50,
    LOCATOR64 = 0x07064b50,
    DESCRIPTOR = 0x08074b50,
    LOCAL_SIZE = 30,
    CENTRAL_SIZE = 46,
    END_SIZE = 22,
    END64_SIZE = 56,
    LOCATOR64_SIZE = 20,
    HAS_DESCRIPTOR = 0x8,
    KNOWN_FLAGS = 0x80e /* deflate effort, descriptor, UTF-8 names */
};

/* ---- the end records ---- */

typedef struct directory {
    uint64_t at, size, count;
    uint64_t limit; /* where the end records begin */
} directory;

/* The one end record whose comment ends with the file. Other programs take the last signature they see,
 * or the first that fits: if those are not the same one, the archive has two contents. */
static gy_status find_end(const gy_bytes *b, uint64_t *out) {
    uint64_t tail = b->size < END_SIZE + 65535u ? b->size : END_SIZE + 65535u;
    const uint8_t *p;
    void *owned;
    gy_status s = gy_bytes_borrow(b, b->size - tail, tail, &p, &owned);
    if (s != GY_OK) return s;
    uint64_t fits = 0, last = 0;
    int nfits = 0;
    bool any = false;
    for (uint64_t i = 0; i + 4 <= tail; i++) {
        if (p[i] != 'P' || gy_le32(p + i) != END) continue;
        any = true;
        last = i;
        if (tail - i >= END_SIZE && gy_le16(p + i + 20) == tail - i - END_SIZE) {
            fits = i;
            nfits++;
        }
    }
    uint64_t base = b->size - tail;
    if (!any)
        s = gy_bytes_fail(b, b->size, "zip: no end record: not a zip archive, or cut");
    else if (nfits == 0)
        s = gy_bytes_fail(b, base + last, "zip: the end record's comment does not end with the file");
    else if (nfits > 1 || last != fits)
        s = gy_bytes_fail(b, base + fits, "zip: a second end record at byte %" PRIu64,
                          base + (last != fits ? last : 0));
    *out = base + fits;
    gy_free(b->ctx, owned);
    return s;
}

/* With zip64 the true numbers are in a second record, pointed to by a locator just before the first. */
static gy_status read_end64(const gy_bytes *b, uint64_t end_at, const uint8_t end[END_SIZE], directory *d) {
    uint8_t loc[LOCATOR64_SIZE], rec[END64_SIZE];
    uint64_t loc_at = end_at - LOCATOR64_SIZE;
    gy_status s = gy_bytes_read(b, loc_at, loc, sizeof loc);
    if (s != GY_OK) return s;
    uint64_t at = gy_le64(loc + 8);
    if (gy_le32(loc + 4) != 0 || gy_le32(loc + 16) > 1)
        return gy_bytes_fail(b, loc_at, "zip: an archive on several disks");
    if (at > loc_at || loc_at - at < END64_SIZE)
        return gy_bytes_fail(b, loc_at, "zip: the zip64 end record is not where the locator says");
    s = gy_bytes_read(b, at, rec, sizeof rec);
    if (s != GY_OK) return s;
    if (gy_le32(rec) != END64 || gy_le64(rec + 4) != loc_at - at - 12)
        return gy_bytes_fail(b, at, "zip: the zip64 end record is not where the locator says");
    if (gy_le32(rec + 16) != 0 || gy_le32(rec + 20) != 0)
        return gy_bytes_fail(b, at, "zip: an archive on several disks");
    d->count = gy_le64(rec + 32);
    d->size = gy_le64(rec + 40);
    d->at = gy_le64(rec + 48);
    d->limit = at;
    if (gy_le64(rec + 24) != d->count) return gy_bytes_fail(b, at, "zip: an archive on several disks");
    uint64_t count = gy_le16(end + 10), size = gy_le32(end + 12), start = gy_le32(end + 16);
    if ((count != 0xffff && count != d->count) || (size != 0xffffffff && size != d->size) ||
        (start != 0xffffffff && start != d->at))
        return gy_bytes_fail(b, end_at, "zip: the end record and the zip64 end record differ");
    return GY_OK;
}

static gy_status read_end(const gy_bytes *b, directory *d) {
    uint8_t end[END_SIZE], sign[4];
    uint64_t at;
    gy_status s = find_end(b, &at);
    if (s == GY_OK) s = gy_bytes_read(b, at, end, sizeof end);
    if (s != GY_OK) return s;
    if (at >= LOCATOR64_SIZE) {
        s = gy_bytes_read(b, at - LOCATOR64_SIZE, sign, sizeof sign);
        if (s != GY_OK) return s;
    }
    if (gy_le16(end + 4) != 0 || gy_le16(end + 6) != 0)
        return gy_bytes_fail(b, at + 4, "zip: an archive on several disks");
    if (at >= LOCATOR64_SIZE && gy_le32(sign) == LOCATOR64) {
        s = read_end64(b, at, end, d);
        if (s != GY_OK) return s;
    } else {
        d->count = gy_le16(end + 10);
        d->size = gy_le32(end + 12);
        d->at = gy_le32(end + 16);
        d->limit = at;
        if (d->size == 0xffffffff || d->at == 0xffffffff)
            return gy_bytes_fail(b, at, "zip: a zip64 record is needed and missing");
        if (gy_le16(end + 8) != d->count) return gy_bytes_fail(b, at + 8, "zip: an archive on several disks");
    }
    uint64_t stop;
    if (!gy_add_u64(d->at, d->size, &stop) || stop != d->limit)
        return gy_bytes_fail(
            b, at, "zip: directory: expected to end at byte %" PRIu64 ", found %" PRIu64 " bytes at byte %" PRIu64,
            d->limit, d->size, d->at);
    if (d->count > d->size / CENTRAL_SIZE)
        return gy_bytes_fail(b, at, "zip: %" PRIu64 " entries in a directory of %" PRIu64 " bytes", d->count, d->size);
    return gy_bytes_limit(b, GY_LIMIT_ZIP_ENTRIES, d->count, "zip entries");
}

/* ---- names and extra fields ---- */

static const char *bad_name(const char *s, uint64_t n) {
    if (n == 0) return "is empty";
    if (memchr(s, 0, (size_t)n)) return "has a NUL";
    if (memchr(s, '\\', (size_t)n)) return "has a backslash";
    if (s[0] == '/') return "is absolute";
    if (n >= 2 && s[1] == ':') return "has a drive letter";
    for (uint64_t i = 0; i < n;) {
        uint64_t k = i;
        while (k < n && s[k] != '/') k++;
        if (k - i == 2 && s[i] == '.' && s[i + 1] == '.') return "leaves the folder";
        i = k + 1;
    }
    return NULL;
}

/* The zip64 extra field (APPNOTE 4.5.3) holds, in this order, those of the values that are all ones. */
static bool read_extra(const uint8_t *p, uint64_t n, uint64_t *values[3]) {
    bool found = false;
    while (n >= 4) {
        uint64_t id = gy_le16(p), k = gy_le16(p + 2);
        if (k > n - 4) return false;
        const uint8_t *q = p + 4;
        uint64_t left = k;
        if (id == 1) {
            if (found) return false;
            found = true;
            for (int i = 0; i < 3; i++) {
                if (!values[i] || *values[i] != 0xffffffff) continue;
                if (left < 8) return false;
                *values[i] = gy_le64(q);
                q += 8;
                left -= 8;
            }
        }
        p += 4 + k;
        n -= 4 + k;
    }
    if (n != 0) return false;
    for (int i = 0; i < 3 && !found; i++)
        if (values[i] && *values[i] == 0xffffffff) return false;
    return true;
}

/* ---- entries ---- */

static gy_status read_central(gy_zip *z, const uint8_t *p, uint64_t left, uint64_t at, gy_zip_entry *e,
                              uint64_t *taken) {
    const gy_bytes *b = z->src;
    if (left < CENTRAL_SIZE || gy_le32(p) != CENTRAL) return gy_bytes_fail(b, at, "zip: expected a directory entry");
    uint64_t name = gy_le16(p + 28), extra = gy_le16(p + 30), comment = gy_le16(p + 32);
    *taken = CENTRAL_SIZE + name + extra + comment;
    if (*taken > left) return gy_bytes_fail(b, at, "zip: a directory entry goes past the directory");
    gy_status s = gy_bytes_limit(b, GY_LIMIT_NAME, name, "zip entry name");
    if (s != GY_OK) return s;
    const char *text = (const char *)p + CENTRAL_SIZE;
    char shown[256];
    gy_show_text(text, (size_t)name, shown, sizeof shown);
    const char *bad = bad_name(text, name);
    if (bad) return gy_bytes_fail(b, at, "zip: the name '%s' %s", shown, bad);
    char *copy = gy_arena_alloc(&z->names, (size_t)name + 1);
    if (!copy) return GY_ERR_NOMEM;
    memcpy(copy, text, (size_t)name);
    e->name = copy;
    e->flags = gy_le16(p + 8);
    e->method = gy_le16(p + 10);
    e->crc = gy_le32(p + 16);
    e->packed = gy_le32(p + 20);
    e->size = gy_le32(p + 24);
    e->header_at = gy_le32(p + 42);
    if (e->flags & 0x41) return gy_bytes_fail_key(b, copy, "zip: encrypted");
    if (e->flags & ~KNOWN_FLAGS)
        return gy_bytes_fail_key(b, copy, "zip: unknown flag bits 0x%x", (unsigned)(e->flags & ~KNOWN_FLAGS));
    if (e->method != 0 && e->method != 8)
        return gy_bytes_fail_key(b, copy, "zip: method: expected 0 (stored) or 8 (deflated), found %u", e->method);
    if (gy_le16(p + 34) != 0) return gy_bytes_fail_key(b, copy, "zip: an archive on several disks");
    uint64_t *values[3] = {&e->size, &e->packed, &e->header_at};
    if (!read_extra(p + CENTRAL_SIZE + name, extra, values))
        return gy_bytes_fail_key(b, copy, "zip: bad extra field or missing zip64 sizes");
    uint32_t type = gy_le32(p + 38) >> 16 & 0170000; /* of a Unix file mode */
    if (p[5] == 3 && type != 0 && type != 0100000 && type != 0040000)
        return gy_bytes_fail_key(b, copy, "zip: a symbolic link or special file");
    if (e->method == 0 && e->size != e->packed)
        return gy_bytes_fail_key(b, copy, "zip: stored, but %" PRIu64 " bytes take %" PRIu64, e->size, e->packed);
    return GY_OK;
}

/* Behind the data: optional signature, CRC and both sizes in 4 or 8 bytes each. */
static gy_status check_descriptor(const gy_bytes *b, gy_zip_entry *e, uint64_t limit) {
    uint8_t d[24] = {0};
    uint64_t left = limit - e->end_at, n = left < sizeof d ? left : sizeof d;
    gy_status s = gy_bytes_read(b, e->end_at, d, n);
    if (s != GY_OK) return s;
    for (int wide = 0; wide < 2; wide++)
        for (int sign = 0; sign < 2; sign++) {
            const uint8_t *p = d + 4 * sign;
            uint64_t size = (wide ? 20u : 12u) + 4u * (unsigned)sign;
            if (size > n || (sign && gy_le32(d) != DESCRIPTOR) || gy_le32(p) != e->crc) continue;
            uint64_t packed = wide ? gy_le64(p + 4) : gy_le32(p + 4), full = wide ? gy_le64(p + 12) : gy_le32(p + 8);
            if (packed != e->packed || full != e->size) continue;
            e->end_at += size;
            return GY_OK;
        }
    return gy_bytes_fail_key(b, e->name, "zip: the data descriptor and the directory differ");
}

static gy_status differ(const gy_bytes *b, const gy_zip_entry *e, const char *what) {
    return gy_bytes_fail_key(b, e->name, "zip: the local header and the directory differ in %s", what);
}

static gy_status check_local(const gy_bytes *b, gy_zip_entry *e, uint64_t limit) {
    uint8_t h[LOCAL_SIZE];
    if (e->header_at > limit || limit - e->header_at < LOCAL_SIZE)
        return gy_bytes_fail_key(b, e->name, "zip: local header at byte %" PRIu64 ", past the data's end at %" PRIu64,
                                 e->header_at, limit);
    gy_status s = gy_bytes_read(b, e->header_at, h, sizeof h);
    if (s != GY_OK) return s;
    if (gy_le32(h) != LOCAL)
        return gy_bytes_fail_key(b, e->name, "zip: no local header at byte %" PRIu64, e->header_at);
    uint64_t name = gy_le16(h + 26), extra = gy_le16(h + 28);
    if (name + extra > limit - e->header_at - LOCAL_SIZE)
        return gy_bytes_fail_key(b, e->name, "zip: the local header goes past the data's end");
    const uint8_t *p;
    void *owned;
    s = gy_bytes_borrow(b, e->header_at + LOCAL_SIZE, name + extra, &p, &owned);
    if (s != GY_OK) return s;
    uint64_t packed = gy_le32(h + 18), size = gy_le32(h + 22);
    uint64_t *values[3] = {&size, &packed, NULL};
    bool same_name = name == strlen(e->name) && memcmp(p, e->name, (size_t)name) == 0;
    bool extra_ok = read_extra(p + name, extra, values);
    gy_free(b->ctx, owned);
    if (!same_name) return differ(b, e, "name");
    if (!extra_ok) return gy_bytes_fail_key(b, e->name, "zip: bad extra field or missing zip64 sizes");
    if (gy_le16(h + 6) != e->flags) return differ(b, e, "flags");
    if (gy_le16(h + 8) != e->method) return differ(b, e, "method");
    uint32_t crc = gy_le32(h + 14);
    bool later = e->flags & HAS_DESCRIPTOR; /* zeros now, the values behind the data */
    if (crc != e->crc && !(later && crc == 0)) return differ(b, e, "CRC");
    if ((size != e->size && !(later && size == 0)) || (packed != e->packed && !(later && packed == 0)))
        return differ(b, e, "size");
    e->data_at = e->header_at + LOCAL_SIZE + name + extra;
    if (e->packed > limit - e->data_at)
        return gy_bytes_fail_key(b, e->name, "zip: expected %" PRIu64 " bytes of data, found %" PRIu64, e->packed,
                                 limit - e->data_at);
    e->end_at = e->data_at + e->packed;
    return later ? check_descriptor(b, e, limit) : GY_OK;
}

static int by_place(const void *a, const void *b) {
    const gy_zip_entry *x = *(gy_zip_entry *const *)a, *y = *(gy_zip_entry *const *)b;
    return (x->header_at > y->header_at) - (x->header_at < y->header_at);
}

static int by_name(const void *a, const void *b) {
    return strcmp((*(gy_zip_entry *const *)a)->name, (*(gy_zip_entry *const *)b)->name);
}

/* No name twice; no byte in two entries (how a few kilobytes become petabytes). */
static gy_status check_together(gy_zip *z) {
    gy_zip_entry **order = gy_malloc(z->src->ctx, (size_t)z->n * sizeof *order);
    if (!order) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    for (int64_t i = 0; i < z->n; i++) order[i] = &z->entries[i];
    qsort(order, (size_t)z->n, sizeof *order, by_name);
    for (int64_t i = 1; i < z->n && s == GY_OK; i++)
        if (strcmp(order[i - 1]->name, order[i]->name) == 0)
            s = gy_bytes_fail_key(z->src, order[i]->name, "zip: the name appears twice");
    qsort(order, (size_t)z->n, sizeof *order, by_place);
    for (int64_t i = 1; i < z->n && s == GY_OK; i++) {
        char shown[256];
        const char *other = order[i]->name;
        if (order[i]->header_at < order[i - 1]->end_at)
            s = gy_bytes_fail_key(z->src, order[i - 1]->name, "zip: overlaps '%s'",
                                  gy_show_text(other, strlen(other), shown, sizeof shown));
    }
    gy_free(z->src->ctx, order);
    return s;
}

static gy_status read_entries(gy_zip *z, const directory *d) {
    const uint8_t *p;
    void *owned;
    gy_status s = gy_bytes_borrow(z->src, d->at, d->size, &p, &owned);
    if (s != GY_OK) return s;
    z->entries = gy_calloc(z->src->ctx, (size_t)d->count, sizeof *z->entries);
    if (!z->entries) s = GY_ERR_NOMEM;
    uint64_t at = 0;
    for (uint64_t i = 0; i < d->count && s == GY_OK; i++) {
        uint64_t taken = 0;
        s = read_central(z, p + at, d->size - at, d->at + at, &z->entries[i], &taken);
        at += taken;
        if (s == GY_OK) s = check_local(z->src, &z->entries[i], d->at);
        z->n++;
    }
    if (s == GY_OK && at != d->size)
        s = gy_bytes_fail(z->src, d->at + at, "zip: %" PRIu64 " entries were announced, more follow", d->count);
    gy_free(z->src->ctx, owned);
    return s;
}

gy_status gy_zip_open(const gy_bytes *src, gy_zip *out) {
    *out = (gy_zip){.src = src};
    gy_arena_init(&out->names, src->ctx);
    directory d = {0};
    gy_status s = read_end(src, &d);
    if (s == GY_OK) s = read_entries(out, &d);
    if (s == GY_OK) s = check_together(out);
    if (s != GY_OK) gy_zip_close(out);
    return s;
}

void gy_zip_close(gy_zip *z) {
    if (z->src) {
        gy_free(z->src->ctx, z->entries);
        gy_arena_free(&z->names);
    }
    memset(z, 0, sizeof *z);
}

int64_t gy_zip_find(const gy_zip *z, const char *name) {
    for (int64_t i = 0; i < z->n; i++)
        if (strcmp(z->entries[i].name, name) == 0) return i;
    return -1;
}

static gy_status content(const gy_zip *z, const gy_zip_entry *e, uint8_t **data, uint64_t *size) {
    if (e->method == 8) return gy_inflate(z->src, e->data_at, e->packed, GY_DEFLATE_RAW, e->size, data, size);
    *data = gy_malloc(z->src->ctx, (size_t)e->size);
    if (!*data) return GY_ERR_NOMEM;
    *size = e->size;
    return gy_bytes_read(z->src, e->data_at, *data, e->size);
}

gy_status gy_zip_read(const gy_zip *z, int64_t i, uint8_t **data, uint64_t *size) {
    *data = NULL;
    *size = 0;
    const gy_zip_entry *e = &z->entries[i];
    gy_status s = content(z, e, data, size);
    if (s == GY_OK) {
        uint32_t crc = gy_crc32(0, *data, *size);
        if (crc != e->crc)
            s = gy_bytes_fail_key(z->src, e->name, "zip: CRC-32: expected %08x, found %08x", e->crc, crc);
    }
    if (s == GY_OK) return GY_OK;
    gy_free(z->src->ctx, *data);
    *data = NULL;
    *size = 0;
    return s;
}
