/* The writing half of safetensors.h. */
#include "safetensors_internal.h"
#include "deflate.h"
#include "../files.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gy_st_hex8(uint32_t v, char out[9]) {
    snprintf(out, 9, "%08" PRIx32, v);
}

typedef struct plan {
    const gy_st_tensor *tensors;
    int64_t n;
    int64_t *order; /* element size falling, then as given */
    char *text;     /* 8 bytes of length, JSON, spaces */
    size_t size, crc_at;
} plan;

static bool is_utf8(const char *s) {
    size_t n = strlen(s), i = 0;
    int k = 1;
    for (; i < n && k; i += (size_t)k) k = gy_utf8_next(s + i, n - i, NULL);
    return k != 0;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All UTF-8, none twice. `first` is the name that the caller may not use himself. */
static gy_status check_names(gy_ctx *ctx, const char **names, int64_t n, const char *first, const char *what) {
    char shown[256];
    qsort(names, (size_t)n, sizeof *names, by_text);
    for (int64_t i = 0; i < n; i++) {
        gy_show_text(names[i], strlen(names[i]), shown, sizeof shown);
        if (!is_utf8(names[i])) return gy_fail(ctx, GY_ERR_USAGE, "safetensors: %s '%s' is not UTF-8", what, shown);
        if (strcmp(names[i], first) == 0)
            return gy_fail(ctx, GY_ERR_USAGE, "safetensors: %s '%s' is reserved", what, shown);
        if (i && strcmp(names[i - 1], names[i]) == 0)
            return gy_fail(ctx, GY_ERR_USAGE, "safetensors: %s '%s' appears twice", what, shown);
    }
    return GY_OK;
}

static gy_status check(gy_ctx *ctx, const gy_st_tensor *t, int64_t n, const gy_st_pair *pairs, int64_t npairs) {
    const char **names = gy_malloc(ctx, (size_t)(n > npairs ? n : npairs) * sizeof *names);
    if (!names) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) names[i] = t[i].name;
    gy_status s = check_names(ctx, names, n, "__metadata__", "tensor name");
    for (int64_t i = 0; i < npairs; i++) names[i] = pairs[i].key;
    if (s == GY_OK) s = check_names(ctx, names, npairs, "crc32", "metadata key");
    gy_free(ctx, names);
    for (int64_t i = 0; i < npairs && s == GY_OK; i++)
        if (!is_utf8(pairs[i].value))
            s = gy_fail(ctx, GY_ERR_USAGE, "safetensors: metadata '%s': the value is not UTF-8", pairs[i].key);
    for (int64_t i = 0; i < n && s == GY_OK; i++)
        if (gy_dtype_size(t[i].tensor->dtype) == 0)
            s = gy_fail(ctx, GY_ERR_USAGE, "safetensors: '%s' has no dtype", t[i].name);
    return s;
}

static void put_entry(gy_json_writer *w, const gy_st_tensor *t, uint64_t *at) {
    const gy_tensor *x = t->tensor;
    gy_json_open_object(w, t->name);
    gy_json_put_string(w, "dtype", gy_st_codes[x->dtype]);
    gy_json_open_array(w, "shape");
    for (int64_t d = 0; d < x->shape.rank; d++) gy_json_put_int(w, NULL, x->shape.dim[d]);
    gy_json_close(w);
    gy_json_open_array(w, "data_offsets");
    gy_json_put_int(w, NULL, (int64_t)*at);
    *at += gy_tensor_bytes(x);
    gy_json_put_int(w, NULL, (int64_t)*at);
    gy_json_close(w);
    gy_json_close(w);
}

