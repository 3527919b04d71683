#include "safetensors.h"
#include "deflate.h"
#include "safetensors_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

const char *const gy_st_codes[GY_DTYPE_COUNT] = {
    [GY_F64] = "F64", [GY_F32] = "F32", [GY_F16] = "F16",  [GY_BF16] = "BF16", [GY_I64] = "I64",
    [GY_I32] = "I32", [GY_I16] = "I16", [GY_I8] = "I8",    [GY_U8] = "U8",     [GY_U16] = "U16",
    [GY_U32] = "U32", [GY_U64] = "U64", [GY_BOOL] = "BOOL"};

/* ---- one tensor's description ---- */

static gy_status read_dtype(const gy_st_file *f, int64_t node, gy_st_entry *e) {
    const char *code = gy_json_string(&f->header, gy_json_get(&f->header, node, "dtype"));
    char shown[256];
    if (!code) return gy_bytes_fail_key(&f->src, e->name, "safetensors: expected a string 'dtype'");
    for (int t = 1; t < GY_DTYPE_COUNT; t++)
        if (strcmp(code, gy_st_codes[t]) == 0) {
            e->dtype = (gy_dtype)t;
            return GY_OK;
        }
    return gy_bytes_fail_key(&f->src, e->name, "safetensors: dtype '%s' is not supported",
                             gy_show_text(code, strlen(code), shown, sizeof shown));
}

static gy_status read_shape(const gy_st_file *f, int64_t node, gy_st_entry *e) {
    const gy_json *j = &f->header;
    int64_t list = gy_json_get(j, node, "shape");
    if (list < 0 || j->nodes[list].kind != GY_JSON_ARRAY)
        return gy_bytes_fail_key(&f->src, e->name, "safetensors: expected an array 'shape'");
    int64_t rank = j->nodes[list].u.list.count;
    if (rank > GY_MAX_RANK)
        return gy_bytes_fail_key(&f->src, e->name, "safetensors: rank %" PRId64 ", at most %d is supported", rank,
                                 GY_MAX_RANK);
    e->shape.rank = rank;
    int64_t d = 0;
    for (int64_t i = gy_json_first(j, list); i >= 0; i = j->nodes[i].next, d++)
        if (!gy_json_integer(j, i, &e->shape.dim[d]) || e->shape.dim[d] < 0)
            return gy_bytes_fail_key(
                &f->src, e->name, "safetensors: shape: expected integers in 0 .. 2^63 - 1, found %s",
                j->nodes[i].kind == GY_JSON_INT ? "a negative one" : gy_json_kind_name(j->nodes[i].kind));
    if (!gy_shape_bytes(e->dtype, e->shape, &e->bytes)) {
        char text[GY_SHAPE_TEXT];
        return gy_bytes_fail_key(&f->src, e->name, "safetensors: shape %s is beyond 64 bits",
                                 gy_shape_text(e->shape, text));
    }
    return GY_OK;
}

static gy_status read_offsets(const gy_st_file *f, int64_t node, gy_st_entry *e) {
    const gy_json *j = &f->header;
    int64_t list = gy_json_get(j, node, "data_offsets"), first = gy_json_first(j, list), begin, end;
    if (list < 0 || j->nodes[list].kind != GY_JSON_ARRAY || j->nodes[list].u.list.count != 2 ||
        !gy_json_integer(j, first, &begin) || !gy_json_integer(j, j->nodes[first].next, &end))
        return gy_bytes_fail_key(&f->src, e->name, "safetensors: data_offsets: expected two integers");
    if (begin < 0 || end < begin)
        return gy_bytes_fail_key(
            &f->src, e->name, "safetensors: data_offsets: expected 0 <= begin <= end, found [%" PRId64 ", %" PRId64 "]",
            begin, end);
    char text[GY_SHAPE_TEXT];
    if ((uint64_t)(end - begin) != e->bytes)
        return gy_bytes_fail_key(&f->src, e->name,
                                 "safetensors: %s %s: expected %" PRIu64 " bytes, found data_offsets of %" PRId64,
                                 gy_st_codes[e->dtype], gy_shape_text(e->shape, text), e->bytes, end - begin);
    uint64_t room = f->src.size - f->data_at;
    if ((uint64_t)end > room)
        return gy_bytes_fail_key(&f->src, e->name,
                                 "safetensors: data ends at %" PRId64 ", past the file's %" PRIu64 " bytes of data",
                                 end, room);
    e->at = f->data_at + (uint64_t)begin;
    return GY_OK;
}

