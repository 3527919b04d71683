#include "bytes.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- limits ---- */

static const struct {
    const char *name;
    uint64_t value;
} limits_table[GY_LIMIT_COUNT] = {
    [GY_LIMIT_SAFETENSORS_HEADER] = {"safetensors-header", 100000000},
    [GY_LIMIT_JSON_DEPTH] = {"json-depth", 64},
    [GY_LIMIT_NPY_HEADER] = {"npy-header", 65536},
    [GY_LIMIT_RANK] = {"rank", 32},
    [GY_LIMIT_NAME] = {"name", 4096},
    [GY_LIMIT_ENTRIES] = {"entries", 1000000},
    [GY_LIMIT_ZIP_ENTRIES] = {"zip-entries", 65536},
    [GY_LIMIT_INFLATE_RATIO] = {"inflate-ratio", 1032},
    [GY_LIMIT_IMAGE_PIXELS] = {"image-pixels", (uint64_t)1 << 28},
    [GY_LIMIT_TEXT_LINE] = {"text-line", (uint64_t)64 << 20},
    [GY_LIMIT_TABLE_COLUMNS] = {"table-columns", 65536},
    [GY_LIMIT_PICKLE] = {"pickle", 100000000},
    [GY_LIMIT_CHANNELS] = {"channels", 4096},
    [GY_LIMIT_FILE] = {"file", (uint64_t)64 << 30},
};

void gy_limits_init(gy_limits *limits) {
    for (int i = 0; i < GY_LIMIT_COUNT; i++) limits->v[i] = limits_table[i].value;
}

const char *gy_limit_name(gy_limit l) {
    return l < GY_LIMIT_COUNT ? limits_table[l].name : "?";
}

bool gy_limit_parse(const char *name, gy_limit *out) {
    for (int i = 0; i < GY_LIMIT_COUNT; i++)
        if (strcmp(name, limits_table[i].name) == 0) {
            *out = (gy_limit)i;
            return true;
        }
    return false;
}

/* ---- the source ---- */

enum { BORROWED, OWNED, MAPPED };
enum { MAP_FROM = 1 << 20 }; /* smaller files are cheaper to read, and can then not be cut under us */

static gy_status source_new(gy_ctx *ctx, const char *name, const gy_limits *limits, gy_bytes *out) {
    memset(out, 0, sizeof *out);
    out->ctx = ctx;
    out->fd = -1;
    if (limits)
        out->limits = *limits;
    else
        gy_limits_init(&out->limits);
    out->path = gy_strdup(ctx, name);
    return out->path ? GY_OK : GY_ERR_NOMEM;
}

static gy_status system_fail(const gy_bytes *b, const char *what) {
    return gy_fail(b->ctx, GY_ERR_IO, "%s: cannot %s: %s", b->path, what, strerror(errno));
}

