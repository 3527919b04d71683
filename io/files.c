#include "files.h"
#include "../core/internal.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- system calls, each a place where a test may inject a fault ---- */

void gy_files_set_fault(gy_ctx *ctx, gy_fault f) {
    ctx->io_fault.at = f.at;
    ctx->io_fault.err = f.err;
    ctx->io_fault.short_write = f.short_write;
}

static bool fault(gy_ctx *ctx) {
    if (ctx->io_fault.at <= 0 || --ctx->io_fault.at > 0) return false;
    errno = ctx->io_fault.err;
    return true;
}

static int sys_open(gy_ctx *ctx, const char *path, int flags) {
    int fd;
    do fd = fault(ctx) ? -1 : open(path, flags | O_CLOEXEC | O_NOCTTY, 0666);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* Writes all n bytes, however often the system takes fewer. */
static int sys_write(gy_ctx *ctx, int fd, const void *data, size_t n) {
    const char *p = data;
    while (n > 0) {
        size_t part = ctx->io_fault.short_write && n > 1 ? n / 2 : n;
        ssize_t k = fault(ctx) ? -1 : write(fd, p, part);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -1;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

static int sys_fsync(gy_ctx *ctx, int fd) {
    int r;
    do r = fault(ctx) ? -1 : fsync(fd);
    while (r != 0 && errno == EINTR);
    /* pipes, terminals and some network folders cannot be synced */
    return r != 0 && (errno == EINVAL || errno == ENOTSUP) ? 0 : r;
}

static int sys_rename(gy_ctx *ctx, const char *from, const char *to) {
    return fault(ctx) ? -1 : rename(from, to);
}

/* The descriptor is gone in every case; EINTR means no more than that (the data is synced before). */
static int sys_close(gy_ctx *ctx, int fd) {
    int r = close(fd);
    if (fault(ctx)) r = -1;
    return r != 0 && errno == EINTR ? 0 : r;
}

/* ---- the writer ---- */

enum { BUFFER = 1 << 16, LINKS = 40, TRIES = 1000 };

struct gy_writer {
    gy_ctx *ctx;
    char *name; /* as the caller said it: for messages */
    char *path; /* where the file goes, links followed */
    char *tmp;  /* NULL for a device or pipe, which is written directly */
    int fd;
    bool failed;
    uint64_t size;
    size_t used;
    char buffer[BUFFER];
};

static gy_status system_fail(gy_ctx *ctx, const char *path, const char *what) {
    return gy_fail(ctx, GY_ERR_IO, "%s: cannot %s: %s", path, what, strerror(errno));
}

/* Length of the folder part of a path, with its slash; 0 for a bare name. */
static size_t folder_length(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? (size_t)(slash - path) + 1 : 0;
}

/* The file that a chain of symbolic links means, even when it is not there yet: saving through a link
 * must change what the link shows, not replace the link. */
static gy_status follow_links(gy_ctx *ctx, const char *path, char **out) {
    char target[PATH_MAX];
    char *p = gy_strdup(ctx, path);
    for (int i = 0; p && i < LINKS; i++) {
        ssize_t n = readlink(p, target, sizeof target - 1);
        if (n < 0) { /* not a link, or not there */
            *out = p;
            return GY_OK;
        }
        target[n] = 0;
        size_t folder = target[0] == '/' ? 0 : folder_length(p);
        char *q = gy_format(ctx, "%.*s%s", (int)folder, p, target);
        gy_free(ctx, p);
        p = q;
    }
    if (!p) return GY_ERR_NOMEM;
    gy_free(ctx, p);
    errno = ELOOP;
    return system_fail(ctx, path, "write");
}

/* A new file beside the target; the name says whose it is and is never one that exists. */
static gy_status open_temporary(gy_writer *w) {
    int folder = (int)folder_length(w->path);
    for (int i = 0; i < TRIES; i++) {
        w->tmp = gy_format(w->ctx, "%.*s.gyrus-%ld-%d.tmp", folder, w->path, (long)getpid(), i);
        if (!w->tmp) return GY_ERR_NOMEM;
        w->fd = sys_open(w->ctx, w->tmp, O_WRONLY | O_CREAT | O_EXCL);
        if (w->fd >= 0) return GY_OK;
        int e = errno;
        gy_free(w->ctx, w->tmp);
        w->tmp = NULL;
        errno = e;
        if (e != EEXIST) break;
    }
    return system_fail(w->ctx, w->name, "make a temporary file in its folder");
}

static gy_status writer_start(gy_writer *w, const char *path) {
    w->name = gy_strdup(w->ctx, path);
    if (!w->name) return GY_ERR_NOMEM;
    gy_status s = follow_links(w->ctx, path, &w->path);
    if (s != GY_OK) return s;
    struct stat st;
    if (stat(w->path, &st) != 0) {
        if (errno != ENOENT) return system_fail(w->ctx, path, "write");
        if (w->path[0] == 0 || w->path[strlen(w->path) - 1] == '/')
            return gy_fail(w->ctx, GY_ERR_IO, "%s: expected a file name", path);
        return open_temporary(w);
    }
    if (S_ISDIR(st.st_mode)) return gy_fail(w->ctx, GY_ERR_IO, "%s: cannot write: it is a folder", path);
    if (!S_ISREG(st.st_mode)) { /* /dev/stdout, /dev/null, a FIFO: no name to replace */
        w->fd = sys_open(w->ctx, w->path, O_WRONLY);
        return w->fd < 0 ? system_fail(w->ctx, path, "open") : GY_OK;
    }
    /* rename would replace a file that its owner marked read-only; a user expects to be refused */
    if (access(w->path, W_OK) != 0) return system_fail(w->ctx, path, "write");
    s = open_temporary(w);
    if (s != GY_OK) return s;
    if (fchmod(w->fd, st.st_mode & 07777) != 0) return system_fail(w->ctx, path, "keep the file's permissions");
    return GY_OK;
}

gy_status gy_writer_open(gy_ctx *ctx, const char *path, gy_writer **out) {
    *out = NULL;
    gy_writer *w = gy_malloc(ctx, sizeof *w);
    if (!w) return GY_ERR_NOMEM;
    memset(w, 0, offsetof(gy_writer, buffer));
    w->ctx = ctx;
    w->fd = -1;
    gy_status s = writer_start(w, path);
    if (s == GY_OK)
        *out = w;
    else
        gy_writer_abort(w);
    return s;
}

static gy_status write_out(gy_writer *w, const void *data, size_t n) {
    if (sys_write(w->ctx, w->fd, data, n) == 0) return GY_OK;
    w->failed = true;
    return system_fail(w->ctx, w->name, "write");
}

static gy_status flush(gy_writer *w) {
    size_t n = w->used;
    w->used = 0;
    return n ? write_out(w, w->buffer, n) : GY_OK;
}

gy_status gy_writer_put(gy_writer *w, const void *data, size_t n) {
    if (w->failed) return gy_error_status(w->ctx) != GY_OK ? gy_error_status(w->ctx) : GY_ERR_IO;
    w->size += n;
    if (n > BUFFER - w->used) {
        gy_status s = flush(w);
        if (s != GY_OK) return s;
    }
    if (n >= BUFFER) return write_out(w, data, n);
    if (n) memcpy(w->buffer + w->used, data, n);
    w->used += n;
    return GY_OK;
}

gy_status gy_writer_printf(gy_writer *w, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0) return gy_fail(w->ctx, GY_ERR_IO, "%s: cannot format text", w->name);
    if ((size_t)n < sizeof text) return gy_writer_put(w, text, (size_t)n);
    char *large = gy_malloc(w->ctx, (size_t)n + 1);
    if (!large) return GY_ERR_NOMEM;
    va_start(ap, fmt);
    vsnprintf(large, (size_t)n + 1, fmt, ap);
    va_end(ap);
    gy_status s = gy_writer_put(w, large, (size_t)n);
    gy_free(w->ctx, large);
    return s;
}

/* Temporary -> name, durable: the folder is opened first, so that after the rename only its fsync is
 * left to fail, and then the new file stands whole. */
static gy_status put_in_place(gy_writer *w) {
    size_t folder = folder_length(w->path);
    char *dir = folder ? gy_format(w->ctx, "%.*s", (int)folder, w->path) : gy_strdup(w->ctx, ".");
    if (!dir) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    int fd = sys_open(w->ctx, dir, O_RDONLY);
    if (fd < 0)
        s = system_fail(w->ctx, w->name, "open its folder");
    else if (sys_rename(w->ctx, w->tmp, w->path) != 0)
        s = system_fail(w->ctx, w->name, "rename the temporary file");
    else {
        gy_free(w->ctx, w->tmp);
        w->tmp = NULL;
        if (sys_fsync(w->ctx, fd) != 0)
            s = system_fail(w->ctx, w->name, "sync its folder (the new file is in place, a power cut may undo it)");
    }
    if (fd >= 0) close(fd);
    gy_free(w->ctx, dir);
    return s;
}

gy_status gy_writer_commit(gy_writer *w) {
    gy_status s = w->failed ? gy_writer_put(w, NULL, 0) : flush(w);
    if (s == GY_OK && sys_fsync(w->ctx, w->fd) != 0) s = system_fail(w->ctx, w->name, "sync");
    if (s == GY_OK) {
        int fd = w->fd;
        w->fd = -1;
        if (sys_close(w->ctx, fd) != 0) s = system_fail(w->ctx, w->name, "close");
    }
    if (s == GY_OK && w->tmp) s = put_in_place(w);
    gy_writer_abort(w);
    return s;
}

void gy_writer_abort(gy_writer *w) {
    if (!w) return;
    if (w->fd >= 0) close(w->fd);
    if (w->tmp) unlink(w->tmp);
    gy_free(w->ctx, w->tmp);
    gy_free(w->ctx, w->path);
    gy_free(w->ctx, w->name);
    gy_free(w->ctx, w);
}

uint64_t gy_writer_size(const gy_writer *w) {
    return w->size;
}

gy_status gy_write_file(gy_ctx *ctx, const char *path, const void *data, size_t n) {
    gy_writer *w;
    gy_status s = gy_writer_open(ctx, path, &w);
    if (s != GY_OK) return s;
    s = gy_writer_put(w, data, n);
    if (s == GY_OK) return gy_writer_commit(w);
    gy_writer_abort(w);
    return s;
}

gy_status gy_append_file(gy_ctx *ctx, const char *path, const void *data, size_t n) {
    int fd = sys_open(ctx, path, O_WRONLY | O_APPEND | O_CREAT);
    if (fd < 0) return system_fail(ctx, path, "open");
    struct stat st;
    bool regular = fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    gy_status s = GY_OK;
    if (sys_write(ctx, fd, data, n) != 0) {
        s = system_fail(ctx, path, "append");
        if (regular && ftruncate(fd, st.st_size) != 0) s = system_fail(ctx, path, "take back a partial line");
    }
    if (sys_close(ctx, fd) != 0 && s == GY_OK) s = system_fail(ctx, path, "close");
    return s;
}

/* ---- folders and names ---- */

gy_status gy_make_dirs(gy_ctx *ctx, const char *path) {
    char *p = gy_strdup(ctx, path);
    if (!p) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    if (*p == 0) s = gy_fail(ctx, GY_ERR_IO, "expected a folder name, found \"\"");
    for (char *c = p; *c && s == GY_OK; c++) {
        if (c[1] != '/' && c[1] != 0) continue;
        char kept = c[1];
        c[1] = 0;
        if (mkdir(p, 0777) != 0 && !gy_path_is_dir(p)) s = system_fail(ctx, p, "make the folder");
        c[1] = kept;
    }
    gy_free(ctx, p);
    return s;
}

bool gy_path_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

bool gy_path_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

char *gy_path_join(gy_ctx *ctx, const char *dir, const char *name) {
    size_t n = strlen(dir);
    if (n == 0 || name[0] == '/') return gy_strdup(ctx, name);
    return gy_format(ctx, "%s%s%s", dir, dir[n - 1] == '/' ? "" : "/", name);
}

bool gy_path_has_suffix(const char *path, const char *suffix) {
    size_t n = strlen(path), k = strlen(suffix);
    if (k > n) return false;
    for (size_t i = 0; i < k; i++)
        if (tolower((unsigned char)path[n - k + i]) != tolower((unsigned char)suffix[i])) return false;
    return true;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static gy_status collect(gy_ctx *ctx, DIR *d, const char *path, char ***names, int64_t *n) {
    int64_t room = 0;
    for (;;) {
        errno = 0;
        struct dirent *e = readdir(d);
        if (!e) return errno ? system_fail(ctx, path, "list") : GY_OK;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (*n == room) {
            room = room ? 2 * room : 32;
            char **more = gy_realloc(ctx, *names, (size_t)room * sizeof *more);
            if (!more) return GY_ERR_NOMEM;
            *names = more;
        }
        (*names)[*n] = gy_strdup(ctx, e->d_name);
        if (!(*names)[*n]) return GY_ERR_NOMEM;
        ++*n;
    }
}

gy_status gy_list_dir(gy_ctx *ctx, const char *path, char ***names, int64_t *n) {
    *names = NULL;
    *n = 0;
    DIR *d = opendir(path);
    if (!d) return system_fail(ctx, path, "list");
    gy_status s = collect(ctx, d, path, names, n);
    closedir(d);
    if (s == GY_OK) {
        if (*n) qsort(*names, (size_t)*n, sizeof **names, by_name);
        return GY_OK;
    }
    for (int64_t i = 0; i < *n; i++) gy_free(ctx, (*names)[i]);
    gy_free(ctx, *names);
    *names = NULL;
    *n = 0;
    return s;
}