static gy_status read_entry(const gy_st_file *f, int64_t node, gy_st_entry *e) {
    const gy_json *j = &f->header;
    e->name = j->nodes[node].key;
    if (j->nodes[node].kind != GY_JSON_OBJECT)
        return gy_bytes_fail_key(&f->src, e->name, "safetensors: expected an object, found %s",
                                 gy_json_kind_name(j->nodes[node].kind));
    gy_status s = gy_bytes_limit(&f->src, GY_LIMIT_NAME, strlen(e->name), "tensor name");
    if (s == GY_OK) s = read_dtype(f, node, e);
    if (s == GY_OK) s = read_shape(f, node, e);
    if (s == GY_OK) s = read_offsets(f, node, e);
    if (s == GY_OK && j->nodes[node].u.list.count != 3)
        s = gy_bytes_fail_key(&f->src, e->name, "safetensors: expected dtype, shape and data_offsets only");
    return s;
}

static gy_status check_metadata(const gy_st_file *f, int64_t node) {
    const gy_json *j = &f->header;
    if (j->nodes[node].kind != GY_JSON_OBJECT)
        return gy_bytes_fail_key(&f->src, "__metadata__", "safetensors: expected an object");
    for (int64_t i = gy_json_first(j, node); i >= 0; i = j->nodes[i].next)
        if (j->nodes[i].kind != GY_JSON_STRING)
            return gy_bytes_fail_key(&f->src, "__metadata__", "safetensors: values must be strings, found %s",
                                     gy_json_kind_name(j->nodes[i].kind));
    return GY_OK;
}

/* ---- one file ---- */

static int by_place(const void *a, const void *b) {
    const gy_st_entry *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1; /* empty ones first */
    return strcmp(x->name, y->name);
}

/* The data must be covered once and whole: a hole or a tail could hide something, an overlap could make
 * one small file a thousand tensors. */
static gy_status check_cover(const gy_st_file *f, gy_st_entry *e, int64_t n) {
    uint64_t at = f->data_at;
    qsort(e, (size_t)n, sizeof *e, by_place);
    for (int64_t i = 0; i < n; i++) {
        if (e[i].at != at)
            return gy_bytes_fail_key(
                &f->src, e[i].name, "safetensors: data %s: expected to begin at %" PRIu64 ", found %" PRIu64,
                e[i].at < at ? "overlaps" : "leaves a hole", at - f->data_at, e[i].at - f->data_at);
        at += e[i].bytes;
    }
    if (at != f->src.size)
        return gy_bytes_fail(&f->src, at, "safetensors: %" PRIu64 " bytes after the last tensor", f->src.size - at);
    return GY_OK;
}

static gy_status read_header(gy_st_file *f) {
    uint8_t head[8];
    if (f->src.size < 8)
        return gy_bytes_fail(&f->src, 0, "safetensors: expected at least 8 bytes, found %" PRIu64, f->src.size);
    gy_status s = gy_bytes_read(&f->src, 0, head, 8);
    if (s != GY_OK) return s;
    uint64_t n = gy_le64(head);
    if (n > f->src.size - 8)
        return gy_bytes_fail(&f->src, 0, "safetensors: header length: expected at most %" PRIu64 ", found %" PRIu64,
                             f->src.size - 8, n);
    s = gy_bytes_limit(&f->src, GY_LIMIT_SAFETENSORS_HEADER, n, "safetensors header length");
    if (s == GY_OK) s = gy_json_parse(&f->src, 8, n, &f->header);
    if (s != GY_OK) return s;
    f->data_at = 8 + n;
    if (f->header.nodes[0].kind != GY_JSON_OBJECT)
        return gy_bytes_fail(&f->src, 8, "safetensors: header: expected an object, found %s",
                             gy_json_kind_name(f->header.nodes[0].kind));
    return GY_OK;
}

