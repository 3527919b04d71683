/* safetensors.h: named tensors in one file (the format of Hugging Face's public checkpoints and of ours):
 * 8 bytes little-endian header length N, N bytes of JSON {"name": {"dtype", "shape", "data_offsets":
 * [begin, end]}, ..., "__metadata__": {string: string}}, then the data, without holes or overlaps.
 *
 * Opening reads the header only; a tensor is copied out when asked for, so a file of many gigabytes costs
 * what is used. A sharded model opens through its index (model.safetensors.index.json): the shards are
 * files in the index's folder and must hold exactly the tensors that it lists. */
#ifndef GY_IO_SAFETENSORS_H
#define GY_IO_SAFETENSORS_H

#include "../bytes.h"
#include "json.h"

typedef struct gy_st_entry {
    const char *name;
    gy_dtype dtype;
    gy_shape shape;
    uint64_t at, bytes; /* in its file */
    int64_t file;       /* 0, or the shard */
} gy_st_entry;

typedef struct gy_st_file {
    gy_bytes src;
    gy_json header;
    uint64_t data_at;
} gy_st_file;

typedef struct gy_safetensors {
    gy_ctx *ctx;
    gy_st_entry *entries; /* in the order of the data, shard by shard */
    int64_t n;
    gy_st_file *files;
    int64_t nfiles;
    int64_t *slots; /* hash table of names */
    uint64_t nslots;
} gy_safetensors;

gy_status gy_safetensors_open(gy_ctx *ctx, const char *path, const gy_limits *limits,
                              gy_safetensors *out) GY_MUST_CHECK;
void gy_safetensors_close(gy_safetensors *st);                           /* all-zero is fine */
int64_t gy_safetensors_find(const gy_safetensors *st, const char *name); /* -1: no such tensor */
gy_status gy_safetensors_read(const gy_safetensors *st, int64_t i, gy_tensor *out) GY_MUST_CHECK;
/* By name; a missing one is refused. */
gy_status gy_safetensors_get(const gy_safetensors *st, const char *name, gy_tensor *out) GY_MUST_CHECK;
/* The value in __metadata__ (of the first shard); NULL if there is none. */
const char *gy_safetensors_metadata(const gy_safetensors *st, const char *key);
/* Compares each file's metadata "crc32" with its content: refuses a damaged file, and one that has no
 * checksum (only our own writer records one). The CRC-32 is that of the whole file with the eight digits
 * themselves set to "00000000", so a changed name or shape is noticed like a changed weight. */
gy_status gy_safetensors_verify(const gy_safetensors *st) GY_MUST_CHECK;

typedef struct gy_st_tensor {
    const char *name;
    const gy_tensor *tensor;
} gy_st_tensor;
typedef struct gy_st_pair {
    const char *key, *value;
} gy_st_pair;
/* Writes through files.h (whole or not at all; `path` may be the file that an open gy_safetensors reads).
 * Data begin at a multiple of 8 and are ordered by element size, largest first, so that every tensor is
 * aligned; "crc32" is added to the metadata. Names and metadata: UTF-8, each name once. */
gy_status gy_safetensors_write(gy_ctx *ctx, const char *path, const gy_st_tensor *tensors, int64_t n,
                               const gy_st_pair *metadata, int64_t npairs) GY_MUST_CHECK;

#endif