/* The header, with the checksum as eight zeros. The checksum comes first, so its place is known. */
static gy_status make_header(gy_ctx *ctx, plan *p, const gy_st_pair *pairs, int64_t npairs) {
    static const char start[] = "{\"__metadata__\":{\"crc32\":\"";
    gy_json_writer w;
    char *json;
    size_t n;
    uint64_t at = 0;
    gy_json_start(ctx, &w, false);
    gy_json_open_object(&w, NULL);
    gy_json_open_object(&w, "__metadata__");
    gy_json_put_string(&w, "crc32", "00000000");
    for (int64_t i = 0; i < npairs; i++) gy_json_put_string(&w, pairs[i].key, pairs[i].value);
    gy_json_close(&w);
    for (int64_t i = 0; i < p->n; i++) put_entry(&w, &p->tensors[p->order[i]], &at);
    gy_json_close(&w);
    gy_status s = gy_json_finish(&w, &json, &n);
    if (s != GY_OK) return s;
    p->size = (8 + n + 7) / 8 * 8;
    p->crc_at = 8 + sizeof start - 1;
    p->text = gy_malloc(ctx, p->size);
    if (p->text) {
        gy_put_le64((uint8_t *)p->text, p->size - 8);
        memcpy(p->text + 8, json, n);
        memset(p->text + 8 + n, ' ', p->size - 8 - n);
    }
    gy_free(ctx, json);
    return p->text ? GY_OK : GY_ERR_NOMEM;
}

static gy_status make_order(gy_ctx *ctx, plan *p) {
    p->order = gy_malloc(ctx, (size_t)p->n * sizeof *p->order);
    if (!p->order) return GY_ERR_NOMEM;
    int64_t k = 0;
    for (size_t size = 8; size > 0; size /= 2)
        for (int64_t i = 0; i < p->n; i++)
            if (gy_dtype_size(p->tensors[i].tensor->dtype) == size) p->order[k++] = i;
    return GY_OK;
}

/* Little-endian bytes of a tensor: its own on most hosts, else a turned copy in *owned. */
static const void *little_endian(gy_ctx *ctx, const gy_tensor *t, void **owned) {
    *owned = NULL;
    if (gy_host_is_little_endian()) return t->data;
    *owned = gy_malloc(ctx, gy_tensor_bytes(t));
    if (!*owned) return NULL;
    memcpy(*owned, t->data, gy_tensor_bytes(t));
    gy_swap_bytes(*owned, gy_shape_count(t->shape), gy_dtype_size(t->dtype));
    return *owned;
}

/* Runs over the data in file order: into `crc` when w is NULL, else into w. */
static gy_status data_pass(gy_ctx *ctx, const plan *p, gy_writer *w, uint32_t *crc) {
    gy_status s = GY_OK;
    for (int64_t i = 0; i < p->n && s == GY_OK; i++) {
        const gy_tensor *t = p->tensors[p->order[i]].tensor;
        size_t n = gy_tensor_bytes(t);
        void *owned;
        const void *data = little_endian(ctx, t, &owned);
        if (n && !data)
            s = GY_ERR_NOMEM;
        else if (n && w)
            s = gy_writer_put(w, data, n);
        else if (n)
            *crc = gy_crc32(*crc, data, n);
        gy_free(ctx, owned);
    }
    return s;
}

static gy_status write_plan(gy_ctx *ctx, const char *path, plan *p) {
    uint32_t crc = gy_crc32(0, p->text, p->size);
    char digits[9];
    gy_status s = data_pass(ctx, p, NULL, &crc);
    if (s != GY_OK) return s;
    gy_st_hex8(crc, digits);
    memcpy(p->text + p->crc_at, digits, 8);
    gy_writer *w;
    s = gy_writer_open(ctx, path, &w);
    if (s != GY_OK) return s;
    s = gy_writer_put(w, p->text, p->size);
    if (s == GY_OK) s = data_pass(ctx, p, w, NULL);
    if (s == GY_OK) return gy_writer_commit(w);
    gy_writer_abort(w);
    return s;
}

gy_status gy_safetensors_write(gy_ctx *ctx, const char *path, const gy_st_tensor *tensors, int64_t n,
                               const gy_st_pair *metadata, int64_t npairs) {
    plan p = {.tensors = tensors, .n = n};
    gy_status s = check(ctx, tensors, n, metadata, npairs);
    if (s == GY_OK) s = make_order(ctx, &p);
    if (s == GY_OK) s = make_header(ctx, &p, metadata, npairs);
    if (s == GY_OK) s = write_plan(ctx, path, &p);
    gy_free(ctx, p.order);
    gy_free(ctx, p.text);
    return s;
}
