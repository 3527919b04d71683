/* files.h: the one writing layer. A file appears under its name whole or not at all: bytes go to a
 * temporary file in the same folder, then fsync, rename, fsync of the folder. A failure (disk full,
 * EIO, read-only folder) leaves the previous file as it was, removes the temporary, and ends in one
 * message. Tests inject faults at every system call. */
#ifndef GY_IO_FILES_H
#define GY_IO_FILES_H

#include "../core/base.h"

typedef struct gy_writer gy_writer;
/* As users expect: a symbolic link is followed and stays a link; an existing file keeps its permission
 * bits; one that is marked read-only, and a folder, are refused; a device or pipe (/dev/stdout) is
 * written directly, for it has no content to keep. Interrupted and short calls are taken up again. */
gy_status gy_writer_open(gy_ctx *ctx, const char *path, gy_writer **out) GY_MUST_CHECK;
gy_status gy_writer_put(gy_writer *w, const void *data, size_t n) GY_MUST_CHECK;
gy_status gy_writer_printf(gy_writer *w, const char *fmt, ...) GY_PRINTF(2, 3) GY_MUST_CHECK;
gy_status gy_writer_commit(gy_writer *w) GY_MUST_CHECK; /* frees w in every case */
void gy_writer_abort(gy_writer *w);                     /* removes the temporary; frees w; NULL is fine */
uint64_t gy_writer_size(const gy_writer *w);            /* bytes put so far */

/* Writes one buffer whole. */
gy_status gy_write_file(gy_ctx *ctx, const char *path, const void *data, size_t n) GY_MUST_CHECK;
/* Appends a line to a log such as metrics.csv: one write call, and a line that could not be written whole
 * is taken back. */
gy_status gy_append_file(gy_ctx *ctx, const char *path, const void *data, size_t n) GY_MUST_CHECK;

gy_status gy_make_dirs(gy_ctx *ctx, const char *path) GY_MUST_CHECK; /* mkdir -p */
bool gy_path_exists(const char *path);
bool gy_path_is_dir(const char *path);
char *gy_path_join(gy_ctx *ctx, const char *dir, const char *name) GY_MUST_CHECK; /* owned */
/* "sub-01/bold.nii.gz" -> whether the name ends with suffix, ignoring case. */
bool gy_path_has_suffix(const char *path, const char *suffix);
/* Names in a folder, sorted bytewise, without "." and ".."; free with gy_free(names[i]) and gy_free(names). */
gy_status gy_list_dir(gy_ctx *ctx, const char *path, char ***names, int64_t *n) GY_MUST_CHECK;

/* Fault injection for tests: the n-th system call of the writing layer (open, write, fsync, rename,
 * close; 1 = next) fails with errno `err`; write calls may also be cut short first. 0 switches off. */
typedef struct gy_fault {
    int64_t at;
    int err;
    bool short_write;
} gy_fault;
void gy_files_set_fault(gy_ctx *ctx, gy_fault f);

#endif
