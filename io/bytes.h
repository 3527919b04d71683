/* bytes.h: the one source of bytes that every reader uses, so that no reader trusts a file.
 *
 * A source knows its size; reads are by offset and never go past the end; integers are decoded
 * here, by stated byte order; sizes are multiplied and compared in checked 64-bit arithmetic
 * against one table of limits before anything is allocated. A refusal names path, byte offset or
 * key, what was expected and what was found. */
#ifndef GY_IO_BYTES_H
#define GY_IO_BYTES_H

#include "../core/base.h"

/* ---- limits: one table; `gyrus --limit name=value` raises one; every refusal prints the name ---- */
typedef enum gy_limit {
    GY_LIMIT_SAFETENSORS_HEADER, /* bytes: 100,000,000 */
    GY_LIMIT_JSON_DEPTH,         /* 64 */
    GY_LIMIT_NPY_HEADER,         /* bytes: 65,536 */
    GY_LIMIT_RANK,               /* 32 for containers; the engine itself takes GY_MAX_RANK */
    GY_LIMIT_NAME,               /* bytes of a name: 4,096 */
    GY_LIMIT_ENTRIES,            /* tensors or entries: 1,000,000 */
    GY_LIMIT_ZIP_ENTRIES,        /* 65,536 */
    GY_LIMIT_INFLATE_RATIO,      /* 1,032 : 1 */
    GY_LIMIT_IMAGE_PIXELS,       /* 2^28 */
    GY_LIMIT_TEXT_LINE,          /* bytes of one line: 64 MiB */
    GY_LIMIT_TABLE_COLUMNS,      /* 65,536 */
    GY_LIMIT_PICKLE,             /* bytes of the pickle in a .pth: 100,000,000 */
    GY_LIMIT_CHANNELS,           /* of a recording: 4,096 */
    GY_LIMIT_FILE,               /* bytes of a file read whole into memory: 64 GiB */
    GY_LIMIT_COUNT
} gy_limit;
typedef struct gy_limits {
    uint64_t v[GY_LIMIT_COUNT];
} gy_limits;
void gy_limits_init(gy_limits *limits); /* the defaults */
const char *gy_limit_name(gy_limit l);  /* "safetensors-header", ... */
bool gy_limit_parse(const char *name, gy_limit *out);

/* ---- the source ----------------------------------------------------------------------------- */
typedef struct gy_bytes {
    gy_ctx *ctx;
    const char *path;    /* shown in messages; owned */
    const uint8_t *data; /* the whole content: mapped or in memory */
    uint64_t size;
    gy_limits limits;
    int kind; /* internal: borrowed, owned, mapped */
    int fd;   /* internal: of a mapped file */
} gy_bytes;

/* Opens a file: regular files only (a folder, FIFO or device is refused by name). Files up to 1 MiB are
 * read into memory; larger ones are mapped. Touching the pages of a mapped file that somebody cuts
 * meanwhile would raise SIGBUS, so what a reader decodes from a mapped file it takes through
 * gy_bytes_read or gy_bytes_borrow, which read(2) it and refuse a cut file. `limits` NULL: the
 * defaults. */
gy_status gy_bytes_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_bytes *out) GY_MUST_CHECK;
/* A source over memory the caller keeps alive (tests, zip members, inflated streams). */
gy_status gy_bytes_from_memory(gy_ctx *ctx, const char *name, const void *data, uint64_t size, const gy_limits *limits,
                               gy_bytes *out) GY_MUST_CHECK;
void gy_bytes_close(gy_bytes *b); /* all-zero is fine */

/* Copies n bytes from `at`; refuses past the end: "path: byte 352: expected 1200 more bytes, found 17". */
gy_status gy_bytes_read(const gy_bytes *b, uint64_t at, void *dst, uint64_t n) GY_MUST_CHECK;
/* n bytes from `at` as one pointer that is safe to walk: into `data` when the content is in memory, else
 * a copy in *owned (NULL if none), which the caller gy_frees. */
gy_status gy_bytes_borrow(const gy_bytes *b, uint64_t at, uint64_t n, const uint8_t **out, void **owned) GY_MUST_CHECK;
bool gy_bytes_has(const gy_bytes *b, uint64_t at, uint64_t n); /* no overflow, no message */

/* Fails with "path: byte AT: what". */
gy_status gy_bytes_fail(const gy_bytes *b, uint64_t at, const char *fmt, ...) GY_PRINTF(3, 4);
/* Same with a key instead of an offset: "path: 'key': what". `key` is escaped for terminals. */
gy_status gy_bytes_fail_key(const gy_bytes *b, const char *key, const char *fmt, ...) GY_PRINTF(3, 4);
/* Checks value <= limit, else refuses naming the limit and how to raise it. */
gy_status gy_bytes_limit(const gy_bytes *b, gy_limit l, uint64_t value, const char *what) GY_MUST_CHECK;

/* Integers by byte order; the caller has checked the extent with gy_bytes_has. */
static inline uint16_t gy_le16(const uint8_t *p) {
    return (uint16_t)(p[0] | p[1] << 8);
}
static inline uint32_t gy_le32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}
static inline uint64_t gy_le64(const uint8_t *p) {
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}
static inline uint16_t gy_be16(const uint8_t *p) {
    return (uint16_t)(p[1] | p[0] << 8);
}
static inline uint32_t gy_be32(const uint8_t *p) {
    return (uint32_t)p[3] | (uint32_t)p[2] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[0] << 24;
}
static inline uint64_t gy_be64(const uint8_t *p) {
    return (uint64_t)gy_be32(p) << 32 | gy_be32(p + 4);
}
static inline void gy_put_le16(uint8_t *p, uint16_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}
static inline void gy_put_le32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> 8 * i);
}
static inline void gy_put_le64(uint8_t *p, uint64_t v) {
    for (int i = 0; i < 8; i++) p[i] = (uint8_t)(v >> 8 * i);
}
static inline void gy_put_be32(uint8_t *p, uint32_t v) {
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}
bool gy_host_is_little_endian(void);
/* Turns the bytes of each of `count` elements of `size` bytes (1, 2, 4, 8) round, in place. */
void gy_swap_bytes(void *data, int64_t count, size_t size);
/* Bytes of a tensor that a file announces; false when a dimension is negative or when the product, zeros
 * left out, passes 63 bits: such a shape is never asked of gy_shape_count. */
bool gy_shape_bytes(gy_dtype dtype, gy_shape shape, uint64_t *bytes);

/* Double to integer with the checks a file needs: NaN, Inf, fractions and out of [lo, hi] give false. */
bool gy_checked_int(double x, int64_t lo, int64_t hi, int64_t *out);

/* Numbers and text in a locale-free way. The whole of s[0..n) must be one number; "1,5", hex, "", "n/a"
 * and what overflows (1e999) are refused. "nan", "inf" and "infinity" (any case, signed) are read. */
bool gy_parse_double(const char *s, size_t n, double *out);
bool gy_parse_int(const char *s, size_t n, int64_t *out);
/* The length (1..4) of the UTF-8 sequence at s[0..n), 0 when it is invalid: overlong, surrogate, beyond
 * U+10FFFF, cut (RFC 3629). `code` may be NULL. */
int gy_utf8_next(const char *s, uint64_t n, uint32_t *code);
/* A stranger's string made safe for a terminal: control characters, ANSI escapes and invalid UTF-8 are
 * shown as \xNN, cut at 200 bytes with "...". Writes to buf (size n) and returns it. */
char *gy_show_text(const char *s, size_t len, char *buf, size_t n);

#endif