/* Reads exactly n bytes at `at` of an open file. */
static gy_status read_at(const gy_bytes *b, int fd, uint64_t at, void *dst, uint64_t n) {
    uint8_t *p = dst;
    while (n > 0) {
        size_t part = n < ((size_t)1 << 30) ? (size_t)n : (size_t)1 << 30;
        ssize_t got = pread(fd, p, part, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return system_fail(b, "read");
        if (got == 0)
            return gy_bytes_fail(b, at, "expected %" PRIu64 " more bytes, found the end: the file was cut while open",
                                 n);
        p += got;
        at += (uint64_t)got;
        n -= (uint64_t)got;
    }
    return GY_OK;
}

static gy_status load(gy_bytes *b, int fd) {
    struct stat st;
    if (fstat(fd, &st) != 0) return system_fail(b, "stat");
    if (S_ISDIR(st.st_mode)) return gy_fail(b->ctx, GY_ERR_IO, "%s: expected a file, found a folder", b->path);
    if (!S_ISREG(st.st_mode))
        return gy_fail(b->ctx, GY_ERR_IO, "%s: expected a regular file, found a device, pipe or socket", b->path);
    b->size = (uint64_t)st.st_size;
    gy_status s = gy_bytes_limit(b, GY_LIMIT_FILE, b->size, "file size");
    if (s != GY_OK) return s;
    if (b->size >= MAP_FROM) {
        void *p = mmap(NULL, (size_t)b->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p != MAP_FAILED) {
            b->data = p;
            b->kind = MAPPED;
            return GY_OK;
        }
    }
    uint8_t *p = gy_malloc(b->ctx, (size_t)b->size);
    if (!p) return GY_ERR_NOMEM;
    b->data = p;
    b->kind = OWNED;
    return read_at(b, fd, 0, p, b->size);
}

gy_status gy_bytes_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_bytes *out) {
    gy_status s = source_new(ctx, path, limits, out);
    if (s != GY_OK) return s;
    /* O_NONBLOCK: a FIFO must be refused, not waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    s = fd < 0 ? system_fail(out, "open") : load(out, fd);
    if (s == GY_OK && out->kind == MAPPED) {
        out->fd = fd;
        return GY_OK;
    }
    if (fd >= 0) close(fd);
    if (s != GY_OK) gy_bytes_close(out);
    return s;
}

gy_status gy_bytes_from_memory(gy_ctx *ctx, const char *name, const void *data, uint64_t size, const gy_limits *limits,
                               gy_bytes *out) {
    gy_status s = source_new(ctx, name, limits, out);
    if (s != GY_OK) return s;
    out->data = data;
    out->size = size;
    return GY_OK;
}

void gy_bytes_close(gy_bytes *b) {
    if (b->kind == MAPPED) {
        munmap((void *)(uintptr_t)b->data, (size_t)b->size);
        close(b->fd);
    }
    if (b->kind == OWNED) gy_free(b->ctx, (void *)(uintptr_t)b->data);
    if (b->path) gy_free(b->ctx, (void *)(uintptr_t)b->path);
    memset(b, 0, sizeof *b);
    b->fd = -1;
}

bool gy_bytes_has(const gy_bytes *b, uint64_t at, uint64_t n) {
    return at <= b->size && n <= b->size - at;
}

gy_status gy_bytes_read(const gy_bytes *b, uint64_t at, void *dst, uint64_t n) {
    if (!gy_bytes_has(b, at, n))
        return gy_bytes_fail(b, at, "expected %" PRIu64 " more bytes, found %" PRIu64, n,
                             at < b->size ? b->size - at : (uint64_t)0);
    if (b->kind == MAPPED) return read_at(b, b->fd, at, dst, n);
    if (n) memcpy(dst, b->data + at, (size_t)n);
    return GY_OK;
}

gy_status gy_bytes_borrow(const gy_bytes *b, uint64_t at, uint64_t n, const uint8_t **out, void **owned) {
    *out = NULL;
    *owned = NULL;
    if (!gy_bytes_has(b, at, n)) return gy_bytes_read(b, at, NULL, n); /* fails with its message */
    if (b->kind != MAPPED) {
        static const uint8_t nothing[1] = {0}; /* an empty source may have no data at all */
        *out = b->data ? b->data + at : nothing;
        return GY_OK;
    }
    *owned = gy_malloc(b->ctx, (size_t)n);
    if (!*owned) return GY_ERR_NOMEM;
    *out = *owned;
    gy_status s = gy_bytes_read(b, at, *owned, n);
    if (s != GY_OK) {
        gy_free(b->ctx, *owned);
        *owned = NULL;
    }
    return s;
}

