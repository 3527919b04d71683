/* zip.h: ZIP archives (PKWARE APPNOTE 6.3), stored and deflated, with zip64: the container of .npz and
 * .pth.
 *
 * The reader refuses every archive that two programs could read differently: local and central headers
 * that disagree, overlapping entries, a second end record, a repeated name, names that leave the folder,
 * encryption. Names that differ in case are different names: nothing is ever unpacked to disk, and
 * numpy.savez(W=..., w=...) is legal. */
#ifndef GY_IO_ZIP_H
#define GY_IO_ZIP_H

#include "../bytes.h"

typedef struct gy_zip_entry {
    const char *name;
    uint64_t size, packed;               /* bytes of the content and as stored */
    uint64_t header_at, data_at, end_at; /* local header, data, first byte behind data and descriptor */
    uint32_t crc;
    uint16_t method; /* 0 stored, 8 deflated */
    uint16_t flags;
} gy_zip_entry;

typedef struct gy_zip {
    const gy_bytes *src;   /* must outlive this */
    gy_zip_entry *entries; /* in the central directory's order */
    int64_t n;
    gy_arena names;
} gy_zip;

gy_status gy_zip_open(const gy_bytes *src, gy_zip *out) GY_MUST_CHECK;
void gy_zip_close(gy_zip *z);                           /* all-zero is fine */
int64_t gy_zip_find(const gy_zip *z, const char *name); /* -1: none */
/* The content of entry i, its CRC checked: *data is gy_malloc'd. */
gy_status gy_zip_read(const gy_zip *z, int64_t i, uint8_t **data, uint64_t *size) GY_MUST_CHECK;

/* ---- writing: through files.h, so the archive appears whole or not at all ---- */

typedef struct gy_zip_writer gy_zip_writer;
gy_status gy_zip_create(gy_ctx *ctx, const char *path, gy_zip_writer **out) GY_MUST_CHECK;
/* level 0 stores, 1..9 deflate. The date is always 1980-01-01: equal content gives equal bytes. */
gy_status gy_zip_add(gy_zip_writer *w, const char *name, const void *data, uint64_t n, int level) GY_MUST_CHECK;
/* A name that was added twice is refused here. Frees w in every case. */
gy_status gy_zip_commit(gy_zip_writer *w) GY_MUST_CHECK;
void gy_zip_abort(gy_zip_writer *w); /* NULL is fine */

#endif
