/* recordings.h: small recordings built field by field, in a folder of their own. */
#ifndef GY_TEST_RECORDINGS_H
#define GY_TEST_RECORDINGS_H

#include "build.h"

#include "io/formats/recording.h"

#include <math.h>

static char folder[64], warned[4096];

static inline int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/gyrus-recording-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}
static inline int remove_folder(void **state) {
    char **name, path[512];
    int64_t n;
    gy_ctx *ctx = gy_ctx_new((gy_ctx_args){.threads = 1});
    (void)state;
    if (gy_list_dir(ctx, folder, &name, &n) != GY_OK) return -1;
    for (int64_t i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, name[i]);
        unlink(path);
        gy_free(ctx, name[i]);
    }
    gy_free(ctx, name);
    gy_ctx_free(ctx);
    return rmdir(folder);
}
static inline const char *in_folder(const char *name) {
    static char path[2][160];
    static int k;
    k = !k;
    snprintf(path[k], sizeof path[k], "%s/%s", folder, name);
    return path[k];
}
static inline void save(gy_ctx *ctx, const char *name, const void *data, size_t n) {
    assert_ok(ctx, gy_write_file(ctx, in_folder(name), data, n));
}
static inline void save_text(gy_ctx *ctx, const char *name, const char *text) {
    save(ctx, name, text, strlen(text));
}

static inline void remember(void *user, const char *text) {
    (void)user;
    size_t used = strlen(warned);
    snprintf(warned + used, sizeof warned - used, "%s\n", text);
}
static inline void listen(gy_ctx *ctx) {
    warned[0] = 0;
    gy_set_warn_handler(ctx, remember, NULL);
}

/* The file is refused with a message that contains `part`, and nothing stays open. */
static inline void refused(gy_ctx *ctx, const char *name, const char *part) {
    gy_recording r;
    assert_message(ctx, gy_recording_open(ctx, in_folder(name), NULL, &r), part);
    assert_null(r.channel);
    gy_error_clear(ctx);
}

/* A file cut at every length either opens or is refused; sanitizers and the context see to the rest. */
static inline void survives_cuts(gy_ctx *ctx, const char *name, const buf *b, size_t step) {
    for (size_t n = 0; n < b->n; n += step) {
        gy_recording r;
        save(ctx, name, b->d, n);
        if (gy_recording_open(ctx, in_folder(name), NULL, &r) == GY_OK) gy_recording_close(&r);
        gy_error_clear(ctx);
    }
}

/* Every byte of the first `n` in turn becomes each of a few values. */
static inline void survives_flips(gy_ctx *ctx, const char *name, buf *b, size_t n) {
    static const uint8_t to[] = {0, 0xff, '9', ' '};
    for (size_t i = 0; i < n && i < b->n; i++) {
        uint8_t keep = b->d[i];
        for (size_t k = 0; k < sizeof to; k++) {
            gy_recording r;
            b->d[i] = to[k];
            save(ctx, name, b->d, b->n);
            if (gy_recording_open(ctx, in_folder(name), NULL, &r) == GY_OK) {
                gy_tensor t;
                if (r.rate > 0 && gy_recording_tensor(&r, 0, &t) == GY_OK) gy_tensor_free(ctx, &t);
                gy_recording_close(&r);
            }
            gy_error_clear(ctx);
        }
        b->d[i] = keep;
    }
}

#endif