/* Adds the tensors of file number k, which is open, to st. */
static gy_status read_file(gy_safetensors *st, int64_t k) {
    gy_st_file *f = &st->files[k];
    gy_status s = read_header(f);
    if (s != GY_OK) return s;
    uint64_t count = (uint64_t)f->header.nodes[0].u.list.count;
    s = gy_bytes_limit(&f->src, GY_LIMIT_ENTRIES, (uint64_t)st->n + count, "tensors");
    if (s != GY_OK) return s;
    gy_st_entry *all = gy_realloc(st->ctx, st->entries, (size_t)((uint64_t)st->n + count) * sizeof *all);
    if (!all) return GY_ERR_NOMEM;
    st->entries = all;
    int64_t first = st->n;
    for (int64_t i = gy_json_first(&f->header, 0); i >= 0 && s == GY_OK; i = f->header.nodes[i].next) {
        if (strcmp(f->header.nodes[i].key, "__metadata__") == 0) {
            s = check_metadata(f, i);
            continue;
        }
        gy_st_entry *e = &st->entries[st->n];
        *e = (gy_st_entry){.file = k};
        s = read_entry(f, i, e);
        if (s == GY_OK) st->n++;
    }
    return s == GY_OK ? check_cover(f, st->entries + first, st->n - first) : s;
}

/* A tensor in two shards would make the answer depend on the reader. */
static gy_status index_names(gy_safetensors *st) {
    st->nslots = 4;
    while (st->nslots < 2 * (uint64_t)st->n) st->nslots *= 2;
    st->slots = gy_malloc(st->ctx, (size_t)st->nslots * sizeof *st->slots);
    if (!st->slots) return GY_ERR_NOMEM;
    for (uint64_t i = 0; i < st->nslots; i++) st->slots[i] = -1;
    for (int64_t i = 0; i < st->n; i++) {
        const gy_st_entry *e = &st->entries[i];
        if (gy_safetensors_find(st, e->name) >= 0)
            return gy_bytes_fail_key(&st->files[e->file].src, e->name,
                                     "safetensors: the tensor is in another shard too");
        uint64_t h = gy_hash_str(e->name, 0) & (st->nslots - 1);
        while (st->slots[h] >= 0) h = (h + 1) & (st->nslots - 1);
        st->slots[h] = i;
    }
    return GY_OK;
}

int64_t gy_safetensors_find(const gy_safetensors *st, const char *name) {
    if (st->nslots == 0) return -1;
    uint64_t h = gy_hash_str(name, 0) & (st->nslots - 1);
    for (; st->slots[h] >= 0; h = (h + 1) & (st->nslots - 1))
        if (strcmp(st->entries[st->slots[h]].name, name) == 0) return st->slots[h];
    return -1;
}

gy_status gy_st_open_files(gy_safetensors *st, const char *const *paths, int64_t n, const gy_limits *limits) {
    st->files = gy_calloc(st->ctx, (size_t)n, sizeof *st->files);
    if (!st->files) return GY_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) {
        gy_status s = gy_bytes_open(st->ctx, paths[i], limits, &st->files[i].src);
        if (s != GY_OK) return s;
        st->nfiles++;
        s = read_file(st, i);
        if (s != GY_OK) return s;
    }
    return index_names(st);
}

/* An index is JSON text; a safetensors file has zeros in the upper half of its first 8 bytes, which no
 * text has. */
static gy_status is_index(gy_ctx *ctx, const char *path, const gy_limits *limits, bool *out) {
    gy_bytes b;
    uint8_t head[8];
    gy_status s = gy_bytes_open(ctx, path, limits, &b);
    if (s != GY_OK) return s;
    *out = false;
    if (b.size >= 8) {
        s = gy_bytes_read(&b, 0, head, 8);
        *out = s == GY_OK && !memchr(head, 0, 8) && strchr("{ \t\r\n", head[0]);
    }
    gy_bytes_close(&b);
    return s;
}

gy_status gy_safetensors_open(gy_ctx *ctx, const char *path, const gy_limits *limits, gy_safetensors *out) {
    *out = (gy_safetensors){.ctx = ctx};
    bool index;
    gy_status s = is_index(ctx, path, limits, &index);
    if (s != GY_OK) return s;
    s = index ? gy_st_open_index(out, path, limits) : gy_st_open_files(out, &path, 1, limits);
    if (s != GY_OK) gy_safetensors_close(out);
    return s;
}

