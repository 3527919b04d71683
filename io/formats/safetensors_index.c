/* A sharded model's index: {"metadata": {...}, "weight_map": {"tensor": "file in the same folder", ...}}. */
#include "safetensors_internal.h"
#include "../files.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A plain name: whatever else it says, it must not lead out of the index's folder. (The file of that name
 * may be a symbolic link: the public hub's own cache is made of them.) */
static bool plain_name(const char *s) {
    return *s && !strpbrk(s, "/\\:") && strcmp(s, ".") != 0 && strcmp(s, "..") != 0;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The different shard names, sorted; *names points into the JSON text. */
static gy_status shard_names(const gy_bytes *b, const gy_json *j, int64_t map, const char **names, int64_t *n) {
    for (int64_t i = gy_json_first(j, map); i >= 0; i = j->nodes[i].next) {
        const char *name = gy_json_string(j, i);
        char shown[256];
        if (!name) return gy_bytes_fail_key(b, j->nodes[i].key, "safetensors index: expected a file name");
        if (!plain_name(name))
            return gy_bytes_fail_key(b, j->nodes[i].key, "safetensors index: '%s' is not a file name in this folder",
                                     gy_show_text(name, strlen(name), shown, sizeof shown));
        names[(*n)++] = name;
    }
    qsort(names, (size_t)*n, sizeof *names, by_text);
    int64_t kept = 0;
    for (int64_t i = 0; i < *n; i++)
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0) names[kept++] = names[i];
    *n = kept;
    return GY_OK;
}

static gy_status open_shards(gy_safetensors *st, const char *index_path, const char *const *names, int64_t n,
                             const gy_limits *limits) {
    const char *slash = strrchr(index_path, '/');
    int folder = slash ? (int)(slash - index_path) + 1 : 0;
    char **paths = gy_calloc(st->ctx, (size_t)n, sizeof *paths);
    if (!paths) return GY_ERR_NOMEM;
    gy_status s = GY_OK;
    for (int64_t i = 0; i < n && s == GY_OK; i++) {
        paths[i] = gy_format(st->ctx, "%.*s%s", folder, index_path, names[i]);
        if (!paths[i]) s = GY_ERR_NOMEM;
    }
    if (s == GY_OK) s = gy_st_open_files(st, (const char *const *)paths, n, limits);
    for (int64_t i = 0; i < n; i++) gy_free(st->ctx, paths[i]);
    gy_free(st->ctx, paths);
    return s;
}

/* Each listed tensor must be in its shard, and each tensor of a shard must be listed. */
static gy_status compare(const gy_safetensors *st, const gy_bytes *b, const gy_json *j, int64_t map,
                         const char *const *names) {
    char shown[256];
    for (int64_t i = gy_json_first(j, map); i >= 0; i = j->nodes[i].next) {
        const char *key = j->nodes[i].key, *file = j->nodes[i].u.string;
        int64_t k = gy_safetensors_find(st, key);
        if (k < 0 || strcmp(names[st->entries[k].file], file) != 0)
            return gy_bytes_fail_key(b, key, "safetensors index: the tensor is not in '%s'",
                                     gy_show_text(file, strlen(file), shown, sizeof shown));
    }
    if (j->nodes[map].u.list.count == st->n) return GY_OK;
    for (int64_t i = 0; i < st->n; i++) /* only to name one */
        if (gy_json_get(j, map, st->entries[i].name) < 0)
            return gy_bytes_fail_key(&st->files[st->entries[i].file].src, st->entries[i].name,
                                     "safetensors: the tensor is not in the index");
    return GY_OK;
}

static gy_status read_index(gy_safetensors *st, const gy_bytes *b, const char *path, const gy_limits *limits) {
    gy_json j;
    gy_status s = gy_json_parse(b, 0, b->size, &j);
    if (s != GY_OK) return s;
    int64_t map = gy_json_get(&j, 0, "weight_map"), n = 0;
    const char **names = NULL;
    if (map < 0 || j.nodes[map].kind != GY_JSON_OBJECT || j.nodes[map].u.list.count == 0)
        s = gy_bytes_fail(b, 0, "safetensors index: expected an object 'weight_map' with tensors");
    if (s == GY_OK) s = gy_bytes_limit(b, GY_LIMIT_ENTRIES, (uint64_t)j.nodes[map].u.list.count, "tensors");
    if (s == GY_OK) {
        names = gy_malloc(b->ctx, (size_t)j.nodes[map].u.list.count * sizeof *names);
        s = names ? shard_names(b, &j, map, names, &n) : GY_ERR_NOMEM;
    }
    if (s == GY_OK) s = open_shards(st, path, names, n, limits);
    if (s == GY_OK) s = compare(st, b, &j, map, names);
    gy_free(b->ctx, names);
    gy_json_free(&j);
    return s;
}

gy_status gy_st_open_index(gy_safetensors *st, const char *path, const gy_limits *limits) {
    gy_bytes b;
    gy_status s = gy_bytes_open(st->ctx, path, limits, &b);
    if (s != GY_OK) return s;
    s = read_index(st, &b, path, limits);
    gy_bytes_close(&b);
    return s;
}