gy_status gy_bytes_fail(const gy_bytes *b, uint64_t at, const char *fmt, ...) {
    char text[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return gy_fail(b->ctx, GY_ERR_FORMAT, "%s: byte %" PRIu64 ": %s", b->path, at, text);
}

gy_status gy_bytes_fail_key(const gy_bytes *b, const char *key, const char *fmt, ...) {
    char text[2048], shown[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return gy_fail(b->ctx, GY_ERR_FORMAT, "%s: '%s': %s", b->path, gy_show_text(key, strlen(key), shown, sizeof shown),
                   text);
}

gy_status gy_bytes_limit(const gy_bytes *b, gy_limit l, uint64_t value, const char *what) {
    if (value <= b->limits.v[l]) return GY_OK;
    return gy_fail(b->ctx, GY_ERR_FORMAT,
                   "%s: %s: %" PRIu64 " is above the limit %s = %" PRIu64 " (--limit %s=N raises it)", b->path, what,
                   value, gy_limit_name(l), b->limits.v[l], gy_limit_name(l));
}

/* ---- integers ---- */

bool gy_host_is_little_endian(void) {
    const uint16_t one = 1;
    uint8_t first;
    memcpy(&first, &one, 1);
    return first == 1;
}

void gy_swap_bytes(void *data, int64_t count, size_t size) {
    uint8_t *p = data;
    for (int64_t i = 0; i < count; i++, p += size)
        for (size_t k = 0; k < size / 2; k++) {
            uint8_t t = p[k];
            p[k] = p[size - 1 - k];
            p[size - 1 - k] = t;
        }
}

bool gy_shape_bytes(gy_dtype dtype, gy_shape shape, uint64_t *bytes) {
    uint64_t n = gy_dtype_size(dtype);
    bool empty = false;
    for (int64_t i = 0; i < shape.rank; i++) {
        if (shape.dim[i] < 0) return false;
        if (shape.dim[i] == 0)
            empty = true;
        else if (!gy_mul_u64(n, (uint64_t)shape.dim[i], &n) || n > INT64_MAX)
            return false;
    }
    *bytes = empty ? 0 : n;
    return true;
}

bool gy_checked_int(double x, int64_t lo, int64_t hi, int64_t *out) {
    /* 2^63 is the first double beyond int64_t; NaN fails both comparisons. */
    if (!(x >= -9223372036854775808.0 && x < 9223372036854775808.0) || x != floor(x)) return false;
    int64_t v = (int64_t)x;
    if (v < lo || v > hi) return false;
    *out = v;
    return true;
}

/* ---- numbers in text ---- */

static bool equal_nocase(const char *s, size_t n, const char *word) {
    for (size_t i = 0; i < n; i++)
        if (word[i] == 0 || tolower((unsigned char)s[i]) != word[i]) return false; /* s may hold a NUL */
    return word[n] == 0;
}

/* Enough digits to decide every rounding: a tie between two doubles has at most 767. */
enum { MAX_DIGITS = 780 };

bool gy_parse_double(const char *s, size_t n, double *out) {
    size_t i = 0;
    bool negative = false;
    if (n && (s[0] == '+' || s[0] == '-')) negative = s[i++] == '-';
    if (equal_nocase(s + i, n - i, "nan")) {
        *out = NAN;
        return true;
    }
    if (equal_nocase(s + i, n - i, "inf") || equal_nocase(s + i, n - i, "infinity")) {
        *out = negative ? -INFINITY : INFINITY;
        return true;
    }
    /* The digits are gathered without the point, so that strtod sees "DIGITSe+-N", which no locale
     * reads differently. */
    char text[MAX_DIGITS + 40];
    size_t digits = 0;
    int64_t scale = 0; /* power of ten of the last gathered digit */
    bool any = false, point = false, rest = false;
    for (; i < n; i++) {
        char c = s[i];
        if (c == '.' && !point) {
            point = true;
            continue;
        }
        if (c < '0' || c > '9') break;
        any = true;
        if (digits == MAX_DIGITS) { /* only whether the rest is zero can still matter */
            rest = rest || c != '0';
            if (!point) scale++;
            continue;
        }
        if (digits || c != '0') text[digits++] = c;
        if (point) scale--;
    }
    if (!any) return false;
    if (i < n && (s[i] == 'e' || s[i] == 'E')) {
        bool down = false;
        int64_t e = 0;
        i++;
        if (i < n && (s[i] == '+' || s[i] == '-')) down = s[i++] == '-';
        if (i == n) return false;
        for (; i < n && s[i] >= '0' && s[i] <= '9'; i++)
            if (e < (int64_t)1 << 40) e = e * 10 + (s[i] - '0');
        scale += down ? -e : e;
    }
    if (i != n) return false;
    double v = 0.0;
    if (digits) {
        if (rest) text[digits - 1] = (char)(text[digits - 1] | 1); /* breaks a tie upwards */
        snprintf(text + digits, sizeof text - digits, "e%" PRId64, scale);
        v = strtod(text, NULL);
        if (v > 1.7976931348623157e308) return false;
    }
    *out = negative ? -v : v;
    return true;
}

bool gy_parse_int(const char *s, size_t n, int64_t *out) {
    size_t i = 0;
    bool negative = false;
    uint64_t v = 0;
    if (n && (s[0] == '+' || s[0] == '-')) negative = s[i++] == '-';
    if (i == n) return false;
    uint64_t most = negative ? (uint64_t)1 << 63 : (uint64_t)INT64_MAX;
    for (; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') return false;
        uint64_t d = (uint64_t)(s[i] - '0');
        if (v > (most - d) / 10) return false;
        v = v * 10 + d;
    }
    *out = negative ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

/* ---- text ---- */

int gy_utf8_next(const char *s, uint64_t n, uint32_t *code) {
    const uint8_t *p = (const uint8_t *)s;
    if (n == 0) return 0;
    uint32_t c = p[0], least;
    int len;
    if (c < 0x80)
        len = 1, least = 0;
    else if (c >= 0xc0 && c < 0xe0)
        len = 2, c &= 0x1f, least = 0x80;
    else if (c >= 0xe0 && c < 0xf0)
        len = 3, c &= 0x0f, least = 0x800;
    else if (c >= 0xf0 && c < 0xf8)
        len = 4, c &= 0x07, least = 0x10000;
    else
        return 0;
    if ((uint64_t)len > n) return 0;
    for (int i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < least || c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
    if (code) *code = c;
    return len;
}

/* C0 and C1 controls move a terminal's cursor; U+202A..202E and U+2066..2069 turn the reading direction. */
static bool harmless(uint32_t c) {
    return c >= 0x20 && !(c >= 0x7f && c < 0xa0) && !(c >= 0x202a && c <= 0x202e) && !(c >= 0x2066 && c <= 0x2069);
}

char *gy_show_text(const char *s, size_t len, char *buf, size_t n) {
    size_t o = 0, i = 0;
    if (n == 0) return buf;
    while (i < len && i < 200) {
        uint32_t c;
        int k = gy_utf8_next(s + i, len - i, &c);
        bool plain = k > 0 && harmless(c);
        size_t take = k > 0 ? (size_t)k : 1, need = plain ? take : 4 * take;
        if (o + need + 4 > n) break; /* room for "..." and NUL */
        for (size_t j = 0; j < take; j++) {
            if (plain)
                buf[o++] = s[i + j];
            else
                o += (size_t)snprintf(buf + o, n - o, "\\x%02x", (unsigned)(unsigned char)s[i + j]);
        }
        i += take;
    }
    if (i < len && n >= 4) {
        memcpy(buf + o, "...", 3);
        o += 3;
    }
    buf[o] = 0;
    return buf;
}