void gy_safetensors_close(gy_safetensors *st) {
    if (!st->ctx) return;
    for (int64_t i = 0; i < st->nfiles; i++) {
        gy_json_free(&st->files[i].header);
        gy_bytes_close(&st->files[i].src);
    }
    gy_free(st->ctx, st->files);
    gy_free(st->ctx, st->entries);
    gy_free(st->ctx, st->slots);
    *st = (gy_safetensors){0};
}

/* ---- content ---- */

gy_status gy_safetensors_read(const gy_safetensors *st, int64_t i, gy_tensor *out) {
    const gy_st_entry *e = &st->entries[i];
    gy_status s = gy_tensor_new(st->ctx, out, e->dtype, e->shape);
    if (s != GY_OK) return s;
    s = gy_bytes_read(&st->files[e->file].src, e->at, out->data, e->bytes);
    if (s != GY_OK)
        gy_tensor_free(st->ctx, out);
    else if (!gy_host_is_little_endian())
        gy_swap_bytes(out->data, gy_shape_count(e->shape), gy_dtype_size(e->dtype));
    return s;
}

gy_status gy_safetensors_get(const gy_safetensors *st, const char *name, gy_tensor *out) {
    *out = (gy_tensor){0};
    int64_t i = gy_safetensors_find(st, name);
    if (i < 0) return gy_bytes_fail_key(&st->files[0].src, name, "safetensors: no such tensor among %" PRId64, st->n);
    return gy_safetensors_read(st, i, out);
}

static int64_t metadata_node(const gy_st_file *f, const char *key) {
    return gy_json_get(&f->header, gy_json_get(&f->header, 0, "__metadata__"), key);
}

const char *gy_safetensors_metadata(const gy_safetensors *st, const char *key) {
    if (st->nfiles == 0) return NULL;
    return gy_json_string(&st->files[0].header, metadata_node(&st->files[0], key));
}

/* CRC of the file with the bytes [hole, hole + 8) read as '0'. */
static gy_status file_crc(const gy_st_file *f, uint64_t hole, uint8_t *buffer, uint64_t room, uint32_t *out) {
    uint32_t crc = 0;
    for (uint64_t at = 0; at < f->src.size; at += room) {
        uint64_t n = f->src.size - at < room ? f->src.size - at : room;
        gy_status s = gy_bytes_read(&f->src, at, buffer, n);
        if (s != GY_OK) return s;
        for (uint64_t i = hole; i < hole + 8; i++)
            if (i >= at && i - at < n) buffer[i - at] = '0';
        crc = gy_crc32(crc, buffer, n);
    }
    *out = crc;
    return GY_OK;
}

static gy_status verify_file(const gy_st_file *f, uint8_t *buffer, uint64_t room) {
    int64_t node = metadata_node(f, "crc32");
    const char *text = gy_json_string(&f->header, node);
    if (!text) return gy_fail(f->src.ctx, GY_ERR_FORMAT, "%s: no checksum: expected metadata 'crc32'", f->src.path);
    uint64_t hole = f->header.nodes[node].at + 1;
    uint8_t raw[8] = {0};
    uint32_t crc = 0;
    char found[9];
    gy_status s = gy_bytes_read(&f->src, hole, raw, 8);
    if (s != GY_OK) return s;
    if (strlen(text) != 8 || memcmp(raw, text, 8) != 0)
        return gy_bytes_fail(&f->src, hole, "crc32: expected eight hexadecimal digits");
    s = file_crc(f, hole, buffer, room, &crc);
    if (s != GY_OK) return s;
    gy_st_hex8(crc, found);
    if (strcmp(found, text) != 0)
        return gy_fail(f->src.ctx, GY_ERR_FORMAT, "%s: damaged: checksum crc32: expected %s, found %s", f->src.path,
                       text, found);
    return GY_OK;
}

gy_status gy_safetensors_verify(const gy_safetensors *st) {
    enum { ROOM = 1 << 20 };
    uint8_t *buffer = gy_malloc(st->ctx, ROOM);
    if (!buffer) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    for (int64_t i = 0; i < st->nfiles && s == GY_OK; i++) s = verify_file(&st->files[i], buffer, ROOM);
    gy_free(st->ctx, buffer);
    return s;
}
